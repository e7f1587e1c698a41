//! Every refusal of the catalogue file's parts, with its exact words and line.

use creditd::domain::catalog::file;
use rstest::rstest;

use crate::catalog_file::{FEATURES, plan, read, refused, with_features};

#[rstest]
#[case::no_type(
    "[features.a]\n",
    "line 1: features.a.type: is missing; write type = \"metered\", \"boolean\" or \"credit_system\""
)]
#[case::type_unknown(
    "[features.a]\ntype = \"meterd\"\n",
    "line 2: features.a.type: \"meterd\" is none of \"boolean\", \"metered\" and \"credit_system\"; did you mean \"metered\"?"
)]
#[case::key_unknown(
    "[features.a]\ntype = \"metered\"\ncost = \"1\"\n",
    "line 3: features.a.cost: is not a known key; did you mean `costs`?"
)]
#[case::key_far_off(
    "[features.a]\ntype = \"metered\"\nwindow = 1\n",
    "line 3: features.a.window: is not a known key; known here are type, consumable, costs, events, sum, returned"
)]
#[case::top_key("[plan.a]\n", "line 1: plan: is not a known key; did you mean `plans`?")]
#[case::name(
    "[features.\"a b\"]\ntype = \"metered\"\n",
    "line 1: features.\"a b\": a feature's name has to be 1 to 128 letters, digits, `_`, `-`, `.` or `:`"
)]
#[case::consumable(
    "[features.a]\ntype = \"boolean\"\nconsumable = true\n",
    "line 3: features.a.consumable: only a metered feature is consumable or not; take it out"
)]
#[case::costs(
    "[features.a]\ntype = \"metered\"\ncosts = {}\n",
    "line 3: features.a.costs: only a credit_system has costs; take it out or change the type"
)]
#[case::events(
    "[features.a]\ntype = \"credit_system\"\nevents = [\"e\"]\n",
    "line 3: features.a.events: only the usage of a metered feature is counted by events; take it out"
)]
#[case::events_text(
    "[features.a]\ntype = \"metered\"\nevents = \"e\"\n",
    "line 3: features.a.events: has to be a list, not string"
)]
#[case::event_name(
    "[features.a]\ntype = \"metered\"\nevents = [\"\"]\n",
    "line 3: features.a.events[0]: has to be 1 to 128 bytes of text on one line"
)]
#[case::event_of_another(
    "[features.a]\ntype = \"metered\"\nevents = [\"b\"]\n[features.b]\ntype = \"metered\"\n",
    "line 3: features.a.events[0]: `b` is a feature itself, and its usage is its own; name the event otherwise"
)]
#[case::event_twice(
    "[features.b]\ntype = \"metered\"\nevents = [\"e\"]\n[features.a]\ntype = \"metered\"\nevents = [\"d\", \"e\"]\n",
    "line 6: features.a.events[1]: event `e` already stands at features.b.events[0] (line 3); an event counts for one feature"
)]
#[case::event_twice_in_one(
    "[features.a]\ntype = \"metered\"\nevents = [\"e\", \"e\"]\n",
    "line 3: features.a.events[1]: event `e` already stands at features.a.events[0] (line 3); an event counts for one feature"
)]
#[case::sum(
    "[features.a]\ntype = \"boolean\"\nsum = \"credits\"\n",
    "line 3: features.a.sum: only the usage of a metered feature is counted by events; take it out"
)]
#[case::sum_name(
    "[features.a]\ntype = \"metered\"\nsum = \"$.credits\"\n",
    "line 3: features.a.sum: a property's name has to be 1 to 128 letters, digits, `_`, `-` or `.`, and neither `when` nor `each`"
)]
#[case::returned(
    "[features.a]\ntype = \"metered\"\nreturned = \"keep\"\n",
    "line 3: features.a.returned: has to be \"expire\" or \"revive\""
)]
#[case::returned_boolean(
    "[features.a]\ntype = \"boolean\"\nreturned = \"revive\"\n",
    "line 3: features.a.returned: only credits that are spent can be returned; take it out"
)]
#[case::returned_seats(
    "[features.a]\ntype = \"metered\"\nconsumable = false\nreturned = \"revive\"\n",
    "line 4: features.a.returned: only credits that are spent can be returned; take it out"
)]
#[case::not_a_table("features = 3\n", "line 1: features: has to be a table, not integer")]
fn a_feature_is_refused(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(refused(text), [expected]);
}

