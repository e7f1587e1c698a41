//! Plans: attaching them, ending them, and what their items give each period.

use jiff::{SignedDuration, Timestamp};

use super::super::account::{AccountLife, Line};
use super::super::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use super::super::catalog::{Interval, Item, Plan, PlanId, RevenuePolicy};
use super::super::command::{Decision, Outcome, PlanPaid, Rejection, WalletRef};
use super::super::credits::{AmountError, Credits};
use super::super::entry::{EntryKind, Source};
use super::super::grant::{Category, Grant, GrantMoney, Origin, Period};
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
        for (plan, _) in catalog.catalog.plans.iter().filter(|(_, plan)| plan.auto_enable) {
            self.attach_automatic(plan, self.context.now)?;
        }
        self.state.life = AccountLife::Open;
        self.changes.head_changed = true;
        Ok(Decision::Applied(Outcome::Opened))
    }

    pub(super) fn current_version(&self, plan: &PlanId) -> Result<i32, Rejection> {
        self.context.catalog.plan_versions.get(plan).copied().ok_or_else(|| Rejection::UnknownPlan(plan.clone()))
    }

    pub(super) fn attachment(&self, id: AttachmentId) -> Option<&Attachment> {
        self.state.attachments.iter().find(|known| known.id == id)
    }

    pub(super) fn attachment_mut(&mut self, id: AttachmentId) -> Option<&mut Attachment> {
        self.changes.touched_attachments.insert(id);
        self.state.attachments.iter_mut().find(|known| known.id == id)
    }

    pub(super) fn attach(&mut self, attachment: Attachment) -> AttachmentId {
        let id = attachment.id;
        self.changes.attachments.push(attachment.clone());
        self.state.attachments.push(attachment);
        id
    }

    /// A plan without a price in its current version, from then on, for the customer as a whole.
    pub(super) fn begun(
        &mut self,
        plan: &PlanId,
        origin: AttachmentOrigin,
        from: Timestamp,
    ) -> Result<Attachment, Rejection> {
        Ok(Attachment {
            id: AttachmentId::from_uuid(self.ids.fresh()),
            plan: plan.clone(),
            plan_version: self.current_version(plan)?,
            state: AttachmentState::Active,
            origin,
            entity: String::new(),
            quantity: 1,
            anchor: from,
            paid_through: None,
            started_at: from,
            trial_ends_at: None,
            cancel_at: None,
            ended_at: None,
            seen_at: None,
            is_final: false,
            changed_at: None,
            past_due_since: None,
            paid_by: None,
            grants_ended_at: None,
        })
    }

    /// Attaches a plan everyone gets, from `at` on, which may lie in the past: then with the period it began with and
    /// the one that runs now.
    fn attach_automatic(&mut self, plan: &PlanId, at: Timestamp) -> Result<AttachmentId, Rejection> {
        let attachment = self.begun(plan, AttachmentOrigin::Auto, at)?;
        let id = self.attach(attachment);
        self.give(id, at, None)?;
        self.renew(id)?;
        Ok(id)
    }

    /// The group whose plans exclude an attachment's.
    pub(super) fn group_of(&self, known: &Attachment) -> Option<&str> {
        self.context.catalog.group_of(known)
    }

    /// Attachments of other plans that exclude this one, over or not.
    pub(super) fn group_mates(&self, of: &Attachment) -> Vec<Attachment> {
        let Some(group) = self.group_of(of) else { return Vec::new() };
        let is_mate = |known: &&Attachment| {
            known.plan != of.plan && known.entity == of.entity && self.group_of(known) == Some(group)
        };
        self.state.attachments.iter().filter(is_mate).cloned().collect()
    }

    /// Those of them that are in force.
    pub(super) fn mates(&self, of: &Attachment) -> Vec<Attachment> {
        self.group_mates(of).into_iter().filter(Attachment::is_live).collect()
    }

    /// Plans of one group exclude each other: the one that began last stays, whichever payment is worked on first. What
    /// another subscription replaced loses its period grants; a change inside one subscription keeps them (rule 16).
    pub(super) fn make_room_for(&mut self, id: AttachmentId) -> Result<(), Rejection> {
        let Some(new) = self.attachment(id).cloned() else { return Ok(()) };
        for other in self.mates(&new) {
            let inside = other.origin.subscription() == new.origin.subscription();
            if inside && other.seen_at.is_some_and(|seen| new.seen_at.is_some() || seen >= new.started_at) {
                // What a subscription has among its items is told by views of it.
                continue;
            }
            if replaces(&new, &other) {
                self.end_attachment(other.id, new.started_at.max(other.started_at), !inside)?;
            } else if other.is_paid() {
                return self.end_attachment(id, other.started_at.max(new.started_at), !inside);
            }
        }
        Ok(())
    }

    /// What everyone gets comes back when the plan that took its place is over: from then on, and until the next one
    /// that took it, which may have been worked on before.
    pub(super) fn resume_automatic(&mut self, after: &Attachment, at: Timestamp) -> Result<(), Rejection> {
        let Some(group) = self.group_of(after).map(str::to_owned) else { return Ok(()) };
        let in_group = |known: &&Attachment| {
            self.group_of(known) == Some(group.as_str())
                && known.entity == after.entity
                && known.state != AttachmentState::Scheduled
                && (known.paid_through.is_none() || known.is_paid())
        };
        let held = |known: &Attachment| known.started_at <= at && known.ended_at.is_none_or(|ended| ended > at);
        if self.state.attachments.iter().filter(in_group).any(held) {
            return Ok(());
        }
        // Stripe's times are whole seconds, ours are not: what was over as it began took nobody's place.
        let lasted = |known: &&Attachment| known.ended_at.is_none_or(|ended| ended > known.started_at);
        let later = self.state.attachments.iter().filter(in_group).filter(lasted).map(|known| known.started_at);
        let until = later.filter(|started| *started > at).min();
        // Everyone gets a plan once, not once for each seat.
        if self.start_scheduled(after, at)? || !after.entity.is_empty() {
            return Ok(());
        }
        let catalog = self.context.catalog;
        let automatic = catalog.catalog.plans.iter().filter(|(_, plan)| plan.auto_enable && !plan.add_on);
        for (plan, _) in automatic.filter(|(_, plan)| plan.group.as_deref() == Some(group.as_str())) {
            let id = self.attach_automatic(plan, at)?;
            if let Some(until) = until {
                self.end_attachment(id, until, true)?;
            }
        }
        Ok(())
    }

    /// Ends an attachment, and the unspent part of its period grants when they go with it. Nothing renews it any more, so
    /// no grace is left either.
    pub(super) fn end_attachment(
        &mut self,
        id: AttachmentId,
        at: Timestamp,
        with_grants: bool,
    ) -> Result<(), Rejection> {
        if let Some(known) = self.attachment_mut(id) {
            known.state = AttachmentState::Ended;
            known.ended_at = Some(at);
            known.grants_ended_at = None;
        }
        self.regrace(id)?;
        if !with_grants {
            return Ok(());
        }
        // What it replaced inside its subscription kept its grants for as long as this one is there.
        for member in self.place_of(id, &[]) {
            if member == id || self.attachment(member).is_some_and(|known| !known.is_live()) {
                self.end_grants(member, at)?;
            }
        }
        Ok(())
    }

    /// Takes back what is unspent of an attachment's running periods; one-off grants stay (rule 16).
    pub(super) fn end_grants(&mut self, id: AttachmentId, at: Timestamp) -> Result<(), Rejection> {
        if let Some(known) = self.attachment_mut(id) {
            known.grants_ended_at = Some(at);
        }
        let Some(known) = self.attachment(id) else { return Ok(()) };
        let ended: Vec<GrantId> = self.grants_that_end_with(known, at).map(|grant| grant.id).collect();
        self.end_free(&ended, at)
    }

    /// What came free or came back of grants that had ended with their plan by then is gone with it: a hold or a return
    /// does not bring the plan's credits back.
    pub(super) fn end_what_came_free(&mut self, at: Timestamp) -> Result<(), Rejection> {
        let mut late: Vec<GrantId> = Vec::new();
        for known in self.state.attachments.iter().filter(|known| known.ended_at.is_some()) {
            let Some(ended) = known.grants_ended_at else { continue };
            // A period that began later was paid later, and is not of what ended.
            let began = |grant: &&Grant| grant.period.as_ref().is_some_and(|period| period.start <= ended);
            late.extend(self.grants_that_end_with(known, ended).filter(began).map(|grant| grant.id));
        }
        self.end_free(&late, at)?;
        self.end_before_resets()
    }

    /// An attachment's renewing grants that would have gone on after a time.
    fn grants_that_end_with(&self, known: &Attachment, at: Timestamp) -> impl Iterator<Item = &Grant> {
        let items = self.terms_of(known).map(|plan| plan.items.as_slice()).unwrap_or_default();
        let renews = |name: &str| items.iter().any(|item| item.id == name && item.reset.is_some());
        let id = known.id;
        let of_it = move |grant: &&Grant| grant.period.as_ref().is_some_and(|p| p.attachment == id && renews(&p.item));
        let goes_on = move |grant: &&Grant| grant.expires_at.is_some_and(|end| end > at);
        self.state.grants.iter().filter(of_it).filter(goes_on)
    }

    fn end_free(&mut self, grants: &[GrantId], at: Timestamp) -> Result<(), Rejection> {
        for id in grants {
            if let Some(grant) = self.state.grant(*id).filter(|grant| grant.free().is_positive()) {
                self.book(Line::of(grant, EntryKind::End, grant.free().negated()).at(at))?;
            }
        }
        Ok(())
    }

    /// Grants what each item of an attachment has due now, each period once (rule 13).
    pub(super) fn renew(&mut self, id: AttachmentId) -> Result<Vec<GrantId>, Rejection> {
        self.renew_all(&[id])
    }

    /// Grants each item's period that contains `moment`: by the clock while it is covered, or because it was paid, late
    /// or not.
    pub(super) fn give(
        &mut self,
        id: AttachmentId,
        moment: Timestamp,
        paid: Option<&PlanPaid>,
    ) -> Result<Vec<GrantId>, Rejection> {
        let Some(attachment) = self.attachment(id).cloned() else { return Ok(Vec::new()) };
        let terms = self.context.catalog.terms_of(&attachment);
        let Some(plan) = terms else { return Err(Rejection::UnknownPlan(attachment.plan)) };
        let mut given = Vec::new();
        for item in &plan.items {
            if let Some(grant) = self.give_item(&attachment, plan, item, moment, paid)? {
                given.push(grant);
            }
        }
        Ok(given)
    }

    pub(super) fn give_item(
        &mut self,
        attachment: &Attachment,
        plan: &Plan,
        item: &Item,
        moment: Timestamp,
        paid: Option<&PlanPaid>,
    ) -> Result<Option<GrantId>, Rejection> {
        let trial = paid.is_some_and(|paid| paid.is_trial);
        let included = if trial { item.trial_included.or(item.included) } else { item.included };
        if (included.is_none() && !item.unlimited) || (trial && item.reset.is_none()) {
            return Ok(None);
        }
        let (start, end) = span(attachment, item, moment, paid)?;
        let key = (attachment.id, item.id.clone());
        let newest = self.state.renewed.get(&key).map(|(newest, _)| *newest);
        let given = (attachment.id, item.id.clone(), start);
        let done = match (item.reset, paid) {
            (None, _) => newest.is_some() || self.was_given_before(attachment, plan, item),
            (Some(_), None) => newest.is_some_and(|newest| newest >= start) || !attachment.covers(start),
            (Some(_), Some(_)) => newest == Some(start) || self.state.given.contains_key(&given),
        };
        if done || (item.reset.is_none() && paid.is_none() && !attachment.covers(start)) {
            return Ok(None);
        }
        let is_newest = newest.is_none_or(|newest| newest < start);
        let wallet = self.wallet_for(&WalletRef::Default, &item.feature)?;
        if is_newest {
            self.roll_before(attachment, plan, item, start)?;
            self.succeed(attachment.id, &item.feature, start)?;
        }
        let count = paid.map_or(attachment.quantity, |paid| paid.quantity);
        let whole = times(included.unwrap_or(Credits::ZERO), count)?;
        let (quantity, part) = self.own_part(attachment, (plan, item), (start, end), count, whole, paid)?;
        let awaited = is_newest && item.reset.is_some() && end.is_some_and(|end| attachment.awaits_renewal(end));
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
                grace: awaited.then(|| SignedDuration::from_hours(RENEWAL_GRACE_HOURS)),
                period: Some(Period { attachment: attachment.id, item: item.id.clone(), start }),
            },
            Origin { step: part, ..period_origin(attachment, plan, item, paid, start) },
        )?;
        if is_newest {
            self.state.renewed.insert(key, (start, grant));
        }
        self.state.given.insert(given, grant);
        self.end_before_reset(attachment.id, &item.feature, start)?;
        Ok(Some(grant))
    }

    /// What a plan without a price gives once stays when the plan is left (rule 16): it is not given again to who comes
    /// back. An add-on takes nobody's place, and what has a price is paid for each time.
    fn was_given_before(&self, attachment: &Attachment, plan: &Plan, item: &Item) -> bool {
        let is_the_same = |other: &&Attachment| {
            other.id != attachment.id && other.plan == attachment.plan && other.entity == attachment.entity
        };
        let mut earlier = self.state.attachments.iter().filter(is_the_same);
        plan.prices.is_empty()
            && !plan.add_on
            && attachment.paid_through.is_none()
            && earlier.any(|other| self.state.renewed.contains_key(&(other.id, item.id.clone())))
    }
}

