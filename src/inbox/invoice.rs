//! Paid invoices: a subscription's period, packs on any invoice, and metadata credits of a subscription.
//!
//! Lines decide, not invoices: each is a plan's fee, a pack, overage that was billed, or not ours.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::checkout::{self, add, charge_of, count, line_money, net_of, pack_grant};
use super::facts::{self, claims_credits, metadata_grant, money_if_any};
use super::intent::{Intent, PaymentIntent, Why, WishedGrant, WishedPlan};
use super::interpret::{Context, Stop, needed, stripe_id};
use super::{overage, proration, subscription, top_up};
use crate::domain::catalog::Sold;
use crate::domain::command::Basis;
use crate::domain::credits::Credits;
use crate::domain::grant::GrantMoney;
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{PaymentFacts, PaymentStatus};
use crate::stripe::client::Fetch;
use crate::stripe::wire::{Charge, Event, Invoice, InvoiceLine, InvoicePayment, LineKind, Session, Wire};

/// `invoice.paid`.
pub(super) fn paid(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let invoice = Invoice::from_value(needed(event.object.as_ref(), "data.object")?)?;
    settled(&invoice, event.created, context)
}

/// `invoice_payment.paid`: a part of an invoice, or all of it, was paid. It tells too little of the invoice, so Stripe is
/// asked for that; nothing is given before it is paid in full.
pub(super) fn part_paid(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let payment = InvoicePayment::from_value(needed(event.object.as_ref(), "data.object")?)?;
    let id = needed(payment.invoice.as_deref(), "data.object.invoice")?;
    let Some(invoice) = context.one::<Invoice>(Fetch::Invoice { id: stripe_id(id)? })? else {
        if context.answers.can_ask() {
            return Err(
                Why::new("invoice_unavailable", format!("Stripe does not know {id}: is it the right key?")).into()
            );
        }
        let detail = format!("without an API key {id} cannot be asked for; its own invoice.paid tells of it");
        return Err(Stop::Ignore(Why::new("told_by_other_event", detail)));
    };
    if let Some(false) = invoice.is_paid {
        let owed =
            invoice.amount_remaining.as_ref().map_or_else(String::new, |owed| format!(", {} still owed", owed.minor));
        let status = invoice.status.unwrap_or_default();
        let detail = format!("a part of {id} was paid; the invoice is `{}`{owed}", facts::cut(&status));
        return Err(Stop::Ignore(Why::new("partial_payment", detail)));
    }
    settled(&invoice, event.created, context)
}

/// Does an invoice pay for a subscription's period?
fn is_renewal(invoice: &Invoice) -> bool {
    let reason = invoice.billing_reason.as_deref();
    matches!(reason, Some("subscription_create" | "subscription_cycle" | "subscription"))
}

