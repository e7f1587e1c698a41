//! The outside surface: Stripe's deliveries, the native API, health.
//!
//! # Flow
//! A request gets an id, its key is looked up ([`auth`]), its body is read strictly ([`json`]: unknown keys, wrong types
//! and duplicate keys are refused by name), one call goes to posting or to the store's reads, and the answer is mapped.
//! Every refusal is `application/problem+json` (RFC 9457) with a stable `code` ([`problem`]).
//!
//! # Always true
//! No SQL here and nothing decided here. Bad input is a 4xx that names the field and the fix; a 5xx says only that the
//! database cannot answer. `POST /webhooks/stripe` writes nothing before the signature holds, and never redirects.

pub mod auth;
pub mod health;
pub mod json;
pub mod native;
pub mod problem;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::clock::{Clock, fresh_uuid, instant};
use crate::inbox::receive::Receiver;
use crate::posting::Posting;
use crate::store::Store;
use crate::workers::WorkerAges;
use problem::Problem;

/// Largest body of any request, in bytes; Stripe's largest events are far below it.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest a request may take before it is answered with 503: longer than a lane's whole queue.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Header that carries a request's id.
const REQUEST_ID: &str = "x-request-id";

/// What every handler may use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// Reads.
    pub store: Store,
    /// The door.
    pub posting: Posting,
    /// Time, for what never reaches the ledger.
    pub clock: Clock,
    /// Takes Stripe's deliveries.
    pub receiver: Receiver,
    /// Keys seen lately.
    pub keys: Arc<auth::KeyCache>,
    /// When workers finished their rounds.
    pub ages: WorkerAges,
    /// Told when events that waited may go on.
    pub wake: Arc<tokio::sync::Notify>,
}

/// Every route.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/webhooks/stripe", post(webhook::stripe))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .nest("/api/v1", native::router(app.clone()))
        .fallback(|| async { Problem::not_found("no_such_route", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(observe))
        .with_state(app)
}

/// Gives each request an id, a bound on its time, and a log line.
async fn observe(mut request: Request, next: Next) -> Response {
    let id = fresh_uuid().simple().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let started = instant();
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => axum::response::IntoResponse::into_response(Problem::unavailable()),
    };
    let status = response.status().as_u16();
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::error!(request.id = %id, %method, path, status, elapsed_us, "request failed");
    } else {
        tracing::debug!(request.id = %id, %method, path, status, elapsed_us, "request");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
