//! The daemon put together: store, door, workers, routes. `serve`, `dev` and the tests all run this one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::test_clock::{MovingClock, Simulated, Wake};
use crate::charging::Charger;
use crate::clock::Clock;
use crate::config::MoneyBackConfig;
use crate::domain::top_up::settings::ChargerSettings;
use crate::http::health::WorkerAges;
use crate::http::native::replay::Replay;
use crate::http::webhook::{Receive, ReceiveError, Received};
use crate::http::{App, Surface, listener, router};
use crate::inbox::receive::{self, Receiver};
use crate::inbox::reversal::MoneyBackPolicy;
use crate::meters::cells;
use crate::posting::Posting;
use crate::selling::Selling;
use crate::store::event_intake::EventIntake;
use crate::store::events::WAITING_FOR_PROGRAM;
use crate::store::{Store, StoreError};
use crate::stripe::client::StripeClient;
use crate::stripe::signature::{Secret, Tolerance};
use crate::workers::catch_up::CatchUp;
use crate::workers::inbox::{InboxWorker, Turns};
use crate::workers::overage::OverageWorker;
use crate::workers::renewal::RenewalWorker;
use crate::workers::top_up::{Queue, TopUpWorker};
use crate::workers::{Beat, retention};

/// Longest wait for requests and workers under way at a stop.
const DRAIN: Duration = Duration::from_secs(25);

/// Between two folds of the metrics: some thousand requests' worth of numbers.
const FOLD: Duration = Duration::from_secs(5);
/// A round of the inbox is finished every second; half a minute without one is a fault.
const INBOX_LATE: Duration = Duration::from_secs(30);
/// A bucket of the renewal worker takes seconds, however much is due.
const RENEWAL_LATE: Duration = Duration::from_mins(5);
/// The overage worker looks at customers once a minute, and asks Stripe about each.
const OVERAGE_LATE: Duration = Duration::from_mins(10);
/// Catch-up finishes a page every few seconds, or waits for its next turn: so many turns without one are a fault.
const CATCH_UP_LATE_TURNS: u32 = 3;
/// A round of the charger waits for calls to Stripe, which take a minute and a half at most, some after each other.
const TOP_UP_LATE: Duration = Duration::from_mins(10);
/// The retention worker makes a round every quarter of an hour.
const RETENTION_LATE: Duration = Duration::from_mins(45);

/// The inbox's receiver, as the webhook route asks for it. The work runs in a task of its own: a client that hangs up
/// cancels nothing.
struct Intake(Receiver);

impl Receive for Intake {
    fn receive<'a>(
        &'a self,
        body: axum::body::Bytes,
        signature: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Received, ReceiveError>> {
        let (receiver, signature) = (self.0.clone(), signature.map(str::to_owned));
        Box::pin(async move {
            let work = async move { receiver.receive(&body, signature.as_deref()).await };
            let taken = tokio::spawn(work.in_current_span()).await;
            match taken {
                Ok(Ok(receive::Received::Stored)) => Ok(Received::Stored),
                Ok(Ok(receive::Received::Duplicate)) => Ok(Received::Duplicate),
                Ok(Ok(receive::Received::Ignored(_))) => Ok(Received::Ignored),
                Ok(Err(receive::ReceiveError::Signature(error))) => {
                    tracing::warn!(code = error.code(), "a delivery was refused");
                    Err(ReceiveError::Signature { code: error.code(), detail: error.to_string() })
                }
                Ok(Err(receive::ReceiveError::NotAnEvent(detail))) => {
                    tracing::warn!(%detail, "a signed delivery is not an event");
                    Err(ReceiveError::NotJson(detail))
                }
                Ok(Err(receive::ReceiveError::Store(error))) => Err(ReceiveError::Store(error)),
                Err(_) => Err(ReceiveError::Store(StoreError::Unavailable("the receiving task ended".to_owned()))),
            }
        })
    }
}

/// The worker, as the replay route asks for it. The work runs in a task of its own, as above.
struct Again(InboxWorker);

impl Replay for Again {
    fn replay<'a>(&'a self, event: &'a str, apply: bool) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        let (worker, event) = (self.0.clone(), event.to_owned());
        Box::pin(async move {
            let work =
                async move { if apply { worker.apply_again(&event).await } else { worker.look_again(&event).await } };
            let seen = tokio::spawn(work.in_current_span()).await;
            let seen = seen.unwrap_or_else(|_| Err(StoreError::Unavailable("the replaying task ended".to_owned())));
            Ok(seen?.map(|seen| seen.to_json()))
        })
    }
}

fn beat(ages: &WorkerAges, name: &'static str, late_after: Duration) -> Beat {
    ages.watch(name, late_after);
    let ages = ages.clone();
    Arc::new(move || ages.ran(name))
}

