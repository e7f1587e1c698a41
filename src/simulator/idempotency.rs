//! What an `Idempotency-Key` means: the first executed answer is kept and replayed, other content is refused.
//!
//! Not kept: failed validation, 401, 409. A key is forgotten once it is 24 hours old and is then a new request.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::form::Pair;
use super::refusal::Refusal;

/// Stripe may prune a key once it is this old.
const KEPT_SECONDS: i64 = 24 * 60 * 60;
/// Stripe's limit of a key.
const KEY_MAX: usize = 255;

/// An answer kept for its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    fingerprint: String,
    created: i64,
    /// The status answered first.
    pub status: u16,
    /// The body answered first.
    pub body: Value,
    /// The `Request-Id` of the first request.
    pub request_id: String,
}

/// All keys of the account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keys {
    kept: BTreeMap<String, Kept>,
    #[serde(skip)]
    running: BTreeSet<String>,
}

/// What to do with a request that carries a key.
#[derive(Debug)]
pub enum Claim {
    /// Execute it; the key is now taken until [`Keys::finish`].
    Execute,
    /// Answer what was answered first.
    Replay(Kept),
}

/// What makes two requests the same: method, path and parameters, in any order.
pub fn fingerprint(method: &str, path: &str, pairs: &[Pair]) -> String {
    let mut sorted: Vec<(String, &str)> = pairs.iter().map(|pair| (pair.name(), pair.value.as_str())).collect();
    sorted.sort();
    let mut hasher = Sha256::new();
    for part in [method, path].into_iter().chain(sorted.iter().flat_map(|(name, value)| [name.as_str(), *value])) {
        // The length before each part keeps "ab","c" and "a","bc" apart.
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}

impl Keys {
    /// Claims a key for a request, or says what was answered before.
    pub fn claim(&mut self, key: &str, fingerprint: &str, now: i64) -> Result<Claim, Refusal> {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(Refusal::idempotency(400, &format!("Idempotency keys must have 1 to {KEY_MAX} characters.")));
        }
        if self.running.contains(key) {
            let message = format!("There is currently another in-progress request using this Idempotent Key: {key}.");
            return Err(Refusal::idempotency(409, &message).with("code", Value::from("idempotency_key_in_use")));
        }
        self.kept.retain(|_, kept| now.saturating_sub(kept.created) < KEPT_SECONDS);
        match self.kept.get(key) {
            Some(kept) if kept.fingerprint == fingerprint => Ok(Claim::Replay(kept.clone())),
            Some(_) => Err(Refusal::idempotency(
                400,
                &format!(
                    "Keys for idempotent requests can only be used with the same parameters they were first used \
                     with. Try using a key other than '{key}' if you meant to execute a different request."
                ),
            )),
            None => {
                self.running.insert(key.to_owned());
                Ok(Claim::Execute)
            }
        }
    }

    /// Ends a claimed request; only an executed one is kept.
    pub fn finish(&mut self, key: &str, executed: Option<Kept>) {
        self.running.remove(key);
        if let Some(kept) = executed {
            self.kept.insert(key.to_owned(), kept);
        }
    }
}

impl Kept {
    /// An answer to keep.
    pub fn new(fingerprint: String, created: i64, status: u16, body: Value, request_id: String) -> Self {
        Self { fingerprint, created, status, body, request_id }
    }
}
