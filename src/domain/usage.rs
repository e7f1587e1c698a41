//! What was used: a quantity, and the properties that say more about it (model, tokens, endpoint).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::credits::Quantity;

/// Most properties of one usage: a rate card looks at a handful, and all of them are stored with the usage.
pub const PROPERTIES_MAX: usize = 50;
/// Longest name of a property, in bytes.
pub const PROPERTY_NAME_BYTES_MAX: usize = 128;
/// Longest text of a property, in bytes: what Stripe allows a value of metadata.
pub const PROPERTY_TEXT_BYTES_MAX: usize = 500;

/// One fact about a usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// Something counted, such as tokens.
    Number(Quantity),
    /// Something named, such as a model.
    Text(String),
    /// Something that holds or not.
    Flag(bool),
}

/// Why properties are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// More than are kept.
    #[error("{0} properties are more than the {PROPERTIES_MAX} that one usage can have")]
    TooMany(usize),
    /// No name, too long a one, or one with control characters.
    #[error("the name of property {0:?} has to be 1 to {PROPERTY_NAME_BYTES_MAX} bytes without control characters")]
    Name(String),
    /// Too long a text, or one with control characters.
    #[error("property `{0}` has to be at most {PROPERTY_TEXT_BYTES_MAX} bytes without control characters")]
    Text(String),
}

/// How much of a feature was used, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Units of the feature.
    pub quantity: Quantity,
    /// What a rate card may look at, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Property>,
}

impl Usage {
    /// A quantity of which nothing more is known.
    pub const fn of(quantity: Quantity) -> Self {
        Self { quantity, properties: BTreeMap::new() }
    }

    /// A quantity with properties from outside, held against what is kept.
    pub fn new(quantity: Quantity, properties: BTreeMap<String, Property>) -> Result<Self, UsageError> {
        check_properties(&properties)?;
        Ok(Self { quantity, properties })
    }
}

/// Holds properties from outside against what is kept: their number, names and texts.
pub fn check_properties(properties: &BTreeMap<String, Property>) -> Result<(), UsageError> {
    if properties.len() > PROPERTIES_MAX {
        return Err(UsageError::TooMany(properties.len()));
    }
    for (name, property) in properties {
        if name.is_empty() || name.len() > PROPERTY_NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(UsageError::Name(name.chars().take(PROPERTY_NAME_BYTES_MAX).collect()));
        }
        match property {
            Property::Text(text) if text.len() > PROPERTY_TEXT_BYTES_MAX || text.chars().any(char::is_control) => {
                return Err(UsageError::Text(name.clone()));
            }
            Property::Number(_) | Property::Text(_) | Property::Flag(_) => {}
        }
    }
    Ok(())
}
