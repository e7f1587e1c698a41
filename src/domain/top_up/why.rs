//! What holds a charge back: the first check that does, with its numbers. Deciding and explaining are this one function.

use jiff::{SignedDuration, Timestamp};

use super::super::account::AccountState;
use super::super::catalog::CatalogVersion;
use super::super::credits::{AmountError, Credits};
use super::super::grant::{Blocked, WalletState};
use super::super::ids::TopUpId;
use super::super::limit::Window;
use super::super::money::Currency;
use super::price::{NoQuote, Quote, quote};
use super::{Buy, Ceiling, PauseReason, Rule, RuleOrigin, RuleTerms, Spent, TopUpState};

/// Whether a rule would charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would, this.
    WouldCharge {
        /// What is bought.
        quote: Quote,
        /// The balance.
        balance: Credits,
    },
    /// It would not.
    HeldBack(HeldBack),
}

/// Why a rule does not charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBack {
    /// It is switched off.
    Disabled,
    /// A rule that the app set stands before the plan's.
    ReplacedByOther(String),
    /// Nobody agreed to be charged.
    ConsentMissing,
    /// It waits until somebody acts.
    Paused {
        /// Why.
        because: PauseReason,
        /// Since when.
        since: Timestamp,
    },
    /// Its last decision is not over.
    OpenTopUp {
        /// Which.
        top_up: TopUpId,
        /// How far it has got.
        state: TopUpState,
    },
    /// The wallet that it fills is frozen or over: what is bought could not be spent, and the balance would stay low.
    WalletShut(WalletState),
    /// A dispute is open: nobody who disputes a charge is charged again.
    Disputed,
    /// There is no limit to spend.
    Unlimited,
    /// Enough is there.
    BalanceAbove {
        /// The balance.
        balance: Credits,
        /// Where it buys.
        threshold: Credits,
    },
    /// The balance has reached the target.
    AtTarget {
        /// The balance.
        balance: Credits,
        /// The target.
        target: Credits,
    },
    /// The catalogue sells nothing of the feature in its currency to this customer.
    PriceMissing,
    /// One purchase cannot be that large.
    TooMuch,
    /// It decided a short while ago.
    Cooldown {
        /// It may again from then.
        until: Timestamp,
    },
    /// A ceiling is reached.
    Ceiling {
        /// Of a day or a month.
        window: Window,
        /// Of money, in minor units; else of decisions.
        of_money: bool,
        /// Of that money.
        currency: Currency,
        /// The ceiling.
        most: i64,
        /// Decided in the window.
        used: i64,
        /// What this one would add.
        asked: i64,
        /// The window ends then.
        until: Timestamp,
    },
    /// The sums leave the range that is kept.
    OutOfRange,
}

impl HeldBack {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::ReplacedByOther(_) => "replaced_by_other_rule",
            Self::ConsentMissing => "consent_missing",
            Self::Paused { .. } => "paused",
            Self::OpenTopUp { .. } => "open_top_up",
            Self::WalletShut(WalletState::Closed) => "wallet_closed",
            Self::WalletShut(_) => "wallet_frozen",
            Self::Disputed => "disputed",
            Self::Unlimited => "unlimited",
            Self::BalanceAbove { .. } => "balance_above",
            Self::AtTarget { .. } => "at_target",
            Self::PriceMissing => "price_missing",
            Self::TooMuch => "too_much",
            Self::Cooldown { .. } => "cooldown",
            Self::Ceiling { window: Window::Day, of_money: false, .. } => "max_per_day_count",
            Self::Ceiling { window: Window::Day, of_money: true, .. } => "max_per_day_money",
            Self::Ceiling { of_money: false, .. } => "max_per_month_count",
            Self::Ceiling { of_money: true, .. } => "max_per_month_money",
            Self::OutOfRange => "out_of_range",
        }
    }

    /// When it ends by itself; never, if somebody has to act or the balance has to change.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Cooldown { until } | Self::Ceiling { until, .. } => Some(*until),
            Self::Disabled
            | Self::ReplacedByOther(_)
            | Self::ConsentMissing
            | Self::Paused { .. }
            | Self::OpenTopUp { .. }
            | Self::WalletShut(_)
            | Self::Disputed
            | Self::Unlimited
            | Self::BalanceAbove { .. }
            | Self::AtTarget { .. }
            | Self::PriceMissing
            | Self::TooMuch
            | Self::OutOfRange => None,
        }
    }
}

/// Would a rule charge at `now`? The checks come in the order in which they are worth mending.
pub fn standing(state: &AccountState, catalog: &CatalogVersion, rule: &Rule, now: Timestamp) -> Standing {
    match charge(state, catalog, rule, now) {
        Ok((quote, balance)) => Standing::WouldCharge { quote, balance },
        Err(held_back) => Standing::HeldBack(held_back),
    }
}

