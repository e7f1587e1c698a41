//! Wallets and corrections by hand, decided without a database: the ledger's laws, and each refusal.

use std::collections::BTreeMap;

use creditd::domain::command::{Command, Decision, NewGrant, Outcome, Rejection, Track, WalletRef, WhenShort};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::entry::{ChainHead, EntryKind, Source};
use creditd::domain::grant::WalletState;
use creditd::domain::ids::{GrantId, WalletId};
use creditd::domain::reversal::DisputeState;
use creditd::domain::wallet::{Adjustment, NewWallet, Terminate, Void, WALLETS_MAX, WalletChange, WalletOrder};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use crate::domain_laws::{World, credits, feature, given, item, track};
use crate::reversal_laws::{self, CHARGED, PAYMENT, back, disputed, refunded, sums, two_packs};

fn new_wallet(id: u128, priority: i32) -> NewWallet {
    NewWallet {
        named: Some((WalletId::from_uuid(Uuid::from_u128(id)), format!("wallet {id}"))),
        feature: feature("credits"),
        name: None,
        priority,
        default_expiry_days: None,
        debt_limit: None,
        metadata: BTreeMap::new(),
    }
}

fn make(world: &mut World, id: u128, priority: i32) -> WalletId {
    let outcome = world.applied(&Command::Wallet(WalletOrder::Make(new_wallet(id, priority))));
    let Outcome::Wallet { wallet } = outcome else { panic!("{outcome:?}") };
    wallet
}

fn unchanged(wallet: WalletId) -> WalletChange {
    WalletChange {
        wallet,
        name: None,
        priority: None,
        default_expiry_days: None,
        debt_limit: None,
        frozen: None,
        metadata: None,
    }
}

fn change(of: WalletChange) -> Command {
    Command::Wallet(WalletOrder::Change(of))
}

fn end(wallet: WalletId) -> Command {
    Command::Terminate(Terminate { wallet, reason: "over".to_owned(), source: Source::Api, actor: None })
}

fn void(grant: GrantId, quantity: Option<&str>) -> Command {
    let quantity = quantity.map(credits);
    Command::Void(Void { grant, quantity, reason: "wrong".to_owned(), source: Source::Api, actor: None })
}

fn adjust(grant: GrantId, quantity: &str) -> Command {
    let quantity = credits(quantity);
    Command::Adjust(Adjustment { grant, quantity, reason: "a count".to_owned(), source: Source::Api, actor: None })
}

fn into(wallet: WalletId, amount: &str) -> NewGrant {
    NewGrant { wallet: WalletRef::Named { id: wallet, key: None }, ..given("credits", amount) }
}

fn grant(world: &mut World, new: NewGrant) -> GrantId {
    let outcome = world.applied(&Command::Grant(new));
    let Outcome::Granted { grants } = outcome else { panic!("{outcome:?}") };
    grants[0]
}

fn use_up(world: &mut World, units: &str) {
    world.applied(&Command::Track(Track { when_short: WhenShort::Reject, ..track("credits", units) }));
}

fn remaining(world: &World, grant: GrantId) -> Credits {
    world.state.grant(grant).unwrap().remaining
}

#[test]
fn a_lower_wallet_burns_first_and_a_changed_priority_holds_at_once() {
    let mut world = World::new(Vec::new());
    let (late, early) = (make(&mut world, 900, 5), make(&mut world, 901, -5));
    let (second, first) = (grant(&mut world, into(late, "3")), grant(&mut world, into(early, "3")));
    use_up(&mut world, "1");
    assert_eq!((remaining(&world, first), remaining(&world, second)), (credits("2"), credits("3")));
    world.applied(&change(WalletChange { priority: Some(-9), ..unchanged(late) }));
    use_up(&mut world, "1");
    assert_eq!((remaining(&world, first), remaining(&world, second)), (credits("2"), credits("2")));
}

#[test]
fn a_frozen_wallet_takes_and_does_not_give() {
    let mut world = World::new(Vec::new());
    let wallet = make(&mut world, 900, 0);
    grant(&mut world, into(wallet, "3"));
    world.applied(&change(WalletChange { frozen: Some(true), ..unchanged(wallet) }));
    grant(&mut world, into(wallet, "2"));
    assert_eq!(world.available("credits"), Credits::ZERO);
    let asked = Command::Track(Track { when_short: WhenShort::Reject, ..track("credits", "1") });
    assert!(matches!(world.decide(&asked), Err(Rejection::Insufficient { .. })));
    world.applied(&change(WalletChange { frozen: Some(false), ..unchanged(wallet) }));
    assert_eq!(world.available("credits"), credits("5"));
    let again = world.decide(&change(WalletChange { frozen: Some(false), ..unchanged(wallet) })).unwrap();
    assert_eq!(again, Decision::AlreadyApplied(Outcome::Wallet { wallet }));
}

