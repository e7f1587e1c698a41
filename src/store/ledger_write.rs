//! What posting writes: one statement per table for a whole batch of commands.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::ledger_usual::write_usual;
use super::rows::{numeric, time};
use super::{StoreError, debt_rows, overage_bills, reversals, top_up_rows, usage_rows, wallet_rows};
use crate::domain::account::{AccountState, Changes, GrantMade};
use crate::domain::attachment::Attachment;
use crate::domain::command::{IdempotencyKey, Outcome};
use crate::domain::credits::Credits;
use crate::domain::grant::Grant;
use crate::domain::ids::AccountId;

const INSERT_GRANTS: &str = "-- insert_grants
INSERT INTO grants (account_id, grant_id, wallet_id, feature, entity, category, priority, unlimited, original, remaining,
    held, frozen, is_open, starts_at, expires_at, grace_ends_at, payment_id, item_key, plan_id, plan_version, attachment_id, item,
    period_start, contract_ref, currency, amount_paid_minor, tax_minor, discount_minor, basis_minor, revenue_policy,
    stripe_price, stripe_line, reason, metadata, changed_at, level_from, level_to, contract_number, contract_currency,
    contract_minimum_minor, contract_starts_at, contract_ends_at, rolled_from, rolled_attachment_id, rolled_item, created_at)
SELECT account_id, grant_id, wallet_id, feature, entity, category, priority, unlimited, original, remaining,
    held, frozen, unlimited OR remaining > 0, starts_at, expires_at, grace_ends_at, payment_id, item_key, plan_id, plan_version,
    attachment_id, item, period_start, contract_ref, currency, amount_paid_minor, tax_minor, discount_minor, basis_minor,
    revenue_policy, stripe_price, stripe_line, reason, metadata, changed_at, level_from, level_to, contract_number,
    contract_currency, contract_minimum_minor, contract_starts_at, contract_ends_at, rolled_from, rolled_attachment_id,
    rolled_item, $2
FROM jsonb_to_recordset($1) AS n (account_id uuid, grant_id uuid, wallet_id uuid, feature text, entity text,
    category text, priority integer, unlimited boolean, original numeric, remaining numeric, held numeric,
    frozen boolean, starts_at timestamptz, expires_at timestamptz, grace_ends_at timestamptz, payment_id uuid, item_key text, plan_id text,
    plan_version integer, attachment_id uuid, item text, period_start timestamptz, contract_ref text, currency text,
    amount_paid_minor bigint, tax_minor bigint, discount_minor bigint, basis_minor bigint, revenue_policy text,
    stripe_price text, stripe_line text, reason text, metadata jsonb, changed_at timestamptz, level_from numeric,
    level_to numeric, contract_number text, contract_currency text, contract_minimum_minor bigint,
    contract_starts_at timestamptz, contract_ends_at timestamptz, rolled_from uuid, rolled_attachment_id uuid,
    rolled_item text)";

const INSERT_GRANT_IDS: &str = "-- insert_grant_ids
INSERT INTO grant_ids (grant_id, account_id)
SELECT grant_id, account_id FROM jsonb_to_recordset($1) AS n (grant_id uuid, account_id uuid)";

const UPSERT_ATTACHMENTS: &str = "-- upsert_attachments
INSERT INTO attachments (account_id, attachment_id, plan_id, plan_version, state, origin, stripe_subscription, entity,
    quantity, anchor, paid_through, started_at, trial_ends_at, cancel_at, ended_at, seen_at, is_final, changed_at,
    past_due_since, paid_by, paid_from, grants_ended_at)
SELECT * FROM jsonb_to_recordset($1) AS n (account_id uuid, attachment_id uuid, plan_id text, plan_version integer,
    state text, origin text, stripe_subscription text, entity text, quantity bigint, anchor timestamptz,
    paid_through timestamptz, started_at timestamptz, trial_ends_at timestamptz, cancel_at timestamptz,
    ended_at timestamptz, seen_at timestamptz, is_final boolean, changed_at timestamptz, past_due_since timestamptz,
    paid_by uuid, paid_from timestamptz, grants_ended_at timestamptz)
ON CONFLICT ON CONSTRAINT attachments_pkey DO UPDATE SET plan_version = excluded.plan_version, state = excluded.state,
    quantity = excluded.quantity, anchor = excluded.anchor, paid_through = excluded.paid_through,
    started_at = excluded.started_at, trial_ends_at = excluded.trial_ends_at, cancel_at = excluded.cancel_at,
    ended_at = excluded.ended_at, seen_at = excluded.seen_at, is_final = excluded.is_final,
    changed_at = excluded.changed_at, past_due_since = excluded.past_due_since,
    paid_by = excluded.paid_by, paid_from = excluded.paid_from, grants_ended_at = excluded.grants_ended_at";

