//! Overage as it is billed: usage that was allowed beyond the balance at a price, made into lines of a Stripe invoice.
//!
//! A bill freezes credits of priced debts. They stay owed, and count against what may be owed, until the invoice is paid;
//! they are on one bill at a time, so that each credit is billed once. A line's amount is rounded once, half to even; what
//! comes to no minor unit waits for the next bill.

use ethnum::I256;
use jiff::Timestamp;

use super::catalog::{FeatureId, UnitPrice};
use super::credits::{AmountError, Credits, Rate, round_half_even};
use super::ids::{BillId, DebtId, PaymentId};
use super::money::{Currency, Money, MoneyError};

/// Most lines of one bill: Stripe takes 250 items on an invoice, and the subscription's own stand there too.
pub const BILL_LINES_MAX: usize = 100;
/// Largest amount of one line, in minor units: Stripe takes no more than eight digits. What is beyond waits.
pub const LINE_MINOR_MAX: i64 = 99_999_999;
/// Metadata that names the bill, on the items that are made for it and their lines, and on an invoice of its own.
pub const BILL_KEY: &str = "creditd_bill_id";
/// Metadata that names the line of the bill.
pub const LINE_KEY: &str = "creditd_bill_line";
/// Billionths in one credit, times the scale of a rate.
const SCALE_EXPONENT: u32 = 27;

/// A bill, as decisions see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Our id.
    pub id: BillId,
    /// Of its amounts.
    pub currency: Currency,
    /// Usage before then is on it.
    pub period_end: Timestamp,
    /// Stripe's customer who pays.
    pub stripe_customer: String,
    /// The subscription's draft invoice it was made for; none: it has an invoice of its own.
    pub draft_invoice: Option<String>,
    /// Does it go on an invoice of its own, because it was made so or because the draft was final already?
    pub is_own: bool,
    /// Where it stands.
    pub state: BillState,
    /// Its invoice, once it is known.
    pub invoice: Option<BillInvoice>,
    /// Why it is void, in words.
    pub reason: Option<String>,
    /// What is on it, in the order of the invoice's items.
    pub lines: Vec<BillLine>,
}

/// Where a bill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillState {
    /// On its way to Stripe.
    Open,
    /// On an invoice that is not paid.
    Invoiced,
    /// Paid then; what it billed is not owed any more.
    Paid {
        /// When.
        at: Timestamp,
        /// By which payment.
        payment: PaymentId,
    },
    /// Over without being paid; what it billed waits for the next bill.
    Void {
        /// Since when.
        at: Timestamp,
    },
}

impl BillState {
    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Invoiced => "invoiced",
            Self::Paid { .. } => "paid",
            Self::Void { .. } => "void",
        }
    }

    /// When it was over.
    pub const fn ended_at(self) -> Option<Timestamp> {
        match self {
            Self::Open | Self::Invoiced => None,
            Self::Paid { at, .. } | Self::Void { at } => Some(at),
        }
    }
}

/// An invoice of Stripe's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillInvoice {
    /// `in_..`.
    pub id: String,
    /// Stripe's page of it.
    pub url: Option<String>,
}

/// Credits of one debt on a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// The debt.
    pub debt: DebtId,
    /// Whose credits.
    pub feature: FeatureId,
    /// How many.
    pub credits: Credits,
    /// What one costs.
    pub price: UnitPrice,
    /// What they cost together, rounded once.
    pub amount_minor: i64,
    /// Not on the invoice, or not paid with it: its credits wait for the next bill.
    pub is_released: bool,
}

impl Bill {
    /// What is asked for by it.
    pub fn amount(&self) -> Result<Money, MoneyError> {
        let lines = self.lines.iter().filter(|line| !line.is_released);
        let zero = Money::from_minor(0, self.currency)?;
        lines
            .map(|line| Money::from_minor(line.amount_minor, self.currency))
            .try_fold(zero, |sum, line| sum.checked_add(line?))
    }

