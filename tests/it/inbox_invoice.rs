//! Paid invoices: a subscription's plan and periods, packs on any invoice, metadata credits of a subscription.

use std::collections::BTreeMap;
use std::sync::Arc;

use creditd::clock::Clock;
use creditd::commands::daemon::Daemon;
use creditd::simulator::{InvoiceOrder, NEWEST_VERSION, Options, Outcome, SeedPrice, Simulator};
use jiff::{Span, Timestamp, tz::TimeZone};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{STRIPE_KEY, TestApp, WEBHOOK_SECRET, parts};

const SESSION: &str = "checkout.session.completed";
const PAID: &str = "invoice.paid";
const ADA: (&str, &str) = ("subscription_data[metadata][creditd_customer_id]", "ada");

/// A daemon whose Stripe sends events in the shapes of a version.
async fn with_version(version: &str) -> TestApp {
    let mut app = TestApp::start().await;
    let mut options = Options::new(Clock::system());
    options.api_key = Some(STRIPE_KEY.to_owned());
    options.webhook_secrets = vec![WEBHOOK_SECRET.to_owned()];
    options.auto_deliver = false;
    options.endpoint_version = version.to_owned();
    app.simulator = Arc::new(Simulator::start(options).await.unwrap());
    for (id, unit_amount, recurring) in
        [("price_pro", 1_000, Some(("month".to_owned(), 1))), ("price_usd_credit", 100, None)]
    {
        let (id, currency) = (id.to_owned(), "usd".to_owned());
        let seed = SeedPrice { product: id.clone(), id, currency, unit_amount, recurring, lookup_key: None };
        app.simulator.seed_price(&seed).unwrap();
    }
    let daemon = Daemon::start(parts(&app.store, &app.simulator)).await.unwrap();
    std::mem::replace(&mut app.daemon, daemon).stop().await;
    app
}

/// A subscription to Pro through Checkout; gives its session.
async fn subscribe(app: &TestApp, more: &[(&str, &str)]) -> Value {
    let mut fields =
        vec![("mode", "subscription"), ("line_items[0][price]", "price_pro"), ("line_items[0][quantity]", "1")];
    fields.extend_from_slice(more);
    let session = app.checkout(&fields).await;
    let id = session["id"].as_str().unwrap_or_else(|| panic!("no session: {session}"));
    app.simulator.pay_checkout(id, Outcome::Paid).unwrap()
}

fn order(session: &Value, billing_reason: &str) -> InvoiceOrder {
    InvoiceOrder {
        customer: session["customer"].as_str().unwrap().to_owned(),
        subscription: session["subscription"].as_str().map(str::to_owned),
        price: None,
        quantity: None,
        billing_reason: billing_reason.to_owned(),
        period_start: None,
        period_end: None,
        metadata: BTreeMap::new(),
    }
}

/// Delivers the newest event of a type and waits for where it has to come to.
async fn deliver(app: &TestApp, kind: &str, state: &str, reason: &str) -> String {
    let event = app.deliver_newest(kind).await;
    app.until(&event, state, reason).await;
    event
}

/// The plans a customer has.
async fn plans(app: &TestApp, customer: &str) -> Vec<Value> {
    let (_, shown) = app.call("GET", &format!("/api/v1/customers/{customer}"), None).await;
    shown["plans"].as_array().unwrap_or_else(|| panic!("no plans: {shown}")).clone()
}

fn months_after(start: Timestamp, months: i64) -> Timestamp {
    start.to_zoned(TimeZone::UTC).checked_add(Span::new().months(months)).unwrap().timestamp()
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap_or_else(|| panic!("no time: {value}")).parse().unwrap()
}

/// Ada has Pro alone, once, and its ten credits.
async fn assert_pro(app: &TestApp, session: &Value) {
    let [pro] = <[Value; 1]>::try_from(plans(app, "ada").await).unwrap();
    assert_eq!((&pro["plan"], &pro["state"]), (&json!("pro"), &json!("active")));
    assert_eq!(pro["stripe_subscription"], session["subscription"]);
    assert_eq!(time(&pro["paid_through"]), months_after(time(&pro["started_at"]), 1));
    let grants = app.grants_of("ada").await;
    let of_pro: Vec<&Value> = grants.iter().filter(|grant| grant["plan"] == "pro").collect();
    assert_eq!(of_pro.len(), 1, "{grants:?}");
    assert_eq!((&of_pro[0]["quantity"], &of_pro[0]["category"]), (&json!("10"), &json!("plan")));
    assert_eq!(app.available("ada", "usd_credits").await, "10");
}

