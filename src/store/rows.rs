//! Between rows and domain types: exact numbers, times, words.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use rust_decimal::Decimal;

use super::StoreError;
use crate::domain::credits::{Credits, Quantity};

/// A NUMERIC(38,9) for credits. Cannot fail: 10^27 billionths fit the 96-bit mantissa of a `Decimal`.
pub(super) fn numeric(credits: Credits) -> Decimal {
    Decimal::try_from_i128_with_scale(credits.nanos(), 9).unwrap_or_default()
}

/// A NUMERIC(38,9) for a quantity.
pub(super) fn numeric_quantity(quantity: Quantity) -> Decimal {
    Decimal::try_from_i128_with_scale(quantity.nanos(), 9).unwrap_or_default()
}

/// Billionths of a NUMERIC(38,9); `None` when it has more digits than that, which no row has.
fn nanos(mut value: Decimal) -> Option<i128> {
    value.rescale(9);
    (value.scale() == 9).then(|| value.mantissa())
}

/// Credits of a row.
pub(super) fn credits(value: Decimal, table: &'static str, column: &'static str) -> Result<Credits, StoreError> {
    let read = nanos(value).and_then(|nanos| Credits::from_nanos(nanos).ok());
    read.ok_or_else(|| StoreError::Inconsistent { table, column, row: value.to_string() })
}

/// A quantity of a row.
pub(super) fn quantity(value: Decimal, table: &'static str, column: &'static str) -> Result<Quantity, StoreError> {
    let read = nanos(value).and_then(|nanos| Quantity::from_nanos(nanos).ok());
    read.ok_or_else(|| StoreError::Inconsistent { table, column, row: value.to_string() })
}

/// A time for a row.
pub(super) fn time(at: Timestamp) -> jiff_sqlx::Timestamp {
    at.to_sqlx()
}

/// A word of a row that has to be one of ours.
pub(super) fn word<T>(read: Option<T>, table: &'static str, column: &'static str, row: &str) -> Result<T, StoreError> {
    read.ok_or_else(|| StoreError::Inconsistent { table, column, row: row.to_owned() })
}
