//! The numbers of five public guides to credits, told again through the API. Each test names the guide it retells:
//! 000 and 001 (credit systems, two editions), 002 (monetary credits), 003 (questions about credit systems) and 004
//! (wallets and grants).

use creditd::simulator::Outcome;
use serde_json::{Value, json};

use crate::support::app::{CATALOG, PACKS_OF_ADA, TestApp};

/// One pool, drawn by requests at 3 credits each; images are outside it.
const REQUESTS: &str = r#"
[features.premium_request]
type = "metered"
[features.image]
type = "metered"
[features.credits]
type = "credit_system"
costs = { premium_request = "3" }
"#;

async fn check(app: &TestApp, feature: &str, quantity: &str) -> Value {
    let question = json!({ "customer": "ada", "feature": feature, "quantity": quantity, "explain": true });
    let (status, answer) = app.call("POST", "/api/v1/check", Some(question)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// What a track drew, and what is available after it.
pub(crate) fn spent(answer: &Value) -> (String, String) {
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    (text("drawn"), text("available"))
}

async fn used(app: &TestApp, key: &str, feature: &str, quantity: &str) -> (String, String) {
    let (status, answer) = app.track(key, "ada", feature, quantity).await;
    assert_eq!((status, &answer["status"]), (200, &json!("applied")), "{answer}");
    assert_eq!(answer["shortfall"], "0");
    spent(&answer)
}

pub(crate) fn pair(drawn: &str, left: &str) -> (String, String) {
    (drawn.to_owned(), left.to_owned())
}

/// A grant with further members.
async fn give(app: &TestApp, key: &str, feature: &str, quantity: &str, more: Value) -> Value {
    let mut body = json!({ "key": key, "customer": "ada", "feature": feature, "quantity": quantity,
        "category": "promotional", "reason": "as the guide says" });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let (status, grant) = app.call("POST", "/api/v1/grants", Some(body)).await;
    assert_eq!(status, 201, "{grant}");
    grant
}

// 000: where a minute of audio is worth 3 credits, 6 minutes cost 18.
// 000: a customer with 10000 credits is let in, sends 10 units, and has 9970 left.
#[tokio::test]
async fn ten_units_at_three_leave_9970_of_10000() {
    let app = TestApp::with_catalog(&REQUESTS.replace("premium_request", "audio_minutes")).await;
    app.customer("ada").await;
    app.grant("ada", "credits", "10000").await;
    let answer = check(&app, "audio_minutes", "6").await;
    assert_eq!((&answer["allowed"], &answer["required"]), (&json!(true), &json!("18")));
    // 000: the answer names the credit system and its balance, though the question named the feature.
    assert_eq!((&answer["pool"], &answer["available"]), (&json!("credits"), &json!("10000")));
    assert_eq!(used(&app, "event_123", "audio_minutes", "10").await, pair("30", "9970"));
    app.finish().await;
}

// 001: with 100 credits, 6 requests at 3 are allowed, as they need 18; afterwards 82 are left.
#[tokio::test]
async fn six_requests_need_18_of_100_and_leave_82() {
    let app = TestApp::with_catalog(REQUESTS).await;
    app.customer("ada").await;
    app.grant("ada", "credits", "100").await;
    let answer = check(&app, "premium_request", "6").await;
    assert_eq!((&answer["allowed"], &answer["reason"]), (&json!(true), &json!("ok")));
    assert_eq!((&answer["required"], &answer["available"]), (&json!("18"), &json!("100")));
    assert_eq!(app.available("ada", "credits").await, "100", "a check takes nothing");
    assert_eq!(used(&app, "t1", "premium_request", "6").await, pair("18", "82"));
    // 27 more need 81 of the 82, 28 need 84.
    assert_eq!(check(&app, "premium_request", "27").await["allowed"], true);
    let answer = check(&app, "premium_request", "28").await;
    assert_eq!((&answer["allowed"], &answer["reason"]), (&json!(false), &json!("insufficient")));
    app.finish().await;
}

// 000, 001, 003: a feature that the credit system does not have, and no plan gives, is not allowed.
#[tokio::test]
async fn a_feature_outside_the_credit_system_is_not_allowed_and_says_why() {
    let app = TestApp::with_catalog(REQUESTS).await;
    app.customer("ada").await;
    app.grant("ada", "credits", "100").await;
    for (feature, reason) in [("image", "feature_not_granted"), ("video", "unknown_feature")] {
        let answer = check(&app, feature, "1").await;
        assert_eq!((&answer["allowed"], &answer["reason"]), (&json!(false), &json!(reason)), "{feature}");
    }
    assert_eq!(app.available("ada", "credits").await, "100");
    app.finish().await;
}

// 000, 001, 003: money as credits of a cent each: 5 dollars are 500, and a minute of 7 cents costs 7.
#[tokio::test]
async fn five_dollars_are_five_hundred_cents_at_seven_a_minute() {
    let text = r#"
[features.audio_minutes]
type = "metered"
[features.cents]
type = "credit_system"
costs = { audio_minutes = "7" }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "cents"
included = "500"
reset = "month"
"#;
    let app = TestApp::with_catalog(text).await;
    app.customer("ada").await;
    assert_eq!(app.available("ada", "cents").await, "500");
    assert_eq!(check(&app, "audio_minutes", "71").await["required"], "497");
    assert_eq!(check(&app, "audio_minutes", "72").await["allowed"], false, "504 are more than 500");
    assert_eq!(used(&app, "t1", "audio_minutes", "71").await, pair("497", "3"));
    app.finish().await;
}

// 002: a new customer has Free at once, and with it 5 dollars. 5 basic messages ask for 0.05; 2 of them cost 0.02;
// a premium one costs 0.10.
#[tokio::test]
async fn two_basic_messages_cost_two_cents_of_the_free_five_dollars() {
    let app = TestApp::start().await;
    let customer = app.customer("ada").await;
    assert_eq!(customer["plans"][0]["plan"], "free");
    assert_eq!(app.available("ada", "usd_credits").await, "5");
    let answer = check(&app, "basic_messages", "5").await;
    assert_eq!((&answer["allowed"], &answer["required"]), (&json!(true), &json!("0.05")));
    assert_eq!(used(&app, "t1", "basic_messages", "2").await, pair("0.02", "4.98"));
    assert_eq!(used(&app, "t2", "premium_messages", "1").await, pair("0.1", "4.88"));
    // A hundred of each are a dollar and ten, as the price list says.
    assert_eq!(check(&app, "basic_messages", "100").await["required"], "1");
    assert_eq!(check(&app, "premium_messages", "100").await["required"], "10");
    app.finish().await;
}

// 002: a customer who runs low buys 20 credits for 20 dollars; they never expire.
// 003: what comes monthly and what was bought once is one balance.
#[tokio::test]
async fn a_top_up_of_twenty_joins_the_monthly_credits_and_never_expires() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let session = app.checkout(&PACKS_OF_ADA).await;
    assert_eq!(session["amount_total"], 2_000);
    app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
    app.deliver_newest("checkout.session.completed").await;
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    let (_, grants) = app.call("GET", "/api/v1/customers/ada/grants", None).await;
    let bought = grants["data"].as_array().unwrap().iter().find(|grant| grant["quantity"] == "20").unwrap();
    assert_eq!(bought["expires_at"], Value::Null);
    assert_eq!(bought["paid"], json!({ "amount": "20.00", "currency": "usd" }));
    // What the month takes back is used first: 6 dollars of premium messages leave 19 of the bought ones.
    assert_eq!(used(&app, "t1", "premium_messages", "60").await, pair("6", "19"));
    let lots = check(&app, "basic_messages", "1").await["lots"].take();
    let left: Vec<&Value> =
        lots.as_array().unwrap().iter().map(|lot| &lot["available"]).filter(|n| *n != "0").collect();
    assert_eq!(left, ["19"]);
    app.finish().await;
}

// 003: one plan may give both, a monthly item that ends with its month and a one-off item that stays.
// 003: basic messages at 1 and premium ones at 10 share 200 credits in any mix.
#[tokio::test]
async fn one_plan_gives_monthly_and_one_off_credits_into_one_balance() {
    let text = r#"
[features.basic]
type = "metered"
[features.premium]
type = "metered"
[features.credits]
type = "credit_system"
costs = { basic = "1", premium = "10" }
[plans.pro]
auto_enable = true
[[plans.pro.items]]
id = "monthly"
feature = "credits"
included = "200"
reset = "month"
[[plans.pro.items]]
id = "welcome"
feature = "credits"
included = "50"
reset = "one_off"
"#;
    let app = TestApp::with_catalog(text).await;
    app.customer("ada").await;
    assert_eq!(app.available("ada", "credits").await, "250");
    assert_eq!(used(&app, "t1", "premium", "10").await, pair("100", "150"));
    assert_eq!(used(&app, "t2", "basic", "120").await, pair("120", "30"));
    let (_, grants) = app.call("GET", "/api/v1/customers/ada/grants", None).await;
    for grant in grants["data"].as_array().unwrap() {
        let (left, ends) = if grant["quantity"] == "200" { ("0", true) } else { ("30", false) };
        assert_eq!((&grant["remaining"], grant["expires_at"].is_string()), (&json!(left), ends), "{grant}");
    }
    app.finish().await;
}

// 003: an app that works out the credits by itself needs no credit system and tracks `credits`.
#[tokio::test]
async fn a_plain_feature_is_tracked_without_a_credit_system() {
    let app = TestApp::with_catalog("[features.credits]\ntype = \"metered\"\n").await;
    app.customer("ada").await;
    app.grant("ada", "credits", "100").await;
    let answer = check(&app, "credits", "25").await;
    assert_eq!(
        (&answer["allowed"], &answer["required"], &answer["pool"]),
        (&json!(true), &json!("25"), &json!("credits"))
    );
    assert_eq!(used(&app, "t1", "credits", "25").await, pair("25", "75"));
    app.finish().await;
}

// 004: 50000 prepaid credits with an end and metadata of the contract behind them.
#[tokio::test]
async fn a_prepaid_grant_keeps_its_end_and_its_metadata() {
    let app = TestApp::with_catalog("[features.credits]\ntype = \"metered\"\n").await;
    app.customer("ada").await;
    let facts = json!({ "wallet": "wal_3kd92x", "category": "prepaid", "expires_at": "2099-07-04T00:00:00Z",
        "metadata": { "source": "enterprise_contract", "contract_id": "contract_2024_q2" } });
    let given = give(&app, "g1", "credits", "50000", facts.clone()).await;
    for (name, value) in facts.as_object().unwrap() {
        assert_eq!(&given[name], value, "{name}");
    }
    assert_eq!((&given["quantity"], &given["remaining"]), (&json!("50000"), &json!("50000")));
    // 004: a model call of 25 credits.
    assert_eq!(used(&app, "t1", "credits", "25").await, pair("25", "49975"));
    app.finish().await;
}

// 004: promotional credits go before paid ones; within a kind, those that end soonest go first.
#[tokio::test]
async fn promotional_before_paid_and_the_soonest_end_first() {
    let app = TestApp::with_catalog("[features.credits]\ntype = \"metered\"\n").await;
    app.customer("ada").await;
    let lots = [
        ("paid-late", "prepaid", "2099-12-01T00:00:00Z"),
        ("promo-late", "promotional", "2099-11-01T00:00:00Z"),
        ("paid-soon", "prepaid", "2099-01-01T00:00:00Z"),
        ("promo-soon", "promotional", "2099-10-01T00:00:00Z"),
    ];
    for (key, category, ends) in lots {
        give(&app, key, "credits", "10", json!({ "category": category, "expires_at": ends, "reason": key })).await;
    }
    let mut emptied = Vec::new();
    for round in 1..=4 {
        let left = (40 - 10 * round).to_string();
        assert_eq!(used(&app, &format!("t{round}"), "credits", "10").await, pair("10", &left));
        let (_, grants) = app.call("GET", "/api/v1/customers/ada/grants", None).await;
        for grant in grants["data"].as_array().unwrap().iter().filter(|grant| grant["remaining"] == "0") {
            let ends = grant["expires_at"].as_str().unwrap().to_owned();
            if !emptied.contains(&ends) {
                emptied.push(ends);
            }
        }
    }
    let order = ["2099-10-01", "2099-11-01", "2099-01-01", "2099-12-01"].map(|day| format!("{day}T00:00:00Z"));
    assert_eq!(emptied, order);
    app.finish().await;
}

// 004: when nothing is left the app decides: block the customer, or let the last usage through.
#[tokio::test]
async fn an_empty_balance_blocks_whoever_asks_for_it() {
    let app = TestApp::with_catalog(CATALOG).await;
    app.customer("ada").await;
    let body = |key: &str, how: &str| json!({ "key": key, "customer": "ada", "feature": "premium_messages", "quantity": "51", "when_short": how });
    let (status, answer) = app.call("POST", "/api/v1/track", Some(body("t1", "reject"))).await;
    assert_eq!((status, &answer["code"]), (402, &json!("insufficient_credits")));
    assert_eq!(app.available("ada", "usd_credits").await, "5");
    let (status, answer) = app.call("POST", "/api/v1/track", Some(body("t2", "cap"))).await;
    assert_eq!((status, &answer["drawn"], &answer["shortfall"]), (200, &json!("5"), &json!("0.1")));
    assert_eq!(app.available("ada", "usd_credits").await, "0");
    app.finish().await;
}
