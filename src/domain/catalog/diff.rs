//! What changes from one catalogue to the next, in lines for people (`creditd catalog plan`).
//!
//! Both catalogues become things with facts, each a text; things and facts are then compared by name. A price or pack
//! is named by what a customer would call it ("10 usd every month" is `usd_month`), so a new Stripe id shows as a change
//! of that price rather than as another price.

use std::collections::BTreeMap;
use std::fmt;

use super::{
    Catalog, Cost, CostRule, Expiry, Feature, Interval, IntervalUnit, Item, Overage, PAST_DUE_GRACE_HOURS, Plan, Price,
    ResetAnchor, Returned, RevenuePolicy, Rollover, Upgrade,
};
use crate::domain::money::Money;
use crate::domain::top_up::{Buy, ChargeMode, PlanTopUp};

/// One difference between two catalogues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something new.
    Added {
        /// What it is, such as `plan top_up`.
        subject: String,
        /// Its facts, such as `add_on true`; may be empty.
        details: String,
    },
    /// Something gone, with all that was inside.
    Removed {
        /// What it was.
        subject: String,
    },
    /// One fact of something that stays.
    Changed {
        /// The dotted path, such as `plans.pro.items.usd_credits.included`.
        path: String,
        /// Its old text; `none` where there was no such fact.
        before: String,
        /// Its new text; `none` where there is no such fact any more.
        after: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { subject, details } if details.is_empty() => write!(out, "+ {subject}"),
            Self::Added { subject, details } => write!(out, "+ {subject} ({details})"),
            Self::Removed { subject } => write!(out, "- {subject}"),
            Self::Changed { path, before, after } => write!(out, "~ {path}: {before} -> {after}"),
        }
    }
}

/// A part of a catalogue, such as a plan or a pack, as texts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Thing {
    subject: String,
    facts: BTreeMap<String, String>,
}

/// Things by their path; a thing's path is followed by those of what is inside it.
type Things = BTreeMap<Vec<String>, Thing>;

/// Everything that differs, features before plans, each in the order of names; nothing for equal catalogues.
pub fn diff(old: &Catalog, new: &Catalog) -> Vec<Change> {
    let (old, new) = (things(old), things(new));
    let mut changes = Vec::new();
    let paths: std::collections::BTreeSet<&Vec<String>> = old.keys().chain(new.keys()).collect();
    for path in paths {
        match (old.get(path), new.get(path)) {
            (Some(before), Some(after)) => changed_facts(path, before, after, &mut changes),
            (None, Some(after)) => {
                let details: Vec<String> = after.facts.iter().map(|(name, text)| format!("{name} {text}")).collect();
                changes.push(Change::Added { subject: after.subject.clone(), details: details.join("; ") });
            }
            // What goes with the thing around it is not told again.
            (Some(before), None) if !is_inside_removed(path, &old, &new) => {
                changes.push(Change::Removed { subject: before.subject.clone() });
            }
            (None | Some(_), None) => {}
        }
    }
    changes
}

fn is_inside_removed(path: &[String], old: &Things, new: &Things) -> bool {
    (1..path.len())
        .any(|length| path.get(..length).is_some_and(|part| old.contains_key(part) && !new.contains_key(part)))
}

fn changed_facts(path: &[String], before: &Thing, after: &Thing, changes: &mut Vec<Change>) {
    let names: std::collections::BTreeSet<&String> = before.facts.keys().chain(after.facts.keys()).collect();
    for name in names {
        let text = |thing: &Thing| thing.facts.get(name).cloned().unwrap_or_else(|| "none".to_owned());
        let (old, new) = (text(before), text(after));
        if old != new {
            let path = path.iter().chain([name]).cloned().collect::<Vec<_>>().join(".");
            changes.push(Change::Changed { path, before: old, after: new });
        }
    }
}

fn things(catalog: &Catalog) -> Things {
    let mut things = Things::new();
    let top = Thing { subject: "catalogue".to_owned(), facts: catalog_facts(catalog) };
    things.insert(Vec::new(), top);
    for (id, feature) in &catalog.features {
        let thing = Thing { subject: format!("feature {id}"), facts: feature_facts(feature) };
        things.insert(vec!["features".to_owned(), id.to_string()], thing);
    }
    for (id, plan) in &catalog.plans {
        let path = vec!["plans".to_owned(), id.to_string()];
        for price in &plan.prices {
            let name = price_name(price);
            add_named(&mut things, &path, ("prices", &format!("price {id}")), &name, price_facts(price));
        }
        for item in &plan.items {
            let item_path = add_named(&mut things, &path, ("items", &format!("item {id}")), &item.id, item_facts(item));
            for pack in &item.packs {
                let mut facts = price_facts(&pack.price);
                fact(&mut facts, "minimum", pack.minimum);
                let name = format!("{}_for_{}", pack.credits, pack.price.amount.currency);
                add_named(&mut things, &item_path, ("packs", &format!("pack {id}.{}", item.id)), &name, facts);
            }
        }
        for rule in &plan.top_ups {
            let name = rule.feature.to_string();
            add_named(&mut things, &path, ("top_ups", &format!("top-up {id}")), &name, top_up_facts(rule));
        }
        things.insert(path, Thing { subject: format!("plan {id}"), facts: plan_facts(plan) });
    }
    things
}

