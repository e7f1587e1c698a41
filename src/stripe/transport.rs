//! Carries questions and writes to Stripe: [`super::requests`] builds each, our own client sends it.
//!
//! Ours because async-stripe's has no connection pool, no timeout, no response headers and a fixed version, and reads
//! answers with types that fail on older shapes.
//!
//! A question only reads, so asking it again is always safe. A write is sent again, with the same key and bytes, only
//! where nothing was done or where Stripe says that it may be; whatever else happened to it is told as it is.

use std::time::Duration;

use futures_util::StreamExt;
use hyper::body::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::client::{Answer, Fetch, Fetched, Sent, StripeClient, StripeError};
use super::frozen::{Frozen, IdempotencyKey, WriteMethod};
use super::outcome::{self, AnswerHead, UnknownReason, WriteOutcome};
use super::requests::request_path;

/// Stripe's API.
pub const BASE_URL: &str = "https://api.stripe.com";

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The version our questions and writes ask for: the one async-stripe's builders are made from.
pub const API_VERSION: &str = "2026-09-30.endive";

/// A healthy connection to Stripe opens in well under a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One attempt, from the first byte sent to the last one read; their largest pages take some seconds.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Sendings of one question or write in all; whoever asked comes back later anyway.
pub const ATTEMPTS_MAX: u32 = 3;

/// The first pause; each next one is twice as long.
pub const BACKOFF_BASE: Duration = Duration::from_millis(500);

/// A longer `Retry-After` is handed to the caller: no worker sleeps that long over one question.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Far above a page of 100 invoice lines with full metadata (about 3 MiB).
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// As much of Stripe's message as an error keeps.
const MESSAGE_CHARS_MAX: usize = 300;

/// How to reach Stripe.
#[derive(Clone, Debug)]
pub struct TransportSettings {
    /// Where Stripe is; plain `http` only on loopback, for the key travels with each request.
    pub base_url: String,
    /// The secret or restricted key.
    pub key: SecretString,
    /// The version to ask for.
    pub api_version: String,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`TOTAL_TIMEOUT`].
    pub total_timeout: Duration,
    /// See [`BACKOFF_BASE`].
    pub backoff_base: Duration,
}

impl TransportSettings {
    /// The defaults, with this key.
    pub fn new(key: SecretString) -> Self {
        Self {
            base_url: BASE_URL.to_owned(),
            key,
            api_version: API_VERSION.to_owned(),
            connect_timeout: CONNECT_TIMEOUT,
            total_timeout: TOTAL_TIMEOUT,
            backoff_base: BACKOFF_BASE,
        }
    }
}

/// Why a transport cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address is no address.
    #[error("the Stripe base URL is not `https://host` (or `http://` on loopback, for a simulator)")]
    BaseUrl,
    /// The key has characters no header can carry.
    #[error("the Stripe key is empty or has characters no header can carry")]
    Key,
    /// The version has characters no header can carry.
    #[error("the Stripe API version is empty or has characters no header can carry")]
    ApiVersion,
    /// The client cannot be built, for instance because the machine has no certificates.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

/// The client that asks Stripe. Cheap to share; holds a pool of connections.
#[derive(Debug)]
pub struct Transport {
    client: Client,
    base_url: Url,
    backoff_base: Duration,
}

impl Transport {
    /// Checks the settings and makes the client. Nothing is sent yet.
    pub fn new(settings: &TransportSettings) -> Result<Self, TransportError> {
        // An error only says that the process has a provider already, which serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let base_url = checked_base_url(&settings.base_url)?;
        let mut client = Client::builder()
            .default_headers(headers(settings)?)
            .user_agent(concat!("creditd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.total_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if base_url.scheme() == "http" {
            // A proxy would carry the key off the machine in clear text.
            client = client.no_proxy();
        }
        let client = client.build().map_err(TransportError::Client)?;
        Ok(Self { client, base_url, backoff_base: settings.backoff_base })
    }

    async fn ask(&self, what: &Fetch) -> Result<Fetched, StripeError> {
        let url = self.url(what)?;
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(&url).await;
            match outcome.verdict {
                Verdict::Answer(fetched) => {
                    tracing::debug!(
                        http.status = fetched.status,
                        stripe.request_id = fetched.request_id.as_deref(),
                        attempt,
                        "asked Stripe for {}",
                        url.path()
                    );
                    return Ok(fetched);
                }
                Verdict::Failure(error) => {
                    tracing::warn!(
                        http.status = outcome.status,
                        stripe.request_id = outcome.request_id.as_deref(),
                        attempt,
                        "Stripe gave no answer for {}: {error}",
                        url.path()
                    );
                    let pause = self.pause(attempt, outcome.retry_after);
                    if !outcome.may_repeat || attempt >= ATTEMPTS_MAX || pause > RETRY_AFTER_MAX {
                        return Err(error);
                    }
                    tokio::time::sleep(pause).await;
                    attempt += 1;
                }
            }
        }
    }

