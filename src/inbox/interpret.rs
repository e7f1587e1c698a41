//! From a stored event to what it asks for. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::intent::{Intent, Interpretation, Why};
use super::reversal::MoneyBackPolicy;
use super::{card, checkout, customer, families, invoice, overage, payment_intent, reversal, subscription, top_up};
use crate::domain::catalog::Catalog;
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::wire::{Event, Wire, WireError, WireList};

/// Most pages of one list that are read: 100 pages of 100 lines are far above Stripe's own limits.
const PAGES_MAX: usize = 100;

/// Stripe's answers an event has so far, by the text of the question.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    known: BTreeMap<String, Answered>,
    /// No API key: nothing can be asked.
    cannot_ask: bool,
}

impl Answers {
    /// No answers yet.
    pub fn new(can_ask: bool) -> Self {
        Self { known: BTreeMap::new(), cannot_ask: !can_ask }
    }

    /// Can Stripe be asked at all?
    pub(super) const fn can_ask(&self) -> bool {
        !self.cannot_ask
    }

    /// Adds one, and when it was asked for.
    pub fn add(&mut self, question: String, status: u16, body: Vec<u8>, asked_at: Timestamp) {
        self.known.insert(question, Answered { status, body, asked_at });
    }

    /// When a question was asked, if it has an answer.
    pub(super) fn asked_at(&self, question: &Fetch) -> Option<Timestamp> {
        self.known.get(&question.path()).map(|answered| answered.asked_at)
    }

    /// What is known to a question.
    fn get(&self, question: &Fetch) -> Found<'_> {
        match self.known.get(&question.path()) {
            Some(Answered { status: 200, body, .. }) => Found::Body(body),
            Some(_) => Found::Nothing,
            None if self.cannot_ask => Found::Nothing,
            None => Found::Unasked,
        }
    }
}

/// An answer of Stripe.
#[derive(Clone, Debug)]
struct Answered {
    status: u16,
    body: Vec<u8>,
    asked_at: Timestamp,
}

enum Found<'a> {
    Body(&'a [u8]),
    Nothing,
    Unasked,
}

/// Why interpretation cannot go on: something has to be asked, or waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Ask Stripe.
    Ask(Fetch),
    /// Wait.
    Park(Why),
    /// Not ours.
    Ignore(Why),
}

impl From<Why> for Stop {
    fn from(why: Why) -> Self {
        Self::Park(why)
    }
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Park(Why::new("unreadable", error.to_string()))
    }
}

/// What interpretation knows besides the event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The catalogue in force.
    pub catalog: &'a Catalog,
    /// Stripe's answers so far.
    pub answers: &'a Answers,
    /// Objects paid before it never grant.
    pub cutover_at: Option<Timestamp>,
    /// Do free checkouts grant catalogue packs?
    pub grant_free_checkouts: bool,
    /// Does a price that nobody knows park the event rather than being ignored?
    pub park_unknown_prices: bool,
    /// What a merchant decided about money going back.
    pub money_back: MoneyBackPolicy,
}

