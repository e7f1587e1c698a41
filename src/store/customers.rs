//! The person behind an account: what may be erased.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::types::Json;

use super::{Store, StoreError, transaction};
use crate::domain::ids::AccountId;

const READ: &str = "-- read_customer
SELECT c.customer_id, c.name, c.email, c.metadata, a.created_at,
    (SELECT array_agg(s.stripe_customer_id ORDER BY s.stripe_customer_id) FROM stripe_customer_ids s
        WHERE s.account_id = c.account_id) AS stripe_customers
FROM customers c JOIN accounts a ON a.account_id = c.account_id WHERE c.account_id = $1";
const UPDATE: &str = "-- update_customer
UPDATE customers SET name = coalesce($2, name), email = coalesce($3, email), metadata = coalesce($4, metadata),
    updated_at = clock_timestamp()
WHERE account_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 2] = [READ, UPDATE];

/// The person behind an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The app's own id.
    pub customer_id: String,
    /// Name.
    pub name: Option<String>,
    /// E-mail.
    pub email: Option<String>,
    /// Free keys of the app.
    pub metadata: BTreeMap<String, String>,
    /// First seen.
    pub created_at: Timestamp,
    /// Linked Stripe customers.
    pub stripe_customers: Vec<String>,
}

/// What is to change; absent parts stay.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PersonChange {
    /// Name.
    pub name: Option<String>,
    /// E-mail.
    pub email: Option<String>,
    /// All free keys.
    pub metadata: Option<BTreeMap<String, String>>,
}

type Row =
    (String, Option<String>, Option<String>, Json<BTreeMap<String, String>>, jiff_sqlx::Timestamp, Option<Vec<String>>);

impl Store {
    /// The person behind an account; `None` once erased.
    pub async fn person(&self, account: AccountId) -> Result<Option<Person>, StoreError> {
        let row: Option<Row> = sqlx::query_as(READ).bind(account.as_uuid()).fetch_optional(self.pool()).await?;
        Ok(row.map(|(customer_id, name, email, metadata, created_at, stripe_customers)| Person {
            customer_id,
            name,
            email,
            metadata: metadata.0,
            created_at: created_at.to_jiff(),
            stripe_customers: stripe_customers.unwrap_or_default(),
        }))
    }

    /// Changes what is known of the person.
    pub async fn change_person(&self, account: AccountId, change: &PersonChange) -> Result<(), StoreError> {
        transaction!(self, "change_person", |connection| {
            sqlx::query(UPDATE)
                .bind(account.as_uuid())
                .bind(change.name.as_deref())
                .bind(change.email.as_deref())
                .bind(change.metadata.as_ref().map(Json))
                .execute(connection)
                .await?;
            Ok(())
        })
    }
}
