//! Usage, holds, spend limits and levels, as posting reads and writes them. Only `posting` may call this file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::rows::{numeric, numeric_quantity, quantity, time, word};
use super::top_up_rows::{RuleJson, TopUpJson};
use super::{StoreError, debt_rows, reversals};
use crate::domain::account::{AccountState, Changes};
use crate::domain::catalog::FeatureId;
use crate::domain::command::SetLimit;
use crate::domain::credits::{Credits, Quantity};
use crate::domain::hold::{Hold, HoldState, Slice, WhenMore};
use crate::domain::ids::{AccountId, DebtId, GrantId, HoldId};
use crate::domain::limit::{SpendLimit, Window};
use crate::domain::usage::Property;
use crate::domain::usage_record::{PaidPart, RETURNED_TRACKS_MAX, UsageRecord};

/// Open holds, limits and levels of the accounts that have any, as one column of the situation.
macro_rules! extras {
    () => {
        concat!("(SELECT jsonb_agg(jsonb_build_object('account', a.account_id,
        'holds', (SELECT jsonb_agg(jsonb_build_object('hold', h.hold_id, 'feature', h.feature, 'entity', h.entity,
                'quantity', trim_scale(h.quantity)::text, 'amount', trim_scale(h.amount)::text, 'when_more', h.when_more,
                'created_at', h.created_at, 'expires_at', h.expires_at,
                'slices', (SELECT jsonb_agg(jsonb_build_object('grant', 'grant_' || replace(s.grant_id::text, '-', ''),
                        'pool', g.feature, 'amount', trim_scale(s.amount)::text) ORDER BY s.place)
                    FROM hold_slices s JOIN grants g ON g.account_id = s.account_id AND g.grant_id = s.grant_id
                    WHERE s.account_id = h.account_id AND s.hold_id = h.hold_id)))
            FROM holds h WHERE h.account_id = a.account_id AND h.state = 'open'),
        'limits', (SELECT jsonb_agg(jsonb_build_object('name', l.name, 'feature', l.feature, 'entity', l.entity,
                'window', l.time_window, 'most', trim_scale(l.most)::text, 'window_start', l.window_start,
                'used', trim_scale(l.used)::text) ORDER BY l.name)
            FROM spend_limits l WHERE l.account_id = a.account_id),
        'levels', (SELECT jsonb_agg(jsonb_build_object('feature', v.feature, 'entity', v.entity,
                'used', trim_scale(v.used)::text))
            FROM levels v WHERE v.account_id = a.account_id),
        'rules', (SELECT jsonb_agg(to_jsonb(r) ORDER BY r.name) FROM top_up_rules r WHERE r.account_id = a.account_id),
        'top_ups', (SELECT jsonb_agg(", $crate::store::top_up_rows::top_up_json!(), ")
            FROM top_ups t WHERE t.account_id = a.account_id AND t.ended_at IS NULL)))
        FROM accounts a WHERE a.account_id = ANY($1) AND a.has_extras)")
    };
}
pub(super) use extras;

/// The newest tracks of a feature and entity that hold so much as is to be taken back.
const READ_USAGE: &str = "-- read_returnable_usage
SELECT u.account_id, u.seq, u.at, u.event_at, u.feature, u.entity, u.quantity, u.returned, u.paid, u.properties, u.hold_id
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[]) AS asked (account_id, feature, entity, wanted)
CROSS JOIN LATERAL (
    SELECT r.*, sum(r.quantity - r.returned) OVER (ORDER BY r.seq DESC) - (r.quantity - r.returned) AS newer
    FROM (SELECT * FROM usage_records r WHERE r.account_id = asked.account_id AND r.feature = asked.feature
            AND r.entity = asked.entity AND r.quantity > 0 AND r.returned < r.quantity
        ORDER BY r.seq DESC LIMIT $5) AS r
) AS u
WHERE u.newer < asked.wanted ORDER BY u.account_id, u.seq DESC";
/// What was used since a time: units that were paid, or credits of a pool. What was taken back counts by when it was used;
/// units that nobody paid are the first to be taken back. What unlimited grants paid may add up to more than a limit can
/// say: it says the most, which is above every limit or at it.
const READ_USED: &str = "-- read_used_since
SELECT least(coalesce(round(sum(CASE WHEN $5 THEN p.of_pool
        ELSE u.quantity - greatest(u.returned, least(u.quantity, p.unpaid)) END), 9), 0), 1000000000000000000)
