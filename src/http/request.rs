//! Each request gets a number: it is answered as `x-request-id`, it is all that a fault of ours tells the caller, and it
//! is in the log beside the cause.

use std::any::Any;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Response as HttpResponse};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::clock::fresh_uuid;
use crate::store::StoreError;

/// Longest a request may take before it is answered with 503: far longer than a lane's whole queue. What it asked for
/// may still be carried out; the same key tells.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The header that names the request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Numbers a request and renders its problem, if it ended in one. A fault of ours is logged here, once.
pub async fn number(request: Request, next: Next) -> Response {
    let id = fresh_uuid().simple().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(&StoreError::Unavailable("a request took too long".to_owned())).into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>()
        && problem.status().is_server_error()
    {
        let cause = problem.cause().unwrap_or("unknown");
        tracing::error!(request.id = %id, %method, path, status = problem.status().as_u16(), cause, "a request failed");
        response = problem.response(Some(&id));
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// A handler that panicked: the caller gets a problem, its neighbours notice nothing.
#[expect(clippy::needless_pass_by_value, reason = "the signature CatchPanicLayer asks for")]
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> HttpResponse<Body> {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Problem::internal(format!("a handler panicked: {text}")).into_response()
}
