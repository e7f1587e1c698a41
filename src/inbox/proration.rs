//! Proration lines: what a change of plan or seats inside a period was from, and what it led to.
//!
//! Stripe bills a change with two lines: a credit for what remains of the old, a charge for what remains of the new. Both
//! name price, seats and the remaining time. They stand on an invoice of their own, or ride on the next one.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::intent::{Why, WishedChange};
use super::interpret::{Context, Stop, needed};
use super::invoice::Cost;
use super::{checkout, invoice, subscription};
use crate::domain::catalog::{PlanId, Sold};
use crate::domain::command::ChangedPlan;
use crate::domain::subscription::SubscribedPlan;
use crate::stripe::wire::{Invoice, InvoiceLine, Subscription};

/// The lines of one subscription and one proration date.
struct Group<'a> {
    period_end: Timestamp,
    credits: Vec<(&'a PlanId, &'a InvoiceLine)>,
    charges: Vec<(&'a PlanId, &'a InvoiceLine)>,
}

/// The changes whose prorations an invoice carries, earliest first. A change that only credits gives nothing and is not
/// told: views of the subscription say what it has.
pub(super) fn changes(
    lines: &[InvoiceLine],
    invoice: &Invoice,
    newest: Option<&Subscription>,
    context: Context<'_>,
) -> Result<Vec<WishedChange>, Stop> {
    if invoice.billing_reason.as_deref() == Some("subscription_threshold") {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    for ((subscription, changed_at), group) in groups(lines, invoice, context)? {
        if group.charges.is_empty() {
            continue;
        }
        changes.push(change(subscription, changed_at, &group, newest, context)?);
    }
    changes.sort_by_key(|change| change.changed_at);
    Ok(changes)
}

/// What an invoice credits of a period and does not charge for again: the period that follows begins before it is over.
pub(super) struct Credited<'a> {
    /// The subscription.
    pub subscription: &'a str,
    /// From when on the old period is credited.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// How much, below zero.
    pub cost: Cost,
    /// Of which plans.
    pub plans: Vec<&'a PlanId>,
}

/// Credits of running periods that no charge of a proration answers.
pub(super) fn credited<'a>(
    lines: &'a [InvoiceLine],
    invoice: &'a Invoice,
    context: Context<'a>,
) -> Result<Vec<Credited<'a>>, Stop> {
    let mut all = Vec::new();
    for ((subscription, from), group) in groups(lines, invoice, context)? {
        let mut sum: Option<Cost> = None;
        for (_, line) in group.credits.iter().filter(|_| group.charges.is_empty()) {
            let cost = Cost::of(line)?;
            sum = Some(sum.map_or(Ok(cost), |sum| sum.plus(cost))?);
        }
        let plans = group.credits.iter().map(|(plan, _)| *plan).collect();
        all.extend(sum.map(|cost| Credited { subscription, from, until: group.period_end, cost, plans }));
    }
    Ok(all)
}

