//! The one burn order of rule 20, and the edges of a grant's life, as tables.

use creditd::domain::burn::{Holdings, burn, in_order};
use creditd::domain::catalog::Pool;
use creditd::domain::credits::Credits;
use creditd::domain::grant::{Category, Grant, WalletState};
use creditd::domain::ids::{GrantId, WalletId};
use rstest::rstest;
use uuid::Uuid;

use crate::domain_laws::{credits, feature, quantity, time};

/// A grant that differs from its like only in its id.
pub(crate) fn lot(id: u128) -> Grant {
    Grant {
        id: GrantId::from_uuid(Uuid::from_u128(id)),
        wallet: WalletId::from_uuid(Uuid::from_u128(77)),
        wallet_priority: 0,
        wallet_state: WalletState::Open,
        feature: feature("credits"),
        entity: String::new(),
        category: Category::Prepaid,
        priority: 10,
        unlimited: false,
        original: Credits::whole(1),
        remaining: Credits::whole(1),
        held: Credits::ZERO,
        frozen: false,
        starts_at: time("2026-01-01T00:00:00Z"),
        expires_at: None,
        grace_ends_at: None,
        period: None,
        payment: None,
        rolled: None,
    }
}

fn seat(name: &str, of: Grant) -> Grant {
    Grant { entity: name.to_owned(), ..of }
}

/// Rule 20, tie-breaker by tie-breaker: each pair differs in one thing and in ids that say the opposite.
#[rstest]
#[case::entity_first_when_given("seat", seat("seat", lot(2)), lot(1))]
#[case::customer_first_without("", lot(2), seat("seat", lot(1)))]
#[case::then_entities_by_id("", seat("seat-a", lot(2)), seat("seat-b", lot(1)))]
#[case::entity_before_wallet_priority("seat", Grant { wallet_priority: 9, ..seat("seat", lot(2)) }, lot(1))]
#[case::wallet_priority("", Grant { wallet_priority: -1, ..lot(2) }, lot(1))]
#[case::wallet_before_grant_priority("", Grant { wallet_priority: -1, priority: 50, ..lot(2) }, lot(1))]
#[case::grant_priority("", Grant { priority: 5, ..lot(2) }, lot(1))]
#[case::priority_before_expiry("", Grant { priority: 5, ..lot(2) }, Grant { expires_at: Some(time("2026-02-01T00:00:00Z")), ..lot(1) })]
#[case::soonest_end("", Grant { expires_at: Some(time("2026-02-01T00:00:00Z")), ..lot(2) }, Grant { expires_at: Some(time("2026-02-02T00:00:00Z")), ..lot(1) })]
#[case::no_end_last("", Grant { expires_at: Some(time("2099-01-01T00:00:00Z")), ..lot(2) }, lot(1))]
#[case::expiry_not_grace("", Grant { expires_at: Some(time("2026-02-02T00:00:00Z")), grace_ends_at: Some(time("2026-02-09T00:00:00Z")), ..lot(2) }, Grant { expires_at: Some(time("2026-02-03T00:00:00Z")), ..lot(1) })]
#[case::earliest_start("", Grant { starts_at: time("2025-12-31T00:00:00Z"), ..lot(2) }, lot(1))]
#[case::expiry_before_start("", Grant { expires_at: Some(time("2026-03-01T00:00:00Z")), ..lot(2) }, Grant { starts_at: time("2025-01-01T00:00:00Z"), ..lot(1) })]
#[case::id_at_last("", lot(1), lot(2))]
fn one_burn_order(#[case] entity: &str, #[case] first: Grant, #[case] second: Grant) {
    let now = time("2026-01-15T00:00:00Z");
    for grants in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
        let holdings = Holdings { grants: &grants, debts: &[], entity, now };
        let order: Vec<GrantId> = in_order(holdings, &feature("credits")).iter().map(|grant| grant.id).collect();
        assert_eq!(order, [first.id, second.id]);
        let pools = [Pool { feature: feature("credits"), rate: "1".parse().unwrap(), own: true }];
        let paid = burn(holdings, &pools, quantity("1.5")).unwrap().unwrap();
        let taken: Vec<(GrantId, Credits)> = paid.draws.iter().map(|draw| (draw.grant, draw.amount)).collect();
        assert_eq!(taken, [(first.id, credits("1")), (second.id, credits("0.5"))]);
    }
}

