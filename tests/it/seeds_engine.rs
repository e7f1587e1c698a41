//! The rest of what the five guides promise (see `seeds`): plans that are taken by their link, rollover beside one-off,
//! costs by what a call says of itself, heartbeats, wallets, contracts, what happens at zero.

use creditd::simulator::Outcome;
use serde_json::{Value, json};

use crate::seeds::{pair, spent};
use crate::support::app::TestApp;

async fn post(app: &TestApp, path: &str, body: Value) -> Value {
    let (status, answer) = app.call("POST", &format!("/api/v1/{path}"), Some(body)).await;
    assert!((200..300).contains(&status), "{path}: {status} {answer}");
    answer
}

async fn pass(app: &TestApp, days: i64) {
    post(app, "test-clock/advance", json!({ "seconds": days * 86_400 })).await;
}

/// What a track drew, and what is available after it.
async fn used(app: &TestApp, body: Value) -> (String, String) {
    let answer = post(app, "track", body).await;
    spent(&answer)
}

/// Somebody pays on the page that an attach led to, and all that Stripe has to tell arrives, whatever came before.
async fn pay(app: &TestApp, attached: &Value) {
    let url = attached["checkout_url"].as_str().unwrap_or_else(|| panic!("no page to pay on: {attached}"));
    let (_, session) = url.rsplit_once("/pay/").unwrap();
    app.simulator.pay_checkout(session, Outcome::Paid).unwrap();
    for event in app.simulator.all_event_ids() {
        let (body, signature) = app.simulator.signed_delivery(&event).unwrap();
        assert_eq!(app.deliver(&body, Some(&signature)).await.0, 200);
    }
    app.settle().await;
}

// 002: a click on "Upgrade to Pro" gives a URL to pay on; then 10 dollars a month come for 10 dollars.
// 002: 20 dollars of top-up credits cost 20 dollars, and never expire.
#[tokio::test]
async fn pro_and_a_top_up_are_attached_by_their_links() {
    let app = TestApp::start().await;
    app.customer("user_123").await;
    let order = json!({ "customer": "user_123", "plan": "pro", "success_url": "https://app.example/paid" });
    let attached = post(&app, "attach", order).await;
    assert_eq!(attached["total"], json!({ "amount": "10.00", "currency": "usd" }));
    assert_eq!(app.available("user_123", "usd_credits").await, "5", "nothing before it is paid");
    pay(&app, &attached).await;
    let (_, state) = app.call("GET", "/api/v1/customers/user_123", None).await;
    let plans: Vec<&Value> = state["plans"].as_array().unwrap().iter().map(|plan| &plan["plan"]).collect();
    assert_eq!((plans, app.available("user_123", "usd_credits").await.as_str()), (vec![&json!("pro")], "10"));

    // The card that paid for Pro is there, so the packs are bought by a page only if it is asked for without a key.
    let order = json!({ "customer": "user_123", "plan": "top_up", "quantities": { "usd_credits": "20" },
        "success_url": "https://app.example/paid" });
    let attached = post(&app, "attach", order).await;
    assert_eq!(attached["total"], json!({ "amount": "20.00", "currency": "usd" }));
    pay(&app, &attached).await;
    assert_eq!(app.available("user_123", "usd_credits").await, "30");
    pass(&app, 400).await;
    let (_, grants) = app.call("GET", "/api/v1/customers/user_123/grants", None).await;
    let bought = grants["data"].as_array().unwrap().iter().find(|grant| grant["quantity"] == "20").unwrap();
    assert_eq!((&bought["remaining"], &bought["expires_at"]), (&json!("20"), &Value::Null));
    app.finish().await;
}

// 003: one-off credits do not reset, so they need no rollover; rollover carries what is unspent of a month into the
// next, so that the balance can grow month by month.
// 004: "rollover caps prevent unbounded accumulation".
#[tokio::test]
async fn rollover_grows_up_to_its_cap_and_one_off_credits_just_stay() {
    let text = r#"
[features.credits]
type = "metered"
[plans.pro]
auto_enable = true
[[plans.pro.items]]
id = "monthly"
feature = "credits"
included = "100"
reset = "month"
rollover = { max = "150" }
[[plans.pro.items]]
id = "welcome"
feature = "credits"
included = "7"
reset = "one_off"
"#;
    let app = TestApp::with_catalog(text).await;
    app.customer("ada").await;
    assert_eq!(app.available("ada", "credits").await, "107");
    assert_eq!(
        used(&app, json!({ "key": "t1", "customer": "ada", "feature": "credits", "quantity": "30" })).await,
        pair("30", "77")
    );
    pass(&app, 31).await;
    assert_eq!(app.available("ada", "credits").await, "177", "70 rolled over, 100 new, 7 that stay");
    pass(&app, 31).await;
    assert_eq!(app.available("ada", "credits").await, "257", "170 would roll over, 150 may");
    pass(&app, 400).await;
    assert_eq!(app.available("ada", "credits").await, "257", "a year asleep changes nothing");
    app.finish().await;
}

