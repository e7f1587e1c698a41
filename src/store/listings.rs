//! Lists for the API: keyset pages that stay stable while rows are added.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{credits, quantity, time};
use super::{Store, StoreError};
use crate::domain::credits::{Credits, Quantity};
use crate::domain::ids::{AccountId, DebtId, GrantId, HoldId, PaymentId, WalletId};

const GRANTS: &str = "-- list_grants
SELECT g.grant_id, g.wallet_id, w.wallet_key, g.feature, g.entity, g.category, g.priority, g.unlimited, g.original,
    g.remaining, g.held, g.frozen, g.starts_at, g.expires_at, g.grace_ends_at, g.payment_id, g.item_key, g.plan_id, g.item,
    g.period_start, g.currency, g.amount_paid_minor, g.tax_minor, g.reason, g.metadata, g.created_at,
    p.stripe_session, p.stripe_payment_intent, p.stripe_charge, p.stripe_invoice
FROM grants g JOIN wallets w ON w.account_id = g.account_id AND w.wallet_id = g.wallet_id
    LEFT JOIN payments p ON p.account_id = g.account_id AND p.payment_id = g.payment_id
WHERE g.account_id = $1 AND ($2::uuid IS NULL OR g.grant_id > $2) AND ($3::text IS NULL OR g.feature = $3)
    AND ($4::uuid IS NULL OR g.wallet_id = $4) AND ($5::uuid[] IS NULL OR g.grant_id = ANY($5))
ORDER BY g.grant_id LIMIT $6";
const ENTRIES: &str = "-- list_entries
SELECT e.seq, e.at, e.event_at, e.kind, e.grant_id, e.wallet_id, e.debt_id, e.hold_id, e.feature, e.amount, e.command,
    e.used_feature, e.quantity, e.shortfall, e.source, e.hash, n.reason, n.actor, n.metadata
FROM entries e LEFT JOIN entry_notes n ON n.account_id = e.account_id AND n.seq = e.seq
WHERE e.account_id = $1 AND e.seq > $2 AND ($3::text IS NULL OR e.feature = $3) AND ($4::text IS NULL OR e.kind = $4)
    AND ($5::timestamptz IS NULL OR e.at >= $5) AND ($6::timestamptz IS NULL OR e.at < $6)
ORDER BY e.seq LIMIT $7";
const EVENTS: &str = "-- list_stripe_events
SELECT event_id, event_type, api_version, livemode, object_id, created_at, received_at, origin, state, reason, detail,
    account_id, attempts, due_at, done_at
FROM stripe_events
WHERE ($1::timestamptz IS NULL OR (received_at, event_id) > ($1, $2)) AND ($3::text IS NULL OR state = $3)
    AND ($4::text IS NULL OR event_type = $4)
ORDER BY received_at, event_id LIMIT $5";
const EVENT: &str = "-- read_stripe_event
SELECT event_id, event_type, api_version, livemode, object_id, created_at, received_at, origin, state, reason, detail,
    account_id, attempts, due_at, done_at
FROM stripe_events WHERE event_id = $1";
const EVENT_BODY: &str = "-- read_stripe_event_body
SELECT body FROM stripe_events WHERE event_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [GRANTS, ENTRIES, EVENTS, EVENT, EVENT_BODY];

/// A grant with its story.
#[derive(Clone, Debug)]
pub struct GrantListed {
    /// The grant.
    pub id: GrantId,
    /// Its wallet's public id.
    pub wallet: String,
    /// Feature, entity, category.
    pub feature: String,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// Why it was given.
    pub category: String,
    /// Burn priority.
    pub priority: i32,
    /// No limit?
    pub unlimited: bool,
    /// Credits given.
    pub original: Credits,
    /// Credits left.
    pub remaining: Credits,
    /// Credits set aside.
    pub held: Credits,
    /// Frozen by a dispute?
    pub frozen: bool,
    /// Spendable from then.
    pub starts_at: Timestamp,
    /// Spendable until then.
    pub expires_at: Option<Timestamp>,
    /// Spendable until then while its successor is awaited.
    pub grace_ends_at: Option<Timestamp>,
    /// The payment.
    pub payment: Option<PaymentId>,
    /// What of the payment.
    pub item_key: Option<String>,
    /// The plan.
    pub plan: Option<String>,
    /// Its item.
    pub item: Option<String>,
    /// Start of the period.
    pub period_start: Option<Timestamp>,
    /// Paid for it: minor units and currency.
    pub paid: Option<(i64, String)>,
    /// Tax within it.
    pub tax_minor: Option<i64>,
    /// Why, in words.
    pub reason: Option<String>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
    /// Posted at.
    pub created_at: Timestamp,
    /// Stripe's ids of the payment.
    pub stripe: StripeIds,
}

/// Stripe's ids of a payment.
#[derive(Clone, Debug, Default, sqlx::FromRow, serde::Serialize)]
pub struct StripeIds {
    /// Checkout session.
    #[sqlx(rename = "stripe_session")]
    pub session: Option<String>,
    /// Payment intent.
    #[sqlx(rename = "stripe_payment_intent")]
    pub payment_intent: Option<String>,
    /// Charge.
    #[sqlx(rename = "stripe_charge")]
    pub charge: Option<String>,
    /// Invoice.
    #[sqlx(rename = "stripe_invoice")]
    pub invoice: Option<String>,
}

