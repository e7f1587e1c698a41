//! The only door to the ledger.
//!
//! # Flow
//! [`Posting::post`] queues a command; a lane takes whatever is queued (at most [`lanes::BATCH_MAX`]) and runs it as ONE
//! transaction ([`batch`]): lock the accounts in id order; read time, catalogue head, used keys and states in a second
//! statement, whose snapshot is newer than the lock; decide each command in memory, in arrival order; write once per
//! table; commit; answer. When little is queued a command skips the queue and runs on a connection of its own
//! ([`lanes`]). [`Posting::read`] answers checks from a micro-batched read and writes nothing ([`reader`]).
//!
//! # Always true
//! Nothing else writes entries or changes a grant. All work runs in threads and tasks of this room: a caller that goes
//! away cancels nothing, and work that panics is begun again for those that come next. A bad command never fails its
//! neighbours: rejections are decided before anything is written, and when the database refuses a batch it is run again
//! command by command. Postgres is the only authority, so any number of daemons is correct. A command for a new account
//! opens it first.

pub mod batch;
pub mod lanes;
mod measure;
pub mod reader;
mod thread;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgConnection;
use tokio::sync::Notify;

use crate::domain::account::{AccountState, IdSource};
use crate::domain::catalog::CatalogVersion;
use crate::domain::command::{Command, Decision, IdempotencyKey, Rejection};
use crate::domain::ids::AccountId;
use crate::store::{Store, StoreError};

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PostError {
    /// It was refused; nothing was written.
    #[error("{0}")]
    Rejected(#[from] Rejection),
    /// No such account.
    #[error("account {0} does not exist")]
    UnknownAccount(AccountId),
    /// Too much is queued; try again after this long.
    #[error("too much is queued; try again in {} ms", .0.as_millis())]
    Busy(Duration),
    /// The database could not answer; with the same key the command may be sent again.
    #[error("{0}")]
    Store(Arc<StoreError>),
}

impl From<StoreError> for PostError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// An account as a check sees it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The state, with everything due booked in memory.
    pub state: AccountState,
    /// The catalogue it was read under.
    pub catalog: Arc<CatalogVersion>,
    /// Ledger time of the reading.
    pub now: Timestamp,
}

/// Random ids for new rows.
#[derive(Debug, Default)]
pub struct FreshIds;

impl IdSource for FreshIds {
    fn fresh(&mut self) -> uuid::Uuid {
        crate::clock::fresh_uuid()
    }
}

/// The newest catalogue this process has seen; the database's head decides whether it is read anew.
#[derive(Clone, Debug, Default)]
pub struct CatalogCache(Arc<RwLock<Arc<CatalogVersion>>>);

impl CatalogCache {
    /// What was last seen.
    pub fn seen(&self) -> Arc<CatalogVersion> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The catalogue of that version, read anew when it is not the one last seen.
    pub(crate) async fn at(
        &self,
        connection: &mut PgConnection,
        version: i32,
    ) -> Result<Arc<CatalogVersion>, StoreError> {
        let seen = self.seen();
        if seen.version == version {
            return Ok(seen);
        }
        let read = Arc::new(crate::store::catalog::read(connection).await?);
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = read.clone();
        Ok(read)
    }
}

/// What every transaction of the door knows and tells.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The newest catalogue seen.
    pub catalog: CatalogCache,
    /// Woken when something is to be done by the charger: it need not wait for its next look.
    pub charger: Arc<Notify>,
}

/// The door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Posting {
    lanes: lanes::Lanes,
    readers: reader::Readers,
    shared: Shared,
}

impl Posting {
    /// Opens the door on a database.
    pub fn start(store: &Store) -> Self {
        let shared = Shared::default();
        let readers = reader::Readers::start(store, &shared.catalog);
        Self { lanes: lanes::Lanes::start(store, &shared), readers, shared }
    }

    /// Carries out one command, exactly once per key or natural key, whatever the caller does meanwhile.
    pub async fn post(
        &self,
        account: AccountId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Decision, PostError> {
        let measured = measure::Posted::begin(&command);
        measured.end(self.lanes.post(account, key, command).await)
    }

    /// Reads one account as it stands now, for an answer that writes nothing.
    pub async fn read(&self, account: AccountId) -> Result<Reading, PostError> {
        measure::read(self.readers.read(account, false)).await
    }

    /// The same with wallets and attachments too.
    pub async fn read_complete(&self, account: AccountId) -> Result<Reading, PostError> {
        measure::read(self.readers.read(account, true)).await
    }

    /// The catalogue in force, read anew when it has changed.
    pub async fn newest_catalog(&self, store: &Store) -> Result<Arc<CatalogVersion>, StoreError> {
        let mut connection = store.lane_connection().await?;
        let version = crate::store::catalog::version(&mut connection).await?;
        self.shared.catalog.at(&mut connection, version).await
    }

    /// The newest catalogue this process has seen.
    pub fn catalog(&self) -> Arc<CatalogVersion> {
        self.shared.catalog.seen()
    }

    /// What wakes the charger.
    pub fn charger(&self) -> Arc<Notify> {
        self.shared.charger.clone()
    }

    /// Stops taking commands, finishes what is queued, and lets go of the connections.
    pub async fn shut_down(&self) {
        self.lanes.shut_down().await;
        self.readers.shut_down().await;
    }
}
