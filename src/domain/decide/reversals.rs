//! Money going back: the difference between what was taken of a payment's grants and what is to be taken.

use std::collections::BTreeMap;

use super::super::account::{Line, Note};
use super::super::command::{Decision, Outcome, Rejection};
use super::super::credits::Credits;
use super::super::entry::{EntryKind, Source};
use super::super::grant::{DebtCause, Grant, Origin};
use super::super::ids::{GrantId, PaymentId, WalletId};
use super::super::reversal::{Aim, BackAccount, BackLot, Learned, MoneyBack, VIEWS_MAX};
use super::Draft;
use super::debts::debt_line;

impl Draft<'_> {
    /// Takes in what Stripe's objects say, and takes or gives back the difference.
    pub(super) fn money_back(&mut self, back: &MoneyBack) -> Result<Decision, Rejection> {
        self.source = Source::Reversal;
        let known = self.state.backs.entry(back.payment).or_default();
        let mut news: Vec<&str> = Vec::new();
        for view in &back.views {
            let learned = known.learn(view);
            if learned == Learned::News {
                news.push(&view.object);
            }
            // A look that shows what is known moves its time all the same: an older one must not come after it.
            if learned != Learned::Nothing {
                self.changes.views.insert((back.payment, view.object.clone()));
            }
        }
        if known.views.len() > VIEWS_MAX {
            return Err(Rejection::TooManyViews);
        }
        let reason = format!("money back: {}", news.join(", "));
        let is_news = !news.is_empty();
        self.reverse(back.payment)?;
        if let Some(seq) = self.first {
            self.note(seq, Note { seq, reason: Some(reason), actor: None, metadata: BTreeMap::new() });
        }
        let outcome = self.reversed(back.payment)?;
        Ok(if is_news { Decision::Applied(outcome) } else { Decision::AlreadyApplied(outcome) })
    }

    fn reversed(&self, payment: PaymentId) -> Result<Outcome, Rejection> {
        let mut sum = BackAccount::default();
        let lots = self.state.backs.get(&payment).map(|back| back.lots.as_slice()).unwrap_or_default();
        for lot in lots {
            sum.taken = sum.taken.checked_add(lot.account.taken)?;
            sum.owed = sum.owed.checked_add(lot.account.owed)?;
            sum.waived = sum.waived.checked_add(lot.account.waived)?;
        }
        let grants = lots.iter().map(|lot| lot.grant).collect();
        Ok(Outcome::Reversed { grants, taken: sum.taken, owed: sum.owed, waived: sum.waived })
    }

    /// A grant of a payment whose money going back is looked at in this batch.
    pub(super) fn remember_for_reversals(&mut self, grant: &Grant, origin: &Origin) {
        let Some(payment) = origin.payment else { return };
        let Some(back) = self.state.backs.get_mut(&payment) else { return };
        back.lots.push(BackLot {
            grant: grant.id,
            wallet: grant.wallet,
            feature: grant.feature.clone(),
            granted: grant.original,
            paid: origin.money.paid.map(super::super::money::Money::minor),
            price: origin.stripe_price.clone(),
            is_plan: grant.period.is_some() || grant.rolled.is_some(),
            rolled_from: grant.rolled.as_ref().map(|rolled| rolled.from),
            lost: Credits::ZERO,
            account: BackAccount::default(),
        });
        self.bought_for.insert(payment);
    }

    /// What went back before its grants came is taken of them now.
    pub(super) fn reverse_what_came_late(&mut self) -> Result<(), Rejection> {
        for payment in std::mem::take(&mut self.bought_for) {
            self.source = Source::Reversal;
            self.first = None;
            self.reverse(payment)?;
        }
        Ok(())
    }

    fn reverse(&mut self, payment: PaymentId) -> Result<(), Rejection> {
        let Some(back) = self.state.backs.get(&payment) else { return Ok(()) };
        if back.views.is_empty() {
            return Ok(());
        }
        if back.total.is_none() && back.is_any() {
            return Err(Rejection::NoTotal(payment));
        }
        let (aims, frozen) = (back.aims()?, back.is_frozen());
        let lots = back.lots.clone();
        self.freeze(&lots, frozen);
        let mut owed: BTreeMap<WalletId, Owed> = BTreeMap::new();
        // What rolled over comes before the grant it came from: what it owes, that one does not owe again.
        let mut in_order: Vec<(usize, (&BackLot, Aim))> = lots.iter().zip(aims).enumerate().collect();
        in_order.sort_by_key(|(_, (lot, _))| lot.rolled_from.is_none());
        let mut owed_after: BTreeMap<GrantId, Credits> = BTreeMap::new();
        for (place, (lot, aim)) in in_order {
            let elsewhere = owed_after.get(&lot.grant).copied().unwrap_or_default();
            let aim = Aim { may_owe: aim.may_owe.checked_sub(elsewhere)?.max(Credits::ZERO), ..aim };
            let account = self.reverse_lot(lot, aim)?;
            let sum = owed.entry(lot.wallet).or_insert_with(|| Owed::new(lot));
            sum.before = sum.before.checked_add(lot.account.owed)?;
            sum.after = sum.after.checked_add(account.owed)?;
            if let Some(from) = lot.rolled_from {
                owed_after.insert(from, account.owed);
            }
            if account != lot.account {
                self.changes.reversed.insert((payment, lot.grant));
                if let Some(kept) = self.state.backs.get_mut(&payment).and_then(|back| back.lots.get_mut(place)) {
                    kept.account = account;
                }
            }
        }
        for (wallet, sum) in owed {
            if sum.after > sum.before {
                self.owe(payment, wallet, &sum)?;
            } else if sum.after < sum.before {
                self.forgive(payment, wallet, &sum)?;
            }
        }
        Ok(())
    }

    fn freeze(&mut self, lots: &[BackLot], frozen: bool) {
        for grant in &mut self.state.grants {
            if grant.frozen != frozen && lots.iter().any(|lot| lot.grant == grant.id) {
                grant.frozen = frozen;
                self.changes.frozen.insert(grant.id);
            }
        }
    }

    /// Takes from a grant what it lacks to its aim, or gives back what it is above. What was used already is owed as far
    /// as that is asked for, and waived beyond.
    fn reverse_lot(&mut self, lot: &BackLot, aim: Aim) -> Result<BackAccount, Rejection> {
        let mut account = lot.account;
        let Some(grant) = self.state.grant(lot.grant) else { return Ok(account) };
        let reversed = account.all()?;
        if aim.all > reversed {
            let take = aim.all.checked_sub(reversed)?.min(grant.free());
            if take.is_positive() {
                self.book(Line::of(grant, EntryKind::ClawBack, take.negated()))?;
                account.taken = account.taken.checked_add(take)?;
            }
        } else if aim.all < account.taken {
            let give = account.taken.checked_sub(aim.all)?;
            self.book(Line::of(grant, EntryKind::Reinstate, give))?;
            account.taken = aim.all;
        }
        let rest = aim.all.checked_sub(account.taken)?;
        let free = self.state.grant(lot.grant).map_or(Credits::ZERO, Grant::free);
        let used = BackLot { account, ..lot.clone() }.used(free)?;
        // What it owes already stays owed while its aim holds, also where the use it was owed for was returned since.
        account.owed = rest.min(aim.may_owe).min(used.max(account.owed));
        account.waived = rest.checked_sub(account.owed)?;
        Ok(account)
    }

    fn owe(&mut self, payment: PaymentId, wallet: WalletId, sum: &Owed) -> Result<(), Rejection> {
        let known = self.state.backs.get(&payment).and_then(|back| back.debts.get(&wallet)).copied();
        let id =
            known.unwrap_or_else(|| self.make_debt(wallet, sum.feature.clone(), DebtCause::ClawBack, Some(payment)));
        self.state.backs.entry(payment).or_default().debts.insert(wallet, id);
        self.book(debt_line(id, wallet, &sum.feature, sum.after.checked_sub(sum.before)?))?;
        Ok(())
    }

    fn forgive(&mut self, payment: PaymentId, wallet: WalletId, sum: &Owed) -> Result<(), Rejection> {
        let known = self.state.backs.get(&payment).and_then(|back| back.debts.get(&wallet)).copied();
        let Some(id) = known else { return Ok(()) };
        // Claw-back debts are repaid in credits, never billed: nothing is left.
        self.lower_debt(id, &sum.feature, sum.before.checked_sub(sum.after)?)?;
        Ok(())
    }
}

/// What the grants of one wallet owe to a payment's reversals, before and after.
struct Owed {
    feature: super::super::catalog::FeatureId,
    before: Credits,
    after: Credits,
}

impl Owed {
    fn new(lot: &BackLot) -> Self {
        Self { feature: lot.feature.clone(), before: Credits::ZERO, after: Credits::ZERO }
    }
}
