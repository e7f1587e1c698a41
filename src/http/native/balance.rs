//! `GET /customers/{id}/balance`: what a customer has, or had at a past time.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::fields::QueryFields;
use super::super::problem::Problem;
use super::super::{App, read};
use super::CustomerPath;
use crate::domain::burn::{Holdings, balance, in_order};
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Command, Rejection};
use crate::domain::credits::Credits;
use crate::domain::grant::{Debt, Grant, WalletState};
use crate::domain::ids::AccountId;
use crate::posting::{PostError, Reading};
use crate::store::past::Past;

/// Balances now, or at `at`.
pub async fn get(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let at = query.optional("at", read::time)?;
    let feature = query.optional("feature", read::feature)?;
    let entity = query.optional("entity", read::external_id)?;
    let to_come = query.refuse("at", "has to be now or past: what is to come is not known");
    query.done()?;
    let (account, reading) = app.reading(&customer, true).await?;
    let now = reading.now.max(reading.state.last_entry_at);
    if at.is_some_and(|at| at > now) {
        return Err(to_come);
    }
    if let Some(feature) = feature.as_ref().filter(|feature| !is_known(feature, &reading)) {
        return Err(Rejection::UnknownFeature(feature.clone()).into());
    }
    let past = match at {
        Some(at) => then(&app, account, at).await?,
        None => at_present(reading),
    };
    let of = past.pools.iter().chain(past.grants.iter().map(|grant| &grant.feature)).chain(feature.as_ref());
    let pools: BTreeSet<&FeatureId> =
        of.filter(|pool| feature.as_ref().is_none_or(|feature| feature == *pool)).collect();
    let entity = entity.as_deref();
    let (at, seat) = (at.unwrap_or(now), entity.unwrap_or_default());
    let balances: Vec<Value> = pools.into_iter().map(|pool| row(&past.grants, &past.debts, pool, seat, at)).collect();
    Ok(Json(json!({ "customer": customer, "at": at, "entity": entity, "balances": balances })))
}

fn is_known(feature: &FeatureId, reading: &Reading) -> bool {
    reading.catalog.catalog.features.contains_key(feature)
        || reading.state.wallets.iter().any(|wallet| wallet.feature == *feature)
}

fn at_present(reading: Reading) -> Past {
    let state = reading.state;
    let pools = state.wallets.into_iter().map(|wallet| wallet.feature).collect();
    Past { grants: state.grants, debts: state.debts, pools }
}

/// What fell due by then is in the ledger before the ledger is asked: a worker would have booked it in a moment.
async fn then(app: &App, account: AccountId, at: Timestamp) -> Result<Past, Problem> {
    if app.store.has_due(account, at).await? {
        match app.posting.post(account, None, Command::Settle).await {
            Ok(_) => {}
            Err(PostError::Rejected(rejection)) => {
                tracing::error!(account.id = %account, %rejection, "what is due on an account cannot be booked");
            }
            Err(error @ (PostError::UnknownAccount(_) | PostError::Busy(_) | PostError::Store(_))) => {
                return Err(error.into());
            }
        }
    }
    Ok(app.store.past(account, at).await?)
}

/// `available` leaves out what is frozen now, and `frozen` is what that takes away from it.
fn row(grants: &[Grant], debts: &[Debt], pool: &FeatureId, entity: &str, at: Timestamp) -> Value {
    let sum = |total: Credits, more: Credits| total.checked_add(more).unwrap_or(Credits::MAX);
    let thawed: Vec<Grant> = grants.iter().filter(|grant| grant.feature == *pool).cloned().map(thaw).collect();
    let holdings = Holdings { grants, debts, entity, now: at };
    let stands = balance(holdings, pool);
    let whole = balance(Holdings { grants: &thawed, ..holdings }, pool);
    let granted = in_order(holdings, pool).iter().fold(Credits::ZERO, |total, grant| sum(total, grant.original));
    let owed = debts.iter().filter(|debt| debt.feature == *pool).map(|debt| debt.outstanding);
    json!({
        "feature": pool,
        "available": stands.available,
        "frozen": whole.available.checked_sub(stands.available).unwrap_or(Credits::ZERO),
        "held": stands.held,
        "granted": granted,
        "owed": owed.fold(Credits::ZERO, sum),
        "unlimited": stands.unlimited,
    })
}

fn thaw(grant: Grant) -> Grant {
    let wallet_state = match grant.wallet_state {
        WalletState::Frozen => WalletState::Open,
        state @ (WalletState::Open | WalletState::Closed) => state,
    };
    Grant { wallet_state, frozen: false, ..grant }
}
