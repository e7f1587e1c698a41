//! Plans and packs that are asked for: by a page, by a saved card, once, and nothing before Stripe says that it is paid.

use creditd::simulator::{CardOrder, Fault, FaultRule, SeedPrice};
use serde_json::{Value, json};

use crate::stripe_writes::lint::lint_log;
use crate::support::app::TestApp;

/// Free for everyone, two plans without a price, three with one, two add-ons.
pub const CATALOG: &str = r#"
[features.messages]
type = "metered"
[features.credits]
type = "credit_system"
costs = { messages = "1" }
[plans.free]
auto_enable = true
group = "main"
[[plans.free.items]]
feature = "credits"
included = "5"
reset = "month"
[plans.hobby]
group = "main"
[[plans.hobby.items]]
feature = "credits"
included = "8"
reset = "month"
[plans.pro]
group = "main"
revenue = "credits"
prices = [
  { amount = "10.00", currency = "usd", every = "month", lookup_key = "pro_monthly", stripe_price = "price_pro" },
  { amount = "96.00", currency = "usd", every = "year", lookup_key = "pro_yearly", stripe_price = "price_pro_year" },
]
[[plans.pro.items]]
feature = "credits"
included = "10"
reset = "month"
[plans.max]
group = "main"
revenue = "credits"
prices = [{ amount = "30.00", currency = "usd", every = "month", stripe_price = "price_max" }]
[[plans.max.items]]
feature = "credits"
included = "40"
reset = "month"
[plans.team]
group = "teams"
trial_days = 14
revenue = "credits"
prices = [{ amount = "20.00", currency = "usd", every = "month", stripe_price = "price_team" }]
[[plans.team.items]]
feature = "credits"
included = "20"
trial_included = "3"
reset = "month"
[plans.extra]
add_on = true
revenue = "credits"
prices = [{ amount = "5.00", currency = "usd", every = "month", stripe_price = "price_extra" }]
[[plans.extra.items]]
feature = "credits"
included = "6"
reset = "month"
[plans.top_up]
add_on = true
[[plans.top_up.items]]
feature = "credits"
packs = [
  { credits = "10", amount = "9.00", currency = "usd", stripe_price = "price_ten", minimum = "20" },
  { credits = "1", amount = "1.00", currency = "usd", stripe_price = "price_usd_credit", minimum = "5" },
]
expires_after = "never"
[plans.unsold]
prices = [{ amount = "3.00", currency = "usd", every = "month" }]
[plans.euro]
revenue = "credits"
prices = [
  { amount = "7.00", currency = "eur", every = "month", stripe_price = "price_eur" },
  { amount = "8.00", currency = "usd", every = "month", stripe_price = "price_eur_usd" },
]
[[plans.euro.items]]
feature = "credits"
included = "1"
reset = "month"
"#;

/// A daemon, a simulated Stripe with the catalogue's prices, and how many of its events were delivered.
pub struct Shop {
    pub app: TestApp,
    delivered: std::sync::atomic::AtomicUsize,
}

impl Shop {
    pub async fn open() -> Self {
        let app = TestApp::with_catalog(CATALOG).await;
        let month = || Some(("month".to_owned(), 1));
        for (id, unit_amount, currency, recurring) in [
            ("price_pro_year", 9_600, "usd", Some(("year".to_owned(), 1))),
            ("price_max", 3_000, "usd", month()),
            ("price_team", 2_000, "usd", month()),
            ("price_extra", 500, "usd", month()),
            ("price_ten", 900, "usd", None),
            ("price_eur", 700, "eur", month()),
            ("price_eur_usd", 800, "usd", month()),
        ] {
            let seed = SeedPrice {
                id: id.to_owned(),
                product: id.to_owned(),
                currency: currency.to_owned(),
                unit_amount,
                recurring,
                lookup_key: None,
            };
            app.simulator.seed_price(&seed).unwrap();
        }
        app.customer("ada").await;
        Self { app, delivered: 0.into() }
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.app.call("POST", &format!("/api/v1/{path}"), Some(body)).await
    }

