//! Is the process alive, and can it do its work?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::App;
use crate::clock::instant;

/// Longest wait for the database before it counts as unreachable: probes have timeouts of their own.
const DATABASE_WAIT: Duration = Duration::from_secs(2);

/// When each worker last finished a round. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WorkerAges(Arc<Mutex<BTreeMap<&'static str, Beat>>>);

#[derive(Clone, Copy, Debug)]
struct Beat {
    last: Instant,
    late_after: Duration,
}

/// One worker's age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerAge {
    /// Its name.
    pub name: &'static str,
    /// Seconds since it last finished a round, or was started.
    pub age_seconds: u64,
    /// Longer than it should ever be?
    pub late: bool,
}

impl WorkerAges {
    /// Watches a worker from now on: it is late when it finishes no round for so long.
    pub fn watch(&self, name: &'static str, late_after: Duration) {
        self.beats().insert(name, Beat { last: instant(), late_after });
    }

    /// A watched worker finished a round.
    pub fn ran(&self, name: &'static str) {
        if let Some(beat) = self.beats().get_mut(name) {
            beat.last = instant();
        }
    }

    /// Every watched worker, by name.
    pub fn report(&self) -> Vec<WorkerAge> {
        let beats = self.beats();
        let age = |(name, beat): (&&'static str, &Beat)| {
            let age = beat.last.elapsed();
            WorkerAge { name, age_seconds: age.as_secs(), late: age > beat.late_after }
        };
        beats.iter().map(age).collect()
    }

    fn beats(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Beat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /healthz`: the process answers.
pub async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: 200 when the database answers and its schema is this binary's, else 503. A late worker makes it
/// `degraded` and stays 200: check and track do not need workers, and taking every replica out would end them too.
pub async fn readyz(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let pending = match tokio::time::timeout(DATABASE_WAIT, app.store.pending_migrations()).await {
        Ok(Ok(pending)) => Some(pending),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            None
        }
        Err(_) => {
            tracing::warn!(seconds = DATABASE_WAIT.as_secs(), "not ready: the database does not answer in time");
            None
        }
    };
    let workers = app.workers.report();
    let ready = pending == Some(0);
    let status = match (ready, workers.iter().any(|worker| worker.late)) {
        (false, _) => "unavailable",
        (true, true) => "degraded",
        (true, false) => "ok",
    };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let database = if pending.is_some() { "ok" } else { "unreachable" };
    let body = json!({
        "status": status,
        "database": database,
        "migrations_pending": pending,
        "workers": workers,
    });
    (code, Json(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_late_when_it_finishes_no_round() {
        let ages = WorkerAges::default();
        ages.watch("inbox", Duration::from_hours(1));
        ages.watch("outbox", Duration::ZERO);
        ages.ran("nobody watches this one");
        std::thread::sleep(Duration::from_millis(2));
        let report = ages.report();
        let late: Vec<(&str, bool)> = report.iter().map(|worker| (worker.name, worker.late)).collect();
        assert_eq!(late, [("inbox", false), ("outbox", true)]);
    }
}
