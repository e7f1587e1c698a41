//! Works through stored events: interpret, ask Stripe, find out whose they are, claim the payment, post, record.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio_util::sync::CancellationToken;

use super::Beat;
use super::resolve::{self, Setback, Tally};
use crate::domain::catalog::Catalog;
use crate::domain::ids::AccountId;
use crate::inbox::intent::{Intent, Interpretation, Why};
use crate::inbox::interpret::{Answers, Context, interpret};
use crate::inbox::reversal::MoneyBackPolicy;
use crate::posting::Posting;
use crate::store::event_intake::EventIntake;
use crate::store::events::{Closed, Ended, Ending, LeasedEvent, StoredInput, Why as StoredWhy};
use crate::store::{Store, StoreError};
use crate::stripe::client::{Fetch, Fetched, StripeClient, StripeError};
use crate::stripe::wire::{self, Event, Wire};

/// Events taken together: each may be of a megabyte, and all are in memory.
const ROUND: i64 = 32;
/// Times a daemon looks for others when another one was faster.
const LEASE_TRIES: usize = 4;
/// Commits of outcomes under way at once, while other events are worked on.
const RECORDING: usize = 2;
/// Events worked on at once by one daemon.
const CONCURRENCY: usize = 8;
/// Deliveries waiting to be stored from which on events are worked on one at a time: Stripe waits for an answer, what is
/// stored already can wait a little.
const INTAKE_BUSY: usize = 8;
/// And after such a pause: the burst has the machine, and events are still worked on, some dozens each second.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long a worker has an event for itself, and how often it asks for more while it works: an event of a daemon that
/// died is taken up again within half a minute.
pub(super) const LEASE_SECONDS: i32 = 30;
const LEASE_EXTENDED_EVERY: Duration = Duration::from_secs(10);
/// Wait between rounds when nothing wakes the worker.
const IDLE: Duration = Duration::from_secs(1);
/// How often events are looked at that wait for a payment. A payment wakes them itself; this finds those that began to
/// wait while it was being claimed.
const WAITING_LOOKED_AT_EVERY: Duration = Duration::from_secs(10);
/// That look walks all that waits, of refunds of what others sold too: it takes at most one part in so many of the time.
const WAITING_LOOK_SHARE: u32 = 100;
/// Questions asked for one event: pages of lines, an intent, a charge; more is a loop.
pub(super) const QUESTIONS_MAX: usize = 120;
/// Times an event is tried before it is given up: about ten days with the delays below. What is parked waits for a
/// person and is never given up: it is money, and its cause may go after a month.
const ATTEMPTS_MAX: i32 = 40;
/// Delays after each attempt, in seconds; the last one repeats.
const DELAYS: [i64; 8] = [2, 10, 60, 300, 1_800, 3_600, 10_800, 21_600];

/// Who may work on an event now: anyone, but one at a time while many deliveries wait to be stored.
#[derive(Clone)]
pub struct Turns {
    intake: EventIntake,
    one: Arc<Mutex<()>>,
}

impl Turns {
    /// Turns that look at this intake.
    pub fn new(intake: EventIntake) -> Self {
        Self { intake, one: Arc::default() }
    }

    async fn wait(&self) -> Option<MutexGuard<'_, ()>> {
        if self.intake.about() < INTAKE_BUSY {
            return None;
        }
        let turn = self.one.lock().await;
        if self.intake.about() >= INTAKE_BUSY {
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        Some(turn)
    }
}

/// What the worker needs.
#[derive(Clone)]
pub struct InboxWorker {
    /// The database.
    pub store: Store,
    /// The door.
    pub posting: Posting,
    /// Stripe; `None` without an API key.
    pub stripe: Option<Arc<dyn StripeClient>>,
    /// Who may work on an event now.
    pub turns: Turns,
    /// Told when an event was stored.
    pub wake: Arc<Notify>,
    /// Objects paid before it never grant.
    pub cutover_at: Option<Timestamp>,
    /// Do free checkouts grant catalogue packs?
    pub grant_free_checkouts: bool,
    /// Does a price that nobody knows park the event?
    pub park_unknown_prices: bool,
    /// What a merchant decided about money going back.
    pub money_back: MoneyBackPolicy,
    /// Told of every finished round.
    pub beat: Beat,
}

