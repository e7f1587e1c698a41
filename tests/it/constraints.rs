//! Each named constraint and unique index, and at least one row that it has to refuse.
//!
//! The list is held against the catalogue of a migrated database: a new constraint without an attempt fails here. An
//! attempt copies the one row of its table with some values changed; the refusal has to name exactly that constraint.

mod charger;
mod overage_bills;
mod sales;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::database::fresh_pool;

/// One valid row of every table, all of one account.
const BASE: &str = "
INSERT INTO instance VALUES (true, false, NULL, 0, '2026-01-01Z');
INSERT INTO accounts VALUES ('00000000-0000-7000-8000-00000000000a', 'open', 1, decode(repeat('00', 32), 'hex'), '2026-01-01Z', NULL, '2026-01-01Z');
INSERT INTO customers VALUES ('00000000-0000-7000-8000-00000000000a', 'ada', 'Ada', 'ada@example.com', '{}', '2026-01-01Z');
INSERT INTO customer_ids VALUES ('ada', '00000000-0000-7000-8000-00000000000a');
INSERT INTO stripe_customer_ids VALUES ('cus_1', '00000000-0000-7000-8000-00000000000a');
INSERT INTO stripe_subscription_ids VALUES ('sub_1', '00000000-0000-7000-8000-00000000000a');
INSERT INTO wallet_ids VALUES ('purse', '00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000b1');
INSERT INTO grant_ids VALUES ('00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-00000000000a');
INSERT INTO hold_ids VALUES ('lock', '00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d1');
INSERT INTO api_keys VALUES (decode(repeat('01', 32), 'hex'), '00000000-0000-7000-8000-0000000000e1', 'app', 'web', 'ck_1', '2026-01-01Z', NULL, NULL, NULL);
INSERT INTO catalog_head VALUES (true, 1, '{}', '2026-01-01Z');
INSERT INTO catalog_features VALUES ('usd_credits', 'file', '{}', 1, false);
INSERT INTO catalog_plans VALUES ('pro', 1, 'file', '{}', 1, true);
INSERT INTO catalog_files VALUES (decode(repeat('02', 32), 'hex'), 1, '2026-01-01Z');
INSERT INTO payments (account_id, payment_id, payment_key, basis, status, currency, amount_paid_minor, tax_minor, discount_minor, fee_minor, fee_currency, created_at)
VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000f1', 'pi_1', 'lines', 'paid', 'usd', 1000, 0, 0, 30, 'eur', '2026-01-01Z');
INSERT INTO payment_aliases VALUES ('pi_1', '00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000f1');
INSERT INTO wallets (account_id, wallet_id, feature, wallet_key, is_default, created_at)
VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000b1', 'usd_credits', 'purse', true, '2026-01-01Z');
INSERT INTO attachments (account_id, attachment_id, plan_id, plan_version, state, origin, stripe_subscription, anchor, started_at)
VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000a1', 'pro', 1, 'active', 'stripe', 'sub_1', '2026-01-01Z', '2026-01-01Z');
INSERT INTO grants (account_id, grant_id, wallet_id, feature, category, priority, original, remaining, held, is_open, starts_at, expires_at, grace_ends_at,
    payment_id, item_key, attachment_id, item, period_start, currency, amount_paid_minor, tax_minor, discount_minor, basis_minor, revenue_policy, created_at)
VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000b1', 'usd_credits', 'plan', 10, 10, 10, 1, true,
    '2026-01-01Z', '2026-02-01Z', '2026-02-04Z', '00000000-0000-7000-8000-0000000000f1', 'pack', '00000000-0000-7000-8000-0000000000a1', 'usd_credits', '2026-01-01Z',
    'usd', 1000, 0, 0, 1000, 'credits', '2026-01-01Z');
INSERT INTO spend_limits VALUES ('00000000-0000-7000-8000-00000000000a', 'monthly', 'usd_credits', '', 'month', 10, '2026-01-01Z', 1);
INSERT INTO levels VALUES ('00000000-0000-7000-8000-00000000000a', 'seats', '', 2);
INSERT INTO usage_records (account_id, seq, at, feature, quantity) VALUES ('00000000-0000-7000-8000-00000000000a', 1, '2026-01-01Z', 'messages', 2);
INSERT INTO holds VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d1', 'usd_credits', '', 'open', 1, 'reject', '2026-01-01Z', '2026-01-02Z', NULL);
INSERT INTO hold_slices VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d1', '00000000-0000-7000-8000-0000000000c1', 1);
INSERT INTO debts VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d2', '00000000-0000-7000-8000-0000000000b1', 'usd_credits', 'usage',
    '00000000-0000-7000-8000-0000000000f1', 5, 5, 0.5, 'usd', '2026-01-01Z');
