//! `payment_method` and `setup_intent`: cards that are kept, changed and taken away.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, text, with_nulls};

/// Parameters of an attachment.
pub const ATTACH: &[&str] = &["customer", "expand[]"];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["card[exp_month]", "card[exp_year]", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer", "type"];
/// Filters of the list of setup intents.
pub const SETUP_FILTERS: &[&str] = &["customer", "payment_method"];
/// The last year a card may say.
const YEAR_MAX: i64 = 2_099;

/// Makes a card; with a customer it is attached.
pub fn make(state: &mut State, customer: Option<&str>) -> String {
    let id = ids::fresh("pm");
    let card = with_nulls(
        json!({
            "brand": "visa", "checks": {
                "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass"
            },
            "country": "US", "display_brand": "visa", "exp_month": 12, "exp_year": 2034,
            "fingerprint": "simulatedcard", "funding": "credit", "last4": "4242",
            "networks": { "available": ["visa"], "preferred": null }, "regulated_status": "unregulated",
            "three_d_secure_usage": { "supported": true },
        }),
        &["generated_from", "wallet"],
    );
    let method = json!({
        "id": id, "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
        "card": card, "created": state.now, "customer": null, "customer_account": null, "livemode": false,
        "metadata": {}, "type": "card",
    });
    state.insert(Kind::PaymentMethod, method, Map::new());
    if let Some(customer) = customer {
        put_on(state, &id, customer);
    }
    id
}

fn put_on(state: &mut State, id: &str, customer: &str) {
    state.set(Kind::PaymentMethod, id, json!({ "customer": customer }));
    state.emit("payment_method.attached", Kind::PaymentMethod, id);
}

/// `POST /v1/payment_methods/{id}/attach`; of one of Stripe's test cards it makes one.
pub fn attach(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let made = if ["pm_card_visa", "pm_card_mastercard"].contains(&id) {
        make(state, Some(&customer))
    } else {
        if !state.found(Kind::PaymentMethod, id)?.object["customer"].is_null() {
            return Err(Refusal::invalid("The payment method you provided has already been attached to a customer."));
        }
        put_on(state, id, &customer);
        id.to_owned()
    };
    Ok(state.found(Kind::PaymentMethod, &made)?.object.clone())
}

/// `POST /v1/payment_methods/{id}/detach`.
pub fn detach(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let customer = state.found(Kind::PaymentMethod, id)?.object["customer"].clone();
    let Some(of) = customer.as_str() else {
        return Err(Refusal::invalid("The payment method you provided is not attached to a customer."));
    };
    state.set(Kind::PaymentMethod, id, json!({ "customer": null }));
    state.emit_change("payment_method.detached", Kind::PaymentMethod, id, Some(json!({ "customer": of })));
    Ok(state.found(Kind::PaymentMethod, id)?.object.clone())
}

/// `POST /v1/payment_methods/{id}`: its expiry and metadata.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::PaymentMethod, id)?.object.clone();
    let metadata = params.metadata("metadata", &before["metadata"])?;
    let mut card = before["card"].clone();
    if let Some(month) = params.integer_between("card[exp_month]", 1, 12)? {
        card["exp_month"] = json!(month);
    }
    if let Some(year) = params.integer_between("card[exp_year]", 2_000, YEAR_MAX)? {
        card["exp_year"] = json!(year);
    }
    change(state, id, &before, json!({ "card": card, "metadata": metadata }), "payment_method.updated");
    Ok(state.found(Kind::PaymentMethod, id)?.object.clone())
}

/// The card's network sends a new expiry.
pub fn update_automatically(state: &mut State, id: &str, exp_month: i64, exp_year: i64) -> Result<Value, Refusal> {
    let before = state.found(Kind::PaymentMethod, id)?.object.clone();
    if !(1..=12).contains(&exp_month) || !(2_000..=YEAR_MAX).contains(&exp_year) {
        return Err(Refusal::invalid("A card expires in a month of this century."));
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

/// A buyer leaves a card to be used later: the setup intent and the card of a session in `setup` mode.
pub fn set_up(state: &mut State, customer: Option<&str>, metadata: &Value) -> String {
    let id = ids::fresh("seti");
    let secret = ids::fresh(&format!("{id}_secret"));
    let intent = with_nulls(
        json!({
            "id": id, "object": "setup_intent", "client_secret": secret, "created": state.now, "customer": customer,
            "livemode": false, "metadata": metadata, "payment_method_options": {},
            "payment_method_types": ["card"], "status": "requires_payment_method", "usage": "off_session",
        }),
        &[
            "allowed_payment_method_types",
            "application",
            "automatic_payment_methods",
            "cancellation_reason",
            "customer_account",
            "description",
            "excluded_payment_method_types",
            "flow_directions",
            "last_setup_error",
            "latest_attempt",
            "managed_payments",
            "mandate",
            "next_action",
            "on_behalf_of",
            "payment_method",
            "payment_method_configuration_details",
            "single_use_mandate",
        ],
    );
    state.insert(Kind::SetupIntent, intent, Map::new());
    state.emit("setup_intent.created", Kind::SetupIntent, &id);
    let method = make(state, customer);
    state.set(Kind::SetupIntent, &id, json!({ "payment_method": method, "status": "succeeded" }));
    state.emit("setup_intent.succeeded", Kind::SetupIntent, &id);
    id
}

/// Whether a card that a request names can be used: one that is there, and its customer's.
pub fn usable(state: &State, id: &str, customer: Option<&str>) -> bool {
    let found = state.get(Kind::PaymentMethod, id).map(|record| &record.object);
    found.is_some_and(|method| customer.is_some() && text(method, "customer") == customer.unwrap_or_default())
}
