//! Catch-up: what no delivery brought is found in Stripe's list of events, once, by any number of daemons.

use std::time::Duration;

use creditd::clock::Clock;
use creditd::commands::daemon::{Daemon, Parts};
use creditd::simulator::{Fault, FaultRule, Outcome};
use creditd::workers::catch_up::{CatchUpError, Counts, Round};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::app::{TestApp, parts};
use crate::support::events::event;

const COMPLETED: &str = "checkout.session.completed";
const PACK: [(&str, &str); 4] = [
    ("mode", "payment"),
    ("line_items[0][price]", "price_usd_credit"),
    ("line_items[0][quantity]", "1"),
    ("metadata[creditd_customer_id]", "ada"),
];
/// Free gives five credits to whoever is first seen; each pack is one more. Where a failing list is refused:
const LIST: &str = "/v1/events";

impl TestApp {
    /// One round of catch-up, and the inbox's work on what it found.
    pub async fn caught_up(&self) -> Counts {
        let round = self.daemon.catch_up().unwrap().round().await.unwrap();
        self.settle().await;
        match round {
            Round::Finished(counts) => counts,
            other @ (Round::Continued(_) | Round::Elsewhere) => panic!("{other:?}"),
        }
    }

    /// Packs bought whose deliveries are lost for ever.
    pub async fn lost_purchases(&self, count: usize) {
        for _ in 0..count {
            self.buy(&PACK, Outcome::Paid).await;
        }
    }

    async fn cursors(&self) -> Vec<(String, Option<Timestamp>, bool)> {
        let mut all = Vec::new();
        for family in ["checkout", "invoice", "customer"] {
            let stream = self.store.catch_up_stream(family).await.unwrap();
            all.push((family.to_owned(), stream.cursor_at, stream.pass.is_some()));
        }
        all
    }
}

#[tokio::test]
async fn an_event_lost_for_ever_is_found_and_finding_it_twice_changes_nothing() {
    let app = TestApp::start().await;
    app.lost_purchases(3).await;
    let delivered = app.deliver_newest(COMPLETED).await;
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "6");
    let first = app.caught_up().await;
    // Each purchase is told by its session and by its intent.
    assert_eq!((first.found, first.stored, first.known, first.refused), (6, 5, 1, 0));
    assert_eq!(app.available("ada", "usd_credits").await, "8");
    for id in app.simulator.event_ids(COMPLETED) {
        let (_, shown) = app.call("GET", &format!("/api/v1/stripe-events/{id}"), None).await;
        let origin = if id == delivered { "webhook" } else { "catch_up" };
        assert_eq!((shown["state"].as_str(), shown["origin"].as_str()), (Some("processed"), Some(origin)), "{shown}");
        assert_eq!(shown["body"]["id"], json!(id), "the event's own bytes are kept");
    }
    let second = app.caught_up().await;
    assert_eq!((second.found, second.stored, second.known), (6, 0, 6));
    for id in app.simulator.event_ids(COMPLETED) {
        app.deliver_event(&id).await;
    }
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "8", "a delivery that comes late changes nothing");
    assert_eq!(app.stored_events().await, 6, "types that nothing is done with are not listed");
    app.finish().await;
}

