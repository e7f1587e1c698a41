//! Deciding: one command on one account's state, in memory, all or nothing.
//!
//! [`decide`] works on a copy: a rejection leaves state and changes as they were, so one bad command never fails its
//! neighbours in a batch. First what time alone made due is booked (expired grants, renewed items), then the command.
//!
//! What time made due is the same however late it is looked at: skipped periods leave the traces that they would have left
//! on time (`idle`), and what was unspent of a period moves on with its successor (`rollover`).
//!
//! Always true afterwards: every change of a grant is an entry; entries are numbered without gaps and chained; no grant
//! is below zero; no once-only key is used twice.

mod attach;
mod carry;
mod changes;
mod debts;
mod grace;
mod grants;
mod holds;
mod idle;
mod levels;
mod limits;
mod overage_bills;
mod plans;
mod returns;
mod reversals;
mod rollover;
mod rules;
mod subscriptions;
mod time;
mod top_ups;
mod track;
mod wallets;

pub(super) use limits::room;
pub use limits::standing;
pub use rules::awaits_renewal;
pub use top_ups::TOP_UP_ITEM;

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::account::{AccountLife, AccountState, Changes, IdSource, Line, Note};
use super::catalog::CatalogVersion;
use super::command::{Command, Decision, Rejection};
use super::entry::{Entry, Source};
use super::grant::Wallet;
use super::ids::{AttachmentId, PaymentId, WalletId};

/// Days a priced recurring grant stays spendable while its successor is awaited: 72 hours (rule 14).
pub const RENEWAL_GRACE_HOURS: i64 = 72;

/// Hours that an expired grant lives again for credits that came back to it, where its feature says `returned = "revive"`:
/// 30 days.
pub const REVIVED_HOURS: i64 = 720;

/// What a decision knows besides the account.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The catalogue in force.
    pub catalog: &'a CatalogVersion,
    /// Ledger time.
    pub now: Timestamp,
}

/// One command being decided.
struct Draft<'a> {
    state: AccountState,
    changes: Changes,
    context: Context<'a>,
    ids: &'a mut dyn IdSource,
    source: Source,
    /// Number of the command's first entry, once it has one.
    first: Option<i64>,
    /// Payments that got grants, of which money may have gone back already.
    bought_for: BTreeSet<PaymentId>,
    /// Time of the account's newest entry before this command: what had ended by then was settled then.
    booked_up_to: Timestamp,
    /// Items of attachments whose successors are about to be given: what is left of them rolls over, not expires.
    rolling: BTreeSet<(AttachmentId, String)>,
}

/// Decides one command; on success state and changes hold what it did, on rejection they are untouched.
pub fn decide(
    state: &mut AccountState,
    changes: &mut Changes,
    command: &Command,
    context: Context<'_>,
    ids: &mut dyn IdSource,
) -> Result<Decision, Rejection> {
    if state.life == AccountLife::Erased {
        return Err(Rejection::Erased);
    }
    let mut draft = Draft::new(state, context, ids);
    draft.release_over_holds()?;
    draft.book_what_time_made_due()?;
    draft.first = None;
    let decision = match command {
        Command::Open => draft.open(),
        Command::Track(track) => draft.track(track),
        Command::Hold(hold) => draft.place_hold(hold),
        Command::ExtendHold(extend) => draft.extend_hold(extend),
        Command::ReleaseHold(hold) => draft.release_hold(*hold),
        Command::SetLimit(limit) => draft.set_limit(limit),
        Command::DropLimit(name) => draft.drop_limit(name),
        Command::Grant(grant) => draft.new_grant(grant),
        Command::Purchase(purchase) => draft.purchase(purchase),
        Command::PlanPaid(paid) => draft.plan_paid(paid),
        Command::PlanChanged(change) => draft.plan_changed(change),
        Command::SubscriptionSeen(seen) => draft.subscription_seen(seen),
        Command::RenewalLost(lost) => draft.renewal_lost(lost),
        Command::MoneyBack(back) => draft.money_back(back),
        Command::Settle => Ok(draft.settle()),
        Command::Wallet(order) => draft.wallet(order),
        Command::Terminate(order) => draft.terminate(order),
        Command::Void(order) => draft.void(order),
        Command::Adjust(order) => draft.adjust(order),
        Command::Attach(wish) => draft.attach_own(wish),
        Command::Cancel(wish) => draft.cancel_own(wish),
        Command::Uncancel(wish) => draft.uncancel_own(wish),
        Command::Bill(order) => draft.bill(order),
        Command::Charging(charging) => draft.charging(charging),
    }?;
    if command.needs_all() {
        // What was over before it came is gone, not taken back: as if it had come before its money went.
        draft.expire_what_came_late()?;
        draft.reverse_what_came_late()?;
        draft.void_what_came_back_too_late()?;
        draft.expire_what_came_late()?;
        draft.reckon_next_due()?;
        if !draft.state.rules.is_empty() || draft.plans_say_rules() {
            draft.follow_plans();
        }
    }
    draft.look_at_rules(command);
    *state = draft.state;
    changes.merge(draft.changes);
    Ok(decision)
}

