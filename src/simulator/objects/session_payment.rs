//! What becomes of a Checkout Session: paid at once, paid later, failed later, or expired.

use serde_json::{Value, json};

use super::super::refusal::Refusal;
use super::super::state::{Kind, Origin, State, facts, number, text};
use super::card::{self, Decline, Delay};
use super::payment_intent::{self, Purpose};
use super::subscription::{self, Seat};
use super::terms::{Terms, Trial};
use super::{customer, intent_payment, payment_method, setup_intent, test_method};

/// What the buyer, or their bank, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Pays with a card: complete and paid.
    Paid,
    /// Pays with a delayed method: complete and still unpaid.
    Async,
    /// The delayed payment arrives.
    AsyncSucceed,
    /// The delayed payment fails.
    AsyncFail,
    /// Nobody pays.
    Expire,
}

impl Outcome {
    /// From its name at the control endpoint.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "paid" => Self::Paid,
            "async" => Self::Async,
            "async_succeed" => Self::AsyncSucceed,
            "async_fail" => Self::AsyncFail,
            "expire" => Self::Expire,
            _ => return None,
        })
    }
}

/// Carries an outcome out and gives the session as it is then; a buyer acts, so events name no request.
pub fn settle(state: &mut State, id: &str, outcome: Outcome, card: Option<&str>) -> Result<Value, Refusal> {
    if card.is_some_and(|card| outcome != Outcome::Paid || !test_method::is_test_method(card)) {
        return Err(Refusal::no_such("PaymentMethod", card.unwrap_or_default(), "card"));
    }
    let session = state.found(Kind::Session, id)?.object.clone();
    state.origin = Origin::default();
    let (status, mode) = (text(&session, "status"), text(&session, "mode"));
    let waiting = status == "complete" && mode == "payment" && text(&session, "payment_status") == "unpaid";
    match outcome {
        Outcome::Paid if status == "open" => complete(state, id, &session, card.unwrap_or("pm_card_visa"))?,
        Outcome::Async if status == "open" && mode == "payment" && number(&session, "amount_total") > 0 => {
            let intent = open_intent(state, id, &session);
            intent_payment::bring(state, &intent, "pm_usBankAccount_processing");
            intent_payment::begin_processing(state, &intent, &Delay { seconds: None, fails: None });
            finish(state, id, json!({ "payment_intent": intent }), "checkout.session.completed");
        }
        Outcome::AsyncSucceed | Outcome::AsyncFail if waiting && is_manual(state, &session) => {
            return Err(Refusal::invalid("The payment waits for its capture, not for a bank."));
        }
        Outcome::AsyncSucceed if waiting => {
            intent_payment::succeed(state, text(&session, "payment_intent"));
            finish(state, id, json!({ "payment_status": "paid" }), "checkout.session.async_payment_succeeded");
        }
        Outcome::AsyncFail if waiting => {
            let decline = Decline::new("payment_intent_payment_attempt_failed", None, "The payment failed.");
            // The refusal is for a request; here the bank's answer comes as an event.
            let _refusal = intent_payment::fail(state, text(&session, "payment_intent"), &decline);
            finish(state, id, json!({}), "checkout.session.async_payment_failed");
        }
        Outcome::Expire if status == "open" => return expire(state, id),
        Outcome::Paid | Outcome::Async | Outcome::AsyncSucceed | Outcome::AsyncFail | Outcome::Expire => {
            let message = format!("A Checkout Session that is {status} in {mode} mode cannot do that.");
            return Err(Refusal::invalid(&message));
        }
    }
    Ok(state.found(Kind::Session, id)?.object.clone())
}

fn is_manual(state: &State, session: &Value) -> bool {
    intent_payment::is_manual(state, text(session, "payment_intent"))
}

