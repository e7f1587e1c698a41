//! Builders of Stripe's objects in the newest shape, a family in each file.
//!
//! A builder checks its parameters against the state, then writes: after its first write it cannot refuse.

pub mod balance;
pub mod card;
pub mod card_order;
pub mod charge;
pub mod collection;
pub mod credit_note;
pub mod customer;
pub mod dispute;
pub mod event;
pub mod intent_payment;
pub mod invoice;
pub mod invoice_by_hand;
pub mod invoice_item;
pub mod invoice_payment;
pub mod payment_intent;
pub mod payment_link;
pub mod payment_method;
pub mod plan_change;
pub mod portal;
pub mod price;
pub mod product;
pub mod refund;
pub mod schedule;
pub mod session;
pub mod session_payment;
pub mod setup_intent;
pub mod subscription;
pub mod subscription_life;
pub mod tax;
pub mod terms;
pub mod test_method;

use serde_json::{Map, Value, json};

use super::params::Params;
use super::refusal::Refusal;
use super::state::{Kind, State, facts, number};

/// The largest amount Stripe takes, in minor units: eight digits.
pub const AMOUNT_MAX: i64 = 99_999_999;

/// The methods a buyer is offered, if they are named: the simulator knows cards and bank accounts.
fn read_methods(params: &Params) -> Result<Option<Vec<String>>, Refusal> {
    for name in ["payment_method_types", "allowed_payment_method_types"] {
        let named = params.strings(name)?;
        if named.iter().any(|method| !["card", "us_bank_account"].contains(&method.as_str())) {
            let message = "The simulator takes payments by `card` and `us_bank_account` only.";
            return Err(Refusal::invalid(message).with("param", json!(name)));
        }
        if !named.is_empty() {
            return Ok(Some(named));
        }
    }
    Ok(None)
}

/// What a part of an amount is in the currency its buyer saw: the same share, rounded down.
fn presentment(whole: &Value, charge: &Value, amount: i64) -> Value {
    let seen = i128::from(number(whole, "presentment_amount")) * i128::from(amount);
    let seen = seen / i128::from(number(charge, "amount").max(1));
    json!({
        "presentment_amount": i64::try_from(seen).unwrap_or(i64::MAX),
        "presentment_currency": whole["presentment_currency"],
    })
}

/// A list object as it is embedded in another.
pub fn embedded_list(entries: &[Value], url: &str) -> Value {
    json!({ "object": "list", "data": entries, "has_more": false, "url": url })
}

/// A field of an update that is a plain string: an empty one clears it where Stripe allows null.
fn update_text(params: &Params, field: &str, nullable: bool) -> Result<Option<Value>, Refusal> {
    if nullable && params.is_empty_text(field) {
        return Ok(Some(Value::Null));
    }
    Ok(params.string(field)?.map(Value::String))
}

/// Updates text, `active` and metadata of a customer, product or price, and emits its `updated` event.
///
/// A field is named with whether Stripe allows it to be null.
fn update(state: &mut State, kind: Kind, id: &str, params: &Params, texts: &[(&str, bool)]) -> Result<Value, Refusal> {
    update_with(state, kind, id, params, texts, (json!({}), json!({})))
}

/// The same with changes of its own that were checked, and what they were before.
fn update_with(
    state: &mut State,
    kind: Kind,
    id: &str,
    params: &Params,
    texts: &[(&str, bool)],
    (own, own_before): (Value, Value),
) -> Result<Value, Refusal> {
    let before = state.found(kind, id)?.object.clone();
    let mut changes = Map::new();
    for (field, nullable) in texts {
        if let Some(value) = update_text(params, field, *nullable)? {
            changes.insert((*field).to_owned(), value);
        }
    }
    if let Some(active) = params.boolean("active")? {
        changes.insert("active".to_owned(), json!(active));
    }
    changes.insert("metadata".to_owned(), params.metadata("metadata", &before["metadata"])?);
    if kind == Kind::Product {
        changes.insert("updated".to_owned(), json!(state.now));
    }
    changes.retain(|field, value| before[field.as_str()] != *value);
    let mut previous: Map<String, Value> =
        changes.keys().map(|field| (field.clone(), before[field.as_str()].clone())).collect();
    changes.extend(facts(own));
    previous.extend(facts(own_before));
    if !changes.is_empty() {
        state.set(kind, id, Value::Object(changes));
        state.emit_change(&format!("{}.updated", kind.name()), kind, id, Some(Value::Object(previous)));
    }
    Ok(state.found(kind, id)?.object.clone())
}
