//! The state one account is decided on, and what a decision changes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::attachment::Attachment;
use super::catalog::FeatureId;
use super::command::{Basis, Request};
use super::credits::{AmountError, Credits};
use super::entry::{ChainHead, Entry, EntryKind};
use super::grant::{Debt, Grant, Origin, Wallet};
use super::hold::Hold;
use super::ids::{AccountId, AttachmentId, AttemptId, BillId, DebtId, GrantId, HoldId, PaymentId, TopUpId, WalletId};
use super::level::Levels;
use super::limit::{Counted, LimitKey, SpendLimit};
use super::overage_bill::Bill;
use super::proration::Share;
use super::reversal::PaymentBack;
use super::top_up::{Excess, Notice, Rule, TopUp};
use super::usage_record::UsageRecord;

/// Where new ids come from; posting gives random ones, tests count.
pub trait IdSource {
    /// A fresh id, never given before.
    fn fresh(&mut self) -> Uuid;
}

/// Life of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountLife {
    /// Claimed, its plans not yet attached.
    New,
    /// In use.
    Open,
    /// A tombstone.
    Erased,
}

impl AccountLife {
    /// The word used in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Open => "open",
            Self::Erased => "erased",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::New, Self::Open, Self::Erased].into_iter().find(|known| known.word() == word)
    }
}

/// What decisions on one account look at.
#[derive(Clone, Debug)]
pub struct AccountState {
    /// Which account.
    pub id: AccountId,
    /// Its life.
    pub life: AccountLife,
    /// Number of its newest entry.
    pub seq: i64,
    /// Head of its chain.
    pub head: ChainHead,
    /// Time of its newest entry.
    pub last_entry_at: Timestamp,
    /// Earliest time at which something falls due.
    pub next_due_at: Option<Timestamp>,
    /// Its open grants.
    pub grants: Vec<Grant>,
    /// Its open debts.
    pub debts: Vec<Debt>,
    /// Its wallets; empty unless everything was read.
    pub wallets: Vec<Wallet>,
    /// Its attachments, ended ones too; empty unless everything was read.
    pub attachments: Vec<Attachment>,
    /// Bought items already granted, as far as the batch can ask for them, with the grants they gave.
    pub bought: BTreeMap<(PaymentId, String), GrantId>,
    /// Newest period already granted of each item of each attachment, with its grant.
    pub renewed: BTreeMap<(AttachmentId, String), (Timestamp, GrantId)>,
    /// Older periods already granted, as far as the batch can ask for them.
    pub given: BTreeMap<(AttachmentId, String, Timestamp), GrantId>,
    /// What was given in the periods the batch can ask for, and in later ones.
    pub shares: Vec<Share>,
    /// Were wallets, attachments and once-only keys read, not just open grants and debts?
    pub complete: bool,
    /// What decided the credits of payments in the batch.
    pub bases: BTreeMap<PaymentId, Basis>,
    /// Money going back of payments in the batch.
    pub backs: BTreeMap<PaymentId, PaymentBack>,
    /// Grants that were read though nothing was left of them: they are written in another way.
    pub closed: BTreeSet<GrantId>,
    /// Has it, or had it ever, a hold, a spend limit or a level? What has none is not asked for them.
    pub has_extras: bool,
    /// Its open holds, and those that ended in this batch.
    pub holds: Vec<Hold>,
    /// Its spend limits.
    pub limits: Vec<SpendLimit>,
    /// What is in use of features that are set and freed, by feature and entity.
    pub levels: Levels,
    /// Tracks that the batch may take back, newest first. Shared: each command is decided on a copy of the state.
    pub usage: Vec<Arc<UsageRecord>>,
    /// Were there more of them than are read?
    pub usage_is_cut: bool,
    /// What grants repaid of debts that the batch may cancel, in the order in which they did.
    pub repaid: BTreeMap<DebtId, Vec<(GrantId, Credits)>>,
    /// What was used already in the running window of limits that the batch sets, when it was read.
    pub used_before: BTreeMap<LimitKey, Credits>,
    /// What was used, or taken back, since; only where the batch sets a limit.
    pub used_since: Vec<Counted>,
    /// Bills of overage that the batch names.
    pub bills: Vec<Bill>,
    /// What debts owe of usage at or after the ends of periods that the batch bills.
    pub owed_since: BTreeMap<Timestamp, BTreeMap<DebtId, Credits>>,
    /// Its top-up rules.
    pub rules: Vec<Rule>,
    /// Its open top-ups, and those that the batch asks for.
    pub top_ups: Vec<TopUp>,
    /// Payments of those top-ups that came too much.
    pub excess: BTreeSet<(TopUpId, PaymentId)>,
}

