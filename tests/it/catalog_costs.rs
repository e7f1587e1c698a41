//! What usage costs: cards by property, exactly and rounded once; whose usage an event is; what older rows mean.

use std::collections::BTreeMap;

use creditd::domain::burn::{Holdings, burn};
use creditd::domain::catalog::{
    Catalog, Cost, CostError, CostRule, Feature, Item, Pattern, Priced, Returned, Rollover, file,
};
use creditd::domain::credits::{AmountError, Credits, Quantity};
use creditd::domain::grant::Grant;
use creditd::domain::usage::{Property, Usage, UsageError};
use proptest::prelude::*;
use rstest::rstest;

use crate::burn_order::lot;
use crate::domain_laws::{credits, feature, quantity, time};

/// The numbers of the guides: a model by its tokens, an endpoint by its prefix, a heartbeat by its event.
const TEXT: &str = r#"
[features.gpt_call]
type = "metered"
[features.api_call]
type = "metered"
events = ["api.call"]
[features.inference]
type = "metered"
events = ["model.inference", "compute.minute"]
sum = "credits"
[features.messages]
type = "metered"
[features.credits]
type = "credit_system"
returned = "revive"
[features.credits.costs]
messages = "0.01"
inference = "1"
gpt_call = [
  { input_tokens = "0.0000025", output_tokens = "0.00001", when = { model = "gpt-4" } },
  { each = "0.5", input_tokens = "0.000001", when = { model = "o*", region = "eu" } },
]
api_call = [ { each = "5", when = { endpoint = "/v1/premium/*" } }, { each = "1" } ]
[features.points]
type = "credit_system"
costs = { gpt_call = "3", api_call = { each = "2" } }
"#;

fn catalog() -> Catalog {
    file::read(TEXT).expect("the catalogue has no mistake")
}

fn properties(listed: &[(&str, Property)]) -> BTreeMap<String, Property> {
    listed.iter().map(|(name, property)| ((*name).to_owned(), property.clone())).collect()
}

fn text(text: &str) -> Property {
    Property::Text(text.to_owned())
}

fn number(text: &str) -> Property {
    Property::Number(quantity(text))
}

fn usage(of: &str, listed: &[(&str, Property)]) -> Usage {
    Usage::new(quantity(of), properties(listed)).expect("properties that are taken")
}

/// Each pool with its total, and whether it is the feature's own.
fn totals(priced: &Priced) -> Vec<(String, bool, String)> {
    let told = priced.pools.iter();
    let told = told.map(|pool| {
        (pool.feature.to_string(), pool.own, pool.cost(priced.quantity).expect("a total that fits").to_string())
    });
    told.collect()
}

fn told(of: &str, usage: &Usage) -> Vec<(String, bool, String)> {
    totals(&catalog().priced(&feature(of), usage).expect("usage with a price"))
}

fn pools(listed: &[(&str, bool, &str)]) -> Vec<(String, bool, String)> {
    listed.iter().map(|(name, own, total)| ((*name).to_owned(), *own, (*total).to_owned())).collect()
}

#[test]
fn a_model_costs_its_tokens() {
    let listed = [("model", text("gpt-4")), ("input_tokens", number("2000")), ("output_tokens", number("500"))];
    assert_eq!(
        told("gpt_call", &usage("1", &listed)),
        pools(&[("gpt_call", true, "1"), ("credits", false, "0.01"), ("points", false, "3")])
    );
    // Tokens are counted as they are told, whatever the quantity; a rate counts the quantity.
    assert_eq!(
        told("gpt_call", &usage("2.5", &listed)),
        pools(&[("gpt_call", true, "2.5"), ("credits", false, "0.01"), ("points", false, "7.5")])
    );
}

#[rstest]
#[case::premium("/v1/premium/search", "1", "5")]
#[case::premium_itself("/v1/premium/", "1", "5")]
#[case::twice("/v1/premium/search", "2", "10")]
#[case::standard("/v1/premium", "1", "1")]
#[case::another("/v2/v1/premium/search", "1", "1")]
fn an_endpoint_costs_by_its_prefix(#[case] endpoint: &str, #[case] of: &str, #[case] total: &str) {
    let listed = [("endpoint", text(endpoint))];
    assert_eq!(told("api_call", &usage(of, &listed))[1], ("credits".to_owned(), false, total.to_owned()));
}

