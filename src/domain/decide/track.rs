//! Usage: what it costs, who pays, what is answered.

use super::super::burn::{Holdings, balance, burn};
use super::super::catalog::{Feature, FeatureId, Priced};
use super::super::command::{Decision, DrawOutcome, Outcome, Rejection, Track, WhenShort};
use super::super::credits::{Credits, Quantity};
use super::super::entry::{EntryKind, Source};
use super::super::{account::Line, account::Note};
use super::Draft;

/// Usage as it stands on the first entry of its command.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// The metered feature.
    pub feature: FeatureId,
    /// Units used.
    pub quantity: Quantity,
    /// Credits that no grant could pay.
    pub shortfall: Credits,
}

impl Draft<'_> {
    pub(super) fn track(&mut self, track: &Track) -> Result<Decision, Rejection> {
        self.source = Source::Track;
        let priced = self.priced(&track.feature, track.quantity)?;
        let holdings = Holdings {
            grants: &self.state.grants,
            debts: &self.state.debts,
            entity: &track.entity,
            now: self.context.now,
        };
        let Some(paid) = burn(holdings, &priced.pools, priced.quantity)? else {
            return Err(Rejection::UnknownFeature(track.feature.clone()));
        };
        if paid.shortfall.is_positive() {
            match track.when_short {
                WhenShort::Cap => {}
                WhenShort::Reject => {
                    return Err(Rejection::Insufficient {
                        required: paid.drawn.checked_add(paid.shortfall)?,
                        available: paid.drawn,
                        pool: paid.pool,
                    });
                }
                // No wallet and no item allows debt before overage billing exists: the limit of every wallet is 0.
                WhenShort::Debt => return Err(Rejection::DebtNotAllowed(track.feature.clone())),
            }
        }
        // From here it must succeed: every draw is at most what is free in its grant.
        let mut usage =
            Some(Usage { feature: track.feature.clone(), quantity: track.quantity, shortfall: paid.shortfall });
        for draw in &paid.draws {
            if let Some(grant) = self.state.grant(draw.grant) {
                let line = Line::of(grant, EntryKind::Draw, draw.amount.negated());
                self.book_usage(Line { event_at: track.at, ..line }, usage.take())?;
            }
        }
        if let Some(usage) = usage.take() {
            let line = Line {
                kind: EntryKind::Draw,
                grant: None,
                wallet: None,
                debt: None,
                feature: paid.pool.clone(),
                amount: Credits::ZERO,
                event_at: track.at,
            };
            self.book_usage(line, Some(usage))?;
        }
        if let Some(seq) = self.first {
            self.note(seq, Note { seq, reason: None, actor: None, metadata: track.metadata.clone() });
        }
        let after = Holdings {
            grants: &self.state.grants,
            debts: &self.state.debts,
            entity: &track.entity,
            now: self.context.now,
        };
        let left = balance(after, &paid.pool);
        let draws = paid.draws.into_iter();
        Ok(Decision::Applied(Outcome::Tracked {
            cost: paid.drawn.checked_add(paid.shortfall)?,
            drawn: paid.drawn,
            shortfall: paid.shortfall,
            available: left.available,
            unlimited: left.unlimited,
            pool: paid.pool,
            draws: draws.map(|d| DrawOutcome { grant: d.grant, pool: d.pool, amount: d.amount }).collect(),
        }))
    }

    fn priced(&self, feature: &FeatureId, quantity: Quantity) -> Result<Priced, Rejection> {
        match self.context.catalog.catalog.features.get(feature) {
            None => Err(Rejection::UnknownFeature(feature.clone())),
            Some(Feature::Boolean) => Err(Rejection::NotMetered(feature.clone())),
            Some(Feature::Metered { .. } | Feature::CreditSystem { .. }) => {
                Ok(self.context.catalog.catalog.priced(feature, &super::super::usage::Usage::of(quantity))?)
            }
        }
    }
}