    /// Was it made for this?
    pub fn is_for(&self, order: &BillOverage) -> bool {
        self.draft_invoice == order.draft_invoice
            && (order.draft_invoice.is_some() || self.period_end == order.period_end)
            && self.currency == order.currency
    }
}

/// What a customer owes is to be billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillOverage {
    /// Debts of that currency.
    pub currency: Currency,
    /// Usage before then.
    pub period_end: Timestamp,
    /// Stripe's customer.
    pub stripe_customer: String,
    /// The draft of a subscription's invoice it goes on; none: an invoice of its own, one for each period.
    pub draft_invoice: Option<String>,
}

/// A draft was final already: its bill goes on an invoice of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BillApart {
    /// The bill.
    pub bill: BillId,
}

/// A bill's lines are on an invoice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillPlaced {
    /// The bill.
    pub bill: BillId,
    /// On which.
    pub invoice: BillInvoice,
    /// Those that are, by place; the others wait for the next bill.
    pub lines: Vec<usize>,
}

/// An invoice with lines of a bill was paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillPaid {
    /// The bill.
    pub bill: BillId,
    /// The claimed payment.
    pub payment: PaymentId,
    /// Which invoice.
    pub invoice: String,
    /// When it was paid.
    pub paid_at: Timestamp,
    /// Currency of its lines.
    pub currency: Currency,
    /// Its lines of the bill, by place.
    pub lines: Vec<usize>,
}

/// A bill will not be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillVoid {
    /// The bill.
    pub bill: BillId,
    /// The invoice that is void or gone; none: Stripe took nothing of it.
    pub invoice: Option<String>,
    /// Why, in words.
    pub reason: String,
}

/// What is asked of bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BillOrder {
    /// Make one.
    Make(BillOverage),
    /// Put it on an invoice of its own.
    Apart(BillApart),
    /// It is on an invoice.
    Placed(BillPlaced),
    /// It is paid.
    Paid(BillPaid),
    /// It will not be.
    Void(BillVoid),
}

impl BillOrder {
    /// The word used in metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Make(_) => "bill_overage",
            Self::Apart(_) => "bill_apart",
            Self::Placed(_) => "bill_placed",
            Self::Paid(_) => "bill_paid",
            Self::Void(_) => "bill_void",
        }
    }

    /// The bill it names; none: it is to be made.
    pub const fn bill(&self) -> Option<BillId> {
        match self {
            Self::Make(_) => None,
            Self::Apart(BillApart { bill }) => Some(*bill),
            Self::Placed(placed) => Some(placed.bill),
            Self::Paid(paid) => Some(paid.bill),
            Self::Void(void) => Some(void.bill),
        }
    }
}

/// What so many credits cost at a price: how many of them one line takes, and their amount in minor units, rounded half
/// to even once.
pub fn line_amount(credits: Credits, price: &UnitPrice) -> Result<(Credits, i64), AmountError> {
    let rate: Rate = price.amount.parse()?;
    let currency: Currency = price.currency.parse().map_err(|_| AmountError::NotDecimal)?;
    // None of these can overflow: amounts are at most 10^27 and rates 10^27, in units of 10^-27, times at most 10^3.
    let minor_per_major = I256::from(10_u64.saturating_pow(currency.exponent()));
    let unit = I256::from(rate.scaled()).wrapping_mul(minor_per_major);
    let scale = I256::from(10).wrapping_pow(SCALE_EXPONENT);
    let minor = |credits: Credits| {
        let product = I256::from(credits.nanos()).wrapping_mul(unit);
        i64::try_from(round_half_even(product, scale)).map_err(|_| AmountError::TooLarge)
    };
    if let Ok(amount) = minor(credits)
        && amount <= LINE_MINOR_MAX
    {
        return Ok((credits, amount));
    }
    let most = I256::from(LINE_MINOR_MAX).wrapping_mul(scale).checked_div(unit).ok_or(AmountError::TooLarge)?;
    let most = i128::try_from(most).map_err(|_| AmountError::TooLarge).and_then(Credits::from_nanos)?;
    Ok((most, minor(most)?))
}
