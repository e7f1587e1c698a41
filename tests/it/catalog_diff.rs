//! What `catalog plan` shows.

use creditd::domain::catalog::diff::diff;
use creditd::domain::catalog::{Catalog, file};

const SAMPLE: &str = include_str!("../../deploy/catalog.toml");

fn read(text: &str) -> Catalog {
    file::read(text).expect("the catalogue has no mistake")
}

fn lines(old: &str, new: &str) -> Vec<String> {
    diff(&read(old), &read(new)).iter().map(ToString::to_string).collect()
}

#[test]
fn equal_catalogues_differ_in_nothing() {
    assert_eq!(lines(SAMPLE, SAMPLE), [""; 0]);
    assert_eq!(lines("", ""), [""; 0]);
}

#[test]
fn a_first_catalogue_is_all_new() {
    assert_eq!(
        lines("", SAMPLE),
        [
            "+ feature basic_messages (consumable true; type metered)",
            "+ feature premium_messages (consumable true; type metered)",
            "+ feature usd_credits (costs.basic_messages 0.01; costs.premium_messages 0.1; type credit_system)",
            "+ plan free (auto_enable true; group main; name Free)",
            "+ item free.usd_credits (included 5; reset month)",
            "+ plan pro (group main; name Pro; revenue credits)",
            "+ item pro.usd_credits (included 10; reset month)",
            "+ price pro.usd_month (amount 10.00 usd; lookup_key pro_monthly; stripe_price price_pro)",
            "+ plan top_up (add_on true; name Top-up)",
            "+ item top_up.usd_credits",
            "+ pack top_up.usd_credits.1_for_usd (amount 1.00 usd; minimum 5; stripe_price price_usd_credit)",
        ]
    );
}

#[test]
fn what_goes_is_told_once_with_all_that_was_inside() {
    assert_eq!(
        lines(SAMPLE, ""),
        [
            "- feature basic_messages",
            "- feature premium_messages",
            "- feature usd_credits",
            "- plan free",
            "- plan pro",
            "- plan top_up",
        ]
    );
}

#[test]
fn each_changed_fact_has_its_path_and_both_texts() {
    let new = SAMPLE
        .replace("included = \"10\"", "included = \"12\"\nrollover = { max = \"20\", months = 1 }\npriority = 3")
        .replace("\"price_pro\"", "\"price_pro_2026\", also = [\"price_pro\"]")
        .replace("name = \"Free\"\n", "")
        .replace("premium_messages = \"0.10\"", "premium_messages = \"0.12\"")
        .replace("minimum = \"5\"", "minimum = \"10\"")
        .replace("expires_after = \"never\"", "expires_after = \"90 days\"");
    let new = format!(
        "default_credits = \"usd_credits\"\n\
         minimum_price_per_credit = {{ usd_credits = [{{ amount = \"0.5\", currency = \"usd\" }}] }}\n{new}"
    );
    assert_eq!(
        lines(SAMPLE, &new),
        [
            "~ default_credits: none -> usd_credits",
            "~ minimum_price_per_credit.usd_credits: none -> 0.50 usd",
            "~ features.usd_credits.costs.premium_messages: 0.1 -> 0.12",
            "~ plans.free.name: Free -> none",
            "~ plans.pro.items.usd_credits.included: 10 -> 12",
            "~ plans.pro.items.usd_credits.priority: none -> 3",
            "~ plans.pro.items.usd_credits.rollover: none -> at most 20 for 1 month",
            "~ plans.pro.prices.usd_month.also: none -> price_pro",
            "~ plans.pro.prices.usd_month.stripe_price: price_pro -> price_pro_2026",
            "~ plans.top_up.items.usd_credits.expires_after: none -> 90 days",
            "~ plans.top_up.items.usd_credits.packs.1_for_usd.minimum: 5 -> 10",
        ]
    );
}

#[test]
fn what_is_said_about_costs_and_usage_is_told() {
    let old = r#"[features.calls]
type = "metered"
[features.credits]
type = "credit_system"
costs = { calls = "1" }
[[plans.p.items]]
feature = "credits"
included = "5"
reset = "month"
rollover = {}
"#;
    let new = r#"[features.calls]
type = "metered"
events = ["api.call", "rest call"]
sum = "weight"
[features.credits]
type = "credit_system"
returned = "revive"
costs = { calls = [{ each = "5", tokens = "0.1", when = { path = "/v1/*", region = "eu" } }, { each = "1" }] }
[[plans.p.items]]
feature = "credits"
included = "5"
reset = "month"
rollover = { max_percent = 50, months = 2 }
overage = { limit = "100", amount = "0.0020", currency = "usd" }
"#;
    assert_eq!(
        lines(old, new),
        [
            "~ features.calls.events: none -> api.call, rest call",
            "~ features.calls.sum: none -> weight",
            "~ features.credits.costs.calls: 1 -> none",
            "~ features.credits.costs.calls#1: none -> 5 each + 0.1 by tokens when path is /v1/* and region is eu",
            "~ features.credits.costs.calls#2: none -> 1 each",
            "~ features.credits.returned: none -> revive",
            "~ plans.p.items.credits.overage: none -> up to 100 at 0.002 usd",
            "~ plans.p.items.credits.rollover: all -> at most 50 % for 2 months",
        ]
    );
    let repaid = new.replace(", amount = \"0.0020\", currency = \"usd\"", "");
    assert_eq!(
        lines(new, &repaid),
        ["~ plans.p.items.credits.overage: up to 100 at 0.002 usd -> up to 100, repaid by grants"]
    );
}

#[test]
fn two_prices_of_one_name_are_both_told() {
    let twice = |second: &str| {
        format!(
            "[plans.p]\nprices = [{{ amount = \"1\", currency = \"usd\", every = \"month\" }}, \
             {{ amount = \"{second}\", currency = \"usd\", every = \"month\" }}]\n"
        )
    };
    assert_eq!(lines(&twice("2"), &twice("3")), ["~ plans.p.prices.usd_month#2.amount: 2.00 usd -> 3.00 usd"]);
}
