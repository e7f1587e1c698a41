//! The embedded Postgres: real servers, a real fetch, real kills.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test, also in a function that tests share")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use creditd::devdb::{DevDb, DevDbError, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// The child of `it_dies_with_us` starts a server here; without the variable that test does nothing.
const CHILD_VARIABLE: &str = "CREDITD_TEST_DEVDB_CHILD";

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn kill_hard(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

/// Waits for something that takes moments, for ten seconds at most.
async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within 10 s");
}

async fn ask(url: &str, sql: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let answer = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    answer
}

async fn run(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(sql).await.unwrap();
    connection.close().await.unwrap();
}

fn cache() -> PathBuf {
    Options::default_cache(std::env::home_dir().as_deref())
}

fn telling(options: &mut Options) -> Arc<Mutex<Vec<String>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&told);
    options.say = Arc::new(move |line| lines.lock().unwrap().push(line.to_owned()));
    told
}

#[tokio::test]
async fn a_throwaway_leaves_nothing_behind() {
    let mut options = Options::throwaway(cache());
    options.extra_settings.push(("work_mem".to_owned(), "5MB".to_owned()));
    let database = DevDb::start(options).await.unwrap();
    assert_eq!(ask(&database.url(), "SELECT current_database()::text").await, "creditd");
    assert_eq!(ask(&database.url_for("postgres"), "SELECT current_database()::text").await, "postgres");
    assert_eq!(ask(&database.url(), "SHOW fsync").await, "off");
    assert_eq!(ask(&database.url(), "SHOW work_mem").await, "5MB");
    assert_eq!(ask(&database.url(), "SHOW listen_addresses").await, "");
    assert_eq!(ask(&database.url(), "SHOW server_encoding").await, "UTF8");
    let (pid, home) = (database.pid(), database.home().to_owned());
    assert!(is_alive(pid) && home.exists());
    database.stop().await;
    assert!(!is_alive(pid) && !home.exists());
}

#[tokio::test]
async fn a_drop_stops_it_too() {
    let database = DevDb::start(Options::throwaway(cache())).await.unwrap();
    let (pid, home) = (database.pid(), database.home().to_owned());
    drop(database);
    assert!(!is_alive(pid) && !home.exists());
}

#[tokio::test]
async fn what_is_written_is_there_after_a_restart_and_is_durable() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::kept(directory.path().join("data"), cache());
    let database = DevDb::start(options.clone()).await.unwrap();
    run(&database.url(), "CREATE TABLE kept AS SELECT 'still here' AS word").await;
    for setting in ["SHOW fsync", "SHOW full_page_writes", "SHOW synchronous_commit", "SHOW data_checksums"] {
        assert_eq!(ask(&database.url(), setting).await, "on", "{setting}");
    }
    database.stop().await;
    let database = DevDb::start(options).await.unwrap();
    assert_eq!(ask(&database.url(), "SELECT word FROM kept").await, "still here");
    let home = database.home().to_owned();
    database.stop().await;
    assert!(home.exists());
    std::fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn two_on_one_directory_are_refused_by_the_holder_s_id() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { durable: false, ..Options::kept(directory.path(), cache()) };
    let first = DevDb::start(options.clone()).await.unwrap();
    let refused = DevDb::start(options).await.unwrap_err();
    assert!(matches!(refused, DevDbError::InUse { pid, .. } if pid == std::process::id()), "{refused}");
    assert_eq!(ask(&first.url(), "SELECT 'unharmed'").await, "unharmed");
    let home = first.home().to_owned();
    first.stop().await;
    std::fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn a_killed_postmaster_is_told_and_its_leavings_are_overcome() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::kept(directory.path(), cache());
    let database = DevDb::start(options.clone()).await.unwrap();
    run(&database.url(), "CREATE TABLE kept AS SELECT 'committed' AS word").await;
    kill_hard(database.pid());
    let how = tokio::time::timeout(Duration::from_secs(5), database.exited()).await.unwrap();
    assert!(how.contains("SIGKILL"), "{how}");
    let pid_file = database.home().join("cluster/postmaster.pid");
    assert!(pid_file.exists(), "the stale file that the next start must overcome");
    drop(database);
    let database = DevDb::start(options.clone()).await.unwrap();
    assert_eq!(ask(&database.url(), "SELECT word FROM kept").await, "committed");
    let home = database.home().to_owned();
    database.stop().await;
    // A restarted container gives the old number to somebody else: us, here.
    std::fs::write(&pid_file, format!("{}\n{}\n", std::process::id(), home.display())).unwrap();
    let database = DevDb::start(options).await.unwrap();
    database.stop().await;
    std::fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options::kept(directory.path(), directory.path().join("cache"));
    let cluster = directory.path().join("postgres/cluster");
    std::fs::create_dir_all(&cluster).unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "12\n").unwrap();
    if geteuid().is_root() {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        chown(&cluster, Some(65534), Some(65534)).unwrap();
    }
    let said = match DevDb::start(options).await.unwrap_err() {
        refused @ DevDbError::OtherMajor { cluster: 12, .. } => refused.to_string(),
        // No Postgres on this machine at all: none that fits could be fetched either.
        refused @ DevDbError::NoBinaries { .. } => return assert!(refused.to_string().contains("Postgres 12")),
        other => panic!("{other}"),
    };
    assert!(said.contains("Postgres 12") && said.contains("CREDITD_PG_BIN"), "{said}");
    assert_eq!(std::fs::read_to_string(cluster.join("PG_VERSION")).unwrap(), "12\n");
}