#[test]
fn names_end_at_128_bytes() {
    let name = "n".repeat(128);
    assert!(file::read(&format!("[features.{name}]\ntype = \"metered\"\n[plans.{name}]\n")).is_ok());
    let found = refused(&format!("[features.{name}n]\ntype = \"metered\"\n[plans.{name}n]\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].ends_with("a plan's name has to be 1 to 128 letters, digits, `_`, `-`, `.` or `:`"));
}

#[rstest]
#[case::unknown(
    "default_credits = \"credit\"",
    "default_credits: there is no feature `credit`; did you mean `credits`?"
)]
#[case::boolean("default_credits = \"sso\"", "default_credits: feature `sso` is boolean, it has no credits")]
#[case::minimum_of(
    "minimum_price_per_credit = { sso = [] }",
    "minimum_price_per_credit.sso: feature `sso` is boolean, it has no credits"
)]
#[case::minimum_twice(
    "minimum_price_per_credit = { credits = [{ amount = \"0\", currency = \"usd\" }, { amount = \"1\", currency = \"USD\" }] }",
    "minimum_price_per_credit.credits[1].currency: a second minimum price in usd: write one for each currency"
)]
#[case::minimum_form(
    "minimum_price_per_credit = { credits = \"0.5\" }",
    "minimum_price_per_credit.credits: has to be a list, not string"
)]
fn a_top_level_key_is_refused(#[case] line: &str, #[case] expected: &str) {
    assert_eq!(refused(&format!("{line}\n{FEATURES}")), [format!("line 1: {expected}")]);
}

#[rstest]
#[case::currency_missing(
    "amount = \"1\"",
    "12: plans.p.prices[0].currency: is missing; write three letters such as currency = \"usd\""
)]
#[case::currency_form(
    "amount = \"1\", currency = \"dollars\"",
    "12: plans.p.prices[0].currency: currency `dollars` has to be three letters such as \"usd\""
)]
#[case::amount_missing(
    "currency = \"usd\"",
    "12: plans.p.prices[0].amount: is missing; write major units such as amount = \"10.00\""
)]
#[case::amount_number(
    "amount = 10.0, currency = \"usd\"",
    "12: plans.p.prices[0].amount: write \"10.0\" in quotes: amounts are exact decimals, never floats"
)]
#[case::digits(
    "amount = \"1.001\", currency = \"usd\"",
    "12: plans.p.prices[0].amount: \"1.001\" has more digits than usd has; write at most 2 behind the point"
)]
#[case::digits_none(
    "amount = \"1.5\", currency = \"jpy\"",
    "12: plans.p.prices[0].amount: \"1.5\" has more digits than jpy has; write at most 0 behind the point"
)]
#[case::digits_three(
    "amount = \"1.2345\", currency = \"kwd\"",
    "12: plans.p.prices[0].amount: \"1.2345\" has more digits than kwd has; write at most 3 behind the point"
)]
#[case::negative("amount = \"-1\", currency = \"usd\"", "12: plans.p.prices[0].amount: \"-1\" has to be zero or more")]
#[case::large(
    "amount = \"99999999999999\", currency = \"usd\"",
    "12: plans.p.prices[0].amount: \"99999999999999\" is larger than the largest amount kept"
)]
#[case::every_zero(
    "amount = \"1\", currency = \"usd\", every = \"0 months\"",
    "12: plans.p.prices[0].every: the count of a period has to be 1 to 1000"
)]
#[case::every_large(
    "amount = \"1\", currency = \"usd\", every = \"1001 days\"",
    "12: plans.p.prices[0].every: the count of a period has to be 1 to 1000"
)]
#[case::every_text(
    "amount = \"1\", currency = \"usd\", every = \"monthly\"",
    "12: plans.p.prices[0].every: has to be a period such as \"month\", \"3 months\" or { count = 3, unit = \"month\" }"
)]
#[case::every_number(
    "amount = \"1\", currency = \"usd\", every = 1",
    "12: plans.p.prices[0].every: has to be a period such as \"month\", \"3 months\" or { count = 3, unit = \"month\" }"
)]
#[case::every_count(
    "amount = \"1\", currency = \"usd\", every = { count = 0, unit = \"day\" }",
    "12: plans.p.prices[0].every.count: has to be a whole number from 1 to 1000"
)]
#[case::every_unit(
    "amount = \"1\", currency = \"usd\", every = { count = 1, unit = \"moon\" }",
    "12: plans.p.prices[0].every.unit: has to be minute, hour, day, week, month or year"
)]
#[case::every_hour(
    "amount = \"1\", currency = \"usd\", every = \"hour\"",
    "12: plans.p.prices[0].every: Stripe bills by day, week, month or year; write one of these"
)]
#[case::stripe_id(
    "amount = \"1\", currency = \"usd\", stripe_price = \"price 1\"",
    "12: plans.p.prices[0].stripe_price: has to be 1 to 200 letters, digits or signs without spaces"
)]
#[case::key(
    "amount = \"1\", currency = \"usd\", stripe_prise = \"price\"",
    "12: plans.p.prices[0].stripe_prise: is not a known key; did you mean `stripe_price`?"
)]
fn a_price_is_refused(#[case] price: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!("[plans.p]\nprices = [{{ {price} }}]\n")));
    assert_eq!(found, [format!("line {expected}")]);
}

