//! Top-up rules that plans say: they come and go with the plan, are shown and reached, and give way to the app's own.

use serde_json::{Value, json};

use crate::http_top_up_rules::RULES;
use crate::support::app::TestApp;

/// Everyone has 30 credits; `pro` and `trusting` top up at 40, the one with consent, the other without.
const CATALOG: &str = r#"
[features.messages]
type = "metered"
[features.credits]
type = "credit_system"
costs = { messages = "1" }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "credits"
included = "30"
[plans.packs]
add_on = true
[[plans.packs.items]]
feature = "credits"
packs = [{ credits = "10", amount = "1.00", currency = "usd", stripe_price = "price_usd" }]
[plans.pro]
add_on = true
[[plans.pro.top_ups]]
feature = "credits"
threshold = "40"
target = "100"
max_per_month = { money = "100.00", count = 9 }
cooldown_seconds = 60
consent = "terms-3"
[plans.unsigned]
add_on = true
[[plans.unsigned.top_ups]]
feature = "credits"
threshold = "40"
quantity = "10"
max_per_month = { money = "100.00" }
"#;

const OF_PRO: &str = "/api/v1/customers/ada/topup-rules/plan%2Fpro%2Fcredits";

async fn app() -> TestApp {
    let app = TestApp::without_stripe(CATALOG).await;
    app.customer("ada").await;
    app
}

async fn ask(app: &TestApp, path: &str, plan: &str, more: Value) {
    let body = crate::http_top_up_rules::with(json!({ "customer": "ada", "plan": plan }), more);
    let (status, answer) = app.call("POST", &format!("/api/v1/{path}"), Some(body)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_plans_rule_comes_with_it_fires_and_goes_with_it() {
    let app = app().await;
    ask(&app, "attach", "pro", json!({})).await;
    let (status, rule) = app.call("GET", OF_PRO, None).await;
    assert_eq!(status, 200, "{rule}");
    assert_eq!(
        (&rule["name"], &rule["origin"], &rule["state"]),
        (&json!("plan/pro/credits"), &json!("plan"), &json!("active"))
    );
    assert_eq!(
        (&rule["target"], &rule["currency"], &rule["cooldown_seconds"]),
        (&json!("100"), &json!("usd"), &json!(60))
    );
    assert_eq!(
        (&rule["consent"]["by"], &rule["consent"]["text_version"]),
        (&json!("whoever took plan pro"), &json!("terms-3"))
    );
    assert_eq!(rule["open_top_up"]["quantity"], "70", "30 are at or below 40: it fills up to 100");
    let (_, why) = app.call("GET", &format!("{OF_PRO}/why"), None).await;
    assert_eq!((&why["name"], &why["held_back"]["code"]), (&json!("plan/pro/credits"), &json!("open_top_up")));
    let open = rule["open_top_up"]["id"].as_str().unwrap().to_owned();
    let (status, refused) = app.call("DELETE", OF_PRO, None).await;
    let said = (status, refused["code"].as_str(), refused["field"].as_str());
    assert_eq!(said, (409, Some("rule_of_plan"), Some("name")), "{refused}");
    let (status, refused) = app.call("PUT", OF_PRO, Some(crate::http_top_up_rules::rule())).await;
    assert_eq!((status, refused["field"].as_str()), (400, Some("name")), "{refused}");
    ask(&app, "cancel", "pro", json!({ "when": "now" })).await;
    assert_eq!(app.call("GET", OF_PRO, None).await.0, 404);
    assert_eq!(app.call("GET", RULES, None).await.1["data"], json!([]));
    let (_, dropped) = app.call("GET", &format!("/api/v1/topups/{open}"), None).await;
    assert_eq!((&dropped["state"], &dropped["reason"]), (&json!("dropped"), &json!("plan_ended")));
    // Taken again, it goes on where its month was.
    ask(&app, "attach", "pro", json!({})).await;
    let (_, again) = app.call("GET", OF_PRO, None).await;
    assert_eq!((&again["state"], &again["decided_at"]), (&json!("active"), &rule["decided_at"]), "{again}");
    let (_, why) = app.call("GET", &format!("{OF_PRO}/why"), None).await;
    assert_eq!(why["held_back"]["code"], "cooldown", "leaving and coming back is no way around it");
    app.done().await;
}

#[tokio::test]
async fn a_rule_of_the_apps_own_stands_in_a_plans_place_on_or_off() {
    let app = app().await;
    let own = json!({ "threshold": "5", "quantity": "10" });
    assert_eq!(app.set_rule("mine", own.clone()).await.0, 200);
    ask(&app, "attach", "pro", json!({})).await;
    let (_, rule) = app.call("GET", OF_PRO, None).await;
    assert_eq!((&rule["state"], &rule["replaced_by"]), (&json!("disabled"), &json!("mine")));
    assert_eq!(rule["open_top_up"], json!(null), "30 are below its 40, and it did not fire");
    let (_, why) = app.call("GET", &format!("{OF_PRO}/why"), None).await;
    let held_back = &why["held_back"];
    assert_eq!((&held_back["code"], &held_back["rule"]), (&json!("replaced_by_other_rule"), &json!("mine")));
    app.set_rule("mine", json!({ "enabled": false })).await;
    let (_, why) = app.call("GET", &format!("{OF_PRO}/why"), None).await;
    assert_eq!(why["held_back"]["code"], "replaced_by_other_rule");
    let (_, listed) = app.call("GET", RULES, None).await;
    assert_eq!((&listed["data"][0]["name"], &listed["data"][1]["name"]), (&json!("mine"), &json!("plan/pro/credits")));
    assert_eq!(app.call("DELETE", &format!("{RULES}/mine"), None).await.0, 200);
    let (_, rule) = app.call("GET", OF_PRO, None).await;
    assert_eq!((&rule["state"], &rule["open_top_up"]["quantity"]), (&json!("active"), &json!("70")), "its turn again");
    app.done().await;
}

#[tokio::test]
async fn a_plans_rule_without_consent_charges_nobody() {
    let app = app().await;
    ask(&app, "attach", "unsigned", json!({})).await;
    let path = "/api/v1/customers/ada/topup-rules/plan%2Funsigned%2Fcredits";
    let (_, why) = app.call("GET", &format!("{path}/why"), None).await;
    assert_eq!(why["held_back"]["code"], "consent_missing");
    assert_eq!(app.call("GET", path, None).await.1["open_top_up"], json!(null));
    let (_, signed) = app.set_rule("signed", json!({ "threshold": "40", "quantity": "10" })).await;
    assert_eq!(signed["open_top_up"]["quantity"], "10", "the app sets one with the consent it asked for");
    app.done().await;
}
