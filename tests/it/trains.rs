//! One scenario in the shapes of each train of Stripe's API: the same business facts, entry for entry (rule 9). Subscribed,
//! renewed twice, upgraded in the middle of a month, topped up three times, refunded in part, a dispute lost, a dispute
//! won, cancelled.

use std::time::Duration;

use creditd::simulator::{DisputeOrder, DisputeStep, Outcome};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::app::CATALOG;
use crate::test_clock::Both;

const HOUR: i64 = 3_600;
const PATIENCE: Duration = Duration::from_mins(1);
/// Everybody begins here, so that months are as long for all.
const BEGIN: &str = "2027-01-05T10:00:00Z";
pub(crate) const MAX: &str = "
[plans.max]
name = \"Max\"
group = \"main\"
prices = [{ amount = \"25.00\", currency = \"usd\", every = \"month\", stripe_price = \"price_max\" }]

[[plans.max.items]]
feature = \"usd_credits\"
included = \"30\"
reset = \"month\"
";

struct Scenario(Both);

impl Scenario {
    async fn begin(endpoint: &str, asked: &str) -> Self {
        let catalog = format!("{CATALOG}{MAX}");
        let both = Both::start_as(&catalog, asked, |options| {
            endpoint.clone_into(&mut options.endpoint_version);
            asked.clone_into(&mut options.default_request_version);
        })
        .await;
        both.advance(json!({ "to": BEGIN })).await;
        Self(both)
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("http://{}/api/v1{path}", self.0.daemon.address());
        let request = self.0.client.request(method.parse().unwrap(), url).bearer_auth(&self.0.key);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    async fn pay(&self, mode: &str, price: &str, quantity: &str) -> Value {
        let mut form = vec![
            ("success_url", "https://example.com/"),
            ("mode", mode),
            ("line_items[0][price]", price),
            ("line_items[0][quantity]", quantity),
            ("metadata[customer_id]", "ada"),
        ];
        if mode == "subscription" {
            form.push(("subscription_data[metadata][customer_id]", "ada"));
        }
        let session = self.0.stripe("POST", "/v1/checkout/sessions", &form).await;
        self.0.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap()
    }

    async fn charge_of(&self, session: &Value) -> String {
        let intent = session["payment_intent"].as_str().unwrap();
        let intent = self.0.stripe("GET", &format!("/v1/payment_intents/{intent}"), &[]).await;
        intent["latest_charge"].as_str().unwrap().to_owned()
    }

    async fn spend(&self, key: &str, credits: i64) {
        let usage = json!({ "key": key, "customer": "ada", "feature": "premium_messages", "quantity": (credits * 10).to_string() });
        let answer = self.ask("POST", "/track", Some(usage)).await;
        assert_eq!(answer["drawn"], json!(credits.to_string()), "{answer}");
    }

    async fn has(&self, plan: &str, credits: &str) {
        let started = creditd::clock::instant();
        loop {
            let read = self.ask("GET", "/customers/ada", None).await;
            let plans: Vec<&str> =
                read["plans"].as_array().unwrap().iter().filter_map(|plan| plan["plan"].as_str()).collect();
            let pool = read["balances"].as_array().unwrap().iter().find(|b| b["feature"] == "usd_credits").unwrap();
            if (plans.join(" ").as_str(), pool["available"].as_str().unwrap()) == (plan, credits) {
                return;
            }
            let late = started.elapsed() > PATIENCE;
            if late {
                let events = self.ask("GET", "/stripe-events?limit=500", None).await;
                let stuck = events["data"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|event| event["state"] != "processed" && event["reason"] != "told_by_other_event");
                let stuck: Vec<String> =
                    stuck.map(|event| format!("{} {} {}", event["type"], event["state"], event["reason"])).collect();
                panic!("{plans:?} {}, not {plan} {credits}; {stuck:#?}", pool["available"]);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn second(&self, what: &str) -> i64 {
        let read = self.ask("GET", "/customers/ada", None).await;
        read["plans"][0][what].as_str().unwrap().parse::<Timestamp>().unwrap().as_second()
    }

    async fn forward_to(&self, second: i64) {
        let to = Timestamp::from_second(second).unwrap();
        self.0.advance(json!({ "to": to.to_string() })).await;
    }

    async fn tell(self) -> Vec<String> {
        self.ask("PUT", "/customers/ada", Some(json!({}))).await;
        self.has("free", "5").await;
        let session = self.pay("subscription", "price_pro", "1").await;
        let subscription = session["subscription"].as_str().unwrap();
        self.has("pro", "10").await;
        let start = self.second("anchor").await;
        self.spend("first", 3).await;
        for _ in 0..2 {
            self.forward_to(self.second("paid_through").await + 2 * HOUR).await;
            self.has("pro", "10").await;
        }
        // The middle of March: a quarter is used, then Max, 20 credits a month more.
        let end = self.second("paid_through").await;
        let middle = end - 31 * 12 * HOUR;
        self.forward_to(middle).await;
        self.spend("second", 2).await;
        let path = format!("/v1/subscriptions/{subscription}");
        let read = self.0.stripe("GET", &path, &[]).await;
        let (item, date) = (read["items"]["data"][0]["id"].as_str().unwrap(), middle.to_string());
        let form = [
            ("items[0][id]", item),
            ("items[0][price]", "price_max"),
            ("proration_behavior", "always_invoice"),
            ("proration_date", &date),
        ];
        self.0.stripe("POST", &path, &form).await;
        self.has("max", "18").await;
        let mut charges = Vec::new();
        for credits in ["38", "58", "78"] {
            let session = self.pay("payment", "price_usd_credit", "20").await;
            charges.push(self.charge_of(&session).await);
            self.has("max", credits).await;
        }
        self.spend("third", 19).await;
        self.0.stripe("POST", "/v1/refunds", &[("charge", &charges[0]), ("amount", "500")]).await;
        self.has("max", "54").await;
        for (charge, step, open, over) in
            [(&charges[1], DisputeStep::Lost, "34", "34"), (&charges[2], DisputeStep::Won, "14", "34")]
        {
            let order = serde_json::from_value::<DisputeOrder>(json!({})).unwrap();
            let dispute = self.0.simulator.open_dispute(charge, &order).unwrap();
            self.has("max", open).await;
            self.0.simulator.move_dispute(dispute["id"].as_str().unwrap(), step).unwrap();
            self.has("max", over).await;
        }
        self.0.stripe("DELETE", &path, &[]).await;
        self.has("free", "39").await;
        self.end(start).await
    }

    async fn end(self, start: i64) -> Vec<String> {
        self.0.simulator.wait_until_delivered(PATIENCE).await.unwrap();
        let started = creditd::clock::instant();
        while self.0.store.count_due_events().await.unwrap() > 0 {
            assert!(started.elapsed() < PATIENCE, "events are still due");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!self.0.store.verify().await.unwrap().differs());
        let since = |time: &Value| time.as_str().map(|text| text.parse::<Timestamp>().unwrap().as_second() - start);
        let page = self.ask("GET", "/customers/ada/grants?limit=500", None).await;
        let mut facts = Vec::new();
        let mut names = std::collections::BTreeMap::new();
        for grant in page["data"].as_array().unwrap() {
            // Free, top-ups and the end are at the test's own pace; what Pro and Max gave is not.
            let of_plan = grant["plan"] == "pro" || grant["plan"] == "max";
            let span = if of_plan {
                format!("{:?}..{:?}", since(&grant["starts_at"]), since(&grant["expires_at"]))
            } else {
                String::new()
            };
            let name = format!("{} {} paid {} {span}", grant["plan"], grant["quantity"], grant["paid"]);
            facts.push(format!("grant {name}: {} left", grant["remaining"]));
            names.insert(grant["id"].as_str().unwrap().to_owned(), name);
        }
        let page = self.ask("GET", "/customers/ada/entries?limit=500", None).await;
        for entry in page["data"].as_array().unwrap() {
            let of = entry["grant"].as_str().and_then(|grant| names.get(grant));
            facts.push(format!("entry {} {} {} of {of:?}", entry["kind"], entry["amount"], entry["source"]));
        }
        facts.sort();
        self.0.daemon.stop().await;
        self.0.simulator.stop().await;
        facts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_scenario_is_the_same_in_every_train() {
    const ENDIVE: &str = "2026-09-30.endive";
    // The endpoint's version is not that of our requests: an old endpoint and a new key are common.
    let runs = [
        (ENDIVE, ENDIVE),
        ("2026-03-25.dahlia", "2026-03-25.dahlia"),
        ("2025-09-30.clover", "2025-09-30.clover"),
        ("2025-03-31.basil", "2025-03-31.basil"),
        ("2024-09-30.acacia", "2024-09-30.acacia"),
        ("2024-09-30.acacia", ENDIVE),
        (ENDIVE, "2024-09-30.acacia"),
    ];
    let mut told: Option<Vec<String>> = None;
    for (endpoint, asked) in runs {
        let facts = Scenario::begin(endpoint, asked).await.tell().await;
        let first = told.get_or_insert_with(|| facts.clone());
        assert_eq!(first, &facts, "events of {endpoint}, requests of {asked}");
    }
    let facts = told.unwrap();
    let grants = facts.iter().filter(|fact| fact.starts_with("grant")).count();
    assert_eq!(grants, 9, "Free twice, Pro three times, its change, three top-ups: {facts:#?}");
}
