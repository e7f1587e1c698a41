//! Money going back: refunds, disputes, fraud warnings and credit notes become views of a payment's objects.
//!
//! Stripe is asked for the charge, all its refunds and all its disputes, whichever event came: what they say together
//! is the state the books follow, so no event is needed and none can be too late. Without an API key the payload
//! speaks, as far as it goes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts::cut;
use super::intent::{Intent, MoneyBackSeen, Why};
use super::interpret::{Context, Stop, needed, stripe_id};
use crate::domain::reversal::{BackView, DisputeState, Says};
use crate::stripe::client::Fetch;
use crate::stripe::wire::{
    Charge, CreditNote, CreditNoteLine, Dispute, Event, FraudWarning, InvoiceLine, InvoicePayment, Refund, Wire,
};

/// Metadata of a refund that takes no credits (rule 28).
const KEEP_CREDITS: &str = "creditd_keep_credits";

/// What a merchant may decide about money going back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MoneyBackPolicy {
    /// Credits of packs that are spent already are written off rather than owed.
    pub write_off_spent: bool,
    /// An early fraud warning freezes what is unspent.
    pub freeze_on_warning: bool,
    /// A credit note that credits the customer's balance takes no credits.
    pub keep_on_balance_notes: bool,
}

/// `charge.refunded`, and others that carry the charge itself.
pub(super) fn charge_changed(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let payload = Charge::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let id = needed(payload.id.clone(), "data.object.id")?;
    look_at(&id, Some(payload), None, event, context)
}

/// `refund.created`, `.updated`, `.failed` and `charge.refund.updated`: the charge is looked at.
pub(super) fn refund_changed(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let refund = Refund::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let Some(charge) = refund.charge.as_deref() else {
        return Err(Stop::Ignore(Why::new(
            "no_charge",
            "the refund is of no charge: nothing of ours was paid with it",
        )));
    };
    look_at(charge, None, None, event, context)
}

/// `charge.dispute.*`.
pub(super) fn dispute_changed(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let dispute = Dispute::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let charge = needed(dispute.charge.clone(), "data.object.charge")?;
    look_at(&charge, None, Some(dispute), event, context)
}

/// `radar.early_fraud_warning.created` and `.updated`.
pub(super) fn warned(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let warning = FraudWarning::from_value(needed(event.object.as_ref(), "data.object")?)?;
    // One that is settled frees what it froze, also when the policy was changed since.
    if !context.money_back.freeze_on_warning && warning.is_actionable != Some(false) {
        let detail = "fraud warnings change nothing: set stripe.fraud_warnings to freeze";
        return Err(Stop::Ignore(Why::new("fraud_warnings_ignored", detail)));
    }
    let charge = needed(warning.charge.clone(), "data.object.charge")?;
    let view = BackView {
        object: needed(warning.id.clone(), "data.object.id")?,
        seen_at: needed(event.created, "created")?,
        write_off: context.money_back.write_off_spent,
        says: Says::Warned { charge: charge.clone(), open: warning.is_actionable != Some(false) },
    };
    let aliases = aliases(Some(&charge), warning.payment_intent.as_deref(), None);
    Ok(vec![Intent::MoneyBack(Box::new(MoneyBackSeen { aliases, currency: None, views: vec![view] }))])
}

fn aliases(charge: Option<&str>, intent: Option<&str>, invoice: Option<&str>) -> Vec<String> {
    [charge, intent, invoice].into_iter().flatten().map(str::to_owned).collect()
}

