//! `POST /test-clock/advance`: virtual time of a test database goes forward. A live database has none (rule 27).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::json::JsonBody;
use super::problem::Problem;
use super::{App, read};
use crate::store::instance::{Instance, TEST_OFFSET_SECONDS_MAX};
use crate::store::{Store, StoreError};

/// Seconds of one call at most, ten years: a slip of the pen is not a century.
pub const ADVANCE_SECONDS_MAX: i32 = 10 * 366 * 24 * 60 * 60;

/// How far the clock is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// Forward by seconds.
    By(i64),
    /// Forward to a time.
    To(Timestamp),
}

/// Why the clock did not get there.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// A live database, or a clock that would pass its century.
    #[error("the test clock cannot go there")]
    Refused,
    /// On the way there was more to do than one call waits for.
    #[error("the test clock is at {reached} and has more to do on its way: ask again for the rest")]
    Unfinished {
        /// How far it came.
        reached: Timestamp,
    },
    /// The simulated Stripe did not go along.
    #[error("the simulated Stripe did not go along: {0}")]
    Simulator(String),
    /// The database could not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Moves the time of a test database, and of everything that lives by it.
pub trait TestClock: Send + Sync {
    /// Moves it forward and gives the instance as it is then.
    fn advance(&self, advance: Advance) -> BoxFuture<'_, Result<Instance, AdvanceError>>;
}

/// Moves the time of the database alone.
#[derive(Clone, Debug)]
pub struct OffsetOnly(pub Store);

impl OffsetOnly {
    /// Moves the offset in one statement: callers who race are both counted.
    pub async fn move_offset(&self, advance: Advance) -> Result<Instance, AdvanceError> {
        let moved = match advance {
            Advance::By(seconds) => self.0.advance_test_clock_by(seconds).await?,
            Advance::To(time) => self.0.advance_test_clock_to(time).await?,
        };
        moved.ok_or(AdvanceError::Refused)
    }
}

impl TestClock for OffsetOnly {
    fn advance(&self, advance: Advance) -> BoxFuture<'_, Result<Instance, AdvanceError>> {
        Box::pin(self.move_offset(advance))
    }
}

impl From<AdvanceError> for Problem {
    fn from(error: AdvanceError) -> Self {
        let text = error.to_string();
        match error {
            AdvanceError::Refused => Self::new(StatusCode::BAD_REQUEST, "not_supported", text),
            AdvanceError::Unfinished { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "test_clock_unfinished", text)
            }
            AdvanceError::Simulator(cause) => Self::internal(cause),
            AdvanceError::Store(error) => error.into(),
        }
    }
}

/// Moves the test clock forward.
pub async fn advance(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let seconds = body.optional("seconds", read::integer(1, ADVANCE_SECONDS_MAX))?;
    let to = body.optional("to", read::time)?;
    let advance = match (seconds, to) {
        (Some(seconds), None) => Advance::By(i64::from(seconds)),
        (None, Some(to)) => Advance::To(to),
        (None, None) => return Err(body.refuse("seconds", "is missing, and so is `to`: one of them is needed")),
        (Some(_), Some(_)) => return Err(body.refuse("to", "does not go with `seconds`: give one of them")),
    };
    body.done()?;
    let instance = app.store.instance().await?.filter(|instance| !instance.livemode);
    let Some(instance) = instance else {
        let detail = "this database is live: only a test database has a test clock";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "not_supported", detail));
    };
    check(&instance, advance).map_err(|(field, detail)| Problem::field(field, format!("`{field}` {detail}")))?;
    let moved = app.test_clock.advance(advance).await?;
    Ok(Json(json!({ "now": moved.now.to_string(), "offset_seconds": moved.test_offset_seconds })))
}

/// The field that is wrong and what is wrong with it.
fn check(instance: &Instance, advance: Advance) -> Result<(), (&'static str, String)> {
    let (field, ahead) = match advance {
        Advance::By(seconds) => ("seconds", seconds),
        Advance::To(to) => {
            let ahead = to.duration_since(instance.now);
            if ahead < SignedDuration::ZERO {
                return Err(("to", format!("has to be later than {}: the clock goes forward only", instance.now)));
            }
            ("to", ahead.as_secs())
        }
    };
    if ahead > i64::from(ADVANCE_SECONDS_MAX) {
        return Err((field, "has to be within ten years: ask again for more".to_owned()));
    }
    if ahead > TEST_OFFSET_SECONDS_MAX.saturating_sub(instance.test_offset_seconds) {
        return Err((field, "leads further than a century ahead of the real time".to_owned()));
    }
    Ok(())
}
