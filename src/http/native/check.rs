//! `POST /check`: may this customer use that much? Writes nothing.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use crate::domain::catalog::FeatureId;
use crate::domain::check::{self, CheckAnswer, Lot, Question, Reason};
use crate::domain::credits::{Credits, Quantity};
use crate::domain::usage::Usage;

/// Answers a check.
pub async fn check(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Checked>, Problem> {
    let customer = body.required("customer", read::external_id)?;
    let explain = body.optional("explain", read::boolean)?.unwrap_or_default();
    let question = Question {
        explain,
        feature: body.required("feature", read::feature)?,
        entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
        usage: Usage::of(body.optional("quantity", read::quantity)?.unwrap_or_else(|| Quantity::whole(1))),
    };
    body.done()?;
    let (_, reading) = app.reading(&customer, false).await?;
    let answer = check::check(&reading.state, &reading.catalog, &question, reading.now)?;
    Ok(Json(render(answer, explain)))
}

/// What a check answers, its members in the order of their names as everywhere; the lots only when they are asked for.
#[derive(Debug, Serialize)]
pub struct Checked {
    allowed: bool,
    available: Credits,
    feature: FeatureId,
    held: Credits,
    #[serde(skip_serializing_if = "Option::is_none")]
    lots: Option<Vec<Lot>>,
    pool: Option<FeatureId>,
    reason: Reason,
    required: Credits,
    unlimited: bool,
}

fn render(answer: CheckAnswer, explain: bool) -> Checked {
    let CheckAnswer { allowed, reason, feature, pool, required, available, held, unlimited, lots, .. } = answer;
    let lots = explain.then_some(lots);
    Checked { allowed, available, feature, held, lots, pool, reason, required, unlimited }
}
