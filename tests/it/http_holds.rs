//! Holds over HTTP: placed by a check, kept alive by heartbeats, settled by tracks, let go, and over by time.

use serde_json::{Value, json};

use crate::http_check::{CATALOG, app};
use crate::support::app::TestApp;
use crate::test_clock::Both;

pub(crate) async fn hold(app: &TestApp, key: &str, quantity: &str, when_more: &str) -> Value {
    let hold = json!({ "key": key, "ttl_seconds": 600, "when_more": when_more });
    let (status, answer) = app.check(json!({ "feature": "messages", "quantity": quantity, "hold": hold })).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_hold_is_placed_once_a_key_and_takes_what_nobody_else_can_draw() {
    let app = app().await;
    let first = hold(&app, "h1", "60", "reject").await;
    assert_eq!(
        (&first["allowed"], &first["status"], &first["available"]),
        (&json!(true), &json!("applied"), &json!("100"))
    );
    assert_eq!(
        (&first["hold"]["held"], &first["hold"]["state"], &first["hold"]["pool"]),
        (&json!("60"), &json!("open"), &json!("credits"))
    );
    let again = hold(&app, "h1", "60", "reject").await;
    assert_eq!((&again["status"], &again["hold"]), (&json!("repeated"), &first["hold"]));
    let body = json!({ "feature": "messages", "quantity": "61", "hold": { "key": "h1", "ttl_seconds": 600 } });
    let (status, conflict) = app.check(body).await;
    assert_eq!((status, conflict["field"].as_str()), (409, Some("hold.key")));
    let no = hold(&app, "h2", "41", "reject").await;
    assert_eq!((&no["allowed"], &no["reason"], no.get("hold")), (&json!(false), &json!("insufficient"), None));
    assert_eq!((&no["available"], &no["held"]), (&json!("40"), &json!("60")));
    let short = json!({ "key": "t1", "feature": "messages", "quantity": "41", "when_short": "reject" });
    assert_eq!(app.used(short).await.0, 402);
    let (_, state) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert_eq!((&state["holds"][0]["id"], &state["holds"][0]["held"]), (&first["hold"]["id"], &json!("60")));
    assert_eq!(state["balances"][0]["held"], "60");
    app.finish().await;
}

#[tokio::test]
async fn tracks_settle_a_hold_and_the_last_one_frees_the_rest() {
    let app = app().await;
    let held = hold(&app, "h1", "60", "take_available").await;
    let id = held["hold"]["id"].as_str().unwrap();
    let (status, part) = app.used(json!({ "key": "t1", "feature": "messages", "quantity": "20", "hold": id })).await;
    assert_eq!((status, &part["hold"]["held"], &part["hold"]["state"]), (200, &json!("40"), &json!("open")));
    assert_eq!(part["available"], "40", "what others can spend has not changed");
    let last = json!({ "key": "t2", "feature": "messages", "quantity": "10", "hold": id, "final": true });
    let (_, settled) = app.used(last.clone()).await;
    assert_eq!((&settled["hold"]["held"], &settled["hold"]["state"]), (&json!("0"), &json!("settled")));
    assert_eq!(settled["available"], "70");
    let (_, repeated) = app.used(last).await;
    assert_eq!((&repeated["status"], &repeated["hold"]), (&json!("repeated"), &settled["hold"]));
    let (_, shown) = app.call("GET", &format!("/api/v1/holds/{id}"), None).await;
    assert_eq!(
        (&shown["state"], &shown["customer"], &shown["amount"]),
        (&json!("settled"), &json!("ada"), &json!("60"))
    );
    assert_eq!((&shown["slices"], shown["ended_at"].is_string()), (&json!([]), true));
    let unused = hold(&app, "h2", "30", "reject").await["hold"]["id"].clone();
    let nothing = json!({ "key": "t4", "feature": "messages", "quantity": "0", "hold": unused, "final": true });
    let (status, ended) = app.used(nothing).await;
    assert_eq!((status, &ended["cost"], &ended["hold"]["state"]), (200, &json!("0"), &json!("settled")));
    assert_eq!(ended["available"], "70", "a job that used nothing frees all of it");
    let late = json!({ "key": "t3", "feature": "messages", "quantity": "1", "hold": id });
    let (status, refused) = app.used(late).await;
    assert_eq!(
        (status, refused["code"].as_str(), refused["field"].as_str()),
        (404, Some("unknown_hold"), Some("hold"))
    );
    app.finish().await;
}

#[tokio::test]
async fn a_cost_above_what_is_held_does_what_the_hold_says() {
    let app = app().await;
    let id = |held: &Value| held["hold"]["id"].as_str().unwrap().to_owned();
    let strict = id(&hold(&app, "h1", "10", "reject").await);
    let more = json!({ "key": "t1", "feature": "messages", "quantity": "11", "hold": strict });
    assert_eq!(app.used(more).await.0, 402, "though 90 lie beside it");
    let loose = id(&hold(&app, "h2", "10", "take_available").await);
    let (_, taken) =
        app.used(json!({ "key": "t2", "feature": "messages", "quantity": "95", "hold": loose, "final": true })).await;
    assert_eq!((&taken["drawn"], &taken["shortfall"]), (&json!("90"), &json!("5")), "the strict hold keeps its ten");
    let other = json!({ "key": "t3", "feature": "tokens", "quantity": "1", "hold": strict });
    let (status, refused) = app.used(other).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("hold_of_other")));
    let owing = json!({ "feature": "messages", "quantity": "1", "hold": { "key": "h3", "ttl_seconds": 60, "when_more": "debt" } });
    assert_eq!(app.check(owing).await.1["allowed"], false, "nothing is left");
    app.finish().await;
}

