//! Rollover: what is unspent of a period moves into the next one (rules 13 to 16, 20, 28 and 39; seeds 003 and 004).

use std::collections::BTreeMap;

use creditd::domain::account::AccountState;
use creditd::domain::catalog::Rollover;
use creditd::domain::command::{Command, Decision, PlanPaid, Track, WhenShort};
use creditd::domain::credits::Credits;
use creditd::domain::entry::{ChainHead, EntryKind};
use creditd::domain::grant::{Category, Grant, GrantMoney};
use creditd::domain::ids::{GrantId, PaymentId};
use creditd::domain::money::Money;
use creditd::domain::reversal::{BackAccount, BackView, DisputeState, MoneyBack, PaymentBack, Says};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain_laws::{credits, track};
use crate::subscription_laws::{World, day, paid_for};
use crate::support::app::TestApp;

/// A free plan of 5 calls a month, of which some roll over, and a gift of 3 that never resets.
fn free(rollover: &str) -> String {
    format!(
        "[features.calls]\ntype = \"metered\"\n[plans.free]\nauto_enable = true\n[[plans.free.items]]\n\
         feature = \"calls\"\nincluded = \"5\"\nreset = \"month\"\n{rollover}\n"
    )
}

/// A plan with a price: 10 calls a month, all of which roll over for two months.
const PRO: &str = r#"
[features.calls]
type = "metered"
[plans.pro]
revenue = "credits"
prices = [
  { amount = "10.00", currency = "usd", every = "month", stripe_price = "price_pro" },
  { amount = "100.00", currency = "usd", every = "year", stripe_price = "price_year" },
]
[[plans.pro.items]]
feature = "calls"
included = "10"
reset = "month"
rollover = { months = 2 }
"#;

/// Rollover grants that can be spent, oldest first: what is in them and when they end.
fn lots(state: &AccountState, now: Timestamp) -> Vec<(String, Option<String>)> {
    let mut lots: Vec<&Grant> =
        state.grants.iter().filter(|grant| grant.rolled.is_some() && grant.spendable(now).is_positive()).collect();
    lots.sort_by_key(|lot| (lot.starts_at, lot.id));
    let end = |lot: &&Grant| lot.expires_at.map(|end| end.to_string()[..10].to_owned());
    lots.iter().map(|lot| (lot.spendable(now).to_string(), end(lot))).collect()
}

fn lot(amount: &str, end: &str) -> (String, Option<String>) {
    (amount.to_owned(), Some(end.to_owned()))
}

fn settled(world: &mut World, at: &str) {
    world.at(at);
    let _: Decision = world.post(&Command::Settle);
    world.must_keep_the_laws();
}

impl World {
    /// What the terms of the first item say of rollover.
    pub(crate) fn rollover_mut(&mut self) -> &mut Rollover {
        let plan = self.catalog.terms.values_mut().next().unwrap();
        plan.items[0].rollover.as_mut().unwrap()
    }

    /// Laws 1 and 5 on everything that was ever booked, and what moved by rollover.
    pub(crate) fn must_keep_the_laws(&self) {
        let mut head = ChainHead::EMPTY;
        let mut left: BTreeMap<GrantId, i128> = BTreeMap::new();
        let mut moved: BTreeMap<GrantId, i128> = BTreeMap::new();
        for (number, (entry, stored)) in self.changes.entries.iter().enumerate() {
            head = head.after(self.state.id, entry);
            assert_eq!((entry.seq, head), (i64::try_from(number).unwrap() + 1, *stored), "each line is chained");
            let Some(grant) = entry.grant.filter(|_| entry.kind.changes_remaining()) else { continue };
            let sum = left.entry(grant).or_default();
            *sum += entry.amount.nanos();
            assert!(*sum >= 0, "line {} leaves a grant at {sum}", entry.seq);
            if matches!(entry.kind, EntryKind::RolloverIn | EntryKind::RolloverOut) {
                *moved.entry(grant).or_default() += entry.amount.nanos();
            }
        }
        for grant in &self.state.grants {
            assert_eq!(grant.remaining.nanos(), left.get(&grant.id).copied().unwrap_or_default());
            if let Some(rolled) = &grant.rolled {
                assert_eq!(grant.original.nanos(), moved[&grant.id], "made by what rolled in");
                assert_eq!(moved[&rolled.from], -moved[&grant.id], "what rolled in went out of the grant before");
            }
        }
        assert_eq!(moved.values().sum::<i128>(), 0, "nothing is created or lost on the way");
    }
}

