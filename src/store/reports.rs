//! Streamed reads for reports, all of one report in one snapshot.
//!
//! A [`Snapshot`] is one `REPEATABLE READ READ ONLY` transaction: whatever is written meanwhile, its streams fit
//! together. Rows come in a fixed order, one at a time; the server waits while the writer is slow.

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use super::rows::{credits, quantity, time, word};
use super::{Store, StoreError};
use crate::domain::catalog::FeatureId;
use crate::domain::credits::Credits;
use crate::domain::entry::{Entry, EntryKind, Source};
use crate::domain::ids::{AccountId, AttachmentId, DebtId, GrantId, HoldId, PaymentId, WalletId};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Writing a report may take longer than a transaction of the daemon may be idle.
const MAY_BE_SLOW: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";

const LEDGER: &str = "-- report_ledger
SELECT e.account_id, e.seq, e.at, e.event_at, e.kind, e.grant_id, e.wallet_id, e.debt_id, e.hold_id, e.feature, e.amount,
    e.command, e.used_feature, e.quantity, e.shortfall, e.source, e.hash,
    (SELECT c.customer_id FROM customers c WHERE c.account_id = e.account_id) AS customer_id
FROM entries e
WHERE ($1::timestamptz IS NULL OR e.at >= $1) AND ($2::timestamptz IS NULL OR e.at < $2)
ORDER BY e.account_id, e.seq";

/// What remains and is held is summed from the entries before the cut, so that a closed period reads the same for ever.
const GRANTS: &str = "-- report_grants
SELECT g.account_id, g.grant_id, g.wallet_id, g.feature, g.entity, g.plan_id, g.plan_version, g.category, g.priority,
    g.unlimited, g.starts_at, g.expires_at, g.created_at, g.original, coalesce(s.remaining, 0) AS remaining,
    coalesce(s.held, 0) AS held, g.currency, g.amount_paid_minor, g.tax_minor, g.discount_minor, g.basis_minor,
    g.revenue_policy, g.payment_id, g.item_key, p.stripe_session, p.stripe_payment_intent, p.stripe_charge,
    p.stripe_invoice, p.stripe_balance_transaction, g.stripe_price, g.stripe_line, g.attachment_id, g.item,
    g.period_start, g.rolled_from, g.contract_ref, c.customer_id, g.reason
FROM grants g
LEFT JOIN (
    SELECT e.account_id, e.grant_id,
        sum(CASE WHEN e.kind IN ('hold', 'release', 'debt') THEN 0 ELSE e.amount END) AS remaining,
        sum(CASE WHEN e.kind IN ('hold', 'release') THEN e.amount ELSE 0 END) AS held
    FROM entries e WHERE e.grant_id IS NOT NULL AND ($2::timestamptz IS NULL OR e.at < $2)
    GROUP BY e.account_id, e.grant_id
) s ON s.account_id = g.account_id AND s.grant_id = g.grant_id
LEFT JOIN payments p ON p.account_id = g.account_id AND p.payment_id = g.payment_id
LEFT JOIN customers c ON c.account_id = g.account_id
WHERE ($1::timestamptz IS NULL OR g.created_at >= $1) AND ($2::timestamptz IS NULL OR g.created_at < $2)
ORDER BY g.account_id, g.grant_id";

const CUSTOMERS: &str = "-- report_customers
SELECT account_id, customer_id FROM customers ORDER BY account_id";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [LEDGER, GRANTS, CUSTOMERS];

/// The half-open time `[from, to)`; an absent end is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReportPeriod {
    /// Inclusive.
    pub from: Option<Timestamp>,
    /// Exclusive, and the cut at which balances are told.
    pub to: Option<Timestamp>,
}

/// One ledger line as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerLine {
    /// Whose.
    pub account: AccountId,
    /// The line.
    pub entry: Entry,
    /// Its hash.
    pub hash: [u8; 32],
    /// The app's id of the customer; `None` once erased.
    pub customer: Option<String>,
}

