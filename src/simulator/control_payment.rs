//! Payers and their cards: links followed, parts paid, authentications, currencies and taxes, by method and under
//! `/control`.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulator;
use super::control::{note, reply};
use super::control_invoice::{InvoiceOrder, make_invoice};
use super::objects::tax::TaxRate;
use super::objects::{intent_payment, invoice_payment, payment_link, payment_method, session_payment, setup_intent};
use super::refusal::Refusal;
use super::server::Account;
use super::state::{Origin, State};

/// The highest tax: everything.
const BASIS_POINTS_MAX: u16 = 10_000;

/// The routes of this file.
pub(super) fn router() -> Router<Arc<Account>> {
    Router::new()
        .route("/control/payment_links/{link}/follow", post(follow_route))
        .route("/control/invoices/{invoice}/pay_part", post(part_route))
        .route("/control/payment_intents/{intent}/authenticate", post(authenticate_route))
        .route("/control/setup_intents/{intent}/authenticate", post(authenticate_route))
        .route("/control/payment_methods/{method}/renew", post(renew_route))
        .route("/control/sessions/{session}/present", post(present_route))
        .route("/control/tax", post(tax_route))
        .route("/control/quotes/{quote}/invoice", post(quote_route))
}

impl Simulator {
    /// Follows a payment link; gives the session it leads to, which is then paid like any other.
    pub fn follow_payment_link(&self, link: &str) -> Result<Value, Refusal> {
        step(&self.account, "follow", link, |state| payment_link::follow(state, link))
    }

    /// Pays a part of an open invoice; gives the invoice.
    pub fn pay_invoice_part(&self, invoice: &str, amount: i64) -> Result<Value, Refusal> {
        step(&self.account, "pay_part", invoice, |state| invoice_payment::pay_part(state, invoice, amount))
    }

    /// Lets the owner of a card authenticate, or fail to: of a payment or setup intent that requires action, or of a
    /// payment intent that was refused because its owner was away. Gives the intent.
    pub fn authenticate(&self, intent: &str, succeeds: bool) -> Result<Value, Refusal> {
        step(&self.account, "authenticate", intent, |state| authenticate(state, intent, succeeds))
    }

    /// Lets a card's network send a new expiry; gives the card.
    pub fn renew_card(&self, method: &str, exp_month: i64, exp_year: i64) -> Result<Value, Refusal> {
        step(&self.account, "renew_card", method, |state| {
            payment_method::update_automatically(state, method, exp_month, exp_year)
        })
    }

    /// Shows an open session to its buyer in a currency of their own; it is paid as it was before.
    pub fn present_checkout(&self, session: &str, amount: i64, currency: &str) -> Result<Value, Refusal> {
        step(&self.account, "present", session, |state| session_payment::present(state, session, amount, currency))
    }

    /// Makes and pays the invoice of an accepted quote; the order is of a price, for the reason `quote_accept`.
    pub fn make_quote_invoice(&self, quote: &str, order: &InvoiceOrder) -> Result<Value, Refusal> {
        make_invoice(&self.account, order, Some(quote))
    }

    /// Sets the tax of what asks for automatic tax from now on.
    pub fn set_tax(&self, rate: TaxRate) -> Result<(), Refusal> {
        set_tax(&self.account, rate).map(|_| ())
    }
}

fn step(
    account: &Arc<Account>,
    action: &str,
    subject: &str,
    act: impl FnOnce(&mut State) -> Result<Value, Refusal>,
) -> Result<Value, Refusal> {
    note(account, action, subject);
    account.step(Origin::default(), act)?
}

/// Authenticates an intent of either family.
pub(super) fn authenticate(state: &mut State, intent: &str, succeeds: bool) -> Result<Value, Refusal> {
    if intent.starts_with("seti_") {
        setup_intent::authenticate(state, intent, succeeds)
    } else {
        intent_payment::authenticate(state, intent, succeeds)
    }
}

fn set_tax(account: &Arc<Account>, rate: TaxRate) -> Result<Value, Refusal> {
    if rate.basis_points > BASIS_POINTS_MAX {
        return Err(Refusal::invalid(&format!("basis_points is at most {BASIS_POINTS_MAX}")));
    }
    step(account, "tax", &format!("{rate:?}"), |state| {
        state.tax = rate;
        Ok(json!({}))
    })
}

async fn follow_route(Shared(account): Shared<Arc<Account>>, Path(link): Path<String>) -> Response {
    reply(step(&account, "follow", &link, |state| payment_link::follow(state, &link)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartOrder {
    amount: i64,
}

async fn part_route(
    Shared(account): Shared<Arc<Account>>,
    Path(invoice): Path<String>,
    Json(order): Json<PartOrder>,
) -> Response {
    reply(step(&account, "pay_part", &invoice, |state| invoice_payment::pay_part(state, &invoice, order.amount)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthenticateOrder {
    succeeds: bool,
}

async fn authenticate_route(
    Shared(account): Shared<Arc<Account>>,
    Path(intent): Path<String>,
    Json(order): Json<AuthenticateOrder>,
) -> Response {
    reply(step(&account, "authenticate", &intent, |state| authenticate(state, &intent, order.succeeds)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewOrder {
    exp_month: i64,
    exp_year: i64,
}

async fn renew_route(
    Shared(account): Shared<Arc<Account>>,
    Path(method): Path<String>,
    Json(order): Json<RenewOrder>,
) -> Response {
    reply(step(&account, "renew_card", &method, |state| {
        payment_method::update_automatically(state, &method, order.exp_month, order.exp_year)
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentOrder {
    amount: i64,
    currency: String,
}

async fn present_route(
    Shared(account): Shared<Arc<Account>>,
    Path(session): Path<String>,
    Json(order): Json<PresentOrder>,
) -> Response {
    reply(step(&account, "present", &session, |state| {
        session_payment::present(state, &session, order.amount, &order.currency)
    }))
}

async fn tax_route(Shared(account): Shared<Arc<Account>>, Json(rate): Json<TaxRate>) -> Response {
    reply(set_tax(&account, rate))
}

async fn quote_route(
    Shared(account): Shared<Arc<Account>>,
    Path(quote): Path<String>,
    Json(order): Json<InvoiceOrder>,
) -> Response {
    reply(make_invoice(&account, &order, Some(&quote)))
}
