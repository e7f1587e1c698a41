//! Exact fractions, as far as the model needs them: wide integers, and one way to round.

use ethnum::I256;

/// Billionths in one credit or unit.
pub(crate) const ONE: i128 = 1_000_000_000;

/// `value * times / by`, rounded half to even: to the nearest whole number, and to the even one from the middle.
pub(crate) fn rounded(value: I256, times: I256, by: I256) -> i128 {
    let product = value * times;
    let (whole, rest) = (product.div_euclid(by), product.rem_euclid(by));
    let (twice, is_odd) = (rest * I256::from(2), whole.rem_euclid(I256::from(2)) != I256::ZERO);
    let up = twice > by || (twice == by && is_odd);
    (whole + if up { I256::ONE } else { I256::ZERO }).as_i128()
}

/// Ten to a power.
pub(crate) fn ten(power: u32) -> I256 {
    I256::from(10).pow(power)
}

/// Usage that is not yet paid, in 10^-27 of a unit: as exact as a remainder is kept between pools of different cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Units(I256);

/// Credits of a pool for one unit, in 10^-18 of a credit.
pub(crate) type Rate = i128;

impl Units {
    pub(crate) const NONE: Self = Self(I256::ZERO);

    pub(crate) fn of(nanos: i128) -> Self {
        Self(I256::from(nanos) * ten(18))
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn and(self, more: Self) -> Self {
        Self(self.0 + more.0)
    }

    /// What it costs at a rate, in billionths of a credit.
    pub(crate) fn cost(self, rate: Rate) -> i128 {
        rounded(self.0, I256::from(rate), ten(36))
    }

    /// What is left of it when so many credits were paid at a rate.
    pub(crate) fn less(self, paid: i128, rate: Rate) -> Self {
        let units = I256::from(paid) * ten(36);
        let by = I256::from(rate);
        let (whole, rest) = (units.div_euclid(by), units.rem_euclid(by));
        let (twice, is_odd) = (rest * I256::from(2), whole.rem_euclid(I256::from(2)) != I256::ZERO);
        let up = twice > by || (twice == by && is_odd);
        Self(self.0 - whole - if up { I256::ONE } else { I256::ZERO })
    }

    /// Whole billionths of a unit in it.
    pub(crate) fn floor(self) -> i128 {
        self.0.div_euclid(ten(18)).as_i128().max(0)
    }
}

/// Billionths of a unit that credits stand for at a rate.
pub(crate) fn units_for(credits: i128, rate: Rate) -> i128 {
    rounded(I256::from(credits), ten(18), I256::from(rate.max(1)))
}
