//! Plans and packs that are asked for.

use serde_json::{Value, json};

use super::super::native::attach::{PRICE_MAX, SEATS_MAX, URL_MAX, WHEN};
use super::super::native::setup::CURRENCY_LENGTH;
use super::schema::{
    Schemas, a, answer, list, maybe, reference, request, shown, shown_or_null, text, text_or_null, words,
};
use super::{Answer, Operation};
use crate::domain::catalog::NAME_MAX;
use crate::selling::offer::QUANTITIES_MAX;

/// Refusals of an order.
const ORDER: &[(u16, &[&str])] = &[
    (
        400,
        &[
            "bad_request",
            "below_minimum",
            "currency_mismatch",
            "not_supported",
            "plan_has_price",
            "price_not_in_stripe",
            "refused",
            "stripe_not_configured",
            "too_much",
            "unknown_price",
        ],
    ),
    (402, &["payment_failed"]),
    (404, &["unknown_customer", "unknown_plan"]),
    (409, &["already_attached", "key_conflict", "payment_processing", "stripe_refused"]),
    (429, &["busy"]),
    (503, &["stripe_unavailable"]),
];
/// Refusals of leaving and staying.
const LEAVE: &[(u16, &[&str])] = &[
    (400, &["bad_request", "plan_has_price", "refused", "stripe_not_configured"]),
    (402, &["payment_failed"]),
    (404, &["not_attached", "unknown_customer", "unknown_plan"]),
    (409, &["stripe_refused", "subscription_shared"]),
    (429, &["busy"]),
    (503, &["stripe_unavailable"]),
];

