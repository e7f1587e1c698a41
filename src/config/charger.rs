//! `[charger]` of the file: how money is taken by itself, and how much of it at most.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ConfigError;
use crate::domain::money::{Currency, Money};
use crate::domain::top_up::ChargeMode;
use crate::domain::top_up::settings::ChargerSettings;
use crate::http::read::is_web_address;

/// Longest address that is handed on to Stripe, in bytes, as in requests.
const URL_MAX: usize = 2_048;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ChargerFile {
    mode: Option<String>,
    automatic_tax: bool,
    return_url: Option<String>,
    max_per_month: Option<BTreeMap<String, String>>,
    default_currency: Option<String>,
}

/// Checks the section.
pub(super) fn read(file: ChargerFile) -> Result<ChargerSettings, ConfigError> {
    let usual = ChargerSettings::default();
    let mode = match file.mode {
        None => usual.mode,
        Some(word) => ChargeMode::from_word(&word)
            .ok_or_else(|| ConfigError::new("charger.mode", format!("`{word}` has to be payment_intent or invoice")))?,
    };
    if file.automatic_tax && mode != ChargeMode::Invoice {
        let why = "Stripe adds taxes to invoices only: set charger.mode = \"invoice\", or leave it out";
        return Err(ConfigError::new("charger.automatic_tax", why));
    }
    if let Some(url) = file.return_url.as_deref().filter(|url| url.len() > URL_MAX || !is_web_address(url)) {
        let why = format!("`{url}` has to be an address of the web, such as https://example.com/paid");
        return Err(ConfigError::new("charger.return_url", why));
    }
    let usual_currency = file.default_currency.map(|code| currency("charger.default_currency", &code)).transpose()?;
    Ok(ChargerSettings {
        mode,
        automatic_tax: file.automatic_tax,
        return_url: file.return_url,
        usual_month: file.max_per_month.map_or(Ok(usual.usual_month), most_of_a_month)?,
        usual_currency,
    })
}

fn currency(name: &str, code: &str) -> Result<Currency, ConfigError> {
    code.parse().map_err(|error: crate::domain::money::MoneyError| ConfigError::new(name, error.to_string()))
}

/// Amounts are texts in major units: a TOML number would be a float.
fn most_of_a_month(table: BTreeMap<String, String>) -> Result<BTreeMap<Currency, i64>, ConfigError> {
    let mut most = BTreeMap::new();
    for (code, amount) in table {
        let name = format!("charger.max_per_month.{code}");
        let currency = currency(&name, &code)?;
        let money = Money::parse_major(&amount, currency)
            .map_err(|error| ConfigError::new(&name, format!("`{amount}`: {error}")))?;
        if money.minor() <= 0 {
            return Err(ConfigError::new(
                &name,
                "has to be more than zero; leave the currency out to have no usual most",
            ));
        }
        if most.insert(currency, money.minor()).is_some() {
            return Err(ConfigError::new(&name, format!("{currency} is there twice")));
        }
    }
    Ok(most)
}
