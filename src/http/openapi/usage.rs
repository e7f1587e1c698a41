//! Check and track.

use serde_json::json;

use super::super::native::track::BATCH_MAX;
use super::schema::{Schemas, a, answer, list, maybe, reference, request, shown, words};
use super::{Answer, Operation};

const TRACK_REFUSALS: &[(u16, &[&str])] = &[
    (400, &["bad_request", "not_metered", "debt_not_allowed", "bad_properties", "refused"]),
    (402, &["insufficient_credits"]),
    (404, &["unknown_customer", "unknown_feature"]),
    (409, &["key_conflict"]),
    (429, &["busy"]),
];

/// `POST /api/v1/check`.
pub fn check() -> Operation {
    Operation {
        id: "check",
        tag: "usage",
        summary: "May this customer use that much?",
        description: "Writes nothing. A feature that is not known or not granted is answered with 200, `allowed` false \
            and the reason.",
        parameters: Vec::new(),
        body: Some("CheckRequest"),
        answers: vec![Answer::json(200, "The answer.", "CheckAnswer")],
        refusals: &[(400, &["bad_request", "bad_properties"]), (404, &["unknown_customer"]), (429, &["busy"])],
    }
}

/// `POST /api/v1/track`.
pub fn track() -> Operation {
    Operation {
        id: "track",
        tag: "usage",
        summary: "Books usage that happened, once for each key",
        description: "The same key with the same content answers again what it answered first, with `status` \
            repeated, for at least 7 days.",
        parameters: Vec::new(),
        body: Some("TrackRequest"),
        answers: vec![Answer::json(200, "Booked, now or before.", "TrackAnswer")],
        refusals: TRACK_REFUSALS,
    }
}

/// `POST /api/v1/track/batch`.
pub fn track_batch() -> Operation {
    Operation {
        id: "track_batch",
        tag: "usage",
        summary: "Books many events, each on its own",
        description: "An event that is refused refuses no other; the results are in the order of the events.",
        parameters: Vec::new(),
        body: Some("TrackBatchRequest"),
        answers: vec![Answer::json(200, "A result for each event.", "TrackBatchAnswer")],
        refusals: &[],
    }
}

fn track_request() -> serde_json::Value {
    request(
        &["key", "customer", "feature"],
        &json!({
            "key": a("ExternalId", "The caller's own key of this usage: it is booked once."),
            "customer": a("ExternalId", "Whose usage."),
            "feature": a("Feature", "What was used."),
            "entity": maybe("ExternalId", "Seat or workspace of the customer; absent: none."),
            "quantity": maybe("Quantity", "Units used; absent: 1."),
            "when_short": { "type": ["string", "null"], "enum": ["cap", "reject", "debt", null], "default": "cap",
                "description": "When the balance is short: cap draws what is there and records the shortfall, reject \
                    refuses with 402 and writes nothing, debt owes the rest where a wallet or plan allows it." },
            "at": maybe("Time", "When it happened: up to 7 days ago, at most 60 seconds ahead; absent: now."),
            "metadata": maybe("Metadata", "Kept beside the ledger's line."),
        }),
    )
}

fn check_answer() -> serde_json::Value {
    let reasons = ["ok", "unlimited", "flag", "insufficient", "feature_not_granted", "frozen", "unknown_feature"];
    let mut schema = answer(&json!({
        "allowed": shown("boolean", "May it be used?"),
        "reason": words(&reasons, "Why."),
        "feature": a("Feature", "The feature asked for."),
        "pool": maybe("Feature", "The pool that would pay; null: none could."),
        "required": a("Amount", "Credits of the pool that it costs."),
        "available": a("Amount", "Credits of the pool that can be spent."),
        "held": a("Amount", "Credits of the pool set aside."),
        "unlimited": shown("boolean", "Is there no limit?"),
    }));
    let lots =
        list(&reference("Lot"), "With `explain`: the grants behind the answer, in the order they would be drawn.");
    schema["properties"]["lots"] = lots;
    schema
}

fn lot() -> serde_json::Value {
    answer(&json!({
        "grant": reference("GrantId"),
        "wallet": reference("WalletId"),
        "pool": reference("Feature"),
        "kind": words(&["plan", "promotional", "prepaid", "committed"], "Why it was given."),
        "priority": shown("integer", "Lower ones are drawn first."),
        "expires_at": maybe("Time", "When it ends; null: never."),
        "available": a("Amount", "What can be spent of it now."),
        "held": a("Amount", "What is set aside of it."),
        "take": a("Amount", "What this usage would take of it."),
        "blocked_by": { "type": ["string", "null"], "description": "Why it cannot be spent.",
            "enum": ["not_started", "expired", "frozen", "wallet_closed", null] },
    }))
}

fn track_answer() -> serde_json::Value {
    answer(&json!({
        "status": words(&["applied", "repeated"], "Was it booked now, or before?"),
        "key": reference("ExternalId"),
        "cost": a("Amount", "Credits it cost: drawn and shortfall together."),
        "drawn": a("Amount", "Credits taken from grants."),
        "shortfall": a("Amount", "Credits that no grant could pay."),
        "available": a("Amount", "Credits of `pool` that could be spent afterwards."),
        "unlimited": shown("boolean", "Is there no limit?"),
        "pool": a("Feature", "The pool that paid last, or would have."),
        "draws": list(&answer(&json!({
            "grant": reference("GrantId"),
            "pool": reference("Feature"),
            "amount": a("Amount", "Credits taken."),
        })), "What was taken from which grant, in order."),
    }))
}

pub(super) fn schemas() -> Schemas {
    let events = json!({ "type": "array", "minItems": 1, "maxItems": BATCH_MAX,
        "items": reference("TrackRequest"), "description": "Each is refused on its own." });
    let refused = answer(&json!({
        "key": { "type": ["string", "null"], "description": "The event's key; null: it has none that can be read." },
        "status": { "const": "refused" },
        "problem": reference("Problem"),
    }));
    Schemas::from_iter([
        (
            "CheckRequest".to_owned(),
            request(
                &["customer", "feature"],
                &json!({
                    "customer": a("ExternalId", "Who wants to use it."),
                    "feature": a("Feature", "What is to be used."),
                    "entity": maybe("ExternalId", "Seat or workspace of the customer; absent: none."),
                    "quantity": maybe("Quantity", "Units to be used; absent: 1."),
                    "explain": { "type": ["boolean", "null"], "description": "Show the grants behind the answer." },
                }),
            ),
        ),
        ("CheckAnswer".to_owned(), check_answer()),
        ("Lot".to_owned(), lot()),
        ("TrackRequest".to_owned(), track_request()),
        ("TrackAnswer".to_owned(), track_answer()),
        ("TrackBatchRequest".to_owned(), request(&["events"], &json!({ "events": events }))),
        ("TrackRefusal".to_owned(), refused),
        (
            "TrackBatchAnswer".to_owned(),
            answer(&json!({
                "results": list(&json!({ "oneOf": [reference("TrackAnswer"), reference("TrackRefusal")] }), "In order."),
            })),
        ),
    ])
}
