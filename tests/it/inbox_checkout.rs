//! Checkout sessions: packs by price and quantity, credits by metadata, once per payment, and what waits for what.

use std::sync::Arc;
use std::time::Duration;

use creditd::commands::daemon::Daemon;
use creditd::simulator::{Fault, FaultRule, Outcome, SeedPrice};
use creditd::store::events::WAITING_FOR_CATALOG;
use creditd::stripe::transport::{Transport, TransportSettings};
use jiff::Timestamp;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::app::{CATALOG, PACKS, STRIPE_KEY, TestApp, parts};
use crate::support::events;

const COMPLETED: &str = "checkout.session.completed";
const ADA: (&str, &str) = ("metadata[creditd_customer_id]", "ada");

/// A second pack of the sample catalogue, and a product of the app's that is not sold here.
fn price(id: &str, unit_amount: i64) -> SeedPrice {
    SeedPrice {
        id: id.to_owned(),
        product: format!("prod_{id}"),
        currency: "usd".to_owned(),
        unit_amount,
        recurring: None,
        lookup_key: None,
    }
}

/// The sample catalogue with a pack of a hundred credits, and what stands at its head.
fn larger(head: &str) -> String {
    format!(
        "{head}\n{CATALOG}\n[plans.bulk]\nname = \"Bulk\"\nadd_on = true\n[[plans.bulk.items]]\nfeature = \"usd_credits\"\n\
         packs = [{{ credits = \"100\", amount = \"80.00\", currency = \"usd\", stripe_price = \"price_bulk\" }}]\n\
         expires_after = \"1 month\"\n"
    )
}

impl TestApp {
    /// A Stripe customer of the simulated Stripe.
    pub async fn stripe_customer(&self) -> String {
        let url = format!("{}/v1/customers", self.simulator.base_url());
        let answer = self.client.post(url).basic_auth(STRIPE_KEY, Some("")).form(&[("name", "Ada")]).send();
        let customer: Value = answer.await.unwrap().json().await.unwrap();
        customer["id"].as_str().unwrap().to_owned()
    }

    /// Makes a session and lets its buyer act; gives the session.
    pub async fn buy(&self, fields: &[(&str, &str)], outcome: Outcome) -> String {
        let session = self.checkout(fields).await;
        let id = session["id"].as_str().unwrap_or_else(|| panic!("no session: {session}")).to_owned();
        self.simulator.pay_checkout(&id, outcome).unwrap();
        id
    }

    /// Buys, delivers the completed event and waits for where it has to come to; gives the event.
    pub async fn bought_with(&self, fields: &[(&str, &str)], state: &str, reason: &str) -> String {
        self.buy(fields, Outcome::Paid).await;
        let event = self.deliver_newest(COMPLETED).await;
        self.until(&event, state, reason).await;
        event
    }

