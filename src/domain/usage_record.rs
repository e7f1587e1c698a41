//! What a track left behind, so that usage can be listed and taken back.
//!
//! Taking usage back walks the tracks newest first (rule 24). Within one it goes the way it came, backwards: shortfall,
//! then debt, then draws, the newest first. What was returned is a count of units, and every credit returned follows from
//! that count alone, so that any number of partial returns gives back exactly what one whole return would.

use ethnum::I256;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::FeatureId;
use super::credits::{AmountError, Credits, Quantity, round_half_even};
use super::ids::{DebtId, GrantId, HoldId};

/// Most tracks that one return looks at: a bound on what is read under the lock.
pub const RETURNED_TRACKS_MAX: usize = 2_000;

/// A part of what a track cost, in the order in which it was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidPart {
    /// The grant it was drawn from; with neither grant nor debt it was not paid at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The debt it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debt: Option<DebtId>,
    /// Whose credits.
    pub pool: FeatureId,
    /// Credits.
    pub amount: Credits,
    /// Units of the feature it stands for: where pools of different cost paid together, and of what nobody paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Quantity>,
    /// When the usage was tracked that this takes back: windows of limits count by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl PaidPart {
    /// Did a grant pay it, or is it owed?
    pub const fn is_settled(&self) -> bool {
        self.grant.is_some() || self.debt.is_some()
    }
}

/// Did one pool alone pay, or would have?
pub fn of_one_pool(parts: &[PaidPart]) -> bool {
    parts.iter().zip(parts.iter().skip(1)).all(|(part, next)| part.pool == next.pool)
}

/// A track as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// First entry of its command.
    pub seq: i64,
    /// Ledger time.
    pub at: Timestamp,
    /// When it happened, if not then.
    pub event_at: Option<Timestamp>,
    /// What was used.
    pub feature: FeatureId,
    /// Seat or workspace; empty: none.
    pub entity: String,
    /// Units used; negative for usage taken back.
    pub quantity: Quantity,
    /// Units of it that were taken back since.
    pub returned: Quantity,
    /// What paid.
    pub paid: Vec<PaidPart>,
    /// Properties of the event, as they came.
    pub properties: std::collections::BTreeMap<String, super::usage::Property>,
    /// The hold it settled.
    pub hold: Option<HoldId>,
}

impl UsageRecord {
    /// Units that can still be taken back.
    pub fn left(&self) -> Result<Quantity, AmountError> {
        self.quantity.checked_sub(self.returned)
    }

    /// Units of it that nobody paid: as they were noted with the shortfall, else the shortfall's share of the cost. They
    /// are the first to be taken back.
    pub fn unpaid_units(&self) -> Result<Quantity, AmountError> {
        let Some(unpaid) = self.paid.iter().find(|part| !part.is_settled()) else { return Ok(Quantity::ZERO) };
        if let Some(units) = unpaid.units {
            return Ok(units.min(self.quantity));
        }
        let cost = self.paid.iter().fold(I256::from(0), |sum, part| sum.wrapping_add(I256::from(part.amount.nanos())));
        // Cannot overflow: below 2^97 times below 2^97.
        let product = I256::from(self.quantity.nanos()).wrapping_mul(I256::from(unpaid.amount.nanos()));
        let nanos = product.checked_div(cost).unwrap_or_default();
        i128::try_from(nanos).map_err(|_| AmountError::TooLarge).and_then(Quantity::from_nanos)
    }

    /// Units of it that were paid and not taken back: what spend limits count.
    pub fn settled_units(&self) -> Result<Quantity, AmountError> {
        self.quantity.checked_sub(self.unpaid_units()?.max(self.returned))
    }

    /// What goes back of each part when `more` units are taken back, beyond what went back before.
    pub fn give_back(&self, more: Quantity) -> Result<Vec<Credits>, AmountError> {
        let before = self.gone_at(self.returned)?;
        let after = self.gone_at(self.returned.checked_add(more)?)?;
        after.into_iter().zip(before).map(|(after, before)| after.checked_sub(before)).collect()
    }

    /// What has gone back of each part once that many units were taken back.
    fn gone_at(&self, units: Quantity) -> Result<Vec<Credits>, AmountError> {
        if units >= self.quantity {
            return Ok(self.paid.iter().map(|part| part.amount).collect());
        }
        let weights = self.weights();
        // None of these can overflow: at most 200 weights below 10^28 each, times units below 10^28, is below 10^59.
        let whole = weights.iter().fold(I256::from(0), |sum, weight| sum.wrapping_add(*weight));
        let quantity = I256::from(self.quantity.nanos());
        let position = whole.wrapping_mul(I256::from(units.nanos()));
        let mut start = I256::from(0);
        let mut gone = Vec::with_capacity(self.paid.len());
        for (part, weight) in self.paid.iter().zip(&weights).rev() {
            let span = weight.wrapping_mul(quantity);
            let covered = position.wrapping_sub(start).clamp(I256::from(0), span);
            gone.push(share(part.amount, *weight, covered, quantity)?);
            start = start.wrapping_add(span);
        }
        gone.reverse();
        Ok(gone)
    }

    /// How much of the usage each part stands for: credits where one pool paid, units where several did.
    fn weights(&self) -> Vec<I256> {
        let one_pool = of_one_pool(&self.paid);
        let weight = |part: &PaidPart| match part.units.filter(|_| !one_pool) {
            Some(units) => units.nanos(),
            None => part.amount.nanos(),
        };
        self.paid.iter().map(|part| I256::from(weight(part))).collect()
    }
}

/// `amount * covered / (weight * quantity)`, half to even at the ninth place.
fn share(amount: Credits, weight: I256, covered: I256, quantity: I256) -> Result<Credits, AmountError> {
    let zero = I256::from(0);
    let nanos = if weight == zero || quantity == zero {
        zero
    } else if weight == I256::from(amount.nanos()) {
        round_half_even(covered, quantity)
    } else {
        let product = I256::from(amount.nanos()).checked_mul(covered).ok_or(AmountError::TooLarge)?;
        round_half_even(product, weight.wrapping_mul(quantity))
    };
    i128::try_from(nanos).map_err(|_| AmountError::TooLarge).and_then(Credits::from_nanos)
}
