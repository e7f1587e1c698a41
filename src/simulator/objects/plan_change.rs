//! Another price, quantity or set of items for a subscription that runs, prorated to the second.
//!
//! Unused time of what was is given back, the rest of the period of what comes is charged: on the next invoice, on one
//! made at once, or not at all. Another interval, or an anchor that is reset, begins a new period at once.

use serde_json::{Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text};
use super::invoice_item::{self, Proration};
use super::subscription::{self, QUANTITY_MAX, Seat};
use super::{collection, customer, price, subscription_life};

/// Parameters of a change.
pub const ACCEPTED: &[&str] = &[
    "items[][id]",
    "items[][price]",
    "items[][quantity]",
    "items[][deleted]",
    "proration_behavior",
    "proration_date",
    "payment_behavior",
    "billing_cycle_anchor",
];
/// How long a change waits for its payment.
const PENDING_SECONDS: i64 = 23 * 60 * 60;

/// What becomes of the time between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// On the next invoice.
    Create,
    /// On an invoice of its own, now.
    Always,
    /// Nothing.
    None,
}

impl Behavior {
    /// Reads `proration_behavior`.
    pub fn read(params: &Params) -> Result<Self, Refusal> {
        let word = params.one_of("proration_behavior", &["create_prorations", "always_invoice", "none"])?;
        Ok(Self::of(word.as_deref().unwrap_or("create_prorations")))
    }

    /// From Stripe's word.
    pub fn of(word: &str) -> Self {
        match word {
            "always_invoice" => Self::Always,
            "none" => Self::None,
            _ => Self::Create,
        }
    }
}

/// What happens if the payment of a change fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IfUnpaid {
    Allow,
    Pend,
    Refuse,
}

/// A change, checked.
#[derive(Clone, Debug)]
pub struct Change {
    items: Vec<Value>,
    behavior: Behavior,
    at: i64,
    resets: bool,
    if_unpaid: IfUnpaid,
}

impl Change {
    /// Reads what is asked of a subscription; none if its items and anchor stay.
    pub fn read(state: &State, subscription: &Value, params: &Params) -> Result<Option<Self>, Refusal> {
        let behavior = Behavior::read(params)?;
        let if_unpaid = match params
            .one_of("payment_behavior", &["allow_incomplete", "pending_if_incomplete", "error_if_incomplete"])?
            .as_deref()
        {
            Some("pending_if_incomplete") => IfUnpaid::Pend,
            Some("error_if_incomplete") => IfUnpaid::Refuse,
            Some(_) | None => IfUnpaid::Allow,
        };
        let anchor = params.one_of("billing_cycle_anchor", &["now", "unchanged"])?;
        let date = params.integer("proration_date")?;
        let asked = params.children("items")?;
        if asked.is_empty() && anchor.as_deref() != Some("now") {
            return match date {
                Some(_) => Err(Refusal::missing("items")),
                None => Ok(None),
            };
        }
        let (start, end) = period(subscription);
        let at = date.unwrap_or(state.now);
        if !(start..=end).contains(&at) {
            let message = "Cannot specify `proration_date` outside of the current period.";
            return Err(Refusal::invalid(message).with("param", json!("proration_date")));
        }
        let items = read_items(state, subscription, &asked)?;
        Self::checked(state, subscription, items, behavior, at).map(|mut change| {
            change.resets |= anchor.as_deref() == Some("now");
            change.if_unpaid = if_unpaid;
            Some(change)
        })
    }

    /// A change to these items, which a schedule makes.
    pub fn to_seats(
        state: &State,
        subscription: &Value,
        seats: &[Seat],
        behavior: Behavior,
    ) -> Result<Option<Self>, Refusal> {
        subscription::check(state, seats)?;
        let mut before = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
        let mut items = Vec::new();
        for seat in seats {
            // The item that has the price already keeps its id; else any that is left is changed.
            let place = before.iter().position(|item| text(&item["price"], "id") == seat.price);
            let unclaimed = |item: &Value| !seats.iter().any(|seat| text(&item["price"], "id") == seat.price);
            let place = place.or_else(|| before.iter().position(unclaimed));
            let item = place.map(|place| before.remove(place));
            items.push(with_seat(state, subscription, item, &seat.price, seat.quantity)?);
        }
        let same = before.is_empty() && json!(items) == subscription["items"]["data"];
        if same {
            return Ok(None);
        }
        Self::checked(state, subscription, items, behavior, state.now).map(Some)
    }

