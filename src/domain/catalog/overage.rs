//! What may be owed when an item's credits are spent (rule 22).

use serde::{Deserialize, Serialize};

use crate::domain::credits::Credits;

/// Usage beyond the credits there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overage {
    /// Most credits that may be owed.
    pub limit: Credits,
    /// What an owed credit costs, for later invoicing; absent: the next grants repay it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<UnitPrice>,
}

/// An exact price of one credit, validated when it was read. It may have more digits than the currency (up to 18), since
/// many credits are invoiced together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitPrice {
    /// Major units for one credit, such as "0.002", without zeros at the end.
    pub amount: String,
    /// Lower-case code.
    pub currency: String,
}
