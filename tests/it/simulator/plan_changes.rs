//! Plans, seats and schedules that change while a subscription runs.

use creditd::simulator::CardOrder;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};

use super::{ACACIA, Account, id, ids_of, seconds};

/// A subscription of 10.00 a month since 2026-01-31, and its item.
async fn subscribed(account: &Account) -> (Value, String, String) {
    let made = account.subscription("").await;
    let item = id(&made["items"]["data"][0]);
    let path = format!("/v1/subscriptions/{}", id(&made));
    (made, item, path)
}

async fn price(account: &Account, amount: u32, interval: &str) -> String {
    let form = format!("currency=EUR&unit_amount={amount}&product_data[name]=Pro&recurring[interval]={interval}");
    id(&account.post("/v1/prices", &form).await)
}

fn lines(invoice: &Value) -> Vec<(i64, bool)> {
    let lines = invoice["lines"]["data"].as_array().unwrap().iter();
    lines
        .map(|line| {
            let details = &line["parent"]["subscription_item_details"];
            (line["amount"].as_i64().unwrap(), details["proration"].as_bool().unwrap())
        })
        .collect()
}

async fn latest(account: &Account, path: &str) -> Value {
    let invoice = account.get(path, "").await["latest_invoice"].as_str().unwrap().to_owned();
    account.get(&format!("/v1/invoices/{invoice}"), "").await
}

/// 2026-01-31 to 2026-02-28 has 28 days; on 2026-02-07 three quarters are left.
const QUARTER_GONE: &str = "2026-02-07T00:00:00Z";

#[tokio::test]
async fn an_upgrade_is_prorated_to_the_second_and_paid_at_once() {
    let account = Account::new().await;
    let (made, item, path) = subscribed(&account).await;
    let pro = price(&account, 5_000, "month").await;
    account.advance(QUARTER_GONE).await;
    let form = format!(
        "items[0][id]={item}&items[0][price]={pro}&proration_behavior=always_invoice\
         &payment_behavior=pending_if_incomplete"
    );
    let changed = account.post(&path, &form).await;
    assert_eq!(changed["items"]["data"][0]["id"], json!(item), "the item stays");
    assert_eq!(changed["items"]["data"][0]["price"]["id"], json!(pro));
    let period = ("current_period_start", "current_period_end");
    assert_eq!(changed["items"]["data"][0][period.1], made["items"]["data"][0][period.1], "so does the period");
    let invoice = latest(&account, &path).await;
    assert_eq!(
        (&invoice["billing_reason"], &invoice["status"], &invoice["total"]),
        (&json!("subscription_update"), &json!("paid"), &json!(3_000))
    );
    assert_eq!(lines(&invoice), [(-750, true), (3_750, true)]);
    let credit = &invoice["lines"]["data"][0];
    assert_eq!(credit["pricing"]["price_details"]["price"], made["items"]["data"][0]["price"]["id"]);
    assert_eq!(credit["period"], json!({ "start": seconds(QUARTER_GONE), "end": seconds("2026-02-28T00:00:00Z") }));
    let credited = &credit["parent"]["subscription_item_details"]["proration_details"]["credited_items"];
    assert_eq!(credited["invoice"], made["latest_invoice"]);
    let told = account.event("customer.subscription.updated");
    let previous = &told["data"]["previous_attributes"];
    assert_eq!(previous["items"]["data"][0]["price"]["id"], made["items"]["data"][0]["price"]["id"]);
    assert_eq!(previous["latest_invoice"], made["latest_invoice"]);
    let old = account.get_in(ACACIA, &format!("/v1/invoices/{}/lines", id(&invoice)), "").await.body["data"][0].clone();
    assert_eq!((&old["type"], &old["proration"]), (&json!("invoiceitem"), &json!(true)));
    assert_eq!((&old["subscription_item"], old["invoice_item"].is_string()), (&json!(item), true));
    account.advance("2026-03-01T00:00:00Z").await;
    assert_eq!(lines(&latest(&account, &path).await), [(5_000, false)], "the next period has no more prorations");
}

