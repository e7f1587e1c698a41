//! What `sales` and their steps refuse.

use serde_json::json;

use super::*;

pub(super) fn sales() -> Vec<Attempt> {
    let other = |more: Value| {
        let mut patch = json!({ "sale_id": OTHER_SALE, "slot": bytes(16), "caller_key": null });
        for (name, value) in more.as_object().unwrap() {
            patch[name] = value.clone();
        }
        patch
    };
    vec![
        attempt("sales_pkey", "sales", json!({ "slot": bytes(16), "caller_key": null })),
        attempt("sales_account_fkey", "sales", json!({ "account_id": NOWHERE })),
        attempt("sales_one_open", "sales", json!({ "sale_id": OTHER_SALE, "caller_key": null })),
        attempt("sales_once_per_key", "sales", json!({ "sale_id": OTHER_SALE, "slot": bytes(16) })),
        attempt("sales_slot_length", "sales", other(json!({ "slot": bytes(15) }))),
        attempt("sales_request_length", "sales", other(json!({ "request": bytes(17) }))),
        attempt("sales_caller_key_length", "sales", other(json!({ "caller_key": bytes(1) }))),
        attempt("sales_kind_known", "sales", other(json!({ "kind": "gift" }))),
        attempt("sales_state_known", "sales", other(json!({ "state": "lost", "ended_at": "2026-01-02Z" }))),
        attempt("sales_ended_has_time", "sales", other(json!({ "state": "done" }))),
        attempt("sales_ended_has_time", "sales", other(json!({ "ended_at": "2026-01-02Z" }))),
        attempt(
            "sales_dropped_has_no_key",
            "sales",
            other(json!({ "state": "dropped", "ended_at": "2026-01-02Z", "caller_key": bytes(16) })),
        ),
        attempt("sale_steps_pkey", "sale_steps", json!({})),
        attempt("sale_steps_sale_fkey", "sale_steps", json!({ "sale_id": OTHER_SALE })),
        attempt("sale_steps_step_length", "sale_steps", json!({ "step": "" })),
        attempt("sale_steps_step_length", "sale_steps", json!({ "step": long(65) })),
        attempt("sale_steps_answer_has_time", "sale_steps", json!({ "step": "pay", "answered_at": null })),
    ]
}
