//! One customer on a database of its own, whose commands are posted.

use creditd::domain::burn::{Holdings, balance};
use creditd::domain::catalog::{FeatureId, file};
use creditd::domain::command::{Command, Decision};
use creditd::domain::ids::AccountId;
use creditd::posting::Posting;
use creditd::store::Store;
use creditd::store::catalog::Applied;
use jiff::Timestamp;

use super::database::fresh_store;
use super::plans::days_after;

/// A customer, and the whole second in which the story is told.
pub struct Customer {
    pub store: Store,
    pub posting: Posting,
    pub account: AccountId,
    pub now: Timestamp,
}

impl Customer {
    /// A new one under a catalogue file's text.
    pub async fn under(catalog: &str) -> Self {
        let store = fresh_store().await;
        let instance = store.ensure_instance(false, None).await.unwrap();
        let account = store.claim_customer("ada").await.unwrap().account();
        let now = Timestamp::from_second(instance.now.as_second()).unwrap();
        let customer = Self { posting: Posting::start(&store), account, now, store };
        customer.apply(catalog, 1).await;
        customer
    }

    /// Applies a catalogue file's text.
    pub async fn apply(&self, text: &str, digest: u8) {
        let catalog = file::read(text).unwrap();
        let _: Applied = self.store.apply_catalog(&catalog, [digest; 32], false).await.unwrap();
    }

    /// So many days before the story is told.
    pub fn ago(&self, days: i64) -> Timestamp {
        days_after(self.now, -days)
    }

    /// Posts a command that is not refused.
    pub async fn post(&self, command: Command) -> Decision {
        self.posting.post(self.account, None, command).await.unwrap()
    }

    /// The plans in force, and the calls that can be made.
    pub async fn stands(&self) -> (Vec<String>, String) {
        let reading = self.posting.read_complete(self.account).await.unwrap();
        let (state, now) = (reading.state, reading.now);
        let mut live: Vec<String> =
            state.attachments.iter().filter(|a| a.is_live()).map(|a| a.plan.as_str().to_owned()).collect();
        live.sort();
        let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: "", now };
        (live, balance(holdings, &FeatureId::new("calls").unwrap()).available.to_string())
    }

    /// The story ends, and the books hold.
    pub async fn finish(self) {
        self.posting.shut_down().await;
        assert!(!self.store.verify().await.unwrap().differs());
    }
}
