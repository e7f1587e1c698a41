//! What is asked of an account's rules and top-ups, and what is answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::super::catalog::FeatureId;
use super::super::credits::Credits;
use super::super::ids::{AttemptId, PaymentId, TopUpId, WalletId};
use super::super::money::{Currency, Money};
use super::super::top_up::decline::Why;
use super::super::top_up::why::HeldBack;
use super::super::top_up::{Buy, Ceiling, ChargeMode, Consent, Link, PauseReason};

/// Something about rules, top-ups and tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charging {
    /// A rule is set, or set anew.
    SetRule(Box<SetRule>),
    /// A rule is taken away, by name.
    DropRule(String),
    /// Credits are ordered by hand.
    Order(Box<OrderTopUp>),
    /// Rules are looked at: what held one back may be over.
    Look,
    /// A card of the customer's is new or changed, since then; without a time, just now. What was paused later is about a
    /// card that was there.
    CardSeen(Option<Timestamp>),
    /// Stripe's customer is gone.
    CustomerDeleted,
    /// A card is about to be charged.
    BeginTry(Box<BeginTry>),
    /// There is no card to charge.
    NoCard(TopUpId),
    /// What became of a try, short of its success.
    TryEnded {
        /// Of which top-up.
        top_up: TopUpId,
        /// Which try.
        attempt: AttemptId,
        /// What.
        result: TryResult,
    },
    /// A top-up was paid.
    Paid(Box<TopUpPaid>),
    /// The card's owner can pay there.
    Linked {
        /// The top-up.
        top_up: TopUpId,
        /// Where.
        link: Link,
    },
    /// Nobody paid by the link, or nobody can: it is to be given up.
    GiveUp {
        /// The top-up.
        top_up: TopUpId,
        /// Why: a stable code.
        reason: &'static str,
    },
    /// What could still have paid a top-up that is given up is ended.
    Closed(TopUpId),
}

impl Charging {
    /// Can a rule decide something because of it?
    pub const fn makes_rules_look(&self) -> bool {
        match self {
            Self::SetRule(_)
            | Self::DropRule(_)
            | Self::Look
            | Self::CardSeen(_)
            | Self::TryEnded { .. }
            | Self::Paid(_)
            | Self::Closed(_) => true,
            Self::Order(_)
            | Self::CustomerDeleted
            | Self::BeginTry(_)
            | Self::NoCard(_)
            | Self::Linked { .. }
            | Self::GiveUp { .. } => false,
        }
    }

    /// The top-up it is about, open or not.
    pub const fn top_up(&self) -> Option<TopUpId> {
        match self {
            Self::BeginTry(begin) => Some(begin.top_up),
            Self::Paid(paid) => Some(paid.top_up),
            Self::NoCard(top_up)
            | Self::TryEnded { top_up, .. }
            | Self::Linked { top_up, .. }
            | Self::GiveUp { top_up, .. }
            | Self::Closed(top_up) => Some(*top_up),
            Self::SetRule(_)
            | Self::DropRule(_)
            | Self::Order(_)
            | Self::Look
            | Self::CardSeen(_)
            | Self::CustomerDeleted => None,
        }
    }
}

/// A rule as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRule {
    /// Its name.
    pub name: String,
    /// Does it decide anything?
    pub enabled: bool,
    /// The feature whose credits are watched and bought.
    pub feature: FeatureId,
    /// The wallet that is watched and filled.
    pub wallet: Option<WalletId>,
    /// It buys at this balance or below.
    pub threshold: Credits,
    /// How much it buys.
    pub buy: Buy,
    /// The currency it pays in; absent: the only one its packs have.
    pub currency: Option<Currency>,
    /// The currency to take when packs have several.
    pub usual_currency: Option<Currency>,
    /// Stripe's card; absent: the customer's default one.
    pub payment_method: Option<String>,
    /// How money is taken.
    pub mode: ChargeMode,
    /// Most of a UTC day.
    pub per_day: Ceiling,
    /// Most of a UTC month.
    pub per_month: Ceiling,
    /// Most money of a month in each currency, where `per_month` names none.
    pub usual_month: BTreeMap<Currency, i64>,
    /// Seconds from one decision to the next.
    pub cooldown_seconds: u32,
    /// Who agreed.
    pub consent: Option<Consent>,
}

/// Credits ordered by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OrderTopUp {
    /// The feature.
    pub feature: FeatureId,
    /// The wallet that is filled.
    pub wallet: Option<WalletId>,
    /// How many, rounded up to whole packs.
    pub quantity: Credits,
    /// The currency to pay in; absent: the only one its packs have.
    pub currency: Option<Currency>,
    /// Stripe's card; absent: the customer's default one.
    pub payment_method: Option<String>,
    /// How money is taken.
    #[serde(skip)]
    pub mode: ChargeMode,
    /// The currency to take when packs have several.
    #[serde(skip)]
    pub usual_currency: Option<Currency>,
    /// Most money of a month in each currency.
    #[serde(skip)]
    pub usual_month: BTreeMap<Currency, i64>,
}

/// A request to Stripe as it will be sent: method, path, form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// POST or DELETE.
    pub method: String,
    /// The path.
    pub path: String,
    /// The form.
    pub body: String,
}

/// A card is about to be charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginTry {
    /// For which top-up.
    pub top_up: TopUpId,
    /// Which of its tries, from 1.
    pub number: u32,
    /// Our id of the try.
    pub attempt: AttemptId,
    /// Stripe's customer.
    pub customer: String,
    /// The card.
    pub payment_method: String,
    /// Which request it begins with.
    pub step: &'static str,
    /// That request.
    pub request: Request,
}

