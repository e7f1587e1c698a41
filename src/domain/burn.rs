//! How usage is paid: one total order of grants, draws from each, and what no grant could pay.
//!
//! Values in, values out. A shortfall is a result, not an error. The remainder that passes from one pool to the next is
//! kept to 27 places of the used feature's unit, so that every pool is charged what its own rate says of exactly the
//! usage the pools before it could not pay.

use std::collections::BTreeMap;

use ethnum::I256;
use jiff::Timestamp;

use super::catalog::{FeatureId, Pool};
use super::credits::{AmountError, Credits, Quantity};
use super::grant::{Debt, Grant};
use super::ids::{GrantId, WalletId};

/// What one deduction takes from one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The grant.
    pub grant: GrantId,
    /// Its pool.
    pub pool: FeatureId,
    /// Credits taken; zero from an unlimited grant.
    pub amount: Credits,
}

/// How usage is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burn {
    /// Takings, in burn order.
    pub draws: Vec<Draw>,
    /// Their sum.
    pub drawn: Credits,
    /// Credits of `pool` that no grant could pay.
    pub shortfall: Credits,
    /// The pool that paid last, or would have.
    pub pool: FeatureId,
    /// An unlimited grant absorbed the rest?
    pub unlimited: bool,
}

/// What burning looks at.
#[derive(Clone, Copy, Debug)]
pub struct Holdings<'state> {
    /// The account's grants.
    pub grants: &'state [Grant],
    /// Its open debts.
    pub debts: &'state [Debt],
    /// The entity the usage is for; empty: none.
    pub entity: &'state str,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Units of the used feature not yet paid, in 10^-27 of a unit.
struct Remainder(I256);

impl Remainder {
    fn of(quantity: Quantity) -> Self {
        Self(I256::from(quantity.nanos()).wrapping_mul(power_of_ten(18)))
    }

    fn is_zero(&self) -> bool {
        self.0 == I256::from(0)
    }

    /// What it costs in a pool, half to even at the ninth place.
    fn cost(&self, pool: &Pool) -> Result<Credits, AmountError> {
        // Cannot overflow: below 10^45 in 10^-27 units times below 10^27 in 10^-18 credits, or one unit (10^27) times a
        // total below 10^36, is below 10^72 < 2^255.
        let product = self.0.wrapping_mul(I256::from(pool.rate.scaled()));
        let nanos = round_half_even(product, power_of_ten(36));
        i128::try_from(nanos).map_err(|_| AmountError::TooLarge).and_then(Credits::from_nanos)
    }

    /// What is left after a pool paid `credits` of it.
    fn less(&self, pool: &Pool, credits: Credits) -> Self {
        // Cannot overflow or divide by zero: below 10^27 times 10^36, and only a pool with a positive rate pays less.
        let paid = I256::from(credits.nanos()).wrapping_mul(power_of_ten(36));
        let units = round_half_even(paid, I256::from(pool.rate.scaled().max(1)));
        Self(self.0.wrapping_sub(units))
    }
}

fn power_of_ten(exponent: u32) -> I256 {
    // Cannot overflow: called with 18 and 36 only.
    I256::from(10).wrapping_pow(exponent)
}

fn round_half_even(value: I256, unit: I256) -> I256 {
    super::credits::round_half_even(value, unit)
}

/// Pays for `quantity` of a feature whose pools are given in order. `pools` must not be empty.
pub fn burn(holdings: Holdings<'_>, pools: &[Pool], quantity: Quantity) -> Result<Option<Burn>, AmountError> {
    let Some(last) = pools.last() else { return Ok(None) };
    let mut paid = Burn {
        draws: Vec::new(),
        drawn: Credits::ZERO,
        shortfall: Credits::ZERO,
        pool: last.feature.clone(),
        unlimited: false,
    };
    if let Some((pool, grant)) = unlimited(holdings, pools) {
        paid.draws.push(Draw { grant, pool: pool.feature.clone(), amount: Credits::ZERO });
        paid.pool = pool.feature.clone();
        paid.unlimited = true;
        return Ok(Some(paid));
    }
    let mut rest = Remainder::of(quantity);
    let mut budgets = budgets(holdings);
    for (pool, grants) in runs(holdings, pools) {
        let cost = rest.cost(pool)?;
        let taken = draw_from_pool(pool, &grants, cost, &mut budgets, &mut paid)?;
        if taken.is_positive() {
            paid.pool = pool.feature.clone();
        }
        if taken == cost {
            return Ok(Some(paid));
        }
        rest = rest.less(pool, taken);
        if rest.is_zero() {
            return Ok(Some(paid));
        }
    }
    paid.pool = last.feature.clone();
    paid.shortfall = rest.cost(last)?;
    Ok(Some(paid))
}

fn unlimited<'pools>(holdings: Holdings<'_>, pools: &'pools [Pool]) -> Option<(&'pools Pool, GrantId)> {
    pools.iter().find_map(|pool| {
        let grant = in_order(holdings, &pool.feature).into_iter().find(|grant| grant.unlimited)?;
        Some((pool, grant.id))
    })
}

