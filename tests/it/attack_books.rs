//! Books under attack: sums beyond any amount, usage carried over, past balances, catalogues that change under holds, races.

use creditd::commands::export::{ExportArgs, ExportFormat, ExportKind, run};
use serde_json::{Value, json};

use crate::attach::Shop;
use crate::support::app::TestApp;

/// Usage carried over is a draw without usage: the books say so, and the check of the books knows it.
#[tokio::test]
async fn usage_carried_over_leaves_books_that_verify() {
    let shop = Shop::open().await;
    assert_eq!(shop.app.track("t1", "ada", "messages", "2").await.0, 200);
    shop.attach("hobby", json!({ "carry_over": { "usage": true } })).await;
    assert_eq!(shop.credits().await, "6", "eight less the two that were used");
    // What was used can be taken back, once.
    let (status, back) = shop.app.track("t2", "ada", "messages", "-2").await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(shop.app.track("t3", "ada", "messages", "-1").await.0, 400);
    let found = shop.app.store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks.iter().filter(|one| one.differences > 0).collect::<Vec<_>>());
    shop.close().await;
}

const UNLIMITED: &str = r#"
[features.messages]
type = "metered"
[features.other]
type = "metered"
[features.credits]
type = "credit_system"
costs = { messages = "1000000000", other = "0.000000001" }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "messages"
unlimited = true
"#;

/// Under an unlimited grant usage may add up to more than one amount can say.
#[tokio::test]
async fn usage_beyond_the_largest_amount_is_listed_limited_and_exported() {
    let app = TestApp::with_catalog(UNLIMITED).await;
    app.customer("ada").await;
    let most = "1000000000000000000";
    for n in 0..85 {
        let (status, answer) = app.track(&format!("t{n}"), "ada", "messages", most).await;
        assert_eq!(status, 200, "{answer}");
    }
    for query in ["", "?group_by=day", "?group_by=feature,entity&from=1970-01-01T00:00:00Z&to=9998-12-31T00:00:00Z"] {
        let (status, answer) = app.call("GET", &format!("/api/v1/customers/ada/usage{query}"), None).await;
        assert_eq!(status, 200, "{answer}");
    }
    for (name, window) in [("day", "day"), ("ever", "lifetime")] {
        let limit = json!({ "feature": "messages", "window": window, "quantity": "5" });
        let (status, answer) =
            app.call("PUT", &format!("/api/v1/customers/ada/spend-limits/{name}"), Some(limit)).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(app.call("GET", "/api/v1/customers/ada/spend-limits", None).await.0, 200);
    let (status, answer) = app.track("over", "ada", "messages", "1").await;
    assert_eq!((status, answer["drawn"].as_str()), (200, Some("0")), "{answer}");
    let (status, answer) = app.track("back", "ada", "messages", "-1000000000000000000").await;
    assert_eq!(status, 200, "{answer}");
    app.finish().await;
}

/// Days begin where the zone's clocks say it, in summer too; what the database would take for an abbreviation is refused.
#[tokio::test]
async fn a_zone_that_the_database_takes_for_an_abbreviation_is_refused() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    for (zone, status) in
        [("CET", 400), ("eet", 400), ("MET", 400), ("WET", 400), ("Europe/Berlin", 200), ("UTC", 200), ("EST", 200)]
    {
        let path = format!("/api/v1/customers/ada/usage?group_by=day&time_zone={zone}");
        let (found, answer) = app.call("GET", &path, None).await;
        assert_eq!(found, status, "{zone} {answer}");
        assert!(status == 200 || answer["field"] == "time_zone", "{answer}");
    }
    app.finish().await;
}