/// The buyer sees and pays the session in a currency of their own.
pub fn present(state: &mut State, id: &str, amount: i64, currency: &str) -> Result<Value, Refusal> {
    let session = &state.found(Kind::Session, id)?.object;
    if text(session, "status") != "open" || text(session, "mode") != "payment" || amount <= 0 {
        return Err(Refusal::invalid("Only an open session in payment mode is shown in another currency."));
    }
    let details = json!({ "presentment_amount": amount, "presentment_currency": currency });
    state.set_extra(Kind::Session, id, "presentment", details);
    Ok(state.found(Kind::Session, id)?.object.clone())
}

/// `POST /v1/checkout/sessions/{id}/expire`, and the outcome of the same name.
pub fn expire(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let session = &state.found(Kind::Session, id)?.object;
    let status = text(session, "status");
    let tried = session["payment_intent"].as_str().map(str::to_owned);
    if status != "open" {
        let message = format!("Only Checkout Sessions with a status in [\"open\"] can be expired; this is {status}.");
        return Err(Refusal::invalid(&message).executed());
    }
    state.set(Kind::Session, id, json!({ "status": "expired", "url": null }));
    if let Some(intent) = tried {
        intent_payment::cancel(state, &intent, Some("automatic"));
    }
    state.emit("checkout.session.expired", Kind::Session, id);
    Ok(state.found(Kind::Session, id)?.object.clone())
}

fn complete(state: &mut State, id: &str, session: &Value, card: &str) -> Result<(), Refusal> {
    let changes = match text(session, "mode") {
        "subscription" => subscribe(state, id, session, card)?,
        "setup" => {
            let data = state.get(Kind::Session, id).map(|record| record.extra["setup_intent_data"]["metadata"].clone());
            let metadata = data.filter(Value::is_object).unwrap_or_else(|| json!({}));
            json!({ "setup_intent": setup_intent::by_buyer(state, session["customer"].as_str(), &metadata, card)? })
        }
        _ if number(session, "amount_total") == 0 => json!({ "payment_status": "no_payment_required" }),
        _ => {
            let intent = open_intent(state, id, session);
            let method = intent_payment::bring(state, &intent, card);
            // The buyer is there, and authenticates if the card asks.
            let how = card::own(state, &method, true).authenticated();
            if let Err(refusal) = intent_payment::attempt(state, &intent, how, true) {
                // The session stays open, and is paid later with the same intent.
                state.set(Kind::Session, id, json!({ "payment_intent": intent }));
                return Err(refusal);
            }
            let paid = state.get(Kind::PaymentIntent, &intent);
            let paid = paid.is_some_and(|record| text(&record.object, "status") == "succeeded");
            json!({ "payment_intent": intent, "payment_status": if paid { "paid" } else { "unpaid" } })
        }
    };
    finish(state, id, changes, "checkout.session.completed");
    Ok(())
}

/// A delayed payment that a session waits for is known.
pub fn conclude(state: &mut State, intent: &str) {
    let Some(record) = state.get(Kind::PaymentIntent, intent) else { return };
    let paid = text(&record.object, "status") == "succeeded";
    let Some(id) = record.extra.get("session").and_then(Value::as_str).map(str::to_owned) else { return };
    let waits = state.get(Kind::Session, &id).is_some_and(|record| {
        text(&record.object, "status") == "complete" && text(&record.object, "payment_status") == "unpaid"
    });
    if waits && paid {
        finish(state, &id, json!({ "payment_status": "paid" }), "checkout.session.async_payment_succeeded");
    } else if waits {
        finish(state, &id, json!({}), "checkout.session.async_payment_failed");
    }
}

