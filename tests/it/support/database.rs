//! One throwaway Postgres for the whole run, a migrated template in it, and a database of its own for each test.
//!
//! `TEST_DATABASE_URL` names another server to run on, as a role that may create databases.

use std::sync::atomic::{AtomicU32, Ordering};

use creditd::devdb::{DevDb, Options};
use creditd::store::Store;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

/// Connections of one test's store.
const CONNECTIONS: u32 = 24;

/// The server of this run; it dies with the process.
enum Server {
    Own(DevDb),
    Given(String),
}

static SERVER: OnceCell<Server> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Server {
    fn url(&self, database: &str) -> String {
        match self {
            Self::Own(server) => server.url_for(database),
            Self::Given(base) => {
                let (address, query) = base.split_once('?').map_or((base.as_str(), ""), |(a, q)| (a, q));
                let (host, _) = address.rsplit_once('/').expect("TEST_DATABASE_URL names a database");
                format!("{host}/{database}{}{query}", if query.is_empty() { "" } else { "?" })
            }
        }
    }
}

fn template() -> String {
    format!("creditd_template_{}", std::process::id())
}

async fn own() -> DevDb {
    let variable = creditd::config::process_environment;
    let mut options = Options::throwaway(Options::default_cache(std::env::home_dir().as_deref()));
    options.pg_bin = variable("CREDITD_PG_BIN").map(Into::into);
    if let Some(cache) = variable("CREDITD_PG_CACHE") {
        options.cache_dir = cache.into();
    }
    options.hide_system_binaries = variable("CREDITD_TEST_HIDE_POSTGRES").is_some();
    options.say = std::sync::Arc::new(|line| eprintln!("{line}"));
    options.extra_settings =
        vec![("max_connections".to_owned(), "400".to_owned()), ("autovacuum".to_owned(), "off".to_owned())];
    DevDb::start(options).await.expect("a Postgres for the tests")
}

async fn start() -> Server {
    let given = creditd::config::process_environment("TEST_DATABASE_URL");
    let server = if let Some(url) = given { Server::Given(url) } else { Server::Own(own().await) };
    let create = format!("CREATE DATABASE {}", template());
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin(&server).await).await.expect("a template");
    let store = Store::connect(&server.url(&template()), 1).await.expect("connected");
    store.migrate().await.expect("migrated");
    store.close().await;
    server
}

async fn admin(server: &Server) -> PgConnection {
    PgConnection::connect(&server.url("postgres")).await.expect("the test server answers")
}

/// Address of a fresh, migrated database.
pub async fn fresh_url() -> String {
    let server = SERVER.get_or_init(start).await;
    let name = format!("creditd_it_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
    let create = format!("CREATE DATABASE {name} TEMPLATE {} STRATEGY FILE_COPY", template());
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin(server).await).await.expect("a database of its own");
    server.url(&name)
}

/// A store on a database of its own.
pub async fn fresh_store() -> Store {
    store_at(&fresh_url().await).await
}

/// Another store on the same database.
pub async fn store_at(url: &str) -> Store {
    Store::connect(url, CONNECTIONS).await.expect("connected")
}

/// Raw access to a database of its own.
pub async fn fresh_pool() -> PgPool {
    fresh_both().await.1
}

/// Raw access to a database that is there.
pub async fn raw(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("connected")
}

/// A store, and raw access beside it.
pub async fn fresh_both() -> (Store, PgPool) {
    let url = fresh_url().await;
    (store_at(&url).await, raw(&url).await)
}
