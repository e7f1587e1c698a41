//! How far Stripe's list of events has been read, family by family; written only by who holds the newest lease.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::event_listings::EventState;
use super::leases::Lease;
use super::rows::{time, word};
use super::{Store, StoreError, transaction};

const READ: &str = "-- read_catch_up_stream
SELECT cursor_at, pass_since, pass_newest, pass_after FROM catch_up_streams WHERE stream = $1";
const BEGIN: &str = "-- begin_catch_up_pass
INSERT INTO catch_up_streams (stream, pass_since, fence, started_at) VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT ON CONSTRAINT catch_up_streams_pkey DO UPDATE SET pass_since = excluded.pass_since, pass_newest = NULL,
    pass_after = NULL, fence = excluded.fence
WHERE catch_up_streams.fence <= excluded.fence";
const ADVANCE: &str = "-- advance_catch_up_pass
UPDATE catch_up_streams SET pass_newest = $3, pass_after = $4, fence = $2
WHERE stream = $1 AND fence <= $2 AND pass_since IS NOT NULL";
/// Without an event in the whole window the cursor stays where it is.
const FINISH: &str = "-- finish_catch_up_pass
UPDATE catch_up_streams SET cursor_at = greatest(cursor_at, $3), pass_since = NULL, pass_newest = NULL, pass_after = NULL,
    completed_at = clock_timestamp(), fence = $2
WHERE stream = $1 AND fence <= $2 AND pass_since IS NOT NULL";
/// The next pass begins anew at the cursor, which has not moved.
const ABANDON: &str = "-- abandon_catch_up_pass
UPDATE catch_up_streams SET pass_since = NULL, pass_newest = NULL, pass_after = NULL, fence = $2
WHERE stream = $1 AND fence <= $2";
const KNOWN: &str = "-- known_stripe_events
SELECT event_id, state, reason FROM stripe_events WHERE event_id = ANY($1)";
const LAG: &str = "-- catch_up_lag
SELECT coalesce(max(greatest(0, extract(epoch FROM clock_timestamp() - coalesce(completed_at, started_at)))), 0)::bigint
FROM catch_up_streams WHERE stream = ANY($1)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 7] = [READ, BEGIN, ADVANCE, FINISH, ABANDON, KNOWN, LAG];

/// How far a family has been read.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CatchUpStream {
    /// Creation of the newest event of the last whole pass.
    pub cursor_at: Option<Timestamp>,
    /// The pass under way.
    pub pass: Option<CatchUpPass>,
}

/// A pass that has not come to its end: it goes on after the last page that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUpPass {
    /// Only events created at or after then.
    pub since: Timestamp,
    /// Creation of its newest event, once its first page was read.
    pub newest: Option<Timestamp>,
    /// The last event that is stored.
    pub after: Option<String>,
}

/// Events by id: their state, and why.
pub type KnownEvents = BTreeMap<String, (EventState, Option<String>)>;

type Row = (Option<jiff_sqlx::Timestamp>, Option<jiff_sqlx::Timestamp>, Option<jiff_sqlx::Timestamp>, Option<String>);

impl Store {
    /// How far a family has been read.
    pub async fn catch_up_stream(&self, stream: &str) -> Result<CatchUpStream, StoreError> {
        let row: Option<Row> = sqlx::query_as(READ).bind(stream).fetch_optional(self.pool()).await?;
        let Some((cursor_at, since, newest, after)) = row else { return Ok(CatchUpStream::default()) };
        let jiff = jiff_sqlx::Timestamp::to_jiff;
        let pass = since.map(|since| CatchUpPass { since: jiff(since), newest: newest.map(jiff), after });
        Ok(CatchUpStream { cursor_at: cursor_at.map(jiff), pass })
    }

    /// Begins a pass. `false`, here and below: somebody holds a newer lease, and nothing was changed.
    pub async fn begin_catch_up(&self, stream: &str, lease: &Lease, since: Timestamp) -> Result<bool, StoreError> {
        transaction!(self, "begin_catch_up", |connection| {
            let row = sqlx::query(BEGIN).bind(stream).bind(time(since)).bind(lease.fence());
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// A page is stored: the pass goes on after it.
    pub async fn advance_catch_up(
        &self,
        stream: &str,
        lease: &Lease,
        newest: Option<Timestamp>,
        after: &str,
    ) -> Result<bool, StoreError> {
        transaction!(self, "advance_catch_up", |connection| {
            let row = sqlx::query(ADVANCE).bind(stream).bind(lease.fence()).bind(newest.map(time)).bind(after);
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// The whole window is stored: the cursor goes to its newest event, and never back.
    pub async fn finish_catch_up(
        &self,
        stream: &str,
        lease: &Lease,
        newest: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        transaction!(self, "finish_catch_up", |connection| {
            let row = sqlx::query(FINISH).bind(stream).bind(lease.fence()).bind(newest.map(time));
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// Gives up a pass whose place Stripe no longer knows.
    pub async fn abandon_catch_up(&self, stream: &str, lease: &Lease) -> Result<bool, StoreError> {
        transaction!(self, "abandon_catch_up", |connection| {
            let row = sqlx::query(ABANDON).bind(stream).bind(lease.fence());
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// Which of these events are stored, and how each stands: its state and why.
    pub async fn known_events(&self, ids: &[&str]) -> Result<KnownEvents, StoreError> {
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as(KNOWN).bind(ids).fetch_all(self.pool()).await?;
        let known = rows.into_iter().map(|(id, state, reason)| {
            let known = EventState::ALL.into_iter().find(|known| known.word() == state);
            let state = word(known, "stripe_events", "state", &id)?;
            Ok((id, (state, reason)))
        });
        known.collect()
    }

    /// Seconds since each of these families was last read to its end, the longest; zero before any was begun.
    pub async fn catch_up_lag(&self, streams: &[&str]) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(LAG).bind(streams).fetch_one(self.pool()).await?)
    }
}
