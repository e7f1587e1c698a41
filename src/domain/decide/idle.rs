//! Idle periods: what an account that slept over many boundaries has, as if each had been processed on time (rule 17).
//!
//! Nothing is used while nobody asks, so of all the periods that were skipped few leave a trace: the newest; those whose
//! rest rolled over into a grant that still lives; those whose grant repaid a debt. These are found in bounded steps, from
//! the newest backwards and from the oldest on, and given in the order of their starts; the others are never booked.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::super::attachment::Attachment;
use super::super::catalog::{Interval, Item};
use super::super::command::Rejection;
use super::super::credits::Credits;
use super::super::grant::{Debt, Grant};
use super::super::ids::{AttachmentId, GrantId};
use super::super::period::{self, PeriodSpan};
use super::Draft;
use super::plans::times;
use super::rollover::{LOTS_MAX, cap, lot_end};

/// Most skipped periods whose grants repay a debt, of one item in one decision: more than a year of days. A debt that
/// outlives so many is repaid by the periods that come.
const REPAYING_MAX: usize = 400;

/// The resolution of the ledger's times.
const MOMENT: SignedDuration = SignedDuration::from_micros(1);

/// Chosen periods by start.
type Chosen = BTreeMap<Timestamp, PeriodSpan>;

/// A recurring item whose skipped periods are looked for.
struct Sleeper<'a> {
    attachment: &'a Attachment,
    item: &'a Item,
    every: Interval,
    /// Credits of one period.
    whole: Credits,
    /// Start of the newest period that was given; what is looked for begins after it.
    newest: Option<Timestamp>,
}

impl Sleeper<'_> {
    fn containing(&self, moment: Timestamp) -> Result<PeriodSpan, Rejection> {
        Ok(period::containing(self.attachment.anchor, &self.item.anchor, self.every, moment)?)
    }

    /// Was a period that starts then skipped? Without an earlier one only a change says from when periods count (rule 13).
    fn is_skipped(&self, start: Timestamp) -> bool {
        let after = self.newest.map_or(self.attachment.changed_at.is_some(), |newest| start > newest);
        after && start >= self.attachment.anchor && self.attachment.covers(start)
    }

    fn before(&self, span: PeriodSpan) -> Result<Option<PeriodSpan>, Rejection> {
        if span.start <= self.attachment.anchor {
            return Ok(None);
        }
        let moment = span.start.checked_sub(MOMENT).map_err(|_| period::OutOfCalendar)?;
        let earlier = self.containing(moment)?;
        Ok(Some(earlier).filter(|earlier| earlier.start < span.start && self.is_skipped(earlier.start)))
    }
}

