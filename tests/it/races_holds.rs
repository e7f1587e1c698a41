//! Holds and tracks race for one balance through two daemons on one database; nothing is ever spent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::http_check::CATALOG;
use crate::support::app::TestApp;

/// Callers of the race for a hundred credits.
const CALLERS: usize = 500;
/// Streams that run beside each other, and heartbeats of each.
const STREAMS: usize = 12;
const HEARTBEATS: usize = 8;

async fn two_daemons() -> [TestApp; 2] {
    let first = TestApp::with_catalog(CATALOG).await;
    first.customer("ada").await;
    let second = first.beside().await;
    [first, second]
}

async fn finish([first, second]: [TestApp; 2]) {
    second.finish().await;
    first.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_tracks_and_holds_share_a_hundred_credits() {
    let apps = two_daemons().await;
    let sent = (0..CALLERS).map(|n| {
        let app = &apps[n % 2];
        async move {
            if n % 4 < 2 {
                let body =
                    json!({ "key": format!("t{n}"), "feature": "messages", "quantity": "1", "when_short": "reject" });
                let (status, answer) = app.used(body).await;
                assert!([200, 402].contains(&status), "{answer}");
                ("track", status == 200, answer)
            } else {
                let hold = json!({ "key": format!("h{n}"), "ttl_seconds": 600 });
                let body = json!({ "feature": "messages", "quantity": "1", "hold": hold });
                let (status, answer) = app.check(body).await;
                assert_eq!(status, 200, "{answer}");
                assert_eq!(answer["allowed"] == true, answer["hold"]["held"] == "1", "{answer}");
                ("hold", answer["allowed"] == true, answer)
            }
        }
    });
    let answers = join_all(sent).await;
    let mut done: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, went_well, _) in &answers {
        *done.entry(kind).or_default() += usize::from(*went_well);
    }
    assert_eq!(done.values().sum::<usize>(), 100, "{done:?}");
    let (_, state) = apps[1].call("GET", "/api/v1/customers/ada", None).await;
    let pool =
        state["balances"].as_array().unwrap().iter().find(|balance| balance["feature"] == "credits").unwrap().clone();
    assert_eq!((&pool["available"], &pool["held"]), (&json!("0"), &json!(done["hold"].to_string())));
    finish(apps).await;
}

/// One stream: a hold that is more than it needs, heartbeats that settle and lengthen, a last track.
async fn stream(app: &TestApp, number: usize) -> u64 {
    let hold = json!({ "key": format!("s{number}"), "ttl_seconds": 600, "when_more": "take_available" });
    let (_, placed) = app.check(json!({ "feature": "messages", "quantity": "8", "hold": hold })).await;
    let Some(id) = placed["hold"]["id"].as_str() else {
        assert_eq!(placed["reason"], "insufficient", "{placed}");
        return 0;
    };
    let mut drawn = 0;
    for beat in 0..HEARTBEATS {
        let last = beat + 1 == HEARTBEATS;
        let body = json!({ "key": format!("s{number}-{beat}"), "feature": "messages", "quantity": "1", "hold": id, "final": last });
        let (status, settled) = app.used(body).await;
        assert_eq!(status, 200, "{settled}");
        drawn += settled["drawn"].as_str().unwrap().parse::<u64>().unwrap();
        assert_eq!(settled["shortfall"], "0", "what was held is always there: {settled}");
        if !last {
            let (status, _) =
                app.call("POST", &format!("/api/v1/holds/{id}/extend"), Some(json!({ "ttl_seconds": 700 }))).await;
            assert_eq!(status, 200);
        }
    }
    drawn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn long_streams_never_overspend_beside_tracks() {
    let apps = two_daemons().await;
    let streams = join_all((0..STREAMS).map(|n| stream(&apps[n % 2], n)));
    let tracks = join_all((0..60).map(|n| {
        let app = &apps[n % 2];
        async move {
            let body = json!({ "key": format!("t{n}"), "feature": "messages", "quantity": "1" });
            let (status, answer) = app.used(body).await;
            assert_eq!(status, 200, "{answer}");
            answer["drawn"].as_str().unwrap().parse::<u64>().unwrap()
        }
    }));
    let (streams, tracks) = tokio::join!(streams, tracks);
    let spent = streams.iter().sum::<u64>() + tracks.iter().sum::<u64>();
    assert!(spent <= 100, "{spent} of a hundred");
    assert!(streams.iter().all(|drawn| [0, 8].contains(drawn)), "{streams:?}");
    assert_eq!(apps[0].available("ada", "credits").await, (100 - spent).to_string());
    finish(apps).await;
}

/// Holds of one second whose last track comes when their time is over, or just before: it is told which, and what comes
/// free can be spent by others once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_settle_that_races_the_end_of_its_hold_is_told_which_came_first() {
    let apps = two_daemons().await;
    let raced = join_all((0..20).map(|n| {
        let app = &apps[n % 2];
        async move {
            let hold = json!({ "key": format!("h{n}"), "ttl_seconds": 1 });
            let (_, placed) = app.check(json!({ "feature": "messages", "quantity": "5", "hold": hold })).await;
            let id = placed["hold"]["id"].as_str().unwrap_or_else(|| panic!("{placed}")).to_owned();
            let wait = 950_u64 + 10 * u64::try_from(n).unwrap();
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let body =
                json!({ "key": format!("t{n}"), "feature": "messages", "quantity": "5", "hold": id, "final": true });
            let (status, answer) = app.used(body).await;
            assert!([200, 404].contains(&status), "{answer}");
            (id, status, answer)
        }
    }))
    .await;
    let settled = raced.iter().filter(|(_, status, _)| *status == 200).count();
    for (id, status, _) in &raced {
        let (_, shown) = apps[0].call("GET", &format!("/api/v1/holds/{id}"), None).await;
        assert_eq!(shown["state"], if *status == 200 { "settled" } else { "expired" }, "{shown}");
    }
    assert_eq!(apps[1].available("ada", "credits").await, (100 - 5 * settled).to_string());
    finish(apps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_hold_key_from_fifty_callers_is_one_hold() {
    let apps = two_daemons().await;
    let hold = json!({ "feature": "messages", "quantity": "7", "hold": { "key": "the-one", "ttl_seconds": 60 } });
    let answers: Vec<(u16, Value)> = join_all((0..50).map(|n| apps[n % 2].check(hold.clone()))).await;
    let ids: std::collections::BTreeSet<&str> =
        answers.iter().filter_map(|(_, answer)| answer["hold"]["id"].as_str()).collect();
    assert_eq!((ids.len(), answers.iter().filter(|(_, answer)| answer["status"] == "applied").count()), (1, 1));
    assert_eq!(apps[0].available("ada", "credits").await, "93");
    finish(apps).await;
}
