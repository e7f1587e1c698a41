//! Bad input: a 4xx that names the field, never a 5xx, and nothing written.

use axum::body::Body;
use axum::http::Request;
use creditd::domain::api_key::Scope;
use serde_json::{Value, json};

use crate::http_api::Api;

/// Texts and values that are no amount, whatever the field.
pub(crate) fn no_amounts() -> Vec<Value> {
    let digits = "0.1234567890123456789012345678901234567890";
    let texts =
        ["NaN", "Infinity", "-Infinity", "1e400", "1e3", "", " ", "+1", "0x1", "1,0", ".5", "5.", "--1", digits];
    let huge = "1".repeat(39);
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    values.extend([json!("-1"), json!("-0.000000001"), json!(huge), json!("9".repeat(100_000))]);
    values.extend([json!(1), json!(0), json!(-1), json!(true), json!([]), json!({}), json!(["1"])]);
    values
}

#[tokio::test]
async fn no_bad_amount_gets_in_anywhere() {
    let api = Api::start().await;
    api.customer("ada").await;
    let usage = json!({ "key": "k", "customer": "ada", "feature": "requests" });
    let gift = json!({
        "key": "k", "customer": "ada", "feature": "credits", "category": "prepaid", "reason": "r", "quantity": "1",
        "paid": { "amount": "1", "currency": "usd", "reference": "r" },
    });
    for value in no_amounts() {
        for (path, body) in [("/check", json!({ "customer": "ada", "feature": "requests" })), ("/track", usage.clone())]
        {
            let mut body = body;
            body["quantity"] = value.clone();
            assert_eq!(api.post(path, &body).await.problem(), (400, "bad_request", "quantity"), "{path} {value}");
        }
        let mut body = gift.clone();
        body["quantity"] = value.clone();
        assert_eq!(api.post("/grants", &body).await.problem(), (400, "bad_request", "quantity"), "{value}");
        let mut body = gift.clone();
        body["paid"]["amount"] = value.clone();
        assert_eq!(api.post("/grants", &body).await.problem(), (400, "bad_request", "paid.amount"), "{value}");
    }
    let mut body = gift;
    body["quantity"] = json!("0");
    assert_eq!(api.post("/grants", &body).await.problem(), (400, "bad_request", "quantity"));
    let listed = api.get("/customers/ada/entries").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "nothing but the plan's own grant");
}

#[tokio::test]
async fn raw_numbers_are_never_rounded_into_an_amount_or_a_setting() {
    let api = Api::start().await;
    api.customer("ada").await;
    let key = Some(api.key(Scope::Admin));
    for number in ["1.5", "1e400", "1e2", "-0", "NaN", "Infinity", "100000000000000000000000000000000000000"] {
        let body = format!(r#"{{"key":"k","customer":"ada","feature":"requests","quantity":{number}}}"#);
        let answer = api.call(key, "POST", "/api/v1/track", &body).await;
        assert_eq!(answer.problem(), (400, "bad_request", "quantity"), "{number}");
        let body = format!(
            r#"{{"key":"k","customer":"ada","feature":"credits","quantity":"1","category":"promotional","reason":"r",
            "priority":{number}}}"#
        );
        let answer = api.call(key, "POST", "/api/v1/grants", &body).await;
        assert_eq!(answer.problem(), (400, "bad_request", "priority"), "{number}");
    }
    let wanted = "`quantity` has to be a decimal string such as \"1.5\", not a number";
    let body = r#"{"customer":"ada","feature":"requests","quantity":2}"#;
    assert_eq!(api.call(key, "POST", "/api/v1/check", body).await.body["detail"], wanted);
}

