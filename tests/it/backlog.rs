//! A backlog of stored events drains: each counts once, whatever batch it was taken and closed in.

use std::time::Duration;

use creditd::commands::daemon::{Daemon, Parts};
use creditd::store::events::EventOrigin;
use serde_json::json;

use crate::support::app::{TestApp, parts};
use crate::support::events::moment;

/// Events of the backlog; the measure by hand takes more.
const BACKLOG: usize = 300;
const CUSTOMERS: usize = 40;
/// Far above what the slowest machine takes.
const PATIENCE: Duration = Duration::from_secs(90);

/// A paid session that names its credits: nothing has to be asked of Stripe.
fn session(number: usize, customer: usize) -> Vec<u8> {
    let now = moment(60).as_second();
    let body = json!({ "id": format!("evt_backlog_{number}"), "object": "event", "api_version": "2026-09-30.endive",
        "created": now, "livemode": false, "pending_webhooks": 1, "type": "checkout.session.completed",
        "data": { "object": { "id": format!("cs_backlog_{number}"), "object": "checkout.session", "mode": "payment",
            "payment_status": "paid", "status": "complete", "amount_total": 100, "currency": "usd", "created": now,
            "metadata": { "creditd_customer_id": format!("customer-{customer}"), "creditd_credits": "1",
                "creditd_feature": "usd_credits" } } } });
    body.to_string().into_bytes()
}

async fn drained(count: usize, daemons: usize) -> Duration {
    let app = TestApp::start().await;
    let receiver = app.daemon.catch_up().unwrap().receiver.clone();
    // Nobody works on events until all are there.
    let TestApp { url, store, daemon, simulator, clock, admin, client } = app;
    daemon.stop().await;
    let storing = (0..count).map(|number| {
        let (receiver, body) = (receiver.clone(), session(number, number % CUSTOMERS));
        async move { receiver.store_listed(&body, EventOrigin::CatchUp).await }
    });
    for stored in futures_util::future::join_all(storing).await {
        assert_eq!(stored.unwrap(), creditd::inbox::receive::Received::Stored);
    }
    let started = creditd::clock::instant();
    let mut more = Vec::new();
    for _ in 1..daemons {
        let store = crate::support::database::store_at(&url).await;
        more.push(Daemon::start(Parts { stripe: None, ..parts(&store, &simulator) }).await.unwrap());
    }
    let daemon = Daemon::start(Parts { stripe: None, ..parts(&store, &simulator) }).await.unwrap();
    let app = TestApp { url, store, daemon, simulator, clock, admin, client };
    while app.store.count_due_events().await.unwrap() > 0 {
        assert!(started.elapsed() < PATIENCE, "the backlog does not drain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = started.elapsed();
    for customer in 0..CUSTOMERS {
        let bought = (0..count).filter(|number| number % CUSTOMERS == customer).count();
        let available = app.available(&format!("customer-{customer}"), "usd_credits").await;
        assert_eq!(available, (bought + 5).to_string(), "customer-{customer}: five of Free and each bought once");
    }
    for daemon in more {
        daemon.stop().await;
    }
    app.finish().await;
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_drains_over_two_daemons_and_each_event_counts_once() {
    drained(BACKLOG, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measure, by hand"]
async fn how_fast_a_backlog_drains() {
    for _ in 0..3 {
        let took = drained(2_000, 1).await;
        println!("2000 events in {took:?}");
    }
}