/// An invoice of which an event of that time says that it is paid.
fn settled(invoice: &Invoice, event_created: Option<Timestamp>, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    if invoice.is_paid == Some(false) {
        let status = invoice.status.as_deref().unwrap_or_default();
        return Err(Stop::Ignore(Why::new("invoice_not_paid", format!("the invoice is `{status}`, not paid"))));
    }
    let Some(id) = invoice.id.as_deref() else {
        return Err(Stop::Ignore(Why::new("upcoming_invoice", "an invoice without id is only a preview")));
    };
    if let Some(top_up) = top_up::named(&invoice.metadata)? {
        return top_up::by_invoice(top_up, invoice, id, event_created, context);
    }
    let lines = lines(invoice, id, context)?;
    let metadata = metadata_of(invoice);
    let by_metadata = is_renewal(invoice) && claims_credits(&metadata);
    let bills = overage::of_lines(&lines)?;
    let ours = !bills.is_empty() || lines.iter().any(|line| sold(line, context).is_some());
    if !ours && !by_metadata && (invoice.subscription.is_some() || !claims_credits(&metadata)) {
        return Err(nothing_of_ours(&lines, context));
    }
    needed(invoice.is_paid, "status")?;
    let intent = payment_intent_of(invoice, id, context)?;
    if invoice.subscription.is_none()
        && bills.is_empty()
        && let Some(session) = session_behind(intent.as_deref(), context)?
    {
        return checkout::payment(&session, event_created, Some(id), context);
    }
    let charge = charge_of(intent.as_deref(), context)?;
    let paid_at = charge.as_ref().and_then(|charge| charge.created).or(invoice.paid_at).or(event_created);
    let paid_at = needed(paid_at, "status_transitions.paid_at")?;
    context.after_cutover(paid_at)?;
    let facts = facts_of(invoice, id, intent, charge.as_ref(), paid_at, metadata.clone())?;
    let pays_plan = lines.iter().any(|line| matches!(sold(line, context), Some(Sold::PlanFee { .. })));
    let newest = match invoice.subscription.as_deref().filter(|_| pays_plan) {
        Some(id) => subscription::newest(id, context)?,
        None => None,
    };
    let trial = match &newest {
        None => Trial::Unasked,
        Some((newest, _)) => newest.trial_end.map_or(Trial::Never, Trial::Until),
    };
    let (mut grants, plans) = from_lines(&lines, invoice, paid_at, trial, context)?;
    let changes = proration::changes(&lines, invoice, newest.as_ref().map(|(newest, _)| newest), context)?;
    let mut basis = Basis::Lines;
    if by_metadata || (invoice.subscription.is_none() && claims_credits(&metadata)) {
        if invoice.subscription.is_none() {
            // For a one-off payment metadata replaces what the lines would give (rule 10).
            grants.clear();
        }
        basis = Basis::Metadata;
        grants.extend(from_metadata(&facts, &metadata, paid_at, overage::cost(&lines)?, context)?);
    }
    let who = facts::who(&metadata, None, invoice.customer.as_deref());
    let mut intents = Vec::new();
    if let Some((newest, asked_at)) = newest
        && let Some(seen) = subscription::view(&newest, asked_at, context)?
    {
        // Where its periods are counted from, and whether it goes on, before what this one gives.
        intents.push(Intent::Subscription(Box::new(seen), who.clone()));
    }
    intents.push(Intent::Payment(Box::new(PaymentIntent {
        who,
        facts,
        basis,
        paid_at,
        grants,
        plans,
        changes,
        bills,
        metadata,
    })));
    Ok(intents)
}

/// The invoice's own metadata over the subscription's snapshot.
pub(super) fn metadata_of(invoice: &Invoice) -> BTreeMap<String, String> {
    let mut metadata = invoice.subscription_metadata.clone().unwrap_or_default();
    metadata.extend(invoice.metadata.clone());
    metadata
}

pub(super) fn lines(invoice: &Invoice, id: &str, context: Context<'_>) -> Result<Vec<InvoiceLine>, Stop> {
    match &invoice.lines {
        Some(page) if !page.has_more => Ok(page.data.clone()),
        Some(_) | None => {
            let invoice_id = stripe_id(id)?;
            let page = |starting_after| Fetch::InvoiceLines { invoice: invoice_id.clone(), starting_after };
            let lines = context.all(page, |line: &InvoiceLine| line.id.as_deref())?;
            needed(lines, "lines (the further pages cannot be fetched: set STRIPE_SECRET_KEY)")
        }
    }
}

/// What a line sells, when it can give anything: usage, overage, credits back and corrections of a running period never do.
fn sold<'a>(line: &InvoiceLine, context: Context<'a>) -> Option<Sold<'a>> {
    let gives_nothing = overage::is_ours(line)
        || line.is_metered == Some(true)
        || line.amount.as_ref().is_some_and(|amount| amount.minor < 0);
    if gives_nothing {
        return None;
    }
    context.catalog.sold(line.price.as_deref(), line.product.as_deref())
}

fn nothing_of_ours(lines: &[InvoiceLine], context: Context<'_>) -> Stop {
    let is_known = |line: &InvoiceLine| context.catalog.sold(line.price.as_deref(), line.product.as_deref()).is_some();
    if lines.iter().any(is_known) {
        return Stop::Ignore(Why::new("nothing_given", "its lines of ours are credits back or usage"));
    }
    let prices: Vec<&str> = lines.iter().filter_map(|line| line.price.as_deref()).take(10).collect();
    let why = Why::new("unknown_price", format!("no line is sold here: {}", prices.join(", ")));
    if context.park_unknown_prices { Stop::Park(why) } else { Stop::Ignore(why) }
}

/// The payments of an invoice; `None`: they cannot be had.
pub(super) fn payments_of(id: &str, context: Context<'_>) -> Result<Option<Vec<InvoicePayment>>, Stop> {
    let invoice = stripe_id(id)?;
    let page = |starting_after| Fetch::InvoicePayments { invoice: invoice.clone(), starting_after };
    context.all(page, |payment: &InvoicePayment| payment.id.as_deref())
}

