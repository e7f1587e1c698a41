//! Topping up: rules that watch a balance, decisions to take money, and tries to take it.
//!
//! # States
//! A [`Rule`] is in force, paused (until somebody acts) or off. A [`TopUp`] is a decision; at most one of a rule is open.
//!
//! ```text
//! open --> charging --> succeeded          charging: sent; unknown counts as sent
//!  ^         |  |  \--> processing ------> succeeded | open (again, a day later) | needs_action
//!  |         |  \-----> needs_action ----> succeeded (paid by its link) | closing
//!  \-- a day later      closing ---------> dropped | failed (what could still pay it is ended) | succeeded (too late)
//! open ---------------> dropped (not wanted any more) | failed (no card, refused)
//! ```
//!
//! # Always true
//! - One open decision a rule; ceilings count every decision but those that certainly took nothing.
//! - A try comes only after the one before failed for certain; each has one key and one frozen request.
//! - What is paid becomes the decision's one grant, also after it was given up; a second payment of it goes back.

pub mod decline;
pub mod price;
pub mod settings;
pub mod why;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::{Expiry, FeatureId, PlanId};
use super::credits::Credits;
use super::grant::WalletState;
use super::ids::{AttemptId, GrantId, PaymentId, TopUpId, WalletId};
use super::limit::Window;
use super::money::{Currency, Money};

/// Most rules of one customer: each is looked at with every track.
pub const RULES_MAX: usize = 20;
/// Most rules that were taken away and still count their month: a rule made and taken away again leaves one.
pub const DROPPED_MAX: usize = 100;
/// Longest name of a rule, in bytes.
pub const RULE_NAME_MAX: usize = 128;
/// Longest cooldown: a year.
pub const COOLDOWN_SECONDS_MAX: u32 = 31_536_000;
/// Most decisions of a day or a month that a ceiling may name: beyond it a ceiling limits nothing.
pub const COUNT_MAX: u32 = 1_000_000;
/// Stripe's limit for an amount: eight digits of minor units.
pub const AMOUNT_MAX_MINOR: i64 = 99_999_999;
/// Decisions in a row that came to nothing without a card being declined, after which a rule waits for a person.
pub const FAILURES_MAX: u32 = 3;

/// How much a rule buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Buy {
    /// So many credits.
    Quantity(Credits),
    /// As many as bring the balance to so many.
    Target(Credits),
}

/// How money is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeMode {
    /// One payment intent: one request.
    #[default]
    PaymentIntent,
    /// An invoice: numbered, with taxes and a receipt.
    Invoice,
}

impl ChargeMode {
    /// The word used in settings and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PaymentIntent => "payment_intent",
            Self::Invoice => "invoice",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::PaymentIntent, Self::Invoice].into_iter().find(|known| known.word() == word)
    }
}

/// Most that may be decided in a UTC day or month; what is absent is not limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ceiling {
    /// Decisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Minor units of the rule's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
}

/// Who agreed to be charged while away, when, and to which words (rule 30).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Version of the text.
    pub text_version: String,
}

/// Whose packs are bought: a plan's item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackSource {
    /// The plan.
    pub plan: PlanId,
    /// Its item.
    pub item: String,
}

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTerms {
    /// The feature whose credits are watched and bought.
    pub feature: FeatureId,
    /// The wallet that is watched and filled; absent: all of the feature is watched, and its default wallet filled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletId>,
    /// It buys at this balance or below; below zero where debt is allowed.
    pub threshold: Credits,
    /// How much it buys.
    pub buy: Buy,
    /// The currency it pays in.
    pub currency: Currency,
    /// Stripe's card; absent: the customer's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// How money is taken.
    pub mode: ChargeMode,
    /// Most of a UTC day.
    pub per_day: Ceiling,
    /// Most of a UTC month; the money is always limited.
    pub per_month: Ceiling,
    /// Seconds from one decision to the next.
    pub cooldown_seconds: u32,
    /// Who agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<Consent>,
    /// Whose packs are bought, as of when all of the account was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PackSource>,
    /// How the wallet that would be filled stands, as of the same look; absent: credits in it can be spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shut: Option<WalletState>,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOrigin {
    /// The app set it.
    Api,
    /// An attached plan says it.
    Plan,
    /// It counts what is ordered by hand, and decides nothing itself.
    Demand,
    /// It was taken away; it goes when its last decision is over, and the month whose ceilings it counts.
    Dropped,
}

impl RuleOrigin {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Plan => "plan",
            Self::Demand => "demand",
            Self::Dropped => "dropped",
        }
    }
}

/// Why a rule decides nothing until somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// Stripe's customer has no card, or is not known.
    NoPaymentMethod,
    /// The card was declined for good, or too often.
    CardDeclined,
    /// The card's owner is asked for.
    AuthenticationRequired,
    /// Stripe refuses the request, or nothing came of several decisions: a person has to look.
    Refused,
    /// Stripe's customer was deleted.
    CustomerDeleted,
}

