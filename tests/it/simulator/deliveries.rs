//! Signed deliveries: exact bytes, every secret, repeats, giving up, resending.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use creditd::simulator::{Options, RetryPlan, SimulatorError};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Account, clock, id, ids_of, seconds};

const WAIT: Duration = Duration::from_secs(10);

/// An endpoint that answers with these statuses in turn, then 200, and keeps what it got.
async fn endpoint(statuses: Vec<u16>) -> (String, Arc<Mutex<Vec<(HeaderMap, Bytes)>>>) {
    let got: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
    let (kept, turn) = (Arc::clone(&got), AtomicUsize::new(0));
    let statuses = Arc::new((statuses, turn));
    let handler = move |headers: HeaderMap, body: Bytes| {
        let (kept, statuses) = (Arc::clone(&kept), Arc::clone(&statuses));
        async move {
            kept.lock().unwrap().push((headers, body));
            let status = statuses.0.get(statuses.1.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(200);
            (StatusCode::from_u16(status).unwrap(), [("location", "http://127.0.0.1:1/elsewhere")])
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/hook", axum::routing::post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, got)
}

fn delivering(url: &str) -> Options {
    let mut options = Options::new(clock());
    options.webhook_url = Some(url.to_owned());
    options.webhook_secrets = vec!["whsec_one".to_owned(), "whsec_two".to_owned()];
    options.retry = RetryPlan::new(&[Duration::from_millis(10); 3]);
    options
}

#[tokio::test]
async fn deliveries_are_signed_with_every_secret_and_repeated_until_taken() {
    let (url, got) = endpoint(vec![500, 307]).await;
    let account = Account::start(delivering(&url)).await;
    let customer = account.post("/v1/customers", "name=A").await;
    account.simulator.wait_until_delivered(WAIT).await.unwrap();
    let got = got.lock().unwrap().clone();
    assert_eq!(got.len(), 3);
    let (headers, body) = &got[2];
    assert!(got.iter().all(|(_, other)| other == body), "every attempt carries the same bytes");
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert!(headers["user-agent"].to_str().unwrap().starts_with("Stripe/1.0"));
    let at = seconds("2026-01-31T00:00:00Z");
    let mut wanted = format!("t={at}");
    for secret in ["whsec_one", "whsec_two"] {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        wanted.extend([",v1=", &hex::encode(mac.finalize().into_bytes())]);
    }
    assert_eq!(headers["stripe-signature"], wanted);
    let event: Value = serde_json::from_slice(body).unwrap();
    assert_eq!((&event["data"]["object"], &event["type"]), (&customer, &json!("customer.created")));
    let attempts: Vec<_> =
        account.simulator.log().deliveries().iter().map(|entry| (entry.attempt, entry.status)).collect();
    assert_eq!(attempts, [(1, Some(500)), (2, Some(307)), (3, Some(200))]);
    let signed = account.simulator.signed_delivery(&id(&event)).unwrap();
    assert_eq!((&signed.0, &signed.1), (body, &wanted));
    assert_eq!(account.simulator.deliver(&id(&event)).await.unwrap(), 200, "resent by hand");
    assert!(matches!(account.simulator.deliver("evt_x").await, Err(SimulatorError::NoSuchEvent(_))));
}

#[tokio::test]
async fn a_delivery_is_given_up_after_its_plan_and_can_be_resent() {
    // Nothing listens on the port once the listener is dropped.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}/hook", listener.local_addr().unwrap());
    drop(listener);
    let account = Account::start(delivering(&dead)).await;
    account.post("/v1/customers", "").await;
    for _ in 0..500 {
        if account.simulator.log().deliveries().len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let waited = account.simulator.wait_until_delivered(Duration::from_millis(100)).await;
    assert!(matches!(waited, Err(SimulatorError::Undelivered(1))));
    let deliveries = account.simulator.log().deliveries();
    assert_eq!(deliveries.len(), 4, "one attempt and three repeats");
    assert!(deliveries.iter().all(|entry| entry.status.is_none() && entry.error.is_some()));
    let listed = account.get("/v1/events", "delivery_success=false").await;
    assert_eq!(listed["data"][0]["pending_webhooks"], 1);
    let (url, got) = endpoint(Vec::new()).await;
    account.simulator.set_webhook(Some(url), vec!["whsec_new".to_owned()]).unwrap();
    let event = &ids_of(&listed)[0];
    let resent = account.send(Method::POST, &format!("/control/events/{event}/deliver"), "", &[]).await;
    assert_eq!((resent.status, got.lock().unwrap().len()), (200, 1));
    assert_eq!(account.get("/v1/events", "delivery_success=false").await["data"], json!([]));
    assert!(account.simulator.set_webhook(Some("http://192.0.2.1/".to_owned()), Vec::new()).is_err());
}
