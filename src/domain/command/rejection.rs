//! Why a command is refused, in words that name what to mend.

use jiff::Timestamp;

use super::super::catalog::{FeatureId, PlanId};
use super::super::credits::{Credits, Quantity};
use super::super::ids::{BillId, GrantId, HoldId, PaymentId, WalletId};
use super::super::limit::Window;
use super::super::money::Currency;
use super::PAYMENT_GRANTS_MAX;

/// Why a command was refused. Nothing was written, and its key is free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such feature.
    #[error("the catalogue has no feature `{0}`")]
    UnknownFeature(FeatureId),
    /// A flag cannot be used up.
    #[error("feature `{0}` is boolean: it is on or off and has no credits")]
    NotMetered(FeatureId),
    /// No such plan.
    #[error("the catalogue has no plan `{0}`")]
    UnknownPlan(PlanId),
    /// Too few credits, and the caller asked to be refused.
    #[error("{required} {pool} needed, {available} available")]
    Insufficient {
        /// The pool that would have paid.
        pool: FeatureId,
        /// Credits needed.
        required: Credits,
        /// Credits that can be spent.
        available: Credits,
    },
    /// A spend limit of the customer does not let it happen, and the caller asked to be refused.
    #[error("spend limit `{name}` lets {most} be used per {}, {used} are used or held already", .window.word())]
    SpendLimit {
        /// The limit's name.
        name: String,
        /// Most that may be used in its window.
        most: Credits,
        /// Used in it, open holds included.
        used: Credits,
        /// Over which time.
        window: Window,
    },
    /// More is to be taken back than was tracked.
    #[error("{found} of `{feature}` were tracked and not taken back yet, fewer than the {asked} asked for")]
    NothingToReturn {
        /// The feature.
        feature: FeatureId,
        /// Units asked for.
        asked: Quantity,
        /// Units there are.
        found: Quantity,
    },
    /// Taking it back would go through more tracks than are read at once.
    #[error(
        "the newest {} tracks do not hold that much; take it back in parts",
        super::super::usage_record::RETURNED_TRACKS_MAX
    )]
    TooManyToReturn,
    /// Only what is set and freed can be set.
    #[error("feature `{0}` is consumable, its usage adds up; send `quantity`, or make it `consumable = false`")]
    NotSettable(FeatureId),
    /// What is set and freed cannot be set aside.
    #[error("feature `{0}` is set and freed; only what is spent can be held")]
    NotHoldable(FeatureId),
    /// What is set and freed is limited by what is granted.
    #[error("feature `{0}` is set and freed: what its plans include is its limit")]
    NotLimitable(FeatureId),
    /// No such hold.
    #[error("there is no hold {0}, or it has ended")]
    UnknownHold(HoldId),
    /// The hold is for something else.
    #[error("hold {hold} is for feature `{feature}`{}", entity_words(.entity))]
    HoldOfOther {
        /// The hold.
        hold: HoldId,
        /// What it is for.
        feature: FeatureId,
        /// For whom.
        entity: String,
    },
    /// A return cannot be paid by a hold.
    #[error("usage that is taken back is not paid by a hold; leave `hold` out")]
    HoldOfReturn,
    /// Too many spend limits.
    #[error("a customer has at most {} spend limits", super::super::limit::LIMITS_MAX)]
    TooManyLimits,
    /// No such limit.
    #[error("there is no spend limit `{0}`")]
    UnknownLimit(String),
    /// Debt is not allowed there.
    #[error("debt is not allowed on `{0}`: no wallet or plan item of this customer permits it")]
    DebtNotAllowed(FeatureId),
    /// The key came with other content before.
    #[error("this key was used before with other content; use a new key for a new request")]
    KeyConflict,
    /// The wallet holds another feature's credits.
    #[error("wallet {wallet} holds `{holds}`, not `{asked}`")]
    WalletFeature {
        /// The wallet.
        wallet: WalletId,
        /// What it holds.
        holds: FeatureId,
        /// What was to be put in.
        asked: FeatureId,
    },
    /// The wallet is closed.
    #[error("wallet {0} is closed")]
    WalletClosed(WalletId),
    /// An end that is not after its start.
    #[error("expires_at has to be after starts_at")]
    EndsBeforeStart,
    /// An amount left the range that is kept.
    #[error("amount {0}")]
    Amount(#[from] super::super::credits::AmountError),
    /// The catalogue's card has no price for the usage.
    #[error("{0}")]
    Cost(#[from] super::super::catalog::CostError),
    /// Usage could not be counted against a limit.
    #[error("{0}")]
    Limit(#[from] super::super::limit::LimitError),
    /// A period left the calendar.
    #[error("{0}")]
    Calendar(#[from] super::super::period::OutOfCalendar),
    /// The account was erased.
    #[error("this customer was erased")]
    Erased,
    /// The payment carries more grants than a payment can.
    #[error("a payment of {0} different items is more than the {PAYMENT_GRANTS_MAX} that are posted together")]
    TooManyItems(usize),
    /// Money of a payment went back whose amount nobody knows.
    #[error("{0} has no amount: what share of it went back cannot be told")]
    NoTotal(PaymentId),
    /// More refunded or disputed objects than a payment can have.
    #[error("more than {} disputes, warnings and credit notes on one payment", super::super::reversal::VIEWS_MAX)]
    TooManyViews,
    /// The customer has the plan.
    #[error("plan `{0}` is attached already")]
    AlreadyAttached(PlanId),
    /// The customer does not have the plan.
    #[error("plan `{0}` is not attached")]
    NotAttached(PlanId),
    /// The plan is Stripe's.
    #[error("plan `{0}` has a price: Stripe's events attach it and end it")]
    PlanHasPrice(PlanId),
    /// Something that was asked to be carried over is not.
    #[error("{0} cannot be carried over here")]
    NotCarriedOver(&'static str),
    /// The database refused what was decided: a constraint that decisions should have kept. Nothing was written.
    #[error("refused by constraint {0}")]
    Constraint(String),
    /// No such wallet of this account.
    #[error("there is no wallet {0}")]
    UnknownWallet(WalletId),
    /// No such grant of this account.
    #[error("there is no grant {0}")]
    UnknownGrant(GrantId),
    /// The id names a wallet that was made by another request.
    #[error("wallet {0} is there already; change it instead, or take another id")]
    WalletExists(WalletId),
    /// More wallets than one customer can have.
    #[error("a customer has at most {} wallets", super::super::wallet::WALLETS_MAX)]
    TooManyWallets,
    /// Credits of the wallet are set aside.
    #[error("{held} credits of wallet {wallet} are held; settle or release those holds first")]
    WalletHeld {
        /// The wallet.
        wallet: WalletId,
        /// Credits set aside.
        held: Credits,
    },
    /// More credits than are free in the grant.
    #[error("{asked} asked for, {free} free in {grant} ({held} more are held)")]
    MoreThanFree {
        /// The grant.
        grant: GrantId,
        /// Credits that were to go.
        asked: Credits,
        /// Credits neither spent nor held.
        free: Credits,
        /// Credits set aside.
        held: Credits,
    },
    /// All of the grant is spent, gone or held.
    #[error("nothing is free in {grant} ({held} are held)")]
    NothingToVoid {
        /// The grant.
        grant: GrantId,
        /// Credits set aside.
        held: Credits,
    },
    /// The grant counts nothing down.
    #[error("{0} has no limit and no amount: it ends with its plan")]
    GrantUnlimited(GrantId),
    /// Something about rules and top-ups.
    #[error("{0}")]
    Charging(#[from] super::ChargingRefusal),
    /// The grant is over.
    #[error("{grant} ended at {at}: give a new grant instead")]
    GrantEnded {
        /// The grant.
        grant: GrantId,
        /// When it ended.
        at: Timestamp,
    },
    /// No such bill.
    #[error("this customer has no bill {0}")]
    UnknownBill(BillId),
    /// The bill is over, or set these lines free: its credits are owed again, or on another bill.
    #[error("{bill} is {state}: a person has to say what this payment was for")]
    BillIsOver {
        /// The bill.
        bill: BillId,
        /// What it is.
        state: &'static str,
    },
    /// It was paid in another currency.
    #[error("{bill} is in {is}, what was paid is in {paid}")]
    BillCurrency {
        /// The bill.
        bill: BillId,
        /// Its currency.
        is: Currency,
        /// What was paid in.
        paid: Currency,
    },
}

fn entity_words(entity: &str) -> String {
    if entity.is_empty() { String::new() } else { format!(" of entity `{entity}`") }
}
