//! Changes of plan or seats inside a period, once they are paid (rule 15).
//!
//! The lines of a change say what was before and after it, so no earlier event is needed. Which plans a subscription has
//! now is told by views of it; a change tells it only as long as none is newer.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::account::Line;
use super::super::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use super::super::catalog::{FeatureId, Interval, Item, Plan, PlanId, Upgrade};
use super::super::command::{ChangedPlan, Decision, Outcome, PlanChanged, PlanPaid, Rejection, WalletRef};
use super::super::credits::Credits;
use super::super::entry::{EntryKind, Source};
use super::super::grant::{Category, GrantMoney, Origin, Period};
use super::super::ids::{AttachmentId, GrantId};
use super::super::period::{self, PeriodSpan};
use super::super::proration::{Band, Share, Step, uncovered};
use super::plans::{basis, fee_interval, revenue_of, times};
use super::{Draft, RENEWAL_GRACE_HOURS, grants};

/// One item of a plan that a change led to, and the period it changed in.
struct Changed<'a> {
    change: &'a PlanChanged,
    to: &'a ChangedPlan,
    attachment: &'a Attachment,
    plan: &'a Plan,
    item: &'a Item,
    span: PeriodSpan,
    /// The level before, and the item's own part of the level after.
    old: Credits,
    above: Credits,
    up_to: Credits,
}

