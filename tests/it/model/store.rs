//! A store of a few lists that hands the engine what posting would read for it, and no more: what is closed stays away,
//! and what a command did not ask for does too. Wherever a decision lacks context, it decides otherwise than the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use creditd::domain::account::{AccountLife, AccountState, Changes, IdSource};
use creditd::domain::attachment::Attachment;
use creditd::domain::catalog::{CatalogVersion, Feature};
use creditd::domain::command::{Basis, Command, SetLimit};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::entry::{ChainHead, Entry, EntryKind};
use creditd::domain::grant::{Debt, DebtCause, Grant, Origin, Wallet};
use creditd::domain::hold::{Hold, HoldState};
use creditd::domain::ids::{AccountId, DebtId, GrantId, PaymentId};
use creditd::domain::level::Levels;
use creditd::domain::limit::SpendLimit;
use creditd::domain::reversal::{BackAccount, BackLot, BackView, PaymentBack};
use creditd::domain::usage_record::{PaidPart, UsageRecord};
use jiff::Timestamp;
use uuid::Uuid;

use super::words::PRICE;

/// Ids that count up, as random ones of version 7 do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids(pub(crate) u128);

impl IdSource for Ids {
    fn fresh(&mut self) -> Uuid {
        self.0 += 1;
        Uuid::from_u128(self.0)
    }
}

/// An account's rows.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    id: AccountId,
    life: AccountLife,
    seq: i64,
    head: ChainHead,
    last_entry_at: Timestamp,
    pub(crate) next_due_at: Option<Timestamp>,
    has_extras: bool,
    pub(crate) grants: BTreeMap<GrantId, (Grant, Origin)>,
    pub(crate) debts: BTreeMap<DebtId, (Debt, Option<PaymentId>)>,
    wallets: Vec<Wallet>,
    attachments: BTreeMap<Uuid, Attachment>,
    entries: Vec<Entry>,
    bases: BTreeMap<PaymentId, Basis>,
    views: BTreeMap<(PaymentId, String), BackView>,
    reversed: BTreeMap<GrantId, BackAccount>,
    pub(crate) holds: Vec<Hold>,
    limits: BTreeMap<String, SpendLimit>,
    levels: Levels,
    usage: BTreeMap<i64, UsageRecord>,
}

impl Store {
    pub(crate) fn new(wallets: Vec<Wallet>, now: Timestamp) -> Self {
        Self {
            id: AccountId::from_uuid(Uuid::from_u128(0xacc)),
            life: AccountLife::New,
            seq: 0,
            head: ChainHead::EMPTY,
            last_entry_at: now,
            next_due_at: None,
            has_extras: false,
            grants: BTreeMap::new(),
            debts: BTreeMap::new(),
            wallets,
            attachments: BTreeMap::new(),
            entries: Vec::new(),
            bases: BTreeMap::new(),
            views: BTreeMap::new(),
            reversed: BTreeMap::new(),
            holds: Vec::new(),
            limits: BTreeMap::new(),
            levels: BTreeMap::new(),
            usage: BTreeMap::new(),
        }
    }

    /// What posting reads under its lock for commands that are decided together.
    pub(crate) fn read(&self, catalog: &CatalogVersion, commands: &[Command], now: Timestamp) -> AccountState {
        let mut state = self.read_open();
        let is_due = self.next_due_at.is_some_and(|due| due <= now);
        if commands.iter().any(Command::needs_all) || self.life == AccountLife::New || is_due {
            self.read_all(&mut state, commands);
        }
        let mut wanted: BTreeMap<(String, String), i128> = BTreeMap::new();
        for command in commands {
            match command {
                Command::Track(track) if track.quantity.is_negative() => {
                    let sum = wanted.entry((track.feature.as_str().to_owned(), track.entity.clone())).or_default();
                    *sum -= track.quantity.nanos();
                }
                Command::SetLimit(limit) => {
                    let key = (limit.name.clone(), limit.feature.clone(), limit.entity.clone(), limit.window);
                    state.used_before.insert(key, self.used_before(catalog, limit, now));
                }
                _ => {}
            }
        }
        self.read_returnable(&mut state, &wanted);
        state
    }