#[tokio::test]
async fn a_downgrade_becomes_the_customers_credit_or_waits_for_the_next_invoice() {
    let account = Account::new().await;
    let (made, item, path) = subscribed(&account).await;
    let cheap = price(&account, 400, "month").await;
    account.advance(QUARTER_GONE).await;
    account
        .post(&path, &format!("items[0][id]={item}&items[0][price]={cheap}&proration_behavior=always_invoice"))
        .await;
    let invoice = latest(&account, &path).await;
    assert_eq!(
        (&invoice["total"], &invoice["amount_due"], &invoice["status"]),
        (&json!(-450), &json!(0), &json!("paid"))
    );
    assert_eq!((&invoice["starting_balance"], &invoice["ending_balance"]), (&json!(0), &json!(-450)));
    let customer = format!("/v1/customers/{}", made["customer"].as_str().unwrap());
    assert_eq!(account.get(&customer, "").await["balance"], -450);
    account.post(&path, &format!("items[0][id]={item}&items[0][quantity]=3")).await;
    let waiting = account.get("/v1/invoiceitems", "pending=true").await;
    assert_eq!(waiting["data"].as_array().unwrap().len(), 2, "by default on the next invoice");
    account.advance("2026-03-01T00:00:00Z").await;
    let cycle = latest(&account, &path).await;
    assert_eq!(lines(&cycle), [(-300, true), (900, true), (1_200, false)]);
    assert_eq!((&cycle["total"], &cycle["amount_paid"]), (&json!(1_800), &json!(1_350)), "the credit pays first");
    assert!(ids_of(&account.get("/v1/invoiceitems", "pending=true").await).is_empty());
    let before = account.all_events().len();
    account.post(&path, &format!("items[0][id]={item}&items[0][quantity]=5&proration_behavior=none")).await;
    let told: Vec<Value> = account.all_events()[before..].iter().map(|event| event["type"].clone()).collect();
    assert_eq!(told, ["customer.subscription.updated"]);
}

#[tokio::test]
async fn items_come_and_go_and_what_makes_no_sense_is_refused() {
    let account = Account::new().await;
    let (_, item, path) = subscribed(&account).await;
    let (seats, yearly, dollars) = (
        price(&account, 200, "month").await,
        price(&account, 9_000, "year").await,
        account.post("/v1/prices", "currency=usd&unit_amount=1&product_data[name]=D&recurring[interval]=month").await,
    );
    account.advance(QUARTER_GONE).await;
    let added = account.post(&path, &format!("items[0][price]={seats}&items[0][quantity]=4")).await;
    let second = id(&added["items"]["data"][1]);
    let waiting = account.get("/v1/invoiceitems", "").await;
    assert_eq!(waiting["data"][0]["amount"], 600, "three quarters of four times 2.00");
    let once = account.price("").await;
    for (form, parameter) in [
        (format!("items[0][id]=si_none&items[0][price]={seats}"), "items[0][id]"),
        (format!("items[0][price]={seats}"), "items"),
        (format!("items[0][id]={item}&items[0][deleted]=true&items[1][id]={second}&items[1][deleted]=true"), "items"),
        (format!("items[0][id]={item}&items[0][price]={}", id(&dollars)), "items"),
        (format!("items[0][id]={item}&items[0][price]={yearly}"), "items"),
        (format!("items[0][id]={item}&items[0][price]={once}"), "items"),
        ("items[0][quantity]=2".to_owned(), "items[0][price]"),
        (format!("items[0][id]={item}&items[0][quantity]=2&proration_behavior=some"), "proration_behavior"),
        (format!("items[0][id]={item}&items[0][quantity]=2&proration_date=5"), "proration_date"),
        (format!("items[0][id]={item}&items[0][tax_rates][0]=txr_1"), "items[0][tax_rates][0]"),
        (
            format!("items[0][id]={item}&items[0][quantity]=2&payment_behavior=pending_if_incomplete&metadata[a]=b"),
            "metadata",
        ),
    ] {
        account.refused(Method::POST, &path, &form, 400, json!(parameter)).await;
    }
    let gone = account.post(&path, &format!("items[0][id]={second}&items[0][deleted]=true")).await;
    assert_eq!(gone["items"]["data"].as_array().unwrap().len(), 1);
    account.advance("2026-03-01T00:00:00Z").await;
    assert_eq!(lines(&latest(&account, &path).await), [(600, true), (-600, true), (1_000, false)]);
}

#[tokio::test]
async fn another_interval_begins_a_new_period_at_once() {
    let account = Account::new().await;
    let (_, item, path) = subscribed(&account).await;
    let yearly = price(&account, 9_000, "year").await;
    account.advance(QUARTER_GONE).await;
    let changed = account.post(&path, &format!("items[0][id]={item}&items[0][price]={yearly}")).await;
    let now = seconds(QUARTER_GONE);
    assert_eq!(
        (&changed["billing_cycle_anchor"], &changed["items"]["data"][0]["current_period_start"]),
        (&json!(now), &json!(now))
    );
    assert_eq!(changed["items"]["data"][0]["current_period_end"], json!(seconds("2027-02-07T00:00:00Z")));
    let invoice = latest(&account, &path).await;
    assert_eq!(lines(&invoice), [(-750, true), (9_000, false)]);
    account.advance("2026-03-07T00:00:00Z").await;
    assert_eq!(account.simulator.log().charges().len(), 2);
    let reset = account.post(&path, "billing_cycle_anchor=now&proration_behavior=none").await;
    assert_eq!(reset["billing_cycle_anchor"], json!(seconds("2026-03-07T00:00:00Z")));
    assert_eq!(lines(&latest(&account, &path).await), [(9_000, false)]);
}

