//! What becomes of an invoice: finalized, charged, tried again, paid, voided, given up.

use serde_json::{Value, json};

use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, Record, State, number, text};
use super::card::{self, Behavior, Charged};
use super::{customer, invoice_payment, subscription_life};

/// Parameters of a finalization.
pub const FINALIZE: &[&str] = &["auto_advance", "expand[]"];

/// How long a cycle invoice stays a draft.
pub const DRAFT_SECONDS: i64 = 60 * 60;
/// How long a draft waits for an endpoint that does not take its `invoice.created`.
const UNTAKEN_SECONDS_MAX: i64 = 72 * 60 * 60;
/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Days after the first attempt at which a charge is tried again.
const RETRY_DAYS: [i64; 3] = [3, 5, 7];

/// When something happens to an invoice by itself.
pub fn due(invoice: &Value) -> Option<i64> {
    match text(invoice, "status") {
        "draft" => invoice["automatically_finalizes_at"].as_i64(),
        "open" => invoice["next_payment_attempt"].as_i64(),
        _ => None,
    }
}

/// Whether an invoice is paid without its payer: one that is sent waits for them.
fn charges_itself(state: &State, id: &str) -> bool {
    let found = state.get(Kind::Invoice, id);
    found.is_some_and(|record| text(&record.object, "collection_method") == "charge_automatically")
}

/// What is due happens: a draft is finalized and charged, an open invoice is charged again.
pub fn fire(state: &mut State, id: &str) {
    let Some(record) = state.get(Kind::Invoice, id) else { return };
    let patience = number(&record.object, "created").saturating_add(UNTAKEN_SECONDS_MAX);
    if text(&record.object, "status") == "draft" {
        if state.now < patience && state.is_untaken("invoice.created", id) {
            let later = state.now.saturating_add(DRAFT_SECONDS).min(patience);
            return state.set(Kind::Invoice, id, json!({ "automatically_finalizes_at": later }));
        }
        let paused = paused(state, id);
        if paused.as_deref() == Some("keep_as_draft") {
            return stop_collecting(state, id);
        }
        finalize(state, id);
        if let Some(behavior) = paused.filter(|_| is_open(state, id)) {
            // It is open, so both can happen.
            let _done = if behavior == "void" { void(state, id) } else { mark_uncollectible(state, id) };
            return;
        }
    }
    if is_open(state, id) && charges_itself(state, id) {
        collect(state, id);
    }
}

/// What becomes of an invoice whose subscription is not collected for.
fn paused(state: &State, id: &str) -> Option<String> {
    let parent = &state.get(Kind::Invoice, id)?.object["parent"]["subscription_details"];
    let subscription = &state.get(Kind::Subscription, text(parent, "subscription"))?.object;
    subscription["pause_collection"]["behavior"].as_str().map(str::to_owned)
}

/// Whether an invoice waits for its payment.
pub fn is_open(state: &State, id: &str) -> bool {
    state.get(Kind::Invoice, id).is_some_and(|record| text(&record.object, "status") == "open")
}

/// The times of an invoice with that of now.
pub fn transition(state: &State, id: &str, field: &str) -> Value {
    let mut transitions = state.get(Kind::Invoice, id).map(|record| record.object["status_transitions"].clone());
    let mut transitions = transitions.take().unwrap_or_else(|| json!({}));
    transitions[field] = json!(state.now);
    transitions
}

/// A draft becomes open; one of nothing is paid at once.
pub fn finalize(state: &mut State, id: &str) {
    let Some(record) = state.get(Kind::Invoice, id) else { return };
    let total = number(&record.object, "total");
    let number_text = format!("{}-{:04}", id.to_ascii_uppercase().chars().skip(3).take(8).collect::<String>(), 1);
    // What the customer has to their credit pays first; what an invoice gives back is added to it.
    let starting = customer::balance(state, &invoice_payment::payer(state, id));
    let sum = total.saturating_add(starting);
    let (due, ending) = if total > 0 && sum > 0 { (sum, 0) } else { (0, sum) };
    let changes = json!({
        "status": "open", "number": number_text, "effective_at": state.now, "starting_balance": starting,
        "ending_balance": ending, "amount_due": due, "amount_remaining": due,
        "automatically_finalizes_at": null, "status_transitions": transition(state, id, "finalized_at"),
        "hosted_invoice_url": format!("{}/invoice/{id}", state.base_url),
    });
    if starting != ending {
        customer::move_balance(state, &invoice_payment::payer(state, id), ending.saturating_sub(starting));
    }
    state.set(Kind::Invoice, id, changes);
    state.emit("invoice.finalized", Kind::Invoice, id);
    close_if_nothing_remains(state, id);
}

/// An open invoice of which nothing is left to pay is paid.
pub fn close_if_nothing_remains(state: &mut State, id: &str) {
    let nothing = state.get(Kind::Invoice, id).is_some_and(|record| number(&record.object, "amount_remaining") <= 0);
    if nothing && is_open(state, id) {
        invoice_payment::cancel(state, id);
        invoice_payment::settle(state, id, true);
    }
}