pub(super) fn payment_intent_of(invoice: &Invoice, id: &str, context: Context<'_>) -> Result<Option<String>, Stop> {
    if let Some(known) = invoice.payment_intents().first() {
        return Ok(Some((*known).to_owned()));
    }
    let nothing_paid = invoice.amount_paid.as_ref().is_some_and(|paid| paid.minor == 0);
    if invoice.payments.is_some() || nothing_paid {
        return Ok(None);
    }
    let payments = payments_of(id, context)?.unwrap_or_default();
    let mut paid = payments.into_iter().filter(|payment| payment.status.as_deref() != Some("canceled"));
    Ok(paid.find_map(|payment| payment.payment_intent))
}

/// A one-off invoice may be the receipt of a Checkout session, whose event tells of the same payment.
fn session_behind(intent: Option<&str>, context: Context<'_>) -> Result<Option<Session>, Stop> {
    let Some(intent) = intent else { return Ok(None) };
    let payment_intent = stripe_id(intent)?;
    let sessions = context.all(
        |_| Fetch::SessionsByIntent { payment_intent: payment_intent.clone() },
        |session: &Session| session.id.as_deref(),
    )?;
    Ok(sessions.and_then(|sessions| sessions.into_iter().next()))
}

pub(super) fn facts_of(
    invoice: &Invoice,
    id: &str,
    intent: Option<String>,
    charge: Option<&Charge>,
    paid_at: Timestamp,
    metadata: BTreeMap<String, String>,
) -> Result<PaymentFacts, Stop> {
    let total = needed(money_if_any(invoice.total.as_ref(), "total")?, "total")?;
    Ok(PaymentFacts {
        status: if total.minor() == 0 { PaymentStatus::Free } else { PaymentStatus::Paid },
        currency: Some(total.currency()),
        amount_paid_minor: Some(total.minor()).filter(|minor| *minor >= 0),
        tax_minor: invoice.tax.as_ref().map(|tax| tax.minor).filter(|minor| *minor >= 0),
        discount_minor: invoice.discount.as_ref().map(|discount| discount.minor).filter(|minor| *minor >= 0),
        session: None,
        payment_intent: intent,
        charge: charge
            .and_then(|charge| charge.id.clone())
            .or_else(|| invoice.charges().first().map(|charge| (*charge).to_owned())),
        invoice: Some(id.to_owned()),
        balance_transaction: charge.and_then(|charge| charge.balance_transaction.clone()),
        stripe_customer: invoice.customer.clone(),
        subscription: invoice.subscription.clone(),
        paid_at: Some(paid_at),
        metadata,
    })
}

fn from_metadata(
    facts: &PaymentFacts,
    metadata: &BTreeMap<String, String>,
    paid_at: Timestamp,
    elsewhere: Option<Cost>,
    context: Context<'_>,
) -> Result<Option<WishedGrant>, Stop> {
    // What overage on the same invoice cost was not paid for these credits.
    let less = |sum: Option<i64>, part: fn(&Cost) -> i64| {
        sum.map(|sum| sum.saturating_sub(elsewhere.as_ref().map_or(0, part)).max(0))
    };
    let (tax_minor, discount_minor) =
        (less(facts.tax_minor, |cost| cost.tax), less(facts.discount_minor, |cost| cost.discount));
    let paid = match (facts.currency, less(facts.amount_paid_minor, |cost| cost.paid)) {
        (Some(currency), Some(minor)) => {
            Some(Money::from_minor(minor, currency).map_err(|error| Why::new("bad_money", error.to_string()))?)
        }
        _ => None,
    };
    let money = line_money(paid, tax_minor, discount_minor)?;
    let net = net_of(paid, tax_minor)?;
    let grant = metadata_grant(metadata, context.catalog, paid_at, money)?;
    if let Some(grant) = &grant {
        use super::intent::FeatureWish::{Named, WalletElse};
        if let Named(feature) | WalletElse(Some(feature)) = &grant.feature {
            facts::above_minimum(context.catalog, feature, grant.quantity, net, true)?;
        }
    }
    Ok(grant)
}

/// What a subscription says of its trial.
#[derive(Clone, Copy)]
enum Trial {
    /// It could not be asked.
    Unasked,
    /// It ends or ended then.
    Until(Timestamp),
    /// It has had none.
    Never,
}

type Bought = (Vec<WishedGrant>, Vec<WishedPlan>);

