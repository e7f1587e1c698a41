//! What operators are told is there: every command, metric, label, log line, route, key and variable that the runbook,
//! the README, the alerts and the files of `deploy` name.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use creditd::http::routes;
use creditd::meters::list::{self, Family};
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::binary::{Ended, Site, bare};
use crate::support::database::raw;
use crate::support::events::event;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts that people follow.
const GUIDES: [&str; 3] = ["deploy/runbook.md", "README.md", "deploy/prometheus-alerts.yaml"];

/// Every source, as one text.
fn sources() -> String {
    let mut text = String::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    text
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Words that begin so, each with what follows it.
fn words<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    text.match_indices(start).filter(|(at, _)| !text[..*at].ends_with(is_name)).map(|(at, _)| {
        let rest = &text[at..];
        rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
    })
}

fn family(name: &str) -> Option<&'static Family> {
    list::ALL.iter().copied().find(|family| {
        family.name == name
            || ["_count", "_sum", "_bucket"].iter().any(|end| name.strip_suffix(end) == Some(family.name))
    })
}

#[test]
fn every_metric_and_label_that_is_named_exists() {
    // The role, and what a payment's metadata may carry.
    let others = read("deploy/roles.sql") + &sources();
    let mut found = 0;
    for guide in GUIDES {
        let text = read(guide);
        for (name, rest) in words(&text, "creditd_").chain(words(&text, "process_")) {
            let Some(family) = family(name) else {
                assert!(words(&others, name).any(|(word, _)| word == name), "{guide} names {name}");
                assert!(!rest.starts_with('{'), "{guide} gives {name} labels, and it is no metric");
                continue;
            };
            found += 1;
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
            for pair in labels.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
                let (label, value) = pair.split_once('=').unwrap();
                let (label, value) = (label.trim_end_matches('!'), value.trim_matches(['~', '"']));
                let known = family.labels.iter().find(|known| known.name == label);
                if label == "job" {
                    continue;
                }
                let known = known.unwrap_or_else(|| panic!("{guide}: {name} has no label {label}"));
                let start = value.strip_suffix(".*");
                let fits = |word: &str| start.map_or(word == value, |start| word.starts_with(start));
                let routes = routes::table();
                let is_route = known.values.is_empty() && routes.iter().any(|route| route.path == value);
                assert!(
                    is_route || known.values.iter().any(|word| fits(word)),
                    "{guide}: {name} has no {label} {value}"
                );
            }
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn every_log_line_that_is_quoted_is_written() {
    let sources = sources();
    let runbook = read("deploy/runbook.md");
    let quoted: Vec<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("- log: `")?.strip_suffix('`')).collect();
    assert!(quoted.len() > 8, "{quoted:?}");
    for line in quoted {
        assert!(sources.contains(&format!("\"{line}\"")), "nothing logs `{line}`");
    }
    let refusals: Vec<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("- `the ")?.split('`').next()).collect();
    assert!(refusals.len() >= 2);
    for text in refusals {
        assert!(sources.contains(&format!("the {text}")), "nothing says `the {text}`");
    }
}

#[test]
fn every_route_that_is_named_exists() {
    let table = routes::table();
    let mut found = 0;
    for guide in GUIDES {
        let text = read(guide);
        let mut named: Vec<(Option<&str>, &str)> = Vec::new();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let start = format!("`{method} /");
            for (at, _) in text.match_indices(&start) {
                named.push((Some(method), &text[at + start.len() - 1..]));
            }
        }
        for (at, start) in text.match_indices("http://127.0.0.1:8080/") {
            named.push((None, &text[at + start.len() - 1..]));
        }
        for (method, rest) in named {
            let path = rest.split(|c: char| c.is_whitespace() || "`'\"?)".contains(c)).next().unwrap();
            // The simulated Stripe's own, which its tests know.
            if path.starts_with("/control/") {
                continue;
            }
            let parts: Vec<&str> = path.split('/').collect();
            let fits = |template: &str| {
                let template: Vec<&str> = template.split('/').collect();
                template.len() == parts.len()
                    && template.iter().zip(&parts).all(|(t, p)| t == p || (t.starts_with('{') && !p.is_empty()))
            };
            let known = table.iter().any(|route| fits(route.path) && method.is_none_or(|m| route.method == m));
            assert!(known, "{guide} names {method:?} {path}");
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

/// Commands as they stand in code: `creditd` first, behind a backtick, a line's start, or a variable.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, start) in text.match_indices("creditd ") {
        let before = &text[..at];
        if !(before.ends_with('`') || before.ends_with('\n') || before.ends_with("... ")) {
            continue;
        }
        let rest = &text[at + start.len()..];
        // The tour's output has columns.
        if rest.starts_with(' ') {
            continue;
        }
        let end = rest.find(['`', '#', '|', ';']).unwrap_or(rest.len());
        let words: Vec<String> = rest[..end].split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase())) {
            found.push(words);
        }
    }
    found
}

