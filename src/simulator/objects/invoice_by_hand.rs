//! Invoices made by requests: a draft that takes nothing lying about, and its items one by one.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_nulls};
use super::invoice::{self, Draft, DraftLine};
use super::price::{self, PriceData};
use super::subscription::QUANTITY_MAX;
use super::{AMOUNT_MAX, collection, payment_method, subscription_life};

/// Parameters of a draft.
pub const ACCEPTED: &[&str] = &[
    "customer",
    "currency",
    "auto_advance",
    "pending_invoice_items_behavior",
    "collection_method",
    "days_until_due",
    "default_payment_method",
    "automatic_tax[enabled]",
    "description",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["auto_advance", "description", "metadata[*]", "metadata", "expand[]"];
/// Parameters of an item.
pub const ITEM: &[&str] = &[
    "customer",
    "invoice",
    "subscription",
    "pricing[price]",
    "price_data[currency]",
    "price_data[product]",
    "price_data[unit_amount]",
    "price_data[tax_behavior]",
    "amount",
    "currency",
    "quantity",
    "period[start]",
    "period[end]",
    "description",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// The longest time a sent invoice may take to be paid.
const DUE_DAYS_MAX: i64 = 10_000;
/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// `POST /v1/invoices`: a draft without lines. What waits for a customer's next invoice is never taken in, so only a
/// request that says so is served.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let currency = params.currency("currency")?.ok_or_else(|| Refusal::missing("currency"))?;
    if params.one_of("pending_invoice_items_behavior", &["exclude"])?.is_none() {
        return Err(Refusal::missing("pending_invoice_items_behavior"));
    }
    let advances = params.boolean("auto_advance")? == Some(true);
    let (collection, due) = read_collection(state, params)?;
    let method = params.string("default_payment_method")?;
    if let Some(method) = method.as_deref().filter(|method| !payment_method::usable(state, method, Some(&customer))) {
        return Err(Refusal::no_such("PaymentMethod", method, "default_payment_method"));
    }
    let metadata = params.metadata("metadata", &Value::Null)?;
    let description = params.string("description")?;
    let taxed = params.boolean("automatic_tax[enabled]")? == Some(true);
    // From here it must succeed.
    let order = Draft {
        customer,
        subscription: None,
        billing_reason: "manual".to_owned(),
        metadata,
        quote: None,
        lines: Vec::new(),
    };
    let finalizes_at = advances.then(|| state.now.saturating_add(collection::DRAFT_SECONDS));
    let id = invoice::draft_in(state, &order, &json!(currency), finalizes_at);
    let mut changes = json!({
        "default_payment_method": method, "description": description, "collection_method": collection, "due_date": due,
    });
    if taxed {
        changes["automatic_tax"] = json!({
            "disabled_reason": null, "enabled": true, "liability": { "type": "self" }, "provider": "stripe",
            "status": "requires_location_inputs",
        });
    }
    state.set(Kind::Invoice, &id, changes);
    state.set_extra(Kind::Invoice, &id, "by_hand", json!(true));
    Ok(state.found(Kind::Invoice, &id)?.object.clone())
}

/// How an invoice is collected, and when one that is sent is due.
fn read_collection(state: &State, params: &Params) -> Result<(String, Option<i64>), Refusal> {
    let method = params.one_of("collection_method", &["charge_automatically", "send_invoice"])?;
    let method = method.unwrap_or_else(|| "charge_automatically".to_owned());
    let days = params.integer_between("days_until_due", 0, DUE_DAYS_MAX)?;
    match (method == "send_invoice", days) {
        (true, None) => Err(Refusal::missing("days_until_due")),
        (false, Some(_)) => {
            let message = "`days_until_due` is for invoices with `collection_method=send_invoice`.";
            Err(Refusal::invalid(message).with("param", json!("days_until_due")))
        }
        (true | false, days) => Ok((method, days.map(|days| state.now.saturating_add(days * DAY_SECONDS)))),
    }
}

/// `POST /v1/invoices/{id}`: its metadata, and of a draft what it says and whether it advances by itself.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::Invoice, id)?.object.clone();
    let mut changes = json!({ "metadata": params.metadata("metadata", &before["metadata"])? });
    let (advances, description) = (params.boolean("auto_advance")?, super::update_text(params, "description", true)?);
    if text(&before, "status") != "draft" && (advances.is_some() || description.is_some()) {
        return Err(Refusal::invalid("Finalized invoices can't be updated in this way."));
    }
    if let Some(advances) = advances {
        changes["auto_advance"] = json!(advances);
        let at = advances.then(|| state.now.saturating_add(collection::DRAFT_SECONDS));
        changes["automatically_finalizes_at"] = json!(at);
    }
    if let Some(description) = description {
        changes["description"] = description;
    }
    let wanted: Map<String, Value> = changes.as_object().cloned().unwrap_or_default();
    let changed = wanted.iter().filter(|(field, value)| before[field.as_str()] != **value);
    let previous: Map<String, Value> =
        changed.map(|(field, _)| (field.clone(), before[field.as_str()].clone())).collect();
    if !previous.is_empty() {
        state.set(Kind::Invoice, id, changes);
        state.emit_change("invoice.updated", Kind::Invoice, id, Some(Value::Object(previous)));
    }
    Ok(state.found(Kind::Invoice, id)?.object.clone())
}

