//! `POST /check` and `POST /check/batch`: may this customer use that much? Writes nothing, unless it is told to book the
//! usage, or to set its credits aside, in the same step.

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::cursor::value;
use super::super::fields::Fields;
use super::super::json::{Json as Input, JsonBody};
use super::super::problem::Problem;
use super::super::{App, read};
use super::asked::Asked;
use super::holds::HoldShown;
use super::{Booked, refused_item};
use crate::domain::catalog::FeatureId;
use crate::domain::check::{self, CheckAnswer, Lot, Question, Reason};
use crate::domain::command::{
    Command, DrawOutcome, HOLD_SECONDS_MAX, IdempotencyKey, Outcome, PlaceHold, Rejection, Track, WhenShort,
};
use crate::domain::credits::Credits;
use crate::domain::hold::WhenMore;
use crate::domain::limit::{LimitPart, Window};
use crate::domain::usage::Usage;
use crate::posting::Reading;

/// Most customers of one batch of checks.
pub const BATCH_CUSTOMERS_MAX: usize = 100;
/// Most checks of one batch, each made for every customer of it.
pub const BATCH_CHECKS_MAX: usize = 100;
/// Customers of one batch that are read together: a fraction of what a reader takes at once.
const BATCH_UNDER_WAY: usize = 50;

/// What a check does besides.
enum Step {
    /// Books the usage under this key.
    Deduct(String),
    /// Sets its credits aside under this key.
    Hold { key: String, ttl_seconds: u32, when_more: WhenMore },
}

