//! What is asked of wallets, and of grants by hand: make and change a wallet, end one, void and correct a grant.

use std::collections::BTreeMap;

use serde::Serialize;

use super::catalog::FeatureId;
use super::credits::Credits;
use super::entry::Source;
use super::ids::{GrantId, WalletId};

/// Most wallets of one account that are made by hand: every decision that looks at all of an account reads them all.
pub const WALLETS_MAX: usize = 1_000;

/// Something about a wallet that moves no credits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalletOrder {
    /// Make one.
    Make(NewWallet),
    /// Change one.
    Change(WalletChange),
}

/// A wallet to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewWallet {
    /// Our id and the one the app gave it, claimed already; `None`: it gets ours alone.
    pub named: Option<(WalletId, String)>,
    /// The feature its credits are of.
    pub feature: FeatureId,
    /// Name for people.
    pub name: Option<String>,
    /// Burn priority, lower first.
    pub priority: i32,
    /// Days that grants without an expiry of their own live; absent: for ever.
    pub default_expiry_days: Option<u32>,
    /// Most credits it may owe by usage; absent: none.
    pub debt_limit: Option<Credits>,
    /// Free keys.
    pub metadata: BTreeMap<String, String>,
}

/// What becomes different in a wallet; what is absent stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletChange {
    /// The wallet.
    pub wallet: WalletId,
    /// Name for people, or none.
    pub name: Option<Option<String>>,
    /// Burn priority, lower first.
    pub priority: Option<i32>,
    /// Days that later grants without an expiry of their own live, or for ever.
    pub default_expiry_days: Option<Option<u32>>,
    /// Most credits it may owe by usage, or none.
    pub debt_limit: Option<Option<Credits>>,
    /// Frozen, or open again.
    pub frozen: Option<bool>,
    /// Free keys, all of them.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A wallet to be ended: the free rest of its grants is void, and nothing goes in or out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Terminate {
    /// The wallet.
    pub wallet: WalletId,
    /// Why, in words.
    pub reason: String,
    /// API or command line.
    pub source: Source,
    /// The key or person that asked; no part of the request's hash.
    #[serde(skip)]
    pub actor: Option<String>,
}

/// Credits to be taken back from a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Void {
    /// The grant.
    pub grant: GrantId,
    /// How many; absent: all that is free.
    pub quantity: Option<Credits>,
    /// Why, in words.
    pub reason: String,
    /// API or command line.
    pub source: Source,
    /// The key or person that asked; no part of the request's hash.
    #[serde(skip)]
    pub actor: Option<String>,
}

/// A grant's amount to be corrected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adjustment {
    /// The grant.
    pub grant: GrantId,
    /// How many more, or fewer.
    pub quantity: Credits,
    /// Why, in words.
    pub reason: String,
    /// API or command line.
    pub source: Source,
    /// The key or person that asked; no part of the request's hash.
    #[serde(skip)]
    pub actor: Option<String>,
}
