//! A stateful Stripe on loopback, for `creditd dev` and the tests.
//!
//! # Flow
//!
//! `server` authorises a request, reads its version and form, claims its idempotency key; `routes` finds who serves it;
//! `objects` check and write the newest shape into `state`, emitting events; `shapes` rewrites what leaves into the
//! version asked for; `delivery` sends events until a 2xx, through the disorder of `chaos`, signed by `endpoint`;
//! `timers` lets happen what is due in virtual time; `faults` spoil calls, down to the bytes on the `wire`; `control`
//! and `page` are the buyer, the bank and the operator.
//!
//! # Always true
//!
//! - It listens and delivers on loopback only, and takes test keys only.
//! - Every request, charge, delivery attempt, timer and control step is in the log, in order, and stays there.
//! - What is due happens in order and at its own time, however late it is noticed; time only moves forward.
//! - An event's data never changes after it is made; its version is that of the endpoint, not of any request.
//! - An executed write is answered the same way for its idempotency key for 24 hours, whatever the answer was.
//! - A parameter is honoured or refused, never ignored.

mod chaos;
mod control;
mod control_cards;
mod control_invoice;
mod control_money;
mod control_payment;
mod delivery;
mod endpoint;
mod expand;
mod faults;
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
mod timers;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{any, get};
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};

pub use chaos::Chaos;
pub use control_invoice::InvoiceOrder;
pub use delivery::RetryPlan;
pub use faults::{Fault, FaultRule, Outage};
pub use log::{ChargeEntry, DeliveryEntry, Entry, Log, RefundEntry, RequestEntry};
pub use objects::card_order::{CardBehaviour, CardOrder};
pub use objects::dispute::{DisputeOrder, DisputeStep};
pub use objects::price::SeedPrice;
pub use objects::refund::RefundOutcome;
pub use objects::session_payment::Outcome;
pub use objects::tax::TaxRate;
pub use refusal::Refusal;
pub use shapes::NEWEST as NEWEST_VERSION;
pub use state::{Dunning, RefundMode};

use delivery::Deliverer;
use endpoint::Webhook;
use server::Account;
use shapes::Version;
use wire::{BreakableListener, Connection};

