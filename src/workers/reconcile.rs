//! Compares Stripe with the books by hand: all events Stripe keeps, then its objects themselves, which it keeps for ever.
//!
//! # Flow
//! Events first: what is listed and not stored is missing. Then each kind of object, page by page: what a stored event
//! told and is booked is known without asking anybody; of the others, and of all refunds and disputes, which change after
//! they were told of, the event they would make ([`synthetic`]) is
//! interpreted, as the worker would, and compared with the books. With `repair` what is missing is stored like a
//! delivery and worked on, by this process or by a daemon, whoever comes first.
//!
//! # Always true
//! Without `repair` nothing is written. What is repaired goes through the inbox and the door like everything else, so
//! nothing is booked twice, and nothing from before the cut-over is booked at all. A made event has an id that follows
//! from its object: repairing again changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::catch_up::{CatchUpError, event_page, store_unknown, window_start};
use super::charges::card_owner;
use super::inbox::{InboxWorker, QUESTIONS_MAX};
use crate::clock::Clock;
use crate::domain::overage_bill::BillState;
use crate::domain::reversal::BackView;
use crate::domain::subscription::{SubscriptionLife, SubscriptionSeen};
use crate::inbox::intent::{CardSeen, Intent, Interpretation, MoneyBackSeen, PaymentIntent, TopUpSeen, Why};
use crate::inbox::interpret::{Answers, interpret};
use crate::inbox::receive::{ReceiveError, Received, Receiver};
use crate::inbox::synthetic::{self, Making, Synthetic, made_from, told_by};
use crate::meters::list::event_families;
use crate::store::StoreError;
use crate::store::booked::ToldBy;
use crate::store::charge_steps::StepKey;
use crate::store::event_listings::EventState;
use crate::store::events::EventOrigin;
use crate::store::top_ups::DEFAULT_STEP;
use crate::stripe::client::{Fetch, Listing, StripeClient, StripeError, StripeId};
use crate::stripe::wire::{Charge, Event, Node, RawItem, RawList, Wire, WireError};

