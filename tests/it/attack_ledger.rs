//! The ledger under attack: the ends of the range, times that have passed, and changes behind the door's back.

use rstest::rstest;
use serde_json::json;
use sqlx::Executor;

use crate::support::app::TestApp;
use crate::verify::lived_in;

/// Credits that were over before they came are given and expired, so that the ledger says where they went.
#[tokio::test]
async fn a_grant_whose_time_is_over_expires_as_it_comes() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let body = json!({ "key": "late", "customer": "ada", "feature": "usd_credits", "quantity": "7",
        "category": "promotional", "reason": "came late", "starts_at": "2020-01-01T00:00:00Z",
        "expires_at": "2021-01-01T00:00:00Z" });
    let (status, grant) = app.call("POST", "/api/v1/grants", Some(body)).await;
    assert_eq!((status, &grant["quantity"], &grant["remaining"]), (201, &json!("7"), &json!("0")), "{grant}");
    let (_, entries) = app.call("GET", "/api/v1/customers/ada/entries", None).await;
    let newest = &entries["data"][0];
    assert_eq!(
        (&newest["kind"], &newest["amount"], &newest["source"]),
        (&json!("expire"), &json!("-7"), &json!("time"))
    );
    assert_eq!(app.available("ada", "usd_credits").await, "5");
    app.finish().await;
}

/// The largest balance in one pool and something in another: a check is answered, not refused.
#[tokio::test]
async fn a_check_over_two_full_pools_is_answered() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    app.grant("ada", "usd_credits", "1000000000000000000").await;
    app.grant("ada", "basic_messages", "1").await;
    let body = json!({ "customer": "ada", "feature": "basic_messages", "quantity": "2" });
    let (status, answer) = app.call("POST", "/api/v1/check", Some(body)).await;
    assert_eq!((status, &answer["allowed"]), (200, &json!(true)), "{answer}");
    app.finish().await;
}

#[rstest]
#[case::a_spent_grant_made_endless(
    "UPDATE grants SET unlimited = true, original = 0, remaining = 0, is_open = true WHERE item_key IS NOT NULL"
)]
#[case::an_endless_grant_made_of_a_gift(
    "UPDATE grants SET unlimited = true, original = 0, remaining = 0, is_open = true WHERE reason IS NOT NULL"
)]
#[tokio::test]
async fn credits_without_end_are_not_hidden_from_verify(#[case] tamper: &str) {
    let (store, pool) = lived_in().await;
    let done = pool.execute(sqlx::AssertSqlSafe(tamper.to_owned())).await.unwrap();
    assert!(done.rows_affected() > 0);
    let found = store.verify().await.unwrap();
    let balances = found.checks.iter().find(|check| check.check == "grant_balances").unwrap();
    assert!(balances.differences > 0, "{:#?}", found.checks);
}
