//! What the binary can do, one file each. Each takes what it needs and writes what it says; `main.rs` parses and exits.

pub mod bench;
pub mod catalog;
pub mod daemon;
pub mod dev;
pub mod export;
pub mod grant;
pub mod health;
pub mod keys;
pub mod openapi;
pub mod reconcile;
pub mod replay;
pub mod serve;
pub mod test_clock;
pub mod tour;
pub mod verify;
pub mod why;

/// How a command ended, as an exit code (design: 0 done, 1 failed, 2 bad usage or configuration, 3 differences).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Exit {
    /// Done.
    Done,
    /// The check found differences.
    Differences,
    /// Something of Stripe's is missing in the books, and nobody asked for it to be brought in.
    Missing,
}

/// Wrong use or wrong configuration: exit code 2.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
