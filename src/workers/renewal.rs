//! Books what time made due on accounts that nobody asks for: renewals by the clock and expiries.
//!
//! Checks and tracks never wait for this worker (law 7): what is due is decided from the times alone, lazily, under the
//! account's lock. The worker brings the ledger after, so that books, exports and alerts see it too.
//!
//! Any number of daemons may run it. Each bucket of accounts is leased, so that they share the work; and each thing
//! happens once, lease or not, because only the door books, under the lock, by keys of its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Beat;
use crate::domain::command::Command;
use crate::domain::ids::AccountId;
use crate::posting::{PostError, Posting};
use crate::store::leases::Lease;
use crate::store::{Store, StoreError};

/// Wait between rounds when nothing wakes the worker: how late the books may be, not the balances.
const IDLE: Duration = Duration::from_secs(2);
/// A holder extends its lease with every page, so it need only outlive one page and a slow database.
const LEASE_SECONDS: i32 = 30;
/// Accounts read at once.
const PAGE: i64 = 256;
/// Pages of one bucket before others get their turn.
const PAGES: usize = 40;
/// Accounts booked at once; the door gathers them into batches.
const CONCURRENCY: usize = 64;
/// Seconds before an account is tried again that could not be booked, because terms of a plan are gone or the like.
const RETRY_SECONDS: i64 = 300;

/// What the worker needs.
#[derive(Clone)]
pub struct RenewalWorker {
    /// The database.
    pub store: Store,
    /// The door.
    pub posting: Posting,
    /// Told when time was moved.
    pub wake: Arc<Notify>,
    /// Told of every finished round.
    pub beat: Beat,
}

impl RenewalWorker {
    /// Works until told to stop; what is under way is finished.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let idle = match self.round().await {
                Ok(booked) => booked == 0,
                Err(error) => {
                    tracing::warn!(%error, "what is due could not be read");
                    true
                }
            };
            if idle {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep(IDLE) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// One round over all buckets that have something due and that no other daemon has. Answers how many accounts were
    /// booked.
    pub async fn round(&self) -> Result<usize, StoreError> {
        let mut booked = 0;
        for (bucket, due) in self.store.due_buckets().await? {
            let Some(lease) = self.store.take_lease(&format!("renewal:{bucket}"), LEASE_SECONDS).await? else {
                continue;
            };
            tracing::debug!(bucket, fence = lease.fence(), %due, "booking what is due");
            let done = self.bucket(bucket, &lease).await;
            self.store.release_lease(&lease).await?;
            booked += done?;
            (self.beat)();
        }
        (self.beat)();
        Ok(booked)
    }

    async fn bucket(&self, bucket: i16, lease: &Lease) -> Result<usize, StoreError> {
        let mut booked = 0;
        for _ in 0..PAGES {
            let due = self.store.due_accounts(bucket, PAGE).await?;
            let last = i64::try_from(due.len()).unwrap_or(PAGE) < PAGE;
            let page =
                futures_util::stream::iter(due).map(|account| self.settle(account)).buffer_unordered(CONCURRENCY);
            booked += page.filter(|done| std::future::ready(*done)).count().await;
            if last || !self.store.extend_lease(lease, LEASE_SECONDS).await? {
                break;
            }
        }
        Ok(booked)
    }

    async fn settle(&self, account: AccountId) -> bool {
        match self.posting.post(account, None, Command::Settle).await {
            Ok(_) => true,
            // Everything waits: the next round comes back to it.
            Err(PostError::Busy(_) | PostError::Store(_)) => false,
            Err(error @ (PostError::Rejected(_) | PostError::UnknownAccount(_))) => {
                tracing::error!(account.id = %account, %error, retry_in_seconds = RETRY_SECONDS,
                    "what is due on an account cannot be booked");
                if let Err(error) = self.store.delay_account_work(account, RETRY_SECONDS).await {
                    tracing::warn!(account.id = %account, %error, "the account's next try could not be set");
                }
                false
            }
        }
    }
}
