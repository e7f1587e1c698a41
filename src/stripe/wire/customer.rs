//! Customers: only what says whose they are. Names and addresses are not read.

use std::collections::BTreeMap;

use super::Wire;
use super::reader::{Node, WireError};

/// A customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Customer {
    /// `cus_...`.
    pub id: Option<String>,
    /// Whether it was deleted; absent on one that lives.
    pub is_deleted: Option<bool>,
    /// What its invoices are paid with.
    pub default_payment_method: Option<String>,
    /// The app's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Wire for Customer {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: node.text(&["id"])?,
            is_deleted: node.boolean(&["deleted"])?,
            default_payment_method: node.reference_id(&["invoice_settings.default_payment_method"])?,
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
