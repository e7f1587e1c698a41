//! Changes of plan and seats inside a period (rule 15): what each gives, whatever order it is told in.

use creditd::domain::check::{Question, Reason, check};
use creditd::domain::command::{Command, Decision, PlanChanged, PlanPaid};
use creditd::domain::credits::Credits;
use creditd::domain::ids::PaymentId;
use creditd::domain::reversal::{BackView, MoneyBack, Says};
use creditd::domain::subscription::{SubscriptionLife, SubscriptionSeen};
use creditd::domain::usage::Usage;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use crate::domain_laws::{credits, feature, quantity, time};
use crate::subscription_laws::{World, day, only, orders, paid_for, seen_of};
use crate::support::plans::changed_plan;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[features.export]
type = "boolean"
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
past_due_grace_hours = 24
prices = [
  { amount = "10.00", currency = "usd", every = "month", stripe_price = "price_pro" },
  { amount = "100.00", currency = "usd", every = "year", stripe_price = "price_pro_year" },
]
[[plans.pro.items]]
feature = "calls"
included = "10"
reset = "month"
[[plans.pro.items]]
feature = "export"
[plans.max]
group = "main"
revenue = "external"
prices = [{ amount = "20.00", currency = "usd", every = "month", stripe_price = "price_max" }]
[[plans.max.items]]
feature = "calls"
included = "20"
reset = "month"
[plans.giant]
group = "main"
revenue = "external"
prices = [{ amount = "40.00", currency = "usd", every = "month", stripe_price = "price_giant" }]
[[plans.giant.items]]
feature = "calls"
included = "33"
reset = "month"
[[plans.giant.items]]
id = "more"
feature = "calls"
included = "7"
reset = "month"
"#;

/// Half of the month from the tenth of January is over.
const HALF: &str = "2026-01-25T12:00:00Z";
/// Three quarters are.
const LATE: &str = "2026-02-02T06:00:00Z";

