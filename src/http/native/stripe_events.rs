//! `GET /stripe-events`: what came from Stripe, and how far each event has got.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::pages::{Asked, RawQuery, page};
use crate::domain::api_key::Scope;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::json::read_time;
use crate::http::problem::Problem;
use crate::store::events::StoredInput;
use crate::store::listings::{EventListed, EventQuery};

const STATES: [&str; 5] = ["received", "processed", "ignored", "parked", "dead"];

/// Stored events, oldest first.
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    query: RawQuery,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::Finance])?;
    let mut asked = Asked::new(query)?;
    let state = asked.text("state");
    if state.as_deref().is_some_and(|word| !STATES.contains(&word)) {
        return Err(Problem::field("state", format!("has to be one of {}", STATES.join(", "))));
    }
    let event_type = asked.text("type");
    let after = asked.cursor(|text| {
        let (at, id) = text.split_once(' ')?;
        Some((read_time(at)?, id.to_owned()))
    })?;
    let limit = asked.limit()?;
    asked.finish()?;
    let found = app.store.list_events(&EventQuery { after, state, event_type, limit: limit + 1 }).await?;
    Ok(Json(page(found, limit, |event| format!("{} {}", event.received_at, event.id), shown)))
}

/// One event, with its body and what was fetched for it.
pub async fn read(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::Finance])?;
    let found = app.store.read_event(&id).await?;
    let (event, body) = found.ok_or_else(|| Problem::not_found("unknown_event", "no such event is stored here"))?;
    let inputs = app.store.inputs(&id).await?;
    let mut value = shown(&event);
    value["body"] = body.as_deref().map_or(Value::Null, parsed);
    value["inputs"] = inputs.iter().map(input).collect();
    Ok(Json(value))
}

fn input(input: &StoredInput) -> Value {
    json!({ "request": input.request, "status": input.status, "body": parsed(&input.body) })
}

/// The bytes as JSON when they are, else as text.
fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn shown(event: &EventListed) -> Value {
    json!({
        "id": event.id, "type": event.event_type, "api_version": event.api_version, "livemode": event.livemode,
        "object": event.object_id, "created_at": event.created_at, "received_at": event.received_at,
        "origin": event.origin, "state": event.state, "reason": event.reason, "detail": event.detail,
        "account": event.account, "attempts": event.attempts, "due_at": event.due_at, "done_at": event.done_at,
    })
}
