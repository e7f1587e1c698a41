//! Money going back, as posting reads and writes it. Only `posting` may call this file.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::ledger_rows::{GrantRow, SITUATION_COLUMN, grant_columns};
use super::rows::{credits, numeric, time, word};
use super::{StoreError, debt_rows};
use crate::domain::account::{AccountState, Changes};
use crate::domain::catalog::FeatureId;
use crate::domain::command::Basis;
use crate::domain::credits::Credits;
use crate::domain::grant::{Debt, DebtCause, Grant};
use crate::domain::ids::{AccountId, DebtId, GrantId, PaymentId, WalletId};
use crate::domain::money::Currency;
use crate::domain::reversal::{BackAccount, BackLot, BackView, PaymentBack};

const READ_PAYMENTS: &str = "-- read_payments
SELECT account_id, payment_id, basis, currency, amount_paid_minor
FROM payments WHERE account_id = ANY($1) AND payment_id = ANY($2)";
const READ_VIEWS: &str = "-- read_reversals
SELECT account_id, payment_id, document FROM reversals WHERE account_id = ANY($1) AND payment_id = ANY($2)";
/// Closed ones too: what was spent may come back.
const READ_LOTS: &str = concat!(
    "-- read_reversed_lots\nSELECT ",
    grant_columns!(),
    ", g.is_open, g.payment_id, g.amount_paid_minor, g.stripe_price, r.taken, r.owed, r.waived,
    (SELECT -sum(e.amount) FROM entries e WHERE e.account_id = g.account_id AND e.grant_id = g.grant_id
        AND e.kind IN ('expire', 'end', 'void', 'adjust', 'rollover_out'))
FROM grants g JOIN wallets w ON w.account_id = g.account_id AND w.wallet_id = g.wallet_id
LEFT JOIN reversed_grants r ON r.account_id = g.account_id AND r.grant_id = g.grant_id
WHERE g.account_id = ANY($1) AND g.payment_id = ANY($2)
ORDER BY g.starts_at, g.grant_id"
);
const READ_DEBTS: &str = "-- read_reversal_debts
SELECT account_id, payment_id, debt_id, wallet_id, feature, outstanding
FROM debts WHERE account_id = ANY($1) AND payment_id = ANY($2) AND cause = 'claw_back'";
const READ_PAYERS: &str = concat!(
    "-- read_paying_grants\nSELECT ",
    grant_columns!(),
    ", g.is_open
FROM grants g JOIN wallets w ON w.account_id = g.account_id AND w.wallet_id = g.wallet_id
WHERE g.account_id = ANY($1) AND g.grant_id = ANY($2)"
);

const UPSERT_VIEWS: &str = "-- upsert_reversals
INSERT INTO reversals (account_id, payment_id, object_id, seen_at, document)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::jsonb[])
ON CONFLICT ON CONSTRAINT reversals_pkey DO UPDATE SET seen_at = excluded.seen_at, document = excluded.document";
const UPSERT_REVERSED: &str = "-- upsert_reversed_grants
INSERT INTO reversed_grants (account_id, grant_id, payment_id, taken, owed, waived)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::numeric[], $5::numeric[], $6::numeric[])
ON CONFLICT ON CONSTRAINT reversed_grants_pkey DO UPDATE SET taken = excluded.taken, owed = excluded.owed,
    waived = excluded.waived";
const UPDATE_FROZEN: &str = "-- freeze_grants
UPDATE grants g SET frozen = n.frozen
FROM unnest($1::uuid[], $2::uuid[], $3::boolean[]) AS n (account_id, grant_id, frozen)
WHERE g.account_id = n.account_id AND g.grant_id = n.grant_id AND g.account_id = ANY($1)";
/// Grants that were closed when they were read; open ones are written with every batch.
const UPDATE_CLOSED: &str = "-- reopen_grants
UPDATE grants g SET remaining = n.remaining, held = n.held, is_open = g.unlimited OR n.remaining > 0,
    grace_ends_at = n.grace_ends_at
