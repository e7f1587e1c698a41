//! `POST /grants` gives credits; `GET /customers/{id}/grants` lists what was given.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::super::auth::Caller;
use super::super::cursor::Page;
use super::super::fields::{Fields, QueryFields};
use super::super::json::{Json as Input, JsonBody};
use super::super::problem::Problem;
use super::super::{App, read};
use super::{CustomerPath, wallet_id};
use crate::domain::catalog::FeatureId;
use crate::domain::command::{Command, Decision, IdempotencyKey, NewGrant, Outcome, WalletRef};
use crate::domain::entry::Source;
use crate::domain::grant::{Category, Contract, GrantMoney};
use crate::domain::ids::{AccountId, GrantId, WalletId};
use crate::domain::money::{Currency, Money};
use crate::store::accounts::EXTERNAL_ID_MAX;
use crate::store::listings::{GrantFilter, GrantLine};

/// Longest reason, in bytes.
pub const REASON_MAX: usize = 1_000;
/// Longest reference of a payment outside Stripe, in bytes.
pub const REFERENCE_MAX: usize = 255;
/// Longest text of an amount or a currency that is read.
const MONEY_TEXT_MAX: usize = 64;
/// Burn priorities go from here to there, as the schema has them.
pub const PRIORITY_MAX: i32 = 1_000;

const CATEGORIES: [(&str, Category); 3] =
    [("promotional", Category::Promotional), ("prepaid", Category::Prepaid), ("committed", Category::Committed)];

/// Gives credits, once per key.
pub async fn give(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    JsonBody(mut body): JsonBody,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let key = body.required("key", read::external_id)?;
    let customer = body.required("customer", read::external_id)?;
    let wallet = body.optional("wallet", read::external_id)?;
    let mut grant = read_grant(&mut body)?;
    body.done()?;
    grant.actor = Some(caller.key.to_string());
    let account = app.directory.account(&customer).await?;
    if let Some(wallet) = wallet {
        grant.wallet = find_wallet(&app, account, wallet, &grant.feature).await?;
    }
    // The grant's own hash leaves money out.
    let key = IdempotencyKey::new("grant", &key, &(&grant, grant.money.paid));
    let decision = app.posting.post(account, Some(key), Command::Grant(grant)).await?;
    let status = match &decision {
        Decision::Applied(_) => StatusCode::CREATED,
        Decision::AlreadyApplied(_) => StatusCode::OK,
    };
    let Outcome::Granted { grants } = decision.outcome() else {
        return Err(Problem::internal("a grant was answered with another command's outcome"));
    };
    let id = grants.first().copied();
    let id = id.ok_or_else(|| Problem::internal("a grant command gave no grant"))?;
    let line = app.store.grant(account, id).await?;
    let line = line.ok_or_else(|| Problem::internal(format!("grant {id} was posted and is not there")))?;
    Ok((status, Json(render(&customer, &line))))
}

fn read_grant(body: &mut Fields) -> Result<NewGrant, Problem> {
    let category = body.required("category", read::word(&CATEGORIES))?;
    let paid = body.object("paid")?;
    if paid.is_some() && category == Category::Promotional {
        return Err(body.refuse("paid", "goes with prepaid and committed; promotional credits are given for nothing"));
    }
    let (money, reference) = match paid {
        Some(paid) => read_paid(paid)?,
        None => (GrantMoney::default(), None),
    };
    let terms = body.object("contract")?;
    if terms.is_some() && category != Category::Committed {
        return Err(body.refuse("contract", "goes with committed credits only"));
    }
    let terms = terms.map(read_contract).transpose()?;
    Ok(NewGrant {
        wallet: WalletRef::Default,
        feature: body.required("feature", read::feature)?,
        entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
        quantity: body.required("quantity", read::positive_credits)?,
        category,
        priority: body.optional("priority", read::integer(-PRIORITY_MAX, PRIORITY_MAX))?,
        starts_at: body.optional("starts_at", read::time)?,
        expires_at: body.optional("expires_at", read::time)?,
        reason: body.required("reason", read::text(REASON_MAX))?,
        money,
        contract: reference.or_else(|| terms.as_ref().map(|terms| terms.reference.clone())),
        terms,
        metadata: body.optional("metadata", read::metadata)?.unwrap_or_default(),
        source: Source::Api,
        actor: None,
    })
}

/// The contract behind committed credits, kept as it is.
fn read_contract(mut body: Fields) -> Result<Contract, Problem> {
    let reference = body.required("reference", read::plain(REFERENCE_MAX))?;
    let minimum_spend = match body.object("minimum_spend")? {
        Some(mut least) => {
            let money = read_money(&mut least)?;
            least.done()?;
            Some(money)
        }
        None => None,
    };
    let starts_at = body.optional("starts_at", read::time)?;
    let ends_at = body.optional("ends_at", read::time)?;
    if starts_at.zip(ends_at).is_some_and(|(start, end)| end <= start) {
        return Err(body.refuse("ends_at", "has to be after `contract.starts_at`"));
    }
    body.done()?;
    Ok(Contract { reference, minimum_spend, starts_at, ends_at })
}

