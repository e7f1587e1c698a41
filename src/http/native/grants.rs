//! `POST /grants` and `GET /customers/{id}/grants`: credits given.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::pages::{Asked, RawQuery, page};
use super::{account_of, entity_of, feature_of};
use crate::domain::api_key::Scope;
use crate::domain::command::{Command, Decision, IdempotencyKey, NewGrant, Outcome, WalletRef};
use crate::domain::credits::{AmountError, Credits};
use crate::domain::entry::Source;
use crate::domain::grant::{Category, GrantMoney};
use crate::domain::ids::{AccountId, GrantId};
use crate::domain::money::{Currency, Money};
use crate::http::App;
use crate::http::auth::Caller;
use crate::http::json::{Body, Fields, ID_MAX, KEY_MAX};
use crate::http::problem::Problem;
use crate::store::listings::{GrantListed, GrantQuery};

/// Gives credits once per key; a second person's scope, not the app's.
pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(mut fields): Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    caller.must_be(&[])?;
    let key = fields.required_text("key", KEY_MAX)?;
    let customer = fields.required_text("customer", ID_MAX)?;
    let wallet = fields.text("wallet", ID_MAX)?;
    let mut new = read(&mut fields, caller)?;
    fields.finish()?;
    let account = account_of(&app, &customer).await?;
    if let Some(wallet) = wallet {
        new.wallet = wallet_of(&app, account, &wallet).await?;
    }
    let key = IdempotencyKey::new("grant", &key, &new);
    let decision = app.posting.post(account, Some(key), Command::Grant(new)).await?;
    let status = match &decision {
        Decision::Applied(_) => StatusCode::CREATED,
        Decision::AlreadyApplied(_) => StatusCode::OK,
    };
    let ids = match decision.outcome() {
        Outcome::Granted { grants } => grants.clone(),
        Outcome::Opened | Outcome::Tracked { .. } | Outcome::PlanPaid { .. } => Vec::new(),
    };
    let query = GrantQuery { only: Some(ids), limit: 1, ..GrantQuery::default() };
    let found = app.store.list_grants(account, &query).await?;
    let grant = found.first().ok_or_else(Problem::unavailable)?;
    Ok((status, Json(shown(grant))))
}

fn read(fields: &mut Fields, caller: Caller) -> Result<NewGrant, Problem> {
    let categories =
        [("promotional", Category::Promotional), ("prepaid", Category::Prepaid), ("committed", Category::Committed)];
    let feature = feature_of(fields)?;
    let entity = entity_of(fields)?;
    let quantity: Credits = fields.amount("quantity")?.ok_or_else(|| fields.wrong("quantity", "is required"))?;
    if quantity.is_negative() {
        return Err(fields.wrong("quantity", AmountError::Negative.to_string()));
    }
    if quantity.is_zero() {
        return Err(fields.wrong("quantity", "has to be more than zero"));
    }
    let category = fields.one_of("category", &categories)?.ok_or_else(|| fields.wrong("category", "is required"))?;
    let priority = fields.integer("priority", -1_000..=1_000)?.and_then(|number| i32::try_from(number).ok());
    let reason = fields.words("reason")?.ok_or_else(|| fields.wrong("reason", "is required: say why it is given"))?;
    let (money, contract) = paid(fields)?;
    Ok(NewGrant {
        wallet: WalletRef::Default,
        feature,
        entity,
        quantity,
        category,
        priority,
        starts_at: fields.time("starts_at")?,
        expires_at: fields.time("expires_at")?,
        reason,
        money,
        contract,
        metadata: fields.metadata("metadata")?.unwrap_or_default(),
        source: Source::Api,
        actor: Some(caller.key.to_string()),
    })
}

fn paid(fields: &mut Fields) -> Result<(GrantMoney, Option<String>), Problem> {
    let Some(mut paid) = fields.object("paid")? else { return Ok((GrantMoney::default(), None)) };
    let currency = paid.required_text("currency", 3)?;
    let currency: Currency =
        currency.parse().map_err(|_| paid.wrong("currency", "has to be a code such as \"usd\""))?;
    let amount = paid.required_text("amount", 64)?;
    let money = Money::parse_major(&amount, currency).map_err(|error| paid.wrong("amount", error.to_string()))?;
    if money.minor() < 0 {
        return Err(paid.wrong("amount", AmountError::Negative.to_string()));
    }
    let reference = paid.text("reference", ID_MAX)?;
    paid.finish()?;
    let money = GrantMoney { paid: Some(money), basis_minor: Some(money.minor()), ..GrantMoney::default() };
    Ok((money, reference))
}

async fn wallet_of(app: &App, account: AccountId, key: &str) -> Result<WalletRef, Problem> {
    let found = app.store.claim_wallet(key, account).await?;
    if found.account != account {
        let problem =
            Problem::new(StatusCode::CONFLICT, "wallet_of_other_customer", "this wallet belongs to another customer");
        return Err(Problem { field: Some("wallet".to_owned()), ..problem });
    }
    let ours = found.wallet.to_string() == key;
    Ok(WalletRef::Named { id: found.wallet, key: (!ours).then(|| key.to_owned()) })
}

/// A customer's grants, oldest first.
pub async fn list(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: RawQuery,
) -> Result<Json<Value>, Problem> {
    caller.must_be(&[Scope::App, Scope::Finance])?;
    let mut asked = Asked::new(query)?;
    let feature = asked.text("feature");
    let wallet = asked.text("wallet");
    let after = asked.cursor(|text| text.parse::<GrantId>().ok())?;
    let limit = asked.limit()?;
    asked.finish()?;
    let account = account_of(&app, &id).await?;
    let wallet = match wallet {
        None => None,
        Some(key) => {
            let found = app.store.find_wallet(&key).await?.filter(|found| found.account == account);
            let unknown = || Problem::not_found("unknown_wallet", "this customer has no such wallet");
            Some(found.ok_or_else(unknown)?.wallet)
        }
    };
    let query = GrantQuery { after, feature, wallet, only: None, limit: limit + 1 };
    let found = app.store.list_grants(account, &query).await?;
    Ok(Json(page(found, limit, |grant| grant.id.to_string(), shown)))
}

fn shown(grant: &GrantListed) -> Value {
    let money =
        |minor: i64, currency: &str| currency.parse().ok().and_then(|currency| Money::from_minor(minor, currency).ok());
    let paid = grant.paid.as_ref().and_then(|(minor, currency)| money(*minor, currency));
    let tax = grant.tax_minor.zip(grant.paid.as_ref()).and_then(|(tax, (_, currency))| money(tax, currency));
    json!({
        "grant": grant.id, "wallet": grant.wallet, "feature": grant.feature,
        "entity": Some(&grant.entity).filter(|entity| !entity.is_empty()), "category": grant.category,
        "priority": grant.priority, "unlimited": grant.unlimited, "quantity": grant.original,
        "remaining": grant.remaining, "held": grant.held, "frozen": grant.frozen, "starts_at": grant.starts_at,
        "expires_at": grant.expires_at, "grace_ends_at": grant.grace_ends_at, "payment": grant.payment,
        "item_key": grant.item_key, "plan": grant.plan, "item": grant.item, "period_start": grant.period_start,
        "paid": paid, "tax": tax, "stripe": grant.stripe, "reason": grant.reason, "metadata": grant.metadata,
        "created_at": grant.created_at,
    })
}
