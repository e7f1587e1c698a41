//! `refund`: whole, in parts, at once or pending, and failed.
//!
//! Like Stripe's, a refund lowers what can still be refunded when it is made, pending or not; a failed one gives it back.

use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::log::{Entry, RefundEntry};
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, RefundMode, State, number, text, with_nulls};
use super::AMOUNT_MAX;
use super::balance::{self, Movement};

/// Parameters of a creation.
pub const ACCEPTED: &[&str] = &["charge", "payment_intent", "amount", "reason", "metadata[*]", "metadata", "expand[]"];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["metadata[*]", "metadata", "expand[]"];
/// Filters of the list.
pub const FILTERS: &[&str] = &["charge", "payment_intent"];
/// Reasons a refund can be made for.
const REASONS: &[&str] = &["duplicate", "fraudulent", "requested_by_customer"];

/// How a bank answers about a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money arrived; only of a pending one.
    Succeed,
    /// It came back: of a pending one, or days later of one that had succeeded.
    Fail,
}

impl RefundOutcome {
    /// From its name at the control endpoint.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "succeed" => Some(Self::Succeed),
            "fail" => Some(Self::Fail),
            _ => None,
        }
    }
}

/// What is taken from which charge, checked.
#[derive(Clone, Debug)]
pub struct Order {
    /// The charge.
    pub charge: String,
    /// Minor units.
    pub amount: i64,
    /// Why.
    pub reason: Option<String>,
    /// The refund's metadata.
    pub metadata: Value,
}

/// `POST /v1/refunds`.
pub fn create(state: &mut State, params: &Params) -> Result<Value, Refusal> {
    let charge = match (params.string("charge")?, params.string("payment_intent")?) {
        (Some(_), Some(_)) => {
            let message = "You may only specify one of these parameters: charge, payment_intent.";
            return Err(Refusal::invalid(message).with("param", json!("payment_intent")));
        }
        (None, None) => return Err(Refusal::missing("charge")),
        (Some(charge), None) => charge,
        (None, Some(intent)) => charge_of_intent(state, &intent)?,
    };
    let amount = params.integer_between("amount", 1, AMOUNT_MAX)?;
    let reason = params.one_of("reason", REASONS)?;
    let metadata = params.metadata("metadata", &Value::Null)?;
    let amount = check(state, &charge, amount)?;
    // From here it must succeed.
    let id = make(state, &Order { charge, amount, reason, metadata });
    Ok(state.found(Kind::Refund, &id)?.object.clone())
}

fn charge_of_intent(state: &State, intent: &str) -> Result<String, Refusal> {
    let object = &state.named(Kind::PaymentIntent, intent, "payment_intent")?.object;
    let charge = object["latest_charge"].as_str().filter(|_| text(object, "status") == "succeeded");
    charge.map(str::to_owned).ok_or_else(|| {
        let message = format!("This PaymentIntent ({intent}) does not have a successful charge to refund.");
        Refusal::invalid(&message).with("param", json!("payment_intent"))
    })
}

/// What can be refunded of a charge: the amount asked for, or all that is left.
pub fn check(state: &State, charge: &str, amount: Option<i64>) -> Result<i64, Refusal> {
    let object = &state.named(Kind::Charge, charge, "charge")?.object;
    if text(object, "status") != "succeeded" || object["captured"] != json!(true) {
        let message = format!("Charge {charge} was not captured, so nothing of it can be refunded.");
        return Err(Refusal::invalid(&message).with("param", json!("charge")));
    }
    let contested = state.all(Kind::Dispute).map(|record| &record.object).any(|dispute| {
        text(dispute, "charge") == charge
            && dispute["is_charge_refundable"] == json!(false)
            && text(dispute, "status") != "won"
    });
    if contested {
        let message = format!("Charge {charge} has been charged back; cannot issue a refund.");
        return Err(Refusal::parameter("charge_disputed", "charge", &message));
    }
    let left = number(object, "amount").saturating_sub(number(object, "amount_refunded"));
    if left <= 0 {
        let message = format!("Charge {charge} has already been refunded.");
        return Err(Refusal::parameter("charge_already_refunded", "charge", &message));
    }
    match amount {
        Some(amount) if amount > left => {
            let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
            Err(Refusal::invalid(&message).with("param", json!("amount")))
        }
        Some(amount) => Ok(amount),
        None => Ok(left),
    }
}

