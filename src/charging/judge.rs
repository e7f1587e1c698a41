//! What a payment intent of ours says: held against the decision first.

use jiff::Timestamp;
use serde_json::Value;

use super::ChargeError;
use super::begin::TOP_UP_KEY;
use crate::domain::money::Money;
use crate::domain::top_up::TopUp;
use crate::domain::top_up::decline::Why;
use crate::stripe::client::StripeId;

/// What has become of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The money is there.
    Paid(Paid),
    /// The bank takes its time.
    Processing(String),
    /// The card's owner is asked for.
    NeedsAction(String),
    /// Declined, or never paid.
    Declined(String, Why),
    /// It was cancelled: nothing can be taken by it any more.
    Cancelled(String),
    /// It waits for something that we do not ask for.
    Other(String),
}

/// A payment that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paid {
    pub payment_intent: Option<String>,
    pub charge: Option<String>,
    pub balance_transaction: Option<String>,
    pub customer: Option<String>,
    /// When, if the answer tells.
    pub at: Option<Timestamp>,
    pub gross: Money,
}

/// The id of a reference, as it is kept.
pub(super) fn id_of(reference: &Value) -> Option<String> {
    StripeId::of(reference).map(Into::into)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Why an intent's last charge failed.
pub(super) fn why_of(intent: &Value) -> Why {
    let error = &intent["last_payment_error"];
    Why {
        code: text(&error["code"]),
        decline_code: text(&error["decline_code"]),
        advice_code: text(&error["advice_code"]),
    }
}

/// Reads an intent that was made for a top-up. One that is of another amount, customer or mode is nobody's: a person has
/// to look.
pub(super) fn intent(intent: &Value, top_up: &TopUp, livemode: bool) -> Result<Judged, ChargeError> {
    let id = text(&intent["id"]).ok_or(ChargeError::Broken("a payment intent without an id"))?;
    if intent["livemode"].as_bool() != Some(livemode) {
        return Err(ChargeError::Broken("a payment intent of the other mode"));
    }
    if intent["metadata"][TOP_UP_KEY].as_str() != Some(top_up.id.to_string().as_str()) {
        return Err(ChargeError::Broken("a payment intent of another top-up"));
    }
    let is_ours =
        top_up.last_try.as_ref().is_none_or(|last| id_of(&intent["customer"]).as_ref() == Some(&last.customer));
    if !is_ours {
        return Err(ChargeError::Broken("a payment intent of another customer"));
    }
    Ok(match intent["status"].as_str().unwrap_or_default() {
        "succeeded" => Judged::Paid(paid(intent, id)?),
        "processing" => Judged::Processing(id),
        "requires_action" => Judged::NeedsAction(id),
        "requires_payment_method" => Judged::Declined(id, why_of(intent)),
        "canceled" => Judged::Cancelled(id),
        _ => Judged::Other(id),
    })
}

fn paid(intent: &Value, id: String) -> Result<Paid, ChargeError> {
    let currency = intent["currency"].as_str().and_then(|code| code.parse().ok());
    let currency = currency.ok_or(ChargeError::Broken("a payment intent without a currency"))?;
    let minor = intent["amount_received"].as_i64().ok_or(ChargeError::Broken("a payment intent without an amount"))?;
    let gross = Money::from_minor(minor, currency).map_err(|_| ChargeError::Broken("an amount out of range"))?;
    let charge = &intent["latest_charge"];
    Ok(Paid {
        payment_intent: Some(id),
        charge: id_of(charge),
        balance_transaction: id_of(&charge["balance_transaction"]),
        customer: id_of(&intent["customer"]),
        at: charge["created"].as_i64().and_then(|second| Timestamp::from_second(second).ok()),
        gross,
    })
}
