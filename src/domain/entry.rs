//! Ledger entries, and the hash chain of each account (rules 21 and 37).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::catalog::FeatureId;
use super::credits::{Credits, Quantity};
use super::ids::{AccountId, DebtId, GrantId, HoldId, WalletId};

/// What an entry says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Credits were given.
    Grant,
    /// Usage took credits, or found too few.
    Draw,
    /// Usage was taken back.
    Return,
    /// The grant's time was over.
    Expire,
    /// The grant ended before its time: a plan was replaced or cancelled.
    End,
    /// The grant was taken back by hand.
    Void,
    /// The amount was corrected by hand.
    Adjust,
    /// A refund or a lost dispute took credits.
    ClawBack,
    /// A claw-back was undone.
    Reinstate,
    /// The rest went into the next period.
    RolloverOut,
    /// The rest of the last period came in.
    RolloverIn,
    /// A debt arose or was written off.
    Debt,
    /// The grant paid a debt.
    Repay,
    /// Credits were set aside.
    Hold,
    /// Credits set aside came free.
    Release,
}

/// Every kind, with its word and its number in the chained bytes. Numbers are never reused.
const KINDS: [(EntryKind, &str, u8); 15] = [
    (EntryKind::Grant, "grant", 1),
    (EntryKind::Draw, "draw", 2),
    (EntryKind::Return, "return", 3),
    (EntryKind::Expire, "expire", 4),
    (EntryKind::End, "end", 5),
    (EntryKind::Void, "void", 6),
    (EntryKind::Adjust, "adjust", 7),
    (EntryKind::ClawBack, "claw_back", 8),
    (EntryKind::Reinstate, "reinstate", 9),
    (EntryKind::RolloverOut, "rollover_out", 10),
    (EntryKind::RolloverIn, "rollover_in", 11),
    (EntryKind::Debt, "debt", 12),
    (EntryKind::Repay, "repay", 13),
    (EntryKind::Hold, "hold", 14),
    (EntryKind::Release, "release", 15),
];

impl EntryKind {
    /// Every kind there is.
    pub fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(kind, _, _)| *kind)
    }

    /// The word used in rows, answers and exports.
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, _, _)| *kind == self).map_or("", |(_, word, _)| word)
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known, _)| *known == word).map(|(kind, _, _)| *kind)
    }

    fn number(self) -> u8 {
        KINDS.iter().find(|(kind, _, _)| *kind == self).map_or(0, |(_, _, number)| *number)
    }

    /// Are credits gone by it that nobody used, or corrected?
    pub const fn is_loss(self) -> bool {
        match self {
            Self::Expire | Self::End | Self::Void | Self::Adjust | Self::RolloverOut => true,
            Self::Grant
            | Self::Draw
            | Self::Return
            | Self::ClawBack
            | Self::Reinstate
            | Self::RolloverIn
            | Self::Debt
            | Self::Repay
            | Self::Hold
            | Self::Release => false,
        }
    }

    /// Does its amount change what remains of its grant?
    pub const fn changes_remaining(self) -> bool {
        match self {
            Self::Grant
            | Self::Draw
            | Self::Return
            | Self::Expire
            | Self::End
            | Self::Void
            | Self::Adjust
            | Self::ClawBack
            | Self::Reinstate
            | Self::RolloverOut
            | Self::RolloverIn
            | Self::Repay => true,
            Self::Debt | Self::Hold | Self::Release => false,
        }
    }
}

/// What kind of input caused an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Usage.
    Track,
    /// A payment.
    Payment,
    /// A plan's period.
    Plan,
    /// The API.
    Api,
    /// The command line.
    Cli,
    /// An import.
    Import,
    /// The passing of time.
    Time,
    /// Money going back.
    Reversal,
    /// The charger.
    Charger,
}

const SOURCES: [(Source, &str, u8); 9] = [
    (Source::Track, "track", 1),
    (Source::Payment, "payment", 2),
    (Source::Plan, "plan", 3),
    (Source::Api, "api", 4),
    (Source::Cli, "cli", 5),
    (Source::Import, "import", 6),
    (Source::Time, "time", 7),
    (Source::Reversal, "reversal", 8),
    (Source::Charger, "charger", 9),
];

impl Source {
    /// The word used in rows, answers and exports.
    pub fn word(self) -> &'static str {
        SOURCES.iter().find(|(source, _, _)| *source == self).map_or("", |(_, word, _)| word)
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        SOURCES.iter().find(|(_, known, _)| *known == word).map(|(source, _, _)| *source)
    }

    fn number(self) -> u8 {
        SOURCES.iter().find(|(source, _, _)| *source == self).map_or(0, |(_, _, number)| *number)
    }
}

/// One immutable ledger line, before it is chained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the line in the account.
    pub seq: i64,
    /// Ledger time.
    pub at: Timestamp,
    /// When it happened in the world, if that differs.
    pub event_at: Option<Timestamp>,
    /// What happened.
    pub kind: EntryKind,
    /// The grant it changes.
    pub grant: Option<GrantId>,
    /// The wallet of that grant or debt.
    pub wallet: Option<WalletId>,
    /// The debt it raises or lowers.
    pub debt: Option<DebtId>,
    /// The hold it belongs to.
    pub hold: Option<HoldId>,
    /// Which feature's credits.
    pub feature: FeatureId,
    /// Signed credits.
    pub amount: Credits,
    /// First line of the command it belongs to.
    pub command: i64,
    /// The metered feature whose usage it paid.
    pub used_feature: Option<FeatureId>,
    /// Units of that feature.
    pub quantity: Option<Quantity>,
    /// Credits that no grant could pay.
    pub shortfall: Option<Credits>,
    /// What kind of input caused it.
    pub source: Source,
}

/// Head of an account's chain: the SHA-256 of its newest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead(pub [u8; 32]);

impl ChainHead {
    /// The head of an account without entries.
    pub const EMPTY: Self = Self([0; 32]);

    /// The head after one more entry. The bytes are fixed for ever (version 1): fixed-width big-endian numbers, absent
    /// ids as zeros, texts with their length before them.
    #[must_use]
    pub fn after(self, account: AccountId, entry: &Entry) -> Self {
        let mut hash = Sha256::new();
        hash.update([1_u8]);
        hash.update(self.0);
        hash.update(account.as_uuid().as_bytes());
        hash.update(entry.seq.to_be_bytes());
        hash.update(entry.at.as_microsecond().to_be_bytes());
        hash.update(entry.event_at.map_or(i64::MIN, Timestamp::as_microsecond).to_be_bytes());
        hash.update([entry.kind.number(), entry.source.number()]);
        for id in [
            entry.grant.map(GrantId::as_uuid),
            entry.wallet.map(WalletId::as_uuid),
            entry.debt.map(DebtId::as_uuid),
            entry.hold.map(HoldId::as_uuid),
        ] {
            hash.update(id.unwrap_or_default().as_bytes());
        }
        hash.update(entry.amount.nanos().to_be_bytes());
        hash.update(entry.command.to_be_bytes());
        hash.update(entry.quantity.map_or(i128::MIN, Quantity::nanos).to_be_bytes());
        hash.update(entry.shortfall.map_or(i128::MIN, Credits::nanos).to_be_bytes());
        for text in [Some(&entry.feature), entry.used_feature.as_ref()] {
            let bytes = text.map_or("", FeatureId::as_str).as_bytes();
            hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(bytes);
        }
        Self(hash.finalize().into())
    }
}
