//! Looks at a stored event again: what it means under today's catalogue with the answers Stripe gave then, what the books
//! hold of it, and, when told to, works on it once more.
//!
//! Looking asks nobody and writes nothing. Applying takes the event under a lease as the worker does, whatever became of
//! it; what was booked before is found by its own keys and is not booked again. Events that never had any business here
//! (the other mode, a connected account) are not worked on.

use serde_json::{Value, json};

use super::inbox::{InboxWorker, LEASE_SECONDS};
use super::resolve::Tally;
use crate::inbox::described;
use crate::inbox::intent::{Intent, Interpretation, Why};
use crate::inbox::interpret::{Answers, interpret};
use crate::store::StoreError;
use crate::store::booked::{BookedPayment, BookedPlan};
use crate::store::event_listings::{EventLine, WholeEvent};
use crate::store::events::NEVER_WORKED_ON;
use crate::stripe::wire::{Event, Wire};

/// What an event asks for, from what is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// These commands.
    Act(Vec<Value>),
    /// Nothing.
    Ignore(Why),
    /// It has to wait.
    Park(Why),
    /// Stripe has to be asked first; nothing of it is stored.
    Ask(Vec<String>),
    /// Its body is forgotten.
    Forgotten,
}

/// A stored event, looked at again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The event as it stands, after it was worked on where that was asked for.
    pub event: EventLine,
    /// Stripe's answers that are stored beside it: question and status.
    pub inputs: Vec<(String, u16)>,
    /// What it means.
    pub meaning: Meaning,
    /// What the books hold of its payment.
    pub payments: Vec<BookedPayment>,
    /// And of its subscription.
    pub plans: Vec<BookedPlan>,
    /// What working on it did.
    pub applied: Option<Applied>,
}

/// What working on an event once more did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was worked on.
    Worked(Tally),
    /// Somebody is working on it at this moment.
    Busy,
    /// It never had any business here, or its body is forgotten.
    Refused,
}

impl InboxWorker {
    /// Looks at a stored event; `None`: there is none of this id.
    pub async fn look_again(&self, id: &str) -> Result<Option<Replayed>, StoreError> {
        let Some(whole) = self.store.whole_event(id).await? else { return Ok(None) };
        let (meaning, aliases, subscriptions) = self.meaning(&whole).await?;
        let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
        let payments = self.store.booked_payments(&aliases).await?;
        let mut plans = Vec::new();
        for subscription in &subscriptions {
            plans.extend(self.store.booked_plans(subscription).await?);
        }
        let inputs = whole.inputs.into_iter().map(|input| (input.request, input.status)).collect();
        Ok(Some(Replayed { event: whole.line, inputs, meaning, payments, plans, applied: None }))
    }

    /// Works on a stored event once more and shows it as it stands then; `None`: there is none of this id.
    pub async fn apply_again(&self, id: &str) -> Result<Option<Replayed>, StoreError> {
        let Some(before) = self.store.whole_event(id).await? else { return Ok(None) };
        let barred = before.line.reason.as_deref().is_some_and(|reason| NEVER_WORKED_ON.contains(&reason));
        let applied = match self.store.reopen_event(id, LEASE_SECONDS).await? {
            Some(event) => {
                tracing::info!(event.id = %event.id, event.kind = %event.event_type, was = before.line.state.word(),
                    "an event is worked on once more");
                let mut tally = Tally::default();
                let ending = self.work_under_lease(&event, &mut tally).await;
                self.store.end_event(ending.of(&event)).await?;
                Applied::Worked(tally)
            }
            None if barred || before.body.is_none() => Applied::Refused,
            None => Applied::Busy,
        };
        let shown = self.look_again(id).await?;
        Ok(shown.map(|shown| Replayed { applied: Some(applied), ..shown }))
    }

    /// What is stored of an event means this; beside it the Stripe ids of its payments and subscriptions.
    async fn meaning(&self, whole: &WholeEvent) -> Result<(Meaning, Vec<String>, Vec<String>), StoreError> {
        let nothing = |meaning| Ok((meaning, whole.line.object.iter().cloned().collect(), Vec::new()));
        let Some(body) = &whole.body else { return nothing(Meaning::Forgotten) };
        let event = match Event::from_slice(body) {
            Ok(event) => event,
            Err(error) => return nothing(Meaning::Park(Why::new("unreadable", error.to_string()))),
        };
        if let Some(reason) =
            whole.line.reason.as_deref().and_then(|reason| NEVER_WORKED_ON.into_iter().find(|never| *never == reason))
        {
            return nothing(Meaning::Ignore(Why::new(reason, whole.line.detail.clone().unwrap_or_default())));
        }
        let mut answers = Answers::new(self.stripe.is_some());
        for input in whole.inputs.iter().filter(|input| input.status == 200) {
            answers.add(input.request.clone(), input.status, input.body.clone(), input.asked_at);
        }
        let catalog = self.posting.newest_catalog(&self.store).await?;
        match interpret(&event, self.context(&catalog.catalog, &answers)) {
            Interpretation::Act(intents) => {
                let (aliases, subscriptions) = ids_of(&intents);
                Ok((Meaning::Act(intents.iter().flat_map(described::commands).collect()), aliases, subscriptions))
            }
            Interpretation::Ignore(why) => nothing(Meaning::Ignore(why)),
            Interpretation::Park(why) => nothing(Meaning::Park(why)),
            Interpretation::Ask(questions) => {
                nothing(Meaning::Ask(questions.iter().map(crate::stripe::client::Fetch::path).collect()))
            }
        }
    }
}

