//! creditd's own API under `/api/v1`: one endpoint family per file, each handler extracts, makes one call, maps.

pub mod check;
pub mod customers;
pub mod entries;
pub mod grants;
pub mod pages;
pub mod stripe_events;
pub mod track;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};

use super::problem::Problem;
use super::{App, auth};
use crate::domain::catalog::FeatureId;
use crate::domain::ids::AccountId;
use crate::http::json::{Fields, ID_MAX};

/// Every native route, behind a key.
pub fn router(app: App) -> Router<App> {
    Router::new()
        .route("/check", post(check::check))
        .route("/track", post(track::track))
        .route("/track/batch", post(track::batch))
        .route("/customers/{id}", get(customers::read).put(customers::put))
        .route("/customers/{id}/grants", get(grants::list))
        .route("/customers/{id}/entries", get(entries::list))
        .route("/grants", post(grants::create))
        .route("/stripe-events", get(stripe_events::list))
        .route("/stripe-events/{id}", get(stripe_events::read))
        .fallback(|| async { Problem::not_found("no_such_route", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(middleware::from_fn_with_state(app, auth::authenticate))
}

/// A customer's account.
async fn account_of(app: &App, customer: &str) -> Result<AccountId, Problem> {
    if customer.len() > ID_MAX || customer.is_empty() || customer.chars().any(char::is_control) {
        return Err(Problem::field("customer", format!("has to be 1 to {ID_MAX} bytes without control characters")));
    }
    let found = app.store.find_customer(customer).await?;
    found.ok_or_else(|| {
        let shown: String = customer.chars().take(80).collect();
        let detail = format!("there is no customer `{shown}`; PUT /api/v1/customers/{{id}} makes one");
        Problem { field: Some("customer".to_owned()), ..Problem::not_found("unknown_customer", detail) }
    })
}

/// The feature a request names.
fn feature_of(fields: &mut Fields) -> Result<FeatureId, Problem> {
    let text = fields.required_text("feature", crate::domain::catalog::NAME_MAX)?;
    FeatureId::new(&text).ok_or_else(|| fields.wrong("feature", "has to be letters, digits, `_`, `-`, `.` or `:`"))
}

/// The seat or workspace a request names; empty: none.
fn entity_of(fields: &mut Fields) -> Result<String, Problem> {
    Ok(fields.text("entity", ID_MAX)?.unwrap_or_default())
}
