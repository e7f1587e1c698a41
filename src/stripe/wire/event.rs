//! The envelope of an event: what happened, when, to which object.

use jiff::Timestamp;
use serde_json::Value;

use super::reader::{Node, WireError};
use super::{Wire, parse};

/// What arrived at the webhook: a snapshot event, or a thin one that is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Envelope {
    /// An event that carries its object.
    Snapshot(Box<Event>),
    /// An event of Stripe's v2 API, which carries none.
    Thin(ThinEvent),
}

impl Envelope {
    /// Tells which kind a body is, and reads it.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        let value = parse(bytes)?;
        let node = Node::root(&value)?;
        if node.text(&["object"])?.as_deref() == Some("v2.core.event") {
            return Ok(Self::Thin(ThinEvent { id: node.text(&["id"])?, kind: node.text(&["type"])? }));
        }
        Event::read(&node).map(|event| Self::Snapshot(Box::new(event)))
    }
}

/// An event of Stripe's v2 API; answered with 200 and ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinEvent {
    /// Its id.
    pub id: Option<String>,
    /// Its type.
    pub kind: Option<String>,
}

/// A snapshot event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `evt_...`, the key deliveries are deduplicated by.
    pub id: Option<String>,
    /// What happened, for instance `invoice.paid`.
    pub kind: Option<String>,
    /// The version that shaped the object; for the log, never for a decision.
    pub api_version: Option<String>,
    /// Live or test mode.
    pub livemode: Option<bool>,
    /// When it happened.
    pub created: Option<Timestamp>,
    /// The Connect account it concerns, which is not ours.
    pub account: Option<String>,
    /// What the object is, for instance `invoice`.
    pub object_kind: Option<String>,
    /// The object's own id.
    pub object_id: Option<String>,
    /// The object as it was when the event was made.
    pub object: Option<Value>,
    /// What the changed fields held before.
    pub previous_attributes: Option<Value>,
}

impl Wire for Event {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        // Standing on both first refuses an `object` or `previous_attributes` that is not an object.
        let object = node.object(&["data.object"])?;
        node.object(&["data.previous_attributes"])?;
        let copy = |path| Ok::<_, WireError>(node.value(&[path])?.map(|(value, _)| value.clone()));
        Ok(Self {
            id: node.text(&["id"])?,
            kind: node.text(&["type"])?,
            api_version: node.text(&["api_version"])?,
            livemode: node.boolean(&["livemode"])?,
            created: node.time(&["created"])?,
            account: node.text(&["account"])?,
            object_kind: object.as_ref().map(|inner| inner.text(&["object"])).transpose()?.flatten(),
            object_id: object.as_ref().map(|inner| inner.text(&["id"])).transpose()?.flatten(),
            object: copy("data.object")?,
            previous_attributes: copy("data.previous_attributes")?,
        })
    }
}