    /// Applies another catalogue and wakes what waited for it, as the command does.
    pub async fn apply(&self, text: &str) {
        let catalog = creditd::domain::catalog::file::read(text).unwrap();
        let digest = [u8::try_from(text.len() % 251).unwrap() ^ 0x55; 32];
        let _: creditd::store::catalog::Applied = self.store.apply_catalog(&catalog, digest, false).await.unwrap();
        self.store.wake_parked(&WAITING_FOR_CATALOG).await.unwrap();
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn lines_of_one_price_are_one_grant_and_each_other_price_is_its_own() {
    let app = TestApp::with_catalog(&larger("")).await;
    app.simulator.seed_price(&price("price_bulk", 8_000)).unwrap();
    app.simulator.seed_price(&price("price_shirt", 2_500)).unwrap();
    let lines = [
        ("mode", "payment"),
        ("line_items[0][price]", "price_usd_credit"),
        ("line_items[0][quantity]", "7"),
        ("line_items[1][price]", "price_shirt"),
        ("line_items[1][quantity]", "1"),
        ("line_items[2][price]", "price_bulk"),
        ("line_items[2][quantity]", "3"),
        ("line_items[3][price]", "price_usd_credit"),
        ("line_items[3][quantity]", "5"),
        ("metadata[order]", "o-1"),
        ADA,
    ];
    let event = app.bought_with(&lines, "processed", "").await;
    let [bulk, single] = <[Value; 2]>::try_from(app.bought("ada").await).unwrap();
    assert_eq!((&bulk["quantity"], &bulk["stripe_price"]), (&json!("300"), &json!("price_bulk")));
    assert_eq!((&bulk["category"], &bulk["plan"]), (&json!("prepaid"), &json!("bulk")));
    assert_eq!((&single["quantity"], &single["stripe_price"]), (&json!("12"), &json!("price_usd_credit")));
    assert_eq!((&bulk["basis_minor"], &single["basis_minor"]), (&json!(24_000), &json!(1_200)));
    assert_eq!((&bulk["payment"], &single["metadata"]["order"]), (&single["payment"], &json!("o-1")));
    let month = time(&bulk["starts_at"]).to_zoned(jiff::tz::TimeZone::UTC).checked_add(jiff::Span::new().months(1));
    assert_eq!(time(&bulk["expires_at"]), month.unwrap().timestamp());
    assert_eq!(single["expires_at"], Value::Null);
    // What decided is kept beside the event: the lines and the intent (rule 8).
    let (_, whole) = app.call("GET", &format!("/api/v1/stripe-events/{event}"), None).await;
    let asked: Vec<&str> = whole["inputs"].as_array().unwrap().iter().map(|i| i["request"].as_str().unwrap()).collect();
    assert!(asked.iter().any(|path| path.contains("/line_items?limit=100")), "{asked:?}");
    assert!(asked.iter().any(|path| path.starts_with("/v1/payment_intents/pi_")), "{asked:?}");
    assert_eq!(whole["customer"], "ada");
    app.finish().await;
}

#[tokio::test]
async fn the_guides_metadata_credits_a_wallet_of_that_id_for_ninety_days() {
    let app = TestApp::with_catalog(&format!("default_credits = \"usd_credits\"\n{CATALOG}")).await;
    let fields = [
        PACKS[0],
        PACKS[1],
        PACKS[2],
        ("metadata[flexprice_customer_id]", "cust_acme"),
        ("metadata[credit_amount]", "50000"),
        ("metadata[wallet_id]", "wal_3kd92x"),
        ("metadata[expires_in_days]", "90"),
        ("metadata[source]", "enterprise_contract"),
    ];
    let session = app.buy(&fields, Outcome::Paid).await;
    let event = app.deliver_newest(COMPLETED).await;
    app.until(&event, "processed", "").await;
    // The metadata replaces what the lines would give: one grant.
    let [grant] = <[Value; 1]>::try_from(app.bought("cust_acme").await).unwrap();
    assert_eq!((&grant["quantity"], &grant["category"]), (&json!("50000"), &json!("prepaid")));
    assert_eq!((&grant["wallet"], &grant["item_key"]), (&json!("wal_3kd92x"), &json!("metadata")));
    assert_eq!((&grant["feature"], &grant["basis_minor"]), (&json!("usd_credits"), &json!(2_000)));
    let paid_at = time(&grant["starts_at"]);
    assert_eq!(time(&grant["expires_at"]), paid_at.checked_add(jiff::SignedDuration::from_hours(90 * 24)).unwrap());
    assert_eq!(grant["metadata"]["source"], "enterprise_contract");
    assert_eq!(grant["metadata"]["stripe_session_id"], json!(session), "{grant}");
    assert!(grant["metadata"]["stripe_payment_intent"].as_str().unwrap().starts_with("pi_"), "{grant}");
    // The same payment by another event id grants nothing more.
    let mut again = app.simulator.event(&event).unwrap();
    again["id"] = json!("evt_again");
    app.send(&again).await;
    app.until("evt_again", "processed", "").await;
    assert_eq!(app.available("cust_acme", "usd_credits").await, "50005");
    app.finish().await;
}

#[tokio::test]
async fn a_wallet_of_another_customer_parks_and_grants_nothing() {
    let app = TestApp::with_catalog(&format!("default_credits = \"usd_credits\"\n{CATALOG}")).await;
    let fields = |customer| {
        let credits = [("metadata[credit_amount]", "100"), ("metadata[wallet_id]", "wal_shared")];
        [PACKS[0], PACKS[1], PACKS[2], credits[0], credits[1], ("metadata[customer_id]", customer)]
    };
    app.bought_with(&fields("ada"), "processed", "").await;
    app.bought_with(&fields("bob"), "parked", "wallet_of_other_customer").await;
    let (status, _) = app.call("GET", "/api/v1/customers/bob", None).await;
    assert_eq!(status, 404, "a parked payment made a customer");
    assert_eq!(app.available("ada", "usd_credits").await, "105");
    app.finish().await;
}

#[rstest]
#[case::not_a_number("credit_amount", "NaN")]
#[case::too_large("credit_amount", "1e400")]
#[case::negative("credit_amount", "-5")]
#[case::nothing("credit_amount", "0")]
#[case::ten_places("credit_amount", "12.1234567891")]
#[case::infinite("credit_amount", "inf")]
#[case::grouped("credit_amount", "50,000")]
#[case::beyond("credit_amount", "1000000000000000001")]
#[case::our_key("creditd_credits", "many")]
#[case::days_zero("expires_in_days", "0")]
#[case::days_many("expires_in_days", "36501")]
#[case::days_part("expires_in_days", "1.5")]
#[case::kind("grant_type", "plan")]
#[case::feature("feature_id", "Not A Name")]
#[tokio::test]
async fn metadata_that_cannot_be_read_parks_and_names_its_key(#[case] key: &str, #[case] value: &str) {
    let app = TestApp::with_catalog(&format!("default_credits = \"usd_credits\"\n{CATALOG}")).await;
    let name = format!("metadata[{key}]");
    let mut fields = vec![PACKS[0], PACKS[1], PACKS[2], ADA];
    if !key.contains("credit") {
        fields.push(("metadata[credit_amount]", "100"));
    }
    fields.push((&name, value));
    let event = app.bought_with(&fields, "parked", "bad_metadata").await;
    let detail = app.detail(&event).await;
    assert!(detail.contains(&format!("metadata.{key}")), "{detail}");
    assert_eq!(app.call("GET", "/api/v1/customers/ada", None).await.0, 404, "a parked payment made a customer");
    app.finish().await;
}

#[tokio::test]
async fn a_delayed_payment_grants_once_when_it_arrives() {
    let app = TestApp::start().await;
    let fields = [PACKS[0], PACKS[1], PACKS[2], ADA];
    let session = app.buy(&fields, Outcome::Async).await;
    let completed = app.deliver_newest(COMPLETED).await;
    app.until(&completed, "ignored", "not_paid_yet").await;
    app.simulator.pay_checkout(&session, Outcome::AsyncSucceed).unwrap();
    for _ in 0..2 {
        let arrived = app.deliver_newest("checkout.session.async_payment_succeeded").await;
        app.until(&arrived, "processed", "").await;
    }
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    // The other way round: the unpaid completion comes last.
    let session = app.buy(&fields, Outcome::Async).await;
    app.simulator.pay_checkout(&session, Outcome::AsyncSucceed).unwrap();
    let arrived = app.deliver_newest("checkout.session.async_payment_succeeded").await;
    app.until(&arrived, "processed", "").await;
    let completed = app.deliver_newest(COMPLETED).await;
    app.until(&completed, "ignored", "not_paid_yet").await;
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    app.finish().await;
}

#[tokio::test]
async fn what_was_never_paid_grants_nothing() {
    let app = TestApp::start().await;
    let fields = [PACKS[0], PACKS[1], PACKS[2], ADA];
    let session = app.buy(&fields, Outcome::Async).await;
    app.simulator.pay_checkout(&session, Outcome::AsyncFail).unwrap();
    let failed = app.deliver_newest("checkout.session.async_payment_failed").await;
    app.until(&failed, "ignored", "payment_failed").await;
    app.buy(&fields, Outcome::Expire).await;
    let expired = app.deliver_newest("checkout.session.expired").await;
    app.until(&expired, "ignored", "session_expired").await;
    let setup = [("mode", "setup"), ("currency", "usd"), ADA];
    app.bought_with(&setup, "ignored", "setup_session").await;
    assert_eq!(app.call("GET", "/api/v1/customers/ada", None).await.0, 404);
    app.finish().await;
}

#[tokio::test]
async fn a_free_checkout_grants_packs_and_parks_metadata_until_the_catalogue_allows_it() {
    let app = TestApp::start().await;
    let free = ("discounts[0][coupon]", "percent_100");
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], free, ADA], "processed", "").await;
    let [grant] = <[Value; 1]>::try_from(app.bought("ada").await).unwrap();
    assert_eq!((&grant["quantity"], &grant["basis_minor"]), (&json!("20"), &json!(0)));
    let credits = [("metadata[credit_amount]", "1000"), ("metadata[feature_id]", "usd_credits")];
    let fields = [PACKS[0], PACKS[1], PACKS[2], free, ADA, credits[0], credits[1]];
    let event = app.bought_with(&fields, "parked", "below_minimum_price").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    let allowed = "minimum_price_per_credit = { usd_credits = [{ amount = \"0\", currency = \"usd\" }] }";
    app.apply(&format!("{allowed}\n{CATALOG}")).await;
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "1025");
    app.finish().await;
}

