//! `credit_note`: what is taken off an invoice, before it is paid or afterwards.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, facts, number, text, with_nulls};
use super::refund::{self, Order};
use super::subscription::QUANTITY_MAX;
use super::{AMOUNT_MAX, collection, customer, embedded_list};

/// Parameters of a creation in every version.
pub const ACCEPTED: &[&str] = &[
    "invoice",
    "amount",
    "lines[][type]",
    "lines[][invoice_line_item]",
    "lines[][quantity]",
    "lines[][amount]",
    "lines[][unit_amount]",
    "lines[][description]",
    "refund_amount",
    "credit_amount",
    "out_of_band_amount",
    "reason",
    "memo",
    "metadata[*]",
    "metadata",
    "expand[]",
];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["memo", "metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["invoice", "customer"];
/// Reasons a note can have.
const REASONS: &[&str] = &["duplicate", "fraudulent", "order_change", "product_unsatisfactory"];
/// Lines of one note.
const LINES_MAX: usize = 100;
/// Lines a note carries itself; the rest is paged.
const LINES_EMBEDDED: usize = 10;

/// How a paid invoice's credit reaches its customer.
#[derive(Clone, Copy, Debug, Default)]
struct Split {
    refund: i64,
    credit: i64,
    outside: i64,
}

/// `POST /v1/credit_notes`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let invoice_id = params.required("invoice")?;
    let invoice = state.named(Kind::Invoice, &invoice_id, "invoice")?.object.clone();
    let status = text(&invoice, "status").to_owned();
    if !["open", "paid", "uncollectible"].contains(&status.as_str()) {
        let message = "Credit notes can only be issued for invoices that are open, paid or uncollectible.";
        return Err(Refusal::invalid(message).with("param", json!("invoice")));
    }
    let lines = read_lines(state, &invoice, params)?;
    let total = lines.iter().map(|line| number(line, "amount")).fold(0_i64, i64::saturating_add);
    let post = status == "paid";
    let split = read_split(params, post, total)?;
    check_total(&invoice, post, total)?;
    let charge = state.get(Kind::Invoice, &invoice_id).and_then(|record| record.extra.get("charge").cloned());
    let refund = match charge.as_ref().and_then(Value::as_str) {
        _ if split.refund == 0 => None,
        Some(charge) => {
            let amount = refund::check(state, charge, Some(split.refund))?;
            Some(Order { charge: charge.to_owned(), amount, reason: None, metadata: json!({}) })
        }
        None => {
            let message = "The invoice has no charge to refund; use `credit_amount` or `out_of_band_amount`.";
            return Err(Refusal::invalid(message).with("param", json!("refund_amount")));
        }
    };
    let note = build(state, params, &invoice, lines, total)?;
    // From here it must succeed.
    let refund = refund.map(|order| refund::make(state, &order));
    let id = issue(state, note, split, refund);
    settle_invoice(state, &invoice_id, post, total);
    Ok(state.found(Kind::CreditNote, &id)?.object.clone())
}

fn read_lines(state: &State, invoice: &Value, params: &Params) -> Result<Vec<Value>, Refusal> {
    let asked = params.children("lines")?;
    let amount = params.integer_between("amount", 1, AMOUNT_MAX)?;
    if asked.len() > LINES_MAX {
        return Err(Refusal::invalid(&format!("A credit note can have up to {LINES_MAX} lines.")));
    }
    match amount {
        Some(_) if !asked.is_empty() => {
            let message = "You may only specify one of these parameters: amount, lines.";
            Err(Refusal::invalid(message).with("param", json!("amount")))
        }
        Some(amount) => Ok(vec![line(None, amount, None, None)]),
        None if asked.is_empty() => Err(Refusal::missing("amount")),
        None => {
            let mut lines = Vec::new();
            for one in &asked {
                let read = read_line(state, invoice, one, &lines)?;
                lines.push(read);
            }
            Ok(lines)
        }
    }
}

