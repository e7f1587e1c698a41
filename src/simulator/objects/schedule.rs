//! `subscription_schedule`: phases of a subscription that follow each other at their times.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_nulls};
use super::plan_change::{self, Behavior, Change};
use super::subscription::{self, QUANTITY_MAX, Seat};
use super::subscription_life;

/// Parameters of a creation: from a subscription that runs.
pub const ACCEPTED: &[&str] = &["from_subscription", "expand[]"];
/// Parameters of an update.
pub const UPDATE: &[&str] = &[
    "end_behavior",
    "proration_behavior",
    "phases[][items][][price]",
    "phases[][items][][quantity]",
    "phases[][start_date]",
    "phases[][end_date]",
    "phases[][proration_behavior]",
    "phases[][metadata][*]",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Filters of the list.
pub const FILTERS: &[&str] = &["customer"];
/// Phases of one schedule; Stripe's limit.
const PHASES_MAX: usize = 10;

/// When its phase ends.
pub fn due(schedule: &Value) -> Option<i64> {
    schedule["current_phase"]["end_date"].as_i64().filter(|_| text(schedule, "status") == "active")
}

/// `POST /v1/subscription_schedules`: its only phase is the current period.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let of = params.required("from_subscription")?;
    let subscription = state.named(Kind::Subscription, &of, "from_subscription")?.object.clone();
    if !subscription_life::is_running(&subscription) {
        let message = "You cannot create a subscription schedule from a subscription that has ended.";
        return Err(Refusal::invalid(message).with("param", json!("from_subscription")));
    }
    if subscription["schedule"].is_string() {
        let message = "You cannot migrate a subscription that is already attached to a schedule.";
        return Err(Refusal::invalid(message).with("param", json!("from_subscription")));
    }
    let items = subscription["items"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let start = items.iter().map(|item| number(item, "current_period_start")).max().unwrap_or(state.now);
    let end = subscription_life::period_end(&subscription).unwrap_or(start);
    let phase_items: Vec<Value> =
        items.iter().map(|item| phase_item(&item["price"], number(item, "quantity"))).collect();
    let phase = phase(&subscription, &phase_items, (start, end), "create_prorations", &json!({}));
    let id = ids::fresh("sub_sched");
    let settings = json!({
        "account_tax_ids": null, "custom_fields": null, "days_until_due": null, "description": null, "footer": null,
        "issuer": { "type": "self" },
    });
    let schedule = with_nulls(
        json!({
            "id": id, "object": "subscription_schedule", "billing_mode": { "flexible": null, "type": "classic" },
            "created": state.now, "current_phase": { "end_date": end, "start_date": start },
            "customer": subscription["customer"],
            "default_settings": {
                "application_fee_percent": null,
                "automatic_tax": { "disabled_reason": null, "enabled": false, "liability": null },
                "billing_cycle_anchor": "automatic", "billing_thresholds": null,
                "collection_method": "charge_automatically", "default_payment_method": null, "description": null,
                "invoice_settings": settings, "on_behalf_of": null, "transfer_data": null,
            },
            "end_behavior": "release", "livemode": false, "metadata": {}, "pause_schedules": [], "phases": [phase],
            "status": "active", "subscription": of,
        }),
        &[
            "application",
            "canceled_at",
            "completed_at",
            "customer_account",
            "released_at",
            "released_subscription",
            "test_clock",
        ],
    );
    // From here it must succeed.
    state.insert(Kind::Schedule, schedule, Map::new());
    state.emit("subscription_schedule.created", Kind::Schedule, &id);
    attach(state, &of, &json!(id));
    Ok(state.found(Kind::Schedule, &id)?.object.clone())
}

fn attach(state: &mut State, subscription: &str, schedule: &Value) {
    let before = state.get(Kind::Subscription, subscription).map(|record| record.object["schedule"].clone());
    state.set(Kind::Subscription, subscription, json!({ "schedule": schedule }));
    let previous = json!({ "schedule": before });
    state.emit_change("customer.subscription.updated", Kind::Subscription, subscription, Some(previous));
}

fn phase_item(price: &Value, quantity: i64) -> Value {
    json!({
        "billing_thresholds": null, "discounts": [], "metadata": {}, "plan": price["id"], "price": price["id"],
        "quantity": quantity, "tax_rates": [],
    })
}

fn phase(subscription: &Value, items: &[Value], (start, end): (i64, i64), proration: &str, metadata: &Value) -> Value {
    with_nulls(
        json!({
            "add_invoice_items": [], "currency": subscription["currency"], "default_tax_rates": [], "discounts": [],
            "end_date": end, "items": items, "metadata": metadata, "proration_behavior": proration,
            "start_date": start,
        }),
        &[
            "application_fee_percent",
            "billing_cycle_anchor",
            "billing_thresholds",
            "collection_method",
            "default_payment_method",
            "description",
            "invoice_settings",
            "on_behalf_of",
            "transfer_data",
            "trial_end",
        ],
    )
}

fn active(state: &State, id: &str) -> Result<Value, Refusal> {
    let schedule = state.found(Kind::Schedule, id)?.object.clone();
    if text(&schedule, "status") == "active" {
        return Ok(schedule);
    }
    let message =
        format!("The subscription schedule is {}; only an active one can do that.", text(&schedule, "status"));
    Err(Refusal::invalid(&message))
}

/// `POST /v1/subscription_schedules/{id}`: its phases, the current one first.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = active(state, id)?;
    let of = text(&before, "subscription").to_owned();
    let subscription = state.found(Kind::Subscription, &of)?.object.clone();
    let mut changes = json!({ "metadata": params.metadata("metadata", &before["metadata"])? });
    if let Some(end) = params.one_of("end_behavior", &["release", "cancel"])? {
        changes["end_behavior"] = json!(end);
    }
    let behavior = Behavior::read(params)?;
    let mut now = None;
    if params.has("phases") {
        let phases = read_phases(state, &before, &subscription, params)?;
        now = Change::to_seats(state, &subscription, &seats(&phases[0]), behavior)?;
        changes["current_phase"] = json!({ "end_date": phases[0]["end_date"], "start_date": phases[0]["start_date"] });
        changes["phases"] = json!(phases);
    }
    let told: Map<String, Value> = changes.as_object().cloned().unwrap_or_default();
    let previous: Map<String, Value> = told
        .iter()
        .filter(|(field, value)| before[field.as_str()] != **value)
        .map(|(field, _)| (field.clone(), before[field.as_str()].clone()))
        .collect();
    // From here it must succeed.
    if !previous.is_empty() {
        state.set(Kind::Schedule, id, changes);
        state.emit_change("subscription_schedule.updated", Kind::Schedule, id, Some(Value::Object(previous)));
    }
    if let Some(change) = now {
        plan_change::apply(state, &of, &change)?;
    }
    Ok(state.found(Kind::Schedule, id)?.object.clone())
}

