//! Plans without a price: attached, ended and taken up again by the app. Plans with a price are Stripe's (rule 12).
//!
//! Plans of one group exclude each other. One of ours ends where the new one begins; one that a subscription pays for is
//! paid up to its period's end, so what comes after it is scheduled, and starts when Stripe says that it is over.

use jiff::Timestamp;

use super::super::attachment::{Attachment, AttachmentOrigin, AttachmentState, CarryOver};
use super::super::catalog::PlanId;
use super::super::command::{Attach, Cancel, CancelWhen, Decision, Outcome, Rejection, Uncancel};
use super::super::credits::Credits;
use super::super::entry::Source;
use super::super::ids::AttachmentId;
use super::super::period;
use super::Draft;
use super::plans::times;

impl Draft<'_> {
    pub(super) fn attach_own(&mut self, wish: &Attach) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let catalog = self.context.catalog;
        let plan = catalog.catalog.plans.get(&wish.plan).ok_or_else(|| Rejection::UnknownPlan(wish.plan.clone()))?;
        if !plan.prices.is_empty() {
            return Err(Rejection::PlanHasPrice(wish.plan.clone()));
        }
        if let Some(known) = self.own(&wish.plan, &wish.entity) {
            return self.set_seats(&known, wish);
        }
        let now = self.context.now;
        let begun = self.begun(&wish.plan, AttachmentOrigin::Api, now)?;
        let new = Attachment { entity: wish.entity.clone(), quantity: wish.quantity, ..begun };
        let mates = self.mates(&new);
        let paid_until = mates.iter().filter(|mate| mate.origin.subscription().is_some());
        let paid_until = paid_until.map(|mate| mate.cancel_at.or(mate.paid_through).unwrap_or(now).max(now)).max();
        if paid_until.is_some() && wish.carry_over != CarryOver::default() {
            // It starts when what is paid has ended by itself, and nothing is left to keep.
            return Err(Rejection::NotCarriedOver("a period that is paid to its end"));
        }
        // From here it must succeed.
        self.drop_scheduled(&new)?;
        if let Some(at) = paid_until {
            let id = self.attach(Attachment { state: AttachmentState::Scheduled, anchor: at, started_at: at, ..new });
            return Ok(Decision::Applied(Outcome::Attached { attachment: id, grants: Vec::new() }));
        }
        let id = self.attach(new);
        let grants = self.renew(id)?;
        for mate in mates {
            self.take_over(mate.id, id, now, wish.carry_over)?;
        }
        Ok(Decision::Applied(Outcome::Attached { attachment: id, grants }))
    }

    /// A plan that is there takes another number of seats, which its next periods give.
    fn set_seats(&mut self, known: &Attachment, wish: &Attach) -> Result<Decision, Rejection> {
        if known.quantity == wish.quantity {
            return Err(Rejection::AlreadyAttached(wish.plan.clone()));
        }
        // What cannot be counted is refused here: at the next renewal nothing could be done about it.
        for item in self.terms_of(known).map(|plan| plan.items.as_slice()).unwrap_or_default() {
            times(item.included.unwrap_or(Credits::ZERO), wish.quantity)?;
        }
        if let Some(known) = self.attachment_mut(known.id) {
            known.quantity = wish.quantity;
        }
        Ok(Decision::Applied(Outcome::Attached { attachment: known.id, grants: Vec::new() }))
    }

    pub(super) fn cancel_own(&mut self, wish: &Cancel) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let known = self.own_or_refuse(&wish.plan, &wish.entity)?;
        let now = self.context.now;
        let ends_at = match wish.when {
            CancelWhen::Now => None,
            CancelWhen::PeriodEnd if known.state == AttachmentState::Scheduled => None,
            CancelWhen::PeriodEnd => self.period_end(&known)?.filter(|end| *end > now),
        };
        let Some(end) = ends_at else {
            self.end_attachment(known.id, now, true)?;
            self.resume_after_own(known.id, now)?;
            return Ok(Decision::Applied(Outcome::EndSet { attachment: known.id, ends_at: Some(now) }));
        };
        let outcome = Outcome::EndSet { attachment: known.id, ends_at: Some(end) };
        if known.cancel_at == Some(end) {
            return Ok(Decision::AlreadyApplied(outcome));
        }
        if let Some(known) = self.attachment_mut(known.id) {
            known.cancel_at = Some(end);
        }
        Ok(Decision::Applied(outcome))
    }

    pub(super) fn uncancel_own(&mut self, wish: &Uncancel) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let known = self.own_or_refuse(&wish.plan, &wish.entity)?;
        let outcome = Outcome::EndSet { attachment: known.id, ends_at: None };
        if known.cancel_at.is_none() {
            return Ok(Decision::AlreadyApplied(outcome));
        }
        if let Some(known) = self.attachment_mut(known.id) {
            known.cancel_at = None;
        }
        Ok(Decision::Applied(outcome))
    }

    /// The plan as it is attached without a subscription, in force or to come.
    fn own(&self, plan: &PlanId, entity: &str) -> Option<Attachment> {
        let is_it = |known: &&Attachment| {
            known.plan == *plan
                && known.entity == entity
                && known.origin.subscription().is_none()
                && (known.is_live() || known.state == AttachmentState::Scheduled)
        };
        self.state.attachments.iter().find(is_it).cloned()
    }

    fn own_or_refuse(&self, plan: &PlanId, entity: &str) -> Result<Attachment, Rejection> {
        if let Some(known) = self.own(plan, entity) {
            return Ok(known);
        }
        let by_stripe = self.state.attachments.iter().any(|known| known.plan == *plan && known.is_live());
        Err(if by_stripe { Rejection::PlanHasPrice(plan.clone()) } else { Rejection::NotAttached(plan.clone()) })
    }

    /// The end of the longest of its running periods; `None`: none of its items renews.
    fn period_end(&self, known: &Attachment) -> Result<Option<Timestamp>, Rejection> {
        let mut last = None;
        for item in self.terms_of(known).map(|plan| plan.items.as_slice()).unwrap_or_default() {
            if let Some(every) = item.reset {
                let span = period::containing(known.anchor, &item.anchor, every, self.context.now)?;
                last = last.max(Some(span.end));
            }
        }
        Ok(last)
    }

    /// What follows a plan of ours in its group; a plan everyone gets that was itself ended does not come back by itself.
    pub(super) fn resume_after_own(&mut self, id: AttachmentId, at: Timestamp) -> Result<(), Rejection> {
        let Some(known) = self.attachment(id).cloned() else { return Ok(()) };
        let is_automatic = self.context.catalog.catalog.plans.get(&known.plan).is_some_and(|plan| plan.auto_enable);
        if is_automatic { Ok(()) } else { self.resume_automatic(&known, at) }
    }

    /// What was to follow a plan starts, now that it is over.
    pub(super) fn start_scheduled(&mut self, after: &Attachment, at: Timestamp) -> Result<bool, Rejection> {
        if self.mates(after).iter().any(|mate| mate.id != after.id) {
            // Something else took the place; what was over longer ago is only being told of late.
            return Ok(false);
        }
        let Some(next) = self.scheduled(after).into_iter().next() else { return Ok(false) };
        if let Some(known) = self.attachment_mut(next) {
            known.state = AttachmentState::Active;
            known.anchor = at;
            known.started_at = at;
        }
        self.give(next, at, None)?;
        self.renew(next)?;
        Ok(true)
    }

    /// What was to follow in a plan's place does not.
    pub(super) fn drop_scheduled(&mut self, of: &Attachment) -> Result<(), Rejection> {
        let now = self.context.now;
        for id in self.scheduled(of) {
            self.end_attachment(id, now, false)?;
        }
        Ok(())
    }

    fn scheduled(&self, of: &Attachment) -> Vec<AttachmentId> {
        let mates = self.group_mates(of).into_iter();
        mates.filter(|mate| mate.state == AttachmentState::Scheduled).map(|mate| mate.id).collect()
    }
}
