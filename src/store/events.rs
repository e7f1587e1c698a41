//! Stored webhook events ([`super::event_intake`] writes them): one row each, worked on under a lease, with every answer of Stripe that mattered.

use jiff::Timestamp;
use uuid::Uuid;

use super::rows::{time, word};
use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;
use crate::domain::ids::AccountId;

const DUE: &str = "-- due_stripe_events
SELECT e.event_id FROM stripe_events e CROSS JOIN instance i
WHERE e.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)
    AND (e.leased_until IS NULL OR e.leased_until <= clock_timestamp())
ORDER BY e.due_at, e.event_id LIMIT $1";
const LEASE: &str = "-- lease_stripe_events
UPDATE stripe_events SET lease_token = $2, leased_until = clock_timestamp() + make_interval(secs => $3::integer), attempts = attempts + 1
WHERE event_id = ANY($1) AND due_at IS NOT NULL AND (leased_until IS NULL OR leased_until <= clock_timestamp())
RETURNING event_id, event_type, livemode, created_at, body, attempts,
    (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i), state, reason";
/// Whatever has become of it, it is worked on anew, at once by who asks; unless somebody is at it, its body is forgotten,
/// or it is none of this database's business.
const REOPEN: &str = "-- reopen_stripe_event
UPDATE stripe_events SET state = 'received', attempts = 1, done_at = NULL, lease_token = $2,
    leased_until = clock_timestamp() + make_interval(secs => $3::integer),
    due_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE event_id = $1 AND body IS NOT NULL AND (leased_until IS NULL OR leased_until <= clock_timestamp())
    AND (reason IS NULL OR reason <> ALL($4))
RETURNING event_id, event_type, livemode, created_at, body, attempts,
    (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i), state, reason";
const EXTEND: &str = "-- extend_stripe_event_lease
UPDATE stripe_events SET leased_until = clock_timestamp() + make_interval(secs => $3::integer)
WHERE event_id = $1 AND lease_token = $2";
/// What waits for a person may wait long: its tries are counted to the longest delay and no further, so that they do not
/// use up those it has left when its cause is gone and Stripe cannot be reached for a moment. Seconds: until it is worked
/// on again; none: it is done.
const END: &str = "-- end_stripe_events
UPDATE stripe_events e SET state = n.state, reason = n.reason, detail = n.detail,
    account_id = coalesce(n.account_id, e.account_id),
    attempts = CASE WHEN n.state = 'parked' THEN least(e.attempts, 8) ELSE e.attempts END,
    due_at = CASE WHEN n.seconds IS NOT NULL
        THEN clock_timestamp() + make_interval(secs => i.test_offset_seconds + n.seconds) END,
    done_at = CASE WHEN n.seconds IS NULL THEN clock_timestamp() END, lease_token = NULL, leased_until = NULL
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::bigint[])
    AS n (event_id, token, state, reason, detail, account_id, seconds) CROSS JOIN instance i
WHERE e.event_id = n.event_id AND e.lease_token = n.token
RETURNING e.event_id";
/// One cause that goes wakes all that wait for one like it, so a try that follows counts from the start. A worker that
/// looked before loses its lease: what it saw is older than what woke the event.
const WAKE_PARKED: &str = "-- wake_parked_stripe_events
UPDATE stripe_events SET attempts = 0, lease_token = NULL, leased_until = NULL,
    due_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE state = 'parked' AND reason = ANY($1) AND due_at IS NOT NULL";
const INSERT_INPUT: &str = "-- insert_stripe_input
INSERT INTO stripe_inputs (event_id, request, status, body, fetched_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT ON CONSTRAINT stripe_inputs_pkey DO UPDATE SET status = excluded.status, body = excluded.body,
    fetched_at = excluded.fetched_at WHERE stripe_inputs.status <> 200";
const READ_INPUTS: &str = "-- read_stripe_inputs
SELECT request, status, body, fetched_at FROM stripe_inputs WHERE event_id = $1 ORDER BY request";
const COUNT_DUE: &str = "-- count_due_stripe_events
SELECT count(*) FROM stripe_events e CROSS JOIN instance i
WHERE e.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 9] = [DUE, LEASE, REOPEN, EXTEND, END, WAKE_PARKED, INSERT_INPUT, READ_INPUTS, COUNT_DUE];

/// Reasons that go away when a customer or a link appears.
pub const WAITING_FOR_CUSTOMER: [&str; 1] = ["unknown_customer"];
/// Reasons that go away when the catalogue grows.
pub const WAITING_FOR_CATALOG: [&str; 5] =
    ["unknown_feature", "unknown_plan", "unknown_price", "below_minimum_price", "no_feature"];

