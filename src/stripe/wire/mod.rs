//! Stripe's objects in every API version, read leniently. Pure.
//!
//! Flow: bytes become a JSON value, a [`reader::Node`] stands on an object of it, and each struct's `read` asks the
//! node for one fact at a time. A fact that moved between versions is asked for with its paths, new first; the first
//! one present answers. The version string of an event is never looked at.
//!
//! Always true:
//! - every fact may be absent: `None` is "Stripe did not say", and never a default amount;
//! - `null` is absent; unknown fields and unknown enum words pass;
//! - a value of the wrong type is a [`WireError`] that names its path and never shows its content.

mod charge;
mod credit_note;
mod customer;
mod dispute;
mod event;
mod expandable;
mod invoice;
mod invoice_payment;
mod line;
mod money;
mod payment_intent;
mod payment_method;
mod raw_list;
pub mod reader;
mod refund;
mod session;
mod subscription;

pub use charge::Charge;
pub use credit_note::{CreditNote, CreditNoteLine};
pub use customer::Customer;
pub use dispute::{Dispute, FraudWarning};
pub use event::{Envelope, Event, ThinEvent};
pub use expandable::Expandable;
pub use invoice::{Invoice, PaidOutside};
pub use invoice_payment::InvoicePayment;
pub use line::{InvoiceLine, LineKind};
pub use money::{WireMoney, WireTax};
pub use payment_intent::{PaymentError, PaymentIntent};
pub use payment_method::{PaymentMethod, SetupIntent};
pub use raw_list::{RawItem, RawList};
pub use reader::{Node, WireError};
pub use refund::Refund;
pub use session::{Session, SessionLineItem};
pub use subscription::{Subscription, SubscriptionItem};

use jiff::Timestamp;
use serde_json::Value;

/// One page of a list, as Stripe sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct WireList<T> {
    /// This page's items.
    pub data: Vec<T>,
    /// Whether another page follows; asked for with the last item's id.
    pub has_more: bool,
}

impl<T> Default for WireList<T> {
    fn default() -> Self {
        Self { data: Vec::new(), has_more: false }
    }
}

/// A span of time, `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first instant.
    pub start: Timestamp,
    /// The instant after the last one.
    pub end: Timestamp,
}

/// An object of Stripe's that can be read from a node.
pub trait Wire: Sized {
    /// Reads the object; absent facts stay `None`.
    fn read(node: &Node<'_>) -> Result<Self, WireError>;

    /// Reads the object from a JSON value, for instance an event's `data.object`.
    fn from_value(value: &Value) -> Result<Self, WireError> {
        Self::read(&Node::root(value)?)
    }

    /// Reads the object from the bytes of an answer.
    fn from_slice(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_value(&parse(bytes)?)
    }

    /// Reads a page of such objects from the bytes of a list answer.
    fn list_from_slice(bytes: &[u8]) -> Result<WireList<Self>, WireError> {
        let body = parse(bytes)?;
        let node = Node::root(&body)?;
        let list = page(&node)?;
        // Without it nobody knows whether this is all.
        let _goes_on = node.boolean(&["has_more"])?.ok_or_else(|| node.missing("has_more", "true or false"))?;
        Ok(list)
    }
}

/// Reads bytes as JSON. Depth is bounded by `serde_json` (128), size by whoever received the bytes.
pub fn parse(bytes: &[u8]) -> Result<Value, WireError> {
    serde_json::from_slice(bytes).map_err(|error| WireError::NotJson { line: error.line(), column: error.column() })
}

/// Reads bytes as one of Stripe's objects, all of which have an id.
pub fn parse_object(bytes: &[u8]) -> Result<Value, WireError> {
    let value = parse(bytes)?;
    let node = Node::root(&value)?;
    let _id = node.text(&["id"])?.ok_or_else(|| node.missing("id", "a text"))?;
    Ok(value)
}

/// Whether bytes are an answer of Stripe's at all: an object with an id, or a page of a list.
pub fn check_answer(bytes: &[u8]) -> Result<(), WireError> {
    let value = parse(bytes)?;
    if value["object"] == "list" || value.get("data").is_some() {
        return RawList::from_slice(bytes).map(drop);
    }
    parse_object(bytes).map(drop)
}

/// Reads the page of a list answer. One without `data` is no list: reading it as empty would lose its lines.
fn page<T: Wire>(node: &Node<'_>) -> Result<WireList<T>, WireError> {
    let data = node.objects(&["data"])?.ok_or_else(|| node.missing("data", "a list"))?;
    let data = data.iter().map(T::read).collect::<Result<_, _>>()?;
    Ok(WireList { data, has_more: node.boolean(&["has_more"])?.unwrap_or(false) })
}

/// Reads a list that stands inside an object; absent on all paths is `None`.
fn list<T: Wire>(node: &Node<'_>, paths: &[&str]) -> Result<Option<WireList<T>>, WireError> {
    node.object(paths)?.map(|inner| page(&inner)).transpose()
}

/// Reads `start` and `end` below two paths; half a period is none.
fn period(node: &Node<'_>, starts: &[&str], ends: &[&str]) -> Result<Option<Period>, WireError> {
    let (start, end) = (node.time(starts)?, node.time(ends)?);
    Ok(start.zip(end).map(|(start, end)| Period { start, end }))
}