const UPDATE_BASES: &str = "-- update_payment_bases
UPDATE payments p SET basis = n.basis
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (account_id, payment_id, basis)
WHERE p.account_id = n.account_id AND p.payment_id = n.payment_id AND p.account_id = ANY($1)";

const UPDATE_DEBTS: &str = "-- update_debts
UPDATE debts d SET outstanding = n.outstanding, billed = n.billed
FROM unnest($1::uuid[], $2::uuid[], $3::numeric[], $4::numeric[]) AS n (account_id, debt_id, outstanding, billed)
WHERE d.account_id = n.account_id AND d.debt_id = n.debt_id AND d.account_id = ANY($1)";

const INSERT_NOTES: &str = "-- insert_entry_notes
INSERT INTO entry_notes (account_id, seq, reason, actor, metadata)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[])";

const UPSERT_WORK: &str = "-- upsert_account_work
INSERT INTO account_work (bucket, account_id, due_at)
SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::timestamptz[])
ON CONFLICT ON CONSTRAINT account_work_pkey DO UPDATE SET due_at = excluded.due_at";

const DELETE_WORK: &str = "-- delete_account_work
DELETE FROM account_work w USING unnest($1::smallint[], $2::uuid[]) AS n (bucket, account_id)
WHERE w.bucket = n.bucket AND w.account_id = n.account_id";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 8] = [
    INSERT_GRANTS,
    INSERT_GRANT_IDS,
    UPSERT_ATTACHMENTS,
    UPDATE_BASES,
    UPDATE_DEBTS,
    INSERT_NOTES,
    UPSERT_WORK,
    DELETE_WORK,
];

/// A key applied in this batch, with what it did.
#[derive(Clone, Debug)]
pub struct AppliedKey<'a> {
    /// Whose.
    pub account: AccountId,
    /// The key.
    pub key: &'a IdempotencyKey,
    /// What is answered.
    pub outcome: &'a Outcome,
}

/// Bucket of an account in the work queue and the outbox: the last 4 bits of its id.
pub(crate) fn bucket(account: AccountId) -> i16 {
    i16::from(account.as_uuid().as_bytes()[15] & 0x0f)
}

/// Writes what a batch changed: at most one statement per table.
pub async fn write(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
    keys: &[AppliedKey<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    // Parents before children, so that foreign keys inside the account hold at every statement.
    wallet_rows::write(connection, states, changes, now).await?;
    upsert_attachments(connection, states, changes).await?;
    insert_grants(connection, states, changes, now).await?;
    debt_rows::insert_debts(connection, states, changes, now).await?;
    write_usual(connection, states, changes, keys, now).await?;
    update_rare(connection, states, changes, now).await?;
    // After the debts, whose credits its lines are.
    overage_bills::write(connection, states, changes, now).await
}

pub(super) fn expect_rows(found: i64, wanted: usize, table: &'static str) -> Result<(), StoreError> {
    if usize::try_from(found) == Ok(wanted) { Ok(()) } else { Err(StoreError::LostLease(table)) }
}

#[derive(Serialize)]
struct GrantJson<'a> {
    account_id: Uuid,
    grant_id: Uuid,
    wallet_id: Uuid,
    feature: &'a str,
    entity: &'a str,
    category: &'static str,
    priority: i32,
    unlimited: bool,
    original: Credits,
    remaining: Credits,
    held: Credits,
    frozen: bool,
    starts_at: Timestamp,
    expires_at: Option<Timestamp>,
    grace_ends_at: Option<Timestamp>,
    payment_id: Option<Uuid>,
    item_key: Option<&'a str>,
    plan_id: Option<&'a str>,
    plan_version: Option<i32>,
    attachment_id: Option<Uuid>,
    item: Option<&'a str>,
    period_start: Option<Timestamp>,
    contract_ref: Option<&'a str>,
    currency: Option<String>,
    amount_paid_minor: Option<i64>,
    tax_minor: Option<i64>,
    discount_minor: Option<i64>,
    basis_minor: Option<i64>,
    revenue_policy: Option<crate::domain::catalog::RevenuePolicy>,
    stripe_price: Option<&'a str>,
    stripe_line: Option<&'a str>,
    reason: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    changed_at: Option<Timestamp>,
    level_from: Option<Credits>,
    level_to: Option<Credits>,
    contract_number: Option<&'a str>,
    contract_currency: Option<String>,
    contract_minimum_minor: Option<i64>,
    contract_starts_at: Option<Timestamp>,
    contract_ends_at: Option<Timestamp>,
    rolled_from: Option<Uuid>,
    rolled_attachment_id: Option<Uuid>,
    rolled_item: Option<&'a str>,
}

