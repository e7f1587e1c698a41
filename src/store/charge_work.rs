//! The charger's queue: what is due, leased to one worker at a time.
//!
//! Due times are ledger time, leases real time. The door writes what becomes due; a worker only puts off, or takes out,
//! what it holds the lease of.

use sqlx::PgConnection;
use uuid::Uuid;

use super::ledger_write::bucket;
use super::rows::{time, word};
use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;
use crate::domain::ids::AccountId;

const DUE: &str = "-- due_charge_work
SELECT w.bucket, w.account_id, w.kind, w.owner_id FROM instance i CROSS JOIN generate_series(0, 15) AS b (bucket)
CROSS JOIN LATERAL (SELECT * FROM charge_work c WHERE c.bucket = b.bucket AND c.kind = ANY($2)
        AND c.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)
        AND (c.leased_until IS NULL OR c.leased_until <= clock_timestamp())
    ORDER BY c.due_at LIMIT $1) AS w
ORDER BY w.due_at LIMIT $1";
const LEASE: &str = "-- lease_charge_work
UPDATE charge_work w SET lease_token = $5, leased_until = clock_timestamp() + make_interval(secs => $6::integer),
    fence = w.fence + 1
FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[]) AS n (bucket, account_id, kind, owner_id), instance i
WHERE w.bucket = n.bucket AND w.account_id = n.account_id AND w.kind = n.kind AND w.owner_id = n.owner_id
    AND (w.leased_until IS NULL OR w.leased_until <= clock_timestamp())
    AND w.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)
RETURNING w.account_id, w.kind, w.owner_id, w.fence, w.due_at";
const EXTEND: &str = "-- extend_charge_lease
UPDATE charge_work SET leased_until = clock_timestamp() + make_interval(secs => $7::integer)
WHERE bucket = $1 AND account_id = $2 AND kind = $3 AND owner_id = $4 AND lease_token = $5 AND fence = $6
    AND leased_until > clock_timestamp()";
/// What became due anew while it was worked on keeps its time.
const PUT_OFF: &str = "-- put_off_charge_work
UPDATE charge_work w SET lease_token = NULL, leased_until = NULL, due_at = CASE WHEN w.due_at = $7 THEN
    clock_timestamp() + make_interval(secs => i.test_offset_seconds + $8::bigint) ELSE w.due_at END
FROM instance i
WHERE bucket = $1 AND account_id = $2 AND kind = $3 AND owner_id = $4 AND lease_token = $5 AND fence = $6";
const RELEASE: &str = "-- release_charge_work
UPDATE charge_work SET lease_token = NULL, leased_until = NULL
WHERE bucket = $1 AND account_id = $2 AND kind = $3 AND owner_id = $4 AND lease_token = $5 AND fence = $6";
const DONE: &str = "-- done_charge_work
DELETE FROM charge_work WHERE bucket = $1 AND account_id = $2 AND kind = $3 AND owner_id = $4 AND lease_token = $5
    AND fence = $6 AND due_at = $7";
const UPSERT: &str = "-- upsert_charge_work
INSERT INTO charge_work (bucket, account_id, kind, owner_id, due_at)
SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[])
ON CONFLICT ON CONSTRAINT charge_work_pkey DO UPDATE SET due_at = excluded.due_at";
const DELETE: &str = "-- delete_charge_work
DELETE FROM charge_work w USING unnest($1::smallint[], $2::uuid[], $3::text[], $4::uuid[])
    AS n (bucket, account_id, kind, owner_id)
WHERE w.bucket = n.bucket AND w.account_id = n.account_id AND w.kind = n.kind AND w.owner_id = n.owner_id";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 8] = [DUE, LEASE, EXTEND, PUT_OFF, RELEASE, DONE, UPSERT, DELETE];

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKind {
    /// A top-up is to be charged, repeated or ended.
    TopUp,
    /// An account's rules are to be looked at again.
    Look,
    /// An excess payment is to be refunded.
    Refund,
    /// Overage is to be invoiced.
    Bill,
    /// A saved card is to become the default.
    Card,
}

impl WorkKind {
    const ALL: [Self; 5] = [Self::TopUp, Self::Look, Self::Refund, Self::Bill, Self::Card];

    /// The word used in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Look => "look",
            Self::Refund => "refund",
            Self::Bill => "bill",
            Self::Card => "card",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}

/// A row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkKey {
    /// Whose.
    pub account: AccountId,
    /// What.
    pub kind: WorkKind,
    /// Of what.
    pub owner: Uuid,
}

/// A row that this worker may work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedWork {
    /// Which.
    pub key: WorkKey,
    token: Uuid,
    fence: i64,
    due_at: jiff_sqlx::Timestamp,
}

impl LeasedWork {
    /// It was seen to be due at that time: what sets another time from now on does so anew.
    pub fn is_due_since(&mut self, due_at: Option<jiff::Timestamp>) {
        if let Some(due_at) = due_at {
            self.due_at = time(due_at);
        }
    }
}

