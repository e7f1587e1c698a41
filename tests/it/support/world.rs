//! One account and its catalogue in memory: commands are decided on it without a database.

use std::collections::BTreeMap;

use creditd::domain::account::{AccountState, Changes, IdSource};
use creditd::domain::catalog::{CatalogVersion, file};
use creditd::domain::command::{BeginTry, Command, Decision, Rejection, Request, TopUpPaid};
use creditd::domain::decide::{Context, decide};
use creditd::domain::ids::{AccountId, AttemptId, PaymentId};
use creditd::domain::top_up::TopUp;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Ids that count up.
pub struct Counting(pub u128);

impl IdSource for Counting {
    fn fresh(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }
}

/// A catalogue file's text as the first version.
pub fn first_version(text: &str) -> CatalogVersion {
    let catalog = file::read(text).unwrap();
    CatalogVersion {
        version: 1,
        applied_at: None,
        plan_versions: catalog.plans.keys().map(|id| (id.clone(), 1)).collect(),
        terms: catalog.plans.iter().map(|(id, plan)| ((id.clone(), 1), plan.clone())).collect(),
        catalog,
    }
}

/// An account of which nothing is booked yet.
pub fn new_account(now: Timestamp) -> AccountState {
    let id = AccountId::from_uuid(Uuid::from_u128(0xacc));
    AccountState { last_entry_at: now, complete: true, ..AccountState::empty(id) }
}

/// One account with a clock of its own.
pub struct World {
    pub state: AccountState,
    pub changes: Changes,
    pub catalog: CatalogVersion,
    pub ids: Counting,
    pub now: Timestamp,
    /// Ids of what is not decided here: tries and payments.
    outside: Counting,
}

impl World {
    /// A new account under a catalogue file's text.
    pub fn on(catalog: &str, now: &str) -> Self {
        let now = now.parse().unwrap();
        Self {
            state: new_account(now),
            changes: Changes::default(),
            catalog: first_version(catalog),
            ids: Counting(0),
            now,
            outside: Counting(1 << 64),
        }
    }

    /// What becomes of a command now.
    pub fn decide(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let context = Context { catalog: &self.catalog, now: self.now };
        decide(&mut self.state, &mut self.changes, command, context, &mut self.ids)
    }

    /// Time passes.
    pub fn later(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// The top-ups that are not over.
    pub fn open(&self) -> Vec<TopUp> {
        self.state.top_ups.iter().filter(|top_up| !top_up.state.is_over()).cloned().collect()
    }

    /// The next try of a top-up, by a card.
    pub fn next_try(&mut self, top_up: &TopUp, card: &str, step: &'static str) -> BeginTry {
        BeginTry {
            top_up: top_up.id,
            number: top_up.tries + 1,
            attempt: AttemptId::from_uuid(self.outside.fresh()),
            customer: "cus_1".to_owned(),
            payment_method: card.to_owned(),
            step,
            request: Request { method: "POST".to_owned(), path: "/v1/payment_intents".to_owned(), body: String::new() },
        }
    }

    /// A top-up is paid now, in full.
    pub fn payment_of(&mut self, top_up: &TopUp) -> TopUpPaid {
        let payment = PaymentId::from_uuid(self.outside.fresh());
        TopUpPaid {
            top_up: top_up.id,
            payment,
            payment_intent: Some(format!("pi_{payment}")),
            paid_at: self.now,
            net: top_up.amount,
            gross: top_up.amount,
            stripe_line: None,
            metadata: BTreeMap::new(),
        }
    }
}
