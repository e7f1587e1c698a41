//! What a change inside a period gives: exact parts of an allowance, each given at most once (rule 15).
//!
//! An allowance of a period is an area: credits up, time across. Holding a level from some time on warrants the
//! rectangle from there to the period's end; the period's own grant is the one that begins with the period. A change
//! gives the part of its rectangle that no other one covers yet. So the whole never exceeds the highest level held, a
//! loop of up and down gives nothing new, and the sum is the same in whatever order changes are told.

use ethnum::I256;
use jiff::Timestamp;

use super::catalog::FeatureId;
use super::credits::{AmountError, Credits, round_half_even};
use super::ids::{AttachmentId, GrantId, PaymentId};
use super::period::PeriodSpan;

/// A rectangle: credits above one level up to another, from a time until the period ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// Exclusive.
    pub above: Credits,
    /// Inclusive.
    pub up_to: Credits,
    /// From then on.
    pub from: Timestamp,
}

/// The part of a period's allowance that a grant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The proration date; `None`: the period's own grant, which came after changes of it.
    pub changed_at: Option<Timestamp>,
    /// The level before.
    pub above: Credits,
    /// The level after.
    pub up_to: Credits,
}

/// What a period of an item was given by one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The attachment.
    pub attachment: AttachmentId,
    /// The plan's item.
    pub item: String,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Start of the period.
    pub period_start: Timestamp,
    /// Which part of the allowance.
    pub step: Step,
    /// Credits given for it.
    pub given: Credits,
    /// The grant.
    pub grant: GrantId,
    /// The payment that paid for it.
    pub payment: Option<PaymentId>,
    /// Stripe's price of its line.
    pub stripe_price: Option<String>,
    /// When the period ends.
    pub ends_at: Option<Timestamp>,
    /// Was all of it taken back with its payment, before this batch?
    pub gone: bool,
    /// Credits of it that were taken back, or gone without being used.
    pub lost: Credits,
}

/// Credits of a rectangle that no known one covers, as a share of the period: exact, rounded once, half to even, at the
/// ninth place.
pub fn uncovered(of: Band, known: &[Band], period: PeriodSpan) -> Result<Credits, AmountError> {
    let nanos = |from: Timestamp, to: Timestamp| {
        // Cannot overflow: all of jiff's calendar is below 2^69 nanoseconds.
        to.as_nanosecond().saturating_sub(from.as_nanosecond()).max(0)
    };
    let whole = nanos(period.start, period.end);
    if whole == 0 || of.up_to <= of.above {
        return Ok(Credits::ZERO);
    }
    let inside = |at: Timestamp| at.clamp(period.start, period.end);
    let mut levels: Vec<Credits> = known.iter().flat_map(|band| [band.above, band.up_to]).collect();
    levels.extend([of.above, of.up_to]);
    levels.retain(|level| *level >= of.above && *level <= of.up_to);
    levels.sort();
    levels.dedup();
    let mut area = I256::from(0);
    for (low, high) in levels.iter().zip(levels.iter().skip(1)) {
        let covers = |band: &&Band| band.above <= *low && band.up_to >= *high;
        let until = known.iter().filter(covers).map(|band| inside(band.from)).min().unwrap_or(period.end);
        let width = high.checked_sub(*low)?;
        // Cannot overflow: below 2^90 credits times 2^69 nanoseconds, for as many levels as a period has changes.
        area = area.wrapping_add(I256::from(width.nanos()).wrapping_mul(I256::from(nanos(inside(of.from), until))));
    }
    let rounded = round_half_even(area, I256::from(whole));
    i128::try_from(rounded).map_err(|_| AmountError::TooLarge).and_then(Credits::from_nanos)
}
