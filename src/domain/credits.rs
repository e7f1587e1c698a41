//! Exact amounts of credits, quantities of usage, and the rate between them (rule 23).
//!
//! [`Credits`] and [`Quantity`] count billionths (10^-9) in an `i128`; [`Rate`] counts 10^-18 credits per unit. Text is
//! the only way in from outside, and it never rounds: a digit too many is refused. The one place that rounds is
//! [`Rate::cost`], half to even, once, at the ninth place.

use std::fmt;
use std::str::FromStr;

use ethnum::I256;
use serde::{Deserialize, Serialize};

/// Billionths in one credit.
const NANOS: i128 = 1_000_000_000;
/// The largest amount, 10^18 credits, in billionths. Sums of two never overflow an `i128`.
const MAX_NANOS: i128 = 1_000_000_000_000_000_000 * NANOS;
/// 10^18, the scale of a [`Rate`].
const RATE_SCALE: i128 = 1_000_000_000_000_000_000;
/// The largest rate, 10^9 credits for one unit.
const MAX_RATE: i128 = 1_000_000_000 * RATE_SCALE;
/// Longest text of an amount that is read at all; the longest valid one has 30 characters.
const MAX_TEXT: usize = 64;

/// Why a text or a sum is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most one point.
    #[error(
        "has to be a decimal number such as \"12.5\", without exponent, signs other than a leading minus, or spaces"
    )]
    NotDecimal,
    /// More digits behind the point than are kept.
    #[error("has more than {0} digits behind the point; amounts are exact and never rounded")]
    TooPrecise(u32),
    /// Outside the range that is kept.
    #[error("is larger than the largest amount kept")]
    TooLarge,
    /// Below zero where only amounts from zero on make sense.
    #[error("has to be zero or more")]
    Negative,
}

/// Reads decimal text as a whole number of `10^-scale`.
fn parse_scaled(text: &str, scale: u32, max: i128) -> Result<i128, AmountError> {
    if text.len() > MAX_TEXT {
        return Err(long_text_error(text, scale));
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(AmountError::NotDecimal);
    }
    let fraction = fraction.trim_end_matches('0');
    let places = u32::try_from(fraction.len()).map_err(|_| AmountError::TooPrecise(scale))?;
    let missing = scale.checked_sub(places).ok_or(AmountError::TooPrecise(scale))?;
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = i128::from(byte.wrapping_sub(b'0'));
        value = value.checked_mul(10).and_then(|v| v.checked_add(digit)).ok_or(AmountError::TooLarge)?;
    }
    let factor = 10_i128.checked_pow(missing).ok_or(AmountError::TooLarge)?;
    value = value.checked_mul(factor).filter(|v| *v <= max).ok_or(AmountError::TooLarge)?;
    Ok(if negative { value.checked_neg().ok_or(AmountError::TooLarge)? } else { value })
}

/// A text too long to read still gets the most helpful of the three reasons.
fn long_text_error(text: &str, scale: u32) -> AmountError {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-') {
        return AmountError::NotDecimal;
    }
    match text.split_once('.') {
        Some((_, fraction)) if fraction.len() > scale as usize => AmountError::TooPrecise(scale),
        Some(_) | None => AmountError::TooLarge,
    }
}

