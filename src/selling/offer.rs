//! What an order comes to: pure, from the catalogue, the account, and the currency Stripe holds its customer to.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::order::{Order, ShownLine};
use crate::domain::account::AccountState;
use crate::domain::attachment::{Attachment, AttachmentState, CarryOver};
use crate::domain::catalog::{CatalogVersion, FeatureId, Interval, Item, Pack, Plan, PlanId, Price};
use crate::domain::command::Attach;
use crate::domain::credits::Credits;
use crate::domain::money::{Currency, Money};
use crate::stripe::client::StripeId;

/// Stripe's limit for the quantity of a line.
pub const QUANTITY_MAX: u64 = 999_999;
/// Stripe's limit for an amount: eight digits of minor units.
pub const TOTAL_MAX_MINOR: i64 = 99_999_999;
/// Different packs of one order: far more than any plan offers, and within a session's 100 lines.
pub const QUANTITIES_MAX: usize = 20;

/// Why an order makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such plan.
    #[error("the catalogue has no plan `{0}`")]
    UnknownPlan(PlanId),
    /// The plan has no such price.
    #[error("plan `{plan}` has no price `{price}`: give its lookup key or the id of its price in Stripe")]
    UnknownPrice {
        /// The plan.
        plan: PlanId,
        /// What was asked for.
        price: String,
    },
    /// The plan has prices in several currencies.
    #[error("plan `{0}` is sold in several currencies: say by `price` which")]
    WhichCurrency(PlanId),
    /// The plan has no price in the customer's currency.
    #[error("this customer pays in {currency}, and `{plan}` has no price in it")]
    Currency {
        /// The plan.
        plan: PlanId,
        /// The currency.
        currency: Currency,
    },
    /// Stripe does not know the price.
    #[error("a price of plan `{0}` has no `stripe_price` in the catalogue: make it in Stripe, and write down its id")]
    NotInStripe(PlanId),
    /// The plan sells nothing of that name.
    #[error("plan `{plan}` sells no packs of `{name}`")]
    NoPacks {
        /// The plan.
        plan: PlanId,
        /// What was asked for.
        name: String,
    },
    /// The plan is bought by quantity.
    #[error("plan `{0}` sells packs: say how many credits by `quantities`")]
    QuantitiesMissing(PlanId),
    /// What is included is enough.
    #[error("`{name}`: the plan includes {included}, so no pack is needed for {asked}")]
    Included {
        /// The feature or item.
        name: String,
        /// What was asked for.
        asked: Credits,
        /// What the plan includes.
        included: Credits,
    },
    /// Too few for one purchase.
    #[error("`{name}`: {bought} is less than the {minimum} of one purchase")]
    BelowMinimum {
        /// The feature or item.
        name: String,
        /// What would be bought.
        bought: Credits,
        /// The fewest.
        minimum: Credits,
    },
    /// Nothing says in which currency a card will be charged.
    #[error("nothing says in which currency the card will be charged: say it by `currency`")]
    SetupCurrency,
    /// More than Stripe takes.
    #[error("this is more than one purchase can be: at most {QUANTITY_MAX} of a price, and eight digits of money")]
    TooMuch,
    /// The customer has it.
    #[error("plan `{0}` is attached already")]
    AlreadyAttached(PlanId),
    /// What one parameter asks for is not done with this plan.
    #[error("`{field}` {why}")]
    NotSupported {
        /// The parameter.
        field: &'static str,
        /// Why.
        why: &'static str,
    },
    /// A page needs somewhere to lead to.
    #[error("`success_url` is missing: the buyer is sent there after paying")]
    UrlMissing,
}

/// What an offer is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The catalogue in force.
    pub catalog: &'a CatalogVersion,
    /// The account, whole.
    pub state: &'a AccountState,
    /// Ledger time.
    pub now: Timestamp,
    /// The currency Stripe holds the customer to.
    pub currency: Option<Currency>,
}

/// What an order comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deal {
    /// A plan of ours is attached.
    Own(Own),
    /// Packs are bought, once.
    Packs(Bill),
    /// A subscription starts.
    Begin(Begin),
    /// A subscription changes.
    Change(Change),
}

/// A plan of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// What is posted.
    pub attach: Attach,
    /// The subscription whose plan it follows, which is to end with its period.
    pub after: Option<String>,
}