#[tokio::test]
async fn heartbeats_lengthen_releases_free_and_ended_holds_are_not_found() {
    let app = app().await;
    let held = hold(&app, "h1", "60", "reject").await;
    let path = format!("/api/v1/holds/{}", held["hold"]["id"].as_str().unwrap());
    let (status, longer) = app.call("POST", &format!("{path}/extend"), Some(json!({ "ttl_seconds": 1200 }))).await;
    assert_eq!((status, &longer["held"]), (200, &json!("60")));
    assert!(longer["expires_at"].as_str() > held["hold"]["expires_at"].as_str());
    let (_, same) = app.call("POST", &format!("{path}/extend"), Some(json!({ "ttl_seconds": 1 }))).await;
    assert_eq!(same["expires_at"], longer["expires_at"], "never less than it had");
    for body in
        [json!({}), json!({ "ttl_seconds": "x" }), json!({ "ttl_seconds": 2_678_401 }), json!({ "ttl_seconds": 1.5 })]
    {
        let (status, refused) = app.call("POST", &format!("{path}/extend"), Some(body)).await;
        assert_eq!((status, refused["field"].as_str()), (400, Some("ttl_seconds")));
    }
    let (status, free) = app.call("POST", &format!("{path}/release"), Some(json!({}))).await;
    assert_eq!((status, &free["state"], &free["held"]), (200, &json!("released"), &json!("0")));
    assert_eq!(app.available("ada", "credits").await, "100");
    for (path, body) in [("release", json!({})), ("extend", json!({ "ttl_seconds": 5 }))] {
        for id in
            [held["hold"]["id"].as_str().unwrap(), "hold_00000000000000000000000000000007", "hold_1", "%00", "%ff"]
        {
            let (status, gone) = app.call("POST", &format!("/api/v1/holds/{id}/{path}"), Some(body.clone())).await;
            assert_eq!((status, gone["code"].as_str()), (404, Some("unknown_hold")), "{id}");
        }
    }
    assert_eq!(app.call("GET", &path, None).await.1["state"], "released");
    app.finish().await;
}

