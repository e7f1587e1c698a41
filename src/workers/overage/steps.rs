//! A bill on its way to an invoice, request by request.

use serde_json::Value;

use super::{LEASE_SECONDS, Next, OverageWorker, RETRY_SECONDS, Setback};
use crate::domain::command::Command;
use crate::domain::ids::{AccountId, BillId};
use crate::domain::money::Money;
use crate::domain::overage_bill::{Bill, BillApart, BillInvoice, BillLine, BillOrder, BillPlaced, BillState, BillVoid};
use crate::inbox::overage::{BILL_KEY, LINE_KEY};
use crate::store::charge_steps::{ChargeStep, StepKey};
use crate::store::charge_work::LeasedWork;
use crate::stripe::client::{Fetch, StripeClient, StripeId};
use crate::stripe::frozen::{Frozen, IdempotencyKey, Metadata, WriteError};
use crate::stripe::outcome::{Refused, WriteOutcome};
use crate::stripe::wire::{self, RawList};
use crate::stripe::write::{InvoiceItem, ItemCharge, NewInvoice, Write};

/// Leads Stripe's events home.
const CUSTOMER_KEY: &str = "creditd_customer_id";
/// Seconds for which a request may be sent again under its key without a look: Stripe may forget a key after 24 hours.
const KEY_SECONDS: i64 = 23 * 3_600;
/// Longest and shortest wait for a request whose outcome is not known; it grows with the request's age.
const RETRY_MAX: i64 = 1_800;
const RETRY_MIN: i64 = 2;
/// Wait where a person has to act: the key is wrong, or Stripe refuses to finalize.
const PERSON_SECONDS: i64 = 3_600;
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
    Stop(Next),
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
    worker: &'a OverageWorker,
    stripe: &'a dyn StripeClient,
    work: &'a LeasedWork,
    account: AccountId,
    customer: String,
    bill: Bill,
}

impl OverageWorker {
    /// Takes a bill as far as it gets.
    pub(super) async fn take(&self, stripe: &dyn StripeClient, work: &LeasedWork) -> Result<Next, Setback> {
        let (account, id) = (work.key.account, BillId::from_uuid(work.key.owner));
        let customer = self.store.profile(account).await?.map(|profile| profile.customer).unwrap_or_default();
        for _ in 0..WAYS_MAX {
            let Some(bill) = self.store.overage_bill(account, id).await? else { return Ok(Next::Done) };
            if bill.state != BillState::Open {
                return Ok(Next::Done);
            }
            let turn = Turn { worker: self, stripe, work, account, customer: customer.clone(), bill };
            let gone = match turn.bill.draft_invoice.clone().filter(|_| !turn.bill.is_own) {
                Some(draft) => turn.onto_draft(&draft).await?,
                None => turn.onto_own().await?,
            };
            if let Some(next) = gone {
                return Ok(next);
            }
        }
        Ok(Next::Later(RETRY_SECONDS))
    }
}

