//! What an order is refused for, by code and field, with nothing asked of Stripe that costs money and nothing written.

use serde_json::{Value, json};

use crate::attach::{Shop, order};
use crate::http_api::Api;

fn long(count: usize) -> String {
    "9".repeat(count)
}

/// Wrong members, with the code and field of the refusal.
fn wrong() -> Vec<(&'static str, Value, u16, &'static str, &'static str)> {
    let packs = |text: &str| json!({ "quantities": { "credits": text } });
    vec![
        ("nothing", json!({}), 404, "unknown_plan", "plan"),
        ("no plan!", json!({}), 400, "bad_request", "plan"),
        ("pro", json!({ "customer": "nobody" }), 404, "unknown_customer", "customer"),
        ("pro", json!({ "price": "price_max" }), 400, "unknown_price", "price"),
        ("pro", json!({ "price": 7 }), 400, "bad_request", "price"),
        ("euro", json!({}), 400, "bad_request", "price"),
        ("unsold", json!({}), 400, "price_not_in_stripe", "plan"),
        ("pro", json!({ "seats": 0 }), 400, "bad_request", "seats"),
        ("pro", json!({ "seats": -1 }), 400, "bad_request", "seats"),
        ("pro", json!({ "seats": 1_000_000 }), 400, "bad_request", "seats"),
        ("pro", json!({ "seats": 999_999 }), 400, "too_much", "quantities"),
        ("pro", json!({ "seats": "NaN" }), 400, "bad_request", "seats"),
        ("pro", json!({ "entity": "seat-1" }), 400, "not_supported", "entity"),
        ("pro", json!({ "carry_over": { "balances": true } }), 400, "not_supported", "carry_over"),
        ("pro", json!({ "carry_over": { "all": true } }), 400, "bad_request", "carry_over.all"),
        ("pro", json!({ "carry_over": true }), 400, "bad_request", "carry_over"),
        ("pro", json!({ "success_url": null }), 400, "bad_request", "success_url"),
        ("pro", json!({ "success_url": "javascript:alert(1)" }), 400, "bad_request", "success_url"),
        ("pro", json!({ "cancel_url": "data:text/html,x" }), 400, "bad_request", "cancel_url"),
        ("pro", json!({ "success_url": format!("https://e.x/{}", long(3_000)) }), 400, "bad_request", "success_url"),
        ("pro", json!({ "bonus": 1 }), 400, "bad_request", "bonus"),
        ("pro", packs("10"), 400, "not_supported", "quantities"),
        ("top_up", json!({}), 400, "bad_request", "quantities"),
        ("top_up", json!({ "quantities": {} }), 400, "bad_request", "quantities"),
        ("top_up", json!({ "quantities": ["credits"] }), 400, "bad_request", "quantities"),
        ("top_up", json!({ "quantities": { "messages": "5" } }), 400, "bad_request", "quantities"),
        ("top_up", json!({ "quantities": { "credits": 5 } }), 400, "bad_request", "quantities"),
        ("top_up", packs("4"), 400, "below_minimum", "quantities"),
        ("top_up", packs("0"), 400, "bad_request", "quantities"),
        ("top_up", packs("-5"), 400, "bad_request", "quantities"),
        ("top_up", packs("NaN"), 400, "bad_request", "quantities"),
        ("top_up", packs("Infinity"), 400, "bad_request", "quantities"),
        ("top_up", packs("1e3"), 400, "bad_request", "quantities"),
        ("top_up", packs("0x10"), 400, "bad_request", "quantities"),
        ("top_up", packs(&format!("5.{}", "1".repeat(40))), 400, "bad_request", "quantities"),
        ("top_up", packs(&long(18)), 400, "too_much", "quantities"),
        ("top_up", packs(&long(40)), 400, "bad_request", "quantities"),
        ("top_up", packs("2000000"), 400, "too_much", "quantities"),
        ("top_up", json!({ "quantities": { "credits": "7" }, "seats": 2 }), 400, "not_supported", "seats"),
        ("top_up", json!({ "quantities": { "credits": "7" }, "entity": "e" }), 400, "not_supported", "entity"),
        ("top_up", json!({ "quantities": { "credits": "7" }, "price": "price_pro" }), 400, "unknown_price", "price"),
        ("hobby", json!({ "price": "price_pro" }), 400, "not_supported", "price"),
        ("free", json!({}), 409, "already_attached", "plan"),
    ]
}

