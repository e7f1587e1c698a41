//! The `customers` file: account and the app's id of its customer. It stands outside every digest and period: an erased
//! customer is gone from it, and from nothing else.

use super::Cell;
use crate::domain::ids::AccountId;

/// The columns.
pub const COLUMNS: [&str; 2] = ["account_id", "customer_id"];

/// The row of one account.
pub fn cells(account: AccountId, customer: &str) -> [Cell<'_>; 2] {
    [Cell::shown(account), Cell::text(customer)]
}
