//! Deliveries: events are signed as Stripe signs them and sent until a 2xx, or until the plan has no attempt left.
//!
//! `Stripe-Signature: t=..,v1=..`, one `v1` for each secret: HMAC-SHA256 of `{t}.{body}`, in hex.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SimulatorError;
use super::log::{DeliveryEntry, Entry};
use super::server::Account;
use super::state::{Kind, text};

/// Waits for an answer; quoted limits of Stripe's own lie between 10 and 30 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// Attempts under way at once.
const CONCURRENT_MAX: usize = 8;
/// Repeats a plan may hold.
const REPEATS_MAX: usize = 64;

/// The delays before each repeat of a failed delivery.
#[derive(Clone, Debug)]
pub struct RetryPlan(Vec<Duration>);

impl RetryPlan {
    /// A plan of these delays, at most 64 of them; one attempt more is made than there are delays.
    #[must_use]
    pub fn new(delays: &[Duration]) -> Self {
        Self(delays.iter().copied().take(REPEATS_MAX).collect())
    }

    /// For a developer at the keyboard: 1 s, 5 s, 30 s, then each minute for ten minutes.
    #[must_use]
    pub fn for_development() -> Self {
        let mut delays = vec![1, 5, 30];
        delays.extend([60; 10]);
        Self(delays.into_iter().map(Duration::from_secs).collect())
    }
}

/// Where events go.
#[derive(Clone, Debug, Default)]
pub struct Webhook {
    /// The endpoint; none to keep events for `GET /v1/events` only.
    pub url: Option<String>,
    /// Its secrets, several while they rotate.
    pub secrets: Vec<String>,
}

/// Sends events and counts what is under way.
#[derive(Debug)]
pub struct Deliverer {
    client: reqwest::Client,
    webhook: Mutex<Webhook>,
    plan: RetryPlan,
    permits: Semaphore,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Deliverer {
    /// A deliverer that stops with its token.
    pub(super) fn new(webhook: Webhook, plan: RetryPlan, stop: CancellationToken) -> Result<Self, SimulatorError> {
        check_url(webhook.url.as_deref())?;
        Ok(Self {
            client: client()?,
            webhook: Mutex::new(webhook),
            plan,
            permits: Semaphore::new(CONCURRENT_MAX),
            stop,
            tasks: TaskTracker::new(),
        })
    }

    /// Sends later events elsewhere.
    pub(super) fn set_webhook(&self, webhook: Webhook) -> Result<(), SimulatorError> {
        check_url(webhook.url.as_deref())?;
        *self.webhook.lock().unwrap_or_else(PoisonError::into_inner) = webhook;
        Ok(())
    }

    /// Where events go now.
    pub(super) fn webhook(&self) -> Webhook {
        self.webhook.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the deliveries under way to notice that they are stopped.
    pub(super) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Begins an event's delivery in a task of its own: events overtake each other, as Stripe's do.
    pub(super) fn start(account: &Arc<Account>, event: String) {
        let account = Arc::clone(account);
        let tracker = account.deliverer.tasks.clone();
        tracker.spawn(async move {
            let stop = account.deliverer.stop.clone();
            let _stopped_or_done = stop.run_until_cancelled(deliver_by_plan(&account, &event)).await;
        });
    }
}

async fn deliver_by_plan(account: &Arc<Account>, event: &str) {
    let made = account.state().pending.get(event).map_or(0, |pending| pending.attempts);
    let made = usize::try_from(made).unwrap_or(usize::MAX);
    for attempt in made..=account.deliverer.plan.0.len() {
        if attempt > 0
            && let Some(delay) = account.deliverer.plan.0.get(attempt - 1)
        {
            tokio::time::sleep(*delay).await;
        }
        if !account.state().pending.contains_key(event) {
            // Delivered meanwhile by hand.
            return;
        }
        let delivered = match account.deliverer.permits.acquire().await {
            Ok(_permit) => attempt_once(account, event).await.is_ok_and(is_success),
            Err(_) => false,
        };
        if delivered {
            return;
        }
    }
    let mut state = account.state();
    if let Some(pending) = state.pending.get_mut(event) {
        pending.given_up = true;
    }
    // A failed save is logged there; the next mutation writes the same state again.
    let _kept = account.save(&state);
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// One attempt, written to the log; gives the status answered.
pub(super) async fn attempt_once(account: &Arc<Account>, event: &str) -> Result<u16, SimulatorError> {
    let webhook = account.deliverer.webhook();
    let url = webhook.url.clone().ok_or(SimulatorError::NoWebhook)?;
    let (body, signature) = signed(account, event)?;
    let attempt = {
        let mut state = account.state();
        let attempts = state.pending.get_mut(event).map(|pending| {
            pending.attempts = pending.attempts.saturating_add(1);
            pending.attempts
        });
        // A resend of what was delivered is not counted against a plan.
        attempts.unwrap_or(1)
    };
    let sent = account
        .deliverer
        .client
        .post(&url)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("stripe-signature", &signature)
        .body(body)
        .send()
        .await;
    let (status, error) = match sent {
        Ok(response) => (Some(response.status().as_u16()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut state = account.state();
    let event_type = state.get(Kind::Event, event).map(|record| text(&record.object, "type").to_owned());
    account.log.push(Entry::Delivery(DeliveryEntry {
        at: account.now(),
        event: event.to_owned(),
        event_type: event_type.unwrap_or_default(),
        url,
        attempt,
        status,
        error: error.clone(),
    }));
    if status.is_some_and(is_success) {
        state.pending.remove(event);
    }
    let _kept = account.save(&state);
    status.ok_or_else(|| SimulatorError::Unreachable { event: event.to_owned(), reason: error.unwrap_or_default() })
}

/// The exact bytes and header of an event's delivery, signed now with every secret.
pub(super) fn signed(account: &Account, event: &str) -> Result<(Bytes, String), SimulatorError> {
    let webhook = account.deliverer.webhook();
    let object: Value = account
        .state()
        .get(Kind::Event, event)
        .map(|record| record.object.clone())
        .ok_or_else(|| SimulatorError::NoSuchEvent(event.to_owned()))?;
    // Stripe indents its payloads; who re-serialises before verifying is found out here.
    let mut object = object;
    object["pending_webhooks"] = json!(1);
    let body = format!("{object:#}");
    let header = signature_header(account.now(), &webhook.secrets, body.as_bytes())?;
    Ok((Bytes::from(body), header))
}

/// `t=..,v1=..` with one `v1` for each secret.
fn signature_header(now: i64, secrets: &[String], body: &[u8]) -> Result<String, SimulatorError> {
    let mut header = format!("t={now}");
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| SimulatorError::UnusableSecret)?;
        mac.update(now.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        header.push_str(",v1=");
        header.push_str(&hex::encode(mac.finalize().into_bytes()));
    }
    Ok(header)
}

/// Plain http on loopback: no proxy, no redirect followed, and no root certificate that could vouch for anyone.
fn client() -> Result<reqwest::Client, SimulatorError> {
    let failed = |reason: String| SimulatorError::Client(reason);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ATTEMPT_TIMEOUT)
        .build()
        .map_err(|error| failed(error.to_string()))
}

/// Signed but simulated events never leave the machine.
fn check_url(url: Option<&str>) -> Result<(), SimulatorError> {
    let Some(written) = url else { return Ok(()) };
    let refused = || SimulatorError::WebhookNotLoopback(written.to_owned());
    let url = reqwest::Url::parse(written).map_err(|_| refused())?;
    let host = url.host_str().ok_or_else(refused)?.trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if local && url.scheme() == "http" { Ok(()) } else { Err(refused()) }
}
