//! Why the charger could not go on now. None of it says that a charge failed.

use crate::posting::PostError;
use crate::store::StoreError;
use crate::stripe::client::{StripeError, StripeIdError};
use crate::stripe::frozen::WriteError;
use crate::stripe::wire::WireError;

/// Why work on something due stopped; it is taken up again.
#[derive(Debug, thiserror::Error)]
pub enum ChargeError {
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The door.
    #[error("{0}")]
    Post(#[from] PostError),
    /// Stripe could not be asked.
    #[error("{0}")]
    Stripe(#[from] StripeError),
    /// A request that cannot be made.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// A text that is no id of Stripe's.
    #[error("{0}")]
    Id(#[from] StripeIdError),
    /// An answer of Stripe's that cannot be read.
    #[error("Stripe's answer cannot be read: {0}")]
    Unreadable(#[from] WireError),
    /// What Stripe answers, or what stands in a row, is not what it has to be.
    #[error("{0}")]
    Broken(&'static str),
    /// Money of a payment of ours belongs to somebody else, or to two.
    #[error("a payment's ids belong to others: {0}")]
    Conflict(String),
    /// The lease is over: somebody else has it.
    #[error("the lease was lost")]
    LostLease,
    /// A test stopped it.
    #[error("stopped at {0}")]
    Stopped(&'static str),
}

impl ChargeError {
    /// Does it need a person, rather than time?
    pub const fn needs_a_person(&self) -> bool {
        match self {
            Self::Write(_)
            | Self::Id(_)
            | Self::Broken(_)
            | Self::Conflict(_)
            | Self::Post(PostError::Rejected(_) | PostError::UnknownAccount(_)) => true,
            Self::Stripe(error) => !error.retry_helps(),
            Self::Store(_)
            | Self::Post(PostError::Busy(_) | PostError::Store(_))
            | Self::Unreadable(_)
            | Self::LostLease
            | Self::Stopped(_) => false,
        }
    }
}
