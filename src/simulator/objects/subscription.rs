//! `subscription` and its items; each item carries its current period.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_nulls};
use super::card::{self, Charged, Decline};
use super::invoice::{self, Draft, DraftLine};
use super::terms::{Terms, Trial, read_cancellation};
use super::{
    collection, customer, embedded_list, invoice_item, invoice_payment, payment_method, plan_change, price,
    subscription_life, tax,
};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &[
    "customer",
    "items[][price]",
    "items[][quantity]",
    "cancel_at",
    "cancel_at_period_end",
    "default_payment_method",
    "payment_behavior",
    "description",
    "trial_end",
    "trial_period_days",
    "automatic_tax[enabled]",
    "discounts[][coupon]",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of an update.
pub const UPDATE: &[&str] = &[
    "cancel_at",
    "cancel_at_period_end",
    "description",
    "metadata[*]",
    "metadata",
    "pause_collection",
    "pause_collection[behavior]",
    "pause_collection[resumes_at]",
    "expand[]",
];
/// Parameters of a cancellation.
pub const CANCEL: &[&str] = &["prorate", "invoice_now", "expand[]"];
/// Filters of the list; without `status` the canceled are left out.
pub const FILTERS: &[&str] = &["customer", "status", "price"];

/// Items of one subscription; Stripe's limit.
const ITEMS_MAX: usize = 20;
/// Quantity of a line.
pub const QUANTITY_MAX: i64 = 999_999;
/// Fields that are null: Stripe writes what is not set.
const NULLS: &[&str] = &[
    "application",
    "application_fee_percent",
    "billing_cycle_anchor_config",
    "billing_thresholds",
    "customer_account",
    "days_until_due",
    "default_payment_method",
    "default_source",
    "ended_at",
    "latest_invoice",
    "managed_payments",
    "next_pending_invoice_item_invoice",
    "on_behalf_of",
    "pause_collection",
    "pending_invoice_item_interval",
    "pending_setup_intent",
    "pending_update",
    "schedule",
    "test_clock",
    "transfer_data",
];
/// Periods counted from the anchor before a subscription is taken for broken: 27 years of days.
const PERIODS_MAX: i64 = 10_000;

/// One price with its quantity.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The price.
    pub price: String,
    /// How many.
    pub quantity: i64,
}

/// The end of a price's period that starts at `start`, counted in calendar steps from `anchor`.
///
/// Counting from the anchor keeps the 31st: Jan 31, Feb 28, Mar 31.
pub fn period_end(price: &Value, anchor: i64, start: i64) -> i64 {
    let count = number(&price["recurring"], "interval_count").max(1);
    let Ok(anchor_time) = Timestamp::from_second(anchor) else { return start };
    let anchor_time = anchor_time.to_zoned(TimeZone::UTC);
    for step in 1..=PERIODS_MAX {
        let units = step.saturating_mul(count);
        let span = match text(&price["recurring"], "interval") {
            "day" => Span::new().try_days(units),
            "week" => Span::new().try_weeks(units),
            "year" => Span::new().try_years(units),
            _ => Span::new().try_months(units),
        };
        let Some(end) = span.ok().and_then(|span| anchor_time.checked_add(span).ok()) else { return start };
        let end = end.timestamp().as_second();
        if end > start {
            return end;
        }
    }
    start
}

