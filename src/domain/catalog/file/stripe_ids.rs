//! One Stripe price means one thing: ids that are written twice are refused, whatever plans or packs they stand in.

use std::collections::BTreeMap;

use super::reading::{Mistakes, Place};

/// Every id from Stripe in the file, with where it stands.
#[derive(Default)]
pub(super) struct StripeIds {
    prices: BTreeMap<String, Vec<Place>>,
    lookup_keys: BTreeMap<String, Vec<Place>>,
    products: BTreeMap<String, Vec<(Place, String)>>,
}

impl StripeIds {
    /// A price, also a grandfathered one.
    pub(super) fn price(&mut self, id: &str, place: &Place) {
        self.prices.entry(id.to_owned()).or_default().push(place.clone());
    }

    /// A lookup key; Stripe keeps each once per account.
    pub(super) fn lookup_key(&mut self, key: &str, place: &Place) {
        self.lookup_keys.entry(key.to_owned()).or_default().push(place.clone());
    }

    /// A product. Several prices of one plan, or packs of one item (`target`), share one as they please.
    pub(super) fn product(&mut self, id: &str, place: &Place, target: &str) {
        self.products.entry(id.to_owned()).or_default().push((place.clone(), target.to_owned()));
    }

    /// Notes each id at every place but its first.
    pub(super) fn refuse_repeats(&mut self, mistakes: &mut Mistakes<'_>) {
        for (noun, ids) in [("price", &mut self.prices), ("lookup key", &mut self.lookup_keys)] {
            for (id, places) in ids {
                places.sort_by_key(|place| place.at);
                let [first, rest @ ..] = places.as_slice() else { continue };
                for place in rest {
                    mistakes.add(place, repeat(noun, id, first, mistakes));
                }
            }
        }
        for (id, places) in &mut self.products {
            places.sort_by_key(|(place, _)| place.at);
            let [(first, target), rest @ ..] = places.as_slice() else { continue };
            for (place, _) in rest.iter().filter(|(_, other)| other != target) {
                mistakes.add(place, repeat("product", id, first, mistakes));
            }
        }
    }
}

fn repeat(noun: &str, id: &str, first: &Place, mistakes: &Mistakes<'_>) -> String {
    let (path, line) = (&first.path, mistakes.line_of(first.at));
    format!("Stripe {noun} `{id}` already stands at {path} (line {line}); one {noun} means one thing")
}
