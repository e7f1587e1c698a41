//! Subscriptions: which plans a customer has, until when, and whether a renewal is still awaited.
//!
//! A subscription changes, so its newest state counts: Stripe is asked for it, and only a deletion, which is final, or a
//! Stripe that cannot be asked, lets the event's own payload speak.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts;
use super::intent::{Intent, Why};
use super::interpret::{Context, Stop, needed, stripe_id};
use crate::domain::catalog::{PlanId, Sold};
use crate::domain::subscription::{RenewalLost, SubscribedPlan, SubscriptionLife, SubscriptionSeen};
use crate::stripe::client::Fetch;
use crate::stripe::wire::{Event, Invoice, Subscription, SubscriptionItem, Wire, WireList};

/// Most seats of one plan.
pub(super) const SEATS_MAX: i64 = 1_000_000_000;

/// Something happened to a subscription: `customer.subscription.created`, `.updated`, `.paused`, `.resumed`, ..
pub(super) fn changed(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let payload = Subscription::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let id = needed(payload.id.as_deref(), "data.object.id")?;
    let (newest, seen_at) = match newest(id, context)? {
        Some((newest, asked_at)) => (newest, asked_at),
        None => (payload, needed(event.created, "created")?),
    };
    follow(&newest, seen_at, context)
}

/// `customer.subscription.deleted`: over for good, so its own payload is enough.
pub(super) fn deleted(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let payload = Subscription::from_value(needed(event.object.as_ref(), "data.object")?)?;
    follow(&payload, needed(event.created, "created")?, context)
}

/// `invoice.voided` and `invoice.marked_uncollectible`: what waited for its payment waits no longer.
pub(super) fn unpaid(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let invoice = Invoice::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let of_cycle = matches!(invoice.billing_reason.as_deref(), Some("subscription_cycle" | "subscription"));
    let Some(subscription) = invoice.subscription.clone().filter(|_| of_cycle) else {
        return Err(Stop::Ignore(Why::new("no_renewal", "no renewal was to be paid by this invoice")));
    };
    let lines = invoice.lines.as_ref().map(|page| page.data.as_slice()).unwrap_or_default();
    let ours = lines.iter().filter(|line| {
        matches!(context.catalog.sold(line.price.as_deref(), line.product.as_deref()), Some(Sold::PlanFee { .. }))
    });
    let start = ours.filter_map(|line| line.period).map(|period| period.start).min();
    let Some(period_start) = start else {
        return Err(Stop::Ignore(Why::new("unknown_price", "no line of the invoice is a plan sold here")));
    };
    let mut metadata = invoice.subscription_metadata.clone().unwrap_or_default();
    metadata.extend(invoice.metadata.clone());
    let who = facts::who(&metadata, None, invoice.customer.as_deref());
    Ok(vec![Intent::RenewalLost(RenewalLost { subscription, period_start }, who)])
}

/// The subscription as Stripe has it now, and when it was asked; `None` when it does not know it or cannot be asked.
pub(super) fn newest(id: &str, context: Context<'_>) -> Result<Option<(Subscription, Timestamp)>, Stop> {
    let question = Fetch::Subscription { id: stripe_id(id)? };
    let asked_at = context.answers.asked_at(&question);
    let found: Option<Subscription> = context.one(question)?;
    Ok(found.zip(asked_at))
}

fn follow(subscription: &Subscription, seen_at: Timestamp, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let status = needed(subscription.status.as_deref(), "status")?;
    let Some(seen) = view(subscription, seen_at, context)? else {
        let prices: Vec<&str> = items(subscription).iter().filter_map(|item| item.price.as_deref()).take(10).collect();
        let why = match status {
            "incomplete" | "incomplete_expired" => Why::new(
                "subscription_incomplete",
                format!("the subscription is `{status}`: its first payment is missing"),
            ),
            _ => Why::new("unknown_price", format!("no item is a plan sold here: {}", prices.join(", "))),
        };
        let waits = context.park_unknown_prices && why.code == "unknown_price";
        return Err(if waits { Stop::Park(why) } else { Stop::Ignore(why) });
    };
    let who = facts::who(&subscription.metadata, None, subscription.customer.as_deref());
    Ok(vec![Intent::Subscription(Box::new(seen), who)])
}

pub(super) fn items(subscription: &Subscription) -> &[SubscriptionItem] {
    subscription.items.as_ref().map(|list| list.data.as_slice()).unwrap_or_default()
}

/// What a subscription says of our plans; `None` when it has none of them, or has not begun.
pub(super) fn view(
    subscription: &Subscription,
    seen_at: Timestamp,
    context: Context<'_>,
) -> Result<Option<SubscriptionSeen>, Stop> {
    let status = needed(subscription.status.as_deref(), "status")?;
    let life = match status {
        "active" => SubscriptionLife::Active,
        "trialing" => SubscriptionLife::Trialing,
        "past_due" => SubscriptionLife::PastDue,
        "unpaid" | "paused" => SubscriptionLife::Paused,
        "canceled" => SubscriptionLife::Ended(needed(over_since(subscription), "ended_at")?),
        "incomplete" | "incomplete_expired" => return Ok(None),
        other => {
            let detail = format!("a subscription's status `{}` is not known", facts::cut(other));
            return Err(Why::new("missing_fact", detail).into());
        }
    };
    let plans = plans(subscription, context)?;
    if plans.is_empty() {
        return Ok(None);
    }
    let first_period = items(subscription).iter().filter_map(|item| item.current_period).map(|p| p.start).min();
    let started_at = needed(subscription.start_date.or(subscription.created), "start_date")?;
    Ok(Some(SubscriptionSeen {
        subscription: needed(subscription.id.clone(), "id")?,
        seen_at,
        life,
        plans,
        anchor: subscription.billing_cycle_anchor.or(first_period).unwrap_or(started_at),
        started_at,
        trial_ends_at: subscription.trial_end,
        cancel_at: ends_at(subscription),
    }))
}

/// When a cancelled subscription was over. One that was set to end is over then, however late Stripe says so.
fn over_since(subscription: &Subscription) -> Option<Timestamp> {
    let ended = subscription.ended_at.or(subscription.canceled_at)?;
    Some(subscription.cancel_at.map_or(ended, |set| set.min(ended)))
}

/// When it is set to end.
fn ends_at(subscription: &Subscription) -> Option<Timestamp> {
    let period_end = || items(subscription).iter().filter_map(|item| item.current_period).map(|p| p.end).max();
    subscription.cancel_at.or_else(|| period_end().filter(|_| subscription.cancel_at_period_end == Some(true)))
}

/// The plans among the items, seats of one plan added up.
fn plans(subscription: &Subscription, context: Context<'_>) -> Result<Vec<SubscribedPlan>, Stop> {
    if subscription.items.as_ref().is_some_and(|WireList { has_more, .. }| *has_more) {
        return Err(Why::new("too_many_lines", "a subscription with more than one page of items").into());
    }
    let mut seats: BTreeMap<&PlanId, i64> = BTreeMap::new();
    for item in items(subscription).iter().filter(|item| item.is_metered != Some(true)) {
        let sold = context.catalog.sold(item.price.as_deref(), item.product.as_deref());
        let Some(Sold::PlanFee { plan, .. }) = sold else { continue };
        let count = item.quantity.unwrap_or(1).clamp(0, SEATS_MAX);
        let sum = seats.entry(plan).or_default();
        *sum = sum.saturating_add(count).min(SEATS_MAX);
    }
    Ok(seats
        .into_iter()
        .map(|(plan, quantity)| SubscribedPlan { plan: plan.clone(), quantity: quantity.max(1) })
        .collect())
}
