//! Spend limits over HTTP: what they let be used, what they count, and what they show.

use serde_json::json;

use crate::http_check::app;

const PATH: &str = "/api/v1/customers/ada/spend-limits";

#[tokio::test]
async fn a_limit_counts_what_was_used_and_what_is_held() {
    let app = app().await;
    assert_eq!(app.track("before", "ada", "messages", "10").await.0, 200);
    let daily = json!({ "feature": "messages", "window": "day", "quantity": "50" });
    let (status, limit) = app.call("PUT", &format!("{PATH}/daily"), Some(daily)).await;
    assert_eq!(status, 200, "{limit}");
    assert_eq!(
        (&limit["name"], &limit["feature"], &limit["entity"]),
        (&json!("daily"), &json!("messages"), &json!(null))
    );
    assert_eq!((&limit["used"], &limit["held"], &limit["left"]), (&json!("10"), &json!("0"), &json!("40")));
    assert!(limit["window_start"].as_str().unwrap().ends_with("T00:00:00Z") && limit["window_ends"].is_string());
    let held = json!({ "feature": "messages", "quantity": "15", "hold": { "key": "h", "ttl_seconds": 600 } });
    assert_eq!(app.check(held).await.1["allowed"], true);
    let (_, limit) = app.call("GET", &format!("{PATH}/daily"), None).await;
    assert_eq!((&limit["used"], &limit["held"], &limit["left"]), (&json!("10"), &json!("15"), &json!("25")));
    let ask = json!({ "feature": "messages", "quantity": "26" });
    assert_eq!(app.check(ask.clone()).await.1["reason"], "spend_limit");
    let mut deduct = ask;
    deduct["deduct"] = json!({ "key": "d" });
    let (_, no) = app.check(deduct).await;
    assert_eq!((&no["allowed"], &no["reason"]), (&json!(false), &json!("spend_limit")));
    let reject = json!({ "key": "t1", "feature": "messages", "quantity": "26", "when_short": "reject" });
    let (status, refused) = app.used(reject).await;
    assert_eq!(
        (status, refused["code"].as_str(), refused["limit"].as_str()),
        (402, Some("spend_limit"), Some("daily"))
    );
    assert_eq!((&refused["most"], &refused["used"]), (&json!("50"), &json!("25")));
    let (_, capped) = app.used(json!({ "key": "t2", "feature": "messages", "quantity": "26" })).await;
    assert_eq!((&capped["drawn"], &capped["shortfall"]), (&json!("25"), &json!("1")));
    let (_, state) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!((&state["limits"][0]["name"], &state["limits"][0]["left"]), (&json!("daily"), &json!("0")));
    app.finish().await;
}

#[tokio::test]
async fn limits_of_seats_and_of_credits_stand_beside_each_other_and_go() {
    let app = app().await;
    let seat = json!({ "feature": "messages", "entity": "seat-1", "window": "month", "quantity": "5" });
    let all = json!({ "feature": "credits", "window": "lifetime", "quantity": "8" });
    assert_eq!(app.call("PUT", &format!("{PATH}/seat"), Some(seat)).await.0, 200);
    let (_, forever) = app.call("PUT", &format!("{PATH}/all%20of%20it"), Some(all)).await;
    assert_eq!(
        (&forever["name"], &forever["window_start"], &forever["window_ends"]),
        (&json!("all of it"), &json!(null), &json!(null))
    );
    let of_seat = |key: &str, entity: &str, quantity: &str| json!({ "key": key, "feature": "messages", "entity": entity, "quantity": quantity, "when_short": "reject" });
    assert_eq!(app.used(of_seat("a", "seat-1", "6")).await.1["limit"], "seat");
    assert_eq!(app.used(of_seat("b", "seat-1", "5")).await.0, 200);
    assert_eq!(app.used(of_seat("c", "seat-2", "4")).await.1["limit"], "all of it");
    let tokens = json!({ "key": "d", "feature": "tokens", "quantity": "300", "when_short": "reject" });
    assert_eq!(app.used(tokens).await.0, 200, "three credits are left of eight");
    let (_, listed) = app.call("GET", PATH, None).await;
    let names: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!((names, &listed["next_cursor"]), (vec!["all of it", "seat"], &json!(null)));
    assert_eq!(listed["data"][0]["left"], "0");
    let (_, of_seat_2) = app.call("GET", "/api/v1/customers/ada?entity=seat-2", None).await;
    assert_eq!(of_seat_2["limits"].as_array().unwrap().len(), 1, "only what counts its usage");
    assert_eq!(
        app.call("DELETE", &format!("{PATH}/all%20of%20it"), None).await,
        (200, json!({ "name": "all of it", "deleted": true }))
    );
    let (status, gone) = app.call("DELETE", &format!("{PATH}/all%20of%20it"), None).await;
    assert_eq!((status, gone["code"].as_str(), gone["field"].as_str()), (404, Some("unknown_limit"), Some("name")));
    assert_eq!(app.used(of_seat("e", "seat-2", "50")).await.0, 200);
    app.finish().await;
}

#[tokio::test]
async fn what_cannot_be_limited_is_refused_by_name() {
    let app = app().await;
    let good = json!({ "feature": "messages", "window": "day", "quantity": "1" });
    let with = |member: &str, value: serde_json::Value| {
        let mut body = good.clone();
        body[member] = value;
        body
    };
    for (name, body, status, code, field) in [
        ("a", with("feature", json!("nothing")), 404, "unknown_feature", "feature"),
        ("a", with("feature", json!("sso")), 400, "not_metered", "feature"),
        ("a", with("feature", json!("seats")), 400, "not_limitable", "feature"),
        ("a", with("window", json!("decade")), 400, "bad_request", "window"),
        ("a", with("quantity", json!("-1")), 400, "bad_request", "quantity"),
        ("a", with("quantity", json!(1)), 400, "bad_request", "quantity"),
        ("a", with("quantity", json!(null)), 400, "bad_request", "quantity"),
        ("a", with("entity", json!("")), 400, "bad_request", "entity"),
        ("a", with("currency", json!("usd")), 400, "bad_request", "currency"),
        ("%20a", good.clone(), 400, "bad_request", "name"),
        ("%00", good.clone(), 400, "bad_request", "name"),
        ("%ff", good.clone(), 400, "bad_request", "name"),
        (&"x".repeat(129), good.clone(), 400, "bad_request", "name"),
    ] {
        let (found, refused) = app.call("PUT", &format!("{PATH}/{name}"), Some(body)).await;
        assert_eq!(
            (found, refused["code"].as_str(), refused["field"].as_str()),
            (status, Some(code), Some(field)),
            "{refused}"
        );
    }
    let nobody = "/api/v1/customers/nobody/spend-limits/a";
    assert_eq!(app.call("PUT", nobody, Some(good.clone())).await.0, 404);
    for n in 0..50 {
        assert_eq!(app.call("PUT", &format!("{PATH}/n{n}"), Some(good.clone())).await.0, 200);
    }
    let (status, refused) = app.call("PUT", &format!("{PATH}/one-more"), Some(good.clone())).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("too_many_limits")));
    assert_eq!(app.call("PUT", &format!("{PATH}/n0"), Some(good)).await.0, 200, "setting one anew is no more");
    app.finish().await;
}