/// How work on one event ended.
enum Step {
    Close(Closed, Option<Why>, Option<AccountId>),
    Park(Why, Option<AccountId>),
    Retry(Why, Option<AccountId>),
}

/// How work on an event ended, not recorded yet.
pub(super) struct HowEnded {
    how: Ended,
    why: Option<StoredWhy>,
    account: Option<AccountId>,
}

impl HowEnded {
    /// To be recorded for this event.
    pub(super) fn of<'a>(&self, event: &'a LeasedEvent) -> Ending<'a> {
        Ending { event, how: self.how, why: self.why.clone(), account: self.account }
    }
}

/// An event that was worked on.
struct Worked {
    event: LeasedEvent,
    ending: HowEnded,
}

impl Worked {
    fn ending(&self) -> Ending<'_> {
        self.ending.of(&self.event)
    }
}

impl InboxWorker {
    /// Works until told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        let (mut last_look, mut look_again_after) = (crate::clock::instant(), WAITING_LOOKED_AT_EVERY);
        while !stop.is_cancelled() {
            if last_look.elapsed() >= look_again_after {
                last_look = crate::clock::instant();
                if let Err(error) = self.store.wake_waiting().await {
                    tracing::warn!(%error, "events that wait for a payment could not be looked at");
                }
                let took = last_look.elapsed().saturating_mul(WAITING_LOOK_SHARE);
                look_again_after = WAITING_LOOKED_AT_EVERY.max(took);
            }
            match self.round().await {
                Ok(0) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep(IDLE) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the inbox could not be read");
                    tokio::select! {
                        () = tokio::time::sleep(IDLE) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// One round: works on what is due, a bounded number at once. Answers how many events were taken.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut leased = Vec::new();
        for _ in 0..LEASE_TRIES {
            let due = self.store.due_events(ROUND).await?;
            if due.is_empty() {
                break;
            }
            leased = self.store.lease_events(&due, LEASE_SECONDS).await?;
            // Another daemon took all of these: there may be more behind them.
            if !leased.is_empty() {
                break;
            }
        }
        let (taken, leased_at) = (leased.len(), crate::clock::instant());
        futures_util::stream::iter(leased)
            .map(|event| async move { self.take(event, leased_at).await })
            .buffer_unordered(CONCURRENCY)
            .filter_map(std::future::ready)
            .ready_chunks(CONCURRENCY)
            .for_each_concurrent(RECORDING, |worked| async move { self.record(&worked).await })
            .await;
        (self.beat)();
        Ok(taken)
    }

    /// Works on an event that was leased then; none: somebody else has it by now.
    async fn take(&self, event: LeasedEvent, leased_at: std::time::Instant) -> Option<Worked> {
        let _turn = self.turns.wait().await;
        // Looked at after the turn came: while others worked one at a time the lease ran on.
        if leased_at.elapsed() >= LEASE_EXTENDED_EVERY {
            match self.store.extend_event_lease(&event, LEASE_SECONDS).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(event.id = %event.id, %error, "an event could not be leased");
                    return None;
                }
            }
        }
        let ending = self.work_under_lease(&event, &mut Tally::default()).await;
        Some(Worked { event, ending })
    }

    /// Records how several events ended, in one commit; where that fails, each alone.
    async fn record(&self, worked: &[Worked]) {
        let endings: Vec<Ending<'_>> = worked.iter().map(Worked::ending).collect();
        let Err(error) = self.store.end_events(&endings).await.map(|ended| warn_of_lost(worked, &ended)) else {
            return;
        };
        if endings.len() > 1 {
            tracing::warn!(%error, events = endings.len(), "outcomes could not be recorded together; recording each alone");
        }
        for ending in endings {
            let id = &ending.event.id;
            if let Err(error) = self.store.end_event(ending.clone()).await {
                // The lease ends by itself and the event is taken again.
                tracing::warn!(event.id = %id, %error, "an event's outcome could not be recorded");
            }
        }
    }

