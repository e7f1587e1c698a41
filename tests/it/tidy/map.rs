//! The map of the house: its tables as `src/lib.rs` shows them, and what a file uses of the crate.

use std::collections::BTreeMap;

use super::source::code;

/// The two tables.
#[derive(Debug, Default)]
pub struct Map {
    /// What each room, or file with a row of its own, may use; `None`: everything.
    pub rooms: BTreeMap<String, Option<Vec<String>>>,
    /// Where each outside crate is known.
    pub outside: BTreeMap<String, Vec<String>>,
}

impl Map {
    /// Reads the tables from the documentation of the crate.
    pub fn read(text: &str) -> Self {
        let mut map = Self::default();
        let mut header = String::new();
        for line in text.lines() {
            let Some(row) = line.strip_prefix("//! |").filter(|row| !row.starts_with("--")) else {
                if !line.starts_with("//! |") {
                    header.clear();
                }
                continue;
            };
            let cells: Vec<&str> = row.trim_end_matches('|').split(" | ").map(str::trim).collect();
            if header.is_empty() {
                cells[0].clone_into(&mut header);
                continue;
            }
            let names: Vec<String> = cells[0].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            assert!(!names.is_empty(), "a row of the map without a name: {row}");
            let last = cells.last().copied().unwrap_or_default();
            let listed: Vec<String> = last.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            match header.as_str() {
                "room" => {
                    assert!(!listed.is_empty() || ["nothing", "everything"].contains(&last), "{names:?}: `{last}`");
                    let allowed = (last != "everything").then_some(listed);
                    map.rooms.extend(names.into_iter().map(|name| (name, allowed.clone())));
                }
                "outside crate" => map.outside.extend(names.into_iter().map(|name| (name, listed.clone()))),
                other => panic!("a table of the map begins with `{other}`"),
            }
        }
        map
    }

    /// Paths into other rooms that the file's row does not allow.
    pub fn wrong_paths(&self, file: &str, text: &str) -> Vec<String> {
        let Some(module) = module_of(file) else { return Vec::new() };
        let own = module.join("::");
        let row = self.rooms.iter().filter(|(row, _)| within(&own, row)).max_by_key(|(row, _)| row.len());
        let (row, allowed) = match row {
            Some((_, None)) => return Vec::new(),
            Some((row, Some(allowed))) => (row, allowed),
            None => return vec!["the map has no row for it".to_owned()],
        };
        let room = &module[0];
        let may = |path: &str| allowed.iter().any(|allowed| within(path, allowed));
        let ours = |path: &str| {
            // A file with a row of its own is another's only where it is named.
            let special = self.rooms.keys().filter(|other| within(other, room) && *other != room && *other != row);
            within(path, room) && !special.into_iter().any(|other| within(path, other))
        };
        let used = used_paths(&module, &code(text));
        used.into_iter()
            .filter(|path| !may(path) && !ours(path))
            .map(|path| format!("uses crate::{path}, which the map does not allow `{row}`"))
            .collect()
    }

    /// Outside crates that are not to be known here.
    pub fn wrong_crates(&self, file: &str, text: &str) -> Vec<String> {
        let Some(module) = module_of(file) else { return Vec::new() };
        let (own, code) = (module.join("::"), code(text));
        let mut wrong = Vec::new();
        for (name, places) in &self.outside {
            let used = first_segments(&code).contains(name);
            if used && !places.iter().any(|place| within(&own, place)) {
                wrong.push(format!("uses the crate {name}, known only to {}", places.join(", ")));
            }
        }
        wrong
    }
}

/// Is `path` the module `outer`, or in it?
fn within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The module of a file; `None`: the binary and the root, which belong to no room.
fn module_of(file: &str) -> Option<Vec<String>> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    (!["main", "lib"].contains(&module[0].as_str())).then_some(module)
}

/// The room a file belongs to.
pub fn room_of(file: &str) -> Option<String> {
    module_of(file)?.into_iter().next()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every path of the code that begins at `crate`, `super` or `self`, as a path from the root; braces are taken apart.
fn used_paths(module: &[String], code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let start = code[..at].rfind(|c| !is_name(c)).map_or(0, |end| end + 1);
        let base = match &code[start..at] {
            "crate" => Vec::new(),
            "super" if !code[..start].ends_with("::") => module[..module.len() - 1].to_vec(),
            "self" => module.to_vec(),
            _ => continue,
        };
        tree(&base, &code[at + 2..], &mut found);
    }
    found.sort();
    found.dedup();
    found
}

