//! What may be owed when an item's credits are spent (rule 22).

use super::super::{Overage, UnitPrice};
use super::prices::{read_currency, read_positive};
use super::reading::{Mistakes, Section};
use crate::domain::credits::{AmountError, Rate};

/// Reads `overage` of an item.
pub(super) fn read(item: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<Overage> {
    let section = item.field("overage")?.section(mistakes)?;
    section.refuse_unknown(&["limit", "amount", "currency"], mistakes);
    let Some(limit) = section.field("limit") else {
        let message = "is missing; write the most credits that may be owed, such as limit = \"100\"";
        mistakes.add(&section.key("limit"), message);
        return None;
    };
    let limit = read_positive(&limit, "take `overage` out to let nothing be owed", mistakes);
    let price = if section.has("amount") || section.has("currency") { read_price(&section, mistakes) } else { None };
    Some(Overage { limit: limit?, price })
}

/// Read as a rate: a price of one credit has digits that no invoice has, and they are kept.
fn read_price(section: &Section<'_>, mistakes: &mut Mistakes<'_>) -> Option<UnitPrice> {
    let currency = read_currency(section, mistakes);
    let Some(field) = section.field("amount") else {
        let message = "is missing; write what one credit costs, such as amount = \"0.01\", or take `currency` out";
        mistakes.add(&section.key("amount"), message);
        return None;
    };
    let text = field.decimal_text(mistakes)?;
    let message = match text.parse::<Rate>() {
        Ok(amount) if !amount.is_zero() => {
            return Some(UnitPrice { amount: amount.to_string(), currency: currency?.code().to_owned() });
        }
        Ok(_) => {
            "has to be more than zero: take `amount` and `currency` out to let grants repay what is owed".to_owned()
        }
        Err(AmountError::TooLarge) => format!("{text:?} is larger than the largest price of one credit, 10^9"),
        Err(error @ (AmountError::NotDecimal | AmountError::TooPrecise(_) | AmountError::Negative)) => {
            format!("{text:?} {error}")
        }
    };
    mistakes.add(field.place(), message);
    None
}