/// `POST /v1/subscriptions`: charged at once, unless it begins with a trial.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let items = params.children("items")?;
    if items.is_empty() {
        return Err(Refusal::missing("items"));
    }
    let mut seats = Vec::new();
    for item in &items {
        let price = item.required("price")?;
        state.named(Kind::Price, &price, &item.name("price"))?;
        seats.push(Seat { price, quantity: item.integer_between("quantity", 1, QUANTITY_MAX)?.unwrap_or(1) });
    }
    check(state, &seats)?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    let description = params.string("description")?;
    let trial = Trial::read(params, state.now)?;
    let (cancel_at, at_end) = read_cancellation(params, state.now)?;
    let coupon = tax::read_coupon(params)?;
    let taxed = params.boolean("automatic_tax[enabled]")? == Some(true);
    let method = params.string("default_payment_method")?;
    if let Some(method) = method.as_deref().filter(|method| !payment_method::usable(state, method, Some(&customer))) {
        return Err(Refusal::no_such("PaymentMethod", method, "default_payment_method"));
    }
    let behavior = params.one_of("payment_behavior", &["allow_incomplete", "error_if_incomplete"])?;
    if behavior.as_deref() == Some("error_if_incomplete")
        && trial.is_none()
        && let Some(decline) = expected_decline(state, &customer, method.as_deref())
    {
        count_decline(state, &customer, method.as_deref());
        return Err(decline.refusal());
    }
    // From here it must succeed.
    let terms = Terms {
        trial_end: trial.and_then(|trial| trial.end(state.now)),
        cancel_at,
        cancel_at_period_end: at_end == Some(true),
        incomplete: trial.is_none() && expected_decline(state, &customer, method.as_deref()).is_some(),
    };
    let id = open(state, &customer, &seats, &metadata, description.as_deref(), terms);
    ask_for(state, &id, coupon.as_deref(), taxed);
    state.set(Kind::Subscription, &id, json!({ "default_payment_method": method }));
    if let Some(invoice) = draft(state, &id, "subscription_create", Some(state.now)) {
        collection::finalize(state, &invoice);
        if terms.incomplete {
            // Stripe does not try a first payment again by itself.
            collection::stop_collecting(state, &invoice);
            collection::collect(state, &invoice);
        } else {
            // A delayed method may still be on its way.
            collection::collect(state, &invoice);
        }
    }
    Ok(state.found(Kind::Subscription, &id)?.object.clone())
}

fn charged<'payer>(customer: &'payer str, method: Option<&'payer str>) -> Charged<'payer> {
    Charged { customer: Some(customer), method, present: false }
}

fn paying(state: &State, customer: &str, method: Option<&str>) -> Option<String> {
    method.map(str::to_owned).or_else(|| customer::default_method(state, customer))
}

/// Why the next charge of a subscription's own method, or of its customer's, will not pay; none if it will.
pub fn expected_decline(state: &State, customer: &str, method: Option<&str>) -> Option<Decline> {
    let method = paying(state, customer, method);
    card::expected(state, charged(customer, method.as_deref())).decline().cloned()
}

/// That charge was tried.
pub fn count_decline(state: &mut State, customer: &str, method: Option<&str>) {
    let method = paying(state, customer, method);
    let _tried = card::next(state, charged(customer, method.as_deref()));
}

/// Gives a subscription its coupon and its tax.
pub fn ask_for(state: &mut State, id: &str, coupon: Option<&str>, taxed: bool) {
    if let Some(coupon) = coupon {
        state.set_extra(Kind::Subscription, id, "coupon", json!(coupon));
        state.set(Kind::Subscription, id, json!({ "discounts": [ids::fresh("di")] }));
    }
    if taxed {
        let tax = json!({ "disabled_reason": null, "enabled": true, "liability": { "type": "self" } });
        state.set(Kind::Subscription, id, json!({ "automatic_tax": tax }));
    }
}

/// Refuses seats that cannot stand in one subscription.
pub fn check(state: &State, seats: &[Seat]) -> Result<(), Refusal> {
    if seats.len() > ITEMS_MAX {
        return Err(Refusal::invalid(&format!("A subscription can have up to {ITEMS_MAX} items.")));
    }
    let mut first: Option<(Value, Value)> = None;
    let mut total: i64 = 0;
    for seat in seats {
        let price = &state.named(Kind::Price, &seat.price, "items")?.object;
        if price["recurring"].is_null() {
            let message = "The price specified is set to `type=one_time` but this field only accepts prices with \
                           `type=recurring`.";
            return Err(Refusal::invalid(message).with("param", json!("items")));
        }
        let terms =
            (price["currency"].clone(), json!([price["recurring"]["interval"], price["recurring"]["interval_count"]]));
        if first.get_or_insert_with(|| terms.clone()) != &terms {
            let message = "All prices of a subscription must have the same currency and interval.";
            return Err(Refusal::invalid(message).with("param", json!("items")));
        }
        total = number(price, "unit_amount")
            .checked_mul(seat.quantity)
            .and_then(|amount| total.checked_add(amount))
            .filter(|sum| *sum <= super::AMOUNT_MAX)
            .ok_or_else(|| Refusal::invalid("The total is too large."))?;
    }
    Ok(())
}

