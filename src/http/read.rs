//! Readers of single values: what a field may hold, and the sentence that says so when it holds something else.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::fields::Reading;
use super::json::{Json, shortened};
use crate::domain::catalog::{FeatureId, NAME_MAX};
use crate::domain::credits::{AmountError, Credits, Quantity};
use crate::domain::ids::{HoldId, IdError};
use crate::domain::usage::{Property, check_properties};
use crate::store::accounts::EXTERNAL_ID_MAX;

/// Stripe's own limits, so that what Stripe carries fits here and the other way round.
pub const METADATA_KEYS_MAX: usize = 50;
/// Longest metadata key, in characters.
pub const METADATA_KEY_MAX: usize = 40;
/// Longest metadata value, in characters.
pub const METADATA_VALUE_MAX: usize = 500;
/// Last second that may be named: the end of the year 9998, inside what every part of the system can keep.
const TIME_MAX_SECONDS: i64 = 253_370_764_799;

fn wrong(wanted: &str, found: &Json) -> String {
    format!("has to be {wanted}, not {}", found.kind())
}

/// Text of at most so many bytes, not empty.
pub fn text(most: usize) -> impl FnOnce(Json) -> Reading<String> {
    move |value| match value {
        Json::Text(text) if text.is_empty() => Err("has to have at least one character".to_owned()),
        Json::Text(text) if text.len() > most => Err(format!("has to have at most {most} bytes")),
        Json::Text(text) => Ok(text),
        other
        @ (Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Decimal(_) | Json::List(_) | Json::Object(_)) => {
            Err(wrong("text", &other))
        }
    }
}

/// Text without control characters.
pub fn plain(most: usize) -> impl FnOnce(Json) -> Reading<String> {
    move |value| {
        let text = text(most)(value)?;
        if text.chars().any(char::is_control) {
            Err("has to be free of control characters".to_owned())
        } else {
            Ok(text)
        }
    }
}

/// A customer's, wallet's or entity's id of the app, or a caller's key. Ids in a payment's metadata are written by hand
/// now and then, so white space around them is cut off; an id that had some could never be named there.
pub fn external_id(value: Json) -> Reading<String> {
    let text = plain(EXTERNAL_ID_MAX)(value)?;
    if text.trim().len() == text.len() { Ok(text) } else { Err("has to be free of white space at its ends".to_owned()) }
}

/// A feature's name.
pub fn feature(value: Json) -> Reading<FeatureId> {
    let text = text(NAME_MAX)(value)?;
    FeatureId::new(&text).ok_or_else(|| "has to be letters, digits, `_`, `-`, `.` and `:`".to_owned())
}

fn decimal<T>(value: Json, read: impl FnOnce(&str) -> Result<T, AmountError>) -> Reading<T> {
    match value {
        Json::Text(text) => read(&text).map_err(|error| error.to_string()),
        other
        @ (Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Decimal(_) | Json::List(_) | Json::Object(_)) => {
            Err(wrong("a decimal string such as \"1.5\"", &other))
        }
    }
}

/// Units of a feature, zero or more.
pub fn quantity(value: Json) -> Reading<Quantity> {
    decimal(value, Quantity::parse_non_negative)
}

/// Units of a feature; below zero: units that are taken back.
pub fn signed_quantity(value: Json) -> Reading<Quantity> {
    decimal(value, str::parse)
}

/// Credits, zero or more.
pub fn credits(value: Json) -> Reading<Credits> {
    decimal(value, Credits::parse_non_negative)
}

/// A hold's id.
pub fn hold(value: Json) -> Reading<HoldId> {
    let text = text(NAME_MAX)(value)?;
    text.parse().map_err(|_| format!("has to be the id of a hold: `{}` and 32 hex digits", HoldId::PREFIX))
}

/// What is known about a usage: numbers as they are written, texts, true or false.
pub fn properties(value: Json) -> Reading<BTreeMap<String, Property>> {
    let Json::Object(members) = value else { return Err(wrong("an object of numbers, texts, true and false", &value)) };
    let mut properties = BTreeMap::new();
    for (name, value) in members {
        let number = |text: &str| match text.parse() {
            Ok(number) => Ok(Property::Number(number)),
            Err(error) => Err(format!("has `{}`, which {error}", shortened(&name))),
        };
        let property = match value {
            Json::Integer(value) => number(&value.to_string())?,
            Json::Decimal(text) => number(&text)?,
            Json::Text(text) => Property::Text(text),
            Json::Bool(flag) => Property::Flag(flag),
            Json::Null | Json::List(_) | Json::Object(_) => {
                let kind = value.kind();
                return Err(format!("holds numbers, texts, true and false; `{}` is {kind}", shortened(&name)));
            }
        };
        properties.insert(name, property);
    }
    check_properties(&properties).map_err(|error| format!("cannot be taken: {error}"))?;
    Ok(properties)
}