#[rstest]
#[case::enough("percent_50", "processed", "")]
#[case::too_little("percent_51", "parked", "below_minimum_price")]
#[tokio::test]
async fn a_minimum_price_per_credit_is_kept(#[case] coupon: &str, #[case] state: &str, #[case] reason: &str) {
    let minimum = "minimum_price_per_credit = { usd_credits = [{ amount = \"0.50\", currency = \"usd\" }] }";
    let app = TestApp::with_catalog(&format!("{minimum}\n{CATALOG}")).await;
    let coupon = ("discounts[0][coupon]", coupon);
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], coupon, ADA], state, reason).await;
    let credits = [("metadata[credit_amount]", "20"), ("metadata[feature_id]", "usd_credits")];
    let fields = [PACKS[0], PACKS[1], PACKS[2], coupon, ADA, credits[0], credits[1]];
    app.bought_with(&fields, state, reason).await;
    app.finish().await;
}

#[tokio::test]
async fn a_client_reference_routes_and_links_and_never_replaces_a_link() {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    let customer = ("customer", stripe.as_str());
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], customer, ("client_reference_id", "ada")], "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    // Now linked: a later payment that names nobody is ada's.
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], customer], "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    // Another reference takes this payment, and the link stays.
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], customer, ("client_reference_id", "bob")], "processed", "").await;
    assert_eq!(app.available("bob", "usd_credits").await, "25");
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], customer], "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "65");
    // Metadata stands above the reference.
    let fields = [PACKS[0], PACKS[1], PACKS[2], customer, ("client_reference_id", "bob"), ADA];
    app.bought_with(&fields, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "85");
    app.finish().await;
}

