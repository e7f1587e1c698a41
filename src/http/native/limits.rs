//! `PUT`, `GET` and `DELETE /customers/{id}/spend-limits/{name}`, and the list of them: how much of a feature may be used
//! within a window of time.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::{Booked, CustomerPath, NamedPath};
use crate::domain::command::{Command, Rejection, SetLimit};
use crate::domain::credits::Credits;
use crate::domain::decide::{Context, standing};
use crate::domain::limit::{LIMIT_NAME_MAX, SpendLimit, Window};
use crate::posting::Reading;

/// The customer and the limit named in a path.
type LimitPath = NamedPath<LIMIT_NAME_MAX>;

/// Sets a limit, or sets it anew; what was used in its running window counts.
pub async fn put(
    State(app): State<App>,
    NamedPath { customer, name }: LimitPath,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let limit = SetLimit {
        name,
        feature: body.required("feature", read::feature)?,
        entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
        window: body.required("window", read::word(&Window::ALL.map(|window| (window.word(), window))))?,
        most: body.required("quantity", read::credits)?,
    };
    body.done()?;
    let name = limit.name.clone();
    match app.post_for(&customer, None, Command::SetLimit(limit)).await? {
        Booked::Done(..) => show(&app, &customer, &name).await,
        Booked::Refused(rejection) => Err(rejection.into()),
    }
}

/// Shows one limit.
pub async fn get(State(app): State<App>, NamedPath { customer, name }: LimitPath) -> Result<Json<Value>, Problem> {
    show(&app, &customer, &name).await
}

/// Takes a limit away.
pub async fn delete(State(app): State<App>, NamedPath { customer, name }: LimitPath) -> Result<Json<Value>, Problem> {
    match app.post_for(&customer, None, Command::DropLimit(name.clone())).await? {
        Booked::Done(..) => Ok(Json(json!({ "name": name, "deleted": true }))),
        Booked::Refused(Rejection::UnknownLimit(_)) => Err(unknown(&name)),
        Booked::Refused(rejection) => Err(rejection.into()),
    }
}

/// Lists a customer's limits, by name. There are few: all of them are on one page.
pub async fn list(State(app): State<App>, CustomerPath(customer): CustomerPath) -> Result<Json<Value>, Problem> {
    let (_, reading) = app.reading(&customer, false).await?;
    Ok(Json(json!({ "data": all(&reading, |_| true)?, "next_cursor": null })))
}

async fn show(app: &App, customer: &str, name: &str) -> Result<Json<Value>, Problem> {
    let (_, reading) = app.reading(customer, false).await?;
    let found = all(&reading, |limit| limit.name == name)?.pop();
    found.map(Json).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_limit", format!("there is no spend limit `{name}`")).about("name")
}

/// The limits of an account as they stand, by name.
pub(super) fn all(reading: &Reading, wanted: impl Fn(&SpendLimit) -> bool) -> Result<Vec<Value>, Problem> {
    let now = reading.now.max(reading.state.last_entry_at);
    let mut limits: Vec<&SpendLimit> = reading.state.limits.iter().filter(|limit| wanted(limit)).collect();
    limits.sort_by(|left, right| left.name.cmp(&right.name));
    limits.into_iter().map(|limit| render(reading, limit, now)).collect()
}

fn render(reading: &Reading, limit: &SpendLimit, now: Timestamp) -> Result<Value, Problem> {
    let context = Context { catalog: &reading.catalog, now };
    let (used, held) = standing(&reading.state, context, limit)?;
    let left = limit.most.checked_sub(used).and_then(|left| left.checked_sub(held)).unwrap_or_default();
    let window = limit.window.around(now).map_err(Rejection::from)?;
    Ok(json!({
        "name": limit.name,
        "feature": limit.feature,
        "entity": Some(limit.entity.as_str()).filter(|entity| !entity.is_empty()),
        "window": limit.window,
        "quantity": limit.most,
        "used": used,
        "held": held,
        "left": left.max(Credits::ZERO),
        "window_start": window.map(|(start, _)| start),
        "window_ends": window.map(|(_, end)| end),
    }))
}
