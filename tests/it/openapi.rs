//! The `OpenAPI` document against a running daemon: every route, every member of a request, every member of an answer,
//! every code.

mod members;
mod top_ups;

use std::collections::{BTreeMap, BTreeSet};

use creditd::http::openapi::document;
use creditd::http::routes;
use serde_json::{Map, Value, json};

use crate::support::app::{PACKS_OF_ADA, TestApp};
use crate::support::binary::{Ended, bare};
use crate::support::events::{event, signed};

/// The document with every object closed: what it does not list may not be in an answer. Published it is open, so that
/// later versions may add members.
fn closed() -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                    members.insert("additionalProperties".to_owned(), json!(false));
                }
                members.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut document = document();
    close(&mut document["components"]["schemas"]);
    document
}

/// What a schema of the document finds wrong with a value.
fn wrong(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let whole = json!({ "allOf": [schema], "components": document["components"] });
    let validator = jsonschema::options().should_validate_formats(true).build(&whole).unwrap();
    validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect()
}

fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let mut all = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            all.insert((method.to_uppercase(), path.clone()), operation.clone());
        }
    }
    all
}

/// The operation of a real path.
fn operation_of(document: &Value, method: &str, path: &str) -> Value {
    let path: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
    let fits = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == path.len() && template.iter().zip(&path).all(|(t, p)| t == p || t.starts_with('{'))
    };
    let all = operations(document);
    let found = all.into_iter().filter(|((m, template), _)| m == method && fits(template));
    // `/track/batch` before `/{x}`: there is no such pair here, so one fits.
    found.map(|(_, operation)| operation).next().unwrap_or_else(|| panic!("{method} {path:?} is not in the document"))
}

fn properties(document: &Value, schema: &Value) -> Map<String, Value> {
    let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    let schema = name.map_or(schema, |name| &document["components"]["schemas"][name]);
    schema["properties"].as_object().cloned().unwrap_or_default()
}

/// Requests and their answers, each held against the document.
struct Checked<'a> {
    app: &'a TestApp,
    document: Value,
    seen: BTreeSet<(String, String, String)>,
}

impl Checked<'_> {
    async fn call(&mut self, status: u16, method: &str, path: &str, body: Option<Value>) -> Value {
        let operation = operation_of(&self.document, method, path);
        let (found, answer) = self.app.call(method, path, body.clone()).await;
        assert_eq!(found, status, "{method} {path}: {answer}");
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(schema.is_null(), body.is_none(), "{method} {path}: does it take a body?");
        if let Some(body) = body
            && status < 400
        {
            assert_eq!(wrong(&self.document, schema, &body), Vec::<String>::new(), "{body}");
        }
        self.answered(&operation, status, &answer);
        answer
    }

    fn answered(&mut self, operation: &Value, status: u16, answer: &Value) {
        let content = &operation["responses"][status.to_string()]["content"];
        let (media, id) =
            (content.as_object().and_then(|all| all.keys().next()), operation["operationId"].as_str().unwrap());
        let media = media.unwrap_or_else(|| panic!("{id} does not say that it answers {status}: {answer}"));
        let schema = &content[media.as_str()]["schema"];
        assert_eq!(wrong(&self.document, schema, answer), Vec::<String>::new(), "{id} {status}: {answer:#}");
        let code = answer["code"].as_str().unwrap_or_default();
        self.seen.insert((id.to_owned(), status.to_string(), code.to_owned()));
    }
}

#[test]
fn every_route_is_in_the_document_and_the_reverse() {
    let document = document();
    let documented: BTreeSet<(String, String)> = operations(&document).into_keys().collect();
    let table: Vec<(String, String)> =
        routes::table().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(table.len(), documented.len(), "a route is there twice");
    assert_eq!(table.into_iter().collect::<BTreeSet<_>>(), documented);
    // The table is the only place that makes routes.
    let room = [include_str!("../../src/http/mod.rs"), include_str!("../../src/commands/daemon.rs")];
    assert!(room.iter().all(|text| !text.contains(".route(")));
    let ids: BTreeSet<String> = operations(&document).values().map(|one| one["operationId"].to_string()).collect();
    assert_eq!(ids.len(), documented.len(), "operation ids are unique");
}

