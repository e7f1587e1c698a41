//! Invoice payments: since basil, what ties an invoice to the intents and charges that paid it.

use jiff::Timestamp;

use super::Wire;
use super::money::WireMoney;
use super::reader::{Node, WireError};

/// One payment towards an invoice.
#[derive(Clone, Debug, PartialEq)]
pub struct InvoicePayment {
    /// `inpay_...`, the cursor for the next page.
    pub id: Option<String>,
    /// The invoice.
    pub invoice: Option<String>,
    /// `open`, `paid` or `canceled`.
    pub status: Option<String>,
    /// The currency.
    pub currency: Option<String>,
    /// What was paid.
    pub amount_paid: Option<WireMoney>,
    /// What was asked.
    pub amount_requested: Option<WireMoney>,
    /// `payment_intent`, `charge` or `payment_record`.
    pub kind: Option<String>,
    /// The intent that paid.
    pub payment_intent: Option<String>,
    /// The charge that paid.
    pub charge: Option<String>,
    /// When it was paid.
    pub paid_at: Option<Timestamp>,
}

impl Wire for InvoicePayment {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        Ok(Self {
            id: node.text(&["id"])?,
            invoice: node.reference_id(&["invoice"])?,
            status: node.text(&["status"])?,
            amount_paid: node.money(&["amount_paid"], currency.as_deref())?,
            amount_requested: node.money(&["amount_requested"], currency.as_deref())?,
            currency,
            kind: node.text(&["payment.type"])?,
            payment_intent: node.reference_id(&["payment.payment_intent"])?,
            charge: node.reference_id(&["payment.charge"])?,
            paid_at: node.time(&["status_transitions.paid_at"])?,
        })
    }
}
