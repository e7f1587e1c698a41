//! A sale: a row, and beside it every request to Stripe before it is sent.
//!
//! A repeat finds the row and goes on where the last one stopped, with the same bytes under the same keys. What Stripe
//! refuses for certain drops the sale, so that the next try is a new one.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::answers::{Payer, kept, text_at};
use super::error::SellError;
use super::offer::Bill;
use super::order::{Attached, Order, What};
use super::{Selling, answers};
use crate::clock::fresh_uuid;
use crate::domain::attachment::Attachment;
use crate::domain::ids::{AccountId, SaleId};
use crate::store::sales::{Hash, NewSale, Sale, SaleKind, SaleState, SaleStep};
use crate::stripe::client::{Fetch, Fetched, StripeId};
use crate::stripe::frozen::{Frozen, IdempotencyKey, Metadata};
use crate::stripe::outcome::{Refused, WriteOutcome};
use crate::stripe::wire::{self, RawList};
use crate::stripe::write::{NewCustomer, PriceLine, Write};

/// Looks at one order: a sale that was over, one that was replaced, and a rival for each.
pub(super) const TRIES_MAX: u32 = 6;
/// Leads Stripe's events home.
pub(super) const CUSTOMER_KEY: &str = "creditd_customer_id";
/// Which sale an object of Stripe's is of.
pub(super) const SALE_KEY: &str = "creditd_sale_id";
/// Which plan it was made for, for people who read it in Stripe.
const PLAN_KEY: &str = "creditd_plan";

/// What the steps of a sale need; kept in its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// The plan.
    pub plan: String,
    /// The app's id of the customer.
    pub customer: String,
    /// Stripe's customer.
    pub payer: String,
    /// What is bought.
    pub bill: Bill,
    /// Is it a subscription's?
    pub recurs: bool,
    /// Days without payment.
    pub trial_days: Option<u32>,
    /// Where the buyer is sent.
    pub success_url: Option<String>,
    /// Where the way back leads.
    pub cancel_url: Option<String>,
    /// The saved card.
    pub card: Option<String>,
}

impl Terms {
    /// Of an order.
    pub fn of(order: &Order, bill: &Bill, payer: &Payer) -> Self {
        Self {
            plan: order.plan.to_string(),
            customer: order.customer.clone(),
            payer: payer.customer.to_string(),
            bill: bill.clone(),
            recurs: false,
            trial_days: None,
            success_url: order.success_url.clone(),
            cancel_url: order.cancel_url.clone(),
            card: payer.card.as_ref().map(StripeId::to_string),
        }
    }

    /// What a sale that is done is answered with.
    pub fn done(&self) -> Attached {
        let charged = Attached::of(What::Charge, &self.bill);
        // A trial costs nothing at first.
        let total = if self.trial_days.is_some() { self.bill.nothing() } else { charged.total };
        Attached { total, trial_days: self.trial_days, ..charged }
    }

    /// Reads a row's.
    pub fn read(sale: &Sale) -> Result<Self, SellError> {
        serde_json::from_value(sale.terms.clone()).map_err(|_| SellError::Inconsistent("the terms of a sale"))
    }

    /// The lines as Stripe is sent them.
    pub fn price_lines(&self) -> Result<Vec<PriceLine>, SellError> {
        let line =
            |line: &super::offer::Line| Ok(PriceLine { price: line.stripe_price.clone(), quantity: line.quantity });
        self.bill.lines.iter().map(line).collect()
    }

    /// What leads Stripe's events home.
    pub fn metadata(&self, sale: SaleId) -> Result<Metadata, SellError> {
        let metadata = Metadata::new().with(CUSTOMER_KEY, &self.customer)?;
        Ok(metadata.with(SALE_KEY, &sale.to_string())?.with(PLAN_KEY, &self.plan)?)
    }
}

/// A hash of what a sale is about.
pub(super) fn hash(of: &impl Serialize) -> Hash {
    // Serialising texts and numbers cannot fail; if it could, the empty text would still make repeats equal.
    let text = serde_json::to_vec(of).unwrap_or_default();
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(Sha256::digest(text)) {
        *to = from;
    }
    first
}

/// What was asked for, for the row and for those that ask again.
pub(super) struct Asked {
    pub account: AccountId,
    pub slot: Hash,
    pub request: Hash,
    pub key: Option<Hash>,
    pub kind: SaleKind,
    pub terms: Value,
}

impl Asked {
    /// Is a sale the one that was asked for?
    pub fn is(&self, sale: &Sale) -> bool {
        self.request == sale.request
    }

    /// Does it also come to the same money? The catalogue, or what the customer has had, may be another by now.
    pub fn costs_as(&self, sale: &Sale) -> bool {
        let same = |field: &str| self.terms[field] == sale.terms[field];
        self.is(sale) && same("bill") && same("trial_days")
    }
}

