//! `invoice_payment`: how the money of an invoice is asked for, arrives, or does not.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text};
use super::card::{self, Absent, Behavior, Charged, Decline, Question};
use super::collection::{self, finalize, is_open, refuse_status, transition};
use super::payment_intent::{self, Purpose};
use super::{customer, intent_payment, payment_method, subscription_life, test_method};

/// Parameters of a payment.
pub const PAY: &[&str] = &["off_session", "paid_out_of_band", "payment_method", "expand[]"];

/// Whose invoice it is.
pub fn payer(state: &State, id: &str) -> String {
    state.get(Kind::Invoice, id).map(|record| text(&record.object, "customer").to_owned()).unwrap_or_default()
}

/// What an invoice is paid with unless a request says otherwise: its own method, its subscription's, its customer's.
pub fn default_method(state: &State, id: &str) -> Option<String> {
    let invoice = &state.get(Kind::Invoice, id)?.object;
    let subscription = text(&invoice["parent"]["subscription_details"], "subscription");
    let subscription = state.get(Kind::Subscription, subscription).map(|record| &record.object);
    let mut own = [Some(invoice), subscription].into_iter().flatten();
    let own = own.find_map(|object| object["default_payment_method"].as_str()).map(str::to_owned);
    own.or_else(|| customer::default_method(state, text(invoice, "customer")))
}

/// One attempt on an open invoice: what it did stands in the invoice, or in the refusal of the request.
pub fn attempt(
    state: &mut State,
    id: &str,
    method: Option<&str>,
    (how, present): (Behavior, bool),
    next: Option<i64>,
) -> Result<(), Refusal> {
    let intent = intent(state, id);
    let types = payment_intent::method_types(state, method);
    state.set(Kind::PaymentIntent, &intent, json!({ "payment_method": method, "payment_method_types": types }));
    let done = intent_payment::attempt(state, &intent, asked_by_invoice(how), present);
    let reached = state.get(Kind::PaymentIntent, &intent).map(|record| text(&record.object, "status").to_owned());
    match reached.as_deref() {
        Some("succeeded") => settle(state, id, true),
        Some("processing") => {
            let advances = state.get(Kind::Invoice, id).map(|record| record.object["auto_advance"].clone());
            tried(state, id, None);
            state.set(Kind::Invoice, id, json!({ "auto_advance": advances }));
        }
        Some("requires_action") => {
            tried(state, id, next);
            state.emit("invoice.payment_action_required", Kind::Invoice, id);
            state.emit("invoice.payment_failed", Kind::Invoice, id);
        }
        _ => failed(state, id, next),
    }
    done
}

/// An invoice keeps its intent for its owner, and answers with a code of its own; what a test ordered stays.
fn asked_by_invoice(how: Behavior) -> Behavior {
    match how {
        Behavior::Asks(Question { ordered: false, then, .. }) => {
            let message = "Payment for this invoice requires additional user action before it can be completed \
                           successfully. Payment can be completed using the PaymentIntent associated with the invoice.";
            let decline = Decline::new("invoice_payment_intent_requires_action", None, message);
            Behavior::Asks(Question { absent: Absent::Refused, decline, then, ordered: false })
        }
        other => other,
    }
}

/// Counts an attempt, and says when the next one is made.
fn tried(state: &mut State, id: &str, next: Option<i64>) {
    if let Some(intent) = known_intent(state, id) {
        remember_charge(state, id, &intent);
    }
    let attempts = state.get(Kind::Invoice, id).map_or(0, |record| number(&record.object, "attempt_count"));
    let changes = json!({
        "attempted": true, "attempt_count": attempts.saturating_add(1), "next_payment_attempt": next,
        "auto_advance": next.is_some(),
    });
    state.set(Kind::Invoice, id, changes);
}

fn failed(state: &mut State, id: &str, next: Option<i64>) {
    tried(state, id, next);
    state.emit("invoice.payment_failed", Kind::Invoice, id);
}

fn known_intent(state: &State, id: &str) -> Option<String> {
    state.get(Kind::Invoice, id)?.extra.get("payment_intent")?.as_str().map(str::to_owned)
}

fn intent_status(state: &State, id: &str) -> Option<String> {
    let intent = known_intent(state, id)?;
    state.get(Kind::PaymentIntent, &intent).map(|record| text(&record.object, "status").to_owned())
}

/// Whether the money of an invoice is on its way.
pub fn is_processing(state: &State, id: &str) -> bool {
    intent_status(state, id).as_deref() == Some("processing")
}

fn refuse_processing(state: &State, id: &str, verb: &str) -> Result<(), Refusal> {
    if is_processing(state, id) {
        let message = format!("You cannot {verb} this invoice: a payment of it is processing.");
        return Err(Refusal::invalid(&message).executed());
    }
    Ok(())
}

/// The same for those who end an invoice.
pub fn refuse_end(state: &State, id: &str) -> Result<(), Refusal> {
    refuse_processing(state, id, "end")
}

