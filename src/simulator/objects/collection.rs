//! What becomes of an invoice: finalized, charged, tried again, paid, voided, given up.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text};
use super::payment_intent::{self, Card, Decline, Purpose};
use super::{customer, payment_method, subscription_life};

/// Parameters of a finalization.
pub const FINALIZE: &[&str] = &["auto_advance", "expand[]"];
/// Parameters of a payment.
pub const PAY: &[&str] = &["off_session", "paid_out_of_band", "payment_method", "expand[]"];

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
    if is_open(state, id) {
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

fn transition(state: &State, id: &str, field: &str) -> Value {
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
    let starting = customer::balance(state, &payer(state, id));
    let sum = total.saturating_add(starting);
    let (due, ending) = if total > 0 && sum > 0 { (sum, 0) } else { (0, sum) };
    let changes = json!({
        "status": "open", "number": number_text, "effective_at": state.now, "starting_balance": starting,
        "ending_balance": ending, "amount_due": due, "amount_remaining": due,
        "automatically_finalizes_at": null, "status_transitions": transition(state, id, "finalized_at"),
        "hosted_invoice_url": format!("{}/invoice/{id}", state.base_url),
    });
    if starting != ending {
        customer::move_balance(state, &payer(state, id), ending.saturating_sub(starting));
    }
    state.set(Kind::Invoice, id, changes);
    state.emit("invoice.finalized", Kind::Invoice, id);
    close_if_nothing_remains(state, id);
}

/// An open invoice of which nothing is left to pay is paid.
pub fn close_if_nothing_remains(state: &mut State, id: &str) {
    let nothing = state.get(Kind::Invoice, id).is_some_and(|record| number(&record.object, "amount_remaining") <= 0);
    if nothing && is_open(state, id) {
        cancel_payment(state, id);
        settle(state, id, true);
    }
}

/// An open invoice is paid by a buyer who is there: no card stands in the way. One that is paid stays as it is.
pub fn pay_by_buyer(state: &mut State, id: &str) {
    if is_open(state, id) {
        let intent = intent(state, id);
        payment_intent::succeed(state, &intent);
        settle(state, id, true);
    }
}

/// A first attempt, or one that is due: what fails is tried again by the plan, and then given up.
pub fn collect(state: &mut State, id: &str) {
    let Some(record) = state.get(Kind::Invoice, id) else { return };
    let made = record.extra.get("retries_made").and_then(Value::as_u64);
    let first = record.extra.get("first_attempt_at").and_then(Value::as_i64).unwrap_or(state.now);
    let advancing = record.object["auto_advance"] == json!(true);
    let failures = made.and_then(|made| usize::try_from(made).ok()).unwrap_or(0);
    let decline = customer::next_decline(state, &payer(state, id));
    let Some(decline) = decline else { return pay_by_buyer(state, id) };
    let next = RETRY_DAYS.get(failures).filter(|_| advancing).map(|days| first.saturating_add(days * DAY_SECONDS));
    state.set_extra(Kind::Invoice, id, "first_attempt_at", json!(first));
    state.set_extra(Kind::Invoice, id, "retries_made", json!(failures.saturating_add(1)));
    // The refusal is for a request; here the bank's answer comes as events.
    let _refusal = decline_payment(state, id, &decline, next);
    subscription_life::payment_failed(state, id, advancing && next.is_none());
}

fn payer(state: &State, id: &str) -> String {
    state.get(Kind::Invoice, id).map(|record| text(&record.object, "customer").to_owned()).unwrap_or_default()
}

/// One failed attempt, and when the next one is made.
fn decline_payment(state: &mut State, id: &str, decline: &Decline, next: Option<i64>) -> Refusal {
    let intent = intent(state, id);
    let refusal = payment_intent::fail(state, &intent, decline);
    remember_charge(state, id, &intent);
    let attempts = state.get(Kind::Invoice, id).map_or(0, |record| number(&record.object, "attempt_count"));
    let changes = json!({
        "attempted": true, "attempt_count": attempts.saturating_add(1), "next_payment_attempt": next,
        "auto_advance": next.is_some(),
    });
    state.set(Kind::Invoice, id, changes);
    state.emit("invoice.payment_failed", Kind::Invoice, id);
    refusal
}

fn remember_charge(state: &mut State, id: &str, intent: &str) {
    let charge = state.get(Kind::PaymentIntent, intent).map(|record| record.object["latest_charge"].clone());
    state.set_extra(Kind::Invoice, id, "charge", json!(charge));
}

/// The invoice's payment intent; the first attempt makes it, with its invoice payment.
fn intent(state: &mut State, id: &str) -> String {
    let Some(record) = state.get(Kind::Invoice, id) else { return String::new() };
    let invoice = record.object.clone();
    let left = number(&invoice, "amount_remaining");
    let owned = |field: &str| record.extra.get(field).and_then(Value::as_str).map(str::to_owned);
    if let Some(known) = owned("payment_intent") {
        // A part may have been paid or credited since.
        let payment = owned("invoice_payment").unwrap_or_default();
        state.set(Kind::PaymentIntent, &known, json!({ "amount": left }));
        state.set(Kind::InvoicePayment, &payment, json!({ "amount_requested": left }));
        return known;
    }
    let first = text(&invoice, "billing_reason") == "subscription_create";
    let described = if first { "Subscription creation" } else { "Subscription update" };
    let purpose = Purpose {
        customer: Some(text(&invoice, "customer").to_owned()),
        description: invoice["parent"]["subscription_details"].is_object().then(|| described.to_owned()),
        invoice: Some(id.to_owned()),
        ..Purpose::default()
    };
    let intent = payment_intent::open(state, left, text(&invoice, "currency"), &purpose);
    let payment = json!({
        "id": ids::fresh("inpay"), "object": "invoice_payment", "amount_paid": null, "amount_requested": left,
        "created": state.now, "currency": invoice["currency"], "invoice": id, "is_default": true, "livemode": false,
        "payment": { "type": "payment_intent", "payment_intent": intent }, "status": "open",
        "status_transitions": { "canceled_at": null, "paid_at": null },
    });
    let payment = state.insert(Kind::InvoicePayment, payment, Map::new());
    state.set_extra(Kind::Invoice, id, "payment_intent", json!(intent));
    state.set_extra(Kind::Invoice, id, "invoice_payment", json!(payment));
    intent
}

/// The invoice is paid: through Stripe, or outside of it.
fn settle(state: &mut State, id: &str, through_stripe: bool) {
    let Some(record) = state.get(Kind::Invoice, id) else { return };
    let (invoice, extra) = (record.object.clone(), record.extra.clone());
    let left = number(&invoice, "amount_remaining");
    let charged = through_stripe && left > 0;
    let (through, outside) = if through_stripe { (left, 0) } else { (0, left) };
    if charged && let Some(intent) = extra.get("payment_intent").and_then(Value::as_str) {
        remember_charge(state, id, intent);
    }
    let attempts = number(&invoice, "attempt_count").saturating_add(i64::from(charged));
    let changes = json!({
        "status": "paid", "amount_paid": number(&invoice, "amount_paid").saturating_add(through),
        "amount_remaining": 0, "attempted": true,
        "amount_paid_off_stripe": number(&invoice, "amount_paid_off_stripe").saturating_add(outside),
        "attempt_count": attempts, "auto_advance": false, "next_payment_attempt": null,
        "status_transitions": transition(state, id, "paid_at"),
    });
    state.set(Kind::Invoice, id, changes);
    if charged && let Some(payment) = extra.get("invoice_payment").and_then(Value::as_str) {
        let paid = json!({
            "status": "paid", "amount_paid": left,
            "status_transitions": { "canceled_at": null, "paid_at": state.now },
        });
        state.set(Kind::InvoicePayment, payment, paid);
        state.emit("invoice_payment.paid", Kind::InvoicePayment, payment);
    }
    state.emit("invoice.paid", Kind::Invoice, id);
    if through_stripe {
        state.emit("invoice.payment_succeeded", Kind::Invoice, id);
    }
    subscription_life::invoice_paid(state, id);
}

/// Somebody pays a part of an open invoice: a payment of its own, and the invoice stays open until nothing is left.
pub fn pay_part(state: &mut State, id: &str, amount: i64) -> Result<Value, Refusal> {
    refuse_status(state, id, &["open"], "pay")?;
    let invoice = state.found(Kind::Invoice, id)?.object.clone();
    let left = number(&invoice, "amount_remaining");
    if !(1..=left).contains(&amount) {
        return Err(Refusal::invalid(&format!("Of the invoice {left} is left to pay.")));
    }
    let purpose = Purpose {
        customer: Some(text(&invoice, "customer").to_owned()),
        invoice: Some(id.to_owned()),
        ..Purpose::default()
    };
    let intent = payment_intent::open(state, amount, text(&invoice, "currency"), &purpose);
    payment_intent::succeed(state, &intent);
    let payment = json!({
        "id": ids::fresh("inpay"), "object": "invoice_payment", "amount_paid": amount, "amount_requested": amount,
        "created": state.now, "currency": invoice["currency"], "invoice": id, "is_default": false, "livemode": false,
        "payment": { "type": "payment_intent", "payment_intent": intent }, "status": "paid",
        "status_transitions": { "canceled_at": null, "paid_at": state.now },
    });
    let payment = state.insert(Kind::InvoicePayment, payment, Map::new());
    remember_charge(state, id, &intent);
    let previous = json!({ "amount_paid": invoice["amount_paid"], "amount_remaining": left });
    let changes = json!({
        "amount_paid": number(&invoice, "amount_paid").saturating_add(amount), "amount_remaining": left.saturating_sub(amount),
    });
    state.set(Kind::Invoice, id, changes);
    state.emit("invoice_payment.paid", Kind::InvoicePayment, &payment);
    state.emit_change("invoice.updated", Kind::Invoice, id, Some(previous));
    close_if_nothing_remains(state, id);
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

fn refuse_status(state: &State, id: &str, wanted: &[&str], verb: &str) -> Result<String, Refusal> {
    let status = text(&state.found(Kind::Invoice, id)?.object, "status").to_owned();
    if wanted.contains(&status.as_str()) {
        return Ok(status);
    }
    let message = if status == "paid" {
        "Invoice is already paid".to_owned()
    } else {
        format!("You can only {verb} an invoice that is {}; this one is {status}.", wanted.join(" or "))
    };
    Err(Refusal::invalid(&message))
}

/// `POST /v1/invoices/{id}/finalize`: it is charged an hour later if it advances by itself.
pub fn finalize_now(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    refuse_status(state, id, &["draft"], "finalize")?;
    let own = state.found(Kind::Invoice, id)?.object["auto_advance"] == json!(true);
    let advances = params.boolean("auto_advance")?.unwrap_or(own);
    // From here it must succeed.
    state.set(Kind::Invoice, id, json!({ "auto_advance": advances }));
    finalize(state, id);
    if advances && is_open(state, id) {
        let at = state.now.saturating_add(DRAFT_SECONDS);
        state.set(Kind::Invoice, id, json!({ "next_payment_attempt": at }));
    }
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// `POST /v1/invoices/{id}/pay`: charged now, or marked paid outside Stripe.
pub fn pay_now(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let status = refuse_status(state, id, &["draft", "open", "uncollectible"], "pay")?;
    let outside = params.boolean("paid_out_of_band")?.unwrap_or(false);
    // Nobody is asked to authenticate either way: a card that wants it declines.
    let _off_session = params.boolean("off_session")?;
    let method = params.string("payment_method")?;
    let chosen = match &method {
        Some(method) if payment_method::usable(state, method, Some(&payer(state, id))) => Some(Card::Succeeds),
        Some(method) => Some(
            payment_intent::card(method).ok_or_else(|| Refusal::no_such("PaymentMethod", method, "payment_method"))?,
        ),
        None => None,
    };
    if outside && chosen.is_some() {
        let message = "You cannot pass `payment_method` with `paid_out_of_band`.";
        return Err(Refusal::invalid(message).with("param", json!("payment_method")));
    }
    // From here it is executed.
    if status == "draft" {
        finalize(state, id);
    }
    if status == "uncollectible" {
        state.set(Kind::Invoice, id, json!({ "status": "open" }));
    }
    if outside && is_open(state, id) {
        cancel_payment(state, id);
        settle(state, id, false);
    }
    if is_open(state, id) {
        let ordered = customer::next_decline(state, &payer(state, id));
        let decline = match (ordered, chosen) {
            (Some(decline), _) | (None, Some(Card::Declines(decline))) => Some(decline),
            (None, Some(Card::Succeeds) | None) => None,
        };
        if let Some(decline) = decline {
            let next = state.found(Kind::Invoice, id)?.object["next_payment_attempt"].as_i64();
            let refusal = decline_payment(state, id, &decline, next);
            if status == "uncollectible" {
                state.set(Kind::Invoice, id, json!({ "status": status }));
            }
            subscription_life::payment_failed(state, id, false);
            return Err(refusal);
        }
        pay_by_buyer(state, id);
    }
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// The payment intent and invoice payment of an invoice that will not be charged.
fn cancel_payment(state: &mut State, id: &str) {
    let extra = state.get(Kind::Invoice, id).map(|record| record.extra.clone()).unwrap_or_default();
    if let Some(intent) = extra.get("payment_intent").and_then(Value::as_str) {
        payment_intent::cancel(state, intent);
    }
    if let Some(payment) = extra.get("invoice_payment").and_then(Value::as_str) {
        let canceled = json!({
            "status": "canceled", "status_transitions": { "canceled_at": state.now, "paid_at": null },
        });
        state.set(Kind::InvoicePayment, payment, canceled);
    }
}

/// It will not be charged by itself any more.
pub fn stop_collecting(state: &mut State, id: &str) {
    let changes = json!({ "auto_advance": false, "automatically_finalizes_at": null, "next_payment_attempt": null });
    state.set(Kind::Invoice, id, changes);
}

/// `POST /v1/invoices/{id}/void`.
pub fn void(state: &mut State, id: &str) -> Result<Value, Refusal> {
    refuse_status(state, id, &["open", "uncollectible"], "void")?;
    // From here it must succeed.
    stop_collecting(state, id);
    cancel_payment(state, id);
    let changes = json!({ "status": "void", "status_transitions": transition(state, id, "voided_at") });
    state.set(Kind::Invoice, id, changes);
    state.emit("invoice.voided", Kind::Invoice, id);
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// `POST /v1/invoices/{id}/mark_uncollectible`: it can still be paid later.
pub fn mark_uncollectible(state: &mut State, id: &str) -> Result<Value, Refusal> {
    refuse_status(state, id, &["open"], "mark as uncollectible")?;
    // From here it must succeed.
    stop_collecting(state, id);
    let marked = transition(state, id, "marked_uncollectible_at");
    state.set(Kind::Invoice, id, json!({ "status": "uncollectible", "status_transitions": marked }));
    state.emit("invoice.marked_uncollectible", Kind::Invoice, id);
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}
