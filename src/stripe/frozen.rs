//! A write as the bytes it is: what an attempt's row keeps, so that a repeat hours later sends the same again.
//!
//! Stripe compares a repeat's parameters with the first sending under its key. Method, path and body are therefore fixed
//! once, before the first sending, and kept with the key: neither an upgrade of ours nor the order of a map changes them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Stripe's limit for a key.
const KEY_BYTES_MAX: usize = 255;

/// Far above the largest write (a session with 100 lines and full metadata, about 90 KiB).
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Longer than any path with two ids of full length.
const PATH_BYTES_MAX: usize = 600;

/// Stripe's limits for metadata.
const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_CHARS_MAX: usize = 40;
const METADATA_VALUE_CHARS_MAX: usize = 500;

/// Why a write cannot be made or read back. None of it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// An idempotency key no header can carry.
    #[error("an idempotency key has to be 1 to {KEY_BYTES_MAX} visible ASCII characters")]
    Key,
    /// Metadata Stripe does not take.
    #[error("metadata `{key}`: {problem}")]
    Metadata {
        /// Whose.
        key: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An amount Stripe does not take here.
    #[error("the amount of {what} has to be positive")]
    NotPositive {
        /// Of what.
        what: &'static str,
    },
    /// A list that is empty, or longer than Stripe takes.
    #[error("{what}: between 1 and {max} are taken, not {found}")]
    Count {
        /// Of what.
        what: &'static str,
        /// Stripe's limit.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// A method other than `POST` and `DELETE`.
    #[error("a write is a POST or a DELETE")]
    Method,
    /// A path that is none of ours.
    #[error("a write's path is `/v1/` and letters, digits, `_` and `/`")]
    Path,
    /// A body that is no encoded form.
    #[error("a write's body is an encoded form of at most {BODY_BYTES_MAX} bytes")]
    Body,
}

/// The key under which Stripe does a write once: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, WriteError> {
        let fits = (1..=KEY_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(WriteError::Key)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Metadata within Stripe's limits: 50 keys of 40 characters without brackets, values of 1 to 500 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key. An empty value is refused, for in an update it would delete the key.
    pub fn with(mut self, key: &str, value: &str) -> Result<Self, WriteError> {
        let wrong =
            |problem| Err(WriteError::Metadata { key: key.chars().take(METADATA_KEY_CHARS_MAX).collect(), problem });
        if !(1..=METADATA_KEY_CHARS_MAX).contains(&key.chars().count()) {
            return wrong("a key has 1 to 40 characters");
        }
        if key.contains(['[', ']']) {
            return wrong("a key has no square brackets");
        }
        if !(1..=METADATA_VALUE_CHARS_MAX).contains(&value.chars().count()) {
            return wrong("a value has 1 to 500 characters");
        }
        self.0.insert(key.to_owned(), value.to_owned());
        if self.0.len() > METADATA_KEYS_MAX {
            return wrong("there are 50 keys at most");
        }
        Ok(self)
    }

    /// The pairs, by key.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How a write is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteMethod {
    /// Under a key Stripe remembers.
    Post,
    /// Stripe pays no heed to its key: a repeat of a deletion that was done is answered with `resource_missing`.
    Delete,
}

impl WriteMethod {
    /// As it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

impl FromStr for WriteMethod {
    type Err = WriteError;

    fn from_str(text: &str) -> Result<Self, WriteError> {
        match text {
            "POST" => Ok(Self::Post),
            "DELETE" => Ok(Self::Delete),
            _ => Err(WriteError::Method),
        }
    }
}

/// A write, encoded and never changed again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Frozen {
    method: WriteMethod,
    path: String,
    body: String,
}

impl Frozen {
    /// Reads a write back from where it was kept, as it was.
    pub fn restore(method: &str, path: &str, body: &str) -> Result<Self, WriteError> {
        let method = method.parse()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'/');
        let is_path = path.len() <= PATH_BYTES_MAX
            && path.strip_prefix("/v1/").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(plain));
        if !is_path {
            return Err(WriteError::Path);
        }
        if body.len() > BODY_BYTES_MAX || !body.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WriteError::Body);
        }
        Ok(Self { method, path: path.to_owned(), body: body.to_owned() })
    }

    /// Freezes a request just built: the pairs of its metadata, whose order a hash map leaves to chance, are put in the
    /// order of their names. All others keep their places, for those of a list are told apart by them.
    pub(super) fn new(method: WriteMethod, path: &str, form: &str) -> Result<Self, WriteError> {
        let mut pairs: Vec<&str> = form.split('&').filter(|pair| !pair.is_empty()).collect();
        for run in pairs.chunk_by_mut(|one, next| metadata_of(one).is_some() && metadata_of(one) == metadata_of(next)) {
            run.sort_unstable();
        }
        Self::restore(method.as_str(), path, &pairs.join("&"))
    }

    /// The method.
    pub const fn method(&self) -> WriteMethod {
        self.method
    }

    /// The path, with `/v1`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The form.
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// Whose metadata a pair is part of: its name up to the key, `metadata[` or `...[metadata][`.
fn metadata_of(pair: &str) -> Option<&str> {
    let name = pair.split('=').next()?;
    // A key has no brackets, so what stands before the last one is never a key.
    let owner = name.get(..name.rfind('[')?)?;
    let is_metadata = owner == "metadata" || owner.ends_with("[metadata]");
    is_metadata.then_some(owner)
}

/// Without the body, which may hold an e-mail address.
impl fmt::Debug for Frozen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} ({} bytes)", self.method.as_str(), self.path, self.body.len())
    }
}
