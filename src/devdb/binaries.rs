//! Finding a server: where it was said to be, where Postgres says it is, the usual folders, the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{DevDbError, Options, fetch};

/// Oldest server that does (rule 46).
const OLDEST: u32 = 15;

/// Folders of the usual installations; `*` stands for a version.
const USUAL: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// A usable server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// Folder of `postgres` and `initdb`.
    pub bin: PathBuf,
    /// Libraries it needs that are not installed.
    pub libraries: Option<PathBuf>,
    /// Its major version.
    pub major: u32,
}

impl Binaries {
    /// Looks at a folder: `initdb` and a `postgres` that runs and is new enough.
    pub fn at(bin: &Path, libraries: Option<PathBuf>) -> Result<Self, String> {
        if !bin.join("initdb").is_file() {
            return Err("it has no initdb".to_owned());
        }
        let mut command = Command::new(bin.join("postgres"));
        command.arg("--version");
        if let Some(libraries) = &libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let output = command.output().map_err(|error| format!("its postgres does not run: {error}"))?;
        if !output.status.success() {
            return Err(format!("its postgres does not run: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let major = major_of(&text).ok_or_else(|| format!("`{text}` names no version"))?;
        if major < OLDEST {
            return Err(format!("it is {text}, older than {OLDEST}"));
        }
        Ok(Self { bin: bin.to_owned(), libraries, major })
    }

    /// A command of this server.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian ..)`.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Finds a server, or fetches one into the cache.
pub fn find_or_fetch(options: &Options, cache: &Path) -> Result<Binaries, DevDbError> {
    if let Some(named) = &options.pg_bin {
        return Binaries::at(named, None).map_err(|why| DevDbError::BadBinaries { path: named.clone(), why });
    }
    if !options.hide_installed {
        let found = installed().into_iter().filter_map(|bin| Binaries::at(&bin, None).ok()).max_by_key(|b| b.major);
        if let Some(found) = found {
            return Ok(found);
        }
    }
    fetch::cached_or_fetched(cache, &options.say)
}

/// Folders that may hold a server: `pg_config`'s, the usual ones, and those of the search path.
fn installed() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        && output.status.success()
    {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    for pattern in USUAL {
        folders.extend(expand(pattern));
    }
    if let Ok(output) = Command::new("sh").args(["-c", "command -v postgres"]).output()
        && let Ok(real) = Path::new(String::from_utf8_lossy(&output.stdout).trim()).canonicalize()
        && let Some(folder) = real.parent()
    {
        folders.push(folder.to_owned());
    }
    folders
}

/// The folders a pattern with at most one `*` in one component means.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = std::fs::read_dir(format!("{parent}/")) else { return Vec::new() };
    let named = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named
        .map(|entry| PathBuf::from(format!("{}{after}", entry.path().display())))
        .filter(|path| path.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_form_seen() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18.6"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major_of("what"), None);
    }

    #[test]
    fn a_folder_without_a_server_says_what_is_missing() {
        assert_eq!(Binaries::at(Path::new("/etc"), None), Err("it has no initdb".to_owned()));
    }
}
