//! A card is charged by an invoice: made, filled, made final, paid. Left open it does nothing by itself, but whoever has
//! its page can pay it: so it is voided when it is given up.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::begin::{ATTEMPT_KEY, description};
use super::charge::{LOOK_SECONDS, result_of};
use super::judge::{self, Paid, id_of};
use super::link::{ENDS_MAX, EndAsked, Ended, is_over, nth};
use super::settle::{Through, metadata_of};
use super::steps::{FIRST, Sent, Which};
use super::{After, ChargeError, Charger, Held, Move};
use crate::domain::command::{Charging, TryResult};
use crate::domain::money::Money;
use crate::domain::top_up::{Link, TopUp, TopUpState, Try};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::outcome::Refused;
use crate::stripe::write::{InvoiceItem, ItemCharge, Write};

/// How a step on the way to a payable invoice went.
enum Made {
    Done(Value),
    Stop(Move),
}

impl Charger {
    pub(super) async fn charge_invoice(&self, held: Held<'_>, top_up: &TopUp, last: &Try) -> Result<Move, ChargeError> {
        if top_up.state == TopUpState::Processing {
            return self.look_at_invoice(held, top_up, last).await;
        }
        let first = Which::new(last.attempt.as_uuid(), last.attempt, FIRST);
        let id = match self.made(held, top_up, last, &first).await? {
            Made::Done(invoice) => StripeId::of(&invoice).ok_or(ChargeError::Broken("an invoice without an id"))?,
            Made::Stop(stop) => return Ok(stop),
        };
        if last.invoice.is_none() {
            let known = TryResult::Unknown { payment_intent: None, invoice: Some(id.to_string()) };
            let told = Charging::TryEnded { top_up: top_up.id, attempt: last.attempt, result: known };
            self.edge("invoice_known", self.post(held.account(), told)).await?;
        }
        let metadata = self.metadata(held, top_up).await?.with(ATTEMPT_KEY, &last.attempt.to_string())?;
        let item = Write::AddInvoiceItem(InvoiceItem {
            customer: StripeId::new(&last.customer)?,
            invoice: id.clone(),
            charge: ItemCharge::Amount(top_up.amount),
            description: Some(description(top_up)),
            metadata,
        });
        let finalize = Write::FinalizeInvoice { invoice: id.clone(), auto_advance: false };
        for (step, name, write) in [("item", "add_item", item), ("finalize", "finalize_invoice", finalize)] {
            let which = Which::new(last.attempt.as_uuid(), last.attempt, step);
            let sent = self.step(held, &which, name, || Ok(write)).await?;
            match self.made_of(held, top_up, last, &which, sent).await? {
                Made::Done(_) => {}
                Made::Stop(stop) => return Ok(stop),
            }
        }
        self.pay_invoice(held, top_up, last, id).await
    }

    async fn made(&self, held: Held<'_>, top_up: &TopUp, last: &Try, which: &Which) -> Result<Made, ChargeError> {
        let sent = self.known_step(held, which, FIRST).await?;
        self.made_of(held, top_up, last, which, sent).await
    }

    /// A step that takes no money: one that is refused, or lost for good, ends the try; what it left is voided.
    async fn made_of(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        last: &Try,
        which: &Which,
        sent: Sent,
    ) -> Result<Made, ChargeError> {
        let result = match sent {
            Sent::Done(answer) => {
                self.keep(held, which, &json!({ "id": answer["id"], "status": answer["status"] })).await?;
                return Ok(Made::Done(answer));
            }
            Sent::Unknown(seconds) => return Ok(Made::Stop(Move::Rest(After::Later(seconds)))),
            Sent::Refused(refused) => result_of(&refused),
            Sent::Stale => TryResult::NotDone,
        };
        match self.end_invoice(held, top_up).await? {
            Ended::Paid => return Ok(Made::Stop(Move::On)),
            Ended::Wait(seconds) => return Ok(Made::Stop(Move::Rest(After::Later(seconds)))),
            Ended::Yes => {}
        }
        self.ended(held, top_up, last.attempt, result).await?;
        Ok(Made::Stop(Move::On))
    }

