//! Deliveries: events are sent until a 2xx, or until the plan has no attempt left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SimulatorError;
use super::chaos::{Chaos, Queue};
use super::endpoint::{self, Webhook};
use super::log::{DeliveryEntry, Entry};
use super::server::Account;
use super::state::{Kind, text};

/// Attempts under way at once.
const CONCURRENT_MAX: usize = 8;
/// Repeats a plan may hold.
const REPEATS_MAX: usize = 64;
/// Microseconds of a millisecond.
const MILLI: i64 = 1_000;
/// Nothing was emitted for so long: events held back to be put in another order go out.
const QUIET: Duration = Duration::from_millis(100);

/// The delays before each repeat of a failed delivery.
#[derive(Clone, Debug)]
pub struct RetryPlan {
    delays: Vec<Duration>,
    virtual_time: bool,
}

impl RetryPlan {
    /// A plan of these delays in real time, at most 64 of them; one attempt more is made than there are delays.
    #[must_use]
    pub fn new(delays: &[Duration]) -> Self {
        Self { delays: delays.iter().copied().take(REPEATS_MAX).collect(), virtual_time: false }
    }

    /// For a developer at the keyboard: 1 s, 5 s, 30 s, then each minute for ten minutes, in real time.
    #[must_use]
    pub fn for_development() -> Self {
        let mut delays = vec![1, 5, 30];
        delays.extend([60; 10]);
        Self { delays: delays.into_iter().map(Duration::from_secs).collect(), virtual_time: false }
    }

    /// Stripe's: spaced out with growing delays over three days of virtual time, so that moving the clock makes them due.
    #[must_use]
    pub fn stripe() -> Self {
        // Together 65 hours and 35 minutes: another 12 hours would pass the third day.
        let minutes = [5, 30, 2 * 60, 5 * 60, 10 * 60, 12 * 60, 12 * 60, 12 * 60, 12 * 60];
        Self { delays: minutes.into_iter().map(Duration::from_mins).collect(), virtual_time: true }
    }
}

/// Sends events and counts what is under way.
#[derive(Debug)]
pub struct Deliverer {
    client: reqwest::Client,
    webhook: Mutex<Webhook>,
    plan: RetryPlan,
    permits: Semaphore,
    queue: Mutex<Queue>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing, or a timer in virtual time.
    Nothing,
    /// Another attempt after a rest in real time.
    Rest(Duration),
}

