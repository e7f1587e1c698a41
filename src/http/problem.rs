//! Refusals as RFC 9457 problem documents with a stable `code`.

use std::any::Any;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::domain::command::Rejection;
use crate::posting::PostError;
use crate::store::StoreError;

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// Stable, for programs.
    pub code: &'static str,
    /// What is wrong and how to mend it, for people.
    pub detail: String,
    /// The field that is wrong.
    pub field: Option<String>,
    /// Seconds after which to try again.
    pub retry_after_seconds: Option<u64>,
    /// Further members, such as the numbers behind a refusal.
    pub more: Map<String, Value>,
}

impl Problem {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, retry_after_seconds: None, more: Map::new() }
    }

    /// 400 that names a field.
    pub fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, "bad_request", detail) }
    }

    /// 404.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
    }

    /// 503: the database cannot answer. Says nothing else.
    pub fn unavailable() -> Self {
        let detail = "the database cannot answer now; the same request with the same key may be sent again";
        Self { retry_after_seconds: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    /// The body.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "type": format!("https://creditd.dev/problems/{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Value::Object(members) = &mut body {
            if let Some(field) = &self.field {
                members.insert("field".to_owned(), Value::String(field.clone()));
            }
            members.extend(self.more.clone());
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the database did not answer a request");
        Self::unavailable()
    }
}

impl From<PostError> for Problem {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Rejected(rejection) => rejection.into(),
            PostError::UnknownAccount(_) => {
                Self::not_found("unknown_customer", "this customer does not exist any more")
            }
            PostError::Busy(wait) => {
                let detail = "too much is queued; send the same request with the same key again";
                let seconds = wait.as_secs().max(1);
                Self { retry_after_seconds: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail) }
            }
            PostError::Store(error) => {
                tracing::error!(%error, "a command was not carried out");
                Self::unavailable()
            }
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        let bad = |field: &str| Self::field(field, detail.clone());
        match rejection {
            Rejection::UnknownFeature(_) => {
                Self { field: Some("feature".to_owned()), ..Self::not_found("unknown_feature", detail) }
            }
            Rejection::NotMetered(_) => bad("feature"),
            Rejection::UnknownPlan(_) => Self::not_found("unknown_plan", detail),
            Rejection::Insufficient { pool, required, available } => {
                let mut problem = Self::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credits", detail);
                problem.more = Map::from_iter([
                    ("pool".to_owned(), json!(pool)),
                    ("required".to_owned(), json!(required)),
                    ("available".to_owned(), json!(available)),
                ]);
                problem
            }
            Rejection::DebtNotAllowed(_) => {
                let problem = Self::new(StatusCode::BAD_REQUEST, "debt_not_allowed", detail);
                Self { field: Some("when_short".to_owned()), ..problem }
            }
            Rejection::KeyConflict => {
                Self { field: Some("key".to_owned()), ..Self::new(StatusCode::CONFLICT, "key_conflict", detail) }
            }
            Rejection::WalletFeature { .. } | Rejection::WalletClosed(_) => {
                Self { field: Some("wallet".to_owned()), ..Self::new(StatusCode::CONFLICT, "wallet", detail) }
            }
            Rejection::EndsBeforeStart => bad("expires_at"),
            Rejection::Amount(_) => bad("quantity"),
            Rejection::Calendar(_) => bad("expires_at"),
            Rejection::Erased => Self::not_found("unknown_customer", detail),
            Rejection::TooManyItems(_) | Rejection::Constraint(_) => {
                tracing::error!(%detail, "a command was refused by a constraint");
                Self::new(
                    StatusCode::CONFLICT,
                    "refused",
                    "the request contradicts what is stored; nothing was written",
                )
            }
        }
    }
}

/// A panic is a bug of ours: logged, answered without a word about it.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> axum::http::Response<Body> {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("(no text)"), "a handler panicked");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "an error of ours; it is in the log under this request's id",
    )
    .into_response()
}
