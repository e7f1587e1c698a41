//! Wallets made, changed and ended; grants voided and corrected by hand.

use std::collections::BTreeMap;

use super::super::account::{Line, Note};
use super::super::command::{Decision, Outcome, Rejection};
use super::super::credits::Credits;
use super::super::entry::EntryKind;
use super::super::grant::{Grant, Wallet, WalletState};
use super::super::ids::{GrantId, WalletId};
use super::super::wallet::{Adjustment, NewWallet, Terminate, Void, WALLETS_MAX, WalletChange, WalletOrder};
use super::Draft;

impl Draft<'_> {
    /// Makes or changes a wallet; no credits move by it.
    pub(super) fn wallet(&mut self, order: &WalletOrder) -> Result<Decision, Rejection> {
        match order {
            WalletOrder::Make(new) => self.make_wallet(new),
            WalletOrder::Change(change) => self.change_wallet(change),
        }
    }

    fn make_wallet(&mut self, new: &NewWallet) -> Result<Decision, Rejection> {
        self.must_hold_credits(&new.feature)?;
        if let Some((id, _)) = &new.named
            && self.state.wallet(*id).is_some()
        {
            return Err(Rejection::WalletExists(*id));
        }
        if self.state.wallets.len() >= WALLETS_MAX {
            return Err(Rejection::TooManyWallets);
        }
        let (id, key) = match &new.named {
            Some((id, key)) => (*id, Some(key.clone())),
            None => (WalletId::from_uuid(self.ids.fresh()), None),
        };
        let wallet = self.add_wallet(Wallet {
            id,
            key,
            name: new.name.clone(),
            feature: new.feature.clone(),
            is_default: false,
            priority: new.priority,
            state: WalletState::Open,
            default_expiry_days: new.default_expiry_days,
            debt_limit: allowed(new.debt_limit),
            metadata: new.metadata.clone(),
            closed_at: None,
        });
        Ok(Decision::Applied(Outcome::Wallet { wallet }))
    }

    fn change_wallet(&mut self, change: &WalletChange) -> Result<Decision, Rejection> {
        let known = self.state.wallet(change.wallet).ok_or(Rejection::UnknownWallet(change.wallet))?;
        let state = match (known.state, change.frozen) {
            (WalletState::Closed, _) => return Err(Rejection::WalletClosed(known.id)),
            (state @ (WalletState::Open | WalletState::Frozen), None) => state,
            (WalletState::Open | WalletState::Frozen, Some(true)) => WalletState::Frozen,
            (WalletState::Open | WalletState::Frozen, Some(false)) => WalletState::Open,
        };
        let changed = Wallet {
            name: change.name.clone().unwrap_or_else(|| known.name.clone()),
            priority: change.priority.unwrap_or(known.priority),
            state,
            default_expiry_days: change.default_expiry_days.unwrap_or(known.default_expiry_days),
            debt_limit: change.debt_limit.map_or(known.debt_limit, allowed),
            metadata: change.metadata.clone().unwrap_or_else(|| known.metadata.clone()),
            ..known.clone()
        };
        let outcome = Outcome::Wallet { wallet: changed.id };
        if changed == *known {
            return Ok(Decision::AlreadyApplied(outcome));
        }
        self.replace_wallet(changed);
        Ok(Decision::Applied(outcome))
    }

    /// Puts a wallet in the place of what it was; its grants burn by its priority and state from here on.
    fn replace_wallet(&mut self, changed: Wallet) {
        for grant in self.state.grants.iter_mut().filter(|grant| grant.wallet == changed.id) {
            grant.wallet_priority = changed.priority;
            grant.wallet_state = changed.state;
        }
        self.changes.touched_wallets.insert(changed.id);
        if let Some(known) = self.state.wallets.iter_mut().find(|known| known.id == changed.id) {
            *known = changed;
        }
    }

    /// Ends a wallet: what is free repays what the wallet owes, the rest is void. A wallet that holds lean on is refused:
    /// their usage is under way, and it is theirs to say what it cost.
    pub(super) fn terminate(&mut self, order: &Terminate) -> Result<Decision, Rejection> {
        let wallet = self.state.wallet(order.wallet).cloned().ok_or(Rejection::UnknownWallet(order.wallet))?;
        if wallet.state == WalletState::Closed {
            let (voided, repaid) = (Credits::ZERO, Credits::ZERO);
            return Ok(Decision::AlreadyApplied(Outcome::Terminated { wallet: wallet.id, voided, repaid, grants: 0 }));
        }
        let mut lots: Vec<&Grant> = self.state.grants.iter().filter(|grant| grant.wallet == wallet.id).collect();
        let held = sum(lots.iter().map(|grant| grant.held));
        if held.is_positive() {
            return Err(Rejection::WalletHeld { wallet: wallet.id, held });
        }
        // From here it must succeed: each grant gives at most what is free in it.
        self.source = order.source;
        lots.sort_by(|left, right| left.burns_before(right, ""));
        let lots: Vec<GrantId> = lots.into_iter().map(|grant| grant.id).collect();
        let owed = |draft: &Self| {
            let mine = draft.state.debts.iter().filter(|debt| debt.wallet == wallet.id && !debt.invoiced());
            sum(mine.map(|debt| debt.outstanding))
        };
        let owed_before = owed(self);
        let (mut voided, mut count) = (Credits::ZERO, 0_u64);
        for id in &lots {
            // What a dispute froze may be taken back yet: it pays nothing.
            if self.state.grant(*id).is_some_and(|grant| !grant.frozen) {
                self.repay_debts(*id)?;
            }
            let Some(grant) = self.state.grant(*id).filter(|grant| grant.free().is_positive()) else { continue };
            let free = grant.free();
            let line = Line::of(grant, EntryKind::Void, free.negated());
            self.book(line)?;
            voided = sum([voided, free]);
            count = count.saturating_add(1);
        }
        let repaid = owed_before.checked_sub(owed(self)).unwrap_or(Credits::ZERO);
        // The next grant that names no wallet makes a new default one.
        let (id, closed_at) = (wallet.id, Some(self.context.now));
        self.replace_wallet(Wallet { state: WalletState::Closed, is_default: false, closed_at, ..wallet });
        self.note_by_hand(&order.reason, order.actor.as_deref());
        Ok(Decision::Applied(Outcome::Terminated { wallet: id, voided, repaid, grants: count }))
    }

    /// What a won dispute or a return brought back into a wallet that was ended meanwhile is void like the rest of it.
    pub(super) fn void_what_came_back_too_late(&mut self) -> Result<(), Rejection> {
        let late = |grant: &&Grant| grant.wallet_state == WalletState::Closed && grant.free().is_positive();
        let late = self.state.grants.iter().filter(late);
        let lines: Vec<Line> = late.map(|grant| Line::of(grant, EntryKind::Void, grant.free().negated())).collect();
        for line in lines {
            self.book(line)?;
        }
        Ok(())
    }

    /// Takes credits back from a grant, a plan's period included; at most what is free.
    pub(super) fn void(&mut self, order: &Void) -> Result<Decision, Rejection> {
        let grant = self.counted_grant(order.grant)?;
        let asked = match order.quantity {
            Some(quantity) => quantity,
            None if grant.free().is_positive() => grant.free(),
            None => return Err(Rejection::NothingToVoid { grant: grant.id, held: grant.held }),
        };
        must_be_free(grant, asked)?;
        let line = Line::of(grant, EntryKind::Void, asked.negated());
        self.source = order.source;
        self.correct(line, order.grant, &order.reason, order.actor.as_deref())
    }

    /// Corrects a grant's amount: down by at most what is free, up while it is not over. Debts of its wallet stay: what is
    /// given anew repays them, and until then they lower what can be spent of this as of all else in the wallet.
    pub(super) fn adjust(&mut self, order: &Adjustment) -> Result<Decision, Rejection> {
        let grant = self.counted_grant(order.grant)?;
        if order.quantity.is_negative() {
            must_be_free(grant, order.quantity.negated())?;
        } else {
            self.must_go_on(grant)?;
        }
        let line = Line::of(grant, EntryKind::Adjust, order.quantity);
        self.source = order.source;
        self.correct(line, order.grant, &order.reason, order.actor.as_deref())
    }

    /// A grant that has an amount.
    fn counted_grant(&self, id: GrantId) -> Result<&Grant, Rejection> {
        let grant = self.state.grant(id).ok_or(Rejection::UnknownGrant(id))?;
        if grant.unlimited { Err(Rejection::GrantUnlimited(id)) } else { Ok(grant) }
    }

    /// What is over gets nothing more: credits nobody could spend would look like some.
    fn must_go_on(&self, grant: &Grant) -> Result<(), Rejection> {
        if grant.wallet_state == WalletState::Closed {
            return Err(Rejection::WalletClosed(grant.wallet));
        }
        let over = grant.ends_at().filter(|end| *end <= self.context.now);
        let of = grant.period.as_ref().and_then(|period| self.attachment(period.attachment));
        // A plan that was left inside its subscription keeps what it gave: only what is closed ended with it.
        let left = of.and_then(|known| known.ended_at).filter(|_| grant.remaining.is_zero());
        match over.or(left) {
            Some(at) => Err(Rejection::GrantEnded { grant: grant.id, at }),
            None => Ok(()),
        }
    }

    fn correct(
        &mut self,
        line: Line,
        grant: GrantId,
        reason: &str,
        actor: Option<&str>,
    ) -> Result<Decision, Rejection> {
        let amount = line.amount;
        let entry = self.book(line)?;
        self.note_by_hand(reason, actor);
        let remaining = self.state.grant(grant).map_or(Credits::ZERO, |grant| grant.remaining);
        Ok(Decision::Applied(Outcome::Corrected { grant, amount, remaining, entry }))
    }

    pub(super) fn note_by_hand(&mut self, reason: &str, actor: Option<&str>) {
        if let Some(seq) = self.first {
            let (reason, actor) = (Some(reason.to_owned()), actor.map(str::to_owned));
            self.note(seq, Note { seq, reason, actor, metadata: BTreeMap::new() });
        }
    }
}

/// A limit of nothing is none.
fn allowed(limit: Option<Credits>) -> Option<Credits> {
    limit.filter(|limit| limit.is_positive())
}

fn must_be_free(grant: &Grant, asked: Credits) -> Result<(), Rejection> {
    let free = grant.free();
    if asked > free {
        return Err(Rejection::MoreThanFree { grant: grant.id, asked, free, held: grant.held });
    }
    Ok(())
}

/// A sum for people: beyond what an amount can say it says the most.
fn sum(amounts: impl IntoIterator<Item = Credits>) -> Credits {
    amounts.into_iter().fold(Credits::ZERO, |all, more| all.checked_add(more).unwrap_or(Credits::MAX))
}