fn at(seconds: i64) -> Timestamp {
    day("01-10").checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

/// A change of the month from the tenth of January, told by its two lines and paid at once.
fn change(from: (&str, i64), to: (&str, i64), when: Timestamp) -> PlanChanged {
    changed_plan(from, to, when, day("02-10"))
}

fn changed(from: (&str, i64), to: (&str, i64), when: &str) -> Command {
    Command::PlanChanged(change(from, to, time(when)))
}

fn paid(plan: &str, seats: i64, start: &str, end: &str) -> Command {
    Command::PlanPaid(PlanPaid { quantity: seats, ..paid_for("sub_1", plan, start, end) })
}

fn view(plans: &[(&str, i64)], seen_at: Timestamp, life: SubscriptionLife) -> SubscriptionSeen {
    let names: Vec<&str> = plans.iter().map(|(plan, _)| *plan).collect();
    let mut seen = seen_of("sub_1", &names, "01-10", life, "01-10");
    for (plan, (_, quantity)) in seen.plans.iter_mut().zip(plans) {
        plan.quantity = *quantity;
    }
    seen.seen_at = seen_at;
    seen
}

fn seen(plans: &[(&str, i64)], seen_at: Timestamp) -> Command {
    Command::SubscriptionSeen(view(plans, seen_at, SubscriptionLife::Active))
}

/// An account that paid for a plan's month from the tenth of January.
fn subscribed(catalog: &str, plan: &str, seats: i64) -> World {
    let mut world = World::with(catalog);
    let _: Decision = world.at("01-10").post(&paid(plan, seats, "01-10", "02-10"));
    world
}

/// Posts a command at a time; it is applied, and the same again changes nothing.
fn apply(world: &mut World, when: Timestamp, command: &Command) {
    world.now = world.now.max(when);
    assert!(matches!(world.post(command), Decision::Applied(_)), "{command:?}");
    let before = world.facts();
    let again = world.post(command);
    assert!(matches!(again, Decision::AlreadyApplied(_)), "{again:?}");
    assert_eq!(world.facts(), before);
}

#[rstest]
#[case::plan_at_half(("pro", 1), ("max", 1), HALF, "15")]
#[case::plan_late(("pro", 1), ("max", 1), LATE, "12.5")]
#[case::two_items_of_one_pool(("pro", 1), ("giant", 1), HALF, "25")]
#[case::seats(("pro", 1), ("pro", 3), HALF, "20")]
#[case::plan_and_seats(("pro", 1), ("max", 2), HALF, "25")]
#[case::fewer_seats_of_more(("pro", 3), ("max", 2), HALF, "35")]
#[case::down(("max", 1), ("pro", 1), HALF, "20")]
#[case::seats_down(("pro", 3), ("pro", 1), HALF, "30")]
#[case::a_third(("pro", 1), ("max", 1), "2026-01-30T16:00:00Z", "13.333333333")]
#[case::at_the_start(("pro", 1), ("max", 1), "2026-01-10T00:00:00Z", "20")]
fn a_change_gives_its_share_of_the_time_that_remains(
    #[case] from: (&str, i64),
    #[case] to: (&str, i64),
    #[case] when: &str,
    #[case] available: &str,
) {
    let mut world = subscribed(CATALOG, from.0, from.1);
    apply(&mut world, time(when), &changed(from, to, when));
    assert_eq!((world.available(), world.live()), (credits(available), only(to.0)));
    // The next period is the new plan's alone.
    world.now = day("02-10").checked_add(SignedDuration::from_hours(1)).unwrap();
    assert_eq!(world.available(), credits(available), "all of it waits for the renewal");
    let _: Decision = world.post(&paid(to.0, to.1, "02-10", "03-10"));
    let per_seat = match to.0 {
        "pro" => 10,
        "max" => 20,
        _ => 40,
    };
    assert_eq!(world.available(), Credits::whole(per_seat * to.1));
}

#[test]
fn loops_of_up_and_down_mint_nothing() {
    let mut world = subscribed(CATALOG, "pro", 1);
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    assert_eq!(world.available(), credits("15"));
    for hour in 0..200 {
        let when = time(HALF).checked_add(SignedDuration::from_hours(hour + 1)).unwrap();
        world.now = when;
        let (from, to) = if hour % 2 == 0 { ("max", "pro") } else { ("pro", "max") };
        let _: Decision = world.post(&Command::PlanChanged(change((from, 1), (to, 1), when)));
        assert_eq!((world.available(), world.live()), (credits("15"), only(to)));
    }
    // More than was held before is new.
    world.now = time("2026-02-05T00:00:00Z");
    let _: Decision = world.post(&changed(("max", 1), ("max", 3), "2026-02-05T00:00:00Z"));
    assert_eq!(world.available(), credits("21.451612903"), "40 more for 5 of 31 days");
}

#[test]
fn two_upgrades_of_one_period_add_up() {
    let mut world = subscribed(CATALOG, "pro", 1);
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    apply(&mut world, time(LATE), &changed(("max", 1), ("giant", 1), LATE));
    assert_eq!(world.available(), credits("20"), "10, 10 / 2 and 20 / 4");
}

/// What was refunded covers nothing: who buys the upgrade again gets it again.
#[test]
fn an_upgrade_that_was_refunded_can_be_bought_again() {
    let mut world = subscribed(CATALOG, "pro", 1);
    let payment = PaymentId::from_uuid(uuid::Uuid::from_u128(0x77));
    world.state.backs.entry(payment).or_default().total = Some(("usd".parse().unwrap(), 500));
    let mut upgrade = change(("pro", 1), ("max", 1), time(HALF));
    upgrade.payment = Some(payment);
    apply(&mut world, time(HALF), &Command::PlanChanged(upgrade));
    assert_eq!(world.available(), credits("15"));
    let says = Says::Refunded { charge: "ch_1".to_owned(), charged: 500, back: 500 };
    let view = BackView { object: "ch_1".to_owned(), seen_at: time(HALF), write_off: false, says };
    apply(&mut world, time(HALF), &Command::MoneyBack(MoneyBack { payment, views: vec![view] }));
    assert_eq!(world.available(), credits("10"));
    apply(&mut world, time(LATE), &changed(("pro", 1), ("max", 1), LATE));
    assert_eq!(world.available(), credits("12.5"), "10 more for a quarter of the month");
}

/// Two changes that Stripe dates alike, as an app does that sets the proration date itself: each is paid, each gives.
#[test]
fn two_steps_of_one_date_are_both_given() {
    for reversed in [false, true] {
        let mut world = subscribed(CATALOG, "pro", 1);
        let mut steps = [changed(("pro", 1), ("pro", 2), HALF), changed(("pro", 2), ("pro", 3), HALF)];
        if reversed {
            steps.reverse();
        }
        for step in &steps {
            apply(&mut world, time(HALF), step);
        }
        assert_eq!(world.available(), credits("20"));
    }
}

#[test]
fn a_full_reset_gives_the_new_allowance_whole_and_once() {
    let catalog = CATALOG.replace("[plans.max]", "[plans.max]\nupgrade = \"full_reset\"");
    let mut world = subscribed(&catalog, "pro", 1);
    world.spend("4");
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    assert_eq!(world.available(), credits("20"), "the 6 unspent of Pro end");
    world.spend("15");
    for (hour, from, to) in [(1, "max", "pro"), (2, "pro", "max"), (3, "max", "pro"), (4, "pro", "max")] {
        let when = time(HALF).checked_add(SignedDuration::from_hours(hour)).unwrap();
        world.now = when;
        let _: Decision = world.post(&Command::PlanChanged(change((from, 1), (to, 1), when)));
        assert_eq!(world.available(), credits("5"), "the same again is no new allowance");
    }
    apply(&mut world, time(LATE), &changed(("max", 1), ("max", 2), LATE));
    assert_eq!(world.available(), credits("40"), "more seats are");
}

#[test]
fn next_period_gives_nothing_before_it() {
    let catalog = CATALOG.replace("[plans.max]", "[plans.max]\nupgrade = \"next_period\"");
    let mut world = subscribed(&catalog, "pro", 1);
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    assert_eq!((world.available(), world.live()), (credits("10"), only("max")));
    let _: Decision = world.at("02-10").post(&paid("max", 1, "02-10", "03-10"));
    assert_eq!(world.available(), credits("20"));
}

/// With `create_prorations` the change is paid with the next invoice: its credits can be spent then.
#[test]
fn a_proration_that_rides_on_the_next_invoice_can_be_spent() {
    for reversed in [false, true] {
        let mut world = subscribed(CATALOG, "pro", 1);
        let _: Decision = world.at("01-26").post(&seen(&[("max", 1)], time(HALF)));
        assert_eq!(world.available(), credits("10"), "not paid yet");
        world.at("02-10");
        let ridden = PlanChanged { paid_at: day("02-10"), ..change(("pro", 1), ("max", 1), time(HALF)) };
        let mut told = [Command::PlanChanged(ridden), paid("max", 1, "02-10", "03-10")];
        if reversed {
            told.reverse();
        }
        for command in &told {
            apply(&mut world, day("02-10"), command);
        }
        assert_eq!(world.available(), credits("25"));
        world.at("03-14");
        assert_eq!(world.available(), Credits::ZERO, "it ends with the period it was paid in");
    }
}

/// Monthly credits of an annual price: the month that runs gets its share, the clock gives the later ones whole.
#[test]
fn an_annual_plan_changes_in_the_middle_of_a_month() {
    for told_by in 0..3 {
        let mut world = World::with(CATALOG);
        let year = PlanPaid { period_end: time("2027-01-10T00:00:00Z"), ..paid_for("sub_1", "pro", "01-10", "02-10") };
        let _: Decision = world.at("01-10").post(&seen(&[("pro", 1)], day("01-10")));
        let _: Decision = world.post(&Command::PlanPaid(year));
        let when = time("2026-03-24T12:00:00Z");
        let mut upgrade = change(("pro", 1), ("max", 1), when);
        upgrade.period_end = time("2027-01-10T00:00:00Z");
        world.now = when;
        let mut told = vec![seen(&[("max", 1)], when), Command::PlanChanged(upgrade)];
        match told_by {
            0 => {}
            1 => told.reverse(),
            _ => drop(told.remove(0)),
        }
        for command in &told {
            apply(&mut world, when, command);
        }
        assert_eq!(world.available(), credits("15.322580645"), "March has 31 days from the tenth: 16.5 remain");
        let _: Decision = world.at("04-10").post(&Command::Settle);
        assert_eq!(world.available(), credits("20"), "April is the new plan's");
    }
}

/// Without a proration (`proration_behavior=none`) the year that was paid is the new plan's from the next boundary on.
#[test]
fn an_annual_plan_that_changes_without_proration_stays_paid() {
    for late in [false, true] {
        let mut world = World::with(CATALOG);
        let year = Command::PlanPaid(PlanPaid {
            period_end: time("2027-01-10T00:00:00Z"),
            ..paid_for("sub_1", "max", "01-10", "02-10")
        });
        let mut told = vec![year, seen(&[("pro", 1)], day("01-20"))];
        if late {
            told.reverse();
        }
        world.at("01-20");
        for command in &told {
            let _: Decision = world.post(command);
        }
        assert_eq!((world.available(), world.live()), (credits("20"), only("pro")));
        world.at("02-10");
        assert_eq!(world.available(), credits("10"));
        world.at("12-10");
        assert_eq!(world.available(), credits("10"));
        world.now = time("2027-02-10T00:00:00Z");
        assert_eq!(world.available(), Credits::ZERO);
    }
}

fn all_orders_agree(events: &[Command], now: &str) -> Vec<String> {
    let story = |order: &[Command]| {
        let mut world = World::with(CATALOG);
        world.at(now);
        for command in order {
            let _: Decision = world.post(command);
            assert!(matches!(world.post(command), Decision::AlreadyApplied(_)), "{command:?}");
        }
        let facts: Vec<String> = world.facts().into_iter().filter(|fact| !fact.starts_with("free")).collect();
        (facts, world.live(), world.available())
    };
    let first = story(events);
    for order in orders(events) {
        assert_eq!(story(&order), first, "{order:?}");
    }
    first.0
}

#[rstest]
#[case::upgrade(vec![
    seen(&[("pro", 1)], day("01-10")), paid("pro", 1, "01-10", "02-10"), seen(&[("max", 1)], time(HALF)),
    changed(("pro", 1), ("max", 1), HALF), paid("max", 1, "02-10", "03-10"),
], "02-11", 3)]
#[case::invoices_alone(vec![
    paid("pro", 1, "01-10", "02-10"), changed(("pro", 1), ("max", 1), HALF), paid("max", 1, "02-10", "03-10"),
], "02-11", 3)]
#[case::in_the_period(vec![
    seen(&[("pro", 1)], day("01-10")), paid("pro", 1, "01-10", "02-10"), seen(&[("max", 1)], time(HALF)),
    changed(("pro", 1), ("max", 1), HALF),
], "01-26", 2)]
#[case::no_view_of_it(vec![
    seen(&[("pro", 1)], day("01-10")), paid("pro", 1, "01-10", "02-10"), seen(&[("pro", 1)], day("01-20")),
    changed(("pro", 1), ("max", 1), HALF),
], "01-26", 2)]
#[case::replaced_by_a_view_alone(vec![
    seen(&[("pro", 1)], day("01-10")), paid("pro", 1, "01-10", "02-10"), seen(&[("max", 1)], time(HALF)),
    paid("max", 1, "02-10", "03-10"),
], "02-11", 2)]
#[case::seats_both_ways(vec![
    seen(&[("pro", 1)], day("01-10")), paid("pro", 1, "01-10", "02-10"), seen(&[("pro", 4)], time(HALF)),
    changed(("pro", 1), ("pro", 4), HALF), seen(&[("pro", 2)], time(LATE)),
], "02-03", 2)]
#[case::twice_up(vec![
    paid("pro", 1, "01-10", "02-10"), changed(("pro", 1), ("max", 1), HALF), changed(("max", 1), ("giant", 1), LATE),
    seen(&[("giant", 1)], time(LATE)), paid("giant", 1, "02-10", "03-10"),
], "02-11", 6)]
#[case::scheduled_downgrade(vec![
    seen(&[("max", 1)], day("01-10")), paid("max", 1, "01-10", "02-10"), seen(&[("pro", 1)], day("02-10")),
    paid("pro", 1, "02-10", "03-10"),
], "02-11", 2)]
fn no_order_of_a_change_decides_what_it_gives(#[case] events: Vec<Command>, #[case] now: &str, #[case] grants: usize) {
    let facts = all_orders_agree(&events, now);
    assert_eq!(facts.len(), grants, "{facts:#?}");
}