#[rstest]
#[case::zero(
    "credits = \"0\", amount = \"1\", currency = \"usd\"",
    "credits: has to be more than zero: a pack of nothing sells nothing"
)]
#[case::negative(
    "credits = \"-1\", amount = \"1\", currency = \"usd\"",
    "credits: has to be more than zero: a pack of nothing sells nothing"
)]
#[case::missing(
    "amount = \"1\", currency = \"usd\"",
    "credits: is missing; write how many one pack gives, such as credits = \"1\""
)]
#[case::free(
    "credits = \"1\", amount = \"0.00\", currency = \"usd\"",
    "amount: a pack that costs nothing would mint credits; write its price"
)]
#[case::minimum(
    "credits = \"1\", amount = \"1\", currency = \"usd\", minimum = \"0\"",
    "minimum: has to be more than zero: leave it out to sell any number"
)]
#[case::minimum_number(
    "credits = \"1\", amount = \"1\", currency = \"usd\", minimum = 5",
    "minimum: write \"5\" in quotes: amounts are exact decimals, never floats"
)]
#[case::every(
    "credits = \"1\", amount = \"1\", currency = \"usd\", every = \"month\"",
    "every: is not a known key; known here are credits, amount, currency, stripe_price, stripe_product, lookup_key, also, minimum"
)]
fn a_pack_is_refused(#[case] pack: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!("[[plans.p.items]]\nfeature = \"credits\"\npacks = [{{ {pack} }}]\n")));
    assert_eq!(found, [format!("line 13: plans.p.items[0].packs[0].{expected}")]);
}

