//! `checkout.session` and its line items.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, number, text, with_fields, with_nulls};
use super::price::{self, PriceData};
use super::subscription::{self, QUANTITY_MAX, Seat};
use super::tax::{self, TaxRate};
use super::terms::Trial;
use super::{AMOUNT_MAX, read_methods};

/// Parameters of a creation in every version.
pub const ACCEPTED: &[&str] = &[
    "mode",
    "currency",
    "customer",
    "customer_email",
    "customer_creation",
    "client_reference_id",
    "success_url",
    "cancel_url",
    "line_items[][price]",
    "line_items[][quantity]",
    "line_items[][price_data][currency]",
    "line_items[][price_data][unit_amount]",
    "line_items[][price_data][product]",
    "line_items[][price_data][product_data][name]",
    "line_items[][price_data][product_data][description]",
    "line_items[][price_data][product_data][metadata][*]",
    "line_items[][price_data][recurring][interval]",
    "line_items[][price_data][recurring][interval_count]",
    "line_items[][price_data][tax_behavior]",
    "discounts[][coupon]",
    "automatic_tax[enabled]",
    "metadata[*]",
    "metadata",
    "payment_intent_data[metadata][*]",
    "payment_intent_data[description]",
    "payment_intent_data[receipt_email]",
    "payment_intent_data[setup_future_usage]",
    "payment_intent_data[capture_method]",
    "setup_intent_data[metadata][*]",
    "subscription_data[metadata][*]",
    "subscription_data[description]",
    "subscription_data[trial_end]",
    "subscription_data[trial_period_days]",
    "expires_at",
    "expand[]",
];
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer", "payment_intent", "payment_link", "subscription", "status"];

/// Lines of one session; Stripe's limit.
const LINES_MAX: usize = 100;
/// How long a session stays open unless it is told otherwise, and at most.
const OPEN_SECONDS: i64 = 24 * 60 * 60;
/// How long it stays open at least.
const OPEN_SECONDS_MIN: i64 = 30 * 60;

/// A line as asked for, checked.
#[derive(Clone, Debug)]
enum Asked {
    Price(String),
    Inline(PriceData),
}

/// `POST /v1/checkout/sessions`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let mode = params.one_of("mode", &["payment", "subscription", "setup"])?.ok_or_else(|| Refusal::missing("mode"))?;
    let fields = read_fields(state, params, &mode)?;
    let extra = read_extra(state, params, &mode)?;
    let trial = !extra["subscription_data"]["trial"].is_null();
    let lines = read_lines(state, params, &mode)?;
    let currency = line_currency(state, params, &lines)?;
    let sum = check_total(state, &lines)?;
    // A trial is sold for nothing; the lines say so too.
    let subtotal = if trial { 0 } else { sum };
    let coupon = tax::read_coupon(params)?;
    if coupon.is_some() && mode == "setup" {
        let message = "`discounts` cannot be used in `setup` mode.";
        return Err(Refusal::invalid(message).with("param", json!("discounts")));
    }
    let discount = coupon.as_deref().and_then(|coupon| tax::off(coupon, subtotal));
    let taxed = params.boolean("automatic_tax[enabled]")? == Some(true);
    let rate = tax::rate(state, taxed);
    // From here it must succeed.
    let prices: Vec<(String, i64)> = lines
        .into_iter()
        .map(|(asked, quantity)| match asked {
            Asked::Price(id) => (id, quantity),
            Asked::Inline(data) => (price::from_price_data(state, &data), quantity),
        })
        .collect();
    let items = line_items(state, &prices, (subtotal, trial), discount, rate);
    let mut extra = extra;
    extra.insert("coupon".to_owned(), json!(coupon));
    extra.insert("taxed".to_owned(), json!(taxed));
    let id = insert(state, &mode, fields, currency.as_deref(), (subtotal, discount), items, extra);
    write_tax(state, &id, rate, taxed);
    Ok(state.found(Kind::Session, &id)?.object.clone())
}