/// How long a stop waits for requests under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a wait for deliveries looks again.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How often what is due is looked for while nobody asks for anything.
const TICK: Duration = Duration::from_millis(200);
/// How long each step of an advance waits for the answers to its deliveries.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Steps of one advance; far beyond what ten years of a busy test account hold.
const STEPS_MAX: usize = 1_000_000;

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
    #[error(
        "API version {0} is not known: give a version of acacia (from 2024-09-30), basil (2025-03-31), clover \
         (2025-09-30), dahlia (2026-03-25) or endive (2026-09-30)"
    )]
    UnknownVersion(String),
    /// The clock is the machine's, or stands before that time.
    #[error("the simulator's clock cannot be moved to {0}")]
    ClockNotMoved(Timestamp),
    /// An order that makes no sense.
    #[error("{0} is out of bounds")]
    OutOfBounds(&'static str),
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
    tasks: Mutex<Vec<JoinHandle<()>>>,
    advancing: tokio::sync::Mutex<()>,
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
        state.schedule_all();
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
                Deliverer::begin(&account, event);
            }
        }
        let app = Router::new()
            .route("/v1/{*path}", any(server::handle))
            .route("/pay/{session}", get(page::show).post(page::pay))
            .route("/invoice/{invoice}", get(page::show_invoice).post(page::pay_invoice))
            .route("/authenticate/{intent}", get(page::show_question).post(page::authenticate))
            .merge(control::router())
            .with_state(Arc::clone(&account));
        let app = app.into_make_service_with_connect_info::<Connection>();
        let stopped = stop.clone();
        let server = tokio::spawn(async move {
            let listener = BreakableListener(listener);
            let served = axum::serve(listener, app).with_graceful_shutdown(stopped.cancelled_owned()).await;
            if let Err(error) = served {
                tracing::error!(error = %error, "the simulator stopped serving");
            }
        });
        let tasks = Mutex::new(vec![server, tokio::spawn(tick(Arc::clone(&account), stop.clone()))]);
        Ok(Self { account, base_url, stop, tasks, advancing: tokio::sync::Mutex::default() })
    }

    /// `http://127.0.0.1:port`, without a slash at the end.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The log, shared: it goes on filling.
    pub fn log(&self) -> Log {
        self.account.log.clone()
    }

    /// Stops listening, delivering and keeping time; pending deliveries stay pending.
    pub async fn stop(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for mut task in tasks {
            if tokio::time::timeout(STOP_TIMEOUT, &mut task).await.is_err() {
                task.abort();
            }
        }
        self.account.deliverer.finish().await;
    }

    /// Virtual time now.
    pub fn now(&self) -> Timestamp {
        self.account.clock.now()
    }

    /// When the next thing happens by itself: a period, trial or session ends, a draft is finalized, a charge is tried
    /// again, or an event is sent again by Stripe's plan.
    pub fn next_timer(&self) -> Option<Timestamp> {
        let due = self.account.state().timers.first().map(|due| due.0)?;
        Timestamp::from_microsecond(due).ok()
    }

    /// Moves virtual time forward: everything due up to then happens in order, each at its own time, and each step waits,
    /// within a bound, until its deliveries are answered. A time that has passed moves nothing.
    pub async fn advance_to(&self, to: Timestamp) -> Result<(), SimulatorError> {
        let _one_at_a_time = self.advancing.lock().await;
        control::note(&self.account, "advance", &to.to_string());
        for _ in 0..STEPS_MAX {
            let Some(next) = self.next_timer().filter(|next| *next <= to) else { break };
            self.reach(next).await?;
        }
        self.reach(to).await
    }

    async fn reach(&self, at: Timestamp) -> Result<(), SimulatorError> {
        if !self.account.clock.advance_to(at) {
            return Err(SimulatorError::ClockNotMoved(at));
        }
        // The count is for those who wait for it.
        let _fired = timers::fire_due(&self.account, at.as_microsecond());
        self.wait_until_answered(ANSWER_WAIT).await;
        Ok(())
    }

    /// Waits until each delivery that is due has been answered once, whatever the answer; `false` after the time given.
    pub async fn wait_until_answered(&self, timeout: Duration) -> bool {
        let started = clock::instant();
        while self.is_answer_awaited() {
            if started.elapsed() >= timeout {
                return false;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        true
    }

    fn is_answer_awaited(&self) -> bool {
        let now = self.account.clock.now().as_microsecond();
        let state = self.account.state();
        let unanswered = state.pending.values().any(|pending| pending.is_unanswered(now));
        let sends = state.auto_deliver && state.deliver;
        drop(state);
        sends && (unanswered || self.account.deliverer.outstanding() > 0)
    }

    /// What the buyer or bank does with a session; gives the session in the newest shape.
    pub fn pay_checkout(&self, session: &str, outcome: Outcome) -> Result<Value, Refusal> {
        control::pay(&self.account, session, outcome, None)
    }

    /// Expires a session.
    pub fn expire_checkout(&self, session: &str) -> Result<Value, Refusal> {
        control::pay(&self.account, session, Outcome::Expire, None)
    }

    /// Puts a price in place under an id of its own, unless it is there.
    pub fn seed_price(&self, seed: &SeedPrice) -> Result<(), Refusal> {
        self.account.step(state::Origin::default(), |state| objects::price::seed(state, seed))
    }

    /// Makes and pays an invoice; gives it in the newest shape.
    pub fn make_invoice(&self, order: &InvoiceOrder) -> Result<Value, Refusal> {
        control_invoice::make_invoice(&self.account, order, None)
    }

    /// Sends an event once more, now; gives the status answered.
    pub async fn deliver(&self, event: &str) -> Result<u16, SimulatorError> {
        delivery::attempt_once(&self.account, event).await
    }

    /// The exact bytes and `Stripe-Signature` header of an event, signed now.
    pub fn signed_delivery(&self, event: &str) -> Result<(Bytes, String), SimulatorError> {
        endpoint::signed(&self.account, event)
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

    /// Ids of all events, oldest first.
    pub fn all_event_ids(&self) -> Vec<String> {
        let state = self.account.state();
        state.all(state::Kind::Event).map(|record| state::text(&record.object, "id").to_owned()).collect()
    }

    /// Sends later events elsewhere, signed with these secrets.
    pub fn set_webhook(&self, url: Option<String>, secrets: Vec<String>) -> Result<(), SimulatorError> {
        control::set_webhook(&self.account, Webhook { url, secrets })
    }

    /// Lets writes wait before they are executed, and the next ones be executed but answered with 500.
    pub fn set_faults(&self, latency: Duration, failing_writes: u32) {
        control::set_faults(&self.account, latency, failing_writes);
    }

    /// Spoils calls by these rules, in place of those that were; none ends it.
    pub fn set_fault_rules(&self, rules: Vec<FaultRule>) -> Result<(), SimulatorError> {
        control::set_fault_rules(&self.account, rules)
    }

    /// Delivers events from now on in this disorder; none ends it.
    pub fn set_chaos(&self, chaos: Option<Chaos>) -> Result<(), SimulatorError> {
        control::set_chaos(&self.account, chaos)
    }

    /// Says what becomes of subscriptions whose last retry fails.
    pub fn set_dunning(&self, dunning: Dunning) -> Result<(), Refusal> {
        control::set_dunning(&self.account, dunning)
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

/// Lets happen what is due while nobody asks for anything.
async fn tick(account: Arc<Account>, stop: CancellationToken) {
    while tokio::time::timeout(TICK, stop.cancelled()).await.is_err() {
        account.catch_up();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
