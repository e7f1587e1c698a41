//! What is due gets done, on any number of daemons, each thing once.
//!
//! A worker takes no input: it reads what is due, leases it, steps, records. A wake-up only shortens the wait. Leases
//! are rows with a token; the outcome is written only by who still holds it. No transaction is open during a call to
//! Stripe.

pub mod catch_up;
mod charges;
pub mod inbox;
pub mod overage;
pub mod reconcile;
pub mod renewal;
pub mod replay;
mod resolve;
pub mod retention;
pub mod top_up;

use std::sync::Arc;

/// Called when a worker has finished a round.
pub type Beat = Arc<dyn Fn() + Send + Sync>;
