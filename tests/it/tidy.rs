//! The rules of the house that a machine can read, held against the sources.
//!
//! Each rule is a function from a text to what is wrong with it; it is shown a bad text first, then the house.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

mod map;
mod source;
mod words;

/// Longest file of `src`, in lines, tests left out.
const LINES_MAX: usize = 600;
/// Most files that are looked at, so that a loop of links ends.
const FILES_MAX: usize = 5_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the house by its path from the root, but for what `.gitignore` names.
fn files() -> BTreeMap<String, PathBuf> {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let skipped: Vec<&str> = ignored.lines().map(|line| line.trim_start_matches('/')).chain([".git"]).collect();
    let mut found = BTreeMap::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if skipped.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(name, path);
            }
            assert!(found.len() <= FILES_MAX, "more than {FILES_MAX} files: is something here that should be ignored?");
        }
    }
    found
}

fn is_rust(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

/// The Rust files of `src` but for those that are tests as a whole.
fn sources() -> BTreeMap<String, String> {
    let ours = |name: &str| name.starts_with("src/") && is_rust(name) && !name.ends_with("tests.rs");
    let files = files().into_iter().filter(|(name, _)| ours(name));
    files.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

/// What a rule finds in the production part of every source, with the name of the file.
fn wrong(rule: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources() {
        found.extend(rule(&name, source::production(&text)).into_iter().map(|wrong| format!("{name}: {wrong}")));
    }
    found
}

#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn rooms_use_what_the_map_allows() {
    let map = map::Map::read(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    let rooms: Vec<String> = sources().keys().filter_map(|name| map::room_of(name)).collect();
    for room in &rooms {
        assert!(map.rooms.contains_key(room), "the map in src/lib.rs has no row for {room}");
    }
    for (row, allowed) in &map.rooms {
        assert!(rooms.iter().any(|room| row.split("::").next() == Some(room)), "the map's {row} is not there");
        for path in allowed.iter().flatten() {
            let room = path.split("::").next().unwrap();
            assert!(rooms.iter().any(|known| known == room), "the map's {row} may use {path}, which is not there");
        }
    }
    none(&wrong(|name, text| map.wrong_paths(name, text)));
}

#[test]
fn outside_crates_are_known_where_the_map_says() {
    let map = map::Map::read(&fs::read_to_string(root().join("src/lib.rs")).unwrap());
    assert!(map.outside.len() >= 5, "the table of outside crates was not read");
    none(&wrong(|name, text| map.wrong_crates(name, text)));
}

/// Pure rooms do nothing that waits: what they say is testable without a runtime.
#[test]
fn pure_rooms_do_not_wait() {
    let pure = |name: &str| {
        let inbox = name.starts_with("src/inbox/") && name != "src/inbox/receive.rs";
        inbox || ["src/domain/", "src/exports/", "src/stripe/wire/"].iter().any(|room| name.starts_with(room))
    };
    none(&wrong(|name, text| if pure(name) { words::found(text, &["async", "await"]) } else { Vec::new() }));
}

#[test]
fn files_stay_short() {
    let long = |_: &str, text: &str| {
        let lines = text.lines().count();
        if lines > LINES_MAX { vec![format!("{lines} lines; split it at {LINES_MAX}")] } else { Vec::new() }
    };
    assert_eq!(long("", &"\n".repeat(LINES_MAX + 1)).len(), 1);
    assert_eq!(long("", &"\n".repeat(LINES_MAX)), Vec::<String>::new());
    none(&wrong(long));
}

#[test]
fn no_banned_word_stands_in_the_sources() {
    none(&wrong(words::banned));
    let all: Vec<String> =
        files().into_keys().filter(|name| name.starts_with("src/") || name.starts_with("tests/")).collect();
    none(&words::empty_names(&all));
}

/// Marks of unfinished work are looked for in the whole file, tests and comments too.
#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for (name, path) in files() {
        let ours = ["src/", "tests/it/", "migrations/", "deploy/", ".ci/"].iter().any(|part| name.starts_with(part));
        let about_itself = name.starts_with("tests/it/tidy");
        if ours && !about_itself {
            let text = fs::read_to_string(path).unwrap();
            found.extend(words::unfinished(&text).into_iter().map(|wrong| format!("{name}: {wrong}")));
        }
    }
    none(&found);
}

#[test]
fn every_source_begins_with_its_duty() {
    let speechless = |text: &str| !text.starts_with("//! ");
    assert!(speechless("use std::fs;\n") && !speechless("//! Reads files.\n"));
    let found: Vec<String> = sources().into_iter().filter(|(_, text)| speechless(text)).map(|(name, _)| name).collect();
    none(&found);
}

/// A statement's name is what the server's log and `pg_stat_statements` show of it.
#[test]
fn every_statement_begins_with_its_name() {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut found = wrong(|name, text| if name.starts_with("src/store/") { words::unnamed(text) } else { Vec::new() });
    for (file, text) in sources() {
        for name in words::statement_names(source::production(&text)) {
            if let Some(other) = names.insert(name.clone(), file.clone()) {
                found.push(format!("{file}: `-- {name}` is the name of a statement of {other} too"));
            }
        }
    }
    assert!(names.len() > 50, "only {} statements were found", names.len());
    none(&found);
}

/// What is built here runs elsewhere: no path of one machine stands in any file.
#[test]
fn no_path_of_a_machine_is_written_down() {
    let mut found = Vec::new();
    for (name, path) in files() {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        found.extend(words::machine_paths(&text).into_iter().map(|wrong| format!("{name}: {wrong}")));
    }
    none(&found);
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let names: Vec<String> =
        files().into_keys().filter_map(|name| Some(name.strip_prefix("migrations/")?.to_owned())).collect();
    assert!(!names.is_empty());
    none(&words::misnumbered(&names));
    assert_eq!(words::misnumbered(&["0001_a.sql".to_owned(), "0003_b.sql".to_owned()]).len(), 1, "a gap is seen");
    assert_eq!(words::misnumbered(&["1_a.sql".to_owned()]).len(), 1, "a short number is seen");
    assert_eq!(words::misnumbered(&["0001_A-b.sql".to_owned()]).len(), 1, "a name of other letters is seen");
}

/// Whoever runs creditd finds every variable, and whoever reads about one finds it in the code.
#[test]
fn every_variable_is_written_down() {
    let config = fs::read_to_string(root().join("src/config.rs")).unwrap();
    let variables = words::variables(&config);
    assert!(variables.contains("DATABASE_URL") && variables.contains("RUST_LOG") && variables.len() > 10);
    let example = fs::read_to_string(root().join("deploy/env.example")).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown: Vec<&str> = example
        .lines()
        .filter_map(|line| Some(line.trim_start_matches('#').split_once('=')?.0))
        .filter(|name| !name.contains(' '))
        .collect();
    for variable in &variables {
        assert!(shown.contains(&variable.as_str()), "deploy/env.example has no line {variable}=");
        assert!(readme.contains(&format!("`{variable}`")), "README.md does not speak of `{variable}`");
    }
    for name in shown {
        assert!(variables.contains(name), "deploy/env.example has {name}, which src/config.rs does not read");
    }
    for key in words::configuration_keys(&config) {
        assert!(readme.contains(&format!("`{key}`")), "README.md does not speak of `{key}`");
    }
}
