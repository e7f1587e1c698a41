//! What a top-up costs: whole packs of the catalogue, rounded up.

use super::super::account::AccountState;
use super::super::attachment::Attachment;
use super::super::catalog::{Catalog, Expiry, FeatureId, Item, Pack, Plan, PlanId};
use super::super::credits::Credits;
use super::super::money::{Currency, Money};
use super::{AMOUNT_MAX_MINOR, PackSource};

/// Most packs of one purchase: Stripe's limit for the quantity of a line.
pub const UNITS_MAX: u64 = 999_999;

/// What is bought, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Whose packs.
    pub source: PackSource,
    /// How many.
    pub units: u64,
    /// What they give.
    pub credits: Credits,
    /// What they cost.
    pub amount: Money,
    /// Stripe's price of one.
    pub stripe_price: Option<String>,
    /// When the credits end.
    pub expires_after: Expiry,
}

/// Why there is no quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuote {
    /// Nothing sells the feature's credits in that currency.
    Missing,
    /// More than one purchase can be.
    TooMuch,
}

/// What so many credits cost from an item's packs: of the cheapest, and of equals the first. Fewer than a purchase's
/// minimum become that.
pub fn quote(catalog: &Catalog, source: &PackSource, currency: Currency, needed: Credits) -> Result<Quote, NoQuote> {
    let plan = catalog.plans.get(&source.plan).ok_or(NoQuote::Missing)?;
    let item = plan.items.iter().find(|item| item.id == source.item).ok_or(NoQuote::Missing)?;
    let mut best: Result<Quote, NoQuote> = Err(NoQuote::Missing);
    for pack in &item.packs {
        if pack.price.amount.money().map(Money::currency) != Some(currency) {
            continue;
        }
        let offered = of_pack(source, item, pack, needed);
        let better = match (&best, &offered) {
            (Ok(known), Ok(offered)) => offered.amount.minor() < known.amount.minor(),
            (Err(_), _) => true,
            (Ok(_), Err(_)) => false,
        };
        if better {
            best = offered;
        }
    }
    best
}

fn of_pack(source: &PackSource, item: &Item, pack: &Pack, needed: Credits) -> Result<Quote, NoQuote> {
    let needed = needed.max(pack.minimum.unwrap_or(Credits::ZERO));
    let size = pack.credits.nanos();
    let units = needed.nanos().max(1).checked_add(size.saturating_sub(1)).and_then(|sum| sum.checked_div(size));
    let units = units.and_then(|units| u64::try_from(units).ok()).filter(|units| (1..=UNITS_MAX).contains(units));
    let units = units.ok_or(NoQuote::TooMuch)?;
    let credits = size.checked_mul(i128::from(units)).and_then(|nanos| Credits::from_nanos(nanos).ok());
    let unit = pack.price.amount.money().ok_or(NoQuote::Missing)?;
    let minor = i64::try_from(units).ok().and_then(|units| unit.minor().checked_mul(units));
    let minor = minor.filter(|minor| (1..=AMOUNT_MAX_MINOR).contains(minor)).ok_or(NoQuote::TooMuch)?;
    Ok(Quote {
        source: source.clone(),
        units,
        credits: credits.ok_or(NoQuote::TooMuch)?,
        amount: Money::from_minor(minor, unit.currency()).map_err(|_| NoQuote::TooMuch)?,
        stripe_price: pack.price.stripe_price.clone(),
        expires_after: item.expires_after,
    })
}

/// Items whose packs a customer can buy: of plans that give packs alone, and of plans they have.
pub fn sources<'a>(
    catalog: &'a Catalog,
    state: &'a AccountState,
    feature: &'a FeatureId,
) -> impl Iterator<Item = (&'a PlanId, &'a Item)> {
    let has = |plan: &PlanId| state.attachments.iter().any(|known: &Attachment| known.plan == *plan && known.is_live());
    let can_buy = move |(id, plan): &(&'a PlanId, &'a Plan)| plan.gives_only_packs() || has(id);
    let items = |(id, plan): (&'a PlanId, &'a Plan)| plan.items.iter().map(move |item| (id, item));
    let sells = move |(_, item): &(&'a PlanId, &'a Item)| item.feature == *feature && !item.packs.is_empty();
    catalog.plans.iter().filter(can_buy).flat_map(items).filter(sells)
}

/// Whose packs are the cheapest for so many credits; of equals the first.
pub fn cheapest(
    catalog: &Catalog,
    state: &AccountState,
    feature: &FeatureId,
    currency: Currency,
    needed: Credits,
) -> Result<Quote, NoQuote> {
    let mut best: Result<Quote, NoQuote> = Err(NoQuote::Missing);
    for (plan, item) in sources(catalog, state, feature) {
        let source = PackSource { plan: plan.clone(), item: item.id.clone() };
        let offered = quote(catalog, &source, currency, needed);
        let better = match (&best, &offered) {
            (Ok(known), Ok(offered)) => offered.amount.minor() < known.amount.minor(),
            (Err(NoQuote::Missing), _) => true,
            (Err(NoQuote::TooMuch), offered) => offered.is_ok(),
            (Ok(_), Err(_)) => false,
        };
        if better {
            best = offered;
        }
    }
    best
}

/// The currencies in which a feature's credits can be bought, each once.
pub fn currencies(catalog: &Catalog, state: &AccountState, feature: &FeatureId) -> Vec<Currency> {
    let packs = sources(catalog, state, feature).flat_map(|(_, item)| &item.packs);
    let mut found: Vec<Currency> = packs.filter_map(|pack| pack.price.amount.money()).map(Money::currency).collect();
    found.sort_unstable();
    found.dedup();
    found
}
