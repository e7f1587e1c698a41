//! How much there is of what a measurement made: counted over the whole database, for `creditd bench`.

use super::{Store, StoreError};

/// Every number from one snapshot; a command is an account's entries with one `command` number.
const COUNT: &str = "-- count_census
SELECT (SELECT count(*) FROM customers),
    (SELECT count(*) FROM idempotency WHERE operation = 'track'),
    (SELECT count(*) FROM (SELECT DISTINCT account_id, command FROM entries WHERE source = 'track') tracks),
    (SELECT count(*) FROM stripe_events),
    (SELECT count(*) FROM (SELECT DISTINCT account_id, command FROM entries WHERE source = 'payment') paid)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 1] = [COUNT];

/// What a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Customers.
    pub customers: i64,
    /// Keys of tracks that were applied.
    pub track_keys: i64,
    /// Tracks that drew something.
    pub track_commands: i64,
    /// Stored events of Stripe.
    pub stripe_events: i64,
    /// Payments that granted.
    pub payment_commands: i64,
}

impl Store {
    /// Counts; reads whole tables.
    pub async fn census(&self) -> Result<Census, StoreError> {
        let (customers, track_keys, track_commands, stripe_events, payment_commands) =
            sqlx::query_as(COUNT).fetch_one(self.pool()).await?;
        Ok(Census { customers, track_keys, track_commands, stripe_events, payment_commands })
    }
}