    async fn pay_invoice(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        last: &Try,
        invoice: StripeId,
    ) -> Result<Move, ChargeError> {
        // Its owner may have paid it by its page, or a balance did when it was made final.
        let now = self.invoice(&invoice).await?;
        if is_paid(&now) {
            return self.settle_invoice(held, top_up, &now).await;
        }
        let which = Which::new(last.attempt.as_uuid(), last.attempt, "pay");
        let card = StripeId::new(&last.payment_method)?;
        let pay = Write::PayInvoice { invoice: invoice.clone(), payment_method: Some(card) };
        let sent = self.step(held, &which, "pay_invoice", || Ok(pay)).await?;
        let now = self.invoice(&invoice).await?;
        if is_paid(&now) {
            return self.settle_invoice(held, top_up, &now).await;
        }
        match sent {
            Sent::Unknown(seconds) => Ok(Move::Rest(After::Later(seconds))),
            Sent::Refused(refused) => self.refused_invoice(held, top_up, last, &invoice, &refused).await,
            Sent::Done(_) | Sent::Stale => {
                let intent = self.intent_of(&invoice).await?.unwrap_or_default();
                let id = id_of(&intent);
                let result = match (intent["status"].as_str(), id) {
                    (Some("processing"), Some(payment_intent)) => TryResult::Processing { payment_intent },
                    (Some("requires_action"), payment_intent) => TryResult::NeedsAction { payment_intent },
                    (Some("requires_payment_method"), payment_intent) if intent["last_payment_error"].is_object() => {
                        TryResult::Declined { payment_intent, why: judge::why_of(&intent) }
                    }
                    // Stripe did not try: nothing was taken, and the invoice waits for nobody.
                    _ if matches!(sent, Sent::Stale) => {
                        return self.give_back(held, top_up, last, TryResult::NotDone).await;
                    }
                    _ => return Ok(Move::Rest(After::Later(LOOK_SECONDS))),
                };
                self.ended(held, top_up, last.attempt, result).await?;
                Ok(Move::On)
            }
        }
    }

    async fn refused_invoice(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        last: &Try,
        invoice: &StripeId,
        refused: &Refused,
    ) -> Result<Move, ChargeError> {
        let mut result = result_of(refused);
        if let TryResult::Declined { payment_intent, .. } | TryResult::NeedsAction { payment_intent } = &mut result
            && payment_intent.is_none()
        {
            *payment_intent = self.intent_of(invoice).await?.as_ref().and_then(id_of);
        }
        let again = match &result {
            TryResult::Declined { why, .. } => last.number < why.class().tries_max(),
            TryResult::Refused(_) | TryResult::NotDone => true,
            TryResult::Unknown { .. } | TryResult::Processing { .. } | TryResult::NeedsAction { .. } => false,
        };
        if again {
            // The next try makes one of its own; this one must not be paid beside it.
            return self.give_back(held, top_up, last, result).await;
        }
        self.ended(held, top_up, last.attempt, result).await?;
        Ok(Move::On)
    }

    /// Voids the invoice, then ends the try.
    async fn give_back(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        last: &Try,
        result: TryResult,
    ) -> Result<Move, ChargeError> {
        match self.end_invoice(held, top_up).await? {
            Ended::Paid => return Ok(Move::On),
            Ended::Wait(seconds) => return Ok(Move::Rest(After::Later(seconds))),
            Ended::Yes => {}
        }
        self.ended(held, top_up, last.attempt, result).await?;
        Ok(Move::On)
    }

    async fn look_at_invoice(&self, held: Held<'_>, top_up: &TopUp, last: &Try) -> Result<Move, ChargeError> {
        let id = self.invoice_id(held, last).await?.ok_or(ChargeError::Broken("a charge without its invoice"))?;
        let now = self.invoice(&id).await?;
        if is_paid(&now) {
            return self.settle_invoice(held, top_up, &now).await;
        }
        let intent = self.intent_of(&id).await?.unwrap_or_default();
        let result = match intent["status"].as_str() {
            Some("requires_payment_method") => {
                TryResult::Declined { payment_intent: id_of(&intent), why: judge::why_of(&intent) }
            }
            // Somebody ended it at Stripe: nothing will come of it.
            Some("canceled") => TryResult::NotDone,
            Some(_) | None if now["status"] == "void" => TryResult::NotDone,
            Some(_) | None => return Ok(Move::Rest(After::Later(LOOK_SECONDS))),
        };
        self.give_back(held, top_up, last, result).await
    }

    /// The page of an open invoice is the link.
    pub(super) async fn link_invoice(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        now: Timestamp,
    ) -> Result<Move, ChargeError> {
        let last = top_up.last_try.as_ref().ok_or(ChargeError::Broken("a link without a try before"))?;
        let Some(id) = self.invoice_id(held, last).await? else { return self.expire(held, top_up).await };
        let invoice = self.invoice(&id).await?;
        if is_paid(&invoice) {
            return self.settle_invoice(held, top_up, &invoice).await;
        }
        let url = invoice["hosted_invoice_url"].as_str().filter(|_| invoice["status"] == "open");
        let Some(url) = url.filter(|_| !is_over(top_up, now)) else { return self.expire(held, top_up).await };
        if top_up.link.is_some() {
            return Ok(Move::Rest(After::Later(LOOK_SECONDS)));
        }
        let link = Link { url: url.to_owned(), expires_at: None, session: None, number: 1 };
        self.edge("linked", self.post(held.account(), Charging::Linked { top_up: top_up.id, link })).await?;
        Ok(Move::Rest(After::AsIs))
    }

