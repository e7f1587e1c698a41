//! Stored webhook events as operators and finance look at them: newest first, and one with everything kept beside it.

use jiff::Timestamp;

use super::events::StoredInput;
use super::rows::{time, word};
use super::{Store, StoreError};

macro_rules! event_columns {
    () => {
        "SELECT e.event_id, e.event_type, e.api_version, e.livemode, e.object_id, e.created_at, e.received_at, e.origin,
    e.state, e.reason, e.detail, c.customer_id, e.attempts, e.due_at, e.done_at
FROM stripe_events e LEFT JOIN customers c ON c.account_id = e.account_id"
    };
}

const LIST: &str = concat!(
    "-- list_stripe_events\n",
    event_columns!(),
    "
WHERE (e.received_at, e.event_id) < (coalesce($1::timestamptz, 'infinity'), $2)
    AND ($3::text IS NULL OR e.state = $3) AND ($4::text IS NULL OR e.event_type = $4)
ORDER BY e.received_at DESC, e.event_id DESC LIMIT $5"
);
const ONE: &str = concat!("-- read_stripe_event\n", event_columns!(), "\nWHERE e.event_id = $1");
const BODY: &str = "-- read_stripe_event_body
SELECT body FROM stripe_events WHERE event_id = $1";

/// Each count ends at $1: a look at the queues stays cheap however long they are.
const QUEUE: &str = "-- count_stripe_events
SELECT count(*) FILTER (WHERE state = 'received'), count(*) FILTER (WHERE state = 'parked'),
    (SELECT count(*) FROM (SELECT FROM stripe_events WHERE state = 'dead' LIMIT $1) AS given_up),
    coalesce((SELECT greatest(0, extract(epoch FROM clock_timestamp() + make_interval(secs => i.test_offset_seconds)
        - (SELECT min(e.due_at) FROM stripe_events e WHERE e.due_at IS NOT NULL)))::bigint FROM instance i), 0)
FROM (SELECT state FROM stripe_events WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1) AS open";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [LIST, ONE, BODY, QUEUE];

/// Most events that are counted for the metrics.
const COUNTED_MAX: i64 = 10_000;

/// How many events wait or were given up; each number ends at 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventQueue {
    /// Stored, to be worked on.
    pub received: i64,
    /// Waiting for their cause to go.
    pub parked: i64,
    /// Given up.
    pub dead: i64,
    /// How long the oldest one due has been due; zero when none is.
    pub oldest_due_seconds: i64,
}

/// How far an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventState {
    /// Stored, to be worked on.
    Received,
    /// Its commands are posted.
    Processed,
    /// Nothing to do.
    Ignored,
    /// Waits for its cause to go.
    Parked,
    /// Given up.
    Dead,
}

impl EventState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Received, Self::Processed, Self::Ignored, Self::Parked, Self::Dead];

    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Processed => "processed",
            Self::Ignored => "ignored",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
}

/// Which events are asked for.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// In one state.
    pub state: Option<EventState>,
    /// Of one type, such as checkout.session.completed.
    pub event_type: Option<String>,
    /// After that one in the list.
    pub after: Option<(Timestamp, String)>,
}

/// A stored event, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLine {
    /// Stripe's id.
    pub id: String,
    /// Such as checkout.session.completed.
    pub event_type: String,
    /// The version whose shapes it has.
    pub api_version: Option<String>,
    /// Stripe's mode.
    pub livemode: bool,
    /// Id of the object it tells of.
    pub object: Option<String>,
    /// When Stripe made it.
    pub created_at: Timestamp,
    /// When it was stored.
    pub received_at: Timestamp,
    /// How it got here.
    pub origin: String,
    /// How far it has come.
    pub state: EventState,
    /// Why, as a code.
    pub reason: Option<String>,
    /// Why, in words.
    pub detail: Option<String>,
    /// The app's id of the customer it was for.
    pub customer: Option<String>,
    /// How often it was worked on.
    pub attempts: i32,
    /// Worked on from then.
    pub due_at: Option<Timestamp>,
    /// Done at.
    pub done_at: Option<Timestamp>,
}

/// A stored event with everything kept beside it.
#[derive(Clone, Debug)]
pub struct WholeEvent {
    /// Its facts.
    pub line: EventLine,
    /// The raw bytes; absent once they were erased.
    pub body: Option<Vec<u8>>,
    /// Stripe's answers that mattered.
    pub inputs: Vec<StoredInput>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    event_id: String,
    event_type: String,
    api_version: Option<String>,
    livemode: bool,
    object_id: Option<String>,
    created_at: jiff_sqlx::Timestamp,
    received_at: jiff_sqlx::Timestamp,
    origin: String,
    state: String,
    reason: Option<String>,
    detail: Option<String>,
    customer_id: Option<String>,
    attempts: i32,
    due_at: Option<jiff_sqlx::Timestamp>,
    done_at: Option<jiff_sqlx::Timestamp>,
}

impl TryFrom<EventRow> for EventLine {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let state = EventState::ALL.into_iter().find(|known| known.word() == row.state);
        let state = word(state, "stripe_events", "state", &row.event_id)?;
        Ok(Self {
            id: row.event_id,
            event_type: row.event_type,
            api_version: row.api_version,
            livemode: row.livemode,
            object: row.object_id,
            created_at: row.created_at.to_jiff(),
            received_at: row.received_at.to_jiff(),
            origin: row.origin,
            state,
            reason: row.reason,
            detail: row.detail,
            customer: row.customer_id,
            attempts: row.attempts,
            due_at: row.due_at.map(jiff_sqlx::Timestamp::to_jiff),
            done_at: row.done_at.map(jiff_sqlx::Timestamp::to_jiff),
        })
    }
}

impl Store {
    /// How many events wait, for the metrics.
    pub async fn event_queue(&self) -> Result<EventQueue, StoreError> {
        let row: (i64, i64, i64, i64) = sqlx::query_as(QUEUE).bind(COUNTED_MAX).fetch_one(self.pool()).await?;
        let (received, parked, dead, oldest_due_seconds) = row;
        Ok(EventQueue { received, parked, dead, oldest_due_seconds })
    }

    /// Stored events, newest first.
    pub async fn list_events(&self, filter: &EventFilter, most: i64) -> Result<Vec<EventLine>, StoreError> {
        let after = filter.after.as_ref();
        let rows: Vec<EventRow> = sqlx::query_as(LIST)
            .bind(after.map(|(at, _)| time(*at)))
            .bind(after.map_or("", |(_, id)| id.as_str()))
            .bind(filter.state.map(EventState::word))
            .bind(filter.event_type.as_deref())
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(EventLine::try_from).collect()
    }

    /// One stored event with its body and inputs.
    pub async fn whole_event(&self, id: &str) -> Result<Option<WholeEvent>, StoreError> {
        let row: Option<EventRow> = sqlx::query_as(ONE).bind(id).fetch_optional(self.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        let body: Option<Option<Vec<u8>>> = sqlx::query_scalar(BODY).bind(id).fetch_optional(self.pool()).await?;
        Ok(Some(WholeEvent { line: row.try_into()?, body: body.flatten(), inputs: self.inputs(id).await? }))
    }
}
