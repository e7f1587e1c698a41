//! Grants and wallets: where credits lie, and when they can be spent.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::{FeatureId, PlanId, RevenuePolicy, UnitPrice};
use super::credits::Credits;
use super::ids::{AttachmentId, GrantId, PaymentId, WalletId};
use super::money::Money;
use super::proration::Step;

/// Why a grant was given (design: category).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Included in a plan.
    Plan,
    /// Given for nothing: trials, goodwill.
    Promotional,
    /// Bought.
    Prepaid,
    /// Promised by a contract.
    Committed,
}

impl Category {
    /// Burn priority of a grant that names none (rule 20).
    pub const fn default_priority(self) -> i32 {
        match self {
            Self::Plan | Self::Promotional => 10,
            Self::Prepaid | Self::Committed => 50,
        }
    }

    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Promotional => "promotional",
            Self::Prepaid => "prepaid",
            Self::Committed => "committed",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Plan, Self::Promotional, Self::Prepaid, Self::Committed].into_iter().find(|known| known.word() == word)
    }
}

/// May a wallet's grants be spent?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WalletState {
    /// Yes.
    Open,
    /// Not now.
    Frozen,
    /// Never again.
    Closed,
}

impl WalletState {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Open, Self::Frozen, Self::Closed].into_iter().find(|known| known.word() == word)
    }
}

/// A named group of a customer's grants of one feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// Our id.
    pub id: WalletId,
    /// The id the app gave it; `None`: ours is shown.
    pub key: Option<String>,
    /// Name for people.
    pub name: Option<String>,
    /// The feature its credits are of.
    pub feature: FeatureId,
    /// Where grants go that name no wallet?
    pub is_default: bool,
    /// Burn priority, lower first.
    pub priority: i32,
    /// May it be spent?
    pub state: WalletState,
    /// Days that grants without an expiry of their own live.
    pub default_expiry_days: Option<u32>,
    /// Most credits it may owe by usage (rule 22); never zero, `None`: it may owe none.
    pub debt_limit: Option<Credits>,
    /// Free keys of the app.
    pub metadata: BTreeMap<String, String>,
    /// When it was closed; exactly when `state` says so.
    pub closed_at: Option<Timestamp>,
}

/// The contract behind committed credits. It is kept with the grant for invoicing and finance; when the grant can be
/// spent is said by the grant alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contract {
    /// Its number, or where it is found.
    pub reference: String,
    /// What the customer spends at least while it runs.
    pub minimum_spend: Option<Money>,
    /// It runs from then.
    pub starts_at: Option<Timestamp>,
    /// It runs until then, exclusive.
    pub ends_at: Option<Timestamp>,
}

/// What paid for a grant, as finance needs it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct GrantMoney {
    /// Paid for it, tax included.
    pub paid: Option<Money>,
    /// Tax within it, minor units of the same currency.
    pub tax_minor: Option<i64>,
    /// Discount on it, minor units of the same currency.
    pub discount_minor: Option<i64>,
    /// Deferred on it at the start, minor units of the same currency.
    pub basis_minor: Option<i64>,
}

/// Facts of a grant that posting stores and no decision reads again.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Origin {
    /// The payment that bought it, or paid for its period.
    pub payment: Option<PaymentId>,
    /// What of the payment it is; only for bought grants.
    pub item_key: Option<String>,
    /// The plan and its version.
    pub plan: Option<(PlanId, i32)>,
    /// What paid for it.
    pub money: GrantMoney,
    /// How the plan's fee is recognised.
    pub revenue: Option<RevenuePolicy>,
    /// Stripe's price of the line.
    pub stripe_price: Option<String>,
    /// Stripe's line item.
    pub stripe_line: Option<String>,
    /// Reference of a payment outside Stripe, else of the contract.
    pub contract: Option<String>,
    /// Contract of a committed grant.
    pub terms: Option<Contract>,
    /// Why, in words.
    pub reason: Option<String>,
    /// Free keys of the payment or request.
    pub metadata: BTreeMap<String, String>,
    /// The part of a period's allowance it is, when it is not all of it.
    pub step: Option<Step>,
}

/// The plan period a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Period {
    /// The attachment.
    pub attachment: AttachmentId,
    /// The plan's item.
    pub item: String,
    /// Its start.
    pub start: Timestamp,
}

/// What a rollover grant carries on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolled {
    /// The grant whose rest it is.
    pub from: GrantId,
    /// The attachment that gave it.
    pub attachment: AttachmentId,
    /// The plan's item.
    pub item: String,
}

/// Burn priority of a rollover grant whose item names none (rule 20).
pub const ROLLOVER_PRIORITY: i32 = 5;

