//! Whose a Stripe customer's payments are: the link may come from any side and at any time, several Stripe customers may
//! be one customer of the app, a contradiction waits for a person, and a payment that waits holds nothing.

use creditd::simulator::Outcome;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{CATALOG, PACKS, TestApp};
use crate::support::events::event;

const COMPLETED: &str = "checkout.session.completed";

impl TestApp {
    /// A payment for 20 credits by a Stripe customer, which names nobody of the app.
    async fn paid_by(&self, stripe_customer: &str) -> String {
        self.buy(&[PACKS[0], PACKS[1], PACKS[2], ("customer", stripe_customer)], Outcome::Paid).await;
        self.deliver_newest(COMPLETED).await
    }

    /// Tells of a Stripe customer with this metadata.
    async fn told(&self, id: &str, kind: &str, stripe_customer: &str, metadata: &Value, before: Option<Value>) {
        let object = json!({ "id": stripe_customer, "object": "customer", "metadata": metadata });
        let mut event = event(id, kind, &object);
        if let Some(before) = before {
            event["data"]["previous_attributes"] = before;
        }
        self.send(&event).await;
    }

    async fn put(&self, customer: &str, stripe_customer: &str) -> (u16, Value) {
        let body = json!({ "stripe_customer": stripe_customer });
        self.call("PUT", &format!("/api/v1/customers/{customer}"), Some(body)).await
    }

    async fn linked(&self, customer: &str) -> Value {
        self.call("GET", &format!("/api/v1/customers/{customer}"), None).await.1["stripe_customers"].clone()
    }
}

#[derive(Clone, Copy)]
enum Side {
    Created,
    Updated,
    UpdatedOtherwise,
    Session,
    Api,
}

#[rstest]
#[case::created(Side::Created)]
#[case::updated(Side::Updated)]
#[case::updated_otherwise(Side::UpdatedOtherwise)]
#[case::a_session_that_names_both(Side::Session)]
#[case::the_api(Side::Api)]
#[tokio::test]
async fn a_waiting_payment_is_given_when_the_link_comes_from_any_side(#[case] side: Side) {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    let waiting = [app.paid_by(&stripe).await, app.paid_by(&stripe).await];
    for event in &waiting {
        app.until(event, "parked", "unknown_customer").await;
    }
    match side {
        Side::Created => {
            app.told("evt_link", "customer.created", &stripe, &json!({ "customer_id": "ada" }), None).await;
        }
        Side::Updated => {
            let before = json!({ "metadata": { "creditd_customer_id": null } });
            let named = json!({ "creditd_customer_id": " ada " });
            app.told("evt_link", "customer.updated", &stripe, &named, Some(before)).await;
        }
        Side::UpdatedOtherwise => {
            let before = json!({ "balance": 0 });
            app.told("evt_link", "customer.updated", &stripe, &json!({ "customer_id": "ada" }), Some(before)).await;
        }
        Side::Session => {
            let setup =
                [("mode", "subscription"), ("line_items[0][price]", "price_pro"), ("line_items[0][quantity]", "1")];
            let who = [("client_reference_id", "ada"), ("customer", stripe.as_str())];
            app.buy(&[setup[0], setup[1], setup[2], who[0], who[1]], Outcome::Paid).await;
            app.deliver_newest(COMPLETED).await;
        }
        Side::Api => assert_eq!(app.put("ada", &stripe).await.0, 201),
    }
    for event in &waiting {
        app.until(event, "processed", "").await;
    }
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    assert_eq!(app.linked("ada").await, json!([stripe]));
    app.finish().await;
}

#[tokio::test]
async fn several_stripe_customers_may_be_one_customer_and_no_grant_is_lost() {
    let app = TestApp::start().await;
    let (first, second) = (app.stripe_customer().await, app.stripe_customer().await);
    let waiting = [app.paid_by(&first).await, app.paid_by(&second).await];
    assert_eq!(app.put("ada", &first).await.0, 201);
    assert_eq!(app.put("ada", &second).await.0, 200);
    assert_eq!(app.put("ada", &second).await.0, 200, "again");
    for event in &waiting {
        app.until(event, "processed", "").await;
    }
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    let mut both = vec![first.clone(), second.clone()];
    both.sort();
    assert_eq!(app.linked("ada").await, json!(both));
    let (status, problem) = app.put("bob", &second).await;
    assert_eq!((status, &problem["code"]), (409, &json!("stripe_customer_linked")));
    assert_eq!(app.call("GET", "/api/v1/customers/bob", None).await.0, 404);
    app.finish().await;
}

