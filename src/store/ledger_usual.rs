//! What nearly every batch writes, in one statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use super::ledger_write::{AppliedKey, expect_rows};
use super::rows::{numeric, numeric_quantity, time};
use crate::domain::account::{AccountState, Changes};
use crate::domain::entry::{ChainHead, Entry};
use crate::domain::grant::Grant;
use crate::domain::ids::AccountId;
use crate::domain::usage_record::UsageRecord;

/// What nearly every batch writes, in one statement: entries, grants, heads, keys, usage. Only open grants are read under the
/// lock, so only open ones change; saying so keeps the update off the closed ones, of which an old account has many.
const WRITE_USUAL: &str = "-- write_usual
WITH new_entries AS (
    INSERT INTO entries (account_id, seq, at, event_at, kind, grant_id, wallet_id, debt_id, hold_id, feature, amount, command,
        used_feature, quantity, shortfall, source, hash)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::uuid[],
        $7::uuid[], $8::uuid[], $9::uuid[], $10::text[], $11::numeric[], $12::bigint[], $13::text[], $14::numeric[],
        $15::numeric[], $16::text[], $17::bytea[])
), changed_grants AS (
    UPDATE grants g SET remaining = n.remaining, held = n.held, is_open = g.unlimited OR n.remaining > 0,
        grace_ends_at = n.grace_ends_at
    FROM unnest($18::uuid[], $19::uuid[], $20::numeric[], $21::numeric[], $22::timestamptz[])
        AS n (account_id, grant_id, remaining, held, grace_ends_at)
    WHERE g.account_id = n.account_id AND g.grant_id = n.grant_id AND g.account_id = ANY($18) AND g.is_open
    RETURNING 1
), changed_accounts AS (
    UPDATE accounts a SET entry_seq = n.entry_seq, chain_head = n.chain_head, last_entry_at = n.last_entry_at,
        next_due_at = n.next_due_at, state = n.state, has_extras = a.has_extras OR n.has_extras
    FROM unnest($23::uuid[], $24::bigint[], $25::bytea[], $26::timestamptz[], $27::timestamptz[], $28::text[],
        $35::boolean[])
        AS n (account_id, entry_seq, chain_head, last_entry_at, next_due_at, state, has_extras)
    WHERE a.account_id = n.account_id AND a.account_id = ANY($23)
    RETURNING 1
), new_keys AS (
    INSERT INTO idempotency (account_id, operation, key_hash, slot, request_hash, outcome)
    SELECT account_id, operation, key_hash, $34, request_hash, outcome
    FROM unnest($29::uuid[], $30::text[], $31::bytea[], $32::bytea[], $33::jsonb[])
        AS n (account_id, operation, key_hash, request_hash, outcome)
), new_usage AS (
    INSERT INTO usage_records (account_id, seq, at, event_at, feature, entity, quantity, returned, paid, properties, hold_id)
    SELECT * FROM unnest($36::uuid[], $37::bigint[], $38::timestamptz[], $39::timestamptz[], $40::text[], $41::text[],
        $42::numeric[], $43::numeric[], $44::jsonb[], $45::jsonb[], $46::uuid[])
)
SELECT (SELECT count(*) FROM changed_grants), (SELECT count(*) FROM changed_accounts)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 1] = [WRITE_USUAL];

/// Seconds of a day; a key's slot is its day modulo 10.
const DAY_SECONDS: i64 = 86_400;

/// Slot of the idempotency ring for a time.
pub(crate) fn slot(now: Timestamp) -> i16 {
    i16::try_from(now.as_second().div_euclid(DAY_SECONDS).rem_euclid(10)).unwrap_or(0)
}

pub(super) async fn write_usual(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
    keys: &[AppliedKey<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    let lines: Vec<Line<'_>> = lines(changes);
    let grants = touched(states, changes);
    let changed = changes.iter().filter(|(_, changes)| !changes.entries.is_empty() || changes.head_changed);
    let heads: Vec<&AccountState> = changed.filter_map(|(account, _)| states.get(account)).collect();
    let usage = usage(states, changes);
    if lines.is_empty() && grants.is_empty() && heads.is_empty() && keys.is_empty() {
        return Ok(());
    }
    let query = sqlx::query_as::<_, (i64, i64)>(WRITE_USUAL);
    let query = bind_keys(bind_heads(bind_grants(bind_lines(query, &lines), &grants), &heads), keys);
    let query = query.bind(slot(now)).bind(heads.iter().map(|state| state.has_extras).collect::<Vec<bool>>());
    let (changed_grants, changed_accounts) = bind_usage(query, &usage).fetch_one(connection).await?;
    expect_rows(changed_grants, grants.len(), "grants")?;
    expect_rows(changed_accounts, heads.len(), "accounts")
}

/// An entry of an account, and the chain's head after it.
type Line<'a> = (&'a AccountId, &'a Entry, &'a ChainHead);
type Usual<'q> = sqlx::query::QueryAs<'q, sqlx::Postgres, (i64, i64), sqlx::postgres::PgArguments>;

fn lines(changes: &BTreeMap<AccountId, Changes>) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (account, changes) in changes {
        lines.extend(changes.entries.iter().map(|(entry, head)| (account, entry, head)));
    }
    lines
}

/// Grants that were there before and changed.
fn touched<'a>(
    states: &'a BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
) -> Vec<(AccountId, &'a Grant)> {
    let mut touched = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        let made = |id| changes.grants.iter().any(|made| made.grant.id == id);
        let changed = |grant: &&Grant| {
            changes.touched_grants.contains(&grant.id) && !made(grant.id) && !state.closed.contains(&grant.id)
        };
        touched.extend(state.grants.iter().filter(changed).map(|grant| (*account, grant)));
    }
    touched
}

