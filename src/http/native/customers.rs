//! `PUT /customers/{id}` and `GET /customers/{id}`: who they are, and what they have; all of it, or what one seat or
//! workspace can spend.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::fields::QueryFields;
use super::super::json::JsonBody;
use super::super::problem::Problem;
use super::super::{App, read};
use super::{CustomerPath, holds, limits, top_up_rules, wallet_id};
use crate::domain::account::AccountState;
use crate::domain::attachment::Attachment;
use crate::domain::burn::{Balance, Holdings, balance, in_order};
use crate::domain::catalog::{CatalogVersion, Feature, FeatureId};
use crate::domain::check::has_flag;
use crate::domain::command::{Command, Rejection};
use crate::domain::credits::Credits;
use crate::domain::grant::{Debt, Grant, Wallet};
use crate::domain::hold::{Hold, HoldState};
use crate::domain::ids::AccountId;
use crate::domain::level::level;
use crate::posting::Reading;
use crate::store::accounts::CustomerClaim;
use crate::store::customers::{PROFILE_TEXT_MAX, Profile, ProfileChange};
use crate::store::events::WAITING_FOR_CUSTOMER;

/// Longest id of a Stripe customer, in bytes: Stripe's own limit of ids.
pub const STRIPE_ID_MAX: usize = 255;

/// Most open holds shown with a customer; `GET /customers/{id}/holds` lists all of them.
pub const HOLDS_SHOWN_MAX: usize = 100;

/// Shows one customer.
pub async fn get(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let entity = query.optional("entity", read::external_id)?.unwrap_or_default();
    query.done()?;
    let (account, reading) = app.reading(&customer, true).await?;
    Ok(Json(show(&app, account, &reading, &entity).await?))
}

/// Makes a customer, with the plans everyone gets, or changes what is known of one.
pub async fn put(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    JsonBody(mut body): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let change = ProfileChange {
        name: body.clearable("name", read::plain(PROFILE_TEXT_MAX))?,
        email: body.clearable("email", read::plain(PROFILE_TEXT_MAX))?,
        metadata: body.optional("metadata", read::metadata)?,
    };
    let stripe_customer = body.optional("stripe_customer", read::plain(STRIPE_ID_MAX))?;
    body.done()?;
    let claim = claim(&app, &customer, stripe_customer.as_deref()).await?;
    let account = claim.account();
    if !change.is_empty() && !app.store.update_profile(account, &change).await? {
        return Err(Problem::unknown_customer());
    }
    // Opening an open account changes nothing; an account whose maker died before this is healed by it.
    app.posting.post(account, None, Command::Open).await.map(drop)?;
    let reading = app.read_account(account, true).await?;
    let status = match claim {
        CustomerClaim::Made(_) => StatusCode::CREATED,
        CustomerClaim::Known(_) => StatusCode::OK,
    };
    Ok((status, Json(show(&app, account, &reading, "").await?)))
}

/// Finds or makes the account and its link. A link that belongs to another customer refuses before anything is made.
async fn claim(app: &App, customer: &str, stripe_customer: Option<&str>) -> Result<CustomerClaim, Problem> {
    let linked = |detail| Problem::new(StatusCode::CONFLICT, "stripe_customer_linked", detail).about("stripe_customer");
    let taken = "this Stripe customer is linked to another customer, and links are never replaced";
    if let Some(stripe_customer) = stripe_customer
        && let Some(owner) = app.store.find_stripe_customer(stripe_customer).await?
        && app.store.find_customer(customer).await? != Some(owner)
    {
        return Err(linked(taken));
    }
    let claim = app.store.claim_customer(customer).await?;
    if let Some(stripe_customer) = stripe_customer
        && app.store.link_stripe_customer(stripe_customer, claim.account()).await? != claim.account()
    {
        return Err(linked(taken));
    }
    if stripe_customer.is_some() {
        // Events that waited for this link are tried again; the worker looks every second.
        app.store.wake_parked(&WAITING_FOR_CUSTOMER).await?;
    }
    Ok(claim)
}