/// A subscription that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What it sells.
    pub bill: Bill,
    /// How often it is paid.
    pub every: Interval,
    /// Days without payment at its start.
    pub trial_days: Option<u32>,
    /// The plans of which only one can be bought at a time: a group's, or the plan alone.
    pub slot: String,
    /// May it be bought again while it is there?
    pub repeats: bool,
}

/// A subscription that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub subscription: String,
    /// The plan it is left for.
    pub from: PlanId,
    /// What it sells then.
    pub bill: Bill,
    /// How often that is paid.
    pub every: Interval,
}

/// What is to be paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Line by line; never empty.
    pub lines: Vec<Line>,
    /// All of it.
    #[serde(with = "super::kept::money")]
    pub total: Money,
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The plan.
    pub plan: PlanId,
    /// The packs, if it is not the plan's fee: whose, of which item, and how many credits they give.
    pub pack: Option<(FeatureId, String, Credits)>,
    /// Stripe's price.
    #[serde(with = "super::kept::stripe_id")]
    pub stripe_price: StripeId,
    /// How many.
    pub quantity: u64,
    /// What one costs.
    #[serde(with = "super::kept::money")]
    pub unit: Money,
    /// What they cost.
    #[serde(with = "super::kept::money")]
    pub amount: Money,
}

impl Bill {
    /// No money, in its currency.
    pub(super) fn nothing(&self) -> Option<Money> {
        Money::from_minor(0, self.total.currency()).ok()
    }
}

impl Line {
    /// As it is answered.
    pub(super) fn shown(&self) -> ShownLine {
        ShownLine {
            plan: self.plan.clone(),
            feature: self.pack.as_ref().map(|(feature, _, _)| feature.clone()),
            credits: self.pack.as_ref().map(|(_, _, credits)| *credits),
            quantity: self.quantity,
            unit: self.unit,
            amount: self.amount,
            stripe_price: Some(self.stripe_price.to_string()),
        }
    }
}

/// Decides what an order comes to.
pub fn offer(order: &Order, facts: Facts<'_>) -> Result<Deal, Refusal> {
    let plans = &facts.catalog.catalog.plans;
    let plan = plans.get(&order.plan).ok_or_else(|| Refusal::UnknownPlan(order.plan.clone()))?;
    if !order.quantities.is_empty() {
        return packs(order, plan, facts).map(Deal::Packs);
    }
    if !plan.prices.is_empty() {
        return fee(order, plan, facts);
    }
    if plan.gives_only_packs() {
        return Err(Refusal::QuantitiesMissing(order.plan.clone()));
    }
    if order.price.is_some() {
        return Err(not_supported("price", "goes with a plan that has prices"));
    }
    own(order, facts).map(Deal::Own)
}

const fn not_supported(field: &'static str, why: &'static str) -> Refusal {
    Refusal::NotSupported { field, why }
}

fn own(order: &Order, facts: Facts<'_>) -> Result<Own, Refusal> {
    let Order { plan, entity, carry_over, .. } = order;
    if payer_of(order, facts).is_some() && *carry_over != CarryOver::default() {
        let why = "has nothing to keep here: what is paid stays until its period ends";
        return Err(not_supported("carry_over", why));
    }
    let is_there = |known: &&Attachment| known.plan == *plan && known.entity == *entity && is_here(known);
    if let Some(known) = facts.state.attachments.iter().find(is_there)
        && order.seats.is_none_or(|seats| seats == known.quantity)
    {
        return Err(Refusal::AlreadyAttached(plan.clone()));
    }
    Ok(own_of(order, facts))
}

/// An order of a plan of ours, whether it is there already or not.
pub(super) fn own_of(order: &Order, facts: Facts<'_>) -> Own {
    let Order { plan, entity, carry_over, seats, .. } = order;
    let quantity = seats.unwrap_or(1);
    let attach = Attach { plan: plan.clone(), entity: entity.clone(), quantity, carry_over: *carry_over };
    let after = payer_of(order, facts).filter(|(mate, _)| mate.cancel_at.is_none());
    Own { attach, after: after.map(|(_, subscription)| subscription.to_owned()) }
}

