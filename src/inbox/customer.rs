//! Stripe's customers: who they are to the app, when their metadata says so.

use super::facts;
use super::intent::{Intent, Who, Why};
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
