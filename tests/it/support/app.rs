//! A whole daemon on a database of its own, with a simulated Stripe that delivers only when told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use creditd::clock::Clock;
use creditd::commands::daemon::{Daemon, Parts};
use creditd::commands::keys;
use creditd::domain::api_key::{KeyText, Scope};
use creditd::domain::ids::KeyId;
use creditd::domain::top_up::settings::ChargerSettings;
use creditd::http::Surface;
use creditd::simulator::{Options, SeedPrice, Simulator};
use creditd::store::Store;
use creditd::stripe::signature::{Secret, Tolerance};
use creditd::stripe::transport::{Transport, TransportSettings};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::database::{fresh_url, store_at};

/// Secret of the daemons' webhook endpoint.
pub const WEBHOOK_SECRET: &str = "whsec_test_0123456789abcdef";
/// Key of the simulated Stripe.
pub const STRIPE_KEY: &str = "sk_test_it";
/// The sample catalogue.
pub const CATALOG: &str = include_str!("../../../deploy/catalog.toml");
/// What a Checkout session says that sells 20 of the sample catalogue's credits.
pub const PACKS: [(&str, &str); 3] =
    [("mode", "payment"), ("line_items[0][price]", "price_usd_credit"), ("line_items[0][quantity]", "20")];
/// The same, bought by the customer `ada`.
pub const PACKS_OF_ADA: [(&str, &str); 4] = [PACKS[0], PACKS[1], PACKS[2], ("metadata[creditd_customer_id]", "ada")];
/// The same, the customer named by the plain key.
pub const PACKS_BY_PLAIN_KEY: [(&str, &str); 4] = [PACKS[0], PACKS[1], PACKS[2], ("metadata[customer_id]", "ada")];
/// What a Checkout session says that sells the plan `pro` to the customer `ada`.
pub const PRO_OF_ADA: [(&str, &str); 4] = [
    ("mode", "subscription"),
    ("line_items[0][price]", "price_pro"),
    ("line_items[0][quantity]", "1"),
    ("subscription_data[metadata][creditd_customer_id]", "ada"),
];
/// Longest wait for the inbox to be empty.
const PATIENCE: Duration = Duration::from_secs(90);

/// A daemon with everything around it.
pub struct TestApp {
    pub url: String,
    pub store: Store,
    pub daemon: Daemon,
    pub simulator: Arc<Simulator>,
    /// The simulated Stripe's, which a test may move.
    pub clock: Clock,
    pub admin: String,
    pub client: reqwest::Client,
}

