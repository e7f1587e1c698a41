//! What a payment may carry in its metadata, and small facts shared by the families.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::intent::{FeatureWish, Who, Why, WishedGrant};
use crate::domain::catalog::{Catalog, Expiry, FeatureId};
use crate::domain::credits::Credits;
use crate::domain::grant::{Category, GrantMoney};
use crate::domain::money::{Currency, Money};
use crate::domain::period;
use crate::stripe::wire::WireMoney;

/// Longest expiry a payment may ask for: 100 years, the same bound as the wallets'.
const EXPIRY_DAYS_MAX: u32 = 36_500;
/// Item key of metadata credits (rule 10).
pub const METADATA_ITEM: &str = "metadata";

/// Keys that name the customer, first present wins.
const CUSTOMER_KEYS: [&str; 3] = ["creditd_customer_id", "customer_id", "flexprice_customer_id"];
const WALLET_KEYS: [&str; 2] = ["creditd_wallet_id", "wallet_id"];
const FEATURE_KEYS: [&str; 2] = ["creditd_feature_id", "feature_id"];
const CREDITS_KEYS: [&str; 2] = ["creditd_credits", "credit_amount"];
const EXPIRY_KEYS: [&str; 2] = ["creditd_expires_in_days", "expires_in_days"];
const TYPE_KEYS: [&str; 2] = ["creditd_grant_type", "grant_type"];

type Metadata = BTreeMap<String, String>;

fn first<'a>(metadata: &'a Metadata, keys: &[&str]) -> Option<(&'a str, &'a str)> {
    keys.iter().find_map(|key| {
        let (name, value) = metadata.get_key_value(*key)?;
        Some((name.as_str(), value.trim())).filter(|(_, value)| !value.is_empty())
    })
}

/// The app's customer id in the metadata.
pub fn customer_id(metadata: &Metadata) -> Option<String> {
    first(metadata, &CUSTOMER_KEYS).map(|(_, id)| id.to_owned())
}

/// Whose credits a payment is.
pub fn who(metadata: &Metadata, client_reference: Option<&str>, stripe_customer: Option<&str>) -> Who {
    Who {
        customer_id: customer_id(metadata),
        client_reference: client_reference.map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned),
        stripe_customer: stripe_customer.map(str::to_owned),
    }
}

/// Does the metadata claim credits?
pub fn claims_credits(metadata: &Metadata) -> bool {
    first(metadata, &CREDITS_KEYS).is_some()
}

/// The grant a payment's metadata describes. `None`: it describes none.
pub fn metadata_grant(
    metadata: &Metadata,
    catalog: &Catalog,
    paid_at: Timestamp,
    money: GrantMoney,
) -> Result<Option<WishedGrant>, Why> {
    let Some((key, text)) = first(metadata, &CREDITS_KEYS) else { return Ok(None) };
    let quantity = Credits::parse_non_negative(text)
        .map_err(|error| Why::new("bad_metadata", format!("metadata.{key} `{}` {error}", cut(text))))?;
    if quantity.is_zero() {
        return Err(Why::new("bad_metadata", format!("metadata.{key} is 0: nothing would be granted")));
    }
    let feature = match first(metadata, &FEATURE_KEYS) {
        None => FeatureWish::WalletElse(catalog.default_credit_feature().cloned()),
        Some((key, text)) => FeatureWish::Named(FeatureId::new(text).ok_or_else(|| {
            Why::new("bad_metadata", format!("metadata.{key} `{}` is not a feature's name", cut(text)))
        })?),
    };
    Ok(Some(WishedGrant {
        item_key: METADATA_ITEM.to_owned(),
        wallet_key: first(metadata, &WALLET_KEYS).map(|(_, id)| id.to_owned()),
        feature,
        quantity,
        category: category(metadata)?,
        priority: None,
        expires_at: expires_at(metadata, paid_at)?,
        plan: None,
        money,
        stripe_price: None,
        stripe_line: None,
    }))
}

fn category(metadata: &Metadata) -> Result<Category, Why> {
    let Some((key, word)) = first(metadata, &TYPE_KEYS) else { return Ok(Category::Prepaid) };
    match Category::from_word(word) {
        Some(known @ (Category::Prepaid | Category::Promotional | Category::Committed)) => Ok(known),
        Some(Category::Plan) | None => Err(Why::new(
            "bad_metadata",
            format!("metadata.{key} `{}` has to be prepaid, promotional or committed", cut(word)),
        )),
    }
}

