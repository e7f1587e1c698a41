//! The cluster: made once, whole or not at all, and given its settings at each start.

use std::fs;
use std::path::Path;

use super::binaries::Binaries;
use super::place::Place;
use super::run::{LOCAL_BOUND, as_server, output};
use super::{DevDbError, Location, Options};

/// The major version that made the cluster, or nothing when there is no cluster yet.
pub(super) fn major_of(cluster: &Path) -> Result<Option<u32>, DevDbError> {
    let path = cluster.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(DevDbError::io("read a version in", &path)(std::io::ErrorKind::InvalidData.into())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DevDbError::io("read", &path)(error)),
    }
}

/// Runs `initdb` into a side directory and renames it: a cluster that has the name is whole.
///
/// Trust is safe here: the only way in is a socket in a directory that only the server's user may enter.
pub(super) async fn make(binaries: &Binaries, place: &Place, durable: bool) -> Result<(), DevDbError> {
    let unfinished = place.home.join("cluster.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(DevDbError::io("remove", &unfinished))?;
    }
    let program = binaries.bin_dir.join("initdb");
    let mut initdb = as_server(&program, place.identity.as_ref(), &binaries.library_dirs);
    initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
    initdb.arg(if durable { "--data-checksums" } else { "--no-sync" });
    initdb.arg("--pgdata").arg(&unfinished);
    output(initdb, LOCAL_BOUND).await.map_err(|reason| DevDbError::Initdb { reason })?;
    fs::rename(&unfinished, &place.cluster).map_err(DevDbError::io("name", &place.cluster))
}

/// The settings of this start, as arguments of the server: what the caller asks for comes last and wins.
pub(super) fn settings(options: &Options, socket_dir: &Path) -> Vec<(String, String)> {
    let quoted = format!("\"{}\"", socket_dir.display().to_string().replace('"', "\"\""));
    let mut settings = vec![
        ("listen_addresses", String::new()),
        ("port", super::server::PORT.to_string()),
        ("unix_socket_directories", quoted),
        ("unix_socket_permissions", "0700".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        // Planning time nobody here gets back; and Debian's unpacked server comes without LLVM.
        ("jit", "off".to_owned()),
        ("shared_buffers", "128MB".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
    ];
    if options.durable {
        settings.extend([
            ("fsync", "on".to_owned()),
            ("synchronous_commit", "on".to_owned()),
            ("max_connections", "100".to_owned()),
        ]);
    } else {
        settings.extend([
            ("fsync", "off".to_owned()),
            ("full_page_writes", "off".to_owned()),
            ("synchronous_commit", "off".to_owned()),
            ("max_connections", "200".to_owned()),
        ]);
    }
    if options.location == Location::Throwaway {
        // It may live in memory, and nobody replays its log.
        let small = [("max_wal_size", "256MB"), ("wal_level", "minimal"), ("max_wal_senders", "0")];
        settings.extend(small.map(|(name, value)| (name, value.to_owned())));
    } else {
        settings.push(("max_wal_size", "2GB".to_owned()));
    }
    let ours = settings.into_iter().map(|(name, value)| (name.to_owned(), value));
    ours.chain(options.extra_settings.iter().cloned()).collect()
}
