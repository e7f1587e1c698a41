//! Laws of burning over any holdings: several wallets, debts, seats, frozen and held credits, ends and beginnings.

use std::collections::BTreeMap;

use creditd::domain::burn::{Burn, Holdings, balance, burn, in_order};
use creditd::domain::catalog::Pool;
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::grant::{Debt, Grant, WalletState};
use creditd::domain::ids::{DebtId, GrantId, WalletId};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use crate::burn_order::lot;
use crate::domain_laws::{feature, time};

const NOW: &str = "2026-03-01T00:00:00Z";
const SEATS: [&str; 3] = ["", "seat-a", "seat-b"];

/// What a customer may hold: wallets with a priority and perhaps a debt, and grants in them.
#[derive(Clone, Debug)]
struct Purse {
    grants: Vec<Grant>,
    debts: Vec<Debt>,
}

fn exact(nanos: i64) -> Credits {
    Credits::from_nanos(i128::from(nanos)).unwrap()
}

fn units(nanos: i64) -> Quantity {
    Quantity::from_nanos(i128::from(nanos)).unwrap()
}

fn wallet(number: usize) -> WalletId {
    WalletId::from_uuid(Uuid::from_u128(number as u128 + 1))
}

fn wallets() -> impl Strategy<Value = Vec<(i32, WalletState, i64)>> {
    let state =
        prop_oneof![6 => Just(WalletState::Open), 1 => Just(WalletState::Frozen), 1 => Just(WalletState::Closed)];
    let owed = prop_oneof![3 => Just(0_i64), 1 => 1_i64..2_000_000_000];
    proptest::collection::vec((-2_i32..3, state, owed), 3)
}

/// Few values of each kind, so that ties are common.
fn grant_of(pools: &'static [&'static str]) -> impl Strategy<Value = Grant> {
    let amounts = (0_i64..3, 0_i64..1_000_000_000, 0_i64..100).prop_map(|(whole, part, held)| {
        let nanos = whole * 1_000_000_000 + part;
        (exact(nanos), exact(nanos * held / 200))
    });
    let life = (-40_i64..10, proptest::option::of(-10_i64..40));
    let place = (0_usize..3, 0_usize..SEATS.len(), 0_usize..pools.len());
    (amounts, life, place, -1_i32..2, proptest::bool::weighted(0.1)).prop_map(
        move |((remaining, held), (from, to), (of, seat, pool), priority, frozen)| {
            let day = |days: i64| time(NOW) + SignedDuration::from_hours(24 * days);
            let starts_at = day(from);
            Grant {
                wallet: wallet(of),
                feature: feature(pools[pool]),
                entity: SEATS[seat].to_owned(),
                priority,
                original: remaining,
                remaining,
                held,
                frozen,
                starts_at,
                expires_at: to.map(day).filter(|end| *end > starts_at),
                ..lot(0)
            }
        },
    )
}

fn purse(pools: &'static [&'static str]) -> impl Strategy<Value = Purse> {
    (wallets(), proptest::collection::vec(grant_of(pools), 0..9)).prop_map(|(wallets, mut grants)| {
        for (number, grant) in grants.iter_mut().enumerate() {
            grant.id = GrantId::from_uuid(Uuid::from_u128(1_000 - number as u128));
            let place = (0..3).find(|place| wallet(*place) == grant.wallet).unwrap();
            (grant.wallet_priority, grant.wallet_state) = (wallets[place].0, wallets[place].1);
        }
        let owing = wallets.iter().enumerate().filter(|(_, (_, _, owed))| *owed > 0);
        let debts = owing.map(|(place, (_, _, owed))| Debt {
            id: DebtId::from_uuid(Uuid::from_u128(place as u128 + 500)),
            wallet: wallet(place),
            feature: feature("credits"),
            outstanding: exact(*owed),
            billed: Credits::ZERO,
            cause: creditd::domain::grant::DebtCause::ClawBack,
        });
        Purse { debts: debts.collect(), grants }
    })
}

