//! The outside surface: who may ask, what may be asked, how it is answered.
//!
//! # Flow
//! [`listener`] takes connections and ends those that idle or dawdle; [`request`] numbers, measures and logs a request;
//! [`routes`] leads it to its handler; [`auth`] tells who asks and whether the scope fits; a handler of [`native`] (or
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
pub mod listener;
pub mod native;
pub mod openapi;
pub mod problem;
pub mod read;
pub mod request;
pub mod routes;
pub mod scrape;
pub mod test_clock;
pub mod webhook;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower_http::catch_panic::CatchPanicLayer;

use self::auth::Keys;
use self::directory::Directory;
use self::health::WorkerAges;
use self::listener::Limits;
use self::native::replay::{NoReplay, Replay};
use self::request::Measured;
use self::scrape::Queues;
use self::test_clock::{OffsetOnly, TestClock};
use self::webhook::Receive;
use crate::clock::Clock;
use crate::domain::top_up::settings::ChargerSettings;
use crate::posting::Posting;
use crate::selling::Selling;
use crate::store::Store;

/// How the outside is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surface {
    /// What connections may take.
    pub limits: Limits,
    /// Are metrics for everyone?
    pub metrics_public: bool,
}

impl Default for Surface {
    fn default() -> Self {
        Self { limits: Limits::default(), metrics_public: true }
    }
}

/// What handlers work with. One pointer: it is cloned several times for every request.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] holds.
#[derive(Clone)]
pub struct Parts {
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
    /// Are metrics for everyone?
    pub metrics_public: bool,
    /// What the metrics say of the database.
    pub queues: Queues,
    /// Moves the time of a test database.
    pub test_clock: Arc<dyn TestClock>,
    /// Looks at stored events again.
    pub replay: Arc<dyn Replay>,
    /// Sells plans and packs.
    pub selling: Selling,
    /// How money is taken by itself.
    pub charger: ChargerSettings,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
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
        let selling = Selling::new(store.clone(), posting.clone(), None);
        Self(Arc::new(Parts {
            store,
            posting,
            clock,
            keys,
            directory,
            workers,
            webhook,
            metrics_public: true,
            queues: Queues::default(),
            test_clock,
            replay: Arc::new(NoReplay),
            selling,
            charger: ChargerSettings::default(),
        }))
    }

    /// The same with another test clock.
    #[must_use]
    pub fn with_test_clock(self, test_clock: Arc<dyn TestClock>) -> Self {
        Self(Arc::new(Parts { test_clock, ..(*self.0).clone() }))
    }

    /// The same with what looks at stored events again.
    #[must_use]
    pub fn with_replay(self, replay: Arc<dyn Replay>) -> Self {
        Self(Arc::new(Parts { replay, ..(*self.0).clone() }))
    }

    /// The same with what sells.
    #[must_use]
    pub fn with_selling(self, selling: Selling) -> Self {
        Self(Arc::new(Parts { selling, ..(*self.0).clone() }))
    }

    /// The same with how money is taken by itself.
    #[must_use]
    pub fn with_charger(self, charger: ChargerSettings) -> Self {
        Self(Arc::new(Parts { charger, ..(*self.0).clone() }))
    }

    /// The same with metrics for everyone or for keys of finance and admin only.
    #[must_use]
    pub fn with_metrics_public(self, metrics_public: bool) -> Self {
        Self(Arc::new(Parts { metrics_public, ..(*self.0).clone() }))
    }
}

/// Every route, with what holds for all of them.
pub fn router(app: App) -> Router {
    routes::router(&app)
        .layer(CatchPanicLayer::custom(request::panicked))
        .layer(from_fn_with_state(Measured::new(), request::number))
        .with_state(app)
}