fn charge(
    state: &AccountState,
    catalog: &CatalogVersion,
    rule: &Rule,
    now: Timestamp,
) -> Result<(Quote, Credits), HeldBack> {
    let terms = &rule.terms;
    if !rule.enabled {
        return Err(HeldBack::Disabled);
    }
    if let Some(other) = state.rules.iter().find(|other| stands_before(other, rule)) {
        return Err(HeldBack::ReplacedByOther(other.name.clone()));
    }
    if terms.consent.is_none() {
        return Err(HeldBack::ConsentMissing);
    }
    if let Some(paused) = rule.paused {
        return Err(HeldBack::Paused { because: paused.because, since: paused.at });
    }
    if let Some(open) = state.top_ups.iter().find(|top_up| top_up.rule == rule.name && !top_up.state.is_over()) {
        return Err(HeldBack::OpenTopUp { top_up: open.id, state: open.state });
    }
    if let Some(shut) = terms.shut {
        return Err(HeldBack::WalletShut(shut));
    }
    let balance = balance_of(state, terms, now)?;
    if balance > terms.threshold {
        return Err(HeldBack::BalanceAbove { balance, threshold: terms.threshold });
    }
    let needed = match terms.buy {
        Buy::Quantity(quantity) => quantity,
        Buy::Target(target) => {
            let needed = target.checked_sub(balance).map_err(|_| HeldBack::OutOfRange)?;
            if !needed.is_positive() {
                return Err(HeldBack::AtTarget { balance, target });
            }
            needed
        }
    };
    let source = terms.source.as_ref().ok_or(HeldBack::PriceMissing)?;
    let quote = quote(&catalog.catalog, source, terms.currency, needed).map_err(|no_quote| match no_quote {
        NoQuote::Missing => HeldBack::PriceMissing,
        NoQuote::TooMuch => HeldBack::TooMuch,
    })?;
    let cooldown = SignedDuration::from_secs(i64::from(terms.cooldown_seconds));
    let cools_until = rule.decided_at.and_then(|last| last.checked_add(cooldown).ok());
    if let Some(until) = cools_until.filter(|until| now < *until) {
        return Err(HeldBack::Cooldown { until });
    }
    within_ceilings(rule, quote.amount.minor(), now)?;
    Ok((quote, balance))
}

/// Does a rule still want what it decided a while ago?
pub fn still_wants(state: &AccountState, rule: &Rule, now: Timestamp) -> bool {
    let is_low = balance_of(state, &rule.terms, now).is_ok_and(|sum| sum <= rule.terms.threshold);
    is_in_force(state, rule) && rule.terms.consent.is_some() && rule.terms.shut.is_none() && is_low
}

/// Is it on, and no other in its place?
pub fn is_in_force(state: &AccountState, rule: &Rule) -> bool {
    rule.enabled && !state.rules.iter().any(|other| stands_before(other, rule))
}

/// A rule that the app set, on or off, stands before a plan's about the same.
pub fn stands_before(other: &Rule, rule: &Rule) -> bool {
    rule.origin == RuleOrigin::Plan
        && other.origin == RuleOrigin::Api
        && other.terms.feature == rule.terms.feature
        && other.terms.wallet == rule.terms.wallet
}

/// Does one more decision of so much stay within a rule's ceilings?
pub fn within_ceilings(rule: &Rule, minor: i64, now: Timestamp) -> Result<(), HeldBack> {
    let (terms, currency) = (&rule.terms, rule.terms.currency);
    within(Window::Day, terms.per_day, rule.day, (minor, currency), now)?;
    within(Window::Month, terms.per_month, rule.month, (minor, currency), now)
}

/// Is more decided than a rule's ceilings allow? Only once they were lowered.
pub fn is_above_ceilings(rule: &Rule, now: Timestamp) -> bool {
    let above = |window: Window, ceiling: Ceiling, spent: Spent| {
        let spent = spent.at(window, now);
        let most = ceiling.count.map(i64::from);
        most.is_some_and(|most| spent.count > most) || ceiling.minor.is_some_and(|most| spent.minor > most)
    };
    above(Window::Day, rule.terms.per_day, rule.day) || above(Window::Month, rule.terms.per_month, rule.month)
}

fn within(
    window: Window,
    ceiling: Ceiling,
    spent: Spent,
    (minor, currency): (i64, Currency),
    now: Timestamp,
) -> Result<(), HeldBack> {
    let Ok(Some((_, until))) = window.around(now) else { return Err(HeldBack::OutOfRange) };
    let spent = spent.at(window, now);
    let checks = [(false, ceiling.count.map(i64::from), spent.count, 1), (true, ceiling.minor, spent.minor, minor)];
    for (of_money, most, used, asked) in checks {
        let Some(most) = most else { continue };
        if used.checked_add(asked).is_none_or(|sum| sum > most) {
            return Err(HeldBack::Ceiling { window, of_money, currency, most, used, asked, until });
        }
    }
    Ok(())
}

/// What can be spent of what a rule watches, less what is owed.
pub fn balance_of(state: &AccountState, terms: &RuleTerms, now: Timestamp) -> Result<Credits, HeldBack> {
    let of_wallet = |wallet| terms.wallet.is_none_or(|watched| watched == wallet);
    let watched = |grant: &&super::super::grant::Grant| grant.feature == terms.feature && of_wallet(grant.wallet);
    for grant in state.grants.iter().filter(watched) {
        match grant.blocked(now) {
            Some(Blocked::Frozen) if grant.frozen && grant.remaining.is_positive() => return Err(HeldBack::Disputed),
            None if grant.unlimited => return Err(HeldBack::Unlimited),
            Some(_) | None => {}
        }
    }
    sum_of(state, terms, now).map_err(|_| HeldBack::OutOfRange)
}

fn sum_of(state: &AccountState, terms: &RuleTerms, now: Timestamp) -> Result<Credits, AmountError> {
    let of_wallet = |wallet| terms.wallet.is_none_or(|watched| watched == wallet);
    let mut sum = Credits::ZERO;
    for grant in state.grants.iter().filter(|grant| grant.feature == terms.feature && of_wallet(grant.wallet)) {
        sum = sum.checked_add(grant.spendable(now))?;
    }
    for debt in state.debts.iter().filter(|debt| debt.feature == terms.feature && of_wallet(debt.wallet)) {
        sum = sum.checked_sub(debt.outstanding)?;
    }
    Ok(sum)
}
