//! `dispute` and `radar.early_fraud_warning`: what a bank does to a charge, step by step.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::ids;
use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{Kind, State, number, text, with_nulls};
use super::balance::{self, Movement};

/// Filters of the lists.
pub const FILTERS: &[&str] = &["charge", "payment_intent"];
/// Parameters of an update.
pub const UPDATE: &[&str] = &["metadata[*]", "metadata", "submit", "evidence[uncategorized_text]", "expand[]"];
/// What a dispute costs, in minor units.
const FEE: i64 = 1_500;
/// How long the evidence may take.
const EVIDENCE_SECONDS: i64 = 10 * 24 * 60 * 60;
/// Reasons a buyer's bank gives.
const REASONS: &[&str] = &[
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "noncompliant",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
];
/// How a bank warns of fraud.
const FRAUD_TYPES: &[&str] = &[
    "card_never_received",
    "fraudulent_card_application",
    "made_with_counterfeit_card",
    "made_with_lost_card",
    "made_with_stolen_card",
    "misc",
    "unauthorized_use_of_card",
];
/// Fields of the evidence; none is sent by the simulator itself.
const EVIDENCE: &[&str] = &[
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
];

/// A dispute to be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisputeOrder {
    /// Minor units; the whole charge without.
    #[serde(default)]
    pub amount: Option<i64>,
    /// Why; `fraudulent` without.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether the bank only asks: `warning_needs_response` in place of `needs_response`.
    #[serde(default)]
    pub warning: bool,
}

/// What happens to a dispute next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", tag = "step", deny_unknown_fields)]
pub enum DisputeStep {
    /// The money leaves the account.
    FundsWithdrawn,
    /// The evidence was handed in: it is under review.
    UnderReview,
    /// It is closed, and won; the money comes back by a step of its own.
    Won,
    /// It is closed, and lost.
    Lost,
    /// The question is closed, nothing was taken.
    WarningClosed,
    /// It is closed before it became one.
    Prevented,
    /// Money comes back: so much, or all that is missing.
    FundsReinstated {
        /// Minor units.
        #[serde(default)]
        amount: Option<i64>,
    },
}

/// Opens a dispute on a charge; gives its id.
pub fn open(state: &mut State, charge: &str, order: &DisputeOrder) -> Result<String, Refusal> {
    let object = state.found(Kind::Charge, charge)?.object.clone();
    let amount = order.amount.unwrap_or_else(|| number(&object, "amount"));
    if text(&object, "status") != "succeeded" || !(1..=number(&object, "amount")).contains(&amount) {
        return Err(Refusal::invalid("A dispute is about a part of a charge that succeeded."));
    }
    let reason = order.reason.as_deref().unwrap_or("fraudulent");
    if !REASONS.contains(&reason) {
        return Err(Refusal::invalid(&format!("Invalid reason: must be one of {}", REASONS.join(", "))));
    }
    let id = ids::fresh("du");
    let mut evidence = with_nulls(json!({ "enhanced_evidence": {} }), EVIDENCE);
    evidence["appeal"] = Value::Null;
    let dispute = json!({
        "id": id, "object": "dispute", "amount": amount, "balance_transactions": [], "charge": charge,
        "created": state.now, "currency": object["currency"], "enhanced_eligibility_types": [], "evidence": evidence,
        "evidence_details": {
            "due_by": state.now.saturating_add(EVIDENCE_SECONDS), "enhanced_eligibility": {}, "has_evidence": false,
            "past_due": false, "submission_count": 0, "submission_method": "not_submitted",
        },
        "intended_submission_method": null, "is_charge_refundable": order.warning, "livemode": false, "metadata": {},
        "network_reason_code": "10.4", "payment_intent": object["payment_intent"],
        "payment_method_details": {
            "card": { "brand": "visa", "network": "visa", "case_type": if order.warning { "inquiry" } else { "chargeback" },
                "network_reason_code": "10.4" },
            "type": "card",
        },
        "reason": reason, "status": if order.warning { "warning_needs_response" } else { "needs_response" },
    });
    state.insert(Kind::Dispute, dispute, Map::new());
    state.set(Kind::Charge, charge, json!({ "disputed": true }));
    state.emit("charge.dispute.created", Kind::Dispute, &id);
    Ok(id)
}

/// Carries a step out, if the dispute is where it can happen.
pub fn step(state: &mut State, id: &str, step: DisputeStep) -> Result<Value, Refusal> {
    let dispute = state.found(Kind::Dispute, id)?.object.clone();
    let status = text(&dispute, "status").to_owned();
    let warning = status.starts_with("warning_");
    let open = ["needs_response", "under_review", "warning_needs_response", "warning_under_review"];
    let open = open.contains(&status.as_str());
    let missing = missing(&dispute);
    match step {
        DisputeStep::FundsWithdrawn if open && !warning && missing == 0 => {
            let amount = number(&dispute, "amount");
            book(state, id, &dispute, "dispute", amount.saturating_neg(), FEE);
            state.emit("charge.dispute.funds_withdrawn", Kind::Dispute, id);
        }
        DisputeStep::UnderReview if status.ends_with("needs_response") => {
            let reviewed = if warning { "warning_under_review" } else { "under_review" };
            change(state, id, reviewed, "charge.dispute.updated");
        }
        DisputeStep::Won if open && !warning => change(state, id, "won", "charge.dispute.closed"),
        DisputeStep::Lost if open && !warning => change(state, id, "lost", "charge.dispute.closed"),
        DisputeStep::WarningClosed if open && warning => change(state, id, "warning_closed", "charge.dispute.closed"),
        DisputeStep::Prevented if open && missing == 0 => change(state, id, "prevented", "charge.dispute.closed"),
        DisputeStep::FundsReinstated { amount } if missing > 0 => {
            let amount = amount.unwrap_or(missing);
            if !(1..=missing).contains(&amount) {
                return Err(Refusal::invalid("More would come back than was taken."));
            }
            book(state, id, &dispute, "dispute_reversal", amount, 0);
            state.emit("charge.dispute.funds_reinstated", Kind::Dispute, id);
        }
        DisputeStep::FundsWithdrawn
        | DisputeStep::UnderReview
        | DisputeStep::Won
        | DisputeStep::Lost
        | DisputeStep::WarningClosed
        | DisputeStep::Prevented
        | DisputeStep::FundsReinstated { .. } => {
            return Err(Refusal::invalid(&format!("A dispute that is {status} cannot do that.")));
        }
    }
    Ok(state.found(Kind::Dispute, id)?.object.clone())
}

