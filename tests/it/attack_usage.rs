//! Usage under attack: holds and returns of what has ended, limits of usage that costs nothing, and tracks of before.

use serde_json::{Value, json};
use sqlx::Connection;

use crate::attach::Shop;
use crate::http_check::{CATALOG, app};
use crate::support::app::TestApp;

/// Two plans of one group, of which the dearer one begins its allowance anew.
const RESET: &str = r#"
[features.calls]
type = "metered"
[plans.pro]
group = "main"
revenue = "external"
prices = [{ amount = "10.00", currency = "usd", every = "month", stripe_price = "price_pro" }]
[[plans.pro.items]]
feature = "calls"
included = "10"
reset = "month"
[plans.max]
group = "main"
upgrade = "full_reset"
revenue = "external"
prices = [{ amount = "20.00", currency = "usd", every = "month", stripe_price = "price_max" }]
[[plans.max.items]]
feature = "calls"
included = "20"
reset = "month"
"#;

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
    let chat = |key: &str, input: u32| {
        json!({ "key": key, "feature": "chat", "quantity": "1", "when_short": "reject",
        "properties": { "model": "gpt-4", "input": input, "output": 0 } })
    };
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
    let (status, done) =
        app.call("POST", &format!("/api/v1/wallets/{}/terminate", id.as_str().unwrap()), Some(body)).await;
    assert_eq!(status, 200, "{done}");
    let (status, back) = app.track("r", "ada", "messages", "-10").await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(back["available"], "0");
    let (_, grants) = app.call("GET", "/api/v1/customers/ada/grants", None).await;
    let lying: Vec<&Value> = grants["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|g| g["feature"] == "credits")
        .map(|g| &g["remaining"])
        .collect();
    assert_eq!(lying, ["0"], "{grants:#}");
    app.finish().await;
}

