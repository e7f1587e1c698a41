//! `customer`.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_fields, with_nulls};
use super::{AMOUNT_MAX, payment_method, subscription_life, test_method};

/// Parameters of a creation or update.
pub const ACCEPTED: &[&str] = &[
    "email",
    "name",
    "description",
    "phone",
    "balance",
    "payment_method",
    "invoice_settings[default_payment_method]",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Filters of the list.
pub const FILTERS: &[&str] = &["email"];
/// The method that pays invoices, where a request names it.
const DEFAULT: &str = "invoice_settings[default_payment_method]";

/// `POST /v1/customers`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let fields = json!({
        "email": params.string("email")?, "name": params.string("name")?,
        "description": params.string("description")?, "phone": params.string("phone")?,
        "metadata": params.metadata("metadata", &Value::Null)?,
    });
    let balance = params.integer_between("balance", -AMOUNT_MAX, AMOUNT_MAX)?.unwrap_or(0);
    let method = params.string("payment_method")?;
    if let Some(method) = &method
        && !(test_method::is_test_method(method) || payment_method::is_free(state, method))
    {
        return Err(Refusal::no_such("PaymentMethod", method, "payment_method"));
    }
    let default = params.string(DEFAULT)?;
    if default != method && default.is_some() {
        let message = "A new customer's default is the `payment_method` it is made with.";
        return Err(Refusal::parameter("resource_missing", DEFAULT, message));
    }
    // From here it must succeed.
    let fields = with_fields(fields, json!({ "balance": balance }));
    let method = method.map(|method| payment_method::brought(state, &method));
    let settings = json!({
        "custom_fields": null, "default_payment_method": method.as_ref().filter(|_| default.is_some()), "footer": null,
        "rendering_options": null,
    });
    let id = insert(state, with_fields(fields, json!({ "invoice_settings": settings })));
    if let Some(method) = method {
        payment_method::put_on(state, &method, &id);
    }
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
    if params.has("payment_method") {
        return Err(Refusal::unknown_parameter("payment_method"));
    }
    let before = state.found(Kind::Customer, id)?.object.clone();
    let balance = params.integer_between("balance", -AMOUNT_MAX, AMOUNT_MAX)?;
    let default = read_default(state, id, params)?;
    let mut changes = json!({});
    let mut previous = json!({});
    if let Some(balance) = balance.filter(|balance| *balance != number(&before, "balance")) {
        changes["balance"] = json!(balance);
        previous["balance"] = before["balance"].clone();
    }
    let was = before["invoice_settings"]["default_payment_method"].clone();
    if let Some(default) = default.filter(|default| *default != was) {
        changes["invoice_settings"] = settings_with(&before, default.as_str());
        previous["invoice_settings"] = json!({ "default_payment_method": was });
    }
    let texts = [("email", true), ("name", true), ("description", true), ("phone", true)];
    super::update_with(state, Kind::Customer, id, params, &texts, (changes, previous))
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

/// The method that pays a customer's invoices.
pub fn default_method(state: &State, id: &str) -> Option<String> {
    let customer = &state.get(Kind::Customer, id)?.object;
    customer["invoice_settings"]["default_payment_method"].as_str().map(str::to_owned)
}

fn settings_with(customer: &Value, method: Option<&str>) -> Value {
    let mut settings = customer["invoice_settings"].clone();
    settings["default_payment_method"] = json!(method);
    settings
}

/// A method is detached: nothing has it as its default any more.
pub fn forget_method(state: &mut State, id: &str, method: &str) {
    if default_method(state, id).as_deref() == Some(method) {
        let customer = state.get(Kind::Customer, id).map(|record| record.object.clone()).unwrap_or_default();
        state.set(Kind::Customer, id, json!({ "invoice_settings": settings_with(&customer, None) }));
        let previous = json!({ "invoice_settings": { "default_payment_method": method } });
        state.emit_change("customer.updated", Kind::Customer, id, Some(previous));
    }
    let paid =
        |object: &&Value| text(object, "default_payment_method") == method && subscription_life::is_running(object);
    let paid = state.all(Kind::Subscription).map(|record| &record.object).filter(paid);
    let paid: Vec<String> = paid.map(|object| text(object, "id").to_owned()).collect();
    for subscription in paid {
        state.set(Kind::Subscription, &subscription, json!({ "default_payment_method": null }));
        let previous = Some(json!({ "default_payment_method": method }));
        state.emit_change("customer.subscription.updated", Kind::Subscription, &subscription, previous);
    }
}

/// Reads which method is to pay the invoices: one of the customer's own; an empty one takes it away, which is null.
fn read_default(state: &State, id: &str, params: &Params) -> Result<Option<Value>, Refusal> {
    if params.is_empty_text(DEFAULT) {
        return Ok(Some(Value::Null));
    }
    let Some(method) = params.string(DEFAULT)? else { return Ok(None) };
    if !payment_method::usable(state, &method, Some(id)) {
        let message = format!(
            "The customer does not have a payment method with the ID {method}. The payment method must be attached to \
             the customer."
        );
        return Err(Refusal::parameter("resource_missing", DEFAULT, &message));
    }
    Ok(Some(json!(method)))
}
