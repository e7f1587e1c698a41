//! May this customer use that much? The same burn that track does, nothing changed, every number told.

use jiff::Timestamp;
use serde::Serialize;

use super::account::AccountState;
use super::burn::{Balance, Burn, Holdings, balance, burn};
use super::catalog::{Catalog, CatalogVersion, Feature, FeatureId, Pool, Priced};
use super::command::Rejection;
use super::credits::{Credits, Quantity};
use super::grant::{Blocked, Category, Grant};
use super::ids::{GrantId, WalletId};
use super::usage::Usage;

/// Why a check answered as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The balance covers it.
    Ok,
    /// There is no limit.
    Unlimited,
    /// A flag of a plan.
    Flag,
    /// The balance does not cover it.
    Insufficient,
    /// The customer has no grant that this feature could draw on.
    FeatureNotGranted,
    /// What would cover it is frozen.
    Frozen,
    /// The catalogue has no such feature.
    UnknownFeature,
}

/// One grant's part in the answer; the numbers add up to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lot {
    /// The grant.
    pub grant: GrantId,
    /// Its wallet.
    pub wallet: WalletId,
    /// Its pool.
    pub pool: FeatureId,
    /// Why it was given.
    pub kind: Category,
    /// Its burn priority.
    pub priority: i32,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Credits that can be spent now.
    pub available: Credits,
    /// Credits set aside.
    pub held: Credits,
    /// Credits this usage would take.
    pub take: Credits,
    /// Why it cannot be spent.
    pub blocked_by: Option<Blocked>,
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckAnswer {
    /// May it be used?
    pub allowed: bool,
    /// Why.
    pub reason: Reason,
    /// The feature asked for.
    pub feature: FeatureId,
    /// The pool that would pay; absent when none could.
    pub pool: Option<FeatureId>,
    /// Credits of the pool the usage costs.
    pub required: Credits,
    /// Credits of the pool that can be spent.
    pub available: Credits,
    /// Credits of the pool set aside.
    pub held: Credits,
    /// No limit?
    pub unlimited: bool,
    /// The grants behind the answer, in burn order, blocked ones last.
    pub lots: Vec<Lot>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The feature to be used.
    pub feature: FeatureId,
    /// Seat or workspace; empty: none.
    pub entity: String,
    /// Units to be used.
    pub quantity: Quantity,
}

/// Answers a check on a state as it stands at `now`.
pub fn check(
    state: &AccountState,
    catalog: &CatalogVersion,
    question: &Question,
    now: Timestamp,
) -> Result<CheckAnswer, Rejection> {
    let now = now.max(state.last_entry_at);
    match catalog.catalog.features.get(&question.feature) {
        None => Ok(without_pool(question, false, Reason::UnknownFeature)),
        Some(Feature::Boolean) => Ok(flag(state, catalog, question, now)),
        Some(Feature::Metered { .. } | Feature::CreditSystem { .. }) => metered(state, &catalog.catalog, question, now),
    }
}

fn without_pool(question: &Question, allowed: bool, reason: Reason) -> CheckAnswer {
    CheckAnswer {
        allowed,
        reason,
        feature: question.feature.clone(),
        pool: None,
        required: Credits::ZERO,
        available: Credits::ZERO,
        held: Credits::ZERO,
        unlimited: false,
        lots: Vec::new(),
    }
}

fn flag(state: &AccountState, catalog: &CatalogVersion, question: &Question, now: Timestamp) -> CheckAnswer {
    let on = state.attachments.iter().any(|known| {
        let terms = catalog.terms.get(&(known.plan.clone(), known.plan_version));
        terms.is_some_and(|plan| {
            known.has_flags(plan.past_due_grace_hours, now)
                && plan.items.iter().any(|item| item.feature == question.feature)
        })
    });
    without_pool(question, on, if on { Reason::Flag } else { Reason::FeatureNotGranted })
}

fn metered(
    state: &AccountState,
    catalog: &Catalog,
    question: &Question,
    now: Timestamp,
) -> Result<CheckAnswer, Rejection> {
    let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: &question.entity, now };
    let Priced { pools, quantity } = catalog.priced(&question.feature, &Usage::of(question.quantity))?;
    let Some(paid) = burn(holdings, &pools, quantity)? else {
        return Ok(without_pool(question, false, Reason::UnknownFeature));
    };
    let balances: Vec<(&Pool, Balance)> = pools.iter().map(|pool| (pool, balance(holdings, &pool.feature))).collect();
    let granted = balances.iter().any(|(_, balance)| balance.granted);
    let pool = answering_pool(&balances, &paid);
    let required = paid.drawn.checked_add(paid.shortfall)?;
    let mut available = Credits::ZERO;
    let mut held = Credits::ZERO;
    for (of, balance) in &balances {
        if of.feature == pool || paid.draws.iter().any(|draw| draw.pool == of.feature) {
            // What is shown is capped like each pool's own sum: a customer with more than can be said has enough.
            available = available.checked_add(balance.available).unwrap_or(Credits::MAX);
            held = held.checked_add(balance.held).unwrap_or(Credits::MAX);
        }
    }
    let lots = lots(holdings, &pools, &paid);
    let frozen = lots.iter().any(|lot| lot.blocked_by == Some(Blocked::Frozen));
    let reason = if paid.unlimited {
        Reason::Unlimited
    } else if !granted {
        if frozen { Reason::Frozen } else { Reason::FeatureNotGranted }
    } else if paid.shortfall.is_positive() {
        if frozen { Reason::Frozen } else { Reason::Insufficient }
    } else {
        Reason::Ok
    };
    Ok(CheckAnswer {
        allowed: matches!(reason, Reason::Ok | Reason::Unlimited),
        reason,
        feature: question.feature.clone(),
        pool: Some(pool),
        required,
        available,
        held,
        unlimited: paid.unlimited,
        lots,
    })
}

/// The pool an answer speaks of: the one that paid, else the first the customer has grants of, else the last.
fn answering_pool(balances: &[(&Pool, Balance)], paid: &Burn) -> FeatureId {
    if paid.unlimited || paid.drawn.is_positive() {
        return paid.pool.clone();
    }
    let granted = balances.iter().find(|(_, balance)| balance.granted);
    granted.map_or_else(|| paid.pool.clone(), |(pool, _)| pool.feature.clone())
}

fn lots(holdings: Holdings<'_>, pools: &[Pool], paid: &Burn) -> Vec<Lot> {
    let mut lots = Vec::new();
    let mut blocked = Vec::new();
    for pool in pools {
        let mut grants: Vec<&Grant> = holdings.grants.iter().filter(|grant| grant.feature == pool.feature).collect();
        grants.sort_by(|left, right| left.burns_before(right, holdings.entity));
        for grant in grants {
            let take = paid.draws.iter().find(|draw| draw.grant == grant.id);
            let lot = Lot {
                grant: grant.id,
                wallet: grant.wallet,
                pool: pool.feature.clone(),
                kind: grant.category,
                priority: grant.priority,
                expires_at: grant.expires_at,
                available: grant.spendable(holdings.now),
                held: grant.held,
                take: take.map_or(Credits::ZERO, |draw| draw.amount),
                blocked_by: grant.blocked(holdings.now),
            };
            if lot.blocked_by.is_none() { lots.push(lot) } else { blocked.push(lot) }
        }
    }
    lots.append(&mut blocked);
    lots
}
