//! Wallets for people and apps: one, and a customer's, newest first; and whose a grant is.

use jiff::Timestamp;
use uuid::Uuid;

use super::wallet_rows::WalletRow;
use super::{Store, StoreError};
use crate::domain::grant::Wallet;
use crate::domain::ids::{AccountId, GrantId, WalletId};

/// A wallet with how many grants ever went into it; the account's grants are counted once, whatever the page's size.
macro_rules! whole_wallets {
    () => {
        "SELECT w.account_id, w.wallet_id, w.wallet_key, w.name, w.feature, w.is_default, w.priority, w.state,
    w.default_expiry_days, w.debt_limit, w.metadata, w.closed_at, w.created_at, coalesce(c.grants, 0) AS grants
FROM wallets w
    LEFT JOIN (SELECT g.wallet_id, count(*) AS grants FROM grants g WHERE g.account_id = $1 GROUP BY g.wallet_id) c
        ON c.wallet_id = w.wallet_id"
    };
}

const WALLETS: &str = concat!(
    "-- list_wallets\n",
    whole_wallets!(),
    "\nWHERE w.account_id = $1 AND w.wallet_id < $2 ORDER BY w.wallet_id DESC LIMIT $3"
);
const WALLET: &str = concat!("-- read_wallet\n", whole_wallets!(), "\nWHERE w.account_id = $1 AND w.wallet_id = $2");
const FIND_GRANT: &str = "-- find_grant
SELECT account_id FROM grant_ids WHERE grant_id = $1";

/// Every statement of this file, for the test that prepares each.
pub const STATEMENTS: [&str; 3] = [WALLETS, WALLET, FIND_GRANT];

/// A wallet with its story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletLine {
    /// The wallet as it stands.
    pub wallet: Wallet,
    /// When it was made.
    pub created_at: Timestamp,
    /// How many grants ever went into it.
    pub grants: i64,
}

#[derive(sqlx::FromRow)]
struct WalletLineRow {
    #[sqlx(flatten)]
    wallet: WalletRow,
    created_at: jiff_sqlx::Timestamp,
    grants: i64,
}

impl TryFrom<WalletLineRow> for WalletLine {
    type Error = StoreError;

    fn try_from(row: WalletLineRow) -> Result<Self, StoreError> {
        let (_, wallet) = row.wallet.into_wallet()?;
        Ok(Self { wallet, created_at: row.created_at.to_jiff(), grants: row.grants })
    }
}

impl Store {
    /// Wallets of an account, newest first, closed ones too.
    pub async fn wallets(
        &self,
        account: AccountId,
        after: Option<WalletId>,
        most: i64,
    ) -> Result<Vec<WalletLine>, StoreError> {
        let rows: Vec<WalletLineRow> = sqlx::query_as(WALLETS)
            .bind(account.as_uuid())
            .bind(after.map_or(Uuid::max(), WalletId::as_uuid))
            .bind(most)
            .fetch_all(self.pool())
            .await?;
        rows.into_iter().map(WalletLine::try_from).collect()
    }

    /// One wallet of an account; `None` while only its id is claimed.
    pub async fn wallet(&self, account: AccountId, wallet: WalletId) -> Result<Option<WalletLine>, StoreError> {
        let row: Option<WalletLineRow> =
            sqlx::query_as(WALLET).bind(account.as_uuid()).bind(wallet.as_uuid()).fetch_optional(self.pool()).await?;
        row.map(WalletLine::try_from).transpose()
    }

    /// Whose a grant is.
    pub async fn find_grant(&self, grant: GrantId) -> Result<Option<AccountId>, StoreError> {
        let found: Option<Uuid> =
            sqlx::query_scalar(FIND_GRANT).bind(grant.as_uuid()).fetch_optional(self.pool()).await?;
        Ok(found.map(AccountId::from_uuid))
    }
}
