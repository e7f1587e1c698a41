//! API versions: objects are kept in the newest shape and rewritten at the edge where they leave.
//!
//! Endpoint version and request version are chosen apart. An object goes back train by train: what a train brought is
//! taken away, what it removed is put back. Acacia is the oldest: before basil moved invoice parents, prices of lines
//! and subscription periods.

use serde_json::{Map, Value, json};

use super::objects::{price, tax};
use super::state::{Kind, State, number, text};

/// The newest version the simulator was made for.
pub const NEWEST: &str = "2026-09-30.endive";

/// A release train: only its first release breaks shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Train {
    /// 2024-09-30 and its monthly releases.
    Acacia,
    /// 2025-03-31 and its monthly releases.
    Basil,
    /// 2025-09-30 and its monthly releases.
    Clover,
    /// 2026-03-25 and its monthly releases.
    Dahlia,
    /// 2026-09-30 and its monthly releases.
    Endive,
}

/// Every train with its name and first release.
const TRAINS: [(Train, &str, &str); 5] = [
    (Train::Acacia, "acacia", "2024-09-30"),
    (Train::Basil, "basil", "2025-03-31"),
    (Train::Clover, "clover", "2025-09-30"),
    (Train::Dahlia, "dahlia", "2026-03-25"),
    (Train::Endive, "endive", "2026-09-30"),
];
/// The release of basil that brought billing modes and brought billing thresholds back.
const BILLING_MODE_SINCE: &str = "2025-08-27";

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
        let (date, name) = written.split_once('.')?;
        date.parse::<jiff::civil::Date>().ok()?;
        let place = TRAINS.iter().position(|(_, known, _)| *known == name)?;
        let (train, _, first) = TRAINS[place];
        // Dates of equal length order as text. A train ends where the next one begins.
        let ended = TRAINS.get(place + 1).is_some_and(|(_, _, next)| date >= *next);
        (date >= first && !ended).then(|| Self { written: written.to_owned(), train })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Its train.
    pub fn train(&self) -> Train {
        self.train
    }

    /// The object, and every object within it, in this version's shape.
    pub fn render(&self, state: &State, object: &Value) -> Value {
        if self.train == Train::Endive { object.clone() } else { self.older(state, object) }
    }

    /// What an object was before a change, in this version's shape; what moved with it is told too.
    pub fn render_previous(&self, state: &State, kind: Kind, previous: &Value) -> Value {
        let mut rendered = self.render(state, previous);
        if self.train == Train::Acacia && kind == Kind::Subscription && previous["items"].is_object() {
            let (start, end) = period(previous);
            rendered["current_period_start"] = json!(start);
            rendered["current_period_end"] = json!(end);
        }
        rendered
    }

    fn older(&self, state: &State, value: &Value) -> Value {
        match value {
            Value::Array(values) => Value::Array(values.iter().map(|inner| self.older(state, inner)).collect()),
            // An event is frozen: what it holds is already in the shape of its endpoint.
            Value::Object(map) if map.get("object").and_then(Value::as_str) == Some("event") => value.clone(),
            Value::Object(map) => {
                let older = map.iter().map(|(field, inner)| (field.clone(), self.older(state, inner)));
                let mut older: Map<String, Value> = older.collect();
                self.rewrite(state, value, &mut older);
                Value::Object(older)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    /// Rewrites one object; those within it are older already.
    fn rewrite(&self, state: &State, newest: &Value, older: &mut Map<String, Value>) {
        let kind = text(newest, "object");
        for (train, of, fields) in BROUGHT {
            if self.train < *train && *of == kind {
                remove(older, fields);
            }
        }
        if kind == "subscription" && !self.has_billing_mode() {
            remove(older, &["billing_mode", "billing_thresholds"]);
        }
        if kind == "checkout.session" {
            if self.train < Train::Dahlia {
                older.insert("ui_mode".to_owned(), json!("hosted"));
            }
            let newer = if self.train < Train::Clover { CUSTOMER_DETAILS_OF_CLOVER } else { &[] };
            if let Some(Value::Object(details)) = older.get_mut("customer_details") {
                remove(details, newer);
            }
        }
        if self.train > Train::Acacia {
            return;
        }
        match kind {
            "invoice" => invoice(state, newest, older),
            "line_item" => line(state, newest, older),
            "subscription" => subscription(newest, older),
            "payment_intent" => put_extra(state, Kind::PaymentIntent, newest, older, &["invoice"]),
            "charge" => put_extra(state, Kind::Charge, newest, older, &["invoice"]),
            "invoiceitem" => invoice_item(state, newest, older),
            "credit_note" => {
                let refund = newest["refunds"][0]["refund"].clone();
                put(older, json!({ "refund": refund, "tax_amounts": [] }));
            }
            "credit_note_line_item" => put(
                older,
                json!({
                    "amount_excluding_tax": newest["amount"], "tax_amounts": [],
                    "unit_amount_excluding_tax": newest["unit_amount_decimal"],
                }),
            ),
            "checkout.session" => {
                older.insert("shipping_details".to_owned(), Value::Null);
            }
            _ => {}
        }
    }

    fn has_billing_mode(&self) -> bool {
        // Acacia had thresholds, and its own rewriting puts them back.
        self.train > Train::Basil || (self.train == Train::Basil && self.written.as_str() >= BILLING_MODE_SINCE)
    }
}

const CUSTOMER_DETAILS_OF_CLOVER: &[&str] = &["business_name", "individual_name"];

/// Fields by the train that brought them: an older version has never heard of them.
const BROUGHT: &[(Train, &str, &[&str])] = &[
    (Train::Endive, "refund", &["customer", "customer_account", "payment_method"]),
    (Train::Endive, "setup_intent", &["allowed_payment_method_types"]),
    (Train::Dahlia, "setup_intent", &["customer_account", "managed_payments"]),
    (Train::Dahlia, "payment_method", &["customer_account"]),
    (Train::Dahlia, "payment_link", &["managed_payments"]),
    (Train::Clover, "setup_intent", &["excluded_payment_method_types"]),
    (Train::Basil, "payment_link", &["optional_items"]),
    (Train::Basil, "checkout.session", &["presentment_details"]),
    (Train::Basil, "payment_intent", &["presentment_details"]),
    (Train::Basil, "charge", &["presentment_details"]),
    (Train::Basil, "refund", &["presentment_details"]),
    (Train::Endive, "subscription_schedule", &["pause_schedules"]),
    (Train::Dahlia, "subscription_schedule", &["customer_account"]),
    (Train::Dahlia, "invoiceitem", &["customer_account", "quantity_decimal"]),
    (Train::Clover, "invoiceitem", &["net_amount", "proration_details"]),
    (Train::Clover, "subscription_schedule", &["billing_mode"]),
    (Train::Basil, "invoiceitem", &["parent", "pricing"]),
    (Train::Dahlia, "credit_note", &["customer_account"]),
    (Train::Dahlia, "credit_note_line_item", &["metadata"]),
    (Train::Clover, "credit_note", &["post_payment_amount", "pre_payment_amount"]),
    (Train::Clover, "balance_transaction", &["balance_type"]),
    (Train::Basil, "credit_note", &["refunds", "total_taxes"]),
    (Train::Basil, "credit_note_line_item", &["taxes"]),
    (Train::Basil, "refund", &["pending_reason"]),
    (Train::Endive, "checkout.session", &["allowed_payment_method_types"]),
    (Train::Endive, "payment_intent", &["allowed_payment_method_types"]),
    (Train::Endive, "subscription", &["status_details"]),
    (Train::Endive, "invoice", &["amount_paid_off_stripe", "status_details"]),
    (Train::Dahlia, "customer", &["customer_account"]),
    (Train::Dahlia, "item", &["metadata"]),
    (Train::Dahlia, "product", &["tax_details"]),
    (Train::Dahlia, "line_item", &["subtotal", "quantity_decimal"]),
    (Train::Dahlia, "subscription", &["billing_schedules", "customer_account", "managed_payments"]),
    (Train::Dahlia, "subscription_item", &["current_trial"]),
    (Train::Dahlia, "invoice", &["customer_account"]),
    (Train::Dahlia, "payment_intent", &["customer_account", "managed_payments", "payment_record"]),
    (Train::Dahlia, "checkout.session", &["customer_account", "integration_identifier", "managed_payments"]),
    (Train::Clover, "payment_intent", &["excluded_payment_method_types"]),
    (Train::Clover, "checkout.session", &["origin_context"]),
    (Train::Basil, "checkout.session", &["collected_information", "permissions", "wallet_options"]),
    (Train::Basil, "subscription_item", &["current_period_start", "current_period_end"]),
    (Train::Basil, "invoice", &["parent", "amount_overpaid", "total_taxes", "confirmation_secret", "payments"]),
    (Train::Basil, "line_item", &["parent", "pricing", "taxes"]),
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
            "paid": text(newest, "status") == "paid",
            "paid_out_of_band": number(newest, "amount_paid_off_stripe") > 0, "quote": newest["parent"]["quote_details"]["quote"], "tax": newest["total_taxes"][0]["amount"],
            "total_tax_amounts": tax::older(&newest["total_taxes"]), "discount": null, "application_fee_amount": null, "transfer_data": null,
        }),
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
            "proration_details": { "credited_items": details["proration_details"]["credited_items"] }, "tax_amounts": tax::older(&newest["taxes"]), "tax_rates": [],
            "type": if details.is_null() || details["invoice_item"].is_string() { "invoiceitem" } else { "subscription" },
            "unit_amount_excluding_tax": newest["pricing"]["unit_amount_decimal"],
            "amount_excluding_tax": newest["amount"],
        }),
    );
    if let Some(item) = details["subscription_item"].as_str() {
        older.insert("subscription_item".to_owned(), json!(item));
    }
    if let Some(item) = details["invoice_item"].as_str().or(from_item["invoice_item"].as_str()) {
        older.insert("invoice_item".to_owned(), json!(item));
    }
}

