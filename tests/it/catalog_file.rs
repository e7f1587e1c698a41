//! The catalogue file: what is read, how mistakes are told, its limits, and rule 38. `catalog_refusals` has the rest.

use creditd::domain::catalog::file::{self, CatalogMistake};
use creditd::domain::catalog::{Catalog, Expiry, Feature, Interval, IntervalUnit, Plan, ResetAnchor, RevenuePolicy};
use rstest::rstest;

/// Ten lines before each case, so that a case starts on line 11.
pub const FEATURES: &str = "\
[features.messages]
type = \"metered\"
[features.credits]
type = \"credit_system\"
costs = { messages = \"0.01\" }
[features.sso]
type = \"boolean\"
[features.seats]
type = \"metered\"
consumable = false
";

pub fn refused(text: &str) -> Vec<String> {
    let mistakes = file::read(text).expect_err("the file has mistakes");
    mistakes.iter().map(ToString::to_string).collect()
}

pub fn read(text: &str) -> Catalog {
    file::read(text).unwrap_or_else(|mistakes| {
        panic!("{}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

pub fn with_features(text: &str) -> String {
    format!("{FEATURES}{text}")
}

pub fn plan(catalog: &Catalog, name: &str) -> Plan {
    let mut plans = catalog.plans.iter();
    plans.find(|(id, _)| id.as_str() == name).expect("the plan is there").1.clone()
}

#[test]
fn the_sample_catalogue_is_that_of_the_monetary_credits_guide() {
    let catalog = read(include_str!("../../deploy/catalog.toml"));
    insta::assert_json_snapshot!(catalog);
}

#[test]
fn an_empty_file_is_an_empty_catalogue() {
    assert_eq!(read(""), Catalog::default());
}

#[test]
fn everything_the_format_has_is_read() {
    let catalog = read(include_str!("../fixtures/catalog/every_form.toml"));
    insta::assert_json_snapshot!(catalog);
}

#[test]
fn top_level_keys_may_stand_before_the_tables() {
    let catalog = read(&format!(
        "default_credits = \"credits\"\n\
         minimum_price_per_credit = {{ credits = [{{ amount = \"0.50\", currency = \"usd\" }}, \
         {{ amount = \"0\", currency = \"jpy\" }}] }}\n{FEATURES}"
    ));
    assert_eq!(catalog.default_credits.as_ref().map(ToString::to_string).as_deref(), Some("credits"));
    let minimum = catalog.minimum_prices.values().next().expect("one feature has minimum prices");
    let texts: Vec<_> =
        minimum.iter().filter_map(|price| price.amount.money()).map(|money| money.to_string()).collect();
    assert_eq!(texts, ["0.50 USD", "0 JPY"]);
}

#[rstest]
#[case("month", 1, IntervalUnit::Month)]
#[case("1 month", 1, IntervalUnit::Month)]
#[case("3 months", 3, IntervalUnit::Month)]
#[case("1000 minutes", 1_000, IntervalUnit::Minute)]
#[case("hour", 1, IntervalUnit::Hour)]
#[case("7 days", 7, IntervalUnit::Day)]
#[case("2 weeks", 2, IntervalUnit::Week)]
#[case("year", 1, IntervalUnit::Year)]
fn a_period_is_read(#[case] text: &str, #[case] count: u16, #[case] unit: IntervalUnit) {
    let catalog = read(&with_features(&format!(
        "[[plans.free.items]]\nfeature = \"credits\"\nincluded = \"1\"\nreset = \"{text}\"\n"
    )));
    assert_eq!(plan(&catalog, "free").items[0].reset, Some(Interval { unit, count }));
}

#[rstest]
#[case("never", Expiry::Never)]
#[case("1 day", Expiry::Days(1))]
#[case("90 days", Expiry::Days(90))]
#[case("2 weeks", Expiry::Days(14))]
#[case("12 months", Expiry::Months(12))]
#[case("2 years", Expiry::Months(24))]
fn an_expiry_is_read(#[case] text: &str, #[case] expiry: Expiry) {
    let catalog = read(&with_features(&format!(
        "[[plans.free.items]]\nfeature = \"credits\"\nincluded = \"1\"\nexpires_after = \"{text}\"\n"
    )));
    assert_eq!(plan(&catalog, "free").items[0].expires_after, expiry);
}

#[test]
fn a_time_zone_is_kept_in_its_own_spelling() {
    let catalog = read(&with_features(
        "[[plans.free.items]]\nfeature = \"credits\"\nincluded = \"1\"\nreset = \"month\"\ncalendar = \"europe/berlin\"\n",
    ));
    let anchor = ResetAnchor::Calendar { time_zone: "Europe/Berlin".to_owned() };
    assert_eq!(plan(&catalog, "free").items[0].anchor, anchor);
}

#[test]
fn metered_features_are_consumable_unless_they_say_otherwise() {
    let catalog = read(FEATURES);
    let kinds: Vec<&Feature> = catalog.features.values().collect();
    assert!(matches!(
        kinds.as_slice(),
        [
            Feature::CreditSystem { .. },
            Feature::Metered { consumable: true, .. },
            Feature::Metered { consumable: false, .. },
            Feature::Boolean
        ]
    ));
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_lines() {
    let found = refused(&with_features(
        r#"[plans.z]
auto_enabled = true
[[plans.z.items]]
feature = "credit"
included = 5
[plans.a]
trial_days = 731
[[plans.a.items]]
feature = "sso"
priority = 1
"#,
    ));
    assert_eq!(
        found,
        [
            "line 12: plans.z.auto_enabled: is not a known key; did you mean `auto_enable`?",
            "line 14: plans.z.items[0].feature: there is no feature `credit`; did you mean `credits`?",
            "line 17: plans.a.trial_days: has to be a whole number from 0 to 730",
            "line 20: plans.a.items[0].priority: feature `sso` is boolean: the item turns it on and has no amounts; \
             take it out",
        ]
    );
}

#[test]
fn a_mistake_knows_its_column_in_characters() {
    let mistakes = file::read("[plans.p]\nname = \"ä\" \n  group = 1\n").expect_err("a group is text");
    let expected = CatalogMistake {
        line: 3,
        column: 3,
        key: "plans.p.group".to_owned(),
        message: "has to be text in quotes, not integer".to_owned(),
    };
    assert_eq!(mistakes, [expected]);
}

#[rstest]
#[case::open_table("[plans.free\nname = \"Free\"\n", "line 1: not TOML: unclosed table, expected `]`")]
#[case::no_value("[plans.free]\nname =\n", "line 2: not TOML: string values must be quoted, expected literal string")]
#[case::twice("[plans.free]\nname = \"a\"\nname = \"b\"\n", "line 3: not TOML: duplicate key")]
fn what_is_not_toml_is_told_by_line(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(refused(text), [expected]);
}

#[test]
fn a_file_beyond_the_limit_is_not_read() {
    let mut text = FEATURES.to_owned();
    text.push_str(&"#".repeat(file::FILE_BYTES_MAX - text.len()));
    assert!(file::read(&text).is_ok());
    text.push('#');
    assert_eq!(refused(&text), ["line 1: the file is larger than 1048576 bytes, the most that is read"]);
}

#[test]
fn a_flood_of_mistakes_is_cut_and_says_so() {
    let text = (0..5_000).map(|number| format!("k{number}=1\n")).collect::<Vec<_>>().concat();
    let found = refused(&text);
    assert_eq!(found.len(), 1_001);
    assert!(found[1_000].ends_with("and 4000 more mistakes; mend those above first"), "{}", found[1_000]);
}

fn features(count: usize) -> String {
    (0..count).map(|number| format!("[features.f{number}]\ntype = \"boolean\"\n")).collect::<Vec<_>>().concat()
}

fn plans(count: usize) -> String {
    (0..count).map(|number| format!("[plans.p{number}]\n")).collect::<Vec<_>>().concat()
}

fn items(count: usize) -> String {
    let item = |number| format!("[[plans.p.items]]\nid = \"i{number}\"\nfeature = \"sso\"\n");
    format!("[features.sso]\ntype = \"boolean\"\n{}", (0..count).map(item).collect::<Vec<_>>().concat())
}

#[rstest]
#[case::features(features, file::FEATURES_MAX, "features: 1001 features; at most 1000 are kept")]
#[case::plans(plans, file::PLANS_MAX, "plans: 1001 plans; at most 1000 are kept")]
#[case::items(items, file::ITEMS_MAX, "plans.p.items: has 101 entries; at most 100 are kept")]
fn each_list_has_its_limit(#[case] text: fn(usize) -> String, #[case] most: usize, #[case] expected: &str) {
    assert!(file::read(&text(most)).is_ok(), "the limit itself is allowed");
    let found = refused(&text(most + 1));
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with(expected), "{found:?}");
}

const MONTHLY: &str = "[plans.p]\nprices = [{ amount = \"10\", currency = \"usd\", every = \"month\" }]\n";
const WAYS: &str = "write revenue = \"credits\" if the plan sells nothing but credits, else revenue = \"allocate\" \
                    with an access_price";

#[rstest]
#[case::rolls_over("included = \"5\"\nreset = \"month\"\nrollover = { max = \"5\" }", "item `credits` rolls over")]
#[case::never_ends("included = \"5\"", "item `credits` gives one-off credits that never end")]
#[case::ends_late(
    "included = \"5\"\nexpires_after = \"29 days\"",
    "item `credits` gives one-off credits that end after the paid period"
)]
#[case::ends_months_late(
    "included = \"5\"\nexpires_after = \"2 months\"",
    "item `credits` gives one-off credits that end after the paid period"
)]
#[case::slow("included = \"5\"\nreset = \"2 months\"", "item `credits` renews more slowly than the plan is paid")]
fn credits_that_outlive_the_period_need_a_written_policy(#[case] item: &str, #[case] how: &str) {
    let rest =
        |revenue: &str| with_features(&format!("{MONTHLY}{revenue}[[plans.p.items]]\nfeature = \"credits\"\n{item}\n"));
    assert_eq!(refused(&rest("")), [format!("line 11: plans.p.revenue: has to be written, because {how}; {WAYS}")]);
    assert_eq!(
        refused(&rest("revenue = \"over_time\"\n")),
        [format!(
            "line 13: plans.p.revenue: \"over_time\" is for credits that die within the paid period, but {how}; {WAYS}"
        )]
    );
    assert_eq!(plan(&read(&rest("revenue = \"credits\"\n")), "p").revenue, RevenuePolicy::Credits);
    assert_eq!(plan(&read(&rest("revenue = \"external\"\n")), "p").revenue, RevenuePolicy::External);
}

#[rstest]
#[case::monthly("month", "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"")]
#[case::monthly_in_a_year("year", "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"")]
#[case::twelve_months_in_a_year("year", "feature = \"credits\"\nincluded = \"5\"\nreset = \"12 months\"")]
#[case::one_off_that_ends_in_time("month", "feature = \"credits\"\nincluded = \"5\"\nexpires_after = \"28 days\"")]
#[case::one_off_that_ends_with_the_month(
    "month",
    "feature = \"credits\"\nincluded = \"5\"\nexpires_after = \"1 month\""
)]
#[case::nothing_included("month", "feature = \"credits\"\nincluded = \"0\"")]
#[case::seats_are_access("month", "feature = \"seats\"\nincluded = \"5\"")]
#[case::a_flag("month", "feature = \"sso\"")]
#[case::unlimited("month", "feature = \"credits\"\nunlimited = true")]
fn credits_within_the_period_are_recognised_over_time(#[case] every: &str, #[case] item: &str) {
    let catalog = read(&with_features(&format!(
        "[plans.p]\nprices = [{{ amount = \"10\", currency = \"usd\", every = \"{every}\" }}]\n[[plans.p.items]]\n{item}\n"
    )));
    assert_eq!(plan(&catalog, "p").revenue, RevenuePolicy::OverTime);
}

