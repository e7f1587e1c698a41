//! Requests of the charger to Stripe: rows that are committed before anything is sent, and sent again byte by byte.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Store, StoreError, transaction};
use crate::domain::ids::AccountId;

/// Ledger time, as the memory that Stripe has of keys runs by it in a simulation too.
const FREEZE: &str = "-- freeze_charge_step
INSERT INTO charge_steps (account_id, owner_id, step, method, path, body, created_at)
SELECT $1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i
ON CONFLICT ON CONSTRAINT charge_steps_pkey DO NOTHING RETURNING created_at";
const READ: &str = "-- charge_step
SELECT s.method, s.path, s.body, s.answer,
    extract(epoch FROM clock_timestamp() + make_interval(secs => i.test_offset_seconds) - s.created_at)::bigint
FROM charge_steps s CROSS JOIN instance i WHERE s.account_id = $1 AND s.owner_id = $2 AND s.step = $3";
const ANSWER: &str = "-- answer_charge_step
UPDATE charge_steps s SET answer = $4,
    answered_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE s.account_id = $1 AND s.owner_id = $2 AND s.step = $3 AND s.answer IS NULL";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [FREEZE, READ, ANSWER];

/// Whose request, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepKey {
    /// Who pays.
    pub account: AccountId,
    /// The try, top-up, excess payment, bill or card.
    pub owner: Uuid,
    /// Which of its requests: at most 64 bytes.
    pub step: String,
}

/// A request as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct ChargeStep {
    /// POST or DELETE.
    pub method: String,
    /// The path.
    pub path: String,
    /// The form.
    pub body: String,
    /// What was kept of Stripe's answer; `None`: not answered for certain yet.
    pub answer: Option<Value>,
    /// Seconds since it was written down.
    pub age_seconds: i64,
}

/// Method, path, form, answer, age.
type StepRow = (String, String, String, Option<Json<Value>>, i64);

impl Store {
    /// Writes a request down, unless it is; it is sent as the row has it, which is read back.
    pub async fn freeze_charge_step(
        &self,
        key: &StepKey,
        (method, path, body): (&str, &str, &str),
    ) -> Result<(), StoreError> {
        transaction!(self, "freeze_charge_step", |connection| {
            freeze(connection, key, (method, path, body)).await?;
            Ok(())
        })
    }

    /// A request, if it was written down.
    pub async fn charge_step(&self, key: &StepKey) -> Result<Option<ChargeStep>, StoreError> {
        let row: Option<StepRow> = sqlx::query_as(READ)
            .bind(key.account.as_uuid())
            .bind(key.owner)
            .bind(&key.step)
            .fetch_optional(self.pool())
            .await?;
        Ok(row.map(|(method, path, body, answer, age_seconds)| ChargeStep {
            method,
            path,
            body,
            answer: answer.map(|answer| answer.0),
            age_seconds,
        }))
    }

    /// Keeps what Stripe answered for certain.
    pub async fn answer_charge_step(&self, key: &StepKey, answer: &Value) -> Result<(), StoreError> {
        transaction!(self, "answer_charge_step", |connection| {
            let row =
                sqlx::query(ANSWER).bind(key.account.as_uuid()).bind(key.owner).bind(&key.step).bind(Json(answer));
            row.execute(connection).await?;
            Ok(())
        })
    }
}

/// Writes a request down inside a transaction; when, or `None`: it was written down before.
pub(super) async fn freeze(
    connection: &mut PgConnection,
    key: &StepKey,
    (method, path, body): (&str, &str, &str),
) -> Result<Option<Timestamp>, StoreError> {
    let written: Option<jiff_sqlx::Timestamp> = sqlx::query_scalar(FREEZE)
        .bind(key.account.as_uuid())
        .bind(key.owner)
        .bind(&key.step)
        .bind(method)
        .bind(path)
        .bind(body)
        .fetch_optional(connection)
        .await?;
    Ok(written.map(jiff_sqlx::Timestamp::to_jiff))
}
