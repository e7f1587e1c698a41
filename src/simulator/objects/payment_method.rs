//! `payment_method`: cards and accounts that are kept, changed and taken away.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, text, with_nulls};
use super::{customer, test_method};

/// Parameters of an attachment.
pub const ATTACH: &[&str] = &["customer", "expand[]"];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["card[exp_month]", "card[exp_year]", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer", "type"];
/// The last year a card may say.
const YEAR_MAX: i64 = 2_099;

/// Makes a card that pays; with a customer it is attached.
pub fn make(state: &mut State, customer: Option<&str>) -> String {
    let id = make_of(state, "pm_card_visa");
    if let Some(customer) = customer {
        keep(state, &id, customer);
    }
    id
}

/// Makes a method of one of Stripe's test methods; it behaves as that one does.
pub fn make_of(state: &mut State, test_method: &str) -> String {
    let id = ids::fresh("pm");
    let face = test_method::face(test_method);
    let kind = if face.is_some() { "card" } else { "us_bank_account" };
    let mut method = json!({
        "id": id, "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
        "created": state.now, "customer": null, "customer_account": null, "livemode": false,
        "metadata": {}, "type": kind,
    });
    method[kind] = match face {
        Some((brand, funding, last4)) => with_nulls(
            json!({
                "brand": brand, "checks": {
                    "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass"
                },
                "country": "US", "display_brand": brand, "exp_month": 12, "exp_year": 2034,
                "fingerprint": "simulatedcard", "funding": funding, "last4": last4,
                "networks": { "available": [brand], "preferred": null }, "regulated_status": "unregulated",
                "three_d_secure_usage": { "supported": true },
            }),
            &["generated_from", "wallet"],
        ),
        None => json!({
            "account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": null, "fingerprint": "simulatedaccount", "last4": "6789",
            "networks": { "preferred": "ach", "supported": ["ach"] }, "routing_number": "110000000",
            "status_details": null,
        }),
    };
    state.insert(Kind::PaymentMethod, method, facts(json!({ "made_of": test_method })));
    id
}

/// Whether a method that a request names can be used: a test method, or one that is there and its customer's.
pub fn check(state: &State, id: &str, customer: Option<&str>, parameter: &str) -> Result<(), Refusal> {
    let fits = test_method::is_test_method(id) || usable(state, id, customer);
    if fits { Ok(()) } else { Err(Refusal::no_such("PaymentMethod", id, parameter)) }
}

/// The method of a name that was checked: of a test method one is made, for this use.
pub fn brought(state: &mut State, id: &str) -> String {
    if test_method::is_test_method(id) { make_of(state, id) } else { id.to_owned() }
}

/// Attaches a method that is of nobody yet, and keeps that its owner agreed to later charges.
pub fn keep(state: &mut State, id: &str, customer: &str) {
    let free = state.get(Kind::PaymentMethod, id).is_some_and(|record| record.object["customer"].is_null());
    if free {
        put_on(state, id, customer);
    }
    state.set_extra(Kind::PaymentMethod, id, "set_up", json!(true));
}

/// Attaches a method.
pub fn put_on(state: &mut State, id: &str, customer: &str) {
    state.set(Kind::PaymentMethod, id, json!({ "customer": customer }));
    state.emit("payment_method.attached", Kind::PaymentMethod, id);
}

/// `POST /v1/payment_methods/{id}/attach`; of one of Stripe's test methods it makes one.
pub fn attach(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let made = if test_method::is_test_method(id) {
        make_of(state, id)
    } else {
        let record = state.found(Kind::PaymentMethod, id)?;
        if !record.object["customer"].is_null() {
            return Err(Refusal::invalid("The payment method you provided has already been attached to a customer."));
        }
        if record.extra.get("detached") == Some(&json!(true)) {
            let message = "The provided PaymentMethod was previously used with a PaymentIntent without Customer \
                           attachment, or was detached from a Customer. It may not be used again.";
            return Err(Refusal::invalid(message));
        }
        id.to_owned()
    };
    put_on(state, &made, &customer);
    Ok(state.found(Kind::PaymentMethod, &made)?.object.clone())
}

/// `POST /v1/payment_methods/{id}/detach`: nothing is paid with it any more.
pub fn detach(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let customer = state.found(Kind::PaymentMethod, id)?.object["customer"].clone();
    let Some(of) = customer.as_str() else {
        return Err(Refusal::invalid("The payment method you provided is not attached to a customer."));
    };
    state.set(Kind::PaymentMethod, id, json!({ "customer": null }));
    state.set_extra(Kind::PaymentMethod, id, "detached", json!(true));
    state.emit_change("payment_method.detached", Kind::PaymentMethod, id, Some(json!({ "customer": of })));
    customer::forget_method(state, of, id);
    Ok(state.found(Kind::PaymentMethod, id)?.object.clone())
}

/// `POST /v1/payment_methods/{id}`: its expiry and metadata.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::PaymentMethod, id)?.object.clone();
    if before["customer"].is_null() {
        return Err(Refusal::invalid("You must save this PaymentMethod to a customer before you can update it."));
    }
    if params.has("card") && !before["card"].is_object() {
        return Err(Refusal::invalid("You can only update `card` of a card.").with("param", json!("card")));
    }
    let metadata = params.metadata("metadata", &before["metadata"])?;
    let mut card = before["card"].clone();
    if let Some(month) = params.integer_between("card[exp_month]", 1, 12)? {
        card["exp_month"] = json!(month);
    }
    if let Some(year) = params.integer_between("card[exp_year]", 2_000, YEAR_MAX)? {
        card["exp_year"] = json!(year);
    }
    let mut changes = json!({ "metadata": metadata });
    if card.is_object() {
        changes["card"] = card;
    }
    change(state, id, &before, changes, "payment_method.updated");
    Ok(state.found(Kind::PaymentMethod, id)?.object.clone())
}

