//! Every member of every request, every parameter of every path and query, with every value that has broken somebody:
//! a business answer or a refusal that the document lists, and books that balance afterwards.

use std::collections::BTreeSet;

use creditd::commands::export::{ExportArgs, ExportFormat, ExportKind, run};
use creditd::domain::api_key::Scope;
use creditd::http::openapi::document;
use serde_json::{Map, Value, json};

use crate::attach::Shop;
use crate::http_api::Api;
use crate::support::app::TestApp;

/// Stands where a raw value goes.
const HERE: &str = "@@here@@";

/// Raw JSON for a member.
fn bad_values() -> Vec<String> {
    let mut all: Vec<String> = [
        "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "-0", "0", "-1", "1", "1.5", "1e2", "1e-400",
        "99999999999999999999999999999999999999", "9223372036854775807", "9223372036854775808", "-2147483649",
        "0.1234567890123456789012345678901234567890", "null", "true", "false", "[]", "{}", "[[]]", "[null]", "[{}]",
        "{\"a\":null}", "{\"\":\"\"}", "{\"a\":1e400}", "{\"a\":-0}", "{\"a\":{}}", "{\"a\":\"1\",\"a\":\"2\"}", "\"\"", "\" \"", "\"0\"",
        "\"-0\"", "\"-1\"", "\"1\"", "\"1e400\"", "\"NaN\"", "\"Infinity\"", "\"1000000000000000000\"", "\"-1000000000000000000\"",
        "\"0.000000001\"", "\"0.0000000001\"", "\"99999999999999999999999999999999999999\"", "\"\\u0000\"", "\"a\\u0000b\"",
        "\"\\ud800\"", "\"\\udc00\\ud800\"", "\"\\u202eabc\\u202c\"", "\"\\u200b\"", "\"\\u0430da\"", "\"\\uffff\"",
        "\"'; DROP TABLE grants; --\"", "\"%\"", "\"\\\\\"", "\"../../x\"", "\"a/b\"", "\"=1+1\"", "\"\\r\\n\"", "\"\\u007f\"", "\"\\ud83d\\ude00\"",
        "\"1970-01-01T00:00:00Z\"", "\"9998-12-31T23:59:59Z\"", "\"-009999-01-01T00:00:00Z\"", "\"2026-02-30T00:00:00Z\"",
        "\"9999-12-31T23:59:59.999999999Z\"", "\"grant_00000000000000000000000000000000\"", "\"wallet_ffffffffffffffffffffffffffffffff\"",
        "\"https://a.example/{CHECKOUT_SESSION_ID}\"", "\"javascript:alert(1)\"", "\"https://\\u202e.example\"",
        "{\"a\":99999999999999999999999999999999999999}", "{\"a\":0.1234567890123456789012345678901234567890}",
        "{\"a\\u0000\":\"1\"}", "{\"usd_credits\":\"1000000000000000000\"}", "{\"usd_credits\":\"0.000000001\"}", "[\"ada\",\"ada\"]",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    all.push("[".repeat(200) + &"]".repeat(200));
    all.push("{\"a\":".repeat(200) + "1" + &"}".repeat(200));
    all.push(format!("\"{}\"", "x".repeat(100_000)));
    all.push(format!("\"{}\"", "9".repeat(5_000)));
    all.push(format!("{{{}}}", (0..2_000).map(|n| format!("\"k{n}\":\"v\"")).collect::<Vec<_>>().join(",")));
    all.push(format!("[{}]", vec!["\"ada\""; 2_000].join(",")));
    all
}

fn put(body: &mut Value, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *body = value;
        return;
    };
    match body {
        Value::Array(items) => put(&mut items[first.parse::<usize>().unwrap()], rest, value),
        other => {
            if !other.is_object() {
                *other = json!({});
            }
            put(other.as_object_mut().unwrap().entry(first.clone()).or_insert(Value::Null), rest, value);
        }
    }
}