/// A downgrade by schedule: the plan is the old one until the boundary, the new one after it, and never both.
#[test]
fn a_scheduled_downgrade_takes_place_at_the_boundary() {
    let mut world = subscribed(CATALOG, "max", 1);
    let _: Decision = world.post(&seen(&[("max", 1)], day("01-10")));
    let _: Decision = world.at("02-10").post(&paid("pro", 1, "02-10", "03-10"));
    assert_eq!((world.available(), world.live()), (credits("10"), only("pro")));
    let _: Decision = world.post(&seen(&[("pro", 1)], day("02-10")));
    assert_eq!((world.available(), world.live()), (credits("10"), only("pro")));
}

/// Between the boundary and its invoice the old plan's credits wait for the new one's (rule 14).
#[test]
fn a_downgrade_leaves_no_gap_before_its_first_invoice() {
    let mut world = subscribed(CATALOG, "max", 1);
    let _: Decision = world.post(&seen(&[("max", 1)], day("01-10")));
    world.now = day("02-10").checked_add(SignedDuration::from_mins(30)).unwrap();
    let now = world.now;
    let _: Decision = world.post(&seen(&[("pro", 1)], now));
    assert_eq!((world.available(), world.live()), (credits("20"), only("pro")));
    let _: Decision = world.post(&paid("pro", 1, "02-10", "03-10"));
    assert_eq!(world.available(), credits("10"));
}

