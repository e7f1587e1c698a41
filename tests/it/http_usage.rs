//! Tracks over HTTP in all their forms, and usage as it is listed and added up.

use serde_json::{Value, json};

use crate::http_check::{CATALOG, app};
use crate::support::app::TestApp;

const USAGE: &str = "/api/v1/customers/ada/usage";

#[tokio::test]
async fn a_track_is_told_by_feature_or_event_in_units_or_by_properties() {
    let app = app().await;
    let cases = [
        (json!({ "event": "message.sent" }), "1"),
        (json!({ "event": "llm.called", "properties": { "tokens": 250 } }), "2.5"),
        (json!({ "event": "llm.called", "properties": { "tokens": 0.1 } }), "0.001"),
        (json!({ "feature": "chat", "properties": { "model": "gpt-4", "input": 2000, "output": 500 } }), "3"),
        (json!({ "feature": "messages", "quantity": "0" }), "0"),
    ];
    for (n, (body, cost)) in cases.into_iter().enumerate() {
        let mut body = body;
        body["key"] = json!(format!("k{n}"));
        let (status, answer) = app.used(body.clone()).await;
        assert_eq!(
            (status, answer["cost"].as_str(), answer["drawn"].as_str()),
            (200, Some(cost), Some(cost)),
            "{answer}"
        );
        assert!(answer.get("owed").is_none() && answer.get("hold").is_none());
        let (_, again) = app.used(body.clone()).await;
        assert_eq!((&again["status"], &again["draws"]), (&json!("repeated"), &answer["draws"]));
        body["properties"] = json!({ "model": "gpt-4", "tokens": 251, "input": 1, "output": 1 });
        assert_eq!(app.used(body).await.0, 409, "another content");
    }
    let (_, state) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(state["balances"][0]["available"], "93.499");
    let unknown = json!({ "key": "x", "event": "nothing" });
    let (status, refused) = app.used(unknown).await;
    assert_eq!(
        (status, refused["code"].as_str(), refused["field"].as_str()),
        (404, Some("unknown_event"), Some("event"))
    );
    let batch = json!({ "events": [
        { "key": "b1", "customer": "ada", "event": "message.sent" },
        { "key": "b2", "customer": "ada", "event": "nothing" },
        { "key": "b3", "customer": "ada", "feature": "chat" },
        { "key": "b4", "customer": "ada", "feature": "messages", "set": "1" },
    ] });
    let (_, answer) = app.call("POST", "/api/v1/track/batch", Some(batch)).await;
    let codes: Vec<&str> = answer["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["problem"]["code"].as_str().or(one["status"].as_str()).unwrap())
        .collect();
    assert_eq!(codes, ["applied", "unknown_event", "bad_properties", "not_settable"]);
    app.finish().await;
}

#[tokio::test]
async fn members_that_contradict_each_other_are_refused() {
    let app = app().await;
    let hold = "hold_00000000000000000000000000000007";
    for (body, field) in [
        (json!({ "feature": "messages", "event": "message.sent" }), "event"),
        (json!({}), "feature"),
        (json!({ "feature": "seats", "set": "1", "quantity": "1" }), "quantity"),
        (json!({ "feature": "seats", "set": "1", "properties": { "a": 1 } }), "properties"),
        (json!({ "feature": "seats", "set": "1", "hold": hold }), "hold"),
        (json!({ "event": "message.sent", "set": "1" }), "event"),
        (json!({ "feature": "seats", "set": "-1" }), "set"),
        (json!({ "feature": "messages", "final": true }), "final"),
        (json!({ "feature": "messages", "quantity": "-1", "hold": hold }), "hold"),
        (json!({ "feature": "messages", "quantity": "-1", "properties": { "a": 1 } }), "properties"),
        (json!({ "feature": "messages", "hold": hold, "when_short": "cap" }), "when_short"),
        (json!({ "feature": "messages", "hold": "hold_7" }), "hold"),
        (json!({ "feature": "messages", "final": "yes" }), "final"),
    ] {
        let mut body = body;
        body["key"] = json!("k");
        let (status, refused) = app.used(body.clone()).await;
        assert_eq!(
            (status, refused["code"].as_str(), refused["field"].as_str()),
            (400, Some("bad_request"), Some(field)),
            "{body}"
        );
    }
    let (status, refused) = app.used(json!({ "key": "k", "feature": "messages", "hold": hold })).await;
    assert_eq!((status, refused["code"].as_str()), (404, Some("unknown_hold")));
    app.finish().await;
}

#[tokio::test]
async fn what_is_taken_back_returns_to_its_grants() {
    let app = app().await;
    app.grant("ada", "messages", "10").await;
    let (_, first) = app.used(json!({ "key": "a", "feature": "messages", "quantity": "14" })).await;
    assert_eq!(first["draws"].as_array().unwrap().len(), 2, "its own ten, then four credits: {first}");
    let (status, back) = app.used(json!({ "key": "b", "feature": "messages", "quantity": "-5" })).await;
    assert_eq!((status, &back["drawn"], &back["shortfall"]), (200, &json!("-5"), &json!("0")));
    let amounts: Vec<&str> =
        back["draws"].as_array().unwrap().iter().map(|draw| draw["amount"].as_str().unwrap()).collect();
    assert_eq!(amounts, ["-4", "-1"], "the newest draw first");
    let (status, refused) = app.used(json!({ "key": "c", "feature": "messages", "quantity": "-10" })).await;
    assert_eq!((status, refused["code"].as_str()), (400, Some("nothing_to_return")));
    let (_, listed) = app.call("GET", USAGE, None).await;
    let lines = listed["data"].as_array().unwrap();
    assert_eq!(
        (&lines[0]["quantity"], &lines[0]["cost"], &lines[1]["returned"]),
        (&json!("-5"), &json!("-5"), &json!("5"))
    );
    app.finish().await;
}

#[tokio::test]
async fn seats_are_set_and_freed() {
    let app = app().await;
    let (status, set) = app.used(json!({ "key": "a", "feature": "seats", "set": "2" })).await;
    assert_eq!((status, &set["cost"], &set["available"]), (200, &json!("2"), &json!("1")));
    let (_, fewer) = app.used(json!({ "key": "b", "feature": "seats", "set": "1" })).await;
    assert_eq!((&fewer["cost"], &fewer["available"]), (&json!("-1"), &json!("2")));
    let (_, of_seat) = app.used(json!({ "key": "c", "feature": "seats", "quantity": "1", "entity": "team" })).await;
    assert_eq!(of_seat["available"], "1");
    let over = json!({ "key": "d", "feature": "seats", "set": "9", "when_short": "reject" });
    assert_eq!(app.used(over).await.0, 402);
    let (_, state) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!(
        state["levels"],
        json!([
            { "feature": "seats", "entity": null, "in_use": "1", "available": "1", "unlimited": false },
            { "feature": "seats", "entity": "team", "in_use": "1", "available": "1", "unlimited": false },
        ])
    );
    let (_, state) = app.call("GET", "/api/v1/customers/ada?entity=team", None).await;
    assert_eq!((state["levels"].as_array().unwrap().len(), &state["levels"][0]["entity"]), (1, &json!("team")));
    let (_, check) = app.check(json!({ "feature": "seats", "explain": true })).await;
    assert_eq!((&check["in_use"], &check["allowed"]), (&json!("1"), &json!(true)));
    app.finish().await;
}

#[tokio::test]
async fn a_seat_sees_what_it_can_spend() {
    let app = app().await;
    for (key, entity, quantity) in [("g1", "seat-1", "7"), ("g2", "seat-2", "9")] {
        let gift = json!({ "key": key, "customer": "ada", "feature": "messages", "entity": entity, "quantity": quantity,
            "category": "promotional", "reason": "a test" });
        assert_eq!(app.call("POST", "/api/v1/grants", Some(gift)).await.0, 201);
    }
    let of = async |query: &str| {
        let (_, state) = app.call("GET", &format!("/api/v1/customers/ada{query}"), None).await;
        let all = state["balances"].as_array().unwrap().clone();
        let found = all.into_iter().find(|balance| balance["feature"] == "messages").unwrap();
        found["available"].as_str().unwrap().to_owned()
    };
    assert_eq!((of("").await.as_str(), of("?entity=seat-1").await.as_str()), ("16", "7"));
    assert_eq!(of("?entity=seat-3").await, "0");
    let (status, refused) = app.call("GET", "/api/v1/customers/ada?entity=", None).await;
    assert_eq!((status, refused["field"].as_str()), (400, Some("entity")));
    app.finish().await;
}

#[tokio::test]
async fn usage_may_be_told_up_to_seven_days_late() {
    let app = app().await;
    let now = app.store.instance().await.unwrap().unwrap().now;
    let at = |seconds: i64| (now + jiff::SignedDuration::from_secs(seconds)).to_string();
    for (key, seconds, status) in [("a", -604_700, 200), ("b", -604_900, 400), ("c", 50, 200), ("d", 90, 400)] {
        let (found, answer) =
            app.used(json!({ "key": key, "feature": "messages", "quantity": "1", "at": at(seconds) })).await;
        assert_eq!(found, status, "{answer}");
        assert!(status == 200 || answer["field"] == "at");
    }
    // It is listed by when it happened.
    let (_, old) = app.call("GET", &format!("{USAGE}?to={}", at(-600_000)), None).await;
    assert_eq!((old["data"].as_array().unwrap().len(), &old["data"][0]["event_at"]), (1, &json!(at(-604_700))));
    let (_, new) = app.call("GET", &format!("{USAGE}?from={}", at(10)), None).await;
    assert_eq!(new["data"].as_array().unwrap().len(), 1);
    app.finish().await;
}

async fn lived_in() -> TestApp {
    let app = TestApp::with_catalog(CATALOG).await;
    app.customer("ada").await;
    app.grant("ada", "messages", "3").await;
    let now = app.store.instance().await.unwrap().unwrap().now;
    let uses = [
        ("messages", "5", "", 30, json!({ "model": "a", "n": 1.5 })),
        ("messages", "2", "seat-1", 30, json!({ "model": "b" })),
        ("tokens", "300", "", 3, json!({ "model": "a", "n": "1.5" })),
        ("messages", "200", "", 1, json!({})),
    ];
    for (n, (feature, quantity, entity, hours, properties)) in uses.into_iter().enumerate() {
        let at = (now - jiff::SignedDuration::from_hours(hours)).to_string();
        let mut body = json!({ "key": format!("u{n}"), "feature": feature, "quantity": quantity, "at": at,
            "properties": properties, "metadata": { "n": n.to_string() } });
        if !entity.is_empty() {
            body["entity"] = json!(entity);
        }
        assert_eq!(app.used(body).await.0, 200);
    }
    app
}

#[tokio::test]
async fn usage_is_listed_newest_first_with_its_draws() {
    let app = lived_in().await;
    let (_, all) = app.call("GET", USAGE, None).await;
    let lines = all["data"].as_array().unwrap().clone();
    assert_eq!(lines.len(), 4);
    let first = &lines[3];
    assert_eq!((&first["quantity"], &first["cost"], &first["drawn"]), (&json!("5"), &json!("5"), &json!("5")));
    let pools: Vec<&Value> = first["draws"].as_array().unwrap().iter().map(|draw| &draw["pool"]).collect();
    assert_eq!(pools, ["messages", "credits"]);
    assert_eq!((&first["properties"], &first["metadata"]), (&json!({ "model": "a", "n": 1.5 }), &json!({ "n": "0" })));
    assert_eq!(lines[1]["properties"]["n"], "1.5", "a text stays a text");
    assert_eq!((&lines[0]["drawn"], &lines[0]["shortfall"]), (&json!("93"), &json!("107")));
    assert_eq!((&lines[2]["entity"], &lines[0]["entity"]), (&json!("seat-1"), &json!(null)));
    let (_, page) = app.call("GET", &format!("{USAGE}?limit=3"), None).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    app.track("newer", "ada", "messages", "1").await;
    let (_, rest) = app.call("GET", &format!("{USAGE}?limit=3&cursor={cursor}"), None).await;
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["data"][0]), (1, first), "stable under inserts");
    for (query, count) in [("feature=tokens", 1), ("entity=seat-1", 1), ("feature=messages&entity=seat-2", 0)] {
        let (_, found) = app.call("GET", &format!("{USAGE}?{query}"), None).await;
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{query}");
    }
    app.finish().await;
}

