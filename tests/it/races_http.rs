//! Races as apps run them: over HTTP, through two daemons on one database, with callers that hang up.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::app::TestApp;

/// Callers of one race.
const CALLERS: usize = 50;
/// Requests that are dropped before they are answered.
const HANG_UPS: usize = 500;
/// A feature that is its own pool, so that a credit is a unit; Free gives 5.
const CATALOG: &str = r#"
[features.credits]
type = "metered"
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "credits"
included = "5"
reset = "month"
"#;

fn usage(key: &str, quantity: &str) -> Value {
    json!({ "key": key, "customer": "ada", "feature": "credits", "quantity": quantity, "when_short": "reject" })
}

/// The first daemon, and one beside it.
async fn two_daemons() -> [TestApp; 2] {
    let first = TestApp::with_catalog(CATALOG).await;
    let second = first.beside().await;
    [first, second]
}

/// Sends all at once, to either daemon by turns; how often each status was answered, and every body.
async fn all_at_once(apps: &[TestApp; 2], bodies: Vec<Value>) -> (BTreeMap<u16, usize>, Vec<Value>) {
    let sent = bodies.into_iter().enumerate().map(|(n, body)| apps[n % 2].call("POST", "/api/v1/track", Some(body)));
    let mut statuses = BTreeMap::new();
    let mut answers = Vec::new();
    for (status, answer) in join_all(sent).await {
        *statuses.entry(status).or_default() += 1;
        answers.push(answer);
    }
    (statuses, answers)
}

async fn finish([first, second]: [TestApp; 2]) {
    second.finish().await;
    first.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_callers_want_the_last_credit_and_one_gets_it() {
    let apps = two_daemons().await;
    apps[0].customer("ada").await;
    assert_eq!(apps[0].track("before", "ada", "credits", "4").await.0, 200);
    let (statuses, answers) = all_at_once(&apps, vec![usage("left", "1"), usage("right", "1")]).await;
    assert_eq!(statuses, BTreeMap::from([(200, 1), (402, 1)]));
    let refused = answers.iter().find(|answer| answer["status"] == 402).unwrap();
    assert_eq!(refused["code"], "insufficient_credits");
    assert_eq!(apps[1].available("ada", "credits").await, "0");
    finish(apps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_from_fifty_callers_draws_once() {
    let apps = two_daemons().await;
    apps[0].customer("ada").await;
    let (statuses, answers) = all_at_once(&apps, vec![usage("the-one", "2"); CALLERS]).await;
    assert_eq!(statuses, BTreeMap::from([(200, CALLERS)]));
    assert_eq!(answers.iter().filter(|answer| answer["status"] == "applied").count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer["status"] == "repeated").count(), CALLERS - 1);
    assert!(answers.iter().all(|answer| answer["drawn"] == "2" && answer["available"] == "3"), "{answers:?}");
    assert_eq!(apps[0].available("ada", "credits").await, "3");
    finish(apps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_callers_share_a_hundred_credits() {
    let apps = two_daemons().await;
    apps[0].customer("ada").await;
    apps[0].grant("ada", "credits", "95").await;
    let bodies = (0..200).map(|n| usage(&format!("u{n}"), "1")).collect();
    let (statuses, _) = all_at_once(&apps, bodies).await;
    assert_eq!(statuses, BTreeMap::from([(200, 100), (402, 100)]));
    assert_eq!(apps[1].available("ada", "credits").await, "0");
    finish(apps).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_customer_made_fifty_times_at_once_is_one_with_one_free_plan() {
    let apps = two_daemons().await;
    let made = (0..CALLERS).map(|n| apps[n % 2].call("PUT", "/api/v1/customers/ada", Some(json!({}))));
    let answers = join_all(made).await;
    assert!(answers.iter().all(|(status, _)| [200, 201].contains(status)), "{answers:?}");
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "one of them made it");
    for (_, customer) in &answers {
        assert_eq!(customer["plans"].as_array().map(Vec::len), Some(1), "{customer}");
        assert_eq!(customer["balances"][0]["available"], "5", "{customer}");
    }
    let (_, entries) = apps[0].call("GET", "/api/v1/customers/ada/entries", None).await;
    assert_eq!(entries["data"].as_array().map(Vec::len), Some(1), "Free was granted once");
    finish(apps).await;
}

/// Sessions of this database that hold a transaction open and do nothing.
async fn idle_in_transaction(url: &str) -> i64 {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let text = "SELECT count(*) FROM pg_stat_activity \
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let found = sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
}

/// The kinds of request that are hung up on, by turns.
fn request(n: usize) -> (&'static str, String, Value) {
    match n % 5 {
        0 => ("PUT", format!("/api/v1/customers/new-{n}"), json!({ "name": "New" })),
        1 => {
            let gift = json!({ "key": format!("g{n}"), "customer": "ada", "feature": "credits", "quantity": "1",
                "category": "promotional", "reason": "a test" });
            ("POST", "/api/v1/grants".to_owned(), gift)
        }
        2 => ("POST", "/api/v1/check".to_owned(), json!({ "customer": "ada", "feature": "credits" })),
        _ => ("POST", "/api/v1/track".to_owned(), usage(&format!("t{n}"), "0.01")),
    }
}

/// Sends a request and drops it, connection and all, after a while of its own; was it cut before its answer?
async fn hang_up(app: &TestApp, client: &reqwest::Client, n: usize) -> bool {
    // A request takes some milliseconds: these cut it before it is sent, while it is under way, and after it.
    let patience = Duration::from_micros(u64::try_from(n).unwrap() * 37 % 20_000);
    let (method, path, body) = request(n);
    let request = client.request(method.parse().unwrap(), app.address(&path)).bearer_auth(&app.admin);
    tokio::time::timeout(patience, request.json(&body).send()).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_who_hang_up_leave_no_transaction_open() {
    let apps = two_daemons().await;
    apps[0].customer("ada").await;
    // No connection is used twice: each is closed with its request.
    let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
    let mut cut = 0;
    // Twenty at a time, so that their requests do get as far as the database.
    for first in (0..HANG_UPS).step_by(20) {
        let some = (first..first + 20).map(|n| hang_up(&apps[n % 2], &client, n));
        cut += join_all(some).await.into_iter().filter(|was_cut| *was_cut).count();
    }
    assert!(cut > HANG_UPS / 4, "only {cut} were cut");
    // What was cut goes on or ends, within moments.
    let mut open = i64::MAX;
    for _ in 0..250 {
        open = idle_in_transaction(&apps[0].url).await;
        if open == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(open, 0, "transactions stay open");
    for n in (0..HANG_UPS).filter(|n| n % 5 != 2) {
        let (method, path, body) = request(n);
        let (status, answer) = apps[n % 2].call(method, &path, Some(body)).await;
        assert!([200, 201].contains(&status), "{n}: {status} {answer}");
    }
    // 5 of Free, 100 gifts of 1, 200 uses of 0.01: each once, whether its first caller hung up or not.
    assert_eq!(apps[0].available("ada", "credits").await, "103");
    finish(apps).await;
}
