//! Makes the bills of overage by month.
//!
//! Bills for drafts of subscriptions are made by the inbox, when Stripe tells of the draft. Those of customers without one
//! are made here, once a month. Either is a row before anything is asked of Stripe, and work in the charger's queue, which
//! takes it to an invoice.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Beat;
use crate::charging::{ChargeError, Charger};
use crate::domain::command::{Command, Outcome};
use crate::domain::overage_bill::{BillOrder, BillOverage};
use crate::posting::Posting;
use crate::store::Store;
use crate::store::overage_bills::DueOwnBill;
use crate::stripe::client::StripeId;

/// How often customers are looked for who are billed by the month.
const EVERY: Duration = Duration::from_mins(1);
/// Two daemons would only ask Stripe the same questions: each customer is billed once for a month.
const LEASE: &str = "overage:months";
const LEASE_SECONDS: i32 = 120;
/// Customers who are billed by the month, read at once.
const PAGE: i64 = 100;
/// Pages of them before others get their turn.
const PAGES: usize = 100;
/// Customers that Stripe is asked about at once: far below its limits.
const CONCURRENCY: usize = 4;
/// Stripe customers of one account that are looked at; more than one comes of a customer deleted in Stripe.
const LINKS_MAX: usize = 5;

/// What the worker needs.
#[derive(Clone)]
pub struct OverageWorker {
    /// The database.
    pub store: Store,
    /// The door.
    pub posting: Posting,
    /// Who asks Stripe; `None` without an API key: then bills wait.
    pub charger: Option<Charger>,
    /// Told when time was moved.
    pub wake: Arc<Notify>,
    /// Told of every finished round.
    pub beat: Beat,
}

impl OverageWorker {
    /// Works until told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "overage could not be billed by the month");
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One round: makes bills of the months before this one, for customers whom no draft of a subscription's will bill soon.
    pub async fn round(&self) -> Result<(), ChargeError> {
        (self.beat)();
        let Some(charger) = &self.charger else { return Ok(()) };
        let Some(lease) = self.store.take_lease(LEASE, LEASE_SECONDS).await? else { return Ok(()) };
        let mut last: Option<DueOwnBill> = None;
        for _ in 0..PAGES {
            if charger.allows(1).await? == 0 {
                break;
            }
            let due = self.store.due_own_bills(last.as_ref(), PAGE).await?;
            let is_last = i64::try_from(due.len()).unwrap_or(PAGE) < PAGE;
            last = due.last().cloned();
            futures_util::stream::iter(due)
                .for_each_concurrent(CONCURRENCY, |due| async move {
                    if let Err(error) = self.make_one(charger, &due).await {
                        tracing::warn!(account.id = %due.account, %error, "a month's overage could not be billed");
                    }
                })
                .await;
            (self.beat)();
            if is_last || !self.store.extend_lease(&lease, LEASE_SECONDS).await? {
                break;
            }
        }
        Ok(self.store.release_lease(&lease).await?)
    }

    async fn make_one(&self, charger: &Charger, due: &DueOwnBill) -> Result<(), ChargeError> {
        let Some(profile) = self.store.profile(due.account).await? else { return Ok(()) };
        for linked in profile.stripe_customers.iter().take(LINKS_MAX) {
            let Ok(id) = StripeId::new(linked) else { continue };
            if charger.living_customer(&id).await?.is_none() {
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
}
