//! An event made from an object of Stripe's, where none of Stripe's own was found: it goes the same way as a delivery.
//! Pure.
//!
//! Its id follows from the object, so that making it again is the same event: from the id alone where the object says
//! something final (a paid session, a paid invoice, an intent that succeeded), with a digest of its content where the
//! object changes (a subscription, a refund, a dispute).

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::stripe::client::Listing;
use crate::stripe::wire::{Node, RawItem, WireError};

/// What ids of such events begin with.
pub const PREFIX: &str = "reconcile:";
/// Digits of the digest of an object that changes.
const DIGEST_DIGITS: usize = 16;

/// What is the same for all events of one run.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// The version the objects were asked for in.
    pub api_version: &'a str,
    /// The database's mode, for an object that does not say its own.
    pub livemode: bool,
    /// When the objects were listed.
    pub now: Timestamp,
}

/// An event made from an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// Its id.
    pub event: String,
    /// Its type.
    pub event_type: &'static str,
    /// The body, as an event of Stripe's.
    pub body: Vec<u8>,
}

/// What stored events about an object have to be of, so that they tell what the made one would.
pub const fn told_by(what: Listing) -> &'static [&'static str] {
    match what {
        Listing::Sessions => &["checkout.session.completed", "checkout.session.async_payment_succeeded"],
        Listing::Invoices => &["invoice.paid"],
        Listing::PaymentIntents => &["payment_intent.succeeded"],
        Listing::Subscriptions => &[
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.paused",
            "customer.subscription.resumed",
            "customer.subscription.deleted",
        ],
        Listing::Refunds => {
            &["charge.refunded", "charge.refund.updated", "refund.created", "refund.updated", "refund.failed"]
        }
        Listing::Disputes => &[
            "charge.dispute.created",
            "charge.dispute.updated",
            "charge.dispute.funds_withdrawn",
            "charge.dispute.funds_reinstated",
            "charge.dispute.closed",
        ],
    }
}

/// The event an object makes; `None` when it says nothing that counts, such as a session that nobody has paid. A refund
/// that took money makes the one of its charge, see [`of_charge`].
pub fn made_from(what: Listing, object: &RawItem, making: Making<'_>) -> Result<Option<Synthetic>, WireError> {
    let node = Node::root(&object.value)?;
    let Some(id) = object.id.as_deref() else { return Ok(None) };
    let status = node.text(&["status"])?.unwrap_or_default();
    let created = object.created.unwrap_or(making.now);
    let fixed = |event_type, at| Some(event(event_type, id, None, object, at, making));
    let changing = |event_type| Some(event(event_type, id, Some(digest(object)), object, making.now, making));
    Ok(match what {
        Listing::Sessions => {
            let paid = node.text(&["payment_status"])?.unwrap_or_default();
            if ["paid", "no_payment_required"].contains(&paid.as_str()) {
                fixed("checkout.session.completed", created)
            } else {
                None
            }
        }
        Listing::Invoices => {
            let paid_at = node.time(&["status_transitions.paid_at"])?.unwrap_or(created);
            if status == "paid" { fixed("invoice.paid", paid_at) } else { None }
        }
        Listing::PaymentIntents => {
            if status == "succeeded" {
                fixed("payment_intent.succeeded", created)
            } else {
                None
            }
        }
        Listing::Subscriptions if status == "canceled" => changing("customer.subscription.deleted"),
        Listing::Subscriptions => changing("customer.subscription.updated"),
        Listing::Refunds if status == "failed" || status == "canceled" => changing("refund.failed"),
        Listing::Refunds => None,
        Listing::Disputes => {
            let over = ["won", "lost", "warning_closed", "prevented"].contains(&status.as_str());
            changing(if over { "charge.dispute.closed" } else { "charge.dispute.created" })
        }
    })
}

/// `charge.refunded` of the charge as it is now: the sum of all its refunds so far. One for each content of the refund
/// too: a charge says nothing of a pending refund that succeeds.
pub fn of_charge(charge: &RawItem, refund: &RawItem, making: Making<'_>) -> Option<Synthetic> {
    let id = charge.id.as_deref()?;
    let both = RawItem { bytes: [charge.bytes.as_slice(), refund.bytes.as_slice()].concat(), ..charge.clone() };
    Some(event("charge.refunded", id, Some(digest(&both)), charge, making.now, making))
}

fn digest(object: &RawItem) -> String {
    let mut digits = hex::encode(Sha256::digest(&object.bytes));
    digits.truncate(DIGEST_DIGITS);
    digits
}

