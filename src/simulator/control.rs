//! The control endpoint: what buyers, banks and operators do, and what a test asks to go wrong.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::SimulatorError;
use super::chaos::Chaos;
use super::control_cards;
use super::control_invoice::{InvoiceOrder, make_invoice};
use super::control_money;
use super::control_payment;
use super::delivery::{self, Deliverer};
use super::endpoint::Webhook;
use super::faults::{FaultRule, RULES_MAX};
use super::log::Entry;
use super::objects::session_payment::{self, Outcome};
use super::refusal::Refusal;
use super::server::Account;
use super::state::{Dunning, Origin};

/// A write never waits longer than this.
const LATENCY_MAX: Duration = Duration::from_mins(1);
/// Writes a test may let fail at once.
const FAILING_WRITES_MAX: u32 = 1_000;

/// The routes under `/control`.
pub fn router() -> Router<Arc<Account>> {
    Router::new()
        .route("/control/pay/{session}", post(pay_route))
        .route("/control/invoices", post(invoice_route))
        .route("/control/events/{event}/deliver", post(deliver_route))
        .route("/control/webhook", post(webhook_route))
        .route("/control/faults", post(faults_route))
        .route("/control/chaos", post(chaos_route))
        .route("/control/dunning", post(dunning_route))
        .route("/control/log", get(log_route))
        .merge(control_cards::router())
        .merge(control_money::router())
        .merge(control_payment::router())
}

/// Records a step in the log.
pub(super) fn note(account: &Account, action: &str, subject: &str) {
    let (action, subject) = (action.to_owned(), subject.to_owned());
    account.log.push(Entry::Control { at: account.now(), action, subject });
}

/// Settles a session.
pub(super) fn pay(
    account: &Arc<Account>,
    session: &str,
    outcome: Outcome,
    card: Option<&str>,
) -> Result<Value, Refusal> {
    note(account, "pay", session);
    account.step(Origin::default(), |state| session_payment::settle(state, session, outcome, card))?
}

/// Asks for faults, within bounds.
pub(super) fn set_faults(account: &Account, latency: Duration, failing_writes: u32) {
    note(account, "faults", &format!("latency {} ms, failing writes {failing_writes}", latency.as_millis()));
    let mut faults = account.faults();
    faults.latency = latency.min(LATENCY_MAX);
    faults.failing_writes = failing_writes.min(FAILING_WRITES_MAX);
}

/// Spoils calls by rules.
pub(super) fn set_fault_rules(account: &Account, rules: Vec<FaultRule>) -> Result<(), SimulatorError> {
    if rules.len() > RULES_MAX {
        return Err(SimulatorError::OutOfBounds("rules"));
    }
    for rule in &rules {
        rule.check().map_err(SimulatorError::OutOfBounds)?;
    }
    let names: Vec<String> = rules.iter().map(FaultRule::name).collect();
    note(account, "fault_rules", &names.join(", "));
    account.faults().set_rules(rules);
    Ok(())
}

/// Delivers in a disorder, or in order again.
pub(super) fn set_chaos(account: &Arc<Account>, chaos: Option<Chaos>) -> Result<(), SimulatorError> {
    if let Some(chaos) = &chaos {
        chaos.check().map_err(SimulatorError::OutOfBounds)?;
    }
    note(account, "chaos", &chaos.as_ref().map_or_else(|| "none".to_owned(), |chaos| format!("{chaos:?}")));
    Deliverer::set_chaos(account, chaos);
    Ok(())
}

/// Says what becomes of subscriptions whose last retry fails.
pub(super) fn set_dunning(account: &Arc<Account>, dunning: Dunning) -> Result<(), Refusal> {
    note(account, "dunning", &format!("{dunning:?}"));
    account.step(Origin::default(), |state| state.dunning = dunning)
}

/// Sends later events elsewhere, or keeps them when there is no URL.
pub(super) fn set_webhook(account: &Account, webhook: Webhook) -> Result<(), SimulatorError> {
    note(account, "webhook", webhook.url.as_deref().unwrap_or("none"));
    let deliver = webhook.url.is_some();
    account.deliverer.set_webhook(webhook)?;
    account.state().deliver = deliver;
    Ok(())
}

pub(super) fn reply(result: Result<Value, Refusal>) -> Response {
    match result {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            (status, Json(refusal.body())).into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayOrder {
    outcome: String,
    /// The test method the buyer brings, which pays; one that succeeds without.
    #[serde(default)]
    card: Option<String>,
}

async fn pay_route(
    Shared(account): Shared<Arc<Account>>,
    Path(session): Path<String>,
    Json(order): Json<PayOrder>,
) -> Response {
    let outcome = Outcome::parse(&order.outcome)
        .ok_or_else(|| Refusal::invalid("outcome must be one of paid, async, async_succeed, async_fail, expire"));
    reply(outcome.and_then(|outcome| pay(&account, &session, outcome, order.card.as_deref())))
}

async fn invoice_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<InvoiceOrder>) -> Response {
    reply(make_invoice(&account, &order, None))
}

async fn deliver_route(Shared(account): Shared<Arc<Account>>, Path(event): Path<String>) -> Response {
    note(&account, "deliver", &event);
    let sent = delivery::attempt_once(&account, &event).await;
    reply(match sent {
        Ok(status) => Ok(json!({ "event": event, "status": status })),
        Err(SimulatorError::NoSuchEvent(id)) => Err(Refusal::not_found("event", &id)),
        Err(error) => Err(Refusal::invalid(&error.to_string())),
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookOrder {
    url: Option<String>,
    #[serde(default)]
    secrets: Vec<String>,
}

async fn webhook_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<WebhookOrder>) -> Response {
    let set = set_webhook(&account, Webhook { url: order.url, secrets: order.secrets });
    reply(set.map(|()| json!({})).map_err(|error| Refusal::invalid(&error.to_string())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultsOrder {
    #[serde(default)]
    latency_milliseconds: u64,
    #[serde(default)]
    failing_writes: u32,
    #[serde(default)]
    rules: Vec<FaultRule>,
}

async fn faults_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<FaultsOrder>) -> Response {
    let set = set_fault_rules(&account, order.rules).map_err(|error| Refusal::invalid(&error.to_string()));
    reply(set.map(|()| {
        set_faults(&account, Duration::from_millis(order.latency_milliseconds), order.failing_writes);
        json!({})
    }))
}

async fn chaos_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<Option<Chaos>>) -> Response {
    reply(set_chaos(&account, order).map(|()| json!({})).map_err(|error| Refusal::invalid(&error.to_string())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DunningOrder {
    outcome: Dunning,
}

async fn dunning_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<DunningOrder>) -> Response {
    reply(set_dunning(&account, order.outcome).map(|()| json!({})))
}

async fn log_route(Shared(account): Shared<Arc<Account>>) -> Response {
    Json(account.log.entries()).into_response()
}