#[tokio::test]
async fn every_documented_path_is_served_with_these_methods_and_no_others() {
    let app = TestApp::start().await;
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in operations(&document()).into_keys() {
        methods.entry(path).or_default().insert(method);
    }
    for (path, methods) in methods {
        let url = app.address(&path.replace("{customer}", "ada").replace("{id}", "evt_1").replace("{name}", "a"));
        // A method that no path takes.
        let purge = reqwest::Method::from_bytes(b"PURGE").unwrap();
        let answer = app.client.request(purge, url).bearer_auth(&app.admin).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{path}");
        let allowed: BTreeSet<String> =
            answer.headers()["allow"].to_str().unwrap().split(',').map(str::to_owned).filter(|m| m != "HEAD").collect();
        assert_eq!(allowed, methods, "{path}");
    }
    app.finish().await;
}

impl Checked<'_> {
    async fn customers_and_grants(&mut self) {
        let ada = json!({ "name": "Ada", "email": null, "metadata": { "team": "a" }, "stripe_customer": "cus_1" });
        self.call(201, "PUT", "/api/v1/customers/ada", Some(ada.clone())).await;
        self.call(200, "PUT", "/api/v1/customers/ada", Some(ada.clone())).await;
        self.call(409, "PUT", "/api/v1/customers/eve", Some(ada)).await;
        self.call(400, "PUT", "/api/v1/customers/ada", Some(json!({ "name": 7 }))).await;
        let grant = json!({ "key": "g1", "customer": "ada", "feature": "usd_credits", "quantity": "30", "category": "prepaid",
        "reason": "a contract", "wallet": "main", "priority": -5, "starts_at": "2026-01-01T00:00:00+01:00",
        "expires_at": "9000-01-01T00:00:00Z", "metadata": { "deal": "7" },
        "paid": { "amount": "30.00", "currency": "usd", "reference": "INV-7" } });
        self.call(201, "POST", "/api/v1/grants", Some(grant.clone())).await;
        self.call(200, "POST", "/api/v1/grants", Some(grant.clone())).await;
        for (member, value, status) in [
            ("quantity", json!("31"), 409),
            ("quantity", json!("0"), 400),
            ("quantity", json!(30), 400),
            ("category", json!("plan"), 400),
            ("priority", json!(1_001), 400),
            ("customer", json!("nobody"), 404),
            ("feature", json!("nothing"), 404),
            ("paid", json!({ "amount": "-1", "currency": "usd", "reference": "x" }), 400),
            ("paid", json!({ "amount": "1.00", "currency": "usd", "reference": "x", "tax": "1" }), 400),
            ("bonus", json!(true), 400),
        ] {
            let mut other = grant.clone();
            other[member] = value;
            let key = if status == 409 { "g1" } else { "g2" };
            other["key"] = json!(key);
            self.call(status, "POST", "/api/v1/grants", Some(other)).await;
        }
    }

    async fn wallets_and_corrections(&mut self) {
        let wallets = "/api/v1/wallets";
        let new = json!({ "key": "w1", "customer": "ada", "feature": "usd_credits", "id": "promo", "name": "Promotions",
            "priority": -5, "default_expiry_days": 90, "limit": "10", "metadata": { "team": "growth" } });
        self.call(201, "POST", wallets, Some(new.clone())).await;
        self.call(200, "POST", wallets, Some(new.clone())).await;
        for (member, value, key, status) in [
            ("priority", json!(4), "w1", 409),
            ("name", json!("x"), "w2", 409),
            ("priority", json!(1_001), "w2", 400),
            ("customer", json!("nobody"), "w2", 404),
            ("feature", json!("nothing"), "w2", 404),
        ] {
            let mut other = new.clone();
            other[member] = value;
            other["key"] = json!(key);
            self.call(status, "POST", wallets, Some(other)).await;
        }
        self.call(200, "PATCH", "/api/v1/wallets/promo", Some(json!({ "frozen": true, "name": null, "limit": null })))
            .await;
        self.call(200, "PATCH", "/api/v1/wallets/promo", Some(json!({ "frozen": false, "priority": null }))).await;
        self.call(400, "PATCH", "/api/v1/wallets/promo", Some(json!({ "frozen": "no" }))).await;
        self.call(404, "PATCH", "/api/v1/wallets/none", Some(json!({}))).await;
        self.call(200, "GET", "/api/v1/wallets?customer=ada&limit=1", None).await;
        self.call(400, "GET", wallets, None).await;
        self.call(404, "GET", "/api/v1/wallets?customer=nobody", None).await;
        let contract = json!({ "reference": "C-7", "minimum_spend": { "amount": "50000.00", "currency": "usd" },
            "starts_at": "2026-01-01T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z" });
        let committed = json!({ "key": "c1", "customer": "ada", "feature": "usd_credits", "quantity": "50",
            "category": "committed", "reason": "a contract", "wallet": "promo", "contract": contract });
        let grant = self.call(201, "POST", "/api/v1/grants", Some(committed)).await;
        let id = grant["id"].as_str().unwrap();
        self.call(200, "GET", "/api/v1/wallets/promo", None).await;
        self.call(404, "GET", "/api/v1/wallets/none", None).await;
        let void = format!("/api/v1/grants/{id}/void");
        let some = json!({ "key": "v1", "quantity": "10", "reason": "too many" });
        self.call(200, "POST", &void, Some(some.clone())).await;
        self.call(200, "POST", &void, Some(some)).await;
        self.call(409, "POST", &void, Some(json!({ "key": "v2", "quantity": "100", "reason": "r" }))).await;
        self.call(400, "POST", &void, Some(json!({ "key": "v2", "quantity": "0", "reason": "r" }))).await;
        self.call(404, "POST", "/api/v1/grants/none/void", Some(json!({ "key": "v2", "reason": "r" }))).await;
        let more = json!({ "key": "a1", "grant": id, "quantity": "2.5", "reason": "a count" });
        self.call(200, "POST", "/api/v1/adjustments", Some(more.clone())).await;
        for (quantity, status) in [("0", 400), ("-100", 409)] {
            let mut other = more.clone();
            (other["key"], other["quantity"]) = (json!("a2"), json!(quantity));
            self.call(status, "POST", "/api/v1/adjustments", Some(other)).await;
        }
        let end = json!({ "key": "t1", "reason": "over" });
        self.call(200, "POST", "/api/v1/wallets/promo/terminate", Some(end.clone())).await;
        self.call(200, "POST", "/api/v1/wallets/promo/terminate", Some(end)).await;
        self.call(409, "PATCH", "/api/v1/wallets/promo", Some(json!({ "name": "x" }))).await;
        self.call(409, "POST", &void, Some(json!({ "key": "v3", "reason": "r" }))).await;
        let balance = "/api/v1/customers/ada/balance";
        self.call(200, "GET", &format!("{balance}?feature=usd_credits&entity=seat"), None).await;
        self.call(200, "GET", &format!("{balance}?at=2026-01-01T00:00:00Z"), None).await;
        self.call(400, "GET", &format!("{balance}?at=9000-01-01T00:00:00Z"), None).await;
        self.call(404, "GET", &format!("{balance}?feature=nothing"), None).await;
    }

    async fn usage(&mut self) {
        let question = json!({ "customer": "ada", "feature": "premium_messages", "quantity": "3", "entity": null, "explain": true });
        self.call(200, "POST", "/api/v1/check", Some(question)).await;
        for feature in ["nothing", "basic_messages"] {
            self.call(200, "POST", "/api/v1/check", Some(json!({ "customer": "ada", "feature": feature }))).await;
        }
        self.call(404, "POST", "/api/v1/check", Some(json!({ "customer": "nobody", "feature": "usd_credits" }))).await;
        let usage = json!({ "key": "t1", "customer": "ada", "feature": "premium_messages", "quantity": "100",
        "when_short": "cap", "metadata": { "job": "1" } });
        self.call(200, "POST", "/api/v1/track", Some(usage.clone())).await;
        self.call(200, "POST", "/api/v1/track", Some(usage.clone())).await;
        for (member, value, status) in [
            ("quantity", json!("101"), 409),
            ("quantity", json!("1e3"), 400),
            ("when_short", json!("maybe"), 400),
            ("customer", json!("nobody"), 404),
            ("at", json!("2020-01-01T00:00:00Z"), 400),
        ] {
            let mut other = usage.clone();
            other[member] = value;
            self.call(status, "POST", "/api/v1/track", Some(other)).await;
        }
        let dear = json!({ "key": "t3", "customer": "ada", "feature": "premium_messages", "quantity": "1000000", "when_short": "reject" });
        self.call(402, "POST", "/api/v1/track", Some(dear.clone())).await;
        let mut debt = dear;
        debt["when_short"] = json!("debt");
        self.call(400, "POST", "/api/v1/track", Some(debt.clone())).await;
        self.usage_of_holds_and_limits().await;
        let batch = json!({ "events": [usage, debt] });
        let results = self.call(200, "POST", "/api/v1/track/batch", Some(batch)).await;
        assert_eq!(
            (&results["results"][0]["status"], &results["results"][1]["status"]),
            (&json!("repeated"), &json!("refused"))
        );
        self.call(400, "POST", "/api/v1/track/batch", Some(json!({ "events": [] }))).await;
    }

    async fn usage_of_holds_and_limits(&mut self) {
        let limit = json!({ "feature": "usd_credits", "window": "day", "quantity": "1000", "entity": null });
        let path = "/api/v1/customers/ada/spend-limits/daily";
        self.call(200, "PUT", path, Some(limit.clone())).await;
        self.call(400, "PUT", path, Some(json!({ "feature": "usd_credits", "window": "era", "quantity": "1" }))).await;
        self.call(404, "PUT", path, Some(json!({ "feature": "nothing", "window": "day", "quantity": "1" }))).await;
        self.call(404, "PUT", "/api/v1/customers/nobody/spend-limits/a", Some(limit)).await;
        for path in [path, "/api/v1/customers/ada/spend-limits"] {
            self.call(200, "GET", path, None).await;
        }
        self.call(404, "GET", "/api/v1/customers/ada/spend-limits/none", None).await;
        let mut asked = json!({ "customer": "ada", "feature": "premium_messages", "quantity": "2",
        "properties": { "model": "m", "tokens": 12, "fast": true }, "explain": true });
        asked["deduct"] = json!({ "key": "d1" });
        self.call(200, "POST", "/api/v1/check", Some(asked.clone())).await;
        asked["quantity"] = json!("3");
        self.call(409, "POST", "/api/v1/check", Some(asked.clone())).await;
        asked["deduct"] = Value::Null;
        asked["hold"] = json!({ "key": "h1", "ttl_seconds": 600, "when_more": "take_available" });
        let held = self.call(200, "POST", "/api/v1/check", Some(asked)).await;
        let hold = held["hold"]["id"].as_str().unwrap().to_owned();
        let settle =
            json!({ "key": "s1", "customer": "ada", "feature": "premium_messages", "quantity": "1", "hold": hold });
        self.call(200, "POST", "/api/v1/track", Some(settle)).await;
        let one = format!("/api/v1/holds/{hold}");
        for path in
            [one.as_str(), "/api/v1/customers/ada/holds", "/api/v1/customers/ada?entity=e", "/api/v1/customers/ada"]
        {
            self.call(200, "GET", path, None).await;
        }
        self.call(200, "POST", &format!("{one}/extend"), Some(json!({ "ttl_seconds": 900 }))).await;
        self.call(400, "POST", &format!("{one}/extend"), Some(json!({ "ttl_seconds": 0 }))).await;
        self.call(200, "POST", &format!("{one}/release"), Some(json!({}))).await;
        self.call(404, "POST", &format!("{one}/release"), Some(json!({}))).await;
        self.call(404, "POST", &format!("{one}/extend"), Some(json!({ "ttl_seconds": 900 }))).await;
        self.call(200, "GET", &one, None).await;
        self.call(404, "GET", "/api/v1/holds/hold_1", None).await;
        self.call(200, "DELETE", path, None).await;
        self.call(404, "DELETE", path, None).await;
        let checks = json!([{ "feature": "premium_messages" }, { "event": "nothing" }]);
        let batch = json!({ "customers": ["ada", "nobody"], "checks": checks });
        self.call(200, "POST", "/api/v1/check/batch", Some(batch)).await;
        self.call(400, "POST", "/api/v1/check/batch", Some(json!({ "customers": [], "checks": [] }))).await;
        let back = json!({ "key": "b1", "customer": "ada", "feature": "premium_messages", "quantity": "-1" });
        self.call(200, "POST", "/api/v1/track", Some(back)).await;
        let event = json!({ "key": "e1", "customer": "ada", "event": "nothing" });
        self.call(404, "POST", "/api/v1/track", Some(event)).await;
        for query in ["", "?limit=1", "?group_by=day,feature,entity,property:model&time_zone=Europe/Berlin"] {
            self.call(200, "GET", &format!("/api/v1/customers/ada/usage{query}"), None).await;
        }
        self.call(400, "GET", "/api/v1/customers/ada/usage?group_by=year", None).await;
        self.call(404, "GET", "/api/v1/customers/nobody/usage", None).await;
    }

    async fn lists(&mut self) {
        let api = "/api/v1";
        for path in
            ["", "/grants?limit=1", "/grants?feature=usd_credits&wallet=main", "/entries", "/entries?kind=draw&limit=1"]
        {
            self.call(200, "GET", &format!("{api}/customers/ada{path}"), None).await;
            self.call(404, "GET", &format!("{api}/customers/nobody{path}"), None).await;
        }
        self.call(404, "GET", "/api/v1/customers/ada/grants?wallet=none", None).await;
        self.call(400, "GET", "/api/v1/customers/ada/grants?limit=501", None).await;
        self.call(400, "GET", "/api/v1/customers/ada/entries?kind=none", None).await;
    }

    async fn selling(&mut self) {
        let url = "https://app.example/paid";
        let pro = json!({ "customer": "bob", "plan": "pro", "price": "pro_monthly", "seats": 2, "success_url": url,
            "cancel_url": url, "key": null, "entity": null, "carry_over": null, "quantities": null });
        let packs =
            json!({ "customer": "bob", "plan": "top_up", "quantities": { "usd_credits": "20" }, "success_url": url });
        self.call(201, "PUT", "/api/v1/customers/bob", Some(json!({}))).await;
        self.call(404, "POST", "/api/v1/portal", Some(json!({ "customer": "bob" }))).await;
        for body in [pro, packs] {
            self.call(200, "POST", "/api/v1/attach/preview", Some(body.clone())).await;
            self.call(200, "POST", "/api/v1/attach", Some(body.clone())).await;
            for (member, value, status) in
                [("plan", json!("none"), 404), ("customer", json!("nobody"), 404), ("success_url", json!("x"), 400)]
            {
                let mut other = body.clone();
                other[member] = value;
                self.call(status, "POST", "/api/v1/attach", Some(other)).await;
            }
        }
        let free = json!({ "customer": "bob", "plan": "free" });
        self.call(409, "POST", "/api/v1/attach", Some(free.clone())).await;
        let ends = json!({ "customer": "bob", "plan": "free", "when": "period_end", "entity": null });
        self.call(200, "POST", "/api/v1/cancel", Some(ends)).await;
        self.call(200, "POST", "/api/v1/uncancel", Some(free)).await;
        self.call(404, "POST", "/api/v1/cancel", Some(json!({ "customer": "bob", "plan": "pro" }))).await;
        let portal = json!({ "customer": "bob", "return_url": url });
        self.call(200, "POST", "/api/v1/portal", Some(portal)).await;
        let setup = json!({ "customer": "bob", "success_url": url, "cancel_url": url, "currency": "usd" });
        for (member, value, status) in
            [("customer", json!("nobody"), 404), ("success_url", json!("x"), 400), ("currency", json!("us"), 400)]
        {
            let mut other = setup.clone();
            other[member] = value;
            self.call(status, "POST", "/api/v1/setup", Some(other)).await;
        }
        self.call(200, "POST", "/api/v1/setup", Some(setup)).await;
    }

    async fn stripe(&mut self) {
        let api = "/api/v1";
        let bought = self.app.checkout(&PACKS_OF_ADA).await;
        self.app.simulator.pay_checkout(bought["id"].as_str().unwrap(), creditd::simulator::Outcome::Paid).unwrap();
        let paid = self.app.deliver_newest("checkout.session.completed").await;
        self.app.send(&event("evt_doc_1", "some.type", &json!({ "id": "x_1", "object": "x" }))).await;
        self.app.settle().await;
        for path in [format!("/{paid}"), "/evt_doc_1".to_owned(), String::new(), "?state=processed&limit=1".to_owned()]
        {
            self.call(200, "GET", &format!("{api}/stripe-events{path}"), None).await;
        }
        self.call(200, "GET", "/api/v1/customers/ada/grants", None).await;
        self.call(200, "GET", "/api/v1/customers/ada/overage-bills", None).await;
        self.call(400, "GET", "/api/v1/customers/ada/overage-bills?state=open", None).await;
        self.call(404, "GET", "/api/v1/customers/nobody/overage-bills", None).await;
        self.call(404, "GET", "/api/v1/stripe-events/evt_none", None).await;
        self.call(404, "POST", "/api/v1/stripe-events/evt_none/replay", Some(json!({}))).await;
        self.call(400, "POST", "/api/v1/stripe-events/evt_none/replay", Some(json!({ "apply": "yes" }))).await;
        self.call(400, "GET", "/api/v1/stripe-events?state=lost", None).await;
        let clock = format!("{api}/test-clock/advance");
        self.call(200, "POST", &clock, Some(json!({ "seconds": 60 }))).await;
        self.call(400, "POST", &clock, Some(json!({}))).await;
        for path in ["/healthz", "/readyz", "/openapi.json"] {
            self.call(200, "GET", path, None).await;
        }
    }
}