/// Sum of the entries of a kind.
fn sum(world: &World, kind: EntryKind) -> Credits {
    let of_kind = world.changes.entries.iter().filter(|(entry, _)| entry.kind == kind);
    Credits::from_nanos(of_kind.map(|(entry, _)| entry.amount.nanos()).sum()).unwrap()
}

fn paid(number: u128, from: &str, to: &str, price: &str) -> PlanPaid {
    PlanPaid {
        payment: Some(PaymentId::from_uuid(Uuid::from_u128(number))),
        stripe_price: Some(price.to_owned()),
        ..paid_for("sub_1", "pro", from, to)
    }
}

fn pay(world: &mut World, at: &str, paid: &PlanPaid) {
    world.at(at);
    let _: Decision = world.post(&Command::PlanPaid(paid.clone()));
}

/// Seed 003: unused credits at reset time are carried into the next interval, and the balance grows month by month.
#[test]
fn unused_credits_are_carried_and_the_balance_grows() {
    let mut world = World::with(&free("rollover = {}"));
    for (month, available) in [("02-01", "10"), ("03-01", "15"), ("04-01", "20")] {
        settled(&mut world, month);
        assert_eq!(world.available(), credits(available), "{month}");
    }
    assert_eq!(lots(&world.state, world.now), vec![("5".to_owned(), None); 3], "carried ones never end here");
    assert_eq!(sum(&world, EntryKind::RolloverIn), sum(&world, EntryKind::RolloverOut).negated());
    assert_eq!(sum(&world, EntryKind::Expire), Credits::ZERO);
}

/// Seed 003: rollover applies to recurring grants; one-off ones have no reset and feed the same balance.
#[test]
fn what_never_resets_needs_no_rollover() {
    let gift = "[[plans.free.items]]\nid = \"gift\"\nfeature = \"calls\"\nincluded = \"3\"";
    let mut world = World::with(&format!("{}{gift}\n", free("")));
    settled(&mut world, "02-01");
    assert_eq!(world.available(), credits("8"), "one balance: 5 of the month, 3 for ever");
    assert_eq!(lots(&world.state, world.now), vec![]);
    assert_eq!(sum(&world, EntryKind::Expire), credits("-5"));
}

/// Seed 004: a cap prevents unbounded accumulation. The oldest is cut first; what lived its months ends.
#[test]
fn the_cap_cuts_the_oldest_first_and_months_end_the_rest() {
    let mut world = World::with(&free("rollover = { max = \"8\", months = 2 }"));
    world.at("01-15").spend("2");
    settled(&mut world, "02-01");
    assert_eq!(lots(&world.state, world.now), vec![lot("3", "2026-04-01")]);
    let carried = world.state.grants.iter().find(|grant| grant.rolled.is_some()).unwrap().clone();
    let first = &world.state.grants[0];
    assert_eq!((carried.category, carried.priority, carried.period.clone()), (Category::Plan, 5, None));
    let rolled = carried.rolled.as_ref().unwrap();
    assert_eq!((rolled.from, rolled.item.as_str()), (first.id, "calls"));
    // Rollover burns before what the month gives.
    world.at("02-10").spend("1");
    assert_eq!(lots(&world.state, world.now), vec![lot("2", "2026-04-01")]);
    settled(&mut world, "03-01");
    assert_eq!(lots(&world.state, world.now), vec![lot("2", "2026-04-01"), lot("5", "2026-05-01")]);
    settled(&mut world, "04-01");
    assert_eq!(
        lots(&world.state, world.now),
        vec![lot("3", "2026-05-01"), lot("5", "2026-06-01")],
        "the oldest is cut"
    );
    assert_eq!(world.available(), credits("13"));
    settled(&mut world, "05-01");
    assert_eq!(lots(&world.state, world.now), vec![lot("3", "2026-06-01"), lot("5", "2026-07-01")]);
}

