//! Finds a Postgres that the server's user can run: the named folder, the machine's own, the cache, else a fetch.

use std::path::{Path, PathBuf};

use super::fetch::{self, Way};
use super::place::{Identity, Place};
use super::run::{LOCAL_BOUND, as_server, client, output};
use super::{DevDbError, OLDEST_MAJOR, Options};

/// Folders of which each subfolder may hold one version.
const VERSIONED: [&str; 3] = ["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];

/// Folders with one version each.
const PLAIN: [&str; 5] = [
    "/usr/local/pgsql/bin",
    "/usr/pgsql-18/bin",
    "/usr/pgsql-17/bin",
    "/usr/pgsql-16/bin",
    "/Applications/Postgres.app/Contents/Versions/latest/bin",
];

/// A folder with `postgres` and `initdb`, and what they need to run.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    /// Where the programs are.
    pub(super) bin_dir: PathBuf,
    /// Libraries besides the system's.
    pub(super) library_dirs: Vec<PathBuf>,
    /// The major version.
    pub(super) major: u32,
}

/// Binaries for a new cluster, or for one that a certain major version made.
pub(super) async fn obtain(options: &Options, place: &Place, made_by: Option<u32>) -> Result<Binaries, DevDbError> {
    if let Some(named) = &options.pg_bin {
        let found = examine(named, Vec::new(), place.identity.as_ref()).await;
        return found.map_err(|reason| DevDbError::Binaries { path: named.clone(), reason });
    }
    let mut other = None;
    if !options.hide_system_binaries {
        for folder in folders_of_the_machine().await {
            match examine(&folder, Vec::new(), place.identity.as_ref()).await {
                Ok(found) if made_by.is_none_or(|made_by| made_by == found.major) => return Ok(found),
                Ok(found) => other = other.or(Some(found)),
                // Too old, or not for this user: the next folder, or a fetch, may do.
                Err(_) => {}
            }
        }
    }
    if let Some(found) = cached(place, made_by).await {
        return Ok(found);
    }
    match (fetch::fetch(place, made_by, &options.say).await, other) {
        // The caller compares the versions and says what to do about it.
        (Err(DevDbError::NoBinaries { .. }), Some(other)) => Ok(other),
        (fetched, _) => fetched,
    }
}

/// What an earlier fetch left in the cache, when it can be used.
pub(super) async fn cached(place: &Place, made_by: Option<u32>) -> Option<Binaries> {
    if !place.cache.exists() || fetch::refuse_foreign(&place.cache).is_err() {
        return None;
    }
    for way in Way::ALL {
        let (bin_dir, library_dirs) = way.layout(&place.cache.join(way.entry()));
        if let Ok(found) = examine(&bin_dir, library_dirs, place.identity.as_ref()).await
            && made_by.is_none_or(|made_by| made_by == found.major)
        {
            return Some(found);
        }
    }
    None
}

/// Runs `postgres --version` as the server's user: that proves at once that it is there, that it runs, and its age.
pub(super) async fn examine(
    bin_dir: &Path,
    library_dirs: Vec<PathBuf>,
    identity: Option<&Identity>,
) -> Result<Binaries, String> {
    let initdb = bin_dir.join("initdb");
    if !initdb.exists() {
        return Err(format!("{} is not there", initdb.display()));
    }
    let mut command = as_server(&bin_dir.join("postgres"), identity, &library_dirs);
    command.arg("--version");
    let said = output(command, LOCAL_BOUND).await?;
    let major = major_of(&said).ok_or_else(|| format!("cannot read the version in {said:?}"))?;
    if major < OLDEST_MAJOR {
        return Err(format!("it is Postgres {major}"));
    }
    Ok(Binaries { bin_dir: bin_dir.to_owned(), library_dirs, major })
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, also of `18beta1`.
pub(super) fn major_of(said: &str) -> Option<u32> {
    let version = said.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = version.find(|character: char| !character.is_ascii_digit()).unwrap_or(version.len());
    version.get(..digits)?.parse().ok()
}

/// Folders worth a look, newest first within an install folder, none twice.
async fn folders_of_the_machine() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(said) = output(client("pg_config", ["--bindir"]), LOCAL_BOUND).await {
        folders.push(PathBuf::from(said.trim()));
    }
    for base in VERSIONED {
        folders.extend(newest_first(Path::new(base)));
    }
    folders.extend(PLAIN.map(PathBuf::from));
    // The shell knows the PATH; a link there leads to the folder where the server finds its own files.
    if let Ok(said) = output(client("sh", ["-c", "command -v postgres"]), LOCAL_BOUND).await
        && let Ok(program) = Path::new(said.trim()).canonicalize()
    {
        folders.extend(program.parent().map(Path::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    folders.retain(|folder| folder.is_absolute() && folder.join("postgres").exists() && seen.insert(folder.clone()));
    folders
}

/// The `bin` folders of the versions under an install folder: `15`, or `postgresql@17`.
pub(super) fn newest_first(base: &Path) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir(base)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|found| {
            let name = found.file_name().into_string().ok()?;
            let major = name.strip_prefix("postgresql@").unwrap_or(&name).parse().ok()?;
            Some((major, found.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}