#[tokio::test]
async fn real_requests_and_answers_are_as_the_document_says() {
    let app = TestApp::start().await;
    let mut checked = Checked { app: &app, document: closed(), seen: BTreeSet::new() };
    checked.customers_and_grants().await;
    checked.wallets_and_corrections().await;
    checked.usage().await;
    checked.lists().await;
    checked.selling().await;
    checked.stripe().await;
    checked.top_ups().await;
    let covered: BTreeSet<&str> = checked.seen.iter().map(|(id, _, _)| id.as_str()).collect();
    let all = operations(&checked.document);
    let missed: Vec<&str> =
        all.values().filter_map(|one| one["operationId"].as_str()).filter(|id| !covered.contains(id)).collect();
    assert_eq!(missed, ["metrics", "stripe_webhook"], "those have tests of their own");
    app.finish().await;
}

#[tokio::test]
async fn keys_and_deliveries_are_answered_as_the_document_says() {
    let app = TestApp::start().await;
    let mut checked = Checked { app: &app, document: closed(), seen: BTreeSet::new() };
    for ((method, path), operation) in operations(&document()) {
        if !operation["security"].to_string().contains("\"key\"") || path == "/metrics" {
            continue;
        }
        let path = path.replace("{customer}", "ada").replace("{id}", "evt_1").replace("{name}", "a");
        let (status, answer) = app.call_as("not-a-key", &method, &path, None).await;
        assert_eq!((status, answer["code"].as_str()), (401, Some("key_unknown")), "{path}");
        checked.answered(&operation, status, &answer);
    }
    let webhook = operation_of(&document(), "POST", "/webhooks/stripe");
    let body = event("evt_doc_2", "some.type", &json!({ "id": "x_1", "object": "x" })).to_string();
    let good = signed(body.as_bytes());
    for (body, signature) in [
        (body.as_str(), Some(good.as_str())),
        (body.as_str(), None),
        (body.as_str(), Some("t=1")),
        (body.as_str(), Some("t=x,v1=00")),
        ("[]", Some(signed(b"[]").as_str())),
        ("{}", Some(good.as_str())),
    ] {
        let (status, answer) = app.deliver(body.as_bytes(), signature).await;
        checked.answered(&webhook, status, &answer);
    }
    assert!(checked.seen.len() > 12, "{:?}", checked.seen);
    app.finish().await;
}

