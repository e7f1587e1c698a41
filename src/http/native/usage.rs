//! `GET /customers/{id}/usage`: tracks with the draws each made, newest first, or added up by period and group.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::super::cursor::Page;
use super::super::fields::QueryFields;
use super::super::json::Json as Input;
use super::super::problem::Problem;
use super::super::{App, read};
use super::CustomerPath;
use crate::domain::credits::{AmountError, Credits};
use crate::domain::ids::AccountId;
use crate::domain::usage::{PROPERTY_NAME_BYTES_MAX, Property};
use crate::domain::usage_record::PaidPart;
use crate::store::usage_listings::{Grouping, Period, UsageFilter, UsageLine, UsageSum};

/// Most groups of one answer: a year of days of a dozen features.
pub const GROUPS_MAX: i64 = 5_000;
/// Most properties that usage is grouped by.
pub const GROUP_PROPERTIES_MAX: usize = 3;
/// Longest `group_by`: three properties of the longest names, and all the other words.
pub const GROUP_BY_MAX: usize = 512;
/// Longest name of a time zone: the longest of IANA's has 32 bytes.
pub const TIME_ZONE_MAX: usize = 64;
/// Names of zones with summer time that the database takes for an abbreviation, which has none.
const ABBREVIATIONS: [&str; 4] = ["CET", "EET", "MET", "WET"];
/// What a property to group by begins with.
const PROPERTY: &str = "property:";

/// Lists usage, or adds it up.
pub async fn list(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let mut filter = UsageFilter {
        feature: query.optional("feature", read::feature)?,
        entity: query.optional("entity", read::external_id)?,
        from: query.optional("from", read::time)?,
        to: query.optional("to", read::time)?,
        after: None,
    };
    let group_by = query.optional("group_by", group_by)?;
    let time_zone = query.optional("time_zone", time_zone)?;
    let is_paged = ["cursor", "limit"].into_iter().find(|name| query.has(name));
    let page = Page::<i64>::take(&mut query)?;
    if group_by.is_some()
        && let Some(name) = is_paged
    {
        return Err(query.refuse(name, "goes without `group_by`: all groups are answered at once"));
    }
    if time_zone.is_some() && group_by.as_ref().is_none_or(|grouping| grouping.period.is_none()) {
        return Err(query.refuse("time_zone", "goes with hour, day, week or month in `group_by`"));
    }
    query.done()?;
    let Some(grouping) = group_by else {
        filter.after = page.after;
        let account = app.directory.account(&customer).await?;
        let lines = app.store.usage(account, &filter, page.rows()).await?;
        return Ok(Json(page.body(lines, |line| line.record.seq, render)));
    };
    let grouping = Grouping { time_zone: time_zone.unwrap_or_else(|| "UTC".to_owned()), ..grouping };
    let account = app.directory.account(&customer).await?;
    added_up(&app, account, &filter, &grouping).await
}

async fn added_up(
    app: &App,
    account: AccountId,
    filter: &UsageFilter,
    grouping: &Grouping,
) -> Result<Json<Value>, Problem> {
    let sums = app.store.usage_sums(account, filter, grouping, GROUPS_MAX.saturating_add(1)).await?;
    let sums = sums.ok_or_else(|| Problem::field("time_zone", "`time_zone` is not known to the database"))?;
    if i64::try_from(sums.len()).is_ok_and(|count| count > GROUPS_MAX) {
        let detail = format!("`group_by` gives more than {GROUPS_MAX} groups; ask for less time by `from` and `to`");
        return Err(Problem::field("group_by", detail));
    }
    let data: Vec<Value> = sums.into_iter().map(|sum| render_sum(sum, grouping)).collect();
    Ok(Json(json!({ "data": data, "next_cursor": null })))
}

/// Reads a list of words, each once, and one period at most.
fn group_by(value: Input) -> Result<Grouping, String> {
    let text = read::plain(GROUP_BY_MAX)(value)?;
    let mut grouping = Grouping::default();
    for word in text.split(',') {
        let period = Period::ALL.into_iter().find(|period| period.word() == word);
        if let Some(period) = period {
            if grouping.period.replace(period).is_some() {
                return Err("has two periods".to_owned());
            }
        } else if let Some(name) = word.strip_prefix(PROPERTY) {
            if name.is_empty() || name.len() > PROPERTY_NAME_BYTES_MAX {
                return Err(format!("has names of properties of 1 to {PROPERTY_NAME_BYTES_MAX} bytes"));
            }
            if grouping.properties.iter().any(|known| known == name) {
                return Err(format!("has `{word}` twice"));
            }
            grouping.properties.push(name.to_owned());
            if grouping.properties.len() > GROUP_PROPERTIES_MAX {
                return Err(format!("has more than {GROUP_PROPERTIES_MAX} properties"));
            }
        } else {
            let flag = match word {
                "feature" => &mut grouping.by_feature,
                "entity" => &mut grouping.by_entity,
                _ => {
                    return Err("has to be a list of hour, day, week, month, feature, entity, property:NAME".to_owned());
                }
            };
            if std::mem::replace(flag, true) {
                return Err(format!("has `{word}` twice"));
            }
        }
    }
    Ok(grouping)
}

