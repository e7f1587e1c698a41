//! `POST /setup`: a page on which a customer leaves a card.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::App;
use super::super::fields::Reading;
use super::super::json::{Json as Input, JsonBody};
use super::super::problem::Problem;
use super::super::read;
use super::attach::url;
use crate::domain::money::Currency;
use crate::selling::setup::SetupOrder;

/// Bytes of a currency's code.
pub const CURRENCY_LENGTH: usize = 3;

/// Opens the page, or gives the one that is open.
pub async fn open(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let customer = body.required("customer", read::external_id)?;
    let success_url = body.required("success_url", url)?;
    let cancel_url = body.optional("cancel_url", url)?;
    let currency = body.optional("currency", currency)?;
    body.done()?;
    let account = app.directory.account(&customer).await?;
    let order = SetupOrder { account, customer: customer.clone(), success_url, cancel_url, currency };
    let checkout_url = app.selling.set_up(order).await?;
    Ok(Json(json!({ "customer": customer, "checkout_url": checkout_url })))
}

fn currency(value: Input) -> Reading<Currency> {
    let text = read::plain(CURRENCY_LENGTH)(value)?;
    text.parse().map_err(|_| "has to be a currency's code of three letters, such as usd".to_owned())
}