#[tokio::test]
async fn a_daemon_that_was_down_catches_up_at_its_start() {
    let app = TestApp::start().await;
    let TestApp { daemon, .. } = &app;
    assert!(daemon.catch_up().is_some());
    app.lost_purchases(2).await;
    let every = Some(Duration::from_hours(1));
    let started = Daemon::start(Parts { catch_up_every: every, ..parts(&app.store, &app.simulator) }).await.unwrap();
    let began = creditd::clock::instant();
    while app.stored_events().await < 2 {
        assert!(began.elapsed() < Duration::from_secs(20), "nothing was found at the start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "7");
    started.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn nothing_is_listed_from_before_the_cut_over() {
    let app = TestApp::start().await;
    app.lost_purchases(2).await;
    let later = Clock::system().now().checked_add(SignedDuration::from_secs(3_600)).unwrap();
    let cut = Parts { cutover_at: Some(later), ..parts(&app.store, &app.simulator) };
    let daemon = Daemon::start(cut).await.unwrap();
    let round = daemon.catch_up().unwrap().round().await.unwrap();
    assert_eq!(round, Round::Finished(Counts::default()));
    assert_eq!(app.available("ada", "usd_credits").await, "none");
    daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn what_was_paid_before_the_cut_over_never_grants_though_its_event_came_after() {
    let app = TestApp::start().await;
    let cut_over = Clock::system().now().checked_add(SignedDuration::from_secs(2)).unwrap();
    let cut_over = Timestamp::from_second(cut_over.as_second()).unwrap();
    app.lost_purchases(1).await;
    let mut listed = app.simulator.event(&app.simulator.event_ids(COMPLETED)[0]).unwrap();
    listed["created"] = json!(cut_over.as_second() + 1);
    let daemon =
        Daemon::start(Parts { cutover_at: Some(cut_over), ..parts(&app.store, &app.simulator) }).await.unwrap();
    let receiver = &daemon.catch_up().unwrap().receiver;
    // The first daemon knows no cut-over: it must not be the one that works on it.
    let id = listed["id"].as_str().unwrap().to_owned();
    let TestApp { url, store, daemon: first, simulator, clock, admin, client } = app;
    first.stop().await;
    let origin = creditd::store::events::EventOrigin::CatchUp;
    let taken = receiver.store_listed(listed.to_string().as_bytes(), origin).await.unwrap();
    assert_eq!(taken, creditd::inbox::receive::Received::Stored);
    let app = TestApp { url, store, daemon, simulator, clock, admin, client };
    app.until(&id, "ignored", "before_cutover").await;
    assert_eq!(app.available("ada", "usd_credits").await, "none");
    app.finish().await;
}

#[tokio::test]
async fn a_list_that_fails_half_way_keeps_the_cursor_and_goes_on_where_it_was() {
    let app = TestApp::start().await;
    app.lost_purchases(205).await;
    // Charges come first and have one page; the second page of checkouts fails as often as the client asks.
    let mut rule = FaultRule::new("GET", LIST, Fault::ServerError);
    rule.nth = Some(3);
    let again = |nth| FaultRule { nth: Some(nth), ..rule.clone() };
    app.simulator.set_fault_rules(vec![again(3), again(4), again(5)]).unwrap();
    let failed = app.daemon.catch_up().unwrap().round().await;
    assert!(matches!(failed, Err(CatchUpError::Stripe(_))), "{failed:?}");
    let cursors = app.cursors().await;
    assert_eq!((cursors[0].1, cursors[0].2), (None, true), "the cursor waits for the whole window: {cursors:?}");
    assert_eq!(app.stored_events().await, 100, "what was listed is stored");
    app.simulator.set_fault_rules(Vec::new()).unwrap();
    let counts = app.caught_up().await;
    assert_eq!((counts.found, counts.stored), (310, 310), "205 intents, and the first page is not asked for again");
    assert_eq!(app.available("ada", "usd_credits").await, "210");
    let cursors = app.cursors().await;
    assert!(cursors[0].1.is_some() && !cursors[0].2, "{cursors:?}");
    app.finish().await;
}

#[tokio::test]
async fn two_daemons_catch_up_at_once_and_each_event_counts_once() {
    let app = TestApp::start().await;
    let other = app.beside().await;
    app.lost_purchases(40).await;
    let rounds = futures_util::future::join_all((0..6).map(|place| {
        let worker = if place % 2 == 0 { app.daemon.catch_up() } else { other.daemon.catch_up() };
        worker.unwrap().round()
    }));
    let mut stored = 0;
    for round in rounds.await {
        match round.unwrap() {
            Round::Finished(counts) => stored += counts.stored,
            Round::Elsewhere => {}
            Round::Continued(counts) => panic!("{counts:?}"),
        }
    }
    assert_eq!(stored, 80, "a session and an intent each");
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "45");
    other.daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn a_daemon_that_slept_under_its_lease_moves_no_cursor() {
    let app = TestApp::start().await;
    let sleeper = app.store.take_lease("catch_up", 0).await.unwrap().unwrap();
    assert!(app.store.begin_catch_up("checkout", &sleeper, Timestamp::UNIX_EPOCH).await.unwrap());
    let newer = app.store.take_lease("catch_up", 60).await.unwrap().unwrap();
    let now = Clock::system().now();
    assert!(app.store.begin_catch_up("checkout", &newer, now).await.unwrap());
    assert!(!app.store.finish_catch_up("checkout", &sleeper, Some(now)).await.unwrap());
    assert!(!app.store.advance_catch_up("checkout", &sleeper, Some(now), "evt_1").await.unwrap());
    assert!(!app.store.abandon_catch_up("checkout", &sleeper).await.unwrap());
    let stream = app.store.catch_up_stream("checkout").await.unwrap();
    assert_eq!((stream.cursor_at, stream.pass.map(|pass| pass.after)), (None, Some(None)));
    app.store.release_lease(&newer).await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn a_place_that_stripe_no_longer_knows_begins_the_window_anew() {
    let app = TestApp::start().await;
    app.lost_purchases(2).await;
    let lease = app.store.take_lease("catch_up", 60).await.unwrap().unwrap();
    assert!(app.store.begin_catch_up("checkout", &lease, Timestamp::UNIX_EPOCH).await.unwrap());
    assert!(app.store.advance_catch_up("checkout", &lease, None, "evt_gone").await.unwrap());
    app.store.release_lease(&lease).await.unwrap();
    let lost = app.daemon.catch_up().unwrap().round().await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(app.caught_up().await.stored, 2);
    app.finish().await;
}

#[tokio::test]
async fn the_metrics_tell_how_far_catch_up_is() {
    let app = TestApp::start().await;
    app.lost_purchases(1).await;
    app.send(&event("evt_other", "customer.created", &json!({ "id": "cus_1", "object": "customer" }))).await;
    app.caught_up().await;
    let text = app.client.get(app.address("/metrics")).send().await.unwrap().text().await.unwrap();
    let lag = text.lines().find(|line| line.starts_with("creditd_catch_up_lag_seconds ")).unwrap();
    let seconds: i64 = lag.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!((0..60).contains(&seconds), "{lag}");
    // Counters are the process's, which other tests share.
    for series in
        ["creditd_catch_up_events_total{outcome=\"new\"}", "creditd_catch_up_rounds_total{outcome=\"finished\"}"]
    {
        let line = text.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series}"));
        assert_ne!(line.rsplit_once(' ').unwrap().1, "0");
    }
    app.finish().await;
}

#[tokio::test]
async fn without_a_key_there_is_no_catch_up_and_the_daemon_serves() {
    let app = TestApp::start().await;
    let every = Some(Duration::from_mins(1));
    let keyless = Parts { stripe: None, catch_up_every: every, ..parts(&app.store, &app.simulator) };
    let daemon = Daemon::start(keyless).await.unwrap();
    assert!(daemon.catch_up().is_none());
    daemon.stop().await;
    app.finish().await;
}
