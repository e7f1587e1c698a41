//! What we have Stripe do, as values.
//!
//! Flow: a [`Write`] is frozen ([`Write::freeze`]) into the bytes that will be sent, these are stored beside their key in
//! a committed row, and only then sent by [`super::client::StripeClient::send`], as often as it takes.
//!
//! What Stripe gives back is checked by whoever asked (amount, currency, customer, mode) before anything is granted.

use jiff::Timestamp;

use super::client::StripeId;
use super::frozen::{Frozen, Metadata, WriteError};
use super::requests;
use crate::domain::money::{Currency, Money};

/// One thing Stripe is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Charges a saved card while its owner is away: creates and confirms a payment intent in one call.
    Charge(Charge),
    /// Ends a payment intent that is given up, so that a late authentication cannot pay it.
    CancelIntent {
        /// The intent.
        payment_intent: StripeId,
        /// Why.
        reason: CancelReason,
    },
    /// Makes a customer.
    CreateCustomer(NewCustomer),
    /// Sets what invoices of a customer are paid with.
    SetDefaultMethod {
        /// Whose.
        customer: StripeId,
        /// With what.
        payment_method: StripeId,
    },
    /// Opens a checkout.
    CreateSession(Checkout),
    /// Closes a checkout that is still open.
    ExpireSession {
        /// The session.
        session: StripeId,
    },
    /// Makes a draft invoice that takes nothing lying about and does nothing by itself.
    CreateInvoice(NewInvoice),
    /// Puts a line on one draft invoice.
    AddInvoiceItem(InvoiceItem),
    /// Makes a draft final.
    FinalizeInvoice {
        /// The invoice.
        invoice: StripeId,
        /// Does Stripe collect it by itself, with its own retries? Without that it still does nothing by itself.
        auto_advance: bool,
    },
    /// Charges a final invoice while its customer is away. A customer balance may pay it without a charge. That it is
    /// paid already is told as a refusal, so after one the invoice is fetched.
    PayInvoice {
        /// The invoice.
        invoice: StripeId,
        /// With what; without one, the customer's default.
        payment_method: Option<StripeId>,
    },
    /// Ends a final invoice that is given up.
    VoidInvoice {
        /// The invoice.
        invoice: StripeId,
    },
    /// Lets a subscription end with its period, or go on after all.
    SetCancelAtPeriodEnd {
        /// The subscription.
        subscription: StripeId,
        /// Whether it ends.
        cancel: bool,
    },
    /// Starts a subscription that a saved card pays for.
    CreateSubscription(NewSubscription),
    /// Changes what a subscription sells.
    ChangeSubscription(SubscriptionChange),
    /// Ends a subscription now. A `DELETE`: a repeat after an unknown outcome is told `resource_missing` if it was done.
    CancelSubscription {
        /// The subscription.
        subscription: StripeId,
        /// Whether the unused time is credited.
        prorate: bool,
        /// Whether what is pending is invoiced at once.
        invoice_now: bool,
    },
    /// Gives money back.
    Refund(Refund),
    /// Opens Stripe's page on which customers manage what they bought.
    OpenPortal {
        /// Whose.
        customer: StripeId,
        /// Where its link back leads.
        return_url: Option<String>,
        /// Which configuration; without one, the default.
        configuration: Option<StripeId>,
    },
    /// Puts a subscription under a schedule whose one phase is what it has now.
    CreateSchedule {
        /// The subscription.
        from_subscription: StripeId,
    },
    /// Sets the phases of a schedule, the running one included.
    SetPhases {
        /// The schedule.
        schedule: StripeId,
        /// All phases, in order.
        phases: Vec<Phase>,
        /// What follows the last.
        after_last: AfterLast,
    },
    /// Takes a subscription out of its schedule, unchanged.
    ReleaseSchedule {
        /// The schedule.
        schedule: StripeId,
    },
}

impl Write {
    /// The bytes to send, the same ones for equal values.
    pub fn freeze(&self) -> Result<Frozen, WriteError> {
        requests::freeze(self)
    }
}

/// A charge of a saved card. `error_on_requires_action` stays off: an intent that wants its owner is kept for a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// How much; positive.
    pub amount: Money,
    /// Whose card.
    pub customer: StripeId,
    /// Which card.
    pub payment_method: StripeId,
    /// For the receipt and the dashboard.
    pub description: Option<String>,
    /// Where Stripe sends a receipt.
    pub receipt_email: Option<String>,
    /// Where a method that redirects leads back. Without one, methods that redirect are refused: Stripe takes no
    /// confirmation that might redirect into nowhere.
    pub return_url: Option<String>,
    /// Leads the webhook home.
    pub metadata: Metadata,
}

/// Why an intent is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// Nobody came to authenticate it.
    Abandoned,
    /// Another one takes its place.
    Duplicate,
    /// The customer asked for it.
    RequestedByCustomer,
}

/// A customer to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewCustomer {
    /// For receipts.
    pub email: Option<String>,
    /// For invoices.
    pub name: Option<String>,
    /// Ties it to ours.
    pub metadata: Metadata,
}

/// A checkout to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// What for.
    pub purpose: Purpose,
    /// Who buys.
    pub buyer: Buyer,
    /// Where the buyer is sent afterwards.
    pub success_url: String,
    /// Where the way back leads.
    pub cancel_url: Option<String>,
    /// The app's own reference; it may route a grant.
    pub client_reference_id: Option<String>,
    /// When it closes by itself: 30 minutes to 24 hours after its making; without one, 24 hours.
    pub expires_at: Option<Timestamp>,
    /// Leads the webhooks home: set on the session and on the intent, subscription or setup it makes.
    pub metadata: Metadata,
}

