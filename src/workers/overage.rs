//! Invoices overage: puts what bills freeze on a subscription's draft, or on an invoice of its own.
//!
//! # Flow
//! Bills for drafts are made by the inbox, when Stripe tells of the draft. Those of customers without one are made here,
//! once a month (`OverageWorker::make_own`). Either is a row before anything is asked of Stripe, and work in the
//! charger's queue; `OverageWorker::work` leases it and takes it request by request to an invoice (`steps`). That the
//! invoice is paid, void or gone comes back as a webhook.
//!
//! # Always true
//! No request is sent that a committed row does not hold under its key; none is sent inside a transaction, nor for a bill
//! that is not open any more. A request whose outcome stays unknown longer than Stripe remembers its key is looked for
//! among Stripe's objects before it is sent again, so that no item is made twice.

mod steps;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Beat;
use crate::domain::command::{Command, Outcome};
use crate::domain::ids::BillId;
use crate::domain::overage_bill::{BillOrder, BillOverage};
use crate::posting::{PostError, Posting};
use crate::store::charge_work::{LeasedWork, WorkKind};
use crate::store::overage_bills::DueOwnBill;
use crate::store::{Store, StoreError};
use crate::stripe::client::{Fetch, StripeClient, StripeError, StripeId};
use crate::stripe::wire::{self, WireError};

/// Wait between looks at what is due when nothing wakes the worker; a draft takes items for about an hour.
const IDLE: Duration = Duration::from_secs(2);
/// How often customers are looked for who are billed by the month.
const MONTHS_LOOKED_AT_EVERY: Duration = Duration::from_mins(1);
/// A holder extends its lease before every request, so it need only outlive one request and its repeats.
const LEASE_SECONDS: i32 = 120;
/// Bills taken together.
const ROUND: i64 = 32;
/// Rounds before the months are looked at again.
const ROUNDS_MAX: usize = 100;
/// Customers who are billed by the month, read at once.
const PAGE: i64 = 100;
/// Pages of them before others get their turn.
const PAGES: usize = 100;
/// Bills worked on at once, a request to Stripe each: far below its limits.
const CONCURRENCY: usize = 4;
/// Stripe customers of one account that are looked at; more than one comes of a customer deleted in Stripe.
const LINKS_MAX: usize = 5;
/// Seconds before work is tried again that failed for a reason of ours.
const RETRY_SECONDS: i64 = 60;

/// What the worker needs.
#[derive(Clone)]
pub struct OverageWorker {
    /// The database.
    pub store: Store,
    /// The door.
    pub posting: Posting,
    /// Stripe; `None` without an API key: then bills wait.
    pub stripe: Option<Arc<dyn StripeClient>>,
    /// Told when time was moved.
    pub wake: Arc<Notify>,
    /// Told of every finished round.
    pub beat: Beat,
}

/// What becomes of a bill's work.
enum Next {
    /// Nothing is left to do.
    Done,
    /// It is looked at again in so many seconds.
    Later(i64),
}

