//! What usage costs in a credit system: a rate, or rules that look at properties.

use std::collections::BTreeMap;

use super::super::{Cost, CostRule, FeatureId, NAME_MAX, Pattern, RESERVED_WORDS};
use super::features::{Kind, known};
use super::reading::{Field, Mistakes, Place, Section};
use super::{COUNTED_MAX, RULES_MAX, Reading};
use crate::domain::credits::{AmountError, Rate};

/// Reads `costs` of a credit system.
pub(super) fn read(system: &FeatureId, section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeMap<FeatureId, Cost> {
    let costs = section.field("costs").and_then(|field| field.section(&mut reading.mistakes));
    let Some(costs) = costs else { return BTreeMap::new() };
    let read = costs.entries().filter_map(|(name, place, field)| {
        refuse_cost_of(system, name, &place, reading);
        let cost = read_cost(&field, &mut reading.mistakes)?;
        FeatureId::new(name).map(|id| (id, cost))
    });
    read.collect()
}

/// Credits are for what is metered and spent: a pool that draws from a pool would have no end.
fn refuse_cost_of(system: &FeatureId, name: &str, place: &Place, reading: &mut Reading<'_>) {
    let message = match known(name, place, reading) {
        None | Some(Kind::Consumable | Kind::Unread) => return,
        Some(Kind::CreditSystem) if name == system.as_str() => {
            "a credit system cannot cost itself; list the metered features that draw from it".to_owned()
        }
        Some(Kind::CreditSystem) => {
            format!("`{name}` is a credit system, and one cannot draw from another; list metered features only")
        }
        Some(Kind::Boolean) => {
            format!("feature `{name}` is boolean, its use costs nothing; list metered features only")
        }
        Some(Kind::Freed) => {
            format!("feature `{name}` is not consumable, its use is freed again; list consumable features only")
        }
    };
    reading.mistakes.add(place, message);
}

fn read_cost(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<Cost> {
    let sections = if field.is_table() {
        vec![field.section(mistakes)?]
    } else if field.is_list() {
        let before = mistakes.count();
        let sections = field.sections(RULES_MAX, mistakes);
        if sections.is_empty() && mistakes.count() == before {
            mistakes.add(field.place(), "the list says no cost; write one, or take it out");
        }
        sections
    } else {
        return read_rate(field, mistakes).map(Cost::Each);
    };
    let mut earlier: Vec<(CostRule, Place)> = Vec::new();
    for section in &sections {
        let Some(rule) = read_rule(section, mistakes) else { continue };
        if let Some((_, first)) = earlier.iter().find(|(other, _)| other.covers(&rule)) {
            let (path, line) = (&first.path, mistakes.line_of(first.at));
            let message = format!(
                "never decides: whatever fits it fits {path} (line {line}) before it; put it first, or take it out"
            );
            mistakes.add(section.place(), message);
        }
        earlier.push((rule, section.place().clone()));
    }
    let rules: Vec<CostRule> = earlier.into_iter().map(|(rule, _)| rule).collect();
    // One rule that always fits and looks at nothing is a rate, in other words.
    match rules.as_slice() {
        [CostRule { when, each: Some(rate), properties }] if when.is_empty() && properties.is_empty() => {
            Some(Cost::Each(*rate))
        }
        _ => Some(Cost::Card(rules)),
    }
}

/// Reads a rule; `None` if it had any mistake, since what is left of it would fit too much.
fn read_rule(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<CostRule> {
    let before = mistakes.count();
    let mut rule = CostRule::default();
    if let Some(when) = section.field("when").and_then(|field| field.section(mistakes)) {
        rule.when = read_when(&when, mistakes);
    }
    rule.each = section.field("each").and_then(|field| read_rate(&field, mistakes));
    let counted = section.entries().filter(|(name, _, _)| !RESERVED_WORDS.contains(name));
    for (name, place, field) in counted {
        if !is_property(name) {
            mistakes.add(&place, property_message());
        }
        if let Some(rate) = read_rate(&field, mistakes) {
            rule.properties.insert(name.to_owned(), rate);
        }
    }
    if section.entries().all(|(name, _, _)| name == "when") {
        let message = "says no cost; write each = \"1\" for each unit, or the cost of a property";
        mistakes.add(section.place(), message);
    }
    refuse_many(section, rule.properties.len(), mistakes);
    (mistakes.count() == before).then_some(rule)
}

fn read_when(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> BTreeMap<String, Pattern> {
    let mut when = BTreeMap::new();
    for (name, place, field) in section.entries() {
        if !is_property(name) || RESERVED_WORDS.contains(&name) {
            mistakes.add(&place, property_message());
        }
        let Some(text) = field.text(mistakes) else { continue };
        if let Some(pattern) = Pattern::new(text) {
            when.insert(name.to_owned(), pattern);
            continue;
        }
        let message = format!(
            "has to be 1 to {NAME_MAX} bytes of text on one line, with `*` at its end at most: \"/v1/premium/*\""
        );
        mistakes.add(field.place(), message);
    }
    if section.len() == 0 {
        mistakes.add(section.place(), "names no property; write one, or take it out so that the cost always fits");
    }
    refuse_many(section, section.len(), mistakes);
    when
}

fn refuse_many(section: &Section<'_>, count: usize, mistakes: &mut Mistakes<'_>) {
    if count > COUNTED_MAX {
        mistakes.add(section.place(), format!("{count} properties; at most {COUNTED_MAX} are looked at"));
    }
}

/// The name of a property of usage.
pub(super) fn read_property(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let name = field.text(mistakes)?;
    if !is_property(name) || RESERVED_WORDS.contains(&name) {
        mistakes.add(field.place(), property_message());
        return None;
    }
    Some(name.to_owned())
}

fn is_property(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    plain && !name.is_empty() && name.len() <= NAME_MAX
}

fn property_message() -> String {
    format!(
        "a property's name has to be 1 to {NAME_MAX} letters, digits, `_`, `-` or `.`, and neither `when` nor `each`"
    )
}

fn read_rate(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<Rate> {
    let text = field.decimal_text(mistakes)?;
    let rate = text.parse::<Rate>().map_err(|error| match error {
        AmountError::TooLarge => format!("\"{text}\" is larger than the largest cost of one unit, 10^9 credits"),
        AmountError::NotDecimal | AmountError::TooPrecise(_) | AmountError::Negative => format!("{text:?} {error}"),
    });
    rate.map_err(|message| mistakes.add(field.place(), message)).ok()
}
