//! Debts, as posting and reports read and write them: what grants repaid of them, new ones, and what their credits cost.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::rows::{credits, numeric, time, word};
use crate::domain::account::{AccountState, Changes};
use crate::domain::catalog::{FeatureId, UnitPrice};
use crate::domain::credits::Credits;
use crate::domain::grant::{Debt, DebtCause};
use crate::domain::ids::{AccountId, DebtId, GrantId, PaymentId, WalletId};
use crate::domain::money::Currency;

const READ_REPAYMENTS: &str = "-- read_repayments
SELECT account_id, debt_id, grant_id, -sum(amount) AS gave, max(seq) AS last
FROM entries WHERE account_id = ANY($1) AND debt_id = ANY($2) AND kind = 'repay' AND grant_id IS NOT NULL
GROUP BY account_id, debt_id, grant_id HAVING sum(amount) < 0 ORDER BY last";

/// Priced debts that owe nothing any more: what was billed of them stays paid when usage is returned.
const READ_CLOSED: &str = "-- read_closed_debts
SELECT account_id, debt_id, wallet_id, feature, currency, trim_scale(unit_price_minor)::text
FROM debts WHERE account_id = ANY($1) AND debt_id = ANY($2) AND outstanding = 0 AND unit_price_minor IS NOT NULL";

const INSERT_DEBTS: &str = "-- insert_debts
INSERT INTO debts (account_id, debt_id, wallet_id, feature, cause, payment_id, original, outstanding, created_at,
    unit_price_minor, currency, billed)
SELECT account_id, debt_id, wallet_id, feature, CASE WHEN payment_id IS NULL THEN 'usage' ELSE 'claw_back' END, payment_id,
    outstanding, outstanding, $7, price * minor_per_major, currency, billed
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::numeric[], $8::numeric[], $9::text[],
    $10::numeric[], $11::numeric[])
    AS n (account_id, debt_id, wallet_id, feature, payment_id, outstanding, price, currency, minor_per_major, billed)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [READ_REPAYMENTS, READ_CLOSED, INSERT_DEBTS];

type States = BTreeMap<AccountId, AccountState>;

/// Reads what grants repaid of debts and did not get again, by their last line. Answers the grants.
pub(super) async fn read_repayments(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    debts: &[Uuid],
) -> Result<Vec<GrantId>, StoreError> {
    if debts.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(Uuid, Uuid, Uuid, Decimal, i64)> =
        sqlx::query_as(READ_REPAYMENTS).bind(accounts).bind(debts).fetch_all(connection).await?;
    let mut payers = Vec::with_capacity(rows.len());
    for (account, debt, grant, gave, _) in rows {
        payers.push(GrantId::from_uuid(grant));
        let gave = credits(gave, "entries", "amount")?;
        let Some(state) = states.get_mut(&AccountId::from_uuid(account)) else { continue };
        state.repaid.entry(DebtId::from_uuid(debt)).or_default().push((GrantId::from_uuid(grant), gave));
    }
    Ok(payers)
}

/// Account, debt, wallet, feature, and the price of a debt that is closed.
type ClosedColumns = (Uuid, Uuid, Uuid, String, Option<String>, Option<String>);

/// Reads priced debts by id that owe nothing any more.
pub(super) async fn read_closed(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    debts: &[Uuid],
) -> Result<(), StoreError> {
    if debts.is_empty() {
        return Ok(());
    }
    let rows: Vec<ClosedColumns> = sqlx::query_as(READ_CLOSED).bind(accounts).bind(debts).fetch_all(connection).await?;
    for (account, debt, wallet, feature, currency, price) in rows {
        let id = DebtId::from_uuid(debt);
        let closed = Debt {
            id,
            wallet: WalletId::from_uuid(wallet),
            feature: word(FeatureId::new(&feature), "debts", "feature", &id.to_string())?,
            outstanding: Credits::ZERO,
            billed: Credits::ZERO,
            cause: cause("usage", price, currency)?,
        };
        let Some(state) = states.get_mut(&AccountId::from_uuid(account)) else { continue };
        if !state.debts.iter().any(|known| known.id == id) {
            state.debts.push(closed);
        }
    }
    Ok(())
}