/// Cancelled at once after an upgrade: what both plans gave for the period ends (rule 16).
#[rstest]
#[case::now("01-28", "5")]
#[case::with_the_period("02-10", "5")]
fn cancelling_after_an_upgrade_ends_what_both_gave(#[case] end: &str, #[case] left: &str) {
    let mut world = subscribed(CATALOG, "pro", 1);
    let _: Decision = world.post(&seen(&[("pro", 1)], day("01-10")));
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    let over = view(&[("max", 1)], day(end), SubscriptionLife::Ended(day(end)));
    let _: Decision = world.at(end).post(&Command::SubscriptionSeen(over));
    assert_eq!((world.available(), world.live()), (credits(left), only("free")));
}

/// A plan of another subscription takes the place of both.
#[test]
fn a_subscription_that_replaces_an_upgraded_one_ends_what_both_gave() {
    let mut world = subscribed(CATALOG, "pro", 1);
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    let _: Decision = world.at("01-28").post(&Command::PlanPaid(paid_for("sub_2", "giant", "01-28", "02-28")));
    assert_eq!((world.available(), world.live()), (credits("40"), only("giant")));
}

/// What a plan gives without limit comes with a paid change to it, and ends with the plan.
#[test]
fn what_has_no_limit_comes_and_goes_with_its_plan() {
    let catalog = CATALOG.replace("included = \"20\"\nreset = \"month\"", "unlimited = true");
    let is_unlimited = |world: &World| {
        let question = Question {
            feature: feature("calls"),
            entity: String::new(),
            usage: Usage::of(quantity("1000")),
            explain: true,
        };
        check(&world.state, &world.catalog, &question, world.now).unwrap().reason == Reason::Unlimited
    };
    let mut world = subscribed(&catalog, "pro", 1);
    let _: Decision = world.post(&seen(&[("pro", 1)], day("01-10")));
    apply(&mut world, time(HALF), &changed(("pro", 1), ("max", 1), HALF));
    assert!(is_unlimited(&world));
    // Back to Pro: until the end of what is paid.
    let _: Decision = world.at("01-28").post(&seen(&[("pro", 1)], day("01-28")));
    assert!(is_unlimited(&world));
    let _: Decision = world.at("02-10").post(&paid("pro", 1, "02-10", "03-10"));
    assert!(!is_unlimited(&world));
    assert_eq!(world.available(), credits("10"));
    // To Max again, and over at once.
    let _: Decision = world.at("03-10").post(&paid("max", 1, "03-10", "04-10"));
    let _: Decision = world.post(&seen(&[("max", 1)], day("03-10")));
    assert!(is_unlimited(&world));
    let over = view(&[("max", 1)], day("03-12"), SubscriptionLife::Ended(day("03-12")));
    let _: Decision = world.at("03-12").post(&Command::SubscriptionSeen(over));
    assert_eq!((is_unlimited(&world), world.available()), (false, credits("5")));
}

