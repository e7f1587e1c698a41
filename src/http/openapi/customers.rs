//! Customers and the lines of their ledger.

use serde_json::{Value, json};

use super::super::native::customers::{HOLDS_SHOWN_MAX, STRIPE_ID_MAX};
use super::schema::{
    Schemas, a, answer, customer_in_path, in_query, list, maybe, page, paged, reference, request, shown, shown_or_null,
    text_or_null, words,
};
use super::{Answer, Operation};
use crate::domain::entry::EntryKind;
use crate::store::customers::PROFILE_TEXT_MAX;

/// `PUT /api/v1/customers/{customer}`.
pub fn put_customer() -> Operation {
    Operation {
        id: "put_customer",
        tag: "customers",
        summary: "Makes a customer, or changes what is known of one",
        description: "A new customer gets the plans that everyone gets. A member that is absent stays as it is; `name` \
            and `email` are cleared by null. A link to a Stripe customer is for good.",
        parameters: vec![customer_in_path()],
        body: Some("CustomerRequest"),
        answers: vec![
            Answer::json(200, "The customer was there.", "Customer"),
            Answer::json(201, "The customer was made.", "Customer"),
        ],
        refusals: &[(404, &["unknown_customer"]), (409, &["stripe_customer_linked"]), (429, &["busy"])],
    }
}

/// `GET /api/v1/customers/{customer}`.
pub fn get_customer() -> Operation {
    Operation {
        id: "get_customer",
        tag: "customers",
        summary: "Plans, balances, wallets, flags, holds, limits, levels and top-up rules of a customer",
        description: "As they are now: what time makes due is counted, booked or not.",
        parameters: vec![
            customer_in_path(),
            in_query(
                "entity",
                &reference("ExternalId"),
                "Only what this seat or workspace can spend, and its own holds, \
                limits and levels.",
            ),
        ],
        body: None,
        answers: vec![Answer::json(200, "The customer.", "Customer")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"]), (429, &["busy"])],
    }
}

/// `GET /api/v1/customers/{customer}/entries`.
pub fn list_entries() -> Operation {
    let kinds: Vec<&str> = EntryKind::all().map(EntryKind::word).collect();
    Operation {
        id: "list_entries",
        tag: "customers",
        summary: "The lines of a customer's ledger, newest first",
        description: "Each says what it changed, why, and its place in the chain of hashes.",
        parameters: paged(vec![
            customer_in_path(),
            in_query("feature", &reference("Feature"), "Only lines of this pool."),
            in_query("kind", &words(&kinds, "A kind of line."), "Only lines of this kind."),
            in_query("from", &reference("Time"), "Only lines written then or later."),
            in_query("to", &reference("Time"), "Only lines written before."),
        ]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "EntryPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"])],
    }
}

