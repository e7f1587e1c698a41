//! Checkout sessions: one-off payments grant packs or what their metadata says; subscription sessions tell who is who.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::facts::{self, above_minimum, claims_credits, metadata_grant, money_if_any};
use super::intent::{FeatureWish, Intent, PaymentIntent, Why, WishedGrant};
use super::interpret::{Context, Stop, needed, stripe_id};
use super::top_up;
use crate::domain::catalog::Sold;
use crate::domain::command::Basis;
use crate::domain::credits::Credits;
use crate::domain::grant::{Category, GrantMoney};
use crate::domain::money::Money;
use crate::domain::payment::{PaymentFacts, PaymentStatus};
use crate::domain::period;
use crate::stripe::client::Fetch;
use crate::stripe::wire::{self, Charge, Event, Session, SessionLineItem, Wire};

fn session_of(event: &Event) -> Result<Session, Stop> {
    Ok(Session::from_value(needed(event.object.as_ref(), "data.object")?)?)
}

/// `checkout.session.async_payment_failed`: the money never came.
pub(super) fn failed(event: &Event) -> Result<Vec<Intent>, Stop> {
    let id = session_of(event)?.id.unwrap_or_default();
    Err(Stop::Ignore(Why::new("payment_failed", format!("the delayed payment of {id} failed; nothing is granted"))))
}

/// `checkout.session.expired`: nobody paid.
pub(super) fn expired(event: &Event) -> Result<Vec<Intent>, Stop> {
    let id = session_of(event)?.id.unwrap_or_default();
    Err(Stop::Ignore(Why::new("session_expired", format!("{id} expired unpaid; nothing is granted"))))
}

/// `checkout.session.completed` and `.async_payment_succeeded`.
pub(super) fn completed(event: &Event, context: Context<'_>) -> Result<Vec<Intent>, Stop> {
    let session = session_of(event)?;
    match session.mode.as_deref() {
        Some("payment") => payment(&session, event.created, None, context),
        Some("subscription") => link(&session),
        Some("setup") => super::card::set_up(&session, context),
        other => Err(Why::new("missing_fact", format!("mode `{}` is not known", other.unwrap_or("(none)"))).into()),
    }
}

/// A subscription's session grants nothing, its `invoice.paid` does; it tells whose the Stripe customer is.
fn link(session: &Session) -> Result<Vec<Intent>, Stop> {
    let who = facts::who(&session.metadata, session.client_reference_id.as_deref(), session.customer.as_deref());
    if who.stripe_customer.is_none() || (who.customer_id.is_none() && who.client_reference.is_none()) {
        return Err(Stop::Ignore(Why::new("no_link", "the session names no customer of ours; its invoice decides")));
    }
    Ok(vec![Intent::Link(who)])
}

/// Of a session that is paid, was nothing to pay?
fn is_free(session: &Session) -> Result<bool, Stop> {
    match session.payment_status.as_deref() {
        Some("paid") => Ok(false),
        Some("no_payment_required") => Ok(true),
        Some("unpaid") => {
            let detail = "completed, but not paid yet: its async_payment_succeeded will grant";
            Err(Stop::Ignore(Why::new("not_paid_yet", detail)))
        }
        other => {
            let detail = format!("payment_status `{}` is not known", other.unwrap_or("(none)"));
            Err(Why::new("missing_fact", detail).into())
        }
    }
}

