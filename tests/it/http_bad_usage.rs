//! Bad input on every numeric and text field of checks, tracks, holds and limits: taken exactly or refused with a 4xx,
//! never a 5xx, and nothing written.

use creditd::domain::api_key::Scope;
use serde_json::{Value, json};

use crate::http_api::Api;

/// Values as they stand in a document.
fn raw() -> Vec<String> {
    let mut values: Vec<String> = [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e3",
        "1E-3",
        "-0",
        "0",
        "-1",
        "1.5",
        "-0.0",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1_000",
        "9223372036854775808",
        "18446744073709551616",
        "100000000000000000000000000000000000000",
        "0.1234567890123456789012345678901234567890",
        "true",
        "null",
        "[]",
        "{}",
        "[1]",
        "\"\"",
        "\" \"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"1e400\"",
        "\"-0\"",
        "\"١\"",
        "\"1,5\"",
        "\"100000000000000000000000000000000000000\"",
        "\"0.1234567890123456789012345678901234567890\"",
        "\"a\\u0000b\"",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"a\\u202eb\"",
        "\"a\\u200bb\"",
        "\"a\\nb\"",
        "\"\\u0430dmin\"",
        "{\"a\": {\"a\": [[[]]]}}",
        "{\"a\": 1, \"a\": 2}",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push(format!("\"{}\"", "9".repeat(50_000)));
    values.push("9".repeat(50_000));
    values.push(format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)));
    values.push(format!("{{{}}}", (0..60_000).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(",")));
    values
}

/// Path, the other members, and the member that takes each value.
fn fields() -> Vec<(&'static str, &'static str, Value, Vec<&'static str>)> {
    let names = vec!["customer", "feature", "event", "entity", "quantity", "properties"];
    let mut check = names.clone();
    check.extend(["explain", "deduct", "hold"]);
    let mut track = names;
    track.extend(["key", "set", "when_short", "at", "hold", "final", "metadata"]);
    let asked = json!({ "customer": "ada", "feature": "requests" });
    let mut tracked = asked.clone();
    tracked["key"] = json!("k");
    // Nothing is there for these to succeed: they show that refusals write nothing.
    tracked["when_short"] = json!("reject");
    tracked["quantity"] = json!("1000000");
    vec![
        ("POST", "/check", asked, check),
        ("POST", "/track", tracked, track),
        (
            "POST",
            "/check/batch",
            json!({ "customers": ["ada"], "checks": [{ "feature": "requests" }] }),
            vec!["customers", "checks"],
        ),
        ("POST", "/holds/hold_00000000000000000000000000000007/extend", json!({}), vec!["ttl_seconds"]),
        ("POST", "/holds/hold_00000000000000000000000000000007/release", json!({}), vec!["ttl_seconds"]),
    ]
}

/// A body with one member replaced by text that need not be JSON.
fn body(base: &Value, member: &str, raw: &str) -> String {
    let mut members: Vec<String> = Vec::new();
    for (name, value) in base.as_object().unwrap() {
        if name != member {
            members.push(format!("\"{name}\":{value}"));
        }
    }
    members.push(format!("\"{member}\":{raw}"));
    format!("{{{}}}", members.join(","))
}

