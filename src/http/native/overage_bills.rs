//! `GET /customers/{id}/overage-bills` lists what was billed of usage beyond the balance.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::App;
use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::problem::Problem;
use super::CustomerPath;
use crate::domain::ids::BillId;
use crate::domain::overage_bill::{Bill, BillLine, BillState};
use crate::store::overage_bills::ListedBill;

/// Lists bills, newest first.
pub async fn list(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let page = Page::<BillId>::take(&mut query)?;
    query.done()?;
    let account = app.directory.account(&customer).await?;
    let bills = app.store.overage_bills(account, page.after, page.rows()).await?;
    Ok(Json(page.body(bills, |listed| listed.bill.id, render)))
}

fn render(ListedBill { bill, created_at }: &ListedBill) -> Value {
    let payment = match bill.state {
        BillState::Paid { payment, .. } => Some(payment),
        BillState::Open | BillState::Invoiced | BillState::Void { .. } => None,
    };
    json!({
        "id": bill.id,
        "state": bill.state.word(),
        // Lines add up within the range of amounts, or the bill could not have been made.
        "amount": bill.amount().ok(),
        "period_end": bill.period_end,
        "own_invoice": bill.is_own,
        "stripe_customer": bill.stripe_customer,
        "stripe_invoice": bill.invoice.as_ref().map(|invoice| &invoice.id),
        "hosted_invoice_url": bill.invoice.as_ref().and_then(|invoice| invoice.url.as_ref()),
        "payment": payment,
        "reason": bill.reason,
        "lines": bill.lines.iter().map(|line| render_line(bill, line)).collect::<Vec<_>>(),
        "created_at": created_at,
        "ended_at": bill.state.ended_at(),
    })
}

fn render_line(bill: &Bill, line: &BillLine) -> Value {
    json!({
        "feature": line.feature,
        "credits": line.credits,
        "unit_price": line.price,
        "amount_minor": line.amount_minor,
        "currency": bill.currency,
        "debt": line.debt,
        "released": line.is_released,
    })
}
