//! Histories on which the engine was wrong, cut to what they need: each was a difference that the model found.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::agree::compare;
use super::exact::{ONE, Rate};
use super::words::{Act, Every, PlanItem, Shop, Short, Span, Step};

const OPENS: i64 = 1_769_896_800;
const DAY: i64 = 86_400;

/// Messages in two credit systems, at what they cost there.
fn shop(credits: Rate, points: Option<Rate>) -> Shop {
    let systems = BTreeMap::from([
        ("credits", BTreeMap::from([("messages", credits)])),
        ("points", points.map(|rate| ("messages", rate)).into_iter().collect()),
    ]);
    Shop {
        systems,
        reviving: Vec::new(),
        items: Vec::new(),
        overage: None,
        wallets: vec![("credits", 0), ("messages", 0)],
    }
}

fn after(wait: i64, act: Act) -> Step {
    Step { wait, joined: false, act }
}

/// In one batch with the step before.
fn with(act: Act) -> Step {
    Step { wait: 0, joined: true, act }
}

fn give(feature: &'static str, whole: i128) -> Act {
    let (wallet, priority, starts_in, lives) = (None, None, None, None);
    Act::Give { feature, entity: "", wallet, amount: whole * ONE, priority, bought: false, starts_in, lives }
}

fn track(feature: &'static str, whole: i128, short: Short) -> Act {
    Act::Track { feature, entity: "", units: whole * ONE, short, hold: None, last: false }
}

fn limit(feature: &'static str, span: Span, whole: i128) -> Act {
    Act::SetLimit { name: "a", feature, entity: "", span, most: whole * ONE }
}

fn must_agree(shop: Shop, steps: &[Step]) {
    let shop = Arc::new(shop);
    for punctual in [false, true] {
        compare(&shop, OPENS, steps, punctual, true).unwrap();
    }
}

const HALF: Rate = 500_000_000_000_000_000;
const SINGLE: Rate = 2 * HALF;

#[test]
fn what_nobody_paid_is_not_taken_off_a_limit_when_it_is_taken_back() {
    let steps = [
        after(0, limit("messages", Span::Month, 20)),
        after(0, give("messages", 4)),
        after(0, track("messages", 10, Short::Cap)),
        after(0, track("messages", -6, Short::Cap)),
        after(0, track("messages", -1, Short::Cap)),
    ];
    must_agree(shop(SINGLE, None), &steps);
}

#[test]
fn a_limit_holds_for_usage_that_costs_nothing() {
    let steps = [
        after(0, limit("messages", Span::Day, 3)),
        after(0, track("messages", 2, Short::Reject)),
        after(0, track("messages", 2, Short::Reject)),
        after(0, track("messages", 2, Short::Cap)),
        after(DAY, track("messages", 3, Short::Reject)),
    ];
    must_agree(shop(0, None), &steps);
}

#[test]
fn a_limit_that_is_dropped_tells_what_is_used_of_its_running_window() {
    let steps = [
        after(0, give("messages", 9)),
        after(0, limit("messages", Span::Day, 5)),
        after(0, track("messages", 4, Short::Cap)),
        after(2 * DAY, Act::DropLimit { name: "a" }),
    ];
    must_agree(shop(SINGLE, None), &steps);
}

#[test]
fn a_limit_counts_usage_that_came_in_one_batch_with_it() {
    let steps = [
        after(0, give("messages", 9)),
        with(track("messages", 4, Short::Cap)),
        with(limit("messages", Span::Day, 5)),
        with(track("messages", -1, Short::Cap)),
        with(limit("messages", Span::Week, 5)),
    ];
    must_agree(shop(SINGLE, None), &steps);
}

#[test]
fn what_is_taken_back_of_an_older_window_does_not_lower_a_new_limit() {
    let steps = [
        after(0, give("credits", 30)),
        after(0, track("messages", 10, Short::Cap)),
        after(14 * DAY, track("messages", -6, Short::Cap)),
        after(0, track("messages", 8, Short::Cap)),
        after(0, limit("credits", Span::Week, 9)),
    ];
    must_agree(shop(HALF, None), &steps);
}

#[test]
fn revived_credits_outlive_the_next_period() {
    let item = PlanItem {
        feature: "messages",
        included: Some(5 * ONE),
        every: Some(Every::Days(7)),
        priority: None,
        rollover: None,
    };
    let shop = Shop { items: vec![item], reviving: vec!["messages"], ..shop(SINGLE, None) };
    let steps = [
        after(DAY, track("messages", 5, Short::Cap)),
        after(7 * DAY, track("messages", -3, Short::Cap)),
        after(7 * DAY, track("messages", 7, Short::Cap)),
        after(30 * DAY, Act::Settle),
    ];
    must_agree(shop, &steps);
}

#[test]
fn what_was_over_before_it_came_is_gone_and_not_taken_back() {
    let (feature, amount, ago, lives) = ("credits", 10 * ONE, 2 * DAY, Some(DAY));
    let steps = [
        after(0, Act::Refund { payment: 0, back: 500 }),
        after(0, Act::Buy { payment: 0, item: 0, feature, amount, ago, lives }),
        after(0, Act::Refund { payment: 0, back: 1_000 }),
    ];
    must_agree(shop(SINGLE, None), &steps);
}

#[test]
fn an_empty_grant_that_is_still_at_hand_changes_no_answer() {
    let seat = |feature, whole: i128| Act::Give {
        feature,
        entity: "seat-a",
        wallet: None,
        amount: whole * ONE,
        priority: None,
        bought: false,
        starts_in: None,
        lives: None,
    };
    let used = |feature, whole: i128| Act::Track {
        feature,
        entity: "seat-a",
        units: whole * ONE,
        short: Short::Cap,
        hold: None,
        last: false,
    };
    // The free pool's empty grant stands before the customer's messages only as long as it is remembered.
    let steps = [
        after(0, give("messages", 5)),
        after(0, seat("credits", 1)),
        after(0, used("credits", 1)),
        with(used("messages", 2)),
        after(0, used("messages", 2)),
    ];
    must_agree(shop(0, None), &steps);
}

#[test]
fn a_return_finds_what_was_repaid_in_its_own_batch() {
    let item = PlanItem { feature: "messages", included: Some(ONE), every: None, priority: None, rollover: None };
    let overage = Some(("messages", 5 * ONE, false));
    let shop = Shop { items: vec![item], overage, ..shop(SINGLE, None) };
    let steps = [
        after(0, track("messages", 4, Short::Debt)),
        after(DAY, give("messages", 13)),
        with(track("messages", -4, Short::Cap)),
    ];
    must_agree(shop, &steps);
}

#[test]
fn the_oldest_debt_is_repaid_first() {
    let item = PlanItem { feature: "credits", included: Some(ONE), every: None, priority: None, rollover: None };
    let shop = Shop { items: vec![item], overage: Some(("credits", 9 * ONE, false)), ..shop(SINGLE, None) };
    let (feature, amount) = ("credits", 4 * ONE);
    let steps = [
        after(0, Act::Buy { payment: 0, item: 0, feature, amount, ago: 0, lives: None }),
        after(0, track("credits", 5, Short::Cap)),
        after(0, Act::Refund { payment: 0, back: 1_000 }),
        after(0, track("credits", 3, Short::Debt)),
        after(0, give("credits", 5)),
        after(0, track("credits", -3, Short::Cap)),
        after(0, Act::Refund { payment: 0, back: 0 }),
    ];
    must_agree(shop, &steps);
}
