//! Plans change, end and go on: a dearer one at once, a cheaper one with its period, ours by us and Stripe's by Stripe.

use serde_json::{Value, json};

use crate::attach::{Shop, pairs};

async fn leave(shop: &Shop, path: &str, plan: &str, when: Option<&str>) -> Value {
    let mut body = json!({ "customer": "ada", "plan": plan });
    if let Some(when) = when {
        body["when"] = json!(when);
    }
    let (status, left) = shop.post(path, body).await;
    assert_eq!(status, 200, "{left}");
    left
}

#[tokio::test]
async fn a_dearer_plan_changes_the_subscription_at_once() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let preview = shop.preview("max", json!({})).await;
    assert_eq!((&preview["action"], &preview["is_estimate"]), (&json!("change"), &json!(true)));
    let cents: i64 = preview["total"]["amount"].as_str().unwrap().replace('.', "").parse().unwrap();
    assert!((1_990..=2_000).contains(&cents), "{preview}");
    assert_eq!(preview["ends"], json!(["pro"]));
    let after = preview["balances"][0].clone();
    assert_eq!((&after["now"], &after["at_renewal"]), (&json!("10"), &json!("40")), "{after}");
    let changed = shop.attach("max", json!({})).await;
    assert_eq!((&changed["action"], &changed["total"]), (&json!("change"), &Value::Null));
    assert_eq!(shop.plans().await, pairs(&[("pro", "active")]), "Stripe has not said so yet");
    // Asked again before its event: Stripe has it already.
    let (status, answer) = shop.try_attach("max", json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("already_attached")), "{answer}");
    shop.told().await;
    assert_eq!(shop.plans().await, pairs(&[("max", "active")]));
    // What was previewed is what came: ten that were there, and the difference for the time that is left.
    let credits = shop.credits().await;
    assert!(
        credits == after["after"].as_str().unwrap() || credits.starts_with("39.99") || credits == "40",
        "{credits}"
    );
    assert_eq!(shop.app.simulator.log().charges().len(), 2);
    shop.close().await;
}

#[tokio::test]
async fn seats_and_another_price_of_the_plan_are_changes_too() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    assert_eq!(shop.attach("pro", json!({ "seats": 3 })).await["action"], "change");
    shop.told().await;
    let (_, ada) = shop.app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(ada["plans"][0]["quantity"], 3);
    // Eight a month, paid by the year, is less than ten for the same time.
    assert_eq!(shop.attach("pro", json!({ "price": "pro_yearly" })).await["action"], "schedule");
    shop.close().await;
}

#[tokio::test]
async fn a_cheaper_plan_waits_for_the_period_and_can_be_called_off() {
    let shop = Shop::open().await;
    shop.buy("max").await;
    for _ in 0..2 {
        let scheduled = shop.attach("pro", json!({})).await;
        assert_eq!(scheduled["action"], "schedule");
        assert!(scheduled["effective_at"].is_string(), "{scheduled}");
        shop.told().await;
        assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("max", "active")]), "40"));
    }
    assert_eq!(shop.app.simulator.log().charges().len(), 1, "nothing is paid for a change that waits");
    let on = leave(&shop, "uncancel", "max", None).await;
    assert_eq!((&on["ends_at"], &on["by_stripe"]), (&Value::Null, &json!(true)));
    let subscription = shop.app.stripe("GET", "/v1/subscriptions", &[]).await;
    assert_eq!(subscription["data"][0]["schedule"], Value::Null);
    // A scheduled change is let go before a dearer one, or an end, is asked for.
    shop.attach("pro", json!({})).await;
    let ends = leave(&shop, "cancel", "max", None).await;
    assert!(ends["ends_at"].is_string());
    shop.told().await;
    let (_, ada) = shop.app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(ada["plans"][0]["cancel_at"], ends["ends_at"]);
    leave(&shop, "uncancel", "max", None).await;
    shop.told().await;
    let (_, ada) = shop.app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(ada["plans"][0]["cancel_at"], Value::Null);
    shop.close().await;
}

#[tokio::test]
async fn a_plan_of_stripes_ends_now_and_the_free_one_is_back() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    for _ in 0..2 {
        let left = leave(&shop, "cancel", "pro", Some("now")).await;
        assert!(left["ends_at"].is_string(), "a repeat finds it ended: {left}");
    }
    shop.told().await;
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("free", "active")]), "5"));
    let (status, answer) = shop.post("cancel", json!({ "customer": "ada", "plan": "pro" })).await;
    assert_eq!((status, &answer["code"]), (404, &json!("not_attached")));
    shop.close().await;
}

