//! Top-up rules over HTTP: set, shown, listed, fired, taken away; and every field that is refused.

use serde_json::{Value, json};

use crate::support::app::TestApp;

pub(crate) const RULES: &str = "/api/v1/customers/ada/topup-rules";

/// Everyone has 100 credits; ten more cost a dollar or 0.90 euro. Of tokens there is one price, and of storage none.
pub(crate) const CATALOG: &str = r#"
[features.messages]
type = "metered"
[features.tokens]
type = "metered"
[features.storage]
type = "metered"
[features.sso]
type = "boolean"
[features.credits]
type = "credit_system"
costs = { messages = "1" }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "credits"
included = "100"
[plans.packs]
add_on = true
[[plans.packs.items]]
feature = "credits"
packs = [
  { credits = "10", amount = "1.00", currency = "usd", stripe_price = "price_usd" },
  { credits = "10", amount = "0.90", currency = "eur", stripe_price = "price_eur" },
]
[[plans.packs.items]]
feature = "tokens"
packs = [{ credits = "1000", amount = "3", currency = "jpy", stripe_price = "price_jpy" }]
"#;

pub(crate) async fn app() -> TestApp {
    let app = TestApp::without_stripe(CATALOG).await;
    app.customer("ada").await;
    app
}

/// A rule that buys 50 credits at 20 or below.
pub(crate) fn rule() -> Value {
    json!({
        "enabled": true, "feature": "credits", "threshold": "20", "quantity": "50", "currency": "usd",
        "consent": { "by": "ada@example.com", "at": "2026-01-02T03:04:05Z", "text_version": "v3" },
    })
}

pub(crate) fn with(mut body: Value, changes: Value) -> Value {
    let (Value::Object(members), Value::Object(changes)) = (&mut body, changes) else { panic!("no objects") };
    members.extend(changes);
    body
}

impl TestApp {
    pub(crate) async fn set_rule(&self, name: &str, changes: Value) -> (u16, Value) {
        self.call("PUT", &format!("{RULES}/{name}"), Some(with(rule(), changes))).await
    }

    pub(crate) async fn rule(&self, name: &str) -> Value {
        let (status, rule) = self.call("GET", &format!("{RULES}/{name}"), None).await;
        assert_eq!(status, 200, "{rule}");
        rule
    }

    pub(crate) async fn spend(&self, key: &str, messages: &str) {
        assert_eq!(self.track(key, "ada", "messages", messages).await.0, 200);
    }

    /// Ends what was left as it is: no card was ever charged here, so what is open stays open.
    pub(crate) async fn done(self) {
        self.finish().await;
    }
}

#[tokio::test]
async fn a_rule_is_set_shown_listed_and_taken_away() {
    let app = app().await;
    let all = json!({
        "payment_method": "pm_1", "mode": "invoice", "cooldown_seconds": 60,
        "max_per_day": { "count": 3, "money": { "amount": "20.00", "currency": "usd" } },
        "max_per_month": { "count": 9, "money": { "amount": "80.00", "currency": "USD" } },
    });
    let (status, set) = app.set_rule("my%20rule", all).await;
    assert_eq!(status, 200, "{set}");
    let wanted = json!({
        "name": "my rule", "origin": "api", "state": "active", "replaced_by": null, "paused_because": null,
        "paused_at": null, "enabled": true, "feature": "credits", "wallet": null, "threshold": "20", "quantity": "50",
        "target": null, "currency": "usd", "mode": "invoice", "payment_method": "pm_1",
        "max_per_day": { "count": 3, "money": { "amount": "20.00", "currency": "usd" } },
        "max_per_month": { "count": 9, "money": { "amount": "80.00", "currency": "usd" } },
        "used": {
            "day": { "count": 0, "money": { "amount": "0.00", "currency": "usd" } },
            "month": { "count": 0, "money": { "amount": "0.00", "currency": "usd" } },
        },
        "cooldown_seconds": 60,
        "consent": { "by": "ada@example.com", "at": "2026-01-02T03:04:05Z", "text_version": "v3" },
        "decided_at": null, "open_top_up": null,
    });
    assert_eq!(set, wanted);
    assert_eq!(app.rule("my%20rule").await, wanted);
    let off = json!({ "enabled": false, "consent": null, "quantity": null, "target": "70" });
    let (_, second) = app.set_rule("b", off).await;
    assert_eq!(
        (&second["state"], &second["target"], &second["consent"]),
        (&json!("disabled"), &json!("70"), &json!(null))
    );
    let most = json!({ "count": null, "money": { "amount": "500.00", "currency": "usd" } });
    assert_eq!((&second["max_per_month"], &second["mode"]), (&most, &json!("payment_intent")), "what is configured");
    assert_eq!(second["max_per_day"], json!({ "count": null, "money": null }));
    let (_, listed) = app.call("GET", RULES, None).await;
    assert_eq!(listed, json!({ "data": [second, wanted], "next_cursor": null }));
    let (_, customer) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(customer["topup_rules"], listed["data"]);
    let gone = json!({ "name": "b", "deleted": true });
    assert_eq!(app.call("DELETE", &format!("{RULES}/b"), None).await, (200, gone));
    for method in ["GET", "DELETE"] {
        let (status, refused) = app.call(method, &format!("{RULES}/b"), None).await;
        let said = (status, refused["code"].as_str(), refused["field"].as_str());
        assert_eq!(said, (404, Some("unknown_rule"), Some("name")));
    }
    app.done().await;
}