/// One grant with the facts finance reads; balances are those of the cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    /// Whose.
    pub account: AccountId,
    /// Our id.
    pub grant: GrantId,
    /// The wallet it lies in.
    pub wallet: WalletId,
    /// Which feature's credits.
    pub feature: String,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// The plan it comes from.
    pub plan: Option<String>,
    /// That plan's version.
    pub plan_version: Option<i32>,
    /// Why it was given, as a word.
    pub category: String,
    /// Burn priority.
    pub priority: i32,
    /// Absorbs all usage?
    pub unlimited: bool,
    /// Spendable from then.
    pub starts_at: Timestamp,
    /// Spendable until then.
    pub expires_at: Option<Timestamp>,
    /// Posted at.
    pub created_at: Timestamp,
    /// Credits given.
    pub original: Credits,
    /// Credits left at the cut, held ones included.
    pub remaining: Credits,
    /// Credits set aside at the cut.
    pub held: Credits,
    /// Currency of the money.
    pub currency: Option<String>,
    /// Paid, tax included, minor units.
    pub amount_paid_minor: Option<i64>,
    /// Tax within it, minor units.
    pub tax_minor: Option<i64>,
    /// Discount on it, minor units.
    pub discount_minor: Option<i64>,
    /// Deferred at the start, minor units.
    pub basis_minor: Option<i64>,
    /// How the fee is recognised.
    pub revenue_policy: Option<String>,
    /// The payment.
    pub payment: Option<PaymentId>,
    /// What of the payment it is.
    pub item_key: Option<String>,
    /// Checkout session.
    pub stripe_session: Option<String>,
    /// Payment intent.
    pub stripe_payment_intent: Option<String>,
    /// Charge.
    pub stripe_charge: Option<String>,
    /// Invoice.
    pub stripe_invoice: Option<String>,
    /// Balance transaction.
    pub stripe_balance_transaction: Option<String>,
    /// Price of the line.
    pub stripe_price: Option<String>,
    /// The line.
    pub stripe_line: Option<String>,
    /// The attachment whose period it is.
    pub attachment: Option<AttachmentId>,
    /// The plan's item.
    pub item: Option<String>,
    /// Start of the period.
    pub period_start: Option<Timestamp>,
    /// The grant whose rest it carries.
    pub rolled_from: Option<GrantId>,
    /// Contract of a committed grant.
    pub contract: Option<String>,
    /// The app's id of the customer; `None` once erased.
    pub customer: Option<String>,
    /// Why, in words; erasable.
    pub reason: Option<String>,
}

#[derive(sqlx::FromRow)]
pub(super) struct LedgerRow {
    pub(super) account_id: Uuid,
    pub(super) seq: i64,
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
    customer_id: Option<String>,
}

impl LedgerRow {
    pub(super) fn into_line(self) -> Result<LedgerLine, StoreError> {
        let row = format!("{}/{}", self.account_id, self.seq);
        let used = self.used_feature.as_deref().map(|used| word(FeatureId::new(used), "entries", "used_feature", &row));
        let hash: Option<[u8; 32]> = self.hash.try_into().ok();
        let entry = Entry {
            seq: self.seq,
            at: self.at.to_jiff(),
            event_at: self.event_at.map(jiff_sqlx::Timestamp::to_jiff),
            kind: word(EntryKind::from_word(&self.kind), "entries", "kind", &row)?,
            grant: self.grant_id.map(GrantId::from_uuid),
            wallet: self.wallet_id.map(WalletId::from_uuid),
            debt: self.debt_id.map(DebtId::from_uuid),
            hold: self.hold_id.map(HoldId::from_uuid),
            feature: word(FeatureId::new(&self.feature), "entries", "feature", &row)?,
            amount: credits(self.amount, "entries", "amount")?,
            command: self.command,
            used_feature: used.transpose()?,
            quantity: self.quantity.map(|units| quantity(units, "entries", "quantity")).transpose()?,
            shortfall: self.shortfall.map(|short| credits(short, "entries", "shortfall")).transpose()?,
            source: word(Source::from_word(&self.source), "entries", "source", &row)?,
        };
        Ok(LedgerLine {
            account: AccountId::from_uuid(self.account_id),
            entry,
            hash: word(hash, "entries", "hash", &row)?,
            customer: self.customer_id,
        })
    }
}

#[derive(sqlx::FromRow)]
struct LotRow {
    account_id: Uuid,
    grant_id: Uuid,
    wallet_id: Uuid,
    feature: String,
    entity: String,
    plan_id: Option<String>,
    plan_version: Option<i32>,
    category: String,
    priority: i32,
    unlimited: bool,
    starts_at: jiff_sqlx::Timestamp,
    expires_at: Option<jiff_sqlx::Timestamp>,
    created_at: jiff_sqlx::Timestamp,
    original: Decimal,
    remaining: Decimal,
    held: Decimal,
    currency: Option<String>,
    amount_paid_minor: Option<i64>,
    tax_minor: Option<i64>,
    discount_minor: Option<i64>,
    basis_minor: Option<i64>,
    revenue_policy: Option<String>,
    payment_id: Option<Uuid>,
    item_key: Option<String>,
    stripe_session: Option<String>,
    stripe_payment_intent: Option<String>,
    stripe_charge: Option<String>,
    stripe_invoice: Option<String>,
    stripe_balance_transaction: Option<String>,
    stripe_price: Option<String>,
    stripe_line: Option<String>,
    attachment_id: Option<Uuid>,
    item: Option<String>,
    period_start: Option<jiff_sqlx::Timestamp>,
    rolled_from: Option<Uuid>,
    contract_ref: Option<String>,
    customer_id: Option<String>,
    reason: Option<String>,
}

