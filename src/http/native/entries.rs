//! `GET /customers/{id}/entries`: the ledger, line by line.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::account_of;
use super::pages::{Asked, RawQuery, page};
use crate::domain::api_key::Scope;
use crate::domain::entry::EntryKind;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::store::listings::{EntryListed, EntryQuery};

/// A customer's ledger lines, oldest first.
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: RawQuery,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::App, Scope::Finance])?;
    let mut asked = Asked::new(query)?;
    let feature = asked.text("feature");
    let kind = asked.text("kind");
    if kind.as_deref().is_some_and(|word| EntryKind::from_word(word).is_none()) {
        let words: Vec<&str> = EntryKind::all().map(EntryKind::word).collect();
        return Err(Problem::field("kind", format!("has to be one of {}", words.join(", "))));
    }
    let (from, to) = (asked.time("from")?, asked.time("to")?);
    let after = asked.cursor(|text| text.parse::<i64>().ok())?.unwrap_or(0);
    let limit = asked.limit()?;
    asked.finish()?;
    let account = account_of(&app, &id).await?;
    let query = EntryQuery { after, feature, kind, from, to, limit: limit + 1 };
    let found = app.store.list_entries(account, &query).await?;
    Ok(Json(page(found, limit, |entry| entry.seq.to_string(), shown)))
}

fn shown(entry: &EntryListed) -> Value {
    json!({
        "seq": entry.seq, "at": entry.at, "event_at": entry.event_at, "kind": entry.kind, "grant": entry.grant,
        "wallet": entry.wallet, "debt": entry.debt, "hold": entry.hold, "feature": entry.feature,
        "amount": entry.amount, "command": entry.command, "used_feature": entry.used_feature,
        "quantity": entry.quantity, "shortfall": entry.shortfall, "source": entry.source, "reason": entry.reason,
        "actor": entry.actor, "metadata": entry.metadata, "hash": hex::encode(&entry.hash),
    })
}