/// What became of a try, short of its success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TryResult {
    /// Not known; what Stripe calls it may be.
    Unknown {
        /// Its intent.
        payment_intent: Option<String>,
        /// Its invoice.
        invoice: Option<String>,
    },
    /// The bank takes its time.
    Processing {
        /// Its intent.
        payment_intent: String,
    },
    /// The card's owner is asked for.
    NeedsAction {
        /// Its intent.
        payment_intent: Option<String>,
    },
    /// Declined for certain.
    Declined {
        /// Its intent.
        payment_intent: Option<String>,
        /// Why.
        why: Why,
    },
    /// Stripe refuses the request, in this code.
    Refused(String),
    /// Certainly not done: Stripe does not know of it.
    NotDone,
}

/// A top-up was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUpPaid {
    /// Which.
    pub top_up: TopUpId,
    /// The claimed payment.
    pub payment: PaymentId,
    /// Its intent; absent: a balance at Stripe paid it.
    pub payment_intent: Option<String>,
    /// When Stripe says it was paid.
    pub paid_at: Timestamp,
    /// What was paid, taxes left out.
    pub net: Money,
    /// All that was paid.
    pub gross: Money,
    /// Stripe's line item.
    pub stripe_line: Option<String>,
    /// The payment's metadata, copied to the grant.
    pub metadata: BTreeMap<String, String>,
}

/// Why something about rules and top-ups is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargingRefusal {
    /// Nothing sells the credits.
    #[error("the catalogue sells no packs of `{feature}`{} to this customer", in_words(*.currency))]
    PriceMissing {
        /// The feature.
        feature: FeatureId,
        /// The currency asked for.
        currency: Option<Currency>,
    },
    /// Packs have prices in several currencies.
    #[error("packs of `{0}` are sold in several currencies: say by `currency` which")]
    WhichCurrency(FeatureId),
    /// A month's money is not limited.
    #[error("`max_per_month.money` is missing: in {0} no most is configured, and no rule charges without one")]
    CeilingMissing(Currency),
    /// Nobody agreed.
    #[error("`consent` is missing: who agreed to be charged while away, when, and to which version of the text")]
    ConsentMissing,
    /// A month's ceiling counts one currency.
    #[error(
        "this rule has decided in {0} this month, and its ceilings count that: change it next month, or set another"
    )]
    CurrencyFixed(Currency),
    /// More than a purchase can be.
    #[error("this is more than one purchase can be: at most eight digits of money")]
    TooMuch,
    /// It buys nothing.
    #[error("`target` has to be above `threshold`: at the threshold it would buy nothing")]
    NothingToBuy,
    /// No such rule.
    #[error("there is no top-up rule `{0}`")]
    UnknownRule(String),
    /// Too many rules.
    #[error("a customer has at most {} top-up rules", super::super::top_up::RULES_MAX)]
    TooManyRules,
    /// No such top-up.
    #[error("there is no top-up {0}")]
    UnknownTopUp(TopUpId),
    /// One is under way.
    #[error("{0} is under way: wait for it, or look at it")]
    InProgress(TopUpId),
    /// A ceiling, or what else holds charges back.
    #[error("held back: {}", .0.code())]
    HeldBack(Box<HeldBack>),
    /// What is said of the top-up is about a past of its.
    #[error("{0} has moved on")]
    MovedOn(TopUpId),
    /// What was paid is not what it costs.
    #[error("{top_up} costs {wanted}, and {paid} was paid")]
    Mismatch {
        /// The top-up.
        top_up: TopUpId,
        /// What it costs.
        wanted: Money,
        /// What was paid.
        paid: Money,
    },
    /// A second payment that cannot be refunded by itself.
    #[error("{0} was paid twice, the second time without an intent that could be refunded: give it back by hand")]
    CannotRefund(TopUpId),
}

fn in_words(currency: Option<Currency>) -> String {
    currency.map_or_else(String::new, |currency| format!(" in {currency}"))
}

impl ChargingRefusal {
    /// A stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::PriceMissing { .. } => "price_missing",
            Self::WhichCurrency(_) => "currency_missing",
            Self::CeilingMissing(_) => "max_per_month_missing",
            Self::ConsentMissing => "consent_missing",
            Self::CurrencyFixed(_) => "currency_fixed",
            Self::TooMuch => "too_much",
            Self::NothingToBuy => "nothing_to_buy",
            Self::UnknownRule(_) => "unknown_rule",
            Self::TooManyRules => "too_many_rules",
            Self::UnknownTopUp(_) => "unknown_top_up",
            Self::InProgress(_) => "top_up_in_progress",
            Self::HeldBack(held_back) => held_back.code(),
            Self::MovedOn(_) => "moved_on",
            Self::Mismatch { .. } => "amount_mismatch",
            Self::CannotRefund(_) => "cannot_refund",
        }
    }
}

/// Why a rule is paused, of the way a try ended.
pub(in crate::domain) const fn pause_of(class: super::super::top_up::decline::Class) -> PauseReason {
    match class {
        super::super::top_up::decline::Class::Customer => PauseReason::AuthenticationRequired,
        super::super::top_up::decline::Class::Hard
        | super::super::top_up::decline::Class::Soft
        | super::super::top_up::decline::Class::Unclear => PauseReason::CardDeclined,
    }
}