#[test]
fn a_property_that_is_not_text_fits_no_pattern_and_the_last_rule_needs_none() {
    for listed in [vec![], vec![("endpoint", number("1"))], vec![("endpoint", Property::Flag(true))]] {
        assert_eq!(told("api_call", &usage("1", &listed))[1].2, "1");
    }
}

#[test]
fn all_patterns_of_a_rule_have_to_match() {
    let listed = [("model", text("o3")), ("region", text("eu")), ("input_tokens", number("1000"))];
    assert_eq!(told("gpt_call", &usage("1", &listed))[1].2, "0.501");
    let listed = [("model", text("o3")), ("region", text("us")), ("input_tokens", number("1000"))];
    let refused = catalog().priced(&feature("gpt_call"), &usage("1", &listed)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no cost of `gpt_call` in `credits` fits this usage; which one does hangs on `model`, `region`"
    );
    assert_eq!(refused.property(), Some("model"));
}

#[rstest]
#[case::missing(
    "1",
    vec![("model", text("gpt-4")), ("input_tokens", number("1"))],
    Some("output_tokens"),
    "property `output_tokens` is missing; what `gpt_call` costs is counted by it"
)]
#[case::text(
    "1",
    vec![("model", text("gpt-4")), ("input_tokens", text("2000")), ("output_tokens", number("1"))],
    Some("input_tokens"),
    "property `input_tokens` has to be a number; what `gpt_call` costs is counted by it"
)]
#[case::flag(
    "1",
    vec![("model", text("gpt-4")), ("input_tokens", Property::Flag(true)), ("output_tokens", number("1"))],
    Some("input_tokens"),
    "property `input_tokens` has to be a number; what `gpt_call` costs is counted by it"
)]
#[case::negative(
    "1",
    vec![("model", text("gpt-4")), ("input_tokens", number("-0.000000001")), ("output_tokens", number("1"))],
    Some("input_tokens"),
    "property `input_tokens` has to be zero or more; what `gpt_call` costs is counted by it"
)]
#[case::nothing(
    "1",
    vec![],
    Some("model"),
    "no cost of `gpt_call` in `credits` fits this usage; which one does hangs on `model`, `region`"
)]
#[case::negative_quantity(
    "-1",
    vec![("model", text("gpt-4")), ("input_tokens", number("1")), ("output_tokens", number("1"))],
    None,
    "quantity has to be zero or more; what `gpt_call` costs hangs on properties"
)]
fn usage_without_a_price_is_refused_by_property(
    #[case] of: &str,
    #[case] listed: Vec<(&str, Property)>,
    #[case] property: Option<&str>,
    #[case] words: &str,
) {
    let refused = catalog().priced(&feature("gpt_call"), &usage(of, &listed)).unwrap_err();
    assert_eq!((refused.property(), refused.to_string().as_str()), (property, words));
}

#[test]
fn plain_rates_are_the_pools_and_the_quantity_as_ever() {
    let catalog = catalog();
    for of in ["3", "0", "-3", "0.333333333"] {
        let priced = catalog.priced(&feature("messages"), &usage(of, &[("model", text("any"))])).unwrap();
        assert_eq!(priced, Priced { pools: catalog.pools(&feature("messages")), quantity: quantity(of) });
    }
    let unknown = catalog.priced(&feature("nothing"), &Usage::of(quantity("1"))).unwrap();
    assert_eq!(unknown.pools, []);
}

/// Which pools there are does not hang on properties; a balance is asked for without any.
#[test]
fn pools_are_there_without_properties() {
    let pools = catalog().pools(&feature("gpt_call"));
    let named: Vec<(&str, bool)> = pools.iter().map(|pool| (pool.feature.as_str(), pool.own)).collect();
    assert_eq!(named, [("gpt_call", true), ("credits", false), ("points", false)]);
}

#[test]
fn one_rule_that_always_fits_is_a_rate() {
    let catalog = catalog();
    let Some(Feature::CreditSystem { costs, .. }) = catalog.features.get(&feature("points")) else {
        panic!("points are a credit system")
    };
    assert_eq!(costs[&feature("api_call")], Cost::Each("2".parse().unwrap()));
}