/// Many lots of the largest amount: every reading answers, and none of them breaks an export.
#[tokio::test]
async fn lots_beyond_the_largest_amount_are_answered() {
    let app = TestApp::with_catalog(UNLIMITED).await;
    app.customer("ada").await;
    for n in 0..90 {
        let body = json!({ "key": format!("g{n}"), "customer": "ada", "feature": "credits", "quantity": "1000000000000000000",
            "category": "promotional", "reason": "r" });
        let (status, answer) = app.call("POST", "/api/v1/grants", Some(body)).await;
        assert_eq!(status, 201, "{answer}");
    }
    let now = app.customer("ada").await;
    for path in ["", "/balance", "/grants", "/entries", "/balance?at=2026-01-01T00:00:00Z", "/usage?group_by=month"] {
        let (status, answer) = app.call("GET", &format!("/api/v1/customers/ada{path}"), None).await;
        assert_eq!(status, 200, "{path} {now} {answer}");
    }
    for quantity in ["1", "1000000000000000000"] {
        let (status, answer) = app
            .call(
                "POST",
                "/api/v1/check",
                Some(json!({ "customer": "ada", "feature": "other", "quantity": quantity, "explain": true })),
            )
            .await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["allowed"], true, "{answer}");
        let (status, answer) = app.track(quantity, "ada", "other", quantity).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = app.call("GET", "/api/v1/wallets?customer=ada", None).await;
    assert_eq!(status, 200, "{answer}");
    for (kind, format) in [(ExportKind::Grants, ExportFormat::Csv), (ExportKind::Ledger, ExportFormat::Jsonl)] {
        let args = ExportArgs { kind, format, from: None, to: None, names: true, out: None };
        run(&app.store, &args, &mut Vec::new()).await.unwrap();
    }
    app.finish().await;
}

/// The largest batch of checks there is.
#[tokio::test]
async fn ten_thousand_pairs_are_answered_in_seconds() {
    let app = TestApp::start().await;
    let customers: Vec<String> = (0..100).map(|n| format!("c{n}-{}", "x".repeat(400))).collect();
    for customer in &customers[..50] {
        app.customer(customer).await;
        app.grant(customer, "usd_credits", "5").await;
    }
    let checks: Vec<Value> =
        (0..100).map(|n| json!({ "feature": "premium_messages", "quantity": n.to_string() })).collect();
    let began = creditd::clock::instant();
    let (status, answer) =
        app.call("POST", "/api/v1/check/batch", Some(json!({ "customers": customers, "checks": checks }))).await;
    let took = began.elapsed();
    assert_eq!(status, 200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 10_000);
    assert_eq!(results.iter().filter(|one| one["answer"]["allowed"] == true).count(), 50 * 100);
    assert!(took < std::time::Duration::from_secs(20), "{took:?}");
    app.finish().await;
}

const ROLLS: &str = r#"
[features.calls]
type = "metered"
[features.credits]
type = "credit_system"
costs = { calls = "0.7" }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "credits"
included = "9"
reset = "week"
rollover = { max_percent = "150", months = 1 }
overage = { limit = "4" }
"#;

/// A customer's random life, with what was shown after each step.
struct Life {
    app: TestApp,
    dice: u64,
    holds: Vec<String>,
    seen: Vec<(String, [Value; 4])>,
}