impl Draft<'_> {
    pub(super) fn plan_changed(&mut self, change: &PlanChanged) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let before = self.state.attachments.clone();
        let mut attachments = Vec::new();
        for to in &change.to {
            attachments.push(self.change_to(change, to)?);
        }
        self.leave(change)?;
        let mut grants = Vec::new();
        let mut left: Vec<PlanId> = change.from.iter().map(|from| from.plan.clone()).collect();
        left.retain(|plan| !change.to.iter().any(|to| to.plan == *plan));
        for (to, id) in change.to.iter().zip(&attachments) {
            // What was before a plan: itself with other seats, and what was left for the first of the new ones.
            let is_new = !change.from.iter().any(|from| from.plan == to.plan);
            let mut from = if is_new { std::mem::take(&mut left) } else { Vec::new() };
            from.push(to.plan.clone());
            grants.extend(self.give_shares(*id, change, to, &from)?);
            self.find_its_place(*id, change.changed_at)?;
            self.regrace(*id)?;
        }
        self.expire_ended_grants()?;
        let changed = !grants.is_empty() || before != self.state.attachments;
        let outcome = Outcome::PlanChanged { attachments, grants };
        Ok(if changed { Decision::Applied(outcome) } else { Decision::AlreadyApplied(outcome) })
    }

    /// Is a view of the subscription as new as the change? Then it says which plans there are.
    fn told_by_view(&self, change: &PlanChanged) -> bool {
        let of_it = |known: &&Attachment| known.origin.subscription() == Some(change.subscription.as_str());
        let newest = self.state.attachments.iter().filter(of_it).filter_map(|known| known.seen_at).max();
        newest.is_some_and(|seen| seen >= change.changed_at)
    }

    fn change_to(&mut self, change: &PlanChanged, to: &ChangedPlan) -> Result<AttachmentId, Rejection> {
        let Some(id) = self.attachment_of(&change.subscription, &to.plan) else {
            return self.attach_changed(change, to);
        };
        let Some(known) = self.attachment(id).cloned() else { return Ok(id) };
        let told = self.told_by_view(change);
        let is_newest = known.changed_at.is_none_or(|at| at <= change.changed_at);
        let returns =
            !told && !known.is_final && is_newest && known.ended_at.is_some_and(|ended| ended <= change.changed_at);
        let seats_alone = change.from.iter().any(|from| from.plan == to.plan);
        let mut next = known.clone();
        next.paid_through = next.paid_through.max(Some(change.period_end));
        if returns {
            next.plan_version = self.current_version(&to.plan)?;
            next.state = AttachmentState::Active;
            next.ended_at = None;
        }
        if is_newest && !told && (returns || known.ended_at.is_none()) {
            next.quantity = to.quantity;
        }
        // The clock gives the period the change lies in only where the plan was paid before the change.
        let is_paid = known.paid_through.is_some_and(|through| through > change.changed_at);
        let by_change = returns || known.changed_at.is_some();
        if is_newest && ((by_change && !seats_alone) || !is_paid) {
            next.changed_at = Some(change.changed_at);
        }
        if next != known
            && let Some(place) = self.attachment_mut(id)
        {
            *place = next;
        }
        Ok(id)
    }

    fn attach_changed(&mut self, change: &PlanChanged, to: &ChangedPlan) -> Result<AttachmentId, Rejection> {
        let family: Vec<&Attachment> =
            self.attachments_of(&change.subscription).into_iter().filter_map(|id| self.attachment(id)).collect();
        let of_past = self.told_by_view(change) || family.iter().any(|known| known.is_final);
        let is_final = family.iter().any(|known| known.is_final);
        let started_at = family.iter().map(|known| known.started_at).min().unwrap_or(change.changed_at);
        let known_anchor = family.iter().max_by_key(|known| known.seen_at).map(|known| known.anchor);
        let terms = self.context.catalog.catalog.plans.get(&to.plan);
        let every = terms.and_then(|plan| fee_interval(plan, to.stripe_price.as_deref()));
        let anchor = match (known_anchor, every) {
            (Some(anchor), _) => anchor,
            (None, Some(every)) => period::before(change.period_end, every)?,
            (None, None) => change.changed_at,
        };
        let ended = change.period_end.min(self.context.now).max(change.changed_at);
        let attachment = Attachment {
            id: AttachmentId::from_uuid(self.ids.fresh()),
            plan: to.plan.clone(),
            plan_version: self.current_version(&to.plan)?,
            state: if of_past { AttachmentState::Ended } else { AttachmentState::Active },
            origin: AttachmentOrigin::Stripe { subscription: change.subscription.clone() },
            entity: String::new(),
            quantity: to.quantity,
            anchor,
            paid_through: Some(change.period_end),
            started_at: started_at.min(change.changed_at),
            trial_ends_at: None,
            cancel_at: None,
            ended_at: of_past.then_some(ended),
            seen_at: None,
            is_final,
            changed_at: Some(change.changed_at),
            past_due_since: None,
            paid_by: None,
            grants_ended_at: None,
        };
        Ok(self.attach(attachment))
    }

    /// Ends what the change left behind. What it gave for the running period stays (rule 16). A plan that is not known
    /// yet is noted as left, so that its own invoice, told later, does not bring it back.
    fn leave(&mut self, change: &PlanChanged) -> Result<(), Rejection> {
        let told = self.told_by_view(change);
        for from in change.from.iter().filter(|from| !change.to.iter().any(|to| to.plan == from.plan)) {
            match self.attachment_of(&change.subscription, &from.plan) {
                Some(id) => {
                    let Some(known) = self.attachment(id) else { continue };
                    let came_later = known.changed_at.is_some_and(|at| at > change.changed_at)
                        || known.started_at > change.changed_at;
                    if !told && known.ended_at.is_none() && !came_later {
                        self.end_attachment(id, change.changed_at, false)?;
                    }
                }
                None if self.context.catalog.plan_versions.contains_key(&from.plan) => {
                    let to = ChangedPlan {
                        plan: from.plan.clone(),
                        quantity: from.quantity,
                        money: GrantMoney::default(),
                        stripe_price: None,
                        stripe_line: None,
                    };
                    let id = self.attach_changed(change, &to)?;
                    if let Some(known) = self.attachment_mut(id) {
                        known.state = AttachmentState::Ended;
                        known.ended_at = Some(change.changed_at);
                        known.paid_through = Some(known.started_at);
                        known.changed_at = None;
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn give_shares(
        &mut self,
        id: AttachmentId,
        change: &PlanChanged,
        to: &ChangedPlan,
        from: &[PlanId],
    ) -> Result<Vec<GrantId>, Rejection> {
        let Some(attachment) = self.attachment(id).cloned() else { return Ok(Vec::new()) };
        let terms = self.context.catalog.terms_of(&attachment);
        let Some(plan) = terms else { return Err(Rejection::UnknownPlan(attachment.plan)) };
        let mut given = Vec::new();
        for item in &plan.items {
            let made = match (plan.upgrade, item.reset) {
                (Upgrade::NextPeriod, _) => None,
                (Upgrade::Prorate | Upgrade::FullReset, None) => self.give_once(&attachment, plan, item, change, to)?,
                (Upgrade::Prorate | Upgrade::FullReset, Some(every)) => {
                    let Some(span) = span(&attachment, item, every, change)? else { continue };
                    let old = self.level_before(change, from, &item.feature, every)?;
                    let above = level_below(plan, item, every, to.quantity)?;
                    let own = times(item.included.unwrap_or(Credits::ZERO), to.quantity)?;
                    let up_to = above.checked_add(own)?;
                    let changed = Changed { change, to, attachment: &attachment, plan, item, span, old, above, up_to };
                    match plan.upgrade {
                        Upgrade::FullReset => self.give_reset(&changed, from)?,
                        Upgrade::Prorate | Upgrade::NextPeriod => self.give_share(&changed, from)?,
                    }
                }
            };
            given.extend(made);
        }
        Ok(given)
    }

    /// What the plan gives once it gives now too, and what it gives without limit.
    fn give_once(
        &mut self,
        attachment: &Attachment,
        plan: &Plan,
        item: &Item,
        change: &PlanChanged,
        to: &ChangedPlan,
    ) -> Result<Option<GrantId>, Rejection> {
        let paid = PlanPaid {
            payment: change.payment,
            subscription: change.subscription.clone(),
            plan: to.plan.clone(),
            quantity: to.quantity,
            period_start: change.changed_at,
            period_end: change.period_end,
            is_trial: false,
            credited: Vec::new(),
            money: GrantMoney::default(),
            stripe_price: to.stripe_price.clone(),
            stripe_line: to.stripe_line.clone(),
            metadata: change.metadata.clone(),
        };
        self.give_item(attachment, plan, item, change.changed_at, Some(&paid))
    }

    /// The level of a feature in the plans that were before.
    fn level_before(
        &self,
        change: &PlanChanged,
        from: &[PlanId],
        feature: &FeatureId,
        every: Interval,
    ) -> Result<Credits, Rejection> {
        let mut sum = Credits::ZERO;
        for was in change.from.iter().filter(|was| from.contains(&was.plan)) {
            let known = self.attachment_of(&change.subscription, &was.plan).and_then(|id| self.attachment(id));
            let pinned = known.and_then(|known| self.terms_of(known));
            let terms = pinned.or_else(|| self.context.catalog.catalog.plans.get(&was.plan));
            let items = terms.map(|plan| plan.items.as_slice()).unwrap_or_default();
            sum = sum.checked_add(level(items, feature, every, was.quantity)?)?;
        }
        Ok(sum)
    }

    /// What was given of a feature in one period by the plans that share a place; the periods' own grants of one
    /// attachment lie on top of one another.
    fn known_shares(&self, id: AttachmentId, from: &[PlanId], feature: &FeatureId, start: Timestamp) -> Vec<Share> {
        let place = self.place_of(id, from);
        let is_of = |share: &&Share| {
            place.contains(&share.attachment) && share.feature == *feature && share.period_start == start
        };
        self.state.shares.iter().filter(is_of).cloned().collect()
    }

    /// (new - old) for the time that remains, less what is covered already.
    fn give_share(&mut self, of: &Changed<'_>, from: &[PlanId]) -> Result<Option<GrantId>, Rejection> {
        let at = of.change.changed_at;
        let band = Band { above: of.above.max(of.old), up_to: of.up_to, from: at };
        let known = self.known_shares(of.attachment.id, from, &of.item.feature, of.span.start);
        let is_done = |share: &Share| {
            share.attachment == of.attachment.id
                && share.item == of.item.id
                && share.step.changed_at == Some(at)
                && share.step.up_to == of.up_to
        };
        if band.up_to <= band.above || known.iter().any(is_done) {
            return Ok(None);
        }
        // What went back with its payment covers nothing: it may be bought again.
        let kept: Vec<Share> = known.into_iter().filter(|share| !self.is_gone(share)).collect();
        let (bands, given) = bands(&kept, of.span.start)?;
        let highest = bands.iter().map(|known| known.up_to).max().unwrap_or(Credits::ZERO).max(band.up_to);
        // Each part is rounded for itself: together they must not round above the highest level.
        let room = highest.checked_sub(given)?;
        let quantity = uncovered(band, &bands, of.span)?.min(room);
        if !quantity.is_positive() {
            return Ok(None);
        }
        let step = Step { changed_at: Some(at), above: band.above, up_to: band.up_to };
        self.make_share(of, quantity, step).map(Some)
    }

    /// Was all of a share taken back?
    fn is_gone(&self, share: &Share) -> bool {
        let lots = self.state.backs.values().flat_map(|back| &back.lots);
        let taken = lots.filter(|lot| lot.grant == share.grant).map(|lot| (lot.account.taken, lot.granted)).next();
        taken.map_or(share.gone, |(taken, granted)| granted.is_positive() && taken >= granted)
    }

    /// The whole new allowance, when it is higher than any in this period before; what is unspent of the others ends.
    fn give_reset(&mut self, of: &Changed<'_>, from: &[PlanId]) -> Result<Option<GrantId>, Rejection> {
        let at = of.change.changed_at;
        let known = self.known_shares(of.attachment.id, from, &of.item.feature, of.span.start);
        let before: Vec<Share> =
            known.iter().filter(|share| share.step.changed_at.is_none_or(|then| then < at)).cloned().collect();
        let (bands, _) = bands(&before, of.span.start)?;
        let highest = bands.iter().map(|known| known.up_to).max().unwrap_or(Credits::ZERO).max(of.old);
        let is_done = known.iter().any(|share| {
            share.attachment == of.attachment.id && share.item == of.item.id && share.step.changed_at == Some(at)
        });
        if is_done || of.up_to <= highest || of.up_to <= of.above {
            return Ok(None);
        }
        let step = Step { changed_at: Some(at), above: of.above, up_to: of.up_to };
        let grant = self.make_share(of, of.up_to.checked_sub(of.above)?, step)?;
        self.end_before_reset(of.attachment.id, &of.item.feature, of.span.start)?;
        Ok(Some(grant))
    }

    /// Ends what is unspent of a period's grants that came before the newest whole allowance of a `full_reset`.
    pub(super) fn end_before_reset(
        &mut self,
        id: AttachmentId,
        feature: &FeatureId,
        start: Timestamp,
    ) -> Result<(), Rejection> {
        let known = self.known_shares(id, &[], feature, start);
        let resets = known.iter().filter(|share| self.is_reset(share));
        let Some(newest) = resets.filter_map(|share| share.step.changed_at).max() else { return Ok(()) };
        let older = |share: &&Share| share.step.changed_at.is_none_or(|then| then < newest);
        let older: Vec<GrantId> = known.iter().filter(older).map(|share| share.grant).collect();
        let lines: Vec<Line> = self
            .state
            .grants
            .iter()
            .filter(|grant| older.contains(&grant.id) && grant.free().is_positive())
            .map(|grant| Line::of(grant, EntryKind::End, grant.free().negated()).at(newest))
            .collect();
        for line in lines {
            self.book(line)?;
        }
        Ok(())
    }

    /// The same for every running period that is known: what came free of grants from before a whole new allowance.
    pub(super) fn end_before_resets(&mut self) -> Result<(), Rejection> {
        let resets = self.state.shares.iter().filter(|share| self.is_reset(share));
        let resets: BTreeSet<(AttachmentId, FeatureId, Timestamp)> =
            resets.map(|share| (share.attachment, share.feature.clone(), share.period_start)).collect();
        for (attachment, feature, start) in resets {
            self.end_before_reset(attachment, &feature, start)?;
        }
        Ok(())
    }

    /// Was it given as a whole new allowance?
    fn is_reset(&self, share: &Share) -> bool {
        let terms = self.attachment(share.attachment).and_then(|known| self.terms_of(known));
        share.step.changed_at.is_some() && terms.is_some_and(|plan| plan.upgrade == Upgrade::FullReset)
    }

    /// What was given of a feature for the time from a new period's start on, by the newest periods of the plans whose rest
    /// its invoice credits: that is not given twice, however often periods begin anew (rule 15).
    fn runs_into(&self, paid: &PlanPaid, feature: &FeatureId, start: Timestamp) -> Result<Credits, Rejection> {
        let of_subscription = self.attachments_of(&paid.subscription);
        let mates: Vec<AttachmentId> = of_subscription
            .into_iter()
            .filter(|id| self.attachment(*id).is_some_and(|known| paid.credited.contains(&known.plan)))
            .collect();
        let runs_on = |share: &&Share| {
            mates.contains(&share.attachment)
                && share.feature == *feature
                && share.period_start < start
                && share.ends_at.is_some_and(|end| end > start)
        };
        let mut sum = Credits::ZERO;
        for share in self.state.shares.iter().filter(runs_on) {
            let is_older = self.state.shares.iter().filter(runs_on).any(|other| {
                other.attachment == share.attachment
                    && other.item == share.item
                    && other.period_start > share.period_start
            });
            let Some(end) = share.ends_at.filter(|_| !is_older) else { continue };
            let level = share.step.up_to.checked_sub(share.step.above)?;
            let seconds = |from: Timestamp| end.as_second().saturating_sub(from.as_second());
            let part = super::super::reversal::share(level, seconds(start), seconds(share.period_start))?;
            sum = sum.checked_add(part)?;
        }
        Ok(sum)
    }

    /// What a period's own grant gives: all of it, or, when changes of the period were told before it, what they left;
    /// then with the part of the allowance it stands for.
    pub(super) fn own_part(
        &self,
        attachment: &Attachment,
        (plan, item): (&Plan, &Item),
        period: (Timestamp, Option<Timestamp>),
        seats: i64,
        whole: Credits,
        paid: Option<&PlanPaid>,
    ) -> Result<(Credits, Option<Step>), Rejection> {
        let ((start, Some(end)), Some(every)) = (period, item.reset) else { return Ok((whole, None)) };
        if let Some(paid) = paid.filter(|paid| !paid.credited.is_empty() && whole.is_positive()) {
            let above = level_below(plan, item, every, seats)?;
            let running = self.runs_into(paid, &item.feature, start)?.checked_sub(above)?.max(Credits::ZERO);
            let left = whole.checked_sub(running)?.max(Credits::ZERO);
            let step = Step { changed_at: None, above: Credits::ZERO, up_to: whole };
            return Ok((left, Some(step).filter(|_| left < whole)));
        }
        let known = self.known_shares(attachment.id, &[], &item.feature, start);
        let parts = known.iter().filter(|share| share.step.changed_at.is_some() && !self.is_reset(share));
        let bands: Vec<Band> = parts.filter_map(|share| band_of(share, start)).collect();
        if bands.is_empty() || !whole.is_positive() {
            return Ok((whole, None));
        }
        let above = level_below(plan, item, every, seats)?;
        let up_to = above.checked_add(whole)?;
        let left = uncovered(Band { above, up_to, from: start }, &bands, PeriodSpan { start, end })?;
        // Each part is rounded for itself: together they must not round above the highest level.
        let mut room = bands.iter().map(|band| band.up_to).fold(up_to, Credits::max);
        let counted = |share: &&Share| share.step.changed_at.is_some() || share.attachment == attachment.id;
        for share in known.iter().filter(counted) {
            room = room.checked_sub(share.given)?;
        }
        let left = left.min(room.max(Credits::ZERO));
        let step = Step { changed_at: None, above, up_to };
        if left == whole { Ok((whole, None)) } else { Ok((left, Some(step))) }
    }

    fn make_share(&mut self, of: &Changed<'_>, quantity: Credits, step: Step) -> Result<GrantId, Rejection> {
        let Changed { change, to, attachment, plan, item, span, .. } = of;
        // Paid with a later invoice, it can be spent in the period of that invoice.
        let late = change.paid_at >= span.end;
        let end = match item.reset.filter(|_| late) {
            Some(every) => {
                let grid = if attachment.anchor > span.start { span.start } else { attachment.anchor };
                period::containing(grid, &item.anchor, every, change.paid_at)?.end
            }
            None => span.end,
        };
        let place = self.place_of(attachment.id, &[]);
        let awaited = self.is_awaited(&place, end) && !self.is_succeeded(&place, &item.feature, span.start);
        let fee_interval = fee_interval(plan, to.stripe_price.as_deref());
        let carries = plan.items.iter().find(|other| other.included.is_some() && other.reset == fee_interval);
        let money =
            if carries.is_some_and(|first| first.id == item.id) { to.money.clone() } else { GrantMoney::default() };
        let wallet = self.wallet_for(&WalletRef::Default, &item.feature)?;
        self.make_grant(
            grants::Plan {
                wallet,
                entity: attachment.entity.clone(),
                category: Category::Plan,
                priority: item.priority,
                quantity,
                unlimited: false,
                starts_at: change.changed_at.max(span.start),
                expires_at: Some(end),
                grace: awaited.then(|| jiff::SignedDuration::from_hours(RENEWAL_GRACE_HOURS)),
                period: Some(Period { attachment: attachment.id, item: item.id.clone(), start: span.start }),
            },
            Origin {
                payment: change.payment,
                plan: Some((attachment.plan.clone(), attachment.plan_version)),
                money: GrantMoney { basis_minor: basis(plan, &money), ..money },
                revenue: revenue_of(plan),
                stripe_price: to.stripe_price.clone(),
                stripe_line: to.stripe_line.clone(),
                metadata: change.metadata.clone(),
                step: Some(step),
                ..Origin::default()
            },
        )
    }
}

/// The level at which an item's own part of its plan's allowance begins: what the items before it give of its feature.
fn level_below(plan: &Plan, item: &Item, every: Interval, seats: i64) -> Result<Credits, Rejection> {
    let earlier = plan.items.split(|known| known.id == item.id).next().unwrap_or_default();
    level(earlier, &item.feature, every, seats)
}

/// What items give of one feature each period, for so many seats.
fn level(items: &[Item], feature: &FeatureId, every: Interval, seats: i64) -> Result<Credits, Rejection> {
    let mut sum = Credits::ZERO;
    for item in items.iter().filter(|item| item.feature == *feature && item.reset == Some(every)) {
        sum = sum.checked_add(times(item.included.unwrap_or(Credits::ZERO), seats)?)?;
    }
    Ok(sum)
}

/// The item's period that contains the change. Where Stripe counts anew since, it is the one that the line ended.
fn span(
    attachment: &Attachment,
    item: &Item,
    every: Interval,
    change: &PlanChanged,
) -> Result<Option<PeriodSpan>, Rejection> {
    let mut anchor = attachment.anchor;
    if anchor > change.changed_at {
        anchor = period::before(change.period_end, every)?;
    }
    let span = period::containing(anchor, &item.anchor, every, change.changed_at)?;
    Ok(Some(span).filter(|span| span.start <= change.changed_at && change.changed_at < span.end))
}

fn band_of(share: &Share, start: Timestamp) -> Option<Band> {
    let band = Band { above: share.step.above, up_to: share.step.up_to, from: share.step.changed_at.unwrap_or(start) };
    (band.up_to > band.above).then_some(band)
}

/// Known grants of one period as rectangles, and what they gave together. The own grants of one attachment's items lie on
/// top of one another.
fn bands(known: &[Share], start: Timestamp) -> Result<(Vec<Band>, Credits), Rejection> {
    let mut bands = Vec::new();
    let mut given = Credits::ZERO;
    let mut own: std::collections::BTreeMap<AttachmentId, Credits> = std::collections::BTreeMap::new();
    for share in known {
        given = given.checked_add(share.given)?;
        if share.step.changed_at.is_some() {
            bands.extend(band_of(share, start));
        } else {
            let sum = own.entry(share.attachment).or_default();
            *sum = sum.checked_add(share.step.up_to.checked_sub(share.step.above)?)?;
        }
    }
    bands.extend(own.into_values().filter(|sum| sum.is_positive()).map(|sum| Band {
        above: Credits::ZERO,
        up_to: sum,
        from: start,
    }));
    Ok((bands, given))
}
