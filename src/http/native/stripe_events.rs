//! `GET /stripe-events` and `GET /stripe-events/{id}`: what Stripe told, and what became of it.

use std::fmt;
use std::str::FromStr;

use axum::Json;
use axum::extract::{Path, State, rejection::PathRejection};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::problem::Problem;
use super::super::{App, read};
use crate::store::event_listings::{EventFilter, EventLine, EventState};
use crate::store::events::StoredInput;

/// Longest event type or id, in bytes.
pub const STRIPE_TEXT_MAX: usize = 255;

/// An event's place in the list: when it was stored, then its id.
struct Place(Timestamp, String);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0.as_microsecond(), self.1)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, id) = text.split_once('.').ok_or(())?;
        let at = micros.parse().ok().and_then(|micros| Timestamp::from_microsecond(micros).ok()).ok_or(())?;
        if id.is_empty() || id.len() > STRIPE_TEXT_MAX || id.contains('\0') || at < Timestamp::UNIX_EPOCH {
            return Err(());
        }
        Ok(Self(at, id.to_owned()))
    }
}

/// Lists stored events, newest first.
pub async fn list(State(app): State<App>, QueryFields(mut query): QueryFields) -> Result<Json<Value>, Problem> {
    let states: Vec<(&str, EventState)> = EventState::ALL.into_iter().map(|state| (state.word(), state)).collect();
    let state = query.optional("state", read::word(&states))?;
    let event_type = query.optional("type", read::plain(STRIPE_TEXT_MAX))?;
    let page = Page::<Place>::take(&mut query)?;
    query.done()?;
    let after = page.after.as_ref().map(|place| (place.0, place.1.clone()));
    let lines = app.store.list_events(&EventFilter { state, event_type, after }, page.rows()).await?;
    Ok(Json(page.body(lines, |line| Place(line.received_at, line.id.clone()), render)))
}

/// No such event.
pub(super) fn unknown_event() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_event", "no event with this id is stored").about("id")
}

/// The id in a path, if an event can have it.
pub(super) fn event_id(id: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(id) = id.map_err(|_| unknown_event())?;
    if id.len() > STRIPE_TEXT_MAX || id.contains('\0') { Err(unknown_event()) } else { Ok(id) }
}

/// Shows one stored event with its body and the answers of Stripe kept beside it.
pub async fn get(State(app): State<App>, id: Result<Path<String>, PathRejection>) -> Result<Json<Value>, Problem> {
    let id = event_id(id)?;
    let event = app.store.whole_event(&id).await?.ok_or_else(unknown_event)?;
    let mut shown = render(&event.line);
    if let Value::Object(members) = &mut shown {
        members.insert("body".to_owned(), event.body.as_deref().map_or(Value::Null, document));
        members.insert("inputs".to_owned(), event.inputs.iter().map(input).collect());
    }
    Ok(Json(shown))
}

fn input(input: &StoredInput) -> Value {
    json!({ "request": input.request, "status": input.status, "body": document(&input.body) })
}

/// JSON where it is, else the text.
fn document(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

fn render(line: &EventLine) -> Value {
    json!({
        "id": line.id,
        "type": line.event_type,
        "state": line.state.word(),
        "reason": line.reason,
        "detail": line.detail,
        "customer": line.customer,
        "object": line.object,
        "api_version": line.api_version,
        "livemode": line.livemode,
        "origin": line.origin,
        "attempts": line.attempts,
        "created_at": line.created_at,
        "received_at": line.received_at,
        "due_at": line.due_at,
        "done_at": line.done_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_and_nothing_else_is_one() {
        let place = Place(Timestamp::from_microsecond(1_772_000_000_123_456).unwrap(), "evt_1.x".to_owned());
        let read: Place = place.to_string().parse().unwrap_or_else(|()| panic!("not read"));
        assert_eq!((read.0, read.1), (place.0, place.1));
        for wrong in ["", "1772000000123456", "x.evt_1", "1.", "-1.evt_1", "99999999999999999999.evt_1", "1.a\0b"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
