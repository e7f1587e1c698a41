//! `POST /check`: may this customer use that much?

use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::{account_of, entity_of, feature_of};
use crate::domain::api_key::Scope;
use crate::domain::check::{CheckAnswer, Question, check as answer};
use crate::domain::credits::{AmountError, Quantity};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::json::{Body, Fields, ID_MAX};
use crate::http::problem::Problem;

/// Units asked for when nothing is said: one.
pub(super) fn quantity_of(fields: &mut Fields) -> Result<Quantity, Problem> {
    let quantity: Quantity = fields.amount("quantity")?.unwrap_or_else(|| Quantity::whole(1));
    if quantity.is_negative() {
        return Err(fields.wrong("quantity", AmountError::Negative.to_string()));
    }
    Ok(quantity)
}

/// Answers a check; writes nothing.
pub async fn check(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(mut fields): Body,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::App])?;
    let customer = fields.required_text("customer", ID_MAX)?;
    let question = Question {
        feature: feature_of(&mut fields)?,
        entity: entity_of(&mut fields)?,
        quantity: quantity_of(&mut fields)?,
    };
    let explain = fields.boolean("explain")?.unwrap_or(false);
    fields.finish()?;
    let account = account_of(&app, &customer).await?;
    let reading = app.posting.read(account).await?;
    let found = answer(&reading.state, &reading.catalog, &question, reading.now)?;
    Ok(Json(shown(&found, explain)))
}

fn shown(found: &CheckAnswer, explain: bool) -> Value {
    let mut body = json!({
        "allowed": found.allowed, "reason": found.reason, "feature": found.feature, "pool": found.pool,
        "required": found.required, "available": found.available, "held": found.held, "unlimited": found.unlimited,
    });
    if explain && let Value::Object(members) = &mut body {
        members.insert("lots".to_owned(), json!(found.lots));
    }
    body
}