fn read_line(state: &State, invoice: &Value, asked: &Params, before: &[Value]) -> Result<Value, Refusal> {
    let kind = asked.one_of("type", &["invoice_line_item", "custom_line_item"])?;
    let kind = kind.ok_or_else(|| Refusal::missing(&asked.name("type")))?;
    let quantity = asked.integer_between("quantity", 1, QUANTITY_MAX)?;
    let amount = asked.integer_between("amount", 1, AMOUNT_MAX)?;
    let unit = asked.integer_between("unit_amount", 1, AMOUNT_MAX)?;
    let description = asked.string("description")?;
    if amount.is_some() && quantity.is_some() {
        let message = "You may only specify one of these parameters: amount, quantity.";
        return Err(Refusal::invalid(message).with("param", json!(asked.name("amount"))));
    }
    if kind == "custom_line_item" {
        if asked.has("invoice_line_item") {
            return Err(Refusal::unknown_parameter(&asked.name("invoice_line_item")));
        }
        let units = unit.and_then(|unit| unit.checked_mul(quantity.unwrap_or(1))).filter(|sum| *sum <= AMOUNT_MAX);
        let amount = amount.or(units).ok_or_else(|| Refusal::missing(&asked.name("amount")))?;
        return Ok(line(None, amount, quantity, description.as_deref()));
    }
    if unit.is_some() || description.is_some() {
        let field = if unit.is_some() { "unit_amount" } else { "description" };
        return Err(Refusal::unknown_parameter(&asked.name(field)));
    }
    let id = asked.required("invoice_line_item")?;
    let lines = state.get(Kind::Invoice, text(invoice, "id")).and_then(|record| record.extra.get("lines")?.as_array());
    let of = lines.into_iter().flatten().find(|line| text(line, "id") == id);
    let of = of.ok_or_else(|| Refusal::no_such("invoice line item", &id, &asked.name("invoice_line_item")))?;
    let (whole, units) = (net(of), number(of, "quantity").max(1));
    let amount = match (amount, quantity) {
        (Some(amount), _) => amount,
        // Both are bounded by what an invoice can be, so the product fits.
        (None, Some(quantity)) => whole.saturating_mul(quantity) / units,
        (None, None) => return Err(Refusal::missing(&asked.name("quantity"))),
    };
    if amount.saturating_add(credited(state, &id, before)) > whole || quantity.is_some_and(|asked| asked > units) {
        let message = "The credit is more than what is left of the line.";
        return Err(Refusal::invalid(message).with("param", json!(asked.name("invoice_line_item"))));
    }
    let mut read = line(Some(&id), amount, quantity, of["description"].as_str());
    read["metadata"] = of["metadata"].clone();
    Ok(read)
}

/// What a line cost after its discounts.
fn net(line: &Value) -> i64 {
    let off = line["discount_amounts"].as_array().into_iter().flatten().map(|off| number(off, "amount"));
    off.fold(number(line, "amount"), i64::saturating_sub)
}

/// What earlier notes, and earlier lines of this one, have credited of an invoice's line.
fn credited(state: &State, line: &str, before: &[Value]) -> i64 {
    let issued = state.all(Kind::CreditNote).filter(|record| text(&record.object, "status") == "issued");
    let issued = issued.filter_map(|record| record.extra.get("lines")?.as_array()).flatten();
    let of_line = issued.chain(before).filter(|found| text(found, "invoice_line_item") == line);
    of_line.map(|found| number(found, "amount")).fold(0_i64, i64::saturating_add)
}

fn line(invoice_line: Option<&str>, amount: i64, quantity: Option<i64>, description: Option<&str>) -> Value {
    let unit = quantity.map(|quantity| amount / quantity.max(1));
    let mut line = json!({
        "id": ids::fresh("cnli"), "object": "credit_note_line_item", "amount": amount, "description": description,
        "discount_amount": 0, "discount_amounts": [], "livemode": false, "metadata": {},
        "pretax_credit_amounts": [], "quantity": quantity, "tax_rates": [], "taxes": [],
        "type": if invoice_line.is_some() { "invoice_line_item" } else { "custom_line_item" },
        "unit_amount": unit, "unit_amount_decimal": unit.map(|unit| unit.to_string()),
    });
    if let Some(invoice_line) = invoice_line {
        line["invoice_line_item"] = json!(invoice_line);
    }
    line
}

fn read_split(params: &Params, post: bool, total: i64) -> Result<Split, Refusal> {
    let read = |field: &str| params.integer_between(field, 0, AMOUNT_MAX).map(Option::unwrap_or_default);
    let split =
        Split { refund: read("refund_amount")?, credit: read("credit_amount")?, outside: read("out_of_band_amount")? };
    let sum = split.refund.saturating_add(split.credit).saturating_add(split.outside);
    if post && sum != total {
        let message = "The sum of credit amount, refund amount and out of band amount must equal the credit note \
                       amount of a paid invoice.";
        return Err(Refusal::invalid(message).with("param", json!("refund_amount")));
    }
    if !post && sum > 0 {
        let message = "`refund_amount`, `credit_amount` and `out_of_band_amount` are for paid invoices only.";
        return Err(Refusal::invalid(message).with("param", json!("refund_amount")));
    }
    Ok(split)
}

fn check_total(invoice: &Value, post: bool, total: i64) -> Result<(), Refusal> {
    let left = if post {
        number(invoice, "total")
            .saturating_sub(number(invoice, "post_payment_credit_notes_amount"))
            .saturating_sub(number(invoice, "pre_payment_credit_notes_amount"))
    } else {
        number(invoice, "amount_remaining")
    };
    if total > left {
        let message = format!("The credit note's total ({total}) is more than what is left of the invoice ({left}).");
        return Err(Refusal::invalid(&message).with("param", json!("amount")));
    }
    Ok(())
}

