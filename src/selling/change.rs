//! A subscription changes: to a dearer plan at once, to a cheaper one with its period (rule 12).

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::Selling;
use super::answers::text_at;
use super::card::Unpaid;
use super::error::SellError;
use super::offer::{Change, Refusal, compare};
use super::order::{Attached, Order, What};
use super::sale::{Asked, TRIES_MAX, hash};
use crate::domain::catalog::{CatalogVersion, Interval, Sold};
use crate::domain::money::Money;
use crate::store::sales::{SaleKind, SaleState};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::frozen::Metadata;
use crate::stripe::wire::{Subscription, SubscriptionItem, Wire};
use crate::stripe::write::{
    AfterLast, ItemChange, PaymentBehavior, Phase, PriceLine, Proration, SubscriptionChange, Write,
};

/// A subscription that is to change, as Stripe has it.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    subscription: StripeId,
    /// The item that changes.
    item: StripeId,
    /// What it sells now, and how many.
    pub was: (StripeId, u64),
    /// The other items, which stay.
    others: Vec<PriceLine>,
    /// The schedule it follows.
    schedule: Option<StripeId>,
    /// Is it set to end?
    ends: bool,
    /// Its fee for a period so far, if it is one of ours.
    pub fee: Option<(Money, Interval)>,
    /// Its running period.
    pub period: (Timestamp, Timestamp),
    /// Is the change to something dearer, at once?
    pub is_up: bool,
}

impl Selling {
    /// Looks at a subscription before it changes.
    pub(super) async fn look_at(&self, change: &Change, catalog: &CatalogVersion) -> Result<Turn, SellError> {
        let id = StripeId::new(&change.subscription)?;
        let gone = || SellError::StripeRefused("the subscription is over".to_owned());
        let found = self.ask(&Fetch::Subscription { id: id.clone() }).await?.ok_or_else(gone)?;
        if !["active", "trialing", "past_due"].contains(&text_at(&found, "status")) {
            return Err(SellError::StripeRefused(format!("the subscription is {}", text_at(&found, "status"))));
        }
        if found["pending_update"].is_object() {
            // A change waits for its payment already.
            return Err(SellError::InProgress);
        }
        let read = Subscription::from_value(&found)?;
        let items = read.items.map(|items| items.data).unwrap_or_default();
        let sold = |item: &SubscriptionItem| catalog.catalog.sold(item.price.as_deref(), item.product.as_deref());
        let is_from =
            |item: &&SubscriptionItem| matches!(sold(item), Some(Sold::PlanFee { plan, .. }) if *plan == change.from);
        let strange = || SellError::StripeRefused(format!("no item of {id} is of plan `{}`", change.from));
        let line = |item: &SubscriptionItem| {
            let price = item.price.as_deref().and_then(|price| StripeId::new(price).ok());
            price.map(|price| (price, item.quantity.and_then(|count| u64::try_from(count).ok()).unwrap_or(1)))
        };
        let new = change.bill.lines.first().ok_or(SellError::Inconsistent("a bill without a line"))?;
        if items.iter().any(|item| line(item) == Some((new.stripe_price.clone(), new.quantity))) {
            // Told or not, Stripe has it.
            return Err(Refusal::AlreadyAttached(new.plan.clone()).into());
        }
        let item = items.iter().find(is_from).ok_or_else(strange)?;
        let was = line(item).ok_or_else(strange)?;
        let fee = match sold(item) {
            Some(Sold::PlanFee { price, .. }) => price.amount.money().zip(price.every),
            Some(Sold::Pack { .. }) | None => None,
        };
        let others = items.iter().filter(|other| other.id != item.id).filter_map(line);
        let period = item.current_period.ok_or_else(strange)?;
        Ok(Turn {
            item: item.id.as_deref().and_then(|id| StripeId::new(id).ok()).ok_or_else(strange)?,
            others: others.map(|(price, quantity)| PriceLine { price, quantity }).collect(),
            schedule: StripeId::of(&found["schedule"]),
            ends: found["cancel_at"].is_number() || found["cancel_at_period_end"] == Value::Bool(true),
            is_up: is_up(fee, was.1, change)?,
            fee,
            period: (period.start, period.end),
            subscription: id,
            was,
        })
    }