impl Life {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.roll(all.len() as u64)).unwrap()]
    }

    async fn post(&self, path: &str, mut body: Value) -> (u16, Value) {
        if path != "test-clock/advance" && !path.starts_with("holds/") {
            body["customer"] = json!("ada");
        }
        self.app.call("POST", &format!("/api/v1/{path}"), Some(body)).await
    }

    async fn step(&mut self, key: &str) -> (u16, Value) {
        match self.roll(8) {
            0 | 1 => {
                let days = self.one_of(&[0, 2, 7, 16]);
                self.post("test-clock/advance", json!({ "seconds": 3_600 + 86_400 * days })).await
            }
            2 | 3 => {
                let short = self.one_of(&["cap", "debt", "reject"]);
                let quantity = self.roll(12).to_string();
                self.post("track", json!({ "key": key, "feature": "calls", "quantity": quantity, "when_short": short }))
                    .await
            }
            4 => {
                let quantity = format!("-{}", self.roll(5) + 1);
                self.app.track(key, "ada", "calls", &quantity).await
            }
            5 => {
                let hold =
                    json!({ "key": key, "ttl_seconds": 86_400 * (self.roll(10) + 1), "when_more": "take_available" });
                let done = self.post("check", json!({ "feature": "calls", "quantity": "3", "hold": hold })).await;
                self.holds.extend(done.1["hold"]["id"].as_str().map(str::to_owned));
                done
            }
            6 if !self.holds.is_empty() => {
                let place = self.roll(self.holds.len() as u64);
                let hold = self.holds.swap_remove(usize::try_from(place).unwrap());
                if self.roll(2) == 0 {
                    return self.post(&format!("holds/{hold}/release"), json!({})).await;
                }
                let usage = json!({ "key": key, "feature": "calls", "quantity": "2", "hold": hold, "final": true });
                self.post("track", usage).await
            }
            _ => {
                let quantity = (self.roll(6) + 1).to_string();
                let category = "promotional";
                let grant = json!({ "key": key, "feature": "credits", "quantity": quantity, "category": category, "reason": "r" });
                self.post("grants", grant).await
            }
        }
    }

    async fn balance(&self, at: &str) -> (String, [Value; 4]) {
        let (status, answer) = self.app.call("GET", &format!("/api/v1/customers/ada/balance{at}"), None).await;
        assert_eq!(status, 200, "{answer}");
        let one = answer["balances"].as_array().unwrap().iter().find(|one| one["feature"] == "credits").cloned();
        let one = one.unwrap_or_default();
        let shown = ["available", "held", "granted", "owed"].map(|number| one[number].clone());
        (answer["at"].as_str().unwrap().to_owned(), shown)
    }

    /// The export's sums of a grant are those of the customer's page.
    async fn must_be_exported(&self) {
        let mut out = Vec::new();
        let (kind, format) = (ExportKind::Grants, ExportFormat::Jsonl);
        let args = ExportArgs { kind, format, from: None, to: None, names: false, out: None };
        run(&self.app.store, &args, &mut out).await.unwrap();
        let out = String::from_utf8(out).unwrap();
        let (_, listed) = self.app.call("GET", "/api/v1/customers/ada/grants?limit=500", None).await;
        let listed = listed["data"].as_array().unwrap().clone();
        assert_eq!(out.lines().count(), listed.len());
        for line in out.lines() {
            let lot: Value = serde_json::from_str(line).unwrap();
            let known = listed.iter().find(|one| one["id"] == lot["grant_id"]).unwrap();
            let exported = ["original", "remaining", "held"].map(|name| lot[name].clone());
            assert_eq!(exported, ["quantity", "remaining", "held"].map(|name| known[name].clone()), "{line} {known}");
        }
    }
}

/// What was shown at a time is told of it later, with rollover, holds, returns and debts, however late it was booked.
#[tokio::test(flavor = "multi_thread")]
async fn a_past_balance_is_what_was_shown_with_rollover_holds_returns_and_debts() {
    for seed in 1..=4 {
        let app = TestApp::with_catalog(ROLLS).await;
        app.customer("ada").await;
        let mut life = Life { app, dice: seed, holds: Vec::new(), seen: Vec::new() };
        for n in 0..70 {
            let done = life.step(&format!("k{n}")).await;
            assert!(done.0 < 500, "{done:?}");
            let shown = life.balance("").await;
            // Asked for as a past time, what is due is booked: of several periods nobody booked only survivors are told.
            life.balance(&format!("?at={}", shown.0)).await;
            life.seen.push(shown);
        }
        for (place, shown) in life.seen.iter().enumerate() {
            let then = life.balance(&format!("?at={}", shown.0)).await;
            assert_eq!(then, *shown, "seed {seed}, step {place}");
        }
        life.must_be_exported().await;
        life.app.finish().await;
    }
}

const AFTER: &str = r#"
[features.seats]
type = "metered"
[features.chat]
type = "boolean"
[features.tokens]
type = "metered"
[features.other]
type = "credit_system"
costs = { tokens = "2" }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "tokens"
included = "7"
reset = "week"
"#;

fn hold(key: &str, feature: &str) -> Value {
    let hold = json!({ "key": key, "ttl_seconds": 86_400 * 3 });
    json!({ "customer": "ada", "feature": feature, "quantity": "2", "hold": hold })
}

