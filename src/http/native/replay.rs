//! `POST /stripe-events/{id}/replay`: a stored event looked at again, and worked on once more when told to.

use axum::Json;
use axum::extract::{Path, State, rejection::PathRejection};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::stripe_events::{event_id, unknown_event};
use crate::store::StoreError;

/// Looks at stored events again.
pub trait Replay: Send + Sync {
    /// What an event means by what is stored of it, and what the books hold; with `apply` it is worked on first, to its
    /// end, whoever hangs up. `None`: there is none of this id.
    fn replay<'a>(&'a self, event: &'a str, apply: bool) -> BoxFuture<'a, Result<Option<Value>, StoreError>>;
}

/// Where no worker is: nothing can be looked at.
#[derive(Clone, Copy, Debug)]
pub struct NoReplay;

impl Replay for NoReplay {
    fn replay<'a>(&'a self, _event: &'a str, _apply: bool) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        Box::pin(async { Err(StoreError::Unavailable("this server works on no events".to_owned())) })
    }
}

/// Replays one stored event.
pub async fn replay(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    JsonBody(mut body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let id = event_id(id)?;
    let apply = body.optional("apply", read::boolean)?.unwrap_or(false);
    body.done()?;
    let shown = app.replay.replay(&id, apply).await?;
    Ok(Json(shown.ok_or_else(unknown_event)?))
}
