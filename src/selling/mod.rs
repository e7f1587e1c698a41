//! Selling: what becomes of a customer who wants a plan or packs, wants to leave one, or to look after what they pay.
//!
//! # Flow
//! [`Selling::attach`] reads the account and what Stripe knows of its customer; [`mod@offer`] decides, purely, what that
//! comes to; then a plan without a price is posted, and anything else is a [`sale`]: a row first, each request to Stripe a
//! row too, and only then sent, a page to pay on ([`checkout`]), a charge of a saved card ([`card`]) or a change of a
//! subscription ([`change`]). [`setup`] has a card left
//! for later. [`mod@preview`] tells beforehand what would become of money and balances. [`leave`] ends plans
//! and opens Stripe's portal.
//!
//! # Always true
//! - Nothing that Stripe is to be paid for takes effect here: credits and plans come by its events (rule 12).
//! - No request is sent that a committed row does not hold under its key, but for those that may be done twice; none is
//!   sent inside a transaction.
//! - For one thing there is one open sale: who asks again, or at the same time, gets the same page.
//! - The work runs in a task of its own: a client that hangs up leaves nothing half done.

pub mod answers;
pub mod card;
pub mod change;
pub mod checkout;
pub mod error;
mod kept;
pub mod leave;
pub mod offer;
pub mod order;
pub mod preview;
pub mod sale;
pub mod setup;

use std::sync::Arc;

use tracing::Instrument;

use self::answers::Payer;
use self::error::SellError;
use self::leave::{Left, Portal};
use self::offer::{Deal, Facts, Own, Refusal, offer};
use self::order::{Attached, Leave, Order, Previewed, What};
use crate::domain::attachment::Attachment;
use crate::domain::command::{Command, IdempotencyKey, Outcome};
use crate::domain::ids::AccountId;
use crate::domain::money::Currency;
use crate::posting::{Posting, Reading};
use crate::store::Store;
use crate::stripe::client::{Fetch, StripeClient, StripeId};

/// Stripe customers of one account that are looked at; more than one comes of a customer deleted in Stripe.
const LINKS_MAX: usize = 5;

/// Who sells. Cheap to clone.
#[derive(Clone)]
pub struct Selling {
    store: Store,
    posting: Posting,
    stripe: Option<Arc<dyn StripeClient>>,
}

impl std::fmt::Debug for Selling {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Selling")
    }
}

/// An account as an order finds it.
pub(crate) struct Buyer {
    /// The order's account as it stands.
    pub reading: Reading,
    /// Its customer at Stripe, and what pays there; `None`: it has none yet.
    pub payer: Option<Payer>,
}

impl Selling {
    /// Without Stripe only plans without a price are attached.
    pub fn new(store: Store, posting: Posting, stripe: Option<Arc<dyn StripeClient>>) -> Self {
        Self { store, posting, stripe }
    }

    /// Gives a customer a plan or packs, or a way to pay for them.
    pub async fn attach(&self, order: Order) -> Result<Attached, SellError> {
        let selling = self.clone();
        apart(async move { selling.attach_now(&order).await }).await
    }

    /// What [`Self::attach`] would do; nothing is written and nothing is asked of Stripe but questions.
    pub async fn preview(&self, order: &Order) -> Result<Previewed, SellError> {
        let buyer = self.buyer(order).await?;
        let deal = offer(order, buyer.facts())?;
        let turn = match &deal {
            Deal::Change(change) => Some(self.look_at(change, &buyer.reading.catalog).await?),
            Deal::Own(_) | Deal::Packs(_) | Deal::Begin(_) => None,
        };
        preview::preview(order, &deal, turn.as_ref(), &buyer)
    }

    /// Ends a plan, now or with its period.
    pub async fn cancel(&self, wish: Leave) -> Result<Left, SellError> {
        let selling = self.clone();
        apart(async move { selling.cancel_now(&wish).await }).await
    }

    /// Lets a plan go on that was set to end, or to change with its period.
    pub async fn uncancel(&self, wish: Leave) -> Result<Left, SellError> {
        let selling = self.clone();
        apart(async move { selling.uncancel_now(&wish).await }).await
    }

    /// A way into Stripe's portal.
    pub async fn portal(&self, account: AccountId, return_url: Option<String>) -> Result<Portal, SellError> {
        self.open_portal(account, return_url).await
    }

    /// The currency that Stripe holds an account's customer to; `None`: none yet, or Stripe cannot say now.
    pub async fn currency_of(&self, account: AccountId) -> Option<Currency> {
        self.stripe.as_ref()?;
        match self.payer(account).await {
            Ok(payer) => payer.and_then(|payer| payer.currency),
            Err(error) => {
                tracing::warn!(%error, "Stripe did not tell a customer's currency; the usual one is taken");
                None
            }
        }
    }

