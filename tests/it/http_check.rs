//! Checks over HTTP: by feature and event, with deduction and hold in one step, explained, and in batches.

use serde_json::{Value, json};

use crate::support::app::TestApp;

/// Messages cost one credit or, by the model, five; tokens are counted by a property; seats are set and freed.
pub(crate) const CATALOG: &str = r#"
[features.messages]
type = "metered"
events = ["message.sent"]
[features.tokens]
type = "metered"
events = ["llm.called"]
sum = "tokens"
[features.chat]
type = "metered"
[features.seats]
type = "metered"
consumable = false
[features.sso]
type = "boolean"
[features.other]
type = "metered"
[features.credits]
type = "credit_system"
[features.credits.costs]
messages = "1"
tokens = "0.01"
chat = { input = "0.001", output = "0.002", when = { model = "gpt-4" } }
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "credits"
included = "100"
reset = "month"
[[plans.free.items]]
feature = "seats"
included = "3"
[[plans.free.items]]
feature = "sso"
"#;

pub(crate) async fn app() -> TestApp {
    let app = TestApp::with_catalog(CATALOG).await;
    app.customer("ada").await;
    app
}

impl TestApp {
    pub(crate) async fn check(&self, body: Value) -> (u16, Value) {
        let mut body = body;
        if body.get("customer").is_none() {
            body["customer"] = json!("ada");
        }
        self.call("POST", "/api/v1/check", Some(body)).await
    }

    pub(crate) async fn used(&self, body: Value) -> (u16, Value) {
        let mut body = body;
        body["customer"] = json!("ada");
        self.call("POST", "/api/v1/track", Some(body)).await
    }
}

/// Of an explained answer: everything adds up.
pub(crate) fn adds_up(answer: &Value) {
    let number = |value: &Value| -> i128 {
        let text = value.as_str().unwrap_or_else(|| panic!("no amount: {value} in {answer}"));
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}{rest:0<9}").parse().unwrap()
    };
    let lots = answer["lots"].as_array().unwrap();
    let sum = |member: &str| lots.iter().map(|lot| number(&lot[member])).sum::<i128>();
    assert_eq!(sum("available"), number(&answer["available"]), "{answer:#}");
    assert_eq!(sum("take") + number(&answer["shortfall"]), number(&answer["required"]), "{answer:#}");
    for lot in lots {
        let parts = number(&lot["held"]) + number(&lot["blocked"]) + number(&lot["available"]);
        assert_eq!(parts, number(&lot["remaining"]), "{lot:#}");
        assert!(number(&lot["take"]) <= number(&lot["available"]), "{lot:#}");
        assert_eq!(number(&lot["blocked"]) > 0, !lot["blocked_by"].is_null(), "{lot:#}");
    }
}

