//! Spend limits.

use serde_json::{Value, json};

use super::schema::{
    Schemas, a, answer, customer_in_path, in_path, list, maybe, reference, request, shown, shown_or_null, text, words,
};
use super::{Answer, Operation};
use crate::domain::limit::{LIMIT_NAME_MAX, LIMITS_MAX, Window};

fn named() -> Vec<Value> {
    let name = text(LIMIT_NAME_MAX, "The limit's name.");
    vec![customer_in_path(), in_path("name", &name, "The limit's name, percent-encoded.")]
}

/// `PUT /api/v1/customers/{customer}/spend-limits/{name}`.
pub fn put_limit() -> Operation {
    Operation {
        id: "put_spend_limit",
        tag: "customers",
        summary: "Sets a spend limit, or sets it anew",
        description: "A limit of a metered feature counts its units, one of a credit system the credits drawn of it. \
            What was used in the running window before counts.",
        parameters: named(),
        body: Some("SpendLimitRequest"),
        answers: vec![Answer::json(200, "The limit.", "SpendLimit")],
        refusals: &[
            (400, &["bad_request", "not_metered", "not_limitable", "refused"]),
            (404, &["unknown_customer", "unknown_feature", "unknown_limit"]),
            (409, &["too_many_limits"]),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/customers/{customer}/spend-limits/{name}`.
pub fn get_limit() -> Operation {
    Operation {
        id: "get_spend_limit",
        tag: "customers",
        summary: "Shows a spend limit, and what is used of it",
        description: "As it stands now.",
        parameters: named(),
        body: None,
        answers: vec![Answer::json(200, "The limit.", "SpendLimit")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer", "unknown_limit"]), (429, &["busy"])],
    }
}

/// `DELETE /api/v1/customers/{customer}/spend-limits/{name}`.
pub fn delete_limit() -> Operation {
    Operation {
        id: "delete_spend_limit",
        tag: "customers",
        summary: "Takes a spend limit away",
        description: "Usage is not limited by it from then on.",
        parameters: named(),
        body: None,
        answers: vec![Answer::json(200, "It is gone.", "SpendLimitGone")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer", "unknown_limit"]), (429, &["busy"])],
    }
}

/// `GET /api/v1/customers/{customer}/spend-limits`.
pub fn list_limits() -> Operation {
    Operation {
        id: "list_spend_limits",
        tag: "customers",
        summary: "A customer's spend limits, by name",
        description: "All of them: there is one page.",
        parameters: vec![customer_in_path()],
        body: None,
        answers: vec![Answer::json(200, "The limits.", "SpendLimitPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"]), (429, &["busy"])],
    }
}

fn windows() -> Value {
    words(&Window::ALL.map(Window::word), "Over which time, by the calendar in UTC; weeks begin on Monday.")
}

pub(super) fn schemas() -> Schemas {
    let limit = answer(&json!({
        "name": shown("string", "Its name."),
        "feature": a("Feature", "What it counts."),
        "entity": maybe("ExternalId", "The seat or workspace whose usage counts; null: all usage of the customer."),
        "window": windows(),
        "quantity": a("Amount", "Most that may be used in the window: units, or credits of a credit system."),
        "used": a("Amount", "Used in the running window."),
        "held": a("Amount", "Set aside by open holds besides."),
        "left": a("Amount", "What neither took."),
        "window_start": maybe("Time", "Start of the running window; null: it has none."),
        "window_ends": maybe("Time", "Its end; null: it has none."),
    }));
    let asked = json!({
        "feature": a("Feature", "A metered feature whose units count, or a credit system whose credits do."),
        "entity": maybe("ExternalId", "Only usage of this seat or workspace; absent: all usage."),
        "window": windows(),
        "quantity": a("Quantity", "Most that may be used in the window."),
    });
    let gone = answer(&json!({ "name": shown("string", "Its name."), "deleted": { "const": true } }));
    let all = answer(&json!({
        "data": list(&reference("SpendLimit"), &format!("At most {LIMITS_MAX}.")),
        "next_cursor": shown_or_null("string", "Always null."),
    }));
    Schemas::from_iter([
        ("SpendLimit".to_owned(), limit),
        ("SpendLimitRequest".to_owned(), request(&["feature", "window", "quantity"], &asked)),
        ("SpendLimitGone".to_owned(), gone),
        ("SpendLimitPage".to_owned(), all),
    ])
}