/// An IANA name, in the way it is written there; what else the database would take for one is refused.
fn time_zone(value: Input) -> Result<String, String> {
    let name = read::plain(TIME_ZONE_MAX)(value)?;
    let known = jiff::tz::TimeZone::get(&name).ok();
    let is_known = known.is_some_and(|zone| zone.iana_name().is_some());
    if ABBREVIATIONS.iter().any(|short| short.eq_ignore_ascii_case(&name)) {
        return Err("stands for several zones: name one of them, such as Europe/Berlin".to_owned());
    }
    if is_known { Ok(name) } else { Err("has to be the name of a time zone, such as Europe/Berlin".to_owned()) }
}

/// A property as it came; a number that no double holds exactly is shown as text.
fn shown(property: &Property) -> Value {
    match property {
        Property::Text(text) => json!(text),
        Property::Flag(flag) => json!(flag),
        Property::Number(number) => {
            let text = number.to_string();
            let read = serde_json::from_str::<serde_json::Number>(&text).ok();
            read.filter(|read| read.to_string() == text).map_or_else(|| json!(text), Value::Number)
        }
    }
}

fn sum<'part>(parts: impl Iterator<Item = &'part PaidPart>) -> Result<Credits, AmountError> {
    parts.map(|part| part.amount).try_fold(Credits::ZERO, Credits::checked_add)
}

fn render(line: &UsageLine) -> Value {
    let record = &line.record;
    let paid = || record.paid.iter();
    // A sum of parts cannot leave the range that the cost of the track was in.
    let of = |wanted: &dyn Fn(&PaidPart) -> bool| sum(paid().filter(|part| wanted(part))).unwrap_or(Credits::MAX);
    let draws = paid().filter_map(|part| {
        let grant = part.grant?;
        Some(json!({ "grant": grant, "pool": part.pool, "amount": part.amount }))
    });
    let properties: Map<String, Value> =
        record.properties.iter().map(|(name, property)| (name.clone(), shown(property))).collect();
    json!({
        "seq": record.seq,
        "at": record.at,
        "event_at": record.event_at,
        "feature": record.feature,
        "entity": Some(record.entity.as_str()).filter(|entity| !entity.is_empty()),
        "quantity": record.quantity,
        "returned": record.returned,
        "cost": of(&|_| true),
        "drawn": of(&|part| part.grant.is_some()),
        "owed": of(&|part| part.debt.is_some()),
        "shortfall": of(&|part| part.grant.is_none() && part.debt.is_none()),
        "draws": draws.collect::<Vec<_>>(),
        "hold": record.hold,
        "properties": properties,
        "metadata": line.metadata,
    })
}

/// A group has the members it was grouped by.
fn render_sum(sum: UsageSum, grouping: &Grouping) -> Value {
    let mut shown_sum = Map::new();
    if let Some(period) = sum.period {
        shown_sum.insert("period".to_owned(), json!(period));
    }
    if let Some(feature) = sum.feature {
        shown_sum.insert("feature".to_owned(), json!(feature));
    }
    if grouping.by_entity {
        shown_sum.insert("entity".to_owned(), json!(sum.entity.filter(|entity| !entity.is_empty())));
    }
    if !grouping.properties.is_empty() {
        let named = grouping.properties.iter().zip(&sum.properties);
        let properties: Map<String, Value> =
            named.map(|(name, value)| (name.clone(), value.as_ref().map_or(Value::Null, shown))).collect();
        shown_sum.insert("properties".to_owned(), Value::Object(properties));
    }
    shown_sum.insert("quantity".to_owned(), json!(sum.quantity));
    shown_sum.insert("events".to_owned(), json!(sum.events));
    shown_sum.insert("pools".to_owned(), json!(sum.pools));
    Value::Object(shown_sum)
}
