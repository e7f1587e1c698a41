//! Top-up rules, why one does not charge, and top-ups.

use serde_json::{Value, json};

use super::super::native::held_back;
use super::super::native::rule_terms::{CARD_MAX, CONSENT_TEXT_MAX};
use super::super::native::top_up_rules::NAME_IN_PATH_MAX;
use super::schema::{
    Schemas, a, answer, customer_in_path, in_path, in_query, list, maybe, page, paged, reference, request, shown,
    shown_or_null, text, text_or_null, words,
};
use super::{Answer, Operation};
use crate::domain::top_up::{COOLDOWN_SECONDS_MAX, COUNT_MAX, RULE_NAME_MAX, RULES_MAX, TopUpState, TryState};

fn named(most: usize) -> Vec<Value> {
    let said = "The rule's name, percent-encoded: a plan's own has slashes, which are %2F.";
    vec![customer_in_path(), in_path("name", &text(most, "The rule's name."), said)]
}

/// `PUT /api/v1/customers/{customer}/topup-rules/{name}`.
pub fn put_rule() -> Operation {
    Operation {
        id: "put_topup_rule",
        tag: "top-ups",
        summary: "Sets a top-up rule, or sets it anew",
        description: "When the balance is at `threshold` or below, packs of the catalogue are bought with a saved card: \
            as many as give `quantity`, or bring the balance to `target`. It fires at once where the balance is low \
            already. Setting it anew takes it out of its pause; what it decided in the day and the month goes on \
            counting. A rule about the same feature and wallet as a plan's stands in that one's place, on or off.",
        parameters: named(RULE_NAME_MAX),
        body: Some("TopUpRuleRequest"),
        answers: vec![Answer::json(200, "The rule.", "TopUpRule")],
        refusals: &[
            (
                400,
                &[
                    "bad_request",
                    "not_metered",
                    "price_missing",
                    "currency_missing",
                    "consent_missing",
                    "max_per_month_missing",
                    "nothing_to_buy",
                    "too_much",
                    "refused",
                ],
            ),
            (404, &["unknown_customer", "unknown_feature", "unknown_wallet", "unknown_rule"]),
            (409, &["wallet_feature", "wallet_closed", "too_many_rules", "currency_fixed"]),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/customers/{customer}/topup-rules/{name}`.
pub fn get_rule() -> Operation {
    Operation {
        id: "get_topup_rule",
        tag: "top-ups",
        summary: "Shows a top-up rule, and what is used of its ceilings",
        description: "Rules that the customer's plans say are shown too.",
        parameters: named(NAME_IN_PATH_MAX),
        body: None,
        answers: vec![Answer::json(200, "The rule.", "TopUpRule")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer", "unknown_rule"]), (429, &["busy"])],
    }
}

/// `DELETE /api/v1/customers/{customer}/topup-rules/{name}`.
pub fn delete_rule() -> Operation {
    Operation {
        id: "delete_topup_rule",
        tag: "top-ups",
        summary: "Takes a top-up rule away",
        description: "It decides nothing any more. What it decided and has not sent is dropped; what is under way takes \
            its course. Setting it again in the same month begins no new one for its ceilings.",
        parameters: named(NAME_IN_PATH_MAX),
        body: None,
        answers: vec![Answer::json(200, "It is gone.", "TopUpRuleGone")],
        refusals: &[
            (400, &["bad_request"]),
            (404, &["unknown_customer", "unknown_rule"]),
            (409, &["rule_of_plan"]),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/customers/{customer}/topup-rules`.
pub fn list_rules() -> Operation {
    Operation {
        id: "list_topup_rules",
        tag: "top-ups",
        summary: "A customer's top-up rules, by name",
        description: "All of them, also those that plans say: there is one page.",
        parameters: vec![customer_in_path()],
        body: None,
        answers: vec![Answer::json(200, "The rules.", "TopUpRulePage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"]), (429, &["busy"])],
    }
}

/// `GET /api/v1/customers/{customer}/topup-rules/{name}/why`.
pub fn why() -> Operation {
    Operation {
        id: "why_topup_rule",
        tag: "top-ups",
        summary: "Why a rule does not charge now, or what it would charge",
        description: "The first check that holds a charge back, with its numbers; decisions are made by the same checks.",
        parameters: named(NAME_IN_PATH_MAX),
        body: None,
        answers: vec![Answer::json(200, "What holds it back, or what it would charge.", "TopUpWhy")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer", "unknown_rule"]), (429, &["busy"])],
    }
}

/// `POST /api/v1/topups`.
pub fn order_top_up() -> Operation {
    Operation {
        id: "order_topup",
        tag: "top-ups",
        summary: "Orders credits, once for each key",
        description: "Whole packs of the catalogue, rounded up, paid with a saved card. It is decided here and charged \
            after the answer: its state tells. Orders count against the configured most of a month. The same key again \
            shows what has become of it since.",
        parameters: Vec::new(),
        body: Some("TopUpRequest"),
        answers: vec![Answer::json(202, "It is decided, now or before.", "TopUp")],
        refusals: &[
            (
                400,
                &[
                    "bad_request",
                    "not_metered",
                    "price_missing",
                    "currency_missing",
                    "max_per_month_missing",
                    "too_much",
                    "refused",
                ],
            ),
            (404, &["unknown_customer", "unknown_feature", "unknown_wallet"]),
            (
                409,
                &[
                    "key_conflict",
                    "wallet_feature",
                    "wallet_closed",
                    "top_up_in_progress",
                    "max_per_month_money",
                    "out_of_range",
                ],
            ),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/topups/{id}`.
pub fn get_top_up() -> Operation {
    Operation {
        id: "get_topup",
        tag: "top-ups",
        summary: "Shows a top-up, with its tries",
        description: "Of a rule, or ordered by hand.",
        parameters: vec![in_path("id", &reference("TopUpId"), "The top-up.")],
        body: None,
        answers: vec![Answer::json(200, "The top-up.", "TopUp")],
        refusals: &[(404, &["unknown_top_up"])],
    }
}

/// `GET /api/v1/customers/{customer}/topups`.
pub fn list_top_ups() -> Operation {
    Operation {
        id: "list_topups",
        tag: "top-ups",
        summary: "A customer's top-ups, newest first",
        description: "Those that are over too.",
        parameters: paged(vec![
            customer_in_path(),
            in_query("feature", &reference("Feature"), "Only top-ups of this feature."),
            in_query("rule", &text(NAME_IN_PATH_MAX, "A rule's name."), "Only top-ups that this rule decided."),
        ]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "TopUpPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"])],
    }
}

fn modes(description: &str) -> Value {
    words(&["payment_intent", "invoice"], description)
}

fn currency(description: &str) -> Value {
    json!({ "type": ["string", "null"], "pattern": "^[A-Za-z]{3}$", "description": description })
}

fn paid_money() -> Value {
    request(
        &["amount", "currency"],
        &json!({
            "amount": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$", "description": "In major units, more than zero." },
            "currency": { "type": "string", "pattern": "^[A-Za-z]{3}$", "description": "The rule's currency." },
        }),
    )
}

fn ceiling_asked(description: &str) -> Value {
    let count =
        json!({ "type": ["integer", "null"], "minimum": 1, "maximum": COUNT_MAX, "description": "Most top-ups." });
    let money = json!({ "anyOf": [paid_money(), { "type": "null" }], "description": "Most money." });
    let most = request(&[], &json!({ "count": count, "money": money }));
    json!({ "anyOf": [most, { "type": "null" }], "description": description })
}

fn rule_request() -> Value {
    let decimal = |kinds: Value, description: &str| json!({ "type": kinds, "pattern": "^-?[0-9]+(\\.[0-9]+)?$", "description": description });
    let consent = request(
        &["by", "at", "text_version"],
        &json!({
            "by": text(CONSENT_TEXT_MAX, "Who agreed."),
            "at": a("Time", "When."),
            "text_version": text(CONSENT_TEXT_MAX, "To which version of the text."),
        }),
    );
    request(
        &["enabled", "feature", "threshold"],
        &json!({
            "enabled": shown("boolean", "Does it decide anything? Switching it off drops what it has not sent."),
            "feature": a("Feature", "The feature whose credits are watched and bought."),
            "wallet": maybe("ExternalId", "The wallet that is watched and filled; absent: all of the feature is watched, \
                and its default wallet filled."),
            "threshold": decimal(json!("string"), "It buys at this balance or below; below zero where debt is allowed."),
            "quantity": decimal(json!(["string", "null"]), "Credits to buy, rounded up to whole packs."),
            "target": decimal(json!(["string", "null"]), "In its place: the balance to buy up to."),
            "currency": currency("The currency it pays in; absent: that of its ceilings, else the only one of the packs, \
                else that of Stripe's customer, else the configured one."),
            "payment_method": text_or_null(CARD_MAX, "Stripe's id of a card; absent: the customer's default one."),
            "mode": { "anyOf": [modes("How money is taken."), { "type": "null" }], "description": "Absent: as configured." },
            "max_per_day": ceiling_asked("Most of a UTC day; absent: not limited."),
            "max_per_month": ceiling_asked("Most of a UTC month; its money is the configured most where it names none."),
            "cooldown_seconds": { "type": ["integer", "null"], "minimum": 0, "maximum": COOLDOWN_SECONDS_MAX,
                "description": "Seconds from one top-up to the next; absent: 0." },
            "consent": { "anyOf": [consent, { "type": "null" }],
                "description": "Who agreed to be charged while away; needed where it is enabled." },
        }),
    )
}

fn rule() -> Value {
    let ceiling = |description: &str| {
        let mut shape = answer(&json!({
            "count": shown_or_null("integer", "Top-ups; null: not limited."),
            "money": maybe("Money", "Money; null: not limited."),
        }));
        shape["description"] = json!(description);
        shape
    };
    let used = answer(&json!({ "count": shown("integer", "Top-ups."), "money": maybe("Money", "Money.") }));
    let consent = answer(&json!({
        "by": shown("string", "Who."), "at": reference("Time"), "text_version": shown("string", "To which text."),
    }));
    let open = answer(&json!({
        "id": reference("TopUpId"),
        "state": states(),
        "reason": shown_or_null("string", "Why it waits."),
        "quantity": a("Amount", "Credits it buys."),
        "amount": reference("Money"),
        "created_at": reference("Time"),
        "url": shown_or_null("string", "Where the card's owner can pay it."),
    }));
    answer(&json!({
        "name": shown("string", "Its name."),
        "origin": words(&["api", "plan"], "Was it set here, or does a plan say it?"),
        "state": words(&["active", "paused", "disabled"], "paused: until somebody acts."),
        "replaced_by": shown_or_null("string", "The rule that stands in its place."),
        "paused_because": shown_or_null("string", "no_payment_method, card_declined, authentication_required, refused \
            or customer_deleted."),
        "paused_at": maybe("Time", "Since when."),
        "enabled": shown("boolean", "Is it switched on?"),
        "feature": reference("Feature"),
        "wallet": maybe("ExternalId", "The wallet; null: all of the feature."),
        "threshold": a("Amount", "It buys at this balance or below."),
        "quantity": maybe("Amount", "Credits to buy."),
        "target": maybe("Amount", "The balance to buy up to."),
        "currency": shown("string", "The currency it pays in."),
        "mode": modes("How money is taken."),
        "payment_method": shown_or_null("string", "The card; null: the customer's default one."),
        "max_per_day": ceiling("Most of a UTC day."),
        "max_per_month": ceiling("Most of a UTC month."),
        "used": answer(&json!({ "day": used, "month": used })),
        "cooldown_seconds": shown("integer", "Seconds from one top-up to the next."),
        "consent": { "anyOf": [consent, { "type": "null" }], "description": "Who agreed." },
        "decided_at": maybe("Time", "When it decided last."),
        "open_top_up": { "anyOf": [open, { "type": "null" }], "description": "Its top-up that is not over." },
    }))
}

fn why_shown() -> Value {
    let number =
        |description: &str| json!({ "anyOf": [reference("Money"), reference("Amount")], "description": description });
    let held_back = json!({
        "type": "object",
        "required": ["code", "detail"],
        "properties": {
            "code": words(&held_back::CODES, "The check; stable."),
            "detail": shown("string", "In words."),
            "rule": shown("string", "The rule that stands in its place."),
            "because": shown("string", "Why it is paused."),
            "since": a("Time", "Since when it is paused."),
            "top_up": reference("TopUpId"),
            "wallet_state": words(&["frozen", "closed"], "How its wallet stands."),
            "top_up_state": states(),
            "balance": reference("Amount"),
            "threshold": reference("Amount"),
            "target": reference("Amount"),
            "window": words(&["day", "month"], "The ceiling's window."),
            "most": number("The ceiling."),
            "used": number("Decided in the window."),
            "asked": number("What this one would add."),
            "until": a("Time", "It ends by itself then."),
            "reason": shown("string", "What failed last."),
        },
    });
    let charge = answer(&json!({
        "quantity": a("Amount", "Credits."),
        "amount": reference("Money"),
        "packs": shown("integer", "How many packs."),
        "plan": shown("string", "Whose packs."),
    }));
    answer(&json!({
        "name": shown("string", "The rule."),
        "at": reference("Time"),
        "balance": maybe("Amount", "What it watches; null: it cannot be told, as `held_back` says."),
        "threshold": reference("Amount"),
        "held_back": { "anyOf": [held_back, { "type": "null" }], "description": "null: nothing holds it back." },
        "would_charge": { "anyOf": [charge, { "type": "null" }], "description": "null: nothing would be charged." },
    }))
}

fn states() -> Value {
    let all = [
        TopUpState::Open,
        TopUpState::Charging,
        TopUpState::Processing,
        TopUpState::NeedsAction,
        TopUpState::Closing,
        TopUpState::Succeeded,
        TopUpState::Failed,
        TopUpState::Dropped,
    ];
    words(
        &all.map(TopUpState::word),
        "open: to be charged; charging: sent; processing: the bank takes its time; \
        needs_action: waits for the card's owner; closing: given up; succeeded; failed; dropped: not wanted any more.",
    )
}

fn tried() -> Value {
    let all = [
        TryState::Sent,
        TryState::Processing,
        TryState::NeedsAction,
        TryState::Succeeded,
        TryState::Declined,
        TryState::Refused,
        TryState::NotDone,
        TryState::Cancelled,
    ];
    answer(&json!({
        "number": shown("integer", "Which, from 1."),
        "state": words(&all.map(TryState::word), "How it went; sent: its outcome is not known."),
        "payment_method": shown("string", "The card."),
        "payment_intent": shown_or_null("string", "Stripe's intent."),
        "invoice": shown_or_null("string", "Stripe's invoice."),
        "code": shown_or_null("string", "Stripe's code of a failure."),
        "decline_code": shown_or_null("string", "The issuer's reason."),
        "advice_code": shown_or_null("string", "What Stripe advises."),
        "created_at": reference("Time"),
        "ended_at": maybe("Time", "When its outcome was known for certain."),
    }))
}

fn top_up() -> Value {
    let refund = answer(&json!({
        "payment": reference("PaymentId"),
        "payment_intent": shown("string", "Its intent at Stripe."),
        "amount": reference("Money"),
        "state": words(&["due", "refunded", "failed"], "failed: Stripe refuses it, a person has to see to it."),
        "stripe_refund": shown_or_null("string", "The refund."),
        "created_at": reference("Time"),
        "ended_at": maybe("Time", "When it was refunded, or refused."),
    }));
    answer(&json!({
        "id": reference("TopUpId"),
        "customer": maybe("ExternalId", "Whose; null: erased."),
        "rule": shown("string", "The rule that decided it; demand/, the feature and the currency: ordered by hand."),
        "state": states(),
        "reason": shown_or_null("string", "Why it waits, failed or was dropped: a stable code."),
        "feature": reference("Feature"),
        "wallet": maybe("ExternalId", "The wallet it fills; null: the default one, not made yet."),
        "quantity": a("Amount", "Credits it buys."),
        "amount": a("Money", "What it costs, taxes left out."),
        "packs": shown("integer", "How many packs."),
        "plan": shown("string", "Whose packs."),
        "mode": modes("How money is taken."),
        "payment_method": shown_or_null("string", "The card; null: the customer's default one."),
        "balance_before": maybe("Amount", "The balance it was decided at; null: ordered by hand."),
        "grant": maybe("GrantId", "What it gave; null: it is not paid."),
        "payment": maybe("PaymentId", "What paid it."),
        "url": shown_or_null("string", "Where the card's owner can pay it."),
        "url_expires_at": maybe("Time", "Until when; null: it stays open."),
        "tries": list(&tried(), "Tries to charge a card."),
        "refunds": list(&refund, "What was paid a second time, and goes back."),
        "created_at": reference("Time"),
        "due_at": maybe("Time", "When something is to be done about it; null: it is over."),
        "ended_at": maybe("Time", "When it was over."),
    }))
}

pub(super) fn schemas() -> Schemas {
    let order = json!({
        "key": a("ExternalId", "The caller's own key: it makes one top-up."),
        "customer": a("ExternalId", "Who pays."),
        "feature": a("Feature", "The feature whose credits are bought."),
        "wallet": maybe("ExternalId", "The wallet that is filled; absent: the feature's default one."),
        "quantity": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "description": "Credits, more than zero, rounded up to whole packs." },
        "currency": currency("The currency to pay in; absent: the only one of the packs, else that of Stripe's customer, \
            else the configured one."),
        "payment_method": text_or_null(CARD_MAX, "Stripe's id of a card; absent: the customer's default one."),
    });
    let gone = answer(&json!({ "name": shown("string", "Its name."), "deleted": { "const": true } }));
    let all = answer(&json!({
        "data": list(&reference("TopUpRule"), &format!("At most {RULES_MAX}, and those of plans.")),
        "next_cursor": shown_or_null("string", "Always null."),
    }));
    Schemas::from_iter([
        ("TopUpRuleRequest".to_owned(), rule_request()),
        ("TopUpRule".to_owned(), rule()),
        ("TopUpRuleGone".to_owned(), gone),
        ("TopUpRulePage".to_owned(), all),
        ("TopUpWhy".to_owned(), why_shown()),
        ("TopUpRequest".to_owned(), request(&["key", "customer", "feature", "quantity"], &order)),
        ("TopUp".to_owned(), top_up()),
        ("TopUpPage".to_owned(), page("TopUp")),
    ])
}