impl Context<'_> {
    /// One object, `None` when Stripe does not know it or cannot be asked.
    pub(super) fn one<T: Wire>(&self, question: Fetch) -> Result<Option<T>, Stop> {
        match self.answers.get(&question) {
            Found::Body(body) => Ok(Some(T::from_slice(body)?)),
            Found::Nothing => Ok(None),
            Found::Unasked => Err(Stop::Ask(question)),
        }
    }

    /// Every item of a list, page by page; `None` when its first page cannot be had.
    pub(super) fn all<T: Wire>(
        &self,
        page: impl Fn(Option<StripeId>) -> Fetch,
        id: impl Fn(&T) -> Option<&str>,
    ) -> Result<Option<Vec<T>>, Stop> {
        let mut items: Vec<T> = Vec::new();
        for _ in 0..PAGES_MAX {
            let after = items.last().and_then(&id).map(stripe_id).transpose()?;
            let question = page(after);
            let list: WireList<T> = match self.answers.get(&question) {
                Found::Body(body) => T::list_from_slice(body)?,
                Found::Nothing if items.is_empty() => return Ok(None),
                Found::Nothing => {
                    return Err(Why::new("missing_page", format!("{} has no answer", question.path())).into());
                }
                Found::Unasked => return Err(Stop::Ask(question)),
            };
            let (empty, more) = (list.data.is_empty(), list.has_more);
            items.extend(list.data);
            if !more {
                return Ok(Some(items));
            }
            if empty {
                return Err(
                    Why::new("unreadable", format!("{} says has_more on an empty page", question.path())).into()
                );
            }
        }
        Err(Why::new("too_many_lines", format!("more than {PAGES_MAX} pages of lines")).into())
    }

    /// Refuses what was paid before the cut-over (rule 11).
    pub(super) fn after_cutover(&self, paid_at: Timestamp) -> Result<(), Stop> {
        match self.cutover_at {
            Some(cutover) if paid_at < cutover => {
                Err(Stop::Ignore(Why::new("before_cutover", format!("paid {paid_at}, before the cut-over {cutover}"))))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// An id of Stripe's that may stand in a path.
pub(super) fn stripe_id(text: &str) -> Result<StripeId, Stop> {
    StripeId::new(text)
        .map_err(|error| Why::new("unreadable", format!("`{}`: {error}", super::facts::cut(text))).into())
}

/// A fact an object of ours has to have.
pub(super) fn needed<T>(fact: Option<T>, field: &str) -> Result<T, Stop> {
    fact.ok_or_else(|| Why::new("missing_fact", format!("{field} is missing")).into())
}

/// Says what an event asks for.
pub fn interpret(event: &Event, context: Context<'_>) -> Interpretation {
    let kind = event.kind.as_deref().unwrap_or_default();
    let outcome = match kind {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            checkout::completed(event, context)
        }
        "checkout.session.async_payment_failed" => checkout::failed(event),
        "checkout.session.expired" => checkout::expired(event),
        "invoice.paid" => invoice::paid(event, context),
        "invoice.created" => overage::drafted(event, context),
        "invoice.deleted" => overage::deleted(event),
        "invoice.voided" => overage::voided(event, context),
        "invoice.marked_uncollectible" => subscription::unpaid(event, context),
        "customer.subscription.created"
        | "customer.subscription.updated"
        | "customer.subscription.paused"
        | "customer.subscription.resumed"
        | "customer.subscription.pending_update_applied" => subscription::changed(event, context),
        "customer.subscription.deleted" => subscription::deleted(event, context),
        "charge.refunded" => reversal::charge_changed(event, context),
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => {
            reversal::refund_changed(event, context)
        }
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => reversal::dispute_changed(event, context),
        "radar.early_fraud_warning.created" | "radar.early_fraud_warning.updated" => reversal::warned(event, context),
        "credit_note.created" | "credit_note.updated" | "credit_note.voided" => reversal::credited(event, context),
        "invoice_payment.paid" => invoice::part_paid(event, context),
        "payment_intent.succeeded" => payment_intent::succeeded(event, context),
        "payment_intent.payment_failed"
        | "payment_intent.processing"
        | "payment_intent.requires_action"
        | "payment_intent.canceled" => top_up::try_changed(event, context),
        "customer.created" => customer::named(event),
        "customer.updated" => customer::updated(event),
        "customer.deleted" => customer::deleted(event),
        "payment_method.attached"
        | "payment_method.updated"
        | "payment_method.automatically_updated"
        | "payment_method.card_automatically_updated" => card::seen(event),
        "setup_intent.succeeded" => card::kept(event, context),
        _ => Err(Stop::Ignore(families::why_ignored(kind))),
    };
    match outcome {
        Ok(mut intents) => {
            for intent in &mut intents {
                if let Intent::Card(seen) = intent {
                    seen.at = event.created;
                }
            }
            Interpretation::Act(intents)
        }
        Err(Stop::Ask(question)) => Interpretation::Ask(vec![question]),
        Err(Stop::Park(why)) => Interpretation::Park(why),
        Err(Stop::Ignore(why)) => Interpretation::Ignore(why),
    }
}
