//! What heals lost events, under attack: races of waiting, and reversals whose last event was lost.

use std::time::Duration;

use creditd::domain::command::{Command, Decision};
use creditd::domain::reversal::{BackView, MoneyBack, Says};
use creditd::posting::Posting;
use creditd::simulator::{DisputeOrder, DisputeStep, Outcome, RefundMode, RefundOutcome};
use creditd::store::Store;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, PgPool, Row};

use crate::support::app::{PACKS_OF_ADA, TestApp};
use crate::support::database::fresh_both;
use crate::support::events::{event, moment};

const POOL: &str = "usd_credits";
const WAITING: &str = "state = 'ignored', reason = 'unknown_payment', due_at = NULL, done_at = clock_timestamp()";
const PATIENCE: usize = 500;

/// A database with a claimed charge, and two events that tell of it: `evt_done` waits, `evt_busy` is worked on.
async fn two_events(busy: &str) -> (Store, PgPool) {
    let (store, pool) = fresh_both().await;
    store.ensure_instance(false, None).await.unwrap();
    for event in ["evt_done", "evt_busy"] {
        let insert = format!(
            "INSERT INTO stripe_events (event_id, event_type, livemode, created_at, received_at, origin, body, state, due_at)
             VALUES ('{event}', 'charge.refunded', false, clock_timestamp(), clock_timestamp(), 'webhook', '', 'received',
                clock_timestamp())"
        );
        pool.execute(AssertSqlSafe(insert)).await.unwrap();
        store.wait_for_payment(event, &["ch_1".to_owned()]).await.unwrap();
    }
    let as_it_is = format!("UPDATE stripe_events SET {busy} WHERE event_id = 'evt_busy'");
    pool.execute(AssertSqlSafe(as_it_is)).await.unwrap();
    let waits = format!("UPDATE stripe_events SET {WAITING} WHERE event_id = 'evt_done'");
    pool.execute(AssertSqlSafe(waits)).await.unwrap();
    pool.execute("INSERT INTO payment_aliases VALUES ('ch_1', gen_random_uuid(), gen_random_uuid())").await.unwrap();
    (store, pool)
}

async fn close_busy(pool: &PgPool) {
    let waits = format!("UPDATE stripe_events SET {WAITING} WHERE event_id = 'evt_busy'");
    pool.execute(AssertSqlSafe(waits)).await.unwrap();
}

/// Until somebody waits for a row that is held.
async fn until_one_waits(pool: &PgPool) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..PATIENCE {
        if pool.fetch_one(waiting).await.unwrap().get::<i64, _>(0) > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for a row");
}