#[rstest]
#[case::free_plan("[[plans.p.items]]\nfeature = \"credits\"\nincluded = \"5\"\n")]
#[case::packs_only(
    "[[plans.p.items]]\nfeature = \"credits\"\npacks = [{ credits = \"1\", amount = \"1\", currency = \"usd\" }]\n"
)]
fn plans_without_a_fee_need_no_policy(#[case] text: &str) {
    assert!(file::read(&with_features(text)).is_ok());
}

#[test]
fn a_fee_paid_once_has_no_period_for_its_credits_to_die_in() {
    let found = refused(&with_features(
        "[plans.p]\nprices = [{ amount = \"10\", currency = \"usd\" }]\n[[plans.p.items]]\nfeature = \"credits\"\n\
         included = \"5\"\nexpires_after = \"1 day\"\n",
    ));
    let how = "item `credits` gives one-off credits that end after the paid period";
    assert_eq!(found, [format!("line 11: plans.p.revenue: has to be written, because {how}; {WAYS}")]);
}

#[test]
fn allocate_needs_an_access_price_and_a_top_up_price_to_weigh_by() {
    let rest = |access: &str, currency: &str| {
        with_features(&format!(
            "{MONTHLY}revenue = \"allocate\"\n{access}[[plans.p.items]]\nfeature = \"credits\"\nincluded = \"5\"\n\
             [[plans.t.items]]\nfeature = \"credits\"\npacks = [{{ credits = \"1\", amount = \"1\", currency = \"{currency}\" }}]\n"
        ))
    };
    let access = "access_price = { amount = \"8\", currency = \"usd\" }\n";
    assert_eq!(plan(&read(&rest(access, "usd")), "p").revenue, RevenuePolicy::Allocate);
    assert_eq!(
        refused(&rest("", "usd")),
        ["line 11: plans.p.access_price: is missing, and revenue = \"allocate\" weighs access by it; write \
          access_price = { amount = \"..\", currency = \"..\" }"]
    );
    assert_eq!(
        refused(&rest(access, "eur")),
        [
            "line 13: plans.p.revenue: \"allocate\" weighs credits by their top-up price, and `credits` has no pack in usd; \
          add one to a plan"
        ]
    );
}

#[rstest]
#[case::flag(
    "[[plans.p.items]]\nfeature = \"credits\"\nincluded = \"5\"\n[[plans.p.items]]\nfeature = \"sso\"\n",
    "\"credits\" is for plans that sell nothing but credits, but item `sso` gives more; write \"allocate\" with an access_price"
)]
#[case::none("", "\"credits\" defers the fee on included credits, and no item includes any; write \"over_time\"")]
fn credits_is_for_plans_that_sell_nothing_else(#[case] items: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!("{MONTHLY}revenue = \"credits\"\n{items}")));
    assert_eq!(found, [format!("line 13: plans.p.revenue: {expected}")]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_never_panics(text in "(\\[|\\]|=|\"|\\{|\\}|,|\\.|features|plans|a|items|type|metered|1|\n| |ä){0,60}") {
        let _read_or_refused = file::read(&text).is_ok();
    }
}