/// A new grant's row. `now` is the grant as the batch left it: it may have been drawn on already.
fn grant_json<'a>(account: AccountId, made: &'a GrantMade, now: &'a Grant) -> GrantJson<'a> {
    let origin = &made.origin;
    let period = now.period.as_ref();
    let money = &origin.money;
    let plan = origin.plan.as_ref();
    let terms = origin.terms.as_ref();
    let minimum = terms.and_then(|terms| terms.minimum_spend);
    GrantJson {
        account_id: account.as_uuid(),
        grant_id: now.id.as_uuid(),
        wallet_id: now.wallet.as_uuid(),
        feature: now.feature.as_str(),
        entity: &now.entity,
        category: now.category.word(),
        priority: now.priority,
        unlimited: now.unlimited,
        original: now.original,
        remaining: now.remaining,
        held: now.held,
        frozen: now.frozen,
        starts_at: now.starts_at,
        expires_at: now.expires_at,
        grace_ends_at: now.grace_ends_at,
        payment_id: origin.payment.map(crate::domain::ids::PaymentId::as_uuid),
        item_key: origin.item_key.as_deref(),
        plan_id: plan.map(|(plan, _)| plan.as_str()),
        plan_version: plan.map(|(_, version)| *version),
        attachment_id: period.map(|period| period.attachment.as_uuid()),
        item: period.map(|period| period.item.as_str()),
        period_start: period.map(|period| period.start),
        contract_ref: origin.contract.as_deref(),
        currency: money.paid.map(|paid| paid.currency().to_string()),
        amount_paid_minor: money.paid.map(crate::domain::money::Money::minor),
        tax_minor: money.tax_minor,
        discount_minor: money.discount_minor,
        basis_minor: money.basis_minor,
        revenue_policy: origin.revenue,
        stripe_price: origin.stripe_price.as_deref(),
        stripe_line: origin.stripe_line.as_deref(),
        reason: origin.reason.as_deref(),
        metadata: &origin.metadata,
        changed_at: origin.step.and_then(|step| step.changed_at),
        level_from: origin.step.map(|step| step.above),
        level_to: origin.step.map(|step| step.up_to),
        contract_number: terms.map(|terms| terms.reference.as_str()),
        contract_currency: minimum.map(|least| least.currency().to_string()),
        contract_minimum_minor: minimum.map(crate::domain::money::Money::minor),
        contract_starts_at: terms.and_then(|terms| terms.starts_at),
        contract_ends_at: terms.and_then(|terms| terms.ends_at),
        rolled_from: now.rolled.as_ref().map(|rolled| rolled.from.as_uuid()),
        rolled_attachment_id: now.rolled.as_ref().map(|rolled| rolled.attachment.as_uuid()),
        rolled_item: now.rolled.as_ref().map(|rolled| rolled.item.as_str()),
    }
}

async fn insert_grants(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut made: Vec<GrantJson<'_>> = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        for new in &changes.grants {
            made.push(grant_json(*account, new, state.grant(new.grant.id).unwrap_or(&new.grant)));
        }
    }
    if made.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_GRANTS).bind(Json(&made)).bind(time(now)).execute(&mut *connection).await?;
    sqlx::query(INSERT_GRANT_IDS).bind(Json(&made)).execute(connection).await?;
    Ok(())
}

#[derive(Serialize)]
struct AttachmentJson<'a> {
    account_id: Uuid,
    attachment_id: Uuid,
    plan_id: &'a str,
    plan_version: i32,
    state: &'static str,
    origin: &'static str,
    stripe_subscription: Option<&'a str>,
    entity: &'a str,
    quantity: i64,
    anchor: Timestamp,
    paid_through: Option<Timestamp>,
    started_at: Timestamp,
    trial_ends_at: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    seen_at: Option<Timestamp>,
    is_final: bool,
    changed_at: Option<Timestamp>,
    past_due_since: Option<Timestamp>,
    paid_by: Option<Uuid>,
    paid_from: Option<Timestamp>,
    grants_ended_at: Option<Timestamp>,
}

fn attachment_json(account: AccountId, attachment: &Attachment) -> AttachmentJson<'_> {
    AttachmentJson {
        account_id: account.as_uuid(),
        attachment_id: attachment.id.as_uuid(),
        plan_id: attachment.plan.as_str(),
        plan_version: attachment.plan_version,
        state: attachment.state.word(),
        origin: attachment.origin.word(),
        stripe_subscription: attachment.origin.subscription(),
        entity: &attachment.entity,
        quantity: attachment.quantity,
        anchor: attachment.anchor,
        paid_through: attachment.paid_through,
        started_at: attachment.started_at,
        trial_ends_at: attachment.trial_ends_at,
        cancel_at: attachment.cancel_at,
        ended_at: attachment.ended_at,
        seen_at: attachment.seen_at,
        is_final: attachment.is_final,
        changed_at: attachment.changed_at,
        past_due_since: attachment.past_due_since,
        paid_by: attachment.paid_by.map(|(payment, _)| payment.as_uuid()),
        paid_from: attachment.paid_by.map(|(_, from)| from),
        grants_ended_at: attachment.grants_ended_at,
    }
}

