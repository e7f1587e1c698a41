//! Cards, pages and keys: how charges behave, what payers pay with, and whether Stripe is there at all, by method and
//! under `/control`.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Simulator;
use super::control::{self, note, reply};
use super::faults::Outage;
use super::objects::card_order::{self, CardOrder};
use super::objects::invoice_payment;
use super::objects::session_payment::Outcome;
use super::refusal::Refusal;
use super::server::Account;
use super::state::{Kind, Origin};

/// What a payer brings who does not say.
const CARD: &str = "pm_card_visa";

/// The routes of this file.
pub(super) fn router() -> Router<Arc<Account>> {
    Router::new()
        .route("/control/customers/{customer}/card", post(customer_route))
        .route("/control/payment_methods/{method}/card", post(method_route))
        .route("/control/invoices/{invoice}/pay", post(invoice_route))
        .route("/control/api_key", post(key_route))
        .route("/control/outage", post(outage_route))
}

impl Simulator {
    /// Says how a customer's next charges without a buyer behave.
    pub fn set_card(&self, customer: &str, order: &CardOrder) -> Result<(), Refusal> {
        set_card(&self.account, Kind::Customer, customer, order)
    }

    /// Says how the next charges with one saved method behave; an order for its customer stands above.
    pub fn set_method(&self, method: &str, order: &CardOrder) -> Result<(), Refusal> {
        set_card(&self.account, Kind::PaymentMethod, method, order)
    }

    /// Pays a session with the test method that the buyer brings, such as `pm_card_chargeDeclined`; gives the session.
    pub fn pay_checkout_with(&self, session: &str, card: &str) -> Result<Value, Refusal> {
        control::pay(&self.account, session, Outcome::Paid, Some(card))
    }

    /// Pays an invoice on its page with the test method that the payer brings; gives the invoice.
    pub fn pay_invoice(&self, invoice: &str, card: &str) -> Result<Value, Refusal> {
        pay_invoice(&self.account, invoice, card)
    }

    /// Refuses every key with 401, or takes the right ones again.
    pub fn revoke_api_key(&self, revoked: bool) {
        set_revoked(&self.account, revoked);
    }

    /// Lets Stripe be away for every call; none ends it.
    pub fn set_outage(&self, outage: Option<Outage>) {
        set_outage(&self.account, outage);
    }
}

fn set_card(account: &Arc<Account>, kind: Kind, id: &str, order: &CardOrder) -> Result<(), Refusal> {
    order.check()?;
    note(account, "card", &format!("{id} {}", order.name()));
    account.step(Origin::default(), |state| card_order::order(state, kind, id, order))?
}

/// Pays an invoice as its payer, on its page.
pub(super) fn pay_invoice(account: &Arc<Account>, invoice: &str, card: &str) -> Result<Value, Refusal> {
    note(account, "pay_invoice", &format!("{invoice} {card}"));
    account.step(Origin::default(), |state| invoice_payment::pay_on_page(state, invoice, card))?
}

fn set_revoked(account: &Account, revoked: bool) {
    note(account, "api_key", if revoked { "revoked" } else { "restored" });
    account.faults().revoked = revoked;
}

fn set_outage(account: &Account, outage: Option<Outage>) {
    note(account, "outage", &outage.map_or_else(|| "none".to_owned(), |outage| format!("{outage:?}")));
    account.faults().outage = outage;
}

async fn customer_route(
    Shared(account): Shared<Arc<Account>>,
    Path(customer): Path<String>,
    Json(order): Json<CardOrder>,
) -> Response {
    reply(set_card(&account, Kind::Customer, &customer, &order).map(|()| json!({})))
}

async fn method_route(
    Shared(account): Shared<Arc<Account>>,
    Path(method): Path<String>,
    Json(order): Json<CardOrder>,
) -> Response {
    reply(set_card(&account, Kind::PaymentMethod, &method, &order).map(|()| json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InvoiceCard {
    #[serde(default)]
    card: Option<String>,
}

async fn invoice_route(
    Shared(account): Shared<Arc<Account>>,
    Path(invoice): Path<String>,
    Json(order): Json<InvoiceCard>,
) -> Response {
    reply(pay_invoice(&account, &invoice, order.card.as_deref().unwrap_or(CARD)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyOrder {
    revoked: bool,
}

async fn key_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<KeyOrder>) -> Response {
    set_revoked(&account, order.revoked);
    reply(Ok(json!({})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OutageOrder {
    on: bool,
    #[serde(default)]
    kind: Option<Outage>,
}

async fn outage_route(Shared(account): Shared<Arc<Account>>, Json(order): Json<OutageOrder>) -> Response {
    let outage = match (order.on, order.kind) {
        (true, Some(kind)) => Ok(Some(kind)),
        (true, None) => Err(Refusal::missing("kind")),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(Refusal::invalid("What has ended has no kind.").with("param", json!("kind"))),
    };
    reply(outage.map(|outage| {
        set_outage(&account, outage);
        json!({})
    }))
}
