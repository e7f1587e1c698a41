//! `GET /metrics`: what is shown is listed, bounded and true, and tells nothing of a customer.

use std::collections::{BTreeMap, BTreeSet};

use creditd::commands::daemon::{Daemon, Parts};
use creditd::commands::keys;
use creditd::domain::api_key::Scope;
use creditd::http::{Surface, routes};
use creditd::meters::cells::OTHER;
use creditd::meters::list::{self, Family, Kind};
use serde_json::json;

use crate::support::app::{TestApp, parts};
use crate::support::events::event;

/// One line of a scrape.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
}

fn samples(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap().split(',').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.trim_matches('"').to_owned())
        };
        Sample { name: name.to_owned(), labels: labels.map(pair).collect(), value: value.to_owned() }
    };
    lines.map(sample).collect()
}

async fn scrape(app: &TestApp) -> String {
    let answer = app.client.get(app.address("/metrics")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap()
}

fn value(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<String> {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    samples(text).into_iter().find(|sample| sample.name == name && sample.labels == labels).map(|sample| sample.value)
}

fn family(name: &str) -> &'static Family {
    let found = list::ALL.iter().find(|family| match family.kind {
        Kind::Counter | Kind::Gauge => family.name == name,
        Kind::Seconds | Kind::Sizes => {
            ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(family.name))
        }
    });
    found.unwrap_or_else(|| panic!("{name} is not in the list"))
}

/// Traffic of every kind: served, refused, unknown, with texts a metric may not show.
async fn busy(app: &TestApp) {
    app.customer("canary-customer").await;
    app.grant("canary-customer", "usd_credits", "12345.678").await;
    app.track("canary-key", "canary-customer", "usd_credits", "1").await;
    app.track("canary-key", "canary-customer", "usd_credits", "1").await;
    app.track("canary-key", "canary-customer", "usd_credits", "2").await;
    app.track("canary-2", "canary-nobody", "usd_credits", "2").await;
    app.call("POST", "/api/v1/check", Some(json!({ "customer": "canary-customer", "feature": "usd_credits" }))).await;
    app.call("GET", "/canary/path", None).await;
    app.call("CANARY", "/api/v1/check", None).await;
    app.call("DELETE", "/api/v1/customers/canary-customer", None).await;
    app.deliver(b"{}", Some("t=1,v1=00")).await;
    app.deliver(b"{}", None).await;
    app.send(&event("evt_canary_1", "canary.type", &json!({ "id": "obj_1", "object": "canary" }))).await;
    app.settle().await;
}

#[tokio::test]
async fn everything_shown_is_listed_and_every_label_is_bounded() {
    let app = TestApp::start().await;
    busy(&app).await;
    let text = scrape(&app).await;
    let routes: Vec<&str> = routes::table().into_iter().map(|route| route.path).collect();
    let mut series = BTreeSet::new();
    for sample in samples(&text) {
        let family = family(&sample.name);
        let told = |name: &str| match name {
            "route" => routes.clone(),
            "version" => vec![env!("CARGO_PKG_VERSION")],
            _ => panic!("{name} lists no values"),
        };
        for label in family.labels {
            let shown = sample.labels.get(label.name).unwrap_or_else(|| panic!("{sample:?} lacks {}", label.name));
            let known = if label.values.is_empty() { told(label.name) } else { label.values.to_vec() };
            assert!(known.contains(&shown.as_str()) || shown == OTHER, "{sample:?}");
        }
        let more = sample.labels.keys().filter(|name| family.labels.iter().all(|label| label.name != *name));
        assert!(more.clone().all(|name| name == "le"), "{sample:?}");
        assert!(series.insert(format!("{}{:?}", sample.name, sample.labels)), "{sample:?} is there twice");
    }
    assert!(!text.to_lowercase().contains("canary"), "nothing of a caller is shown");
    assert!(!text.contains("12345"), "no amounts are shown");
    app.finish().await;
}

