//! Charges by a payment intent: succeeded, declined, asked for, unknown.

use std::sync::Arc;
use std::time::Duration;

use creditd::domain::command::{Charging, SetRule};
use creditd::domain::top_up::{Ceiling, TopUpState};
use creditd::simulator::{CardOrder, Fault, FaultRule};
use creditd::stripe::fake::RecordingFake;

use super::ground::Ground;
use super::{Shop, rule};

#[tokio::test]
async fn a_balance_at_the_threshold_is_topped_up_once() {
    let shop = Shop::open().await;
    shop.set(rule(Some("pm_card_visa"))).await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000], "5 credits are at the threshold: enabling fires at once");
    assert_eq!(shop.credits().await, "25");
    shop.spend("one", "1900").await;
    shop.settled().await;
    assert_eq!((shop.credits().await.as_str(), shop.charged().len()), ("6", 1), "6 are above the threshold");
    shop.spend("two", "100").await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000, 2_000]);
    assert_eq!(shop.credits().await, "25");
    shop.close().await;
}

#[tokio::test]
async fn the_usual_card_is_charged_where_none_is_named() {
    let shop = Shop::open().await;
    shop.set(rule(None)).await;
    shop.settled().await;
    assert_eq!((shop.paused().await, shop.tried()), (Some("no_payment_method"), vec![]));
    shop.usual_card("pm_card_visa").await;
    shop.post(Charging::CardSeen(None)).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.paused().await), (vec![2_000], None));
    shop.close().await;
}

#[tokio::test]
async fn a_soft_decline_is_tried_once_a_day_and_four_times_in_all() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_chargeDeclinedInsufficientFunds").await;
    shop.set(rule(None)).await;
    for tries in 1..=3 {
        let open =
            shop.wait(|open| open.len() == 1 && open[0].tries == tries && open[0].state == TopUpState::Open).await;
        assert_eq!(open[0].reason.as_deref(), Some("insufficient_funds"));
        shop.spend(&format!("try-{tries}"), "1").await;
        assert_eq!((shop.tried().len(), shop.paused().await), (usize::try_from(tries).unwrap(), None));
        shop.later(86_399 - 60).await;
        shop.app.daemon.top_up().unwrap().round().await.unwrap();
        assert_eq!(shop.tried().len(), usize::try_from(tries).unwrap(), "not before a day has passed");
        shop.later(120).await;
    }
    let open = shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    assert_eq!((open[0].tries, open[0].state), (4, TopUpState::NeedsAction));
    assert_eq!((shop.tried().len(), shop.paused().await), (4, Some("card_declined")));
    assert_eq!(shop.charged(), Vec::<i64>::new());
    assert_eq!(shop.told().await, ["top_up_rule.paused", "top_up.action_required"]);
    shop.close().await;
}

#[tokio::test]
async fn a_retry_that_is_not_needed_any_more_is_dropped() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_chargeDeclinedInsufficientFunds").await;
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].tries == 1 && open[0].state == TopUpState::Open).await;
    shop.app.grant("ana", "usd_credits", "100").await;
    shop.later(86_500).await;
    shop.settled().await;
    assert_eq!(shop.history().await, [("dropped".to_owned(), Some("not_needed".to_owned()))]);
    assert_eq!(shop.tried().len(), 1);
    let reading = shop.reading().await;
    let rule = &reading.state.rules[0];
    assert_eq!((rule.month.count, rule.month.minor), (0, 0), "what took nothing counts for nothing");
    shop.close().await;
}

#[tokio::test]
async fn a_hard_decline_is_never_tried_again() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_chargeDeclinedLostCard").await;
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    for hour in 0..30 {
        shop.later(3_600).await;
        shop.spend(&format!("hour-{hour}"), "1").await;
    }
    assert_eq!((shop.tried(), shop.paused().await), (vec![(2_000, false)], Some("card_declined")));
    // A new card ends the page and begins anew.
    shop.usual_card("pm_card_visa").await;
    shop.post(Charging::CardSeen(None)).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.paused().await), (vec![2_000], None));
    let states: Vec<String> = shop.history().await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["dropped", "succeeded"]);
    shop.close().await;
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_under_its_key() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let lost = FaultRule { times: Some(5), ..FaultRule::new("POST", "/v1/payment_intents", Fault::DropReply) };
    shop.app.simulator.set_fault_rules(vec![lost]).unwrap();
    shop.set(rule(None)).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    let keys: std::collections::BTreeSet<_> = shop
        .app
        .simulator
        .log()
        .requests()
        .into_iter()
        .filter(|request| request.path == "/v1/payment_intents" && request.method == "POST")
        .map(|request| (request.idempotency_key, request.body))
        .collect();
    assert_eq!(keys.len(), 1, "the same key and the same bytes");
    shop.close().await;
}

/// A 500 that is stored under the key stays unknown; after 23 hours the charge is looked for and found.
#[tokio::test]
async fn what_never_was_answered_is_found_in_stripes_list() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let stored = FaultRule::new("POST", "/v1/payment_intents", Fault::ServerError);
    shop.app.simulator.set_fault_rules(vec![stored]).unwrap();
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].state == TopUpState::Charging).await;
    shop.later(23 * 3_600 + 60).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    shop.close().await;
}

