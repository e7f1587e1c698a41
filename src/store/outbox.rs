//! What is to be told, written in the transaction of what it tells of.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::StoreError;
use super::ledger_write::bucket;
use super::rows::time;
use crate::clock::fresh_uuid;
use crate::domain::ids::AccountId;

const INSERT: &str = "-- insert_outbox
INSERT INTO outbox (bucket, message_id, account_id, topic, payload, created_at, due_at)
SELECT bucket, message_id, account_id, topic, payload, $6, $6
FROM unnest($1::smallint[], $2::uuid[], $3::uuid[], $4::text[], $5::jsonb[])
    AS n (bucket, message_id, account_id, topic, payload)";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 1] = [INSERT];

/// A message about an account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message<'a> {
    pub topic: &'a str,
    pub payload: Value,
}

/// Puts messages into the outbox.
pub(super) async fn insert(
    connection: &mut PgConnection,
    account: AccountId,
    messages: &[Message<'_>],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(INSERT)
        .bind(vec![bucket(account); messages.len()])
        .bind(messages.iter().map(|_| fresh_uuid()).collect::<Vec<_>>())
        .bind(vec![account.as_uuid(); messages.len()])
        .bind(messages.iter().map(|message| message.topic).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| Json(&message.payload)).collect::<Vec<_>>())
        .bind(time(now))
        .execute(connection)
        .await?;
    Ok(())
}