/// What a checkout is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One payment.
    Payment {
        /// What is bought.
        lines: Vec<CheckoutLine>,
        /// Whether the card is kept for charges while its owner is away.
        save_card: bool,
    },
    /// A subscription, which keeps its card by itself.
    Subscription {
        /// What it sells.
        lines: Vec<PriceLine>,
        /// Days without payment at its start.
        trial_days: Option<u32>,
    },
    /// Keeps a card, charges nothing.
    Setup {
        /// The currency later charges will have.
        currency: Currency,
    },
}

/// Who buys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buyer {
    /// A customer of Stripe's.
    Customer(StripeId),
    /// Someone Stripe makes a customer of; an e-mail address is filled in if known.
    New {
        /// The address.
        email: Option<String>,
    },
}

/// So many of a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceLine {
    /// The price.
    pub price: StripeId,
    /// How many.
    pub quantity: u64,
}

/// A line of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckoutLine {
    /// By a price.
    Price(PriceLine),
    /// Any amount for a product, once.
    Amount {
        /// The product.
        product: StripeId,
        /// How much; positive.
        amount: Money,
    },
    /// Any amount for something that is no product in Stripe, once.
    Named {
        /// What the buyer reads.
        name: String,
        /// How much; positive.
        amount: Money,
    },
}

/// An invoice to be made: `auto_advance` and whatever lies pending stay out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInvoice {
    /// Whose.
    pub customer: StripeId,
    /// In what currency.
    pub currency: Currency,
    /// What pays it; without one, the customer's default.
    pub payment_method: Option<StripeId>,
    /// Whether Stripe computes the tax.
    pub automatic_tax: bool,
    /// A memo on it.
    pub description: Option<String>,
    /// Leads the webhook home.
    pub metadata: Metadata,
}

/// A line for one draft invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvoiceItem {
    /// Whose.
    pub customer: StripeId,
    /// On which invoice.
    pub invoice: StripeId,
    /// What is invoiced.
    pub charge: ItemCharge,
    /// What the customer reads.
    pub description: Option<String>,
    /// Leads home from the line.
    pub metadata: Metadata,
}

/// What a line invoices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemCharge {
    /// An amount; below zero it is a credit.
    Amount(Money),
    /// So many of a price.
    Price(PriceLine),
}

/// A subscription to be started. Its first invoice is charged at once, and its customer is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// Whose.
    pub customer: StripeId,
    /// What it sells.
    pub lines: Vec<PriceLine>,
    /// What pays for it.
    pub payment_method: StripeId,
    /// Days without payment at its start.
    pub trial_days: Option<u32>,
    /// What becomes of it while its first invoice is unpaid.
    pub payment: PaymentBehavior,
    /// Leads the webhooks home.
    pub metadata: Metadata,
}

/// A change of a subscription's items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// The subscription.
    pub subscription: StripeId,
    /// What changes; other items stay.
    pub items: Vec<ItemChange>,
    /// How the running period is settled.
    pub proration: Proration,
    /// What becomes of it while it is unpaid.
    pub payment: PaymentBehavior,
    /// The moment the settlement counts from; without one, now.
    pub proration_date: Option<Timestamp>,
}

/// A change of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemChange {
    /// Another price or quantity; what is `None` stays.
    Set {
        /// The item.
        item: StripeId,
        /// Its price.
        price: Option<StripeId>,
        /// Its quantity.
        quantity: Option<u64>,
    },
    /// A further item.
    Add(PriceLine),
    /// One item fewer.
    Remove {
        /// The item.
        item: StripeId,
    },
}

/// How a change within a period is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proration {
    /// Not at all.
    None,
    /// With the next invoice.
    NextInvoice,
    /// With an invoice at once.
    InvoiceNow,
}

/// What becomes of a change whose invoice is not paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentBehavior {
    /// It waits, and is dropped after 23 hours: an upgrade.
    PendingIfIncomplete,
    /// It is made, and the subscription is past due.
    AllowIncomplete,
    /// It is refused.
    ErrorIfIncomplete,
}

/// Money to be given back. Stripe gives it in the currency of the charge, so the amount's currency is not sent: that
/// the two are equal is seen to before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Of which intent.
    pub payment_intent: StripeId,
    /// How much; positive. Without it, all that is left.
    pub amount: Option<Money>,
    /// Why.
    pub reason: Option<RefundReason>,
    /// Leads the webhook home.
    pub metadata: Metadata,
}

/// Why money goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundReason {
    /// Charged twice.
    Duplicate,
    /// The card's owner did not buy; it also blocks the card.
    Fraudulent,
    /// The customer asked for it.
    RequestedByCustomer,
}

/// A phase of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What it sells.
    pub lines: Vec<PriceLine>,
    /// When it starts; needed for the first phase, others start where the one before ends.
    pub starts_at: Option<Timestamp>,
    /// When it ends; the last one may leave it open.
    pub ends_at: Option<Timestamp>,
    /// How its start is settled.
    pub proration: Proration,
    /// What the subscription's metadata becomes.
    pub metadata: Metadata,
}

/// What follows the last phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLast {
    /// The subscription goes on as the phase left it.
    GoOn,
    /// The subscription ends.
    Cancel,
}
