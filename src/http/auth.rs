//! Who asks: a bearer key, found by its SHA-256, and what its scope may do.
//!
//! A key that is valid is remembered for at most `REMEMBERED`, so a revocation reaches every daemon within that time;
//! the daemon that is told of it ([`Keys::forget`]) refuses at once. Unknown, revoked and expired keys are answered
//! alike.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::problem::Problem;
use crate::clock::instant;
use crate::domain::api_key::{KeyText, Scope};
use crate::domain::ids::KeyId;
use crate::store::Store;
use crate::store::keys::ValidKey;

/// How long a valid key is used without asking the database again.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Most keys remembered: an instance has a handful.
const REMEMBERED_MAX: usize = 1_024;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's id.
    pub key: KeyId,
    /// What it may do.
    pub scope: Scope,
}

/// Valid keys by hash, each with the instant it was read.
type Seen = HashMap<[u8; 32], (ValidKey, Instant)>;

/// The keys of one database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Keys {
    store: Store,
    seen: Arc<Mutex<Seen>>,
}

impl Keys {
    /// Keys as the store has them.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), seen: Arc::default() }
    }

    /// Asks the database again for every key: after a revocation by this daemon.
    pub fn forget(&self) {
        self.seen().clear();
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find(&self, text: &str) -> Result<Option<ValidKey>, Problem> {
        let Ok(key) = KeyText::read(text) else { return Ok(None) };
        let hash = key.hash();
        let remembered = self.seen().get(&hash).copied();
        if let Some((known, at)) = remembered
            && at.elapsed() < REMEMBERED
        {
            return Ok(Some(known));
        }
        let found = self.store.find_key(hash).await?;
        let mut seen = self.seen();
        match found {
            Some(key) => {
                if seen.len() >= REMEMBERED_MAX {
                    seen.clear();
                }
                seen.insert(hash, (key, instant()));
            }
            None => {
                seen.remove(&hash);
            }
        }
        Ok(found)
    }
}

/// The key of a request that carries `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(key.trim()).filter(|key| scheme.eq_ignore_ascii_case("bearer") && !key.is_empty())
}

async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let unauthorized = |code, detail| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
    let Some(text) = bearer(headers) else {
        return Err(unauthorized("key_missing", "send `Authorization: Bearer` with an API key"));
    };
    let now = app.clock.now();
    let found = app.keys.find(text).await?.filter(|key| key.expires_at.is_none_or(|end| now < end));
    match found {
        Some(key) => Ok(Caller { key: key.id, scope: key.scope }),
        None => Err(unauthorized("key_unknown", "this API key is not known here, or no longer")),
    }
}

/// Lets keys of some scopes pass, and tells the handler and the log who asks.
pub async fn admit(
    State((app, scopes)): State<(App, &'static [Scope])>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = caller(&app, request.headers()).await?;
    if !scopes.contains(&caller.scope) {
        let wanted = scopes.iter().map(|scope| scope.word()).collect::<Vec<_>>().join(" or ");
        let detail = format!("this needs a key of scope {wanted}; this one has {}", caller.scope);
        let mut refusal = Problem::new(StatusCode::FORBIDDEN, "scope", detail).into_response();
        refusal.extensions_mut().insert(caller);
        return Ok(refusal);
    }
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_key_is_a_key() {
        let of = |value: &'static str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(bearer(&of("Bearer abc")), Some("abc"));
        assert_eq!(bearer(&of("bearer  abc ")), Some("abc"));
        for none in ["", "Bearer", "Bearer ", "Basic YTpi", "abc"] {
            assert_eq!(bearer(&of(none)), None, "{none}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
