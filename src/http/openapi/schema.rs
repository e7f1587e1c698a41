//! Schemas that several operations share, and what they are put together from.

use serde_json::{Map, Value, json};

use super::super::cursor::{CURSOR_MAX, LIMIT_DEFAULT, LIMIT_MAX};
use super::super::read::{METADATA_KEY_MAX, METADATA_KEYS_MAX, METADATA_VALUE_MAX};
use crate::domain::catalog::NAME_MAX;
use crate::domain::ids::{AttachmentId, BillId, DebtId, GrantId, HoldId, PaymentId, TopUpId, WalletId};
use crate::store::accounts::EXTERNAL_ID_MAX;

/// Named schemas.
pub(super) type Schemas = Map<String, Value>;

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A shared schema with a sentence of its own.
pub(super) fn a(name: &str, description: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}"), "description": description })
}

/// A shared schema, or null.
pub(super) fn maybe(name: &str, description: &str) -> Value {
    json!({ "anyOf": [reference(name), { "type": "null" }], "description": description })
}

pub(super) fn text(most: usize, description: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": most, "description": description })
}

pub(super) fn text_or_null(most: usize, description: &str) -> Value {
    json!({ "type": ["string", "null"], "minLength": 1, "maxLength": most, "description": description })
}

pub(super) fn shown(kind: &str, description: &str) -> Value {
    json!({ "type": kind, "description": description })
}

pub(super) fn shown_or_null(kind: &str, description: &str) -> Value {
    json!({ "type": [kind, "null"], "description": description })
}

pub(super) fn words(words: &[&str], description: &str) -> Value {
    json!({ "type": "string", "enum": words, "description": description })
}

pub(super) fn list(items: &Value, description: &str) -> Value {
    json!({ "type": "array", "items": items, "description": description })
}

