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
    /// The app's metadata, and ours on intents we made.
    pub metadata: BTreeMap<String, String>,
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
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
