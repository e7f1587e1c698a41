//! An explained check adds up, whatever the account looks like.

use std::collections::BTreeMap;

use creditd::domain::account::{AccountState, Changes};
use creditd::domain::catalog::{Catalog, CatalogVersion, Cost, Feature};
use creditd::domain::check::{Question, check};
use creditd::domain::command::{Command, PlaceHold, Track, WhenShort};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::decide::{Context, decide, standing};
use creditd::domain::grant::{Blocked, Debt, DebtCause, Grant};
use creditd::domain::hold::WhenMore;
use creditd::domain::ids::{AccountId, DebtId, GrantId, WalletId};
use creditd::domain::limit::{SpendLimit, Window};
use creditd::domain::usage::Usage;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use crate::burn_order::lot;
use crate::domain_laws::{feature, time};
use crate::support::world::Counting;

const NOW: &str = "2026-03-01T12:00:00Z";

fn now() -> Timestamp {
    time(NOW)
}

/// Messages have a pool of their own and cost two thirds of a credit, more or less.
fn catalog() -> CatalogVersion {
    let costs = BTreeMap::from([(feature("messages"), Cost::Each("0.666666667".parse().unwrap()))]);
    let features = BTreeMap::from([
        (feature("messages"), Feature::consumable()),
        (feature("credits"), Feature::credit_system(costs)),
    ]);
    CatalogVersion { version: 1, catalog: Catalog { features, ..Catalog::default() }, ..CatalogVersion::default() }
}

fn amount() -> impl Strategy<Value = Credits> {
    prop_oneof![
        Just(Credits::ZERO),
        (0_i64..50).prop_map(Credits::whole),
        (0_i128..50_000_000_000).prop_map(|nanos| Credits::from_nanos(nanos).unwrap()),
    ]
}

prop_compose! {
    fn grants()(parts in prop::collection::vec(
        (amount(), 0_u8..10, any::<bool>(), 0_u8..3, 0_u128..3, -2_i64..3, prop::option::of(-2_i64..4)), 0..8,
    )) -> Vec<Grant> {
        parts.into_iter().enumerate().map(|(n, (remaining, odd, own, entity, wallet, starts, ends))| {
            let own_pool = u128::from(own);
            Grant {
                id: GrantId::from_uuid(Uuid::from_u128(n as u128 + 1)),
                wallet: WalletId::from_uuid(Uuid::from_u128(10 + wallet * 2 + own_pool)),
                feature: feature(if own { "messages" } else { "credits" }),
                entity: ["", "a", "b"][usize::from(entity)].to_owned(),
                unlimited: odd == 9,
                original: remaining,
                remaining: if odd == 9 { Credits::ZERO } else { remaining },
                frozen: odd == 8,
                starts_at: now() + SignedDuration::from_hours(starts - 1),
                expires_at: ends.map(|hours| now() + SignedDuration::from_hours(hours)),
                ..lot(1)
            }
        }).collect()
    }
}