/// `billing_cycle_anchor=now`: a new period begins, and is paid whole.
#[test]
fn a_reset_anchor_begins_a_new_period() {
    let mut world = subscribed(CATALOG, "pro", 1);
    let _: Decision = world.at("01-20").post(&paid("pro", 1, "01-20", "02-20"));
    assert_eq!(world.available(), credits("20"), "what was given before stays until its end");
    world.at("02-11");
    assert_eq!(world.available(), credits("10"));
}

/// A plan that got another name in the catalogue between two tries of one invoice gives its period once.
#[test]
fn a_plan_renamed_between_two_tries_gives_once() {
    let payment = Some(PaymentId::from_uuid(Uuid::from_u128(7)));
    let told = |plan| {
        let stripe_price = Some("price_pro".to_owned());
        Command::PlanPaid(PlanPaid { payment, stripe_price, ..paid_for("sub_1", plan, "01-10", "02-10") })
    };
    let mut world = World::with(CATALOG);
    let _: Decision = world.at("01-10").post(&told("pro"));
    assert!(matches!(world.post(&told("max")), Decision::AlreadyApplied(_)));
    assert_eq!((world.available(), world.live()), (credits("10"), only("pro")));
}

/// Rule 18: the flags go off after the grace, the credits stay.
#[test]
fn an_overdue_plan_keeps_its_flags_for_its_grace_and_its_credits_beyond() {
    let mut world = subscribed(CATALOG, "pro", 1);
    let _: Decision = world.post(&seen(&[("pro", 1)], day("01-10")));
    let flag = |world: &World| {
        let question = Question {
            feature: feature("export"),
            entity: String::new(),
            usage: Usage::of(quantity("1")),
            explain: true,
        };
        check(&world.state, &world.catalog, &question, world.now).unwrap().reason
    };
    assert_eq!(flag(&world), Reason::Flag);
    world.now = day("02-10").checked_add(SignedDuration::from_hours(2)).unwrap();
    let seen_at = world.now;
    let overdue = view(&[("pro", 1)], seen_at, SubscriptionLife::PastDue);
    let _: Decision = world.post(&Command::SubscriptionSeen(overdue.clone()));
    assert_eq!(flag(&world), Reason::Flag);
    let grace_end = day("02-11");
    world.now = grace_end.checked_sub(SignedDuration::from_secs(1)).unwrap();
    assert_eq!(flag(&world), Reason::Flag, "a day from the end of what is paid, not from when Stripe said so");
    world.now = grace_end;
    assert_eq!(flag(&world), Reason::FeatureNotGranted, "nothing had to run for it");
    assert_eq!(world.available(), credits("10"), "credits already given stay");
    let later = SubscriptionSeen { seen_at: day("02-12"), ..overdue };
    let _: Decision = world.at("02-12").post(&Command::SubscriptionSeen(later));
    assert_eq!(flag(&world), Reason::FeatureNotGranted, "the grace does not begin anew");
    let _: Decision = world.post(&paid("pro", 1, "02-10", "03-10"));
    assert_eq!((flag(&world), world.available()), (Reason::Flag, credits("10")));
}

