//! What time does to a subscription: trials end, periods follow each other, debts are given up, cancellations arrive.

use serde_json::{Value, json};

use super::super::state::{Dunning, Kind, Record, State, number, text};
use super::{collection, plan_change, schedule, subscription};

/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Notice of a trial's end.
const TRIAL_NOTICE_SECONDS: i64 = 3 * DAY_SECONDS;
/// How long the first payment may take before the subscription is given up.
const INCOMPLETE_SECONDS: i64 = 23 * 60 * 60;

/// Whether it has not ended for good.
pub fn is_running(subscription: &Value) -> bool {
    !["canceled", "incomplete_expired"].contains(&text(subscription, "status"))
}

/// The end of the current period; all items of a subscription share their interval.
pub fn period_end(subscription: &Value) -> Option<i64> {
    let items = subscription["items"]["data"].as_array()?;
    items.iter().map(|item| number(item, "current_period_end")).min()
}

/// When something happens to it by itself.
pub fn due(record: &Record) -> Option<i64> {
    let object = &record.object;
    if !is_running(object) {
        return None;
    }
    if text(object, "status") == "incomplete" {
        return Some(number(object, "created").saturating_add(INCOMPLETE_SECONDS));
    }
    // Whoever ordered a period in the past by hand also orders the next one.
    let by_hand = record.extra.get("by_hand") == Some(&json!(true));
    let period = period_end(object).filter(|_| !by_hand);
    let resumes = object["pause_collection"]["resumes_at"].as_i64();
    let expires = object["pending_update"]["expires_at"].as_i64();
    [period, object["cancel_at"].as_i64(), notice_due(record), resumes, expires].into_iter().flatten().min()
}

/// When a trial's end is announced; a short trial is announced at once.
fn notice_due(record: &Record) -> Option<i64> {
    let given = record.extra.get("trial_end_announced") == Some(&json!(true));
    let trial = text(&record.object, "status") == "trialing" && !given;
    let end = record.object["trial_end"].as_i64().filter(|_| trial)?;
    Some(end.saturating_sub(TRIAL_NOTICE_SECONDS).max(number(&record.object, "created")))
}

/// What is due happens, one thing at a time.
pub fn fire(state: &mut State, id: &str) {
    let Some(record) = state.get(Kind::Subscription, id) else { return };
    let now = state.now;
    let is_due = |at: Option<i64>| at.is_some_and(|at| at <= now);
    let (notice, ends) = (is_due(notice_due(record)), is_due(record.object["cancel_at"].as_i64()));
    if text(&record.object, "status") == "incomplete" {
        give_up_incomplete(state, id);
    } else if notice {
        state.set_extra(Kind::Subscription, id, "trial_end_announced", json!(true));
        state.emit("customer.subscription.trial_will_end", Kind::Subscription, id);
    } else if is_due(record.object["pending_update"]["expires_at"].as_i64()) {
        plan_change::expire(state, id);
    } else if is_due(record.object["pause_collection"]["resumes_at"].as_i64()) {
        let paused = json!({ "pause_collection": record.object["pause_collection"] });
        state.set(Kind::Subscription, id, json!({ "pause_collection": null }));
        state.emit_change("customer.subscription.updated", Kind::Subscription, id, Some(paused));
    } else if ends {
        end(state, id, "cancellation_requested");
    } else {
        next_period(state, id);
    }
}

/// The next period begins, with a draft that is finalized and charged an hour later.
fn next_period(state: &mut State, id: &str) {
    let trial = state.get(Kind::Subscription, id).is_some_and(|record| text(&record.object, "status") == "trialing");
    subscription::renew(state, id, None, trial.then_some("active"));
    let unpaid = state.get(Kind::Subscription, id).is_some_and(|record| text(&record.object, "status") == "unpaid");
    let finalizes_at = (!unpaid).then(|| state.now.saturating_add(collection::DRAFT_SECONDS));
    subscription::draft(state, id, "subscription_cycle", finalizes_at);
}

