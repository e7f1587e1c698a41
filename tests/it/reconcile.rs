//! Reconcile: Stripe's objects against the books, by a Stripe whose events are gone, and by the command.

use std::sync::Arc;

use creditd::clock::Clock;
use creditd::simulator::Outcome;
use creditd::store::event_listings::EventFilter;
use creditd::stripe::client::{Answer, Fetch, Fetched, Sent, StripeClient};
use creditd::stripe::frozen::{Frozen, IdempotencyKey};
use creditd::stripe::transport::API_VERSION;
use creditd::workers::inbox::InboxWorker;
use creditd::workers::reconcile::{Reconciler, Tally};
use jiff::SignedDuration;

use crate::support::app::{PACKS, STRIPE_KEY, TestApp};
use crate::support::binary::{Ended, Site};

const ADA: (&str, &str) = ("metadata[creditd_customer_id]", "ada");
const COMPLETED: &str = "checkout.session.completed";

/// A Stripe that has forgotten its events, as the real one has after thirty days.
struct Forgetful(Arc<dyn StripeClient>);

impl StripeClient for Forgetful {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        match what {
            Fetch::Events { .. } => Box::pin(async {
                let body = r#"{"object":"list","data":[],"has_more":false}"#;
                Ok(Fetched { status: 200, request_id: None, body: body.into() })
            }),
            _ => self.0.fetch(what),
        }
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        self.0.send(write, key)
    }
}

impl TestApp {
    fn reconciler(&self, repair: bool) -> Reconciler {
        let catch_up = self.daemon.catch_up().unwrap();
        Reconciler {
            inbox: self.daemon.inbox().clone(),
            receiver: catch_up.receiver.clone(),
            stripe: Arc::new(Forgetful(catch_up.stripe.clone())),
            clock: Clock::system(),
            api_version: API_VERSION.to_owned(),
            livemode: false,
            since: Clock::system().now().checked_sub(SignedDuration::from_hours(24)).unwrap(),
            repair,
            progress: Arc::new(|_, _| {}),
        }
    }

    /// Compares, and gives the rows by their names.
    pub(crate) async fn compared(&self, repair: bool) -> impl Fn(&str) -> Tally + use<> {
        let rows = self.reconciler(repair).run().await.unwrap();
        move |name: &str| rows.iter().find(|(what, _)| *what == name).unwrap().1
    }

    async fn bought_unheard(&self, more: &[(&'static str, &'static str)], outcome: Outcome) -> String {
        let mut fields = PACKS.to_vec();
        fields.extend_from_slice(more);
        self.buy(&fields, outcome).await
    }

    async fn subscribed_unheard(&self) -> String {
        let fields = [
            ("mode", "subscription"),
            ("line_items[0][price]", "price_pro"),
            ("line_items[0][quantity]", "1"),
            ADA,
            ("subscription_data[metadata][creditd_customer_id]", "ada"),
        ];
        self.buy(&fields, Outcome::Paid).await
    }

    async fn all_entries(&self, customer: &str) -> usize {
        let (_, page) = self.call("GET", &format!("/api/v1/customers/{customer}/entries?limit=500"), None).await;
        page["data"].as_array().map_or(0, Vec::len)
    }
}

fn counts(tally: Tally) -> [u64; 6] {
    [tally.found, tally.known, tally.missing, tally.before_cutover, tally.not_ours, tally.parked]
}

#[tokio::test]
async fn payments_no_event_told_of_are_found_among_stripes_objects_and_brought_in_once() {
    let app = TestApp::start().await;
    let session = app.bought_unheard(&[ADA], Outcome::Paid).await;
    app.bought_unheard(&[ADA], Outcome::Async).await;
    let rows = app.compared(false).await;
    assert_eq!(counts(rows("checkout sessions")), [2, 0, 1, 0, 1, 0], "one is paid, one is not yet");
    assert_eq!(app.stored_events().await, 0, "without repair nothing is written");
    assert_eq!(app.available("ada", "usd_credits").await, "none");
    let rows = app.compared(true).await;
    assert_eq!((rows("checkout sessions").missing, rows("checkout sessions").repaired), (1, 1));
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    let made = format!("reconcile:{COMPLETED}:{session}");
    let (_, shown) = app.call("GET", &format!("/api/v1/stripe-events/{made}"), None).await;
    assert_eq!((shown["origin"].as_str(), shown["state"].as_str()), (Some("reconcile"), Some("processed")), "{shown}");
    assert_eq!(shown["api_version"].as_str(), Some(API_VERSION));
    let entries = app.all_entries("ada").await;
    for repair in [true, false] {
        let rows = app.compared(repair).await;
        assert_eq!(counts(rows("checkout sessions")), [2, 1, 0, 0, 1, 0]);
        assert_eq!(counts(rows("payment intents"))[2], 0);
    }
    app.deliver_newest(COMPLETED).await;
    for event in app.simulator.event_ids(COMPLETED) {
        app.deliver_event(&event).await;
    }
    app.settle().await;
    assert_eq!(app.all_entries("ada").await, entries, "the delivery that comes at last books nothing again");
    app.finish().await;
}

