//! Deliveries in disorder, by seed, and Stripe's repeats over three virtual days.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use creditd::simulator::{Chaos, Entry, Options, RetryPlan, SimulatorError};
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::Value;

use super::{Account, clock, id};

const WAIT: Duration = Duration::from_secs(20);

/// Names of the customers told of, in the order of arrival; answers 500 while `failing` says so.
async fn endpoint(failing: Arc<Mutex<bool>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = got.clone();
    let handler = move |body: axum::body::Bytes| {
        let (kept, failing) = (kept.clone(), failing.clone());
        async move {
            let event: Value = serde_json::from_slice(&body).unwrap();
            kept.lock().unwrap().push(event["data"]["object"]["name"].as_str().unwrap_or_default().to_owned());
            if *failing.lock().unwrap() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/hook", axum::routing::post(handler));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, got)
}

fn options(url: &str, retry: RetryPlan) -> Options {
    let mut options = Options::new(clock());
    options.webhook_url = Some(url.to_owned());
    options.webhook_secrets = vec!["whsec_chaos".to_owned()];
    options.retry = retry;
    options
}

/// Twenty customers under a disorder: the names in the order in which they arrived.
async fn arrivals(chaos: &Chaos) -> Vec<String> {
    let (url, got) = endpoint(Arc::default()).await;
    let account = Account::start(options(&url, RetryPlan::new(&[Duration::from_millis(5); 30]))).await;
    account.simulator.set_chaos(Some(chaos.clone())).unwrap();
    for number in 0..20 {
        account.post("/v1/customers", &format!("name=c{number:02}")).await;
    }
    assert!(account.simulator.wait_until_answered(WAIT).await);
    account.simulator.wait_until_delivered(WAIT).await.unwrap();
    got.lock().unwrap().clone()
}

fn in_order() -> Vec<String> {
    (0..20).map(|number| format!("c{number:02}")).collect()
}

#[tokio::test]
async fn copies_and_order_follow_the_seed() {
    let chaos = Chaos { seed: 11, copies_max: 20, window: 100, ..Chaos::default() };
    let first = arrivals(&chaos).await;
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for name in &first {
        *counts.entry(name).or_default() += 1;
    }
    assert_eq!(counts.len(), 20, "each arrives");
    assert!(counts.values().all(|count| (1..=21).contains(count)) && counts.values().any(|count| *count > 5));
    let shuffled = Chaos { seed: 11, window: 20, ..Chaos::default() };
    let order = arrivals(&shuffled).await;
    let mut sorted = order.clone();
    sorted.sort();
    assert_eq!(sorted, in_order(), "each once");
    assert_ne!(order, in_order(), "in another order");
    assert_eq!(arrivals(&Chaos::default()).await, in_order(), "no disorder, one lane: the order is kept");
}

#[tokio::test]
async fn lost_attempts_are_in_the_log_and_repeated() {
    let (url, got) = endpoint(Arc::default()).await;
    let account = Account::start(options(&url, RetryPlan::new(&[Duration::from_millis(5); 60]))).await;
    let chaos = Chaos { seed: 5, lost_per_thousand: 500, ..Chaos::default() };
    account.simulator.set_chaos(Some(chaos)).unwrap();
    for number in 0..20 {
        account.post("/v1/customers", &format!("name=c{number:02}")).await;
    }
    account.simulator.wait_until_delivered(WAIT).await.unwrap();
    let mut arrived = got.lock().unwrap().clone();
    arrived.sort();
    assert_eq!(arrived, in_order(), "lost ones come later, none twice");
    let deliveries = account.simulator.log().deliveries();
    let lost = deliveries.iter().filter(|entry| entry.status.is_none()).count();
    assert!(lost > 3 && deliveries.len() == 20 + lost, "{lost} of {}", deliveries.len());
    assert!(deliveries.iter().filter(|entry| entry.status.is_none()).all(|entry| entry.error.is_some()));
}

#[tokio::test]
async fn what_never_arrives_is_resent_by_hand() {
    let (url, got) = endpoint(Arc::default()).await;
    let account = Account::start(options(&url, RetryPlan::new(&[]))).await;
    account.simulator.set_chaos(Some(Chaos { lost_per_thousand: 1_000, ..Chaos::default() })).unwrap();
    account.post("/v1/customers", "name=lost").await;
    let waited = account.simulator.wait_until_delivered(Duration::from_millis(200)).await;
    assert!(matches!(waited, Err(SimulatorError::Undelivered(1))));
    assert!(got.lock().unwrap().is_empty());
    let event = id(&account.event("customer.created"));
    assert_eq!(account.simulator.deliver(&event).await.unwrap(), 200);
    account.simulator.wait_until_delivered(WAIT).await.unwrap();
}

#[tokio::test]
async fn delays_pass_in_the_time_of_the_plan() {
    let (url, got) = endpoint(Arc::default()).await;
    let chaos = Chaos { seed: 2, delay_milliseconds_max: 3_600_000, ..Chaos::default() };
    let account = Account::start(options(&url, RetryPlan::stripe())).await;
    account.simulator.set_chaos(Some(chaos)).unwrap();
    for number in 0..20 {
        account.post("/v1/customers", &format!("name=c{number:02}")).await;
    }
    assert!(account.simulator.wait_until_answered(WAIT).await, "nothing is due yet");
    assert!(got.lock().unwrap().len() < 3, "an hour has not passed");
    let start = account.simulator.now();
    account.simulator.advance_to(start + SignedDuration::from_hours(1)).await.unwrap();
    assert!(account.simulator.wait_until_answered(WAIT).await);
    let mut arrived = got.lock().unwrap().clone();
    assert_ne!(arrived, in_order(), "delays change the order");
    arrived.sort();
    assert_eq!(arrived, in_order());
    let times: Vec<i64> = account.simulator.log().deliveries().iter().map(|entry| entry.at).collect();
    assert!(times.is_sorted() && times.last() > times.first(), "each at its own time");
    let short = Chaos { seed: 2, delay_milliseconds_max: 50, ..Chaos::default() };
    let mut arrived = arrivals(&short).await;
    arrived.sort();
    assert_eq!(arrived, in_order(), "in real time when the plan is");
}

#[tokio::test]
async fn stripes_plan_repeats_over_three_virtual_days_with_growing_delays() {
    let failing = Arc::new(Mutex::new(true));
    let (url, got) = endpoint(failing.clone()).await;
    let account = Account::start(options(&url, RetryPlan::stripe())).await;
    account.post("/v1/customers", "name=late").await;
    assert!(account.simulator.wait_until_answered(WAIT).await);
    let start = account.simulator.now();
    assert_eq!(got.lock().unwrap().len(), 1, "nothing is repeated while time stands still");
    account.simulator.advance_to(start + SignedDuration::from_hours(24)).await.unwrap();
    let attempts = account.simulator.log().deliveries();
    let times: Vec<i64> = attempts.iter().map(|entry| entry.at - start.as_second()).collect();
    assert_eq!(times, [0, 300, 2_100, 9_300, 27_300, 63_300], "5 m, 30 m, 2 h, 5 h, 10 h apart");
    *failing.lock().unwrap() = false;
    account.simulator.advance_to(start + SignedDuration::from_hours(48)).await.unwrap();
    account.simulator.wait_until_delivered(WAIT).await.unwrap();
    assert_eq!(account.simulator.next_timer(), None);

    *failing.lock().unwrap() = true;
    account.post("/v1/customers", "name=never").await;
    assert!(account.simulator.wait_until_answered(WAIT).await);
    let start = account.simulator.now();
    account.simulator.advance_to(start + SignedDuration::from_hours(24 * 9)).await.unwrap();
    let event = id(account.events("customer.created").last().unwrap());
    let attempts: Vec<_> = account.simulator.log().deliveries().into_iter().filter(|e| e.event == event).collect();
    let last = attempts.last().unwrap().at - start.as_second();
    assert_eq!(attempts.len(), 10);
    assert!((60 * 3_600..=72 * 3_600).contains(&last), "given up within three days: {last}");
    let gaps: Vec<i64> = attempts.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    assert!(gaps.is_sorted(), "{gaps:?}");
    assert_eq!(account.simulator.next_timer(), None);
}

#[tokio::test]
async fn repeats_that_wait_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Arc::new(Mutex::new(true));
    let (url, got) = endpoint(failing.clone()).await;
    let options = || {
        let mut options = options(&url, RetryPlan::stripe());
        options.state_file = Some(folder.path().join("stripe.json"));
        options
    };
    let account = Account::start(options()).await;
    account.post("/v1/customers", "name=kept").await;
    assert!(account.simulator.wait_until_answered(WAIT).await);
    account.simulator.stop().await;
    *failing.lock().unwrap() = false;
    let again = Account::start(options()).await;
    assert!(again.simulator.wait_until_answered(WAIT).await);
    assert_eq!(got.lock().unwrap().len(), 1, "the repeat is not due yet");
    let next = again.simulator.next_timer().unwrap();
    again.simulator.advance_to(next).await.unwrap();
    again.simulator.wait_until_delivered(WAIT).await.unwrap();
    assert_eq!(got.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn disorder_is_ordered_through_the_control_endpoint_or_refused() {
    let (url, got) = endpoint(Arc::default()).await;
    let account = Account::start(options(&url, RetryPlan::new(&[]))).await;
    let json_body = [("content-type", "application/json")];
    let send = |body: &'static str| account.send(Method::POST, "/control/chaos", body, &json_body);
    assert_eq!(send(r#"{"seed":1,"copies_max":21}"#).await.status, 400);
    assert_eq!(send(r#"{"seed":1,"copies":2}"#).await.status, 422, "an unknown name");
    assert_eq!(send(r#"{"seed":4,"copies_max":20,"lanes":8}"#).await.status, 200);
    for number in 0..5 {
        account.post("/v1/customers", &format!("name=c{number}")).await;
    }
    assert!(account.simulator.wait_until_answered(WAIT).await);
    assert!(got.lock().unwrap().len() > 5);
    let copies = account.simulator.log().deliveries().iter().filter(|entry| entry.copy > 0).count();
    assert_eq!(got.lock().unwrap().len(), 5 + copies);
    assert_eq!(send("null").await.status, 200);
    let before = got.lock().unwrap().len();
    account.post("/v1/customers", "name=calm").await;
    account.simulator.wait_until_delivered(WAIT).await.unwrap();
    assert_eq!(got.lock().unwrap().len(), before + 1);
    let entries = account.simulator.log().entries();
    assert!(entries.iter().any(|entry| matches!(entry, Entry::Control { action, .. } if action == "chaos")));
}

#[tokio::test]
async fn a_draft_waits_three_days_for_an_endpoint_that_does_not_take_it() {
    for (mended_after_hours, expected) in [(10, 18), (1_000, 72)] {
        let failing = Arc::new(Mutex::new(false));
        let (url, _) = endpoint(failing.clone()).await;
        let account = Account::start(options(&url, RetryPlan::stripe())).await;
        account.subscription("").await;
        account.simulator.wait_until_delivered(WAIT).await.unwrap();
        *failing.lock().unwrap() = true;
        let end = account.simulator.next_timer().unwrap();
        let mended = end + SignedDuration::from_hours(mended_after_hours.min(80));
        account.simulator.advance_to(mended).await.unwrap();
        *failing.lock().unwrap() = mended_after_hours > 80;
        account.simulator.advance_to(end + SignedDuration::from_hours(90)).await.unwrap();
        let finalized = account.events("invoice.finalized").last().unwrap()["created"].as_i64().unwrap();
        let hours = (finalized - end.as_second()) / 3_600;
        // Mended after ten hours, the repeat at 17.6 hours is taken; the draft looks each hour.
        assert_eq!(hours, expected, "finalized {hours} hours after the period's end");
    }
}