/// What names codes: all of http but its document, and the rooms that hand codes through.
fn sources_with_codes() -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut text = std::fs::read_to_string(root.join("stripe/signature.rs")).unwrap();
    text += &std::fs::read_to_string(root.join("domain/command/charging.rs")).unwrap();
    let mut folders = vec![root.join("http")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("openapi") {
                folders.push(path);
            } else if path.is_file() {
                text += std::fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap();
            }
        }
    }
    text
}

/// Every code in the sources of http is in the document, and none else.
#[test]
fn the_codes_are_those_the_code_says() {
    let document = document();
    let listed = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].clone();
    let listed: BTreeSet<String> = serde_json::from_value(listed).unwrap();
    let text = sources_with_codes();
    for code in &listed {
        assert!(text.contains(&format!("\"{code}\"")), "{code} is in the document and not in the code");
    }
    // A refusal names its code right behind its status, or is made by a closure that does.
    let marks =
        ["StatusCode::", "unauthorized(", "unsupported(", "bad(", "conflict(", "=> \"signature_", "=> \"body_not"];
    let mut found = BTreeSet::new();
    for line in text.split(';').flat_map(|statement| statement.split("=>").map(|part| format!("=>{part}"))) {
        if !marks.iter().any(|mark| line.contains(mark)) && !line.starts_with("=> \"signature_") {
            continue;
        }
        let words = line.split('"').skip(1).step_by(2);
        let codes = words.filter(|word| word.len() > 3 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        found.extend(codes.map(str::to_owned));
    }
    let fields = [
        "feature",
        "plan",
        "key",
        "wallet",
        "when_short",
        "expires_at",
        "quantity",
        "customer",
        "pool",
        "required",
        "available",
        "stripe_customer",
        "properties",
        "grant",
        "held",
        "asked",
        "free",
        "carry_over",
        "decline_code",
        "price",
        "quantities",
        "success_url",
        "event",
        "hold",
        "limit",
        "most",
        "name",
        "used",
        "consent",
        "currency",
        "target",
        "top_up",
        // Words of headers.
        "bearer",
        "identity",
    ];
    found.retain(|word| !fields.contains(&word.as_str()));
    let missing: Vec<&String> = found.difference(&listed).collect();
    assert!(missing.is_empty(), "in the code and not in the document: {missing:?}");
    assert!(found.len() > 20, "{found:?}");
}

#[tokio::test]
async fn the_command_prints_the_document() {
    let printed = Ended::of(bare(&["openapi"])).await.ok();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), document());
}