/// Reasons that a change of this program or of its configuration may take away: such events are tried again at the start
/// of a daemon.
pub const WAITING_FOR_PROGRAM: [&str; 6] =
    ["line_items_unavailable", "missing_fact", "missing_page", "unreadable", "too_many_questions", "proration"];
/// Reasons for which an event never had any business here: no replay works on it.
pub const NEVER_WORKED_ON: [&str; 3] = ["connect_account", "other_mode", "thin_event"];

/// How an event got here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOrigin {
    /// A signed delivery.
    Webhook,
    /// Listed from Stripe.
    CatchUp,
    /// Made from an object of Stripe's that no event told of.
    Reconcile,
}

impl EventOrigin {
    /// Every origin.
    pub const ALL: [Self; 3] = [Self::Webhook, Self::CatchUp, Self::Reconcile];

    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::CatchUp => "catch_up",
            Self::Reconcile => "reconcile",
        }
    }
}

/// An event under lease.
#[derive(Clone, Debug)]
pub struct LeasedEvent {
    /// Stripe's id.
    pub id: String,
    /// Such as checkout.session.completed.
    pub event_type: String,
    /// Stripe's mode.
    pub livemode: bool,
    /// When Stripe made it.
    pub created_at: Timestamp,
    /// The raw bytes.
    pub body: Vec<u8>,
    /// How often it was worked on, this time included.
    pub attempts: i32,
    /// When it was taken: whatever Stripe is asked for it is asked after this.
    pub leased_at: Timestamp,
    /// How it stood when it was taken.
    pub state: String,
    /// And why, from an earlier try.
    pub reason: Option<String>,
    /// Fencing token.
    token: Uuid,
}

/// A stored answer of Stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredInput {
    /// Path and query asked for.
    pub request: String,
    /// HTTP status.
    pub status: u16,
    /// Raw bytes.
    pub body: Vec<u8>,
    /// Not asked for before then: the time its event was taken to be worked on.
    pub asked_at: Timestamp,
}

/// How work on an event ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its commands are posted.
    Processed,
    /// Nothing to do.
    Ignored,
    /// Given up.
    Dead,
}

impl Closed {
    /// The word used in rows and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::Ignored => "ignored",
            Self::Dead => "dead",
        }
    }
}

/// How work on an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// For good.
    Closed(Closed),
    /// It is parked until its cause goes, and looked at again after some seconds.
    Parked(i64),
    /// It is tried again after some seconds.
    Retry(i64),
}

impl Ended {
    /// The state's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed(how) => how.word(),
            Self::Parked(_) => "parked",
            Self::Retry(_) => "received",
        }
    }

    const fn seconds(self) -> Option<i64> {
        match self {
            Self::Closed(_) => None,
            Self::Parked(seconds) | Self::Retry(seconds) => Some(seconds),
        }
    }
}

/// How work on an event ended, to be recorded.
#[derive(Clone, Debug)]
pub struct Ending<'a> {
    /// The event, under the lease it was taken with.
    pub event: &'a LeasedEvent,
    /// How.
    pub how: Ended,
    /// Why.
    pub why: Option<Why>,
    /// The account it was found to be about.
    pub account: Option<AccountId>,
}

/// Why, as a stable code and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// Stable code.
    pub reason: String,
    /// In words, with the numbers.
    pub detail: String,
}

type LeasedRow =
    (String, String, bool, jiff_sqlx::Timestamp, Option<Vec<u8>>, i32, jiff_sqlx::Timestamp, String, Option<String>);

/// A body that was forgotten while its event waited reads as no event at all, which parks it.
fn leased(row: LeasedRow, token: Uuid) -> LeasedEvent {
    let (id, event_type, livemode, created_at, body, attempts, leased_at, state, reason) = row;
    let (created_at, leased_at) = (created_at.to_jiff(), leased_at.to_jiff());
    let body = body.unwrap_or_default();
    LeasedEvent { id, event_type, livemode, created_at, body, attempts, leased_at, state, reason, token }
}

