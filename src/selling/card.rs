//! A saved card is charged: a subscription starts, or an invoice of packs is paid.

use serde_json::Value;

use super::Selling;
use super::answers::{kept, text_at};
use super::error::SellError;
use super::offer::Bill;
use super::order::{Attached, RequiredAction, What};
use super::sale::{Asked, SALE_KEY, Stepped, Terms, has_begun, is_alive};
use crate::store::sales::{Sale, SaleState};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::outcome::{Decline, RefusalClass};
use crate::stripe::write::{InvoiceItem, ItemCharge, NewInvoice, NewSubscription, PaymentBehavior, Write};

/// What a look at a sale came to.
pub(super) enum Next {
    /// This is the answer.
    Answer(Attached),
    /// The sale is over: look again.
    Again,
}

/// Why an invoice is not paid.
pub(super) enum Unpaid {
    /// The card's owner is asked for.
    Action(RequiredAction),
    /// The card was declined.
    Declined(Box<Decline>),
}

impl Selling {
    /// Starts a subscription, or looks at the one that was started.
    pub(super) async fn start(&self, asked: &Asked, sale: &Sale) -> Result<Next, SellError> {
        let terms = Terms::read(sale)?;
        let bill = &terms.bill;
        let was_there = self.was_answered(sale, "subscription").await?;
        let Some(made) = self.started(sale, &terms).await? else { return Ok(Next::Again) };
        let id = StripeId::of(&made).ok_or(SellError::Inconsistent("a subscription without an id"))?;
        let Some(now) = self.status_of(&id).await?.filter(is_alive) else {
            self.end(sale, SaleState::Dropped).await?;
            return Ok(Next::Again);
        };
        if has_begun(&now) {
            if was_there && self.is_known(sale, &id).await? {
                // Stripe's events told of it: whoever wants it again, without the key of the first time, buys it again.
                self.end(sale, SaleState::Done).await?;
                return Ok(Next::Again);
            }
            let answer = Next::Answer(Attached::of(What::Charge, bill));
            return if asked.is(sale) { Ok(answer) } else { Err(SellError::InProgress) };
        }
        match self.why_unpaid(&now["latest_invoice"]).await? {
            Unpaid::Action(action) if asked.is(sale) => {
                let answer = Attached::of(What::Charge, bill);
                Ok(Next::Answer(Attached { required_action: Some(action), ..answer }))
            }
            unpaid @ (Unpaid::Action(_) | Unpaid::Declined(_)) => {
                // It would lie about unpaid, and could be paid after all beside the next one.
                let cancel = Write::CancelSubscription { subscription: id, prorate: false, invoice_now: false };
                self.send(&cancel).await?;
                self.end(sale, SaleState::Dropped).await?;
                match unpaid {
                    Unpaid::Declined(decline) => Err(SellError::Declined(decline)),
                    Unpaid::Action(_) => Ok(Next::Again),
                }
            }
        }
    }