type Columns = (Vec<i16>, Vec<Uuid>, Vec<&'static str>, Vec<Uuid>);

fn columns(keys: &[WorkKey]) -> Columns {
    (
        keys.iter().map(|key| bucket(key.account)).collect(),
        keys.iter().map(|key| key.account.as_uuid()).collect(),
        keys.iter().map(|key| key.kind.word()).collect(),
        keys.iter().map(|key| key.owner).collect(),
    )
}

impl Store {
    /// What of these kinds is due and nobody's, the longest due first.
    pub async fn due_charge_work(&self, kinds: &[WorkKind], most: i64) -> Result<Vec<WorkKey>, StoreError> {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
        let rows: Vec<(i16, Uuid, String, Uuid)> =
            sqlx::query_as(DUE).bind(most).bind(kinds).fetch_all(self.pool()).await?;
        rows.into_iter().map(|(_, account, kind, owner)| work_key(account, &kind, owner)).collect()
    }

    /// Takes those that are still nobody's.
    pub async fn lease_charge_work(&self, keys: &[WorkKey], seconds: i32) -> Result<Vec<LeasedWork>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let token = fresh_uuid();
        let (buckets, accounts, kinds, owners) = columns(keys);
        let rows: Vec<(Uuid, String, Uuid, i64, jiff_sqlx::Timestamp)> =
            transaction!(self, "lease_charge_work", |c| {
                let query = sqlx::query_as(LEASE).bind(&buckets).bind(&accounts).bind(&kinds).bind(&owners);
                Ok(query.bind(token).bind(seconds).fetch_all(c).await?)
            })?;
        let leased = |(account, kind, owner, fence, due_at): (Uuid, String, Uuid, i64, jiff_sqlx::Timestamp)| {
            Ok(LeasedWork { key: work_key(account, &kind, owner)?, token, fence, due_at })
        };
        rows.into_iter().map(leased).collect()
    }

    /// Keeps a lease for some more seconds; `false`: it is over.
    pub async fn extend_charge_lease(&self, work: &LeasedWork, seconds: i32) -> Result<bool, StoreError> {
        transaction!(self, "extend_charge_lease", |connection| {
            let done = leased(EXTEND, work).bind(seconds).execute(connection).await?;
            Ok(done.rows_affected() == 1)
        })
    }

    /// Gives it back, to be looked at in so many seconds; sooner, if it became due anew meanwhile.
    pub async fn put_off_charge_work(&self, work: &LeasedWork, seconds: i64) -> Result<(), StoreError> {
        transaction!(self, "put_off_charge_work", |connection| {
            leased(PUT_OFF, work).bind(work.due_at).bind(seconds).execute(connection).await?;
            Ok(())
        })
    }

    /// Gives it back as the door left it.
    pub async fn release_charge_work(&self, work: &LeasedWork) -> Result<(), StoreError> {
        transaction!(self, "release_charge_work", |connection| {
            leased(RELEASE, work).execute(connection).await?;
            Ok(())
        })
    }

    /// Takes it out; what became due anew meanwhile stays.
    pub async fn done_charge_work(&self, work: &LeasedWork) -> Result<(), StoreError> {
        transaction!(self, "done_charge_work", |connection| {
            let gone = leased(DONE, work).bind(work.due_at).execute(&mut *connection).await?;
            if gone.rows_affected() == 0 {
                leased(RELEASE, work).execute(connection).await?;
            }
            Ok(())
        })
    }
}

fn leased(
    statement: &'static str,
    work: &LeasedWork,
) -> sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let WorkKey { account, kind, owner } = work.key;
    sqlx::query(statement)
        .bind(bucket(account))
        .bind(account.as_uuid())
        .bind(kind.word())
        .bind(owner)
        .bind(work.token)
        .bind(work.fence)
}

fn work_key(account: Uuid, kind: &str, owner: Uuid) -> Result<WorkKey, StoreError> {
    let kind = word(WorkKind::from_word(kind), "charge_work", "kind", kind)?;
    Ok(WorkKey { account: AccountId::from_uuid(account), kind, owner })
}

/// Puts rows into the queue, or sets their time anew, inside the door's transaction.
pub(super) async fn upsert(
    connection: &mut PgConnection,
    due: &[(WorkKey, jiff::Timestamp)],
) -> Result<(), StoreError> {
    if due.is_empty() {
        return Ok(());
    }
    let keys: Vec<WorkKey> = due.iter().map(|(key, _)| *key).collect();
    let (buckets, accounts, kinds, owners) = columns(&keys);
    let times: Vec<_> = due.iter().map(|(_, at)| time(*at)).collect();
    let query = sqlx::query(UPSERT).bind(buckets).bind(accounts).bind(kinds).bind(owners).bind(times);
    query.execute(connection).await?;
    Ok(())
}

/// Takes rows out of the queue inside the door's transaction.
pub(super) async fn delete(connection: &mut PgConnection, keys: &[WorkKey]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let (buckets, accounts, kinds, owners) = columns(keys);
    sqlx::query(DELETE).bind(buckets).bind(accounts).bind(kinds).bind(owners).execute(connection).await?;
    Ok(())
}
