//! Top-ups for people and apps: one, and a customer's, newest first, each with its tries and what went back of it.

use jiff::Timestamp;
use serde::Deserialize;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::word;
use super::top_up_rows::{TopUpJson, TryJson};
use super::{Store, StoreError};
use crate::domain::ids::{AccountId, PaymentId, TopUpId, WalletId};
use crate::domain::money::{Currency, Money};
use crate::domain::top_up::{TopUp, Try};

/// A top-up with its story; `WHERE` follows.
macro_rules! whole_top_ups {
    () => {
        "SELECT to_jsonb(t) || jsonb_build_object('credits', trim_scale(t.credits)::text) AS top_up,
    (SELECT c.customer_id FROM customers c WHERE c.account_id = t.account_id) AS customer_id,
    w.wallet_key, coalesce(g.wallet_id, substring(t.terms->>'wallet' FROM 8)::uuid) AS wallet_id,
    g.grant_id IS NOT NULL AS is_granted,
    coalesce((SELECT jsonb_agg(to_jsonb(y) ORDER BY y.try) FROM top_up_tries y
        WHERE y.account_id = t.account_id AND y.topup_id = t.topup_id), '[]') AS tries,
    coalesce((SELECT jsonb_agg(to_jsonb(x) ORDER BY x.created_at, x.payment_id) FROM top_up_excess x
        WHERE x.account_id = t.account_id AND x.topup_id = t.topup_id), '[]') AS excess
FROM top_ups t
LEFT JOIN grants g ON g.account_id = t.account_id AND g.grant_id = t.grant_id
LEFT JOIN wallets w ON w.account_id = t.account_id
    AND w.wallet_id = coalesce(g.wallet_id, substring(t.terms->>'wallet' FROM 8)::uuid)"
    };
}

const ONE: &str = concat!("-- read_top_up\n", whole_top_ups!(), "\nWHERE t.account_id = $1 AND t.topup_id = $2");
const LIST: &str = concat!(
    "-- list_top_ups\n",
    whole_top_ups!(),
    "
WHERE t.account_id = $1 AND t.topup_id < $2 AND ($3::text IS NULL OR t.terms->>'feature' = $3)
    AND ($4::text IS NULL OR t.rule = $4)
ORDER BY t.topup_id DESC LIMIT $5"
);

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 2] = [ONE, LIST];

/// A payment that came for a top-up which was paid already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExcessLine {
    /// The payment.
    pub payment: PaymentId,
    /// Its intent at Stripe.
    pub payment_intent: String,
    /// What goes back.
    pub amount: Money,
    /// due, refunded or failed.
    pub state: String,
    /// Stripe's refund.
    pub stripe_refund: Option<String>,
    /// When it was seen.
    pub created_at: Timestamp,
    /// When it was refunded, or refused.
    pub ended_at: Option<Timestamp>,
}

/// A top-up with its story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUpLine {
    /// The top-up as it stands; its last try is the last of [`Self::tries`].
    pub top_up: TopUp,
    /// The app's id of the customer; `None`: it was erased.
    pub customer: Option<String>,
    /// The wallet that it filled, or is to fill; `None`: the feature's default one, which need not be there yet.
    pub wallet: Option<WalletId>,
    /// The app's own id of that wallet.
    pub wallet_key: Option<String>,
    /// Is its grant there?
    pub is_granted: bool,
    /// Tries to charge a card, in their order.
    pub tries: Vec<Try>,
    /// What came too much and goes back.
    pub excess: Vec<ExcessLine>,
}

/// Which top-ups are asked for.
#[derive(Clone, Debug, Default)]
pub struct TopUpFilter {
    /// Of one feature.
    pub feature: Option<String>,
    /// Of one rule.
    pub rule: Option<String>,
    /// After that one in the list.
    pub after: Option<TopUpId>,
}

#[derive(Deserialize)]
struct ExcessJson {
    payment_id: Uuid,
    payment_intent: String,
    currency: Currency,
    amount_minor: i64,
    state: String,
    stripe_refund: Option<String>,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl TryFrom<ExcessJson> for ExcessLine {
    type Error = StoreError;

    fn try_from(row: ExcessJson) -> Result<Self, StoreError> {
        let amount = Money::from_minor(row.amount_minor, row.currency).ok();
        Ok(Self {
            payment: PaymentId::from_uuid(row.payment_id),
            amount: word(amount, "top_up_excess", "amount_minor", &row.payment_intent)?,
            payment_intent: row.payment_intent,
            state: row.state,
            stripe_refund: row.stripe_refund,
            created_at: row.created_at,
            ended_at: row.ended_at,
        })
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    top_up: Json<TopUpJson>,
    customer_id: Option<String>,
    wallet_key: Option<String>,
    wallet_id: Option<Uuid>,
    is_granted: bool,
    tries: Json<Vec<TryJson>>,
    excess: Json<Vec<ExcessJson>>,
}

impl TryFrom<Row> for TopUpLine {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let mut top_up = row.top_up.0.into_top_up()?;
        let tries: Vec<Try> = row.tries.0.into_iter().map(TryJson::into_try).collect();
        top_up.last_try = tries.last().cloned();
        Ok(Self {
            top_up,
            customer: row.customer_id,
            wallet: row.wallet_id.map(WalletId::from_uuid),
            wallet_key: row.wallet_key,
            is_granted: row.is_granted,
            tries,
            excess: row.excess.0.into_iter().map(ExcessLine::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl Store {
    /// One top-up of an account.
    pub async fn top_up(&self, account: AccountId, top_up: TopUpId) -> Result<Option<TopUpLine>, StoreError> {
        let found: Option<Row> =
            sqlx::query_as(ONE).bind(account.as_uuid()).bind(top_up.as_uuid()).fetch_optional(self.pool()).await?;
        found.map(TopUpLine::try_from).transpose()
    }

    /// Top-ups of an account, newest first.
    pub async fn top_ups(
        &self,
        account: AccountId,
        filter: &TopUpFilter,
        most: i64,
    ) -> Result<Vec<TopUpLine>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(LIST)
            .bind(account.as_uuid())
            .bind(filter.after.map_or(Uuid::max(), TopUpId::as_uuid))
            .bind(&filter.feature)
            .bind(&filter.rule)
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(TopUpLine::try_from).collect()
    }
}