/// Does `new` take the place of `other`? A paid plan takes that of one without price; of two with prices the one that
/// began later wins, so that no order of events decides.
pub(super) fn replaces(new: &Attachment, other: &Attachment) -> bool {
    let rank = |one: &Attachment| (one.started_at, one.origin.subscription().map(str::to_owned));
    other.paid_through.is_none() || rank(other) <= rank(new)
}

/// The period of an item that contains `moment`.
fn span(
    attachment: &Attachment,
    item: &Item,
    moment: Timestamp,
    paid: Option<&PlanPaid>,
) -> Result<(Timestamp, Option<Timestamp>), Rejection> {
    let Some(every) = item.reset else {
        let start = attachment.anchor;
        return Ok((start, period::expiry(start, item.expires_after)?));
    };
    match paid {
        Some(paid) if paid.is_trial => Ok((paid.period_start, Some(paid.period_end))),
        // A first period that is shorter than the others ends where they begin.
        Some(paid) if paid.period_start < attachment.anchor => {
            let first = period::containing(paid.period_start, &item.anchor, every, paid.period_start)?;
            Ok((first.start, Some(first.end.min(paid.period_end))))
        }
        Some(_) | None => {
            let span = period::containing(attachment.anchor, &item.anchor, every, moment)?;
            Ok((span.start, Some(span.end)))
        }
    }
}