#[rstest]
#[case::feature_missing(
    "included = \"1\"",
    "11: plans.p.items[0].feature: is missing; name the feature this item gives"
)]
#[case::feature_unknown(
    "feature = \"credit\"\nincluded = \"1\"",
    "12: plans.p.items[0].feature: there is no feature `credit`; did you mean `credits`?"
)]
#[case::key(
    "feature = \"credits\"\nincluded = \"1\"\nreset_interval = \"month\"",
    "14: plans.p.items[0].reset_interval: is not a known key; did you mean `reset`?"
)]
#[case::number(
    "feature = \"credits\"\nincluded = 5",
    "13: plans.p.items[0].included: write \"5\" in quotes: amounts are exact decimals, never floats"
)]
#[case::negative("feature = \"credits\"\nincluded = \"-5\"", "13: plans.p.items[0].included: has to be zero or more")]
#[case::nothing(
    "feature = \"credits\"",
    "11: plans.p.items[0].included: the item gives nothing; write `included`, `unlimited = true`, `packs` or `overage`"
)]
#[case::not_unlimited(
    "feature = \"credits\"\nunlimited = false",
    "11: plans.p.items[0].included: the item gives nothing; write `included`, `unlimited = true`, `packs` or `overage`"
)]
#[case::both(
    "feature = \"credits\"\nincluded = \"1\"\nunlimited = true",
    "14: plans.p.items[0].unlimited: an unlimited item includes no amount; keep either `included` or `unlimited`"
)]
#[case::unlimited_packs(
    "feature = \"credits\"\nunlimited = true\npacks = [{ credits = \"1\", amount = \"1\", currency = \"usd\" }]",
    "14: plans.p.items[0].packs: an unlimited item leaves nothing to buy; keep either `packs` or `unlimited`"
)]
#[case::no_packs(
    "feature = \"credits\"\npacks = []",
    "13: plans.p.items[0].packs: the list is empty; write a pack or take it out"
)]
#[case::boolean(
    "feature = \"sso\"\nincluded = \"1\"",
    "13: plans.p.items[0].included: feature `sso` is boolean: the item turns it on and has no amounts; take it out"
)]
#[case::reset_alone(
    "feature = \"credits\"\nunlimited = true\nreset = \"month\"",
    "14: plans.p.items[0].reset: there is nothing to renew; write `included`, or take `reset` out"
)]
#[case::reset_seats(
    "feature = \"seats\"\nincluded = \"5\"\nreset = \"month\"",
    "14: plans.p.items[0].reset: the feature is not consumable: its use is freed, not renewed; take `reset` out"
)]
#[case::reset_zero(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"0 days\"",
    "14: plans.p.items[0].reset: the count of a period has to be 1 to 1000"
)]
#[case::rollover_alone(
    "feature = \"credits\"\nincluded = \"5\"\nrollover = { max = \"1\" }",
    "14: plans.p.items[0].rollover: only what renews can roll over; write `reset`, or take `rollover` out"
)]
#[case::rollover_once(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"one_off\"\nrollover = { max = \"1\" }",
    "15: plans.p.items[0].rollover: only what renews can roll over; write `reset`, or take `rollover` out"
)]
#[case::rollover_percent(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max_percent = \"1001\" }",
    "15: plans.p.items[0].rollover.max_percent: has to be whole percent from 1 to 1000, such as \"50\""
)]
#[case::rollover_percent_signed(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max_percent = \"+5\" }",
    "15: plans.p.items[0].rollover.max_percent: has to be whole percent from 1 to 1000, such as \"50\""
)]
#[case::rollover_percent_number(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max_percent = 0 }",
    "15: plans.p.items[0].rollover.max_percent: has to be a whole number from 1 to 1000"
)]
#[case::rollover_two_caps(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max = \"1\", max_percent = 50 }",
    "15: plans.p.items[0].rollover.max_percent: there is a cap already; keep either `max` or `max_percent`"
)]
#[case::rollover_seats(
    "feature = \"seats\"\nincluded = \"5\"\nrollover = { max = \"1\" }",
    "14: plans.p.items[0].rollover: the feature is not consumable: its use is freed, not spent; take `rollover` out"
)]
#[case::overage_seats(
    "feature = \"seats\"\nincluded = \"5\"\noverage = { limit = \"1\" }",
    "14: plans.p.items[0].overage: the feature is not consumable: its use is freed, not spent; take `overage` out"
)]
#[case::overage_unlimited(
    "feature = \"credits\"\nunlimited = true\noverage = { limit = \"1\" }",
    "14: plans.p.items[0].overage: an unlimited item is never spent, so nothing can be owed; keep either `overage` or `unlimited`"
)]
#[case::overage_boolean(
    "feature = \"sso\"\noverage = { limit = \"1\" }",
    "13: plans.p.items[0].overage: feature `sso` is boolean: the item turns it on and has no amounts; take it out"
)]
#[case::overage_limit(
    "feature = \"credits\"\noverage = { amount = \"1\", currency = \"usd\" }",
    "13: plans.p.items[0].overage.limit: is missing; write the most credits that may be owed, such as limit = \"100\""
)]
#[case::overage_limit_zero(
    "feature = \"credits\"\noverage = { limit = \"0\" }",
    "13: plans.p.items[0].overage.limit: has to be more than zero: take `overage` out to let nothing be owed"
)]
#[case::overage_limit_number(
    "feature = \"credits\"\noverage = { limit = 100 }",
    "13: plans.p.items[0].overage.limit: write \"100\" in quotes: amounts are exact decimals, never floats"
)]
#[case::overage_currency(
    "feature = \"credits\"\noverage = { limit = \"1\", amount = \"0.01\" }",
    "13: plans.p.items[0].overage.currency: is missing; write three letters such as currency = \"usd\""
)]
#[case::overage_amount(
    "feature = \"credits\"\noverage = { limit = \"1\", currency = \"usd\" }",
    "13: plans.p.items[0].overage.amount: is missing; write what one credit costs, such as amount = \"0.01\", or take `currency` out"
)]
#[case::overage_amount_zero(
    "feature = \"credits\"\noverage = { limit = \"1\", amount = \"0\", currency = \"usd\" }",
    "13: plans.p.items[0].overage.amount: has to be more than zero: take `amount` and `currency` out to let grants repay what is owed"
)]
#[case::overage_amount_negative(
    "feature = \"credits\"\noverage = { limit = \"1\", amount = \"-0.01\", currency = \"usd\" }",
    "13: plans.p.items[0].overage.amount: \"-0.01\" has to be zero or more"
)]
#[case::overage_amount_large(
    "feature = \"credits\"\noverage = { limit = \"1\", amount = \"1000000001\", currency = \"usd\" }",
    "13: plans.p.items[0].overage.amount: \"1000000001\" is larger than the largest price of one credit, 10^9"
)]
#[case::overage_key(
    "feature = \"credits\"\noverage = { limits = \"1\", limit = \"1\" }",
    "13: plans.p.items[0].overage.limits: is not a known key; did you mean `limit`?"
)]
#[case::rollover_zero(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { max = \"0\" }",
    "15: plans.p.items[0].rollover.max: has to be more than zero: take `rollover` out to carry nothing"
)]
#[case::rollover_months(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nrollover = { months = 0 }",
    "15: plans.p.items[0].rollover.months: has to be a whole number from 1 to 1000"
)]
#[case::calendar_alone(
    "feature = \"credits\"\nincluded = \"5\"\ncalendar = \"UTC\"",
    "14: plans.p.items[0].calendar: only a recurring reset has calendar starts; write `reset`, or take `calendar` out"
)]
#[case::calendar_zone(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\ncalendar = \"Berlin\"",
    "15: plans.p.items[0].calendar: \"Berlin\" is no time zone; write one such as \"Europe/Berlin\" or \"UTC\""
)]
#[case::expiry_form(
    "feature = \"credits\"\nincluded = \"5\"\nexpires_after = \"soon\"",
    "14: plans.p.items[0].expires_after: has to be \"never\" or a time such as \"90 days\" or \"12 months\""
)]
#[case::expiry_hours(
    "feature = \"credits\"\nincluded = \"5\"\nexpires_after = \"3 hours\"",
    "14: plans.p.items[0].expires_after: credits end after whole days; write days, weeks, months or years"
)]
#[case::expiry_zero(
    "feature = \"credits\"\nincluded = \"5\"\nexpires_after = \"0 days\"",
    "14: plans.p.items[0].expires_after: the count of a period has to be 1 to 1000"
)]
#[case::expiry_renewed(
    "feature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\nexpires_after = \"90 days\"",
    "15: plans.p.items[0].expires_after: renewed credits end with their period; only packs and one-off credits take this"
)]
#[case::priority(
    "feature = \"credits\"\nincluded = \"5\"\npriority = 1001",
    "14: plans.p.items[0].priority: has to be a whole number from -1000 to 1000"
)]
#[case::priority_low(
    "feature = \"credits\"\nincluded = \"5\"\npriority = -1001",
    "14: plans.p.items[0].priority: has to be a whole number from -1000 to 1000"
)]
#[case::id(
    "feature = \"credits\"\nincluded = \"5\"\nid = \"a/b\"",
    "14: plans.p.items[0].id: an item's name has to be 1 to 128 letters, digits, `_`, `-`, `.` or `:`"
)]
fn an_item_is_refused(#[case] item: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!("[[plans.p.items]]\n{item}\n")));
    assert_eq!(found, [format!("line {expected}")]);
}