/// Credits, more than zero.
pub fn positive_credits(value: Json) -> Reading<Credits> {
    let credits = decimal(value, Credits::parse_non_negative)?;
    if credits.is_positive() { Ok(credits) } else { Err("has to be more than zero".to_owned()) }
}

/// Credits, more or fewer, but not none.
pub fn signed_credits(value: Json) -> Reading<Credits> {
    let credits: Credits = decimal(value, str::parse)?;
    if credits.is_zero() { Err("has to be other than zero".to_owned()) } else { Ok(credits) }
}

/// One of our own ids.
pub fn id<T: std::str::FromStr<Err = IdError>>(value: Json) -> Reading<T> {
    plain(EXTERNAL_ID_MAX)(value)?.parse().map_err(|_| "is not an id of this kind".to_owned())
}

/// Whole days, at least one.
pub fn days(most: i32) -> impl FnOnce(Json) -> Reading<u32> {
    move |value| integer(1, most)(value).map(i32::unsigned_abs)
}

/// true or false.
pub fn boolean(value: Json) -> Reading<bool> {
    match value {
        Json::Bool(value) => Ok(value),
        other
        @ (Json::Null | Json::Integer(_) | Json::Decimal(_) | Json::Text(_) | Json::List(_) | Json::Object(_)) => {
            Err(wrong("true or false", &other))
        }
    }
}

/// A whole number within limits, both included; text of digits will do, as queries have nothing else.
pub fn integer(least: i32, most: i32) -> impl FnOnce(Json) -> Reading<i32> {
    move |value| {
        let number = match &value {
            Json::Integer(number) => i32::try_from(*number).ok(),
            Json::Text(text) => text.parse().ok(),
            Json::Null | Json::Bool(_) | Json::Decimal(_) | Json::List(_) | Json::Object(_) => None,
        };
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("has to be a whole number from {least} to {most}"))
    }
}

/// A point in time, kept to the microsecond.
pub fn time(value: Json) -> Reading<Timestamp> {
    let wanted = "a time with its offset, such as \"2026-03-01T12:00:00Z\"";
    let text = match value {
        Json::Text(text) => text,
        other
        @ (Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Decimal(_) | Json::List(_) | Json::Object(_)) => {
            return Err(wrong(wanted, &other));
        }
    };
    let read: Result<Timestamp, _> = text.parse();
    let at = read.map_err(|_| format!("has to be {wanted}"))?;
    if at < Timestamp::UNIX_EPOCH || at.as_second() > TIME_MAX_SECONDS {
        return Err("has to lie between the years 1970 and 9998".to_owned());
    }
    Timestamp::from_microsecond(at.as_microsecond()).map_err(|_| format!("has to be {wanted}"))
}

/// One of some words.
pub fn word<T: Copy>(known: &[(&str, T)]) -> impl FnOnce(Json) -> Reading<T> {
    let words: Vec<(String, T)> = known.iter().map(|(word, value)| ((*word).to_owned(), *value)).collect();
    move |value| {
        let found = match &value {
            Json::Text(text) => words.iter().find(|(word, _)| word == text),
            Json::Null | Json::Bool(_) | Json::Integer(_) | Json::Decimal(_) | Json::List(_) | Json::Object(_) => None,
        };
        let listed = || words.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>().join(", ");
        found.map(|(_, value)| *value).ok_or_else(|| format!("has to be one of {}", listed()))
    }
}

