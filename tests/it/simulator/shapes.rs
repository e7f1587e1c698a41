//! Every object in every train's shape, for requests and for endpoints, chosen apart.

use creditd::simulator::{DisputeOrder, DisputeStep, Options, Outcome};
use reqwest::Method;
use rstest::rstest;
use serde_json::Value;

use super::{Account, clock, id};

const TRAINS: [&str; 6] = [
    "2024-09-30.acacia",
    "2025-03-31.basil",
    "2025-08-27.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
    "2026-09-30.endive",
];

/// An object kind, a field of it, and the first and last place in [`TRAINS`] that has it.
const FIELDS: &[(&str, &str, usize, usize)] = &[
    ("invoice", "subscription", 0, 0),
    ("invoice", "subscription_details", 0, 0),
    ("invoice", "quote", 0, 0),
    ("invoice", "payment_intent", 0, 0),
    ("invoice", "charge", 0, 0),
    ("invoice", "paid", 0, 0),
    ("invoice", "paid_out_of_band", 0, 0),
    ("invoice", "tax", 0, 0),
    ("invoice", "total_tax_amounts", 0, 0),
    ("invoice", "discount", 0, 0),
    ("invoice", "parent", 1, 5),
    ("invoice", "amount_overpaid", 1, 5),
    ("invoice", "total_taxes", 1, 5),
    ("invoice", "customer_account", 4, 5),
    ("invoice", "amount_paid_off_stripe", 5, 5),
    ("invoice", "status", 0, 5),
    ("line_item", "price", 0, 0),
    ("line_item", "plan", 0, 0),
    ("line_item", "type", 0, 0),
    ("line_item", "subscription_item", 0, 0),
    ("line_item", "proration", 0, 0),
    ("line_item", "tax_amounts", 0, 0),
    ("line_item", "pricing", 1, 5),
    ("line_item", "parent", 1, 5),
    ("line_item", "taxes", 1, 5),
    ("line_item", "subtotal", 4, 5),
    ("line_item", "quantity_decimal", 4, 5),
    ("line_item", "subscription", 0, 5),
    ("line_item", "period", 0, 5),
    ("subscription", "current_period_start", 0, 0),
    ("subscription", "current_period_end", 0, 0),
    ("subscription", "discount", 0, 0),
    ("subscription", "plan", 0, 0),
    ("subscription", "billing_mode", 2, 5),
    ("subscription", "billing_schedules", 4, 5),
    ("subscription", "customer_account", 4, 5),
    ("subscription", "discounts", 0, 5),
    ("subscription_item", "current_period_start", 1, 5),
    ("subscription_item", "current_period_end", 1, 5),
    ("subscription_item", "price", 0, 5),
    ("payment_intent", "invoice", 0, 0),
    ("payment_intent", "customer_account", 4, 5),
    ("payment_intent", "allowed_payment_method_types", 5, 5),
    ("payment_intent", "latest_charge", 0, 5),
    ("charge", "invoice", 0, 0),
    ("charge", "payment_intent", 0, 5),
    ("customer", "customer_account", 4, 5),
    ("checkout.session", "shipping_details", 0, 0),
    ("checkout.session", "collected_information", 1, 5),
    ("checkout.session", "customer_account", 4, 5),
    ("checkout.session", "allowed_payment_method_types", 5, 5),
    ("checkout.session", "subscription", 0, 5),
    ("refund", "charge", 0, 5),
    ("refund", "customer", 5, 5),
    ("dispute", "charge", 0, 5),
    ("credit_note", "refund", 0, 0),
    ("credit_note", "tax_amounts", 0, 0),
    ("credit_note", "refunds", 1, 5),
    ("credit_note", "total_taxes", 1, 5),
    ("credit_note", "post_payment_amount", 3, 5),
    ("credit_note", "customer_account", 4, 5),
    ("credit_note_line_item", "tax_amounts", 0, 0),
    ("credit_note_line_item", "taxes", 1, 5),
    ("balance_transaction", "balance_type", 3, 5),
    ("balance_transaction", "net", 0, 5),
];

