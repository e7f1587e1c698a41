//! `invoiceitem`: what waits for a subscription's next invoice, as plan changes and requests leave it.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::state::{Kind, State, number, text, with_nulls};

/// Filters of the list.
pub const FILTERS: &[&str] = &["customer", "invoice", "pending"];

/// Time of a price that is given back or charged.
#[derive(Clone, Debug)]
pub struct Proration {
    /// Who pays.
    pub customer: String,
    /// The subscription.
    pub subscription: String,
    /// Its item.
    pub item: String,
    /// The whole price.
    pub price: Value,
    /// How many.
    pub quantity: i64,
    /// Minor units: below zero for unused time.
    pub amount: i64,
    /// From when to when.
    pub period: (i64, i64),
    /// The invoice and line that charged what is given back.
    pub credited: Option<(String, String)>,
}

/// Writes a proration down; gives its id.
pub fn make(state: &mut State, of: &Proration) -> String {
    let id = ids::fresh("ii");
    let product = state.get(Kind::Product, text(&of.price, "product")).map(|record| record.object["name"].clone());
    let name = product.as_ref().and_then(Value::as_str).unwrap_or("subscription").to_owned();
    let what = if of.amount < 0 { "Unused" } else { "Remaining" };
    let since = jiff::Timestamp::from_second(of.period.0).map(|at| at.strftime("%d %b %Y").to_string());
    let description = format!("{what} time on {} × {name} after {}", of.quantity, since.unwrap_or_default());
    let credited = of.credited.as_ref().map(|(invoice, line)| {
        json!({
            "invoice_line_item_details": { "invoice": invoice, "invoice_line_items": [line] },
            "type": "invoice_line_items",
        })
    });
    let item = with_nulls(
        json!({
            "id": id, "object": "invoiceitem", "amount": of.amount, "currency": of.price["currency"],
            "customer": of.customer, "date": state.now, "description": description, "discountable": false,
            "discounts": [], "livemode": false, "metadata": {}, "net_amount": of.amount,
            "parent": {
                "subscription_details": { "subscription": of.subscription, "subscription_item": of.item },
                "type": "subscription_details",
            },
            "period": { "end": of.period.1, "start": of.period.0 },
            "pricing": {
                "price_details": { "price": of.price["id"], "product": of.price["product"] },
                "type": "price_details", "unit_amount_decimal": of.price["unit_amount_decimal"],
            },
            "proration": true, "proration_details": { "credited_items": credited, "discount_amounts": [] },
            "quantity": of.quantity, "quantity_decimal": of.quantity.to_string(), "tax_rates": [],
        }),
        &["customer_account", "invoice", "test_clock"],
    );
    state.insert(Kind::InvoiceItem, item, Map::new());
    state.emit("invoiceitem.created", Kind::InvoiceItem, &id);
    id
}

/// What waits for the next invoice of a subscription, oldest first.
pub fn waiting(state: &State, subscription: &str) -> Vec<Value> {
    let of_it = |item: &&Value| {
        item["invoice"].is_null() && text(&item["parent"]["subscription_details"], "subscription") == subscription
    };
    state.all(Kind::InvoiceItem).map(|record| &record.object).filter(of_it).cloned().collect()
}

/// The parent of the line an item becomes.
pub fn line_parent(item: &Value) -> Value {
    let details = &item["parent"]["subscription_details"];
    if item["proration"] != json!(true) {
        return json!({
            "subscription_item_details": null, "type": "invoice_item_details",
            "invoice_item_details": {
                "invoice_item": item["id"], "proration": false, "proration_details": { "credited_items": null },
                "subscription": details["subscription"],
            },
        });
    }
    json!({
        "invoice_item_details": null, "type": "subscription_item_details",
        "subscription_item_details": {
            "invoice_item": item["id"], "proration": true,
            "proration_details": {
                "credited_items": item["proration_details"]["credited_items"]["invoice_line_item_details"]
            },
            "subscription": details["subscription"], "subscription_item": details["subscription_item"],
        },
    })
}

/// The line that charged a subscription's item for a period, on its newest invoice.
pub fn charged_by(state: &State, item: &Value) -> Option<(String, String)> {
    let (id, end) = (text(item, "id"), number(item, "current_period_end"));
    state.all(Kind::Invoice).rev().find_map(|record| {
        let lines = record.extra.get("lines")?.as_array()?;
        let of_item = |line: &&Value| {
            text(&line["parent"]["subscription_item_details"], "subscription_item") == id
                && number(line, "amount") > 0
                && number(&line["period"], "end") == end
        };
        let line = lines.iter().find(of_item)?;
        Some((text(&record.object, "id").to_owned(), text(line, "id").to_owned()))
    })
}
