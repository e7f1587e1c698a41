//! Usage under attack: holds and returns of what has ended, limits of usage that costs nothing, and tracks of before.

use serde_json::{Value, json};
use sqlx::Connection;

use crate::attach::Shop;
use crate::http_check::{CATALOG, app};
use crate::support::app::TestApp;

async fn placed(app: &TestApp, key: &str, quantity: &str) -> String {
    let hold = json!({ "key": key, "ttl_seconds": 600, "when_more": "take_available" });
    let body = json!({ "feature": "messages", "quantity": quantity, "hold": hold });
    let (status, answer) = app.check(body).await;
    assert_eq!((status, &answer["allowed"]), (200, &json!(true)), "{answer}");
    answer["hold"]["id"].as_str().unwrap().to_owned()
}

async fn free(app: &TestApp, hold: &str) {
    let (status, answer) = app.call("POST", &format!("/api/v1/holds/{hold}/release"), Some(json!({}))).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_released_hold_does_not_bring_back_a_plan_that_was_replaced() {
    let shop = Shop::open().await;
    shop.app.customer("ada").await;
    let hold = placed(&shop.app, "h", "5").await;
    shop.attach("hobby", json!({})).await;
    free(&shop.app, &hold).await;
    assert_eq!(shop.app.available("ada", "credits").await, "8");
    shop.app.finish().await;
}

#[tokio::test]
async fn a_return_does_not_bring_back_a_plan_that_was_replaced() {
    let shop = Shop::open().await;
    shop.app.customer("ada").await;
    assert_eq!(shop.app.track("t", "ada", "messages", "4").await.0, 200);
    shop.attach("hobby", json!({})).await;
    assert_eq!(shop.app.track("r", "ada", "messages", "-4").await.0, 200);
    assert_eq!(shop.app.available("ada", "credits").await, "8");
    shop.app.finish().await;
}

#[tokio::test]
async fn usage_carried_over_is_no_usage_that_verify_misses() {
    let shop = Shop::open().await;
    shop.app.customer("ada").await;
    assert_eq!(shop.app.track("t", "ada", "messages", "4").await.0, 200);
    shop.attach("hobby", json!({ "carry_over": { "usage": true } })).await;
    assert_eq!(shop.app.available("ada", "credits").await, "4");
    shop.app.finish().await;
}

#[tokio::test]
async fn usage_that_costs_nothing_is_limited_too() {
    let app = app().await;
    let limit = json!({ "feature": "chat", "window": "day", "quantity": "2" });
    assert_eq!(app.call("PUT", "/api/v1/customers/ada/spend-limits/l", Some(limit)).await.0, 200);
    let chat = |key: &str, input: u32| json!({ "key": key, "feature": "chat", "quantity": "1", "when_short": "reject",
        "properties": { "model": "gpt-4", "input": input, "output": 0 } });
    assert_eq!(app.used(chat("a", 1000)).await.0, 200);
    assert_eq!(app.used(chat("b", 0)).await.0, 200);
    let (status, refused) = app.used(chat("c", 1000)).await;
    assert_eq!((status, &refused["code"]), (402, &json!("spend_limit")));
    let (status, refused) = app.used(chat("d", 0)).await;
    assert_eq!((status, &refused["code"]), (402, &json!("spend_limit")), "{refused}");
    app.finish().await;
}

#[tokio::test]
async fn what_comes_back_into_a_closed_wallet_cannot_be_spent() {
    let app = app().await;
    assert_eq!(app.track("t", "ada", "messages", "40").await.0, 200);
    let (_, wallets) = app.call("GET", "/api/v1/wallets?customer=ada", None).await;
    let id = wallets["data"].as_array().unwrap().iter().find(|w| w["feature"] == "credits").unwrap()["wallet"].clone();
    let body = json!({ "key": "x", "reason": "a test" });
    let (status, done) = app.call("POST", &format!("/api/v1/wallets/{}/terminate", id.as_str().unwrap()), Some(body)).await;
    assert_eq!(status, 200, "{done}");
    let (status, back) = app.track("r", "ada", "messages", "-10").await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(back["available"], "0");
    let (_, grants) = app.call("GET", "/api/v1/customers/ada/grants", None).await;
    let lying: Vec<&Value> = grants["data"].as_array().unwrap().iter().filter(|g| g["feature"] == "credits").map(|g| &g["remaining"]).collect();
    assert_eq!(lying, ["0"], "{grants:#}");
    app.finish().await;
}

/// Tracks from before their table are filled in as they would have been written.
#[tokio::test]
async fn tracks_of_before_the_table_are_listed_and_taken_back() {
    let app = app().await;
    app.grant("ada", "messages", "7").await;
    for (n, (of, units)) in [("messages", "3"), ("messages", "10.5"), ("tokens", "100"), ("messages", "0"), ("messages", "500")].iter().enumerate() {
        assert_eq!(app.track(&format!("t{n}"), "ada", of, units).await.0, 200);
    }
    let mut connection = sqlx::PgConnection::connect(&app.url).await.unwrap();
    let pool = &mut connection;
    let dump = "SELECT coalesce(jsonb_agg(to_jsonb(u) ORDER BY seq), '[]')::text FROM usage_records u";
    let before: String = sqlx::query_scalar(dump).fetch_one(&mut *pool).await.unwrap();
    let migration = include_str!("../../migrations/0011_usage.sql");
    let start = migration.find("INSERT INTO usage_records").unwrap();
    let end = start + migration[start..].find(';').unwrap();
    sqlx::query("DELETE FROM usage_records").execute(&mut *pool).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(migration[start..end].to_owned())).execute(&mut *pool).await.unwrap();
    let after: String = sqlx::query_scalar(dump).fetch_one(&mut *pool).await.unwrap();
    println!("{before}\n{after}");
    let found = app.store.verify().await.unwrap();
    assert!(!found.differs(), "{:?}", found.checks);
    let limit = json!({ "feature": "messages", "window": "day", "quantity": "1000" });
    let (_, set) = app.call("PUT", "/api/v1/customers/ada/spend-limits/l", Some(limit)).await;
    println!("{set}");
    let (status, back) = app.track("r", "ada", "messages", "-513.5").await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(app.available("ada", "messages").await, "7");
    assert_eq!(app.available("ada", "credits").await, "99");
    let (_, set) = app.call("GET", "/api/v1/customers/ada/spend-limits/l", None).await;
    println!("{set}");
    assert_eq!(set["used"], "0");
    app.finish().await;
}

