//! A payment: money taken once, whatever Stripe objects tell of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::money::Currency;

/// What is known of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PaymentFacts {
    /// paid, free, failed or claimed.
    pub status: PaymentStatus,
    /// Currency of what was sold.
    pub currency: Option<Currency>,
    /// Paid, tax included, in minor units.
    pub amount_paid_minor: Option<i64>,
    /// Tax within it.
    pub tax_minor: Option<i64>,
    /// Discount given.
    pub discount_minor: Option<i64>,
    /// Checkout session.
    pub session: Option<String>,
    /// Payment intent.
    pub payment_intent: Option<String>,
    /// Charge.
    pub charge: Option<String>,
    /// Invoice.
    pub invoice: Option<String>,
    /// Balance transaction.
    pub balance_transaction: Option<String>,
    /// Stripe's customer.
    pub stripe_customer: Option<String>,
    /// Subscription whose period it pays.
    pub subscription: Option<String>,
    /// When Stripe says it was paid.
    pub paid_at: Option<Timestamp>,
    /// The payment's metadata.
    pub metadata: BTreeMap<String, String>,
}

/// How far a payment has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PaymentStatus {
    /// Not known to be paid.
    #[default]
    Claimed,
    /// Paid.
    Paid,
    /// Nothing had to be paid.
    Free,
    /// It failed.
    Failed,
}

impl PaymentStatus {
    /// The word used in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Paid => "paid",
            Self::Free => "free",
            Self::Failed => "failed",
        }
    }
}

impl PaymentFacts {
    /// Every Stripe id of the payment, the one that names it first: payment intent, else session, else invoice.
    pub fn aliases(&self) -> Vec<&str> {
        [&self.payment_intent, &self.session, &self.invoice, &self.charge]
            .into_iter()
            .filter_map(|alias| alias.as_deref())
            .collect()
    }
}
