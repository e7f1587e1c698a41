//! The data directory and the running server.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};

use super::binaries::{self, Binaries};
use super::fetch::make_open;
use super::{DevDbError, Options, Place};
use crate::clock::instant;

/// Longest wait for the server's first answer.
const READY_SECONDS: u64 = 30;
/// Longest wait for a server of an earlier process to be gone.
const STALE_SECONDS: u64 = 10;
/// Longest wait for a clean stop before the server is killed.
const STOP_SECONDS: u64 = 20;
/// Longest path of a unix socket, without its terminating zero.
const SOCKET_PATH_MAX: usize = 107;
/// What Postgres appends to the socket's folder.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";
/// Where clusters and caches live that root asks for under a folder nobody else may enter.
const ROOT_HOME: &str = "/var/lib/creditd";
/// How throwaway folders begin; the owner's pid follows.
const THROWAWAY: &str = "creditd-pg-";
/// Bytes of the log that are shown when the server fails.
const LOG_SHOWN: u64 = 2_000;

/// A running embedded Postgres. Dropping it stops the server.
#[derive(Debug)]
pub struct DevDb {
    root: PathBuf,
    socket: PathBuf,
    pid: Pid,
    gone: Mutex<mpsc::Receiver<()>>,
    throwaway: bool,
    major: u32,
    _lock: Flock<fs::File>,
}

/// Whom the server runs as.
#[derive(Clone, Debug)]
struct Runner {
    /// The user root drops to; `None`: ourselves.
    user: Option<User>,
    setpriv: bool,
}

impl Runner {
    fn find() -> Result<Self, DevDbError> {
        let setpriv = Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success());
        if !geteuid().is_root() {
            return Ok(Self { user: None, setpriv });
        }
        if !setpriv {
            return Err(DevDbError::NoSetpriv);
        }
        let named = |name| User::from_name(name).ok().flatten();
        let user = named("postgres").or_else(|| named("nobody")).ok_or(DevDbError::NoUser)?;
        Ok(Self { user: Some(user), setpriv })
    }

    /// A command of the server, as its user, with the signal it gets when the spawning thread ends.
    fn command(&self, program: &Path, binaries: &Binaries, on_our_death: Option<&str>) -> Command {
        let mut command = if self.setpriv {
            let mut wrapped = Command::new("setpriv");
            if let Some(user) = &self.user {
                wrapped.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg("--clear-groups");
            }
            if let Some(signal) = on_our_death {
                wrapped.arg(format!("--pdeathsig={signal}"));
            }
            wrapped.arg("--").arg(program);
            wrapped
        } else {
            Command::new(program)
        };
        if let Some(libraries) = &binaries.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        // The server warns about a folder it cannot enter, which root's often is.
        command.current_dir("/").env_remove("PGDATA").stdin(Stdio::null());
        command
    }

    fn give(&self, path: &Path) -> Result<(), DevDbError> {
        match &self.user {
            None => Ok(()),
            Some(user) => chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(DevDbError::io(path)),
        }
    }

    /// The path itself, or where root keeps things for it when the server's user could not get there.
    fn reachable(&self, path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        if self.user.is_none() || can_be_entered(&path) {
            return path;
        }
        let hash = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
        Path::new(ROOT_HOME).join(&hash[..16])
    }
}

/// A path as the host of a URL.
fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            text.push_str(&hex::encode_upper([*byte]));
        }
    }
    text
}

/// May every user walk to this path's deepest folder that exists?
fn can_be_entered(path: &Path) -> bool {
    path.ancestors()
        .skip(1)
        .filter_map(|folder| fs::metadata(folder).ok())
        .all(|meta| meta.permissions().mode() & 0o001 != 0)
}

impl DevDb {
    /// Starts a server, fetching one first when none is here.
    pub async fn start(options: Options) -> Result<Self, DevDbError> {
        let failed = |why: String| DevDbError::Program { program: "the starting task".to_owned(), why };
        let started = tokio::task::spawn_blocking(move || Self::launch(&options)).await;
        let database = started.map_err(|error| failed(error.to_string()))??;
        database.wait_until_ready().await?;
        Ok(database)
    }