prop_compose! {
    fn state()(
        grants in grants(),
        debts in prop::collection::vec((0_u128..3, any::<bool>(), amount()), 0..3),
        limits in prop::collection::vec((any::<bool>(), 0_u8..2, amount(), amount()), 0..3),
    ) -> AccountState {
        let mut state = AccountState::empty(AccountId::from_uuid(Uuid::from_u128(9)));
        state.life = creditd::domain::account::AccountLife::Open;
        state.last_entry_at = now() - SignedDuration::from_hours(1);
        state.grants = grants;
        state.debts = debts.into_iter().enumerate().map(|(n, (wallet, own, outstanding))| Debt {
            id: DebtId::from_uuid(Uuid::from_u128(n as u128 + 50)),
            wallet: WalletId::from_uuid(Uuid::from_u128(10 + wallet * 2 + u128::from(own))),
            feature: feature(if own { "messages" } else { "credits" }),
            outstanding,
            billed: Credits::ZERO,
            cause: DebtCause::Usage { price: None },
        }).collect();
        state.limits = limits.into_iter().enumerate().map(|(n, (own, entity, most, used))| SpendLimit {
            name: format!("l{n}"),
            feature: feature(if own { "messages" } else { "credits" }),
            entity: ["", "a"][usize::from(entity)].to_owned(),
            window: Window::Lifetime,
            most,
            window_start: None,
            used,
        }).collect();
        state
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_explanation_adds_up(
        state in state(),
        entity in 0_usize..3,
        units in (0_i128..90_000_000_000).prop_map(|nanos| Quantity::from_nanos(nanos).unwrap()),
        held in prop::option::of((0_i64..20, 0_usize..3)),
    ) {
        let catalog = catalog();
        let context = Context { catalog: &catalog, now: now() };
        let mut state = state;
        let entity = ["", "a", "b"][entity].to_owned();
        if let Some((units, of)) = held {
            let hold = PlaceHold {
                feature: feature("messages"),
                entity: ["", "a", "b"][of].to_owned(),
                quantity: Quantity::whole(units),
                properties: BTreeMap::new(),
                ttl_seconds: 60,
                when_more: WhenMore::Reject,
            };
            // It may be refused; then the state is as it was.
            let _refused = decide(&mut state, &mut Changes::default(), &Command::Hold(hold), context, &mut Counting(1_000));
        }
        let ask = |explain| {
            let usage = Usage::of(units);
            let question = Question { feature: feature("messages"), entity: entity.clone(), usage, explain };
            check(&state, &catalog, &question, now()).unwrap()
        };
        let answer = ask(true);
        let sum = |of: &dyn Fn(&creditd::domain::check::Lot) -> Credits| {
            answer.lots.iter().map(of).try_fold(Credits::ZERO, Credits::checked_add).unwrap()
        };
        prop_assert_eq!(sum(&|lot| lot.available), answer.available);
        let drawn = sum(&|lot| lot.take);
        prop_assert_eq!(drawn.checked_add(answer.shortfall).unwrap(), answer.required);
        for lot in &answer.lots {
            let parts = lot.held.checked_add(lot.blocked).and_then(|sum| sum.checked_add(lot.available)).unwrap();
            prop_assert_eq!(parts, lot.remaining, "{:?}", lot);
            prop_assert!(lot.take <= lot.available, "{:?}", lot);
            let is_blocked = lot.blocked_by.is_some_and(|why| why != Blocked::Debt);
            prop_assert!(!is_blocked || lot.available.is_zero(), "{:?}", lot);
            prop_assert!(lot.blocked.is_zero() || lot.blocked_by.is_some(), "{:?}", lot);
        }
        prop_assert_eq!(answer.allowed, !answer.shortfall.is_positive() && !answer.lots.iter().all(|lot| lot.blocked_by.is_some_and(|why| why != Blocked::Debt)));
        // Nothing of the answer hangs on whether it is explained.
        let plain = ask(false);
        prop_assert!(plain.lots.is_empty());
        prop_assert_eq!(&plain.limits, &answer.limits);
        prop_assert_eq!((plain.allowed, plain.reason, plain.required, plain.available), (answer.allowed, answer.reason, answer.required, answer.available));
        // Limits are told as they stand.
        for part in &answer.limits {
            let limit = state.limits.iter().find(|limit| limit.name == part.name).unwrap();
            let (used, held) = standing(&state, context, limit).unwrap();
            prop_assert_eq!(used.checked_add(held).unwrap(), part.used);
        }
        // A track that would rather be refused goes the way the check said.
        let mut tracked = state.clone();
        let track = Track { when_short: WhenShort::Reject, entity, ..Track::of(feature("messages"), units) };
        let went = decide(&mut tracked, &mut Changes::default(), &Command::Track(track), context, &mut Counting(1_000));
        prop_assert_eq!(went.is_ok(), !answer.shortfall.is_positive(), "{:?} {:?}", went, answer);
        if went.is_ok() {
            for lot in &answer.lots {
                let grant = tracked.grant(lot.grant).unwrap();
                let taken = lot.remaining.checked_sub(grant.remaining).unwrap();
                prop_assert_eq!(taken, lot.take);
            }
        }
    }
}
