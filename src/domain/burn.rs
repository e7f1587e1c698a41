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
use super::hold::Slice;
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
    /// Taken of what a hold had set aside?
    pub pinned: bool,
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
    /// A spend limit, rather than the balance, left something unpaid?
    pub limited: bool,
    /// What no grant could pay, exactly.
    unpaid: Remainder,
}

impl Burn {
    /// What was not paid, in the credits of a pool of the used feature.
    pub fn unpaid_in(&self, pool: &Pool) -> Result<Credits, AmountError> {
        self.unpaid.cost(pool)
    }

    /// So many units of a quantity were paid, where `priced` is what was multiplied by the pools' rates; rounded up.
    pub fn paid_units(&self, quantity: Quantity, priced: Quantity) -> Result<Quantity, AmountError> {
        let whole = Remainder::of(priced).0;
        if whole == I256::ZERO {
            return Ok(quantity);
        }
        // Cannot overflow: below 10^45 times 10^28 is below 10^73 < 2^255.
        let unpaid = self.unpaid.0.wrapping_mul(I256::from(quantity.nanos())).wrapping_div(whole);
        i128::try_from(unpaid)
            .map_err(|_| AmountError::TooLarge)
            .and_then(Quantity::from_nanos)
            .and_then(|unpaid| quantity.checked_sub(unpaid.max(Quantity::ZERO)))
    }
}

/// What bounds a deduction besides the grants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds<'a> {
    /// What a hold has set aside for this usage: taken first, in its order, whatever became of the grants.
    pub pinned: &'a [Slice],
    /// Most units that spend limits let be paid.
    pub units: Option<Quantity>,
    /// Most credits of each pool that spend limits let be drawn.
    pub credits: Option<&'a BTreeMap<FeatureId, Credits>>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remainder(I256);

impl Remainder {
    const NOTHING: Self = Self(I256::ZERO);

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

    fn and(&self, more: &Self) -> Self {
        // Cannot overflow: both are below 10^45.
        Self(self.0.wrapping_add(more.0))
    }
}

fn power_of_ten(exponent: u32) -> I256 {
    // Cannot overflow: called with 18 and 36 only.
    I256::from(10).wrapping_pow(exponent)
}

fn round_half_even(value: I256, unit: I256) -> I256 {
    super::credits::round_half_even(value, unit)
}

/// Units of the used feature that credits of a pool stand for, to nine places.
pub fn units_of(pool: &Pool, credits: Credits) -> Result<Quantity, AmountError> {
    let units = I256::from(credits.nanos()).wrapping_mul(power_of_ten(18));
    let nanos = round_half_even(units, I256::from(pool.rate.scaled().max(1)));
    i128::try_from(nanos).map_err(|_| AmountError::TooLarge).and_then(Quantity::from_nanos)
}

/// Pays for `quantity` of a feature whose pools are given in order; `None` without a pool.
pub fn burn(holdings: Holdings<'_>, pools: &[Pool], quantity: Quantity) -> Result<Option<Burn>, AmountError> {
    burn_within(holdings, pools, quantity, Bounds::default())
}

/// The same within bounds: what a hold pinned goes first, and spend limits leave the rest unpaid.
pub fn burn_within(
    holdings: Holdings<'_>,
    pools: &[Pool],
    quantity: Quantity,
    bounds: Bounds<'_>,
) -> Result<Option<Burn>, AmountError> {
    let Some(last) = pools.last() else { return Ok(None) };
    let payable = bounds.units.map_or(quantity, |most| most.min(quantity).max(Quantity::ZERO));
    let denied = Remainder::of(quantity.checked_sub(payable)?);
    let mut paid = Burn {
        draws: Vec::new(),
        drawn: Credits::ZERO,
        shortfall: Credits::ZERO,
        pool: last.feature.clone(),
        unlimited: false,
        limited: !denied.is_zero(),
        unpaid: denied,
    };
    if let Some((pool, grant)) = unlimited(holdings, pools) {
        paid.draws.push(Draw { grant, pool: pool.feature.clone(), amount: Credits::ZERO, pinned: false });
        paid.pool = pool.feature.clone();
        paid.shortfall = denied.cost(pool)?;
        paid.unlimited = denied.is_zero();
        return Ok(Some(paid));
    }
    let mut rest = draw_pinned(bounds.pinned, pools, Remainder::of(payable), &mut paid)?;
    let mut budgets = Budgets::new(holdings, bounds.credits);
    for (pool, grants) in runs(holdings, pools) {
        if rest.is_zero() {
            break;
        }
        let cost = rest.cost(pool)?;
        let taken = draw_from_pool(pool, &grants, cost, &mut budgets, &mut paid)?;
        if taken.is_positive() {
            paid.pool = pool.feature.clone();
        }
        rest = if taken == cost { Remainder::NOTHING } else { rest.less(pool, taken) };
    }
    paid.unpaid = rest.and(&denied);
    if !paid.unpaid.is_zero() {
        paid.pool = last.feature.clone();
        paid.shortfall = paid.unpaid.cost(last)?;
        paid.limited |= budgets.limited;
    }
    Ok(Some(paid))
}