fn event(
    event_type: &'static str,
    id: &str,
    digest: Option<String>,
    object: &RawItem,
    created: Timestamp,
    making: Making<'_>,
) -> Synthetic {
    let mut name = format!("{PREFIX}{event_type}:{id}");
    if let Some(digest) = digest {
        name.push(':');
        name.push_str(&digest);
    }
    let livemode = object.value.get("livemode").and_then(serde_json::Value::as_bool).unwrap_or(making.livemode);
    let text = |text: &str| serde_json::Value::from(text).to_string();
    // The object's own bytes, which parsing and writing anew might change.
    let body = format!(
        "{{\"id\":{},\"object\":\"event\",\"api_version\":{},\"created\":{},\"data\":{{\"object\":{}}},\
         \"livemode\":{livemode},\"pending_webhooks\":0,\"request\":null,\"type\":{}}}",
        text(&name),
        text(making.api_version),
        created.as_second(),
        String::from_utf8_lossy(&object.bytes),
        text(event_type),
    );
    Synthetic { event: name, event_type, body: body.into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::wire::{Event, RawList, Wire};

    fn object(text: &str) -> RawItem {
        let page = format!("{{\"data\":[{text}],\"has_more\":false}}");
        RawList::from_slice(page.as_bytes()).unwrap().data.remove(0)
    }

    fn making() -> Making<'static> {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        Making { api_version: "2026-09-30.endive", livemode: false, now }
    }

    fn made(what: Listing, text: &str) -> Option<Synthetic> {
        made_from(what, &object(text), making()).unwrap()
    }

    #[test]
    fn a_made_event_reads_as_one_of_stripes_and_carries_the_objects_own_bytes() {
        let text = r#"{"id":"cs_1","object":"checkout.session","payment_status":"paid","status":"complete","created":1780000000,"x":1.50}"#;
        let made = made(Listing::Sessions, text).unwrap();
        assert_eq!(
            (made.event.as_str(), made.event_type),
            ("reconcile:checkout.session.completed:cs_1", "checkout.session.completed")
        );
        assert!(String::from_utf8(made.body.clone()).unwrap().contains(text));
        let event = Event::from_slice(&made.body).unwrap();
        assert_eq!((event.id, event.object_id.as_deref()), (Some(made.event), Some("cs_1")));
        assert_eq!((event.livemode, event.created), (Some(false), Timestamp::from_second(1_780_000_000).ok()));
        assert_eq!(event.api_version.as_deref(), Some("2026-09-30.endive"));
    }

    #[test]
    fn what_is_final_has_one_id_and_what_changes_has_one_for_each_content() {
        let paid =
            |extra: &str| made(Listing::Invoices, &format!(r#"{{"id":"in_1","status":"paid"{extra}}}"#)).unwrap();
        assert_eq!(paid("").event, paid(r#","x":1"#).event);
        let live =
            |status: &str| made(Listing::Subscriptions, &format!(r#"{{"id":"sub_1","status":"{status}"}}"#)).unwrap();
        assert_eq!(live("active").event, live("active").event);
        assert_ne!(live("active").event, live("past_due").event);
        assert_eq!(live("canceled").event_type, "customer.subscription.deleted");
        assert!(live("active").event.starts_with("reconcile:customer.subscription.updated:sub_1:"));
    }

    #[test]
    fn what_says_nothing_that_counts_makes_no_event() {
        for (what, text) in [
            (Listing::Sessions, r#"{"id":"cs_1","payment_status":"unpaid"}"#),
            (Listing::Sessions, r#"{"payment_status":"paid"}"#),
            (Listing::Invoices, r#"{"id":"in_1","status":"open"}"#),
            (Listing::PaymentIntents, r#"{"id":"pi_1","status":"processing"}"#),
            (Listing::Refunds, r#"{"id":"re_1","status":"succeeded"}"#),
        ] {
            assert_eq!(made(what, text), None, "{text}");
        }
    }

    #[test]
    fn a_dispute_tells_whether_it_is_over() {
        let kind = |status: &str| {
            made(Listing::Disputes, &format!(r#"{{"id":"dp_1","status":"{status}"}}"#)).unwrap().event_type
        };
        assert_eq!([kind("needs_response"), kind("under_review")], ["charge.dispute.created"; 2]);
        assert_eq!([kind("won"), kind("lost"), kind("warning_closed")], ["charge.dispute.closed"; 3]);
    }
}
