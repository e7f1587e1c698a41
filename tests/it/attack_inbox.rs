//! Stored events under attack: what waits long, what Stripe said wrongly once, what is told twice in other words.

use creditd::commands::daemon::Daemon;
use creditd::simulator::{Outcome, Simulator};
use creditd::store::StoreError;
use creditd::store::events::{Ended, Ending, WAITING_FOR_CUSTOMER, Why};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::app::{CATALOG, PACKS_OF_ADA, PRO_OF_ADA, TestApp, parts, simulator};
use crate::support::database::raw;
use crate::support::events::event;

const COMPLETED: &str = "checkout.session.completed";
const PAID: &str = "invoice.paid";

impl TestApp {
    /// The same database behind a daemon that asks another Stripe.
    async fn ask_at(&mut self, simulator: &Simulator) {
        let daemon = Daemon::start(parts(&self.store, simulator)).await.unwrap();
        std::mem::replace(&mut self.daemon, daemon).stop().await;
    }

    async fn sql(&self, statement: &str) {
        let pool = raw(&self.url).await;
        pool.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
        pool.close().await;
    }

    /// A paid subscription that names nobody: its Stripe customer and the parked invoice.
    async fn nobodys_subscription(&self) -> (String, String) {
        let fields =
            [("mode", "subscription"), ("line_items[0][price]", "price_pro"), ("line_items[0][quantity]", "1")];
        let session = self.checkout(&fields).await;
        let paid = self.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
        let invoice = self.deliver_newest(PAID).await;
        self.until(&invoice, "parked", "unknown_customer").await;
        (paid["customer"].as_str().unwrap().to_owned(), invoice)
    }

    async fn link(&self, customer: &str, stripe_customer: &str) {
        let body = json!({ "stripe_customer": stripe_customer });
        let (status, answer) = self.call("PUT", &format!("/api/v1/customers/{customer}"), Some(body)).await;
        assert!(status < 300, "{answer}");
    }
}

/// Every new link wakes whatever waits for one, so the tries that others cause must not use up an event's own; nor does
/// time: it is money, and its customer may come after a month.
#[rstest]
#[case::links_of_others(39)]
#[case::a_month(130)]
#[tokio::test]
async fn an_event_that_waits_is_not_given_up(#[case] attempts: u32) {
    let app = TestApp::start().await;
    let (stripe_customer, invoice) = app.nobodys_subscription().await;
    app.sql(&format!(
        "UPDATE stripe_events SET attempts = {attempts}, due_at = clock_timestamp() WHERE state = 'parked'"
    ))
    .await;
    app.settle().await;
    app.link("bob", "cus_bob").await;
    app.settle().await;
    app.until(&invoice, "parked", "unknown_customer").await;
    app.link("ada", &stripe_customer).await;
    app.until(&invoice, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "10");
    app.finish().await;
}

/// The key of another Stripe account finds nothing; with the right one the same event is paid out.
#[tokio::test]
async fn what_stripe_did_not_know_once_is_asked_again() {
    let mut app = TestApp::start().await;
    let (right, wrong) = (app.simulator.clone(), simulator().await);
    app.ask_at(&wrong).await;
    app.buy(&PACKS_OF_ADA, Outcome::Paid).await;
    let told = app.deliver_newest(COMPLETED).await;
    app.until(&told, "parked", "line_items_unavailable").await;
    app.ask_at(&right).await;
    app.sql("UPDATE stripe_events SET due_at = clock_timestamp() WHERE state = 'parked'").await;
    app.until(&told, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    // What decided is what is kept.
    let (_, whole) = app.call("GET", &format!("/api/v1/stripe-events/{told}"), None).await;
    let inputs = whole["inputs"].as_array().unwrap();
    assert!(inputs.len() > 1 && inputs.iter().all(|input| input["status"] == 200), "{inputs:?}");
    app.finish().await;
}

/// Two events of one payment, and between them the catalogue calls the pack by another name.
#[tokio::test]
async fn a_pack_renamed_between_two_events_of_one_payment_is_granted_once() {
    let app = TestApp::start().await;
    app.buy(&PACKS_OF_ADA, Outcome::Paid).await;
    let told = app.deliver_newest(COMPLETED).await;
    app.until(&told, "processed", "").await;
    app.apply(&CATALOG.replace("plans.top_up", "plans.packs")).await;
    let mut again = app.simulator.event(&told).unwrap();
    again["id"] = json!("evt_again");
    again["type"] = json!("checkout.session.async_payment_succeeded");
    app.send(&again).await;
    app.until("evt_again", "processed", "").await;
    assert_eq!(app.bought("ada").await.len(), 1);
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

/// Stripe bills a subscription item of quantity 0 with nothing: no seat, no credits.
#[tokio::test]
async fn a_plan_line_of_no_seats_gives_nothing() {
    let app = TestApp::start().await;
    let session = app.checkout(&PRO_OF_ADA).await;
    app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
    let mut invoice = app.simulator.event(&app.simulator.event_ids(PAID)[0]).unwrap();
    let object = &mut invoice["data"]["object"];
    let line = &mut object["lines"]["data"][0];
    for (field, value) in [("quantity", json!(0)), ("amount", json!(0)), ("subtotal", json!(0))] {
        line[field] = value;
    }
    if line["quantity_decimal"].is_string() {
        line["quantity_decimal"] = json!("0");
    }
    for field in ["total", "subtotal", "amount_paid", "amount_due"] {
        object[field] = json!(0);
    }
    app.customer("ada").await;
    app.send(&invoice).await;
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "5", "Free's alone");
    app.finish().await;
}

/// No column holds a NUL: what cannot be read is parked with its reason, not tried for ever behind its lease.
#[tokio::test]
async fn a_nul_in_what_cannot_be_read_parks() {
    let app = TestApp::start().await;
    let object: Value = json!({ "id": "cs_nul", "object": "checkout.session", "metadata": { "a\u{0}b": 5 } });
    app.send(&event("evt_nul", COMPLETED, &object)).await;
    app.until("evt_nul", "parked", "unreadable").await;
    app.finish().await;
}

/// A link that comes while the event is being looked at takes the look's lease: its outcome is older than the link.
#[tokio::test]
async fn a_wake_is_not_lost_to_a_worker_that_looked_before_it() {
    let app = TestApp::start().await;
    let (_, invoice) = app.nobodys_subscription().await;
    // No round of the daemon comes in between: it has nobody to take the event from.
    app.sql("UPDATE stripe_events SET due_at = clock_timestamp() + interval '1 day' WHERE state = 'parked'").await;
    let slow = app.store.lease_event(&invoice, 600).await.unwrap().expect("it is free");
    assert_eq!(app.store.wake_parked(&WAITING_FOR_CUSTOMER).await.unwrap(), 1);
    let why = Why { reason: "unknown_customer".to_owned(), detail: "as it was before".to_owned() };
    let ending = Ending { event: &slow, how: Ended::Parked(21_600), why: Some(why), account: None };
    let late = app.store.end_event(ending).await;
    assert!(matches!(late, Err(StoreError::LostLease(_))), "{late:?}");
    app.settle().await;
    app.finish().await;
}

/// Tokens are sold by the billion.
#[tokio::test]
async fn a_pack_of_billions_can_be_bought() {
    let app = TestApp::with_catalog(&CATALOG.replace("credits = \"1\"", "credits = \"5000000000\"")).await;
    app.bought_with(&PACKS_OF_ADA, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "100000000005");
    app.finish().await;
}
