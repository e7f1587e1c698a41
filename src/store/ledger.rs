//! What posting reads under its lock. Only `posting` may call this file; `ledger_write` has the other half.

use std::collections::BTreeMap;

use jiff::Timestamp;

use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::StoreError;
use super::ledger_rows::{AttachmentRow, HEAD_COLUMN, SITUATION_COLUMN, ShareRow, grant, grant_columns, head};
pub use super::ledger_write::{AppliedKey, STATEMENTS as WRITE_STATEMENTS, write};
use super::overage_bills::AskedBills;
use super::usage_rows::extras;
use super::{debt_rows, overage_bills, reversals, rows, top_up_rows, usage_rows, wallet_rows};
use crate::domain::account::AccountState;
use crate::domain::catalog::FeatureId;
use crate::domain::command::{IdempotencyKey, Outcome};
use crate::domain::credits::Credits;
use crate::domain::grant::Debt;
use crate::domain::ids::{AccountId, AttachmentId, DebtId, GrantId, PaymentId, TopUpId, WalletId};

macro_rules! situation {
    () => {
        "
    clock_timestamp() + make_interval(secs => i.test_offset_seconds), h.version,
    (SELECT jsonb_agg(jsonb_build_object('account', k.account_id, 'operation', k.operation,
            'key', encode(k.key_hash, 'hex'), 'request', encode(k.request_hash, 'hex'), 'outcome', k.outcome))
        FROM unnest($2::uuid[], $3::text[], $4::bytea[]) AS asked (account_id, operation, key_hash)
        JOIN idempotency k ON k.account_id = asked.account_id AND k.operation = asked.operation
            AND k.key_hash = asked.key_hash),
    (SELECT jsonb_agg(jsonb_build_object('account', d.account_id, 'debt', d.debt_id, 'wallet', d.wallet_id,
            'feature', d.feature, 'outstanding', d.outstanding::text, 'billed', d.billed::text, 'cause', d.cause, 'currency', d.currency,
            'unit_price', trim_scale(d.unit_price_minor)::text))
        FROM debts d WHERE d.account_id = ANY($1) AND d.outstanding > 0)"
    };
}
macro_rules! from_open_grants {
    () => {
        "
FROM grants g JOIN wallets w ON w.account_id = g.account_id AND w.wallet_id = g.wallet_id
WHERE g.account_id = ANY($1) AND g.is_open"
    };
}

/// Locks accounts in id order and reads their heads; the version read is the newest, whoever held the lock before.
const LOCK_ACCOUNTS: &str = "-- lock_accounts
SELECT account_id, state, entry_seq, chain_head, last_entry_at, next_due_at
FROM accounts WHERE account_id = ANY($1) ORDER BY account_id FOR NO KEY UPDATE";

/// What decisions look at, in one statement: its snapshot is newer than the lock. The first row has time, catalogue head,
/// keys already used and open debts; the others are open grants.
const READ_STATE: &str = concat!(
    "-- read_state\n",
    "SELECT NULL::uuid, NULL::uuid, NULL::uuid, NULL::integer, NULL::text, NULL::text, NULL::text, NULL::text, NULL::integer,
    NULL::boolean, NULL::numeric, NULL::numeric, NULL::numeric, NULL::boolean, NULL::timestamptz, NULL::timestamptz,
    NULL::timestamptz, NULL::uuid, NULL::text, NULL::timestamptz, NULL::uuid, NULL::uuid, NULL::uuid, NULL::text,",
    situation!(),
    ",\n    ",
    extras!(),
    "\nFROM instance i CROSS JOIN catalog_head h\nUNION ALL\n",
    "SELECT ",
    grant_columns!(),
    ", NULL, NULL, NULL, NULL, NULL",
    from_open_grants!()
);

/// The same without a lock, for answers that write nothing: the accounts' heads too, all in one snapshot.
const READ_UNLOCKED: &str = concat!(
    "-- read_unlocked\n",
    "SELECT NULL::uuid, NULL::uuid, NULL::uuid, NULL::integer, NULL::text, NULL::text, NULL::text, NULL::text, NULL::integer,
    NULL::boolean, NULL::numeric, NULL::numeric, NULL::numeric, NULL::boolean, NULL::timestamptz, NULL::timestamptz,
    NULL::timestamptz, NULL::uuid, NULL::text, NULL::timestamptz, NULL::uuid, NULL::uuid, NULL::uuid, NULL::text,",
    situation!(),
    ",\n    ",
    extras!(),
    ", NULL::text, NULL::bigint, NULL::bytea, NULL::timestamptz, NULL::timestamptz",
    "\nFROM instance i CROSS JOIN catalog_head h\nUNION ALL\n",
    "SELECT account_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, state, entry_seq, chain_head, last_entry_at, next_due_at
FROM accounts WHERE account_id = ANY($1)",
    "\nUNION ALL\n",
    "SELECT ",
    grant_columns!(),
    ", NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    from_open_grants!()
);

