//! Periods: `"month"`, `"3 months"` or `{ count = 3, unit = "month" }`.

use super::super::{Expiry, Interval, IntervalUnit};
use super::reading::{Field, Mistakes};

/// Most units in one period.
const COUNT_MAX: u16 = 1_000;
const FORMS: &str = "has to be a period such as \"month\", \"3 months\" or { count = 3, unit = \"month\" }";

/// A period of any unit.
pub(super) fn read_interval(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<Interval> {
    let (count, unit) = if field.is_text() {
        let parts = split(field.text(mistakes)?);
        if parts.is_none() {
            mistakes.add(field.place(), FORMS);
        }
        parts?
    } else if field.is_table() {
        let section = field.section(mistakes)?;
        section.refuse_unknown(&["count", "unit"], mistakes);
        let (Some(count), Some(unit)) = (section.field("count"), section.field("unit")) else {
            mistakes.add(field.place(), FORMS);
            return None;
        };
        let count = count.whole(&(1..=COUNT_MAX), mistakes);
        let named = unit.text(mistakes).and_then(unit_named);
        if unit.is_text() && named.is_none() {
            mistakes.add(unit.place(), "has to be minute, hour, day, week, month or year");
        }
        (u64::from(count?), named?)
    } else {
        mistakes.add(field.place(), FORMS);
        return None;
    };
    let count = u16::try_from(count).ok().filter(|count| (1..=COUNT_MAX).contains(count));
    if count.is_none() {
        mistakes.add(field.place(), format!("the count of a period has to be 1 to {COUNT_MAX}"));
    }
    Some(Interval { unit, count: count? })
}

/// A period that Stripe can bill by.
pub(super) fn read_billing_interval(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<Interval> {
    let interval = read_interval(field, mistakes)?;
    match interval.unit {
        IntervalUnit::Day | IntervalUnit::Week | IntervalUnit::Month | IntervalUnit::Year => Some(interval),
        IntervalUnit::Minute | IntervalUnit::Hour => {
            mistakes.add(field.place(), "Stripe bills by day, week, month or year; write one of these");
            None
        }
    }
}

/// How often credits come anew; `None` is once, or a mistake that is noted.
pub(super) fn read_reset(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<Interval> {
    if field.says("one_off") { None } else { read_interval(field, mistakes) }
}

/// When bought or one-off credits end.
pub(super) fn read_expiry(field: &Field<'_>, mistakes: &mut Mistakes<'_>) -> Option<Expiry> {
    let text = field.text(mistakes)?;
    if text == "never" {
        return Some(Expiry::Never);
    }
    let Some((count, unit)) = split(text) else {
        mistakes.add(field.place(), "has to be \"never\" or a time such as \"90 days\" or \"12 months\"");
        return None;
    };
    let count = u32::try_from(count).ok().filter(|count| (1..=u32::from(COUNT_MAX)).contains(count));
    let Some(count) = count else {
        mistakes.add(field.place(), format!("the count of a period has to be 1 to {COUNT_MAX}"));
        return None;
    };
    match unit {
        IntervalUnit::Day => Some(Expiry::Days(count)),
        IntervalUnit::Week => Some(Expiry::Days(count.saturating_mul(7))),
        IntervalUnit::Month => Some(Expiry::Months(count)),
        IntervalUnit::Year => Some(Expiry::Months(count.saturating_mul(12))),
        IntervalUnit::Minute | IntervalUnit::Hour => {
            mistakes.add(field.place(), "credits end after whole days; write days, weeks, months or years");
            None
        }
    }
}

fn split(text: &str) -> Option<(u64, IntervalUnit)> {
    let mut words = text.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some(unit), None, None) => Some((1, unit_named(unit)?)),
        (Some(count), Some(unit), None) if count.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((count.parse().ok()?, unit_named(unit)?))
        }
        (None | Some(_), None | Some(_), None | Some(_)) => None,
    }
}

fn unit_named(word: &str) -> Option<IntervalUnit> {
    match word.strip_suffix('s').unwrap_or(word) {
        "minute" => Some(IntervalUnit::Minute),
        "hour" => Some(IntervalUnit::Hour),
        "day" => Some(IntervalUnit::Day),
        "week" => Some(IntervalUnit::Week),
        "month" => Some(IntervalUnit::Month),
        "year" => Some(IntervalUnit::Year),
        _ => None,
    }
}