/// Paths of all members of a schema, through references, lists and alternatives.
fn members(document: &Value, schema: &Value, at: &[String], found: &mut BTreeSet<Vec<String>>, depth: usize) {
    if depth > 8 {
        return;
    }
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        members(document, &document["components"]["schemas"][name], at, found, depth + 1);
    }
    for name in ["anyOf", "allOf", "oneOf"] {
        for one in schema[name].as_array().into_iter().flatten() {
            members(document, one, at, found, depth + 1);
        }
    }
    for (name, one) in schema["properties"].as_object().unwrap_or(&Map::new()) {
        let mut path = at.to_vec();
        path.push(name.clone());
        found.insert(path.clone());
        members(document, one, &path, found, depth + 1);
    }
    if schema["items"].is_object() {
        let mut path = at.to_vec();
        path.push("0".to_owned());
        found.insert(path.clone());
        members(document, &schema["items"], &path, found, depth + 1);
    }
}

fn baseline(id: &str) -> Value {
    let url = "https://app.example/paid";
    match id {
        "check" => json!({ "customer": "ada", "feature": "premium_messages", "quantity": "1" }),
        "check_batch" => json!({ "customers": ["ada"], "checks": [{ "feature": "premium_messages" }] }),
        "track" => json!({ "key": "KEY", "customer": "ada", "feature": "premium_messages", "quantity": "0.001" }),
        "track_batch" => json!({ "events": [{ "key": "KEY", "customer": "ada", "feature": "premium_messages", "quantity": "0.001" }] }),
        "give_grant" => json!({ "key": "KEY", "customer": "ada", "feature": "usd_credits", "quantity": "1", "category": "promotional", "reason": "r" }),
        "make_wallet" => json!({ "key": "KEY", "customer": "eve", "feature": "usd_credits" }),
        "terminate_wallet" => json!({ "key": "KEY", "reason": "r" }),
        "void_grant" => json!({ "key": "KEY", "quantity": "0.000000001", "reason": "r" }),
        "adjust_grant" => json!({ "key": "KEY", "grant": "GRANT", "quantity": "0.000000001", "reason": "r" }),
        "extend_hold" => json!({ "ttl_seconds": 600 }),
        "put_spend_limit" => json!({ "feature": "usd_credits", "window": "day", "quantity": "1000000" }),
        "attach" | "preview_attach" => json!({ "customer": "bob", "plan": "top_up", "quantities": { "usd_credits": "20" }, "success_url": url }),
        "cancel" | "uncancel" => json!({ "customer": "bob", "plan": "free" }),
        "portal" => json!({ "customer": "bob", "return_url": url }),
        _ => json!({}),
    }
}

struct Fuzz {
    app: TestApp,
    document: Value,
    grant: String,
    hold: String,
    n: usize,
    failures: Vec<String>,
}

impl Fuzz {
    async fn send(&mut self, operation: &Value, method: &str, path: &str, body: Option<String>) {
        self.n += 1;
        let id = operation["operationId"].as_str().unwrap();
        let mut request = self.app.client.request(method.parse().unwrap(), self.app.address(path)).bearer_auth(&self.app.admin);
        let body = body.map(|body| body.replace("KEY", &format!("k{}", self.n)).replace("GRANT", &self.grant));
        if let Some(body) = &body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let short = |text: &str| text.chars().take(400).collect::<String>();
        let told = format!("{id} {method} {} {} -> {status} {}", short(path), short(body.as_deref().unwrap_or("")), short(&text));
        if status >= 500 {
            self.failures.push(told);
            return;
        }
        let response = &operation["responses"][status.to_string()];
        let known = ["unknown_route", "method_not_allowed"];
        if status >= 400 {
            let problem: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let code = problem["code"].as_str().unwrap_or("?").to_owned();
            let codes = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"];
            let listed = codes.as_array().is_some_and(|codes| codes.iter().any(|one| one == &code));
            if !listed && !known.contains(&code.as_str()) {
                self.failures.push(format!("not documented: {told}"));
            }
        } else if response.is_null() {
            self.failures.push(format!("status not documented: {told}"));
        }
    }

