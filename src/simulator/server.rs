//! `/v1` over HTTP: authorise, choose the version, decode, claim the key, execute, keep, log, answer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use serde_json::Value;

use super::delivery::Deliverer;
use super::faults::{Fault, FaultRule, Faults};
use super::form::{self, Pair};
use super::idempotency::{self, Claim, Kept};
use super::ids;
use super::log::{Entry, Log, RequestEntry};
use super::refusal::Refusal;
use super::routes::{self, Call};
use super::shapes::Version;
use super::snapshot;
use super::state::{Origin, State};
use super::timers;
use super::wire::{Break, Connection};
use crate::clock::Clock;

/// Bytes of a request; Stripe's own limit is not published, the SDKs stay far below.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// The longest hang; every client has left by then.
const HANG_MAX: Duration = Duration::from_mins(10);
/// What a proxy in between would answer.
const PAGE: &str = "<!doctype html><html><head><title>Error</title></head><body><h1>Bad Gateway</h1></body></html>";

/// What every handler shares.
#[derive(Debug)]
pub struct Account {
    state: Mutex<State>,
    /// Time for `created`, keys and signatures.
    pub clock: Clock,
    /// The log tests judge by.
    pub log: Log,
    /// Sends what is emitted.
    pub deliverer: Deliverer,
    /// The only key accepted; none for any test key.
    pub api_key: Option<String>,
    /// The version of requests that name none.
    pub default_version: Version,
    /// Where snapshots go.
    pub state_file: Option<std::path::PathBuf>,
    /// Faults asked for by a test.
    pub faults: Mutex<Faults>,
}

impl Account {
    /// An account around a state.
    pub(super) fn new(
        state: State,
        clock: Clock,
        log: Log,
        deliverer: Deliverer,
        api_key: Option<String>,
        default_version: Version,
        state_file: Option<std::path::PathBuf>,
    ) -> Self {
        let faults = Mutex::default();
        Self { state: Mutex::new(state), clock, log, deliverer, api_key, default_version, state_file, faults }
    }

    /// Unix seconds.
    pub fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    /// The state; a step that panicked has left it between two complete writes.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The faults asked for.
    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everything happen that is due by now.
    pub fn catch_up(self: &Arc<Self>) {
        let now = self.clock.now().as_microsecond();
        // The count is for those who wait for it.
        let _fired = timers::fire_due(self, now);
    }

    /// One step: what is due happens first, time and origin are set, the snapshot is written, new events go out.
    pub fn step<T>(self: &Arc<Self>, origin: Origin, act: impl FnOnce(&mut State) -> T) -> Result<T, Refusal> {
        self.catch_up();
        let mut state = self.state();
        state.now = self.now();
        state.origin = origin;
        let done = act(&mut state);
        self.save(&state)?;
        let emitted = std::mem::take(&mut state.outbox);
        drop(state);
        for event in emitted {
            Deliverer::begin(self, event);
        }
        Ok(done)
    }

    /// Writes the snapshot, if one is kept.
    pub fn save(&self, state: &State) -> Result<(), Refusal> {
        let Some(path) = &self.state_file else { return Ok(()) };
        snapshot::save(path, state).map_err(|error| {
            tracing::error!(error = %error, "the simulator's state could not be kept");
            Refusal::api_error("The simulator could not write its state file.")
        })
    }
}

/// A request as received, its key of authorisation checked.
#[derive(Debug)]
struct Received {
    id: String,
    method: String,
    path: String,
    query: String,
    body: String,
    key: Option<String>,
    /// Whether it is executed and then answered with 500.
    fails: bool,
}

/// An answer before it is written out.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Value,
    version: String,
    replayed: bool,
    /// A page in place of the body.
    page: Option<&'static str>,
    retry_after: Option<u64>,
    should_retry: Option<bool>,
}

impl Answer {
    fn new(status: u16, body: Value) -> Self {
        let version = String::new();
        Self { status, body, version, replayed: false, page: None, retry_after: None, should_retry: None }
    }
}

/// What is done with a response once it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Normal,
    Never,
    Late(Duration),
    Broken(Break),
}

