//! Features that are set and freed, such as seats: what is granted, what is in use, what is left.
//!
//! Nothing is drawn from their grants: a level stands beside them, so that a change of plan changes what is left and not
//! what is in use. A seat's own grants carry its own usage first; what goes beyond shares the customer's grants.

use std::collections::BTreeMap;

use super::burn::{Holdings, in_order};
use super::catalog::FeatureId;
use super::credits::{AmountError, Credits, Quantity};

/// What is in use, by feature and entity.
pub type Levels = BTreeMap<(FeatureId, String), Quantity>;

/// How a feature that is set and freed stands, for one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LevelBalance {
    /// In use by the entity.
    pub used: Credits,
    /// Can be taken into use besides.
    pub available: Credits,
    /// No limit?
    pub unlimited: bool,
    /// Any grant there at all, active now?
    pub granted: bool,
}

/// How it stands for the entity of the holdings.
pub fn level(holdings: Holdings<'_>, levels: &Levels, feature: &FeatureId) -> Result<LevelBalance, AmountError> {
    // Every entity's grants: what others use beyond their own is missing in what is shared.
    let everyone = Holdings { entity: "", ..holdings };
    let mut own: BTreeMap<&str, Credits> = BTreeMap::new();
    let mut balance = LevelBalance::default();
    for grant in in_order(everyone, feature) {
        let mine = grant.entity.is_empty() || grant.entity == holdings.entity;
        balance.granted |= mine;
        balance.unlimited |= mine && grant.unlimited;
        let sum = own.entry(grant.entity.as_str()).or_default();
        *sum = sum.checked_add(grant.free()).unwrap_or(Credits::MAX);
    }
    let mut shared = own.remove("").unwrap_or_default();
    for ((of, entity), used) in levels {
        if of == feature {
            let granted = own.get(entity.as_str()).copied().unwrap_or_default();
            let beyond = units(*used)?.checked_sub(granted)?.max(Credits::ZERO);
            shared = shared.checked_sub(beyond)?;
        }
    }
    let used = levels.get(&(feature.clone(), holdings.entity.to_owned())).copied().unwrap_or_default();
    balance.used = units(used)?;
    let granted = own.get(holdings.entity).copied().unwrap_or_default();
    let left = granted.checked_sub(balance.used)?.max(Credits::ZERO);
    balance.available = left.checked_add(shared.max(Credits::ZERO))?;
    Ok(balance)
}

/// One unit of such a feature is one of its credits.
pub const fn units(quantity: Quantity) -> Result<Credits, AmountError> {
    Credits::from_nanos(quantity.nanos())
}
