//! May this customer use that much? The same burn that track does, nothing changed, every number told.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::account::AccountState;
use super::burn::{Balance, Bounds, Burn, Draw, Holdings, balance, burn_within, spendable};
use super::catalog::{CatalogVersion, Feature, FeatureId, Pool, Priced};
use super::command::Rejection;
use super::credits::{Credits, Rate};
use super::decide::{Context, room};
use super::grant::{Blocked, Category, Grant};
use super::ids::{GrantId, WalletId};
use super::level::{level, units};
use super::limit::LimitPart;
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
    /// A spend limit of the customer does not let it happen.
    SpendLimit,
    /// The customer has no grant that this feature could draw on.
    FeatureNotGranted,
    /// What would cover it is frozen.
    Frozen,
    /// The catalogue has no such feature.
    UnknownFeature,
    /// No feature of the catalogue lists such an event.
    UnknownEvent,
}

/// One grant's part in the answer. Always `remaining = held + blocked + available`, and the `available` of all lots add up
/// to the answer's, the `take` of all lots to what would be drawn.
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
    /// Credits left in it.
    pub remaining: Credits,
    /// Credits set aside.
    pub held: Credits,
    /// Credits that cannot be spent, because of what `blocked_by` says.
    pub blocked: Credits,
    /// Credits that can be spent now.
    pub available: Credits,
    /// Credits this usage would take.
    pub take: Credits,
    /// Absorbs all usage?
    pub unlimited: bool,
    /// Why it, or a part of it, cannot be spent.
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
    /// Credits that no grant, or no limit, would let be paid.
    pub shortfall: Credits,
    /// Units in use already, of a feature that is set and freed.
    pub in_use: Option<Credits>,
    /// No limit?
    pub unlimited: bool,
    /// The spend limits that count this usage.
    pub limits: Vec<LimitPart>,
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
    /// Units to be used, and what is known about them.
    pub usage: Usage,
    /// Are the grants behind the answer to be listed?
    pub explain: bool,
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
        Some(Feature::Metered { consumable: false, .. }) => in_use(state, question, now),
        Some(Feature::Metered { .. } | Feature::CreditSystem { .. }) => metered(state, catalog, question, now),
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
        shortfall: Credits::ZERO,
        in_use: None,
        unlimited: false,
        limits: Vec::new(),
        lots: Vec::new(),
    }
}

/// Does a plan in force turn this boolean feature on? An overdue one does until its grace ends.
pub fn has_flag(state: &AccountState, catalog: &CatalogVersion, feature: &FeatureId, now: Timestamp) -> bool {
    state.attachments.iter().any(|known| {
        catalog.terms_of(known).is_some_and(|plan| {
            known.has_flags(plan.past_due_grace_hours, now) && plan.items.iter().any(|item| item.feature == *feature)
        })
    })
}

fn flag(state: &AccountState, catalog: &CatalogVersion, question: &Question, now: Timestamp) -> CheckAnswer {
    let on = has_flag(state, catalog, &question.feature, now);
    without_pool(question, on, if on { Reason::Flag } else { Reason::FeatureNotGranted })
}

/// A feature that is set and freed: what is granted less what is in use.
fn in_use(state: &AccountState, question: &Question, now: Timestamp) -> Result<CheckAnswer, Rejection> {
    let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: &question.entity, now };
    let balance = level(holdings, &state.levels, &question.feature)?;
    let required = units(question.usage.quantity)?;
    let shortfall = required.checked_sub(balance.available)?.max(Credits::ZERO);
    let frozen = state
        .grants
        .iter()
        .any(|grant| grant.feature == question.feature && grant.blocked(now) == Some(Blocked::Frozen));
    let reason = match (balance.unlimited, balance.granted, shortfall.is_positive()) {
        (true, _, _) => Reason::Unlimited,
        (false, _, true) | (false, false, _) if frozen => Reason::Frozen,
        (false, false, _) if state.wallets.iter().any(|wallet| wallet.feature == question.feature) => {
            Reason::Insufficient
        }
        (false, false, _) => Reason::FeatureNotGranted,
        (false, true, true) => Reason::Insufficient,
        (false, true, false) => Reason::Ok,
    };
    let pools = [Pool { feature: question.feature.clone(), rate: Rate::ONE, own: true }];
    Ok(CheckAnswer {
        allowed: matches!(reason, Reason::Ok | Reason::Unlimited),
        reason,
        pool: Some(question.feature.clone()),
        required,
        available: balance.available,
        shortfall: if balance.unlimited { Credits::ZERO } else { shortfall },
        in_use: Some(balance.used),
        unlimited: balance.unlimited,
        lots: if question.explain { lots(holdings, &pools, &[]) } else { Vec::new() },
        ..without_pool(question, false, reason)
    })
}