#[tokio::test]
async fn a_payment_of_an_unknown_stripe_customer_waits_for_the_link() {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    let fields = [PACKS[0], PACKS[1], PACKS[2], ("customer", stripe.as_str())];
    let event = app.bought_with(&fields, "parked", "unknown_customer").await;
    assert!(app.detail(&event).await.contains(&stripe));
    let body = json!({ "stripe_customer": stripe });
    assert_eq!(app.call("PUT", "/api/v1/customers/ada", Some(body)).await.0, 201);
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    // Nobody at all is named: it waits too, with other words.
    let nobody = app.bought_with(&PACKS, "parked", "unknown_customer").await;
    assert!(app.detail(&nobody).await.contains("neither"));
    app.finish().await;
}

#[tokio::test]
async fn a_parked_payment_goes_on_when_another_event_links_its_customer() {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    let customer = ("customer", stripe.as_str());
    let event = app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], customer], "parked", "unknown_customer").await;
    app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], customer, ADA], "processed", "").await;
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_price_is_ignored_and_an_unknown_feature_waits_for_the_catalogue() {
    let app = TestApp::start().await;
    app.simulator.seed_price(&price("price_shirt", 2_500)).unwrap();
    let shirt = [PACKS[0], ("line_items[0][price]", "price_shirt"), PACKS[2], ADA];
    let event = app.bought_with(&shirt, "ignored", "unknown_price").await;
    assert!(app.detail(&event).await.contains("price_shirt"));
    let credits = [("metadata[credit_amount]", "3"), ("metadata[feature_id]", "images")];
    let fields = [PACKS[0], PACKS[1], PACKS[2], ADA, credits[0], credits[1]];
    let event = app.bought_with(&fields, "parked", "unknown_feature").await;
    app.apply(&format!("{CATALOG}\n[features.images]\ntype = \"metered\"\n")).await;
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "images").await, "3");
    app.finish().await;
}