/// An amount of one feature's credits given to one customer for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Our id.
    pub id: GrantId,
    /// The wallet it lies in.
    pub wallet: WalletId,
    /// That wallet's burn priority.
    pub wallet_priority: i32,
    /// May that wallet be spent?
    pub wallet_state: WalletState,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// Why it was given.
    pub category: Category,
    /// Burn priority, lower first.
    pub priority: i32,
    /// Absorbs all usage?
    pub unlimited: bool,
    /// Credits given.
    pub original: Credits,
    /// Credits left, held ones included.
    pub remaining: Credits,
    /// Credits set aside.
    pub held: Credits,
    /// Not spendable while a dispute is open.
    pub frozen: bool,
    /// Spendable from then, inclusive.
    pub starts_at: Timestamp,
    /// Spendable until then, exclusive.
    pub expires_at: Option<Timestamp>,
    /// Spendable until then while its successor is awaited (rule 14).
    pub grace_ends_at: Option<Timestamp>,
    /// The plan period it is for.
    pub period: Option<Period>,
    /// The payment that bought it, or paid for its period.
    pub payment: Option<PaymentId>,
    /// What it carries on, when it is a rollover grant; then it is of no period.
    pub rolled: Option<Rolled>,
}

/// Why a grant cannot be spent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// It starts later.
    NotStarted,
    /// It has ended.
    Expired,
    /// A dispute froze it, or its wallet is frozen.
    Frozen,
    /// Its wallet is closed.
    WalletClosed,
    /// Its wallet owes as much.
    Debt,
}

impl Grant {
    /// When it stops being spendable, grace included; exclusive.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.grace_ends_at.or(self.expires_at)
    }

    /// Whether and why it cannot be spent at `now`: a question about time, never about a worker (law 7).
    pub fn blocked(&self, now: Timestamp) -> Option<Blocked> {
        if now < self.starts_at {
            return Some(Blocked::NotStarted);
        }
        if self.ends_at().is_some_and(|end| now >= end) {
            return Some(Blocked::Expired);
        }
        match self.wallet_state {
            WalletState::Open if self.frozen => Some(Blocked::Frozen),
            WalletState::Open => None,
            WalletState::Frozen => Some(Blocked::Frozen),
            WalletState::Closed => Some(Blocked::WalletClosed),
        }
    }

    /// Credits neither spent nor held, whatever the time.
    pub fn free(&self) -> Credits {
        // Cannot fail: 0 <= held <= remaining.
        self.remaining.checked_sub(self.held).unwrap_or(Credits::ZERO)
    }

    /// Credits that can be spent at `now`.
    pub fn spendable(&self, now: Timestamp) -> Credits {
        if self.blocked(now).is_some() { Credits::ZERO } else { self.free() }
    }

    /// The first part of the burn order, which goes before the choice of a pool: with an entity given its grants before
    /// the customer's; without one the customer's, then entities' by id (rule 20).
    pub fn seat_before(&self, other: &Self, entity: &str) -> Ordering {
        let rank = |grant: &Self| match (entity.is_empty(), grant.entity.is_empty()) {
            (true, own) => u8::from(!own),
            (false, own) => u8::from(own),
        };
        rank(self).cmp(&rank(other)).then_with(|| self.entity.cmp(&other.entity))
    }

    /// The total burn order of rule 20 inside one pool. `entity` is the one the usage is for; empty: none.
    pub fn burns_before(&self, other: &Self, entity: &str) -> Ordering {
        let end = |grant: &Self| (grant.expires_at.is_none(), grant.expires_at);
        self.seat_before(other, entity)
            .then_with(|| self.wallet_priority.cmp(&other.wallet_priority))
            .then_with(|| self.priority.cmp(&other.priority))
            .then_with(|| end(self).cmp(&end(other)))
            .then_with(|| self.starts_at.cmp(&other.starts_at))
            .then_with(|| self.id.cmp(&other.id))
    }
}

/// A deficit of a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debt {
    /// Our id.
    pub id: super::ids::DebtId,
    /// The wallet it burdens.
    pub wallet: WalletId,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Credits still owed.
    pub outstanding: Credits,
    /// Of those, credits that are on a bill which is not paid; zero where nothing is invoiced.
    pub billed: Credits,
    /// How it came to be.
    pub cause: DebtCause,
}

/// How a debt came to be (rule 21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebtCause {
    /// A reversal found the credits spent; the next grants repay it.
    ClawBack,
    /// Usage beyond the balance, where that is allowed.
    Usage {
        /// What a credit of it costs, for later invoicing; without a price the next grants repay it.
        price: Option<UnitPrice>,
    },
}

impl Debt {
    /// Is it invoiced in money rather than repaid by the next grants?
    pub const fn invoiced(&self) -> bool {
        matches!(self.cause, DebtCause::Usage { price: Some(_) })
    }
}
