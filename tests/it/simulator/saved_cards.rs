//! Cards that are kept: set up, brought to a checkout, made the default, detached; and what each of these tells.

use creditd::simulator::Outcome;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};

use super::cards::{charge, saved};
use super::{Account, id, ids_of};

async fn wait(account: &Account, seconds: i64) {
    let to = account.simulator.now() + SignedDuration::from_secs(seconds);
    account.simulator.advance_to(to).await.unwrap();
}

#[tokio::test]
async fn a_default_is_set_told_and_unset_by_detaching() {
    let account = Account::new().await;
    let (customer, method) = saved(&account, "pm_card_visa").await;
    let path = format!("/v1/customers/{customer}");
    assert_eq!(account.get(&path, "").await["invoice_settings"]["default_payment_method"], Value::Null);
    let set = |method: &str| format!("invoice_settings[default_payment_method]={method}");
    for wrong in ["pm_none", "pm_card_visa"] {
        let name = "invoice_settings[default_payment_method]";
        account.refused(Method::POST, &path, &set(wrong), 400, json!(name)).await;
    }
    let found = account.post(&path, &set(&method)).await;
    assert_eq!(found["invoice_settings"]["default_payment_method"], json!(method));
    let told = account.event("customer.updated");
    let before = json!({ "invoice_settings": { "default_payment_method": null } });
    assert_eq!(told["data"]["previous_attributes"], before);
    account.post(&path, &set(&method)).await;
    account.event("customer.updated");
    let detach = format!("/v1/payment_methods/{method}/detach");
    assert_eq!(account.post(&detach, "").await["customer"], Value::Null);
    assert_eq!(account.get(&path, "").await["invoice_settings"]["default_payment_method"], Value::Null);
    let told = account.events("customer.updated").pop().unwrap();
    assert_eq!(told["data"]["previous_attributes"]["invoice_settings"]["default_payment_method"], json!(method));
    assert_eq!(account.send(Method::POST, &detach, "", &[]).await.status, 400, "detached once");
    let attach = format!("/v1/payment_methods/{method}/attach");
    let again = account.send(Method::POST, &attach, &format!("customer={customer}"), &[]).await;
    assert_eq!(again.status, 400, "and for good");
    let gone = charge(&account, &(customer, method.clone())).await;
    assert_eq!((gone.status, &gone.body["error"]["code"]), (400, &json!("resource_missing")));
    let update = account.send(Method::POST, &format!("/v1/payment_methods/{method}"), "metadata[a]=b", &[]).await;
    assert_eq!(update.status, 400, "what is nobody's is not changed");
}

#[tokio::test]
async fn a_customers_methods_are_listed_and_are_theirs_alone() {
    let account = Account::new().await;
    let (customer, first) = saved(&account, "pm_card_visa").await;
    let (other, _) = saved(&account, "pm_card_visa").await;
    let attach = "/v1/payment_methods/pm_usBankAccount/attach";
    let second = id(&account.post(attach, &format!("customer={customer}")).await);
    for (path, query) in [
        (format!("/v1/customers/{customer}/payment_methods"), String::new()),
        ("/v1/payment_methods".to_owned(), format!("customer={customer}")),
    ] {
        assert_eq!(ids_of(&account.get(&path, &query).await), [second.clone(), first.clone()]);
        let cards = account.get(&path, &format!("{query}&type=card")).await;
        assert_eq!(ids_of(&cards), std::slice::from_ref(&first));
        let page = account.get(&path, &format!("{query}&limit=1&starting_after={second}")).await;
        assert_eq!((ids_of(&page), &page["has_more"]), (vec![first.clone()], &json!(false)));
    }
    assert_eq!(account.get(&format!("/v1/customers/{customer}/payment_methods/{first}"), "").await["id"], json!(first));
    let foreign = format!("/v1/customers/{other}/payment_methods/{first}");
    assert_eq!(account.send(Method::GET, &foreign, "", &[]).await.status, 404);
    let made = account.post("/v1/customers", "payment_method=pm_card_mastercard&balance=-5").await;
    assert_eq!(made["balance"], -5);
    let list = account.get(&format!("/v1/customers/{}/payment_methods", id(&made)), "").await;
    assert_eq!(list["data"][0]["card"]["brand"], "mastercard");
}