/// Kinds of objects in the order they are compared: payments before what takes them back.
const KINDS: [(Listing, &str); 6] = [
    (Listing::Sessions, "checkout sessions"),
    (Listing::Invoices, "invoices"),
    (Listing::PaymentIntents, "payment intents"),
    (Listing::Subscriptions, "subscriptions"),
    (Listing::Refunds, "refunds"),
    (Listing::Disputes, "disputes"),
];
/// Pages of one list: ten million objects; more is a list that goes round in circles.
const PAGES_MAX: usize = 100_000;
/// Rounds of the inbox after a repair; each takes some dozens of events.
const ROUNDS_MAX: usize = 10_000;
/// Longest wait for what a daemon has under lease, and how often it is looked at.
const OTHERS_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Told of every page: what is being compared, and how many of it so far.
pub type Progress = Arc<dyn Fn(&'static str, u64) + Send + Sync>;

/// What a comparison needs.
#[derive(Clone)]
pub struct Reconciler {
    /// Interprets and, with `repair`, works.
    pub inbox: InboxWorker,
    /// Stores what is missing.
    pub receiver: Receiver,
    /// Stripe.
    pub stripe: Arc<dyn StripeClient>,
    /// Time, for how far back events reach.
    pub clock: Clock,
    /// The version objects are asked for in.
    pub api_version: String,
    /// The database's mode.
    pub livemode: bool,
    /// Objects made since then are compared; events too, as far as Stripe keeps them.
    pub since: Timestamp,
    /// Store what is missing, and work on it?
    pub repair: bool,
    /// Told of every page.
    pub progress: Progress,
}

/// Why a comparison ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Stripe did not answer, or refused.
    #[error("{0}")]
    Stripe(#[from] StripeError),
    /// Listing events failed.
    #[error("{0}")]
    Events(#[from] CatchUpError),
    /// Stripe's answer cannot be read.
    #[error("Stripe's list of {what} cannot be read: {error}")]
    Unreadable {
        /// Which list.
        what: &'static str,
        /// What is wrong.
        error: WireError,
    },
    /// Stripe answered a list with another status, or without ids.
    #[error("Stripe's list of {what} {why}")]
    Unusable {
        /// Which list.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// What was made could not be stored.
    #[error("{0}")]
    Receive(String),
}

/// What was found of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Listed by Stripe.
    pub found: u64,
    /// In the books, or about to be.
    pub known: u64,
    /// Not in the books.
    pub missing: u64,
    /// Paid or begun before the cut-over.
    pub before_cutover: u64,
    /// Nothing that is sold here, or nothing to book.
    pub not_ours: u64,
    /// Stored, and waiting for a person.
    pub parked: u64,
    /// Of the missing ones, now stored.
    pub repaired: u64,
}

/// How one object or event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Known,
    Missing,
    BeforeCutover,
    NotOurs,
    Parked,
}

impl Tally {
    const fn count(&mut self, verdict: Verdict) {
        self.found += 1;
        match verdict {
            Verdict::Known => self.known += 1,
            Verdict::Missing => self.missing += 1,
            Verdict::BeforeCutover => self.before_cutover += 1,
            Verdict::NotOurs => self.not_ours += 1,
            Verdict::Parked => self.parked += 1,
        }
    }
}

/// An object, and the event it makes.
struct Judged {
    verdict: Verdict,
    made: Option<Synthetic>,
}

impl Judged {
    const fn plain(verdict: Verdict) -> Self {
        Self { verdict, made: None }
    }
}

impl Reconciler {
    /// Compares everything; one row for events and one for each kind of object.
    pub async fn run(&self) -> Result<Vec<(&'static str, Tally)>, ReconcileError> {
        let mut rows = vec![("events", self.events().await?)];
        self.work().await?;
        for (what, name) in KINDS {
            let tally = self.objects(what, name).await?;
            self.work().await?;
            rows.push((name, tally));
        }
        Ok(rows)
    }

    /// All events Stripe still has.
    async fn events(&self) -> Result<Tally, ReconcileError> {
        let mut tally = Tally::default();
        let reach = window_start(None, self.inbox.cutover_at, self.clock.now());
        let since = self.since.max(reach);
        for types in event_families().into_values() {
            let mut after = None;
            for _ in 0..PAGES_MAX {
                let page = event_page(&*self.stripe, &types, since, after).await?;
                self.count_events(&page.events, &mut tally).await?;
                (self.progress)("events", tally.found);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(tally)
    }

    async fn count_events(&self, events: &[RawItem], tally: &mut Tally) -> Result<(), ReconcileError> {
        let ids: Vec<&str> = events.iter().filter_map(|event| event.id.as_deref()).collect();
        let known = self.inbox.store.known_events(&ids).await?;
        for event in events {
            let stands = event.id.as_deref().and_then(|id| known.get(id));
            tally.count(stands.map_or(Verdict::Missing, |(state, reason)| verdict_of(*state, reason.as_deref())));
        }
        if self.repair && known.len() < events.len() {
            let stored = store_unknown(&self.inbox.store, &self.receiver, events).await?;
            tally.repaired += stored.stored;
        }
        Ok(())
    }

    async fn objects(&self, what: Listing, name: &'static str) -> Result<Tally, ReconcileError> {
        let mut tally = Tally::default();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let question = Fetch::Listed { what, created_gte: self.since, starting_after: after.take() };
            let page = self.page(&question, name).await?;
            self.count_objects(what, name, &page.data, &mut tally).await?;
            (self.progress)(name, tally.found);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(tally)
    }

    async fn page(&self, question: &Fetch, name: &'static str) -> Result<RawList, ReconcileError> {
        let answer = self.stripe.fetch(question).await?;
        if answer.status != 200 {
            return Err(ReconcileError::Unusable { what: name, why: format!("is answered with {}", answer.status) });
        }
        RawList::from_slice(&answer.body).map_err(|error| ReconcileError::Unreadable { what: name, error })
    }

    async fn count_objects(
        &self,
        what: Listing,
        name: &'static str,
        objects: &[RawItem],
        tally: &mut Tally,
    ) -> Result<(), ReconcileError> {
        let mut ids: Vec<&str> = objects.iter().filter_map(|object| object.id.as_deref()).collect();
        // What is taken back may have been told by an event about the charge.
        ids.extend(objects.iter().filter_map(|object| object.value.get("charge").and_then(serde_json::Value::as_str)));
        let mut told: BTreeMap<String, Vec<ToldBy>> = BTreeMap::new();
        for event in self.inbox.store.events_about(&ids).await? {
            if told_by(what).contains(&event.event_type.as_str()) {
                told.entry(event.object.clone()).or_default().push(event);
            }
        }
        for object in objects {
            let judged = self.judge(what, name, object, &told).await?;
            tally.count(judged.verdict);
            if judged.verdict != Verdict::Missing {
                continue;
            }
            let event = judged.made.as_ref().map(|made| made.event.as_str());
            tracing::info!(
                object = object.id.as_deref(),
                event.id = event,
                repair = self.repair,
                "missing in the books"
            );
            if let (true, Some(made)) = (self.repair, &judged.made) {
                self.store(made).await?;
                tally.repaired += 1;
            }
        }
        Ok(())
    }

    async fn judge(
        &self,
        what: Listing,
        name: &'static str,
        object: &RawItem,
        told: &BTreeMap<String, Vec<ToldBy>>,
    ) -> Result<Judged, ReconcileError> {
        let unreadable = |error| ReconcileError::Unreadable { what: name, error };
        let own = object.id.as_ref().and_then(|id| told.get(id)).map(Vec::as_slice).unwrap_or_default();
        let making = Making { api_version: &self.api_version, livemode: self.livemode, now: self.clock.now() };
        let is_final = matches!(what, Listing::Sessions | Listing::Invoices | Listing::PaymentIntents);
        if is_final && own.iter().any(|event| event.state == EventState::Processed) {
            return Ok(Judged::plain(Verdict::Known));
        }
        if matches!(what, Listing::Refunds | Listing::Disputes) {
            return self.judge_money_back(what, name, object, told, making).await;
        }
        let Some(made) = made_from(what, object, making).map_err(unreadable)? else {
            return Ok(Judged::plain(Verdict::NotOurs));
        };
        let verdict = match self.meaning(&made).await? {
            Interpretation::Ignore(why) if why.code == "before_cutover" => Verdict::BeforeCutover,
            Interpretation::Ignore(_) | Interpretation::Ask(_) => Verdict::NotOurs,
            Interpretation::Park(_) => told_else_missing(own),
            Interpretation::Act(intents) => {
                if self.is_booked(&intents).await? {
                    Verdict::Known
                } else if what == Listing::Subscriptions && self.is_from_before(object) {
                    Verdict::BeforeCutover
                } else {
                    told_else_missing(own)
                }
            }
        };
        Ok(Judged { verdict, made: Some(made) })
    }

    /// A subscription begun before the cut-over that no event has told of is the import's business.
    fn is_from_before(&self, object: &RawItem) -> bool {
        self.inbox.cutover_at.zip(object.created).is_some_and(|(cutover, created)| created < cutover)
    }

    /// Refunds and disputes count when the books have their payment, and say what Stripe says of it now.
    async fn judge_money_back(
        &self,
        what: Listing,
        name: &'static str,
        object: &RawItem,
        told: &BTreeMap<String, Vec<ToldBy>>,
        making: Making<'_>,
    ) -> Result<Judged, ReconcileError> {
        let unreadable = |error| ReconcileError::Unreadable { what: name, error };
        let node = Node::root(&object.value).map_err(unreadable)?;
        let charge = node.reference_id(&["charge"]).map_err(unreadable)?;
        let intent = node.reference_id(&["payment_intent"]).map_err(unreadable)?;
        let aliases: Vec<&str> = charge.iter().chain(&intent).map(String::as_str).collect();
        if self.inbox.store.booked_payments(&aliases).await?.is_empty() {
            return Ok(Judged::plain(Verdict::NotOurs));
        }
        let own = object.id.as_deref().and_then(|id| told.get(id));
        let of_charge = charge.as_deref().and_then(|id| told.get(id));
        let made = match (made_from(what, object, making).map_err(unreadable)?, &charge) {
            (Some(made), _) => Some(made),
            (None, Some(charge)) if what == Listing::Refunds => self.refunded(charge, object, making).await?,
            (None, _) => None,
        };
        let Some(made) = made else { return Ok(Judged::plain(Verdict::NotOurs)) };
        // That an event was worked on tells nothing: a refund may have been pending then, a dispute open. The books are
        // asked; events only tell whether what they lack is under way, or waits for a person.
        let late_enough = |event: &&ToldBy| object.created.is_none_or(|created| event.created_at >= created);
        let heard: Vec<ToldBy> = own.into_iter().chain(of_charge).flatten().filter(late_enough).cloned().collect();
        let verdict = match self.meaning(&made).await? {
            Interpretation::Ignore(_) | Interpretation::Ask(_) => Verdict::NotOurs,
            Interpretation::Act(intents) if self.is_booked(&intents).await? => Verdict::Known,
            Interpretation::Park(_) | Interpretation::Act(_) => told_else_missing(&heard),
        };
        Ok(Judged { verdict, made: Some(made) })
    }

    /// What the charge of a refund makes.
    async fn refunded(
        &self,
        charge: &str,
        refund: &RawItem,
        making: Making<'_>,
    ) -> Result<Option<Synthetic>, ReconcileError> {
        let Ok(id) = StripeId::new(charge) else { return Ok(None) };
        let answer = self.stripe.fetch(&Fetch::Charge { id }).await?;
        if answer.status != 200 {
            return Ok(None);
        }
        let unreadable = |error| ReconcileError::Unreadable { what: "refunds", error };
        let read = Charge::from_slice(&answer.body).map_err(unreadable)?;
        let value = crate::stripe::wire::parse(&answer.body).map_err(unreadable)?;
        let item = RawItem { id: read.id, created: read.created, bytes: answer.body.to_vec(), value };
        Ok(synthetic::of_charge(&item, refund, making))
    }

    /// What an event would do, asking Stripe as the worker would; the answers are not kept.
    async fn meaning(&self, made: &Synthetic) -> Result<Interpretation, ReconcileError> {
        let event = match Event::from_slice(&made.body) {
            Ok(event) => event,
            Err(error) => return Ok(Interpretation::Park(Why::new("unreadable", error.to_string()))),
        };
        let catalog = self.inbox.posting.newest_catalog(&self.inbox.store).await?;
        let mut answers = Answers::new(true);
        for _ in 0..QUESTIONS_MAX {
            match interpret(&event, self.inbox.context(&catalog.catalog, &answers)) {
                Interpretation::Ask(questions) => {
                    for question in questions {
                        let answer = self.stripe.fetch(&question).await?;
                        answers.add(question.path(), answer.status, answer.body.to_vec(), self.clock.now());
                    }
                }
                done => return Ok(done),
            }
        }
        Ok(Interpretation::Park(Why::new("too_many_questions", "interpretation keeps asking Stripe")))
    }

    /// Do the books hold all of it?
    async fn is_booked(&self, intents: &[Intent]) -> Result<bool, ReconcileError> {
        for intent in intents {
            let booked = match intent {
                Intent::Link(who) => match who.stripe_customer.as_deref() {
                    Some(customer) => self.inbox.store.find_stripe_customer(customer).await?.is_some(),
                    None => true,
                },
                Intent::Payment(payment) => self.is_payment_booked(payment).await?,
                Intent::Subscription(seen, _) => self.is_followed(seen).await?,
                Intent::MoneyBack(seen) => self.is_given_back(seen).await?,
                Intent::TopUp(seen) => self.is_top_up_booked(seen).await?,
                Intent::Card(seen) => self.is_card_told(seen).await?,
                // Nothing that is listed asks for it.
                Intent::RenewalLost(..)
                | Intent::Try(_)
                | Intent::CustomerDeleted(_)
                | Intent::BillOverage(..)
                | Intent::BillsVoid { .. } => true,
            };
            if !booked {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Do the books say what the refunds and disputes say? Those of a payment that is not here are somebody else's; a
    /// payment that is missing is found by its own objects, and its reversals after it.
    async fn is_given_back(&self, seen: &MoneyBackSeen) -> Result<bool, ReconcileError> {
        let Some(payment) = self.inbox.store.find_payments(&seen.aliases).await?.pop() else { return Ok(true) };
        let known = self.inbox.store.booked_reversals(payment.account, payment.payment).await?;
        let is_known = |view: &BackView| {
            let of_object = known.iter().find(|known| known.object == view.object);
            of_object.map_or_else(|| view.says.is_nothing(), |known| known.says == view.says)
        };
        Ok(seen.views.iter().all(is_known))
    }

    /// Did the payment pay its top-up, or is it known to be one too much, which goes back by itself?
    async fn is_top_up_booked(&self, seen: &TopUpSeen) -> Result<bool, ReconcileError> {
        let store = &self.inbox.store;
        for known in store.booked_payments(&seen.facts.aliases()).await? {
            if store.is_top_up_settled(known.account, seen.top_up, known.payment).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Was a card that is to become its customer's default ever asked to be? One of somebody else's customers is not missed.
    async fn is_card_told(&self, seen: &CardSeen) -> Result<bool, ReconcileError> {
        let store = &self.inbox.store;
        let Some(card) = &seen.saved else { return Ok(true) };
        let Some(account) = store.find_stripe_customer(&seen.stripe_customer).await? else { return Ok(true) };
        let key = StepKey { account, owner: card_owner(card), step: DEFAULT_STEP.to_owned() };
        Ok(store.charge_step(&key).await?.is_some())
    }

    async fn is_payment_booked(&self, payment: &PaymentIntent) -> Result<bool, ReconcileError> {
        let store = &self.inbox.store;
        let found = store.booked_payments(&payment.facts.aliases()).await?;
        let has_grants = found.iter().any(|known| known.grants.iter().any(|grant| grant.item_key.is_some()));
        if found.is_empty() || (!payment.grants.is_empty() && !has_grants) {
            return Ok(false);
        }
        for wish in &payment.plans {
            let plans = store.booked_plans(&wish.subscription).await?;
            if !plans.iter().any(|plan| plan.paid_through.is_some_and(|until| until >= wish.period_end)) {
                return Ok(false);
            }
        }
        for wish in &payment.bills {
            let aliases: Vec<String> = payment.facts.aliases().into_iter().map(str::to_owned).collect();
            let Some(paid) = store.find_payments(&aliases).await?.pop() else { return Ok(false) };
            let bill = store.overage_bill(paid.account, wish.bill).await?;
            if !bill.is_some_and(|bill| matches!(bill.state, BillState::Paid { .. })) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Do the customer's plans agree with the subscription as Stripe shows it now? Of one that is over nothing may be
    /// left; of one in force each plan is held, in that number, and no other.
    async fn is_followed(&self, seen: &SubscriptionSeen) -> Result<bool, ReconcileError> {
        let plans = self.inbox.store.booked_plans(&seen.subscription).await?;
        let mut held = plans.iter().filter(|plan| plan.state != "ended");
        let fits = |state: &str| match seen.life {
            SubscriptionLife::Active | SubscriptionLife::Trialing => !["paused", "past_due"].contains(&state),
            SubscriptionLife::Paused => ["paused", "past_due"].contains(&state),
            SubscriptionLife::PastDue | SubscriptionLife::Ended(_) => true,
        };
        if matches!(seen.life, SubscriptionLife::Ended(_)) {
            return Ok(held.next().is_none());
        }
        let held: Vec<_> = held.collect();
        let all_held = seen.plans.iter().all(|wanted| {
            held.iter().any(|plan| {
                plan.plan == wanted.plan.to_string() && plan.quantity == wanted.quantity && fits(&plan.state)
            })
        });
        Ok(all_held && held.len() == seen.plans.len())
    }

    /// Stores a made event; one that was made before and led to nothing is worked on once more.
    async fn store(&self, made: &Synthetic) -> Result<(), ReconcileError> {
        match self.receiver.store_listed(&made.body, EventOrigin::Reconcile).await {
            Ok(Received::Stored | Received::Ignored(_)) => Ok(()),
            Ok(Received::Duplicate) => {
                self.inbox.apply_again(&made.event).await?;
                Ok(())
            }
            Err(ReceiveError::Store(error)) => Err(error.into()),
            Err(error @ (ReceiveError::NotAnEvent(_) | ReceiveError::Signature(_))) => {
                Err(ReconcileError::Receive(format!("{} cannot be stored: {error}", made.event)))
            }
        }
    }

    /// Works on what was stored, and waits within a bound for what a daemon has taken.
    async fn work(&self) -> Result<(), ReconcileError> {
        if !self.repair {
            return Ok(());
        }
        for _ in 0..ROUNDS_MAX {
            if self.inbox.round().await? == 0 {
                break;
            }
        }
        let started = crate::clock::instant();
        while self.inbox.store.count_due_events().await? > 0 && started.elapsed() < OTHERS_PATIENCE {
            tokio::time::sleep(LOOK_INTERVAL).await;
            self.inbox.round().await?;
        }
        Ok(())
    }
}

/// How a stored event stands.
fn verdict_of(state: EventState, reason: Option<&str>) -> Verdict {
    match state {
        EventState::Received | EventState::Processed => Verdict::Known,
        EventState::Ignored if reason == Some("before_cutover") => Verdict::BeforeCutover,
        EventState::Ignored => Verdict::NotOurs,
        EventState::Parked | EventState::Dead => Verdict::Parked,
    }
}

/// What is not booked is under way, waits for a person, or is missing.
fn told_else_missing(told: &[ToldBy]) -> Verdict {
    let any = |states: &[EventState]| told.iter().any(|event| states.contains(&event.state));
    if any(&[EventState::Received]) {
        Verdict::Known
    } else if any(&[EventState::Parked, EventState::Dead]) {
        Verdict::Parked
    } else {
        Verdict::Missing
    }
}
