//! The catalogue's rows: read whole, applied in one transaction (rule 34).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;

use super::instance::ENSURE_HEAD;
use super::rows::word;
use super::{Store, StoreError, transaction};
use crate::domain::catalog::{Catalog, CatalogVersion, Feature, FeatureId, MinimumPrice, Plan, PlanId};

const READ_HEAD: &str = "-- read_catalog_head
SELECT version, settings, applied_at FROM catalog_head";
const READ_VERSION: &str = "-- read_catalog_version
SELECT version FROM catalog_head";
const READ_FEATURES: &str = "-- read_catalog_features
SELECT feature_id, document FROM catalog_features WHERE NOT archived";
const READ_PLANS: &str = "-- read_catalog_plans
SELECT plan_id, plan_version, document, is_current FROM catalog_plans";
const READ_OWNERS: &str = "-- read_catalog_owners
SELECT feature_id AS id FROM catalog_features WHERE managed_by = 'api' AND NOT archived
UNION ALL SELECT plan_id FROM catalog_plans WHERE managed_by = 'api' AND is_current";
const LOCK_HEAD: &str = "-- lock_catalog_head
SELECT version FROM catalog_head FOR UPDATE";
const MOVE_HEAD: &str = "-- move_catalog_head
UPDATE catalog_head SET version = $1, settings = $2, applied_at = clock_timestamp()";
const UPSERT_FEATURE: &str = "-- upsert_catalog_feature
INSERT INTO catalog_features (feature_id, managed_by, document, changed_in) VALUES ($1, 'file', $2, $3)
ON CONFLICT ON CONSTRAINT catalog_features_pkey DO UPDATE SET document = excluded.document,
    changed_in = excluded.changed_in, archived = false
WHERE catalog_features.managed_by = 'file'";
const ARCHIVE_FEATURE: &str = "-- archive_catalog_feature
UPDATE catalog_features SET archived = true, changed_in = $2 WHERE feature_id = $1 AND managed_by = 'file'";
const RETIRE_PLAN: &str = "-- retire_catalog_plan
UPDATE catalog_plans SET is_current = false WHERE plan_id = $1 AND is_current AND managed_by = 'file'";
const INSERT_PLAN: &str = "-- insert_catalog_plan
INSERT INTO catalog_plans (plan_id, plan_version, managed_by, document, changed_in, is_current)
SELECT $1, coalesce(max(plan_version), 0) + 1, 'file', $2, $3, true FROM catalog_plans WHERE plan_id = $1";
const FILE_APPLIED: &str = "-- catalog_file_applied
SELECT version FROM catalog_files WHERE sha256 = $1";
const RECORD_FILE: &str = "-- record_catalog_file
INSERT INTO catalog_files (sha256, version, applied_at) VALUES ($1, $2, clock_timestamp())
ON CONFLICT ON CONSTRAINT catalog_files_pkey DO UPDATE SET version = excluded.version, applied_at = excluded.applied_at";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 13] = [
    READ_HEAD,
    READ_VERSION,
    READ_FEATURES,
    READ_PLANS,
    READ_OWNERS,
    LOCK_HEAD,
    MOVE_HEAD,
    UPSERT_FEATURE,
    ARCHIVE_FEATURE,
    RETIRE_PLAN,
    INSERT_PLAN,
    FILE_APPLIED,
    RECORD_FILE,
];

/// What belongs to no feature or plan.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Settings {
    #[serde(default)]
    default_credits: Option<FeatureId>,
    #[serde(default)]
    minimum_prices: BTreeMap<FeatureId, Vec<MinimumPrice>>,
}

/// Reads the whole catalogue as it stands.
pub async fn read(connection: &mut PgConnection) -> Result<CatalogVersion, StoreError> {
    let head: Option<(i32, Json<Settings>, jiff_sqlx::Timestamp)> =
        sqlx::query_as(READ_HEAD).fetch_optional(&mut *connection).await?;
    // A database that was migrated and never started has no head yet: its catalogue is empty.
    let Some((version, settings, applied_at)) = head else { return Ok(CatalogVersion::default()) };
    let mut catalog = Catalog {
        default_credits: settings.0.default_credits,
        minimum_prices: settings.0.minimum_prices,
        ..Catalog::default()
    };
    let features: Vec<(String, Json<Feature>)> = sqlx::query_as(READ_FEATURES).fetch_all(&mut *connection).await?;
    for (id, feature) in features {
        catalog.features.insert(word(FeatureId::new(&id), "catalog_features", "feature_id", &id)?, feature.0);
    }
    let plans: Vec<(String, i32, Json<Plan>, bool)> = sqlx::query_as(READ_PLANS).fetch_all(connection).await?;
    let (mut plan_versions, mut terms) = (BTreeMap::new(), BTreeMap::new());
    for (id, plan_version, plan, is_current) in plans {
        let id = word(PlanId::new(&id), "catalog_plans", "plan_id", &id)?;
        if is_current {
            plan_versions.insert(id.clone(), plan_version);
            catalog.plans.insert(id.clone(), plan.0.clone());
        }
        terms.insert((id, plan_version), plan.0);
    }
    let applied_at = Some(applied_at.to_jiff()).filter(|at| version > 0 && *at > Timestamp::UNIX_EPOCH);
    Ok(CatalogVersion { version, applied_at, plan_versions, terms, catalog })
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The catalogue is now this version.
    Version(i32),
    /// It was like that already.
    Unchanged(i32),
    /// This very file was applied before and is not applied again at a start.
    SeenBefore(i32),
}