    /// What is known of a sale's subscription, which is started when it is not; `None`: it never was, and the sale is over.
    async fn started(&self, sale: &Sale, terms: &Terms) -> Result<Option<Value>, SellError> {
        const STEP: &str = "subscription";
        if sale.is_stale && !self.was_answered(sale, STEP).await? {
            // Its key may be forgotten: what it did is looked for, not done again.
            if let Some(found) = self.find_lost(sale, terms).await? {
                return Ok(Some(found));
            }
            self.end(sale, SaleState::Dropped).await?;
            return Ok(None);
        }
        let card = terms.card.as_deref().ok_or(SellError::Inconsistent("a charge without a card"))?;
        let write = Write::CreateSubscription(NewSubscription {
            customer: StripeId::new(&terms.payer)?,
            lines: terms.price_lines()?,
            payment_method: StripeId::new(card)?,
            trial_days: terms.trial_days,
            payment: PaymentBehavior::AllowIncomplete,
            metadata: terms.metadata(sale.id)?,
        });
        match self.step(sale, STEP, &write).await {
            Ok(Stepped::Done(made)) => Ok(Some(made)),
            Ok(Stepped::Refused(refused)) => {
                if refused.is_final() {
                    self.end(sale, SaleState::Dropped).await?;
                }
                Err((*refused).into())
            }
            // It may have been started all the same, and then Stripe lists it.
            Err(error @ SellError::Unavailable { .. }) => self.find_lost(sale, terms).await?.map(Some).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// A subscription whose creation was not answered, found by its sale among its customer's.
    async fn find_lost(&self, sale: &Sale, terms: &Terms) -> Result<Option<Value>, SellError> {
        let customer = StripeId::new(&terms.payer)?;
        let listed = self.ask_list(&Fetch::SubscriptionsOf { customer, starting_after: None }).await?;
        let of_it = |one: &Value| one["metadata"][SALE_KEY] == sale.id.to_string() && is_alive(one);
        let Some(found) = listed.find(of_it) else { return Ok(None) };
        let answer = kept(found);
        self.store.answer_sale_step(sale, "subscription", &answer).await?;
        Ok(Some(answer))
    }

    /// Charges an invoice of packs, step by step.
    pub(super) async fn charge(&self, sale: &Sale) -> Result<Next, SellError> {
        let terms = Terms::read(sale)?;
        let bill = &terms.bill;
        let card = terms.card.as_deref().ok_or(SellError::Inconsistent("a charge without a card"))?;
        let (customer, card) = (StripeId::new(&terms.payer)?, StripeId::new(card)?);
        if sale.is_stale && !self.was_answered(sale, "finalize").await? {
            // A draft does nothing by itself; one whose making was not answered takes nothing either.
            self.end(sale, SaleState::Dropped).await?;
            return Ok(Next::Again);
        }
        let write = Write::CreateInvoice(NewInvoice {
            customer: customer.clone(),
            currency: bill.total.currency(),
            payment_method: Some(card.clone()),
            automatic_tax: false,
            description: None,
            metadata: terms.metadata(sale.id)?,
        });
        let made = self.must(sale, "invoice", &write).await?;
        let invoice = StripeId::of(&made).ok_or(SellError::Inconsistent("an invoice without an id"))?;
        for (place, line) in terms.price_lines()?.into_iter().enumerate() {
            let write = Write::AddInvoiceItem(InvoiceItem {
                customer: customer.clone(),
                invoice: invoice.clone(),
                charge: ItemCharge::Price(line),
                description: None,
                metadata: terms.metadata(sale.id)?,
            });
            self.must(sale, &format!("item_{place}"), &write).await?;
        }
        self.must(sale, "finalize", &Write::FinalizeInvoice { invoice: invoice.clone(), auto_advance: false }).await?;
        self.pay(sale, &invoice, card, bill).await
    }

    async fn pay(&self, sale: &Sale, invoice: &StripeId, card: StripeId, bill: &Bill) -> Result<Next, SellError> {
        // Its buyer may have paid it by its page, which a repeat of the first answer would not say.
        let now = self.ask_known(&Fetch::Invoice { id: invoice.clone() }).await?;
        let paid = match text_at(&now, "status") {
            "paid" => true,
            "open" => {
                let pay = Write::PayInvoice { invoice: invoice.clone(), payment_method: Some(card) };
                let stepped = match self.step(sale, "pay", &pay).await {
                    Err(error @ SellError::Unavailable { .. }) => {
                        // It may have been paid all the same, and then the invoice says so.
                        let now = self.ask_known(&Fetch::Invoice { id: invoice.clone() }).await?;
                        if text_at(&now, "status") == "paid" { Stepped::Done(kept(&now)) } else { return Err(error) }
                    }
                    stepped => stepped?,
                };
                match stepped {
                    Stepped::Done(answer) => text_at(&answer, "status") == "paid",
                    Stepped::Refused(refused) => match refused.class {
                        RefusalClass::Declined(decline) if decline.wants_authentication() => false,
                        RefusalClass::Declined(decline) => {
                            self.send(&Write::VoidInvoice { invoice: invoice.clone() }).await?;
                            self.end(sale, SaleState::Dropped).await?;
                            return Err(SellError::Declined(decline));
                        }
                        RefusalClass::Invalid
                        | RefusalClass::ResourceMissing
                        | RefusalClass::IdempotencyMismatch
                        | RefusalClass::Unauthorized => return Err((*refused).into()),
                    },
                }
            }
            "void" | "uncollectible" => {
                self.end(sale, SaleState::Dropped).await?;
                return Ok(Next::Again);
            }
            _ => return Err(SellError::unreadable("an invoice's status")),
        };
        let answer = Attached::of(What::Charge, bill);
        if paid {
            self.end(sale, SaleState::Done).await?;
            return Ok(Next::Answer(answer));
        }
        let url = now["hosted_invoice_url"].as_str().map(str::to_owned);
        let action = RequiredAction { kind: "authenticate", url, client_secret: None };
        Ok(Next::Answer(Attached { required_action: Some(action), ..answer }))
    }

    /// What an invoice that is not paid waits for.
    pub(super) async fn why_unpaid(&self, invoice: &Value) -> Result<Unpaid, SellError> {
        let missing = || SellError::Inconsistent("a subscription that is not paid has no invoice");
        let id = StripeId::of(invoice).ok_or_else(missing)?;
        let invoice = self.ask(&Fetch::Invoice { id: id.clone() }).await?.ok_or_else(missing)?;
        let payments = self.ask_list(&Fetch::InvoicePayments { invoice: id, starting_after: None }).await?;
        let intent = payments.find(|_| true).and_then(|newest| StripeId::of(&newest["payment"]["payment_intent"]));
        let intent = match intent {
            Some(id) => self.ask_known(&Fetch::PaymentIntent { id }).await?,
            None => Value::Null,
        };
        let error = &intent["last_payment_error"];
        let text = |field: &str| error[field].as_str().map(str::to_owned);
        let decline = Decline {
            code: text("code"),
            decline_code: text("decline_code"),
            advice_code: text("advice_code"),
            payment_intent_status: intent["status"].as_str().map(str::to_owned),
            ..Decline::default()
        };
        if decline.code.is_none() || decline.wants_authentication() {
            let owned = |value: &Value| value.as_str().map(str::to_owned);
            let client_secret = owned(&intent["client_secret"]);
            let url = owned(&invoice["hosted_invoice_url"]);
            return Ok(Unpaid::Action(RequiredAction { kind: "authenticate", url, client_secret }));
        }
        Ok(Unpaid::Declined(Box::new(decline)))
    }
}