impl LotRow {
    fn into_lot(self) -> Result<Lot, StoreError> {
        Ok(Lot {
            account: AccountId::from_uuid(self.account_id),
            grant: GrantId::from_uuid(self.grant_id),
            wallet: WalletId::from_uuid(self.wallet_id),
            feature: self.feature,
            entity: self.entity,
            plan: self.plan_id,
            plan_version: self.plan_version,
            category: self.category,
            priority: self.priority,
            unlimited: self.unlimited,
            starts_at: self.starts_at.to_jiff(),
            expires_at: self.expires_at.map(jiff_sqlx::Timestamp::to_jiff),
            created_at: self.created_at.to_jiff(),
            original: credits(self.original, "grants", "original")?,
            remaining: credits(self.remaining, "entries", "amount")?,
            held: credits(self.held, "entries", "amount")?,
            currency: self.currency,
            amount_paid_minor: self.amount_paid_minor,
            tax_minor: self.tax_minor,
            discount_minor: self.discount_minor,
            basis_minor: self.basis_minor,
            revenue_policy: self.revenue_policy,
            payment: self.payment_id.map(PaymentId::from_uuid),
            item_key: self.item_key,
            stripe_session: self.stripe_session,
            stripe_payment_intent: self.stripe_payment_intent,
            stripe_charge: self.stripe_charge,
            stripe_invoice: self.stripe_invoice,
            stripe_balance_transaction: self.stripe_balance_transaction,
            stripe_price: self.stripe_price,
            stripe_line: self.stripe_line,
            attachment: self.attachment_id.map(AttachmentId::from_uuid),
            item: self.item,
            period_start: self.period_start.map(jiff_sqlx::Timestamp::to_jiff),
            rolled_from: self.rolled_from.map(GrantId::from_uuid),
            contract: self.contract_ref,
            customer: self.customer_id,
            reason: self.reason,
        })
    }
}

/// One transaction that sees the database as it was at its first read.
#[derive(Debug)]
pub struct Snapshot {
    // Its transaction is ended by [`Snapshot::close`], else by the pool when the connection comes back.
    connection: sqlx::pool::PoolConnection<sqlx::Postgres>,
}

impl Store {
    /// Opens a snapshot for the reads of one report.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut connection = self.lane_connection().await?;
        connection.execute(BEGIN).await?;
        connection.execute(MAY_BE_SLOW).await?;
        connection.execute(sqlx::raw_sql(super::FREE_PLANNER)).await?;
        Ok(Snapshot { connection })
    }
}

impl Snapshot {
    /// The connection, for this room's other reads.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// Ledger lines whose ledger time lies in the period, by account and number.
    pub fn ledger(&mut self, period: ReportPeriod) -> impl Stream<Item = Result<LedgerLine, StoreError>> + '_ {
        let rows = sqlx::query_as::<_, LedgerRow>(LEDGER).bind(period.from.map(time)).bind(period.to.map(time));
        rows.fetch(&mut *self.connection).map(|row| row.map_err(StoreError::from).and_then(LedgerRow::into_line))
    }

    /// Grants posted in the period, by account and grant, with their balances at its end.
    pub fn grants(&mut self, period: ReportPeriod) -> impl Stream<Item = Result<Lot, StoreError>> + '_ {
        let rows = sqlx::query_as::<_, LotRow>(GRANTS).bind(period.from.map(time)).bind(period.to.map(time));
        rows.fetch(&mut *self.connection).map(|row| row.map_err(StoreError::from).and_then(LotRow::into_lot))
    }

    /// Every account with the app's id of its customer, erased ones left out, by account.
    pub fn customers(&mut self) -> impl Stream<Item = Result<(AccountId, String), StoreError>> + '_ {
        let rows = sqlx::query_as::<_, (Uuid, String)>(CUSTOMERS).fetch(&mut *self.connection);
        rows.map(|row| row.map(|(account, customer)| (AccountId::from_uuid(account), customer)).map_err(Into::into))
    }

    /// Ends the snapshot.
    pub async fn close(mut self) -> Result<(), StoreError> {
        self.connection.execute("ROLLBACK").await?;
        Ok(())
    }
}