/// Answers a check.
pub async fn check(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Checked>, Problem> {
    let customer = body.required("customer", read::external_id)?;
    let explain = body.optional("explain", read::boolean)?.unwrap_or_default();
    let asked = Asked::take(&mut body, read::quantity)?;
    let deduct = body.object("deduct")?.map(read_deduct).transpose()?;
    let hold = body.object("hold")?.map(read_hold).transpose()?;
    if deduct.is_some() && hold.is_some() {
        return Err(body.refuse("hold", "goes without `deduct`: usage is either booked now or set aside"));
    }
    body.done()?;
    let (account, reading) = app.reading(&customer, false).await?;
    match deduct.or(hold) {
        None => {
            let checked = told(&app, &customer, &reading, &asked, explain).await;
            app.look_after_check(account, &reading);
            checked.map(Json)
        }
        Some(step) => stepped(&app, &customer, &reading, &asked, &step, explain).await.map(Json),
    }
}

fn read_deduct(mut fields: Fields) -> Result<Step, Problem> {
    let key = fields.required("key", read::external_id)?;
    fields.done()?;
    Ok(Step::Deduct(key))
}

fn read_hold(mut fields: Fields) -> Result<Step, Problem> {
    let key = fields.required("key", read::external_id)?;
    let ttl_seconds = fields.required("ttl_seconds", ttl_seconds)?;
    let words = WhenMore::ALL.map(|when_more| (when_more.word(), when_more));
    let when_more = fields.optional("when_more", read::word(&words))?.unwrap_or_default();
    fields.done()?;
    Ok(Step::Hold { key, ttl_seconds, when_more })
}

/// How long a hold is to live.
pub(super) fn ttl_seconds(value: Input) -> Result<u32, String> {
    let most = i32::try_from(HOLD_SECONDS_MAX).unwrap_or(i32::MAX);
    let seconds = read::integer(1, most)(value)?;
    u32::try_from(seconds).map_err(|error| error.to_string())
}

/// What a check answers, its members in the order of their names as everywhere. `status` and `draws` or `hold` are there
/// when something was done; everything else says how it stood before.
#[derive(Debug, Serialize)]
pub struct Checked {
    allowed: bool,
    available: Credits,
    #[serde(skip_serializing_if = "Option::is_none")]
    draws: Option<Vec<DrawOutcome>>,
    feature: Option<FeatureId>,
    held: Credits,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<HoldShown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_use: Option<Credits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<LimitShown>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lots: Option<Vec<Lot>>,
    pool: Option<FeatureId>,
    reason: Reason,
    required: Credits,
    shortfall: Credits,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    unlimited: bool,
}

/// A spend limit's part in an answer: what it lets be used, and what is used of that, open holds included.
#[derive(Debug, Serialize)]
pub struct LimitShown {
    left: Credits,
    name: String,
    quantity: Credits,
    used: Credits,
    window: Window,
}

impl From<LimitPart> for LimitShown {
    fn from(LimitPart { name, window, most, used }: LimitPart) -> Self {
        let left = most.checked_sub(used).unwrap_or_default().max(Credits::ZERO);
        Self { left, name, quantity: most, used, window }
    }
}

/// Answers on an account as it was read. Who has nothing left and who never had anything are told apart by the wallets,
/// which are read only for this.
async fn told(app: &App, customer: &str, reading: &Reading, asked: &Asked, explain: bool) -> Result<Checked, Problem> {
    let first = answer(reading, asked, explain)?;
    if first.reason != Reason::FeatureNotGranted || reading.state.complete {
        return Ok(first);
    }
    let (_, whole) = app.reading(customer, true).await?;
    answer(&whole, asked, explain)
}

/// Answers on an account as it was read.
fn answer(reading: &Reading, asked: &Asked, explain: bool) -> Result<Checked, Problem> {
    match asked.by(&reading.catalog.catalog)? {
        Some((feature, usage)) => Ok(render(ask(reading, asked, feature, usage, explain)?, explain)),
        None => Ok(unknown_event(explain)),
    }
}

fn ask(
    reading: &Reading,
    asked: &Asked,
    feature: FeatureId,
    usage: Usage,
    explain: bool,
) -> Result<CheckAnswer, Rejection> {
    let question = Question { feature, entity: asked.entity.clone(), usage, explain };
    check::check(&reading.state, &reading.catalog, &question, reading.now)
}

fn render(answer: CheckAnswer, explain: bool) -> Checked {
    Checked {
        allowed: answer.allowed,
        available: answer.available,
        draws: None,
        feature: Some(answer.feature),
        held: answer.held,
        hold: None,
        in_use: answer.in_use,
        limits: explain.then(|| answer.limits.into_iter().map(LimitShown::from).collect()),
        lots: explain.then_some(answer.lots),
        pool: answer.pool,
        reason: answer.reason,
        required: answer.required,
        shortfall: answer.shortfall,
        status: None,
        unlimited: answer.unlimited,
    }
}

fn unknown_event(explain: bool) -> Checked {
    Checked {
        allowed: false,
        available: Credits::ZERO,
        draws: None,
        feature: None,
        held: Credits::ZERO,
        hold: None,
        in_use: None,
        limits: explain.then(Vec::new),
        lots: explain.then(Vec::new),
        pool: None,
        reason: Reason::UnknownEvent,
        required: Credits::ZERO,
        shortfall: Credits::ZERO,
        status: None,
        unlimited: false,
    }
}

/// Books the usage, or sets its credits aside; a yes always means that it was done. What is refused for want of credits
/// is a no with the plain check's reason.
async fn stepped(
    app: &App,
    customer: &str,
    reading: &Reading,
    asked: &Asked,
    step: &Step,
    explain: bool,
) -> Result<Checked, Problem> {
    let Some((feature, usage)) = asked.by(&reading.catalog.catalog)? else { return Ok(unknown_event(explain)) };
    let before = ask(reading, asked, feature.clone(), usage.clone(), explain)?;
    // Nothing would have to be paid, so the ledger would take it: a no for other reasons stays a no.
    if !before.allowed && before.required.is_zero() {
        return Ok(render(before, explain));
    }
    let (key, command) = command(asked, step, feature, usage);
    match app.post_for(customer, Some(key), command).await? {
        Booked::Done(status, outcome) => done(render(before, explain), status, outcome),
        Booked::Refused(Rejection::Insufficient { .. }) => {
            refused(app, customer, asked, Reason::Insufficient, explain).await
        }
        Booked::Refused(Rejection::SpendLimit { .. }) => {
            refused(app, customer, asked, Reason::SpendLimit, explain).await
        }
        Booked::Refused(Rejection::UnknownFeature(_)) => {
            refused(app, customer, asked, Reason::UnknownFeature, explain).await
        }
        Booked::Refused(rejection) => Err(of_step(step, rejection)),
    }
}

fn command(asked: &Asked, step: &Step, feature: FeatureId, usage: Usage) -> (IdempotencyKey, Command) {
    let Usage { quantity, properties } = usage;
    let entity = asked.entity.clone();
    match step {
        Step::Deduct(key) => {
            let when_short = WhenShort::Reject;
            let key = IdempotencyKey::new("deduct", key, asked);
            (key, Command::Track(Track { entity, properties, when_short, ..Track::of(feature, quantity) }))
        }
        Step::Hold { key, ttl_seconds, when_more } => {
            let (ttl_seconds, when_more) = (*ttl_seconds, *when_more);
            let key = IdempotencyKey::new("hold", key, &(asked, ttl_seconds, when_more));
            (key, Command::Hold(PlaceHold { feature, entity, quantity, properties, ttl_seconds, when_more }))
        }
    }
}

/// A refusal names the member of the step where it is about its key.
fn of_step(step: &Step, rejection: Rejection) -> Problem {
    let key = match step {
        Step::Deduct(_) => "deduct.key",
        Step::Hold { .. } => "hold.key",
    };
    let is_about_key = rejection == Rejection::KeyConflict;
    let problem = Problem::from(rejection);
    if is_about_key { problem.about(key) } else { problem }
}

/// The plain check once more; a yes of it came too late.
async fn refused(app: &App, customer: &str, asked: &Asked, reason: Reason, explain: bool) -> Result<Checked, Problem> {
    let (_, reading) = app.reading(customer, false).await?;
    let answer = told(app, customer, &reading, asked, explain).await?;
    Ok(if answer.allowed { Checked { allowed: false, reason, ..answer } } else { answer })
}

/// A yes, whatever the reading before it said: a repeat, or a change between the two, may have made it say no.
fn done(before: Checked, status: &'static str, outcome: Outcome) -> Result<Checked, Problem> {
    let (required, pool, draws, hold) = if let Outcome::Tracked { cost, pool, draws, .. } = outcome {
        (cost, pool, Some(draws), None)
    } else if let Outcome::Held(held) = outcome {
        (held.held, held.pool.clone(), None, Some(HoldShown::from(held)))
    } else {
        return Err(Problem::internal("a check was answered with another command's outcome"));
    };
    let reason = if before.allowed { before.reason } else { Reason::Ok };
    let (shortfall, status, pool) = (Credits::ZERO, Some(status), Some(pool));
    Ok(Checked { allowed: true, reason, required, shortfall, pool, draws, hold, status, ..before })
}

/// Answers many checks for many customers, each pair on its own.
pub async fn batch(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let customers = body.required("customers", list_of("customers", BATCH_CUSTOMERS_MAX))?;
    let checks = body.required("checks", list_of("checks", BATCH_CHECKS_MAX))?;
    body.done()?;
    let named = |(place, customer)| {
        let path = format!("customers[{place}]");
        read::external_id(customer).map_err(|detail| Problem::field(path.as_str(), format!("`{path}` {detail}")))
    };
    let customers: Vec<String> = customers.into_iter().enumerate().map(named).collect::<Result<_, _>>()?;
    let checks: Vec<Asked> = checks.into_iter().enumerate().map(read_check).collect::<Result<_, _>>()?;
    let (app, checks) = (&app, &checks);
    let answers = stream::iter(customers)
        .map(|customer| async move { of_customer(app, &customer, checks).await })
        .buffered(BATCH_UNDER_WAY);
    let results: Vec<Value> = answers.collect::<Vec<_>>().await.into_iter().flatten().collect();
    Ok(Json(json!({ "results": results })))
}

fn list_of(what: &'static str, most: usize) -> impl FnOnce(Input) -> Result<Vec<Input>, String> {
    move |value| match value {
        Input::List(items) if (1..=most).contains(&items.len()) => Ok(items),
        Input::List(_) => Err(format!("has to hold 1 to {most} {what}")),
        other => Err(format!("has to be a list, not {}", other.kind())),
    }
}

fn read_check((place, check): (usize, Input)) -> Result<Asked, Problem> {
    let path = format!("checks[{place}]");
    let Input::Object(members) = check else {
        let detail = format!("`{path}` has to be an object, not {}", check.kind());
        return Err(Problem::field(path, detail));
    };
    let mut fields = Fields::new(path, members);
    let asked = Asked::take(&mut fields, read::quantity)?;
    fields.done()?;
    Ok(asked)
}

/// All checks of one customer, on one reading.
async fn of_customer(app: &App, customer: &str, checks: &[Asked]) -> Vec<Value> {
    let mut reading = app.reading(customer, false).await;
    let is_ungranted = |reading: &Reading, asked: &Asked| {
        answer(reading, asked, false).is_ok_and(|answer| answer.reason == Reason::FeatureNotGranted)
    };
    if let Ok((_, read)) = &reading
        && !read.state.complete
        && checks.iter().any(|asked| is_ungranted(read, asked))
    {
        reading = app.reading(customer, true).await;
    }
    // A hundred checks take about a millisecond; other requests get their turn between two customers.
    tokio::task::yield_now().await;
    let pairs = checks.iter().enumerate().map(|(place, asked)| {
        let mut pair = json!({ "customer": customer, "check": place });
        let answered = match &reading {
            Ok((_, reading)) => answer(reading, asked, false).map(|answer| ("answer", value(&answer))),
            Err(problem) => Err(problem.clone()),
        };
        let (name, told) = answered.unwrap_or_else(|problem| ("problem", refused_item(&problem)));
        if let Value::Object(members) = &mut pair {
            members.insert(name.to_owned(), told);
        }
        pair
    });
    let pairs = pairs.collect();
    if let Ok((account, reading)) = &reading {
        app.look_after_check(*account, reading);
    }
    pairs
}
