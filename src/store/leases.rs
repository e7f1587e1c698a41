//! Leases: who does what only one daemon should do at a time. A row with a token, a time, and a fence that counts up
//! with every holder, so that a sleeper that wakes finds itself replaced.

use uuid::Uuid;

use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;

/// Real time, not ledger time: a test clock that jumps ends nobody's lease.
const TAKE: &str = "-- take_lease
INSERT INTO leases (name, token, fence, until) VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3::integer))
ON CONFLICT ON CONSTRAINT leases_pkey DO UPDATE SET token = excluded.token, fence = leases.fence + 1, until = excluded.until
WHERE leases.until <= clock_timestamp()
RETURNING fence";
const EXTEND: &str = "-- extend_lease
UPDATE leases SET until = clock_timestamp() + make_interval(secs => $4::integer)
WHERE name = $1 AND token = $2 AND fence = $3 AND until > clock_timestamp()";
const RELEASE: &str = "-- release_lease
UPDATE leases SET until = clock_timestamp() WHERE name = $1 AND token = $2 AND fence = $3 AND until > clock_timestamp()";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [TAKE, EXTEND, RELEASE];

/// A lease that was taken. Dropping it keeps it until its time is over; [`Store::release_lease`] gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    name: String,
    token: Uuid,
    fence: i64,
}

impl Lease {
    /// Number of this holder, counting up.
    pub const fn fence(&self) -> i64 {
        self.fence
    }
}

impl Store {
    /// Takes a lease for some seconds; `None`: somebody else has it.
    pub async fn take_lease(&self, name: &str, seconds: i32) -> Result<Option<Lease>, StoreError> {
        let token = fresh_uuid();
        let fence: Option<i64> = transaction!(self, "take_lease", |connection| {
            let row = sqlx::query_scalar(TAKE).bind(name).bind(token).bind(seconds);
            Ok(row.fetch_optional(connection).await?)
        })?;
        Ok(fence.map(|fence| Lease { name: name.to_owned(), token, fence }))
    }

    /// Keeps a lease for some more seconds; `false`: it is over, and perhaps somebody else's.
    pub async fn extend_lease(&self, lease: &Lease, seconds: i32) -> Result<bool, StoreError> {
        transaction!(self, "extend_lease", |connection| {
            let row = sqlx::query(EXTEND).bind(&lease.name).bind(lease.token).bind(lease.fence).bind(seconds);
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// Gives a lease back, so that the next one need not wait for its end.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        transaction!(self, "release_lease", |connection| {
            let row = sqlx::query(RELEASE).bind(&lease.name).bind(lease.token).bind(lease.fence);
            row.execute(connection).await?;
            Ok(())
        })
    }
}
