//! Bills of overage: read and written by posting, listed for people, and found by the worker that has some to make.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::charge_work::{self, WorkKey, WorkKind};
use super::rows::{credits, time, word};
use super::{Store, StoreError};
use crate::domain::account::{AccountState, Changes};
use crate::domain::catalog::{FeatureId, UnitPrice};
use crate::domain::credits::Credits;
use crate::domain::ids::{AccountId, BillId, DebtId, PaymentId};
use crate::domain::money::Currency;
use crate::domain::overage_bill::{Bill, BillInvoice, BillLine, BillOrder, BillState};

/// A bill with its lines.
macro_rules! bills {
    () => {
        "SELECT b.account_id, b.bill_id, b.currency, b.period_end, b.stripe_customer, b.draft_invoice, b.is_own, b.state,
    b.stripe_invoice, b.invoice_url, b.payment_id, b.reason, b.created_at, b.ended_at,
    (SELECT jsonb_agg(jsonb_build_object('debt_id', l.debt_id, 'feature', l.feature, 'credits', l.credits::text,
            'unit_price', l.unit_price, 'amount_minor', l.amount_minor, 'is_released', l.is_released) ORDER BY l.line)
        FROM overage_bill_lines l WHERE l.account_id = b.account_id AND l.bill_id = b.bill_id) AS lines
FROM overage_bills b "
    };
}

/// Bills that a batch names: by id, by the draft they are for, by the period of one with an invoice of its own.
const READ: &str = concat!(
    "-- read_bills\n",
    bills!(),
    "WHERE b.account_id = ANY($1) AND (b.bill_id = ANY($2) OR b.draft_invoice = ANY($3)
    OR (b.draft_invoice IS NULL AND b.period_end = ANY($4)))"
);
/// What debts owe of usage at or after a time. Returns take back the newest usage first, so what they take back beyond
/// what was owed since lowers nothing of what comes after them.
const READ_OWED_SINCE: &str = "-- read_owed_since
SELECT account_id, debt_id, sum(amount) - least(0, min(running)) AS owed
FROM (
    SELECT e.account_id, e.debt_id, e.amount,
        sum(e.amount) OVER (PARTITION BY e.account_id, e.debt_id ORDER BY e.seq) AS running
    FROM entries e WHERE e.account_id = ANY($1) AND e.debt_id = ANY($2) AND e.kind = 'debt'
        AND coalesce(e.event_at, e.at) >= $3
) AS since
GROUP BY account_id, debt_id";
const UPSERT: &str = "-- upsert_bills
INSERT INTO overage_bills (account_id, bill_id, currency, period_end, stripe_customer, draft_invoice, is_own, state,
    stripe_invoice, invoice_url, payment_id, reason, created_at, ended_at)
SELECT account_id, bill_id, currency, period_end, stripe_customer, draft_invoice, is_own, state, stripe_invoice, invoice_url,
    payment_id, reason, $2, ended_at
FROM jsonb_to_recordset($1) AS n (account_id uuid, bill_id uuid, currency text, period_end timestamptz,
    stripe_customer text, draft_invoice text, is_own boolean, state text, stripe_invoice text, invoice_url text,
    payment_id uuid, reason text, ended_at timestamptz)
ON CONFLICT ON CONSTRAINT overage_bills_pkey DO UPDATE SET is_own = excluded.is_own, state = excluded.state,
    stripe_invoice = excluded.stripe_invoice, invoice_url = excluded.invoice_url, payment_id = excluded.payment_id,
    reason = excluded.reason, ended_at = excluded.ended_at";
const UPSERT_LINES: &str = "-- upsert_bill_lines
INSERT INTO overage_bill_lines (account_id, bill_id, line, debt_id, feature, credits, unit_price, amount_minor, is_released)
SELECT * FROM jsonb_to_recordset($1) AS n (account_id uuid, bill_id uuid, line integer, debt_id uuid, feature text,
    credits numeric, unit_price text, amount_minor bigint, is_released boolean)
ON CONFLICT ON CONSTRAINT overage_bill_lines_pkey DO UPDATE SET is_released = excluded.is_released";
const LIST: &str =
    concat!("-- list_bills\n", bills!(), "WHERE b.account_id = $1 AND b.bill_id < $2 ORDER BY b.bill_id DESC LIMIT $3");