impl Purse {
    fn holdings<'a>(&'a self, seat: &'a str) -> Holdings<'a> {
        Holdings { grants: &self.grants, debts: &self.debts, entity: seat, now: now() }
    }

    fn burn(&self, seat: &str, pools: &[Pool], quantity: Quantity) -> Burn {
        burn(self.holdings(seat), pools, quantity).unwrap().unwrap()
    }

    /// The same after a burn was booked.
    fn after(&self, paid: &Burn) -> Self {
        let mut left = self.clone();
        for draw in &paid.draws {
            let grant = left.grants.iter_mut().find(|grant| grant.id == draw.grant).unwrap();
            grant.remaining = grant.remaining.checked_sub(draw.amount).unwrap();
        }
        left
    }
}

fn now() -> Timestamp {
    time(NOW)
}

fn one_to_one() -> [Pool; 1] {
    [Pool { feature: feature("credits"), rate: "1".parse().unwrap(), own: true }]
}

fn two_pools() -> [Pool; 2] {
    [
        Pool { feature: feature("messages"), rate: "1".parse().unwrap(), own: true },
        Pool { feature: feature("credits"), rate: "0.333333333333333333".parse().unwrap(), own: false },
    ]
}

fn by_grant(burns: &[&Burn]) -> BTreeMap<GrantId, i128> {
    let mut sums = BTreeMap::new();
    for draw in burns.iter().flat_map(|paid| &paid.draws) {
        *sums.entry(draw.grant).or_insert(0) += draw.amount.nanos();
    }
    sums
}

fn total(amounts: impl IntoIterator<Item = Credits>) -> i128 {
    amounts.into_iter().map(Credits::nanos).sum()
}

