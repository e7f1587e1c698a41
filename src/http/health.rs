//! Is the process there, and can it do its work?

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::App;

/// The process is there.
pub async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The database answers, its schema is this binary's, and when each worker last finished a round.
pub async fn readyz(State(app): State<App>) -> Response {
    let database = app.store.ping().await;
    let pending = app.store.pending_migrations().await;
    let now = app.clock.now();
    let ages: Map<String, Value> = app
        .ages
        .read()
        .into_iter()
        .map(|(worker, at)| (worker.to_owned(), json!(now.as_second().saturating_sub(at.as_second()))))
        .collect();
    let ready = database.is_ok() && matches!(pending, Ok(0));
    let body = json!({
        "status": if ready { "ready" } else { "not_ready" },
        "database": if database.is_ok() { "ok" } else { "unreachable" },
        "pending_migrations": pending.ok(),
        "worker_age_seconds": ages,
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}
