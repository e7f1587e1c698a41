//! `invoice`, its line items and `invoice_payment`.

use serde_json::{Value, json};

use super::super::ids;
use super::super::state::{Kind, State, facts, number, text, with_fields, with_nulls};
use super::tax::{self, TaxRate};
use super::{collection, embedded_list, invoice_item, invoice_payment};

/// Filters of the list of invoices.
pub const FILTERS: &[&str] = &["customer", "subscription", "status"];
/// Filters of the list of invoice payments.
pub const PAYMENT_FILTERS: &[&str] = &["invoice", "status", "payment[type]", "payment[payment_intent]"];
/// Lines an invoice carries itself; the rest is paged.
const LINES_EMBEDDED: usize = 10;

/// A line to be made.
#[derive(Clone, Debug)]
pub struct DraftLine {
    /// The whole price.
    pub price: Value,
    /// How many.
    pub quantity: i64,
    /// The item it bills; none for an invoice item of its own.
    pub subscription_item: Option<String>,
    /// Unix seconds.
    pub period_start: i64,
    /// Unix seconds.
    pub period_end: i64,
    /// The line's metadata.
    pub metadata: Value,
    /// A trial costs nothing.
    pub free: bool,
    /// The invoice item it is made of, which says what it costs.
    pub from_item: Option<Value>,
}

impl DraftLine {
    /// The line an invoice item becomes.
    pub fn of_item(item: &Value, price: Value) -> Self {
        let details = &item["parent"]["subscription_details"];
        Self {
            price,
            quantity: number(item, "quantity"),
            subscription_item: details["subscription_item"].as_str().map(str::to_owned),
            period_start: number(&item["period"], "start"),
            period_end: number(&item["period"], "end"),
            metadata: item["metadata"].clone(),
            free: false,
            from_item: Some(item.clone()),
        }
    }
}

/// An invoice to be made and paid.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who pays.
    pub customer: String,
    /// The subscription it bills.
    pub subscription: Option<String>,
    /// Why it was made.
    pub billing_reason: String,
    /// The invoice's own metadata.
    pub metadata: Value,
    /// The quote it came of.
    pub quote: Option<String>,
    /// What is billed; their sum was checked.
    pub lines: Vec<DraftLine>,
}

/// Makes a draft; one that finalizes itself does so at the time given, and is then charged.
pub fn draft(state: &mut State, draft: &Draft, finalizes_at: Option<i64>) -> String {
    let currency = draft.lines.first().map(|line| line.price["currency"].clone()).unwrap_or_default();
    draft_in(state, draft, &currency, finalizes_at)
}

/// The same in a currency that its lines, if there are any, have too.
pub fn draft_in(state: &mut State, draft: &Draft, currency: &Value, finalizes_at: Option<i64>) -> String {
    let id = ids::fresh("in");
    let mut lines: Vec<Value> = draft.lines.iter().map(|line| invoice_line(&id, draft, line)).collect();
    let of = draft.subscription.as_ref().and_then(|of| state.get(Kind::Subscription, of));
    let coupon = of.and_then(|record| record.extra.get("coupon")?.as_str().map(str::to_owned));
    let rate = tax::rate(state, of.is_some_and(|record| record.object["automatic_tax"]["enabled"] == json!(true)));
    let discount = coupon.as_ref().map(|_| ids::fresh("di"));
    if let (Some(coupon), Some(discount)) = (&coupon, &discount) {
        tax::discount_lines(&mut lines, coupon, discount);
    }
    let sums = Sums::of(&mut lines, rate);
    let mut object = build(state, &id, draft, currency, &lines, sums.total);
    sums.write(&mut object, discount.as_deref());
    object["auto_advance"] = json!(finalizes_at.is_some());
    object["automatically_finalizes_at"] = json!(finalizes_at);
    state.insert(Kind::Invoice, object, facts(json!({ "lines": lines })));
    for item in draft.lines.iter().filter_map(|line| line.from_item.as_ref()) {
        state.set(Kind::InvoiceItem, text(item, "id"), json!({ "invoice": id }));
    }
    state.emit("invoice.created", Kind::Invoice, &id);
    id
}

