//! What an event asks for, before anyone has looked up whose account it is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::catalog::{FeatureId, PlanId};
use crate::domain::command::{Basis, ChangedPlan, TryResult};
use crate::domain::credits::Credits;
use crate::domain::grant::{Category, GrantMoney};
use crate::domain::ids::{AttemptId, BillId, TopUpId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::PaymentFacts;
use crate::domain::reversal::BackView;
use crate::domain::subscription::{RenewalLost, SubscribedPlan, SubscriptionSeen};
use crate::stripe::client::Fetch;

/// A stable code with the same in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// Stable code, such as `unknown_customer`.
    pub code: &'static str,
    /// In words, with the numbers and the field's name.
    pub detail: String,
}

impl Why {
    /// A code and its words.
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// What to do with an event.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Interpretation {
    /// Do this.
    Act(Vec<Intent>),
    /// Nothing to do, and why.
    Ignore(Why),
    /// Ask Stripe these first, then come back.
    Ask(Vec<Fetch>),
    /// It has to wait, and for what.
    Park(Why),
}

/// Whose credits (first present wins).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Who {
    /// The app's id in the metadata; made when unknown.
    pub customer_id: Option<String>,
    /// The session's `client_reference_id`; routes, and never replaces a link.
    pub client_reference: Option<String>,
    /// Stripe's customer.
    pub stripe_customer: Option<String>,
}

/// Which feature's credits, when only the wallet may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeatureWish {
    /// This one.
    Named(FeatureId),
    /// The wallet's, else this default, else nobody knows.
    WalletElse(Option<FeatureId>),
}

/// One thing a payment bought, wallet and feature not yet looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedGrant {
    /// What of the payment it is.
    pub item_key: String,
    /// The wallet's public id; absent: the feature's default wallet.
    pub wallet_key: Option<String>,
    /// Which feature's credits.
    pub feature: FeatureWish,
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

/// A subscription's period was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedPlan {
    /// The subscription.
    pub subscription: String,
    /// The plan.
    pub plan: PlanId,
    /// Seats.
    pub quantity: i64,
    /// Start of the paid period.
    pub period_start: Timestamp,
    /// End of the paid period.
    pub period_end: Timestamp,
    /// Is the period a trial?
    pub is_trial: bool,
    /// Plans of which its invoice credits what was left of a period that runs into this one: that much was given already.
    pub credited: Vec<PlanId>,
    /// What the line cost.
    pub money: GrantMoney,
    /// Stripe's price.
    pub stripe_price: Option<String>,
    /// Stripe's line item.
    pub stripe_line: Option<String>,
}

/// A change of plan or seats inside a period was paid: the proration lines of one subscription and one date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedChange {
    /// The subscription.
    pub subscription: String,
    /// The proration date.
    pub changed_at: Timestamp,
    /// End of the period it changed in.
    pub period_end: Timestamp,
    /// Plans and seats before.
    pub from: Vec<SubscribedPlan>,
    /// Plans and seats after.
    pub to: Vec<ChangedPlan>,
}

/// What an event asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Remember that this Stripe customer is that customer of the app.
    Link(Who),
    /// A payment came in.
    Payment(Box<PaymentIntent>),
    /// A subscription as Stripe shows it, and whose it is.
    Subscription(Box<SubscriptionSeen>, Who),
    /// A renewal will not be paid, and whose it is.
    RenewalLost(RenewalLost, Who),
    /// Money of a payment went back, or came again.
    MoneyBack(Box<MoneyBackSeen>),
    /// A draft invoice takes what its customer owes of overage, and whose it is.
    BillOverage(OverageDue, Who),
    /// Bills of overage will not be paid.
    BillsVoid {
        /// The bills.
        bills: Vec<BillId>,
        /// Their invoice.
        invoice: String,
        /// Why, in words.
        reason: &'static str,
        /// Whose they are.
        who: Who,
    },
    /// A top-up was paid.
    TopUp(Box<TopUpSeen>),
    /// A try to charge a card for a top-up has got somewhere.
    Try(Box<TrySeen>),
    /// A card of a customer's is new or changed.
    Card(CardSeen),
    /// Stripe's customer is gone.
    CustomerDeleted(String),
}

/// The draft of a subscription's invoice, on which overage goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverageDue {
    /// The invoice.
    pub invoice: String,
    /// Its currency.
    pub currency: Currency,
    /// End of the period that is over.
    pub period_end: Timestamp,
    /// Stripe's customer.
    pub stripe_customer: String,
}

/// Lines of a bill of overage that were paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WishedBill {
    /// The bill.
    pub bill: BillId,
    /// Their currency.
    pub currency: Currency,
    /// Which lines, by place.
    pub lines: Vec<usize>,
}

/// A payment of a top-up.
#[derive(Clone, Debug, PartialEq)]
pub struct TopUpSeen {
    /// Which.
    pub top_up: TopUpId,
    /// What is known of the payment; its ids are claimed first.
    pub facts: PaymentFacts,
    /// When it was paid.
    pub paid_at: Timestamp,
    /// What was paid, taxes left out: what the decision was about.
    pub net: Money,
    /// All that was paid.
    pub gross: Money,
    /// Stripe's line item.
    pub stripe_line: Option<String>,
    /// The card that was kept with it.
    pub saved: Option<SavedCard>,
}

/// What became of a try, short of its success.
#[derive(Clone, Debug, PartialEq)]
pub struct TrySeen {
    /// Of which top-up.
    pub top_up: TopUpId,
    /// Which.
    pub attempt: AttemptId,
    /// Stripe's customer.
    pub stripe_customer: Option<String>,
    /// What; [`TryResult::NotDone`] is an intent that somebody cancelled.
    pub result: TryResult,
}

/// A card of a customer's, new or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardSeen {
    /// Stripe's customer.
    pub stripe_customer: String,
    /// It is to become what the customer pays with.
    pub saved: Option<SavedCard>,
    /// When that was told; set when the whole event is interpreted.
    pub at: Option<Timestamp>,
}

/// A card that becomes its customer's default, once for what kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedCard {
    /// The intent that kept it.
    pub by: String,
    /// The card.
    pub payment_method: String,
}

/// Objects that tell of money going back, and the ids that lead to the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoneyBackSeen {
    /// Charge, payment intent, invoice: whichever are known.
    pub aliases: Vec<String>,
    /// The currency their amounts are in.
    pub currency: Option<String>,
    /// What they say.
    pub views: Vec<BackView>,
}

/// A payment and everything it bought.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentIntent {
    /// Whose.
    pub who: Who,
    /// What is known of it; its ids are claimed first.
    pub facts: PaymentFacts,
    /// What decided its credits.
    pub basis: Basis,
    /// When it was paid.
    pub paid_at: Timestamp,
    /// Credits it bought.
    pub grants: Vec<WishedGrant>,
    /// Plan periods it paid.
    pub plans: Vec<WishedPlan>,
    /// Changes inside a period that it paid.
    pub changes: Vec<WishedChange>,
    /// Bills of overage that it paid.
    pub bills: Vec<WishedBill>,
    /// Its metadata, copied to each grant.
    pub metadata: BTreeMap<String, String>,
}
