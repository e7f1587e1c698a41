//! Features and the costs of credit systems.

use std::collections::BTreeMap;

use super::super::{Feature, FeatureId, NAME_MAX};
use super::reading::{Field, Place, Section, nearest};
use super::{FEATURES_MAX, Reading};
use crate::domain::credits::{AmountError, Rate};

/// What a feature is, known before its details are read so that other parts can refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    /// Metered, spent for good.
    Consumable,
    /// Metered, set and freed.
    Freed,
    CreditSystem,
    /// Its `type` has a mistake, which is noted there once.
    Unread,
}

const TYPES: [&str; 3] = ["boolean", "metered", "credit_system"];

/// Reads `[features]`, and fills in what every feature is.
pub(super) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeMap<FeatureId, Feature> {
    if section.len() > FEATURES_MAX {
        reading.mistakes.add(section.place(), format!("{} features; at most {FEATURES_MAX} are kept", section.len()));
        return BTreeMap::new();
    }
    let mut named = Vec::new();
    for (name, place, field) in section.entries() {
        if FeatureId::new(name).is_none() {
            reading.mistakes.add(&place, name_message("a feature"));
        }
        let inside = field.section(&mut reading.mistakes);
        let kind = inside.as_ref().and_then(|inside| read_kind(inside, reading));
        reading.kinds.insert(name.to_owned(), kind.unwrap_or(Kind::Unread));
        named.extend(FeatureId::new(name).zip(inside).zip(kind));
    }
    let features = named.into_iter().filter_map(|((id, inside), kind)| {
        let feature = match kind {
            Kind::Boolean => Feature::Boolean,
            Kind::Consumable => Feature::Metered { consumable: true },
            Kind::Freed => Feature::Metered { consumable: false },
            Kind::CreditSystem => Feature::CreditSystem { costs: read_costs(&id, &inside, reading) },
            Kind::Unread => return None,
        };
        Some((id, feature))
    });
    features.collect()
}

/// What is wrong with the name of a thing (with its article, such as "a plan").
pub(super) fn name_message(noun: &str) -> String {
    format!("{noun}'s name has to be 1 to {NAME_MAX} letters, digits, `_`, `-`, `.` or `:`")
}

/// A feature that other parts name: what it is, else the mistake is noted at `place`.
pub(super) fn known(name: &str, place: &Place, reading: &mut Reading<'_>) -> Option<Kind> {
    if let Some(kind) = reading.kinds.get(name) {
        return Some(*kind);
    }
    let names: Vec<&str> = reading.kinds.keys().map(String::as_str).collect();
    let hint = nearest(name, &names).map_or_else(
        || "add it under [features] or mend the name".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    reading.mistakes.add(place, format!("there is no feature `{name}`; {hint}"));
    None
}

fn read_kind(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Kind> {
    let mistakes = &mut reading.mistakes;
    section.refuse_unknown(&["type", "consumable", "costs"], mistakes);
    let Some(field) = section.field("type") else {
        mistakes.add(&section.key("type"), "is missing; write type = \"metered\", \"boolean\" or \"credit_system\"");
        return None;
    };
    let text = field.text(mistakes)?;
    let consumable = section.field("consumable").and_then(|field| field.flag(mistakes)).unwrap_or(true);
    let kind = match text {
        "boolean" => Kind::Boolean,
        "metered" if consumable => Kind::Consumable,
        "metered" => Kind::Freed,
        "credit_system" => Kind::CreditSystem,
        other => {
            let hint = nearest(other, &TYPES).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
            let message = format!("\"{other}\" is none of \"boolean\", \"metered\" and \"credit_system\"{hint}");
            mistakes.add(field.place(), message);
            return None;
        }
    };
    if section.has("consumable") && text != "metered" {
        mistakes.add(&section.key("consumable"), "only a metered feature is consumable or not; take it out");
    }
    if section.has("costs") && text != "credit_system" {
        mistakes.add(&section.key("costs"), "only a credit_system has costs; take it out or change the type");
    }
    Some(kind)
}

fn read_costs(system: &FeatureId, section: &Section<'_>, reading: &mut Reading<'_>) -> BTreeMap<FeatureId, Rate> {
    let costs = section.field("costs").and_then(|field| field.section(&mut reading.mistakes));
    let Some(costs) = costs else { return BTreeMap::new() };
    let read = costs.entries().filter_map(|(name, place, field)| {
        refuse_cost_of(system, name, &place, reading);
        let rate = read_rate(&field, reading)?;
        FeatureId::new(name).map(|id| (id, rate))
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

fn read_rate(field: &Field<'_>, reading: &mut Reading<'_>) -> Option<Rate> {
    if field.is_table() {
        let message = "costs by property are not supported yet; write one cost for one unit, such as \"0.01\"";
        reading.mistakes.add(field.place(), message);
        return None;
    }
    let text = field.decimal_text(&mut reading.mistakes)?;
    let rate = text.parse::<Rate>().map_err(|error| match error {
        AmountError::TooLarge => format!("\"{text}\" is larger than the largest cost of one unit, 10^9 credits"),
        AmountError::NotDecimal | AmountError::TooPrecise(_) | AmountError::Negative => format!("{text:?} {error}"),
    });
    rate.map_err(|message| reading.mistakes.add(field.place(), message)).ok()
}
