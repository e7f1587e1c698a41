//! The credit billing guide's auto top-up with its numbers: at 5,000 credits the customer's card is charged for 25,000
//! more, no developer intervention required.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::TestApp;

/// A thousand credits for ten dollars; a call costs one.
const CATALOG: &str = r#"
[features.api_calls]
type = "metered"
[features.credits]
type = "credit_system"
costs = { api_calls = "1" }
[plans.credit_packs]
add_on = true
[[plans.credit_packs.items]]
feature = "credits"
packs = [{ credits = "1000", amount = "10.00", currency = "usd", stripe_price = "price_credits" }]
"#;
const CUSTOMER: &str = "cust_8xk29f";
const PATIENCE: Duration = Duration::from_mins(1);

async fn balance(app: &TestApp, wanted: &str) {
    let started = creditd::clock::instant();
    while app.available(CUSTOMER, "credits").await != wanted {
        assert!(started.elapsed() < PATIENCE, "{} credits, not {wanted}", app.available(CUSTOMER, "credits").await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn why(app: &TestApp) -> Value {
    app.call("GET", &format!("/api/v1/customers/{CUSTOMER}/topup-rules/primary/why"), None).await.1
}

#[tokio::test]
async fn at_5000_credits_the_card_is_charged_for_25000_more() {
    let app = TestApp::with_catalog(CATALOG).await;
    let payer = app.stripe("POST", "/v1/customers", &[("email", "ana@example.com")]).await;
    let payer = payer["id"].as_str().unwrap().to_owned();
    let card = app.stripe("POST", "/v1/payment_methods/pm_card_visa/attach", &[("customer", &payer)]).await;
    let path = format!("/api/v1/customers/{CUSTOMER}");
    app.call("PUT", &path, Some(json!({ "stripe_customer": payer }))).await;
    let wallet = json!({ "key": "wallet", "id": "wal_3kd92x", "customer": CUSTOMER, "feature": "credits", "name": "Primary Credit Wallet" });
    let (status, wallet) = app.call("POST", "/api/v1/wallets", Some(wallet)).await;
    assert_eq!(status, 201, "{wallet}");
    let grant = json!({ "key": "contract_2024_q2", "customer": CUSTOMER, "feature": "credits", "wallet": "wal_3kd92x",
        "quantity": "30000", "category": "prepaid", "reason": "enterprise_contract" });
    assert_eq!(app.call("POST", "/api/v1/grants", Some(grant)).await.0, 201);
    let rule = json!({ "enabled": true, "feature": "credits", "wallet": "wal_3kd92x", "threshold": "5000",
        "quantity": "25000", "payment_method": card["id"],
        "max_per_month": { "money": { "amount": "500.00", "currency": "usd" } },
        "consent": { "by": "ana@example.com", "at": "2026-11-01T00:00:00Z", "text_version": "2026-10" } });
    let (status, rule) = app.call("PUT", &format!("{path}/topup-rules/primary"), Some(rule)).await;
    assert!(status < 300, "{rule}");
    assert_eq!(app.track("much", CUSTOMER, "api_calls", "24999").await.1["available"], "5001");
    let held_back = why(&app).await;
    assert_eq!(held_back["held_back"]["code"], "balance_above", "{held_back}");
    assert!(app.simulator.log().charges().is_empty());
    assert_eq!(app.track("one more", CUSTOMER, "api_calls", "1").await.1["available"], "5000");
    balance(&app, "30000").await;
    let charges = app.simulator.log().charges();
    assert_eq!((charges.len(), charges[0].amount, charges[0].succeeded), (1, 25_000, true), "250 dollars, once");
    let (_, grants) = app.call("GET", &format!("{path}/grants?wallet=wal_3kd92x"), None).await;
    let bought = grants["data"].as_array().unwrap().iter().find(|grant| grant["payment"].is_string()).unwrap();
    assert_eq!((&bought["quantity"], &bought["category"]), (&json!("25000"), &json!("prepaid")));
    // Twice in a month is the most that 500 dollars allow.
    app.track("again", CUSTOMER, "api_calls", "25000").await;
    balance(&app, "30000").await;
    app.track("and again", CUSTOMER, "api_calls", "25000").await;
    let held_back = why(&app).await;
    assert_eq!(held_back["held_back"]["code"], "max_per_month_money", "{held_back}");
    assert_eq!(app.simulator.log().charges().len(), 2);
    app.finish().await;
}
