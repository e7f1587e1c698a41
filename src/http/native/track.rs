//! `POST /track` and `/track/batch`: usage that happened.

use axum::extract::State;
use axum::{Extension, Json};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::check::quantity_of;
use super::{account_of, entity_of, feature_of};
use crate::domain::api_key::Scope;
use crate::domain::command::{Command, Decision, IdempotencyKey, Outcome, Track, WhenShort};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::json::{Body, Fields, ID_MAX, KEY_MAX};
use crate::http::problem::Problem;

/// Most events of one batch.
const BATCH_MAX: usize = 1_000;
/// Events of one batch under way at once.
const BATCH_CONCURRENCY: usize = 512;
/// How far back `at` may lie: as long as keys are kept, so that a late repeat is still a repeat.
const BACKDATE_DAYS: i64 = 7;
/// How far ahead `at` may lie: clocks differ.
const AHEAD_SECONDS: i64 = 300;

struct Request {
    customer: String,
    key: IdempotencyKey,
    track: Track,
}

fn read(fields: &mut Fields, now: Timestamp) -> Result<Request, Problem> {
    let key = fields.required_text("key", KEY_MAX)?;
    let customer = fields.required_text("customer", ID_MAX)?;
    let words = [("cap", WhenShort::Cap), ("reject", WhenShort::Reject), ("debt", WhenShort::Debt)];
    let track = Track {
        feature: feature_of(fields)?,
        entity: entity_of(fields)?,
        quantity: quantity_of(fields)?,
        at: fields.time("at")?,
        when_short: fields.one_of("when_short", &words)?.unwrap_or_default(),
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
    };
    if let Some(at) = track.at {
        let age = now.duration_since(at);
        if age > SignedDuration::from_hours(24 * BACKDATE_DAYS) || age < SignedDuration::from_secs(-AHEAD_SECONDS) {
            return Err(fields.wrong("at", format!("has to lie within the last {BACKDATE_DAYS} days")));
        }
    }
    let key = IdempotencyKey::new("track", &key, &track);
    Ok(Request { customer, key, track })
}

/// The body's keys are all taken before the customer is looked up.
fn read_whole(mut fields: Fields, now: Timestamp) -> Result<Request, Problem> {
    let request = read(&mut fields, now)?;
    fields.finish()?;
    Ok(request)
}

async fn post(app: &App, request: Request) -> Result<Value, Problem> {
    let account = account_of(app, &request.customer).await?;
    let decision = app.posting.post(account, Some(request.key), Command::Track(request.track)).await?;
    let status = match &decision {
        Decision::Applied(_) => "applied",
        Decision::AlreadyApplied(_) => "repeated",
    };
    match decision.outcome() {
        Outcome::Tracked { cost, drawn, shortfall, available, unlimited, pool, draws } => Ok(json!({
            "status": status, "cost": cost, "drawn": drawn, "shortfall": shortfall, "available": available,
            "unlimited": unlimited, "pool": pool, "draws": draws,
        })),
        // Keys of operation `track` only ever store `Tracked`.
        Outcome::Opened | Outcome::Granted { .. } | Outcome::PlanPaid { .. } => Err(Problem::unavailable()),
    }
}

/// Ledger time, to bound `at`; the machine's own when no event of the request carries one.
async fn now(app: &App, asked: bool) -> Result<Timestamp, Problem> {
    if !asked {
        return Ok(app.clock.now());
    }
    let instance = app.store.instance().await?;
    Ok(instance.map_or_else(|| app.clock.now(), |instance| instance.now))
}

/// Books usage once per key.
pub async fn track(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(fields): Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::App])?;
    let request = {
        let now = now(&app, fields.has("at")).await?;
        read_whole(fields, now)?
    };
    post(&app, request).await.map(Json)
}

/// Books many, each on its own.
pub async fn batch(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(mut fields): Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::App])?;
    let events = fields.objects("events", BATCH_MAX)?;
    fields.finish()?;
    let dated = events.iter().flatten().any(|fields| fields.has("at"));
    let now = now(&app, dated).await?;
    let results: Vec<Value> = futures_util::stream::iter(events)
        .map(|event| {
            let app = app.clone();
            async move {
                let key = event.as_ref().ok().and_then(|fields| fields.peek_text("key"));
                let outcome = match event.and_then(|fields| read_whole(fields, now)) {
                    Ok(request) => post(&app, request).await,
                    Err(problem) => Err(problem),
                };
                result(key, outcome)
            }
        })
        .buffered(BATCH_CONCURRENCY)
        .collect()
        .await;
    Ok(Json(json!({ "results": results })))
}

/// An item's result carries its key, so that a caller can match them in any order.
fn result(key: Option<String>, outcome: Result<Value, Problem>) -> Value {
    let mut body = outcome.unwrap_or_else(|problem| {
        let mut body = problem.body();
        body["status"] = json!("refused");
        body["http_status"] = json!(problem.status.as_u16());
        body
    });
    body["key"] = json!(key);
    body
}
