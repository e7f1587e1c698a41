//! `POST /track` and `POST /track/batch`: usage that happened, once per key.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::cursor::value;
use super::super::fields::Fields;
use super::super::json::{Json as Input, JsonBody};
use super::super::problem::Problem;
use super::super::{App, read};
use super::asked::{Asked, Named};
use super::holds::HoldShown;
use super::{Booked, refused_item};
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Command, DrawOutcome, IdempotencyKey, Outcome, Track, WhenShort};
use crate::domain::credits::{Credits, Quantity};
use crate::domain::ids::HoldId;
use crate::domain::usage::Usage;

/// Most events of one batch.
pub const BATCH_MAX: usize = 1_000;
/// Events of one batch that are under way together: enough to fill posting's own batches, far below its queue.
const BATCH_UNDER_WAY: usize = 256;
/// Oldest time usage may be dated: as long as keys are kept, so that late usage cannot be counted twice.
const AT_OLDEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How far the clock of a caller may be ahead of the ledger's.
const AT_AHEAD: SignedDuration = SignedDuration::from_secs(60);

/// One event as it was read.
struct Wanted {
    key: String,
    customer: String,
    asked: Asked,
    said: Said,
}

/// What it says besides the usage.
#[derive(Clone, Debug, Serialize)]
struct Said {
    set: Option<Quantity>,
    when_short: WhenShort,
    at: Option<Timestamp>,
    hold: Option<HoldId>,
    is_final: bool,
    metadata: BTreeMap<String, String>,
}

/// Books one event.
pub async fn track(State(app): State<App>, JsonBody(body): JsonBody) -> Result<Json<Tracked>, Problem> {
    let wanted = read_track(&app, body).await?;
    let (status, outcome) = book(&app, &wanted).await?;
    render(status, wanted.key, outcome).map(Json)
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
        let wanted = read_track(app, Fields::new(path, members)).await?;
        let (status, outcome) = book(app, &wanted).await?;
        render(status, wanted.key, outcome).map(|tracked| value(&tracked))
    };
    booked.await.unwrap_or_else(|problem| refused(key.as_deref(), &problem))
}

fn refused(key: Option<&str>, problem: &Problem) -> Value {
    json!({ "key": key, "status": "refused", "problem": refused_item(problem) })
}

async fn read_track(app: &App, mut body: Fields) -> Result<Wanted, Problem> {
    let key = body.required("key", read::external_id)?;
    let customer = body.required("customer", read::external_id)?;
    let asked = Asked::take(&mut body, read::signed_quantity)?;
    let chosen = body.optional("when_short", when_short)?;
    let said = Said {
        set: body.optional("set", read::quantity)?,
        when_short: chosen.unwrap_or_default(),
        at: body.optional("at", read::time)?,
        hold: body.optional("hold", read::hold)?,
        is_final: body.optional("final", read::boolean)?.unwrap_or_default(),
        metadata: body.optional("metadata", read::metadata)?.unwrap_or_default(),
    };
    agrees(&body, &asked, &said, chosen)?;
    if let Some(at) = said.at {
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
    Ok(Wanted { key, customer, asked, said })
}

/// Refuses members that contradict each other, before anything is looked up.
fn agrees(body: &Fields, asked: &Asked, said: &Said, chosen: Option<WhenShort>) -> Result<(), Problem> {
    if said.set.is_some() {
        for (member, is_there) in [
            ("quantity", asked.quantity.is_some()),
            ("properties", !asked.properties.is_empty()),
            ("event", matches!(asked.named, Named::Event(_))),
            ("hold", said.hold.is_some()),
        ] {
            if is_there {
                return Err(body.refuse(member, "goes without `set`, which says what is in use from now on"));
            }
        }
    }
    if said.is_final && said.hold.is_none() {
        return Err(body.refuse("final", "goes with `hold`: it is the last usage of a hold"));
    }
    if asked.quantity.is_some_and(Quantity::is_negative) {
        if said.hold.is_some() {
            return Err(body.refuse("hold", "goes without a `quantity` below zero: what is taken back is not paid"));
        }
        if !asked.properties.is_empty() {
            return Err(body.refuse(
                "properties",
                "goes without a `quantity` below zero: what comes back is what the \
                newest usage was paid with",
            ));
        }
    }
    if said.hold.is_some() && chosen.is_some() {
        return Err(body.refuse("when_short", "goes without `hold`, whose `when_more` says it"));
    }
    Ok(())
}

fn when_short(value: Input) -> Result<WhenShort, String> {
    read::word(&[("cap", WhenShort::Cap), ("reject", WhenShort::Reject), ("debt", WhenShort::Debt)])(value)
}

/// Ledger time, which a test clock may have moved.
async fn ledger_time(app: &App) -> Result<Timestamp, Problem> {
    let instance = app.store.instance().await?;
    instance.map(|instance| instance.now).ok_or_else(|| Problem::internal("the database has no instance row"))
}

/// Posts it. The key's hash is over what was asked, so that a repeat is one whatever the catalogue says by then.
async fn book(app: &App, wanted: &Wanted) -> Result<(&'static str, Outcome), Problem> {
    let Wanted { key, customer, asked, said } = wanted;
    let (track, key) = if let Some((feature, usage)) = asked.plain() {
        let track = of(feature, usage, asked, said);
        let key = IdempotencyKey::new("track", key, &track);
        (track, key)
    } else {
        let (_, reading) = app.reading(customer, false).await?;
        let (feature, usage) = asked.by(&reading.catalog.catalog)?.ok_or_else(unknown_event)?;
        (of(feature, usage, asked, said), IdempotencyKey::new("track", key, &(asked, said)))
    };
    let command = Command::Track(track);
    match app.post_for(customer, Some(key), command).await? {
        Booked::Done(status, outcome) => Ok((status, outcome)),
        Booked::Refused(rejection) => Err(rejection.into()),
    }
}

fn of(feature: FeatureId, usage: Usage, asked: &Asked, said: &Said) -> Track {
    let Said { set, when_short, at, hold, is_final, metadata } = said.clone();
    let Usage { quantity, properties } = usage;
    Track { feature, entity: asked.entity.clone(), quantity, properties, set, when_short, at, hold, is_final, metadata }
}

fn unknown_event() -> Problem {
    let detail = "no feature of the catalogue lists an event of this name";
    Problem::new(StatusCode::NOT_FOUND, "unknown_event", detail).about("event")
}

/// What a track answers, its members in the order of their names as everywhere. Written straight into the body: it is
/// the busiest answer of all.
#[derive(Debug, Serialize)]
pub struct Tracked {
    available: Credits,
    cost: Credits,
    drawn: Credits,
    draws: Vec<DrawOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<HoldShown>,
    key: String,
    #[serde(skip_serializing_if = "Credits::is_zero_ref")]
    owed: Credits,
    pool: FeatureId,
    shortfall: Credits,
    status: &'static str,
    unlimited: bool,
}

fn render(status: &'static str, key: String, outcome: Outcome) -> Result<Tracked, Problem> {
    let Outcome::Tracked { cost, drawn, shortfall, available, unlimited, pool, draws, owed, hold } = outcome else {
        return Err(Problem::internal("a track was answered with another command's outcome"));
    };
    let hold = hold.map(HoldShown::from);
    Ok(Tracked { available, cost, drawn, draws, hold, key, owed, pool, shortfall, status, unlimited })
}
