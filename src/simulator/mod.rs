//! A stateful Stripe on loopback, for `creditd dev` and the tests.
//!
//! # Flow
//!
//! `server` authorises a request, reads its version and form, claims its idempotency key; `routes` finds who serves it;
//! `objects` check and write the newest shape into `state`, emitting events; `shapes` rewrites what leaves into the
//! version asked for; `delivery` signs events and sends them until a 2xx; `control` and `page` are the buyer, the bank
//! and the operator.
//!
//! # Always true
//!
//! - It listens and delivers on loopback only, and takes test keys only.
//! - Every request, charge, delivery attempt and control step is in the log, in order, and stays there.
//! - An event's data never changes after it is made; its version is that of the endpoint, not of any request.
//! - An executed write is answered the same way for its idempotency key for 24 hours, whatever the answer was.
//! - A parameter is honoured or refused, never ignored.

mod control;
mod delivery;
mod expand;
mod form;
mod idempotency;
mod ids;
mod lists;
mod log;
mod objects;
mod page;
mod params;
mod refusal;
mod routes;
mod server;
mod shapes;
mod snapshot;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{any, get};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};

pub use control::InvoiceOrder;
pub use delivery::RetryPlan;
pub use log::{ChargeEntry, DeliveryEntry, Entry, Log, RequestEntry};
pub use objects::price::SeedPrice;
pub use objects::session_payment::Outcome;
pub use refusal::Refusal;
pub use shapes::NEWEST as NEWEST_VERSION;

use delivery::{Deliverer, Webhook};
use server::Account;
use shapes::Version;

/// How long a stop waits for requests under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a wait for deliveries looks again.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How the simulator runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; loopback only.
    pub listen: SocketAddr,
    /// The only key it takes, as `Bearer` or `Basic`; none for any `sk_test_…` or `rk_test_…`.
    pub api_key: Option<String>,
    /// Where events go; loopback only.
    pub webhook_url: Option<String>,
    /// What events are signed with, one `v1` for each.
    pub webhook_secrets: Vec<String>,
    /// The API version of the webhook endpoint: that of every event.
    pub endpoint_version: String,
    /// The API version of requests that name none.
    pub default_request_version: String,
    /// The time.
    pub clock: Clock,
    /// Where the account is kept between two starts.
    pub state_file: Option<PathBuf>,
    /// When failed deliveries are repeated.
    pub retry: RetryPlan,
    /// Whether events are sent by themselves.
    pub auto_deliver: bool,
}

impl Options {
    /// A free loopback port, the newest version, no webhook, nothing kept.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            api_key: None,
            webhook_url: None,
            webhook_secrets: Vec::new(),
            endpoint_version: NEWEST_VERSION.to_owned(),
            default_request_version: NEWEST_VERSION.to_owned(),
            clock,
            state_file: None,
            retry: RetryPlan::for_development(),
            auto_deliver: true,
        }
    }
}

/// Why the simulator cannot do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// It would be reachable from elsewhere.
    #[error("the simulator listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// It would send elsewhere.
    #[error("the simulator delivers to http on loopback only, not to {0}")]
    WebhookNotLoopback(String),
    /// It cannot write that version's shapes.
    #[error("API version {0} is not known: give an endive (from 2026-09-30) or acacia (from 2024-09-30) version")]
    UnknownVersion(String),
    /// The port is taken, or the like.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The state file is unreadable.
    #[error(transparent)]
    Snapshot(#[from] snapshot::SnapshotError),
    /// No HTTP client for deliveries.
    #[error("no client for deliveries: {0}")]
    Client(String),
    /// Nothing to deliver to.
    #[error("no webhook URL is set")]
    NoWebhook,
    /// A secret that HMAC does not take.
    #[error("a webhook secret cannot be used")]
    UnusableSecret,
    /// No such event.
    #[error("no such event: {0}")]
    NoSuchEvent(String),
    /// The endpoint gave no answer.
    #[error("event {event} found no answer: {reason}")]
    Unreachable {
        /// Which event.
        event: String,
        /// Why.
        reason: String,
    },
    /// Events are still pending after the time given.
    #[error("{0} events are not delivered")]
    Undelivered(usize),
}

