//! Refunds, disputes and credit notes of the simulated Stripe through webhooks into the ledger.

use creditd::domain::command::{Command, Decision};
use creditd::domain::reversal::{BackView, MoneyBack, Says};
use creditd::posting::Posting;
use creditd::simulator::{DisputeOrder, DisputeStep, Outcome, RefundMode, RefundOutcome};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::json;
use sqlx::Executor;

use crate::support::app::{PACKS_BY_PLAIN_KEY, TestApp};
use crate::verify::lived_in;

const POOL: &str = "usd_credits";

/// Ada has bought a top-up of 20 for 20.00 and nothing else can be spent; the charge that paid it.
async fn topped_up(app: &TestApp) -> String {
    app.customer("ada").await;
    // Free gives 5 credits: they are used, so that only the top-up is left.
    assert_eq!(app.track("free", "ada", "premium_messages", "50").await.0, 200);
    assert_eq!(app.available("ada", POOL).await, "0");
    let charge = bought(app).await;
    app.deliver_newest("checkout.session.completed").await;
    app.settle().await;
    assert_eq!(app.available("ada", POOL).await, "20");
    charge
}

/// A paid session of 20 credits whose events are not delivered yet; its charge.
async fn bought(app: &TestApp) -> String {
    let session = app.checkout(&PACKS_BY_PLAIN_KEY).await;
    let paid = app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
    let path = format!("/v1/payment_intents/{}", paid["payment_intent"].as_str().unwrap());
    app.stripe("GET", &path, &[]).await["latest_charge"].as_str().unwrap().to_owned()
}

async fn refund(app: &TestApp, charge: &str, amount: &str) -> String {
    let made = app.stripe("POST", "/v1/refunds", &[("charge", charge), ("amount", amount)]).await;
    made["id"].as_str().unwrap().to_owned()
}

async fn told(app: &TestApp, kind: &str) {
    app.deliver_newest(kind).await;
    app.settle().await;
}

/// What can be spent, and the sum of what is owed.
async fn stands(app: &TestApp) -> (String, String) {
    let (_, entries) = app.call("GET", "/api/v1/customers/ada/entries?limit=500", None).await;
    let debts = entries["data"].as_array().unwrap().iter().filter(|entry| entry["debt"].is_string());
    let owed: i128 = debts
        .map(|entry| entry["amount"].as_str().unwrap().parse::<creditd::domain::credits::Credits>().unwrap().nanos())
        .sum();
    let owed = creditd::domain::credits::Credits::from_nanos(owed).unwrap();
    (app.available("ada", POOL).await, owed.to_string())
}

#[tokio::test]
async fn refunds_take_their_share_and_failed_ones_give_it_back() {
    let app = TestApp::start().await;
    let charge = topped_up(&app).await;
    refund(&app, &charge, "500").await;
    told(&app, "charge.refunded").await;
    assert_eq!(app.available("ada", POOL).await, "15");
    // All the events of one refund, each twice: nothing more.
    for _ in 0..2 {
        for kind in ["refund.created", "charge.refunded", "refund.updated", "charge.refund.updated"] {
            told(&app, kind).await;
        }
    }
    assert_eq!(app.available("ada", POOL).await, "15");
    app.simulator.set_refund_mode(RefundMode::Pending).unwrap();
    let pending = refund(&app, &charge, "1000").await;
    told(&app, "refund.created").await;
    assert_eq!(app.available("ada", POOL).await, "15", "money that has not arrived takes nothing");
    app.simulator.settle_refund(&pending, RefundOutcome::Succeed).unwrap();
    told(&app, "refund.updated").await;
    assert_eq!(app.available("ada", POOL).await, "5");
    // A bank may still send it back later.
    app.simulator.settle_refund(&pending, RefundOutcome::Fail).unwrap();
    told(&app, "refund.failed").await;
    assert_eq!(app.available("ada", POOL).await, "15");
    app.finish().await;
}

#[tokio::test]
async fn a_favour_takes_nothing() {
    let app = TestApp::start().await;
    let charge = topped_up(&app).await;
    let form = [("charge", charge.as_str()), ("amount", "700"), ("metadata[creditd_keep_credits]", "true")];
    app.stripe("POST", "/v1/refunds", &form).await;
    told(&app, "charge.refunded").await;
    assert_eq!(app.available("ada", POOL).await, "20");
    refund(&app, &charge, "300").await;
    told(&app, "charge.refunded").await;
    assert_eq!(app.available("ada", POOL).await, "17");
    app.finish().await;
}

#[tokio::test]
async fn what_is_spent_is_owed_until_the_next_top_up() {
    let app = TestApp::start().await;
    let charge = topped_up(&app).await;
    assert_eq!(app.track("spent", "ada", "premium_messages", "180").await.0, 200);
    refund(&app, &charge, "2000").await;
    told(&app, "charge.refunded").await;
    assert_eq!(stands(&app).await, ("0".to_owned(), "18".to_owned()));
    let (_, check) =
        app.call("POST", "/api/v1/check", Some(json!({ "customer": "ada", "feature": "premium_messages" }))).await;
    assert_eq!(check["allowed"], false, "{check}");
    bought(&app).await;
    told(&app, "checkout.session.completed").await;
    assert_eq!(stands(&app).await, ("2".to_owned(), "0".to_owned()));
    app.finish().await;
}

