//! Query strings and cursors of lists.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::http::json::read_time;
use crate::http::problem::Problem;

/// Items of a page when nothing is said, and at most.
const LIMIT: i64 = 50;
const LIMIT_MAX: i64 = 500;

/// A query string whose keys are taken one by one.
#[derive(Debug)]
pub struct Asked {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

/// A query string as axum gives it; a key twice is refused.
pub type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

impl Asked {
    /// Reads a query string.
    pub fn new(query: RawQuery) -> Result<Self, Problem> {
        let Query(pairs) = query.map_err(|error| Problem::field("query", error.to_string()))?;
        let mut left = BTreeMap::new();
        for (name, value) in pairs {
            if left.insert(name.clone(), value).is_some() {
                return Err(Problem::field(name, "is there twice"));
            }
        }
        Ok(Self { left, known: Vec::new() })
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        self.left.remove(name).filter(|value| !value.is_empty())
    }

    /// A time.
    pub fn time(&mut self, name: &'static str) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read_time(&text).map(Some).ok_or_else(|| Problem::field(name, "has to be a time such as 2026-11-21T12:00:00Z"))
    }

    /// How many items.
    pub fn limit(&mut self) -> Result<i64, Problem> {
        let Some(text) = self.text("limit") else { return Ok(LIMIT) };
        let number = text.parse::<i64>().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
        number.ok_or_else(|| Problem::field("limit", format!("has to be a whole number, 1 to {LIMIT_MAX}")))
    }

    /// Where the page before ended.
    pub fn cursor<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(text) = self.text("cursor") else { return Ok(None) };
        let decoded = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let found = decoded.as_deref().and_then(read);
        found
            .map(Some)
            .ok_or_else(|| Problem::field("cursor", "is not a cursor of this list: pass next_cursor on as it came"))
    }

    /// Everything was taken; what is left over is refused by name.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(name) = self.left.into_keys().next() else { return Ok(()) };
        let name: String = name.chars().take(80).collect();
        Err(Problem::field(name, format!("is not a parameter of this list; it takes {}", self.known.join(", "))))
    }
}

/// A page: what was read beyond the limit only says that there is more.
pub fn page<T>(mut items: Vec<T>, limit: i64, key: impl Fn(&T) -> String, show: impl Fn(&T) -> Value) -> Value {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
    json!({ "data": items.iter().map(show).collect::<Vec<Value>>(), "next_cursor": next })
}
