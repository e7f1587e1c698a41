//! Reading bodies strictly: every field by name, every mistake by field.
//!
//! A body is parsed into a tree that refuses duplicate keys, then fields are taken from it one by one; what is left over
//! is refused by name. Amounts are decimal strings and never numbers, so no float is ever parsed.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use jiff::Timestamp;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::domain::credits::AmountError;

/// Longest text of any field, in bytes, unless the field says less.
const TEXT_MAX: usize = 2_000;
/// Metadata: the same limits as Stripe's (docs.stripe.com/api/metadata).
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;
/// Longest id a caller chooses, in bytes.
pub const ID_MAX: usize = 512;
/// Longest idempotency key, in bytes; as long as Stripe's.
pub const KEY_MAX: usize = 255;

/// A body that is a JSON object.
#[derive(Debug)]
pub struct Body(pub Fields);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = json.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        if !kind.is_some_and(|kind| kind == "application/json" || kind.ends_with("+json")) {
            let detail = "the body has to be JSON: send `Content-Type: application/json`";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail));
        }
        let bytes = axum::body::Bytes::from_request(request, state).await.map_err(|_| too_large())?;
        Fields::parse(&bytes).map(Self)
    }
}

/// 413.
pub fn too_large() -> Problem {
    let detail = format!("the body is larger than {} bytes", super::BODY_BYTES_MAX);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

/// The fields of an object that have not been taken yet.
#[derive(Debug)]
pub struct Fields {
    prefix: String,
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

/// Builds a tree and refuses an object that names a key twice.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    // A number with a point or exponent is only ever refused, by field; its digits are not kept.
    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::from(0))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict)?;
            if object.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("key `{}` is there twice", shorten(&key))));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Fields {
    /// Parses a body.
    pub fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail);
        let mut input = serde_json::Deserializer::from_slice(bytes);
        let value = Strict.deserialize(&mut input).and_then(|value| input.end().map(|()| value));
        let value = value.map_err(|error| wrong(format!("the body is not JSON: {error}")))?;
        match value {
            Value::Object(left) => Ok(Self { prefix: String::new(), left, known: Vec::new() }),
            other => Err(wrong(format!("the body has to be a JSON object, not {}", kind_of(&other)))),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.remove(name).filter(|value| !value.is_null())
    }

    /// A text that is there, left in place.
    pub fn peek_text(&self, name: &str) -> Option<String> {
        self.left.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// Is the field there?
    pub fn has(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(|value| !value.is_null())
    }

    /// 400 that names a field of this object.
    pub fn wrong(&self, name: &str, detail: impl Into<String>) -> Problem {
        Problem::field(self.path(name), detail)
    }

    fn missing(&self, name: &str) -> Problem {
        self.wrong(name, "is required")
    }

    /// A text that may be absent; not empty, without control characters.
    pub fn text(&mut self, name: &'static str, most: usize) -> Result<Option<String>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::String(text) = value else {
            return Err(self.wrong(name, format!("has to be a text, not {}", kind_of(&value))));
        };
        if text.is_empty() || text.len() > most {
            return Err(self.wrong(name, format!("has to be 1 to {most} bytes long")));
        }
        if text.chars().any(char::is_control) {
            return Err(self.wrong(name, "must not have control characters"));
        }
        Ok(Some(text))
    }

    /// A text that has to be there.
    pub fn required_text(&mut self, name: &'static str, most: usize) -> Result<String, Problem> {
        self.text(name, most)?.ok_or_else(|| self.missing(name))
    }

    /// A longer text for people, such as a reason.
    pub fn words(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        self.text(name, TEXT_MAX)
    }

    /// An exact amount, as a decimal string.
    pub fn amount<T: std::str::FromStr<Err = AmountError>>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value {
            Value::String(text) => {
                text.parse().map(Some).map_err(|error: AmountError| self.wrong(name, error.to_string()))
            }
            Value::Number(_) => {
                Err(self.wrong(name, "has to be a decimal string such as \"1.5\", not a number: numbers lose digits"))
            }
            other => {
                let detail = format!("has to be a decimal string such as \"1.5\", not {}", kind_of(&other));
                Err(self.wrong(name, detail))
            }
        }
    }

    /// A time in RFC 3339.
    pub fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name, 64)? else { return Ok(None) };
        read_time(&text).map(Some).ok_or_else(|| self.wrong(name, "has to be a time such as 2026-11-21T12:00:00Z"))
    }

    /// A whole number in a range.
    pub fn integer(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<Option<i64>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let detail = || format!("has to be a whole number, {} to {}", range.start(), range.end());
        let number = value.as_i64().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| self.wrong(name, detail()))
    }

    /// true or false.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, "has to be true or false"))
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name, 64)? else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        found.map(Some).ok_or_else(|| self.wrong(name, format!("has to be one of {}", known.join(", "))))
    }

    /// Free keys: texts only, within Stripe's limits.
    pub fn metadata(&mut self, name: &'static str) -> Result<Option<BTreeMap<String, String>>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let Value::Object(members) = value else { return Err(self.wrong(name, "has to be an object of texts")) };
        if members.len() > METADATA_KEYS_MAX {
            return Err(self.wrong(name, format!("has more than {METADATA_KEYS_MAX} keys")));
        }
        let mut metadata = BTreeMap::new();
        for (key, value) in members {
            let field = format!("{name}.{}", shorten(&key));
            let Value::String(text) = value else { return Err(self.wrong(&field, "has to be a text")) };
            let fits = !key.is_empty() && key.len() <= METADATA_KEY_MAX && text.len() <= METADATA_VALUE_MAX;
            if !fits || key.contains('\0') || text.contains('\0') {
                let detail =
                    format!("keys have 1 to {METADATA_KEY_MAX} bytes, values at most {METADATA_VALUE_MAX}, none a NUL");
                return Err(self.wrong(&field, detail));
            }
            metadata.insert(key, text);
        }
        Ok(Some(metadata))
    }

    /// An object inside.
    pub fn object(&mut self, name: &'static str) -> Result<Option<Self>, Problem> {
        let prefix = format!("{}.", self.path(name));
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(left)) => Ok(Some(Self { prefix, left, known: Vec::new() })),
            Some(other) => Err(self.wrong(name, format!("has to be an object, not {}", kind_of(&other)))),
        }
    }

    /// A list of objects, each on its own: one that is no object is an error in its place.
    pub fn objects(&mut self, name: &'static str, most: usize) -> Result<Vec<Result<Self, Problem>>, Problem> {
        let Some(value) = self.take(name) else { return Err(self.missing(name)) };
        let Value::Array(items) = value else { return Err(self.wrong(name, "has to be a list")) };
        if items.is_empty() || items.len() > most {
            return Err(self.wrong(name, format!("has to have 1 to {most} items")));
        }
        let base = self.path(name);
        let each = |(place, item): (usize, Value)| match item {
            Value::Object(left) => Ok(Self { prefix: format!("{base}[{place}]."), left, known: Vec::new() }),
            other => {
                Err(Problem::field(format!("{base}[{place}]"), format!("has to be an object, not {}", kind_of(&other))))
            }
        };
        Ok(items.into_iter().enumerate().map(each).collect())
    }

    /// Everything was taken; what is left over is refused by name.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(name) = self.left.keys().next() else { return Ok(()) };
        let detail = format!("is not a key of this request; it takes {}", self.known.join(", "));
        Err(Problem::field(format!("{}{}", self.prefix, shorten(name)), detail))
    }
}

/// A time in RFC 3339, to the microsecond.
pub fn read_time(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    Timestamp::from_microsecond(at.as_microsecond()).ok()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