/// Adds a thing under `path` as `name`, or `name#2` and so on where the name is taken.
fn add_named(
    things: &mut Things,
    path: &[String],
    (list, subject): (&str, &str),
    name: &str,
    facts: BTreeMap<String, String>,
) -> Vec<String> {
    let place = |name: &str| path.iter().cloned().chain([list.to_owned(), name.to_owned()]).collect::<Vec<_>>();
    let mut names = std::iter::once(name.to_owned()).chain((2_u32..).map(|number| format!("{name}#{number}")));
    // Ends, and finds one: every turn skips one of the finitely many things.
    let free = names.find(|name| !things.contains_key(&place(name))).unwrap_or_default();
    let path = place(&free);
    things.insert(path.clone(), Thing { subject: format!("{subject}.{free}"), facts });
    path
}

fn fact(facts: &mut BTreeMap<String, String>, name: &str, value: Option<impl fmt::Display>) {
    if let Some(value) = value {
        facts.insert(name.to_owned(), value.to_string());
    }
}

fn catalog_facts(catalog: &Catalog) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    fact(&mut facts, "default_credits", catalog.default_credits.as_ref());
    for (feature, listed) in &catalog.minimum_prices {
        let amounts: Vec<String> = listed.iter().map(|minimum| money(&minimum.amount)).collect();
        fact(&mut facts, &format!("minimum_price_per_credit.{feature}"), Some(amounts.join(", ")));
    }
    facts
}

fn feature_facts(feature: &Feature) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let kind = match feature {
        Feature::Boolean => "boolean",
        Feature::Metered { consumable, events, sum, returned } => {
            fact(&mut facts, "consumable", Some(consumable));
            fact(&mut facts, "events", (!events.is_empty()).then(|| events.join(", ")));
            fact(&mut facts, "sum", sum.as_ref());
            fact(&mut facts, "returned", (*returned != Returned::default()).then(|| returned.word()));
            "metered"
        }
        Feature::CreditSystem { costs, returned } => {
            for (metered, cost) in costs {
                cost_facts(&mut facts, &format!("costs.{metered}"), cost);
            }
            fact(&mut facts, "returned", (*returned != Returned::default()).then(|| returned.word()));
            "credit_system"
        }
    };
    fact(&mut facts, "type", Some(kind));
    facts
}

/// A card has a fact for each rule, counted from 1: their order decides.
fn cost_facts(facts: &mut BTreeMap<String, String>, name: &str, cost: &Cost) {
    match cost {
        Cost::Each(rate) => fact(facts, name, Some(rate)),
        Cost::Card(rules) => {
            // Padded, so that facts stand in the order of rules.
            let width = rules.len().to_string().len();
            for (number, rule) in (1_usize..).zip(rules) {
                fact(facts, &format!("{name}#{number:0width$}"), Some(rule_text(rule)));
            }
        }
    }
}

fn rule_text(rule: &CostRule) -> String {
    let CostRule { when, each, properties } = rule;
    let each = each.iter().map(|rate| format!("{rate} each"));
    let counted = properties.iter().map(|(name, rate)| format!("{rate} by {name}"));
    let cost = each.chain(counted).collect::<Vec<_>>().join(" + ");
    if when.is_empty() {
        return cost;
    }
    let when: Vec<String> = when.iter().map(|(name, pattern)| format!("{name} is {}", pattern.as_str())).collect();
    format!("{cost} when {}", when.join(" and "))
}

fn plan_facts(plan: &Plan) -> BTreeMap<String, String> {
    // Taken apart, so that a new field has to be told here too; prices, items and top-ups are things of their own.
    let Plan {
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
        items: _,
        top_ups: _,
    } = plan;
    let mut facts = BTreeMap::new();
    fact(&mut facts, "name", name.as_ref());
    fact(&mut facts, "auto_enable", auto_enable.then_some(true));
    fact(&mut facts, "add_on", add_on.then_some(true));
    fact(&mut facts, "group", group.as_ref());
    fact(&mut facts, "trial_days", (*trial_days > 0).then_some(trial_days));
    fact(&mut facts, "upgrade", (*upgrade != Upgrade::default()).then(|| upgrade.word()));
    let hours = (*past_due_grace_hours != PAST_DUE_GRACE_HOURS).then_some(past_due_grace_hours);
    fact(&mut facts, "past_due_grace_hours", hours);
    let revenue = match revenue {
        RevenuePolicy::OverTime if prices.is_empty() => None,
        RevenuePolicy::OverTime => Some("over_time"),
        RevenuePolicy::Allocate => Some("allocate"),
        RevenuePolicy::Credits => Some("credits"),
        RevenuePolicy::External => Some("external"),
    };
    fact(&mut facts, "revenue", revenue);
    fact(&mut facts, "access_price", access_price.as_ref().map(money));
    facts
}