#[tokio::test]
async fn open_holds_are_listed_newest_first_page_by_page() {
    let app = app().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(hold(&app, &format!("h{n}"), "2", "reject").await["hold"]["id"].clone());
    }
    let seat = json!({ "feature": "messages", "quantity": "1", "entity": "seat-1", "hold": { "key": "e", "ttl_seconds": 60 } });
    ids.push(app.check(seat).await.1["hold"]["id"].clone());
    ids.reverse();
    let mut found = Vec::new();
    let mut path = "/api/v1/customers/ada/holds?limit=2".to_owned();
    loop {
        let (status, page) = app.call("GET", &path, None).await;
        assert_eq!(status, 200, "{page}");
        found.extend(page["data"].as_array().unwrap().iter().map(|hold| hold["id"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/customers/ada/holds?limit=2&cursor={cursor}");
    }
    assert_eq!(found, ids);
    let (_, of_seat) = app.call("GET", "/api/v1/customers/ada/holds?entity=seat-1&feature=messages", None).await;
    assert_eq!((of_seat["data"].as_array().unwrap().len(), &of_seat["data"][0]["id"]), (1, &ids[0]));
    let (_, state) = app.call("GET", "/api/v1/customers/ada?entity=seat-1", None).await;
    assert_eq!(state["holds"].as_array().unwrap().len(), 1);
    app.finish().await;
}

impl Both {
    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}/api/v1{path}", self.daemon.address());
        let request = self.client.request(method.parse().unwrap(), url).bearer_auth(&self.key);
        let request = if let Some(body) = body { request.json(&body) } else { request };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

/// A hold whose time is over is so for everyone at once, booked or not; a grant that ends while it is pinned pays for what
/// was held, and only then ends.
#[tokio::test]
async fn time_ends_holds_and_waits_for_what_they_pin() {
    let both = Both::start_as(CATALOG, creditd::stripe::transport::API_VERSION, |_| {}).await;
    both.send("PUT", "/customers/ada", Some(json!({}))).await;
    let soon = both.store.instance().await.unwrap().unwrap().now + jiff::SignedDuration::from_hours(1);
    let gift = json!({ "key": "g", "customer": "ada", "feature": "messages", "quantity": "30", "category": "promotional",
        "reason": "a test", "expires_at": soon.to_string() });
    assert_eq!(both.send("POST", "/grants", Some(gift)).await.0, 201);
    let ask = |key: &str, quantity: &str, ttl: u32| {
        json!({ "customer": "ada", "feature": "messages", "quantity": quantity,
            "hold": { "key": key, "ttl_seconds": ttl, "when_more": "take_available" } })
    };
    let (_, short) = both.send("POST", "/check", Some(ask("short", "10", 600))).await;
    let (_, long) = both.send("POST", "/check", Some(ask("long", "20", 7_200))).await;
    let (short, long) = (short["hold"]["id"].as_str().unwrap(), long["hold"]["id"].as_str().unwrap());
    both.advance(json!({ "seconds": 601 })).await;
    let (_, over) = both.send("GET", &format!("/holds/{short}"), None).await;
    assert_eq!((&over["state"], &over["held"]), (&json!("expired"), &json!("0")));
    let late = json!({ "key": "t0", "customer": "ada", "feature": "messages", "quantity": "1", "hold": short });
    assert_eq!(both.send("POST", "/track", Some(late)).await.0, 404, "a settle that comes too late is told so");
    let (_, open) = both.send("GET", "/customers/ada/holds", None).await;
    assert_eq!((open["data"].as_array().unwrap().len(), open["data"][0]["id"].as_str()), (1, Some(long)));
    both.advance(json!({ "seconds": 3_600 })).await;
    let (_, state) = both.send("GET", "/customers/ada", None).await;
    let of = |state: &Value, feature: &str| {
        let all = state["balances"].as_array().unwrap().clone();
        all.into_iter().find(|balance| balance["feature"] == feature).unwrap()
    };
    assert_eq!(of(&state, "messages")["available"], "0", "the gift has ended for all others: {state:#}");
    let settle =
        json!({ "key": "t1", "customer": "ada", "feature": "messages", "quantity": "15", "hold": long, "final": true });
    let (status, settled) = both.send("POST", "/track", Some(settle)).await;
    assert_eq!(
        (status, &settled["drawn"], &settled["draws"][0]["pool"]),
        (200, &json!("15"), &json!("messages")),
        "{settled}"
    );
    let (_, lines) = both.send("GET", "/customers/ada/entries?kind=expire", None).await;
    let gone: Vec<&str> = lines["data"].as_array().unwrap().iter().filter_map(|line| line["amount"].as_str()).collect();
    let sum: i64 = gone.iter().map(|amount| amount.parse::<i64>().unwrap()).sum();
    assert_eq!(sum, -15, "ten of the hold that was over, five of the rest: {lines:#}");
    let found = both.store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks);
    both.daemon.stop().await;
    both.simulator.stop().await;
}