const ONE: &str = concat!("-- read_bill\n", bills!(), "WHERE b.account_id = $1 AND b.bill_id = $2");
/// Customers to be billed for the months before this one by an invoice of their own: no invoice of a subscription in that
/// currency comes within a month that their overage could go on. What comes to no minor unit waits.
const DUE_OWN: &str = "-- due_own_bills
SELECT DISTINCT d.account_id, d.currency, m.period_end
FROM (
    SELECT n.now, date_trunc('month', n.now, 'UTC') AS period_end
    FROM instance i CROSS JOIN LATERAL (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) AS now) AS n
) AS m CROSS JOIN debts d
WHERE d.unit_price_minor IS NOT NULL AND d.outstanding > d.billed AND (d.account_id, d.currency) > ($1, $2)
    AND EXISTS (SELECT FROM stripe_customer_ids s WHERE s.account_id = d.account_id)
    AND NOT EXISTS (SELECT FROM overage_bills b WHERE b.account_id = d.account_id AND b.currency = d.currency
        AND b.period_end = m.period_end AND b.draft_invoice IS NULL)
    AND NOT EXISTS (SELECT FROM attachments a
        LEFT JOIN payments p ON p.account_id = a.account_id AND p.payment_id = a.paid_by
        WHERE a.account_id = d.account_id AND a.stripe_subscription IS NOT NULL AND a.ended_at IS NULL
            AND a.state IN ('active', 'trialing', 'past_due') AND coalesce(p.currency = d.currency, true)
            AND coalesce(a.paid_through, a.started_at) BETWEEN m.now - interval '3 days' AND m.now + interval '32 days'
            AND coalesce(a.cancel_at > a.paid_through, true))
    AND 0.5 < d.unit_price_minor * (d.outstanding - d.billed - (
        SELECT coalesce(sum(s.amount), 0) - least(0, min(s.running)) FROM (
            SELECT e.amount, sum(e.amount) OVER (ORDER BY e.seq) AS running FROM entries e
            WHERE e.account_id = d.account_id AND e.debt_id = d.debt_id AND e.kind = 'debt'
                AND coalesce(e.event_at, e.at) >= m.period_end) AS s))
ORDER BY d.account_id, d.currency LIMIT $3";
const COUNT_DUE: &str = "-- count_due_bills
SELECT count(*) FROM charge_work w CROSS JOIN instance i
WHERE w.bucket BETWEEN 0 AND 15 AND w.kind = 'bill' AND w.due_at <= clock_timestamp() + make_interval(secs => i.test_offset_seconds)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 8] = [READ, READ_OWED_SINCE, UPSERT, UPSERT_LINES, LIST, ONE, DUE_OWN, COUNT_DUE];

type States = BTreeMap<AccountId, AccountState>;

/// Bills that the commands of a batch name.
#[derive(Clone, Debug, Default)]
pub struct AskedBills {
    bills: Vec<BillId>,
    drafts: Vec<String>,
    period_ends: Vec<Timestamp>,
}

impl AskedBills {
    /// Adds what a command names.
    pub fn add(&mut self, order: &BillOrder) {
        self.bills.extend(order.bill());
        if let BillOrder::Make(make) = order {
            self.drafts.extend(make.draft_invoice.clone());
            self.period_ends.push(make.period_end);
        }
    }

    const fn is_empty(&self) -> bool {
        self.bills.is_empty() && self.period_ends.is_empty()
    }
}

/// A bill as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBill {
    /// The bill.
    pub bill: Bill,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A customer to be billed by an invoice of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueOwnBill {
    /// Who.
    pub account: AccountId,
    /// In which currency.
    pub currency: Currency,
    /// For usage before then.
    pub period_end: Timestamp,
}

#[derive(Deserialize)]
struct LineRow {
    debt_id: Uuid,
    feature: String,
    credits: Credits,
    unit_price: String,
    amount_minor: i64,
    is_released: bool,
}

#[derive(sqlx::FromRow)]
struct BillRow {
    account_id: Uuid,
    bill_id: Uuid,
    currency: String,
    period_end: jiff_sqlx::Timestamp,
    stripe_customer: String,
    draft_invoice: Option<String>,
    is_own: bool,
    state: String,
    stripe_invoice: Option<String>,
    invoice_url: Option<String>,
    payment_id: Option<Uuid>,
    reason: Option<String>,
    created_at: jiff_sqlx::Timestamp,
    ended_at: Option<jiff_sqlx::Timestamp>,
    lines: Option<Json<Vec<LineRow>>>,
}

