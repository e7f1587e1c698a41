//! Invoices made by requests: a draft that takes nothing lying about, and its items one by one.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_nulls};
use super::invoice::{self, Draft, DraftLine};
use super::subscription::QUANTITY_MAX;
use super::{AMOUNT_MAX, payment_method};

/// Parameters of a draft.
pub const ACCEPTED: &[&str] = &[
    "customer",
    "currency",
    "auto_advance",
    "pending_invoice_items_behavior",
    "default_payment_method",
    "automatic_tax[enabled]",
    "description",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of an item.
pub const ITEM: &[&str] = &[
    "customer",
    "invoice",
    "pricing[price]",
    "quantity",
    "amount",
    "currency",
    "description",
    "metadata[*]",
    "metadata",
    "expand[]",
];

/// `POST /v1/invoices`: a draft without lines. What waits for a customer's next invoice is never taken in, so only a
/// request that says so is served.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    state.named(Kind::Customer, &customer, "customer")?;
    let currency = params.currency("currency")?.ok_or_else(|| Refusal::missing("currency"))?;
    if params.one_of("pending_invoice_items_behavior", &["exclude"])?.is_none() {
        return Err(Refusal::missing("pending_invoice_items_behavior"));
    }
    if params.boolean("auto_advance")? != Some(false) {
        let message = "The simulator makes invoices by hand only with `auto_advance=false`.";
        return Err(Refusal::invalid(message).with("param", json!("auto_advance")));
    }
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
    let id = invoice::draft_in(state, &order, &json!(currency), None);
    let mut changes = json!({ "default_payment_method": method, "description": description });
    if taxed {
        changes["automatic_tax"] = json!({
            "disabled_reason": null, "enabled": true, "liability": { "type": "self" }, "provider": "stripe",
            "status": "requires_location_inputs",
        });
    }
    state.set(Kind::Invoice, &id, changes);
    Ok(state.found(Kind::Invoice, &id)?.object.clone())
}

/// `POST /v1/invoiceitems`: a line on one draft.
pub fn add_item(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let customer = params.required("customer")?;
    let of = params.required("invoice")?;
    let invoice = state.named(Kind::Invoice, &of, "invoice")?.object.clone();
    if text(&invoice, "status") != "draft" || text(&invoice, "customer") != customer {
        return Err(
            Refusal::invalid("Items are added to a draft of the same customer.").with("param", json!("invoice"))
        );
    }
    let (price, quantity, amount) = item_price(state, params, &invoice)?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    let description = params.string("description")?;
    // From here it must succeed.
    let id = ids::fresh("ii");
    let item = with_nulls(
        json!({
            "id": id, "object": "invoiceitem", "amount": amount, "currency": price["currency"], "customer": customer,
            "date": state.now, "description": description, "discountable": true, "discounts": [], "invoice": of,
            "livemode": false, "metadata": metadata, "net_amount": amount,
            "period": { "end": state.now, "start": state.now },
            "pricing": {
                "price_details": { "price": price["id"], "product": price["product"] },
                "type": "price_details", "unit_amount_decimal": price["unit_amount_decimal"],
            },
            "proration": false, "quantity": quantity, "quantity_decimal": quantity.to_string(), "tax_rates": [],
        }),
        &["customer_account", "parent", "proration_details", "test_clock"],
    );
    state.insert(Kind::InvoiceItem, item, Map::new());
    state.emit("invoiceitem.created", Kind::InvoiceItem, &id);
    let line = DraftLine {
        price,
        quantity,
        subscription_item: None,
        period_start: state.now,
        period_end: state.now,
        metadata,
        free: false,
        from_item: None,
    };
    invoice::add_line(state, &of, &line, &id);
    Ok(state.found(Kind::InvoiceItem, &id)?.object.clone())
}

/// What an item costs: so many of a price, or an amount, of which Stripe makes a price of its own.
fn item_price(state: &State, params: &Params, invoice: &Value) -> Result<(Value, i64, i64), Refusal> {
    if let Some(amount) = params.integer_between("amount", -AMOUNT_MAX, AMOUNT_MAX)? {
        if params.has("pricing[price]") || params.has("quantity") {
            let message = "You may only specify one of these parameters: amount, pricing.";
            return Err(Refusal::invalid(message).with("param", json!("amount")));
        }
        let currency = params.currency("currency")?.ok_or_else(|| Refusal::missing("currency"))?;
        if invoice["currency"] != json!(currency) {
            let message = "An invoice item has the currency of its invoice.";
            return Err(Refusal::invalid(message).with("param", json!("currency")));
        }
        let price = json!({
            "id": ids::fresh("price"), "product": ids::fresh("prod"), "currency": currency, "unit_amount": amount,
            "unit_amount_decimal": amount.to_string(), "recurring": null,
        });
        return Ok((price, 1, amount));
    }
    let price_id = params.required("pricing[price]")?;
    let price = state.named(Kind::Price, &price_id, "pricing[price]")?.object.clone();
    if !price["recurring"].is_null() || price["currency"] != invoice["currency"] {
        let message = "An invoice item takes a one-time price in the invoice's currency.";
        return Err(Refusal::invalid(message).with("param", json!("pricing[price]")));
    }
    let quantity = params.integer_between("quantity", 1, QUANTITY_MAX)?.unwrap_or(1);
    let amount = number(&price, "unit_amount").checked_mul(quantity).filter(|amount| *amount <= AMOUNT_MAX);
    let amount = amount.ok_or_else(|| Refusal::parameter("amount_too_large", "quantity", "The total is too large."))?;
    Ok((price, quantity, amount))
}
