//! The append-only log by which tests judge: every request, charge, delivery and control step, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

/// Entries kept; past this the simulator refuses requests rather than forget one.
const ENTRIES_MAX: usize = 1_000_000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// A request to `/v1` and its answer.
    Request(RequestEntry),
    /// Money moved, or was refused.
    Charge(ChargeEntry),
    /// Money went back, or the attempt ended.
    Refund(RefundEntry),
    /// One attempt to deliver an event.
    Delivery(DeliveryEntry),
    /// Something that was due happened by itself.
    Timer {
        /// Unix seconds: its own time, however late it was noticed.
        at: i64,
        /// What was due, such as `subscription` or `invoice`.
        family: String,
        /// Which object or event.
        subject: String,
    },
    /// A step of the control endpoint or its method.
    Control {
        /// Unix seconds.
        at: i64,
        /// What was done, such as `pay` or `webhook`.
        action: String,
        /// To which object.
        subject: String,
    },
}

/// A request to `/v1`. The key it was authorised with is never kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RequestEntry {
    /// Unix seconds.
    pub at: i64,
    /// The `Request-Id` of the answer.
    pub request_id: String,
    /// The HTTP method.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The raw query.
    pub query: String,
    /// The raw form body, as received.
    pub body: String,
    /// The `Stripe-Version` the request was served in, empty if it was refused before.
    pub stripe_version: String,
    /// Its `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The status answered; zero if nothing was executed and nothing answered.
    pub status: u16,
    /// Whether a stored answer was replayed.
    pub replayed: bool,
    /// What went wrong with this call by order, such as `drop_reply`.
    pub fault: Option<String>,
    /// The body answered.
    pub response: Value,
}

/// A charge that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChargeEntry {
    /// Unix seconds.
    pub at: i64,
    /// The charge.
    pub charge: String,
    /// Its payment intent.
    pub payment_intent: String,
    /// Minor units.
    pub amount: i64,
    /// Lower-case currency.
    pub currency: String,
    /// The customer charged, if any.
    pub customer: Option<String>,
    /// Whether the money moved.
    pub succeeded: bool,
    /// The metadata of its payment intent.
    pub metadata: BTreeMap<String, String>,
    /// The invoice it pays, if any.
    pub invoice: Option<String>,
}

/// A refund that was made, or whose status changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefundEntry {
    /// Unix seconds.
    pub at: i64,
    /// The refund.
    pub refund: String,
    /// The charge it takes from.
    pub charge: String,
    /// The payment intent of that charge.
    pub payment_intent: String,
    /// Its own metadata.
    pub metadata: BTreeMap<String, String>,
    /// Minor units.
    pub amount: i64,
    /// Lower-case currency.
    pub currency: String,
    /// `pending`, `succeeded` or `failed`.
    pub status: String,
}

/// One attempt to deliver an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliveryEntry {
    /// Unix seconds.
    pub at: i64,
    /// The event.
    pub event: String,
    /// Its type.
    pub event_type: String,
    /// Where it was sent.
    pub url: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Zero for the event itself, otherwise which copy of it.
    pub copy: u32,
    /// The status answered; none if there was no answer.
    pub status: Option<u16>,
    /// Why there was no answer.
    pub error: Option<String>,
}

/// The log; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Entry>>>);

impl Log {
    fn entries_locked(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        // A push cannot leave the vector half written, so a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends; an entry is never changed or removed afterwards.
    pub(super) fn push(&self, entry: Entry) {
        self.entries_locked().push(entry);
    }

    /// Whether requests must be refused because no more can be kept.
    pub fn is_full(&self) -> bool {
        self.entries_locked().len() >= ENTRIES_MAX
    }

    /// Everything, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries_locked().clone()
    }

    /// The requests, in order.
    pub fn requests(&self) -> Vec<RequestEntry> {
        self.pick(|entry| if let Entry::Request(found) = entry { Some(found.clone()) } else { None })
    }

    /// The charges, in order.
    pub fn charges(&self) -> Vec<ChargeEntry> {
        self.pick(|entry| if let Entry::Charge(found) = entry { Some(found.clone()) } else { None })
    }

    /// The refunds, in order; one stands here again whenever its status changes.
    pub fn refunds(&self) -> Vec<RefundEntry> {
        self.pick(|entry| if let Entry::Refund(found) = entry { Some(found.clone()) } else { None })
    }

    /// The delivery attempts, in order.
    pub fn deliveries(&self) -> Vec<DeliveryEntry> {
        self.pick(|entry| if let Entry::Delivery(found) = entry { Some(found.clone()) } else { None })
    }

    fn pick<T>(&self, choose: impl Fn(&Entry) -> Option<T>) -> Vec<T> {
        self.entries_locked().iter().filter_map(choose).collect()
    }
}
