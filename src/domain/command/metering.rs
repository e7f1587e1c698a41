//! Usage, holds and spend limits, as they are asked for and answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::catalog::FeatureId;
use super::super::credits::{Credits, Quantity};
use super::super::hold::{HoldState, WhenMore};
use super::super::ids::{GrantId, HoldId};
use super::super::limit::Window;
use super::super::usage::{Property, Usage};

/// What happens when the balance is short (rule 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenShort {
    /// Draw what is there, record the shortfall.
    #[default]
    Cap,
    /// Refuse, write nothing.
    Reject,
    /// Owe the rest, where wallet or item allow.
    Debt,
}

/// Usage that happened, or is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Track {
    /// The metered feature.
    pub feature: FeatureId,
    /// Seat or workspace; empty: none.
    pub entity: String,
    /// Units used; below zero: units of earlier tracks that are taken back, the newest first.
    pub quantity: Quantity,
    /// What is known about it: what a rate card looks at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Property>,
    /// What is in use from now on, of a feature that is set and freed; then `quantity` says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Quantity>,
    /// What happens when the balance is short.
    pub when_short: WhenShort,
    /// When it happened, if not now.
    pub at: Option<Timestamp>,
    /// The hold that pays first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldId>,
    /// Is it the last of its hold? Then what is left of that comes free.
    #[serde(skip_serializing_if = "is_not")]
    pub is_final: bool,
    /// Free keys, kept beside the entry.
    pub metadata: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

impl Track {
    /// So many units of a feature, now, and nothing more to say.
    pub const fn of(feature: FeatureId, quantity: Quantity) -> Self {
        Self {
            feature,
            entity: String::new(),
            quantity,
            properties: BTreeMap::new(),
            set: None,
            when_short: WhenShort::Cap,
            at: None,
            hold: None,
            is_final: false,
            metadata: BTreeMap::new(),
        }
    }

    /// The usage it tells of.
    pub fn usage(&self) -> Usage {
        Usage { quantity: self.quantity, properties: self.properties.clone() }
    }
}

/// Credits to be set aside for usage that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceHold {
    /// The feature to be used.
    pub feature: FeatureId,
    /// Seat or workspace; empty: none.
    pub entity: String,
    /// Units to be used, or an estimate of them.
    pub quantity: Quantity,
    /// What is known about the usage: what a rate card looks at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Property>,
    /// How long it lives unless it is extended, in seconds.
    pub ttl_seconds: u32,
    /// What happens when the usage costs more.
    pub when_more: WhenMore,
}

/// A hold that is to live longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtendHold {
    /// Which.
    pub hold: HoldId,
    /// How long it lives from now on, in seconds; never less than it did.
    pub ttl_seconds: u32,
}

/// Longest life of a hold without an extension: 31 days.
pub const HOLD_SECONDS_MAX: u32 = 31 * 86_400;

/// A spend limit to be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetLimit {
    /// Its name: unique for the customer.
    pub name: String,
    /// A metered feature, counted in its units, or a credit system, counted in credits.
    pub feature: FeatureId,
    /// The seat or workspace whose usage counts; empty: all usage of the customer.
    pub entity: String,
    /// Over which time.
    pub window: Window,
    /// Most that may be used in it.
    pub most: Credits,
}

/// What a draw took, as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrawOutcome {
    /// The grant.
    pub grant: GrantId,
    /// Its pool.
    pub pool: FeatureId,
    /// Credits taken.
    pub amount: Credits,
}

/// A hold as it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOutcome {
    /// The hold.
    pub hold: HoldId,
    /// Its life.
    pub state: HoldState,
    /// Credits still set aside.
    pub held: Credits,
    /// The pool of which most of them are.
    pub pool: FeatureId,
    /// Over then, unless it is extended.
    pub expires_at: Timestamp,
}