/// A running simulator; it stops when dropped.
#[derive(Debug)]
pub struct Simulator {
    account: Arc<Account>,
    base_url: String,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Starts it; pending deliveries of an earlier run go on.
    pub async fn start(options: Options) -> Result<Self, SimulatorError> {
        if !options.listen.ip().is_loopback() {
            return Err(SimulatorError::NotLoopback(options.listen));
        }
        let version = |text: &str| Version::parse(text).ok_or_else(|| SimulatorError::UnknownVersion(text.to_owned()));
        let stop = CancellationToken::new();
        let webhook = Webhook { url: options.webhook_url, secrets: options.webhook_secrets };
        let deliverer = Deliverer::new(webhook, options.retry, stop.clone())?;
        let mut state = match &options.state_file {
            Some(path) => snapshot::load(path)?,
            None => state::State::default(),
        };
        let failed = |source| SimulatorError::Listen { address: options.listen, source };
        let listener = tokio::net::TcpListener::bind(options.listen).await.map_err(failed)?;
        let base_url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let log = Log::default();
        state.endpoint_version = version(&options.endpoint_version)?;
        state.auto_deliver = options.auto_deliver;
        state.base_url.clone_from(&base_url);
        state.log = log.clone();
        let waiting: Vec<String> = state.waiting().cloned().collect();
        let account = Arc::new(Account::new(
            state,
            options.clock,
            log,
            deliverer,
            options.api_key,
            version(&options.default_request_version)?,
            options.state_file,
        ));
        account.state().deliver = account.deliverer.webhook().url.is_some();
        if options.auto_deliver {
            for event in waiting {
                Deliverer::start(&account, event);
            }
        }
        let app = Router::new()
            .route("/v1/{*path}", any(server::handle))
            .route("/pay/{session}", get(page::show).post(page::pay))
            .merge(control::router())
            .with_state(Arc::clone(&account));
        let stopped = stop.clone();
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(error = %error, "the simulator stopped serving");
            }
        });
        Ok(Self { account, base_url, stop, server: Some(server) })
    }

    /// `http://127.0.0.1:port`, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The log, shared: it goes on filling.
    pub fn log(&self) -> Log {
        self.account.log.clone()
    }

    /// Stops listening and delivering; pending deliveries stay pending.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(STOP_TIMEOUT, &mut server).await.is_err()
        {
            server.abort();
        }
        self.account.deliverer.finish().await;
    }

    /// What the buyer or bank does with a session; gives the session in the newest shape.
    pub fn pay_checkout(&self, session: &str, outcome: Outcome) -> Result<Value, Refusal> {
        control::pay(&self.account, session, outcome)
    }

    /// Expires a session.
    pub fn expire_checkout(&self, session: &str) -> Result<Value, Refusal> {
        control::pay(&self.account, session, Outcome::Expire)
    }

    /// Puts a price in place under an id of its own, unless it is there.
    pub fn seed_price(&self, seed: &SeedPrice) -> Result<(), Refusal> {
        self.account.step(state::Origin::default(), |state| objects::price::seed(state, seed))
    }

    /// Makes and pays an invoice; gives it in the newest shape.
    pub fn make_invoice(&self, order: &InvoiceOrder) -> Result<Value, Refusal> {
        control::make_invoice(&self.account, order)
    }

    /// Sends an event once more, now; gives the status answered.
    pub async fn deliver(&self, event: &str) -> Result<u16, SimulatorError> {
        delivery::attempt_once(&self.account, event).await
    }

    /// The exact bytes and `Stripe-Signature` header of an event, signed now.
    pub fn signed_delivery(&self, event: &str) -> Result<(Bytes, String), SimulatorError> {
        delivery::signed(&self.account, event)
    }

    /// An event as it was made.
    pub fn event(&self, event: &str) -> Option<Value> {
        self.account.state().get(state::Kind::Event, event).map(|record| record.object.clone())
    }

    /// Ids of the events of a type, oldest first.
    pub fn event_ids(&self, event_type: &str) -> Vec<String> {
        let state = self.account.state();
        let of_type = state.all(state::Kind::Event).filter(|record| state::text(&record.object, "type") == event_type);
        of_type.map(|record| state::text(&record.object, "id").to_owned()).collect()
    }

    /// Sends later events elsewhere, signed with these secrets.
    pub fn set_webhook(&self, url: Option<String>, secrets: Vec<String>) -> Result<(), SimulatorError> {
        control::set_webhook(&self.account, Webhook { url, secrets })
    }

    /// Lets writes wait before they are executed, and the next ones be executed but answered with 500.
    pub fn set_faults(&self, latency: Duration, failing_writes: u32) {
        control::set_faults(&self.account, latency, failing_writes);
    }

    /// Waits until no event is pending; one given up stays pending.
    pub async fn wait_until_delivered(&self, timeout: Duration) -> Result<(), SimulatorError> {
        let started = clock::instant();
        loop {
            let pending = self.account.state().pending.len();
            if pending == 0 {
                return Ok(());
            }
            if started.elapsed() >= timeout {
                return Err(SimulatorError::Undelivered(pending));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