/// Adds the line of an invoice item to a draft, and reckons the draft anew.
pub fn add_line(state: &mut State, id: &str, line: &DraftLine, (item, description): (&str, Option<&str>)) {
    let Some(record) = state.get(Kind::Invoice, id) else { return };
    let (mut object, extra) = (record.object.clone(), record.extra.clone());
    let draft = Draft {
        customer: text(&object, "customer").to_owned(),
        subscription: object["parent"]["subscription_details"]["subscription"].as_str().map(str::to_owned),
        billing_reason: text(&object, "billing_reason").to_owned(),
        metadata: object["metadata"].clone(),
        quote: None,
        lines: Vec::new(),
    };
    let mut made = invoice_line(id, &draft, line);
    made["parent"]["invoice_item_details"]["invoice_item"] = json!(item);
    made["description"] = json!(description);
    let mut lines = extra.get("lines").and_then(Value::as_array).cloned().unwrap_or_default();
    lines.push(made);
    let rate = tax::rate(state, object["automatic_tax"]["enabled"] == json!(true));
    let sums = Sums::of(&mut lines, rate);
    sums.write(&mut object, None);
    for field in ["amount_due", "amount_remaining", "total"] {
        object[field] = json!(sums.total);
    }
    object["lines"] = first_lines(id, &lines);
    state.set(Kind::Invoice, id, object);
    state.set_extra(Kind::Invoice, id, "lines", json!(lines));
}

/// What an invoice's lines come to.
#[derive(Clone, Debug)]
struct Sums {
    subtotal: i64,
    off: i64,
    taxes: Value,
    /// The tax that is within the prices.
    within: i64,
    total: i64,
}

impl Sums {
    /// Adds the lines up, and writes each one's tax.
    fn of(lines: &mut [Value], rate: TaxRate) -> Self {
        let (mut subtotal, mut off, mut tax) = (0_i64, 0_i64, 0_i64);
        for line in lines.iter_mut() {
            let amount = number(line, "amount");
            let own = number(&line["discount_amounts"][0], "amount");
            let net = amount.saturating_sub(own);
            line["taxes"] = rate.written(net);
            subtotal = subtotal.saturating_add(amount);
            off = off.saturating_add(own);
            tax = tax.saturating_add(rate.of(net));
        }
        let net = subtotal.saturating_sub(off);
        let mut taxes = rate.written(net);
        if let Some(sum) = taxes.get_mut(0) {
            // The lines' taxes were rounded one by one.
            sum["amount"] = json!(tax);
        }
        let (within, on_top) = if rate.inclusive { (tax, 0) } else { (0, tax) };
        Self { subtotal, off, taxes, within, total: net.saturating_add(on_top) }
    }

    fn write(&self, invoice: &mut Value, discount: Option<&str>) {
        let net = self.subtotal.saturating_sub(self.off);
        invoice["subtotal"] = json!(self.subtotal);
        invoice["subtotal_excluding_tax"] = json!(self.subtotal.saturating_sub(self.within));
        invoice["total_excluding_tax"] = json!(net.saturating_sub(self.within));
        invoice["total_taxes"] = self.taxes.clone();
        if self.taxes.get(0).is_some() {
            invoice["automatic_tax"]["enabled"] = json!(true);
            invoice["automatic_tax"]["status"] = json!("complete");
        }
        if let Some(discount) = discount {
            invoice["discounts"] = json!([discount]);
            invoice["total_discount_amounts"] = json!([{ "amount": self.off, "discount": discount }]);
        }
    }
}

/// Makes, finalizes and pays an invoice, with its payment intent, charge, invoice payment and events.
pub fn make_paid(state: &mut State, order: &Draft) -> String {
    let id = draft(state, order, Some(state.now));
    collection::finalize(state, &id);
    invoice_payment::pay_by_buyer(state, &id);
    id
}