#[test]
fn settings_are_set_cleared_and_left() {
    let mut world = World::new(Vec::new());
    let wallet = make(&mut world, 900, 0);
    let metadata = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    world.applied(&change(WalletChange {
        name: Some(Some("Promotions".to_owned())),
        default_expiry_days: Some(Some(30)),
        debt_limit: Some(Some(credits("7"))),
        metadata: Some(metadata.clone()),
        ..unchanged(wallet)
    }));
    let known = world.state.wallet(wallet).unwrap().clone();
    assert_eq!((known.name.as_deref(), known.default_expiry_days), (Some("Promotions"), Some(30)));
    assert_eq!((known.debt_limit, &known.metadata), (Some(credits("7")), &metadata));
    let lot = grant(&mut world, into(wallet, "1"));
    let lot = world.state.grant(lot).unwrap().clone();
    assert_eq!(lot.expires_at, Some(lot.starts_at + SignedDuration::from_hours(24 * 30)));
    world.applied(&change(WalletChange {
        name: Some(None),
        default_expiry_days: Some(None),
        debt_limit: Some(Some(Credits::ZERO)),
        ..unchanged(wallet)
    }));
    let known = world.state.wallet(wallet).unwrap();
    assert_eq!((&known.name, known.default_expiry_days, known.debt_limit), (&None, None, None), "a limit of 0 is none");
    assert_eq!(known.metadata, metadata);
}

#[test]
fn an_ended_wallet_is_void_closed_and_no_default_any_more() {
    let mut world = World::new(Vec::new());
    let first = grant(&mut world, given("credits", "5"));
    let wallet = world.state.grant(first).unwrap().wallet;
    let starts_at = Some(world.now + SignedDuration::from_hours(24));
    let later = grant(&mut world, NewGrant { starts_at, ..given("credits", "2") });
    use_up(&mut world, "1");
    let outcome = world.applied(&end(wallet));
    let (voided, repaid) = (credits("6"), Credits::ZERO);
    assert_eq!(outcome, Outcome::Terminated { wallet, voided, repaid, grants: 2 });
    assert_eq!((remaining(&world, first), remaining(&world, later)), (Credits::ZERO, Credits::ZERO));
    let known = world.state.wallet(wallet).unwrap();
    assert_eq!((known.state, known.is_default, known.closed_at), (WalletState::Closed, false, Some(world.now)));
    let again = world.decide(&end(wallet)).unwrap();
    let voided = Credits::ZERO;
    assert_eq!(again, Decision::AlreadyApplied(Outcome::Terminated { wallet, voided, repaid, grants: 0 }));
    // Nothing goes in by name, nothing is changed; what names no wallet gets a new one.
    let refused = Rejection::WalletClosed(wallet);
    assert_eq!(world.decide(&Command::Grant(into(wallet, "1"))), Err(refused.clone()));
    assert_eq!(world.decide(&change(WalletChange { frozen: Some(false), ..unchanged(wallet) })), Err(refused.clone()));
    assert_eq!(world.decide(&adjust(first, "1")), Err(refused));
    let fresh = grant(&mut world, given("credits", "4"));
    assert_ne!(world.state.grant(fresh).unwrap().wallet, wallet);
    assert_eq!(world.available("credits"), credits("4"));
    world.must_keep_the_laws();
}

#[test]
fn an_ended_wallet_pays_what_it_owes_first() {
    let mut world = World::new(Vec::new());
    let wallet = make(&mut world, 900, 0);
    let lot = grant(&mut world, into(wallet, "5"));
    world.owes(wallet, "3");
    let outcome = world.applied(&end(wallet));
    let (voided, repaid) = (credits("2"), credits("3"));
    assert_eq!(outcome, Outcome::Terminated { wallet, voided, repaid, grants: 1 });
    assert_eq!((remaining(&world, lot), world.state.debts[0].outstanding), (Credits::ZERO, Credits::ZERO));
    let kinds: Vec<EntryKind> = world.changes.entries.iter().map(|(entry, _)| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Grant, EntryKind::Repay, EntryKind::Void]);
}