fn expires_at(metadata: &Metadata, paid_at: Timestamp) -> Result<Option<Timestamp>, Why> {
    let Some((key, text)) = first(metadata, &EXPIRY_KEYS) else { return Ok(None) };
    let days = text.parse::<u32>().ok().filter(|days| (1..=EXPIRY_DAYS_MAX).contains(days));
    let wrong = || {
        let detail = format!("metadata.{key} `{}` has to be a whole number of days, 1 to {EXPIRY_DAYS_MAX}", cut(text));
        Why::new("bad_metadata", detail)
    };
    period::expiry(paid_at, Expiry::Days(days.ok_or_else(wrong)?)).map_err(|_| wrong())
}

/// At most 60 characters of a text from outside, for an error's words; no column holds a NUL, and no log a line break.
pub fn cut(text: &str) -> String {
    let shown = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    text.chars().take(60).map(shown).collect()
}

/// Money of a wire amount; a currency or amount out of range parks.
pub fn money(wire: &WireMoney, field: &str) -> Result<Money, Why> {
    let currency: Currency =
        wire.currency.parse().map_err(|error| Why::new("bad_money", format!("{field}: {error}")))?;
    Money::from_minor(wire.minor, currency).map_err(|error| Why::new("bad_money", format!("{field}: {error}")))
}

/// Money of a wire amount that may be absent.
pub fn money_if_any(wire: Option<&WireMoney>, field: &str) -> Result<Option<Money>, Why> {
    wire.map(|wire| money(wire, field)).transpose()
}

/// Was at least the catalogue's minimum price paid for each credit (rule 10)? `net` is what was paid without tax;
/// nothing paid and no minimum set is below it only when the credits come from metadata.
pub fn above_minimum(
    catalog: &Catalog,
    feature: &FeatureId,
    quantity: Credits,
    net: Option<Money>,
    from_metadata: bool,
) -> Result<(), Why> {
    let paid = net.filter(|net| net.minor() > 0);
    let limits = catalog.minimum_prices.get(feature).map(Vec::as_slice).unwrap_or_default();
    let currency = net.map(Money::currency);
    let limit =
        limits.iter().find(|limit| Some(limit.amount.currency.as_str()) == currency.as_ref().map(Currency::code));
    let Some(limit) = limit else {
        return match (paid, from_metadata, limits.is_empty()) {
            (Some(_), _, true) | (None, false, true) => Ok(()),
            (None, true, true) => Err(Why::new(
                "below_minimum_price",
                format!(
                    "{quantity} {feature} for nothing: set minimum_price_per_credit of {feature} to \"0\" to allow it"
                ),
            )),
            (_, _, false) => Err(Why::new(
                "below_minimum_price",
                format!("minimum_price_per_credit of {feature} has no price in the payment's currency"),
            )),
        };
    };
    let enough = limit.amount.amount.parse::<Credits>().ok().and_then(|minimum| covers(minimum, quantity, net?));
    if enough == Some(true) || (paid.is_none() && limit.amount.amount.parse() == Ok(Credits::ZERO)) {
        return Ok(());
    }
    let paid = net.map_or_else(|| "nothing".to_owned(), |net| net.to_string());
    let detail =
        format!("{paid} for {quantity} {feature} is below {} {} a credit", limit.amount.amount, limit.amount.currency);
    Err(Why::new("below_minimum_price", detail))
}

/// Is `net` at least `minimum` (major units for one credit) times `quantity`? `None`: too large to tell.
fn covers(minimum: Credits, quantity: Credits, net: Money) -> Option<bool> {
    let unit = 10_i128.checked_pow(net.currency().exponent())?;
    // In units of 10^-18 minor: net * 10^18 against minimum_nanos * quantity_nanos * unit.
    let paid = i128::from(net.minor()).checked_mul(1_000_000_000_000_000_000)?;
    let due = minimum.nanos().checked_mul(quantity.nanos())?.checked_mul(unit)?;
    Some(paid >= due)
}
