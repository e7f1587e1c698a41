//! The laws of money going back: shares, cumulative and monotone; any order, any duplicate; undone without a trace.

use std::collections::BTreeMap;

use creditd::domain::command::{Command, Decision, Outcome, Purchase};
use creditd::domain::credits::Credits;
use creditd::domain::entry::EntryKind;
use creditd::domain::grant::GrantMoney;
use creditd::domain::ids::PaymentId;
use creditd::domain::money::{Currency, Money};
use creditd::domain::reversal::{BackView, DisputeState, MoneyBack, Says, share};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use crate::domain_laws::{World, bought, credits, given, time, track};

pub(crate) const PAYMENT: u128 = 77;
pub(crate) const CHARGED: i64 = 3_000;
const SEEN: &str = "2026-02-01T00:00:00Z";

fn usd() -> Currency {
    "usd".parse().unwrap()
}

fn payment(number: u128) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(number))
}

fn paid(minor: i64) -> GrantMoney {
    GrantMoney { paid: Some(Money::from_minor(minor, usd()).unwrap()), ..GrantMoney::default() }
}

/// A pack of 300 credits for 20.00 and one of 50 for 5.00, on a payment of 30.00: 5.00 are a setup fee.
pub(crate) fn two_packs() -> Purchase {
    let mut purchase =
        bought(PAYMENT, &[("price_a:pack", credits("300")), ("price_b:pack", credits("50"))], time(SEEN));
    for (grant, (price, minor)) in purchase.grants.iter_mut().zip([("price_a", 2_000), ("price_b", 500)]) {
        grant.money = paid(minor);
        grant.stripe_price = Some(price.to_owned());
    }
    purchase
}

pub(crate) fn world(totals: &[(u128, i64)]) -> World {
    let mut world = World::new(Vec::new());
    world.now = time(SEEN);
    for (number, minor) in totals {
        world.state.backs.entry(payment(*number)).or_default().total = Some((usd(), *minor));
    }
    world.applied(&Command::Open);
    world
}

fn view(object: &str, second: i64, says: Says) -> BackView {
    let seen_at = time(SEEN) + SignedDuration::from_secs(second);
    BackView { object: object.to_owned(), seen_at, write_off: false, says }
}

pub(crate) fn refunded(second: i64, back: i64) -> BackView {
    view("ch_1", second, Says::Refunded { charge: "ch_1".to_owned(), charged: CHARGED, back })
}

pub(crate) fn disputed(second: i64, state: DisputeState, lost: i64) -> BackView {
    view("dp_1", second, Says::Disputed { charge: "ch_1".to_owned(), state, lost })
}

fn noted(second: i64, total: i64, refunded: i64, prices: &[(&str, i64)]) -> BackView {
    let prices = prices.iter().map(|(price, minor)| ((*price).to_owned(), *minor)).collect();
    view("cn_1", second, Says::Credited { total, refunded, prices })
}

pub(crate) fn back(views: &[BackView]) -> Command {
    Command::MoneyBack(MoneyBack { payment: payment(PAYMENT), views: views.to_vec() })
}

/// Taken, owed, waived of all the payment's grants.
pub(crate) fn sums(world: &World) -> [Credits; 3] {
    world.state.backs[&payment(PAYMENT)].lots.iter().fold([Credits::ZERO; 3], |[taken, owed, waived], lot| {
        let account = lot.account;
        [
            taken.checked_add(account.taken).unwrap(),
            owed.checked_add(account.owed).unwrap(),
            waived.checked_add(account.waived).unwrap(),
        ]
    })
}