/// What a daemon of a test runs on.
pub fn parts(store: &Store, simulator: &Simulator) -> Parts {
    let mut settings = TransportSettings::new(SecretString::from(STRIPE_KEY.to_owned()));
    simulator.base_url().clone_into(&mut settings.base_url);
    Parts {
        store: store.clone(),
        clock: Clock::system(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        webhook_secrets: vec![Secret::new(WEBHOOK_SECRET).unwrap()],
        tolerance: Tolerance::default(),
        livemode: false,
        stripe: Some(Arc::new(Transport::new(&settings).unwrap())),
        cutover_at: None,
        grant_free_checkouts: true,
        park_unknown_prices: false,
        money_back: creditd::inbox::reversal::MoneyBackPolicy::default(),
        catch_up_every: None,
        charger: charger(),
        surface: Surface::default(),
    }
}

/// How a test's daemon charges: links lead back to a page.
fn charger() -> ChargerSettings {
    ChargerSettings { return_url: Some("https://example.com/paid".to_owned()), ..ChargerSettings::default() }
}

/// A simulated Stripe that knows the sample catalogue's prices and sends nothing by itself.
pub async fn simulator() -> Simulator {
    simulator_at(Clock::system()).await
}

/// The same, at another time.
pub async fn simulator_at(clock: Clock) -> Simulator {
    let mut options = Options::new(clock);
    options.api_key = Some(STRIPE_KEY.to_owned());
    options.webhook_secrets = vec![WEBHOOK_SECRET.to_owned()];
    options.auto_deliver = false;
    let simulator = Simulator::start(options).await.unwrap();
    let price = |id: &str, unit_amount, recurring| SeedPrice {
        id: id.to_owned(),
        product: id.to_owned(),
        currency: "usd".to_owned(),
        unit_amount,
        recurring,
        lookup_key: None,
    };
    simulator.seed_price(&price("price_usd_credit", 100, None)).unwrap();
    simulator.seed_price(&price("price_pro", 1_000, Some(("month".to_owned(), 1)))).unwrap();
    simulator
}

/// Asks a simulated Stripe, or orders something of it by a form; it has to say yes.
pub async fn ask_stripe(
    client: &reqwest::Client,
    simulator: &Simulator,
    method: &str,
    path: &str,
    form: &[(&str, &str)],
) -> Value {
    let url = format!("{}{path}", simulator.base_url());
    let request = client.request(method.parse().unwrap(), url).bearer_auth(STRIPE_KEY);
    let answer = if form.is_empty() { request } else { request.form(form) }.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

impl TestApp {
    /// Asks its Stripe.
    pub async fn stripe(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        ask_stripe(&self.client, &self.simulator, method, path, form).await
    }

    /// A fresh one with the sample catalogue.
    pub async fn start() -> Self {
        Self::with_catalog(CATALOG).await
    }

    /// A fresh one with another catalogue.
    pub async fn with_catalog(text: &str) -> Self {
        let url = fresh_url().await;
        let store = store_at(&url).await;
        store.ensure_instance(false, None).await.unwrap();
        let catalog = creditd::domain::catalog::file::read(text).unwrap();
        let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
        let clock = Clock::shifted(jiff::SignedDuration::ZERO);
        Self::on(url, store, Arc::new(simulator_at(clock.clone()).await), clock).await
    }

    /// A fresh one without a key of Stripe's: what is decided is not charged, and stands.
    pub async fn without_stripe(text: &str) -> Self {
        let app = Self::with_catalog(text).await;
        let Self { url, store, daemon, simulator, clock, admin, client } = app;
        daemon.stop().await;
        let daemon = Daemon::start(Parts { stripe: None, ..parts(&store, &simulator) }).await.unwrap();
        Self { url, store, daemon, simulator, clock, admin, client }
    }

    /// Another daemon on the same database and Stripe.
    pub async fn beside(&self) -> Self {
        Self::on(self.url.clone(), store_at(&self.url).await, self.simulator.clone(), self.clock.clone()).await
    }

    async fn on(url: String, store: Store, simulator: Arc<Simulator>, clock: Clock) -> Self {
        let daemon = Daemon::start(parts(&store, &simulator)).await.unwrap();
        let key = |scope| keys::create_random(&store, false, scope, "test", None);
        let text = |made: (KeyText, KeyId)| made.0.expose().to_owned();
        let admin = text(key(Scope::Admin).await.unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, store, daemon, simulator, clock, admin, client }
    }

    pub fn address(&self, path: &str) -> String {
        format!("http://{}{path}", self.daemon.address())
    }

    /// One request with the admin key; status and body.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_as(&self.admin, method, path, body).await
    }

    pub async fn call_as(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method.parse().unwrap(), self.address(path)).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null))
    }

    pub async fn customer(&self, id: &str) -> Value {
        self.call("PUT", &format!("/api/v1/customers/{id}"), Some(json!({}))).await.1
    }

    /// Spendable credits of a pool.
    pub async fn available(&self, customer: &str, pool: &str) -> String {
        let (_, state) = self.call("GET", &format!("/api/v1/customers/{customer}"), None).await;
        let balances = state["balances"].as_array().cloned().unwrap_or_default();
        let found = balances.iter().find(|balance| balance["feature"] == pool);
        found.and_then(|balance| balance["available"].as_str()).unwrap_or("none").to_owned()
    }

    pub async fn grant(&self, customer: &str, feature: &str, quantity: &str) -> Value {
        let key = format!("seed-{customer}-{feature}-{quantity}");
        let body = json!({ "key": key, "customer": customer, "feature": feature, "quantity": quantity,
            "category": "promotional", "reason": "a test" });
        let (status, grant) = self.call("POST", "/api/v1/grants", Some(body)).await;
        assert_eq!(status, 201, "{grant}");
        grant
    }

    pub async fn track(&self, key: &str, customer: &str, feature: &str, quantity: &str) -> (u16, Value) {
        let body = json!({ "key": key, "customer": customer, "feature": feature, "quantity": quantity });
        self.call("POST", "/api/v1/track", Some(body)).await
    }

    /// A Checkout session of the simulated Stripe, with further form fields.
    pub async fn checkout(&self, fields: &[(&str, &str)]) -> Value {
        let url = format!("{}/v1/checkout/sessions", self.simulator.base_url());
        let mut form = vec![("success_url", "https://example.com/")];
        form.extend_from_slice(fields);
        let answer = self.client.post(url).basic_auth(STRIPE_KEY, Some("")).form(&form).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Posts bytes to the webhook with a signature header, or none.
    pub async fn deliver(&self, body: &[u8], signature: Option<&str>) -> (u16, Value) {
        let mut request = self.client.post(self.address("/webhooks/stripe")).body(body.to_vec());
        if let Some(signature) = signature {
            request = request.header("Stripe-Signature", signature);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    }

    /// Sends the newest event of a type as the simulator signs it.
    pub async fn deliver_newest(&self, event_type: &str) -> String {
        let event = self.simulator.event_ids(event_type).pop().expect("an event of that type");
        let (body, signature) = self.simulator.signed_delivery(&event).unwrap();
        let (status, answer) = self.deliver(&body, Some(&signature)).await;
        assert_eq!(status, 200, "{answer}");
        event
    }

    /// Waits until no stored event is due.
    pub async fn settle(&self) {
        let started = creditd::clock::instant();
        while self.store.count_due_events().await.unwrap() > 0 {
            assert!(started.elapsed() < PATIENCE, "events are still due");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How an event stands: state and reason.
    pub async fn event_state(&self, id: &str) -> (String, String) {
        let (_, event) = self.call("GET", &format!("/api/v1/stripe-events/{id}"), None).await;
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }

    /// Keeps the charger from working: the test says itself what Stripe told.
    pub async fn hold_charger(&self) {
        let opened = self.store.fail_circuit("stripe", "held by a test", |_| Some(1_000_000)).await.unwrap();
        assert!(opened.is_some());
    }

    /// Every test ends here: the laws hold and nothing is left due.
    pub async fn finish(self) {
        self.settle().await;
        let found = self.store.verify().await.unwrap();
        assert!(!found.differs(), "{:?}", found.checks);
        self.daemon.stop().await;
    }
}
