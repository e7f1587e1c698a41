//! What is read of Stripe's answers here: ids, addresses, states. Money is read by the inbox alone.

use serde_json::{Value, json};

use crate::domain::money::Currency;
use crate::stripe::client::StripeId;

/// A customer at Stripe.
#[derive(Clone, Debug)]
pub struct Payer {
    /// Its id.
    pub customer: StripeId,
    /// The currency Stripe holds it to; `None`: it has paid for nothing yet.
    pub currency: Option<Currency>,
    /// A saved card: its default, else the newest.
    pub card: Option<StripeId>,
}

impl Payer {
    /// Reads a customer.
    pub(super) fn read(id: StripeId, customer: &Value) -> Self {
        let method = &customer["invoice_settings"]["default_payment_method"];
        let currency = customer["currency"].as_str().and_then(|code| code.parse().ok());
        Self { customer: id, currency, card: StripeId::of(method) }
    }
}

/// The text of a field.
pub(super) fn text_at<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What a step keeps of an answer: nothing of a person.
pub(super) fn kept(answer: &Value) -> Value {
    let id = |field: &str| StripeId::of(&answer[field]).map(|id| id.to_string());
    json!({
        "id": answer["id"],
        "url": answer["url"],
        "status": answer["status"],
        "latest_invoice": id("latest_invoice"),
        "hosted_invoice_url": answer["hosted_invoice_url"],
        "is_pending": answer["pending_update"].is_object(),
        "phase_start": answer["phases"][0]["start_date"],
        "phase_end": answer["phases"][0]["end_date"],
    })
}
