//! Typed reading of decoded parameters, with Stripe's refusals for what is unknown, missing or of the wrong type.

use serde_json::{Map, Value};

use super::form::{self, Pair};
use super::refusal::Refusal;

/// Stripe's documented limits of metadata.
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;

/// The parameters of a request, or of one hash within them.
#[derive(Clone, Debug)]
pub struct Params {
    prefix: String,
    value: Value,
}

impl Params {
    /// Decodes pairs, refusing every name that no pattern accepts.
    ///
    /// A pattern is a name in which `[]` stands for any index and `[*]` for any key.
    pub fn accepting(pairs: &[Pair], patterns: &[&[&str]]) -> Result<Self, Refusal> {
        for pair in pairs {
            if !patterns.iter().copied().flatten().any(|pattern| accepts(pattern, &pair.segments)) {
                return Err(Refusal::unknown_parameter(&pair.name()));
            }
        }
        Ok(Self { prefix: String::new(), value: form::nest(pairs)? })
    }

    /// The same with what the path says.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        if let Value::Object(fields) = &mut self.value {
            fields.insert(name.to_owned(), Value::String(value.to_owned()));
        }
        self
    }

    /// The name of a parameter as the caller wrote it.
    pub fn name(&self, path: &str) -> String {
        if self.prefix.is_empty() {
            return path.to_owned();
        }
        match path.split_once('[') {
            Some((head, rest)) => format!("{}[{head}][{rest}", self.prefix),
            None => format!("{}[{path}]", self.prefix),
        }
    }

    fn find(&self, path: &str) -> Option<&Value> {
        path.split('[').map(|segment| segment.trim_end_matches(']')).try_fold(&self.value, |value, key| match value {
            Value::Array(values) => values.get(key.parse::<usize>().ok()?),
            other => other.get(key),
        })
    }

    /// Whether anything was sent under this name.
    pub fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// Whether an empty string was sent, which clears a field in an update.
    pub fn is_empty_text(&self, path: &str) -> bool {
        self.find(path).and_then(Value::as_str) == Some("")
    }

    /// A string; an empty one is refused.
    pub fn string(&self, path: &str) -> Result<Option<String>, Refusal> {
        match self.find(path) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(Refusal::parameter(
                "parameter_invalid_empty",
                &self.name(path),
                &format!("You passed an empty string for '{}'.", self.name(path)),
            )),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::parameter("parameter_invalid_string", &self.name(path), "Invalid string")),
        }
    }

    /// A string that must be there.
    pub fn required(&self, path: &str) -> Result<String, Refusal> {
        self.string(path)?.ok_or_else(|| Refusal::missing(&self.name(path)))
    }

    /// An integer.
    pub fn integer(&self, path: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.string(path)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Refusal::parameter("parameter_invalid_integer", &self.name(path), &format!("Invalid integer: {text}"))
        })
    }

    /// An integer within bounds.
    pub fn integer_between(&self, path: &str, low: i64, high: i64) -> Result<Option<i64>, Refusal> {
        let found = self.integer(path)?;
        match found {
            Some(value) if !(low..=high).contains(&value) => Err(Refusal::parameter(
                "parameter_invalid_integer",
                &self.name(path),
                &format!("This value must be between {low} and {high}."),
            )),
            found => Ok(found),
        }
    }

    /// A boolean, `true` or `false` as text.
    pub fn boolean(&self, path: &str) -> Result<Option<bool>, Refusal> {
        let Some(text) = self.string(path)? else { return Ok(None) };
        match text.as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            other => {
                Err(Refusal::invalid(&format!("Invalid boolean: {other}"))
                    .with("param", Value::String(self.name(path))))
            }
        }
    }

    /// A string out of a closed list.
    pub fn one_of(&self, path: &str, choices: &[&str]) -> Result<Option<String>, Refusal> {
        match self.string(path)? {
            Some(text) if !choices.contains(&text.as_str()) => {
                Err(Refusal::invalid(&format!("Invalid {}: must be one of {}", self.name(path), choices.join(", ")))
                    .with("param", Value::String(self.name(path))))
            }
            found => Ok(found),
        }
    }

    /// A three-letter currency in lower case.
    pub fn currency(&self, path: &str) -> Result<Option<String>, Refusal> {
        let Some(text) = self.string(path)? else { return Ok(None) };
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Ok(Some(text.to_ascii_lowercase()));
        }
        Err(Refusal::invalid(&format!("Invalid currency: {text}")).with("param", Value::String(self.name(path))))
    }

    /// Strings of an array, in order.
    pub fn strings(&self, path: &str) -> Result<Vec<String>, Refusal> {
        let invalid = || Refusal::invalid("Invalid array").with("param", Value::String(self.name(path)));
        match self.find(path) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => {
                values.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(invalid)).collect()
            }
            Some(_) => Err(invalid()),
        }
    }

    /// One hash, knowing its own name; empty if it was not sent.
    #[must_use]
    pub fn child(&self, path: &str) -> Self {
        let value = self.find(path).cloned().unwrap_or_else(|| Value::Object(Map::new()));
        Self { prefix: self.name(path), value }
    }

    /// Hashes of an array, each knowing its own name.
    pub fn children(&self, path: &str) -> Result<Vec<Self>, Refusal> {
        match self.find(path) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values
                .iter()
                .enumerate()
                .map(|(index, value)| Self { prefix: self.name(&format!("{path}[{index}]")), value: value.clone() })
                .collect()),
            Some(_) => Err(Refusal::invalid("Invalid array").with("param", Value::String(self.name(path)))),
        }
    }

    /// Metadata: a flat map of strings within Stripe's limits; an empty value removes its key.
    pub fn metadata(&self, path: &str, before: &Value) -> Result<Value, Refusal> {
        let invalid = |message: &str| Refusal::invalid(message).with("param", Value::String(self.name(path)));
        let mut kept = before.as_object().cloned().unwrap_or_default();
        let sent: Map<String, Value> = match self.find(path) {
            None => return Ok(Value::Object(kept)),
            Some(Value::String(text)) if text.is_empty() => return Ok(Value::Object(Map::new())),
            Some(Value::Object(map)) => map.clone(),
            Some(Value::Array(values)) => {
                values.iter().enumerate().map(|(index, value)| (index.to_string(), value.clone())).collect()
            }
            Some(_) => return Err(invalid("Invalid hash")),
        };
        for (key, value) in sent {
            let text = value.as_str().ok_or_else(|| invalid("Metadata values must be strings"))?;
            if key.chars().count() > METADATA_KEY_MAX || text.chars().count() > METADATA_VALUE_MAX {
                return Err(invalid("Metadata keys can have up to 40 and values up to 500 characters"));
            }
            if text.is_empty() {
                kept.remove(&key);
            } else {
                kept.insert(key, value);
            }
        }
        if kept.len() > METADATA_KEYS_MAX {
            return Err(invalid("Metadata can have up to 50 keys"));
        }
        Ok(Value::Object(kept))
    }
}

fn accepts(pattern: &str, segments: &[String]) -> bool {
    let mut wanted = pattern.split('[').map(|segment| segment.trim_end_matches(']'));
    let mut given = segments.iter();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(""), Some(index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => {}
            (Some(name), Some(segment)) if !name.is_empty() && name == segment => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}
