//! Subscriptions: what Stripe shows of them, and the periods that are paid.
//!
//! Two inputs that may come in any order. A view says which plans a subscription has, since when, and whether it is over;
//! it gives no credits. A paid period gives its credits, once, however late it comes. So no order of the two decides
//! what is granted.

use jiff::Timestamp;

use super::super::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use super::super::catalog::{Interval, IntervalUnit, PlanId, ResetAnchor};
use super::super::command::{Decision, Outcome, PlanPaid, Rejection};
use super::super::entry::Source;
use super::super::grant::Grant;
use super::super::ids::{AttachmentId, GrantId};
use super::super::period;
use super::super::subscription::{RenewalLost, SubscribedPlan, SubscriptionLife, SubscriptionSeen};
use super::Draft;
use super::plans::{fee_interval, replaces};

/// Does a view say that Stripe counts the periods anew? What was paid on the count before ends where the new one begins,
/// as its rest was credited; periods on the new one are given when they are paid, not by the clock.
fn recounts(known: &Attachment, seen: &SubscriptionSeen) -> bool {
    known.seen_at.is_some() && known.anchor != seen.anchor
}

fn cut(known: &Attachment, anchor: Timestamp) -> Option<Timestamp> {
    known.paid_through.map(|through| through.min(anchor.max(known.started_at)))
}

