//! Money: whole minor units with a currency, as Stripe counts them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::credits::AmountError;

/// Largest amount, in minor units: far above any charge, far below `i64::MAX` so that sums of many fit.
const MAX_MINOR: i64 = 1_000_000_000_000_000;

/// Stripe's zero-decimal currencies (docs.stripe.com/currencies#zero-decimal). ISK and UGX are two-decimal on the wire.
const ZERO_DECIMAL: [&str; 15] =
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"];
/// Stripe's three-decimal currencies (docs.stripe.com/currencies#three-decimal).
const THREE_DECIMAL: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

/// Why a text or a sum is not money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three letters.
    #[error("currency `{0}` has to be three letters such as \"usd\"")]
    Currency(String),
    /// The amount's text.
    #[error("amount {0}")]
    Amount(#[from] AmountError),
    /// Two currencies in one sum.
    #[error("{0} and {1} do not add up: one sum has one currency")]
    Mixed(Currency, Currency),
}

/// A three-letter currency code, lower case as in Stripe's API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The code.
    pub fn code(&self) -> &str {
        // Cannot fail: only ASCII letters get in.
        std::str::from_utf8(&self.0).unwrap_or("xxx")
    }

    /// Digits behind the point of the major unit.
    pub fn exponent(self) -> u32 {
        if ZERO_DECIMAL.contains(&self.code()) {
            0
        } else if THREE_DECIMAL.contains(&self.code()) {
            3
        } else {
            2
        }
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let bytes: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency(short(text)))?;
        if !bytes.iter().all(u8::is_ascii_alphabetic) {
            return Err(MoneyError::Currency(short(text)));
        }
        Ok(Self(bytes.map(|byte| byte.to_ascii_lowercase())))
    }
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount of money in minor units (cents of usd, yen of jpy) with its currency, within plus or minus 10^15.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// From minor units; refused beyond 10^15.
    pub fn from_minor(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if minor.unsigned_abs() > MAX_MINOR.unsigned_abs() {
            return Err(MoneyError::Amount(AmountError::TooLarge));
        }
        Ok(Self { minor, currency })
    }

    /// Reads an amount in major units ("10.00"); more digits than the currency has are refused.
    pub fn parse_major(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let exponent = currency.exponent();
        let nanos = text.parse::<super::credits::Credits>().map_err(|error| precision(error, exponent))?.nanos();
        // Cannot overflow or divide by zero: the exponent is 0, 2 or 3.
        let unit = 10_i128.saturating_pow(9_u32.saturating_sub(exponent));
        if nanos.checked_rem(unit) != Some(0) {
            return Err(MoneyError::Amount(AmountError::TooPrecise(exponent)));
        }
        let minor = nanos.checked_div(unit).and_then(|minor| i64::try_from(minor).ok());
        Self::from_minor(minor.ok_or(MoneyError::Amount(AmountError::TooLarge))?, currency)
    }

    /// Minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum; two currencies are refused.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mixed(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Amount(AmountError::TooLarge))?;
        Self::from_minor(minor, self.currency)
    }

    /// In major units with all digits of the currency, such as "20.00".
    pub fn major(self) -> String {
        let exponent = self.currency.exponent();
        let unit = 10_u64.saturating_pow(exponent);
        let magnitude = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        // Cannot divide by zero: a power of ten.
        let (whole, rest) = (magnitude.checked_div(unit).unwrap_or(0), magnitude.checked_rem(unit).unwrap_or(0));
        if exponent == 0 {
            format!("{sign}{whole}")
        } else {
            format!("{sign}{whole}.{rest:0width$}", width = exponent as usize)
        }
    }
}

fn precision(error: AmountError, exponent: u32) -> MoneyError {
    MoneyError::Amount(match error {
        AmountError::TooPrecise(_) => AmountError::TooPrecise(exponent),
        AmountError::NotDecimal | AmountError::TooLarge | AmountError::Negative => error,
    })
}

impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.major(), self.currency.code().to_uppercase())
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut shape = out.serialize_struct("Money", 2)?;
        shape.serialize_field("amount", &self.major())?;
        shape.serialize_field("currency", &self.currency)?;
        shape.end()
    }
}
