//! `GET /customers/{id}/entries`: the ledger's lines, with the arithmetic of each draw.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::problem::Problem;
use super::super::{App, read};
use super::{CustomerPath, wallet_id};
use crate::domain::entry::EntryKind;
use crate::store::listings::{EntryFilter, EntryLine};

/// Lists entries, newest first.
pub async fn list(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let kinds: Vec<(&str, EntryKind)> = EntryKind::all().map(|kind| (kind.word(), kind)).collect();
    let mut filter = EntryFilter {
        feature: query.optional("feature", read::feature)?,
        kind: query.optional("kind", read::word(&kinds))?,
        from: query.optional("from", read::time)?,
        to: query.optional("to", read::time)?,
        after: None,
    };
    let page = Page::<i64>::take(&mut query)?;
    query.done()?;
    filter.after = page.after;
    let account = app.directory.account(&customer).await?;
    let lines = app.store.entries(account, &filter, page.rows()).await?;
    Ok(Json(page.body(lines, |line| line.entry.seq, render)))
}

pub(super) fn render(line: &EntryLine) -> Value {
    let entry = &line.entry;
    json!({
        "seq": entry.seq,
        "at": entry.at,
        "event_at": entry.event_at,
        "kind": entry.kind,
        "feature": entry.feature,
        "amount": entry.amount,
        "grant": entry.grant,
        "wallet": entry.wallet.map(|wallet| wallet_id(wallet, line.wallet_key.as_deref())),
        "debt": entry.debt,
        "hold": entry.hold,
        "command": entry.command,
        "used_feature": entry.used_feature,
        "quantity": entry.quantity,
        "shortfall": entry.shortfall,
        "source": entry.source,
        "hash": hex::encode(line.hash.0),
        "reason": line.reason,
        "actor": line.actor,
        "metadata": line.metadata,
    })
}
