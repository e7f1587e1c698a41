//! What usage costs in a credit system: one rate for each unit, or a card of rules that look at the usage's properties.
//!
//! The flow: [`Catalog::priced`] finds the pools of a feature; without a card they are what [`Catalog::pools`] says; with
//! one, the first rule that fits the usage says what all of it costs in that pool, exactly, rounded half to even once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Catalog, Feature, FeatureId, NAME_MAX, Pool};
use crate::domain::credits::{AmountError, Credits, Quantity, Rate};
use crate::domain::usage::{Property, Usage};

/// Words of a cost's table that no property can be named by.
pub const RESERVED_WORDS: [&str; 2] = ["when", "each"];

/// What usage of one feature costs in a credit system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cost {
    /// The same for each unit.
    Each(Rate),
    /// The first rule that fits the usage.
    Card(Vec<CostRule>),
}

/// One rule of a card: when it fits, and what usage costs then. The parts add up.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CostRule {
    /// Texts that the usage's properties have to have, all of them; none: it always fits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Pattern>,
    /// Credits for each unit of the usage's quantity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Rate>,
    /// Credits for each unit of a property, by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Rate>,
}

/// A text to be matched whole, or by how it begins: `gpt-4`, `/v1/premium/*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// Takes 1 to [`NAME_MAX`] bytes on one line, with `*` at the end only.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control);
        let inside = text.strip_suffix('*').unwrap_or(text);
        (fits && !inside.contains('*')).then(|| Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does it match this text?
    pub fn matches(&self, text: &str) -> bool {
        self.0.strip_suffix('*').map_or(self.0 == text, |beginning| text.starts_with(beginning))
    }

    /// Does it match whatever the other matches?
    fn covers(&self, other: &Self) -> bool {
        match (self.0.strip_suffix('*'), other.0.strip_suffix('*')) {
            (Some(mine), Some(theirs)) => theirs.starts_with(mine),
            (_, None) => self.matches(&other.0),
            (None, Some(_)) => false,
        }
    }
}

/// Why usage has no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// A property that is counted did not come.
    #[error("property `{property}` is missing; what `{feature}` costs is counted by it")]
    Missing {
        /// The feature used.
        feature: FeatureId,
        /// The property.
        property: String,
    },
    /// A property that is counted is text or a flag.
    #[error("property `{property}` has to be a number; what `{feature}` costs is counted by it")]
    NotNumber {
        /// The feature used.
        feature: FeatureId,
        /// The property.
        property: String,
    },
    /// A property that is counted is below zero.
    #[error("property `{property}` has to be zero or more; what `{feature}` costs is counted by it")]
    Negative {
        /// The feature used.
        feature: FeatureId,
        /// The property.
        property: String,
    },
    /// A card says what usage costs, not what its return does.
    #[error("quantity has to be zero or more; what `{feature}` costs hangs on properties")]
    NegativeQuantity {
        /// The feature used.
        feature: FeatureId,
    },
    /// No rule of a card fits.
    #[error(
        "no cost of `{feature}` in `{system}` fits this usage; which one does hangs on `{}`", properties.join("`, `")
    )]
    NoRule {
        /// The feature used.
        feature: FeatureId,
        /// The credit system.
        system: FeatureId,
        /// The properties that its rules look at.
        properties: Vec<String>,
    },
    /// The cost left the range that is kept.
    #[error("what `{feature}` costs {error}")]
    Amount {
        /// The feature used.
        feature: FeatureId,
        /// How it left it.
        error: AmountError,
    },
}

impl CostError {
    /// The property to mend, where it is one.
    pub fn property(&self) -> Option<&str> {
        match self {
            Self::Missing { property, .. } | Self::NotNumber { property, .. } | Self::Negative { property, .. } => {
                Some(property)
            }
            Self::NoRule { properties, .. } => properties.first().map(String::as_str),
            Self::NegativeQuantity { .. } | Self::Amount { .. } => None,
        }
    }
}

/// Usage of a feature with its price in each pool: `pools` in burn order, each with its rate for one of `quantity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The pools.
    pub pools: Vec<Pool>,
    /// What is multiplied by their rates.
    pub quantity: Quantity,
}

