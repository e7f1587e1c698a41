//! Usage as it is listed, track by track, and added up by period and group.
//!
//! Lines of an account are numbered in the order of ledger time, and usage is dated at most a minute ahead of it: what
//! lies before a time is found from the newest line backwards, without an index that every track would have to keep.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;

use super::rows::{time, word};
use super::usage_rows::UsageRow;
use super::{Store, StoreError};
use crate::domain::catalog::FeatureId;
use crate::domain::ids::AccountId;
use crate::domain::usage::Property;
use crate::domain::usage_record::UsageRecord;

/// Usage of an account that a filter asks for; its parameters are the first six of both statements.
macro_rules! asked_usage {
    () => {
        "u.account_id = $1 AND ($2::text IS NULL OR u.feature = $2) AND ($3::text IS NULL OR u.entity = $3)
    AND ($4::timestamptz IS NULL OR coalesce(u.event_at, u.at) >= $4)
    AND ($5::timestamptz IS NULL OR coalesce(u.event_at, u.at) < $5) AND u.seq < $6
    AND u.seq > coalesce((SELECT o.seq FROM usage_records o WHERE o.account_id = $1 AND o.at < $4 - interval '2 minutes'
        ORDER BY o.seq DESC LIMIT 1), 0)"
    };
}

const LIST: &str = concat!(
    "-- list_usage
SELECT u.account_id, u.seq, u.at, u.event_at, u.feature, u.entity, u.quantity, u.returned, u.paid, u.properties, u.hold_id,
    n.metadata
FROM usage_records u LEFT JOIN entry_notes n ON n.account_id = u.account_id AND n.seq = u.seq
WHERE ",
    asked_usage!(),
    "
ORDER BY u.seq DESC LIMIT $7"
);
/// A track's own numbers stand on the first part that paid for it, so that they are added once.
const AGGREGATE: &str = concat!(
    "-- aggregate_usage
WITH parts AS (
    SELECT CASE WHEN $7::text IS NOT NULL THEN date_trunc($7, coalesce(u.event_at, u.at), $8) END AS period,
        CASE WHEN $9 THEN u.feature END AS feature, CASE WHEN $10 THEN u.entity END AS entity,
        (SELECT coalesce(jsonb_agg(u.properties->p.name ORDER BY p.place), '[]')
            FROM unnest($11::text[]) WITH ORDINALITY AS p (name, place)) AS properties,
        CASE WHEN coalesce(of_it.place, 1) = 1 THEN u.quantity END AS quantity, of_it.part->>'pool' AS pool,
        (of_it.part->>'amount')::numeric AS amount, of_it.part ? 'grant' AS is_drawn, of_it.part ? 'debt' AS is_owed
    FROM usage_records u
    LEFT JOIN LATERAL jsonb_array_elements(u.paid) WITH ORDINALITY AS of_it (part, place) ON true
    WHERE ",
    asked_usage!(),
    "
), pools AS (
    SELECT period, feature, entity, properties, pool, sum(quantity) AS quantity, count(quantity) AS events,
        sum(amount) AS cost, sum(amount) FILTER (WHERE is_drawn) AS drawn, sum(amount) FILTER (WHERE is_owed) AS owed,
        sum(amount) FILTER (WHERE NOT is_drawn AND NOT is_owed) AS shortfall
    FROM parts GROUP BY period, feature, entity, properties, pool
)
SELECT period, feature, entity, properties, trim_scale(sum(quantity))::text AS quantity, sum(events)::bigint AS events,
    coalesce(jsonb_agg(jsonb_build_object('pool', pool, 'cost', trim_scale(cost)::text,
            'drawn', trim_scale(coalesce(drawn, 0))::text, 'owed', trim_scale(coalesce(owed, 0))::text,
            'shortfall', trim_scale(coalesce(shortfall, 0))::text) ORDER BY pool)
        FILTER (WHERE pool IS NOT NULL), '[]') AS pools
FROM pools GROUP BY period, feature, entity, properties
ORDER BY period DESC, feature, entity, properties LIMIT $12"
);

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 2] = [LIST, AGGREGATE];

/// Which usage is asked for.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Of one feature.
    pub feature: Option<FeatureId>,
    /// Of one seat or workspace.
    pub entity: Option<String>,
    /// Happened then or later.
    pub from: Option<Timestamp>,
    /// Happened before.
    pub to: Option<Timestamp>,
    /// After the track of that number in the list.
    pub after: Option<i64>,
}

