//! Invoices ordered by hand: made and paid at once, for periods and reasons that a test wants now.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::control::note;
use super::objects::AMOUNT_MAX;
use super::objects::invoice::{self, Draft, DraftLine};
use super::objects::subscription::{self, QUANTITY_MAX, Seat};
use super::objects::terms::Terms;
use super::refusal::Refusal;
use super::server::Account;
use super::state::{Kind, Origin, State, number, text};

/// An invoice to be made and paid.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceOrder {
    /// Who pays.
    pub customer: String,
    /// The subscription billed; a `subscription_*` reason without one makes one.
    #[serde(default)]
    pub subscription: Option<String>,
    /// The price billed; without one, the items of the subscription.
    #[serde(default)]
    pub price: Option<String>,
    /// How many; 1 without.
    #[serde(default)]
    pub quantity: Option<i64>,
    /// Why: `subscription_cycle` moves the subscription to its next period first.
    pub billing_reason: String,
    /// Start of the period in unix seconds; computed without.
    #[serde(default)]
    pub period_start: Option<i64>,
    /// End of the period in unix seconds; computed without.
    #[serde(default)]
    pub period_end: Option<i64>,
    /// The invoice's metadata, or that of the subscription it makes.
    #[serde(default)]
    pub metadata: std::collections::BTreeMap<String, String>,
}

/// Makes and pays an invoice; gives it in the newest shape.
pub(super) fn make_invoice(
    account: &Arc<Account>,
    order: &InvoiceOrder,
    quote: Option<&str>,
) -> Result<Value, Refusal> {
    note(account, "invoice", &order.customer);
    account.step(Origin::default(), |state| bill(state, order, quote))?
}

const REASONS: &[&str] = &[
    "subscription_create",
    "subscription_cycle",
    "subscription_update",
    "subscription_threshold",
    "manual",
    "quote_accept",
    "automatic_pending_invoice_item_invoice",
];

fn bill(state: &mut State, order: &InvoiceOrder, quote: Option<&str>) -> Result<Value, Refusal> {
    if !REASONS.contains(&order.billing_reason.as_str()) {
        return Err(Refusal::invalid(&format!("Invalid billing_reason: must be one of {}", REASONS.join(", "))));
    }
    state.named(Kind::Customer, &order.customer, "customer")?;
    let period = match (order.period_start, order.period_end) {
        (Some(start), Some(end)) if start < end => Some((start, end)),
        (None, None) => None,
        (Some(_) | None, Some(_) | None) => {
            return Err(Refusal::invalid("period_start and period_end go together, start before end."));
        }
    };
    let seat = read_seat(state, order)?;
    if quote.is_some() && (seat.is_none() || order.billing_reason != "quote_accept") {
        return Err(Refusal::invalid("A quote makes an invoice of a price, for the reason quote_accept."));
    }
    if let Some(id) = &order.subscription {
        let found = state.named(Kind::Subscription, id, "subscription")?;
        if text(&found.object, "customer") != order.customer || text(&found.object, "status") == "canceled" {
            return Err(Refusal::invalid("The subscription is canceled or of another customer."));
        }
    }
    let invoice = match (&order.subscription, seat) {
        (Some(id), None) => {
            if order.billing_reason == "subscription_cycle" || period.is_some() {
                subscription::renew(state, id, period, None);
            }
            subscription::bill(state, id, &order.billing_reason)
        }
        (None, Some(seat)) if order.billing_reason.starts_with("subscription_") => {
            subscription::check(state, std::slice::from_ref(&seat))?;
            let metadata = json!(order.metadata);
            let id = subscription::open(state, &order.customer, &[seat], &metadata, None, Terms::default());
            if period.is_some() {
                subscription::renew(state, &id, period, None);
            }
            subscription::bill(state, &id, &order.billing_reason)
        }
        (_, Some(seat)) => Some(single_line(state, order, &seat, period, quote)?),
        (None, None) => return Err(Refusal::missing("price")),
    };
    let id = invoice.ok_or_else(|| Refusal::invalid("The subscription has no items."))?;
    Ok(state.found(Kind::Invoice, &id)?.object.clone())
}

fn read_seat(state: &State, order: &InvoiceOrder) -> Result<Option<Seat>, Refusal> {
    let quantity = order.quantity.unwrap_or(1);
    let Some(price) = &order.price else {
        return match order.quantity {
            Some(_) => Err(Refusal::missing("price")),
            None => Ok(None),
        };
    };
    let unit = number(&state.named(Kind::Price, price, "price")?.object, "unit_amount");
    let fits =
        (1..=QUANTITY_MAX).contains(&quantity) && unit.checked_mul(quantity).is_some_and(|sum| sum <= AMOUNT_MAX);
    if !fits {
        return Err(
            Refusal::invalid("The quantity is out of range or the total too large.").with("param", json!("quantity"))
        );
    }
    Ok(Some(Seat { price: price.clone(), quantity }))
}

/// An invoice of one line: a manual one, or an item of a subscription that has this price.
fn single_line(
    state: &mut State,
    order: &InvoiceOrder,
    seat: &Seat,
    period: Option<(i64, i64)>,
    quote: Option<&str>,
) -> Result<String, Refusal> {
    let of_subscription = order.subscription.is_some() && order.billing_reason.starts_with("subscription_");
    if of_subscription
        && order.billing_reason == "subscription_cycle"
        && let Some(id) = &order.subscription
    {
        subscription::renew(state, id, period, None);
    }
    let price = state.named(Kind::Price, &seat.price, "price")?.object.clone();
    let item = order.subscription.as_ref().filter(|_| of_subscription).and_then(|id| {
        let items = &state.get(Kind::Subscription, id)?.object["items"]["data"];
        items.as_array()?.iter().find(|item| text(&item["price"], "id") == seat.price).cloned()
    });
    let (start, end) = match (period, &item) {
        (Some(period), _) => period,
        (None, Some(item)) => (number(item, "current_period_start"), number(item, "current_period_end")),
        (None, None) => (state.now, state.now),
    };
    let draft = Draft {
        customer: order.customer.clone(),
        subscription: order.subscription.clone(),
        billing_reason: order.billing_reason.clone(),
        metadata: json!(order.metadata),
        quote: quote.map(str::to_owned),
        lines: vec![DraftLine {
            price,
            quantity: seat.quantity,
            subscription_item: item.map(|item| text(&item, "id").to_owned()),
            period_start: start,
            period_end: end,
            metadata: json!({}),
            free: false,
            from_item: None,
        }],
    };
    let invoice = invoice::make_paid(state, &draft);
    if let Some(id) = &order.subscription {
        state.set(Kind::Subscription, id, json!({ "latest_invoice": invoice }));
    }
    Ok(invoice)
}