fn from_lines(
    lines: &[InvoiceLine],
    invoice: &Invoice,
    paid_at: Timestamp,
    trial: Trial,
    context: Context<'_>,
) -> Result<Bought, Stop> {
    let mut bought: BTreeMap<String, WishedGrant> = BTreeMap::new();
    let mut plans: Vec<(WishedPlan, Cost)> = Vec::new();
    for line in lines {
        let Some(sold) = sold(line, context) else { continue };
        if is_proration(line, &sold)? {
            // Told as a change of the period it lies in.
            continue;
        }
        let (money, net) = money_of(line)?;
        match sold {
            Sold::Pack { item, .. } => {
                let quantity = count(line.quantity, line.quantity_decimal.as_deref(), "lines.quantity")?;
                let grant = pack_grant(&sold, quantity, money, line.price.as_deref(), line.id.as_deref(), paid_at)?;
                facts::above_minimum(context.catalog, &item.feature, grant.quantity, net, false)?;
                add(&mut bought, grant)?;
            }
            Sold::PlanFee { plan, .. } => {
                if invoice.billing_reason.as_deref() == Some("subscription_threshold") {
                    continue;
                }
                if line.kind == Some(LineKind::InvoiceItem) {
                    continue;
                }
                let Some(wished) = plan_of(line, invoice, plan, money)? else { continue };
                let is_trial = match trial {
                    Trial::Until(end) => end == wished.period_end,
                    Trial::Never => false,
                    Trial::Unasked => looks_like_trial(line)?,
                };
                add_plan(&mut plans, WishedPlan { is_trial, ..wished }, Cost::of(line)?)?;
            }
        }
    }
    let credited = proration::credited(lines, invoice, context)?;
    Ok((bought.into_values().collect(), less_credits(plans, &credited)?))
}

/// A period that Stripe begins anew credits what was left of the one before: it costs that much less, and gives less.
fn less_credits(plans: Vec<(WishedPlan, Cost)>, credited: &[proration::Credited<'_>]) -> Result<Vec<WishedPlan>, Stop> {
    let mut left: Vec<Cost> = credited.iter().map(|credit| credit.cost).collect();
    let mut net = Vec::with_capacity(plans.len());
    for (mut plan, mut cost) in plans {
        for (credit, left) in credited.iter().zip(&mut left) {
            let runs_into = credit.subscription == plan.subscription
                && credit.from <= plan.period_start
                && plan.period_start < credit.until;
            if runs_into {
                (cost, *left) = cost.less(*left)?;
                plan.credited.extend(credit.plans.iter().map(|plan| (*plan).clone()));
            }
        }
        plan.money = cost.money()?;
        net.push(plan);
    }
    Ok(net)
}

/// Two lines of one plan and period are its seats together.
fn add_plan(plans: &mut Vec<(WishedPlan, Cost)>, wished: WishedPlan, cost: Cost) -> Result<(), Stop> {
    let same = |(known, _): &&mut (WishedPlan, Cost)| {
        known.subscription == wished.subscription
            && known.plan == wished.plan
            && (known.period_start, known.period_end) == (wished.period_start, wished.period_end)
            && known.is_trial == wished.is_trial
    };
    let Some((known, costs)) = plans.iter_mut().find(same) else {
        plans.push((wished, cost));
        return Ok(());
    };
    known.quantity = known.quantity.saturating_add(wished.quantity).min(subscription::SEATS_MAX);
    *costs = costs.plus(cost)?;
    Ok(())
}

/// What a line cost: its amount less discounts, with the taxes on top; beside it the same without tax.
fn money_of(line: &InvoiceLine) -> Result<(GrantMoney, Option<Money>), Stop> {
    let cost = Cost::of(line)?;
    let paid = cost.paid()?;
    Ok((cost.money()?, net_of(Some(paid), Some(cost.tax))?))
}

/// A line's money in minor units; below zero on a credit.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    paid: i64,
    tax: i64,
    discount: i64,
    currency: Currency,
}

fn out_of_range() -> Why {
    Why::new("bad_money", "a line's amount, discount and taxes leave the range of amounts")
}

impl Cost {
    /// Its amount less discounts, with the taxes on top.
    pub(super) fn of(line: &InvoiceLine) -> Result<Self, Stop> {
        let amount = needed(line.amount.as_ref(), "lines.amount")?;
        let currency: Currency = amount
            .currency
            .parse()
            .map_err(|_| Why::new("bad_money", format!("`{}` is no currency", facts::cut(&amount.currency))))?;
        let discount = line.discount.as_ref().map_or(0, |discount| discount.minor);
        let (mut tax, mut exclusive) = (0_i64, 0_i64);
        for part in line.taxes.iter().flatten() {
            tax = tax.checked_add(part.amount.minor).ok_or_else(out_of_range)?;
            if part.is_inclusive != Some(true) {
                exclusive = exclusive.checked_add(part.amount.minor).ok_or_else(out_of_range)?;
            }
        }
        let paid = amount.minor.checked_sub(discount).and_then(|minor| minor.checked_add(exclusive));
        let paid = paid.ok_or_else(out_of_range)?;
        Ok(Self { paid, tax, discount, currency })
    }

