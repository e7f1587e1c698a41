//! `kill -9` under load: what was acknowledged is there, once, and the rest can be sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::task::JoinSet;

use crate::support::binary::{Running, Site, call, client, free_address, is_up};
use crate::support::database::store_at;

/// Callers at once, each on a connection of its own.
const CONNECTIONS: usize = 64;
/// Usage of all callers together: on one daemon, and on two, where a kill leaves the other at work.
const TRACKS: usize = 10_000;
const TRACKS_OF_TWO: usize = 3_000;
/// What one message costs in the sample catalogue, times the 0.7 messages of each track.
const COST: &str = "0.007";
const QUANTITY: &str = "0.7";
/// Credits given to each customer, beside the 5 of the free plan.
const GIVEN: u32 = 100;
/// Longest a caller waits for a daemon to be back, in steps of 20 ms.
const BACK_STEPS: u32 = 3_000;
/// Longest wait for the callers to get as far as the next kill, in steps of 2 ms.
const PROGRESS_STEPS: u32 = 60_000;

/// Every second track goes to one customer, the others to sixteen.
fn customer_of(track: usize) -> String {
    if track.is_multiple_of(2) { "hot".to_owned() } else { format!("cold-{}", track / 2 % 16) }
}

fn body_of(track: usize) -> Value {
    json!({ "key": format!("message-{track}"), "customer": customer_of(track), "feature": "basic_messages",
        "quantity": QUANTITY, "when_short": "reject" })
}

async fn open_customers(listen: SocketAddr) {
    let client = client();
    let customers: BTreeSet<String> = (0..64).map(customer_of).collect();
    for customer in &customers {
        let (status, answer) =
            call(&client, listen, "PUT", &format!("/api/v1/customers/{customer}"), &json!({})).await.unwrap();
        assert_eq!(status, 201, "{answer}");
        let gift = json!({ "key": format!("gift-{customer}"), "customer": customer, "feature": "usd_credits",
            "quantity": GIVEN.to_string(), "category": "promotional", "reason": "a test" });
        let (status, answer) = call(&client, listen, "POST", "/api/v1/grants", &gift).await.unwrap();
        assert_eq!(status, 201, "{answer}");
    }
}

