//! Standing on a JSON object and asking it for facts, by path.
//!
//! A path is field names joined by dots, `payments.data.0.payment`; a number picks from an array. Each question takes
//! several paths and answers from the first one that is present, so the reading code looks like the contract's table.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::expandable::Expandable;
use super::money::WireMoney;

/// Why something is not the object of Stripe's it should be. Names the place, never shows what stood there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not JSON.
    #[error("not JSON, at line {line} column {column}")]
    NotJson {
        /// Line of the first offence.
        line: usize,
        /// Column of the first offence.
        column: usize,
    },
    /// A value of another type than the field has.
    #[error("`{field}` has to be {expected}, not {found}")]
    WrongType {
        /// The path of the field; empty for the whole document.
        field: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// Amounts whose sum no integer of ours holds.
    #[error("`{field}` adds up to more than 2^63 minor units")]
    SumTooLarge {
        /// The path of the list that was added up.
        field: String,
    },
}

impl WireError {
    /// The path of the offending field, where there is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::NotJson { .. } => None,
            Self::WrongType { field, .. } | Self::SumTooLarge { field } => Some(field),
        }
    }
}

/// A JSON object and the path that leads to it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    object: &'a Map<String, Value>,
    at: String,
}

impl<'a> Node<'a> {
    /// Stands on a whole document, which has to be an object.
    pub fn root(value: &'a Value) -> Result<Self, WireError> {
        Self::stand_on(value, String::new())
    }

    /// Stands on an object that was read before.
    pub fn over(object: &'a Map<String, Value>) -> Self {
        Self { object, at: String::new() }
    }

    fn stand_on(value: &'a Value, at: String) -> Result<Self, WireError> {
        match value {
            Value::Object(object) => Ok(Self { object, at }),
            other => Err(wrong_type(at, "an object", other)),
        }
    }

    /// The full path of a field of this node, for errors.
    pub fn path(&self, field: &str) -> String {
        if self.at.is_empty() { field.to_owned() } else { format!("{}.{field}", self.at) }
    }

    /// The error for a field that has to be there.
    pub fn missing(&self, field: &str, expected: &'static str) -> WireError {
        WireError::WrongType { field: self.path(field), expected, found: "absent" }
    }

    /// The first value present; `null` is absent. What stands above it has to be an object or, for a number, an array.
    pub fn value(&self, paths: &[&str]) -> Result<Option<(&'a Value, String)>, WireError> {
        for path in paths {
            if let Some(found) = self.walk(path)? {
                return Ok(Some((found, self.path(path))));
            }
        }
        Ok(None)
    }

