//! Usage that is taken back: tracks newest first, each the way it was paid, backwards (rule 24).

use std::sync::Arc;

use super::super::account::Line;
use super::super::burn::balance;
use super::super::catalog::{FeatureId, Returned};
use super::super::command::{Decision, DrawOutcome, Outcome, Rejection, Track};
use super::super::credits::{Credits, Quantity};
use super::super::entry::EntryKind;
use super::super::ids::{DebtId, GrantId};
use super::super::usage_record::{PaidPart, UsageRecord};
use super::track::{Usage, nothing};
use super::{Draft, REVIVED_HOURS};

/// What taking usage back came to.
#[derive(Default)]
struct Back {
    /// Credits of shortfall that are not missing any more.
    shortfall: Credits,
    /// Credits of debt that are not owed any more.
    owed: Credits,
    /// Credits that lie in their grants again.
    draws: Vec<DrawOutcome>,
    /// Debts to be lowered.
    debts: Vec<(DebtId, FeatureId, Credits)>,
    /// What went back of each track, below zero.
    parts: Vec<PaidPart>,
}

impl Draft<'_> {
    pub(super) fn take_back(&mut self, track: &Track) -> Result<Decision, Rejection> {
        if track.hold.is_some() {
            return Err(Rejection::HoldOfReturn);
        }
        self.must_hold_credits(&track.feature)?;
        let pools = self.context.catalog.catalog.pools(&track.feature);
        let mut back = self.collect(track)?;
        let pool = back.parts.first().map(|part| &part.pool);
        let pool = pool.or(pools.last().map(|pool| &pool.feature)).unwrap_or(&track.feature).clone();
        let mut usage =
            Some(Usage { feature: track.feature.clone(), quantity: track.quantity, shortfall: back.shortfall });
        let mut drawn = Credits::ZERO;
        for draw in &back.draws {
            let Some(grant) = self.state.grant(draw.grant) else { continue };
            let line = Line { event_at: track.at, ..Line::of(grant, EntryKind::Return, draw.amount) };
            self.book_usage(line, usage.take())?;
            drawn = drawn.checked_add(draw.amount)?;
        }
        if let Some(usage) = usage.take() {
            self.book_usage(Line { event_at: track.at, ..nothing(EntryKind::Return, pool.clone()) }, Some(usage))?;
        }
        for (debt, feature, amount) in std::mem::take(&mut back.debts) {
            let billed = self.lower_debt(debt, &feature, amount)?;
            if let Some(grant) = self.give_back_billed(debt, billed)? {
                back.owed = back.owed.checked_sub(billed)?;
                drawn = drawn.checked_add(billed)?;
                back.draws.push(DrawOutcome { grant, pool: feature, amount: billed });
            }
        }
        self.record(track, track.quantity, std::mem::take(&mut back.parts));
        self.note_metadata(track);
        let grants: Vec<GrantId> = back.draws.iter().map(|draw| draw.grant).collect();
        self.revive(&grants)?;
        self.expire_ended_grants()?;
        self.end_what_came_free(self.context.now)?;
        self.void_what_came_back_too_late()?;
        let left = balance(self.holdings(&track.entity), &pool);
        let cost = drawn.checked_add(back.shortfall)?.checked_add(back.owed)?;
        let negative = |draw: DrawOutcome| DrawOutcome { amount: draw.amount.negated(), ..draw };
        Ok(Decision::Applied(Outcome::Tracked {
            cost: cost.negated(),
            drawn: drawn.negated(),
            shortfall: back.shortfall.negated(),
            available: left.available,
            unlimited: left.unlimited,
            pool,
            draws: back.draws.into_iter().map(negative).collect(),
            owed: back.owed.negated(),
            hold: None,
        }))
    }

    /// Walks the tracks of the feature and entity, newest first, until so many units are found.
    fn collect(&mut self, track: &Track) -> Result<Back, Rejection> {
        let asked = track.quantity.negated();
        let mut rest = asked;
        let mut back = Back::default();
        for place in 0..self.state.usage.len() {
            let Some(record) = self.state.usage.get(place).cloned() else { continue };
            let is_of_it = record.feature == track.feature && record.entity == track.entity;
            let take = record.left()?.min(rest);
            if !is_of_it || !take.is_positive() {
                continue;
            }
            let parts = back.add(&record, take)?;
            self.count_back(&record, take, parts)?;
            if let Some(known) = self.state.usage.get_mut(place) {
                let known = Arc::make_mut(known);
                known.returned = known.returned.checked_add(take)?;
                self.changes.returned.insert(known.seq);
            }
            rest = rest.checked_sub(take)?;
            if rest.is_zero() {
                return Ok(back);
            }
        }
        if self.state.usage_is_cut {
            return Err(Rejection::TooManyToReturn);
        }
        let found = asked.checked_sub(rest)?;
        Err(Rejection::NothingToReturn { feature: track.feature.clone(), asked, found })
    }

    /// By the feature's own policy, grants that had ended come to life again for what came back to them.
    fn revive(&mut self, grants: &[GrantId]) -> Result<(), Rejection> {
        let now = self.context.now;
        let until = now.checked_add(jiff::SignedDuration::from_hours(REVIVED_HOURS));
        let until = until.map_err(|_| super::super::period::OutOfCalendar)?;
        let catalog = &self.context.catalog.catalog;
        for grant in self.state.grants.iter_mut().filter(|grant| grants.contains(&grant.id)) {
            let ended = grant.ends_at().is_some_and(|end| end <= now);
            if ended && catalog.returned(&grant.feature) == Returned::Revive {
                grant.grace_ends_at = Some(until);
                self.changes.touched_grants.insert(grant.id);
            }
        }
        self.wake_for_ends();
        Ok(())
    }
}

impl Back {
    /// Adds what goes back of one track; its parts, backwards and below zero.
    fn add(&mut self, record: &UsageRecord, take: Quantity) -> Result<&[PaidPart], Rejection> {
        let before = self.parts.len();
        for (part, amount) in record.paid.iter().zip(record.give_back(take)?).rev() {
            if !amount.is_positive() {
                continue;
            }
            match (part.grant, part.debt) {
                (Some(grant), _) => self.draws.push(DrawOutcome { grant, pool: part.pool.clone(), amount }),
                (None, Some(debt)) => {
                    self.owed = self.owed.checked_add(amount)?;
                    self.debts.push((debt, part.pool.clone(), amount));
                }
                (None, None) => self.shortfall = self.shortfall.checked_add(amount)?,
            }
            let (amount, at) = (amount.negated(), Some(record.at));
            self.parts.push(PaidPart { amount, units: None, at, ..part.clone() });
        }
        Ok(self.parts.get(before..).unwrap_or_default())
    }
}
