//! A bill of overage on its way to an invoice, request by request: its lines go on the draft of a subscription's, or on an
//! invoice of its own, which Stripe then collects by itself. That the invoice is paid, void or gone comes as a webhook.
//!
//! A request whose outcome stays unknown for longer than Stripe remembers its key is looked for among Stripe's objects
//! before it is sent again, so that no item is made twice.

use serde_json::Value;

use super::begin::CUSTOMER_KEY;
use super::steps::{Sent, Which};
use super::{After, ChargeError, Charger, Held};
use crate::domain::command::{Command, Rejection};
use crate::domain::ids::BillId;
use crate::domain::money::Money;
use crate::domain::overage_bill::{
    BILL_KEY, Bill, BillApart, BillInvoice, BillLine, BillOrder, BillPlaced, BillState, BillVoid, LINE_KEY,
};
use crate::posting::PostError;
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::frozen::{Metadata, WriteError};
use crate::stripe::outcome::Refused;
use crate::stripe::wire::RawList;
use crate::stripe::write::{InvoiceItem, ItemCharge, NewInvoice, Write};

/// Wait where a person has to act: Stripe refuses to finalize.
const PERSON_SECONDS: i64 = 3_600;
/// Wait before a bill is taken up again that changes its way too often.
const RETRY_SECONDS: i64 = 60;
/// Pages of 100 in which a lost object is looked for.
const PAGES_MAX: usize = 100;
/// Times a bill changes its way in one turn: from a draft to an invoice of its own.
const WAYS_MAX: usize = 3;

/// How a request ended.
enum Stepped {
    /// Stripe did it, now or before; what was kept of its answer.
    Done(Value),
    /// Stripe refuses for certain.
    Refused(Box<Refused>),
    /// Not now: the bill is over, the lease is somebody else's, or the outcome is not known yet.
    Stop(After),
}