/// Of several old ones the oldest goes first, wholly before the next is touched.
#[test]
fn of_several_the_oldest_is_cut_first() {
    let mut world = World::with(&free("rollover = { max = \"12\", months = 12 }"));
    for (month, left) in [("04-01", ["2", "5", "5"]), ("05-01", ["2", "5", "5"])] {
        for day in ["02-01", "03-01"] {
            if world.now < crate::subscription_laws::day(day) {
                settled(&mut world, day);
            }
        }
        settled(&mut world, month);
        let amounts: Vec<String> = lots(&world.state, world.now).into_iter().map(|(amount, _)| amount).collect();
        assert_eq!(amounts, left, "{month}");
    }
    assert_eq!(lots(&world.state, world.now)[0], lot("2", "2027-03-01"), "February's is gone, of March's 2 are left");
}

/// What does not fit at all expires where it lies, as one booking with what moves.
#[test]
fn what_is_above_the_cap_expires_in_the_same_booking() {
    let mut world = World::with(&free("rollover = { max = \"2\" }"));
    settled(&mut world, "02-01");
    let booked = &world.changes.entries[1..];
    let told: Vec<_> = booked.iter().map(|(entry, _)| (entry.kind, entry.amount.to_string())).collect();
    let wanted = [
        (EntryKind::RolloverOut, "-2"),
        (EntryKind::RolloverIn, "2"),
        (EntryKind::Expire, "-3"),
        (EntryKind::Grant, "5"),
    ];
    assert_eq!(told, wanted.map(|(kind, amount)| (kind, amount.to_owned())));
    assert!(booked.iter().all(|(entry, _)| entry.command == booked[0].0.command), "one booking");
    assert!(booked.iter().all(|(entry, _)| entry.event_at.unwrap_or(entry.at) == day("02-01")));
}

/// A share of the included amount, of all seats; with both, the smaller one counts.
#[rstest]
#[case::half(None, Some(50), 1, "2.5")]
#[case::of_all_seats(None, Some(50), 3, "7.5")]
#[case::more_than_one_period(None, Some(300), 1, "15")]
#[case::nothing(None, Some(0), 1, "0")]
#[case::the_smaller_one(Some("4"), Some(100), 1, "4")]
#[case::the_smaller_share(Some("4"), Some(50), 1, "2.5")]
#[case::a_third_is_rounded_down(None, Some(33), 1, "1.65")]
fn a_cap_may_be_a_share(
    #[case] max: Option<&str>,
    #[case] percent: Option<u32>,
    #[case] seats: i64,
    #[case] carried: &str,
) {
    let mut world = World::with(&free("rollover = {}"));
    world.rollover_mut().max = max.map(credits);
    world.rollover_mut().max_percent = percent;
    world.state.attachments[0].quantity = seats;
    for month in ["02-01", "03-01", "04-01", "05-01"] {
        settled(&mut world, month);
    }
    let sum: i128 = lots(&world.state, world.now).iter().map(|(amount, _)| credits(amount).nanos()).sum();
    assert_eq!(Credits::from_nanos(sum).unwrap(), credits(carried));
}

/// An item that names a burn priority names it for its rollover grants too.
#[test]
fn the_items_priority_is_its_rollovers() {
    let mut world = World::with(&free("rollover = {}\npriority = 7"));
    settled(&mut world, "02-01");
    assert!(world.state.grants.iter().all(|grant| grant.priority == 7));
}

