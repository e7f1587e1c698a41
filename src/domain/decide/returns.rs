//! Usage that is taken back: tracks newest first, each the way it was paid, backwards (rule 24).

use super::super::account::Line;
use super::super::burn::balance;
use super::super::catalog::{FeatureId, Returned};
use super::super::command::{Decision, DrawOutcome, Outcome, Rejection, Track};
use super::super::credits::{Credits, Quantity};
use super::super::entry::EntryKind;
use super::super::ids::{DebtId, GrantId, WalletId};
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
    /// What went back of each track.
    parts: Vec<PaidPart>,
}

impl Draft<'_> {
    pub(super) fn take_back(&mut self, track: &Track) -> Result<Decision, Rejection> {
        if track.hold.is_some() {
            return Err(Rejection::HoldOfReturn);
        }
        let pools = self.context.catalog.catalog.pools(&track.feature);
        let Some(pool) = pools.last().map(|pool| pool.feature.clone()) else {
            return Err(Rejection::UnknownFeature(track.feature.clone()));
        };
        self.priced_kind(&track.feature)?;
        let back = self.collect(track)?;
        let pool = back.parts.first().map_or(pool, |part| part.pool.clone());
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
        for (debt, feature, amount) in back.debts {
            self.unowe(debt, &feature, amount)?;
        }
        let parts = back.parts.into_iter().map(|part| PaidPart { amount: part.amount.negated(), ..part }).collect();
        self.record(track, track.quantity, parts);
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
        let is_of_it = |record: &UsageRecord| {
            record.feature == track.feature && record.entity == track.entity && record.quantity.is_positive()
        };
        let places: Vec<usize> = self
            .state
            .usage
            .iter()
            .enumerate()
            .filter(|(_, record)| is_of_it(record))
            .map(|(place, _)| place)
            .collect();
        for place in places {
            let Some(record) = self.state.usage.get(place).cloned() else { continue };
            let take = record.left()?.min(rest);
            if !take.is_positive() {
                continue;
            }
            let parts = back.add(&record, take)?;
            self.count_back(&record, take, &parts)?;
            if let Some(known) = self.state.usage.get_mut(place) {
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

    /// Lowers a debt that usage made; what grants have repaid of it goes back to them, the newest repayment first.
    fn unowe(&mut self, id: DebtId, feature: &FeatureId, amount: Credits) -> Result<(), Rejection> {
        let known = self.state.debts.iter().find(|debt| debt.id == id).map(|debt| (debt.outstanding, debt.wallet));
        let (open, wallet) = match known {
            Some((open, wallet)) => (open, Some(wallet)),
            None => (Credits::ZERO, None),
        };
        let cancelled = amount.min(open);
        if let (true, Some(wallet)) = (cancelled.is_positive(), wallet) {
            self.book(debt_line(id, wallet, feature, cancelled.negated()))?;
        }
        let mut rest = amount.checked_sub(cancelled)?;
        let repaid = self.state.repaid.get(&id).cloned().unwrap_or_default();
        for (payer, gave) in repaid.into_iter().rev() {
            let back = rest.min(gave);
            let Some(grant) = self.state.grant(payer).filter(|_| back.is_positive()) else { continue };
            let wallet = grant.wallet;
            let line = Line { debt: Some(id), ..Line::of(grant, EntryKind::Repay, back) };
            self.book(line)?;
            self.book(debt_line(id, wallet, feature, back.negated()))?;
            if let Some(known) = self.state.repaid.get_mut(&id) {
                for entry in known.iter_mut().rev().filter(|(of, _)| *of == payer).take(1) {
                    entry.1 = entry.1.checked_sub(back)?;
                }
            }
            rest = rest.checked_sub(back)?;
        }
        Ok(())
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

    fn priced_kind(&self, feature: &FeatureId) -> Result<(), Rejection> {
        use super::super::catalog::Feature;
        match self.context.catalog.catalog.features.get(feature) {
            None => Err(Rejection::UnknownFeature(feature.clone())),
            Some(Feature::Boolean) => Err(Rejection::NotMetered(feature.clone())),
            Some(Feature::Metered { .. } | Feature::CreditSystem { .. }) => Ok(()),
        }
    }
}

impl Back {
    /// Adds what goes back of one track; the parts, backwards.
    fn add(&mut self, record: &UsageRecord, take: Quantity) -> Result<Vec<PaidPart>, Rejection> {
        let mut parts = Vec::new();
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
            parts.push(PaidPart { amount, units: None, at: Some(record.at), ..part.clone() });
        }
        self.parts.extend(parts.iter().cloned());
        Ok(parts.into_iter().map(|part| PaidPart { amount: part.amount.negated(), ..part }).collect())
    }
}

fn debt_line(id: DebtId, wallet: WalletId, feature: &FeatureId, amount: Credits) -> Line {
    Line { wallet: Some(wallet), debt: Some(id), amount, ..nothing(EntryKind::Debt, feature.clone()) }
}