/// How a step ended.
pub(super) enum Stepped {
    /// Stripe did it, now or before; what was kept of its answer.
    Done(Value),
    /// Stripe refuses.
    Refused(Box<Refused>),
}

impl Selling {
    /// Asks Stripe for an object; `None`: it does not know it.
    pub(super) async fn ask(&self, what: &Fetch) -> Result<Option<Value>, SellError> {
        let fetched = self.fetch(what).await?;
        if fetched.is_missing() {
            return Ok(None);
        }
        Ok(Some(wire::parse_object(&fetched.body)?))
    }

    /// Asks for an object of ours, which Stripe has to know.
    pub(super) async fn ask_known(&self, what: &Fetch) -> Result<Value, SellError> {
        self.ask(what).await?.ok_or(SellError::Inconsistent("Stripe does not know an object of ours"))
    }

    /// Asks for a page of a list. One that cannot be read is an error, never an empty list.
    pub(super) async fn ask_list(&self, what: &Fetch) -> Result<RawList, SellError> {
        let fetched = self.fetch(what).await?;
        if fetched.is_missing() {
            return Err(SellError::Inconsistent("Stripe does not know what a list is of"));
        }
        Ok(RawList::from_slice(&fetched.body)?)
    }

    async fn fetch(&self, what: &Fetch) -> Result<Fetched, SellError> {
        let stripe = self.stripe.as_ref().ok_or(SellError::NotConfigured)?;
        Ok(stripe.fetch(what).await?)
    }

    /// An order whose key was used for a sale that is done.
    pub(super) async fn done_before(&self, order: &Order) -> Result<Option<Attached>, SellError> {
        let Some(key) = order.key.as_ref().map(|key| hash(&("key", key))) else { return Ok(None) };
        let Some(sale) = self.store.sale_by_key(order.account, key).await? else { return Ok(None) };
        if sale.request != order.digest() {
            return Err(SellError::KeyConflict);
        }
        if sale.state != SaleState::Done {
            return Ok(None);
        }
        Ok(Some(Terms::read(&sale)?.done()))
    }

    /// An order whose key started a subscription that events told of since.
    pub(super) async fn started_before(
        &self,
        order: &Order,
        known: &[Attachment],
    ) -> Result<Option<Attached>, SellError> {
        let Some(key) = order.key.as_ref().map(|key| hash(&("key", key))) else { return Ok(None) };
        let Some(sale) = self.store.sale_by_key(order.account, key).await? else { return Ok(None) };
        if sale.kind != SaleKind::Subscription {
            return Ok(None);
        }
        let started = self.store.sale_step(&sale, "subscription").await?.and_then(|step| step.answer);
        let Some(id) = started.and_then(|made| StripeId::of(&made)) else { return Ok(None) };
        if !known.iter().any(|known| known.ended_at.is_none() && known.origin.subscription() == Some(id.as_str())) {
            return Ok(None);
        }
        self.end(&sale, SaleState::Done).await?;
        Ok(Some(Terms::read(&sale)?.done()))
    }

    /// The open sale of what was asked for, opened when there is none.
    pub(super) async fn sale(&self, asked: &Asked) -> Result<Sale, SellError> {
        for _ in 0..TRIES_MAX {
            if let Some(key) = asked.key
                && let Some(sale) = self.store.sale_by_key(asked.account, key).await?
            {
                return if asked.is(&sale) { Ok(sale) } else { Err(SellError::KeyConflict) };
            }
            if let Some(sale) = self.store.sale_in_slot(asked.account, asked.slot).await? {
                return Ok(sale);
            }
            let new = NewSale {
                account: asked.account,
                id: SaleId::from_uuid(fresh_uuid()),
                slot: asked.slot,
                request: asked.request,
                caller_key: asked.key,
                kind: asked.kind,
                terms: asked.terms.clone(),
            };
            // Opened or not, the rows say who has it.
            self.store.open_sale(&new).await?;
        }
        Err(SellError::InProgress)
    }

    /// One request of a sale: written down, then sent, as often as it takes; answered once, it is not sent again.
    pub(super) async fn step(&self, sale: &Sale, step: &str, write: &Write) -> Result<Stepped, SellError> {
        let stripe = self.stripe.as_ref().ok_or(SellError::NotConfigured)?;
        if self.store.sale_step(sale, step).await?.is_none() {
            let frozen = write.freeze()?;
            let frozen = SaleStep {
                method: frozen.method().as_str().to_owned(),
                path: frozen.path().to_owned(),
                body: frozen.body().to_owned(),
                answer: None,
            };
            self.store.freeze_sale_step(sale, step, &frozen).await?;
        }
        let row = self.store.sale_step(sale, step).await?;
        let SaleStep { method, path, body, answer } = row.ok_or(SellError::Inconsistent("a step that is not there"))?;
        if let Some(answer) = answer {
            return Ok(Stepped::Done(answer));
        }
        let frozen = Frozen::restore(&method, &path, &body)?;
        match stripe.send(&frozen, &IdempotencyKey::new(&format!("{}:{step}", sale.id))?).await {
            WriteOutcome::Answered(answered) => {
                let answer = kept(&crate::stripe::wire::parse_object(&answered.body)?);
                self.store.answer_sale_step(sale, step, &answer).await?;
                Ok(Stepped::Done(answer))
            }
            WriteOutcome::Refused(refused) => Ok(Stepped::Refused(Box::new(refused))),
            WriteOutcome::Unknown(unknown) => Err(unknown.into()),
        }
    }