impl Store {
    /// Ids of events that are due, oldest first; an unlocked look.
    pub async fn due_events(&self, most: i64) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(DUE).bind(most).fetch_all(self.pool()).await?)
    }

    /// Takes events to work on them, together; those that somebody else has, or that are done, are left out.
    pub async fn lease_events(&self, ids: &[String], seconds: i32) -> Result<Vec<LeasedEvent>, StoreError> {
        let token = fresh_uuid();
        let rows: Vec<LeasedRow> = transaction!(self, "lease_events", |connection| {
            let rows = sqlx::query_as(LEASE).bind(ids).bind(token).bind(seconds);
            Ok(rows.fetch_all(connection).await?)
        })?;
        Ok(rows.into_iter().map(|row| leased(row, token)).collect())
    }

    /// Takes one event; `None`: somebody else has it, or it is done.
    pub async fn lease_event(&self, id: &str, seconds: i32) -> Result<Option<LeasedEvent>, StoreError> {
        Ok(self.lease_events(&[id.to_owned()], seconds).await?.pop())
    }

    /// Takes an event to work on it anew, whatever became of it; `None`: somebody has it, its body is forgotten, or it is
    /// none of this database's business ([`NEVER_WORKED_ON`]).
    pub async fn reopen_event(&self, id: &str, seconds: i32) -> Result<Option<LeasedEvent>, StoreError> {
        let token = fresh_uuid();
        let row: Option<LeasedRow> = transaction!(self, "reopen_event", |connection| {
            let row = sqlx::query_as(REOPEN).bind(id).bind(token).bind(seconds).bind(NEVER_WORKED_ON);
            Ok(row.fetch_optional(connection).await?)
        })?;
        Ok(row.map(|row| leased(row, token)))
    }

    /// Keeps an event that is still being worked on; `false`: its lease was over, and somebody else took it.
    pub async fn extend_event_lease(&self, event: &LeasedEvent, seconds: i32) -> Result<bool, StoreError> {
        transaction!(self, "extend_event_lease", |connection| {
            let row = sqlx::query(EXTEND).bind(&event.id).bind(event.token).bind(seconds);
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// Records how work on events ended, together: those whose lease was lost meanwhile are left as they are, and not
    /// among the ids that are answered.
    pub async fn end_events(&self, endings: &[Ending<'_>]) -> Result<Vec<String>, StoreError> {
        fn column<'a, T>(endings: &'a [Ending<'a>], of: impl Fn(&'a Ending<'a>) -> T) -> Vec<T> {
            endings.iter().map(of).collect()
        }
        transaction!(self, "end_events", |connection| {
            let ended = sqlx::query_scalar(END)
                .bind(column(endings, |ending| ending.event.id.as_str()))
                .bind(column(endings, |ending| ending.event.token))
                .bind(column(endings, |ending| ending.how.word()))
                .bind(column(endings, |ending| ending.why.as_ref().map(|why| why.reason.as_str())))
                .bind(column(endings, |ending| ending.why.as_ref().map(|why| why.detail.as_str())))
                .bind(column(endings, |ending| ending.account.map(AccountId::as_uuid)))
                .bind(column(endings, |ending| ending.how.seconds()));
            Ok(ended.fetch_all(connection).await?)
        })
    }

    /// Records how work on one event ended.
    pub async fn end_event(&self, ending: Ending<'_>) -> Result<(), StoreError> {
        match self.end_events(&[ending]).await?.len() {
            0 => Err(StoreError::LostLease("stripe_events")),
            _ => Ok(()),
        }
    }

    /// Makes parked events due whose cause may have gone: the reasons are codes.
    pub async fn wake_parked(&self, reasons: &[&str]) -> Result<u64, StoreError> {
        transaction!(self, "wake_parked", |connection| {
            Ok(sqlx::query(WAKE_PARKED).bind(reasons).execute(connection).await?.rows_affected())
        })
    }

    /// Keeps an answer of Stripe beside its event; the first one that found something stays.
    pub async fn keep_input(&self, event: &str, input: &StoredInput) -> Result<(), StoreError> {
        transaction!(self, "keep_input", |connection| {
            sqlx::query(INSERT_INPUT)
                .bind(event)
                .bind(&input.request)
                .bind(i32::from(input.status))
                .bind(&input.body)
                .bind(time(input.asked_at))
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// The answers of Stripe kept beside an event.
    pub async fn inputs(&self, event: &str) -> Result<Vec<StoredInput>, StoreError> {
        let rows: Vec<(String, i32, Option<Vec<u8>>, jiff_sqlx::Timestamp)> =
            sqlx::query_as(READ_INPUTS).bind(event).fetch_all(self.pool()).await?;
        let inputs = rows.into_iter().map(|(request, status, body, asked_at)| {
            let code = word(u16::try_from(status).ok(), "stripe_inputs", "status", &request)?;
            Ok(StoredInput { request, status: code, body: body.unwrap_or_default(), asked_at: asked_at.to_jiff() })
        });
        inputs.collect()
    }

    /// Events due now.
    pub async fn count_due_events(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(COUNT_DUE).fetch_one(self.pool()).await?)
    }
}
