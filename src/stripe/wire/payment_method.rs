//! Saved cards, and the intents that save them. Numbers, names and addresses are not read.

use std::collections::BTreeMap;

use super::Wire;
use super::reader::{Node, WireError};

/// Something a customer pays with.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentMethod {
    /// `pm_...`; of old ones `card_...` or `src_...`.
    pub id: Option<String>,
    /// Whose; none once it is detached.
    pub customer: Option<String>,
}

impl Wire for PaymentMethod {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self { id: node.text(&["id"])?, customer: node.reference_id(&["customer", "customer_account"])? })
    }
}

/// An intent to keep a card without charging it.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupIntent {
    /// `seti_...`.
    pub id: Option<String>,
    /// `succeeded`, `requires_action`, ...
    pub status: Option<String>,
    /// Whose card.
    pub customer: Option<String>,
    /// The card.
    pub payment_method: Option<String>,
    /// `off_session` or `on_session`.
    pub usage: Option<String>,
    /// The app's metadata, and ours on those we made.
    pub metadata: BTreeMap<String, String>,
}

impl Wire for SetupIntent {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            customer: node.reference_id(&["customer", "customer_account"])?,
            payment_method: node.reference_id(&["payment_method"])?,
            usage: node.text(&["usage"])?,
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