/// Makes a subscription of checked seats; its first period, or its trial, starts now.
pub fn open(
    state: &mut State,
    customer: &str,
    seats: &[Seat],
    metadata: &Value,
    description: Option<&str>,
    terms: Terms,
) -> String {
    let id = ids::fresh("sub");
    let now = state.now;
    let prices: Vec<(Value, i64)> = seats
        .iter()
        .filter_map(|seat| Some((state.get(Kind::Price, &seat.price)?.object.clone(), seat.quantity)))
        .collect();
    let items: Vec<Value> =
        prices.iter().map(|(price, quantity)| item(&id, price, *quantity, now, terms.trial_end)).collect();
    let ends = items.iter().map(|item| number(item, "current_period_end")).min();
    let cancel_at = if terms.cancel_at_period_end { ends } else { terms.cancel_at };
    let status = match (terms.trial_end, terms.incomplete) {
        (Some(_), _) => "trialing",
        (None, true) => "incomplete",
        (None, false) => "active",
    };
    let currency = prices.first().map(|(price, _)| price["currency"].clone());
    let settings = json!({
        "account_tax_ids": null, "custom_fields": null, "description": null, "footer": null,
        "issuer": { "type": "self" },
    });
    let object = with_nulls(
        json!({
            "id": id, "object": "subscription",
            "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
            "billing_cycle_anchor": terms.trial_end.unwrap_or(now), "billing_mode": { "flexible": null, "type": "classic" },
            "billing_schedules": [], "cancel_at": cancel_at, "cancel_at_period_end": terms.cancel_at_period_end,
            "canceled_at": cancel_at.map(|_| now),
            "cancellation_details": { "comment": null, "feedback": null, "feedback_option": null, "reason": null },
            "collection_method": "charge_automatically", "created": now, "currency": currency, "customer": customer,
            "default_tax_rates": [], "description": description, "discounts": [], "invoice_settings": settings,
            "items": embedded_list(&items, &format!("/v1/subscription_items?subscription={id}")),
            "livemode": false, "metadata": metadata,
            "payment_settings": {
                "payment_method_options": null, "payment_method_types": null, "save_default_payment_method": "off"
            },
            "start_date": now, "status": status, "trial_end": terms.trial_end,
            "trial_start": terms.trial_end.map(|_| now),
            "trial_settings": { "end_behavior": { "billing_cycle_anchor": null, "missing_payment_method": "create_invoice" } },
        }),
        NULLS,
    );
    state.insert(Kind::Subscription, object, Map::new());
    state.emit("customer.subscription.created", Kind::Subscription, &id);
    id
}

fn item(subscription: &str, price: &Value, quantity: i64, start: i64, trial_end: Option<i64>) -> Value {
    let end = trial_end.unwrap_or_else(|| period_end(price, start, start));
    json!({
        "id": ids::fresh("si"), "object": "subscription_item", "billing_thresholds": null, "created": start,
        "current_period_end": end, "current_period_start": start,
        "current_trial": null, "discounts": [], "metadata": {}, "plan": price::plan(price), "price": price,
        "quantity": quantity, "subscription": subscription, "tax_rates": [],
    })
}

/// Makes the draft of the current period of every item, which finalizes itself at the time given; gives its id.
pub fn draft(state: &mut State, id: &str, billing_reason: &str, finalizes_at: Option<i64>) -> Option<String> {
    let order = order(state, id, billing_reason)?;
    let invoice = invoice::draft(state, &order, finalizes_at);
    state.set(Kind::Subscription, id, json!({ "latest_invoice": invoice }));
    Some(invoice)
}

