//! What Stripe tells of a subscription's plans, with nothing said that a test does not care about.

use std::collections::BTreeMap;

use creditd::domain::catalog::PlanId;
use creditd::domain::command::{ChangedPlan, PlanChanged, PlanPaid};
use creditd::domain::grant::GrantMoney;
use creditd::domain::subscription::SubscribedPlan;
use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};

/// So many days later.
pub fn days_after(at: Timestamp, days: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

/// So many months of the calendar later.
pub fn months_after(at: Timestamp, months: i64) -> Timestamp {
    at.to_zoned(TimeZone::UTC).checked_add(Span::new().months(months)).unwrap().timestamp()
}

/// A plan's id.
pub fn plan(name: &str) -> PlanId {
    PlanId::new(name).unwrap()
}

/// One seat of a plan is paid for a period.
pub fn paid_period(subscription: &str, of: &str, period_start: Timestamp, period_end: Timestamp) -> PlanPaid {
    PlanPaid {
        payment: None,
        subscription: subscription.to_owned(),
        plan: plan(of),
        quantity: 1,
        period_start,
        period_end,
        is_trial: false,
        credited: Vec::new(),
        money: GrantMoney::default(),
        stripe_price: None,
        stripe_line: None,
        metadata: BTreeMap::new(),
    }
}

/// A change of plan or seats inside a period of `sub_1`, told by its two lines and paid at once.
pub fn changed_plan(from: (&str, i64), to: (&str, i64), when: Timestamp, period_end: Timestamp) -> PlanChanged {
    PlanChanged {
        payment: None,
        subscription: "sub_1".to_owned(),
        changed_at: when,
        period_end,
        paid_at: when,
        from: vec![SubscribedPlan { plan: plan(from.0), quantity: from.1 }],
        to: vec![ChangedPlan {
            plan: plan(to.0),
            quantity: to.1,
            money: GrantMoney::default(),
            stripe_price: None,
            stripe_line: None,
        }],
        metadata: BTreeMap::new(),
    }
}