#[tokio::test]
async fn a_subscription_no_event_told_of_is_found_with_its_paid_period() {
    let app = TestApp::start().await;
    app.subscribed_unheard().await;
    let rows = app.compared(false).await;
    assert_eq!(counts(rows("invoices")), [1, 0, 1, 0, 0, 0]);
    assert_eq!(counts(rows("subscriptions")), [1, 0, 1, 0, 0, 0]);
    assert_eq!(counts(rows("checkout sessions")), [1, 0, 1, 0, 0, 0], "it tells whose the Stripe customer is");
    let _ = app.compared(true).await;
    app.settle().await;
    let (_, ada) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert!(ada["plans"].to_string().contains("\"pro\""), "{ada}");
    let entries = app.all_entries("ada").await;
    let rows = app.compared(true).await;
    for name in ["checkout sessions", "invoices", "subscriptions"] {
        assert_eq!(counts(rows(name)), [1, 1, 0, 0, 0, 0], "{name}");
    }
    assert_eq!(app.all_entries("ada").await, entries);
    app.finish().await;
}

#[tokio::test]
async fn a_cancellation_no_event_told_of_ends_the_plan() {
    let app = TestApp::start().await;
    app.subscribed_unheard().await;
    for event in app.simulator.all_event_ids() {
        app.deliver_event(&event).await;
    }
    app.settle().await;
    let created = &app.simulator.event_ids("customer.subscription.created")[0];
    let id = app.simulator.event(created).unwrap()["data"]["object"]["id"].as_str().unwrap().to_owned();
    assert_eq!(counts(app.compared(false).await("subscriptions")), [1, 1, 0, 0, 0, 0]);
    let url = format!("{}/v1/subscriptions/{id}", app.simulator.base_url());
    let cancelled = app.client.delete(url).basic_auth(STRIPE_KEY, Some("")).send().await.unwrap();
    assert_eq!(cancelled.status(), 200);
    assert_eq!(counts(app.compared(false).await("subscriptions")), [1, 0, 1, 0, 0, 0]);
    let _ = app.compared(true).await;
    app.settle().await;
    let plans = app.store.booked_plans(&id).await.unwrap();
    assert!(!plans.is_empty() && plans.iter().all(|plan| plan.state == "ended"), "{plans:?}");
    assert_eq!(counts(app.compared(true).await("subscriptions")), [1, 1, 0, 0, 0, 0]);
    app.finish().await;
}

#[tokio::test]
async fn nothing_from_before_the_cut_over_is_granted() {
    let app = TestApp::start().await;
    app.bought_unheard(&[ADA], Outcome::Paid).await;
    app.subscribed_unheard().await;
    let later = Clock::system().now().checked_add(SignedDuration::from_hours(1)).unwrap();
    let mut reconciler = app.reconciler(true);
    reconciler.inbox = InboxWorker { cutover_at: Some(later), ..reconciler.inbox };
    let rows = reconciler.run().await.unwrap();
    let row = |name: &str| counts(rows.iter().find(|(what, _)| *what == name).unwrap().1);
    assert_eq!(row("checkout sessions")[2..4], [1, 1], "a link is no grant, a payment would be");
    assert_eq!(row("invoices"), [1, 0, 0, 1, 0, 0]);
    assert_eq!(row("subscriptions"), [1, 0, 0, 1, 0, 0]);
    app.settle().await;
    assert!(app.bought("ada").await.is_empty());
    let (_, ada) = app.call("GET", "/api/v1/customers/ada", None).await;
    assert!(!ada["plans"].to_string().contains("\"pro\""), "{ada}");
    app.finish().await;
}

