//! Holds as they are asked for: by id, and the open ones of a customer. What posting reads and writes of them is in
//! [`super::usage_rows`].

use rust_decimal::Decimal;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{credits, quantity, word};
use super::{Store, StoreError};
use crate::domain::catalog::FeatureId;
use crate::domain::hold::{Hold, HoldState, Slice, WhenMore};
use crate::domain::ids::{AccountId, HoldId};

/// A hold with what it pins; `WHERE` follows.
macro_rules! holds {
    () => {
        "SELECT h.hold_id, h.feature, h.entity, h.state, h.quantity, h.amount, h.when_more, h.created_at, h.expires_at,
    h.ended_at, (SELECT c.customer_id FROM customers c WHERE c.account_id = h.account_id) AS customer_id,
    coalesce((SELECT jsonb_agg(jsonb_build_object('grant', 'grant_' || replace(s.grant_id::text, '-', ''),
            'pool', g.feature, 'amount', trim_scale(s.amount)::text) ORDER BY s.place)
        FROM hold_slices s JOIN grants g ON g.account_id = s.account_id AND g.grant_id = s.grant_id
        WHERE s.account_id = h.account_id AND s.hold_id = h.hold_id), '[]') AS slices
FROM holds h"
    };
}

const FIND: &str = "-- find_hold
SELECT account_id FROM hold_ids WHERE hold_key = $1";
const READ: &str = concat!("-- read_hold\n", holds!(), "\nWHERE h.account_id = $1 AND h.hold_id = $2");
const OPEN: &str = concat!(
    "-- list_open_holds\n",
    holds!(),
    "
WHERE h.account_id = $1 AND h.state = 'open' AND h.hold_id < $2 AND ($3::text IS NULL OR h.feature = $3)
    AND ($4::text IS NULL OR h.entity = $4)
    AND h.expires_at > (SELECT clock_timestamp() + make_interval(secs => i.test_offset_seconds) FROM instance i)
ORDER BY h.hold_id DESC LIMIT $5"
);

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [FIND, READ, OPEN];

/// A hold, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldLine {
    /// The hold as it is stored.
    pub hold: Hold,
    /// The app's id of the customer; `None`: it was erased.
    pub customer: Option<String>,
}

/// Which open holds are asked for.
#[derive(Clone, Debug, Default)]
pub struct HoldFilter {
    /// For usage of one feature.
    pub feature: Option<FeatureId>,
    /// For one seat or workspace.
    pub entity: Option<String>,
    /// After that one in the list.
    pub after: Option<HoldId>,
}

#[derive(sqlx::FromRow)]
struct HoldRow {
    hold_id: Uuid,
    feature: String,
    entity: String,
    state: String,
    quantity: Decimal,
    amount: Decimal,
    when_more: String,
    created_at: jiff_sqlx::Timestamp,
    expires_at: jiff_sqlx::Timestamp,
    ended_at: Option<jiff_sqlx::Timestamp>,
    customer_id: Option<String>,
    slices: Json<Vec<Slice>>,
}

impl TryFrom<HoldRow> for HoldLine {
    type Error = StoreError;

    fn try_from(row: HoldRow) -> Result<Self, StoreError> {
        let id = HoldId::from_uuid(row.hold_id);
        let name = id.to_string();
        let hold = Hold {
            id,
            feature: word(FeatureId::new(&row.feature), "holds", "feature", &name)?,
            entity: row.entity,
            state: word(HoldState::from_word(&row.state), "holds", "state", &name)?,
            quantity: quantity(row.quantity, "holds", "quantity")?,
            amount: credits(row.amount, "holds", "amount")?,
            when_more: word(WhenMore::from_word(&row.when_more), "holds", "when_more", &name)?,
            created_at: row.created_at.to_jiff(),
            expires_at: row.expires_at.to_jiff(),
            ended_at: row.ended_at.map(jiff_sqlx::Timestamp::to_jiff),
            slices: row.slices.0,
        };
        Ok(Self { hold, customer: row.customer_id })
    }
}

impl Store {
    /// Whose hold this is; `None`: there is none of this id.
    pub async fn find_hold(&self, hold: HoldId) -> Result<Option<AccountId>, StoreError> {
        let found: Option<Uuid> = sqlx::query_scalar(FIND).bind(hold.to_string()).fetch_optional(self.pool()).await?;
        Ok(found.map(AccountId::from_uuid))
    }

    /// One hold of an account, open or ended.
    pub async fn hold(&self, account: AccountId, hold: HoldId) -> Result<Option<HoldLine>, StoreError> {
        let row: Option<HoldRow> =
            sqlx::query_as(READ).bind(account.as_uuid()).bind(hold.as_uuid()).fetch_optional(self.pool()).await?;
        row.map(HoldLine::try_from).transpose()
    }

    /// Open holds of an account whose time is not over, newest first.
    pub async fn open_holds(
        &self,
        account: AccountId,
        filter: &HoldFilter,
        most: i64,
    ) -> Result<Vec<Hold>, StoreError> {
        let rows: Vec<HoldRow> = sqlx::query_as(OPEN)
            .bind(account.as_uuid())
            .bind(filter.after.map_or(Uuid::max(), HoldId::as_uuid))
            .bind(filter.feature.as_ref().map(FeatureId::as_str))
            .bind(filter.entity.as_deref())
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(|row| HoldLine::try_from(row).map(|line| line.hold)).collect()
    }
}