/// Where a request is looked for that Stripe may have forgotten the key of.
enum Lost<'a> {
    /// Among the lines of an invoice.
    Line { invoice: &'a StripeId, number: usize },
    /// Among the customer's invoices.
    Invoice { customer: &'a StripeId },
    /// The invoice itself says whether it is final.
    Final { invoice: &'a StripeId },
}

/// One bill being worked on.
struct Turn<'a> {
    charger: &'a Charger,
    held: Held<'a>,
    customer: &'a str,
    bill: Bill,
}

impl Charger {
    /// Takes a bill as far as it gets.
    pub(super) async fn bill(&self, held: Held<'_>, id: BillId) -> Result<After, ChargeError> {
        let account = held.account();
        let customer = self.store.profile(account).await?.map(|profile| profile.customer).unwrap_or_default();
        for _ in 0..WAYS_MAX {
            let bill = self.edge("read_bill", async { Ok(self.store.overage_bill(account, id).await?) }).await?;
            let Some(bill) = bill.filter(|bill| bill.state == BillState::Open) else { return Ok(After::Done) };
            let turn = Turn { charger: self, held, customer: &customer, bill };
            let gone = match turn.bill.draft_invoice.clone().filter(|_| !turn.bill.is_own) {
                Some(draft) => turn.onto_draft(&draft).await?,
                None => turn.onto_own().await?,
            };
            if let Some(after) = gone {
                return Ok(after);
            }
        }
        Ok(After::Later(RETRY_SECONDS))
    }
}

impl Turn<'_> {
    /// Puts the lines on a subscription's draft. `None`: the draft is final, and the bill goes another way.
    async fn onto_draft(&self, draft: &str) -> Result<Option<After>, ChargeError> {
        let (Ok(invoice), Ok(customer)) = (StripeId::new(draft), StripeId::new(&self.bill.stripe_customer)) else {
            return self.void(None, "Stripe's ids of its invoice and customer cannot be read").await.map(Some);
        };
        let mut placed = Vec::new();
        for (number, line) in self.bill.lines.iter().enumerate() {
            let write = self.item(&customer, &invoice, number, line);
            let lost = Lost::Line { invoice: &invoice, number };
            match self.step(&format!("item_{number}"), write, &lost).await? {
                Stepped::Done(_) => placed.push(number),
                Stepped::Refused(refused) => {
                    tracing::info!(bill.id = %self.bill.id, invoice = draft, line = number, code = ?refused.code,
                        reason = %refused.message, "a draft takes no more overage");
                    break;
                }
                Stepped::Stop(next) => return Ok(Some(next)),
            }
        }
        if placed.is_empty() {
            self.post(BillOrder::Apart(BillApart { bill: self.bill.id })).await?;
            return Ok(None);
        }
        self.placed(BillInvoice { id: draft.to_owned(), url: None }, placed).await.map(Some)
    }

    /// Makes an invoice of its own, which Stripe then collects by itself.
    async fn onto_own(&self) -> Result<Option<After>, ChargeError> {
        let Ok(customer) = StripeId::new(&self.bill.stripe_customer) else {
            return self.void(None, "Stripe's id of its customer cannot be read").await.map(Some);
        };
        let lost = Lost::Invoice { customer: &customer };
        let made = match self.step("invoice", self.invoice(&customer), &lost).await? {
            Stepped::Done(made) => made,
            Stepped::Refused(refused) => return self.refused(None, &refused).await.map(Some),
            Stepped::Stop(next) => return Ok(Some(next)),
        };
        let invoice = StripeId::of(&made).ok_or(ChargeError::Broken("an invoice without an id"))?;
        for (number, line) in self.bill.lines.iter().enumerate() {
            let write = self.item(&customer, &invoice, number, line);
            let lost = Lost::Line { invoice: &invoice, number };
            match self.step(&format!("own_item_{number}"), write, &lost).await? {
                Stepped::Done(_) => {}
                Stepped::Refused(refused) => return self.refused(Some(&invoice), &refused).await.map(Some),
                Stepped::Stop(next) => return Ok(Some(next)),
            }
        }
        let finalize = Ok(Write::FinalizeInvoice { invoice: invoice.clone(), auto_advance: true });
        let lost = Lost::Final { invoice: &invoice };
        let last = match self.step("finalize", finalize, &lost).await? {
            Stepped::Done(last) => last,
            // Somebody may have finalized it by hand.
            Stepped::Refused(refused) => match self.find(&lost).await? {
                Some(last) => last,
                None => return self.not_final(&invoice, &refused).await.map(Some),
            },
            Stepped::Stop(next) => return Ok(Some(next)),
        };
        let url = last["hosted_invoice_url"].as_str().map(str::to_owned);
        let all = (0..self.bill.lines.len()).collect();
        self.placed(BillInvoice { id: invoice.to_string(), url }, all).await.map(Some)
    }

    async fn placed(&self, invoice: BillInvoice, lines: Vec<usize>) -> Result<After, ChargeError> {
        tracing::info!(account.id = %self.held.account(), bill.id = %self.bill.id, invoice = %invoice.id, lines = lines.len(),
            "overage is on an invoice");
        self.post(BillOrder::Placed(BillPlaced { bill: self.bill.id, invoice, lines })).await?;
        Ok(After::Done)
    }

    /// A draft that Stripe does not finalize: a person may, and then it is found; it is void when it is gone.
    async fn not_final(&self, invoice: &StripeId, refused: &Refused) -> Result<After, ChargeError> {
        if self.charger.ask(&Fetch::Invoice { id: invoice.clone() }).await?.is_none() {
            return self.refused(Some(invoice), refused).await;
        }
        tracing::error!(bill.id = %self.bill.id, %invoice, code = ?refused.code, reason = %refused.message,
            "Stripe does not finalize an invoice of overage: mend it in the dashboard and finalize it there");
        Ok(After::Later(PERSON_SECONDS))
    }

    async fn refused(&self, invoice: Option<&StripeId>, refused: &Refused) -> Result<After, ChargeError> {
        tracing::error!(account.id = %self.held.account(), bill.id = %self.bill.id, status = refused.status, code = ?refused.code,
            reason = %refused.message, "Stripe refuses an invoice of overage; it waits for the next bill");
        let code = refused.code.as_deref().unwrap_or("no code");
        self.void(invoice, &format!("Stripe refuses it with {} ({code})", refused.status)).await
    }

    async fn void(&self, invoice: Option<&StripeId>, reason: &str) -> Result<After, ChargeError> {
        let invoice = invoice.map(StripeId::to_string);
        self.post(BillOrder::Void(BillVoid { bill: self.bill.id, invoice, reason: reason.to_owned() })).await?;
        Ok(After::Done)
    }

    async fn post(&self, order: BillOrder) -> Result<(), ChargeError> {
        let Self { charger, held, .. } = self;
        let posted = charger.edge("bill_order", async {
            Ok(charger.posting.post(held.account(), None, Command::Bill(order)).await.map(drop)?)
        });
        match posted.await {
            // An event was faster.
            Err(ChargeError::Post(PostError::Rejected(Rejection::BillIsOver { .. }))) => Ok(()),
            posted => posted,
        }
    }

    /// Did an event end the bill since, or send it another way?
    async fn is_over(&self) -> Result<bool, ChargeError> {
        let now = self.charger.store.overage_bill(self.held.account(), self.bill.id).await?;
        Ok(!now.is_some_and(|now| now.state == BillState::Open && now.is_own == self.bill.is_own))
    }

    /// One request: written down, then sent, as often as it takes; answered once, it is not sent again.
    async fn step(
        &self,
        step: &str,
        write: Result<Write, WriteError>,
        lost: &Lost<'_>,
    ) -> Result<Stepped, ChargeError> {
        let Self { charger, held, .. } = self;
        let which = Which::of_bill(self.bill.id, step);
        let write = match write.and_then(|write| write.freeze().map(|_| write)) {
            Ok(write) => Ok(write),
            // What was written down may have been sent, whatever can be made of it now.
            Err(error) if charger.is_written(*held, &which).await? => Err(error),
            Err(error) => return self.void(None, &format!("{step}: {error}")).await.map(Stepped::Stop),
        };
        if self.is_over().await? {
            return Ok(Stepped::Stop(After::Done));
        }
        let mut sent = charger.step(*held, &which, "bill_request", || Ok(write?)).await?;
        if matches!(sent, Sent::Stale) {
            sent = match self.find(lost).await? {
                Some(found) => Sent::Done(found),
                // The look took its time.
                None if self.is_over().await? => return Ok(Stepped::Stop(After::Done)),
                None => charger.step_not_done(*held, &which, "bill_request").await?,
            };
        }
        match sent {
            Sent::Done(answer) => {
                let answer = kept(&answer);
                charger.keep(*held, &which, &answer).await?;
                Ok(Stepped::Done(answer))
            }
            Sent::Refused(refused) => Ok(Stepped::Refused(refused)),
            Sent::Unknown(seconds) => Ok(Stepped::Stop(After::Later(seconds))),
            Sent::Stale => Err(ChargeError::Broken("a request that is not to be looked for again")),
        }
    }

    /// Looks for what a request did; `None`: it did nothing. What cannot be read, or does not end, is an error: the request
    /// would be sent again and done twice.
    async fn find(&self, lost: &Lost<'_>) -> Result<Option<Value>, ChargeError> {
        let bill = self.bill.id.to_string();
        let is_of_bill = |object: &Value| object["metadata"][BILL_KEY] == bill.as_str();
        match lost {
            Lost::Line { invoice, number } => {
                let place = number.to_string();
                let page = |starting_after| Fetch::InvoiceLines { invoice: (*invoice).clone(), starting_after };
                let is_it = |line: &Value| is_of_bill(line) && line["metadata"][LINE_KEY] == place.as_str();
                self.find_listed(page, is_it).await
            }
            Lost::Invoice { customer } => {
                let page = |starting_after| Fetch::InvoicesOf {
                    customer: (*customer).clone(),
                    created_gte: self.bill.period_end,
                    starting_after,
                };
                self.find_listed(page, is_of_bill).await
            }
            Lost::Final { invoice } => {
                let found = self.charger.ask(&Fetch::Invoice { id: (*invoice).clone() }).await?;
                let Some(found) = found else { return Ok(None) };
                let status = found["status"].as_str();
                let status = status.ok_or(ChargeError::Broken("an invoice whose status cannot be read"))?;
                Ok((status != "draft").then_some(found))
            }
        }
    }

    /// The first object of a list that fits; a list of something that Stripe does not know holds nothing.
    async fn find_listed(
        &self,
        page: impl Fn(Option<StripeId>) -> Fetch + Send + Sync,
        is_it: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Result<Option<Value>, ChargeError> {
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let answer = self.charger.fetch(&page(after.take())).await?;
            if answer.is_missing() {
                return Ok(None);
            }
            let listed = RawList::from_slice(&answer.body)?;
            if let Some(found) = listed.find(&is_it) {
                return Ok(Some(found.clone()));
            }
            after.clone_from(&listed.next);
            if after.is_none() {
                return Ok(None);
            }
        }
        Err(ChargeError::Broken("a list of Stripe's that does not end"))
    }

    fn invoice(&self, customer: &StripeId) -> Result<Write, WriteError> {
        Ok(Write::CreateInvoice(NewInvoice {
            customer: customer.clone(),
            currency: self.bill.currency,
            payment_method: None,
            automatic_tax: false,
            description: Some(format!(
                "Usage beyond your balance before {}",
                self.bill.period_end.strftime("%-d %B %Y")
            )),
            metadata: self.metadata()?,
        }))
    }

    fn item(
        &self,
        customer: &StripeId,
        invoice: &StripeId,
        number: usize,
        line: &BillLine,
    ) -> Result<Write, WriteError> {
        let amount = Money::from_minor(line.amount_minor, self.bill.currency);
        let amount = amount.map_err(|_| WriteError::NotPositive { what: "overage" })?;
        let (credits, feature, price) = (line.credits, &line.feature, &line.price.amount);
        let description = format!(
            "{credits} {feature} beyond the balance, {price} {} each",
            self.bill.currency.code().to_uppercase()
        );
        Ok(Write::AddInvoiceItem(InvoiceItem {
            customer: customer.clone(),
            invoice: invoice.clone(),
            charge: ItemCharge::Amount(amount),
            description: Some(description),
            metadata: self.metadata()?.with(LINE_KEY, &number.to_string())?,
        }))
    }

    /// What leads Stripe's events home. An id of the app's that is too long for it is left out: Stripe's customer is linked.
    fn metadata(&self) -> Result<Metadata, WriteError> {
        let metadata = Metadata::new().with(BILL_KEY, &self.bill.id.to_string())?;
        Ok(metadata.clone().with(CUSTOMER_KEY, self.customer).unwrap_or(metadata))
    }
}

/// What later steps need of an answer.
fn kept(object: &Value) -> Value {
    let fields = ["id", "status", "hosted_invoice_url"].into_iter().filter(|field| !object[*field].is_null());
    fields.map(|field| (field.to_owned(), object[field].clone())).collect::<serde_json::Map<_, _>>().into()
}
