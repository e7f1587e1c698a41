//! What is due gets done, on any number of daemons, each thing once.
//!
//! A worker takes no input: it reads what is due, leases it, steps, records. A wake-up only shortens the wait. Leases
//! are rows with a token; the outcome is written only by who still holds it. No transaction is open during a call to
//! Stripe.

pub mod inbox;
mod resolve;
pub mod retention;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

/// When each worker last finished a round; what `/readyz` shows.
#[derive(Clone, Debug, Default)]
pub struct WorkerAges(Arc<Mutex<BTreeMap<&'static str, Timestamp>>>);

impl WorkerAges {
    /// A worker finished a round.
    pub fn finished(&self, worker: &'static str, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, at);
    }

    /// When each worker last finished a round.
    pub fn read(&self) -> BTreeMap<&'static str, Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