pub(super) fn times(amount: Credits, count: i64) -> Result<Credits, Rejection> {
    let nanos = amount.nanos().checked_mul(i128::from(count)).ok_or(AmountError::TooLarge)?;
    Ok(Credits::from_nanos(nanos)?)
}

/// The story of a period's grant. The fee goes onto the first item that renews as often as the price is paid: other
/// items of the plan, and the later months of an annual price, carry no money of their own.
fn period_origin(
    attachment: &Attachment,
    plan: &Plan,
    item: &Item,
    paid: Option<&PlanPaid>,
    start: Timestamp,
) -> Origin {
    let version = Some((attachment.plan.clone(), attachment.plan_version));
    let Some(paid) = paid else {
        let payment = attachment.paid_by.filter(|(_, from)| start >= *from).map(|(payment, _)| payment);
        return Origin { payment, plan: version, revenue: revenue_of(plan), ..Origin::default() };
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

pub(super) fn revenue_of(plan: &Plan) -> Option<RevenuePolicy> {
    (!plan.prices.is_empty()).then_some(plan.revenue)
}

pub(super) fn fee_interval(plan: &Plan, stripe_price: Option<&str>) -> Option<Interval> {
    let is_it = |price: &&super::super::catalog::Price| {
        stripe_price.is_some_and(|id| price.stripe_price.as_deref() == Some(id) || price.also.iter().any(|a| a == id))
    };
    plan.prices.iter().find(is_it).or_else(|| plan.prices.first()).and_then(|price| price.every)
}

/// What is deferred on the credits: the net fee where all of it is for credits, nothing where time earns it; what
/// `allocate` defers needs standalone prices and is left to the finance reports.
pub(super) fn basis(plan: &Plan, money: &GrantMoney) -> Option<i64> {
    let paid = money.paid?;
    match plan.revenue {
        RevenuePolicy::Credits => paid.minor().checked_sub(money.tax_minor.unwrap_or(0)),
        RevenuePolicy::OverTime => Some(0),
        RevenuePolicy::Allocate | RevenuePolicy::External => None,
    }
}
