//! API keys: hashed, found by hash, revoked at once.

use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{time, word};
use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;
use crate::domain::api_key::Scope;
use crate::domain::ids::KeyId;

const INSERT: &str = "-- insert_api_key
INSERT INTO api_keys (key_hash, key_id, scope, name, shown, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6)
ON CONFLICT ON CONSTRAINT api_keys_pkey DO NOTHING";
const FIND: &str = "-- find_api_key
SELECT key_id, scope FROM api_keys
WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())";
const TOUCH: &str = "-- touch_api_key
UPDATE api_keys SET last_used_at = clock_timestamp()
WHERE key_hash = $1 AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')";
const LIST: &str = "-- list_api_keys
SELECT key_id, scope, name, shown, created_at, expires_at, revoked_at, last_used_at FROM api_keys ORDER BY created_at, key_id";
const REVOKE: &str = "-- revoke_api_key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE key_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [INSERT, FIND, TOUCH, LIST, REVOKE];

/// A key in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFound {
    /// Which.
    pub id: KeyId,
    /// What it may do.
    pub scope: Scope,
}

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// What it may do.
    pub scope: Scope,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub shown: String,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
}

/// A key as a list shows it.
#[derive(Clone, Debug)]
pub struct KeyListed {
    /// Which.
    pub id: KeyId,
    /// What it may do.
    pub scope: Scope,
    /// What it is for.
    pub name: String,
    /// Its first characters.
    pub shown: String,
    /// Made at.
    pub created_at: Timestamp,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Refused since.
    pub revoked_at: Option<Timestamp>,
    /// About when it was last used.
    pub last_used_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    key_id: Uuid,
    scope: String,
    name: String,
    shown: String,
    created_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    revoked_at: Option<jiff_sqlx::Timestamp>,
    last_used_at: Option<jiff_sqlx::Timestamp>,
}

impl TryFrom<Row> for KeyListed {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            scope: word(Scope::from_word(&row.scope), "api_keys", "scope", &row.key_id.to_string())?,
            id: KeyId::from_uuid(row.key_id),
            name: row.name,
            shown: row.shown,
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            revoked_at: row.revoked_at.map(jiff_sqlx::Timestamp::to_jiff),
            last_used_at: row.last_used_at.map(jiff_sqlx::Timestamp::to_jiff),
        })
    }
}

impl Store {
    /// Stores a key; `None`: this very key is there already.
    pub async fn insert_key(&self, key: &NewKey) -> Result<Option<KeyId>, StoreError> {
        let id = fresh_uuid();
        transaction!(self, "insert_key", |connection| {
            let done = sqlx::query(INSERT)
                .bind(key.hash.as_slice())
                .bind(id)
                .bind(key.scope.word())
                .bind(&key.name)
                .bind(&key.shown)
                .bind(key.expires_at.map(time))
                .execute(connection)
                .await?;
            Ok((done.rows_affected() == 1).then(|| KeyId::from_uuid(id)))
        })
    }

    /// The key of that hash, when it is in force.
    pub async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<KeyFound>, StoreError> {
        let row: Option<(Uuid, String)> =
            sqlx::query_as(FIND).bind(hash.as_slice()).fetch_optional(self.pool()).await?;
        row.map(|(id, scope)| {
            let scope = word(Scope::from_word(&scope), "api_keys", "scope", &id.to_string())?;
            Ok(KeyFound { id: KeyId::from_uuid(id), scope })
        })
        .transpose()
    }

    /// Notes that a key was used, at most once a minute.
    pub async fn touch_key(&self, hash: &[u8; 32]) -> Result<(), StoreError> {
        transaction!(self, "touch_key", |connection| {
            sqlx::query(TOUCH).bind(hash.as_slice()).execute(connection).await?;
            Ok(())
        })
    }

    /// Every key there ever was.
    pub async fn list_keys(&self) -> Result<Vec<KeyListed>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(LIST).fetch_all(self.pool()).await?;
        rows.into_iter().map(KeyListed::try_from).collect()
    }

    /// Revokes a key; `false`: there is none with that id.
    pub async fn revoke_key(&self, id: KeyId) -> Result<bool, StoreError> {
        transaction!(self, "revoke_key", |connection| {
            let done = sqlx::query(REVOKE).bind(id.as_uuid()).execute(connection).await?;
            Ok(done.rows_affected() == 1)
        })
    }
}
