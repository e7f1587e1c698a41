//! The life of a subscription, without a database: views of it and paid periods, in any order.

use std::collections::BTreeSet;

use creditd::domain::account::{AccountState, Changes};
use creditd::domain::attachment::AttachmentState;
use creditd::domain::burn::{Holdings, balance};
use creditd::domain::catalog::{CatalogVersion, FeatureId, PlanId};
use creditd::domain::command::{Command, Decision, PlanPaid, Track, WhenShort};
use creditd::domain::credits::Credits;
use creditd::domain::decide::{Context, at_time, decide};
use creditd::domain::entry::EntryKind;
use creditd::domain::ids::PaymentId;
use creditd::domain::reversal::{BackView, MoneyBack, Says};
use creditd::domain::subscription::{RenewalLost, SubscribedPlan, SubscriptionLife, SubscriptionSeen};
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use uuid::Uuid;

use crate::domain_laws::{credits, feature, quantity, time};
use crate::support::plans::paid_period;
use crate::support::world::{Counting, first_version, new_account};

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[plans.free]
group = "main"
auto_enable = true
[[plans.free.items]]
feature = "calls"
included = "5"
reset = "month"
[plans.pro]
group = "main"
revenue = "external"
prices = [
  { amount = "10.00", currency = "usd", every = "month", stripe_price = "price_pro" },
  { amount = "100.00", currency = "usd", every = "year", stripe_price = "price_pro_year" },
]
[[plans.pro.items]]
feature = "calls"
included = "10"
trial_included = "3"
reset = "month"
[[plans.pro.items]]
id = "welcome"
feature = "calls"
included = "1"
[plans.max]
group = "main"
revenue = "external"
prices = [{ amount = "20.00", currency = "usd", every = "month", stripe_price = "price_max" }]
[[plans.max.items]]
feature = "calls"
included = "20"
reset = "month"
"#;

/// One account that opened on the first of January with Free.
pub(crate) struct World {
    pub(crate) state: AccountState,
    pub(crate) changes: Changes,
    pub(crate) catalog: CatalogVersion,
    pub(crate) ids: Counting,
    pub(crate) now: Timestamp,
}

pub(crate) fn day(text: &str) -> Timestamp {
    time(&format!("2026-{text}T00:00:00Z"))
}

impl World {
    fn new() -> Self {
        Self::with(CATALOG)
    }

    /// One account that opened under a catalogue.
    pub(crate) fn with(catalog: &str) -> Self {
        let mut world = Self::unopened(catalog);
        let _: Decision = world.post(&Command::Open);
        world
    }

    /// The same before it opens.
    pub(crate) fn unopened(catalog: &str) -> Self {
        let (state, catalog) = (new_account(day("01-01")), first_version(catalog));
        Self { state, changes: Changes::default(), catalog, ids: Counting(0), now: day("01-01") }
    }

    pub(crate) fn post(&mut self, command: &Command) -> Decision {
        let context = Context { catalog: &self.catalog, now: self.now };
        decide(&mut self.state, &mut self.changes, command, context, &mut self.ids).unwrap()
    }

    pub(crate) fn at(&mut self, now: &str) -> &mut Self {
        self.now = day(now);
        self
    }

    /// What can be spent now, as a check answers it: nothing is written.
    pub(crate) fn available(&mut self) -> Credits {
        self.available_of(&feature("calls"))
    }

    pub(crate) fn available_of(&mut self, of: &FeatureId) -> Credits {
        let context = Context { catalog: &self.catalog, now: self.now };
        let settled = at_time(&self.state, context, &mut self.ids).unwrap();
        let holdings = Holdings { grants: &settled.grants, debts: &settled.debts, entity: "", now: self.now };
        balance(holdings, of).available
    }

    pub(crate) fn spend(&mut self, calls: &str) {
        let _: Decision = self.post(&Command::Track(Track {
            when_short: WhenShort::Reject,
            ..Track::of(feature("calls"), quantity(calls))
        }));
    }

    /// The plans in force.
    pub(crate) fn live(&self) -> BTreeSet<String> {
        self.state.attachments.iter().filter(|a| a.is_live()).map(|a| a.plan.to_string()).collect()
    }

