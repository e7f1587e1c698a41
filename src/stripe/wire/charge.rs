//! Charges: money that moved, and how much of it went back.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Wire;
use super::money::WireMoney;
use super::reader::{Node, WireError};

/// A charge.
#[derive(Clone, Debug, PartialEq)]
pub struct Charge {
    /// `ch_...` or `py_...`.
    pub id: Option<String>,
    /// `succeeded`, `pending` or `failed`.
    pub status: Option<String>,
    /// Whether the money was taken.
    pub paid: Option<bool>,
    /// Live or test mode.
    pub livemode: Option<bool>,
    /// When it was paid: the date of what it bought.
    pub created: Option<Timestamp>,
    /// The charge currency.
    pub currency: Option<String>,
    /// What was charged.
    pub amount: Option<WireMoney>,
    /// What was captured of it.
    pub amount_captured: Option<WireMoney>,
    /// What went back so far, over all refunds.
    pub amount_refunded: Option<WireMoney>,
    /// Whether a dispute was ever opened.
    pub disputed: Option<bool>,
    /// What the buyer saw, where it was another currency.
    pub presentment: Option<WireMoney>,
    /// The money movement on our Stripe balance.
    pub balance_transaction: Option<String>,
    /// The intent it belongs to.
    pub payment_intent: Option<String>,
    /// The Stripe customer.
    pub customer: Option<String>,
    /// Up to acacia; later asked for by `Fetch::InvoicePaymentsByIntent`.
    pub invoice: Option<String>,
    /// The app's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Wire for Charge {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let shown = node.text(&["presentment_details.presentment_currency"])?;
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            paid: node.boolean(&["paid"])?,
            livemode: node.boolean(&["livemode"])?,
            created: node.time(&["created"])?,
            amount: node.money(&["amount"], currency.as_deref())?,
            amount_captured: node.money(&["amount_captured"], currency.as_deref())?,
            amount_refunded: node.money(&["amount_refunded"], currency.as_deref())?,
            disputed: node.boolean(&["disputed"])?,
            presentment: node.money(&["presentment_details.presentment_amount"], shown.as_deref())?,
            currency,
            balance_transaction: node.reference_id(&["balance_transaction"])?,
            payment_intent: node.reference_id(&["payment_intent"])?,
            customer: node.reference_id(&["customer"])?,
            invoice: node.reference_id(&["invoice"])?,
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