    /// Voids the last try's invoice, unless it was paid.
    pub(super) async fn end_invoice(&self, held: Held<'_>, top_up: &TopUp) -> Result<Ended, ChargeError> {
        let Some(last) = &top_up.last_try else { return Ok(Ended::Yes) };
        let Some(id) = self.invoice_id(held, last).await? else { return Ok(Ended::Yes) };
        let now = self.invoice(&id).await?;
        match now["status"].as_str() {
            Some("paid") => {
                self.settle_invoice(held, top_up, &now).await?;
                return Ok(Ended::Paid);
            }
            // A draft does nothing, and no page shows it.
            Some("draft" | "void") => return Ok(Ended::Yes),
            Some("open" | "uncollectible") => {}
            Some(_) | None => return Err(ChargeError::Broken("an invoice whose status cannot be read")),
        }
        for number in 1..=ENDS_MAX {
            let which = Which::new(last.attempt.as_uuid(), last.attempt, nth("void", number));
            let void = id.clone();
            let write = Write::VoidInvoice { invoice: void };
            let is_stale = match self.ask_for_end(held, &which, "void_invoice", write).await? {
                EndAsked::Done => return Ok(Ended::Yes),
                EndAsked::Unknown(seconds) => return Ok(Ended::Wait(seconds)),
                EndAsked::Look { is_stale } => is_stale,
            };
            let now = self.invoice(&id).await?;
            match now["status"].as_str() {
                Some("paid") => {
                    self.settle_invoice(held, top_up, &now).await?;
                    return Ok(Ended::Paid);
                }
                Some("void") => return Ok(Ended::Yes),
                // Stripe may have forgotten the key, and the invoice is as it was: it is asked anew, which voids it once.
                Some(_) | None if is_stale => {}
                Some(_) | None => return Ok(Ended::Wait(LOOK_SECONDS)),
            }
        }
        Err(ChargeError::Broken("an invoice that cannot be voided"))
    }

    async fn invoice_id(&self, held: Held<'_>, last: &Try) -> Result<Option<StripeId>, ChargeError> {
        if let Some(known) = &last.invoice {
            return Ok(Some(StripeId::new(known)?));
        }
        let which = Which::new(last.attempt.as_uuid(), last.attempt, FIRST);
        Ok(self.answer_of(held, &which).await?.as_ref().and_then(StripeId::of))
    }

    async fn invoice(&self, id: &StripeId) -> Result<Value, ChargeError> {
        self.edge("look_at_invoice", self.ask_known(&Fetch::Invoice { id: id.clone() })).await
    }

    /// The intent that an invoice is paid by.
    async fn intent_of(&self, invoice: &StripeId) -> Result<Option<Value>, ChargeError> {
        let payments = Fetch::InvoicePayments { invoice: invoice.clone(), starting_after: None };
        let payments = self.ask_list(&payments).await?;
        let Some(newest) = payments.find(|_| true) else { return Ok(None) };
        let Some(id) = StripeId::of(&newest["payment"]["payment_intent"]) else { return Ok(None) };
        self.ask_known(&Fetch::PaymentIntent { id }).await.map(Some)
    }

    /// A paid invoice: by a card, or by a balance that Stripe keeps of its customer, which counts as paid (rule 32).
    async fn settle_invoice(&self, held: Held<'_>, top_up: &TopUp, invoice: &Value) -> Result<Move, ChargeError> {
        let id = StripeId::of(invoice).ok_or(ChargeError::Broken("an invoice without an id"))?;
        if invoice["livemode"].as_bool() != Some(self.livemode) {
            return Err(ChargeError::Broken("an invoice of the other mode"));
        }
        let currency = invoice["currency"].as_str().and_then(|code| code.parse().ok());
        let currency = currency.ok_or(ChargeError::Broken("an invoice without a currency"))?;
        let minor = |field: &str| invoice[field].as_i64().ok_or(ChargeError::Broken("an invoice without its amounts"));
        let (total, subtotal) = (minor("total")?, minor("subtotal")?);
        let gross = Money::from_minor(total, currency).map_err(|_| ChargeError::Broken("an amount out of range"))?;
        let tax_minor = total.checked_sub(subtotal).ok_or(ChargeError::Broken("an amount out of range"))?;
        let intent = self.intent_of(&id).await?;
        let intent = intent.filter(|intent| intent["status"] == "succeeded").unwrap_or_default();
        let charge = id_of(&intent["latest_charge"]);
        let paid_at = invoice["status_transitions"]["paid_at"].as_i64();
        let paid_at = paid_at.and_then(|second| Timestamp::from_second(second).ok()).filter(|_| charge.is_none());
        let paid = Paid {
            payment_intent: id_of(&intent),
            charge,
            balance_transaction: None,
            customer: id_of(&invoice["customer"]),
            at: paid_at,
            gross,
        };
        let metadata: BTreeMap<String, String> = metadata_of(invoice);
        let through = Through { invoice: Some(id.into()), tax_minor, session: None };
        self.settle(held, top_up, paid, through, metadata).await?;
        Ok(Move::On)
    }
}

fn is_paid(invoice: &Value) -> bool {
    invoice["status"] == "paid"
}
