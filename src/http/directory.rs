//! From the app's customer id to the account. The map never changes while an account lives (rule 2), so it is
//! remembered; an erased account is looked up anew.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::problem::Problem;
use crate::domain::ids::AccountId;
use crate::store::{Store, StoreError};

/// Most customers remembered: some tens of megabytes at the longest ids, a few at usual ones.
const REMEMBERED_MAX: usize = 65_536;

/// The customers of one database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    store: Store,
    seen: Arc<RwLock<HashMap<String, AccountId>>>,
}

impl Directory {
    /// Customers as the store has them.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone(), seen: Arc::default() }
    }

    /// The account of a customer.
    pub async fn find(&self, customer: &str) -> Result<Option<AccountId>, StoreError> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(customer).copied();
        if seen.is_some() {
            return Ok(seen);
        }
        let found = self.store.find_customer(customer).await?;
        if let Some(account) = found {
            self.remember(customer, account);
        }
        Ok(found)
    }

    /// The account of a customer that has to be there.
    pub async fn account(&self, customer: &str) -> Result<AccountId, Problem> {
        self.find(customer).await?.ok_or_else(Problem::unknown_customer)
    }

    /// Looks this customer up anew the next time.
    pub fn forget(&self, customer: &str) {
        self.seen.write().unwrap_or_else(PoisonError::into_inner).remove(customer);
    }

    fn remember(&self, customer: &str, account: AccountId) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(customer.to_owned(), account);
    }
}