/// Tracks from before their table are filled in as they would have been written.
#[tokio::test]
async fn tracks_of_before_the_table_are_listed_and_taken_back() {
    let app = app().await;
    app.grant("ada", "messages", "7").await;
    for (n, (of, units)) in
        [("messages", "3"), ("messages", "10.5"), ("tokens", "100"), ("messages", "0"), ("messages", "500")]
            .iter()
            .enumerate()
    {
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
    let rows = |text: &str| serde_json::from_str::<Vec<Value>>(text).unwrap();
    for (was, is) in rows(&before).iter().zip(&rows(&after)) {
        assert_eq!(
            (&was["seq"], &was["at"], &was["quantity"], &was["feature"]),
            (&is["seq"], &is["at"], &is["quantity"], &is["feature"])
        );
    }
    let found = app.store.verify().await.unwrap();
    assert!(!found.differs(), "{:?}", found.checks);
    let limit = json!({ "feature": "messages", "window": "day", "quantity": "1000" });
    let (_, set) = app.call("PUT", "/api/v1/customers/ada/spend-limits/l", Some(limit)).await;
    assert_eq!(set["used"], "106", "407.5 of them nobody paid, by their share of the cost");
    let (status, back) = app.track("r", "ada", "messages", "-513.5").await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(app.available("ada", "messages").await, "7");
    assert_eq!(app.available("ada", "credits").await, "99");
    let (_, set) = app.call("GET", "/api/v1/customers/ada/spend-limits/l", None).await;
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
        let lines: Vec<String> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        let plan = lines.join("\n");
        if ["Seq Scan", "Hash Join", "Merge Join"].iter().any(|walk| plan.contains(walk)) {
            bad.push(format!("{statement}\n{plan}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

/// A customer with many holds and limits is answered by all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_holds_and_limits_all_count() {
    let app = TestApp::with_catalog(CATALOG).await;
    app.customer("ada").await;
    for n in 0..50 {
        let limit = json!({ "feature": (if n % 2 == 0 { "credits" } else { "messages" }), "window": "day", "quantity": "1000" });
        assert_eq!(app.call("PUT", &format!("/api/v1/customers/ada/spend-limits/l{n}"), Some(limit)).await.0, 200);
    }
    for n in 0..100 {
        placed(&app, &format!("h{n}"), "0.1").await;
    }
    for n in 0..50 {
        assert_eq!(app.check(json!({ "feature": "messages", "quantity": "1" })).await.1["allowed"], true);
        assert_eq!(app.track(&format!("t{n}"), "ada", "messages", "0.1").await.0, 200);
    }
    // Ten are held, five are used; of units and of credits alike.
    let (_, limits) = app.call("GET", "/api/v1/customers/ada/spend-limits", None).await;
    for limit in limits["data"].as_array().unwrap() {
        assert_eq!((&limit["used"], &limit["held"]), (&json!("5"), &json!("10")), "{limit}");
    }
    app.finish().await;
}

/// Unlimited grants, limits and holds together: what is held counts, and what is freed does not.
#[tokio::test]
async fn an_unlimited_grant_is_held_and_limited_by_units() {
    let plan = "[[plans.free.items]]\nfeature = \"messages\"\nunlimited = true\n";
    let app = TestApp::with_catalog(&format!("{CATALOG}{plan}")).await;
    app.customer("ada").await;
    let limit = json!({ "feature": "messages", "window": "day", "quantity": "10" });
    let path = "/api/v1/customers/ada/spend-limits/l";
    assert_eq!(app.call("PUT", path, Some(limit)).await.0, 200);
    let hold = placed(&app, "h", "8").await;
    let (_, no) = app.check(json!({ "feature": "messages", "quantity": "3" })).await;
    assert_eq!(no["reason"], "spend_limit");
    let settle = json!({ "key": "t", "feature": "messages", "quantity": "9", "hold": hold, "final": true });
    assert_eq!(app.used(settle).await.1["shortfall"], "0");
    let (_, set) = app.call("GET", path, None).await;
    assert_eq!((&set["used"], &set["held"], &set["left"]), (&json!("9"), &json!("0"), &json!("1")));
    let (_, back) = app.track("r", "ada", "messages", "-4").await;
    assert_eq!(back["cost"], "0");
    assert_eq!(app.call("GET", path, None).await.1["used"], "5");
    let (_, none) = app.track("r2", "ada", "messages", "-6").await;
    assert_eq!(none["code"], "nothing_to_return");
    app.finish().await;
}

/// One key for a hold, a deduction and a track is three keys; a refusal frees each.
#[tokio::test]
async fn one_key_serves_each_kind_of_call_once() {
    let app = app().await;
    let much = json!({ "feature": "messages", "quantity": "101", "deduct": { "key": "k" } });
    assert_eq!(app.check(much).await.1["allowed"], false);
    let some = json!({ "feature": "messages", "quantity": "10", "deduct": { "key": "k" } });
    for _ in 0..2 {
        assert_eq!(app.check(some.clone()).await.1["allowed"], true);
    }
    let held = placed(&app, "k", "10").await;
    assert_eq!(held, placed(&app, "k", "10").await);
    assert_eq!(app.track("k", "ada", "messages", "10").await.0, 200);
    assert_eq!(app.track("k", "ada", "messages", "10").await.1["status"], "repeated");
    assert_eq!(app.available("ada", "credits").await, "70");
    free(&app, &held).await;
    // A repeat of a hold that has ended tells of it as it was, and pins nothing.
    let _: String = placed(&app, "k", "10").await;
    assert_eq!(app.available("ada", "credits").await, "80");
    app.finish().await;
}

/// A thousand events of many customers, some of them nonsense: each answered, none a failure of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_of_a_thousand_of_anything_is_answered() {
    let app = app().await;
    let odd = [
        json!({ "quantity": "1000000000000000000" }),
        json!({ "quantity": "-1000000000000000000" }),
        json!({ "quantity": "0" }),
        json!({ "quantity": "0.000000001" }),
        json!({ "quantity": "-0.000000001" }),
        json!({ "feature": "seats", "set": "1000000000000000000" }),
        json!({ "feature": "seats", "quantity": "1000000000000000000" }),
        json!({ "feature": "seats", "set": "0" }),
        json!({ "feature": "seats", "quantity": "-1" }),
        json!({ "feature": "sso" }),
        json!({ "feature": "tokens", "properties": { "tokens": "1e400" } }),
        json!({ "feature": "tokens", "properties": { "tokens": -5 } }),
        json!({ "feature": "chat", "properties": { "model": "gpt-4", "input": "999999999999999999", "output": 1 } }),
        json!({ "feature": "chat", "properties": { "model": "\u{1}" } }),
        json!({ "entity": "\u{7f}" }),
        json!({ "entity": "" }),
        json!({ "feature": "credits", "quantity": "3" }),
        json!({ "feature": "credits", "quantity": "-3" }),
        json!({ "hold": "hold_00000000000000000000000000000001", "final": true }),
        json!({ "when_short": "debt", "quantity": "9999" }),
        json!({ "at": "2026-01-01T00:00:00Z" }),
        json!({ "at": "-009999-01-01T00:00:00Z" }),
        json!({ "metadata": { "a": "\u{2}" } }),
        json!({ "set": "5" }),
        json!({ "feature": "tokens", "quantity": "-1" }),
        json!({ "customer": "nobody" }),
    ];
    let events: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut event = json!({ "key": format!("k{}", n % 700), "customer": if n % 3 == 0 { "ada" } else { "bob" },
            "feature": "messages", "quantity": "1" });
            let more = odd[n % odd.len()].as_object().unwrap();
            if more.contains_key("set") || more.contains_key("feature") && !more.contains_key("quantity") {
                event.as_object_mut().unwrap().remove("quantity");
            }
            for (name, value) in more {
                event[name] = value.clone();
            }
            event
        })
        .collect();
    app.customer("bob").await;
    let (status, answer) = app.call("POST", "/api/v1/track/batch", Some(json!({ "events": events }))).await;
    assert_eq!(status, 200, "{answer}");
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), 1_000);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for (n, result) in results.iter().enumerate() {
        let code = result["problem"]["code"].as_str().unwrap_or("ok").to_owned();
        let status = result["problem"]["status"].as_u64().unwrap_or(200);
        assert!(status < 500 && code != "constraint", "{} -> {result}", events[n]);
        *seen.entry(format!("{status} {code}")).or_default() += 1;
    }
    assert!(seen["200 ok"] > 300, "{seen:?}");
    app.finish().await;
}

