//! Sales through Stripe and their requests: rows that are committed before anything is sent, and found by a repeat.

use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::word;
use super::{Store, StoreError, transaction};
use crate::domain::ids::{AccountId, SaleId};

/// Real time, as Stripe's memory of keys runs by it: a test clock that jumps ends nobody's sale.
const OPEN: &str = "-- open_sale
INSERT INTO sales (account_id, sale_id, slot, request, caller_key, kind, terms, state, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', clock_timestamp()) ON CONFLICT DO NOTHING";
const IN_SLOT: &str = "-- sale_in_slot
SELECT sale_id, request, kind, terms, state, created_at < clock_timestamp() - make_interval(hours => $3::integer) AS is_stale
FROM sales WHERE account_id = $1 AND slot = $2 AND state = 'open'";
const BY_KEY: &str = "-- sale_by_key
SELECT sale_id, request, kind, terms, state, created_at < clock_timestamp() - make_interval(hours => $3::integer) AS is_stale
FROM sales WHERE account_id = $1 AND caller_key = $2";
const END: &str = "-- end_sale
UPDATE sales SET state = $3, ended_at = clock_timestamp(), caller_key = CASE WHEN $3 = 'dropped' THEN NULL ELSE caller_key END
WHERE account_id = $1 AND sale_id = $2 AND state = 'open'";
const FREEZE: &str = "-- freeze_sale_step
INSERT INTO sale_steps (account_id, sale_id, step, method, path, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp()) ON CONFLICT ON CONSTRAINT sale_steps_pkey DO NOTHING";
const STEP: &str = "-- sale_step
SELECT method, path, body, answer FROM sale_steps WHERE account_id = $1 AND sale_id = $2 AND step = $3";
const ANSWER: &str = "-- answer_sale_step
UPDATE sale_steps SET answer = $4, answered_at = clock_timestamp()
WHERE account_id = $1 AND sale_id = $2 AND step = $3 AND answer IS NULL";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 7] = [OPEN, IN_SLOT, BY_KEY, END, FREEZE, STEP, ANSWER];

/// Hours for which a request may be sent again under its key; Stripe may forget a key after 24.
const KEY_HOURS: i32 = 23;

/// First 16 bytes of a SHA-256.
pub type Hash = [u8; 16];

/// How a sale is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleKind {
    /// Stripe's customer is made.
    Customer,
    /// A page is opened.
    Checkout,
    /// A subscription is started, and a saved card charged.
    Subscription,
    /// An invoice is made, and a saved card charged.
    Invoice,
    /// A subscription changes.
    Change,
}

impl SaleKind {
    const ALL: [Self; 5] = [Self::Customer, Self::Checkout, Self::Subscription, Self::Invoice, Self::Change];

    /// The word used in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Checkout => "checkout",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::Change => "change",
        }
    }
}

/// Where a sale stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleState {
    /// Under way, or waiting for its buyer.
    Open,
    /// Stripe did it.
    Done,
    /// Refused, expired or replaced.
    Dropped,
}

impl SaleState {
    const ALL: [Self; 3] = [Self::Open, Self::Done, Self::Dropped];

    /// The word used in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Dropped => "dropped",
        }
    }
}

/// A sale to be opened.
#[derive(Clone, Debug)]
pub struct NewSale {
    /// Who buys.
    pub account: AccountId,
    /// Its id.
    pub id: SaleId,
    /// What only one open sale may be about.
    pub slot: Hash,
    /// What was asked for.
    pub request: Hash,
    /// The caller's key.
    pub caller_key: Option<Hash>,
    /// How it is carried out.
    pub kind: SaleKind,
    /// What is bought.
    pub terms: Value,
}

/// A sale as it stands.
#[derive(Clone, Debug)]
pub struct Sale {
    /// Who buys.
    pub account: AccountId,
    /// Its id.
    pub id: SaleId,
    /// What was asked for.
    pub request: Hash,
    /// How it is carried out.
    pub kind: SaleKind,
    /// What is bought.
    pub terms: Value,
    /// Where it stands.
    pub state: SaleState,
    /// May Stripe have forgotten its keys?
    pub is_stale: bool,
}

/// A request of a sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleStep {
    /// `POST` or `DELETE`.
    pub method: String,
    /// The path, with `/v1`.
    pub path: String,
    /// The form.
    pub body: String,
    /// What is kept of Stripe's answer.
    pub answer: Option<Value>,
}

#[derive(sqlx::FromRow)]
struct SaleRow {
    sale_id: Uuid,
    request: Vec<u8>,
    kind: String,
    terms: Json<Value>,
    state: String,
    is_stale: bool,
}

