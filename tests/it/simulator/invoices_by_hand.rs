//! Invoices made by requests: drafted, filled, finalized, paid or not, ended; and what a page or a bank does to them.

use creditd::simulator::CardOrder;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};

use super::cards::saved;
use super::{Account, Answer, id, ids_of};

const DRAFT: &str = "currency=eur&pending_invoice_items_behavior=exclude&auto_advance=false";

async fn draft(account: &Account, customer: &str, more: &str) -> String {
    let form = format!("customer={customer}&{DRAFT}&metadata[creditd_topup_id]=top_1{more}");
    id(&account.post("/v1/invoices", &form).await)
}

/// A final invoice of 1,500.
async fn open(account: &Account, customer: &str, more: &str) -> String {
    let invoice = draft(account, customer, more).await;
    let item = format!("customer={customer}&invoice={invoice}&amount=1500&currency=eur&description=Credits");
    account.post("/v1/invoiceitems", &item).await;
    let made = account.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=false").await;
    assert_eq!((&made["status"], &made["amount_due"]), (&json!("open"), &json!(1_500)));
    assert_eq!(made["next_payment_attempt"], Value::Null, "nothing happens by itself");
    invoice
}

async fn pay(account: &Account, invoice: &str, form: &str) -> Answer {
    account.send(Method::POST, &format!("/v1/invoices/{invoice}/pay"), form, &[]).await
}

async fn read(account: &Account, invoice: &str) -> Value {
    account.get(&format!("/v1/invoices/{invoice}"), "expand[]=payments").await
}

async fn intent(account: &Account, invoice: &str) -> Value {
    let payment = read(account, invoice).await["payments"]["data"][0]["payment"]["payment_intent"].clone();
    account.get(&format!("/v1/payment_intents/{}", payment.as_str().unwrap()), "").await
}

async fn wait(account: &Account, seconds: i64) {
    let to = account.simulator.now() + SignedDuration::from_secs(seconds);
    account.simulator.advance_to(to).await.unwrap();
}

#[tokio::test]
async fn items_come_by_price_inline_price_or_amount_onto_a_draft() {
    let account = Account::new().await;
    let (customer, _) = saved(&account, "pm_card_visa").await;
    let price = account.price("").await;
    let product = account.get(&format!("/v1/prices/{price}"), "").await["product"].as_str().unwrap().to_owned();
    let invoice = draft(&account, &customer, "").await;
    let to = format!("customer={customer}&invoice={invoice}");
    for (cost, amount) in [
        (format!("pricing[price]={price}&quantity=3"), 3_000),
        (format!("price_data[currency]=eur&price_data[product]={product}&price_data[unit_amount]=7&quantity=2"), 14),
        ("amount=250&currency=eur&description=Overage&metadata[k]=v&period[start]=100&period[end]=200".to_owned(), 250),
        ("amount=-64&currency=eur".to_owned(), -64),
    ] {
        let item = account.post("/v1/invoiceitems", &format!("{to}&{cost}")).await;
        assert_eq!((&item["amount"], &item["invoice"]), (&json!(amount), &json!(invoice)), "{cost}");
    }
    let lines = account.get(&format!("/v1/invoices/{invoice}/lines"), "").await["data"].clone();
    assert_eq!(
        (&lines[2]["period"], &lines[2]["description"]),
        (&json!({"start": 100, "end": 200}), &json!("Overage"))
    );
    assert_eq!(
        (&lines[2]["metadata"]["k"], &lines[2]["parent"]["type"]),
        (&json!("v"), &json!("invoice_item_details"))
    );
    assert_eq!(read(&account, &invoice).await["total"], 3_200);
    for (wrong, parameter) in [
        ("", "pricing[price]"),
        ("amount=5", "currency"),
        ("amount=5&currency=usd", "currency"),
        ("amount=5&currency=eur&quantity=2", "quantity"),
        ("amount=5&currency=eur&pricing[price]=x", "pricing[price]"),
        ("amount=5&currency=eur&subscription=sub_x", "subscription"),
        ("amount=5&currency=eur&period[start]=9&period[end]=8", "period"),
        ("amount=5&currency=eur&discountable=false", "discountable"),
    ] {
        account.refused(Method::POST, "/v1/invoiceitems", &format!("{to}&{wrong}"), 400, json!(parameter)).await;
    }
    account.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=false").await;
    let late = format!("{to}&amount=5&currency=eur");
    account.refused(Method::POST, "/v1/invoiceitems", &late, 400, json!("invoice")).await;
}