    async fn attach_now(&self, order: &Order) -> Result<Attached, SellError> {
        if let Some(done) = self.done_before(order).await? {
            return Ok(done);
        }
        let buyer = self.buyer(order).await?;
        let deal = match offer(order, buyer.facts()) {
            Err(refusal @ Refusal::AlreadyAttached(_)) => {
                return self.repeated(order, &buyer).await?.ok_or_else(|| refusal.into());
            }
            offered => offered?,
        };
        if self.stripe.is_none() && !matches!(deal, Deal::Own(_)) {
            return Err(SellError::NotConfigured);
        }
        match deal {
            Deal::Own(own) => {
                // Without a key the end is set first: a repeat is refused once the plan waits.
                if order.key.is_none() {
                    self.end_what_is_paid(own.after.as_deref()).await?;
                }
                self.attach_own(order, own).await
            }
            Deal::Packs(bill) => self.sell_packs(order, bill, buyer.payer).await,
            Deal::Begin(begin) => self.begin(order, begin, buyer.payer).await,
            Deal::Change(change) => self.change(order, &change, &buyer.reading.catalog).await,
        }
    }

    async fn end_what_is_paid(&self, subscription: Option<&str>) -> Result<(), SellError> {
        if let Some(subscription) = subscription {
            self.end_with_period(&StripeId::new(subscription)?).await?;
        }
        Ok(())
    }

    async fn attach_own(&self, order: &Order, own: Own) -> Result<Attached, SellError> {
        let Own { attach, after } = own;
        let key = order.key.as_ref().map(|key| IdempotencyKey::new("attach", key, &attach));
        let decision = self.posting.post(order.account, key, Command::Attach(attach)).await?;
        let Outcome::Attached { attachment, .. } = decision.outcome() else {
            return Err(SellError::Inconsistent("an attach was answered with another command's outcome"));
        };
        let reading = self.posting.read_complete(order.account).await?;
        let attached = Attached::own(order, *attachment, &reading);
        // A key that is used again ends nothing once more, when what it attached does not wait any longer.
        if order.key.is_some() && attached.what == What::Schedule {
            self.end_what_is_paid(after.as_deref()).await?;
        }
        Ok(attached)
    }

    /// An order whose plan is there: because it was done before under its key, and the answer was lost; `None`: it was not.
    async fn repeated(&self, order: &Order, buyer: &Buyer) -> Result<Option<Attached>, SellError> {
        if order.key.is_none() {
            return Ok(None);
        }
        let attachments = &buyer.reading.state.attachments;
        let own = offer::own_of(order, buyer.facts());
        let is_it = |known: &&Attachment| known.plan == order.plan && known.entity == order.entity;
        let mut there = attachments.iter().filter(|known| known.ended_at.is_none()).filter(is_it);
        if there.any(|known| known.origin.subscription().is_none() && known.quantity == own.attach.quantity) {
            // Its key answers; without it the plan is refused as attached.
            return self.attach_own(order, own).await.map(Some);
        }
        self.started_before(order, attachments).await
    }

    /// The account, and its customer at Stripe where the order may need one.
    async fn buyer(&self, order: &Order) -> Result<Buyer, SellError> {
        let reading = self.posting.read_complete(order.account).await?;
        let plan = reading.catalog.catalog.plans.get(&order.plan);
        let costs = plan.is_some_and(|plan| !plan.prices.is_empty() || !order.quantities.is_empty());
        let payer = if costs { self.payer(order.account).await? } else { None };
        Ok(Buyer { reading, payer })
    }

    /// The customer of Stripe's that an account is linked to, as Stripe has it: the first that is still there.
    async fn payer(&self, account: AccountId) -> Result<Option<Payer>, SellError> {
        let profile = self.store.profile(account).await?.ok_or(SellError::UnknownCustomer)?;
        for linked in profile.stripe_customers.iter().take(LINKS_MAX) {
            let id = StripeId::new(linked)?;
            let Some(customer) = self.ask(&Fetch::Customer { id: id.clone() }).await? else { continue };
            if customer["deleted"] == serde_json::Value::Bool(true) {
                continue;
            }
            let mut payer = Payer::read(id, &customer);
            if payer.card.is_none() {
                let cards = self.ask_list(&Fetch::CardsOf { customer: payer.customer.clone() }).await?;
                payer.card = cards.find(|_| true).and_then(StripeId::of);
            }
            return Ok(Some(payer));
        }
        Ok(None)
    }
}

impl Buyer {
    /// What an offer is made from.
    fn facts(&self) -> Facts<'_> {
        let currency = self.payer.as_ref().and_then(|payer| payer.currency);
        Facts { catalog: &self.reading.catalog, state: &self.reading.state, now: self.now(), currency }
    }

    /// The ledger's time of the reading.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.reading.now.max(self.reading.state.last_entry_at)
    }
}

/// Runs work that must not stop half way when its caller goes.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, SellError>> + Send + 'static,
) -> Result<T, SellError> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or(Err(SellError::Inconsistent("the selling task ended")))
}
