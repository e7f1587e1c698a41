//! Accounts and the look-ups that lead to them: found or claimed, never changed while the account lives.

use uuid::Uuid;

use super::{Store, StoreError, transaction};
use crate::clock::fresh_uuid;
use crate::domain::ids::{AccountId, WalletId};

const FIND_CUSTOMER: &str = "-- find_customer
SELECT account_id FROM customer_ids WHERE customer_id = $1";
const CLAIM_CUSTOMER: &str = "-- claim_customer
INSERT INTO customer_ids (customer_id, account_id) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT customer_ids_pkey DO NOTHING";
const INSERT_ACCOUNT: &str = "-- insert_account
INSERT INTO accounts (account_id, state, last_entry_at, created_at)
SELECT $1, 'new', now, now FROM (SELECT clock_timestamp() + make_interval(secs => test_offset_seconds) AS now FROM instance) AS i";
const INSERT_PERSON: &str = "-- insert_person
INSERT INTO customers (account_id, customer_id, updated_at) VALUES ($1, $2, clock_timestamp())";
const FIND_STRIPE_CUSTOMER: &str = "-- find_stripe_customer
SELECT account_id FROM stripe_customer_ids WHERE stripe_customer_id = $1";
const LINK_STRIPE_CUSTOMER: &str = "-- link_stripe_customer
INSERT INTO stripe_customer_ids (stripe_customer_id, account_id) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT stripe_customer_ids_pkey DO NOTHING";
const FIND_SUBSCRIPTION: &str = "-- find_stripe_subscription
SELECT account_id FROM stripe_subscription_ids WHERE stripe_subscription_id = $1";
const CLAIM_SUBSCRIPTION: &str = "-- claim_stripe_subscription
INSERT INTO stripe_subscription_ids (stripe_subscription_id, account_id) VALUES ($1, $2)
ON CONFLICT ON CONSTRAINT stripe_subscription_ids_pkey DO NOTHING";
const FIND_WALLET: &str = "-- find_wallet
SELECT account_id, wallet_id FROM wallet_ids WHERE wallet_key = $1";
const CLAIM_WALLET: &str = "-- claim_wallet
INSERT INTO wallet_ids (wallet_key, account_id, wallet_id) VALUES ($1, $2, $3)
ON CONFLICT ON CONSTRAINT wallet_ids_pkey DO NOTHING";
const WALLET_FEATURE: &str = "-- wallet_feature
SELECT feature FROM wallets WHERE account_id = $1 AND wallet_id = $2";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 11] = [
    FIND_CUSTOMER,
    CLAIM_CUSTOMER,
    INSERT_ACCOUNT,
    INSERT_PERSON,
    FIND_STRIPE_CUSTOMER,
    LINK_STRIPE_CUSTOMER,
    FIND_SUBSCRIPTION,
    CLAIM_SUBSCRIPTION,
    FIND_WALLET,
    CLAIM_WALLET,
    WALLET_FEATURE,
];

/// Longest customer or wallet id of an app, in bytes.
pub const EXTERNAL_ID_MAX: usize = 512;

/// A wallet found by its public id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalletFound {
    /// Whose it is.
    pub account: AccountId,
    /// Our id of it.
    pub wallet: WalletId,
}

/// Was the customer there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomerClaim {
    /// Yes.
    Known(AccountId),
    /// Made now; its first command opens it.
    Made(AccountId),
}

impl CustomerClaim {
    /// The account, either way.
    pub const fn account(self) -> AccountId {
        match self {
            Self::Known(account) | Self::Made(account) => account,
        }
    }
}

impl Store {
    /// The account of an app's customer.
    pub async fn find_customer(&self, customer_id: &str) -> Result<Option<AccountId>, StoreError> {
        let found: Option<Uuid> =
            sqlx::query_scalar(FIND_CUSTOMER).bind(customer_id).fetch_optional(self.pool()).await?;
        Ok(found.map(AccountId::from_uuid))
    }