/// The invoice's own intent ended otherwise than by a request to pay the invoice: the invoice learns of it.
pub fn conclude(state: &mut State, id: &str, intent: &str) {
    if known_intent(state, id).as_deref() != Some(intent) || !is_open(state, id) {
        return;
    }
    match intent_status(state, id).as_deref() {
        Some("succeeded") => settle(state, id, true),
        Some("requires_payment_method") => {
            let planned =
                state.get(Kind::Invoice, id).and_then(|record| record.object["next_payment_attempt"].as_i64());
            let next = planned.or_else(|| collection::next_attempt(state, id));
            failed(state, id, next);
            subscription_life::payment_failed(state, id, false);
        }
        _ => {}
    }
}

/// An open invoice is paid by a buyer who is there: no card stands in the way. One that is paid stays as it is.
pub fn pay_by_buyer(state: &mut State, id: &str) {
    if is_open(state, id) {
        let intent = intent(state, id);
        let method = default_method(state, id);
        state.set(Kind::PaymentIntent, &intent, json!({ "payment_method": method }));
        intent_payment::succeed(state, &intent);
        settle(state, id, true);
    }
}

/// Somebody opens the invoice's page and pays with a card of their own; they authenticate if it asks.
pub fn pay_on_page(state: &mut State, id: &str, card: &str) -> Result<Value, Refusal> {
    refuse_status(state, id, &["open", "uncollectible"], "pay")?;
    refuse_processing(state, id, "pay")?;
    if !test_method::is_test_method(card) {
        return Err(Refusal::no_such("PaymentMethod", card, "card"));
    }
    // From here it is executed.
    let uncollectible = !is_open(state, id);
    state.set(Kind::Invoice, id, json!({ "status": "open" }));
    let method = payment_method::brought(state, card);
    let how = card::own(state, &method, true).authenticated();
    let next = state.found(Kind::Invoice, id)?.object["next_payment_attempt"].as_i64();
    let done = attempt(state, id, Some(&method), (how, true), next);
    if done.is_err() && uncollectible {
        state.set(Kind::Invoice, id, json!({ "status": "uncollectible" }));
    }
    done?;
    Ok(state.found(Kind::Invoice, id)?.object.clone())
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

/// `POST /v1/invoices/{id}/pay`: charged now, or marked paid outside Stripe.
pub fn pay_now(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let status = refuse_status(state, id, &["draft", "open", "uncollectible"], "pay")?;
    let outside = params.boolean("paid_out_of_band")?.unwrap_or(false);
    // As at Stripe, nobody is there unless the request says so.
    let present = params.boolean("off_session")? == Some(false);
    let named = params.string("payment_method")?;
    let payer = payer(state, id);
    if let Some(method) = &named {
        payment_method::check(state, method, Some(&payer), "payment_method")?;
    }
    if outside && named.is_some() {
        let message = "You cannot pass `payment_method` with `paid_out_of_band`.";
        return Err(Refusal::invalid(message).with("param", json!("payment_method")));
    }
    refuse_processing(state, id, "pay")?;
    let by_hand = state.found(Kind::Invoice, id)?.extra.get("by_hand") == Some(&json!(true));
    let method = named.or_else(|| default_method(state, id));
    // From here it is executed.
    if status == "draft" {
        finalize(state, id);
    }
    if status == "uncollectible" {
        state.set(Kind::Invoice, id, json!({ "status": "open" }));
    }
    if outside && is_open(state, id) {
        cancel(state, id);
        settle(state, id, false);
    }
    if is_open(state, id) {
        if by_hand && method.is_none() {
            let message = "This customer has no attached payment source or default payment method.";
            return Err(Refusal::parameter("resource_missing", "customer", message).executed());
        }
        let method = method.map(|method| payment_method::brought(state, &method));
        let charged = Charged { customer: Some(&payer), method: method.as_deref(), present };
        let how = card::next(state, charged);
        let next = state.found(Kind::Invoice, id)?.object["next_payment_attempt"].as_i64();
        if let Err(refusal) = attempt(state, id, method.as_deref(), (how, present), next) {
            if status == "uncollectible" {
                state.set(Kind::Invoice, id, json!({ "status": status }));
            }
            subscription_life::payment_failed(state, id, false);
            return Err(refusal);
        }
    }
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// The invoice is paid: through Stripe, or outside of it.
pub fn settle(state: &mut State, id: &str, through_stripe: bool) {
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
    intent_payment::succeed(state, &intent);
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
    collection::close_if_nothing_remains(state, id);
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// The payment intent and invoice payment of an invoice that will not be charged.
pub fn cancel(state: &mut State, id: &str) {
    let extra = state.get(Kind::Invoice, id).map(|record| record.extra.clone()).unwrap_or_default();
    if let Some(intent) = extra.get("payment_intent").and_then(Value::as_str) {
        intent_payment::cancel(state, intent, Some("void_invoice"));
    }
    if let Some(payment) = extra.get("invoice_payment").and_then(Value::as_str) {
        let canceled = json!({
            "status": "canceled", "status_transitions": { "canceled_at": state.now, "paid_at": null },
        });
        state.set(Kind::InvoicePayment, payment, canceled);
    }
}
