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
/// The test clock goes no further than a century ahead: far enough for any plan, and every time stays a time.
pub const TEST_OFFSET_SECONDS_MAX: i64 = 100 * 366 * 24 * 60 * 60;

/// One statement, so that two callers who race both count.
const ADD_OFFSET: &str = "-- advance_test_clock_by
UPDATE instance SET test_offset_seconds = test_offset_seconds + $1
WHERE NOT livemode AND $1 BETWEEN 0 AND $2 - test_offset_seconds
RETURNING livemode, cutover_at, test_offset_seconds, clock_timestamp() + make_interval(secs => test_offset_seconds)";
/// Whole seconds, rounded up: the time asked for has been reached. A time that has passed moves nothing.
const RAISE_OFFSET: &str = "-- advance_test_clock_to
UPDATE instance SET test_offset_seconds = greatest(test_offset_seconds,
    ceil(extract(epoch FROM $1::timestamptz - clock_timestamp()))::bigint)
WHERE NOT livemode AND extract(epoch FROM $1::timestamptz - clock_timestamp()) <= $2
RETURNING livemode, cutover_at, test_offset_seconds, clock_timestamp() + make_interval(secs => test_offset_seconds)";
const SAFETY: &str = "-- database_safety
SELECT current_setting('fsync') = 'on', current_setting('synchronous_commit') <> 'off',
    coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false),
    current_setting('server_version_num')::integer";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 7] = [ENSURE, ENSURE_HEAD, READ, SET_OFFSET, ADD_OFFSET, RAISE_OFFSET, SAFETY];

type InstanceRow = (bool, Option<jiff_sqlx::Timestamp>, i64, jiff_sqlx::Timestamp);

fn instance_from((livemode, cutover_at, test_offset_seconds, now): InstanceRow) -> Instance {
    let cutover_at = cutover_at.map(jiff_sqlx::Timestamp::to_jiff);
    Instance { livemode, cutover_at, test_offset_seconds, now: now.to_jiff() }
}

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
        let row: Option<InstanceRow> = sqlx::query_as(READ).fetch_optional(self.pool()).await?;
        Ok(row.map(instance_from))
    }

    /// Moves the test clock; refused (`false`) on a live database.
    pub async fn set_test_offset(&self, seconds: i64) -> Result<bool, StoreError> {
        transaction!(self, "set_test_offset", |connection| {
            let done = sqlx::query(SET_OFFSET).bind(seconds).execute(connection).await?;
            Ok(done.rows_affected() == 1)
        })
    }

    /// Moves the test clock forward by seconds, and gives the instance as it is then; `None` on a live database, and
    /// where it would go further than [`TEST_OFFSET_SECONDS_MAX`].
    pub async fn advance_test_clock_by(&self, seconds: i64) -> Result<Option<Instance>, StoreError> {
        transaction!(self, "advance_test_clock_by", |connection| {
            let row: Option<InstanceRow> = sqlx::query_as(ADD_OFFSET)
                .bind(seconds)
                .bind(TEST_OFFSET_SECONDS_MAX)
                .fetch_optional(connection)
                .await?;
            Ok(row.map(instance_from))
        })
    }

    /// Moves the test clock forward to a time at least, and gives the instance as it is then; `None` on a live database, and
    /// where it would go further than [`TEST_OFFSET_SECONDS_MAX`].
    pub async fn advance_test_clock_to(&self, to: Timestamp) -> Result<Option<Instance>, StoreError> {
        transaction!(self, "advance_test_clock_to", |connection| {
            let row: Option<InstanceRow> = sqlx::query_as(RAISE_OFFSET)
                .bind(time(to))
                .bind(TEST_OFFSET_SECONDS_MAX)
                .fetch_optional(connection)
                .await?;
            Ok(row.map(instance_from))
        })
    }

    /// Settings of the server that decide whether an acknowledged write can be lost.
    pub async fn safety(&self) -> Result<Safety, StoreError> {
        let (fsync, synchronous_commit, superuser, version): (bool, bool, bool, i32) =
            sqlx::query_as(SAFETY).fetch_one(self.pool()).await?;
        Ok(Safety { fsync, synchronous_commit, superuser, version })
    }
}