#[tokio::test]
async fn every_field_takes_a_value_exactly_or_refuses_it() {
    let api = Api::start().await;
    api.customer("ada").await;
    let key = Some(api.key(Scope::Admin));
    let before = api.get("/customers/ada/entries").await.ok();
    let mut refused = 0;
    for (method, path, base, members) in fields() {
        for member in members {
            for raw in raw() {
                // One unit, none, and what is capped are usage that happened.
                let is_usage = match member {
                    "quantity" => ["null", "\"-0\""].contains(&raw.as_str()),
                    "when_short" => raw == "null",
                    _ => false,
                };
                if path == "/track" && is_usage {
                    continue;
                }
                let text = body(&base, member, &raw);
                let answer = api.call(key, method, &format!("/api/v1{path}"), &text).await;
                let status = answer.status.as_u16();
                let shown = &raw[..raw.len().min(60)];
                assert!(status < 500, "{path} {member} {shown}: {}", answer.body);
                if status >= 400 {
                    answer.problem();
                    refused += 1;
                } else {
                    assert!(path.starts_with("/check"), "{path} {member} {shown}: {}", answer.body);
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
    assert_eq!(api.get("/customers/ada/entries").await.ok(), before, "nothing was written");
    assert_eq!(api.get("/customers/ada/usage").await.ok()["data"], json!([]));
    assert_eq!(api.get("/customers/ada/holds").await.ok()["data"], json!([]));
    assert!(!api.store.verify().await.unwrap().differs());
}

#[tokio::test]
async fn inner_numbers_of_steps_properties_and_limits_are_exact_or_refused() {
    let api = Api::start().await;
    api.customer("ada").await;
    let key = Some(api.key(Scope::Admin));
    let mut taken = Vec::new();
    for raw in raw() {
        let check = |step: &str| format!(r#"{{"customer":"ada","feature":"requests","quantity":"1000000",{step}}}"#);
        let bodies = [
            ("/check", check(&format!(r#""deduct":{{"key":{raw}}}"#))),
            ("/check", check(&format!(r#""hold":{{"key":"h","ttl_seconds":{raw}}}"#))),
            ("/check", check(&format!(r#""hold":{{"key":{raw},"ttl_seconds":5}}"#))),
            ("/check", check(&format!(r#""hold":{{"key":"h","ttl_seconds":5,"when_more":{raw}}}"#))),
            ("/check", check(&format!(r#""properties":{{"tokens":{raw}}}"#))),
        ];
        for (place, (path, body)) in bodies.into_iter().enumerate() {
            let answer = api.call(key, "POST", &format!("/api/v1{path}"), &body).await;
            assert!(answer.status.as_u16() < 500, "{raw:.60}: {}", answer.body);
            if place == 4 && answer.status.is_success() {
                taken.push(raw.clone());
            }
        }
        for member in ["quantity", "feature", "window", "entity"] {
            let base = json!({ "feature": "nothing", "window": "day", "quantity": "1" });
            let text = body(&base, member, &raw);
            let answer = api.call(key, "PUT", "/api/v1/customers/ada/spend-limits/a", &text).await;
            assert!((400..500).contains(&answer.status.as_u16()), "{member} {raw:.60}: {}", answer.body);
        }
    }
    // Numbers a property takes are those that are kept exactly; texts stay texts, whatever they look like.
    let numbers: Vec<&str> =
        taken.iter().map(String::as_str).filter(|raw| !raw.starts_with('"') && *raw != "true").collect();
    assert_eq!(numbers, ["-0", "0", "-1", "1.5", "-0.0"]);
    assert_eq!(api.get("/customers/ada/spend-limits").await.ok()["data"], json!([]));
    assert_eq!(api.get("/customers/ada/holds").await.ok()["data"], json!([]));
    assert_eq!(api.get("/customers/ada/usage").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn properties_are_bounded_in_number_names_and_texts() {
    let api = Api::start().await;
    api.customer("ada").await;
    let ask = async |properties: Value| {
        let body = json!({ "customer": "ada", "feature": "requests", "properties": properties });
        let answer = api.post("/check", &body).await;
        (answer.status.as_u16(), answer.body["field"].as_str().unwrap_or_default().to_owned())
    };
    let many = |count: usize| Value::Object((0..count).map(|n| (format!("p{n}"), json!(n))).collect());
    assert_eq!(ask(many(50)).await.0, 200);
    for bad in [
        many(51),
        json!({ "": 1 }),
        json!({ "x".repeat(129): 1 }),
        json!({ "a\nb": 1 }),
        json!({ "a": "x".repeat(501) }),
        json!({ "a": "x\ny" }),
        json!({ "a": null }),
        json!({ "a": [1] }),
        json!({ "a": { "number": "1" } }),
        json!("a"),
    ] {
        assert_eq!(ask(bad.clone()).await, (400, "properties".to_owned()), "{bad:.80}");
    }
}
