//! `GET /metrics`: what was counted, and the facts of the moment, as Prometheus reads them. No ids, no amounts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::App;
use crate::clock::instant;
use crate::meters::cells;
use crate::meters::facts::Facts;
use crate::meters::{list, process};
use crate::store::event_listings::EventQueue;
use crate::store::{Store, StoreError};

/// How long an answer of the database is shown again: however often somebody scrapes, it is asked once in this time.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Longest wait for the database: a scrape has a timeout of its own, and the other metrics matter most when it is down.
const DATABASE_WAIT: Duration = Duration::from_secs(2);
/// The text format's own name.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What was read, and when; none: the database did not answer.
type Seen = Option<(Instant, Option<Queued>)>;

/// What waits in the database.
#[derive(Clone, Copy, Debug)]
struct Queued {
    events: EventQueue,
    catch_up_lag_seconds: i64,
}

async fn queued(store: &Store) -> Result<Queued, StoreError> {
    let families: Vec<&str> = list::event_families().into_keys().collect();
    Ok(Queued { events: store.event_queue().await?, catch_up_lag_seconds: store.catch_up_lag(&families).await? })
}

/// The database's queues as they were last read. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Queues(Arc<Mutex<Seen>>);

impl Queues {
    async fn read(&self, store: &Store) -> Option<Queued> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, queue)) = last
            && at.elapsed() < REMEMBERED
        {
            return queue;
        }
        // Whoever asks meanwhile gets the answer before, if there was one.
        if let Some((_, before)) = last {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((instant(), before));
        }
        let read = tokio::time::timeout(DATABASE_WAIT, queued(store)).await;
        let queue = match read {
            Ok(Ok(queue)) => Some(queue),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the queues could not be read for the metrics");
                None
            }
            Err(_) => None,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((instant(), queue));
        queue
    }
}

/// Writes all metrics.
pub async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let queue = app.queues.read(&app.store).await;
    let mut facts = Facts::default();
    facts.value(&list::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], Some(1));
    facts.value(&list::DATABASE_UP, &[], Some(u8::from(queue.is_some())));
    let events = queue.map(|queue| queue.events);
    let counts = events.map(|queue| [("received", queue.received), ("parked", queue.parked), ("dead", queue.dead)]);
    for (state, count) in counts.into_iter().flatten() {
        facts.value(&list::STRIPE_EVENTS, &[state], Some(count));
    }
    facts.value(&list::STRIPE_EVENT_DUE_SECONDS, &[], events.map(|queue| queue.oldest_due_seconds));
    facts.value(&list::CATCH_UP_LAG_SECONDS, &[], queue.map(|queue| queue.catch_up_lag_seconds));
    let connections = app.store.connections();
    facts.value(&list::DATABASE_CONNECTIONS, &["idle"], Some(connections.idle));
    facts.value(&list::DATABASE_CONNECTIONS, &["used"], Some(connections.used));
    facts.value(&list::DATABASE_CONNECTIONS_MAX, &[], Some(connections.most));
    let workers = app.workers.report();
    for worker in &workers {
        facts.value(&list::WORKER_AGE_SECONDS, &[worker.name], Some(worker.age_seconds));
    }
    for worker in &workers {
        facts.value(&list::WORKER_LATE, &[worker.name], Some(u8::from(worker.late)));
    }
    process::write(&mut facts);
    ([(CONTENT_TYPE, FORMAT)], cells::render() + &facts.text())
}
