//! Who asks, and what they may do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;
use crate::clock::instant;
use crate::domain::api_key::{self, Scope};
use crate::domain::ids::KeyId;
use crate::store::keys::KeyFound;

/// How long a key found in force is believed: a revocation holds everywhere after it.
const BELIEVED: Duration = Duration::from_secs(2);
/// Most keys remembered; past it the memory is emptied.
const REMEMBERED_MAX: usize = 1_024;
/// Longest key that is looked at.
const KEY_BYTES_MAX: usize = 256;

/// Keys seen lately, by hash.
#[derive(Debug, Default)]
pub struct KeyCache(Mutex<HashMap<[u8; 32], (KeyFound, Instant)>>);

impl KeyCache {
    fn get(&self, hash: &[u8; 32]) -> Option<KeyFound> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(hash).filter(|(_, at)| at.elapsed() < BELIEVED).map(|(found, _)| *found)
    }

    fn put(&self, hash: [u8; 32], found: KeyFound) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(hash, (found, instant()));
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Their key.
    pub key: KeyId,
    /// What it may do.
    pub scope: Scope,
}

impl Caller {
    /// Refuses everyone but these scopes; admin may do everything.
    pub fn must_be(self, scopes: &[Scope]) -> Result<(), Problem> {
        if self.scope == Scope::Admin || scopes.contains(&self.scope) {
            return Ok(());
        }
        let words: Vec<&str> = scopes.iter().chain(&[Scope::Admin]).map(|scope| scope.word()).collect();
        let detail = format!("this key's scope is {}; this call needs {}", self.scope.word(), words.join(" or "));
        Err(Problem::new(StatusCode::FORBIDDEN, "scope", detail))
    }
}

/// Finds out who asks before any handler runs.
pub async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    match caller_of(&app, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

async fn caller_of(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let unauthorized = |code, detail: &str| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = value.and_then(|text| text.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    let Some((_, key)) = key else {
        return Err(unauthorized("key_missing", "send `Authorization: Bearer <API key>`"));
    };
    let key = key.trim();
    let unknown = || unauthorized("key_unknown", "this API key is not known, not in force, or mistyped");
    if key.is_empty() || key.len() > KEY_BYTES_MAX || api_key::checksum_holds(key) == Some(false) {
        return Err(unknown());
    }
    let hash = api_key::digest(key);
    let found = match app.keys.get(&hash) {
        Some(found) => found,
        None => {
            let found = app.store.find_key(&hash).await?.ok_or_else(unknown)?;
            app.store.touch_key(&hash).await?;
            app.keys.put(hash, found);
            found
        }
    };
    Ok(Caller { key: found.id, scope: found.scope })
}