/// A one-off payment. `invoice` is the one-off invoice that led here, if one did.
pub(super) fn payment(
    session: &Session,
    event_created: Option<Timestamp>,
    invoice: Option<&str>,
    context: Context<'_>,
) -> Result<Vec<Intent>, Stop> {
    let free = is_free(session)?;
    let id = needed(session.id.as_deref(), "data.object.id")?;
    if let Some(top_up) = top_up::named(&session.metadata)? {
        // Neither what it sells nor what its metadata says buys anything besides.
        return top_up::by_session(top_up, session, (id, invoice), event_created, context);
    }
    let basis = if claims_credits(&session.metadata) { Basis::Metadata } else { Basis::Lines };
    let lines = match basis {
        Basis::Metadata => Vec::new(),
        Basis::Lines => lines(session, id, context)?,
    };
    if basis == Basis::Lines && !lines.iter().any(|line| pack_of(line, context).is_some()) {
        return Err(nothing_of_ours(&lines, context));
    }
    let charge = charge_of(session.payment_intent.as_ref().map(wire::Expandable::id), context)?;
    let paid_at = charge.as_ref().and_then(|charge| charge.created).or(session.created).or(event_created);
    let paid_at = needed(paid_at, "data.object.created")?;
    context.after_cutover(paid_at)?;
    let facts = facts_of(session, id, invoice, charge.as_ref(), paid_at, free)?;
    let grants = match basis {
        Basis::Metadata => vec![from_metadata(session, paid_at, context)?],
        Basis::Lines => from_lines(&lines, paid_at, free, context)?,
    };
    Ok(vec![Intent::Payment(Box::new(PaymentIntent {
        who: facts::who(&session.metadata, session.client_reference_id.as_deref(), session.customer.as_deref()),
        metadata: grant_metadata(&facts),
        facts,
        basis,
        paid_at,
        grants,
        plans: Vec::new(),
        changes: Vec::new(),
        bills: Vec::new(),
    }))])
}

/// The session's metadata with the ids that say where its credits come from, under the keys of the Flexprice guide.
fn grant_metadata(facts: &PaymentFacts) -> BTreeMap<String, String> {
    let ids = [("stripe_session_id", &facts.session), ("stripe_payment_intent", &facts.payment_intent)];
    let ids = ids.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id.clone()?)));
    facts.metadata.clone().into_iter().chain(ids).collect()
}

fn nothing_of_ours(lines: &[SessionLineItem], context: Context<'_>) -> Stop {
    let prices: Vec<&str> = lines.iter().filter_map(|line| line.price.as_deref()).take(10).collect();
    let why = Why::new("unknown_price", format!("no line is sold here: {}", prices.join(", ")));
    if context.park_unknown_prices { Stop::Park(why) } else { Stop::Ignore(why) }
}

fn lines(session: &Session, id: &str, context: Context<'_>) -> Result<Vec<SessionLineItem>, Stop> {
    let session_id = stripe_id(id)?;
    let page = |starting_after| Fetch::SessionLineItems { session: session_id.clone(), starting_after };
    if let Some(lines) = context.all(page, |line: &SessionLineItem| line.id.as_deref())? {
        return Ok(lines);
    }
    match &session.line_items {
        Some(expanded) if !expanded.has_more => Ok(expanded.data.clone()),
        Some(_) | None => Err(Why::new(
            "line_items_unavailable",
            format!("the line items of {id} cannot be fetched: set STRIPE_SECRET_KEY, or put creditd_credits into the metadata"),
        )
        .into()),
    }
}

/// The charge behind a payment intent: its time is when money was paid, its balance transaction is finance's join.
pub(super) fn charge_of(intent: Option<&str>, context: Context<'_>) -> Result<Option<Charge>, Stop> {
    Ok(intent_and_charge(intent, context)?.1)
}

/// A payment intent and the charge behind it, as far as Stripe tells of them.
pub(super) fn intent_and_charge(
    intent: Option<&str>,
    context: Context<'_>,
) -> Result<(Option<wire::PaymentIntent>, Option<Charge>), Stop> {
    let Some(intent) = intent else { return Ok((None, None)) };
    let found: Option<wire::PaymentIntent> = context.one(Fetch::PaymentIntent { id: stripe_id(intent)? })?;
    let Some(latest) = found.as_ref().and_then(|intent| intent.latest_charge.as_ref()) else {
        return Ok((found, None));
    };
    if let Some(charge) = latest.read::<Charge>()?.filter(|charge| charge.created.is_some()) {
        return Ok((found, Some(charge)));
    }
    let charge = context.one(Fetch::Charge { id: stripe_id(latest.id())? })?;
    Ok((found, charge))
}