impl BillRow {
    fn bill(self) -> Result<Bill, StoreError> {
        let id = BillId::from_uuid(self.bill_id);
        let row = id.to_string();
        let ended_at = self.ended_at.map(jiff_sqlx::Timestamp::to_jiff);
        let payment = self.payment_id.map(PaymentId::from_uuid);
        let state = match (self.state.as_str(), ended_at, payment) {
            ("open", None, None) => Some(BillState::Open),
            ("invoiced", None, None) => Some(BillState::Invoiced),
            ("paid", Some(at), Some(payment)) => Some(BillState::Paid { at, payment }),
            ("void", Some(at), None) => Some(BillState::Void { at }),
            _ => None,
        };
        let lines = self.lines.map(|json| json.0).unwrap_or_default().into_iter();
        let line = |line: LineRow| {
            Ok(BillLine {
                debt: DebtId::from_uuid(line.debt_id),
                feature: word(FeatureId::new(&line.feature), "overage_bill_lines", "feature", &row)?,
                credits: line.credits,
                price: UnitPrice { amount: line.unit_price, currency: self.currency.clone() },
                amount_minor: line.amount_minor,
                is_released: line.is_released,
            })
        };
        Ok(Bill {
            id,
            currency: word(self.currency.parse().ok(), "overage_bills", "currency", &row)?,
            period_end: self.period_end.to_jiff(),
            stripe_customer: self.stripe_customer,
            draft_invoice: self.draft_invoice,
            is_own: self.is_own,
            state: word(state, "overage_bills", "state", &row)?,
            invoice: self.stripe_invoice.map(|id| BillInvoice { id, url: self.invoice_url }),
            reason: self.reason,
            lines: lines.map(line).collect::<Result<_, StoreError>>()?,
        })
    }
}

