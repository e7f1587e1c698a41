//! `POST /webhooks/stripe`: cap the body, verify the raw bytes, store one row, answer.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::json::too_large;
use super::problem::Problem;
use crate::inbox::receive::{ReceiveError, Received};

/// Takes one delivery. The work runs in a task of its own: a client that hangs up cancels nothing.
pub async fn stripe(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|_| too_large())?;
    // A header that is not text cannot be a signature of Stripe's; two of them are not one.
    let mut signatures = headers.get_all("stripe-signature").iter().map(|value| value.to_str().unwrap_or_default());
    let signature = signatures.next().map(str::to_owned);
    let receiver = app.receiver.clone();
    let taken = tokio::spawn(async move { receiver.receive(&body, signature.as_deref()).await }).await;
    match taken {
        Ok(Ok(received)) => {
            let duplicate = matches!(received, Received::Duplicate);
            Ok(Json(json!({ "received": true, "duplicate": duplicate })))
        }
        Ok(Err(ReceiveError::Signature(error))) => {
            tracing::warn!(code = error.code(), "a delivery was refused");
            Err(Problem::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()))
        }
        Ok(Err(ReceiveError::NotAnEvent(detail))) => {
            tracing::warn!(%detail, "a signed delivery is not an event");
            Err(Problem::new(StatusCode::BAD_REQUEST, "not_an_event", detail))
        }
        Ok(Err(ReceiveError::Store(error))) => Err(error.into()),
        Err(_) => Err(Problem::unavailable()),
    }
}
