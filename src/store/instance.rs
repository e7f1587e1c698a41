//! The one row that says what this database is (rules 1, 11, 27).

use jiff::Timestamp;

use super::rows::time;
use super::{Store, StoreError, transaction};

const ENSURE: &str = "-- ensure_instance
INSERT INTO instance (singleton, livemode, cutover_at, created_at) VALUES (true, $1, $2, clock_timestamp())
ON CONFLICT ON CONSTRAINT instance_pkey DO NOTHING";
/// Before the first apply the catalogue is empty, at version 0.
pub(super) const ENSURE_HEAD: &str = "-- ensure_catalog_head
INSERT INTO catalog_head (singleton, version, applied_at) VALUES (true, 0, clock_timestamp())
ON CONFLICT ON CONSTRAINT catalog_head_pkey DO NOTHING";
const READ: &str = "-- read_instance
SELECT livemode, cutover_at, test_offset_seconds, clock_timestamp() + make_interval(secs => test_offset_seconds) FROM instance";
const SET_OFFSET: &str = "-- set_test_offset
UPDATE instance SET test_offset_seconds = $1 WHERE NOT livemode";
const SAFETY: &str = "-- database_safety
SELECT current_setting('fsync') = 'on', current_setting('synchronous_commit') <> 'off',
    coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false),
    current_setting('server_version_num')::integer";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [ENSURE, ENSURE_HEAD, READ, SET_OFFSET, SAFETY];

/// What this database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Stripe's live mode?
    pub livemode: bool,
    /// Objects paid before it never grant.
    pub cutover_at: Option<Timestamp>,
    /// Seconds the test clock is ahead.
    pub test_offset_seconds: i64,
    /// Ledger time now.
    pub now: Timestamp,
}

/// Settings of the server that decide whether an acknowledged write can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safety {
    /// Does the server flush to disk?
    pub fsync: bool,
    /// Does COMMIT wait for that flush?
    pub synchronous_commit: bool,
    /// Is our role a superuser?
    pub superuser: bool,
    /// Version as a number, such as 150018.
    pub version: i32,
}

impl Store {
    /// Fixes what this database is at its first start, and reads it.
    pub async fn ensure_instance(&self, livemode: bool, cutover_at: Option<Timestamp>) -> Result<Instance, StoreError> {
        transaction!(self, "ensure_instance", |connection| {
            sqlx::query(ENSURE).bind(livemode).bind(cutover_at.map(time)).execute(&mut *connection).await?;
            sqlx::query(ENSURE_HEAD).execute(connection).await?;
            Ok(())
        })?;
        self.instance().await?.ok_or(StoreError::LostLease("instance"))
    }

    /// What this database is; `None` before the first start.
    pub async fn instance(&self) -> Result<Option<Instance>, StoreError> {
        let row: Option<(bool, Option<jiff_sqlx::Timestamp>, i64, jiff_sqlx::Timestamp)> =
            sqlx::query_as(READ).fetch_optional(self.pool()).await?;
        Ok(row.map(|(livemode, cutover_at, test_offset_seconds, now)| Instance {
            livemode,
            cutover_at: cutover_at.map(jiff_sqlx::Timestamp::to_jiff),
            test_offset_seconds,
            now: now.to_jiff(),
        }))
    }

    /// Moves the test clock; refused (`false`) on a live database.
    pub async fn set_test_offset(&self, seconds: i64) -> Result<bool, StoreError> {
        transaction!(self, "set_test_offset", |connection| {
            let done = sqlx::query(SET_OFFSET).bind(seconds).execute(connection).await?;
            Ok(done.rows_affected() == 1)
        })
    }

    /// Settings of the server that decide whether an acknowledged write can be lost.
    pub async fn safety(&self) -> Result<Safety, StoreError> {
        let (fsync, synchronous_commit, superuser, version): (bool, bool, bool, i32) =
            sqlx::query_as(SAFETY).fetch_one(self.pool()).await?;
        Ok(Safety { fsync, synchronous_commit, superuser, version })
    }
}
