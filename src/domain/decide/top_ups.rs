//! Top-ups and their tries: begun, ended, paid, given up. What is said of a past that is over changes nothing.

use std::collections::btree_map::Entry;

use jiff::SignedDuration;

use super::super::account::Note;
use super::super::command::{
    Basis, BeginTry, ChargingRefusal, Decision, Outcome, Rejection, TopUpPaid, TryResult, WalletRef, pause_of,
};
use super::super::grant::{Category, GrantMoney, Origin};
use super::super::ids::{AttemptId, TopUpId};
use super::super::period;
use super::super::top_up::decline::{Class, RETRY_HOURS, Why};
use super::super::top_up::why::{is_in_force, still_wants};
use super::super::top_up::{
    Excess, FAILURES_MAX, Link, Notice, PauseReason, Rule, RuleOrigin, TopUp, TopUpState, Try, TryState,
};
use super::rules::charged;
use super::{Draft, grants};

/// Item key of the grant that a top-up's payment buys.
pub const TOP_UP_ITEM: &str = "top_up";

impl Draft<'_> {
    fn top_up(&mut self, id: TopUpId) -> Result<&mut TopUp, Rejection> {
        let found = self.state.top_ups.iter_mut().find(|top_up| top_up.id == id);
        found.ok_or(Rejection::Charging(ChargingRefusal::UnknownTopUp(id)))
    }

    fn changed(&mut self, id: TopUpId) {
        self.changes.charging.top_ups.insert(id);
    }

    fn tell(&mut self, topic: &'static str, id: TopUpId) {
        let Some(top_up) = self.state.top_ups.iter().find(|top_up| top_up.id == id) else { return };
        self.changes.charging.notices.push(Notice::of(topic, top_up));
    }

    /// Writes a try down before it is sent: the next one, of a decision that is still wanted.
    pub(super) fn begin_try(&mut self, begin: &BeginTry) -> Result<Decision, Rejection> {
        let (id, now) = (begin.top_up, self.context.now);
        if begin.number > 1 && !self.is_still_wanted(id)? {
            self.end_unpaid(id, TopUpState::Dropped, "not_needed")?;
            return Ok(charged(Some(id)));
        }
        let top_up = self.top_up(id)?;
        if top_up.state != TopUpState::Open || top_up.tries.checked_add(1) != Some(begin.number) {
            return Err(ChargingRefusal::MovedOn(id).into());
        }
        // What waited for another day, and was called sooner by news of a card, waits on unless that card is another one.
        if let Some(last) = top_up.last_try.as_ref().filter(|last| last.payment_method == begin.payment_method) {
            let rested = last.ended_at.and_then(|end| end.checked_add(SignedDuration::from_hours(RETRY_HOURS)).ok());
            if let Some(rested) = rested.filter(|rested| now < *rested) {
                top_up.due_at = Some(rested);
                self.changed(id);
                return Ok(charged(Some(id)));
            }
        }
        top_up.state = TopUpState::Charging;
        top_up.tries = begin.number;
        top_up.due_at = Some(now);
        top_up.reason = None;
        top_up.last_try = Some(Try {
            number: begin.number,
            attempt: begin.attempt,
            state: TryState::Sent,
            customer: begin.customer.clone(),
            payment_method: begin.payment_method.clone(),
            payment_intent: None,
            invoice: None,
            why: Why::default(),
            created_at: now,
            ended_at: None,
        });
        self.changes.charging.requests.push((begin.attempt, begin.step, begin.request.clone()));
        self.changed(id);
        Ok(charged(Some(id)))
    }

    /// Does the rule still want what it decided a day ago? What was ordered by hand is wanted until it is over.
    fn is_still_wanted(&mut self, id: TopUpId) -> Result<bool, Rejection> {
        let now = self.context.now;
        let name = self.top_up(id)?.rule.clone();
        let Some(rule) = self.state.rules.iter().find(|rule| rule.name == name) else { return Ok(false) };
        Ok(match rule.origin {
            RuleOrigin::Demand => true,
            RuleOrigin::Dropped => false,
            RuleOrigin::Api | RuleOrigin::Plan => still_wants(&self.state, rule, now),
        })
    }

    pub(super) fn no_card(&mut self, id: TopUpId) -> Result<Decision, Rejection> {
        if self.top_up(id)?.state != TopUpState::Open {
            return Ok(charged(Some(id)));
        }
        self.fail(id, PauseReason::NoPaymentMethod.word())?;
        let name = self.top_up(id)?.rule.clone();
        self.pause(&name, PauseReason::NoPaymentMethod);
        Ok(charged(Some(id)))
    }

    pub(super) fn try_ended(
        &mut self,
        id: TopUpId,
        attempt: AttemptId,
        result: &TryResult,
    ) -> Result<Decision, Rejection> {
        let now = self.context.now;
        let top_up = self.top_up(id)?;
        let is_over = top_up.state.is_over();
        let Some(last) = top_up.last_try.as_mut().filter(|last| last.attempt == attempt && !last.state.is_over())
        else {
            return Ok(Decision::AlreadyApplied(Outcome::Charged { top_up: Some(id) }));
        };
        let (intent, invoice, state, why) = match result {
            TryResult::Unknown { payment_intent, invoice } => {
                (payment_intent.clone(), invoice.clone(), last.state, Why::default())
            }
            TryResult::Processing { payment_intent } => {
                (Some(payment_intent.clone()), None, TryState::Processing, Why::default())
            }
            TryResult::NeedsAction { payment_intent } => {
                (payment_intent.clone(), None, TryState::NeedsAction, Why::default())
            }
            TryResult::Declined { payment_intent, why } => {
                (payment_intent.clone(), None, TryState::Declined, why.clone())
            }
            TryResult::Refused(code) => {
                (None, None, TryState::Refused, Why { code: Some(code.clone()), ..Why::default() })
            }
            TryResult::NotDone => (None, None, TryState::NotDone, Why::default()),
        };
        let before = last.clone();
        last.payment_intent = last.payment_intent.take().or(intent);
        last.invoice = last.invoice.take().or(invoice);
        (last.state, last.why) = (state, why);
        last.ended_at = state.is_over().then_some(now);
        if *last == before {
            return Ok(Decision::AlreadyApplied(Outcome::Charged { top_up: Some(id) }));
        }
        self.changed(id);
        if !is_over {
            self.follow_try(id, result)?;
        }
        Ok(charged(Some(id)))
    }

    fn follow_try(&mut self, id: TopUpId, result: &TryResult) -> Result<(), Rejection> {
        let now = self.context.now;
        let top_up = self.top_up(id)?;
        match top_up.state {
            TopUpState::Closing => return Ok(()),
            // Told late of what the owner is asked for already: but for a bank that took it up before a page was opened,
            // the owner alone pays, and what was asked for is ended by the charger itself.
            TopUpState::NeedsAction if top_up.link.is_some() || !matches!(result, TryResult::Processing { .. }) => {
                return Ok(());
            }
            TopUpState::Open
            | TopUpState::Charging
            | TopUpState::Processing
            | TopUpState::NeedsAction
            | TopUpState::Succeeded
            | TopUpState::Failed
            | TopUpState::Dropped => {}
        }
        match result {
            TryResult::Unknown { .. } => {}
            TryResult::Processing { .. } => {
                let top_up = self.top_up(id)?;
                (top_up.state, top_up.due_at) = (TopUpState::Processing, Some(now));
            }
            TryResult::NeedsAction { .. } => self.ask_owner(id, Class::Customer)?,
            TryResult::Declined { why, .. } => {
                let class = why.class();
                let top_up = self.top_up(id)?;
                let reason = why.decline_code.clone().or_else(|| why.code.clone());
                top_up.reason = reason.or_else(|| Some(PauseReason::CardDeclined.word().to_owned()));
                if top_up.tries < class.tries_max() {
                    top_up.state = TopUpState::Open;
                    let later = now.checked_add(SignedDuration::from_hours(RETRY_HOURS));
                    top_up.due_at = Some(later.map_err(|_| period::OutOfCalendar)?);
                } else {
                    self.ask_owner(id, class)?;
                }
            }
            TryResult::Refused(code) => {
                self.fail(id, code)?;
                let name = self.top_up(id)?.rule.clone();
                let no_card = code == PauseReason::NoPaymentMethod.word();
                self.pause(&name, if no_card { PauseReason::NoPaymentMethod } else { PauseReason::Refused });
            }
            TryResult::NotDone => self.fail(id, "not_done")?,
        }
        Ok(())
    }

    /// The rule waits, and a link is to be made by which the card's owner can pay.
    fn ask_owner(&mut self, id: TopUpId, class: Class) -> Result<(), Rejection> {
        let (now, because) = (self.context.now, pause_of(class));
        let top_up = self.top_up(id)?;
        (top_up.state, top_up.due_at) = (TopUpState::NeedsAction, Some(now));
        if class == Class::Customer {
            top_up.reason = Some(because.word().to_owned());
        }
        let name = top_up.rule.clone();
        self.changed(id);
        self.pause(&name, because);
        // Nobody is asked to pay for what was switched off while it was under way.
        let is_off = |rule: &Rule| match rule.origin {
            RuleOrigin::Demand => false,
            RuleOrigin::Dropped => true,
            RuleOrigin::Api | RuleOrigin::Plan => !is_in_force(&self.state, rule),
        };
        if self.state.rules.iter().find(|rule| rule.name == name).is_none_or(is_off) {
            self.close(id, "disabled");
        }
        Ok(())
    }

    /// It came to nothing, for certain.
    fn fail(&mut self, id: TopUpId, reason: &str) -> Result<(), Rejection> {
        self.end_unpaid(id, TopUpState::Failed, reason)?;
        self.tell("top_up.failed", id);
        let name = self.top_up(id)?.rule.clone();
        let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { return Ok(()) };
        rule.failures = rule.failures.saturating_add(1);
        let too_often = rule.failures >= FAILURES_MAX;
        self.rule_changed(&name);
        if too_often {
            self.pause(&name, PauseReason::Refused);
        }
        Ok(())
    }

    /// Ends a decision that took nothing: its ceilings are free of it.
    fn end_unpaid(&mut self, id: TopUpId, state: TopUpState, reason: &str) -> Result<(), Rejection> {
        let now = self.context.now;
        let top_up = self.top_up(id)?;
        if top_up.state.is_over() {
            return Ok(());
        }
        (top_up.state, top_up.reason) = (state, Some(reason.to_owned()));
        (top_up.ended_at, top_up.due_at, top_up.link) = (Some(now), None, None);
        if let Some(last) = top_up.last_try.as_mut().filter(|last| !last.state.is_over()) {
            (last.state, last.ended_at) = (TryState::Cancelled, Some(now));
        }
        let (name, made, amount) = (top_up.rule.clone(), top_up.created_at, top_up.amount);
        self.changed(id);
        self.uncount(&name, made, amount, false);
        Ok(())
    }

    fn uncount(&mut self, name: &str, made: jiff::Timestamp, amount: super::super::money::Money, counts: bool) {
        let now = self.context.now;
        let Some(rule) = self.state.rules.iter_mut().find(|rule| rule.name == name) else { return };
        rule.count(now, made, amount, counts);
        self.rule_changed(name);
    }

    /// What was paid becomes the decision's grant, also when it was given up; a second payment goes back.
    pub(super) fn top_up_paid(&mut self, paid: &TopUpPaid) -> Result<Decision, Rejection> {
        let (id, now) = (paid.top_up, self.context.now);
        let top_up = self.top_up(id)?.clone();
        let again = Decision::AlreadyApplied(Outcome::Charged { top_up: Some(id) });
        if top_up.payment == Some(paid.payment) || self.state.excess.contains(&(id, paid.payment)) {
            return Ok(again);
        }
        if top_up.payment.is_some() {
            return self.goes_back(id, paid);
        }
        if paid.net != top_up.amount {
            let (wanted, paid) = (top_up.amount, paid.net);
            return Err(ChargingRefusal::Mismatch { top_up: id, wanted, paid }.into());
        }
        self.grant_top_up(&top_up, paid)?;
        if matches!(top_up.state, TopUpState::Failed | TopUpState::Dropped) {
            self.uncount(&top_up.rule, top_up.created_at, top_up.amount, true);
        }
        let of_it = |last: &&mut Try| last.payment_intent.is_none() || last.payment_intent == paid.payment_intent;
        let known = self.top_up(id)?;
        (known.state, known.payment, known.reason) = (TopUpState::Succeeded, Some(paid.payment), None);
        (known.ended_at, known.due_at, known.link) = (Some(now), None, None);
        if let Some(last) = known.last_try.as_mut().filter(of_it) {
            (last.state, last.ended_at) = (TryState::Succeeded, Some(now));
            last.payment_intent.clone_from(&paid.payment_intent);
        }
        if let Some(last) = known.last_try.as_mut().filter(|last| !last.state.is_over()) {
            (last.state, last.ended_at) = (TryState::Cancelled, Some(now));
        }
        self.changed(id);
        self.tell("top_up.succeeded", id);
        let about_card = |rule: &&super::super::top_up::Rule| {
            rule.name == top_up.rule && rule.paused.is_none_or(|paused| paused.because.is_about_card())
        };
        if self.state.rules.iter().any(|rule| about_card(&rule)) {
            self.resume(&top_up.rule);
        }
        Ok(charged(Some(id)))
    }

    fn goes_back(&mut self, id: TopUpId, paid: &TopUpPaid) -> Result<Decision, Rejection> {
        let intent = paid.payment_intent.clone().ok_or(ChargingRefusal::CannotRefund(id))?;
        self.state.excess.insert((id, paid.payment));
        let excess = Excess { top_up: id, payment: paid.payment, payment_intent: intent, amount: paid.gross };
        self.changes.charging.excess.push(excess);
        self.tell("top_up.paid_twice", id);
        Ok(charged(Some(id)))
    }

    fn grant_top_up(&mut self, top_up: &TopUp, paid: &TopUpPaid) -> Result<(), Rejection> {
        let terms = &top_up.terms;
        let wallet = match terms.wallet {
            // A wallet closed meanwhile takes nothing: what was paid for goes to the default one, never nowhere.
            Some(wallet) if self.takes_credits(wallet) => WalletRef::Named { id: wallet, key: None },
            Some(_) | None => WalletRef::Default,
        };
        let wallet = self.wallet_for(&wallet, &terms.feature)?;
        let expires_at = match period::expiry(paid.paid_at, terms.expires_after)? {
            Some(end) => Some(end),
            None => self.default_expiry(wallet, paid.paid_at)?,
        };
        let tax = paid.gross.minor().checked_sub(paid.net.minor());
        let plan = grants::Plan {
            wallet,
            entity: String::new(),
            category: Category::Prepaid,
            priority: None,
            quantity: top_up.credits,
            unlimited: false,
            starts_at: paid.paid_at,
            expires_at,
            grace: None,
            period: None,
        };
        let version = self.context.catalog.plan_versions.get(&terms.source.plan).copied();
        let origin = Origin {
            payment: Some(paid.payment),
            item_key: Some(TOP_UP_ITEM.to_owned()),
            plan: version.map(|version| (terms.source.plan.clone(), version)),
            money: GrantMoney {
                paid: Some(paid.gross),
                tax_minor: tax,
                discount_minor: Some(0),
                basis_minor: Some(paid.net.minor()),
            },
            stripe_price: terms.stripe_price.clone(),
            stripe_line: paid.stripe_line.clone(),
            metadata: paid.metadata.clone(),
            ..Origin::default()
        };
        let grant = self.make_grant_as(top_up.grant, plan, origin)?;
        self.state.bought.insert((paid.payment, TOP_UP_ITEM.to_owned()), grant);
        if let Entry::Vacant(basis) = self.state.bases.entry(paid.payment) {
            basis.insert(Basis::Lines);
            self.changes.bases.insert(paid.payment, Basis::Lines);
        }
        if let Some(seq) = self.first {
            let reason = Some(format!("top-up {} by rule {}", top_up.id, top_up.rule));
            self.note(seq, Note { seq, reason, actor: None, metadata: std::collections::BTreeMap::new() });
        }
        Ok(())
    }

    fn takes_credits(&self, wallet: super::super::ids::WalletId) -> bool {
        self.state.wallet(wallet).is_some_and(|known| known.state != super::super::grant::WalletState::Closed)
    }

    pub(super) fn linked(&mut self, id: TopUpId, link: &Link) -> Result<Decision, Rejection> {
        let now = self.context.now;
        let top_up = self.top_up(id)?;
        if top_up.state != TopUpState::NeedsAction {
            return Err(ChargingRefusal::MovedOn(id).into());
        }
        if top_up.link.as_ref() == Some(link) {
            return Ok(Decision::AlreadyApplied(Outcome::Charged { top_up: Some(id) }));
        }
        top_up.link = Some(link.clone());
        let far = now.checked_add(SignedDuration::from_hours(RETRY_HOURS));
        top_up.due_at = Some(link.expires_at.map_or_else(|| far.map_err(|_| period::OutOfCalendar), Ok)?);
        self.changed(id);
        self.tell("top_up.action_required", id);
        Ok(charged(Some(id)))
    }

    pub(super) fn give_up(&mut self, id: TopUpId, reason: &str) -> Result<Decision, Rejection> {
        if self.top_up(id)?.state == TopUpState::NeedsAction {
            self.close(id, reason);
        }
        Ok(charged(Some(id)))
    }

    pub(super) fn closed(&mut self, id: TopUpId) -> Result<Decision, Rejection> {
        let top_up = self.top_up(id)?;
        if top_up.state != TopUpState::Closing {
            return Ok(Decision::AlreadyApplied(Outcome::Charged { top_up: Some(id) }));
        }
        let reason = top_up.reason.clone().unwrap_or_else(|| "given_up".to_owned());
        // What nobody paid by its link failed; what somebody stopped was dropped.
        let state = if reason == "link_expired" { TopUpState::Failed } else { TopUpState::Dropped };
        self.end_unpaid(id, state, &reason)?;
        if state == TopUpState::Failed {
            self.tell("top_up.failed", id);
        }
        Ok(charged(Some(id)))
    }

    /// Stops what a rule decided, as far as nothing is under way.
    pub(super) fn stop_open(&mut self, rule: &str, reason: &str) {
        let Some(id) = self.open_of(rule) else { return };
        let state = self.state.top_ups.iter().find(|top_up| top_up.id == id).map(|top_up| top_up.state);
        match state {
            Some(TopUpState::Open) => {
                // Cannot fail: it is there.
                let _: Result<(), Rejection> = self.end_unpaid(id, TopUpState::Dropped, reason);
            }
            Some(TopUpState::NeedsAction) => self.close(id, reason),
            Some(_) | None => {}
        }
    }

    /// Closes the link of what waits for the card's owner.
    pub(super) fn close_waiting(&mut self, rule: &str, reason: &str) {
        let waits = |top_up: &&TopUp| top_up.rule == rule && top_up.state == TopUpState::NeedsAction;
        if let Some(id) = self.state.top_ups.iter().find(waits).map(|top_up| top_up.id) {
            self.close(id, reason);
        }
    }

    fn close(&mut self, id: TopUpId, reason: &str) {
        let now = self.context.now;
        let Some(top_up) = self.state.top_ups.iter_mut().find(|top_up| top_up.id == id) else { return };
        (top_up.state, top_up.reason, top_up.due_at) = (TopUpState::Closing, Some(reason.to_owned()), Some(now));
        self.changed(id);
    }
}
