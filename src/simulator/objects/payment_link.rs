//! `payment_link`: an address that makes a Checkout Session for everyone who follows it.

use serde_json::{Map, Value, json};

use super::super::form::Pair;
use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, number, text, with_nulls};
use super::subscription::QUANTITY_MAX;
use super::{session, update_text};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &[
    "line_items[][price]",
    "line_items[][quantity]",
    "payment_intent_data[metadata][*]",
    "subscription_data[metadata][*]",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["active", "inactive_message", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["active"];
/// Lines of one link; Stripe's limit.
const LINES_MAX: usize = 20;

/// `POST /v1/payment_links`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let asked = params.children("line_items")?;
    if asked.is_empty() || asked.len() > LINES_MAX {
        return Err(Refusal::missing("line_items"));
    }
    let mut lines = Vec::new();
    let mut recurring = false;
    let mut currency = Value::Null;
    for line in &asked {
        let id = line.required("price")?;
        let price = &state.named(Kind::Price, &id, &line.name("price"))?.object;
        recurring |= !price["recurring"].is_null();
        currency = price["currency"].clone();
        let quantity = line.integer_between("quantity", 1, QUANTITY_MAX)?;
        let quantity = quantity.ok_or_else(|| Refusal::missing(&line.name("quantity")))?;
        lines.push(json!({ "price": id, "quantity": quantity }));
    }
    let mode = if recurring { "subscription" } else { "payment" };
    let handed_on = |data: &str| params.metadata(&format!("{data}[metadata]"), &Value::Null);
    let extra = json!({
        "lines": lines, "mode": mode, "payment_intent_data": handed_on("payment_intent_data")?,
        "subscription_data": handed_on("subscription_data")?,
    });
    let metadata = params.metadata("metadata", &Value::Null)?;
    let id = ids::fresh("plink");
    let link = with_nulls(
        json!({
            "id": id, "object": "payment_link", "active": true,
            "after_completion": { "hosted_confirmation": { "custom_message": null }, "type": "hosted_confirmation" },
            "allow_promotion_codes": false, "automatic_tax": { "enabled": false, "liability": null },
            "billing_address_collection": "auto", "currency": currency, "custom_fields": [],
            "custom_text": {
                "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null
            },
            "customer_creation": if recurring { "always" } else { "if_required" }, "livemode": false,
            "metadata": metadata, "payment_method_collection": "always",
            "phone_number_collection": { "enabled": false }, "shipping_options": [], "submit_type": "auto",
            "tax_id_collection": { "enabled": false, "required": "never" },
            "url": format!("{}/link/{id}", state.base_url),
        }),
        &[
            "application",
            "application_fee_amount",
            "application_fee_percent",
            "consent_collection",
            "inactive_message",
            "invoice_creation",
            "managed_payments",
            "on_behalf_of",
            "optional_items",
            "payment_intent_data",
            "payment_method_options",
            "payment_method_types",
            "restrictions",
            "shipping_address_collection",
            "subscription_data",
            "transfer_data",
        ],
    );
    // From here it must succeed.
    state.insert(Kind::PaymentLink, link, facts(extra));
    state.emit("payment_link.created", Kind::PaymentLink, &id);
    Ok(state.found(Kind::PaymentLink, &id)?.object.clone())
}

/// `POST /v1/payment_links/{id}`.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::PaymentLink, id)?.object.clone();
    let mut changes = Map::new();
    changes.insert("metadata".to_owned(), params.metadata("metadata", &before["metadata"])?);
    if let Some(active) = params.boolean("active")? {
        changes.insert("active".to_owned(), json!(active));
    }
    if let Some(message) = update_text(params, "inactive_message", true)? {
        changes.insert("inactive_message".to_owned(), message);
    }
    changes.retain(|field, value| before[field.as_str()] != *value);
    if !changes.is_empty() {
        let previous: Map<String, Value> =
            changes.keys().map(|field| (field.clone(), before[field.as_str()].clone())).collect();
        state.set(Kind::PaymentLink, id, Value::Object(changes));
        state.emit_change("payment_link.updated", Kind::PaymentLink, id, Some(Value::Object(previous)));
    }
    Ok(state.found(Kind::PaymentLink, id)?.object.clone())
}

/// Somebody follows the link: the session they see, which carries the link and its metadata.
pub fn follow(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let record = state.found(Kind::PaymentLink, id)?.clone();
    if record.object["active"] != json!(true) {
        return Err(Refusal::invalid("This payment link is not active."));
    }
    let mode = text(&json!(record.extra), "mode").to_owned();
    let mut pairs = Vec::new();
    let mut put = |segments: &[&str], value: String| {
        pairs.push(Pair { segments: segments.iter().map(|&segment| segment.to_owned()).collect(), value });
    };
    put(&["mode"], mode.clone());
    put(&["success_url"], format!("{}/link/{id}/done", state.base_url));
    for (place, line) in record.extra["lines"].as_array().into_iter().flatten().enumerate() {
        let place = place.to_string();
        put(&["line_items", &place, "price"], text(line, "price").to_owned());
        put(&["line_items", &place, "quantity"], number(line, "quantity").to_string());
    }
    let data = if mode == "payment" { "payment_intent_data" } else { "subscription_data" };
    for (from, to) in [(&record.object["metadata"], None), (&record.extra[data], Some(data))] {
        for (key, value) in from.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            match to {
                None => put(&["metadata", key], value),
                Some(data) => put(&[data, "metadata", key], value),
            }
        }
    }
    let made = session::create(state, &Params::accepting(&pairs, &[session::ACCEPTED])?)?;
    state.set(Kind::Session, text(&made, "id"), json!({ "payment_link": id }));
    Ok(state.found(Kind::Session, text(&made, "id"))?.object.clone())
}
