//! Attempts on what was billed of overage.

use serde_json::json;

use super::{Attempt, NOWHERE, TOO_MUCH, attempt, long};

const OTHER_BILL: &str = "00000000-0000-7000-8000-0000000000d8";
const PAYMENT: &str = "00000000-0000-7000-8000-0000000000f1";

/// A debt that is not the first, on which values are tried.
fn debt(constraint: &'static str, patch: &serde_json::Value) -> Attempt {
    let mut all = json!({ "debt_id": OTHER_BILL });
    for (name, value) in patch.as_object().unwrap() {
        all[name] = value.clone();
    }
    attempt(constraint, "debts", all)
}

/// Another bill than the first, for another draft.
fn bill(constraint: &'static str, patch: &serde_json::Value) -> Attempt {
    let mut all = json!({ "bill_id": OTHER_BILL, "draft_invoice": "in_2" });
    for (name, value) in patch.as_object().unwrap() {
        all[name] = value.clone();
    }
    attempt(constraint, "overage_bills", all)
}

fn line(constraint: &'static str, patch: serde_json::Value) -> Attempt {
    attempt(constraint, "overage_bill_lines", patch)
}

pub(super) fn attempts() -> Vec<Attempt> {
    vec![
        debt("debts_billed_range", &json!({ "billed": 5.1 })),
        debt("debts_billed_range", &json!({ "billed": -1 })),
        debt("debts_billed_has_price", &json!({ "billed": 1, "unit_price_minor": null, "currency": null })),
        attempt("overage_bills_pkey", "overage_bills", json!({ "draft_invoice": "in_2" })),
        bill("overage_bills_account_fkey", &json!({ "account_id": NOWHERE })),
        bill(
            "overage_bills_payment_fkey",
            &json!({ "payment_id": NOWHERE, "state": "paid", "stripe_invoice": "in_2", "ended_at": "2026-01-02Z" }),
        ),
        bill("overage_bills_currency_is_code", &json!({ "currency": "USD" })),
        bill("overage_bills_customer_length", &json!({ "stripe_customer": "" })),
        bill("overage_bills_draft_length", &json!({ "draft_invoice": long(256) })),
        bill("overage_bills_no_draft_is_own", &json!({ "draft_invoice": null })),
        bill("overage_bills_state_known", &json!({ "state": "lost" })),
        bill("overage_bills_invoiced_has_invoice", &json!({ "state": "invoiced" })),
        bill(
            "overage_bills_invoiced_has_invoice",
            &json!({ "state": "paid", "payment_id": PAYMENT, "ended_at": "2026-01-02Z" }),
        ),
        bill(
            "overage_bills_paid_has_payment",
            &json!({ "state": "paid", "stripe_invoice": "in_2", "ended_at": "2026-01-02Z" }),
        ),
        bill("overage_bills_paid_has_payment", &json!({ "payment_id": PAYMENT })),
        bill("overage_bills_void_has_reason", &json!({ "state": "void", "ended_at": "2026-01-02Z" })),
        bill("overage_bills_void_has_reason", &json!({ "reason": "none" })),
        bill("overage_bills_ended_has_time", &json!({ "state": "void", "reason": "gone" })),
        bill("overage_bills_ended_has_time", &json!({ "ended_at": "2026-01-02Z" })),
        bill("overage_bills_once_per_draft", &json!({ "draft_invoice": "in_1", "period_end": "2026-03-01Z" })),
        Attempt(
            "overage_bills_once_per_period",
            "overage_bills",
            "UPDATE overage_bills SET draft_invoice = NULL, is_own = true",
            json!({ "bill_id": OTHER_BILL }),
        ),
        line("overage_bill_lines_pkey", json!({})),
        line("overage_bill_lines_bill_fkey", json!({ "bill_id": OTHER_BILL })),
        line("overage_bill_lines_debt_fkey", json!({ "line": 1, "debt_id": NOWHERE })),
        line("overage_bill_lines_debt_once", json!({ "line": 1 })),
        line("overage_bill_lines_line_range", json!({ "line": 100 })),
        line("overage_bill_lines_credits_range", json!({ "credits": 0 })),
        line("overage_bill_lines_credits_range", json!({ "credits": TOO_MUCH })),
        line("overage_bill_lines_price_is_decimal", json!({ "unit_price": "1e3" })),
        line("overage_bill_lines_amount_range", json!({ "amount_minor": 0 })),
        line("overage_bill_lines_amount_range", json!({ "amount_minor": 100_000_000 })),
    ]
}
