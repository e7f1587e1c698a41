//! What time alone made due: grants past their end, attachments past theirs, items to renew.

use jiff::Timestamp;

use super::super::account::Line;
use super::super::command::{Decision, Outcome, Rejection};
use super::super::entry::{EntryKind, Source};
use super::super::grant::Grant;
use super::super::hold::HoldState;
use super::super::ids::{AttachmentId, GrantId};
use super::super::period;
use super::Draft;

impl Draft<'_> {
    /// Books expiries and renewals that fell due by now; nothing when nothing is due, or when the account's attachments
    /// were not read: then the grants' own times decide, and the next complete decision books.
    pub(super) fn book_what_time_made_due(&mut self) -> Result<(), Rejection> {
        let due = self.state.next_due_at.is_some_and(|due| due <= self.context.now);
        if !due || !self.state.complete {
            return Ok(());
        }
        self.source = Source::Time;
        let live: Vec<AttachmentId> =
            self.state.attachments.iter().filter(|known| known.is_live()).map(|known| known.id).collect();
        // Before what ended meanwhile is over: its last periods may have begun while everybody slept (rule 17).
        self.renew_all(&live)?;
        self.end_cancelled_attachments()?;
        // The later months of a year's fee that went back go with it.
        self.reverse_what_came_late()?;
        self.source = Source::Time;
        self.expire_ended_grants()?;
        // What comes back to a grant that had ended by now expires there, whether anybody was awake when it did.
        self.booked_up_to = self.context.now;
        self.reckon_next_due()
    }

    /// Nothing but what time made due. The account's place in the queue is written anew even when nothing was: a row that
    /// stayed behind would be found due for ever.
    pub(super) fn settle(&mut self) -> Decision {
        self.changes.head_changed = true;
        Decision::Applied(Outcome::Settled)
    }

    /// A plan of ours ends when it is set to; one that a subscription pays for ends when Stripe says so.
    fn end_cancelled_attachments(&mut self) -> Result<(), Rejection> {
        let now = self.context.now;
        let over: Vec<(AttachmentId, Timestamp)> = self
            .state
            .attachments
            .iter()
            .filter(|known| known.is_live() && known.origin.subscription().is_none())
            .filter_map(|known| known.cancel_at.filter(|end| *end <= now).map(|end| (known.id, end)))
            .collect();
        for (attachment, end) in over {
            self.end_attachment(attachment, end, false)?;
            self.resume_after_own(attachment, end)?;
        }
        Ok(())
    }

    /// Books what is left of grants past their end: where the next period was posted before its time it rolls over. A
    /// slice that a hold pins waits for the hold.
    pub(super) fn expire_ended_grants(&mut self) -> Result<(), Rejection> {
        let now = self.context.now;
        let is_over = |grant: &Grant| grant.ends_at().filter(|end| *end <= now && grant.free().is_positive());
        let ended: Vec<(GrantId, Timestamp)> = self
            .state
            .grants
            .iter()
            .filter_map(|grant| is_over(grant).map(|end| (grant.id, end, grant)))
            .filter(|(_, _, grant)| !self.awaits_its_successor(grant))
            .map(|(id, end, _)| (id, end))
            .collect();
        for (id, end) in ended {
            if self.roll_at_its_end(id)? {
                continue;
            }
            // A grant that rolled over may have cut another one of these.
            if let Some(grant) = self.state.grant(id).filter(|grant| grant.free().is_positive()) {
                self.book(Line::of(grant, EntryKind::Expire, grant.free().negated()).at(end))?;
            }
        }
        Ok(())
    }

    /// Books what a command brought that was over before it came: nothing later would look at it again.
    pub(super) fn expire_what_came_late(&mut self) -> Result<(), Rejection> {
        self.source = Source::Time;
        self.first = None;
        self.expire_ended_grants()
    }

    /// Has the account looked at no later than when the first of its grants ends, after one was given a later end.
    pub(super) fn wake_for_ends(&mut self) {
        let end = self.state.earliest_end_after(self.context.now);
        if end.is_some() && earlier(self.state.next_due_at, end) != self.state.next_due_at {
            self.state.next_due_at = earlier(self.state.next_due_at, end);
            self.changes.head_changed = true;
        }
    }

    /// When this account has to be looked at next.
    pub(super) fn reckon_next_due(&mut self) -> Result<(), Rejection> {
        if !self.state.complete {
            return Ok(());
        }
        let now = self.context.now;
        let mut due = self.state.earliest_end_after(now);
        for attachment in self.state.attachments.iter().filter(|known| known.is_live()) {
            if attachment.origin.subscription().is_none() {
                due = earlier(due, attachment.cancel_at.filter(|end| *end > now));
            }
            for item in self.terms_of(attachment).map(|plan| plan.items.as_slice()).unwrap_or_default() {
                if let Some(every) = item.reset {
                    let span = period::containing(attachment.anchor, &item.anchor, every, now)?;
                    let next = if span.start > now { span.start } else { span.end };
                    due = earlier(due, Some(next).filter(|next| attachment.covers(*next)));
                }
            }
        }
        // A grant whose free part is gone but whose held part is not stays behind `now`: the hold's own time wakes it.
        for hold in self.state.holds.iter().filter(|hold| hold.state == HoldState::Open) {
            due = earlier(due, Some(hold.expires_at));
        }
        if due != self.state.next_due_at {
            self.state.next_due_at = due;
            self.changes.head_changed = true;
        }
        Ok(())
    }
}

fn earlier(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