    async fn work_on(&self, event: &LeasedEvent, tally: &mut Tally) -> HowEnded {
        let step = match self.step(event, tally).await {
            Ok(step) => step,
            Err(error) => Step::Retry(Why::new("database", error.to_string()), None),
        };
        match step {
            Step::Close(how, why, account) => {
                crate::meters::STRIPE_EVENTS_WORKED.add(&[how.word()]);
                let reason = why.as_ref().map_or("", |why| why.code);
                tracing::info!(event.id = %event.id, event.kind = %event.event_type, outcome = ?how, reason, "worked on an event");
                HowEnded { how: Ended::Closed(how), why: why.map(stored), account }
            }
            Step::Park(why, account) => later(event, true, why, account),
            Step::Retry(why, account) => later(event, false, why, account),
        }
    }

    /// Works on an event and keeps its lease meanwhile; what it gives is still to be recorded. Who lost the lease finishes
    /// all the same: the door and the fence decide what comes of it.
    pub(super) async fn work_under_lease(&self, event: &LeasedEvent, tally: &mut Tally) -> HowEnded {
        let mut work = std::pin::pin!(self.work_on(event, tally));
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(LEASE_EXTENDED_EVERY) => {
                    match self.store.extend_event_lease(event, LEASE_SECONDS).await {
                        Ok(true) => {}
                        Ok(false) => tracing::warn!(event.id = %event.id, "the lease of an event was lost while it was worked on"),
                        Err(error) => tracing::warn!(event.id = %event.id, %error, "the lease of an event could not be extended"),
                    }
                }
            }
        }
    }

    async fn step(&self, leased: &LeasedEvent, tally: &mut Tally) -> Result<Step, StoreError> {
        let event = match Event::from_slice(&leased.body) {
            Ok(event) => event,
            Err(error) => return Ok(Step::Park(Why::new("unreadable", error.to_string()), None)),
        };
        let mut answers = Answers::new(self.stripe.is_some());
        // What Stripe did not know at the last try is asked again: it may have been the key of another account.
        for input in self.store.inputs(&leased.id).await?.into_iter().filter(|input| input.status == 200) {
            answers.add(input.request, input.status, input.body, input.asked_at);
        }
        let catalog = self.posting.newest_catalog(&self.store).await?;
        for _ in 0..QUESTIONS_MAX {
            match interpret(&event, self.context(&catalog.catalog, &answers)) {
                Interpretation::Act(intents) => return self.act(leased, intents, tally).await,
                Interpretation::Ignore(why) => return Ok(Step::Close(Closed::Ignored, Some(why), None)),
                Interpretation::Park(why) => return Ok(Step::Park(why, None)),
                Interpretation::Ask(questions) => {
                    for question in questions {
                        match self.ask(leased, &question).await? {
                            Ok(input) => answers.add(input.request, input.status, input.body, input.asked_at),
                            Err(why) => return Ok(Step::Retry(why, None)),
                        }
                    }
                }
            }
        }
        Ok(Step::Park(Why::new("too_many_questions", "interpretation keeps asking Stripe"), None))
    }

    /// What interpretation knows besides the event.
    pub(super) const fn context<'a>(&self, catalog: &'a Catalog, answers: &'a Answers) -> Context<'a> {
        Context {
            catalog,
            answers,
            cutover_at: self.cutover_at,
            grant_free_checkouts: self.grant_free_checkouts,
            park_unknown_prices: self.park_unknown_prices,
            money_back: self.money_back,
        }
    }

    /// Asks Stripe one question and keeps the answer beside the event.
    async fn ask(&self, event: &LeasedEvent, question: &Fetch) -> Result<Result<StoredInput, Why>, StoreError> {
        let Some(stripe) = &self.stripe else {
            return Ok(Err(Why::new("no_api_key", "Stripe cannot be asked without STRIPE_SECRET_KEY")));
        };
        let request = question.path();
        let asked = stripe.fetch(question).await;
        crate::meters::STRIPE_QUESTIONS.add(&[how_asked(&asked)]);
        let unread = |answer: &Fetched| wire::check_answer(&answer.body).err();
        let input = match asked {
            // What is kept is read again by every later try.
            Ok(answer)
                if !answer.is_missing()
                    && let Some(error) = unread(&answer) =>
            {
                let detail = format!("Stripe's answer cannot be read: {error}");
                return Ok(Err(Why::new("stripe_unavailable", detail)));
            }
            Ok(answer) => {
                let body = answer.body.to_vec();
                StoredInput { request, status: answer.status, body, asked_at: event.leased_at }
            }
            Err(error @ (StripeError::Refused { .. } | StripeError::TooLarge { .. })) => {
                return Ok(Err(Why::new("stripe_refused", error.to_string())));
            }
            Err(error) => return Ok(Err(Why::new("stripe_unavailable", error.to_string()))),
        };
        self.store.keep_input(&event.id, &input).await?;
        Ok(Ok(input))
    }

    async fn act(&self, event: &LeasedEvent, intents: Vec<Intent>, tally: &mut Tally) -> Result<Step, StoreError> {
        let mut account = None;
        let mut linked = false;
        for intent in intents {
            match resolve::carry_out(&self.store, &self.posting, intent, tally).await {
                Ok(done) => {
                    account = Some(done.account);
                    linked |= done.linked;
                    if !done.paid.is_empty() && self.store.wake_waiting_for(&done.paid).await? > 0 {
                        self.wake.notify_one();
                    }
                }
                Err(Setback::Wait(why, aliases)) => {
                    self.store.wait_for_payment(&event.id, &aliases).await?;
                    return Ok(Step::Close(Closed::Ignored, Some(why), account));
                }
                Err(Setback::Ignore(why, of)) => return Ok(Step::Close(Closed::Ignored, Some(why), of.or(account))),
                Err(Setback::Park(why)) => return Ok(Step::Park(why, account)),
                Err(Setback::Retry(why)) => return Ok(Step::Retry(why, account)),
                Err(Setback::Store(error)) => return Err(error),
            }
        }
        if linked {
            // Linking woke what waited for it.
            self.wake.notify_one();
        }
        Ok(Step::Close(Closed::Processed, None, account))
    }
}