#[tokio::test]
async fn a_plan_of_ours_takes_the_place_of_another_at_once() {
    let shop = Shop::open().await;
    let preview = shop.preview("hobby", json!({})).await;
    assert_eq!((&preview["action"], &preview["ends"]), (&json!("attach"), &json!(["free"])));
    let balance = &preview["balances"][0];
    assert_eq!((&balance["now"], &balance["after"], &balance["at_renewal"]), (&json!("5"), &json!("8"), &json!("8")));
    let attached = shop.attach("hobby", json!({})).await;
    assert_eq!((&attached["action"], &attached["attachment"]["state"]), (&json!("attach"), &json!("active")));
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("hobby", "active")]), "8"));
    let (status, answer) = shop.try_attach("hobby", json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("already_attached")));
    // With its balance carried over, what was unspent stays until its own end.
    assert_eq!(shop.attach("free", json!({ "carry_over": { "balances": true } })).await["action"], "attach");
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("free", "active")]), "13"));
    let (status, answer) = shop.try_attach("hobby", json!({ "carry_over": { "usage": true } })).await;
    assert_eq!((status, &answer["code"]), (400, &json!("not_supported")));
    shop.close().await;
}

#[tokio::test]
async fn a_plan_of_ours_ends_with_its_period_goes_on_or_ends_now() {
    let shop = Shop::open().await;
    shop.attach("hobby", json!({})).await;
    let first = leave(&shop, "cancel", "hobby", Some("period_end")).await;
    assert_eq!(first["by_stripe"], false);
    assert_eq!(leave(&shop, "cancel", "hobby", None).await, first, "set once");
    assert_eq!(leave(&shop, "uncancel", "hobby", None).await["ends_at"], Value::Null);
    leave(&shop, "cancel", "hobby", None).await;
    let to = first["ends_at"].clone();
    let (status, clock) = shop.post("test-clock/advance", json!({ "to": to })).await;
    assert_eq!(status, 200, "{clock}");
    // It ended there by itself, and what everyone gets is back.
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("free", "active")]), "5"));
    shop.attach("hobby", json!({})).await;
    leave(&shop, "cancel", "hobby", Some("now")).await;
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("free", "active")]), "5"));
    // A plan everyone gets that was ended by hand does not come back by itself.
    leave(&shop, "cancel", "free", Some("now")).await;
    assert_eq!(shop.plans().await, pairs(&[]));
    shop.close().await;
}

#[tokio::test]
async fn a_plan_of_ours_follows_one_that_is_paid_when_that_ends() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let scheduled = shop.attach("hobby", json!({})).await;
    assert_eq!((&scheduled["action"], &scheduled["attachment"]["state"]), (&json!("schedule"), &json!("scheduled")));
    shop.told().await;
    assert_eq!(shop.plans().await, pairs(&[("hobby", "scheduled"), ("pro", "active")]));
    assert_eq!(shop.credits().await, "10");
    // Staying after all drops what was to follow.
    leave(&shop, "uncancel", "pro", None).await;
    shop.told().await;
    assert_eq!(shop.plans().await, pairs(&[("pro", "active")]));
    shop.attach("hobby", json!({})).await;
    shop.told().await;
    leave(&shop, "cancel", "pro", Some("now")).await;
    shop.told().await;
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("hobby", "active")]), "8"));
    shop.close().await;
}

#[tokio::test]
async fn the_portal_is_for_those_who_paid() {
    let shop = Shop::open().await;
    let body = json!({ "customer": "ada", "return_url": "https://app.example/account" });
    let (status, answer) = shop.post("portal", body.clone()).await;
    assert_eq!((status, &answer["code"]), (404, &json!("no_stripe_customer")));
    shop.buy("pro").await;
    let (status, answer) = shop.post("portal", body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["url"].as_str().unwrap().contains("/portal/"), "{answer}");
    shop.close().await;
}

/// A seat's plan stands beside the customer's: groups exclude for each entity by itself.
#[tokio::test]
async fn a_seat_has_plans_of_its_own() {
    let shop = Shop::open().await;
    let seat = json!({ "entity": "seat-1" });
    assert_eq!(shop.attach("hobby", seat.clone()).await["action"], "attach");
    assert_eq!(shop.plans().await, pairs(&[("free", "active"), ("hobby", "active")]));
    // Bought by the customer, Pro takes the place of what the customer has, and leaves the seat alone.
    shop.buy("pro").await;
    assert_eq!(shop.plans().await, pairs(&[("hobby", "active"), ("pro", "active")]));
    let (status, answer) = shop.try_attach("hobby", seat).await;
    assert_eq!((status, &answer["code"]), (409, &json!("already_attached")));
    // Other seats of a plan are given from its next period on.
    assert_eq!(shop.attach("hobby", json!({ "entity": "seat-1", "seats": 2 })).await["action"], "attach");
    let body = json!({ "customer": "ada", "plan": "hobby", "entity": "seat-1", "when": "now" });
    assert_eq!(shop.post("cancel", body).await.0, 200);
    assert_eq!(shop.plans().await, pairs(&[("pro", "active")]));
    shop.close().await;
}
