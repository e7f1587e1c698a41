//! The pages buyers are led to: of a session and an invoice what is sold, of a bank its question, and a button.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::Value;

use super::control_cards;
use super::control_payment;
use super::log::Entry;
use super::objects::session_payment::{self, Outcome};
use super::refusal::Refusal;
use super::server::Account;
use super::state::{Kind, Origin, number, text};
use crate::domain::money::Money;

/// `GET /pay/{session}`.
pub async fn show(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    let state = account.state();
    let Some(record) = state.get(Kind::Session, &id) else {
        return missing("session");
    };
    Html(document("Checkout", &content(&record.object, record.extra.get("line_items")))).into_response()
}

/// `POST /pay/{session}`: the button.
pub async fn pay(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    account.log.push(Entry::Control { at: account.now(), action: "pay_page".to_owned(), subject: id.clone() });
    let settled = account.step(Origin::default(), |state| session_payment::settle(state, &id, Outcome::Paid, None));
    match settled.and_then(|settled| settled) {
        Ok(session) => {
            Redirect::to(&text(&session, "success_url").replace("{CHECKOUT_SESSION_ID}", &id)).into_response()
        }
        Err(refusal) => not_paid(&refusal),
    }
}

fn not_paid(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let reason = escape(text(&refusal.body()["error"], "message"));
    (status, Html(document("Not paid", &format!("<p>{reason}</p>")))).into_response()
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Html(document(&format!("No such {what}"), &format!("<p>No such {what}.</p>"))))
        .into_response()
}

/// `GET /invoice/{invoice}`: what an invoice bills, and a button that pays it.
pub async fn show_invoice(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    let state = account.state();
    let record = state.get(Kind::Invoice, &id).filter(|record| record.object["hosted_invoice_url"].is_string());
    let Some(record) = record else { return missing("invoice") };
    let (invoice, lines) = (&record.object, record.extra.get("lines"));
    let rows = rows(lines, "amount", text(invoice, "currency"));
    let left = shown(number(invoice, "amount_remaining"), text(invoice, "currency"));
    let action = match text(invoice, "status") {
        "open" | "uncollectible" => button(&format!("/invoice/{}", escape(&id)), "Pay"),
        other => format!("<p>This invoice is {}.</p>", escape(other)),
    };
    let content = format!("<p>Simulated: no money moves.</p>{rows}<p>To pay: <strong>{left}</strong></p>{action}");
    Html(document("Invoice", &content)).into_response()
}

/// `POST /invoice/{invoice}`: the button.
pub async fn pay_invoice(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    match control_cards::pay_invoice(&account, &id, "pm_card_visa") {
        Ok(_) => Redirect::to(&format!("/invoice/{id}")).into_response(),
        Err(refusal) => not_paid(&refusal),
    }
}

/// The question a card asks its owner, by the intent.
fn question(account: &Account, id: &str) -> Option<String> {
    let kind = if id.starts_with("seti_") { Kind::SetupIntent } else { Kind::PaymentIntent };
    account.state().get(kind, id).map(|record| text(&record.object, "status").to_owned())
}

/// `GET /authenticate/{intent}`: the bank asks its customer.
pub async fn show_question(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    match question(&account, &id).as_deref() {
        None => missing("intent"),
        Some("requires_action") => {
            let form = button(&format!("/authenticate/{}", escape(&id)), "It is me");
            Html(document("Your bank asks", &format!("<p>Is this payment yours?</p>{form}"))).into_response()
        }
        Some(other) => Html(document("Your bank asks", &format!("<p>It is {}.</p>", escape(other)))).into_response(),
    }
}

/// `POST /authenticate/{intent}`: the button.
pub async fn authenticate(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    account.log.push(Entry::Control { at: account.now(), action: "authenticate_page".to_owned(), subject: id.clone() });
    let done = account.step(Origin::default(), |state| control_payment::authenticate(state, &id, true));
    match done.and_then(|done| done) {
        Ok(_) => Redirect::to(&format!("/authenticate/{id}")).into_response(),
        Err(refusal) => not_paid(&refusal),
    }
}

fn button(action: &str, name: &str) -> String {
    format!("<form method=\"post\" action=\"{action}\"><button type=\"submit\">{name}</button></form>")
}

fn rows(lines: Option<&Value>, amount: &str, currency: &str) -> String {
    let mut rows = String::new();
    for line in lines.and_then(Value::as_array).into_iter().flatten() {
        let (name, quantity) = (escape(text(line, "description")), number(line, "quantity"));
        let amount = shown(number(line, amount), currency);
        rows.extend([format!("<tr><td>{name}</td><td>{quantity}</td><td>{amount}</td></tr>")]);
    }
    format!("<table><thead><tr><th>Item</th><th>Quantity</th><th>Amount</th></tr></thead><tbody>{rows}</tbody></table>")
}

fn content(session: &Value, lines: Option<&Value>) -> String {
    let price = |minor: i64| shown(minor, text(session, "currency"));
    let rows = rows(lines, "amount_total", text(session, "currency"));
    let total = price(number(session, "amount_total"));
    let action = if text(session, "status") == "open" {
        button(&format!("/pay/{}", escape(text(session, "id"))), "Pay")
    } else {
        format!("<p>This session is {}.</p>", escape(text(session, "status")))
    };
    format!(
        "<p>Simulated: no money moves.</p>{rows}\
         <p>Total: <strong>{total}</strong></p>{action}"
    )
}

/// An amount as a buyer reads it, such as 20.00 USD.
fn shown(minor: i64, currency: &str) -> String {
    let money = currency.parse().ok().and_then(|currency| Money::from_minor(minor, currency).ok());
    money.map_or_else(|| escape(currency), |money| money.to_string())
}

fn document(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>body{{font:16px sans-serif;max-width:36em;margin:3em auto}}td,th{{text-align:left;padding:.3em 2em .3em 0}}\
         button{{font:inherit;padding:.5em 2em}}</style></head>\
         <body><h1>{title}</h1>{content}</body></html>"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
