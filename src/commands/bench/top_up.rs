//! Top-ups: usage brings a balance to its threshold, a simulated Stripe is charged, the credits are there. All of it in
//! this process, so that what is measured is the charger and not a network; beside it what the simulated Stripe takes for
//! a charge alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::figures::percentile;
use super::load::Load;
use crate::charging::Charger;
use crate::clock::{Clock, fresh_uuid, instant};
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Charging, Command, IdempotencyKey, SetRule, Track};
use crate::domain::ids::AccountId;
use crate::domain::money::Money;
use crate::domain::top_up::settings::ChargerSettings;
use crate::domain::top_up::{Buy, Ceiling, ChargeMode, Consent};
use crate::posting::Posting;
use crate::simulator::{Options, Simulator};
use crate::store::Store;
use crate::stripe::client::{StripeClient, StripeId};
use crate::stripe::frozen::{IdempotencyKey as StripeKey, Metadata};
use crate::stripe::outcome::WriteOutcome;
use crate::stripe::transport::{Transport, TransportSettings};
use crate::stripe::write::{Charge, NewCustomer, Write};
use crate::workers::top_up::{Queue, TopUpWorker};

/// Connections of the door and the worker.
const CONNECTIONS: u32 = 12;
/// Longest wait for one top-up: something is wrong then.
const PATIENCE: Duration = Duration::from_secs(30);
/// The simulated Stripe's key, which guards nothing.
const KEY: &str = "sk_test_bench";
/// A card that pays.
const CARD: &str = "pm_card_visa";
/// The sample catalogue gives 5 credits, of which 500 basic messages cost all; a pack of 5 costs 5 dollars.
const CREDITS: &str = "5";
const MESSAGES: &str = "500";
const PRICE_MINOR: i64 = 500;
/// More than a run can decide.
const MONTH_MINOR: i64 = 1_000_000_000_000;

/// When the last top-up was granted.
#[derive(Default)]
struct Granted {
    at: Mutex<Option<Instant>>,
    told: Notify,
}