/// Money that was taken and has not come back.
fn missing(dispute: &Value) -> i64 {
    let moved = dispute["balance_transactions"].as_array().into_iter().flatten();
    moved.map(|moved| number(moved, "amount")).fold(0_i64, i64::saturating_add).saturating_neg()
}

fn change(state: &mut State, id: &str, status: &str, event_type: &str) {
    let Some(record) = state.get(Kind::Dispute, id) else { return };
    let mut previous = json!({ "status": record.object["status"] });
    let mut changes = json!({ "status": status });
    if status.ends_with("under_review") {
        let details = record.object["evidence_details"].clone();
        let mut handed_in = details.clone();
        handed_in["has_evidence"] = json!(true);
        handed_in["submission_count"] = json!(number(&details, "submission_count").saturating_add(1));
        handed_in["submission_method"] = json!("manual");
        changes["evidence_details"] = handed_in;
        previous["evidence_details"] = details;
    }
    state.set(Kind::Dispute, id, changes);
    state.emit_change(event_type, Kind::Dispute, id, Some(previous));
}

fn book(state: &mut State, id: &str, dispute: &Value, kind: &str, amount: i64, fee: i64) {
    let movement = Movement { kind, amount, fee, source: id };
    let transaction = balance::book(state, &movement, text(dispute, "currency"));
    let Some(found) = state.get(Kind::BalanceTransaction, &transaction).map(|record| record.object.clone()) else {
        return;
    };
    let mut moved = dispute["balance_transactions"].clone();
    if let Some(moved) = moved.as_array_mut() {
        moved.push(found);
    }
    state.set(Kind::Dispute, id, json!({ "balance_transactions": moved }));
}

/// `POST /v1/disputes/{id}`: metadata, and evidence that may be handed in.
pub fn update(state: &mut State, id: &str, params: &Params) -> Result<Value, Refusal> {
    let before = state.found(Kind::Dispute, id)?.object.clone();
    let metadata = params.metadata("metadata", &before["metadata"])?;
    let told = params.string("evidence[uncategorized_text]")?;
    // Stripe hands evidence in unless it is told not to.
    let submit = params.boolean("submit")?.unwrap_or(true) && told.is_some();
    if submit && !text(&before, "status").ends_with("needs_response") {
        return Err(Refusal::invalid("The dispute no longer takes evidence.").with("param", json!("evidence")));
    }
    // From here it must succeed.
    if let Some(told) = told {
        let mut evidence = before["evidence"].clone();
        evidence["uncategorized_text"] = json!(told);
        state.set(Kind::Dispute, id, json!({ "evidence": evidence }));
    }
    if submit {
        state.set(Kind::Dispute, id, json!({ "metadata": metadata }));
        return step(state, id, DisputeStep::UnderReview);
    }
    if metadata != before["metadata"] || params.has("evidence") {
        state.set(Kind::Dispute, id, json!({ "metadata": metadata }));
        let previous = json!({ "metadata": before["metadata"], "evidence": before["evidence"] });
        state.emit_change("charge.dispute.updated", Kind::Dispute, id, Some(previous));
    }
    Ok(state.found(Kind::Dispute, id)?.object.clone())
}

/// A bank warns that a charge is probably fraud; gives the warning's id.
pub fn warn_of_fraud(state: &mut State, charge: &str, fraud_type: &str) -> Result<String, Refusal> {
    let object = state.found(Kind::Charge, charge)?.object.clone();
    if text(&object, "status") != "succeeded" {
        return Err(Refusal::invalid("A bank warns of charges that succeeded."));
    }
    if !FRAUD_TYPES.contains(&fraud_type) {
        return Err(Refusal::invalid(&format!("Invalid fraud_type: must be one of {}", FRAUD_TYPES.join(", "))));
    }
    let id = ids::fresh("issfr");
    let actionable = object["disputed"] == json!(false) && object["refunded"] == json!(false);
    let mut warning = json!({
        "id": id, "object": "radar.early_fraud_warning", "actionable": actionable, "charge": charge,
        "created": state.now, "fraud_type": fraud_type, "livemode": false,
    });
    if object["payment_intent"].is_string() {
        warning["payment_intent"] = object["payment_intent"].clone();
    }
    state.insert(Kind::FraudWarning, warning, Map::new());
    state.emit("radar.early_fraud_warning.created", Kind::FraudWarning, &id);
    Ok(id)
}
