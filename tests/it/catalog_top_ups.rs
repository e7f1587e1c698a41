//! Top-up rules of the catalogue file: what is read, what is refused and at which line, and what a change of one looks like.

use creditd::domain::catalog::diff::diff;
use creditd::domain::top_up::{Buy, Ceiling, ChargeMode, PlanTopUp};
use rstest::rstest;

use crate::catalog_file::{plan, read, refused, with_features};

/// Nine lines behind the ten of the features: a case's lines begin at line 20.
const SHOP: &str = r#"[plans.packs]
add_on = true
[[plans.packs.items]]
feature = "credits"
packs = [{ credits = "10", amount = "1.00", currency = "usd" }, { credits = "10", amount = "0.90", currency = "eur" }]
[[plans.packs.items]]
feature = "messages"
packs = [{ credits = "100", amount = "2", currency = "jpy" }]
[[plans.pro.top_ups]]
"#;

const GOOD: &str = r#"feature = "credits"
threshold = "5"
quantity = "25"
currency = "usd"
max_per_month = { money = "100.00" }
"#;

fn text(rule: &str) -> String {
    with_features(&format!("{SHOP}{rule}"))
}

/// The good rule with one line in place of the one that begins so; an empty one takes it out.
fn changed(key: &str, line: &str) -> String {
    let lines = GOOD.lines().map(|known| if known.starts_with(key) { line } else { known });
    text(&(lines.collect::<Vec<_>>().join("\n") + "\n"))
}

fn rule(text: &str) -> PlanTopUp {
    plan(&read(text), "pro").top_ups[0].clone()
}

#[test]
fn a_rule_is_read_with_all_it_can_say_and_with_the_least() {
    let least = rule(&text(GOOD));
    let wanted = PlanTopUp {
        feature: creditd::domain::catalog::FeatureId::new("credits").unwrap(),
        threshold: "5".parse().unwrap(),
        buy: Buy::Quantity("25".parse().unwrap()),
        currency: "usd".parse().unwrap(),
        mode: ChargeMode::PaymentIntent,
        per_day: Ceiling::default(),
        per_month: Ceiling { count: None, minor: Some(10_000) },
        cooldown_seconds: 0,
        consent: None,
    };
    assert_eq!(least, wanted);
    let all = format!(
        "{}mode = \"invoice\"\nmax_per_day = {{ count = 2, money = \"5.00\" }}\ncooldown_seconds = 60\nconsent = \"v1\"\n",
        GOOD.replace("quantity = \"25\"", "target = \"30\"").replace("threshold = \"5\"", "threshold = \"-5\"")
    );
    let all = rule(&text(&all));
    assert_eq!((all.threshold.to_string(), all.buy), ("-5".to_owned(), Buy::Target("30".parse().unwrap())));
    assert_eq!((all.mode, all.per_day), (ChargeMode::Invoice, Ceiling { count: Some(2), minor: Some(500) }));
    assert_eq!((all.cooldown_seconds, all.consent.as_deref()), (60, Some("v1")));
}

#[test]
fn the_only_currency_of_the_packs_need_not_be_written() {
    let only = rule(&text(
        "feature = \"messages\"\nthreshold = \"5\"\nquantity = \"150\"\nmax_per_month = { money = \"100\" }\n",
    ));
    assert_eq!((only.currency.to_string(), only.per_month.minor), ("jpy".to_owned(), Some(100)));
}

#[test]
fn packs_of_the_plan_itself_will_do_and_those_of_another_plan_will_not() {
    let packs = "packs = [{ credits = \"1\", amount = \"1.00\", currency = \"chf\" }]\n";
    let swiss = GOOD.replace("usd", "chf");
    let other = format!("[[plans.other.items]]\nfeature = \"credits\"\nincluded = \"1\"\n{packs}");
    let own = format!("[[plans.pro.items]]\nfeature = \"credits\"\nincluded = \"1\"\n{packs}");
    assert_eq!(rule(&text(&format!("{swiss}{own}"))).currency.to_string(), "chf");
    assert_eq!(
        refused(&text(&format!("{swiss}{other}"))),
        ["line 23: plans.pro.top_ups[0].currency: no packs of `credits` are sold in chf"]
    );
}

