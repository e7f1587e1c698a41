//! `payment_intent`: made by checkout, by an invoice, or by `POST /v1/payment_intents`.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, text, with_nulls};
use super::{AMOUNT_MAX, charge, customer, payment_method, read_methods};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &[
    "amount",
    "currency",
    "confirm",
    "off_session",
    "automatic_payment_methods[enabled]",
    "automatic_payment_methods[allow_redirects]",
    "return_url",
    "customer",
    "payment_method",
    "description",
    "receipt_email",
    "setup_future_usage",
    "capture_method",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of a capture.
pub const CAPTURE: &[&str] = &["amount_to_capture", "expand[]"];
/// Parameters of a cancellation.
pub const CANCEL: &[&str] = &["cancellation_reason", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer"];

/// Why a card was declined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decline {
    /// The error's code.
    pub code: String,
    /// The issuer's reason, which Stripe calls decline code.
    pub reason: Option<String>,
    /// What the issuer advises.
    pub advice: Option<String>,
    /// For the buyer.
    pub message: String,
}

impl Decline {
    /// A decline without advice.
    pub fn new(code: &str, reason: Option<&str>, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        Self { code, reason: reason.map(str::to_owned), advice: None, message }
    }
}

/// What a test card does.
#[derive(Clone, Debug)]
pub enum Card {
    /// The money moves.
    Succeeds,
    /// It does not.
    Declines(Decline),
}

/// Stripe's test payment methods that the simulator knows.
pub fn card(payment_method: &str) -> Option<Card> {
    let decline = |code, reason, message| Some(Card::Declines(Decline::new(code, reason, message)));
    match payment_method {
        "pm_card_visa" | "pm_card_mastercard" => Some(Card::Succeeds),
        "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" => {
            decline("card_declined", Some("generic_decline"), "Your card was declined.")
        }
        "pm_card_chargeDeclinedInsufficientFunds" | "pm_card_visa_chargeDeclinedInsufficientFunds" => {
            decline("card_declined", Some("insufficient_funds"), "Your card has insufficient funds.")
        }
        "pm_card_chargeDeclinedExpiredCard" | "pm_card_visa_chargeDeclinedExpiredCard" => {
            decline("expired_card", None, "Your card has expired.")
        }
        "pm_card_authenticationRequired" => decline(
            "authentication_required",
            Some("authentication_required"),
            "Your card was declined. This transaction requires authentication.",
        ),
        _ => None,
    }
}

/// What an intent is for; everything but the money may be absent.
#[derive(Clone, Debug, Default)]
pub struct Purpose {
    /// Who pays.
    pub customer: Option<String>,
    /// Its metadata.
    pub metadata: Map<String, Value>,
    /// Its description.
    pub description: Option<String>,
    /// Where a receipt goes.
    pub receipt_email: Option<String>,
    /// Whether the card is kept.
    pub setup_future_usage: Option<String>,
    /// How it is paid.
    pub payment_method: Option<String>,
    /// The methods named.
    pub methods: Option<Vec<String>>,
    /// The invoice it pays, which only older shapes tell.
    pub invoice: Option<String>,
    /// Whether the money is taken by a request of its own.
    pub manual: bool,
    /// What the payer sees in a currency of their own.
    pub presentment: Option<Value>,
}

/// `POST /v1/payment_intents`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let amount = params.integer_between("amount", 1, AMOUNT_MAX)?.ok_or_else(|| Refusal::missing("amount"))?;
    let currency = params.currency("currency")?.ok_or_else(|| Refusal::missing("currency"))?;
    let confirm = params.boolean("confirm")?.unwrap_or(false);
    if params.boolean("off_session")?.is_some() && !confirm {
        let message = "You cannot set `off_session` without `confirm=true`.";
        return Err(Refusal::parameter("parameter_invalid", "off_session", message));
    }
    check_redirects(params, confirm)?;
    let purpose = Purpose {
        customer: params.string("customer")?,
        metadata: facts(params.metadata("metadata", &Value::Null)?),
        description: params.string("description")?,
        receipt_email: params.string("receipt_email")?,
        setup_future_usage: params.one_of("setup_future_usage", &["off_session", "on_session"])?,
        payment_method: params.string("payment_method")?,
        methods: read_methods(params)?,
        manual: params.one_of("capture_method", &["automatic", "manual"])?.as_deref() == Some("manual"),
        ..Purpose::default()
    };
    if let Some(customer) = &purpose.customer {
        state.named(Kind::Customer, customer, "customer")?;
    }
    let card = match &purpose.payment_method {
        Some(method) if payment_method::usable(state, method, purpose.customer.as_deref()) => Some(Card::Succeeds),
        Some(method) => Some(card(method).ok_or_else(|| Refusal::no_such("PaymentMethod", method, "payment_method"))?),
        None if confirm => return Err(Refusal::missing("payment_method")),
        None => None,
    };
    // From here it is executed.
    let ordered = purpose.customer.as_ref().filter(|_| confirm).and_then(|id| customer::next_decline(state, id));
    let card = ordered.map(Card::Declines).or(card);
    let id = open(state, amount, &currency, &purpose);
    let present = params.boolean("off_session")? != Some(true);
    match (confirm, card) {
        (true, Some(Card::Succeeds)) if purpose.manual => authorize(state, &id),
        (true, Some(Card::Succeeds)) => succeed(state, &id),
        (true, Some(Card::Declines(decline))) if present && decline.code == "authentication_required" => {
            ask(state, &id);
        }
        (true, Some(Card::Declines(decline))) => return Err(fail(state, &id, &decline)),
        (true | false, _) => {}
    }
    Ok(state.found(Kind::PaymentIntent, &id)?.object.clone())
}

