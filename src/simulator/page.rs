//! The checkout page a session's `url` leads to: what is sold, and a button that pays.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde_json::Value;

use super::log::Entry;
use super::objects::session_payment::{self, Outcome};
use super::server::Account;
use super::state::{Kind, Origin, number, text};
use crate::domain::money::Money;

/// `GET /pay/{session}`.
pub async fn show(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    let state = account.state();
    let Some(record) = state.get(Kind::Session, &id) else {
        return (StatusCode::NOT_FOUND, Html(document("No such session", "<p>No such Checkout Session.</p>")))
            .into_response();
    };
    Html(document("Checkout", &content(&record.object, record.extra.get("line_items")))).into_response()
}

/// `POST /pay/{session}`: the button.
pub async fn pay(Shared(account): Shared<Arc<Account>>, Path(id): Path<String>) -> Response {
    account.log.push(Entry::Control { at: account.now(), action: "pay_page".to_owned(), subject: id.clone() });
    let settled = account.step(Origin::default(), |state| session_payment::settle(state, &id, Outcome::Paid));
    match settled.and_then(|settled| settled) {
        Ok(session) => {
            Redirect::to(&text(&session, "success_url").replace("{CHECKOUT_SESSION_ID}", &id)).into_response()
        }
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let reason = escape(text(&refusal.body()["error"], "message"));
            (status, Html(document("Not paid", &format!("<p>{reason}</p>")))).into_response()
        }
    }
}

fn content(session: &Value, lines: Option<&Value>) -> String {
    let price = |minor: i64| shown(minor, text(session, "currency"));
    let mut rows = String::new();
    for line in lines.and_then(Value::as_array).into_iter().flatten() {
        let (name, quantity) = (escape(text(line, "description")), number(line, "quantity"));
        let amount = price(number(line, "amount_total"));
        rows.extend([format!("<tr><td>{name}</td><td>{quantity}</td><td>{amount}</td></tr>")]);
    }
    let total = price(number(session, "amount_total"));
    let action = if text(session, "status") == "open" {
        format!(
            "<form method=\"post\" action=\"/pay/{}\"><button type=\"submit\">Pay</button></form>",
            escape(text(session, "id"))
        )
    } else {
        format!("<p>This session is {}.</p>", escape(text(session, "status")))
    };
    format!(
        "<p>Simulated: no money moves.</p>\
         <table><thead><tr><th>Item</th><th>Quantity</th><th>Amount</th></tr></thead><tbody>{rows}</tbody></table>\
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
