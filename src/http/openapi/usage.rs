//! Check and track.

use serde_json::json;

use super::super::native::check::{BATCH_CHECKS_MAX, BATCH_CUSTOMERS_MAX};
use super::super::native::track::BATCH_MAX;
use super::schema::{Schemas, a, answer, list, maybe, reference, request, shown, text_or_null, words};
use super::{Answer, Operation};
use crate::domain::catalog::NAME_MAX;
use crate::domain::command::HOLD_SECONDS_MAX;
use crate::domain::hold::{HoldState, WhenMore};
use crate::domain::limit::Window;
use crate::domain::usage::{PROPERTIES_MAX, PROPERTY_NAME_BYTES_MAX, PROPERTY_TEXT_BYTES_MAX};

const TRACK_REFUSALS: &[(u16, &[&str])] = &[
    (
        400,
        &[
            "bad_request",
            "not_metered",
            "debt_not_allowed",
            "bad_properties",
            "not_settable",
            "nothing_to_return",
            "refused",
        ],
    ),
    (402, &["insufficient_credits", "spend_limit"]),
    (404, &["unknown_customer", "unknown_feature", "unknown_event", "unknown_hold"]),
    (409, &["key_conflict", "hold_of_other"]),
    (429, &["busy"]),
];

/// `POST /api/v1/check`.
pub fn check() -> Operation {
    Operation {
        id: "check",
        tag: "usage",
        summary: "May this customer use that much?",
        description: "Writes nothing, unless `deduct` books the usage in the same step, or `hold` sets its credits aside: \
            then `allowed` true means that it was done, and `allowed` false that nothing was. A feature that is not \
            known or not granted is answered with 200, `allowed` false and the reason.",
        parameters: Vec::new(),
        body: Some("CheckRequest"),
        answers: vec![Answer::json(200, "The answer.", "CheckAnswer")],
        refusals: &[
            (400, &["bad_request", "bad_properties", "not_metered", "not_holdable", "refused"]),
            (404, &["unknown_customer"]),
            (409, &["key_conflict"]),
            (429, &["busy"]),
        ],
    }
}