/// Stripe confirms no intent that might lead its payer away and not back. The cards known here lead nobody away.
fn check_redirects(params: &Params, confirm: bool) -> Result<(), Refusal> {
    let enabled = params.boolean("automatic_payment_methods[enabled]")?;
    let allowed = params.one_of("automatic_payment_methods[allow_redirects]", &["always", "never"])?;
    let returns = params.string("return_url")?.is_some();
    if enabled.is_none() && allowed.is_some() {
        return Err(Refusal::missing("automatic_payment_methods[enabled]"));
    }
    if returns && !confirm {
        let message = "You cannot set `return_url` without `confirm=true`.";
        return Err(Refusal::parameter("parameter_invalid", "return_url", message));
    }
    if enabled == Some(true) && confirm && !returns && allowed.as_deref() != Some("never") {
        let message = "Methods that redirect need a `return_url`; else set `automatic_payment_methods[allow_redirects]` to `never`.";
        return Err(Refusal::parameter("parameter_missing", "return_url", message));
    }
    Ok(())
}

/// Makes an intent that waits for its payment.
pub fn open(state: &mut State, amount: i64, currency: &str, purpose: &Purpose) -> String {
    let id = ids::fresh("pi");
    let secret = ids::fresh(&format!("{id}_secret"));
    let waiting = if purpose.payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    let intent = with_nulls(
        json!({
            "id": id, "object": "payment_intent", "allowed_payment_method_types": purpose.methods, "amount": amount, "amount_capturable": 0, "amount_received": 0,
            "capture_method": if purpose.manual { "manual" } else { "automatic" }, "client_secret": secret, "confirmation_method": "automatic",
            "created": state.now, "currency": currency, "customer": purpose.customer,
            "description": purpose.description, "livemode": false, "metadata": purpose.metadata,
            "payment_method": purpose.payment_method, "payment_method_options": {},
            "payment_method_types": ["card"], "receipt_email": purpose.receipt_email,
            "setup_future_usage": purpose.setup_future_usage, "status": waiting,
        }),
        &[
            "application",
            "application_fee_amount",
            "automatic_payment_methods",
            "canceled_at",
            "cancellation_reason",
            "customer_account",
            "excluded_payment_method_types",
            "last_payment_error",
            "latest_charge",
            "managed_payments",
            "next_action",
            "on_behalf_of",
            "payment_method_configuration_details",
            "payment_record",
            "processing",
            "review",
            "shipping",
            "source",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_data",
            "transfer_group",
        ],
    );
    let mut intent = intent;
    if let Some(presentment) = &purpose.presentment {
        intent["presentment_details"] = presentment.clone();
    }
    state.insert(Kind::PaymentIntent, intent, facts(json!({ "invoice": purpose.invoice })));
    state.emit("payment_intent.created", Kind::PaymentIntent, &id);
    id
}

/// Whether the money is taken by a request of its own.
pub fn is_manual(state: &State, id: &str) -> bool {
    state.get(Kind::PaymentIntent, id).is_some_and(|record| text(&record.object, "capture_method") == "manual")
}

