//! How a subscription begins and ends: trials and cancellations, as they are asked for.

use serde_json::json;

use super::super::params::Params;
use super::super::refusal::Refusal;

/// Days of a trial; Stripe's limit of two years.
const TRIAL_DAYS_MAX: i64 = 730;
/// Seconds of a day.
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// How a subscription begins and ends, checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms {
    /// The end of its trial.
    pub trial_end: Option<i64>,
    /// When it is canceled.
    pub cancel_at: Option<i64>,
    /// Whether it is canceled at the end of its first period.
    pub cancel_at_period_end: bool,
    /// Whether its first payment is declined.
    pub incomplete: bool,
}

/// A trial as it is asked for: so many days, or up to a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Days from the start.
    Days(i64),
    /// Unix seconds.
    Until(i64),
}

impl Trial {
    /// Reads `trial_period_days` and `trial_end`, of which one at most is given.
    pub fn read(params: &Params, now: i64) -> Result<Option<Self>, Refusal> {
        let days = params.integer_between("trial_period_days", 1, TRIAL_DAYS_MAX)?;
        let latest = now.saturating_add(TRIAL_DAYS_MAX * DAY_SECONDS);
        let end = params.integer_between("trial_end", now.saturating_add(1), latest)?;
        match (days, end) {
            (Some(_), Some(_)) => {
                let message = "You can only pass one of `trial_end` and `trial_period_days`.";
                Err(Refusal::invalid(message).with("param", json!(params.name("trial_end"))))
            }
            (Some(days), None) => Ok(Some(Self::Days(days))),
            (None, end) => Ok(end.map(Self::Until)),
        }
    }

    /// When it ends if it begins now; none if that has passed.
    pub fn end(self, now: i64) -> Option<i64> {
        let end = match self {
            Self::Days(days) => now.saturating_add(days * DAY_SECONDS),
            Self::Until(end) => end,
        };
        (end > now).then_some(end)
    }
}

/// Reads `cancel_at` and `cancel_at_period_end`, of which one at most says when it ends.
pub fn read_cancellation(params: &Params, now: i64) -> Result<(Option<i64>, Option<bool>), Refusal> {
    let at = if params.is_empty_text("cancel_at") {
        None
    } else {
        params.integer_between("cancel_at", now.saturating_add(1), i64::from(u32::MAX))?
    };
    let at_end = params.boolean("cancel_at_period_end")?;
    if at.is_some() && at_end == Some(true) {
        let message = "You can only pass one of `cancel_at` and `cancel_at_period_end`.";
        return Err(Refusal::invalid(message).with("param", json!("cancel_at")));
    }
    Ok((at, at_end))
}
