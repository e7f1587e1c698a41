//! Debian's packages, unpacked into the cache: the server with the libraries it needs, no root, nothing installed.
//!
//! The checksums are Debian's own: apt-get refuses a package that its signed lists do not name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use super::run::{FETCH_BOUND, LOCAL_BOUND, client, output};
use super::{OLDEST_MAJOR, Say};

/// Debian's server reads the zones from here and nowhere else.
const ZONES: &str = "/usr/share/zoneinfo/UTC";

/// The server of Debian 12 needs some forty; far more means that the graph was misread.
const PACKAGES_MAX: usize = 150;

/// The C library must be the machine's own; LLVM is 100 MB that only `jit` needs, and ours is off.
const LEFT_OUT: [&str; 4] = ["libc6", "libllvm", "libgcc-s1", "libc-"];

/// Where an unpacked entry keeps its programs and libraries.
pub(super) fn layout(entry: &Path) -> (PathBuf, Vec<PathBuf>) {
    let versions = sorted_names(&entry.join("usr/lib/postgresql"));
    let version = versions.iter().filter_map(|name| name.parse::<u32>().ok()).max().unwrap_or_default();
    let mut library_dirs = Vec::new();
    for base in ["usr/lib", "lib"] {
        for name in sorted_names(&entry.join(base)) {
            if name.contains("-linux-") {
                library_dirs.push(entry.join(base).join(name));
            }
        }
    }
    (entry.join("usr/lib/postgresql").join(version.to_string()).join("bin"), library_dirs)
}

fn sorted_names(directory: &Path) -> BTreeSet<String> {
    let listed = fs::read_dir(directory).into_iter().flatten().flatten();
    listed.map(|found| found.file_name().to_string_lossy().into_owned()).collect()
}

/// Downloads and unpacks the wanted server, else the newest, that the machine's package lists know. Lists that are missing (a slim container)
/// or older than what Debian still has are common, so a failure is tried once more with fresh lists of our own.
pub(super) async fn fetch_into(staging: &Path, wanted: Option<u32>, say: &Say) -> Result<(), String> {
    if !Path::new(ZONES).exists() {
        return Err(format!("Debian's server needs {ZONES}, which is missing here (package tzdata)"));
    }
    let download = staging.join("download");
    fs::create_dir_all(&download).map_err(|error| format!("{}: {error}", download.display()))?;
    if let Err(first) = download_with(&[], wanted, &download, say).await {
        say(&format!("asking Debian for fresh package lists, because {first}"));
        let lists = own_lists(&download).await.map_err(|second| format!("{first}; {second}"))?;
        download_with(&lists, wanted, &download, say).await?;
    }
    for archive in
        sorted_names(&download).iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "deb"))
    {
        let mut unpack = client("dpkg-deb", ["-x"]);
        unpack.arg(download.join(archive)).arg(staging);
        output(unpack, LOCAL_BOUND).await?;
    }
    Ok(())
}

/// The server and its libraries as archives in a directory.
async fn download_with(lists: &[String], wanted: Option<u32>, download: &Path, say: &Say) -> Result<(), String> {
    let server = newest_server(lists, wanted).await?;
    let mut depends = client("apt-cache", lists);
    depends.args(["depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"]);
    depends.args(["--no-replaces", "--no-enhances"]).arg(&server);
    let libraries = needed(&output(depends, LOCAL_BOUND).await?, &server)?;
    say(&format!("fetching {server} with {} libraries from Debian into {}", libraries.len(), download.display()));
    let mut get = client("apt-get", lists);
    get.args(["-q", "download"]).arg(&server).args(&libraries).current_dir(download);
    output(get, FETCH_BOUND).await.map(|_| ())
}

async fn newest_server(lists: &[String], wanted: Option<u32>) -> Result<String, String> {
    let mut search = client("apt-cache", lists);
    search.args(["search", "--names-only", "^postgresql-[0-9]+$"]);
    newest(&output(search, LOCAL_BOUND).await?, wanted).ok_or_else(|| match wanted {
        Some(wanted) => format!("the package lists know no Postgres {wanted}"),
        None => format!("the package lists know no Postgres {OLDEST_MAJOR} or newer"),
    })
}

/// The package of the wanted server, else of the newest, in what `apt-cache search` says.
pub(super) fn newest(listed: &str, wanted: Option<u32>) -> Option<String> {
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let majors = names.filter_map(|name| name.strip_prefix("postgresql-")?.parse::<u32>().ok());
    let fitting = majors.filter(|major| *major >= OLDEST_MAJOR && wanted.is_none_or(|wanted| wanted == *major));
    fitting.max().map(|major| format!("postgresql-{major}"))
}

/// Package lists of our own: no root is needed, and the machine's stay as they are.
async fn own_lists(download: &Path) -> Result<Vec<String>, String> {
    let lists = download.join("lists");
    let cache = download.join("cache");
    for directory in [lists.join("partial"), cache.join("archives/partial")] {
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let options = vec![
        "-o".to_owned(),
        format!("Dir::State::lists={}", lists.display()),
        "-o".to_owned(),
        format!("Dir::Cache={}", cache.display()),
        "-o".to_owned(),
        "Debug::NoLocking=true".to_owned(),
    ];
    let mut update = client("apt-get", &options);
    update.args(["-q", "update"]);
    output(update, FETCH_BOUND).await?;
    Ok(options)
}

/// The libraries the server needs, and those they need, from what `apt-cache depends --recurse` says.
///
/// Programs and data (perl, debconf, the cluster tools) are not followed: the server runs without them.
pub(super) fn needed(graph: &str, server: &str) -> Result<BTreeSet<String>, String> {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut package = "";
    for line in graph.lines() {
        if !line.starts_with([' ', '|']) {
            package = line.trim();
        } else if let Some((_, name)) = line.split_once("Depends: ") {
            edges.entry(package).or_default().push(name.trim());
        }
    }
    let mut found = BTreeSet::new();
    let mut waiting = VecDeque::from([server]);
    while let Some(package) = waiting.pop_front() {
        for name in edges.get(package).into_iter().flatten() {
            let library = name.starts_with("lib") && !LEFT_OUT.iter().any(|left_out| name.starts_with(left_out));
            if library && found.insert((*name).to_owned()) {
                waiting.push_back(name);
            }
        }
        if found.len() > PACKAGES_MAX {
            return Err(format!("{server} seems to need more than {PACKAGES_MAX} libraries"));
        }
    }
    if found.is_empty() {
        return Err(format!("{server} seems to need no library at all"));
    }
    Ok(found)
}