impl Turn<'_> {
    /// Puts the lines on a subscription's draft. `None`: the draft is final, and the bill goes another way.
    async fn onto_draft(&self, draft: &str) -> Result<Option<Next>, Setback> {
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
    async fn onto_own(&self) -> Result<Option<Next>, Setback> {
        let Ok(customer) = StripeId::new(&self.bill.stripe_customer) else {
            return self.void(None, "Stripe's id of its customer cannot be read").await.map(Some);
        };
        let lost = Lost::Invoice { customer: &customer };
        let made = match self.step("invoice", self.invoice(&customer), &lost).await? {
            Stepped::Done(made) => made,
            Stepped::Refused(refused) => return self.refused(None, &refused).await.map(Some),
            Stepped::Stop(next) => return Ok(Some(next)),
        };
        let Some(invoice) = made["id"].as_str().and_then(|id| StripeId::new(id).ok()) else {
            tracing::error!(bill.id = %self.bill.id, "Stripe made an invoice without an id");
            return Ok(Some(Next::Later(PERSON_SECONDS)));
        };
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

    async fn placed(&self, invoice: BillInvoice, lines: Vec<usize>) -> Result<Next, Setback> {
        tracing::info!(account.id = %self.account, bill.id = %self.bill.id, invoice = %invoice.id, lines = lines.len(),
            "overage is on an invoice");
        self.post(BillOrder::Placed(BillPlaced { bill: self.bill.id, invoice, lines })).await?;
        Ok(Next::Done)
    }

    /// A draft that Stripe does not finalize: a person may, and then it is found; it is void when it is gone.
    async fn not_final(&self, invoice: &StripeId, refused: &Refused) -> Result<Next, Setback> {
        let known = self.stripe.fetch(&Fetch::Invoice { id: invoice.clone() }).await?;
        if known.is_missing() {
            return self.refused(Some(invoice), refused).await;
        }
        tracing::error!(bill.id = %self.bill.id, %invoice, code = ?refused.code, reason = %refused.message,
            "Stripe does not finalize an invoice of overage: mend it in the dashboard and finalize it there");
        Ok(Next::Later(PERSON_SECONDS))
    }

    async fn refused(&self, invoice: Option<&StripeId>, refused: &Refused) -> Result<Next, Setback> {
        tracing::error!(account.id = %self.account, bill.id = %self.bill.id, status = refused.status, code = ?refused.code,
            reason = %refused.message, "Stripe refuses an invoice of overage; it waits for the next bill");
        let code = refused.code.as_deref().unwrap_or("no code");
        self.void(invoice, &format!("Stripe refuses it with {} ({code})", refused.status)).await
    }

    async fn void(&self, invoice: Option<&StripeId>, reason: &str) -> Result<Next, Setback> {
        let invoice = invoice.map(StripeId::to_string);
        self.post(BillOrder::Void(BillVoid { bill: self.bill.id, invoice, reason: reason.to_owned() })).await?;
        Ok(Next::Done)
    }

    async fn post(&self, order: BillOrder) -> Result<(), Setback> {
        let _ = self.worker.posting.post(self.account, None, Command::Bill(order)).await?;
        Ok(())
    }

    /// One request: written down, then sent, as often as it takes; answered once, it is not sent again.
    async fn step(&self, step: &str, write: Result<Write, WriteError>, lost: &Lost<'_>) -> Result<Stepped, Setback> {
        let store = &self.worker.store;
        let key = StepKey { account: self.account, owner: self.bill.id.as_uuid(), step: step.to_owned() };
        if store.charge_step(&key).await?.is_none() {
            let frozen = match write.and_then(|write| write.freeze()) {
                Ok(frozen) => frozen,
                Err(error) => return self.void(None, &format!("{step}: {error}")).await.map(Stepped::Stop),
            };
            store.freeze_charge_step(&key, (frozen.method().as_str(), frozen.path(), frozen.body())).await?;
        }
        let Some(row) = store.charge_step(&key).await? else { return Ok(Stepped::Stop(Next::Later(RETRY_SECONDS))) };
        if let Some(answer) = row.answer {
            return Ok(Stepped::Done(answer));
        }
        if row.age_seconds > KEY_SECONDS
            && let Some(found) = self.find(lost).await?
        {
            store.answer_charge_step(&key, &found).await?;
            return Ok(Stepped::Done(found));
        }
        // An event may have ended the bill since, or a slow look its lease.
        let now = store.overage_bill(self.account, self.bill.id).await?;
        if !now.is_some_and(|now| now.state == BillState::Open && now.is_own == self.bill.is_own) {
            return Ok(Stepped::Stop(Next::Done));
        }
        if !store.extend_charge_lease(self.work, LEASE_SECONDS).await? {
            return Ok(Stepped::Stop(Next::Later(RETRY_MIN)));
        }
        self.send(&key, &row).await
    }

    async fn send(&self, key: &StepKey, row: &ChargeStep) -> Result<Stepped, Setback> {
        let name = format!("bill:{}:{}", self.bill.id, key.step);
        let sent = Frozen::restore(&row.method, &row.path, &row.body)
            .and_then(|frozen| Ok((frozen, IdempotencyKey::new(&name)?)));
        let (frozen, idempotency_key) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                tracing::error!(bill.id = %self.bill.id, step = %key.step, %error, "a request's row cannot be sent");
                return Ok(Stepped::Stop(Next::Later(PERSON_SECONDS)));
            }
        };
        match self.stripe.send(&frozen, &idempotency_key).await {
            WriteOutcome::Answered(answered) => {
                let Ok(body) = wire::parse(&answered.body) else {
                    return Ok(Stepped::Stop(Next::Later(wait(row.age_seconds))));
                };
                let answer = kept(&body);
                self.worker.store.answer_charge_step(key, &answer).await?;
                Ok(Stepped::Done(answer))
            }
            WriteOutcome::Refused(refused) if refused.is_final() => Ok(Stepped::Refused(Box::new(refused))),
            WriteOutcome::Refused(refused) => {
                tracing::error!(bill.id = %self.bill.id, step = %key.step, status = refused.status, code = ?refused.code,
                    reason = %refused.message, "overage cannot be invoiced until somebody acts");
                Ok(Stepped::Stop(Next::Later(PERSON_SECONDS)))
            }
            WriteOutcome::Unknown(unknown) => {
                let asked = unknown.retry_after.map_or(0, |wait| i64::try_from(wait.as_secs()).unwrap_or(RETRY_MAX));
                let seconds = wait(row.age_seconds).max(asked.min(RETRY_MAX));
                tracing::info!(bill.id = %self.bill.id, step = %key.step, why = ?unknown.why, retry_in_seconds = seconds,
                    "Stripe's answer is not known; the same is sent again");
                Ok(Stepped::Stop(Next::Later(seconds)))
            }
        }
    }

    /// Looks for what a request did; `None`: it did nothing. What cannot be read, or does not end, is an error: the request
    /// would be sent again and done twice.
    async fn find(&self, lost: &Lost<'_>) -> Result<Option<Value>, Setback> {
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
                let answer = self.stripe.fetch(&Fetch::Invoice { id: (*invoice).clone() }).await?;
                if answer.is_missing() {
                    return Ok(None);
                }
                let body = wire::parse_object(&answer.body)?;
                let status =
                    body["status"].as_str().ok_or(Setback::Broken("an invoice whose status cannot be read"))?;
                Ok((status != "draft").then(|| kept(&body)))
            }
        }
    }

    /// The first object of a list that fits; a list of something that Stripe does not know holds nothing.
    async fn find_listed(
        &self,
        page: impl Fn(Option<StripeId>) -> Fetch + Send + Sync,
        is_it: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Result<Option<Value>, Setback> {
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let answer = self.stripe.fetch(&page(after.take())).await?;
            if answer.is_missing() {
                return Ok(None);
            }
            let listed = RawList::from_slice(&answer.body)?;
            if let Some(found) = listed.find(&is_it) {
                return Ok(Some(kept(found)));
            }
            after.clone_from(&listed.next);
            if after.is_none() {
                return Ok(None);
            }
        }
        Err(Setback::Broken("a list of Stripe's that does not end"))
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
        Ok(metadata.clone().with(CUSTOMER_KEY, &self.customer).unwrap_or(metadata))
    }
}

/// What later steps need of an answer.
fn kept(object: &Value) -> Value {
    let fields = ["id", "status", "hosted_invoice_url"].into_iter().filter(|field| !object[*field].is_null());
    fields.map(|field| (field.to_owned(), object[field].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// How long a request waits for its repeat: the longer the older it is.
fn wait(age_seconds: i64) -> i64 {
    (age_seconds / 4).clamp(RETRY_MIN, RETRY_MAX)
}
