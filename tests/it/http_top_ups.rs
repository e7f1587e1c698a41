//! Credits ordered by hand over HTTP, and the list of what became of every decision.

use serde_json::{Value, json};

use crate::http_top_up_rules::{app, with};
use crate::support::app::TestApp;
use crate::support::database::raw;

fn order(key: &str) -> Value {
    json!({ "key": key, "customer": "ada", "feature": "credits", "quantity": "25", "currency": "usd" })
}

async fn ordered(app: &TestApp, body: Value) -> (u16, Value) {
    app.call("POST", "/api/v1/topups", Some(body)).await
}

#[tokio::test]
async fn an_order_is_decided_once_per_key_and_shows_how_it_stands() {
    let app = app().await;
    let (status, made) = ordered(&app, order("one")).await;
    assert_eq!(status, 202, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let shown: Vec<&Value> =
        ["customer", "rule", "state", "reason", "quantity", "packs", "grant", "payment", "url", "tries", "refunds"]
            .iter()
            .map(|member| &made[*member])
            .collect();
    let none = json!(null);
    let wanted = [
        &json!("ada"),
        &json!("demand/credits/usd"),
        &json!("open"),
        &none,
        &json!("30"),
        &json!(3),
        &none,
        &none,
        &none,
        &json!([]),
        &json!([]),
    ];
    assert_eq!(shown, wanted, "25 are three packs of ten");
    assert_eq!(made["amount"], json!({ "amount": "3.00", "currency": "usd" }));
    assert_eq!(ordered(&app, order("one")).await, (202, made.clone()), "the same again");
    assert_eq!(app.call("GET", &format!("/api/v1/topups/{id}"), None).await, (200, made.clone()));
    let (status, refused) = ordered(&app, with(order("one"), json!({ "quantity": "26" }))).await;
    assert_eq!((status, refused["code"].as_str(), refused["field"].as_str()), (409, Some("key_conflict"), Some("key")));
    let (status, refused) = ordered(&app, order("two")).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("top_up_in_progress")));
    assert_eq!(refused["top_up"], json!(id));
    let (_, rules) = app.call("GET", "/api/v1/customers/ada/topup-rules", None).await;
    assert_eq!(rules["data"], json!([]), "what counts orders is no rule");
    let counting = "/api/v1/customers/ada/topup-rules/demand%2Fcredits%2Fusd";
    assert_eq!(app.call("GET", counting, None).await.0, 404);
    app.done().await;
}

#[tokio::test]
async fn tries_and_refunds_are_shown_and_the_list_goes_on_from_its_cursor() {
    let app = app().await;
    let (_, usd) = ordered(&app, order("one")).await;
    let (_, eur) = ordered(&app, with(order("two"), json!({ "currency": "eur", "payment_method": "pm_1" }))).await;
    assert_eq!((&eur["amount"]["currency"], &eur["payment_method"]), (&json!("eur"), &json!("pm_1")));
    let pool = raw(&app.url).await;
    let id = eur["id"].as_str().unwrap().strip_prefix("topup_").unwrap().to_owned();
    let tried = format!(
        "INSERT INTO top_up_tries VALUES ((SELECT account_id FROM top_up_ids WHERE topup_id = '{id}'), '{id}', 1, gen_random_uuid(),
            'declined', 'cus_1', 'pm_1', 'pi_1', NULL, 'card_declined', 'insufficient_funds', 'try_again_later', now(), now())"
    );
    sqlx::query(sqlx::AssertSqlSafe(tried)).execute(&pool).await.unwrap();
    let (_, listed) = app.call("GET", "/api/v1/customers/ada/topups?limit=1", None).await;
    let tried = &listed["data"][0]["tries"][0];
    assert_eq!((&tried["state"], &tried["code"]), (&json!("declined"), &json!("card_declined")), "newest first");
    assert_eq!(
        (&tried["decline_code"], &tried["advice_code"]),
        (&json!("insufficient_funds"), &json!("try_again_later"))
    );
    let cursor = listed["next_cursor"].as_str().unwrap();
    let (_, rest) = app.call("GET", &format!("/api/v1/customers/ada/topups?limit=1&cursor={cursor}"), None).await;
    assert_eq!(rest, json!({ "data": [usd], "next_cursor": null }));
    for (query, found) in
        [("feature=credits", 2), ("feature=tokens", 0), ("rule=demand%2Fcredits%2Feur", 1), ("rule=x", 0)]
    {
        let (_, listed) = app.call("GET", &format!("/api/v1/customers/ada/topups?{query}"), None).await;
        assert_eq!(listed["data"].as_array().unwrap().len(), found, "{query}");
    }
    sqlx::query("DELETE FROM top_up_tries").execute(&pool).await.unwrap();
    app.done().await;
}