#[rstest]
#[case::nothing(&[refunded(1, 0)], "300", "50")]
#[case::half(&[refunded(1, 1_500)], "150", "25")]
#[case::all(&[refunded(1, 3_000)], "0", "0")]
#[case::a_third_is_rounded_half_even(&[refunded(1, 1)], "299.9", "49.983333333")]
#[case::refund_and_lost_dispute_are_no_more_than_the_charge(
    &[refunded(1, 2_000), disputed(2, DisputeState::Lost, 3_000)], "0", "0"
)]
#[case::an_inquiry_takes_nothing(&[disputed(1, DisputeState::Inquiry, 0)], "300", "50")]
#[case::a_note_names_the_pack(&[noted(1, 1_000, 0, &[("price_a", 1_000)])], "150", "50")]
#[case::its_refund_counts_once(&[noted(1, 1_000, 1_000, &[("price_a", 1_000)]), refunded(2, 1_000)], "150", "50")]
#[case::and_in_the_other_order(&[refunded(1, 1_000), noted(2, 1_000, 1_000, &[("price_a", 1_000)])], "150", "50")]
#[case::the_note_of_the_setup_fee_takes_nothing(&[noted(1, 500, 500, &[("price_fee", 500)]), refunded(2, 500)], "300", "50")]
#[case::a_note_without_lines_is_shared(&[noted(1, 1_500, 0, &[])], "150", "25")]
#[case::a_note_and_another_refund(&[noted(1, 1_000, 1_000, &[("price_a", 1_000)]), refunded(2, 2_500)], "0", "25")]
#[case::a_void_note_takes_nothing(&[noted(1, 1_000, 0, &[("price_a", 1_000)]), noted(2, 0, 0, &[])], "300", "50")]
fn a_share_is_taken(#[case] views: &[BackView], #[case] first: &str, #[case] second: &str) {
    for before in [true, false] {
        let mut world = world(&[(PAYMENT, CHARGED)]);
        if before {
            world.applied(&Command::Purchase(two_packs()));
        }
        for view in views {
            let _: Decision = world.decide(&back(std::slice::from_ref(view))).unwrap();
        }
        if !before {
            world.applied(&Command::Purchase(two_packs()));
        }
        let left: Vec<Credits> = world.state.grants.iter().map(|grant| grant.remaining).collect();
        assert_eq!(left, [credits(first), credits(second)], "grant before the reversal: {before}");
        world.must_keep_the_laws();
    }
}

/// An invoice paid by two charges, of 10.00 and 20.00: what is refunded and disputed of one is no more than that charge.
#[test]
fn of_each_charge_no_more_goes_back_than_it_was() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    let first = Says::Refunded { charge: "ch_1".to_owned(), charged: 1_000, back: 1_000 };
    world.applied(&back(&[view("ch_1", 1, first), disputed(2, DisputeState::Lost, 1_000)]));
    assert_eq!(sums(&world)[0], credits("116.666666667"), "a third");
    let second = Says::Refunded { charge: "ch_2".to_owned(), charged: 2_000, back: 500 };
    world.applied(&back(&[view("ch_2", 3, second)]));
    assert_eq!(sums(&world)[0], credits("175"), "half");
}

#[test]
fn what_is_spent_is_owed_and_the_next_grant_repays_it() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&Command::Track(track("credits", "340")));
    world.applied(&back(&[refunded(1, 3_000)]));
    assert_eq!(sums(&world), [credits("10"), credits("340"), Credits::ZERO]);
    assert_eq!(world.available("credits"), Credits::ZERO);
    world.applied(&Command::Grant(given("credits", "400")));
    assert_eq!(world.available("credits"), credits("60"), "the debt is repaid first");
    // The refund fails: what was repaid goes back to the grant that repaid it.
    world.applied(&back(&[refunded(2, 0)]));
    assert_eq!(world.available("credits"), credits("410"));
    assert!(world.state.debts.iter().all(|debt| debt.outstanding.is_zero()));
    world.must_keep_the_laws();
}

#[test]
fn a_debt_that_is_partly_repaid_is_forgiven_first_and_then_given_back() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&Command::Track(track("credits", "350")));
    world.applied(&back(&[refunded(1, 3_000)]));
    world.applied(&Command::Grant(given("credits", "100")));
    assert_eq!(world.state.debts[0].outstanding, credits("250"));
    world.applied(&back(&[refunded(2, 600)]));
    // 350 owed became 70: 250 forgiven, 30 of the 100 given back.
    assert_eq!(sums(&world), [Credits::ZERO, credits("70"), Credits::ZERO]);
    assert_eq!(world.available("credits"), credits("30"));
    world.applied(&back(&[refunded(3, 1_200)]));
    assert_eq!(sums(&world)[1], credits("140"));
    assert_eq!(world.available("credits"), Credits::ZERO, "a new debt stands before what is there");
    world.must_keep_the_laws();
}