/// What is paid for of the plans whose place the ordered one takes, and the subscription that pays.
fn payer_of<'a>(order: &'a Order, facts: Facts<'a>) -> Option<(&'a Attachment, &'a str)> {
    mates(order, facts).find_map(|mate| Some((mate, mate.origin.subscription()?)))
}

/// In force, overdue, unpaid or to come: not over.
fn is_here(known: &Attachment) -> bool {
    known.ended_at.is_none()
}

/// Attachments of other plans whose place the ordered one takes.
fn mates<'a>(order: &'a Order, facts: Facts<'a>) -> impl Iterator<Item = &'a Attachment> {
    let group = facts.catalog.catalog.plans.get(&order.plan).and_then(Plan::exclusive_group);
    facts.state.attachments.iter().filter(move |known| {
        known.plan != order.plan
            && known.entity == order.entity
            && is_here(known)
            && known.state != AttachmentState::Scheduled
            && group.is_some()
            && facts.catalog.group_of(known) == group
    })
}

fn fee(order: &Order, plan: &Plan, facts: Facts<'_>) -> Result<Deal, Refusal> {
    if !order.entity.is_empty() {
        return Err(not_supported("entity", "goes with plans that have no price"));
    }
    if order.carry_over != CarryOver::default() {
        return Err(not_supported("carry_over", "goes with plans that have no price"));
    }
    let price = chosen_price(order, plan, facts)?;
    let Some(every) = price.every else {
        return Err(not_supported("plan", "is paid once, which no event of Stripe's is read for: sell it as packs"));
    };
    let is_it = |known: &&Attachment| known.plan == order.plan && is_here(known);
    let mut had = facts.state.attachments.iter().filter(|known| known.plan == order.plan);
    let known = facts.state.attachments.iter().find(is_it).filter(|_| !plan.add_on);
    let seats = order.seats.or_else(|| known.map(|known| known.quantity)).unwrap_or(1);
    let line = line_of(order, price, u64::try_from(seats).map_err(|_| Refusal::TooMuch)?, None)?;
    let bill = Bill { total: within(line.amount)?, lines: vec![line] };
    if let Some(known) = known {
        let asks_nothing_new = order.price.is_none() && seats == known.quantity;
        let subscription = known.origin.subscription().filter(|_| !asks_nothing_new);
        let Some(subscription) = subscription else { return Err(Refusal::AlreadyAttached(order.plan.clone())) };
        let (subscription, from) = (subscription.to_owned(), known.plan.clone());
        return Ok(Deal::Change(Change { subscription, from, bill, every }));
    }
    if let Some((mate, subscription)) = payer_of(order, facts) {
        let (subscription, from) = (subscription.to_owned(), mate.plan.clone());
        return Ok(Deal::Change(Change { subscription, from, bill, every }));
    }
    // A trial is for who never had the plan: not again by leaving and coming back.
    let trial_days = Some(plan.trial_days).filter(|days| *days > 0 && had.next().is_none());
    let alone = || format!("plan:{}", order.plan);
    let slot = plan.exclusive_group().map_or_else(alone, |group| format!("group:{group}"));
    Ok(Deal::Begin(Begin { bill, every, trial_days, slot, repeats: plan.add_on }))
}

fn is_named(price: &Price, name: &str) -> bool {
    price.lookup_key.as_deref() == Some(name) || price.stripe_price.as_deref() == Some(name)
}

fn currency_of(price: &Price) -> Option<Currency> {
    price.amount.money().map(Money::currency)
}

fn chosen_price<'a>(order: &Order, plan: &'a Plan, facts: Facts<'_>) -> Result<&'a Price, Refusal> {
    let wrong = |currency| Refusal::Currency { plan: order.plan.clone(), currency };
    if let Some(name) = &order.price {
        let unknown = || Refusal::UnknownPrice { plan: order.plan.clone(), price: name.clone() };
        let found = plan.prices.iter().find(|price| is_named(price, name)).ok_or_else(unknown)?;
        let fits = facts.currency.is_none_or(|currency| currency_of(found) == Some(currency));
        return if fits { Ok(found) } else { Err(facts.currency.map_or_else(unknown, wrong)) };
    }
    let currency = one_currency(&plan.prices.iter().collect::<Vec<_>>(), order, facts)?;
    plan.prices.iter().find(|price| currency_of(price) == Some(currency)).ok_or_else(|| wrong(currency))
}

