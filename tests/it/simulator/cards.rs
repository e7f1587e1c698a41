//! Cards that behave: what each test method does with a charge while its owner is away, and what an order says above it.

use std::time::Duration;

use creditd::simulator::{CardBehaviour, CardOrder};
use jiff::SignedDuration;
use reqwest::Method;
use rstest::rstest;
use serde_json::{Value, json};

use super::{Account, Answer, id};

/// A customer and one saved card of theirs.
pub(super) async fn saved(account: &Account, card: &str) -> (String, String) {
    let customer = id(&account.post("/v1/customers", "email=a@example.com").await);
    let path = format!("/v1/payment_methods/{card}/attach");
    let method = account.post(&path, &format!("customer={customer}")).await;
    assert_eq!(method["customer"], json!(customer));
    assert_ne!(method["id"], json!(card), "it is one of the customer's own");
    (customer, id(&method))
}

fn form(customer: &str, method: &str) -> String {
    format!(
        "amount=900&currency=eur&customer={customer}&payment_method={method}&confirm=true&off_session=true\
         &metadata[creditd_topup_id]=top_1"
    )
}

/// Charges while the owner is away.
pub(super) async fn charge(account: &Account, (customer, method): &(String, String)) -> Answer {
    account.send(Method::POST, "/v1/payment_intents", &form(customer, method), &[]).await
}

async fn intent(account: &Account, of: &Value) -> Value {
    account.get(&format!("/v1/payment_intents/{}", id(of)), "").await
}

async fn wait(account: &Account, seconds: i64) {
    let to = account.simulator.now() + SignedDuration::from_secs(seconds);
    account.simulator.advance_to(to).await.unwrap();
}

#[rstest]
#[case("pm_card_visa", "visa", "4242")]
#[case("pm_card_mastercard", "mastercard", "4444")]
#[case("pm_card_amex", "amex", "8431")]
#[tokio::test]
async fn a_good_card_pays_and_shows_its_face(#[case] card: &str, #[case] brand: &str, #[case] last4: &str) {
    let account = Account::new().await;
    let saved = saved(&account, card).await;
    let paid = charge(&account, &saved).await;
    assert_eq!((paid.status, &paid.body["status"]), (200, &json!("succeeded")));
    assert_eq!(paid.body["payment_method"], json!(saved.1));
    let charge = account.get(&format!("/v1/charges/{}", paid.body["latest_charge"].as_str().unwrap()), "").await;
    let shown = &charge["payment_method_details"]["card"];
    assert_eq!((&shown["brand"], &shown["last4"]), (&json!(brand), &json!(last4)));
    let entry = account.simulator.log().charges().pop().unwrap();
    assert_eq!((entry.succeeded, entry.metadata["creditd_topup_id"].as_str()), (true, "top_1"));
    assert_eq!((entry.invoice, entry.customer), (None, Some(saved.0)));
}

#[rstest]
#[case("pm_card_chargeDeclined", "card_declined", Some("generic_decline"))]
#[case("pm_card_chargeCustomerFail", "card_declined", Some("generic_decline"))]
#[case("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", Some("insufficient_funds"))]
#[case("pm_card_visa_chargeDeclinedLostCard", "card_declined", Some("lost_card"))]
#[case("pm_card_chargeDeclinedStolenCard", "card_declined", Some("stolen_card"))]
#[case("pm_card_radarBlock", "card_declined", Some("fraudulent"))]
#[case("pm_card_chargeDeclinedExpiredCard", "expired_card", None)]
#[case("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None)]
#[case("pm_card_chargeDeclinedProcessingError", "processing_error", None)]
#[case("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_declined", Some("card_velocity_exceeded"))]
#[case("pm_card_chargeDeclined_do_not_honor", "card_declined", Some("do_not_honor"))]
#[case("pm_card_chargeDeclined_incorrect_number", "incorrect_number", Some("incorrect_number"))]
#[case(
    "pm_card_chargeDeclined_revocation_of_all_authorizations",
    "card_declined",
    Some("revocation_of_all_authorizations")
)]
#[case("pm_card_authenticationRequired", "authentication_required", Some("authentication_required"))]
#[case("pm_card_authenticationRequiredOnSetup", "authentication_required", Some("authentication_required"))]
#[tokio::test]
async fn a_bad_card_declines_and_its_intent_waits_for_another(
    #[case] card: &str,
    #[case] code: &str,
    #[case] reason: Option<&str>,
) {
    let account = Account::new().await;
    let saved = saved(&account, card).await;
    let declined = charge(&account, &saved).await;
    let error = &declined.body["error"];
    assert_eq!((declined.status, &error["type"]), (402, &json!("card_error")));
    assert_eq!((error["code"].as_str(), error["decline_code"].as_str()), (Some(code), reason));
    assert_eq!((&error["advice_code"], &error["network_decline_code"]), (&Value::Null, &Value::Null));
    let found = intent(&account, &error["payment_intent"]).await;
    assert_eq!(found, error["payment_intent"], "the answer tells the intent as it is");
    assert_eq!((&found["status"], &found["payment_method"]), (&json!("requires_payment_method"), &Value::Null));
    let last = &found["last_payment_error"];
    assert_eq!((last["code"].as_str(), last["decline_code"].as_str()), (Some(code), reason));
    assert_eq!(last["payment_method"]["id"], json!(saved.1));
    assert_eq!(found["metadata"]["creditd_topup_id"], "top_1");
    assert_eq!(account.event("payment_intent.payment_failed")["data"]["object"], found);
    let entry = account.simulator.log().charges().pop().unwrap();
    assert!(!entry.succeeded && entry.metadata["creditd_topup_id"] == "top_1");
    // Another method pays the same intent, by a payer who is there.
    let path = format!("/v1/payment_intents/{}/confirm", id(&found));
    let paid = account.post(&path, "payment_method=pm_card_visa").await;
    assert_eq!((&paid["status"], &paid["id"]), (&json!("succeeded"), &found["id"]));
    account.refused(Method::POST, &path, "payment_method=pm_card_visa", 400, json!("id")).await;
}

