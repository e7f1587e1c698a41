//! Spend limits: what they leave, and counting against them.

use std::collections::BTreeMap;

use ethnum::I256;

use super::super::account::AccountState;
use super::super::burn::Burn;
use super::super::catalog::{Feature, FeatureId, Priced};
use super::super::command::{Decision, Outcome, Rejection, SetLimit, Track};
use super::super::credits::{AmountError, Credits, Quantity};
use super::super::hold::{Hold, HoldState};
use super::super::limit::{LIMITS_MAX, SpendLimit, Window};
use super::super::usage_record::{PaidPart, UsageRecord};
use super::Draft;

/// What spend limits leave for one usage.
#[derive(Clone, Debug, Default)]
pub(in crate::domain) struct Room {
    /// Units of the feature, if a limit counts them.
    pub units: Option<Quantity>,
    /// Credits of each pool that a limit counts.
    pub credits: BTreeMap<FeatureId, Credits>,
    /// The limits, each with what is used of it and left.
    pub limits: Vec<(String, Window, Credits, Credits)>,
}

impl Room {
    /// The units left, as a part of what is multiplied by the pools' rates.
    pub(in crate::domain) fn units_of(&self, quantity: Quantity, priced: Quantity) -> Option<Quantity> {
        let left = self.units?;
        if quantity == priced || left >= quantity {
            return Some(if left >= quantity { priced } else { left });
        }
        // A card's usage counts as one whole; so much of it as is left of the units. Rounded down: a limit is a limit.
        let nanos = left.nanos().checked_mul(priced.nanos())?.checked_div(quantity.nanos())?;
        Quantity::from_nanos(nanos).ok()
    }

    /// Why it is refused: the limit of which the least is left.
    pub(super) fn refusal(&self, paid: &Burn) -> Result<Rejection, AmountError> {
        let left = |limit: &&(String, Window, Credits, Credits)| limit.2.checked_sub(limit.3).unwrap_or(Credits::ZERO);
        Ok(match self.limits.iter().min_by_key(left) {
            Some((name, window, most, used)) => {
                Rejection::SpendLimit { name: name.clone(), most: *most, used: *used, window: *window }
            }
            None => Rejection::Insufficient {
                pool: paid.pool.clone(),
                required: paid.drawn.checked_add(paid.shortfall)?,
                available: paid.drawn,
            },
        })
    }
}

impl Draft<'_> {
    /// What the account's limits leave for usage of a feature by an entity. What a hold has set aside is let be.
    pub(super) fn room(&self, feature: &FeatureId, entity: &str, hold: Option<&Hold>) -> Result<Room, Rejection> {
        room(&self.state, self.context, feature, entity, hold)
    }

    /// Counts what was paid; what was not paid was not used up.
    pub(super) fn count_against_limits(
        &mut self,
        track: &Track,
        priced: &Priced,
        paid: &Burn,
        parts: &[PaidPart],
    ) -> Result<(), Rejection> {
        let unpaid = paid.shortfall.is_positive() && !parts.iter().any(|part| part.debt.is_some());
        let units = if unpaid { paid.paid_units(track.quantity, priced.quantity)? } else { track.quantity };
        self.count(&track.feature, &track.entity, units, parts, |_| true)
    }

    /// Takes back from limits what was counted in windows that still run.
    pub(super) fn count_back(
        &mut self,
        record: &UsageRecord,
        units: Quantity,
        parts: &[PaidPart],
    ) -> Result<(), Rejection> {
        let (at, now) = (record.at, self.context.now);
        let is_same = |limit: &SpendLimit| match (limit.window.around(at), limit.window.around(now)) {
            (Ok(then), Ok(now)) => then == now,
            (Err(_), _) | (_, Err(_)) => false,
        };
        let units = paid_part(units, parts)?;
        self.count(&record.feature, &record.entity, units.negated(), parts, is_same)
    }

    fn count(
        &mut self,
        feature: &FeatureId,
        entity: &str,
        units: Quantity,
        parts: &[PaidPart],
        concerns: impl Fn(&SpendLimit) -> bool,
    ) -> Result<(), Rejection> {
        let now = self.context.now;
        let catalog = &self.context.catalog.catalog;
        for limit in self.state.limits.iter_mut().filter(|limit| limit.counts(entity) && concerns(limit)) {
            let amount = if is_pool(catalog.features.get(&limit.feature)) {
                let paid = parts.iter().filter(|part| part.pool == limit.feature);
                let paid = paid.filter(|part| part.grant.is_some() || part.debt.is_some());
                paid.map(|part| part.amount).try_fold(Credits::ZERO, Credits::checked_add)?
            } else if limit.feature == *feature {
                Credits::from_nanos(units.nanos())?
            } else {
                continue;
            };
            if !amount.is_zero() {
                limit.count(now, amount)?;
                self.changes.limits.insert(limit.name.clone());
            }
        }
        Ok(())
    }

    /// Sets a limit; what was used in its running window before counts.
    pub(super) fn set_limit(&mut self, wanted: &SetLimit) -> Result<Decision, Rejection> {
        match self.context.catalog.catalog.features.get(&wanted.feature) {
            None => return Err(Rejection::UnknownFeature(wanted.feature.clone())),
            Some(Feature::Boolean) => return Err(Rejection::NotMetered(wanted.feature.clone())),
            Some(Feature::Metered { consumable: false, .. }) => {
                return Err(Rejection::NotLimitable(wanted.feature.clone()));
            }
            Some(Feature::Metered { consumable: true, .. } | Feature::CreditSystem { .. }) => {}
        }
        let place = self.state.limits.iter().position(|limit| limit.name == wanted.name);
        if place.is_none() && self.state.limits.len() >= LIMITS_MAX {
            return Err(Rejection::TooManyLimits);
        }
        let used = self.state.used_before.get(&wanted.name).copied().unwrap_or_default();
        let limit = SpendLimit {
            name: wanted.name.clone(),
            feature: wanted.feature.clone(),
            entity: wanted.entity.clone(),
            window: wanted.window,
            most: wanted.most,
            window_start: wanted.window.around(self.context.now)?.map(|(start, _)| start),
            used: used.max(Credits::ZERO),
        };
        let used = limit.used;
        match place.and_then(|place| self.state.limits.get_mut(place)) {
            Some(known) => *known = limit,
            None => self.state.limits.push(limit),
        }
        self.state.has_extras = true;
        self.changes.head_changed = true;
        self.changes.limits.insert(wanted.name.clone());
        Ok(Decision::Applied(Outcome::Limited { used }))
    }

    /// Takes a limit away.
    pub(super) fn drop_limit(&mut self, name: &str) -> Result<Decision, Rejection> {
        let place = self.state.limits.iter().position(|limit| limit.name == name);
        let Some(place) = place else { return Err(Rejection::UnknownLimit(name.to_owned())) };
        let limit = self.state.limits.remove(place);
        self.changes.limits.insert(limit.name);
        Ok(Decision::Applied(Outcome::Limited { used: limit.used }))
    }
}