    fn walk(&self, path: &str) -> Result<Option<&'a Value>, WireError> {
        let mut steps = path.split('.');
        let mut current = steps.next().and_then(|first| self.object.get(first));
        // The place of `current` in `path`, kept to name the field that stops the walk.
        let mut walked = path.find('.').unwrap_or(path.len());
        for step in steps {
            current = match (current, step.parse::<usize>()) {
                (None | Some(Value::Null), _) => return Ok(None),
                (Some(Value::Array(items)), Ok(index)) => items.get(index),
                (Some(Value::Object(object)), Err(_)) => object.get(step),
                (Some(other), Ok(_)) => return Err(wrong_type(self.path(&path[..walked]), "a list", other)),
                (Some(other), Err(_)) => return Err(wrong_type(self.path(&path[..walked]), "an object", other)),
            };
            walked += 1 + step.len();
        }
        Ok(current.filter(|value| !value.is_null()))
    }

    /// A text, such as a status word; any word passes.
    pub fn text(&self, paths: &[&str]) -> Result<Option<String>, WireError> {
        self.ask(paths, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A whole number written as one: `10.0` and `1e3` are refused.
    pub fn integer(&self, paths: &[&str]) -> Result<Option<i64>, WireError> {
        self.ask(paths, "a whole number of at most 2^63", Value::as_i64)
    }

    /// True or false.
    pub fn boolean(&self, paths: &[&str]) -> Result<Option<bool>, WireError> {
        self.ask(paths, "true or false", Value::as_bool)
    }

    /// A time in unix seconds.
    pub fn time(&self, paths: &[&str]) -> Result<Option<Timestamp>, WireError> {
        self.ask(paths, "a time in unix seconds", |value| {
            value.as_i64().and_then(|second| Timestamp::from_second(second).ok())
        })
    }

    /// A reference: an id, or the object in its place.
    pub fn reference(&self, paths: &[&str]) -> Result<Option<Expandable>, WireError> {
        self.ask(paths, "an id or an object with an id", Expandable::from_json)
    }

    /// The id of a reference.
    pub fn reference_id(&self, paths: &[&str]) -> Result<Option<String>, WireError> {
        Ok(self.reference(paths)?.map(Expandable::into_id))
    }

    /// An amount in the currency that stands beside it; absent when either is.
    pub fn money(&self, paths: &[&str], currency: Option<&str>) -> Result<Option<WireMoney>, WireError> {
        let minor = self.integer(paths)?;
        Ok(minor.zip(currency).map(|(minor, currency)| WireMoney { minor, currency: currency.to_owned() }))
    }

    /// Stripe's metadata: texts by key. Absent is empty.
    pub fn metadata(&self, paths: &[&str]) -> Result<BTreeMap<String, String>, WireError> {
        Ok(self.metadata_if_any(paths)?.unwrap_or_default())
    }

    /// Stripe's metadata where absence means something else than an empty map.
    pub fn metadata_if_any(&self, paths: &[&str]) -> Result<Option<BTreeMap<String, String>>, WireError> {
        let Some(node) = self.object(paths)? else { return Ok(None) };
        let mut texts = BTreeMap::new();
        for (key, value) in node.object {
            match value {
                Value::Null => {}
                Value::String(text) => drop(texts.insert(key.clone(), text.clone())),
                other => return Err(wrong_type(node.path(key), "a text", other)),
            }
        }
        Ok(Some(texts))
    }

    /// The object below a path, to ask further.
    pub fn object(&self, paths: &[&str]) -> Result<Option<Node<'a>>, WireError> {
        self.value(paths)?.map(|(value, at)| Node::stand_on(value, at)).transpose()
    }

    /// The object in place of a reference, to ask further; a bare id gives none.
    pub fn object_if_expanded(&self, path: &str) -> Result<Option<Node<'a>>, WireError> {
        match self.value(&[path])? {
            None | Some((Value::String(_), _)) => Ok(None),
            Some((value, at)) => Node::stand_on(value, at).map(Some),
        }
    }

    /// A list of objects, to ask each.
    pub fn objects(&self, paths: &[&str]) -> Result<Option<Vec<Node<'a>>>, WireError> {
        let Some((items, at)) = self.array(paths)? else { return Ok(None) };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| Node::stand_on(item, format!("{at}.{index}")))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// A list of references; absent is empty.
    pub fn references(&self, paths: &[&str]) -> Result<Vec<Expandable>, WireError> {
        let Some((items, at)) = self.array(paths)? else { return Ok(Vec::new()) };
        let expected = "an id or an object with an id";
        let read = |(index, item)| {
            Expandable::from_json(item).ok_or_else(|| wrong_type(format!("{at}.{index}"), expected, item))
        };
        items.iter().enumerate().map(read).collect()
    }

    fn array(&self, paths: &[&str]) -> Result<Option<(&'a Vec<Value>, String)>, WireError> {
        match self.value(paths)? {
            None => Ok(None),
            Some((Value::Array(items), at)) => Ok(Some((items, at))),
            Some((other, at)) => Err(wrong_type(at, "a list", other)),
        }
    }

    fn ask<T>(
        &self,
        paths: &[&str],
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, WireError> {
        match self.value(paths)? {
            None => Ok(None),
            Some((value, at)) => read(value).map(Some).ok_or_else(|| wrong_type(at, expected, value)),
        }
    }
}

fn wrong_type(field: String, expected: &'static str, found: &Value) -> WireError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction or exponent",
        Value::Number(_) => "a number out of place or range",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    WireError::WrongType { field, expected, found }
}
