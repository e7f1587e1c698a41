//! Usage: what it costs, who pays, what is answered.

use std::sync::Arc;

use super::super::account::{Line, Note};
use super::super::burn::{Bounds, Burn, Holdings, balance, burn_within, units_of};
use super::super::catalog::{FeatureId, Overage, Pool, Priced};
use super::super::command::{Decision, DrawOutcome, HeldOutcome, Outcome, Rejection, Track, WalletRef, WhenShort};
use super::super::credits::{Credits, Quantity};
use super::super::entry::{EntryKind, Source};
use super::super::grant::{Debt, DebtCause, Wallet};
use super::super::hold::{Hold, WhenMore};
use super::super::ids::{DebtId, WalletId};
use super::super::usage::Usage as Used;
use super::super::usage_record::{PaidPart, UsageRecord, of_one_pool};
use super::Draft;
use super::debts::debt_line;
use super::limits::Room;

/// Usage as it stands on one entry of its command.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// The metered feature.
    pub feature: FeatureId,
    /// Units used.
    pub quantity: Quantity,
    /// Credits that no grant could pay.
    pub shortfall: Credits,
}

/// What is to be owed for usage, found before anything is written.
struct Owing {
    pool: Pool,
    wallet: WalletId,
    amount: Credits,
    cause: DebtCause,
}

