//! Events that tell of a payment nobody has claimed: ignored, and taken up when somebody does.

use super::{Store, StoreError, transaction};

const WAIT: &str = "-- wait_for_payment
INSERT INTO stripe_event_waits (alias, event_id) SELECT alias, $2 FROM unnest($1::text[]) AS n (alias)
ON CONFLICT ON CONSTRAINT stripe_event_waits_pkey DO NOTHING";
const FOUND: &str = "-- find_waiting_events
SELECT DISTINCT w.event_id FROM stripe_event_waits w JOIN payment_aliases a ON a.alias = w.alias LIMIT 1000";
/// One that is not closed yet keeps its place: it is looked at again once it is.
const WAKE: &str = "-- wake_waiting_events
UPDATE stripe_events SET state = 'received', attempts = 0, done_at = NULL,
    due_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE event_id = ANY($1) AND state = 'ignored' AND reason = 'unknown_payment'
RETURNING event_id";
const FORGET: &str = "-- forget_waits
DELETE FROM stripe_event_waits w USING stripe_events e
WHERE e.event_id = w.event_id AND w.event_id = ANY($1) AND (e.state <> 'received' OR w.event_id = ANY($2))";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [WAIT, FOUND, WAKE, FORGET];

impl Store {
    /// Remembers, before an event is closed as `unknown_payment`, which ids would make it of interest.
    pub async fn wait_for_payment(&self, event: &str, aliases: &[String]) -> Result<(), StoreError> {
        transaction!(self, "wait_for_payment", |connection| {
            sqlx::query(WAIT).bind(aliases).bind(event).execute(connection).await?;
            Ok(())
        })
    }

    /// Makes events due whose payment was claimed. Answers how many.
    pub async fn wake_waiting(&self) -> Result<usize, StoreError> {
        let found: Vec<String> = sqlx::query_scalar(FOUND).fetch_all(self.pool()).await?;
        if found.is_empty() {
            return Ok(0);
        }
        transaction!(self, "wake_waiting", |connection| {
            let woken: Vec<String> = sqlx::query_scalar(WAKE).bind(&found).fetch_all(&mut *connection).await?;
            sqlx::query(FORGET).bind(&found).bind(&woken).execute(connection).await?;
            Ok(woken.len())
        })
    }
}