/// Makes the draft of a plan change: what waits, and the items if a new period begins.
pub fn draft_update(state: &mut State, id: &str, whole: bool) -> Option<String> {
    let mut order = order(state, id, "subscription_update")?;
    order.lines.retain(|line| whole || line.from_item.is_some());
    let invoice = invoice::draft(state, &order, Some(state.now));
    state.set(Kind::Subscription, id, json!({ "latest_invoice": invoice }));
    Some(invoice)
}

/// Makes and pays the invoice of the current period of every item; gives its id.
pub fn bill(state: &mut State, id: &str, billing_reason: &str) -> Option<String> {
    let invoice = draft(state, id, billing_reason, Some(state.now))?;
    collection::finalize(state, &invoice);
    invoice_payment::pay_by_buyer(state, &invoice);
    Some(invoice)
}

fn order(state: &State, id: &str, billing_reason: &str) -> Option<Draft> {
    let subscription = &state.get(Kind::Subscription, id)?.object;
    let items = subscription["items"]["data"].as_array()?;
    let free = text(subscription, "status") == "trialing";
    let lines = items.iter().map(|item| DraftLine {
        price: item["price"].clone(),
        quantity: number(item, "quantity"),
        subscription_item: Some(text(item, "id").to_owned()),
        period_start: number(item, "current_period_start"),
        period_end: number(item, "current_period_end"),
        metadata: subscription["metadata"].clone(),
        free,
        from_item: None,
    });
    let waiting = invoice_item::waiting(state, id);
    let waiting = waiting.iter().map(|item| {
        let price = state.get(Kind::Price, text(&item["pricing"]["price_details"], "price"));
        DraftLine::of_item(item, price.map(|record| record.object.clone()).unwrap_or_default())
    });
    let lines = waiting.chain(lines);
    Some(Draft {
        customer: text(subscription, "customer").to_owned(),
        subscription: Some(id.to_owned()),
        billing_reason: billing_reason.to_owned(),
        metadata: json!({}),
        quote: None,
        lines: lines.collect(),
    })
}

/// Moves every item to its next period, or to the one given, perhaps with another status, and emits the update.
pub fn renew(state: &mut State, id: &str, period: Option<(i64, i64)>, status: Option<&str>) {
    let Some(record) = state.get(Kind::Subscription, id) else { return };
    let anchor = number(&record.object, "billing_cycle_anchor");
    let before = record.object["items"].clone();
    let was = record.object["status"].clone();
    let mut after = before.clone();
    if let Some(items) = after["data"].as_array_mut() {
        for item in items {
            let (start, end) = period.unwrap_or_else(|| {
                let start = number(item, "current_period_end");
                (start, period_end(&item["price"], anchor, start))
            });
            item["current_period_start"] = json!(start);
            item["current_period_end"] = json!(end);
        }
    }
    let mut previous = json!({ "items": before });
    if let Some(status) = status {
        previous["status"] = was;
        state.set(Kind::Subscription, id, json!({ "status": status }));
    }
    if period.is_some_and(|(_, end)| end <= state.now) {
        state.set_extra(Kind::Subscription, id, "by_hand", json!(true));
    }
    state.set(Kind::Subscription, id, json!({ "items": after }));
    state.emit_change("customer.subscription.updated", Kind::Subscription, id, Some(previous));
}