impl Draft<'_> {
    /// From here on, what is left of an attachment's recurring items waits for its successors rather than expire: they are
    /// given next, by [`Self::renew_all`].
    pub(super) fn await_successors(&mut self, id: AttachmentId) {
        let Some(known) = self.attachment(id) else { return };
        let items = self.terms_of(known).map(|plan| plan.items.as_slice()).unwrap_or_default();
        let rolling: Vec<_> = items.iter().filter(|item| item.rollover.is_some()).map(|item| item.id.clone()).collect();
        self.rolling.extend(rolling.into_iter().map(|item| (id, item)));
    }

    /// Is this grant's successor about to be given?
    pub(super) fn awaits_its_successor(&self, grant: &Grant) -> bool {
        let period = grant.period.as_ref();
        !self.rolling.is_empty()
            && period.is_some_and(|period| self.rolling.contains(&(period.attachment, period.item.clone())))
    }

    /// Gives what items of attachments have due now, each period once (rule 13), in the order of the periods' starts.
    pub(super) fn renew_all(&mut self, ids: &[AttachmentId]) -> Result<Vec<GrantId>, Rejection> {
        let catalog = self.context.catalog;
        let mut due: Vec<(Timestamp, usize, usize)> = Vec::new();
        for (place, id) in ids.iter().enumerate() {
            self.await_successors(*id);
            let Some(attachment) = self.attachment(*id) else { continue };
            let Some(plan) = catalog.terms_of(attachment) else {
                return Err(Rejection::UnknownPlan(attachment.plan.clone()));
            };
            for (number, item) in plan.items.iter().enumerate() {
                due.extend(self.due_starts(attachment, item)?.into_iter().map(|start| (start, place, number)));
            }
        }
        due.sort_unstable();
        let mut given = Vec::new();
        for (start, place, number) in due {
            let Some(attachment) = ids.get(place).and_then(|id| self.attachment(*id)).cloned() else { continue };
            let Some((plan, item)) =
                catalog.terms_of(&attachment).and_then(|plan| Some((plan, plan.items.get(number)?)))
            else {
                continue;
            };
            given.extend(self.give_item(&attachment, plan, item, start, None)?);
        }
        self.rolling.retain(|(id, _)| !ids.contains(id));
        Ok(given)
    }

    /// Moments that lie in the periods of an item which are to be given now.
    fn due_starts(&self, attachment: &Attachment, item: &Item) -> Result<Vec<Timestamp>, Rejection> {
        let now = self.context.now;
        let Some(every) = item.reset else { return Ok(vec![now]) };
        let newest = self.state.renewed.get(&(attachment.id, item.id.clone())).map(|(newest, _)| *newest);
        let whole = times(item.included.unwrap_or(Credits::ZERO), attachment.quantity)?;
        let sleeper = Sleeper { attachment, item, every, whole, newest };
        let last = sleeper.containing(last_moment(attachment, now)?)?;
        if newest.is_some_and(|newest| newest >= last.start) || !attachment.covers(last.start) {
            return Ok(Vec::new());
        }
        let mut chosen = Chosen::new();
        // Where renewals are awaited a successor also ends the grace of others, which stays when it is over itself.
        if item.rollover.is_some() || last.end > now || attachment.awaits_renewal(last.end) {
            chosen.insert(last.start, last);
        }
        self.add_rolling(&sleeper, last, &mut chosen)?;
        self.add_repaying(&sleeper, last, &mut chosen)?;
        Ok(chosen.into_keys().collect())
    }

    /// Skipped periods, newest first, whose rest lives in a rollover grant: until those would be over by now, or the cap is
    /// reached, by which the older ones are cut.
    fn add_rolling(&self, of: &Sleeper<'_>, last: PeriodSpan, chosen: &mut Chosen) -> Result<(), Rejection> {
        let Some(rollover) = of.item.rollover.as_ref().filter(|_| of.whole.is_positive()) else { return Ok(()) };
        let cap = cap(rollover, of.item, of.attachment.quantity)?;
        let mut carried = Credits::ZERO;
        let mut span = last;
        for _ in 0..LOTS_MAX {
            let is_over = lot_end(rollover, span.start)?.is_some_and(|end| end <= self.context.now);
            if is_over || carried >= cap {
                break;
            }
            let Some(earlier) = of.before(span)? else { break };
            chosen.insert(earlier.start, earlier);
            carried = carried.checked_add(of.whole).unwrap_or(Credits::MAX);
            span = earlier;
        }
        Ok(())
    }

    /// Skipped periods, oldest first, whose grants repay what their wallet owes (rule 21).
    fn add_repaying(&self, of: &Sleeper<'_>, last: PeriodSpan, chosen: &mut Chosen) -> Result<(), Rejection> {
        let mut owed = Credits::ZERO;
        for debt in self.repaid_debts(&of.item.feature) {
            owed = owed.checked_add(debt.outstanding)?;
        }
        let from = of.newest.or(of.attachment.changed_at);
        let Some(mut span) = from.filter(|_| of.whole.is_positive()).map(|at| of.containing(at)).transpose()? else {
            return Ok(());
        };
        for _ in 0..REPAYING_MAX {
            if !owed.is_positive() || span.start > last.start {
                break;
            }
            if of.is_skipped(span.start) {
                chosen.insert(span.start, span);
                owed = owed.checked_sub(of.whole)?;
            }
            span = of.containing(span.end)?;
        }
        Ok(())
    }

    /// Debts that grants of a feature's default wallet repay.
    fn repaid_debts(&self, feature: &super::super::catalog::FeatureId) -> impl Iterator<Item = &Debt> {
        let wallet = self.state.wallets.iter().find(|wallet| wallet.is_default && wallet.feature == *feature);
        let wallet = wallet.map(|wallet| wallet.id);
        let debts = self.state.debts.iter();
        debts.filter(move |debt| Some(debt.wallet) == wallet && !debt.invoiced() && debt.outstanding.is_positive())
    }
}

/// The last moment at which the clock may begin a period of an attachment: now, or before it was paid through, or ends.
fn last_moment(attachment: &Attachment, now: Timestamp) -> Result<Timestamp, Rejection> {
    let mut moment = now;
    for end in [attachment.paid_through, attachment.cancel_at].into_iter().flatten() {
        moment = moment.min(end.checked_sub(MOMENT).map_err(|_| period::OutOfCalendar)?);
    }
    Ok(moment)
}