/// A charge with all its refunds and disputes.
fn look_at(
    id: &str,
    payload: Option<Charge>,
    dispute: Option<Dispute>,
    event: &Event,
    context: Context<'_>,
) -> Result<Vec<Intent>, Stop> {
    let question = Fetch::Charge { id: stripe_id(id)? };
    let asked_at = context.answers.asked_at(&question);
    let newest: Option<Charge> = context.one(question)?;
    let is_fresh = newest.is_some();
    let event_at = needed(event.created, "created")?;
    let seen_at = asked_at.filter(|_| is_fresh).unwrap_or(event_at);
    let mut views = Vec::new();
    let charge = newest.or(payload);
    if let Some(charge) = &charge {
        views.push(refunded(id, charge, seen_at, context)?);
    } else if dispute.is_none() && context.answers.can_ask() {
        // The key of another account, perhaps: no later event would tell of this refund.
        let detail = format!("Stripe does not know {}: is it the right key?", cut(id));
        return Err(Why::new("charge_unavailable", detail).into());
    } else if dispute.is_none() {
        let detail = "what went back of the charge is not in this event, and Stripe cannot be asked: charge.refunded tells, or set STRIPE_SECRET_KEY";
        let failed = event.kind.as_deref() == Some("refund.failed");
        let why = Why::new("no_charge_view", detail);
        return Err(if failed { Stop::Park(why) } else { Stop::Ignore(why) });
    }
    let disputed = dispute.is_some() || charge.as_ref().is_some_and(|charge| charge.disputed == Some(true));
    let intent = charge.as_ref().and_then(|charge| charge.payment_intent.clone());
    let intent = intent.or_else(|| dispute.as_ref().and_then(|dispute| dispute.payment_intent.clone()));
    if disputed {
        views.extend(disputes(id, dispute, event_at, context)?);
    }
    let mut aliases =
        aliases(Some(id), intent.as_deref(), charge.as_ref().and_then(|charge| charge.invoice.as_deref()));
    if let (Some(intent), 2) = (&intent, aliases.len()) {
        aliases.extend(invoice_of(intent, context)?);
    }
    let currency = charge.and_then(|charge| charge.currency);
    Ok(vec![Intent::MoneyBack(Box::new(MoneyBackSeen { aliases, currency, views }))])
}

/// Since basil a charge does not say its invoice, and an invoice paid in parts has several.
fn invoice_of(intent: &str, context: Context<'_>) -> Result<Option<String>, Stop> {
    let payment_intent = stripe_id(intent)?;
    let payments = context.all(
        |_| Fetch::InvoicePaymentsByIntent { payment_intent: payment_intent.clone() },
        |payment: &InvoicePayment| payment.id.as_deref(),
    )?;
    Ok(payments.unwrap_or_default().into_iter().find_map(|payment| payment.invoice))
}

fn refunded(id: &str, charge: &Charge, seen_at: Timestamp, context: Context<'_>) -> Result<BackView, Stop> {
    let charged = needed(charge.amount_captured.as_ref().or(charge.amount.as_ref()), "amount")?.minor;
    let gone = needed(charge.amount_refunded.as_ref(), "amount_refunded")?.minor.clamp(0, charged.max(0));
    let mut back = gone;
    if gone > 0 {
        let charge_id = stripe_id(id)?;
        let page = |starting_after| Fetch::RefundsOf { charge: charge_id.clone(), starting_after };
        if let Some(refunds) = context.all(page, |refund: &Refund| refund.id.as_deref())? {
            back = counted(&refunds, gone)?;
        }
    }
    Ok(BackView {
        object: id.to_owned(),
        seen_at,
        write_off: context.money_back.write_off_spent,
        says: Says::Refunded { charge: id.to_owned(), charged, back },
    })
}

/// What of the refunds takes credits: money that arrived, and was not given back as a favour. `gone` is what the charge
/// itself says of all of them; what no listed refund explains counts.
fn counted(refunds: &[Refund], gone: i64) -> Result<i64, Stop> {
    let (mut counts, mut not_yet_or_kept) = (0_i64, 0_i64);
    for refund in refunds {
        let amount = needed(refund.amount.as_ref(), "refunds.amount")?.minor.max(0);
        let kept = refund.metadata.get(KEEP_CREDITS).is_some_and(|value| value == "true");
        match refund.status.as_deref() {
            Some("failed" | "canceled") => {}
            Some("pending" | "requires_action") => not_yet_or_kept = not_yet_or_kept.saturating_add(amount),
            _ if kept => not_yet_or_kept = not_yet_or_kept.saturating_add(amount),
            _ => counts = counts.saturating_add(amount),
        }
    }
    let unexplained = gone.saturating_sub(counts.saturating_add(not_yet_or_kept)).max(0);
    Ok(counts.saturating_add(unexplained).min(gone))
}