    fn checked(
        state: &State,
        subscription: &Value,
        items: Vec<Value>,
        behavior: Behavior,
        at: i64,
    ) -> Result<Self, Refusal> {
        let seats = items
            .iter()
            .map(|item| Seat { price: text(&item["price"], "id").to_owned(), quantity: number(item, "quantity") });
        subscription::check(state, &seats.collect::<Vec<Seat>>())?;
        let terms = |price: &Value| json!([price["recurring"]["interval"], price["recurring"]["interval_count"]]);
        let (was, now) = (&subscription["items"]["data"][0]["price"], &items[0]["price"]);
        if was["currency"] != now["currency"] {
            let message = "The price specified has another currency than the subscription.";
            return Err(Refusal::invalid(message).with("param", json!("items")));
        }
        let resets = terms(was) != terms(now);
        Ok(Self { items, behavior, at, resets, if_unpaid: IfUnpaid::Allow })
    }

    /// Whether a payment that fails undoes it.
    pub fn may_pend(&self) -> bool {
        self.if_unpaid == IfUnpaid::Pend
    }

    /// Whether an invoice is made at once.
    fn invoices(&self, subscription: &Value) -> bool {
        let trial = text(subscription, "status") == "trialing";
        !trial && (self.resets || self.behavior == Behavior::Always)
    }
}

fn period(subscription: &Value) -> (i64, i64) {
    let items = subscription["items"]["data"].as_array().into_iter().flatten();
    let start = items.map(|item| number(item, "current_period_start")).max().unwrap_or(0);
    (start, subscription_life::period_end(subscription).unwrap_or(0))
}

fn read_items(state: &State, subscription: &Value, asked: &[Params]) -> Result<Vec<Value>, Refusal> {
    let mut items = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    for one in asked {
        let deleted = one.boolean("deleted")? == Some(true);
        let quantity = one.integer_between("quantity", 1, QUANTITY_MAX)?;
        let price = one.string("price")?;
        if let Some(price) = &price
            && state.named(Kind::Price, price, &one.name("price"))?.object["active"] == json!(false)
        {
            return Err(
                Refusal::invalid(&format!("The price {price} is not active.")).with("param", json!(one.name("price")))
            );
        }
        let place = match one.string("id")? {
            Some(id) => {
                let place = items.iter().position(|item| text(item, "id") == id);
                Some(place.ok_or_else(|| Refusal::no_such("subscription_item", &id, &one.name("id")))?)
            }
            None if deleted => return Err(Refusal::missing(&one.name("id"))),
            None => None,
        };
        match (place, price) {
            (Some(place), None) if deleted => {
                items.remove(place);
            }
            (Some(_), Some(_)) if deleted => return Err(Refusal::unknown_parameter(&one.name("price"))),
            (Some(place), price) => {
                let before = items[place].clone();
                let price = price.unwrap_or_else(|| text(&before["price"], "id").to_owned());
                let quantity = quantity.unwrap_or_else(|| number(&before, "quantity"));
                items[place] = with_seat(state, subscription, Some(before), &price, quantity)?;
            }
            (None, Some(price)) => {
                items.push(with_seat(state, subscription, None, &price, quantity.unwrap_or(1))?);
            }
            (None, None) => return Err(Refusal::missing(&one.name("price"))),
        }
    }
    if items.is_empty() {
        let message = "A subscription must have at least one item; cancel it instead.";
        return Err(Refusal::invalid(message).with("param", json!("items")));
    }
    for (place, item) in items.iter().enumerate() {
        if items[..place].iter().any(|other| other["price"]["id"] == item["price"]["id"]) {
            let message = "Cannot add multiple subscription items with the same price.";
            return Err(Refusal::invalid(message).with("param", json!("items")));
        }
    }
    Ok(items)
}

/// An item with another price and quantity; a new one without.
fn with_seat(
    state: &State,
    subscription: &Value,
    item: Option<Value>,
    price: &str,
    quantity: i64,
) -> Result<Value, Refusal> {
    let price = state.named(Kind::Price, price, "items")?.object.clone();
    let (start, end) = period(subscription);
    let mut item = item.unwrap_or_else(|| {
        json!({
            "id": ids::fresh("si"), "object": "subscription_item", "billing_thresholds": null, "created": state.now,
            "current_period_end": end, "current_period_start": start, "current_trial": null, "discounts": [],
            "metadata": {}, "subscription": subscription["id"], "tax_rates": [],
        })
    });
    if item["price"]["id"] != price["id"] {
        item["plan"] = price::plan(&price);
        item["price"] = price;
    }
    item["quantity"] = json!(quantity);
    Ok(item)
}

