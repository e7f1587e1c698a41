//! Money back under attack: credit notes whose refunds did not happen, and prices that bought more than one grant.

use std::collections::BTreeMap;

use creditd::domain::command::{Command, Decision, Purchase};
use creditd::domain::entry::EntryKind;
use creditd::domain::grant::GrantMoney;
use creditd::domain::ids::PaymentId;
use creditd::domain::money::Money;
use creditd::domain::reversal::{BackView, DisputeState, MoneyBack, Says};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use crate::domain_laws::{World, bought, credits, given as by_hand, time, track};

const PAYMENT: u128 = 78;
const CHARGED: i64 = 3_000;

fn at() -> Timestamp {
    time("2026-02-01T00:00:00Z")
}

fn payment() -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(PAYMENT))
}

/// Grants of a payment of 30.00: credits, price and what of the payment each carries.
fn purchase(lots: &[(&str, &str, Option<i64>)]) -> Purchase {
    let keys: Vec<String> = (0..lots.len()).map(|place| format!("{}:{place}", lots[place].1)).collect();
    let items: Vec<_> = keys.iter().zip(lots).map(|(key, lot)| (key.as_str(), credits(lot.0))).collect();
    let mut purchase = bought(PAYMENT, &items, at());
    for (grant, (_, price, paid)) in purchase.grants.iter_mut().zip(lots) {
        let paid = paid.map(|minor| Money::from_minor(minor, "usd".parse().unwrap()).unwrap());
        grant.money = GrantMoney { paid, ..GrantMoney::default() };
        grant.stripe_price = Some((*price).to_owned());
    }
    purchase
}

fn view(object: &str, second: i64, says: Says) -> BackView {
    let seen_at = at() + SignedDuration::from_secs(second);
    BackView { object: object.to_owned(), seen_at, write_off: false, says }
}

fn refunded(second: i64, back: i64) -> BackView {
    view("ch_1", second, Says::Refunded { charge: "ch_1".to_owned(), charged: CHARGED, back })
}

fn noted(second: i64, total: i64, refunded: i64, prices: &[(&str, i64)]) -> BackView {
    let prices = prices.iter().map(|(price, minor)| ((*price).to_owned(), *minor)).collect();
    view("cn_1", second, Says::Credited { total, refunded, prices })
}

/// What is left of each grant when these views come one by one.
fn left(purchase: Purchase, views: &[BackView]) -> Vec<String> {
    let mut world = World::new(Vec::new());
    world.now = at();
    world.state.backs.entry(payment()).or_default().total = Some(("usd".parse().unwrap(), CHARGED));
    world.applied(&Command::Open);
    world.applied(&Command::Purchase(purchase));
    for view in views {
        let command = Command::MoneyBack(MoneyBack { payment: payment(), views: vec![view.clone()] });
        let _: Decision = world.decide(&command).unwrap();
    }
    world.must_keep_the_laws();
    world.state.grants.iter().map(|grant| grant.remaining.to_string()).collect()
}

/// The refund behind a credit note failed, is pending, or was made with `creditd_keep_credits`: the charge says that
/// nothing went back, or less than the note says.
#[rstest]
#[case::nothing_went_back(0, "300")]
#[case::a_part_went_back(400, "240")]
#[case::all_of_it_went_back(1_000, "150")]
fn a_note_whose_refund_takes_no_credits_takes_none_by_its_lines(#[case] back: i64, #[case] of_first: &str) {
    let packs = || purchase(&[("300", "price_a", Some(2_000)), ("50", "price_b", Some(500))]);
    let note = [("price_a", 1_000)];
    let expected = vec![of_first.to_owned(), "50".to_owned()];
    assert_eq!(left(packs(), &[noted(1, 1_000, 1_000, &note), refunded(2, back)]), expected);
    assert_eq!(left(packs(), &[refunded(1, back), noted(2, 1_000, 1_000, &note)]), expected);
    // The refund had arrived and failed later.
    let undone = [refunded(1, 1_000), noted(2, 1_000, 1_000, &note), refunded(3, back)];
    assert_eq!(left(packs(), &undone), expected);
}

/// A plan's line gives several features, of which one carries the fee.
#[rstest]
#[case::all(2_000, ["0", "0", "30"])]
#[case::half(1_000, ["50", "20", "30"])]
fn a_note_takes_the_same_share_of_all_that_a_price_gave(#[case] credited: i64, #[case] expected: [&str; 3]) {
    let lots = [("100", "price_a", Some(2_000)), ("40", "price_a", None), ("30", "price_b", Some(1_000))];
    assert_eq!(left(purchase(&lots), &[noted(1, credited, 0, &[("price_a", credited)])]), expected);
}

/// Two lines of one price, such as a new period and a proration: a note of half of both takes half of each.
#[test]
fn a_note_of_two_lines_of_one_price_takes_what_it_credits_and_no_more() {
    let lots = [("100", "price_a", Some(2_000)), ("50", "price_a", Some(1_000))];
    assert_eq!(left(purchase(&lots), &[noted(1, 1_500, 0, &[("price_a", 1_500)])]), ["50", "25"]);
}

/// What happens to a customer between looks at Stripe.
#[derive(Clone, Debug)]
enum Step {
    Track(i64),
    Grant(i64),
    Back(BackView),
}