async fn show(app: &App, account: AccountId, reading: &Reading, entity: &str) -> Result<Value, Problem> {
    let profile = app.store.profile(account).await?.ok_or_else(Problem::unknown_customer)?;
    let now = reading.now.max(reading.state.last_entry_at);
    let mut shown = render(&profile, &reading.state, &reading.catalog, now, entity);
    if let Value::Object(members) = &mut shown {
        let limits = limits::all(reading, |limit| entity.is_empty() || limit.counts(entity))?;
        members.insert("holds".to_owned(), open_holds(&reading.state, entity));
        members.insert("limits".to_owned(), Value::Array(limits));
        members.insert("topup_rules".to_owned(), Value::Array(top_up_rules::all(reading)));
        members.insert("levels".to_owned(), levels(&reading.state, &reading.catalog, entity, now)?);
    }
    Ok(shown)
}

fn render(profile: &Profile, state: &AccountState, catalog: &CatalogVersion, now: Timestamp, entity: &str) -> Value {
    let plans = state.attachments.iter().filter(|known| known.ended_at.is_none());
    let pools: BTreeSet<&FeatureId> =
        state.wallets.iter().map(|wallet| &wallet.feature).chain(state.grants.iter().map(|g| &g.feature)).collect();
    let mut wallets: Vec<&Wallet> = state.wallets.iter().collect();
    wallets.sort_by_key(|wallet| (&wallet.feature, wallet.priority, wallet.id));
    let of_pool = |pool| pool_balance(state, pool, now, entity);
    json!({
        "customer": profile.customer,
        "name": profile.name,
        "email": profile.email,
        "stripe_customers": profile.stripe_customers,
        "metadata": profile.metadata,
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
        "at": now,
        "plans": plans.map(|known| plan(known, catalog)).collect::<Vec<_>>(),
        "balances": pools.into_iter().map(of_pool).collect::<Vec<_>>(),
        "wallets": wallets.into_iter().map(|wallet| wallet_balance(state, wallet, now, entity)).collect::<Vec<_>>(),
        "flags": flags(state, catalog, now),
    })
}

/// The newest open holds; with an entity only its own.
fn open_holds(state: &AccountState, entity: &str) -> Value {
    let open = state.holds.iter().filter(|hold| hold.state == HoldState::Open);
    let mut open: Vec<&Hold> = open.filter(|hold| entity.is_empty() || hold.entity == entity).collect();
    open.sort_by_key(|hold| std::cmp::Reverse(hold.id));
    open.into_iter().take(HOLDS_SHOWN_MAX).map(holds::render).collect()
}

/// What is in use of each feature that is set and freed: of the customer itself and of every entity that uses some, or
/// of one entity.
fn levels(state: &AccountState, catalog: &CatalogVersion, entity: &str, now: Timestamp) -> Result<Value, Problem> {
    let mut asked: BTreeSet<(&FeatureId, &str)> = BTreeSet::new();
    for feature in catalog.catalog.features.keys().filter(|feature| catalog.catalog.is_level(feature)) {
        let of_it = |(used, _): &&(FeatureId, String)| used == feature;
        let users = state.levels.keys().filter(of_it).map(|(_, user)| user.as_str());
        let is_granted = state.grants.iter().any(|grant| grant.feature == *feature);
        if !is_granted && users.clone().next().is_none() {
            continue;
        }
        asked.insert((feature, entity));
        if entity.is_empty() {
            asked.extend(users.map(|user| (feature, user)));
        }
    }
    let shown = asked.into_iter().map(|(feature, entity)| {
        let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity, now };
        let stands = level(holdings, &state.levels, feature).map_err(Rejection::from)?;
        Ok(json!({
            "feature": feature,
            "entity": Some(entity).filter(|entity| !entity.is_empty()),
            "in_use": stands.used,
            "available": stands.available,
            "unlimited": stands.unlimited,
        }))
    });
    shown.collect()
}

fn plan(attachment: &Attachment, catalog: &CatalogVersion) -> Value {
    let flags_end_at = catalog.terms_of(attachment).and_then(|plan| attachment.flags_end_at(plan.past_due_grace_hours));
    json!({
        "attachment": attachment.id,
        "plan": attachment.plan,
        "version": attachment.plan_version,
        "state": attachment.state,
        "origin": attachment.origin.word(),
        "stripe_subscription": attachment.origin.subscription(),
        "entity": Some(attachment.entity.as_str()).filter(|entity| !entity.is_empty()),
        "quantity": attachment.quantity,
        "anchor": attachment.anchor,
        "started_at": attachment.started_at,
        "paid_through": attachment.paid_through,
        "cancel_at": attachment.cancel_at,
        "flags_end_at": flags_end_at,
    })
}