/// Number of the catalogue in force.
pub async fn version(connection: &mut PgConnection) -> Result<i32, StoreError> {
    Ok(sqlx::query_scalar(READ_VERSION).fetch_one(connection).await?)
}

impl Store {
    /// The catalogue in force.
    pub async fn catalog(&self) -> Result<CatalogVersion, StoreError> {
        let mut connection = self.pool().acquire().await?;
        read(&mut connection).await
    }

    /// Makes the file-managed part of the catalogue equal to `wanted`, in one transaction. With `at_start`, a file that
    /// was ever applied before is left alone.
    pub async fn apply_catalog(
        &self,
        wanted: &Catalog,
        sha256: [u8; 32],
        at_start: bool,
    ) -> Result<Applied, StoreError> {
        transaction!(self, "apply_catalog", |connection| apply(connection, wanted, sha256, at_start).await)
    }
}

async fn apply(
    connection: &mut PgConnection,
    wanted: &Catalog,
    sha256: [u8; 32],
    at_start: bool,
) -> Result<Applied, StoreError> {
    sqlx::query(ENSURE_HEAD).execute(&mut *connection).await?;
    let version: i32 = sqlx::query_scalar(LOCK_HEAD).fetch_one(&mut *connection).await?;
    if at_start {
        let seen: Option<i32> =
            sqlx::query_scalar(FILE_APPLIED).bind(sha256.as_slice()).fetch_optional(&mut *connection).await?;
        if let Some(seen) = seen {
            return Ok(Applied::SeenBefore(seen));
        }
    }
    let now = read(connection).await?.catalog;
    let api_managed: Vec<String> = sqlx::query_scalar(READ_OWNERS).fetch_all(&mut *connection).await?;
    let by_api = |id: &str| api_managed.iter().any(|owned| owned == id);
    let next = version.saturating_add(1);
    let mut changed = now.default_credits != wanted.default_credits || now.minimum_prices != wanted.minimum_prices;
    for (id, feature) in &wanted.features {
        if now.features.get(id) != Some(feature) {
            changed = true;
            sqlx::query(UPSERT_FEATURE)
                .bind(id.as_str())
                .bind(Json(feature))
                .bind(next)
                .execute(&mut *connection)
                .await?;
        }
    }
    for id in now.features.keys().filter(|id| !wanted.features.contains_key(id) && !by_api(id.as_str())) {
        changed = true;
        sqlx::query(ARCHIVE_FEATURE).bind(id.as_str()).bind(next).execute(&mut *connection).await?;
    }
    for id in now.plans.keys().filter(|id| wanted.plans.get(id) != now.plans.get(id) && !by_api(id.as_str())) {
        changed = true;
        sqlx::query(RETIRE_PLAN).bind(id.as_str()).execute(&mut *connection).await?;
    }
    for (id, plan) in wanted.plans.iter().filter(|(id, plan)| now.plans.get(*id) != Some(plan)) {
        changed = true;
        sqlx::query(INSERT_PLAN).bind(id.as_str()).bind(Json(plan)).bind(next).execute(&mut *connection).await?;
    }
    let version = if changed { next } else { version };
    if changed {
        let settings =
            Settings { default_credits: wanted.default_credits.clone(), minimum_prices: wanted.minimum_prices.clone() };
        sqlx::query(MOVE_HEAD).bind(version).bind(Json(settings)).execute(&mut *connection).await?;
    }
    sqlx::query(RECORD_FILE).bind(sha256.as_slice()).bind(version).execute(connection).await?;
    Ok(if changed { Applied::Version(version) } else { Applied::Unchanged(version) })
}