fn read_fields(state: &State, params: &Params, mode: &str) -> Result<Value, Refusal> {
    let customer = params.string("customer")?;
    if let Some(customer) = &customer {
        state.named(Kind::Customer, customer, "customer")?;
    }
    let email = params.string("customer_email")?;
    if customer.is_some() && email.is_some() {
        let message = "You may only specify one of these parameters: customer, customer_email.";
        return Err(Refusal::invalid(message).with("param", json!("customer_email")));
    }
    let creation = params.one_of("customer_creation", &["always", "if_required"])?;
    if creation.is_some() && (mode != "payment" || customer.is_some()) {
        let message = "`customer_creation` can only be used in `payment` mode, without a customer.";
        return Err(Refusal::invalid(message).with("param", json!("customer_creation")));
    }
    let creation = if mode == "payment" && customer.is_none() {
        json!(creation.unwrap_or_else(|| "if_required".to_owned()))
    } else if mode == "subscription" && customer.is_none() {
        json!("always")
    } else {
        Value::Null
    };
    Ok(json!({
        "customer": customer, "customer_email": email, "customer_creation": creation,
        "allowed_payment_method_types": read_methods(params)?,
        "client_reference_id": params.string("client_reference_id")?,
        "success_url": params.required("success_url")?, "cancel_url": params.string("cancel_url")?,
        "metadata": params.metadata("metadata", &Value::Null)?, "expires_at": read_expiry(state, params)?,
    }))
}

fn read_expiry(state: &State, params: &Params) -> Result<i64, Refusal> {
    let (first, last) = (state.now.saturating_add(OPEN_SECONDS_MIN), state.now.saturating_add(OPEN_SECONDS));
    let asked = params.integer("expires_at")?;
    if asked.is_some_and(|at| !(first..=last).contains(&at)) {
        let message = "The `expires_at` timestamp must be from 30 minutes to 24 hours after the session's creation.";
        return Err(Refusal::invalid(message).with("param", json!("expires_at")));
    }
    Ok(asked.unwrap_or(last))
}

/// What is handed on to the payment intent or subscription when the session completes.
fn read_extra(state: &State, params: &Params, mode: &str) -> Result<Map<String, Value>, Refusal> {
    for (data, only) in
        [("payment_intent_data", "payment"), ("subscription_data", "subscription"), ("setup_intent_data", "setup")]
    {
        if params.has(data) && mode != only {
            let message = format!("You can not pass `{data}` in `{mode}` mode.");
            return Err(Refusal::invalid(&message).with("param", json!(data)));
        }
    }
    let trial = Trial::read(&params.child("subscription_data"), state.now)?;
    let trial = trial.map(|trial| match trial {
        Trial::Days(days) => json!({ "days": days }),
        Trial::Until(end) => json!({ "until": end }),
    });
    Ok(facts(json!({
        "payment_intent_data": {
            "metadata": params.metadata("payment_intent_data[metadata]", &Value::Null)?,
            "description": params.string("payment_intent_data[description]")?,
            "receipt_email": params.string("payment_intent_data[receipt_email]")?,
            "setup_future_usage":
                params.one_of("payment_intent_data[setup_future_usage]", &["off_session", "on_session"])?,
            "capture_method": params.one_of("payment_intent_data[capture_method]", &["automatic", "manual"])?,
        },
        "setup_intent_data": { "metadata": params.metadata("setup_intent_data[metadata]", &Value::Null)? },
        "subscription_data": {
            "metadata": params.metadata("subscription_data[metadata]", &Value::Null)?,
            "description": params.string("subscription_data[description]")?,
            "trial": trial,
        },
    })))
}

fn read_lines(state: &State, params: &Params, mode: &str) -> Result<Vec<(Asked, i64)>, Refusal> {
    let sent = params.children("line_items")?;
    if (mode == "setup") != sent.is_empty() {
        return Err(if mode == "setup" {
            Refusal::invalid("`line_items` cannot be used in `setup` mode.").with("param", json!("line_items"))
        } else {
            Refusal::missing("line_items")
        });
    }
    if sent.len() > LINES_MAX {
        return Err(Refusal::invalid(&format!("A session can have up to {LINES_MAX} line items.")));
    }
    let mut lines = Vec::new();
    for (index, line) in sent.iter().enumerate() {
        let quantity = line
            .integer_between("quantity", 1, QUANTITY_MAX)?
            .ok_or_else(|| Refusal::missing(&line.name("quantity")))?;
        let asked = match (line.string("price")?, line.has("price_data")) {
            (Some(id), false) => {
                let record = state.named(Kind::Price, &id, &line.name("price"))?;
                if record.object["active"] == json!(false) {
                    return Err(Refusal::invalid(&format!("The price {id} is not active."))
                        .with("param", json!(line.name("price"))));
                }
                Asked::Price(id)
            }
            (None, true) => {
                let data = params.child(&format!("line_items[{index}][price_data]"));
                Asked::Inline(PriceData::read(state, &data, false)?)
            }
            (None, false) | (Some(_), true) => return Err(Refusal::missing(&line.name("price"))),
        };
        lines.push((asked, quantity));
    }
    check_recurring(state, mode, &lines)?;
    Ok(lines)
}