/// The customer's currency, else the only one there is.
fn one_currency(prices: &[&Price], order: &Order, facts: Facts<'_>) -> Result<Currency, Refusal> {
    if let Some(currency) = facts.currency {
        return Ok(currency);
    }
    let mut currencies = prices.iter().filter_map(|price| currency_of(price));
    let first = currencies.next().ok_or_else(|| Refusal::NotInStripe(order.plan.clone()))?;
    if currencies.all(|other| other == first) { Ok(first) } else { Err(Refusal::WhichCurrency(order.plan.clone())) }
}

fn line_of(
    order: &Order,
    price: &Price,
    quantity: u64,
    pack: Option<(FeatureId, String, Credits)>,
) -> Result<Line, Refusal> {
    let not_there = || Refusal::NotInStripe(order.plan.clone());
    let stripe_price = price.stripe_price.as_deref().ok_or_else(not_there)?;
    let unit = price.amount.money().ok_or_else(not_there)?;
    if !(1..=QUANTITY_MAX).contains(&quantity) {
        return Err(Refusal::TooMuch);
    }
    let minor = i64::try_from(quantity).ok().and_then(|quantity| unit.minor().checked_mul(quantity));
    let amount = minor.and_then(|minor| Money::from_minor(minor, unit.currency()).ok()).ok_or(Refusal::TooMuch)?;
    let stripe_price = StripeId::new(stripe_price).map_err(|_| not_there())?;
    Ok(Line { plan: order.plan.clone(), pack, stripe_price, quantity, unit, amount })
}

fn within(total: Money) -> Result<Money, Refusal> {
    if total.minor() <= TOTAL_MAX_MINOR { Ok(total) } else { Err(Refusal::TooMuch) }
}

fn packs(order: &Order, plan: &Plan, facts: Facts<'_>) -> Result<Bill, Refusal> {
    if !order.entity.is_empty() {
        return Err(not_supported("entity", "goes with plans that have no price"));
    }
    if order.seats.is_some() {
        return Err(not_supported("seats", "does not go with `quantities`"));
    }
    if order.carry_over != CarryOver::default() {
        return Err(not_supported("carry_over", "does not go with `quantities`"));
    }
    let has_it = facts.state.attachments.iter().any(|known| known.plan == order.plan && known.is_live());
    if !has_it && !plan.gives_only_packs() {
        let why = "goes with a plan that is attached: attach it first, then buy its packs";
        return Err(not_supported("quantities", why));
    }
    let offered: Vec<&Price> = plan.items.iter().flat_map(|item| &item.packs).map(|pack| &pack.price).collect();
    let named = order.price.as_deref();
    let currency = match named {
        None => one_currency(&offered, order, facts)?,
        Some(name) => {
            let unknown = || Refusal::UnknownPrice { plan: order.plan.clone(), price: name.to_owned() };
            let price = offered.iter().find(|price| is_named(price, name)).ok_or_else(unknown)?;
            currency_of(price).ok_or_else(unknown)?
        }
    };
    if let Some(held) = facts.currency.filter(|held| *held != currency) {
        return Err(Refusal::Currency { plan: order.plan.clone(), currency: held });
    }
    let mut lines: Vec<Line> = Vec::new();
    for (name, asked) in &order.quantities {
        let is_it = |item: &&Item| (item.id == *name || item.feature.as_str() == name) && !item.packs.is_empty();
        let none = || Refusal::NoPacks { plan: order.plan.clone(), name: name.clone() };
        let item = plan.items.iter().find(is_it).ok_or_else(none)?;
        if lines.iter().any(|line| line.pack.as_ref().is_some_and(|(_, id, _)| *id == item.id)) {
            return Err(not_supported("quantities", "names one item twice, by its feature and by its id"));
        }
        let fits = |pack: &&Pack| {
            currency_of(&pack.price) == Some(currency) && named.is_none_or(|name| is_named(&pack.price, name))
        };
        let mut fitting = item.packs.iter().filter(fits).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::Currency { plan: order.plan.clone(), currency });
        }
        lines.push(cheapest(order, item, name, *asked, fitting)?);
    }
    let zero = Money::from_minor(0, currency).map_err(|_| Refusal::TooMuch)?;
    let total = lines.iter().try_fold(zero, |sum, line| sum.checked_add(line.amount)).map_err(|_| Refusal::TooMuch)?;
    Ok(Bill { lines, total: within(total)? })
}

