//! A balance of a past time is what the customer was shown at that time.

use std::collections::BTreeMap;

use creditd::domain::command::Command;
use creditd::domain::ids::AccountId;
use creditd::simulator::Outcome;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::http_api::Api;
use crate::support::app::{PACKS_BY_PLAIN_KEY, TestApp};

/// What was shown of each pool, by name.
type Shown = BTreeMap<String, Vec<Value>>;

const NUMBERS: [&str; 5] = ["available", "held", "granted", "owed", "unlimited"];

fn shown(answer: &Value) -> Shown {
    let pool = |of: &Value| {
        (of["feature"].as_str().unwrap().to_owned(), NUMBERS.iter().map(|number| of[*number].clone()).collect())
    };
    answer["balances"].as_array().unwrap().iter().map(pool).collect()
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A customer's life, with what was shown along it.
struct Life {
    api: Api,
    dice: Dice,
    account: AccountId,
    steps: u64,
    seen: Vec<(Timestamp, Shown)>,
}

impl Life {
    async fn begin(seed: u64) -> Self {
        let api = Api::start().await;
        api.customer("ada").await;
        let account = api.store.find_customer("ada").await.unwrap().unwrap();
        Self { api, dice: Dice(seed), account, steps: 0, seen: Vec::new() }
    }

    async fn look(&mut self) {
        let now = self.api.get("/customers/ada").await.ok();
        self.seen.push((now["at"].as_str().unwrap().parse().unwrap(), shown(&now)));
    }

    /// Time goes on by less than a period; what fell due meanwhile is shown before it is booked.
    async fn wait(&mut self) {
        let hours = [1, 26, 24 * 9, 24 * 20][usize::try_from(self.dice.roll(4)).unwrap()];
        self.api.post("/test-clock/advance", &json!({ "seconds": hours * 3_600 })).await.ok();
        self.look().await;
        self.api.app.posting.post(self.account, None, Command::Settle).await.map(drop).unwrap();
    }

    fn now(&self) -> Timestamp {
        self.seen.last().map_or(Timestamp::UNIX_EPOCH, |(at, _)| *at)
    }

    async fn give(&mut self, key: &str) {
        let feature = ["credits", "transcription-credits"][usize::try_from(self.dice.roll(2)).unwrap()];
        let wallet = format!("{feature} {}", self.dice.roll(3));
        let quantity = format!("{}.{}", self.dice.roll(30) + 1, self.dice.roll(10));
        let mut grant = json!({ "key": key, "customer": "ada", "feature": feature, "quantity": quantity,
            "category": "promotional", "reason": "goodwill" });
        if self.dice.roll(2) == 0 {
            grant["wallet"] = json!(wallet);
        }
        let starts_at = self.now() + SignedDuration::from_hours(i64::try_from(self.dice.roll(200)).unwrap() - 60);
        if self.dice.roll(3) == 0 {
            grant["starts_at"] = json!(starts_at);
        }
        if self.dice.roll(2) == 0 {
            let days = i64::try_from(self.dice.roll(30)).unwrap() + 9;
            grant["expires_at"] = json!(starts_at + SignedDuration::from_hours(24 * days));
        }
        if self.dice.roll(4) == 0 {
            grant["entity"] = json!("seat");
        }
        // A closed wallet refuses; that is part of a life too.
        let answer = self.api.post("/grants", &grant).await;
        assert!([201, 400, 409].contains(&answer.status.as_u16()), "{}", answer.body);
    }

    async fn correct(&mut self, key: &str) {
        let grants = self.api.get("/customers/ada/grants?limit=100").await.ok();
        let grants = grants["data"].as_array().unwrap();
        let id = grants[usize::try_from(self.dice.roll(grants.len() as u64)).unwrap()]["id"].as_str().unwrap();
        let sign = if self.dice.roll(2) == 0 { "-" } else { "" };
        let quantity = format!("{sign}{}.5", self.dice.roll(6));
        let answer = if self.dice.roll(3) == 0 {
            self.api.post(&format!("/grants/{id}/void"), &json!({ "key": key, "reason": "r" })).await
        } else {
            let body = json!({ "key": key, "grant": id, "quantity": quantity, "reason": "r" });
            self.api.post("/adjustments", &body).await
        };
        assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.body);
    }

    async fn change_a_wallet(&mut self, key: &str) {
        let wallets = self.api.get("/wallets?customer=ada").await.ok();
        let wallets = wallets["data"].as_array().unwrap();
        let wallet =
            wallets[usize::try_from(self.dice.roll(wallets.len() as u64)).unwrap()]["wallet"].as_str().unwrap();
        let path = format!("/wallets/{}", wallet.replace(' ', "%20"));
        let answer = if self.dice.roll(4) == 0 {
            self.api.post(&format!("{path}/terminate"), &json!({ "key": key, "reason": "r" })).await
        } else {
            let priority = i64::try_from(self.dice.roll(9)).unwrap() - 4;
            self.api.patch(&path, &json!({ "priority": priority, "default_expiry_days": 20 })).await
        };
        assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.body);
    }

    async fn step(&mut self) {
        self.steps += 1;
        let key = format!("key {}", self.steps);
        match self.dice.roll(10) {
            0 | 1 => self.wait().await,
            2..=4 => self.give(&key).await,
            5 | 6 => {
                let feature = ["requests", "audio-minutes"][usize::try_from(self.dice.roll(2)).unwrap()];
                let quantity = self.dice.roll(12).to_string();
                let usage = json!({ "key": key, "customer": "ada", "feature": feature, "quantity": quantity });
                self.api.post("/track", &usage).await.ok();
            }
            7 | 8 => self.correct(&key).await,
            _ => self.change_a_wallet(&key).await,
        }
        self.look().await;
    }

    async fn then(&self, at: Timestamp) -> Shown {
        shown(&self.api.get(&format!("/customers/ada/balance?at={at}")).await.ok())
    }

    /// Asks again for each time that was looked at.
    async fn must_be_remembered(&self) {
        for (at, seen) in &self.seen {
            assert_eq!(self.then(*at).await, *seen, "at {at}, of {} looks", self.seen.len());
        }
        let before = self.seen[0].0 - SignedDuration::from_hours(24);
        assert_eq!(self.then(before).await, Shown::new(), "before the customer there was nothing");
        let found = self.api.store.verify().await.unwrap();
        assert!(!found.differs());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_shown_is_told_again() {
    for seed in [3, 17] {
        let mut life = Life::begin(seed).await;
        life.look().await;
        for _ in 0..60 {
            life.step().await;
        }
        assert!(
            life.seen.last().unwrap().0.duration_since(life.seen[0].0) > SignedDuration::from_hours(24 * 60),
            "time went on"
        );
        life.must_be_remembered().await;
    }
}

/// What fell due is counted from when it fell due, whether anybody had booked it or not when it is asked for.
#[tokio::test]
async fn what_fell_due_counts_from_then_however_late_it_is_booked() {
    let mut life = Life::begin(1).await;
    let usage = json!({ "key": "t1", "customer": "ada", "feature": "requests", "quantity": "10" });
    life.api.post("/track", &usage).await.ok();
    life.look().await;
    let day = |days: i64| json!({ "seconds": days * 86_400 });
    life.api.post("/test-clock/advance", &day(40)).await.ok();
    life.look().await;
    life.api.post("/test-clock/advance", &day(10)).await.ok();
    let entries = life.api.get("/customers/ada/entries").await.ok()["data"].as_array().unwrap().len();
    assert_eq!(entries, 2, "nobody has booked the second month");
    life.must_be_remembered().await;
    let renewed = life.seen[0].0 + SignedDuration::from_hours(24 * 31);
    assert_eq!(life.then(renewed).await["credits"][0], json!("100"));
    assert_eq!(life.then(life.seen[0].0 + SignedDuration::from_hours(24 * 27)).await["credits"][0], json!("70"));
}

/// Debts are history too: what a refund left owing, and what a later purchase repaid.
#[tokio::test]
async fn what_was_owed_is_told_again() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let buy = async || {
        let session = app.checkout(&PACKS_BY_PLAIN_KEY).await;
        let paid = app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
        let path = format!("/v1/payment_intents/{}", paid["payment_intent"].as_str().unwrap());
        app.deliver_newest("checkout.session.completed").await;
        app.settle().await;
        app.stripe("GET", &path, &[]).await["latest_charge"].as_str().unwrap().to_owned()
    };
    let look = async || app.call("GET", "/api/v1/customers/ada", None).await.1;
    let charge = buy().await;
    assert_eq!(app.track("t1", "ada", "premium_messages", "230").await.0, 200);
    let mut seen = vec![look().await];
    app.stripe("POST", "/v1/refunds", &[("charge", charge.as_str()), ("amount", "2000")]).await;
    app.deliver_newest("charge.refunded").await;
    app.settle().await;
    seen.push(look().await);
    let wallet = seen[1]["wallets"][0]["wallet"].as_str().unwrap().to_owned();
    let wallet = app.call("GET", &format!("/api/v1/wallets/{wallet}"), None).await.1;
    assert_eq!(wallet["debts"][0]["owed"], seen[1]["balances"][0]["owed"]);
    assert_ne!(wallet["debts"][0]["owed"], "0");
    buy().await;
    seen.push(look().await);
    assert_eq!(seen[2]["wallets"][0]["debts"], json!([]));
    for now in &seen {
        let path = format!("/api/v1/customers/ada/balance?at={}", now["at"].as_str().unwrap());
        let (status, then) = app.call("GET", &path, None).await;
        assert_eq!((status, shown(&then)), (200, shown(now)), "{then}");
    }
    app.finish().await;
}

