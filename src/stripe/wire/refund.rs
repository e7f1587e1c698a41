//! Refunds: money on its way back, and whether it got there.

use std::collections::BTreeMap;

use super::Wire;
use super::money::WireMoney;
use super::reader::{Node, WireError};

/// A refund.
#[derive(Clone, Debug, PartialEq)]
pub struct Refund {
    /// `re_...` or `pyr_...`, the cursor for the next page.
    pub id: Option<String>,
    /// `pending`, `requires_action`, `succeeded`, `failed` or `canceled`; absent in shapes of 2014 and before.
    pub status: Option<String>,
    /// How much.
    pub amount: Option<WireMoney>,
    /// The charge it gives back.
    pub charge: Option<String>,
    /// The intent of that charge.
    pub payment_intent: Option<String>,
    /// The app's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Wire for Refund {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            amount: node.money(&["amount"], currency.as_deref())?,
            charge: node.reference_id(&["charge"])?,
            payment_intent: node.reference_id(&["payment_intent"])?,
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
