//! `payment_intent`: made by checkout, by an invoice, or by `POST /v1/payment_intents`.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, text, with_nulls};
use super::card::{self, Charged};
use super::{AMOUNT_MAX, intent_payment, payment_method, read_methods};

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
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer"];

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
    /// The session it pays.
    pub session: Option<String>,
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
    let off_session = params.boolean("off_session")?;
    let present = off_session != Some(true);
    if off_session.is_some() && !confirm {
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
    match &purpose.payment_method {
        Some(method) => payment_method::check(state, method, purpose.customer.as_deref(), "payment_method")?,
        None if confirm => return Err(Refusal::missing("payment_method")),
        None => {}
    }
    // From here it is executed.
    let mut purpose = purpose;
    purpose.payment_method = purpose.payment_method.map(|method| payment_method::brought(state, &method));
    let id = open(state, amount, &currency, &purpose);
    if confirm {
        let (customer, method) = (purpose.customer.as_deref(), purpose.payment_method.as_deref());
        let how = card::next(state, Charged { customer, method, present });
        intent_payment::attempt(state, &id, how, present)?;
    }
    Ok(state.found(Kind::PaymentIntent, &id)?.object.clone())
}

/// Stripe confirms no intent that might lead its payer away and not back. The cards known here lead nobody away.
pub fn check_redirects(params: &Params, confirm: bool) -> Result<(), Refusal> {
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
    let secret = intent_payment::secret(&id);
    let methods = method_types(state, purpose.payment_method.as_deref());
    let waiting = if purpose.payment_method.is_some() { "requires_confirmation" } else { "requires_payment_method" };
    let intent = with_nulls(
        json!({
            "id": id, "object": "payment_intent", "allowed_payment_method_types": purpose.methods, "amount": amount, "amount_capturable": 0, "amount_received": 0,
            "capture_method": if purpose.manual { "manual" } else { "automatic" }, "client_secret": secret, "confirmation_method": "automatic",
            "created": state.now, "currency": currency, "customer": purpose.customer,
            "description": purpose.description, "livemode": false, "metadata": purpose.metadata,
            "payment_method": purpose.payment_method, "payment_method_options": {},
            "payment_method_types": methods, "receipt_email": purpose.receipt_email,
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
    state.insert(Kind::PaymentIntent, intent, facts(json!({ "invoice": purpose.invoice, "session": purpose.session })));
    state.emit("payment_intent.created", Kind::PaymentIntent, &id);
    id
}

/// The types an intent is offered with: a card, or what its own method is.
pub fn method_types(state: &State, method: Option<&str>) -> Value {
    let own = method.and_then(|method| state.get(Kind::PaymentMethod, method));
    json!([own.map_or("card", |record| text(&record.object, "type"))])
}