#[tokio::test]
async fn every_reason_there_is_can_be_reached_and_no_other() {
    let account = Account::new().await;
    let customer = id(&account.post("/v1/customers", "").await);
    for unknown in ["pm_card_chargeDeclined_whim", "pm_card_chargeDeclinedWhim", "pm_card_", "pm_usBankAccount_whim"] {
        let path = format!("/v1/payment_methods/{unknown}/attach");
        let refused = account.send(Method::POST, &path, &format!("customer={customer}"), &[]).await;
        assert_eq!((refused.status, &refused.body["error"]["code"]), (404, &json!("resource_missing")), "{unknown}");
    }
    for reason in
        "approve_with_id call_issuer card_not_supported card_velocity_exceeded currency_not_supported do_not_honor \
                   do_not_try_again expired_card fraudulent generic_decline incorrect_number insufficient_funds \
                   invalid_account issuer_not_available lost_card merchant_blacklist no_action_taken no_such_card \
                   pickup_card processing_error reenter_transaction restricted_card revocation_of_all_authorizations \
                   revocation_of_authorization service_not_allowed stolen_card stop_payment_order \
                   transaction_not_allowed try_again_later withdrawal_count_limit_exceeded"
            .split_whitespace()
    {
        let attach = format!("/v1/payment_methods/pm_card_chargeDeclined_{reason}/attach");
        let method = id(&account.post(&attach, &format!("customer={customer}")).await);
        let declined = charge(&account, &(customer.clone(), method)).await;
        assert_eq!((declined.status, &declined.body["error"]["decline_code"]), (402, &json!(reason)));
    }
}

#[tokio::test]
async fn a_card_expires_after_its_last_month_and_a_renewal_cures_it() {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    // It is 2026-01-31.
    account.post(&format!("/v1/payment_methods/{}", saved.1), "card[exp_month]=1&card[exp_year]=2026").await;
    assert_eq!(charge(&account, &saved).await.status, 200, "its last day");
    wait(&account, 24 * 60 * 60).await;
    let expired = charge(&account, &saved).await;
    assert_eq!((expired.status, &expired.body["error"]["code"]), (402, &json!("expired_card")));
    account.simulator.renew_card(&saved.1, 2, 2026).unwrap();
    assert_eq!(charge(&account, &saved).await.status, 200);
}