    async fn attempt(&self, url: &Url) -> Outcome {
        let response = match self.client.get(url.clone()).send().await {
            Ok(response) => response,
            // Without the URL, for its query may name customers.
            Err(error) => return Outcome::unreachable(&error.without_url()),
        };
        let head = Head::read(&response);
        match read_body(response).await {
            Ok(body) => Outcome::of(head, body),
            Err(BodyError::Cut { error, .. }) => Outcome::unreachable(&error),
            Err(BodyError::TooLarge { .. }) => {
                let error = StripeError::TooLarge { limit_bytes: BODY_BYTES_MAX };
                Outcome { status: Some(head.status.as_u16()), ..Outcome::failure(error, head.request_id, None, false) }
            }
        }
    }

    async fn write(&self, write: &Frozen, key: &IdempotencyKey) -> WriteOutcome {
        let Ok(url) = self.base_url.join(write.path()) else {
            // Cannot happen: a frozen path is plain. Nothing was sent.
            return outcome::unknown(UnknownReason::NotConnected, AnswerHead::default(), Bytes::new());
        };
        let mut attempt = 1;
        loop {
            let Sending { outcome, may_repeat, retry_after } = self.send_once(&url, write, key).await;
            log(write, key, attempt, &outcome);
            let pause = self.pause(attempt, retry_after);
            if !may_repeat || attempt >= ATTEMPTS_MAX || pause > RETRY_AFTER_MAX {
                return outcome;
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn send_once(&self, url: &Url, write: &Frozen, key: &IdempotencyKey) -> Sending {
        let request = match write.method() {
            WriteMethod::Post => self.client.post(url.clone()),
            WriteMethod::Delete => self.client.delete(url.clone()),
        };
        let request = request
            .header(IDEMPOTENCY_KEY, key.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            // Written out, for the client leaves it away from an empty body, which some proxies refuse.
            .header(CONTENT_LENGTH, write.body().len())
            .body(write.body().to_owned());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Sending::broken(&error.without_url()),
        };
        let head = Head::read(&response);
        let should_retry = head.should_retry;
        let retry_after = head.retry_after;
        let answer = head.for_write();
        let outcome = match read_body(response).await {
            Ok(body) => outcome::judge(answer, body),
            Err(BodyError::Cut { error, arrived }) => {
                let why = if error.is_timeout() { UnknownReason::Timeout } else { UnknownReason::Cut };
                outcome::unknown(why, answer, arrived)
            }
            Err(BodyError::TooLarge { arrived }) => outcome::unknown(UnknownReason::TooLarge, answer, arrived),
        };
        Sending { may_repeat: may_repeat(&outcome, should_retry), outcome, retry_after }
    }

    /// At least what Stripe asks for, else a jittered pause that doubles.
    fn pause(&self, attempt: u32, retry_after: Option<Duration>) -> Duration {
        let full = self.backoff_base.saturating_mul(1 << attempt.saturating_sub(1).min(8));
        let half = full / 2;
        let jittered = half + Duration::from_micros(rand::random_range(0..=micros(half)));
        jittered.max(retry_after.unwrap_or_default())
    }

    fn url(&self, what: &Fetch) -> Result<Url, StripeError> {
        let text = request_path(what);
        self.base_url.join(&text).map_err(|_| StripeError::Refused {
            status: 0,
            code: Some("bad_path".to_owned()),
            message: "the request's path cannot be joined to the base URL".to_owned(),
        })
    }
}

impl StripeClient for Transport {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        Box::pin(self.ask(what))
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        Box::pin(self.write(write, key))
    }
}

/// What one sending of a write gave, and whether another may follow.
struct Sending {
    outcome: WriteOutcome,
    may_repeat: bool,
    retry_after: Option<Duration>,
}

impl Sending {
    /// No answer began.
    fn broken(error: &reqwest::Error) -> Self {
        // Asked first: a timeout of the connecting itself is of both kinds, and nothing was sent.
        let (why, may_repeat) = if error.is_connect() {
            (UnknownReason::NotConnected, true)
        } else if error.is_timeout() {
            (UnknownReason::Timeout, false)
        } else {
            (UnknownReason::Broken, false)
        };
        let outcome = outcome::unknown(why, AnswerHead::default(), Bytes::new());
        Self { outcome, may_repeat, retry_after: None }
    }
}

/// Whether the same bytes go out again at once. Only a status that says "not done" lets them, unless Stripe itself says
/// so; after anything else the caller repeats later, for hours, from the row.
fn may_repeat(outcome: &WriteOutcome, should_retry: Option<bool>) -> bool {
    match outcome {
        WriteOutcome::Answered(_) => false,
        WriteOutcome::Refused(_) => should_retry.unwrap_or(false),
        WriteOutcome::Unknown(unknown) => match unknown.why {
            UnknownReason::Busy | UnknownReason::RateLimited => should_retry.unwrap_or(true),
            UnknownReason::NotConnected => true,
            UnknownReason::ServerError | UnknownReason::Unreadable | UnknownReason::UnexpectedStatus => {
                should_retry.unwrap_or(false)
            }
            UnknownReason::Timeout
            | UnknownReason::Broken
            | UnknownReason::Cut
            | UnknownReason::TooLarge
            | UnknownReason::Contradiction => false,
        },
    }
}

/// Neither the body nor the answer is told: they name customers.
fn log(write: &Frozen, key: &IdempotencyKey, attempt: u32, outcome: &WriteOutcome) {
    let (method, path, request_id) = (write.method().as_str(), write.path(), outcome.request_id());
    match outcome {
        WriteOutcome::Answered(answered) => tracing::info!(
            http.status = answered.status,
            stripe.request_id = request_id,
            stripe.idempotency_key = %key,
            stripe.replayed = answered.replayed,
            attempt,
            "Stripe did {method} {path}"
        ),
        WriteOutcome::Refused(refused) => tracing::warn!(
            http.status = refused.status,
            stripe.request_id = request_id,
            stripe.idempotency_key = %key,
            stripe.code = refused.code.as_deref(),
            stripe.replayed = refused.replayed,
            attempt,
            "Stripe refused {method} {path}"
        ),
        WriteOutcome::Unknown(unknown) => tracing::warn!(
            http.status = unknown.status,
            stripe.request_id = request_id,
            stripe.idempotency_key = %key,
            stripe.replayed = unknown.replayed,
            attempt,
            "what became of {method} {path} is unknown: {}",
            unknown.why
        ),
    }
}

fn checked_base_url(text: &str) -> Result<Url, TransportError> {
    let url = Url::parse(text).map_err(|_| TransportError::BaseUrl)?;
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let is_bare = url.path() == "/" && url.query().is_none() && url.username().is_empty() && url.password().is_none();
    if is_safe && is_bare && url.has_host() { Ok(url) } else { Err(TransportError::BaseUrl) }
}

fn headers(settings: &TransportSettings) -> Result<HeaderMap, TransportError> {
    let key = settings.key.expose_secret().trim();
    let version = settings.api_version.trim();
    if key.is_empty() {
        return Err(TransportError::Key);
    }
    if version.is_empty() {
        return Err(TransportError::ApiVersion);
    }
    let mut bearer = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| TransportError::Key)?;
    bearer.set_sensitive(true);
    let version = HeaderValue::try_from(version).map_err(|_| TransportError::ApiVersion)?;
    Ok(HeaderMap::from_iter([(AUTHORIZATION, bearer), (HeaderName::from_static("stripe-version"), version)]))
}

/// What one sending gave, and whether another may follow.
struct Outcome {
    verdict: Verdict,
    status: Option<u16>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    may_repeat: bool,
}

enum Verdict {
    Answer(Fetched),
    Failure(StripeError),
}

impl Outcome {
    fn failure(
        error: StripeError,
        request_id: Option<String>,
        retry_after: Option<Duration>,
        may_repeat: bool,
    ) -> Self {
        Self { verdict: Verdict::Failure(error), status: None, request_id, retry_after, may_repeat }
    }