#[tokio::test]
async fn a_check_is_asked_by_feature_event_quantity_or_properties() {
    let app = app().await;
    let cases = [
        (json!({ "feature": "messages" }), "1"),
        (json!({ "event": "message.sent" }), "1"),
        (json!({ "event": "message.sent", "quantity": "2.5" }), "2.5"),
        (json!({ "event": "llm.called", "properties": { "tokens": 250 } }), "2.5"),
        (json!({ "feature": "tokens", "properties": { "tokens": 250.5, "model": "x" } }), "2.505"),
        (json!({ "feature": "tokens", "quantity": "100", "properties": { "tokens": 7 } }), "1"),
        (json!({ "feature": "chat", "properties": { "model": "gpt-4", "input": 2000, "output": 500 } }), "3"),
    ];
    for (body, required) in cases {
        let (status, answer) = app.check(body.clone()).await;
        assert_eq!((status, answer["required"].as_str()), (200, Some(required)), "{body} {answer}");
        assert_eq!(
            (&answer["allowed"], &answer["reason"], &answer["pool"]),
            (&json!(true), &json!("ok"), &json!("credits"))
        );
        assert!(answer.get("status").is_none() && answer.get("lots").is_none(), "{answer}");
    }
    for (body, reason) in [
        (json!({ "feature": "nothing" }), "unknown_feature"),
        (json!({ "event": "nothing" }), "unknown_event"),
        (json!({ "feature": "other" }), "feature_not_granted"),
        (json!({ "feature": "messages", "quantity": "101" }), "insufficient"),
    ] {
        let (status, answer) = app.check(body).await;
        assert_eq!((status, &answer["allowed"], answer["reason"].as_str()), (200, &json!(false), Some(reason)));
    }
    for (body, code, field) in [
        (json!({}), "bad_request", "feature"),
        (json!({ "feature": "messages", "event": "message.sent" }), "bad_request", "event"),
        (json!({ "feature": "chat", "properties": { "model": "gpt-4" } }), "bad_properties", "properties"),
        (json!({ "feature": "chat", "properties": { "model": "gpt-5" } }), "bad_properties", "properties"),
        (json!({ "event": "llm.called", "properties": { "tokens": "250" } }), "bad_properties", "properties"),
        (json!({ "feature": "messages", "quantity": "-1" }), "bad_request", "quantity"),
        (
            json!({ "feature": "messages", "deduct": { "key": "k" }, "hold": { "key": "k", "ttl_seconds": 5 } }),
            "bad_request",
            "hold",
        ),
        (json!({ "feature": "messages", "deduct": {} }), "bad_request", "deduct.key"),
        (json!({ "feature": "messages", "deduct": { "key": "k", "ttl": 1 } }), "bad_request", "deduct.ttl"),
        (json!({ "feature": "messages", "hold": { "key": "k" } }), "bad_request", "hold.ttl_seconds"),
        (json!({ "feature": "messages", "hold": { "key": "k", "ttl_seconds": 0 } }), "bad_request", "hold.ttl_seconds"),
        (
            json!({ "feature": "messages", "hold": { "key": "k", "ttl_seconds": 2_678_401 } }),
            "bad_request",
            "hold.ttl_seconds",
        ),
        (
            json!({ "feature": "messages", "hold": { "key": "k", "ttl_seconds": 5, "when_more": "x" } }),
            "bad_request",
            "hold.when_more",
        ),
        (json!({ "feature": "seats", "hold": { "key": "k", "ttl_seconds": 5 } }), "not_holdable", "hold"),
        (json!({ "feature": "sso", "deduct": { "key": "k" } }), "not_metered", "feature"),
    ] {
        let (status, answer) = app.check(body.clone()).await;
        assert_eq!(
            (status, answer["code"].as_str(), answer["field"].as_str()),
            (400, Some(code), Some(field)),
            "{body} {answer}"
        );
    }
    assert_eq!(app.available("ada", "credits").await, "100");
    app.finish().await;
}