fn read_phases(state: &State, schedule: &Value, subscription: &Value, params: &Params) -> Result<Vec<Value>, Refusal> {
    let asked = params.children("phases")?;
    if asked.is_empty() || asked.len() > PHASES_MAX {
        return Err(
            Refusal::invalid(&format!("A schedule has 1 to {PHASES_MAX} phases.")).with("param", json!("phases"))
        );
    }
    let current = number(&schedule["current_phase"], "start_date");
    let mut next = current;
    let mut phases = Vec::new();
    for one in &asked {
        let start = one.integer("start_date")?.unwrap_or(next);
        if start != next {
            let message = if phases.is_empty() {
                "The first phase is the current one: you can not modify its start date."
            } else {
                "A phase starts when the one before ends."
            };
            return Err(Refusal::invalid(message).with("param", json!(one.name("start_date"))));
        }
        let (items, prices) = read_phase_items(state, one)?;
        let own_end = prices.first().map_or(start, |price| subscription::period_end(price, start, start));
        let end = one.integer("end_date")?.unwrap_or(own_end);
        if end <= start || end <= state.now {
            let message = "A phase ends after its start and in the future.";
            return Err(Refusal::invalid(message).with("param", json!(one.name("end_date"))));
        }
        let proration = one.one_of("proration_behavior", &["create_prorations", "always_invoice", "none"])?;
        let proration = proration.as_deref().unwrap_or("create_prorations");
        let metadata = one.metadata("metadata", &Value::Null)?;
        phases.push(phase(subscription, &items, (start, end), proration, &metadata));
        next = end;
    }
    Ok(phases)
}

fn read_phase_items(state: &State, phase: &Params) -> Result<(Vec<Value>, Vec<Value>), Refusal> {
    let asked = phase.children("items")?;
    if asked.is_empty() {
        return Err(Refusal::missing(&phase.name("items")));
    }
    let (mut items, mut prices, mut seats) = (Vec::new(), Vec::new(), Vec::new());
    for item in &asked {
        let id = item.required("price")?;
        let price = state.named(Kind::Price, &id, &item.name("price"))?.object.clone();
        let quantity = item.integer_between("quantity", 1, QUANTITY_MAX)?.unwrap_or(1);
        items.push(phase_item(&price, quantity));
        prices.push(price);
        seats.push(Seat { price: id, quantity });
    }
    subscription::check(state, &seats)?;
    Ok((items, prices))
}