#[tokio::test]
async fn a_draft_says_how_it_is_collected_is_changed_and_is_deleted() {
    let account = Account::new().await;
    let (customer, _) = saved(&account, "pm_card_visa").await;
    let of = format!("customer={customer}&{DRAFT}");
    for (wrong, parameter) in [
        ("&collection_method=send_invoice", "days_until_due"),
        ("&days_until_due=3", "days_until_due"),
        ("&collection_method=whim", "collection_method"),
        ("&default_payment_method=pm_card_visa", "default_payment_method"),
        ("&footer=x", "footer"),
    ] {
        account.refused(Method::POST, "/v1/invoices", &format!("{of}{wrong}"), 400, json!(parameter)).await;
    }
    let sent = draft(&account, &customer, "&collection_method=send_invoice&days_until_due=3").await;
    let found = read(&account, &sent).await;
    let due = account.simulator.now().as_second() + 3 * 24 * 60 * 60;
    assert_eq!((&found["due_date"], &found["collection_method"]), (&json!(due), &json!("send_invoice")));
    let item = format!("customer={customer}&invoice={sent}&amount=1500&currency=eur");
    let item = id(&account.post("/v1/invoiceitems", &item).await);
    let path = format!("/v1/invoices/{sent}");
    account.post(&path, "metadata[a]=b&description=Overage").await;
    let told = account.event("invoice.updated");
    assert_eq!(told["data"]["object"]["metadata"], json!({ "creditd_topup_id": "top_1", "a": "b" }));
    assert_eq!(told["data"]["previous_attributes"]["description"], Value::Null);
    let gone = account.send(Method::DELETE, &path, "", &[]).await;
    assert_eq!(gone.body, json!({ "id": sent, "object": "invoice", "deleted": true }));
    assert_eq!(account.event("invoice.deleted")["data"]["object"]["id"], json!(sent));
    assert_eq!(account.event("invoiceitem.deleted")["data"]["object"]["id"], json!(item));
    assert!(ids_of(&account.get("/v1/invoices", &format!("customer={customer}")).await).is_empty());
    let final_one = open(&account, &customer, "").await;
    let refused = account.send(Method::DELETE, &format!("/v1/invoices/{final_one}"), "", &[]).await;
    assert_eq!(refused.status, 400, "a final invoice is voided instead");
}

