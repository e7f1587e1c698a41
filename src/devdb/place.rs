//! Who the server runs as, where its cluster lives, and the lock that makes the directory ours.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{DevDbError, Location, Options};

/// Where clusters and binaries live when the user we drop to cannot enter the directory that was asked for.
const SHARED_HOME: &str = "/var/lib/creditd";

/// `sun_path` has 108 bytes with its closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A cluster in memory grows to some hundred megabytes under the tests; below this the disk is the safer place.
const ROOMY_BYTES: u64 = 2 << 30;

const MEMORY_DIR: &str = "/dev/shm";

/// The user the server runs as when we are root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The user's id.
    pub(super) uid: u32,
    /// The user's group.
    pub(super) gid: u32,
    /// What to call the user in messages.
    pub(super) name: String,
}

/// Everything that must stay as long as the server runs.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) home: PathBuf,
    pub(super) cluster: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) identity: Option<Identity>,
    pub(super) cache: PathBuf,
    temporary: Vec<TempDir>,
    _lock: File,
}

impl Place {
    /// Chooses the user and the directories, makes them, and takes the lock.
    pub(super) fn prepare(options: &Options) -> Result<Self, DevDbError> {
        let mut temporary = Vec::new();
        let (home, identity) = match &options.location {
            Location::Kept(data_dir) => kept_home(data_dir, &options.say)?,
            Location::Throwaway => {
                let identity = default_identity()?;
                let directory = throwaway_dir(identity.as_ref())?;
                let home = directory.path().to_owned();
                temporary.push(directory);
                (home, identity)
            }
        };
        own_private(&home, identity.as_ref())?;
        let lock = take_lock(&home)?;
        let mut socket_dir = home.join("socket");
        if !socket_path_fits(&socket_dir) {
            let short = short_dir()?;
            short.path().clone_into(&mut socket_dir);
            temporary.push(short);
        }
        own_private(&socket_dir, identity.as_ref())?;
        let cache = reachable(&options.cache_dir, identity.as_ref())?;
        Ok(Self { cluster: home.join("cluster"), home, socket_dir, identity, cache, temporary, _lock: lock })
    }

    /// The file the server logs to.
    pub(super) fn log(&self) -> PathBuf {
        self.home.join("server.log")
    }

    /// The directories that go with the server.
    pub(super) fn temporary(&self) -> impl Iterator<Item = &Path> {
        self.temporary.iter().map(TempDir::path)
    }
}

/// The user to run as: nobody else unless we are root.
fn default_identity() -> Result<Option<Identity>, DevDbError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = user.filter(|user| !user.uid.is_root()).ok_or(DevDbError::NoUser)?;
    Ok(Some(Identity { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name }))
}

/// A cluster that is there already decides for itself: Postgres wants to run as its owner.
fn kept_home(data_dir: &Path, say: &super::Say) -> Result<(PathBuf, Option<Identity>), DevDbError> {
    let data_dir = std::path::absolute(data_dir).map_err(DevDbError::io("name", data_dir))?;
    make_dir(&data_dir)?;
    let asked = data_dir.join("postgres");
    let Some(identity) = default_identity()? else { return Ok((asked, None)) };
    if let Ok(found) = fs::metadata(asked.join("cluster"))
        && found.uid() != 0
    {
        let name = format!("with id {}", found.uid());
        return Ok((asked, Some(Identity { uid: found.uid(), gid: found.gid(), name })));
    }
    let home = reachable(&asked, Some(&identity))?;
    if home != asked {
        let (asked, home, name) = (asked.display(), home.display(), &identity.name);
        say(&format!("user {name} cannot enter {asked}: the cluster lives in {home}"));
    }
    Ok((home, Some(identity)))
}

/// The directory itself, or its stand-in under [`SHARED_HOME`] when the server's user cannot get there.
fn reachable(asked: &Path, identity: Option<&Identity>) -> Result<PathBuf, DevDbError> {
    let asked = std::path::absolute(asked).map_err(DevDbError::io("name", asked))?;
    let Some(identity) = identity else { return Ok(asked) };
    let parent = asked.parent().unwrap_or(Path::new("/"));
    if can_enter(parent, identity).map_err(DevDbError::io("look at", parent))? {
        return Ok(asked);
    }
    make_dir(Path::new(SHARED_HOME))?;
    Ok(Path::new(SHARED_HOME).join(stand_in_name(&asked)))
}

