//! Overage becomes lines of Stripe's invoices: once, whatever is lost on the way, and is cleared when they are paid.

use std::time::Duration;

use creditd::simulator::CardOrder;
use creditd::stripe::transport::API_VERSION;
use rstest::rstest;
use serde_json::{Value, json};

use crate::stripe_writes::lint::lint_log;
use crate::support::app::WEBHOOK_SECRET;
use crate::test_clock::Both;

const DAY: i64 = 86_400;

/// Ten calls a month for ten dollars, and up to a hundred more at 1.5 cents.
pub(crate) const CATALOG: &str = r#"
[features.calls]
type = "metered"
[features.pages]
type = "metered"
[plans.free]
auto_enable = true
group = "main"
[[plans.free.items]]
feature = "calls"
included = "5"
reset = "month"
overage = { limit = "1000", amount = "0.015", currency = "usd" }
[plans.pro]
group = "main"
revenue = "credits"
prices = [{ amount = "10.00", currency = "usd", every = "month", stripe_price = "price_pro" }]
[[plans.pro.items]]
feature = "calls"
included = "10"
reset = "month"
overage = { limit = "100", amount = "0.015", currency = "usd" }
[[plans.pro.items]]
feature = "pages"
included = "1"
reset = "month"
overage = { limit = "100", amount = "0.25", currency = "usd" }
"#;