#[tokio::test]
async fn a_change_that_is_not_paid_waits_is_refused_or_is_past_due() {
    let account = Account::new().await;
    let (made, item, path) = subscribed(&account).await;
    let pro = price(&account, 5_000, "month").await;
    let form = format!("items[0][id]={item}&items[0][price]={pro}&proration_behavior=always_invoice");
    let customer = made["customer"].as_str().unwrap();
    let declined = CardOrder::declined("card_declined", Some("insufficient_funds"));
    account.simulator.set_card(customer, &declined).unwrap();
    account.advance(QUARTER_GONE).await;
    let refused = account.send(Method::POST, &path, &format!("{form}&payment_behavior=error_if_incomplete"), &[]).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (402, &json!("card_declined")));
    assert_eq!(latest(&account, &path).await["id"], made["latest_invoice"], "nothing happened");
    let waits = account.post(&path, &format!("{form}&payment_behavior=pending_if_incomplete")).await;
    assert_eq!(
        (&waits["status"], &waits["items"]["data"][0]["price"]["id"]),
        (&json!("active"), &made["items"]["data"][0]["price"]["id"])
    );
    assert_eq!(waits["pending_update"]["subscription_items"][0]["price"]["id"], json!(pro));
    let invoice = latest(&account, &path).await;
    assert_eq!((&invoice["status"], &invoice["total"]), (&json!("open"), &json!(3_000)));
    account.advance("2026-02-08T00:00:00Z").await;
    let expired = account.get(&path, "").await;
    assert_eq!((&expired["pending_update"], &expired["status"]), (&Value::Null, &json!("active")));
    assert_eq!(account.get(&format!("/v1/invoices/{}", id(&invoice)), "").await["status"], "void");
    account.event("customer.subscription.pending_update_expired");
    account.post(&path, &format!("{form}&payment_behavior=pending_if_incomplete")).await;
    account.simulator.set_card(customer, &CardOrder::default()).unwrap();
    let second = latest(&account, &path).await;
    account.post(&format!("/v1/invoices/{}/pay", id(&second)), "").await;
    let applied = account.get(&path, "").await;
    assert_eq!((&applied["items"]["data"][0]["price"]["id"], &applied["pending_update"]), (&json!(pro), &Value::Null));
    account.event("customer.subscription.pending_update_applied");
    account.simulator.set_card(customer, &declined).unwrap();
    let more = format!("items[0][id]={item}&items[0][quantity]=2&proration_behavior=always_invoice");
    assert_eq!(account.post(&path, &more).await["status"], "past_due", "the change stays, the debt too");
}

