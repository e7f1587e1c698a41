//! One throwaway Postgres for the whole run, a migrated template in it, and a database of its own for each test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use creditd::store::Store;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
/// Tries of 50 ms each until the server answers.
const START_TRIES: u32 = 400;
/// Connections of one test's store.
const CONNECTIONS: u32 = 8;

static SERVER: OnceCell<PathBuf> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Runs a Postgres program as nobody: neither initdb nor postgres runs as root.
const AS_NOBODY: &str = "setpriv --reuid=nobody --regid=nogroup --clear-groups";
/// Serves until this process is gone, which closes the pipe that `read` waits on; then nothing is left behind.
const SERVE: &str = r#"
$AS_NOBODY $BINARIES/initdb --auth=trust --username=creditd --encoding=UTF8 --locale=C --no-sync -D "$FOLDER/data"
$AS_NOBODY $BINARIES/postgres -D "$FOLDER/data" -k "$FOLDER" -c listen_addresses= -c fsync=off -c full_page_writes=off \
    -c max_connections=400 -c shared_buffers=64MB -c autovacuum=off &
read -r gone
kill -QUIT $!
wait
rm -rf "$FOLDER"
"#;

fn folder() -> PathBuf {
    let parent = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
    let folder = tempfile::Builder::new().prefix("creditd-it-").tempdir_in(parent).unwrap().keep();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o711)).unwrap();
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    let chowned = Command::new("chown").arg("nobody:nogroup").args([&folder, &data]).status().unwrap();
    assert!(chowned.success(), "the cluster's folder has to belong to nobody");
    folder
}

/// Starts the server; it ends with the process, which holds the other end of its input until then.
fn serve(folder: &Path) {
    let child = Command::new("sh")
        .args(["-c", SERVE])
        .env("AS_NOBODY", AS_NOBODY)
        .env("BINARIES", BINARIES)
        .env("FOLDER", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(child);
}

fn url(folder: &Path, database: &str) -> String {
    format!("postgres:///{database}?host={}&user=creditd", folder.display())
}

async fn admin(folder: &Path) -> PgConnection {
    for _ in 0..START_TRIES {
        if let Ok(connection) = PgConnection::connect(&url(folder, "postgres")).await {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the test server does not answer");
}

async fn start() -> PathBuf {
    let folder = folder();
    serve(&folder);
    let mut admin = admin(&folder).await;
    sqlx::query("CREATE DATABASE template_creditd").execute(&mut admin).await.unwrap();
    let store = Store::connect(&url(&folder, "template_creditd"), 1).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    folder
}

/// Address of a fresh, migrated database.
async fn fresh_url() -> String {
    let folder = SERVER.get_or_init(start).await;
    let name = format!("it_{}", NUMBER.fetch_add(1, Ordering::SeqCst));
    let create = format!("CREATE DATABASE {name} TEMPLATE template_creditd STRATEGY FILE_COPY");
    sqlx::query(sqlx::AssertSqlSafe(create)).execute(&mut admin(folder).await).await.unwrap();
    url(folder, &name)
}

/// A store on a database of its own.
pub async fn fresh_store() -> Store {
    Store::connect(&fresh_url().await, CONNECTIONS).await.unwrap()
}

/// Raw access to a database of its own.
pub async fn fresh_pool() -> PgPool {
    fresh_both().await.1
}

/// A store, and raw access beside it.
pub async fn fresh_both() -> (Store, PgPool) {
    let url = fresh_url().await;
    let store = Store::connect(&url, CONNECTIONS).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
    (store, pool)
}
