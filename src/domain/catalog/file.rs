//! The catalogue file: TOML in; a consistent [`Catalog`] or every mistake, each with its line and key, out.
//!
//! The flow: `reading` gives typed views of the TOML tree that note what does not fit; `features`, `costs`, `items`,
//! `overage`, `prices`, `periods` and `plans` read one kind of thing each; `revenue` holds rule 38; `stripe_ids` and
//! `top_ups` look across plans. What is read beside a mistake is thrown away, so a catalogue that comes out of here never had one.

mod costs;
mod features;
mod items;
mod overage;
mod periods;
mod plans;
mod prices;
mod reading;
mod revenue;
mod stripe_ids;
mod top_ups;

use std::collections::BTreeMap;
use std::fmt;

use toml::de::DeTable;

use super::{Catalog, FeatureId, MinimumPrice};
use features::Kind;
use reading::{Field, Mistakes, Place, Section};
use stripe_ids::StripeIds;

/// Longest file, in bytes: a thousand plans with some items each fit, and reading stays far below a second.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Most features: the pools of one feature are found by walking all of them.
pub const FEATURES_MAX: usize = 1_000;
/// Most events of one feature: the feature of an event is found by walking all of them.
pub const EVENTS_MAX: usize = 100;
/// Most rules of one cost: the first that fits is found by walking them.
pub const RULES_MAX: usize = 100;
/// Most properties that one rule looks at or counts.
pub const COUNTED_MAX: usize = 20;
/// Most plans: the same walk, for what a Stripe price means.
pub const PLANS_MAX: usize = 1_000;
/// Most items of one plan: one attachment grants all of them in one transaction.
pub const ITEMS_MAX: usize = 100;
/// Most prices of one plan, and packs of one item: a currency and an interval each.
pub const PRICES_MAX: usize = 100;
/// Most grandfathered Stripe prices of one price.
pub const ALSO_MAX: usize = 100;
/// Longest trial, in days: Stripe's own limit of two years.
pub const TRIAL_DAYS_MAX: u32 = 730;
/// Furthest burn priority from zero, either way.
pub const PRIORITY_MAX: i32 = 1_000;

/// One mistake in a catalogue file: where it is, what is wrong and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogMistake {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The dotted path, such as `plans.pro.items[0].feature`; empty where the file is not TOML at all.
    pub key: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for CatalogMistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column: _, key, message } = self;
        if key.is_empty() {
            write!(out, "line {line}: {message}")
        } else {
            write!(out, "line {line}: {key}: {message}")
        }
    }
}

impl std::error::Error for CatalogMistake {}

/// What the readers of one file share.
struct Reading<'text> {
    mistakes: Mistakes<'text>,
    /// Every feature that is named, also one with a mistake inside.
    kinds: BTreeMap<String, Kind>,
    stripe_ids: StripeIds,
}

/// Reads a catalogue file; else all of its mistakes, in the order of their lines.
pub fn read(text: &str) -> Result<Catalog, Vec<CatalogMistake>> {
    let mut mistakes = Mistakes::new(text);
    if text.len() > FILE_BYTES_MAX {
        mistakes.add(&Place::top(), format!("the file is larger than {FILE_BYTES_MAX} bytes, the most that is read"));
        return Err(mistakes.sorted());
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            mistakes.add(&Place { path: String::new(), at }, format!("not TOML: {}", error.message()));
        }
        return Err(mistakes.sorted());
    }
    let mut reading = Reading { mistakes, kinds: BTreeMap::new(), stripe_ids: StripeIds::default() };
    let catalog = read_document(&Section::top(document.get_ref()), &mut reading);
    reading.stripe_ids.refuse_repeats(&mut reading.mistakes);
    let found = reading.mistakes.sorted();
    if found.is_empty() { Ok(catalog) } else { Err(found) }
}

fn read_document(top: &Section<'_>, reading: &mut Reading<'_>) -> Catalog {
    top.refuse_unknown(&["features", "plans", "default_credits", "minimum_price_per_credit"], &mut reading.mistakes);
    let features = top.field("features").and_then(|field| field.section(&mut reading.mistakes));
    let features = features.map(|section| features::read(&section, reading)).unwrap_or_default();
    let plans = top.field("plans").and_then(|field| field.section(&mut reading.mistakes));
    let plans = plans.map(|section| plans::read(&section, reading)).unwrap_or_default();
    let default_credits = top.field("default_credits").and_then(|field| credits_feature(&field, reading));
    let minimum = top.field("minimum_price_per_credit").and_then(|field| field.section(&mut reading.mistakes));
    let minimum_prices = minimum.map(|section| read_minimum_prices(&section, reading)).unwrap_or_default();
    Catalog { features, plans, default_credits, minimum_prices }
}

/// A feature by name that has credits: any but a boolean one.
fn credits_feature(field: &Field<'_>, reading: &mut Reading<'_>) -> Option<FeatureId> {
    let name = field.text(&mut reading.mistakes)?;
    feature_with_credits(name, field.place(), reading)
}

fn feature_with_credits(name: &str, place: &Place, reading: &mut Reading<'_>) -> Option<FeatureId> {
    let kind = features::known(name, place, reading)?;
    if kind == Kind::Boolean {
        reading.mistakes.add(place, format!("feature `{name}` is boolean, it has no credits"));
    }
    FeatureId::new(name)
}

fn read_minimum_prices(section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeMap<FeatureId, Vec<MinimumPrice>> {
    let mut minimum_prices = BTreeMap::new();
    for (name, name_place, field) in section.entries() {
        let feature = feature_with_credits(name, &name_place, reading);
        let mut listed: Vec<MinimumPrice> = Vec::new();
        for entry in field.sections(PRICES_MAX, &mut reading.mistakes) {
            entry.refuse_unknown(&["amount", "currency"], &mut reading.mistakes);
            let Some(money) = prices::read_money(&entry, &mut reading.mistakes) else { continue };
            if listed.iter().any(|other| other.amount.currency == money.currency().code()) {
                let message = format!("a second minimum price in {}: write one for each currency", money.currency());
                reading.mistakes.add(&entry.key("currency"), message);
            }
            listed.push(MinimumPrice { amount: money.into() });
        }
        if let Some(feature) = feature {
            minimum_prices.insert(feature, listed);
        }
    }
    minimum_prices
}