/// Members that balances of pools and wallets share.
pub(super) fn amounts(more: Value) -> Value {
    let mut properties = json!({
        "available": a("Amount", "What can be spent now."),
        "held": a("Amount", "What is set aside."),
        "granted": a("Amount", "What was given by the grants that can be spent now and still hold something."),
        "owed": a("Amount", "Debt."),
        "unlimited": shown("boolean", "Is there no limit?"),
        "next_expiry": { "anyOf": [answer(&json!({ "at": reference("Time"), "amount": reference("Amount") })),
            { "type": "null" }], "description": "When the next of it ends, and how much." },
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    answer(&properties)
}

fn plan() -> Value {
    answer(&json!({
        "attachment": reference("AttachmentId"),
        "plan": shown("string", "The plan's name in the catalogue."),
        "version": shown("integer", "The version of the catalogue whose terms hold."),
        "state": words(&["active", "trialing", "past_due", "scheduled", "ended"], "How it stands."),
        "origin": words(&["auto", "stripe", "api", "import"], "Where it came from."),
        "stripe_subscription": shown_or_null("string", "Stripe's id (sub_..)."),
        "entity": maybe("ExternalId", "Seat or workspace; null: the customer."),
        "quantity": shown("integer", "Seats."),
        "anchor": a("Time", "Periods are counted from then."),
        "started_at": reference("Time"),
        "paid_through": maybe("Time", "End of the paid period; null: nothing has to be paid."),
        "cancel_at": maybe("Time", "It ends then."),
        "flags_end_at": maybe("Time", "Its payment is overdue: its boolean features go off then; null: it is not overdue."),
    }))
}

fn customer() -> Value {
    let flags = json!({ "type": "object", "additionalProperties": { "type": "boolean" },
        "description": "Every boolean feature, and whether a plan in force turns it on." });
    let holds = json!({ "type": "array", "maxItems": HOLDS_SHOWN_MAX, "items": reference("Hold"),
        "description": "The newest open holds; the list of holds has all of them." });
    answer(&json!({
        "customer": reference("ExternalId"),
        "name": shown_or_null("string", "Name."),
        "email": shown_or_null("string", "E-mail address."),
        "stripe_customers": list(&json!({ "type": "string" }), "Linked customers of Stripe (cus_..)."),
        "metadata": reference("Metadata"),
        "created_at": reference("Time"),
        "updated_at": reference("Time"),
        "at": a("Time", "The balances are of this time."),
        "plans": list(&reference("CustomerPlan"), "Plans that have not ended."),
        "balances": list(&reference("PoolBalance"), "A balance for each pool."),
        "wallets": list(&reference("WalletBalance"), "The same, wallet by wallet."),
        "flags": flags,
        "holds": holds,
        "limits": list(&reference("SpendLimit"), "Spend limits, by name."),
        "levels": list(&reference("Level"), "What is in use of features that are set and freed."),
        "topup_rules": list(&reference("TopUpRule"), "Top-up rules, by name."),
    }))
}

fn entry() -> Value {
    let kinds: Vec<&str> = EntryKind::all().map(EntryKind::word).collect();
    let sources = ["track", "payment", "plan", "api", "cli", "import", "time", "reversal", "charger"];
    let sources: Vec<Value> = sources.iter().map(|word| json!(word)).chain([Value::Null]).collect();
    answer(&json!({
        "seq": { "type": "integer", "minimum": 1, "description": "Its number in the account, without gaps." },
        "at": a("Time", "When it was written; never goes back."),
        "event_at": maybe("Time", "When what it tells of happened, if not then."),
        "kind": words(&kinds, "What it says happened."),
        "feature": a("Feature", "The pool."),
        "amount": a("Amount", "What it changed; draws are negative."),
        "grant": maybe("GrantId", "The grant it changed."),
        "wallet": shown_or_null("string", "Its wallet's public id."),
        "debt": maybe("DebtId", "The debt it changed."),
        "hold": maybe("HoldId", "The hold it belongs to."),
        "command": shown("integer", "Lines of one command share it: its first line's number."),
        "used_feature": maybe("Feature", "What was used."),
        "quantity": maybe("Amount", "Units that were used."),
        "shortfall": maybe("Amount", "Credits that no grant could pay."),
        "source": { "type": ["string", "null"], "enum": sources, "description": "What kind of input caused it." },
        "hash": { "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 over it and the hash before." },
        "reason": shown_or_null("string", "Why, where a person said so."),
        "actor": shown_or_null("string", "The key or person that asked."),
        "metadata": maybe("Metadata", "What came with it."),
    }))
}

/// Members of a wallet besides its amounts.
pub(super) fn wallet() -> Value {
    json!({
        "wallet": shown("string", "Its public id: the app's own, else ours."),
        "feature": a("Feature", "The pool whose credits it holds."),
        "name": shown_or_null("string", "Name."),
        "default": shown("boolean", "Is it the one used when none is named?"),
        "priority": shown("integer", "Lower ones are drawn first."),
        "state": words(&["open", "frozen", "closed"], "May it be spent?"),
        "default_expiry_days": shown_or_null("integer", "Days that grants live which say no end; null: for ever."),
        "limit": maybe("Amount", "Most credits it may owe by usage; null: none."),
        "debts": list(&answer(&json!({ "debt": reference("DebtId"), "owed": reference("Amount"),
            "invoiced": shown("boolean", "Is it paid in money, rather than by the next grants?") })), "What it owes."),
    })
}

pub(super) fn schemas() -> Schemas {
    let clear = |text: &str| text_or_null(PROFILE_TEXT_MAX, text);
    let level = answer(&json!({
        "feature": a("Feature", "What is in use."),
        "entity": maybe("ExternalId", "By which seat or workspace; null: by the customer itself."),
        "in_use": a("Amount", "Units in use."),
        "available": a("Amount", "Units that can be taken into use besides."),
        "unlimited": shown("boolean", "Is there no limit?"),
    }));
    Schemas::from_iter([
        ("Level".to_owned(), level),
        (
            "CustomerRequest".to_owned(),
            request(
                &[],
                &json!({
                    "name": clear("Name; null clears it."),
                    "email": clear("E-mail address; null clears it."),
                    "metadata": maybe("Metadata", "Replaces what was there."),
                    "stripe_customer": text_or_null(STRIPE_ID_MAX, "A customer of Stripe (cus_..) to link, for good."),
                }),
            ),
        ),
        ("Customer".to_owned(), customer()),
        ("CustomerPlan".to_owned(), plan()),
        ("PoolBalance".to_owned(), amounts(json!({ "feature": a("Feature", "The pool.") }))),
        ("WalletBalance".to_owned(), amounts(wallet())),
        ("Entry".to_owned(), entry()),
        ("EntryPage".to_owned(), page("Entry")),
    ])
}
