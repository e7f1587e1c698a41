//! What becomes of a payment intent: paid, declined, asked about, on its way, canceled; at once or by itself later.

use serde_json::{Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text};
use super::card::{self, Absent, Behavior, Charged, Decline, Delay};
use super::{charge, invoice_payment, payment_method, session_payment};

/// Parameters of a capture.
pub const CAPTURE: &[&str] = &["amount_to_capture", "expand[]"];
/// Parameters of a cancellation.
pub const CANCEL: &[&str] = &["cancellation_reason", "expand[]"];
/// Parameters of a confirmation.
pub const CONFIRM: &[&str] =
    &["payment_method", "off_session", "return_url", "receipt_email", "setup_future_usage", "expand[]"];

/// When an intent is known by itself.
pub fn due(intent: &Value, extra: &serde_json::Map<String, Value>) -> Option<i64> {
    extra.get("settles_at").and_then(Value::as_i64).filter(|_| text(intent, "status") == "processing")
}

fn field(state: &State, id: &str, name: &str) -> Option<String> {
    state.get(Kind::PaymentIntent, id)?.object[name].as_str().map(str::to_owned)
}

fn status(state: &State, id: &str) -> String {
    field(state, id, "status").unwrap_or_default()
}

fn linked(state: &State, id: &str, name: &str) -> Option<String> {
    state.get(Kind::PaymentIntent, id)?.extra.get(name)?.as_str().map(str::to_owned)
}

/// The refusal for what an intent in its state does not do.
fn unexpected(state: &State, id: &str, message: &str) -> Refusal {
    let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone());
    let refusal = Refusal::parameter("payment_intent_unexpected_state", "id", message).executed();
    refusal.with("payment_intent", intent.unwrap_or_default())
}

/// One attempt with the intent's method: what it did stands in the intent's status, or in the refusal of the request.
pub fn attempt(state: &mut State, id: &str, how: Behavior, present: bool) -> Result<(), Refusal> {
    match how {
        Behavior::Succeeds => take(state, id),
        Behavior::Declines(decline) => return Err(fail(state, id, &decline)),
        Behavior::Processes(delay) => begin_processing(state, id, &delay),
        Behavior::Asks(question) => match question.absent {
            Absent::Declined if !present => return Err(fail(state, id, &question.decline)),
            Absent::Refused if !present => {
                ask(state, id, question.then.as_ref());
                let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone());
                return Err(question.decline.refusal().with("payment_intent", intent.unwrap_or_default()));
            }
            Absent::Declined | Absent::Refused | Absent::Asked => ask(state, id, question.then.as_ref()),
        },
    }
    Ok(())
}

/// The money is taken, or set aside if it is taken by a request of its own.
fn take(state: &mut State, id: &str) {
    if is_manual(state, id) { authorize(state, id) } else { succeed(state, id) }
}

/// Whether the money is taken by a request of its own.
pub fn is_manual(state: &State, id: &str) -> bool {
    field(state, id, "capture_method").is_some_and(|method| method == "manual")
}

/// The payer is asked to authenticate; perhaps the card is declined even then.
fn ask(state: &mut State, id: &str, then: Option<&Decline>) {
    state.set_extra(Kind::PaymentIntent, id, "then", json!(then));
    let changes = json!({
        "status": "requires_action",
        "next_action": {
            "redirect_to_url": { "return_url": null, "url": format!("{}/authenticate/{id}", state.base_url) },
            "type": "redirect_to_url",
        },
    });
    state.set(Kind::PaymentIntent, id, changes);
    state.emit("payment_intent.requires_action", Kind::PaymentIntent, id);
}

/// The card that an intent was refused with because its owner was away: the owner comes back with it.
fn refused_card(intent: &Value) -> Option<&str> {
    let error = &intent["last_payment_error"];
    let waits = text(intent, "status") == "requires_payment_method" && text(error, "code") == "authentication_required";
    error["payment_method"]["id"].as_str().filter(|_| waits)
}