/// The share of an amount that falls on the rest of a period, to the nearest minor unit.
fn rest(whole: i64, at: i64, (start, end): (i64, i64)) -> i64 {
    let (length, left) = (i128::from(end.saturating_sub(start)).max(1), i128::from(end.saturating_sub(at)).max(0));
    // Both are bounded by eight digits and a few years of seconds, so the product fits.
    let twice = i128::from(whole) * left * 2 + length;
    i64::try_from(twice.div_euclid(length * 2)).unwrap_or(i64::MAX)
}

fn prorations(state: &State, subscription: &Value, change: &Change) -> Vec<Proration> {
    let old = subscription["items"]["data"].as_array().cloned().unwrap_or_default();
    let bounds = period(subscription);
    let cost = |item: &Value| number(&item["price"], "unit_amount").saturating_mul(number(item, "quantity"));
    let same = |item: &Value, other: &Value| {
        item["id"] == other["id"]
            && item["price"]["id"] == other["price"]["id"]
            && item["quantity"] == other["quantity"]
    };
    let proration = |item: &Value, amount: i64, credited: Option<(String, String)>| Proration {
        customer: text(subscription, "customer").to_owned(),
        subscription: text(subscription, "id").to_owned(),
        item: text(item, "id").to_owned(),
        price: item["price"].clone(),
        quantity: number(item, "quantity"),
        amount,
        period: (change.at, bounds.1),
        credited,
    };
    let mut found = Vec::new();
    for item in &old {
        if change.resets || !change.items.iter().any(|kept| same(kept, item)) {
            let amount = rest(cost(item), change.at, bounds).saturating_neg();
            found.push(proration(item, amount, invoice_item::charged_by(state, item)));
        }
    }
    // With a new period, the new items are billed whole.
    let new = change.items.iter().filter(|item| !change.resets && !old.iter().any(|was| same(was, item)));
    found.extend(new.map(|item| proration(item, rest(cost(item), change.at, bounds), None)));
    found.retain(|proration| proration.amount != 0);
    found
}

/// Carries a change out: items, prorations, and the invoice if one is made at once.
pub fn apply(state: &mut State, id: &str, change: &Change) -> Result<(), Refusal> {
    let before = state.found(Kind::Subscription, id)?.object.clone();
    let payer = text(&before, "customer").to_owned();
    // At a period's end nothing is prorated: the renewal that follows bills what comes.
    let invoices = change.invoices(&before) && state.now < period(&before).1;
    if invoices
        && change.if_unpaid != IfUnpaid::Allow
        && would_owe(state, &before, change)
        && let Some(decline) = subscription::expected_decline(state, &payer, before["default_payment_method"].as_str())
    {
        if change.if_unpaid == IfUnpaid::Refuse {
            subscription::count_decline(state, &payer, before["default_payment_method"].as_str());
            return Err(decline.refusal());
        }
        pend(state, id, &before, change);
        return Ok(());
    }
    let made = write_prorations(state, &before, change);
    let previous = set_items(state, id, &before, change);
    let invoice = if invoices && (change.resets || !made.is_empty()) {
        subscription::draft_update(state, id, change.resets)
    } else {
        None
    };
    tell(state, id, &before, previous, invoice.is_some());
    if let Some(invoice) = invoice {
        collection::finalize(state, &invoice);
        if collection::is_open(state, &invoice) {
            collection::collect(state, &invoice);
        }
    }
    Ok(())
}

fn tell(state: &mut State, id: &str, before: &Value, mut previous: Value, invoiced: bool) {
    if invoiced {
        previous["latest_invoice"] = before["latest_invoice"].clone();
    }
    state.emit_change("customer.subscription.updated", Kind::Subscription, id, Some(previous));
}

/// Whether anything is left to pay after all prorations and the customer's credit.
fn would_owe(state: &State, before: &Value, change: &Change) -> bool {
    let whole = change.items.iter().filter(|_| change.resets);
    let whole = whole.map(|item| number(&item["price"], "unit_amount").saturating_mul(number(item, "quantity")));
    let prorated = prorations(state, before, change).into_iter().filter(|_| change.behavior != Behavior::None);
    let waiting = invoice_item::waiting(state, text(before, "id"));
    let waiting = waiting.iter().map(|item| number(item, "amount"));
    let sum = whole.chain(prorated.map(|one| one.amount)).chain(waiting).fold(0_i64, i64::saturating_add);
    sum.saturating_add(customer::balance(state, text(before, "customer"))) > 0
}

fn write_prorations(state: &mut State, before: &Value, change: &Change) -> Vec<String> {
    if change.behavior == Behavior::None || text(before, "status") == "trialing" {
        return Vec::new();
    }
    let found = prorations(state, before, change);
    found.iter().map(|one| invoice_item::make(state, one)).collect()
}