/// Every object within a value, by its kind.
fn objects(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|inner| objects(inner, found)),
        Value::Object(map) => {
            if map.get("object").is_some_and(|kind| kind != "list") {
                found.push(value.clone());
            }
            map.values().for_each(|inner| objects(inner, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check(value: &Value, train: usize, seen: &mut Vec<String>) {
    let mut found = Vec::new();
    objects(value, &mut found);
    for object in found {
        let kind = object["object"].as_str().unwrap();
        for (of, field, first, last) in FIELDS {
            if *of == kind {
                let wanted = (*first..=*last).contains(&train);
                assert_eq!(object.get(*field).is_some(), wanted, "{kind}.{field} in {}: {object}", TRAINS[train]);
                seen.push(kind.to_owned());
            }
        }
        if kind == "subscription" {
            let thresholds = object.get("billing_thresholds").is_some();
            assert_eq!(thresholds, train != 1, "billing thresholds went with basil and came back in August 2025");
        }
        if kind == "checkout.session" {
            assert_eq!(object["ui_mode"], if train >= 4 { "hosted_page" } else { "hosted" });
        }
    }
}

/// Endpoint and request version in every combination that is not equal to itself, and in those too.
#[rstest]
#[tokio::test]
async fn everything_is_in_the_shape_of_its_version(#[values(0, 1, 2, 3, 4, 5)] endpoint: usize) {
    let mut options = Options::new(clock());
    options.endpoint_version = TRAINS[endpoint].to_owned();
    let account = Account::start(options).await;
    let price = account.price("&recurring[interval]=month").await;
    let session = account.session(&price, "subscription", "&subscription_data[metadata][w]=1").await;
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    account.advance("2026-03-05T00:00:00Z").await;
    let intent = account.get("/v1/payment_intents", "limit=1").await["data"][0].clone();
    let charge = intent["latest_charge"].as_str().unwrap();
    let paid_invoice = account.get("/v1/invoices", "limit=1").await["data"][0]["id"].as_str().unwrap().to_owned();
    account.post("/v1/credit_notes", &format!("invoice={paid_invoice}&amount=100&refund_amount=100")).await;
    let dispute = account.simulator.open_dispute(charge, &DisputeOrder::default()).unwrap();
    account.simulator.move_dispute(&id(&dispute), DisputeStep::FundsWithdrawn).unwrap();
    let mut seen = Vec::new();
    for event in account.all_events() {
        assert_eq!(event["api_version"], TRAINS[endpoint]);
        check(&event["data"]["object"], endpoint, &mut seen);
        if let Some(items) = event["data"]["previous_attributes"].get("items") {
            check(items, endpoint, &mut seen);
            let moved = event["data"]["previous_attributes"].get("current_period_end").is_some();
            assert_eq!(moved, endpoint == 0, "where the period is the subscription's own");
        }
    }
    assert_eq!(account.events("invoice_payment.paid").is_empty(), endpoint == 0, "the event came with basil");
    for kind in [
        "invoice",
        "line_item",
        "subscription",
        "subscription_item",
        "payment_intent",
        "charge",
        "customer",
        "refund",
        "dispute",
        "credit_note",
        "credit_note_line_item",
        "balance_transaction",
    ] {
        assert!(seen.iter().any(|seen| seen == kind), "no event told of a {kind}");
    }
    let customer = paid["customer"].as_str().unwrap();
    let subscription = paid["subscription"].as_str().unwrap();
    let invoice = id(&account.get("/v1/invoices", "limit=1").await["data"][0]);
    let intent = id(&account.get("/v1/payment_intents", "limit=1").await["data"][0]);
    for (request, version) in TRAINS.iter().enumerate() {
        for path in [
            format!("/v1/customers/{customer}"),
            format!("/v1/subscriptions/{subscription}?expand[]=latest_invoice"),
            format!("/v1/invoices/{invoice}"),
            format!("/v1/invoices/{invoice}/lines"),
            format!("/v1/payment_intents/{intent}?expand[]=latest_charge"),
            format!("/v1/disputes/{}", id(&dispute)),
            format!("/v1/credit_notes?invoice={paid_invoice}"),
            format!("/v1/refunds?charge={charge}"),
            "/v1/balance_transactions".to_owned(),
            format!("/v1/checkout/sessions/{session}?expand[]=subscription&expand[]=invoice"),
        ] {
            let answer = account.get_in(version, &path, "").await;
            assert_eq!(answer.status, 200, "{path} in {version}: {}", answer.body);
            check(&answer.body, request, &mut seen);
        }
    }
}

#[tokio::test]
async fn a_request_names_methods_as_its_version_does() {
    let account = Account::new().await;
    for (place, version) in TRAINS.iter().enumerate() {
        let headers = [("stripe-version", *version)];
        let (known, unknown) = if place < 5 {
            ("payment_method_types", "allowed_payment_method_types")
        } else {
            ("allowed_payment_method_types", "payment_method_types")
        };
        let send = |name: &'static str, value: &'static str| {
            let form = format!("amount=5&currency=eur&{name}[0]={value}");
            let (account, headers) = (&account, &headers);
            async move { account.send(Method::POST, "/v1/payment_intents", &form, headers).await }
        };
        assert_eq!(send(known, "card").await.status, 200, "{version}");
        assert_eq!(send(known, "sepa_debit").await.body["error"]["param"], known, "refused, not ignored");
        let refused = send(unknown, "card").await;
        assert_eq!((refused.status, &refused.body["error"]["code"]), (400, &Value::from("parameter_unknown")));
    }
    for version in ["2025-03-30.basil", "2025-09-30.basil", "2026-09-30.dahlia", "2026-10-28.fern", "endive"] {
        assert_eq!(account.get_in(version, "/v1/customers", "").await.status, 400, "{version}");
    }
}