/// One customer, one Stripe, and the charger between them.
pub(super) struct TopUps {
    store: Store,
    posting: Posting,
    simulator: Simulator,
    stripe: Arc<Transport>,
    payer: StripeId,
    account: AccountId,
    granted: Arc<Granted>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl TopUps {
    /// Starts everything; the first top-up is there when it returns.
    pub(super) async fn start(url: &str) -> anyhow::Result<Self> {
        let store = Store::connect(url, CONNECTIONS).await.context("cannot connect to the database")?;
        let mut options = Options::new(Clock::system());
        (options.api_key, options.auto_deliver) = (Some(KEY.to_owned()), false);
        let simulator = Simulator::start(options).await?;
        let mut settings = TransportSettings::new(SecretString::from(KEY.to_owned()));
        simulator.base_url().clone_into(&mut settings.base_url);
        let stripe = Arc::new(Transport::new(&settings)?);
        let made = Write::CreateCustomer(NewCustomer { email: None, name: None, metadata: Metadata::new() });
        let made = sent(stripe.as_ref(), &made).await?;
        let payer = StripeId::new(made["id"].as_str().context("a customer without an id")?)?;
        let account = store.claim_customer("top_up").await?.account();
        store.link_stripe_customer(payer.as_str(), account).await?;
        let (posting, granted) = (Posting::start(&store), Arc::new(Granted::default()));
        let (stop, watched) = (CancellationToken::new(), granted.clone());
        let charger = Charger::new(store.clone(), posting.clone(), stripe.clone(), ChargerSettings::default(), false);
        // Looks on only: nothing is stopped.
        let charger = charger.with_breaks(Arc::new(move |step, done| {
            if done && step == "paid" {
                *watched.at.lock().unwrap_or_else(PoisonError::into_inner) = Some(instant());
                watched.told.notify_one();
            }
            false
        }));
        let worker = TopUpWorker {
            queue: Queue::Charges,
            store: store.clone(),
            charger,
            wake: posting.charger(),
            beat: Arc::new(|| {}),
        };
        let worker = tokio::spawn(worker.run(stop.clone()));
        let top_ups = Self { store, posting, simulator, stripe, payer, account, granted, stop, worker };
        top_ups.posting.post(account, None, Command::Open).await.map(drop)?;
        let rule = Command::Charging(Charging::SetRule(Box::new(rule()?)));
        top_ups.posting.post(account, None, rule).await.map(drop)?;
        top_ups.granted().await?;
        Ok(top_ups)
    }

    async fn granted(&self) -> anyhow::Result<Instant> {
        tokio::time::timeout(PATIENCE, self.granted.told.notified()).await.context("a top-up was not granted")?;
        let at = self.granted.at.lock().unwrap_or_else(PoisonError::into_inner).take();
        at.context("a top-up that was granted at no time")
    }

    /// One top-up after the other: from the answer to the usage that crossed the threshold to the granting commit.
    pub(super) async fn round(&self, length: Duration) -> anyhow::Result<Load> {
        let (started, mut latencies) = (instant(), Vec::new());
        while started.elapsed() < length {
            let track = Track::of(FeatureId::new("basic_messages").context("a feature's name")?, MESSAGES.parse()?);
            let key = IdempotencyKey::new("track", &fresh_uuid().to_string(), &track);
            self.posting.post(self.account, Some(key), Command::Track(track)).await.map(drop)?;
            let crossed = instant();
            latencies.push(self.granted().await?.saturating_duration_since(crossed));
        }
        Ok(load(started, &latencies))
    }

    /// One charge after the other, by the simulated Stripe alone.
    pub(super) async fn charges(&self, length: Duration) -> anyhow::Result<Load> {
        let (started, mut latencies) = (instant(), Vec::new());
        while started.elapsed() < length {
            let charge = Write::Charge(Charge {
                amount: Money::from_minor(PRICE_MINOR, "usd".parse()?)?,
                customer: self.payer.clone(),
                payment_method: StripeId::new(CARD)?,
                description: None,
                receipt_email: None,
                return_url: None,
                metadata: Metadata::new(),
            });
            let begun = instant();
            sent(self.stripe.as_ref(), &charge).await?;
            latencies.push(begun.elapsed());
        }
        Ok(load(started, &latencies))
    }

    /// Finishes what is under way and lets go.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.worker.await?;
        self.posting.shut_down().await;
        self.simulator.stop().await;
        self.store.close().await;
        Ok(())
    }
}

fn rule() -> anyhow::Result<SetRule> {
    Ok(SetRule {
        name: "bench".to_owned(),
        enabled: true,
        feature: FeatureId::new("usd_credits").context("a feature's name")?,
        wallet: None,
        threshold: CREDITS.parse()?,
        buy: Buy::Quantity(CREDITS.parse()?),
        currency: None,
        usual_currency: None,
        payment_method: Some(CARD.to_owned()),
        mode: ChargeMode::PaymentIntent,
        per_day: Ceiling::default(),
        per_month: Ceiling { count: None, minor: Some(MONTH_MINOR) },
        usual_month: std::collections::BTreeMap::new(),
        cooldown_seconds: 0,
        consent: Some(Consent {
            by: "bench".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            text_version: "1".to_owned(),
        }),
    })
}

/// The answer to a write that is done.
async fn sent(stripe: &dyn StripeClient, write: &Write) -> anyhow::Result<serde_json::Value> {
    let key = StripeKey::new(&format!("bench:{}", fresh_uuid()))?;
    match stripe.send(&write.freeze()?, &key).await {
        WriteOutcome::Answered(answered) => Ok(serde_json::from_slice(&answered.body)?),
        other => bail!("the simulated Stripe did not do it: {other:?}"),
    }
}

fn load(started: Instant, latencies: &[Duration]) -> Load {
    let micros = |duration: &Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut sorted: Vec<u64> = latencies.iter().map(micros).collect();
    sorted.sort_unstable();
    Load {
        elapsed_micros: micros(&started.elapsed()),
        acknowledged: u64::try_from(sorted.len()).unwrap_or(u64::MAX),
        p50_micros: percentile(&sorted, 50),
        p99_micros: percentile(&sorted, 99),
        ..Load::default()
    }
}