/// Tracks that are new, each with its account.
fn usage<'a>(
    states: &'a BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
) -> Vec<(AccountId, &'a UsageRecord)> {
    let mut made = Vec::new();
    for (account, changes) in changes.iter().filter(|(_, changes)| !changes.usage.is_empty()) {
        let Some(state) = states.get(account) else { continue };
        let is_new = |record: &&Arc<UsageRecord>| changes.usage.contains(&record.seq);
        made.extend(state.usage.iter().filter(is_new).map(|record| (*account, record.as_ref())));
    }
    made
}

fn bind_usage<'q>(query: Usual<'q>, usage: &[(AccountId, &'q UsageRecord)]) -> Usual<'q> {
    macro_rules! column {
        ($record:ident => $value:expr) => {
            usage.iter().map(|(_, $record)| $value).collect::<Vec<_>>()
        };
    }
    query
        .bind(usage.iter().map(|(account, _)| account.as_uuid()).collect::<Vec<Uuid>>())
        .bind(column!(u => u.seq))
        .bind(column!(u => time(u.at)))
        .bind(column!(u => u.event_at.map(time)))
        .bind(column!(u => u.feature.as_str()))
        .bind(column!(u => u.entity.as_str()))
        .bind(column!(u => numeric_quantity(u.quantity)))
        .bind(column!(u => numeric_quantity(u.returned)))
        .bind(column!(u => Json(&u.paid)))
        .bind(column!(u => (!u.properties.is_empty()).then_some(Json(&u.properties))))
        .bind(column!(u => u.hold.map(crate::domain::ids::HoldId::as_uuid)))
}

fn bind_lines<'q>(query: Usual<'q>, lines: &[Line<'_>]) -> Usual<'q> {
    macro_rules! column {
        ($entry:ident => $value:expr) => {
            lines.iter().map(|(_, $entry, _)| $value).collect::<Vec<_>>()
        };
    }
    query
        .bind(lines.iter().map(|(account, _, _)| account.as_uuid()).collect::<Vec<Uuid>>())
        .bind(column!(e => e.seq))
        .bind(column!(e => time(e.at)))
        .bind(column!(e => e.event_at.map(time)))
        .bind(column!(e => e.kind.word()))
        .bind(column!(e => e.grant.map(crate::domain::ids::GrantId::as_uuid)))
        .bind(column!(e => e.wallet.map(crate::domain::ids::WalletId::as_uuid)))
        .bind(column!(e => e.debt.map(crate::domain::ids::DebtId::as_uuid)))
        .bind(column!(e => e.hold.map(crate::domain::ids::HoldId::as_uuid)))
        .bind(column!(e => e.feature.as_str().to_owned()))
        .bind(column!(e => numeric(e.amount)))
        .bind(column!(e => e.command))
        .bind(column!(e => e.used_feature.as_ref().map(|feature| feature.as_str().to_owned())))
        .bind(column!(e => e.quantity.map(numeric_quantity)))
        .bind(column!(e => e.shortfall.map(numeric)))
        .bind(column!(e => e.source.word()))
        .bind(lines.iter().map(|(_, _, head)| head.0.to_vec()).collect::<Vec<Vec<u8>>>())
}

fn bind_grants<'q>(query: Usual<'q>, grants: &[(AccountId, &Grant)]) -> Usual<'q> {
    query
        .bind(grants.iter().map(|(account, _)| account.as_uuid()).collect::<Vec<Uuid>>())
        .bind(grants.iter().map(|(_, grant)| grant.id.as_uuid()).collect::<Vec<Uuid>>())
        .bind(grants.iter().map(|(_, grant)| numeric(grant.remaining)).collect::<Vec<Decimal>>())
        .bind(grants.iter().map(|(_, grant)| numeric(grant.held)).collect::<Vec<Decimal>>())
        .bind(grants.iter().map(|(_, grant)| grant.grace_ends_at.map(time)).collect::<Vec<_>>())
}

fn bind_heads<'q>(query: Usual<'q>, heads: &[&AccountState]) -> Usual<'q> {
    query
        .bind(heads.iter().map(|state| state.id.as_uuid()).collect::<Vec<Uuid>>())
        .bind(heads.iter().map(|state| state.seq).collect::<Vec<i64>>())
        .bind(heads.iter().map(|state| state.head.0.to_vec()).collect::<Vec<Vec<u8>>>())
        .bind(heads.iter().map(|state| time(state.last_entry_at)).collect::<Vec<_>>())
        .bind(heads.iter().map(|state| state.next_due_at.map(time)).collect::<Vec<_>>())
        .bind(heads.iter().map(|state| state.life.word()).collect::<Vec<&str>>())
}

fn bind_keys<'q>(query: Usual<'q>, keys: &[AppliedKey<'q>]) -> Usual<'q> {
    query
        .bind(keys.iter().map(|key| key.account.as_uuid()).collect::<Vec<Uuid>>())
        .bind(keys.iter().map(|key| key.key.operation).collect::<Vec<&str>>())
        .bind(keys.iter().map(|key| key.key.key.to_vec()).collect::<Vec<Vec<u8>>>())
        .bind(keys.iter().map(|key| key.key.request.to_vec()).collect::<Vec<Vec<u8>>>())
        .bind(keys.iter().map(|key| Json(key.outcome)).collect::<Vec<_>>())
}