#[test]
fn a_dispute_freezes_what_is_unspent_and_a_won_one_frees_it() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&Command::Grant(given("credits", "7")));
    world.applied(&back(&[disputed(1, DisputeState::Open, 0)]));
    assert_eq!(world.available("credits"), credits("7"), "only the payment's own grants are frozen");
    world.applied(&back(&[disputed(2, DisputeState::Won, 0)]));
    assert_eq!(world.available("credits"), credits("357"));
    assert!(matches!(world.decide(&back(&[disputed(1, DisputeState::Open, 0)])), Ok(Decision::AlreadyApplied(_))));
    assert_eq!(world.available("credits"), credits("357"), "an older view changes nothing");
}

#[test]
fn credits_that_expired_unused_are_not_owed() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    let mut purchase = two_packs();
    purchase.grants[0].expires_at = Some(time(SEEN) + SignedDuration::from_hours(24));
    world.applied(&Command::Purchase(purchase));
    world.applied(&Command::Track(track("credits", "100")));
    world.now += SignedDuration::from_hours(48);
    // 200 of the first pack are gone: the customer had 100 of it and owes no more.
    world.applied(&back(&[refunded(200_000, 3_000)]));
    assert_eq!(sums(&world), [credits("50"), credits("100"), credits("200")]);
}

#[test]
fn by_policy_what_is_spent_is_written_off() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&Command::Track(track("credits", "340")));
    world.applied(&back(&[BackView { write_off: true, ..refunded(1, 3_000) }]));
    assert_eq!(sums(&world), [credits("10"), Credits::ZERO, credits("340")]);
    assert!(world.state.debts.is_empty());
}

#[test]
fn another_policy_does_not_change_what_was_decided() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&Command::Track(track("credits", "340")));
    world.applied(&back(&[refunded(1, 3_000)]));
    let again = BackView { write_off: true, ..refunded(2, 3_000) };
    assert!(matches!(world.decide(&back(&[again])), Ok(Decision::AlreadyApplied(_))));
    assert_eq!(sums(&world), [credits("10"), credits("340"), Credits::ZERO]);
}

