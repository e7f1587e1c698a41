//! How commands and reads ended, as metrics.

use super::batch::Answer;
use super::{PostError, Reading};
use crate::domain::command::{Command, Decision, Rejection};
use crate::meters::cells::Present;
use crate::meters::{COMMANDS, COMMANDS_WAITING, READS, READS_WAITING};
use crate::store::StoreError;

/// A command whose caller waits.
pub(super) struct Posted {
    command: &'static str,
    _waiting: Present,
}

impl Posted {
    pub(super) fn begin(command: &Command) -> Self {
        let command = match command {
            Command::Open => "open",
            Command::Track(_) => "track",
            Command::Hold(_) => "hold",
            Command::ExtendHold(_) => "extend_hold",
            Command::ReleaseHold(_) => "release_hold",
            Command::SetLimit(_) => "set_limit",
            Command::DropLimit(_) => "drop_limit",
            Command::Grant(_) => "grant",
            Command::Purchase(_) => "purchase",
            Command::PlanPaid(_) => "plan_paid",
            Command::PlanChanged(_) => "plan_changed",
            Command::SubscriptionSeen(_) => "subscription_seen",
            Command::RenewalLost(_) => "renewal_lost",
            Command::MoneyBack(_) => "money_back",
            Command::Settle => "settle",
            Command::Wallet(_) => "wallet",
            Command::Terminate(_) => "terminate",
            Command::Void(_) => "void",
            Command::Adjust(_) => "adjust",
            Command::Attach(_) => "attach",
            Command::Cancel(_) => "cancel",
            Command::Uncancel(_) => "uncancel",
            Command::Bill(order) => order.word(),
            Command::Charging(_) => "charging",
        };
        Self { command, _waiting: COMMANDS_WAITING.enter() }
    }

    /// Counts the answer and hands it on.
    pub(super) fn end(self, answer: Answer) -> Answer {
        let (outcome, code) = match &answer {
            Ok(Decision::Applied(_)) => ("applied", "none"),
            Ok(Decision::AlreadyApplied(_)) => ("already_applied", "none"),
            Err(PostError::Rejected(rejection)) => ("rejected", code_of(rejection)),
            Err(PostError::UnknownAccount(_)) => ("rejected", "unknown_account"),
            Err(PostError::Busy(_)) => ("failed", "busy"),
            Err(PostError::Store(error)) => ("failed", fault_of(error)),
        };
        COMMANDS.add(&[self.command, outcome, code]);
        answer
    }
}

/// Waits for a reading and counts how it ended.
pub(super) async fn read(reading: impl Future<Output = Result<Reading, PostError>>) -> Result<Reading, PostError> {
    let waiting = READS_WAITING.enter();
    let read = reading.await;
    drop(waiting);
    READS.add(&[match &read {
        Ok(_) => "answered",
        Err(PostError::UnknownAccount(_)) => "unknown_account",
        Err(PostError::Busy(_)) => "busy",
        Err(PostError::Rejected(_) | PostError::Store(_)) => "failed",
    }]);
    read
}

const fn code_of(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::UnknownFeature(_) => "unknown_feature",
        Rejection::NotMetered(_) => "not_metered",
        Rejection::UnknownPlan(_) => "unknown_plan",
        Rejection::Insufficient { .. } => "insufficient_credits",
        Rejection::DebtNotAllowed(_) => "debt_not_allowed",
        Rejection::KeyConflict => "key_conflict",
        Rejection::WalletFeature { .. } => "wallet_feature",
        Rejection::WalletClosed(_) => "wallet_closed",
        Rejection::EndsBeforeStart => "ends_before_start",
        Rejection::Amount(_) => "amount",
        Rejection::Cost(_) => "cost",
        Rejection::SpendLimit { .. } => "spend_limit",
        Rejection::NothingToReturn { .. } | Rejection::TooManyToReturn => "nothing_to_return",
        Rejection::NotSettable(_) | Rejection::NotHoldable(_) | Rejection::NotLimitable(_) => "wrong_kind",
        Rejection::UnknownHold(_) => "unknown_hold",
        Rejection::HoldOfOther { .. } | Rejection::HoldOfReturn => "hold_of_other",
        Rejection::TooManyLimits | Rejection::UnknownLimit(_) | Rejection::Limit(_) => "limit",
        Rejection::Calendar(_) => "calendar",
        Rejection::Erased => "erased",
        Rejection::TooManyItems(_) => "too_many_items",
        Rejection::NoTotal(_) => "no_total",
        Rejection::TooManyViews => "too_many_views",
        Rejection::Constraint(_) => "constraint",
        Rejection::UnknownWallet(_) => "unknown_wallet",
        Rejection::UnknownGrant(_) => "unknown_grant",
        Rejection::WalletExists(_) => "wallet_exists",
        Rejection::TooManyWallets => "too_many_wallets",
        Rejection::WalletHeld { .. } => "wallet_held",
        Rejection::MoreThanFree { .. } => "more_than_free",
        Rejection::NothingToVoid { .. } => "nothing_to_void",
        Rejection::GrantUnlimited(_) => "grant_unlimited",
        Rejection::GrantEnded { .. } => "grant_ended",
        Rejection::AlreadyAttached(_) => "already_attached",
        Rejection::NotAttached(_) => "not_attached",
        Rejection::PlanHasPrice(_) => "plan_has_price",
        Rejection::NotCarriedOver(_) => "not_carried_over",
        Rejection::UnknownBill(_) | Rejection::BillIsOver { .. } | Rejection::BillCurrency { .. } => "bill",
        Rejection::Charging(_) => "charging",
    }
}

const fn fault_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::Transient(_) | StoreError::Unavailable(_) => "unavailable",
        StoreError::CommitUnknown(_) => "commit_unknown",
        StoreError::Constraint(_)
        | StoreError::Inconsistent { .. }
        | StoreError::LostLease(_)
        | StoreError::Migration(_)
        | StoreError::Database(_) => "internal",
    }
}