/// Makes a refund that was checked, with its events; gives its id.
pub fn make(state: &mut State, order: &Order) -> String {
    let charge = state.get(Kind::Charge, &order.charge).map(|record| record.object.clone()).unwrap_or_default();
    let currency = text(&charge, "currency").to_owned();
    let pending = state.refund_mode == RefundMode::Pending;
    let id = ids::fresh("re");
    let mut refund = with_nulls(
        json!({
            "id": id, "object": "refund", "amount": order.amount, "charge": order.charge, "created": state.now,
            "currency": currency, "customer": charge["customer"], "metadata": order.metadata,
            "payment_intent": charge["payment_intent"], "payment_method": charge["payment_method"],
            "reason": order.reason, "status": if pending { "pending" } else { "succeeded" },
        }),
        &["balance_transaction", "customer_account", "receipt_number", "source_transfer_reversal", "transfer_reversal"],
    );
    if pending {
        refund["pending_reason"] = json!("processing");
    } else {
        refund["destination_details"] = destination(None);
    }
    if charge["presentment_details"].is_object() {
        refund["presentment_details"] = super::presentment(&charge["presentment_details"], &charge, order.amount);
    }
    let movement = Movement { kind: "refund", amount: order.amount.saturating_neg(), fee: 0, source: &id };
    refund["balance_transaction"] = json!(balance::book(state, &movement, &currency));
    state.insert(Kind::Refund, refund, Map::new());
    log(state, &id);
    state.emit("refund.created", Kind::Refund, &id);
    let before = move_refunded(state, &order.charge, order.amount);
    state.emit_change("charge.refunded", Kind::Charge, &order.charge, Some(before));
    if !pending {
        // The network's reference of a card refund becomes known a little later.
        let previous = json!({ "destination_details": destination(None) });
        state.set(Kind::Refund, &id, json!({ "destination_details": destination(Some("74012345678901234567890")) }));
        updated(state, &id, previous);
    }
    id
}

fn destination(reference: Option<&str>) -> Value {
    let mut card = json!({
        "reference_status": if reference.is_some() { "available" } else { "pending" },
        "reference_type": "acquirer_reference_number", "type": "refund",
    });
    if let Some(reference) = reference {
        card["reference"] = json!(reference);
    }
    json!({ "card": card, "type": "card" })
}

/// Moves what is refunded of a charge; gives what it was before.
fn move_refunded(state: &mut State, charge: &str, by: i64) -> Value {
    let Some(record) = state.get(Kind::Charge, charge) else { return Value::Null };
    let (was, all) = (record.object["amount_refunded"].as_i64().unwrap_or(0), number(&record.object, "amount"));
    let previous = json!({ "amount_refunded": was, "refunded": record.object["refunded"] });
    let now = was.saturating_add(by);
    state.set(Kind::Charge, charge, json!({ "amount_refunded": now, "refunded": now >= all }));
    previous
}

fn updated(state: &mut State, id: &str, previous: Value) {
    state.emit_change("refund.updated", Kind::Refund, id, Some(previous.clone()));
    state.emit_change("charge.refund.updated", Kind::Refund, id, Some(previous));
}

fn log(state: &State, id: &str) {
    let Some(record) = state.get(Kind::Refund, id) else { return };
    let owned = |field: &str| text(&record.object, field).to_owned();
    let metadata = record.object["metadata"].as_object().into_iter().flatten();
    let metadata = metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    state.log.push(Entry::Refund(RefundEntry {
        at: state.now,
        refund: id.to_owned(),
        charge: owned("charge"),
        payment_intent: owned("payment_intent"),
        metadata: metadata.collect(),
        amount: number(&record.object, "amount"),
        currency: owned("currency"),
        status: owned("status"),
    }));
}

/// The bank answers.
pub fn settle(state: &mut State, id: &str, outcome: RefundOutcome) -> Result<Value, Refusal> {
    let refund = state.found(Kind::Refund, id)?.object.clone();
    let status = text(&refund, "status");
    let previous = json!({ "status": status });
    match (outcome, status) {
        (RefundOutcome::Succeed, "pending") => {
            state.set(Kind::Refund, id, json!({ "status": "succeeded", "destination_details": destination(None) }));
            forget_pending(state, id);
            log(state, id);
            updated(state, id, previous);
        }
        (RefundOutcome::Fail, "pending" | "succeeded") => fail(state, id, &refund, previous),
        (RefundOutcome::Succeed | RefundOutcome::Fail, _) => {
            return Err(Refusal::invalid(&format!("A refund that is {status} cannot do that.")));
        }
    }
    Ok(state.found(Kind::Refund, id)?.object.clone())
}

fn forget_pending(state: &mut State, id: &str) {
    let Some(mut object) = state.get(Kind::Refund, id).map(|record| record.object.clone()) else { return };
    if let Some(fields) = object.as_object_mut() {
        fields.remove("pending_reason");
    }
    state.replace(Kind::Refund, id, object);
}

fn fail(state: &mut State, id: &str, refund: &Value, previous: Value) {
    let amount = number(refund, "amount");
    let movement = Movement { kind: "refund_failure", amount, fee: 0, source: id };
    let transaction = balance::book(state, &movement, text(refund, "currency"));
    let changes = json!({
        "status": "failed", "failure_reason": "expired_or_canceled_card", "failure_balance_transaction": transaction,
    });
    state.set(Kind::Refund, id, changes);
    forget_pending(state, id);
    log(state, id);
    // What went back before is told by the charge; no event of the charge itself is sent for it.
    let _before = move_refunded(state, text(refund, "charge"), amount.saturating_neg());
    state.emit_change("refund.failed", Kind::Refund, id, Some(previous.clone()));
    updated(state, id, previous);
}

/// `POST /v1/refunds/{id}`: only its metadata.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::Refund, id)?.object["metadata"].clone();
    let metadata = params.metadata("metadata", &before)?;
    if metadata != before {
        state.set(Kind::Refund, id, json!({ "metadata": metadata }));
        updated(state, id, json!({ "metadata": before }));
    }
    Ok(state.found(Kind::Refund, id)?.object.clone())
}
