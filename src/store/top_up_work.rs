//! Top-ups as the charger reads them, and excess payments.

use sqlx::types::Json;
use uuid::Uuid;

use super::rows::word;
use super::top_up_rows::TopUpJson;
use super::{Store, StoreError, transaction};
use crate::domain::ids::{AccountId, PaymentId, TopUpId};
use crate::domain::money::Money;
use crate::domain::top_up::{Excess, TopUp};

const READ: &str = "-- read_top_up_to_do
SELECT to_jsonb(t) || jsonb_build_object('credits', trim_scale(t.credits)::text,
    'last_try', (SELECT to_jsonb(y) FROM top_up_tries y WHERE y.account_id = t.account_id AND y.topup_id = t.topup_id
        ORDER BY y.try DESC LIMIT 1)), clock_timestamp() + make_interval(secs => i.test_offset_seconds)
FROM top_ups t CROSS JOIN instance i WHERE t.account_id = $1 AND t.topup_id = $2";
const READ_EXCESS: &str = "-- read_excess_to_do
SELECT topup_id, payment_intent, currency, amount_minor FROM top_up_excess
WHERE account_id = $1 AND payment_id = $2 AND state = 'due'";
const END_EXCESS: &str = "-- end_excess
UPDATE top_up_excess SET state = $3, stripe_refund = $4,
    ended_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE account_id = $1 AND payment_id = $2 AND state = 'due'";
const TELL: &str = "-- tell_of_refund
INSERT INTO outbox (bucket, message_id, account_id, topic, payload, created_at, due_at)
SELECT $1, $2, $3, $4, $5, n.now, n.now
FROM (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) AS now FROM instance i) AS n";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 4] = [READ, READ_EXCESS, END_EXCESS, TELL];

impl Store {
    /// A top-up with its last try, and ledger time.
    pub async fn top_up_to_do(
        &self,
        account: AccountId,
        id: TopUpId,
    ) -> Result<Option<(TopUp, jiff::Timestamp)>, StoreError> {
        let row: Option<(Json<TopUpJson>, jiff_sqlx::Timestamp)> =
            sqlx::query_as(READ).bind(account.as_uuid()).bind(id.as_uuid()).fetch_optional(self.pool()).await?;
        row.map(|(Json(top_up), now)| Ok((top_up.into_top_up()?, now.to_jiff()))).transpose()
    }

    /// An excess payment that is to go back.
    pub async fn excess_to_do(&self, account: AccountId, payment: PaymentId) -> Result<Option<Excess>, StoreError> {
        let row: Option<(Uuid, String, String, i64)> = sqlx::query_as(READ_EXCESS)
            .bind(account.as_uuid())
            .bind(payment.as_uuid())
            .fetch_optional(self.pool())
            .await?;
        row.map(|(top_up, payment_intent, currency, minor)| {
            let amount = currency.parse().ok().and_then(|currency| Money::from_minor(minor, currency).ok());
            Ok(Excess {
                top_up: TopUpId::from_uuid(top_up),
                payment,
                payment_intent,
                amount: word(amount, "top_up_excess", "amount_minor", &minor.to_string())?,
            })
        })
        .transpose()
    }

    /// Notes that an excess payment went back, by that refund, or that Stripe refuses to give it back; and tells of it.
    pub async fn end_excess(
        &self,
        account: AccountId,
        excess: &Excess,
        refund: Option<&str>,
    ) -> Result<(), StoreError> {
        let (state, topic) = match refund {
            Some(_) => ("refunded", "top_up.refunded"),
            None => ("failed", "top_up.refund_failed"),
        };
        let told = serde_json::json!({
            "top_up": excess.top_up, "payment_intent": excess.payment_intent, "amount_minor": excess.amount.minor(),
            "currency": excess.amount.currency(), "stripe_refund": refund,
        });
        transaction!(self, "end_excess", |connection| {
            let ended = sqlx::query(END_EXCESS)
                .bind(account.as_uuid())
                .bind(excess.payment.as_uuid())
                .bind(state)
                .bind(refund)
                .execute(&mut *connection)
                .await?;
            if ended.rows_affected() == 1 {
                sqlx::query(TELL)
                    .bind(super::ledger_write::bucket(account))
                    .bind(crate::clock::fresh_uuid())
                    .bind(account.as_uuid())
                    .bind(topic)
                    .bind(Json(&told))
                    .execute(connection)
                    .await?;
            }
            Ok(())
        })
    }
}