FROM unnest($1::uuid[], $2::uuid[], $3::numeric[], $4::numeric[], $5::timestamptz[])
    AS n (account_id, grant_id, remaining, held, grace_ends_at)
WHERE g.account_id = n.account_id AND g.grant_id = n.grant_id AND g.account_id = ANY($1)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 9] = [
    READ_PAYMENTS,
    READ_VIEWS,
    READ_LOTS,
    READ_DEBTS,
    READ_PAYERS,
    UPSERT_VIEWS,
    UPSERT_REVERSED,
    UPDATE_FROZEN,
    UPDATE_CLOSED,
];

type States = BTreeMap<AccountId, AccountState>;

/// Reads what payments are, and what went back of them. Grants, debts and repayments are read of those payments alone
/// of which something went back, or is about to (`asked`).
pub(super) async fn read(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    payments: &[PaymentId],
    asked: &[PaymentId],
) -> Result<(), StoreError> {
    let all: BTreeSet<Uuid> = payments.iter().chain(asked).map(|payment| payment.as_uuid()).collect();
    let all: Vec<Uuid> = all.into_iter().collect();
    read_payments(connection, states, accounts, &all).await?;
    let mut touched: BTreeSet<Uuid> = asked.iter().map(|payment| payment.as_uuid()).collect();
    let views: Vec<(Uuid, Uuid, Json<BackView>)> =
        sqlx::query_as(READ_VIEWS).bind(accounts).bind(&all).fetch_all(&mut *connection).await?;
    for (account, payment, Json(view)) in views {
        touched.insert(payment);
        if let Some(back) = back(states, account, payment) {
            back.views.insert(view.object.clone(), view);
        }
    }
    if touched.is_empty() {
        return Ok(());
    }
    let touched: Vec<Uuid> = touched.into_iter().collect();
    let lots: Vec<LotRow> = sqlx::query_as(READ_LOTS).bind(accounts).bind(&touched).fetch_all(&mut *connection).await?;
    for row in lots {
        add_grant(states, row.account, row.grant, row.is_open);
        if let Some(back) = back(states, row.account.as_uuid(), row.payment) {
            back.lots.push(row.lot);
        }
    }
    read_debts(connection, states, accounts, &touched).await
}

async fn read_payments(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    payments: &[Uuid],
) -> Result<(), StoreError> {
    type Payment = (Uuid, Uuid, Option<String>, Option<String>, Option<i64>);
    let rows: Vec<Payment> = sqlx::query_as(READ_PAYMENTS).bind(accounts).bind(payments).fetch_all(connection).await?;
    for (account, payment, basis, currency, minor) in rows {
        let row = || payment.to_string();
        let basis = basis.map(|text| word(Basis::from_word(&text), "payments", "basis", &row())).transpose()?;
        let currency = currency.map(|code| word(code.parse::<Currency>().ok(), "payments", "currency", &row()));
        let Some(state) = states.get_mut(&AccountId::from_uuid(account)) else { continue };
        let payment = PaymentId::from_uuid(payment);
        if let Some(basis) = basis {
            state.bases.insert(payment, basis);
        }
        state.backs.entry(payment).or_default().total = currency.transpose()?.zip(minor);
    }
    Ok(())
}

fn back(states: &mut States, account: Uuid, payment: Uuid) -> Option<&mut PaymentBack> {
    states.get_mut(&AccountId::from_uuid(account))?.backs.get_mut(&PaymentId::from_uuid(payment))
}

fn add_grant(states: &mut States, account: AccountId, grant: Grant, is_open: bool) {
    let Some(state) = states.get_mut(&account) else { return };
    if state.grant(grant.id).is_none() {
        if !is_open {
            state.closed.insert(grant.id);
        }
        state.grants.push(grant);
    }
}