/// Nothing follows a plan that ended at the boundary, so nothing rolls.
#[test]
fn a_plan_that_ends_at_the_boundary_rolls_nothing() {
    let mut world = World::with(&free("rollover = {}"));
    settled(&mut world, "02-01");
    world.state.attachments[0].cancel_at = Some(day("03-01"));
    settled(&mut world, "03-01");
    assert_eq!(world.available(), credits("5"), "what rolled before stays (rule 16); the month's rest ends");
    assert_eq!(sum(&world, EntryKind::Expire), credits("-5"));
}

/// What a hold pins stays where it is and, set free later, expires there; the rest moves once.
#[test]
fn held_slices_stay_and_expire_where_they_lie() {
    let mut world = World::with(&free("rollover = {}"));
    world.state.grants[0].held = credits("2");
    settled(&mut world, "02-01");
    assert_eq!(lots(&world.state, world.now), vec![("3".to_owned(), None)]);
    assert_eq!(world.state.grants[0].remaining, credits("2"));
    world.state.grants[0].held = Credits::ZERO;
    settled(&mut world, "02-03");
    assert_eq!(lots(&world.state, world.now), vec![("3".to_owned(), None)], "it does not move after its time");
    assert_eq!(sum(&world, EntryKind::Expire), credits("-2"));
    settled(&mut world, "03-01");
    assert_eq!(sum(&world, EntryKind::RolloverOut), credits("-8"));
}

/// A slice of a rollover grant that a hold pins cannot be cut: what comes is cut instead.
#[test]
fn the_cap_holds_also_where_the_oldest_is_pinned() {
    let mut world = World::with(&free("rollover = { max = \"6\" }"));
    settled(&mut world, "02-01");
    for grant in world.state.grants.iter_mut().filter(|grant| grant.rolled.is_some()) {
        grant.held = credits("4");
    }
    settled(&mut world, "03-01");
    let living: i128 =
        world.state.grants.iter().filter(|g| g.rolled.is_some()).map(|grant| grant.remaining.nanos()).sum();
    assert_eq!(Credits::from_nanos(living).unwrap(), credits("6"));
    assert_eq!(lots(&world.state, world.now), vec![("2".to_owned(), None)], "4 pinned, 2 new");
}

/// The renewal gap (rule 14): in grace the old month is spent on; the rest moves when the invoice is paid, and lives from
/// the boundary. After the grace nothing is left to move.
#[rstest]
#[case::in_grace("02-03", vec![lot("4", "2026-04-01")])]
#[case::after_it("02-05", vec![])]
fn the_rest_moves_when_the_successor_is_paid(#[case] at: &str, #[case] carried: Vec<(String, Option<String>)>) {
    let mut world = World::with(PRO);
    pay(&mut world, "01-01", &paid(1, "01-01", "02-01", "price_pro"));
    world.at("02-02").spend("6");
    assert_eq!(lots(&world.state, world.now), vec![], "nothing moves before");
    pay(&mut world, at, &paid(2, "02-01", "03-01", "price_pro"));
    assert_eq!(lots(&world.state, world.now), carried);
    world.must_keep_the_laws();
    let first = paid(1, "01-01", "02-01", "price_pro");
    pay(&mut world, at, &first);
    pay(&mut world, at, &paid(2, "02-01", "03-01", "price_pro"));
    assert_eq!(lots(&world.state, world.now), carried, "and once");
}

/// An invoice paid before its period begins moves nothing before the old period is over.
#[test]
fn a_successor_that_came_early_waits_for_the_end() {
    let mut world = World::with(PRO);
    pay(&mut world, "01-01", &paid(1, "01-01", "02-01", "price_pro"));
    pay(&mut world, "01-30", &paid(2, "02-01", "03-01", "price_pro"));
    assert_eq!((lots(&world.state, world.now), world.available()), (vec![], credits("10")));
    world.at("01-31").spend("1");
    for at in ["02-01", "02-02"] {
        settled(&mut world, at);
        assert_eq!(lots(&world.state, world.now), vec![lot("9", "2026-04-01")]);
    }
    assert_eq!(world.available(), credits("19"));
}

