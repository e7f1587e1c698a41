//! `charge`: one attempt to move the money of a payment intent, written to the log.

use serde_json::{Value, json};

use super::super::ids;
use super::super::log::{ChargeEntry, Entry};
use super::super::state::{Kind, State, facts, number, text, with_nulls};
use super::balance::{self, Movement};
use super::payment_intent::Decline;

/// Filters of the list.
pub const FILTERS: &[&str] = &["customer", "payment_intent"];

/// Makes the charge of a payment intent, succeeded or declined, and its event.
pub fn make(state: &mut State, payment_intent: &str, decline: Option<&Decline>) -> String {
    let Some(record) = state.get(Kind::PaymentIntent, payment_intent) else { return String::new() };
    let (intent, extra) = (record.object.clone(), record.extra.clone());
    let id = ids::fresh("ch");
    let amount = number(&intent, "amount");
    let paid = decline.is_none();
    let captured = paid && text(&intent, "capture_method") != "manual";
    let moved = if captured { amount } else { 0 };
    let charge = with_nulls(
        json!({
            "id": id, "object": "charge", "amount": amount, "amount_captured": moved, "amount_refunded": 0,
            "balance_transaction": null,
            "billing_details": { "address": null, "email": null, "name": null, "phone": null, "tax_id": null },
            "calculated_statement_descriptor": "SIMULATED", "captured": captured, "created": state.now,
            "currency": intent["currency"], "customer": intent["customer"], "description": intent["description"],
            "disputed": false, "failure_code": decline.map(|found| found.code.as_str()),
            "failure_message": decline.map(|found| found.message.as_str()), "fraud_details": {}, "livemode": false,
            "metadata": intent["metadata"], "outcome": outcome(decline), "paid": paid,
            "payment_intent": payment_intent, "payment_method": intent["payment_method"],
            "payment_method_details": card_details(amount), "receipt_email": intent["receipt_email"],
            "receipt_url": null, "refunded": false, "status": if paid { "succeeded" } else { "failed" },
        }),
        &[
            "application",
            "application_fee",
            "application_fee_amount",
            "failure_balance_transaction",
            "on_behalf_of",
            "receipt_number",
            "review",
            "shipping",
            "source",
            "source_transfer",
            "statement_descriptor",
            "statement_descriptor_suffix",
            "transfer_data",
            "transfer_group",
        ],
    );
    state.log.push(Entry::Charge(ChargeEntry {
        at: state.now,
        charge: id.clone(),
        payment_intent: payment_intent.to_owned(),
        amount,
        currency: text(&intent, "currency").to_owned(),
        customer: intent["customer"].as_str().map(str::to_owned),
        succeeded: captured,
    }));
    let invoice = extra.get("invoice").cloned().unwrap_or(Value::Null);
    state.insert(Kind::Charge, charge, facts(json!({ "invoice": invoice })));
    if intent["presentment_details"].is_object() {
        let details = intent["presentment_details"].clone();
        state.set(Kind::Charge, &id, json!({ "presentment_details": details }));
    }
    if captured {
        let movement = Movement { kind: "charge", amount, fee: balance::charge_fee(amount), source: &id };
        let transaction = balance::book(state, &movement, text(&intent, "currency"));
        state.set(Kind::Charge, &id, json!({ "balance_transaction": transaction }));
    }
    state.emit(if paid { "charge.succeeded" } else { "charge.failed" }, Kind::Charge, &id);
    id
}

/// Takes the money that was set aside, or a part of it; the rest goes back as a refund.
pub fn capture(state: &mut State, id: &str, amount: i64) {
    let Some(charge) = state.get(Kind::Charge, id).map(|record| record.object.clone()) else { return };
    let owned = |field: &str| text(&charge, field).to_owned();
    let movement = Movement { kind: "charge", amount, fee: balance::charge_fee(amount), source: id };
    let transaction = balance::book(state, &movement, &owned("currency"));
    let rest = number(&charge, "amount").saturating_sub(amount);
    let changes = json!({
        "captured": true, "amount_captured": amount, "balance_transaction": transaction, "amount_refunded": rest,
    });
    state.set(Kind::Charge, id, changes);
    state.log.push(Entry::Charge(ChargeEntry {
        at: state.now,
        charge: id.to_owned(),
        payment_intent: owned("payment_intent"),
        amount,
        currency: owned("currency"),
        customer: charge["customer"].as_str().map(str::to_owned),
        succeeded: true,
    }));
    state.emit_change("charge.captured", Kind::Charge, id, Some(json!({ "captured": false, "amount_captured": 0 })));
}

fn outcome(decline: Option<&Decline>) -> Value {
    let advice = decline.and_then(|found| found.advice.as_deref());
    let status = if decline.is_some() { "declined_by_network" } else { "approved_by_network" };
    with_nulls(
        json!({
            "advice_code": advice, "network_status": status, "reason": decline.and_then(|found| found.reason.as_deref()),
            "risk_level": "normal", "risk_score": 1, "seller_message": decline.map_or("Payment complete.", |found| found.message.as_str()),
            "type": if decline.is_some() { "issuer_declined" } else { "authorized" },
        }),
        &["network_advice_code", "network_decline_code"],
    )
}

fn card_details(amount: i64) -> Value {
    let card = with_nulls(
        json!({
            "amount_authorized": amount, "brand": "visa",
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
            "country": "US", "exp_month": 12, "exp_year": 2034, "fingerprint": "simulatedcard", "funding": "credit",
            "last4": "4242", "network": "visa", "regulated_status": "unregulated",
        }),
        &[
            "authorization_code",
            "electronic_commerce_indicator",
            "installments",
            "mandate",
            "network_token",
            "network_transaction_id",
            "three_d_secure",
            "transaction_link_id",
            "wallet",
        ],
    );
    json!({ "type": "card", "card": card })
}
