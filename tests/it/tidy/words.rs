//! Words that may not stand in a source, and names that have to.

use std::collections::BTreeSet;

use super::source::{code, literals};

/// Words of code that are banned, and why.
const BANNED: [(&str, &str); 5] = [
    ("f32", "amounts never pass through a float"),
    ("f64", "amounts never pass through a float"),
    ("todo", "unfinished work is not committed"),
    ("unimplemented", "unfinished work is not committed"),
    ("dbg", "the log is written by tracing"),
];
/// Files that may have a banned word. The JSON parser's visitor is told by a float that a number is no integer; it looks
/// away from the float and reads the number as it was written.
const EXCEPTIONS: [(&str, &str); 1] = [("src/http/json.rs", "f64")];
/// Marks of work that is left for later.
const UNFINISHED: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// Names that say nothing of what a file holds.
const EMPTY_NAMES: [&str; 6] = ["helpers", "helper", "utils", "util", "common", "manager"];
/// Folders that exist on one machine only. Written in halves, so that this file is none that names them.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk"), concat!("../sh", "ared"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
/// First words of statements.
const VERBS: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "TRUNCATE", "LOCK", "MERGE"];

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words as they stand in the code, comments and literals left out.
fn words_of(text: &str) -> Vec<String> {
    code(text).split(|c| !is_name(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Which of these words stand in the code.
pub fn found(text: &str, wanted: &[&str]) -> Vec<String> {
    let words = words_of(text);
    wanted.iter().filter(|word| words.iter().any(|found| found == **word)).map(|word| format!("has `{word}`")).collect()
}

/// Banned words, unwraps, and ignored tests that do not say why.
pub fn banned(name: &str, text: &str) -> Vec<String> {
    let words = words_of(text);
    let known = BANNED.iter().filter(|(word, _)| words.iter().any(|found| found == word));
    let known = known.filter(|(word, _)| !EXCEPTIONS.contains(&(name, *word)));
    let mut wrong: Vec<String> = known.map(|(word, why)| format!("`{word}`: {why}")).collect();
    let dense: String = code(text).split_whitespace().collect();
    if dense.contains(".unwrap()") {
        wrong.push("`.unwrap()`: an error is returned, or shown to be impossible".to_owned());
    }
    wrong
}

/// Marks of unfinished work, and tests that are ignored without a reason.
pub fn unfinished(text: &str) -> Vec<String> {
    let words: BTreeSet<&str> = text.split(|c| !is_name(c)).collect();
    let marks = UNFINISHED.iter().filter(|mark| words.contains(**mark));
    let mut wrong: Vec<String> = marks.map(|mark| format!("`{mark}`: unfinished work is not committed")).collect();
    let reasonless = text.match_indices("#[ignore").any(|(at, mark)| !text[at + mark.len()..].starts_with(" = \""));
    if reasonless {
        wrong.push("a test is ignored and does not say why".to_owned());
    }
    wrong
}

/// Files and folders whose name says nothing.
pub fn empty_names(files: &[String]) -> Vec<String> {
    let empty =
        |file: &&String| file.split('/').any(|part| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or_default()));
    files.iter().filter(empty).map(|file| format!("{file}: name it for what it holds")).collect()
}

/// Paths of one machine.
pub fn machine_paths(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in MACHINE_PATHS {
        let ends = |rest: &str| path.ends_with('/') || !rest.starts_with(|c: char| is_name(c) || c == '-');
        let begins = |before: &str| !before.ends_with(|c: char| is_name(c) || c == '.' || c == '}' || c == ':');
        let mut places = text.match_indices(path);
        if places.any(|(at, path)| begins(&text[..at]) && ends(&text[at + path.len()..])) {
            wrong.push(format!("has the path {path}"));
        }
    }
    wrong
}

/// Statements in constants that do not begin with their name.
pub fn unnamed(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, mark) in text.match_indices(": &str =") {
        let name = text[..at].rsplit(' ').next().unwrap_or_default();
        let value = &text[at + mark.len()..];
        let value = &value[..value.find(';').unwrap_or(value.len())];
        let Some(first) = literals(&format!("{value}\"")).into_iter().next() else { continue };
        let begins = first.trim_start().split(|c: char| !c.is_ascii_uppercase()).next().unwrap_or_default();
        if VERBS.contains(&begins) {
            wrong.push(format!("{name} does not begin with `-- its_name`"));
        }
    }
    if code(text).contains("AssertSqlSafe(") {
        wrong.push("a statement is put together at run time".to_owned());
    }
    // A statement handed over directly has no name either: `query("SELECT 1")`.
    for (at, open) in text.match_indices("(\"") {
        let handed = text[at + open.len()..].lines().next().unwrap_or_default();
        if VERBS.iter().any(|verb| handed.starts_with(&format!("{verb} "))) {
            wrong.push(format!("a statement without a name: {handed}"));
        }
    }
    wrong
}

/// Names of statements.
pub fn statement_names(text: &str) -> Vec<String> {
    let name = |literal: String| {
        let line = literal.strip_prefix("-- ")?.split(['\n', '\\']).next()?.trim().to_owned();
        let plain = !line.is_empty() && line.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        (plain && !line.ends_with('_')).then_some(line)
    };
    literals(text).into_iter().filter_map(name).collect()
}

/// Migrations whose name is not `0001_words.sql`, or whose number does not follow.
pub fn misnumbered(names: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let number = format!("{:04}_", place + 1);
        let words = name.strip_prefix(&number).and_then(|rest| rest.strip_suffix(".sql")).unwrap_or_default();
        if words.is_empty() || !words.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            wrong.push(format!("{name} has to be {number}words.sql"));
        }
    }
    wrong
}

