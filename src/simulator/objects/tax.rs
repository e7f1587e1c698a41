//! Coupons and taxes: what is taken off an amount, and what is put on it or is within it.
//!
//! Coupons need no creation: `percent_20` takes 20 percent off, `amount_500` takes 500 minor units, as long as the
//! session or subscription lasts. There is one tax rate, set by the control endpoint, for what asks for automatic tax.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::state::{State, number};

/// The only tax rate's id.
const RATE: &str = "txr_simulated";
/// Basis points of a whole.
const WHOLE: i64 = 10_000;

/// The tax of everything that asks for automatic tax.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaxRate {
    /// Hundredths of a percent; zero for none.
    pub basis_points: u16,
    /// Whether prices contain it.
    #[serde(default)]
    pub inclusive: bool,
}

impl TaxRate {
    /// The tax of an amount, to the nearest minor unit.
    pub fn of(self, amount: i64) -> i64 {
        let points = i64::from(self.basis_points);
        let base = if self.inclusive { WHOLE.saturating_add(points) } else { WHOLE };
        // Eight digits times five fit; negative amounts round as positive ones do.
        let twice = amount.saturating_abs().saturating_mul(points).saturating_mul(2).saturating_add(base);
        (twice / base.saturating_mul(2)).saturating_mul(amount.signum())
    }

    /// As Stripe writes it on a line or an invoice.
    pub fn written(self, amount: i64) -> Value {
        if self.basis_points == 0 {
            return json!([]);
        }
        json!([{
            "amount": self.of(amount), "tax_behavior": if self.inclusive { "inclusive" } else { "exclusive" },
            "tax_rate_details": { "tax_rate": RATE }, "taxability_reason": "standard_rated",
            "taxable_amount": if self.inclusive { amount.saturating_sub(self.of(amount)) } else { amount },
            "type": "tax_rate_details",
        }])
    }
}

/// The rate of something that asks for automatic tax, or none.
pub fn rate(state: &State, asked: bool) -> TaxRate {
    if asked { state.tax } else { TaxRate::default() }
}

/// The same tax up to acacia.
pub fn older(taxes: &Value) -> Value {
    let taxes = taxes.as_array().into_iter().flatten();
    let amounts = taxes.map(|tax| {
        json!({
            "amount": tax["amount"], "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": tax["tax_rate_details"]["tax_rate"], "taxability_reason": tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        })
    });
    amounts.collect()
}

/// What a coupon takes off an amount; none if there is no such coupon.
pub fn off(coupon: &str, amount: i64) -> Option<i64> {
    let off = match coupon.split_once('_')? {
        ("percent", share) => {
            let share = share.parse::<i64>().ok().filter(|share| (1..=100).contains(share))?;
            amount.checked_mul(share)? / 100
        }
        ("amount", fixed) => fixed.parse::<i64>().ok().filter(|fixed| *fixed > 0)?,
        _ => return None,
    };
    Some(off.min(amount))
}

/// Reads the only discount the simulator takes: a coupon.
pub fn read_coupon(params: &Params) -> Result<Option<String>, Refusal> {
    let discounts = params.children("discounts")?;
    let Some(first) = discounts.first() else { return Ok(None) };
    if discounts.len() > 1 {
        let message = "The simulator takes one discount.";
        return Err(Refusal::invalid(message).with("param", json!("discounts")));
    }
    let coupon = first.required("coupon")?;
    match off(&coupon, 1) {
        Some(_) => Ok(Some(coupon)),
        None => Err(Refusal::no_such("coupon", &coupon, &first.name("coupon"))),
    }
}

/// Takes a discount off the lines that can have one, in proportion; the last takes what is left by rounding.
pub fn discount_lines(lines: &mut [Value], coupon: &str, discount: &str) {
    let whole = lines.iter().filter(|line| line["discountable"] == json!(true)).map(|line| number(line, "amount"));
    let whole = whole.fold(0_i64, i64::saturating_add);
    let all = off(coupon, whole).unwrap_or(0);
    let mut left = all;
    let count = lines.len();
    for (place, line) in lines.iter_mut().enumerate().filter(|(_, line)| line["discountable"] == json!(true)) {
        let share = if place + 1 == count { left } else { all.saturating_mul(number(line, "amount")) / whole.max(1) };
        left = left.saturating_sub(share);
        line["discount_amounts"] = json!([{ "amount": share, "discount": discount }]);
        line["discounts"] = json!([discount]);
    }
}
