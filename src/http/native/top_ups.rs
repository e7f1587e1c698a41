//! `POST /topups`, `GET /topups/{id}` and `GET /customers/{id}/topups`: credits ordered by hand, and what became of every
//! decision to take money.

use axum::Json;
use axum::extract::{Path, State, rejection::PathRejection};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::top_up_rules::NAME_IN_PATH_MAX;
use super::{Booked, CustomerPath, rule_terms, wallet_id};
use crate::domain::command::{Charging, ChargingRefusal, Command, IdempotencyKey, OrderTopUp, Outcome, Rejection};
use crate::domain::ids::{AccountId, TopUpId};
use crate::domain::top_up::Try;
use crate::store::top_up_listings::{ExcessLine, TopUpFilter, TopUpLine};

/// Orders credits, once per key; a repeat shows what has become of them since.
pub async fn order(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<(StatusCode, Json<Value>), Problem> {
    let key = body.required("key", read::external_id)?;
    let customer = body.required("customer", read::external_id)?;
    let wallet = body.optional("wallet", read::external_id)?;
    let mut order = OrderTopUp {
        feature: body.required("feature", read::feature)?,
        wallet: None,
        quantity: body.required("quantity", read::positive_credits)?,
        currency: body.optional("currency", rule_terms::currency)?,
        payment_method: body.optional("payment_method", rule_terms::card)?,
        mode: app.charger.mode,
        usual_currency: None,
        usual_month: app.charger.usual_month.clone(),
    };
    body.done()?;
    let account = app.directory.account(&customer).await?;
    order.wallet = app.wallet_of(account, wallet).await?;
    order.usual_currency = app.usual_currency(account, order.currency).await;
    let key = IdempotencyKey::new("topup", &key, &order);
    let command = Command::Charging(Charging::Order(Box::new(order)));
    match app.post_for(&customer, Some(key), command).await? {
        Booked::Done(_, Outcome::Charged { top_up: Some(top_up) }) => {
            let account = app.directory.account(&customer).await?;
            Ok((StatusCode::ACCEPTED, Json(show(&app, account, top_up).await?)))
        }
        Booked::Done(..) => Err(Problem::internal("an order was answered with another command's outcome")),
        Booked::Refused(Rejection::Charging(refusal @ ChargingRefusal::CeilingMissing(currency))) => {
            // An order has no ceiling of its own to name.
            let detail = format!("no most of a month is configured in {currency}, and nothing is charged without one");
            Err(Problem::new(StatusCode::BAD_REQUEST, refusal.code(), detail).about("currency"))
        }
        Booked::Refused(rejection) => Err(rejection.into()),
    }
}

/// Shows one top-up.
pub async fn get(State(app): State<App>, id: Result<Path<String>, PathRejection>) -> Result<Json<Value>, Problem> {
    let Path(text) = id.map_err(|_| unknown(""))?;
    let id: TopUpId = text.parse().map_err(|_| unknown(&text))?;
    let account = app.store.find_top_up(id).await?.ok_or_else(|| unknown(&text))?;
    Ok(Json(show(&app, account, id).await?))
}

/// Lists a customer's top-ups, newest first.
pub async fn list(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let feature = query.optional("feature", read::feature)?.map(|feature| feature.to_string());
    let rule = query.optional("rule", read::plain(NAME_IN_PATH_MAX))?;
    let page = Page::<TopUpId>::take(&mut query)?;
    query.done()?;
    let account = app.directory.account(&customer).await?;
    let filter = TopUpFilter { feature, rule, after: page.after };
    let lines = app.store.top_ups(account, &filter, page.rows()).await?;
    Ok(Json(page.body(lines, |line| line.top_up.id, render)))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().take(80).collect();
    Problem::new(StatusCode::NOT_FOUND, "unknown_top_up", format!("there is no top-up `{shown}`")).about("id")
}

async fn show(app: &App, account: AccountId, top_up: TopUpId) -> Result<Value, Problem> {
    let line = app.store.top_up(account, top_up).await?;
    line.as_ref().map(render).ok_or_else(|| unknown(&top_up.to_string()))
}

fn render(line: &TopUpLine) -> Value {
    let (top_up, terms) = (&line.top_up, &line.top_up.terms);
    json!({
        "id": top_up.id,
        "customer": line.customer,
        "rule": top_up.rule,
        "state": top_up.state,
        "reason": top_up.reason,
        "feature": terms.feature,
        "wallet": line.wallet.map(|wallet| wallet_id(wallet, line.wallet_key.as_deref())),
        "quantity": top_up.credits,
        "amount": top_up.amount,
        "packs": terms.units,
        "plan": terms.source.plan,
        "mode": terms.mode,
        "payment_method": terms.payment_method,
        "balance_before": terms.balance,
        "grant": line.is_granted.then_some(top_up.grant),
        "payment": top_up.payment,
        "url": top_up.link.as_ref().map(|link| link.url.as_str()),
        "url_expires_at": top_up.link.as_ref().and_then(|link| link.expires_at),
        "tries": line.tries.iter().map(attempt).collect::<Vec<_>>(),
        "refunds": line.excess.iter().map(refund).collect::<Vec<_>>(),
        "created_at": top_up.created_at,
        "due_at": top_up.due_at,
        "ended_at": top_up.ended_at,
    })
}

fn attempt(one: &Try) -> Value {
    json!({
        "number": one.number,
        "state": one.state,
        "payment_method": one.payment_method,
        "payment_intent": one.payment_intent,
        "invoice": one.invoice,
        "code": one.why.code,
        "decline_code": one.why.decline_code,
        "advice_code": one.why.advice_code,
        "created_at": one.created_at,
        "ended_at": one.ended_at,
    })
}

/// What was paid a second time, and goes back.
fn refund(excess: &ExcessLine) -> Value {
    json!({
        "payment": excess.payment,
        "payment_intent": excess.payment_intent,
        "amount": excess.amount,
        "state": excess.state,
        "stripe_refund": excess.stripe_refund,
        "created_at": excess.created_at,
        "ended_at": excess.ended_at,
    })
}
