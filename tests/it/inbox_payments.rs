//! Payments told by their intent or by the payment of their invoice: captured by hand, named in the intent's own
//! metadata, paid in parts; each is given once, whichever other event tells of it too.

use creditd::inbox::intent::Interpretation;
use creditd::inbox::interpret::{Answers, interpret};
use creditd::simulator::Outcome;
use creditd::stripe::wire::{Event, Wire};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{CATALOG, PACKS_BY_PLAIN_KEY, PRO_OF_ADA, STRIPE_KEY, TestApp};
use crate::support::events::event;
use crate::support::fixtures::context;

const COMPLETED: &str = "checkout.session.completed";
const ARRIVED: &str = "checkout.session.async_payment_succeeded";

fn intent(id: &Value, capture_method: &str, received: i64, metadata: &Value) -> Value {
    json!({ "id": id, "object": "payment_intent", "status": "succeeded", "capture_method": capture_method,
        "amount": 2_000, "amount_received": received, "currency": "usd", "created": 1_790_000_000, "metadata": metadata })
}

impl TestApp {
    async fn of_stripe(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.simulator.base_url());
        self.client.get(url).basic_auth(STRIPE_KEY, Some("")).send().await.unwrap().json().await.unwrap()
    }

    /// A session that completed unpaid: its id and its intent's.
    async fn unpaid(&self) -> (String, Value) {
        let id = self.buy(&PACKS_BY_PLAIN_KEY, Outcome::Async).await;
        let completed = self.deliver_newest(COMPLETED).await;
        self.until(&completed, "ignored", "not_paid_yet").await;
        let session = self.of_stripe(&format!("/v1/checkout/sessions/{id}")).await;
        (id, session["payment_intent"].clone())
    }

    async fn captured(&self, id: &str, intent: &Value, state: &str, reason: &str) {
        self.send(&event(id, "payment_intent.succeeded", intent)).await;
        self.until(id, state, reason).await;
    }
}

#[tokio::test]
async fn a_session_captured_by_hand_is_given_when_its_intent_succeeds_and_once() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let (session, paid_by) = app.unpaid().await;
    let held = event("evt_held", "payment_intent.amount_capturable_updated", &json!({ "id": paid_by }));
    app.send(&held).await;
    app.until("evt_held", "ignored", "not_paid_yet").await;
    assert_eq!(app.available("ada", "usd_credits").await, "5", "authorised is not paid");
    app.captured("evt_part", &intent(&paid_by, "manual", 500, &json!({})), "parked", "amount_mismatch").await;
    assert_eq!(app.available("ada", "usd_credits").await, "5");
    let whole = intent(&paid_by, "manual", 2_000, &json!({}));
    for id in ["evt_captured", "evt_captured_again"] {
        app.captured(id, &whole, "processed", "").await;
    }
    // The same payment by every other event that may tell of it.
    app.simulator.pay_checkout(&session, Outcome::AsyncSucceed).unwrap();
    let arrived = app.deliver_newest(ARRIVED).await;
    app.until(&arrived, "processed", "").await;
    let [grant] = <[Value; 1]>::try_from(app.bought("ada").await).unwrap();
    assert_eq!((&grant["quantity"], &grant["basis_minor"]), (&json!("20"), &json!(2_000)));
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[tokio::test]
async fn the_intent_of_an_ordinary_session_gives_nothing_of_its_own() {
    let app = TestApp::start().await;
    let session = app.buy(&PACKS_BY_PLAIN_KEY, Outcome::Paid).await;
    let paid_by = app.of_stripe(&format!("/v1/checkout/sessions/{session}")).await["payment_intent"].clone();
    let credits = json!({ "creditd_customer_id": "eve", "creditd_credits": "900", "feature_id": "usd_credits" });
    for (id, metadata) in [("evt_plain", json!({})), ("evt_named", credits)] {
        let told = intent(&paid_by, "automatic_async", 2_000, &metadata);
        app.captured(id, &told, "ignored", "told_by_other_event").await;
    }
    let completed = app.deliver_newest(COMPLETED).await;
    app.until(&completed, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    assert_eq!(app.call("GET", "/api/v1/customers/eve", None).await.0, 404);
    app.finish().await;
}

/// An app that takes money without Checkout, and writes beside it what it is for. The simulated Stripe is asked whether a
/// session or an invoice is behind the intent.
#[tokio::test]
async fn an_intent_whose_own_metadata_names_credits_is_a_payment_of_its_own() {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    let url = format!("{}/v1/payment_intents", app.simulator.base_url());
    let form = [
        ("amount", "2000"),
        ("currency", "usd"),
        ("customer", stripe.as_str()),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
        ("off_session", "true"),
        ("metadata[creditd_customer_id]", "ada"),
        ("metadata[creditd_credits]", "70"),
        ("metadata[creditd_feature_id]", "usd_credits"),
    ];
    let made: Value =
        app.client.post(url).basic_auth(STRIPE_KEY, Some("")).form(&form).send().await.unwrap().json().await.unwrap();
    assert_eq!(made["status"], "succeeded", "{made}");
    for _ in 0..2 {
        let told = app.deliver_newest("payment_intent.succeeded").await;
        app.until(&told, "processed", "").await;
    }
    let mut again = app.simulator.event(&app.simulator.event_ids("payment_intent.succeeded")[0]).unwrap();
    again["id"] = json!("evt_again");
    app.send(&again).await;
    app.until("evt_again", "processed", "").await;
    let [grant] = <[Value; 1]>::try_from(app.bought("ada").await).unwrap();
    assert_eq!(
        (&grant["quantity"], &grant["item_key"], &grant["basis_minor"]),
        (&json!("70"), &json!("metadata"), &json!(2_000))
    );
    // A top-up of the charger is settled by the decision that made it, and one that nobody decided by a person.
    again["id"] = json!("evt_top_up");
    again["data"]["object"]["id"] = json!("pi_top_up");
    again["data"]["object"]["metadata"]["creditd_topup_id"] = json!("top_1");
    app.send(&again).await;
    app.until("evt_top_up", "parked", "unknown_top_up").await;
    assert_eq!(app.bought("ada").await.len(), 1);
    app.finish().await;
}

#[rstest]
#[case::alone(&["part"])]
#[case::twice(&["part", "part"])]
#[case::before(&["part", "paid"])]
#[case::behind(&["paid", "part", "succeeded", "part"])]
#[tokio::test]
async fn the_payment_of_an_invoice_is_as_good_as_the_invoice_and_both_are_one(#[case] order: &[&str]) {
    let app = TestApp::start().await;
    app.buy(&PRO_OF_ADA, Outcome::Paid).await;
    let paid = app.simulator.event(&app.simulator.event_ids("invoice.paid")[0]).unwrap();
    let invoice = paid["data"]["object"]["id"].clone();
    let part = json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": invoice, "status": "paid",
        "amount_paid": 1_000, "currency": "usd", "payment": { "type": "payment_intent", "payment_intent": "pi_1" } });
    for (number, which) in order.iter().enumerate() {
        let (kind, object, state, reason) = match *which {
            "part" => ("invoice_payment.paid", part.clone(), "processed", ""),
            "paid" => ("invoice.paid", paid["data"]["object"].clone(), "processed", ""),
            _ => ("invoice.payment_succeeded", paid["data"]["object"].clone(), "ignored", "told_by_other_event"),
        };
        let id = format!("evt_{number}");
        app.send(&event(&id, kind, &object)).await;
        app.until(&id, state, reason).await;
    }
    assert_eq!(app.available("ada", "usd_credits").await, "10");
    let of_pro = app.grants_of("ada").await.into_iter().filter(|grant| grant["plan"] == "pro").count();
    assert_eq!(of_pro, 1);
    app.finish().await;
}