#[tokio::test]
async fn a_schedule_changes_the_plan_when_its_phase_begins() {
    let account = Account::new().await;
    let (made, _, path) = subscribed(&account).await;
    let cheap = price(&account, 400, "month").await;
    let of = id(&made);
    let schedule = account.post("/v1/subscription_schedules", &format!("from_subscription={of}")).await;
    let at = format!("/v1/subscription_schedules/{}", id(&schedule));
    assert_eq!(account.get(&path, "").await["schedule"], schedule["id"]);
    let refused = format!("from_subscription={of}");
    account.refused(Method::POST, "/v1/subscription_schedules", &refused, 400, json!("from_subscription")).await;
    account.refused(Method::POST, &path, "cancel_at_period_end=true", 400, json!("cancel_at_period_end")).await;
    let (start, end) = (seconds("2026-01-31T00:00:00Z"), seconds("2026-02-28T00:00:00Z"));
    let now = made["items"]["data"][0]["price"]["id"].as_str().unwrap();
    let first = format!("phases[0][items][0][price]={now}&phases[0][start_date]={start}&phases[0][end_date]={end}");
    let late = format!("phases[0][items][0][price]={now}&phases[0][start_date]={}", start + 1);
    account.refused(Method::POST, &at, &late, 400, json!("phases[0][start_date]")).await;
    let gap = format!("{first}&phases[1][items][0][price]={cheap}&phases[1][start_date]={}", end + 5);
    account.refused(Method::POST, &at, &gap, 400, json!("phases[1][start_date]")).await;
    let phases = format!(
        "{first}&phases[1][items][0][price]={cheap}&phases[1][items][0][quantity]=2&phases[1][metadata][tier]=low\
         &phases[1][proration_behavior]=none&end_behavior=release"
    );
    let updated = account.post(&at, &phases).await;
    assert_eq!(updated["phases"][1]["end_date"], json!(seconds("2026-03-28T00:00:00Z")), "one interval");
    assert_eq!(account.get(&path, "").await["items"], made["items"], "nothing yet");
    account.advance("2026-02-28T02:00:00Z").await;
    let changed = account.get(&path, "").await;
    assert_eq!(
        (&changed["items"]["data"][0]["price"]["id"], &changed["items"]["data"][0]["id"]),
        (&json!(cheap), &made["items"]["data"][0]["id"])
    );
    assert_eq!(changed["metadata"]["tier"], "low");
    let invoice = latest(&account, &path).await;
    assert_eq!((lines(&invoice), &invoice["billing_reason"]), (vec![(800, false)], &json!("subscription_cycle")));
    account.advance("2026-04-01T00:00:00Z").await;
    let over = account.get(&at, "").await;
    assert_eq!((&over["status"], &over["released_subscription"]), (&json!("released"), &json!(of)));
    assert_eq!(account.get(&path, "").await["schedule"], Value::Null);
    account.event("subscription_schedule.created");
    account.event("subscription_schedule.released");
    account.refused(Method::POST, &format!("{at}/release"), "", 400, Value::Null).await;
}

#[tokio::test]
async fn a_schedule_is_released_or_canceled_and_may_cancel_at_its_end() {
    let account = Account::new().await;
    for (action, status, subscription) in
        [("release", "released", "active"), ("cancel", "canceled", "canceled"), ("", "completed", "canceled")]
    {
        let (made, _, path) = subscribed(&account).await;
        let form = format!("from_subscription={}", id(&made));
        let schedule = account.post("/v1/subscription_schedules", &form).await;
        let at = format!("/v1/subscription_schedules/{}", id(&schedule));
        if action.is_empty() {
            account.post(&at, "end_behavior=cancel").await;
            account.simulator.advance_to(account.simulator.now() + SignedDuration::from_hours(24 * 40)).await.unwrap();
        } else {
            account.post(&format!("{at}/{action}"), "").await;
        }
        assert_eq!(account.get(&at, "").await["status"], status, "{action}");
        assert_eq!(account.get(&path, "").await["status"], subscription, "{action}");
        account.event(&format!("subscription_schedule.{status}"));
    }
}

#[tokio::test]
async fn a_pause_keeps_voids_or_writes_off_what_comes_until_it_ends() {
    for (behavior, status) in [("keep_as_draft", "draft"), ("void", "void"), ("mark_uncollectible", "uncollectible")] {
        let account = Account::new().await;
        let (_, _, path) = subscribed(&account).await;
        account
            .refused(Method::POST, &path, "pause_collection[behavior]=sleep", 400, json!("pause_collection[behavior]"))
            .await;
        let until = seconds("2026-03-15T00:00:00Z");
        let form = format!("pause_collection[behavior]={behavior}&pause_collection[resumes_at]={until}");
        let paused = account.post(&path, &form).await;
        assert_eq!((&paused["status"], &paused["pause_collection"]["behavior"]), (&json!("active"), &json!(behavior)));
        account.advance("2026-03-10T00:00:00Z").await;
        assert_eq!(latest(&account, &path).await["status"], status);
        assert_eq!(account.simulator.log().charges().len(), 1);
        account.advance("2026-04-01T00:00:00Z").await;
        assert_eq!(account.get(&path, "").await["pause_collection"], Value::Null);
        assert_eq!(latest(&account, &path).await["status"], "paid", "collection goes on");
    }
    let account = Account::new().await;
    let (_, _, path) = subscribed(&account).await;
    account.post(&path, "pause_collection[behavior]=void").await;
    assert_eq!(account.post(&path, "pause_collection=").await["pause_collection"], Value::Null);
}

#[tokio::test]
async fn the_portal_is_an_address() {
    let account = Account::new().await;
    let (made, _, _) = subscribed(&account).await;
    let form = format!("customer={}&return_url=http://127.0.0.1/back", made["customer"].as_str().unwrap());
    let session = account.post("/v1/billing_portal/sessions", &form).await;
    assert!(session["url"].as_str().unwrap().starts_with("http://127.0.0.1"));
    account.refused(Method::POST, "/v1/billing_portal/sessions", "customer=cus_none", 400, json!("customer")).await;
}
