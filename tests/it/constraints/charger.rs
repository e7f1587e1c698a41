//! What the charger's tables refuse.

use serde_json::json;

use super::{Attempt, NOWHERE, TOO_MUCH, attempt, long};

/// One valid row of each, of the account there is.
pub(super) const BASE: &str = "
INSERT INTO top_up_rules VALUES ('00000000-0000-7000-8000-00000000000a', 'main', 'api', '{}', true, 'card_declined', '2026-01-01Z', 0,
    '2026-01-01Z', 1, 500, '2026-01-01Z', 1, 500, '2026-01-01Z', NULL);
INSERT INTO top_ups VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000e2', 'main', 'open', '{}', 'usd', 500, 50,
    '00000000-0000-7000-8000-0000000000e3', NULL, NULL, NULL, 1, '2026-01-01Z', '2026-01-01Z', NULL);
INSERT INTO top_up_ids VALUES ('00000000-0000-7000-8000-0000000000e2', '00000000-0000-7000-8000-00000000000a');
INSERT INTO top_up_tries VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000e2', 1,
    '00000000-0000-7000-8000-0000000000e4', 'sent', 'cus_1', 'pm_1', NULL, NULL, NULL, NULL, NULL, '2026-01-01Z', NULL);
INSERT INTO top_up_excess VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000e2',
    '00000000-0000-7000-8000-0000000000f1', 'pi_2', 'usd', 500, 'due', NULL, '2026-01-01Z', NULL);
INSERT INTO charge_steps VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000e4', 'intent', 'POST',
    '/v1/payment_intents', '', '{}', '2026-01-01Z', '2026-01-01Z');
INSERT INTO charge_work VALUES (10, '00000000-0000-7000-8000-00000000000a', 'top_up', '00000000-0000-7000-8000-0000000000e2', '2026-01-01Z', 1,
    '00000000-0000-7000-8000-0000000000d3', '2026-01-02Z');
INSERT INTO circuits VALUES ('stripe', 0, NULL, NULL);
";

/// Another top-up than the one there is.
const OTHER: &str = "00000000-0000-7000-8000-0000000000e9";

pub(super) fn attempts() -> Vec<Attempt> {
    [rules(), top_ups(), tries_and_excess(), queue()].into_iter().flatten().collect()
}

fn rules() -> Vec<Attempt> {
    let broken = |constraint, patch| attempt(constraint, "top_up_rules", patch);
    vec![
        broken("top_up_rules_pkey", json!({})),
        broken("top_up_rules_account_fkey", json!({ "account_id": NOWHERE })),
        broken("top_up_rules_name_length", json!({ "name": "" })),
        broken("top_up_rules_name_length", json!({ "name": long(301) })),
        broken("top_up_rules_origin_known", json!({ "name": "b", "origin": "mail" })),
        broken("top_up_rules_terms_is_object", json!({ "name": "b", "terms": [] })),
        broken("top_up_rules_pause_known", json!({ "name": "b", "paused_because": "weather" })),
        broken("top_up_rules_pause_has_time", json!({ "name": "b", "paused_at": null })),
        broken("top_up_rules_pause_has_time", json!({ "name": "b", "paused_because": null })),
        broken("top_up_rules_failures_not_negative", json!({ "name": "b", "failures": -1 })),
        broken("top_up_rules_counts_not_negative", json!({ "name": "b", "day_count": -1 })),
        broken("top_up_rules_counts_not_negative", json!({ "name": "b", "day_minor": -1 })),
        broken("top_up_rules_counts_not_negative", json!({ "name": "b", "month_count": -1 })),
        broken("top_up_rules_counts_not_negative", json!({ "name": "b", "month_minor": -1 })),
    ]
}

