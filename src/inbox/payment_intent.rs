//! Payment intents: most are a session's or an invoice's, whose own event tells of the payment. Left are two kinds: a
//! session whose money was only captured later, and an intent without either whose metadata names credits.

use super::checkout::{self, charge_of, line_money, net_of};
use super::facts::{self, claims_credits, metadata_grant, money_if_any};
use super::intent::{FeatureWish, Intent, PaymentIntent as Payment, Why, WishedGrant};
use super::interpret::{Context, Stop, needed, stripe_id};
use super::top_up;
use crate::domain::command::Basis;
use crate::domain::money::Money;
use crate::domain::payment::{PaymentFacts, PaymentStatus};
use crate::stripe::client::Fetch;
use crate::stripe::wire::{Event, InvoicePayment, PaymentIntent, Session, Wire, WireMoney};

/// `payment_intent.succeeded`.
pub(super) fn succeeded(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let intent = PaymentIntent::from_value(needed(event.object.as_ref(), "data.object")?)?;
    if let Some(top_up) = top_up::named(&intent.metadata)? {
        return top_up::by_intent(top_up, &intent, event.created, context);
    }
    if intent.invoice.is_some() {
        return Err(told_elsewhere("the intent paid an invoice, whose invoice.paid decides"));
    }
    let claims = claims_credits(&intent.metadata);
    let captured_at_once = intent.capture_method.as_deref().is_some_and(|method| method != "manual");
    if captured_at_once && !claims {
        return Err(told_elsewhere("a session's or an invoice's own event tells of what it paid"));
    }
    let id = needed(intent.id.as_deref(), "data.object.id")?;
    match session_of(id, context)? {
        Some(_) if captured_at_once => Err(told_elsewhere("a Checkout session is behind it, whose own event decides")),
        Some(session) => captured(session, &intent, event, context),
        None if claims => of_its_own(&intent, id, event, context),
        None if context.answers.can_ask() => {
            let detail = "no Checkout session is behind it, and its metadata names no credits";
            Err(Stop::Ignore(Why::new("no_session", detail)))
        }
        None => {
            let detail = format!("the session of {id}, captured by hand, cannot be asked for: set STRIPE_SECRET_KEY");
            Err(Why::new("session_unavailable", detail).into())
        }
    }
}

pub(super) fn told_elsewhere(detail: &str) -> Stop {
    Stop::Ignore(Why::new("told_by_other_event", detail))
}

pub(super) fn session_of(intent: &str, context: Context<'_>) -> Result<Option<Session>, Stop> {
    let payment_intent = stripe_id(intent)?;
    let sessions = context.all(
        |_| Fetch::SessionsByIntent { payment_intent: payment_intent.clone() },
        |session: &Session| session.id.as_deref(),
    )?;
    Ok(sessions.and_then(|sessions| sessions.into_iter().next()))
}

/// A session that completed unpaid, because its money was to be captured by hand, and now is.
fn captured(
    mut session: Session,
    intent: &PaymentIntent,
    event: &Event,
    context: Context<'_>,
) -> Result<Vec<Intent>, Stop> {
    if session.mode.as_deref() != Some("payment") {
        return Err(told_elsewhere("the session sells a subscription or nothing; its invoice decides"));
    }
    has_succeeded(intent)?;
    // What was sold stands on the session, what was captured on the intent: credits are given for the whole alone.
    let received = needed(intent.amount_received.as_ref(), "data.object.amount_received")?;
    let asked = [&session.amount_total, &session.amount_sold, &session.presentment];
    let asked = asked.into_iter().flatten().find(|asked| asked.currency == received.currency);
    let asked = needed(asked, "amount_total")?;
    if asked.minor != received.minor {
        let WireMoney { minor, currency } = received;
        let detail = format!("{minor} {currency} was captured of {}: grant by hand what it is worth", asked.minor);
        return Err(Why::new("amount_mismatch", detail).into());
    }
    session.payment_status = Some("paid".to_owned());
    checkout::payment(&session, event.created, None, context)
}

pub(super) fn has_succeeded(intent: &PaymentIntent) -> Result<(), Stop> {
    match needed(intent.status.as_deref(), "data.object.status")? {
        "succeeded" => Ok(()),
        other => {
            let detail = format!("the intent is `{}`", facts::cut(other));
            Err(Stop::Ignore(Why::new("not_paid_yet", detail)))
        }
    }
}

/// A payment without session or invoice: an app that takes money by itself, and says in the metadata what for.
fn of_its_own(intent: &PaymentIntent, id: &str, event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    has_succeeded(intent)?;
    if pays_an_invoice(id, context)? {
        return Err(told_elsewhere("the intent paid an invoice, whose invoice.paid decides"));
    }
    let received = money_if_any(intent.amount_received.as_ref(), "data.object.amount_received")?;
    let received = needed(received, "data.object.amount_received")?;
    let charge = charge_of(Some(id), context)?;
    let paid_at = charge.as_ref().and_then(|charge| charge.created).or(event.created);
    let paid_at = needed(paid_at, "created")?;
    context.after_cutover(paid_at)?;
    let facts = PaymentFacts {
        status: PaymentStatus::Paid,
        currency: Some(received.currency()),
        amount_paid_minor: Some(received.minor()),
        payment_intent: Some(id.to_owned()),
        charge: charge.as_ref().and_then(|charge| charge.id.clone()),
        balance_transaction: charge.as_ref().and_then(|charge| charge.balance_transaction.clone()),
        stripe_customer: intent.customer.clone(),
        paid_at: Some(paid_at),
        metadata: intent.metadata.clone(),
        ..PaymentFacts::default()
    };
    let grant = granted(intent, received, paid_at, context)?;
    Ok(vec![Intent::Payment(Box::new(Payment {
        who: facts::who(&intent.metadata, None, intent.customer.as_deref()),
        facts,
        basis: Basis::Metadata,
        paid_at,
        grants: vec![grant],
        plans: Vec::new(),
        changes: Vec::new(),
        bills: Vec::new(),
        metadata: intent.metadata.clone(),
    }))])
}

/// Since basil an intent does not say that it pays an invoice; Stripe is asked.
pub(super) fn pays_an_invoice(intent: &str, context: Context<'_>) -> Result<bool, Stop> {
    let payment_intent = stripe_id(intent)?;
    let payments = context.all(
        |_| Fetch::InvoicePaymentsByIntent { payment_intent: payment_intent.clone() },
        |payment: &InvoicePayment| payment.id.as_deref(),
    )?;
    Ok(payments.is_some_and(|payments| !payments.is_empty()))
}

fn granted(
    intent: &PaymentIntent,
    received: Money,
    paid_at: jiff::Timestamp,
    context: Context<'_>,
) -> Result<WishedGrant, Stop> {
    let money = line_money(Some(received), None, None)?;
    let grant = metadata_grant(&intent.metadata, context.catalog, paid_at, money)?;
    let grant = needed(grant, "metadata.creditd_credits")?;
    if let FeatureWish::Named(feature) | FeatureWish::WalletElse(Some(feature)) = &grant.feature {
        facts::above_minimum(context.catalog, feature, grant.quantity, net_of(Some(received), None)?, true)?;
    }
    Ok(grant)
}
