//! The webhook endpoint: where events go, what they are signed with, and how one is put on the wire.
//!
//! `Stripe-Signature: t=..,v1=..`, one `v1` for each secret: HMAC-SHA256 of `{t}.{body}`, in hex.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::SimulatorError;
use super::server::Account;
use super::state::Kind;

/// Waits for an answer; quoted limits of Stripe's own lie between 10 and 30 seconds.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// Where events go.
#[derive(Clone, Debug, Default)]
pub struct Webhook {
    /// The endpoint; none to keep events for `GET /v1/events` only.
    pub url: Option<String>,
    /// Its secrets, several while they rotate.
    pub secrets: Vec<String>,
}

/// Sends signed bytes; gives the status answered, or why there was none.
pub(super) async fn send(client: &reqwest::Client, url: &str, body: Bytes, signature: &str) -> Result<u16, String> {
    let sent = client
        .post(url)
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("stripe-signature", signature)
        .body(body)
        .send()
        .await;
    sent.map(|response| response.status().as_u16()).map_err(|error| error.to_string())
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
pub(super) fn client() -> Result<reqwest::Client, SimulatorError> {
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
pub(super) fn check_url(url: Option<&str>) -> Result<(), SimulatorError> {
    let Some(written) = url else { return Ok(()) };
    let refused = || SimulatorError::WebhookNotLoopback(written.to_owned());
    let url = reqwest::Url::parse(written).map_err(|_| refused())?;
    let host = url.host_str().ok_or_else(refused)?.trim_matches(['[', ']']);
    let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if local && url.scheme() == "http" { Ok(()) } else { Err(refused()) }
}