/// The payer authenticates, or fails to: of an intent that requires action, or that was refused for want of it.
pub fn authenticate(state: &mut State, id: &str, succeeds: bool) -> Result<Value, Refusal> {
    let intent = state.found(Kind::PaymentIntent, id)?.object.clone();
    let mut then = None;
    if let Some(method) = refused_card(&intent) {
        let method = method.to_owned();
        let own = card::own(state, &method, true).authenticated();
        then = own.decline().cloned();
        state.set(Kind::PaymentIntent, id, json!({ "payment_method": method }));
    } else if text(&intent, "status") == "requires_action" {
        let kept = state.get(Kind::PaymentIntent, id).and_then(|record| record.extra.get("then").cloned());
        then = kept.and_then(|kept| serde_json::from_value(kept).ok()).unwrap_or(then);
    } else {
        let status = text(&intent, "status");
        return Err(Refusal::invalid(&format!("A payment intent that is {status} asks for no authentication.")));
    }
    state.set(Kind::PaymentIntent, id, json!({ "next_action": null }));
    if !succeeds {
        let message = "We are unable to authenticate your payment method.";
        then = Some(Decline::new("payment_intent_authentication_failure", None, message));
    }
    match then {
        // The refusal is for a request; here the payer's failure comes as an event.
        Some(decline) => drop(fail(state, id, &decline)),
        None => take(state, id),
    }
    conclude(state, id);
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// `POST /v1/payment_intents/{id}/confirm`: another attempt, by a payer who is there unless the request says otherwise.
pub fn confirm(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let intent = state.found(Kind::PaymentIntent, id)?.object.clone();
    let customer = intent["customer"].as_str();
    let present = params.boolean("off_session")? != Some(true);
    // The cards known here lead nobody away, so nobody comes back.
    let _return_url = params.string("return_url")?;
    let receipt_email = params.string("receipt_email")?;
    let usage = params.one_of("setup_future_usage", &["off_session", "on_session"])?;
    let named = params.string("payment_method")?;
    if let Some(method) = &named {
        payment_method::check(state, method, customer, "payment_method")?;
    }
    let waiting = text(&intent, "status");
    if !["requires_payment_method", "requires_confirmation", "requires_action"].contains(&waiting) {
        let message = format!(
            "You cannot confirm this PaymentIntent because it has a status of {waiting}. Only a PaymentIntent with one \
             of the following statuses may be confirmed: requires_confirmation, requires_action, \
             requires_payment_method."
        );
        return Err(unexpected(state, id, &message));
    }
    let Some(method) = named.or_else(|| intent["payment_method"].as_str().map(str::to_owned)) else {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method.";
        return Err(unexpected(state, id, message));
    };
    // From here it is executed.
    let method = payment_method::brought(state, &method);
    let mut changes = json!({ "payment_method": method, "next_action": null });
    for (name, value) in [("receipt_email", receipt_email), ("setup_future_usage", usage)] {
        if let Some(value) = value {
            changes[name] = json!(value);
        }
    }
    state.set(Kind::PaymentIntent, id, changes);
    let how = card::next(state, Charged { customer, method: Some(&method), present });
    let done = attempt(state, id, how, present);
    conclude(state, id);
    done?;
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// What an intent was for learns how it ended.
fn conclude(state: &mut State, id: &str) {
    if let Some(invoice) = linked(state, id, "invoice") {
        invoice_payment::conclude(state, &invoice, id);
    }
    session_payment::conclude(state, id);
}

/// The money is set aside, and not taken yet.
pub fn authorize(state: &mut State, id: &str) {
    settle_method(state, id);
    let charge = charge::make(state, id, None);
    let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone()).unwrap_or_default();
    let changes =
        json!({ "amount_capturable": intent["amount"], "latest_charge": charge, "status": "requires_capture" });
    state.set(Kind::PaymentIntent, id, changes);
    state.emit("payment_intent.amount_capturable_updated", Kind::PaymentIntent, id);
}

/// `POST /v1/payment_intents/{id}/capture`: all of it, or a part; what is left is let go.
pub fn capture(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let intent = state.found(Kind::PaymentIntent, id)?.object.clone();
    let most = number(&intent, "amount_capturable");
    if text(&intent, "status") != "requires_capture" {
        let message = "This PaymentIntent could not be captured because it has no amount to capture.";
        return Err(unexpected(state, id, message));
    }
    let amount = params.integer_between("amount_to_capture", 1, most)?.unwrap_or(most);
    // From here it must succeed.
    charge::capture(state, text(&intent, "latest_charge"), amount);
    let changes = json!({ "status": "succeeded", "amount_received": amount, "amount_capturable": 0 });
    state.set(Kind::PaymentIntent, id, changes);
    state.emit("payment_intent.succeeded", Kind::PaymentIntent, id);
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// `POST /v1/payment_intents/{id}/cancel`: of an invoice the invoice is voided instead, of a session it is expired.
pub fn cancel_now(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let status = text(&state.found(Kind::PaymentIntent, id)?.object, "status").to_owned();
    let reasons = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"];
    let reason = params.one_of("cancellation_reason", &reasons)?;
    if ["succeeded", "canceled", "processing"].contains(&status.as_str()) {
        let message = format!("You cannot cancel this PaymentIntent because it has a status of {status}.");
        return Err(unexpected(state, id, &message));
    }
    for (of, instead) in [("invoice", "void the invoice"), ("session", "expire the Checkout Session")] {
        if linked(state, id, of).is_some() && status != "requires_capture" {
            let message = format!("You cannot cancel this PaymentIntent directly: {instead} instead.");
            return Err(unexpected(state, id, &message));
        }
    }
    // From here it must succeed.
    cancel(state, id, reason.as_deref());
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// It will not be paid; one that ended stays as it is.
pub fn cancel(state: &mut State, id: &str, reason: Option<&str>) {
    let open = !["succeeded", "canceled", ""].contains(&status(state, id).as_str());
    if open {
        let changes = json!({
            "status": "canceled", "canceled_at": state.now, "cancellation_reason": reason, "amount_capturable": 0,
            "next_action": null,
        });
        state.set(Kind::PaymentIntent, id, changes);
        state.emit("payment_intent.canceled", Kind::PaymentIntent, id);
    }
}

/// The method that pays: the intent's own, or the card a payer brought; attached if it is to be used again.
fn settle_method(state: &mut State, id: &str) {
    let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone()).unwrap_or_default();
    let customer = intent["customer"].as_str().filter(|_| intent["setup_future_usage"].is_string());
    let method = match intent["payment_method"].as_str() {
        Some(method) => method.to_owned(),
        None => payment_method::make(state, None),
    };
    if let Some(customer) = customer {
        payment_method::keep(state, &method, customer);
    }
    state.set(Kind::PaymentIntent, id, json!({ "payment_method": method }));
}

/// The money moves.
pub fn succeed(state: &mut State, id: &str) {
    settle_method(state, id);
    let charge = charge::make(state, id, None);
    let amount = state.get(Kind::PaymentIntent, id).map(|record| record.object["amount"].clone());
    let changes = json!({
        "status": "succeeded", "amount_received": amount, "latest_charge": charge, "next_action": null,
    });
    state.set(Kind::PaymentIntent, id, changes);
    state.emit("payment_intent.succeeded", Kind::PaymentIntent, id);
}

/// A delayed method has begun to pay.
pub fn begin_processing(state: &mut State, id: &str, delay: &Delay) {
    let due = delay.seconds.map(|seconds| state.now.saturating_add(seconds));
    state.set_extra(Kind::PaymentIntent, id, "settles_at", json!(due));
    state.set_extra(Kind::PaymentIntent, id, "then", json!(delay.fails));
    state.set(Kind::PaymentIntent, id, json!({ "status": "processing", "next_action": null }));
    state.emit("payment_intent.processing", Kind::PaymentIntent, id);
}

/// A delayed payment is known.
pub fn settle(state: &mut State, id: &str) {
    let then = state.get(Kind::PaymentIntent, id).and_then(|record| record.extra.get("then").cloned());
    let then: Option<Decline> = then.and_then(|then| serde_json::from_value(then).ok()).flatten();
    state.set_extra(Kind::PaymentIntent, id, "settles_at", Value::Null);
    match then {
        // The refusal is for a request; here the bank's answer comes as events.
        Some(decline) => drop(fail(state, id, &decline)),
        None => succeed(state, id),
    }
    conclude(state, id);
}

/// The money does not move; gives the refusal a request answers with.
pub fn fail(state: &mut State, id: &str, decline: &Decline) -> Refusal {
    let charge = charge::make(state, id, Some(decline));
    let method = field(state, id, "payment_method").and_then(|method| state.get(Kind::PaymentMethod, &method));
    let method = method.map(|record| record.object.clone());
    let mut refusal = decline.refusal().with("charge", json!(charge));
    let mut error = json!({ "type": "card_error", "code": decline.code, "message": decline.message, "charge": charge });
    if let Some(reason) = &decline.reason {
        error["decline_code"] = json!(reason);
    }
    for (name, value) in decline.advices() {
        error[name] = json!(value);
    }
    if let Some(method) = method {
        refusal = refusal.with("payment_method", method.clone());
        error["payment_method"] = method;
    }
    let changes = json!({
        "status": "requires_payment_method", "last_payment_error": error, "latest_charge": charge,
        "payment_method": null, "next_action": null,
    });
    state.set(Kind::PaymentIntent, id, changes);
    state.emit("payment_intent.payment_failed", Kind::PaymentIntent, id);
    let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone());
    refusal.with("payment_intent", intent.unwrap_or(Value::Null))
}

/// Gives an intent the method of a name that was checked.
pub fn bring(state: &mut State, id: &str, method: &str) -> String {
    let method = payment_method::brought(state, method);
    state.set(Kind::PaymentIntent, id, json!({ "payment_method": method }));
    method
}

/// A secret of its own, as an intent has it.
pub fn secret(id: &str) -> String {
    ids::fresh(&format!("{id}_secret"))
}