    /// Attaches, for ada, with where to go afterwards; it has to be done.
    pub async fn attach(&self, plan: &str, more: Value) -> Value {
        let (status, answer) = self.try_attach(plan, more).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub async fn try_attach(&self, plan: &str, more: Value) -> (u16, Value) {
        self.post("attach", order(plan, &more)).await
    }

    pub async fn preview(&self, plan: &str, more: Value) -> Value {
        let (status, answer) = self.post("attach/preview", order(plan, &more)).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The buyer pays on a page, by the control endpoint; nothing is there before Stripe's events are.
    pub async fn pay(&self, attached: &Value) {
        let url = attached["checkout_url"].as_str().unwrap_or_else(|| panic!("{attached}"));
        let (base, session) = url.rsplit_once("/pay/").unwrap();
        let order = json!({ "outcome": "paid" });
        let answer = self.app.client.post(format!("{base}/control/pay/{session}")).json(&order).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// Stripe's events since the last time arrive.
    pub async fn told(&self) {
        let all = self.app.simulator.all_event_ids();
        let from = self.delivered.swap(all.len(), std::sync::atomic::Ordering::SeqCst);
        for event in &all[from..] {
            let (body, signature) = self.app.simulator.signed_delivery(event).unwrap();
            let (status, answer) = self.app.deliver(&body, Some(&signature)).await;
            assert_eq!(status, 200, "{answer}");
        }
        self.app.settle().await;
    }

    /// A plan is bought and paid on a page, and here.
    pub async fn buy(&self, plan: &str) {
        let attached = self.attach(plan, json!({})).await;
        if attached["checkout_url"].is_string() {
            self.pay(&attached).await;
        }
        self.told().await;
    }

    pub async fn credits(&self) -> String {
        self.app.available("ada", "credits").await
    }

    /// The plans there are, with their states.
    pub async fn plans(&self) -> Vec<(String, String)> {
        let (_, ada) = self.app.call("GET", "/api/v1/customers/ada", None).await;
        let text = |plan: &Value, field: &str| plan[field].as_str().unwrap().to_owned();
        let mut plans: Vec<(String, String)> =
            ada["plans"].as_array().unwrap().iter().map(|plan| (text(plan, "plan"), text(plan, "state"))).collect();
        plans.sort();
        plans
    }

    /// The Stripe customer.
    pub async fn payer(&self) -> String {
        let (_, ada) = self.app.call("GET", "/api/v1/customers/ada", None).await;
        ada["stripe_customers"][0].as_str().unwrap().to_owned()
    }

    /// How often Stripe carried out a write, repeats left out.
    pub fn writes(&self, path: &str) -> usize {
        let log = self.app.simulator.log().requests();
        log.iter().filter(|one| one.method == "POST" && one.path == path && one.status == 200 && !one.replayed).count()
    }

    /// What Stripe was sent is right by the official SDK, nothing is due, and the books balance.
    pub async fn close(self) {
        let log = self.app.simulator.log();
        tokio::task::spawn_blocking(move || lint_log(&log)).await.unwrap();
        self.app.finish().await;
    }
}

pub fn order(plan: &str, more: &Value) -> Value {
    let mut body = json!({ "customer": "ada", "plan": plan, "success_url": "https://app.example/paid" });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

pub fn pairs(plans: &[(&str, &str)]) -> Vec<(String, String)> {
    plans.iter().map(|(plan, state)| ((*plan).to_owned(), (*state).to_owned())).collect()
}

// The guide of monetary credits, "Upgrading to Pro": the upgrade button leads to a page to pay on.
#[tokio::test]
async fn a_plan_is_paid_on_a_page_and_there_when_stripe_says_so() {
    let shop = Shop::open().await;
    let attached = shop.attach("pro", json!({ "cancel_url": "https://app.example/back" })).await;
    assert_eq!((&attached["action"], &attached["total"]["amount"]), (&json!("checkout"), &json!("10.00")));
    assert_eq!(attached["lines"][0]["stripe_price"], "price_pro");
    // Who asks again gets the page that is open.
    assert_eq!(shop.attach("pro", json!({})).await["checkout_url"], attached["checkout_url"]);
    assert_eq!(shop.writes("/v1/checkout/sessions"), 1);
    shop.pay(&attached).await;
    assert_eq!((shop.credits().await.as_str(), shop.plans().await), ("5", pairs(&[("free", "active")])));
    // It is paid, and not sold twice before its event is here.
    let (status, answer) = shop.try_attach("pro", json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("payment_processing")), "{answer}");
    shop.told().await;
    assert_eq!((shop.credits().await.as_str(), shop.plans().await), ("10", pairs(&[("pro", "active")])));
    for path in ["attach", "attach/preview"] {
        let (status, answer) = shop.post(path, order("pro", &json!({}))).await;
        assert_eq!((status, &answer["code"], &answer["field"]), (409, &json!("already_attached"), &json!("plan")));
    }
    let metadata =
        &shop.app.simulator.event(&shop.app.simulator.event_ids("customer.subscription.created")[0]).unwrap();
    assert_eq!(metadata["data"]["object"]["metadata"]["creditd_customer_id"], "ada");
    shop.close().await;
}

// The same guide, "Purchasing Top-ups": 20 credits for 20 dollars, which never expire.
#[tokio::test]
async fn packs_are_paid_on_a_page_and_the_card_is_kept_for_the_next_time() {
    let shop = Shop::open().await;
    let one = json!({ "quantities": { "credits": "7" } });
    let attached = shop.attach("top_up", one.clone()).await;
    assert_eq!((&attached["action"], &attached["total"]["amount"]), (&json!("checkout"), &json!("7.00")));
    assert_eq!(shop.attach("top_up", one.clone()).await["checkout_url"], attached["checkout_url"]);
    // Another number is another page; both may be paid.
    let other = shop.attach("top_up", json!({ "quantities": { "credits": "8" } })).await;
    assert_ne!(other["checkout_url"], attached["checkout_url"]);
    shop.pay(&attached).await;
    shop.told().await;
    assert_eq!(shop.credits().await, "12");
    // Packs may be bought again: without a key by a page, though a card is there now.
    let again = shop.attach("top_up", one.clone()).await;
    assert_eq!(again["action"], "checkout");
    assert_ne!(again["checkout_url"], attached["checkout_url"]);
    // With a key the card is charged, once for it.
    let keyed = json!({ "quantities": { "credits": "7" }, "key": "k1" });
    let charged = shop.attach("top_up", keyed.clone()).await;
    assert_eq!((&charged["action"], &charged["checkout_url"]), (&json!("charge"), &Value::Null));
    assert_eq!(shop.credits().await, "12", "Stripe has not said so yet");
    for _ in 0..2 {
        assert_eq!(shop.attach("top_up", keyed.clone()).await, charged);
    }
    shop.told().await;
    assert_eq!(shop.attach("top_up", keyed).await, charged);
    assert_eq!(shop.credits().await, "19");
    assert_eq!(shop.app.simulator.log().charges().len(), 2, "the page, and the card once");
    let (status, answer) = shop.try_attach("top_up", json!({ "quantities": { "credits": "9" }, "key": "k1" })).await;
    assert_eq!((status, &answer["code"]), (409, &json!("key_conflict")), "{answer}");
    shop.close().await;
}

#[tokio::test]
async fn packs_are_whole_cheapest_and_never_less_than_one_purchase() {
    let shop = Shop::open().await;
    // 27 as ones cost 27.00; as three tens 27.00 too, and the first of equals is taken.
    for (asked, credits, count, total) in [
        ("27", "30", 3, "27.00"),
        ("20", "20", 2, "18.00"),
        ("19", "20", 2, "18.00"),
        ("12", "12", 12, "12.00"),
        ("5.2", "6", 6, "6.00"),
        ("0.000000001", "below", 0, ""),
        ("4", "below", 0, ""),
    ] {
        let body = order("top_up", &json!({ "quantities": { "credits": asked } }));
        let (status, answer) = shop.post("attach/preview", body).await;
        if credits == "below" {
            assert_eq!((status, &answer["code"]), (400, &json!("below_minimum")), "{asked}: {answer}");
            continue;
        }
        let line = &answer["lines"][0];
        let found = (line["credits"].as_str(), line["quantity"].as_i64(), answer["total"]["amount"].as_str());
        assert_eq!(found, (Some(credits), Some(count), Some(total)), "{asked}: {answer}");
    }
    shop.close().await;
}

#[tokio::test]
async fn a_saved_card_starts_a_subscription_and_an_add_on_may_be_bought_again() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let attached = shop.attach("extra", json!({ "key": "e1" })).await;
    assert_eq!((&attached["action"], &attached["required_action"]), (&json!("charge"), &Value::Null));
    assert_eq!(shop.credits().await, "10", "Stripe has not said so yet");
    assert_eq!(shop.attach("extra", json!({ "key": "e1" })).await, attached);
    shop.told().await;
    assert_eq!(shop.credits().await, "16");
    assert_eq!(shop.attach("extra", json!({ "key": "e1" })).await, attached, "once for its key");
    shop.attach("extra", json!({ "key": "e2" })).await;
    shop.told().await;
    assert_eq!(shop.credits().await, "22");
    assert_eq!(shop.writes("/v1/subscriptions"), 2);
    // Without a key a repeat of a lost answer could not be told from another purchase: a page it is.
    assert_eq!(shop.attach("extra", json!({})).await["action"], "checkout");
    shop.close().await;
}

#[tokio::test]
async fn a_card_that_is_declined_leaves_nothing_and_one_that_wants_its_owner_says_where() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let payer = shop.payer().await;
    shop.app.simulator.set_card(&payer, &CardOrder::declined("card_declined", Some("insufficient_funds"))).unwrap();
    let packs = json!({ "quantities": { "credits": "7" }, "key": "k1" });
    for (plan, more) in [("max", json!({})), ("extra", json!({ "key": "e1" })), ("top_up", packs.clone())] {
        let (status, answer) = shop.try_attach(plan, more).await;
        let found = (status, &answer["code"], &answer["decline_code"]);
        assert_eq!(found, (402, &json!("payment_failed"), &json!("insufficient_funds")), "{plan}: {answer}");
    }
    shop.told().await;
    assert_eq!((shop.credits().await.as_str(), shop.plans().await), ("10", pairs(&[("pro", "active")])));
    let order = CardOrder::declined("authentication_required", Some("authentication_required"));
    shop.app.simulator.set_card(&payer, &order).unwrap();
    for (plan, more) in
        [("extra", json!({ "key": "e2" })), ("top_up", json!({ "quantities": { "credits": "7" }, "key": "k2" }))]
    {
        let attached = shop.attach(plan, more.clone()).await;
        assert_eq!(attached["required_action"]["type"], "authenticate", "{plan}: {attached}");
        assert!(attached["required_action"]["url"].is_string(), "{attached}");
        // The same again waits for the same action.
        assert_eq!(shop.attach(plan, more).await["required_action"]["url"], attached["required_action"]["url"]);
    }
    shop.told().await;
    assert_eq!(shop.credits().await, "10");
    // The card is good again: what failed is tried anew.
    shop.app.simulator.set_card(&payer, &CardOrder::default()).unwrap();
    shop.attach("top_up", packs).await;
    shop.told().await;
    assert_eq!(shop.credits().await, "17");
    shop.close().await;
}

#[tokio::test]
async fn a_trial_is_given_once() {
    let shop = Shop::open().await;
    let preview = shop.preview("team", json!({})).await;
    assert_eq!((&preview["trial_days"], &preview["total"]["amount"]), (&json!(14), &json!("0.00")));
    let attached = shop.attach("team", json!({})).await;
    assert_eq!((&attached["trial_days"], &attached["total"]["amount"]), (&json!(14), &json!("0.00")));
    shop.pay(&attached).await;
    shop.told().await;
    assert_eq!(shop.plans().await, pairs(&[("free", "active"), ("team", "trialing")]));
    assert_eq!(shop.credits().await, "8", "5 of Free, 3 of the trial");
    let (status, left) = shop.post("cancel", json!({ "customer": "ada", "plan": "team", "when": "now" })).await;
    assert_eq!((status, &left["by_stripe"]), (200, &json!(true)), "{left}");
    shop.told().await;
    assert_eq!((shop.plans().await, shop.credits().await.as_str()), (pairs(&[("free", "active")]), "5"));
    let again = shop.attach("team", json!({})).await;
    assert_eq!((&again["trial_days"], &again["total"]["amount"]), (&Value::Null, &json!("20.00")));
    shop.close().await;
}

#[tokio::test]
async fn two_who_ask_at_once_get_one_page_and_one_charge() {
    let shop = Shop::open().await;
    let beside = shop.app.beside().await;
    let body = order("pro", &json!({}));
    let calls = (0..6).map(|turn| {
        let app = if turn % 2 == 0 { &shop.app } else { &beside };
        app.call("POST", "/api/v1/attach", Some(body.clone()))
    });
    let answers = futures_util::future::join_all(calls).await;
    let urls: std::collections::BTreeSet<String> =
        answers.iter().map(|(status, answer)| format!("{status} {}", answer["checkout_url"])).collect();
    assert_eq!(urls.len(), 1, "{answers:?}");
    assert_eq!((shop.writes("/v1/checkout/sessions"), shop.writes("/v1/customers")), (1, 1));
    shop.pay(&answers[0].1).await;
    shop.told().await;
    let body = order("top_up", &json!({ "quantities": { "credits": "7" }, "key": "k1" }));
    let calls = (0..6).map(|turn| {
        let app = if turn % 2 == 0 { &shop.app } else { &beside };
        app.call("POST", "/api/v1/attach", Some(body.clone()))
    });
    for (status, answer) in futures_util::future::join_all(calls).await {
        assert_eq!((status, &answer["action"]), (200, &json!("charge")), "{answer}");
    }
    shop.told().await;
    assert_eq!(shop.credits().await, "17");
    assert_eq!(shop.app.simulator.log().charges().len(), 2);
    beside.daemon.stop().await;
    shop.close().await;
}

/// The answers are lost after Stripe did it: nothing is done twice, and a later try gets there.
#[tokio::test]
async fn answers_that_are_lost_charge_nobody_twice() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    for key in ["k1", "k2", "k3", "k4", "k5"] {
        // The write that fails is another one each time: invoice, item, finalize, pay, none.
        shop.app.simulator.set_faults(std::time::Duration::ZERO, 1);
        let body = json!({ "quantities": { "credits": "7" }, "key": key });
        for _ in 0..4 {
            let (status, answer) = shop.try_attach("top_up", body.clone()).await;
            assert!([200, 503].contains(&status), "{answer}");
            if status == 200 {
                break;
            }
            assert_eq!(answer["code"], "stripe_unavailable");
        }
        assert_eq!(shop.try_attach("top_up", body).await.0, 200);
    }
    shop.told().await;
    assert_eq!((shop.credits().await.as_str(), shop.app.simulator.log().charges().len()), ("45", 6));
    shop.app.simulator.set_faults(std::time::Duration::ZERO, 1);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(shop.try_attach("extra", json!({ "key": "e1" })).await.0);
    }
    assert_eq!(statuses.last(), Some(&200), "{statuses:?}");
    shop.told().await;
    assert_eq!(shop.credits().await, "51");
    shop.close().await;
}