/// Freezing has no time: what is frozen now is told apart, for a past time too. A seat sees what it could spend.
#[tokio::test]
async fn what_is_frozen_now_is_told_apart() {
    let mut life = Life::begin(1).await;
    let grant = |key: &str, wallet: &str, entity: Value| {
        json!({ "key": key, "customer": "ada", "feature": "transcription-credits", "quantity": "10", "wallet": wallet,
            "entity": entity, "category": "promotional", "reason": "r" })
    };
    life.api.post("/grants", &grant("g1", "a", json!(null))).await.ok();
    life.api.post("/grants", &grant("g2", "b", json!("seat-1"))).await.ok();
    life.look().await;
    life.api.patch("/wallets/a", &json!({ "frozen": true })).await.ok();
    life.look().await;
    let ask = async |query: &str| {
        let path = format!("/customers/ada/balance?feature=transcription-credits{query}");
        let answer = life.api.get(&path).await.ok();
        assert_eq!(answer["balances"].as_array().unwrap().len(), 1);
        let balance = &answer["balances"][0];
        (balance["available"].as_str().unwrap().to_owned(), balance["frozen"].as_str().unwrap().to_owned())
    };
    let pair = |available: &str, frozen: &str| (available.to_owned(), frozen.to_owned());
    assert_eq!(ask("").await, pair("10", "10"));
    let (before, after) = (life.seen[0].0, life.seen[1].0);
    assert_eq!(ask(&format!("&at={before}")).await, pair("10", "10"), "available and frozen add up to what was shown");
    assert_eq!(ask(&format!("&at={after}")).await, pair("10", "10"));
    assert_eq!(ask("&entity=seat-2").await, pair("0", "10"));
    assert_eq!(ask("&entity=seat-1").await, pair("10", "10"));
    // A wallet that was ended is history: before its end it held what it held.
    life.api.patch("/wallets/a", &json!({ "frozen": false })).await.ok();
    life.api.post("/wallets/a/terminate", &json!({ "key": "e", "reason": "r" })).await.ok();
    assert_eq!(ask(&format!("&at={before}")).await, pair("20", "0"));
    assert_eq!(ask("").await, pair("10", "0"));
}
