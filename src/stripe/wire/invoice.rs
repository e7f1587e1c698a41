//! Invoices: what a subscription or a person owes, whether it is paid, and by what.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::money::{WireMoney, WireTax, sum, taxes};
use super::reader::{Node, WireError};
use super::{InvoiceLine, InvoicePayment, LineKind, Period, Wire, WireList, list, period};

/// How much of an invoice was paid outside Stripe, as far as the shape tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaidOutside {
    /// The amount; since endive.
    Amount(WireMoney),
    /// The flag of the old shapes.
    Whole(bool),
}

/// An invoice.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoice {
    /// `in_...`; an upcoming invoice has none.
    pub id: Option<String>,
    /// `draft`, `open`, `paid`, `void` or `uncollectible`.
    pub status: Option<String>,
    /// Whether it is paid: `status`, or the old flag where no status is.
    pub is_paid: Option<bool>,
    /// Why it was made, for instance `subscription_cycle`.
    pub billing_reason: Option<String>,
    /// Live or test mode.
    pub livemode: Option<bool>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was finalized.
    pub finalized_at: Option<Timestamp>,
    /// When it was paid.
    pub paid_at: Option<Timestamp>,
    /// The span of its usage; the lines' periods say what they are for.
    pub period: Option<Period>,
    /// The currency.
    pub currency: Option<String>,
    /// Before invoice discounts and exclusive tax.
    pub subtotal: Option<WireMoney>,
    /// After discounts and tax.
    pub total: Option<WireMoney>,
    /// What was paid.
    pub amount_paid: Option<WireMoney>,
    /// What is still owed.
    pub amount_remaining: Option<WireMoney>,
    /// What was paid beyond the total; since basil.
    pub amount_overpaid: Option<WireMoney>,
    /// All taxes together: the new list's sum, else the old field.
    pub tax: Option<WireMoney>,
    /// The taxes one by one.
    pub taxes: Option<Vec<WireTax>>,
    /// All discounts together.
    pub discount: Option<WireMoney>,
    /// The coupons of the discounts that are expanded.
    pub coupons: Vec<String>,
    /// What was paid outside Stripe. Basil to dahlia say nothing: there the invoice has no payments.
    pub paid_outside: Option<PaidOutside>,
    /// What made it: `subscription_details` or `quote_details`, told from the ids in old shapes.
    pub parent_kind: Option<String>,
    /// The subscription.
    pub subscription: Option<String>,
    /// The subscription's metadata when the invoice was made; in shapes without it, that of the subscription's lines,
    /// which carry a copy. `None` when neither has any.
    pub subscription_metadata: Option<BTreeMap<String, String>>,
    /// When the change took effect that the prorations are for.
    pub proration_date: Option<Timestamp>,
    /// The quote.
    pub quote: Option<String>,
    /// The Stripe customer, or the account that stands in its place.
    pub customer: Option<String>,
    /// Stands in place of a customer since dahlia.
    pub customer_account: Option<String>,
    /// The payments, only when expanded; since basil, and absent from webhooks.
    pub payments: Option<WireList<InvoicePayment>>,
    /// The one intent of the old shapes.
    old_payment_intent: Option<String>,
    /// The one charge of the old shapes.
    old_charge: Option<String>,
    /// The first page of the lines.
    pub lines: Option<WireList<InvoiceLine>>,
    /// The invoice's own metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Invoice {
    /// The intents that paid it or may: those of its payments, else the old one. Empty may mean "ask Stripe".
    pub fn payment_intents(&self) -> Vec<&str> {
        first_of(
            self.payments.as_ref(),
            |payment| payment.payment_intent.as_deref(),
            self.old_payment_intent.as_deref(),
        )
    }

    /// The charges that paid it: those of its payments, else the old one.
    pub fn charges(&self) -> Vec<&str> {
        first_of(self.payments.as_ref(), |payment| payment.charge.as_deref(), self.old_charge.as_deref())
    }
}

fn first_of<'a>(
    payments: Option<&'a WireList<InvoicePayment>>,
    pick: impl Fn(&'a InvoicePayment) -> Option<&'a str>,
    old: Option<&'a str>,
) -> Vec<&'a str> {
    match payments {
        // A cancelled payment took nothing and will take nothing.
        Some(list) => {
            list.data.iter().filter(|item| item.status.as_deref() != Some("canceled")).filter_map(pick).collect()
        }
        None => old.into_iter().collect(),
    }
}