#[tokio::test]
async fn every_family_says_what_it_is() {
    let app = TestApp::start().await;
    busy(&app).await;
    let text = scrape(&app).await;
    for family in list::ALL {
        let (help, kind) = (format!("# HELP {} {}\n", family.name, family.help), family.kind.word());
        assert_eq!(text.matches(&help).count(), 1, "{help}");
        assert_eq!(text.matches(&format!("# TYPE {} {kind}\n", family.name)).count(), 1, "{}", family.name);
        let ours = family.name.starts_with("creditd_") || family.name.starts_with("process_");
        assert!(ours && family.help.ends_with('.'), "{}", family.name);
        assert_eq!(family.kind == Kind::Counter, family.name.ends_with("_total"), "{}", family.name);
        assert!(family.kind != Kind::Seconds || family.name.ends_with("_seconds"), "{}", family.name);
    }
    app.finish().await;
}

#[tokio::test]
async fn what_happened_is_counted() {
    let app = TestApp::start().await;
    // Other tests of this process count in the same registry, so numbers only grow.
    let count = |text: &str, name: &str, labels: &[(&str, &str)]| -> i64 {
        value(text, name, labels).map_or(0, |value| value.parse().unwrap())
    };
    let before = scrape(&app).await;
    busy(&app).await;
    let after = scrape(&app).await;
    let http = "creditd_http_requests_total";
    let commands = "creditd_posting_commands_total";
    let track = "/api/v1/track";
    for (name, labels, least) in [
        (http, &[("method", "POST"), ("route", track), ("status", "2xx")][..], 2),
        (http, &[("method", "POST"), ("route", track), ("status", "4xx")], 2),
        (http, &[("method", "GET"), ("route", "other"), ("status", "4xx")], 1),
        (http, &[("method", "other"), ("route", "/api/v1/check"), ("status", "4xx")], 1),
        (commands, &[("code", "none"), ("command", "track"), ("outcome", "applied")], 1),
        (commands, &[("code", "none"), ("command", "track"), ("outcome", "already_applied")], 1),
        (commands, &[("code", "key_conflict"), ("command", "track"), ("outcome", "rejected")], 1),
        ("creditd_webhook_deliveries_total", &[("outcome", "signature_mismatch")], 1),
        ("creditd_webhook_deliveries_total", &[("outcome", "signature_header_missing")], 1),
        ("creditd_webhook_deliveries_total", &[("outcome", "stored")], 1),
        ("creditd_stripe_events_received_total", &[("type", "other")], 1),
        ("creditd_stripe_events_worked_total", &[("outcome", "ignored")], 1),
        ("creditd_posting_batch_commands_count", &[], 4),
        ("creditd_posting_commit_duration_seconds_count", &[], 3),
        ("creditd_reads_total", &[("outcome", "answered")], 2),
        ("creditd_read_batch_accounts_count", &[], 2),
        ("creditd_http_connections_ended_total", &[("outcome", "closed")], 0),
    ] {
        let grown = count(&after, name, labels) - count(&before, name, labels);
        assert!(grown >= least, "{name} {labels:?} grew by {grown}:\n{after}");
    }
    app.finish().await;
}

#[tokio::test]
async fn the_databases_queues_are_its_own_facts() {
    let app = TestApp::start().await;
    let session = json!({ "id": "cs_1", "object": "checkout.session", "payment_status": "paid", "mode": "payment",
        "metadata": { "creditd_credits": "5" }, "currency": "usd", "amount_total": 500, "created": 1_790_000_000 });
    app.send(&event("evt_parked_1", "checkout.session.completed", &session)).await;
    app.until("evt_parked_1", "parked", "unknown_customer").await;
    let text = scrape(&app).await;
    let state = |state| value(&text, "creditd_stripe_events", &[("state", state)]);
    assert_eq!((state("parked").as_deref(), state("dead").as_deref()), (Some("1"), Some("0")), "{text}");
    assert_eq!(value(&text, "creditd_database_up", &[]).as_deref(), Some("1"));
    assert_eq!(value(&text, "creditd_stripe_events_oldest_due_seconds", &[]).as_deref(), Some("0"));
    assert_eq!(value(&text, "creditd_build_info", &[("version", env!("CARGO_PKG_VERSION"))]).as_deref(), Some("1"));
    for name in ["creditd_worker_last_round_age_seconds", "creditd_worker_late"] {
        assert_eq!(value(&text, name, &[("worker", "inbox")]).as_deref(), Some("0"), "{text}");
    }
    let memory: u64 = value(&text, "process_resident_memory_bytes", &[]).unwrap().parse().unwrap();
    assert!(memory > 1 << 20, "{memory}");
    assert!(
        value(&text, "process_open_fds", &[]).is_some() && value(&text, "process_cpu_seconds_total", &[]).is_some()
    );
    app.daemon.stop().await;
}