    /// Changes a subscription.
    pub(super) async fn change(
        &self,
        order: &Order,
        change: &Change,
        catalog: &CatalogVersion,
    ) -> Result<Attached, SellError> {
        for _ in 0..TRIES_MAX {
            let turn = self.look_at(change, catalog).await?;
            let new = change.bill.lines.first().ok_or(SellError::Inconsistent("a bill without a line"))?;
            let (price, was) = (new.stripe_price.as_str(), (turn.was.0.as_str(), turn.was.1));
            // What it is changed from is part of it: the same change after another one is a new sale.
            let request = hash(&(price, new.quantity, was, turn.schedule.as_ref().map(StripeId::as_str), turn.ends));
            let asked = Asked {
                account: order.account,
                slot: hash(&("change", &change.subscription)),
                request,
                key: None,
                kind: SaleKind::Change,
                terms: Value::Null,
            };
            let sale = self.sale(&asked).await?;
            if sale.is_stale || !asked.is(&sale) {
                // Whatever became of it, the look at the subscription saw it.
                self.end(&sale, SaleState::Dropped).await?;
                continue;
            }
            if let Some(schedule) = turn.schedule.clone() {
                self.must(&sale, "release", &Write::ReleaseSchedule { schedule }).await?;
            }
            if turn.ends {
                let subscription = turn.subscription.clone();
                self.must(&sale, "keep", &Write::SetCancelAtPeriodEnd { subscription, cancel: false }).await?;
            }
            let line = PriceLine { price: new.stripe_price.clone(), quantity: new.quantity };
            let answer = if turn.is_up {
                let made = self.must(&sale, "change", &upgrade(&turn, line)).await?;
                let answer = Attached { total: None, ..Attached::of(What::Change, &change.bill) };
                if made["is_pending"] == Value::Bool(true) { self.pending(&made, answer).await } else { Ok(answer) }
            } else {
                let schedule = Write::CreateSchedule { from_subscription: turn.subscription.clone() };
                let made = self.must(&sale, "schedule", &schedule).await?;
                self.must(&sale, "phases", &downgrade(&turn, &made, line)?).await?;
                let answer = Attached { total: None, ..Attached::of(What::Schedule, &change.bill) };
                Ok(Attached { effective_at: Some(turn.period.1), ..answer })
            };
            self.end(&sale, SaleState::Done).await?;
            return answer;
        }
        Err(SellError::InProgress)
    }

    /// A change that waits for its payment.
    async fn pending(&self, made: &Value, answer: Attached) -> Result<Attached, SellError> {
        match self.why_unpaid(&made["latest_invoice"]).await? {
            Unpaid::Action(action) => Ok(Attached { required_action: Some(action), ..answer }),
            Unpaid::Declined(decline) => {
                // With its invoice the change is dropped, so that the next try is a new one.
                if let Some(invoice) = StripeId::of(&made["latest_invoice"]) {
                    self.send(&Write::VoidInvoice { invoice }).await?;
                }
                Err(SellError::Declined(decline))
            }
        }
    }
}

/// Is a change to something dearer for the same time? A fee that is not ours is taken for less.
fn is_up(fee: Option<(Money, Interval)>, was: u64, change: &Change) -> Result<bool, SellError> {
    let Some((unit, every)) = fee else { return Ok(true) };
    if unit.currency() != change.bill.total.currency() {
        let plan = change.from.clone();
        return Err(Refusal::Currency { plan, currency: unit.currency() }.into());
    }
    let quantity = i64::try_from(was).unwrap_or(i64::MAX);
    let before = (unit.minor().saturating_mul(quantity), every);
    Ok(compare((change.bill.total.minor(), change.every), before) != Ordering::Less)
}

fn upgrade(turn: &Turn, to: PriceLine) -> Write {
    let set = ItemChange::Set { item: turn.item.clone(), price: Some(to.price), quantity: Some(to.quantity) };
    Write::ChangeSubscription(SubscriptionChange {
        subscription: turn.subscription.clone(),
        items: vec![set],
        proration: Proration::InvoiceNow,
        payment: PaymentBehavior::PendingIfIncomplete,
        proration_date: None,
    })
}

/// What it has now until its period ends, then the other.
fn downgrade(turn: &Turn, made: &Value, to: PriceLine) -> Result<Write, SellError> {
    let at = |field: &str| made[field].as_i64().and_then(|second| Timestamp::from_second(second).ok());
    let strange = || SellError::Inconsistent("a schedule without a running phase");
    let (starts_at, ends_at) = (at("phase_start").ok_or_else(strange)?, at("phase_end").ok_or_else(strange)?);
    let with = |line: PriceLine| turn.others.iter().cloned().chain([line]).collect();
    let phase = |lines, starts_at, ends_at| Phase {
        lines,
        starts_at,
        ends_at,
        proration: Proration::None,
        metadata: Metadata::new(),
    };
    let was = PriceLine { price: turn.was.0.clone(), quantity: turn.was.1 };
    Ok(Write::SetPhases {
        schedule: StripeId::of(made).ok_or_else(strange)?,
        phases: vec![phase(with(was), Some(starts_at), Some(ends_at)), phase(with(to), None, None)],
        after_last: AfterLast::GoOn,
    })
}
