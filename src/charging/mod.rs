//! Charging: what a decision to take money becomes at Stripe.
//!
//! # Flow
//! The door decides a top-up and puts it into the queue (`charge_work`). [`Charger::work`] takes what a worker leased and
//! moves it on, step by step, until nothing more can be done now:
//!
//! ```text
//! begin    who pays, with which card           -> BeginTry: the try and its request are committed
//! charge   send those bytes, judge the answer  -> Paid | TryEnded; unknown: the same bytes again, later ([`reconcile`]
//!          when Stripe may have forgotten their key)
//! link     end what could still take money, open a page for the card's owner -> Linked
//! close    end the page, and what could still take money -> Closed
//! refund   what came too much goes back
//! bill     overage goes on a subscription's draft, or on an invoice of its own
//! card     a saved card becomes its customer's default
//! ```
//!
//! # Always true
//! - Each request is a committed row before it is sent, and is sent again byte by byte under its key.
//! - No transaction is open during a call; who lost the lease sends nothing.
//! - An outcome that is not known is no failure. A new try comes only by the door, after a definite one.
//! - What Stripe answers is held against the decision (amount, currency, customer, mode) before anything is granted.

mod begin;
mod bill;
mod cards;
mod charge;
mod circuit;
mod error;
mod invoice;
mod judge;
mod link;
mod reconcile;
mod refund;
mod settle;
mod steps;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::error::ChargeError;
use crate::domain::command::{Charging, ChargingRefusal, Command, Rejection};
use crate::domain::ids::{AccountId, BillId, PaymentId, TopUpId};
use crate::domain::top_up::settings::ChargerSettings;
use crate::domain::top_up::{TopUp, TopUpState};
use crate::posting::{PostError, Posting};
use crate::store::Store;
use crate::store::charge_work::{LeasedWork, WorkKind};
use crate::stripe::client::{Fetch, Fetched, StripeClient, StripeError, StripeId};
use crate::stripe::wire::{self, RawList};

/// Moves of one top-up in a row: an invoice's way with its link has a dozen.
const MOVES_MAX: usize = 16;
/// Seconds for which a worker has something for itself: more than one call to Stripe takes at most.
pub const LEASE_SECONDS: i32 = 180;
/// A lease this young need not be looked at before something is sent.
const LEASE_YOUNG: Duration = Duration::from_secs(20);

/// What is to become of a row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing is left to be done.
    Done,
    /// The door has set its time.
    AsIs,
    /// It is to be looked at in so many seconds.
    Later(i64),
}

/// Where a test stops the work, as a crash would: the name of a step, and whether it was done.
pub type Breaks = Arc<dyn Fn(&'static str, bool) -> bool + Send + Sync>;

/// Who charges. Cheap to clone.
#[derive(Clone)]
pub struct Charger {
    store: Store,
    posting: Posting,
    stripe: Arc<dyn StripeClient>,
    settings: ChargerSettings,
    livemode: bool,
    breaks: Option<Breaks>,
    /// Did a call fail, so that one that does not closes the circuit?
    failing: Arc<AtomicBool>,
}

impl std::fmt::Debug for Charger {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Charger")
    }
}

/// What a worker holds the lease of.
#[derive(Clone, Copy)]
struct Held<'a> {
    work: &'a LeasedWork,
    since: Instant,
}

impl Held<'_> {
    const fn account(&self) -> AccountId {
        self.work.key.account
    }
}

/// How a move went.
enum Move {
    /// There may be another one.
    On,
    /// That is all for now.
    Rest(After),
}

impl Charger {
    /// A charger of this Stripe and mode.
    pub fn new(
        store: Store,
        posting: Posting,
        stripe: Arc<dyn StripeClient>,
        settings: ChargerSettings,
        livemode: bool,
    ) -> Self {
        let failing = Arc::new(AtomicBool::new(true));
        Self { store, posting, stripe, settings, livemode, breaks: None, failing }
    }

    /// The same, stopped by a test.
    #[must_use]
    pub fn with_breaks(self, breaks: Breaks) -> Self {
        Self { breaks: Some(breaks), ..self }
    }

    /// Does what is due of a leased row, which then knows the time that was last read of it.
    pub async fn work(&self, work: &mut LeasedWork, since: Instant) -> Result<After, ChargeError> {
        let kind = work.key.kind;
        let held = Held { work, since };
        match kind {
            WorkKind::TopUp => self.top_up(work, since).await,
            WorkKind::Look => {
                self.edge("look", self.post(held.account(), Charging::Look)).await?;
                Ok(After::Done)
            }
            WorkKind::Refund => self.refund(held, PaymentId::from_uuid(work.key.owner)).await,
            WorkKind::Bill => self.bill(held, BillId::from_uuid(work.key.owner)).await,
            WorkKind::Card => self.set_default(held).await,
        }
    }

