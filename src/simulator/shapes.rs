//! API versions: objects are kept in the newest shape and rewritten at the edge where they leave.
//!
//! Endpoint version and request version are chosen apart; the older shape is that of acacia (2024-09-30), before
//! basil moved invoice parents, prices of lines and subscription periods.

use serde_json::{Map, Value, json};

use super::objects::price;
use super::state::{Kind, State, number, text};

/// The newest version the simulator was made for.
pub const NEWEST: &str = "2026-09-30.endive";

/// A release train: only its first release breaks shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Train {
    /// 2024-09-30 and its monthly releases.
    Acacia,
    /// 2026-09-30 and its monthly releases.
    Endive,
}

/// A version as it was written, and its train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    written: String,
    train: Train,
}

impl Default for Version {
    fn default() -> Self {
        Self { written: NEWEST.to_owned(), train: Train::Endive }
    }
}

impl Version {
    /// Reads `YYYY-MM-DD.train`; none if the simulator cannot write that shape.
    pub fn parse(written: &str) -> Option<Self> {
        let (date, train) = written.split_once('.')?;
        date.parse::<jiff::civil::Date>().ok()?;
        let (train, first) = match train {
            "acacia" => (Train::Acacia, "2024-09-30"),
            "endive" => (Train::Endive, "2026-09-30"),
            _ => return None,
        };
        // Dates of equal length order as text.
        (date >= first).then(|| Self { written: written.to_owned(), train })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Its train.
    pub fn train(&self) -> Train {
        self.train
    }
}

impl Train {
    /// The object, and every object within it, in this train's shape.
    pub fn render(self, state: &State, object: &Value) -> Value {
        match self {
            Self::Endive => object.clone(),
            Self::Acacia => acacia(state, object),
        }
    }
}

fn acacia(state: &State, value: &Value) -> Value {
    match value {
        Value::Array(values) => Value::Array(values.iter().map(|inner| acacia(state, inner)).collect()),
        // An event is frozen: what it holds is already in the shape of its endpoint.
        Value::Object(map) if map.get("object").and_then(Value::as_str) == Some("event") => value.clone(),
        Value::Object(map) => {
            let mut older: Map<String, Value> =
                map.iter().map(|(field, inner)| (field.clone(), acacia(state, inner))).collect();
            match text(value, "object") {
                "invoice" => invoice(state, value, &mut older),
                "line_item" => line(state, value, &mut older),
                "subscription" => subscription(value, &mut older),
                "subscription_item" => {
                    remove(&mut older, &["current_period_start", "current_period_end", "current_trial"]);
                }
                "payment_intent" => {
                    put_extra(state, Kind::PaymentIntent, value, &mut older, &["invoice"]);
                    remove(&mut older, PAYMENT_INTENT_NEWER);
                }
                "charge" => put_extra(state, Kind::Charge, value, &mut older, &["invoice"]),
                "checkout.session" => session(&mut older),
                "customer" => remove(&mut older, &["customer_account"]),
                "item" => remove(&mut older, &["metadata"]),
                "product" => remove(&mut older, &["tax_details"]),
                _ => {}
            }
            Value::Object(older)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

const PAYMENT_INTENT_NEWER: &[&str] = &[
    "allowed_payment_method_types",
    "customer_account",
    "excluded_payment_method_types",
    "managed_payments",
    "payment_record",
];

fn remove(object: &mut Map<String, Value>, fields: &[&str]) {
    for field in fields {
        object.remove(*field);
    }
}

fn put(object: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
}

fn put_extra(state: &State, kind: Kind, object: &Value, older: &mut Map<String, Value>, fields: &[&str]) {
    let extra = state.get(kind, text(object, "id")).map(|record| &record.extra);
    for field in fields {
        let value = extra.and_then(|extra| extra.get(*field)).cloned().unwrap_or(Value::Null);
        older.insert((*field).to_owned(), value);
    }
}

fn invoice(state: &State, newest: &Value, older: &mut Map<String, Value>) {
    put_extra(state, Kind::Invoice, newest, older, &["payment_intent", "charge"]);
    let details = &newest["parent"]["subscription_details"];
    let metadata = if details.is_null() { Value::Null } else { details["metadata"].clone() };
    put(
        older,
        json!({
            "subscription": details["subscription"], "subscription_details": { "metadata": metadata },
            "paid": text(newest, "status") == "paid", "paid_out_of_band": false, "quote": null, "tax": null,
            "total_tax_amounts": [], "discount": null, "application_fee_amount": null, "transfer_data": null,
        }),
    );
    remove(
        older,
        &[
            "parent",
            "amount_overpaid",
            "amount_paid_off_stripe",
            "total_taxes",
            "customer_account",
            "status_details",
            "confirmation_secret",
            "payments",
        ],
    );
}

fn line(state: &State, newest: &Value, older: &mut Map<String, Value>) {
    let details = &newest["parent"]["subscription_item_details"];
    let from_item = &newest["parent"]["invoice_item_details"];
    let price = text(&newest["pricing"]["price_details"], "price");
    let price = state.get(Kind::Price, price).map(|record| record.object.clone()).unwrap_or_default();
    let proration = details["proration"].as_bool().or(from_item["proration"].as_bool()).unwrap_or(false);
    put(
        older,
        json!({
            "plan": price::plan(&price), "price": price, "proration": proration,
            "proration_details": { "credited_items": null }, "tax_amounts": [], "tax_rates": [],
            "type": if details.is_null() { "invoiceitem" } else { "subscription" },
            "unit_amount_excluding_tax": newest["pricing"]["unit_amount_decimal"],
            "amount_excluding_tax": newest["amount"],
        }),
    );
    if let Some(item) = details["subscription_item"].as_str() {
        older.insert("subscription_item".to_owned(), json!(item));
    }
    if let Some(item) = from_item["invoice_item"].as_str() {
        older.insert("invoice_item".to_owned(), json!(item));
    }
    remove(older, &["parent", "pricing", "taxes", "subtotal", "quantity_decimal"]);
}

fn subscription(newest: &Value, older: &mut Map<String, Value>) {
    let items = newest["items"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let start = items.iter().map(|item| number(item, "current_period_start")).max();
    let end = items.iter().map(|item| number(item, "current_period_end")).max();
    // Only a subscription of one item has a plan and quantity of its own.
    let single = if let [item] = items { (item["plan"].clone(), item["quantity"].clone()) } else { Default::default() };
    put(
        older,
        json!({
            "current_period_start": start, "current_period_end": end, "discount": null, "plan": single.0,
            "quantity": single.1,
        }),
    );
    remove(older, &["billing_mode", "billing_schedules", "customer_account", "managed_payments", "status_details"]);
}

fn session(older: &mut Map<String, Value>) {
    older.insert("ui_mode".to_owned(), json!("hosted"));
    older.insert("shipping_details".to_owned(), Value::Null);
    remove(
        older,
        &[
            "allowed_payment_method_types",
            "collected_information",
            "customer_account",
            "integration_identifier",
            "managed_payments",
            "origin_context",
            "permissions",
            "wallet_options",
        ],
    );
    if let Some(Value::Object(details)) = older.get_mut("customer_details") {
        remove(details, &["business_name", "individual_name"]);
    }
}
