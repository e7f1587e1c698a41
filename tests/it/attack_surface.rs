//! Every member of every request, every parameter of every path and query, with every value that has broken somebody:
//! a business answer or a refusal that the document lists, and books that balance afterwards.

use std::collections::BTreeSet;

use creditd::domain::api_key::Scope;
use creditd::http::openapi::document;
use serde_json::{Map, Value, json};

use crate::http_api::Api;
use crate::support::app::TestApp;

/// Stands where a raw value goes.
const HERE: &str = "@@here@@";

/// Raw JSON for a member.
const RAW: &[&str] = &[
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "-0",
    "0",
    "-1",
    "1",
    "1.5",
    "1e2",
    "1e-400",
    "99999999999999999999999999999999999999",
    "9223372036854775807",
    "9223372036854775808",
    "-2147483649",
    "0.1234567890123456789012345678901234567890",
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[{}]",
    "{\"a\":null}",
    "{\"\":\"\"}",
    "{\"a\":1e400}",
    "{\"a\":-0}",
    "{\"a\":{}}",
    "{\"a\":\"1\",\"a\":\"2\"}",
    "\"\"",
    "\" \"",
    "\"0\"",
    "\"-0\"",
    "\"-1\"",
    "\"1\"",
    "\"1e400\"",
    "\"NaN\"",
    "\"Infinity\"",
    "\"1000000000000000000\"",
    "\"-1000000000000000000\"",
    "\"0.000000001\"",
    "\"0.0000000001\"",
    "\"99999999999999999999999999999999999999\"",
    "\"\\u0000\"",
    "\"a\\u0000b\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\u202eabc\\u202c\"",
    "\"\\u200b\"",
    "\"\\u0430da\"",
    "\"\\uffff\"",
    "\"'; DROP TABLE grants; --\"",
    "\"%\"",
    "\"\\\\\"",
    "\"../../x\"",
    "\"a/b\"",
    "\"=1+1\"",
    "\"\\r\\n\"",
    "\"\\u007f\"",
    "\"\\ud83d\\ude00\"",
    "\"1970-01-01T00:00:00Z\"",
    "\"9998-12-31T23:59:59Z\"",
    "\"-009999-01-01T00:00:00Z\"",
    "\"2026-02-30T00:00:00Z\"",
    "\"9999-12-31T23:59:59.999999999Z\"",
    "\"grant_00000000000000000000000000000000\"",
    "\"wallet_ffffffffffffffffffffffffffffffff\"",
    "\"https://a.example/{CHECKOUT_SESSION_ID}\"",
    "\"javascript:alert(1)\"",
    "\"https://\\u202e.example\"",
    "{\"a\":99999999999999999999999999999999999999}",
    "{\"a\":0.1234567890123456789012345678901234567890}",
    "{\"a\\u0000\":\"1\"}",
    "{\"usd_credits\":\"1000000000000000000\"}",
    "{\"usd_credits\":\"0.000000001\"}",
    "[\"ada\",\"ada\"]",
];

/// All of it, with what is too long to write.
fn bad_values() -> Vec<String> {
    let mut all: Vec<String> = RAW.iter().map(|value| (*value).to_owned()).collect();
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
        "track_batch" => {
            json!({ "events": [{ "key": "KEY", "customer": "ada", "feature": "premium_messages", "quantity": "0.001" }] })
        }
        "give_grant" => {
            json!({ "key": "KEY", "customer": "ada", "feature": "usd_credits", "quantity": "1", "category": "promotional", "reason": "r" })
        }
        "make_wallet" => json!({ "key": "KEY", "customer": "eve", "feature": "usd_credits" }),
        "terminate_wallet" => json!({ "key": "KEY", "reason": "r" }),
        "void_grant" => json!({ "key": "KEY", "quantity": "0.000000001", "reason": "r" }),
        "adjust_grant" => json!({ "key": "KEY", "grant": "GRANT", "quantity": "0.000000001", "reason": "r" }),
        "extend_hold" => json!({ "ttl_seconds": 600 }),
        "put_spend_limit" => json!({ "feature": "usd_credits", "window": "day", "quantity": "1000000" }),
        "attach" | "preview_attach" => {
            json!({ "customer": "bob", "plan": "top_up", "quantities": { "usd_credits": "20" }, "success_url": url })
        }
        "cancel" | "uncancel" => json!({ "customer": "bob", "plan": "free" }),
        "setup" => json!({ "customer": "bob", "success_url": url, "cancel_url": url, "currency": "usd" }),
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
        let mut request =
            self.app.client.request(method.parse().unwrap(), self.app.address(path)).bearer_auth(&self.app.admin);
        let body = body.map(|body| body.replace("KEY", &format!("k{}", self.n)).replace("GRANT", &self.grant));
        if let Some(body) = &body {
            request = request.header("content-type", "application/json").body(body.clone());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let short = |text: &str| text.chars().take(400).collect::<String>();
        let told = format!(
            "{id} {method} {} {} -> {status} {}",
            short(path),
            short(body.as_deref().unwrap_or("")),
            short(&text)
        );
        if status >= 500 {
            self.failures.push(told);
            return;
        }
        let response = &operation["responses"][status.to_string()];
        let known = ["unknown_route", "method_not_allowed"];
        if status >= 400 {
            let problem: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            let code = problem["code"].as_str().unwrap_or("?").to_owned();
            let codes =
                &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"];
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
            for whole in values.iter().chain(&[
                String::new(),
                "{".to_owned(),
                "{\"a\":1,\"a\":1}".to_owned(),
                " ".repeat(1 << 20),
                "{".repeat(1000),
            ]) {
                self.send(operation, method, &path, Some(whole.clone())).await;
            }
        }
        let texts: Vec<String> = values
            .iter()
            .map(|value| serde_json::from_str::<String>(value).unwrap_or_else(|_| value.clone()))
            .filter(|text| text.len() < 6_000)
            .collect();
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        for parameter in operation["parameters"].as_array().unwrap() {
            let name = parameter["name"].as_str().unwrap();
            for text in texts.iter().map(|text| encoded(text.as_str())).chain([
                "%ff".to_owned(),
                "%ed%a0%80".to_owned(),
                "%zz".to_owned(),
            ]) {
                let path = match parameter["in"].as_str().unwrap() {
                    "query" if id == "list_wallets" && name != "customer" => {
                        format!("{path}?customer=ada&{name}={text}")
                    }
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
    let asked =
        json!({ "customer": "ada", "feature": "premium_messages", "hold": { "key": "h", "ttl_seconds": 3600 } });
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
        for path in
            [route.path.to_owned(), route.path.replace("{customer}", "ada").replace("{id}", "x").replace("{name}", "n")]
        {
            let path = path.replace('{', "%7B").replace('}', "%7D");
            let method = route.method.as_str();
            for body in ["", "{}", "not json"] {
                assert_eq!(api.call(None, method, &path, body).await.problem().0, 401, "{method} {path}");
                assert_eq!(
                    api.call(Some("creditd_test_admin_x"), method, &path, body).await.problem().0,
                    401,
                    "{method} {path}"
                );
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