#[tokio::test]
async fn every_command_and_flag_that_is_named_exists() {
    let mut named: BTreeSet<(String, BTreeSet<String>)> = BTreeSet::new();
    for guide in ["deploy/runbook.md", "README.md", "deploy/env.example", "deploy/creditd.service"] {
        let text = read(guide);
        // A fence's line that ends in a code span's line is cut at its end.
        let lines: Vec<String> = text
            .split("```")
            .enumerate()
            .flat_map(|(place, part)| {
                if place % 2 == 1 {
                    part.lines().map(|line| format!("\n{line}\n#")).collect()
                } else {
                    vec![part.replace('\n', " ")]
                }
            })
            .collect();
        for words in lines.iter().flat_map(|line| commands(line)) {
            let sub = words.get(1).filter(|_| ["catalog", "keys"].contains(&words[0].as_str()));
            let command = words[..1].iter().chain(sub.filter(|word| word.chars().all(|c| c.is_ascii_lowercase())));
            let command = command.cloned().collect::<Vec<_>>().join(" ");
            let flags =
                words.iter().filter(|word| word.starts_with("--")).map(|word| word.trim_end_matches(',').to_owned());
            named.insert((command, flags.collect()));
        }
    }
    assert!(named.len() > 10, "{named:?}");
    for (command, flags) in named {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = Ended::of(bare(&arguments)).await;
        assert_eq!(help.code, Some(0), "creditd {command} is no command");
        let help = help.out;
        for flag in flags {
            assert!(help.contains(&flag), "creditd {command} has no {flag}");
        }
    }
}

#[test]
fn every_alert_leads_to_a_section_of_the_runbook() {
    let anchor = |title: &str| title.to_lowercase().replace(' ', "-");
    let runbook = read("deploy/runbook.md");
    let sections: BTreeSet<String> =
        runbook.lines().filter_map(|line| Some(anchor(line.strip_prefix("## ")?))).collect();
    let alerts = read("deploy/prometheus-alerts.yaml");
    let led: BTreeSet<String> =
        alerts.split("deploy/runbook.md#").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert_eq!(alerts.matches("- alert: ").count(), alerts.matches("runbook: \"deploy/runbook.md#").count());
    assert!(led.len() > 6 && led.is_subset(&sections), "{led:?} in {sections:?}");
    for link in runbook.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        assert!(sections.contains(link), "{link}");
    }
}

#[test]
fn every_variable_and_key_of_the_deployment_is_read() {
    let config = read("src/config.rs");
    let name_end = |rest: &str| rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(rest.len());
    for file in ["deploy/runbook.md", "deploy/compose.yaml", "deploy/creditd.service", "deploy/Dockerfile"] {
        let text = read(file);
        for start in ["CREDITD_", "STRIPE_", "DATABASE_"] {
            for (at, _) in text.match_indices(start).filter(|(at, _)| !text[..*at].ends_with(is_name)) {
                let name = &text[at..at + name_end(&text[at..])];
                let variable = name.strip_suffix("_FILE").unwrap_or(name);
                assert!(config.contains(&format!("\"{variable}\"")), "{file} sets {name}");
                assert!(
                    variable == name
                        || config.contains(&format!("secret(environment, \"{variable}\")"))
                        || variable == "CREDITD_API_KEYS",
                    "{file}: {variable} comes from no file"
                );
            }
        }
    }
    let (runbook, readme) = (read("deploy/runbook.md"), read("README.md"));
    for word in runbook.split(['`', ' ', '\n']) {
        let word = word.trim_end_matches(['.', ',', ';', ')']);
        let table = word.split('.').next().unwrap_or_default();
        if ["database", "stripe", "http", "metrics"].contains(&table)
            && word.matches('.').count() == 1
            && word.ends_with(is_name)
        {
            let known = readme.contains(&format!("`{word}`"));
            assert!(known || word == "status.stripe.com", "the README does not speak of {word}");
        }
    }
}