/// `DELETE /v1/invoices/{id}`: a draft that is given up, with its items.
pub fn delete(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let invoice = state.found(Kind::Invoice, id)?.object.clone();
    if text(&invoice, "status") != "draft" || !invoice["parent"].is_null() {
        let message = "You can only delete draft invoices that no subscription made.";
        return Err(Refusal::invalid(message).executed());
    }
    // From here it must succeed.
    let of_it = |item: &&Value| text(item, "invoice") == id;
    let items = state.all(Kind::InvoiceItem).map(|record| &record.object).filter(of_it);
    let items: Vec<String> = items.map(|item| text(item, "id").to_owned()).collect();
    for item in items {
        bury(state, Kind::InvoiceItem, &item, "invoiceitem");
    }
    Ok(bury(state, Kind::Invoice, id, "invoice"))
}

/// `DELETE /v1/invoiceitems/{id}`: one that waits for an invoice.
pub fn delete_item(state: &mut State, id: &str) -> Result<Value, Refusal> {
    if !state.found(Kind::InvoiceItem, id)?.object["invoice"].is_null() {
        let message = "The simulator deletes only invoice items that wait for an invoice.";
        return Err(Refusal::invalid(message).executed());
    }
    Ok(bury(state, Kind::InvoiceItem, id, "invoiceitem"))
}

fn bury(state: &mut State, kind: Kind, id: &str, name: &str) -> Value {
    state.emit(&format!("{name}.deleted"), kind, id);
    let stub = json!({ "id": id, "object": name, "deleted": true });
    state.replace(kind, id, stub.clone());
    stub
}

/// Where an item goes: onto one draft, or onto the next invoice of a subscription.
#[derive(Clone, Debug)]
enum Goal {
    Draft(String),
    Subscription(String),
}

fn read_goal(state: &State, params: &Params, customer: &str) -> Result<(Goal, Value), Refusal> {
    match (params.string("invoice")?, params.string("subscription")?) {
        (Some(of), None) => {
            let invoice = &state.named(Kind::Invoice, &of, "invoice")?.object;
            if text(invoice, "status") != "draft" || text(invoice, "customer") != customer {
                let message = "Items are added to a draft of the same customer.";
                return Err(Refusal::invalid(message).with("param", json!("invoice")));
            }
            Ok((Goal::Draft(of), invoice["currency"].clone()))
        }
        (None, Some(of)) => {
            let found = &state.named(Kind::Subscription, &of, "subscription")?.object;
            if text(found, "customer") != customer || !subscription_life::is_running(found) {
                let message = "Items wait for a subscription of the same customer that has not ended.";
                return Err(Refusal::invalid(message).with("param", json!("subscription")));
            }
            Ok((Goal::Subscription(of), found["currency"].clone()))
        }
        (None, None) => Err(Refusal::missing("invoice")),
        (Some(_), Some(_)) => {
            let message = "The simulator takes `invoice` or `subscription`, not both.";
            Err(Refusal::invalid(message).with("param", json!("subscription")))
        }
    }
}

/// What an item costs, checked.
#[derive(Clone, Debug)]
enum Cost {
    Price(Value),
    Inline(PriceData),
    Amount(i64),
}