#[rstest]
#[case::invoice_alone(&[PAID])]
#[case::twice(&[PAID, PAID])]
#[case::session_before(&[SESSION, PAID])]
#[case::session_after(&[PAID, SESSION])]
#[case::all_twice_reordered(&[PAID, SESSION, PAID, SESSION])]
#[tokio::test]
async fn the_first_paid_invoice_attaches_the_plan_and_grants_once(#[case] order: &[&str]) {
    let app = TestApp::start().await;
    app.customer("ada").await;
    assert_eq!(app.available("ada", "usd_credits").await, "5", "Free's");
    let session = subscribe(&app, &[ADA, ("metadata[creditd_customer_id]", "ada")]).await;
    for kind in order {
        deliver(&app, kind, "processed", "").await;
    }
    assert_pro(&app, &session).await;
    deliver(&app, "invoice.payment_succeeded", "ignored", "told_by_other_event").await;
    deliver(&app, "customer.subscription.created", "processed", "").await;
    assert_pro(&app, &session).await;
    app.finish().await;
}

#[tokio::test]
async fn twenty_paid_invoice_events_at_once_attach_and_grant_once() {
    let app = TestApp::start().await;
    let session = subscribe(&app, &[ADA]).await;
    let template = app.simulator.event(&app.simulator.event_ids(PAID)[0]).unwrap();
    let ids: Vec<String> = (0..20).map(|number| format!("evt_{number}")).collect();
    let sends = ids.iter().map(|id| {
        let mut event = template.clone();
        event["id"] = json!(id);
        let app = &app;
        async move { app.send(&event).await }
    });
    futures_util::future::join_all(sends).await;
    for id in &ids {
        app.until(id, "processed", "").await;
    }
    assert_pro(&app, &session).await;
    app.finish().await;
}

#[tokio::test]
async fn an_invoice_that_names_nobody_waits_for_its_sessions_link() {
    let app = TestApp::start().await;
    let session = subscribe(&app, &[("client_reference_id", "ada")]).await;
    let invoice = deliver(&app, PAID, "parked", "unknown_customer").await;
    deliver(&app, SESSION, "processed", "").await;
    app.until(&invoice, "processed", "").await;
    assert_pro(&app, &session).await;
    app.finish().await;
}

/// What finance and the customer would notice of a history, without ids and clock times.
async fn facts(app: &TestApp) -> Vec<Value> {
    let fields = ["quantity", "category", "feature", "plan", "paid", "tax_minor", "discount_minor", "basis_minor"];
    let mut facts: Vec<Value> = Vec::new();
    for grant in app.grants_of("ada").await {
        let mut fact: Vec<Value> = fields.iter().map(|field| grant[*field].clone()).collect();
        let lives = match &grant["expires_at"] {
            Value::Null => Value::Null,
            end => json!(time(end) == months_after(time(&grant["starts_at"]), 1)),
        };
        let line = grant["stripe_line"].is_string();
        fact.extend([grant["item_key"].clone(), grant["stripe_price"].clone(), grant["payment"].is_string().into()]);
        fact.extend([lives, line.into(), grant["metadata"].clone()]);
        facts.push(Value::Array(fact));
    }
    facts.sort_by_key(ToString::to_string);
    let plans = plans(app, "ada").await;
    facts.extend(
        plans
            .iter()
            .map(|plan| json!([plan["plan"], plan["state"], plan["quantity"], plan["paid_through"].is_string()])),
    );
    facts
}

#[tokio::test]
async fn both_shapes_of_one_story_give_the_same_facts() {
    let mut told = Vec::new();
    for version in ["2024-09-30.acacia", NEWEST_VERSION] {
        let app = with_version(version).await;
        let session = subscribe(&app, &[ADA]).await;
        let event = deliver(&app, PAID, "processed", "").await;
        assert_eq!(app.simulator.event(&event).unwrap()["api_version"], version);
        app.simulator.make_invoice(&order(&session, "subscription_cycle")).unwrap();
        deliver(&app, PAID, "processed", "").await;
        let packs = InvoiceOrder {
            price: Some("price_usd_credit".to_owned()),
            quantity: Some(12),
            subscription: None,
            ..order(&session, "manual")
        };
        app.simulator.make_invoice(&packs).unwrap();
        deliver(&app, PAID, "processed", "").await;
        assert_eq!(app.available("ada", "usd_credits").await, "22");
        told.push(facts(&app).await);
        app.finish().await;
    }
    assert_eq!(told[0], told[1]);
    assert!(told[0].len() >= 3, "{told:?}");
}

#[tokio::test]
async fn a_renewal_moves_paid_through_and_an_unpaid_or_repeated_one_does_not() {
    let app = TestApp::start().await;
    let session = subscribe(&app, &[ADA]).await;
    let first = deliver(&app, PAID, "processed", "").await;
    let start = time(&plans(&app, "ada").await[0]["started_at"]);
    app.simulator.make_invoice(&order(&session, "subscription_cycle")).unwrap();
    let renewal = app.simulator.event_ids(PAID).pop().unwrap();
    let mut open = app.simulator.event(&renewal).unwrap();
    open["id"] = json!("evt_open");
    for status in ["open", "draft", "void", "uncollectible"] {
        open["id"] = json!(format!("evt_{status}"));
        open["data"]["object"]["status"] = json!(status);
        app.send(&open).await;
        app.until(&format!("evt_{status}"), "ignored", "invoice_not_paid").await;
    }
    let paid_through = async |app: &TestApp| time(&plans(app, "ada").await[0]["paid_through"]);
    assert_eq!(paid_through(&app).await, months_after(start, 1));
    app.deliver_event(&renewal).await;
    app.until(&renewal, "processed", "").await;
    assert_eq!(paid_through(&app).await, months_after(start, 2));
    // An older invoice told again, under another id, moves nothing back.
    let mut old = app.simulator.event(&first).unwrap();
    old["id"] = json!("evt_old");
    app.send(&old).await;
    app.until("evt_old", "processed", "").await;
    assert_eq!(paid_through(&app).await, months_after(start, 2));
    assert_eq!(app.available("ada", "usd_credits").await, "10", "the next period has not begun");
    app.finish().await;
}

