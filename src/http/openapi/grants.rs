//! Grants.

use serde_json::{Value, json};

use super::super::native::grants::{PRIORITY_MAX, REASON_MAX, REFERENCE_MAX};
use super::schema::{
    Schemas, a, answer, customer_in_path, in_query, maybe, page, paged, reference, request, shown, shown_or_null, text,
    words,
};
use super::{Answer, Operation};
use crate::store::accounts::EXTERNAL_ID_MAX;

/// `POST /api/v1/grants`.
pub fn give_grant() -> Operation {
    Operation {
        id: "give_grant",
        tag: "grants",
        summary: "Gives credits, once for each key",
        description: "The same key with the same content answers 200 with the same grant. What was paid does not \
            count as content.",
        parameters: Vec::new(),
        body: Some("GrantRequest"),
        answers: vec![
            Answer::json(200, "The key was used before, with the same content.", "Grant"),
            Answer::json(201, "The credits were given.", "Grant"),
        ],
        refusals: &[
            (400, &["bad_request", "not_metered", "refused"]),
            (404, &["unknown_customer", "unknown_feature", "unknown_plan", "unknown_wallet"]),
            (409, &["key_conflict", "wallet_feature", "wallet_closed", "wallet_of_other_customer"]),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/customers/{customer}/grants`.
pub fn list_grants() -> Operation {
    let wallet = text(EXTERNAL_ID_MAX, "A wallet's public id.");
    Operation {
        id: "list_grants",
        tag: "grants",
        summary: "What was given to a customer, and what is left of it, newest first",
        description: "Grants that are used up or over are listed too.",
        parameters: paged(vec![
            customer_in_path(),
            in_query("feature", &reference("Feature"), "Only grants of this pool."),
            in_query("wallet", &wallet, "Only grants of this wallet."),
        ]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "GrantPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer", "unknown_wallet"])],
    }
}

fn money_members() -> (Value, Value) {
    let amount = json!({ "type": "string", "pattern": "^(-0|[0-9]+)(\\.[0-9]+)?$",
        "description": "In major units, such as 20.00; zero or more." });
    (amount, json!({ "type": "string", "pattern": "^[A-Za-z]{3}$", "description": "ISO 4217." }))
}

fn contract_request() -> Value {
    let (amount, currency) = money_members();
    let least = request(&["amount", "currency"], &json!({ "amount": amount, "currency": currency }));
    request(
        &["reference"],
        &json!({
            "reference": text(REFERENCE_MAX, "Its number, or where it is found."),
            "minimum_spend": { "anyOf": [least, { "type": "null" }],
                "description": "What the customer spends at least while it runs." },
            "starts_at": maybe("Time", "It runs from then; says nothing of when the credits can be spent."),
            "ends_at": maybe("Time", "It runs until then; the credits end when `expires_at` says."),
        }),
    )
}

fn grant_request() -> Value {
    let (amount, currency) = money_members();
    let paid = request(
        &["amount", "currency", "reference"],
        &json!({
            "amount": amount,
            "currency": currency,
            "reference": text(REFERENCE_MAX, "Where the payment is found: an invoice's number, a contract."),
        }),
    );
    request(
        &["key", "customer", "feature", "quantity", "category", "reason"],
        &json!({
            "key": a("ExternalId", "The caller's own key: it gives once."),
            "customer": a("ExternalId", "Who gets it."),
            "feature": a("Feature", "Which feature's credits."),
            "quantity": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$",
                "description": "Credits, more than zero; at most 9 digits behind the point, at most 10^18." },
            "category": words(&["promotional", "prepaid", "committed"], "Promotional credits were given for nothing."),
            "wallet": maybe("ExternalId", "The wallet's public id, made when nobody has it; absent: the default one."),
            "entity": maybe("ExternalId", "Seat or workspace that alone may spend it; absent: the customer."),
            "priority": { "type": ["integer", "null"], "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX,
                "description": "Lower ones are drawn first; absent: by category." },
            "starts_at": maybe("Time", "Can be spent from then; absent: now."),
            "expires_at": maybe("Time", "Can be spent before then; absent: as the wallet says, else for ever."),
            "reason": text(REASON_MAX, "Why, in words; it is in the ledger."),
            "paid": { "anyOf": [paid, { "type": "null" }],
                "description": "What was paid outside Stripe, for prepaid and committed credits." },
            "contract": { "anyOf": [contract_request(), { "type": "null" }],
                "description": "The contract that promises committed credits; kept with them." },
            "metadata": maybe("Metadata", "Kept with the grant."),
        }),
    )
}

fn grant() -> Value {
    let minor = |what| shown_or_null("integer", what);
    answer(&json!({
        "id": reference("GrantId"),
        "customer": reference("ExternalId"),
        "wallet": shown("string", "Its wallet's public id: the app's own, else ours."),
        "feature": a("Feature", "The pool."),
        "entity": maybe("ExternalId", "Seat or workspace that alone may spend it; null: the customer."),
        "category": words(&["plan", "promotional", "prepaid", "committed"], "Why it was given."),
        "priority": shown("integer", "Lower ones are drawn first."),
        "unlimited": shown("boolean", "Has it no limit?"),
        "quantity": a("Amount", "What was given."),
        "remaining": a("Amount", "What is left."),
        "held": a("Amount", "What of that is set aside."),
        "frozen": shown("boolean", "Did a dispute freeze it?"),
        "starts_at": reference("Time"),
        "expires_at": maybe("Time", "Can be spent before then; null: for ever."),
        "grace_ends_at": maybe("Time", "It can be spent until then: longer while a renewal is awaited, shorter when its plan ended under a hold."),
        "created_at": reference("Time"),
        "plan": shown_or_null("string", "The plan it comes from."),
        "plan_version": shown_or_null("integer", "The version of that plan's terms."),
        "period": { "anyOf": [answer(&json!({
            "attachment": reference("AttachmentId"), "item": { "type": "string" }, "start": reference("Time"),
        })), { "type": "null" }], "description": "The period of a plan it is for." },
        "payment": maybe("PaymentId", "The payment that bought it."),
        "stripe": answer(&json!({
            "session": shown_or_null("string", "cs_.."),
            "payment_intent": shown_or_null("string", "pi_.."),
            "charge": shown_or_null("string", "ch_.."),
            "invoice": shown_or_null("string", "in_.."),
        })),
        "item_key": shown_or_null("string", "What of the payment it is."),
        "paid": maybe("Money", "What was paid for it."),
        "tax_minor": minor("Tax in it, in minor units."),
        "discount_minor": minor("Discount on it, in minor units."),
        "basis_minor": minor("What of it is revenue deferred on these credits, in minor units."),
        "stripe_price": shown_or_null("string", "price_.."),
        "stripe_line": shown_or_null("string", "Stripe's line item."),
        "reference": shown_or_null("string", "Where a payment outside Stripe is found; without one, the contract's."),
        "contract": { "anyOf": [answer(&json!({
            "reference": { "type": "string" }, "minimum_spend": maybe("Money", "What is spent at least."),
            "starts_at": maybe("Time", "It runs from then."), "ends_at": maybe("Time", "It runs until then."),
        })), { "type": "null" }], "description": "The contract behind committed credits." },
        "reason": shown_or_null("string", "Why, in words."),
        "metadata": reference("Metadata"),
    }))
}

pub(super) fn schemas() -> Schemas {
    Schemas::from_iter([
        ("GrantRequest".to_owned(), grant_request()),
        ("Grant".to_owned(), grant()),
        ("GrantPage".to_owned(), page("Grant")),
    ])
}