/// Environment variables that a source names.
pub fn variables(text: &str) -> BTreeSet<String> {
    let capitals = |name: &String| {
        name.len() > 3 && name.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !name.starts_with('_')
    };
    literals(text).into_iter().filter(capitals).collect()
}

/// Keys of the configuration file that a source documents, such as `stripe.mode`.
pub fn configuration_keys(text: &str) -> BTreeSet<String> {
    let key = |word: &&str| {
        word.split_once('.').is_some_and(|(table, key)| {
            ["database", "stripe", "http", "metrics"].contains(&table) && !key.is_empty() && key.chars().all(is_name)
        })
    };
    text.split('`').filter(key).map(str::to_owned).collect()
}

#[test]
fn banned_words_are_seen_in_code_alone() {
    assert_eq!(banned("src/x.rs", "let a: f64 = 1.0; b.unwrap(); todo!()").len(), 3);
    assert_eq!(banned("src/x.rs", "let a = b\n    .unwrap()\n    .c;").len(), 1, "over two lines");
    assert_eq!(banned("src/x.rs", "// f64\nlet a = \"f32 todo!()\"; visit_f64(b.unwrap_or(1));"), Vec::<String>::new());
    assert_eq!(found("async fn a() { b.await }", &["async", "await"]).len(), 2);
    assert_eq!(found("// async\nfn asynchronous() {}", &["async"]), Vec::<String>::new());
}

#[test]
fn unfinished_work_is_seen() {
    assert_eq!(unfinished(&format!("// {}: later", UNFINISHED[0])).len(), 1);
    assert_eq!(unfinished("#[ignore]\nfn a() {}").len(), 1);
    assert_eq!(unfinished("#[ignore = \"slow\"]\nfn a() {}"), Vec::<String>::new());
    assert_eq!(empty_names(&["src/http/utils.rs".to_owned(), "src/common/a.rs".to_owned()]).len(), 2);
    assert_eq!(empty_names(&["src/http/utility.rs".to_owned()]), Vec::<String>::new());
}

#[test]
fn paths_of_a_machine_are_seen() {
    for path in MACHINE_PATHS {
        assert_eq!(machine_paths(&format!("see {path} there")).len(), 1, "{path}");
        assert_eq!(machine_paths(&format!("\"{path}/x\"")).len(), 1, "{path}");
    }
    assert_eq!(machine_paths(concat!("src/wo", "rkers and /wo", "rkspace and a/wo", "rk")), Vec::<String>::new());
}

#[test]
fn statements_without_a_name_are_seen() {
    assert_eq!(unnamed("const A: &str = \"SELECT 1\";").len(), 1);
    assert_eq!(unnamed("const A: &str = \"\n    UPDATE b SET c = 1\";").len(), 1);
    assert_ne!(unnamed("const A: &str = concat!(\"SELECT \", b!());"), Vec::<String>::new());
    assert_eq!(unnamed("sqlx::query(\"SELECT 1\").execute(c)").len(), 1);
    assert_eq!(unnamed("query(AssertSqlSafe(format!(\"a {b}\")))").len(), 1);
    assert_eq!(unnamed("const A: &str = \"-- a\nSELECT 1\"; const B: &str = \"SELECTED\";"), Vec::<String>::new());
    assert_eq!(statement_names("const A: &str = \"-- read_a\nSELECT 1\"; concat!(\"-- b\\n\", c)"), ["read_a", "b"]);
}

#[test]
fn variables_and_keys_are_found() {
    let text = "/// `stripe.mode` and `stripe::wire`\nfn a() { environment(\"RUST_LOG\"); b(\"Text\"); c(\"{A_B}\"); }";
    assert_eq!(variables(text), BTreeSet::from(["RUST_LOG".to_owned()]));
    assert_eq!(configuration_keys(text), BTreeSet::from(["stripe.mode".to_owned()]));
}