/// A body: members that are not known are refused; null is as good as absent where a member is not required.
pub(super) fn request(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

/// An answer: all these members are there, and more may come with later versions.
pub(super) fn answer(properties: &Value) -> Value {
    let names: Vec<&String> = properties.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// A page of rows.
pub(super) fn page(row: &str) -> Value {
    answer(&json!({
        "data": list(&reference(row), "The rows, newest first."),
        "next_cursor": shown_or_null("string", "`cursor` of the next page; null: this is the last one."),
    }))
}

pub(super) fn in_path(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": description })
}

pub(super) fn in_query(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// The parameters of every list, behind its own.
pub(super) fn paged(mut own: Vec<Value>) -> Vec<Value> {
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT });
    own.push(in_query("limit", &limit, "Rows of a page."));
    own.push(in_query("cursor", &text(CURSOR_MAX, "Opaque."), "`next_cursor` of the page before."));
    own
}

pub(super) fn customer_in_path() -> Value {
    in_path("customer", &reference("ExternalId"), "The app's id of the customer, percent-encoded.")
}

fn id(prefix: &str, description: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{prefix}[0-9a-f]{{32}}$"), "description": description })
}

/// Schemas of values.
pub(super) fn shared() -> Schemas {
    let amount = |description: &str, pattern: &str| json!({ "type": "string", "pattern": pattern, "maxLength": 64, "description": description });
    let metadata = json!({
        "type": "object", "maxProperties": METADATA_KEYS_MAX, "description": "Free keys with text behind them.",
        "propertyNames": { "minLength": 1, "maxLength": METADATA_KEY_MAX },
        "additionalProperties": { "type": "string", "maxLength": METADATA_VALUE_MAX },
    });
    let external = format!(
        "An id of the app's own: 1 to {EXTERNAL_ID_MAX} bytes without control characters, and without \
        white space at its ends."
    );
    Schemas::from_iter([
        (
            "Amount".to_owned(),
            amount(
                "Credits or units: an exact decimal with at most 9 digits behind the point, \
            within plus or minus 10^18.",
                "^-?[0-9]+(\\.[0-9]+)?$",
            ),
        ),
        (
            "Quantity".to_owned(),
            amount(
                "Units of a feature: an exact decimal, zero or more, at most 9 digits behind \
            the point, at most 10^18.",
                "^(-0|[0-9]+)(\\.[0-9]+)?$",
            ),
        ),
        (
            "Money".to_owned(),
            answer(&json!({
                "amount": amount("In major units, with as many digits behind the point as the currency has, such as \
                    20.00 for usd and 2000 for jpy.", "^-?[0-9]+(\\.[0-9]+)?$"),
                "currency": { "type": "string", "pattern": "^[a-z]{3}$", "description": "ISO 4217, in small letters." },
            })),
        ),
        (
            "Time".to_owned(),
            json!({ "type": "string", "format": "date-time",
            "description": "RFC 3339 with its offset, kept to the microsecond; answers are in UTC." }),
        ),
        ("ExternalId".to_owned(), text(EXTERNAL_ID_MAX, &external)),
        (
            "Feature".to_owned(),
            json!({ "type": "string", "minLength": 1, "maxLength": NAME_MAX,
            "pattern": "^[A-Za-z0-9_.:-]+$", "description": "A feature of the catalogue." }),
        ),
        ("Metadata".to_owned(), metadata),
        ("GrantId".to_owned(), id(GrantId::PREFIX, "A grant.")),
        ("WalletId".to_owned(), id(WalletId::PREFIX, "A wallet.")),
        ("PaymentId".to_owned(), id(PaymentId::PREFIX, "A payment.")),
        ("AttachmentId".to_owned(), id(AttachmentId::PREFIX, "A plan that a customer has.")),
        ("DebtId".to_owned(), id(DebtId::PREFIX, "A debt.")),
        ("HoldId".to_owned(), id(HoldId::PREFIX, "A hold.")),
        ("TopUpId".to_owned(), id(TopUpId::PREFIX, "A decision to take money for credits.")),
        ("BillId".to_owned(), id(BillId::PREFIX, "A bill of overage.")),
    ])
}

/// The problem document, with every code there is.
pub(super) fn problem(codes: &[&str]) -> Value {
    let amount = |description| a("Amount", description);
    let number =
        |description: &str| json!({ "anyOf": [reference("Amount"), reference("Money")], "description": description });
    json!({
        "type": "object",
        "description": "RFC 9457. Tell by `code`; `detail` is for people and may change.",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": shown("string", "`urn:creditd:problem:` and the code."),
            "title": shown("string", "The code in words."),
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "code": words(codes, "What is wrong; stable."),
            "detail": shown("string", "What is wrong here, in words."),
            "field": shown("string", "The member or parameter that is wrong, such as `paid.amount` or `events[3].key`."),
            "request_id": shown("string", "The request's number, as in `x-request-id`; not in the items of a batch."),
            "pool": a("Feature", "With `insufficient_credits`: the pool that would have paid."),
            "required": amount("With `insufficient_credits`: what was needed."),
            "available": amount("With `insufficient_credits`: what there is."),
            "asked": number("With `more_than_free`: what was to go; with a ceiling such as `max_per_month_money`: what this would add."),
            "free": amount("With `more_than_free`: what is neither spent nor held."),
            "held": amount("With `more_than_free`, `nothing_to_void` and `wallet_held`: what is set aside."),
            "decline_code": shown_or_null("string", "With `payment_failed`: why the card was declined, in its issuer's word."),
            "limit": shown("string", "With `spend_limit`: the limit's name."),
            "most": number("With `spend_limit`: the most that may be used in its window; with a ceiling: the ceiling."),
            "used": number("With `spend_limit`: what is used of it, open holds included; with a ceiling: what is decided in its window."),
            "window": words(&["day", "month"], "With a ceiling: its window."),
            "until": a("Time", "With a ceiling: its window ends then."),
            "top_up": a("TopUpId", "With `top_up_in_progress`: the one under way."),
        },
    })
}