fn seats(phase: &Value) -> Vec<Seat> {
    let items = phase["items"].as_array().into_iter().flatten();
    items.map(|item| Seat { price: text(item, "price").to_owned(), quantity: number(item, "quantity") }).collect()
}

/// The current phase is over: the next one begins, or the schedule ends as it was told to.
pub fn fire(state: &mut State, id: &str) {
    let Some(schedule) = state.get(Kind::Schedule, id).map(|record| record.object.clone()) else { return };
    let of = text(&schedule, "subscription").to_owned();
    let phases = schedule["phases"].as_array().map(Vec::as_slice).unwrap_or_default();
    let next =
        phases.iter().find(|phase| number(phase, "start_date") >= number(&schedule["current_phase"], "end_date"));
    let Some(next) = next else { return finish(state, id, &of, text(&schedule, "end_behavior")) };
    let previous = json!({ "current_phase": schedule["current_phase"] });
    let now = json!({ "end_date": next["end_date"], "start_date": next["start_date"] });
    state.set(Kind::Schedule, id, json!({ "current_phase": now }));
    state.emit_change("subscription_schedule.updated", Kind::Schedule, id, Some(previous));
    let Some(subscription) = state.get(Kind::Subscription, &of).map(|record| record.object.clone()) else { return };
    let behavior = Behavior::of(text(next, "proration_behavior"));
    // Prices were checked when the phase was written; one that went since leaves the items as they are.
    if let Ok(Some(change)) = Change::to_seats(state, &subscription, &seats(next), behavior) {
        let _applied = plan_change::apply(state, &of, &change);
    }
    let mut metadata = subscription["metadata"].as_object().cloned().unwrap_or_default();
    metadata.extend(next["metadata"].as_object().cloned().unwrap_or_default());
    if json!(metadata) != subscription["metadata"] {
        state.set(Kind::Subscription, &of, json!({ "metadata": metadata }));
        let previous = json!({ "metadata": subscription["metadata"] });
        state.emit_change("customer.subscription.updated", Kind::Subscription, &of, Some(previous));
    }
}

fn finish(state: &mut State, id: &str, of: &str, behavior: &str) {
    if behavior == "cancel" {
        let changes = json!({ "status": "completed", "completed_at": state.now, "current_phase": null });
        state.set(Kind::Schedule, id, changes);
        state.emit("subscription_schedule.completed", Kind::Schedule, id);
        subscription_life::end(state, of, "cancellation_requested");
    } else {
        let_go(state, id, of);
    }
}

fn let_go(state: &mut State, id: &str, of: &str) {
    let changes = json!({
        "status": "released", "released_at": state.now, "released_subscription": of, "subscription": null,
        "current_phase": null,
    });
    state.set(Kind::Schedule, id, changes);
    state.emit("subscription_schedule.released", Kind::Schedule, id);
    attach(state, of, &Value::Null);
}

/// `POST /v1/subscription_schedules/{id}/release`: the subscription goes on as it is.
pub fn release(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let of = text(&active(state, id)?, "subscription").to_owned();
    // From here it must succeed.
    let_go(state, id, &of);
    Ok(state.found(Kind::Schedule, id)?.object.clone())
}

/// `POST /v1/subscription_schedules/{id}/cancel`: the subscription ends with it.
pub fn cancel(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let of = text(&active(state, id)?, "subscription").to_owned();
    // From here it must succeed.
    subscription_life::end(state, &of, "cancellation_requested");
    Ok(state.found(Kind::Schedule, id)?.object.clone())
}

/// A subscription ended: its schedule ends with it.
pub fn subscription_ended(state: &mut State, subscription: &str, reason: &str) {
    let of = state.get(Kind::Subscription, subscription).map(|record| record.object["schedule"].clone());
    let Some(id) = of.as_ref().and_then(Value::as_str) else { return };
    let running = state.get(Kind::Schedule, id).is_some_and(|record| text(&record.object, "status") == "active");
    if running {
        let changes = json!({ "status": "canceled", "canceled_at": state.now, "current_phase": null });
        state.set(Kind::Schedule, id, changes);
        let told = if reason == "payment_failed" { "aborted" } else { "canceled" };
        state.emit(&format!("subscription_schedule.{told}"), Kind::Schedule, id);
    }
}
