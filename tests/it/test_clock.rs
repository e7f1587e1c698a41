//! The test clock over HTTP: what it refuses, that it only goes forward, and that Stripe and the daemon go along.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use creditd::clock::Clock;
use creditd::commands::daemon::Daemon;
use creditd::commands::keys;
use creditd::commands::test_clock::Simulated;
use creditd::domain::api_key::Scope;
use creditd::simulator::{Options, Outcome, SeedPrice, Simulator};
use creditd::store::Store;
use creditd::store::instance::TEST_OFFSET_SECONDS_MAX;
use creditd::stripe::transport::{API_VERSION, Transport, TransportSettings};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::http_api::Api;
use crate::support::app::{CATALOG, STRIPE_KEY, TestApp, WEBHOOK_SECRET, ask_stripe, parts};
use crate::support::database::fresh_store;

const PATH: &str = "/api/v1/test-clock/advance";
const DAY: i64 = 86_400;

#[tokio::test]
async fn bad_input_is_refused_by_its_field_and_moves_nothing() {
    let api = Api::start().await;
    let past = (now_of(&api).await - SignedDuration::from_hours(1)).to_string();
    let far = (now_of(&api).await + SignedDuration::from_hours(24 * 366 * 11)).to_string();
    for (body, field) in [
        (json!({}), "seconds"),
        (json!({ "seconds": 0 }), "seconds"),
        (json!({ "seconds": -5 }), "seconds"),
        (json!({ "seconds": 1.5 }), "seconds"),
        (json!({ "seconds": 11 * 366 * DAY }), "seconds"),
        (json!({ "seconds": 5, "to": far }), "to"),
        (json!({ "to": past }), "to"),
        (json!({ "to": far }), "to"),
        (json!({ "to": "tomorrow" }), "to"),
        (json!({ "seconds": 5, "unit": "h" }), "unit"),
    ] {
        let answer = api.post("/test-clock/advance", &body).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (400, Some(field)), "{body}");
    }
    assert_eq!(api.store.instance().await.unwrap().unwrap().test_offset_seconds, 0);
}

/// The ledger's time.
async fn now_of(api: &Api) -> Timestamp {
    api.store.instance().await.unwrap().unwrap().now
}

#[tokio::test]
async fn a_live_database_has_no_test_clock() {
    let store = fresh_store().await;
    store.ensure_instance(true, None).await.unwrap();
    let api = Api::on(store).await;
    for body in [json!({ "seconds": 5 }), json!({ "to": "2099-01-01T00:00:00Z" })] {
        let answer = api.post("/test-clock/advance", &body).await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (400, Some("not_supported")));
    }
    assert!(api.store.advance_test_clock_by(1).await.unwrap().is_none());
    assert!(api.store.advance_test_clock_to(Timestamp::MAX).await.unwrap().is_none());
}

#[tokio::test]
async fn the_offset_grows_by_what_was_asked_for() {
    let api = Api::start().await;
    let first = api.post("/test-clock/advance", &json!({ "seconds": 3600 })).await;
    assert_eq!((first.status.as_u16(), &first.body["offset_seconds"]), (200, &json!(3600)));
    let to = now_of(&api).await + SignedDuration::from_hours(24);
    let second = api.post("/test-clock/advance", &json!({ "to": to.to_string() })).await;
    let now: Timestamp = second.body["now"].as_str().unwrap().parse().unwrap();
    assert!(now >= to && now < to + SignedDuration::from_secs(30), "{now} {to}");
    let offset = second.body["offset_seconds"].as_i64().unwrap();
    assert!((3_600 + DAY - 30..=3_600 + DAY + 1).contains(&offset), "{offset}");
    let later = api.store.advance_test_clock_to(to - SignedDuration::from_hours(10)).await.unwrap().unwrap();
    assert_eq!(later.test_offset_seconds, offset, "a time that has passed moves nothing");
    assert!(api.store.advance_test_clock_by(-1).await.unwrap().is_none());
    assert!(api.store.advance_test_clock_by(TEST_OFFSET_SECONDS_MAX).await.unwrap().is_none(), "a century is enough");
}

#[tokio::test]
async fn callers_who_race_are_all_counted() {
    let app = TestApp::start().await;
    let beside = app.beside().await;
    let calls = (0..20).map(|turn| {
        let app = if turn % 2 == 0 { &app } else { &beside };
        app.call("POST", PATH, Some(json!({ "seconds": 100 })))
    });
    let answers = futures_util::future::join_all(calls).await;
    let mut offsets: Vec<i64> = answers.iter().map(|(_, body)| body["offset_seconds"].as_i64().unwrap()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (1..=20).map(|turn| turn * 100).collect::<Vec<_>>());
    beside.daemon.stop().await;
    app.daemon.stop().await;
}

/// A daemon and a simulated Stripe that share a clock, as `creditd dev` runs them.
pub(crate) struct Both {
    pub store: Store,
    pub simulator: Arc<Simulator>,
    pub daemon: Daemon,
    pub key: String,
    pub client: reqwest::Client,
}