#[tokio::test]
async fn metadata_credits_of_a_subscription_count_on_its_create_and_cycle_invoices_only() {
    let app = TestApp::start().await;
    let credits = ("subscription_data[metadata][credit_amount]", "100");
    let session = subscribe(&app, &[ADA, credits, ("subscription_data[metadata][plan_note]", "n")]).await;
    for (reason, expected) in
        [("subscription_create", "110"), ("subscription_cycle", "210"), ("subscription_update", "210")]
    {
        if reason != "subscription_create" {
            app.simulator.make_invoice(&order(&session, reason)).unwrap();
        }
        for _ in 0..2 {
            deliver(&app, PAID, "processed", "").await;
        }
        assert_eq!(app.available("ada", "usd_credits").await, expected, "{reason}");
    }
    let bought = app.bought("ada").await;
    assert_eq!(bought.len(), 2);
    assert!(bought.iter().all(|grant| grant["item_key"] == "metadata" && grant["metadata"]["plan_note"] == "n"));
    app.finish().await;
}

#[tokio::test]
async fn packs_on_a_manual_invoice_grant_by_quantity_and_metadata_replaces_them() {
    let app = TestApp::start().await;
    let session = subscribe(&app, &[ADA]).await;
    deliver(&app, PAID, "processed", "").await;
    let mut packs = InvoiceOrder {
        price: Some("price_usd_credit".to_owned()),
        quantity: Some(12),
        subscription: None,
        ..order(&session, "manual")
    };
    app.simulator.make_invoice(&packs).unwrap();
    for _ in 0..2 {
        deliver(&app, PAID, "processed", "").await;
    }
    let [grant] = <[Value; 1]>::try_from(app.bought("ada").await).unwrap();
    assert_eq!((&grant["quantity"], &grant["basis_minor"]), (&json!("12"), &json!(1_200)));
    packs.metadata.insert("credit_amount".to_owned(), "1000".to_owned());
    app.simulator.make_invoice(&packs).unwrap();
    deliver(&app, PAID, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "1022");
    packs.metadata.insert("credit_amount".to_owned(), "NaN".to_owned());
    app.simulator.make_invoice(&packs).unwrap();
    let event = deliver(&app, PAID, "parked", "bad_metadata").await;
    assert!(app.detail(&event).await.contains("metadata.credit_amount"));
    app.finish().await;
}

/// Seats added inside the period, told by an invoice of proration lines: their share is granted once, whichever and
/// however many events tell it, and in either shape.
#[rstest]
#[case("2024-09-30.acacia")]
#[case(NEWEST_VERSION)]
#[tokio::test]
async fn paid_seats_inside_the_period_grant_their_share_once(#[case] version: &str) {
    let app = with_version(version).await;
    let _: Value = subscribe(&app, &[ADA]).await;
    let first = deliver(&app, PAID, "processed", "").await;
    let mut event = app.simulator.event(&first).unwrap();
    let object = &mut event["data"]["object"];
    object["id"] = json!("in_seats");
    object["billing_reason"] = json!("subscription_update");
    for member in ["payment_intent", "charge"] {
        if object[member].is_string() {
            object[member] = Value::Null;
        }
    }
    let line = object["lines"]["data"][0].clone();
    let of = |number: usize, seats: i64, amount: i64| {
        let mut line = line.clone();
        line["id"] = json!(format!("il_seats{number}"));
        line["quantity"] = json!(seats);
        if line["quantity_decimal"].is_string() {
            line["quantity_decimal"] = json!(seats.to_string());
        }
        line["amount"] = json!(amount);
        match line.pointer_mut("/parent/subscription_item_details/proration") {
            Some(place) => *place = json!(true),
            None => line["proration"] = json!(true),
        }
        line
    };
    object["lines"]["data"] = json!([of(0, 1, -1_000), of(1, 3, 3_000)]);
    for id in ["evt_seats", "evt_seats_again"] {
        event["id"] = json!(id);
        app.send(&event).await;
        app.until(id, "processed", "").await;
        // The whole period remains: 3 seats have 30 where one had 10.
        assert_eq!(app.available("ada", "usd_credits").await, "30");
    }
    let grants = app.grants_of("ada").await;
    let share = grants.iter().find(|grant| grant["quantity"] == "20").unwrap_or_else(|| panic!("{grants:?}"));
    assert_eq!((&share["plan"], &share["paid"]["amount"]), (&json!("pro"), &json!("20.00")), "{share}");
    app.finish().await;
}