/// Ended ones too: a late invoice must find its own, and what had its place meanwhile.
const READ_ATTACHMENTS: &str = "-- read_attachments
SELECT account_id, attachment_id, plan_id, plan_version, state, origin, stripe_subscription, entity, quantity, anchor,
    paid_through, started_at, trial_ends_at, cancel_at, ended_at, seen_at, is_final, changed_at, past_due_since,
    paid_by, paid_from, grants_ended_at, ended_at IS NULL AND EXISTS (SELECT FROM reversals r
        WHERE r.account_id = attachments.account_id AND r.payment_id = attachments.paid_by) AS fee_went_back
FROM attachments WHERE account_id = ANY($1)";

const READ_RENEWED: &str = "-- read_renewed
SELECT DISTINCT ON (account_id, attachment_id, item) account_id, attachment_id, item, period_start, grant_id
FROM grants WHERE account_id = ANY($1) AND attachment_id = ANY($2) AND changed_at IS NULL
ORDER BY account_id, attachment_id, item, period_start DESC";

/// Periods that contain a time asked for, and later ones, whole or in parts: a late payment's period may have been given
/// before, and changes of it too.
const READ_GIVEN: &str = "-- read_given_periods
SELECT g.account_id, g.attachment_id, g.item, g.period_start, g.grant_id, g.feature, g.original, g.changed_at,
    g.level_from, g.level_to, g.payment_id, g.stripe_price, g.expires_at,
    g.original > 0 AND coalesce(r.taken >= g.original, false) AS gone,
    coalesce(r.taken, 0) - coalesce((SELECT sum(e.amount) FROM entries e
        WHERE e.account_id = g.account_id AND e.grant_id = g.grant_id
            AND e.kind IN ('expire', 'end', 'void', 'adjust', 'rollover_out')), 0) AS lost
FROM grants g LEFT JOIN reversed_grants r ON r.account_id = g.account_id AND r.grant_id = g.grant_id
WHERE g.account_id = ANY($1) AND g.attachment_id IS NOT NULL AND (g.expires_at IS NULL OR g.expires_at > $2)";

const READ_BOUGHT: &str = "-- read_bought
SELECT account_id, payment_id, item_key, grant_id
FROM grants WHERE account_id = ANY($1) AND payment_id = ANY($2) AND item_key IS NOT NULL";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 7] =
    [LOCK_ACCOUNTS, READ_STATE, READ_UNLOCKED, READ_ATTACHMENTS, READ_RENEWED, READ_GIVEN, READ_BOUGHT];

/// A key that was used before, with what it did.
#[derive(Clone, Debug)]
pub struct UsedKey {
    /// Hash of the command it came with.
    pub request: [u8; 16],
    /// What was answered.
    pub outcome: Outcome,
}

/// What the second statement found.
#[derive(Debug)]
pub struct Situation {
    /// Ledger time, not yet held against the accounts' own last entries.
    pub now: Timestamp,
    /// Catalogue version in force.
    pub catalog_version: i32,
    /// Keys asked for that were used before.
    pub used: BTreeMap<(AccountId, IdempotencyName), UsedKey>,
}

/// Operation and key hash: what makes a key the same key.
pub type IdempotencyName = (String, [u8; 16]);

#[derive(Deserialize)]
struct KeyJson {
    account: Uuid,
    operation: String,
    key: String,
    request: String,
    outcome: Outcome,
}

#[derive(Deserialize)]
struct DebtJson {
    account: Uuid,
    debt: Uuid,
    wallet: Uuid,
    feature: FeatureId,
    outstanding: Credits,
    billed: Credits,
    cause: String,
    currency: Option<String>,
    unit_price: Option<String>,
}