#[tokio::test]
async fn fields_are_refused_by_name() {
    let api = Api::start().await;
    api.customer("ada").await;
    let usage = json!({ "key": "k", "customer": "ada", "feature": "requests" });
    let gift = json!({
        "key": "k", "customer": "ada", "feature": "credits", "category": "promotional", "reason": "r", "quantity": "1",
    });
    let cases: Vec<(&str, &Value, &str, Value)> = vec![
        ("/track", &usage, "key", json!(null)),
        ("/track", &usage, "key", json!("")),
        ("/track", &usage, "key", json!("x".repeat(513))),
        ("/track", &usage, "customer", json!(7)),
        ("/track", &usage, "customer", json!("a\nb")),
        ("/track", &usage, "customer", json!("a\u{0}b")),
        ("/track", &usage, "feature", json!("no spaces")),
        ("/track", &usage, "feature", json!("x".repeat(129))),
        ("/track", &usage, "entity", json!({})),
        ("/track", &usage, "when_short", json!("maybe")),
        ("/track", &usage, "at", json!("yesterday")),
        ("/track", &usage, "at", json!(1_790_000_000)),
        ("/track", &usage, "metadata", json!({ "a": 1 })),
        ("/track", &usage, "metadata", json!([])),
        ("/track", &usage, "metadata", json!({ "x".repeat(41): "1" })),
        ("/track", &usage, "properties", json!({})),
        ("/track", &usage, "hold", json!("hold_1")),
        ("/check", &usage, "deduct", json!({ "key": "k" })),
        ("/check", &usage, "explain", json!("yes")),
        ("/grants", &gift, "category", json!("plan")),
        ("/grants", &gift, "priority", json!(1_001)),
        ("/grants", &gift, "priority", json!("")),
        ("/grants", &gift, "reason", json!(null)),
        ("/grants", &gift, "reason", json!("a\u{0}b")),
        ("/grants", &gift, "starts_at", json!("-009999-01-01T00:00:00Z")),
        ("/grants", &gift, "starts_at", json!("-008000-01-01T00:00:00Z")),
        ("/grants", &gift, "expires_at", json!("9999-12-01T00:00:00Z")),
        ("/grants", &gift, "expires_at", json!("2001-01-01T00:00:00Z")),
        ("/grants", &gift, "paid", json!({ "amount": "1", "currency": "usd", "reference": "r" })),
        ("/grants", &gift, "wallet", json!("")),
    ];
    for (path, base, field, value) in cases {
        let mut body = base.clone();
        if path == "/check" {
            body.as_object_mut().unwrap().remove("key");
        }
        body[field] = value.clone();
        assert_eq!(api.post(path, &body).await.problem(), (400, "bad_request", field), "{path} {field} {value}");
    }
    for (path, base) in [("/track", &usage), ("/grants", &gift)] {
        let mut body = base.clone();
        body["customer"] = json!("nobody");
        assert_eq!(api.post(path, &body).await.problem(), (404, "unknown_customer", "customer"));
        body["customer"] = json!("ada");
        body["feature"] = json!("nothing");
        assert_eq!(api.post(path, &body).await.problem(), (404, "unknown_feature", "feature"));
        body["feature"] = json!("sso");
        assert_eq!(api.post(path, &body).await.problem(), (400, "not_metered", "feature"));
    }
    let mut lost = gift.clone();
    lost["wallet"] = json!("wallet_00000000000000000000000000000007");
    assert_eq!(api.post("/grants", &lost).await.problem(), (404, "unknown_wallet", "wallet"));
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused() {
    let api = Api::start().await;
    let admin = api.key(Scope::Admin);
    let key = Some(admin);
    for body in ["[]", "1", "null", "\"x\"", "{", "{}{}", "{'a':1}", "{\"a\":1,}", &"[".repeat(5_000)] {
        assert_eq!(api.call(key, "POST", "/api/v1/check", body).await.problem().0, 400, "{body:.20}");
    }
    let twice = r#"{"customer":"ada","customer":"bob","feature":"requests"}"#;
    assert_eq!(api.call(key, "POST", "/api/v1/check", twice).await.problem(), (400, "bad_request", "customer"));
    let many: Vec<String> = (0..60_000).map(|n| format!("\"k{n}\":1")).collect();
    let many = format!("{{{}}}", many.join(","));
    assert_eq!(api.call(key, "POST", "/api/v1/check", &many).await.problem().0, 400);
    let large = format!("{{\"customer\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(api.call(key, "POST", "/api/v1/check", &large).await.problem(), (413, "body_too_large", ""));
    let request = |kind: Option<&str>, encoding: Option<&str>| {
        let mut request = Request::post("/api/v1/check").header("authorization", format!("Bearer {admin}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        request.body(Body::from("{}")).unwrap()
    };
    for (kind, encoding) in [
        (None, None),
        (Some("text/plain"), None),
        (Some("application/x-www-form-urlencoded"), None),
        (Some("application/json"), Some("gzip")),
        (Some("application/json"), Some("br")),
    ] {
        assert_eq!(api.send(request(kind, encoding)).await.problem(), (415, "unsupported_media_type", ""));
    }
}

#[tokio::test]
async fn queries_are_refused_by_name() {
    let api = Api::start().await;
    api.customer("ada").await;
    for (path, field) in [
        ("/customers/ada/grants?cursor=zzz", "cursor"),
        ("/customers/ada/grants?cursor=", "cursor"),
        ("/customers/ada/entries?cursor=Z3JhbnRfMQ", "cursor"),
        ("/customers/ada/grants?limit=0", "limit"),
        ("/customers/ada/grants?limit=501", "limit"),
        ("/customers/ada/grants?limit=1&limit=2", "limit"),
        ("/customers/ada/grants?feature=%00", "feature"),
        ("/customers/ada/grants?wallet=%00", "wallet"),
        ("/customers/ada/entries?kind=none", "kind"),
        ("/customers/ada/entries?from=2026", "from"),
        ("/customers/ada/entries?from=-009999-01-01T00:00:00Z", "from"),
        ("/customers/ada/entries?from=-008000-01-01T00:00:00Z", "from"),
        ("/customers/ada/entries?wallet=w", "wallet"),
        ("/stripe-events?state=done", "state"),
        ("/stripe-events?type=%00", "type"),
        ("/stripe-events?cursor=MS4A", "cursor"),
    ] {
        assert_eq!(api.get(path).await.problem(), (400, "bad_request", field), "{path}");
    }
    assert_eq!(api.get("/customers/ada/grants?wallet=w").await.problem(), (404, "unknown_wallet", "wallet"));
    assert_eq!(api.get("/customers/nobody/grants").await.problem(), (404, "unknown_customer", "customer"));
}

#[tokio::test]
async fn other_paths_and_methods_are_problems_too() {
    let api = Api::start().await;
    assert_eq!(api.call(None, "GET", "/nothing", "").await.problem(), (404, "unknown_route", ""));
    assert_eq!(api.get("/nothing").await.problem(), (404, "unknown_route", ""));
    let wrong = api.get("/track").await;
    assert_eq!(wrong.problem(), (405, "method_not_allowed", ""));
    assert_eq!(wrong.headers["allow"], "POST");
    let erase = api.call(Some(api.key(Scope::Admin)), "DELETE", "/api/v1/customers/ada", "").await;
    assert_eq!(erase.problem(), (405, "method_not_allowed", ""));
}

#[tokio::test]
async fn deliveries_are_taken_only_with_a_good_signature() {
    let api = Api::start().await;
    let deliver = |signature: Option<&str>, body: String| {
        let mut request = Request::post("/webhooks/stripe");
        if let Some(signature) = signature {
            request = request.header("stripe-signature", signature);
        }
        request.body(Body::from(body)).unwrap()
    };
    let taken = api.send(deliver(Some("good"), "{}".to_owned())).await;
    assert_eq!((taken.status.as_u16(), taken.body), (200, json!({ "received": true })));
    for signature in [None, Some("bad"), Some("")] {
        let refused = api.send(deliver(signature, "{}".to_owned())).await;
        assert_eq!(refused.problem(), (400, "signature_invalid", ""));
    }
    let refused = api.send(deliver(Some("good"), "x".to_owned())).await;
    assert_eq!(refused.problem(), (400, "not_an_event", ""));
    let refused = api.send(deliver(Some("good"), "x".repeat((1 << 20) + 1))).await;
    assert_eq!(refused.problem(), (413, "body_too_large", ""));
}

#[tokio::test]
async fn health_tells_what_is_missing() {
    let api = Api::start().await;
    assert_eq!(api.call(None, "GET", "/healthz", "").await.ok(), json!({ "status": "ok" }));
    api.app.workers.watch("inbox", std::time::Duration::from_mins(1));
    let ready = api.call(None, "GET", "/readyz", "").await.ok();
    assert_eq!((&ready["status"], &ready["migrations_pending"]), (&json!("ok"), &json!(0)));
    assert_eq!((&ready["workers"][0]["name"], &ready["workers"][0]["late"]), (&json!("inbox"), &json!(false)));
    api.app.workers.watch("outbox", std::time::Duration::ZERO);
    assert_eq!(api.call(None, "GET", "/readyz", "").await.ok()["status"], "degraded");
    api.store.close().await;
    let down = api.call(None, "GET", "/readyz", "").await;
    assert_eq!((down.status.as_u16(), &down.body["database"]), (503, &json!("unreachable")));
    assert_eq!(api.call(None, "GET", "/healthz", "").await.ok(), json!({ "status": "ok" }));
    let refused = api.call(Some(api.key(Scope::Admin)), "GET", "/api/v1/stripe-events", "").await;
    assert_eq!(refused.problem(), (503, "unavailable", ""));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.body["request_id"].as_str().unwrap(), refused.headers["x-request-id"].to_str().unwrap());
}