#[tokio::test]
async fn the_most_of_a_month_holds_orders_back_with_its_numbers() {
    let app = app().await;
    let (status, refused) = ordered(&app, with(order("one"), json!({ "quantity": "5001" }))).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("max_per_month_money")), "{refused}");
    assert_eq!(refused["most"], json!({ "amount": "500.00", "currency": "usd" }));
    assert_eq!(refused["asked"], json!({ "amount": "501.00", "currency": "usd" }));
    assert_eq!((&refused["used"]["amount"], &refused["window"]), (&json!("0.00"), &json!("month")));
    assert!(refused["until"].as_str().unwrap().ends_with("-01T00:00:00Z"));
    assert_eq!(
        ordered(&app, with(order("one"), json!({ "quantity": "5000" }))).await.0,
        202,
        "a refusal frees the key"
    );
    app.done().await;
}

#[tokio::test]
async fn what_is_wrong_with_an_order_is_refused_by_name() {
    let app = app().await;
    app.customer("eve").await;
    let wallet = json!({ "key": "w", "customer": "eve", "feature": "credits", "id": "hers" });
    assert_eq!(app.call("POST", "/api/v1/wallets", Some(wallet)).await.0, 201);
    let bad = |changes: Value, field: &'static str| (changes, 400, "bad_request", field);
    for (changes, status, code, field) in [
        bad(json!({ "key": null }), "key"),
        bad(json!({ "customer": null }), "customer"),
        bad(json!({ "feature": null }), "feature"),
        bad(json!({ "quantity": "0" }), "quantity"),
        bad(json!({ "quantity": 5 }), "quantity"),
        bad(json!({ "currency": "us" }), "currency"),
        bad(json!({ "payment_method": "a b" }), "payment_method"),
        bad(json!({ "amount": "5.00" }), "amount"),
        (json!({ "currency": null }), 400, "currency_missing", "currency"),
        (json!({ "currency": "gbp" }), 400, "price_missing", "currency"),
        (json!({ "feature": "tokens", "currency": null }), 400, "max_per_month_missing", "currency"),
        (json!({ "feature": "storage", "currency": null }), 400, "price_missing", "feature"),
        (json!({ "quantity": "1000000000000" }), 400, "too_much", "quantity"),
        (json!({ "feature": "sso" }), 400, "not_metered", "feature"),
        (json!({ "feature": "nothing" }), 404, "unknown_feature", "feature"),
        (json!({ "customer": "nobody" }), 404, "unknown_customer", "customer"),
        (json!({ "wallet": "hers" }), 404, "unknown_wallet", "wallet"),
    ] {
        let (found, refused) = ordered(&app, with(order("k"), changes.clone())).await;
        let said = (found, refused["code"].as_str(), refused["field"].as_str());
        assert_eq!(said, (status, Some(code), Some(field)), "{changes} {refused}");
    }
    for id in ["topup_00000000000000000000000000000000", "topup_1", "wallet_1", "%ff"] {
        let (status, refused) = app.call("GET", &format!("/api/v1/topups/{id}"), None).await;
        assert_eq!((status, refused["code"].as_str()), (404, Some("unknown_top_up")), "{id}");
    }
    assert_eq!(app.call("GET", "/api/v1/customers/nobody/topups", None).await.0, 404);
    app.done().await;
}