pub(super) fn facts_of(
    session: &Session,
    id: &str,
    invoice: Option<&str>,
    charge: Option<&Charge>,
    paid_at: Timestamp,
    free: bool,
) -> Result<PaymentFacts, Stop> {
    let sold = money_if_any(session.amount_sold.as_ref(), "amount_total")?;
    if sold.is_none() && !free {
        return Err(Why::new("missing_fact", "amount_total is missing on a paid session").into());
    }
    Ok(PaymentFacts {
        status: if free { PaymentStatus::Free } else { PaymentStatus::Paid },
        currency: sold.map(Money::currency),
        amount_paid_minor: sold.map(Money::minor),
        tax_minor: session.amount_tax.as_ref().map(|tax| tax.minor),
        discount_minor: session.amount_discount.as_ref().map(|discount| discount.minor),
        session: Some(id.to_owned()),
        payment_intent: session.payment_intent.as_ref().map(|intent| intent.id().to_owned()),
        charge: charge.and_then(|charge| charge.id.clone()),
        invoice: invoice.map(str::to_owned).or_else(|| session.invoice.clone()),
        balance_transaction: charge.and_then(|charge| charge.balance_transaction.clone()),
        stripe_customer: session.customer.clone(),
        subscription: None,
        paid_at: Some(paid_at),
        metadata: session.metadata.clone(),
    })
}

fn from_metadata(session: &Session, paid_at: Timestamp, context: Context<'_>) -> Result<WishedGrant, Stop> {
    let paid = money_if_any(session.amount_sold.as_ref(), "amount_total")?;
    let tax = session.amount_tax.as_ref().map(|tax| tax.minor);
    let net = net_of(paid, tax)?;
    let money = GrantMoney {
        paid,
        tax_minor: tax.filter(|_| paid.is_some()),
        discount_minor: session.amount_discount.as_ref().map(|discount| discount.minor).filter(|_| paid.is_some()),
        basis_minor: net.map(Money::minor),
    };
    let grant = metadata_grant(&session.metadata, context.catalog, paid_at, money)?;
    let grant = needed(grant, "metadata.creditd_credits")?;
    if let FeatureWish::Named(feature) | FeatureWish::WalletElse(Some(feature)) = &grant.feature {
        above_minimum(context.catalog, feature, grant.quantity, net, true)?;
    }
    Ok(grant)
}

/// What was paid without tax.
pub(super) fn net_of(paid: Option<Money>, tax_minor: Option<i64>) -> Result<Option<Money>, Stop> {
    let Some(paid) = paid else { return Ok(None) };
    let minor = paid.minor().checked_sub(tax_minor.unwrap_or(0)).filter(|minor| *minor >= 0);
    let minor = minor.ok_or_else(|| Why::new("bad_money", format!("tax is more than the {paid} paid")))?;
    Ok(Some(Money::from_minor(minor, paid.currency()).map_err(|error| Why::new("bad_money", error.to_string()))?))
}

fn pack_of<'a>(line: &SessionLineItem, context: Context<'a>) -> Option<Sold<'a>> {
    if line.is_metered == Some(true) || line.amount_total.as_ref().is_some_and(|total| total.minor < 0) {
        return None;
    }
    let sold = context.catalog.sold(line.price.as_deref(), line.product.as_deref())?;
    matches!(sold, Sold::Pack { .. }).then_some(sold)
}

fn from_lines(
    lines: &[SessionLineItem],
    paid_at: Timestamp,
    free: bool,
    context: Context<'_>,
) -> Result<Vec<WishedGrant>, Stop> {
    if free && !context.grant_free_checkouts {
        let why = Why::new("free_checkout", "nothing was paid, and grant_free_checkouts is off");
        return Err(Stop::Ignore(why));
    }
    let mut bought: BTreeMap<String, WishedGrant> = BTreeMap::new();
    for line in lines {
        let Some(sold) = pack_of(line, context) else { continue };
        let quantity = count(line.quantity, line.quantity_decimal.as_deref(), "quantity")?;
        let total = money_if_any(line.amount_total.as_ref(), "line_items.amount_total")?;
        let tax = line.amount_tax.as_ref().map(|tax| tax.minor);
        let discount = line.amount_discount.as_ref().map(|discount| discount.minor);
        let total = if free { total } else { Some(needed(total, "line_items.amount_total")?) };
        let money = line_money(total, tax, discount)?;
        add(&mut bought, pack_grant(&sold, quantity, money, line.price.as_deref(), line.id.as_deref(), paid_at)?)?;
    }
    let grants: Vec<WishedGrant> = bought.into_values().collect();
    for grant in &grants {
        if let FeatureWish::Named(feature) = &grant.feature {
            let net = net_of(grant.money.paid, grant.money.tax_minor)?;
            above_minimum(context.catalog, feature, grant.quantity, net, false)?;
        }
    }
    Ok(grants)
}

