//! Subscriptions that live: trials, failing cards, cancellations, invoices by hand.

use creditd::simulator::{CardOrder, Dunning, Outcome};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Account, id, seconds};

fn statuses(account: &Account) -> Vec<(i64, String)> {
    let events = account.all_events();
    let of_subscription =
        events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("customer.subscription."));
    let told = |event: &Value| {
        let status = event["data"]["object"]["status"].as_str().unwrap();
        (event["created"].as_i64().unwrap(), format!("{} {status}", event["type"].as_str().unwrap()))
    };
    of_subscription.map(told).collect()
}

async fn read(account: &Account, subscription: &Value) -> Value {
    account.get(&format!("/v1/subscriptions/{}", id(subscription)), "").await
}

fn customer(subscription: &Value) -> String {
    subscription["customer"].as_str().unwrap().to_owned()
}

fn declined() -> CardOrder {
    CardOrder::declined("card_declined", Some("insufficient_funds"))
}

#[tokio::test]
async fn a_trial_costs_nothing_is_announced_and_turns_into_a_paid_period() {
    let account = Account::new().await;
    let made = account.subscription("&trial_period_days=10").await;
    let end = seconds("2026-02-10T00:00:00Z");
    assert_eq!((&made["status"], &made["trial_end"]), (&json!("trialing"), &json!(end)));
    assert_eq!(made["items"]["data"][0]["current_period_end"], json!(end));
    let first = account.event("invoice.paid")["data"]["object"].clone();
    assert_eq!(
        (&first["total"], &first["status"], &first["billing_reason"]),
        (&json!(0), &json!("paid"), &json!("subscription_create"))
    );
    assert!(account.simulator.log().charges().is_empty());
    account.advance("2026-03-01T00:00:00Z").await;
    assert_eq!(
        statuses(&account),
        [
            (seconds("2026-01-31T00:00:00Z"), "customer.subscription.created trialing".to_owned()),
            (seconds("2026-02-07T00:00:00Z"), "customer.subscription.trial_will_end trialing".to_owned()),
            (end, "customer.subscription.updated active".to_owned()),
        ]
    );
    let updated = account.event("customer.subscription.updated");
    assert_eq!(updated["data"]["previous_attributes"]["status"], "trialing");
    let charges = account.simulator.log().charges();
    assert_eq!((charges.len(), charges[0].at, charges[0].amount), (1, end + 3_600, 1_000));
    let found = read(&account, &made).await;
    assert_eq!(found["items"]["data"][0]["current_period_end"], json!(seconds("2026-03-10T00:00:00Z")));
}

#[tokio::test]
async fn a_short_trial_is_announced_at_once_and_an_end_may_be_a_time() {
    let account = Account::new().await;
    let end = seconds("2026-02-01T12:00:00Z");
    let made = account.subscription(&format!("&trial_end={end}")).await;
    assert_eq!(made["trial_end"], json!(end));
    account.advance("2026-01-31T00:00:01Z").await;
    let announced = account.event("customer.subscription.trial_will_end");
    assert_eq!(announced["created"], json!(seconds("2026-01-31T00:00:00Z")));
    let both = format!("customer={}&items[0][price]=x&trial_end={end}&trial_period_days=3", customer(&made));
    assert_eq!(account.send(Method::POST, "/v1/subscriptions", &both, &[]).await.status, 400);
}

#[tokio::test]
async fn a_checkout_may_begin_with_a_trial() {
    let account = Account::new().await;
    let price = account.price("&recurring[interval]=year").await;
    let more = "&subscription_data[trial_period_days]=7&subscription_data[metadata][w]=1";
    let session = account.session(&price, "subscription", more).await;
    let paid = account.simulator.pay_checkout(&session, Outcome::Paid).unwrap();
    assert_eq!((&paid["amount_total"], &paid["payment_status"]), (&json!(0), &json!("no_payment_required")));
    let made = account.get(&format!("/v1/subscriptions/{}", paid["subscription"].as_str().unwrap()), "").await;
    assert_eq!((&made["status"], &made["metadata"]), (&json!("trialing"), &json!({ "w": "1" })));
    account.advance("2027-03-01T00:00:00Z").await;
    let charges: Vec<i64> = account.simulator.log().charges().iter().map(|charge| charge.at).collect();
    assert_eq!(charges, [seconds("2026-02-07T01:00:00Z"), seconds("2027-02-07T01:00:00Z")], "a year between");
    let form = format!("mode=payment&success_url=x&line_items[0][price]={price}&line_items[0][quantity]=1{more}");
    account.refused(Method::POST, "/v1/checkout/sessions", &form, 400, json!("subscription_data")).await;
}