#[tokio::test]
async fn a_low_balance_fires_at_once_and_whatever_becomes_of_the_rule_the_month_goes_on_counting() {
    let app = app().await;
    app.spend("a", "81").await;
    let (_, set) = app.set_rule("main", json!({})).await;
    let open = &set["open_top_up"];
    assert_eq!((&open["state"], &open["quantity"]), (&json!("open"), &json!("50")), "{set}");
    assert_eq!(open["amount"], json!({ "amount": "5.00", "currency": "usd" }));
    assert_eq!(set["used"]["month"], json!({ "count": 1, "money": { "amount": "5.00", "currency": "usd" } }));
    app.spend("b", "5").await;
    let (_, again) = app.set_rule("main", json!({ "quantity": "60" })).await;
    assert_eq!(again["open_top_up"]["id"], open["id"], "one is open at a time, as it was decided");
    let (status, refused) = app.set_rule("main", json!({ "currency": "eur" })).await;
    assert_eq!(
        (status, refused["code"].as_str(), refused["field"].as_str()),
        (409, Some("currency_fixed"), Some("currency"))
    );
    // Switched off, what was not sent is dropped and counts no more.
    let (_, off) = app.set_rule("main", json!({ "enabled": false })).await;
    assert_eq!((&off["open_top_up"], &off["used"]["month"]["count"]), (&json!(null), &json!(0)));
    let (_, dropped) = app.call("GET", &format!("/api/v1/topups/{}", open["id"].as_str().unwrap()), None).await;
    assert_eq!((&dropped["state"], &dropped["reason"]), (&json!("dropped"), &json!("disabled")));
    let (_, on) = app.set_rule("main", json!({ "max_per_day": { "count": 1 } })).await;
    assert_eq!(on["used"]["day"]["count"], 1);
    // Taken away and set again, it has no new month.
    assert_eq!(app.call("DELETE", &format!("{RULES}/main"), None).await.0, 200);
    assert_eq!(app.call("GET", RULES, None).await.1["data"], json!([]));
    let (_, anew) = app.set_rule("main", json!({ "enabled": false })).await;
    assert!(anew["decided_at"].is_string(), "{anew}");
    app.done().await;
}

#[tokio::test]
async fn a_rule_of_a_wallet_watches_that_wallet() {
    let app = app().await;
    let wallet = json!({ "key": "w", "customer": "ada", "feature": "credits", "id": "purse" });
    assert_eq!(app.call("POST", "/api/v1/wallets", Some(wallet)).await.0, 201);
    let (_, set) = app.set_rule("main", json!({ "wallet": "purse" })).await;
    assert_eq!((&set["wallet"], &set["open_top_up"]["state"]), (&json!("purse"), &json!("open")), "it is empty");
    let (_, why) = app.call("GET", &format!("{RULES}/main/why"), None).await;
    assert_eq!(why["balance"], "0");
    app.customer("eve").await;
    let of_eve = json!({ "key": "w", "customer": "eve", "feature": "credits", "id": "hers" });
    assert_eq!(app.call("POST", "/api/v1/wallets", Some(of_eve)).await.0, 201);
    for wallet in ["hers", "nowhere"] {
        let (status, refused) = app.set_rule("main", json!({ "wallet": wallet })).await;
        assert_eq!((status, refused["code"].as_str()), (404, Some("unknown_wallet")), "{wallet}");
    }
    let (status, refused) =
        app.set_rule("main", json!({ "wallet": "purse", "feature": "tokens", "currency": null })).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("wallet_feature")));
    app.done().await;
}