/// An annual fee that is told of in May: its months roll over as if each had been given on time.
#[test]
fn a_year_that_is_told_late_has_its_months_rests() {
    let mut on_time = World::with(PRO);
    let mut late = World::with(PRO);
    let year = PlanPaid { period_end: day("12-31"), ..paid(1, "01-01", "12-31", "price_year") };
    pay(&mut on_time, "01-01", &year);
    for month in ["02-01", "03-01", "04-01", "05-01", "05-10"] {
        settled(&mut on_time, month);
    }
    pay(&mut late, "05-10", &year);
    assert_eq!(lots(&late.state, late.now), lots(&on_time.state, on_time.now));
    assert_eq!(lots(&late.state, late.now), vec![lot("10", "2026-06-01"), lot("10", "2026-07-01")]);
    late.must_keep_the_laws();
}

/// Without cap and end, as many live as one account may have; the oldest are cut.
#[test]
fn there_is_an_end_of_rollover_grants() {
    let daily = free("rollover = {}").replace("\"month\"", "\"day\"");
    let mut world = World::with(&daily);
    for _ in 0..450 {
        world.now += SignedDuration::from_hours(24);
        let _: Decision = world.post(&Command::Settle);
    }
    let carried = lots(&world.state, world.now);
    assert_eq!(carried.len(), 400);
    let oldest = world.state.grants.iter().filter(|grant| grant.rolled.is_some() && grant.free().is_positive());
    assert_eq!(oldest.map(|grant| grant.starts_at).min(), Some(day("01-01") + SignedDuration::from_hours(24 * 51)));
    world.must_keep_the_laws();
}

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, "usd".parse().unwrap()).unwrap()
}

/// January's fee of 10.00 is known to be refundable, its month gave 10; `before` of it was spent then, and `after` of what
/// rolled over since.
fn refundable(before: &str, after: &str) -> World {
    let mut world = World::with(PRO);
    let total = Some(("usd".parse().unwrap(), 1_000));
    world.state.backs.insert(january(), PaymentBack { total, ..PaymentBack::default() });
    let money = GrantMoney { paid: Some(usd(1_000)), ..GrantMoney::default() };
    pay(&mut world, "01-01", &PlanPaid { money, ..paid(1, "01-01", "02-01", "price_pro") });
    world.at("01-10").spend(before);
    pay(&mut world, "02-01", &paid(2, "02-01", "03-01", "price_pro"));
    world.at("02-10").spend(after);
    world
}

fn january() -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(1))
}

fn back(world: &mut World, second: i64, says: Says) -> BackAccount {
    let object = match &says {
        Says::Disputed { .. } => "dp_1",
        Says::Refunded { .. } | Says::Warned { .. } | Says::Credited { .. } => "ch_1",
    };
    let seen_at = day("02-11") + SignedDuration::from_secs(second);
    let view = BackView { object: object.to_owned(), seen_at, write_off: false, says };
    world.at("02-12");
    let _: Decision = world.post(&Command::MoneyBack(MoneyBack { payment: january(), views: vec![view] }));
    world.must_keep_the_laws();
    world.state.backs[&january()].lots.iter().fold(BackAccount::default(), |sum, lot| BackAccount {
        taken: sum.taken.checked_add(lot.account.taken).unwrap(),
        owed: sum.owed.checked_add(lot.account.owed).unwrap(),
        waived: sum.waived.checked_add(lot.account.waived).unwrap(),
    })
}

fn refund(minor: i64) -> Says {
    Says::Refunded { charge: "ch_1".to_owned(), charged: 1_000, back: minor }
}

fn dispute(state: DisputeState, lost: i64) -> Says {
    Says::Disputed { charge: "ch_1".to_owned(), state, lost }
}

