//! `PUT` and `GET /customers/{id}`: who is who, and how they stand.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::account_of;
use crate::domain::api_key::Scope;
use crate::domain::attachment::Attachment;
use crate::domain::burn::{Holdings, balance};
use crate::domain::catalog::{Feature, FeatureId};
use crate::domain::command::{Command, Decision};
use crate::domain::grant::Grant;
use crate::domain::ids::AccountId;
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::json::{Body, ID_MAX};
use crate::http::problem::Problem;
use crate::posting::Reading;
use crate::store::accounts::CustomerClaim;
use crate::store::customers::{Person, PersonChange};
use crate::stripe::client::StripeId;
use crate::workers::inbox::WAITING_FOR_CUSTOMER;

/// Longest name or e-mail, in bytes.
const NAME_MAX: usize = 1_024;

/// Makes a customer, or changes what is known of one.
pub async fn put(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.must_be(&[Scope::App])?;
    let change = PersonChange {
        name: fields.text("name", NAME_MAX)?,
        email: fields.text("email", NAME_MAX)?,
        metadata: fields.metadata("metadata")?,
    };
    let stripe_customer = fields.text("stripe_customer", 255)?;
    if stripe_customer.as_deref().is_some_and(|id| StripeId::new(id).is_err() || !id.starts_with("cus_")) {
        return Err(fields.wrong("stripe_customer", "has to be a Stripe customer's id (cus_...)"));
    }
    fields.finish()?;
    if id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control) {
        return Err(Problem::field("id", format!("has to be 1 to {ID_MAX} bytes without control characters")));
    }
    let claim = app.store.claim_customer(&id).await?;
    let account = claim.account();
    if let Some(stripe_customer) = &stripe_customer {
        link(&app, stripe_customer, account).await?;
    }
    let _: Decision = app.posting.post(account, None, Command::Open).await?;
    if change != PersonChange::default() {
        app.store.change_person(account, &change).await?;
    }
    let status = match claim {
        CustomerClaim::Made(_) => StatusCode::CREATED,
        CustomerClaim::Known(_) => StatusCode::OK,
    };
    Ok((status, Json(state_of(&app, account).await?)))
}

async fn link(app: &App, stripe_customer: &str, account: AccountId) -> Result<(), Problem> {
    if app.store.link_stripe_customer(stripe_customer, account).await? != account {
        let detail = format!("{stripe_customer} is linked to another customer, and a link is never replaced");
        let problem = Problem::new(StatusCode::CONFLICT, "stripe_customer_linked", detail);
        return Err(Problem { field: Some("stripe_customer".to_owned()), ..problem });
    }
    if app.store.wake_parked(&WAITING_FOR_CUSTOMER).await? > 0 {
        app.wake.notify_one();
    }
    Ok(())
}

/// How a customer stands.
pub async fn read(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::App, Scope::Finance])?;
    let account = account_of(&app, &id).await?;
    Ok(Json(state_of(&app, account).await?))
}

async fn state_of(app: &App, account: AccountId) -> Result<Value, Problem> {
    let reading = app.posting.read_complete(account).await?;
    let person = app.store.person(account).await?;
    let person = person.ok_or_else(|| Problem::not_found("unknown_customer", "this customer was erased"))?;
    Ok(shown(&person, &reading))
}

fn shown(person: &Person, reading: &Reading) -> Value {
    let state = &reading.state;
    let now = reading.now.max(state.last_entry_at);
    json!({
        "customer": person.customer_id,
        "account": state.id,
        "name": person.name,
        "email": person.email,
        "metadata": person.metadata,
        "stripe_customers": person.stripe_customers,
        "created_at": person.created_at,
        "plans": state.attachments.iter().filter(|known| known.is_live()).map(plan).collect::<Vec<Value>>(),
        "balances": balances(reading, now),
        "flags": flags(reading),
    })
}

fn plan(attachment: &Attachment) -> Value {
    json!({
        "attachment": attachment.id, "plan": attachment.plan, "version": attachment.plan_version,
        "state": attachment.state.word(), "origin": attachment.origin.word(),
        "stripe_subscription": attachment.origin.subscription(), "quantity": attachment.quantity,
        "started_at": attachment.started_at, "paid_through": attachment.paid_through, "cancel_at": attachment.cancel_at,
    })
}

/// Each pool with its wallets; every number is credits of that pool.
fn balances(reading: &Reading, now: Timestamp) -> BTreeMap<FeatureId, Value> {
    let state = &reading.state;
    let mut pools: BTreeMap<FeatureId, Vec<&Grant>> = BTreeMap::new();
    for grant in &state.grants {
        pools.entry(grant.feature.clone()).or_default().push(grant);
    }
    let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: "", now };
    let show = |(pool, grants): (FeatureId, Vec<&Grant>)| {
        let sum = balance(holdings, &pool);
        let active = grants.iter().filter(|grant| grant.blocked(now).is_none());
        let next_expiry = active.filter(|grant| grant.free().is_positive()).filter_map(|grant| grant.ends_at()).min();
        let owed: Vec<Value> = state
            .debts
            .iter()
            .filter(|debt| debt.feature == pool)
            .map(|debt| json!({ "debt": debt.id, "wallet": debt.wallet, "outstanding": debt.outstanding }))
            .collect();
        let wallets: Vec<Value> = state
            .wallets
            .iter()
            .filter(|wallet| wallet.feature == pool)
            .map(|wallet| {
                let inside: Vec<Grant> = state.grants.iter().filter(|g| g.wallet == wallet.id).cloned().collect();
                let own = Holdings { grants: &inside, ..holdings };
                let part = balance(own, &pool);
                json!({
                    "wallet": wallet.key.clone().unwrap_or_else(|| wallet.id.to_string()), "name": wallet.name,
                    "default": wallet.is_default, "state": wallet.state.word(), "available": part.available,
                    "held": part.held,
                })
            })
            .collect();
        let value = json!({
            "available": sum.available, "held": sum.held, "unlimited": sum.unlimited, "next_expiry": next_expiry,
            "debts": owed, "wallets": wallets,
        });
        (pool, value)
    };
    pools.into_iter().map(show).collect()
}

fn flags(reading: &Reading) -> BTreeMap<FeatureId, bool> {
    let live: Vec<&Attachment> = reading.state.attachments.iter().filter(|known| known.is_live()).collect();
    let on = |feature: &FeatureId| {
        live.iter().any(|known| {
            let terms = reading.catalog.terms.get(&(known.plan.clone(), known.plan_version));
            terms.is_some_and(|plan| plan.items.iter().any(|item| item.feature == *feature))
        })
    };
    let features = reading.catalog.catalog.features.iter();
    features.filter(|(_, kind)| matches!(kind, Feature::Boolean)).map(|(id, _)| (id.clone(), on(id))).collect()
}