FROM usage_records u CROSS JOIN LATERAL (
    SELECT coalesce(sum((part->>'units')::numeric) FILTER (WHERE NOT (part ? 'grant' OR part ? 'debt')),
            trunc(u.quantity * sum((part->>'amount')::numeric) FILTER (WHERE NOT (part ? 'grant' OR part ? 'debt'))
                / nullif(sum((part->>'amount')::numeric), 0), 9), 0) AS unpaid,
        coalesce(sum((part->>'amount')::numeric) FILTER (WHERE (part ? 'grant' OR part ? 'debt') AND part->>'pool' = $2
            AND coalesce((part->>'at')::timestamptz, u.at) >= coalesce($4::timestamptz, '-infinity')), 0) AS of_pool
    FROM jsonb_array_elements(u.paid) AS parts (part)
) AS p
WHERE u.account_id = $1 AND ($5 OR (u.feature = $2 AND u.quantity > 0)) AND ($3 = '' OR u.entity = $3)
    AND u.at >= coalesce($4::timestamptz, '-infinity')";

const UPDATE_RETURNED: &str = "-- update_returned_usage
UPDATE usage_records u SET returned = n.returned
FROM unnest($1::uuid[], $2::bigint[], $3::numeric[]) AS n (account_id, seq, returned)
WHERE u.account_id = n.account_id AND u.seq = n.seq AND u.account_id = ANY($1)";
const UPSERT_HOLDS: &str = "-- upsert_holds
INSERT INTO holds (account_id, hold_id, feature, entity, state, amount, when_more, created_at, expires_at, ended_at, quantity)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[],
    $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::numeric[])
ON CONFLICT ON CONSTRAINT holds_pkey DO UPDATE SET state = excluded.state, expires_at = excluded.expires_at,
    ended_at = excluded.ended_at, quantity = excluded.quantity";
const INSERT_HOLD_IDS: &str = "-- insert_hold_ids
INSERT INTO hold_ids (hold_key, account_id, hold_id)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[]) ON CONFLICT (hold_key) DO NOTHING";
const DELETE_SLICES: &str = "-- delete_hold_slices
DELETE FROM hold_slices s USING unnest($1::uuid[], $2::uuid[]) AS n (account_id, hold_id)
WHERE s.account_id = n.account_id AND s.hold_id = n.hold_id AND s.account_id = ANY($1)";
const INSERT_SLICES: &str = "-- insert_hold_slices
INSERT INTO hold_slices (account_id, hold_id, grant_id, amount, place)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::numeric[], $5::smallint[])";
const UPSERT_LIMITS: &str = "-- upsert_spend_limits
INSERT INTO spend_limits (account_id, name, feature, entity, time_window, most, window_start, used)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::timestamptz[],
    $8::numeric[])
ON CONFLICT ON CONSTRAINT spend_limits_pkey DO UPDATE SET feature = excluded.feature, entity = excluded.entity,
    time_window = excluded.time_window, most = excluded.most, window_start = excluded.window_start, used = excluded.used";
const DELETE_LIMITS: &str = "-- delete_spend_limits
DELETE FROM spend_limits l USING unnest($1::uuid[], $2::text[]) AS n (account_id, name)
WHERE l.account_id = n.account_id AND l.name = n.name AND l.account_id = ANY($1)";
const UPSERT_LEVELS: &str = "-- upsert_levels
INSERT INTO levels (account_id, feature, entity, used)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::numeric[])
ON CONFLICT ON CONSTRAINT levels_pkey DO UPDATE SET used = excluded.used";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 10] = [
    READ_USAGE,
    READ_USED,
    UPDATE_RETURNED,
    UPSERT_HOLDS,
    INSERT_HOLD_IDS,
    DELETE_SLICES,
    INSERT_SLICES,
    UPSERT_LIMITS,
    DELETE_LIMITS,
    UPSERT_LEVELS,
];

type States = BTreeMap<AccountId, AccountState>;

/// What a return names, so that the tracks it may take back are read.
#[derive(Clone, Debug)]
pub struct AskedReturn {
    /// Whose.
    pub account: AccountId,
    /// Of which feature.
    pub feature: FeatureId,
    /// Of which entity; empty: none.
    pub entity: String,
    /// Units to be taken back.
    pub quantity: Quantity,
}

