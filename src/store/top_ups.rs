//! Top-ups as whoever works on events looks for them: whose one is, what paid it, and cards that are to become default.

use uuid::Uuid;

use super::ledger_write::bucket;
use super::{Store, StoreError, transaction};
use crate::domain::ids::{AccountId, AttemptId, PaymentId, TopUpId};

const FIND: &str = "-- find_top_up
SELECT account_id FROM top_up_ids WHERE topup_id = $1";
const IS_SETTLED: &str = "-- is_top_up_settled
SELECT EXISTS (SELECT FROM top_ups WHERE account_id = $1 AND topup_id = $2 AND payment_id = $3)
    OR EXISTS (SELECT FROM top_up_excess WHERE account_id = $1 AND topup_id = $2 AND payment_id = $3)";
const IS_UNDER_WAY: &str = "-- is_try_under_way
SELECT EXISTS (SELECT FROM top_ups t JOIN top_up_tries y ON y.account_id = t.account_id AND y.topup_id = t.topup_id
    WHERE t.account_id = $1 AND t.topup_id = $2 AND y.attempt_id = $3 AND t.state IN ('charging', 'processing')
        AND y.ended_at IS NULL)";
const FREEZE: &str = "-- freeze_default_card
INSERT INTO charge_steps (account_id, owner_id, step, method, path, body, created_at)
SELECT $1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i
ON CONFLICT ON CONSTRAINT charge_steps_pkey DO NOTHING";
const QUEUE: &str = "-- queue_default_card
INSERT INTO charge_work (bucket, account_id, kind, owner_id, due_at)
SELECT $1, $2, 'card', $3, clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i
ON CONFLICT ON CONSTRAINT charge_work_pkey DO NOTHING";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [FIND, IS_SETTLED, IS_UNDER_WAY, FREEZE, QUEUE];

/// The one step of a card that is to become the default.
pub const DEFAULT_STEP: &str = "default";

impl Store {
    /// Whose a top-up is.
    pub async fn find_top_up(&self, top_up: TopUpId) -> Result<Option<AccountId>, StoreError> {
        let found: Option<Uuid> = sqlx::query_scalar(FIND).bind(top_up.as_uuid()).fetch_optional(self.pool()).await?;
        Ok(found.map(AccountId::from_uuid))
    }

    /// Did this payment pay the top-up, or is it known to be one too much?
    pub async fn is_top_up_settled(
        &self,
        account: AccountId,
        top_up: TopUpId,
        payment: PaymentId,
    ) -> Result<bool, StoreError> {
        let settled = sqlx::query_scalar(IS_SETTLED).bind(account.as_uuid()).bind(top_up.as_uuid());
        Ok(settled.bind(payment.as_uuid()).fetch_one(self.pool()).await?)
    }

    /// Is a try being carried out, by the card alone? Its owner is not waited for, and nothing of it is being ended by us.
    pub async fn is_try_under_way(
        &self,
        account: AccountId,
        top_up: TopUpId,
        attempt: AttemptId,
    ) -> Result<bool, StoreError> {
        let under_way = sqlx::query_scalar(IS_UNDER_WAY).bind(account.as_uuid()).bind(top_up.as_uuid());
        Ok(under_way.bind(attempt.as_uuid()).fetch_one(self.pool()).await?)
    }

    /// Has a card made its customer's default, once for each owner: the request is written down and queued together.
    /// `false`: it was before.
    pub async fn queue_default_card(
        &self,
        account: AccountId,
        owner: Uuid,
        (method, path, body): (&str, &str, &str),
    ) -> Result<bool, StoreError> {
        transaction!(self, "queue_default_card", |connection| {
            let row = sqlx::query(FREEZE).bind(account.as_uuid()).bind(owner).bind(DEFAULT_STEP);
            let written = row.bind(method).bind(path).bind(body).execute(&mut *connection).await?;
            if written.rows_affected() == 0 {
                return Ok(false);
            }
            let row = sqlx::query(QUEUE).bind(bucket(account)).bind(account.as_uuid()).bind(owner);
            row.execute(connection).await?;
            Ok(true)
        })
    }
}
