//! Lists for people and apps: a customer's grants and entries, newest first, each page found by the key of the last row
//! before it, so that rows written meanwhile move nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::types::Json;
use uuid::Uuid;

use super::ledger_rows::{GrantRow, grant_columns};
use super::rows::{credits, quantity, time, word};
use super::{Store, StoreError};
use crate::domain::catalog::{FeatureId, PlanId, RevenuePolicy};
use crate::domain::entry::{ChainHead, Entry, EntryKind, Source};
use crate::domain::grant::{Contract, Grant, GrantMoney, Origin};
use crate::domain::ids::{AccountId, DebtId, GrantId, HoldId, PaymentId, WalletId};
use crate::domain::money::{Currency, Money};

/// A whole grant, from where it lies and what paid for it; `$` numbers are each statement's own.
macro_rules! whole_grants {
    () => {
        concat!(
            "SELECT ",
            grant_columns!(),
            ", w.wallet_key, g.payment_id, g.item_key, g.plan_id,
    g.plan_version, g.currency, g.amount_paid_minor, g.tax_minor, g.discount_minor, g.basis_minor, g.revenue_policy,
    g.stripe_price, g.stripe_line, g.contract_ref, g.reason, g.metadata, g.created_at, g.contract_number,
    g.contract_currency, g.contract_minimum_minor, g.contract_starts_at, g.contract_ends_at, p.stripe_session,
    p.stripe_payment_intent, p.stripe_charge, p.stripe_invoice
FROM grants g JOIN wallets w ON w.account_id = g.account_id AND w.wallet_id = g.wallet_id
    LEFT JOIN payments p ON p.account_id = g.account_id AND p.payment_id = g.payment_id"
        )
    };
}

const GRANTS: &str = concat!(
    "-- list_grants\n",
    whole_grants!(),
    "
WHERE g.account_id = $1 AND g.grant_id < $2 AND ($3::text IS NULL OR g.feature = $3)
    AND ($4::uuid IS NULL OR g.wallet_id = $4)
ORDER BY g.grant_id DESC LIMIT $5"
);
const GRANT: &str = concat!("-- read_grant\n", whole_grants!(), "\nWHERE g.account_id = $1 AND g.grant_id = $2");
const ENTRIES: &str = "-- list_entries
SELECT e.account_id, e.seq, e.at, e.event_at, e.kind, e.grant_id, e.wallet_id, e.debt_id, e.hold_id, e.feature, e.amount,
    e.command, e.used_feature, e.quantity, e.shortfall, e.source, e.hash, w.wallet_key, n.reason, n.actor, n.metadata
FROM entries e
    LEFT JOIN wallets w ON w.account_id = e.account_id AND w.wallet_id = e.wallet_id
    LEFT JOIN entry_notes n ON n.account_id = e.account_id AND n.seq = e.seq
WHERE e.account_id = $1 AND e.seq < $2 AND ($3::text IS NULL OR e.feature = $3 OR e.used_feature = $3)
    AND ($4::text IS NULL OR e.kind = $4) AND ($5::timestamptz IS NULL OR e.at >= $5)
    AND ($6::timestamptz IS NULL OR e.at < $6)
ORDER BY e.seq DESC LIMIT $7";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [GRANTS, GRANT, ENTRIES];