#[tokio::test]
async fn the_currency_is_the_named_one_or_the_ceilings_or_the_only_one() {
    let app = app().await;
    let (status, refused) = app.set_rule("main", json!({ "currency": null })).await;
    assert_eq!(
        (status, refused["code"].as_str(), refused["field"].as_str()),
        (400, Some("currency_missing"), Some("currency"))
    );
    let most = json!({ "money": { "amount": "50.00", "currency": "eur" } });
    let (_, of_ceiling) = app.set_rule("main", json!({ "currency": null, "max_per_month": most })).await;
    assert_eq!(of_ceiling["currency"], "eur", "{of_ceiling}");
    let tokens = json!({ "currency": null, "feature": "tokens", "quantity": "5000" });
    let (status, refused) = app.set_rule("tokens", tokens.clone()).await;
    let said = (status, refused["code"].as_str(), refused["field"].as_str());
    assert_eq!(said, (400, Some("max_per_month_missing"), Some("max_per_month.money")), "none is configured in yen");
    let most = json!({ "max_per_month": { "money": { "amount": "50", "currency": "jpy" } } });
    let (_, only) = app.set_rule("tokens", with(tokens, most)).await;
    assert_eq!((&only["currency"], &only["open_top_up"]["amount"]["amount"]), (&json!("jpy"), &json!("15")), "{only}");
    app.done().await;
}

#[tokio::test]
async fn every_field_that_is_wrong_is_refused_by_name() {
    let app = app().await;
    let money = |amount: &str, currency: &str| json!({ "money": { "amount": amount, "currency": currency } });
    let consent = json!({ "by": "x", "at": "2026-01-01T00:00:00Z", "text_version": "1" });
    let bad = |changes: Value, field: &'static str| (changes, 400, "bad_request", field);
    let cases = [
        bad(json!({ "enabled": null }), "enabled"),
        bad(json!({ "enabled": "yes" }), "enabled"),
        bad(json!({ "feature": null }), "feature"),
        bad(json!({ "wallet": "" }), "wallet"),
        bad(json!({ "threshold": null }), "threshold"),
        bad(json!({ "threshold": 5 }), "threshold"),
        bad(json!({ "threshold": "5.0000000001" }), "threshold"),
        bad(json!({ "quantity": "0" }), "quantity"),
        bad(json!({ "quantity": "-5" }), "quantity"),
        bad(json!({ "quantity": null }), "quantity"),
        bad(json!({ "target": "50" }), "target"),
        bad(json!({ "currency": "dollars" }), "currency"),
        bad(json!({ "payment_method": "not an id" }), "payment_method"),
        bad(json!({ "mode": "cash" }), "mode"),
        bad(json!({ "max_per_day": 3 }), "max_per_day"),
        bad(json!({ "max_per_day": { "count": 0 } }), "max_per_day.count"),
        bad(json!({ "max_per_day": { "count": 1.5 } }), "max_per_day.count"),
        bad(json!({ "max_per_day": money("0", "usd") }), "max_per_day.money.amount"),
        bad(json!({ "max_per_day": money("1.001", "usd") }), "max_per_day.money.amount"),
        bad(json!({ "max_per_day": money("1.00", "eur") }), "max_per_day.money.currency"),
        bad(json!({ "max_per_day": { "credits": "5" } }), "max_per_day.credits"),
        bad(json!({ "max_per_month": money("-1.00", "usd") }), "max_per_month.money.amount"),
        bad(json!({ "max_per_month": { "money": { "amount": "5.00" } } }), "max_per_month.money.currency"),
        bad(json!({ "max_per_month": { "money": "5.00" } }), "max_per_month.money"),
        bad(
            json!({ "currency": null, "max_per_day": money("1.00", "usd"), "max_per_month": money("9.00", "eur") }),
            "max_per_month.money.currency",
        ),
        bad(json!({ "cooldown_seconds": -1 }), "cooldown_seconds"),
        bad(json!({ "cooldown_seconds": 31_536_001 }), "cooldown_seconds"),
        bad(json!({ "consent": "yes" }), "consent"),
        bad(json!({ "consent": with(consent.clone(), json!({ "by": "" })) }), "consent.by"),
        bad(json!({ "consent": with(consent.clone(), json!({ "at": "yesterday" })) }), "consent.at"),
        bad(json!({ "consent": with(consent.clone(), json!({ "text_version": null })) }), "consent.text_version"),
        bad(json!({ "consent": with(consent, json!({ "ip": "::1" })) }), "consent.ip"),
        bad(json!({ "amount": "5" }), "amount"),
        (json!({ "consent": null }), 400, "consent_missing", "consent"),
        (json!({ "quantity": null, "target": "20" }), 400, "nothing_to_buy", "target"),
        (json!({ "quantity": "1000000000000" }), 400, "too_much", "quantity"),
        (json!({ "currency": "gbp" }), 400, "price_missing", "currency"),
        (json!({ "feature": "storage", "currency": null }), 400, "price_missing", "feature"),
        (json!({ "feature": "sso" }), 400, "not_metered", "feature"),
        (json!({ "feature": "nothing" }), 404, "unknown_feature", "feature"),
    ];
    for (changes, status, code, field) in cases {
        let (found, refused) = app.set_rule("main", changes.clone()).await;
        let said = (found, refused["code"].as_str(), refused["field"].as_str());
        assert_eq!(said, (status, Some(code), Some(field)), "{changes} {refused}");
    }
    for name in ["a%2Fb", "%20a", "%00", "%ff", &"x".repeat(129)] {
        let (status, refused) = app.set_rule(name, json!({})).await;
        assert_eq!((status, refused["field"].as_str()), (400, Some("name")), "{name}");
    }
    let nobody = "/api/v1/customers/nobody/topup-rules/main";
    for (method, body) in [("PUT", Some(rule())), ("GET", None), ("DELETE", None)] {
        let (status, refused) = app.call(method, nobody, body).await;
        assert_eq!((status, refused["code"].as_str()), (404, Some("unknown_customer")), "{method}");
    }
    assert_eq!(app.call("GET", RULES, None).await.1["data"], json!([]), "nothing of it was kept");
    app.done().await;
}

