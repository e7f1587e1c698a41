//! Bills of overage.

use serde_json::json;

use super::schema::{
    Schemas, a, answer, customer_in_path, list, maybe, page, paged, reference, shown, shown_or_null, words,
};
use super::{Answer, Operation};

/// `GET /api/v1/customers/{customer}/overage-bills`.
pub fn list_overage_bills() -> Operation {
    Operation {
        id: "list_overage_bills",
        tag: "customers",
        summary: "What was billed of usage beyond the balance, newest first",
        description: "Usage that was allowed beyond the balance at a price is put on the customer's next invoice of a \
            subscription, or on an invoice of its own once a month. It stays owed until that is paid. What is on a bill \
            that was voided, and lines that are `released`, wait for the next bill.",
        parameters: paged(vec![customer_in_path()]),
        body: None,
        answers: vec![Answer::json(200, "A page.", "OverageBillPage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"])],
    }
}

pub(super) fn schemas() -> Schemas {
    let line = answer(&json!({
        "feature": a("Feature", "Whose credits."),
        "credits": a("Amount", "How many."),
        "unit_price": answer(&json!({
            "amount": shown("string", "What one costs, in major units, with as many digits as the catalogue gives it."),
            "currency": shown("string", "ISO 4217, in small letters."),
        })),
        "amount_minor": shown("integer", "What they cost together, rounded half to even once, in minor units."),
        "currency": shown("string", "Of that amount."),
        "debt": a("DebtId", "The debt."),
        "released": shown("boolean", "Is it not on the invoice, or not paid with it? Then it waits for the next bill."),
    }));
    let bill = answer(&json!({
        "id": reference("BillId"),
        "state": words(&["open", "invoiced", "paid", "void"], "open: on its way to Stripe; invoiced: not paid yet; void: \
            over without being paid."),
        "amount": maybe("Money", "What is asked for by it, without taxes and discounts."),
        "period_end": a("Time", "Usage before then is on it."),
        "own_invoice": shown("boolean", "Is it on an invoice of its own, not on one of a subscription?"),
        "stripe_customer": shown("string", "cus_.."),
        "stripe_invoice": shown_or_null("string", "in_..; null: on its way."),
        "hosted_invoice_url": shown_or_null("string", "Stripe's page of an invoice of its own."),
        "payment": maybe("PaymentId", "The payment that paid it."),
        "reason": shown_or_null("string", "Why it is void, in words."),
        "lines": list(&reference("OverageBillLine"), "What is on it."),
        "created_at": reference("Time"),
        "ended_at": maybe("Time", "When it was paid, or void."),
    }));
    Schemas::from_iter([
        ("OverageBill".to_owned(), bill),
        ("OverageBillLine".to_owned(), line),
        ("OverageBillPage".to_owned(), page("OverageBill")),
    ])
}