/// A grant to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantMade {
    /// The grant as it stands.
    pub grant: Grant,
    /// Its story.
    pub origin: Origin,
}

/// Words beside an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The entry: the first of its command.
    pub seq: i64,
    /// Why, in words.
    pub reason: Option<String>,
    /// Who asked.
    pub actor: Option<String>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
}

/// What the decisions of one batch changed in an account, gathered for one write.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// New lines, chained.
    pub entries: Vec<(Entry, ChainHead)>,
    /// Words beside them.
    pub notes: Vec<Note>,
    /// New wallets.
    pub wallets: Vec<Wallet>,
    /// New grants; their later state within the batch is in [`AccountState::grants`].
    pub grants: Vec<GrantMade>,
    /// Grants that were there and changed.
    pub touched_grants: BTreeSet<GrantId>,
    /// Debts that were there and changed.
    pub touched_debts: BTreeSet<DebtId>,
    /// New attachments.
    pub attachments: Vec<Attachment>,
    /// Attachments that were there and changed.
    pub touched_attachments: BTreeSet<AttachmentId>,
    /// What decided the credits of payments.
    pub bases: BTreeMap<PaymentId, Basis>,
    /// New debts, each with the payment whose reversal made it, or none for usage; their later state is in
    /// [`AccountState::debts`].
    pub debts: Vec<(Debt, Option<PaymentId>)>,
    /// Objects that tell of money going back and were seen anew.
    pub views: BTreeSet<(PaymentId, String)>,
    /// Grants of which reversals took more or less than before.
    pub reversed: BTreeSet<(PaymentId, GrantId)>,
    /// Grants that were frozen or freed.
    pub frozen: BTreeSet<GrantId>,
    /// Tracks that are new; they stand in [`AccountState::usage`].
    pub usage: BTreeSet<i64>,
    /// Tracks of before of which more was taken back.
    pub returned: BTreeSet<i64>,
    /// Holds that are new or changed; they stand in [`AccountState::holds`].
    pub holds: BTreeSet<HoldId>,
    /// Spend limits that are new or changed, and those that are gone.
    pub limits: BTreeSet<String>,
    /// Levels that changed.
    pub levels: BTreeSet<(FeatureId, String)>,
    /// The account's life or due time changed.
    pub head_changed: bool,
    /// Wallets that were there and changed.
    pub touched_wallets: BTreeSet<WalletId>,
    /// Bills of overage that are new or changed; they stand in [`AccountState::bills`].
    pub bills: BTreeSet<BillId>,
    /// What the charger is to do.
    pub charging: ChargingChanges,
}

/// What changed of rules and top-ups; the rows stand in the state.
#[derive(Clone, Debug, Default)]
pub struct ChargingChanges {
    /// Rules that are new or changed, and those that are gone.
    pub rules: BTreeSet<String>,
    /// Top-ups that are new or changed.
    pub top_ups: BTreeSet<TopUpId>,
    /// Those of them that are new.
    pub made: BTreeSet<TopUpId>,
    /// First requests of tries.
    pub requests: Vec<(AttemptId, &'static str, Request)>,
    /// Payments that came too much.
    pub excess: Vec<Excess>,
    /// What is told.
    pub notices: Vec<Notice>,
}

impl ChargingChanges {
    fn merge(&mut self, more: Self) {
        self.rules.extend(more.rules);
        self.top_ups.extend(more.top_ups);
        self.made.extend(more.made);
        self.requests.extend(more.requests);
        self.excess.extend(more.excess);
        self.notices.extend(more.notices);
    }

