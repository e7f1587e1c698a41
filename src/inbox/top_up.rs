//! Top-ups: payments of what the charger decided, and what becomes of its tries.
//!
//! Everything that the charger has Stripe make carries the top-up's id; its own charges carry the try's id too, links do
//! not. Such a payment is settled by its top-up alone: neither what its lines sell nor what its metadata says buys anything
//! besides. The cut-over is about what others sold before us, so it does not apply.

use jiff::Timestamp;

use super::checkout::{self, intent_and_charge};
use super::facts::{self, money, money_if_any};
use super::intent::{Intent, SavedCard, TopUpSeen, TrySeen, Why};
use super::interpret::{Context, Stop, needed, stripe_id};
use super::{families, invoice, payment_intent};
use crate::domain::command::TryResult;
use crate::domain::ids::{AttemptId, TopUpId};
use crate::domain::money::Money;
use crate::domain::payment::{PaymentFacts, PaymentStatus};
use crate::domain::top_up::decline;
use crate::stripe::client::Fetch;
use crate::stripe::wire::{Charge, Event, Invoice, PaidOutside, PaymentIntent, Session, Wire};

/// Metadata of everything made for a top-up: its id.
pub const TOP_UP_KEY: &str = "creditd_topup_id";
/// Metadata of what a try made: its id.
pub const ATTEMPT_KEY: &str = "creditd_attempt_id";

type Metadata = std::collections::BTreeMap<String, String>;

/// The top-up that metadata names, if it names any. A name that is none of ours waits for a person: it is money.
pub(super) fn named(metadata: &Metadata) -> Result<Option<TopUpId>, Stop> {
    id_at(metadata, TOP_UP_KEY)
}

fn id_at<T: std::str::FromStr>(metadata: &Metadata, key: &str) -> Result<Option<T>, Stop> {
    let Some(text) = metadata.get(key) else { return Ok(None) };
    let unknown = |_| Why::new("unknown_top_up", format!("metadata.{key} `{}` is no id of ours", facts::cut(text)));
    Ok(Some(text.trim().parse().map_err(unknown)?))
}

/// `payment_intent.succeeded` of a top-up: its own charge, or what its link's session took.
pub(super) fn by_intent(
    top_up: TopUpId,
    intent: &PaymentIntent,
    event_created: Option<Timestamp>,
    context: Context<'_>,
) -> Result<Vec<Intent>, Stop> {
    payment_intent::has_succeeded(intent)?;
    if intent.invoice.is_some() {
        return Err(payment_intent::told_elsewhere("the intent paid an invoice, whose invoice.paid decides"));
    }
    let id = needed(intent.id.as_deref(), "data.object.id")?;
    if !intent.metadata.contains_key(ATTEMPT_KEY) {
        // A session says what of it are taxes, and has ids of its own to claim.
        if let Some(mut session) = payment_intent::session_of(id, context)?
            && named(&session.metadata)? == Some(top_up)
        {
            session.payment_status = Some("paid".to_owned());
            return checkout::payment(&session, event_created, None, context);
        }
        if payment_intent::pays_an_invoice(id, context)? {
            return Err(payment_intent::told_elsewhere("the intent paid an invoice, whose invoice.paid decides"));
        }
    }
    let received = money_if_any(intent.amount_received.as_ref(), "data.object.amount_received")?;
    let received = needed(received, "data.object.amount_received")?;
    let (_, charge) = intent_and_charge(Some(id), context)?;
    let paid_at = needed(paid_at(charge.as_ref(), event_created), "created")?;
    let facts = PaymentFacts {
        status: PaymentStatus::Paid,
        currency: Some(received.currency()),
        amount_paid_minor: Some(received.minor()),
        payment_intent: Some(id.to_owned()),
        charge: charge.as_ref().and_then(|charge| charge.id.clone()).or_else(|| latest_charge(intent)),
        balance_transaction: charge.as_ref().and_then(|charge| charge.balance_transaction.clone()),
        stripe_customer: intent.customer.clone(),
        paid_at: Some(paid_at),
        metadata: intent.metadata.clone(),
        ..PaymentFacts::default()
    };
    let saved = saved_by(Some(intent));
    let (net, gross) = (received, received);
    Ok(vec![settled(TopUpSeen { top_up, facts, paid_at, net, gross, stripe_line: None, saved })])
}

