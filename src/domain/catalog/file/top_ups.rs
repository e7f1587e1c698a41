//! Top-up rules of plans. They are read once every plan is: what a rule buys has to be sold to whoever has its plan.

use std::collections::BTreeMap;

use super::super::{Catalog, FeatureId, Item, Plan, PlanId};
use super::features::{self, Kind};
use super::prices::read_positive;
use super::reading::{Field, Mistakes, Section};
use super::{PRICES_MAX, Reading};
use crate::domain::credits::Credits;
use crate::domain::money::{Currency, Money, MoneyError};
use crate::domain::top_up::price::{NoQuote, Quote, quote};
use crate::domain::top_up::{
    Buy, COOLDOWN_SECONDS_MAX, COUNT_MAX, Ceiling, ChargeMode, PackSource, PlanTopUp, RULES_MAX,
};

const KEYS: [&str; 10] = [
    "feature",
    "threshold",
    "quantity",
    "target",
    "currency",
    "mode",
    "max_per_day",
    "max_per_month",
    "cooldown_seconds",
    "consent",
];

/// Reads `top_ups` of every plan.
pub(super) fn read(
    plans: BTreeMap<PlanId, Plan>,
    places: &BTreeMap<PlanId, Section<'_>>,
    is_whole: bool,
    reading: &mut Reading<'_>,
) -> BTreeMap<PlanId, Plan> {
    let catalog = Catalog { plans, ..Catalog::default() };
    let mut rules: BTreeMap<PlanId, Vec<PlanTopUp>> = BTreeMap::new();
    for (id, place) in places {
        let Some(field) = place.field("top_ups") else { continue };
        let entries = field.sections(RULES_MAX, &mut reading.mistakes);
        let shop = Shop { catalog: &catalog, plan: id, is_whole };
        let mut read: Vec<PlanTopUp> = Vec::new();
        for entry in &entries {
            let Some(rule) = read_rule(entry, shop, reading) else { continue };
            if read.iter().any(|known| known.feature == rule.feature) {
                let message = format!("the plan has a rule about `{}` already; one feature has one", rule.feature);
                reading.mistakes.add(&entry.key("feature"), message);
            }
            read.push(rule);
        }
        rules.insert(id.clone(), read);
    }
    let mut plans = catalog.plans;
    for (id, read) in rules {
        if let Some(plan) = plans.get_mut(&id) {
            plan.top_ups = read;
        }
    }
    plans
}

/// What whoever has a plan can buy.
#[derive(Clone, Copy)]
struct Shop<'c> {
    catalog: &'c Catalog,
    plan: &'c PlanId,
    /// Were all plans read? A plan with a mistake might sell what is missed.
    is_whole: bool,
}

impl<'c> Shop<'c> {
    /// Items of the plan itself, and of plans that give packs alone, that sell a feature's credits.
    fn items(self, feature: &FeatureId) -> impl Iterator<Item = (&'c PlanId, &'c Item)> {
        let sells = move |(id, plan): &(&'c PlanId, &'c Plan)| *id == self.plan || plan.gives_only_packs();
        let items = |(id, plan): (&'c PlanId, &'c Plan)| plan.items.iter().map(move |item| (id, item));
        let feature = feature.clone();
        self.catalog.plans.iter().filter(sells).flat_map(items).filter(move |(_, item)| item.feature == feature)
    }