impl Draft<'_> {
    pub(super) fn track(&mut self, track: &Track) -> Result<Decision, Rejection> {
        self.source = Source::Track;
        if self.is_level(&track.feature) {
            return self.track_level(track);
        }
        if track.set.is_some() {
            return Err(Rejection::NotSettable(track.feature.clone()));
        }
        if track.quantity.is_negative() {
            return self.take_back(track);
        }
        let priced = self.priced(&track.feature, &track.usage())?;
        let hold = track.hold.map(|id| self.hold_for(id, &track.feature, &track.entity)).transpose()?;
        let room = self.room(&track.feature, &track.entity, hold.as_ref())?;
        let bounds = Bounds {
            pinned: hold.as_ref().map(|hold| hold.slices.as_slice()).unwrap_or_default(),
            units: room.units_of(track.quantity, priced.quantity),
            credits: Some(&room.credits),
        };
        let paid = burn_within(self.holdings(&track.entity), &priced.pools, priced.quantity, bounds)?;
        let Some(paid) = paid else { return Err(Rejection::UnknownFeature(track.feature.clone())) };
        let when_short = hold.as_ref().map_or(track.when_short, |hold| when_short(hold.when_more));
        let owing = match when_short {
            WhenShort::Reject => {
                let beyond_hold = hold.as_ref().is_some_and(|hold| hold.when_more == WhenMore::Reject);
                refuse_short(&paid, &room, beyond_hold)?;
                None
            }
            WhenShort::Debt if paid.limited => return Err(room.refusal(&paid)?),
            WhenShort::Debt if paid.shortfall.is_positive() => Some(self.owing(&paid, &priced.pools)?),
            WhenShort::Cap | WhenShort::Debt => None,
        };
        // From here it must succeed: every draw is at most what is free in its grant, or pinned for it.
        let owed = owing.as_ref().map_or(Credits::ZERO, |owing| owing.amount);
        let pool = owing.as_ref().map_or(&paid.pool, |owing| &owing.pool.feature).clone();
        let shortfall = if owing.is_some() { Credits::ZERO } else { paid.shortfall };
        let parts = self.book_paid(track, &priced, &paid, owing, shortfall)?;
        self.count_against_limits(track, &priced, &paid, &parts)?;
        self.record(track, track.quantity, parts);
        let held = self.settle_hold(track, &pool)?;
        self.note_metadata(track);
        self.tracked(track, paid, (pool, shortfall, owed), held)
    }

    /// What usage costs, and of whom.
    pub(super) fn priced(&self, feature: &FeatureId, usage: &Used) -> Result<Priced, Rejection> {
        self.must_hold_credits(feature)?;
        Ok(self.context.catalog.catalog.priced(feature, usage)?)
    }

    /// What burning looks at for an entity, now.
    pub(super) fn holdings<'state>(&'state self, entity: &'state str) -> Holdings<'state> {
        Holdings { grants: &self.state.grants, debts: &self.state.debts, entity, now: self.context.now }
    }

    /// Books the takings; the parts of the usage's cost, in the order in which they were paid.
    fn book_paid(
        &mut self,
        track: &Track,
        priced: &Priced,
        paid: &Burn,
        owing: Option<Owing>,
        shortfall: Credits,
    ) -> Result<Vec<PaidPart>, Rejection> {
        let mut usage = Some(Usage { feature: track.feature.clone(), quantity: track.quantity, shortfall });
        let mut parts = Vec::with_capacity(paid.draws.len());
        for draw in &paid.draws {
            let hold = track.hold.filter(|_| draw.pinned);
            if let Some(hold) = hold {
                self.unpin(hold, draw.grant, draw.amount)?;
            }
            let Some(grant) = self.state.grant(draw.grant) else { continue };
            let line = Line { hold, event_at: track.at, ..Line::of(grant, EntryKind::Draw, draw.amount.negated()) };
            self.book_usage(line, usage.take())?;
            if draw.amount.is_positive() {
                parts.push(part(priced, &draw.pool, draw.amount, |part| part.grant = Some(draw.grant))?);
            }
        }
        if let Some(usage) = usage.take() {
            self.book_usage(Line { event_at: track.at, ..nothing(EntryKind::Draw, paid.pool.clone()) }, Some(usage))?;
        }
        let unpaid = track.quantity.checked_sub(paid.paid_units(track.quantity, priced.quantity)?)?;
        let is_unpaid = owing.is_none() && (shortfall.is_positive() || unpaid.is_positive());
        if let Some(owing) = owing {
            let pool = owing.pool.feature.clone();
            let amount = owing.amount;
            let debt = self.owe_usage(owing, track)?;
            parts.push(part(priced, &pool, amount, |part| part.debt = Some(debt))?);
        }
        if is_unpaid {
            parts.push(part(priced, &paid.pool, shortfall, |part| part.units = Some(unpaid))?);
        }
        if of_one_pool(&parts) {
            parts.iter_mut().filter(|part| part.is_settled()).for_each(|part| part.units = None);
        }
        Ok(parts)
    }

    /// What is to be owed for what no grant paid: in the first pool whose plan or wallet allows so much.
    fn owing(&mut self, paid: &Burn, pools: &[Pool]) -> Result<Owing, Rejection> {
        let mut most: Option<Credits> = None;
        for pool in pools {
            let Some(overage) = self.overage_of(&pool.feature) else { continue };
            let wallet = self.wallet_for(&WalletRef::Default, &pool.feature)?;
            let usage = self.state.debts.iter().filter(|debt| debt.feature == pool.feature);
            let usage = usage.filter(|debt| matches!(debt.cause, DebtCause::Usage { .. }));
            let owed = usage.map(|debt| debt.outstanding).try_fold(Credits::ZERO, Credits::checked_add)?;
            let left = overage.limit.checked_sub(owed)?.max(Credits::ZERO);
            let amount = paid.unpaid_in(pool)?;
            if amount <= left {
                let cause = DebtCause::Usage { price: overage.price };
                return Ok(Owing { pool: pool.clone(), wallet, amount, cause });
            }
            most = Some(most.map_or(left, |most| most.max(left)));
        }
        let Some(left) = most else { return Err(Rejection::DebtNotAllowed(paid.pool.clone())) };
        let available = paid.drawn.checked_add(left)?;
        let required = paid.drawn.checked_add(paid.shortfall)?;
        Err(Rejection::Insufficient { required, available, pool: paid.pool.clone() })
    }

    /// What may be owed of a pool: what its default wallet says, else the most that an item of the plans in force allows.
    fn overage_of(&self, pool: &FeatureId) -> Option<Overage> {
        let now = self.context.now;
        let live = self.state.attachments.iter().filter(|known| known.is_live() && known.started_at <= now);
        let items = live.filter_map(|known| self.terms_of(known)).flat_map(|plan| &plan.items);
        let allowed = items.filter(|item| item.feature == *pool).filter_map(|item| item.overage.clone());
        let by_plan = allowed.max_by_key(|overage| overage.limit);
        let of_pool = |wallet: &&Wallet| wallet.is_default && wallet.feature == *pool;
        let by_wallet = self.state.wallets.iter().find(of_pool).and_then(|wallet| wallet.debt_limit);
        match by_wallet {
            Some(limit) => Some(Overage { limit, price: by_plan.and_then(|overage| overage.price) }),
            None => by_plan,
        }
    }

    fn owe_usage(&mut self, owing: Owing, track: &Track) -> Result<DebtId, Rejection> {
        let Owing { pool, wallet, amount, cause } = owing;
        let same = |debt: &&Debt| debt.wallet == wallet && debt.cause == cause && debt.outstanding.is_positive();
        let known = self.state.debts.iter().find(same).map(|debt| debt.id);
        let id = known.unwrap_or_else(|| self.make_debt(wallet, pool.feature.clone(), cause, None));
        self.book(Line { event_at: track.at, ..debt_line(id, wallet, &pool.feature, amount) })?;
        Ok(id)
    }

    /// Keeps what the usage was and what paid, so that it can be listed and taken back.
    pub(super) fn record(&mut self, track: &Track, quantity: Quantity, paid: Vec<PaidPart>) {
        let Some(seq) = self.first else { return };
        let record = UsageRecord {
            seq,
            at: self.context.now,
            event_at: track.at.filter(|at| *at != self.context.now),
            feature: track.feature.clone(),
            entity: track.entity.clone(),
            quantity,
            returned: Quantity::ZERO,
            paid,
            properties: track.properties.clone(),
            hold: track.hold,
        };
        self.state.usage.insert(0, Arc::new(record));
        self.changes.usage.insert(seq);
    }

    pub(super) fn note_metadata(&mut self, track: &Track) {
        if let Some(seq) = self.first {
            self.note(seq, Note { seq, reason: None, actor: None, metadata: track.metadata.clone() });
        }
    }

    fn tracked(
        &self,
        track: &Track,
        paid: Burn,
        (pool, shortfall, owed): (FeatureId, Credits, Credits),
        hold: Option<HeldOutcome>,
    ) -> Result<Decision, Rejection> {
        let left = balance(self.holdings(&track.entity), &pool);
        let draws = paid.draws.into_iter();
        Ok(Decision::Applied(Outcome::Tracked {
            cost: paid.drawn.checked_add(shortfall)?.checked_add(owed)?,
            drawn: paid.drawn,
            shortfall,
            available: left.available,
            unlimited: left.unlimited,
            pool,
            draws: draws.map(|d| DrawOutcome { grant: d.grant, pool: d.pool, amount: d.amount }).collect(),
            owed,
            hold,
        }))
    }
}