fn operation(
    id: &'static str,
    summary: &'static str,
    description: &'static str,
    (body, answer): (&'static str, Answer),
    refusals: &'static [(u16, &'static [&'static str])],
) -> Operation {
    Operation {
        id,
        tag: "plans",
        summary,
        description,
        parameters: Vec::new(),
        body: Some(body),
        answers: vec![answer],
        refusals,
    }
}

/// `POST /api/v1/attach`.
pub fn attach() -> Operation {
    let description = "A plan without a price is attached at once, in the place of another of its group. For anything \
        that costs money Stripe is asked: without a saved card a page is opened, and asking again gives the same page \
        while it is open; a saved card is charged, packs and add-ons only with a `key`, once for it. A dearer plan of \
        the group changes the subscription at once, a cheaper one with its period. Credits and plans come with \
        Stripe's event that it is paid, not with this answer.";
    let answer = Answer::json(200, "What was done.", "Attached");
    operation("attach", "Gives a customer a plan or packs", description, ("AttachRequest", answer), ORDER)
}

/// `POST /api/v1/attach/preview`.
pub fn preview_attach() -> Operation {
    let description = "The same body as `attach`. Nothing is written, and Stripe is asked questions only. Money is by \
        the catalogue, without taxes and discounts; of a change within a paid period it is an estimate by the time \
        that is left.";
    let answer = Answer::json(200, "What `attach` would do.", "AttachPreview");
    operation("preview_attach", "What attaching would do", description, ("AttachRequest", answer), ORDER)
}

/// `POST /api/v1/cancel`.
pub fn cancel() -> Operation {
    let description = "A plan that a subscription pays for ends when Stripe says so; what was paid for the rest of its \
        period is not given back. What was scheduled to follow it is dropped.";
    let answer = Answer::json(200, "When it ends.", "EndSet");
    operation("cancel", "Ends a plan, now or with its period", description, ("CancelRequest", answer), LEAVE)
}

/// `POST /api/v1/uncancel`.
pub fn uncancel() -> Operation {
    let description = "Also drops a change to a cheaper plan that waits for the period's end.";
    let answer = Answer::json(200, "It goes on.", "EndSet");
    operation("uncancel", "Lets a plan go on after all", description, ("UncancelRequest", answer), LEAVE)
}

/// `POST /api/v1/portal`.
pub fn portal() -> Operation {
    const REFUSALS: &[(u16, &[&str])] = &[
        (400, &["bad_request", "stripe_not_configured"]),
        (402, &["payment_failed"]),
        (404, &["no_stripe_customer", "unknown_customer"]),
        (409, &["stripe_refused"]),
        (503, &["stripe_unavailable"]),
    ];
    let description = "On it customers look after their cards, invoices and subscriptions. The address is for a few \
        minutes.";
    let answer = Answer::json(200, "Where it is.", "Portal");
    operation("portal", "A way into Stripe's portal", description, ("PortalRequest", answer), REFUSALS)
}

/// `POST /api/v1/setup`.
pub fn setup() -> Operation {
    const REFUSALS: &[(u16, &[&str])] = &[
        (400, &["bad_request", "stripe_not_configured"]),
        (402, &["payment_failed"]),
        (404, &["unknown_customer"]),
        (409, &["payment_processing", "stripe_refused"]),
        (429, &["busy"]),
        (503, &["stripe_unavailable"]),
    ];
    let description = "Nothing is charged. One page of a customer is open at a time: asking again gives the same one while \
        it is. The card becomes what the customer pays with, and top-ups that waited for one go on, when Stripe's event \
        tells of it.";
    let answer = Answer::json(200, "Where it is.", "Setup");
    operation("setup", "A page on which a customer leaves a card", description, ("SetupRequest", answer), REFUSALS)
}

fn url(what: &str) -> Value {
    json!({ "type": ["string", "null"], "minLength": 1, "maxLength": URL_MAX, "pattern": "^https?://",
        "description": what })
}

fn attach_request() -> Value {
    let carry_over = request(
        &[],
        &json!({
            "balances": { "type": ["boolean", "null"], "description": "What is unspent of its periods stays until their own end." },
            "usage": { "type": ["boolean", "null"], "description": "What was used of its running periods is taken of the new plan's first credits." },
        }),
    );
    request(
        &["customer", "plan"],
        &json!({
            "customer": a("ExternalId", "Who gets it."),
            "plan": text(NAME_MAX, "The plan, or the plan that offers the packs."),
            "price": text_or_null(PRICE_MAX, "Which of its prices: a lookup key, or the id of the price in Stripe; absent: the first in the customer's currency."),
            "quantities": { "type": ["object", "null"], "minProperties": 1, "maxProperties": QUANTITIES_MAX,
                "additionalProperties": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$" },
                "description": "Credits wanted, by feature or item, as decimal strings: what the plan includes counts, the rest is bought in whole packs." },
            "seats": { "type": ["integer", "null"], "minimum": 1, "maximum": SEATS_MAX,
                "description": "How many of the plan; absent: one, or as many as there are." },
            "entity": maybe("ExternalId", "Seat or workspace; for plans without a price."),
            "carry_over": { "anyOf": [carry_over, { "type": "null" }],
                "description": "What is kept of a plan of ours whose place it takes." },
            "success_url": url("Where a buyer is sent after paying; needed when a page is opened."),
            "cancel_url": url("Where the page's way back leads."),
            "key": maybe("ExternalId", "The caller's own key: with it a saved card is charged, and once."),
        }),
    )
}

/// Members that an answer and a preview share.
fn attached(more: Value) -> Value {
    let line = answer(&json!({
        "plan": shown("string", "The plan."),
        "feature": shown_or_null("string", "The feature whose packs are bought; null: it is the plan's fee."),
        "credits": maybe("Amount", "What the packs give."),
        "quantity": shown("integer", "How many of its price."),
        "unit": reference("Money"),
        "amount": reference("Money"),
        "stripe_price": shown_or_null("string", "price_.."),
    }));
    let actions = ["attach", "checkout", "charge", "change", "schedule"];
    let mut properties = json!({
        "customer": reference("ExternalId"),
        "plan": shown("string", "The plan."),
        "action": words(&actions, "attach: it is attached; checkout: a page waits for its buyer; charge: a saved card pays; \
            change: the subscription changes now; schedule: it comes when the plan before it ends."),
        "lines": list(&line, "What is bought."),
        "total": maybe("Money", "What is paid now, without taxes and discounts; null: nothing, or Stripe reckons it."),
        "trial_days": shown_or_null("integer", "Days without payment at its start."),
        "effective_at": maybe("Time", "When it takes effect; null: at once, or when Stripe says that it is paid."),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    answer(&properties)
}

fn leave(more: Value) -> Value {
    let mut properties = json!({
        "customer": reference("ExternalId"),
        "plan": text(NAME_MAX, "The plan."),
        "entity": maybe("ExternalId", "Seat or workspace; absent: the customer's."),
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    request(&["customer", "plan"], &properties)
}

fn setup_request() -> Value {
    let address = json!({ "type": "string", "minLength": 1, "maxLength": URL_MAX, "pattern": "^https?://",
        "description": "Where the customer is sent afterwards." });
    let currency = json!({ "type": ["string", "null"], "minLength": CURRENCY_LENGTH, "maxLength": CURRENCY_LENGTH,
        "pattern": "^[A-Za-z]{3}$",
        "description": "The currency of later charges; absent: the customer's, else the only one of the catalogue." });
    request(
        &["customer", "success_url"],
        &json!({
            "customer": reference("ExternalId"),
            "success_url": address,
            "cancel_url": url("Where the page's way back leads."),
            "currency": currency,
        }),
    )
}

pub(super) fn schemas() -> Schemas {
    let action = answer(&json!({
        "type": words(&["authenticate"], "Their bank asks for the card's owner."),
        "url": shown_or_null("string", "Where they do it."),
        "client_secret": shown_or_null("string", "For a page of the app's own."),
    }));
    let attachment = answer(&json!({ "id": reference("AttachmentId"), "state": shown("string", "Its state.") }));
    let balance = answer(&json!({
        "feature": reference("Feature"),
        "now": a("Amount", "What can be spent now."),
        "after": a("Amount", "What can be spent right afterwards."),
        "at_renewal": maybe("Amount", "What can be spent when the next period begins, if nothing is used until then."),
        "unlimited": shown("boolean", "Is there no limit afterwards?"),
    }));
    let when: Vec<Value> = WHEN.iter().map(|(word, _)| json!(word)).chain([Value::Null]).collect();
    Schemas::from_iter([
        ("AttachRequest".to_owned(), attach_request()),
        (
            "Attached".to_owned(),
            attached(json!({
                "checkout_url": shown_or_null("string", "The page to pay on; it is open for a day."),
                "required_action": { "anyOf": [action, { "type": "null" }], "description": "What the buyer has to do." },
                "attachment": { "anyOf": [attachment, { "type": "null" }], "description": "Of a plan without a price." },
            })),
        ),
        (
            "AttachPreview".to_owned(),
            attached(json!({
                "is_estimate": shown("boolean", "Is the total reckoned here by the time that is left of the period?"),
                "balances": list(&balance, "Every pool."),
                "renews_at": maybe("Time", "When the next period would begin."),
                "ends": list(&json!({ "type": "string" }), "Plans that would end."),
            })),
        ),
        ("CancelRequest".to_owned(), leave(json!({ "when": { "enum": when, "description": "Absent: period_end." } }))),
        ("UncancelRequest".to_owned(), leave(json!({}))),
        (
            "EndSet".to_owned(),
            answer(&json!({
                "customer": reference("ExternalId"),
                "plan": shown("string", "The plan."),
                "attachment": reference("AttachmentId"),
                "ends_at": maybe("Time", "It ends or ended then; null: it goes on."),
                "by_stripe": shown("boolean", "Does it take effect when Stripe's event tells of it?"),
            })),
        ),
        (
            "PortalRequest".to_owned(),
            request(
                &["customer"],
                &json!({
                    "customer": reference("ExternalId"),
                    "return_url": url("Where its link back leads."),
                }),
            ),
        ),
        ("SetupRequest".to_owned(), setup_request()),
        (
            "Setup".to_owned(),
            answer(&json!({
                "customer": reference("ExternalId"),
                "checkout_url": shown("string", "The page; it is open for a day."),
            })),
        ),
        (
            "Portal".to_owned(),
            answer(&json!({ "customer": reference("ExternalId"), "url": shown("string", "Its address.") })),
        ),
    ])
}
