//! Plans: attaching what everyone gets, and what a paid subscription brings.

use jiff::{SignedDuration, Timestamp};

use super::super::account::{AccountLife, Line};
use super::super::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use super::super::catalog::{Interval, IntervalUnit, Item, Plan, PlanId, ResetAnchor, RevenuePolicy};
use super::super::command::{Decision, Outcome, PlanPaid, Rejection, WalletRef};
use super::super::credits::{AmountError, Credits};
use super::super::entry::{EntryKind, Source};
use super::super::grant::{Category, GrantMoney, Origin, Period};
use super::super::ids::{AttachmentId, GrantId};
use super::super::period;
use super::{Draft, RENEWAL_GRACE_HOURS, grants};

impl Draft<'_> {
    pub(super) fn open(&mut self) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        if self.state.life == AccountLife::Open {
            return Ok(Decision::AlreadyApplied(Outcome::Opened));
        }
        let catalog = self.context.catalog;
        let automatic = catalog.catalog.plans.iter().filter(|(_, plan)| plan.auto_enable);
        for (id, _) in automatic {
            let attachment = Attachment {
                id: AttachmentId::from_uuid(self.ids.fresh()),
                plan: id.clone(),
                plan_version: self.current_version(id)?,
                state: AttachmentState::Active,
                origin: AttachmentOrigin::Auto,
                entity: String::new(),
                quantity: 1,
                anchor: self.context.now,
                paid_through: None,
                started_at: self.context.now,
                cancel_at: None,
                ended_at: None,
            };
            let attached = attachment.id;
            self.changes.attachments.push(attachment.clone());
            self.state.attachments.push(attachment);
            self.renew(attached, None)?;
        }
        self.state.life = AccountLife::Open;
        self.changes.head_changed = true;
        Ok(Decision::Applied(Outcome::Opened))
    }

    fn current_version(&self, plan: &PlanId) -> Result<i32, Rejection> {
        self.context.catalog.plan_versions.get(plan).copied().ok_or_else(|| Rejection::UnknownPlan(plan.clone()))
    }

    pub(super) fn plan_paid(&mut self, paid: &PlanPaid) -> Result<Decision, Rejection> {
        self.source = Source::Plan;
        let found = self
            .state
            .attachments
            .iter()
            .find(|known| known.plan == paid.plan && known.origin.subscription() == Some(paid.subscription.as_str()))
            .map(|known| known.id);
        let successor = self.successor_of(paid);
        if successor.is_none() && found.is_none_or(|id| self.was_left_before(id, paid)) {
            self.make_room_for(&paid.plan, &paid.subscription)?;
        }
        let (attachment, mut changed, late) = match found {
            Some(id) if self.was_left_before(id, paid) => (self.take_up_again(id, paid)?, true, successor),
            Some(id) => (id, self.extend(id, paid)?, None),
            None => (self.attach_paid(paid)?, true, successor),
        };
        let grants = self.renew(attachment, Some(paid))?;
        if let Some((began, same_subscription)) = late {
            self.end_attachment(attachment, began, !same_subscription)?;
        }
        changed |= !grants.is_empty();
        if changed {
            return Ok(Decision::Applied(Outcome::PlanPaid { attachment, grants }));
        }
        let known = self.state.renewed.iter().filter(|((id, _), _)| *id == attachment).map(|(_, (_, grant))| *grant);
        let grants = known.collect();
        Ok(Decision::AlreadyApplied(Outcome::PlanPaid { attachment, grants }))
    }

    /// Had the subscription left this plan before the paid period began? Then it has come back to it.
    fn was_left_before(&self, id: AttachmentId, paid: &PlanPaid) -> bool {
        let known = self.state.attachments.iter().find(|known| known.id == id);
        known.and_then(|known| known.ended_at).is_some_and(|ended| paid.period_end > ended)
            && known.and_then(|known| known.paid_through).is_none_or(|through| paid.period_end > through)
    }

    /// When the plan began that has replaced this one since, if one has, and whether the same subscription pays for it:
    /// an invoice that is told late ends with what came after it, as if both had been told in order.
    fn successor_of(&self, paid: &PlanPaid) -> Option<(Timestamp, bool)> {
        let rivals = self.rivals_of(&paid.plan).into_iter();
        let newer = rivals.filter(|known| known.origin.subscription().is_some() && known.anchor > paid.period_start);
        let first = newer.min_by_key(|known| known.anchor)?;
        Some((first.anchor, first.origin.subscription() == Some(paid.subscription.as_str())))
    }

    /// A plan the subscription comes back to goes on under its old id, counted from the period that was paid.
    fn take_up_again(&mut self, id: AttachmentId, paid: &PlanPaid) -> Result<AttachmentId, Rejection> {
        let plan_version = self.current_version(&paid.plan)?;
        if let Some(known) = self.state.attachments.iter_mut().find(|known| known.id == id) {
            known.state = AttachmentState::Active;
            known.plan_version = plan_version;
            known.quantity = paid.quantity;
            known.anchor = paid.period_start;
            known.paid_through = Some(paid.period_end);
            known.cancel_at = None;
            known.ended_at = None;
            self.changes.touched_attachments.insert(id);
        }
        Ok(id)
    }

    /// `paid_through` only moves forward, and the seats are those last paid for; an ended attachment stays ended.
    fn extend(&mut self, id: AttachmentId, paid: &PlanPaid) -> Result<bool, Rejection> {
        let counts_anew = self.is_off_the_grid(id, paid)?;
        let Some(known) = self.state.attachments.iter_mut().find(|known| known.id == id) else { return Ok(false) };
        if known.paid_through.is_some_and(|through| through >= paid.period_end) {
            return Ok(false);
        }
        // Stripe counts anew after a trial: later periods are counted from the first one it did so for (rule 13).
        if counts_anew && known.is_live() && known.paid_through.is_none_or(|through| through <= paid.period_start) {
            known.anchor = paid.period_start;
        }
        known.paid_through = Some(paid.period_end);
        known.quantity = paid.quantity;
        if matches!(known.state, AttachmentState::PastDue | AttachmentState::Trialing) {
            known.state = AttachmentState::Active;
        }
        self.changes.touched_attachments.insert(id);
        Ok(true)
    }

    /// Does the paid period begin where no period counted from the anchor does, by the month or by the price's interval?
    fn is_off_the_grid(&self, id: AttachmentId, paid: &PlanPaid) -> Result<bool, Rejection> {
        let Some(known) = self.state.attachments.iter().find(|known| known.id == id) else { return Ok(false) };
        let terms = self.context.catalog.terms.get(&(known.plan.clone(), known.plan_version));
        let month = Interval { unit: IntervalUnit::Month, count: 1 };
        let fee = terms.and_then(|plan| fee_interval(plan, paid.stripe_price.as_deref()));
        for every in [Some(month), fee].into_iter().flatten() {
            let span = period::containing(known.anchor, &ResetAnchor::Anniversary, every, paid.period_start)?;
            if span.start == paid.period_start {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn attach_paid(&mut self, paid: &PlanPaid) -> Result<AttachmentId, Rejection> {
        let plan_version = self.current_version(&paid.plan)?;
        let attachment = Attachment {
            id: AttachmentId::from_uuid(self.ids.fresh()),
            plan: paid.plan.clone(),
            plan_version,
            state: AttachmentState::Active,
            origin: AttachmentOrigin::Stripe { subscription: paid.subscription.clone() },
            entity: String::new(),
            quantity: paid.quantity,
            anchor: paid.period_start,
            paid_through: Some(paid.period_end),
            started_at: paid.period_start,
            cancel_at: None,
            ended_at: None,
        };
        let id = attachment.id;
        self.changes.attachments.push(attachment.clone());
        self.state.attachments.push(attachment);
        Ok(id)
    }

    /// Plans of one group exclude each other: a new one ends the others, and with them the period grants they gave,
    /// unless the change happens inside one subscription (rule 16).
    fn make_room_for(&mut self, plan: &PlanId, subscription: &str) -> Result<(), Rejection> {
        let others: Vec<(AttachmentId, bool)> = self
            .rivals_of(plan)
            .into_iter()
            .map(|known| (known.id, known.origin.subscription() == Some(subscription)))
            .collect();
        for (other, same_subscription) in others {
            self.end_attachment(other, self.context.now, !same_subscription)?;
        }
        Ok(())
    }

    /// The plans in force that exclude this one. A plan that the catalogue dropped keeps the group its terms say.
    fn rivals_of(&self, plan: &PlanId) -> Vec<&Attachment> {
        let version = self.context.catalog;
        let Some(wanted) = version.catalog.plans.get(plan).filter(|wanted| !wanted.add_on) else { return Vec::new() };
        let Some(group) = wanted.group.as_ref() else { return Vec::new() };
        let group_of = |known: &Attachment| {
            let pinned = || version.terms.get(&(known.plan.clone(), known.plan_version));
            version.catalog.plans.get(&known.plan).or_else(pinned).and_then(|terms| terms.group.as_ref())
        };
        let excluded = |known: &&Attachment| known.is_live() && known.plan != *plan && group_of(known) == Some(group);
        self.state.attachments.iter().filter(excluded).collect()
    }

    /// Ends an attachment, and the unspent part of its period grants when they go with it.
    pub(super) fn end_attachment(
        &mut self,
        id: AttachmentId,
        at: Timestamp,
        with_grants: bool,
    ) -> Result<(), Rejection> {
        if let Some(known) = self.state.attachments.iter_mut().find(|known| known.id == id) {
            known.state = AttachmentState::Ended;
            known.ended_at = Some(at);
            self.changes.touched_attachments.insert(id);
        }
        if !with_grants {
            return Ok(());
        }
        let of_it = |grant: &&super::super::grant::Grant| {
            grant.expires_at.is_some() && grant.period.as_ref().is_some_and(|period| period.attachment == id)
        };
        let lines: Vec<Line> = self
            .state
            .grants
            .iter()
            .filter(of_it)
            .filter(|grant| grant.free().is_positive())
            .map(|grant| Line::of(grant, EntryKind::End, grant.free().negated()).at(at))
            .collect();
        for line in lines {
            self.book(line)?;
        }
        Ok(())
    }

    /// Grants what each item of an attachment has due now, each period once (rule 13).
    pub(super) fn renew(&mut self, id: AttachmentId, paid: Option<&PlanPaid>) -> Result<Vec<GrantId>, Rejection> {
        let Some(attachment) = self.state.attachments.iter().find(|known| known.id == id).cloned() else {
            return Ok(Vec::new());
        };
        let terms = self.context.catalog.terms.get(&(attachment.plan.clone(), attachment.plan_version));
        let Some(plan) = terms else { return Err(Rejection::UnknownPlan(attachment.plan)) };
        let mut given = Vec::new();
        for item in &plan.items {
            if let Some(grant) = self.renew_item(&attachment, plan, item, paid)? {
                given.push(grant);
            }
        }
        Ok(given)
    }

    fn renew_item(
        &mut self,
        attachment: &Attachment,
        plan: &Plan,
        item: &Item,
        paid: Option<&PlanPaid>,
    ) -> Result<Option<GrantId>, Rejection> {
        if item.included.is_none() && !item.unlimited {
            return Ok(None);
        }
        let (start, end) = match item.reset {
            Some(every) => {
                let span = period::containing(attachment.anchor, &item.anchor, every, self.context.now)?;
                (span.start, Some(span.end))
            }
            None => (attachment.anchor, period::expiry(attachment.anchor, item.expires_after)?),
        };
        let key = (attachment.id, item.id.clone());
        // What does not renew comes once with its attachment, whatever moves the anchor.
        let done = self.state.renewed.get(&key).is_some_and(|(newest, _)| item.reset.is_none() || *newest >= start);
        if done || !attachment.covers(start) {
            return Ok(None);
        }
        let priced = attachment.paid_through.is_some() && item.reset.is_some();
        let wallet = self.wallet_for(&WalletRef::Default, &item.feature)?;
        self.succeed(attachment.id, &item.id)?;
        let quantity = times(item.included.unwrap_or(Credits::ZERO), attachment.quantity)?;
        let grant = self.make_grant(
            grants::Plan {
                wallet,
                entity: attachment.entity.clone(),
                category: Category::Plan,
                priority: item.priority,
                quantity: if item.unlimited { Credits::ZERO } else { quantity },
                unlimited: item.unlimited,
                starts_at: start,
                expires_at: end,
                grace: priced.then(|| SignedDuration::from_hours(RENEWAL_GRACE_HOURS)),
                period: Some(Period { attachment: attachment.id, item: item.id.clone(), start }),
            },
            period_origin(attachment, plan, item, paid),
        )?;
        self.state.renewed.insert(key, (start, grant));
        Ok(Some(grant))
    }

    /// The successor is here: its predecessors lose their grace, and what is past its end expires.
    fn succeed(&mut self, attachment: AttachmentId, item: &str) -> Result<(), Rejection> {
        let mut older = Vec::new();
        for grant in &mut self.state.grants {
            let same = grant.period.as_ref().is_some_and(|p| p.attachment == attachment && p.item == item);
            if same && grant.grace_ends_at.take().is_some() {
                older.push(grant.id);
            }
        }
        self.changes.touched_grants.extend(older);
        self.expire_ended_grants()
    }
}

fn times(amount: Credits, count: i64) -> Result<Credits, Rejection> {
    let nanos = amount.nanos().checked_mul(i128::from(count)).ok_or(AmountError::TooLarge)?;
    Ok(Credits::from_nanos(nanos)?)
}

/// The story of a period's grant. The fee goes onto the first item that renews as often as the price is paid: other
/// items of the plan, and the later months of an annual price, carry no money of their own.
fn period_origin(attachment: &Attachment, plan: &Plan, item: &Item, paid: Option<&PlanPaid>) -> Origin {
    let version = Some((attachment.plan.clone(), attachment.plan_version));
    let Some(paid) = paid else {
        return Origin { plan: version, revenue: revenue_of(plan), ..Origin::default() };
    };
    let fee_interval = fee_interval(plan, paid.stripe_price.as_deref());
    let carries = plan.items.iter().find(|other| other.included.is_some() && other.reset == fee_interval);
    let money =
        if carries.is_some_and(|first| first.id == item.id) { paid.money.clone() } else { GrantMoney::default() };
    Origin {
        payment: paid.payment,
        plan: version,
        money: GrantMoney { basis_minor: basis(plan, &money), ..money },
        revenue: revenue_of(plan),
        stripe_price: paid.stripe_price.clone(),
        stripe_line: paid.stripe_line.clone(),
        metadata: paid.metadata.clone(),
        ..Origin::default()
    }
}

fn revenue_of(plan: &Plan) -> Option<RevenuePolicy> {
    (!plan.prices.is_empty()).then_some(plan.revenue)
}

fn fee_interval(plan: &Plan, stripe_price: Option<&str>) -> Option<Interval> {
    let is_it = |price: &&super::super::catalog::Price| {
        stripe_price.is_some_and(|id| price.stripe_price.as_deref() == Some(id) || price.also.iter().any(|a| a == id))
    };
    plan.prices.iter().find(is_it).or_else(|| plan.prices.first()).and_then(|price| price.every)
}

/// What is deferred on the credits: the net fee where all of it is for credits, nothing where time earns it; what
/// `allocate` defers needs standalone prices and is left to the finance reports.
fn basis(plan: &Plan, money: &GrantMoney) -> Option<i64> {
    let paid = money.paid?;
    match plan.revenue {
        RevenuePolicy::Credits => paid.minor().checked_sub(money.tax_minor.unwrap_or(0)),
        RevenuePolicy::OverTime => Some(0),
        RevenuePolicy::Allocate | RevenuePolicy::External => None,
    }
}