#[tokio::test]
async fn there_are_at_most_twenty_rules_and_those_taken_away_do_not_count() {
    let app = app().await;
    for n in 0..20 {
        assert_eq!(app.set_rule(&format!("n{n}"), json!({ "threshold": "1" })).await.0, 200);
    }
    let (status, refused) = app.set_rule("one-more", json!({})).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("too_many_rules")));
    assert_eq!(app.set_rule("n0", json!({ "threshold": "2" })).await.0, 200, "setting one anew is no more");
    assert_eq!(app.call("DELETE", &format!("{RULES}/n0"), None).await.0, 200);
    assert_eq!(app.set_rule("one-more", json!({ "threshold": "1" })).await.0, 200);
    app.done().await;
}

#[tokio::test]
async fn a_check_that_finds_a_balance_low_has_it_looked_at_afterwards() {
    let app = app().await;
    app.set_rule("main", json!({})).await;
    let (_, grants) = app.call("GET", "/api/v1/customers/ada/grants", None).await;
    let grant = grants["data"][0]["id"].as_str().unwrap();
    let void = json!({ "key": "v", "quantity": "85", "reason": "a mistake" });
    assert_eq!(app.call("POST", &format!("/api/v1/grants/{grant}/void"), Some(void)).await.0, 200);
    assert_eq!(app.rule("main").await["open_top_up"], json!(null), "a correction by hand charges nobody");
    let (_, why) = app.call("GET", &format!("{RULES}/main/why"), None).await;
    assert_eq!(why["would_charge"]["amount"], json!({ "amount": "5.00", "currency": "usd" }));
    let check = json!({ "customer": "ada", "feature": "messages" });
    let (_, answer) = app.call("POST", "/api/v1/check", Some(check)).await;
    assert_eq!(answer["available"], "15");
    let started = creditd::clock::instant();
    while app.rule("main").await["open_top_up"].is_null() {
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "nothing was decided");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (_, listed) = app.call("GET", "/api/v1/customers/ada/topups", None).await;
    assert_eq!((listed["data"].as_array().unwrap().len(), &listed["data"][0]["balance_before"]), (1, &json!("15")));
    app.done().await;
}