#[tokio::test]
async fn without_its_database_a_daemon_still_shows_what_it_knows() {
    let app = TestApp::start().await;
    // Nothing was posted, so no lane keeps a connection that the close would wait for.
    app.store.close().await;
    let text = scrape(&app).await;
    assert_eq!(value(&text, "creditd_database_up", &[]).as_deref(), Some("0"));
    assert_eq!(value(&text, "creditd_stripe_events", &[("state", "parked")]), None, "nothing stale is shown");
    assert!(value(&text, "creditd_http_requests_in_flight", &[]).is_some());
}

#[tokio::test]
async fn the_queues_are_asked_for_once_in_a_while_however_often_somebody_scrapes() {
    let app = TestApp::start().await;
    assert_eq!(value(&scrape(&app).await, "creditd_database_up", &[]).as_deref(), Some("1"));
    app.store.close().await;
    // Remembered for some seconds, so the database is not asked and cannot fail.
    assert_eq!(value(&scrape(&app).await, "creditd_database_up", &[]).as_deref(), Some("1"));
}

#[tokio::test]
async fn metrics_that_are_not_public_need_a_key_of_finance_or_admin() {
    let app = TestApp::start().await;
    let private =
        Parts { surface: Surface { metrics_public: false, ..Surface::default() }, ..parts(&app.store, &app.simulator) };
    let daemon = Daemon::start(private).await.unwrap();
    let ask = async |key: Option<&str>| {
        let mut request = app.client.get(format!("http://{}/metrics", daemon.address()));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(None).await, 401);
    for (scope, status) in [(Scope::App, 403), (Scope::Finance, 200), (Scope::Admin, 200)] {
        let (key, _) = keys::create_random(&app.store, false, scope, "metrics", None).await.unwrap();
        assert_eq!(ask(Some(key.expose())).await, status, "{scope}");
    }
    daemon.stop().await;
    app.finish().await;
}

/// What the code may say is in the list, or it would all be counted as `other`.
#[test]
fn the_lists_know_what_the_code_says() {
    let values =
        |family: &Family, name: &str| family.labels.iter().find(|label| label.name == name).unwrap().values.to_vec();
    let signature = include_str!("../../src/stripe/signature.rs");
    let outcomes = values(&list::WEBHOOK_DELIVERIES, "outcome");
    let codes: Vec<&str> =
        signature.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split('"').nth(1)).collect();
    assert!(codes.len() >= 9, "{codes:?}");
    for code in codes {
        assert!(outcomes.contains(&code), "{code}");
    }
    let interpret = include_str!("../../src/inbox/interpret.rs");
    let types = values(&list::STRIPE_EVENTS_RECEIVED, "type");
    let arms = interpret.lines().filter(|line| line.contains("=>"));
    let named: Vec<&str> =
        arms.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(|word| word.contains('.')).collect();
    assert!(named.len() >= 5, "{named:?}");
    for kind in named {
        assert!(types.contains(&kind), "{kind}");
    }
    let measure = include_str!("../../src/posting/measure.rs");
    let mut known: Vec<&str> = list::COMMANDS.labels.iter().flat_map(|label| label.values.to_vec()).collect();
    known.extend(values(&list::READS, "outcome"));
    for line in measure.lines().filter(|line| line.contains("=>")) {
        for word in line.split('"').skip(1).step_by(2) {
            assert!(known.contains(&word), "{word}");
        }
    }
}
