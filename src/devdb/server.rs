//! The postmaster as our child: started by a thread that lives as long as it does, and never left behind.
//!
//! The kernel's parent-death signal fires when the *thread* that spawned the child ends, so that thread does nothing
//! but wait for the child and pass signals on. The warden is a `sh` that waits for the end of its input: when we are
//! killed, it asks the postmaster to stop where the kernel did not, and removes the directories that should not stay.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::sync::watch;

use super::binaries::Binaries;
use super::place::Place;
use super::run::{LOCAL_BOUND, as_server, client, last_lines, output};
use super::{DevDbError, Say, url};

/// The number in the socket's name; no port is opened.
pub(super) const PORT: u16 = 5432;

/// A healthy server answers within a second or two, a busy machine's within ten.
const READY_BOUND: Duration = Duration::from_secs(30);

/// Replaying 2 GB of log (`max_wal_size`) after a crash, on a slow disk.
const RECOVERY_BOUND: Duration = Duration::from_mins(5);

const READY_POLL: Duration = Duration::from_millis(25);

/// After `kill -9` the old server's processes need a moment to notice; then its lock files are stale.
const STALE_BOUND: Duration = Duration::from_secs(10);

const STALE_POLL: Duration = Duration::from_millis(250);

/// How often the thread looks whether the child has ended.
const WATCH_POLL: Duration = Duration::from_millis(50);

/// How long a fast, an immediate and a forced stop may take: a fast one writes what is in memory first.
const STOP_LADDER: [(Signal, Duration); 3] = [
    (Signal::SIGINT, Duration::from_secs(20)),
    (Signal::SIGQUIT, Duration::from_secs(6)),
    (Signal::SIGKILL, Duration::from_secs(2)),
];

/// Enough of the log to show why it did not start.
const LOG_LINES: usize = 20;