fn top_ups() -> Vec<Attempt> {
    let broken = |constraint, mut patch: serde_json::Value| {
        if patch["topup_id"].is_null() {
            patch["topup_id"] = json!(OTHER);
        }
        if patch["rule"].is_null() {
            patch["rule"] = json!("other");
        }
        attempt(constraint, "top_ups", patch)
    };
    let over = json!({ "ended_at": "2026-01-02Z", "due_at": null });
    let ended = |state: &str| {
        let mut patch = over.clone();
        patch["state"] = json!(state);
        patch
    };
    vec![
        attempt("top_ups_pkey", "top_ups", json!({ "rule": "other" })),
        attempt("top_ups_one_open", "top_ups", json!({ "topup_id": OTHER })),
        broken("top_ups_account_fkey", json!({ "account_id": NOWHERE })),
        broken("top_ups_state_known", json!({ "state": "lost" })),
        broken("top_ups_terms_is_object", json!({ "terms": 1 })),
        broken("top_ups_currency_is_code", json!({ "currency": "USD" })),
        broken("top_ups_amount_positive", json!({ "amount_minor": 0 })),
        broken("top_ups_credits_positive", json!({ "credits": 0 })),
        broken("top_ups_credits_positive", json!({ "credits": TOO_MUCH })),
        broken("top_ups_tries_not_negative", json!({ "tries": -1 })),
        broken("top_ups_ended_has_time", json!({ "state": "failed", "reason": "x" })),
        broken("top_ups_ended_has_time", over.clone()),
        broken("top_ups_open_is_due", json!({ "due_at": null })),
        broken("top_ups_open_is_due", json!({ "state": "failed", "reason": "x", "ended_at": "2026-01-02Z" })),
        broken("top_ups_failed_says_why", ended("failed")),
        broken("top_ups_failed_says_why", ended("dropped")),
        broken("top_ups_failed_says_why", json!({ "state": "closing" })),
        broken("top_ups_succeeded_is_paid", ended("succeeded")),
        attempt("top_up_ids_pkey", "top_up_ids", json!({ "account_id": NOWHERE })),
    ]
}

fn tries_and_excess() -> Vec<Attempt> {
    let mut second = json!({ "try": 2, "attempt_id": OTHER });
    let tried = |constraint, name: &str, value: serde_json::Value| {
        let mut patch = second.clone();
        patch[name] = value;
        attempt(constraint, "top_up_tries", patch)
    };
    let first = [
        tried("top_up_tries_attempt_once", "attempt_id", json!("00000000-0000-7000-8000-0000000000e4")),
        tried("top_up_tries_topup_fkey", "topup_id", json!(NOWHERE)),
        tried("top_up_tries_try_positive", "try", json!(0)),
        tried("top_up_tries_state_known", "state", json!("lost")),
        tried("top_up_tries_ended_has_time", "state", json!("declined")),
        tried("top_up_tries_ended_has_time", "ended_at", json!("2026-01-02Z")),
    ];
    second["try"] = json!(1);
    let other = "INSERT INTO payments (account_id, payment_id, payment_key, basis, status, currency, amount_paid_minor, tax_minor, created_at)
        VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000e9', 'pi_2', 'lines', 'paid', 'usd', 500, 0, '2026-01-01Z')";
    let excess = |constraint, mut patch: serde_json::Value| {
        if patch["payment_id"].is_null() {
            patch["payment_id"] = json!(OTHER);
        }
        Attempt(constraint, "top_up_excess", other, patch)
    };
    let mut all = vec![
        attempt("top_up_tries_pkey", "top_up_tries", second),
        attempt("top_up_excess_pkey", "top_up_excess", json!({})),
        excess("top_up_excess_topup_fkey", json!({ "topup_id": NOWHERE })),
        excess("top_up_excess_payment_fkey", json!({ "payment_id": NOWHERE })),
        excess("top_up_excess_state_known", json!({ "state": "lost", "ended_at": "2026-01-02Z" })),
        excess("top_up_excess_currency_is_code", json!({ "currency": "dollars" })),
        excess("top_up_excess_amount_positive", json!({ "amount_minor": 0 })),
        excess("top_up_excess_ended_has_time", json!({ "state": "failed" })),
        excess("top_up_excess_ended_has_time", json!({ "ended_at": "2026-01-02Z" })),
        excess("top_up_excess_refunded_has_refund", json!({ "state": "refunded", "ended_at": "2026-01-02Z" })),
    ];
    all.extend(first);
    all
}

fn queue() -> Vec<Attempt> {
    let step = |constraint, patch| attempt(constraint, "charge_steps", patch);
    let work = |constraint, patch| attempt(constraint, "charge_work", patch);
    vec![
        step("charge_steps_pkey", json!({})),
        step("charge_steps_account_fkey", json!({ "account_id": NOWHERE })),
        step("charge_steps_step_length", json!({ "step": "" })),
        step("charge_steps_step_length", json!({ "step": long(65) })),
        step("charge_steps_answer_has_time", json!({ "step": "two", "answered_at": null })),
        work("charge_work_pkey", json!({})),
        work("charge_work_bucket_range", json!({ "bucket": 16 })),
        work("charge_work_bucket_range", json!({ "bucket": -1 })),
        work("charge_work_kind_known", json!({ "kind": "mail" })),
        work("charge_work_lease_is_whole", json!({ "kind": "look", "lease_token": null })),
        work("charge_work_lease_is_whole", json!({ "kind": "look", "leased_until": null })),
        work("charge_work_fence_not_negative", json!({ "kind": "look", "fence": -1 })),
        attempt("circuits_pkey", "circuits", json!({})),
        attempt("circuits_failures_not_negative", "circuits", json!({ "name": "other", "failures": -1 })),
    ]
}
