//! Payment intents: one attempt to take money, with its charges.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::money::WireMoney;
use super::reader::{Node, WireError};
use super::{Expandable, Wire};

/// A payment intent.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentIntent {
    /// `pi_...`.
    pub id: Option<String>,
    /// `succeeded`, `processing`, `requires_action`, ...
    pub status: Option<String>,
    /// Live or test mode.
    pub livemode: Option<bool>,
    /// When the intent was made, which is not when it was paid.
    pub created: Option<Timestamp>,
    /// The charge currency.
    pub currency: Option<String>,
    /// What was asked.
    pub amount: Option<WireMoney>,
    /// What was received.
    pub amount_received: Option<WireMoney>,
    /// What the buyer saw, where it was another currency.
    pub presentment: Option<WireMoney>,
    /// `automatic`, `automatic_async` or `manual`.
    pub capture_method: Option<String>,
    /// `latest_charge`, or the first of the older `charges` list, which is newest first.
    pub latest_charge: Option<Expandable>,
    /// The Stripe customer, or the account that stands in its place.
    pub customer: Option<String>,
    /// Stands in place of a customer since dahlia.
    pub customer_account: Option<String>,
    /// Up to acacia; later asked for by `Fetch::InvoicePaymentsByIntent`.
    pub invoice: Option<String>,
    /// What pays, or paid.
    pub payment_method: Option<String>,
    /// `off_session` or `on_session` where what pays is kept for later.
    pub setup_future_usage: Option<String>,
    /// Why it failed last; none once it has succeeded.
    pub last_error: Option<PaymentError>,
    /// The app's metadata, and ours on intents we made.
    pub metadata: BTreeMap<String, String>,
}

/// Why a payment failed, in Stripe's codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaymentError {
    /// `card_declined`, `authentication_required` and the like.
    pub code: Option<String>,
    /// The issuer's reason.
    pub decline_code: Option<String>,
    /// What Stripe advises; on the error since 2024, on the charge's outcome too.
    pub advice_code: Option<String>,
}

/// The error of an intent's last failure; its advice may stand only on the charge that failed.
fn last_error(node: &Node<'_>) -> Result<Option<PaymentError>, WireError> {
    let Some(error) = node.object(&["last_payment_error"])? else { return Ok(None) };
    let charge = match node.object_if_expanded("latest_charge")? {
        Some(charge) => Some(charge),
        None => node.object(&["charges.data.0"])?,
    };
    let of_charge = charge.map(|charge| charge.text(&["outcome.advice_code"])).transpose()?.flatten();
    Ok(Some(PaymentError {
        code: error.text(&["code"])?,
        decline_code: error.text(&["decline_code"])?,
        advice_code: error.text(&["advice_code"])?.or(of_charge),
    }))
}

impl Wire for PaymentIntent {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let shown = node.text(&["presentment_details.presentment_currency"])?;
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            livemode: node.boolean(&["livemode"])?,
            created: node.time(&["created"])?,
            amount: node.money(&["amount"], currency.as_deref())?,
            amount_received: node.money(&["amount_received"], currency.as_deref())?,
            presentment: node.money(&["presentment_details.presentment_amount"], shown.as_deref())?,
            currency,
            capture_method: node.text(&["capture_method"])?,
            latest_charge: node.reference(&["latest_charge", "charges.data.0"])?,
            customer: node.reference_id(&["customer", "customer_account"])?,
            customer_account: node.reference_id(&["customer_account"])?,
            invoice: node.reference_id(&["invoice"])?,
            payment_method: node.reference_id(&["payment_method", "source"])?,
            setup_future_usage: node.text(&["setup_future_usage"])?,
            last_error: last_error(node)?,
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
