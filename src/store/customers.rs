//! What the app told of a customer: name, e-mail, free keys. Kept apart from the account, so that it can be erased.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::types::Json;

use super::{Store, StoreError, transaction};
use crate::domain::ids::AccountId;

const READ: &str = "-- read_customer
SELECT c.customer_id, c.name, c.email, c.metadata, a.created_at, c.updated_at
FROM customers c JOIN accounts a ON a.account_id = c.account_id WHERE c.account_id = $1";
const READ_LINKS: &str = "-- read_stripe_links
SELECT stripe_customer_id FROM stripe_customer_ids WHERE account_id = $1 ORDER BY stripe_customer_id LIMIT $2";
const UPDATE: &str = "-- update_customer
UPDATE customers SET name = CASE WHEN $2 THEN $3 ELSE name END, email = CASE WHEN $4 THEN $5 ELSE email END,
    metadata = coalesce($6, metadata), updated_at = clock_timestamp()
WHERE account_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [READ, READ_LINKS, UPDATE];

/// Longest name or e-mail, in bytes.
pub const PROFILE_TEXT_MAX: usize = 1_024;
/// Most Stripe customers shown of one customer: past it something else is wrong.
const LINKS_MAX: i64 = 100;

/// What the app told of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The app's own id.
    pub customer: String,
    /// Name.
    pub name: Option<String>,
    /// E-mail.
    pub email: Option<String>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
    /// First seen.
    pub created_at: Timestamp,
    /// Last change of these facts.
    pub updated_at: Timestamp,
    /// Stripe customers linked to it.
    pub stripe_customers: Vec<String>,
}

/// A change of a profile: an absent part stays, `Some(None)` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// Name.
    pub name: Option<Option<String>>,
    /// E-mail.
    pub email: Option<Option<String>>,
    /// Free keys, all of them.
    pub metadata: Option<BTreeMap<String, String>>,
}

impl ProfileChange {
    /// Nothing to change?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(sqlx::FromRow)]
struct ProfileRow {
    customer_id: String,
    name: Option<String>,
    email: Option<String>,
    metadata: Json<BTreeMap<String, String>>,
    created_at: jiff_sqlx::Timestamp,
    updated_at: jiff_sqlx::Timestamp,
}

impl Store {
    /// What the app told of a customer; `None` once it was erased.
    pub async fn profile(&self, account: AccountId) -> Result<Option<Profile>, StoreError> {
        let row: Option<ProfileRow> = sqlx::query_as(READ).bind(account.as_uuid()).fetch_optional(self.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        let stripe_customers =
            sqlx::query_scalar(READ_LINKS).bind(account.as_uuid()).bind(LINKS_MAX).fetch_all(self.pool()).await?;
        Ok(Some(Profile {
            customer: row.customer_id,
            name: row.name,
            email: row.email,
            metadata: row.metadata.0,
            created_at: row.created_at.to_jiff(),
            updated_at: row.updated_at.to_jiff(),
            stripe_customers,
        }))
    }

    /// Changes what the app told of a customer; `false` once it was erased.
    pub async fn update_profile(&self, account: AccountId, change: &ProfileChange) -> Result<bool, StoreError> {
        transaction!(self, "update_customer", |connection| {
            let done = sqlx::query(UPDATE)
                .bind(account.as_uuid())
                .bind(change.name.is_some())
                .bind(change.name.as_ref().and_then(Option::as_deref))
                .bind(change.email.is_some())
                .bind(change.email.as_ref().and_then(Option::as_deref))
                .bind(change.metadata.as_ref().map(Json))
                .execute(connection)
                .await?;
            Ok(done.rows_affected() == 1)
        })
    }
}
