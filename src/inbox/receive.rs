//! A delivery comes in: verified on its raw bytes, stored as one row, nothing decided.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::store::events::{EventOrigin, NewEvent};
use crate::store::{Store, StoreError};
use crate::stripe::client::StripeId;
use crate::stripe::signature::{Secret, SignatureError, Tolerance, verify};
use crate::stripe::wire::{Envelope, Event, WireError};

/// Seconds a signature may lie ahead before it is worth a warning.
const FUTURE_WORTH_A_WARNING: i64 = 300;

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

/// Takes deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Receiver {
    store: Store,
    clock: Clock,
    secrets: Arc<[Secret]>,
    tolerance: Tolerance,
    livemode: bool,
    wake: Arc<Notify>,
}

impl Receiver {
    /// A receiver for one endpoint. `wake` is told of every event stored.
    pub fn new(
        store: Store,
        clock: Clock,
        secrets: Vec<Secret>,
        tolerance: Tolerance,
        livemode: bool,
        wake: Arc<Notify>,
    ) -> Self {
        Self { store, clock, secrets: secrets.into(), tolerance, livemode, wake }
    }

    /// Verifies and stores one delivery.
    pub async fn receive(&self, body: &[u8], signature: Option<&str>) -> Result<Received, ReceiveError> {
        let verified = verify(body, signature, &self.secrets, self.clock.now(), &self.tolerance)?;
        if let Some(ahead) = verified.future_seconds.filter(|ahead| *ahead > FUTURE_WORTH_A_WARNING) {
            tracing::warn!(ahead_seconds = ahead, "a delivery was signed in the future: check this machine's clock");
        }
        self.store_verified(body, EventOrigin::Webhook).await
    }

    async fn store_verified(&self, body: &[u8], origin: EventOrigin) -> Result<Received, ReceiveError> {
        let envelope = Envelope::from_slice(body).map_err(|error| ReceiveError::NotAnEvent(described(&error)))?;
        let thin;
        let (event, ignored) = match &envelope {
            Envelope::Snapshot(event) => (&**event, self.ignored(event)),
            Envelope::Thin(stub) => {
                thin = Event {
                    id: stub.id.clone(),
                    kind: stub.kind.clone(),
                    api_version: None,
                    livemode: Some(self.livemode),
                    created: None,
                    account: None,
                    object_kind: None,
                    object_id: None,
                    object: None,
                    previous_attributes: None,
                };
                (&thin, Some(("thin_event", "thin v2 events carry no object and are not used here".to_owned())))
            }
        };
        let id = event.id.as_deref().filter(|id| StripeId::new(id).is_ok());
        let id = id.ok_or_else(|| ReceiveError::NotAnEvent("`id` has to be an event's id (evt_...)".to_owned()))?;
        let kind = event.kind.as_deref().filter(|kind| !kind.is_empty() && kind.len() <= 255 && !kind.contains('\0'));
        let kind =
            kind.ok_or_else(|| ReceiveError::NotAnEvent("`type` has to be a text of 1 to 255 bytes".to_owned()))?;
        let new = NewEvent {
            id,
            event_type: kind,
            api_version: event.api_version.as_deref(),
            livemode: event.livemode.unwrap_or(self.livemode),
            object_id: event.object_id.as_deref(),
            created_at: event.created.unwrap_or_else(|| self.received_at()),
            origin,
            body,
            ignored: ignored.as_ref().map(|(reason, detail)| (*reason, detail.as_str())),
        };
        if !self.store.insert_event(&new).await? {
            return Ok(Received::Duplicate);
        }
        tracing::info!(event.id = id, event.kind = kind, "stored an event");
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

    fn ignored(&self, event: &Event) -> Option<(&'static str, String)> {
        if let Some(account) = &event.account {
            let detail = format!("it is about the connected account {}", super::facts::cut(account));
            return Some(("connect_account", detail));
        }
        let mode = |live| if live { "live" } else { "test" };
        match event.livemode {
            Some(live) if live != self.livemode => {
                Some(("other_mode", format!("a {} mode event on a {} mode database", mode(live), mode(self.livemode))))
            }
            Some(_) | None => None,
        }
    }
}

fn described(error: &WireError) -> String {
    format!("the body is not a Stripe event: {error}")
}