fn disputes(
    charge: &str,
    payload: Option<Dispute>,
    event_at: Timestamp,
    context: Context<'_>,
) -> Result<Vec<BackView>, Stop> {
    let charge_id = stripe_id(charge)?;
    let first = Fetch::DisputesOf { charge: charge_id.clone(), starting_after: None };
    let page = |starting_after| Fetch::DisputesOf { charge: charge_id.clone(), starting_after };
    let listed = context.all(page, |dispute: &Dispute| dispute.id.as_deref())?;
    let seen_at = context.answers.asked_at(&first).filter(|_| listed.is_some()).unwrap_or(event_at);
    let all = match (listed, payload) {
        (Some(listed), Some(payload)) if listed.iter().all(|known| known.id != payload.id) => {
            // Not in the list: the event speaks for it, at its own time.
            let mut views = vec![disputed(charge, &payload, event_at, context)?];
            for dispute in &listed {
                views.push(disputed(charge, dispute, seen_at, context)?);
            }
            return Ok(views);
        }
        (Some(listed), _) => listed,
        (None, payload) => payload.into_iter().collect(),
    };
    all.iter().map(|dispute| disputed(charge, dispute, seen_at, context)).collect()
}

fn disputed(charge: &str, dispute: &Dispute, seen_at: Timestamp, context: Context<'_>) -> Result<BackView, Stop> {
    let status = needed(dispute.status.as_deref(), "dispute.status")?;
    let amount = needed(dispute.amount.as_ref(), "dispute.amount")?.minor.max(0);
    let (state, lost) = match status {
        "needs_response" | "under_review" => (DisputeState::Open, 0),
        "won" => (DisputeState::Won, 0),
        "lost" => (DisputeState::Lost, lost_of(amount, &dispute.moved)),
        "warning_needs_response" | "warning_under_review" | "warning_closed" => (DisputeState::Inquiry, 0),
        other => {
            let detail = format!("no rule is set for a dispute that is `{}`: look at it in Stripe", cut(other));
            return Err(Why::new("dispute_status", detail).into());
        }
    };
    Ok(BackView {
        object: needed(dispute.id.clone(), "dispute.id")?,
        seen_at,
        write_off: context.money_back.write_off_spent,
        says: Says::Disputed { charge: charge.to_owned(), state, lost },
    })
}

/// What of a lost dispute was not put back: the same share of its amount as of what was withdrawn, whose currency may
/// be another.
fn lost_of(amount: i64, moved: &[i64]) -> i64 {
    let sum = |of: fn(i64) -> bool| -> i128 {
        moved.iter().filter(|minor| of(**minor)).map(|minor| i128::from(minor.unsigned_abs())).sum()
    };
    let (withdrawn, put_back) = (sum(|minor| minor < 0), sum(|minor| minor > 0));
    if withdrawn == 0 || put_back == 0 {
        return amount;
    }
    let kept = (withdrawn - put_back).max(0);
    // Cannot divide by zero, and is at most `amount`.
    i64::try_from((i128::from(amount) * kept + withdrawn / 2) / withdrawn).unwrap_or(amount)
}