fn groups<'a>(
    lines: &'a [InvoiceLine],
    invoice: &'a Invoice,
    context: Context<'a>,
) -> Result<BTreeMap<(&'a str, Timestamp), Group<'a>>, Stop> {
    let mut found = Vec::new();
    for line in lines.iter().filter(|line| line.is_proration == Some(true) && line.is_metered != Some(true)) {
        let sold = context.catalog.sold(line.price.as_deref(), line.product.as_deref());
        let Some(Sold::PlanFee { plan, .. }) = sold else { continue };
        let period = needed(line.period, "lines.period")?;
        if period.end <= period.start {
            return Err(Why::new("unreadable", "lines.period ends before it starts").into());
        }
        let subscription = line.subscription.as_deref().or(invoice.subscription.as_deref());
        found.push((needed(subscription, "lines.subscription")?, period, plan, line));
    }
    // The invoice names one date; where its lines are of several changes, each line's own start tells which.
    let one_start =
        found.iter().all(|(_, period, ..)| found.first().is_some_and(|first| first.1.start == period.start));
    let mut groups: BTreeMap<(&str, Timestamp), Group<'_>> = BTreeMap::new();
    for (subscription, period, plan, line) in found {
        let named = invoice.proration_date.filter(|date| one_start && *date >= period.start && *date < period.end);
        let group = groups.entry((subscription, named.unwrap_or(period.start))).or_insert_with(|| Group {
            period_end: period.end,
            credits: Vec::new(),
            charges: Vec::new(),
        });
        group.period_end = group.period_end.max(period.end);
        let minor = needed(line.amount.as_ref(), "lines.amount")?.minor;
        let is_credit = minor < 0 || (minor == 0 && line.is_credit);
        if is_credit { group.credits.push((plan, line)) } else { group.charges.push((plan, line)) }
    }
    Ok(groups)
}

fn change(
    subscription: &str,
    changed_at: Timestamp,
    group: &Group<'_>,
    newest: Option<&Subscription>,
    context: Context<'_>,
) -> Result<WishedChange, Stop> {
    let mut from: BTreeMap<&PlanId, i64> = BTreeMap::new();
    for (plan, line) in &group.credits {
        add(&mut from, plan, invoice::seats(line)?.unwrap_or(0));
    }
    let mut to = charged(group)?;
    let changed: Vec<&InvoiceLine> = group.credits.iter().chain(&group.charges).map(|(_, line)| *line).collect();
    for (plan, seats) in
        untouched(newest.filter(|newest| newest.id.as_deref() == Some(subscription)), &changed, context)
    {
        if let Some(known) = to.get_mut(plan) {
            known.quantity = known.quantity.saturating_add(seats).min(subscription::SEATS_MAX);
            add(&mut from, plan, seats);
        } else if from.contains_key(plan) {
            add(&mut from, plan, seats);
            let quantity = seats;
            let kept = ChangedPlan {
                plan: plan.clone(),
                quantity,
                money: crate::domain::grant::GrantMoney::default(),
                stripe_price: None,
                stripe_line: None,
            };
            to.insert(plan, kept);
        }
    }
    let before = from.into_iter().filter(|(_, quantity)| *quantity > 0);
    Ok(WishedChange {
        subscription: subscription.to_owned(),
        changed_at,
        period_end: group.period_end,
        from: before.map(|(plan, quantity)| SubscribedPlan { plan: plan.clone(), quantity }).collect(),
        to: to.into_values().collect(),
    })
}

/// Plans a group of lines charges for. What they cost is less by what is credited for the plans before.
fn charged<'a>(group: &Group<'a>) -> Result<BTreeMap<&'a PlanId, ChangedPlan>, Stop> {
    let mut credit: Option<Cost> = None;
    for (_, line) in &group.credits {
        let cost = Cost::of(line)?;
        credit = Some(credit.map_or(Ok(cost), |sum| sum.plus(cost))?);
    }
    let mut to: BTreeMap<&PlanId, ChangedPlan> = BTreeMap::new();
    for (plan, line) in &group.charges {
        let Some(seats) = invoice::seats(line)? else { continue };
        let mut cost = Cost::of(line)?;
        if let Some(left) = credit {
            let (paid, rest) = cost.less(left)?;
            (cost, credit) = (paid, Some(rest));
        }
        let money = cost.money()?;
        if let Some(known) = to.get_mut(plan) {
            known.quantity = known.quantity.saturating_add(seats).min(subscription::SEATS_MAX);
            checkout::add_money(&mut known.money, &money)?;
        } else {
            let changed = ChangedPlan {
                plan: (*plan).clone(),
                quantity: seats,
                money,
                stripe_price: line.price.clone(),
                stripe_line: line.id.clone(),
            };
            to.insert(plan, changed);
        }
    }
    Ok(to)
}

fn add<'a>(seats: &mut BTreeMap<&'a PlanId, i64>, plan: &'a PlanId, more: i64) {
    let sum = seats.entry(plan).or_default();
    *sum = sum.saturating_add(more).min(subscription::SEATS_MAX);
}

/// Seats in items that the lines do not name: a plan with two items has them before and after.
fn untouched<'a>(
    newest: Option<&Subscription>,
    lines: &[&InvoiceLine],
    context: Context<'a>,
) -> Vec<(&'a PlanId, i64)> {
    if lines.iter().any(|line| line.subscription_item.is_none()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for item in newest.map(subscription::items).unwrap_or_default() {
        let named = lines.iter().any(|line| line.subscription_item == item.id);
        let sold = context.catalog.sold(item.price.as_deref(), item.product.as_deref());
        if let (false, Some(Sold::PlanFee { plan, .. })) = (named || item.is_metered == Some(true), sold) {
            found.push((plan, item.quantity.unwrap_or(1).clamp(0, subscription::SEATS_MAX)));
        }
    }
    found
}