/// The Stripe ids of payments and subscriptions that intents are about.
fn ids_of(intents: &[Intent]) -> (Vec<String>, Vec<String>) {
    let (mut aliases, mut subscriptions) = (Vec::new(), Vec::new());
    for intent in intents {
        match intent {
            Intent::Link(_) | Intent::Try(_) | Intent::Card(_) | Intent::CustomerDeleted(_) => {}
            Intent::TopUp(seen) => aliases.extend(seen.facts.aliases().into_iter().map(str::to_owned)),
            Intent::Payment(payment) => {
                aliases.extend(payment.facts.aliases().into_iter().map(str::to_owned));
                subscriptions.extend(payment.plans.iter().map(|plan| plan.subscription.clone()));
                subscriptions.extend(payment.changes.iter().map(|change| change.subscription.clone()));
            }
            Intent::Subscription(seen, _) => subscriptions.push(seen.subscription.clone()),
            Intent::RenewalLost(lost, _) => subscriptions.push(lost.subscription.clone()),
            Intent::MoneyBack(seen) => aliases.extend(seen.aliases.iter().cloned()),
            Intent::BillOverage(due, _) => aliases.push(due.invoice.clone()),
            Intent::BillsVoid { invoice, .. } => aliases.push(invoice.clone()),
        }
    }
    subscriptions.sort();
    subscriptions.dedup();
    (aliases, subscriptions)
}

impl Meaning {
    /// The word used in answers.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Act(_) => "act",
            Self::Ignore(_) => "ignore",
            Self::Park(_) => "park",
            Self::Ask(_) => "ask",
            Self::Forgotten => "forgotten",
        }
    }

    /// Every word.
    pub const WORDS: [&'static str; 5] = ["act", "ignore", "park", "ask", "forgotten"];
}

impl Applied {
    /// The word used in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Worked(_) => "worked",
            Self::Busy => "busy",
            Self::Refused => "refused",
        }
    }
}

impl Replayed {
    /// As the API and `creditd replay --json` show it.
    pub fn to_json(&self) -> Value {
        let (commands, why, asks) = match &self.meaning {
            Meaning::Act(commands) => (commands.as_slice(), None, [].as_slice()),
            Meaning::Ignore(why) | Meaning::Park(why) => ([].as_slice(), Some(why), [].as_slice()),
            Meaning::Ask(asks) => ([].as_slice(), None, asks.as_slice()),
            Meaning::Forgotten => ([].as_slice(), None, [].as_slice()),
        };
        let inputs = self.inputs.iter().map(|(request, status)| json!({ "request": request, "status": status }));
        json!({
            "id": self.event.id,
            "type": self.event.event_type,
            "state": self.event.state.word(),
            "reason": self.event.reason,
            "detail": self.event.detail,
            "customer": self.event.customer,
            "inputs": inputs.collect::<Vec<_>>(),
            "meaning": {
                "outcome": self.meaning.word(),
                "reason": why.map(|why| why.code),
                "detail": why.map(|why| why.detail.as_str()),
                "asks": asks,
                "commands": commands,
            },
            "booked": { "payments": self.payments.iter().map(payment).collect::<Vec<_>>(), "plans": self.plans.iter().map(plan).collect::<Vec<_>>() },
            "applied": self.applied.map(applied),
        })
    }
}

fn applied(applied: Applied) -> Value {
    let tally = match applied {
        Applied::Worked(tally) => tally,
        Applied::Busy | Applied::Refused => Tally::default(),
    };
    json!({ "outcome": applied.word(), "commands_applied": tally.applied, "commands_repeated": tally.repeated })
}

fn payment(payment: &BookedPayment) -> Value {
    let grants = payment.grants.iter().map(|grant| {
        json!({
            "id": grant.grant.to_string(),
            "feature": grant.feature,
            "item_key": grant.item_key,
            "quantity": grant.original.to_string(),
            "remaining": grant.remaining.to_string(),
            "starts_at": grant.starts_at,
        })
    });
    json!({
        "id": payment.payment.to_string(),
        "customer": payment.customer,
        "status": payment.status,
        "grants": grants.collect::<Vec<_>>(),
    })
}

fn plan(plan: &BookedPlan) -> Value {
    json!({
        "plan": plan.plan,
        "state": plan.state,
        "quantity": plan.quantity,
        "paid_through": plan.paid_through,
    })
}