/// Sends this caller's share once; what was answered, by track. No answer means: unknown.
async fn caller(
    number: usize,
    tracks: usize,
    daemons: Arc<Vec<SocketAddr>>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<(usize, Option<Value>)> {
    let (client, mut turn) = (client(), number);
    let mut answers = Vec::new();
    for track in (number..tracks).step_by(CONNECTIONS) {
        let listen = daemons[turn % daemons.len()];
        match call(&client, listen, "POST", "/api/v1/track", &body_of(track)).await {
            Ok((200, answer)) => {
                acknowledged.fetch_add(1, Ordering::SeqCst);
                answers.push((track, Some(answer)));
            }
            Ok((503, _)) | Err(_) => {
                answers.push((track, None));
                turn += 1;
                wait_for_one(&client, &daemons).await;
            }
            Ok((status, answer)) => panic!("track {track}: {status} {answer}"),
        }
    }
    answers
}

async fn wait_for_one(client: &reqwest::Client, daemons: &[SocketAddr]) {
    for _ in 0..BACK_STEPS {
        for daemon in daemons {
            if is_up(client, *daemon).await {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no daemon came back");
}

async fn until(acknowledged: &AtomicUsize, wanted: usize) {
    for _ in 0..PROGRESS_STEPS {
        if acknowledged.load(Ordering::SeqCst) >= wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("the callers are stuck at {}", acknowledged.load(Ordering::SeqCst));
}

/// Tracks that the database keeps a key of, and lines that began a track.
async fn kept(site: &Site) -> (i64, i64) {
    let mut connection = sqlx::PgConnection::connect(&site.url).await.unwrap();
    let text = "SELECT (SELECT count(*) FROM idempotency WHERE operation = 'track'), \
                (SELECT count(*) FROM entries WHERE kind = 'draw' AND used_feature IS NOT NULL)";
    let kept = sqlx::query_as(text).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    kept
}

/// Sends every track again with the same body; those that were acknowledged get the same answer.
async fn send_all_again(listen: SocketAddr, tracks: usize, known: &BTreeMap<usize, Option<Value>>) {
    let clients: Vec<reqwest::Client> = (0..CONNECTIONS).map(|_| client()).collect();
    let mut callers = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        callers.spawn(async move {
            let mut answers = Vec::new();
            for track in (number..tracks).step_by(CONNECTIONS) {
                answers.push((track, call(&client, listen, "POST", "/api/v1/track", &body_of(track)).await.unwrap()));
            }
            answers
        });
    }
    for (track, (status, answer)) in callers.join_all().await.into_iter().flatten() {
        assert_eq!((status, &answer["cost"], &answer["drawn"]), (200, &json!(COST), &json!(COST)), "{track}: {answer}");
        if let Some(Some(before)) = known.get(&track) {
            let mut before = before.clone();
            before["status"] = json!("repeated");
            assert_eq!(answer, before, "track {track} was acknowledged");
        }
    }
}

/// Loads the daemons, kills each of `kills` in turn, starts it again, then counts.
async fn killed_under_load(daemon_count: usize, tracks: usize, kills: &[usize]) {
    let site = Site::new().await;
    let listens: Arc<Vec<SocketAddr>> = Arc::new((0..daemon_count).map(|_| free_address()).collect());
    let mut daemons: Vec<Option<Running>> = Vec::new();
    for listen in listens.iter() {
        daemons.push(Some(site.serve(*listen).await));
    }
    open_customers(listens[0]).await;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for number in 0..CONNECTIONS {
        callers.spawn(caller(number, tracks, listens.clone(), acknowledged.clone()));
    }
    for (round, killed) in kills.iter().enumerate() {
        until(&acknowledged, tracks * (round + 1) / (kills.len() + 1)).await;
        daemons[*killed].take().expect("it runs").kill().await;
        daemons[*killed] = Some(site.serve(listens[*killed]).await);
    }
    let known: BTreeMap<usize, Option<Value>> = callers.join_all().await.into_iter().flatten().collect();
    let acknowledged: Vec<&Value> = known.values().flatten().collect();
    assert!(acknowledged.len() < tracks, "the kills came too late to interrupt anything");
    assert_eq!(known.len(), tracks);
    assert!(acknowledged.iter().all(|answer| answer["status"] == "applied"), "each was sent once");
    let (keys, lines) = kept(&site).await;
    assert_eq!(keys, lines, "a track and its key are one transaction");
    assert!(usize::try_from(keys).unwrap() >= acknowledged.len(), "an acknowledged track is lost");
    assert!(usize::try_from(keys).unwrap() <= tracks);
    send_all_again(listens[0], tracks, &known).await;
    let whole = i64::try_from(tracks).unwrap();
    assert_eq!(kept(&site).await, (whole, whole));
    balances_add_up(*listens.last().unwrap(), tracks).await;
    for daemon in daemons.into_iter().flatten() {
        let code = daemon.end(nix::sys::signal::Signal::SIGTERM).await;
        assert_eq!(code, Some(0), "a stop in peace");
    }
    let store = store_at(&site.url).await;
    let found = store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks);
    store.close().await;
}

/// Each balance is right to the last decimal, and together the cost of every track is gone.
async fn balances_add_up(listen: SocketAddr, tracks: usize) {
    let mut wanted: BTreeMap<String, Decimal> = BTreeMap::new();
    let cost: Decimal = COST.parse().unwrap();
    for track in 0..tracks {
        *wanted.entry(customer_of(track)).or_insert(Decimal::from(GIVEN + 5)) -= cost;
    }
    let client = client();
    let mut drawn = Decimal::ZERO;
    for (customer, left) in &wanted {
        let path = format!("/api/v1/customers/{customer}");
        let (_, state) = call(&client, listen, "GET", &path, &json!({})).await.unwrap();
        assert_eq!(state["balances"][0]["available"], json!(left.normalize().to_string()), "{customer}");
        drawn += Decimal::from(GIVEN + 5) - left;
    }
    assert_eq!(drawn, cost * Decimal::from(tracks));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_tracks_survive_two_kills() {
    killed_under_load(1, TRACKS, &[0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_daemons_on_one_database_are_killed_in_turn() {
    killed_under_load(2, TRACKS_OF_TWO, &[0, 1]).await;
}
