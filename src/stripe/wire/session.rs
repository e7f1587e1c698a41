//! Checkout sessions and their line items. Their core paths are the same in every version.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::money::WireMoney;
use super::reader::{Node, WireError};
use super::{Expandable, Wire, WireList, list};

/// A checkout session. Webhooks carry none of its line items.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// `cs_...`.
    pub id: Option<String>,
    /// `payment`, `subscription` or `setup`.
    pub mode: Option<String>,
    /// `open`, `complete` or `expired`.
    pub status: Option<String>,
    /// `paid`, `unpaid` or `no_payment_required`.
    pub payment_status: Option<String>,
    /// Live or test mode.
    pub livemode: Option<bool>,
    /// When the session was made.
    pub created: Option<Timestamp>,
    /// The session's currency.
    pub currency: Option<String>,
    /// Subtotal - discount + exclusive tax, in the session's currency.
    pub amount_total: Option<WireMoney>,
    /// Before discount and exclusive tax.
    pub amount_subtotal: Option<WireMoney>,
    /// `total_details.amount_tax`.
    pub amount_tax: Option<WireMoney>,
    /// `total_details.amount_discount`.
    pub amount_discount: Option<WireMoney>,
    /// What is sold, in the merchant's currency: `amount_total`, but up to acacia a localized session turned that into
    /// the buyer's currency and kept the merchant's total in `currency_conversion`.
    pub amount_sold: Option<WireMoney>,
    /// What is sold before discount and exclusive tax, in the currency of `amount_sold`.
    pub subtotal_sold: Option<WireMoney>,
    /// What the buyer saw, where it was another currency.
    pub presentment: Option<WireMoney>,
    /// The Stripe customer, or the account that stands in its place.
    pub customer: Option<String>,
    /// Stands in place of a customer since dahlia.
    pub customer_account: Option<String>,
    /// The intent that took the money.
    pub payment_intent: Option<Expandable>,
    /// The intent that kept a card without charging it.
    pub setup_intent: Option<String>,
    /// The subscription it started.
    pub subscription: Option<String>,
    /// The invoice it made.
    pub invoice: Option<String>,
    /// The app's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The app's reference; it routes a grant.
    pub client_reference_id: Option<String>,
    /// The line items, only when expanded.
    pub line_items: Option<WireList<SessionLineItem>>,
}

impl Wire for Session {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let source = node.text(&["currency_conversion.source_currency"])?;
        let shown = node.text(&["presentment_details.presentment_currency"])?;
        let amount_total = node.money(&["amount_total"], currency.as_deref())?;
        let converted = node.money(&["currency_conversion.amount_total"], source.as_deref())?;
        let subtotal = node.money(&["amount_subtotal"], currency.as_deref())?;
        let converted_subtotal = node.money(&["currency_conversion.amount_subtotal"], source.as_deref())?;
        let presented = node.money(&["presentment_details.presentment_amount"], shown.as_deref())?;
        Ok(Self {
            id: node.text(&["id"])?,
            mode: node.text(&["mode"])?,
            status: node.text(&["status"])?,
            payment_status: node.text(&["payment_status"])?,
            livemode: node.boolean(&["livemode"])?,
            created: node.time(&["created"])?,
            subtotal_sold: converted_subtotal.or_else(|| subtotal.clone()),
            amount_subtotal: subtotal,
            amount_tax: node.money(&["total_details.amount_tax"], currency.as_deref())?,
            amount_discount: node.money(&["total_details.amount_discount"], currency.as_deref())?,
            presentment: presented.or_else(|| converted.as_ref().and(amount_total.clone())),
            amount_sold: converted.or_else(|| amount_total.clone()),
            amount_total,
            currency,
            customer: node.reference_id(&["customer", "customer_account"])?,
            customer_account: node.reference_id(&["customer_account"])?,
            payment_intent: node.reference(&["payment_intent"])?,
            setup_intent: node.reference_id(&["setup_intent"])?,
            subscription: node.reference_id(&["subscription"])?,
            invoice: node.reference_id(&["invoice"])?,
            metadata: node.metadata(&["metadata"])?,
            client_reference_id: node.text(&["client_reference_id"])?,
            line_items: list(node, &["line_items"])?,
        })
    }
}

/// A line of a checkout session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionLineItem {
    /// `li_...`, the cursor for the next page.
    pub id: Option<String>,
    /// The price's id.
    pub price: Option<String>,
    /// The product's id, which an inline price has too.
    pub product: Option<String>,
    /// How many; may be null.
    pub quantity: Option<i64>,
    /// How many, as decimal text; since dahlia.
    pub quantity_decimal: Option<String>,
    /// The line's currency.
    pub currency: Option<String>,
    /// Before discount and tax.
    pub amount_subtotal: Option<WireMoney>,
    /// After discount and tax.
    pub amount_total: Option<WireMoney>,
    /// The line's tax.
    pub amount_tax: Option<WireMoney>,
    /// The line's discount.
    pub amount_discount: Option<WireMoney>,
    /// Whether the quantity is usage; unknown unless the price is expanded.
    pub is_metered: Option<bool>,
    /// Whether the price recurs; unknown unless the price is expanded.
    pub is_recurring: Option<bool>,
}

impl Wire for SessionLineItem {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let price = node.reference(&["price"])?;
        let inner = node.object_if_expanded("price")?;
        let usage = inner.as_ref().map(|price| price.text(&["recurring.usage_type"])).transpose()?.flatten();
        let kind = inner.as_ref().map(|price| price.text(&["type"])).transpose()?.flatten();
        let product = inner.as_ref().map(|price| price.reference_id(&["product"])).transpose()?.flatten();
        Ok(Self {
            id: node.text(&["id"])?,
            price: price.map(Expandable::into_id),
            product,
            quantity: node.integer(&["quantity"])?,
            quantity_decimal: node.text(&["quantity_decimal"])?,
            amount_subtotal: node.money(&["amount_subtotal"], currency.as_deref())?,
            amount_total: node.money(&["amount_total"], currency.as_deref())?,
            amount_tax: node.money(&["amount_tax"], currency.as_deref())?,
            amount_discount: node.money(&["amount_discount"], currency.as_deref())?,
            currency,
            is_metered: usage.map(|word| word == "metered"),
            is_recurring: kind.map(|word| word == "recurring"),
        })
    }
}
