//! What an input asks of one account, and what is answered.

mod charging;
mod metering;
mod rejection;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use super::attachment::CarryOver;
use super::catalog::{FeatureId, PlanId};
use super::credits::Credits;
use super::entry::Source;
use super::grant::{Category, Contract, GrantMoney};
use super::ids::{AttachmentId, BillId, GrantId, HoldId, PaymentId, TopUpId, WalletId};
use super::overage_bill::BillOrder;
use super::reversal::MoneyBack;
pub(in crate::domain) use charging::pause_of;
pub use charging::{BeginTry, Charging, ChargingRefusal, OrderTopUp, Request, SetRule, TopUpPaid, TryResult};
pub use metering::{DrawOutcome, ExtendHold, HOLD_SECONDS_MAX, HeldOutcome, PlaceHold, SetLimit, Track, WhenShort};
pub use rejection::Rejection;

use super::subscription::{RenewalLost, SubscribedPlan, SubscriptionSeen};
use super::wallet::{Adjustment, Terminate, Void, WalletOrder};

/// Largest batch of purchased grants in one payment: Stripe's own limit of lines is 100 a session.
pub const PAYMENT_GRANTS_MAX: usize = 200;

/// What an input asks of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// First sight of a customer: attaches the plans everyone gets.
    Open,
    /// Usage that happened, or is taken back.
    Track(Track),
    /// Credits to be set aside.
    Hold(PlaceHold),
    /// A hold is to live longer.
    ExtendHold(ExtendHold),
    /// A hold is not needed any more.
    ReleaseHold(HoldId),
    /// A spend limit is set, or set anew.
    SetLimit(SetLimit),
    /// A spend limit is taken away, by name.
    DropLimit(String),
    /// Credits given by hand or by the app.
    Grant(NewGrant),
    /// Everything one payment bought.
    Purchase(Purchase),
    /// A subscription's period was paid.
    PlanPaid(PlanPaid),
    /// A change of plan or seats inside a period was paid.
    PlanChanged(PlanChanged),
    /// A subscription as Stripe shows it.
    SubscriptionSeen(SubscriptionSeen),
    /// A renewal will not be paid.
    RenewalLost(RenewalLost),
    /// Money of a payment went back, or came again.
    MoneyBack(MoneyBack),
    /// Books what time made due, and nothing else.
    Settle,
    /// A wallet made or changed.
    Wallet(WalletOrder),
    /// A wallet ended.
    Terminate(Terminate),
    /// Credits taken back from a grant by hand.
    Void(Void),
    /// A grant's amount corrected by hand.
    Adjust(Adjustment),
    /// A plan without a price is attached.
    Attach(Attach),
    /// A plan without a price ends.
    Cancel(Cancel),
    /// A plan without a price goes on after all.
    Uncancel(Uncancel),
    /// Overage is billed, or what became of a bill.
    Bill(BillOrder),
    /// Something about rules, top-ups and tries.
    Charging(Charging),
}

impl Command {
    /// Does deciding it need wallets, attachments and once-only keys, not just open grants and debts?
    pub const fn needs_all(&self) -> bool {
        match self {
            // Who may owe is said by plans and wallets.
            // And which grants ended with their plan, for what comes back to them.
            Self::Track(track) => {
                matches!(track.when_short, WhenShort::Debt) || track.hold.is_some() || track.quantity.is_negative()
            }
            Self::Hold(_) | Self::ExtendHold(_) | Self::SetLimit(_) | Self::DropLimit(_) => false,
            Self::Open
            | Self::ReleaseHold(_)
            | Self::Grant(_)
            | Self::Purchase(_)
            | Self::PlanPaid(_)
            | Self::PlanChanged(_)
            | Self::SubscriptionSeen(_)
            | Self::RenewalLost(_)
            | Self::MoneyBack(_)
            | Self::Settle
            | Self::Wallet(_)
            | Self::Terminate(_)
            | Self::Void(_)
            | Self::Adjust(_)
            | Self::Attach(_)
            | Self::Cancel(_)
            | Self::Uncancel(_)
            | Self::Bill(_)
            | Self::Charging(_) => true,
        }
    }
}

/// Which wallet a grant goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WalletRef {
    /// The feature's default one, made when missing.
    Default,
    /// A claimed id; the wallet is made when missing.
    Named {
        /// Our id.
        id: WalletId,
        /// The public id; `None` when ours is shown.
        key: Option<String>,
    },
}