    async fn top_up(&self, work: &mut LeasedWork, since: Instant) -> Result<After, ChargeError> {
        let (account, id) = (work.key.account, TopUpId::from_uuid(work.key.owner));
        let mut known: Option<TopUp> = None;
        for _ in 0..MOVES_MAX {
            let found = self.edge("read", async { Ok(self.store.top_up_to_do(account, id).await?) }).await?;
            let Some((top_up, now)) = found else { return Ok(After::Done) };
            // A time that the door set because of our own words is no reason to come back at once.
            if known.is_some_and(|known| known.due_at != top_up.due_at) {
                work.is_due_since(top_up.due_at);
            }
            known = Some(top_up.clone());
            let held = Held { work, since };
            let moved = match top_up.state {
                TopUpState::Open if top_up.due_at.is_some_and(|due| due > now) => Move::Rest(After::AsIs),
                TopUpState::Open => self.begin(held, &top_up).await?,
                TopUpState::Charging | TopUpState::Processing => self.charge(held, &top_up).await?,
                TopUpState::NeedsAction => self.link(held, &top_up, now).await?,
                TopUpState::Closing => self.close(held, &top_up).await?,
                TopUpState::Succeeded | TopUpState::Failed | TopUpState::Dropped => Move::Rest(After::Done),
            };
            if let Move::Rest(after) = moved {
                return Ok(after);
            }
        }
        Ok(After::Later(1))
    }

    /// One step at an edge, at which a test may stop the work before or after it was done.
    async fn edge<T>(
        &self,
        name: &'static str,
        step: impl Future<Output = Result<T, ChargeError>>,
    ) -> Result<T, ChargeError> {
        let stops = |done| self.breaks.as_ref().is_some_and(|breaks| breaks(name, done));
        if stops(false) {
            return Err(ChargeError::Stopped(name));
        }
        let done = step.await?;
        if stops(true) { Err(ChargeError::Stopped(name)) } else { Ok(done) }
    }

    /// Posts what is said of a top-up; that it has moved on meanwhile is no fault.
    async fn post(&self, account: AccountId, charging: Charging) -> Result<(), ChargeError> {
        match self.posting.post(account, None, Command::Charging(charging)).await {
            Ok(_) | Err(PostError::Rejected(Rejection::Charging(ChargingRefusal::MovedOn(_)))) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks Stripe for an object; `None`: it does not know it.
    async fn ask(&self, what: &Fetch) -> Result<Option<Value>, ChargeError> {
        let answer = self.fetch(what).await?;
        if answer.is_missing() {
            return Ok(None);
        }
        Ok(Some(wire::parse_object(&answer.body)?))
    }

    /// Asks for an object of ours, which Stripe has to know.
    async fn ask_known(&self, what: &Fetch) -> Result<Value, ChargeError> {
        self.ask(what).await?.ok_or(ChargeError::Broken("Stripe does not know an object of ours"))
    }

    /// A customer of Stripe's; `None`: it is not there any more.
    pub async fn living_customer(&self, id: &StripeId) -> Result<Option<Value>, ChargeError> {
        let found = self.ask(&Fetch::Customer { id: id.clone() }).await?;
        Ok(found.filter(|found| found["deleted"] != true))
    }

    /// Asks for a page of a list. One that cannot be read is an error, never an empty list: what is looked for would be
    /// taken for not there, and done a second time.
    async fn ask_list(&self, what: &Fetch) -> Result<RawList, ChargeError> {
        let answer = self.fetch(what).await?;
        if answer.is_missing() {
            return Err(ChargeError::Broken("Stripe does not know what a list is of"));
        }
        Ok(RawList::from_slice(&answer.body)?)
    }

    async fn fetch(&self, what: &Fetch) -> Result<Fetched, ChargeError> {
        match self.stripe.fetch(what).await {
            Ok(answer) => {
                self.worked().await?;
                Ok(answer)
            }
            Err(error) => Err(self.failed_to_ask(error).await),
        }
    }

    async fn failed_to_ask(&self, error: StripeError) -> ChargeError {
        match &error {
            StripeError::Unauthorized { status } if *status == steps::FORBIDDEN => {
                tracing::error!("the API key may not read what the charger asks for");
            }
            StripeError::Unauthorized { .. } => self.failed(circuit::UNAUTHORIZED, true).await,
            StripeError::Unavailable { .. } => self.failed("unavailable", false).await,
            StripeError::RateLimited { .. } | StripeError::Refused { .. } | StripeError::TooLarge { .. } => {}
        }
        error.into()
    }
}