/// A catalogue that takes features away, or makes others of them, under a customer who holds, owes and is limited.
#[tokio::test]
async fn a_catalogue_that_changes_what_features_are_leaves_customers_and_books_whole() {
    let app = TestApp::with_catalog(crate::http_check::CATALOG).await;
    app.customer("ada").await;
    let mut holds = Vec::new();
    for key in ["h1", "h2", "h3"] {
        let (_, held) = app.call("POST", "/api/v1/check", Some(hold(key, "messages"))).await;
        holds.push(held["hold"]["id"].as_str().unwrap().to_owned());
    }
    for (name, feature) in [("a", "messages"), ("b", "credits"), ("c", "tokens")] {
        let limit = json!({ "feature": feature, "window": "month", "quantity": "50" });
        assert_eq!(app.call("PUT", &format!("/api/v1/customers/ada/spend-limits/{name}"), Some(limit)).await.0, 200);
    }
    assert_eq!(app.track("m1", "ada", "messages", "4").await.0, 200);
    assert_eq!(app.track("m2", "ada", "tokens", "4").await.0, 200);
    let seats = json!({ "key": "s", "customer": "ada", "feature": "seats", "set": "2" });
    assert_eq!(app.call("POST", "/api/v1/track", Some(seats)).await.0, 200);
    let after = creditd::domain::catalog::file::read(AFTER).unwrap();
    let _: creditd::store::catalog::Applied = app.store.apply_catalog(&after, [2; 32], false).await.unwrap();
    let told = lived_on(&app, holds).await;
    for (status, answer) in &told {
        assert!(*status < 500, "{answer}");
    }
    let grant = json!({ "key": "g", "customer": "ada", "feature": "tokens", "quantity": "1", "category": "promotional", "reason": "r" });
    assert_eq!(app.call("POST", "/api/v1/grants", Some(grant)).await.0, 201);
    for name in ["a", "b", "c"] {
        assert_eq!(app.call("DELETE", &format!("/api/v1/customers/ada/spend-limits/{name}"), None).await.0, 200);
    }
    // And back again.
    let before = creditd::domain::catalog::file::read(crate::http_check::CATALOG).unwrap();
    let _: creditd::store::catalog::Applied = app.store.apply_catalog(&before, [3; 32], false).await.unwrap();
    assert_eq!(app.call("GET", "/api/v1/customers/ada", None).await.0, 200);
    let (status, back) = app.track("again", "ada", "messages", "1").await;
    assert_eq!((status, back["drawn"].as_str()), (200, Some("1")), "{back}");
    app.finish().await;
}

/// Asks and does everything under the new catalogue, for weeks.
async fn lived_on(app: &TestApp, mut holds: Vec<String>) -> Vec<(u16, Value)> {
    let mut told = Vec::new();
    for days in [0, 1, 8, 40] {
        if days > 0 {
            told.push(app.call("POST", "/api/v1/test-clock/advance", Some(json!({ "seconds": 86_400 * days }))).await);
        }
        for path in [
            "",
            "/balance",
            "/usage",
            "/usage?group_by=feature",
            "/holds",
            "/spend-limits",
            "/grants",
            "/entries",
            "/balance?at=2026-11-21T18:00:00Z",
        ] {
            let found = app.call("GET", &format!("/api/v1/customers/ada{path}"), None).await;
            assert_eq!(found.0, 200, "{days} {path} {}", found.1);
        }
        for feature in ["messages", "tokens", "seats", "chat", "credits", "other", "sso"] {
            let key = format!("{days}-{feature}");
            told.push(app.track(&key, "ada", feature, "1").await);
            told.push(app.track(&format!("{key}-"), "ada", feature, "-0.5").await);
            told.push(
                app.call(
                    "POST",
                    "/api/v1/check",
                    Some(json!({ "customer": "ada", "feature": feature, "explain": true })),
                )
                .await,
            );
            told.push(app.call("POST", "/api/v1/check", Some(hold(&key, feature))).await);
        }
        if let Some(hold) = holds.pop() {
            let body = json!({ "key": format!("x{days}"), "customer": "ada", "feature": "messages", "quantity": "1", "hold": hold, "final": true });
            told.push(app.call("POST", "/api/v1/track", Some(body)).await);
            let released = app.call("POST", &format!("/api/v1/holds/{hold}/release"), Some(json!({}))).await;
            told.push(released);
        }
        let found = app.store.verify().await.unwrap();
        assert!(
            !found.differs(),
            "{days} {:#?}",
            found.checks.iter().filter(|one| one.differences > 0).collect::<Vec<_>>()
        );
    }
    told
}

