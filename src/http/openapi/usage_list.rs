//! Usage that is listed and added up.

use serde_json::json;

use super::super::native::usage::{GROUP_BY_MAX, GROUPS_MAX, TIME_ZONE_MAX};
use super::schema::{
    Schemas, a, answer, customer_in_path, in_query, list, maybe, paged, reference, shown, shown_or_null, text,
};
use super::{Answer, Operation};

/// `GET /api/v1/customers/{customer}/usage`.
pub fn list_usage() -> Operation {
    let group_by = text(
        GROUP_BY_MAX,
        "Words with commas between them: one of hour, day, week, month; feature; entity; \
        up to three of property:NAME.",
    );
    Operation {
        id: "list_usage",
        tag: "customers",
        summary: "What a customer used, with the draws each use made, or added up",
        description: "Without `group_by` track by track, newest first; a return is a line of its own, with a quantity \
            below zero, dated when it was booked. With it one line a group, the newest period first, all at once.",
        parameters: paged(vec![
            customer_in_path(),
            in_query("feature", &reference("Feature"), "Only usage of this feature."),
            in_query("entity", &reference("ExternalId"), "Only usage of this seat or workspace."),
            in_query("from", &reference("Time"), "Only what happened then or later."),
            in_query("to", &reference("Time"), "Only what happened before."),
            in_query("group_by", &group_by, "By what usage is added up."),
            in_query("time_zone", &text(TIME_ZONE_MAX, "An IANA name."), "Where periods begin; absent: UTC."),
        ]),
        body: None,
        answers: vec![Answer::json(200, "A page, or all groups.", "UsagePage")],
        refusals: &[(400, &["bad_request"]), (404, &["unknown_customer"])],
    }
}

pub(super) fn schemas() -> Schemas {
    let line = answer(&json!({
        "seq": shown("integer", "The first of its lines in the ledger, and its place in the list."),
        "at": a("Time", "When it was booked."),
        "event_at": maybe("Time", "When it happened, if not then."),
        "feature": a("Feature", "What was used."),
        "entity": maybe("ExternalId", "Seat or workspace; null: the customer."),
        "quantity": a("Amount", "Units; below zero: taken back."),
        "returned": a("Amount", "Units of it that were taken back since."),
        "cost": a("Amount", "Credits it cost."),
        "drawn": a("Amount", "Credits taken from grants."),
        "owed": a("Amount", "Credits that became a debt."),
        "shortfall": a("Amount", "Credits that nobody paid."),
        "draws": list(&reference("Draw"), "What was taken from which grant, in order."),
        "hold": maybe("HoldId", "The hold that paid first."),
        "properties": a("Properties", "As they came; a number that no double holds exactly is shown as text."),
        "metadata": reference("Metadata"),
    }));
    let pool = answer(&json!({
        "pool": a("Feature", "The pool."),
        "cost": a("Sum", "Credits of it that the usage cost."),
        "drawn": a("Sum", "Taken from grants."),
        "owed": a("Sum", "Became a debt."),
        "shortfall": a("Sum", "Paid by nobody."),
    }));
    let mut sum = answer(&json!({
        "quantity": a("Sum", "Units, those taken back subtracted."),
        "events": shown("integer", "Tracks."),
        "pools": list(&reference("UsageOfPool"), "What it cost, pool by pool."),
    }));
    sum["properties"]["period"] = a("Time", "Start of its hour, day, week or month.");
    sum["properties"]["feature"] = a("Feature", "What was used.");
    sum["properties"]["entity"] = maybe("ExternalId", "Seat or workspace; null: the customer.");
    sum["properties"]["properties"] = json!({ "type": "object",
        "additionalProperties": { "type": ["number", "string", "boolean", "null"] },
        "description": "The properties it was grouped by; null: the usage has none of that name." });
    let rows = json!({ "type": "array", "maxItems": GROUPS_MAX,
        "items": { "anyOf": [reference("UsageLine"), reference("UsageSum")] },
        "description": "Tracks, or with `group_by` groups." });
    let page = answer(&json!({
        "data": rows,
        "next_cursor": shown_or_null("string", "`cursor` of the next page; null: this is the last one."),
    }));
    Schemas::from_iter([
        ("UsageLine".to_owned(), line),
        ("UsageSum".to_owned(), sum),
        ("UsageOfPool".to_owned(), pool),
        ("UsagePage".to_owned(), page),
        (
            "Sum".to_owned(),
            json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$",
                "description": "An exact decimal; a sum may exceed the range of one amount." }),
        ),
    ])
}
