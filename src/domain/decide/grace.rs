//! Grace: what a priced period gave stays spendable while its successor is awaited (rule 14).
//!
//! Plans that follow one another inside one subscription stand in one place: the successor of the one's period may be
//! the other's.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::super::attachment::Attachment;
use super::super::catalog::{FeatureId, Plan, PlanId};
use super::super::command::Rejection;
use super::super::grant::Grant;
use super::super::ids::AttachmentId;
use super::super::period;
use super::{Draft, RENEWAL_GRACE_HOURS};

impl Draft<'_> {
    /// The terms an attachment has.
    pub(super) fn terms_of(&self, known: &Attachment) -> Option<&Plan> {
        self.context.catalog.terms_of(known)
    }

    /// Attachments that stand, or stood, in one's place inside its subscription: those of its group; without groups,
    /// those that were left, and the plans `from` that are being left for it.
    pub(super) fn place_of(&self, id: AttachmentId, from: &[PlanId]) -> BTreeSet<AttachmentId> {
        let mut place = BTreeSet::from([id]);
        let Some(of) = self.attachment(id) else { return place };
        let Some(subscription) = of.origin.subscription() else { return place };
        let stands_alone = |known: &Attachment| self.terms_of(known).is_some_and(|plan| plan.add_on);
        if stands_alone(of) {
            return place;
        }
        let group = self.group_of(of);
        let shares_it = |known: &&Attachment| {
            let is_left = known.ended_at.is_some() || of.ended_at.is_some() || from.contains(&known.plan);
            known.origin.subscription() == Some(subscription)
                && !stands_alone(known)
                && self.group_of(known) == group
                && (group.is_some() || is_left)
        };
        place.extend(self.state.attachments.iter().filter(shares_it).map(|known| known.id));
        place
    }

    /// Which feature a granted item is of.
    fn feature_of(&self, id: AttachmentId, item: &str) -> Option<&FeatureId> {
        let plan = self.terms_of(self.attachment(id)?)?;
        plan.items.iter().find(|known| known.id == item).map(|known| &known.feature)
    }

    /// Did a later period of that feature come to the place?
    pub(super) fn is_succeeded(&self, place: &BTreeSet<AttachmentId>, feature: &FeatureId, start: Timestamp) -> bool {
        self.state.renewed.iter().any(|((id, item), (newest, _))| {
            *newest > start && place.contains(id) && self.feature_of(*id, item) == Some(feature)
        })
    }

    /// Is a successor awaited of what ends then?
    pub(super) fn is_awaited(&self, place: &BTreeSet<AttachmentId>, end: Timestamp) -> bool {
        self.state.attachments.iter().any(|known| place.contains(&known.id) && known.awaits_renewal(end))
    }

    /// Sets the grace of the newest period grants in an attachment's subscription anew: they wait for a successor while
    /// one may come (rule 14).
    pub(super) fn regrace(&mut self, id: AttachmentId) -> Result<(), Rejection> {
        let Some(known) = self.attachment(id).cloned() else { return Ok(()) };
        let of_it = |grant: &&Grant| {
            let of = grant.period.as_ref().and_then(|period| self.attachment(period.attachment));
            of.is_some_and(|of| {
                of.id == id
                    || (of.origin.subscription().is_some() && of.origin.subscription() == known.origin.subscription())
            })
        };
        let mut changed = Vec::new();
        for grant in self.state.grants.iter().filter(of_it) {
            let Some(period) = &grant.period else { continue };
            let place = self.place_of(period.attachment, &[]);
            let wanted = match grant.expires_at {
                Some(end) => {
                    let waits =
                        self.is_awaited(&place, end) && !self.is_succeeded(&place, &grant.feature, period.start);
                    if waits { Some(grace_end(end)?) } else { None }
                }
                // What has no end of its own and no amount that could be taken back ends with its plan.
                None if grant.unlimited => self.end_with_plan(period.attachment, &place),
                None => continue,
            };
            if grant.grace_ends_at != wanted && !is_revived(grant) {
                changed.push((grant.id, wanted));
            }
        }
        for grant in &mut self.state.grants {
            if let Some((id, wanted)) = changed.iter().find(|(id, _)| *id == grant.id) {
                grant.grace_ends_at = *wanted;
                self.changes.touched_grants.insert(*id);
            }
        }
        self.expire_ended_grants()
    }

    /// When what a plan gives without limit ends: with the plan, or, inside one subscription, with what it was paid for.
    fn end_with_plan(&self, id: AttachmentId, place: &BTreeSet<AttachmentId>) -> Option<Timestamp> {
        let known = self.attachment(id)?;
        let ended = known.ended_at?;
        let goes_on = self.state.attachments.iter().any(|other| place.contains(&other.id) && other.is_live());
        let paid = known.paid_through.filter(|_| goes_on && !known.is_final);
        Some(paid.map_or(ended, |paid| paid.max(ended)))
    }

    /// The successor is here: what was before it in its place loses its grace, and what is past its end expires.
    pub(super) fn succeed(
        &mut self,
        attachment: AttachmentId,
        feature: &FeatureId,
        start: Timestamp,
    ) -> Result<(), Rejection> {
        let place = self.place_of(attachment, &[]);
        for grant in self.state.grants.iter_mut().filter(|grant| grant.feature == *feature) {
            let before = grant.period.as_ref().is_some_and(|p| place.contains(&p.attachment) && p.start < start);
            if before && !is_revived(grant) && grant.grace_ends_at.take().is_some() {
                self.changes.touched_grants.insert(grant.id);
            }
        }
        self.expire_ended_grants()
    }
}

/// Does it live on for credits that came back to it, not for a successor that is awaited? Such an end lies beyond any
/// grace, and no successor takes it away.
pub(super) fn is_revived(grant: &Grant) -> bool {
    let grace = grant.expires_at.and_then(|end| grace_end(end).ok());
    grace.is_some() && grant.grace_ends_at > grace
}

fn grace_end(end: Timestamp) -> Result<Timestamp, Rejection> {
    Ok(end.checked_add(SignedDuration::from_hours(RENEWAL_GRACE_HOURS)).map_err(|_| period::OutOfCalendar)?)
}