/// Writes the items, in a new period if there is one; gives what changed as it was.
fn set_items(state: &mut State, id: &str, before: &Value, change: &Change) -> Value {
    let mut items = before["items"].clone();
    let mut changed = change.items.clone();
    let mut previous = json!({ "items": before["items"] });
    let mut changes = json!({});
    let boundary = period(before).1 <= state.now;
    if change.resets && text(before, "status") != "trialing" {
        previous["billing_cycle_anchor"] = before["billing_cycle_anchor"].clone();
        changes["billing_cycle_anchor"] = json!(state.now);
        // At a boundary the period that begins anyway is counted from here.
        for item in changed.iter_mut().filter(|_| !boundary) {
            item["current_period_start"] = json!(state.now);
            item["current_period_end"] = json!(subscription::period_end(&item["price"], state.now, state.now));
        }
    }
    items["data"] = json!(changed);
    changes["items"] = items;
    state.set(Kind::Subscription, id, changes);
    previous
}

/// The change waits until its invoice is paid, or is forgotten.
fn pend(state: &mut State, id: &str, before: &Value, change: &Change) {
    // The invoice is of the change, so its lines come from the items as they would be.
    let made = write_prorations(state, before, change);
    let _previous = set_items(state, id, before, change);
    let invoice = subscription::draft_update(state, id, change.resets);
    let wanted = state.get(Kind::Subscription, id).map(|record| record.object.clone()).unwrap_or_default();
    let anchor = change.resets.then_some(state.now);
    let update = json!({
        "billing_cycle_anchor": anchor, "cancel_at_period_end": null, "discount": null, "discounts": null,
        "expires_at": state.now.saturating_add(PENDING_SECONDS), "metadata": null,
        "subscription_items": wanted["items"]["data"], "trial_end": null, "trial_from_plan": null,
    });
    let changes = json!({
        "items": before["items"], "billing_cycle_anchor": before["billing_cycle_anchor"], "pending_update": update,
    });
    state.set(Kind::Subscription, id, changes);
    let waits = json!({ "invoice": invoice, "items": made, "wanted": wanted["items"], "anchor": wanted["billing_cycle_anchor"] });
    state.set_extra(Kind::Subscription, id, "pending_change", waits);
    tell(state, id, before, json!({ "pending_update": null }), invoice.is_some());
    if let Some(invoice) = invoice {
        collection::finalize(state, &invoice);
        collection::stop_collecting(state, &invoice);
        collection::collect(state, &invoice);
    }
}

/// Whether a subscription's change waits for this invoice.
pub fn waits_for(state: &State, id: &str, invoice: &str) -> bool {
    let waits = state.get(Kind::Subscription, id).and_then(|record| record.extra.get("pending_change"));
    waits.is_some_and(|waits| text(waits, "invoice") == invoice)
}

/// The invoice of a waiting change was paid: the change happens.
pub fn paid(state: &mut State, id: &str) {
    let Some(waits) = forget(state, id) else { return };
    let Some(before) = state.get(Kind::Subscription, id).map(|record| record.object.clone()) else { return };
    let previous = json!({
        "items": before["items"], "pending_update": before["pending_update"],
        "billing_cycle_anchor": before["billing_cycle_anchor"],
    });
    let changes = json!({ "items": waits["wanted"], "billing_cycle_anchor": waits["anchor"], "pending_update": null });
    state.set(Kind::Subscription, id, changes);
    state.emit("customer.subscription.pending_update_applied", Kind::Subscription, id);
    state.emit_change("customer.subscription.updated", Kind::Subscription, id, Some(previous));
}

fn forget(state: &mut State, id: &str) -> Option<Value> {
    let waits = state.get(Kind::Subscription, id)?.extra.get("pending_change").filter(|waits| waits.is_object());
    let waits = waits?.clone();
    state.set_extra(Kind::Subscription, id, "pending_change", Value::Null);
    Some(waits)
}

/// The payment never came: the change is forgotten and its invoice void.
pub fn expire(state: &mut State, id: &str) {
    let update = state.get(Kind::Subscription, id).map(|record| record.object["pending_update"].clone());
    state.set(Kind::Subscription, id, json!({ "pending_update": null }));
    let Some(waits) = forget(state, id) else { return };
    // It is open, or it was paid and nothing would wait.
    let _voided = collection::void(state, text(&waits, "invoice"));
    state.emit("customer.subscription.pending_update_expired", Kind::Subscription, id);
    let previous = json!({ "pending_update": update });
    state.emit_change("customer.subscription.updated", Kind::Subscription, id, Some(previous));
}