    /// What is read for an answer that writes nothing.
    pub(crate) fn read_to_answer(&self, now: Timestamp) -> AccountState {
        let mut state = self.read_open();
        if self.next_due_at.is_some_and(|due| due <= now) {
            self.read_all(&mut state, &[]);
        }
        state
    }

    fn read_open(&self) -> AccountState {
        let mut state = AccountState {
            life: self.life,
            seq: self.seq,
            head: self.head,
            last_entry_at: self.last_entry_at,
            next_due_at: self.next_due_at,
            ..AccountState::empty(self.id)
        };
        // In no order that the engine could lean on.
        state.grants =
            self.grants.values().rev().filter(|(grant, _)| is_open(grant)).map(|row| row.0.clone()).collect();
        let owed = self.debts.values().rev().filter(|(debt, _)| debt.outstanding.is_positive());
        state.debts = owed.map(|(debt, _)| debt.clone()).collect();
        if self.has_extras {
            state.has_extras = true;
            state.holds = self.holds.iter().rev().filter(|hold| hold.state == HoldState::Open).cloned().collect();
            state.limits = self.limits.values().cloned().collect();
            state.levels = self.levels.clone();
        }
        state
    }

    fn read_all(&self, state: &mut AccountState, commands: &[Command]) {
        state.complete = true;
        state.wallets.clone_from(&self.wallets);
        state.attachments = self.attachments.values().cloned().collect();
        for (grant, _) in self.grants.values() {
            if let Some(period) = &grant.period {
                let newest = state.renewed.entry((period.attachment, period.item.clone()));
                let newest = newest.or_insert((period.start, grant.id));
                if newest.0 <= period.start {
                    *newest = (period.start, grant.id);
                }
            }
        }
        let (mut bought, mut back) = (BTreeSet::new(), BTreeSet::new());
        for command in commands {
            match command {
                Command::Purchase(purchase) => drop(bought.insert(purchase.payment)),
                Command::MoneyBack(money) => drop(back.insert(money.payment)),
                _ => {}
            }
        }
        for (grant, origin) in self.grants.values() {
            if let (Some(payment), Some(item)) = (origin.payment, &origin.item_key)
                && bought.contains(&payment)
            {
                state.bought.insert((payment, item.clone()), grant.id);
            }
        }
        for payment in bought.iter().chain(&back) {
            self.read_payment(state, *payment, back.contains(payment));
        }
    }

    fn read_payment(&self, state: &mut AccountState, payment: PaymentId, is_asked: bool) {
        if let Some(basis) = self.bases.get(&payment) {
            state.bases.insert(payment, *basis);
        }
        let views = self.views.iter().filter(|((of, _), _)| *of == payment);
        let views: BTreeMap<_, _> = views.map(|((_, object), view)| (object.clone(), view.clone())).collect();
        let is_touched = is_asked || !views.is_empty();
        let total = Some(("usd".parse().unwrap(), PRICE));
        let mut back = PaymentBack { total, views, ..PaymentBack::default() };
        if is_touched {
            let mut lots: Vec<&(Grant, Origin)> =
                self.grants.values().filter(|(_, origin)| origin.payment == Some(payment)).collect();
            lots.sort_by_key(|(grant, _)| (grant.starts_at, grant.id));
            for (grant, origin) in lots {
                add_grant(state, grant);
                back.lots.push(self.back_lot(grant, origin));
            }
            let debts = self.debts.values().filter(|(_, of)| *of == Some(payment));
            let debts: Vec<Debt> = debts.map(|(debt, _)| debt.clone()).collect();
            for debt in debts {
                let repaid = self.repaid(debt.id);
                for (payer, _) in &repaid {
                    add_grant(state, &self.grants[payer].0);
                }
                back.debts.insert(debt.wallet, debt.id);
                state.repaid.insert(debt.id, repaid);
                if !state.debts.iter().any(|known| known.id == debt.id) {
                    state.debts.push(debt);
                }
            }
        }
        state.backs.insert(payment, back);
    }

