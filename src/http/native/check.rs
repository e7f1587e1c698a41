//! `POST /check`: may this customer use that much? Writes nothing.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::super::cursor::value;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use crate::domain::check::{self, CheckAnswer, Question};
use crate::domain::credits::Quantity;

/// Answers a check.
pub async fn check(State(app): State<App>, JsonBody(mut body): JsonBody) -> Result<Json<Value>, Problem> {
    let customer = body.required("customer", read::external_id)?;
    let question = Question {
        feature: body.required("feature", read::feature)?,
        entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
        quantity: body.optional("quantity", read::quantity)?.unwrap_or_else(|| Quantity::whole(1)),
    };
    let explain = body.optional("explain", read::boolean)?.unwrap_or_default();
    body.done()?;
    let (_, reading) = app.reading(&customer, false).await?;
    let answer = check::check(&reading.state, &reading.catalog, &question, reading.now)?;
    Ok(Json(render(&answer, explain)))
}

fn render(answer: &CheckAnswer, explain: bool) -> Value {
    let mut shown = json!({
        "allowed": answer.allowed,
        "reason": answer.reason,
        "feature": answer.feature,
        "pool": answer.pool,
        "required": answer.required,
        "available": answer.available,
        "held": answer.held,
        "unlimited": answer.unlimited,
    });
    if explain && let Value::Object(members) = &mut shown {
        members.insert("lots".to_owned(), value(&answer.lots));
    }
    shown
}
