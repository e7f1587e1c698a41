//! Spend limits: how much of a feature a customer, or one seat, may use within a window of time.
//!
//! A limit of a metered feature counts its units; one of a credit system counts the credits drawn of that pool, whatever
//! was used. Windows are those of the calendar in UTC. Open holds count as used, so that they can always be settled.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::{FeatureId, Interval, IntervalUnit, ResetAnchor};
use super::credits::{AmountError, Credits, Quantity};
use super::period::{self, OutOfCalendar};

/// Longest name of a limit, in bytes.
pub const LIMIT_NAME_MAX: usize = 128;
/// Most limits of one customer: each is looked at with every track.
pub const LIMITS_MAX: usize = 50;

/// The time over which usage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// Sixty minutes on the clock.
    Hour,
    /// A calendar day.
    Day,
    /// Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
    /// Without end.
    Lifetime,
}

impl Window {
    /// Every window there is.
    pub const ALL: [Self; 6] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year, Self::Lifetime];

    /// The word used in rows, requests and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
            Self::Lifetime => "lifetime",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }

    /// When the window that contains a time began and ends; neither for one without end.
    pub fn around(self, now: Timestamp) -> Result<Option<(Timestamp, Timestamp)>, OutOfCalendar> {
        let unit = match self {
            Self::Hour => IntervalUnit::Hour,
            Self::Day => IntervalUnit::Day,
            Self::Week => IntervalUnit::Week,
            Self::Month => IntervalUnit::Month,
            Self::Year => IntervalUnit::Year,
            Self::Lifetime => return Ok(None),
        };
        let utc = ResetAnchor::Calendar { time_zone: "UTC".to_owned() };
        // The calendar cuts the windows; only the one that 1970 began in is shorter.
        let span = period::containing(Timestamp::UNIX_EPOCH, &utc, Interval { unit, count: 1 }, now)?;
        Ok(Some((span.start, span.end)))
    }
}

/// What makes up what a limit counts: its name, feature, entity and window.
pub type LimitKey = (String, FeatureId, String, Window);

/// Usage that limits count, or no longer count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When it happened.
    pub at: Timestamp,
    /// What was used.
    pub feature: FeatureId,
    /// For which seat or workspace; empty: none.
    pub entity: String,
    /// Units of it that were paid, below zero for those that were taken back.
    pub units: Quantity,
    /// Credits that paid for them, by pool.
    pub credits: Vec<(FeatureId, Credits)>,
}

/// A limit, with what is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendLimit {
    /// The name the app gave it: unique for its customer.
    pub name: String,
    /// A metered feature (counted in its units) or a credit system (counted in credits).
    pub feature: FeatureId,
    /// The seat or workspace whose usage counts; empty: all usage of the customer.
    pub entity: String,
    /// Over which time.
    pub window: Window,
    /// Most that may be used in it.
    pub most: Credits,
    /// Start of the window that `used` is of; none for a window without end.
    pub window_start: Option<Timestamp>,
    /// Used in that window.
    pub used: Credits,
}

impl SpendLimit {
    /// Does it count the usage of that entity?
    pub fn counts(&self, entity: &str) -> bool {
        self.entity.is_empty() || self.entity == entity
    }

    /// What it counts of a usage: credits of its pool, or units of its feature.
    pub fn share_of(&self, counted: &Counted, is_pool: bool) -> Result<Credits, AmountError> {
        if is_pool {
            let of_pool = counted.credits.iter().filter(|(pool, _)| *pool == self.feature);
            return of_pool.map(|(_, credits)| *credits).try_fold(Credits::ZERO, Credits::checked_add);
        }
        if self.feature == counted.feature { Credits::from_nanos(counted.units.nanos()) } else { Ok(Credits::ZERO) }
    }

    /// Is a time in the window that contains `now`?
    pub fn is_running(&self, at: Timestamp, now: Timestamp) -> Result<bool, OutOfCalendar> {
        Ok(self.window.around(at)? == self.window.around(now)?)
    }

    /// Used in the window that contains `now`.
    pub fn used_at(&self, now: Timestamp) -> Result<Credits, OutOfCalendar> {
        let start = self.window.around(now)?.map(|(start, _)| start);
        Ok(if start == self.window_start { self.used } else { Credits::ZERO })
    }

    /// Counts more, or less for usage that was taken back, in the window that contains `now`.
    pub fn count(&mut self, now: Timestamp, amount: Credits) -> Result<(), LimitError> {
        let used = self.used_at(now)?.checked_add(amount)?.max(Credits::ZERO);
        self.window_start = self.window.around(now)?.map(|(start, _)| start);
        self.used = used;
        Ok(())
    }
}

/// A spend limit's part in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitPart {
    /// Its name.
    pub name: String,
    /// Over which time.
    pub window: Window,
    /// Most that may be used in it.
    pub most: Credits,
    /// Used in it, open holds included.
    pub used: Credits,
}

/// Why usage could not be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The sum left the range kept.
    #[error("{0}")]
    Amount(#[from] AmountError),
    /// The window left the calendar.
    #[error("{0}")]
    Calendar(#[from] OutOfCalendar),
}