#[derive(sqlx::FromRow)]
struct GrantRow {
    grant_id: Uuid,
    wallet_id: Uuid,
    wallet_key: Option<String>,
    feature: String,
    entity: String,
    category: String,
    priority: i32,
    unlimited: bool,
    original: Decimal,
    remaining: Decimal,
    held: Decimal,
    frozen: bool,
    starts_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    grace_ends_at: Option<jiff_sqlx::Timestamp>,
    payment_id: Option<Uuid>,
    item_key: Option<String>,
    plan_id: Option<String>,
    item: Option<String>,
    period_start: Option<jiff_sqlx::Timestamp>,
    currency: Option<String>,
    amount_paid_minor: Option<i64>,
    tax_minor: Option<i64>,
    reason: Option<String>,
    metadata: Json<BTreeMap<String, String>>,
    created_at: jiff_sqlx::Timestamp,
    #[sqlx(flatten)]
    stripe: StripeIds,
}

impl TryFrom<GrantRow> for GrantListed {
    type Error = StoreError;

    fn try_from(row: GrantRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: GrantId::from_uuid(row.grant_id),
            wallet: row.wallet_key.unwrap_or_else(|| WalletId::from_uuid(row.wallet_id).to_string()),
            feature: row.feature,
            entity: row.entity,
            category: row.category,
            priority: row.priority,
            unlimited: row.unlimited,
            original: credits(row.original, "grants", "original")?,
            remaining: credits(row.remaining, "grants", "remaining")?,
            held: credits(row.held, "grants", "held")?,
            frozen: row.frozen,
            starts_at: row.starts_at.to_jiff(),
            expires_at: row.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            grace_ends_at: row.grace_ends_at.map(jiff_sqlx::Timestamp::to_jiff),
            payment: row.payment_id.map(PaymentId::from_uuid),
            item_key: row.item_key,
            plan: row.plan_id,
            item: row.item,
            period_start: row.period_start.map(jiff_sqlx::Timestamp::to_jiff),
            paid: row.amount_paid_minor.zip(row.currency),
            tax_minor: row.tax_minor,
            reason: row.reason,
            metadata: row.metadata.0,
            created_at: row.created_at.to_jiff(),
            stripe: row.stripe,
        })
    }
}

/// A ledger line with the words beside it.
#[derive(Clone, Debug)]
pub struct EntryListed {
    /// Number of the line.
    pub seq: i64,
    /// Ledger time.
    pub at: Timestamp,
    /// When it happened in the world.
    pub event_at: Option<Timestamp>,
    /// What happened.
    pub kind: String,
    /// The grant it changes.
    pub grant: Option<GrantId>,
    /// The wallet.
    pub wallet: Option<WalletId>,
    /// The debt.
    pub debt: Option<DebtId>,
    /// The hold.
    pub hold: Option<HoldId>,
    /// Which feature's credits.
    pub feature: String,
    /// Signed credits.
    pub amount: Credits,
    /// First line of its command.
    pub command: i64,
    /// The feature that was used.
    pub used_feature: Option<String>,
    /// Units used.
    pub quantity: Option<Quantity>,
    /// Credits no grant could pay.
    pub shortfall: Option<Credits>,
    /// What kind of input caused it.
    pub source: String,
    /// Its hash.
    pub hash: Vec<u8>,
    /// Why, in words.
    pub reason: Option<String>,
    /// Who asked.
    pub actor: Option<String>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
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
    reason: Option<String>,
    actor: Option<String>,
    metadata: Option<Json<BTreeMap<String, String>>>,
}

impl TryFrom<EntryRow> for EntryListed {
    type Error = StoreError;

    fn try_from(row: EntryRow) -> Result<Self, StoreError> {
        Ok(Self {
            seq: row.seq,
            at: row.at.to_jiff(),
            event_at: row.event_at.map(jiff_sqlx::Timestamp::to_jiff),
            kind: row.kind,
            grant: row.grant_id.map(GrantId::from_uuid),
            wallet: row.wallet_id.map(WalletId::from_uuid),
            debt: row.debt_id.map(DebtId::from_uuid),
            hold: row.hold_id.map(HoldId::from_uuid),
            feature: row.feature,
            amount: credits(row.amount, "entries", "amount")?,
            command: row.command,
            used_feature: row.used_feature,
            quantity: row.quantity.map(|units| quantity(units, "entries", "quantity")).transpose()?,
            shortfall: row.shortfall.map(|short| credits(short, "entries", "shortfall")).transpose()?,
            source: row.source,
            hash: row.hash,
            reason: row.reason,
            actor: row.actor,
            metadata: row.metadata.map(|json| json.0).unwrap_or_default(),
        })
    }
}