/// The card's network sends a new expiry.
pub fn update_automatically(state: &mut State, id: &str, exp_month: i64, exp_year: i64) -> Result<Value, Refusal> {
    let before = state.found(Kind::PaymentMethod, id)?.object.clone();
    if !before["card"].is_object() || !(1..=12).contains(&exp_month) || !(2_000..=YEAR_MAX).contains(&exp_year) {
        return Err(Refusal::invalid("A card, and nothing else, expires in a month of this century."));
    }
    let mut card = before["card"].clone();
    card["exp_month"] = json!(exp_month);
    card["exp_year"] = json!(exp_year);
    change(state, id, &before, json!({ "card": card }), "payment_method.automatically_updated");
    Ok(state.found(Kind::PaymentMethod, id)?.object.clone())
}

fn change(state: &mut State, id: &str, before: &Value, changes: Value, event_type: &str) {
    let told: Map<String, Value> = changes.as_object().cloned().unwrap_or_default();
    let previous: Map<String, Value> = told
        .iter()
        .filter(|(field, value)| before[field.as_str()] != **value)
        .map(|(field, _)| (field.clone(), before[field.as_str()].clone()))
        .collect();
    if !previous.is_empty() {
        state.set(Kind::PaymentMethod, id, changes);
        state.emit_change(event_type, Kind::PaymentMethod, id, Some(Value::Object(previous)));
    }
}

/// Whether a card that a request names can be used: one that is there, and its customer's.
pub fn usable(state: &State, id: &str, customer: Option<&str>) -> bool {
    let found = state.get(Kind::PaymentMethod, id).map(|record| &record.object);
    found.is_some_and(|method| customer.is_some() && text(method, "customer") == customer.unwrap_or_default())
}

/// Whether a method is there, and nobody's.
pub fn is_free(state: &State, id: &str) -> bool {
    let found = state.get(Kind::PaymentMethod, id);
    found.is_some_and(|record| record.object["customer"].is_null() && record.extra.get("detached").is_none())
}
