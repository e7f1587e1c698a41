//! Charges what the door decided, invoices overage, looks at rules again, and gives back what came too much.
//!
//! Any number of daemons may run it: each thing due is leased, and what was sent before is sent again byte by byte.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Beat;
use crate::charging::{After, ChargeError, Charger, LEASE_SECONDS};
use crate::posting::PostError;
use crate::store::charge_work::{LeasedWork, WorkKind};
use crate::store::{Store, StoreError};
use crate::stripe::client::StripeError;

/// Wait between rounds when nothing wakes the worker.
const IDLE: Duration = Duration::from_secs(1);
/// Things taken together.
const ROUND: i64 = 32;
/// Seconds before something is tried again whose fault goes by itself, and one that needs a person.
const AGAIN_SECONDS: i64 = 2;
const STUCK_SECONDS: i64 = 600;
/// The same after an answer of Stripe's that cannot be read: whatever stands in between seldom mends at once.
const UNREADABLE_SECONDS: i64 = 60;
/// Longest that Stripe may ask us to wait before a question.
const ASKED_SECONDS_MAX: i64 = 3_600;
/// What waits for the charger, in queues that do not wait for one another: a bill takes a hundred requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Top-ups, looks at rules, refunds and cards.
    Charges,
    /// Bills of overage.
    Bills,
}

impl Queue {
    const fn kinds(self) -> &'static [WorkKind] {
        match self {
            Self::Charges => &[WorkKind::TopUp, WorkKind::Look, WorkKind::Refund, WorkKind::Card],
            Self::Bills => &[WorkKind::Bill],
        }
    }

    /// Things worked on at once: calls to Stripe are waited for, and its limit is 100 a second.
    const fn at_once(self) -> usize {
        match self {
            Self::Charges => 16,
            Self::Bills => 4,
        }
    }
}

/// What the worker needs.
#[derive(Clone)]
pub struct TopUpWorker {
    /// What it works on.
    pub queue: Queue,
    /// The database.
    pub store: Store,
    /// Who charges.
    pub charger: Charger,
    /// Told when the door decided something, or time was moved.
    pub wake: Arc<Notify>,
    /// Told of every finished round.
    pub beat: Beat,
}

impl TopUpWorker {
    /// Works until told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.round().await {
                Ok(0) => Some(IDLE),
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "what is to be charged could not be read");
                    Some(IDLE)
                }
            };
            if let Some(wait) = wait {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// One round: works on what is due, a bounded number at once. Answers how much was taken.
    pub async fn round(&self) -> Result<usize, ChargeError> {
        let most = self.charger.allows(ROUND).await?;
        if most == 0 {
            (self.beat)();
            return Ok(0);
        }
        let due = self.store.due_charge_work(self.queue.kinds(), most).await?;
        let since = crate::clock::instant();
        let leased = self.store.lease_charge_work(&due, LEASE_SECONDS).await?;
        let taken = leased.len();
        futures_util::stream::iter(leased)
            .for_each_concurrent(self.queue.at_once(), |work| async move {
                self.one(work, since).await;
                (self.beat)();
            })
            .await;
        (self.beat)();
        Ok(taken)
    }

    async fn one(&self, mut work: LeasedWork, since: std::time::Instant) {
        let ended = self.charger.work(&mut work, since).await;
        let work = &work;
        let ended = match ended {
            Ok(After::Done) => self.store.done_charge_work(work).await,
            Ok(After::AsIs) => self.store.release_charge_work(work).await,
            Ok(After::Later(seconds)) => self.store.put_off_charge_work(work, seconds).await,
            // As after a crash: the lease ends by itself.
            Err(ChargeError::LostLease | ChargeError::Stopped(_)) => Ok(()),
            Err(error) => self.failed(work, &error).await,
        };
        if let Err(error) = ended {
            tracing::warn!(account.id = %work.key.account, %error, "how the charger's work ended could not be written down");
        }
    }

    async fn failed(&self, work: &LeasedWork, error: &ChargeError) -> Result<(), StoreError> {
        let (account, kind) = (work.key.account, work.key.kind.word());
        if error.needs_a_person() {
            crate::meters::CHARGER_OUTCOMES.add(&["stuck"]);
            tracing::error!(account.id = %account, kind, owner = %work.key.owner, %error, retry_in_seconds = STUCK_SECONDS,
                "the charger cannot go on with something");
            return self.store.put_off_charge_work(work, STUCK_SECONDS).await;
        }
        if matches!(error, ChargeError::Unreadable(_)) {
            crate::meters::CHARGER_OUTCOMES.add(&["unknown"]);
        }
        tracing::warn!(account.id = %account, kind, owner = %work.key.owner, %error, "the charger's work is put off");
        self.store.put_off_charge_work(work, again_after(error)).await
    }
}

/// Seconds until something is tried again whose fault goes by itself: as many as Stripe asks for, if it does.
fn again_after(error: &ChargeError) -> i64 {
    match error {
        ChargeError::Post(PostError::Busy(_)) => 1,
        ChargeError::Stripe(StripeError::RateLimited { retry_after: Some(asked) }) => {
            i64::try_from(asked.as_secs()).unwrap_or(ASKED_SECONDS_MAX).clamp(AGAIN_SECONDS, ASKED_SECONDS_MAX)
        }
        ChargeError::Unreadable(_) => UNREADABLE_SECONDS,
        ChargeError::Store(_)
        | ChargeError::Post(_)
        | ChargeError::Stripe(_)
        | ChargeError::Write(_)
        | ChargeError::Id(_)
        | ChargeError::Broken(_)
        | ChargeError::Conflict(_)
        | ChargeError::LostLease
        | ChargeError::Stopped(_) => AGAIN_SECONDS,
    }
}