/// What looks again when the test clock has moved: each worker that waits for something to become due.
fn woken_by_time(inbox: &InboxWorker, renewal: &RenewalWorker, overage: &OverageWorker, posting: &Posting) -> Wake {
    let (inbox, renewal, overage) = (inbox.wake.clone(), renewal.wake.clone(), overage.wake.clone());
    let charger = posting.charger();
    Arc::new(move || {
        inbox.notify_one();
        renewal.notify_one();
        overage.notify_one();
        charger.notify_one();
    })
}

/// What a daemon runs on.
pub struct Parts {
    /// The database, migrated.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Secrets of the webhook endpoint.
    pub webhook_secrets: Vec<Secret>,
    /// How old a signature may be.
    pub tolerance: Tolerance,
    /// Stripe's mode.
    pub livemode: bool,
    /// Stripe, when there is a key.
    pub stripe: Option<Arc<dyn StripeClient>>,
    /// Objects paid before it never grant.
    pub cutover_at: Option<Timestamp>,
    /// Do free checkouts grant catalogue packs?
    pub grant_free_checkouts: bool,
    /// Does a price that nobody knows park the event?
    pub park_unknown_prices: bool,
    /// What a merchant decided about money going back.
    pub money_back: MoneyBackPolicy,
    /// How often Stripe's events are listed; `None`: never by itself.
    pub catch_up_every: Option<Duration>,
    /// How money is taken.
    pub charger: ChargerSettings,
    /// How the outside is met.
    pub surface: Surface,
}

/// What the configuration says about money going back.
pub const fn money_back(config: MoneyBackConfig) -> MoneyBackPolicy {
    MoneyBackPolicy {
        write_off_spent: config.write_off_spent,
        freeze_on_warning: config.freeze_on_warning,
        keep_on_balance_notes: config.keep_on_balance_notes,
    }
}

/// A running daemon.
pub struct Daemon {
    address: SocketAddr,
    posting: Posting,
    inbox: InboxWorker,
    renewal: RenewalWorker,
    overage: OverageWorker,
    catch_up: Option<CatchUp>,
    top_up: Option<TopUpWorker>,
    bills: Option<TopUpWorker>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Daemon {
    /// Starts everything; it serves once this returns.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        Self::start_with(parts, None).await
    }

    /// The same, with a simulated Stripe whose time goes with the daemon's.
    pub async fn start_with(parts: Parts, simulated: Option<Simulated>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(parts.listen)
            .await
            .with_context(|| format!("cannot listen on {}: choose another address with --listen", parts.listen))?;
        let address = listener.local_addr()?;
        let posting = Posting::start(&parts.store);
        let wake = Arc::new(Notify::new());
        let ages = WorkerAges::default();
        let intake = EventIntake::start(&parts.store);
        let receiver = Receiver::new(
            intake.clone(),
            parts.clock.clone(),
            parts.webhook_secrets.clone(),
            parts.tolerance,
            parts.livemode,
            wake.clone(),
        );
        let inbox = InboxWorker {
            store: parts.store.clone(),
            posting: posting.clone(),
            stripe: parts.stripe.clone(),
            turns: Turns::new(intake),
            wake,
            cutover_at: parts.cutover_at,
            grant_free_checkouts: parts.grant_free_checkouts,
            park_unknown_prices: parts.park_unknown_prices,
            money_back: parts.money_back,
            beat: beat(&ages, "inbox", INBOX_LATE),
        };
        let renewal = RenewalWorker {
            store: parts.store.clone(),
            posting: posting.clone(),
            wake: Arc::new(Notify::new()),
            beat: beat(&ages, "renewal", RENEWAL_LATE),
        };
        let catch_up = catch_up(&parts, &receiver, &ages);
        let top_up = top_up(&parts, &posting, &ages);
        let overage = overage(&parts, &posting, &ages, top_up.as_ref());
        let bills = top_up.as_ref().map(|worker| bills(worker, &ages));
        let retention_beat = beat(&ages, "retention", RETENTION_LATE);
        let woken = woken_by_time(&inbox, &renewal, &overage, &posting);
        let test_clock = MovingClock::new(parts.store.clone(), simulated, woken);
        let app = App::new(parts.store.clone(), posting.clone(), parts.clock.clone(), ages, Arc::new(Intake(receiver)))
            .with_metrics_public(parts.surface.metrics_public)
            .with_test_clock(Arc::new(test_clock))
            .with_replay(Arc::new(Again(inbox.clone())))
            .with_selling(Selling::new(parts.store.clone(), posting.clone(), parts.stripe.clone()))
            .with_charger(parts.charger.clone());
        wake_for_new_program(&inbox).await;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(inbox.clone().run(stop.clone()));
        tasks.spawn(renewal.clone().run(stop.clone()));
        tasks.spawn(overage.clone().run(stop.clone()));
        if let Some((worker, every)) = catch_up.clone().zip(parts.catch_up_every) {
            tasks.spawn(worker.run(every, stop.clone()));
        }
        for worker in [&top_up, &bills].into_iter().flatten() {
            tasks.spawn(worker.clone().run(stop.clone()));
        }
        tasks.spawn(retention::run(parts.store, retention_beat, stop.clone()));
        tasks.spawn(fold_metrics(stop.clone()));
        tasks.spawn(listener::serve(listener, router(app), parts.surface.limits, stop.clone(), tasks.clone()));
        Ok(Self { address, posting, inbox, renewal, overage, catch_up, top_up, bills, stop, tasks })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The door.
    pub const fn posting(&self) -> &Posting {
        &self.posting
    }

    /// The inbox worker, for a test that wants its work done now.
    pub const fn inbox(&self) -> &InboxWorker {
        &self.inbox
    }

    /// The renewal worker, for a test that wants its work done now.
    pub const fn renewal(&self) -> &RenewalWorker {
        &self.renewal
    }

    /// The overage worker, for a test that wants its work done now.
    pub const fn overage(&self) -> &OverageWorker {
        &self.overage
    }

    /// The catch-up worker, for a test that wants its work done now; none without an API key.
    pub const fn catch_up(&self) -> Option<&CatchUp> {
        self.catch_up.as_ref()
    }

    /// The charger's worker, for a test that wants its work done now; none without an API key.
    pub const fn top_up(&self) -> Option<&TopUpWorker> {
        self.top_up.as_ref()
    }

    /// The worker that takes bills of overage to Stripe, for a test that wants its work done now.
    pub const fn bills(&self) -> Option<&TopUpWorker> {
        self.bills.as_ref()
    }

    /// Stops taking, finishes what is under way within a bound, and lets go.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests were still under way at the stop");
        }
        self.posting.shut_down().await;
    }
}