fn settled(seen: TopUpSeen) -> Intent {
    Intent::TopUp(Box::new(seen))
}

fn latest_charge(intent: &PaymentIntent) -> Option<String> {
    intent.latest_charge.as_ref().map(|charge| charge.id().to_owned())
}

fn paid_at(charge: Option<&Charge>, otherwise: Option<Timestamp>) -> Option<Timestamp> {
    charge.and_then(|charge| charge.created).or(otherwise)
}

/// The card that a link's intent kept for later.
fn saved_by(intent: Option<&PaymentIntent>) -> Option<SavedCard> {
    let intent = intent.filter(|intent| intent.setup_future_usage.as_deref() == Some("off_session"))?;
    Some(SavedCard { by: intent.id.clone()?, payment_method: intent.payment_method.clone()? })
}

/// A paid session of a top-up's link. `ids` are the session's, and the invoice's that led here if one did.
pub(super) fn by_session(
    top_up: TopUpId,
    session: &Session,
    ids: (&str, Option<&str>),
    event_created: Option<Timestamp>,
    context: Context<'_>,
) -> Result<Vec<Intent>, Stop> {
    let (id, invoice) = ids;
    let paid_by = session.payment_intent.as_ref().map(crate::stripe::wire::Expandable::id);
    let gross = needed(money_if_any(session.amount_sold.as_ref(), "amount_total")?, "amount_total")?;
    if gross.minor() > 0 {
        // Its other events name the intent alone: without it they would look like a second payment.
        needed(paid_by, "payment_intent")?;
    }
    let (intent, charge) = intent_and_charge(paid_by, context)?;
    let paid_at = paid_at(charge.as_ref(), session.created.or(event_created));
    let paid_at = needed(paid_at, "data.object.created")?;
    let subtotal = needed(session.subtotal_sold.as_ref(), "amount_subtotal")?;
    let subtotal = money(subtotal, "amount_subtotal")?;
    let discount = money_if_any(session.amount_discount.as_ref(), "total_details.amount_discount")?;
    let is_free = gross.minor() == 0;
    let facts = checkout::facts_of(session, id, invoice, charge.as_ref(), paid_at, is_free)?;
    Ok(vec![settled(TopUpSeen {
        top_up,
        facts,
        paid_at,
        net: less(subtotal, discount)?,
        gross,
        stripe_line: None,
        saved: saved_by(intent.as_ref()),
    })])
}

/// What a top-up costs is what stands before taxes; a discount, which we never give, shows as too little.
fn less(subtotal: Money, discount: Option<Money>) -> Result<Money, Stop> {
    let Some(discount) = discount.filter(|discount| discount.minor() != 0) else { return Ok(subtotal) };
    let bad = |detail: String| Stop::from(Why::new("bad_money", detail));
    if discount.currency() != subtotal.currency() {
        return Err(bad(format!("a discount of {discount} on {subtotal}")));
    }
    let minor = subtotal.minor().checked_sub(discount.minor()).filter(|minor| *minor >= 0);
    let minor = minor.ok_or_else(|| bad(format!("a discount of {discount} on {subtotal}")))?;
    Money::from_minor(minor, subtotal.currency()).map_err(|error| bad(error.to_string()))
}