#[derive(Deserialize)]
pub(super) struct ExtrasJson {
    account: Uuid,
    holds: Option<Vec<HoldJson>>,
    limits: Option<Vec<LimitJson>>,
    levels: Option<Vec<LevelJson>>,
    rules: Option<Vec<RuleJson>>,
    top_ups: Option<Vec<TopUpJson>>,
}

#[derive(Deserialize)]
struct HoldJson {
    hold: Uuid,
    feature: FeatureId,
    entity: String,
    quantity: Quantity,
    amount: Credits,
    when_more: WhenMore,
    created_at: Timestamp,
    expires_at: Timestamp,
    slices: Option<Vec<Slice>>,
}

#[derive(Deserialize)]
struct LimitJson {
    name: String,
    feature: FeatureId,
    entity: String,
    window: Window,
    most: Credits,
    window_start: Option<Timestamp>,
    used: Credits,
}

#[derive(Deserialize)]
struct LevelJson {
    feature: FeatureId,
    entity: String,
    used: Quantity,
}

/// Open holds, limits and levels into their accounts.
pub(super) fn into_states(extras: Vec<ExtrasJson>, states: &mut States) -> Result<(), StoreError> {
    for extra in extras {
        let Some(state) = states.get_mut(&AccountId::from_uuid(extra.account)) else { continue };
        state.has_extras = true;
        state.holds.extend(extra.holds.unwrap_or_default().into_iter().map(|row| Hold {
            id: HoldId::from_uuid(row.hold),
            feature: row.feature,
            entity: row.entity,
            state: HoldState::Open,
            quantity: row.quantity,
            amount: row.amount,
            when_more: row.when_more,
            created_at: row.created_at,
            expires_at: row.expires_at,
            ended_at: None,
            slices: row.slices.unwrap_or_default(),
        }));
        state.limits.extend(extra.limits.unwrap_or_default().into_iter().map(|row| SpendLimit {
            name: row.name,
            feature: row.feature,
            entity: row.entity,
            window: row.window,
            most: row.most,
            window_start: row.window_start,
            used: row.used,
        }));
        let levels = extra.levels.unwrap_or_default().into_iter();
        state.levels.extend(levels.map(|row| ((row.feature, row.entity), row.used)));
        for row in extra.rules.unwrap_or_default() {
            state.rules.push(row.into_rule()?);
        }
        for row in extra.top_ups.unwrap_or_default() {
            state.top_ups.push(row.into_top_up()?);
        }
    }
    Ok(())
}

#[derive(FromRow)]
pub(super) struct UsageRow {
    account_id: Uuid,
    seq: i64,
    at: jiff_sqlx::Timestamp,
    event_at: Option<jiff_sqlx::Timestamp>,
    feature: String,
    entity: String,
    quantity: Decimal,
    returned: Decimal,
    paid: Json<Vec<PaidPart>>,
    properties: Option<Json<BTreeMap<String, Property>>>,
    hold_id: Option<Uuid>,
}

impl UsageRow {
    pub(super) fn into_record(self) -> Result<UsageRecord, StoreError> {
        Ok(UsageRecord {
            seq: self.seq,
            at: self.at.to_jiff(),
            event_at: self.event_at.map(jiff_sqlx::Timestamp::to_jiff),
            feature: word(FeatureId::new(&self.feature), "usage_records", "feature", &self.seq.to_string())?,
            entity: self.entity,
            quantity: quantity(self.quantity, "usage_records", "quantity")?,
            returned: quantity(self.returned, "usage_records", "returned")?,
            paid: self.paid.0,
            properties: self.properties.map(|json| json.0).unwrap_or_default(),
            hold: self.hold_id.map(HoldId::from_uuid),
        })
    }
}