/// Which grants are asked for.
#[derive(Clone, Debug, Default)]
pub struct GrantFilter {
    /// Of one feature.
    pub feature: Option<FeatureId>,
    /// In one wallet.
    pub wallet: Option<WalletId>,
    /// After that one in the list.
    pub after: Option<GrantId>,
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct EntryFilter {
    /// Of one feature's credits, or paying for its usage.
    pub feature: Option<FeatureId>,
    /// Of one kind.
    pub kind: Option<EntryKind>,
    /// Booked then or later.
    pub from: Option<Timestamp>,
    /// Booked before.
    pub to: Option<Timestamp>,
    /// After the entry of that number in the list.
    pub after: Option<i64>,
}

/// Stripe's ids of the payment behind a grant, as far as they are known.
#[derive(Clone, Debug, PartialEq, Eq, Default, serde::Serialize, sqlx::FromRow)]
pub struct StripeIds {
    /// Checkout session (cs_..).
    #[sqlx(rename = "stripe_session")]
    pub session: Option<String>,
    /// Payment intent (pi_..).
    #[sqlx(rename = "stripe_payment_intent")]
    pub payment_intent: Option<String>,
    /// Charge (ch_..).
    #[sqlx(rename = "stripe_charge")]
    pub charge: Option<String>,
    /// Invoice (in_..).
    #[sqlx(rename = "stripe_invoice")]
    pub invoice: Option<String>,
}

/// A grant with its whole story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantLine {
    /// The grant as it stands.
    pub grant: Grant,
    /// Where it comes from.
    pub origin: Origin,
    /// The wallet's public id, where the app gave it one.
    pub wallet_key: Option<String>,
    /// Stripe's ids of its payment.
    pub stripe: StripeIds,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An entry with the words beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryLine {
    /// The entry.
    pub entry: Entry,
    /// Its place in the account's chain.
    pub hash: ChainHead,
    /// The wallet's public id, where the app gave it one.
    pub wallet_key: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who asked.
    pub actor: Option<String>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
}

#[derive(sqlx::FromRow)]
struct ContractRow {
    #[sqlx(rename = "contract_number")]
    number: Option<String>,
    #[sqlx(rename = "contract_currency")]
    currency: Option<String>,
    #[sqlx(rename = "contract_minimum_minor")]
    minimum_minor: Option<i64>,
    #[sqlx(rename = "contract_starts_at")]
    starts_at: Option<jiff_sqlx::Timestamp>,
    #[sqlx(rename = "contract_ends_at")]
    ends_at: Option<jiff_sqlx::Timestamp>,
}

impl ContractRow {
    fn into_contract(self, row: &str) -> Result<Option<Contract>, StoreError> {
        let Some(reference) = self.number else { return Ok(None) };
        let least = money(self.currency, self.minimum_minor, "contract_minimum_minor", row)?;
        let at = |time: Option<jiff_sqlx::Timestamp>| time.map(jiff_sqlx::Timestamp::to_jiff);
        let (starts_at, ends_at) = (at(self.starts_at), at(self.ends_at));
        Ok(Some(Contract { reference, minimum_spend: least, starts_at, ends_at }))
    }
}

/// Money of two columns of a grant; none when either is empty.
fn money(
    currency: Option<String>,
    minor: Option<i64>,
    column: &'static str,
    row: &str,
) -> Result<Option<Money>, StoreError> {
    let (Some(currency), Some(minor)) = (currency, minor) else { return Ok(None) };
    let money = currency.parse::<Currency>().and_then(|currency| Money::from_minor(minor, currency));
    word(money.ok(), "grants", column, row).map(Some)
}

#[derive(sqlx::FromRow)]
struct GrantLineRow {
    #[sqlx(flatten)]
    grant: GrantRow,
    wallet_key: Option<String>,
    payment_id: Option<Uuid>,
    item_key: Option<String>,
    plan_id: Option<String>,
    plan_version: Option<i32>,
    currency: Option<String>,
    amount_paid_minor: Option<i64>,
    tax_minor: Option<i64>,
    discount_minor: Option<i64>,
    basis_minor: Option<i64>,
    revenue_policy: Option<String>,
    stripe_price: Option<String>,
    stripe_line: Option<String>,
    contract_ref: Option<String>,
    reason: Option<String>,
    metadata: Json<BTreeMap<String, String>>,
    created_at: jiff_sqlx::Timestamp,
    #[sqlx(flatten)]
    contract: ContractRow,
    #[sqlx(flatten)]
    stripe: StripeIds,
}

impl TryFrom<GrantLineRow> for GrantLine {
    type Error = StoreError;