impl Both {
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}/api/v1{path}", self.daemon.address());
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Waits until what Stripe told so far is worked through.
    async fn worked_through(&self) {
        let started = creditd::clock::instant();
        while self.store.count_due_events().await.unwrap() > 0 {
            assert!(started.elapsed() < Duration::from_mins(1), "events are still due");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn use_up(&self, key: &str, feature: &str, quantity: &str) -> Value {
        let body =
            json!({ "key": key, "customer": "ada", "feature": feature, "quantity": quantity, "when_short": "debt" });
        let (status, answer) = self.call("POST", "/track", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn bills(&self) -> Vec<Value> {
        let (status, page) = self.call("GET", "/customers/ada/overage-bills", None).await;
        assert_eq!(status, 200, "{page}");
        page["data"].as_array().unwrap().clone()
    }

    /// What is owed of usage: credits by feature.
    async fn owed(&self) -> Vec<(String, String)> {
        let (_, ada) = self.call("GET", "/customers/ada", None).await;
        let mut owed = Vec::new();
        for wallet in ada["wallets"].as_array().unwrap() {
            for debt in wallet["debts"].as_array().unwrap() {
                assert_eq!(debt["invoiced"], true);
                owed.push((wallet["feature"].as_str().unwrap().to_owned(), debt["owed"].as_str().unwrap().to_owned()));
            }
        }
        owed
    }

    /// Lines of overage on all invoices of Stripe that are not void: amounts by invoice.
    async fn stripe_lines(&self) -> Vec<(String, i64)> {
        let invoices = self.stripe("GET", "/v1/invoices?limit=100", &[]).await;
        let mut found = Vec::new();
        for invoice in invoices["data"].as_array().unwrap() {
            let id = invoice["id"].as_str().unwrap();
            let lines = self.stripe("GET", &format!("/v1/invoices/{id}/lines?limit=100"), &[]).await;
            for line in lines["data"].as_array().unwrap() {
                if line["metadata"]["creditd_bill_id"].is_string() && invoice["status"] != "void" {
                    found.push((id.to_owned(), line["amount"].as_i64().unwrap()));
                }
            }
        }
        found
    }

    /// The books balance, and what Stripe was sent is right by the official SDK.
    pub(crate) async fn close(self) {
        let log = self.simulator.log();
        tokio::task::spawn_blocking(move || lint_log(&log)).await.unwrap();
        assert_eq!(self.store.count_due_bills().await.unwrap(), 0);
        let found = self.store.verify().await.unwrap();
        assert!(!found.differs(), "{:?}", found.checks);
        self.daemon.stop().await;
        self.simulator.stop().await;
    }
}

#[tokio::test]
async fn a_month_of_overage_goes_on_the_subscriptions_invoice_and_is_cleared_when_it_is_paid() {
    let both = Both::start_as(CATALOG, API_VERSION, |_| {}).await;
    both.subscribe().await;
    both.worked_through().await;
    both.use_up("t1", "calls", "17").await;
    both.use_up("t2", "pages", "3").await;
    assert!(both.bills().await.is_empty(), "nothing is billed before the period is over");
    assert_eq!(both.owed().await, [("calls".to_owned(), "7".to_owned()), ("pages".to_owned(), "2".to_owned())]);
    both.advance(json!({ "seconds": 40 * DAY })).await;
    let bills = both.bills().await;
    assert_eq!(bills.len(), 1, "{bills:?}");
    assert_eq!((&bills[0]["state"], &bills[0]["own_invoice"]), (&json!("paid"), &json!(false)));
    // 7 calls are 10.5 cents, which rounds to the even 10; 2 pages are 50 cents.
    assert_eq!(bills[0]["amount"], json!({ "amount": "0.60", "currency": "usd" }));
    let invoice = bills[0]["stripe_invoice"].as_str().unwrap().to_owned();
    let cycle = both.stripe("GET", &format!("/v1/invoices/{invoice}"), &[]).await;
    assert_eq!((&cycle["billing_reason"], &cycle["total"]), (&json!("subscription_cycle"), &json!(1060)));
    assert!(both.owed().await.is_empty(), "what is paid is not owed");
    // A second month without overage bills nothing.
    both.advance(json!({ "seconds": 31 * DAY })).await;
    assert_eq!(both.bills().await.len(), 1);
    both.close().await;
}

impl Both {
    /// Tells the daemon of Stripe's events of a type, the oldest first, each so often.
    async fn tell(&self, kind: &str, times: usize) {
        for event in self.simulator.event_ids(kind) {
            for _ in 0..times {
                let (body, signature) = self.simulator.signed_delivery(&event).unwrap();
                let url = format!("http://{}/webhooks/stripe", self.daemon.address());
                let sent = self.client.post(url).header("Stripe-Signature", signature).body(body).send().await.unwrap();
                assert!(sent.status().is_success());
            }
        }
        self.worked_through().await;
    }

    /// Works on bills until there are so many and none is on its way; the newest.
    async fn billed(&self, count: usize) -> Value {
        for _ in 0..500 {
            self.daemon.overage().round().await.unwrap();
            self.daemon.bills().unwrap().round().await.unwrap();
            // In this order: what is not due any more is as it will stay.
            let due = self.store.count_due_bills().await.unwrap();
            let mut bills = self.bills().await;
            assert!(bills.len() <= count, "{bills:?}");
            if bills.len() == count && due == 0 && bills.iter().all(|bill| bill["state"] != "open") {
                return if count == 0 { Value::Null } else { bills.remove(0) };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("there are no {count} bills: {:?}", self.bills().await);
    }

    /// A customer without a subscription, who is one of Stripe's.
    async fn without_subscription(&self) -> String {
        let customer = self.stripe("POST", "/v1/customers", &[("name", "Ada")]).await;
        let customer = customer["id"].as_str().unwrap().to_owned();
        let (status, answer) = self.call("PUT", "/customers/ada", Some(json!({ "stripe_customer": customer }))).await;
        assert!(status < 300, "{answer}");
        customer
    }

    async fn invoice_of(&self, bill: &Value) -> Value {
        self.stripe("GET", &format!("/v1/invoices/{}", bill["stripe_invoice"].as_str().unwrap()), &[]).await
    }
}

#[tokio::test]
async fn without_a_subscription_a_month_is_billed_by_an_invoice_of_its_own() {
    let both = Both::start_as(CATALOG, API_VERSION, |_| {}).await;
    let customer = both.without_subscription().await;
    both.use_up("t1", "calls", "105").await;
    both.billed(0).await;
    // Until the charge, which Stripe makes by itself an hour after the invoice is final.
    both.advance(json!({ "seconds": 31 * DAY })).await;
    both.use_up("t2", "calls", "1").await;
    both.billed(1).await;
    both.advance(json!({ "seconds": 7_200 })).await;
    let bills = both.bills().await;
    assert_eq!(bills.len(), 1, "{bills:?}");
    assert_eq!((&bills[0]["state"], &bills[0]["own_invoice"]), (&json!("paid"), &json!(true)));
    assert_eq!(bills[0]["amount"]["amount"], "1.50");
    assert!(bills[0]["hosted_invoice_url"].as_str().is_some_and(|url| url.contains("/invoice/")), "{bills:?}");
    let invoice = both.invoice_of(&bills[0]).await;
    assert_eq!((&invoice["billing_reason"], &invoice["customer"]), (&json!("manual"), &json!(customer)));
    assert_eq!(both.simulator.log().charges().iter().filter(|charge| charge.succeeded).count(), 1);
    assert_eq!(both.owed().await.len(), 0, "the call after that was of the new month's credits");
    both.close().await;
}

/// What Stripe tells of the draft comes often, late, or after the payment; its overage is billed once.
#[rstest]
#[case::often(&[("invoice.created", 3), ("invoice.paid", 3), ("invoice.created", 1)], false)]
#[case::late(&[("invoice.paid", 1), ("invoice.created", 2)], true)]
#[tokio::test]
async fn drafts_told_often_or_late_bill_once(#[case] told: &[(&str, usize)], #[case] is_late: bool) {
    let both = Both::start_as(CATALOG, API_VERSION, |_| {}).await;
    both.subscribe().await;
    both.worked_through().await;
    both.use_up("t1", "calls", "20").await;
    let hook = format!("http://{}/webhooks/stripe", both.daemon.address());
    both.simulator.set_webhook(None, vec![WEBHOOK_SECRET.to_owned()]).unwrap();
    if is_late {
        both.advance(json!({ "seconds": 32 * DAY })).await;
    }
    // A draft is one for an hour: from timer to timer, so that it is met as one.
    let before = 1;
    while both.simulator.event_ids("invoice.created").len() == before {
        let next = both.simulator.next_timer().expect("the subscription goes on");
        both.advance(json!({ "to": (next + jiff::SignedDuration::from_secs(1)).to_string() })).await;
    }
    for (kind, times) in told {
        both.tell(kind, *times).await;
        both.billed(usize::from(!is_late || *kind == "invoice.created")).await;
        both.advance(json!({ "seconds": 7_200 })).await;
    }
    both.simulator.set_webhook(Some(hook), vec![WEBHOOK_SECRET.to_owned()]).unwrap();
    both.tell("invoice.paid", 1).await;
    let bills = both.bills().await;
    assert_eq!(bills.len(), 1, "{bills:?}");
    assert_eq!((&bills[0]["state"], &bills[0]["own_invoice"]), (&json!("paid"), &json!(is_late)), "{bills:?}");
    let lines = both.stripe_lines().await;
    assert_eq!(lines.iter().map(|(_, amount)| amount).sum::<i64>(), 15, "{lines:?}");
    assert!(both.owed().await.is_empty());
    both.close().await;
}

#[tokio::test]
async fn a_voided_invoice_is_billed_again_and_one_given_up_stays_owed_until_it_is_paid() {
    let both = Both::start_as(CATALOG, API_VERSION, |_| {}).await;
    let customer = both.without_subscription().await;
    // Nothing is collected by itself: every charge of the card is declined.
    let declined = CardOrder::declined("card_declined", Some("insufficient_funds"));
    both.simulator.set_card(&customer, &declined).unwrap();
    both.use_up("t1", "calls", "105").await;
    both.advance(json!({ "seconds": 31 * DAY })).await;
    let first = both.billed(1).await;
    assert_eq!(first["state"], "invoiced", "{first}");
    let invoice = first["stripe_invoice"].as_str().unwrap().to_owned();
    both.stripe("POST", &format!("/v1/invoices/{invoice}/void"), &[]).await;
    both.tell("invoice.voided", 2).await;
    let voided = both.bills().await.remove(0);
    assert_eq!((&voided["state"], &voided["reason"]), (&json!("void"), &json!("the invoice was voided")));
    assert_eq!(both.owed().await, [("calls".to_owned(), "100".to_owned())], "it is owed as before");
    both.billed(1).await;
    both.advance(json!({ "seconds": 31 * DAY })).await;
    let second = both.billed(2).await;
    let invoice = second["stripe_invoice"].as_str().unwrap().to_owned();
    both.stripe("POST", &format!("/v1/invoices/{invoice}/mark_uncollectible"), &[]).await;
    both.tell("invoice.marked_uncollectible", 1).await;
    assert_eq!(both.bills().await[0]["state"], "invoiced", "given up is not paid, and may be yet");
    assert_eq!(both.owed().await, [("calls".to_owned(), "100".to_owned())]);
    both.stripe("POST", &format!("/v1/invoices/{invoice}/pay"), &[("paid_out_of_band", "true")]).await;
    both.tell("invoice.paid", 2).await;
    assert_eq!(both.bills().await[0]["state"], "paid");
    assert!(both.owed().await.is_empty());
    let alive: i64 = both.stripe_lines().await.iter().map(|(_, amount)| amount).sum();
    assert_eq!(alive, 150, "each credit stands on one invoice that is not void");
    both.close().await;
}

#[tokio::test]
async fn usage_of_a_billed_month_that_is_taken_back_comes_back_as_credits() {
    let both = Both::start_as(CATALOG, API_VERSION, |_| {}).await;
    both.subscribe().await;
    both.worked_through().await;
    both.use_up("t1", "calls", "30").await;
    both.advance(json!({ "seconds": 32 * DAY })).await;
    assert_eq!(both.bills().await[0]["state"], "paid");
    let available = async || {
        let (_, ada) = both.call("GET", "/customers/ada", None).await;
        let calls = ada["balances"].as_array().unwrap().iter().find(|one| one["feature"] == "calls").cloned();
        calls.unwrap()["available"].as_str().unwrap().to_owned()
    };
    assert_eq!(available().await, "10");
    let body = json!({ "key": "r1", "customer": "ada", "feature": "calls", "quantity": "-8" });
    for _ in 0..2 {
        let (status, answer) = both.call("POST", "/track", Some(body.clone())).await;
        assert_eq!((status, &answer["drawn"]), (200, &json!("-8")), "{answer}");
    }
    assert_eq!(available().await, "18", "once for its key");
    let (_, grants) = both.call("GET", "/customers/ada/grants", None).await;
    let given = grants["data"].as_array().unwrap().iter().find(|grant| grant["reason"] == "returned overage").unwrap();
    assert_eq!(
        (&given["category"], &given["quantity"], &given["priority"]),
        (&json!("prepaid"), &json!("8"), &json!(50))
    );
    both.close().await;
}