const PLANS: [(&str, i64); 3] = [("pro", 10), ("max", 20), ("giant", 40)];
const MONTH_SECONDS: i64 = 31 * 24 * 3_600;

/// Levels held from some second of the month on, the first from its start.
type Held = Vec<(i64, usize, i64)>;

fn histories() -> impl Strategy<Value = Held> {
    let change = (1..MONTH_SECONDS, 0..PLANS.len(), 1_i64..5);
    proptest::collection::vec(change, 1..8).prop_map(|mut held| {
        held.sort_unstable();
        held.dedup_by_key(|(second, ..)| *second);
        held[0].0 = 0;
        held
    })
}

/// Billionths that the payments of a history warrant: the highest level held so far, over time, rounded down.
fn warranted(held: &Held) -> (i128, i128) {
    let (mut area, mut highest) = (0_i128, 0_i128);
    for (place, (second, plan, seats)) in held.iter().enumerate() {
        let until = held.get(place + 1).map_or(MONTH_SECONDS, |next| next.0);
        highest = highest.max(i128::from(PLANS[*plan].1 * seats) * 1_000_000_000);
        area += highest * i128::from(until - second);
    }
    (area / i128::from(MONTH_SECONDS), highest)
}

fn given(world: &World) -> i128 {
    let of_plans = world.facts().iter().filter(|fact| !fact.starts_with("free")).count();
    assert!(of_plans >= 1);
    let is_free = |grant: &&creditd::domain::grant::Grant| {
        let period = grant.period.as_ref().unwrap();
        world.state.attachments.iter().any(|a| a.id == period.attachment && a.plan.as_str() == "free")
    };
    world.state.grants.iter().filter(|grant| !is_free(grant)).map(|grant| grant.original.nanos()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// F31: whatever a customer does with plans and seats in a period, and in whatever order and however often it is
    /// told, the credits are those that the highest level held so far warrants at each moment, and never more than the
    /// highest level.
    #[test]
    fn changes_give_what_the_levels_held_warrant(held in histories(), order in any::<[u8; 16]>()) {
        let command = |place: usize| {
            let (second, plan, seats) = held[place];
            if place == 0 {
                return paid(PLANS[plan].0, seats, "01-10", "02-10");
            }
            let (_, old, old_seats) = held[place - 1];
            Command::PlanChanged(change((PLANS[old].0, old_seats), (PLANS[plan].0, seats), at(second)))
        };
        let (area, highest) = warranted(&held);
        let mut in_order = World::with(CATALOG);
        for (place, (second, ..)) in held.iter().enumerate() {
            in_order.now = at(*second);
            let _: Decision = in_order.post(&command(place));
        }
        let rounding = i128::try_from(held.len()).unwrap() * 2;
        let total = given(&in_order);
        prop_assert!((total - area).abs() <= rounding, "{total} given, {area} warranted");
        prop_assert!(total <= highest);

        // The same told at the end, in another order, some of it twice.
        let mut told: Vec<usize> = (0..held.len()).chain((0..held.len()).filter(|place| order[8 + place] > 192)).collect();
        told.sort_by_key(|place| order[*place].wrapping_mul(31).wrapping_add(u8::try_from(*place).unwrap()));
        let mut shuffled = World::with(CATALOG);
        shuffled.at("02-09");
        for place in told {
            let _: Decision = shuffled.post(&command(place));
        }
        let total = given(&shuffled);
        prop_assert!((total - area).abs() <= rounding, "{total} given, {area} warranted, in another order: {:#?}", shuffled.facts());
        prop_assert!(total <= highest);
    }
}