fn metered(
    state: &AccountState,
    catalog: &CatalogVersion,
    question: &Question,
    now: Timestamp,
) -> Result<CheckAnswer, Rejection> {
    let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: &question.entity, now };
    let Priced { pools, quantity } = catalog.catalog.priced(&question.feature, &question.usage)?;
    let room = room(state, Context { catalog, now }, &question.feature, &question.entity, None)?;
    let units = room.units_of(question.usage.quantity, quantity);
    let bounds = Bounds { units, credits: Some(&room.credits), ..Bounds::default() };
    let Some(paid) = burn_within(holdings, &pools, quantity, bounds)? else {
        return Ok(without_pool(question, false, Reason::UnknownFeature));
    };
    let balances: Vec<(&Pool, Balance)> = pools.iter().map(|pool| (pool, balance(holdings, &pool.feature))).collect();
    let granted = balances.iter().any(|(_, balance)| balance.granted);
    let pool = answering_pool(&balances, &paid);
    let required = paid.drawn.checked_add(paid.shortfall)?;
    let mut available = Credits::ZERO;
    let mut held = Credits::ZERO;
    for (_, balance) in &balances {
        // What is shown is capped like each pool's own sum: a customer with more than can be said has enough.
        available = available.checked_add(balance.available).unwrap_or(Credits::MAX);
        held = held.checked_add(balance.held).unwrap_or(Credits::MAX);
    }
    let frozen = || {
        let of_it = |grant: &&Grant| pools.iter().any(|pool| pool.feature == grant.feature);
        state.grants.iter().filter(of_it).any(|grant| grant.blocked(now) == Some(Blocked::Frozen))
    };
    let reason = if paid.unlimited {
        Reason::Unlimited
    } else if !granted {
        // A wallet is made with the first grant: with one there was something, and nothing of it is left.
        let had = state.wallets.iter().any(|wallet| pools.iter().any(|pool| pool.feature == wallet.feature));
        match (frozen(), had) {
            (true, _) => Reason::Frozen,
            (false, true) => Reason::Insufficient,
            (false, false) => Reason::FeatureNotGranted,
        }
    } else if paid.limited {
        Reason::SpendLimit
    } else if paid.shortfall.is_positive() {
        if frozen() { Reason::Frozen } else { Reason::Insufficient }
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
        shortfall: paid.shortfall,
        in_use: None,
        unlimited: paid.unlimited,
        limits: room.limits,
        lots: if question.explain { lots(holdings, &pools, &paid.draws) } else { Vec::new() },
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

fn lots(holdings: Holdings<'_>, pools: &[Pool], draws: &[Draw]) -> Vec<Lot> {
    let mut lots = Vec::new();
    let mut blocked = Vec::new();
    for pool in pools {
        let spendable: BTreeMap<GrantId, Credits> = spendable(holdings, &pool.feature).collect();
        let of_it = |grant: &&Grant| {
            grant.feature == pool.feature
                && (holdings.entity.is_empty() || grant.entity.is_empty() || grant.entity == holdings.entity)
        };
        let mut grants: Vec<&Grant> = holdings.grants.iter().filter(of_it).collect();
        grants.sort_by(|left, right| left.burns_before(right, holdings.entity));
        for grant in grants {
            let take = draws.iter().find(|draw| draw.grant == grant.id);
            let available = spendable.get(&grant.id).copied().unwrap_or_default();
            let kept = grant.free().checked_sub(available).unwrap_or_default();
            let in_debt = kept.is_positive().then_some(Blocked::Debt);
            let lot = Lot {
                grant: grant.id,
                wallet: grant.wallet,
                pool: pool.feature.clone(),
                kind: grant.category,
                priority: grant.priority,
                expires_at: grant.expires_at,
                remaining: grant.remaining,
                held: grant.held,
                blocked: kept,
                available,
                take: take.map_or(Credits::ZERO, |draw| draw.amount),
                unlimited: grant.unlimited,
                blocked_by: grant.blocked(holdings.now).or(in_debt),
            };
            if grant.blocked(holdings.now).is_none() { lots.push(lot) } else { blocked.push(lot) }
        }
    }
    lots.append(&mut blocked);
    lots
}
