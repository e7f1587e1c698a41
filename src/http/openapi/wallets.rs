//! Wallets, corrections by hand, and balances at a time.

use serde_json::{Value, json};

use super::super::native::grants::{PRIORITY_MAX, REASON_MAX};
use super::super::native::wallets::EXPIRY_DAYS_MAX;
use super::customers::{amounts, wallet};
use super::schema::{
    Schemas, a, answer, customer_in_path, in_path, in_query, list, maybe, page, paged, reference, request, shown, text,
    text_or_null, words,
};
use super::{Answer, Operation};
use crate::store::customers::PROFILE_TEXT_MAX;

fn wallet_in_path() -> Value {
    in_path("id", &reference("ExternalId"), "The wallet's public id, percent-encoded.")
}

/// `POST /api/v1/wallets`.
pub fn make_wallet() -> Operation {
    Operation {
        id: "make_wallet",
        tag: "wallets",
        summary: "Makes a wallet, once for each key",
        description: "A customer may have several wallets of one feature: those of lower priority are drawn first. Grants \
            that name no wallet go to the feature's default one, which is made with the first of them.",
        parameters: Vec::new(),
        body: Some("WalletRequest"),
        answers: vec![
            Answer::json(200, "The key was used before, with the same content.", "Wallet"),
            Answer::json(201, "The wallet was made.", "Wallet"),
        ],
        refusals: &[
            (400, &["bad_request", "not_metered"]),
            (404, &["unknown_customer", "unknown_feature"]),
            (409, &["key_conflict", "wallet_exists", "wallet_of_other_customer", "too_many_wallets"]),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/wallets`.
pub fn list_wallets() -> Operation {
    let mut customer = in_query("customer", &reference("ExternalId"), "The app's id of the customer.");
    if let Value::Object(members) = &mut customer {
        members.insert("required".to_owned(), Value::Bool(true));
    }
    Operation {
        id: "list_wallets",
        tag: "wallets",
        summary: "A customer's wallets, newest first",
        description: "Closed ones are listed too.",
        parameters: paged(vec![customer]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "WalletPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"]), (429, &["busy"])],
    }
}

/// `GET /api/v1/wallets/{id}`.
pub fn get_wallet() -> Operation {
    Operation {
        id: "get_wallet",
        tag: "wallets",
        summary: "A wallet: its state, what lies in it, what it owes",
        description: "As it is now: what time makes due is counted, booked or not.",
        parameters: vec![wallet_in_path()],
        body: None,
        answers: vec![Answer::json(200, "The wallet.", "Wallet")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_wallet", "unknown_customer"]), (429, &["busy"])],
    }
}

/// `PATCH /api/v1/wallets/{id}`.
pub fn change_wallet() -> Operation {
    Operation {
        id: "change_wallet",
        tag: "wallets",
        summary: "Changes what is said of a wallet",
        description: "A member that is absent stays as it is. The next check and the next track go by it. A frozen wallet \
            takes grants and gives nothing until it is open again; a closed one is not changed. A default expiry is of \
            grants to come.",
        parameters: vec![wallet_in_path()],
        body: Some("WalletChange"),
        answers: vec![Answer::json(200, "The wallet as it is now.", "Wallet")],
        refusals: &[
            (400, &["bad_request"]),
            (404, &["unknown_wallet", "unknown_customer"]),
            (409, &["wallet_closed"]),
            (429, &["busy"]),
        ],
    }
}

/// `POST /api/v1/wallets/{id}/terminate`.
pub fn terminate_wallet() -> Operation {
    Operation {
        id: "terminate_wallet",
        tag: "wallets",
        summary: "Ends a wallet for good, once for each key",
        description: "What is free in it repays what it owes, the rest is void, and nothing goes in or out again. A wallet \
            of which credits are held is refused: settle or release the holds first. When it was the default wallet, the \
            next grant that names none makes a new one. A debt that nothing repaid stays with it.",
        parameters: vec![wallet_in_path()],
        body: Some("TerminateRequest"),
        answers: vec![Answer::json(200, "The wallet is closed.", "Terminated")],
        refusals: &[
            (400, &["bad_request", "refused"]),
            (404, &["unknown_wallet", "unknown_customer"]),
            (409, &["key_conflict", "wallet_held"]),
            (429, &["busy"]),
        ],
    }
}

/// `POST /api/v1/grants/{id}/void`.
pub fn void_grant() -> Operation {
    Operation {
        id: "void_grant",
        tag: "grants",
        summary: "Takes credits back from a grant, once for each key",
        description: "Of any category, a plan's period too. At most what is free: what is spent or held is refused with \
            the numbers.",
        parameters: vec![in_path("id", &reference("GrantId"), "The grant.")],
        body: Some("VoidRequest"),
        answers: vec![Answer::json(200, "It is in the ledger.", "Correction")],
        refusals: &[
            (400, &["bad_request", "refused"]),
            (404, &["unknown_grant", "unknown_customer"]),
            (409, &["key_conflict", "more_than_free", "nothing_to_void", "grant_unlimited"]),
            (429, &["busy"]),
        ],
    }
}

/// `POST /api/v1/adjustments`.
pub fn adjust_grant() -> Operation {
    Operation {
        id: "adjust_grant",
        tag: "grants",
        summary: "Corrects a grant's amount, once for each key",
        description: "Fewer: at most what is free. More: while the grant is not over; one that is used up can be spent \
            again. What was given at first stays as it was shown.",
        parameters: Vec::new(),
        body: Some("AdjustmentRequest"),
        answers: vec![Answer::json(200, "It is in the ledger.", "Correction")],
        refusals: &[
            (400, &["bad_request", "refused"]),
            (404, &["unknown_grant", "unknown_customer"]),
            (409, &["key_conflict", "more_than_free", "grant_unlimited", "grant_ended", "wallet_closed"]),
            (429, &["busy"]),
        ],
    }
}

/// `GET /api/v1/customers/{customer}/balance`.
pub fn get_balance() -> Operation {
    Operation {
        id: "get_balance",
        tag: "customers",
        summary: "Balances now, or at a past time",
        description: "A past balance is folded from the ledger's lines up to then, with what had fallen due by then, and \
            is what the customer was shown at that time. Freezing is not in the ledger: what is frozen now is left out of \
            `available` and told in `frozen`, for a past time too. Neither are priorities; they change no sum.",
        parameters: vec![
            customer_in_path(),
            in_query("at", &reference("Time"), "Now or past; absent: now."),
            in_query("feature", &reference("Feature"), "Only this pool."),
            in_query("entity", &reference("ExternalId"), "What this seat or workspace can spend; absent: all."),
        ],
        body: None,
        answers: vec![Answer::json(200, "The balances.", "BalanceAt")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer", "unknown_feature"]), (429, &["busy"])],
    }
}

fn settings() -> Value {
    let range = |most: i32, least: i32, what: &str| json!({ "type": ["integer", "null"], "minimum": least, "maximum": most, "description": what });
    json!({
        "name": text_or_null(PROFILE_TEXT_MAX, "Name for people; null: none."),
        "priority": range(PRIORITY_MAX, -PRIORITY_MAX, "Wallets of lower priority are drawn first; null: 0."),
        "default_expiry_days": range(EXPIRY_DAYS_MAX, 1, "Days that grants live which say no end; null: for ever."),
        "limit": maybe("Quantity", "Most credits it may owe by usage, for `when_short` `debt`; null or 0: none."),
        "metadata": maybe("Metadata", "Free keys; null: none."),
    })
}

fn with(mut properties: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut properties, more) {
        all.extend(more);
    }
    properties
}

fn wallet_request() -> Value {
    let own = json!({
        "key": a("ExternalId", "The caller's own key: it makes one wallet."),
        "customer": a("ExternalId", "Whose wallet."),
        "feature": a("Feature", "The feature whose credits it holds."),
        "id": maybe("ExternalId", "The app's own id of the wallet, unique over all customers; absent: ours."),
    });
    request(&["key", "customer", "feature"], &with(settings(), own))
}

fn shown_wallet() -> Value {
    let story = json!({
        "customer": reference("ExternalId"),
        "metadata": reference("Metadata"),
        "grants": answer(&json!({
            "open": shown("integer", "Grants that hold something."),
            "all": shown("integer", "Grants that ever went into it."),
        })),
        "at": a("Time", "The amounts are of this time."),
        "created_at": reference("Time"),
        "closed_at": maybe("Time", "It was ended then."),
    });
    amounts(with(wallet(), story))
}

fn balance_at() -> Value {
    let balance = answer(&json!({
        "feature": a("Feature", "The pool."),
        "available": a("Amount", "What could be spent, without what is frozen now."),
        "frozen": a("Amount", "What could be spent besides, if nothing were frozen now."),
        "held": a("Amount", "What was set aside."),
        "granted": a("Amount", "What was given by the grants that could be spent and still held something."),
        "owed": a("Amount", "Debt."),
        "unlimited": shown("boolean", "Was there no limit?"),
    }));
    answer(&json!({
        "customer": reference("ExternalId"),
        "at": a("Time", "The balances are of this time."),
        "entity": maybe("ExternalId", "The seat or workspace that was asked for."),
        "balances": list(&balance, "A balance for each pool."),
    }))
}

pub(super) fn schemas() -> Schemas {
    let key = a("ExternalId", "The caller's own key: it works once.");
    let reason = text(REASON_MAX, "Why, in words; it is in the ledger.");
    let frozen = json!({ "frozen": { "type": ["boolean", "null"],
        "description": "true: nothing can be spent; false: open again; null or absent: as it is." } });
    let status = words(&["applied", "repeated"], "Was it done now, or before?");
    let terminate = json!({ "key": key, "reason": reason });
    let void = json!({ "key": key, "reason": reason,
        "quantity": { "type": ["string", "null"], "pattern": "^[0-9]+(\\.[0-9]+)?$",
            "description": "Credits, more than zero, at most what is free; absent: all that is free." } });
    let adjustment = json!({ "key": key, "reason": reason, "grant": reference("GrantId"),
        "quantity": { "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$",
            "description": "Credits to add, or, with a minus, to take away; not zero." } });
    Schemas::from_iter([
        ("WalletRequest".to_owned(), wallet_request()),
        ("WalletChange".to_owned(), request(&[], &with(settings(), frozen))),
        ("Wallet".to_owned(), shown_wallet()),
        ("WalletPage".to_owned(), page("Wallet")),
        ("TerminateRequest".to_owned(), request(&["key", "reason"], &terminate)),
        (
            "Terminated".to_owned(),
            answer(&json!({
                "status": status,
                "voided": a("Amount", "What was free in it and is void."),
                "repaid": a("Amount", "What repaid its debts."),
                "grants": shown("integer", "Grants that had something to void."),
                "wallet": reference("Wallet"),
            })),
        ),
        ("VoidRequest".to_owned(), request(&["key", "reason"], &void)),
        ("AdjustmentRequest".to_owned(), request(&["key", "grant", "quantity", "reason"], &adjustment)),
        (
            "Correction".to_owned(),
            answer(&json!({
                "status": status,
                "grant": reference("GrantId"),
                "quantity": a("Amount", "What changed, signed."),
                "remaining": a("Amount", "What was left of the grant afterwards."),
                "entries": list(&reference("Entry"), "The line that says so."),
            })),
        ),
        ("BalanceAt".to_owned(), balance_at()),
    ])
}