impl PauseReason {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoPaymentMethod => "no_payment_method",
            Self::CardDeclined => "card_declined",
            Self::AuthenticationRequired => "authentication_required",
            Self::Refused => "refused",
            Self::CustomerDeleted => "customer_deleted",
        }
    }

    /// Does a new card, or a payment by its owner, mend it?
    pub const fn is_about_card(self) -> bool {
        match self {
            Self::NoPaymentMethod | Self::CardDeclined | Self::AuthenticationRequired => true,
            Self::Refused | Self::CustomerDeleted => false,
        }
    }
}

/// Since when a rule is paused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why.
    pub because: PauseReason,
    /// Since when.
    pub at: Timestamp,
}

/// What was decided in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spent {
    /// Start of the window; none before the first decision.
    pub start: Option<Timestamp>,
    /// Decisions.
    pub count: i64,
    /// Minor units.
    pub minor: i64,
}

impl Spent {
    /// What was decided in the window that contains `now`.
    #[must_use]
    pub fn at(self, window: Window, now: Timestamp) -> Self {
        let start = start_of(window, now);
        if start == self.start { self } else { Self { start, count: 0, minor: 0 } }
    }

    /// Counts a decision of that time, or takes it back; one of another window changes nothing.
    pub fn count(&mut self, window: Window, now: Timestamp, made: Timestamp, (count, minor): (i64, i64)) {
        let mut spent = self.at(window, now);
        if start_of(window, made) == spent.start {
            // Cannot saturate: a rule decides less than once a microsecond, and each is below 10^8 minor units.
            spent.count = spent.count.saturating_add(count).max(0);
            spent.minor = spent.minor.saturating_add(minor).max(0);
        }
        *self = spent;
    }
}

/// A window that leaves the calendar has no start, and is the same as any other that does.
fn start_of(window: Window, at: Timestamp) -> Option<Timestamp> {
    window.around(at).ok().flatten().map(|(start, _)| start)
}

/// When a balance is topped up by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique for its customer.
    pub name: String,
    /// Where it comes from.
    pub origin: RuleOrigin,
    /// What it says.
    pub terms: RuleTerms,
    /// Does it decide anything?
    pub enabled: bool,
    /// Why it decides nothing until somebody acts.
    pub paused: Option<Pause>,
    /// Decisions in a row that came to nothing.
    pub failures: u32,
    /// Decided in the UTC day.
    pub day: Spent,
    /// Decided in the UTC month.
    pub month: Spent,
    /// When it decided last.
    pub decided_at: Option<Timestamp>,
    /// When what holds it back ends by itself.
    pub look_at: Option<Timestamp>,
}

impl Rule {
    /// A rule that has decided nothing yet.
    pub fn new(name: String, origin: RuleOrigin, terms: RuleTerms, enabled: bool) -> Self {
        Self {
            name,
            origin,
            terms,
            enabled,
            paused: None,
            failures: 0,
            day: Spent::default(),
            month: Spent::default(),
            decided_at: None,
            look_at: None,
        }
    }

    /// Does nothing hold it but its card, if anything?
    pub fn is_free_of_other_pauses(&self) -> bool {
        self.paused.is_none_or(|paused| paused.because.is_about_card())
    }

    /// Did it decide anything in the UTC month? What it decided there goes on counting, whatever becomes of it.
    pub fn has_decided_in_month(&self, now: Timestamp) -> bool {
        self.decided_at.is_some_and(|at| start_of(Window::Month, at) == start_of(Window::Month, now))
    }

    /// Counts a decision made then, or takes it back.
    pub fn count(&mut self, now: Timestamp, made: Timestamp, amount: Money, counts: bool) {
        let change = if counts { (1, amount.minor()) } else { (-1, amount.minor().saturating_neg()) };
        self.day.count(Window::Day, now, made, change);
        self.month.count(Window::Month, now, made, change);
    }
}

/// How far a decision has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopUpState {
    /// To be charged, now or when it is due.
    Open,
    /// Sent; the outcome is not known.
    Charging,
    /// The bank takes its time.
    Processing,
    /// Waits for the card's owner.
    NeedsAction,
    /// Given up; what could still pay it is being ended.
    Closing,
    /// Paid.
    Succeeded,
    /// Not paid.
    Failed,
    /// Not wanted any more.
    Dropped,
}

impl TopUpState {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Charging => "charging",
            Self::Processing => "processing",
            Self::NeedsAction => "needs_action",
            Self::Closing => "closing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }

    /// Is nothing more to be done?
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Dropped)
    }
}

/// What a decision buys and how it is paid: frozen when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUpTerms {
    /// The feature.
    pub feature: FeatureId,
    /// The wallet that is filled; absent: the feature's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<WalletId>,
    /// Whose packs.
    pub source: PackSource,
    /// How many packs.
    pub units: u64,
    /// Stripe's price of a pack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stripe_price: Option<String>,
    /// When the credits end.
    pub expires_after: Expiry,
    /// Stripe's card; absent: the customer's default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
    /// How money is taken.
    pub mode: ChargeMode,
    /// The balance it was decided at; absent: ordered by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Credits>,
}

