//! `GET /holds/{id}`, `POST /holds/{id}/extend`, `POST /holds/{id}/release` and `GET /customers/{id}/holds`. Holds are
//! placed by a check and settled by a track.

use axum::Json;
use axum::extract::{Path, State, rejection::PathRejection};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::CustomerPath;
use super::check::ttl_seconds;
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Command, ExtendHold, HeldOutcome, Outcome, Rejection};
use crate::domain::credits::Credits;
use crate::domain::hold::{Hold, HoldState};
use crate::domain::ids::{AccountId, HoldId};
use crate::posting::PostError;
use crate::store::holds::HoldFilter;

/// A hold as the calls that work on it answer it.
#[derive(Debug, Serialize)]
pub struct HoldShown {
    expires_at: Timestamp,
    held: Credits,
    id: HoldId,
    pool: FeatureId,
    state: HoldState,
}

impl From<HeldOutcome> for HoldShown {
    fn from(HeldOutcome { hold, state, held, pool, expires_at }: HeldOutcome) -> Self {
        Self { expires_at, held, id: hold, pool, state }
    }
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(80).collect();
    Problem::new(StatusCode::NOT_FOUND, "unknown_hold", format!("there is no hold `{shown}`, or it has ended"))
        .about("id")
}

/// The hold named in a path, and whose it is.
async fn find(app: &App, id: Result<Path<String>, PathRejection>) -> Result<(AccountId, HoldId), Problem> {
    let Path(text) = id.map_err(|_| unknown(""))?;
    let id: HoldId = text.parse().map_err(|_| unknown(&text))?;
    let account = app.store.find_hold(id).await?.ok_or_else(|| unknown(&text))?;
    Ok((account, id))
}

async fn work(app: &App, account: AccountId, hold: HoldId, command: Command) -> Result<Json<HoldShown>, Problem> {
    match app.posting.post(account, None, command).await {
        Ok(decision) => match decision.outcome() {
            Outcome::Held(held) => Ok(Json(HoldShown::from(held.clone()))),
            Outcome::Opened
            | Outcome::Tracked { .. }
            | Outcome::Limited { .. }
            | Outcome::Granted { .. }
            | Outcome::PlanPaid { .. }
            | Outcome::PlanChanged { .. }
            | Outcome::Followed { .. }
            | Outcome::Reversed { .. }
            | Outcome::Settled => Err(Problem::internal("a hold was answered with another command's outcome")),
        },
        Err(PostError::Rejected(Rejection::UnknownHold(_) | Rejection::Erased)) => Err(unknown(&hold.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// A heartbeat: the hold lives so long from now on, and never less than it did.
pub async fn extend(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    JsonBody(mut body): JsonBody,
) -> Result<Json<HoldShown>, Problem> {
    let ttl_seconds = body.required("ttl_seconds", ttl_seconds)?;
    body.done()?;
    let (account, hold) = find(&app, id).await?;
    work(&app, account, hold, Command::ExtendHold(ExtendHold { hold, ttl_seconds })).await
}

/// Lets go: what is set aside can be spent again.
pub async fn release(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody,
) -> Result<Json<HoldShown>, Problem> {
    body.done()?;
    let (account, hold) = find(&app, id).await?;
    work(&app, account, hold, Command::ReleaseHold(hold)).await
}

/// Shows a hold, an ended one too. An open one is as it stands now: one whose time is over is shown so, booked or not.
pub async fn get(State(app): State<App>, id: Result<Path<String>, PathRejection>) -> Result<Json<Value>, Problem> {
    let (account, id) = find(&app, id).await?;
    let reading = app.posting.read(account).await?;
    let line = app.store.hold(account, id).await?.ok_or_else(|| unknown(&id.to_string()))?;
    let open = reading.state.hold(id).filter(|_| line.hold.state == HoldState::Open);
    let mut shown = render(open.unwrap_or(&line.hold));
    if let Value::Object(members) = &mut shown {
        members.insert("customer".to_owned(), json!(line.customer));
    }
    Ok(Json(shown))
}

/// Lists a customer's open holds, newest first.
pub async fn list(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let feature = query.optional("feature", read::feature)?;
    let entity = query.optional("entity", read::external_id)?;
    let page = Page::<HoldId>::take(&mut query)?;
    query.done()?;
    let account = app.directory.account(&customer).await?;
    let filter = HoldFilter { feature, entity, after: page.after };
    let holds = app.store.open_holds(account, &filter, page.rows()).await?;
    Ok(Json(page.body(holds, |hold| hold.id, render)))
}

/// Every member but whose it is.
pub(super) fn render(hold: &Hold) -> Value {
    json!({
        "id": hold.id,
        "feature": hold.feature,
        "entity": Some(hold.entity.as_str()).filter(|entity| !entity.is_empty()),
        "state": hold.state,
        "when_more": hold.when_more,
        "quantity": hold.quantity,
        "amount": hold.amount,
        "held": hold.held().unwrap_or(Credits::MAX),
        "slices": hold.slices,
        "created_at": hold.created_at,
        "expires_at": hold.expires_at,
        "ended_at": hold.ended_at,
    })
}