/// `POST /v1/subscriptions/{id}`.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::Subscription, id)?.object.clone();
    if !subscription_life::is_running(&before) {
        let message = "A canceled subscription can only update its cancellation_details and metadata.";
        return Err(Refusal::invalid(message));
    }
    let change = plan_change::Change::read(state, &before, params)?;
    if change.is_some() && !["active", "past_due", "trialing"].contains(&text(&before, "status")) {
        return Err(Refusal::invalid("Only a subscription that is active, trialing or past due changes its items."));
    }
    refuse_with_others(&before, params, change.as_ref())?;
    let mut changes = json!({ "metadata": params.metadata("metadata", &before["metadata"])? });
    if let Some(paused) = read_pause(params, state.now)? {
        changes["pause_collection"] = paused;
    }
    let (at, at_end) = read_cancellation(params, state.now)?;
    if params.is_empty_text("description") {
        changes["description"] = Value::Null;
    } else if let Some(description) = params.string("description")? {
        changes["description"] = json!(description);
    }
    if params.has("cancel_at") {
        changes["cancel_at"] = json!(at);
        changes["cancel_at_period_end"] = json!(false);
        changes["canceled_at"] = json!(at.map(|_| state.now));
    } else if let Some(at_end) = at_end {
        let end = subscription_life::period_end(&before).filter(|_| at_end);
        changes["cancel_at_period_end"] = json!(at_end);
        changes["cancel_at"] = json!(end);
        changes["canceled_at"] = json!(end.map(|_| state.now));
    }
    let wanted: Map<String, Value> = changes.as_object().cloned().unwrap_or_default();
    let previous: Map<String, Value> = wanted
        .iter()
        .filter(|(field, value)| before[field.as_str()] != **value)
        .map(|(field, _)| (field.clone(), before[field.as_str()].clone()))
        .collect();
    if let Some(change) = &change {
        plan_change::apply(state, id, change)?;
    }
    if !previous.is_empty() {
        state.set(Kind::Subscription, id, changes);
        let previous = Some(Value::Object(previous));
        state.emit_change("customer.subscription.updated", Kind::Subscription, id, previous);
    }
    Ok(state.found(Kind::Subscription, id)?.object.clone())
}

/// What a change that may wait, and a subscription that follows a schedule, do not take.
fn refuse_with_others(before: &Value, params: &Params, change: Option<&plan_change::Change>) -> Result<(), Refusal> {
    for field in ["cancel_at", "cancel_at_period_end"] {
        if params.has(field) && before["schedule"].is_string() {
            let message = "The subscription is managed by a subscription schedule, and updating any cancelation \
                           behavior directly is not allowed.";
            return Err(Refusal::invalid(message).with("param", json!(field)));
        }
    }
    let waits = change.is_some_and(plan_change::Change::may_pend);
    for field in ["cancel_at", "cancel_at_period_end", "description", "metadata", "pause_collection"] {
        if waits && params.has(field) {
            let message = "You cannot update this together with `payment_behavior=pending_if_incomplete`.";
            return Err(Refusal::invalid(message).with("param", json!(field)));
        }
    }
    Ok(())
}

/// Reads `pause_collection`: what becomes of invoices meanwhile, and until when; an empty one resumes.
fn read_pause(params: &Params, now: i64) -> Result<Option<Value>, Refusal> {
    if params.is_empty_text("pause_collection") {
        return Ok(Some(Value::Null));
    }
    if !params.has("pause_collection") {
        return Ok(None);
    }
    let paused = params.child("pause_collection");
    let behavior = paused.one_of("behavior", &["keep_as_draft", "mark_uncollectible", "void"])?;
    let behavior = behavior.ok_or_else(|| Refusal::missing("pause_collection[behavior]"))?;
    let resumes = paused.integer_between("resumes_at", now.saturating_add(1), i64::from(u32::MAX))?;
    Ok(Some(json!({ "behavior": behavior, "resumes_at": resumes })))
}

/// `DELETE /v1/subscriptions/{id}`: canceled at once, and nothing credited or invoiced for it.
pub fn cancel(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    for settles in ["prorate", "invoice_now"] {
        if params.boolean(settles)? == Some(true) {
            let message = format!("The simulator cancels without `{settles}`.");
            return Err(Refusal::invalid(&message).with("param", json!(settles)));
        }
    }
    if !subscription_life::is_running(&state.found(Kind::Subscription, id)?.object) {
        return Err(Refusal::not_found(Kind::Subscription.name(), id));
    }
    // From here it must succeed. A cancellation that was planned is over: this one counts.
    state.set(Kind::Subscription, id, json!({ "canceled_at": state.now }));
    subscription_life::end(state, id, "cancellation_requested");
    Ok(state.found(Kind::Subscription, id)?.object.clone())
}