/// A pool of rate zero would pay all of a usage with nothing, and be the first to do so.
#[test]
fn usage_of_no_unit_is_not_paid_by_the_features_own_grants() {
    let listed = [("model", text("gpt-4")), ("input_tokens", number("2000")), ("output_tokens", number("500"))];
    let usage = usage("0", &listed);
    assert_eq!(told("gpt_call", &usage), pools(&[("credits", false, "0.01"), ("points", false, "0")]));
}

fn burnt(of: &str, usage: &Usage, grants: &[Grant]) -> (Vec<(String, String)>, String) {
    let priced = catalog().priced(&feature(of), usage).unwrap();
    let holdings = Holdings { grants, debts: &[], entity: "", now: time("2026-06-01T00:00:00Z") };
    let paid = burn(holdings, &priced.pools, priced.quantity).unwrap().unwrap();
    let draws = paid.draws.iter().map(|draw| (draw.pool.to_string(), draw.amount.to_string())).collect();
    (draws, paid.shortfall.to_string())
}

fn grant(id: u128, of: &str, remaining: &str) -> Grant {
    Grant { feature: feature(of), remaining: credits(remaining), original: credits(remaining), ..lot(id) }
}

#[test]
fn what_a_card_says_is_what_is_burnt_split_over_pools_by_the_share_each_pays() {
    let listed = [("model", text("gpt-4")), ("input_tokens", number("2000")), ("output_tokens", number("500"))];
    let usage = usage("1", &listed);
    let paid = |grants: &[Grant]| burnt("gpt_call", &usage, grants);
    let draws = |listed: &[(&str, &str)]| -> Vec<(String, String)> {
        listed.iter().map(|(pool, amount)| ((*pool).to_owned(), (*amount).to_owned())).collect()
    };
    assert_eq!(paid(&[grant(1, "credits", "1")]), (draws(&[("credits", "0.01")]), "0".to_owned()));
    // A quarter of a call is the feature's own, half of the rest is paid in credits, what is left in points at 3.
    let grants = [grant(1, "gpt_call", "0.25"), grant(2, "credits", "0.00375"), grant(3, "points", "1")];
    assert_eq!(
        paid(&grants),
        (draws(&[("gpt_call", "0.25"), ("credits", "0.00375"), ("points", "1")]), "0.125".to_owned())
    );
}

/// A total may be far more than the largest rate of one unit that can be written.
#[test]
fn a_large_total_is_exact_and_too_large_a_one_is_refused() {
    let listed =
        |tokens: &str| [("model", text("gpt-4")), ("input_tokens", number(tokens)), ("output_tokens", number("0"))];
    let large = usage("1000000000000000000", &listed("399999999999999999.999600000"));
    assert_eq!(told("gpt_call", &usage("1", &listed("399999999999999999.999600000")))[1].2, "999999999999.999999999");
    let total = catalog().priced(&feature("gpt_call"), &large).unwrap_err();
    let error = AmountError::TooLarge;
    assert_eq!(total, CostError::Amount { feature: feature("gpt_call"), error }, "three points each are too many");
    let paid =
        burnt("gpt_call", &usage("1", &listed("399999999999999999.9996")), &[grant(1, "credits", "1000000000000")]);
    assert_eq!(paid.0, [("credits".to_owned(), "999999999999.999999999".to_owned())]);
}

#[rstest]
#[case::listed("api.call", Some("api_call"))]
#[case::listed_second("compute.minute", Some("inference"))]
#[case::a_feature_lists_nothing("messages", None)]
#[case::another_case("API.call", None)]
#[case::unknown("nothing", None)]
fn an_event_counts_for_the_feature_that_lists_it(#[case] event: &str, #[case] expected: Option<&str>) {
    assert_eq!(catalog().feature_of_event(event).map(ToString::to_string).as_deref(), expected);
}

#[rstest]
#[case::one_each("api_call", None, vec![("credits", number("9"))], Ok("1"))]
#[case::given("api_call", Some("3"), vec![], Ok("3"))]
#[case::sum("inference", None, vec![("credits", number("25"))], Ok("25"))]
#[case::given_wins("inference", Some("2"), vec![("credits", number("25"))], Ok("2"))]
#[case::given_alone("inference", Some("2"), vec![], Ok("2"))]
#[case::missing("inference", None, vec![], Err("property `credits` is missing; what `inference` costs is counted by it"))]
#[case::no_number(
    "inference",
    None,
    vec![("credits", text("25"))],
    Err("property `credits` has to be a number; what `inference` costs is counted by it")
)]
fn an_event_says_how_much_was_used(
    #[case] of: &str,
    #[case] given: Option<&str>,
    #[case] listed: Vec<(&str, Property)>,
    #[case] expected: Result<&str, &str>,
) {
    let found = catalog().usage_of_event(&feature(of), given.map(quantity), properties(&listed));
    let expected = expected.map(|of| usage(of, &listed)).map_err(str::to_owned);
    assert_eq!(found.map_err(|error| error.to_string()), expected);
}

