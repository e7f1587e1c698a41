//! A delivery comes in: verified on its raw bytes, stored as one row, nothing decided.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::event_intake::{EventIntake, NewEvent};
use crate::store::events::EventOrigin;
use crate::stripe::client::StripeId;
use crate::stripe::signature::{Secret, SignatureError, Tolerance, verify};
use crate::stripe::wire::{Envelope, Event, WireError, parse};

/// Seconds a signature may lie ahead before it is worth a warning.
const FUTURE_WORTH_A_WARNING: i64 = 300;

/// Longest id, type or version that is kept, in bytes: Stripe's own limit of ids.
const TEXT_MAX: usize = 255;

/// How a verified delivery was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// Stored; the worker has it next.
    Stored,
    /// It was here before.
    Duplicate,
    /// Stored as ignored, with this reason.
    Ignored(&'static str),
}

/// Why a delivery was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// It is not believed; nothing was written.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// Signed, but not an event: nothing can be stored under its id.
    #[error("{0}")]
    NotAnEvent(String),
    /// It could not be stored; Stripe will send it again.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Why an event is ignored from the start: a code, and the same in words.
pub type Reason = (&'static str, String);

/// Takes deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Receiver {
    intake: EventIntake,
    clock: Clock,
    secrets: Arc<[Secret]>,
    tolerance: Tolerance,
    livemode: bool,
    wake: Arc<Notify>,
}

impl Receiver {
    /// A receiver for one endpoint. `wake` is told of every event stored.
    pub fn new(
        intake: EventIntake,
        clock: Clock,
        secrets: Vec<Secret>,
        tolerance: Tolerance,
        livemode: bool,
        wake: Arc<Notify>,
    ) -> Self {
        Self { intake, clock, secrets: secrets.into(), tolerance, livemode, wake }
    }

    /// Verifies and stores one delivery.
    pub async fn receive(&self, body: &[u8], signature: Option<&str>) -> Result<Received, ReceiveError> {
        let verified = verify(body, signature, &self.secrets, self.clock.now(), &self.tolerance)?;
        if let Some(ahead) = verified.future_seconds.filter(|ahead| *ahead > FUTURE_WORTH_A_WARNING) {
            tracing::warn!(ahead_seconds = ahead, "a delivery was signed in the future: check this machine's clock");
        }
        self.store_verified(body, EventOrigin::Webhook).await
    }

    /// Stores an event that came over our own key rather than with a signature: listed by catch-up, or made by reconcile,
    /// whose ids are not Stripe's. All else is as for a delivery.
    pub async fn store_listed(&self, body: &[u8], origin: EventOrigin) -> Result<Received, ReceiveError> {
        self.store_verified(body, origin).await
    }

    async fn store_verified(&self, body: &[u8], origin: EventOrigin) -> Result<Received, ReceiveError> {
        let (event, ignored) = read(body, self.livemode)?;
        let is_id = |id: &&str| if origin == EventOrigin::Reconcile { fits(id) } else { StripeId::new(id).is_ok() };
        let id = event.id.as_deref().filter(is_id);
        let id = id.ok_or_else(|| ReceiveError::NotAnEvent("`id` has to be an event's id (evt_...)".to_owned()))?;
        let kind = event.kind.as_deref().filter(|kind| fits(kind));
        let kind =
            kind.ok_or_else(|| ReceiveError::NotAnEvent("`type` has to be a text of 1 to 255 bytes".to_owned()))?;
        if origin == EventOrigin::Webhook {
            crate::meters::STRIPE_EVENTS_RECEIVED.add(&[kind]);
        }
        // Nothing of Stripe's is older than the epoch, and the database's calendar ends somewhere before it.
        let created = event.created.filter(|created| *created >= Timestamp::UNIX_EPOCH);
        let new = NewEvent {
            id: id.to_owned(),
            event_type: kind.to_owned(),
            api_version: event.api_version.clone().filter(|text| fits(text)),
            livemode: event.livemode.unwrap_or(self.livemode),
            object_id: event.object_id.clone().filter(|text| fits(text)),
            created_at: created.unwrap_or_else(|| self.received_at()),
            origin,
            body: body.to_vec(),
            ignored: ignored.clone(),
        };
        if !self.intake.insert(new).await? {
            return Ok(Received::Duplicate);
        }
        tracing::info!(event.id = id, event.kind = kind, origin = origin.word(), "stored an event");
        if let Some((reason, detail)) = ignored {
            tracing::warn!(event.id = id, reason, detail, "stored as ignored");
            return Ok(Received::Ignored(reason));
        }
        self.wake.notify_one();
        Ok(Received::Stored)
    }

    fn received_at(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What the row says of a body, and why it is ignored from the start on a database of that mode. A body that names its id
/// and type is kept however broken the rest: the worker parks it, and better code reads it later.
pub fn read(body: &[u8], livemode: bool) -> Result<(Event, Option<Reason>), ReceiveError> {
    let event = match Envelope::from_slice(body) {
        Ok(Envelope::Snapshot(event)) => *event,
        Ok(Envelope::Thin(stub)) => {
            let thin = "thin v2 events carry no object and are not used here".to_owned();
            return Ok((bare(stub.id, stub.kind), Some(("thin_event", thin))));
        }
        Err(error) => named(body).ok_or_else(|| ReceiveError::NotAnEvent(described(&error)))?,
    };
    let ignored = ignored(&event, livemode);
    Ok((event, ignored))
}

fn ignored(event: &Event, livemode: bool) -> Option<Reason> {
    if let Some(account) = &event.account {
        let detail = format!("it is about the connected account {}", super::facts::cut(account));
        return Some(("connect_account", detail));
    }
    let mode = |live| if live { "live" } else { "test" };
    match event.livemode {
        Some(live) if live != livemode => {
            Some(("other_mode", format!("a {} mode event on a {} mode database", mode(live), mode(livemode))))
        }
        Some(_) | None => None,
    }
}

/// An event of which only the name is known.
fn bare(id: Option<String>, kind: Option<String>) -> Event {
    Event {
        id,
        kind,
        api_version: None,
        livemode: None,
        created: None,
        account: None,
        object_kind: None,
        object_id: None,
        object: None,
        previous_attributes: None,
    }
}

/// What can be told of an event whose envelope cannot be read.
fn named(body: &[u8]) -> Option<Event> {
    let value = parse(body).ok()?;
    let text = |name| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let (id, kind) = (text("id")?, text("type")?);
    let livemode = value.get("livemode").and_then(serde_json::Value::as_bool);
    Some(Event { livemode, account: text("account"), ..bare(Some(id), Some(kind)) })
}

/// Can a column hold it?
fn fits(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && !text.contains('\0')
}

fn described(error: &WireError) -> String {
    format!("the body is not a Stripe event: {error}")
}