/// `POST /api/v1/check/batch`.
pub fn check_batch() -> Operation {
    Operation {
        id: "check_batch",
        tag: "usage",
        summary: "Checks many features for many customers",
        description: "Each check is made for each customer, on one reading of the customer, and answered on its own: \
            pairs come customer by customer, in the order of the request. Writes nothing.",
        parameters: Vec::new(),
        body: Some("CheckBatchRequest"),
        answers: vec![Answer::json(200, "An answer or a problem for each pair.", "CheckBatchAnswer")],
        refusals: &[],
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

/// Members by which a request names usage; one of `feature` and `event` has to be there.
fn usage_members(quantity: &str) -> serde_json::Value {
    json!({
        "feature": a("Feature", "What is used; this or `event`."),
        "event": text_or_null(NAME_MAX, "The name of an event that a feature of the catalogue lists."),
        "entity": maybe("ExternalId", "Seat or workspace of the customer; absent: none."),
        "quantity": maybe(quantity, "Units; absent: the number of the property that the feature's `sum` names, else 1."),
        "properties": maybe("Properties", "What is known about the usage: what a cost may look at."),
    })
}

fn by_name(required: &[&str], mut members: serde_json::Value, quantity: &str) -> serde_json::Value {
    if let (serde_json::Value::Object(all), serde_json::Value::Object(more)) = (&mut members, usage_members(quantity)) {
        all.extend(more);
    }
    let mut schema = request(required, &members);
    schema["anyOf"] = json!([{ "required": ["feature"] }, { "required": ["event"] }]);
    schema
}

fn track_request() -> serde_json::Value {
    by_name(
        &["key", "customer"],
        json!({
            "key": a("ExternalId", "The caller's own key of this usage: it is booked once."),
            "customer": a("ExternalId", "Whose usage."),
            "set": maybe("Quantity", "What is in use from now on, of a feature that is set and freed, in place of \
                `quantity`."),
            "when_short": { "type": ["string", "null"], "enum": ["cap", "reject", "debt", null], "default": "cap",
                "description": "When the balance is short: cap draws what is there and records the shortfall, reject \
                    refuses with 402 and writes nothing, debt owes the rest where a wallet or plan allows it." },
            "at": maybe("Time", "When it happened: up to 7 days ago, at most 60 seconds ahead; absent: now."),
            "hold": maybe("HoldId", "The hold that pays first; what it says of usage that costs more takes the place \
                of `when_short`."),
            "final": { "type": ["boolean", "null"], "description": "Is it the last usage of its hold? What is left of \
                that comes free." },
            "metadata": maybe("Metadata", "Kept beside the ledger's line."),
        }),
        "Amount",
    )
}

fn check_request() -> serde_json::Value {
    let words: Vec<serde_json::Value> =
        WhenMore::ALL.iter().map(|word| json!(word.word())).chain([serde_json::Value::Null]).collect();
    let or_null = |schema: serde_json::Value, description: &str| json!({ "anyOf": [schema, { "type": "null" }], "description": description });
    let deduct = request(&["key"], &json!({ "key": a("ExternalId", "Usage is booked once for each key.") }));
    let hold = request(
        &["key", "ttl_seconds"],
        &json!({
            "key": a("ExternalId", "Credits are set aside once for each key: a repeat answers with the same hold."),
            "ttl_seconds": reference("HoldSeconds"),
            "when_more": { "type": ["string", "null"], "enum": words, "default": "reject",
                "description": "When usage costs more than is held: reject it, take what else is available, or owe the \
                    rest." },
        }),
    );
    by_name(
        &["customer"],
        json!({
            "customer": a("ExternalId", "Who wants to use it."),
            "explain": { "type": ["boolean", "null"], "description": "Show the grants and limits behind the answer." },
            "deduct": or_null(deduct, "Book the usage now if it can be paid as a whole; without `hold`."),
            "hold": or_null(hold, "Set its credits aside if all of them are there."),
        }),
        "Quantity",
    )
}

fn check_answer() -> serde_json::Value {
    let reasons = [
        "ok",
        "unlimited",
        "flag",
        "insufficient",
        "spend_limit",
        "feature_not_granted",
        "frozen",
        "unknown_feature",
        "unknown_event",
    ];
    let mut schema = answer(&json!({
        "allowed": shown("boolean", "May it be used? With `deduct` or `hold`: was it done?"),
        "reason": words(&reasons, "Why."),
        "feature": maybe("Feature", "The feature asked for; null: no feature lists the event."),
        "pool": maybe("Feature", "The pool that would pay; null: none could."),
        "required": a("Amount", "Credits of the pool that it costs."),
        "available": a("Amount", "Credits of the pool that can be spent."),
        "held": a("Amount", "Credits of the pool set aside."),
        "shortfall": a("Amount", "Credits that no grant, or no limit, would let be paid."),
        "unlimited": shown("boolean", "Is there no limit?"),
    }));
    let members = &mut schema["properties"];
    members["lots"] =
        list(&reference("Lot"), "With `explain`: the grants behind the answer, in the order they would be drawn.");
    members["limits"] = list(&reference("LimitPart"), "With `explain`: the spend limits that count this usage.");
    members["in_use"] = a("Amount", "Of a feature that is set and freed: what is in use already.");
    members["status"] = words(&["applied", "repeated"], "Done with `deduct` or `hold`: now, or before?");
    members["draws"] = list(
        &reference("Draw"),
        "With `deduct`: what was taken from which grant, in order. The numbers \
        beside it are of the moment before.",
    );
    members["hold"] =
        a("HoldState", "With `hold`: what was set aside. The numbers beside it are of the moment before.");
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
        "remaining": a("Amount", "What is left of it: `held`, `blocked` and `available` together."),
        "available": a("Amount", "What can be spent of it now; those of all lots are the answer's."),
        "held": a("Amount", "What is set aside of it."),
        "blocked": a("Amount", "What cannot be spent of it, because of what `blocked_by` says."),
        "take": a("Amount", "What this usage would take of it; with `shortfall` those of all lots are `required`."),
        "unlimited": shown("boolean", "Does it absorb all usage?"),
        "blocked_by": { "type": ["string", "null"], "description": "Why it, or a part of it, cannot be spent.",
            "enum": ["not_started", "expired", "frozen", "wallet_closed", "debt", null] },
    }))
}

