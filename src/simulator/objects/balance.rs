//! `balance_transaction`: what moved the account's balance, with Stripe's fee, in the currency of the charge.

use serde_json::{Value, json};

use super::super::ids;
use super::super::state::{Kind, State, number};

/// Filters of the list.
pub const FILTERS: &[&str] = &["type", "currency", "source"];
/// Stripe's share of a charge in thousandths; the fixed part of its price list is left out, it differs by country.
const FEE_PER_MILLE: i64 = 29;
/// Money arrives two days after it moved.
const AVAILABLE_SECONDS: i64 = 2 * 24 * 60 * 60;

/// One movement.
#[derive(Clone, Copy, Debug)]
pub struct Movement<'movement> {
    /// `charge`, `refund`, `refund_failure`, or `dispute` and `dispute_reversal`, whose type is `adjustment`.
    pub kind: &'movement str,
    /// Minor units, negative if they leave.
    pub amount: i64,
    /// Stripe's fee.
    pub fee: i64,
    /// What caused it.
    pub source: &'movement str,
}

/// Stripe's fee for a charge, in the simulator: 2.9 percent, rounded down.
pub fn charge_fee(amount: i64) -> i64 {
    amount.saturating_mul(FEE_PER_MILLE) / 1_000
}

/// Books a movement; gives the transaction's id.
pub fn book(state: &mut State, movement: &Movement<'_>, currency: &str) -> String {
    let adjusts = movement.kind.starts_with("dispute");
    let fees = match movement.fee {
        0 => json!([]),
        fee => json!([{
            "amount": fee, "application": null, "currency": currency, "description": "Stripe processing fees",
            "type": "stripe_fee",
        }]),
    };
    let transaction = json!({
        "id": ids::fresh("txn"), "object": "balance_transaction", "amount": movement.amount,
        "available_on": state.now.saturating_add(AVAILABLE_SECONDS), "balance_type": "payments",
        "created": state.now, "currency": currency, "description": null, "exchange_rate": null,
        "fee": movement.fee, "fee_details": fees, "net": movement.amount.saturating_sub(movement.fee),
        "reporting_category": movement.kind, "source": movement.source, "status": "pending",
        "type": if adjusts { "adjustment" } else { movement.kind },
    });
    state.insert(Kind::BalanceTransaction, transaction, serde_json::Map::new())
}

/// A transaction as it is now: what was pending becomes available by itself.
pub fn as_of(now: i64, transaction: &Value) -> Value {
    let mut current = transaction.clone();
    if number(transaction, "available_on") <= now {
        current["status"] = json!("available");
    }
    current
}