/// `credit_note.created`, `.updated`, `.voided`.
pub(super) fn credited(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let payload = CreditNote::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let id = needed(payload.id.clone(), "data.object.id")?;
    let question = Fetch::CreditNote { id: stripe_id(&id)? };
    let asked_at = context.answers.asked_at(&question);
    let newest: Option<CreditNote> = context.one(question)?;
    let seen_at = match (&newest, asked_at) {
        (Some(_), Some(asked_at)) => asked_at,
        _ => needed(event.created, "created")?,
    };
    let note = newest.unwrap_or(payload);
    let invoice = needed(note.invoice.clone(), "invoice")?;
    let says = if note.status.as_deref() == Some("void") || event.kind.as_deref() == Some("credit_note.voided") {
        Says::Credited { total: 0, refunded: 0, prices: BTreeMap::new() }
    } else {
        issued(&note, &id, &invoice, context)?
    };
    let view = BackView { object: id, seen_at, write_off: context.money_back.write_off_spent, says };
    let aliases = vec![invoice];
    Ok(vec![Intent::MoneyBack(Box::new(MoneyBackSeen { aliases, currency: note.currency, views: vec![view] }))])
}

fn issued(note: &CreditNote, id: &str, invoice: &str, context: Context<'_>) -> Result<Says, Stop> {
    let total = needed(note.amount.as_ref(), "amount")?.minor.max(0);
    let refunded = match (note.refunded, &note.refund) {
        (Some(refunded), _) => refunded,
        (None, None) => 0,
        (None, Some(refund)) => {
            let refund: Option<Refund> = context.one(Fetch::Refund { id: stripe_id(refund)? })?;
            needed(refund.and_then(|refund| refund.amount), "refund.amount")?.minor
        }
    };
    let refunded = refunded.clamp(0, total);
    let mut prices = prices(note, id, invoice, context)?;
    let outside = note.out_of_band.as_ref().map_or(0, |amount| amount.minor.max(0));
    let given_back = refunded.saturating_add(outside).min(total);
    if context.money_back.keep_on_balance_notes && given_back < total {
        // What only credits the customer's balance takes nothing; which lines the rest was for is not said.
        prices.clear();
        return Ok(Says::Credited { total: given_back, refunded, prices });
    }
    Ok(Says::Credited { total, refunded, prices })
}

/// What the note credits of each of the invoice's prices. Empty when the lines cannot be had: the whole is shared then.
fn prices(note: &CreditNote, id: &str, invoice: &str, context: Context<'_>) -> Result<BTreeMap<String, i64>, Stop> {
    let lines = match &note.lines {
        Some(page) if !page.has_more => Some(page.data.clone()),
        Some(_) | None => {
            let note_id = stripe_id(id)?;
            let page = |starting_after| Fetch::CreditNoteLines { note: note_id.clone(), starting_after };
            context.all(page, |line: &CreditNoteLine| line.id.as_deref())?
        }
    };
    let lines: Vec<CreditNoteLine> =
        lines.unwrap_or_default().into_iter().filter(|line| line.invoice_line.is_some()).collect();
    let mut prices = BTreeMap::new();
    if lines.is_empty() {
        return Ok(prices);
    }
    let invoice_id = stripe_id(invoice)?;
    let page = |starting_after| Fetch::InvoiceLines { invoice: invoice_id.clone(), starting_after };
    let Some(sold) = context.all(page, |line: &InvoiceLine| line.id.as_deref())? else { return Ok(prices) };
    for line in &lines {
        let of = sold.iter().find(|sold| sold.id == line.invoice_line);
        let Some(price) = of.and_then(|sold| sold.price.clone()) else { continue };
        let sum = prices.entry(price).or_insert(0_i64);
        *sum = sum.saturating_add(gross(line)?);
    }
    Ok(prices)
}

fn gross(line: &CreditNoteLine) -> Result<i64, Stop> {
    let amount = needed(line.amount.as_ref(), "lines.amount")?.minor;
    let discount = line.discount.as_ref().map_or(0, |discount| discount.minor);
    let taxes = line.taxes.iter().flatten().filter(|tax| tax.is_inclusive != Some(true));
    let taxes = taxes.fold(0_i64, |sum, tax| sum.saturating_add(tax.amount.minor));
    Ok(amount.saturating_sub(discount).saturating_add(taxes).max(0))
}