fn failures(record: &Record) -> usize {
    let made = record.extra.get("retries_made").and_then(Value::as_u64);
    made.and_then(|made| usize::try_from(made).ok()).unwrap_or(0)
}

fn planned(failures: usize, first: i64) -> Option<i64> {
    RETRY_DAYS.get(failures).map(|days| first.saturating_add(days * DAY_SECONDS))
}

/// When an invoice that advances by itself is tried again after an attempt whose failure is known only now.
pub fn next_attempt(state: &State, id: &str) -> Option<i64> {
    let record = state.get(Kind::Invoice, id).filter(|record| record.object["auto_advance"] == json!(true))?;
    let first = record.extra.get("first_attempt_at").and_then(Value::as_i64)?;
    // A debit may take longer than the days between two attempts.
    planned(failures(record).saturating_sub(1), first).map(|at| at.max(state.now.saturating_add(DAY_SECONDS)))
}

/// A first attempt, or one that is due: what fails is tried again by the plan, and then given up.
pub fn collect(state: &mut State, id: &str) {
    let Some(record) = state.get(Kind::Invoice, id).filter(|record| text(&record.object, "status") == "open") else {
        return;
    };
    let first = record.extra.get("first_attempt_at").and_then(Value::as_i64).unwrap_or(state.now);
    let failures = failures(record);
    let advancing = record.object["auto_advance"] == json!(true);
    let method = invoice_payment::default_method(state, id);
    let payer = invoice_payment::payer(state, id);
    let charged = Charged { customer: Some(&payer), method: method.as_deref(), present: false };
    let how = card::next(state, charged);
    if how == Behavior::Succeeds {
        return invoice_payment::pay_by_buyer(state, id);
    }
    let next = planned(failures, first).filter(|_| advancing);
    state.set_extra(Kind::Invoice, id, "first_attempt_at", json!(first));
    state.set_extra(Kind::Invoice, id, "retries_made", json!(failures.saturating_add(1)));
    // The refusal is for a request; here the bank's answer comes as events.
    let done = invoice_payment::attempt(state, id, method.as_deref(), (how, false), next);
    if done.is_err() || !invoice_payment::is_processing(state, id) {
        subscription_life::payment_failed(state, id, advancing && next.is_none());
    }
}

/// The status of an invoice if it is one of those wanted.
pub fn refuse_status(state: &State, id: &str, wanted: &[&str], verb: &str) -> Result<String, Refusal> {
    let status = text(&state.found(Kind::Invoice, id)?.object, "status").to_owned();
    if wanted.contains(&status.as_str()) {
        return Ok(status);
    }
    let message = if status == "paid" {
        "Invoice is already paid".to_owned()
    } else {
        format!("You can only {verb} an invoice that is {}; this one is {status}.", wanted.join(" or "))
    };
    Err(Refusal::invalid(&message).executed())
}

/// `POST /v1/invoices/{id}/finalize`: it is charged an hour later if it advances by itself.
pub fn finalize_now(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    refuse_status(state, id, &["draft"], "finalize")?;
    let own = state.found(Kind::Invoice, id)?.object["auto_advance"] == json!(true);
    let advances = params.boolean("auto_advance")?.unwrap_or(own);
    // From here it must succeed.
    state.set(Kind::Invoice, id, json!({ "auto_advance": advances }));
    finalize(state, id);
    if advances && charges_itself(state, id) && is_open(state, id) {
        let at = state.now.saturating_add(DRAFT_SECONDS);
        state.set(Kind::Invoice, id, json!({ "next_payment_attempt": at }));
    }
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// It will not be charged by itself any more.
pub fn stop_collecting(state: &mut State, id: &str) {
    let changes = json!({ "auto_advance": false, "automatically_finalizes_at": null, "next_payment_attempt": null });
    state.set(Kind::Invoice, id, changes);
}

/// `POST /v1/invoices/{id}/void`.
pub fn void(state: &mut State, id: &str) -> Result<Value, Refusal> {
    refuse_status(state, id, &["open", "uncollectible"], "void")?;
    invoice_payment::refuse_end(state, id)?;
    // From here it must succeed.
    stop_collecting(state, id);
    invoice_payment::cancel(state, id);
    let changes = json!({ "status": "void", "status_transitions": transition(state, id, "voided_at") });
    state.set(Kind::Invoice, id, changes);
    state.emit("invoice.voided", Kind::Invoice, id);
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// `POST /v1/invoices/{id}/mark_uncollectible`: it can still be paid later.
pub fn mark_uncollectible(state: &mut State, id: &str) -> Result<Value, Refusal> {
    refuse_status(state, id, &["open"], "mark as uncollectible")?;
    invoice_payment::refuse_end(state, id)?;
    // From here it must succeed.
    stop_collecting(state, id);
    let marked = transition(state, id, "marked_uncollectible_at");
    state.set(Kind::Invoice, id, json!({ "status": "uncollectible", "status_transitions": marked }));
    state.emit("invoice.marked_uncollectible", Kind::Invoice, id);
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}