#[tokio::test]
async fn a_dispute_freezes_then_takes_or_frees() {
    let app = TestApp::start().await;
    let charge = topped_up(&app).await;
    assert_eq!(app.track("spent", "ada", "premium_messages", "50").await.0, 200);
    let order = || serde_json::from_value::<DisputeOrder>(json!({})).unwrap();
    let opened = app.simulator.open_dispute(&charge, &order()).unwrap();
    told(&app, "charge.dispute.created").await;
    assert_eq!(stands(&app).await, ("0".to_owned(), "0".to_owned()));
    let (_, check) =
        app.call("POST", "/api/v1/check", Some(json!({ "customer": "ada", "feature": "premium_messages" }))).await;
    assert_eq!((&check["allowed"], &check["reason"]), (&json!(false), &json!("frozen")), "{check}");
    app.simulator.move_dispute(opened["id"].as_str().unwrap(), DisputeStep::Lost).unwrap();
    told(&app, "charge.dispute.closed").await;
    assert_eq!(stands(&app).await, ("0".to_owned(), "5".to_owned()));
    app.finish().await;
}

#[tokio::test]
async fn a_dispute_that_is_won_leaves_no_trace() {
    let app = TestApp::start().await;
    let charge = topped_up(&app).await;
    let order = serde_json::from_value::<DisputeOrder>(json!({})).unwrap();
    let opened = app.simulator.open_dispute(&charge, &order).unwrap();
    told(&app, "charge.dispute.created").await;
    assert_eq!(stands(&app).await.0, "0");
    app.simulator.move_dispute(opened["id"].as_str().unwrap(), DisputeStep::Won).unwrap();
    // The older event comes last, and Stripe is asked how things are.
    told(&app, "charge.dispute.closed").await;
    told(&app, "charge.dispute.created").await;
    assert_eq!(stands(&app).await, ("20".to_owned(), "0".to_owned()));
    app.finish().await;
}

#[tokio::test]
async fn money_that_goes_back_before_it_is_known_to_have_come_waits_for_it() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let charge = bought(&app).await;
    refund(&app, &charge, "500").await;
    let event = app.deliver_newest("charge.refunded").await;
    app.until(&event, "ignored", "unknown_payment").await;
    told(&app, "checkout.session.completed").await;
    app.until(&event, "processed", "").await;
    assert_eq!(app.available("ada", POOL).await, "20", "5 of Free, 15 of 20");
    app.finish().await;
}

#[tokio::test]
async fn what_is_nobodys_is_ignored() {
    let app = TestApp::start().await;
    topped_up(&app).await;
    let session = app
        .checkout(&[
            ("mode", "payment"),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][product_data][name]", "A mug"),
            ("line_items[0][price_data][unit_amount]", "900"),
            ("line_items[0][quantity]", "1"),
        ])
        .await;
    let paid = app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
    let intent = paid["payment_intent"].as_str().unwrap();
    app.stripe("POST", "/v1/refunds", &[("payment_intent", intent)]).await;
    told(&app, "checkout.session.completed").await;
    let event = app.deliver_newest("charge.refunded").await;
    app.until(&event, "ignored", "unknown_payment").await;
    assert_eq!(app.available("ada", POOL).await, "20");
    app.finish().await;
}

/// One change each behind the door, and what verify says.
#[rstest]
#[case::taken("UPDATE reversed_grants SET taken = taken + 1", "taken ")]
#[case::owed("UPDATE reversed_grants SET owed = owed + 1", "owed ")]
#[case::gone("DELETE FROM reversed_grants", "taken 0")]
#[tokio::test]
async fn verify_sees_what_reversals_say(#[case] tamper: &str, #[case] words: &str) {
    let (store, pool) = lived_in().await;
    let posting = Posting::start(&store);
    let found = store.find_payments(&["pi_ada".to_owned()]).await.unwrap();
    let says = Says::Refunded { charge: "ch_1".to_owned(), charged: 1_000, back: 1_000 };
    let view = BackView { object: "ch_1".to_owned(), seen_at: Timestamp::UNIX_EPOCH, write_off: false, says };
    let command = Command::MoneyBack(MoneyBack { payment: found[0].payment, views: vec![view] });
    let decision = posting.post(found[0].account, None, command.clone()).await.unwrap();
    assert!(matches!(decision, Decision::Applied(_)), "{decision:?}");
    assert!(matches!(posting.post(found[0].account, None, command).await, Ok(Decision::AlreadyApplied(_))));
    assert!(!store.verify().await.unwrap().differs());
    pool.execute(sqlx::AssertSqlSafe(tamper.to_owned())).await.unwrap();
    let checks = store.verify().await.unwrap().checks;
    let named: Vec<&str> = checks.iter().filter(|check| check.differences > 0).map(|check| check.check).collect();
    assert_eq!(named, ["reversals"]);
    let said = checks.iter().flat_map(|check| &check.first).any(|difference| difference.found.contains(words));
    assert!(said, "{checks:#?}");
    posting.shut_down().await;
}