/// `$1` the postmaster, `$2` its pid file, then what to remove. A line on its input sends it home.
const WARDEN: &str = r#"
read -r _ && exit 0
pid=$1; pid_file=$2; shift 2
[ "$(head -n 1 "$pid_file" 2>/dev/null)" = "$pid" ] && kill -INT "$pid" 2>/dev/null
waited=0
while [ -e "$pid_file" ] && kill -0 "$pid" 2>/dev/null && [ "$waited" -lt 200 ]; do sleep 0.1; waited=$((waited + 1)); done
[ $# -gt 0 ] && rm -rf -- "$@"
"#;

/// A running postmaster.
#[derive(Debug)]
pub(super) struct Server {
    pid: u32,
    signals: mpsc::Sender<Signal>,
    ended: watch::Receiver<Option<String>>,
    warden: Option<Child>,
}

/// What became of one try to start.
enum Attempt {
    Ready(Server),
    /// An older server still holds the directory, or seems to.
    Held(String),
}

impl Server {
    /// Starts the postmaster and waits until it answers; what an older server left is waited for, within bounds.
    pub(super) async fn start(
        binaries: &Binaries,
        place: &Place,
        settings: &[(String, String)],
        say: &Say,
    ) -> Result<Self, DevDbError> {
        let began = crate::clock::instant();
        loop {
            remove_strangers_pid_file(place);
            let holder = match attempt(binaries, place, settings, say).await? {
                Attempt::Ready(server) => return Ok(server),
                Attempt::Held(log) => (postmaster_pid(place), log),
            };
            if began.elapsed() >= STALE_BOUND {
                return Err(match holder {
                    (Some(pid), _) => DevDbError::InUse { path: place.home.clone(), pid },
                    (None, log) => DevDbError::Start { reason: "an older server still has it".to_owned(), log },
                });
            }
            tokio::time::sleep(STALE_POLL).await;
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) async fn exited(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "its thread has ended".to_owned(),
        }
    }

    /// Each signal in turn until the child has ended.
    pub(super) async fn stop(&mut self) {
        for (signal, bound) in STOP_LADDER {
            // A send fails when the thread has ended, and it ends only after the child.
            if self.signals.send(signal).is_err() || tokio::time::timeout(bound, self.exited()).await.is_ok() {
                break;
            }
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }
}

impl Drop for Server {
    /// Best effort for who did not call `stop`: blocks for a few seconds at most.
    fn drop(&mut self) {
        let began = crate::clock::instant();
        let mut bound = Duration::ZERO;
        for (signal, wait) in [(Signal::SIGINT, 3), (Signal::SIGQUIT, 2), (Signal::SIGKILL, 1)] {
            if self.has_ended() || self.signals.send(signal).is_err() {
                break;
            }
            bound = bound.saturating_add(Duration::from_secs(wait));
            while !self.has_ended() && began.elapsed() < bound {
                std::thread::sleep(READY_POLL);
            }
        }
        if let Some(mut warden) = self.warden.take() {
            if let Some(mut input) = warden.stdin.take() {
                // When it is gone already, nobody needs to send it home.
                let _ = input.write_all(b"done\n");
            }
            let _ = warden.wait();
        }
    }
}

async fn attempt(
    binaries: &Binaries,
    place: &Place,
    settings: &[(String, String)],
    say: &Say,
) -> Result<Attempt, DevDbError> {
    let command = postmaster(binaries, place, settings).await?;
    let (started, has_started) = tokio::sync::oneshot::channel();
    let (tell_end, ended) = watch::channel(None);
    let (signals, received) = mpsc::channel();
    std::thread::Builder::new()
        .name("postgres".to_owned())
        .spawn(move || keep(command, started, &received, &tell_end))
        .map_err(DevDbError::io("start a thread for", &place.home))?;
    let pid = match has_started.await {
        Ok(spawned) => spawned.map_err(DevDbError::io("run postgres from", &binaries.bin_dir))?,
        Err(_) => return Err(failed(place, "its thread has ended".to_owned())),
    };
    let warden = hire_warden(pid, place)?;
    let server = Server { pid, signals, ended, warden: Some(warden) };
    match server.wait_until_ready(place, say).await {
        Ok(()) => Ok(Attempt::Ready(server)),
        Err(reason) => {
            let log = log_end(place);
            let held = log.contains("lock file") || log.contains("pre-existing shared memory block");
            if server.has_ended() && held {
                return Ok(Attempt::Held(log));
            }
            Err(DevDbError::Start { reason, log })
        }
    }
}

impl Server {
    async fn wait_until_ready(&self, place: &Place, say: &Say) -> Result<(), String> {
        let url = url(&place.socket_dir, "postgres");
        let began = crate::clock::instant();
        let mut bound = READY_BOUND;
        loop {
            if self.has_ended() {
                return Err(format!("it ended at once, {}", self.exited().await));
            }
            match tokio::time::timeout(READY_BOUND, PgConnection::connect(&url)).await {
                Ok(Ok(connection)) => {
                    // The server knows how to end a connection that was not said goodbye to.
                    let _ = connection.close().await;
                    return Ok(());
                }
                Ok(Err(error)) if is_starting_up(&error) && bound < RECOVERY_BOUND => {
                    bound = RECOVERY_BOUND;
                    say("Postgres is starting up");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            if began.elapsed() >= bound {
                return Err(format!("it did not answer within {} s", bound.as_secs()));
            }
            tokio::time::sleep(READY_POLL).await;
        }
    }
}

/// `cannot_connect_now`: the server is there and replays its log.
fn is_starting_up(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "57P03")
}

/// The whole life of the child, in the thread that is its parent.
fn keep(
    mut command: Command,
    started: tokio::sync::oneshot::Sender<std::io::Result<u32>>,
    signals: &mpsc::Receiver<Signal>,
    tell_end: &watch::Sender<Option<String>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // Whoever asked has gone away when this fails.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(child.id()));
    let mut is_wanted = true;
    // Bounded by the child's life: whoever drops the server makes it end.
    loop {
        match child.try_wait() {
            Ok(Some(status)) => break drop(tell_end.send_replace(Some(status.to_string()))),
            Ok(None) => {}
            Err(error) => break drop(tell_end.send_replace(Some(error.to_string()))),
        }
        // Not reaped yet, so the id is still our child's; it can only fail when the child has just ended.
        let send = |signal| i32::try_from(child.id()).map(|pid| kill(Pid::from_raw(pid), signal));
        match signals.recv_timeout(WATCH_POLL) {
            Ok(signal) => {
                let _ = send(signal);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                if is_wanted {
                    let _ = send(Signal::SIGQUIT);
                    is_wanted = false;
                }
                std::thread::sleep(WATCH_POLL);
            }
        }
    }
}

/// The command line, behind `setpriv` where there is one; a process group of its own, so that a Ctrl-C at the
/// terminal reaches us alone and the server stops after we have.
async fn postmaster(binaries: &Binaries, place: &Place, settings: &[(String, String)]) -> Result<Command, DevDbError> {
    let program = binaries.bin_dir.join("postgres");
    let identity = place.identity.as_ref();
    let mut command = match setpriv().await {
        Some(setpriv) => {
            let mut command = as_server(&setpriv, identity, &binaries.library_dirs).into_std();
            command.args(["--pdeathsig", "INT", "--"]).arg(&program);
            command
        }
        None => as_server(&program, identity, &binaries.library_dirs).into_std(),
    };
    command.arg("-D").arg(&place.cluster);
    for (name, value) in settings {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let path = place.log();
    // Appending, because an older server that is still ending may write to the same file.
    let log = File::options().create(true).append(true).open(&path).map_err(DevDbError::io("write", &path))?;
    log.set_len(0).map_err(DevDbError::io("empty", &path))?;
    let second = log.try_clone().map_err(DevDbError::io("write", &path))?;
    command.stdin(Stdio::null()).stdout(log).stderr(second).process_group(0);
    Ok(command)
}

/// Where `setpriv` is, when it knows about parent-death signals (busybox's does not).
async fn setpriv() -> Option<PathBuf> {
    let found = output(client("sh", ["-c", "command -v setpriv"]), LOCAL_BOUND).await.ok()?;
    let path = PathBuf::from(found.trim());
    output(client(found.trim(), ["--pdeathsig", "keep", "true"]), LOCAL_BOUND).await.ok()?;
    path.is_absolute().then_some(path)
}

fn hire_warden(pid: u32, place: &Place) -> Result<Child, DevDbError> {
    let mut warden = Command::new("sh");
    warden.args(["-c", WARDEN, "creditd-warden"]).arg(pid.to_string()).arg(place.cluster.join("postmaster.pid"));
    warden.args(place.temporary()).env_clear().env("PATH", super::run::SERVER_PATH).current_dir("/");
    warden.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    warden.spawn().map_err(DevDbError::io("run sh for", &place.home))
}

/// The process that the pid file names; it may be long gone.
fn postmaster_pid(place: &Place) -> Option<u32> {
    fs::read_to_string(place.cluster.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// A restarted container hands the old number to another program, for which Postgres would wait for ever. We hold the
/// directory's lock, so a pid file that names something else than a Postgres is stale.
fn remove_strangers_pid_file(place: &Place) {
    let Some(pid) = postmaster_pid(place) else { return };
    let Ok(program) = fs::read_to_string(format!("/proc/{pid}/comm")) else { return };
    if program.trim() != "postgres" {
        // Postgres says so itself when it is still there.
        let _ = fs::remove_file(place.cluster.join("postmaster.pid"));
    }
}

fn log_end(place: &Place) -> String {
    let bytes = fs::read(place.log()).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), LOG_LINES, "\n")
}

fn failed(place: &Place, reason: String) -> DevDbError {
    DevDbError::Start { reason, log: log_end(place) }
}

/// Makes the database `creditd` when it is not there.
pub(super) async fn make_database(url: &str) -> Result<(), DevDbError> {
    const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'creditd')";
    let options: sqlx::postgres::PgConnectOptions = url.parse()?;
    let mut connection = options.connect().await?;
    let is_there: bool = sqlx::query_scalar(IS_THERE).fetch_one(&mut connection).await?;
    if !is_there {
        connection.execute("CREATE DATABASE creditd").await?;
    }
    connection.close().await?;
    Ok(())
}
