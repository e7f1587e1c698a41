//! `POST /webhooks/stripe`: raw bytes in, verified and stored, answered. Nothing is decided here.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::App;
use super::json::{BODY_BYTES_MAX, read_capped};
use super::problem::Problem;
use crate::meters::WEBHOOK_DELIVERIES;
use crate::store::StoreError;

/// The header that carries Stripe's signatures.
const SIGNATURE: &str = "stripe-signature";

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// Stored, to be worked on.
    Stored,
    /// It was there.
    Duplicate,
    /// Stored with the reason why nothing is to be done.
    Ignored,
}

/// Why a delivery was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Its signature does not hold.
    #[error("{detail}")]
    Signature {
        /// Stable code.
        code: &'static str,
        /// In words.
        detail: String,
    },
    /// Its signature holds and its body is no event.
    #[error("the body is no event: {0}")]
    NotJson(String),
    /// It is larger than is taken.
    #[error("the body is too large")]
    TooLarge,
    /// It could not be stored; Stripe sends it again.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Verifies a delivery and stores it.
pub trait Receive: Send + Sync {
    /// Takes the raw bytes and the signature header; nothing is written before the signature holds.
    fn receive<'a>(&'a self, body: Bytes, signature: Option<&'a str>) -> BoxFuture<'a, Result<Received, ReceiveError>>;
}

impl From<ReceiveError> for Problem {
    fn from(error: ReceiveError) -> Self {
        let text = error.to_string();
        match error {
            ReceiveError::Signature { code, detail } => Self::new(StatusCode::BAD_REQUEST, code, detail),
            ReceiveError::NotJson(_) => Self::new(StatusCode::BAD_REQUEST, "not_an_event", text),
            ReceiveError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text),
            ReceiveError::Store(error) => {
                let problem = Self::from(&error);
                if problem.status().is_server_error() { problem } else { Self::internal(text) }
            }
        }
    }
}

/// What became of a delivery, as a metric's word.
const fn word(received: &Result<Received, ReceiveError>) -> &'static str {
    match received {
        Ok(Received::Stored) => "stored",
        Ok(Received::Duplicate) => "duplicate",
        Ok(Received::Ignored) => "ignored",
        Err(ReceiveError::Signature { code, .. }) => code,
        Err(ReceiveError::NotJson(_)) => "not_an_event",
        Err(ReceiveError::TooLarge) => "body_too_large",
        Err(ReceiveError::Store(_)) => "unavailable",
    }
}

/// Takes one delivery.
pub async fn stripe(State(app): State<App>, request: Request) -> Result<Json<Value>, Problem> {
    let (head, body) = request.into_parts();
    let body = read_capped(body, BODY_BYTES_MAX).await.inspect_err(|problem| {
        let large = problem.status() == StatusCode::PAYLOAD_TOO_LARGE;
        WEBHOOK_DELIVERIES.add(&[if large { "body_too_large" } else { "body_unread" }]);
    })?;
    let signature = head.headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    let received = app.webhook.receive(body, signature).await;
    WEBHOOK_DELIVERIES.add(&[word(&received)]);
    let received = received?;
    tracing::debug!(?received, "a delivery was taken");
    Ok(Json(json!({ "received": true })))
}
