//! Overage on invoices: the draft that a customer's overage goes on, and lines of ours on invoices that are paid or void.
//!
//! A line of ours carries the bill and its own place in that bill in its metadata, and gives no credits (rule 6).

use std::collections::BTreeMap;

use super::facts;
use super::intent::{Intent, OverageDue, Why, WishedBill};
use super::interpret::{Context, Stop, needed};
use super::invoice::{self, Cost};
use super::subscription;
use crate::domain::ids::BillId;
use crate::domain::money::Currency;
use crate::domain::overage_bill::{BILL_KEY, LINE_KEY};
use crate::stripe::wire::{Event, Invoice, InvoiceLine, Wire};

/// `invoice.created`: the draft of a subscription's next period stays one for about an hour, and takes overage meanwhile.
pub(super) fn drafted(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let invoice = Invoice::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let is_cycle = invoice.billing_reason.as_deref() == Some("subscription_cycle");
    if !is_cycle || invoice.status.as_deref() != Some("draft") {
        let detail = "not the draft of a subscription's next period: no overage goes on it, and invoice.paid decides";
        return Err(Stop::Ignore(Why::new("invoice_not_paid", detail)));
    }
    let id = needed(invoice.id.clone(), "id")?;
    let created = needed(invoice.created.or(event.created), "created")?;
    context.after_cutover(created)?;
    let who = facts::who(&invoice::metadata_of(&invoice), None, invoice.customer.as_deref());
    let due = OverageDue {
        invoice: id,
        currency: currency(needed(invoice.currency.as_deref(), "currency")?)?,
        // The end of the period that is over; what was used after it is for the next one.
        period_end: invoice.period.map_or(created, |period| period.end.min(created)),
        stripe_customer: needed(invoice.customer.clone(), "customer")?,
    };
    Ok(vec![Intent::BillOverage(due, who)])
}

/// `invoice.voided`: what waited for a renewal waits no longer, and bills of overage on it are void.
pub(super) fn voided(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let bills = void(event, "the invoice was voided", Some(context))?;
    match subscription::unpaid(event, context) {
        Ok(mut intents) => {
            intents.extend(bills);
            Ok(intents)
        }
        Err(Stop::Ignore(_)) if bills.is_some() => Ok(bills.into_iter().collect()),
        Err(stop) => Err(stop),
    }
}

/// `invoice.deleted`: a draft is no more, and bills of overage on it are void.
pub(super) fn deleted(event: &Event) -> Result<Vec<Intent>, Stop> {
    let nothing = || Stop::Ignore(Why::new("invoice_not_paid", "a draft that is no more, without overage of ours"));
    // Stripe does not know it any more: what the event itself carries of it has to do.
    void(event, "the draft was deleted", None)?.map(|intent| vec![intent]).ok_or_else(nothing)
}

/// The bills of an invoice that nobody will pay. With a context Stripe is asked for lines that the event leaves out.
fn void(event: &Event, reason: &'static str, context: Option<Context<'_>>) -> Result<Option<Intent>, Stop> {
    let invoice = Invoice::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let Some(id) = invoice.id.clone() else { return Ok(None) };
    let bills = match context.filter(|context| context.answers.can_ask()) {
        Some(context) if invoice.lines.is_some() => of_lines(&invoice::lines(&invoice, &id, context)?)?,
        Some(_) | None => of_lines(invoice.lines.as_ref().map(|page| page.data.as_slice()).unwrap_or_default())?,
    };
    if bills.is_empty() {
        return Ok(None);
    }
    let who = facts::who(&invoice::metadata_of(&invoice), None, invoice.customer.as_deref());
    Ok(Some(Intent::BillsVoid { bills: bills.into_iter().map(|bill| bill.bill).collect(), invoice: id, reason, who }))
}

/// Is a line one of overage that we billed?
pub(super) fn is_ours(line: &InvoiceLine) -> bool {
    line.metadata.contains_key(BILL_KEY)
}

/// The bills that lines are of.
pub(super) fn of_lines(lines: &[InvoiceLine]) -> Result<Vec<WishedBill>, Stop> {
    let mut bills: BTreeMap<BillId, WishedBill> = BTreeMap::new();
    for line in lines.iter().filter(|line| is_ours(line)) {
        let text = |key: &str| line.metadata.get(key).map(String::as_str).unwrap_or_default();
        let bad = |key: &str| {
            let detail = format!("lines.metadata.{key} `{}` is not what creditd writes there", facts::cut(text(key)));
            Why::new("bad_metadata", detail)
        };
        let bill: BillId = text(BILL_KEY).parse().map_err(|_| bad(BILL_KEY))?;
        let number: usize = text(LINE_KEY).parse().map_err(|_| bad(LINE_KEY))?;
        let of = line.currency.as_deref().or(line.amount.as_ref().map(|amount| amount.currency.as_str()));
        let currency = currency(needed(of, "lines.currency")?)?;
        let known = bills.entry(bill).or_insert_with(|| WishedBill { bill, currency, lines: Vec::new() });
        if known.currency != currency {
            return Err(Why::new("bad_money", format!("the lines of {bill} are of two currencies")).into());
        }
        known.lines.push(number);
    }
    Ok(bills.into_values().collect())
}

/// What lines of overage cost together; none without any.
pub(super) fn cost(lines: &[InvoiceLine]) -> Result<Option<Cost>, Stop> {
    let mut sum: Option<Cost> = None;
    for line in lines.iter().filter(|line| is_ours(line)) {
        let cost = Cost::of(line)?;
        sum = Some(sum.map_or(Ok(cost), |sum| sum.plus(cost))?);
    }
    Ok(sum)
}

fn currency(code: &str) -> Result<Currency, Stop> {
    Ok(code.parse().map_err(|_| Why::new("bad_money", format!("`{}` is no currency", facts::cut(code))))?)
}
