//! All SQL: statements written out as named constants, private rows, domain types out.
//!
//! Reads take the [`Store`]; whatever joins a caller's transaction takes its connection first. There is one way to open
//! a transaction, `transaction!`: it retries serialization failures and deadlocks a bounded number of times, so
//! its closure may run twice and touches nothing but rows. No decision is made here.
//!
//! Always true: a connection that goes back to the pool is rolled back first, whatever its borrower left open (sqlx
//! 0.9's `begin` is not cancel-safe); every statement on an account's tables names the account.

pub mod accounts;
pub mod booked;
pub mod catalog;
pub mod catch_up;
pub mod census;
pub mod charge_steps;
pub mod charge_work;
pub mod circuits;
pub mod customers;
pub mod debt_rows;
mod error;
pub mod event_intake;
pub mod event_listings;
pub mod event_waits;
pub mod events;
pub mod holds;
pub mod instance;
pub mod keys;
pub mod leases;
pub mod ledger;
mod ledger_rows;
pub mod ledger_usual;
mod ledger_write;
pub mod listings;
pub mod outbox;
pub mod overage_bills;
pub mod past;
pub mod payments;
pub mod reports;
pub mod retention;
pub mod reversals;
mod rows;
pub mod sales;
pub mod top_up_listings;
pub mod top_up_rows;
pub mod top_up_work;

pub mod top_ups;
pub mod usage_listings;
pub mod usage_rows;
pub mod verify;
pub mod wallet_rows;
pub mod wallets;
pub mod work;

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor, PgConnection, PgPool};

pub use error::StoreError;

/// What reads whole tables says first: it wants the planner's own choice.
pub(in crate::store) const FREE_PLANNER: &str =
    "SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on";
/// Tries of one transaction: a deadlock among n lanes is gone after n tries, and a hot row after a few more.
const TRANSACTION_TRIES: u32 = 5;
/// Longest wait for a connection before the caller is told that the database cannot answer.
const ACQUIRE_SECONDS: u64 = 5;
/// A bare ROLLBACK with nothing open, which is nearly always, would write a warning into the server's log each time.
/// Inside a transaction that failed this fails as well, and the pool closes the connection.
const ROLL_BACK_WHATEVER_IS_OPEN: &str = "BEGIN; ROLLBACK";
/// A transaction whose daemon fell silent is ended by the server after this long.
const IDLE_IN_TRANSACTION_SECONDS: u64 = 30;
/// Connections of one daemon when nothing else is said: lanes and readers keep four of their own, commands that run
/// alone keep a few, the inbox and the API's reads share the rest.
pub const DEFAULT_CONNECTIONS: u32 = 32;
/// Fewest connections a daemon works with: the four of its own, and twenty for all else.
pub const LEAST_CONNECTIONS: u32 = 24;
/// Of these, connections outside the pool: one for each lane and each reader.
const OWN_CONNECTIONS: u32 = 4;

static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!();