/// What was voided was not spent: it is not owed when its payment goes back. What was added by hand was not bought.
#[test]
fn corrections_are_told_from_use_when_money_goes_back() {
    let bought = |world: &mut World| {
        world.applied(&Command::Purchase(two_packs()));
        world.state.grants.iter().find(|grant| grant.original == credits("300")).unwrap().id
    };
    let mut world = reversal_laws::world(&[(PAYMENT, CHARGED)]);
    let lot = bought(&mut world);
    world.applied(&void(lot, Some("120")));
    world.applied(&back(&[refunded(1, CHARGED)]));
    assert_eq!(sums(&world), [credits("230"), Credits::ZERO, credits("120")], "taken, owed, waived");
    let mut world = reversal_laws::world(&[(PAYMENT, CHARGED)]);
    let lot = bought(&mut world);
    world.applied(&adjust(lot, "40"));
    world.applied(&back(&[refunded(1, CHARGED)]));
    assert_eq!(sums(&world), [credits("350"), Credits::ZERO, Credits::ZERO]);
    assert_eq!(world.available("credits"), credits("40"));
}

#[test]
fn what_comes_back_into_an_ended_wallet_is_void_too() {
    let mut world = reversal_laws::world(&[(PAYMENT, CHARGED)]);
    world.applied(&Command::Purchase(two_packs()));
    world.applied(&back(&[disputed(1, DisputeState::Lost, CHARGED)]));
    let wallet = world.state.grants[0].wallet;
    world.applied(&end(wallet));
    world.applied(&back(&[disputed(2, DisputeState::Won, 0)]));
    assert_eq!(sums(&world), [Credits::ZERO; 3], "the dispute took nothing in the end");
    assert!(world.state.grants.iter().all(|grant| grant.remaining.is_zero()), "and the wallet holds nothing");
    must_fold(&world);
    world.applied(&back(&[disputed(3, DisputeState::Lost, CHARGED)]));
    assert!(world.state.debts.iter().all(|debt| debt.outstanding.is_zero()), "what is void was not spent");
}

#[test]
fn a_wallet_with_held_credits_is_not_ended() {
    let mut world = World::new(Vec::new());
    let wallet = make(&mut world, 900, 0);
    let lot = grant(&mut world, into(wallet, "5"));
    world.state.grants[0].held = credits("2");
    let head = world.state.head;
    assert_eq!(world.decide(&end(wallet)), Err(Rejection::WalletHeld { wallet, held: credits("2") }));
    assert_eq!((world.state.head, remaining(&world, lot)), (head, credits("5")), "a refusal changes nothing");
    let (asked, free, held) = (credits("4"), credits("3"), credits("2"));
    assert_eq!(world.decide(&void(lot, Some("4"))), Err(Rejection::MoreThanFree { grant: lot, asked, free, held }));
    world.applied(&void(lot, None));
    assert_eq!(remaining(&world, lot), held, "what is held stays");
    assert_eq!(world.decide(&void(lot, None)), Err(Rejection::NothingToVoid { grant: lot, held }));
}

#[test]
fn what_is_free_can_be_taken_back_and_given_again() {
    let mut world = World::new(Vec::new());
    let lot = grant(&mut world, given("credits", "5"));
    use_up(&mut world, "1");
    let (asked, free, held) = (credits("4.000000001"), credits("4"), Credits::ZERO);
    let refused = Err(Rejection::MoreThanFree { grant: lot, asked, free, held });
    assert_eq!(world.decide(&void(lot, Some("4.000000001"))), refused);
    assert_eq!(world.decide(&adjust(lot, "-4.000000001")), refused);
    world.applied(&void(lot, Some("1")));
    world.applied(&adjust(lot, "-3"));
    assert_eq!(world.available("credits"), Credits::ZERO);
    let outcome = world.applied(&adjust(lot, "10"));
    let (amount, left) = (credits("10"), credits("10"));
    assert_eq!(outcome, Outcome::Corrected { grant: lot, amount, remaining: left, entry: world.state.seq });
    assert_eq!(world.available("credits"), credits("10"), "a used-up grant can be spent again");
    let most = Credits::MAX.to_string();
    assert!(matches!(world.decide(&adjust(lot, &most)), Err(Rejection::Amount(_))));
}