#[test]
fn properties_from_outside_are_held_against_what_is_kept() {
    let taken = |listed: BTreeMap<String, Property>| Usage::new(quantity("1"), listed).map(|_| ());
    let many = |count: usize| (0..count).map(|index| (format!("p{index}"), Property::Flag(true))).collect();
    assert_eq!(taken(many(50)), Ok(()));
    assert_eq!(taken(many(51)), Err(UsageError::TooMany(51)));
    let named = |name: &str| taken(properties(&[(name, Property::Flag(true))]));
    assert_eq!(named(&"n".repeat(128)), Ok(()));
    for name in ["", "a\nb", &"n".repeat(129)] {
        assert!(matches!(named(name), Err(UsageError::Name(_))), "{name:?}");
    }
    let says = |length: usize| taken(properties(&[("p", text(&"t".repeat(length)))]));
    assert_eq!((says(500), says(501)), (Ok(()), Err(UsageError::Text("p".to_owned()))));
    assert_eq!(taken(properties(&[("p", text("a\0b"))])), Err(UsageError::Text("p".to_owned())));
}

/// Rows as earlier versions wrote them.
#[test]
fn older_rows_mean_what_they_meant() {
    let read = |text: &str| serde_json::from_str::<Feature>(text).expect("a row that an earlier version wrote");
    assert_eq!(read(r#"{"type":"metered","consumable":true}"#), Feature::consumable());
    let costs = BTreeMap::from([(feature("messages"), Cost::Each("0.01".parse().unwrap()))]);
    let system = r#"{"type":"credit_system","costs":{"messages":"0.01"}}"#;
    assert_eq!(read(system), Feature::credit_system(costs));
    // What says nothing new is written as before, so that a daemon of the version before reads it.
    assert_eq!(serde_json::to_string(&read(system)).unwrap(), system);
    let metered = r#"{"type":"metered","consumable":false}"#;
    assert_eq!(serde_json::to_string(&read(metered)).unwrap(), metered);
    let rollover: Rollover = serde_json::from_str(r#"{"max":"20","months":1}"#).unwrap();
    assert_eq!(rollover, Rollover { max: Some(credits("20")), max_percent: None, months: Some(1) });
    assert_eq!(serde_json::to_string(&rollover).unwrap(), r#"{"max":"20","months":1}"#);
    let item = r#"{"id":"a","feature":"a","included":"5","unlimited":false,"reset":null,"anchor":{"kind":"anniversary"},"rollover":null,"packs":[],"expires_after":"never","priority":null}"#;
    let item: Item = serde_json::from_str(item).unwrap();
    assert_eq!(item.overage, None);
    assert!(!serde_json::to_string(&item).unwrap().contains("overage"));
}

#[test]
fn what_becomes_of_returned_credits_is_said_by_the_feature_they_are_of() {
    let catalog = catalog();
    let returned = ["credits", "points", "messages", "nothing"].map(|name| catalog.returned(&feature(name)));
    assert_eq!(returned, [Returned::Revive, Returned::Expire, Returned::Expire, Returned::Expire]);
}

/// Decimals as digits, multiplied and added the way a child does it: slow, and with no limit to run into.
mod slow {
    /// Digits of `value`, lowest first, as a count of 10^-`places`.
    fn digits(text: &str, places: usize) -> Vec<u32> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let padded = format!("{whole}{fraction:0<places$}");
        padded.chars().rev().map(|digit| digit.to_digit(10).unwrap()).collect()
    }

    fn times(left: &[u32], right: &[u32]) -> Vec<u32> {
        let mut product = vec![0; left.len() + right.len() + 1];
        for (place, digit) in left.iter().enumerate() {
            for (other_place, other) in right.iter().enumerate() {
                product[place + other_place] += digit * other;
            }
            carry(&mut product);
        }
        product
    }

    fn plus(left: &[u32], right: &[u32]) -> Vec<u32> {
        let length = left.len().max(right.len()) + 1;
        let digit = |of: &[u32], place: usize| of.get(place).copied().unwrap_or(0);
        let mut sum: Vec<u32> = (0..length).map(|place| digit(left, place) + digit(right, place)).collect();
        carry(&mut sum);
        sum
    }

    fn carry(digits: &mut [u32]) {
        let mut over = 0;
        for digit in digits {
            over += *digit;
            *digit = over % 10;
            over /= 10;
        }
    }

    /// The sum of rate times quantity, half to even at the ninth place, as text with nine places.
    pub fn cost(parts: &[(String, String)]) -> String {
        let sum =
            parts.iter().fold(vec![0; 40], |sum, (rate, of)| plus(&sum, &times(&digits(rate, 18), &digits(of, 9))));
        let (rest, kept) = sum.split_at(18);
        let half = rest[17] == 5 && rest[..17].iter().all(|digit| *digit == 0);
        let up = if half { kept[0] % 2 == 1 } else { rest[17] >= 5 };
        let mut kept = plus(kept, &[u32::from(up)]);
        while kept.len() > 10 && kept.last() == Some(&0) {
            kept.pop();
        }
        let text: String = kept.iter().rev().map(ToString::to_string).collect();
        let (whole, fraction) = text.split_at(text.len() - 9);
        format!("{whole}.{fraction}")
    }
}

#[test]
fn the_slow_way_rounds_half_to_even() {
    let cost = |rate: &str, of: &str| slow::cost(&[(rate.to_owned(), of.to_owned())]);
    assert_eq!(cost("0.0000000005", "1"), "0.000000000");
    assert_eq!(cost("0.0000000015", "1"), "0.000000002");
    assert_eq!(cost("0.0000000025", "1"), "0.000000002");
    assert_eq!(cost("0.000000000500000001", "1"), "0.000000001");
    assert_eq!(cost("12", "3.5"), "42.000000000");
}

fn rates() -> impl Strategy<Value = String> {
    prop_oneof!["0\\.[0-9]{18}", "[0-9]{1,8}\\.[0-9]{1,18}", "0\\.0{8}[0-9]{1,3}", "0\\.[0-9]{8}[05]"]
}

fn quantities() -> impl Strategy<Value = String> {
    prop_oneof!["[0-9]{1,7}", "[0-9]{1,9}\\.[0-9]{1,9}", "[0-9]\\.5", "0\\.0{8}[0-9]"]
}

proptest! {
    /// Each part alone would be rounded; the sum is, once.
    #[test]
    fn a_card_costs_what_the_slow_way_says(
        each in rates(), of in quantities(), parts in proptest::collection::vec((rates(), quantities()), 0..8)
    ) {
        let named = |index: usize| format!("p{index}");
        let rule = CostRule {
            when: BTreeMap::new(),
            each: Some(each.parse().unwrap()),
            properties: (0..).zip(&parts).map(|(index, (rate, _))| (named(index), rate.parse().unwrap())).collect(),
        };
        let counted = (0..).zip(&parts).map(|(index, (_, of))| (named(index), number(of))).collect();
        let usage = Usage::new(quantity(&of), counted).unwrap();
        let found = rule.cost(&feature("calls"), &usage).unwrap();
        let slow = slow::cost(&[&[(each, of)], parts.as_slice()].concat());
        prop_assert_eq!(found, slow.parse::<Credits>().unwrap());
    }

    /// The first rule that fits decides, wherever it stands among the others.
    #[test]
    fn the_order_of_rules_decides(
        patterns in proptest::collection::vec("(a|b|ab|\\*|a\\*|ab\\*|b\\*)", 1..6), asked in "[ab]{1,3}"
    ) {
        let rule = |(index, pattern): (i64, &String)| CostRule {
            when: BTreeMap::from([("model".to_owned(), Pattern::new(pattern).unwrap())]),
            each: Some(index.to_string().parse().unwrap()),
            properties: BTreeMap::new(),
        };
        let rules: Vec<CostRule> = (1..).zip(&patterns).map(rule).collect();
        let costs = BTreeMap::from([(feature("calls"), Cost::Card(rules))]);
        let catalog = Catalog {
            features: BTreeMap::from([
                (feature("calls"), Feature::consumable()),
                (feature("credits"), Feature::credit_system(costs)),
            ]),
            ..Catalog::default()
        };
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => asked.starts_with(beginning),
            None => *pattern == asked,
        };
        let expected = (1_i64..).zip(&patterns).find(|(_, pattern)| fits(pattern)).map(|(index, _)| Credits::whole(index));
        let found = catalog.priced(&feature("calls"), &usage("1", &[("model", text(&asked))]));
        let found = found.ok().map(|priced| priced.pools[1].cost(priced.quantity).unwrap());
        prop_assert_eq!(found, expected);
    }

    /// A file with a part torn out, doubled or spoilt is read or refused, each mistake at a line it has; what is read has
    /// rules that each say a cost.
    #[test]
    fn a_spoilt_file_is_read_or_refused(
        from in 0_usize..1_000, length in 0_usize..40, put in "(|\\PC{0,3}|\"|\\{|\\}|\\[|\\]|,|=|\n|-1|\\*|when|each)"
    ) {
        let whole = include_str!("../fixtures/catalog/every_form.toml");
        let letters: Vec<char> = whole.chars().collect();
        let start = from.min(letters.len());
        let end = (start + length).min(letters.len());
        let spoilt: String = letters[..start].iter().copied().chain(put.chars()).chain(letters[end..].iter().copied()).collect();
        match file::read(&spoilt) {
            Err(mistakes) => {
                let lines = spoilt.split('\n').count();
                prop_assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| (1..=lines).contains(&mistake.line)));
            }
            Ok(catalog) => {
                for kind in catalog.features.values() {
                    let Feature::CreditSystem { costs, .. } = kind else { continue };
                    for cost in costs.values() {
                        let Cost::Card(rules) = cost else { continue };
                        prop_assert!(!rules.is_empty());
                        prop_assert!(rules.iter().all(|rule| rule.each.is_some() || !rule.properties.is_empty()));
                    }
                }
            }
        }
    }

    /// Cards survive being stored, as rates do.
    #[test]
    fn a_card_survives_being_stored(each in rates(), counted in rates(), pattern in "[a-z/]{1,9}\\*?") {
        let rule = CostRule {
            when: BTreeMap::from([("endpoint".to_owned(), Pattern::new(&pattern).unwrap())]),
            each: Some(each.parse().unwrap()),
            properties: BTreeMap::from([("tokens".to_owned(), counted.parse().unwrap())]),
        };
        for cost in [Cost::Card(vec![rule.clone(), CostRule::default()]), Cost::Each(each.parse().unwrap())] {
            let feature = Feature::credit_system(BTreeMap::from([(feature("calls"), cost)]));
            let stored = serde_json::to_value(&feature).unwrap();
            let by_text: Feature = serde_json::from_str(&stored.to_string()).unwrap();
            prop_assert_eq!(&by_text, &feature);
            prop_assert_eq!(serde_json::from_value::<Feature>(stored).unwrap(), feature);
        }
    }

    /// Whatever text a property's value is, a pattern of it matches it and nothing is out of bounds.
    #[test]
    fn patterns_match_what_they_say(words in "\\PC{1,40}", more in "\\PC{0,20}") {
        prop_assume!(!words.contains('*'));
        let whole = Pattern::new(&words).unwrap();
        let beginning = Pattern::new(&format!("{words}*")).unwrap();
        let longer = format!("{words}{more}");
        prop_assert!(whole.matches(&words) && beginning.matches(&words) && beginning.matches(&longer));
        prop_assert_eq!(whole.matches(&longer), more.is_empty());
    }
}

#[test]
fn quantities_of_a_usage_are_what_they_were() {
    let usage = usage("2", &[("tokens", number("0.5")), ("cached", Property::Flag(false)), ("model", text("x"))]);
    let stored = serde_json::to_string(&usage).unwrap();
    assert_eq!(
        stored,
        r#"{"quantity":"2","properties":{"cached":{"flag":false},"model":{"text":"x"},"tokens":{"number":"0.5"}}}"#
    );
    assert_eq!(serde_json::from_str::<Usage>(&stored).unwrap(), usage);
    let plain = serde_json::to_string(&Usage::of(Quantity::whole(1))).unwrap();
    assert_eq!(plain, r#"{"quantity":"1"}"#);
}
