//! Rollover: what is unspent of a period moves into a grant of its own when the next one comes (rules 17, 20, 39).
//!
//! The moment is the successor's posting: of the grant that ends, as much as the item's cap lets through goes out by one
//! entry (`rollover_out`) and into a new grant by the next one (`rollover_in`, which alone makes it); what does not fit
//! expires. The new grant names the old one (`rolled_from`), so that the rest of its basis is found, and its payment, so
//! that a refund of the fee finds it too.
//!
//! Always true: what went out of a grant is what came into the one that carries it; a grant's rest moves at most once, and
//! what moved never moves again; the living rollover grants of an item hold no more than its cap and are no more than
//! [`LOTS_MAX`], the oldest being cut first. What a hold pins stays where it is: set free later, it expires there.

use jiff::Timestamp;

use super::super::account::{GrantMade, Line};
use super::super::attachment::Attachment;
use super::super::catalog::{Expiry, Item, Plan, Rollover};
use super::super::command::Rejection;
use super::super::credits::{AmountError, Credits};
use super::super::entry::EntryKind;
use super::super::grant::{Grant, Origin, ROLLOVER_PRIORITY, Rolled};
use super::super::ids::{AttachmentId, GrantId};
use super::super::period;
use super::Draft;
use super::grace::is_revived;
use super::plans::{revenue_of, times};

/// Most living rollover grants of one item: a day's rest for more than a year, a month's for thirty. Every decision reads
/// all open grants, and what is idle for long is caught up in one (rule 17), so there has to be an end.
pub const LOTS_MAX: usize = 400;

/// Whole percents of a whole.
const PERCENT: i128 = 100;

/// Most credits that may live in the rollover grants of an item; without a cap, what can be counted.
pub(super) fn cap(rollover: &Rollover, item: &Item, seats: i64) -> Result<Credits, Rejection> {
    let share = match rollover.max_percent {
        None => None,
        Some(percent) => {
            let included = times(item.included.unwrap_or(Credits::ZERO), seats)?.nanos();
            let whole = included.checked_mul(i128::from(percent)).ok_or(AmountError::TooLarge)?;
            // Rounded down at the ninth place: never more than the share, nor than can be counted.
            let share = whole.checked_div(PERCENT).unwrap_or(0).min(Credits::MAX.nanos());
            Some(Credits::from_nanos(share)?)
        }
    };
    Ok(rollover.max.unwrap_or(Credits::MAX).min(share.unwrap_or(Credits::MAX)))
}

/// When a rollover grant made at a boundary ends; `None`: never.
pub(super) fn lot_end(rollover: &Rollover, boundary: Timestamp) -> Result<Option<Timestamp>, Rejection> {
    Ok(period::expiry(boundary, rollover.months.map_or(Expiry::Never, Expiry::Months))?)
}