/// Reads the bills a batch names, and what debts owe of usage after the periods it bills.
pub(super) async fn read(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    asked: &AskedBills,
) -> Result<(), StoreError> {
    if asked.is_empty() {
        return Ok(());
    }
    let rows: Vec<BillRow> = sqlx::query_as(READ)
        .bind(accounts)
        .bind(asked.bills.iter().map(|bill| bill.as_uuid()).collect::<Vec<_>>())
        .bind(&asked.drafts)
        .bind(asked.period_ends.iter().map(|end| time(*end)).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    for row in rows {
        let account = AccountId::from_uuid(row.account_id);
        let bill = row.bill()?;
        if let Some(state) = states.get_mut(&account) {
            state.bills.push(bill);
        }
    }
    let priced = states.values().flat_map(|state| state.debts.iter().filter(|debt| debt.invoiced()));
    let debts: Vec<Uuid> = priced.map(|debt| debt.id.as_uuid()).collect();
    for end in &asked.period_ends {
        for account in accounts {
            if let Some(state) = states.get_mut(&AccountId::from_uuid(*account)) {
                state.owed_since.entry(*end).or_default();
            }
        }
        let rows: Vec<(Uuid, Uuid, Decimal)> = sqlx::query_as(READ_OWED_SINCE)
            .bind(accounts)
            .bind(&debts)
            .bind(time(*end))
            .fetch_all(&mut *connection)
            .await?;
        for (account, debt, owed) in rows {
            let owed = credits(owed, "entries", "amount")?;
            if let Some(state) = states.get_mut(&AccountId::from_uuid(account)) {
                state.owed_since.entry(*end).or_default().insert(DebtId::from_uuid(debt), owed);
            }
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct BillJson<'a> {
    account_id: Uuid,
    bill_id: Uuid,
    currency: &'a str,
    period_end: Timestamp,
    stripe_customer: &'a str,
    draft_invoice: Option<&'a str>,
    is_own: bool,
    state: &'static str,
    stripe_invoice: Option<&'a str>,
    invoice_url: Option<&'a str>,
    payment_id: Option<Uuid>,
    reason: Option<&'a str>,
    ended_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct LineJson<'a> {
    account_id: Uuid,
    bill_id: Uuid,
    line: usize,
    debt_id: Uuid,
    feature: &'a str,
    credits: Credits,
    unit_price: &'a str,
    amount_minor: i64,
    is_released: bool,
}

fn bill_json(account: AccountId, bill: &Bill) -> BillJson<'_> {
    BillJson {
        account_id: account.as_uuid(),
        bill_id: bill.id.as_uuid(),
        currency: bill.currency.code(),
        period_end: bill.period_end,
        stripe_customer: &bill.stripe_customer,
        draft_invoice: bill.draft_invoice.as_deref(),
        is_own: bill.is_own,
        state: bill.state.word(),
        stripe_invoice: bill.invoice.as_ref().map(|invoice| invoice.id.as_str()),
        invoice_url: bill.invoice.as_ref().and_then(|invoice| invoice.url.as_deref()),
        payment_id: match bill.state {
            BillState::Paid { payment, .. } => Some(payment.as_uuid()),
            BillState::Open | BillState::Invoiced | BillState::Void { .. } => None,
        },
        reason: bill.reason.as_deref(),
        ended_at: bill.state.ended_at(),
    }
}

/// Writes bills that are new or changed. An open one is work for whoever talks to Stripe.
pub(super) async fn write(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut bills: Vec<(AccountId, &Bill)> = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        let changed = state.bills.iter().filter(|bill| changes.bills.contains(&bill.id));
        bills.extend(changed.map(|bill| (*account, bill)));
    }
    if bills.is_empty() {
        return Ok(());
    }
    let rows: Vec<BillJson<'_>> = bills.iter().map(|(account, bill)| bill_json(*account, bill)).collect();
    sqlx::query(UPSERT).bind(Json(&rows)).bind(time(now)).execute(&mut *connection).await?;
    let mut lines: Vec<LineJson<'_>> = Vec::new();
    for (account, bill) in &bills {
        let of_bill = bill.lines.iter().enumerate().map(|(number, line)| LineJson {
            account_id: account.as_uuid(),
            bill_id: bill.id.as_uuid(),
            line: number,
            debt_id: line.debt.as_uuid(),
            feature: line.feature.as_str(),
            credits: line.credits,
            unit_price: &line.price.amount,
            amount_minor: line.amount_minor,
            is_released: line.is_released,
        });
        lines.extend(of_bill);
    }
    sqlx::query(UPSERT_LINES).bind(Json(&lines)).execute(&mut *connection).await?;
    let key = |(account, bill): &(AccountId, &Bill)| WorkKey {
        account: *account,
        kind: WorkKind::Bill,
        owner: bill.id.as_uuid(),
    };
    let (open, over): (Vec<_>, Vec<_>) = bills.iter().partition(|(_, bill)| bill.state == BillState::Open);
    let open: Vec<(WorkKey, Timestamp)> = open.into_iter().map(|bill| (key(bill), now)).collect();
    charge_work::upsert(connection, &open).await?;
    charge_work::delete(connection, &over.into_iter().map(key).collect::<Vec<_>>()).await
}

impl Store {
    /// Bills of a customer, newest first.
    pub async fn overage_bills(
        &self,
        account: AccountId,
        after: Option<BillId>,
        most: i64,
    ) -> Result<Vec<ListedBill>, StoreError> {
        let after = after.map_or(Uuid::max(), BillId::as_uuid);
        let rows: Vec<BillRow> =
            sqlx::query_as(LIST).bind(account.as_uuid()).bind(after).bind(most).fetch_all(self.pool()).await?;
        let listed = |row: BillRow| {
            let created_at = row.created_at.to_jiff();
            Ok(ListedBill { bill: row.bill()?, created_at })
        };
        rows.into_iter().map(listed).collect()
    }

    /// A bill as it stands.
    pub async fn overage_bill(&self, account: AccountId, bill: BillId) -> Result<Option<Bill>, StoreError> {
        let row: Option<BillRow> =
            sqlx::query_as(ONE).bind(account.as_uuid()).bind(bill.as_uuid()).fetch_optional(self.pool()).await?;
        row.map(BillRow::bill).transpose()
    }

    /// How many bills are on their way to Stripe, and due.
    pub async fn count_due_bills(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar(COUNT_DUE).fetch_one(self.pool()).await?)
    }

    /// Customers to be billed by an invoice of their own, by account and currency, after one of them.
    pub async fn due_own_bills(&self, after: Option<&DueOwnBill>, most: i64) -> Result<Vec<DueOwnBill>, StoreError> {
        let account = after.map_or(Uuid::nil(), |last| last.account.as_uuid());
        let currency = after.map(|last| last.currency.code().to_owned()).unwrap_or_default();
        let rows: Vec<(Uuid, String, jiff_sqlx::Timestamp)> =
            sqlx::query_as(DUE_OWN).bind(account).bind(currency).bind(most).fetch_all(self.pool()).await?;
        let due = |(account, currency, end): (Uuid, String, jiff_sqlx::Timestamp)| {
            let account = AccountId::from_uuid(account);
            let currency = word(currency.parse().ok(), "debts", "currency", &account.to_string())?;
            Ok(DueOwnBill { account, currency, period_end: end.to_jiff() })
        };
        rows.into_iter().map(due).collect()
    }
}
