//! A page to pay on: Stripe's Checkout, one open page for one thing.

use serde_json::Value;

use super::Selling;
use super::answers::{Payer, text_at};
use super::card::Next;
use super::error::SellError;
use super::offer::{Begin, Bill, Refusal};
use super::order::{Attached, Order, What};
use super::sale::{Asked, Stepped, TRIES_MAX, Terms, hash, is_alive};
use crate::store::sales::{Sale, SaleKind, SaleState};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::write::{Buyer, Checkout, CheckoutLine, Purpose, Write};

/// Stripe's limit for a reference.
const REFERENCE_CHARS_MAX: usize = 200;

impl Selling {
    /// Packs: a saved card is charged, once for the caller's key; without a key or a card a page is opened, so that no
    /// repeat of a lost answer takes money twice.
    pub(super) async fn sell_packs(
        &self,
        order: &Order,
        bill: Bill,
        payer: Option<Payer>,
    ) -> Result<Attached, SellError> {
        let charges = order.key.is_some() && payer.as_ref().is_some_and(|payer| payer.card.is_some());
        let terms = |payer: &Payer| Terms::of(order, &bill, payer);
        let request = order.digest();
        let slot = match &order.key {
            Some(key) => hash(&("key", key)),
            None => hash(&("packs", request)),
        };
        let kind = if charges { SaleKind::Invoice } else { SaleKind::Checkout };
        self.sell(order, &bill, payer, (slot, kind), terms).await
    }

    /// A subscription: a saved card starts it, a page otherwise.
    pub(super) async fn begin(&self, order: &Order, begin: Begin, payer: Option<Payer>) -> Result<Attached, SellError> {
        let Begin { bill, trial_days, slot, every: _, repeats } = begin;
        // What may be bought again is charged once for a key; a plan that is there is not bought again.
        let charges = payer.as_ref().is_some_and(|payer| payer.card.is_some()) && (order.key.is_some() || !repeats);
        let kind = if charges { SaleKind::Subscription } else { SaleKind::Checkout };
        let terms = |payer: &Payer| Terms { recurs: true, trial_days, ..Terms::of(order, &bill, payer) };
        let slot = match &order.key {
            Some(key) if repeats => hash(&("key", key)),
            Some(_) | None => hash(&("plan", slot)),
        };
        let sold = self.sell(order, &bill, payer, (slot, kind), terms).await?;
        // A trial costs nothing at first.
        let total = if trial_days.is_some() { bill.nothing() } else { sold.total };
        Ok(Attached { total, trial_days, ..sold })
    }

    async fn sell(
        &self,
        order: &Order,
        bill: &Bill,
        payer: Option<Payer>,
        (slot, kind): ([u8; 16], SaleKind),
        terms: impl FnOnce(&Payer) -> Terms,
    ) -> Result<Attached, SellError> {
        if kind == SaleKind::Checkout && order.success_url.is_none() {
            return Err(Refusal::UrlMissing.into());
        }
        let payer = self.payer_of(order.account, &order.customer, payer).await?;
        let terms = serde_json::to_value(terms(&payer));
        let asked = Asked {
            account: order.account,
            slot,
            request: order.digest(),
            key: order.key.as_ref().map(|key| hash(&("key", key))),
            kind,
            terms: terms.map_err(|_| SellError::Inconsistent("the terms of a sale"))?,
        };
        for _ in 0..TRIES_MAX {
            let sale = self.sale(&asked).await?;
            let next = match sale.kind {
                _ if sale.state == SaleState::Done => Next::Answer(Terms::read(&sale)?.done()),
                SaleKind::Checkout => self.page(&asked, &sale, bill).await?,
                SaleKind::Subscription => self.start(&asked, &sale).await?,
                SaleKind::Invoice => self.charge(&sale).await?,
                SaleKind::Customer | SaleKind::Change => {
                    return Err(SellError::Inconsistent("a sale of another kind has this one's slot"));
                }
            };
            match next {
                Next::Answer(answer) => return Ok(answer),
                Next::Again => {}
            }
        }
        Err(SellError::InProgress)
    }