fn invoice_item(state: &State, newest: &Value, older: &mut Map<String, Value>) {
    let price = state.get(Kind::Price, text(&newest["pricing"]["price_details"], "price"));
    let price = price.map(|record| record.object.clone()).unwrap_or_default();
    let details = &newest["parent"]["subscription_details"];
    put(
        older,
        json!({
            "plan": price::plan(&price), "subscription": details["subscription"],
            "subscription_item": details["subscription_item"], "unit_amount": price["unit_amount"],
            "unit_amount_decimal": price["unit_amount_decimal"], "price": price,
        }),
    );
}

/// The period of a subscription, told by its items.
fn period(subscription: &Value) -> (Option<i64>, Option<i64>) {
    let of_items = |field: &str| {
        let items = subscription["items"]["data"].as_array().into_iter().flatten();
        items.map(|item| number(item, field)).max()
    };
    (of_items("current_period_start"), of_items("current_period_end"))
}

fn subscription(newest: &Value, older: &mut Map<String, Value>) {
    let items = newest["items"]["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (start, end) = period(newest);
    // Only a subscription of one item has a plan and quantity of its own.
    let single = if let [item] = items { (item["plan"].clone(), item["quantity"].clone()) } else { Default::default() };
    put(
        older,
        json!({
            "billing_thresholds": null, "current_period_start": start, "current_period_end": end, "discount": null, "plan": single.0,
            "quantity": single.1,
        }),
    );
}