#[tokio::test]
async fn a_failing_card_is_tried_after_three_five_and_seven_days() {
    for (dunning, last, then) in [
        (Dunning::Cancel, "customer.subscription.deleted canceled", "canceled"),
        (Dunning::Unpaid, "customer.subscription.updated unpaid", "unpaid"),
    ] {
        let account = Account::new().await;
        account.simulator.set_dunning(dunning).unwrap();
        let made = account.subscription("").await;
        account.simulator.set_card(&customer(&made), &declined()).unwrap();
        account.advance("2026-03-20T00:00:00Z").await;
        let failed: Vec<Value> = account.events("invoice.payment_failed");
        let times: Vec<i64> = failed.iter().map(|event| event["created"].as_i64().unwrap()).collect();
        let first = seconds("2026-02-28T01:00:00Z");
        let day = 86_400;
        assert_eq!(times, [first, first + 3 * day, first + 5 * day, first + 7 * day]);
        let invoice = &failed[0]["data"]["object"];
        assert_eq!(
            (&invoice["attempt_count"], &invoice["next_payment_attempt"], &invoice["status"]),
            (&json!(1), &json!(first + 3 * day), &json!("open"))
        );
        assert_eq!(failed[3]["data"]["object"]["next_payment_attempt"], Value::Null);
        let told = statuses(&account);
        assert_eq!(told[2], (first, "customer.subscription.updated past_due".to_owned()));
        assert_eq!(told[3], (first + 7 * day, last.to_owned()));
        let found = read(&account, &made).await;
        assert_eq!(found["status"], then);
        let charges = account.simulator.log().charges();
        assert_eq!(charges.iter().filter(|charge| !charge.succeeded).count(), 4);
        assert_eq!(account.events("charge.failed").len(), 4);
        account.advance("2026-05-01T00:00:00Z").await;
        let invoices = account.get("/v1/invoices", "limit=100").await["data"].as_array().unwrap().clone();
        if dunning == Dunning::Cancel {
            assert_eq!(found["ended_at"], json!(first + 7 * day));
            assert_eq!(found["cancellation_details"]["reason"], "payment_failed");
            assert_eq!(invoices.len(), 2, "nothing after the end");
        } else {
            let drafts = invoices.iter().filter(|invoice| invoice["status"] == "draft").count();
            assert_eq!((invoices.len(), drafts), (4, 2), "an unpaid subscription leaves drafts");
        }
    }
}

#[tokio::test]
async fn a_retry_that_succeeds_brings_the_subscription_back() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let twice = CardOrder { times: Some(2), ..declined() };
    account.simulator.set_card(&customer(&made), &twice).unwrap();
    account.advance("2026-03-10T00:00:00Z").await;
    let told = statuses(&account);
    let paid = seconds("2026-03-05T01:00:00Z");
    assert_eq!(told.last().unwrap(), &(paid, "customer.subscription.updated active".to_owned()));
    assert_eq!(account.events("invoice.paid").last().unwrap()["created"], json!(paid));
    let intents: Vec<String> =
        account.simulator.log().charges()[1..].iter().map(|c| c.payment_intent.clone()).collect();
    assert_eq!(intents.len(), 3);
    assert!(intents.iter().all(|intent| *intent == intents[0]), "one payment intent for one invoice");
}

#[tokio::test]
async fn a_first_payment_that_fails_leaves_the_subscription_incomplete_for_23_hours() {
    let account = Account::new().await;
    let price = account.price("&recurring[interval]=month").await;
    let customer = id(&account.post("/v1/customers", "").await);
    account.simulator.set_card(&customer, &declined()).unwrap();
    let form = format!("customer={customer}&items[0][price]={price}");
    let made = account.post("/v1/subscriptions", &form).await;
    assert_eq!(made["status"], "incomplete");
    let invoice = made["latest_invoice"].as_str().unwrap().to_owned();
    account.advance("2026-02-02T00:00:00Z").await;
    let expired = account.event("customer.subscription.updated");
    assert_eq!(expired["created"], json!(seconds("2026-01-31T23:00:00Z")));
    assert_eq!(expired["data"]["object"]["status"], "incomplete_expired");
    assert_eq!(account.get(&format!("/v1/invoices/{invoice}"), "").await["status"], "void");
    let second = account.post("/v1/subscriptions", &form).await;
    account.simulator.set_card(&customer, &CardOrder::default()).unwrap();
    account.post(&format!("/v1/invoices/{}/pay", second["latest_invoice"].as_str().unwrap()), "").await;
    assert_eq!(read(&account, &second).await["status"], "active", "paid in time");
}