fn subscribe(state: &mut State, id: &str, session: &Value, card: &str) -> Result<Value, Refusal> {
    // A subscription keeps its buyer's card by itself, if it is good.
    let card = payment_method::brought(state, card);
    if let Some(decline) = card::own(state, &card, true).authenticated().decline() {
        return Err(decline.refusal());
    }
    let customer = buyer(state, id, session, true);
    let (seats, data) = match state.get(Kind::Session, id) {
        Some(record) => (seats(&record.extra["line_items"]), record.extra["subscription_data"].clone()),
        None => (Vec::new(), Value::Null),
    };
    let customer = customer.unwrap_or_default();
    let trial = match (data["trial"]["days"].as_i64(), data["trial"]["until"].as_i64()) {
        (Some(days), _) => Some(Trial::Days(days)),
        (None, until) => until.map(Trial::Until),
    };
    let terms = Terms { trial_end: trial.and_then(|trial| trial.end(state.now)), ..Terms::default() };
    let description = data["description"].as_str();
    let made = subscription::open(state, &customer, &seats, &data["metadata"], description, terms);
    let asked = state.get(Kind::Session, id).map(|record| record.extra.clone()).unwrap_or_default();
    let coupon = asked.get("coupon").and_then(Value::as_str);
    subscription::ask_for(state, &made, coupon, asked.get("taxed") == Some(&json!(true)));
    payment_method::keep(state, &card, &customer);
    state.set(Kind::Subscription, &made, json!({ "default_payment_method": card }));
    let invoice = subscription::bill(state, &made, "subscription_create");
    let status = if number(session, "amount_total") == 0 { "no_payment_required" } else { "paid" };
    Ok(json!({ "subscription": made, "invoice": invoice, "payment_status": status }))
}

fn seats(line_items: &Value) -> Vec<Seat> {
    let items = line_items.as_array().into_iter().flatten();
    items
        .map(|item| Seat { price: text(&item["price"], "id").to_owned(), quantity: number(item, "quantity") })
        .collect()
}

/// The intent of a session: the first attempt to pay makes it.
fn open_intent(state: &mut State, id: &str, session: &Value) -> String {
    if let Some(tried) = session["payment_intent"].as_str() {
        return tried.to_owned();
    }
    let data = match state.get(Kind::Session, id) {
        Some(record) => record.extra["payment_intent_data"].clone(),
        None => Value::Null,
    };
    let keep_card = data["setup_future_usage"].is_string();
    let always = text(session, "customer_creation") == "always" || keep_card;
    let owned = |field: &str| data[field].as_str().map(str::to_owned);
    let purpose = Purpose {
        customer: buyer(state, id, session, always),
        metadata: facts(data["metadata"].clone()),
        description: owned("description"),
        receipt_email: owned("receipt_email"),
        setup_future_usage: owned("setup_future_usage"),
        session: Some(id.to_owned()),
        manual: data["capture_method"] == json!("manual"),
        presentment: state.get(Kind::Session, id).and_then(|record| record.extra.get("presentment").cloned()),
        ..Purpose::default()
    };
    payment_intent::open(state, number(session, "amount_total"), text(session, "currency"), &purpose)
}

/// The session's customer, made now if it is wanted and absent.
fn buyer(state: &mut State, id: &str, session: &Value, wanted: bool) -> Option<String> {
    if let Some(customer) = session["customer"].as_str() {
        return Some(customer.to_owned());
    }
    if !wanted {
        return None;
    }
    let made = customer::from_checkout(state, session["customer_email"].as_str());
    state.set(Kind::Session, id, json!({ "customer": made }));
    Some(made)
}

fn finish(state: &mut State, id: &str, changes: Value, event_type: &str) {
    let Some(record) = state.get(Kind::Session, id) else { return };
    let customer = record.object["customer"].as_str().and_then(|id| state.get(Kind::Customer, id));
    let (email, name) = match customer {
        Some(customer) => (customer.object["email"].clone(), customer.object["name"].clone()),
        None => (record.object["customer_email"].clone(), Value::Null),
    };
    let details = json!({
        "address": null, "business_name": null, "email": email, "individual_name": null, "name": name,
        "phone": null, "tax_exempt": "none", "tax_ids": [],
    });
    let presentment = record.extra.get("presentment").cloned();
    state.set(Kind::Session, id, changes);
    if let Some(presentment) = presentment {
        state.set(Kind::Session, id, json!({ "presentment_details": presentment }));
    }
    state.set(Kind::Session, id, json!({ "status": "complete", "url": null, "customer_details": details }));
    state.emit(event_type, Kind::Session, id);
}
