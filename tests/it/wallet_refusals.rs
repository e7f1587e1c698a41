//! Bad input on wallets, corrections and past balances: a 4xx that names the field, and nothing written.

use creditd::domain::api_key::Scope;
use serde_json::{Value, json};

use crate::http_api::Api;
use crate::http_refusals::no_amounts;

const NOBODY: &str = "grant_00000000000000000000000000000007";
const FAR: &str = "wallet_00000000000000000000000000000007";

fn wallet() -> Value {
    json!({ "key": "k", "customer": "ada", "feature": "credits" })
}

fn committed() -> Value {
    json!({ "key": "k", "customer": "ada", "feature": "credits", "quantity": "1", "category": "committed", "reason": "r",
        "contract": { "reference": "C-7", "minimum_spend": { "amount": "1.00", "currency": "usd" } } })
}

async fn lines(api: &Api) -> usize {
    api.get("/customers/ada/entries").await.ok()["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn no_bad_amount_gets_into_wallets_or_corrections() {
    let api = Api::start().await;
    api.customer("ada").await;
    let id = api.get("/customers/ada/grants").await.ok()["data"][0]["id"].as_str().unwrap().to_owned();
    let before = lines(&api).await;
    let void = format!("/grants/{id}/void");
    for value in no_amounts() {
        let mut body = wallet();
        body["limit"] = value.clone();
        assert_eq!(api.post("/wallets", &body).await.problem(), (400, "bad_request", "limit"), "{value}");
        let changed = api.patch("/wallets/none", &json!({ "limit": value })).await;
        assert_eq!(changed.problem(), (400, "bad_request", "limit"), "{value}");
        let body = json!({ "key": "k", "reason": "r", "quantity": value });
        assert_eq!(api.post(&void, &body).await.problem(), (400, "bad_request", "quantity"), "{value}");
        // Only there a minus means something.
        if !["-1", "-0.000000001"].contains(&value.as_str().unwrap_or_default()) {
            let body = json!({ "key": "k", "reason": "r", "grant": id, "quantity": value });
            assert_eq!(api.post("/adjustments", &body).await.problem(), (400, "bad_request", "quantity"), "{value}");
        }
        let mut body = committed();
        body["contract"]["minimum_spend"]["amount"] = value.clone();
        let field = "contract.minimum_spend.amount";
        assert_eq!(api.post("/grants", &body).await.problem(), (400, "bad_request", field), "{value}");
    }
    for (path, body, field) in [
        (void.as_str(), json!({ "key": "k", "reason": "r", "quantity": "0" }), "quantity"),
        ("/adjustments", json!({ "key": "z", "reason": "r", "grant": id, "quantity": "0" }), "quantity"),
        ("/adjustments", json!({ "key": "z", "reason": "r", "grant": id, "quantity": "-0" }), "quantity"),
    ] {
        assert_eq!(api.post(path, &body).await.problem(), (400, "bad_request", field), "{body}");
    }
    assert_eq!(lines(&api).await, before, "nothing is written");
    assert_eq!(api.get("/customers/ada/balance").await.ok()["balances"][0]["available"], "100");
    assert_eq!(api.get("/wallets?customer=ada").await.ok()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn raw_numbers_are_never_rounded_into_a_wallet() {
    let api = Api::start().await;
    api.customer("ada").await;
    let key = Some(api.key(Scope::Admin));
    for number in ["1.5", "1e400", "1e2", "-0", "NaN", "Infinity", "100000000000000000000000000000000000000"] {
        for (method, path, field) in [
            ("POST", "/api/v1/wallets", "priority"),
            ("POST", "/api/v1/wallets", "default_expiry_days"),
            ("POST", "/api/v1/wallets", "limit"),
            ("PATCH", "/api/v1/wallets/w", "priority"),
            ("PATCH", "/api/v1/wallets/w", "default_expiry_days"),
            ("POST", "/api/v1/adjustments", "quantity"),
        ] {
            let body = format!(r#"{{"key":"k","customer":"ada","feature":"credits","{field}":{number}}}"#);
            let answer = api.call(key, method, path, &body).await;
            assert_eq!(answer.problem(), (400, "bad_request", field), "{method} {path} {number}");
        }
    }
}

type Case = (&'static str, String, Value, &'static str, Value);

fn wallet_cases() -> Vec<Case> {
    let cases = [
        ("POST", "/wallets", wallet(), "key", json!(null)),
        ("POST", "/wallets", wallet(), "key", json!("x".repeat(513))),
        ("POST", "/wallets", wallet(), "customer", json!(7)),
        ("POST", "/wallets", wallet(), "customer", json!("a\nb")),
        ("POST", "/wallets", wallet(), "feature", json!("no spaces")),
        ("POST", "/wallets", wallet(), "id", json!("")),
        ("POST", "/wallets", wallet(), "id", json!(" a")),
        ("POST", "/wallets", wallet(), "id", json!("a\u{0}b")),
        ("POST", "/wallets", wallet(), "id", json!(FAR)),
        ("POST", "/wallets", wallet(), "name", json!("")),
        ("POST", "/wallets", wallet(), "name", json!("a\u{7}b")),
        ("POST", "/wallets", wallet(), "name", json!("x".repeat(1_025))),
        ("POST", "/wallets", wallet(), "priority", json!(1_001)),
        ("POST", "/wallets", wallet(), "priority", json!(-1_001)),
        ("POST", "/wallets", wallet(), "default_expiry_days", json!(0)),
        ("POST", "/wallets", wallet(), "default_expiry_days", json!(-1)),
        ("POST", "/wallets", wallet(), "default_expiry_days", json!(36_501)),
        ("POST", "/wallets", wallet(), "metadata", json!({ "a": 1 })),
        ("POST", "/wallets", wallet(), "metadata", json!({ "x".repeat(41): "1" })),
        ("POST", "/wallets", wallet(), "frozen", json!(true)),
        ("PATCH", "/wallets/w", json!({}), "priority", json!(1_001)),
        ("PATCH", "/wallets/w", json!({}), "default_expiry_days", json!(0)),
        ("PATCH", "/wallets/w", json!({}), "frozen", json!("yes")),
        ("PATCH", "/wallets/w", json!({}), "frozen", json!(1)),
        ("PATCH", "/wallets/w", json!({}), "name", json!("")),
        ("PATCH", "/wallets/w", json!({}), "metadata", json!([])),
        ("PATCH", "/wallets/w", json!({}), "state", json!("closed")),
        ("PATCH", "/wallets/w", json!({}), "feature", json!("credits")),
    ];
    cases.into_iter().map(|(method, path, body, field, value)| (method, path.to_owned(), body, field, value)).collect()
}

fn correction_cases() -> Vec<Case> {
    let adjustment = json!({ "key": "k", "grant": NOBODY, "quantity": "1", "reason": "r" });
    let by_hand = json!({ "key": "k", "reason": "r" });
    let void = format!("/grants/{NOBODY}/void");
    let cases = [
        ("POST", "/wallets/w/terminate", by_hand.clone(), "key", json!(null)),
        ("POST", "/wallets/w/terminate", by_hand.clone(), "reason", json!("")),
        ("POST", "/wallets/w/terminate", by_hand.clone(), "reason", json!("x".repeat(1_001))),
        ("POST", void.as_str(), by_hand.clone(), "key", json!("")),
        ("POST", void.as_str(), by_hand, "reason", json!(null)),
        ("POST", "/adjustments", adjustment.clone(), "key", json!(null)),
        ("POST", "/adjustments", adjustment.clone(), "reason", json!(7)),
        ("POST", "/adjustments", adjustment.clone(), "grant", json!("grant_7")),
        ("POST", "/adjustments", adjustment.clone(), "grant", json!(FAR)),
        ("POST", "/adjustments", adjustment.clone(), "grant", json!(null)),
        ("POST", "/adjustments", adjustment, "customer", json!("ada")),
        ("POST", "/grants", committed(), "category", json!("plan")),
        ("POST", "/grants", committed(), "contract", json!("C-7")),
    ];
    cases.into_iter().map(|(method, path, body, field, value)| (method, path.to_owned(), body, field, value)).collect()
}

#[tokio::test]
async fn fields_of_wallets_and_corrections_are_refused_by_name() {
    let api = Api::start().await;
    api.customer("ada").await;
    for (method, path, base, field, value) in wallet_cases().into_iter().chain(correction_cases()) {
        let mut body = base;
        body[field] = value.clone();
        let key = Some(api.key(Scope::Admin));
        let answer = api.call(key, method, &format!("/api/v1{path}"), &body.to_string()).await;
        assert_eq!(answer.problem(), (400, "bad_request", field), "{method} {path} {field} {value}");
    }
    let adjustment = json!({ "key": "k", "grant": NOBODY, "quantity": "1", "reason": "r" });
    assert_eq!(api.post("/adjustments", &adjustment).await.problem(), (404, "unknown_grant", "grant"));
    for path in ["/wallets/w", &format!("/wallets/{FAR}")] {
        assert_eq!(api.get(path).await.problem(), (404, "unknown_wallet", "wallet"));
        assert_eq!(api.patch(path, &json!({})).await.problem(), (404, "unknown_wallet", "wallet"));
    }
    for (member, value, wanted) in [
        ("customer", "nobody", (404, "unknown_customer", "customer")),
        ("feature", "nothing", (404, "unknown_feature", "feature")),
        ("feature", "sso", (400, "not_metered", "feature")),
    ] {
        for id in [json!(null), json!("mine")] {
            let mut body = wallet();
            (body[member], body["id"]) = (json!(value), id);
            assert_eq!(api.post("/wallets", &body).await.problem(), wanted, "{body}");
        }
    }
    // An id that was claimed for nothing is no wallet, and can still become one.
    assert_eq!(api.get("/wallets/mine").await.problem(), (404, "unknown_wallet", "wallet"));
    assert_eq!(api.patch("/wallets/mine", &json!({})).await.problem(), (404, "unknown_wallet", "wallet"));
    let mut body = wallet();
    body["id"] = json!("mine");
    assert_eq!(api.post("/wallets", &body).await.status, 201);
}

#[tokio::test]
async fn contracts_are_refused_by_the_name_of_what_is_wrong() {
    let api = Api::start().await;
    api.customer("ada").await;
    let contract = |patch: Value| {
        let mut body = committed();
        for (name, value) in patch.as_object().unwrap() {
            body["contract"][name] = value.clone();
        }
        body
    };
    for (patch, field) in [
        (json!({ "reference": null }), "contract.reference"),
        (json!({ "reference": "" }), "contract.reference"),
        (json!({ "reference": "a\nb" }), "contract.reference"),
        (json!({ "reference": "x".repeat(256) }), "contract.reference"),
        (json!({ "minimum_spend": "1" }), "contract.minimum_spend"),
        (json!({ "minimum_spend": { "amount": "1.00" } }), "contract.minimum_spend.currency"),
        (json!({ "minimum_spend": { "currency": "usd" } }), "contract.minimum_spend.amount"),
        (json!({ "minimum_spend": { "amount": "1.001", "currency": "usd" } }), "contract.minimum_spend.amount"),
        (json!({ "minimum_spend": { "amount": "-0.01", "currency": "usd" } }), "contract.minimum_spend.amount"),
        (json!({ "minimum_spend": { "amount": "1", "currency": "dollars" } }), "contract.minimum_spend.currency"),
        (json!({ "minimum_spend": { "amount": "1", "currency": "usd", "tax": "1" } }), "contract.minimum_spend.tax"),
        (json!({ "starts_at": "soon" }), "contract.starts_at"),
        (json!({ "starts_at": "2026-02-01T00:00:00Z", "ends_at": "2026-02-01T00:00:00Z" }), "contract.ends_at"),
        (json!({ "number": "7" }), "contract.number"),
    ] {
        assert_eq!(
            api.post("/grants", &contract(patch.clone())).await.problem(),
            (400, "bad_request", field),
            "{patch}"
        );
    }
    for category in ["promotional", "prepaid"] {
        let mut body = committed();
        body["category"] = json!(category);
        assert_eq!(api.post("/grants", &body).await.problem(), (400, "bad_request", "contract"), "{category}");
    }
}

#[tokio::test]
async fn past_balances_and_lists_refuse_by_name() {
    let api = Api::start().await;
    api.customer("ada").await;
    for (path, field) in [
        ("/customers/ada/balance?at=9000-01-01T00:00:00Z", "at"),
        ("/customers/ada/balance?at=yesterday", "at"),
        ("/customers/ada/balance?at=-009999-01-01T00:00:00Z", "at"),
        ("/customers/ada/balance?at=2026-01-01T00:00:00Z&at=2026-01-01T00:00:00Z", "at"),
        ("/customers/ada/balance?feature=no%20spaces", "feature"),
        ("/customers/ada/balance?entity=", "entity"),
        ("/customers/ada/balance?entity=%00", "entity"),
        ("/customers/ada/balance?wallet=w", "wallet"),
        ("/wallets", "customer"),
        ("/wallets?customer=", "customer"),
        ("/wallets?customer=ada&limit=0", "limit"),
        ("/wallets?customer=ada&limit=501", "limit"),
        ("/wallets?customer=ada&cursor=zzz", "cursor"),
        ("/wallets?customer=ada&feature=credits", "feature"),
        ("/wallets/%20a", "wallet"),
        ("/wallets/%00", "wallet"),
    ] {
        assert_eq!(api.get(path).await.problem(), (400, "bad_request", field), "{path}");
    }
    assert_eq!(api.get("/customers/nobody/balance").await.problem(), (404, "unknown_customer", "customer"));
    assert_eq!(api.get("/wallets?customer=nobody").await.problem(), (404, "unknown_customer", "customer"));
    assert_eq!(api.get("/customers/ada/balance?feature=nothing").await.problem(), (404, "unknown_feature", "feature"));
}
