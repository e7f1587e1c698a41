//! The worker that books what time made due, on two daemons at once, and the leases they share the work by.

use std::time::Duration;

use creditd::store::Store;
use serde_json::json;

use crate::support::app::TestApp;
use crate::support::database::fresh_store;

/// Longest wait for the books to come after.
const PATIENCE: Duration = Duration::from_secs(30);
const DAY: i64 = 86_400;

async fn until_nothing_is_due(store: &Store) {
    let waited = async {
        while !store.due_buckets().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.expect("what is due is booked");
}

/// Every account's month is over at once; two daemons book, and half of the customers use theirs meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_daemons_renew_each_account_once() {
    let app = TestApp::start().await;
    let beside = app.beside().await;
    let customers: Vec<String> = (0..60).map(|number| format!("customer-{number}")).collect();
    for customer in &customers {
        app.customer(customer).await;
    }
    app.track("before", "customer-0", "basic_messages", "100").await;
    for month in 1..=3 {
        assert!(app.store.set_test_offset(month * 31 * DAY).await.unwrap());
        let rounds = async { tokio::join!(app.daemon.renewal().round(), beside.daemon.renewal().round()) };
        let key = format!("month-{month}");
        let tracks = customers.iter().step_by(2).map(|customer| app.track(&key, customer, "basic_messages", "100"));
        let ((first, second), tracked) = tokio::join!(rounds, futures_util::future::join_all(tracks));
        assert!(first.is_ok() && second.is_ok());
        assert!(tracked.iter().all(|(status, answer)| *status == 200 && answer["drawn"] == "1"), "{tracked:?}");
        until_nothing_is_due(&app.store).await;
    }
    for (number, customer) in customers.iter().enumerate() {
        let grants = app.grants_of(customer).await;
        let starts: Vec<&str> = grants.iter().filter_map(|grant| grant["starts_at"].as_str()).collect();
        let distinct: std::collections::BTreeSet<&&str> = starts.iter().collect();
        assert_eq!((starts.len(), distinct.len()), (4, 4), "one grant a month for {customer}: {starts:?}");
        let left = if number % 2 == 0 { "4" } else { "5" };
        assert_eq!(app.available(customer, "usd_credits").await, left, "{customer}");
    }
    assert!(!app.store.verify().await.unwrap().differs());
    beside.daemon.stop().await;
    app.finish().await;
}

/// What is due is answered before anyone booked it (law 7), and booked without anyone asking.
#[tokio::test]
async fn an_idle_account_is_booked_without_a_request() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    assert!(app.store.set_test_offset(40 * DAY).await.unwrap());
    assert_eq!(app.available("ada", "usd_credits").await, "5", "answered lazily");
    until_nothing_is_due(&app.store).await;
    let (_, entries) = app.call("GET", "/api/v1/customers/ada/entries?limit=50", None).await;
    let kinds: Vec<&str> =
        entries["data"].as_array().unwrap().iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "grant").count(), 2, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "expire").count(), 1, "{kinds:?}");
    let (_, health) = app.call("GET", "/readyz", None).await;
    assert!(health.to_string().contains("renewal"), "its age is watched: {health}");
    let body = json!({ "customer": "ada", "feature": "basic_messages" });
    assert_eq!(app.call("POST", "/api/v1/check", Some(body)).await.1["allowed"], true);
    app.finish().await;
}

/// One holder at a time; a holder whose time is over finds itself replaced.
#[tokio::test]
async fn a_lease_has_one_holder_and_a_sleeper_is_refused() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let first = store.take_lease("renewal:1", 60).await.unwrap().expect("it is free");
    assert_eq!(store.take_lease("renewal:1", 60).await.unwrap(), None, "it is taken");
    assert!(store.take_lease("renewal:2", 60).await.unwrap().is_some(), "others are not");
    assert!(store.extend_lease(&first, 60).await.unwrap());
    store.release_lease(&first).await.unwrap();
    assert!(!store.extend_lease(&first, 60).await.unwrap(), "given back is given back");
    let second = store.take_lease("renewal:1", 0).await.unwrap().expect("it is free again");
    assert!(second.fence() > first.fence());
    let third = store.take_lease("renewal:1", 60).await.unwrap().expect("the second's time is over");
    assert!(third.fence() > second.fence());
    assert!(!store.extend_lease(&second, 60).await.unwrap(), "the sleeper wakes too late");
    store.release_lease(&second).await.unwrap();
    assert!(store.extend_lease(&third, 60).await.unwrap(), "and gives back nobody else's");
}

/// Of many that ask at once, one gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_is_raced_for_and_won_once() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    for round in 0..20 {
        let name = format!("race:{round}");
        let takes = (0..8).map(|_| store.take_lease(&name, 60));
        let won = futures_util::future::join_all(takes).await.into_iter().filter(|taken| matches!(taken, Ok(Some(_))));
        assert_eq!(won.count(), 1, "round {round}");
    }
}

/// Four daemons book the same month at once: its rest rolls over once for each account, and no more is carried than the cap.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_daemons_roll_each_rest_over_once() {
    let catalog = "[features.calls]\ntype = \"metered\"\n[plans.free]\nauto_enable = true\n[[plans.free.items]]\n\
        feature = \"calls\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max = \"8\" }\n";
    let app = TestApp::with_catalog(catalog).await;
    let others = [app.beside().await, app.beside().await, app.beside().await];
    let customers: Vec<String> = (0..30).map(|number| format!("customer-{number}")).collect();
    for customer in &customers {
        app.customer(customer).await;
    }
    for (month, available) in [(1, "10"), (2, "13"), (3, "13")] {
        assert!(app.store.set_test_offset(month * 31 * DAY + DAY).await.unwrap());
        let workers = std::iter::once(&app).chain(&others).map(|one| one.daemon.renewal());
        let rounds = workers.map(|worker| async move { worker.round().await });
        assert!(futures_util::future::join_all(rounds).await.iter().all(Result::is_ok));
        until_nothing_is_due(&app.store).await;
        for customer in &customers {
            assert_eq!(app.available(customer, "calls").await, available, "{customer} in month {month}");
        }
    }
    for customer in &customers {
        let grants = app.grants_of(customer).await;
        assert_eq!(grants.len(), 7, "4 months and 3 rests: {grants:?}");
    }
    assert!(!app.store.verify().await.unwrap().differs());
    for other in others {
        other.daemon.stop().await;
    }
    app.finish().await;
}
