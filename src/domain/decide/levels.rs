//! Usage of features that are set and freed: a level, not a sum.

use super::super::account::Line;
use super::super::catalog::FeatureId;
use super::super::command::{Decision, Outcome, Rejection, Track, WhenShort};
use super::super::credits::{Credits, Quantity};
use super::super::entry::EntryKind;
use super::super::level::{level, units};
use super::Draft;
use super::track::{Usage, nothing};

impl Draft<'_> {
    /// Is the feature set and freed rather than spent?
    pub(super) fn is_level(&self, feature: &FeatureId) -> bool {
        self.context.catalog.catalog.is_level(feature)
    }

    /// Sets what is in use, or changes it. Freeing always succeeds; taking more than is left is what `when_short` decides,
    /// and with `cap` the level says what the app says, with what goes beyond as shortfall.
    pub(super) fn track_level(&mut self, track: &Track) -> Result<Decision, Rejection> {
        if let Some(hold) = track.hold {
            return Err(Rejection::UnknownHold(hold));
        }
        let key = (track.feature.clone(), track.entity.clone());
        let used = self.state.levels.get(&key).copied().unwrap_or_default();
        let wanted = match track.set {
            Some(wanted) => wanted,
            None => used.checked_add(track.quantity)?,
        };
        let change = wanted.checked_sub(used)?;
        if wanted.is_negative() {
            let asked = change.negated();
            return Err(Rejection::NothingToReturn { feature: track.feature.clone(), asked, found: used });
        }
        let before = level(self.holdings(&track.entity), &self.state.levels, &track.feature)?;
        let cost = units(change)?;
        let short = if before.unlimited { Credits::ZERO } else { cost.checked_sub(before.available)? };
        let short = short.max(Credits::ZERO);
        if short.is_positive() {
            match track.when_short {
                WhenShort::Cap => {}
                WhenShort::Reject => {
                    let (pool, available) = (track.feature.clone(), before.available);
                    return Err(Rejection::Insufficient { pool, required: cost, available });
                }
                WhenShort::Debt => return Err(Rejection::DebtNotAllowed(track.feature.clone())),
            }
        }
        if !change.is_zero() {
            self.book_level(track, change, short)?;
            self.state.has_extras = true;
            self.changes.head_changed = true;
            self.state.levels.insert(key.clone(), wanted);
            self.changes.levels.insert(key);
        }
        let after = level(self.holdings(&track.entity), &self.state.levels, &track.feature)?;
        Ok(Decision::Applied(Outcome::Tracked {
            cost,
            drawn: cost.checked_sub(short)?,
            shortfall: short,
            available: after.available,
            unlimited: after.unlimited,
            pool: track.feature.clone(),
            draws: Vec::new(),
            owed: Credits::ZERO,
            hold: None,
        }))
    }

    fn book_level(&mut self, track: &Track, change: Quantity, short: Credits) -> Result<(), Rejection> {
        let kind = if change.is_negative() { EntryKind::Return } else { EntryKind::Draw };
        let line = Line { event_at: track.at, ..nothing(kind, track.feature.clone()) };
        self.book_usage(line, Some(Usage { feature: track.feature.clone(), quantity: change, shortfall: short }))?;
        self.record(track, change, Vec::new());
        self.note_metadata(track);
        Ok(())
    }
}
