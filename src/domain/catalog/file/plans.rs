//! Plans: what is sold together, at which prices.

use std::collections::BTreeMap;

use super::super::{Item, PAST_DUE_GRACE_HOURS, Plan, PlanId, Price, Upgrade};
use super::features::name_message;
use super::reading::{Mistakes, Section};
use super::{ITEMS_MAX, PLANS_MAX, PRICES_MAX, Reading, TRIAL_DAYS_MAX, items, prices, revenue, top_ups};

const KEYS: [&str; 12] = [
    "name",
    "auto_enable",
    "add_on",
    "group",
    "trial_days",
    "upgrade",
    "past_due_grace_hours",
    "revenue",
    "access_price",
    "prices",
    "items",
    "top_ups",
];

/// Longest grace of an overdue payment, in hours: a year, beyond which it is no grace.
const GRACE_HOURS_MAX: u32 = 8_784;

/// Reads `[plans]`.
pub(super) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeMap<PlanId, Plan> {
    if section.len() > PLANS_MAX {
        reading.mistakes.add(section.place(), format!("{} plans; at most {PLANS_MAX} are kept", section.len()));
        return BTreeMap::new();
    }
    let mut plans = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, place, field) in section.entries() {
        let id = PlanId::new(name);
        if id.is_none() {
            reading.mistakes.add(&place, name_message("a plan"));
        }
        let Some(inside) = field.section(&mut reading.mistakes) else { continue };
        let plan = read_plan(&inside, reading);
        if let (Some(id), Some(plan)) = (id, plan) {
            places.insert(id.clone(), inside);
            plans.insert(id, plan);
        }
    }
    revenue::refuse_unweighable(&plans, &places, reading);
    refuse_rival_defaults(&plans, &places, &mut reading.mistakes);
    let is_whole = plans.len() == section.len();
    top_ups::read(plans, &places, is_whole, reading)
}