/// A stored event, without its body.
#[derive(Clone, Debug)]
pub struct EventListed {
    /// Stripe's id.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// The version of its shapes.
    pub api_version: Option<String>,
    /// Stripe's mode.
    pub livemode: bool,
    /// Id of its object.
    pub object_id: Option<String>,
    /// Stripe made it then.
    pub created_at: Timestamp,
    /// It was stored then.
    pub received_at: Timestamp,
    /// webhook or `catch_up`.
    pub origin: String,
    /// received, processed, ignored, parked or dead.
    pub state: String,
    /// Why, as a code.
    pub reason: Option<String>,
    /// Why, in words.
    pub detail: Option<String>,
    /// The account it was found to be about.
    pub account: Option<AccountId>,
    /// How often it was worked on.
    pub attempts: i32,
    /// Worked on again from then.
    pub due_at: Option<Timestamp>,
    /// Done at.
    pub done_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct EventRow {
    event_id: String,
    event_type: String,
    api_version: Option<String>,
    livemode: bool,
    object_id: Option<String>,
    created_at: jiff_sqlx::Timestamp,
    received_at: jiff_sqlx::Timestamp,
    origin: String,
    state: String,
    reason: Option<String>,
    detail: Option<String>,
    account_id: Option<Uuid>,
    attempts: i32,
    due_at: Option<jiff_sqlx::Timestamp>,
    done_at: Option<jiff_sqlx::Timestamp>,
}

impl From<EventRow> for EventListed {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.event_id,
            event_type: row.event_type,
            api_version: row.api_version,
            livemode: row.livemode,
            object_id: row.object_id,
            created_at: row.created_at.to_jiff(),
            received_at: row.received_at.to_jiff(),
            origin: row.origin,
            state: row.state,
            reason: row.reason,
            detail: row.detail,
            account: row.account_id.map(AccountId::from_uuid),
            attempts: row.attempts,
            due_at: row.due_at.map(jiff_sqlx::Timestamp::to_jiff),
            done_at: row.done_at.map(jiff_sqlx::Timestamp::to_jiff),
        }
    }
}

/// Which grants of an account.
#[derive(Clone, Debug, Default)]
pub struct GrantQuery {
    /// Behind this one.
    pub after: Option<GrantId>,
    /// Of this feature.
    pub feature: Option<String>,
    /// In this wallet.
    pub wallet: Option<WalletId>,
    /// Only these.
    pub only: Option<Vec<GrantId>>,
    /// At most.
    pub limit: i64,
}

/// Which entries of an account.
#[derive(Clone, Debug, Default)]
pub struct EntryQuery {
    /// Behind this line.
    pub after: i64,
    /// Of this feature's credits.
    pub feature: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// At most.
    pub limit: i64,
}

/// Which stored events.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Behind this one.
    pub after: Option<(Timestamp, String)>,
    /// In this state.
    pub state: Option<String>,
    /// Of this type.
    pub event_type: Option<String>,
    /// At most.
    pub limit: i64,
}

impl Store {
    /// A page of an account's grants, oldest first.
    pub async fn list_grants(&self, account: AccountId, query: &GrantQuery) -> Result<Vec<GrantListed>, StoreError> {
        let only = query.only.as_ref().map(|ids| ids.iter().map(|id| id.as_uuid()).collect::<Vec<Uuid>>());
        let rows: Vec<GrantRow> = sqlx::query_as(GRANTS)
            .bind(account.as_uuid())
            .bind(query.after.map(GrantId::as_uuid))
            .bind(query.feature.as_deref())
            .bind(query.wallet.map(WalletId::as_uuid))
            .bind(only)
            .bind(query.limit)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(GrantListed::try_from).collect()
    }

    /// A page of an account's ledger, oldest first.
    pub async fn list_entries(&self, account: AccountId, query: &EntryQuery) -> Result<Vec<EntryListed>, StoreError> {
        let rows: Vec<EntryRow> = sqlx::query_as(ENTRIES)
            .bind(account.as_uuid())
            .bind(query.after)
            .bind(query.feature.as_deref())
            .bind(query.kind.as_deref())
            .bind(query.from.map(time))
            .bind(query.to.map(time))
            .bind(query.limit)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(EntryListed::try_from).collect()
    }

    /// A page of stored events, oldest first.
    pub async fn list_events(&self, query: &EventQuery) -> Result<Vec<EventListed>, StoreError> {
        let rows: Vec<EventRow> = sqlx::query_as(EVENTS)
            .bind(query.after.as_ref().map(|(at, _)| time(*at)))
            .bind(query.after.as_ref().map(|(_, id)| id.as_str()))
            .bind(query.state.as_deref())
            .bind(query.event_type.as_deref())
            .bind(query.limit)
            .fetch_all(self.pool())
            .await?;
        Ok(rows.into_iter().map(EventListed::from).collect())
    }

    /// One stored event with its raw body.
    pub async fn read_event(&self, id: &str) -> Result<Option<(EventListed, Option<Vec<u8>>)>, StoreError> {
        let row: Option<EventRow> = sqlx::query_as(EVENT).bind(id).fetch_optional(self.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        let body: Option<Option<Vec<u8>>> = sqlx::query_scalar(EVENT_BODY).bind(id).fetch_optional(self.pool()).await?;
        Ok(Some((row.into(), body.flatten())))
    }
}