#[tokio::test]
async fn cancellations_come_at_the_end_at_a_time_or_now_and_can_be_taken_back() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let path = format!("/v1/subscriptions/{}", id(&made));
    let end = seconds("2026-02-28T00:00:00Z");
    let planned = account.post(&path, "cancel_at_period_end=true").await;
    assert_eq!((&planned["cancel_at"], &planned["status"]), (&json!(end), &json!("active")));
    let taken_back = account.post(&path, "cancel_at_period_end=false").await;
    assert_eq!((&taken_back["cancel_at"], &taken_back["canceled_at"]), (&Value::Null, &Value::Null));
    account.advance("2026-03-01T00:00:00Z").await;
    assert_eq!(account.events("invoice.paid").len(), 2, "it went on");
    account.post(&path, "cancel_at_period_end=true").await;
    account.advance("2026-06-01T00:00:00Z").await;
    let deleted = account.event("customer.subscription.deleted");
    let end = seconds("2026-03-31T00:00:00Z");
    let object = &deleted["data"]["object"];
    assert_eq!(
        (&deleted["created"], &object["ended_at"], &object["status"]),
        (&json!(end), &json!(end), &json!("canceled"))
    );
    assert_eq!(object["canceled_at"], json!(seconds("2026-03-01T00:00:00Z")), "when it was asked for");
    assert_eq!(account.get("/v1/invoices", "").await["data"].as_array().unwrap().len(), 2, "no further invoice");
    assert_eq!(account.simulator.next_timer(), None);

    let at_a_time = account.subscription(&format!("&cancel_at={}", seconds("2026-06-10T00:00:00Z"))).await;
    account.advance("2026-07-05T00:00:00Z").await;
    assert_eq!(read(&account, &at_a_time).await["ended_at"], json!(seconds("2026-06-10T00:00:00Z")));

    let now = account.subscription("").await;
    let gone = account.send(Method::DELETE, &format!("/v1/subscriptions/{}", id(&now)), "", &[]).await;
    assert_eq!((gone.status, &gone.body["ended_at"]), (200, &json!(seconds("2026-07-05T00:00:00Z"))));
    let past = format!("cancel_at={}", seconds("2026-07-04T00:00:00Z"));
    let running = account.subscription("").await;
    let path = format!("/v1/subscriptions/{}", id(&running));
    account.refused(Method::POST, &path, &past, 400, json!("cancel_at")).await;
    let both = format!("cancel_at={}&cancel_at_period_end=true", seconds("2026-08-01T00:00:00Z"));
    account.refused(Method::POST, &path, &both, 400, json!("cancel_at")).await;
    account.refused(Method::POST, &path, "days_until_due=3", 400, json!("days_until_due")).await;
}

#[tokio::test]
async fn a_deleted_customer_takes_the_subscriptions_along() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let customer = customer(&made);
    let gone = account.send(Method::DELETE, &format!("/v1/customers/{customer}"), "", &[]).await;
    assert_eq!(gone.body, json!({ "id": customer, "object": "customer", "deleted": true }));
    assert_eq!(account.event("customer.subscription.deleted")["data"]["object"]["id"], made["id"]);
    assert_eq!(account.event("customer.deleted")["data"]["object"]["name"], "A", "as it was");
    assert_eq!(account.get(&format!("/v1/customers/{customer}"), "").await["deleted"], true);
    assert_eq!(account.get("/v1/customers", "").await["data"], json!([]));
    let again = account.send(Method::DELETE, &format!("/v1/customers/{customer}"), "", &[]).await;
    assert_eq!(again.status, 404);
    let form = format!("customer={customer}&mode=payment&success_url=x");
    account.refused(Method::POST, "/v1/checkout/sessions", &form, 400, json!("customer")).await;
    account.advance("2026-06-01T00:00:00Z").await;
    assert_eq!(account.simulator.log().charges().len(), 1);
}