#[tokio::test]
async fn a_named_folder_without_postgres_is_refused_and_nothing_else_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { pg_bin: Some(directory.path().to_owned()), ..Options::throwaway(directory.path()) };
    let refused = DevDb::start(options).await.unwrap_err();
    assert!(matches!(&refused, DevDbError::Binaries { path, .. } if path == directory.path()), "{refused}");
}

#[tokio::test]
async fn a_setting_the_server_does_not_know_shows_the_log() {
    let mut options = Options::throwaway(cache());
    options.extra_settings.push(("no_such_setting".to_owned(), "1".to_owned()));
    let refused = DevDb::start(options).await.unwrap_err().to_string();
    assert!(refused.contains("unrecognized configuration parameter \"no_such_setting\""), "{refused}");
}

#[tokio::test]
async fn postgres_is_fetched_where_there_is_none_and_the_second_start_uses_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    // As root this closes it to the server's user: the cache's stand-in is used, and removed below.
    close_to_others(directory.path());
    let mut options = Options { hide_system_binaries: true, ..Options::throwaway(directory.path().join("cache")) };
    let told = telling(&mut options);
    let (first, second) = tokio::join!(DevDb::start(options.clone()), DevDb::start(options.clone()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(ask(&first.url(), "SELECT 'fetched'").await, "fetched");
    assert_eq!(ask(&second.url(), "SELECT 'shared'").await, "shared");
    first.stop().await;
    second.stop().await;
    let fetches = told.lock().unwrap().iter().filter(|line| line.starts_with("fetching Postgres 18.6.3")).count();
    assert_eq!(fetches, 1, "two at once fetch once: {:?}", told.lock().unwrap());
    told.lock().unwrap().clear();
    let third = DevDb::start(options).await.unwrap();
    assert!(ask(&third.url(), "SHOW server_version").await.starts_with("18."));
    third.stop().await;
    assert!(!told.lock().unwrap().iter().any(|line| line.contains("fetching")), "{:?}", told.lock().unwrap());
    let asked = directory.path().join("cache");
    assert_eq!(asked.exists(), !geteuid().is_root(), "root's goes where the server's user can read it");
    remove_stand_in(&asked);
}

fn close_to_others(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}

/// What stands in for a directory that only root may enter.
fn remove_stand_in(asked: &Path) {
    use sha2::Digest as _;
    let name = &hex::encode(sha2::Sha256::digest(asked.as_os_str().as_encoded_bytes()))[..16];
    let _ = std::fs::remove_dir_all(Path::new("/var/lib/creditd").join(name));
}

#[tokio::test]
async fn as_root_a_directory_that_only_root_may_enter_works() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    close_to_others(directory.path());
    let asked = directory.path().join("data");
    let mut options = Options { durable: false, ..Options::kept(&asked, cache()) };
    let told = telling(&mut options);
    let database = DevDb::start(options.clone()).await.unwrap();
    run(&database.url(), "CREATE TABLE kept AS SELECT 'in the stand-in' AS word").await;
    assert!(database.home().starts_with("/var/lib/creditd"), "{}", database.home().display());
    assert!(told.lock().unwrap().iter().any(|line| line.contains("cannot enter")));
    database.stop().await;
    let database = DevDb::start(options).await.unwrap();
    assert_eq!(ask(&database.url(), "SELECT word FROM kept").await, "in the stand-in");
    let home = database.home().to_owned();
    database.stop().await;
    std::fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let directory = tempfile::tempdir().unwrap();
    let asked = directory.path().join("long".repeat(30));
    let options = Options { durable: false, ..Options::kept(&asked, cache()) };
    let database = DevDb::start(options).await.unwrap();
    assert_eq!(ask(&database.url(), "SELECT 'short'").await, "short");
    let home = database.home().to_owned();
    database.stop().await;
    std::fs::remove_dir_all(home).unwrap();
}

/// Not a test of its own: the child that `it_dies_with_us` kills.
#[tokio::test]
#[ignore = "run by it_dies_with_us"]
async fn child_of_it_dies_with_us() {
    let Some(report) = std::env::vars_os().find(|(name, _)| name == CHILD_VARIABLE) else { return };
    let report = PathBuf::from(report.1);
    let passing = DevDb::start(Options::throwaway(cache())).await.unwrap();
    let kept = DevDb::start(Options::kept(report.with_file_name("data"), cache())).await.unwrap();
    run(&kept.url(), "CREATE TABLE kept AS SELECT 'outlived' AS word").await;
    let said = [passing.pid().to_string(), passing.home().display().to_string(), kept.pid().to_string()].join("\n");
    std::fs::write(report.with_extension("new"), said).unwrap();
    std::fs::rename(report.with_extension("new"), report).unwrap();
    tokio::time::sleep(Duration::from_mins(2)).await;
}

#[tokio::test]
async fn it_dies_with_us() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "devdb::child_of_it_dies_with_us"])
        .env(CHILD_VARIABLE, &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..600 {
        if report.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let said = std::fs::read_to_string(&report).unwrap();
    let [passing, passing_home, kept] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    let (passing, kept): (u32, u32) = (passing.parse().unwrap(), kept.parse().unwrap());
    assert!(is_alive(passing) && is_alive(kept));
    kill_hard(child.id());
    child.wait().unwrap();
    // At once: the old server may still be ending, and its pid file is waited for.
    let next = DevDb::start(Options::kept(directory.path().join("data"), cache())).await.unwrap();
    assert_eq!(ask(&next.url(), "SELECT word FROM kept").await, "outlived");
    soon("both postmasters end", || !is_alive(passing) && !is_alive(kept)).await;
    soon("the throwaway directory goes", || !Path::new(passing_home).exists()).await;
    let home = next.home().to_owned();
    next.stop().await;
    std::fs::remove_dir_all(home).unwrap();
}
