//! Overage becomes lines of Stripe's invoices: once, whatever is lost on the way, and is cleared when they are paid.

use std::time::Duration;

use creditd::simulator::{Fault, FaultRule, InvoiceOrder};
use creditd::stripe::transport::API_VERSION;
use serde_json::{Value, json};

use crate::stripe_writes::lint::lint_log;
use crate::support::app::STRIPE_KEY;
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
            assert!(started.elapsed() < Duration::from_secs(60), "events are still due");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn use_up(&self, key: &str, feature: &str, quantity: &str) -> Value {
        let body = json!({ "key": key, "customer": "ada", "feature": feature, "quantity": quantity, "when_short": "debt" });
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
        let debts = ada["debts"].as_array().cloned().unwrap_or_default();
        debts
            .iter()
            .map(|debt| (debt["feature"].as_str().unwrap_or("?").to_owned(), debt["owed"].as_str().unwrap_or("?").to_owned()))
            .collect()
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
    both.advance(json!({ "seconds": 40 * DAY })).await;
    let bills = both.bills().await;
    assert_eq!(bills.len(), 1, "{bills:?}");
    assert_eq!((&bills[0]["state"], &bills[0]["own_invoice"]), (&json!("paid"), &json!(false)));
    // 7 calls are 10.5 cents, which rounds to the even 10; 2 pages are 50 cents.
    assert_eq!(bills[0]["amount"], json!({ "amount": "0.60", "currency": "usd" }));
    let invoice = bills[0]["stripe_invoice"].as_str().unwrap().to_owned();
    let cycle = both.stripe("GET", &format!("/v1/invoices/{invoice}"), &[]).await;
    assert_eq!((&cycle["billing_reason"], &cycle["total"]), (&json!("subscription_cycle"), &json!(1060)));
    assert_eq!(both.owed().await, vec![], "what is paid is not owed");
    // A second month without overage bills nothing.
    both.advance(json!({ "seconds": 31 * DAY })).await;
    assert_eq!(both.bills().await.len(), 1);
    both.close().await;
}