const RATES: &str = r#"
[features.inference]
type = "metered"
events = ["model.inference"]
sum = "credits"
[features.api_call]
type = "metered"
events = ["api.call"]
[features.compute]
type = "metered"
events = ["compute.minute"]
[features.tokens]
type = "metered"
[features.credits]
type = "credit_system"
costs = { inference = "1", compute = "1", api_call = [ { each = "5", when = { endpoint = "/v1/premium/*" } }, { each = "1" } ], tokens = { input_tokens = "0.0000025", output_tokens = "0.00001", when = { model = "gpt-4" } } }
"#;

// 004: a model call says in its event that it took 25 credits; by tokens, the rate card says it.
// 004: one credit for a standard call, five for a premium endpoint.
#[tokio::test]
async fn events_say_what_they_cost_or_the_card_does() {
    let app = TestApp::with_catalog(RATES).await;
    app.customer("cust_8xk29f").await;
    app.grant("cust_8xk29f", "credits", "100000").await;
    let event = |key: &str, name: &str, properties: Value| json!({ "key": key, "customer": "cust_8xk29f", "event": name, "properties": properties });
    let call = json!({ "model": "gpt-4", "input_tokens": 2000, "output_tokens": 500, "credits": 25 });
    assert_eq!(used(&app, event("e1", "model.inference", call.clone())).await, pair("25", "99975"));
    let premium = json!({ "endpoint": "/v1/premium/search" });
    assert_eq!(used(&app, event("e2", "api.call", premium)).await, pair("5", "99970"));
    let standard = json!({ "endpoint": "/v1/search" });
    assert_eq!(used(&app, event("e3", "api.call", standard)).await, pair("1", "99969"));
    let by_card = json!({ "key": "e4", "customer": "cust_8xk29f", "feature": "tokens", "properties": call });
    assert_eq!(used(&app, by_card).await, pair("0.01", "99968.99"), "0.005 for what goes in, 0.005 for what comes out");
    let other =
        json!({ "key": "e5", "customer": "cust_8xk29f", "feature": "tokens", "properties": { "model": "gpt-3" } });
    let (status, answer) = app.call("POST", "/api/v1/track", Some(other)).await;
    assert_eq!((status, &answer["code"], &answer["field"]), (400, &json!("bad_properties"), &json!("properties")));
    app.finish().await;
}

// 004: a job that runs sends a heartbeat a minute, each takes a credit; at zero the app asks and stops.
#[tokio::test]
async fn heartbeats_draw_a_credit_each_until_none_is_left() {
    let app = TestApp::with_catalog(RATES).await;
    app.customer("ada").await;
    app.grant("ada", "credits", "3").await;
    let beat = |minute: usize| {
        json!({ "key": format!("job_1:{minute}"), "customer": "ada", "event": "compute.minute",
            "properties": { "job_id": "job_1", "instance": "m5.large" }, "when_short": "reject" })
    };
    for minute in 1..=3 {
        assert_eq!(used(&app, beat(minute)).await, pair("1", &(3 - minute).to_string()));
    }
    let (status, answer) = app.call("POST", "/api/v1/track", Some(beat(4))).await;
    assert_eq!((status, &answer["code"]), (402, &json!("insufficient_credits")));
    let asked = json!({ "customer": "ada", "feature": "compute" });
    assert_eq!(post(&app, "check", asked).await["allowed"], false);
    // A heartbeat that is sent twice counts once.
    let (status, again) = app.call("POST", "/api/v1/track", Some(beat(3))).await;
    assert_eq!((status, &again["status"]), (200, &json!("repeated")));
    // The audit trail: every one of them with its time and what it said.
    let (_, listed) = app.call("GET", "/api/v1/customers/ada/usage?feature=compute", None).await;
    let events = listed["data"].as_array().unwrap();
    assert_eq!(events.len(), 3, "{listed}");
    assert!(events.iter().all(|event| event["properties"]["job_id"] == "job_1" && event["at"].is_string()), "{listed}");
    app.finish().await;
}