#[tokio::test]
async fn invoices_are_finalized_paid_voided_and_given_up_by_hand() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let customer = customer(&made);
    let latest = || async { read(&account, &made).await["latest_invoice"].as_str().unwrap().to_owned() };
    account.advance("2026-02-28T00:10:00Z").await;
    let draft = latest().await;
    let path = format!("/v1/invoices/{draft}");
    account.refused(Method::POST, &format!("{path}/void"), "", 400, Value::Null).await;
    let open = account.post(&format!("{path}/finalize"), "auto_advance=false").await;
    assert_eq!((&open["status"], &open["next_payment_attempt"]), (&json!("open"), &Value::Null));
    account.refused(Method::POST, &format!("{path}/finalize"), "", 400, Value::Null).await;
    account.simulator.set_card(&customer, &declined()).unwrap();
    let refused = account.send(Method::POST, &format!("{path}/pay"), "off_session=true", &[]).await;
    assert_eq!((refused.status, &refused.body["error"]["decline_code"]), (402, &json!("insufficient_funds")));
    assert_eq!(read(&account, &made).await["status"], "past_due");
    let lost = account.post(&format!("{path}/mark_uncollectible"), "").await;
    assert_eq!(lost["status"], "uncollectible");
    account.event("invoice.marked_uncollectible");
    account.simulator.set_card(&customer, &CardOrder::default()).unwrap();
    let paid = account.post(&format!("{path}/pay"), "").await;
    assert_eq!((&paid["status"], &paid["attempt_count"]), (&json!("paid"), &json!(2)), "it can still be paid");
    assert_eq!(read(&account, &made).await["status"], "active");
    let twice = account.refused(Method::POST, &format!("{path}/pay"), "", 400, Value::Null).await;
    assert_eq!(twice["message"], "Invoice is already paid");

    account.advance("2026-03-31T00:10:00Z").await;
    let path = format!("/v1/invoices/{}", latest().await);
    account.post(&format!("{path}/finalize"), "").await;
    let void = account.post(&format!("{path}/void"), "").await;
    assert_eq!((&void["status"], &void["amount_paid"]), (&json!("void"), &json!(0)));
    account.event("invoice.voided");
    account.refused(Method::POST, &format!("{path}/pay"), "", 400, Value::Null).await;
    account.advance("2026-04-30T00:10:00Z").await;
    let path = format!("/v1/invoices/{}", latest().await);
    let charges = account.simulator.log().charges().len();
    let outside = account.post(&format!("{path}/pay"), "paid_out_of_band=true").await;
    assert_eq!((&outside["status"], &outside["amount_paid_off_stripe"]), (&json!("paid"), &json!(1000)));
    assert_eq!(account.simulator.log().charges().len(), charges, "no money moved");
    let payments = account.get("/v1/invoice_payments", &format!("invoice={}", id(&outside))).await;
    assert_eq!(payments["data"], json!([]));
    account.refused(Method::POST, &format!("{path}/pay"), "forgive=true", 400, json!("forgive")).await;
}

#[tokio::test]
async fn cards_are_ordered_through_the_control_endpoint_too() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let path = format!("/control/customers/{}/card", customer(&made));
    let json_body = [("content-type", "application/json")];
    let order = r#"{"code":"card_declined","decline_code":"lost_card","advice_code":"do_not_try_again","times":1}"#;
    assert_eq!(account.send(Method::POST, &path, order, &json_body).await.status, 200);
    let form = format!("amount=5&currency=eur&confirm=true&payment_method=pm_card_visa&customer={}", customer(&made));
    let refused = account.send(Method::POST, "/v1/payment_intents", &form, &[]).await;
    assert_eq!((refused.status, &refused.body["error"]["advice_code"]), (402, &json!("do_not_try_again")));
    assert_eq!(account.send(Method::POST, "/v1/payment_intents", &form, &[]).await.status, 200, "once only");
    assert_eq!(account.send(Method::POST, &path, r#"{"times":1}"#, &json_body).await.status, 400);
    assert_eq!(account.send(Method::POST, "/control/customers/cus_x/card", "{}", &json_body).await.status, 400);
    let dunning = account.send(Method::POST, "/control/dunning", r#"{"outcome":"unpaid"}"#, &json_body).await;
    assert_eq!(dunning.status, 200);
}