impl Draft<'_> {
    pub(super) fn attachment_of(&self, subscription: &str, plan: &PlanId) -> Option<AttachmentId> {
        let is_it = |known: &&Attachment| known.plan == *plan && known.origin.subscription() == Some(subscription);
        self.state.attachments.iter().find(is_it).map(|known| known.id)
    }

    pub(super) fn attachments_of(&self, subscription: &str) -> Vec<AttachmentId> {
        let is_of = |known: &&Attachment| known.origin.subscription() == Some(subscription);
        self.state.attachments.iter().filter(is_of).map(|known| known.id).collect()
    }

    pub(super) fn plan_paid(&mut self, paid: &PlanPaid) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        if let Some(known) = self.renamed_since(paid) {
            let grants = self.known_grants(known);
            return Ok(Decision::AlreadyApplied(Outcome::PlanPaid { attachment: known, grants }));
        }
        let (attachment, mut changed) = match self.attachment_of(&paid.subscription, &paid.plan) {
            Some(id) => (id, self.extend(id, paid)?),
            None => (self.attach_paid(paid)?, true),
        };
        // Paid late, its period may be followed by others already: what is left of it rolls over into those.
        self.await_successors(attachment);
        let mut grants = self.give(attachment, paid.period_start, Some(paid))?;
        changed |= self.hand_on(attachment, paid, !grants.is_empty());
        grants.extend(self.renew(attachment)?);
        changed |= !grants.is_empty();
        if !changed {
            let grants = self.known_grants(attachment);
            return Ok(Decision::AlreadyApplied(Outcome::PlanPaid { attachment, grants }));
        }
        self.find_its_place(attachment, paid.period_start)?;
        self.regrace(attachment)?;
        Ok(Decision::Applied(Outcome::PlanPaid { attachment, grants }))
    }

    /// The attachment that was given what this line pays for, when the catalogue called the plan of its price otherwise
    /// then.
    fn renamed_since(&self, paid: &PlanPaid) -> Option<AttachmentId> {
        let (payment, price) = (paid.payment?, paid.stripe_price.as_deref()?);
        let is_it = |id: &AttachmentId| {
            self.attachment(*id).is_some_and(|known| {
                known.plan != paid.plan && known.origin.subscription() == Some(paid.subscription.as_str())
            })
        };
        let paid_for = self.state.shares.iter().filter(|share| {
            share.payment == Some(payment)
                && share.stripe_price.as_deref() == Some(price)
                && share.step.changed_at.is_none()
                && share.period_start <= paid.period_start
        });
        paid_for.map(|share| share.attachment).find(is_it)
    }

    /// What a plan was paid for up to is its successor's too, when a change inside the subscription came before this was
    /// told; and a period of its own that is paid for later than a change of its seats makes the clock its own again.
    fn hand_on(&mut self, id: AttachmentId, paid: &PlanPaid, is_new: bool) -> bool {
        let Some(known) = self.attachment(id).cloned() else { return false };
        let mut changed = false;
        if is_new && known.ended_at.is_none() && known.changed_at.is_some_and(|at| at > paid.period_start) {
            if let Some(known) = self.attachment_mut(id) {
                known.changed_at = None;
            }
            changed = true;
        }
        if known.ended_at.is_none() || known.is_final {
            return changed;
        }
        for heir in self.place_of(id, &[]).into_iter().filter(|heir| *heir != id) {
            let Some(next) = self.attachment(heir).cloned() else { continue };
            let since = next.changed_at.or(next.seen_at);
            let inside = since.is_some_and(|at| paid.period_start < at && at < paid.period_end);
            if !next.is_live() || !inside || next.paid_through.is_none_or(|through| through >= paid.period_end) {
                continue;
            }
            if let Some(next) = self.attachment_mut(heir) {
                next.paid_through = Some(paid.period_end);
                next.paid_by = paid.payment.map(|payment| (payment, paid.period_start)).or(next.paid_by);
                next.changed_at = since;
                changed = true;
            }
        }
        changed
    }

    fn known_grants(&self, attachment: AttachmentId) -> Vec<GrantId> {
        self.state.renewed.iter().filter(|((id, _), _)| *id == attachment).map(|(_, (_, grant))| *grant).collect()
    }

    /// `paid_through` only moves forward; an ended attachment stays ended, unless its subscription was never looked at
    /// and pays for a later period of it: then it has come back to the plan.
    fn extend(&mut self, id: AttachmentId, paid: &PlanPaid) -> Result<bool, Rejection> {
        let Some(known) = self.attachment(id).cloned() else { return Ok(false) };
        // Stripe counts anew after a trial or a change: later periods are counted from the first one it did so for (rule
        // 13). Once a view told the anchor, only a later period that begins inside what is paid says so by itself.
        let is_inside = |seen: Timestamp| {
            seen < paid.period_start && known.paid_through.is_some_and(|through| paid.period_start < through)
        };
        let counts_anew = known.seen_at.is_none_or(is_inside)
            && known.is_live()
            && paid.period_start > known.anchor
            && self.is_off_the_grid(&known, paid)?;
        if !counts_anew && known.paid_through.is_some_and(|through| through >= paid.period_end) {
            return Ok(false);
        }
        let came_back = !known.is_final
            && known.ended_at.is_some_and(|ended| paid.period_start >= ended)
            && known.seen_at.is_none_or(|seen| seen < paid.period_start);
        let plan_version = if came_back { self.current_version(&paid.plan)? } else { known.plan_version };
        let Some(known) = self.attachment_mut(id) else { return Ok(false) };
        known.paid_through = Some(paid.period_end);
        known.paid_by = paid.payment.map(|payment| (payment, paid.period_start)).or(known.paid_by);
        if known.seen_at.is_none() {
            // Without a view of the subscription its seats are those last paid for.
            known.quantity = paid.quantity;
        }
        if counts_anew {
            known.anchor = paid.period_start;
        }
        if paid.is_trial {
            known.trial_ends_at = known.trial_ends_at.or(Some(paid.period_end));
        }
        if came_back {
            known.state = AttachmentState::Active;
            known.plan_version = plan_version;
            known.quantity = paid.quantity;
            known.anchor = paid.period_start;
            known.started_at = paid.period_start;
            known.cancel_at = None;
            known.ended_at = None;
            known.changed_at = None;
            known.past_due_since = None;
        } else if !paid.is_trial && matches!(known.state, AttachmentState::PastDue | AttachmentState::Trialing) {
            known.state = AttachmentState::Active;
            known.past_due_since = None;
        }
        Ok(true)
    }

    /// Does a paid period begin where no period counted from the anchor does, by the month or by the price's interval?
    fn is_off_the_grid(&self, known: &Attachment, paid: &PlanPaid) -> Result<bool, Rejection> {
        let month = Interval { unit: IntervalUnit::Month, count: 1 };
        let fee = self.terms_of(known).and_then(|plan| fee_interval(plan, paid.stripe_price.as_deref()));
        for every in [Some(month), fee].into_iter().flatten() {
            let span = period::containing(known.anchor, &ResetAnchor::Anniversary, every, paid.period_start)?;
            if span.start == paid.period_start {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A paid period of a plan that is not attached. When views of the subscription no longer have the plan, it is a
    /// plan of the past, and attached as one.
    fn attach_paid(&mut self, paid: &PlanPaid) -> Result<AttachmentId, Rejection> {
        let of_past = self.attachments_of(&paid.subscription).into_iter().filter_map(|id| self.attachment(id));
        let is_newer =
            |known: &&Attachment| known.is_final || known.seen_at.is_some_and(|seen| seen >= paid.period_start);
        let of_past = of_past.filter(is_newer).map(|known| known.is_final).reduce(|a, b| a || b);
        let state = match of_past {
            Some(_) => AttachmentState::Ended,
            None if paid.is_trial => AttachmentState::Trialing,
            None => AttachmentState::Active,
        };
        let ended_at = of_past.map(|_| paid.period_end.min(self.context.now).max(paid.period_start));
        let attachment = Attachment {
            id: AttachmentId::from_uuid(self.ids.fresh()),
            plan: paid.plan.clone(),
            plan_version: self.current_version(&paid.plan)?,
            state,
            origin: AttachmentOrigin::Stripe { subscription: paid.subscription.clone() },
            entity: String::new(),
            quantity: paid.quantity,
            // The paid periods are counted from the end of a trial.
            anchor: if paid.is_trial { paid.period_end } else { paid.period_start },
            paid_through: Some(paid.period_end),
            started_at: paid.period_start,
            trial_ends_at: paid.is_trial.then_some(paid.period_end),
            cancel_at: None,
            ended_at,
            seen_at: None,
            is_final: of_past.unwrap_or(false),
            changed_at: None,
            past_due_since: None,
            paid_by: paid.payment.map(|payment| (payment, paid.period_start)),
            grants_ended_at: None,
        };
        Ok(self.attach(attachment))
    }

    /// A paid plan takes its place in its group; one that is over by now had it for its time, and what everyone gets
    /// came back after it.
    pub(super) fn find_its_place(&mut self, id: AttachmentId, period_start: Timestamp) -> Result<(), Rejection> {
        if self.attachment(id).is_some_and(|paid| paid.ended_at.is_none()) {
            self.make_room_for(id)?;
        }
        let Some(paid) = self.attachment(id).cloned() else { return Ok(()) };
        let Some(ended) = paid.ended_at else { return Ok(()) };
        let inside = |known: &&Attachment| {
            known.is_live() && known.id != id && known.origin.subscription() == paid.origin.subscription()
        };
        if period_start <= ended && !self.state.attachments.iter().any(|known| inside(&known)) {
            self.end_grants(id, ended)?;
        }
        let yielding: Vec<Attachment> = self.held_place_of(&paid, ended);
        for mate in &yielding {
            self.end_attachment(mate.id, paid.started_at.max(mate.started_at), true)?;
        }
        if yielding.is_empty() { Ok(()) } else { self.resume_automatic(&paid, ended) }
    }

    /// Plans without price that had the place of a paid one during its time, because it was not known yet.
    fn held_place_of(&self, paid: &Attachment, ended: Timestamp) -> Vec<Attachment> {
        let overlaps = |mate: &Attachment| {
            mate.started_at < ended && mate.ended_at.is_none_or(|end| end > paid.started_at.max(mate.started_at))
        };
        self.group_mates(paid).into_iter().filter(|mate| mate.paid_through.is_none() && overlaps(mate)).collect()
    }

    pub(super) fn subscription_seen(&mut self, seen: &SubscriptionSeen) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let known = self.attachments_of(&seen.subscription);
        let newest = known.iter().filter_map(|id| self.attachment(*id)?.seen_at).max();
        let over = known.iter().any(|id| self.attachment(*id).is_some_and(|known| known.is_final));
        let is_end = matches!(seen.life, SubscriptionLife::Ended(_));
        if over || (!is_end && newest.is_some_and(|newest| newest >= seen.seen_at)) {
            return Ok(Decision::AlreadyApplied(Outcome::Followed { attachments: known }));
        }
        let before = (self.state.attachments.clone(), self.state.seq);
        match seen.life {
            SubscriptionLife::Active => self.goes_on(seen, AttachmentState::Active)?,
            SubscriptionLife::Trialing => self.goes_on(seen, AttachmentState::Trialing)?,
            SubscriptionLife::PastDue => self.goes_on(seen, AttachmentState::PastDue)?,
            SubscriptionLife::Paused => self.goes_on(seen, AttachmentState::Paused)?,
            SubscriptionLife::Ended(at) => self.is_over(seen, at)?,
        }
        let outcome = Outcome::Followed { attachments: self.attachments_of(&seen.subscription) };
        let changed = before != (self.state.attachments.clone(), self.state.seq);
        Ok(if changed { Decision::Applied(outcome) } else { Decision::AlreadyApplied(outcome) })
    }

    fn goes_on(&mut self, seen: &SubscriptionSeen, state: AttachmentState) -> Result<(), Rejection> {
        let is_kept = |known: &Attachment| seen.plans.iter().any(|subscribed| subscribed.plan == known.plan);
        // What came after Stripe was asked is not among what it said.
        let came_later = |known: &Attachment| {
            known.seen_at.is_none()
                && (known.started_at > seen.seen_at || known.changed_at.is_some_and(|at| at > seen.seen_at))
        };
        let family: Vec<Attachment> =
            self.attachments_of(&seen.subscription).into_iter().filter_map(|id| self.attachment(id).cloned()).collect();
        let leaving: Vec<&Attachment> =
            family.iter().filter(|known| !is_kept(known) && known.ended_at.is_none() && !came_later(known)).collect();
        let paid =
            |known: &&Attachment| if recounts(known, seen) { cut(known, seen.anchor) } else { known.paid_through };
        let change = (!leaving.is_empty()).then(|| leaving.iter().filter_map(paid).max());
        for subscribed in &seen.plans {
            if let Some(id) = self.attachment_of(&seen.subscription, &subscribed.plan) {
                self.follow(id, seen, subscribed, state, change.flatten())?;
            } else {
                let attachment = self.seen_attachment(seen, subscribed, state)?;
                let paid_through = attachment.paid_through.max(change.flatten());
                let changed_at = change.map(|_| seen.seen_at);
                self.attach(Attachment { paid_through, changed_at, ..attachment });
            }
        }
        for known in &leaving {
            // Inside one subscription what was given for the running period stays (rule 16).
            self.end_attachment(known.id, seen.seen_at.max(known.started_at), false)?;
        }
        for id in self.attachments_of(&seen.subscription) {
            let Some(known) = self.attachment(id) else { continue };
            if came_later(known) {
                continue;
            }
            if let Some(known) = self.attachment_mut(id) {
                known.seen_at = Some(seen.seen_at);
            }
        }
        for id in self.attachments_of(&seen.subscription) {
            self.renew(id)?;
            self.regrace(id)?;
        }
        Ok(())
    }

    /// What one view says of a plan that is attached.
    fn follow(
        &mut self,
        id: AttachmentId,
        seen: &SubscriptionSeen,
        subscribed: &SubscribedPlan,
        state: AttachmentState,
        handed_on: Option<Timestamp>,
    ) -> Result<(), Rejection> {
        let Some(before) = self.attachment(id).cloned() else { return Ok(()) };
        if before.ended_at.is_some_and(|ended| ended > seen.seen_at) {
            // What was left after Stripe was asked does not come back by what it said.
            return Ok(());
        }
        let took_it = |mate: &Attachment| {
            let inside = mate.origin.subscription() == before.origin.subscription();
            mate.is_paid() && !inside && replaces(mate, &before)
        };
        let replaced = before.ended_at.is_some() && self.mates(&before).iter().any(took_it);
        // Of a period on the new count, its own payment has told already.
        let is_told = self.state.given.keys().any(|(of, _, start)| *of == id && *start >= seen.anchor);
        let Some(known) = self.attachment_mut(id) else { return Ok(()) };
        if recounts(&before, seen) && !is_told {
            known.paid_through = cut(&before, seen.anchor);
            known.changed_at = before.changed_at.max(Some(seen.seen_at));
        }
        known.quantity = subscribed.quantity;
        known.anchor = seen.anchor;
        known.started_at = known.started_at.min(seen.started_at);
        known.trial_ends_at = seen.trial_ends_at;
        known.cancel_at = seen.cancel_at;
        if !replaced {
            known.state = state;
            known.ended_at = None;
            let overdue = state == AttachmentState::PastDue;
            known.past_due_since = if overdue { before.past_due_since.or(Some(seen.seen_at)) } else { None };
        }
        let came_back = before.ended_at.is_some() && !replaced;
        if came_back {
            known.paid_through = known.paid_through.max(handed_on);
            known.changed_at = Some(before.changed_at.unwrap_or(seen.seen_at).max(seen.seen_at));
        }
        if before.cancel_at.is_some() && seen.cancel_at.is_none() {
            // It goes on after all: what was to follow it does not.
            self.drop_scheduled(&before)?;
        }
        if came_back || before.cancel_at != seen.cancel_at { self.regrace(id) } else { Ok(()) }
    }

    /// A plan as a view shows it, nothing paid yet.
    fn seen_attachment(
        &mut self,
        seen: &SubscriptionSeen,
        subscribed: &SubscribedPlan,
        state: AttachmentState,
    ) -> Result<Attachment, Rejection> {
        Ok(Attachment {
            id: AttachmentId::from_uuid(self.ids.fresh()),
            plan: subscribed.plan.clone(),
            plan_version: self.current_version(&subscribed.plan)?,
            state,
            origin: AttachmentOrigin::Stripe { subscription: seen.subscription.clone() },
            entity: String::new(),
            quantity: subscribed.quantity,
            anchor: seen.anchor,
            paid_through: Some(seen.started_at),
            started_at: seen.started_at,
            trial_ends_at: seen.trial_ends_at,
            cancel_at: seen.cancel_at,
            ended_at: None,
            seen_at: Some(seen.seen_at),
            is_final: false,
            changed_at: None,
            past_due_since: (state == AttachmentState::PastDue).then_some(seen.seen_at),
            paid_by: None,
            grants_ended_at: None,
        })
    }

    /// A subscription that is over ends its plans, and stays known: what it paid for may come later still.
    fn is_over(&mut self, seen: &SubscriptionSeen, at: Timestamp) -> Result<(), Rejection> {
        for subscribed in &seen.plans {
            if self.attachment_of(&seen.subscription, &subscribed.plan).is_none() {
                let ended = self.seen_attachment(seen, subscribed, AttachmentState::Ended)?;
                self.attach(Attachment { ended_at: Some(at.max(seen.started_at)), is_final: true, ..ended });
            }
        }
        for id in self.attachments_of(&seen.subscription) {
            let Some(before) = self.attachment(id).cloned() else { continue };
            let at = at.max(before.started_at);
            let was_longer = before.ended_at.is_none_or(|ended| ended > at);
            if was_longer {
                self.end_attachment(id, at, true)?;
            }
            if let Some(known) = self.attachment_mut(id) {
                known.is_final = true;
                known.seen_at = Some(seen.seen_at);
                known.cancel_at = seen.cancel_at;
            }
            if was_longer {
                self.resume_automatic(&before, at)?;
            }
        }
        self.expire_ended_grants()
    }

    /// No renewal is awaited any more after an unpaid boundary: the grants that waited for it end (rule 14).
    pub(super) fn renewal_lost(&mut self, lost: &RenewalLost) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let unpaid: Vec<AttachmentId> = self
            .attachments_of(&lost.subscription)
            .into_iter()
            .filter(|id| {
                let through = self.attachment(*id).and_then(|known| known.paid_through);
                through.is_some_and(|through| through <= lost.period_start)
            })
            .collect();
        let waits = |grant: &&mut Grant| {
            grant.grace_ends_at.is_some()
                && grant.expires_at.is_some_and(|end| end <= lost.period_start)
                && grant.period.as_ref().is_some_and(|period| unpaid.contains(&period.attachment))
        };
        let mut ended = Vec::new();
        for grant in self.state.grants.iter_mut().filter(waits) {
            grant.grace_ends_at = None;
            ended.push(grant.id);
        }
        if ended.is_empty() {
            return Ok(Decision::AlreadyApplied(Outcome::Settled));
        }
        self.changes.touched_grants.extend(ended);
        self.expire_ended_grants()?;
        Ok(Decision::Applied(Outcome::Settled))
    }
}