    async fn page(&self, asked: &Asked, sale: &Sale, bill: &Bill) -> Result<Next, SellError> {
        let terms = Terms::read(sale)?;
        let was_there = self.was_answered(sale, "session").await?;
        if sale.is_stale && !was_there {
            // Nobody was given its address, and by now it has closed by itself.
            self.end(sale, SaleState::Dropped).await?;
            return Ok(Next::Again);
        }
        let opened = self.must(sale, "session", &session(sale, &terms)?).await?;
        let id = StripeId::of(&opened).ok_or(SellError::Inconsistent("a session without an id"))?;
        let page = |url: &Value| {
            let url = url.as_str().map(str::to_owned);
            let url = url.ok_or(SellError::Inconsistent("an open session without an address"))?;
            Ok(Next::Answer(Attached { checkout_url: Some(url), ..Attached::of(What::Checkout, bill) }))
        };
        if !was_there && asked.costs_as(sale) {
            return page(&opened["url"]);
        }
        let now = self.ask_known(&Fetch::Session { id: id.clone() }).await?;
        match text_at(&now, "status") {
            "open" if asked.costs_as(sale) => page(&now["url"]),
            "open" => {
                // Something else is wanted now: the old page closes, unless it is being paid this moment.
                if let Stepped::Done(_) = self.step(sale, "expire", &Write::ExpireSession { session: id }).await? {
                    self.end(sale, SaleState::Dropped).await?;
                }
                Ok(Next::Again)
            }
            "complete" => self.completed(asked, sale, &terms, &now, bill).await,
            "expired" => {
                self.end(sale, SaleState::Dropped).await?;
                Ok(Next::Again)
            }
            _ => Err(SellError::unreadable("a session's status")),
        }
    }

    /// The page was paid on. Packs may be bought again; a plan comes with Stripe's event, and is not sold twice meanwhile.
    async fn completed(
        &self,
        asked: &Asked,
        sale: &Sale,
        terms: &Terms,
        session: &Value,
        bill: &Bill,
    ) -> Result<Next, SellError> {
        if terms.recurs
            && let Some(id) = StripeId::of(&session["subscription"])
            && let Some(subscription) = self.status_of(&id).await?
            && is_alive(&subscription)
            && !self.is_known(sale, &id).await?
        {
            return Err(SellError::InProgress);
        }
        self.end(sale, SaleState::Done).await?;
        let is_its_own = asked.key.is_some() && asked.is(sale);
        Ok(if is_its_own { Next::Answer(Attached::of(What::Charge, bill)) } else { Next::Again })
    }

    /// Have events told of a subscription? Then what the customer has is known, and the sale is over.
    pub(super) async fn is_known(&self, sale: &Sale, subscription: &StripeId) -> Result<bool, SellError> {
        let reading = self.posting.read_complete(sale.account).await?;
        let mut known = reading.state.attachments.iter().filter_map(|known| known.origin.subscription());
        Ok(known.any(|known| known == subscription.as_str()))
    }
}

fn session(sale: &Sale, terms: &Terms) -> Result<Write, SellError> {
    let lines = terms.price_lines()?;
    let purpose = if terms.recurs {
        Purpose::Subscription { lines, trial_days: terms.trial_days }
    } else {
        Purpose::Payment { lines: lines.into_iter().map(CheckoutLine::Price).collect(), save_card: true }
    };
    let reference = Some(terms.customer.clone()).filter(|id| id.chars().count() <= REFERENCE_CHARS_MAX);
    Ok(Write::CreateSession(Checkout {
        purpose,
        buyer: Buyer::Customer(StripeId::new(&terms.payer)?),
        success_url: terms.success_url.clone().ok_or(Refusal::UrlMissing)?,
        cancel_url: terms.cancel_url.clone(),
        client_reference_id: reference,
        expires_at: None,
        metadata: terms.metadata(sale.id)?,
    }))
}
