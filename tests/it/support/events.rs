//! Events a test writes, signs and sends itself.

use std::time::Duration;

use creditd::clock::Clock;
use creditd::store::event_listings::EventFilter;
use creditd::stripe::signature::{Secret, sign};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::app::{TestApp, WEBHOOK_SECRET};

/// Longest wait for an event to come to a state.
const PATIENCE: Duration = Duration::from_mins(1);

/// A `Stripe-Signature` header made with a secret, this many seconds ago (or, below zero, ahead).
pub fn header(body: &[u8], secret: &str, seconds_ago: i64) -> String {
    sign(body, &Secret::new(secret).unwrap(), moment(seconds_ago))
}

/// The header a delivery made now would have.
pub fn signed(body: &[u8]) -> String {
    header(body, WEBHOOK_SECRET, 0)
}

/// The hex text after `v1=`.
pub fn v1(header: &str) -> &str {
    header.split_once("v1=").unwrap().1
}

/// A time this many seconds ago.
pub fn moment(seconds_ago: i64) -> Timestamp {
    Clock::system().now().checked_sub(SignedDuration::from_secs(seconds_ago)).unwrap()
}

/// An event of test mode about an object.
pub fn event(id: &str, kind: &str, object: &Value) -> Value {
    json!({ "id": id, "object": "event", "api_version": "2026-09-30.endive", "created": moment(0).as_second(),
        "data": { "object": object }, "livemode": false, "pending_webhooks": 1, "type": kind })
}

impl TestApp {
    /// Signs an event and delivers it; it has to be taken.
    pub async fn send(&self, event: &Value) {
        let body = event.to_string();
        let (status, answer) = self.deliver(body.as_bytes(), Some(&signed(body.as_bytes()))).await;
        assert_eq!((status, &answer), (200, &json!({ "received": true })));
    }

    /// Delivers an event of the simulated Stripe as it signs it.
    pub async fn deliver_event(&self, event: &str) {
        let (body, signature) = self.simulator.signed_delivery(event).unwrap();
        let (status, answer) = self.deliver(&body, Some(&signature)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// How many events are stored.
    pub async fn stored_events(&self) -> usize {
        self.store.list_events(&EventFilter::default(), 1_000).await.unwrap().len()
    }

    /// Waits until an event stands in a state with a reason.
    pub async fn until(&self, event: &str, state: &str, reason: &str) {
        let started = creditd::clock::instant();
        loop {
            let found = self.event_state(event).await;
            if found == (state.to_owned(), reason.to_owned()) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{event} is {found:?}, not {state} {reason}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is said in words about why an event stands where it does.
    pub async fn detail(&self, event: &str) -> String {
        let (_, line) = self.call("GET", &format!("/api/v1/stripe-events/{event}"), None).await;
        line["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// A customer's grants that payments bought, by item key.
    pub async fn bought(&self, customer: &str) -> Vec<Value> {
        let mut grants = self.grants_of(customer).await;
        grants.retain(|grant| grant["item_key"].is_string());
        grants.sort_by_key(|grant| grant["item_key"].to_string());
        grants
    }

    /// All of a customer's grants.
    pub async fn grants_of(&self, customer: &str) -> Vec<Value> {
        let (status, page) = self.call("GET", &format!("/api/v1/customers/{customer}/grants"), None).await;
        assert_eq!(status, 200, "{page}");
        page["data"].as_array().unwrap().clone()
    }
}
