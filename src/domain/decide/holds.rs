//! Holds: setting credits aside, letting them live longer, letting go.

use jiff::{SignedDuration, Timestamp};

use super::super::account::Line;
use super::super::burn::{Bounds, burn_within};
use super::super::catalog::FeatureId;
use super::super::command::{Decision, ExtendHold, HeldOutcome, Outcome, PlaceHold, Rejection, Track};
use super::super::credits::{Credits, Quantity};
use super::super::entry::{EntryKind, Source};
use super::super::hold::{Hold, HoldState, Slice};
use super::super::ids::{GrantId, HoldId};
use super::super::usage::Usage;
use super::super::{grant::Grant, period::OutOfCalendar};
use super::Draft;
use super::track::{held, refuse_short};

impl Draft<'_> {
    /// Lets go of holds whose time is over, each at its own time, whoever asks first.
    pub(super) fn release_over_holds(&mut self) -> Result<(), Rejection> {
        let now = self.context.now;
        let is_over = |hold: &&Hold| hold.state == HoldState::Open && hold.is_over(now);
        let mut over: Vec<(Timestamp, HoldId)> =
            self.state.holds.iter().filter(is_over).map(|hold| (hold.expires_at, hold.id)).collect();
        over.sort_unstable();
        for (at, id) in over {
            self.source = Source::Time;
            self.first = None;
            let slices = self.state.hold(id).map(|hold| hold.slices.clone()).unwrap_or_default();
            self.end_hold(id, HoldState::Expired, at)?;
            self.expire_slices(&slices, at)?;
            if !slices.is_empty() {
                self.end_what_came_free(at)?;
            }
        }
        Ok(())
    }

    /// What came free of grants that had ended by then is gone at once: nothing that is looked at later may find it.
    fn expire_slices(&mut self, slices: &[Slice], at: Timestamp) -> Result<(), Rejection> {
        for slice in slices {
            let ended = |grant: &&Grant| grant.ends_at().is_some_and(|end| end < at);
            let Some(grant) = self.state.grant(slice.grant).filter(ended) else { continue };
            let line = Line::of(grant, EntryKind::Expire, slice.amount.min(grant.free()).negated());
            if !line.amount.is_zero() {
                self.book(line.at(at))?;
            }
        }
        Ok(())
    }

    /// Sets credits aside for usage to come: all of them, or nothing.
    pub(super) fn place_hold(&mut self, wanted: &PlaceHold) -> Result<Decision, Rejection> {
        self.source = Source::Track;
        if self.is_level(&wanted.feature) {
            return Err(Rejection::NotHoldable(wanted.feature.clone()));
        }
        let usage = Usage { quantity: wanted.quantity, properties: wanted.properties.clone() };
        let priced = self.priced(&wanted.feature, &usage)?;
        let room = self.room(&wanted.feature, &wanted.entity, None)?;
        let units = room.units_of(wanted.quantity, priced.quantity);
        let bounds = Bounds { units, credits: Some(&room.credits), ..Bounds::default() };
        let paid = burn_within(self.holdings(&wanted.entity), &priced.pools, priced.quantity, bounds)?;
        let Some(paid) = paid else { return Err(Rejection::UnknownFeature(wanted.feature.clone())) };
        refuse_short(&paid, &room, false)?;
        let id = HoldId::from_uuid(self.ids.fresh());
        let mut slices = Vec::new();
        for draw in paid.draws.iter().filter(|draw| draw.amount.is_positive()) {
            let Some(grant) = self.state.grant(draw.grant) else { continue };
            let line = Line { hold: Some(id), ..Line::of(grant, EntryKind::Hold, draw.amount) };
            self.book(line)?;
            slices.push(Slice { grant: draw.grant, pool: draw.pool.clone(), amount: draw.amount });
        }
        let now = self.context.now;
        let hold = Hold {
            id,
            feature: wanted.feature.clone(),
            entity: wanted.entity.clone(),
            state: HoldState::Open,
            quantity: wanted.quantity,
            amount: paid.drawn,
            when_more: wanted.when_more,
            created_at: now,
            expires_at: later(now, wanted.ttl_seconds)?,
            ended_at: None,
            slices,
        };
        let answer = held(&hold, &paid.pool)?;
        self.wake_at(hold.expires_at);
        self.state.has_extras = true;
        self.changes.holds.insert(id);
        self.changes.head_changed = true;
        self.state.holds.push(hold);
        Ok(Decision::Applied(Outcome::Held(answer)))
    }

    /// A heartbeat: the hold lives so long from now on, and never less than it did.
    pub(super) fn extend_hold(&mut self, extend: &ExtendHold) -> Result<Decision, Rejection> {
        self.source = Source::Track;
        let until = later(self.context.now, extend.ttl_seconds)?;
        let hold = self.open_hold_mut(extend.hold)?;
        hold.expires_at = hold.expires_at.max(until);
        let answer = held(hold, &hold.feature)?;
        let until = hold.expires_at;
        // The account stays due at the time the hold had before: whoever looks then finds the later one.
        self.wake_at(until);
        Ok(Decision::Applied(Outcome::Held(answer)))
    }

    /// The caller lets go: what is pinned comes free, and expires if its time was over meanwhile.
    pub(super) fn release_hold(&mut self, id: HoldId) -> Result<Decision, Rejection> {
        self.source = Source::Track;
        self.let_go(id, HoldState::Released)?;
        let Some(hold) = self.state.hold(id) else { return Err(Rejection::UnknownHold(id)) };
        Ok(Decision::Applied(Outcome::Held(held(hold, &hold.feature)?)))
    }

    /// The hold that a track names, which has to be for what is tracked.
    pub(super) fn hold_for(&self, id: HoldId, feature: &FeatureId, entity: &str) -> Result<Hold, Rejection> {
        let open = self.state.hold(id).filter(|hold| hold.state == HoldState::Open);
        let hold = open.ok_or(Rejection::UnknownHold(id))?;
        if hold.feature != *feature || hold.entity != entity {
            let (feature, entity) = (hold.feature.clone(), hold.entity.clone());
            return Err(Rejection::HoldOfOther { hold: id, feature, entity });
        }
        Ok(hold.clone())
    }

    fn open_hold_mut(&mut self, id: HoldId) -> Result<&mut Hold, Rejection> {
        let hold = self.state.holds.iter_mut().find(|hold| hold.id == id && hold.state == HoldState::Open);
        self.changes.holds.insert(id);
        hold.ok_or(Rejection::UnknownHold(id))
    }

    /// Takes a part of a slice out of its hold, for the track that draws it next.
    pub(super) fn unpin(&mut self, id: HoldId, grant: GrantId, amount: Credits) -> Result<(), Rejection> {
        let hold = self.open_hold_mut(id)?;
        if let Some(slice) = hold.slices.iter_mut().find(|slice| slice.grant == grant) {
            slice.amount = slice.amount.checked_sub(amount)?;
        }
        hold.slices.retain(|slice| slice.amount.is_positive());
        self.book_release(id, grant, amount, self.context.now)
    }

    fn book_release(&mut self, id: HoldId, grant: GrantId, amount: Credits, at: Timestamp) -> Result<(), Rejection> {
        let Some(grant) = self.state.grant(grant) else { return Ok(()) };
        let line = Line { hold: Some(id), ..Line::of(grant, EntryKind::Release, amount.negated()) };
        self.book(line.at(at)).map(|_| ())
    }

    /// After a track that named a hold: what it settled is no longer to come, and the last one lets go of the rest.
    pub(super) fn settle_hold(&mut self, track: &Track, pool: &FeatureId) -> Result<Option<HeldOutcome>, Rejection> {
        let Some(id) = track.hold else { return Ok(None) };
        let hold = self.open_hold_mut(id)?;
        hold.quantity = hold.quantity.checked_sub(track.quantity)?.max(Quantity::ZERO);
        if track.is_final {
            self.let_go(id, HoldState::Settled)?;
        }
        let Some(hold) = self.state.hold(id) else { return Ok(None) };
        held(hold, pool).map(Some)
    }

    /// Ends a hold now; what it pinned is free again, as far as it is not over meanwhile.
    fn let_go(&mut self, id: HoldId, state: HoldState) -> Result<(), Rejection> {
        self.end_hold(id, state, self.context.now)?;
        self.expire_ended_grants()?;
        self.end_what_came_free(self.context.now)
    }

    /// Ends a hold; what it pinned is free again.
    fn end_hold(&mut self, id: HoldId, state: HoldState, at: Timestamp) -> Result<(), Rejection> {
        let hold = self.open_hold_mut(id)?;
        hold.state = state;
        hold.ended_at = Some(at);
        let slices = std::mem::take(&mut hold.slices);
        for slice in &slices {
            self.book_release(id, slice.grant, slice.amount, at)?;
        }
        // What ended while it was pinned has waited for this; nothing else would wake the account for it.
        let ended = |grant: &Grant| grant.ends_at().is_some_and(|end| end <= self.context.now);
        if slices.iter().filter_map(|slice| self.state.grant(slice.grant)).any(ended) {
            self.wake_at(self.context.now);
        }
        Ok(())
    }

    /// Has the account looked at no later than then.
    fn wake_at(&mut self, at: Timestamp) {
        if self.state.next_due_at.is_none_or(|due| due > at) {
            self.state.next_due_at = Some(at);
            self.changes.head_changed = true;
        }
    }
}

fn later(now: Timestamp, seconds: u32) -> Result<Timestamp, Rejection> {
    Ok(now.checked_add(SignedDuration::from_secs(i64::from(seconds))).map_err(|_| OutOfCalendar)?)
}