fn check_recurring(state: &State, mode: &str, lines: &[(Asked, i64)]) -> Result<(), Refusal> {
    let recurring = lines.iter().filter(|(asked, _)| match asked {
        Asked::Price(id) => state.get(Kind::Price, id).is_some_and(|record| !record.object["recurring"].is_null()),
        Asked::Inline(data) => data.is_recurring(),
    });
    let recurring = recurring.count();
    if mode == "payment" && recurring > 0 {
        let message = "You specified `payment` mode but passed a recurring price.";
        return Err(Refusal::invalid(message).with("param", json!("line_items")));
    }
    if mode == "subscription" && recurring != lines.len() {
        // Stripe would bill a one-time price on the first invoice; the simulator does not model that mixture.
        let message = "In `subscription` mode every price must be recurring.";
        return Err(Refusal::invalid(message).with("param", json!("line_items")));
    }
    if mode == "subscription" {
        if lines.len() > 1 && lines.iter().any(|(asked, _)| matches!(asked, Asked::Inline(_))) {
            let message = "In `subscription` mode the simulator takes `price_data` only as the single line.";
            return Err(Refusal::invalid(message).with("param", json!("line_items")));
        }
        let seats: Vec<Seat> = lines
            .iter()
            .filter_map(|(asked, quantity)| match asked {
                Asked::Price(id) => Some(Seat { price: id.clone(), quantity: *quantity }),
                Asked::Inline(_) => None,
            })
            .collect();
        subscription::check(state, &seats)?;
    }
    Ok(())
}

fn line_currency(state: &State, params: &Params, lines: &[(Asked, i64)]) -> Result<Option<String>, Refusal> {
    let mut currency = params.currency("currency")?;
    for (asked, _) in lines {
        let found = match asked {
            Asked::Price(id) => text(&state.named(Kind::Price, id, "line_items")?.object, "currency"),
            Asked::Inline(data) => data.currency(),
        };
        if currency.get_or_insert_with(|| found.to_owned()) != found {
            let message = "All line items and the session must have the same currency.";
            return Err(Refusal::invalid(message).with("param", json!("line_items")));
        }
    }
    Ok(currency)
}

fn check_total(state: &State, lines: &[(Asked, i64)]) -> Result<i64, Refusal> {
    let mut total: i64 = 0;
    for (asked, quantity) in lines {
        let unit = match asked {
            Asked::Price(id) => number(&state.named(Kind::Price, id, "line_items")?.object, "unit_amount"),
            Asked::Inline(data) => data.unit_amount(),
        };
        total = unit
            .checked_mul(*quantity)
            .and_then(|amount| total.checked_add(amount))
            .filter(|sum| *sum <= AMOUNT_MAX)
            .ok_or_else(|| Refusal::parameter("amount_too_large", "line_items", "The total is too large."))?;
    }
    Ok(total)
}