    /// A step that takes no money, or none twice: one that is refused, or whose outcome is not known, drops its sale, so
    /// that the next try is a new one.
    pub(super) async fn must(&self, sale: &Sale, step: &str, write: &Write) -> Result<Value, SellError> {
        match self.step(sale, step, write).await {
            Ok(Stepped::Done(answer)) => Ok(answer),
            Ok(Stepped::Refused(refused)) => {
                self.end(sale, SaleState::Dropped).await?;
                Err((*refused).into())
            }
            Err(error @ SellError::Unavailable { may_be_done: true, .. }) => {
                self.end(sale, SaleState::Dropped).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Has a step been answered before?
    pub(super) async fn was_answered(&self, sale: &Sale, step: &str) -> Result<bool, SellError> {
        Ok(self.store.sale_step(sale, step).await?.is_some_and(|step| step.answer.is_some()))
    }

    /// Ends a sale.
    pub(super) async fn end(&self, sale: &Sale, how: SaleState) -> Result<(), SellError> {
        tracing::info!(sale.id = %sale.id, kind = sale.kind.word(), how = how.word(), "a sale ended");
        Ok(self.store.end_sale(sale.account, sale.id, how).await?)
    }

    /// A request that may be done twice: it sets what it sets. Its key is for the transport's own repeats.
    pub(super) async fn send(&self, write: &Write) -> Result<Value, SellError> {
        let stripe = self.stripe.as_ref().ok_or(SellError::NotConfigured)?;
        let key = IdempotencyKey::new(&format!("once:{}", fresh_uuid().simple()))?;
        match stripe.send(&write.freeze()?, &key).await {
            WriteOutcome::Answered(answered) => Ok(crate::stripe::wire::parse_object(&answered.body)?),
            WriteOutcome::Refused(refused) => Err(refused.into()),
            WriteOutcome::Unknown(unknown) => Err(unknown.into()),
        }
    }

    /// The customer's customer at Stripe, made and linked when there is none.
    pub(super) async fn payer_of(
        &self,
        account: AccountId,
        customer: &str,
        known: Option<Payer>,
    ) -> Result<Payer, SellError> {
        if let Some(payer) = known {
            return Ok(payer);
        }
        // Read before it is asked whether somebody was faster since the account was read: who links a customer after this
        // had the same slot, and one who did before is seen.
        let profile = self.store.profile(account).await?.ok_or(SellError::UnknownCustomer)?;
        if let Some(payer) = self.payer(account).await? {
            return Ok(payer);
        }
        let about = hash(&("customer", &profile.stripe_customers));
        let asked =
            Asked { account, slot: about, request: about, key: None, kind: SaleKind::Customer, terms: Value::Null };
        let sale = self.sale(&asked).await?;
        let made = Write::CreateCustomer(NewCustomer {
            email: profile.email,
            name: profile.name,
            metadata: Metadata::new().with(CUSTOMER_KEY, customer)?,
        });
        let answer = self.must(&sale, "customer", &made).await?;
        let made = StripeId::of(&answer).ok_or(SellError::Inconsistent("a customer of Stripe's without an id"))?;
        if self.store.link_stripe_customer(made.as_str(), account).await? != account {
            return Err(SellError::Inconsistent("a new customer of Stripe's is linked to somebody else"));
        }
        // The sale stays open and keeps its slot: who read the account before the link finds this customer, and makes none.
        Ok(Payer { customer: made, currency: None, card: None })
    }

    /// What a subscription of a sale has come to.
    pub(super) async fn status_of(&self, subscription: &StripeId) -> Result<Option<Value>, SellError> {
        self.ask(&Fetch::Subscription { id: subscription.clone() }).await
    }
}

/// Is a subscription one that gives its plan, or is about to?
pub(super) fn is_alive(subscription: &Value) -> bool {
    !["canceled", "incomplete_expired"].contains(&answers::text_at(subscription, "status"))
}

/// Has a subscription begun?
pub(super) fn has_begun(subscription: &Value) -> bool {
    is_alive(subscription) && text_at(subscription, "status") != "incomplete"
}

impl Order {
    /// What two orders have to agree in to be one: all but where the buyer is sent, and the key.
    pub(super) fn digest(&self) -> Hash {
        let Self { plan, price, quantities, seats, entity, carry_over, .. } = self;
        hash(&(plan, price, quantities, seats, entity, carry_over))
    }
}