/// The database of one daemon.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Connects. `max_connections` bounds what this daemon takes of the server's.
    pub async fn connect(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(StoreError::from)?.application_name("creditd").options([
            ("plan_cache_mode", "force_generic_plan"),
            // A plan made while a table is small stays with its connection while the table grows, and statistics come
            // late. Every statement of the daemon finds its rows by a key, so plans may not depend on either.
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("idle_in_transaction_session_timeout", &format!("{IDLE_IN_TRANSACTION_SECONDS}s")),
            ("timezone", "UTC"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(max_connections.saturating_sub(OWN_CONNECTIONS).max(1))
            .acquire_timeout(Duration::from_secs(ACQUIRE_SECONDS))
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.execute(ROLL_BACK_WHATEVER_IS_OPEN).await?;
                    Ok(true)
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    /// Brings the schema up to this binary's.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        connection.execute("SET lock_timeout = '2s'").await?;
        let outcome = MIGRATOR.run(&mut *connection).await;
        connection.execute("RESET lock_timeout").await?;
        outcome.map_err(|error| StoreError::Migration(error.to_string()))
    }

    /// Migrations this binary knows that the database has not had; an error when the database is ahead of it.
    pub async fn pending_migrations(&self) -> Result<usize, StoreError> {
        const APPLIED: &str = "-- count_migrations\nSELECT count(*) FROM _sqlx_migrations WHERE success";
        const EXISTS: &str = "-- has_migrations\nSELECT to_regclass('_sqlx_migrations') IS NOT NULL";
        let known = MIGRATOR.iter().count();
        if !sqlx::query_scalar::<_, bool>(EXISTS).fetch_one(&self.pool).await? {
            return Ok(known);
        }
        let applied: i64 = sqlx::query_scalar(APPLIED).fetch_one(&self.pool).await?;
        Ok(known.saturating_sub(usize::try_from(applied).unwrap_or(usize::MAX)))
    }

    /// The pool, for this room's reads.
    pub(in crate::store) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of one's own, for a lane that keeps it.
    pub async fn lane_connection(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, StoreError> {
        Ok(self.pool.acquire().await?)
    }

    /// A connection outside the pool, made on the caller's own runtime, for a lane or a reader that keeps it: its
    /// wake-ups do not wait behind those of the pool's.
    pub async fn own_connection(&self) -> Result<PgConnection, StoreError> {
        let options = self.pool.connect_options();
        let connecting = PgConnection::connect_with(&options);
        match tokio::time::timeout(Duration::from_secs(ACQUIRE_SECONDS), connecting).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(StoreError::Unavailable(format!("no connection within {ACQUIRE_SECONDS} s"))),
        }
    }

    /// Begins one try of a transaction; only [`transaction!`] calls this.
    async fn begin(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
        let connection = self.pool.acquire().await?;
        Ok(sqlx::Transaction::begin(connection, None).await?)
    }

    /// Ends one try: commits what went well, rolls back what did not, and says whether to try again.
    async fn end<T>(
        transaction: sqlx::Transaction<'static, sqlx::Postgres>,
        outcome: Result<T, StoreError>,
        name: &'static str,
        tries: u32,
    ) -> Try<T> {
        let error = match outcome {
            Ok(value) => match transaction.commit().await {
                Ok(()) => return Try::Done(Ok(value)),
                Err(error) => StoreError::at_commit(error),
            },
            Err(error) => {
                // The error that matters is the first one; a rollback that fails too means the connection is gone.
                drop(transaction.rollback().await);
                error
            }
        };
        if !error.is_transient() || tries >= TRANSACTION_TRIES {
            return Try::Done(Err(error));
        }
        tracing::debug!(transaction = name, tries, %error, "trying a transaction again");
        tokio::time::sleep(Duration::from_millis(u64::from(5 * tries * tries))).await;
        Try::Again
    }

    /// How many connections this daemon has.
    pub fn connections(&self) -> Connections {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        let most = self.pool.options().get_max_connections();
        Connections { idle, used: self.pool.size().saturating_sub(idle), most }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Can the database answer?
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("-- ping\nSELECT 1").execute(&self.pool).await?;
        Ok(())
    }
}

/// Connections of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// In the pool.
    pub idle: u32,
    /// Borrowed, for a moment or for good.
    pub used: u32,
    /// The most there may be.
    pub most: u32,
}

/// How one try of a transaction ended.
enum Try<T> {
    Done(Result<T, StoreError>),
    Again,
}

/// The one way to write: runs the body in a transaction and commits it. After a deadlock or a serialization failure the
/// body runs again, a bounded number of times, so it touches nothing but rows. A macro rather than a function with a
/// closure: a future that borrows through an async closure cannot be proved `Send`.
macro_rules! transaction {
    ($store:expr, $name:literal, |$connection:ident| $body:expr) => {{
        let mut tries: u32 = 1;
        loop {
            let mut transaction = $store.begin().await?;
            let outcome = {
                let $connection: &mut sqlx::PgConnection = &mut transaction;
                async { $body }.await
            };
            match $crate::store::Store::end(transaction, outcome, $name, tries).await {
                $crate::store::Try::Done(outcome) => break outcome,
                $crate::store::Try::Again => tries += 1,
            }
        }
    }};
}
use transaction;
