//! Top-ups as the charger reads them, and excess payments.

use sqlx::types::Json;
use uuid::Uuid;

use super::outbox::Message;
use super::rows::word;
use super::top_up_rows::{TopUpJson, top_up_json};
use super::{Store, StoreError, outbox, transaction};
use crate::domain::ids::{AccountId, PaymentId, TopUpId};
use crate::domain::money::Money;
use crate::domain::top_up::{Excess, TopUp};

const READ: &str = concat!(
    "-- read_top_up_to_do\nSELECT ",
    top_up_json!(),
    ", clock_timestamp() + make_interval(secs => i.test_offset_seconds)
FROM top_ups t CROSS JOIN instance i WHERE t.account_id = $1 AND t.topup_id = $2"
);
const READ_EXCESS: &str = "-- read_excess_to_do
SELECT topup_id, payment_intent, currency, amount_minor FROM top_up_excess
WHERE account_id = $1 AND payment_id = $2 AND state = 'due'";
const END_EXCESS: &str = "-- end_excess
UPDATE top_up_excess SET state = $3, stripe_refund = $4,
    ended_at = (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
WHERE account_id = $1 AND payment_id = $2 AND state = 'due'
RETURNING ended_at";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [READ, READ_EXCESS, END_EXCESS];

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
        let payload = serde_json::json!({
            "top_up": excess.top_up, "payment_intent": excess.payment_intent, "amount_minor": excess.amount.minor(),
            "currency": excess.amount.currency(), "stripe_refund": refund,
        });
        let told = Message { topic, payload };
        transaction!(self, "end_excess", |connection| {
            let ended: Option<jiff_sqlx::Timestamp> = sqlx::query_scalar(END_EXCESS)
                .bind(account.as_uuid())
                .bind(excess.payment.as_uuid())
                .bind(state)
                .bind(refund)
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(ended) = ended {
                outbox::insert(connection, account, std::slice::from_ref(&told), ended.to_jiff()).await?;
            }
            Ok(())
        })
    }
}