/// Reads one use tree behind a `::` and gives back what is left of the text.
fn tree<'a>(base: &[String], text: &'a str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(base, rest, found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                Some(more) => return more.trim_start().strip_prefix('}').unwrap_or(more),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let mut path = base.to_vec();
    match name {
        "super" => drop(path.pop()),
        "self" | "" => {}
        _ => path.push(name.to_owned()),
    }
    if let Some(rest) = rest.strip_prefix("::") {
        return tree(&path, rest, found);
    }
    found.push(path.join("::"));
    // What follows `as` names it anew, and `*` takes all of it.
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("as ").map_or(rest, |renamed| renamed.trim_start().trim_start_matches(is_name));
    rest.strip_prefix('*').unwrap_or(rest)
}

/// Names that begin a path or a `use`.
fn first_segments(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let start = code[..at].rfind(|c| !is_name(c)).map_or(0, |end| end + 1);
        if !code[..start].ends_with("::") {
            found.push(code[start..at].to_owned());
        }
    }
    // `use axum;` and `use axum as web;` have no `::`.
    for line in code.lines() {
        let line = line.trim_start().trim_start_matches("pub ");
        if let Some(used) = line.strip_prefix("use ") {
            found.push(used.chars().take_while(|c| is_name(*c)).collect());
        }
    }
    found
}

#[cfg(test)]
const SMALL: &str = "//! | room | duty | may use from this crate |\n//! |---|---|---|\n\
    //! | [`domain`] | what is true | nothing |\n//! | [`inbox`] | reads | `domain`, `stripe::wire` |\n\
    //! | [`inbox::receive`] | takes | `store` |\n//! | [`commands`] | all | everything |\n//!\n\
    //! | outside crate | known only to |\n//! |---|---|\n//! | `sqlx` | `store` |\n//! | `stripe_core`, `stripe_billing` | `stripe::transport` |\n";

#[test]
fn a_path_that_the_map_does_not_allow_is_seen() {
    let map = Map::read(SMALL);
    let wrong = |file: &str, text: &str| map.wrong_paths(file, text).len();
    assert_eq!(wrong("src/domain/burn.rs", "use crate::domain::ids::GrantId; use super::money::Money;"), 0);
    assert_eq!(wrong("src/domain/burn.rs", "use crate::store::Store;"), 1);
    assert_eq!(wrong("src/domain/burn.rs", "fn a() { crate::clock::instant(); }"), 1);
    assert_eq!(wrong("src/domain/burn.rs", "use super::super::store::Store;"), 1, "by way of super");
    assert_eq!(wrong("src/domain/mod.rs", "use super::store;"), 1, "by way of a mod.rs");
    assert_eq!(wrong("src/domain/burn.rs", "use crate::{domain::ids, http::{self, problem}, clock as c};"), 3);
    assert_eq!(wrong("src/domain/burn.rs", "// use crate::store;\nconst A: &str = \"crate::store::x\";"), 0);
    assert_eq!(wrong("src/inbox/facts.rs", "use crate::stripe::wire::Event; use crate::domain::burn;"), 0);
    assert_eq!(wrong("src/inbox/facts.rs", "use crate::stripe::{wire::Event, transport::Transport};"), 1);
    assert_eq!(wrong("src/inbox/facts.rs", "use crate::stripe::wired::Event;"), 1, "a name that only begins alike");
    assert_eq!(wrong("src/inbox/facts.rs", "use super::receive::Receiver;"), 1, "its neighbour with a row of its own");
    assert_eq!(wrong("src/inbox/receive.rs", "use crate::store::Store; use super::facts;"), 0);
    assert_eq!(wrong("src/inbox/receive.rs", "use crate::domain::ids;"), 1, "its own row alone counts");
    assert_eq!(wrong("src/commands/dev.rs", "use crate::store::Store; use crate::http::router;"), 0);
    assert_eq!(wrong("src/unknown.rs", ""), 1, "a room without a row");
}

#[test]
fn an_outside_crate_in_the_wrong_place_is_seen() {
    let map = Map::read(SMALL);
    let wrong = |file: &str, text: &str| map.wrong_crates(file, text).len();
    assert_eq!(wrong("src/store/keys.rs", "use sqlx::PgPool;"), 0);
    assert_eq!(wrong("src/http/auth.rs", "use sqlx::PgPool;"), 1);
    assert_eq!(wrong("src/http/auth.rs", "use sqlx as database;"), 1);
    assert_eq!(wrong("src/http/auth.rs", "fn a(pool: &sqlx::PgPool) {}"), 1);
    assert_eq!(wrong("src/http/auth.rs", "// sqlx::PgPool\nfn a() { b::sqlx::c(); }"), 0);
    assert_eq!(wrong("src/stripe/client.rs", "use stripe_core::Customer;"), 1);
    assert_eq!(wrong("src/stripe/client.rs", "use stripe_billing::Invoice;"), 1, "the second of a row");
    assert_eq!(wrong("src/stripe/transport.rs", "use stripe_core::Customer;"), 0);
}
