//! Leaving a plan, staying after all, and Stripe's portal.

use jiff::Timestamp;
use serde_json::Value;

use super::Selling;
use super::answers::text_at;
use super::error::SellError;
use super::order::Leave;
use crate::domain::attachment::Attachment;
use crate::domain::command::{Cancel, CancelWhen, Command, Decision, Outcome, Uncancel};
use crate::domain::ids::{AccountId, AttachmentId};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::wire::{Subscription, Wire};
use crate::stripe::write::Write;

/// What became of a plan that was to be left, or kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The attachment.
    pub attachment: AttachmentId,
    /// It ends or ended then; `None`: it goes on.
    pub ends_at: Option<Timestamp>,
    /// Does Stripe tell of it, in a moment?
    pub by_stripe: bool,
}

/// A way into Stripe's portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Its address, for a few minutes.
    pub url: String,
}

impl Selling {
    pub(super) async fn cancel_now(&self, wish: &Leave) -> Result<Left, SellError> {
        let Leave { account, plan, entity, when } = wish;
        if let Some((attachment, subscription)) = self.paid(wish).await? {
            let ends_at = match when {
                CancelWhen::PeriodEnd => self.end_with_period(&subscription).await?,
                CancelWhen::Now => self.end_at_once(&subscription).await?,
            };
            return Ok(Left { attachment, ends_at, by_stripe: true });
        }
        let cancel = Cancel { plan: plan.clone(), entity: entity.clone(), when: *when };
        left(&self.posting.post(*account, None, Command::Cancel(cancel)).await?)
    }

    pub(super) async fn uncancel_now(&self, wish: &Leave) -> Result<Left, SellError> {
        let Leave { account, plan, entity, when: _ } = wish;
        if let Some((attachment, subscription)) = self.paid(wish).await? {
            self.go_on(&subscription).await?;
            return Ok(Left { attachment, ends_at: None, by_stripe: true });
        }
        let uncancel = Uncancel { plan: plan.clone(), entity: entity.clone() };
        left(&self.posting.post(*account, None, Command::Uncancel(uncancel)).await?)
    }

    pub(super) async fn open_portal(
        &self,
        account: AccountId,
        return_url: Option<String>,
    ) -> Result<Portal, SellError> {
        if self.stripe.is_none() {
            return Err(SellError::NotConfigured);
        }
        let payer = self.payer(account).await?.ok_or(SellError::NoStripeCustomer)?;
        let open = Write::OpenPortal { customer: payer.customer, return_url, configuration: None };
        let opened = self.send(&open).await?;
        let url = opened["url"].as_str().ok_or(SellError::Inconsistent("a portal without an address"))?;
        Ok(Portal { url: url.to_owned() })
    }

    /// The subscription that pays for a plan, if one does.
    async fn paid(&self, wish: &Leave) -> Result<Option<(AttachmentId, StripeId)>, SellError> {
        let reading = self.posting.read_complete(wish.account).await?;
        let known = &reading.state.attachments;
        let is_it = |one: &&Attachment| one.plan == wish.plan && one.entity == wish.entity && one.ended_at.is_none();
        let Some(newest) = known.iter().filter(is_it).max_by_key(|one| (one.started_at, one.id)) else {
            return Err(SellError::NotAttached(wish.plan.clone()));
        };
        let Some(subscription) = newest.origin.subscription() else { return Ok(None) };
        let shares = |one: &&Attachment| {
            one.origin.subscription() == Some(subscription) && one.ended_at.is_none() && one.id != newest.id
        };
        let others: Vec<String> = known.iter().filter(shares).map(|one| one.plan.to_string()).collect();
        if !others.is_empty() {
            return Err(SellError::Shared { plan: wish.plan.clone(), others });
        }
        Ok(Some((newest.id, StripeId::new(subscription)?)))
    }

    /// Lets a subscription end with its period; what was scheduled for it is let go.
    pub(super) async fn end_with_period(&self, subscription: &StripeId) -> Result<Option<Timestamp>, SellError> {
        self.unschedule(subscription).await?;
        let set = Write::SetCancelAtPeriodEnd { subscription: subscription.clone(), cancel: true };
        let ending = Subscription::from_value(&self.send(&set).await?)?;
        let items = ending.items.map(|items| items.data).unwrap_or_default();
        let ends = items.iter().filter_map(|item| item.current_period).map(|period| period.end).max();
        Ok(ending.cancel_at.or(ends))
    }

    async fn end_at_once(&self, subscription: &StripeId) -> Result<Option<Timestamp>, SellError> {
        // What was paid for the rest is not given back here: that is a refund.
        let end = Write::CancelSubscription { subscription: subscription.clone(), prorate: false, invoice_now: false };
        let ended = match self.send(&end).await {
            Ok(ended) => ended,
            // Over before: a repeat, or somebody was faster.
            Err(error @ SellError::StripeRefused(_)) => {
                let found = self.status_of(subscription).await?;
                found.filter(|found| text_at(found, "status") == "canceled").ok_or(error)?
            }
            Err(error) => return Err(error),
        };
        let ended = Subscription::from_value(&ended)?;
        Ok(ended.ended_at.or(ended.canceled_at))
    }

    async fn go_on(&self, subscription: &StripeId) -> Result<(), SellError> {
        let found = self.unschedule(subscription).await?;
        if found["cancel_at"].is_number() || found["cancel_at_period_end"] == Value::Bool(true) {
            self.send(&Write::SetCancelAtPeriodEnd { subscription: subscription.clone(), cancel: false }).await?;
        }
        Ok(())
    }

    /// Takes a subscription out of the schedule it follows; gives it as it was.
    async fn unschedule(&self, subscription: &StripeId) -> Result<Value, SellError> {
        let gone = || SellError::StripeRefused("the subscription is over".to_owned());
        let found = self.ask(&Fetch::Subscription { id: subscription.clone() }).await?.ok_or_else(gone)?;
        if let Some(schedule) = StripeId::of(&found["schedule"]) {
            self.send(&Write::ReleaseSchedule { schedule }).await?;
        }
        Ok(found)
    }
}

fn left(decision: &Decision) -> Result<Left, SellError> {
    let Outcome::EndSet { attachment, ends_at } = decision.outcome() else {
        return Err(SellError::Inconsistent("a cancel was answered with another command's outcome"));
    };
    Ok(Left { attachment: *attachment, ends_at: *ends_at, by_stripe: false })
}
