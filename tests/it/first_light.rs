//! The main job on real input: a signed payment becomes credits that can be checked, tracked and exported.

use serde_json::json;

use crate::support::app::{PACKS_OF_ADA, TestApp};

#[tokio::test]
async fn a_signed_checkout_becomes_credits_that_can_be_checked_and_tracked() {
    let app = TestApp::start().await;
    let customer = app.customer("ada").await;
    assert_eq!(customer["plans"][0]["plan"], "free");
    assert_eq!(app.available("ada", "usd_credits").await, "5");
    let session = app.checkout(&PACKS_OF_ADA).await;
    let id = session["id"].as_str().unwrap();
    app.simulator.pay_checkout(id, creditd::simulator::Outcome::Paid).unwrap();
    let event = app.deliver_newest("checkout.session.completed").await;
    app.settle().await;
    assert_eq!(app.event_state(&event).await, ("processed".to_owned(), String::new()));
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    let question = json!({ "customer": "ada", "feature": "basic_messages", "quantity": "2", "explain": true });
    let (status, answer) = app.call("POST", "/api/v1/check", Some(question)).await;
    assert_eq!((status, &answer["allowed"], &answer["required"]), (200, &json!(true), &json!("0.02")));
    let (status, answer) = app.track("t1", "ada", "basic_messages", "2").await;
    assert_eq!((status, &answer["status"], &answer["available"]), (200, &json!("applied"), &json!("24.98")));
    let (status, answer) = app.track("t1", "ada", "basic_messages", "2").await;
    assert_eq!((status, &answer["status"], &answer["available"]), (200, &json!("repeated"), &json!("24.98")));
    let (status, answer) = app.track("t1", "ada", "basic_messages", "3").await;
    assert_eq!((status, &answer["code"]), (409, &json!("key_conflict")));
    assert_eq!(app.available("ada", "usd_credits").await, "24.98");
    app.finish().await;
}
