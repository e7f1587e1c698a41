//! Stored events of Stripe.

use serde_json::{Value, json};

use super::super::native::stripe_events::STRIPE_TEXT_MAX;
use super::schema::{
    Schemas, answer, in_path, in_query, list, maybe, page, paged, reference, shown, shown_or_null, text, words,
};
use super::{Answer, Operation};
use crate::store::event_listings::EventState;
use crate::store::events::EventOrigin;

fn states() -> Vec<&'static str> {
    EventState::ALL.iter().map(|state| state.word()).collect()
}

/// `GET /api/v1/stripe-events`.
pub fn list_events() -> Operation {
    let kind = text(STRIPE_TEXT_MAX, "Such as checkout.session.completed.");
    Operation {
        id: "list_stripe_events",
        tag: "stripe",
        summary: "What Stripe told, and what became of it, newest first",
        description: "`state=parked` are those that wait for a fact, `state=dead` those that were given up; `reason` \
            and `detail` say why.",
        parameters: paged(vec![
            in_query("state", &words(&states(), "How far it has come."), "Only events in this state."),
            in_query("type", &kind, "Only events of this type."),
        ]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "StripeEventPage")],
        refusals: &[(400, &["bad_request"])],
    }
}

/// `GET /api/v1/stripe-events/{id}`.
pub fn get_event() -> Operation {
    Operation {
        id: "get_stripe_event",
        tag: "stripe",
        summary: "One stored event, with its body and the answers of Stripe kept beside it",
        description: "Bodies are forgotten after 400 days.",
        parameters: vec![in_path("id", &text(STRIPE_TEXT_MAX, "evt_.."), "Stripe's id of the event.")],
        body: None,
        answers: vec![Answer::json(200, "The event.", "WholeStripeEvent")],
        refusals: &[(404, &["unknown_event"])],
    }
}

fn line() -> Value {
    json!({
        "id": shown("string", "Stripe's id (evt_..)."),
        "type": shown("string", "Such as checkout.session.completed."),
        "state": words(&states(), "How far it has come."),
        "reason": shown_or_null("string", "Why it was ignored, parked, put back or given up: a stable code."),
        "detail": shown_or_null("string", "The same in words."),
        "customer": maybe("ExternalId", "The customer it was found to be about."),
        "object": shown_or_null("string", "Stripe's id of the object it tells of."),
        "api_version": shown_or_null("string", "The version whose shapes it has."),
        "livemode": shown("boolean", "Stripe's mode."),
        "origin": words(&EventOrigin::ALL.map(EventOrigin::word), "A delivery, listed from Stripe, or made from an object of Stripe's that no event told of."),
        "attempts": { "type": "integer", "minimum": 0, "description": "How often it was worked on." },
        "created_at": reference("Time"),
        "received_at": reference("Time"),
        "due_at": maybe("Time", "It is worked on from then; null: it is done."),
        "done_at": maybe("Time", "It was done then."),
    })
}

pub(super) fn schemas() -> Schemas {
    let input = answer(&json!({
        "request": shown("string", "Path and query asked for."),
        "status": shown("integer", "The answer's status."),
        "body": { "description": "The answer." },
    }));
    let mut whole = line();
    whole["body"] = json!({ "description": "The event as it came; null once it is forgotten." });
    whole["inputs"] = list(&input, "Answers of Stripe that were needed.");
    Schemas::from_iter([
        ("StripeEvent".to_owned(), answer(&line())),
        ("StripeEventPage".to_owned(), page("StripeEvent")),
        ("WholeStripeEvent".to_owned(), answer(&whole)),
    ])
}
