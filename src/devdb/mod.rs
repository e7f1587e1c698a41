//! An embedded Postgres for `creditd dev` and the tests: found or fetched, started as our child, stopped with us.
//!
//! The flow of [`DevDb::start`], in order:
//!
//! 1. `place`: which user the server runs as, where the cluster lives, where its socket is; the directory is locked.
//! 2. `binaries`: a Postgres 15 or newer that this user can run, from the machine or the cache, else `fetch`.
//! 3. `cluster`: `initdb` when there is no cluster yet, into a side directory that is renamed when it is whole.
//! 4. `server`: the postmaster as a child of a thread of its own, polled until it answers; then database `creditd`.
//!
//! What is always true:
//!
//! - No TCP port is opened. The socket lies in a 0700 directory of the server's user, and whoever may enter is trusted.
//! - The server never outlives us for long, even after `kill -9`: the kernel signals it when its parent thread ends,
//!   and a small `sh` (the warden) does the same and removes throwaway directories where the kernel cannot.
//! - One data directory has one owner: a lock on a file, held as long as the [`DevDb`] lives.
//! - Nothing is installed on the machine; what is fetched is checked against a pinned checksum before it is unpacked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

mod binaries;
mod cluster;
mod debian;
mod fetch;
mod pins;
mod place;
mod run;
mod server;
#[cfg(test)]
mod tests;

use place::Place;
use server::Server;

/// The database every [`DevDb`] has.
pub const DATABASE: &str = "creditd";

/// The oldest Postgres that is accepted, by major version.
pub const OLDEST_MAJOR: u32 = 15;

/// Where progress is told, one line at a time.
pub type Say = Arc<dyn Fn(&str) + Send + Sync>;

/// Where the cluster lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this directory, which is made when it is missing and stays.
    Kept(PathBuf),
    /// In a temporary directory, in memory when there is room, which goes when the server stops.
    Throwaway,
}

/// What to start; see [`Options::kept`] and [`Options::throwaway`].
#[derive(Clone)]
pub struct Options {
    /// Where the cluster lives.
    pub location: Location,
    /// The folder that holds `postgres` and `initdb`; nothing else is tried when it is named (`CREDITD_PG_BIN`).
    pub pg_bin: Option<PathBuf>,
    /// Where fetched binaries are kept (`CREDITD_PG_CACHE`).
    pub cache_dir: PathBuf,
    /// Whether a commit survives a power cut.
    pub durable: bool,
    /// Leaves the machine's own Postgres alone, so that the cache or a fetch is really used.
    pub hide_system_binaries: bool,
    /// Further server settings; they win over ours.
    pub extra_settings: Vec<(String, String)>,
    /// Where progress is told.
    pub say: Say,
}

impl Options {
    /// A durable cluster that stays in `data_dir`.
    pub fn kept(data_dir: impl Into<PathBuf>, cache_dir: impl Into<PathBuf>) -> Self {
        Self { location: Location::Kept(data_dir.into()), durable: true, ..Self::throwaway(cache_dir) }
    }