/// Wallets with debt spend only what exceeds it: the wallet's spendable credits less its open debts.
fn budgets(holdings: Holdings<'_>) -> BTreeMap<WalletId, Credits> {
    let mut owed: BTreeMap<WalletId, Credits> = BTreeMap::new();
    for debt in holdings.debts.iter().filter(|debt| !debt.invoiced) {
        let sum = owed.entry(debt.wallet).or_default();
        *sum = sum.checked_add(debt.outstanding).unwrap_or(Credits::MAX);
    }
    for (wallet, budget) in &mut owed {
        let mine = holdings.grants.iter().filter(|grant| grant.wallet == *wallet);
        let lying = mine
            .fold(Credits::ZERO, |sum, grant| sum.checked_add(grant.spendable(holdings.now)).unwrap_or(Credits::MAX));
        *budget = lying.checked_sub(*budget).unwrap_or(Credits::ZERO).max(Credits::ZERO);
    }
    owed
}

/// The active grants of a pool, in burn order.
pub fn in_order<'state>(holdings: Holdings<'state>, pool: &FeatureId) -> Vec<&'state Grant> {
    let mine = |grant: &&Grant| {
        grant.feature == *pool
            && grant.blocked(holdings.now).is_none()
            && (holdings.entity.is_empty() || grant.entity.is_empty() || grant.entity == holdings.entity)
    };
    let mut grants: Vec<&Grant> = holdings.grants.iter().filter(mine).collect();
    grants.sort_by(|left, right| left.burns_before(right, holdings.entity));
    grants
}

/// All grants in the one order of rule 20, cut into runs of one pool: whose seat it is decides before the pool does, and
/// the pool before everything else. A pool without grants keeps its place among the customer's: it may cost nothing.
fn runs<'all>(holdings: Holdings<'all>, pools: &'all [Pool]) -> Vec<(&'all Pool, Vec<&'all Grant>)> {
    let mut all: Vec<(&Pool, Option<&Grant>)> = Vec::new();
    for pool in pools {
        let grants = in_order(holdings, &pool.feature);
        if grants.is_empty() {
            all.push((pool, None));
        }
        all.extend(grants.into_iter().map(|grant| (pool, Some(grant))));
    }
    let customers = |of: Option<&Grant>| of.is_none_or(|grant| grant.entity.is_empty());
    // Stable: pools stay in their order within a seat, grants in theirs within a pool.
    all.sort_by(|&(_, left), &(_, right)| match (left, right) {
        (Some(left), Some(right)) => left.seat_before(right, holdings.entity),
        (None, _) | (_, None) if holdings.entity.is_empty() => customers(right).cmp(&customers(left)),
        (None, _) | (_, None) => customers(left).cmp(&customers(right)),
    });
    let mut runs: Vec<(&Pool, Vec<&Grant>)> = Vec::new();
    for (pool, grant) in all {
        match runs.last_mut() {
            Some((last, grants)) if last.feature == pool.feature => grants.extend(grant),
            Some(_) | None => runs.push((pool, grant.into_iter().collect())),
        }
    }
    runs
}

fn draw_from_pool(
    pool: &Pool,
    grants: &[&Grant],
    cost: Credits,
    budgets: &mut BTreeMap<WalletId, Credits>,
    paid: &mut Burn,
) -> Result<Credits, AmountError> {
    let mut taken = Credits::ZERO;
    for grant in grants {
        let open = cost.checked_sub(taken)?;
        if !open.is_positive() {
            break;
        }
        let budget = budgets.get(&grant.wallet).copied().unwrap_or(Credits::MAX);
        let amount = grant.free().min(open).min(budget);
        if amount.is_positive() {
            if let Some(budget) = budgets.get_mut(&grant.wallet) {
                *budget = budget.checked_sub(amount)?;
            }
            taken = taken.checked_add(amount)?;
            paid.draws.push(Draw { grant: grant.id, pool: pool.feature.clone(), amount });
        }
    }
    paid.drawn = paid.drawn.checked_add(taken)?;
    Ok(taken)
}

/// Credits of a pool that can be spent now, debts taken off, with what is held and whether there is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Balance {
    /// Spendable.
    pub available: Credits,
    /// Set aside by holds.
    pub held: Credits,
    /// No limit?
    pub unlimited: bool,
    /// Any grant there at all, active now?
    pub granted: bool,
}

/// The balance of one pool.
pub fn balance(holdings: Holdings<'_>, pool: &FeatureId) -> Balance {
    let mut budgets = budgets(holdings);
    let mut sum = Balance::default();
    for grant in in_order(holdings, pool) {
        let budget = budgets.get(&grant.wallet).copied().unwrap_or(Credits::MAX);
        let part = grant.free().min(budget);
        if let Some(budget) = budgets.get_mut(&grant.wallet) {
            *budget = budget.checked_sub(part).unwrap_or(Credits::ZERO);
        }
        sum.available = sum.available.checked_add(part).unwrap_or(Credits::MAX);
        sum.held = sum.held.checked_add(grant.held).unwrap_or(Credits::MAX);
        sum.unlimited |= grant.unlimited;
        sum.granted = true;
    }
    sum
}
