//! Spend limits: what they leave, and counting against them.

use std::collections::BTreeMap;

use super::super::account::AccountState;
use super::super::burn::Burn;
use super::super::catalog::{FeatureId, Priced};
use super::super::command::{Decision, Outcome, Rejection, SetLimit, Track};
use super::super::credits::{AmountError, Credits, Quantity};
use super::super::hold::{Hold, HoldState};
use super::super::limit::{Counted, LIMITS_MAX, LimitPart, SpendLimit};
use super::super::usage_record::{PaidPart, UsageRecord};
use super::Draft;

/// What spend limits leave for one usage.
#[derive(Clone, Debug, Default)]
pub(in crate::domain) struct Room {
    /// Units of the feature, if a limit counts them.
    pub units: Option<Quantity>,
    /// Credits of each pool that a limit counts.
    pub credits: BTreeMap<FeatureId, Credits>,
    /// The limits that count it.
    pub limits: Vec<LimitPart>,
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
        let left = |limit: &&LimitPart| limit.most.checked_sub(limit.used).unwrap_or(Credits::ZERO);
        Ok(match self.limits.iter().min_by_key(left).cloned() {
            Some(LimitPart { name, window, most, used }) => Rejection::SpendLimit { name, most, used, window },
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
        let is_owed = parts.iter().any(|part| part.debt.is_some());
        let units = if is_owed { track.quantity } else { paid.paid_units(track.quantity, priced.quantity)? };
        self.count(Counted {
            at: self.context.now,
            feature: track.feature.clone(),
            entity: track.entity.clone(),
            units,
            credits: settled(parts),
        })
    }

    /// Takes back from limits what was counted in windows that still run; units that nobody paid were not counted.
    pub(super) fn count_back(
        &mut self,
        record: &UsageRecord,
        take: Quantity,
        parts: &[PaidPart],
    ) -> Result<(), Rejection> {
        let after = UsageRecord { returned: record.returned.checked_add(take)?, ..record.clone() };
        let units = after.settled_units()?.checked_sub(record.settled_units()?)?;
        self.count(Counted {
            at: record.at,
            feature: record.feature.clone(),
            entity: record.entity.clone(),
            units,
            credits: settled(parts),
        })
    }

    fn count(&mut self, counted: Counted) -> Result<(), Rejection> {
        let now = self.context.now;
        let catalog = &self.context.catalog.catalog;
        for limit in self.state.limits.iter_mut().filter(|limit| limit.counts(&counted.entity)) {
            let amount = limit.share_of(&counted, catalog.is_credit_system(&limit.feature))?;
            if !amount.is_zero() && limit.is_running(counted.at, now)? {
                limit.count(now, amount)?;
                self.changes.limits.insert(limit.name.clone());
            }
        }
        if !self.state.used_before.is_empty() {
            self.state.used_since.push(counted);
        }
        Ok(())
    }

    /// Sets a limit; what was used in its running window before counts.
    pub(super) fn set_limit(&mut self, wanted: &SetLimit) -> Result<Decision, Rejection> {
        self.must_hold_credits(&wanted.feature)?;
        if self.is_level(&wanted.feature) {
            return Err(Rejection::NotLimitable(wanted.feature.clone()));
        }
        let place = self.state.limits.iter().position(|limit| limit.name == wanted.name);
        if place.is_none() && self.state.limits.len() >= LIMITS_MAX {
            return Err(Rejection::TooManyLimits);
        }
        let key = (wanted.name.clone(), wanted.feature.clone(), wanted.entity.clone(), wanted.window);
        let now = self.context.now;
        let mut limit = SpendLimit {
            name: wanted.name.clone(),
            feature: wanted.feature.clone(),
            entity: wanted.entity.clone(),
            window: wanted.window,
            most: wanted.most,
            window_start: wanted.window.around(now)?.map(|(start, _)| start),
            used: Credits::ZERO,
        };
        let mut used = self.state.used_before.get(&key).copied().unwrap_or_default();
        let is_pool = self.context.catalog.catalog.is_credit_system(&limit.feature);
        for counted in self.state.used_since.iter().filter(|counted| limit.counts(&counted.entity)) {
            if limit.is_running(counted.at, now)? {
                used = used.checked_add(limit.share_of(counted, is_pool)?)?;
            }
        }
        used = used.max(Credits::ZERO);
        limit.used = used;
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
        let used = limit.used_at(self.context.now)?;
        self.changes.limits.insert(limit.name);
        Ok(Decision::Applied(Outcome::Limited { used }))
    }
}

/// Credits that were paid or are owed, by pool.
fn settled(parts: &[PaidPart]) -> Vec<(FeatureId, Credits)> {
    let settled = parts.iter().filter(|part| part.is_settled());
    settled.map(|part| (part.pool.clone(), part.amount)).collect()
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
        let by_credits = context.catalog.catalog.is_credit_system(&limit.feature);
        if !by_credits && limit.feature != *feature {
            continue;
        }
        let used = limit.used_at(context.now)?.checked_add(held(state, limit, by_credits, hold)?)?;
        let left = limit.most.checked_sub(used)?.max(Credits::ZERO);
        room.limits.push(LimitPart { name: limit.name.clone(), window: limit.window, most: limit.most, used });
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
    let by_credits = context.catalog.catalog.is_credit_system(&limit.feature);
    Ok((limit.used_at(context.now)?, held(state, limit, by_credits, None)?))
}
