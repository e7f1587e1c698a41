//! Exact amounts: what is read, what is refused, and that nothing is ever rounded but a cost, once.

use creditd::domain::credits::{AmountError, Credits, Quantity, Rate};
use creditd::domain::money::{Currency, Money, MoneyError};
use proptest::prelude::*;
use rstest::rstest;

const MAX_NANOS: i128 = 1_000_000_000_000_000_000_000_000_000;

#[rstest]
#[case("0", "0")]
#[case("-0", "0")]
#[case("-0.0", "0")]
#[case("007", "7")]
#[case("-001.500", "-1.5")]
#[case("12.5", "12.5")]
#[case("0.000000001", "0.000000001")]
#[case("1.000000000000000000000000000000", "1")]
#[case("1.0000000000000000000000000000000000000000", "1")]
#[case("1000000000000000000", "1000000000000000000")]
#[case("-1000000000000000000", "-1000000000000000000")]
#[case("999999999999999999.999999999", "999999999999999999.999999999")]
fn an_amount_is_read_and_written_in_its_shortest_form(#[case] text: &str, #[case] written: &str) {
    assert_eq!(text.parse::<Credits>().map(|amount| amount.to_string()), Ok(written.to_owned()));
    assert_eq!(text.parse::<Quantity>().map(|amount| amount.to_string()), Ok(written.to_owned()));
}

#[rstest]
#[case::nothing("", AmountError::NotDecimal)]
#[case::word("NaN", AmountError::NotDecimal)]
#[case::infinite("inf", AmountError::NotDecimal)]
#[case::exponent("1e400", AmountError::NotDecimal)]
#[case::plus("+1", AmountError::NotDecimal)]
#[case::space_before(" 1", AmountError::NotDecimal)]
#[case::space_behind("1 ", AmountError::NotDecimal)]
#[case::line_break("1\n", AmountError::NotDecimal)]
#[case::point_behind("1.", AmountError::NotDecimal)]
#[case::point_before(".5", AmountError::NotDecimal)]
#[case::point(".", AmountError::NotDecimal)]
#[case::minus("-", AmountError::NotDecimal)]
#[case::two_minus("--1", AmountError::NotDecimal)]
#[case::minus_inside("1.-5", AmountError::NotDecimal)]
#[case::two_points("1.2.3", AmountError::NotDecimal)]
#[case::comma("1,5", AmountError::NotDecimal)]
#[case::underscore("1_000", AmountError::NotDecimal)]
#[case::hexadecimal("0x10", AmountError::NotDecimal)]
#[case::arabic_digits("١٢٣", AmountError::NotDecimal)]
#[case::wide_digit("１", AmountError::NotDecimal)]
#[case::superscript("1²", AmountError::NotDecimal)]
#[case::ten_places("0.0000000001", AmountError::TooPrecise(9))]
#[case::forty_places("0.0000000000000000000000000000000000000001", AmountError::TooPrecise(9))]
#[case::beyond("1000000000000000000.000000001", AmountError::TooLarge)]
#[case::beyond_below("-1000000000000000000.000000001", AmountError::TooLarge)]
#[case::beyond_i128("99999999999999999999999999999999999999999999999999", AmountError::TooLarge)]
fn what_is_not_an_exact_amount_is_refused(#[case] text: &str, #[case] error: AmountError) {
    assert_eq!(text.parse::<Credits>(), Err(error));
    assert_eq!(text.parse::<Quantity>(), Err(error));
}

#[rstest]
#[case::long_number("9", AmountError::TooLarge)]
#[case::long_word("x", AmountError::NotDecimal)]
fn a_text_of_any_length_is_refused(#[case] letter: &str, #[case] error: AmountError) {
    assert_eq!(letter.repeat(100_000).parse::<Credits>(), Err(error));
    assert_eq!(format!("0.{}", "1".repeat(100_000)).parse::<Credits>(), Err(AmountError::TooPrecise(9)));
}

#[rstest]
#[case("1000000000", Ok("1000000000"))]
#[case("0.000000000000000001", Ok("0.000000000000000001"))]
#[case("1000000000.000000000000000001", Err(AmountError::TooLarge))]
#[case("0.0000000000000000001", Err(AmountError::TooPrecise(18)))]
#[case("-0.1", Err(AmountError::Negative))]
#[case("1e-6", Err(AmountError::NotDecimal))]
fn a_rate_has_its_own_range(#[case] text: &str, #[case] expected: Result<&str, AmountError>) {
    assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()), expected.map(str::to_owned));
}