    /// Is there anything to write?
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.top_ups.is_empty() && self.excess.is_empty() && self.notices.is_empty()
    }
}

/// The parts of an entry that a decision chooses; number, chain and time are added by the state.
#[derive(Clone, Debug)]
pub struct Line {
    /// What happened.
    pub kind: EntryKind,
    /// The grant it changes.
    pub grant: Option<GrantId>,
    /// The wallet of that grant or debt.
    pub wallet: Option<WalletId>,
    /// The debt it changes.
    pub debt: Option<DebtId>,
    /// The hold it belongs to.
    pub hold: Option<HoldId>,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Signed credits.
    pub amount: Credits,
    /// When it happened in the world.
    pub event_at: Option<Timestamp>,
}

impl Line {
    /// A change of one grant.
    pub fn of(grant: &Grant, kind: EntryKind, amount: Credits) -> Self {
        Self {
            kind,
            grant: Some(grant.id),
            wallet: Some(grant.wallet),
            debt: None,
            hold: None,
            feature: grant.feature.clone(),
            amount,
            event_at: None,
        }
    }

    /// The same, happened at a time of its own.
    #[must_use]
    pub fn at(self, event_at: Timestamp) -> Self {
        Self { event_at: Some(event_at), ..self }
    }
}

impl Changes {
    /// Takes in what one more command changed.
    pub fn merge(&mut self, more: Self) {
        self.entries.extend(more.entries);
        self.notes.extend(more.notes);
        self.wallets.extend(more.wallets);
        self.grants.extend(more.grants);
        self.touched_grants.extend(more.touched_grants);
        self.touched_debts.extend(more.touched_debts);
        self.attachments.extend(more.attachments);
        self.touched_attachments.extend(more.touched_attachments);
        self.bases.extend(more.bases);
        self.debts.extend(more.debts);
        self.views.extend(more.views);
        self.reversed.extend(more.reversed);
        self.frozen.extend(more.frozen);
        self.usage.extend(more.usage);
        self.returned.extend(more.returned);
        self.holds.extend(more.holds);
        self.limits.extend(more.limits);
        self.levels.extend(more.levels);
        self.head_changed |= more.head_changed;
        self.touched_wallets.extend(more.touched_wallets);
        self.bills.extend(more.bills);
        self.charging.merge(more.charging);
    }

    /// Is there anything to write?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.attachments.is_empty()
            && self.touched_attachments.is_empty()
            && self.wallets.is_empty()
            && self.bases.is_empty()
            && self.touched_grants.is_empty()
            && self.views.is_empty()
            && self.reversed.is_empty()
            && self.frozen.is_empty()
            && self.usage.is_empty()
            && self.returned.is_empty()
            && self.holds.is_empty()
            && self.limits.is_empty()
            && self.levels.is_empty()
            && !self.head_changed
            && self.touched_wallets.is_empty()
            && self.bills.is_empty()
            && self.charging.is_empty()
    }
}

impl AccountState {
    /// An account of which nothing is known yet but its id: without entries, new, nothing due.
    pub fn empty(id: AccountId) -> Self {
        Self {
            id,
            life: AccountLife::New,
            seq: 0,
            head: ChainHead::EMPTY,
            last_entry_at: Timestamp::UNIX_EPOCH,
            next_due_at: None,
            grants: Vec::new(),
            debts: Vec::new(),
            wallets: Vec::new(),
            attachments: Vec::new(),
            bought: BTreeMap::new(),
            renewed: BTreeMap::new(),
            given: BTreeMap::new(),
            shares: Vec::new(),
            complete: false,
            bases: BTreeMap::new(),
            backs: BTreeMap::new(),
            closed: BTreeSet::new(),
            has_extras: false,
            holds: Vec::new(),
            limits: Vec::new(),
            levels: BTreeMap::new(),
            usage: Vec::new(),
            usage_is_cut: false,
            repaid: BTreeMap::new(),
            used_before: BTreeMap::new(),
            used_since: Vec::new(),
            bills: Vec::new(),
            owed_since: BTreeMap::new(),
            rules: Vec::new(),
            top_ups: Vec::new(),
            excess: BTreeSet::new(),
        }
    }

