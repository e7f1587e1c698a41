//! Why a rule does not charge: every check that can hold one back, over HTTP, in the order in which they are asked.

use creditd::domain::command::{Charging, Command};
use creditd::domain::ids::TopUpId;
use serde_json::{Value, json};

use crate::http_top_up_rules::{CATALOG, RULES, app};
use crate::support::app::TestApp;
use crate::support::database::raw;

impl TestApp {
    async fn why(&self, name: &str) -> Value {
        let (status, why) = self.call("GET", &format!("{RULES}/{name}/why"), None).await;
        assert_eq!(status, 200, "{why}");
        assert_ne!(why["held_back"].is_null(), why["would_charge"].is_null(), "{why}");
        why
    }

    async fn held_back(&self, name: &str) -> Value {
        self.why(name).await["held_back"].clone()
    }

    async fn rewrite(&self, statement: &'static str) {
        sqlx::query(statement).execute(&raw(&self.url).await).await.unwrap();
    }

    async fn sell(&self, catalog: &str) {
        let catalog = creditd::domain::catalog::file::read(catalog).unwrap();
        let _: creditd::store::catalog::Applied = self.store.apply_catalog(&catalog, [9; 32], false).await.unwrap();
    }

    async fn charging(&self, charging: Charging) {
        let account = self.store.find_customer("ada").await.unwrap().unwrap();
        let _: creditd::domain::command::Decision =
            self.daemon.posting().post(account, None, Command::Charging(charging)).await.unwrap();
    }
}

#[tokio::test]
async fn the_switch_the_circuit_and_the_balance() {
    let app = app().await;
    app.set_rule("main", json!({ "enabled": false })).await;
    assert_eq!(app.held_back("main").await["code"], "disabled");
    app.set_rule("main", json!({})).await;
    let why = app.why("main").await;
    assert_eq!((&why["name"], &why["balance"], &why["threshold"]), (&json!("main"), &json!("100"), &json!("20")));
    let held_back = &why["held_back"];
    assert_eq!((&held_back["code"], &held_back["balance"]), (&json!("balance_above"), &json!("100")));
    app.rewrite("INSERT INTO circuits VALUES ('stripe', 3, now() + interval '1 hour', 'api_key_expired')").await;
    let held_back = app.held_back("main").await;
    assert_eq!((&held_back["code"], &held_back["reason"]), (&json!("circuit_open"), &json!("api_key_expired")));
    assert!(held_back["until"].is_string());
    app.rewrite("UPDATE circuits SET open_until = now() - interval '1 second'").await;
    assert_eq!(app.held_back("main").await["code"], "balance_above", "it is closed again");
    assert_eq!(app.call("GET", &format!("{RULES}/other/why"), None).await.1["code"], "unknown_rule");
    app.done().await;
}

#[tokio::test]
async fn what_is_open_what_is_paused_and_what_would_be_charged() {
    let app = app().await;
    app.set_rule("main", json!({})).await;
    app.spend("a", "85").await;
    let held_back = app.held_back("main").await;
    assert_eq!((&held_back["code"], &held_back["top_up_state"]), (&json!("open_top_up"), &json!("open")));
    let id: TopUpId = held_back["top_up"].as_str().unwrap().parse().unwrap();
    app.charging(Charging::NoCard(id)).await;
    let held_back = app.held_back("main").await;
    assert_eq!((&held_back["code"], &held_back["because"]), (&json!("paused"), &json!("no_payment_method")));
    let rule = app.rule("main").await;
    assert_eq!((&rule["state"], &rule["paused_because"]), (&json!("paused"), &json!("no_payment_method")));
    assert_eq!(rule["paused_at"], held_back["since"]);
    // A card resumes it, and as the balance is low it decides at once.
    app.charging(Charging::CardSeen(None)).await;
    assert_eq!(app.held_back("main").await["code"], "open_top_up");
    app.done().await;
}

#[tokio::test]
async fn disputed_and_unlimited_credits() {
    let app = app().await;
    app.set_rule("main", json!({ "threshold": "99" })).await;
    app.rewrite("UPDATE grants SET frozen = true").await;
    assert_eq!(app.held_back("main").await["code"], "disputed");
    app.rewrite("UPDATE grants SET frozen = false").await;
    app.sell(&CATALOG.replace("included = \"100\"", "unlimited = true")).await;
    app.customer("eve").await;
    let rules = "/api/v1/customers/eve/topup-rules/main";
    assert_eq!(app.call("PUT", rules, Some(crate::http_top_up_rules::rule())).await.0, 200);
    let (_, why) = app.call("GET", &format!("{rules}/why"), None).await;
    assert_eq!((&why["held_back"]["code"], &why["balance"]), (&json!("unlimited"), &json!(null)));
    app.done().await;
}

#[tokio::test]
async fn prices_that_went_or_grew() {
    let app = app().await;
    app.set_rule("main", json!({ "threshold": "99" })).await;
    app.sell(&CATALOG.replace("\"1.00\", currency = \"usd\"", "\"900000.00\", currency = \"usd\"")).await;
    app.rewrite("UPDATE grants SET remaining = 10").await;
    assert_eq!(app.held_back("main").await["code"], "too_much");
    app.sell(
        &CATALOG.replace(
            "  { credits = \"10\", amount = \"1.00\", currency = \"usd\", stripe_price = \"price_usd\" },\n",
            "",
        ),
    )
    .await;
    assert_eq!(app.held_back("main").await["code"], "price_missing");
    app.sell(CATALOG).await;
    let would = app.why("main").await["would_charge"].clone();
    let wanted =
        json!({ "quantity": "50", "amount": { "amount": "5.00", "currency": "usd" }, "packs": 5, "plan": "packs" });
    assert_eq!(would, wanted);
    app.rewrite("UPDATE grants SET remaining = 100").await;
    app.done().await;
}

/// What was decided is paid for, so far as the rule knows.
const PAID: &str =
    "UPDATE top_ups SET state = 'succeeded', payment_id = gen_random_uuid(), ended_at = now(), due_at = NULL";

#[tokio::test]
async fn the_cooldown_and_each_ceiling_with_its_numbers() {
    let money = |amount: &str| json!({ "amount": amount, "currency": "usd" });
    let cases = [
        (json!({ "cooldown_seconds": 3600 }), "cooldown", json!(null), json!(null)),
        (json!({ "max_per_day": { "count": 1 } }), "max_per_day_count", json!("1"), json!("1")),
        (json!({ "max_per_day": { "money": money("9.99") } }), "max_per_day_money", money("9.99"), money("5.00")),
        (json!({ "max_per_month": { "count": 1 } }), "max_per_month_count", json!("1"), json!("1")),
        (json!({ "max_per_month": { "money": money("9.99") } }), "max_per_month_money", money("9.99"), money("5.00")),
    ];
    for (changes, code, most, used) in cases {
        let app = app().await;
        app.set_rule("main", changes).await;
        app.spend("a", "85").await;
        assert_eq!(app.held_back("main").await["code"], "open_top_up", "{code}");
        app.rewrite(PAID).await;
        let held_back = app.held_back("main").await;
        assert_eq!(held_back["code"], code);
        assert_eq!((&held_back["most"], &held_back["used"]), (&most, &used), "{code}");
        assert!(held_back["until"].is_string(), "{code}");
        app.daemon.stop().await;
    }
}