#[test]
fn sums_end_at_the_boundary_instead_of_wrapping() {
    let least = Credits::from_nanos(1).expect("a billionth");
    assert_eq!(Credits::MAX.checked_add(least), Err(AmountError::TooLarge));
    assert_eq!(Credits::MAX.negated().checked_sub(least), Err(AmountError::TooLarge));
    assert_eq!(Credits::MAX.checked_sub(Credits::MAX), Ok(Credits::ZERO));
    assert_eq!(Credits::from_nanos(i128::MIN), Err(AmountError::TooLarge));
    assert_eq!(Credits::whole(i64::MAX), Credits::MAX);
}

#[test]
fn an_amount_that_must_not_be_negative_is_zero_or_more() {
    assert_eq!(Credits::parse_non_negative("-0.000000001"), Err(AmountError::Negative));
    assert_eq!(Credits::parse_non_negative("-0"), Ok(Credits::ZERO));
}

#[rstest]
#[case::tie_to_even_down("0.0000000005", "1", "0")]
#[case::tie_to_even_up("0.0000000015", "1", "0.000000002")]
#[case::tie_to_even_down_again("0.0000000025", "1", "0.000000002")]
#[case::above_the_tie("0.000000000500000001", "1", "0.000000001")]
#[case::below_the_tie("0.000000000499999999", "1", "0")]
#[case::negative_tie_down("0.0000000005", "-1", "0")]
#[case::negative_tie_up("0.0000000015", "-1", "-0.000000002")]
#[case::negative_above("0.000000000500000001", "-1", "-0.000000001")]
#[case::cents("0.01", "2", "0.02")]
#[case::free("0", "1000000000000000000", "0")]
#[case::largest("1", "1000000000000000000", "1000000000000000000")]
fn a_cost_is_rounded_half_to_even_once(#[case] rate: &str, #[case] quantity: &str, #[case] cost: &str) {
    let (rate, quantity): (Rate, Quantity) = (rate.parse().expect("a rate"), quantity.parse().expect("a quantity"));
    assert_eq!(rate.cost(quantity).map(|cost| cost.to_string()), Ok(cost.to_owned()));
}

#[test]
fn a_cost_beyond_the_largest_amount_is_refused() {
    let rate: Rate = "1.000000000000000001".parse().expect("a rate");
    assert_eq!(rate.cost(Quantity::MAX), Err(AmountError::TooLarge));
    let largest: Rate = "1000000000".parse().expect("a rate");
    assert_eq!(largest.cost(Quantity::MAX.negated()), Err(AmountError::TooLarge));
}

/// Long multiplication on decimal digits, lowest first: shares nothing with the arithmetic under test.
fn product_digits(one: u128, other: u128) -> Vec<u32> {
    let digits = |number: u128| number.to_string().bytes().rev().map(|byte| u32::from(byte - b'0')).collect::<Vec<_>>();
    let (one, other) = (digits(one), digits(other));
    let mut product = vec![0_u32; one.len() + other.len() + 18];
    for (i, a) in one.iter().enumerate() {
        for (j, b) in other.iter().enumerate() {
            product[i + j] += a * b;
        }
    }
    for place in 0..product.len() - 1 {
        product[place + 1] += product[place] / 10;
        product[place] %= 10;
    }
    product
}

/// The cost in billionths by long multiplication; `None` beyond 10^27.
fn reference_cost(rate: u128, quantity: i128) -> Option<i128> {
    let product = product_digits(rate, quantity.unsigned_abs());
    let (rest, whole) = product.split_at(18);
    let text: String = whole.iter().rev().map(|digit| char::from_digit(*digit, 10).expect("a digit")).collect();
    let text = text.trim_start_matches('0');
    let mut nanos: i128 = if text.len() > 30 { return None } else { text.parse().unwrap_or(0) };
    let half: Vec<u32> = (0..18).map(|place| if place == 17 { 5 } else { 0 }).collect();
    let order = rest.iter().rev().cmp(half.iter().rev());
    if order.is_gt() || (order.is_eq() && nanos % 2 == 1) {
        nanos += 1;
    }
    (nanos <= MAX_NANOS).then_some(nanos * quantity.signum())
}

fn rate(scaled: u128) -> Rate {
    let unit = 10_u128.pow(18);
    format!("{}.{:018}", scaled / unit, scaled % unit).parse().expect("a rate in range")
}