const ONE: &[&str] = &["credits"];
const BOTH: &[&str] = &["messages", "credits"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// burn(a) then burn(b) is burn(a+b): the same credits of the same grants, the same shortfall.
    #[test]
    fn parts_take_what_the_whole_takes(
        purse in purse(ONE), seat in 0_usize..3, first in 0_i64..5_000_000_000, second in 0_i64..5_000_000_000,
    ) {
        let (seat, pools) = (SEATS[seat], one_to_one());
        let one = purse.burn(seat, &pools, units(first));
        let two = purse.after(&one).burn(seat, &pools, units(second));
        let whole = purse.burn(seat, &pools, units(first + second));
        prop_assert_eq!(by_grant(&[&one, &two]), by_grant(&[&whole]));
        prop_assert_eq!(one.shortfall.nanos() + two.shortfall.nanos(), whole.shortfall.nanos());
    }

    /// No draw is of more than is free, of a grant that cannot be spent, or of nothing; they add up to what was drawn.
    #[test]
    fn a_draw_is_of_what_is_free(purse in purse(BOTH), seat in 0_usize..3, asked in 0_i64..20_000_000_000) {
        let seat = SEATS[seat];
        let paid = purse.burn(seat, &two_pools(), units(asked));
        for draw in &paid.draws {
            let grant = purse.grants.iter().find(|grant| grant.id == draw.grant).unwrap();
            prop_assert!(draw.amount.is_positive() && draw.amount <= grant.spendable(now()));
            prop_assert!(seat.is_empty() || grant.entity.is_empty() || grant.entity == seat);
            prop_assert_eq!(&grant.feature, &draw.pool);
        }
        prop_assert_eq!(by_grant(&[&paid]).len(), paid.draws.len(), "a grant is drawn once");
        prop_assert_eq!(total(paid.draws.iter().map(|draw| draw.amount)), paid.drawn.nanos());
    }

    /// A wallet never gives so much that less than it owes is left in it.
    #[test]
    fn what_a_wallet_owes_stays_in_it(purse in purse(BOTH), asked in 0_i64..20_000_000_000) {
        let left = purse.after(&purse.burn("", &two_pools(), units(asked)));
        for debt in &purse.debts {
            let lying = |purse: &Purse| {
                let mine = purse.grants.iter().filter(|grant| grant.wallet == debt.wallet);
                total(mine.map(|grant| grant.spendable(now())))
            };
            prop_assert!(lying(&left) >= debt.outstanding.nanos().min(lying(&purse)));
        }
    }

    /// A shortfall means that nothing is left; none means that all was paid.
    #[test]
    fn short_only_when_nothing_is_left(purse in purse(ONE), seat in 0_usize..3, asked in 0_i64..20_000_000_000) {
        let (seat, pools) = (SEATS[seat], one_to_one());
        let available = balance(purse.holdings(seat), &feature("credits")).available;
        let paid = purse.burn(seat, &pools, units(asked));
        prop_assert_eq!(paid.drawn, exact(asked).min(available));
        prop_assert_eq!(paid.drawn.nanos() + paid.shortfall.nanos(), i128::from(asked));
        let left = balance(purse.after(&paid).holdings(seat), &feature("credits")).available;
        prop_assert_eq!(left.nanos(), available.nanos() - paid.drawn.nanos());
    }

    /// Whoever comes earlier in the order is empty before a later one gives, unless its wallet's debt holds it back.
    #[test]
    fn the_order_is_kept(purse in purse(ONE), seat in 0_usize..3, asked in 0_i64..9_000_000_000) {
        let seat = SEATS[seat];
        let paid = purse.burn(seat, &one_to_one(), units(asked));
        let left = purse.after(&paid);
        let order = in_order(purse.holdings(seat), &feature("credits"));
        let drawn = by_grant(&[&paid]);
        let last = order.iter().rposition(|grant| drawn.contains_key(&grant.id)).unwrap_or(0);
        for grant in &order[..last] {
            let rest = left.grants.iter().find(|known| known.id == grant.id).unwrap().free();
            let owes = purse.debts.iter().any(|debt| debt.wallet == grant.wallet);
            prop_assert!(rest.is_zero() || owes, "{} has {rest} left and a later one gave", grant.id);
        }
    }

    /// Of one seat, wallets of lower priority are empty before others give, whatever their grants' priorities say.
    #[test]
    fn wallets_go_before_grants(purse in purse(ONE), asked in 0_i64..9_000_000_000) {
        let purse = Purse {
            debts: Vec::new(),
            grants: purse.grants.into_iter().map(|grant| Grant { entity: String::new(), ..grant }).collect(),
        };
        let paid = purse.burn("", &one_to_one(), units(asked));
        let left = purse.after(&paid);
        let drawn = by_grant(&[&paid]);
        let highest = purse.grants.iter().filter(|g| drawn.contains_key(&g.id)).map(|g| g.wallet_priority).max();
        for grant in left.grants.iter().filter(|grant| highest.is_some_and(|most| grant.wallet_priority < most)) {
            prop_assert!(grant.spendable(now()).is_zero(), "{} was passed over", grant.id);
        }
    }

    /// Two runs agree, in whatever order the grants were read.
    #[test]
    fn the_order_of_reading_decides_nothing(
        purse in purse(BOTH), seat in 0_usize..3, asked in 0_i64..20_000_000_000, turn in 0_usize..9,
    ) {
        let seat = SEATS[seat];
        let mut other = purse.clone();
        other.grants.reverse();
        let middle = turn.min(other.grants.len());
        other.grants.rotate_left(middle);
        other.debts.reverse();
        prop_assert_eq!(
            purse.burn(seat, &two_pools(), units(asked)), other.burn(seat, &two_pools(), units(asked))
        );
    }

    /// More usage never draws less, of no grant.
    #[test]
    fn more_usage_draws_no_less(
        purse in purse(ONE), asked in 0_i64..9_000_000_000, more in 0_i64..9_000_000_000,
    ) {
        let less = by_grant(&[&purse.burn("", &one_to_one(), units(asked))]);
        let most = by_grant(&[&purse.burn("", &one_to_one(), units(asked + more))]);
        for (grant, amount) in less {
            prop_assert!(most.get(&grant).is_some_and(|whole| *whole >= amount));
        }
    }
}
