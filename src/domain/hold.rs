//! Credits set aside from named grants until they are settled, released, or their time is over.
//!
//! # States
//! open -> settled (a track took its last), released (the caller let go), expired (its time was over). Only an open hold
//! has slices, and the sum of all open slices of a grant is what the grant says is held.
//!
//! # Always true
//! A slice stays spendable for its hold whatever becomes of its grant meanwhile: expiry of what is pinned waits for the
//! outcome. A hold takes nothing that somebody else could still draw, and nobody draws what it took.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalog::FeatureId;
use super::credits::{AmountError, Credits, Quantity};
use super::ids::{GrantId, HoldId};

/// What happens when the usage costs more than is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenMore {
    /// The track is refused and writes nothing.
    #[default]
    Reject,
    /// What else can be spent is drawn, the rest is a shortfall.
    TakeAvailable,
    /// What else can be spent is drawn, the rest is owed where that is allowed.
    Debt,
}

impl WhenMore {
    /// Every way there is.
    pub const ALL: [Self; 3] = [Self::Reject, Self::TakeAvailable, Self::Debt];

    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::TakeAvailable => "take_available",
            Self::Debt => "debt",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}

/// Life of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// Its slices are set aside.
    Open,
    /// A track took its last.
    Settled,
    /// The caller let go.
    Released,
    /// Its time was over.
    Expired,
}

impl HoldState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Open, Self::Settled, Self::Released, Self::Expired];

    /// The word used in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}

/// What a hold pins of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The grant.
    pub grant: GrantId,
    /// Its pool.
    pub pool: FeatureId,
    /// Credits still pinned.
    pub amount: Credits,
}

/// Credits set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Our id.
    pub id: HoldId,
    /// The feature to be used.
    pub feature: FeatureId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// Its life.
    pub state: HoldState,
    /// Units of the feature it was placed for that no track has settled yet: what spend limits count.
    pub quantity: Quantity,
    /// Credits set aside at first.
    pub amount: Credits,
    /// What happens when the usage costs more.
    pub when_more: WhenMore,
    /// Placed at.
    pub created_at: Timestamp,
    /// Over then, unless it is extended.
    pub expires_at: Timestamp,
    /// When it was settled, released or over.
    pub ended_at: Option<Timestamp>,
    /// What is still pinned, in burn order.
    pub slices: Vec<Slice>,
}

impl Hold {
    /// Is it over by then?
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// Credits still pinned.
    pub fn held(&self) -> Result<Credits, AmountError> {
        self.slices.iter().try_fold(Credits::ZERO, |sum, slice| sum.checked_add(slice.amount))
    }
}