#[tokio::test]
async fn a_final_invoice_is_paid_by_a_saved_card_once() {
    let account = Account::new().await;
    let (customer, method) = saved(&account, "pm_card_visa").await;
    let invoice = open(&account, &customer, "").await;
    let nobody = pay(&account, &invoice, "off_session=true").await;
    assert_eq!((nobody.status, &nobody.body["error"]["code"]), (400, &json!("resource_missing")), "no default");
    let stranger = pay(&account, &invoice, "payment_method=pm_none").await;
    assert_eq!((stranger.status, &stranger.body["error"]["param"]), (400, &json!("payment_method")));
    let paid = pay(&account, &invoice, &format!("off_session=true&payment_method={method}")).await;
    assert_eq!((paid.status, &paid.body["status"], &paid.body["amount_paid"]), (200, &json!("paid"), &json!(1_500)));
    let again = pay(&account, &invoice, &format!("payment_method={method}")).await;
    assert_eq!((again.status, &again.body["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(again.body["error"]["message"], "Invoice is already paid");
    let told = account.event("invoice.paid")["data"]["object"].clone();
    assert_eq!((&told["billing_reason"], &told["metadata"]["creditd_topup_id"]), (&json!("manual"), &json!("top_1")));
    let charges = account.simulator.log().charges();
    assert_eq!(charges.len(), 1);
    assert_eq!((charges[0].invoice.as_deref(), charges[0].succeeded), (Some(invoice.as_str()), true));
    assert_eq!(account.get(&format!("/v1/charges/{}", charges[0].charge), "").await["payment_method"], json!(method));
    let void = account.send(Method::POST, &format!("/v1/invoices/{invoice}/void"), "", &[]).await;
    assert_eq!(void.status, 400, "what is paid is not voided");
}

#[tokio::test]
async fn its_own_method_then_the_customers_pays_without_being_named() {
    let account = Account::new().await;
    let (customer, first) = saved(&account, "pm_card_visa").await;
    let attach = format!("customer={customer}");
    let second = id(&account.post("/v1/payment_methods/pm_card_mastercard/attach", &attach).await);
    account
        .post(&format!("/v1/customers/{customer}"), &format!("invoice_settings[default_payment_method]={first}"))
        .await;
    for (more, expected) in [(String::new(), &first), (format!("&default_payment_method={second}"), &second)] {
        let invoice = open(&account, &customer, &more).await;
        assert_eq!(pay(&account, &invoice, "off_session=true").await.status, 200);
        assert_eq!(intent(&account, &invoice).await["payment_method"], json!(expected));
    }
}

#[tokio::test]
async fn a_decline_leaves_it_open_for_another_card_and_void_ends_it() {
    let account = Account::new().await;
    let (customer, method) = saved(&account, "pm_card_chargeDeclinedInsufficientFunds").await;
    let invoice = open(&account, &customer, "").await;
    let form = format!("off_session=true&payment_method={method}");
    let declined = pay(&account, &invoice, &form).await;
    assert_eq!((declined.status, &declined.body["error"]["decline_code"]), (402, &json!("insufficient_funds")));
    let found = read(&account, &invoice).await;
    assert_eq!((&found["status"], &found["attempt_count"]), (&json!("open"), &json!(1)));
    assert_eq!(found["next_payment_attempt"], Value::Null, "nothing is retried by itself");
    assert_eq!(account.event("invoice.payment_failed")["data"]["object"]["metadata"]["creditd_topup_id"], "top_1");
    let waiting = intent(&account, &invoice).await;
    assert_eq!(waiting["status"], "requires_payment_method");
    let cancel = format!("/v1/payment_intents/{}/cancel", id(&waiting));
    account.refused(Method::POST, &cancel, "", 400, json!("id")).await;
    wait(&account, 30 * 24 * 60 * 60).await;
    assert_eq!(account.simulator.log().charges().len(), 1, "nothing hammers");
    account.post(&format!("/v1/invoices/{invoice}/void"), "").await;
    assert_eq!(intent(&account, &invoice).await["status"], "canceled");
    assert!(account.simulator.authenticate(&id(&waiting), true).is_err());
    assert_eq!(pay(&account, &invoice, "payment_method=pm_card_visa").await.status, 400);
    let other = open(&account, &customer, "").await;
    assert_eq!(pay(&account, &other, &form).await.status, 402);
    assert_eq!(pay(&account, &other, "payment_method=pm_card_visa").await.body["status"], "paid");
    assert_eq!(read(&account, &other).await["attempt_count"], 2);
}

#[tokio::test]
async fn a_card_that_asks_keeps_the_intent_and_its_owner_pays_late() {
    let account = Account::new().await;
    let (customer, method) = saved(&account, "pm_card_authenticationRequired").await;
    let invoice = open(&account, &customer, "").await;
    let asked = pay(&account, &invoice, &format!("off_session=true&payment_method={method}")).await;
    let error = &asked.body["error"];
    assert_eq!((asked.status, &error["code"]), (402, &json!("invoice_payment_intent_requires_action")));
    assert_eq!(error["payment_intent"]["status"], "requires_action");
    assert_eq!(account.event("invoice.payment_action_required")["data"]["object"]["id"], json!(invoice));
    assert_eq!(read(&account, &invoice).await["status"], "open");
    wait(&account, 60).await;
    account.simulator.authenticate(&id(&intent(&account, &invoice).await), true).unwrap();
    assert_eq!(account.event("invoice.paid")["data"]["object"]["id"], json!(invoice));
    // A test may order the answer that a payment intent gives.
    let order = CardOrder::declined("authentication_required", Some("authentication_required"));
    account.simulator.set_card(&customer, &order).unwrap();
    let other = open(&account, &customer, "").await;
    let refused = pay(&account, &other, "payment_method=pm_card_visa").await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (402, &json!("authentication_required")));
    assert_eq!(intent(&account, &other).await["status"], "requires_payment_method");
}

#[tokio::test]
async fn a_debit_pays_days_later_and_meanwhile_nothing_else_does() {
    for (account_name, status) in [("pm_usBankAccount_success", "paid"), ("pm_usBankAccount_noAccount", "open")] {
        let account = Account::new().await;
        let (customer, method) = saved(&account, account_name).await;
        let invoice = open(&account, &customer, "").await;
        let begun = pay(&account, &invoice, &format!("payment_method={method}")).await;
        assert_eq!((begun.status, &begun.body["status"]), (200, &json!("open")));
        assert_eq!(intent(&account, &invoice).await["status"], "processing");
        for refused in ["pay", "void"] {
            let path = format!("/v1/invoices/{invoice}/{refused}");
            assert_eq!(account.send(Method::POST, &path, "", &[]).await.status, 400, "{refused} meanwhile");
        }
        assert!(account.simulator.pay_invoice(&invoice, "pm_card_visa").is_err());
        wait(&account, 4 * 24 * 60 * 60).await;
        assert_eq!(read(&account, &invoice).await["status"], json!(status));
        let told = if status == "paid" { "invoice.paid" } else { "invoice.payment_failed" };
        account.event(told);
    }
}

#[tokio::test]
async fn its_page_pays_with_the_card_that_the_payer_brings() {
    let account = Account::new().await;
    let (customer, _) = saved(&account, "pm_card_visa").await;
    let invoice = open(&account, &customer, "").await;
    let url = read(&account, &invoice).await["hosted_invoice_url"].as_str().unwrap().to_owned();
    let page = account.client.get(&url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("15.00 EUR") && page.contains("<button"), "{page}");
    assert!(account.simulator.pay_invoice(&invoice, "pm_none").is_err());
    assert!(account.simulator.pay_invoice(&invoice, "pm_card_chargeDeclined").is_err());
    assert_eq!(read(&account, &invoice).await["attempt_count"], 1);
    // An order is for charges without a payer.
    account.simulator.set_card(&customer, &CardOrder::declined("card_declined", None)).unwrap();
    let body = [("content-type", "application/json")];
    let control = format!("/control/invoices/{invoice}/pay");
    let paid = account.send(Method::POST, &control, r#"{"card":"pm_card_authenticationRequired"}"#, &body).await;
    assert_eq!((paid.status, &paid.body["status"]), (200, &json!("paid")), "who is there authenticates");
    assert_eq!(account.client.post(&url).send().await.unwrap().status(), 400, "paid once");
    let other = open(&account, &customer, "").await;
    let url = read(&account, &other).await["hosted_invoice_url"].as_str().unwrap().to_owned();
    assert_eq!(account.client.post(&url).send().await.unwrap().status(), 303);
    assert_eq!(read(&account, &other).await["status"], "paid");
    let voided = open(&account, &customer, "").await;
    account.post(&format!("/v1/invoices/{voided}/void"), "").await;
    assert!(account.simulator.pay_invoice(&voided, "pm_card_visa").is_err());
    assert_eq!(account.client.get(format!("{url}x")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_customers_balance_pays_without_a_charge() {
    let account = Account::new().await;
    let (customer, _) = saved(&account, "pm_card_visa").await;
    account.post(&format!("/v1/customers/{customer}"), "balance=-2000").await;
    let invoice = draft(&account, &customer, "").await;
    let item = format!("customer={customer}&invoice={invoice}&amount=1500&currency=eur");
    account.post("/v1/invoiceitems", &item).await;
    let paid = account.post(&format!("/v1/invoices/{invoice}/finalize"), "").await;
    assert_eq!((&paid["status"], &paid["amount_paid"], &paid["total"]), (&json!("paid"), &json!(0), &json!(1_500)));
    assert_eq!(account.event("invoice.paid")["data"]["object"]["ending_balance"], -500);
    assert!(account.simulator.log().charges().is_empty());
    let again = pay(&account, &invoice, "").await;
    assert_eq!(again.body["error"]["message"], "Invoice is already paid");
}

#[tokio::test]
async fn one_that_advances_is_collected_by_stripes_own_dunning() {
    let account = Account::new().await;
    let (customer, method) = saved(&account, "pm_card_chargeDeclined").await;
    let invoice = draft(&account, &customer, &format!("&default_payment_method={method}")).await;
    let item = format!("customer={customer}&invoice={invoice}&amount=1500&currency=eur");
    account.post("/v1/invoiceitems", &item).await;
    account.post(&format!("/v1/invoices/{invoice}/finalize"), "auto_advance=true").await;
    wait(&account, 3_599).await;
    assert!(account.simulator.log().charges().is_empty());
    wait(&account, 1).await;
    let first = account.simulator.now().as_second();
    assert_eq!(account.simulator.log().charges().len(), 1);
    assert_eq!(read(&account, &invoice).await["next_payment_attempt"], json!(first + 3 * 24 * 60 * 60));
    wait(&account, 30 * 24 * 60 * 60).await;
    assert_eq!(account.simulator.log().charges().len(), 4, "after 3, 5 and 7 days, and then no more");
    assert_eq!(read(&account, &invoice).await["status"], "open");
    // One that is sent waits for its payer.
    let sent = draft(&account, &customer, "&collection_method=send_invoice&days_until_due=3").await;
    account.post("/v1/invoiceitems", &item.replace(&invoice, &sent)).await;
    account.post(&format!("/v1/invoices/{sent}/finalize"), "auto_advance=true").await;
    wait(&account, 30 * 24 * 60 * 60).await;
    assert_eq!(account.simulator.log().charges().len(), 4);
    let form = format!("customer={customer}&currency=eur&pending_invoice_items_behavior=exclude&auto_advance=true");
    let by_itself = id(&account.post("/v1/invoices", &form).await);
    account.post("/v1/invoiceitems", &item.replace(&invoice, &by_itself)).await;
    account
        .post(&format!("/v1/customers/{customer}"), &format!("invoice_settings[default_payment_method]={method}"))
        .await;
    account.post(&format!("/v1/payment_methods/{method}/detach"), "").await;
    wait(&account, 3_600).await;
    assert!(read(&account, &by_itself).await["number"].is_string(), "an hour later it is final");
}

#[tokio::test]
async fn items_reach_a_cycle_invoice_before_it_or_while_it_is_a_draft() {
    let account = Account::new().await;
    let made = account.subscription("").await;
    let (subscription, customer) = (id(&made), made["customer"].as_str().unwrap().to_owned());
    let to = format!("customer={customer}&currency=eur&amount");
    let waiting = account.post("/v1/invoiceitems", &format!("{to}=250&subscription={subscription}")).await;
    assert_eq!((&waiting["invoice"], &waiting["proration"]), (&Value::Null, &json!(false)));
    let dropped = account.post("/v1/invoiceitems", &format!("{to}=9&subscription={subscription}")).await;
    let path = format!("/v1/invoiceitems/{}", id(&dropped));
    assert_eq!(account.send(Method::DELETE, &path, "", &[]).await.body["deleted"], true);
    let stranger = id(&account.post("/v1/customers", "").await);
    let foreign = format!("customer={stranger}&currency=eur&amount=1&subscription={subscription}");
    account.refused(Method::POST, "/v1/invoiceitems", &foreign, 400, json!("subscription")).await;
    let end = made["items"]["data"][0]["current_period_end"].as_i64().unwrap();
    account.simulator.advance_to(jiff::Timestamp::from_second(end + 60).unwrap()).await.unwrap();
    let found = account.get(&format!("/v1/subscriptions/{subscription}"), "").await;
    let cycle = found["latest_invoice"].as_str().unwrap().to_owned();
    assert_eq!(read(&account, &cycle).await["total"], 1_250, "what waited is on it");
    account.post("/v1/invoiceitems", &format!("{to}=50&invoice={cycle}&metadata[creditd_overage]=o1")).await;
    wait(&account, 3_600).await;
    let paid = read(&account, &cycle).await;
    assert_eq!((&paid["status"], &paid["amount_paid"]), (&json!("paid"), &json!(1_300)));
    let lines = paid["lines"]["data"].as_array().unwrap();
    let by_hand: Vec<&Value> = lines.iter().filter(|line| line["parent"]["type"] == "invoice_item_details").collect();
    assert_eq!(by_hand.len(), 2);
    for line in by_hand {
        let details = &line["parent"]["invoice_item_details"];
        assert_eq!((&details["subscription"], &details["proration"]), (&json!(subscription), &json!(false)));
        assert!(details["invoice_item"].is_string());
    }
    let refused = account.send(Method::DELETE, &format!("/v1/invoiceitems/{}", id(&waiting)), "", &[]).await;
    assert_eq!(refused.status, 400, "it is billed");
}
