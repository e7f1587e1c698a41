//! The members of requests in the `OpenAPI` document, held against what a running daemon says of them.

use std::collections::BTreeSet;

use creditd::http::openapi::document;
use serde_json::{Value, json};

use super::{operation_of, operations, properties, wrong};
use crate::support::app::TestApp;

/// The members that a refusal of an unknown one names.
fn known(answer: &Value) -> BTreeSet<String> {
    let detail = answer["detail"].as_str().unwrap();
    let (_, list) = detail.split_once("known are ").unwrap_or_else(|| panic!("{detail}"));
    list.split(", ").map(str::to_owned).collect()
}

/// A body of each route that takes one, as it should be but for what an unknown member makes of it.
fn bodies() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("PUT", "/api/v1/customers/ada", json!({})),
        ("POST", "/api/v1/check", json!({ "customer": "ada", "feature": "usd_credits" })),
        ("POST", "/api/v1/track", json!({ "key": "k", "customer": "ada", "feature": "usd_credits" })),
        ("POST", "/api/v1/track/batch", json!({ "events": [{}] })),
        ("POST", "/api/v1/attach", json!({ "customer": "ada", "plan": "pro" })),
        ("POST", "/api/v1/attach/preview", json!({ "customer": "ada", "plan": "pro" })),
        ("POST", "/api/v1/cancel", json!({ "customer": "ada", "plan": "pro" })),
        ("POST", "/api/v1/uncancel", json!({ "customer": "ada", "plan": "pro" })),
        ("POST", "/api/v1/portal", json!({ "customer": "ada" })),
        ("POST", "/api/v1/setup", json!({ "customer": "ada", "success_url": "https://app.example/" })),
        ("POST", "/api/v1/check/batch", json!({ "customers": ["ada"], "checks": [{ "feature": "usd_credits" }] })),
        (
            "PUT",
            "/api/v1/customers/ada/spend-limits/a",
            json!({ "feature": "usd_credits", "window": "day", "quantity": "1" }),
        ),
        (
            "PUT",
            "/api/v1/customers/ada/topup-rules/a",
            json!({ "enabled": true, "feature": "usd_credits", "threshold": "1", "quantity": "1" }),
        ),
        ("POST", "/api/v1/topups", json!({ "key": "k", "customer": "ada", "feature": "usd_credits", "quantity": "1" })),
        ("POST", "/api/v1/holds/hold_1/extend", json!({ "ttl_seconds": 1 })),
        ("POST", "/api/v1/holds/hold_1/release", json!({})),
        (
            "POST",
            "/api/v1/grants",
            json!({ "key": "k", "customer": "ada", "feature": "usd_credits", "quantity": "1",
            "category": "promotional", "reason": "r" }),
        ),
        ("POST", "/api/v1/wallets", json!({ "key": "k", "customer": "ada", "feature": "usd_credits" })),
        ("PATCH", "/api/v1/wallets/w", json!({})),
        ("POST", "/api/v1/wallets/w/terminate", json!({ "key": "k", "reason": "r" })),
        ("POST", "/api/v1/grants/g/void", json!({ "key": "k", "reason": "r" })),
        (
            "POST",
            "/api/v1/adjustments",
            json!({ "key": "k", "grant": format!("grant_{:032}", 7), "quantity": "1", "reason": "r" }),
        ),
    ]
}

/// A refusal of an unknown member lists what is known; that has to be what the document lists.
#[tokio::test]
async fn the_members_of_requests_are_those_the_code_knows() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let document = document();
    for (method, path, mut body) in bodies() {
        let schema =
            operation_of(&document, method, path)["requestBody"]["content"]["application/json"]["schema"].clone();
        let listed: BTreeSet<String> = properties(&document, &schema).into_iter().map(|(name, _)| name).collect();
        body["zz_unknown"] = json!(1);
        assert_ne!(wrong(&document, &schema, &body), Vec::<String>::new(), "{path} refuses it, and so does the schema");
        let (status, answer) = app.call(method, path, Some(body)).await;
        assert_eq!(status, 400, "{answer}");
        // What takes no member at all has none to name.
        if !listed.is_empty() {
            assert_eq!(known(&answer), listed, "{path}");
        }
    }
    for (method, path) in operations(&document).into_keys().filter(|(method, _)| method == "GET") {
        let operation = operation_of(&document, &method, &path);
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let of = |place: &str| -> BTreeSet<String> {
            let found = parameters.iter().filter(|one| one["in"] == place);
            found.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
        };
        let named: BTreeSet<String> =
            path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.trim_end_matches('}').to_owned())).collect();
        assert_eq!(of("path"), named, "{path}");
        if of("query").is_empty() {
            continue;
        }
        let url = format!("{}?zz_unknown=1", path.replace("{customer}", "ada").replace("{name}", "a"));
        let (status, answer) = app.call("GET", &url, None).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(known(&answer), of("query"), "{path}");
    }
    app.finish().await;
}

/// Members that have to be there in a request are those without which it is refused.
#[tokio::test]
async fn the_members_a_request_needs_are_those_the_document_requires() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let document = document();
    let full = [
        (
            "/api/v1/check",
            json!({ "customer": "ada", "feature": "usd_credits", "quantity": "1", "entity": "e", "explain": true }),
        ),
        (
            "/api/v1/track",
            json!({ "key": "k", "customer": "ada", "feature": "usd_credits", "quantity": "1", "entity": "e",
            "when_short": "cap", "metadata": {} }),
        ),
        (
            "/api/v1/grants",
            json!({ "key": "k", "customer": "ada", "feature": "usd_credits", "quantity": "1", "reason": "r",
            "category": "promotional", "wallet": "w", "priority": 1, "metadata": {} }),
        ),
        (
            "/api/v1/wallets",
            json!({ "key": "k", "customer": "ada", "feature": "usd_credits", "name": "n", "priority": 1,
            "default_expiry_days": 1, "limit": "1", "metadata": {} }),
        ),
        (
            "/api/v1/topups",
            json!({ "key": "k", "customer": "ada", "feature": "usd_credits", "quantity": "1", "currency": "usd",
            "payment_method": "pm_1" }),
        ),
        ("/api/v1/wallets/w/terminate", json!({ "key": "k", "reason": "r" })),
        ("/api/v1/grants/g/void", json!({ "key": "k", "quantity": "1", "reason": "r" })),
        (
            "/api/v1/adjustments",
            json!({ "key": "k", "grant": format!("grant_{:032}", 7), "quantity": "1", "reason": "r" }),
        ),
    ];
    for (path, body) in full {
        let schema = &operation_of(&document, "POST", path)["requestBody"]["content"]["application/json"]["schema"];
        for (member, without) in body.as_object().unwrap().keys().flat_map(|name| [(name, false), (name, true)]) {
            let mut less = body.clone();
            if without {
                less.as_object_mut().unwrap().remove(member);
            } else {
                less[member] = Value::Null;
            }
            let (status, answer) = app.call("POST", path, Some(less.clone())).await;
            let refused = status == 400 && answer["field"] == member.as_str();
            assert!(refused || status != 400, "{answer}");
            assert_eq!(refused, !wrong(&document, schema, &less).is_empty(), "{path} {member} {without}: {answer}");
        }
    }
    app.finish().await;
}