#[tokio::test]
async fn usage_is_added_up_by_period_and_group() {
    let app = lived_in().await;
    let (_, all) = app.call("GET", &format!("{USAGE}?group_by=feature"), None).await;
    assert_eq!(
        all["data"],
        json!([
            { "feature": "messages", "quantity": "207", "events": 3, "pools": [
                { "pool": "credits", "cost": "204", "drawn": "97", "owed": "0", "shortfall": "107" },
                { "pool": "messages", "cost": "3", "drawn": "3", "owed": "0", "shortfall": "0" },
            ] },
            { "feature": "tokens", "quantity": "300", "events": 1,
                "pools": [{ "pool": "credits", "cost": "3", "drawn": "3", "owed": "0", "shortfall": "0" }] },
        ])
    );
    let (_, by) =
        app.call("GET", &format!("{USAGE}?group_by=entity,property:model,property:n&feature=messages"), None).await;
    let groups: Vec<(&Value, &Value, &Value)> = by["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["entity"], &one["properties"], &one["quantity"]))
        .collect();
    assert!(groups.contains(&(&json!("seat-1"), &json!({ "model": "b", "n": null }), &json!("2"))), "{by}");
    assert!(groups.contains(&(&json!(null), &json!({ "model": "a", "n": 1.5 }), &json!("5"))), "{by}");
    assert_eq!(groups.len(), 3);
    let (_, days) = app.call("GET", &format!("{USAGE}?group_by=day&time_zone=Asia/Kolkata"), None).await;
    let days = days["data"].as_array().unwrap();
    assert!(days.len() >= 2, "{days:?}");
    for day in days {
        assert!(day["period"].as_str().unwrap().ends_with("T18:30:00Z"), "midnight there: {day}");
    }
    let events: i64 = days.iter().map(|day| day["events"].as_i64().unwrap()).sum();
    assert_eq!(events, 4);
    let taken = json!({ "key": "back", "feature": "messages", "quantity": "-200" });
    assert_eq!(app.used(taken).await.0, 200);
    let (_, net) = app.call("GET", &format!("{USAGE}?group_by=feature&feature=messages"), None).await;
    assert_eq!((&net["data"][0]["quantity"], &net["data"][0]["events"]), (&json!("7"), &json!(4)));
    for (query, field) in [
        ("group_by=", "group_by"),
        ("group_by=year", "group_by"),
        ("group_by=day,hour", "group_by"),
        ("group_by=feature,feature", "group_by"),
        ("group_by=property:", "group_by"),
        ("group_by=property:a,property:a", "group_by"),
        ("group_by=property:a,property:b,property:c,property:d", "group_by"),
        ("group_by=feature&limit=5", "limit"),
        ("group_by=feature&cursor=NQ", "cursor"),
        ("group_by=feature&time_zone=UTC", "time_zone"),
        ("time_zone=UTC", "time_zone"),
        ("group_by=day&time_zone=Mars/Olympus", "time_zone"),
        ("group_by=day&time_zone=UTC%2B5", "time_zone"),
        ("group_by=day&time_zone=%3CX%3E5", "time_zone"),
        ("from=2026", "from"),
        ("cursor=zz", "cursor"),
        ("wallet=a", "wallet"),
    ] {
        let (status, refused) = app.call("GET", &format!("{USAGE}?{query}"), None).await;
        assert_eq!((status, refused["field"].as_str()), (400, Some(field)), "{query} {refused}");
    }
    app.finish().await;
}