    /// Sorted business facts of all grants (rule 9): plan, item, amount, start, expiry.
    pub(crate) fn facts(&self) -> Vec<String> {
        let plan_of = |id| self.state.attachments.iter().find(|a| a.id == id).map(|a| a.plan.to_string());
        let fact = |grant: &creditd::domain::grant::Grant| {
            let period = grant.period.as_ref().unwrap();
            let plan = plan_of(period.attachment).unwrap();
            let end = grant.expires_at.map(|end| end.to_string()).unwrap_or_default();
            format!("{plan}.{} {} {}..{end}", period.item, grant.original, grant.starts_at)
        };
        let mut facts: Vec<String> = self.state.grants.iter().map(fact).collect();
        facts.sort();
        facts
    }
}

pub(crate) fn seen_of(
    subscription: &str,
    plans: &[&str],
    start: &str,
    life: SubscriptionLife,
    seen_at: &str,
) -> SubscriptionSeen {
    SubscriptionSeen {
        subscription: subscription.to_owned(),
        seen_at: day(seen_at),
        life,
        plans: plans.iter().map(|plan| SubscribedPlan { plan: PlanId::new(plan).unwrap(), quantity: 1 }).collect(),
        anchor: day(start),
        started_at: day(start),
        trial_ends_at: None,
        cancel_at: None,
    }
}

fn seen(start: &str, life: SubscriptionLife, seen_at: &str) -> SubscriptionSeen {
    seen_of("sub_1", &["pro"], start, life, seen_at)
}

fn active(start: &str) -> Command {
    Command::SubscriptionSeen(seen(start, SubscriptionLife::Active, start))
}

fn over(start: &str, end: &str) -> Command {
    Command::SubscriptionSeen(seen(start, SubscriptionLife::Ended(day(end)), end))
}

pub(crate) fn paid_for(subscription: &str, plan: &str, start: &str, end: &str) -> PlanPaid {
    paid_period(subscription, plan, day(start), day(end))
}

fn paid(start: &str, end: &str) -> Command {
    Command::PlanPaid(paid_for("sub_1", "pro", start, end))
}

pub(crate) fn only(plan: &str) -> BTreeSet<String> {
    BTreeSet::from([plan.to_owned()])
}

/// Every order of some commands.
pub(crate) fn orders<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (place, first) in of.iter().enumerate() {
        let rest: Vec<T> =
            of.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, one)| one.clone()).collect();
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// The facts and live plans after an order of events, each also sent twice, all worked on at one time.
fn after(order: &[Vec<Command>], now: &str) -> (Vec<String>, BTreeSet<String>) {
    let mut world = World::new();
    world.at(now);
    for command in order.iter().flatten() {
        let _: Decision = world.post(command);
        let again = world.post(command);
        assert!(matches!(again, Decision::AlreadyApplied(_)), "the same again changes nothing: {command:?}");
    }
    (world.facts(), world.live())
}

fn all_orders_agree(events: &[Vec<Command>], now: &str, of: impl Fn(&String) -> bool) {
    let (facts, live) = after(events, now);
    let facts: Vec<&String> = facts.iter().filter(|fact| of(fact)).collect();
    assert!(facts.len() >= 2, "{facts:#?}");
    for order in orders(events) {
        let (found, found_live) = after(&order, now);
        let found: Vec<&String> = found.iter().filter(|fact| of(fact)).collect();
        assert_eq!((found, &found_live), (facts.clone(), &live), "{order:?}");
    }
}

