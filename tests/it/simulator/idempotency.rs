//! What an idempotency key replays, refuses and forgets.

use std::time::Duration;

use creditd::simulator::Options;
use reqwest::Method;
use serde_json::json;

use super::{Account, clock};

#[tokio::test]
async fn an_idempotency_key_replays_what_was_executed() {
    let clock = clock();
    let account = Account::start(Options::new(clock.clone())).await;
    let keyed = |form: &'static str, key: &'static str| {
        let account = &account;
        async move { account.send(Method::POST, "/v1/payment_intents", form, &[("idempotency-key", key)]).await }
    };
    let pay = "amount=500&currency=eur&confirm=true&payment_method=pm_card_visa";
    let first = keyed(pay, "a").await;
    let again = keyed("currency=eur&amount=500&payment_method=pm_card_visa&confirm=true", "a").await;
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(account.simulator.log().charges().len(), 1, "one charge for one key");
    let other = keyed("amount=501&currency=eur", "a").await;
    assert_eq!((other.status, &other.body["error"]["type"]), (400, &json!("idempotency_error")));
    let declined = "amount=500&currency=eur&confirm=true&off_session=true&payment_method=pm_card_chargeDeclined";
    let (first, again) = (keyed(declined, "b").await, keyed(declined, "b").await);
    assert_eq!((first.status, &first.body), (402, &again.body));
    assert_eq!(first.body["error"]["decline_code"], "generic_decline");
    assert_eq!(again.headers["idempotent-replayed"], "true");
    account.simulator.set_faults(Duration::ZERO, 1);
    let (failed, again) = (keyed(pay, "c").await, keyed(pay, "c").await);
    assert_eq!((failed.status, again.status, &failed.body), (500, 500, &again.body));
    assert_eq!(account.simulator.log().charges().len(), 3, "the 500 had charged");
    assert_eq!(keyed("amount=0&currency=eur", "d").await.status, 400);
    assert_eq!(keyed(pay, "d").await.status, 200, "a failed validation leaves the key free");
    let unauthorized = [("idempotency-key", "e"), ("authorization", "Bearer wrong")];
    assert_eq!(account.send(Method::POST, "/v1/payment_intents", pay, &unauthorized).await.status, 401);
    assert!(!keyed(pay, "e").await.headers.contains_key("idempotent-replayed"));
    assert!(clock.set("2026-02-01T00:00:00Z".parse().unwrap()));
    assert!(!keyed(pay, "a").await.headers.contains_key("idempotent-replayed"), "a key is forgotten after a day");
}

#[tokio::test]
async fn a_key_in_use_is_a_conflict_and_is_not_kept() {
    let account = Account::new().await;
    account.simulator.set_faults(Duration::from_millis(300), 0);
    let keyed = || account.send(Method::POST, "/v1/customers", "name=A", &[("idempotency-key", "k")]);
    let (first, second) = tokio::join!(keyed(), keyed());
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(keyed().await.headers["idempotent-replayed"], "true");
    assert_eq!(account.simulator.event_ids("customer.created").len(), 1);
}
