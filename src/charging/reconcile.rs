//! An outcome that was never learned, when Stripe may have forgotten its key: looked for, never charged anew blindly.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::begin::ATTEMPT_KEY;
use super::{After, ChargeError, Charger, Held, Move};
use crate::domain::command::TryResult;
use crate::domain::top_up::{TopUp, Try};
use crate::stripe::client::{Fetch, StripeId};

/// Hours after which Stripe executes nothing any more that was sent to it: its keys live 24, and a request lives less.
const CERTAIN_HOURS: i64 = 24;
/// How far Stripe's clock and the database's may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);
/// Pages of one list that are read: 10,000 intents of one customer in a day.
const PAGES_MAX: usize = 100;
/// Events that tell of an intent.
const TYPES: [&str; 6] = [
    "payment_intent.succeeded",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.created",
];

impl Charger {
    pub(super) async fn reconcile(&self, held: Held<'_>, top_up: &TopUp, last: &Try) -> Result<Move, ChargeError> {
        let since = last.created_at.checked_sub(CLOCKS_APART).unwrap_or(last.created_at);
        let customer = StripeId::new(&last.customer)?;
        let listed = self.edge(
            "list_intents",
            self.find(last, |after| Fetch::IntentsOf {
                customer: customer.clone(),
                created_gte: since,
                starting_after: after,
            }),
        );
        if let Some(intent) = listed.await? {
            return self.follow(held, top_up, last, &intent).await;
        }
        let certain = last.created_at.checked_add(SignedDuration::from_hours(CERTAIN_HOURS));
        let now = self.edge("now", self.ledger_time(held, top_up)).await?;
        let certain = certain.map_err(|_| ChargeError::Broken("a try out of the calendar"))?;
        if now < certain {
            let left = certain.duration_since(now).as_secs().saturating_add(1);
            return Ok(Move::Rest(After::Later(left)));
        }
        let told = self.edge(
            "list_events",
            self.find(last, |after| Fetch::Events {
                created_gte: since,
                only_undelivered: false,
                types: TYPES.to_vec(),
                starting_after: after,
            }),
        );
        if let Some(event) = told.await? {
            let id = StripeId::of(&event["data"]["object"]);
            let id = id.ok_or(ChargeError::Broken("an event about a payment intent without an id"))?;
            let intent = self.ask_known(&Fetch::PaymentIntent { id }).await?;
            return self.follow(held, top_up, last, &intent).await;
        }
        tracing::warn!(top_up = %top_up.id, attempt = %last.attempt, "a charge whose outcome was not known did not happen");
        self.ended(held, top_up, last.attempt, TryResult::NotDone).await?;
        Ok(Move::On)
    }

    async fn ledger_time(&self, held: Held<'_>, top_up: &TopUp) -> Result<Timestamp, ChargeError> {
        let found = self.store.top_up_to_do(held.account(), top_up.id).await?;
        found.map(|(_, now)| now).ok_or(ChargeError::Broken("a top-up that is gone"))
    }

    /// The object of a list that is a try's, or an event about it.
    async fn find(
        &self,
        last: &Try,
        page: impl Fn(Option<StripeId>) -> Fetch + Send + Sync,
    ) -> Result<Option<Value>, ChargeError> {
        let wanted = last.attempt.to_string();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let listed = self.ask_list(&page(after.take())).await?;
            let is_it = |one: &Value| {
                let object = if one["object"] == "event" { &one["data"]["object"] } else { one };
                object["metadata"][ATTEMPT_KEY].as_str() == Some(wanted.as_str())
            };
            if let Some(found) = listed.find(is_it) {
                return Ok(Some(found.clone()));
            }
            after.clone_from(&listed.next);
            if after.is_none() {
                return Ok(None);
            }
        }
        Err(ChargeError::Broken("a list of Stripe's that does not end"))
    }
}
