//! Usage that is told by the name of an event: which feature it counts for, and how much.

use std::collections::BTreeMap;

use super::cost::number;
use super::{Catalog, CostError, Feature, FeatureId};
use crate::domain::credits::Quantity;
use crate::domain::usage::{Property, Usage};

impl Catalog {
    /// The metered feature that lists this event; one at most.
    pub fn feature_of_event(&self, name: &str) -> Option<&FeatureId> {
        let mut features = self.features.iter();
        let found = features.find(|(_, kind)| match kind {
            Feature::Metered { events, .. } => events.iter().any(|event| event == name),
            Feature::Boolean | Feature::CreditSystem { .. } => false,
        });
        found.map(|(id, _)| id)
    }

    /// How much of a feature an event used: the quantity it names itself, else the number of the feature's `sum`
    /// property, else one. The properties are those that [`crate::domain::usage::check_properties`] took.
    pub fn usage_of_event(
        &self,
        feature: &FeatureId,
        quantity: Option<Quantity>,
        properties: BTreeMap<String, Property>,
    ) -> Result<Usage, CostError> {
        let sum = match self.features.get(feature) {
            Some(Feature::Metered { sum, .. }) => sum.as_deref(),
            Some(Feature::Boolean | Feature::CreditSystem { .. }) | None => None,
        };
        let quantity = match (quantity, sum) {
            (Some(quantity), _) => quantity,
            (None, Some(property)) => number(feature, property, &properties)?,
            (None, None) => Quantity::whole(1),
        };
        Ok(Usage { quantity, properties })
    }
}
