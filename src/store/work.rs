//! The queue of accounts with something due: an expiry or a renewal that no request has booked yet.

use jiff::Timestamp;
use uuid::Uuid;

use super::ledger_write::bucket;
use super::{Store, StoreError, transaction};
use crate::domain::ids::AccountId;

/// Buckets of the queue.
pub const BUCKETS: i16 = 16;

const DUE: &str = "-- due_accounts
SELECT w.account_id FROM account_work w CROSS JOIN instance i
WHERE w.bucket = $1 AND w.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)
ORDER BY w.due_at LIMIT $2";
/// Which buckets have something due, and since when.
const LATE: &str = "-- due_buckets
SELECT b.bucket, w.due_at FROM generate_series(0, 15) AS b (bucket)
CROSS JOIN LATERAL (SELECT due_at FROM account_work WHERE account_work.bucket = b.bucket ORDER BY due_at LIMIT 1) AS w
CROSS JOIN instance i WHERE w.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)";
const DELAY: &str = "-- delay_account_work
UPDATE account_work SET due_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds + $3::bigint)
    FROM instance i)
WHERE bucket = $1 AND account_id = $2";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [DUE, LATE, DELAY];

impl Store {
    /// Buckets in which accounts are due, each with the earliest time.
    pub async fn due_buckets(&self) -> Result<Vec<(i16, Timestamp)>, StoreError> {
        let rows: Vec<(i32, jiff_sqlx::Timestamp)> = sqlx::query_as(LATE).fetch_all(self.pool()).await?;
        Ok(rows.into_iter().filter_map(|(number, due)| Some((i16::try_from(number).ok()?, due.to_jiff()))).collect())
    }

    /// Accounts of a bucket that are due, earliest first.
    pub async fn due_accounts(&self, bucket: i16, most: i64) -> Result<Vec<AccountId>, StoreError> {
        let ids: Vec<Uuid> = sqlx::query_scalar(DUE).bind(bucket).bind(most).fetch_all(self.pool()).await?;
        Ok(ids.into_iter().map(AccountId::from_uuid).collect())
    }

    /// Looks at an account later, because what is due cannot be booked now.
    pub async fn delay_account_work(&self, account: AccountId, seconds: i64) -> Result<(), StoreError> {
        transaction!(self, "delay_account_work", |connection| {
            let row = sqlx::query(DELAY).bind(bucket(account)).bind(account.as_uuid()).bind(seconds);
            row.execute(connection).await?;
            Ok(())
        })
    }
}