fn track_answer() -> serde_json::Value {
    let mut schema = answer(&json!({
        "status": words(&["applied", "repeated"], "Was it booked now, or before?"),
        "key": reference("ExternalId"),
        "cost": a("Amount", "Credits it cost: drawn and shortfall, and what is owed, together."),
        "drawn": a("Amount", "Credits taken from grants; below zero: given back to them."),
        "shortfall": a("Amount", "Credits that no grant could pay."),
        "available": a("Amount", "Credits of `pool` that could be spent afterwards."),
        "unlimited": shown("boolean", "Is there no limit?"),
        "pool": a("Feature", "The pool that paid last, or would have."),
        "draws": list(&reference("Draw"), "What was taken from which grant, in order."),
    }));
    schema["properties"]["owed"] = a("Amount", "Credits that became a debt, where some did.");
    schema["properties"]["hold"] = a("HoldState", "The hold that paid, as it is then.");
    schema
}

fn limit_part() -> serde_json::Value {
    let windows = Window::ALL.map(Window::word);
    answer(&json!({
        "name": shown("string", "The limit's name."),
        "window": words(&windows, "Over which time."),
        "quantity": a("Amount", "Most that may be used in it."),
        "used": a("Amount", "Used in it, open holds included."),
        "left": a("Amount", "What it leaves."),
    }))
}

/// What usage is described with, and what becomes of it.
fn parts() -> Schemas {
    let states = HoldState::ALL.map(HoldState::word);
    Schemas::from_iter([
        (
            "Properties".to_owned(),
            json!({ "type": "object", "maxProperties": PROPERTIES_MAX,
                "propertyNames": { "minLength": 1, "maxLength": PROPERTY_NAME_BYTES_MAX },
                "additionalProperties": { "type": ["number", "string", "boolean"], "maxLength": PROPERTY_TEXT_BYTES_MAX },
                "description": "Numbers are taken exactly as they are written, with at most 9 digits behind the point \
                    and no exponent; a number in quotation marks is a text." }),
        ),
        (
            "HoldSeconds".to_owned(),
            json!({ "type": "integer", "minimum": 1, "maximum": HOLD_SECONDS_MAX,
                "description": "How long it lives from now on." }),
        ),
        (
            "Draw".to_owned(),
            answer(&json!({
                "grant": reference("GrantId"),
                "pool": reference("Feature"),
                "amount": a("Amount", "Credits taken; below zero: given back."),
            })),
        ),
        (
            "HoldState".to_owned(),
            answer(&json!({
                "id": reference("HoldId"),
                "state": words(&states, "Its life."),
                "held": a("Amount", "Credits still set aside."),
                "pool": a("Feature", "The pool of which most of them are."),
                "expires_at": a("Time", "It is over then, unless it is extended."),
            })),
        ),
        ("LimitPart".to_owned(), limit_part()),
    ])
}

fn batched_checks() -> Schemas {
    let customers = json!({ "type": "array", "minItems": 1, "maxItems": BATCH_CUSTOMERS_MAX,
        "items": reference("ExternalId"), "description": "For whom." });
    let checks = json!({ "type": "array", "minItems": 1, "maxItems": BATCH_CHECKS_MAX, "items": reference("BatchedCheck"),
        "description": "What each of them wants to use." });
    let mut pair = answer(&json!({
        "customer": reference("ExternalId"),
        "check": shown("integer", "The check's place in the request, from 0."),
    }));
    pair["properties"]["answer"] = a("CheckAnswer", "What it would be answered alone.");
    pair["properties"]["problem"] = a("Problem", "Why it has no answer.");
    Schemas::from_iter([
        ("BatchedCheck".to_owned(), by_name(&[], json!({}), "Quantity")),
        (
            "CheckBatchRequest".to_owned(),
            request(&["customers", "checks"], &json!({ "customers": customers, "checks": checks })),
        ),
        ("CheckedPair".to_owned(), pair),
        (
            "CheckBatchAnswer".to_owned(),
            answer(&json!({ "results": list(&reference("CheckedPair"), "Pair by pair.") })),
        ),
    ])
}

pub(super) fn schemas() -> Schemas {
    let events = json!({ "type": "array", "minItems": 1, "maxItems": BATCH_MAX,
        "items": reference("TrackRequest"), "description": "Each is refused on its own." });
    let refused = answer(&json!({
        "key": { "type": ["string", "null"], "description": "The event's key; null: it has none that can be read." },
        "status": { "const": "refused" },
        "problem": reference("Problem"),
    }));
    let mut all = Schemas::from_iter([
        ("CheckRequest".to_owned(), check_request()),
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
    ]);
    all.extend(batched_checks());
    all.extend(parts());
    all
}
