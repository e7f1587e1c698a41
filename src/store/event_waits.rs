//! Events that tell of a payment nobody has claimed: ignored, and taken up when somebody does.

use super::events::{LeasedEvent, Why};
use super::{Store, StoreError, transaction};

const CLOSE: &str = "-- close_waiting_event
UPDATE stripe_events SET state = 'ignored', reason = $3, detail = $4, due_at = NULL, done_at = clock_timestamp(),
    lease_token = NULL, leased_until = NULL
WHERE event_id = $1 AND lease_token = $2";
const WAIT: &str = "-- wait_for_payment
INSERT INTO stripe_event_waits (alias, event_id) SELECT alias, $2 FROM unnest($1::text[]) AS n (alias)
ON CONFLICT ON CONSTRAINT stripe_event_waits_pkey DO NOTHING";
const FOUND: &str = "-- find_waiting_events
SELECT DISTINCT w.event_id FROM stripe_event_waits w JOIN payment_aliases a ON a.alias = w.alias LIMIT 1000";
const WAKE: &str = "-- wake_waiting_events
UPDATE stripe_events SET state = 'received', attempts = 0, done_at = NULL,
    due_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE event_id = ANY($1) AND state = 'ignored'";
const FORGET: &str = "-- forget_waits
DELETE FROM stripe_event_waits WHERE event_id = ANY($1)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [CLOSE, WAIT, FOUND, WAKE, FORGET];

impl Store {
    /// Ends work on an event until a payment has one of the ids.
    pub async fn close_waiting_event(
        &self,
        event: &LeasedEvent,
        why: &Why,
        aliases: &[String],
    ) -> Result<(), StoreError> {
        transaction!(self, "close_waiting_event", |connection| {
            let done = sqlx::query(CLOSE)
                .bind(&event.id)
                .bind(event.token())
                .bind(why.reason.as_str())
                .bind(why.detail.as_str())
                .execute(&mut *connection)
                .await?;
            if done.rows_affected() != 1 {
                return Err(StoreError::LostLease("stripe_events"));
            }
            sqlx::query(WAIT).bind(aliases).bind(&event.id).execute(connection).await?;
            Ok(())
        })
    }

    /// Makes events due whose payment was claimed. Answers how many.
    pub async fn wake_waiting(&self) -> Result<u64, StoreError> {
        let found: Vec<String> = sqlx::query_scalar(FOUND).fetch_all(self.pool()).await?;
        if found.is_empty() {
            return Ok(0);
        }
        transaction!(self, "wake_waiting", |connection| {
            let woken = sqlx::query(WAKE).bind(&found).execute(&mut *connection).await?.rows_affected();
            sqlx::query(FORGET).bind(&found).execute(connection).await?;
            Ok(woken)
        })
    }
}
