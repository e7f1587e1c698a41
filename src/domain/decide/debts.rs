//! What wallets owe: debts made and raised, repaid by the next grants, and lowered again (rules 21, 22, 24, 29).

use super::super::account::Line;
use super::super::catalog::FeatureId;
use super::super::command::Rejection;
use super::super::credits::Credits;
use super::super::entry::EntryKind;
use super::super::grant::{Debt, DebtCause};
use super::super::ids::{DebtId, GrantId, PaymentId, WalletId};
use super::Draft;
use super::track::nothing;

impl Draft<'_> {
    /// Makes a debt of nothing yet, by the payment whose reversal it is for, or none for usage.
    pub(super) fn make_debt(
        &mut self,
        wallet: WalletId,
        feature: FeatureId,
        cause: DebtCause,
        payment: Option<PaymentId>,
    ) -> DebtId {
        let id = DebtId::from_uuid(self.ids.fresh());
        let debt = Debt { id, wallet, feature, outstanding: Credits::ZERO, billed: Credits::ZERO, cause };
        self.state.debts.push(debt.clone());
        self.changes.debts.push((debt, payment));
        id
    }

    /// Lets a grant repay what its wallet owes in credits, the oldest first.
    pub(super) fn repay_debts(&mut self, grant: GrantId) -> Result<(), Rejection> {
        let Some(wallet) = self.state.grant(grant).map(|grant| grant.wallet) else { return Ok(()) };
        let mut owed: Vec<(DebtId, Credits)> = self
            .state
            .debts
            .iter()
            .filter(|debt| debt.wallet == wallet && !debt.invoiced() && debt.outstanding.is_positive())
            .map(|debt| (debt.id, debt.outstanding))
            .collect();
        // In whatever order they were read: ids of debts count up.
        owed.sort_unstable();
        for (debt, outstanding) in owed {
            let Some(payer) = self.state.grant(grant) else { return Ok(()) };
            let amount = payer.free().min(outstanding);
            if !amount.is_positive() {
                return Ok(());
            }
            let line = Line::of(payer, EntryKind::Repay, amount.negated());
            self.book(Line { debt: Some(debt), ..line })?;
            self.state.repaid.entry(debt).or_default().push((grant, amount));
        }
        Ok(())
    }

    /// Lowers a debt: first what is still owed and not billed, then repayments go back to the grants that made them, the
    /// newest first. What is beyond, of what was billed, is left.
    pub(super) fn lower_debt(
        &mut self,
        id: DebtId,
        feature: &FeatureId,
        amount: Credits,
    ) -> Result<Credits, Rejection> {
        let mut rest = amount;
        if let Some(debt) = self.state.debts.iter().find(|debt| debt.id == id) {
            let (wallet, cancelled) = (debt.wallet, rest.min(debt.outstanding.checked_sub(debt.billed)?));
            if cancelled.is_positive() {
                self.book(debt_line(id, wallet, feature, cancelled.negated()))?;
                rest = rest.checked_sub(cancelled)?;
            }
        }
        let mut repaid = self.state.repaid.remove(&id).unwrap_or_default();
        for (payer, gave) in repaid.iter_mut().rev() {
            let back = rest.min(*gave);
            let Some(grant) = self.state.grant(*payer).filter(|_| back.is_positive()) else { continue };
            let wallet = grant.wallet;
            let line = Line { debt: Some(id), ..Line::of(grant, EntryKind::Repay, back) };
            self.book(line)?;
            self.book(debt_line(id, wallet, feature, back.negated()))?;
            *gave = gave.checked_sub(back)?;
            rest = rest.checked_sub(back)?;
        }
        self.state.repaid.insert(id, repaid);
        Ok(rest)
    }
}

/// A change of what is owed.
pub(super) fn debt_line(id: DebtId, wallet: WalletId, feature: &FeatureId, amount: Credits) -> Line {
    Line { wallet: Some(wallet), debt: Some(id), amount, ..nothing(EntryKind::Debt, feature.clone()) }
}
