//! The language that histories are written in, and the answers that model and engine are held against each other by.
//! Amounts are billionths, times are seconds of the Unix clock.

use std::collections::BTreeMap;

use super::exact::Rate;

/// What a customer may use and hold.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    /// Credit systems with what a unit of each feature costs there. `messages` and `calls` are spent, `seats` are set.
    pub(crate) systems: BTreeMap<&'static str, BTreeMap<&'static str, Rate>>,
    /// Features whose credits live again when they come back to a grant that is over.
    pub(crate) reviving: Vec<&'static str>,
    /// What the plan that everyone has gives.
    pub(crate) items: Vec<PlanItem>,
    /// What may be owed: of which feature, how much at most, and whether it is invoiced in money.
    pub(crate) overage: Option<(&'static str, i128, bool)>,
    /// Wallets that are there before the history: their features and priorities.
    pub(crate) wallets: Vec<(&'static str, i32)>,
}

/// One thing that the plan gives.
#[derive(Clone, Debug)]
pub(crate) struct PlanItem {
    pub(crate) feature: &'static str,
    /// None: without limit.
    pub(crate) included: Option<i128>,
    /// None: once and for ever.
    pub(crate) every: Option<Every>,
    pub(crate) priority: Option<i32>,
    pub(crate) rollover: Option<Rollover>,
}

/// What is carried into the next period: so many credits at most, or so many percent of what a period gives, for so many
/// months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rollover {
    pub(crate) most: Option<i128>,
    pub(crate) percent: Option<u32>,
    pub(crate) months: Option<u32>,
}

/// How often an item comes anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Every {
    Days(u16),
    Months(u16),
}

/// What happens when the balance is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Short {
    Cap,
    Reject,
    Debt,
}

/// The time over which a spend limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    Hour,
    Day,
    Week,
    Month,
    Year,
    Lifetime,
}

/// How far a dispute has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dispute {
    Open,
    Won,
    Lost,
}

/// What happens in one step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Usage, or below zero usage taken back; `hold` is the number of a hold placed earlier.
    Track {
        feature: &'static str,
        entity: &'static str,
        units: i128,
        short: Short,
        hold: Option<usize>,
        last: bool,
    },
    /// So many seats are in use from now on.
    Set {
        entity: &'static str,
        units: i128,
        short: Short,
    },
    Hold {
        feature: &'static str,
        entity: &'static str,
        units: i128,
        seconds: u32,
        more: Short,
    },
    Extend {
        hold: usize,
        seconds: u32,
    },
    Release {
        hold: usize,
    },
    SetLimit {
        name: &'static str,
        feature: &'static str,
        entity: &'static str,
        span: Span,
        most: i128,
    },
    DropLimit {
        name: &'static str,
    },
    /// Credits by hand; `wallet` is the number of one of the shop's, or none for the default one.
    Give {
        feature: &'static str,
        entity: &'static str,
        wallet: Option<usize>,
        amount: i128,
        priority: Option<i32>,
        bought: bool,
        starts_in: Option<i64>,
        lives: Option<i64>,
    },
    /// A payment bought something, so many seconds ago.
    Buy {
        payment: u8,
        item: u8,
        feature: &'static str,
        amount: i128,
        ago: i64,
        lives: Option<i64>,
    },
    /// So much of a payment of [`PRICE`] has gone back by now.
    Refund {
        payment: u8,
        back: i64,
    },
    Dispute {
        payment: u8,
        state: Dispute,
    },
    Settle,
}

/// Minor units that every payment is of.
pub(crate) const PRICE: i64 = 1_000;

/// A step: the time before it, and whether it comes to the engine together with the one before.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) wait: i64,
    pub(crate) joined: bool,
    pub(crate) act: Act,
}

/// A grant, by what made it: ids differ between model and engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Given(usize),
    Bought(u8, u8),
    Period(usize, i64),
    /// What rolled over, of a feature, at a boundary.
    Rolled(&'static str, i64),
}

/// What is answered to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Tracked {
        cost: i128,
        drawn: i128,
        shortfall: i128,
        owed: i128,
        available: i128,
        unlimited: bool,
        draws: Vec<(Name, i128)>,
        hold: Option<i128>,
    },
    Held {
        held: i128,
        ends: i64,
    },
    Limited {
        used: i128,
    },
    Granted,
    Repeated,
    Reversed {
        taken: i128,
        owed: i128,
        waived: i128,
    },
    Settled,
    Refused(Refusal),
}

/// Why a step was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Insufficient { required: i128, available: i128 },
    SpendLimit,
    DebtNotAllowed,
    NothingToReturn { asked: i128, found: i128 },
    UnknownHold,
    HoldOfOther,
    UnknownLimit,
    WalletFeature,
    Other(String),
}

/// What can be seen of an account at a time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Picture {
    /// Credits left and held of each grant that still has any.
    pub(crate) lots: BTreeMap<Name, (i128, i128)>,
    /// What can be spent and what is held, by pool and entity.
    pub(crate) balances: BTreeMap<(&'static str, &'static str), (i128, i128)>,
    /// Owed by feature, and whether in credits or in money.
    pub(crate) debts: BTreeMap<(&'static str, bool), i128>,
    /// Seats in use, by entity.
    pub(crate) levels: BTreeMap<&'static str, i128>,
    /// What is used of each limit in its running window, open holds left out.
    pub(crate) limits: BTreeMap<&'static str, i128>,
    /// Answers to a check of one unit.
    pub(crate) checks: Vec<(&'static str, &'static str, Checked)>,
}

/// An answer to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) allowed: bool,
    pub(crate) reason: &'static str,
    pub(crate) required: i128,
    pub(crate) available: i128,
    pub(crate) held: i128,
    pub(crate) shortfall: i128,
}

/// Features that are spent, with the credit systems behind them.
pub(crate) const SPENT: [&str; 4] = ["calls", "credits", "messages", "points"];
/// Customer and seats.
pub(crate) const ENTITIES: [&str; 3] = ["", "seat-a", "seat-b"];
/// What is asked for in checks after a step: a few questions each, or all there are.
pub(crate) fn asked(number: Option<usize>) -> Vec<(&'static str, &'static str)> {
    let all = ENTITIES.into_iter().flat_map(|entity| SPENT.into_iter().chain([SEATS]).map(move |of| (of, entity)));
    match number {
        None => all.collect(),
        Some(number) => all.skip(number % 5).step_by(7).collect(),
    }
}

/// The feature that is set and freed.
pub(crate) const SEATS: &str = "seats";