#[tokio::test]
async fn credits_of_no_named_feature_are_the_only_systems_else_they_wait_for_a_default() {
    let two = format!(
        "{CATALOG}\n[features.images]\ntype = \"metered\"\n[features.pixels]\ntype = \"credit_system\"\n\
         costs = {{ images = \"1\" }}\n"
    );
    let app = TestApp::with_catalog(&two).await;
    let fields = [PACKS[0], PACKS[1], PACKS[2], ADA, ("metadata[credit_amount]", "3")];
    let event = app.bought_with(&fields, "parked", "no_feature").await;
    app.apply(&format!("default_credits = \"pixels\"\n{two}")).await;
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "pixels").await, "3");
    app.apply(CATALOG).await;
    app.bought_with(&fields, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "8");
    app.finish().await;
}

/// A session and its one-off invoice tell of one payment: the invoice's event is written here, as Stripe writes it for
/// `invoice_creation`.
async fn receipt(app: &TestApp, session: &str, id: &str) -> Value {
    let url = format!("{}/v1/checkout/sessions/{session}", app.simulator.base_url());
    let answer = app.client.get(url).basic_auth(STRIPE_KEY, Some("")).send().await.unwrap();
    let session: Value = answer.json().await.unwrap();
    let line = json!({ "id": "il_1", "object": "line_item", "amount": 2_000, "currency": "usd", "quantity": 20,
        "period": { "start": session["created"], "end": session["created"] },
        "parent": { "type": "invoice_item_details", "invoice_item_details": { "proration": false } },
        "pricing": { "price_details": { "price": "price_usd_credit", "product": "price_usd_credit" } } });
    let payment = json!({ "id": "inpay_1", "object": "invoice_payment", "status": "paid", "invoice": "in_1",
        "payment": { "type": "payment_intent", "payment_intent": session["payment_intent"] } });
    let invoice = json!({ "id": "in_1", "object": "invoice", "status": "paid", "billing_reason": "manual",
        "amount_paid": 2_000, "total": 2_000, "currency": "usd", "customer": session["customer"],
        "created": session["created"], "metadata": {}, "parent": null,
        "payments": { "object": "list", "data": [payment], "has_more": false },
        "lines": { "object": "list", "data": [line], "has_more": false } });
    events::event(id, "invoice.paid", &invoice)
}

#[rstest]
#[case::session_first(&["session", "invoice", "invoice", "session"])]
#[case::invoice_first(&["invoice", "session", "invoice"])]
#[tokio::test]
async fn a_session_and_its_one_off_invoice_are_one_payment(#[case] order: &[&str]) {
    let app = TestApp::start().await;
    for (customer, extra, expected) in
        [("ada", ("metadata[note]", "packs"), "25"), ("bob", ("metadata[credit_amount]", "7"), "12")]
    {
        let fields = [PACKS[0], PACKS[1], PACKS[2], ("metadata[customer_id]", customer), extra];
        let session = app.buy(&fields, Outcome::Paid).await;
        let mut invoice = receipt(&app, &session, &format!("evt_invoice_{customer}")).await;
        invoice["data"]["object"]["id"] = json!(format!("in_{customer}"));
        for kind in order {
            let event = if *kind == "session" {
                app.deliver_newest(COMPLETED).await
            } else {
                app.send(&invoice).await;
                invoice["id"].as_str().unwrap().to_owned()
            };
            app.until(&event, "processed", "").await;
        }
        assert_eq!(app.bought(customer).await.len(), 1);
        assert_eq!(app.available(customer, "usd_credits").await, expected);
    }
    app.finish().await;
}