/// Units of a return that had been paid: what had not been was not counted. Rounded down: a limit is a limit.
fn paid_part(units: Quantity, parts: &[PaidPart]) -> Result<Quantity, AmountError> {
    let sum = |counts: fn(&PaidPart) -> bool| {
        let counted = parts.iter().filter(|part| counts(part));
        counted.map(|part| part.amount).try_fold(Credits::ZERO, Credits::checked_add)
    };
    let all = sum(|_| true)?;
    let paid = sum(|part| part.grant.is_some() || part.debt.is_some())?;
    if all == paid {
        return Ok(units);
    }
    // Cannot overflow: both factors are below 10^28, in 256 bits.
    let product = I256::from(units.nanos()).wrapping_mul(I256::from(paid.nanos()));
    let nanos = product.wrapping_div(I256::from(all.nanos()));
    i128::try_from(nanos).map_err(|_| AmountError::TooLarge).and_then(Quantity::from_nanos)
}

const fn is_pool(kind: Option<&Feature>) -> bool {
    matches!(kind, Some(Feature::CreditSystem { .. }))
}

/// What an account's limits leave for usage of a feature by an entity.
pub(in crate::domain) fn room(
    state: &AccountState,
    context: super::Context<'_>,
    feature: &FeatureId,
    entity: &str,
    hold: Option<&Hold>,
) -> Result<Room, Rejection> {
    let mut room = Room::default();
    for limit in state.limits.iter().filter(|limit| limit.counts(entity)) {
        let by_credits = is_pool(context.catalog.catalog.features.get(&limit.feature));
        if !by_credits && limit.feature != *feature {
            continue;
        }
        let used = limit.used_at(context.now)?.checked_add(held(state, limit, by_credits, hold)?)?;
        let left = limit.most.checked_sub(used)?.max(Credits::ZERO);
        room.limits.push((limit.name.clone(), limit.window, limit.most, used));
        if by_credits {
            let known = room.credits.entry(limit.feature.clone()).or_insert(left);
            *known = left.min(*known);
        } else {
            let own = hold.map_or(Quantity::ZERO, |hold| hold.quantity);
            let left = Quantity::from_nanos(left.nanos())?.max(own);
            room.units = Some(room.units.map_or(left, |known| known.min(left)));
        }
    }
    Ok(room)
}

/// What open holds have set aside of a limit. A hold that is being settled keeps the units it was placed for.
fn held(
    state: &AccountState,
    limit: &SpendLimit,
    by_credits: bool,
    settled: Option<&Hold>,
) -> Result<Credits, AmountError> {
    let mut sum = Credits::ZERO;
    let open = state.holds.iter().filter(|known| known.state == HoldState::Open && limit.counts(&known.entity));
    for known in open {
        if by_credits {
            for slice in known.slices.iter().filter(|slice| slice.pool == limit.feature) {
                sum = sum.checked_add(slice.amount)?;
            }
        } else if known.feature == limit.feature && settled.is_none_or(|hold| hold.id != known.id) {
            sum = sum.checked_add(Credits::from_nanos(known.quantity.nanos())?)?;
        }
    }
    Ok(sum)
}

/// How a limit stands: what is used of it in its running window, and what open holds have set aside besides.
pub fn standing(
    state: &AccountState,
    context: super::Context<'_>,
    limit: &SpendLimit,
) -> Result<(Credits, Credits), Rejection> {
    let by_credits = is_pool(context.catalog.catalog.features.get(&limit.feature));
    Ok((limit.used_at(context.now)?, held(state, limit, by_credits, None)?))
}