/// The payer is asked to authenticate.
fn ask(state: &mut State, id: &str) {
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

/// The payer authenticates, or fails to.
pub fn authenticate(state: &mut State, id: &str, succeeds: bool) -> Result<Value, Refusal> {
    let status = text(&state.found(Kind::PaymentIntent, id)?.object, "status").to_owned();
    if status != "requires_action" {
        return Err(Refusal::invalid(&format!("A payment intent that is {status} asks for no authentication.")));
    }
    state.set(Kind::PaymentIntent, id, json!({ "next_action": null }));
    if !succeeds {
        let message = "We are unable to authenticate your payment method.";
        let decline = Decline::new("payment_intent_authentication_failure", None, message);
        // The refusal is for a request; here the payer's failure comes as an event.
        let _refusal = fail(state, id, &decline);
    } else if is_manual(state, id) {
        authorize(state, id);
    } else {
        succeed(state, id);
    }
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// The money is set aside, and not taken yet.
pub fn authorize(state: &mut State, id: &str) {
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
    let most = super::super::state::number(&intent, "amount_capturable");
    if text(&intent, "status") != "requires_capture" {
        let message = "This PaymentIntent could not be captured because it has no amount to capture.";
        return Err(Refusal::parameter("payment_intent_unexpected_state", "id", message));
    }
    let amount = params.integer_between("amount_to_capture", 1, most)?.unwrap_or(most);
    // From here it must succeed.
    charge::capture(state, text(&intent, "latest_charge"), amount);
    let changes = json!({ "status": "succeeded", "amount_received": amount, "amount_capturable": 0 });
    state.set(Kind::PaymentIntent, id, changes);
    state.emit("payment_intent.succeeded", Kind::PaymentIntent, id);
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// `POST /v1/payment_intents/{id}/cancel`.
pub fn cancel_now(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let status = text(&state.found(Kind::PaymentIntent, id)?.object, "status").to_owned();
    let reasons = ["abandoned", "duplicate", "fraudulent", "requested_by_customer"];
    let reason = params.one_of("cancellation_reason", &reasons)?;
    if ["succeeded", "canceled", "processing"].contains(&status.as_str()) {
        let message = format!("You cannot cancel this PaymentIntent because it has a status of {status}.");
        return Err(Refusal::parameter("payment_intent_unexpected_state", "id", &message));
    }
    // From here it must succeed.
    cancel(state, id);
    state.set(Kind::PaymentIntent, id, json!({ "cancellation_reason": reason, "amount_capturable": 0 }));
    Ok(state.found(Kind::PaymentIntent, id)?.object.clone())
}

/// The money moves.
pub fn succeed(state: &mut State, id: &str) {
    let charge = charge::make(state, id, None);
    let amount = state.get(Kind::PaymentIntent, id).map(|record| record.object["amount"].clone());
    let method = state.get(Kind::PaymentIntent, id).map(|record| text(&record.object, "payment_method").to_owned());
    let method = method.filter(|method| !method.is_empty()).unwrap_or_else(|| kept(state, id));
    state.set(
        Kind::PaymentIntent,
        id,
        json!({
            "status": "succeeded", "amount_received": amount, "latest_charge": charge, "payment_method": method,
        }),
    );
    state.set(Kind::Charge, &charge, json!({ "payment_method": method }));
    state.emit("payment_intent.succeeded", Kind::PaymentIntent, id);
}

/// The card a payer brought: attached if it is to be used again.
fn kept(state: &mut State, id: &str) -> String {
    let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone()).unwrap_or_default();
    let customer = intent["customer"].as_str().filter(|_| intent["setup_future_usage"].is_string());
    payment_method::make(state, customer)
}

/// A delayed method has begun to pay.
pub fn begin_processing(state: &mut State, id: &str) {
    state.set(Kind::PaymentIntent, id, json!({ "status": "processing", "payment_method": ids::fresh("pm") }));
    state.emit("payment_intent.processing", Kind::PaymentIntent, id);
}

/// The money does not move; gives the refusal a request answers with.
pub fn fail(state: &mut State, id: &str, decline: &Decline) -> Refusal {
    let charge = charge::make(state, id, Some(decline));
    let mut refusal = Refusal::card(&decline.code, decline.reason.as_deref(), &decline.message);
    refusal = refusal.with("charge", json!(charge));
    let mut error = json!({
        "type": "card_error", "code": decline.code, "decline_code": decline.reason,
        "message": decline.message, "charge": charge,
    });
    if let Some(advice) = &decline.advice {
        refusal = refusal.with("advice_code", json!(advice));
        error["advice_code"] = json!(advice);
    }
    state.set(
        Kind::PaymentIntent,
        id,
        json!({
            "status": "requires_payment_method", "last_payment_error": error, "latest_charge": charge,
            "payment_method": null,
        }),
    );
    state.emit("payment_intent.payment_failed", Kind::PaymentIntent, id);
    let intent = state.get(Kind::PaymentIntent, id).map(|record| record.object.clone());
    refusal.with("payment_intent", intent.unwrap_or(Value::Null))
}

/// The invoice it was for will not be paid.
pub fn cancel(state: &mut State, id: &str) {
    let open = state
        .get(Kind::PaymentIntent, id)
        .is_some_and(|record| !["succeeded", "canceled"].contains(&text(&record.object, "status")));
    if open {
        let changes = json!({ "status": "canceled", "canceled_at": state.now, "cancellation_reason": "void_invoice" });
        state.set(Kind::PaymentIntent, id, changes);
        state.emit("payment_intent.canceled", Kind::PaymentIntent, id);
    }
}
