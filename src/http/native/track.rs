//! `POST /track` and `POST /track/batch`: usage that happened, once per key.

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::cursor::value;
use super::super::fields::Fields;
use super::super::json::{Json as Input, JsonBody};
use super::super::problem::Problem;
use super::super::{App, read};
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Command, Decision, DrawOutcome, IdempotencyKey, Outcome, Rejection, Track, WhenShort};
use crate::domain::credits::{Credits, Quantity};
use crate::posting::PostError;

/// Most events of one batch.
pub const BATCH_MAX: usize = 1_000;
/// Events of one batch that are under way together: enough to fill posting's own batches, far below its queue.
const BATCH_UNDER_WAY: usize = 256;
/// Oldest time usage may be dated: as long as keys are kept, so that late usage cannot be counted twice.
const AT_OLDEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How far the clock of a caller may be ahead of the ledger's.
const AT_AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// One event as it was read.
struct Usage {
    key: String,
    customer: String,
    track: Track,
}

/// Books one event.
pub async fn track(State(app): State<App>, JsonBody(body): JsonBody) -> Result<Json<Tracked>, Problem> {
    let usage = read_usage(&app, body).await?;
    let (status, outcome) = book(&app, &usage).await?;
    render(status, usage.key, outcome).map(Json)
}

/// Books many events, each on its own.
pub async fn batch(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let events = body.required("events", |value| match value {
        Input::List(events) if (1..=BATCH_MAX).contains(&events.len()) => Ok(events),
        Input::List(_) => Err(format!("has to hold 1 to {BATCH_MAX} events")),
        other => Err(format!("has to be a list, not {}", other.kind())),
    })?;
    body.done()?;
    let app = &app;
    let results = stream::iter(events.into_iter().enumerate())
        .map(|(place, event)| async move { batch_item(app, place, event).await })
        .buffered(BATCH_UNDER_WAY);
    Ok(Json(json!({ "results": results.collect::<Vec<_>>().await })))
}

async fn batch_item(app: &App, place: usize, event: Input) -> Value {
    let path = format!("events[{place}]");
    let Input::Object(members) = event else {
        let problem = Problem::field(path.as_str(), format!("`{path}` has to be an object, not {}", event.kind()));
        return refused(None, &problem);
    };
    let key = members.get("key").cloned().and_then(|key| read::external_id(key).ok());
    let booked = async {
        let usage = read_usage(app, Fields::new(path, members)).await?;
        let (status, outcome) = book(app, &usage).await?;
        render(status, usage.key, outcome).map(|tracked| value(&tracked))
    };
    booked.await.unwrap_or_else(|problem| refused(key.as_deref(), &problem))
}

fn refused(key: Option<&str>, problem: &Problem) -> Value {
    if let Some(cause) = problem.cause() {
        tracing::error!(cause, "an event of a batch failed");
    }
    json!({ "key": key, "status": "refused", "problem": problem.document(None) })
}

async fn read_usage(app: &App, mut body: Fields) -> Result<Usage, Problem> {
    let usage = Usage {
        key: body.required("key", read::external_id)?,
        customer: body.required("customer", read::external_id)?,
        track: Track {
            entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
            when_short: body.optional("when_short", when_short)?.unwrap_or_default(),
            at: body.optional("at", read::time)?,
            metadata: body.optional("metadata", read::metadata)?.unwrap_or_default(),
            ..Track::of(
                body.required("feature", read::feature)?,
                body.optional("quantity", used)?.unwrap_or_else(|| Quantity::whole(1)),
            )
        },
    };
    if let Some(at) = usage.track.at {
        let now = ledger_time(app).await?;
        let (oldest, newest) = (now.saturating_sub(AT_OLDEST), now.saturating_add(AT_AHEAD));
        if oldest.is_ok_and(|oldest| at < oldest) {
            return Err(body.refuse("at", "is more than 7 days ago"));
        }
        if newest.is_ok_and(|newest| at > newest) {
            return Err(body.refuse("at", "is in the future"));
        }
    }
    body.done()?;
    Ok(usage)
}

fn used(value: Input) -> Result<Quantity, String> {
    let negative = matches!(&value, Input::Text(text) if text.parse().is_ok_and(Quantity::is_negative));
    let read = read::quantity(value);
    if negative { read.map_err(|detail| format!("{detail}: taking usage back is not supported yet")) } else { read }
}

fn when_short(value: Input) -> Result<WhenShort, String> {
    read::word(&[("cap", WhenShort::Cap), ("reject", WhenShort::Reject), ("debt", WhenShort::Debt)])(value)
}

/// Ledger time, which a test clock may have moved.
async fn ledger_time(app: &App) -> Result<Timestamp, Problem> {
    let instance = app.store.instance().await?;
    instance.map(|instance| instance.now).ok_or_else(|| Problem::internal("the database has no instance row"))
}

/// Posts it; an account erased meanwhile is looked up once more, as its customer may have been made anew.
async fn book(app: &App, usage: &Usage) -> Result<(&'static str, Outcome), Problem> {
    let key = IdempotencyKey::new("track", &usage.key, &usage.track);
    for _ in 0..2 {
        let account = app.directory.account(&usage.customer).await?;
        match app.posting.post(account, Some(key.clone()), Command::Track(usage.track.clone())).await {
            Ok(Decision::Applied(outcome)) => return Ok(("applied", outcome)),
            Ok(Decision::AlreadyApplied(outcome)) => return Ok(("repeated", outcome)),
            Err(PostError::Rejected(Rejection::Erased)) => app.directory.forget(&usage.customer),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::unknown_customer())
}

/// What a track answers, its members in the order of their names as everywhere. Written straight into the body: it is
/// the busiest answer of all.
#[derive(Debug, Serialize)]
pub struct Tracked {
    available: Credits,
    cost: Credits,
    drawn: Credits,
    draws: Vec<DrawOutcome>,
    key: String,
    pool: FeatureId,
    shortfall: Credits,
    status: &'static str,
    unlimited: bool,
}

fn render(status: &'static str, key: String, outcome: Outcome) -> Result<Tracked, Problem> {
    match outcome {
        Outcome::Tracked { cost, drawn, shortfall, available, unlimited, pool, draws, owed: _, hold: _ } => {
            Ok(Tracked { available, cost, drawn, draws, key, pool, shortfall, status, unlimited })
        }
        Outcome::Opened
        | Outcome::Held(_)
        | Outcome::Limited { .. }
        | Outcome::Granted { .. }
        | Outcome::PlanPaid { .. }
        | Outcome::PlanChanged { .. }
        | Outcome::Followed { .. }
        | Outcome::Reversed { .. }
        | Outcome::Settled
        | Outcome::Wallet { .. }
        | Outcome::Terminated { .. }
        | Outcome::Corrected { .. }
        | Outcome::Attached { .. }
        | Outcome::EndSet { .. } => Err(Problem::internal("a track was answered with another command's outcome")),
    }
}
