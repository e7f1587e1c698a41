//! Amounts as Stripe sends them: whole minor units beside a currency.

use super::reader::{Node, WireError};

/// An amount exactly as on the wire. What a minor unit is worth is decided later, by the currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireMoney {
    /// Minor units.
    pub minor: i64,
    /// Stripe's code, three lower-case letters.
    pub currency: String,
}

/// One tax on an invoice or a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireTax {
    /// How much.
    pub amount: WireMoney,
    /// Whether the price already held it: `tax_behavior` since basil, `inclusive` before.
    pub is_inclusive: Option<bool>,
}

/// Reads a list of taxes; `None` when no path has one.
pub(super) fn taxes(
    node: &Node<'_>,
    paths: &[&str],
    currency: Option<&str>,
) -> Result<Option<Vec<WireTax>>, WireError> {
    let (Some(items), Some(currency)) = (node.objects(paths)?, currency) else { return Ok(None) };
    let mut taxes = Vec::with_capacity(items.len());
    for item in items {
        let behaviour = item.text(&["tax_behavior"])?;
        let flag = item.boolean(&["inclusive"])?;
        let amount =
            item.money(&["amount"], Some(currency))?.ok_or_else(|| item.missing("amount", "a whole number"))?;
        taxes.push(WireTax { amount, is_inclusive: behaviour.map(|word| word == "inclusive").or(flag) });
    }
    Ok(Some(taxes))
}

/// Adds up the `amount` of each item of a list; `None` when no path has one.
pub(super) fn sum(node: &Node<'_>, paths: &[&str], currency: Option<&str>) -> Result<Option<WireMoney>, WireError> {
    let (Some(items), Some(currency)) = (node.objects(paths)?, currency) else { return Ok(None) };
    let mut minor: i64 = 0;
    for item in items {
        let amount = item.integer(&["amount"])?.ok_or_else(|| item.missing("amount", "a whole number"))?;
        let total = minor.checked_add(amount);
        minor = total.ok_or_else(|| WireError::SumTooLarge { field: item.path("amount") })?;
    }
    Ok(Some(WireMoney { minor, currency: currency.to_owned() }))
}