// 004: several wallets for one customer, each with its priority; the earliest end goes first within one.
#[tokio::test]
async fn wallets_burn_by_priority_and_the_earliest_end_first_within_one() {
    let app = TestApp::with_catalog("[features.credits]\ntype = \"metered\"\n").await;
    app.customer("cust_8xk29f").await;
    for (id, name, priority) in [("wal_paid", "Primary Credit Wallet", 10), ("wal_promo", "Promotional", 0)] {
        let body = json!({ "key": id, "customer": "cust_8xk29f", "feature": "credits", "id": id, "name": name,
            "priority": priority });
        post(&app, "wallets", body).await;
    }
    for (key, wallet, category, ends) in [
        ("g1", "wal_paid", "prepaid", "2090-01-01T00:00:00Z"),
        ("g2", "wal_promo", "promotional", "2099-01-01T00:00:00Z"),
        ("g3", "wal_promo", "promotional", "2095-01-01T00:00:00Z"),
    ] {
        let body = json!({ "key": key, "customer": "cust_8xk29f", "feature": "credits", "wallet": wallet,
            "quantity": "10", "category": category, "expires_at": ends, "reason": key });
        post(&app, "grants", body).await;
    }
    let asked = json!({ "customer": "cust_8xk29f", "feature": "credits", "quantity": "25", "explain": true });
    let answer = post(&app, "check", asked).await;
    let takes: Vec<(&Value, &Value)> =
        answer["lots"].as_array().unwrap().iter().map(|lot| (&lot["expires_at"], &lot["take"])).collect();
    let order = [("2095", "10"), ("2099", "10"), ("2090", "5")];
    let order = order.map(|(year, take)| (json!(format!("{year}-01-01T00:00:00Z")), json!(take)));
    assert_eq!(takes, order.iter().map(|(end, take)| (end, take)).collect::<Vec<_>>());
    app.finish().await;
}

// 004: "when credits expire, they're removed from the available balance".
// 004: a contract commits to so much a year, and says by when.
#[tokio::test]
async fn a_committed_year_of_credits_ends_by_its_terms() {
    let app = TestApp::with_catalog("[features.credits]\ntype = \"metered\"\n").await;
    app.customer("acme").await;
    let (_, clock) = app.call("POST", "/api/v1/test-clock/advance", Some(json!({ "seconds": 1 }))).await;
    let now: jiff::Timestamp = clock["now"].as_str().unwrap().parse().unwrap();
    let year = now.checked_add(jiff::SignedDuration::from_hours(365 * 24)).unwrap().to_string();
    let body = json!({ "key": "c1", "customer": "acme", "feature": "credits", "quantity": "50000", "category": "committed",
        "reason": "committed spend", "expires_at": year,
        "contract": { "reference": "contract_2026", "minimum_spend": { "amount": "50000.00", "currency": "usd" } } });
    let grant = post(&app, "grants", body).await;
    assert_eq!(grant["contract"]["reference"], "contract_2026");
    assert_eq!(
        used(&app, json!({ "key": "t1", "customer": "acme", "feature": "credits", "quantity": "49900" })).await,
        pair("49900", "100")
    );
    pass(&app, 366).await;
    assert_eq!(app.available("acme", "credits").await, "0");
    app.finish().await;
}

// 004: at zero: block, or let it go on and invoice the overage at a rate.
#[tokio::test]
async fn overage_goes_on_up_to_a_limit_and_is_owed_at_its_rate() {
    let text = r#"
[features.credits]
type = "metered"
[plans.paygo]
auto_enable = true
[[plans.paygo.items]]
feature = "credits"
included = "10"
reset = "month"
overage = { limit = "100", amount = "0.002", currency = "usd" }
"#;
    let app = TestApp::with_catalog(text).await;
    app.customer("ada").await;
    let track = |key: &str, units: &str, how: &str| json!({ "key": key, "customer": "ada", "feature": "credits", "quantity": units, "when_short": how });
    let answer = post(&app, "track", track("t1", "60", "debt")).await;
    assert_eq!((&answer["drawn"], &answer["owed"], &answer["shortfall"]), (&json!("10"), &json!("50"), &json!("0")));
    let (status, answer) = app.call("POST", "/api/v1/track", Some(track("t2", "51", "debt"))).await;
    assert_eq!((status, &answer["code"], &answer["available"]), (402, &json!("insufficient_credits"), &json!("50")));
    pass(&app, 31).await;
    assert_eq!(
        app.available("ada", "credits").await,
        "10",
        "what has a price is invoiced, not taken of the next month"
    );
    let (_, state) = app.call("GET", "/api/v1/customers/ada", None).await;
    let owed = &state["wallets"][0]["debts"][0];
    assert_eq!((&owed["owed"], &owed["invoiced"]), (&json!("50"), &json!(true)), "{state}");
    app.finish().await;
}
