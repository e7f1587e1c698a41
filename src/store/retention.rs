//! Emptying what has lived long enough.

use super::{Store, StoreError, transaction};

const SLOT_TO_EMPTY: &str = "-- slot_to_empty
SELECT (floor(extract(epoch FROM clock_timestamp() + make_interval(secs => test_offset_seconds)) / 86400)::bigint + 1) % 10
FROM instance";
/// One statement per slot of the ring: a table's name cannot be a parameter.
const EMPTY_SLOT: [&str; 10] = [
    "TRUNCATE idempotency_0",
    "TRUNCATE idempotency_1",
    "TRUNCATE idempotency_2",
    "TRUNCATE idempotency_3",
    "TRUNCATE idempotency_4",
    "TRUNCATE idempotency_5",
    "TRUNCATE idempotency_6",
    "TRUNCATE idempotency_7",
    "TRUNCATE idempotency_8",
    "TRUNCATE idempotency_9",
];
const SLOT_IS_EMPTY: [&str; 10] = [
    "SELECT NOT EXISTS (SELECT FROM idempotency_0)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_1)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_2)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_3)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_4)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_5)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_6)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_7)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_8)",
    "SELECT NOT EXISTS (SELECT FROM idempotency_9)",
];
/// Days raw bodies of events and answers are kept (rule 36).
const RAW_DAYS: i32 = 400;
/// Rows of one statement, so that it holds its locks for moments.
const RAW_ROWS: i64 = 1_000;
const FORGET_BODIES: &str = "-- forget_event_bodies
UPDATE stripe_events SET body = NULL WHERE event_id = ANY (
    SELECT event_id FROM stripe_events WHERE body IS NOT NULL AND due_at IS NULL
        AND received_at < clock_timestamp() - make_interval(days => $1) LIMIT $2)";
const FORGET_INPUTS: &str = "-- forget_input_bodies
UPDATE stripe_inputs i SET body = NULL FROM stripe_events e
WHERE e.event_id = i.event_id AND e.body IS NULL AND i.body IS NOT NULL";
/// Without its body an event cannot be taken up: what went back was somebody else's.
const FORGET_WAITS: &str = "-- forget_old_waits
DELETE FROM stripe_event_waits w USING stripe_events e WHERE e.event_id = w.event_id AND e.body IS NULL";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [SLOT_TO_EMPTY, FORGET_BODIES, FORGET_INPUTS, FORGET_WAITS];

impl Store {
    /// Empties the slot of the idempotency ring that tomorrow will write to: its keys are nine days old. Today's slot
    /// and the eight before it stay.
    pub async fn empty_next_slot(&self) -> Result<bool, StoreError> {
        transaction!(self, "empty_next_slot", |connection| {
            sqlx::query("SET LOCAL lock_timeout = '200ms'").execute(&mut *connection).await?;
            let slot: i64 = sqlx::query_scalar(SLOT_TO_EMPTY).fetch_one(&mut *connection).await?;
            let place = usize::try_from(slot.rem_euclid(10)).unwrap_or(0);
            let empty: bool = sqlx::query_scalar(SLOT_IS_EMPTY[place]).fetch_one(&mut *connection).await?;
            if !empty {
                sqlx::query(EMPTY_SLOT[place]).execute(connection).await?;
            }
            Ok(!empty)
        })
    }

    /// Forgets raw bodies that are older than they are kept; answers how many events this round took.
    pub async fn forget_old_bodies(&self) -> Result<u64, StoreError> {
        transaction!(self, "forget_old_bodies", |connection| {
            let forgotten = sqlx::query(FORGET_BODIES).bind(RAW_DAYS).bind(RAW_ROWS).execute(&mut *connection).await?;
            if forgotten.rows_affected() > 0 {
                sqlx::query(FORGET_INPUTS).execute(&mut *connection).await?;
                sqlx::query(FORGET_WAITS).execute(connection).await?;
            }
            Ok(forgotten.rows_affected())
        })
    }
}
