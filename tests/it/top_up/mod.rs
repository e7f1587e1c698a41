//! Top-ups: rules, charges and what becomes of them, judged by the log of the simulated Stripe.

mod charges;
mod crash_matrix;
mod ground;
mod invoices;
mod killed;
mod laws;
mod links;
mod lost_replies;
mod races;
mod thirty_days;
mod unreadable;

use std::time::Duration;

use creditd::domain::command::{Charging, Command, Decision, SetRule};
use creditd::domain::ids::AccountId;
use creditd::domain::top_up::settings::ChargerSettings;
use creditd::domain::top_up::{Buy, Ceiling, ChargeMode, Consent, RuleOrigin, TopUp};
use creditd::posting::Reading;
use serde_json::json;

use crate::support::app::TestApp;

/// Longest wait for the charger to be through with something.
const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon with one customer who has a customer at Stripe.
pub struct Shop {
    pub app: TestApp,
    pub account: AccountId,
    pub payer: String,
}

/// A rule on the sample catalogue: at 5 or below it buys 20 credits for 20 dollars.
pub fn rule(card: Option<&str>) -> SetRule {
    SetRule {
        name: "main".to_owned(),
        enabled: true,
        feature: "usd_credits".parse_feature(),
        wallet: None,
        threshold: "5".parse().unwrap(),
        buy: Buy::Quantity("20".parse().unwrap()),
        currency: None,
        usual_currency: None,
        payment_method: card.map(str::to_owned),
        mode: ChargeMode::PaymentIntent,
        per_day: Ceiling::default(),
        per_month: Ceiling::default(),
        usual_month: ChargerSettings::default().usual_month,
        cooldown_seconds: 0,
        consent: Some(Consent { by: "ana".to_owned(), at: jiff::Timestamp::UNIX_EPOCH, text_version: "1".to_owned() }),
    }
}

/// Reads a feature's name.
pub trait ParseFeature {
    fn parse_feature(&self) -> creditd::domain::catalog::FeatureId;
}

impl ParseFeature for str {
    fn parse_feature(&self) -> creditd::domain::catalog::FeatureId {
        creditd::domain::catalog::FeatureId::new(self).unwrap()
    }
}

impl Shop {
    pub async fn open() -> Self {
        Self::on(TestApp::start().await).await
    }

    pub async fn on(app: TestApp) -> Self {
        let payer = app.stripe("POST", "/v1/customers", &[("email", "ana@example.com")]).await;
        let payer = payer["id"].as_str().unwrap().to_owned();
        let (status, made) = app.call("PUT", "/api/v1/customers/ana", Some(json!({ "stripe_customer": payer }))).await;
        assert!(status < 300, "{made}");
        let account = app.store.find_customer("ana").await.unwrap().unwrap();
        Self { app, account, payer }
    }

    pub async fn post(&self, charging: Charging) {
        let posted = self.app.daemon.posting().post(self.account, None, Command::Charging(charging)).await;
        let _: Decision = posted.unwrap();
    }

    pub async fn set(&self, rule: SetRule) {
        self.post(Charging::SetRule(Box::new(rule))).await;
    }

    pub async fn reading(&self) -> Reading {
        self.app.daemon.posting().read_complete(self.account).await.unwrap()
    }

    /// Top-ups that are not over.
    pub async fn open_top_ups(&self) -> Vec<TopUp> {
        self.reading().await.state.top_ups
    }

    /// Uses so many basic messages, of which a hundred cost a credit.
    pub async fn spend(&self, key: &str, messages: &str) {
        let (status, answer) = self.app.track(key, "ana", "basic_messages", messages).await;
        assert_eq!(status, 200, "{answer}");
    }

    pub async fn credits(&self) -> String {
        self.app.available("ana", "usd_credits").await
    }

    /// Waits until no top-up is open.
    pub async fn settled(&self) {
        self.wait(<[TopUp]>::is_empty).await;
    }

    /// Waits until the open top-ups are as they should be.
    pub async fn wait(&self, is: impl Fn(&[TopUp]) -> bool) -> Vec<TopUp> {
        let started = creditd::clock::instant();
        loop {
            let top_ups = self.open_top_ups().await;
            if is(&top_ups) {
                return top_ups;
            }
            assert!(started.elapsed() < PATIENCE, "{top_ups:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Money that moved, by the log of the simulated Stripe: minor units of each succeeded charge.
    pub fn charged(&self) -> Vec<i64> {
        self.app
            .simulator
            .log()
            .charges()
            .into_iter()
            .filter(|charge| charge.succeeded)
            .map(|charge| charge.amount)
            .collect()
    }

    /// Saves one of Stripe's test cards with the customer; its id.
    pub async fn save_card(&self, card: &str) -> String {
        let path = format!("/v1/payment_methods/{card}/attach");
        let saved = self.app.stripe("POST", &path, &[("customer", &self.payer)]).await;
        saved["id"].as_str().unwrap().to_owned()
    }

    /// The same, and makes it the one that is charged.
    pub async fn usual_card(&self, card: &str) -> String {
        let id = self.save_card(card).await;
        let path = format!("/v1/customers/{}", self.payer);
        self.app.stripe("POST", &path, &[("invoice_settings[default_payment_method]", &id)]).await;
        id
    }

    /// Stripe and ledger live on for so many seconds. Stripe first: the charger works by itself, and what it looks at when
    /// the ledger's time has come has to have happened.
    pub async fn later(&self, seconds: i64) {
        let offset = self.app.clock.offset() + jiff::SignedDuration::from_secs(seconds);
        assert!(self.app.clock.raise_offset(offset));
        self.app.simulator.advance_to(self.app.clock.now()).await.unwrap();
        let moved = self.app.store.advance_test_clock_by(seconds).await.unwrap().unwrap();
        assert_eq!(moved.test_offset_seconds, offset.as_secs(), "one time for both");
        self.app.daemon.posting().charger().notify_one();
    }

    /// The state and reason of each top-up there ever was, in order.
    pub async fn history(&self) -> Vec<(String, Option<String>)> {
        let statement = "SELECT state, reason FROM top_ups WHERE account_id = $1 ORDER BY created_at, topup_id";
        sqlx::query_as(statement).bind(self.account.as_uuid()).fetch_all(&self.pool().await).await.unwrap()
    }

    /// What was told, by topic.
    pub async fn told(&self) -> Vec<String> {
        let statement = "SELECT topic FROM outbox WHERE account_id = $1 ORDER BY created_at, topic";
        sqlx::query_scalar(statement).bind(self.account.as_uuid()).fetch_all(&self.pool().await).await.unwrap()
    }

    async fn pool(&self) -> sqlx::PgPool {
        sqlx::PgPool::connect(&self.app.url).await.unwrap()
    }

    /// Charges that were tried, by the log: minor units, and whether the money moved.
    pub fn tried(&self) -> Vec<(i64, bool)> {
        self.app.simulator.log().charges().into_iter().map(|charge| (charge.amount, charge.succeeded)).collect()
    }

    pub async fn paused(&self) -> Option<&'static str> {
        let reading = self.reading().await;
        let rule = reading.state.rules.iter().find(|rule| rule.origin == RuleOrigin::Api).unwrap();
        rule.paused.map(|paused| paused.because.word())
    }

    pub async fn close(self) {
        self.app.finish().await;
    }
}