#[test]
fn the_image_is_built_as_the_package_says_and_runs_as_nobody() {
    let image = read("deploy/Dockerfile");
    let cargo = read("Cargo.toml");
    let version = cargo.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(image.contains(&format!("FROM rust:{version}-bookworm AS builder")), "{version}");
    assert!(image.contains("--locked") && image.contains("USER 10001:10001") && image.contains("HEALTHCHECK"));
    let last = image.rsplit("FROM ").next().unwrap();
    assert!(!last.contains("COPY . ") && !image.contains("ARG "), "nothing but the binary is in it");
    for line in read(".dockerignore").lines() {
        assert!(line.starts_with('/'), "{line}");
    }
}

/// What `systemd-analyze verify` looks at is more; this holds where there is no systemd.
#[test]
fn the_unit_is_whole_and_shut_in() {
    let unit = read("deploy/creditd.service");
    let mut sections: Vec<&str> = Vec::new();
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[') {
            sections.push(section.trim_end_matches(']'));
        } else {
            let (key, _) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric()), "{line}");
        }
    }
    assert_eq!(sections, ["Unit", "Service", "Install"]);
    for wanted in
        ["Type=notify", "NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "RestartPreventExitStatus=2"]
    {
        assert!(unit.lines().any(|line| line == wanted), "{wanted}");
    }
    for name in unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")?.split(':').next()) {
        assert!(unit.contains(&format!("_FILE=%d/{name}\n")), "{name} is loaded and not read");
    }
    assert!(!unit.contains("STRIPE_SECRET_KEY=") && !unit.contains("DATABASE_URL="), "secrets come as files");
}

/// The daemon tells systemd that it serves and that it stops.
#[tokio::test]
async fn systemd_is_told() {
    use crate::support::binary::{Running, Site, free_address};
    let site = Site::new().await;
    let socket = site.folder.path().join("notify");
    let told = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let listen = free_address();
    let mut command = site.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &socket).env("CREDITD_LISTEN", listen.to_string());
    let running = Running::start(command, &site.folder.path().join("log")).until_it_answers(listen).await;
    let mut heard = vec![0; 256];
    let limit = std::time::Duration::from_secs(20);
    let length = tokio::time::timeout(limit, told.recv(&mut heard)).await.unwrap().unwrap();
    assert!(heard[..length].starts_with(b"READY=1"), "{heard:?}");
    let health = |ready: &'static [&'static str]| {
        let mut command = site.command(ready);
        command.env("CREDITD_LISTEN", listen.to_string());
        Ended::of(command)
    };
    assert_eq!(health(&["health"]).await.ok(), "{\"status\":\"ok\"}\n");
    assert!(health(&["health", "--ready"]).await.ok().contains("\"database\":\"ok\""));
    assert_eq!(running.end(nix::sys::signal::Signal::SIGTERM).await, Some(0));
    let length = tokio::time::timeout(limit, told.recv(&mut heard)).await.unwrap().unwrap();
    assert!(heard[..length].starts_with(b"STOPPING=1"), "{heard:?}");
    let gone = health(&["health"]).await;
    assert_eq!((gone.code, gone.out.as_str()), (Some(1), ""), "{gone:?}");
    assert!(gone.err.contains("no answer from http://127.0.0.1:"), "{gone:?}");
}

/// The runbook's command for dead events, on a dead event.
#[tokio::test]
async fn a_dead_event_comes_alive_as_the_runbook_says() {
    let app = TestApp::start().await;
    let session = json!({ "id": "cs_1", "object": "checkout.session", "payment_status": "paid", "mode": "payment",
        "metadata": { "creditd_credits": "5" }, "currency": "usd", "amount_total": 500, "created": 1_790_000_000 });
    app.send(&event("evt_dead_1", "checkout.session.completed", &session)).await;
    app.until("evt_dead_1", "parked", "unknown_customer").await;
    let pool = raw(&app.url).await;
    let give_up =
        "UPDATE stripe_events SET state = 'dead', due_at = NULL, done_at = clock_timestamp(), lease_token = NULL,
        leased_until = NULL WHERE event_id = 'evt_dead_1'";
    sqlx::query(give_up).execute(&pool).await.unwrap();
    let runbook = read("deploy/runbook.md");
    let line =
        runbook.lines().find(|line| line.starts_with("creditd replay")).unwrap().replace("evt_...", "evt_dead_1");
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let said = Site::on(app.url.clone()).run(&arguments).await.ok();
    assert!(said.contains("applied"), "{said}");
    app.until("evt_dead_1", "parked", "unknown_customer").await;
    app.daemon.stop().await;
}