    fn launch(options: &Options) -> Result<Self, DevDbError> {
        let runner = Runner::find()?;
        let binaries = binaries::find_or_fetch(options, &runner.reachable(&options.cache))?;
        let (root, throwaway) = match &options.place {
            Place::Kept(path) => (runner.reachable(path), false),
            Place::Throwaway => (throwaway_folder()?, true),
        };
        make_open(&root)?;
        let lock = lock(&root)?;
        let data = root.join("pgdata");
        if !data.join("PG_VERSION").exists() {
            make_cluster(&runner, &binaries, &root, &data, throwaway)?;
        }
        same_version(&binaries, &data)?;
        wait_for_stale(&data)?;
        let socket = socket_folder(&root);
        make_private(&runner, &socket)?;
        let (pid, gone) = run_server(&runner, &binaries, &root, &socket, throwaway, &options.settings)?;
        Ok(Self { root, socket, pid, gone: Mutex::new(gone), throwaway, major: binaries.major, _lock: lock })
    }

    /// Where the cluster really lives.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The server's major version.
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// How to reach its database `creditd`.
    pub fn url(&self) -> String {
        self.url_for("creditd")
    }

    /// How to reach another database of it.
    pub fn url_for(&self, database: &str) -> String {
        format!("postgres://postgres@{}/{database}", percent_encoded(&self.socket))
    }

    async fn wait_until_ready(&self) -> Result<(), DevDbError> {
        let started = instant();
        while started.elapsed() < Duration::from_secs(READY_SECONDS) && !self.is_gone() {
            if let Ok(mut connection) = PgConnection::connect(&self.url_for("postgres")).await {
                let made = connection.execute("CREATE DATABASE creditd").await;
                let exists = |error: &sqlx::Error| {
                    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42P04"))
                };
                if made.as_ref().err().is_none_or(exists) {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(DevDbError::NotReady { seconds: started.elapsed().as_secs(), log: log_tail(&self.root) })
    }

    fn gone(&self) -> MutexGuard<'_, mpsc::Receiver<()>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        !matches!(self.gone().try_recv(), Err(mpsc::TryRecvError::Empty))
    }

    /// Stops the server and waits until it is gone.
    pub async fn stop(self) {
        // Dropping waits, so it is done where waiting is allowed.
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }
}

impl Drop for DevDb {
    fn drop(&mut self) {
        let signal = if self.throwaway { Signal::SIGQUIT } else { Signal::SIGINT };
        let told = kill(self.pid, signal).is_ok();
        if told && self.gone().recv_timeout(Duration::from_secs(STOP_SECONDS)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _: nix::Result<()> = kill(self.pid, Signal::SIGKILL);
        }
        if self.throwaway {
            let _: std::io::Result<()> = fs::remove_dir_all(&self.root);
        }
    }
}

/// A new folder in memory when there is room, else in the temporary folder; those of dead processes are removed.
fn throwaway_folder() -> Result<PathBuf, DevDbError> {
    let shared = Path::new("/dev/shm");
    let roomy = nix::sys::statvfs::statvfs(shared)
        .is_ok_and(|stat| stat.blocks_available().saturating_mul(stat.fragment_size()) > 2 << 30);
    let parent = if roomy { shared.to_owned() } else { PathBuf::from("/tmp") };
    for entry in fs::read_dir(&parent).map_err(DevDbError::io(&parent))?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(THROWAWAY).and_then(|rest| rest.split('-').next()).map(str::to_owned);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _: std::io::Result<()> = fs::remove_dir_all(entry.path());
        }
    }
    let prefix = format!("{THROWAWAY}{}-", std::process::id());
    let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(&parent).map_err(DevDbError::io(&parent))?;
    Ok(folder.keep())
}

/// One process at a time; the lock goes with the process, however it ends.
fn lock(root: &Path) -> Result<Flock<fs::File>, DevDbError> {
    let path = root.join("creditd.lock");
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(DevDbError::io(&path))?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _)| {
        let mut pid = String::new();
        drop(file.read_to_string(&mut pid));
        DevDbError::InUse { path: root.to_owned(), pid: pid.trim().to_owned() }
    })?;
    lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())).map_err(DevDbError::io(&path))?;
    Ok(lock)
}

fn make_cluster(
    runner: &Runner,
    binaries: &Binaries,
    root: &Path,
    data: &Path,
    throwaway: bool,
) -> Result<(), DevDbError> {
    // Made beside and moved into place: a kill in the middle leaves nothing that looks finished.
    let making = root.join("pgdata.making");
    if making.exists() {
        fs::remove_dir_all(&making).map_err(DevDbError::io(&making))?;
    }
    make_private(runner, &making)?;
    let mut initdb = runner.command(&binaries.program("initdb"), binaries, None);
    initdb.arg("-D").arg(&making).args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]);
    initdb.arg(if throwaway { "--no-sync" } else { "--data-checksums" });
    let program = || "initdb".to_owned();
    let output = initdb.output().map_err(|error| DevDbError::Program { program: program(), why: error.to_string() })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(DevDbError::Program { program: program(), why });
    }
    fs::rename(&making, data).map_err(DevDbError::io(data))
}