impl Wire for Invoice {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let money = |path| node.money(&[path], currency.as_deref());
        let status = node.text(&["status"])?;
        let subscription = node.reference_id(&["parent.subscription_details.subscription", "subscription"])?;
        let quote = node.reference_id(&["parent.quote_details.quote", "quote"])?;
        let old_parent =
            subscription.as_ref().map(|_| "subscription_details").or(quote.as_ref().map(|_| "quote_details"));
        let lines: Option<WireList<InvoiceLine>> = list(node, &["lines"])?;
        let snapshot =
            node.metadata_if_any(&["parent.subscription_details.metadata", "subscription_details.metadata"])?;
        let off_stripe = money("amount_paid_off_stripe")?.map(PaidOutside::Amount);
        let old_flag = node.boolean(&["paid_out_of_band"])?.map(PaidOutside::Whole);
        Ok(Self {
            id: node.text(&["id"])?,
            is_paid: status.as_deref().map(|word| word == "paid").or(node.boolean(&["paid"])?),
            status,
            billing_reason: node.text(&["billing_reason"])?,
            livemode: node.boolean(&["livemode"])?,
            created: node.time(&["created"])?,
            finalized_at: node.time(&["status_transitions.finalized_at"])?,
            paid_at: node.time(&["status_transitions.paid_at"])?,
            period: period(node, &["period_start"], &["period_end"])?,
            subtotal: money("subtotal")?,
            total: money("total")?,
            amount_paid: money("amount_paid")?,
            amount_remaining: money("amount_remaining")?,
            amount_overpaid: money("amount_overpaid")?,
            tax: sum(node, &["total_taxes"], currency.as_deref())?
                .map_or_else(|| money("tax"), |tax| Ok(Some(tax)))?
                .map_or_else(|| sum(node, &["total_tax_amounts"], currency.as_deref()), |tax| Ok(Some(tax)))?,
            taxes: taxes(node, &["total_taxes", "total_tax_amounts"], currency.as_deref())?,
            discount: sum(node, &["total_discount_amounts"], currency.as_deref())?,
            coupons: coupons(node)?,
            paid_outside: off_stripe.or(old_flag),
            parent_kind: node.text(&["parent.type"])?.or(old_parent.map(str::to_owned)),
            subscription_metadata: snapshot.or_else(|| subscription.as_ref().and(copy_on_a_line(lines.as_ref()))),
            subscription,
            proration_date: node
                .time(&["parent.subscription_details.subscription_proration_date", "subscription_proration_date"])?,
            quote,
            customer: node.reference_id(&["customer", "customer_account"])?,
            customer_account: node.reference_id(&["customer_account"])?,
            payments: list(node, &["payments"])?,
            old_payment_intent: node.reference_id(&["payment_intent"])?,
            old_charge: node.reference_id(&["charge"])?,
            lines,
            metadata: node.metadata(&["metadata"])?,
            currency,
        })
    }
}

/// The metadata of the first line that a subscription's item made: before invoices carried the subscription's own.
fn copy_on_a_line(lines: Option<&WireList<InvoiceLine>>) -> Option<BTreeMap<String, String>> {
    let of_subscription = |line: &&InvoiceLine| line.kind == Some(LineKind::Subscription) && !line.metadata.is_empty();
    Some(lines?.data.iter().find(of_subscription)?.metadata.clone())
}

/// The coupons of the expanded discounts: below `source` since clover, beside it before, on the one `discount` of old.
fn coupons(node: &Node<'_>) -> Result<Vec<String>, WireError> {
    let paths = ["source.coupon", "coupon"];
    let mut coupons = Vec::new();
    for discount in node.references(&["discounts"])? {
        let coupon = discount.node().map(|inner| inner.reference_id(&paths)).transpose()?.flatten();
        coupons.extend(coupon);
    }
    if coupons.is_empty() {
        let old = node.object_if_expanded("discount")?;
        coupons.extend(old.map(|discount: Node<'_>| discount.reference_id(&paths)).transpose()?.flatten());
    }
    Ok(coupons)
}