    fn unreachable(error: &reqwest::Error) -> Self {
        let reason = match error {
            error if error.is_timeout() => "timeout",
            error if error.is_connect() => "no connection",
            error if error.is_body() || error.is_decode() => "the answer was cut off",
            _ => "the exchange broke off",
        };
        Self::failure(StripeError::Unavailable { reason: reason.to_owned() }, None, None, true)
    }

    fn of(head: Head, body: Bytes) -> Self {
        let Head { status, request_id, retry_after, should_retry, replayed: _ } = head;
        let number = status.as_u16();
        // Only Stripe itself can say that something is not there; a proxy in between says nothing about it.
        if status.is_success() || (status == StatusCode::NOT_FOUND && error_of(&body).is_some()) {
            let fetched = Fetched { status: number, request_id: request_id.clone(), body };
            let verdict = Verdict::Answer(fetched);
            return Self { verdict, status: Some(number), request_id, retry_after, may_repeat: false };
        }
        // Stripe's own word stands above the rule for the status.
        let passes = should_retry.unwrap_or(status.is_server_error() || matches!(number, 409 | 429));
        let error = match number {
            401 | 403 => StripeError::Unauthorized { status: number },
            429 => StripeError::RateLimited { retry_after },
            409 | 500.. => StripeError::Unavailable { reason: format!("status {number}") },
            404 => StripeError::Unavailable { reason: "a 404 that is not Stripe's".to_owned() },
            _ if passes => StripeError::Unavailable { reason: format!("status {number}") },
            _ => refused(number, &body),
        };
        Self { status: Some(number), ..Self::failure(error, request_id, retry_after, passes) }
    }
}

/// What the headers of an answer say.
struct Head {
    status: StatusCode,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    should_retry: Option<bool>,
    replayed: bool,
}

impl Head {
    fn for_write(self) -> AnswerHead {
        let Self { status, request_id, retry_after, should_retry: _, replayed } = self;
        AnswerHead { status: status.as_u16(), request_id, retry_after, replayed }
    }

