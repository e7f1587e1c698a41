//! Money, prices and packs.

use super::super::{Interval, Pack, Price};
use super::reading::{Field, Mistakes, Section};
use super::{ALSO_MAX, Reading, periods};
use crate::domain::credits::{AmountError, Credits};
use crate::domain::money::{Currency, Money, MoneyError};

/// Longest id or lookup key that Stripe takes, in bytes.
const STRIPE_ID_BYTES_MAX: usize = 200;

const PRICE_KEYS: [&str; 7] = ["amount", "currency", "every", "lookup_key", "stripe_price", "stripe_product", "also"];
const PACK_KEYS: [&str; 8] =
    ["credits", "amount", "currency", "stripe_price", "stripe_product", "lookup_key", "also", "minimum"];

/// An amount that is zero or more, with its currency.
pub(super) fn read_money(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Money> {
    let currency = read_currency(section, mistakes);
    let Some(field) = section.field("amount") else {
        mistakes.add(&section.key("amount"), "is missing; write major units such as amount = \"10.00\"");
        return None;
    };
    let text = field.decimal_text(mistakes)?;
    let money = Money::parse_major(text, currency?);
    let message = match money {
        Ok(money) if money.minor() >= 0 => return Some(money),
        Ok(_) => format!("{text:?} {}", AmountError::Negative),
        Err(MoneyError::Amount(AmountError::TooPrecise(digits))) => {
            let code = currency?;
            format!("{text:?} has more digits than {code} has; write at most {digits} behind the point")
        }
        Err(MoneyError::Amount(error)) => format!("{text:?} {error}"),
        Err(error @ (MoneyError::Currency(_) | MoneyError::Mixed(_, _))) => error.to_string(),
    };
    mistakes.add(field.place(), message);
    None
}

/// The currency of an amount.
pub(super) fn read_currency(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Currency> {
    let Some(field) = section.field("currency") else {
        mistakes.add(&section.key("currency"), "is missing; write three letters such as currency = \"usd\"");
        return None;
    };
    let currency = field.text(mistakes)?.parse::<Currency>();
    currency.map_err(|error| mistakes.add(field.place(), error.to_string())).ok()
}

/// A price of a plan.
pub(super) fn read_price(section: &Section<'_>, target: &str, reading: &mut Reading<'_>) -> Option<Price> {
    section.refuse_unknown(&PRICE_KEYS, &mut reading.mistakes);
    let every = section.field("every").and_then(|field| periods::read_billing_interval(&field, &mut reading.mistakes));
    read_sold(section, every, target, reading)
}

/// A pack of an item.
pub(super) fn read_pack(section: &Section<'_>, target: &str, reading: &mut Reading<'_>) -> Option<Pack> {
    section.refuse_unknown(&PACK_KEYS, &mut reading.mistakes);
    let credits = section.field("credits");
    if credits.is_none() {
        let message = "is missing; write how many one pack gives, such as credits = \"1\"";
        reading.mistakes.add(&section.key("credits"), message);
    }
    let credits =
        credits.and_then(|field| read_positive(&field, "a pack of nothing sells nothing", &mut reading.mistakes));
    let minimum = section.field("minimum");
    let minimum =
        minimum.and_then(|field| read_positive(&field, "leave it out to sell any number", &mut reading.mistakes));
    let price = read_sold(section, None, target, reading)?;
    if price.amount.money().is_some_and(|money| money.minor() == 0) {
        let message = "a pack that costs nothing would mint credits; write its price";
        reading.mistakes.add(&section.key("amount"), message);
    }
    Some(Pack { credits: credits?, price, minimum })
}

/// Credits above zero; `why` says what zero would mean.
pub(super) fn read_positive(field: &Field<'_>, why: &str, mistakes: &mut Mistakes<'_>) -> Option<Credits> {
    let amount: Credits = field.decimal(mistakes)?;
    if !amount.is_positive() {
        mistakes.add(field.place(), format!("has to be more than zero: {why}"));
        return None;
    }
    Some(amount)
}

fn read_sold(section: &Section<'_>, every: Option<Interval>, target: &str, reading: &mut Reading<'_>) -> Option<Price> {
    let lookup_key = section.field("lookup_key").and_then(|field| {
        let text = read_stripe_id(&field, &mut reading.mistakes)?;
        reading.stripe_ids.lookup_key(text, field.place());
        Some(text.to_owned())
    });
    let stripe_price = section.field("stripe_price").and_then(|field| {
        let text = read_stripe_id(&field, &mut reading.mistakes)?;
        reading.stripe_ids.price(text, field.place());
        Some(text.to_owned())
    });
    let stripe_product = section.field("stripe_product").and_then(|field| {
        let text = read_stripe_id(&field, &mut reading.mistakes)?;
        reading.stripe_ids.product(text, field.place(), target);
        Some(text.to_owned())
    });
    let also = section.field("also").map(|field| field.list(ALSO_MAX, &mut reading.mistakes)).unwrap_or_default();
    let also = also.iter().filter_map(|field| {
        let text = read_stripe_id(field, &mut reading.mistakes)?;
        reading.stripe_ids.price(text, field.place());
        Some(text.to_owned())
    });
    let also = also.collect();
    let amount = read_money(section, &mut reading.mistakes)?.into();
    Some(Price { amount, every, lookup_key, stripe_price, stripe_product, also })
}

fn read_stripe_id<'doc>(field: &Field<'doc>, mistakes: &mut Mistakes<'_>) -> Option<&'doc str> {
    let text = field.text(mistakes)?;
    let fits = !text.is_empty() && text.len() <= STRIPE_ID_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    if !fits {
        let message = format!("has to be 1 to {STRIPE_ID_BYTES_MAX} letters, digits or signs without spaces");
        mistakes.add(field.place(), message);
    }
    fits.then_some(text)
}