    fn currencies(self, feature: &FeatureId) -> Vec<Currency> {
        let packs = self.items(feature).flat_map(|(_, item)| &item.packs);
        let mut all: Vec<Currency> =
            packs.take(PRICES_MAX).filter_map(|pack| pack.price.amount.money()).map(Money::currency).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The cheapest way to buy so many credits.
    fn quote(self, feature: &FeatureId, currency: Currency, needed: Credits) -> Result<Quote, NoQuote> {
        let mut best = Err(NoQuote::Missing);
        for (plan, item) in self.items(feature) {
            let source = PackSource { plan: plan.clone(), item: item.id.clone() };
            match (quote(self.catalog, &source, currency, needed), &best) {
                (Ok(offered), Ok(known)) if offered.amount.minor() >= minor(known) => {}
                (Ok(offered), _) => best = Ok(offered),
                (Err(NoQuote::TooMuch), Err(_)) => best = Err(NoQuote::TooMuch),
                (Err(_), _) => {}
            }
        }
        best
    }
}

const fn minor(quote: &Quote) -> i64 {
    quote.amount.minor()
}

/// Reads one rule; `None` if it had any mistake.
fn read_rule(section: &Section<'_>, shop: Shop<'_>, reading: &mut Reading<'_>) -> Option<PlanTopUp> {
    let before = reading.mistakes.count();
    section.refuse_unknown(&KEYS, &mut reading.mistakes);
    let feature = read_feature(section, reading);
    let mistakes = &mut reading.mistakes;
    let threshold = required(section, "threshold", "write the balance at which it buys, such as \"5000\"", mistakes);
    let threshold = threshold.and_then(|field| field.decimal::<Credits>(mistakes));
    let buy = read_buy(section, threshold, mistakes);
    let currency = feature.as_ref().and_then(|feature| read_currency(section, feature, shop, mistakes));
    let mode = section.field("mode").and_then(|field| read_mode(&field, mistakes)).unwrap_or_default();
    let per_day = section.field("max_per_day").and_then(|field| read_ceiling(&field, currency, mistakes));
    let per_month = read_month(section, currency, mistakes);
    let cooldown = section.field("cooldown_seconds");
    let cooldown = cooldown.and_then(|field| field.whole(&(0..=COOLDOWN_SECONDS_MAX), mistakes));
    let consent = section.field("consent").and_then(|field| field.label(mistakes));
    let rule = PlanTopUp {
        feature: feature?,
        threshold: threshold?,
        buy: buy?,
        currency: currency?,
        mode,
        per_day: per_day.unwrap_or_default(),
        per_month: per_month?,
        cooldown_seconds: cooldown.unwrap_or_default(),
        consent,
    };
    if shop.is_whole {
        refuse_unbuyable(section, &rule, shop, mistakes);
    }
    (mistakes.count() == before).then_some(rule)
}

fn required<'doc>(section: &Section<'doc>, key: &str, how: &str, mistakes: &mut Mistakes<'_>) -> Option<Field<'doc>> {
    let field = section.field(key);
    if field.is_none() {
        mistakes.add(&section.key(key), format!("is missing; {how}"));
    }
    field
}

fn read_feature(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<FeatureId> {
    let how = "write the feature whose credits it watches and buys";
    let field = required(section, "feature", how, &mut reading.mistakes)?;
    let name = field.text(&mut reading.mistakes)?;
    let kind = features::known(name, field.place(), reading)?;
    if kind == Kind::Boolean {
        reading.mistakes.add(field.place(), format!("feature `{name}` is boolean, it has no credits"));
        return None;
    }
    FeatureId::new(name)
}

fn read_buy(section: &Section<'_>, threshold: Option<Credits>, mistakes: &mut Mistakes<'_>) -> Option<Buy> {
    match (section.field("quantity"), section.field("target")) {
        (Some(quantity), None) => read_positive(&quantity, "it would buy nothing", mistakes).map(Buy::Quantity),
        (None, Some(field)) => {
            let target = field.decimal::<Credits>(mistakes)?;
            if threshold.is_some_and(|threshold| target <= threshold) {
                mistakes.add(field.place(), "has to be above `threshold`: at the threshold it would buy nothing");
                return None;
            }
            Some(Buy::Target(target))
        }
        (None, None) => {
            let message = "is missing; write how many credits it buys, or the balance to buy up to as `target`";
            mistakes.add(&section.key("quantity"), message);
            None
        }
        (Some(_), Some(target)) => {
            mistakes.add(target.place(), "goes in place of `quantity`, not beside it; take one out");
            None
        }
    }
}

/// The one it says, else the only one of the packs.
fn read_currency(
    section: &Section<'_>,
    feature: &FeatureId,
    shop: Shop<'_>,
    mistakes: &mut Mistakes<'_>,
) -> Option<Currency> {
    if section.has("currency") {
        return super::prices::read_currency(section, mistakes);
    }
    match shop.currencies(feature).as_slice() {
        [only] => Some(*only),
        [] if shop.is_whole => {
            mistakes.add(&section.key("feature"), not_sold(feature, shop.plan));
            None
        }
        [] => None,
        several => {
            let several = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let message = format!("is missing; packs of `{feature}` are sold in {several}: write which");
            mistakes.add(&section.key("currency"), message);
            None
        }
    }
}

fn not_sold(feature: &FeatureId, plan: &PlanId) -> String {
    format!(
        "no packs of `{feature}` are sold to whoever has plan `{plan}`: write some in this plan, or a plan of packs alone"
    )
}

fn read_mode(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<ChargeMode> {
    let mode = ChargeMode::from_word(field.text(mistakes)?);
    if mode.is_none() {
        mistakes.add(field.place(), "has to be \"payment_intent\" or \"invoice\"");
    }
    mode
}

/// A month's money is always limited (rule 30).
fn read_month(section: &Section<'_>, currency: Option<Currency>, mistakes: &mut Mistakes<'_>) -> Option<Ceiling> {
    let how = "write the most money of a month, such as max_per_month = { money = \"100.00\" }";
    let field = required(section, "max_per_month", how, mistakes)?;
    if let Some(inside) = field.section(mistakes).filter(|inside| !inside.has("money")) {
        let message = "is missing; write the most money of a month: nothing is charged without one";
        mistakes.add(&inside.key("money"), message);
    }
    read_ceiling(&field, currency, mistakes)
}

fn read_ceiling(field: &Field<'_>, currency: Option<Currency>, mistakes: &mut Mistakes<'_>) -> Option<Ceiling> {
    let inside = field.section(mistakes)?;
    inside.refuse_unknown(&["count", "money"], mistakes);
    let count = inside.field("count").and_then(|field| field.whole(&(1..=COUNT_MAX), mistakes));
    let minor = inside.field("money").and_then(|field| read_most(&field, currency?, mistakes));
    Some(Ceiling { count, minor })
}

fn read_most(field: &Field<'_>, currency: Currency, mistakes: &mut Mistakes<'_>) -> Option<i64> {
    let text = field.decimal_text(mistakes)?;
    let message = match Money::parse_major(text, currency) {
        Ok(money) if money.minor() > 0 => return Some(money.minor()),
        Ok(_) => "has to be more than zero: take the rule out to charge nothing".to_owned(),
        Err(MoneyError::Amount(error)) => format!("{text:?} {error}"),
        Err(error @ (MoneyError::Currency(_) | MoneyError::Mixed(_, _))) => error.to_string(),
    };
    mistakes.add(field.place(), message);
    None
}

/// A rule that could never charge is a mistake, not a rule.
fn refuse_unbuyable(section: &Section<'_>, rule: &PlanTopUp, shop: Shop<'_>, mistakes: &mut Mistakes<'_>) {
    let needed = match rule.buy {
        Buy::Quantity(quantity) => Ok(quantity),
        Buy::Target(target) => target.checked_sub(rule.threshold),
    };
    let offered = needed.map_err(|_| NoQuote::TooMuch);
    match offered.and_then(|needed| shop.quote(&rule.feature, rule.currency, needed)) {
        Ok(offered) => {
            for (key, most) in [("max_per_day", rule.per_day.minor), ("max_per_month", rule.per_month.minor)] {
                if most.is_some_and(|most| most < minor(&offered)) {
                    let message = format!("one top-up costs {}, which is above this most of money", offered.amount);
                    mistakes.add(&section.key(key), message);
                }
            }
        }
        Err(NoQuote::Missing) if shop.currencies(&rule.feature).is_empty() => {
            mistakes.add(&section.key("feature"), not_sold(&rule.feature, shop.plan));
        }
        Err(NoQuote::Missing) => {
            let message = format!("no packs of `{}` are sold in {}", rule.feature, rule.currency);
            mistakes.add(&section.key("currency"), message);
        }
        Err(NoQuote::TooMuch) => {
            let key = if section.has("target") { "target" } else { "quantity" };
            mistakes.add(&section.key(key), "this is more than one purchase can be: at most eight digits of money");
        }
    }
}