async fn read_debts(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    payments: &[Uuid],
) -> Result<(), StoreError> {
    let rows: Vec<PgRow> = sqlx::query(READ_DEBTS).bind(accounts).bind(payments).fetch_all(&mut *connection).await?;
    let mut debts: Vec<Uuid> = Vec::new();
    for row in rows {
        let (id, feature): (Uuid, String) = (row.try_get(2)?, row.try_get(4)?);
        let debt = Debt {
            id: DebtId::from_uuid(id),
            wallet: WalletId::from_uuid(row.try_get(3)?),
            feature: word(FeatureId::new(&feature), "debts", "feature", &id.to_string())?,
            outstanding: credits(row.try_get(5)?, "debts", "outstanding")?,
            billed: Credits::ZERO,
            cause: DebtCause::ClawBack,
        };
        debts.push(id);
        let (account, payment): (Uuid, Uuid) = (row.try_get(0)?, row.try_get(1)?);
        if let Some(back) = back(states, account, payment) {
            back.debts.insert(debt.wallet, debt.id);
        }
        if let Some(state) = states.get_mut(&AccountId::from_uuid(account))
            && !state.debts.iter().any(|known| known.id == debt.id)
        {
            state.debts.push(debt);
        }
    }
    let payers = debt_rows::read_repayments(connection, states, accounts, &debts).await?;
    read_grants(connection, states, accounts, &payers).await
}

/// Reads grants by id, those of which nothing is left too.
pub(super) async fn read_grants(
    connection: &mut PgConnection,
    states: &mut States,
    accounts: &[Uuid],
    grants: &[GrantId],
) -> Result<(), StoreError> {
    if grants.is_empty() {
        return Ok(());
    }
    let grants: Vec<Uuid> = grants.iter().map(|grant| grant.as_uuid()).collect();
    let rows: Vec<PayerRow> = sqlx::query_as(READ_PAYERS).bind(accounts).bind(grants).fetch_all(connection).await?;
    for PayerRow(account, grant, is_open) in rows {
        add_grant(states, account, grant, is_open);
    }
    Ok(())
}

/// A grant, and whether it is open.
struct PayerRow(AccountId, Grant, bool);

impl<'row> FromRow<'row, PgRow> for PayerRow {
    fn from_row(row: &'row PgRow) -> Result<Self, sqlx::Error> {
        let (account, grant) = GrantRow::from_row(row)?.into_grant();
        Ok(Self(account, grant, row.try_get(SITUATION_COLUMN)?))
    }
}

struct LotRow {
    account: AccountId,
    grant: Grant,
    is_open: bool,
    payment: Uuid,
    lot: BackLot,
}

impl<'row> FromRow<'row, PgRow> for LotRow {
    fn from_row(row: &'row PgRow) -> Result<Self, sqlx::Error> {
        let PayerRow(account, grant, is_open) = PayerRow::from_row(row)?;
        let amount = |place: usize, column| -> Result<Credits, sqlx::Error> {
            let value: Option<rust_decimal::Decimal> = row.try_get(SITUATION_COLUMN + place)?;
            let read = value.map(|value| credits(value, "reversed_grants", column)).transpose();
            read.map(Option::unwrap_or_default).map_err(|error| sqlx::Error::Decode(error.into()))
        };
        let account_of =
            BackAccount { taken: amount(4, "taken")?, owed: amount(5, "owed")?, waived: amount(6, "waived")? };
        let lot = BackLot {
            grant: grant.id,
            wallet: grant.wallet,
            feature: grant.feature.clone(),
            granted: grant.original,
            paid: row.try_get(SITUATION_COLUMN + 2)?,
            price: row.try_get(SITUATION_COLUMN + 3)?,
            is_plan: grant.period.is_some() || grant.rolled.is_some(),
            rolled_from: grant.rolled.as_ref().map(|rolled| rolled.from),
            lost: amount(7, "lost")?,
            account: account_of,
        };
        Ok(Self { account, grant, is_open, payment: row.try_get(SITUATION_COLUMN + 1)?, lot })
    }
}

/// Writes views, what was reversed of each grant, and grants that were frozen, freed or opened again.
pub(super) async fn write(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    write_views(connection, states, changes).await?;
    write_reversed(connection, states, changes).await?;
    write_frozen(connection, states, changes).await?;
    write_closed(connection, states, changes).await
}

