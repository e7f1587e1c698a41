//! A subscription as Stripe shows it at one moment: plans follow it (rule 12).

use jiff::Timestamp;

use super::catalog::PlanId;

/// Whether a subscription is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionLife {
    /// Paid.
    Active,
    /// Not yet to be paid.
    Trialing,
    /// In force by grace, payment overdue.
    PastDue,
    /// Not in force: unpaid after all retries, or paused.
    Paused,
    /// Over for good since then.
    Ended(Timestamp),
}

/// A plan a subscription has among its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedPlan {
    /// The plan its price is of.
    pub plan: PlanId,
    /// Seats.
    pub quantity: i64,
}

/// A view of a subscription. Views are ordered by when Stripe was asked, not by when they are worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSeen {
    /// The subscription (sub_..).
    pub subscription: String,
    /// When Stripe was asked, or when the event that carries it was made.
    pub seen_at: Timestamp,
    /// Whether it is in force.
    pub life: SubscriptionLife,
    /// The plans among its items, each once.
    pub plans: Vec<SubscribedPlan>,
    /// What its periods are counted from.
    pub anchor: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// When its trial ends or ended.
    pub trial_ends_at: Option<Timestamp>,
    /// When it is set to end.
    pub cancel_at: Option<Timestamp>,
}

/// A renewal that will not be paid: its invoice is void or uncollectible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalLost {
    /// The subscription.
    pub subscription: String,
    /// Start of the period that was not paid.
    pub period_start: Timestamp,
}
