//! Every refusal of what the catalogue file says about costs, with its exact words and line.

use rstest::rstest;

use crate::catalog_file::{read, refused, with_features};

#[rstest]
#[case::unknown("mesages = \"1\"", "mesages: there is no feature `mesages`; did you mean `messages`?")]
#[case::unknown_far("tokens = \"1\"", "tokens: there is no feature `tokens`; add it under [features] or mend the name")]
#[case::itself(
    "other = \"1\"",
    "other: a credit system cannot cost itself; list the metered features that draw from it"
)]
#[case::cycle(
    "credits = \"1\"",
    "credits: `credits` is a credit system, and one cannot draw from another; list metered features only"
)]
#[case::boolean("sso = \"1\"", "sso: feature `sso` is boolean, its use costs nothing; list metered features only")]
#[case::seats(
    "seats = \"1\"",
    "seats: feature `seats` is not consumable, its use is freed again; list consumable features only"
)]
#[case::negative("messages = \"-0.01\"", "messages: \"-0.01\" has to be zero or more")]
#[case::number("messages = 1", "messages: write \"1\" in quotes: amounts are exact decimals, never floats")]
#[case::float("messages = 0.01", "messages: write \"0.01\" in quotes: amounts are exact decimals, never floats")]
#[case::text(
    "messages = \"a cent\"",
    "messages: \"a cent\" has to be a decimal number such as \"12.5\", without exponent, signs other than a leading minus, or spaces"
)]
#[case::precise(
    "messages = \"0.0000000000000000001\"",
    "messages: \"0.0000000000000000001\" has more than 18 digits behind the point; amounts are exact and never rounded"
)]
#[case::large(
    "messages = \"1000000000.1\"",
    "messages: \"1000000000.1\" is larger than the largest cost of one unit, 10^9 credits"
)]
#[case::property_negative(
    "messages = { input_tokens = \"-1\" }",
    "messages.input_tokens: \"-1\" has to be zero or more"
)]
#[case::property_number(
    "messages = { input_tokens = 1 }",
    "messages.input_tokens: write \"1\" in quotes: amounts are exact decimals, never floats"
)]
#[case::property_large(
    "messages = { input_tokens = \"1000000000.1\" }",
    "messages.input_tokens: \"1000000000.1\" is larger than the largest cost of one unit, 10^9 credits"
)]
#[case::property_dotted(
    "messages = { usage.tokens = \"1\" }",
    "messages.usage: has to be a decimal in quotes, such as \"12.5\", not table"
)]
#[case::property_name(
    "messages = { \"a b\" = \"1\" }",
    "messages.\"a b\": a property's name has to be 1 to 128 letters, digits, `_`, `-` or `.`, and neither `when` nor `each`"
)]
#[case::each_negative("messages = { each = \"-5\" }", "messages.each: \"-5\" has to be zero or more")]
#[case::rule_of_nothing(
    "messages = { when = { model = \"x\" } }",
    "messages: says no cost; write each = \"1\" for each unit, or the cost of a property"
)]
#[case::no_rule("messages = []", "messages: the list says no cost; write one, or take it out")]
#[case::rule_of_text("messages = [\"1\"]", "messages[0]: has to be a table, not string")]
#[case::when_text("messages = { each = \"1\", when = \"gpt-4\" }", "messages.when: has to be a table, not string")]
#[case::when_empty(
    "messages = { each = \"1\", when = {} }",
    "messages.when: names no property; write one, or take it out so that the cost always fits"
)]
#[case::when_number(
    "messages = { each = \"1\", when = { tier = 1 } }",
    "messages.when.tier: has to be text in quotes, not integer"
)]
#[case::when_reserved(
    "messages = { each = \"1\", when = { each = \"1\" } }",
    "messages.when.each: a property's name has to be 1 to 128 letters, digits, `_`, `-` or `.`, and neither `when` nor `each`"
)]
#[case::when_star(
    "messages = { each = \"1\", when = { endpoint = \"*/premium\" } }",
    "messages.when.endpoint: has to be 1 to 128 bytes of text on one line, with `*` at its end at most: \"/v1/premium/*\""
)]
#[case::rule_twice(
    "messages = [{ each = \"1\", when = { a = \"x\" } }, { each = \"2\", when = { a = \"x\" } }]",
    "messages[1]: never decides: whatever fits it fits features.other.costs.messages[0] (line 13) before it; put it first, or take it out"
)]
#[case::rule_after_all(
    "messages = [{ each = \"1\" }, { each = \"2\", when = { a = \"x\" } }]",
    "messages[1]: never decides: whatever fits it fits features.other.costs.messages[0] (line 13) before it; put it first, or take it out"
)]
#[case::rule_after_wider(
    "messages = [{ each = \"1\", when = { a = \"x*\" } }, { each = \"2\", when = { a = \"xy*\", b = \"z\" } }]",
    "messages[1]: never decides: whatever fits it fits features.other.costs.messages[0] (line 13) before it; put it first, or take it out"
)]
#[case::seats_by_property(
    "seats = { hours = \"1\" }",
    "seats: feature `seats` is not consumable, its use is freed again; list consumable features only"
)]
fn a_cost_is_refused(#[case] cost: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!("[features.other]\ntype = \"credit_system\"\ncosts = {{ {cost} }}\n")));
    assert_eq!(found, [format!("line 13: features.other.costs.{expected}")]);
}

#[test]
fn two_credit_systems_that_cost_each_other_are_both_refused() {
    let found = refused(
        "[features.a]\ntype = \"credit_system\"\ncosts = { b = \"1\" }\n\
         [features.b]\ntype = \"credit_system\"\ncosts = { a = \"1\" }\n",
    );
    assert_eq!(
        found,
        [
            "line 3: features.a.costs.b: `b` is a credit system, and one cannot draw from another; list metered features only",
            "line 6: features.b.costs.a: `a` is a credit system, and one cannot draw from another; list metered features only",
        ]
    );
}

#[test]
fn rules_that_overlap_and_rules_that_differ_stand_beside_each_other() {
    let costs = |rules: &str| {
        with_features(&format!("[features.other]\ntype = \"credit_system\"\ncosts = {{ messages = [{rules}] }}\n"))
    };
    read(&costs(
        "{ each = \"1\", when = { a = \"x\" } }, { each = \"2\", when = { a = \"x*\" } }, { each = \"2\", when = { b = \"*\" } }, \
         { each = \"3\", when = { a = \"y\" } }, { each = \"4\" }",
    ));
}