/// Seats of several entities beside what is shared, in a race.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seats_of_many_entities_never_exceed_what_is_granted() {
    let app = app().await;
    let own = json!({ "key": "g", "customer": "ada", "feature": "seats", "entity": "e0", "quantity": "2",
        "category": "promotional", "reason": "a test" });
    assert_eq!(app.call("POST", "/api/v1/grants", Some(own)).await.0, 201);
    let sent = (0..60).map(|n| {
        let app = &app;
        let body = json!({ "key": format!("s{n}"), "feature": "seats", "quantity": "1", "entity": format!("e{}", n % 4), "when_short": "reject" });
        async move { app.used(body).await }
    });
    let answers = futures_util::future::join_all(sent).await;
    let taken: Vec<&Value> = answers.iter().filter(|(status, _)| *status == 200).map(|(_, body)| body).collect();
    assert!(answers.iter().all(|(status, _)| [200, 402].contains(status)));
    assert_eq!(taken.len(), 5, "two of its own, three shared");
    app.finish().await;
}

/// A hold over a `full_reset` upgrade: what it pinned of the old allowance ends like the rest once it is free, however
/// it comes free.
#[test]
fn a_hold_does_not_save_the_old_allowance_from_a_full_reset() {
    use crate::domain_laws::{credits, feature, quantity, time};
    use crate::subscription_laws::{World, day, paid_for};
    use crate::support::plans::changed_plan;
    use creditd::domain::command::{Command, Decision, Outcome, PlaceHold, Track};
    use creditd::domain::hold::WhenMore;

    for way in ["release", "settle", "expire", "return"] {
        let mut world = World::with(RESET);
        let _: Decision = world.at("01-10").post(&Command::PlanPaid(paid_for("sub_1", "pro", "01-10", "02-10")));
        let half = time("2026-01-25T12:00:00Z");
        world.now = half;
        let hold = if way == "return" {
            let _: Decision = world.post(&Command::Track(Track::of(feature("calls"), quantity("6"))));
            None
        } else {
            let wanted = PlaceHold {
                feature: feature("calls"),
                entity: String::new(),
                quantity: quantity("6"),
                properties: std::collections::BTreeMap::new(),
                ttl_seconds: 60,
                when_more: WhenMore::Reject,
            };
            match world.post(&Command::Hold(wanted)) {
                Decision::Applied(Outcome::Held(held)) => Some(held.hold),
                other => panic!("{other:?}"),
            }
        };
        let change = changed_plan(("pro", 1), ("max", 1), half, day("02-10"));
        let _: Decision = world.post(&Command::PlanChanged(change));
        assert_eq!(world.available(), credits("20"), "{way}");
        match (way, hold) {
            ("release", Some(hold)) => drop(world.post(&Command::ReleaseHold(hold))),
            ("settle", Some(_)) => drop(world.post(&Command::Track(Track {
                hold,
                is_final: true,
                ..Track::of(feature("calls"), quantity("1"))
            }))),
            ("return", None) => drop(world.post(&Command::Track(Track::of(feature("calls"), quantity("-6"))))),
            _ => {
                world.now = half.checked_add(jiff::SignedDuration::from_secs(61)).unwrap();
                let _: Decision = world.post(&Command::Settle);
            }
        }
        assert_eq!(world.available(), credits("20"), "{way}");
    }
}