/// An amount with its currency, zero or more.
pub(super) fn read_money(body: &mut Fields) -> Result<Money, Problem> {
    let currency = body.required("currency", |value| {
        read::text(MONEY_TEXT_MAX)(value)?.parse::<Currency>().map_err(|error| format!("is none: {error}"))
    })?;
    let money = body.required("amount", |value| match value {
        Input::Text(text) => Money::parse_major(&text, currency).map_err(|error| format!("is none: {error}")),
        other => Err(format!("has to be a decimal string such as \"20.00\", not {}", other.kind())),
    })?;
    if money.minor() < 0 { Err(body.refuse("amount", "has to be zero or more")) } else { Ok(money) }
}

/// What was paid outside Stripe: all of it is deferred on the credits.
fn read_paid(mut paid: Fields) -> Result<(GrantMoney, Option<String>), Problem> {
    let money = read_money(&mut paid)?;
    let reference = paid.required("reference", read::plain(REFERENCE_MAX))?;
    paid.done()?;
    let basis_minor = Some(money.minor());
    Ok((GrantMoney { paid: Some(money), basis_minor, ..GrantMoney::default() }, Some(reference)))
}

/// The wallet of a public id, claimed for this account when nobody has it.
pub(super) async fn find_wallet(
    app: &App,
    account: AccountId,
    key: String,
    feature: &FeatureId,
) -> Result<WalletRef, Problem> {
    let other = || {
        let detail = "this wallet belongs to another customer";
        Problem::new(StatusCode::CONFLICT, "wallet_of_other_customer", detail).about("wallet")
    };
    if let Some(found) = app.store.find_wallet(&key).await? {
        if found.account != account {
            return Err(other());
        }
        return Ok(WalletRef::Named { id: found.wallet, key: public_key(key, found.wallet) });
    }
    if key.starts_with(WalletId::PREFIX) && key.parse::<WalletId>().is_ok() {
        let detail = "there is no wallet with this id; ids of this form are made by creditd";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_wallet", detail).about("wallet"));
    }
    if !app.posting.read(account).await?.catalog.catalog.features.contains_key(feature) {
        return Err(crate::domain::command::Rejection::UnknownFeature(feature.clone()).into());
    }
    let found = app.store.claim_wallet(&key, account).await?;
    if found.account != account {
        return Err(other());
    }
    Ok(WalletRef::Named { id: found.wallet, key: Some(key) })
}

/// A wallet that is named by our own id has no id of the app's.
fn public_key(key: String, wallet: WalletId) -> Option<String> {
    Some(key).filter(|key| *key != wallet.to_string())
}

/// The wallet is nobody's, or somebody else's.
pub(super) fn unknown_wallet_of_customer() -> Problem {
    let detail = "this customer has no wallet with this id";
    Problem::new(StatusCode::NOT_FOUND, "unknown_wallet", detail).about("wallet")
}

/// Lists what was given, newest first.
pub async fn list(
    State(app): State<App>,
    CustomerPath(customer): CustomerPath,
    QueryFields(mut query): QueryFields,
) -> Result<Json<Value>, Problem> {
    let feature = query.optional("feature", read::feature)?;
    let wallet = query.optional("wallet", read::text(EXTERNAL_ID_MAX))?;
    let page = Page::<GrantId>::take(&mut query)?;
    query.done()?;
    let account = app.directory.account(&customer).await?;
    let wallet = match wallet {
        None => None,
        Some(key) => {
            let found = app.store.find_wallet(&key).await?.filter(|found| found.account == account);
            Some(found.ok_or_else(unknown_wallet_of_customer)?.wallet)
        }
    };
    let filter = GrantFilter { feature, wallet, after: page.after };
    let lines = app.store.grants(account, &filter, page.rows()).await?;
    Ok(Json(page.body(lines, |line| line.grant.id, |line| render(&customer, line))))
}

fn render(customer: &str, line: &GrantLine) -> Value {
    let (grant, origin) = (&line.grant, &line.origin);
    json!({
        "id": grant.id,
        "customer": customer,
        "wallet": wallet_id(grant.wallet, line.wallet_key.as_deref()),
        "feature": grant.feature,
        "entity": Some(grant.entity.as_str()).filter(|entity| !entity.is_empty()),
        "category": grant.category,
        "priority": grant.priority,
        "unlimited": grant.unlimited,
        "quantity": grant.original,
        "remaining": grant.remaining,
        "held": grant.held,
        "frozen": grant.frozen,
        "starts_at": grant.starts_at,
        "expires_at": grant.expires_at,
        "grace_ends_at": grant.grace_ends_at,
        "created_at": line.created_at,
        "plan": origin.plan.as_ref().map(|(plan, _)| plan),
        "plan_version": origin.plan.as_ref().map(|(_, version)| version),
        "period": grant.period.as_ref().map(|period| json!({
            "attachment": period.attachment, "item": period.item, "start": period.start,
        })),
        "payment": origin.payment,
        "stripe": line.stripe,
        "item_key": origin.item_key,
        "paid": origin.money.paid,
        "tax_minor": origin.money.tax_minor,
        "discount_minor": origin.money.discount_minor,
        "basis_minor": origin.money.basis_minor,
        "stripe_price": origin.stripe_price,
        "stripe_line": origin.stripe_line,
        "reference": origin.contract,
        "contract": origin.terms,
        "reason": origin.reason,
        "metadata": origin.metadata,
    })
}