fn line_items(
    state: &State,
    prices: &[(String, i64)],
    (subtotal, trial): (i64, bool),
    discount: Option<i64>,
    rate: TaxRate,
) -> Vec<Value> {
    let mut left = discount.unwrap_or(0);
    let mut items = Vec::new();
    for (index, (id, quantity)) in prices.iter().enumerate() {
        let Some(record) = state.get(Kind::Price, id) else { continue };
        let price = record.object.clone();
        let amount = if trial { 0 } else { number(&price, "unit_amount").saturating_mul(*quantity) };
        // Amounts are below 10^8, so the product of two fits; the last line takes the rest.
        let share = if index + 1 == prices.len() || subtotal == 0 {
            left
        } else {
            (discount.unwrap_or(0) * amount / subtotal).min(left)
        };
        left -= share;
        let product = state.get(Kind::Product, text(&price, "product"));
        items.push(json!({
            "id": ids::fresh("li"), "object": "item", "adjustable_quantity": null, "amount_discount": share,
            "amount_subtotal": amount, "amount_tax": rate.of(amount - share),
            "amount_total": amount - share + if rate.inclusive { 0 } else { rate.of(amount - share) },
            "currency": price["currency"], "description": product.map(|found| found.object["name"].clone()),
            "metadata": {}, "price": price, "quantity": quantity,
        }));
    }
    items
}

/// Writes what the lines' taxes come to.
fn write_tax(state: &mut State, id: &str, rate: TaxRate, taxed: bool) {
    let Some(record) = state.get(Kind::Session, id).filter(|_| taxed) else { return };
    let items = record.extra["line_items"].as_array().into_iter().flatten();
    let tax = items.map(|item| number(item, "amount_tax")).fold(0_i64, i64::saturating_add);
    let mut total_details = record.object["total_details"].clone();
    let on_top = if rate.inclusive { 0 } else { tax };
    let total = number(&record.object, "amount_total").saturating_add(on_top);
    let mut changes = json!({
        "automatic_tax": { "enabled": true, "liability": { "type": "self" }, "provider": "stripe", "status": "complete" },
    });
    if total_details.is_object() {
        total_details["amount_tax"] = json!(tax);
        changes["total_details"] = total_details;
        changes["amount_total"] = json!(total);
    }
    state.set(Kind::Session, id, changes);
}

fn insert(
    state: &mut State,
    mode: &str,
    fields: Value,
    currency: Option<&str>,
    (subtotal, discount): (i64, Option<i64>),
    items: Vec<Value>,
    mut extra: Map<String, Value>,
) -> String {
    let id = ids::fresh("cs_test");
    let off = discount.unwrap_or(0);
    let priced = mode != "setup";
    let total_details = json!({ "amount_discount": off, "amount_shipping": 0, "amount_tax": 0 });
    let session = with_nulls(
        json!({
            "id": id, "object": "checkout.session", "adaptive_pricing": { "enabled": false },
            "amount_subtotal": priced.then_some(subtotal), "amount_total": priced.then_some(subtotal - off),
            "automatic_tax": { "enabled": false, "liability": null, "provider": null, "status": null },
            "created": state.now, "currency": currency, "custom_fields": [],
            "custom_text": {
                "after_submit": null, "shipping_address": null, "submit": null, "terms_of_service_acceptance": null
            },
            "discounts": if discount.is_some() { json!([{ "coupon": null, "promotion_code": null }]) } else { json!([]) },
            "livemode": false, "mode": mode,
            "payment_method_collection": if mode == "payment" { "if_required" } else { "always" },
            "payment_method_options": {}, "payment_method_types": ["card"], "payment_status": if priced { "unpaid" } else { "no_payment_required" },
            "phone_number_collection": { "enabled": false }, "shipping_options": [], "status": "open",
            "total_details": priced.then_some(total_details), "ui_mode": "hosted_page",
            "url": format!("{}/pay/{id}", state.base_url),
        }),
        &[
            "after_expiration",
            "allow_promotion_codes",
            "billing_address_collection",
            "client_secret",
            "collected_information",
            "consent",
            "consent_collection",
            "currency_conversion",
            "customer_account",
            "customer_details",
            "integration_identifier",
            "invoice",
            "invoice_creation",
            "locale",
            "managed_payments",
            "origin_context",
            "payment_intent",
            "payment_link",
            "payment_method_configuration_details",
            "permissions",
            "recovered_from",
            "saved_payment_method_options",
            "setup_intent",
            "shipping_address_collection",
            "shipping_cost",
            "submit_type",
            "subscription",
            "wallet_options",
        ],
    );
    let session = with_fields(session, fields);
    extra.insert("line_items".to_owned(), Value::Array(items));
    state.insert(Kind::Session, session, extra);
    id
}