impl CostRule {
    /// Does it say what this usage costs?
    pub fn fits(&self, properties: &BTreeMap<String, Property>) -> bool {
        self.when.iter().all(|(name, pattern)| match properties.get(name) {
            Some(Property::Text(text)) => pattern.matches(text),
            Some(Property::Number(_) | Property::Flag(_)) | None => false,
        })
    }

    /// Does it fit whatever the other fits, so that the other has no use after it?
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.when.iter().all(|(name, mine)| other.when.get(name).is_some_and(|theirs| mine.covers(theirs)))
    }

    /// What the usage costs: the sum of all parts, rounded half to even once, at the ninth place.
    pub fn cost(&self, feature: &FeatureId, usage: &Usage) -> Result<Credits, CostError> {
        if usage.quantity.is_negative() {
            return Err(CostError::NegativeQuantity { feature: feature.clone() });
        }
        let mut parts: Vec<(Rate, Quantity)> = self.each.iter().map(|each| (*each, usage.quantity)).collect();
        for (name, rate) in &self.properties {
            let counted = number(feature, name, &usage.properties)?;
            if counted.is_negative() {
                return Err(CostError::Negative { feature: feature.clone(), property: name.clone() });
            }
            parts.push((*rate, counted));
        }
        Rate::cost_of_all(&parts).map_err(|error| CostError::Amount { feature: feature.clone(), error })
    }
}

/// The number that a property has to be.
pub(super) fn number(
    feature: &FeatureId,
    name: &str,
    properties: &BTreeMap<String, Property>,
) -> Result<Quantity, CostError> {
    match properties.get(name) {
        Some(Property::Number(number)) => Ok(*number),
        Some(Property::Text(_) | Property::Flag(_)) => {
            Err(CostError::NotNumber { feature: feature.clone(), property: name.to_owned() })
        }
        None => Err(CostError::Missing { feature: feature.clone(), property: name.to_owned() }),
    }
}

impl Catalog {
    /// The credit systems that usage of `feature` may draw from, by name, with what it costs there.
    pub(super) fn costs_of(&self, feature: &FeatureId) -> impl Iterator<Item = (&FeatureId, &Cost)> {
        self.features.iter().filter_map(move |(system, kind)| match kind {
            Feature::Boolean | Feature::Metered { .. } => None,
            Feature::CreditSystem { costs, .. } => Some((system, costs.get(feature)?)),
        })
    }

    /// What usage of `feature` costs in each of its pools. Where no card has a say, that is each pool's rate for the
    /// usage's quantity; else all of the usage is one unit, and each pool's rate is what it costs there in total.
    pub fn priced(&self, feature: &FeatureId, usage: &Usage) -> Result<Priced, CostError> {
        if !self.costs_of(feature).any(|(_, cost)| matches!(cost, Cost::Card(_))) {
            return Ok(Priced { pools: self.pools(feature), quantity: usage.quantity });
        }
        if usage.quantity.is_negative() {
            return Err(CostError::NegativeQuantity { feature: feature.clone() });
        }
        let amount = |error| CostError::Amount { feature: feature.clone(), error };
        let mut pools = Vec::new();
        // Of no unit the feature's own grants have nothing to pay; as a pool of rate zero they would pay all of it.
        if usage.quantity.is_positive() {
            let own = Credits::from_nanos(usage.quantity.nanos()).map_err(amount)?;
            pools.push(Pool { feature: feature.clone(), rate: Rate::of_total(own), own: true });
        }
        for (system, cost) in self.costs_of(feature) {
            let total = match cost {
                Cost::Each(rate) => rate.cost(usage.quantity).map_err(amount)?,
                Cost::Card(rules) => match rules.iter().find(|rule| rule.fits(&usage.properties)) {
                    Some(rule) => rule.cost(feature, usage)?,
                    None => return Err(no_rule(feature, system, rules)),
                },
            };
            pools.push(Pool { feature: system.clone(), rate: Rate::of_total(total), own: false });
        }
        Ok(Priced { pools, quantity: Quantity::whole(1) })
    }
}

fn no_rule(feature: &FeatureId, system: &FeatureId, rules: &[CostRule]) -> CostError {
    let mut properties: Vec<String> = rules.iter().flat_map(|rule| rule.when.keys().cloned()).collect();
    properties.sort();
    properties.dedup();
    CostError::NoRule { feature: feature.clone(), system: system.clone(), properties }
}