/// Credits given by hand or by the app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewGrant {
    /// Where it goes.
    pub wallet: WalletRef,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// How many.
    pub quantity: Credits,
    /// Why it is given.
    pub category: Category,
    /// Burn priority; absent: the category's.
    pub priority: Option<i32>,
    /// Spendable from then; absent: now.
    pub starts_at: Option<Timestamp>,
    /// Spendable until then; absent: the wallet's default, else for ever.
    pub expires_at: Option<Timestamp>,
    /// Why, in words.
    pub reason: String,
    /// What was paid for it outside Stripe.
    #[serde(skip)]
    pub money: GrantMoney,
    /// Reference of that payment, else of the contract.
    pub contract: Option<String>,
    /// The contract that promises committed credits. Left out of the hash when absent: keys from before it was known
    /// keep theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Contract>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
    /// API or command line.
    pub source: Source,
    /// The key or person that asked; kept beside the entry, outside the chain, and no part of the request's hash.
    #[serde(skip)]
    pub actor: Option<String>,
}

/// What decided a payment's credits (rule 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Its metadata.
    Metadata,
    /// Its lines, by price and quantity.
    Lines,
}

impl Basis {
    /// The word used in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Lines => "lines",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Metadata, Self::Lines].into_iter().find(|known| known.word() == word)
    }
}

/// One thing a payment bought. Two lines with one item key are summed before they get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurchasedGrant {
    /// What of the payment it is.
    pub item_key: String,
    /// Where it goes.
    pub wallet: WalletRef,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// How many.
    pub quantity: Credits,
    /// Why it is given.
    pub category: Category,
    /// Burn priority; absent: the category's.
    pub priority: Option<i32>,
    /// Spendable until then.
    pub expires_at: Option<Timestamp>,
    /// The plan that offers it.
    pub plan: Option<PlanId>,
    /// What was paid for it.
    pub money: GrantMoney,
    /// Stripe's price.
    pub stripe_price: Option<String>,
    /// Stripe's line item.
    pub stripe_line: Option<String>,
}

/// Everything one payment bought, posted as one command (rule 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// The claimed payment.
    pub payment: PaymentId,
    /// What decided its credits.
    pub basis: Basis,
    /// When Stripe says it was paid: start of its grants.
    pub paid_at: Timestamp,
    /// The things bought.
    pub grants: Vec<PurchasedGrant>,
    /// The payment's metadata, copied to each grant.
    pub metadata: BTreeMap<String, String>,
}

/// A subscription's period was paid (rule 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanPaid {
    /// The claimed payment; `None` when nothing had to be paid.
    pub payment: Option<PaymentId>,
    /// The subscription.
    pub subscription: String,
    /// The plan its line is for.
    pub plan: PlanId,
    /// Seats.
    pub quantity: i64,
    /// Start of the paid period: the anchor of a new attachment.
    pub period_start: Timestamp,
    /// End of the paid period.
    pub period_end: Timestamp,
    /// Is the period a trial? Then its items give what the plan says for trials.
    pub is_trial: bool,
    /// Plans of which its invoice credits what was left of a period that runs into this one: that much was given already.
    pub credited: Vec<PlanId>,
    /// What the line cost.
    pub money: GrantMoney,
    /// Stripe's price of the line.
    pub stripe_price: Option<String>,
    /// Stripe's line item.
    pub stripe_line: Option<String>,
    /// Metadata of payment and subscription, copied to each grant.
    pub metadata: BTreeMap<String, String>,
}

/// A plan that a change inside a period led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedPlan {
    /// The plan.
    pub plan: PlanId,
    /// Seats, those the change left alone included.
    pub quantity: i64,
    /// What its lines cost.
    pub money: GrantMoney,
    /// Stripe's price of the first of them.
    pub stripe_price: Option<String>,
    /// Stripe's line item of the first of them.
    pub stripe_line: Option<String>,
}

/// A change of plan or seats inside a period was paid (rule 15): the lines of one subscription and one proration date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanChanged {
    /// The claimed payment; `None` when nothing had to be paid.
    pub payment: Option<PaymentId>,
    /// The subscription.
    pub subscription: String,
    /// When it changed: the proration date.
    pub changed_at: Timestamp,
    /// End of the period it changed in.
    pub period_end: Timestamp,
    /// When it was paid, which may be after that period.
    pub paid_at: Timestamp,
    /// Plans and seats before; those that are credited.
    pub from: Vec<SubscribedPlan>,
    /// Plans and seats after, each plan once.
    pub to: Vec<ChangedPlan>,
    /// Metadata of payment and subscription, copied to each grant.
    pub metadata: BTreeMap<String, String>,
}

/// A plan without a price, to be attached. Plans with a price are Stripe's, and come by its events (rule 12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attach {
    /// The plan.
    pub plan: PlanId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// Seats.
    pub quantity: i64,
    /// What it keeps of the plan whose place it takes.
    pub carry_over: CarryOver,
}

/// When a plan ends that is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelWhen {
    /// At once, and what is unspent of its periods with it.
    Now,
    /// With its running period.
    PeriodEnd,
}

/// A plan without a price, to be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cancel {
    /// The plan.
    pub plan: PlanId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// When.
    pub when: CancelWhen,
}

