//! Wallets as posting reads and writes them. Only `posting` may call this file, through `ledger`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use super::rows::{credits, time, word};
use crate::domain::account::{AccountState, Changes};
use crate::domain::catalog::FeatureId;
use crate::domain::credits::Credits;
use crate::domain::grant::{Wallet, WalletState};
use crate::domain::ids::{AccountId, WalletId};

const READ_WALLETS: &str = "-- read_wallets
SELECT account_id, wallet_id, wallet_key, name, feature, is_default, priority, state, default_expiry_days, debt_limit,
    metadata, closed_at
FROM wallets WHERE account_id = ANY($1)";

const INSERT_WALLETS: &str = "-- insert_wallets
INSERT INTO wallets (account_id, wallet_id, wallet_key, name, feature, is_default, priority, state, default_expiry_days,
    debt_limit, metadata, closed_at, created_at)
SELECT account_id, wallet_id, wallet_key, name, feature, is_default, priority, state, default_expiry_days, debt_limit,
    metadata, closed_at, $2
FROM jsonb_to_recordset($1) AS n (account_id uuid, wallet_id uuid, wallet_key text, name text, feature text,
    is_default boolean, priority integer, state text, default_expiry_days integer, debt_limit numeric, metadata jsonb,
    closed_at timestamptz)";

const INSERT_WALLET_IDS: &str = "-- insert_wallet_ids
INSERT INTO wallet_ids (wallet_key, account_id, wallet_id)
SELECT shown, account_id, wallet_id FROM jsonb_to_recordset($1) AS n (shown text, account_id uuid, wallet_id uuid)
ON CONFLICT (wallet_key) DO NOTHING";

/// Feature and ids of a wallet never change.
const UPDATE_WALLETS: &str = "-- update_wallets
UPDATE wallets w SET name = n.name, is_default = n.is_default, priority = n.priority, state = n.state,
    default_expiry_days = n.default_expiry_days, debt_limit = n.debt_limit, metadata = n.metadata, closed_at = n.closed_at
FROM jsonb_to_recordset($1) AS n (account_id uuid, wallet_id uuid, name text, is_default boolean, priority integer,
    state text, default_expiry_days integer, debt_limit numeric, metadata jsonb, closed_at timestamptz)
WHERE w.account_id = n.account_id AND w.wallet_id = n.wallet_id AND w.account_id = ANY($2)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [READ_WALLETS, INSERT_WALLETS, INSERT_WALLET_IDS, UPDATE_WALLETS];

/// A wallet's columns.
#[derive(sqlx::FromRow)]
pub(super) struct WalletRow {
    account_id: Uuid,
    wallet_id: Uuid,
    wallet_key: Option<String>,
    name: Option<String>,
    feature: String,
    is_default: bool,
    priority: i32,
    state: String,
    default_expiry_days: Option<i32>,
    debt_limit: Decimal,
    metadata: Json<BTreeMap<String, String>>,
    closed_at: Option<jiff_sqlx::Timestamp>,
}

impl WalletRow {
    /// The wallet, and whose it is.
    pub(super) fn into_wallet(self) -> Result<(AccountId, Wallet), StoreError> {
        let row = self.wallet_id.to_string();
        let days = self.default_expiry_days.map(u32::try_from).transpose();
        let limit = credits(self.debt_limit, "wallets", "debt_limit")?;
        let wallet = Wallet {
            id: WalletId::from_uuid(self.wallet_id),
            key: self.wallet_key,
            name: self.name,
            feature: word(FeatureId::new(&self.feature), "wallets", "feature", &row)?,
            is_default: self.is_default,
            priority: self.priority,
            state: word(WalletState::from_word(&self.state), "wallets", "state", &row)?,
            default_expiry_days: word(days.ok(), "wallets", "default_expiry_days", &row)?,
            debt_limit: Some(limit).filter(|limit| limit.is_positive()),
            metadata: self.metadata.0,
            closed_at: self.closed_at.map(jiff_sqlx::Timestamp::to_jiff),
        };
        Ok((AccountId::from_uuid(self.account_id), wallet))
    }
}

/// Reads every wallet of some accounts into their states.
pub(super) async fn read(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    accounts: &[Uuid],
) -> Result<(), StoreError> {
    let wallets: Vec<WalletRow> = sqlx::query_as(READ_WALLETS).bind(accounts).fetch_all(connection).await?;
    for row in wallets {
        let (account, wallet) = row.into_wallet()?;
        if let Some(state) = states.get_mut(&account) {
            state.wallets.push(wallet);
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct WalletJson<'a> {
    account_id: Uuid,
    wallet_id: Uuid,
    wallet_key: Option<&'a str>,
    shown: String,
    name: Option<&'a str>,
    feature: &'a str,
    is_default: bool,
    priority: i32,
    state: &'static str,
    default_expiry_days: Option<u32>,
    debt_limit: Credits,
    metadata: &'a BTreeMap<String, String>,
    closed_at: Option<Timestamp>,
}

fn wallet_json(account: AccountId, wallet: &Wallet) -> WalletJson<'_> {
    WalletJson {
        account_id: account.as_uuid(),
        wallet_id: wallet.id.as_uuid(),
        wallet_key: wallet.key.as_deref(),
        shown: wallet.key.clone().unwrap_or_else(|| wallet.id.to_string()),
        name: wallet.name.as_deref(),
        feature: wallet.feature.as_str(),
        is_default: wallet.is_default,
        priority: wallet.priority,
        state: wallet.state.word(),
        default_expiry_days: wallet.default_expiry_days,
        debt_limit: wallet.debt_limit.unwrap_or_default(),
        metadata: &wallet.metadata,
        closed_at: wallet.closed_at,
    }
}

/// Writes changed wallets and new ones. Changed ones first: a wallet that was closed leaves its place as the default to
/// a new one of the same batch. One that was made and changed in one batch is written as it ended up.
pub(super) async fn write(
    connection: &mut PgConnection,
    states: &BTreeMap<AccountId, AccountState>,
    changes: &BTreeMap<AccountId, Changes>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (mut made, mut changed): (Vec<WalletJson<'_>>, Vec<WalletJson<'_>>) = (Vec::new(), Vec::new());
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        let is_new = |id| changes.wallets.iter().any(|made| made.id == id);
        let of_new = changes.wallets.iter().map(|new| state.wallet(new.id).unwrap_or(new));
        made.extend(of_new.map(|wallet| wallet_json(*account, wallet)));
        let touched = changes.touched_wallets.iter().filter(|id| !is_new(**id)).filter_map(|id| state.wallet(*id));
        changed.extend(touched.map(|wallet| wallet_json(*account, wallet)));
    }
    if !changed.is_empty() {
        let accounts: Vec<Uuid> = changed.iter().map(|row| row.account_id).collect();
        let done = sqlx::query(UPDATE_WALLETS).bind(Json(&changed)).bind(accounts).execute(&mut *connection).await?;
        if usize::try_from(done.rows_affected()) != Ok(changed.len()) {
            return Err(StoreError::LostLease("wallets"));
        }
    }
    if !made.is_empty() {
        sqlx::query(INSERT_WALLETS).bind(Json(&made)).bind(time(now)).execute(&mut *connection).await?;
        sqlx::query(INSERT_WALLET_IDS).bind(Json(&made)).execute(connection).await?;
    }
    Ok(())
}
