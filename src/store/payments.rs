//! Payments: claimed once by all their Stripe ids, before anything is granted (rule 5).

use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::time;
use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;
use crate::domain::ids::{AccountId, PaymentId};
use crate::domain::payment::PaymentFacts;

const FIND_ALIASES: &str = "-- find_payment_aliases
SELECT account_id, payment_id FROM payment_aliases WHERE alias = ANY($1) ORDER BY alias FOR SHARE";
const FIND_PAYMENTS: &str = "-- find_payments
SELECT a.alias, a.account_id, a.payment_id, p.currency
FROM payment_aliases a JOIN payments p ON p.account_id = a.account_id AND p.payment_id = a.payment_id
WHERE a.alias = ANY($1) ORDER BY a.alias";
const CLAIM_ALIASES: &str = "-- claim_payment_aliases
INSERT INTO payment_aliases (alias, account_id, payment_id)
SELECT alias, $2, $3 FROM unnest($1::text[]) AS n (alias) ORDER BY alias
ON CONFLICT ON CONSTRAINT payment_aliases_pkey DO NOTHING";
const INSERT: &str = "-- insert_payment
INSERT INTO payments (account_id, payment_id, payment_key, status, created_at)
VALUES ($1, $2, $3, 'claimed', clock_timestamp())";
const FILL: &str = "-- fill_payment
UPDATE payments SET
    status = CASE WHEN status IN ('paid', 'free') THEN status ELSE $3 END,
    currency = coalesce(currency, $4), amount_paid_minor = coalesce(amount_paid_minor, $5),
    tax_minor = coalesce(tax_minor, $6), discount_minor = coalesce(discount_minor, $7),
    stripe_session = coalesce(stripe_session, $8), stripe_payment_intent = coalesce(stripe_payment_intent, $9),
    stripe_charge = coalesce(stripe_charge, $10), stripe_invoice = coalesce(stripe_invoice, $11),
    stripe_balance_transaction = coalesce(stripe_balance_transaction, $12),
    stripe_customer = coalesce(stripe_customer, $13), stripe_subscription = coalesce(stripe_subscription, $14),
    paid_at = coalesce(paid_at, $15), metadata = CASE WHEN metadata = '{}' THEN $16 ELSE metadata END
WHERE account_id = $1 AND payment_id = $2";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 5] = [FIND_ALIASES, FIND_PAYMENTS, CLAIM_ALIASES, INSERT, FILL];

/// Times a claim is tried anew when another one takes some of its ids in between.
const CLAIM_TRIES: u32 = 8;

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PaymentClaim {
    /// This payment, for this account.
    Claimed(PaymentId),
    /// Its ids already belong to another account, or to two payments.
    Conflict {
        /// What was found, in words.
        found: String,
    },
}

/// A payment found by one of its Stripe ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundPayment {
    /// Whose.
    pub account: AccountId,
    /// The payment.
    pub payment: PaymentId,
    /// Its currency, once it is known.
    pub currency: Option<String>,
}

impl Store {
    /// Payments that have one of these Stripe ids; none claimed by then is absent.
    pub async fn find_payments(&self, aliases: &[String]) -> Result<Vec<FoundPayment>, StoreError> {
        let rows: Vec<(String, Uuid, Uuid, Option<String>)> =
            sqlx::query_as(FIND_PAYMENTS).bind(aliases).fetch_all(self.pool()).await?;
        let found = rows.into_iter().map(|(_, account, payment, currency)| FoundPayment {
            account: AccountId::from_uuid(account),
            payment: PaymentId::from_uuid(payment),
            currency,
        });
        Ok(found.collect())
    }

    /// Claims a payment for an account under all its ids, and fills in what is known of it. Two inputs that would fix
    /// different accounts are told apart here.
    pub async fn claim_payment(&self, account: AccountId, facts: &PaymentFacts) -> Result<PaymentClaim, StoreError> {
        for _ in 0..CLAIM_TRIES {
            let fresh = fresh_uuid();
            let outcome =
                transaction!(self, "claim_payment", |connection| claim(connection, account, facts, fresh).await);
            match outcome {
                Err(StoreError::LostLease(_)) => {}
                other => return other,
            }
        }
        Err(StoreError::Unavailable("a payment's ids are being claimed by others".to_owned()))
    }
}

async fn claim(
    connection: &mut PgConnection,
    account: AccountId,
    facts: &PaymentFacts,
    fresh: Uuid,
) -> Result<PaymentClaim, StoreError> {
    let mut aliases = facts.aliases();
    let Some(key) = aliases.first().map(|key| (*key).to_owned()) else {
        return Ok(PaymentClaim::Conflict { found: "the payment has no Stripe id".to_owned() });
    };
    aliases.sort_unstable();
    aliases.dedup();
    let found: Vec<(Uuid, Uuid)> = sqlx::query_as(FIND_ALIASES).bind(&aliases).fetch_all(&mut *connection).await?;
    let payment = match found.first() {
        None => fresh,
        Some((first_account, first_payment)) => {
            if found.iter().any(|row| row != &(*first_account, *first_payment)) {
                let found = format!("its ids {aliases:?} belong to different payments");
                return Ok(PaymentClaim::Conflict { found });
            }
            if *first_account != account.as_uuid() {
                let found = format!("it was claimed for {}", AccountId::from_uuid(*first_account));
                return Ok(PaymentClaim::Conflict { found });
            }
            *first_payment
        }
    };
    let claimed = sqlx::query(CLAIM_ALIASES)
        .bind(&aliases)
        .bind(account.as_uuid())
        .bind(payment)
        .execute(&mut *connection)
        .await?;
    let missing = aliases.len().saturating_sub(found.len());
    if claimed.rows_affected() != u64::try_from(missing).unwrap_or(u64::MAX) {
        // Another input claimed one of them since the look: roll back and look again.
        return Err(StoreError::LostLease("payment_aliases"));
    }
    if found.is_empty() {
        sqlx::query(INSERT).bind(account.as_uuid()).bind(payment).bind(key).execute(&mut *connection).await?;
    }
    fill(connection, account, payment, facts).await?;
    Ok(PaymentClaim::Claimed(PaymentId::from_uuid(payment)))
}

async fn fill(
    connection: &mut PgConnection,
    account: AccountId,
    payment: Uuid,
    facts: &PaymentFacts,
) -> Result<(), StoreError> {
    let money = facts.currency.is_some();
    let only_with_currency = |minor: Option<i64>| minor.filter(|_| money);
    sqlx::query(FILL)
        .bind(account.as_uuid())
        .bind(payment)
        .bind(facts.status.word())
        .bind(facts.currency.map(|currency| currency.to_string()))
        .bind(only_with_currency(facts.amount_paid_minor))
        .bind(only_with_currency(facts.tax_minor))
        .bind(only_with_currency(facts.discount_minor))
        .bind(facts.session.as_deref())
        .bind(facts.payment_intent.as_deref())
        .bind(facts.charge.as_deref())
        .bind(facts.invoice.as_deref())
        .bind(facts.balance_transaction.as_deref())
        .bind(facts.stripe_customer.as_deref())
        .bind(facts.subscription.as_deref())
        .bind(facts.paid_at.map(time))
        .bind(Json(&facts.metadata))
        .execute(connection)
        .await?;
    Ok(())
}
