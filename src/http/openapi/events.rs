//! Stored events of Stripe.

use serde_json::{Value, json};

use super::super::native::stripe_events::STRIPE_TEXT_MAX;
use super::schema::{
    Schemas, answer, in_path, in_query, list, maybe, page, paged, reference, request, shown, shown_or_null, text, words,
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

/// `POST /api/v1/stripe-events/{id}/replay`.
pub fn replay() -> Operation {
    Operation {
        id: "replay_stripe_event",
        tag: "stripe",
        summary: "Looks at a stored event again, and works on it once more when told to",
        description: "`meaning` follows from the event and the answers of Stripe stored beside it under today's catalogue; \
            nobody is asked. `booked` is what the ledger holds of its payment and subscription. With `apply` the event is \
            worked on first, whatever has become of it; what was booked before is not booked again.",
        parameters: vec![in_path("id", &text(STRIPE_TEXT_MAX, "evt_.."), "Stripe's id of the event.")],
        body: Some("Replay"),
        answers: vec![Answer::json(200, "What it means, what is booked, and what working on it did.", "Replayed")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_event"])],
    }
}

fn meaning() -> Value {
    answer(&json!({
        "outcome": words(&["act", "ignore", "park", "ask", "forgotten"],
            "What it asks for; ask: Stripe first; forgotten: its body is."),
        "reason": shown_or_null("string", "Why it is ignored or has to wait: a stable code."),
        "detail": shown_or_null("string", "The same in words."),
        "asks": list(&shown("string", "Path and query."), "What Stripe would be asked first."),
        "commands": list(&shown("object", "`command` and what it carries."), "What would be posted, in order."),
    }))
}

fn booked() -> Value {
    let grant = answer(&json!({
        "id": reference("GrantId"),
        "feature": reference("Feature"),
        "item_key": shown_or_null("string", "What of the payment it is; null: a plan's period."),
        "quantity": reference("Amount"),
        "remaining": reference("Amount"),
        "starts_at": reference("Time"),
    }));
    let payment = answer(&json!({
        "id": reference("PaymentId"),
        "customer": maybe("ExternalId", "Whose; null once erased."),
        "status": shown("string", "claimed, paid, free or failed."),
        "grants": list(&grant, "What it gave."),
    }));
    let plan = answer(&json!({
        "plan": shown("string", "The plan."),
        "state": shown("string", "How it stands."),
        "quantity": shown("integer", "Seats."),
        "paid_through": maybe("Time", "Paid until then."),
    }));
    answer(&json!({
        "payments": list(&payment, "Payments with one of its ids."),
        "plans": list(&plan, "Plans of its subscription."),
    }))
}

fn replayed() -> Value {
    let asked = answer(&json!({
        "request": shown("string", "Path and query asked for."),
        "status": shown("integer", "The answer's status."),
    }));
    let mut applied = answer(&json!({
        "outcome": words(&["worked", "busy", "refused"], "busy: a worker is at it now; refused: it is never worked on."),
        "commands_applied": shown("integer", "Commands that changed something."),
        "commands_repeated": shown("integer", "Commands that had been applied before."),
    }));
    applied["type"] = json!(["object", "null"]);
    answer(&json!({
        "id": shown("string", "Stripe's id (evt_..)."),
        "type": shown("string", "Such as checkout.session.completed."),
        "state": words(&states(), "How far it has come."),
        "reason": shown_or_null("string", "Why, as a stable code."),
        "detail": shown_or_null("string", "The same in words."),
        "customer": maybe("ExternalId", "The customer it was found to be about."),
        "inputs": list(&asked, "Answers of Stripe that are stored beside it."),
        "meaning": meaning(),
        "booked": booked(),
        "applied": applied,
    }))
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
        (
            "Replay".to_owned(),
            request(
                &[],
                &json!({ "apply": { "type": "boolean", "default": false,
                "description": "Work on it once more; without, nothing changes." } }),
            ),
        ),
        ("Replayed".to_owned(), replayed()),
    ])
}