/// Reads the tracks that returns may take back, with the grants and debts that paid for them.
pub async fn read_returnable(
    connection: &mut PgConnection,
    states: &mut States,
    asked: &[AskedReturn],
) -> Result<(), StoreError> {
    let mut wanted: BTreeMap<(AccountId, FeatureId, String), Quantity> = BTreeMap::new();
    for one in asked {
        let sum = wanted.entry((one.account, one.feature.clone(), one.entity.clone())).or_default();
        *sum = sum.checked_add(one.quantity).unwrap_or(Quantity::MAX);
    }
    let most = i64::try_from(RETURNED_TRACKS_MAX).unwrap_or(i64::MAX);
    let rows: Vec<UsageRow> = sqlx::query_as(READ_USAGE)
        .bind(wanted.keys().map(|(account, ..)| account.as_uuid()).collect::<Vec<_>>())
        .bind(wanted.keys().map(|(_, feature, _)| feature.as_str().to_owned()).collect::<Vec<_>>())
        .bind(wanted.keys().map(|(.., entity)| entity.clone()).collect::<Vec<_>>())
        .bind(wanted.values().map(|quantity| numeric_quantity(*quantity)).collect::<Vec<_>>())
        .bind(most)
        .fetch_all(&mut *connection)
        .await?;
    let (mut grants, mut debts): (BTreeSet<GrantId>, BTreeSet<Uuid>) = (BTreeSet::new(), BTreeSet::new());
    let mut accounts: BTreeSet<Uuid> = BTreeSet::new();
    for row in rows {
        let account = row.account_id;
        let record = row.into_record()?;
        grants.extend(record.paid.iter().filter_map(|part| part.grant));
        debts.extend(record.paid.iter().filter_map(|part| part.debt).map(DebtId::as_uuid));
        accounts.insert(account);
        let Some(state) = states.get_mut(&AccountId::from_uuid(account)) else { continue };
        state.usage.push(Arc::new(record));
        state.usage_is_cut = state.usage.len() >= RETURNED_TRACKS_MAX;
    }
    let accounts: Vec<Uuid> = accounts.into_iter().collect();
    let debts: Vec<Uuid> = debts.into_iter().collect();
    grants.extend(debt_rows::read_repayments(connection, states, &accounts, &debts).await?);
    debt_rows::read_closed(connection, states, &accounts, &debts).await?;
    let grants: Vec<GrantId> = grants.into_iter().collect();
    reversals::read_grants(connection, states, &accounts, &grants).await
}

/// Reads what was used already in the running windows of limits that are being set.
pub async fn read_used(
    connection: &mut PgConnection,
    states: &mut States,
    limits: &[(AccountId, &SetLimit, bool)],
    now: Timestamp,
) -> Result<(), StoreError> {
    for (account, limit, is_pool) in limits {
        // A window that leaves the calendar is refused where the limit is decided.
        let start = limit.window.around(now).ok().flatten().map(|(start, _)| time(start));
        let used: Decimal = sqlx::query_scalar(READ_USED)
            .bind(account.as_uuid())
            .bind(limit.feature.as_str())
            .bind(&limit.entity)
            .bind(start)
            .bind(*is_pool)
            .fetch_one(&mut *connection)
            .await?;
        if let Some(state) = states.get_mut(account) {
            let key = (limit.name.clone(), limit.feature.clone(), limit.entity.clone(), limit.window);
            state.used_before.insert(key, super::rows::credits(used, "usage_records", "quantity")?);
        }
    }
    Ok(())
}

/// Writes tracks that were taken back, holds, limits and levels. New tracks go with the usual lines.
pub(super) async fn write(
    connection: &mut PgConnection,
    states: &States,
    changes: &BTreeMap<AccountId, Changes>,
) -> Result<(), StoreError> {
    let changed = changes.iter().filter_map(|(account, changes)| Some((states.get(account)?, changes)));
    for (state, changes) in changed {
        if !changes.returned.is_empty() {
            write_returned(connection, state, changes).await?;
        }
        if !changes.holds.is_empty() {
            write_holds(connection, state, changes).await?;
        }
        if !changes.limits.is_empty() {
            write_limits(connection, state, changes).await?;
        }
        if !changes.levels.is_empty() {
            write_levels(connection, state, changes).await?;
        }
    }
    Ok(())
}