#[tokio::test]
async fn while_stripe_cannot_be_asked_an_event_stays_due_and_is_done_later() {
    let mut app = TestApp::start().await;
    app.buy(&[PACKS[0], PACKS[1], PACKS[2], ADA], Outcome::Paid).await;
    // Its successor's Stripe is a closed port.
    let mut settings = TransportSettings::new(SecretString::from(STRIPE_KEY.to_owned()));
    settings.base_url = "http://127.0.0.1:9".to_owned();
    settings.backoff_base = Duration::from_millis(1);
    let mut deaf = parts(&app.store, &app.simulator);
    deaf.stripe = Some(Arc::new(Transport::new(&settings).unwrap()));
    std::mem::replace(&mut app.daemon, Daemon::start(deaf).await.unwrap()).stop().await;
    let event = app.deliver_newest(COMPLETED).await;
    app.until(&event, "received", "stripe_unavailable").await;
    assert!(app.call("GET", "/api/v1/customers/ada", None).await.0 == 404, "nothing is guessed meanwhile");
    let healed = Daemon::start(parts(&app.store, &app.simulator)).await.unwrap();
    std::mem::replace(&mut app.daemon, healed).stop().await;
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

/// What is kept beside an event is read again by each later try: an answer that cannot be read is not kept.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_asked_for_again_and_the_event_is_done_later() {
    let app = TestApp::start().await;
    app.buy(&[PACKS[0], PACKS[1], PACKS[2], ADA], Outcome::Paid).await;
    let unread = FaultRule::new("GET", "/v1/checkout/sessions/", Fault::Empty);
    app.simulator.set_fault_rules(vec![unread]).unwrap();
    let event = app.deliver_newest(COMPLETED).await;
    app.until(&event, "received", "stripe_unavailable").await;
    assert!(app.call("GET", "/api/v1/customers/ada", None).await.0 == 404, "nothing is guessed meanwhile");
    app.simulator.set_fault_rules(Vec::new()).unwrap();
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[tokio::test]
async fn a_payment_that_two_inputs_give_to_different_customers_parks() {
    let app = TestApp::start().await;
    let event = app.bought_with(&[PACKS[0], PACKS[1], PACKS[2], ADA], "processed", "").await;
    let mut other = app.simulator.event(&event).unwrap();
    other["id"] = json!("evt_other");
    other["data"]["object"]["metadata"]["creditd_customer_id"] = json!("bob");
    app.send(&other).await;
    app.until("evt_other", "parked", "payment_conflict").await;
    assert!(app.bought("bob").await.is_empty());
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[rstest]
#[case::credits("credit_amount", "5\0", "bad_metadata")]
#[case::customer("creditd_customer_id", "ada\0", "bad_metadata")]
#[case::wallet("wallet_id", "w\0", "bad_metadata")]
#[case::note("note", "a\0b", "bad_metadata")]
#[tokio::test]
async fn metadata_that_no_column_can_hold_parks_with_its_reason(
    #[case] key: &str,
    #[case] value: &str,
    #[case] reason: &str,
) {
    let app = TestApp::start().await;
    let credits = ("metadata[credit_amount]", "7");
    app.buy(&[PACKS[0], PACKS[1], PACKS[2], ADA, credits], Outcome::Paid).await;
    let mut event = app.simulator.event(&app.simulator.event_ids(COMPLETED)[0]).unwrap();
    event["data"]["object"]["metadata"][key] = json!(value);
    app.send(&event).await;
    let id = event["id"].as_str().unwrap();
    app.until(id, "parked", reason).await;
    assert!(app.detail(id).await.contains("metadata"));
    app.finish().await;
}
