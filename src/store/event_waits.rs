//! Events that tell of a payment nobody has claimed: ignored, and taken up when somebody does.

use super::{Store, StoreError, transaction};

const WAIT: &str = "-- wait_for_payment
INSERT INTO stripe_event_waits (alias, event_id) SELECT alias, $2 FROM unnest($1::text[]) AS n (alias)
ON CONFLICT ON CONSTRAINT stripe_event_waits_pkey DO NOTHING";
const FOUND: &str = "-- find_waiting_events
SELECT DISTINCT w.event_id FROM stripe_event_waits w JOIN payment_aliases a ON a.alias = w.alias LIMIT 1000";
/// Those of a payment that was just claimed: found by the key, however many others wait.
const FOUND_OF: &str = "-- find_events_waiting_for
SELECT DISTINCT w.event_id FROM stripe_event_waits w JOIN payment_aliases a ON a.alias = w.alias
WHERE w.alias = ANY($1) LIMIT 1000";
const WAKE: &str = "-- wake_waiting_events
UPDATE stripe_events SET state = 'received', attempts = 0, done_at = NULL,
    due_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE event_id = ANY($1) AND state = 'ignored' AND reason = 'unknown_payment'
RETURNING event_id";
/// One that is not closed yet keeps its place, and so does one that was closed to wait since the look above: they are
/// looked at again. What is under a lease may stand as parked, from an earlier try, and still come to wait.
const FORGET: &str = "-- forget_waits
DELETE FROM stripe_event_waits w USING stripe_events e
WHERE e.event_id = w.event_id AND w.event_id = ANY($1) AND (w.event_id = ANY($2)
    OR e.due_at IS NULL AND NOT (e.state = 'ignored' AND e.reason = 'unknown_payment'))";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [WAIT, FOUND, FOUND_OF, WAKE, FORGET];

impl Store {
    /// Remembers, before an event is closed as `unknown_payment`, which ids would make it of interest.
    pub async fn wait_for_payment(&self, event: &str, aliases: &[String]) -> Result<(), StoreError> {
        transaction!(self, "wait_for_payment", |connection| {
            sqlx::query(WAIT).bind(aliases).bind(event).execute(connection).await?;
            Ok(())
        })
    }

    /// Makes all events due whose payment was claimed. Answers how many.
    pub async fn wake_waiting(&self) -> Result<usize, StoreError> {
        let found: Vec<String> = sqlx::query_scalar(FOUND).fetch_all(self.pool()).await?;
        self.wake(&found).await
    }

    /// Makes events due that wait for one of these ids, where a payment has it. Answers how many.
    pub async fn wake_waiting_for(&self, aliases: &[String]) -> Result<usize, StoreError> {
        let found: Vec<String> = sqlx::query_scalar(FOUND_OF).bind(aliases).fetch_all(self.pool()).await?;
        self.wake(&found).await
    }

    async fn wake(&self, found: &[String]) -> Result<usize, StoreError> {
        if found.is_empty() {
            return Ok(0);
        }
        transaction!(self, "wake_waiting", |connection| {
            let woken: Vec<String> = sqlx::query_scalar(WAKE).bind(found).fetch_all(&mut *connection).await?;
            sqlx::query(FORGET).bind(found).bind(&woken).execute(connection).await?;
            Ok(woken.len())
        })
    }
}