#[test]
fn what_is_over_gets_nothing_more() {
    let mut world = World::new(vec![item("monthly", "credits", Some("5"), false), item("calls", "calls", None, true)]);
    world.applied(&Command::Open);
    let of = |world: &World, name: &str| world.state.grants.iter().find(|g| g.feature == feature(name)).unwrap().id;
    let (counted, unlimited) = (of(&world, "credits"), of(&world, "calls"));
    world.applied(&void(counted, Some("2")));
    assert_eq!(world.available("credits"), credits("3"), "a plan's period can be voided too");
    for command in [void(unlimited, None), adjust(unlimited, "1"), adjust(unlimited, "-1")] {
        assert_eq!(world.decide(&command), Err(Rejection::GrantUnlimited(unlimited)));
    }
    let end = world.state.grant(counted).unwrap().expires_at.unwrap();
    world.now = end;
    assert_eq!(world.decide(&adjust(counted, "1")), Err(Rejection::GrantEnded { grant: counted, at: end }));
    assert!(matches!(world.decide(&void(counted, None)), Err(Rejection::NothingToVoid { .. })));
    assert!(matches!(world.decide(&adjust(counted, "-1")), Err(Rejection::MoreThanFree { .. })));
    let nobody = GrantId::from_uuid(Uuid::from_u128(0xdead));
    assert_eq!(world.decide(&void(nobody, None)), Err(Rejection::UnknownGrant(nobody)));
    assert_eq!(world.decide(&adjust(nobody, "1")), Err(Rejection::UnknownGrant(nobody)));
}

#[test]
fn wallets_are_made_once_and_not_without_end() {
    let mut world = World::new(Vec::new());
    let wallet = make(&mut world, 900, 0);
    let again = Command::Wallet(WalletOrder::Make(new_wallet(900, 0)));
    assert_eq!(world.decide(&again), Err(Rejection::WalletExists(wallet)));
    let of =
        |name: &str| Command::Wallet(WalletOrder::Make(NewWallet { feature: feature(name), ..new_wallet(901, 0) }));
    assert_eq!(world.decide(&of("export")), Err(Rejection::NotMetered(feature("export"))));
    assert_eq!(world.decide(&of("nothing")), Err(Rejection::UnknownFeature(feature("nothing"))));
    let nobody = WalletId::from_uuid(Uuid::from_u128(7));
    assert_eq!(world.decide(&change(unchanged(nobody))), Err(Rejection::UnknownWallet(nobody)));
    assert_eq!(world.decide(&end(nobody)), Err(Rejection::UnknownWallet(nobody)));
    for _ in 1..WALLETS_MAX {
        world.applied(&Command::Wallet(WalletOrder::Make(NewWallet { named: None, ..new_wallet(0, 0) })));
    }
    let one_more = Command::Wallet(WalletOrder::Make(NewWallet { named: None, ..new_wallet(0, 0) }));
    assert_eq!(world.decide(&one_more), Err(Rejection::TooManyWallets));
}