/// A subscription that lived a month and ten days; one that another replaced after it was over; and two at once.
fn lives() -> [(Vec<Command>, &'static str); 3] {
    let second = Command::SubscriptionSeen(seen_of("sub_2", &["max"], "01-25", SubscriptionLife::Active, "01-25"));
    let max = |start, end| Command::PlanPaid(paid_for("sub_2", "max", start, end));
    [
        (vec![active("01-10"), paid("01-10", "02-10"), paid("02-10", "03-10"), over("01-10", "02-20")], "02-21"),
        (vec![over("01-10", "01-20"), second.clone(), paid("01-10", "02-10"), max("01-25", "02-25")], "01-26"),
        (vec![active("01-10"), second, paid("01-10", "02-10"), max("01-25", "02-25"), max("02-25", "03-25")], "02-26"),
    ]
}

/// Without an API key each event has its own payload to go by: then only what is given once may start elsewhere.
#[test]
fn no_order_of_payloads_decides_what_is_granted() {
    for (events, now) in lives() {
        let events: Vec<Vec<Command>> = events.into_iter().map(|command| vec![command]).collect();
        all_orders_agree(&events, now, |fact| !fact.starts_with("pro.welcome"));
    }
}

/// With one, each comes with the newest view of its subscription.
#[test]
fn no_order_of_events_decides_what_is_granted() {
    for (events, now) in lives() {
        let views: Vec<SubscriptionSeen> = events
            .iter()
            .filter_map(|command| match command {
                Command::SubscriptionSeen(seen) => Some(seen.clone()),
                _ => None,
            })
            .collect();
        let newest = |of: &str| {
            let of_it = views.iter().filter(|seen| seen.subscription == of);
            Command::SubscriptionSeen(of_it.max_by_key(|seen| seen.seen_at).unwrap().clone())
        };
        let with_views = events.iter().map(|command| match command {
            Command::SubscriptionSeen(seen) => vec![newest(&seen.subscription)],
            Command::PlanPaid(paid) => vec![newest(&paid.subscription), command.clone()],
            _ => unreachable!(),
        });
        all_orders_agree(&with_views.collect::<Vec<_>>(), now, |_| true);
    }
}

#[test]
fn free_gives_way_when_pro_is_paid_and_comes_back_when_it_is_over() {
    let mut world = World::new();
    world.spend("2");
    assert_eq!(world.available(), credits("3"));
    let _: Decision = world.at("01-10").post(&active("01-10"));
    assert_eq!(world.available(), credits("3"), "Free's credits stay until Pro is paid");
    let _: Decision = world.post(&paid("01-10", "02-10"));
    assert_eq!((world.available(), world.live()), (credits("11"), only("pro")));
    // Set to end with the period: it is in force until then, and nothing comes after it.
    let mut ending = seen("01-10", SubscriptionLife::Active, "01-15");
    ending.cancel_at = Some(day("02-10"));
    let _: Decision = world.at("01-15").post(&Command::SubscriptionSeen(ending));
    assert_eq!(world.live(), only("pro"));
    world.at("02-10");
    assert_eq!(world.available(), credits("1"), "no grace once it is set to end; what was given once stays");
    let _: Decision = world.post(&over("01-10", "02-10"));
    assert_eq!((world.available(), world.live()), (credits("6"), only("free")));
    world.at("03-10");
    assert_eq!(world.available(), credits("6"), "and renews from the day it came back");
}

/// Stripe leaves the cycle's invoice in draft for an hour: nobody sees zero meanwhile (rule 14).
#[test]
fn a_paid_plan_never_runs_dry_while_its_renewal_is_awaited() {
    let mut world = World::new();
    let _: Decision = world.at("01-10").post(&active("01-10"));
    let _: Decision = world.post(&paid("01-10", "02-10"));
    world.spend("4");
    world.now = day("02-10").checked_add(SignedDuration::from_hours(1)).unwrap();
    assert_eq!(world.available(), credits("7"), "by grace");
    world.spend("1");
    let _: Decision = world.post(&paid("02-10", "03-10"));
    assert_eq!(world.available(), credits("11"), "the successor takes over, what was left ends");
    world.at("03-13");
    assert_eq!(world.available(), credits("1"), "72 hours are all the grace there is");
}

#[rstest]
#[case::void(true, "1")]
#[case::still_open(false, "7")]
fn grace_ends_with_a_renewal_that_will_not_be_paid(#[case] lost: bool, #[case] left: &str) {
    let mut world = World::new();
    let _: Decision = world.at("01-10").post(&paid("01-10", "02-10"));
    world.spend("4");
    world.at("02-11");
    let command = Command::RenewalLost(RenewalLost { subscription: "sub_1".to_owned(), period_start: day("02-10") });
    if lost {
        assert!(matches!(world.post(&command), Decision::Applied(_)));
    }
    assert_eq!(world.available(), credits(left));
    // Uncollectible is not the end: it can be paid all the same.
    let _: Decision = world.post(&paid("02-10", "03-10"));
    assert_eq!(world.available(), credits("11"));
    assert!(matches!(world.post(&command), Decision::AlreadyApplied(_)), "a paid period is not lost");
}

#[test]
fn an_annual_price_gives_its_monthly_credits_by_the_clock() {
    let mut world = World::new();
    let _: Decision = world.at("01-31").post(&active("01-31"));
    let _: Decision = world.post(&Command::PlanPaid(PlanPaid {
        period_end: time("2027-01-31T00:00:00Z"),
        ..paid_for("sub_1", "pro", "01-31", "02-28")
    }));
    for (now, starts) in
        [("02-28", "2026-02-28"), ("03-31", "2026-03-31"), ("04-30", "2026-04-30"), ("12-31", "2026-12-31")]
    {
        world.spend("3");
        let _: Decision = world.at(now).post(&Command::Settle);
        assert_eq!(world.available(), credits("11"), "the month's credits on {now}");
        assert!(world.facts().iter().any(|fact| fact.starts_with(&format!("pro.calls 10 {starts}"))), "{now}");
    }
    let before = world.facts();
    let _: Decision = world.post(&Command::Settle);
    assert_eq!(world.facts(), before, "each month once");
    world.now = time("2027-02-04T00:00:00Z");
    assert_eq!(world.available(), credits("1"), "the year is over and not paid again");
}

/// A year's fee that goes back takes the unspent of the month that runs, and of the months that are yet to come.
#[test]
fn a_refunded_year_gives_its_later_months_less() {
    let mut world = World::new();
    let payment = PaymentId::from_uuid(Uuid::from_u128(0x77));
    world.state.backs.entry(payment).or_default().total = Some(("usd".parse().unwrap(), 10_000));
    let _: Decision = world.at("01-31").post(&active("01-31"));
    let _: Decision = world.post(&Command::PlanPaid(PlanPaid {
        payment: Some(payment),
        period_end: time("2027-01-31T00:00:00Z"),
        ..paid_for("sub_1", "pro", "01-31", "02-28")
    }));
    world.spend("4");
    let back = |world: &mut World, now: &str, back| {
        let says = Says::Refunded { charge: "ch_1".to_owned(), charged: 10_000, back };
        let view = BackView { object: "ch_1".to_owned(), seen_at: day(now), write_off: false, says };
        let _: Decision = world.at(now).post(&Command::MoneyBack(MoneyBack { payment, views: vec![view] }));
    };
    assert_eq!(world.available(), credits("7"), "6 of the month's, and 1 that is given once");
    back(&mut world, "02-01", 5_000);
    assert_eq!(world.available(), credits("1.5"), "half of both");
    world.at("02-28");
    assert_eq!(world.available(), credits("5.5"), "seen before anybody booked it");
    let _: Decision = world.post(&Command::Settle);
    assert_eq!(world.available(), credits("5.5"));
    back(&mut world, "03-02", 0);
    assert_eq!(world.available(), credits("11"));
    back(&mut world, "03-03", 10_000);
    let _: Decision = world.at("04-30").post(&Command::Settle);
    assert_eq!(world.available(), credits("0"));
}

/// Credits of a trial are what the plan says; the paid periods begin where it ends.
#[test]
fn a_trial_gives_what_the_plan_says_for_trials() {
    let mut world = World::new();
    let mut trialing = seen("01-10", SubscriptionLife::Trialing, "01-10");
    trialing.trial_ends_at = Some(day("01-24"));
    trialing.anchor = day("01-24");
    let start = PlanPaid { is_trial: true, ..paid_for("sub_1", "pro", "01-10", "01-24") };
    let _: Decision = world.at("01-10").post(&Command::SubscriptionSeen(trialing.clone()));
    assert_eq!(world.available(), credits("5"), "Free's until the trial is told by its invoice");
    let _: Decision = world.post(&Command::PlanPaid(start.clone()));
    assert_eq!((world.available(), world.live()), (credits("3"), only("pro")));
    assert!(matches!(world.post(&Command::PlanPaid(start)), Decision::AlreadyApplied(_)));
    world.now = day("01-24").checked_add(SignedDuration::from_mins(59)).unwrap();
    assert_eq!(world.available(), credits("3"), "grace covers the hour of the first draft");
    let _: Decision = world.post(&paid("01-24", "02-24"));
    assert_eq!(world.available(), credits("11"), "a month's credits, and what is given once");
    let state = world.state.attachments.iter().find(|a| a.plan.as_str() == "pro").unwrap().state;
    assert_eq!(state, AttachmentState::Active);
}

/// Cancelled at once: the period's unspent credits end, what was given once stays (rule 16).
#[test]
fn cancelling_now_ends_the_periods_credits() {
    let mut world = World::new();
    let _: Decision = world.at("01-10").post(&active("01-10"));
    let _: Decision = world.post(&paid("01-10", "02-10"));
    world.spend("4");
    let _: Decision = world.at("01-20").post(&over("01-10", "01-20"));
    assert_eq!(world.available(), credits("6"), "1 given once, 5 of Free");
    let ended: Vec<String> = world
        .changes
        .entries
        .iter()
        .filter(|(e, _)| e.kind == EntryKind::End)
        .map(|(e, _)| e.amount.to_string())
        .collect();
    assert_eq!(ended, ["-5", "-6"], "Free's rest, then Pro's");
    let stale = Command::SubscriptionSeen(seen("01-10", SubscriptionLife::Active, "01-21"));
    assert!(matches!(world.post(&stale), Decision::AlreadyApplied(_)), "over is over");
    assert_eq!(world.live(), only("free"));
}

#[test]
fn an_older_view_changes_nothing() {
    let mut world = World::new();
    let mut newer = seen("01-10", SubscriptionLife::Active, "01-15");
    newer.cancel_at = Some(day("02-10"));
    let _: Decision = world.at("01-16").post(&Command::SubscriptionSeen(newer));
    assert!(matches!(world.post(&active("01-10")), Decision::AlreadyApplied(_)));
    assert_eq!(world.state.attachments.iter().find_map(|a| a.cancel_at), Some(day("02-10")));
}

#[test]
fn paused_and_unpaid_plans_are_out_of_force_until_they_come_back() {
    let mut world = World::new();
    let _: Decision = world.at("01-10").post(&active("01-10"));
    let _: Decision = world.post(&paid("01-10", "02-10"));
    let _: Decision =
        world.at("02-20").post(&Command::SubscriptionSeen(seen("01-10", SubscriptionLife::Paused, "02-20")));
    assert_eq!((world.live(), world.available()), (BTreeSet::new(), credits("1")));
    let _: Decision =
        world.at("02-25").post(&Command::SubscriptionSeen(seen("01-10", SubscriptionLife::Active, "02-25")));
    assert_eq!(world.live(), only("pro"));
    let _: Decision = world.post(&paid("02-10", "03-10"));
    assert_eq!(world.available(), credits("11"));
}

/// Rule 17: years of nobody asking equal every boundary on time.
#[test]
fn an_idle_account_has_what_a_busy_one_has() {
    let (mut idle, mut busy) = (World::new(), World::new());
    let mut now = day("01-01");
    for _ in 0..400 {
        now = now.checked_add(SignedDuration::from_hours(7 * 24)).unwrap();
        busy.now = now;
        let _: Decision = busy.post(&Command::Settle);
    }
    idle.now = now;
    let _: Decision = idle.post(&Command::Settle);
    assert_eq!(idle.available(), busy.available());
    let spendable = |world: &World| -> Vec<String> {
        let open = world.state.grants.iter().filter(|grant| grant.remaining.is_positive());
        open.map(|grant| format!("{} {} {:?}", grant.original, grant.starts_at, grant.expires_at)).collect()
    };
    assert_eq!(spendable(&idle), spendable(&busy));
    assert_eq!(idle.state.next_due_at, busy.state.next_due_at);
}

/// Stripe's times are whole seconds: a plan that is bought and left in the second in which its customer was made seems to
/// begin and end before Free did. Free is back all the same, in whatever order it is told.
#[test]
fn a_plan_left_within_its_first_second_leaves_free() {
    let second = day("01-01") - SignedDuration::from_millis(700);
    let view =
        |life| SubscriptionSeen { started_at: second, anchor: second, seen_at: second, ..seen("01-01", life, "01-01") };
    let story = [
        Command::SubscriptionSeen(view(SubscriptionLife::Active)),
        Command::PlanPaid(PlanPaid { period_start: second, ..paid_for("sub_1", "pro", "01-01", "02-01") }),
        Command::SubscriptionSeen(view(SubscriptionLife::Ended(second))),
    ];
    for order in orders(&story) {
        let mut world = World::new();
        for command in &order {
            let _: Decision = world.post(command);
        }
        // Five of Free, and the one that Pro gives for good.
        assert_eq!((world.live(), world.available()), (only("free"), credits("6")), "{order:?}");
    }
}