#[rstest]
#[case::key(
    "consent",
    "",
    "window = \"day\"",
    25,
    "window: is not a known key; known here are feature, threshold, quantity, target, currency, mode, max_per_day, max_per_month, cooldown_seconds, consent"
)]
#[case::no_feature("feature", "", "", 19, "feature: is missing; write the feature whose credits it watches and buys")]
#[case::feature_unknown(
    "feature",
    "feature = \"creditz\"",
    "",
    20,
    "feature: there is no feature `creditz`; did you mean `credits`?"
)]
#[case::feature_boolean("feature", "feature = \"sso\"", "", 20, "feature: feature `sso` is boolean, it has no credits")]
#[case::not_sold(
    "feature",
    "feature = \"seats\"",
    "",
    20,
    "feature: no packs of `seats` are sold to whoever has plan `pro`: write some in this plan, or a plan of packs alone"
)]
#[case::no_threshold(
    "threshold",
    "",
    "",
    19,
    "threshold: is missing; write the balance at which it buys, such as \"5000\""
)]
#[case::threshold_number(
    "threshold",
    "threshold = 5",
    "",
    21,
    "threshold: write \"5\" in quotes: amounts are exact decimals, never floats"
)]
#[case::nothing_bought(
    "quantity",
    "",
    "",
    19,
    "quantity: is missing; write how many credits it buys, or the balance to buy up to as `target`"
)]
#[case::both(
    "quantity",
    "quantity = \"25\"",
    "target = \"30\"",
    25,
    "target: goes in place of `quantity`, not beside it; take one out"
)]
#[case::zero("quantity", "quantity = \"0\"", "", 22, "quantity: has to be more than zero: it would buy nothing")]
#[case::low_target(
    "quantity",
    "target = \"5\"",
    "",
    22,
    "target: has to be above `threshold`: at the threshold it would buy nothing"
)]
#[case::too_much(
    "quantity",
    "quantity = \"90000000\"",
    "",
    22,
    "quantity: this is more than one purchase can be: at most eight digits of money"
)]
#[case::which_currency(
    "currency",
    "",
    "",
    19,
    "currency: is missing; packs of `credits` are sold in eur, usd: write which"
)]
#[case::other_currency("currency", "currency = \"gbp\"", "", 23, "currency: no packs of `credits` are sold in gbp")]
#[case::no_currency(
    "currency",
    "currency = \"dollar\"",
    "",
    23,
    "currency: currency `dollar` has to be three letters such as \"usd\""
)]
#[case::no_month(
    "max_per_month",
    "",
    "",
    19,
    "max_per_month: is missing; write the most money of a month, such as max_per_month = { money = \"100.00\" }"
)]
#[case::no_month_money(
    "max_per_month",
    "max_per_month = { count = 5 }",
    "",
    24,
    "max_per_month.money: is missing; write the most money of a month: nothing is charged without one"
)]
#[case::month_number(
    "max_per_month",
    "max_per_month = { money = 5 }",
    "",
    24,
    "max_per_month.money: write \"5\" in quotes: amounts are exact decimals, never floats"
)]
#[case::month_precise(
    "max_per_month",
    "max_per_month = { money = \"5.001\" }",
    "",
    24,
    "max_per_month.money: \"5.001\" has more than 2 digits behind the point; amounts are exact and never rounded"
)]
#[case::month_zero(
    "max_per_month",
    "max_per_month = { money = \"0\" }",
    "",
    24,
    "max_per_month.money: has to be more than zero: take the rule out to charge nothing"
)]
#[case::month_currency(
    "max_per_month",
    "max_per_month = { money = \"9\", currency = \"usd\" }",
    "",
    24,
    "max_per_month.currency: is not a known key; known here are count, money"
)]
#[case::month_small(
    "max_per_month",
    "max_per_month = { money = \"2.99\" }",
    "",
    24,
    "max_per_month: one top-up costs 3.00 USD, which is above this most of money"
)]
#[case::day_small(
    "consent",
    "",
    "max_per_day = { money = \"1\" }",
    25,
    "max_per_day: one top-up costs 3.00 USD, which is above this most of money"
)]
#[case::day_count(
    "consent",
    "",
    "max_per_day = { count = 0 }",
    25,
    "max_per_day.count: has to be a whole number from 1 to 1000000"
)]
#[case::day_text("consent", "", "max_per_day = \"5\"", 25, "max_per_day: has to be a table, not string")]
#[case::mode("consent", "", "mode = \"cash\"", 25, "mode: has to be \"payment_intent\" or \"invoice\"")]
#[case::cooldown(
    "consent",
    "",
    "cooldown_seconds = -1",
    25,
    "cooldown_seconds: has to be a whole number from 0 to 31536000"
)]
#[case::consent("consent", "", "consent = \"\"", 25, "consent: has to be 1 to 128 bytes of text on one line")]
fn every_mistake_is_named_with_its_line(
    #[case] key: &str,
    #[case] line: &str,
    #[case] more: &str,
    #[case] at: usize,
    #[case] message: &str,
) {
    let said = refused(&(changed(key, line) + more + "\n"));
    let wanted = format!("line {at}: plans.pro.top_ups[0].{message}");
    assert!(said.contains(&wanted), "{said:#?}");
}