    fn try_from(row: GrantLineRow) -> Result<Self, StoreError> {
        let (_, grant) = row.grant.into_grant();
        let id = grant.id.to_string();
        let plan = match (row.plan_id, row.plan_version) {
            (Some(plan), Some(version)) => Some((word(PlanId::new(&plan), "grants", "plan_id", &id)?, version)),
            _ => None,
        };
        let paid = money(row.currency, row.amount_paid_minor, "amount_paid_minor", &id)?;
        let policy = |text: String| serde_json::from_value::<RevenuePolicy>(serde_json::Value::String(text)).ok();
        let revenue = row.revenue_policy.map(|text| word(policy(text), "grants", "revenue_policy", &id)).transpose()?;
        let origin = Origin {
            payment: row.payment_id.map(PaymentId::from_uuid),
            item_key: row.item_key,
            plan,
            money: GrantMoney {
                paid,
                tax_minor: row.tax_minor,
                discount_minor: row.discount_minor,
                basis_minor: row.basis_minor,
            },
            revenue,
            stripe_price: row.stripe_price,
            stripe_line: row.stripe_line,
            contract: row.contract_ref,
            terms: row.contract.into_contract(&id)?,
            reason: row.reason,
            metadata: row.metadata.0,
            step: None,
        };
        let created_at = row.created_at.to_jiff();
        Ok(Self { grant, origin, wallet_key: row.wallet_key, stripe: row.stripe, created_at })
    }
}

#[derive(sqlx::FromRow)]
struct EntryRow {
    seq: i64,
    at: jiff_sqlx::Timestamp,
    event_at: Option<jiff_sqlx::Timestamp>,
    kind: String,
    grant_id: Option<Uuid>,
    wallet_id: Option<Uuid>,
    debt_id: Option<Uuid>,
    hold_id: Option<Uuid>,
    feature: String,
    amount: Decimal,
    command: i64,
    used_feature: Option<String>,
    quantity: Option<Decimal>,
    shortfall: Option<Decimal>,
    source: String,
    hash: Vec<u8>,
    wallet_key: Option<String>,
    reason: Option<String>,
    actor: Option<String>,
    metadata: Option<Json<BTreeMap<String, String>>>,
}

impl TryFrom<EntryRow> for EntryLine {
    type Error = StoreError;

    fn try_from(row: EntryRow) -> Result<Self, StoreError> {
        let id = row.seq.to_string();
        let feature = |text: &str, column| word(FeatureId::new(text), "entries", column, &id);
        let entry = Entry {
            seq: row.seq,
            at: row.at.to_jiff(),
            event_at: row.event_at.map(jiff_sqlx::Timestamp::to_jiff),
            kind: word(EntryKind::from_word(&row.kind), "entries", "kind", &id)?,
            grant: row.grant_id.map(GrantId::from_uuid),
            wallet: row.wallet_id.map(WalletId::from_uuid),
            debt: row.debt_id.map(DebtId::from_uuid),
            hold: row.hold_id.map(HoldId::from_uuid),
            feature: feature(&row.feature, "feature")?,
            amount: credits(row.amount, "entries", "amount")?,
            command: row.command,
            used_feature: row.used_feature.map(|text| feature(&text, "used_feature")).transpose()?,
            quantity: row.quantity.map(|value| quantity(value, "entries", "quantity")).transpose()?,
            shortfall: row.shortfall.map(|value| credits(value, "entries", "shortfall")).transpose()?,
            source: word(Source::from_word(&row.source), "entries", "source", &id)?,
        };
        let hash: Option<[u8; 32]> = row.hash.try_into().ok();
        Ok(Self {
            entry,
            hash: ChainHead(word(hash, "entries", "hash", &id)?),
            wallet_key: row.wallet_key,
            reason: row.reason,
            actor: row.actor,
            metadata: row.metadata.map(|json| json.0).unwrap_or_default(),
        })
    }
}

impl Store {
    /// Grants of an account, newest first, spent and ended ones too.
    pub async fn grants(
        &self,
        account: AccountId,
        filter: &GrantFilter,
        most: i64,
    ) -> Result<Vec<GrantLine>, StoreError> {
        let rows: Vec<GrantLineRow> = sqlx::query_as(GRANTS)
            .bind(account.as_uuid())
            .bind(filter.after.map_or(Uuid::max(), GrantId::as_uuid))
            .bind(filter.feature.as_ref().map(FeatureId::as_str))
            .bind(filter.wallet.map(WalletId::as_uuid))
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(GrantLine::try_from).collect()
    }

    /// One grant of an account.
    pub async fn grant(&self, account: AccountId, grant: GrantId) -> Result<Option<GrantLine>, StoreError> {
        let row: Option<GrantLineRow> =
            sqlx::query_as(GRANT).bind(account.as_uuid()).bind(grant.as_uuid()).fetch_optional(self.pool()).await?;
        row.map(GrantLine::try_from).transpose()
    }

    /// Entries of an account, newest first.
    pub async fn entries(
        &self,
        account: AccountId,
        filter: &EntryFilter,
        most: i64,
    ) -> Result<Vec<EntryLine>, StoreError> {
        let rows: Vec<EntryRow> = sqlx::query_as(ENTRIES)
            .bind(account.as_uuid())
            .bind(filter.after.unwrap_or(i64::MAX))
            .bind(filter.feature.as_ref().map(FeatureId::as_str))
            .bind(filter.kind.map(EntryKind::word))
            .bind(filter.from.map(time))
            .bind(filter.to.map(time))
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(EntryLine::try_from).collect()
    }
}