/// Sixteen hex digits of the path's hash: the same path finds the same stand-in.
pub(super) fn stand_in_name(asked: &Path) -> String {
    let mut digits = hex::encode(Sha256::digest(asked.as_os_str().as_encoded_bytes()));
    digits.truncate(16);
    digits
}

/// Whether every directory down to this one (or to the last that exists) lets the user through.
fn can_enter(directory: &Path, identity: &Identity) -> std::io::Result<bool> {
    let mut existing = directory;
    while !existing.exists() {
        match existing.parent() {
            Some(parent) => existing = parent,
            None => return Ok(false),
        }
    }
    for ancestor in existing.canonicalize()?.ancestors() {
        let found = fs::metadata(ancestor)?;
        if !lets_through(found.mode(), found.uid(), found.gid(), identity) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The search permission that counts for this user: the owner's, else the group's, else everyone's.
pub(super) fn lets_through(mode: u32, owner: u32, group: u32, identity: &Identity) -> bool {
    let bit = if owner == identity.uid {
        0o100
    } else if group == identity.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

/// Makes a directory that others may enter, whatever the umask; one that exists keeps its mode.
pub(super) fn make_dir(directory: &Path) -> Result<(), DevDbError> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(directory).map_err(DevDbError::io("make", directory))?;
    for made in missing {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755)).map_err(DevDbError::io("open", made))?;
    }
    Ok(())
}

/// Makes a directory that belongs to the server's user alone.
fn own_private(directory: &Path, identity: Option<&Identity>) -> Result<(), DevDbError> {
    if !directory.exists() {
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(directory).map_err(DevDbError::io("make", directory))?;
    }
    if let Some(identity) = identity {
        let given = chown(directory, Some(identity.uid), Some(identity.gid));
        given.map_err(DevDbError::io("give away", directory))?;
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(DevDbError::io("close", directory))
}

/// In memory when there is room, else where temporary files go.
fn throwaway_dir(identity: Option<&Identity>) -> Result<TempDir, DevDbError> {
    let mut bases = vec![std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
    if is_roomy(Path::new(MEMORY_DIR)) {
        bases.insert(0, PathBuf::from(MEMORY_DIR));
    }
    bases.retain(|base| identity.is_none_or(|identity| can_enter(base, identity).unwrap_or(false)));
    temporary_in(&bases)
}

fn is_roomy(directory: &Path) -> bool {
    nix::sys::statvfs::statvfs(directory).is_ok_and(|found| {
        let free = u128::from(found.blocks_available()) * u128::from(found.fragment_size());
        free >= u128::from(ROOMY_BYTES)
    })
}

fn socket_path_fits(directory: &Path) -> bool {
    // ".s.PGSQL.5432" and the slash before it.
    let name = format!("/.s.PGSQL.{}", super::server::PORT);
    directory.as_os_str().len().saturating_add(name.len()) <= SOCKET_PATH_BYTES_MAX
}

fn short_dir() -> Result<TempDir, DevDbError> {
    temporary_in(&[PathBuf::from("/run"), PathBuf::from("/tmp")])
}

fn temporary_in(bases: &[PathBuf]) -> Result<TempDir, DevDbError> {
    let mut failed = DevDbError::io("find", Path::new("/tmp"))(std::io::ErrorKind::NotFound.into());
    for base in bases {
        match tempfile::Builder::new().prefix("creditd-pg-").tempdir_in(base) {
            Ok(directory) => return Ok(directory),
            Err(error) => failed = DevDbError::io("make a directory in", base)(error),
        }
    }
    Err(failed)
}

/// A process that its owner is just starting holds a copy of the lock for a moment, until it becomes another program;
/// whoever holds it longer than this has it.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: std::time::Duration = std::time::Duration::from_millis(25);

/// The lock is the kernel's, so it opens with our end, however we end; the file's text says who holds it.
fn take_lock(home: &Path) -> Result<File, DevDbError> {
    let path = home.join("owner.lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(DevDbError::io("open", &path))?;
    let mut tried = file.try_lock();
    for _ in 0..LOCK_TRIES {
        if !matches!(tried, Err(fs::TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(LOCK_PAUSE);
        tried = file.try_lock();
    }
    match tried {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(DevDbError::io("read", &path))?;
            return Err(DevDbError::InUse { path: home.to_owned(), pid: holder.trim().parse().unwrap_or_default() });
        }
        Err(fs::TryLockError::Error(error)) => return Err(DevDbError::io("lock", &path)(error)),
    }
    file.set_len(0).map_err(DevDbError::io("empty", &path))?;
    write!(file, "{}", std::process::id()).map_err(DevDbError::io("write", &path))?;
    Ok(file)
}