async fn write_returned(
    connection: &mut PgConnection,
    state: &AccountState,
    changes: &Changes,
) -> Result<(), StoreError> {
    let is_old =
        |record: &&Arc<UsageRecord>| changes.returned.contains(&record.seq) && !changes.usage.contains(&record.seq);
    let returned: Vec<&Arc<UsageRecord>> = state.usage.iter().filter(is_old).collect();
    sqlx::query(UPDATE_RETURNED)
        .bind(vec![state.id.as_uuid(); returned.len()])
        .bind(returned.iter().map(|record| record.seq).collect::<Vec<_>>())
        .bind(returned.iter().map(|record| numeric_quantity(record.returned)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_holds(connection: &mut PgConnection, state: &AccountState, changes: &Changes) -> Result<(), StoreError> {
    let holds: Vec<&Hold> = state.holds.iter().filter(|hold| changes.holds.contains(&hold.id)).collect();
    let account = vec![state.id.as_uuid(); holds.len()];
    let ids: Vec<Uuid> = holds.iter().map(|hold| hold.id.as_uuid()).collect();
    sqlx::query(UPSERT_HOLDS)
        .bind(&account)
        .bind(&ids)
        .bind(holds.iter().map(|hold| hold.feature.as_str()).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| hold.entity.as_str()).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| hold.state.word()).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| numeric(hold.amount)).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| hold.when_more.word()).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| time(hold.created_at)).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| time(hold.expires_at)).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| hold.ended_at.map(time)).collect::<Vec<_>>())
        .bind(holds.iter().map(|hold| numeric_quantity(hold.quantity)).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    let keys: Vec<String> = holds.iter().map(|hold| hold.id.to_string()).collect();
    sqlx::query(INSERT_HOLD_IDS).bind(keys).bind(&account).bind(&ids).execute(&mut *connection).await?;
    sqlx::query(DELETE_SLICES).bind(&account).bind(&ids).execute(&mut *connection).await?;
    let slices: Vec<(Uuid, usize, &Slice)> = holds
        .iter()
        .flat_map(|hold| hold.slices.iter().enumerate().map(|(place, slice)| (hold.id.as_uuid(), place, slice)))
        .collect();
    sqlx::query(INSERT_SLICES)
        .bind(vec![state.id.as_uuid(); slices.len()])
        .bind(slices.iter().map(|(hold, ..)| *hold).collect::<Vec<_>>())
        .bind(slices.iter().map(|(.., slice)| slice.grant.as_uuid()).collect::<Vec<_>>())
        .bind(slices.iter().map(|(.., slice)| numeric(slice.amount)).collect::<Vec<_>>())
        .bind(slices.iter().map(|(_, place, _)| i16::try_from(*place).unwrap_or(i16::MAX)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_limits(
    connection: &mut PgConnection,
    state: &AccountState,
    changes: &Changes,
) -> Result<(), StoreError> {
    let limits: Vec<&SpendLimit> = state.limits.iter().filter(|limit| changes.limits.contains(&limit.name)).collect();
    sqlx::query(UPSERT_LIMITS)
        .bind(vec![state.id.as_uuid(); limits.len()])
        .bind(limits.iter().map(|limit| limit.name.as_str()).collect::<Vec<_>>())
        .bind(limits.iter().map(|limit| limit.feature.as_str()).collect::<Vec<_>>())
        .bind(limits.iter().map(|limit| limit.entity.as_str()).collect::<Vec<_>>())
        .bind(limits.iter().map(|limit| limit.window.word()).collect::<Vec<_>>())
        .bind(limits.iter().map(|limit| numeric(limit.most)).collect::<Vec<_>>())
        .bind(limits.iter().map(|limit| limit.window_start.map(time)).collect::<Vec<_>>())
        .bind(limits.iter().map(|limit| numeric(limit.used)).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    let is_gone = |name: &&String| !limits.iter().any(|limit| limit.name == **name);
    let gone: Vec<&String> = changes.limits.iter().filter(is_gone).collect();
    if !gone.is_empty() {
        let account = vec![state.id.as_uuid(); gone.len()];
        sqlx::query(DELETE_LIMITS).bind(account).bind(gone).execute(connection).await?;
    }
    Ok(())
}

async fn write_levels(
    connection: &mut PgConnection,
    state: &AccountState,
    changes: &Changes,
) -> Result<(), StoreError> {
    let levels: Vec<(&(FeatureId, String), &Quantity)> =
        state.levels.iter().filter(|(key, _)| changes.levels.contains(key)).collect();
    sqlx::query(UPSERT_LEVELS)
        .bind(vec![state.id.as_uuid(); levels.len()])
        .bind(levels.iter().map(|((feature, _), _)| feature.as_str()).collect::<Vec<_>>())
        .bind(levels.iter().map(|((_, entity), _)| entity.as_str()).collect::<Vec<_>>())
        .bind(levels.iter().map(|(_, used)| numeric_quantity(**used)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