#[tokio::test]
async fn the_payment_of_an_invoice_that_cannot_be_asked_for_waits() {
    let app = TestApp::start().await;
    let strange = json!({ "id": "inpay_2", "object": "invoice_payment", "invoice": "in_of_another_account" });
    app.send(&event("evt_strange", "invoice_payment.paid", &strange)).await;
    app.until("evt_strange", "parked", "invoice_unavailable").await;
    app.send(&event("evt_bare", "invoice_payment.paid", &json!({ "id": "inpay_3" }))).await;
    app.until("evt_bare", "parked", "missing_fact").await;
    app.finish().await;
}

/// Without an API key nothing can be asked: what could be somebody's money waits, what another event tells is left to it,
/// and what says all by itself is given.
#[test]
fn without_an_api_key_each_of_them_still_has_an_end() {
    let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
    let answers = Answers::new(false);
    let outcome = |kind: &str, object: &Value| {
        let context = context(&catalog, &answers);
        match interpret(&Event::from_value(&event("evt_1", kind, object)).unwrap(), context) {
            Interpretation::Act(intents) => format!("acts {}", intents.len()),
            Interpretation::Ignore(why) => format!("ignored {}", why.code),
            Interpretation::Park(why) => format!("parked {}", why.code),
            Interpretation::Ask(questions) => panic!("it asks {questions:?}"),
        }
    };
    let credits = json!({ "creditd_customer_id": "ada", "creditd_credits": "7", "feature_id": "usd_credits" });
    let id = json!("pi_1");
    for (capture, metadata, expected) in [
        ("manual", &json!({}), "parked session_unavailable"),
        ("automatic", &json!({}), "ignored told_by_other_event"),
        ("automatic", &credits, "acts 1"),
        ("manual", &credits, "acts 1"),
    ] {
        assert_eq!(outcome("payment_intent.succeeded", &intent(&id, capture, 2_000, metadata)), expected, "{capture}");
    }
    let part = json!({ "id": "inpay_1", "object": "invoice_payment", "invoice": "in_1" });
    assert_eq!(outcome("invoice_payment.paid", &part), "ignored told_by_other_event");
    // A fact that is missing is named, and no credits are guessed.
    let mut unpaid = intent(&id, "automatic", 2_000, &credits);
    unpaid["status"] = json!("processing");
    assert_eq!(outcome("payment_intent.succeeded", &unpaid), "ignored not_paid_yet");
    for missing in ["amount_received", "currency", "status", "id"] {
        let mut holed = intent(&id, "automatic", 2_000, &credits);
        holed.as_object_mut().unwrap().remove(missing);
        assert_eq!(outcome("payment_intent.succeeded", &holed), "parked missing_fact", "{missing}");
    }
}