/// A plan without a price that was set to end, to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uncancel {
    /// The plan.
    pub plan: PlanId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
}

/// A caller's key, and what it was sent with (rule 26).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey {
    /// track, grant, ..: keys of different operations never meet.
    pub operation: &'static str,
    /// First 16 bytes of the SHA-256 of the caller's key.
    pub key: [u8; 16],
    /// First 16 bytes of the SHA-256 of the parsed command.
    pub request: [u8; 16],
}

impl IdempotencyKey {
    /// Hashes a caller's key and the parsed command it came with.
    pub fn new<T: Serialize>(operation: &'static str, key: &str, command: &T) -> Self {
        // Serialising a command cannot fail (no maps with keys other than text); if it could, the empty text would
        // still make repeats equal.
        let request = serde_json::to_vec(command).unwrap_or_default();
        Self { operation, key: digest(key.as_bytes()), request: digest(&request) }
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(Sha256::digest(bytes)) {
        *to = from;
    }
    first
}

/// What an applied command did; stored beside its key and rendered again for a repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The account is open.
    Opened,
    /// Usage is in the ledger.
    Tracked {
        /// What it cost: drawn and shortfall together.
        cost: Credits,
        /// Credits taken from grants.
        drawn: Credits,
        /// Credits that no grant could pay.
        shortfall: Credits,
        /// Credits of `pool` that can be spent afterwards.
        available: Credits,
        /// No limit?
        unlimited: bool,
        /// The pool that paid last, or would have.
        pool: FeatureId,
        /// What was taken from which grant.
        draws: Vec<DrawOutcome>,
        /// Credits that became a debt.
        #[serde(default, skip_serializing_if = "Credits::is_zero_ref")]
        owed: Credits,
        /// What is left of the hold that paid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold: Option<HeldOutcome>,
    },
    /// Credits are set aside, for longer, or free again.
    Held(HeldOutcome),
    /// A spend limit is set.
    Limited {
        /// What is used of it already, in the running window.
        used: Credits,
    },
    /// Credits were given.
    Granted {
        /// The new grants.
        grants: Vec<GrantId>,
    },
    /// A plan's period is paid.
    PlanPaid {
        /// The attachment.
        attachment: AttachmentId,
        /// Grants of the period.
        grants: Vec<GrantId>,
    },
    /// A change inside a period is paid.
    PlanChanged {
        /// The attachments it led to.
        attachments: Vec<AttachmentId>,
        /// Grants it gave.
        grants: Vec<GrantId>,
    },
    /// Plans follow a subscription.
    Followed {
        /// The subscription's attachments.
        attachments: Vec<AttachmentId>,
    },
    /// What a payment's money going back takes is taken, or given back.
    Reversed {
        /// The payment's grants.
        grants: Vec<GrantId>,
        /// Credits taken from them, all reversals together.
        taken: Credits,
        /// Credits that were spent and are owed.
        owed: Credits,
        /// Credits that were spent or gone, and are not asked for.
        waived: Credits,
    },
    /// What was due is booked.
    Settled,
    /// A wallet is made or changed.
    Wallet {
        /// The wallet.
        wallet: WalletId,
    },
    /// A wallet is closed.
    Terminated {
        /// The wallet.
        wallet: WalletId,
        /// Credits that were free in it and are void.
        voided: Credits,
        /// Credits that repaid what it owed.
        repaid: Credits,
        /// Grants that had something to void.
        grants: u64,
    },
    /// A grant's amount is changed by hand.
    Corrected {
        /// The grant.
        grant: GrantId,
        /// By how much, signed.
        amount: Credits,
        /// What remains of it, held credits included.
        remaining: Credits,
        /// Number of the line that says so.
        entry: i64,
    },
    /// A plan is attached, or will be when the one before it ends.
    Attached {
        /// The attachment.
        attachment: AttachmentId,
        /// Grants of its first periods.
        grants: Vec<GrantId>,
    },
    /// A rule is set, or a top-up moved on.
    Charged {
        /// The top-up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        top_up: Option<TopUpId>,
    },
    /// A plan ends, or goes on.
    EndSet {
        /// The attachment.
        attachment: AttachmentId,
        /// It ends or ended then; `None`: it goes on.
        ends_at: Option<Timestamp>,
    },
    /// Overage is billed, or a bill took in what became of it.
    Billed {
        /// The bill; `None`: there was nothing to bill.
        bill: Option<BillId>,
    },
}

/// How a command ended, when it was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It changed something.
    Applied(Outcome),
    /// It had been applied before; what it did then.
    AlreadyApplied(Outcome),
}

impl Decision {
    /// What the command did, now or then.
    pub const fn outcome(&self) -> &Outcome {
        match self {
            Self::Applied(outcome) | Self::AlreadyApplied(outcome) => outcome,
        }
    }
}
