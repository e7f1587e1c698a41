//! `customer`.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_fields, with_nulls};
use super::payment_intent::Decline;
use super::subscription_life;

/// Parameters of a creation or update.
pub const ACCEPTED: &[&str] = &["email", "name", "description", "phone", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["email"];

/// `POST /v1/customers`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let fields = json!({
        "email": params.string("email")?, "name": params.string("name")?,
        "description": params.string("description")?, "phone": params.string("phone")?,
        "metadata": params.metadata("metadata", &Value::Null)?,
    });
    let id = insert(state, fields);
    Ok(state.found(Kind::Customer, &id)?.object.clone())
}

/// Makes the customer a Checkout Session leads to when none was named.
pub fn from_checkout(state: &mut State, email: Option<&str>) -> String {
    insert(state, json!({ "email": email, "name": null, "description": null, "phone": null, "metadata": {} }))
}

fn insert(state: &mut State, fields: Value) -> String {
    let id = ids::fresh("cus");
    let customer = with_nulls(
        json!({
            "id": id, "object": "customer", "balance": 0, "created": state.now, "delinquent": false,
            "invoice_prefix": id.to_ascii_uppercase().chars().rev().take(8).collect::<String>(),
            "invoice_settings": {
                "custom_fields": null, "default_payment_method": null, "footer": null, "rendering_options": null
            },
            "livemode": false, "next_invoice_sequence": 1, "preferred_locales": [], "tax_exempt": "none",
        }),
        &["address", "currency", "customer_account", "default_source", "shipping", "test_clock"],
    );
    let customer = with_fields(customer, fields);
    state.insert(Kind::Customer, customer, Map::new());
    state.emit("customer.created", Kind::Customer, &id);
    id
}

/// `POST /v1/customers/{id}`.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    if state.found(Kind::Customer, id)?.object["deleted"] == json!(true) {
        return Err(Refusal::not_found(Kind::Customer.name(), id));
    }
    let texts = [("email", true), ("name", true), ("description", true), ("phone", true)];
    super::update(state, Kind::Customer, id, params, &texts)
}

/// `DELETE /v1/customers/{id}`: its subscriptions end at once; a stub stays.
pub fn delete(state: &mut State, id: &str) -> Result<Value, Refusal> {
    if state.found(Kind::Customer, id)?.object["deleted"] == json!(true) {
        return Err(Refusal::not_found(Kind::Customer.name(), id));
    }
    // From here it must succeed.
    let of_customer = |object: &Value| text(object, "customer") == id && subscription_life::is_running(object);
    let running = state.all(Kind::Subscription).map(|record| &record.object).filter(|object| of_customer(object));
    let running: Vec<String> = running.map(|object| text(object, "id").to_owned()).collect();
    for subscription in running {
        subscription_life::end(state, &subscription, "cancellation_requested");
    }
    state.emit("customer.deleted", Kind::Customer, id);
    let stub = json!({ "id": id, "object": "customer", "deleted": true });
    state.replace(Kind::Customer, id, stub.clone());
    Ok(stub)
}

/// What a customer owes; below zero it is a credit.
pub fn balance(state: &State, id: &str) -> i64 {
    state.get(Kind::Customer, id).map_or(0, |record| number(&record.object, "balance"))
}

/// Moves what the customer owes: below zero it is a credit for later invoices.
pub fn move_balance(state: &mut State, id: &str, by: i64) {
    let before = state.get(Kind::Customer, id).filter(|record| record.object["deleted"] != json!(true));
    let Some(before) = before.map(|record| number(&record.object, "balance")) else { return };
    state.set(Kind::Customer, id, json!({ "balance": before.saturating_add(by) }));
    state.emit_change("customer.updated", Kind::Customer, id, Some(json!({ "balance": before })));
}

/// Says how the next charges without a buyer behave: declined for a reason, so many times or until it is said anew;
/// without a reason they succeed.
pub fn set_card(state: &mut State, id: &str, decline: Option<&Decline>, times: Option<u32>) -> Result<(), Refusal> {
    state.named(Kind::Customer, id, "customer")?;
    let card = decline.map(|decline| {
        json!({
            "code": decline.code, "reason": decline.reason, "advice": decline.advice, "message": decline.message,
            "left": times,
        })
    });
    state.set_extra(Kind::Customer, id, "card", json!(card));
    Ok(())
}

/// Whether the next charge of a customer is declined.
pub fn is_declined(state: &State, id: &str) -> bool {
    let card = state.get(Kind::Customer, id).and_then(|record| record.extra.get("card"));
    card.is_some_and(|card| card.is_object() && card["left"] != json!(0))
}

/// Why the next charge of a customer will be declined; none if it succeeds.
pub fn peek_decline(state: &State, id: &str) -> Option<Decline> {
    if !is_declined(state, id) {
        return None;
    }
    let card = state.get(Kind::Customer, id)?.extra.get("card")?;
    let owned = |field: &str| card[field].as_str().map(str::to_owned);
    Some(Decline { code: owned("code")?, reason: owned("reason"), advice: owned("advice"), message: owned("message")? })
}

/// Why the next charge of a customer is declined, which is now; none if it succeeds.
pub fn next_decline(state: &mut State, id: &str) -> Option<Decline> {
    let decline = peek_decline(state, id)?;
    let mut card = state.get(Kind::Customer, id)?.extra.get("card")?.clone();
    if let Some(left) = card["left"].as_u64() {
        card["left"] = json!(left.saturating_sub(1));
        state.set_extra(Kind::Customer, id, "card", card);
    }
    Some(decline)
}
