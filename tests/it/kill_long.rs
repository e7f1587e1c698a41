//! Two daemons on one database, one of them killed every few seconds, for minutes, under tracks and webhooks.
//!
//! `cargo test` runs a few seconds of it; `.ci/run` two minutes: `CREDITD_TEST_KILL_SECONDS=120`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use creditd::store::event_listings::{EventFilter, EventState};

use crate::support::binary::{Running, Site, call, client, free_address, is_up};
use crate::support::database::store_at;
use crate::support::events::{event, signed};

/// How long the kills go on, when nothing else is said.
const SECONDS: u64 = 9;
/// Between two kills.
const EVERY: Duration = Duration::from_secs(3);
/// Callers that track, and callers that deliver payments.
const TRACKERS: usize = 24;
const DELIVERERS: usize = 4;
/// Customers they share; the first gets half of everything.
const CUSTOMERS: usize = 12;
/// Pause between two deliveries of one caller.
const BETWEEN: Duration = Duration::from_millis(80);
/// Longest a request is sent again, in steps of 20 ms: a daemon is back long before.
const TRIES: u32 = 3_000;
/// A killed daemon's events are free again after its leases, half a minute.
const HEALING: Duration = Duration::from_secs(90);

fn seconds() -> u64 {
    let given = creditd::config::process_environment("CREDITD_TEST_KILL_SECONDS");
    given.map_or(SECONDS, |text| text.parse().expect("CREDITD_TEST_KILL_SECONDS is a number of seconds"))
}

fn customer_of(number: usize) -> String {
    let place = if number.is_multiple_of(2) { 0 } else { number / 2 % CUSTOMERS };
    format!("customer-{place}")
}

fn track(caller: usize, number: usize) -> Value {
    json!({ "key": format!("{caller}-{number}"), "customer": customer_of(number), "feature": "basic_messages",
        "quantity": "1", "when_short": "reject" })
}

/// A paid Checkout session that says in its metadata what it is for: 3 credits.
fn payment(caller: usize, number: usize) -> Value {
    let id = format!("{caller}_{number}");
    let object = json!({
        "id": format!("cs_{id}"), "object": "checkout.session", "mode": "payment", "status": "complete",
        "payment_status": "paid", "amount_total": 300, "currency": "usd", "payment_intent": format!("pi_{id}"),
        "metadata": { "creditd_customer_id": customer_of(number), "creditd_credits": "3", "creditd_feature_id": "usd_credits" },
    });
    event(&format!("evt_{id}"), "checkout.session.completed", &object)
}

/// Where a caller sends: the same daemon while it answers, else the other.
struct Sender {
    client: reqwest::Client,
    daemons: Arc<Vec<SocketAddr>>,
    turn: usize,
}

impl Sender {
    fn new(daemons: &Arc<Vec<SocketAddr>>, turn: usize) -> Self {
        Self { client: client(), daemons: daemons.clone(), turn }
    }

    fn here(&self) -> SocketAddr {
        self.daemons[self.turn % self.daemons.len()]
    }

    /// The answer to a track, sent again under its key until there is one.
    async fn track(&mut self, body: &Value) -> Value {
        for _ in 0..TRIES {
            match call(&self.client, self.here(), "POST", "/api/v1/track", body).await {
                Ok((200, answer)) => return answer,
                Ok((503 | 429, _)) | Err(_) => self.elsewhere().await,
                Ok((status, answer)) => panic!("{status} {answer}"),
            }
        }
        panic!("no daemon takes {body}")
    }

    /// Delivers an event until it is taken, as Stripe does.
    async fn deliver(&mut self, event: &Value) {
        let body = event.to_string();
        for _ in 0..TRIES {
            let url = format!("http://{}/webhooks/stripe", self.here());
            let request = self.client.post(url).header("stripe-signature", signed(body.as_bytes())).body(body.clone());
            match request.send().await.map(|answer| answer.status().as_u16()) {
                Ok(200) => return,
                Ok(503) | Err(_) => self.elsewhere().await,
                Ok(status) => panic!("a delivery was answered with {status}"),
            }
        }
        panic!("no daemon takes the delivery")
    }

