//! The product guide of monetary credits over three simulated months, through the simulated Stripe's webhooks only: Free
//! with 5 credits a month, Pro with 10 for 10 dollars, a top-up of 20, messages at 0.01 and 0.10. Told twice: as it
//! should be, and with every delivery copied, shuffled and one in ten lost.

use std::time::Duration;

use creditd::simulator::{Chaos, Outcome, RetryPlan};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::test_clock::Both;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Longest wait for a balance.
const PATIENCE: Duration = Duration::from_mins(1);
/// A lost delivery is sent again within hours of virtual time, and after three days it is given up.
const HEALED: i64 = 4 * DAY;

struct Story {
    both: Both,
    disorder: bool,
    keys: u32,
}

impl Story {
    async fn begin(disorder: bool) -> Self {
        let both = Both::start_with(|options| {
            if disorder {
                options.retry = RetryPlan::stripe();
            }
        })
        .await;
        if disorder {
            let chaos =
                Chaos { seed: 7, copies_max: 3, window: 6, lost_per_thousand: 100, lanes: 4, ..Chaos::default() };
            both.simulator.set_chaos(Some(chaos)).unwrap();
        }
        Self { both, disorder, keys: 0 }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("http://{}{path}", self.both.daemon.address());
        let mut request = self.both.client.request(method.parse().unwrap(), url).bearer_auth(&self.both.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    /// Plan in force and credits that can be spent.
    async fn now(&self) -> (String, String) {
        let ada = self.ask("GET", "/api/v1/customers/ada", None).await;
        let plans: Vec<&str> =
            ada["plans"].as_array().unwrap().iter().filter_map(|plan| plan["plan"].as_str()).collect();
        let pool =
            &ada["balances"].as_array().unwrap().iter().find(|b| b["feature"] == "usd_credits").unwrap()["available"];
        (plans.join(" "), pool.as_str().unwrap().to_owned())
    }

    /// Waits for what has to be. In disorder a lost delivery comes hours later: time goes on until it does.
    async fn has(&self, plan: &str, credits: &str) {
        let wanted = (plan.to_owned(), credits.to_owned());
        let started = creditd::clock::instant();
        let mut found = self.now().await;
        let mut hours = 0;
        while found != wanted {
            assert!(started.elapsed() < PATIENCE, "{found:?}, not {wanted:?}");
            if self.disorder && started.elapsed() > Duration::from_secs(1) && hours < 60 {
                self.forward(HOUR).await;
                hours += 1;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            found = self.now().await;
        }
    }

    async fn forward(&self, seconds: i64) {
        self.both.advance(json!({ "seconds": seconds })).await;
    }

    async fn forward_to(&self, second: i64) {
        let to = Timestamp::from_second(second).unwrap();
        if self.both.simulator.now() < to {
            self.both.advance(json!({ "to": to.to_string() })).await;
        }
    }

    async fn use_messages(&mut self, feature: &str, count: &str, cost: &str) {
        self.keys += 1;
        let usage =
            json!({ "key": format!("use-{}", self.keys), "customer": "ada", "feature": feature, "quantity": count });
        let answer = self.ask("POST", "/api/v1/track", Some(usage)).await;
        assert_eq!((&answer["drawn"], &answer["shortfall"]), (&json!(cost), &json!("0")), "{answer}");
    }

    async fn checkout(&self, form: &[(&str, &str)]) -> Value {
        let session = self.both.stripe("POST", "/v1/checkout/sessions", form).await;
        self.both.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap()
    }

    /// Sorted business facts of the grants: what for, how much, from when to when, counted from the subscription's start.
    async fn facts(&self, start: i64) -> Vec<String> {
        let page = self.ask("GET", "/api/v1/customers/ada/grants?limit=500", None).await;
        let since = |time: &Value| time.as_str().map(|text| text.parse::<Timestamp>().unwrap().as_second() - start);
        let fact = |grant: &Value| {
            let (plan, paid) = (&grant["plan"], grant["payment"].is_string());
            let (from, to) = (since(&grant["starts_at"]), since(&grant["expires_at"]));
            // Free began with the customer and the top-up when it was bought: at the test's own pace.
            let own_pace = grant["plan"] == "top_up" || (grant["plan"] == "free" && from.is_some_and(|from| from <= 0));
            let span = if own_pace { String::new() } else { format!("{from:?}..{to:?}") };
            format!("{plan} {} paid={paid} amount={} {span}", grant["quantity"], grant["paid"])
        };
        let mut facts: Vec<String> = page["data"].as_array().unwrap().iter().map(fact).collect();
        facts.sort();
        facts
    }

    /// Three months; the facts at their end.
    async fn tell(mut self) -> Vec<String> {
        self.ask("PUT", "/api/v1/customers/ada", Some(json!({}))).await;
        self.has("free", "5").await;
        self.use_messages("basic_messages", "2", "0.02").await;
        self.has("free", "4.98").await;
        // Pro: what is left of Free's month ends, Pro's ten credits begin.
        let session = self
            .checkout(&[
                ("mode", "subscription"),
                ("success_url", "https://example.com/"),
                ("line_items[0][price]", "price_pro"),
                ("line_items[0][quantity]", "1"),
                ("subscription_data[metadata][customer_id]", "ada"),
                ("metadata[customer_id]", "ada"),
            ])
            .await;
        self.has("pro", "10").await;
        self.use_messages("premium_messages", "20", "2").await;
        self.checkout(&[
            ("mode", "payment"),
            ("success_url", "https://example.com/"),
            ("line_items[0][price]", "price_usd_credit"),
            ("line_items[0][quantity]", "20"),
            ("metadata[creditd_customer_id]", "ada"),
        ])
        .await;
        self.has("pro", "28").await;
        let subscription = session["subscription"].as_str().unwrap().to_owned();
        let read = self.ask("GET", "/api/v1/customers/ada", None).await;
        let bounds = |plan: &Value, name: &str| plan[name].as_str().unwrap().parse::<Timestamp>().unwrap().as_second();
        let (start, first_end) = (bounds(&read["plans"][0], "anchor"), bounds(&read["plans"][0], "paid_through"));
        // The first renewal: its invoice is a draft for an hour, and nobody runs dry meanwhile.
        for minutes in [1, 20, 40, 55] {
            self.forward_to(first_end + minutes * 60).await;
            let (plan, left) = self.now().await;
            assert_eq!((plan.as_str(), left.as_str()), ("pro", "28"), "{minutes} minutes into the draft");
        }
        self.use_messages("basic_messages", "5", "0.05").await;
        self.forward_to(first_end + 2 * HOUR).await;
        self.has("pro", "30").await;
        // A month's credits go before bought ones: they end sooner.
        self.use_messages("premium_messages", "110", "11").await;
        self.has("pro", "19").await;
        let second_end = self.paid_through().await;
        self.forward_to(second_end + 2 * HOUR).await;
        self.has("pro", "29").await;
        // Cancelled in the third month: in force until its end, then Free again.
        self.both
            .stripe("POST", &format!("/v1/subscriptions/{subscription}"), &[("cancel_at_period_end", "true")])
            .await;
        let third_end = self.paid_through().await;
        self.forward_to(third_end - HOUR).await;
        self.has("pro", "29").await;
        self.forward_to(third_end + HOUR).await;
        self.has("free", "24").await;
        if self.disorder {
            self.forward(HEALED).await;
        }
        self.forward_to(third_end + 45 * DAY).await;
        self.has("free", "24").await;
        self.end(start).await
    }

    async fn paid_through(&self) -> i64 {
        let read = self.ask("GET", "/api/v1/customers/ada", None).await;
        read["plans"][0]["paid_through"].as_str().unwrap().parse::<Timestamp>().unwrap().as_second()
    }

    /// A balance counts what is due before the renewal worker has booked it; the list of grants shows what is booked.
    async fn booked(&self) {
        let started = creditd::clock::instant();
        while !self.both.store.due_buckets().await.unwrap().is_empty() {
            assert!(started.elapsed() < PATIENCE, "the renewal worker left something");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self, start: i64) -> Vec<String> {
        self.booked().await;
        let facts = self.facts(start).await;
        assert_eq!(self.both.store.count_due_events().await.unwrap(), 0);
        assert!(!self.both.store.verify().await.unwrap().differs());
        if self.disorder {
            let deliveries = self.both.simulator.log().deliveries();
            let lost = deliveries.iter().filter(|delivery| delivery.status.is_none()).count();
            let copies = deliveries.iter().filter(|delivery| delivery.copy > 0).count();
            assert!(
                lost > 3 && copies > 10,
                "a disorder that did nothing proves nothing: {lost} lost, {copies} copies"
            );
        }
        self.both.daemon.stop().await;
        self.both.simulator.stop().await;
        facts
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_months_of_monetary_credits_in_order_and_in_disorder() {
    let in_order = Story::begin(false).await.tell().await;
    let of = |plan: &str| in_order.iter().filter(|fact| fact.starts_with(&format!("\"{plan}\""))).count();
    assert_eq!((of("pro"), of("top_up"), of("free")), (3, 1, 3), "{in_order:#?}");
    let in_disorder = Story::begin(true).await.tell().await;
    assert_eq!(in_order, in_disorder);
}