#[tokio::test]
async fn an_event_that_is_closed_to_wait_while_others_are_woken_is_woken_the_next_time() {
    let (store, pool) = two_events("detail = NULL").await;
    let mut held = pool.acquire().await.unwrap();
    held.execute("BEGIN").await.unwrap();
    held.execute("SELECT FROM stripe_events WHERE event_id = 'evt_done' FOR UPDATE").await.unwrap();
    let waking = {
        let store = store.clone();
        tokio::spawn(async move { store.wake_waiting().await })
    };
    until_one_waits(&pool).await;
    close_busy(&pool).await;
    held.execute("COMMIT").await.unwrap();
    assert_eq!(waking.await.unwrap().unwrap(), 1);
    assert_eq!(store.wake_waiting().await.unwrap(), 1, "the one that was closed meanwhile");
    assert_eq!(store.wake_waiting().await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_that_was_parked_before_may_come_to_wait_too() {
    let (store, pool) = two_events("state = 'parked', reason = 'bad_money'").await;
    assert_eq!(store.wake_waiting().await.unwrap(), 1);
    // The worker that had it looked for its payment before that was claimed.
    close_busy(&pool).await;
    assert_eq!(store.wake_waiting_for(&["ch_2".to_owned()]).await.unwrap(), 0);
    assert_eq!(store.wake_waiting_for(&["ch_1".to_owned()]).await.unwrap(), 1);
    assert_eq!(store.wake_waiting().await.unwrap(), 0);
}

/// Ada has bought 20 credits, and has the 5 of Free; the charge that paid them.
async fn bought(app: &TestApp) -> String {
    let session = app.buy(&PACKS_OF_ADA, Outcome::Paid).await;
    told(app, "checkout.session.completed").await;
    assert_eq!(app.available("ada", POOL).await, "25");
    let session = app.stripe("GET", &format!("/v1/checkout/sessions/{session}"), &[]).await;
    let intent = format!("/v1/payment_intents/{}", session["payment_intent"].as_str().unwrap());
    app.stripe("GET", &intent, &[]).await["latest_charge"].as_str().unwrap().to_owned()
}

async fn told(app: &TestApp, kind: &str) {
    app.deliver_newest(kind).await;
    app.settle().await;
}

#[tokio::test]
async fn a_pending_refund_that_succeeded_unheard_is_found() {
    let app = TestApp::start().await;
    let charge = bought(&app).await;
    app.simulator.set_refund_mode(RefundMode::Pending).unwrap();
    let refund = app.stripe("POST", "/v1/refunds", &[("charge", &charge), ("amount", "1000")]).await;
    told(&app, "refund.created").await;
    assert_eq!(app.available("ada", POOL).await, "25");
    assert_eq!(app.compared(true).await("refunds").missing, 0);
    app.simulator.settle_refund(refund["id"].as_str().unwrap(), RefundOutcome::Succeed).unwrap();
    assert_eq!(app.compared(false).await("refunds").missing, 1);
    let _ = app.compared(true).await;
    app.settle().await;
    assert_eq!(app.available("ada", POOL).await, "15");
    let after = app.compared(true).await("refunds");
    assert_eq!((after.missing, after.known), (0, 1));
    app.finish().await;
}

#[tokio::test]
async fn a_dispute_that_was_lost_unheard_is_found_though_it_was_heard_of_while_it_was_open() {
    let app = TestApp::start().await;
    let charge = bought(&app).await;
    let order = serde_json::from_value::<DisputeOrder>(json!({})).unwrap();
    let opened = app.simulator.open_dispute(&charge, &order).unwrap();
    let id = opened["id"].as_str().unwrap();
    told(&app, "charge.dispute.created").await;
    app.simulator.move_dispute(id, DisputeStep::UnderReview).unwrap();
    told(&app, "charge.dispute.updated").await;
    assert_eq!(app.available("ada", POOL).await, "5", "frozen");
    assert_eq!(app.compared(false).await("disputes").known, 1);
    app.simulator.move_dispute(id, DisputeStep::Won).unwrap();
    assert_eq!(app.compared(false).await("disputes").missing, 1);
    let _ = app.compared(true).await;
    app.settle().await;
    assert_eq!(app.available("ada", POOL).await, "25");
    assert_eq!(app.compared(true).await("disputes").known, 1);
    app.finish().await;
}

/// The policy froze credits on a warning, and was switched off before the warning was settled.
#[tokio::test]
async fn a_settled_fraud_warning_frees_what_it_froze_under_an_older_policy() {
    let app = TestApp::start().await;
    let charge = bought(&app).await;
    let payment = app.store.find_payments(std::slice::from_ref(&charge)).await.unwrap().remove(0);
    let says = Says::Warned { charge: charge.clone(), open: true };
    let view = BackView { object: "issfr_1".to_owned(), seen_at: moment(60), write_off: false, says };
    let command = Command::MoneyBack(MoneyBack { payment: payment.payment, views: vec![view] });
    let posting = Posting::start(&app.store);
    let _: Decision = posting.post(payment.account, None, command).await.unwrap();
    assert_eq!(app.available("ada", POOL).await, "5");
    let warning = |actionable: bool| json!({ "id": "issfr_1", "object": "radar.early_fraud_warning", "charge": charge, "actionable": actionable });
    app.send(&event("evt_open", "radar.early_fraud_warning.created", &warning(true))).await;
    app.until("evt_open", "ignored", "fraud_warnings_ignored").await;
    app.send(&event("evt_settled", "radar.early_fraud_warning.updated", &warning(false))).await;
    app.until("evt_settled", "processed", "").await;
    assert_eq!(app.available("ada", POOL).await, "25");
    posting.shut_down().await;
    app.finish().await;
}

/// With the key of another account Stripe knows none of our charges: what is ignored then nobody tells of again.
#[tokio::test]
async fn a_refund_of_a_charge_that_stripe_does_not_know_waits_for_a_person() {
    let app = TestApp::start().await;
    let refund = json!({ "id": "re_1", "object": "refund", "charge": "ch_elsewhere", "amount": 500, "currency": "usd",
        "status": "succeeded" });
    app.send(&event("evt_refund", "refund.updated", &refund)).await;
    app.until("evt_refund", "parked", "charge_unavailable").await;
    app.daemon.stop().await;
}