/// Locks the accounts, in id order, and reads their heads. Accounts that do not exist are absent.
pub async fn lock(
    connection: &mut PgConnection,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, AccountState>, StoreError> {
    let rows: Vec<PgRow> = sqlx::query(LOCK_ACCOUNTS).bind(uuids(accounts)).fetch_all(connection).await?;
    rows.iter().map(|row| head(row, 0, 1).map(|state| (state.id, state))).collect()
}

fn uuids(accounts: &[AccountId]) -> Vec<Uuid> {
    accounts.iter().map(|account| account.as_uuid()).collect()
}

/// Reads what decisions on locked accounts look at: time, catalogue head, used keys, and into the states open grants and
/// debts.
pub async fn read_state(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    keys: &[(AccountId, &IdempotencyKey)],
) -> Result<Situation, StoreError> {
    let accounts: Vec<AccountId> = states.keys().copied().collect();
    let rows = read_rows(connection, READ_STATE, &accounts, keys).await?;
    into_states(&rows, states)
}

/// Reads accounts with their open grants and debts, and the situation, in one snapshot and without a lock.
pub async fn read_unlocked(
    connection: &mut PgConnection,
    accounts: &[AccountId],
) -> Result<(BTreeMap<AccountId, AccountState>, Situation), StoreError> {
    let rows = read_rows(connection, READ_UNLOCKED, accounts, &[]).await?;
    let mut states = BTreeMap::new();
    for row in &rows {
        if row.try_get::<Option<i64>, _>(HEAD_COLUMN + 1)?.is_some() {
            let state = head(row, 0, HEAD_COLUMN)?;
            states.insert(state.id, state);
        }
    }
    let situation = into_states(&rows, &mut states)?;
    Ok((states, situation))
}

async fn read_rows(
    connection: &mut PgConnection,
    statement: &'static str,
    accounts: &[AccountId],
    keys: &[(AccountId, &IdempotencyKey)],
) -> Result<Vec<PgRow>, StoreError> {
    let of: Vec<Uuid> = keys.iter().map(|(account, _)| account.as_uuid()).collect();
    let operations: Vec<&str> = keys.iter().map(|(_, key)| key.operation).collect();
    let hashes: Vec<&[u8]> = keys.iter().map(|(_, key)| key.key.as_slice()).collect();
    let query = sqlx::query(statement).bind(uuids(accounts)).bind(of).bind(operations).bind(hashes);
    Ok(query.fetch_all(connection).await?)
}

/// Open grants and debts into their accounts; what is left is the situation.
fn into_states(rows: &[PgRow], states: &mut BTreeMap<AccountId, AccountState>) -> Result<Situation, StoreError> {
    let mut situation = None;
    for row in rows {
        if let Some(now) = row.try_get::<Option<jiff_sqlx::Timestamp>, _>(SITUATION_COLUMN)? {
            let keys: Option<Json<Vec<KeyJson>>> = row.try_get(SITUATION_COLUMN + 2)?;
            let debts: Option<Json<Vec<DebtJson>>> = row.try_get(SITUATION_COLUMN + 3)?;
            let used = keys.map(|json| json.0).unwrap_or_default().into_iter().map(used_key);
            let used = used.collect::<Result<_, StoreError>>()?;
            let catalog_version = row.try_get(SITUATION_COLUMN + 1)?;
            for row in debts.map(|json| json.0).unwrap_or_default() {
                let (account, debt) = debt(row)?;
                if let Some(state) = states.get_mut(&account) {
                    state.debts.push(debt);
                }
            }
            let extras: Option<Json<Vec<usage_rows::ExtrasJson>>> = row.try_get(SITUATION_COLUMN + 4)?;
            usage_rows::into_states(extras.map(|json| json.0).unwrap_or_default(), states)?;
            situation = Some(Situation { now: now.to_jiff(), catalog_version, used });
        } else if row.try_get::<Option<Uuid>, _>(1)?.is_some() {
            let (account, grant) = grant(row)?;
            if let Some(state) = states.get_mut(&account) {
                state.grants.push(grant);
            }
        }
    }
    situation.ok_or(StoreError::LostLease("instance"))
}

fn used_key(row: KeyJson) -> Result<((AccountId, IdempotencyName), UsedKey), StoreError> {
    let bytes = |text: &str, column| {
        let mut hash = [0; 16];
        let read = hex::decode_to_slice(text, &mut hash).ok().map(|()| hash);
        rows::word(read, "idempotency", column, text)
    };
    let name = (row.operation.clone(), bytes(&row.key, "key_hash")?);
    let used = UsedKey { request: bytes(&row.request, "request_hash")?, outcome: row.outcome };
    Ok(((AccountId::from_uuid(row.account), name), used))
}

fn debt(row: DebtJson) -> Result<(AccountId, Debt), StoreError> {
    let debt = Debt {
        id: DebtId::from_uuid(row.debt),
        wallet: WalletId::from_uuid(row.wallet),
        feature: row.feature,
        outstanding: row.outstanding,
        billed: row.billed,
        cause: debt_rows::cause(&row.cause, row.unit_price, row.currency)?,
    };
    Ok((AccountId::from_uuid(row.account), debt))
}

/// What the commands of a batch name, so that what was done for it before is read.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Payments that buy something.
    pub payments: Vec<PaymentId>,
    /// Payments whose money went back.
    pub reversed: Vec<PaymentId>,
    /// Starts of periods that were paid, and times at which one was changed.
    pub periods: Vec<Timestamp>,
    /// Grants that are corrected, open or not.
    pub grants: Vec<GrantId>,
    /// Bills of overage, and periods that are billed.
    pub bills: AskedBills,
    /// Top-ups, open or not.
    pub top_ups: Vec<TopUpId>,
}