/// Where the card's owner can pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The page.
    pub url: String,
    /// It closes then; absent: it stays open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The Checkout session it is; absent: an invoice's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The how manieth link it is.
    pub number: u32,
}

/// A decision to take money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopUp {
    /// Our id.
    pub id: TopUpId,
    /// The rule that decided it.
    pub rule: String,
    /// How far it has got.
    pub state: TopUpState,
    /// What it buys.
    pub terms: TopUpTerms,
    /// What it costs, taxes left out.
    pub amount: Money,
    /// What it gives.
    pub credits: Credits,
    /// The grant it becomes.
    pub grant: GrantId,
    /// The payment that paid it.
    pub payment: Option<PaymentId>,
    /// Why it waits, failed or was dropped: a stable code.
    pub reason: Option<String>,
    /// Where the card's owner can pay it.
    pub link: Option<Link>,
    /// Tries made.
    pub tries: u32,
    /// The last of them.
    pub last_try: Option<Try>,
    /// When it was decided.
    pub created_at: Timestamp,
    /// When something is to be done about it.
    pub due_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TryState {
    /// On its way, or its outcome is not known.
    Sent,
    /// The bank takes its time.
    Processing,
    /// The card's owner is asked for.
    NeedsAction,
    /// Paid.
    Succeeded,
    /// Declined for certain.
    Declined,
    /// Stripe refuses the request.
    Refused,
    /// Certainly not done: Stripe does not know of it.
    NotDone,
    /// Ended by us before it was paid.
    Cancelled,
}

impl TryState {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Processing => "processing",
            Self::NeedsAction => "needs_action",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::Refused => "refused",
            Self::NotDone => "not_done",
            Self::Cancelled => "cancelled",
        }
    }

    /// Is its outcome known for certain?
    pub const fn is_over(self) -> bool {
        match self {
            Self::Sent | Self::Processing | Self::NeedsAction => false,
            Self::Succeeded | Self::Declined | Self::Refused | Self::NotDone | Self::Cancelled => true,
        }
    }
}

/// One try to charge a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// Which, from 1.
    pub number: u32,
    /// Our id; its requests' keys begin with it.
    pub attempt: AttemptId,
    /// How it went.
    pub state: TryState,
    /// Stripe's customer.
    pub customer: String,
    /// The card.
    pub payment_method: String,
    /// Stripe's intent, once it is known.
    pub payment_intent: Option<String>,
    /// Stripe's invoice, where one is paid.
    pub invoice: Option<String>,
    /// Why it failed.
    pub why: decline::Why,
    /// When it was written down.
    pub created_at: Timestamp,
    /// When its outcome was known for certain.
    pub ended_at: Option<Timestamp>,
}

/// Something that whoever watches is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What happened, such as `top_up.succeeded`.
    #[serde(skip)]
    pub topic: &'static str,
    /// The top-up; absent: it is about a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_up: Option<TopUpId>,
    /// The rule.
    pub rule: String,
    /// The feature.
    pub feature: FeatureId,
    /// Credits bought, or to be bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credits: Option<Credits>,
    /// Minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_minor: Option<i64>,
    /// Their currency.
    pub currency: Currency,
    /// Why, as a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the card's owner can pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Notice {
    /// About a top-up.
    pub fn of(topic: &'static str, top_up: &TopUp) -> Self {
        Self {
            topic,
            top_up: Some(top_up.id),
            rule: top_up.rule.clone(),
            feature: top_up.terms.feature.clone(),
            credits: Some(top_up.credits),
            amount_minor: Some(top_up.amount.minor()),
            currency: top_up.amount.currency(),
            reason: top_up.reason.clone(),
            url: top_up.link.as_ref().map(|link| link.url.clone()),
        }
    }
}

/// A payment that came for a top-up which was paid already: it goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The top-up.
    pub top_up: TopUpId,
    /// The payment.
    pub payment: PaymentId,
    /// Its intent at Stripe.
    pub payment_intent: String,
    /// What goes back.
    pub amount: Money,
}

/// What a plan says about topping up; becomes a rule of whoever has the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTopUp {
    /// The feature whose credits are watched and bought.
    pub feature: FeatureId,
    /// It buys at this balance or below.
    pub threshold: Credits,
    /// How much it buys.
    pub buy: Buy,
    /// The currency it pays in.
    pub currency: Currency,
    /// How money is taken.
    #[serde(default)]
    pub mode: ChargeMode,
    /// Most of a UTC day.
    #[serde(default)]
    pub per_day: Ceiling,
    /// Most of a UTC month; the money is always limited.
    pub per_month: Ceiling,
    /// Seconds from one decision to the next.
    #[serde(default)]
    pub cooldown_seconds: u32,
    /// Version of the text to which whoever takes the plan agrees; absent: the rule waits until the app sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<String>,
}