/// A step of a random history with wallets and corrections in it.
#[derive(Clone, Debug)]
enum Step {
    Wait(u32),
    Give { wallet: u8, nanos: i64, lives: Option<u32>, priority: i32 },
    Use { nanos: i64 },
    Change { wallet: u8, priority: i32, frozen: Option<bool>, days: Option<u32> },
    Void { grant: u8, nanos: Option<i64> },
    Adjust { grant: u8, nanos: i64 },
    End { wallet: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let nanos = prop_oneof![1_i64..5, 1_i64..9_000_000_000, Just(1_000_000_000)];
    let signed = prop_oneof![-4_000_000_000_i64..-1, 1_i64..4_000_000_000];
    prop_oneof![
        2 => (0_u32..2_000_000).prop_map(Step::Wait),
        4 => (0_u8..4, nanos.clone(), proptest::option::of(1_u32..3_000_000), -3_i32..3)
            .prop_map(|(wallet, nanos, lives, priority)| Step::Give { wallet, nanos, lives, priority }),
        4 => nanos.clone().prop_map(|nanos| Step::Use { nanos }),
        2 => (0_u8..3, -3_i32..3, proptest::option::of(any::<bool>()), proptest::option::of(1_u32..60))
            .prop_map(|(wallet, priority, frozen, days)| Step::Change { wallet, priority, frozen, days }),
        2 => (any::<u8>(), proptest::option::of(nanos)).prop_map(|(grant, nanos)| Step::Void { grant, nanos }),
        2 => (any::<u8>(), signed).prop_map(|(grant, nanos)| Step::Adjust { grant, nanos }),
        1 => (0_u8..3).prop_map(|wallet| Step::End { wallet }),
    ]
}

fn exact(nanos: i64) -> Credits {
    Credits::from_nanos(i128::from(nanos)).unwrap()
}

fn command_of(step: &Step, world: &World) -> Option<Command> {
    let wallet = |number: u8| WalletId::from_uuid(Uuid::from_u128(900 + u128::from(number)));
    let (reason, source, actor) = ("by hand".to_owned(), Source::Api, None);
    let grant = |number: u8| {
        let all = &world.state.grants;
        all.get(usize::from(number) % all.len().max(1)).map(|grant| grant.id)
    };
    Some(match step {
        Step::Wait(_) => return None,
        Step::Give { wallet: number, nanos, lives, priority } => {
            let place =
                if *number < 3 { WalletRef::Named { id: wallet(*number), key: None } } else { WalletRef::Default };
            let expires_at = lives.map(|seconds| world.now + SignedDuration::from_secs(i64::from(seconds)));
            let (wallet, quantity, priority) = (place, exact(*nanos), Some(*priority));
            Command::Grant(NewGrant { wallet, quantity, expires_at, priority, ..given("credits", "0") })
        }
        Step::Use { nanos } => {
            let quantity = Quantity::from_nanos(i128::from(*nanos)).unwrap();
            Command::Track(Track { quantity, ..track("credits", "0") })
        }
        Step::Change { wallet: number, priority, frozen, days } => change(WalletChange {
            priority: Some(*priority),
            frozen: *frozen,
            default_expiry_days: Some(*days),
            ..unchanged(wallet(*number))
        }),
        Step::Void { grant: number, nanos } => {
            Command::Void(Void { grant: grant(*number)?, quantity: nanos.map(exact), reason, source, actor })
        }
        Step::Adjust { grant: number, nanos } => {
            Command::Adjust(Adjustment { grant: grant(*number)?, quantity: exact(*nanos), reason, source, actor })
        }
        Step::End { wallet: number } => end(wallet(*number)),
    })
}

fn run(history: &[Step]) -> World {
    let mut world = World::new(vec![item("monthly", "credits", Some("5"), false)]);
    world.applied(&Command::Open);
    for number in 0..3 {
        make(&mut world, 900 + number, 0);
    }
    for step in history {
        if let Step::Wait(seconds) = step {
            world.now += SignedDuration::from_secs(i64::from(*seconds));
        }
        let Some(command) = command_of(step, &world) else { continue };
        let before = (world.state.head, world.state.wallets.clone());
        let decision = world.decide(&command);
        if decision.is_err() {
            assert_eq!((world.state.head, &world.state.wallets), (before.0, &before.1), "a refusal changes nothing");
        }
        for grant in &world.state.grants {
            let of = world.state.wallet(grant.wallet).unwrap();
            assert_eq!(
                (grant.wallet_priority, grant.wallet_state),
                (of.priority, of.state),
                "grants know their wallet"
            );
            assert!(of.state != WalletState::Closed || grant.free().is_zero(), "a closed wallet holds nothing");
        }
    }
    world
}

/// Law 1, with corrections: entries of each grant add up to what remains of it and never fall below zero; the chain holds.
fn must_fold(world: &World) {
    let (mut head, mut before): (ChainHead, Timestamp) = (ChainHead::EMPTY, Timestamp::MIN);
    let mut running: BTreeMap<GrantId, i128> = BTreeMap::new();
    for (entry, stored) in &world.changes.entries {
        head = head.after(world.state.id, entry);
        assert!(head == *stored && entry.at >= before, "each line is chained, and time goes forward");
        before = entry.at;
        if let Some(grant) = entry.grant.filter(|_| entry.kind.changes_remaining()) {
            let left = running.entry(grant).or_default();
            *left += entry.amount.nanos();
            assert!(*left >= 0, "line {} leaves a grant at {left}", entry.seq);
        }
    }
    for grant in &world.state.grants {
        assert_eq!(grant.remaining.nanos(), running.get(&grant.id).copied().unwrap_or_default());
    }
    let defaults = world.state.wallets.iter().filter(|wallet| wallet.is_default).count();
    assert!(defaults <= 1, "one default wallet of a feature");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any history of wallets and corrections keeps the laws, and two runs agree to the byte.
    #[test]
    fn histories_of_wallets_keep_the_laws(history in proptest::collection::vec(step(), 1..60)) {
        let world = run(&history);
        must_fold(&world);
        let again = run(&history);
        prop_assert_eq!(world.state.head, again.state.head);
        prop_assert_eq!(&world.state.wallets, &again.state.wallets);
        // A balance is what the spendable lots of its wallets add up to: nothing is owed here.
        let lots = world.state.grants.iter().filter(|grant| grant.feature == feature("credits"));
        let sum: i128 = lots.map(|grant| grant.spendable(world.now).nanos()).sum();
        prop_assert_eq!(world.available("credits").nanos(), sum);
    }
}