async fn write_views(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let mut views: Vec<(Uuid, Uuid, &BackView)> = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        let view = |(payment, object): &(PaymentId, String)| state.backs.get(payment)?.views.get(object);
        let seen = changes.views.iter().filter_map(|key| Some((account.as_uuid(), key.0.as_uuid(), view(key)?)));
        views.extend(seen);
    }
    if views.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_VIEWS)
        .bind(views.iter().map(|(account, ..)| *account).collect::<Vec<_>>())
        .bind(views.iter().map(|(_, payment, _)| *payment).collect::<Vec<_>>())
        .bind(views.iter().map(|(_, _, view)| view.object.as_str()).collect::<Vec<_>>())
        .bind(views.iter().map(|(_, _, view)| time(view.seen_at)).collect::<Vec<_>>())
        .bind(views.iter().map(|(_, _, view)| Json(*view)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_reversed(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let mut lots: Vec<(Uuid, Uuid, &BackLot)> = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        for (payment, grant) in &changes.reversed {
            let all = state.backs.get(payment).map(|back| back.lots.as_slice()).unwrap_or_default();
            lots.extend(
                all.iter().filter(|lot| lot.grant == *grant).map(|lot| (account.as_uuid(), payment.as_uuid(), lot)),
            );
        }
    }
    if lots.is_empty() {
        return Ok(());
    }
    sqlx::query(UPSERT_REVERSED)
        .bind(lots.iter().map(|(account, ..)| *account).collect::<Vec<_>>())
        .bind(lots.iter().map(|(_, _, lot)| lot.grant.as_uuid()).collect::<Vec<_>>())
        .bind(lots.iter().map(|(_, payment, _)| *payment).collect::<Vec<_>>())
        .bind(lots.iter().map(|(_, _, lot)| numeric(lot.account.taken)).collect::<Vec<_>>())
        .bind(lots.iter().map(|(_, _, lot)| numeric(lot.account.owed)).collect::<Vec<_>>())
        .bind(lots.iter().map(|(_, _, lot)| numeric(lot.account.waived)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn grants_of<'a>(
    states: &'a States,
    changes: &BTreeMap<AccountId, Changes>,
    wanted: impl Fn(&AccountState, &Changes, GrantId) -> bool,
) -> Vec<(Uuid, &'a Grant)> {
    let mut found = Vec::new();
    for (account, changes) in changes {
        let Some(state) = states.get(account) else { continue };
        let mine = state.grants.iter().filter(|grant| wanted(state, changes, grant.id));
        found.extend(mine.map(|grant| (account.as_uuid(), grant)));
    }
    found
}

async fn write_frozen(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let grants = grants_of(states, changes, |_, changes, id| changes.frozen.contains(&id));
    if grants.is_empty() {
        return Ok(());
    }
    sqlx::query(UPDATE_FROZEN)
        .bind(grants.iter().map(|(account, _)| *account).collect::<Vec<_>>())
        .bind(grants.iter().map(|(_, grant)| grant.id.as_uuid()).collect::<Vec<_>>())
        .bind(grants.iter().map(|(_, grant)| grant.frozen).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_closed(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let changed = |state: &AccountState, changes: &Changes, id| {
        state.closed.contains(&id) && changes.touched_grants.contains(&id)
    };
    let grants = grants_of(states, changes, changed);
    if grants.is_empty() {
        return Ok(());
    }
    sqlx::query(UPDATE_CLOSED)
        .bind(grants.iter().map(|(account, _)| *account).collect::<Vec<_>>())
        .bind(grants.iter().map(|(_, grant)| grant.id.as_uuid()).collect::<Vec<_>>())
        .bind(grants.iter().map(|(_, grant)| numeric(grant.remaining)).collect::<Vec<_>>())
        .bind(grants.iter().map(|(_, grant)| numeric(grant.held)).collect::<Vec<_>>())
        .bind(grants.iter().map(|(_, grant)| grant.grace_ends_at.map(time)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
