//! A customer having a plan.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::catalog::PlanId;
use super::ids::{AttachmentId, PaymentId};

/// Life of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentState {
    /// In force.
    Active,
    /// In force, not yet paid.
    Trialing,
    /// In force by grace, payment overdue.
    PastDue,
    /// Begins later.
    Scheduled,
    /// Not in force, but not over: its subscription is unpaid or paused.
    Paused,
    /// Over.
    Ended,
}

impl AttachmentState {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trialing => "trialing",
            Self::PastDue => "past_due",
            Self::Scheduled => "scheduled",
            Self::Paused => "paused",
            Self::Ended => "ended",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Trialing, Self::PastDue, Self::Scheduled, Self::Paused, Self::Ended]
            .into_iter()
            .find(|known| known.word() == word)
    }
}

/// Who attached it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachmentOrigin {
    /// Enabled for every new customer.
    Auto,
    /// A Stripe subscription pays for it.
    Stripe {
        /// The subscription (sub_..).
        subscription: String,
    },
    /// Asked for through the API.
    Api,
    /// Brought in by an import.
    Import {
        /// The subscription that pays for it, if one does.
        subscription: Option<String>,
    },
}

impl AttachmentOrigin {
    /// The word used in rows.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stripe { .. } => "stripe",
            Self::Api => "api",
            Self::Import { .. } => "import",
        }
    }

    /// The subscription that pays for it.
    pub fn subscription(&self) -> Option<&str> {
        match self {
            Self::Stripe { subscription } => Some(subscription),
            Self::Import { subscription } => subscription.as_deref(),
            Self::Auto | Self::Api => None,
        }
    }

    /// Reads the word and the subscription beside it.
    pub fn from_row(word: &str, subscription: Option<String>) -> Option<Self> {
        match (word, subscription) {
            ("auto", None) => Some(Self::Auto),
            ("api", None) => Some(Self::Api),
            ("stripe", Some(subscription)) => Some(Self::Stripe { subscription }),
            ("import", subscription) => Some(Self::Import { subscription }),
            _ => None,
        }
    }
}

/// What the plan that takes another's place keeps of it; by default nothing (rule 16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CarryOver {
    /// What is unspent of its running periods stays until their own end.
    pub balances: bool,
    /// What was used of them counts as used of the new plan's first period.
    pub usage: bool,
}

/// A customer having a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Our id.
    pub id: AttachmentId,
    /// The plan.
    pub plan: PlanId,
    /// The version of its terms that was pinned.
    pub plan_version: i32,
    /// Its life.
    pub state: AttachmentState,
    /// Who attached it.
    pub origin: AttachmentOrigin,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// Seats.
    pub quantity: i64,
    /// Every period boundary is computed from it.
    pub anchor: Timestamp,
    /// Periods that start before it are paid; `None`: the plan has no price.
    pub paid_through: Option<Timestamp>,
    /// Since when.
    pub started_at: Timestamp,
    /// Its trial ends then; `None`: it has had none.
    pub trial_ends_at: Option<Timestamp>,
    /// It ends then.
    pub cancel_at: Option<Timestamp>,
    /// It ended then.
    pub ended_at: Option<Timestamp>,
    /// When Stripe was last asked about its subscription; older views of it change nothing. `None`: never.
    pub seen_at: Option<Timestamp>,
    /// Is its subscription over for good? Then nothing Stripe says later brings the plan back.
    pub is_final: bool,
    /// A change inside its subscription brought it then: the clock gives only periods that start from then on
    /// (rule 13). `None`: it came with a period of its own.
    pub changed_at: Option<Timestamp>,
    /// Its payment was first seen overdue then; `None`: it is not.
    pub past_due_since: Option<Timestamp>,
    /// The payment of its newest paid period, and the start of that period: what the clock gives from there on is of this
    /// payment, and goes back with it. `None`: nothing was paid.
    pub paid_by: Option<(PaymentId, Timestamp)>,
    /// Its period grants ended with it then (rule 16), what comes back to them later too. `None`: they stay until their
    /// own ends.
    pub grants_ended_at: Option<Timestamp>,
}

impl Attachment {
    /// In force, so that its items renew and its flags are on?
    pub const fn is_live(&self) -> bool {
        match self.state {
            AttachmentState::Active | AttachmentState::Trialing | AttachmentState::PastDue => true,
            AttachmentState::Scheduled | AttachmentState::Paused | AttachmentState::Ended => false,
        }
    }

    /// Is one of its periods paid, or its trial begun?
    pub fn is_paid(&self) -> bool {
        self.paid_through.is_some_and(|through| through > self.started_at)
    }

    /// Is a period that ends then followed by another, once it is paid (rule 14)? Nothing is awaited after the end that
    /// its subscription is set to, nor from a plan that has no price: that one renews by itself.
    pub fn awaits_renewal(&self, period_end: Timestamp) -> bool {
        self.is_live() && self.paid_through.is_some() && self.cancel_at.is_none_or(|end| end > period_end)
    }

    /// May a period that starts then be granted by the clock (rule 13)?
    pub fn covers(&self, period_start: Timestamp) -> bool {
        self.is_live()
            && self.paid_through.is_none_or(|through| period_start < through)
            && self.cancel_at.is_none_or(|end| period_start < end)
            && self.changed_at.is_none_or(|from| period_start >= from)
    }

    /// When its flags go off because its payment is overdue (rule 18); `None`: it is not overdue, or its times leave the
    /// calendar. Overdue counts from the end of what is paid, or from when Stripe said so, whichever is first.
    pub fn flags_end_at(&self, grace_hours: u32) -> Option<Timestamp> {
        match self.state {
            AttachmentState::PastDue => {}
            AttachmentState::Active
            | AttachmentState::Trialing
            | AttachmentState::Scheduled
            | AttachmentState::Paused
            | AttachmentState::Ended => return None,
        }
        let paid = self.paid_through.filter(|through| *through > self.started_at);
        let since = match (paid, self.past_due_since) {
            (Some(paid), Some(seen)) => paid.min(seen),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        since.checked_add(SignedDuration::from_hours(i64::from(grace_hours))).ok()
    }

    /// Are the plan's boolean features on? While it is in force, and when overdue until its grace ends.
    pub fn has_flags(&self, grace_hours: u32, now: Timestamp) -> bool {
        self.is_live() && self.flags_end_at(grace_hours).is_none_or(|end| now < end)
    }
}