/// What a line says was paid for it.
pub(super) fn line_money(
    paid: Option<Money>,
    tax_minor: Option<i64>,
    discount_minor: Option<i64>,
) -> Result<GrantMoney, Stop> {
    let net = net_of(paid, tax_minor)?;
    Ok(GrantMoney {
        paid,
        tax_minor: tax_minor.filter(|_| paid.is_some()),
        discount_minor: discount_minor.filter(|_| paid.is_some()),
        basis_minor: net.map(Money::minor),
    })
}

/// How many of a line: the decimal text when there is one, else the whole number; both absent is a missing fact.
pub(super) fn count(whole: Option<i64>, decimal: Option<&str>, field: &str) -> Result<Credits, Stop> {
    let count = match decimal {
        Some(text) => text
            .parse::<Credits>()
            .map_err(|error| Why::new("unreadable", format!("{field}_decimal `{}` {error}", facts::cut(text))))?,
        None => Credits::whole(needed(whole, field)?),
    };
    if count.is_negative() {
        return Err(Why::new("unreadable", format!("{field} is negative")).into());
    }
    Ok(count)
}

/// The grant of one pack line.
pub(super) fn pack_grant(
    sold: &Sold<'_>,
    quantity: Credits,
    money: GrantMoney,
    price: Option<&str>,
    line: Option<&str>,
    paid_at: Timestamp,
) -> Result<WishedGrant, Stop> {
    let Sold::Pack { plan, item, pack } = sold else {
        return Err(Why::new("unknown_price", "the line is no pack").into());
    };
    let out_of_range =
        || Why::new("bad_money", format!("{quantity} packs of {} leave the range of amounts", pack.credits));
    let credits = times(pack.credits, quantity).ok_or_else(out_of_range)?;
    let expires_at = period::expiry(paid_at, item.expires_after).map_err(|_| out_of_range())?;
    Ok(WishedGrant {
        item_key: format!("{}:{plan}.{}", price.unwrap_or("inline"), item.id),
        wallet_key: None,
        feature: FeatureWish::Named(item.feature.clone()),
        quantity: credits,
        category: Category::Prepaid,
        priority: item.priority,
        expires_at,
        plan: Some((*plan).clone()),
        money,
        stripe_price: price.map(str::to_owned),
        stripe_line: line.map(str::to_owned),
    })
}

/// `credits * count`; parts of a pack are bought in packs of at most 10^9 credits.
fn times(credits: Credits, count: Credits) -> Option<Credits> {
    let one = Credits::whole(1).nanos();
    if count.nanos().checked_rem(one) == Some(0) {
        let packs = count.nanos().checked_div(one)?;
        return credits.nanos().checked_mul(packs).and_then(|nanos| Credits::from_nanos(nanos).ok());
    }
    let rate: crate::domain::credits::Rate = credits.to_string().parse().ok()?;
    rate.cost(crate::domain::credits::Quantity::from_nanos(count.nanos()).ok()?).ok()
}

/// Adds a grant to those bought so far; lines with one item key become one grant (rule 5).
pub(super) fn add(bought: &mut BTreeMap<String, WishedGrant>, grant: WishedGrant) -> Result<(), Stop> {
    let Some(known) = bought.get_mut(&grant.item_key) else {
        bought.insert(grant.item_key.clone(), grant);
        return Ok(());
    };
    let out_of_range = |_| Why::new("bad_money", "the lines of one price add up to more than an amount can be");
    known.quantity = known.quantity.checked_add(grant.quantity).map_err(out_of_range)?;
    add_money(&mut known.money, &grant.money)
}

/// Adds what another line of the same thing cost.
pub(super) fn add_money(known: &mut GrantMoney, more: &GrantMoney) -> Result<(), Stop> {
    let sum = |left: Option<i64>, right: Option<i64>| match (left, right) {
        (Some(left), Some(right)) => left.checked_add(right),
        (one, None) | (None, one) => one,
    };
    known.paid = match (known.paid, more.paid) {
        (Some(left), Some(right)) => {
            Some(left.checked_add(right).map_err(|error| Why::new("bad_money", error.to_string()))?)
        }
        (one, None) | (None, one) => one,
    };
    known.tax_minor = sum(known.tax_minor, more.tax_minor);
    known.discount_minor = sum(known.discount_minor, more.discount_minor);
    known.basis_minor = sum(known.basis_minor, more.basis_minor);
    Ok(())
}