#[tokio::test]
async fn a_deduction_is_one_step_once_a_key_and_a_no_writes_nothing() {
    let app = app().await;
    let ask = |key: &str, quantity: &str| json!({ "feature": "messages", "quantity": quantity, "deduct": { "key": key }, "explain": true });
    let (_, first) = app.check(ask("d1", "60")).await;
    assert_eq!(
        (&first["allowed"], &first["status"], &first["required"]),
        (&json!(true), &json!("applied"), &json!("60"))
    );
    assert_eq!(
        (&first["available"], &first["draws"][0]["amount"]),
        (&json!("100"), &json!("60")),
        "it tells of the state before"
    );
    adds_up(&first);
    let (_, no) = app.check(ask("d2", "60")).await;
    assert_eq!((&no["allowed"], &no["reason"]), (&json!(false), &json!("insufficient")));
    assert_eq!((&no["shortfall"], no.get("status")), (&json!("20"), None));
    adds_up(&no);
    let (_, again) = app.check(ask("d1", "60")).await;
    assert_eq!(
        (&again["allowed"], &again["status"], &again["draws"]),
        (&json!(true), &json!("repeated"), &first["draws"])
    );
    let (status, conflict) = app.check(ask("d1", "61")).await;
    assert_eq!(
        (status, conflict["code"].as_str(), conflict["field"].as_str()),
        (409, Some("key_conflict"), Some("deduct.key"))
    );
    // A refusal frees its key.
    assert_eq!(app.check(ask("d2", "40")).await.1["status"], "applied");
    assert_eq!(app.available("ada", "credits").await, "0");
    let (_, nothing) = app.check(json!({ "feature": "other", "quantity": "0", "deduct": { "key": "d3" } })).await;
    assert_eq!((&nothing["allowed"], &nothing["reason"]), (&json!(false), &json!("feature_not_granted")));
    for (key, event) in [("d4", "nothing"), ("d5", "llm.called")] {
        let body = json!({ "event": event, "properties": { "tokens": 1 }, "deduct": { "key": key } });
        assert_eq!(app.check(body).await.1["allowed"], false);
    }
    let (_, lines) = app.call("GET", "/api/v1/customers/ada/usage", None).await;
    assert_eq!(lines["data"].as_array().unwrap().len(), 2, "{lines}");
    let (_, level) = app.check(json!({ "feature": "seats", "quantity": "2", "deduct": { "key": "s1" } })).await;
    assert_eq!((&level["allowed"], &level["in_use"]), (&json!(true), &json!("0")));
    let (_, level) = app.check(json!({ "feature": "seats", "quantity": "2", "deduct": { "key": "s2" } })).await;
    assert_eq!((&level["allowed"], &level["in_use"], &level["available"]), (&json!(false), &json!("2"), &json!("1")));
    app.finish().await;
}