    /// The account of an app's customer, made when there is none.
    pub async fn claim_customer(&self, customer_id: &str) -> Result<CustomerClaim, StoreError> {
        if let Some(known) = self.find_customer(customer_id).await? {
            return Ok(CustomerClaim::Known(known));
        }
        let fresh = fresh_uuid();
        let made = transaction!(self, "claim_customer", |connection| {
            let claimed = sqlx::query(CLAIM_CUSTOMER).bind(customer_id).bind(fresh).execute(&mut *connection).await?;
            if claimed.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query(INSERT_ACCOUNT).bind(fresh).execute(&mut *connection).await?;
            sqlx::query(INSERT_PERSON).bind(fresh).bind(customer_id).execute(&mut *connection).await?;
            Ok(true)
        })?;
        if made {
            return Ok(CustomerClaim::Made(AccountId::from_uuid(fresh)));
        }
        let known = self.find_customer(customer_id).await?;
        // Only an erasure between the two statements gets here without a row.
        known.map(CustomerClaim::Known).ok_or(StoreError::LostLease("customer_ids"))
    }

    /// The account linked to a Stripe customer.
    pub async fn find_stripe_customer(&self, stripe_customer: &str) -> Result<Option<AccountId>, StoreError> {
        let found: Option<Uuid> =
            sqlx::query_scalar(FIND_STRIPE_CUSTOMER).bind(stripe_customer).fetch_optional(self.pool()).await?;
        Ok(found.map(AccountId::from_uuid))
    }

    /// Links a Stripe customer to an account unless it is linked already; answers the account it is linked to. A link
    /// is never replaced (rule 3).
    pub async fn link_stripe_customer(
        &self,
        stripe_customer: &str,
        account: AccountId,
    ) -> Result<AccountId, StoreError> {
        transaction!(self, "link_stripe_customer", |connection| {
            sqlx::query(LINK_STRIPE_CUSTOMER)
                .bind(stripe_customer)
                .bind(account.as_uuid())
                .execute(&mut *connection)
                .await?;
            let linked: Uuid =
                sqlx::query_scalar(FIND_STRIPE_CUSTOMER).bind(stripe_customer).fetch_one(connection).await?;
            Ok(AccountId::from_uuid(linked))
        })
    }

    /// Whose a subscription is: the account's, when nobody has it.
    pub async fn claim_subscription(&self, subscription: &str, account: AccountId) -> Result<AccountId, StoreError> {
        transaction!(self, "claim_subscription", |connection| {
            sqlx::query(CLAIM_SUBSCRIPTION)
                .bind(subscription)
                .bind(account.as_uuid())
                .execute(&mut *connection)
                .await?;
            let owner: Uuid = sqlx::query_scalar(FIND_SUBSCRIPTION).bind(subscription).fetch_one(connection).await?;
            Ok(AccountId::from_uuid(owner))
        })
    }

    /// A wallet by its public id.
    pub async fn find_wallet(&self, wallet_key: &str) -> Result<Option<WalletFound>, StoreError> {
        let found: Option<(Uuid, Uuid)> =
            sqlx::query_as(FIND_WALLET).bind(wallet_key).fetch_optional(self.pool()).await?;
        Ok(found.map(|(account, wallet)| WalletFound {
            account: AccountId::from_uuid(account),
            wallet: WalletId::from_uuid(wallet),
        }))
    }

    /// A wallet by its public id, claimed for the account when nobody has it. The wallet's own row comes with its first
    /// grant.
    pub async fn claim_wallet(&self, wallet_key: &str, account: AccountId) -> Result<WalletFound, StoreError> {
        let fresh = fresh_uuid();
        transaction!(self, "claim_wallet", |connection| {
            sqlx::query(CLAIM_WALLET)
                .bind(wallet_key)
                .bind(account.as_uuid())
                .bind(fresh)
                .execute(&mut *connection)
                .await?;
            let (account, wallet): (Uuid, Uuid) =
                sqlx::query_as(FIND_WALLET).bind(wallet_key).fetch_one(connection).await?;
            Ok(WalletFound { account: AccountId::from_uuid(account), wallet: WalletId::from_uuid(wallet) })
        })
    }

    /// The feature whose credits a wallet holds; `None` while it has no row.
    pub async fn wallet_feature(&self, found: WalletFound) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar(WALLET_FEATURE)
            .bind(found.account.as_uuid())
            .bind(found.wallet.as_uuid())
            .fetch_optional(self.pool())
            .await?)
    }
}
