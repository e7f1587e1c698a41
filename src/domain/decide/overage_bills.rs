//! Bills of overage: credits that priced debts owe are frozen for an invoice, paid by it, or set free again.

use std::collections::BTreeMap;

use super::super::account::{Line, Note};
use super::super::command::{Decision, Outcome, Rejection, WalletRef};
use super::super::credits::Credits;
use super::super::entry::{EntryKind, Source};
use super::super::grant::{Category, Debt, DebtCause, Origin};
use super::super::ids::{BillId, DebtId, GrantId};
use super::super::overage_bill::{
    BILL_LINES_MAX, Bill, BillApart, BillLine, BillOrder, BillOverage, BillPaid, BillPlaced, BillState, BillVoid,
    line_amount,
};
use super::debts::debt_line;
use super::{Draft, grants};

/// Why credits of billed usage that is taken back are given.
const RETURNED: &str = "returned overage";

impl Draft<'_> {
    pub(super) fn bill(&mut self, order: &BillOrder) -> Result<Decision, Rejection> {
        match order {
            BillOrder::Make(order) => self.bill_overage(order),
            BillOrder::Apart(order) => self.bill_apart(*order),
            BillOrder::Placed(order) => self.bill_placed(order),
            BillOrder::Paid(order) => self.bill_paid(order),
            BillOrder::Void(order) => self.bill_void(order),
        }
    }

    /// Freezes what is owed, not billed yet and used before the period's end. Nothing to bill makes no bill.
    fn bill_overage(&mut self, order: &BillOverage) -> Result<Decision, Rejection> {
        if let Some(known) = self.state.bills.iter().find(|known| known.is_for(order)) {
            return Ok(Decision::AlreadyApplied(Outcome::Billed { bill: Some(known.id) }));
        }
        let mut debts: Vec<&Debt> = self.state.debts.iter().collect();
        // In whatever order they were read: ids of debts count up.
        debts.sort_unstable_by_key(|debt| debt.id);
        let mut lines = Vec::new();
        for debt in debts {
            if lines.len() < BILL_LINES_MAX {
                lines.extend(self.line_of(debt, order)?);
            }
        }
        if lines.is_empty() {
            return Ok(Decision::AlreadyApplied(Outcome::Billed { bill: None }));
        }
        // From here it must succeed: each line is at most what its debt has not billed.
        for line in &lines {
            self.raise_billed(line.debt, line.credits)?;
        }
        let id = BillId::from_uuid(self.ids.fresh());
        self.state.bills.push(Bill {
            id,
            currency: order.currency,
            period_end: order.period_end,
            stripe_customer: order.stripe_customer.clone(),
            draft_invoice: order.draft_invoice.clone(),
            is_own: order.draft_invoice.is_none(),
            state: BillState::Open,
            invoice: None,
            reason: None,
            lines,
        });
        self.changes.bills.insert(id);
        Ok(Decision::Applied(Outcome::Billed { bill: Some(id) }))
    }

    /// What of a debt goes on a bill.
    fn line_of(&self, debt: &Debt, order: &BillOverage) -> Result<Option<BillLine>, Rejection> {
        let DebtCause::Usage { price: Some(price) } = &debt.cause else { return Ok(None) };
        if price.currency != order.currency.code() {
            return Ok(None);
        }
        let since = self.state.owed_since.get(&order.period_end).and_then(|since| since.get(&debt.id));
        let since = since.copied().unwrap_or_default();
        let owed = debt.outstanding.checked_sub(debt.billed)?.checked_sub(since)?;
        if !owed.is_positive() {
            return Ok(None);
        }
        let (credits, amount_minor) = line_amount(owed, price)?;
        // Less than half a minor unit: it waits.
        Ok((amount_minor > 0).then(|| BillLine {
            debt: debt.id,
            feature: debt.feature.clone(),
            credits,
            price: price.clone(),
            amount_minor,
            is_released: false,
        }))
    }

    /// Counts credits of a debt as billed; below zero: as not billed any more.
    fn raise_billed(&mut self, id: DebtId, credits: Credits) -> Result<(), Rejection> {
        if let Some(debt) = self.state.debts.iter_mut().find(|debt| debt.id == id) {
            debt.billed = debt.billed.checked_add(credits)?;
            self.changes.touched_debts.insert(id);
        }
        Ok(())
    }

    fn bill_apart(&mut self, order: BillApart) -> Result<Decision, Rejection> {
        let place = self.bill_place(order.bill)?;
        let outcome = Outcome::Billed { bill: Some(order.bill) };
        let Some(bill) = self.state.bills.get_mut(place) else { return Err(Rejection::UnknownBill(order.bill)) };
        match bill.state {
            BillState::Open if !bill.is_own => {}
            BillState::Open => return Ok(Decision::AlreadyApplied(outcome)),
            BillState::Invoiced | BillState::Paid { .. } | BillState::Void { .. } => {
                return Err(Rejection::BillIsOver { bill: order.bill, state: bill.state.word() });
            }
        }
        bill.is_own = true;
        self.changes.bills.insert(order.bill);
        Ok(Decision::Applied(outcome))
    }

    fn bill_placed(&mut self, order: &BillPlaced) -> Result<Decision, Rejection> {
        let place = self.bill_place(order.bill)?;
        let outcome = Outcome::Billed { bill: Some(order.bill) };
        let Some(bill) = self.state.bills.get(place).filter(|bill| bill.state == BillState::Open) else {
            // An event was faster, and knew as much.
            return Ok(Decision::AlreadyApplied(outcome));
        };
        let mut bill = bill.clone();
        if !(0..bill.lines.len()).any(|number| order.lines.contains(&number)) {
            let reason = "nothing of it is on the invoice".to_owned();
            return self.bill_void(&BillVoid { bill: order.bill, invoice: None, reason });
        }
        self.release(&mut bill, |number| !order.lines.contains(&number))?;
        bill.invoice = Some(order.invoice.clone());
        bill.state = BillState::Invoiced;
        self.replace_bill(place, bill);
        Ok(Decision::Applied(outcome))
    }

    /// What was on the paid invoice is not owed any more; what was not waits for the next bill.
    fn bill_paid(&mut self, order: &BillPaid) -> Result<Decision, Rejection> {
        self.source = Source::Payment;
        let place = self.bill_place(order.bill)?;
        let Some(known) = self.state.bills.get(place) else { return Err(Rejection::UnknownBill(order.bill)) };
        match known.state {
            BillState::Open | BillState::Invoiced => {}
            BillState::Paid { .. } => {
                return Ok(Decision::AlreadyApplied(Outcome::Billed { bill: Some(order.bill) }));
            }
            BillState::Void { .. } => {
                return Err(Rejection::BillIsOver { bill: order.bill, state: known.state.word() });
            }
        }
        if known.currency != order.currency {
            return Err(Rejection::BillCurrency { bill: order.bill, is: known.currency, paid: order.currency });
        }
        let mut bill = known.clone();
        if order.lines.iter().any(|number| bill.lines.get(*number).is_none_or(|line| line.is_released)) {
            // Its credits are on another bill, or will be: a person has to say what this payment was for.
            return Err(Rejection::BillIsOver { bill: order.bill, state: "without such a line" });
        }
        // From here it must succeed: a debt owes at least what is billed of it.
        self.release(&mut bill, |number| !order.lines.contains(&number))?;
        for line in bill.lines.iter().filter(|line| !line.is_released) {
            self.raise_billed(line.debt, line.credits.negated())?;
            let wallet = self.state.debts.iter().find(|debt| debt.id == line.debt).map(|debt| debt.wallet);
            let Some(wallet) = wallet else { continue };
            let repaid = debt_line(line.debt, wallet, &line.feature, line.credits.negated());
            self.book(Line { kind: EntryKind::Repay, event_at: Some(order.paid_at), ..repaid })?;
        }
        if let Some(seq) = self.first {
            let reason = Some(format!("overage paid by {}", order.invoice));
            self.note(seq, Note { seq, reason, actor: None, metadata: BTreeMap::new() });
        }
        let url = bill.invoice.take().filter(|known| known.id == order.invoice).and_then(|known| known.url);
        bill.invoice = Some(super::super::overage_bill::BillInvoice { id: order.invoice.clone(), url });
        bill.state = BillState::Paid { at: order.paid_at, payment: order.payment };
        self.replace_bill(place, bill);
        Ok(Decision::Applied(Outcome::Billed { bill: Some(order.bill) }))
    }

    /// Sets all of it free for the next bill.
    fn bill_void(&mut self, order: &BillVoid) -> Result<Decision, Rejection> {
        let place = self.bill_place(order.bill)?;
        let Some(known) = self.state.bills.get(place) else { return Err(Rejection::UnknownBill(order.bill)) };
        let of_it = match (&known.invoice, &order.invoice) {
            (Some(known), Some(void)) => known.id == *void,
            (None, _) | (Some(_), None) => true,
        };
        if known.state.ended_at().is_some() || !of_it {
            return Ok(Decision::AlreadyApplied(Outcome::Billed { bill: Some(order.bill) }));
        }
        let mut bill = known.clone();
        self.release(&mut bill, |_| true)?;
        if let Some(invoice) = &order.invoice
            && bill.invoice.is_none()
        {
            bill.invoice = Some(super::super::overage_bill::BillInvoice { id: invoice.clone(), url: None });
        }
        bill.reason = Some(order.reason.clone());
        bill.state = BillState::Void { at: self.context.now };
        self.replace_bill(place, bill);
        Ok(Decision::Applied(Outcome::Billed { bill: Some(order.bill) }))
    }

    /// Sets lines of a bill free: their credits are owed and not billed.
    fn release(&mut self, bill: &mut Bill, which: impl Fn(usize) -> bool) -> Result<(), Rejection> {
        for (number, line) in bill.lines.iter_mut().enumerate() {
            if which(number) && !line.is_released {
                self.raise_billed(line.debt, line.credits.negated())?;
                line.is_released = true;
            }
        }
        Ok(())
    }

    fn bill_place(&self, id: BillId) -> Result<usize, Rejection> {
        self.state.bills.iter().position(|bill| bill.id == id).ok_or(Rejection::UnknownBill(id))
    }

    fn replace_bill(&mut self, place: usize, bill: Bill) {
        self.changes.bills.insert(bill.id);
        if let Some(known) = self.state.bills.get_mut(place) {
            *known = bill;
        }
    }

    /// Gives credits back of usage whose overage is billed or paid already: the invoice stands, so they come as a grant.
    pub(super) fn give_back_billed(&mut self, debt: DebtId, credits: Credits) -> Result<Option<GrantId>, Rejection> {
        let known = self.state.debts.iter().find(|known| known.id == debt && known.invoiced());
        let Some(feature) = known.map(|known| known.feature.clone()).filter(|_| credits.is_positive()) else {
            return Ok(None);
        };
        let wallet = self.wallet_for(&WalletRef::Default, &feature)?;
        let plan = grants::Plan {
            wallet,
            entity: String::new(),
            category: Category::Prepaid,
            priority: None,
            quantity: credits,
            unlimited: false,
            starts_at: self.context.now,
            expires_at: self.default_expiry(wallet, self.context.now)?,
            grace: None,
            period: None,
        };
        let origin = Origin { reason: Some(RETURNED.to_owned()), ..Origin::default() };
        self.make_grant(plan, origin).map(Some)
    }
}
