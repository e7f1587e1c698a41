//! Thousands of random deliveries of payments, refunds, disputes and cancelled plans to two daemons that are killed in
//! turn: in the end everybody has what Stripe's own log says, to the last credit.
//!
//! `cargo test` sends 1,500; `.ci/run` 10,000: `CREDITD_TEST_DELIVERIES=10000`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use creditd::domain::credits::Credits;
use creditd::simulator::{DisputeOrder, DisputeStep, Outcome, Simulator};
use creditd::store::event_listings::{EventFilter, EventState};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::app::{STRIPE_KEY, ask_stripe, simulator};
use crate::support::binary::{Running, Site, call, client, free_address, is_up};
use crate::support::database::store_at;

const DELIVERIES: usize = 1_500;
/// Deliveries for each customer, on average: each event comes once and then again, some of them many times.
const EACH: usize = 40;
const SENDERS: usize = 16;
const SEED: u64 = 4;
/// Each daemon is killed this often, in turn.
const KILLS: usize = 6;
/// Longest a delivery is sent again, in steps of 20 ms: a daemon is back long before.
const TRIES: u32 = 3_000;
/// A killed daemon's events are free again after its leases, half a minute.
const HEALING: Duration = Duration::from_mins(4);

fn deliveries() -> usize {
    let given = creditd::config::process_environment("CREDITD_TEST_DELIVERIES");
    given.map_or(DELIVERIES, |text| text.parse().expect("CREDITD_TEST_DELIVERIES is a number of deliveries"))
}

struct Stripe {
    simulator: Arc<Simulator>,
    client: reqwest::Client,
}

impl Stripe {
    async fn ask(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        ask_stripe(&self.client, &self.simulator, method, path, form).await
    }

    async fn pay(&self, customer: &str, mode: &str, price: &str, quantity: &str) -> Value {
        let mut form = vec![
            ("success_url", "https://example.com/"),
            ("mode", mode),
            ("line_items[0][price]", price),
            ("line_items[0][quantity]", quantity),
            ("metadata[customer_id]", customer),
        ];
        if mode == "subscription" {
            form.push(("subscription_data[metadata][customer_id]", customer));
        }
        let session = self.ask("POST", "/v1/checkout/sessions", &form).await;
        self.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap()
    }

    /// Something happens to one customer; the credits it should have in the end.
    async fn live(&self, customer: &str, random: &mut StdRng) -> i64 {
        let mut credits = 5;
        for _ in 0..random.random_range(1..=2) {
            let session = self.pay(customer, "payment", "price_usd_credit", "20").await;
            let intent = session["payment_intent"].as_str().unwrap();
            let charge = self.ask("GET", &format!("/v1/payment_intents/{intent}"), &[]).await;
            credits += 20 - self.give_back(charge["latest_charge"].as_str().unwrap(), random).await;
        }
        if random.random_range(0..3) == 0 {
            let session = self.pay(customer, "subscription", "price_pro", "1").await;
            if random.random_range(0..2) == 0 {
                let path = format!("/v1/subscriptions/{}", session["subscription"].as_str().unwrap());
                self.ask("POST", &path, &[("cancel_at_period_end", "true")]).await;
            }
            // Free gives way to Pro, and its credits end.
            credits += 10 - 5;
        }
        credits
    }

    /// Refunds and disputes of a charge of 20.00; the credits they take, or freeze.
    async fn give_back(&self, charge: &str, random: &mut StdRng) -> i64 {
        let mut back = 0;
        for _ in 0..random.random_range(0..=2) {
            let amount = random.random_range(1..=5) * 100;
            let text = amount.to_string();
            self.ask("POST", "/v1/refunds", &[("charge", charge), ("amount", &text)]).await;
            back += amount;
        }
        if random.random_range(0..3) > 0 {
            return back / 100;
        }
        let disputed = random.random_range(1..=15) * 100;
        let order = serde_json::from_value::<DisputeOrder>(json!({ "amount": disputed })).unwrap();
        let dispute = self.simulator.open_dispute(charge, &order).unwrap();
        let id = dispute["id"].as_str().unwrap();
        match random.random_range(0..3) {
            0 => return 20,
            1 => self.simulator.move_dispute(id, DisputeStep::Won).unwrap(),
            _ => {
                back = 2_000.min(back + disputed);
                self.simulator.move_dispute(id, DisputeStep::Lost).unwrap()
            }
        };
        back / 100
    }
}

/// Each event once and some again, in an order of chance.
fn shuffled(events: &[String], count: usize, random: &mut StdRng) -> Vec<String> {
    let mut all = events.to_vec();
    while all.len() < count {
        all.push(events[random.random_range(0..events.len())].clone());
    }
    for place in (1..all.len()).rev() {
        all.swap(place, random.random_range(0..=place));
    }
    all
}