/// A paid invoice of a top-up. A balance of the customer's at Stripe may have paid it, all or in part: that is paid too.
pub(super) fn by_invoice(
    top_up: TopUpId,
    invoice: &Invoice,
    id: &str,
    event_created: Option<Timestamp>,
    context: Context<'_>,
) -> Result<Vec<Intent>, Stop> {
    needed(invoice.is_paid, "status")?;
    let paid_by = intent_of(invoice, id, context)?;
    let (intent, charge) = intent_and_charge(paid_by.as_deref(), context)?;
    let paid_at = paid_at(charge.as_ref(), invoice.paid_at.or(event_created));
    let paid_at = needed(paid_at, "status_transitions.paid_at")?;
    let subtotal = money(needed(invoice.subtotal.as_ref(), "subtotal")?, "subtotal")?;
    let discount = money_if_any(invoice.discount.as_ref(), "total_discount_amounts")?;
    let gross = money(needed(invoice.total.as_ref(), "total")?, "total")?;
    let lines = invoice.lines.as_ref().map(|lines| lines.data.as_slice()).unwrap_or_default();
    let facts = invoice::facts_of(invoice, id, paid_by, charge.as_ref(), paid_at, invoice.metadata.clone())?;
    Ok(vec![settled(TopUpSeen {
        top_up,
        facts,
        paid_at,
        net: less(subtotal, discount)?,
        gross,
        stripe_line: lines.first().and_then(|line| line.id.clone()),
        saved: saved_by(intent.as_ref()),
    })])
}

/// The intent that paid an invoice; `None`: none did, for certain. Stripe's answer to the charger names the intent too, and
/// without it the one payment would look like two.
fn intent_of(invoice: &Invoice, id: &str, context: Context<'_>) -> Result<Option<String>, Stop> {
    let found = invoice::payment_intent_of(invoice, id, context)?;
    let by_balance = invoice.amount_paid.as_ref().is_some_and(|paid| paid.minor == 0);
    let outside = match &invoice.paid_outside {
        Some(PaidOutside::Whole(outside)) => *outside,
        Some(PaidOutside::Amount(amount)) => amount.minor > 0,
        None => false,
    };
    if found.is_none() && !by_balance && !outside && invoice.payments.is_none() {
        // Asked before: that there is none has to be Stripe's own word.
        needed(invoice::payments_of(id, context)?, "payments (they cannot be asked for: set STRIPE_SECRET_KEY)")?;
    }
    Ok(found)
}

/// `payment_intent.payment_failed`, `.processing`, `.requires_action` and `.canceled`: what became of a try. Events come
/// late and in any order, so what counts is the intent as Stripe has it now.
pub(super) fn try_changed(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let told = PaymentIntent::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let kind = event.kind.as_deref().unwrap_or_default();
    let Some(top_up) = named(&told.metadata)? else { return Err(Stop::Ignore(families::why_no_try(kind))) };
    let Some(attempt) = id_at::<AttemptId>(&told.metadata, ATTEMPT_KEY)? else {
        // What a link's page takes may fail as often as its buyer likes.
        return Err(Stop::Ignore(families::why_no_try(kind)));
    };
    let id = needed(told.id.clone(), "data.object.id")?;
    let intent = context.one::<PaymentIntent>(Fetch::PaymentIntent { id: stripe_id(&id)? })?.unwrap_or(told);
    let status = needed(intent.status.as_deref(), "data.object.status")?;
    let result = match status {
        "succeeded" => return by_intent(top_up, &intent, event.created, context),
        "processing" => TryResult::Processing { payment_intent: id },
        "requires_action" => TryResult::NeedsAction { payment_intent: Some(id) },
        "canceled" => TryResult::NotDone,
        "requires_payment_method" if intent.last_error.is_some() => {
            let error = intent.last_error.unwrap_or_default();
            let why =
                decline::Why { code: error.code, decline_code: error.decline_code, advice_code: error.advice_code };
            TryResult::Declined { payment_intent: Some(id), why }
        }
        other => {
            let detail = format!("{id} is `{}`: nothing has come of it yet", facts::cut(other));
            return Err(Stop::Ignore(Why::new("not_paid_yet", detail)));
        }
    };
    Ok(vec![Intent::Try(Box::new(TrySeen { top_up, attempt, stripe_customer: intent.customer, result }))])
}
