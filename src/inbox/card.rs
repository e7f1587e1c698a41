//! Saved cards: a new or changed one lets top-ups go on that waited for it.
//!
//! What keeps a card (a session or an intent in setup mode) does not make it what its customer pays with. That is done
//! here for what we had Stripe keep, and for anything else where the customer has no such card yet.

use super::facts;
use super::intent::{CardSeen, Intent, SavedCard, Why};
use super::interpret::{Context, Stop, needed, stripe_id};
use crate::stripe::client::Fetch;
use crate::stripe::wire::{Customer, Event, PaymentMethod, Session, SetupIntent, Wire};

/// Metadata of sessions and setup intents that we had Stripe make to keep a card.
pub const SETUP_KEY: &str = "creditd_setup";
/// What stands under it.
pub const SETUP: &str = "1";

/// `payment_method.attached`, `.updated` and `.automatically_updated`.
pub(super) fn seen(event: &Event) -> Result<Vec<Intent>, Stop> {
    let method = PaymentMethod::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let Some(stripe_customer) = method.customer else { return Err(of_nobody()) };
    Ok(vec![Intent::Card(CardSeen { stripe_customer, saved: None, at: None })])
}

fn of_nobody() -> Stop {
    Stop::Ignore(Why::new("pays_nothing", "the card is no customer's, and pays for nothing by itself"))
}

/// `setup_intent.succeeded`.
pub(super) fn kept(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let intent = SetupIntent::from_value(needed(event.object.as_ref(), "data.object")?)?;
    by_intent(&intent, false, context)
}

/// A session in setup mode, which names its intent and not the card.
pub(super) fn set_up(session: &Session, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let Some(stripe_customer) = session.customer.clone() else {
        return Err(Stop::Ignore(Why::new("setup_session", "a setup session of no customer pays for nothing")));
    };
    let ours = is_ours(&session.metadata);
    let asked = match &session.setup_intent {
        Some(id) => context.one::<SetupIntent>(Fetch::SetupIntent { id: stripe_id(id)? })?,
        None => None,
    };
    if let Some(intent) = asked {
        return by_intent(&intent, ours, context);
    }
    // Its setup_intent.succeeded tells of the card.
    Ok(vec![Intent::Card(CardSeen { stripe_customer, saved: None, at: None })])
}

fn is_ours(metadata: &std::collections::BTreeMap<String, String>) -> bool {
    metadata.get(SETUP_KEY).is_some_and(|value| value == SETUP)
}

fn by_intent(intent: &SetupIntent, ours: bool, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    if let Some(status) = intent.status.as_deref().filter(|status| *status != "succeeded") {
        let detail = format!("the setup intent is `{}`: no card is kept yet", facts::cut(status));
        return Err(Stop::Ignore(Why::new("pays_nothing", detail)));
    }
    let Some(stripe_customer) = intent.customer.clone() else { return Err(of_nobody()) };
    // A card kept for payments with its owner there may not be charged without.
    let usable = intent.usage.as_deref() != Some("on_session");
    let saved = match (&intent.id, &intent.payment_method) {
        (Some(by), Some(card)) if usable => Some(SavedCard { by: by.clone(), payment_method: card.clone() }),
        _ => None,
    };
    let ours = ours || is_ours(&intent.metadata);
    let becomes_default = saved.is_some() && (ours || has_none(&stripe_customer, context)?);
    Ok(vec![Intent::Card(CardSeen { stripe_customer, saved: saved.filter(|_| becomes_default), at: None })])
}

/// Has a customer nothing to pay with? Of one that cannot be asked about nothing is known, and nothing is changed.
fn has_none(customer: &str, context: Context<'_>) -> Result<bool, Stop> {
    let found = context.one::<Customer>(Fetch::Customer { id: stripe_id(customer)? })?;
    let is_there = |customer: &Customer| customer.is_deleted != Some(true);
    Ok(found.filter(is_there).is_some_and(|customer| customer.default_payment_method.is_none()))
}
