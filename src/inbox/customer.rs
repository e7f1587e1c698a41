//! Stripe's customers: who they are to the app, when their metadata says so.

use super::facts;
use super::intent::{CardSeen, Intent, Who, Why};
use super::interpret::{Stop, needed};
use crate::stripe::wire::{Customer, Event, Node, Wire};

/// `customer.created` and `customer.updated`: metadata that names a customer of the app links the two, and wakes what
/// waited for that.
///
/// A link is never replaced. That somebody just wrote another name beside a linked customer is a contradiction for a
/// person, so it parks; that an old one still stands there while something else changed is not told again each time.
pub(super) fn named(event: &Event) -> Result<Vec<Intent>, Stop> {
    let customer = Customer::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let Some(name) = facts::customer_id(&customer.metadata) else {
        let detail = "its metadata names no customer of the app";
        return Err(Stop::Ignore(Why::new("no_link", detail)));
    };
    let id = needed(customer.id, "data.object.id")?;
    if customer.is_deleted == Some(true) {
        return Err(Stop::Ignore(Why::new("customer_deleted", format!("{id} is deleted"))));
    }
    let just_written = match &event.previous_attributes {
        None => true,
        Some(before) => Node::root(before)?.object(&["metadata"])?.is_some(),
    };
    let (customer_id, client_reference) = if just_written { (Some(name), None) } else { (None, Some(name)) };
    Ok(vec![Intent::Link(Who { customer_id, client_reference, stripe_customer: Some(id) })])
}

/// `customer.updated`: besides, another card may be what the customer pays with.
pub(super) fn updated(event: &Event) -> Result<Vec<Intent>, Stop> {
    let customer = Customer::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let before = event.previous_attributes.as_ref();
    let is_told = before.and_then(|before| before.get("invoice_settings")?.get("default_payment_method")).is_some();
    let linked = named(event);
    let has_card = is_told && customer.default_payment_method.is_some() && customer.is_deleted != Some(true);
    let (true, Some(id)) = (has_card, customer.id) else { return linked };
    let mut intents = match linked {
        Ok(intents) => intents,
        // That its metadata names nobody says nothing about its card.
        Err(Stop::Ignore(_)) => Vec::new(),
        Err(stop @ (Stop::Ask(_) | Stop::Park(_))) => return Err(stop),
    };
    intents.push(Intent::Card(CardSeen { stripe_customer: id, saved: None, at: None }));
    Ok(intents)
}

/// `customer.deleted`: its books stay and its subscriptions' own events end their plans, but nobody is charged any more.
pub(super) fn deleted(event: &Event) -> Result<Vec<Intent>, Stop> {
    let customer = Customer::from_value(needed(event.object.as_ref(), "data.object")?)?;
    Ok(vec![Intent::CustomerDeleted(needed(customer.id, "data.object.id")?)])
}