/// The lease of an event whose outcome could not be recorded was lost; it is worked on again by who has it now.
fn warn_of_lost(worked: &[Worked], ended: &[String]) {
    for lost in worked.iter().filter(|worked| !ended.contains(&worked.event.id)) {
        tracing::warn!(event.id = %lost.event.id, "an event's outcome is not recorded: its lease was lost");
    }
}

/// An event that has to wait: parked, to be tried again, or, after too many tries, given up.
fn later(event: &LeasedEvent, parked: bool, why: Why, account: Option<AccountId>) -> HowEnded {
    if !parked && event.attempts >= ATTEMPTS_MAX {
        crate::meters::STRIPE_EVENTS_WORKED.add(&[Closed::Dead.word()]);
        tracing::error!(event.id = %event.id, event.kind = %event.event_type, reason = why.code, detail = %why.detail,
            "an event was given up: mend the cause, then creditd replay");
        return HowEnded { how: Ended::Closed(Closed::Dead), why: Some(stored(why)), account };
    }
    crate::meters::STRIPE_EVENTS_WORKED.add(&[if parked { "parked" } else { "retry" }]);
    let place = usize::try_from(event.attempts.saturating_sub(1)).unwrap_or(0).min(DELAYS.len() - 1);
    let seconds = DELAYS[place];
    let how = if parked { Ended::Parked(seconds) } else { Ended::Retry(seconds) };
    let state = how.word();
    if event.state == state && event.reason.as_deref() == Some(why.code) {
        tracing::debug!(event.id = %event.id, state, reason = why.code, retry_in_seconds = seconds, "an event still has to wait");
    } else {
        tracing::info!(event.id = %event.id, event.kind = %event.event_type, state, reason = why.code,
            detail = %why.detail, retry_in_seconds = seconds, "an event has to wait");
    }
    HowEnded { how, why: Some(stored(why)), account }
}

/// How Stripe took a question, as a metric's word.
const fn how_asked<T>(asked: &Result<T, StripeError>) -> &'static str {
    match asked {
        Ok(_) => "answered",
        Err(StripeError::Unauthorized { .. } | StripeError::Refused { .. } | StripeError::TooLarge { .. }) => "refused",
        Err(StripeError::RateLimited { .. } | StripeError::Unavailable { .. }) => "unavailable",
    }
}

/// No column holds a NUL, and words about what Stripe sent may quote one.
fn stored(why: Why) -> StoredWhy {
    let detail = if why.detail.contains('\0') { why.detail.replace('\0', "\u{fffd}") } else { why.detail };
    StoredWhy { reason: why.code.to_owned(), detail }
}