/// A refund of January's fee finds its unspent credits where they rolled over to; February's are another payment's.
#[rstest]
#[case::all_of_it("6", "1", 1_000, ["3", "0", "7"])]
#[case::half_finds_enough("2", "0", 500, ["5", "0", "0"])]
#[case::half_finds_less("6", "1", 500, ["3", "0", "2"])]
#[case::all_was_spent("10", "0", 1_000, ["0", "0", "10"])]
fn a_refund_takes_what_rolled_over(
    #[case] before: &str,
    #[case] after: &str,
    #[case] minor: i64,
    #[case] wanted: [&str; 3],
) {
    let mut world = refundable(before, after);
    let available = world.available();
    let sums = back(&mut world, 1, refund(minor));
    assert_eq!([sums.taken, sums.owed, sums.waived], wanted.map(credits));
    assert_eq!(world.available(), available.checked_sub(sums.taken).unwrap());
    let undone = back(&mut world, 2, refund(0));
    assert_eq!(undone, BackAccount::default(), "a refund that failed leaves no trace");
    assert_eq!(world.available(), available);
}

/// A lost dispute asks for what was used too, of the month and of its rest together.
#[test]
fn a_lost_dispute_owes_what_was_used_of_both() {
    let mut world = refundable("6", "1");
    let open = back(&mut world, 1, dispute(DisputeState::Open, 0));
    assert_eq!(open, BackAccount::default());
    assert_eq!((world.available(), lots(&world.state, world.now)), (credits("10"), vec![]), "its rest is frozen");
    let sums = back(&mut world, 2, dispute(DisputeState::Lost, 1_000));
    assert_eq!([sums.taken, sums.owed, sums.waived], ["3", "7", "0"].map(credits));
    assert_eq!(world.available(), credits("3"), "10 of February less the debt");
    let won = back(&mut world, 3, dispute(DisputeState::Won, 0));
    assert_eq!((won, world.available()), (BackAccount::default(), credits("13")));
}

