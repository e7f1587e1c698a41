//! Deliveries stored together: whoever comes while a commit is under way shares the next one.
//!
//! Always true: an event is answered for after the commit that holds it; one that the database refuses fails alone; a
//! caller that goes away cancels nothing.

use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::events::EventOrigin;
use super::rows::time;
use super::{Store, StoreError, transaction};

const INSERT: &str = "-- insert_stripe_events
INSERT INTO stripe_events (event_id, event_type, api_version, livemode, object_id, created_at, received_at, origin, body,
    state, reason, detail, due_at, done_at)
SELECT n.event_id, n.event_type, n.api_version, n.livemode, n.object_id, n.created_at, i.now, n.origin, n.body,
    CASE WHEN n.reason IS NULL THEN 'received' ELSE 'ignored' END, n.reason, n.detail,
    CASE WHEN n.reason IS NULL THEN i.now END, CASE WHEN n.reason IS NOT NULL THEN i.now END
FROM (SELECT clock_timestamp() + make_interval(secs => test_offset_seconds) AS now FROM instance) AS i
CROSS JOIN unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::timestamptz[], $7::text[], $8::bytea[],
    $9::text[], $10::text[])
    AS n (event_id, event_type, api_version, livemode, object_id, created_at, origin, body, reason, detail)
ORDER BY n.event_id
ON CONFLICT ON CONSTRAINT stripe_events_pkey DO NOTHING
RETURNING event_id";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 1] = [INSERT];

/// Most events of one transaction, and about how many bytes of them: what comes later has the next commit.
const BATCH_MAX: usize = 64;
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Most events waiting: some seconds of commits. Who comes later gets an error, and Stripe sends it again.
const QUEUE_MAX: usize = 2_048;

/// An event about to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Stripe's id.
    pub id: String,
    /// Such as checkout.session.completed.
    pub event_type: String,
    /// The version whose shapes it has.
    pub api_version: Option<String>,
    /// Stripe's mode.
    pub livemode: bool,
    /// Id of the object it tells of.
    pub object_id: Option<String>,
    /// When Stripe made it.
    pub created_at: Timestamp,
    /// How it got here.
    pub origin: EventOrigin,
    /// The raw bytes.
    pub body: Vec<u8>,
    /// Why it is ignored from the start, as code and words.
    pub ignored: Option<(&'static str, String)>,
}

/// An event and who waits for it.
type Waiting = (NewEvent, oneshot::Sender<Result<bool, StoreError>>);

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Waiting>>,
    /// Events queued or being written.
    about: AtomicUsize,
    wake: Notify,
    closed: AtomicBool,
}

/// Stores events of one daemon. Cheap to clone; it ends, its queue written, when the last clone is gone.
#[derive(Clone)]
pub struct EventIntake(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.wake.notify_one();
    }
}

impl std::fmt::Debug for EventIntake {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("EventIntake").field("about", &self.about()).finish_non_exhaustive()
    }
}

impl EventIntake {
    /// Begins to take events; needs a runtime.
    pub fn start(store: &Store) -> Self {
        let (shared, store) = (Arc::new(Shared::default()), store.clone());
        let of_task = shared.clone();
        tokio::spawn(async move { run(&store, &of_task).await });
        Self(Arc::new(Handle(shared)))
    }

    /// Events queued or being written now.
    pub fn about(&self) -> usize {
        self.0.0.about.load(Ordering::Relaxed)
    }

    /// Stores an event once; `false`: it was there already.
    pub async fn insert(&self, event: NewEvent) -> Result<bool, StoreError> {
        let (caller, answer) = oneshot::channel();
        let shared = &self.0.0;
        {
            let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= QUEUE_MAX {
                return Err(StoreError::Unavailable(format!("{QUEUE_MAX} events wait to be stored")));
            }
            queue.push_back((event, caller));
            shared.about.fetch_add(1, Ordering::Relaxed);
        }
        shared.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the daemon is stopping".to_owned())))
    }
}

async fn run(store: &Store, shared: &Shared) {
    loop {
        let waiting = take(shared);
        if waiting.is_empty() {
            if shared.closed.load(Ordering::SeqCst) {
                return;
            }
            shared.wake.notified().await;
            continue;
        }
        let count = waiting.len();
        write(store, waiting).await;
        shared.about.fetch_sub(count, Ordering::Relaxed);
    }
}

fn take(shared: &Shared) -> Vec<Waiting> {
    let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut count, mut bytes) = (0, 0);
    for (event, _) in queue.iter().take(BATCH_MAX) {
        bytes += event.body.len();
        if count > 0 && bytes > BATCH_BYTES {
            break;
        }
        count += 1;
    }
    queue.drain(..count).collect()
}

async fn write(store: &Store, waiting: Vec<Waiting>) {
    let (events, callers): (Vec<NewEvent>, Vec<_>) = waiting.into_iter().unzip();
    match insert(store, &events).await {
        Ok(mut stored) => {
            for (event, caller) in events.iter().zip(callers) {
                // The same event twice in one batch is stored by its first caller.
                drop(caller.send(Ok(stored.remove(&event.id))));
            }
        }
        Err(error) => {
            let mut callers = callers;
            if events.len() == 1 {
                drop(callers.pop().map(|caller| caller.send(Err(error))));
                return;
            }
            tracing::warn!(%error, events = events.len(), "deliveries could not be stored together; storing each alone");
            for (event, caller) in events.iter().zip(callers) {
                let stored = insert(store, std::slice::from_ref(event)).await;
                drop(caller.send(stored.map(|stored| stored.contains(&event.id))));
            }
        }
    }
}

async fn insert(store: &Store, events: &[NewEvent]) -> Result<BTreeSet<String>, StoreError> {
    fn column<'a, T>(events: &'a [NewEvent], of: impl Fn(&'a NewEvent) -> T) -> Vec<T> {
        events.iter().map(of).collect()
    }
    transaction!(store, "insert_events", |connection| {
        let stored: Vec<String> = sqlx::query_scalar(INSERT)
            .bind(column(events, |event| event.id.as_str()))
            .bind(column(events, |event| event.event_type.as_str()))
            .bind(column(events, |event| event.api_version.as_deref()))
            .bind(column(events, |event| event.livemode))
            .bind(column(events, |event| event.object_id.as_deref()))
            .bind(column(events, |event| time(event.created_at)))
            .bind(column(events, |event| event.origin.word()))
            .bind(column(events, |event| event.body.as_slice()))
            .bind(column(events, |event| event.ignored.as_ref().map(|(reason, _)| *reason)))
            .bind(column(events, |event| event.ignored.as_ref().map(|(_, detail)| detail.as_str())))
            .fetch_all(connection)
            .await?;
        Ok(stored.into_iter().collect())
    })
}