/// Members that balances of pools and wallets share. `granted` counts the grants that can be spent now and still hold
/// something; `next_expiry` is the first time at which some of it ends, and how much.
fn amounts(holdings: Holdings<'_>, pool: &FeatureId) -> Map<String, Value> {
    let Balance { available, held, unlimited, granted: _ } = balance(holdings, pool);
    let active = in_order(holdings, pool);
    let sum = |total: Credits, more: Credits| total.checked_add(more).unwrap_or(Credits::MAX);
    let granted = active.iter().fold(Credits::ZERO, |total, grant| sum(total, grant.original));
    let next_end = active.iter().filter_map(|grant| grant.ends_at()).min();
    let next_expiry = next_end.map(|end| {
        let ending = active.iter().filter(|grant| grant.ends_at() == Some(end));
        json!({ "at": end, "amount": ending.fold(Credits::ZERO, |total, grant| sum(total, grant.remaining)) })
    });
    let owed = holdings.debts.iter().filter(|debt| debt.feature == *pool);
    Map::from_iter([
        ("available".to_owned(), json!(available)),
        ("held".to_owned(), json!(held)),
        ("granted".to_owned(), json!(granted)),
        ("owed".to_owned(), json!(owed.fold(Credits::ZERO, |total, debt| sum(total, debt.outstanding)))),
        ("unlimited".to_owned(), json!(unlimited)),
        ("next_expiry".to_owned(), json!(next_expiry)),
    ])
}

fn pool_balance(state: &AccountState, pool: &FeatureId, now: Timestamp, entity: &str) -> Value {
    let mut shown = amounts(Holdings { grants: &state.grants, debts: &state.debts, entity, now }, pool);
    shown.insert("feature".to_owned(), json!(pool));
    Value::Object(shown)
}

/// A wallet, what lies in it, and what it owes.
pub(super) fn wallet_balance(
    state: &AccountState,
    wallet: &Wallet,
    now: Timestamp,
    entity: &str,
) -> Map<String, Value> {
    let grants: Vec<Grant> = state.grants.iter().filter(|grant| grant.wallet == wallet.id).cloned().collect();
    let debts: Vec<Debt> = state.debts.iter().filter(|debt| debt.wallet == wallet.id).cloned().collect();
    let mut shown = amounts(Holdings { grants: &grants, debts: &debts, entity, now }, &wallet.feature);
    shown.insert("wallet".to_owned(), json!(wallet_id(wallet.id, wallet.key.as_deref())));
    shown.insert("feature".to_owned(), json!(wallet.feature));
    shown.insert("name".to_owned(), json!(wallet.name));
    shown.insert("default".to_owned(), json!(wallet.is_default));
    shown.insert("priority".to_owned(), json!(wallet.priority));
    shown.insert("state".to_owned(), json!(wallet.state));
    shown.insert("default_expiry_days".to_owned(), json!(wallet.default_expiry_days));
    shown.insert("limit".to_owned(), json!(wallet.debt_limit));
    let debt = |debt: &Debt| json!({ "debt": debt.id, "owed": debt.outstanding, "invoiced": debt.invoiced() });
    let open = debts.iter().filter(|debt| debt.outstanding.is_positive());
    shown.insert("debts".to_owned(), json!(open.map(debt).collect::<Vec<_>>()));
    shown
}

/// Every boolean feature, and whether a plan in force turns it on; an overdue one does until its grace ends.
fn flags(state: &AccountState, catalog: &CatalogVersion, now: Timestamp) -> Value {
    let booleans = catalog.catalog.features.iter().filter(|(_, kind)| matches!(kind, Feature::Boolean));
    Value::Object(
        booleans
            .map(|(feature, _)| (feature.to_string(), Value::Bool(has_flag(state, catalog, feature, now))))
            .collect(),
    )
}