fn any_step() -> impl Strategy<Value = Step> {
    let charge = |two: bool| if two { "ch_2" } else { "ch_1" }.to_owned();
    let says = prop_oneof![
        4 => (any::<bool>(), 0_i64..=1_500).prop_map(move |(two, back)| {
            Says::Refunded { charge: charge(two), charged: 1_500, back }
        }),
        2 => (any::<bool>(), 0_i64..=1_500).prop_map(move |(two, lost)| {
            let state = if lost == 0 { DisputeState::Open } else { DisputeState::Lost };
            Says::Disputed { charge: charge(two), state, lost }
        }),
        1 => any::<bool>().prop_map(move |open| Says::Warned { charge: charge(true), open }),
        2 => (0_i64..=3_000, 0_i64..=3_000, 0_i64..=2_000).prop_map(|(total, refunded, named)| {
            let prices = [("price_a".to_owned(), named.min(total))].into();
            Says::Credited { total, refunded: refunded.min(total), prices }
        }),
    ];
    let view = (says, any::<bool>()).prop_map(|(says, write_off)| {
        let object = match &says {
            Says::Refunded { charge, .. } => charge.clone(),
            Says::Disputed { charge, .. } => format!("dp_{charge}"),
            Says::Warned { .. } => "issfr_1".to_owned(),
            Says::Credited { total, .. } => format!("cn_{}", total % 2),
        };
        Step::Back(BackView { object, seen_at: at(), write_off, says })
    });
    prop_oneof![3 => (-200_i64..200).prop_map(Step::Track), 1 => (1_i64..200).prop_map(Step::Grant), 4 => view]
}

fn nothing(says: &Says) -> Says {
    match says.clone() {
        Says::Refunded { charge, charged, .. } => Says::Refunded { charge, charged, back: 0 },
        Says::Disputed { charge, .. } => Says::Disputed { charge, state: DisputeState::Won, lost: 0 },
        Says::Warned { charge, .. } => Says::Warned { charge, open: false },
        Says::Credited { .. } => Says::Credited { total: 0, refunded: 0, prices: BTreeMap::new() },
    }
}

/// What lies in grants, less what is owed, and what was used of it.
fn net_and_used(world: &World) -> (i128, i128) {
    let lying = world.state.grants.iter().map(|grant| grant.remaining.nanos()).sum::<i128>();
    let owed = world.state.debts.iter().map(|debt| debt.outstanding.nanos()).sum::<i128>();
    let of_use = world
        .changes
        .entries
        .iter()
        .filter(|(entry, _)| entry.grant.is_some() && [EntryKind::Draw, EntryKind::Return].contains(&entry.kind));
    (lying - owed, -of_use.map(|(entry, _)| entry.amount.nanos()).sum::<i128>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Whatever is used, returned, given, taken and owed in between, on packs and plans, by one policy or the other:
    /// when Stripe says at last that nothing went back, the customer has what was given less what was used.
    #[test]
    fn nothing_is_lost_or_made_by_money_that_came_again(
        steps in proptest::collection::vec(any_step(), 1..14),
        plans in any::<[bool; 3]>(),
        late in 0_usize..6,
    ) {
        let lots = [("100", "price_a", Some(1_500)), ("40", "price_a", None), ("30", "price_b", Some(1_000))];
        let mut world = World::new(Vec::new());
        world.now = at();
        world.state.backs.entry(payment()).or_default().total = Some(("usd".parse().unwrap(), CHARGED));
        world.applied(&Command::Open);
        let mut given = 170_i128;
        let mut known: BTreeMap<String, BackView> = BTreeMap::new();
        let late = late.min(steps.len() - 1);
        for (second, step) in steps.iter().enumerate() {
            if second == late {
                world.applied(&Command::Purchase(purchase(&lots)));
                for (lot, is_plan) in world.state.backs.get_mut(&payment()).unwrap().lots.iter_mut().zip(plans) {
                    lot.is_plan = is_plan;
                }
            }
            match step {
                Step::Track(units) => drop(world.decide(&Command::Track(track("credits", &units.to_string())))),
                Step::Grant(amount) => {
                    given += i128::from(*amount);
                    world.applied(&Command::Grant(by_hand("credits", &amount.to_string())));
                }
                Step::Back(view) => {
                    let seen_at = at() + SignedDuration::from_secs(i64::try_from(second).unwrap() + 1);
                    let view = BackView { seen_at, ..view.clone() };
                    known.insert(view.object.clone(), view.clone());
                    let command = Command::MoneyBack(MoneyBack { payment: payment(), views: vec![view] });
                    let _: Decision = world.decide(&command).unwrap();
                }
            }
            world.must_keep_the_laws();
            for lot in &world.state.backs[&payment()].lots {
                prop_assert!(lot.account.all().unwrap() <= lot.granted, "{:?}", lot);
            }
            prop_assert!(world.state.debts.iter().all(|debt| !debt.outstanding.is_negative()));
        }
        let views = known.into_values().map(|view| BackView {
            seen_at: at() + SignedDuration::from_secs(1_000),
            says: nothing(&view.says),
            ..view
        });
        let command = Command::MoneyBack(MoneyBack { payment: payment(), views: views.collect() });
        let _: Decision = world.decide(&command).unwrap();
        world.must_keep_the_laws();
        let (net, used) = net_and_used(&world);
        prop_assert_eq!(net, given * 1_000_000_000 - used);
        prop_assert!(world.state.debts.iter().all(|debt| debt.outstanding.is_zero()));
        prop_assert!(world.state.grants.iter().all(|grant| !grant.frozen));
    }
}