impl Both {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_as(CATALOG, API_VERSION, change).await
    }

    /// With another catalogue, and asking Stripe for another version's shapes.
    pub async fn start_as(catalog: &str, asked: &str, change: impl FnOnce(&mut Options)) -> Self {
        let store = fresh_store().await;
        let instance = store.ensure_instance(false, None).await.unwrap();
        let catalog = creditd::domain::catalog::file::read(catalog).unwrap();
        let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
        let clock = Clock::shifted(SignedDuration::from_secs(instance.test_offset_seconds));
        let mut options = Options::new(clock.clone());
        options.api_key = Some(STRIPE_KEY.to_owned());
        options.webhook_secrets = vec![WEBHOOK_SECRET.to_owned()];
        change(&mut options);
        let simulator = Arc::new(Simulator::start(options).await.unwrap());
        for (id, unit_amount, is_monthly) in
            [("price_pro", 1_000, true), ("price_max", 2_500, true), ("price_usd_credit", 100, false)]
        {
            let (id, currency) = (id.to_owned(), "usd".to_owned());
            let recurring = is_monthly.then(|| ("month".to_owned(), 1));
            let price = SeedPrice { product: id.clone(), id, currency, unit_amount, recurring, lookup_key: None };
            simulator.seed_price(&price).unwrap();
        }
        let mut parts = parts(&store, &simulator);
        let mut settings = TransportSettings::new(SecretString::from(STRIPE_KEY.to_owned()));
        simulator.base_url().clone_into(&mut settings.base_url);
        asked.clone_into(&mut settings.api_version);
        parts.stripe = Some(Arc::new(Transport::new(&settings).unwrap()));
        parts.clock = clock.clone();
        parts.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let simulated = Simulated { simulator: simulator.clone(), clock };
        let daemon = Daemon::start_with(parts, Some(simulated)).await.unwrap();
        let hook = format!("http://{}/webhooks/stripe", daemon.address());
        simulator.set_webhook(Some(hook), vec![WEBHOOK_SECRET.to_owned()]).unwrap();
        let made = keys::create_random(&store, false, Scope::Admin, "test", None).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { store, simulator, daemon, key: made.0.expose().to_owned(), client }
    }

    /// Asks its Stripe.
    pub async fn stripe(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        ask_stripe(&self.client, &self.simulator, method, path, form).await
    }

    pub async fn advance(&self, body: Value) -> Value {
        let url = format!("http://{}{PATH}", self.daemon.address());
        let sent = self.client.post(url).bearer_auth(&self.key).json(&body).send().await.unwrap();
        assert_eq!(sent.status().as_u16(), 200);
        sent.json().await.unwrap()
    }

    pub async fn subscribe(&self) {
        let url = format!("{}/v1/checkout/sessions", self.simulator.base_url());
        let form = [
            ("mode", "subscription"),
            ("success_url", "https://example.com/"),
            ("line_items[0][price]", "price_pro"),
            ("line_items[0][quantity]", "1"),
            ("client_reference_id", "ada"),
            ("subscription_data[metadata][customer_id]", "ada"),
        ];
        let made = self.client.post(url).bearer_auth(STRIPE_KEY).form(&form).send().await.unwrap();
        let session: Value = made.json().await.unwrap();
        self.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
        self.simulator.wait_until_delivered(Duration::from_secs(20)).await.unwrap();
    }
}

#[tokio::test]
async fn stripe_and_the_daemon_go_along_and_each_event_is_delivered_at_its_time() {
    let both = Both::start().await;
    both.subscribe().await;
    let start = both.simulator.now();
    let before = both.simulator.log().deliveries().len();
    let moved = both.advance(json!({ "seconds": 100 * DAY })).await;
    let offset = moved["offset_seconds"].as_i64().unwrap();
    assert_eq!(offset, 100 * DAY);
    let (now, theirs): (Timestamp, _) = (moved["now"].as_str().unwrap().parse().unwrap(), both.simulator.now());
    assert!((now.duration_since(theirs)).abs() < SignedDuration::from_secs(30), "{now} {theirs}");
    assert!(now.duration_since(start) >= SignedDuration::from_secs(100 * DAY));
    let paid = both.simulator.event_ids("invoice.paid");
    assert_eq!(paid.len(), 4, "three renewals in a hundred days");
    let deliveries = both.simulator.log().deliveries();
    assert!(deliveries.len() > before);
    for delivery in &deliveries {
        assert_eq!((delivery.status, delivery.attempt), (Some(200), 1), "{delivery:?}");
        let made = both.simulator.event(&delivery.event).unwrap()["created"].as_i64().unwrap();
        assert!(
            (0..60).contains(&(delivery.at - made)),
            "{} delivered {} s late",
            delivery.event_type,
            delivery.at - made
        );
    }
    let instance = both.store.instance().await.unwrap().unwrap();
    assert_eq!(instance.test_offset_seconds, offset);
    assert_eq!(both.store.count_due_events().await.unwrap(), 0, "and worked through on the way");
    let to = (instance.now + SignedDuration::from_hours(24 * 40)).to_string();
    both.advance(json!({ "to": to })).await;
    assert_eq!(both.simulator.event_ids("invoice.paid").len(), 5);
    both.daemon.stop().await;
    both.simulator.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_fails_is_waited_for_within_a_bound() {
    let both = Both::start().await;
    both.subscribe().await;
    // Nothing listens there: every delivery fails, and the clock goes on all the same.
    both.simulator.set_webhook(Some("http://127.0.0.1:9/".to_owned()), vec![WEBHOOK_SECRET.to_owned()]).unwrap();
    let moved = both.advance(json!({ "seconds": 35 * DAY })).await;
    assert_eq!(moved["offset_seconds"], json!(35 * DAY));
    assert_eq!(both.simulator.event_ids("invoice.paid").len(), 2);
    both.daemon.stop().await;
    both.simulator.stop().await;
}