    /// A fast cluster that is gone when it stops.
    pub fn throwaway(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            location: Location::Throwaway,
            pg_bin: None,
            cache_dir: cache_dir.into(),
            durable: false,
            hide_system_binaries: false,
            extra_settings: Vec::new(),
            say: Arc::new(|_| {}),
        }
    }

    /// The cache when none is named: under the home directory, else under the system's own cache.
    pub fn default_cache(home: Option<&Path>) -> PathBuf {
        match home {
            Some(home) => home.join(".cache/creditd"),
            None => PathBuf::from("/var/cache/creditd"),
        }
    }
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DevDbError {
    /// The folder that was named holds no Postgres we can use.
    #[error("{} holds no usable Postgres {OLDEST_MAJOR} or newer: {reason}", path.display())]
    Binaries {
        /// The folder that was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing was found and nothing could be fetched.
    #[error(
        "no Postgres {OLDEST_MAJOR} or newer is at hand and none could be fetched:\n{}\nInstall Postgres, name its \
         bin folder in CREDITD_PG_BIN, or name a running database in DATABASE_URL",
        ways.join("\n")
    )]
    NoBinaries {
        /// One line for each way that was tried, with the reason it failed.
        ways: Vec<String>,
    },
    /// The cluster was made by a major version that is not at hand.
    #[error(
        "the cluster in {} was made by Postgres {cluster}, but the one at hand is {found}: name the bin folder of a \
         Postgres {cluster} in CREDITD_PG_BIN, or move the directory away to begin anew",
        path.display()
    )]
    OtherMajor {
        /// The cluster's directory.
        path: PathBuf,
        /// The major version that made it.
        cluster: u32,
        /// The major version we have.
        found: u32,
    },
    /// Another process uses the directory.
    #[error("{} is in use by process {pid}: stop it first, or choose another data directory", path.display())]
    InUse {
        /// The directory both want.
        path: PathBuf,
        /// The process that has it.
        pid: u32,
    },
    /// Postgres refuses to run as root and there is nobody else to run it as.
    #[error("Postgres refuses to run as root, and this machine has neither a user `postgres` nor a user `nobody`")]
    NoUser,
    /// A directory could not be made ready.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed: {reason}")]
    Initdb {
        /// The end of what it said.
        reason: String,
    },
    /// The server did not come up.
    #[error("Postgres did not start: {reason}\nthe end of its log:\n{log}")]
    Start {
        /// What we saw.
        reason: String,
        /// The last lines of the server's log.
        log: String,
    },
    /// The server is up, but the database could not be made.
    #[error("cannot make the database {DATABASE}: {0}")]
    Database(#[from] sqlx::Error),
}

impl DevDbError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

/// A running Postgres; it stops when this is dropped, and [`DevDb::stop`] says when it has.
// The order of the fields is the order of the drop: the server ends before its directories go and the lock opens.
#[derive(Debug)]
pub struct DevDb {
    server: Server,
    place: Place,
}

impl DevDb {
    /// Finds or fetches Postgres, makes the cluster when there is none, and answers when the database can be used.
    pub async fn start(options: Options) -> Result<Self, DevDbError> {
        let place = Place::prepare(&options)?;
        let made_by = cluster::major_of(&place.cluster)?;
        let binaries = binaries::obtain(&options, &place, made_by).await?;
        if let Some(made_by) = made_by
            && made_by != binaries.major
        {
            return Err(DevDbError::OtherMajor { path: place.cluster, cluster: made_by, found: binaries.major });
        }
        if made_by.is_none() {
            (options.say)(&format!("making a Postgres {} cluster in {}", binaries.major, place.cluster.display()));
            cluster::make(&binaries, &place, options.durable).await?;
        }
        let settings = cluster::settings(&options, &place.socket_dir);
        let server = Server::start(&binaries, &place, &settings, &options.say).await?;
        server::make_database(&url(&place.socket_dir, "postgres")).await?;
        Ok(Self { server, place })
    }

    /// The URL of the database `creditd`, over the socket.
    pub fn url(&self) -> String {
        self.url_for(DATABASE)
    }

    /// The URL of another database of the same server.
    pub fn url_for(&self, database: &str) -> String {
        url(&self.place.socket_dir, database)
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The directory that holds the cluster, its log and (when the path is short enough) its socket.
    pub fn home(&self) -> &Path {
        &self.place.home
    }

    /// Ends when the server has ended, whoever ended it, and says how.
    pub async fn exited(&self) -> String {
        self.server.exited().await
    }

    /// Stops the server: fast, then immediately, then by force, each for a bounded time; then tidies.
    pub async fn stop(self) {
        let Self { mut server, place } = self;
        server.stop().await;
        drop(server);
        // Removing some thousand files blocks; nobody needs the answer, and a panic there has nothing to break.
        let _ = tokio::task::spawn_blocking(move || drop(place)).await;
    }
}

/// A URL that both sqlx and libpq read. The port is named because both would else take it from `PGPORT`.
fn url(socket_dir: &Path, database: &str) -> String {
    let host = percent_encoded(socket_dir.as_os_str().to_owned());
    format!("postgres://postgres@localhost:{}/{}?host={host}", server::PORT, percent_encoded(database.into()))
}

fn percent_encoded(text: OsString) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStringExt as _;
    let mut encoded = String::new();
    for byte in text.into_vec() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