fn item_facts(item: &Item) -> BTreeMap<String, String> {
    // The id is the item's path; packs are things of their own.
    let Item {
        id,
        feature,
        included,
        trial_included,
        unlimited,
        reset,
        anchor,
        rollover,
        packs: _,
        expires_after,
        priority,
        overage,
    } = item;
    let mut facts = BTreeMap::new();
    fact(&mut facts, "feature", (feature.as_str() != id).then_some(feature));
    fact(&mut facts, "included", included.as_ref());
    fact(&mut facts, "trial_included", trial_included.as_ref());
    fact(&mut facts, "unlimited", unlimited.then_some(true));
    fact(&mut facts, "reset", reset.map(every));
    match anchor {
        ResetAnchor::Anniversary => {}
        ResetAnchor::Calendar { time_zone } => fact(&mut facts, "calendar", Some(time_zone)),
    }
    fact(&mut facts, "rollover", rollover.map(rollover_text));
    let expires_after = match expires_after {
        Expiry::Never => None,
        Expiry::Days(days) => Some(format!("{days} days")),
        Expiry::Months(months) => Some(format!("{months} months")),
    };
    fact(&mut facts, "expires_after", expires_after);
    fact(&mut facts, "priority", priority.as_ref());
    fact(&mut facts, "overage", overage.as_ref().map(overage_text));
    facts
}

fn top_up_facts(rule: &PlanTopUp) -> BTreeMap<String, String> {
    // The feature is the rule's path.
    let PlanTopUp { feature: _, threshold, buy, currency, mode, per_day, per_month, cooldown_seconds, consent } = rule;
    let mut facts = BTreeMap::new();
    fact(&mut facts, "threshold", Some(threshold));
    match buy {
        Buy::Quantity(quantity) => fact(&mut facts, "quantity", Some(quantity)),
        Buy::Target(target) => fact(&mut facts, "target", Some(target)),
    }
    fact(&mut facts, "currency", Some(currency));
    fact(&mut facts, "mode", (*mode != ChargeMode::default()).then(|| mode.word()));
    for (name, ceiling) in [("max_per_day", per_day), ("max_per_month", per_month)] {
        let money = ceiling.minor.and_then(|minor| Money::from_minor(minor, *currency).ok());
        fact(&mut facts, &format!("{name}.count"), ceiling.count);
        fact(&mut facts, &format!("{name}.money"), money.map(Money::major));
    }
    fact(&mut facts, "cooldown_seconds", (*cooldown_seconds > 0).then_some(cooldown_seconds));
    fact(&mut facts, "consent", consent.as_ref());
    facts
}

fn rollover_text(rollover: Rollover) -> String {
    let Rollover { max, max_percent, months } = rollover;
    let most = match (max, max_percent) {
        (Some(max), _) => format!("at most {max}"),
        (None, Some(percent)) => format!("at most {percent} %"),
        (None, None) => "all".to_owned(),
    };
    match months {
        None => most,
        Some(1) => format!("{most} for 1 month"),
        Some(months) => format!("{most} for {months} months"),
    }
}

fn overage_text(overage: &Overage) -> String {
    let Overage { limit, price } = overage;
    match price {
        None => format!("up to {limit}, repaid by grants"),
        Some(price) => format!("up to {limit} at {} {}", price.amount, price.currency),
    }
}

fn price_facts(price: &Price) -> BTreeMap<String, String> {
    // The interval is part of the name.
    let Price { amount, every: _, lookup_key, stripe_price, stripe_product, also } = price;
    let mut facts = BTreeMap::new();
    fact(&mut facts, "amount", Some(money(amount)));
    fact(&mut facts, "lookup_key", lookup_key.as_ref());
    fact(&mut facts, "stripe_price", stripe_price.as_ref());
    fact(&mut facts, "stripe_product", stripe_product.as_ref());
    fact(&mut facts, "also", (!also.is_empty()).then(|| also.join(", ")));
    facts
}

fn price_name(price: &Price) -> String {
    let every = price.every.map_or_else(|| "once".to_owned(), |interval| every(interval).replace(' ', "_"));
    format!("{}_{every}", price.amount.currency)
}

fn money(amount: &super::MoneyText) -> String {
    format!("{} {}", amount.amount, amount.currency)
}

fn every(interval: Interval) -> String {
    let unit = match interval.unit {
        IntervalUnit::Minute => "minute",
        IntervalUnit::Hour => "hour",
        IntervalUnit::Day => "day",
        IntervalUnit::Week => "week",
        IntervalUnit::Month => "month",
        IntervalUnit::Year => "year",
    };
    if interval.count == 1 { unit.to_owned() } else { format!("{} {unit}s", interval.count) }
}
