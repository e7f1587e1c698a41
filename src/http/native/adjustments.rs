//! `POST /grants/{id}/void` and `POST /adjustments`: grants corrected by hand, each time by one line of the ledger.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::super::auth::Caller;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::entries;
use super::grants::REASON_MAX;
use crate::domain::command::{Command, Decision, IdempotencyKey, Outcome};
use crate::domain::entry::Source;
use crate::domain::ids::{AccountId, GrantId};
use crate::domain::wallet::{Adjustment, Void};
use crate::store::listings::EntryFilter;

/// Takes credits back from a grant, once per key.
pub async fn void(
    State(app): State<App>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    Extension(caller): Extension<Caller>,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let key = body.required("key", read::external_id)?;
    let quantity = body.optional("quantity", read::positive_credits)?;
    let reason = body.required("reason", read::text(REASON_MAX))?;
    body.done()?;
    let grant = path.ok().and_then(|Path(text)| text.parse::<GrantId>().ok()).ok_or_else(unknown)?;
    let account = owner(&app, grant).await?;
    let order = Void { grant, quantity, reason, source: Source::Api, actor: Some(caller.key.to_string()) };
    let key = IdempotencyKey::new("void", &key, &order);
    let decision = app.posting.post(account, Some(key), Command::Void(order)).await?;
    answer(&app, account, &decision).await
}

/// Corrects a grant's amount, once per key.
pub async fn adjust(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let key = body.required("key", read::external_id)?;
    let grant = body.required("grant", read::id::<GrantId>)?;
    let quantity = body.required("quantity", read::signed_credits)?;
    let reason = body.required("reason", read::text(REASON_MAX))?;
    body.done()?;
    let account = owner(&app, grant).await?;
    let order = Adjustment { grant, quantity, reason, source: Source::Api, actor: Some(caller.key.to_string()) };
    let key = IdempotencyKey::new("adjust", &key, &order);
    let decision = app.posting.post(account, Some(key), Command::Adjust(order)).await?;
    answer(&app, account, &decision).await
}

async fn owner(app: &App, grant: GrantId) -> Result<AccountId, Problem> {
    app.store.find_grant(grant).await?.ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_grant", "there is no grant with this id").about("grant")
}

/// What was done, with the line of the ledger that says so; a repeat shows the same line.
async fn answer(app: &App, account: AccountId, decision: &Decision) -> Result<Json<Value>, Problem> {
    let Outcome::Corrected { grant, amount, remaining, entry } = decision.outcome() else {
        return Err(Problem::internal("a grant was corrected with another command's outcome"));
    };
    let this_one = EntryFilter { after: entry.checked_add(1), ..EntryFilter::default() };
    let lines = app.store.entries(account, &this_one, 1).await?;
    Ok(Json(json!({
        "status": super::status_of(decision),
        "grant": grant,
        "quantity": amount,
        "remaining": remaining,
        "entries": lines.iter().map(entries::render).collect::<Vec<_>>(),
    })))
}