#[rstest]
#[case::default_id(
    "",
    "16: plans.p.items[1].feature: item `credits` already stands at plans.p.items[0]; give this one an `id` of its own"
)]
#[case::own_id(
    "id = \"credits\"\n",
    "18: plans.p.items[1].id: item `credits` already stands at plans.p.items[0]; give this one an `id` of its own"
)]
#[case::rhythm(
    "id = \"more\"\nreset = \"week\"\n",
    "19: plans.p.items[1].reset: item `credits` (line 14) renews `credits` in another rhythm; one pool has one reset in a plan, so make them equal"
)]
#[case::calendar(
    "id = \"more\"\nreset = \"month\"\ncalendar = \"UTC\"\n",
    "19: plans.p.items[1].reset: item `credits` (line 14) renews `credits` in another rhythm; one pool has one reset in a plan, so make them equal"
)]
fn a_second_item_is_refused(#[case] second: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!(
        "[[plans.p.items]]\nfeature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\n\
         [[plans.p.items]]\nfeature = \"credits\"\nincluded = \"5\"\n{second}"
    )));
    assert_eq!(found, [format!("line {expected}")]);
}

#[test]
fn a_pool_has_one_overage_in_a_plan_and_in_a_currency_of_its_fee() {
    let item = |more: &str| format!("[[plans.p.items]]\n{more}feature = \"credits\"\noverage = {{ limit = \"5\" }}\n");
    assert_eq!(
        refused(&with_features(&(item("") + &item("id = \"more\"\n")))),
        [
            "line 17: plans.p.items[1].overage: item `credits` (line 13) says already what of `credits` may be owed; one \
             pool has one overage in a plan"
        ]
    );
    let foreign = "[plans.p]\nprices = [{ amount = \"1\", currency = \"usd\", every = \"month\" }]\n\
                   [[plans.p.items]]\nfeature = \"credits\"\n\
                   overage = { limit = \"5\", amount = \"0.001\", currency = \"eur\" }\n";
    assert_eq!(
        refused(&with_features(foreign)),
        ["line 15: plans.p.items[0].overage: the plan has no price in eur, and an invoice has one currency"]
    );
}

