//! What is configured of the charger, once it is checked.

use std::collections::BTreeMap;

use super::super::money::Currency;
use super::ChargeMode;

/// Most money of a month where neither a rule nor the configuration names a most: 500 of each major currency, so that
/// a credit figure taken for money by mistake cannot empty a card.
const USUAL_MONTH_MINOR: i64 = 50_000;
/// The currencies in which that most is one that makes sense.
const USUAL_MONTH_CURRENCIES: [&str; 3] = ["usd", "eur", "gbp"];

/// How money is taken where a rule or an order does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargerSettings {
    /// How money is taken.
    pub mode: ChargeMode,
    /// Does Stripe add taxes to the charger's invoices? Only with invoices.
    pub automatic_tax: bool,
    /// Where a card's owner is led back to after paying by a link; without one no links are made of payment intents.
    pub return_url: Option<String>,
    /// Most money of a month in each currency, in minor units, where a rule names none.
    pub usual_month: BTreeMap<Currency, i64>,
    /// The currency to take when packs have several and nothing else says which.
    pub usual_currency: Option<Currency>,
}

impl Default for ChargerSettings {
    fn default() -> Self {
        let codes = USUAL_MONTH_CURRENCIES.iter().filter_map(|code| code.parse::<Currency>().ok());
        Self {
            mode: ChargeMode::default(),
            automatic_tax: false,
            return_url: None,
            usual_month: codes.map(|currency| (currency, USUAL_MONTH_MINOR)).collect(),
            usual_currency: None,
        }
    }
}