impl Deliverer {
    /// A deliverer that stops with its token.
    pub(super) fn new(webhook: Webhook, plan: RetryPlan, stop: CancellationToken) -> Result<Self, SimulatorError> {
        endpoint::check_url(webhook.url.as_deref())?;
        Ok(Self {
            client: endpoint::client()?,
            webhook: Mutex::new(webhook),
            plan,
            permits: Semaphore::new(CONCURRENT_MAX),
            queue: Mutex::default(),
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// Sends later events elsewhere.
    pub(super) fn set_webhook(&self, webhook: Webhook) -> Result<(), SimulatorError> {
        endpoint::check_url(webhook.url.as_deref())?;
        *self.webhook.lock().unwrap_or_else(PoisonError::into_inner) = webhook;
        Ok(())
    }

    /// Where events go now.
    pub(super) fn webhook(&self) -> Webhook {
        self.webhook.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cancelled when the simulator stops.
    pub(super) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each step leaves the queue whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events from now on are delivered in this disorder; none ends it.
    pub(super) fn set_chaos(account: &Arc<Account>, chaos: Option<Chaos>) {
        let mut queue = account.deliverer.queue();
        queue.flush();
        queue.chaos = chaos;
        drop(queue);
        Self::open_lanes(account);
    }

    /// Sendings that a disorder has not let through yet.
    pub(super) fn outstanding(&self) -> usize {
        self.queue().outstanding()
    }

    /// Waits for the deliveries under way to notice that they are stopped.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn spawn(account: &Arc<Account>, work: impl Future<Output = ()> + Send + 'static) {
        let stop = account.deliverer.stop.clone();
        account.deliverer.tasks.spawn(async move {
            let _stopped_or_done = stop.run_until_cancelled(work).await;
        });
    }

    /// Begins a new event's delivery, in a task of its own: events overtake each other, as Stripe's do.
    pub(super) fn begin(account: &Arc<Account>, event: String) {
        let chaos = account.deliverer.queue().chaos.clone();
        let Some(chaos) = chaos else {
            let sender = Arc::clone(account);
            return Self::spawn(account, async move { run_plan(&sender, &event).await });
        };
        let place = account.state().place(Kind::Event, &event).unwrap_or_default();
        let (copies, delay) = chaos.decide(place);
        if delay == 0 {
            return Self::hold(account, &event, copies);
        }
        if account.deliverer.plan.virtual_time {
            let wait = i64::try_from(delay).unwrap_or(i64::MAX).saturating_mul(MILLI);
            let due = account.clock.now().as_microsecond().saturating_add(wait);
            let mut state = account.state();
            if let Some(pending) = state.pending.get_mut(&event) {
                (pending.due, pending.copies) = (Some(due), copies);
            }
            state.schedule_delivery(&event);
            return;
        }
        let sender = Arc::clone(account);
        Self::spawn(account, async move {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            Self::hold(&sender, &event, copies);
        });
    }

    /// A delivery whose time has come: a repeat, or a first attempt that was delayed.
    pub(super) fn continue_plan(account: &Arc<Account>, event: String) {
        let first = account.state().pending.get_mut(&event).map(|pending| (pending.attempts, pending.copies));
        let disordered = account.deliverer.queue().chaos.is_some();
        if disordered && let Some((0, copies)) = first {
            return Self::hold(account, &event, copies);
        }
        let sender = Arc::clone(account);
        Self::spawn(account, async move { run_plan(&sender, &event).await });
    }

    /// Hands an event to the disorder; what it holds back goes out when nothing follows for a while.
    fn hold(account: &Arc<Account>, event: &str, copies: u32) {
        let mut queue = account.deliverer.queue();
        let held = queue.hold(event, copies);
        drop(queue);
        Self::open_lanes(account);
        if let Some(taken) = held {
            let sender = Arc::clone(account);
            Self::spawn(account, async move {
                tokio::time::sleep(QUIET).await;
                sender.deliverer.queue().flush_since(taken);
                Self::open_lanes(&sender);
            });
        }
    }

    fn open_lanes(account: &Arc<Account>) {
        while account.deliverer.queue().open_lane() {
            let sender = Arc::clone(account);
            Self::spawn(account, async move { run_lane(&sender).await });
        }
    }
}

/// Sends what the disorder has made ready, one after the other.
async fn run_lane(account: &Arc<Account>) {
    loop {
        // The lock is not held while sending.
        let next = account.deliverer.queue().next();
        let Some(sending) = next else { return };
        if sending.copy > 0 {
            // A copy is sent once: what becomes of it is in the log.
            let _answered = attempt(account, &sending.event, sending.copy).await;
        } else if let Next::Rest(rest) = attempt_by_plan(account, &sending.event).await {
            let sender = Arc::clone(account);
            Deliverer::spawn(account, async move {
                tokio::time::sleep(rest).await;
                run_plan(&sender, &sending.event).await;
            });
        }
        account.deliverer.queue().done();
    }
}

/// Attempts until an answer, the plan's end, or a rest in virtual time.
async fn run_plan(account: &Arc<Account>, event: &str) {
    while let Next::Rest(rest) = attempt_by_plan(account, event).await {
        tokio::time::sleep(rest).await;
    }
}

/// One attempt, and what the plan says then.
async fn attempt_by_plan(account: &Arc<Account>, event: &str) -> Next {
    match account.state().pending.get_mut(event) {
        // Delivered meanwhile by hand.
        None => return Next::Nothing,
        Some(pending) => pending.resting = false,
    }
    let delivered = match account.deliverer.permits.acquire().await {
        Ok(_permit) => attempt(account, event, 0).await.is_ok_and(is_success),
        Err(_) => false,
    };
    let mut state = account.state();
    let plan = &account.deliverer.plan;
    let Some(pending) = state.pending.get_mut(event).filter(|_| !delivered) else { return Next::Nothing };
    let made = usize::try_from(pending.attempts).unwrap_or(usize::MAX);
    let mut next = Next::Nothing;
    match plan.delays.get(made.saturating_sub(1)) {
        None => pending.given_up = true,
        Some(delay) if plan.virtual_time => {
            let wait = i64::try_from(delay.as_micros()).unwrap_or(i64::MAX);
            pending.due = Some(account.clock.now().as_microsecond().saturating_add(wait));
            state.schedule_delivery(event);
        }
        Some(delay) => {
            pending.resting = true;
            next = Next::Rest(*delay);
        }
    }
    // A failed save is logged there; the next mutation writes the same state again.
    let _kept = account.save(&state);
    next
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// One attempt of the plan, or one copy, which a disorder may lose on its way.
async fn attempt(account: &Arc<Account>, event: &str, copy: u32) -> Result<u16, SimulatorError> {
    let chaos = account.deliverer.queue().chaos.clone();
    let number = count_attempt(account, event, copy);
    let place = account.state().place(Kind::Event, event).unwrap_or_default();
    if chaos.is_some_and(|chaos| chaos.loses(place, number, copy)) {
        let url = account.deliverer.webhook().url.unwrap_or_default();
        let lost = Err("lost on its way, as ordered".to_owned());
        return conclude(account, event, (number, copy), url, lost);
    }
    send(account, event, (number, copy)).await
}

/// One attempt by hand, written to the log; gives the status answered.
pub(super) async fn attempt_once(account: &Arc<Account>, event: &str) -> Result<u16, SimulatorError> {
    let number = count_attempt(account, event, 0);
    send(account, event, (number, 0)).await
}

/// The number of an attempt that begins; neither a copy nor a resend of what was delivered counts against a plan.
fn count_attempt(account: &Arc<Account>, event: &str, copy: u32) -> u32 {
    let mut state = account.state();
    let Some(pending) = state.pending.get_mut(event).filter(|_| copy == 0) else { return 1 };
    pending.attempts = pending.attempts.saturating_add(1);
    pending.attempts
}

async fn send(account: &Arc<Account>, event: &str, number: (u32, u32)) -> Result<u16, SimulatorError> {
    let url = account.deliverer.webhook().url.ok_or(SimulatorError::NoWebhook)?;
    let (body, signature) = endpoint::signed(account, event)?;
    let answered = endpoint::send(&account.deliverer.client, &url, body, &signature).await;
    conclude(account, event, number, url, answered)
}

/// Writes an attempt down; an event that was taken is pending no more.
fn conclude(
    account: &Arc<Account>,
    event: &str,
    (attempt, copy): (u32, u32),
    url: String,
    answered: Result<u16, String>,
) -> Result<u16, SimulatorError> {
    let mut state = account.state();
    let event_type = state.get(Kind::Event, event).map(|record| text(&record.object, "type").to_owned());
    account.log.push(Entry::Delivery(DeliveryEntry {
        at: account.now(),
        event: event.to_owned(),
        event_type: event_type.unwrap_or_default(),
        url,
        attempt,
        copy,
        status: answered.as_ref().ok().copied(),
        error: answered.as_ref().err().cloned(),
    }));
    if answered.as_ref().is_ok_and(|status| is_success(*status)) && state.pending.remove(event).is_some() {
        state.schedule_delivery(event);
        // A failed save is logged there; the next mutation writes the same state again.
        let _kept = account.save(&state);
    }
    answered.map_err(|reason| SimulatorError::Unreachable { event: event.to_owned(), reason })
}