    /// Both together; none when their currencies differ.
    pub(super) fn plus(self, more: Self) -> Result<Self, Stop> {
        let sum = |left: i64, right: i64| left.checked_add(right).ok_or_else(out_of_range);
        if self.currency != more.currency {
            return Err(Why::new("bad_money", "the lines of one change are of two currencies").into());
        }
        Ok(Self {
            paid: sum(self.paid, more.paid)?,
            tax: sum(self.tax, more.tax)?,
            discount: sum(self.discount, more.discount)?,
            currency: self.currency,
        })
    }

    /// Splits off what is above zero: what a credit of another line left of it, and what is left of the credit.
    pub(super) fn less(self, credit: Self) -> Result<(Self, Self), Stop> {
        let both = self.plus(credit)?;
        let part = |of: i64, keep: bool| if (of > 0) == keep { of } else { 0 };
        let split = |keep| Self {
            paid: part(both.paid, keep),
            tax: part(both.tax, keep),
            discount: part(both.discount, keep),
            currency: both.currency,
        };
        Ok((split(true), split(false)))
    }

    fn paid(self) -> Result<Money, Stop> {
        let minor = Some(self.paid).filter(|minor| *minor >= 0).ok_or_else(out_of_range)?;
        Ok(Money::from_minor(minor, self.currency).map_err(|error| Why::new("bad_money", error.to_string()))?)
    }

    /// As a grant's money.
    pub(super) fn money(self) -> Result<GrantMoney, Stop> {
        line_money(Some(self.paid()?), Some(self.tax), Some(self.discount))
    }
}

/// Does a line correct a running period? A plan's line always says so; one that does not may not pass for a whole period.
fn is_proration(line: &InvoiceLine, sold: &Sold<'_>) -> Result<bool, Stop> {
    match sold {
        Sold::PlanFee { .. } => needed(line.is_proration, "lines.proration"),
        Sold::Pack { .. } => Ok(false),
    }
}

/// A line without an amount and without a discount, of a price that is not free, is a trial's.
fn looks_like_trial(line: &InvoiceLine) -> Result<bool, Stop> {
    let nothing_asked = line.amount.as_ref().is_some_and(|amount| amount.minor == 0)
        && line.discount.as_ref().is_none_or(|discount| discount.minor == 0);
    if !nothing_asked {
        return Ok(false);
    }
    let unit = needed(line.unit_amount_decimal.as_deref(), "lines.unit_amount_decimal")?;
    Ok(!unit.parse::<Credits>().is_ok_and(Credits::is_zero))
}

/// The period a line pays; none when it is of no seats at all, which Stripe bills with nothing.
fn plan_of(
    line: &InvoiceLine,
    invoice: &Invoice,
    plan: &crate::domain::catalog::PlanId,
    money: GrantMoney,
) -> Result<Option<WishedPlan>, Stop> {
    let subscription = line.subscription.clone().or_else(|| invoice.subscription.clone());
    let period = needed(line.period, "lines.period")?;
    if period.end <= period.start {
        return Err(Why::new("unreadable", "lines.period ends before it starts").into());
    }
    let Some(quantity) = seats(line)? else { return Ok(None) };
    Ok(Some(WishedPlan {
        subscription: needed(subscription, "lines.subscription")?,
        plan: plan.clone(),
        quantity,
        period_start: period.start,
        period_end: period.end,
        is_trial: false,
        credited: Vec::new(),
        money,
        stripe_price: line.price.clone(),
        stripe_line: line.id.clone(),
    }))
}

/// Seats of a line; none when it is of no seats at all.
pub(super) fn seats(line: &InvoiceLine) -> Result<Option<i64>, Stop> {
    let seats = count(line.quantity, line.quantity_decimal.as_deref(), "lines.quantity")?;
    if seats.is_zero() {
        return Ok(None);
    }
    let whole = seats.nanos().checked_div(Credits::whole(1).nanos()).and_then(|seats| i64::try_from(seats).ok());
    Ok(Some(whole.unwrap_or(1).clamp(1, subscription::SEATS_MAX)))
}
