//! `customer`.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, with_fields, with_nulls};

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
    let texts = [("email", true), ("name", true), ("description", true), ("phone", true)];
    super::update(state, Kind::Customer, id, params, &texts)
}