/// The pack of which whole ones, rounded up, cost least; of equals the first in the catalogue.
fn cheapest<'a>(
    order: &Order,
    item: &Item,
    name: &str,
    asked: Credits,
    packs: impl Iterator<Item = &'a Pack>,
) -> Result<Line, Refusal> {
    let included = item.included.unwrap_or(Credits::ZERO);
    let needed = asked.checked_sub(included).ok().filter(|needed| needed.is_positive());
    let needed = needed.ok_or_else(|| Refusal::Included { name: name.to_owned(), asked, included })?;
    let mut best: Option<Result<Line, Refusal>> = None;
    for pack in packs {
        let line = pack_line(order, item, name, needed, pack);
        let better = match (&best, &line) {
            (None, _) | (Some(Err(_)), Ok(_)) => true,
            (Some(Ok(known)), Ok(line)) => line.amount.minor() < known.amount.minor(),
            (Some(_), Err(_)) => false,
        };
        if better {
            best = Some(line);
        }
    }
    best.unwrap_or_else(|| Err(Refusal::NoPacks { plan: order.plan.clone(), name: name.to_owned() }))
}

fn pack_line(order: &Order, item: &Item, name: &str, needed: Credits, pack: &Pack) -> Result<Line, Refusal> {
    let size = pack.credits.nanos();
    let count = needed.nanos().checked_add(size.saturating_sub(1)).and_then(|sum| sum.checked_div(size));
    let count = count.and_then(|count| u64::try_from(count).ok()).ok_or(Refusal::TooMuch)?;
    let bought = size.checked_mul(i128::from(count)).and_then(|nanos| Credits::from_nanos(nanos).ok());
    let bought = bought.ok_or(Refusal::TooMuch)?;
    if let Some(minimum) = pack.minimum.filter(|minimum| bought < *minimum) {
        return Err(Refusal::BelowMinimum { name: name.to_owned(), bought, minimum });
    }
    line_of(order, &pack.price, count, Some((item.feature.clone(), item.id.clone(), bought)))
}

/// Which of two fees is more for the same time, by how long their periods are on average.
pub fn compare(one: (i64, Interval), other: (i64, Interval)) -> Ordering {
    // Both products are below 10^15 x 10^11: they cannot reach the bound at which they would saturate.
    let left = i128::from(one.0).saturating_mul(i128::from(other.1.average_seconds()));
    let right = i128::from(other.0).saturating_mul(i128::from(one.1.average_seconds()));
    left.cmp(&right)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::catalog::IntervalUnit;

    const fn every(unit: IntervalUnit, count: u16) -> Interval {
        Interval { unit, count }
    }

    #[rstest]
    #[case((1_000, every(IntervalUnit::Month, 1)), (1_000, every(IntervalUnit::Month, 1)), Ordering::Equal)]
    #[case((1_000, every(IntervalUnit::Month, 1)), (9_600, every(IntervalUnit::Year, 1)), Ordering::Greater)]
    #[case((1_000, every(IntervalUnit::Month, 1)), (12_000, every(IntervalUnit::Year, 1)), Ordering::Equal)]
    #[case((1_000, every(IntervalUnit::Month, 1)), (12_001, every(IntervalUnit::Year, 1)), Ordering::Less)]
    #[case((3_000, every(IntervalUnit::Month, 3)), (1_000, every(IntervalUnit::Month, 1)), Ordering::Equal)]
    #[case((700, every(IntervalUnit::Week, 1)), (100, every(IntervalUnit::Day, 1)), Ordering::Equal)]
    #[case((0, every(IntervalUnit::Day, 1)), (1, every(IntervalUnit::Year, 1)), Ordering::Less)]
    #[case((i64::MAX, every(IntervalUnit::Minute, 1)), (i64::MAX, every(IntervalUnit::Year, 1_000)), Ordering::Greater)]
    fn fees_are_compared_for_the_same_time(
        #[case] one: (i64, Interval),
        #[case] other: (i64, Interval),
        #[case] wanted: Ordering,
    ) {
        assert_eq!(compare(one, other), wanted);
        assert_eq!(compare(other, one), wanted.reverse());
    }
}
