//! `charge`: one attempt to move the money of a payment intent, written to the log.

use serde_json::{Value, json};

use super::super::ids;
use super::super::log::{ChargeEntry, Entry};
use super::super::state::{Kind, State, facts, number, text, with_nulls};
use super::balance::{self, Movement};
use super::card::Decline;

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
            "payment_method_details": details(state, &intent, amount), "receipt_email": intent["receipt_email"],
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
    log(state, &id, payment_intent, amount, captured);
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
    log(state, id, &owned("payment_intent"), amount, true);
    state.emit_change("charge.captured", Kind::Charge, id, Some(json!({ "captured": false, "amount_captured": 0 })));
}

/// Writes down that money moved, or that it did not.
fn log(state: &State, charge: &str, payment_intent: &str, amount: i64, succeeded: bool) {
    let Some(intent) = state.get(Kind::PaymentIntent, payment_intent) else { return };
    let metadata = intent.object["metadata"].as_object().into_iter().flatten();
    let metadata = metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    state.log.push(Entry::Charge(ChargeEntry {
        at: state.now,
        charge: charge.to_owned(),
        payment_intent: payment_intent.to_owned(),
        amount,
        currency: text(&intent.object, "currency").to_owned(),
        customer: intent.object["customer"].as_str().map(str::to_owned),
        succeeded,
        metadata: metadata.collect(),
        invoice: intent.extra.get("invoice").and_then(Value::as_str).map(str::to_owned),
    }));
}

fn outcome(decline: Option<&Decline>) -> Value {
    let advice = decline.and_then(|found| found.advice.as_deref());
    let status = if decline.is_some() { "declined_by_network" } else { "approved_by_network" };
    let network = |pick: fn(&Decline) -> Option<&str>| decline.and_then(pick);
    json!({
            "advice_code": advice, "network_advice_code": network(|found| found.network_advice.as_deref()),
            "network_decline_code": network(|found| found.network_reason.as_deref()), "network_status": status, "reason": decline.and_then(|found| found.reason.as_deref()),
            "risk_level": "normal", "risk_score": 1, "seller_message": decline.map_or("Payment complete.", |found| found.message.as_str()),
            "type": if decline.is_some() { "issuer_declined" } else { "authorized" },
    })
}

fn details(state: &State, intent: &Value, amount: i64) -> Value {
    let method = state.get(Kind::PaymentMethod, text(intent, "payment_method")).map(|record| &record.object);
    if let Some(account) = method.map(|method| &method["us_bank_account"]).filter(|account| account.is_object()) {
        let mut own = json!({ "payment_reference": null });
        for field in ["account_holder_type", "account_type", "bank_name", "fingerprint", "last4", "routing_number"] {
            own[field] = account[field].clone();
        }
        return json!({ "type": "us_bank_account", "us_bank_account": own });
    }
    let card = method.map_or(Value::Null, |method| method["card"].clone());
    let own = |field: &str, otherwise: Value| if card[field].is_null() { otherwise } else { card[field].clone() };
    let card = with_nulls(
        json!({
            "amount_authorized": amount, "brand": own("brand", json!("visa")),
            "checks": { "address_line1_check": null, "address_postal_code_check": null, "cvc_check": "pass" },
            "country": "US", "exp_month": own("exp_month", json!(12)), "exp_year": own("exp_year", json!(2034)),
            "fingerprint": "simulatedcard", "funding": own("funding", json!("credit")),
            "last4": own("last4", json!("4242")), "network": own("brand", json!("visa")),
            "regulated_status": "unregulated",
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
