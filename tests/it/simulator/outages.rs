//! Stripe away, keys revoked, idempotency keys forgotten: each at its boundary.

use std::time::Duration;

use creditd::simulator::{Options, Outage};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::json;

use super::{Account, clock};

const PATH: &str = "/v1/payment_intents";
const PAY: &str = "amount=500&currency=eur&confirm=true&payment_method=pm_card_visa";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The status answered; none if there was no answer.
async fn call(account: &Account, method: Method, path: &str) -> Option<u16> {
    let request = account.client.request(method.clone(), format!("{}{path}", account.simulator.base_url()));
    let request = request.header("authorization", "Bearer sk_test_123").header("idempotency-key", "k");
    let request = request.timeout(Duration::from_millis(400));
    let request = if method == Method::POST {
        request.header("content-type", "application/x-www-form-urlencoded").body(PAY)
    } else {
        request
    };
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn an_outage_is_for_every_call_until_it_ends_and_executes_nothing() {
    let account = Account::new().await;
    for (kind, status) in [("refuse", None), ("hang", None), ("500", Some(500)), ("502", Some(502))] {
        let on = format!(r#"{{"on":true,"kind":"{kind}"}}"#);
        assert_eq!(account.send(Method::POST, "/control/outage", &on, &JSON).await.status, 200);
        for (method, path) in [(Method::POST, PATH), (Method::GET, PATH), (Method::GET, "/v1/events")] {
            assert_eq!(call(&account, method, path).await, status, "{kind} {path}");
        }
        assert!(account.simulator.log().charges().is_empty(), "{kind}");
    }
    for wrong in [r#"{"on":true}"#, r#"{"on":false,"kind":"hang"}"#] {
        assert_eq!(account.send(Method::POST, "/control/outage", wrong, &JSON).await.status, 400);
    }
    assert_eq!(account.send(Method::POST, "/control/outage", r#"{"on":true,"kind":"whim"}"#, &JSON).await.status, 422);
    assert_eq!(account.send(Method::POST, "/control/outage", r#"{"on":false}"#, &JSON).await.status, 200);
    assert_eq!(call(&account, Method::POST, PATH).await, Some(200), "the key was never used");
    assert_eq!(account.simulator.log().charges().len(), 1);
    account.simulator.set_outage(Some(Outage::ServerError));
    assert_eq!(call(&account, Method::POST, PATH).await, Some(500), "not even a replay");
    account.simulator.set_outage(None);
    assert_eq!(account.simulator.log().charges().len(), 1);
}

#[tokio::test]
async fn a_revoked_key_is_401_for_all_calls_and_keeps_no_answer() {
    let account = Account::new().await;
    let revoke = |revoked: bool| format!(r#"{{"revoked":{revoked}}}"#);
    assert_eq!(account.send(Method::POST, "/control/api_key", &revoke(true), &JSON).await.status, 200);
    let refused = account.send(Method::POST, PATH, PAY, &[("idempotency-key", "k")]).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (401, &json!("api_key_expired")));
    assert_eq!(account.send(Method::GET, "/v1/events", "", &[]).await.status, 401);
    account.send(Method::POST, "/control/api_key", &revoke(false), &JSON).await;
    let paid = account.send(Method::POST, PATH, PAY, &[("idempotency-key", "k")]).await;
    assert_eq!((paid.status, paid.headers.contains_key("idempotent-replayed")), (200, false));
    account.simulator.revoke_api_key(true);
    let replay = account.send(Method::POST, PATH, PAY, &[("idempotency-key", "k")]).await;
    assert_eq!(replay.status, 401, "not even a replay");
}

#[tokio::test]
async fn a_key_lives_to_its_last_second_and_not_one_more() {
    for (offset, charges) in [(-1, 1), (0, 2), (1, 2)] {
        let clock = clock();
        let account = Account::start(Options::new(clock.clone())).await;
        let pay = || account.send(Method::POST, PATH, PAY, &[("idempotency-key", "k")]);
        let started: Timestamp = clock.now();
        assert_eq!(pay().await.status, 200);
        assert!(clock.set(started + SignedDuration::from_secs(24 * 60 * 60 + offset)));
        let again = pay().await;
        assert_eq!(again.headers.contains_key("idempotent-replayed"), charges == 1, "{offset}");
        assert_eq!(account.simulator.log().charges().len(), charges, "{offset}");
        let other = account.send(Method::POST, PATH, &PAY.replace("500", "501"), &[("idempotency-key", "k")]).await;
        assert_eq!((other.status, &other.body["error"]["type"]), (400, &json!("idempotency_error")), "{offset}");
    }
}