fn write_scaled(out: &mut fmt::Formatter<'_>, value: i128, scale: u32) -> fmt::Result {
    let unit = 10_u128.pow(scale);
    let magnitude = value.unsigned_abs();
    // Cannot fail: `unit` is a power of ten, never zero.
    let (whole, fraction) = (magnitude.checked_div(unit).unwrap_or(0), magnitude.checked_rem(unit).unwrap_or(0));
    if value < 0 {
        out.write_str("-")?;
    }
    write!(out, "{whole}")?;
    if fraction > 0 {
        let digits = format!("{fraction:0width$}", width = scale as usize);
        write!(out, ".{}", digits.trim_end_matches('0'))?;
    }
    Ok(())
}

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(i128);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// The largest amount, 10^18.
            pub const MAX: Self = Self(MAX_NANOS);

            /// From billionths; `TooLarge` outside plus or minus 10^18.
            pub const fn from_nanos(nanos: i128) -> Result<Self, AmountError> {
                if nanos > MAX_NANOS || nanos < -MAX_NANOS { Err(AmountError::TooLarge) } else { Ok(Self(nanos)) }
            }

            /// A whole number of units.
            pub fn whole(units: i64) -> Self {
                // Cannot overflow: 2^63 is below 10^19, and 10^28 billionths fit an i128; clamped to the range kept.
                Self(i128::from(units).saturating_mul(NANOS).clamp(-MAX_NANOS, MAX_NANOS))
            }

            /// As billionths.
            pub const fn nanos(self) -> i128 {
                self.0
            }

            /// The sum, refused outside the range kept.
            pub fn checked_add(self, other: Self) -> Result<Self, AmountError> {
                self.0.checked_add(other.0).ok_or(AmountError::TooLarge).and_then(Self::from_nanos)
            }

            /// The difference, refused outside the range kept.
            pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
                self.0.checked_sub(other.0).ok_or(AmountError::TooLarge).and_then(Self::from_nanos)
            }

            /// The same amount with the other sign.
            #[must_use]
            pub const fn negated(self) -> Self {
                // Cannot overflow: the range kept is symmetric and far inside i128.
                Self(self.0.wrapping_neg())
            }

            /// Above zero?
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }

            /// Below zero?
            pub const fn is_negative(self) -> bool {
                self.0 < 0
            }

            /// Exactly zero?
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The same for serde, which asks with a reference.
            pub const fn is_zero_ref(&self) -> bool {
                self.0 == 0
            }

            /// Reads text that must not be negative.
            pub fn parse_non_negative(text: &str) -> Result<Self, AmountError> {
                let amount: Self = text.parse()?;
                if amount.is_negative() { Err(AmountError::Negative) } else { Ok(amount) }
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            fn from_str(text: &str) -> Result<Self, AmountError> {
                parse_scaled(text, 9, MAX_NANOS).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_scaled(out, self.0, 9)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

amount!(
    /// An exact amount of one feature's credits, within plus or minus 10^18. Not money, and never converted from it
    /// but through a catalogue price.
    Credits
);
amount!(
    /// An exact amount of a metered feature's own units (messages, minutes, tokens).
    Quantity
);

/// Credits for one unit of a metered feature: 10^-18 credits counted in an `i128`, from zero to 10^9 credits, or to 10^18
/// where all of a usage is the unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(i128);

impl Rate {
    /// One credit for one unit: a feature that is its own pool.
    pub const ONE: Self = Self(RATE_SCALE);

    /// What a quantity costs at this rate, rounded half to even once, at the ninth place.
    pub fn cost(self, quantity: Quantity) -> Result<Credits, AmountError> {
        Self::cost_of_all(&[(self, quantity)])
    }

    /// What several quantities cost together, each at its rate: the exact sum, rounded half to even once, at the ninth
    /// place.
    pub(in crate::domain) fn cost_of_all(parts: &[(Self, Quantity)]) -> Result<Credits, AmountError> {
        // Cannot overflow: rates are at most 10^36 and quantities 10^27 in magnitude, so a product is at most 10^63, and
        // no list in memory is long enough to bring the sum to 2^255, about 10^76.
        let sum = parts.iter().fold(I256::from(0), |sum, (rate, quantity)| {
            sum.wrapping_add(I256::from(rate.0).wrapping_mul(I256::from(quantity.0)))
        });
        let rounded = round_half_even(sum, I256::from(RATE_SCALE));
        i128::try_from(rounded).map_err(|_| AmountError::TooLarge).and_then(Credits::from_nanos)
    }

    /// The rate at which one unit costs this total, which may be more than a rate that is written down.
    pub(in crate::domain) const fn of_total(total: Credits) -> Self {
        // Cannot overflow: at most 10^27 billionths, times 10^9, is 10^36 < 2^127.
        Self(total.0.wrapping_mul(NANOS))
    }

    /// As a count of 10^-18 credits.
    pub const fn scaled(self) -> i128 {
        self.0
    }

    /// Exactly zero: usage that is counted and costs nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// `value / unit` rounded half to even; `unit` is positive and below 2^254.
pub(super) fn round_half_even(value: I256, unit: I256) -> I256 {
    let (quotient, rest) = (value.wrapping_div(unit), value.wrapping_rem(unit));
    // Cannot overflow: the rest is smaller than the unit.
    let twice = rest.abs().wrapping_mul(I256::from(2));
    let odd = quotient.wrapping_rem(I256::from(2)) != I256::from(0);
    let away = twice > unit || (twice == unit && odd);
    quotient.wrapping_add(if away { value.signum() } else { I256::from(0) })
}

impl FromStr for Rate {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let value = parse_scaled(text, 18, MAX_RATE)?;
        if value < 0 { Err(AmountError::Negative) } else { Ok(Self(value)) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(out, self.0, 18)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