/// Why work on a bill stopped.
#[derive(Debug, thiserror::Error)]
enum Setback {
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The door.
    #[error("{0}")]
    Post(#[from] PostError),
    /// Stripe could not be asked.
    #[error("{0}")]
    Stripe(#[from] StripeError),
    /// An answer of Stripe's that cannot be read.
    #[error("Stripe's answer cannot be read: {0}")]
    Unreadable(#[from] WireError),
    /// Stripe's answer is not what it has to be.
    #[error("{0}")]
    Broken(&'static str),
}

impl OverageWorker {
    /// Works until told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        let mut looked_at: Option<std::time::Instant> = None;
        while !stop.is_cancelled() {
            if looked_at.is_none_or(|at| at.elapsed() >= MONTHS_LOOKED_AT_EVERY) {
                looked_at = Some(crate::clock::instant());
                if let Err(error) = self.make_own().await {
                    tracing::warn!(%error, "overage could not be billed by the month");
                }
            }
            let idle = match self.work().await {
                Ok(taken) => taken == 0,
                Err(error) => {
                    tracing::warn!(%error, "bills of overage could not be read");
                    true
                }
            };
            if idle {
                tokio::select! {
                    () = self.wake.notified() => looked_at = None,
                    () = tokio::time::sleep(IDLE) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// One round: makes the month's bills that are missing and works on all bills that are due. Answers how often a bill
    /// was worked on.
    pub async fn round(&self) -> Result<usize, StoreError> {
        if let Err(error) = self.make_own().await {
            tracing::warn!(%error, "overage could not be billed by the month");
        }
        let mut worked = 0;
        for _ in 0..ROUNDS_MAX {
            let taken = self.work().await?;
            worked += taken;
            if taken == 0 {
                break;
            }
        }
        Ok(worked)
    }

    /// Makes bills of the months before this one, for customers whom no draft of a subscription's will bill soon.
    async fn make_own(&self) -> Result<(), StoreError> {
        let Some(stripe) = &self.stripe else { return Ok(()) };
        // Two daemons would only ask Stripe the same questions: each customer is billed once for a month.
        let Some(lease) = self.store.take_lease("overage:months", LEASE_SECONDS).await? else { return Ok(()) };
        let mut last: Option<DueOwnBill> = None;
        for _ in 0..PAGES {
            let due = self.store.due_own_bills(last.as_ref(), PAGE).await?;
            let is_last = i64::try_from(due.len()).unwrap_or(PAGE) < PAGE;
            last = due.last().cloned();
            futures_util::stream::iter(due)
                .for_each_concurrent(CONCURRENCY, |due| async move {
                    if let Err(error) = self.make_one(stripe.as_ref(), &due).await {
                        tracing::warn!(account.id = %due.account, %error, "a month's overage could not be billed");
                    }
                })
                .await;
            (self.beat)();
            if is_last || !self.store.extend_lease(&lease, LEASE_SECONDS).await? {
                break;
            }
        }
        self.store.release_lease(&lease).await
    }

    async fn make_one(&self, stripe: &dyn StripeClient, due: &DueOwnBill) -> Result<(), Setback> {
        let Some(profile) = self.store.profile(due.account).await? else { return Ok(()) };
        for linked in profile.stripe_customers.iter().take(LINKS_MAX) {
            let Ok(id) = StripeId::new(linked) else { continue };
            let answer = stripe.fetch(&Fetch::Customer { id }).await?;
            if answer.is_missing() || wire::parse_object(&answer.body)?["deleted"] == Value::Bool(true) {
                continue;
            }
            let order = BillOverage {
                currency: due.currency,
                period_end: due.period_end,
                stripe_customer: linked.clone(),
                draft_invoice: None,
            };
            let decision = self.posting.post(due.account, None, Command::Bill(BillOrder::Make(order))).await?;
            if let Outcome::Billed { bill: Some(bill) } = decision.outcome() {
                tracing::info!(account.id = %due.account, bill.id = %bill, period_end = %due.period_end,
                    "overage is billed by an invoice of its own");
            }
            return Ok(());
        }
        tracing::debug!(account.id = %due.account, "overage waits for a customer of Stripe's");
        Ok(())
    }

    /// Works on bills that are due and that no other daemon has. Answers how many there were.
    async fn work(&self) -> Result<usize, StoreError> {
        (self.beat)();
        let Some(stripe) = &self.stripe else { return Ok(0) };
        let due = self.store.due_charge_work(&[WorkKind::Bill], ROUND).await?;
        let leased = self.store.lease_charge_work(&due, LEASE_SECONDS).await?;
        let taken = leased.len();
        futures_util::stream::iter(leased)
            .for_each_concurrent(CONCURRENCY, |work| async move { self.work_on(stripe.as_ref(), &work).await })
            .await;
        (self.beat)();
        Ok(taken)
    }

    async fn work_on(&self, stripe: &dyn StripeClient, work: &LeasedWork) {
        let (account, bill) = (work.key.account, BillId::from_uuid(work.key.owner));
        let next = match self.take(stripe, work).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(account.id = %account, bill.id = %bill, %error, retry_in_seconds = RETRY_SECONDS,
                    "a bill of overage could not be worked on");
                Next::Later(RETRY_SECONDS)
            }
        };
        let recorded = match next {
            Next::Done => self.store.done_charge_work(work).await,
            Next::Later(seconds) => self.store.put_off_charge_work(work, seconds).await,
        };
        if let Err(error) = recorded {
            // The lease ends by itself and the bill is taken again.
            tracing::warn!(account.id = %account, bill.id = %bill, %error, "a bill's next look could not be set");
        }
    }
}