    fn read(response: &Response) -> Self {
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        Self {
            status: response.status(),
            request_id: text("request-id").map(str::to_owned),
            // Stripe sends seconds; the date form of the header is not its own and is passed over.
            retry_after: text(RETRY_AFTER.as_str()).and_then(|value| value.parse().ok()).map(Duration::from_secs),
            should_retry: text("stripe-should-retry").and_then(|value| value.parse().ok()),
            replayed: text("idempotent-replayed") == Some("true"),
        }
    }
}

enum BodyError {
    Cut { error: reqwest::Error, arrived: Bytes },
    TooLarge { arrived: Bytes },
}

async fn read_body(response: Response) -> Result<Bytes, BodyError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if chunk.len() > BODY_BYTES_MAX - body.len() => {
                return Err(BodyError::TooLarge { arrived: Bytes::from(body) });
            }
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(error) => return Err(BodyError::Cut { error: error.without_url(), arrived: Bytes::from(body) }),
        }
    }
    Ok(Bytes::from(body))
}

/// Stripe's error document; an HTML page of some proxy is none.
#[derive(Deserialize)]
struct ErrorDocument {
    error: ErrorPart,
}

#[derive(Default, Deserialize)]
struct ErrorPart {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

fn error_of(body: &[u8]) -> Option<ErrorPart> {
    serde_json::from_slice::<ErrorDocument>(body).ok().map(|document| document.error)
}

fn refused(status: u16, body: &[u8]) -> StripeError {
    let ErrorPart { code, message } = error_of(body).unwrap_or_default();
    let message = message.unwrap_or_else(|| "no message".to_owned()).chars().take(MESSAGE_CHARS_MAX).collect();
    StripeError::Refused { status, code, message }
}

/// Cannot overflow: a pause is at most 256 times the base, and `u64` microseconds hold 500,000 years.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
