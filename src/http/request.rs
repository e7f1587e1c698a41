//! Each request has a number: the caller's `x-request-id` when it is a plain one, else a fresh one. It is answered in
//! the same header and in every problem, and it is in every line of the log that the request caused; one line tells how
//! it ended. Keys, customers and bodies are in none.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response as HttpResponse, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use super::auth::Caller;
use super::problem::Problem;
use super::routes;
use crate::clock::fresh_uuid;
use crate::meters::cells::{Counters, Histograms, OTHER, Present};
use crate::meters::{REQUESTS_IN_FLIGHT, list};
use crate::store::StoreError;

/// Longest a request may take before it is answered with 503: far longer than a lane's whole queue. What it asked for
/// may still be carried out; the same key tells.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest number of a caller that is taken over: a UUID or a trace id fits, a page of text does not.
const REQUEST_ID_MAX: usize = 128;
/// Whose lines tell how requests ended, so that a filter can leave them out and keep the rest.
const LINES: &str = "creditd::requests";
/// The header that names the request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Counts and times requests by route. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Measured(Arc<(Counters, Histograms)>);

impl Measured {
    /// For the routes of the table.
    pub fn new() -> Self {
        let paths: Vec<&'static str> = routes::table().into_iter().map(|route| route.path).collect();
        let (requests, seconds) =
            (Counters::of(&list::HTTP_REQUESTS, &paths), Histograms::of(&list::HTTP_SECONDS, &paths));
        Self(Arc::new((requests, seconds)))
    }
}

impl Default for Measured {
    fn default() -> Self {
        Self::new()
    }
}

/// A request under way. When the client hangs up it is dropped unanswered, and counted as `gone`.
struct UnderWay {
    measured: Measured,
    method: Method,
    route: Option<MatchedPath>,
    present: Present,
    answered: Option<StatusCode>,
}

impl UnderWay {
    fn route(&self) -> &str {
        self.route.as_ref().map_or(OTHER, MatchedPath::as_str)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let status = match self.answered {
            None => "gone",
            Some(status) if status.is_server_error() => "5xx",
            Some(status) if status.is_client_error() => "4xx",
            Some(_) => "2xx",
        };
        let labels = [self.route(), self.method.as_str(), status];
        let (requests, seconds) = &*self.measured.0;
        requests.add(&labels);
        seconds.took(&labels, self.present.age());
        if self.answered.is_none() {
            tracing::info!(target: LINES, method = %self.method, route = self.route(), "a client hung up before it was answered");
        }
    }
}

/// The number of a request: its own when it is letters, digits, `-`, `_`, `.` and `:`, else a fresh one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    let sane = |id: &&HeaderValue| (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain);
    if let Some(id) = headers.get(REQUEST_ID).filter(sane) {
        return id.clone();
    }
    let mut text = uuid::Uuid::encode_buffer();
    let fresh: &str = fresh_uuid().simple().encode_lower(&mut text);
    HeaderValue::from_str(fresh).unwrap_or(HeaderValue::from_static("none"))
}

/// Numbers a request, renders its problem, if it ended in one, counts it, and logs how it ended.
pub async fn number(State(measured): State<Measured>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let mut under_way = UnderWay { measured, method, route, present: REQUESTS_IN_FLIGHT.enter(), answered: None };
    let text = id.to_str().unwrap_or_default().to_owned();
    // At the level of errors, so that no filter that shows anything leaves the number out.
    let span = tracing::error_span!("request", request.id = text);
    let answer = async {
        let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::from(&StoreError::Unavailable("a request took too long".to_owned())).into_response(),
        };
        let caller = response.extensions_mut().remove::<Caller>();
        let problem = response.extensions_mut().remove::<Problem>();
        under_way.answered = Some(response.status());
        finished(&under_way, caller, problem.as_ref());
        if let Some(problem) = problem {
            // What layers added, such as `allow`, stays.
            let mut rendered = problem.response(&text);
            for (name, value) in response.headers() {
                if !rendered.headers().contains_key(name) {
                    rendered.headers_mut().append(name, value.clone());
                }
            }
            response = rendered;
        }
        response.headers_mut().insert(REQUEST_ID, id);
        response
    };
    answer.instrument(span).await
}

/// Routes whose requests are many and say little when all is well: their line is for debugging
/// (`creditd::requests=debug`), and the metrics count them.
const QUIET: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/api/v1/check", "/api/v1/track"];

/// One line for each request.
fn finished(under_way: &UnderWay, caller: Option<Caller>, problem: Option<&Problem>) {
    let (method, route) = (&under_way.method, under_way.route());
    let status = under_way.answered.map_or(0, |status| status.as_u16());
    let milliseconds = u64::try_from(under_way.present.age().as_millis()).unwrap_or(u64::MAX);
    let scope = caller.map(|caller| caller.scope.word());
    let key = caller.map(|caller| tracing::field::display(caller.key));
    let code = problem.map(Problem::code);
    if status >= 500 {
        let cause = problem.and_then(Problem::cause).unwrap_or("unknown");
        tracing::error!(target: LINES, %method, route, status, milliseconds, scope, key, code, cause, "a request failed");
    } else if status < 400 && QUIET.contains(&route) {
        tracing::debug!(target: LINES, %method, route, status, milliseconds, scope, key, code, "a request was answered");
    } else {
        tracing::info!(target: LINES, %method, route, status, milliseconds, scope, key, code, "a request was answered");
    }
}

/// A handler that panicked: the caller gets a problem, its neighbours notice nothing.
#[expect(clippy::needless_pass_by_value, reason = "the signature CatchPanicLayer asks for")]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> HttpResponse<Body> {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Problem::internal(format!("a handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_number_is_taken_over_and_any_other_is_not() {
        let of = |value: &[u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            request_id(&HeaderMap::from_iter([(REQUEST_ID, value)]))
        };
        assert_eq!(of(b"req_7.a-B:c"), "req_7.a-B:c");
        assert_eq!(of("x".repeat(REQUEST_ID_MAX).as_bytes()).len(), REQUEST_ID_MAX);
        for wrong in [&b""[..], b"a b", b"a\"b", b"a=b", b"\xff", b"{}", "x".repeat(REQUEST_ID_MAX + 1).as_bytes()] {
            let made = of(wrong);
            assert_eq!(made.len(), 32, "{made:?}");
            assert_ne!(made.as_bytes(), wrong);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