INSERT INTO entries (account_id, seq, at, kind, grant_id, wallet_id, feature, amount, command, source, hash)
VALUES ('00000000-0000-7000-8000-00000000000a', 1, '2026-01-01Z', 'grant', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000b1', 'usd_credits', 10, 1, 'payment', decode(repeat('03', 32), 'hex'));
INSERT INTO entry_notes VALUES ('00000000-0000-7000-8000-00000000000a', 1, 'why', 'who', '{}');
INSERT INTO idempotency VALUES ('00000000-0000-7000-8000-00000000000a', 'track', decode(repeat('04', 16), 'hex'), 0, decode(repeat('05', 16), 'hex'), '{}');
INSERT INTO stripe_events (event_id, event_type, livemode, created_at, received_at, origin, state, due_at, lease_token, leased_until)
VALUES ('evt_1', 'invoice.paid', false, '2026-01-01Z', '2026-01-01Z', 'webhook', 'received', '2026-01-01Z', '00000000-0000-7000-8000-0000000000d3', '2026-01-02Z');
INSERT INTO stripe_inputs VALUES ('evt_1', '/v1/invoices/in_1', 200, NULL, '2026-01-01Z');
INSERT INTO stripe_event_waits VALUES ('ch_1', 'evt_1');
INSERT INTO reversals VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000f1', 'ch_1', '2026-01-01Z', '{}');
INSERT INTO reversed_grants VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000c1', '00000000-0000-7000-8000-0000000000f1', 1, 2, 3);
INSERT INTO outbox (bucket, message_id, topic, payload, created_at, due_at, lease_token, leased_until)
VALUES (0, '00000000-0000-7000-8000-0000000000d4', 'grant.created', '{}', '2026-01-01Z', '2026-01-01Z', '00000000-0000-7000-8000-0000000000d3', '2026-01-02Z');
INSERT INTO account_work VALUES (10, '00000000-0000-7000-8000-00000000000a', '2026-01-01Z');
INSERT INTO catch_up_streams VALUES ('checkout', NULL, '2026-01-01Z', '2026-01-02Z', 'evt_1', 1, '2026-01-02Z', NULL);
INSERT INTO sales VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d5', decode(repeat('06', 16), 'hex'), decode(repeat('07', 16), 'hex'),
    decode(repeat('08', 16), 'hex'), 'checkout', '{}', 'open', '2026-01-01Z', NULL);
INSERT INTO sale_steps VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d5', 'session', 'POST', '/v1/checkout/sessions', '', '{}', '2026-01-01Z', '2026-01-01Z');
INSERT INTO overage_bills VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d7', 'usd', '2026-02-01Z', 'cus_1', 'in_1', false, 'open', NULL, NULL, NULL, NULL, '2026-02-01Z', NULL);
INSERT INTO overage_bill_lines VALUES ('00000000-0000-7000-8000-00000000000a', '00000000-0000-7000-8000-0000000000d7', 0, '00000000-0000-7000-8000-0000000000d2', 'usd_credits', 3, '0.005', 2, false);
INSERT INTO leases VALUES ('catch_up', '00000000-0000-7000-8000-0000000000d3', 1, '2026-01-02Z');
";

/// The grant and the attachment there are.
const GRANT: &str = "00000000-0000-7000-8000-0000000000c1";
const ATTACHMENT: &str = "00000000-0000-7000-8000-0000000000a1";
/// An id that is nowhere.
const NOWHERE: &str = "00000000-0000-7000-8000-ffffffffffff";
/// One nano above the largest amount.
const TOO_MUCH: &str = "1000000000000000000.000000001";

