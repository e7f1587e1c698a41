//! `setup_intent`: a payer leaves a card for later charges, and nothing is charged now.

use serde_json::{Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, text, with_nulls};
use super::card::{self, Behavior, Decline};
use super::{intent_payment, payment_intent, payment_method, read_methods};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &[
    "automatic_payment_methods[enabled]",
    "automatic_payment_methods[allow_redirects]",
    "confirm",
    "customer",
    "description",
    "payment_method",
    "return_url",
    "usage",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of a confirmation.
pub const CONFIRM: &[&str] = &["payment_method", "return_url", "expand[]"];
/// Parameters of a cancellation.
pub const CANCEL: &[&str] = &["cancellation_reason", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer", "payment_method"];

/// What an intent is made of.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Whose card it will be.
    pub customer: Option<String>,
    /// The intent's metadata.
    pub metadata: Value,
    /// For the merchant.
    pub description: Option<String>,
    /// For whom it is kept: `off_session` or `on_session`.
    pub usage: Option<String>,
    /// The card.
    pub method: Option<String>,
    /// The methods named.
    pub methods: Option<Vec<String>>,
}

/// `POST /v1/setup_intents`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let confirm = params.boolean("confirm")?.unwrap_or(false);
    payment_intent::check_redirects(params, confirm)?;
    let order = Order {
        customer: params.string("customer")?,
        metadata: params.metadata("metadata", &Value::Null)?,
        description: params.string("description")?,
        usage: params.one_of("usage", &["off_session", "on_session"])?,
        method: params.string("payment_method")?,
        methods: read_methods(params)?,
    };
    if let Some(customer) = &order.customer {
        state.named(Kind::Customer, customer, "customer")?;
    }
    match &order.method {
        Some(method) => check(state, method, order.customer.as_deref())?,
        None if confirm => return Err(Refusal::missing("payment_method")),
        None => {}
    }
    // From here it is executed.
    let method = order.method.as_ref().map(|method| payment_method::brought(state, method));
    let id = open(state, &Order { method, ..order });
    if confirm {
        attempt(state, &id)?;
    }
    Ok(state.found(Kind::SetupIntent, &id)?.object.clone())
}

/// A card can be set up that is nobody's yet, or already its customer's.
fn check(state: &State, method: &str, customer: Option<&str>) -> Result<(), Refusal> {
    if payment_method::is_free(state, method) {
        return Ok(());
    }
    payment_method::check(state, method, customer, "payment_method")
}

/// Makes an intent that waits for its card, or for its confirmation.
pub fn open(state: &mut State, order: &Order) -> String {
    let id = ids::fresh("seti");
    let secret = intent_payment::secret(&id);
    let methods = payment_intent::method_types(state, order.method.as_deref());
    let waiting = if order.method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    let intent = with_nulls(
        json!({
            "id": id, "object": "setup_intent", "allowed_payment_method_types": order.methods,
            "client_secret": secret, "created": state.now, "customer": order.customer,
            "description": order.description, "livemode": false, "metadata": order.metadata,
            "payment_method": order.method, "payment_method_options": {}, "payment_method_types": methods,
            "status": waiting, "usage": order.usage.as_deref().unwrap_or("off_session"),
        }),
        &[
            "application",
            "automatic_payment_methods",
            "cancellation_reason",
            "customer_account",
            "excluded_payment_method_types",
            "flow_directions",
            "last_setup_error",
            "latest_attempt",
            "managed_payments",
            "mandate",
            "next_action",
            "on_behalf_of",
            "payment_method_configuration_details",
            "single_use_mandate",
        ],
    );
    state.insert(Kind::SetupIntent, intent, facts(json!({})));
    state.emit("setup_intent.created", Kind::SetupIntent, &id);
    id
}

fn unexpected(state: &State, id: &str, verb: &str) -> Refusal {
    let intent = state.get(Kind::SetupIntent, id).map(|record| record.object.clone()).unwrap_or_default();
    let message = format!("You cannot {verb} this SetupIntent because it has a status of {}.", text(&intent, "status"));
    let refusal = Refusal::parameter("setup_intent_unexpected_state", "id", &message).executed();
    refusal.with("setup_intent", intent)
}

/// `POST /v1/setup_intents/{id}/confirm`.
pub fn confirm(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let intent = state.found(Kind::SetupIntent, id)?.object.clone();
    // The cards known here lead nobody away, so nobody comes back.
    let _return_url = params.string("return_url")?;
    let named = params.string("payment_method")?;
    if let Some(method) = &named {
        check(state, method, intent["customer"].as_str())?;
    }
    if !["requires_payment_method", "requires_confirmation", "requires_action"].contains(&text(&intent, "status")) {
        return Err(unexpected(state, id, "confirm"));
    }
    let method = named.or_else(|| intent["payment_method"].as_str().map(str::to_owned));
    let method = method.ok_or_else(|| unexpected(state, id, "confirm"))?;
    // From here it is executed.
    let method = payment_method::brought(state, &method);
    state.set(Kind::SetupIntent, id, json!({ "payment_method": method, "next_action": null }));
    attempt(state, id)?;
    Ok(state.found(Kind::SetupIntent, id)?.object.clone())
}