async fn send(simulator: &Simulator, event: &str, daemons: &[SocketAddr], from: usize) {
    let client = client();
    for turn in 0..TRIES {
        let listen = daemons[(from + turn as usize) % daemons.len()];
        let (body, signature) = simulator.signed_delivery(event).unwrap();
        let request = client.post(format!("http://{listen}/webhooks/stripe"));
        match request.header("stripe-signature", signature).body(body).send().await {
            Ok(answer) if answer.status() == 200 => return,
            Ok(answer) => assert_eq!(answer.status(), 503, "{event}"),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{event} could not be delivered");
}

async fn serve(site: &Site, stripe: &Simulator, listen: SocketAddr) -> Running {
    let mut command = site.command(&["serve"]);
    command.env("CREDITD_LISTEN", listen.to_string()).env("STRIPE_SECRET_KEY", STRIPE_KEY);
    command.env("STRIPE_API_BASE", stripe.base_url());
    Running::start(command, &site.folder.path().join(format!("log-{}", listen.port()))).until_it_answers(listen).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_deliveries_with_kills_in_between() {
    let count = deliveries();
    let stripe = Stripe { simulator: Arc::new(simulator().await), client: client() };
    let mut random = StdRng::seed_from_u64(SEED);
    let mut wanted: Vec<(String, i64)> = Vec::new();
    for number in 0..count / EACH {
        let customer = format!("customer-{number}");
        let credits = stripe.live(&customer, &mut random).await;
        wanted.push((customer, credits));
    }
    let events = stripe.simulator.all_event_ids();
    let queue = Arc::new(shuffled(&events, count.max(events.len()), &mut random));
    let site = Site::new().await;
    // What happened before the first start counts here.
    let config = "[stripe]\nmode = \"test\"\ncutover_at = \"2026-01-01T00:00:00Z\"\n[database]\nallow_unsafe = true\n";
    std::fs::write(site.folder.path().join("creditd.toml"), config).unwrap();
    let listens: Arc<Vec<SocketAddr>> = Arc::new((0..2).map(|_| free_address()).collect());
    let mut daemons: Vec<Option<Running>> = Vec::new();
    for listen in listens.iter() {
        daemons.push(Some(serve(&site, &stripe.simulator, *listen).await));
    }
    let sent = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (queue, sent, listens) = (queue.clone(), sent.clone(), listens.clone());
        let simulator = stripe.simulator.clone();
        senders.spawn(async move {
            for (place, event) in queue.iter().enumerate().skip(sender).step_by(SENDERS) {
                send(&simulator, event, &listens, place).await;
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for kill in 0..KILLS {
        while sent.load(Ordering::SeqCst) < queue.len() * (kill + 1) / (KILLS + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        daemons[kill % 2].take().expect("it runs").kill().await;
        daemons[kill % 2] = Some(serve(&site, &stripe.simulator, listens[kill % 2]).await);
    }
    senders.join_all().await;
    all_is_well(&site, listens[0], &wanted, events.len()).await;
    for daemon in daemons.into_iter().flatten() {
        assert_eq!(daemon.end(nix::sys::signal::Signal::SIGTERM).await, Some(0), "a stop in peace");
    }
}

async fn all_is_well(site: &Site, listen: SocketAddr, wanted: &[(String, i64)], events: usize) {
    let store = store_at(&site.url).await;
    let started = creditd::clock::instant();
    loop {
        let open = |state| EventFilter { state: Some(state), ..EventFilter::default() };
        let received = store.list_events(&open(EventState::Received), 1_000).await.unwrap();
        if received.is_empty() {
            break;
        }
        assert!(started.elapsed() < HEALING, "{} events are still due", received.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let client = client();
    assert!(is_up(&client, listen).await);
    for (customer, credits) in wanted {
        let path = format!("/api/v1/customers/{customer}");
        let (_, read) = call(&client, listen, "GET", &path, &json!({})).await.unwrap();
        let shown = &read["balances"][0]["available"];
        assert_eq!(shown, &json!(Credits::whole(*credits).to_string()), "{customer}: {read}");
    }
    for state in [EventState::Parked, EventState::Dead] {
        let filter = EventFilter { state: Some(state), ..EventFilter::default() };
        let stuck = store.list_events(&filter, 10).await.unwrap();
        assert!(stuck.is_empty(), "{stuck:?}");
    }
    let found = store.verify().await.unwrap();
    assert!(!found.differs(), "{:#?}", found.checks);
    assert!(events > wanted.len() * 3);
    store.close().await;
}
