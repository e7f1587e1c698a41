//! The daemon itself: probes, metrics, this document, and the webhook.

use serde_json::json;

use super::super::test_clock::ADVANCE_SECONDS_MAX;
use super::schema::{Schemas, answer, list, request, shown, shown_or_null, words};
use super::{Answer, Operation};

fn operation(id: &'static str, summary: &'static str, description: &'static str, answers: Vec<Answer>) -> Operation {
    let (tag, parameters, body, refusals) = ("service", Vec::new(), None, &[][..]);
    Operation { id, tag, summary, description, parameters, body, answers, refusals }
}

/// `GET /healthz`.
pub fn healthz() -> Operation {
    let answers = vec![Answer::json(200, "It is alive.", "Health")];
    operation("healthz", "Does the process answer?", "Asks nothing of the database.", answers)
}

/// `GET /readyz`.
pub fn readyz() -> Operation {
    let answers = vec![
        Answer::json(200, "It can work.", "Readiness"),
        Answer::json(503, "The database does not answer, or its schema is older than this binary.", "Readiness"),
    ];
    let description = "A late worker makes it `degraded` and stays 200: check and track do not need workers.";
    operation("readyz", "Can it do its work?", description, answers)
}

/// `GET /metrics`.
pub fn metrics() -> Operation {
    let text = Answer {
        status: 200,
        description: "Prometheus' text format.",
        media_type: "text/plain",
        schema: json!({ "type": "string" }),
    };
    let description = "No ids and no amounts. It needs no key, unless `metrics.public` is false in the configuration.";
    operation("metrics", "Counters and gauges for Prometheus", description, vec![text])
}

/// `GET /openapi.json`.
pub fn openapi() -> Operation {
    let answers = vec![Answer::json(200, "OpenAPI 3.1.", "Document")];
    operation("openapi", "This document", "The same as `creditd openapi` prints.", answers)
}

/// `POST /webhooks/stripe`.
pub fn webhook() -> Operation {
    Operation {
        id: "stripe_webhook",
        tag: "stripe",
        summary: "Takes Stripe's deliveries",
        description: "The body is the event as Stripe signed it. It is stored before it is answered, and worked on \
            afterwards; a delivery that is there already is answered alike.",
        parameters: Vec::new(),
        body: None,
        answers: vec![Answer::json(200, "It is stored.", "Received")],
        refusals: &[(
            400,
            &[
                "bad_request",
                "not_an_event",
                "signature_no_secret",
                "signature_header_missing",
                "signature_timestamp_missing",
                "signature_timestamp_invalid",
                "signature_v1_missing",
                "body_not_utf8",
                "signature_mismatch",
                "signature_too_old",
                "signature_too_far_ahead",
            ],
        )],
    }
}

/// `POST /api/v1/test-clock/advance`.
pub fn advance() -> Operation {
    Operation {
        id: "advance_test_clock",
        tag: "service",
        summary: "Moves the time of a test database forward",
        description: "By `seconds` or to a time, one of the two; in `dev` the simulated Stripe goes along, from one thing \
            it has to do to the next. A live database has no test clock.",
        parameters: Vec::new(),
        body: Some("Advance"),
        answers: vec![Answer::json(200, "The time it is now.", "TestClock")],
        refusals: &[(400, &["bad_request", "not_supported"]), (503, &["test_clock_unfinished"])],
    }
}

pub(super) fn schemas() -> Schemas {
    let worker = answer(&json!({
        "name": shown("string", "Its name."),
        "age_seconds": { "type": "integer", "minimum": 0, "description": "Since it finished a round." },
        "late": shown("boolean", "Longer than it ever should be?"),
    }));
    Schemas::from_iter([
        ("Health".to_owned(), answer(&json!({ "status": { "const": "ok" } }))),
        (
            "Readiness".to_owned(),
            answer(&json!({
                "status": words(&["ok", "degraded", "unavailable"], "degraded: a worker is late."),
                "database": words(&["ok", "unreachable"], "Does it answer?"),
                "migrations_pending": shown_or_null("integer", "Migrations to be run; null: the database does not answer."),
                "workers": list(&worker, "Every worker."),
            })),
        ),
        (
            "Advance".to_owned(),
            request(
                &[],
                &json!({
                    "seconds": { "type": "integer", "minimum": 1, "maximum": ADVANCE_SECONDS_MAX,
                        "description": "How far, in seconds; ten years at most." },
                    "to": { "type": "string", "format": "date-time", "description": "Up to when, later than now." },
                }),
            ),
        ),
        (
            "TestClock".to_owned(),
            answer(&json!({
                "now": shown("string", "Ledger time now."),
                "offset_seconds": { "type": "integer", "minimum": 0, "description": "Seconds it is ahead of real time." },
            })),
        ),
        ("Received".to_owned(), answer(&json!({ "received": { "const": true } }))),
        ("Document".to_owned(), json!({ "type": "object" })),
    ])
}