/// Writes new debts: before the lines that name them are read by anyone, and before what else changes in debts.
pub(super) async fn insert_debts(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
    now: jiff::Timestamp,
) -> Result<(), StoreError> {
    let made: Vec<(Uuid, &Debt, Option<PaymentId>, &Debt)> = changes
        .iter()
        .flat_map(|(account, changes)| changes.debts.iter().map(move |(debt, payment)| (account, debt, *payment)))
        .filter_map(|(account, debt, payment)| {
            let now = states.get(account)?.debts.iter().find(|known| known.id == debt.id)?;
            Some((account.as_uuid(), debt, payment, now))
        })
        .collect();
    if made.is_empty() {
        return Ok(());
    }
    let prices = made.iter().map(|(_, debt, ..)| price_columns(debt)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(INSERT_DEBTS)
        .bind(made.iter().map(|(account, ..)| *account).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, debt, ..)| debt.id.as_uuid()).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, debt, ..)| debt.wallet.as_uuid()).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, debt, ..)| debt.feature.as_str()).collect::<Vec<_>>())
        .bind(made.iter().map(|(_, _, payment, _)| payment.map(PaymentId::as_uuid)).collect::<Vec<_>>())
        .bind(made.iter().map(|(.., now)| numeric(now.outstanding)).collect::<Vec<_>>())
        .bind(time(now))
        .bind(prices.iter().map(|price| price.as_ref().map(|(amount, ..)| *amount)).collect::<Vec<_>>())
        .bind(prices.iter().map(|price| price.as_ref().map(|(_, currency, _)| currency.as_str())).collect::<Vec<_>>())
        .bind(prices.iter().map(|price| price.as_ref().map(|(.., factor)| *factor)).collect::<Vec<_>>())
        .bind(made.iter().map(|(.., now)| numeric(now.billed)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// The price of a debt's credits: major units, currency, and minor units in one of those.
type PriceColumns = Option<(Decimal, String, Decimal)>;

/// What the row of a debt says of its price.
fn price_columns(debt: &Debt) -> Result<PriceColumns, StoreError> {
    let DebtCause::Usage { price: Some(price) } = &debt.cause else { return Ok(None) };
    let amount = Decimal::from_str_exact(&price.amount).ok();
    let amount = word(amount, "debts", "unit_price_minor", &price.amount)?;
    Ok(Some((amount, price.currency.clone(), minor_per_major(&price.currency)?)))
}

/// How a debt came to be, of its row.
pub(super) fn cause(cause: &str, price: Option<String>, currency: Option<String>) -> Result<DebtCause, StoreError> {
    let price = price.zip(currency).map(|(minor, currency)| unit_price(&minor, currency)).transpose()?;
    let known = match cause {
        "usage" => Some(DebtCause::Usage { price }),
        "claw_back" => Some(DebtCause::ClawBack),
        _ => None,
    };
    word(known, "debts", "cause", cause)
}

/// The price of a debt's credits, as the catalogue writes it.
fn unit_price(minor: &str, currency: String) -> Result<UnitPrice, StoreError> {
    let read = Decimal::from_str_exact(minor).ok();
    let major = word(read, "debts", "unit_price_minor", minor)?.checked_div(minor_per_major(&currency)?);
    let major = word(major, "debts", "unit_price_minor", minor)?;
    Ok(UnitPrice { amount: major.normalize().to_string(), currency })
}

fn minor_per_major(currency: &str) -> Result<Decimal, StoreError> {
    let exponent = currency.parse::<Currency>().ok().map(Currency::exponent);
    let exponent = word(exponent, "debts", "currency", currency)?;
    Ok(Decimal::from(10_u64.saturating_pow(exponent)))
}