#[tokio::test]
async fn wrong_orders_are_refused_by_code_and_field_and_change_nothing() {
    let shop = Shop::open().await;
    for (plan, more, status, code, field) in wrong() {
        for path in ["attach/preview", "attach"] {
            if field == "success_url" && more["success_url"].is_null() && path == "attach/preview" {
                continue;
            }
            let (found, answer) = shop.post(path, order(plan, &more)).await;
            let told = (found, answer["code"].as_str(), answer["field"].as_str());
            assert_eq!(told, (status, Some(code), Some(field)), "{path} {plan} {more}: {answer}");
        }
    }
    assert_eq!((shop.writes("/v1/checkout/sessions"), shop.writes("/v1/customers")), (0, 0));
    assert_eq!(shop.credits().await, "5");
    shop.close().await;
}

/// Stripe holds a customer to the currency of their first payment.
#[tokio::test]
async fn a_customer_is_sold_to_in_their_own_currency() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let payer = shop.payer().await;
    let currency = shop.app.stripe("GET", &format!("/v1/customers/{payer}"), &[]).await["currency"].clone();
    if currency == "usd" {
        assert_eq!(shop.attach("euro", json!({})).await["total"]["currency"], "usd");
        let (status, answer) = shop.try_attach("euro", json!({ "price": "price_eur" })).await;
        assert_eq!((status, &answer["code"]), (400, &json!("currency_mismatch")), "{answer}");
    } else {
        assert_eq!(shop.attach("euro", json!({ "price": "price_eur_usd" })).await["total"]["amount"], "8.00");
    }
    shop.close().await;
}

#[tokio::test]
async fn leaving_and_the_portal_refuse_what_makes_no_sense() {
    let shop = Shop::open().await;
    for (path, body, status, code, field) in [
        ("cancel", json!({ "customer": "ada", "plan": "pro" }), 404, "not_attached", "plan"),
        ("cancel", json!({ "customer": "ada", "plan": "free", "when": "later" }), 400, "bad_request", "when"),
        ("cancel", json!({ "customer": "nobody", "plan": "free" }), 404, "unknown_customer", "customer"),
        ("cancel", json!({ "customer": "ada", "plan": "free", "entity": "e" }), 404, "not_attached", "plan"),
        ("uncancel", json!({ "customer": "ada", "plan": "pro" }), 404, "not_attached", "plan"),
        ("uncancel", json!({ "customer": "ada", "plan": "free", "when": "now" }), 400, "bad_request", "when"),
        ("portal", json!({ "customer": "ada", "return_url": "javascript:x" }), 400, "bad_request", "return_url"),
        ("portal", json!({ "customer": "nobody" }), 404, "unknown_customer", "customer"),
    ] {
        let (found, answer) = shop.post(path, body.clone()).await;
        let told = (found, answer["code"].as_str(), answer["field"].as_str());
        assert_eq!(told, (status, Some(code), Some(field)), "{path} {body}: {answer}");
    }
    shop.close().await;
}

/// Without an API key what costs nothing is attached, and what costs money says what is missing.
#[tokio::test]
async fn without_a_key_of_stripes_money_is_refused() {
    let api = Api::start().await;
    let put = api.put("/customers/ada", &json!({})).await;
    assert!(put.status.is_success());
    let catalog = creditd::domain::catalog::file::read(crate::attach::CATALOG).unwrap();
    let _: creditd::store::catalog::Applied = api.store.apply_catalog(&catalog, [8; 32], false).await.unwrap();
    let url = "https://app.example/paid";
    for (path, body) in [
        ("/portal", json!({ "customer": "ada" })),
        ("/setup", json!({ "customer": "ada", "success_url": url, "currency": "usd" })),
        ("/attach", json!({ "customer": "ada", "plan": "pro", "success_url": url })),
        (
            "/attach",
            json!({ "customer": "ada", "plan": "top_up", "quantities": { "credits": "7" }, "success_url": url }),
        ),
    ] {
        let answer = api.post(path, &body).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (400, Some("stripe_not_configured")));
    }
    let preview = api.post("/attach/preview", &json!({ "customer": "ada", "plan": "pro" })).await;
    assert_eq!((preview.status.as_u16(), &preview.body["total"]["amount"]), (200, &json!("10.00")));
    let hobby = api.post("/attach", &json!({ "customer": "ada", "plan": "hobby" })).await;
    assert_eq!((hobby.status.as_u16(), &hobby.body["action"]), (200, &json!("attach")));
}
