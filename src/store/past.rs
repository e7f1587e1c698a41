//! What an account had at a past time, folded from its entries.
//!
//! A line counts from its ledger time on. One that time alone brought (a period's credits, an end) counts from when it
//! fell due, however late it was booked: until then every answer counted it all the same, and a line of a grant never
//! counts before the grant does. Of what is not in the ledger, only the closing of wallets has a time; freezing has
//! none, and the state that is there now is told.

use jiff::Timestamp;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use super::ledger_rows::{GrantRow, grant_columns};
use super::rows::{credits, time, word};
use super::{Store, StoreError, debt_rows};
use crate::domain::catalog::FeatureId;
use crate::domain::credits::Credits;
use crate::domain::grant::{Debt, Grant, WalletState};
use crate::domain::ids::{AccountId, DebtId, WalletId};

/// Lines that count at a time `$2`. What a grant repaid in the moment that time gave it has no due time of its own: it
/// counts with its grant, which is younger than `$2` in the ledger and began before.
macro_rules! lines_that_count {
    () => {
        "e.account_id = $1 AND (e.at <= $2 OR e.source = 'time' AND (e.event_at <= $2
            OR e.event_at IS NULL AND e.kind = 'repay' AND EXISTS (SELECT FROM grants n WHERE n.account_id = e.account_id
                AND n.grant_id = e.grant_id AND n.starts_at <= $2 AND n.created_at > $2)))"
    };
}

/// Grants without their own first line among those that count were not there yet.
const GRANTS_AT: &str = concat!(
    "-- grants_at\nSELECT ",
    grant_columns!(),
    ", w.closed_at <= $2 AS was_closed, s.remaining, s.held
FROM (
    SELECT e.grant_id, sum(e.amount) FILTER (WHERE e.kind NOT IN ('hold', 'release', 'debt')) AS remaining,
        coalesce(sum(e.amount) FILTER (WHERE e.kind IN ('hold', 'release')), 0) AS held
    FROM entries e WHERE e.grant_id IS NOT NULL AND ",
    lines_that_count!(),
    "
    GROUP BY e.grant_id HAVING bool_or(e.kind IN ('grant', 'rollover_in'))
) s
JOIN grants g ON g.account_id = $1 AND g.grant_id = s.grant_id
JOIN wallets w ON w.account_id = g.account_id AND w.wallet_id = g.wallet_id
WHERE g.unlimited OR s.remaining > 0"
);

const DEBTS_AT: &str = concat!(
    "-- debts_at
SELECT d.debt_id, d.wallet_id, d.feature, s.outstanding, d.cause, d.currency, trim_scale(d.unit_price_minor)::text
FROM (
    SELECT e.debt_id, sum(e.amount) AS outstanding FROM entries e WHERE e.debt_id IS NOT NULL AND ",
    lines_that_count!(),
    "
    GROUP BY e.debt_id
) s
JOIN debts d ON d.account_id = $1 AND d.debt_id = s.debt_id
WHERE s.outstanding > 0"
);

const POOLS_AT: &str = "-- pools_at
SELECT DISTINCT feature FROM wallets WHERE account_id = $1 AND created_at <= $2";

const HAS_DUE: &str = "-- has_due
SELECT coalesce(next_due_at <= $2, false) FROM accounts WHERE account_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [GRANTS_AT, DEBTS_AT, POOLS_AT, HAS_DUE];

/// What an account had at a time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Past {
    /// Grants that held something then. Their entries have told what had ended, so those with an amount carry no end;
    /// frozen or not is as it is now.
    pub grants: Vec<Grant>,
    /// Debts that were open then.
    pub debts: Vec<Debt>,
    /// Pools it had wallets of.
    pub pools: Vec<FeatureId>,
}

struct PastGrant(Grant);

impl<'row> FromRow<'row, PgRow> for PastGrant {
    fn from_row(row: &'row PgRow) -> Result<Self, sqlx::Error> {
        let (_, grant) = GrantRow::from_row(row)?.into_grant();
        let was_closed: Option<bool> = row.try_get("was_closed")?;
        let amount = |column: &'static str| -> Result<_, sqlx::Error> {
            let sum: Option<Decimal> = row.try_get(column)?;
            credits(sum.unwrap_or_default(), "entries", "amount").map_err(|error| sqlx::Error::Decode(error.into()))
        };
        let wallet_state = match grant.wallet_state {
            WalletState::Closed if was_closed != Some(true) => WalletState::Open,
            state @ (WalletState::Open | WalletState::Frozen | WalletState::Closed) => state,
        };
        let (mut expires_at, mut grace_ends_at) = (None, None);
        if grant.unlimited {
            (expires_at, grace_ends_at) = (grant.expires_at, grant.grace_ends_at);
        }
        let (remaining, held) = (amount("remaining")?, amount("held")?);
        Ok(Self(Grant { wallet_state, remaining, held, expires_at, grace_ends_at, ..grant }))
    }
}

impl Store {
    /// Did something fall due by a time that is not booked yet?
    pub async fn has_due(&self, account: AccountId, at: Timestamp) -> Result<bool, StoreError> {
        let due: Option<bool> =
            sqlx::query_scalar(HAS_DUE).bind(account.as_uuid()).bind(time(at)).fetch_optional(self.pool()).await?;
        Ok(due.unwrap_or(false))
    }

    /// What an account had at a time that is not to come. What fell due by then has to be booked.
    pub async fn past(&self, account: AccountId, at: Timestamp) -> Result<Past, StoreError> {
        type DebtRow = (Uuid, Uuid, String, Decimal, String, Option<String>, Option<String>);
        let mut snapshot = self.snapshot().await?;
        let connection = snapshot.connection();
        let grants: Vec<PastGrant> =
            sqlx::query_as(GRANTS_AT).bind(account.as_uuid()).bind(time(at)).fetch_all(&mut *connection).await?;
        let debts: Vec<DebtRow> =
            sqlx::query_as(DEBTS_AT).bind(account.as_uuid()).bind(time(at)).fetch_all(&mut *connection).await?;
        let pools: Vec<String> =
            sqlx::query_scalar(POOLS_AT).bind(account.as_uuid()).bind(time(at)).fetch_all(&mut *connection).await?;
        snapshot.close().await?;
        let row = account.to_string();
        let feature = |text: &str, table| word(FeatureId::new(text), table, "feature", &row);
        let debt = |(id, wallet, of, outstanding, cause, currency, price): DebtRow| {
            Ok(Debt {
                id: DebtId::from_uuid(id),
                wallet: WalletId::from_uuid(wallet),
                feature: feature(&of, "debts")?,
                outstanding: credits(outstanding, "entries", "amount")?,
                // What was billed then makes no difference to what could be spent.
                billed: Credits::ZERO,
                cause: debt_rows::cause(&cause, price, currency)?,
            })
        };
        Ok(Past {
            grants: grants.into_iter().map(|PastGrant(grant)| grant).collect(),
            debts: debts.into_iter().map(debt).collect::<Result<_, StoreError>>()?,
            pools: pools.iter().map(|text| feature(text, "wallets")).collect::<Result<_, StoreError>>()?,
        })
    }
}
