//! Taking the place of another plan at once: what of the old one goes along (rule 16).
//!
//! By default its period grants end, and one-off and rollover grants stay. Balances carried over: its period grants stay
//! until their own ends. Usage carried over: what was used of its running periods is taken at once from the new plan's
//! first grant of each feature, by a `draw` entry that names no usage. A draw, because those credits pay for use that
//! was made: finance recognises them as used, not as breakage, and a lost dispute can ask for them. Without usage, because
//! the use itself is told by the old plan's draws: it is not counted twice, and a return finds it there alone.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::account::Line;
use super::super::catalog::FeatureId;
use super::super::command::{CarryOver, Rejection};
use super::super::credits::Credits;
use super::super::entry::EntryKind;
use super::super::grant::Grant;
use super::super::ids::AttachmentId;
use super::Draft;

impl Draft<'_> {
    /// Ends `old`, whose place `new` takes at `at`, and carries over what was asked for. The new plan's first grants are
    /// given before.
    pub(super) fn take_over(
        &mut self,
        old: AttachmentId,
        new: AttachmentId,
        at: Timestamp,
        carry: CarryOver,
    ) -> Result<(), Rejection> {
        let used = if carry.usage { self.used_in_running_periods(old, at)? } else { BTreeMap::new() };
        self.end_attachment(old, at, !carry.balances)?;
        for (feature, credits) in used {
            self.deduct_from_first(new, &feature, credits, at)?;
        }
        Ok(())
    }

    /// What was used of each feature in an attachment's periods that run at a time: given, and neither left nor lost.
    fn used_in_running_periods(
        &self,
        id: AttachmentId,
        at: Timestamp,
    ) -> Result<BTreeMap<FeatureId, Credits>, Rejection> {
        let mut used: BTreeMap<FeatureId, Credits> = BTreeMap::new();
        let runs = |end: Option<Timestamp>| end.is_some_and(|end| end > at);
        for share in self.state.shares.iter().filter(|share| share.attachment == id && runs(share.ends_at)) {
            let left = self.state.grant(share.grant).map_or(Credits::ZERO, |grant| grant.remaining);
            let gone = share.given.checked_sub(left)?.checked_sub(share.lost)?.max(Credits::ZERO);
            let sum = used.entry(share.feature.clone()).or_default();
            *sum = sum.checked_add(gone)?;
        }
        used.retain(|_, credits| credits.is_positive());
        Ok(used)
    }

    fn deduct_from_first(
        &mut self,
        id: AttachmentId,
        feature: &FeatureId,
        credits: Credits,
        at: Timestamp,
    ) -> Result<(), Rejection> {
        let of_it = |grant: &&Grant| {
            grant.feature == *feature && grant.period.as_ref().is_some_and(|period| period.attachment == id)
        };
        let first = self.state.grants.iter().filter(of_it).min_by_key(|grant| (grant.starts_at, grant.id));
        let Some(first) = first.filter(|first| !first.unlimited) else { return Ok(()) };
        let amount = credits.min(first.free());
        if amount.is_positive() {
            let line = Line::of(first, EntryKind::Draw, amount.negated()).at(at);
            self.book(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "carry_tests.rs"]
mod carry_tests;