fn build(
    state: &State,
    params: &Params,
    invoice: &Value,
    lines: Vec<Value>,
    total: i64,
) -> Result<(Value, Vec<Value>), Refusal> {
    let id = ids::fresh("cn");
    let (of, post) = (text(invoice, "id"), text(invoice, "status") == "paid");
    let earlier = state.all(Kind::CreditNote).filter(|record| text(&record.object, "invoice") == of).count();
    let first: Vec<Value> = lines.iter().take(LINES_EMBEDDED).cloned().collect();
    let mut list = embedded_list(&first, &format!("/v1/credit_notes/{id}/lines"));
    list["has_more"] = json!(lines.len() > LINES_EMBEDDED);
    list["total_count"] = json!(lines.len());
    let note = with_nulls(
        json!({
            "id": id, "object": "credit_note", "amount": total, "amount_shipping": 0, "created": state.now,
            "currency": invoice["currency"], "customer": invoice["customer"], "discount_amount": 0,
            "discount_amounts": [], "effective_at": state.now, "invoice": of, "lines": list, "livemode": false,
            "memo": params.string("memo")?, "metadata": params.metadata("metadata", &Value::Null)?,
            "number": format!("{}-CN-{:02}", text(invoice, "number"), earlier.saturating_add(1)),
            "pdf": format!("{}/credit_notes/{id}/pdf", state.base_url),
            "post_payment_amount": if post { total } else { 0 }, "pre_payment_amount": if post { 0 } else { total },
            "pretax_credit_amounts": [], "reason": params.one_of("reason", REASONS)?, "refunds": [],
            "status": "issued", "subtotal": total, "subtotal_excluding_tax": total, "total": total,
            "total_excluding_tax": total, "total_taxes": [], "type": if post { "post_payment" } else { "pre_payment" },
        }),
        &["customer_account", "customer_balance_transaction", "out_of_band_amount", "shipping_cost", "voided_at"],
    );
    Ok((note, lines))
}

fn issue(state: &mut State, (mut note, lines): (Value, Vec<Value>), split: Split, refund: Option<String>) -> String {
    if let Some(refund) = refund {
        note["refunds"] = json!([{
            "amount_refunded": split.refund, "payment_record_refund": null, "refund": refund, "type": "refund",
        }]);
    }
    if split.outside > 0 {
        note["out_of_band_amount"] = json!(split.outside);
    }
    if split.credit > 0 {
        note["customer_balance_transaction"] = json!(ids::fresh("cbtxn"));
        customer::move_balance(state, text(&note, "customer"), split.credit.saturating_neg());
    }
    let id = state.insert(Kind::CreditNote, note, facts(json!({ "lines": lines })));
    state.emit("credit_note.created", Kind::CreditNote, &id);
    id
}

fn settle_invoice(state: &mut State, invoice: &str, post: bool, by: i64) {
    let Some(before) = state.get(Kind::Invoice, invoice).map(|record| record.object.clone()) else { return };
    let moved = |field: &str, by: i64| number(&before, field).saturating_add(by);
    let changes = if post {
        json!({ "post_payment_credit_notes_amount": moved("post_payment_credit_notes_amount", by) })
    } else {
        json!({
            "pre_payment_credit_notes_amount": moved("pre_payment_credit_notes_amount", by),
            "amount_due": moved("amount_due", by.saturating_neg()),
            "amount_remaining": moved("amount_remaining", by.saturating_neg()),
        })
    };
    let previous: Map<String, Value> =
        facts(changes.clone()).keys().map(|field| (field.clone(), before[field.as_str()].clone())).collect();
    state.set(Kind::Invoice, invoice, changes);
    state.emit_change("invoice.updated", Kind::Invoice, invoice, Some(Value::Object(previous)));
    if !post && by > 0 {
        collection::close_if_nothing_remains(state, invoice);
    }
}

/// `POST /v1/credit_notes/{id}/void`: only while the invoice is open.
pub fn void(state: &mut State, id: &str) -> Result<Value, Refusal> {
    let note = state.found(Kind::CreditNote, id)?.object.clone();
    let invoice = text(&note, "invoice");
    let open = state.get(Kind::Invoice, invoice).is_some_and(|record| text(&record.object, "status") == "open");
    if text(&note, "status") != "issued" || !open {
        return Err(Refusal::invalid("You can only void an issued credit note whose invoice is open."));
    }
    // From here it must succeed.
    state.set(Kind::CreditNote, id, json!({ "status": "void", "voided_at": state.now }));
    state.emit("credit_note.voided", Kind::CreditNote, id);
    settle_invoice(state, invoice, false, number(&note, "total").saturating_neg());
    Ok(state.found(Kind::CreditNote, id)?.object.clone())
}

/// `POST /v1/credit_notes/{id}`: its memo and metadata.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::CreditNote, id)?.object.clone();
    let mut changes = Map::new();
    changes.insert("metadata".to_owned(), params.metadata("metadata", &before["metadata"])?);
    if let Some(memo) = super::update_text(params, "memo", true)? {
        changes.insert("memo".to_owned(), memo);
    }
    changes.retain(|field, value| before[field.as_str()] != *value);
    if !changes.is_empty() {
        let previous: Map<String, Value> =
            changes.keys().map(|field| (field.clone(), before[field.as_str()].clone())).collect();
        state.set(Kind::CreditNote, id, Value::Object(changes));
        state.emit_change("credit_note.updated", Kind::CreditNote, id, Some(Value::Object(previous)));
    }
    Ok(state.found(Kind::CreditNote, id)?.object.clone())
}