fn same_version(binaries: &Binaries, data: &Path) -> Result<(), DevDbError> {
    let path = data.join("PG_VERSION");
    let made = fs::read_to_string(&path).map_err(DevDbError::io(&path))?.trim().to_owned();
    let found = binaries.major.to_string();
    if made == found { Ok(()) } else { Err(DevDbError::OtherVersion { path: data.to_owned(), made, found }) }
}

/// After kill -9 of an earlier process its server needs a moment to be gone.
fn wait_for_stale(data: &Path) -> Result<(), DevDbError> {
    let started = instant();
    loop {
        let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let pid = text.lines().next().unwrap_or_default().trim().to_owned();
        let name = fs::read_to_string(Path::new("/proc").join(&pid).join("comm")).unwrap_or_default();
        if pid.is_empty() || name.trim() != "postgres" {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(STALE_SECONDS) {
            return Err(DevDbError::InUse { path: data.to_owned(), pid });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn socket_folder(root: &Path) -> PathBuf {
    let near = root.join("run");
    if near.as_os_str().len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX {
        return near;
    }
    let hash = hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()));
    Path::new("/tmp").join(format!("creditd-{}", &hash[..16]))
}

/// A folder that only the server's user (and root) may enter.
fn make_private(runner: &Runner, path: &Path) -> Result<(), DevDbError> {
    fs::create_dir_all(path).map_err(DevDbError::io(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(DevDbError::io(path))?;
    runner.give(path)
}

fn settings(throwaway: bool) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![("listen_addresses", ""), ("timezone", "UTC"), ("log_timezone", "UTC")];
    settings.extend(if throwaway {
        [
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("max_connections", "300"),
            ("shared_buffers", "128MB"),
        ]
    } else {
        [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("checkpoint_timeout", "15min"),
            ("max_wal_size", "2GB"),
            ("shared_buffers", "128MB"),
        ]
    });
    settings
}

type Running = (Pid, mpsc::Receiver<()>);

/// Starts the server from a thread that lives as long as it does: the death signal fires when that thread ends, which
/// is when this process ends.
fn run_server(
    runner: &Runner,
    binaries: &Binaries,
    root: &Path,
    socket: &Path,
    throwaway: bool,
    more: &[(String, String)],
) -> Result<Running, DevDbError> {
    let log_path = root.join("server.log");
    let log = fs::File::create(&log_path).map_err(DevDbError::io(&log_path))?;
    let errors = log.try_clone().map_err(DevDbError::io(&log_path))?;
    let signal = if throwaway { "QUIT" } else { "INT" };
    let mut command = runner.command(&binaries.program("postgres"), binaries, Some(signal));
    command.arg("-D").arg(root.join("pgdata")).arg("-k").arg(socket);
    for (name, value) in settings(throwaway) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    for (name, value) in more {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command.stdout(log).stderr(errors);
    let (started, start) = mpsc::channel();
    let (ended, gone) = mpsc::channel();
    std::thread::Builder::new()
        .name("postgres".to_owned())
        .spawn(move || match command.spawn() {
            Ok(mut child) => {
                let _: Result<(), mpsc::SendError<_>> = started.send(Ok(child.id()));
                drop(child.wait());
                let _: Result<(), mpsc::SendError<()>> = ended.send(());
            }
            Err(error) => drop(started.send(Err(error))),
        })
        .map_err(|error| DevDbError::Program { program: "a thread".to_owned(), why: error.to_string() })?;
    let failed = |why: String| DevDbError::Program { program: "postgres".to_owned(), why };
    let pid = start.recv().map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    let pid = i32::try_from(pid).map_err(|error| failed(error.to_string()))?;
    Ok((Pid::from_raw(pid), gone))
}

fn log_tail(root: &Path) -> String {
    let Ok(mut file) = fs::File::open(root.join("server.log")) else { return String::new() };
    let length = file.metadata().map(|meta| meta.len()).unwrap_or(0);
    drop(file.seek(SeekFrom::Start(length.saturating_sub(LOG_SHOWN))));
    let mut tail = Vec::new();
    drop(file.read_to_end(&mut tail));
    String::from_utf8_lossy(&tail).into_owned()
}