#[test]
fn one_feature_has_one_rule_in_a_plan_and_a_plan_at_most_twenty() {
    let twice = refused(&text(&format!("{GOOD}[[plans.pro.top_ups]]\n{GOOD}")));
    let message = "plans.pro.top_ups[1].feature: the plan has a rule about `credits` already; one feature has one";
    assert_eq!(twice, [format!("line 26: {message}")]);
    let many = format!("{GOOD}{}", format!("[[plans.pro.top_ups]]\n{GOOD}").repeat(20));
    assert_eq!(refused(&text(&many)), ["line 19: plans.pro.top_ups: has 21 entries; at most 20 are kept"]);
    assert_eq!(
        refused(&with_features("[plans.pro]\ntop_ups = 5\n")),
        ["line 12: plans.pro.top_ups: has to be a list, not integer"]
    );
}

#[test]
fn a_mistake_elsewhere_does_not_make_packs_missing() {
    let spoilt = text(GOOD).replace("amount = \"1.00\"", "amount = 1");
    let said = refused(&spoilt);
    assert_eq!(said.len(), 1, "{said:#?}");
}

#[test]
fn what_changes_of_a_rule_is_told_fact_by_fact() {
    let lines = |old: &str, new: &str| -> Vec<String> {
        diff(&read(old), &read(new)).iter().map(ToString::to_string).collect()
    };
    let (none, one) = (with_features(SHOP.trim_end_matches("[[plans.pro.top_ups]]\n")), text(GOOD));
    let none = format!("{none}[plans.pro]\n");
    assert_eq!(
        lines(&none, &one),
        ["+ top-up pro.credits (currency usd; max_per_month.money 100.00; quantity 25; threshold 5)"]
    );
    assert_eq!(lines(&one, &none), ["- top-up pro.credits"]);
    let other = GOOD.replace("quantity = \"25\"", "target = \"30\"").replace("100.00", "90")
        + "mode = \"invoice\"\ncooldown_seconds = 5\nconsent = \"v2\"\nmax_per_day = { count = 3 }\n";
    assert_eq!(
        lines(&one, &text(&other)),
        [
            "~ plans.pro.top_ups.credits.consent: none -> v2",
            "~ plans.pro.top_ups.credits.cooldown_seconds: none -> 5",
            "~ plans.pro.top_ups.credits.max_per_day.count: none -> 3",
            "~ plans.pro.top_ups.credits.max_per_month.money: 100.00 -> 90.00",
            "~ plans.pro.top_ups.credits.mode: none -> invoice",
            "~ plans.pro.top_ups.credits.quantity: 25 -> none",
            "~ plans.pro.top_ups.credits.target: none -> 30",
        ]
    );
}
