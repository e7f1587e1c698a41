//! Lines of an invoice. Lines decide what is granted, so most facts that moved between versions are here.

use std::collections::BTreeMap;

use super::money::{WireMoney, WireTax, sum, taxes};
use super::reader::{Node, WireError};
use super::{Expandable, Period, Wire, period};

/// What made a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// An item of a subscription.
    Subscription,
    /// An invoice item: one-off, or a proration.
    InvoiceItem,
    /// A word not known here.
    Other(String),
}

impl LineKind {
    fn from_word(word: String) -> Self {
        match word.as_str() {
            "subscription_item_details" | "subscription" => Self::Subscription,
            "invoice_item_details" | "invoiceitem" => Self::InvoiceItem,
            _ => Self::Other(word),
        }
    }
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq)]
pub struct InvoiceLine {
    /// `il_...`, the cursor for the next page.
    pub id: Option<String>,
    /// The price's id; a plan's id in old shapes.
    pub price: Option<String>,
    /// The product's id.
    pub product: Option<String>,
    /// The price of one, as decimal text.
    pub unit_amount_decimal: Option<String>,
    /// How many; may be null.
    pub quantity: Option<i64>,
    /// How many, as decimal text; since dahlia.
    pub quantity_decimal: Option<String>,
    /// The line's currency.
    pub currency: Option<String>,
    /// Before discounts and exclusive tax; negative on a credit.
    pub amount: Option<WireMoney>,
    /// Before discounts and taxes; since dahlia.
    pub subtotal: Option<WireMoney>,
    /// The line's taxes, in the order sent.
    pub taxes: Option<Vec<WireTax>>,
    /// All discounts of the line together.
    pub discount: Option<WireMoney>,
    /// What time the line is for.
    pub period: Option<Period>,
    /// What made it.
    pub kind: Option<LineKind>,
    /// Whether it corrects a running period.
    pub is_proration: Option<bool>,
    /// Whether it credits what earlier lines charged: tells the two halves of a change apart when they cost nothing.
    pub is_credit: bool,
    /// The subscription.
    pub subscription: Option<String>,
    /// The subscription's item.
    pub subscription_item: Option<String>,
    /// The invoice item.
    pub invoice_item: Option<String>,
    /// Whether the quantity is usage; unknown unless the price is expanded.
    pub is_metered: Option<bool>,
    /// The line's metadata; on a subscription's line that of the subscription.
    pub metadata: BTreeMap<String, String>,
}

/// What a credit credits, since basil and before.
const CREDIT_PATHS: [&str; 3] = [
    "parent.subscription_item_details.proration_details.credited_items",
    "parent.invoice_item_details.proration_details.credited_items",
    "proration_details.credited_items",
];

/// The price of a line since basil, before, and before prices existed.
const PRICE_PATHS: [&str; 3] = ["pricing.price_details.price", "price", "plan"];

impl Wire for InvoiceLine {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let currency_text = currency.as_deref();
        let price = node.reference(&PRICE_PATHS)?;
        // The old shapes carry the price itself; below it the product, the unit amount and the usage type.
        let expanded = PricePart::read(node)?;
        Ok(Self {
            id: node.text(&["id"])?,
            price: price.map(Expandable::into_id),
            product: node.reference_id(&["pricing.price_details.product"])?.or(expanded.product),
            unit_amount_decimal: node.text(&["pricing.unit_amount_decimal"])?.or(expanded.unit_amount_decimal),
            quantity: node.integer(&["quantity"])?,
            quantity_decimal: node.text(&["quantity_decimal"])?,
            amount: node.money(&["amount"], currency_text)?,
            subtotal: node.money(&["subtotal"], currency_text)?,
            taxes: taxes(node, &["taxes", "tax_amounts"], currency_text)?,
            discount: sum(node, &["discount_amounts"], currency_text)?,
            period: period(node, &["period.start"], &["period.end"])?,
            kind: kind(node)?,
            is_proration: node.boolean(&[
                "parent.subscription_item_details.proration",
                "parent.invoice_item_details.proration",
                "proration",
            ])?,
            is_credit: CREDIT_PATHS.iter().any(|path| matches!(node.object(&[*path]), Ok(Some(_)))),
            subscription: node.reference_id(&[
                "parent.subscription_item_details.subscription",
                "parent.invoice_item_details.subscription",
                "subscription",
            ])?,
            subscription_item: node
                .reference_id(&["parent.subscription_item_details.subscription_item", "subscription_item"])?,
            invoice_item: node.reference_id(&[
                "parent.invoice_item_details.invoice_item",
                "parent.subscription_item_details.invoice_item",
                "invoice_item",
            ])?,
            is_metered: expanded.usage_type.map(|word| word == "metered"),
            metadata: node.metadata(&["metadata"])?,
            currency,
        })
    }
}

/// What made a line: the word, else whichever of its details stands.
fn kind(line: &Node<'_>) -> Result<Option<LineKind>, WireError> {
    if let Some(word) = line.text(&["parent.type", "type"])? {
        return Ok(Some(LineKind::from_word(word)));
    }
    let of_item = line.object(&["parent.invoice_item_details"])?.map(|_| LineKind::InvoiceItem);
    let of_subscription = line.object(&["parent.subscription_item_details"])?.map(|_| LineKind::Subscription);
    Ok(of_subscription.or(of_item))
}

/// What an expanded price says.
#[derive(Default)]
struct PricePart {
    product: Option<String>,
    unit_amount_decimal: Option<String>,
    usage_type: Option<String>,
}

impl PricePart {
    fn read(line: &Node<'_>) -> Result<Self, WireError> {
        for path in PRICE_PATHS {
            let Some(price) = line.object_if_expanded(path)? else { continue };
            return Ok(Self {
                product: price.reference_id(&["product"])?,
                unit_amount_decimal: price.text(&["unit_amount_decimal", "amount_decimal"])?,
                // A plan carries its usage type itself, a price below `recurring`.
                usage_type: price.text(&["recurring.usage_type", "usage_type"])?,
            });
        }
        Ok(Self::default())
    }
}