    async fn elsewhere(&mut self) {
        self.turn += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tracks until told to stop; every answer by key.
async fn tracker(caller: usize, daemons: Arc<Vec<SocketAddr>>, stop: CancellationToken) -> Vec<(usize, usize, Value)> {
    let mut sender = Sender::new(&daemons, caller);
    let mut answers = Vec::new();
    let mut number = caller;
    while !stop.is_cancelled() {
        answers.push((caller, number, sender.track(&track(caller, number)).await));
        number += 1;
    }
    answers
}

/// Delivers payments until told to stop; how many for each customer.
async fn deliverer(caller: usize, daemons: Arc<Vec<SocketAddr>>, stop: CancellationToken) -> BTreeMap<String, usize> {
    let mut sender = Sender::new(&daemons, caller);
    let mut paid = BTreeMap::new();
    let mut number = 0;
    while !stop.is_cancelled() {
        sender.deliver(&payment(caller, number)).await;
        if number.is_multiple_of(3) {
            sender.deliver(&payment(caller, number)).await;
        }
        *paid.entry(customer_of(number)).or_default() += 1;
        number += 1;
        tokio::time::sleep(BETWEEN).await;
    }
    paid
}

async fn until_all_events_are_done(store: &creditd::store::Store) {
    let mut open = Vec::new();
    let started = creditd::clock::instant();
    while Instant::elapsed(&started) < HEALING {
        open.clear();
        for state in [EventState::Received, EventState::Parked] {
            let filter = EventFilter { state: Some(state), ..EventFilter::default() };
            open.extend(store.list_events(&filter, 10).await.unwrap());
        }
        if open.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("events of killed daemons are not taken up again: {open:#?}");
}

/// What is left of every customer's credits: given at the start, bought since, less what was drawn.
async fn balances(listen: SocketAddr) -> BTreeMap<String, String> {
    let client = client();
    let mut found = BTreeMap::new();
    for place in 0..CUSTOMERS {
        let customer = format!("customer-{place}");
        let path = format!("/api/v1/customers/{customer}");
        let (_, state) = call(&client, listen, "GET", &path, &json!({})).await.unwrap();
        found.insert(customer, state["balances"][0]["available"].as_str().unwrap().to_owned());
    }
    found
}

async fn open_customers(listen: SocketAddr) {
    let opener = client();
    for place in 0..CUSTOMERS {
        let gift = json!({ "key": format!("gift-{place}"), "customer": format!("customer-{place}"), "feature": "usd_credits",
            "quantity": "100000", "category": "promotional", "reason": "a test" });
        call(&opener, listen, "PUT", &format!("/api/v1/customers/customer-{place}"), &json!({})).await.unwrap();
        assert_eq!(call(&opener, listen, "POST", "/api/v1/grants", &gift).await.unwrap().0, 201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_daemons_killed_every_few_seconds_lose_nothing() {
    let site = Site::new().await;
    let listens: Arc<Vec<SocketAddr>> = Arc::new(vec![free_address(), free_address()]);
    let mut daemons: Vec<Option<Running>> = Vec::new();
    for listen in listens.iter() {
        daemons.push(Some(site.serve(*listen).await));
    }
    open_customers(listens[0]).await;
    let stop = CancellationToken::new();
    let (mut trackers, mut deliverers) = (JoinSet::new(), JoinSet::new());
    for caller in 0..TRACKERS {
        trackers.spawn(tracker(caller, listens.clone(), stop.clone()));
    }
    for caller in 0..DELIVERERS {
        deliverers.spawn(deliverer(caller, listens.clone(), stop.clone()));
    }
    let (started, length, mut kills) = (creditd::clock::instant(), Duration::from_secs(seconds()), 0_usize);
    while Instant::elapsed(&started) < length {
        tokio::time::sleep(EVERY).await;
        let killed = kills % daemons.len();
        daemons[killed].take().expect("it runs").kill().await;
        daemons[killed] = Some(site.serve(listens[killed]).await);
        kills += 1;
    }
    stop.cancel();
    let tracked: Vec<(usize, usize, Value)> = trackers.join_all().await.into_iter().flatten().collect();
    let mut bought: BTreeMap<String, usize> = BTreeMap::new();
    for (customer, count) in deliverers.join_all().await.into_iter().flatten() {
        *bought.entry(customer).or_default() += count;
    }
    eprintln!("{kills} kills, {} tracks and {} payments acknowledged", tracked.len(), bought.values().sum::<usize>());
    assert!(kills >= 2 && tracked.len() > 100 && bought.len() > 1, "too little happened to prove anything");
    let store = store_at(&site.url).await;
    // Stripe's times are whole seconds: what was paid in the second of the first start is not before it.
    let cutover = store.instance().await.unwrap().unwrap().cutover_at.expect("serve sets one");
    assert_eq!(cutover.subsec_nanosecond(), 0);
    until_all_events_are_done(&store).await;
    // 5 of the free plan, 100,000 given, 3 for each payment, one hundredth for each track, all exact.
    let mut hundredths: BTreeMap<String, usize> = BTreeMap::new();
    for (_, number, answer) in &tracked {
        assert_eq!((&answer["cost"], &answer["shortfall"]), (&json!("0.01"), &json!("0")), "{answer}");
        *hundredths.entry(customer_of(*number)).or_default() += 1;
    }
    let expected: BTreeMap<String, String> = (0..CUSTOMERS)
        .map(|place| {
            let customer = format!("customer-{place}");
            let given = 10_000_500 + 300 * bought.get(&customer).copied().unwrap_or_default();
            let left = rust_decimal::Decimal::new(
                i64::try_from(given - hundredths.get(&customer).copied().unwrap_or_default()).unwrap(),
                2,
            );
            (customer, left.normalize().to_string())
        })
        .collect();
    assert_eq!(balances(listens[1]).await, expected);
    // A sample of the acknowledged ones is known, with the same answer.
    let mut sender = Sender::new(&listens, 0);
    for (caller, number, answer) in tracked.iter().step_by(tracked.len() / 200 + 1) {
        let mut again = sender.track(&track(*caller, *number)).await;
        assert_eq!(again["status"], "repeated");
        again["status"] = answer["status"].clone();
        assert_eq!(again, *answer);
    }
    for daemon in daemons.into_iter().flatten() {
        assert_eq!(daemon.end(nix::sys::signal::Signal::SIGTERM).await, Some(0), "a stop in peace");
    }
    let found = store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks);
    store.close().await;
    assert!(!is_up(&client(), listens[0]).await);
}
