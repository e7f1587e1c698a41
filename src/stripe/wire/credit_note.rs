//! Credit notes: parts of an invoice taken back, line by line.

use super::Wire;
use super::money::{WireMoney, WireTax, taxes};
use super::reader::{Node, WireError};
use super::{WireList, list};

/// A credit note.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditNote {
    /// `cn_...`.
    pub id: Option<String>,
    /// `issued` or `void`.
    pub status: Option<String>,
    /// The invoice.
    pub invoice: Option<String>,
    /// The currency.
    pub currency: Option<String>,
    /// All of it, taxes included.
    pub amount: Option<WireMoney>,
    /// What is given back outside Stripe.
    pub out_of_band: Option<WireMoney>,
    /// Up to acacia: the refund it made.
    pub refund: Option<String>,
    /// Since basil: what went back in refunds. `None`: an older shape, ask for `refund`.
    pub refunded: Option<i64>,
    /// Its lines, the first page in a webhook.
    pub lines: Option<WireList<CreditNoteLine>>,
}

/// A line of a credit note.
#[derive(Clone, Debug, PartialEq)]
pub struct CreditNoteLine {
    /// The cursor for the next page.
    pub id: Option<String>,
    /// The invoice's line it takes back; none for a line of its own.
    pub invoice_line: Option<String>,
    /// Before discounts, without exclusive taxes.
    pub amount: Option<WireMoney>,
    /// The discount within it.
    pub discount: Option<WireMoney>,
    /// Its taxes.
    pub taxes: Option<Vec<WireTax>>,
}

impl Wire for CreditNote {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let refunds = node.objects(&["refunds"])?;
        let refunded = refunds.map(|refunds| {
            refunds.iter().try_fold(0_i64, |sum, refund| {
                let minor = refund.integer(&["amount_refunded"])?.unwrap_or(0);
                sum.checked_add(minor).ok_or_else(|| WireError::SumTooLarge { field: refund.path("amount_refunded") })
            })
        });
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            invoice: node.reference_id(&["invoice"])?,
            amount: node.money(&["amount"], currency.as_deref())?,
            out_of_band: node.money(&["out_of_band_amount"], currency.as_deref())?,
            currency,
            refund: node.reference_id(&["refund"])?,
            refunded: refunded.transpose()?,
            lines: list(node, &["lines"])?,
        })
    }
}

impl Wire for CreditNoteLine {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        // A line has no currency of its own: it is the note's. Sums are taken in minor units alone.
        let currency = Some("xxx");
        Ok(Self {
            id: node.text(&["id"])?,
            invoice_line: node.reference_id(&["invoice_line_item"])?,
            amount: node.money(&["amount"], currency)?,
            discount: node.money(&["discount_amount"], currency)?,
            taxes: taxes(node, &["taxes", "tax_amounts"], currency)?,
        })
    }
}