    fn path(&self, template: &str, id: &str) -> String {
        let own = match id {
            _ if template.contains("/holds/") => self.hold.clone(),
            _ if template.contains("/grants/{id}") => self.grant.clone(),
            "terminate_wallet" => "none".to_owned(),
            _ if template.contains("/wallets/") => "promo".to_owned(),
            _ => "evt_1".to_owned(),
        };
        template.replace("{customer}", "ada").replace("{id}", &own).replace("{name}", "daily")
    }

    async fn route(&mut self, method: &str, template: &str, operation: &Value) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        let schema = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        let path = self.path(template, &id);
        let has_body = !schema.is_null();
        let base = has_body.then(|| baseline(&id));
        let values = bad_values();
        if let Some(base) = &base {
            let mut all = BTreeSet::new();
            members(&self.document, &schema, &[], &mut all, 0);
            for member in all {
                for value in &values {
                    let mut body = base.clone();
                    put(&mut body, &member, json!(HERE));
                    let body = body.to_string().replace(&format!("\"{HERE}\""), value);
                    self.send(operation, method, &path, Some(body)).await;
                }
            }
            for whole in values.iter().chain(&["".to_owned(), "{".to_owned(), "{\"a\":1,\"a\":1}".to_owned(), " ".repeat(1 << 20), "{".repeat(1000)]) {
                self.send(operation, method, &path, Some(whole.clone())).await;
            }
        }
        let texts: Vec<String> = values
            .iter()
            .map(|value| serde_json::from_str::<String>(value).unwrap_or_else(|_| value.clone()))
            .filter(|text| text.len() < 6_000)
            .collect();
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            for text in texts.iter().map(|text| encoded(text.as_str())).chain(["%ff".to_owned(), "%ed%a0%80".to_owned(), "%zz".to_owned()]) {
                let path = match parameter["in"].as_str().unwrap() {
                    "query" if id == "list_wallets" && name != "customer" => format!("{path}?customer=ada&{name}={text}"),
                    "query" if name == "time_zone" => format!("{path}?group_by=day&{name}={text}"),
                    "query" if name == "group_by" => format!("{path}?{name}=property:{text}"),
                    "query" => format!("{path}?{name}={text}&{name}=1"),
                    _ => self.path(&template.replace(&format!("{{{name}}}"), &text), &id),
                };
                self.send(operation, method, &path, base.as_ref().map(Value::to_string)).await;
                if path.ends_with("=1") {
                    let once = path.rsplit_once('&').unwrap().0.to_owned();
                    self.send(operation, method, &once, base.as_ref().map(Value::to_string)).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_any_member_of_any_route_breaks_an_answer_or_the_books() {
    let app = TestApp::start().await;
    for customer in ["ada", "bob", "eve"] {
        app.customer(customer).await;
    }
    app.grant("ada", "usd_credits", "1000").await;
    let wallet = json!({ "key": "w", "customer": "ada", "feature": "usd_credits", "id": "promo" });
    assert_eq!(app.call("POST", "/api/v1/wallets", Some(wallet)).await.0, 201);
    let lot = json!({ "key": "lot", "customer": "ada", "feature": "usd_credits", "quantity": "100", "category": "promotional",
        "reason": "r", "wallet": "promo" });
    let (_, grant) = app.call("POST", "/api/v1/grants", Some(lot)).await;
    let asked = json!({ "customer": "ada", "feature": "premium_messages", "hold": { "key": "h", "ttl_seconds": 3600 } });
    let (_, held) = app.call("POST", "/api/v1/check", Some(asked)).await;
    let document = document();
    let mut fuzz = Fuzz {
        app,
        grant: grant["id"].as_str().unwrap().to_owned(),
        hold: held["hold"]["id"].as_str().unwrap().to_owned(),
        document: document.clone(),
        n: 0,
        failures: Vec::new(),
    };
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if ["stripe_webhook", "metrics", "openapi", "advance_test_clock"].contains(&id) {
                continue;
            }
            let before = (fuzz.n, fuzz.failures.len());
            fuzz.route(&method.to_uppercase(), path, operation).await;
            eprintln!("{id}: {} requests, {} failures", fuzz.n - before.0, fuzz.failures.len() - before.1);
        }
    }
    for failure in &fuzz.failures {
        eprintln!("FAIL {failure}");
    }
    let found = fuzz.app.store.verify().await.unwrap();
    assert!(!found.differs(), "{:?}", found.checks);
    assert!(fuzz.failures.is_empty(), "{} failures", fuzz.failures.len());
    fuzz.app.finish().await;
}

/// Every route with every kind of key, from the table itself: a route that is new is asked too.
#[tokio::test]
async fn every_route_of_the_table_lets_in_its_scopes_alone() {
    let api = Api::start().await;
    api.customer("ada").await;
    let all = creditd::http::routes::table();
    for route in &all {
        let scopes = route.who.scopes(true);
        // Without workers there is nothing to replay with: that route is asked in `http_scopes`.
        if scopes.is_empty() || route.path.ends_with("/replay") {
            continue;
        }
        for path in [route.path.to_owned(), route.path.replace("{customer}", "ada").replace("{id}", "x").replace("{name}", "n")] {
            let path = path.replace('{', "%7B").replace('}', "%7D");
            let method = route.method.as_str();
            for body in ["", "{}", "not json"] {
                assert_eq!(api.call(None, method, &path, body).await.problem().0, 401, "{method} {path}");
                assert_eq!(api.call(Some("creditd_test_admin_x"), method, &path, body).await.problem().0, 401, "{method} {path}");
                for scope in Scope::ALL {
                    let answer = api.call(Some(api.key(scope)), method, &path, body).await;
                    let refused = answer.status.as_u16() == 403;
                    assert_eq!(refused, !scopes.contains(&scope), "{scope} {method} {path}: {}", answer.status);
                    assert!(answer.status.as_u16() < 500, "{scope} {method} {path}: {}", answer.body);
                }
            }
        }
    }
    // Reading is not writing: of those that change something, none is open to finance; of the admin's none to the app.
    for route in &all {
        let writes = route.method != "GET" && route.path.starts_with("/api/");
        assert!(!writes || !route.who.scopes(true).contains(&Scope::Finance), "{}", route.path);
    }
}

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
        let (status, answer) = app.call("PUT", &format!("/api/v1/customers/ada/spend-limits/{name}"), Some(limit)).await;
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
    for (zone, status) in [("CET", 400), ("eet", 400), ("MET", 400), ("WET", 400), ("Europe/Berlin", 200), ("UTC", 200), ("EST", 200)] {
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
        let (status, answer) = app.call("POST", "/api/v1/check", Some(json!({ "customer": "ada", "feature": "other", "quantity": quantity, "explain": true }))).await;
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
    let checks: Vec<Value> = (0..100).map(|n| json!({ "feature": "premium_messages", "quantity": n.to_string() })).collect();
    let began = creditd::clock::instant();
    let (status, answer) = app.call("POST", "/api/v1/check/batch", Some(json!({ "customers": customers, "checks": checks }))).await;
    let took = began.elapsed();
    assert_eq!(status, 200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 10_000);
    assert_eq!(results.iter().filter(|one| one["answer"]["allowed"] == true).count(), 50 * 100);
    eprintln!("10,000 pairs in {took:?}, {} bytes", answer.to_string().len());
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

/// What was shown at a time is told of it later, with rollover, holds, returns and debts, however late it was booked.
#[tokio::test(flavor = "multi_thread")]
async fn a_past_balance_is_what_was_shown_with_rollover_holds_returns_and_debts() {
    let shown = |answer: &Value| {
        let one = answer["balances"].as_array().unwrap().iter().find(|one| one["feature"] == "credits").cloned();
        let one = one.unwrap_or_default();
        ["available", "held", "granted", "owed"].map(|number| one[number].clone())
    };
    for seed in 1..=4_u64 {
        let app = TestApp::with_catalog(ROLLS).await;
        app.customer("ada").await;
        let mut dice = seed;
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        let (mut seen, mut holds, mut log): (Vec<(String, [Value; 4])>, Vec<String>, Vec<String>) = (vec![], vec![], vec![]);
        for n in 0..70 {
            let key = format!("k{n}");
            let done = match roll(8) {
                0 | 1 => {
                    let seconds = [3_600, 86_400 * 2, 86_400 * 7, 86_400 * 16][usize::try_from(roll(4)).unwrap()];
                    app.call("POST", "/api/v1/test-clock/advance", Some(json!({ "seconds": seconds }))).await
                }
                2 | 3 => {
                    let short = ["cap", "debt", "reject"][usize::try_from(roll(3)).unwrap()];
                    let body = json!({ "key": key, "customer": "ada", "feature": "calls", "quantity": (roll(12)).to_string(), "when_short": short });
                    app.call("POST", "/api/v1/track", Some(body)).await
                }
                4 => app.track(&key, "ada", "calls", &format!("-{}", roll(5) + 1)).await,
                5 => {
                    let body = json!({ "customer": "ada", "feature": "calls", "quantity": "3",
                        "hold": { "key": key, "ttl_seconds": 86_400 * (roll(10) + 1), "when_more": "take_available" } });
                    let done = app.call("POST", "/api/v1/check", Some(body)).await;
                    holds.extend(done.1["hold"]["id"].as_str().map(str::to_owned));
                    done
                }
                6 if !holds.is_empty() => {
                    let hold = holds.swap_remove(usize::try_from(roll(holds.len() as u64)).unwrap());
                    if roll(2) == 0 {
                        app.call("POST", &format!("/api/v1/holds/{hold}/release"), Some(json!({}))).await
                    } else {
                        let body = json!({ "key": key, "customer": "ada", "feature": "calls", "quantity": "2", "hold": hold, "final": true });
                        app.call("POST", "/api/v1/track", Some(body)).await
                    }
                }
                _ => {
                    let body = json!({ "key": key, "customer": "ada", "feature": "credits", "quantity": (roll(6) + 1).to_string(),
                        "category": "promotional", "reason": "r" });
                    app.call("POST", "/api/v1/grants", Some(body)).await
                }
            };
            assert!(done.0 < 500, "{done:?}");
            log.push(format!("{done:?}"));
            let (_, now) = app.call("GET", "/api/v1/customers/ada/balance", None).await;
            let at = now["at"].as_str().unwrap().to_owned();
            // Asked for as a past time, what is due is booked: of several periods nobody booked only survivors are told.
            let (status, _) = app.call("GET", &format!("/api/v1/customers/ada/balance?at={at}"), None).await;
            assert_eq!(status, 200);
            seen.push((at, shown(&now)));
        }
        for (place, (at, was)) in seen.iter().enumerate() {
            let (_, then) = app.call("GET", &format!("/api/v1/customers/ada/balance?at={at}"), None).await;
            assert_eq!(shown(&then), *was, "seed {seed}, step {place} at {at}\nbefore: {:?}\nstep: {}", place.checked_sub(1).map(|n| &seen[n]), log[place]);
        }
        // The export's sums of a grant are those of the customer's page.
        let mut out = Vec::new();
        let args = ExportArgs { kind: ExportKind::Grants, format: ExportFormat::Jsonl, from: None, to: None, names: false, out: None };
        run(&app.store, &args, &mut out).await.unwrap();
        let out = String::from_utf8(out).unwrap();
        let (_, listed) = app.call("GET", "/api/v1/customers/ada/grants?limit=500", None).await;
        let listed = listed["data"].as_array().unwrap().clone();
        assert_eq!(out.lines().count(), listed.len());
        for line in out.lines() {
            let lot: Value = serde_json::from_str(line).unwrap();
            let known = listed.iter().find(|one| one["id"] == lot["grant_id"]).unwrap();
            assert_eq!((&lot["original"], &lot["remaining"], &lot["held"]), (&known["quantity"], &known["remaining"], &known["held"]), "{line} {known}");
        }
        app.finish().await;
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

/// A catalogue that takes features away, or makes others of them, under a customer who holds, owes and is limited.
#[tokio::test]
async fn a_catalogue_that_changes_what_features_are_leaves_customers_and_books_whole() {
    let app = TestApp::with_catalog(crate::http_check::CATALOG).await;
    app.customer("ada").await;
    let hold = |key: &str, feature: &str| json!({ "customer": "ada", "feature": feature, "quantity": "2", "hold": { "key": key, "ttl_seconds": 86_400 * 3 } });
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
    let mut told = Vec::new();
    for days in [0, 1, 8, 40] {
        if days > 0 {
            told.push(app.call("POST", "/api/v1/test-clock/advance", Some(json!({ "seconds": 86_400 * days }))).await);
        }
        for path in ["", "/balance", "/usage", "/usage?group_by=feature", "/holds", "/spend-limits", "/grants", "/entries", "/balance?at=2026-11-21T18:00:00Z"] {
            let found = app.call("GET", &format!("/api/v1/customers/ada{path}"), None).await;
            assert_eq!(found.0, 200, "{days} {path} {}", found.1);
        }
        for feature in ["messages", "tokens", "seats", "chat", "credits", "other", "sso"] {
            let key = format!("{days}-{feature}");
            told.push(app.track(&key, "ada", feature, "1").await);
            told.push(app.track(&format!("{key}-"), "ada", feature, "-0.5").await);
            told.push(app.call("POST", "/api/v1/check", Some(json!({ "customer": "ada", "feature": feature, "explain": true }))).await);
            told.push(app.call("POST", "/api/v1/check", Some(hold(&key, feature))).await);
        }
        if let Some(hold) = holds.pop() {
            let body = json!({ "key": format!("x{days}"), "customer": "ada", "feature": "messages", "quantity": "1", "hold": hold, "final": true });
            told.push(app.call("POST", "/api/v1/track", Some(body)).await);
            let released = app.call("POST", &format!("/api/v1/holds/{hold}/release"), Some(json!({}))).await;
            eprintln!("{days} release {released:?}");
            told.push(released);
        }
        let found = app.store.verify().await.unwrap();
        assert!(!found.differs(), "{days} {:#?}", found.checks.iter().filter(|one| one.differences > 0).collect::<Vec<_>>());
    }
    for (status, answer) in &told {
        assert!(*status < 500, "{answer}");
    }
    assert_eq!(app.call("POST", "/api/v1/grants", Some(json!({ "key": "g", "customer": "ada", "feature": "tokens", "quantity": "1", "category": "promotional", "reason": "r" }))).await.0, 201);
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
            let on = if n % 2 == 0 { &app } else { &beside };
            let key = format!("{n}");
            match n % 6 {
                0 | 1 => on.track(&key, &customer, "calls", "5").await,
                2 => on.call("POST", &format!("/api/v1/grants/{grant}/void"), Some(json!({ "key": key, "quantity": "1", "reason": "r" }))).await,
                3 => on.call("POST", "/api/v1/adjustments", Some(json!({ "key": key, "grant": grant, "quantity": "2", "reason": "r" }))).await,
                4 => {
                    let body = json!({ "customer": customer, "feature": "calls", "hold": { "key": key, "ttl_seconds": 1 + n % 2 * 600 } });
                    on.call("POST", "/api/v1/check", Some(body)).await
                }
                _ => on.call("POST", &format!("/api/v1/wallets/{wallet}/terminate"), Some(json!({ "key": "end", "reason": "r" }))).await,
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