/// What Stripe answers about the invoice cannot be read, once, before or after it was paid: it is not taken for void.
#[tokio::test]
async fn an_invoice_that_cannot_be_read_is_paid_once() {
    let shop = Shop::open().await;
    shop.buy("pro").await;
    let before = shop.writes("/v1/invoices");
    let keys = ["k1", "k2", "k3", "k4"];
    for (key, lost) in keys.into_iter().zip([false, true, false, true]) {
        let unread = FaultRule::new("GET", "/v1/invoices/", Fault::Empty).nth(if key < "k3" { 1 } else { 2 });
        let unpaid = FaultRule::new("POST", "/v1/invoices/", Fault::DropReply).nth(2);
        let rules = std::iter::once(unread).chain(lost.then_some(unpaid)).collect();
        shop.app.simulator.set_fault_rules(rules).unwrap();
        let body = json!({ "quantities": { "credits": "7" }, "key": key });
        let mut tries = 1;
        loop {
            let (status, answer) = shop.try_attach("top_up", body.clone()).await;
            if status == 200 {
                break;
            }
            assert_eq!((status, &answer["code"]), (503, &json!("stripe_unavailable")), "{answer}");
            tries += 1;
            assert!(tries < 6, "{key}: {answer}");
        }
    }
    shop.app.simulator.set_fault_rules(Vec::new()).unwrap();
    shop.told().await;
    assert_eq!(shop.writes("/v1/invoices") - before, keys.len(), "an invoice for each order");
    assert_eq!(shop.app.simulator.log().charges().len(), 1 + keys.len());
    assert_eq!(shop.credits().await, "38");
    shop.close().await;
}

/// A page whose status cannot be read may still be paid on: no second one is opened beside it.
#[tokio::test]
async fn a_page_that_cannot_be_read_stays_the_only_one() {
    let shop = Shop::open().await;
    let seven = json!({ "quantities": { "credits": "7" } });
    let opened = shop.attach("top_up", seven.clone()).await;
    let unread = FaultRule::new("GET", "/v1/checkout/sessions/", Fault::Empty);
    shop.app.simulator.set_fault_rules(vec![unread]).unwrap();
    let (status, answer) = shop.try_attach("top_up", seven.clone()).await;
    assert_eq!((status, &answer["code"]), (503, &json!("stripe_unavailable")), "{answer}");
    shop.app.simulator.set_fault_rules(Vec::new()).unwrap();
    assert_eq!(shop.attach("top_up", seven).await["checkout_url"], opened["checkout_url"]);
    assert_eq!(shop.writes("/v1/checkout/sessions"), 1);
    shop.close().await;
}