impl Draft<'_> {
    /// The successor of an item's period is here: what is left of the one before rolls over, as far as that was still
    /// spendable when the new one begins.
    pub(super) fn roll_before(
        &mut self,
        of: &Attachment,
        plan: &Plan,
        item: &Item,
        start: Timestamp,
    ) -> Result<(), Rejection> {
        let Some(rollover) = &item.rollover else { return Ok(()) };
        let is_before = |grant: &&Grant| {
            let Some(period) = &grant.period else { return false };
            (period.attachment, &period.item) == (of.id, &item.id)
                && period.start < start
                && grant.expires_at.is_some_and(|end| end <= self.context.now)
                && grant.ends_at().is_some_and(|end| end >= start)
                && !is_revived(grant)
        };
        let mut ended: Vec<(Timestamp, GrantId)> =
            self.state.grants.iter().filter(is_before).map(|grant| (grant.starts_at, grant.id)).collect();
        ended.sort_unstable();
        for (_, grant) in ended {
            self.roll(grant, of, plan, item, rollover)?;
        }
        Ok(())
    }

    /// A successor that was posted before its time: the rest rolls over when the grant ends, rather than expire. Answers
    /// whether it did.
    pub(super) fn roll_at_its_end(&mut self, id: GrantId) -> Result<bool, Rejection> {
        let Some(grant) = self.state.grant(id) else { return Ok(false) };
        let (Some(period), Some(end)) = (grant.period.clone(), grant.expires_at) else { return Ok(false) };
        // What had ended when something was booked last was settled then; a hold has set this free since.
        if end <= self.booked_up_to || is_revived(grant) {
            return Ok(false);
        }
        let key = (period.attachment, period.item);
        if self.state.renewed.get(&key).is_none_or(|(newest, _)| *newest <= period.start) {
            return Ok(false);
        }
        let Some(of) = self.attachment(key.0).cloned() else { return Ok(false) };
        let Some(plan) = self.context.catalog.terms_of(&of) else { return Ok(false) };
        let Some(item) = plan.items.iter().find(|item| item.id == key.1) else { return Ok(false) };
        let Some(rollover) = &item.rollover else { return Ok(false) };
        self.roll(id, &of, plan, item, rollover)
    }

    /// Moves what is free of a grant that ended, and cuts what is above the cap. Answers whether anything moved.
    fn roll(
        &mut self,
        id: GrantId,
        of: &Attachment,
        plan: &Plan,
        item: &Item,
        rollover: &Rollover,
    ) -> Result<bool, Rejection> {
        let Some(from) = self.state.grant(id).cloned() else { return Ok(false) };
        let Some(boundary) = from.expires_at.filter(|_| from.free().is_positive()) else { return Ok(false) };
        let ends = lot_end(rollover, boundary)?;
        if ends.is_some_and(|end| end <= self.context.now) {
            // It would be over by now: only what survives is booked.
            return Ok(false);
        }
        let lots = self.living_lots(of.id, &item.id, boundary);
        let cap = self.room_beside_newer(&lots, boundary, cap(rollover, item, of.quantity)?)?;
        let moved = cap.min(from.free());
        let older: Vec<GrantId> = lots.iter().filter(|(starts, _)| *starts <= boundary).map(|(_, id)| *id).collect();
        let newer = lots.len().saturating_sub(older.len());
        let moved = if newer < LOTS_MAX { moved } else { Credits::ZERO };
        let above = self.cut_oldest((&older, newer), moved, cap, boundary)?;
        let moved = moved.checked_sub(above)?.max(Credits::ZERO);
        let left = from.free().checked_sub(moved)?;
        if moved.is_positive() {
            self.book(Line::of(&from, EntryKind::RolloverOut, moved.negated()).at(boundary))?;
            self.make_lot(&from, moved, (boundary, ends), of, plan, item)?;
        }
        if left.is_positive() {
            self.book(Line::of(&from, EntryKind::Expire, left.negated()).at(boundary))?;
        }
        Ok(true)
    }

    /// Rollover grants of an item that live at a boundary, oldest first.
    fn living_lots(&self, attachment: AttachmentId, item: &str, boundary: Timestamp) -> Vec<(Timestamp, GrantId)> {
        let is_of = |grant: &&Grant| {
            grant.rolled.as_ref().is_some_and(|rolled| rolled.attachment == attachment && rolled.item == item)
                && grant.remaining.is_positive()
                && grant.ends_at().is_none_or(|end| end > boundary)
        };
        let mut lots: Vec<(Timestamp, GrantId)> =
            self.state.grants.iter().filter(is_of).map(|grant| (grant.starts_at, grant.id)).collect();
        lots.sort_unstable();
        lots
    }

    /// What of a cap is left beside rollover grants of later boundaries: in idle periods the rest of an older one may be
    /// looked at after them, and is cut before them all the same.
    fn room_beside_newer(
        &self,
        lots: &[(Timestamp, GrantId)],
        boundary: Timestamp,
        cap: Credits,
    ) -> Result<Credits, Rejection> {
        let mut room = cap;
        for (_, lot) in lots.iter().filter(|(starts, _)| *starts > boundary) {
            room = room.checked_sub(self.state.grant(*lot).map_or(Credits::ZERO, |lot| lot.remaining))?;
        }
        Ok(room.max(Credits::ZERO))
    }

    /// Makes room for `coming` under the cap: the oldest expire first. What holds pin cannot be cut; answers what is above
    /// the cap all the same.
    fn cut_oldest(
        &mut self,
        (lots, newer): (&[GrantId], usize),
        coming: Credits,
        cap: Credits,
        boundary: Timestamp,
    ) -> Result<Credits, Rejection> {
        // Cannot overflow: 400 grants of 10^27 billionths.
        let mut sum = coming.nanos();
        for lot in lots {
            sum = sum.saturating_add(self.state.grant(*lot).map_or(0, |lot| lot.remaining.nanos()));
        }
        let mut above = sum.saturating_sub(cap.nanos()).max(0);
        let mut too_many = lots.len().saturating_add(newer).saturating_add(1).saturating_sub(LOTS_MAX);
        for lot in lots {
            if above == 0 && too_many == 0 {
                break;
            }
            let Some(grant) = self.state.grant(*lot) else { continue };
            let most = Credits::from_nanos(above.min(Credits::MAX.nanos()))?;
            let cut = if too_many > 0 { grant.free() } else { grant.free().min(most) };
            too_many = too_many.saturating_sub(1);
            if cut.is_positive() {
                let line = Line::of(grant, EntryKind::Expire, cut.negated()).at(boundary);
                self.book(line)?;
                above = above.saturating_sub(cut.nanos()).max(0);
            }
        }
        Ok(Credits::from_nanos(above.min(Credits::MAX.nanos()))?)
    }

    /// The grant that carries a rest: made by its `rollover_in` entry alone, with no money of its own.
    fn make_lot(
        &mut self,
        from: &Grant,
        quantity: Credits,
        (boundary, ends): (Timestamp, Option<Timestamp>),
        of: &Attachment,
        plan: &Plan,
        item: &Item,
    ) -> Result<(), Rejection> {
        let lot = Grant {
            id: GrantId::from_uuid(self.ids.fresh()),
            priority: item.priority.unwrap_or(ROLLOVER_PRIORITY),
            unlimited: false,
            original: quantity,
            remaining: Credits::ZERO,
            held: Credits::ZERO,
            starts_at: boundary,
            expires_at: ends,
            grace_ends_at: None,
            period: None,
            rolled: Some(Rolled { from: from.id, attachment: of.id, item: item.id.clone() }),
            ..from.clone()
        };
        let origin = Origin {
            payment: from.payment,
            plan: Some((of.plan.clone(), of.plan_version)),
            revenue: revenue_of(plan),
            ..Origin::default()
        };
        self.remember_for_reversals(&lot, &origin);
        let line = Line::of(&lot, EntryKind::RolloverIn, quantity).at(boundary);
        self.state.grants.push(lot.clone());
        self.changes.grants.push(GrantMade { grant: lot, origin });
        self.book(line)?;
        Ok(())
    }
}