#[test]
fn a_pool_may_have_one_rhythm_and_one_off_credits_beside_it() {
    let catalog = read(&with_features(
        "[[plans.p.items]]\nfeature = \"credits\"\nincluded = \"5\"\nreset = \"month\"\n\
         [[plans.p.items]]\nid = \"welcome\"\nfeature = \"credits\"\nincluded = \"5\"\n",
    ));
    assert_eq!(plan(&catalog, "p").items.len(), 2);
}

#[rstest]
#[case::name("name = \"\"", "12: plans.p.name: has to be 1 to 128 bytes of text on one line")]
#[case::name_break("name = \"a\\nb\"", "12: plans.p.name: has to be 1 to 128 bytes of text on one line")]
#[case::group(
    "group = \"a b\"",
    "12: plans.p.group: a group's name has to be 1 to 128 letters, digits, `_`, `-`, `.` or `:`"
)]
#[case::flag("add_on = \"yes\"", "12: plans.p.add_on: has to be true or false, not string")]
#[case::auto(
    "auto_enable = true\nprices = [{ amount = \"1\", currency = \"usd\", every = \"month\" }]",
    "12: plans.p.auto_enable: a plan with a price cannot be given to every new customer; take out `auto_enable` or `prices`"
)]
#[case::trial_long(
    "trial_days = 731\nprices = [{ amount = \"1\", currency = \"usd\", every = \"month\" }]",
    "12: plans.p.trial_days: has to be a whole number from 0 to 730"
)]
#[case::trial_free(
    "trial_days = 7",
    "12: plans.p.trial_days: a plan without a price has nothing to try first; take it out"
)]
#[case::upgrade(
    "upgrade = \"later\"\nprices = [{ amount = \"1\", currency = \"usd\", every = \"month\" }]",
    "12: plans.p.upgrade: has to be \"prorate\", \"full_reset\" or \"next_period\""
)]
#[case::upgrade_free("upgrade = \"prorate\"", "12: plans.p.upgrade: a plan without a price is never paid; take it out")]
#[case::grace_long(
    "past_due_grace_hours = 8785\nprices = [{ amount = \"1\", currency = \"usd\", every = \"month\" }]",
    "12: plans.p.past_due_grace_hours: has to be a whole number from 0 to 8784"
)]
#[case::grace_free(
    "past_due_grace_hours = 24",
    "12: plans.p.past_due_grace_hours: a plan without a price is never paid; take it out"
)]
#[case::no_prices("prices = []", "12: plans.p.prices: the list is empty; write a price or take it out")]
#[case::policy(
    "revenue = \"overtime\"\nprices = [{ amount = \"1\", currency = \"usd\", every = \"month\" }]",
    "12: plans.p.revenue: \"overtime\" is none of \"over_time\", \"allocate\", \"credits\" and \"external\"; did you mean \"over_time\"?"
)]
#[case::policy_free(
    "revenue = \"over_time\"",
    "12: plans.p.revenue: a plan without `prices` has no fee to recognise; take `revenue` out"
)]
#[case::access(
    "access_price = { amount = \"1\", currency = \"usd\" }",
    "12: plans.p.access_price: only revenue = \"allocate\" weighs access; write that, or take `access_price` out"
)]
#[case::key("item = []", "12: plans.p.item: is not a known key; did you mean `items`?")]
fn a_plan_is_refused(#[case] plan: &str, #[case] expected: &str) {
    let found = refused(&with_features(&format!("[plans.p]\n{plan}\n")));
    assert_eq!(found, [format!("line {expected}")]);
}

