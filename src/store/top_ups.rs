//! Top-ups as whoever works on events looks for them: whose one is, what paid it, and cards that are to become default.

use uuid::Uuid;

use super::charge_steps::{self, StepKey};
use super::charge_work::{self, WorkKey, WorkKind};
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
/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [FIND, IS_SETTLED, IS_UNDER_WAY];

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
        request: (&str, &str, &str),
    ) -> Result<bool, StoreError> {
        let step = StepKey { account, owner, step: DEFAULT_STEP.to_owned() };
        let work = WorkKey { account, kind: WorkKind::Card, owner };
        transaction!(self, "queue_default_card", |connection| {
            let Some(now) = charge_steps::freeze(connection, &step, request).await? else { return Ok(false) };
            charge_work::upsert(connection, &[(work, now)]).await?;
            Ok(true)
        })
    }
}