/// A request that never arrived is not there after 24 hours: the decision failed, and the next one charges.
#[tokio::test]
async fn what_never_happened_fails_and_is_decided_anew() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let never = FaultRule::new("POST", "/v1/payment_intents", Fault::Reset);
    shop.app.simulator.set_fault_rules(vec![never]).unwrap();
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].state == TopUpState::Charging).await;
    shop.later(23 * 3_600 + 60).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(shop.open_top_ups().await.len(), 1, "not certain before 24 hours have passed");
    shop.app.simulator.set_fault_rules(vec![]).unwrap();
    shop.later(3_600).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    let reasons: Vec<_> = shop.history().await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [Some("not_done".to_owned()), None]);
    shop.close().await;
}

#[tokio::test]
async fn a_bank_that_takes_its_time_is_waited_for() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    shop.app.simulator.set_card(&shop.payer, &CardOrder::processing(7_200)).unwrap();
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].state == TopUpState::Processing).await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![], "5"), "nothing is given before it is paid");
    shop.later(7_300).await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.credits().await.as_str()), (vec![2_000], "25"));
    shop.close().await;
}

#[tokio::test]
async fn a_month_takes_no_more_than_its_ceiling_and_unknown_outcomes_count() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    let per_month = Ceiling { count: None, minor: Some(4_500) };
    shop.set(SetRule { per_month, ..rule(None) }).await;
    for round in 0..5 {
        shop.settled().await;
        shop.spend(&format!("round-{round}"), "2500").await;
    }
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000, 2_000], "a third would be 60 dollars");
    shop.later(31 * 86_400).await;
    shop.wait(|_| shop.charged().len() == 3).await;
    shop.settled().await;
    shop.close().await;
}

#[tokio::test]
async fn a_rule_that_is_switched_off_stops() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_chargeDeclinedInsufficientFunds").await;
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].tries == 1 && open[0].state == TopUpState::Open).await;
    shop.set(SetRule { enabled: false, ..rule(None) }).await;
    assert!(shop.open_top_ups().await.is_empty());
    shop.later(86_500).await;
    shop.spend("one", "1").await;
    assert_eq!(shop.tried().len(), 1);
    assert_eq!(shop.history().await, [("dropped".to_owned(), Some("disabled".to_owned()))]);
    shop.close().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_opens_the_circuit_and_nothing_is_lost() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_visa").await;
    shop.app.simulator.revoke_api_key(true);
    shop.set(rule(None)).await;
    let started = creditd::clock::instant();
    while shop.app.store.circuit("stripe").await.unwrap().open_seconds.is_none_or(|left| left <= 30) {
        assert!(started.elapsed() < super::PATIENCE, "the circuit stays closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What was begun before it opened is through.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = shop.app.simulator.log().requests().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(shop.app.simulator.log().requests().len(), asked, "nothing is sent while it is open");
    shop.app.simulator.revoke_api_key(false);
    shop.app.store.close_circuit("stripe").await.unwrap();
    shop.later(700).await;
    shop.settled().await;
    assert_eq!(shop.charged(), [2_000]);
    shop.close().await;
}

/// What is told late of the card that was declined is no news of another one.
#[tokio::test]
async fn a_card_that_was_there_before_the_pause_resumes_nothing() {
    let shop = Shop::open().await;
    shop.usual_card("pm_card_chargeDeclinedLostCard").await;
    let attached = shop.app.simulator.event_ids("payment_method.attached").pop().unwrap();
    shop.later(60).await;
    shop.set(rule(None)).await;
    shop.wait(|open| open.len() == 1 && open[0].link.is_some()).await;
    let (body, signature) = shop.app.simulator.signed_delivery(&attached).unwrap();
    assert_eq!(shop.app.deliver(&body, Some(&signature)).await.0, 200);
    shop.app.settle().await;
    assert_eq!((shop.paused().await, shop.tried().len()), (Some("card_declined"), 1));
    shop.later(60).await;
    shop.usual_card("pm_card_visa").await;
    shop.app.deliver_newest("payment_method.attached").await;
    shop.settled().await;
    assert_eq!((shop.charged(), shop.paused().await), (vec![2_000], None));
    shop.close().await;
}

/// A restricted key that may not do one thing: what needs it waits, and all else goes on.
#[tokio::test]
async fn a_permission_that_lacks_holds_back_what_needs_it_alone() {
    let ground = Ground::open(Duration::from_secs(5)).await;
    let payer = ground.payer(Some("pm_card_visa")).await;
    let stripe = Arc::new(RecordingFake::new());
    let body = r#"{"error":{"type":"invalid_request_error","code":"more_permissions_required","message":"no"}}"#;
    stripe.answer_write("/v1/payment_intents", 403, body);
    ground.set(payer.account, rule(Some(&payer.card))).await;
    let forbidden = ground.worker_asking(stripe.clone());
    while forbidden.round().await.unwrap() > 0 {}
    assert_eq!(stripe.writes().len(), 1);
    let circuit = ground.store.circuit("stripe").await.unwrap();
    assert_eq!((circuit.failures, circuit.open_until), (0, None), "others are charged");
    let due = ground.next_due().await.unwrap();
    assert!((3_500..=3_600).contains(&due), "in {due} s");
    ground.work_for(&ground.worker(None), 2 * 3_600).await;
    assert_eq!(ground.money_is_right().await, (1, 0));
    ground.close().await;
}
