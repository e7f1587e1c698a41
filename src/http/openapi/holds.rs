//! Holds.

use serde_json::{Value, json};

use super::schema::{
    Schemas, a, answer, customer_in_path, in_path, in_query, list, maybe, page, paged, reference, request, words,
};
use super::{Answer, Operation};
use crate::domain::hold::{HoldState, WhenMore};

fn hold_in_path() -> Value {
    in_path("id", &reference("HoldId"), "The hold.")
}

/// `GET /api/v1/holds/{id}`.
pub fn get_hold() -> Operation {
    Operation {
        id: "get_hold",
        tag: "usage",
        summary: "Shows a hold, an ended one too",
        description: "As it stands now: one whose time is over is shown so. Holds are placed by a check.",
        parameters: vec![hold_in_path()],
        body: None,
        answers: vec![Answer::json(200, "The hold.", "HoldOfCustomer")],
        refusals: &[(404, &["unknown_hold"]), (429, &["busy"])],
    }
}

/// `POST /api/v1/holds/{id}/extend`.
pub fn extend_hold() -> Operation {
    Operation {
        id: "extend_hold",
        tag: "usage",
        summary: "A heartbeat: the hold lives longer",
        description: "It lives so long from now on, and never less than it did. A hold that has ended is not found.",
        parameters: vec![hold_in_path()],
        body: Some("ExtendRequest"),
        answers: vec![Answer::json(200, "The hold.", "HoldState")],
        refusals: &[(404, &["unknown_hold"]), (429, &["busy"])],
    }
}

/// `POST /api/v1/holds/{id}/release`.
pub fn release_hold() -> Operation {
    Operation {
        id: "release_hold",
        tag: "usage",
        summary: "Lets go of what a hold has set aside",
        description: "A hold is settled by a track that carries it, the last one with `final`. A hold that has ended is \
            not found.",
        parameters: vec![hold_in_path()],
        body: Some("ReleaseRequest"),
        answers: vec![Answer::json(200, "The hold.", "HoldState")],
        refusals: &[(404, &["unknown_hold"]), (429, &["busy"])],
    }
}

/// `GET /api/v1/customers/{customer}/holds`.
pub fn list_holds() -> Operation {
    Operation {
        id: "list_holds",
        tag: "customers",
        summary: "The open holds of a customer, newest first",
        description: "Those whose time is not over.",
        parameters: paged(vec![
            customer_in_path(),
            in_query("feature", &reference("Feature"), "Only holds for usage of this feature."),
            in_query("entity", &reference("ExternalId"), "Only holds of this seat or workspace."),
        ]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "HoldPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"])],
    }
}

fn members() -> Value {
    json!({
        "id": reference("HoldId"),
        "feature": a("Feature", "What is to be used."),
        "entity": maybe("ExternalId", "Seat or workspace; null: the customer."),
        "state": words(&HoldState::ALL.map(HoldState::word), "Its life."),
        "when_more": words(&WhenMore::ALL.map(WhenMore::word), "What happens when the usage costs more."),
        "quantity": a("Amount", "Units it was placed for that no track has settled yet."),
        "amount": a("Amount", "Credits set aside at first."),
        "held": a("Amount", "Credits still set aside."),
        "slices": list(&reference("Slice"), "Of which grants, in burn order."),
        "created_at": reference("Time"),
        "expires_at": a("Time", "It is over then, unless it is extended."),
        "ended_at": maybe("Time", "When it was settled, released or over."),
    })
}

pub(super) fn schemas() -> Schemas {
    let mut whole = members();
    whole["customer"] = maybe("ExternalId", "Whose credits; null: the customer was erased.");
    let slice = answer(&json!({
        "grant": reference("GrantId"),
        "pool": reference("Feature"),
        "amount": a("Amount", "Credits still set aside of it."),
    }));
    Schemas::from_iter([
        ("Hold".to_owned(), answer(&members())),
        ("HoldOfCustomer".to_owned(), answer(&whole)),
        ("HoldPage".to_owned(), page("Hold")),
        ("Slice".to_owned(), slice),
        ("ExtendRequest".to_owned(), request(&["ttl_seconds"], &json!({ "ttl_seconds": reference("HoldSeconds") }))),
        ("ReleaseRequest".to_owned(), request(&[], &json!({}))),
    ])
}
