//! What one item of a plan gives.

use jiff::tz::TimeZone;

use super::super::{Expiry, FeatureId, Item, ResetAnchor, Rollover};
use super::features::{self, Kind, name_message};
use super::reading::{Mistakes, Section};
use super::{PRICES_MAX, PRIORITY_MAX, Reading, periods, prices};
use crate::domain::credits::Credits;

/// Most months a carried grant lives.
const ROLLOVER_MONTHS_MAX: u32 = 1_000;

const KEYS: [&str; 11] = [
    "id",
    "feature",
    "included",
    "trial_included",
    "unlimited",
    "reset",
    "calendar",
    "rollover",
    "packs",
    "expires_after",
    "priority",
];

/// The item's name inside its plan: `id`, else its feature's. Read first, so that repeats are seen whatever else is
/// wrong with the item.
pub(super) fn read_id(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    let Some(field) = section.field("id") else {
        let feature = section.field("feature").filter(super::reading::Field::is_text)?;
        return feature.text(mistakes).map(str::to_owned);
    };
    let text = field.text(mistakes)?;
    if FeatureId::new(text).is_none() {
        mistakes.add(field.place(), name_message("an item"));
        return None;
    }
    Some(text.to_owned())
}

/// Reads the rest of an item; `None` if it had any mistake.
pub(super) fn read(id: Option<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Item> {
    let before = reading.mistakes.count();
    section.refuse_unknown(&KEYS, &mut reading.mistakes);
    let (feature, kind) = read_feature(section, reading)?;
    if kind == Kind::Boolean {
        refuse_amounts(&feature, section, &mut reading.mistakes);
    } else {
        refuse_contradictions(kind, section, &mut reading.mistakes);
    }
    let packs = read_packs(section, reading);
    let mistakes = &mut reading.mistakes;
    let included = read_amount(section, "included", mistakes);
    let trial_included = read_amount(section, "trial_included", mistakes);
    let unlimited = section.field("unlimited").and_then(|field| field.flag(mistakes)).unwrap_or(false);
    let reset = section.field("reset").and_then(|field| periods::read_reset(&field, mistakes));
    let anchor = read_anchor(section, mistakes);
    let rollover = read_rollover(section, mistakes);
    let expires_after = section.field("expires_after").and_then(|field| periods::read_expiry(&field, mistakes));
    let expires_after = expires_after.unwrap_or(Expiry::Never);
    let range = -PRIORITY_MAX..=PRIORITY_MAX;
    let priority = section.field("priority").and_then(|field| field.whole(&range, mistakes));
    let whole = mistakes.count() == before;
    let id = id.filter(|_| whole)?;
    Some(Item {
        id,
        feature,
        included,
        trial_included,
        unlimited,
        reset,
        anchor,
        rollover,
        packs,
        expires_after,
        priority,
    })
}

fn read_feature(section: &Section<'_>, reading: &mut Reading<'_>) -> Option<(FeatureId, Kind)> {
    let Some(field) = section.field("feature") else {
        let message = "is missing; name the feature this item gives";
        reading.mistakes.add(&section.key("feature"), message);
        return None;
    };
    let name = field.text(&mut reading.mistakes)?;
    let kind = features::known(name, field.place(), reading)?;
    // A name that is known but not well-formed is noted where it is defined.
    Some((FeatureId::new(name)?, kind))
}

fn refuse_amounts(feature: &FeatureId, section: &Section<'_>, mistakes: &mut Mistakes<'_>) {
    for key in KEYS.iter().filter(|key| !matches!(**key, "id" | "feature")) {
        if section.has(key) {
            let message =
                format!("feature `{feature}` is boolean: the item turns it on and has no amounts; take it out");
            mistakes.add(&section.key(key), message);
        }
    }
}

fn refuse_contradictions(kind: Kind, section: &Section<'_>, mistakes: &mut Mistakes<'_>) {
    let has = |key: &str| section.has(key);
    let unlimited = section.field("unlimited").is_some_and(|field| field.is_on());
    let once = section.field("reset").is_none_or(|field| field.says("one_off"));
    let mut refuse = |key: &str, message: &str| mistakes.add(&section.key(key), message);
    if unlimited && has("included") {
        refuse("unlimited", "an unlimited item includes no amount; keep either `included` or `unlimited`");
    }
    if unlimited && has("packs") {
        refuse("packs", "an unlimited item leaves nothing to buy; keep either `packs` or `unlimited`");
    }
    if !unlimited && !has("included") && !has("packs") {
        refuse("included", "the item gives nothing; write `included`, `unlimited = true` or `packs`");
    }
    if has("reset") && !has("included") {
        refuse("reset", "there is nothing to renew; write `included`, or take `reset` out");
    }
    if has("reset") && kind == Kind::Freed {
        refuse("reset", "the feature is not consumable: its use is freed, not renewed; take `reset` out");
    }
    if has("calendar") && once {
        refuse("calendar", "only a recurring reset has calendar starts; write `reset`, or take `calendar` out");
    }
    if has("rollover") && once {
        refuse("rollover", "only what renews can roll over; write `reset`, or take `rollover` out");
    }
    if has("expires_after") && !has("packs") && (!once || !has("included")) {
        refuse("expires_after", "renewed credits end with their period; only packs and one-off credits take this");
    }
}

fn read_packs(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<super::super::Pack> {
    let Some(field) = section.field("packs") else { return Vec::new() };
    let before = reading.mistakes.count();
    let entries = field.sections(PRICES_MAX, &mut reading.mistakes);
    if entries.is_empty() && reading.mistakes.count() == before {
        reading.mistakes.add(field.place(), "the list is empty; write a pack or take it out");
    }
    let target = section.place().path.clone();
    entries.iter().filter_map(|entry| prices::read_pack(entry, &target, reading)).collect()
}

fn read_anchor(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> ResetAnchor {
    let Some(field) = section.field("calendar") else { return ResetAnchor::Anniversary };
    let Some(name) = field.text(mistakes) else { return ResetAnchor::Anniversary };
    let zone = TimeZone::get(name).ok();
    if let Some(zone) = zone.as_ref().and_then(TimeZone::iana_name) {
        return ResetAnchor::Calendar { time_zone: zone.to_owned() };
    }
    mistakes.add(field.place(), format!("{name:?} is no time zone; write one such as \"Europe/Berlin\" or \"UTC\""));
    ResetAnchor::Anniversary
}

fn read_amount(section: &Section<'_>, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Credits> {
    let field = section.field(key)?;
    let amount: Credits = field.decimal(mistakes)?;
    if amount.is_negative() {
        mistakes.add(field.place(), "has to be zero or more");
    }
    Some(amount)
}

fn read_rollover(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Rollover> {
    let rollover = section.field("rollover")?.section(mistakes)?;
    if rollover.has("max_percent") {
        let message = "a share is not supported yet; write the most credits carried over, such as max = \"20\"";
        mistakes.add(&rollover.key("max_percent"), message);
    }
    rollover.refuse_unknown(&["max", "months", "max_percent"], mistakes);
    let max = rollover.field("max");
    let max = max.and_then(|field| prices::read_positive(&field, "take `rollover` out to carry nothing", mistakes));
    let months = rollover.field("months").and_then(|field| field.whole(&(1..=ROLLOVER_MONTHS_MAX), mistakes));
    Some(Rollover { max, max_percent: None, months })
}