/// Takes what a hold set aside, in its order; a slice of a pool that the feature no longer draws from stays.
fn draw_pinned(
    pinned: &[Slice],
    pools: &[Pool],
    mut rest: Remainder,
    paid: &mut Burn,
) -> Result<Remainder, AmountError> {
    for slice in pinned {
        let Some(pool) = pools.iter().find(|pool| pool.feature == slice.pool) else { continue };
        let cost = rest.cost(pool)?;
        let amount = slice.amount.min(cost);
        if amount.is_positive() {
            paid.draws.push(Draw { grant: slice.grant, pool: pool.feature.clone(), amount, pinned: true });
            paid.drawn = paid.drawn.checked_add(amount)?;
            paid.pool = pool.feature.clone();
        }
        rest = if amount == cost { Remainder::NOTHING } else { rest.less(pool, amount) };
    }
    Ok(rest)
}

fn unlimited<'pools>(holdings: Holdings<'_>, pools: &'pools [Pool]) -> Option<(&'pools Pool, GrantId)> {
    pools.iter().find_map(|pool| {
        let grant = in_order(holdings, &pool.feature).into_iter().find(|grant| grant.unlimited)?;
        Some((pool, grant.id))
    })
}

/// What may be drawn at most: of each wallet with debt only what exceeds it, of each pool what spend limits leave.
struct Budgets {
    wallets: BTreeMap<WalletId, Credits>,
    pools: BTreeMap<FeatureId, Credits>,
    /// Did a pool's limit, not its grants, end a draw?
    limited: bool,
}

impl Budgets {
    fn new(holdings: Holdings<'_>, limits: Option<&BTreeMap<FeatureId, Credits>>) -> Self {
        Self { wallets: above_debts(holdings), pools: limits.cloned().unwrap_or_default(), limited: false }
    }

    /// Most of `wanted` that can be drawn of a grant.
    fn allow(&mut self, grant: &Grant, wanted: Credits) -> Credits {
        let of_wallet = self.wallets.get(&grant.wallet).copied().unwrap_or(Credits::MAX);
        let amount = grant.free().min(wanted).min(of_wallet);
        let of_pool = self.pools.get(&grant.feature).copied().unwrap_or(Credits::MAX).max(Credits::ZERO);
        self.limited |= of_pool < amount;
        amount.min(of_pool)
    }

    fn take(&mut self, grant: &Grant, amount: Credits) -> Result<(), AmountError> {
        for budget in [self.wallets.get_mut(&grant.wallet), self.pools.get_mut(&grant.feature)].into_iter().flatten() {
            *budget = budget.checked_sub(amount)?;
        }
        Ok(())
    }
}

/// Wallets with debt spend only what exceeds it: the wallet's spendable credits less its open debts.
fn above_debts(holdings: Holdings<'_>) -> BTreeMap<WalletId, Credits> {
    let mut owed: BTreeMap<WalletId, Credits> = BTreeMap::new();
    for debt in holdings.debts.iter().filter(|debt| !debt.invoiced()) {
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

/// The active grants of a pool that have something left, in burn order: whether an empty one is still at hand must not
/// change an answer.
pub fn in_order<'state>(holdings: Holdings<'state>, pool: &FeatureId) -> Vec<&'state Grant> {
    let mine = |grant: &&Grant| {
        grant.feature == *pool
            && (grant.unlimited || grant.remaining.is_positive())
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
    budgets: &mut Budgets,
    paid: &mut Burn,
) -> Result<Credits, AmountError> {
    let mut taken = Credits::ZERO;
    for grant in grants {
        let open = cost.checked_sub(taken)?;
        if !open.is_positive() {
            break;
        }
        let amount = budgets.allow(grant, open);
        if amount.is_positive() {
            budgets.take(grant, amount)?;
            taken = taken.checked_add(amount)?;
            paid.draws.push(Draw { grant: grant.id, pool: pool.feature.clone(), amount, pinned: false });
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

/// What of each grant of a pool can be spent now, in burn order: wallets with debt keep as much as they owe.
pub fn spendable<'state>(
    holdings: Holdings<'state>,
    pool: &FeatureId,
) -> impl Iterator<Item = (GrantId, Credits)> + use<'state> {
    let mut budgets = above_debts(holdings);
    in_order(holdings, pool).into_iter().map(move |grant| {
        let budget = budgets.get(&grant.wallet).copied().unwrap_or(Credits::MAX);
        let part = grant.free().min(budget);
        if let Some(budget) = budgets.get_mut(&grant.wallet) {
            *budget = budget.checked_sub(part).unwrap_or(Credits::ZERO);
        }
        (grant.id, part)
    })
}

/// The balance of one pool.
pub fn balance(holdings: Holdings<'_>, pool: &FeatureId) -> Balance {
    let mut sum = Balance::default();
    for (grant, (_, part)) in in_order(holdings, pool).into_iter().zip(spendable(holdings, pool)) {
        sum.available = sum.available.checked_add(part).unwrap_or(Credits::MAX);
        sum.held = sum.held.checked_add(grant.held).unwrap_or(Credits::MAX);
        sum.unlimited |= grant.unlimited;
        sum.granted = true;
    }
    sum
}