/// Periods that usage is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// An hour of the clock.
    Hour,
    /// A day.
    Day,
    /// Monday to Sunday.
    Week,
    /// A month.
    Month,
}

impl Period {
    /// Every period there is.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word used in requests.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// By what usage is added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// By period.
    pub period: Option<Period>,
    /// In which time zone periods begin, by its IANA name.
    pub time_zone: String,
    /// By feature.
    pub by_feature: bool,
    /// By seat or workspace.
    pub by_entity: bool,
    /// By these properties.
    pub properties: Vec<String>,
}

/// A track with the words beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageLine {
    /// The track.
    pub record: UsageRecord,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
}

/// What a group of usage cost in one pool, as exact decimal text: sums may exceed any amount's range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSum {
    /// The pool.
    pub pool: String,
    /// All of it.
    pub cost: String,
    /// Taken from grants.
    pub drawn: String,
    /// Became a debt.
    pub owed: String,
    /// Not paid by anyone.
    pub shortfall: String,
}

/// Usage added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// Start of its period, if it is of one.
    pub period: Option<Timestamp>,
    /// Its feature, if grouped by it.
    pub feature: Option<String>,
    /// Its entity, if grouped by it; empty: the customer's own.
    pub entity: Option<String>,
    /// Its properties, as they were asked for.
    pub properties: Vec<Option<Property>>,
    /// Units, those taken back subtracted.
    pub quantity: String,
    /// Tracks.
    pub events: i64,
    /// What it cost, pool by pool.
    pub pools: Vec<PoolSum>,
}

#[derive(sqlx::FromRow)]
struct LineRow {
    #[sqlx(flatten)]
    usage: UsageRow,
    metadata: Option<Json<BTreeMap<String, String>>>,
}

#[derive(sqlx::FromRow)]
struct SumRow {
    period: Option<jiff_sqlx::Timestamp>,
    feature: Option<String>,
    entity: Option<String>,
    properties: Json<Vec<Option<Property>>>,
    quantity: Option<String>,
    events: i64,
    pools: Json<Vec<PoolSum>>,
}

impl Store {
    /// Tracks of an account, newest first.
    pub async fn usage(
        &self,
        account: AccountId,
        filter: &UsageFilter,
        most: i64,
    ) -> Result<Vec<UsageLine>, StoreError> {
        let rows: Vec<LineRow> = sqlx::query_as(LIST)
            .bind(account.as_uuid())
            .bind(filter.feature.as_ref().map(FeatureId::as_str))
            .bind(filter.entity.as_deref())
            .bind(filter.from.map(time))
            .bind(filter.to.map(time))
            .bind(filter.after.unwrap_or(i64::MAX))
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        let line = |row: LineRow| {
            let metadata = row.metadata.map(|json| json.0).unwrap_or_default();
            Ok(UsageLine { record: row.usage.into_record()?, metadata })
        };
        rows.into_iter().map(line).collect()
    }

    /// Usage of an account added up by groups, the newest period first; `None`: the database knows no such time zone.
    pub async fn usage_sums(
        &self,
        account: AccountId,
        filter: &UsageFilter,
        grouping: &Grouping,
        most: i64,
    ) -> Result<Option<Vec<UsageSum>>, StoreError> {
        let rows: Result<Vec<SumRow>, sqlx::Error> = sqlx::query_as(AGGREGATE)
            .bind(account.as_uuid())
            .bind(filter.feature.as_ref().map(FeatureId::as_str))
            .bind(filter.entity.as_deref())
            .bind(filter.from.map(time))
            .bind(filter.to.map(time))
            .bind(i64::MAX)
            .bind(grouping.period.map(Period::word))
            .bind(&grouping.time_zone)
            .bind(grouping.by_feature)
            .bind(grouping.by_entity)
            .bind(&grouping.properties)
            .bind(most)
            .fetch_all(self.pool())
            .await;
        let rows = match rows {
            // invalid_parameter_value: of all parameters only the time zone can be one.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22023") => return Ok(None),
            other => other?,
        };
        let sum = |row: SumRow| {
            Ok(UsageSum {
                period: row.period.map(jiff_sqlx::Timestamp::to_jiff),
                feature: row.feature,
                entity: row.entity,
                properties: row.properties.0,
                quantity: word(row.quantity, "usage_records", "quantity", "sum")?,
                events: row.events,
                pools: row.pools.0,
            })
        };
        rows.into_iter().map(sum).collect::<Result<Vec<UsageSum>, StoreError>>().map(Some)
    }
}
