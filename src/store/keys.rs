//! API keys: stored as SHA-256, found by it, revoked by their id.

use jiff::Timestamp;
use uuid::Uuid;

use super::rows::word;
use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;
use crate::domain::api_key::{KeyText, Scope};
use crate::domain::ids::KeyId;

const INSERT: &str = "-- insert_api_key
INSERT INTO api_keys (key_hash, key_id, scope, name, shown, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), clock_timestamp() + make_interval(days => $6::integer))
ON CONFLICT ON CONSTRAINT api_keys_pkey DO NOTHING";
const BY_HASH: &str = "-- api_key_by_hash
SELECT key_id, scope, name, shown, created_at, expires_at, revoked_at, last_used_at FROM api_keys WHERE key_hash = $1";
const FIND_VALID: &str = "-- find_valid_api_key
SELECT key_id, scope, expires_at, coalesce(last_used_at < clock_timestamp() - interval '1 minute', true)
FROM api_keys
WHERE key_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())";
const TOUCH: &str = "-- touch_api_key
UPDATE api_keys SET last_used_at = clock_timestamp()
WHERE key_hash = $1 AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')";
const LIST: &str = "-- list_api_keys
SELECT key_id, scope, name, shown, created_at, expires_at, revoked_at, last_used_at
FROM api_keys ORDER BY created_at, key_id LIMIT $1";
const REVOKE: &str = "-- revoke_api_key
UPDATE api_keys SET revoked_at = clock_timestamp() WHERE key_id = $1 AND revoked_at IS NULL";
const EXISTS: &str = "-- api_key_exists
SELECT true FROM api_keys WHERE key_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 7] = [INSERT, BY_HASH, FIND_VALID, TOUCH, LIST, REVOKE, EXISTS];

/// Most keys one list shows: an instance has a handful.
const LIST_MAX: i64 = 1_000;
/// Longest name of a key, in bytes.
pub const KEY_NAME_MAX: usize = 256;

/// A key that may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidKey {
    /// Its id.
    pub id: KeyId,
    /// What it may do.
    pub scope: Scope,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
}

/// A key as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id.
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

/// Was an imported key there already?
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum KeyImport {
    /// Stored now.
    Made(KeyId),
    /// It was there and stays as it was: an import never widens a scope or undoes a revocation.
    Known(StoredKey),
}

/// What a revocation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Revocation {
    /// The key is refused from now on.
    Done,
    /// It was revoked before.
    Before,
    /// There is no such key.
    Unknown,
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    key_id: Uuid,
    scope: String,
    name: String,
    shown: String,
    created_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    revoked_at: Option<jiff_sqlx::Timestamp>,
    last_used_at: Option<jiff_sqlx::Timestamp>,
}

impl TryFrom<KeyRow> for StoredKey {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let id = KeyId::from_uuid(row.key_id);
        Ok(Self {
            id,
            scope: scope(&row.scope, id)?,
            name: row.name,
            shown: row.shown,
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            revoked_at: row.revoked_at.map(jiff_sqlx::Timestamp::to_jiff),
            last_used_at: row.last_used_at.map(jiff_sqlx::Timestamp::to_jiff),
        })
    }
}

fn scope(text: &str, id: KeyId) -> Result<Scope, StoreError> {
    word(Scope::from_word(text), "api_keys", "scope", &id.to_string())
}

impl Store {
    /// Stores a new key. A text that is stored already is a constraint error: random keys do not meet.
    pub async fn create_key(
        &self,
        key: &KeyText,
        scope: Scope,
        name: &str,
        expires_in_days: Option<i32>,
    ) -> Result<KeyId, StoreError> {
        match self.insert_key(key, scope, name, expires_in_days).await? {
            Some(id) => Ok(id),
            None => Err(StoreError::Constraint("api_keys_pkey".to_owned())),
        }
    }

    /// Stores a secret an operator chose, unless it is there.
    pub async fn import_key(&self, scope: Scope, key: &KeyText, name: &str) -> Result<KeyImport, StoreError> {
        if let Some(id) = self.insert_key(key, scope, name, None).await? {
            return Ok(KeyImport::Made(id));
        }
        let row: KeyRow = sqlx::query_as(BY_HASH).bind(key.hash().as_slice()).fetch_one(self.pool()).await?;
        Ok(KeyImport::Known(row.try_into()?))
    }

    async fn insert_key(
        &self,
        key: &KeyText,
        scope: Scope,
        name: &str,
        expires_in_days: Option<i32>,
    ) -> Result<Option<KeyId>, StoreError> {
        let id = fresh_uuid();
        let (hash, shown) = (key.hash(), key.shown());
        transaction!(self, "insert_api_key", |connection| {
            let done = sqlx::query(INSERT)
                .bind(hash.as_slice())
                .bind(id)
                .bind(scope.word())
                .bind(name)
                .bind(&shown)
                .bind(expires_in_days)
                .execute(connection)
                .await?;
            Ok((done.rows_affected() == 1).then(|| KeyId::from_uuid(id)))
        })
    }

    /// The key with that hash, if it may be used now. Notes about once a minute that it was.
    pub async fn find_key(&self, hash: [u8; 32]) -> Result<Option<ValidKey>, StoreError> {
        let row: Option<(Uuid, String, Option<jiff_sqlx::Timestamp>, bool)> =
            sqlx::query_as(FIND_VALID).bind(hash.as_slice()).fetch_optional(self.pool()).await?;
        let Some((id, text, expires_at, stale)) = row else { return Ok(None) };
        let id = KeyId::from_uuid(id);
        if stale {
            transaction!(self, "touch_api_key", |connection| {
                sqlx::query(TOUCH).bind(hash.as_slice()).execute(connection).await?;
                Ok::<(), StoreError>(())
            })?;
        }
        Ok(Some(ValidKey { id, scope: scope(&text, id)?, expires_at: expires_at.map(jiff_sqlx::Timestamp::to_jiff) }))
    }

    /// Keys, oldest first, revoked ones too.
    pub async fn list_keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows: Vec<KeyRow> = sqlx::query_as(LIST).bind(LIST_MAX).fetch_all(self.pool()).await?;
        rows.into_iter().map(StoredKey::try_from).collect()
    }

    /// Ends a key for good.
    pub async fn revoke_key(&self, id: KeyId) -> Result<Revocation, StoreError> {
        transaction!(self, "revoke_api_key", |connection| {
            let done = sqlx::query(REVOKE).bind(id.as_uuid()).execute(&mut *connection).await?;
            if done.rows_affected() == 1 {
                return Ok(Revocation::Done);
            }
            let known: Option<bool> = sqlx::query_scalar(EXISTS).bind(id.as_uuid()).fetch_optional(connection).await?;
            Ok(if known.is_some() { Revocation::Before } else { Revocation::Unknown })
        })
    }
}