/// Serves everything under `/v1`.
pub async fn handle(
    Shared(account): Shared<Arc<Account>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let stopped = account.deliverer.stopped();
    // In a task of its own: like Stripe, the simulator finishes what it began when the caller hangs up.
    let served = tokio::spawn(async move { receive(&account, request).await });
    let (mut response, sending) = served.await.unwrap_or_else(|_| {
        let refusal = Refusal::api_error("The simulator failed.");
        (respond(&ids::fresh("req"), &refused(&refusal, "")), Sending::Normal)
    });
    match sending {
        Sending::Normal => {}
        Sending::Late(wait) => {
            let _waited_or_stopped = tokio::time::timeout(wait, stopped.cancelled()).await;
        }
        Sending::Never => {
            let _left_or_stopped = tokio::time::timeout(HANG_MAX, stopped.cancelled()).await;
            connection.break_next(Break::Close);
        }
        Sending::Broken(how) => {
            connection.break_next(how);
            // A body shorter than its cut leaves nothing broken for the next answer on this connection.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

async fn receive(account: &Arc<Account>, request: Request) -> (Response, Sending) {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut received = Received {
        id: ids::fresh("req"),
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: String::new(),
        key: header("idempotency-key").filter(|_| parts.method == axum::http::Method::POST),
        fails: false,
    };
    let rule = account.faults().take(&received.method, &received.path);
    received.fails = rule.as_ref().is_some_and(|rule| rule.fault == Fault::ServerError);
    let answer = match read_body(body).await {
        Ok(body) => {
            received.body = body;
            match &rule {
                Some(rule) if !rule.executes() => None,
                Some(_) | None => Some(answer(account, &received, &parts.headers).await),
            }
        }
        Err(refusal) => Some(refused(&refusal, "")),
    };
    let (answer, sending) = spoil(rule.as_ref(), answer);
    account.log.push(Entry::Request(RequestEntry {
        at: account.now(),
        request_id: received.id.clone(),
        method: received.method,
        path: received.path,
        query: received.query,
        body: received.body,
        stripe_version: answer.version.clone(),
        idempotency_key: received.key,
        status: answer.status,
        replayed: answer.replayed,
        fault: rule.as_ref().map(FaultRule::name),
        response: answer.body.clone(),
    }));
    (respond(&received.id, &answer), sending)
}

/// What a fault makes of an answer; without one, nothing was executed.
fn spoil(rule: Option<&FaultRule>, answer: Option<Answer>) -> (Answer, Sending) {
    let nothing = || Answer::new(0, Value::Null);
    let plain = |status, message: &str| {
        let body = Refusal::api_error(message).body();
        Answer::new(status, body)
    };
    let Some(rule) = rule else { return (answer.unwrap_or_else(nothing), Sending::Normal) };
    let (mut answer, sending) = match &rule.fault {
        Fault::Hang => (answer.unwrap_or_else(nothing), Sending::Never),
        Fault::Reset => (answer.unwrap_or_else(nothing), Sending::Broken(Break::Reset)),
        Fault::DropReply => (answer.unwrap_or_else(nothing), Sending::Broken(Break::Close)),
        Fault::CutBody { at } => (answer.unwrap_or_else(nothing), Sending::Broken(Break::InBody(*at))),
        Fault::ReplyLate { milliseconds } => {
            (answer.unwrap_or_else(nothing), Sending::Late(Duration::from_millis(*milliseconds)))
        }
        Fault::ServerError => (answer.unwrap_or_else(nothing), Sending::Normal),
        Fault::Conflict => {
            let message = "This object cannot be accessed right now because another request is using it.";
            let refusal = Refusal::invalid(message).with("code", Value::from("lock_timeout"));
            (Answer::new(409, refusal.body()), Sending::Normal)
        }
        Fault::TooManyRequests { retry_after } => {
            let refusal = Refusal::invalid("Too many requests.").with("code", Value::from("rate_limit"));
            let limited = Answer { retry_after: *retry_after, ..Answer::new(429, refusal.body()) };
            (limited, Sending::Normal)
        }
        Fault::Gateway { status } => (plain(*status, "The service cannot answer now."), Sending::Normal),
        Fault::Html { status } => {
            (Answer { page: Some(PAGE), ..Answer::new(*status, Value::from(PAGE)) }, Sending::Normal)
        }
        Fault::Empty => (Answer::new(200, Value::Object(serde_json::Map::new())), Sending::Normal),
    };
    answer.should_retry = rule.should_retry;
    (answer, sending)
}

async fn read_body(body: Body) -> Result<String, Refusal> {
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| Refusal::invalid("The request body is too large."))?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Refusal::invalid("The request body is not UTF-8."))
}

async fn answer(account: &Arc<Account>, received: &Received, headers: &HeaderMap) -> Answer {
    let mut version = String::new();
    match execute(account, received, headers, &mut version).await {
        Ok(mut answer) => {
            answer.version = version;
            answer
        }
        Err(refusal) => refused(&refusal, &version),
    }
}

fn refused(refusal: &Refusal, version: &str) -> Answer {
    Answer { version: version.to_owned(), ..Answer::new(refusal.status(), refusal.body()) }
}

async fn execute(
    account: &Arc<Account>,
    received: &Received,
    headers: &HeaderMap,
    written_version: &mut String,
) -> Result<Answer, Refusal> {
    if account.log.is_full() {
        return Err(Refusal::api_error("The simulator's log is full."));
    }
    authorize(account.api_key.as_deref(), headers)?;
    if account.faults().revoked {
        let message = "Expired API Key provided.";
        return Err(Refusal::unauthorized(message).with("code", Value::from("api_key_expired")));
    }
    let version = match headers.get("stripe-version").map(|value| value.to_str().unwrap_or_default()) {
        None => account.default_version.clone(),
        Some(text) => {
            Version::parse(text).ok_or_else(|| Refusal::invalid(&format!("Invalid Stripe API version: {text}")))?
        }
    };
    version.as_str().clone_into(written_version);
    let pairs = decode(received, headers)?;
    let origin = Origin { request_id: Some(received.id.clone()), idempotency_key: received.key.clone() };
    let Some(key) = &received.key else {
        let (status, body, _) = run(account, received, &pairs, &version, origin).await?;
        return Ok(Answer::new(status, body));
    };
    let fingerprint = idempotency::fingerprint(&received.method, &received.path, &pairs);
    let now = account.now();
    let claim = account.state().keys.claim(key, &fingerprint, now)?;
    if let Claim::Replay(kept) = claim {
        return Ok(Answer { replayed: true, ..Answer::new(kept.status, kept.body) });
    }
    let ran = run(account, received, &pairs, &version, origin).await;
    let mut state = account.state();
    let kept = match &ran {
        Ok((status, body, true)) => Some(Kept::new(fingerprint, now, *status, body.clone(), received.id.clone())),
        Ok((_, _, false)) | Err(_) => None,
    };
    state.keys.finish(key, kept);
    account.save(&state)?;
    drop(state);
    let (status, body, _) = ran?;
    Ok(Answer::new(status, body))
}

/// Executes a call: status, body, and whether it was executed.
async fn run(
    account: &Arc<Account>,
    received: &Received,
    pairs: &[Pair],
    version: &Version,
    origin: Origin,
) -> Result<(u16, Value, bool), Refusal> {
    let call = Call { method: &received.method, path: &received.path, pairs, version };
    if received.method == "GET" {
        account.catch_up();
        let mut state = account.state();
        state.now = account.now();
        return Ok(match routes::serve(&mut state, &call) {
            Ok(_) if received.fails => (500, failure().body(), false),
            Ok(body) => (200, body, true),
            Err(refusal) => (refusal.status(), refusal.body(), false),
        });
    }
    let latency = account.faults().latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let served = account.step(origin, |state| routes::serve(state, &call))?;
    Ok(match served {
        Ok(_) if received.fails || take_failing_write(account) => (500, failure().body(), true),
        Ok(body) => (200, body, true),
        Err(refusal) => (refusal.status(), refusal.body(), refusal.was_executed()),
    })
}

fn failure() -> Refusal {
    Refusal::api_error("An unexpected error occurred, asked for by the test.")
}

fn take_failing_write(account: &Account) -> bool {
    let mut faults = account.faults();
    let failing = faults.failing_writes > 0;
    faults.failing_writes = faults.failing_writes.saturating_sub(1);
    failing
}

fn decode(received: &Received, headers: &HeaderMap) -> Result<Vec<Pair>, Refusal> {
    if received.method == "GET" || received.method == "DELETE" {
        return form::pairs(if received.query.is_empty() { &received.body } else { &received.query });
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !received.body.is_empty() && !kind.starts_with("application/x-www-form-urlencoded") {
        let message = "Invalid request. The API takes form-encoded bodies; check that your Content-Type is \
                       application/x-www-form-urlencoded.";
        return Err(Refusal::invalid(message));
    }
    let mut pairs = form::pairs(&received.query)?;
    pairs.extend(form::pairs(&received.body)?);
    Ok(pairs)
}

fn authorize(expected: Option<&str>, headers: &HeaderMap) -> Result<(), Refusal> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(secret);
    let Some(sent) = sent else {
        return Err(Refusal::unauthorized("You did not provide an API key."));
    };
    let fits = match expected {
        Some(expected) => sent == expected,
        None => sent.starts_with("sk_test_") || sent.starts_with("rk_test_"),
    };
    // The key is not repeated in the answer: answers are logged.
    if fits { Ok(()) } else { Err(Refusal::unauthorized("Invalid API Key provided.")) }
}

/// The key of a `Bearer` or `Basic` header, where it is the user name.
fn secret(authorization: &str) -> Option<String> {
    let (scheme, value) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    Some(decoded.split(':').next().unwrap_or_default().to_owned())
}

fn respond(request_id: &str, answer: &Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match answer.page {
        Some(page) => (status, Html(page)).into_response(),
        None => (status, axum::Json(&answer.body)).into_response(),
    };
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    put("request-id", request_id);
    if !answer.version.is_empty() {
        put("stripe-version", &answer.version);
    }
    if answer.replayed {
        put("idempotent-replayed", "true");
    }
    if let Some(seconds) = answer.retry_after {
        put("retry-after", &seconds.to_string());
    }
    if let Some(retry) = answer.should_retry {
        put("stripe-should-retry", if retry { "true" } else { "false" });
    }
    response
}