fn read_cost(state: &State, params: &Params, currency: &Value) -> Result<(Cost, i64), Refusal> {
    let other = |name: &str| {
        let message = "An invoice item takes a one-time price in the invoice's currency.";
        Err(Refusal::invalid(message).with("param", json!(name)))
    };
    let sent = [params.string("pricing[price]")?.is_some(), params.has("price_data"), params.has("amount")];
    if sent.iter().filter(|one| **one).count() != 1 {
        return Err(Refusal::missing("pricing[price]"));
    }
    if let Some(amount) = params.integer_between("amount", -AMOUNT_MAX, AMOUNT_MAX)? {
        let named = params.currency("currency")?.ok_or_else(|| Refusal::missing("currency"))?;
        if json!(named) != *currency || params.has("quantity") {
            return other(if params.has("quantity") { "quantity" } else { "currency" });
        }
        return Ok((Cost::Amount(amount), 1));
    }
    if params.has("currency") {
        return other("currency");
    }
    let quantity = params.integer_between("quantity", 1, QUANTITY_MAX)?.unwrap_or(1);
    let (cost, unit) = if let Some(id) = params.string("pricing[price]")? {
        let price = state.named(Kind::Price, &id, "pricing[price]")?.object.clone();
        if !price["recurring"].is_null() || price["currency"] != *currency {
            return other("pricing[price]");
        }
        let unit = number(&price, "unit_amount");
        (Cost::Price(price), unit)
    } else {
        let data = PriceData::read(state, &params.child("price_data"), false)?;
        if json!(data.currency()) != *currency {
            return other("price_data[currency]");
        }
        let unit = data.unit_amount();
        (Cost::Inline(data), unit)
    };
    if unit.checked_mul(quantity).is_none_or(|amount| amount > AMOUNT_MAX) {
        return Err(Refusal::parameter("amount_too_large", "quantity", "The total is too large."));
    }
    Ok((cost, quantity))
}

fn read_period(state: &State, params: &Params) -> Result<(i64, i64), Refusal> {
    match (params.integer("period[start]")?, params.integer("period[end]")?) {
        (None, None) => Ok((state.now, state.now)),
        (Some(start), Some(end)) if start <= end => Ok((start, end)),
        (Some(_) | None, Some(_) | None) => {
            Err(Refusal::invalid("A period has a start, and an end not before it.").with("param", json!("period")))
        }
    }
}

/// `POST /v1/invoiceitems`: a line on one draft, or one that waits for a subscription's next invoice.
pub fn add_item(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let (goal, currency) = read_goal(state, params, &customer)?;
    let (cost, quantity) = read_cost(state, params, &currency)?;
    let period = read_period(state, params)?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    let description = params.string("description")?;
    // From here it must succeed.
    let price = match cost {
        Cost::Price(price) => price,
        Cost::Inline(data) => {
            let id = price::from_price_data(state, &data);
            state.get(Kind::Price, &id).map(|record| record.object.clone()).unwrap_or_default()
        }
        Cost::Amount(amount) => {
            let name = description.as_deref().unwrap_or("Invoice item");
            let id = price::of_amount(state, currency.as_str().unwrap_or_default(), amount, name);
            state.get(Kind::Price, &id).map(|record| record.object.clone()).unwrap_or_default()
        }
    };
    let amount = number(&price, "unit_amount").saturating_mul(quantity);
    let (invoice, subscription) = match &goal {
        Goal::Draft(invoice) => (Some(invoice.as_str()), None),
        Goal::Subscription(subscription) => (None, Some(subscription.as_str())),
    };
    let parent = subscription.map(|subscription| {
        json!({
            "subscription_details": { "subscription": subscription }, "type": "subscription_details",
        })
    });
    let id = ids::fresh("ii");
    let item = with_nulls(
        json!({
            "id": id, "object": "invoiceitem", "amount": amount, "currency": price["currency"], "customer": customer,
            "date": state.now, "description": description, "discountable": true, "discounts": [], "invoice": invoice,
            "livemode": false, "metadata": metadata, "net_amount": amount, "parent": parent,
            "period": { "end": period.1, "start": period.0 },
            "pricing": {
                "price_details": { "price": price["id"], "product": price["product"] },
                "type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
            },
            "proration": false, "quantity": quantity, "quantity_decimal": quantity.to_string(), "tax_rates": [],
        }),
        &["customer_account", "test_clock"],
    );
    state.insert(Kind::InvoiceItem, item, Map::new());
    state.emit("invoiceitem.created", Kind::InvoiceItem, &id);
    if let Goal::Draft(invoice) = &goal {
        let line = DraftLine {
            price,
            quantity,
            subscription_item: None,
            period_start: period.0,
            period_end: period.1,
            metadata,
            free: false,
            from_item: None,
        };
        invoice::add_line(state, invoice, &line, (&id, description.as_deref()));
    }
    Ok(state.found(Kind::InvoiceItem, &id)?.object.clone())
}
