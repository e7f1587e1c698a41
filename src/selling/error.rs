//! Why an order was not carried out.

use std::time::Duration;

use super::offer::Refusal;
use crate::domain::catalog::PlanId;
use crate::posting::PostError;
use crate::store::StoreError;
use crate::stripe::client::{StripeError, StripeIdError};
use crate::stripe::frozen::WriteError;
use crate::stripe::outcome::{Decline, RefusalClass, Refused, Unknown, UnknownReason};
use crate::stripe::wire::WireError;

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SellError {
    /// It makes no sense here.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// There is no API key of Stripe's.
    #[error("this costs money, and no Stripe key is configured: set STRIPE_SECRET_KEY")]
    NotConfigured,
    /// The customer was erased.
    #[error("there is no customer with this id")]
    UnknownCustomer,
    /// Stripe has no customer for them.
    #[error("this customer has paid for nothing through Stripe yet")]
    NoStripeCustomer,
    /// The plan is not attached.
    #[error("plan `{0}` is not attached")]
    NotAttached(PlanId),
    /// A subscription sells more than the plan that is to end.
    #[error("the subscription of plan `{plan}` sells {} too: change it in Stripe", .others.join(", "))]
    Shared {
        /// The plan.
        plan: PlanId,
        /// The others.
        others: Vec<String>,
    },
    /// The key was used with other content.
    #[error("this key was used before with other content; use a new key for a new request")]
    KeyConflict,
    /// It was bought a moment ago, and Stripe's event is not here yet.
    #[error("this was paid or is being paid: the plan comes with Stripe's event; ask again in a moment")]
    InProgress,
    /// The card was declined.
    #[error("the card was declined{}", .0.decline_code.as_ref().or(.0.code.as_ref()).map(|code| format!(": {code}")).unwrap_or_default())]
    Declined(Box<Decline>),
    /// Stripe understood and refused.
    #[error("Stripe refused: {0}")]
    StripeRefused(String),
    /// Stripe cannot be asked now.
    #[error("Stripe cannot be asked now: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// When to come back.
        retry_after: Option<Duration>,
        /// May Stripe have done what it was sent? Otherwise the same is sent again.
        may_be_done: bool,
    },
    /// The door refused.
    #[error("{0}")]
    Post(#[from] PostError),
    /// The database could not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Something here or at Stripe is not as it has to be.
    #[error("{0}")]
    Inconsistent(&'static str),
}

impl From<StripeError> for SellError {
    fn from(error: StripeError) -> Self {
        let reason = error.to_string();
        match error {
            StripeError::RateLimited { retry_after } => Self::Unavailable { reason, retry_after, may_be_done: false },
            StripeError::Unauthorized { .. } | StripeError::Unavailable { .. } | StripeError::TooLarge { .. } => {
                Self::Unavailable { reason, retry_after: None, may_be_done: false }
            }
            StripeError::Refused { message, .. } => Self::StripeRefused(message),
        }
    }
}

impl From<Unknown> for SellError {
    fn from(unknown: Unknown) -> Self {
        let may_be_done = match unknown.why {
            UnknownReason::NotConnected | UnknownReason::Busy | UnknownReason::RateLimited => false,
            UnknownReason::Timeout
            | UnknownReason::Broken
            | UnknownReason::Cut
            | UnknownReason::Unreadable
            | UnknownReason::TooLarge
            | UnknownReason::ServerError
            | UnknownReason::UnexpectedStatus
            | UnknownReason::Contradiction => true,
        };
        Self::Unavailable { reason: unknown.why.to_string(), retry_after: unknown.retry_after, may_be_done }
    }
}

impl From<Refused> for SellError {
    fn from(refused: Refused) -> Self {
        match refused.class {
            RefusalClass::Declined(decline) => Self::Declined(decline),
            RefusalClass::Invalid | RefusalClass::ResourceMissing => Self::StripeRefused(refused.message),
            RefusalClass::IdempotencyMismatch => Self::Inconsistent("Stripe knows the key of a sale with other bytes"),
            RefusalClass::Unauthorized => Self::Unavailable {
                reason: "the key is refused: check STRIPE_SECRET_KEY and its permissions".to_owned(),
                retry_after: None,
                may_be_done: false,
            },
        }
    }
}

impl From<WriteError> for SellError {
    fn from(error: WriteError) -> Self {
        Self::StripeRefused(error.to_string())
    }
}

impl From<StripeIdError> for SellError {
    fn from(_: StripeIdError) -> Self {
        Self::Inconsistent("an id of Stripe's that is none")
    }
}

impl SellError {
    /// Something of an answer of Stripe's cannot be read, and nothing is taken for granted.
    pub(super) fn unreadable(what: &str) -> Self {
        Self::Unavailable { reason: format!("{what} cannot be read"), retry_after: None, may_be_done: true }
    }
}

impl From<WireError> for SellError {
    fn from(error: WireError) -> Self {
        Self::unreadable(&format!("its answer ({error})"))
    }
}
