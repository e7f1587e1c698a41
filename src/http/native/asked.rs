//! Usage as a request names it: by a feature or by an event, in units or by what is known about it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::fields::{Fields, Reading};
use super::super::json::Json;
use super::super::problem::Problem;
use super::super::read;
use crate::domain::catalog::{Catalog, FeatureId, NAME_MAX};
use crate::domain::credits::Quantity;
use crate::domain::usage::{Property, Usage};

/// By which name it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    /// The feature itself.
    Feature(FeatureId),
    /// An event that a feature of the catalogue lists.
    Event(String),
}

/// Usage before the catalogue was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// By which name.
    pub named: Named,
    /// Seat or workspace; empty: none.
    pub entity: String,
    /// Units, where they are said.
    pub quantity: Option<Quantity>,
    /// What is known about it.
    pub properties: BTreeMap<String, Property>,
}

impl Asked {
    /// Takes `feature` or `event`, `entity`, `quantity` and `properties`.
    pub fn take(body: &mut Fields, quantity: impl FnOnce(Json) -> Reading<Quantity>) -> Result<Self, Problem> {
        let feature = body.optional("feature", read::feature)?;
        let named = match (feature, body.optional("event", read::plain(NAME_MAX))?) {
            (Some(feature), None) => Named::Feature(feature),
            (None, Some(event)) => Named::Event(event),
            (None, None) => return Err(body.refuse("feature", "is missing; `event` may be there in its place")),
            (Some(_), Some(_)) => return Err(body.refuse("event", "goes in place of `feature`, not beside it")),
        };
        Ok(Self {
            named,
            entity: body.optional("entity", read::external_id)?.unwrap_or_default(),
            quantity: body.optional("quantity", quantity)?,
            properties: body.optional("properties", read::properties)?.unwrap_or_default(),
        })
    }

    /// Its feature and quantity, where neither hangs on the catalogue.
    pub fn plain(&self) -> Option<(FeatureId, Usage)> {
        match &self.named {
            Named::Feature(feature) if self.quantity.is_some() || self.properties.is_empty() => {
                let quantity = self.quantity.unwrap_or_else(|| Quantity::whole(1));
                Some((feature.clone(), Usage { quantity, properties: self.properties.clone() }))
            }
            Named::Feature(_) | Named::Event(_) => None,
        }
    }

    /// What it is by a catalogue; `None`: no feature lists its event.
    pub fn by(&self, catalog: &Catalog) -> Result<Option<(FeatureId, Usage)>, Problem> {
        let feature = match &self.named {
            Named::Feature(feature) => feature,
            Named::Event(event) => match catalog.feature_of_event(event) {
                Some(feature) => feature,
                None => return Ok(None),
            },
        };
        let usage = catalog.usage_of_event(feature, self.quantity, self.properties.clone());
        let usage = usage.map_err(|error| Problem::from(crate::domain::command::Rejection::from(error)))?;
        Ok(Some((feature.clone(), usage)))
    }
}