fn two_pools() -> [Pool; 2] {
    [
        Pool { feature: feature("messages"), rate: "1".parse().unwrap(), own: true },
        Pool { feature: feature("credits"), rate: "2".parse().unwrap(), own: false },
    ]
}

/// Rule 20 across pools: the entity decides before the pool does, and an own pool goes before a credit system.
#[rstest]
#[case::own_before_system("", [("messages", ""), ("credits", "")])]
#[case::entitys_system_before_customers_own("seat", [("credits", "seat"), ("messages", "")])]
#[case::customers_system_before_entitys_own("", [("credits", ""), ("messages", "seat")])]
#[case::own_before_system_of_one_entity("seat", [("messages", "seat"), ("credits", "seat")])]
fn pools_keep_the_one_order(#[case] entity: &str, #[case] order: [(&str, &str); 2]) {
    let grants: Vec<Grant> = order
        .iter()
        .zip([2, 1])
        .map(|((of, seat), id)| Grant {
            feature: feature(of),
            entity: (*seat).to_owned(),
            remaining: Credits::whole(2),
            ..lot(id)
        })
        .collect();
    let now = time("2026-01-15T00:00:00Z");
    let holdings = Holdings { grants: &grants, debts: &[], entity, now };
    // Two units more than the first grant pays: 2 messages, or 1 at two credits each.
    let first_pays = if order[0].0 == "messages" { "2.5" } else { "1.5" };
    let paid = burn(holdings, &two_pools(), quantity(first_pays)).unwrap().unwrap();
    let taken: Vec<(&str, Credits)> = paid.draws.iter().map(|draw| (draw.pool.as_str(), draw.amount)).collect();
    let second = if order[1].0 == "messages" { "0.5" } else { "1" };
    assert_eq!(taken, [(order[0].0, credits("2")), (order[1].0, credits(second))]);
    assert!(paid.shortfall.is_zero());
}

#[test]
fn an_unlimited_grant_absorbs_all_before_any_order() {
    let grants = [lot(1), Grant { unlimited: true, remaining: Credits::ZERO, priority: 900, ..lot(2) }];
    let now = time("2026-01-15T00:00:00Z");
    let holdings = Holdings { grants: &grants, debts: &[], entity: "", now };
    let pools = [Pool { feature: feature("credits"), rate: "1".parse().unwrap(), own: true }];
    let paid = burn(holdings, &pools, quantity("1000000")).unwrap().unwrap();
    assert!(paid.unlimited && paid.shortfall.is_zero() && paid.drawn.is_zero());
    assert_eq!(paid.draws.iter().map(|draw| draw.grant).collect::<Vec<_>>(), [grants[1].id]);
}

/// `[starts_at, expires_at)`, to the microsecond, with the grace of rule 14.
#[rstest]
#[case::a_microsecond_early("2026-01-31T23:59:59.999999Z", None, false)]
#[case::at_the_start("2026-02-01T00:00:00Z", None, true)]
#[case::a_microsecond_before_the_end("2026-02-28T23:59:59.999999Z", None, true)]
#[case::at_the_end("2026-03-01T00:00:00Z", None, false)]
#[case::in_grace("2026-03-01T00:00:00Z", Some("2026-03-04T00:00:00Z"), true)]
#[case::at_the_end_of_grace("2026-03-04T00:00:00Z", Some("2026-03-04T00:00:00Z"), false)]
fn a_grant_is_spendable_from_its_start_until_its_end(
    #[case] now: &str,
    #[case] grace: Option<&str>,
    #[case] spendable: bool,
) {
    let grant = Grant {
        starts_at: time("2026-02-01T00:00:00Z"),
        expires_at: Some(time("2026-03-01T00:00:00Z")),
        grace_ends_at: grace.map(time),
        ..lot(1)
    };
    assert_eq!(grant.spendable(time(now)).is_positive(), spendable);
}

#[test]
fn a_frozen_or_closed_wallet_pays_nothing() {
    let now = time("2026-01-15T00:00:00Z");
    for state in [WalletState::Frozen, WalletState::Closed] {
        assert!(Grant { wallet_state: state, ..lot(1) }.spendable(now).is_zero());
    }
    assert!(Grant { frozen: true, ..lot(1) }.spendable(now).is_zero());
    assert_eq!(Grant { held: credits("0.4"), ..lot(1) }.spendable(now), credits("0.6"));
}