    fn back_lot(&self, grant: &Grant, origin: &Origin) -> BackLot {
        let gone = self.entries.iter().filter(|entry| entry.grant == Some(grant.id) && entry.kind.is_loss());
        BackLot {
            grant: grant.id,
            wallet: grant.wallet,
            feature: grant.feature.clone(),
            granted: grant.original,
            paid: None,
            price: origin.stripe_price.clone(),
            is_plan: grant.period.is_some(),
            rolled_from: grant.rolled.as_ref().map(|rolled| rolled.from),
            lost: sum(gone.map(|entry| entry.amount.negated())),
            account: self.reversed.get(&grant.id).copied().unwrap_or_default(),
        }
    }

    /// What grants repaid of a debt and did not get again, by their last line.
    fn repaid(&self, debt: DebtId) -> Vec<(GrantId, Credits)> {
        let mut payers: Vec<(GrantId, Credits)> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.debt == Some(debt) && entry.kind == EntryKind::Repay) {
            let Some(grant) = entry.grant else { continue };
            let place = payers.iter().position(|(known, _)| *known == grant);
            let before = place.map_or(Credits::ZERO, |place| payers.remove(place).1);
            payers.push((grant, before.checked_sub(entry.amount).unwrap()));
        }
        payers.retain(|(_, gave)| gave.is_positive());
        payers
    }

    /// The newest tracks that hold so much as is to be taken back, with grants and debts behind them.
    fn read_returnable(&self, state: &mut AccountState, wanted: &BTreeMap<(String, String), i128>) {
        let (mut grants, mut debts) = (BTreeSet::new(), BTreeSet::new());
        for ((feature, entity), wanted) in wanted {
            let mut found = 0;
            for record in self.usage.values().rev() {
                let left = record.left().unwrap();
                let is_of_it = record.feature.as_str() == feature && record.entity == *entity;
                if !is_of_it || !record.quantity.is_positive() || !left.is_positive() || found >= *wanted {
                    continue;
                }
                found += left.nanos();
                grants.extend(record.paid.iter().filter_map(|part| part.grant));
                debts.extend(record.paid.iter().filter_map(|part| part.debt));
                state.usage.push(Arc::new(record.clone()));
            }
        }
        for debt in debts {
            let repaid = self.repaid(debt);
            grants.extend(repaid.iter().map(|(payer, _)| *payer));
            if !repaid.is_empty() {
                state.repaid.insert(debt, repaid);
            }
        }
        for grant in grants {
            add_grant(state, &self.grants[&grant].0);
        }
    }

    /// What was used in the running window before a limit was set, as the store's statement sums it.
    fn used_before(&self, catalog: &CatalogVersion, limit: &SetLimit, now: Timestamp) -> Credits {
        let from = limit.window.around(now).unwrap().map(|(start, _)| start);
        let is_pool = matches!(catalog.catalog.features.get(&limit.feature), Some(Feature::CreditSystem { .. }));
        let mut used = 0;
        for record in self.usage.values() {
            let counts = limit.entity.is_empty() || limit.entity == record.entity;
            if !counts || from.is_some_and(|from| record.at < from) {
                continue;
            }
            if is_pool {
                let is_in = |part: &PaidPart| from.is_none_or(|from| part.at.unwrap_or(record.at) >= from);
                let settled = record.paid.iter().filter(|part| is_settled(part) && part.pool == limit.feature);
                let settled = settled.filter(|part| is_in(part));
                used += sum(settled.map(|part| part.amount)).nanos();
            } else if record.feature == limit.feature && record.quantity.is_positive() {
                used += record.settled_units().unwrap().nanos();
            }
        }
        Credits::from_nanos(used).unwrap()
    }

    /// Writes what was decided: what changed by its own account, and nothing else.
    pub(crate) fn write(&mut self, state: &AccountState, changes: &Changes) {
        let made: BTreeMap<GrantId, &Origin> =
            changes.grants.iter().map(|made| (made.grant.id, &made.origin)).collect();
        for grant in &state.grants {
            if let Some(origin) = made.get(&grant.id) {
                self.grants.insert(grant.id, (grant.clone(), (*origin).clone()));
            } else if changes.touched_grants.contains(&grant.id) {
                let (row, _) = self.grants.get_mut(&grant.id).unwrap();
                (row.remaining, row.held, row.grace_ends_at) = (grant.remaining, grant.held, grant.grace_ends_at);
            }
            if changes.frozen.contains(&grant.id) {
                self.grants.get_mut(&grant.id).unwrap().0.frozen = grant.frozen;
            }
        }
        self.write_debts(state, changes);
        for attachment in &state.attachments {
            let is_new = changes.attachments.iter().any(|new| new.id == attachment.id);
            if is_new || changes.touched_attachments.contains(&attachment.id) {
                self.attachments.insert(attachment.id.as_uuid(), attachment.clone());
            }
        }
        self.wallets.extend(changes.wallets.iter().cloned());
        self.entries.extend(changes.entries.iter().map(|(entry, _)| entry.clone()));
        self.bases.extend(&changes.bases);
        for (payment, object) in &changes.views {
            let view = state.backs[payment].views[object].clone();
            self.views.insert((*payment, object.clone()), view);
        }
        for (payment, grant) in &changes.reversed {
            let lot = state.backs[payment].lots.iter().find(|lot| lot.grant == *grant).unwrap();
            self.reversed.insert(*grant, lot.account);
        }
        if !changes.entries.is_empty() || changes.head_changed {
            (self.seq, self.head, self.last_entry_at) = (state.seq, state.head, state.last_entry_at);
            (self.next_due_at, self.life) = (state.next_due_at, state.life);
            self.has_extras |= state.has_extras;
        }
        self.write_usage(state, changes);
    }

    fn write_debts(&mut self, state: &AccountState, changes: &Changes) {
        for (debt, payment) in &changes.debts {
            self.debts.insert(debt.id, (debt.clone(), *payment));
        }
        for debt in &state.debts {
            if let Some((row, _)) = self.debts.get_mut(&debt.id)
                && changes.touched_debts.contains(&debt.id)
            {
                row.outstanding = debt.outstanding;
            }
        }
    }

    fn write_usage(&mut self, state: &AccountState, changes: &Changes) {
        for record in &state.usage {
            if changes.usage.contains(&record.seq) {
                self.usage.insert(record.seq, (**record).clone());
            } else if changes.returned.contains(&record.seq) {
                self.usage.get_mut(&record.seq).unwrap().returned = record.returned;
            }
        }
        for hold in state.holds.iter().filter(|hold| changes.holds.contains(&hold.id)) {
            match self.holds.iter_mut().find(|known| known.id == hold.id) {
                Some(known) => *known = hold.clone(),
                None => self.holds.push(hold.clone()),
            }
        }
        for name in &changes.limits {
            match state.limits.iter().find(|limit| limit.name == *name) {
                Some(limit) => drop(self.limits.insert(name.clone(), limit.clone())),
                None => drop(self.limits.remove(name)),
            }
        }
        for key in &changes.levels {
            let used = state.levels.get(key).copied().unwrap_or(Quantity::ZERO);
            self.levels.insert(key.clone(), used);
        }
    }

    pub(crate) fn has_open_hold(&self) -> bool {
        self.holds.iter().any(|hold| hold.state == HoldState::Open)
    }

    /// Does the next grant of any wallet repay something?
    pub(crate) fn owes_credits(&self) -> bool {
        self.debts.values().any(|(debt, _)| {
            debt.outstanding.is_positive() && !matches!(debt.cause, DebtCause::Usage { price: Some(_) })
        })
    }
}

fn is_open(grant: &Grant) -> bool {
    grant.unlimited || grant.remaining.is_positive()
}

fn is_settled(part: &PaidPart) -> bool {
    part.grant.is_some() || part.debt.is_some()
}

fn sum(amounts: impl Iterator<Item = Credits>) -> Credits {
    Credits::from_nanos(amounts.map(Credits::nanos).sum()).unwrap()
}

/// A grant read by its id, which may be closed.
fn add_grant(state: &mut AccountState, grant: &Grant) {
    if state.grant(grant.id).is_none() {
        if !is_open(grant) {
            state.closed.insert(grant.id);
        }
        state.grants.push(grant.clone());
    }
}
