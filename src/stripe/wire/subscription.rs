//! Subscriptions and their items.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::reader::{Node, WireError};
use super::{Expandable, Period, Wire, WireList, list, period};

/// A subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// `sub_...`.
    pub id: Option<String>,
    /// `active`, `trialing`, `past_due`, `canceled`, ...
    pub status: Option<String>,
    /// Live or test mode.
    pub livemode: Option<bool>,
    /// The Stripe customer, or the account that stands in its place.
    pub customer: Option<String>,
    /// Stands in place of a customer since dahlia.
    pub customer_account: Option<String>,
    /// The currency of its prices.
    pub currency: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it began, which may lie before it was made.
    pub start_date: Option<Timestamp>,
    /// What its periods are counted from.
    pub billing_cycle_anchor: Option<Timestamp>,
    /// Whether it ends with the running period.
    pub cancel_at_period_end: Option<bool>,
    /// When it is set to end.
    pub cancel_at: Option<Timestamp>,
    /// When somebody cancelled it.
    pub canceled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When its trial began.
    pub trial_start: Option<Timestamp>,
    /// When its trial ends or ended.
    pub trial_end: Option<Timestamp>,
    /// Whether collection is paused, which is not the status `paused`.
    pub is_collection_paused: bool,
    /// An attached schedule.
    pub schedule: Option<String>,
    /// Its newest invoice.
    pub latest_invoice: Option<Expandable>,
    /// Its items; their period is the subscription's up to acacia.
    pub items: Option<WireList<SubscriptionItem>>,
    /// The app's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Wire for Subscription {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let old_period = period(node, &["current_period_start"], &["current_period_end"])?;
        let mut items: Option<WireList<SubscriptionItem>> = list(node, &["items"])?;
        for item in items.iter_mut().flat_map(|list| &mut list.data) {
            item.current_period = item.current_period.or(old_period);
        }
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            livemode: node.boolean(&["livemode"])?,
            customer: node.reference_id(&["customer", "customer_account"])?,
            customer_account: node.reference_id(&["customer_account"])?,
            currency: node.text(&["currency"])?,
            created: node.time(&["created"])?,
            start_date: node.time(&["start_date"])?,
            billing_cycle_anchor: node.time(&["billing_cycle_anchor"])?,
            cancel_at_period_end: node.boolean(&["cancel_at_period_end"])?,
            cancel_at: node.time(&["cancel_at"])?,
            canceled_at: node.time(&["canceled_at"])?,
            ended_at: node.time(&["ended_at"])?,
            trial_start: node.time(&["trial_start"])?,
            trial_end: node.time(&["trial_end"])?,
            is_collection_paused: node.object(&["pause_collection"])?.is_some(),
            schedule: node.reference_id(&["schedule"])?,
            latest_invoice: node.reference(&["latest_invoice"])?,
            items,
            metadata: node.metadata(&["metadata"])?,
        })
    }
}

/// An item of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionItem {
    /// `si_...`.
    pub id: Option<String>,
    /// The price's id; a plan's id in old shapes.
    pub price: Option<String>,
    /// The product's id.
    pub product: Option<String>,
    /// How many; a metered item has none.
    pub quantity: Option<i64>,
    /// The running period.
    pub current_period: Option<Period>,
    /// Whether the quantity is usage.
    pub is_metered: Option<bool>,
    /// The item's metadata.
    pub metadata: BTreeMap<String, String>,
}

impl Wire for SubscriptionItem {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let price = node.reference(&["price", "plan"])?;
        let expanded = match node.object_if_expanded("price")? {
            Some(price) => Some(price),
            None => node.object_if_expanded("plan")?,
        };
        let product = expanded.as_ref().map(|price| price.reference_id(&["product"])).transpose()?.flatten();
        let usage = ["recurring.usage_type", "usage_type"];
        let usage = expanded.as_ref().map(|price| price.text(&usage)).transpose()?.flatten();
        Ok(Self {
            id: node.text(&["id"])?,
            price: price.map(Expandable::into_id),
            product,
            quantity: node.integer(&["quantity"])?,
            current_period: period(node, &["current_period_start"], &["current_period_end"])?,
            is_metered: usage.map(|word| word == "metered"),
            metadata: node.metadata(&["metadata"])?,
        })
    }
}