/// A balance that comes and goes while a hundred callers ask: a yes is always a deduction, and a deduction always a yes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_yes_is_never_without_its_deduction() {
    let app = app().await;
    let asked = (0..100).map(|n| {
        let app = &app;
        async move {
            let body = json!({ "feature": "messages", "quantity": "3", "deduct": { "key": format!("r{n}") }, "explain": true });
            app.check(body).await
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    let yes = answers.iter().filter(|(_, answer)| answer["allowed"] == true).count();
    assert_eq!(yes, 33, "a hundred credits are 33 times three");
    for (status, answer) in &answers {
        assert_eq!((*status, answer["allowed"] == true), (200, answer["status"] == "applied"), "{answer}");
        assert_eq!(answer["allowed"] == true, answer["reason"] == "ok", "{answer}");
    }
    assert_eq!(app.available("ada", "credits").await, "1");
    app.finish().await;
}

#[tokio::test]
async fn an_explained_answer_shows_grants_holds_and_limits_and_adds_up() {
    let app = app().await;
    app.grant("ada", "credits", "50.5").await;
    app.grant("ada", "messages", "7").await;
    let (_, held) = app
        .check(json!({ "feature": "messages", "quantity": "20", "hold": { "key": "h1", "ttl_seconds": 600 }, "explain": true }))
        .await;
    assert_eq!(held["status"], "applied");
    adds_up(&held);
    let limit = json!({ "feature": "messages", "window": "day", "quantity": "50" });
    assert_eq!(app.call("PUT", "/api/v1/customers/ada/spend-limits/daily", Some(limit)).await.0, 200);
    for (quantity, reason) in
        [("0", "ok"), ("10", "ok"), ("30", "ok"), ("30.000000001", "spend_limit"), ("100000", "spend_limit")]
    {
        let (_, answer) = app.check(json!({ "feature": "messages", "quantity": quantity, "explain": true })).await;
        assert_eq!(answer["reason"], reason, "{answer}");
        assert_eq!(
            answer["limits"],
            json!([{ "name": "daily", "window": "day", "quantity": "50", "used": "20", "left": "30" }])
        );
        adds_up(&answer);
    }
    let (_, plain) = app.check(json!({ "feature": "messages", "quantity": "10" })).await;
    let (_, explained) = app.check(json!({ "feature": "messages", "quantity": "10", "explain": true })).await;
    for member in ["allowed", "reason", "required", "available", "held", "shortfall", "pool", "unlimited"] {
        assert_eq!(plain[member], explained[member], "{member}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_batch_answers_pair_by_pair_as_single_checks_would() {
    let app = app().await;
    app.customer("bob").await;
    assert_eq!(app.track("t", "bob", "messages", "99").await.0, 200);
    let checks = json!([
        { "feature": "messages", "quantity": "2" },
        { "event": "llm.called", "properties": { "tokens": 100 } },
        { "feature": "chat", "properties": {} },
        { "feature": "nothing" },
    ]);
    let body = json!({ "customers": ["ada", "nobody", "bob", "ada"], "checks": checks });
    let (status, answer) = app.call("POST", "/api/v1/check/batch", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 16);
    for (place, result) in results.iter().enumerate() {
        let customer = ["ada", "nobody", "bob", "ada"][place / 4];
        assert_eq!((result["customer"].as_str(), result["check"].as_u64()), (Some(customer), Some(place as u64 % 4)));
        let mut single = checks[place % 4].clone();
        single["customer"] = json!(customer);
        let (status, alone) = app.check(single).await;
        if status == 200 {
            assert_eq!(result["answer"], alone);
        } else {
            assert_eq!(result["problem"]["code"], alone["code"], "{result} {alone}");
        }
    }
    let many: Vec<String> = (0..101).map(|n| format!("c{n}")).collect();
    for (body, field) in [
        (json!({ "customers": many, "checks": [{ "feature": "messages" }] }), "customers"),
        (json!({ "customers": ["ada"], "checks": vec![json!({ "feature": "messages" }); 101] }), "checks"),
        (json!({ "customers": [], "checks": [{ "feature": "messages" }] }), "customers"),
        (json!({ "customers": ["ada"] }), "checks"),
        (json!({ "customers": ["ada", 7], "checks": [{ "feature": "messages" }] }), "customers[1]"),
        (json!({ "customers": ["ada"], "checks": [{ "feature": "messages" }, 7] }), "checks[1]"),
        (json!({ "customers": ["ada"], "checks": [{ "feature": "messages", "quantity": "x" }] }), "checks[0].quantity"),
        (json!({ "customers": ["ada"], "checks": [{ "feature": "messages", "deduct": {} }] }), "checks[0].deduct"),
    ] {
        let (status, answer) = app.call("POST", "/api/v1/check/batch", Some(body)).await;
        assert_eq!((status, answer["field"].as_str()), (400, Some(field)), "{answer}");
    }
    app.finish().await;
}

// A customer who has spent everything is told that it is too little, not that it was never granted.
#[tokio::test]
async fn who_has_spent_all_is_short_and_who_never_had_any_is_not_granted() {
    let app = TestApp::start().await;
    for customer in ["ada", "bob"] {
        app.customer(customer).await;
    }
    let (status, _) = app.track("t1", "ada", "basic_messages", "500").await;
    assert_eq!(status, 200);
    let question = |customer: &str, feature: &str| json!({ "customer": customer, "feature": feature });
    let (_, answer) = app.call("POST", "/api/v1/check", Some(question("ada", "basic_messages"))).await;
    assert_eq!((&answer["allowed"], &answer["reason"]), (&json!(false), &json!("insufficient")));
    let body = json!({ "customers": ["ada", "bob"], "checks": [{ "feature": "basic_messages" }] });
    let (_, pairs) = app.call("POST", "/api/v1/check/batch", Some(body)).await;
    let reasons: Vec<&Value> =
        pairs["results"].as_array().unwrap().iter().map(|pair| &pair["answer"]["reason"]).collect();
    assert_eq!(reasons, ["insufficient", "ok"]);
    app.finish().await;
}