/// Is it an address of the web that somebody can be sent to? No page of ours leads into a script.
pub fn is_web_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let is_host = host.is_some_and(|host| {
        host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    });
    is_host && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`|".contains(&byte))
}

/// Free keys with text behind them.
pub fn metadata(value: Json) -> Reading<BTreeMap<String, String>> {
    let Json::Object(members) = value else { return Err(wrong("an object of text", &value)) };
    if members.len() > METADATA_KEYS_MAX {
        return Err(format!("has to have at most {METADATA_KEYS_MAX} keys"));
    }
    let mut metadata = BTreeMap::new();
    for (key, value) in members {
        if key.is_empty() || key.chars().count() > METADATA_KEY_MAX {
            return Err(format!("has keys of 1 to {METADATA_KEY_MAX} characters; `{}` is none", shortened(&key)));
        }
        let Json::Text(text) = value else {
            return Err(format!("holds text only; `{key}` is {}", value.kind()));
        };
        if text.chars().count() > METADATA_VALUE_MAX {
            return Err(format!("has values of at most {METADATA_VALUE_MAX} characters; that of `{key}` is longer"));
        }
        metadata.insert(key, text);
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn of(text: &str) -> Json {
        Json::Text(text.to_owned())
    }

    #[rstest]
    #[case("NaN", "has to be a decimal number")]
    #[case("Infinity", "has to be a decimal number")]
    #[case("1e400", "has to be a decimal number")]
    #[case("", "has to be a decimal number")]
    #[case(" 1", "has to be a decimal number")]
    #[case("+1", "has to be a decimal number")]
    #[case("1,5", "has to be a decimal number")]
    #[case("0x10", "has to be a decimal number")]
    #[case("١", "has to be a decimal number")]
    #[case("-1", "has to be zero or more")]
    #[case("1000000000000000001", "is larger than")]
    #[case("100000000000000000000000000000000000000", "is larger than")]
    #[case("0.0000000000000000000000000000000000000001", "has more than 9 digits")]
    fn a_text_that_is_no_quantity_is_refused(#[case] text: &str, #[case] detail: &str) {
        assert!(quantity(of(text)).unwrap_err().starts_with(detail), "{text}");
        assert!(positive_credits(of(text)).unwrap_err().starts_with(detail), "{text}");
    }

    #[test]
    fn exact_quantities_are_read() {
        assert_eq!(quantity(of("1.50")).unwrap().to_string(), "1.5");
        assert_eq!(quantity(of("-0")).unwrap(), Quantity::ZERO);
        assert_eq!(positive_credits(of("0.000000001")).unwrap().to_string(), "0.000000001");
        assert_eq!(positive_credits(of("0")).unwrap_err(), "has to be more than zero");
    }

    #[test]
    fn a_number_where_an_amount_belongs_says_how_to_write_it() {
        let detail = quantity(Json::Integer(5)).unwrap_err();
        assert_eq!(detail, "has to be a decimal string such as \"1.5\", not a number");
    }

    #[rstest]
    #[case("2026-03-01")]
    #[case("2026-03-01T12:00:00")]
    #[case("1969-12-31T23:59:59Z")]
    #[case("-009999-01-01T00:00:00Z")]
    #[case("9999-06-01T00:00:00Z")]
    #[case("yesterday")]
    fn a_text_that_is_no_time_is_refused(#[case] text: &str) {
        assert!(time(of(text)).is_err(), "{text}");
    }

    #[test]
    fn times_are_kept_to_the_microsecond() {
        let at = time(of("2026-03-01T12:00:00.123456789+02:00")).unwrap();
        assert_eq!(at.to_string(), "2026-03-01T10:00:00.123456Z");
    }

    #[test]
    fn ids_are_short_and_plain() {
        assert!(external_id(of("user 123 äöü")).is_ok());
        assert!(external_id(of("")).is_err());
        assert!(external_id(of("a\nb")).is_err());
        for text in [" a", "a ", "\u{a0}a", "a\u{2003}", " "] {
            assert_eq!(external_id(of(text)).unwrap_err(), "has to be free of white space at its ends", "{text:?}");
        }
        assert!(external_id(of(&"x".repeat(512))).is_ok());
        assert!(external_id(of(&"x".repeat(513))).is_err());
        assert!(feature(of("api calls")).is_err());
        assert_eq!(external_id(Json::Integer(7)).unwrap_err(), "has to be text, not a number");
    }

    #[test]
    fn metadata_has_stripes_limits() {
        let object = |keys: usize, key: usize, value: usize| {
            let of_key = |n: usize| format!("{n:0key$}");
            Json::Object((0..keys).map(|n| (of_key(n), of(&"v".repeat(value)))).collect())
        };
        assert_eq!(metadata(object(50, 40, 500)).unwrap().len(), 50);
        assert!(metadata(object(51, 4, 1)).is_err());
        assert!(metadata(object(1, 41, 1)).is_err());
        assert!(metadata(object(1, 4, 501)).is_err());
        let number = Json::Object(BTreeMap::from([("n".to_owned(), Json::Integer(1))]));
        assert_eq!(metadata(number).unwrap_err(), "holds text only; `n` is a number");
    }

    #[test]
    fn words_and_numbers_say_what_they_may_be() {
        let words = [("cap", 1), ("reject", 2)];
        assert_eq!(word(&words)(of("reject")).unwrap(), 2);
        assert_eq!(word(&words)(of("Cap")).unwrap_err(), "has to be one of cap, reject");
        assert_eq!(integer(1, 500)(of("50")).unwrap(), 50);
        for bad in [of("0"), of("501"), of("1.5"), of("x"), Json::Integer(i128::MAX), Json::Null] {
            assert_eq!(integer(1, 500)(bad).unwrap_err(), "has to be a whole number from 1 to 500");
        }
    }
}