fn build(state: &State, id: &str, draft: &Draft, currency: &Value, lines: &[Value], total: i64) -> Value {
    let customer = state.get(Kind::Customer, &draft.customer).map(|record| record.object.clone()).unwrap_or_default();
    let period_start = draft.lines.iter().map(|line| line.period_start).min().unwrap_or(state.now);
    let period_end = draft.lines.iter().map(|line| line.period_end).max().unwrap_or(state.now);
    // Stripe's invoice period is the time before its creation for a first invoice, the past period for a renewal.
    let (start, end) = if draft.billing_reason == "subscription_create" {
        (period_start, period_start)
    } else {
        (period_start.min(state.now), period_start.max(state.now).min(period_end))
    };
    let who_and_how_much = json!({
        "id": id, "object": "invoice", "account_country": "US", "account_name": "Simulated account",
        "amount_due": total, "amount_overpaid": 0, "amount_paid": 0, "amount_remaining": total,
        "amount_paid_off_stripe": 0, "amount_shipping": 0, "attempt_count": 0, "attempted": false,
        "auto_advance": true,
        "automatic_tax": {
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null
        },
        "billing_reason": draft.billing_reason, "collection_method": "charge_automatically",
        "created": state.now, "currency": currency, "customer": draft.customer,
        "customer_email": customer["email"], "customer_name": customer["name"],
        "customer_phone": customer["phone"], "customer_tax_exempt": "none", "customer_tax_ids": [],
    });
    let what = json!({
        "default_tax_rates": [], "discounts": [], "hosted_invoice_url": null, "invoice_pdf": null,
        "issuer": { "type": "self" }, "lines": first_lines(id, lines), "livemode": false,
        "metadata": draft.metadata, "parent": parent(state, draft),
        "payment_settings": {
            "default_mandate": null, "payment_method_options": null, "payment_method_types": null
        },
        "period_end": end, "period_start": start, "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0, "starting_balance": 0, "status": "draft",
        "status_transitions": {
            "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null
        },
        "subtotal": total, "subtotal_excluding_tax": total, "total": total, "total_discount_amounts": [],
        "total_excluding_tax": total, "total_pretax_credit_amounts": [], "total_taxes": [],
        "webhooks_delivered_at": state.now,
    });
    with_nulls(
        with_fields(who_and_how_much, what),
        &[
            "account_tax_ids",
            "application",
            "automatically_finalizes_at",
            "custom_fields",
            "customer_account",
            "customer_address",
            "customer_shipping",
            "default_payment_method",
            "default_source",
            "description",
            "due_date",
            "effective_at",
            "ending_balance",
            "footer",
            "from_invoice",
            "last_finalization_error",
            "latest_revision",
            "next_payment_attempt",
            "number",
            "on_behalf_of",
            "receipt_number",
            "rendering",
            "shipping_cost",
            "shipping_details",
            "statement_descriptor",
            "test_clock",
        ],
    )
}

fn first_lines(invoice: &str, lines: &[Value]) -> Value {
    let first: Vec<Value> = lines.iter().take(LINES_EMBEDDED).cloned().collect();
    let mut list = embedded_list(&first, &format!("/v1/invoices/{invoice}/lines"));
    list["has_more"] = json!(lines.len() > LINES_EMBEDDED);
    list["total_count"] = json!(lines.len());
    list
}

fn parent(state: &State, draft: &Draft) -> Value {
    let Some(id) = &draft.subscription else {
        return draft.quote.as_ref().map_or(Value::Null, |quote| {
            json!({ "quote_details": { "quote": quote }, "subscription_details": null, "type": "quote_details" })
        });
    };
    let metadata = state.get(Kind::Subscription, id).map(|record| record.object["metadata"].clone());
    json!({
        "quote_details": draft.quote.as_ref().map(|quote| json!({ "quote": quote })),
        "subscription_details": { "metadata": metadata, "subscription": id },
        "type": "subscription_details",
    })
}

fn invoice_line(invoice: &str, draft: &Draft, line: &DraftLine) -> Value {
    // The product was checked against the largest amount before anything was written.
    let own = line.from_item.as_ref();
    let amount = if let Some(item) = own {
        number(item, "amount")
    } else if line.free {
        0
    } else {
        number(&line.price, "unit_amount").saturating_mul(line.quantity)
    };
    let unit = if line.free { json!("0") } else { line.price["unit_amount_decimal"].clone() };
    let parent = match (&line.subscription_item, own) {
        (_, Some(own)) => invoice_item::line_parent(own),
        (Some(item), None) => json!({
            "invoice_item_details": null, "type": "subscription_item_details",
            "subscription_item_details": {
                "invoice_item": null, "proration": false, "proration_details": { "credited_items": null },
                "subscription": draft.subscription, "subscription_item": item,
            },
        }),
        (None, None) => json!({
            "subscription_item_details": null, "type": "invoice_item_details",
            "invoice_item_details": {
                "invoice_item": ids::fresh("ii"), "proration": false,
                "proration_details": { "credited_items": null }, "subscription": draft.subscription,
            },
        }),
    };
    json!({
        "id": ids::fresh("il"), "object": "line_item", "amount": amount, "currency": line.price["currency"],
        "description": own.map(|item| item["description"].clone()), "discount_amounts": [],
        "discountable": own.is_none_or(|item| item["discountable"] == json!(true)), "discounts": [], "invoice": invoice,
        "livemode": false, "metadata": line.metadata, "parent": parent,
        "period": { "end": line.period_end, "start": line.period_start }, "pretax_credit_amounts": [],
        "pricing": {
            "price_details": { "price": line.price["id"], "product": line.price["product"] },
            "type": "price_details", "unit_amount_decimal": unit,
        },
        "quantity": line.quantity, "quantity_decimal": line.quantity.to_string(),
        "subscription": draft.subscription, "subtotal": amount, "taxes": [],
    })
}