#[tokio::test]
async fn a_setup_intent_keeps_a_card_and_makes_no_default() {
    let account = Account::new().await;
    let customer = id(&account.post("/v1/customers", "").await);
    let form = format!("customer={customer}&usage=off_session&metadata[a]=b");
    let made = account.post("/v1/setup_intents", &form).await;
    assert_eq!((&made["status"], &made["usage"]), (&json!("requires_payment_method"), &json!("off_session")));
    let path = format!("/v1/setup_intents/{}", id(&made));
    let confirm = format!("{path}/confirm");
    let missing = account.refused(Method::POST, &confirm, "", 400, json!("id")).await;
    assert_eq!(missing["code"], "setup_intent_unexpected_state");
    let bad = account.send(Method::POST, &confirm, "payment_method=pm_card_chargeDeclinedLostCard", &[]).await;
    assert_eq!((bad.status, &bad.body["error"]["decline_code"]), (402, &json!("lost_card")));
    let told = account.event("setup_intent.setup_failed")["data"]["object"].clone();
    assert_eq!((&told["status"], &told["last_setup_error"]["code"]), (&made["status"], &json!("card_declined")));
    let kept = account.post(&confirm, "payment_method=pm_card_visa").await;
    assert_eq!((&kept["status"], &kept["last_setup_error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(account.event("setup_intent.succeeded")["data"]["object"], kept);
    assert_eq!(account.get(&path, "").await, kept);
    let method = kept["payment_method"].as_str().unwrap().to_owned();
    assert_eq!(account.event("payment_method.attached")["data"]["object"]["id"], json!(method));
    let found = account.get(&format!("/v1/customers/{customer}"), "").await;
    assert_eq!(found["invoice_settings"]["default_payment_method"], Value::Null);
    assert_eq!(charge(&account, &(customer.clone(), method)).await.status, 200);
    account.refused(Method::POST, &confirm, "payment_method=pm_card_visa", 400, json!("id")).await;
    account.refused(Method::POST, &format!("{path}/cancel"), "", 400, json!("id")).await;
    account.refused(Method::POST, "/v1/setup_intents", "usage=whim", 400, json!("usage")).await;
    account.refused(Method::POST, "/v1/setup_intents", "mandate_data[x]=y", 400, json!("mandate_data[x]")).await;
    account.refused(Method::POST, "/v1/setup_intents", "confirm=true", 400, json!("payment_method")).await;
    let given_up = id(&account.post("/v1/setup_intents", &form).await);
    let ended = account.post(&format!("/v1/setup_intents/{given_up}/cancel"), "cancellation_reason=abandoned").await;
    assert_eq!(ended["status"], "canceled");
    account.event("setup_intent.canceled");
}

#[tokio::test]
async fn a_card_that_asks_first_works_alone_once_it_is_set_up() {
    let account = Account::new().await;
    let card = "pm_card_authenticationRequiredOnSetup";
    let attached = saved(&account, card).await;
    assert_eq!(charge(&account, &attached).await.status, 402, "it was attached and not set up");
    for succeeds in [false, true] {
        let customer = id(&account.post("/v1/customers", "").await);
        let form = format!("customer={customer}&confirm=true&payment_method={card}");
        let asked = account.post("/v1/setup_intents", &form).await;
        assert_eq!((&asked["status"], asked["next_action"].is_object()), (&json!("requires_action"), true));
        let then = account.simulator.authenticate(&id(&asked), succeeds).unwrap();
        if succeeds {
            let kept = (customer, then["payment_method"].as_str().unwrap().to_owned());
            assert_eq!(charge(&account, &kept).await.status, 200);
        } else {
            assert_eq!(then["last_setup_error"]["code"], "setup_intent_authentication_failure");
        }
        assert!(account.simulator.authenticate(&id(&asked), true).is_err(), "asked once");
    }
    let always = id(&account.post("/v1/customers", "").await);
    let form = format!("customer={always}&confirm=true&payment_method=pm_card_authenticationRequired");
    let asked = account.post("/v1/setup_intents", &form).await;
    let kept = account.simulator.authenticate(&id(&asked), true).unwrap();
    let kept = (always, kept["payment_method"].as_str().unwrap().to_owned());
    assert_eq!(charge(&account, &kept).await.status, 402, "this one asks every time");
}

#[tokio::test]
async fn a_checkout_keeps_the_card_its_buyer_brings() {
    let account = Account::new().await;
    let price = account.price("").await;
    for mode in ["setup", "payment"] {
        let customer = id(&account.post("/v1/customers", "").await);
        let of = format!("mode={mode}&customer={customer}&success_url=x&metadata[creditd_topup_id]=t");
        let form = if mode == "setup" {
            format!("{of}&currency=eur")
        } else {
            format!(
                "{of}&line_items[0][price]={price}&line_items[0][quantity]=1\
                 &payment_intent_data[setup_future_usage]=off_session&payment_intent_data[metadata][creditd_topup_id]=t"
            )
        };
        let session = id(&account.post("/v1/checkout/sessions", &form).await);
        let body = [("content-type", "application/json")];
        let path = format!("/control/pay/{session}");
        for wrong in [r#"{"outcome":"paid","card":"pm_whim"}"#, r#"{"outcome":"expire","card":"pm_card_visa"}"#] {
            assert_eq!(account.send(Method::POST, &path, wrong, &body).await.status, 400);
        }
        let declined = r#"{"outcome":"paid","card":"pm_card_chargeDeclined"}"#;
        assert_eq!(account.send(Method::POST, &path, declined, &body).await.status, 402);
        let order = r#"{"outcome":"paid","card":"pm_card_authenticationRequiredOnSetup"}"#;
        let done = account.send(Method::POST, &path, order, &body).await;
        assert_eq!((done.status, &done.body["status"]), (200, &json!("complete")), "{mode}");
        let list = account.get(&format!("/v1/customers/{customer}/payment_methods"), "").await;
        let kept = ids_of(&list);
        assert_eq!(kept.len(), 1, "{mode}");
        let found = account.get(&format!("/v1/customers/{customer}"), "").await;
        assert_eq!(found["invoice_settings"]["default_payment_method"], Value::Null, "{mode}");
        assert_eq!(charge(&account, &(customer, kept[0].clone())).await.status, 200, "{mode}: set up");
    }
    let paid = account.simulator.log().charges();
    let joined: Vec<bool> = paid
        .iter()
        .filter(|charge| charge.metadata.get("creditd_topup_id").is_some_and(|id| id == "t"))
        .map(|charge| charge.succeeded)
        .collect();
    assert_eq!(joined, [false, true], "the decline and the payment of one session");
}

#[tokio::test]
async fn a_declined_buyer_pays_the_same_session_later_with_the_same_intent() {
    let account = Account::new().await;
    let price = account.price("").await;
    let session = account.session(&price, "payment", "").await;
    let path = format!("/v1/checkout/sessions/{session}");
    assert_eq!(account.get(&path, "").await["payment_intent"], Value::Null, "made when it is paid");
    let refused = account.simulator.pay_checkout_with(&session, "pm_card_chargeDeclinedInsufficientFunds").unwrap_err();
    assert_eq!(refused.status(), 402);
    let tried = account.get(&path, "").await;
    assert_eq!((&tried["status"], &tried["payment_status"]), (&json!("open"), &json!("unpaid")));
    let intent = tried["payment_intent"].as_str().unwrap().to_owned();
    let cancel = format!("/v1/payment_intents/{intent}/cancel");
    account.refused(Method::POST, &cancel, "", 400, json!("id")).await;
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    assert_eq!((&paid["payment_status"], &paid["payment_intent"]), (&json!("paid"), &json!(intent)));
    let left = account.session(&price, "payment", "").await;
    account.simulator.pay_checkout_with(&left, "pm_card_chargeDeclined").unwrap_err();
    account.post(&format!("/v1/checkout/sessions/{left}/expire"), "").await;
    account.event("checkout.session.expired");
    account.event("payment_intent.canceled");
}

#[tokio::test]
async fn a_session_is_paid_late_or_expires_at_its_second() {
    let account = Account::new().await;
    let price = account.price("").await;
    let now = account.simulator.now().as_second();
    for wrong in [now + 1_799, now + 86_401] {
        let form = format!(
            "mode=payment&success_url=x&line_items[0][price]={price}&line_items[0][quantity]=1&expires_at={wrong}"
        );
        account.refused(Method::POST, "/v1/checkout/sessions", &form, 400, json!("expires_at")).await;
    }
    let more = format!("&expires_at={}&metadata[creditd_topup_id]=t", now + 1_800);
    let (late, left) =
        (account.session(&price, "payment", &more).await, account.session(&price, "payment", &more).await);
    wait(&account, 1_799).await;
    account.simulator.pay_checkout(&late, Outcome::Paid).unwrap();
    wait(&account, 1).await;
    let told = account.event("checkout.session.expired")["data"]["object"].clone();
    assert_eq!((&told["id"], &told["status"]), (&json!(left), &json!("expired")));
    assert_eq!((&told["metadata"]["creditd_topup_id"], &told["payment_intent"]), (&json!("t"), &Value::Null));
    assert!(account.simulator.pay_checkout(&left, Outcome::Paid).is_err());
    assert_eq!(account.simulator.log().charges().len(), 1);
}

#[tokio::test]
async fn a_buyers_debit_completes_the_session_unpaid_and_is_known_later() {
    for (card, told) in [
        ("pm_usBankAccount_success", "checkout.session.async_payment_succeeded"),
        ("pm_usBankAccount_accountClosed", "checkout.session.async_payment_failed"),
    ] {
        let account = Account::new().await;
        let price = account.price("").await;
        let session = account.session(&price, "payment", "").await;
        let begun = account.simulator.pay_checkout_with(&session, card).unwrap();
        assert_eq!((&begun["status"], &begun["payment_status"]), (&json!("complete"), &json!("unpaid")));
        wait(&account, 4 * 24 * 60 * 60).await;
        let found = account.event(told)["data"]["object"].clone();
        let paid = card.ends_with("success");
        assert_eq!(found["payment_status"], json!(if paid { "paid" } else { "unpaid" }));
        assert_eq!(account.simulator.log().charges().pop().unwrap().succeeded, paid);
    }
}

#[tokio::test]
async fn a_subscription_is_renewed_by_its_method_and_not_by_one_that_declines() {
    let account = Account::new().await;
    let (customer, method) = saved(&account, "pm_card_visa").await;
    let price = account.price("&recurring[interval]=day").await;
    let form = format!("customer={customer}&items[0][price]={price}&default_payment_method={method}");
    let made = account.post("/v1/subscriptions", &form).await;
    assert_eq!(made["status"], "active");
    account.post(&format!("/v1/payment_methods/{method}"), "card[exp_month]=1&card[exp_year]=2026").await;
    wait(&account, 26 * 60 * 60).await;
    let found = account.get(&format!("/v1/subscriptions/{}", id(&made)), "").await;
    assert_eq!(found["status"], "past_due", "its card has expired");
    account.post(&format!("/v1/payment_methods/{method}/detach"), "").await;
    let found = account.get(&format!("/v1/subscriptions/{}", id(&made)), "").await;
    assert_eq!(found["default_payment_method"], Value::Null);
}

#[tokio::test]
async fn a_refund_of_an_intent_carries_its_metadata_into_the_log() {
    let account = Account::new().await;
    let saved = saved(&account, "pm_card_visa").await;
    let paid = id(&charge(&account, &saved).await.body);
    let form = format!("payment_intent={paid}&amount=400&reason=duplicate&metadata[creditd_topup_id]=top_1");
    let refund = account.post("/v1/refunds", &form).await;
    assert_eq!(refund["metadata"]["creditd_topup_id"], "top_1");
    let entry = account.simulator.log().refunds().pop().unwrap();
    assert_eq!((entry.payment_intent, entry.amount, entry.status.as_str()), (paid, 400, "succeeded"));
    assert_eq!(entry.metadata["creditd_topup_id"], "top_1");
    let unpaid = account.post("/v1/payment_intents", "amount=5&currency=eur").await;
    let form = format!("payment_intent={}", id(&unpaid));
    account.refused(Method::POST, "/v1/refunds", &form, 400, json!("payment_intent")).await;
}
