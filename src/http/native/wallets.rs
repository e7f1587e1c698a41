//! `/wallets`: named groups of a customer's grants, made, listed, changed and ended.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::super::auth::Caller;
use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::customers::wallet_balance;
use super::grants::{PRIORITY_MAX, REASON_MAX, find_wallet};
use crate::domain::command::{Command, Decision, IdempotencyKey, Outcome, Rejection, WalletRef};
use crate::domain::entry::Source;
use crate::domain::ids::{AccountId, WalletId};
use crate::domain::wallet::{NewWallet, Terminate, WalletChange, WalletOrder};
use crate::posting::Reading;
use crate::store::accounts::WalletFound;
use crate::store::customers::PROFILE_TEXT_MAX;
use crate::store::wallets::WalletLine;

/// Most days that a wallet's grants live by default, as the schema has them: a hundred years.
pub const EXPIRY_DAYS_MAX: i32 = 36_500;

/// The wallet named in a path, by its public id.
#[derive(Debug)]
pub struct WalletPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for WalletPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        super::named_in_path(parts, state, "wallet").await.map(Self).map_err(IntoResponse::into_response)
    }
}

/// Makes a wallet, once per key.
pub async fn make(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<(StatusCode, Json<Value>), Problem> {
    let key = body.required("key", read::external_id)?;
    let customer = body.required("customer", read::external_id)?;
    let id = body.optional("id", read::external_id)?;
    let mut new = NewWallet {
        named: None,
        feature: body.required("feature", read::feature)?,
        name: body.optional("name", read::plain(PROFILE_TEXT_MAX))?,
        priority: body.optional("priority", read::integer(-PRIORITY_MAX, PRIORITY_MAX))?.unwrap_or_default(),
        default_expiry_days: body.optional("default_expiry_days", read::days(EXPIRY_DAYS_MAX))?,
        debt_limit: body.optional("limit", read::credits)?,
        metadata: body.optional("metadata", read::metadata)?.unwrap_or_default(),
    };
    if id.as_ref().is_some_and(|id| id.starts_with(WalletId::PREFIX) && id.parse::<WalletId>().is_ok()) {
        return Err(body.refuse("id", "has the form of ids that are made here: leave it out, or take another"));
    }
    body.done()?;
    let account = app.directory.account(&customer).await?;
    if let Some(id) = id {
        let claimed = find_wallet(&app, account, id.clone(), &new.feature).await;
        let other = |problem: Problem| if problem.code() == "unknown_feature" { problem } else { problem.about("id") };
        if let WalletRef::Named { id: wallet, .. } = claimed.map_err(other)? {
            new.named = Some((wallet, id));
        }
    }
    let key = IdempotencyKey::new("wallet", &key, &new);
    let decision = app.posting.post(account, Some(key), Command::Wallet(WalletOrder::Make(new))).await?;
    let status = match &decision {
        Decision::Applied(_) => StatusCode::CREATED,
        Decision::AlreadyApplied(_) => StatusCode::OK,
    };
    Ok((status, Json(show(&app, account, wallet_of(decision.outcome())?).await?)))
}

/// A customer's wallets, newest first.
pub async fn list(State(app): State<App>, QueryFields(mut query): QueryFields) -> Result<Json<Value>, Problem> {
    let customer = query.optional("customer", read::external_id)?;
    let page = Page::<WalletId>::take(&mut query)?;
    let missing = query.refuse("customer", "is missing");
    query.done()?;
    let customer = customer.ok_or(missing)?;
    let (account, reading) = app.reading(&customer, true).await?;
    let lines = app.store.wallets(account, page.after, page.rows()).await?;
    Ok(Json(page.body(lines, |line| line.wallet.id, |line| render(&customer, line, &reading))))
}

/// Shows one wallet.
pub async fn get(State(app): State<App>, WalletPath(id): WalletPath) -> Result<Json<Value>, Problem> {
    let found = find(&app, &id).await?;
    Ok(Json(show(&app, found.account, found.wallet).await?))
}

/// Changes what is said of a wallet; what is absent stays.
pub async fn change(
    State(app): State<App>,
    WalletPath(id): WalletPath,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let priority = body.clearable("priority", read::integer(-PRIORITY_MAX, PRIORITY_MAX))?;
    let metadata = body.clearable("metadata", read::metadata)?;
    let mut change = WalletChange {
        wallet: WalletId::from_uuid(uuid::Uuid::nil()),
        name: body.clearable("name", read::plain(PROFILE_TEXT_MAX))?,
        priority: priority.map(Option::unwrap_or_default),
        default_expiry_days: body.clearable("default_expiry_days", read::days(EXPIRY_DAYS_MAX))?,
        debt_limit: body.clearable("limit", read::credits)?,
        frozen: body.optional("frozen", read::boolean)?,
        metadata: metadata.map(Option::<BTreeMap<_, _>>::unwrap_or_default),
    };
    body.done()?;
    let found = find(&app, &id).await?;
    change.wallet = found.wallet;
    let decision = app.posting.post(found.account, None, Command::Wallet(WalletOrder::Change(change))).await?;
    Ok(Json(show(&app, found.account, wallet_of(decision.outcome())?).await?))
}

/// Ends a wallet, once per key.
pub async fn terminate(
    State(app): State<App>,
    WalletPath(id): WalletPath,
    Extension(caller): Extension<Caller>,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let key = body.required("key", read::external_id)?;
    let reason = body.required("reason", read::text(REASON_MAX))?;
    body.done()?;
    let found = find(&app, &id).await?;
    let actor = Some(caller.key.to_string());
    let order = Terminate { wallet: found.wallet, reason, source: Source::Api, actor };
    let key = IdempotencyKey::new("terminate", &key, &order);
    let decision = app.posting.post(found.account, Some(key), Command::Terminate(order)).await?;
    let status = super::status_of(&decision);
    let Outcome::Terminated { wallet, voided, repaid, grants } = decision.outcome() else {
        return Err(Problem::internal("a wallet was ended with another command's outcome"));
    };
    let wallet = show(&app, found.account, *wallet).await?;
    Ok(Json(json!({ "status": status, "voided": voided, "repaid": repaid, "grants": grants, "wallet": wallet })))
}

fn wallet_of(outcome: &Outcome) -> Result<WalletId, Problem> {
    match outcome {
        Outcome::Wallet { wallet } => Ok(*wallet),
        _ => Err(Problem::internal("a wallet was answered with another command's outcome")),
    }
}

async fn find(app: &App, id: &str) -> Result<WalletFound, Problem> {
    app.store.find_wallet(id).await?.ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_wallet", "there is no wallet with this id").about("wallet")
}

async fn show(app: &App, account: AccountId, wallet: WalletId) -> Result<Value, Problem> {
    let reading = app.posting.read_complete(account).await?;
    let profile = app.store.profile(account).await?.ok_or_else(|| Problem::from(Rejection::Erased))?;
    let line = app.store.wallet(account, wallet).await?.ok_or_else(unknown)?;
    Ok(render(&profile.customer, &line, &reading))
}

/// The wallet as its row says, what lies in it as the reading says.
fn render(customer: &str, line: &WalletLine, reading: &Reading) -> Value {
    let wallet = &line.wallet;
    let now = reading.now.max(reading.state.last_entry_at);
    let mine = reading.state.grants.iter().filter(|grant| grant.wallet == wallet.id);
    let open = mine.filter(|grant| grant.unlimited || grant.remaining.is_positive()).count();
    let mut shown = wallet_balance(&reading.state, wallet, now);
    shown.insert("customer".to_owned(), json!(customer));
    shown.insert("metadata".to_owned(), json!(wallet.metadata));
    shown.insert("grants".to_owned(), json!({ "open": open, "all": line.grants }));
    shown.insert("at".to_owned(), json!(now));
    shown.insert("created_at".to_owned(), json!(line.created_at));
    shown.insert("closed_at".to_owned(), json!(wallet.closed_at));
    Value::Object(shown)
}