impl SaleRow {
    fn sale(self, account: AccountId) -> Result<Sale, StoreError> {
        let id = SaleId::from_uuid(self.sale_id);
        let row = id.to_string();
        let bad = || StoreError::Inconsistent { table: "sales", column: "request", row: row.clone() };
        Ok(Sale {
            account,
            id,
            request: self.request.as_slice().try_into().map_err(|_| bad())?,
            kind: word(SaleKind::ALL.into_iter().find(|known| known.word() == self.kind), "sales", "kind", &row)?,
            terms: self.terms.0,
            state: word(SaleState::ALL.into_iter().find(|known| known.word() == self.state), "sales", "state", &row)?,
            is_stale: self.is_stale,
        })
    }
}

#[derive(sqlx::FromRow)]
struct StepRow {
    method: String,
    path: String,
    body: String,
    answer: Option<Json<Value>>,
}

impl Store {
    /// Opens a sale; `false`: another one has its slot or its key.
    pub async fn open_sale(&self, sale: &NewSale) -> Result<bool, StoreError> {
        transaction!(self, "open_sale", |connection| {
            let row = sqlx::query(OPEN)
                .bind(sale.account.as_uuid())
                .bind(sale.id.as_uuid())
                .bind(sale.slot.as_slice())
                .bind(sale.request.as_slice())
                .bind(sale.caller_key.as_ref().map(<[u8; 16]>::as_slice))
                .bind(sale.kind.word())
                .bind(Json(&sale.terms));
            Ok(row.execute(connection).await?.rows_affected() == 1)
        })
    }

    /// The open sale of a slot.
    pub async fn sale_in_slot(&self, account: AccountId, slot: Hash) -> Result<Option<Sale>, StoreError> {
        self.find_sale(IN_SLOT, account, slot).await
    }

    /// The sale that a caller's key belongs to.
    pub async fn sale_by_key(&self, account: AccountId, key: Hash) -> Result<Option<Sale>, StoreError> {
        self.find_sale(BY_KEY, account, key).await
    }

    async fn find_sale(
        &self,
        statement: &'static str,
        account: AccountId,
        by: Hash,
    ) -> Result<Option<Sale>, StoreError> {
        let row: Option<SaleRow> = sqlx::query_as(statement)
            .bind(account.as_uuid())
            .bind(by.as_slice())
            .bind(KEY_HOURS)
            .fetch_optional(self.pool())
            .await?;
        row.map(|row| row.sale(account)).transpose()
    }

    /// Ends a sale that is open; one that somebody else ended stays as it is.
    pub async fn end_sale(&self, account: AccountId, sale: SaleId, how: SaleState) -> Result<(), StoreError> {
        transaction!(self, "end_sale", |connection| {
            let row = sqlx::query(END).bind(account.as_uuid()).bind(sale.as_uuid()).bind(how.word());
            row.execute(connection).await?;
            Ok(())
        })
    }

    /// A request of a sale, if it was written down.
    pub async fn sale_step(&self, sale: &Sale, step: &str) -> Result<Option<SaleStep>, StoreError> {
        let row: Option<StepRow> = sqlx::query_as(STEP)
            .bind(sale.account.as_uuid())
            .bind(sale.id.as_uuid())
            .bind(step)
            .fetch_optional(self.pool())
            .await?;
        Ok(row.map(|StepRow { method, path, body, answer }| SaleStep {
            method,
            path,
            body,
            answer: answer.map(|answer| answer.0),
        }))
    }

    /// Writes a request down, unless it is; it is sent as the row has it.
    pub async fn freeze_sale_step(&self, sale: &Sale, step: &str, frozen: &SaleStep) -> Result<(), StoreError> {
        transaction!(self, "freeze_sale_step", |connection| {
            let row = sqlx::query(FREEZE)
                .bind(sale.account.as_uuid())
                .bind(sale.id.as_uuid())
                .bind(step)
                .bind(&frozen.method)
                .bind(&frozen.path)
                .bind(&frozen.body);
            row.execute(connection).await?;
            Ok(())
        })
    }

    /// Keeps what Stripe answered.
    pub async fn answer_sale_step(&self, sale: &Sale, step: &str, answer: &Value) -> Result<(), StoreError> {
        transaction!(self, "answer_sale_step", |connection| {
            let row =
                sqlx::query(ANSWER).bind(sale.account.as_uuid()).bind(sale.id.as_uuid()).bind(step).bind(Json(answer));
            row.execute(connection).await?;
            Ok(())
        })
    }
}