async fn upsert_attachments(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let mut rows: Vec<AttachmentJson<'_>> = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        let is_new = |id| changes.attachments.iter().any(|made| made.id == id);
        let changed = |known: &&Attachment| changes.touched_attachments.contains(&known.id) || is_new(known.id);
        rows.extend(state.attachments.iter().filter(changed).map(|known| attachment_json(*account, known)));
    }
    if rows.is_empty() {
        return Ok(());
    }
    // Ended ones first: the place they leave may be taken by a new one in the same statement's order.
    rows.sort_by_key(|row| row.state != "ended");
    sqlx::query(UPSERT_ATTACHMENTS).bind(Json(&rows)).execute(connection).await?;
    Ok(())
}

/// What few batches have: payment bases, debts, notes, work falling due.
async fn update_rare(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let bases: Vec<_> = changes.iter().flat_map(|(a, c)| c.bases.iter().map(move |(p, b)| (a, p, b))).collect();
    if !bases.is_empty() {
        let done = sqlx::query(UPDATE_BASES)
            .bind(bases.iter().map(|(account, _, _)| account.as_uuid()).collect::<Vec<Uuid>>())
            .bind(bases.iter().map(|(_, payment, _)| payment.as_uuid()).collect::<Vec<Uuid>>())
            .bind(bases.iter().map(|(_, _, basis)| basis.word()).collect::<Vec<&str>>())
            .execute(&mut *connection)
            .await?;
        expect_rows(done.rows_affected().cast_signed(), bases.len(), "payments")?;
    }
    let owed = |(account, changes): (&AccountId, &Changes)| {
        let state = states.get(account)?;
        let debts = state.debts.iter().filter(|debt| changes.touched_debts.contains(&debt.id));
        Some(debts.map(|debt| (*account, debt)).collect::<Vec<_>>())
    };
    let debts: Vec<_> = changes.iter().filter_map(owed).flatten().collect();
    if !debts.is_empty() {
        let done = sqlx::query(UPDATE_DEBTS)
            .bind(debts.iter().map(|(account, _)| account.as_uuid()).collect::<Vec<Uuid>>())
            .bind(debts.iter().map(|(_, debt)| debt.id.as_uuid()).collect::<Vec<Uuid>>())
            .bind(debts.iter().map(|(_, debt)| numeric(debt.outstanding)).collect::<Vec<Decimal>>())
            .bind(debts.iter().map(|(_, debt)| numeric(debt.billed)).collect::<Vec<Decimal>>())
            .execute(&mut *connection)
            .await?;
        expect_rows(done.rows_affected().cast_signed(), debts.len(), "debts")?;
    }
    let notes: Vec<_> = changes.iter().flat_map(|(a, c)| c.notes.iter().map(move |note| (a, note))).collect();
    if !notes.is_empty() {
        sqlx::query(INSERT_NOTES)
            .bind(notes.iter().map(|(account, _)| account.as_uuid()).collect::<Vec<Uuid>>())
            .bind(notes.iter().map(|(_, note)| note.seq).collect::<Vec<i64>>())
            .bind(notes.iter().map(|(_, note)| note.reason.as_deref()).collect::<Vec<_>>())
            .bind(notes.iter().map(|(_, note)| note.actor.as_deref()).collect::<Vec<_>>())
            .bind(notes.iter().map(|(_, note)| Json(&note.metadata)).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    reversals::write(connection, states, changes).await?;
    usage_rows::write(connection, states, changes).await?;
    top_up_rows::write(connection, states, changes, now).await?;
    write_work(connection, states, changes).await
}

async fn write_work(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let changed = changes.iter().filter(|(_, changes)| changes.head_changed);
    let heads: Vec<&AccountState> = changed.filter_map(|(account, _)| states.get(account)).collect();
    let (due, idle): (Vec<&AccountState>, Vec<&AccountState>) =
        heads.into_iter().partition(|state| state.next_due_at.is_some());
    if !due.is_empty() {
        sqlx::query(UPSERT_WORK)
            .bind(due.iter().map(|state| bucket(state.id)).collect::<Vec<i16>>())
            .bind(due.iter().map(|state| state.id.as_uuid()).collect::<Vec<Uuid>>())
            .bind(due.iter().map(|state| state.next_due_at.map(time)).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    if !idle.is_empty() {
        sqlx::query(DELETE_WORK)
            .bind(idle.iter().map(|state| bucket(state.id)).collect::<Vec<i16>>())
            .bind(idle.iter().map(|state| state.id.as_uuid()).collect::<Vec<Uuid>>())
            .execute(connection)
            .await?;
    }
    Ok(())
}