/// Reads one plan; `None` if it had any mistake but one of revenue.
fn read_plan(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Plan> {
    let before = reading.mistakes.count();
    section.refuse_unknown(&KEYS, &mut reading.mistakes);
    let prices = read_prices(section, reading);
    let items = read_items(section, &prices, reading);
    let mistakes = &mut reading.mistakes;
    let name = section.field("name").and_then(|field| field.label(mistakes));
    let auto_enable = section.field("auto_enable").and_then(|field| field.flag(mistakes)).unwrap_or(false);
    let add_on = section.field("add_on").and_then(|field| field.flag(mistakes)).unwrap_or(false);
    let group = section.field("group").and_then(|field| {
        let text = field.text(mistakes)?;
        if PlanId::new(text).is_none() {
            mistakes.add(field.place(), name_message("a group"));
        }
        Some(text.to_owned())
    });
    let trial_days = section.field("trial_days").and_then(|field| field.whole(&(0..=TRIAL_DAYS_MAX), mistakes));
    let trial_days = trial_days.unwrap_or(0);
    if auto_enable && section.has("prices") {
        let message = "a plan with a price cannot be given to every new customer; take out `auto_enable` or `prices`";
        mistakes.add(&section.key("auto_enable"), message);
    }
    if trial_days > 0 && !section.has("prices") {
        mistakes.add(&section.key("trial_days"), "a plan without a price has nothing to try first; take it out");
    }
    let upgrade = read_upgrade(section, mistakes);
    let hours = section.field("past_due_grace_hours");
    let hours = hours.and_then(|field| field.whole(&(0..=GRACE_HOURS_MAX), mistakes));
    let past_due_grace_hours = hours.unwrap_or(PAST_DUE_GRACE_HOURS);
    let access_price = section.field("access_price").and_then(|field| {
        let inside = field.section(mistakes)?;
        inside.refuse_unknown(&["amount", "currency"], mistakes);
        prices::read_money(&inside, mistakes)
    });
    let stated = section.field("revenue").and_then(|field| revenue::read_policy(&field, mistakes));
    if mistakes.count() != before {
        return None;
    }
    let revenue = revenue::decide(stated, &prices, &items, section, reading);
    let access_price = access_price.map(Into::into);
    Some(Plan {
        name,
        auto_enable,
        add_on,
        group,
        trial_days,
        upgrade,
        past_due_grace_hours,
        revenue,
        access_price,
        prices,
        items,
        top_ups: Vec::new(),
    })
}

/// Both keys are about paid periods, so a plan without a price has no use for them.
fn read_upgrade(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Upgrade {
    for key in ["upgrade", "past_due_grace_hours"] {
        if section.has(key) && !section.has("prices") {
            mistakes.add(&section.key(key), "a plan without a price is never paid; take it out");
        }
    }
    let Some(field) = section.field("upgrade") else { return Upgrade::default() };
    let Some(word) = field.text(mistakes) else { return Upgrade::default() };
    Upgrade::from_word(word).unwrap_or_else(|| {
        mistakes.add(field.place(), "has to be \"prorate\", \"full_reset\" or \"next_period\"");
        Upgrade::default()
    })
}

fn read_prices(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<Price> {
    let Some(field) = section.field("prices") else { return Vec::new() };
    let before = reading.mistakes.count();
    let entries = field.sections(PRICES_MAX, &mut reading.mistakes);
    if entries.is_empty() && reading.mistakes.count() == before {
        reading.mistakes.add(field.place(), "the list is empty; write a price or take it out");
    }
    let target = section.place().path.clone();
    entries.iter().filter_map(|entry| prices::read_price(entry, &target, reading)).collect()
}

fn read_items(section: &Section<'_>, prices: &[Price], reading: &mut Reading<'_>) -> Vec<Item> {
    let Some(field) = section.field("items") else { return Vec::new() };
    let mut first_of: BTreeMap<String, String> = BTreeMap::new();
    let mut read: Vec<(Item, Section<'_>)> = Vec::new();
    for entry in field.sections(ITEMS_MAX, &mut reading.mistakes) {
        let id = items::read_id(&entry, &mut reading.mistakes);
        if let Some(id) = &id {
            match first_of.get(id) {
                Some(first) => {
                    let message = format!("item `{id}` already stands at {first}; give this one an `id` of its own");
                    let key = if entry.has("id") { "id" } else { "feature" };
                    reading.mistakes.add(&entry.key(key), message);
                }
                None => {
                    first_of.insert(id.clone(), entry.place().path.clone());
                }
            }
        }
        let Some(item) = items::read(id, &entry, reading) else { continue };
        refuse_second_reset(&item, &read, &entry, &mut reading.mistakes);
        refuse_second_overage(&item, &read, &entry, &mut reading.mistakes);
        refuse_foreign_overage(&item, prices, &entry, &mut reading.mistakes);
        read.push((item, entry));
    }
    read.into_iter().map(|(item, _)| item).collect()
}

/// A balance has one next reset: two rhythms of one pool in one plan would leave none to show. What comes once beside
/// it has none.
fn refuse_second_reset(item: &Item, earlier: &[(Item, Section<'_>)], entry: &Section<'_>, mistakes: &mut Mistakes<'_>) {
    let differs = |(other, _): &&(Item, Section<'_>)| {
        other.feature == item.feature
            && other.reset.is_some()
            && item.reset.is_some()
            && (other.reset != item.reset || other.anchor != item.anchor)
    };
    if let Some((other, place)) = earlier.iter().find(differs) {
        let message = format!(
            "item `{}` (line {}) renews `{}` in another rhythm; one pool has one reset in a plan, so make them equal",
            other.id,
            mistakes.line_of(place.key("reset").at),
            item.feature
        );
        mistakes.add(&entry.key("reset"), message);
    }
}

/// What may be owed is asked of the pool, not of an item.
fn refuse_second_overage(
    item: &Item,
    earlier: &[(Item, Section<'_>)],
    entry: &Section<'_>,
    mistakes: &mut Mistakes<'_>,
) {
    let same = |(other, _): &&(Item, Section<'_>)| {
        other.feature == item.feature && other.overage.is_some() && item.overage.is_some()
    };
    if let Some((other, place)) = earlier.iter().find(same) {
        let message = format!(
            "item `{}` (line {}) says already what of `{}` may be owed; one pool has one overage in a plan",
            other.id,
            mistakes.line_of(place.key("overage").at),
            item.feature
        );
        mistakes.add(&entry.key("overage"), message);
    }
}

/// What is owed is invoiced with the plan's fee, and an invoice has one currency.
fn refuse_foreign_overage(item: &Item, prices: &[Price], entry: &Section<'_>, mistakes: &mut Mistakes<'_>) {
    let Some(price) = item.overage.as_ref().and_then(|overage| overage.price.as_ref()) else { return };
    if !prices.is_empty() && prices.iter().all(|fee| fee.amount.currency != price.currency) {
        let message = format!("the plan has no price in {}, and an invoice has one currency", price.currency);
        mistakes.add(&entry.key("overage"), message);
    }
}

/// Plans of one group exclude each other, so only one of them can be given to every new customer.
fn refuse_rival_defaults(
    plans: &BTreeMap<PlanId, Plan>,
    places: &BTreeMap<PlanId, Section<'_>>,
    mistakes: &mut Mistakes<'_>,
) {
    let mut default_of: BTreeMap<&str, &PlanId> = BTreeMap::new();
    for (id, plan) in plans.iter().filter(|(_, plan)| plan.auto_enable && !plan.add_on) {
        let Some(group) = plan.group.as_deref() else { continue };
        let Some(place) = places.get(id) else { continue };
        match default_of.get(group) {
            Some(first) => {
                let message = format!("plan `{first}` of group `{group}` is given to every new customer already");
                mistakes.add(&place.key("auto_enable"), message);
            }
            None => {
                default_of.insert(group, id);
            }
        }
    }
}