#[tokio::test]
async fn a_customer_linked_to_one_and_named_another_waits_for_a_person_and_moves_nothing() {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    app.put("ada", &stripe).await;
    let before = json!({ "metadata": { "creditd_customer_id": "ada" } });
    app.told("evt_other", "customer.updated", &stripe, &json!({ "creditd_customer_id": "bob" }), Some(before)).await;
    app.until("evt_other", "parked", "link_conflict").await;
    let detail = app.detail("evt_other").await;
    assert!(detail.contains(&stripe) && detail.contains("`bob`"), "{detail}");
    assert_eq!(app.call("GET", "/api/v1/customers/bob", None).await.0, 404, "a contradiction made a customer");
    // Another change of the same customer is no news about its name.
    let named = json!({ "creditd_customer_id": "bob" });
    app.told("evt_balance", "customer.updated", &stripe, &named, Some(json!({ "balance": 0 }))).await;
    app.until("evt_balance", "processed", "").await;
    let paid = app.paid_by(&stripe).await;
    app.until(&paid, "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    assert_eq!(app.linked("ada").await, json!([stripe]));
    app.finish().await;
}

#[tokio::test]
async fn what_tells_of_a_customer_without_a_name_or_of_a_deleted_one_changes_nothing() {
    let app = TestApp::start().await;
    let stripe = app.stripe_customer().await;
    app.put("ada", &stripe).await;
    let paid = app.paid_by(&stripe).await;
    app.until(&paid, "processed", "").await;
    app.told("evt_plain", "customer.updated", &stripe, &json!({}), None).await;
    app.until("evt_plain", "ignored", "no_link").await;
    app.told("evt_deleted", "customer.deleted", &stripe, &json!({ "customer_id": "ada" }), None).await;
    app.until("evt_deleted", "processed", "").await;
    assert_eq!(app.available("ada", "usd_credits").await, "25", "the books stay");
    assert_eq!(app.linked("ada").await, json!([stripe]));
    app.finish().await;
}

/// An id has no white space at its ends, whichever side it comes from: metadata loses it, the API refuses it.
#[rstest]
#[case::before("%20ada")]
#[case::behind("ada%20")]
#[case::wider("ada%E2%80%83")]
#[tokio::test]
async fn a_customer_that_no_metadata_could_name_cannot_be_made(#[case] id: &str) {
    let app = TestApp::start().await;
    for method in ["PUT", "GET"] {
        let body = (method == "PUT").then(|| json!({}));
        let (status, problem) = app.call(method, &format!("/api/v1/customers/{id}"), body).await;
        assert_eq!((status, &problem["field"]), (400, &json!("customer")), "{problem}");
    }
    for who in [("metadata[customer_id]", "  ada "), ("client_reference_id", " ada")] {
        app.buy(&[PACKS[0], PACKS[1], PACKS[2], who], Outcome::Paid).await;
        let paid = app.deliver_newest(COMPLETED).await;
        app.until(&paid, "processed", "").await;
    }
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    app.finish().await;
}

/// A payment that names the wallet of somebody else parks and holds nothing: corrected, it is paid out.
#[rstest]
#[case::the_wallet_is_corrected("ada", "wal_ada")]
#[case::the_customer_is_corrected("bob", "wal_bob")]
#[tokio::test]
async fn a_payment_into_a_strange_wallet_is_given_once_it_is_corrected(#[case] customer: &str, #[case] wallet: &str) {
    let app = TestApp::with_catalog(&format!("default_credits = \"usd_credits\"\n{CATALOG}")).await;
    let credits = ("metadata[credit_amount]", "100");
    let bobs = ("metadata[wallet_id]", "wal_bob");
    app.buy(&[PACKS[0], PACKS[1], PACKS[2], credits, bobs, ("metadata[customer_id]", "bob")], Outcome::Paid).await;
    let paid = app.deliver_newest(COMPLETED).await;
    app.until(&paid, "processed", "").await;
    let stripe = app.stripe_customer().await;
    let payer = ("customer", stripe.as_str());
    app.buy(&[PACKS[0], PACKS[1], PACKS[2], credits, bobs, payer, ("metadata[customer_id]", "ada")], Outcome::Paid)
        .await;
    let wrong = app.deliver_newest(COMPLETED).await;
    app.until(&wrong, "parked", "wallet_of_other_customer").await;
    // Nobody was made and nothing was linked for it.
    assert_eq!(app.call("GET", "/api/v1/customers/ada", None).await.0, 404);
    let mut right = app.simulator.event(&wrong).unwrap();
    right["id"] = json!("evt_right");
    right["data"]["object"]["metadata"]["customer_id"] = json!(customer);
    right["data"]["object"]["metadata"]["wallet_id"] = json!(wallet);
    app.send(&right).await;
    app.until("evt_right", "processed", "").await;
    let expected = if customer == "bob" { "205" } else { "105" };
    assert_eq!(app.available(customer, "usd_credits").await, expected);
    assert_eq!(app.linked(customer).await, json!([stripe]));
    app.finish().await;
}