/// The state as it stands at a time, with everything due booked in memory and nothing written (rule 25).
pub fn at_time(state: &AccountState, context: Context<'_>, ids: &mut dyn IdSource) -> Result<AccountState, Rejection> {
    let mut draft = Draft::new(state, context, ids);
    draft.release_over_holds()?;
    draft.book_what_time_made_due()?;
    Ok(draft.state)
}

impl<'a> Draft<'a> {
    /// A copy of the state at the ledger's time, which never runs backwards.
    fn new(state: &AccountState, context: Context<'a>, ids: &'a mut dyn IdSource) -> Self {
        let now = context.now.max(state.last_entry_at);
        Self {
            state: state.clone(),
            changes: Changes::default(),
            context: Context { now, ..context },
            ids,
            source: Source::Time,
            first: None,
            bought_for: BTreeSet::new(),
            booked_up_to: state.last_entry_at,
            rolling: BTreeSet::new(),
        }
    }

    /// Appends one entry: numbers it, chains it, applies it.
    fn book(&mut self, line: Line) -> Result<i64, Rejection> {
        self.book_usage(line, None)
    }

    /// Appends an entry that may carry the usage it pays for.
    fn book_usage(&mut self, line: Line, usage: Option<track::Usage>) -> Result<i64, Rejection> {
        let seq = self.state.seq.checked_add(1).ok_or(super::credits::AmountError::TooLarge)?;
        let (used_feature, quantity, shortfall) = match usage {
            Some(usage) => (Some(usage.feature), Some(usage.quantity), Some(usage.shortfall)),
            None => (None, None, None),
        };
        let entry = Entry {
            seq,
            at: self.context.now,
            event_at: line.event_at.filter(|at| *at != self.context.now),
            kind: line.kind,
            grant: line.grant,
            wallet: line.wallet,
            debt: line.debt,
            hold: line.hold,
            feature: line.feature,
            amount: line.amount,
            command: *self.first.get_or_insert(seq),
            used_feature,
            quantity,
            shortfall: shortfall.filter(|short| !short.is_zero()),
            source: self.source,
        };
        self.state.apply(&entry)?;
        if let Some(grant) = entry.grant {
            self.changes.touched_grants.insert(grant);
        }
        if let Some(debt) = entry.debt {
            self.changes.touched_debts.insert(debt);
        }
        let head = self.state.head.after(self.state.id, &entry);
        self.state.seq = seq;
        self.state.head = head;
        self.state.last_entry_at = entry.at;
        self.changes.entries.push((entry, head));
        Ok(seq)
    }

    fn note(&mut self, seq: i64, note: Note) {
        if note.reason.is_some() || note.actor.is_some() || !note.metadata.is_empty() {
            self.changes.notes.push(Note { seq, ..note });
        }
    }

    /// A wallet by its new id, made if the account does not have it.
    fn add_wallet(&mut self, wallet: Wallet) -> WalletId {
        let id = wallet.id;
        self.changes.wallets.push(wallet.clone());
        self.state.wallets.push(wallet);
        id
    }
}
