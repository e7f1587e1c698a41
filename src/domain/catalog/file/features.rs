//! Features: what each is, and which events count for it.

use std::collections::BTreeMap;

use super::super::{Feature, FeatureId, NAME_MAX, Returned};
use super::reading::{Mistakes, Place, Section, nearest};
use super::{EVENTS_MAX, FEATURES_MAX, Reading, costs};

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
    let mut features = BTreeMap::new();
    let mut events_seen = BTreeMap::new();
    for ((id, inside), kind) in named {
        let returned = read_returned(kind, &inside, &mut reading.mistakes);
        let feature = match kind {
            Kind::Boolean => Feature::Boolean,
            Kind::Consumable | Kind::Freed => {
                let events = read_events(&id, &inside, &mut events_seen, reading);
                let sum = inside.field("sum").and_then(|field| costs::read_property(&field, &mut reading.mistakes));
                Feature::Metered { consumable: kind == Kind::Consumable, events, sum, returned }
            }
            Kind::CreditSystem => Feature::CreditSystem { costs: costs::read(&id, &inside, reading), returned },
            Kind::Unread => continue,
        };
        features.insert(id, feature);
    }
    refuse_shared_events(events_seen, &mut reading.mistakes);
    features
}

/// Events by name, each with every place that lists it.
type Events = BTreeMap<String, Vec<Place>>;

fn read_events(id: &FeatureId, section: &Section<'_>, seen: &mut Events, reading: &mut Reading<'_>) -> Vec<String> {
    let Some(field) = section.field("events") else { return Vec::new() };
    let mut events = Vec::new();
    for field in field.list(EVENTS_MAX, &mut reading.mistakes) {
        let Some(name) = field.label(&mut reading.mistakes) else { continue };
        if name != id.as_str() && reading.kinds.contains_key(&name) {
            let message = format!("`{name}` is a feature itself, and its usage is its own; name the event otherwise");
            reading.mistakes.add(field.place(), message);
        }
        seen.entry(name.clone()).or_default().push(field.place().clone());
        events.push(name);
    }
    events
}

/// An event counts for one feature, so it is noted at each place but its first.
fn refuse_shared_events(seen: Events, mistakes: &mut Mistakes<'_>) {
    for (name, mut places) in seen {
        places.sort_by_key(|place| place.at);
        let [first, rest @ ..] = places.as_slice() else { continue };
        let (path, line) = (&first.path, mistakes.line_of(first.at));
        let message = format!("event `{name}` already stands at {path} (line {line}); an event counts for one feature");
        for place in rest {
            mistakes.add(place, message.clone());
        }
    }
}

fn read_returned(kind: Kind, section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Returned {
    let Some(field) = section.field("returned") else { return Returned::default() };
    match kind {
        Kind::Consumable | Kind::CreditSystem => {}
        Kind::Boolean | Kind::Freed | Kind::Unread => {
            let message = "only credits that are spent can be returned; take it out";
            mistakes.add(&section.key("returned"), message);
        }
    }
    let Some(word) = field.text(mistakes) else { return Returned::default() };
    Returned::from_word(word).unwrap_or_else(|| {
        mistakes.add(field.place(), "has to be \"expire\" or \"revive\"");
        Returned::default()
    })
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
    section.refuse_unknown(&["type", "consumable", "costs", "events", "sum", "returned"], mistakes);
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
    for key in ["events", "sum"] {
        if section.has(key) && text != "metered" {
            mistakes.add(&section.key(key), "only the usage of a metered feature is counted by events; take it out");
        }
    }
    if section.has("costs") && text != "credit_system" {
        mistakes.add(&section.key("costs"), "only a credit_system has costs; take it out or change the type");
    }
    Some(kind)
}
