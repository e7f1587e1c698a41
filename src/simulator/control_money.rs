//! Money that goes back: what banks do to refunds and charges, by method and under `/control`.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulator;
use super::control::{note, reply};
use super::objects::dispute::{self, DisputeOrder, DisputeStep};
use super::objects::refund::{self, RefundOutcome};
use super::refusal::Refusal;
use super::server::Account;
use super::state::{Kind, Origin, RefundMode};

/// The routes of this file.
pub(super) fn router() -> Router<Arc<Account>> {
    Router::new()
        .route("/control/refunds", post(mode_route))
        .route("/control/refunds/{refund}", post(settle_route))
        .route("/control/charges/{charge}/dispute", post(dispute_route))
        .route("/control/charges/{charge}/fraud_warning", post(warning_route))
        .route("/control/disputes/{dispute}", post(step_route))
}

impl Simulator {
    /// Says whether refunds from now on succeed at once or wait for their bank.
    pub fn set_refund_mode(&self, mode: RefundMode) -> Result<(), Refusal> {
        set_refund_mode(&self.account, mode)
    }

    /// Lets the bank answer about a refund; gives it in the newest shape.
    pub fn settle_refund(&self, refund: &str, outcome: RefundOutcome) -> Result<Value, Refusal> {
        settle_refund(&self.account, refund, outcome)
    }

    /// Opens a dispute on a charge; gives it in the newest shape.
    pub fn open_dispute(&self, charge: &str, order: &DisputeOrder) -> Result<Value, Refusal> {
        open_dispute(&self.account, charge, order)
    }

    /// Moves a dispute on; gives it in the newest shape.
    pub fn move_dispute(&self, dispute: &str, step: DisputeStep) -> Result<Value, Refusal> {
        move_dispute(&self.account, dispute, step)
    }

    /// Lets a bank warn that a charge is fraud, such as `made_with_stolen_card`; gives the warning.
    pub fn warn_of_fraud(&self, charge: &str, fraud_type: &str) -> Result<Value, Refusal> {
        warn_of_fraud(&self.account, charge, fraud_type)
    }
}

fn set_refund_mode(account: &Arc<Account>, mode: RefundMode) -> Result<(), Refusal> {
    note(account, "refunds", &format!("{mode:?}"));
    account.step(Origin::default(), |state| state.refund_mode = mode)
}

fn settle_refund(account: &Arc<Account>, id: &str, outcome: RefundOutcome) -> Result<Value, Refusal> {
    note(account, "refund", &format!("{id} {outcome:?}"));
    account.step(Origin::default(), |state| refund::settle(state, id, outcome))?
}

fn open_dispute(account: &Arc<Account>, charge: &str, order: &DisputeOrder) -> Result<Value, Refusal> {
    note(account, "dispute", charge);
    account.step(Origin::default(), |state| {
        let id = dispute::open(state, charge, order)?;
        Ok(state.found(Kind::Dispute, &id)?.object.clone())
    })?
}

fn move_dispute(account: &Arc<Account>, id: &str, step: DisputeStep) -> Result<Value, Refusal> {
    note(account, "dispute_step", &format!("{id} {step:?}"));
    account.step(Origin::default(), |state| dispute::step(state, id, step))?
}

fn warn_of_fraud(account: &Arc<Account>, charge: &str, fraud_type: &str) -> Result<Value, Refusal> {
    note(account, "fraud_warning", charge);
    account.step(Origin::default(), |state| {
        let id = dispute::warn_of_fraud(state, charge, fraud_type)?;
        Ok(state.found(Kind::FraudWarning, &id)?.object.clone())
    })?
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeOrder {
    mode: RefundMode,
}

async fn mode_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<ModeOrder>) -> Response {
    reply(set_refund_mode(&account, order.mode).map(|()| json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettleOrder {
    outcome: String,
}

async fn settle_route(
    Shared(account): Shared<Arc<Account>>,
    Path(refund): Path<String>,
    Json(order): Json<SettleOrder>,
) -> Response {
    let outcome =
        RefundOutcome::parse(&order.outcome).ok_or_else(|| Refusal::invalid("outcome must be one of succeed, fail"));
    reply(outcome.and_then(|outcome| settle_refund(&account, &refund, outcome)))
}

async fn dispute_route(
    Shared(account): Shared<Arc<Account>>,
    Path(charge): Path<String>,
    Json(order): Json<DisputeOrder>,
) -> Response {
    reply(open_dispute(&account, &charge, &order))
}

async fn step_route(
    Shared(account): Shared<Arc<Account>>,
    Path(dispute): Path<String>,
    Json(step): Json<DisputeStep>,
) -> Response {
    reply(move_dispute(&account, &dispute, step))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WarningOrder {
    fraud_type: String,
}

async fn warning_route(
    Shared(account): Shared<Arc<Account>>,
    Path(charge): Path<String>,
    Json(order): Json<WarningOrder>,
) -> Response {
    reply(warn_of_fraud(&account, &charge, &order.fraud_type))
}