/// What waited for a better program, or for an API key, is tried again by the one that starts now.
async fn wake_for_new_program(inbox: &InboxWorker) {
    match inbox.store.wake_parked(&WAITING_FOR_PROGRAM).await {
        Ok(0) => {}
        Ok(woken) => tracing::info!(woken, "parked events are tried again by this daemon"),
        Err(error) => {
            tracing::warn!(%error, "parked events could not be woken; they are tried again at their own time");
        }
    }
}

/// What lists Stripe's events; nothing can be listed without an API key.
fn catch_up(parts: &Parts, receiver: &Receiver, ages: &WorkerAges) -> Option<CatchUp> {
    let Some(stripe) = &parts.stripe else {
        if parts.catch_up_every.is_some() {
            tracing::warn!("catch-up is off: without STRIPE_SECRET_KEY a delivery that is lost stays lost");
        }
        return None;
    };
    let beat = match parts.catch_up_every {
        Some(every) => beat(ages, "catch_up", every.saturating_mul(CATCH_UP_LATE_TURNS)),
        None => Arc::new(|| {}),
    };
    Some(CatchUp {
        store: parts.store.clone(),
        receiver: receiver.clone(),
        stripe: stripe.clone(),
        clock: parts.clock.clone(),
        cutover_at: parts.cutover_at,
        beat,
    })
}

/// What charges cards; nothing can be charged without an API key.
fn top_up(parts: &Parts, posting: &Posting, ages: &WorkerAges) -> Option<TopUpWorker> {
    let stripe = parts.stripe.clone()?;
    let charger = Charger::new(parts.store.clone(), posting.clone(), stripe, parts.charger.clone(), parts.livemode);
    Some(TopUpWorker {
        queue: Queue::Charges,
        store: parts.store.clone(),
        charger,
        wake: posting.charger(),
        beat: beat(ages, "top_up", TOP_UP_LATE),
    })
}

/// What makes bills of overage by month.
fn overage(parts: &Parts, posting: &Posting, ages: &WorkerAges, top_up: Option<&TopUpWorker>) -> OverageWorker {
    OverageWorker {
        store: parts.store.clone(),
        posting: posting.clone(),
        charger: top_up.map(|worker| worker.charger.clone()),
        wake: Arc::new(Notify::new()),
        beat: beat(ages, "overage", OVERAGE_LATE),
    }
}

/// What takes bills to Stripe, beside what charges cards.
fn bills(top_up: &TopUpWorker, ages: &WorkerAges) -> TopUpWorker {
    let beat = beat(ages, "bills", TOP_UP_LATE);
    TopUpWorker { queue: Queue::Bills, wake: Arc::new(Notify::new()), beat, ..top_up.clone() }
}

/// Keeps what histograms were told from piling up while nobody scrapes.
async fn fold_metrics(stop: CancellationToken) {
    while tokio::time::timeout(FOLD, stop.cancelled()).await.is_err() {
        cells::fold();
    }
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn told_to_stop() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "SIGTERM cannot be heard; only Ctrl-C stops this process");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => {}
        heard = tokio::signal::ctrl_c() => {
            if let Err(error) = heard {
                tracing::error!(%error, "Ctrl-C cannot be heard");
            }
        }
    }
}