/// `POST /v1/setup_intents/{id}/cancel`.
pub fn cancel(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let reason = params.one_of("cancellation_reason", &["abandoned", "duplicate", "requested_by_customer"])?;
    if ["succeeded", "canceled", "processing"].contains(&text(&state.found(Kind::SetupIntent, id)?.object, "status")) {
        return Err(unexpected(state, id, "cancel"));
    }
    // From here it must succeed.
    let changes = json!({ "status": "canceled", "cancellation_reason": reason, "next_action": null });
    state.set(Kind::SetupIntent, id, changes);
    state.emit("setup_intent.canceled", Kind::SetupIntent, id);
    Ok(state.found(Kind::SetupIntent, id)?.object.clone())
}

fn attempt(state: &mut State, id: &str) -> Result<(), Refusal> {
    let method = state.get(Kind::SetupIntent, id).map(|record| text(&record.object, "payment_method").to_owned());
    match card::on_setup(state, &method.unwrap_or_default()) {
        Behavior::Succeeds | Behavior::Processes(_) => succeed(state, id),
        Behavior::Declines(decline) => return Err(fail(state, id, &decline)),
        Behavior::Asks(_) => {
            let url = format!("{}/authenticate/{id}", state.base_url);
            let action = json!({ "redirect_to_url": { "return_url": null, "url": url }, "type": "redirect_to_url" });
            state.set(Kind::SetupIntent, id, json!({ "status": "requires_action", "next_action": action }));
            state.emit("setup_intent.requires_action", Kind::SetupIntent, id);
        }
    }
    Ok(())
}

/// The owner authenticates, or fails to.
pub fn authenticate(state: &mut State, id: &str, succeeds: bool) -> Result<Value, Refusal> {
    let status = text(&state.found(Kind::SetupIntent, id)?.object, "status").to_owned();
    if status != "requires_action" {
        return Err(Refusal::invalid(&format!("A setup intent that is {status} asks for no authentication.")));
    }
    state.set(Kind::SetupIntent, id, json!({ "next_action": null }));
    if succeeds {
        succeed(state, id);
    } else {
        let message = "We are unable to authenticate your payment method.";
        // The refusal is for a request; here the payer's failure comes as an event.
        drop(fail(state, id, &Decline::new("setup_intent_authentication_failure", None, message)));
    }
    Ok(state.found(Kind::SetupIntent, id)?.object.clone())
}

fn succeed(state: &mut State, id: &str) {
    let intent = state.get(Kind::SetupIntent, id).map(|record| record.object.clone()).unwrap_or_default();
    let method = text(&intent, "payment_method");
    if let Some(customer) = intent["customer"].as_str() {
        payment_method::keep(state, method, customer);
    }
    state.set(Kind::SetupIntent, id, json!({ "status": "succeeded", "next_action": null, "last_setup_error": null }));
    state.emit("setup_intent.succeeded", Kind::SetupIntent, id);
}

fn fail(state: &mut State, id: &str, decline: &Decline) -> Refusal {
    let mut error = json!({ "type": "card_error", "code": decline.code, "message": decline.message });
    if let Some(reason) = &decline.reason {
        error["decline_code"] = json!(reason);
    }
    let method = state.get(Kind::SetupIntent, id).map(|record| text(&record.object, "payment_method").to_owned());
    if let Some(method) = method.and_then(|method| state.get(Kind::PaymentMethod, &method)) {
        error["payment_method"] = method.object.clone();
    }
    let changes = json!({ "status": "requires_payment_method", "payment_method": null, "next_action": null, "last_setup_error": error });
    state.set(Kind::SetupIntent, id, changes);
    state.emit("setup_intent.setup_failed", Kind::SetupIntent, id);
    let intent = state.get(Kind::SetupIntent, id).map(|record| record.object.clone());
    decline.refusal().with("setup_intent", intent.unwrap_or_default())
}

/// A buyer who is there leaves a card on a session in `setup` mode, and authenticates if it asks.
pub fn by_buyer(state: &mut State, customer: Option<&str>, metadata: &Value, method: &str) -> Result<String, Refusal> {
    let order = Order { customer: customer.map(str::to_owned), metadata: metadata.clone(), ..Order::default() };
    let id = open(state, &order);
    let method = payment_method::brought(state, method);
    state.set(Kind::SetupIntent, &id, json!({ "payment_method": method }));
    match card::on_setup(state, &method).authenticated() {
        Behavior::Declines(decline) => Err(fail(state, &id, &decline)),
        Behavior::Succeeds | Behavior::Processes(_) | Behavior::Asks(_) => {
            succeed(state, &id);
            Ok(id)
        }
    }
}
