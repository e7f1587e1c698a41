//! The outside surface: who may ask, what may be asked, how it is answered.
//!
//! # Flow
//! [`request`] numbers a request; [`auth`] tells who asks and whether the scope fits; a handler of [`native`] (or
//! [`webhook`], [`health`]) takes typed fields from the body ([`json`], [`fields`], [`read`]), makes one call to posting
//! or the store, and maps the answer; [`problem`] renders every refusal.
//!
//! # Always true
//! No handler decides anything or writes to the ledger but through posting. Bad input is a 4xx with a stable code and
//! the field's name; 5xx means that the database cannot answer or that we are wrong, and tells the caller only the
//! request's number. Every body, page, batch and cache is bounded. No answer is a redirect.

pub mod auth;
pub mod cursor;
pub mod directory;
pub mod fields;
pub mod health;
pub mod json;
pub mod native;
pub mod problem;
pub mod read;
pub mod request;
pub mod test_clock;
pub mod webhook;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post, put};
use axum::{Router, extract::Request};
use tower_http::catch_panic::CatchPanicLayer;

use self::auth::Keys;
use self::directory::Directory;
use self::health::WorkerAges;
use self::native::{check, customers, entries, grants, stripe_events, track};
use self::problem::Problem;
use self::test_clock::{OffsetOnly, TestClock};
use self::webhook::Receive;
use crate::clock::Clock;
use crate::posting::Posting;
use crate::store::Store;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// Reads.
    pub store: Store,
    /// The door to the ledger.
    pub posting: Posting,
    /// Time, for what never reaches an amount.
    pub clock: Clock,
    /// API keys.
    pub keys: Keys,
    /// Customer ids.
    pub directory: Directory,
    /// When each worker last ran.
    pub workers: WorkerAges,
    /// Takes Stripe's deliveries.
    pub webhook: Arc<dyn Receive>,
    /// Moves the time of a test database.
    pub test_clock: Arc<dyn TestClock>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("App")
    }
}

impl App {
    /// An app on a database, with nothing remembered yet.
    pub fn new(store: Store, posting: Posting, clock: Clock, workers: WorkerAges, webhook: Arc<dyn Receive>) -> Self {
        let (keys, directory) = (Keys::new(&store), Directory::new(&store));
        let test_clock = Arc::new(OffsetOnly(store.clone()));
        Self { store, posting, clock, keys, directory, workers, webhook, test_clock }
    }

    /// The same with another test clock.
    #[must_use]
    pub fn with_test_clock(mut self, test_clock: Arc<dyn TestClock>) -> Self {
        self.test_clock = test_clock;
        self
    }
}

/// Every route.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/webhooks/stripe", post(webhook::stripe))
        .nest("/api/v1", native_routes(&app))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
        .layer(CatchPanicLayer::custom(request::panicked))
        .layer(from_fn(request::number))
        .with_state(app)
}

/// The native API: a group of routes for each set of scopes that may use them.
fn native_routes(app: &App) -> Router<App> {
    let usage = Router::new()
        .route("/check", post(check::check))
        .route("/track", post(track::track))
        .route("/track/batch", post(track::batch))
        .route("/customers/{customer}", put(customers::put))
        .route_layer(from_fn_with_state(app.clone(), auth::app_or_admin));
    let reads = Router::new()
        .route("/customers/{customer}", get(customers::get))
        .route("/customers/{customer}/grants", get(grants::list))
        .route("/customers/{customer}/entries", get(entries::list))
        .route_layer(from_fn_with_state(app.clone(), auth::any));
    let events = Router::new()
        .route("/stripe-events", get(stripe_events::list))
        .route("/stripe-events/{id}", get(stripe_events::get))
        .route_layer(from_fn_with_state(app.clone(), auth::finance_or_admin));
    let gifts = Router::new()
        .route("/grants", post(grants::give))
        .route("/test-clock/advance", post(test_clock::advance))
        .route_layer(from_fn_with_state(app.clone(), auth::admin));
    usage.merge(reads).merge(events).merge(gifts)
}

async fn unknown_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", "there is nothing at this path")
}

async fn unknown_method(request: Request) -> Problem {
    let detail = format!("this path does not take {}; the `allow` header tells what it takes", request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