/// Everything that touches one wallet, at once and on two daemons: each credit goes one way.
#[tokio::test(flavor = "multi_thread")]
async fn voids_adjustments_tracks_holds_and_an_end_race_for_one_wallet() {
    let app = TestApp::with_catalog(ROLLS).await;
    let beside = app.beside().await;
    for round in 0..6 {
        let customer = format!("c{round}");
        app.customer(&customer).await;
        let wallet = format!("w{round}");
        let made = json!({ "key": "w", "customer": customer, "feature": "credits", "id": wallet, "priority": -9, "limit": "3" });
        assert_eq!(app.call("POST", "/api/v1/wallets", Some(made)).await.0, 201);
        let lot = json!({ "key": "g", "customer": customer, "feature": "credits", "quantity": "14", "category": "promotional", "reason": "r", "wallet": wallet });
        let grant = app.call("POST", "/api/v1/grants", Some(lot)).await.1["id"].as_str().unwrap().to_owned();
        let one = async |n: usize| {
            let on = if n.is_multiple_of(2) { &app } else { &beside };
            let key = format!("{n}");
            match n % 6 {
                0 | 1 => on.track(&key, &customer, "calls", "5").await,
                2 => {
                    on.call(
                        "POST",
                        &format!("/api/v1/grants/{grant}/void"),
                        Some(json!({ "key": key, "quantity": "1", "reason": "r" })),
                    )
                    .await
                }
                3 => {
                    on.call(
                        "POST",
                        "/api/v1/adjustments",
                        Some(json!({ "key": key, "grant": grant, "quantity": "2", "reason": "r" })),
                    )
                    .await
                }
                4 => {
                    let body = json!({ "customer": customer, "feature": "calls", "hold": { "key": key, "ttl_seconds": 1 + n % 2 * 600 } });
                    on.call("POST", "/api/v1/check", Some(body)).await
                }
                _ => {
                    on.call(
                        "POST",
                        &format!("/api/v1/wallets/{wallet}/terminate"),
                        Some(json!({ "key": "end", "reason": "r" })),
                    )
                    .await
                }
            }
        };
        let answers = futures_util::future::join_all((0..36).map(one)).await;
        for (status, answer) in &answers {
            assert!([200, 201, 402, 409].contains(status), "{status} {answer}");
        }
        let (_, shown) = app.call("GET", &format!("/api/v1/wallets/{wallet}"), None).await;
        assert!(shown["state"] == "open" || shown["available"] == "0", "{shown}");
    }
    beside.daemon.stop().await;
    app.finish().await;
}

/// What an unlimited grant paid for was used, not set: a catalogue that lets the feature be set counts anew.
#[tokio::test]
async fn a_feature_that_becomes_one_to_be_set_leaves_books_that_verify() {
    let app = TestApp::with_catalog(UNLIMITED).await;
    app.customer("ada").await;
    assert_eq!(app.track("t1", "ada", "messages", "5").await.0, 200);
    let text = UNLIMITED
        .replace("[features.other]", "consumable = false\n[features.other]")
        .replace("messages = \"1000000000\", ", "");
    let after = creditd::domain::catalog::file::read(&text).unwrap();
    let _: creditd::store::catalog::Applied = app.store.apply_catalog(&after, [2; 32], false).await.unwrap();
    let set = json!({ "key": "s", "customer": "ada", "feature": "messages", "set": "2" });
    let (status, answer) = app.call("POST", "/api/v1/track", Some(set)).await;
    assert_eq!(status, 200, "{answer}");
    app.finish().await;
}