/// What has to refuse, its table, what is prepared, and the values that make the copied row wrong.
struct Attempt(&'static str, &'static str, &'static str, Value);

fn attempt(constraint: &'static str, table: &'static str, patch: Value) -> Attempt {
    Attempt(constraint, table, "", patch)
}

fn long(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn bytes(count: usize) -> String {
    format!("\\x{}", "ab".repeat(count))
}

fn accounts_and_look_ups() -> Vec<Attempt> {
    vec![
        attempt("instance_pkey", "instance", json!({})),
        attempt("instance_one_row", "instance", json!({ "singleton": false })),
        attempt("instance_clock_only_in_test", "instance", json!({ "livemode": true, "test_offset_seconds": 1 })),
        attempt("accounts_pkey", "accounts", json!({})),
        attempt("accounts_state_known", "accounts", json!({ "state": "closed" })),
        attempt("accounts_entry_seq_counts_up", "accounts", json!({ "entry_seq": -1 })),
        attempt("accounts_chain_head_is_sha256", "accounts", json!({ "chain_head": bytes(31) })),
        attempt("customers_pkey", "customers", json!({})),
        attempt("customers_account_fkey", "customers", json!({ "account_id": NOWHERE })),
        attempt("customers_customer_id_length", "customers", json!({ "customer_id": "" })),
        attempt("customers_customer_id_length", "customers", json!({ "customer_id": long(513) })),
        attempt("customers_name_length", "customers", json!({ "name": long(1025) })),
        attempt("customers_email_length", "customers", json!({ "email": long(1025) })),
        attempt("customers_metadata_is_object", "customers", json!({ "metadata": [1] })),
        attempt("customer_ids_pkey", "customer_ids", json!({ "account_id": NOWHERE })),
        attempt("customer_ids_length", "customer_ids", json!({ "customer_id": long(513) })),
        attempt("stripe_customer_ids_pkey", "stripe_customer_ids", json!({ "account_id": NOWHERE })),
        attempt("stripe_customer_ids_length", "stripe_customer_ids", json!({ "stripe_customer_id": long(256) })),
        attempt("stripe_subscription_ids_pkey", "stripe_subscription_ids", json!({ "account_id": NOWHERE })),
        attempt(
            "stripe_subscription_ids_length",
            "stripe_subscription_ids",
            json!({ "stripe_subscription_id": long(256) }),
        ),
        attempt("wallet_ids_pkey", "wallet_ids", json!({ "account_id": NOWHERE })),
        attempt("wallet_ids_length", "wallet_ids", json!({ "wallet_key": "" })),
        attempt("grant_ids_pkey", "grant_ids", json!({ "account_id": NOWHERE })),
        attempt("hold_ids_pkey", "hold_ids", json!({ "account_id": NOWHERE })),
        attempt("hold_ids_length", "hold_ids", json!({ "hold_key": long(513) })),
        attempt("api_keys_pkey", "api_keys", json!({ "key_id": NOWHERE })),
        attempt("api_keys_key_id_key", "api_keys", json!({ "key_hash": bytes(32) })),
        attempt("api_keys_hash_is_sha256", "api_keys", json!({ "key_hash": bytes(33) })),
        attempt("api_keys_scope_known", "api_keys", json!({ "scope": "root" })),
        attempt("api_keys_name_length", "api_keys", json!({ "name": long(257) })),
        attempt("api_keys_shown_is_no_key", "api_keys", json!({ "shown": long(25) })),
    ]
}

fn catalogue() -> Vec<Attempt> {
    vec![
        attempt("catalog_head_pkey", "catalog_head", json!({})),
        attempt("catalog_head_one_row", "catalog_head", json!({ "singleton": false })),
        attempt("catalog_head_version_positive", "catalog_head", json!({ "version": -1 })),
        attempt("catalog_features_pkey", "catalog_features", json!({})),
        attempt("catalog_features_id_length", "catalog_features", json!({ "feature_id": long(129) })),
        attempt("catalog_features_managed_by_known", "catalog_features", json!({ "managed_by": "hand" })),
        attempt("catalog_plans_pkey", "catalog_plans", json!({ "is_current": false })),
        attempt("catalog_plans_one_current", "catalog_plans", json!({ "plan_version": 2 })),
        attempt("catalog_plans_id_length", "catalog_plans", json!({ "plan_id": "" })),
        attempt("catalog_plans_version_positive", "catalog_plans", json!({ "plan_version": 0 })),
        attempt("catalog_plans_managed_by_known", "catalog_plans", json!({ "managed_by": "hand" })),
        attempt("catalog_files_pkey", "catalog_files", json!({})),
        attempt("catalog_files_is_sha256", "catalog_files", json!({ "sha256": bytes(20) })),
    ]
}

fn payments_and_wallets() -> Vec<Attempt> {
    vec![
        attempt("payments_pkey", "payments", json!({})),
        attempt("payments_account_fkey", "payments", json!({ "account_id": NOWHERE })),
        attempt("payments_key_length", "payments", json!({ "payment_key": "" })),
        attempt("payments_basis_known", "payments", json!({ "basis": "guess" })),
        attempt("payments_status_known", "payments", json!({ "status": "maybe" })),
        attempt("payments_currency_is_code", "payments", json!({ "currency": "USD" })),
        attempt("payments_fee_currency_is_code", "payments", json!({ "fee_currency": "euro" })),
        attempt("payments_money_has_currency", "payments", json!({ "currency": null })),
        attempt("payments_fee_has_currency", "payments", json!({ "fee_currency": null })),
        attempt("payments_fee_has_currency", "payments", json!({ "fee_minor": null })),
        attempt("payments_amounts_not_negative", "payments", json!({ "amount_paid_minor": -1 })),
        attempt("payments_amounts_not_negative", "payments", json!({ "tax_minor": -1 })),
        attempt("payments_amounts_not_negative", "payments", json!({ "discount_minor": -1 })),
        attempt("payment_aliases_pkey", "payment_aliases", json!({ "payment_id": NOWHERE })),
        attempt("payment_aliases_length", "payment_aliases", json!({ "alias": long(256) })),
        attempt("wallets_pkey", "wallets", json!({ "is_default": false })),
        attempt("wallets_one_default", "wallets", json!({ "wallet_id": NOWHERE })),
        attempt("wallets_account_fkey", "wallets", json!({ "account_id": NOWHERE })),
        attempt("wallets_state_known", "wallets", json!({ "state": "lost" })),
        attempt("wallets_priority_range", "wallets", json!({ "priority": 1001 })),
        attempt("wallets_default_expiry_positive", "wallets", json!({ "default_expiry_days": 0 })),
        attempt("wallets_debt_limit_range", "wallets", json!({ "debt_limit": "-1" })),
        attempt("wallets_debt_limit_range", "wallets", json!({ "debt_limit": TOO_MUCH })),
    ]
}

fn attachments() -> Vec<Attempt> {
    let own = "UPDATE attachments SET origin = 'api', stripe_subscription = NULL";
    vec![
        attempt("attachments_pkey", "attachments", json!({ "entity": "seat" })),
        attempt("attachments_account_fkey", "attachments", json!({ "account_id": NOWHERE })),
        attempt(
            "attachments_plan_fkey",
            "attachments",
            json!({ "attachment_id": NOWHERE, "entity": "seat", "plan_version": 9 }),
        ),
        attempt("attachments_state_known", "attachments", json!({ "state": "lost" })),
        attempt("attachments_origin_known", "attachments", json!({ "origin": "mail" })),
        attempt("attachments_quantity_positive", "attachments", json!({ "quantity": 0 })),
        attempt("attachments_ended_has_time", "attachments", json!({ "state": "ended" })),
        attempt("attachments_final_has_ended", "attachments", json!({ "is_final": true })),
        attempt("attachments_ended_has_time", "attachments", json!({ "ended_at": "2026-01-01Z" })),
        attempt("attachments_stripe_has_subscription", "attachments", json!({ "stripe_subscription": null })),
        attempt("attachments_one_per_subscription", "attachments", json!({ "attachment_id": NOWHERE })),
        Attempt("attachments_one_live_own", "attachments", own, json!({ "attachment_id": NOWHERE })),
    ]
}

fn grants() -> Vec<Attempt> {
    let no_period = json!({ "grant_id": NOWHERE, "attachment_id": null, "item": null, "period_start": null });
    vec![
        attempt("grants_pkey", "grants", json!({ "item_key": "other", "item": "other" })),
        attempt("grants_once_per_payment_item", "grants", no_period),
        attempt("grants_once_per_period", "grants", json!({ "grant_id": NOWHERE, "item_key": null })),
        Attempt(
            "grants_once_per_change",
            "grants",
            "UPDATE grants SET changed_at = '2026-01-15Z', level_from = 5, level_to = 10",
            json!({ "grant_id": NOWHERE, "item_key": null, "period_start": "2026-01-02Z" }),
        ),
        attempt("grants_step_is_whole", "grants", json!({ "level_to": "5" })),
        attempt("grants_step_is_whole", "grants", json!({ "changed_at": "2026-01-15Z" })),
        attempt(
            "grants_step_is_whole",
            "grants",
            json!({ "level_from": "0", "level_to": "5", "attachment_id": null, "item": null, "period_start": null }),
        ),
        attempt("grants_step_goes_up", "grants", json!({ "level_from": "5", "level_to": "5" })),
        attempt("grants_step_goes_up", "grants", json!({ "level_from": "-1", "level_to": "5" })),
        attempt(
            "grants_wallet_fkey",
            "grants",
            json!({ "grant_id": NOWHERE, "item_key": null, "item": "x", "wallet_id": NOWHERE }),
        ),
        attempt(
            "grants_payment_fkey",
            "grants",
            json!({ "grant_id": NOWHERE, "item_key": null, "item": "x", "payment_id": NOWHERE }),
        ),
        attempt(
            "grants_attachment_fkey",
            "grants",
            json!({ "grant_id": NOWHERE, "item_key": null, "attachment_id": NOWHERE }),
        ),
        attempt("grants_category_known", "grants", json!({ "category": "gift" })),
        attempt("grants_original_range", "grants", json!({ "original": "-1" })),
        attempt("grants_original_range", "grants", json!({ "original": TOO_MUCH })),
        attempt("grants_remaining_range", "grants", json!({ "remaining": TOO_MUCH })),
        attempt("grants_held_within_remaining", "grants", json!({ "held": "-1" })),
        attempt("grants_held_within_remaining", "grants", json!({ "held": "10.000000001" })),
        attempt("grants_open_says_spendable", "grants", json!({ "is_open": false })),
        attempt("grants_open_says_spendable", "grants", json!({ "remaining": "0", "held": "0" })),
        attempt("grants_unlimited_has_no_amount", "grants", json!({ "unlimited": true })),
        attempt("grants_lives_forward", "grants", json!({ "expires_at": "2026-01-01Z" })),
        attempt("grants_grace_after_expiry", "grants", json!({ "grace_ends_at": "2026-01-31Z" })),
        attempt("grants_item_key_needs_payment", "grants", json!({ "payment_id": null })),
        attempt("grants_period_is_whole", "grants", json!({ "item": null })),
        attempt("grants_period_is_whole", "grants", json!({ "attachment_id": null })),
        attempt("grants_period_is_whole", "grants", json!({ "period_start": null })),
        attempt("grants_currency_is_code", "grants", json!({ "currency": "us" })),
        attempt("grants_money_has_currency", "grants", json!({ "currency": null })),
        attempt("grants_money_not_negative", "grants", json!({ "basis_minor": -1 })),
        attempt("grants_revenue_policy_known", "grants", json!({ "revenue_policy": "later" })),
        attempt("grants_priority_range", "grants", json!({ "priority": -1001 })),
    ]
}

fn usage() -> Vec<Attempt> {
    vec![
        attempt("usage_records_pkey", "usage_records", json!({})),
        attempt("usage_records_quantity_range", "usage_records", json!({ "quantity": TOO_MUCH })),
        attempt("usage_records_returned_range", "usage_records", json!({ "returned": "3" })),
        attempt("usage_records_paid_is_list", "usage_records", json!({ "paid": {} })),
        attempt("usage_records_properties_is_object", "usage_records", json!({ "properties": [] })),
        attempt("spend_limits_pkey", "spend_limits", json!({})),
        attempt("spend_limits_account_fkey", "spend_limits", json!({ "account_id": NOWHERE })),
        attempt("spend_limits_name_length", "spend_limits", json!({ "name": "" })),
        attempt("spend_limits_window_known", "spend_limits", json!({ "time_window": "moon" })),
        attempt("spend_limits_window_has_start", "spend_limits", json!({ "window_start": null })),
        attempt("spend_limits_most_range", "spend_limits", json!({ "most": "-1" })),
        attempt("spend_limits_used_range", "spend_limits", json!({ "used": "-1" })),
        attempt("levels_pkey", "levels", json!({})),
        attempt("levels_account_fkey", "levels", json!({ "account_id": NOWHERE })),
        attempt("levels_used_range", "levels", json!({ "used": "-1" })),
    ]
}

/// A rollover grant that carries the rest of the one there is, with some values changed.
fn rollover(change: &Value) -> Value {
    let mut patch = json!({ "grant_id": NOWHERE, "item_key": null, "attachment_id": null, "item": null,
        "period_start": null, "rolled_from": GRANT, "rolled_attachment_id": ATTACHMENT, "rolled_item": "usd_credits" });
    let changes = change.as_object().into_iter().flatten();
    patch.as_object_mut().unwrap().extend(changes.map(|(key, value)| (key.clone(), value.clone())));
    patch
}

fn rollovers() -> Vec<Attempt> {
    let another = "INSERT INTO grants (account_id, grant_id, wallet_id, feature, category, priority, original, remaining,
        is_open, starts_at, created_at, rolled_from, rolled_attachment_id, rolled_item)
        SELECT account_id, '00000000-0000-7000-8000-0000000000c2', wallet_id, feature, category, 5, 1, 1, true, starts_at,
        created_at, grant_id, attachment_id, item FROM grants";
    let period = json!({ "attachment_id": ATTACHMENT, "item": "usd_credits", "period_start": "2026-03-01Z" });
    vec![
        Attempt("grants_rolled_once", "grants", another, rollover(&json!({}))),
        attempt(
            "grants_rolled_from_fkey",
            "grants",
            rollover(&json!({ "rolled_from": "00000000-0000-7000-8000-eeeeeeeeeeee" })),
        ),
        attempt("grants_rolled_attachment_fkey", "grants", rollover(&json!({ "rolled_attachment_id": NOWHERE }))),
        attempt("grants_rolled_is_whole", "grants", rollover(&json!({ "rolled_from": null }))),
        attempt("grants_rolled_is_whole", "grants", rollover(&json!({ "rolled_item": null }))),
        attempt("grants_rolled_is_whole", "grants", rollover(&json!({ "rolled_attachment_id": null }))),
        attempt("grants_rolled_is_of_no_period", "grants", rollover(&period)),
        attempt("grants_rolled_from_another", "grants", rollover(&json!({ "rolled_from": NOWHERE }))),
    ]
}

fn holds_and_debts() -> Vec<Attempt> {
    vec![
        attempt("holds_pkey", "holds", json!({})),
        attempt("holds_account_fkey", "holds", json!({ "account_id": NOWHERE })),
        attempt("holds_state_known", "holds", json!({ "state": "lost", "ended_at": "2026-01-01Z" })),
        attempt("holds_amount_range", "holds", json!({ "amount": "-1" })),
        attempt("holds_when_more_known", "holds", json!({ "when_more": "panic" })),
        attempt("holds_ended_has_time", "holds", json!({ "state": "settled" })),
        attempt("holds_lives_forward", "holds", json!({ "expires_at": "2026-01-01Z" })),
        attempt("holds_quantity_range", "holds", json!({ "quantity": "-1" })),
        attempt("hold_slices_place_not_negative", "hold_slices", json!({ "place": -1 })),
        attempt("hold_slices_pkey", "hold_slices", json!({})),
        attempt("hold_slices_hold_fkey", "hold_slices", json!({ "hold_id": NOWHERE })),
        attempt("hold_slices_grant_fkey", "hold_slices", json!({ "grant_id": NOWHERE })),
        attempt("hold_slices_amount_range", "hold_slices", json!({ "amount": TOO_MUCH })),
        attempt("debts_pkey", "debts", json!({})),
        attempt("debts_wallet_fkey", "debts", json!({ "debt_id": NOWHERE, "wallet_id": NOWHERE })),
        attempt("debts_payment_fkey", "debts", json!({ "debt_id": NOWHERE, "payment_id": NOWHERE })),
        attempt("debts_cause_known", "debts", json!({ "cause": "bet" })),
        attempt("debts_original_range", "debts", json!({ "original": TOO_MUCH })),
        attempt("debts_outstanding_range", "debts", json!({ "outstanding": "-0.000000001" })),
        attempt("debts_currency_is_code", "debts", json!({ "currency": "EUR" })),
        attempt("debts_price_has_currency", "debts", json!({ "currency": null })),
        attempt("debts_price_not_negative", "debts", json!({ "unit_price_minor": "-1" })),
        attempt("debts_claw_back_has_payment", "debts", json!({ "cause": "claw_back", "payment_id": null })),
    ]
}

fn reversals() -> Vec<Attempt> {
    vec![
        attempt(
            "attachments_paid_by_fkey",
            "attachments",
            json!({ "attachment_id": NOWHERE, "stripe_subscription": "sub_9", "paid_by": NOWHERE, "paid_from": "2026-01-01Z" }),
        ),
        attempt(
            "attachments_paid_by_is_whole",
            "attachments",
            json!({ "attachment_id": NOWHERE, "stripe_subscription": "sub_9", "paid_from": "2026-01-01Z" }),
        ),
        attempt("reversals_pkey", "reversals", json!({})),
        attempt("reversals_payment_fkey", "reversals", json!({ "payment_id": NOWHERE })),
        attempt("reversals_object_length", "reversals", json!({ "object_id": "" })),
        attempt("reversals_object_length", "reversals", json!({ "object_id": long(256) })),
        attempt("reversals_document_is_object", "reversals", json!({ "object_id": "ch_2", "document": [] })),
        attempt("reversed_grants_pkey", "reversed_grants", json!({})),
        attempt("reversed_grants_grant_fkey", "reversed_grants", json!({ "grant_id": NOWHERE })),
        Attempt(
            "reversed_grants_payment_fkey",
            "reversed_grants",
            "CREATE TEMP TABLE kept AS SELECT * FROM reversed_grants; DELETE FROM reversed_grants; ALTER TABLE reversed_grants DROP CONSTRAINT reversed_grants_pkey; INSERT INTO reversed_grants SELECT * FROM kept",
            json!({ "payment_id": NOWHERE }),
        ),
        attempt("reversed_grants_taken_range", "reversed_grants", json!({ "taken": TOO_MUCH })),
        attempt("reversed_grants_owed_range", "reversed_grants", json!({ "owed": "-0.000000001" })),
        attempt("reversed_grants_waived_range", "reversed_grants", json!({ "waived": TOO_MUCH })),
        attempt("stripe_event_waits_pkey", "stripe_event_waits", json!({})),
        attempt("stripe_event_waits_event_fkey", "stripe_event_waits", json!({ "event_id": "evt_none" })),
        attempt("stripe_event_waits_alias_length", "stripe_event_waits", json!({ "alias": "" })),
        attempt("stripe_event_waits_alias_length", "stripe_event_waits", json!({ "alias": long(256) })),
    ]
}

/// Another sale, in a slot of its own.
const OTHER_SALE: &str = "00000000-0000-7000-8000-0000000000d6";

fn ledger() -> Vec<Attempt> {
    let debt = "00000000-0000-7000-8000-0000000000d2";
    let hold = "00000000-0000-7000-8000-0000000000d1";
    let eleventh = "CREATE TABLE idempotency_10 PARTITION OF idempotency FOR VALUES IN (10)";
    vec![
        attempt("entries_pkey", "entries", json!({})),
        attempt("entries_seq_positive", "entries", json!({ "seq": 0, "command": 0 })),
        attempt("entries_seq_positive", "entries", json!({ "command": 2 })),
        attempt("entries_kind_known", "entries", json!({ "kind": "gift", "amount": "0" })),
        attempt("entries_amount_range", "entries", json!({ "amount": TOO_MUCH })),
        attempt("entries_sign_fits_kind", "entries", json!({ "amount": "-1" })),
        attempt("entries_sign_fits_kind", "entries", json!({ "kind": "draw" })),
        attempt("entries_sign_fits_kind", "entries", json!({ "kind": "expire" })),
        attempt("entries_sign_fits_kind", "entries", json!({ "kind": "hold", "hold_id": hold, "amount": "-1" })),
        attempt("entries_sign_fits_kind", "entries", json!({ "kind": "release", "hold_id": hold })),
        attempt("entries_touches_grant_or_debt", "entries", json!({ "grant_id": null })),
        attempt(
            "entries_touches_grant_or_debt",
            "entries",
            json!({ "grant_id": null, "kind": "draw", "amount": "-1" }),
        ),
        attempt("entries_debt_named", "entries", json!({ "debt_id": debt })),
        attempt("entries_debt_named", "entries", json!({ "kind": "debt" })),
        attempt("entries_hold_named", "entries", json!({ "kind": "hold" })),
        attempt("entries_shortfall_range", "entries", json!({ "shortfall": "-1" })),
        attempt("entries_source_known", "entries", json!({ "source": "rumour" })),
        attempt("entries_hash_is_sha256", "entries", json!({ "hash": bytes(16) })),
        attempt("entry_notes_pkey", "entry_notes", json!({})),
        attempt("entry_notes_entry_fkey", "entry_notes", json!({ "seq": 2 })),
        attempt("idempotency_pkey", "idempotency", json!({})),
        attempt("idempotency_key_hash_length", "idempotency", json!({ "key_hash": bytes(32) })),
        attempt("idempotency_request_hash_length", "idempotency", json!({ "request_hash": bytes(15) })),
        Attempt("idempotency_slot_range", "idempotency", eleventh, json!({ "slot": 10 })),
    ]
}

fn events_and_queues() -> Vec<Attempt> {
    vec![
        attempt("stripe_events_pkey", "stripe_events", json!({})),
        attempt("stripe_events_id_length", "stripe_events", json!({ "event_id": "" })),
        attempt("stripe_events_type_length", "stripe_events", json!({ "event_type": long(256) })),
        attempt("stripe_events_origin_known", "stripe_events", json!({ "origin": "mail" })),
        attempt("stripe_events_state_known", "stripe_events", json!({ "state": "lost", "due_at": null })),
        attempt("stripe_events_open_is_due", "stripe_events", json!({ "due_at": null })),
        attempt("stripe_events_closed_has_time", "stripe_events", json!({ "state": "processed", "due_at": null })),
        attempt(
            "stripe_events_says_why",
            "stripe_events",
            json!({ "state": "dead", "due_at": null, "done_at": "2026-01-01Z" }),
        ),
        attempt("stripe_events_says_why", "stripe_events", json!({ "state": "parked" })),
        attempt("stripe_events_lease_is_whole", "stripe_events", json!({ "leased_until": null })),
        attempt("stripe_events_attempts_not_negative", "stripe_events", json!({ "attempts": -1 })),
        attempt("stripe_inputs_pkey", "stripe_inputs", json!({})),
        attempt("stripe_inputs_event_fkey", "stripe_inputs", json!({ "event_id": "evt_2" })),
        attempt("stripe_inputs_status_is_http", "stripe_inputs", json!({ "status": 600 })),
        attempt("stripe_inputs_request_length", "stripe_inputs", json!({ "request": long(2049) })),
        attempt("outbox_pkey", "outbox", json!({})),
        attempt("outbox_bucket_range", "outbox", json!({ "bucket": 16 })),
        attempt("outbox_open_is_due", "outbox", json!({ "due_at": null })),
        attempt("outbox_lease_is_whole", "outbox", json!({ "lease_token": null })),
        attempt("outbox_attempts_not_negative", "outbox", json!({ "attempts": -1 })),
        attempt("account_work_pkey", "account_work", json!({})),
        attempt("account_work_bucket_range", "account_work", json!({ "bucket": -1 })),
        attempt("leases_pkey", "leases", json!({})),
        attempt("leases_fence_counts_up", "leases", json!({ "fence": 0 })),
        attempt("catch_up_streams_pkey", "catch_up_streams", json!({})),
        attempt("catch_up_streams_name_length", "catch_up_streams", json!({ "stream": "" })),
        attempt("catch_up_streams_after_length", "catch_up_streams", json!({ "pass_after": long(256) })),
        attempt("catch_up_streams_fence_counts_up", "catch_up_streams", json!({ "fence": 0 })),
        attempt("catch_up_streams_place_needs_pass", "catch_up_streams", json!({ "pass_since": null })),
    ]
}

fn wallets_and_contracts() -> Vec<Attempt> {
    let committed = "UPDATE grants SET category = 'committed', contract_number = 'C-7'";
    let broken = |constraint, patch| Attempt(constraint, "grants", committed, patch);
    vec![
        attempt("wallets_closed_has_time", "wallets", json!({ "state": "closed", "is_default": false })),
        attempt("wallets_closed_has_time", "wallets", json!({ "closed_at": "2026-01-01Z" })),
        attempt("wallets_closed_is_no_default", "wallets", json!({ "state": "closed", "closed_at": "2026-01-01Z" })),
        attempt("wallets_name_length", "wallets", json!({ "name": "" })),
        attempt("wallets_name_length", "wallets", json!({ "name": long(1025) })),
        attempt("wallets_metadata_is_object", "wallets", json!({ "metadata": [] })),
        attempt("grants_contract_is_committed", "grants", json!({ "contract_number": "C-7" })),
        attempt("grants_contract_has_number", "grants", json!({ "contract_starts_at": "2026-01-01Z" })),
        attempt("grants_contract_has_number", "grants", json!({ "contract_ends_at": "2026-01-01Z" })),
        broken("grants_contract_number_length", json!({ "contract_number": "" })),
        broken("grants_contract_number_length", json!({ "contract_number": long(256) })),
        broken("grants_contract_minimum_has_currency", json!({ "contract_minimum_minor": 1 })),
        broken("grants_contract_minimum_has_currency", json!({ "contract_currency": "usd" })),
        broken(
            "grants_contract_minimum_not_negative",
            json!({ "contract_minimum_minor": -1, "contract_currency": "usd" }),
        ),
        broken("grants_contract_currency_is_code", json!({ "contract_minimum_minor": 1, "contract_currency": "USD" })),
        broken(
            "grants_contract_lives_forward",
            json!({ "contract_starts_at": "2026-01-01Z", "contract_ends_at": "2026-01-01Z" }),
        ),
    ]
}

fn all_attempts() -> Vec<Attempt> {
    [
        accounts_and_look_ups(),
        catalogue(),
        payments_and_wallets(),
        attachments(),
        grants(),
        rollovers(),
        holds_and_debts(),
        usage(),
        reversals(),
        ledger(),
        events_and_queues(),
        wallets_and_contracts(),
        sales::sales(),
        charger::attempts(),
        overage_bills::attempts(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What refused the copy, if anything did; nothing is kept.
async fn refused_by(connection: &mut PgConnection, attempt: &Attempt) -> Option<String> {
    let Attempt(_, table, setup, patch) = attempt;
    let mut transaction = connection.begin().await.unwrap();
    if !setup.is_empty() {
        transaction.execute(*setup).await.unwrap();
    }
    let copy = format!(
        "INSERT INTO {table} SELECT (jsonb_populate_record(r, $1)).* FROM (SELECT t AS r FROM {table} t) AS rows"
    );
    let outcome = sqlx::query(AssertSqlSafe(copy)).bind(patch).execute(&mut *transaction).await;
    transaction.rollback().await.unwrap();
    let error = outcome.err()?;
    let constraint = error.as_database_error().and_then(|database| database.constraint()).map(str::to_owned);
    // The server names the index of the partition that the row went to.
    Some(constraint.unwrap_or_else(|| error.to_string()).replace("idempotency_0_pkey", "idempotency_pkey"))
}

#[tokio::test]
async fn each_constraint_refuses_what_it_is_there_for() {
    let pool = fresh_pool().await;
    let mut connection = pool.acquire().await.unwrap();
    connection.execute(BASE).await.unwrap();
    connection.execute(charger::BASE).await.unwrap();
    let mut wrong = Vec::new();
    for attempt in all_attempts() {
        let refused = refused_by(&mut connection, &attempt).await;
        if refused.as_deref() != Some(attempt.0) {
            wrong.push(format!("{} with {}: {refused:?} instead of {}", attempt.1, attempt.3, attempt.0));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn no_constraint_is_without_an_attempt() {
    let pool = fresh_pool().await;
    let there: Vec<String> = sqlx::query_scalar(
        "SELECT k.conname::text FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid
         WHERE k.connamespace = 'public'::regnamespace AND k.contype IN ('c', 'p', 'u', 'f')
             AND NOT t.relispartition AND t.relname <> '_sqlx_migrations'
         UNION
         SELECT i.relname::text FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
         WHERE i.relnamespace = 'public'::regnamespace AND x.indisunique AND NOT t.relispartition
             AND t.relname <> '_sqlx_migrations'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let there: BTreeSet<String> = there.into_iter().collect();
    let attempted: BTreeSet<String> = all_attempts().into_iter().map(|attempt| attempt.0.to_owned()).collect();
    let without: Vec<_> = there.difference(&attempted).collect();
    assert!(without.is_empty(), "no attempt breaks {without:?}");
    let gone: Vec<_> = attempted.difference(&there).collect();
    assert!(gone.is_empty(), "attempts on what is not there: {gone:?}");
}

#[tokio::test]
async fn every_base_row_has_a_table_and_every_table_a_base_row() {
    let pool = fresh_pool().await;
    let mut connection = pool.acquire().await.unwrap();
    connection.execute(BASE).await.unwrap();
    connection.execute(charger::BASE).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
             AND NOT relispartition AND relname <> '_sqlx_migrations'",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    for table in tables {
        let count = format!("SELECT count(*) FROM {table}");
        let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(rows, 1, "{table}: an attempt copies its one row");
    }
}