#[tokio::test]
async fn an_order_stands_above_the_card_with_all_its_codes() {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    let order = CardOrder {
        advice_code: Some("do_not_try_again".to_owned()),
        network_advice_code: Some("03".to_owned()),
        network_decline_code: Some("51".to_owned()),
        times: Some(2),
        ..CardOrder::declined("card_declined", Some("insufficient_funds"))
    };
    account.simulator.set_card(&saved.0, &order).unwrap();
    for _ in 0..2 {
        let error = charge(&account, &saved).await.body["error"].clone();
        let last = &error["payment_intent"]["last_payment_error"];
        for told in [&error, last] {
            assert_eq!(told["advice_code"], "do_not_try_again");
            assert_eq!((&told["network_advice_code"], &told["network_decline_code"]), (&json!("03"), &json!("51")));
        }
        let charge = account.get(&format!("/v1/charges/{}", error["charge"].as_str().unwrap()), "").await;
        assert_eq!(charge["outcome"]["network_decline_code"], "51");
    }
    assert_eq!(charge(&account, &saved).await.status, 200, "only twice");
    // An order for one card of the customer stands below that for the customer.
    let lost = CardOrder::declined("card_declined", Some("lost_card"));
    account.simulator.set_method(&saved.1, &lost).unwrap();
    assert_eq!(charge(&account, &saved).await.body["error"]["decline_code"], "lost_card");
    account.simulator.set_card(&saved.0, &CardOrder::declined("card_declined", Some("pickup_card"))).unwrap();
    assert_eq!(charge(&account, &saved).await.body["error"]["decline_code"], "pickup_card");
    account.simulator.set_card(&saved.0, &CardOrder::default()).unwrap();
    account.simulator.set_method(&saved.1, &CardOrder::default()).unwrap();
    assert_eq!(charge(&account, &saved).await.status, 200);
    for wrong in [
        json!({ "decline_code": "lost_card" }),
        json!({ "code": "card_declined", "settles_after_seconds": 5 }),
        json!({ "behaviour": "processing", "settles_after_seconds": -1 }),
        json!({ "code": "card_declined", "per_thousand": 1001 }),
    ] {
        let order: CardOrder = serde_json::from_value(wrong.clone()).unwrap();
        assert!(account.simulator.set_card(&saved.0, &order).is_err(), "{wrong}");
    }
    assert!(serde_json::from_value::<CardOrder>(json!({ "behaviour": "whim" })).is_err());
}