/// A rest that is frozen at the boundary moves and stays frozen.
#[test]
fn a_frozen_rest_moves_frozen() {
    let mut world = World::with(PRO);
    let total = Some(("usd".parse().unwrap(), 1_000));
    world.state.backs.insert(january(), PaymentBack { total, ..PaymentBack::default() });
    pay(&mut world, "01-01", &paid(1, "01-01", "02-01", "price_pro"));
    world.at("01-20");
    let view = BackView {
        object: "dp_1".to_owned(),
        seen_at: day("01-20"),
        write_off: false,
        says: dispute(DisputeState::Open, 0),
    };
    let _: Decision = world.post(&Command::MoneyBack(MoneyBack { payment: january(), views: vec![view] }));
    pay(&mut world, "02-01", &paid(2, "02-01", "03-01", "price_pro"));
    assert_eq!(world.available(), credits("10"), "February's alone");
    let _: BackAccount = back(&mut world, 1, dispute(DisputeState::Won, 0));
    assert_eq!(world.available(), credits("20"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whenever money goes back, before the month's rest moves or after: as much is taken as is unspent and went back,
    /// never more in all than went back, and a look again changes nothing.
    #[test]
    fn refunds_around_the_boundary_take_what_is_unspent(
        early in 0_i64..=1_000, late in 0_i64..=1_000, before in 0_u32..=10, after in 0_u32..=10, lost in any::<bool>(),
    ) {
        let late = late.max(early);
        let mut world = World::with(PRO);
        let total = Some(("usd".parse().unwrap(), 1_000));
        world.state.backs.insert(january(), PaymentBack { total, ..PaymentBack::default() });
        pay(&mut world, "01-01", &paid(1, "01-01", "02-01", "price_pro"));
        world.at("01-10").spend(&before.to_string());
        let says = |minor| if lost { dispute(DisputeState::Lost, minor) } else { refund(minor) };
        let object = if lost { "dp_1" } else { "ch_1" };
        let view = |at: &str, minor| BackView {
            object: object.to_owned(), seen_at: day(at), write_off: false, says: says(minor),
        };
        let told = |view| Command::MoneyBack(MoneyBack { payment: january(), views: vec![view] });
        world.at("01-20");
        let _: Decision = world.post(&told(view("01-20", early)));
        pay(&mut world, "02-01", &paid(2, "02-01", "03-01", "price_pro"));
        world.at("02-10");
        let used = Track { when_short: WhenShort::Cap, ..track("calls", &after.to_string()) };
        let _: Decision = world.post(&Command::Track(used));
        let unspent: i128 = world.state.grants.iter()
            .filter(|grant| grant.payment == Some(january())).map(|grant| grant.free().nanos()).sum();
        let taken = |world: &World| -> i128 {
            world.state.backs[&january()].lots.iter().map(|lot| lot.account.taken.nanos()).sum()
        };
        let had = taken(&world);
        let sums = back(&mut world, 1, says(late));
        let aim = i128::from(late) * 10_000_000;
        prop_assert_eq!(sums.all().unwrap().nanos(), aim);
        prop_assert_eq!(sums.taken.nanos(), had + (aim - had).min(unspent));
        prop_assert!(lost || sums.owed.is_zero(), "a plan's refund owes nothing");
        prop_assert_eq!(back(&mut world, 2, says(late)), sums);
    }
}

/// The whole way: a catalogue, a test clock, the worker, verify, the grants export.
#[tokio::test]
async fn rollover_through_the_database() {
    let day_seconds = 86_400;
    let app = TestApp::with_catalog(&free("rollover = { max = \"8\", months = 2 }")).await;
    app.customer("ada").await;
    assert_eq!(app.track("one", "ada", "calls", "2").await.0, 200);
    assert!(app.store.set_test_offset(32 * day_seconds).await.unwrap());
    assert_eq!(app.available("ada", "calls").await, "8", "answered before it is booked");
    assert_eq!(app.track("two", "ada", "calls", "1").await.1["drawn"], "1");
    let carried = |grants: &[Value]| -> Vec<String> {
        let is_carried = |grant: &&Value| grant["priority"] == 5 && grant["remaining"] != "0";
        grants.iter().filter(is_carried).filter_map(|grant| grant["remaining"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(carried(&app.grants_of("ada").await), ["2"], "rollover is burnt first");
    // A sleep over many months ends as if each had been booked: two months' rests under the cap, and the new month.
    assert!(app.store.set_test_offset(400 * day_seconds).await.unwrap());
    assert_eq!(app.available("ada", "calls").await, "13");
    let (_, entries) = app.call("GET", "/api/v1/customers/ada/entries?limit=100", None).await;
    let before = entries["data"].as_array().unwrap().len();
    let account = app.store.claim_customer("ada").await.unwrap().account();
    for _ in 0..3 {
        let body = json!({ "customer": "ada", "feature": "calls" });
        assert_eq!(app.call("POST", "/api/v1/check", Some(body)).await.1["allowed"], true);
        let _: Decision = app.daemon.posting().post(account, None, Command::Settle).await.unwrap();
    }
    let (_, entries) = app.call("GET", "/api/v1/customers/ada/entries?limit=100", None).await;
    let after = entries["data"].as_array().unwrap().len();
    assert!(after - before < 30, "only what survives is booked: {before} lines, then {after}");
    let _: Decision = app.daemon.posting().post(account, None, Command::Settle).await.unwrap();
    let (_, again) = app.call("GET", "/api/v1/customers/ada/entries?limit=100", None).await;
    assert_eq!(again["data"].as_array().unwrap().len(), after, "settling again books nothing");
    let mut left = carried(&app.grants_of("ada").await);
    left.sort();
    assert_eq!(left, ["3", "5"]);
    app.finish().await;
}