    /// A hold by id.
    pub fn hold(&self, id: HoldId) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.id == id)
    }

    /// A grant by id.
    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.id == id)
    }

    /// A wallet by id.
    pub fn wallet(&self, id: WalletId) -> Option<&Wallet> {
        self.wallets.iter().find(|wallet| wallet.id == id)
    }

    /// Applies one entry to the grant or debt it names: the one place where a remaining changes.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), AmountError> {
        if let Some(grant) = entry.grant.and_then(|id| self.grants.iter_mut().find(|grant| grant.id == id)) {
            match entry.kind {
                EntryKind::Hold | EntryKind::Release => grant.held = grant.held.checked_add(entry.amount)?,
                EntryKind::Grant
                | EntryKind::Draw
                | EntryKind::Return
                | EntryKind::Expire
                | EntryKind::End
                | EntryKind::Void
                | EntryKind::Adjust
                | EntryKind::ClawBack
                | EntryKind::Reinstate
                | EntryKind::RolloverOut
                | EntryKind::RolloverIn
                | EntryKind::Debt
                | EntryKind::Repay => {
                    if !grant.unlimited {
                        grant.remaining = grant.remaining.checked_add(entry.amount)?;
                    }
                }
            }
            if grant.remaining.is_negative() || grant.held.is_negative() || grant.held > grant.remaining {
                return Err(AmountError::Negative);
            }
        }
        self.count_lost(entry)?;
        self.count_owed_since(entry)?;
        if let Some(debt) = entry.debt.and_then(|id| self.debts.iter_mut().find(|debt| debt.id == id)) {
            debt.outstanding = debt.outstanding.checked_add(entry.amount)?;
            if debt.outstanding.is_negative() {
                return Err(AmountError::Negative);
            }
        }
        Ok(())
    }

    /// What is owed of usage after the end of a period that is billed: returns take the newest usage back first.
    fn count_owed_since(&mut self, entry: &Entry) -> Result<(), AmountError> {
        let (Some(debt), EntryKind::Debt) = (entry.debt, entry.kind) else { return Ok(()) };
        let at = entry.event_at.unwrap_or(entry.at);
        for (_, since) in self.owed_since.range_mut(..=at) {
            let owed = since.entry(debt).or_default();
            *owed = owed.checked_add(entry.amount)?.max(Credits::ZERO);
        }
        Ok(())
    }

    /// Credits gone without being used are not owed when their payment is reversed, nor carried over as used.
    fn count_lost(&mut self, entry: &Entry) -> Result<(), AmountError> {
        if entry.kind.is_loss() || matches!(entry.kind, EntryKind::ClawBack | EntryKind::Reinstate) {
            for share in self.shares.iter_mut().filter(|share| Some(share.grant) == entry.grant) {
                share.lost = share.lost.checked_sub(entry.amount)?;
            }
        }
        if !entry.kind.is_loss() {
            return Ok(());
        }
        let lots = self.backs.values_mut().flat_map(|back| back.lots.iter_mut());
        for lot in lots.filter(|lot| Some(lot.grant) == entry.grant) {
            lot.lost = lot.lost.checked_sub(entry.amount)?;
        }
        Ok(())
    }

    /// Earliest time after `now` at which an open grant ends. Ends that have passed are left out: unlimited grants and
    /// ones pinned by a hold stay open behind them, and must not hide what is still to come.
    pub fn earliest_end_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.grants
            .iter()
            .filter(|grant| grant.unlimited || grant.remaining.is_positive())
            .filter_map(Grant::ends_at)
            .filter(|end| *end > now)
            .min()
    }
}