/// Fills in wallets, attachments and once-only keys of those accounts that need them.
pub async fn read_all(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    accounts: &[AccountId],
    asked: &Asked,
) -> Result<(), StoreError> {
    let ids = uuids(accounts);
    wallet_rows::read(connection, states, &ids).await?;
    let attachments: Vec<AttachmentRow> =
        sqlx::query_as(READ_ATTACHMENTS).bind(&ids).fetch_all(&mut *connection).await?;
    let mut attached: Vec<Uuid> = Vec::new();
    let mut payments = asked.payments.clone();
    for row in attachments {
        // The periods that the clock gives from here on go back with their fee.
        payments.extend(row.fee_gone_back());
        let (account, attachment) = row.into_attachment()?;
        attached.push(attachment.id.as_uuid());
        if let Some(state) = states.get_mut(&account) {
            state.attachments.push(attachment);
        }
    }
    if !attached.is_empty() {
        read_renewed(connection, states, &ids, attached).await?;
    }
    if let Some(earliest) = asked.periods.iter().min() {
        read_given(connection, states, &ids, *earliest).await?;
    }
    if !asked.payments.is_empty() {
        read_bought(connection, states, &ids, &asked.payments).await?;
    }
    if !(payments.is_empty() && asked.reversed.is_empty()) {
        reversals::read(connection, states, &ids, &payments, &asked.reversed).await?;
    }
    reversals::read_grants(connection, states, &ids, &asked.grants).await?;
    overage_bills::read(connection, states, &ids, &asked.bills).await?;
    top_up_rows::read(connection, states, &ids, &asked.top_ups).await?;
    for account in accounts {
        if let Some(state) = states.get_mut(account) {
            state.complete = true;
        }
    }
    Ok(())
}

async fn read_renewed(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    accounts: &[Uuid],
    attached: Vec<Uuid>,
) -> Result<(), StoreError> {
    let rows: Vec<(Uuid, Uuid, String, jiff_sqlx::Timestamp, Uuid)> =
        sqlx::query_as(READ_RENEWED).bind(accounts).bind(attached).fetch_all(connection).await?;
    for (account, attachment, item, start, grant) in rows {
        if let Some(state) = states.get_mut(&AccountId::from_uuid(account)) {
            let key = (AttachmentId::from_uuid(attachment), item);
            state.renewed.insert(key, (start.to_jiff(), GrantId::from_uuid(grant)));
        }
    }
    Ok(())
}

async fn read_given(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    accounts: &[Uuid],
    earliest: Timestamp,
) -> Result<(), StoreError> {
    let found: Vec<ShareRow> =
        sqlx::query_as(READ_GIVEN).bind(accounts).bind(rows::time(earliest)).fetch_all(connection).await?;
    for row in found {
        let (account, share) = row.into_share()?;
        let Some(state) = states.get_mut(&account) else { continue };
        if share.step.changed_at.is_none() {
            state.given.insert((share.attachment, share.item.clone(), share.period_start), share.grant);
        }
        state.shares.push(share);
    }
    Ok(())
}

async fn read_bought(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    accounts: &[Uuid],
    payments: &[PaymentId],
) -> Result<(), StoreError> {
    let payments: Vec<Uuid> = payments.iter().map(|payment| payment.as_uuid()).collect();
    let bought: Vec<(Uuid, Uuid, String, Uuid)> =
        sqlx::query_as(READ_BOUGHT).bind(accounts).bind(&payments).fetch_all(&mut *connection).await?;
    for (account, payment, item_key, grant) in bought {
        if let Some(state) = states.get_mut(&AccountId::from_uuid(account)) {
            state.bought.insert((PaymentId::from_uuid(payment), item_key), GrantId::from_uuid(grant));
        }
    }
    Ok(())
}