/// It ends now; nothing of it is charged any more.
pub fn end(state: &mut State, id: &str, reason: &str) {
    let Some(record) = state.get(Kind::Subscription, id) else { return };
    let mut details = record.object["cancellation_details"].clone();
    details["reason"] = json!(reason);
    let requested = record.object["canceled_at"].as_i64().unwrap_or(state.now);
    let changes = json!({
        "status": "canceled", "canceled_at": requested, "ended_at": state.now, "cancellation_details": details,
    });
    state.set(Kind::Subscription, id, changes);
    for invoice in invoices(state, id, &["draft", "open"]) {
        collection::stop_collecting(state, &invoice);
    }
    state.emit("customer.subscription.deleted", Kind::Subscription, id);
    schedule::subscription_ended(state, id, reason);
}

fn invoices(state: &State, id: &str, statuses: &[&str]) -> Vec<String> {
    let of_it = |invoice: &&Value| {
        text(&invoice["parent"]["subscription_details"], "subscription") == id
            && statuses.contains(&text(invoice, "status"))
    };
    let invoices = state.all(Kind::Invoice).map(|record| &record.object).filter(of_it);
    invoices.map(|invoice| text(invoice, "id").to_owned()).collect()
}

/// The first payment never came.
fn give_up_incomplete(state: &mut State, id: &str) {
    for invoice in invoices(state, id, &["open"]) {
        // It is open, or it would not be in the list.
        let _voided = collection::void(state, &invoice);
    }
    set_status(state, id, "incomplete_expired", json!({ "ended_at": state.now }));
}

fn set_status(state: &mut State, id: &str, status: &str, more: Value) {
    let Some(record) = state.get(Kind::Subscription, id) else { return };
    let before = text(&record.object, "status").to_owned();
    if before == status {
        return;
    }
    state.set(Kind::Subscription, id, more);
    state.set(Kind::Subscription, id, json!({ "status": status }));
    let previous = Some(json!({ "status": before }));
    state.emit_change("customer.subscription.updated", Kind::Subscription, id, previous);
}

/// The running subscription whose latest invoice this is, with its status.
fn of_latest_invoice(state: &State, invoice: &str) -> Option<(String, String)> {
    let parent = &state.get(Kind::Invoice, invoice)?.object["parent"]["subscription_details"];
    let object = &state.get(Kind::Subscription, text(parent, "subscription"))?.object;
    let latest = is_running(object) && text(object, "latest_invoice") == invoice;
    latest.then(|| (text(object, "id").to_owned(), text(object, "status").to_owned()))
}

/// A charge of an invoice failed, perhaps for the last time.
pub fn payment_failed(state: &mut State, invoice: &str, last: bool) {
    let Some((id, status)) = of_latest_invoice(state, invoice) else { return };
    if plan_change::waits_for(state, &id, invoice) {
        return;
    }
    if ["active", "trialing"].contains(&status.as_str()) {
        set_status(state, &id, "past_due", json!({}));
    }
    if last && status != "incomplete" {
        match state.dunning {
            Dunning::Cancel => end(state, &id, "payment_failed"),
            Dunning::Unpaid => set_status(state, &id, "unpaid", json!({})),
            Dunning::PastDue => {}
        }
    }
}

/// An invoice was paid: what waited for it goes on.
pub fn invoice_paid(state: &mut State, invoice: &str) {
    let billed =
        state.get(Kind::Invoice, invoice).map(|record| record.object["parent"]["subscription_details"].clone());
    let billed = billed.map(|details| text(&details, "subscription").to_owned()).unwrap_or_default();
    if plan_change::waits_for(state, &billed, invoice) {
        return plan_change::paid(state, &billed);
    }
    let Some((id, status)) = of_latest_invoice(state, invoice) else { return };
    if ["past_due", "unpaid", "incomplete"].contains(&status.as_str()) {
        set_status(state, &id, "active", json!({}));
    }
}