#[test]
fn two_plans_of_one_group_are_not_both_for_every_new_customer() {
    let found = refused(
        "[plans.a]\nauto_enable = true\ngroup = \"main\"\n[plans.b]\nauto_enable = true\ngroup = \"main\"\n\
         [plans.c]\nauto_enable = true\n",
    );
    assert_eq!(found, ["line 5: plans.b.auto_enable: plan `a` of group `main` is given to every new customer already"]);
}

#[test]
fn one_stripe_price_means_one_thing_whatever_the_order_of_names() {
    let found = refused(&with_features(
        r#"[plans.z]
prices = [{ amount = "1", currency = "usd", every = "month", stripe_price = "price_1", lookup_key = "k", also = ["price_0"], stripe_product = "prod" }]
[plans.a]
add_on = true
[[plans.a.items]]
feature = "credits"
packs = [
  { credits = "1", amount = "1", currency = "usd", stripe_price = "price_0", stripe_product = "prod" },
  { credits = "1", amount = "1", currency = "usd", also = ["price_1"], lookup_key = "k" },
]
"#,
    ));
    assert_eq!(
        found,
        [
            "line 18: plans.a.items[0].packs[0].stripe_price: Stripe price `price_0` already stands at \
             plans.z.prices[0].also[0] (line 12); one price means one thing",
            "line 18: plans.a.items[0].packs[0].stripe_product: Stripe product `prod` already stands at \
             plans.z.prices[0].stripe_product (line 12); one product means one thing",
            "line 19: plans.a.items[0].packs[1].also[0]: Stripe price `price_1` already stands at \
             plans.z.prices[0].stripe_price (line 12); one price means one thing",
            "line 19: plans.a.items[0].packs[1].lookup_key: Stripe lookup key `k` already stands at \
             plans.z.prices[0].lookup_key (line 12); one lookup key means one thing",
        ]
    );
}