#[test]
fn what_nobody_knows_the_price_of_is_refused() {
    let mut world = World::new(Vec::new());
    world.applied(&Command::Open);
    world.state.backs.entry(payment(PAYMENT)).or_default();
    world.applied(&Command::Purchase(two_packs()));
    let error = world.decide(&back(&[refunded(1, 100)])).unwrap_err();
    assert!(error.to_string().contains("has no amount"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// 0 at none, all at full, monotone, never more than was given; parts that follow each other add up.
    #[test]
    fn shares_are_monotone(nanos in 0_i64..i64::MAX, whole in 1_i64..1_000_000, steps in proptest::collection::vec(0_i64..1_000_000, 1..8)) {
        let granted = Credits::from_nanos(i128::from(nanos)).unwrap();
        let mut steps = steps;
        steps.sort_unstable();
        let mut before = Credits::ZERO;
        for part in steps {
            let now = share(granted, part, whole).unwrap();
            prop_assert!(before <= now && now <= granted);
            before = now;
        }
        prop_assert_eq!(share(granted, 0, whole).unwrap(), Credits::ZERO);
        prop_assert_eq!(share(granted, whole, whole).unwrap(), granted);
    }

    /// Whatever went back and came again, in any order, each as often as one likes: the books are those of the newest
    /// views alone; and when all of it is undone, those of before.
    #[test]
    fn no_order_of_views_matters(
        views in proptest::collection::vec(any_view(), 1..7),
        shuffle in any::<u64>(),
        used in 0_i64..400,
        later in proptest::option::of(0_i64..400),
        first in any::<bool>(),
    ) {
        let views: Vec<BackView> = views.into_iter().enumerate().map(|(second, says)| {
            let object = object_of(&says);
            view(object, i64::try_from(second).unwrap(), says)
        }).collect();
        let mut newest: BTreeMap<String, BackView> = BTreeMap::new();
        for view in &views {
            newest.insert(view.object.clone(), view.clone());
        }
        let newest: Vec<BackView> = newest.into_values().collect();
        let told = |orders: &[BackView]| {
            let mut world = world(&[(PAYMENT, CHARGED)]);
            world.applied(&Command::Purchase(two_packs()));
            world.applied(&Command::Track(track("credits", &used.to_string())));
            for (place, one) in orders.iter().enumerate() {
                let _: Decision = world.decide(&back(std::slice::from_ref(one))).unwrap();
                if first && place == 0 && let Some(later) = later {
                    world.applied(&Command::Grant(given("credits", &later.to_string())));
                }
                world.must_keep_the_laws();
            }
            if !first && let Some(later) = later {
                world.applied(&Command::Grant(given("credits", &later.to_string())));
            }
            world
        };
        let straight = told(&newest);
        let mixed = told(&mixed(&views, shuffle));
        prop_assert_eq!(sums(&straight), sums(&mixed));
        prop_assert_eq!(straight.available("credits"), mixed.available("credits"));
        // A grant that came before the debt does not repay it, and is as little spendable: what lies there less what is
        // owed is the same.
        let net = |world: &World| {
            let lying = world.state.grants.iter().map(|grant| grant.remaining.nanos()).sum::<i128>();
            lying - world.state.debts.iter().map(|debt| debt.outstanding.nanos()).sum::<i128>()
        };
        prop_assert_eq!(net(&straight), net(&mixed));
        let frozen = |world: &World| world.state.grants.iter().map(|grant| grant.frozen).collect::<Vec<_>>();
        prop_assert_eq!(frozen(&straight), frozen(&mixed));
        let mut undone = mixed;
        let last = i64::try_from(views.len()).unwrap() + 1;
        let nothing = [refunded(last, 0), disputed(last, DisputeState::Won, 0), noted(last, 0, 0, &[])];
        let _: Decision = undone.decide(&back(&nothing)).unwrap();
        prop_assert_eq!(sums(&undone), [Credits::ZERO; 3]);
        let all = 350 + later.unwrap_or(0) - used.min(350);
        prop_assert_eq!(undone.available("credits"), Credits::whole(all));
        undone.must_keep_the_laws();
    }
}

fn any_view() -> impl Strategy<Value = Says> {
    let charge = || "ch_1".to_owned();
    let states = prop_oneof![
        Just((DisputeState::Inquiry, 0)),
        Just((DisputeState::Open, 0)),
        Just((DisputeState::Won, 0)),
        (1_i64..=CHARGED).prop_map(|lost| (DisputeState::Lost, lost)),
    ];
    prop_oneof![
        3 => (0_i64..=CHARGED).prop_map(move |back| Says::Refunded { charge: charge(), charged: CHARGED, back }),
        2 => states.prop_map(move |(state, lost)| Says::Disputed { charge: charge(), state, lost }),
        2 => (0_i64..1_500, any::<bool>(), 0_i64..1_000).prop_map(|(total, refunds, named)| {
            let prices = [("price_a".to_owned(), named.min(total))].into();
            Says::Credited { total, refunded: if refunds { total } else { 0 }, prices }
        }),
    ]
}

fn object_of(says: &Says) -> &'static str {
    match says {
        Says::Refunded { .. } => "ch_1",
        Says::Disputed { .. } => "dp_1",
        Says::Warned { .. } => "issfr_1",
        Says::Credited { .. } => "cn_1",
    }
}

/// Each view once or twice, in an order of the seed's.
fn mixed(views: &[BackView], seed: u64) -> Vec<BackView> {
    let mut all: Vec<BackView> = views.to_vec();
    let mut state = seed | 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    for view in views {
        if next(2) == 0 {
            all.push(view.clone());
        }
    }
    for place in (1..all.len()).rev() {
        all.swap(place, next(place + 1));
    }
    all
}

#[test]
fn the_ledger_says_what_was_taken_and_owed() {
    let mut world = world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&Command::Track(track("credits", "320")));
    let outcome = world.applied(&back(&[refunded(1, 3_000)]));
    let Outcome::Reversed { taken, owed, waived, grants } = outcome else { panic!("{outcome:?}") };
    assert_eq!((taken, owed, waived, grants.len()), (credits("30"), credits("320"), Credits::ZERO, 2));
    let of = |kind: EntryKind| -> i128 {
        world
            .changes
            .entries
            .iter()
            .filter(|(entry, _)| entry.kind == kind)
            .map(|(entry, _)| entry.amount.nanos())
            .sum()
    };
    assert_eq!((of(EntryKind::ClawBack), of(EntryKind::Debt)), (-credits("30").nanos(), credits("320").nanos()));
    let at: Vec<Timestamp> = world.changes.entries.iter().map(|(entry, _)| entry.at).collect();
    assert!(at.is_sorted());
}