/// Several returns in one batch, beside each other and tracks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn returns_race_tracks_and_nothing_comes_back_twice() {
    let app = app().await;
    app.grant("ada", "messages", "7").await;
    let events: Vec<Value> = (0..400).map(|n| {
        let quantity = if n % 2 == 0 { "0.7" } else { "-0.5" };
        let entity = ["", "seat"][usize::from(n % 5 == 0)];
        let mut event = json!({ "key": format!("e{}", n / 2 * 2 + n % 2), "customer": "ada", "feature": "messages", "quantity": quantity });
        if !entity.is_empty() { event["entity"] = json!(entity); }
        event
    }).collect();
    let (status, answer) = app.call("POST", "/api/v1/track/batch", Some(json!({ "events": events }))).await;
    assert_eq!(status, 200);
    let results = answer["results"].as_array().unwrap();
    let refused: Vec<&Value> = results.iter().filter(|r| r["status"] == "refused").collect();
    println!("{} refused; {:?}", refused.len(), refused.first());
    assert!(refused.iter().all(|r| r["problem"]["code"] == "nothing_to_return"), "{refused:?}");
    app.finish().await;
}

/// Plans of the statements about usage, on empty tables.
#[tokio::test]
async fn no_statement_about_usage_walks_a_table() {
    use sqlx::Executor;
    let store = crate::support::database::store_at(&crate::support::database::fresh_url().await).await;
    store.ensure_instance(false, None).await.unwrap();
    let mut connection = store.lane_connection().await.unwrap();
    let statements = creditd::store::usage_rows::STATEMENTS;
    let mut bad = Vec::new();
    for (n, statement) in statements.into_iter().enumerate() {
        let most = (1..=60).rev().find(|n| statement.contains(&format!("${n}"))).unwrap_or(0);
        let nulls = vec!["NULL"; most].join(", ");
        let prepare = format!("PREPARE plan_{n} AS {statement}");
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(prepare))).await.unwrap();
        let explain = format!("EXPLAIN (COSTS OFF) EXECUTE plan_{n} ({nulls})");
        let lines: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        let plan = lines.join("\n");
        if ["Seq Scan", "Hash Join", "Merge Join"].iter().any(|walk| plan.contains(walk)) {
            bad.push(format!("{statement}\n{plan}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

/// A customer with many holds and limits is still answered quickly.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_holds_and_limits_are_still_quick() {
    let app = TestApp::with_catalog(CATALOG).await;
    app.customer("ada").await;
    for n in 0..50 {
        let limit = json!({ "feature": (if n % 2 == 0 { "credits" } else { "messages" }), "window": "day", "quantity": "1000" });
        assert_eq!(app.call("PUT", &format!("/api/v1/customers/ada/spend-limits/l{n}"), Some(limit)).await.0, 200);
    }
    for n in 0..100 {
        placed(&app, &format!("h{n}"), "0.1").await;
    }
    let start = creditd::clock::instant();
    for _ in 0..50 {
        app.check(json!({ "feature": "messages", "quantity": "1" })).await;
    }
    println!("check {:?}", start.elapsed() / 50);
    let start = creditd::clock::instant();
    for n in 0..50 {
        app.track(&format!("t{n}"), "ada", "messages", "0.1").await;
    }
    println!("track {:?}", start.elapsed() / 50);
    app.finish().await;
}