prop_compose! {
    /// Numbers of every length, not only of the longest; ties among them.
    fn scaled(digits: u32)(length in 0..=digits, raw in any::<u128>(), tie in any::<bool>()) -> u128 {
        let number = raw % 10_u128.pow(length).max(1);
        if tie && length > 9 { number / 1_000_000_000 * 1_000_000_000 + 500_000_000 } else { number }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(nanos in -MAX_NANOS..=MAX_NANOS) {
        let amount = Credits::from_nanos(nanos).expect("in range");
        prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        let json = serde_json::to_string(&amount).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Credits>(&json).expect("an amount"), amount);
        let quantity = Quantity::from_nanos(nanos).expect("in range");
        prop_assert_eq!(quantity.to_string().parse(), Ok(quantity));
    }

    #[test]
    fn a_rate_is_read_back(number in scaled(27)) {
        prop_assert_eq!(rate(number).to_string().parse(), Ok(rate(number)));
    }

    #[test]
    fn any_text_is_read_exactly_or_refused(text in "[-+ .0-9eE_x١]{0,24}") {
        if let Ok(amount) = text.parse::<Credits>() {
            let exact: rust_decimal::Decimal = text.parse().expect("what is an amount is a decimal");
            let written: rust_decimal::Decimal = amount.to_string().parse().expect("so is what is written");
            prop_assert_eq!(exact, written);
        }
    }

    #[test]
    fn a_cost_is_that_of_long_multiplication(number in scaled(27), units in scaled(27), negative in any::<bool>()) {
        let units = i128::try_from(units).expect("below 2^127");
        let units = if negative { -units } else { units };
        let cost = rate(number).cost(Quantity::from_nanos(units).expect("in range"));
        prop_assert_eq!(cost.ok().map(Credits::nanos), reference_cost(number, units));
    }

    #[test]
    fn more_units_never_cost_less(number in scaled(20), one in scaled(24), other in scaled(24)) {
        let cost = |units: u128| {
            let units = Quantity::from_nanos(i128::try_from(units).expect("below 2^127")).expect("in range");
            rate(number).cost(units).expect("in range")
        };
        prop_assert!(cost(one.min(other)) <= cost(one.max(other)));
    }

    #[test]
    fn a_return_costs_what_the_use_did(number in scaled(20), units in scaled(24)) {
        let units = Quantity::from_nanos(i128::try_from(units).expect("below 2^127")).expect("in range");
        let (used, returned) = (rate(number).cost(units), rate(number).cost(units.negated()));
        prop_assert_eq!(used.map(Credits::negated), returned);
    }

    #[test]
    fn money_is_read_back(minor in -1_000_000_000_000_000_i64..=1_000_000_000_000_000, code in "usd|jpy|kwd") {
        let currency: Currency = code.parse().expect("a currency");
        let money = Money::from_minor(minor, currency).expect("in range");
        prop_assert_eq!(Money::parse_major(&money.major(), currency), Ok(money));
    }
}

#[rstest]
#[case("jpy", "1000", 1_000, "1000")]
#[case("JPY", "1000.00", 1_000, "1000")]
#[case("usd", "10", 1_000, "10.00")]
#[case("usd", "-0.05", -5, "-0.05")]
#[case("kwd", "1.5", 1_500, "1.500")]
#[case("isk", "10.00", 1_000, "10.00")]
fn money_has_the_digits_of_its_currency(
    #[case] code: &str,
    #[case] text: &str,
    #[case] minor: i64,
    #[case] major: &str,
) {
    let money = Money::parse_major(text, code.parse().expect("a currency")).expect("money");
    assert_eq!((money.minor(), money.major().as_str()), (minor, major));
}

#[rstest]
#[case("jpy", "1.5", AmountError::TooPrecise(0))]
#[case("usd", "1.005", AmountError::TooPrecise(2))]
#[case("usd", "1.0000000001", AmountError::TooPrecise(2))]
#[case("kwd", "1.0005", AmountError::TooPrecise(3))]
#[case("usd", "1e3", AmountError::NotDecimal)]
#[case("usd", "10000000000000.01", AmountError::TooLarge)]
fn money_is_never_rounded(#[case] code: &str, #[case] text: &str, #[case] error: AmountError) {
    let money = Money::parse_major(text, code.parse().expect("a currency"));
    assert_eq!(money, Err(MoneyError::Amount(error)));
}

#[rstest]
#[case("")]
#[case("us")]
#[case("usdt")]
#[case("u$d")]
#[case("é1")]
#[case(" usd")]
fn a_currency_is_three_letters(#[case] text: &str) {
    assert_eq!(text.parse::<Currency>(), Err(MoneyError::Currency(text.to_owned())));
}

#[test]
fn two_currencies_do_not_add_up() {
    let money = |code: &str| Money::from_minor(1, code.parse().expect("a currency")).expect("money");
    let refused = money("usd").checked_add(money("eur")).expect_err("mixed");
    assert_eq!(refused.to_string(), "usd and eur do not add up: one sum has one currency");
    assert_eq!(money("usd").checked_add(money("usd")).map(Money::minor), Ok(2));
    assert!(Money::from_minor(i64::MIN, money("usd").currency()).is_err());
}