#[tokio::test]
async fn what_waits_for_a_person_is_parked_and_not_missing() {
    let app = TestApp::start().await;
    let customer = app.stripe_customer().await;
    let owner: &'static str = customer.leak();
    app.bought_unheard(&[("customer", owner)], Outcome::Paid).await;
    assert_eq!(counts(app.compared(false).await("checkout sessions")), [1, 0, 1, 0, 0, 0]);
    let _ = app.compared(true).await;
    app.settle().await;
    assert_eq!(counts(app.compared(false).await("checkout sessions")), [1, 0, 0, 0, 0, 1]);
    app.call("PUT", "/api/v1/customers/ada", Some(serde_json::json!({ "stripe_customer": owner }))).await;
    app.settle().await;
    assert_eq!(counts(app.compared(false).await("checkout sessions")), [1, 1, 0, 0, 0, 0]);
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[tokio::test]
async fn what_was_ignored_before_the_catalogue_sold_it_is_missing_afterwards() {
    let app = TestApp::with_catalog("[features.usd_credits]\ntype = \"metered\"\n").await;
    app.bought_unheard(&[ADA], Outcome::Paid).await;
    let event = app.deliver_newest(COMPLETED).await;
    app.until(&event, "ignored", "unknown_price").await;
    assert_eq!(counts(app.compared(true).await("checkout sessions")), [1, 0, 0, 0, 1, 0]);
    app.apply(crate::support::app::CATALOG).await;
    assert_eq!(counts(app.compared(false).await("checkout sessions")), [1, 0, 1, 0, 0, 0]);
    let _ = app.compared(true).await;
    app.settle().await;
    assert_eq!(counts(app.compared(true).await("checkout sessions")), [1, 1, 0, 0, 0, 0]);
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[tokio::test]
async fn two_comparisons_at_once_beside_a_daemon_book_once() {
    let app = TestApp::start().await;
    for _ in 0..10 {
        app.bought_unheard(&[ADA], Outcome::Paid).await;
    }
    let (first, second) = (app.reconciler(true), app.reconciler(true));
    let (first, second) = tokio::join!(first.run(), second.run());
    first.unwrap();
    second.unwrap();
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "205");
    let made = app.store.list_events(&EventFilter::default(), 100).await.unwrap();
    assert_eq!(made.len(), 10);
    app.finish().await;
}

#[tokio::test]
async fn the_command_says_what_is_missing_and_its_exit_code_tells() {
    let app = TestApp::start().await;
    app.bought_unheard(&[ADA], Outcome::Paid).await;
    let site = Site::on(app.url.clone());
    let run = async |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env("STRIPE_SECRET_KEY", STRIPE_KEY).env("STRIPE_API_BASE", app.simulator.base_url());
        Ended::of(command).await
    };
    let missing = run(&["reconcile"]).await;
    assert_eq!(missing.code, Some(1), "{missing:#?}");
    assert!(missing.out.contains("3 are missing; `creditd reconcile --repair`"), "{}", missing.out);
    let row = |out: &str, name: &str| {
        let line = out.lines().find(|line| line.trim().starts_with(name)).unwrap_or_else(|| panic!("{name}: {out}"));
        let counts = line.trim().strip_prefix(name).unwrap().split_whitespace();
        counts.map(|count| count.parse().unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(row(&missing.out, "events"), [2, 0, 2, 0, 0, 0, 0], "of the session and of its intent");
    let repaired = run(&["reconcile", "--repair"]).await.ok();
    assert_eq!(row(&repaired, "events"), [2, 0, 2, 0, 0, 0, 2]);
    assert_eq!(row(&repaired, "checkout sessions"), [1, 1, 0, 0, 0, 0, 0], "the event brought it");
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    let again = run(&["reconcile", "--since", "2026-01-01T00:00:00Z"]).await.ok();
    assert!(again.contains("nothing is missing"), "{again}");
    assert!(run(&["reconcile", "--since", "now"]).await.usage().contains("--since"));
    let keyless = Ended::of(site.command(&["reconcile"])).await.usage();
    assert!(keyless.contains("STRIPE_SECRET_KEY"), "{keyless}");
    app.finish().await;
}

/// What was brought in and parks is not booked: somebody who only reads the last lines has to learn of it.
#[tokio::test]
async fn the_command_says_that_something_is_parked_and_colours_no_file() {
    let app = TestApp::start().await;
    app.bought_unheard(&[], Outcome::Paid).await;
    let site = Site::on(app.url.clone());
    for arguments in [["reconcile", "--repair"].as_slice(), &["reconcile"]] {
        let mut command = site.command(arguments);
        command.env("STRIPE_SECRET_KEY", STRIPE_KEY).env("STRIPE_API_BASE", app.simulator.base_url());
        let ended = Ended::of(command).await;
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        assert!(ended.out.contains("what is parked is not booked"), "{}", ended.out);
        assert!(ended.err.contains("comparing with Stripe") && !ended.err.contains('\u{1b}'), "{}", ended.err);
    }
    app.finish().await;
}