/// Refuses what is not wholly paid; with `beyond_hold` also what a hold's own credits do not pay.
pub(super) fn refuse_short(paid: &Burn, room: &Room, beyond_hold: bool) -> Result<(), Rejection> {
    let required = paid.drawn.checked_add(paid.shortfall)?;
    // A limit refuses units that cost nothing too.
    if paid.limited {
        return Err(room.refusal(paid)?);
    }
    if paid.shortfall.is_positive() {
        return Err(Rejection::Insufficient { required, available: paid.drawn, pool: paid.pool.clone() });
    }
    let elsewhere = paid.draws.iter().any(|draw| !draw.pinned && draw.amount.is_positive());
    if beyond_hold && elsewhere {
        let pinned = paid.draws.iter().filter(|draw| draw.pinned);
        let available = pinned.map(|draw| draw.amount).try_fold(Credits::ZERO, Credits::checked_add)?;
        return Err(Rejection::Insufficient { required, available, pool: paid.pool.clone() });
    }
    Ok(())
}

/// What a hold says of usage that costs more than it holds.
const fn when_short(when_more: WhenMore) -> WhenShort {
    match when_more {
        WhenMore::Reject => WhenShort::Reject,
        WhenMore::TakeAvailable => WhenShort::Cap,
        WhenMore::Debt => WhenShort::Debt,
    }
}

/// A line that names no grant.
pub(super) const fn nothing(kind: EntryKind, feature: FeatureId) -> Line {
    Line { kind, grant: None, wallet: None, debt: None, hold: None, feature, amount: Credits::ZERO, event_at: None }
}

fn part(
    priced: &Priced,
    pool: &FeatureId,
    amount: Credits,
    name: impl FnOnce(&mut PaidPart),
) -> Result<PaidPart, Rejection> {
    let of_pool = priced.pools.iter().find(|known| known.feature == *pool);
    let units = of_pool.map(|pool| units_of(pool, amount)).transpose()?;
    let mut part = PaidPart { grant: None, debt: None, pool: pool.clone(), amount, units, at: None };
    name(&mut part);
    Ok(part)
}

/// A hold as it is answered.
pub(super) fn held(hold: &Hold, feature: &FeatureId) -> Result<HeldOutcome, Rejection> {
    let most = hold.slices.iter().max_by_key(|slice| slice.amount);
    Ok(HeldOutcome {
        hold: hold.id,
        state: hold.state,
        held: hold.held()?,
        pool: most.map_or_else(|| feature.clone(), |slice| slice.pool.clone()),
        expires_at: hold.expires_at,
    })
}