#[tokio::test]
async fn a_share_of_the_charges_is_declined_by_seed() {
    let mut seen = Vec::new();
    for seed in [1, 1, 2] {
        let account = Account::new().await;
        let saved = saved(&account, "pm_card_visa").await;
        let order = CardOrder { per_thousand: Some(500), seed, ..CardOrder::declined("card_declined", None) };
        account.simulator.set_card(&saved.0, &order).unwrap();
        let mut statuses = Vec::new();
        for _ in 0..24 {
            statuses.push(charge(&account, &saved).await.status);
        }
        assert!(statuses.contains(&200) && statuses.contains(&402), "{statuses:?}");
        seen.push(statuses);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[rstest]
#[case(None, "succeeded", "payment_intent.succeeded")]
#[case(Some("card_declined"), "requires_payment_method", "payment_intent.payment_failed")]
#[tokio::test]
async fn a_processing_charge_is_known_at_its_second(
    #[case] code: Option<&str>,
    #[case] status: &str,
    #[case] event_type: &str,
) {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    let order = CardOrder { code: code.map(str::to_owned), times: Some(1), ..CardOrder::processing(3_600) };
    account.simulator.set_card(&saved.0, &order).unwrap();
    let begun = charge(&account, &saved).await;
    assert_eq!((begun.status, &begun.body["status"]), (200, &json!("processing")));
    account.event("payment_intent.processing");
    let cancel = format!("/v1/payment_intents/{}/cancel", id(&begun.body));
    let refused = account.refused(Method::POST, &cancel, "", 400, json!("id")).await;
    assert_eq!(refused["code"], "payment_intent_unexpected_state");
    assert_eq!(refused["payment_intent"]["status"], "processing");
    wait(&account, 3_599).await;
    assert_eq!(intent(&account, &begun.body).await["status"], "processing");
    assert!(account.simulator.log().charges().is_empty(), "no money moved yet");
    wait(&account, 1).await;
    let known = intent(&account, &begun.body).await;
    assert_eq!(known["status"], json!(status));
    assert_eq!(account.event(event_type)["data"]["object"], known);
    assert_eq!(account.simulator.log().charges().len(), 1);
    assert_eq!(account.simulator.log().charges()[0].succeeded, code.is_none());
}

#[tokio::test]
async fn a_bank_debit_takes_days_and_may_fail_or_never_end() {
    for (method, status) in [
        ("pm_usBankAccount", "succeeded"),
        ("pm_usBankAccount_insufficientFunds", "requires_payment_method"),
        ("pm_usBankAccount_processing", "processing"),
    ] {
        let account = Account::new().await;
        let saved = saved(&account, method).await;
        let begun = charge(&account, &saved).await;
        assert_eq!((begun.status, &begun.body["status"]), (200, &json!("processing")), "{method}");
        assert_eq!(begun.body["payment_method_types"], json!(["us_bank_account"]));
        wait(&account, 4 * 24 * 60 * 60 - 1).await;
        assert_eq!(intent(&account, &begun.body).await["status"], "processing", "{method}");
        wait(&account, 1).await;
        assert_eq!(intent(&account, &begun.body).await["status"], json!(status), "{method}");
        let kinds: Vec<Value> = account.get("/v1/charges", "").await["data"].as_array().unwrap().clone();
        assert!(kinds.iter().all(|charge| charge["payment_method_details"]["type"] == "us_bank_account"));
    }
}

#[tokio::test]
async fn an_owner_is_asked_with_200_or_402_and_may_come_late() {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    for (code, answered) in [(None, 200), (Some("authentication_required"), 402)] {
        let order = CardOrder { code: code.map(str::to_owned), times: Some(1), ..CardOrder::requires_action() };
        assert_eq!(order.behaviour, Some(CardBehaviour::RequiresAction));
        account.simulator.set_card(&saved.0, &order).unwrap();
        let asked = charge(&account, &saved).await;
        assert_eq!(asked.status, answered);
        let body = if answered == 200 { &asked.body } else { &asked.body["error"]["payment_intent"] };
        assert_eq!((&body["status"], &body["payment_method"]), (&json!("requires_action"), &json!(saved.1)));
        let page = body["next_action"]["redirect_to_url"]["url"].as_str().unwrap();
        let shown = account.client.get(page).send().await.unwrap().text().await.unwrap();
        assert!(shown.contains("<button"), "{shown}");
        // Days later, after everyone gave up but nobody canceled.
        wait(&account, 5 * 24 * 60 * 60).await;
        assert_eq!(account.client.post(page).send().await.unwrap().status(), 303);
        assert_eq!(intent(&account, body).await["status"], "succeeded");
        assert_eq!(account.client.post(page).send().await.unwrap().status(), 400, "asked once");
    }
    assert_eq!(account.simulator.log().charges().len(), 2);
}

#[tokio::test]
async fn a_refused_intent_is_authenticated_later_unless_it_was_canceled_first() {
    let account = Account::new().await;
    for (card, canceled) in [
        ("pm_card_authenticationRequired", false),
        ("pm_card_authenticationRequired", true),
        ("pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", false),
    ] {
        let saved = saved(&account, card).await;
        let refused = charge(&account, &saved).await;
        assert_eq!(refused.body["error"]["code"], "authentication_required");
        let waiting = refused.body["error"]["payment_intent"].clone();
        if canceled {
            let path = format!("/v1/payment_intents/{}/cancel", id(&waiting));
            let ended = account.post(&path, "cancellation_reason=abandoned").await;
            assert_eq!((&ended["status"], &ended["cancellation_reason"]), (&json!("canceled"), &json!("abandoned")));
            assert_eq!(account.event("payment_intent.canceled")["data"]["object"], ended);
            account.refused(Method::POST, &path, "", 400, json!("id")).await;
            assert!(account.simulator.authenticate(&id(&waiting), true).is_err());
            let confirm = format!("/v1/payment_intents/{}/confirm", id(&waiting));
            account.refused(Method::POST, &confirm, "payment_method=pm_card_visa", 400, json!("id")).await;
            continue;
        }
        let then = account.simulator.authenticate(&id(&waiting), true).unwrap();
        if card.ends_with("Funds") {
            assert_eq!(then["last_payment_error"]["decline_code"], "insufficient_funds");
        } else {
            assert_eq!((&then["status"], &then["payment_method"]), (&json!("succeeded"), &json!(saved.1)));
        }
        assert!(account.simulator.authenticate(&id(&waiting), true).is_err(), "asked once");
    }
}

#[tokio::test]
async fn a_confirmation_asks_an_owner_who_is_there() {
    let account = Account::new().await;
    let customer = id(&account.post("/v1/customers", "").await);
    let made = account.post("/v1/payment_intents", &format!("amount=5&currency=eur&customer={customer}")).await;
    assert_eq!(made["status"], "requires_payment_method");
    let path = format!("/v1/payment_intents/{}/confirm", id(&made));
    let error = account.refused(Method::POST, &path, "", 400, json!("id")).await;
    assert_eq!(error["code"], "payment_intent_unexpected_state");
    account.refused(Method::POST, &path, "payment_method=pm_none", 400, json!("payment_method")).await;
    account.refused(Method::POST, &path, "payment_method=pm_card_visa&mandate=x", 400, json!("mandate")).await;
    let form = "payment_method=pm_card_authenticationRequired&setup_future_usage=off_session";
    let asked = account.post(&path, form).await;
    assert_eq!(asked["status"], "requires_action");
    let paid = account.simulator.authenticate(&id(&made), true).unwrap();
    assert_eq!(paid["status"], "succeeded");
    let kept = account.get(&format!("/v1/customers/{customer}/payment_methods"), "").await;
    assert_eq!(super::ids_of(&kept), [paid["payment_method"].as_str().unwrap()], "kept for later");
    let away = account.post("/v1/payment_intents", &format!("amount=5&currency=eur&customer={customer}")).await;
    let path = format!("/v1/payment_intents/{}/confirm", id(&away));
    let form = "payment_method=pm_card_authenticationRequired&off_session=true";
    assert_eq!(account.send(Method::POST, &path, form, &[]).await.status, 402);
}

#[tokio::test]
async fn intents_are_listed_newest_first_by_customer_and_time() {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    let other = self::saved(&account, "pm_card_visa").await;
    charge(&account, &other).await;
    let since = account.simulator.now().as_second() + 60;
    let mut made = Vec::new();
    for _ in 0..3 {
        wait(&account, 60).await;
        made.push(id(&charge(&account, &saved).await.body));
    }
    made.reverse();
    let query = format!("customer={}&created[gte]={since}&limit=2", saved.0);
    let first = account.get("/v1/payment_intents", &query).await;
    assert_eq!((super::ids_of(&first), &first["has_more"]), (made[..2].to_vec(), &json!(true)));
    let rest = account.get("/v1/payment_intents", &format!("{query}&starting_after={}", made[1])).await;
    assert_eq!((super::ids_of(&rest), &rest["has_more"]), (made[2..].to_vec(), &json!(false)));
    let events = format!("types[]=payment_intent.succeeded&created[gte]={since}");
    assert_eq!(super::ids_of(&account.get("/v1/events", &events).await).len(), 3);
    let group = format!("type=payment_intent.*&created[gte]={since}");
    assert_eq!(super::ids_of(&account.get("/v1/events", &group).await).len(), 6, "created and succeeded");
    let many: Vec<String> = (0..21).map(|number| format!("types[]=a.b{number}")).collect();
    account.refused(Method::GET, "/v1/events", &many.join("&"), 400, json!("types")).await;
}

#[tokio::test]
async fn a_lost_reply_of_a_decline_or_a_question_is_replayed() {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    for order in [
        CardOrder::declined("card_declined", Some("insufficient_funds")),
        CardOrder::processing(60),
        CardOrder::requires_action(),
    ] {
        account.simulator.set_card(&saved.0, &CardOrder { times: Some(1), ..order.clone() }).unwrap();
        let key = format!("{order:?}").chars().filter(char::is_ascii_alphanumeric).collect::<String>();
        let headers = [("idempotency-key", &key[..60])];
        let form = form(&saved.0, &saved.1);
        let first = account.send(Method::POST, "/v1/payment_intents", &form, &headers).await;
        let again = account.send(Method::POST, "/v1/payment_intents", &form, &headers).await;
        assert_eq!((first.status, &first.body), (again.status, &again.body));
        assert_eq!(again.headers["idempotent-replayed"], "true");
    }
    account.simulator.set_faults(Duration::ZERO, 0);
}

#[tokio::test]
async fn what_is_on_its_way_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = super::clock();
    let options = || {
        let mut options = creditd::simulator::Options::new(clock.clone());
        options.state_file = Some(folder.path().join("stripe.json"));
        options
    };
    let account = Account::start(options()).await;
    let saved = saved(&account, "pm_usBankAccount").await;
    let order = CardOrder { times: Some(2), ..CardOrder::declined("card_declined", None) };
    account.simulator.set_card(&saved.0, &order).unwrap();
    assert_eq!(charge(&account, &saved).await.status, 402);
    account.simulator.stop().await;
    let again = Account::start(options()).await;
    assert_eq!(charge(&again, &saved).await.status, 402, "one of two was left");
    let begun = charge(&again, &saved).await.body;
    assert_eq!(begun["status"], "processing");
    again.simulator.stop().await;
    let last = Account::start(options()).await;
    wait(&last, 4 * 24 * 60 * 60).await;
    assert_eq!(intent(&last, &begun).await["status"], "succeeded");
}
