//! Plans that follow one another on one subscription.

use creditd::domain::catalog::FeatureId;
use creditd::domain::command::{Command, Decision, Outcome, Track, WhenShort};
use jiff::Timestamp;

use crate::support::customer::Customer;
use crate::support::plans::{changed_plan, days_after, months_after, paid_period};

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[plans.small]
group = "main"
revenue = "credits"
prices = [{ amount = "5.00", currency = "usd", every = "month", stripe_price = "price_small" }]
[[plans.small.items]]
feature = "calls"
included = "5"
reset = "month"
[plans.large]
group = "main"
revenue = "credits"
prices = [{ amount = "9.00", currency = "usd", every = "month", stripe_price = "price_large" }]
[[plans.large.items]]
feature = "calls"
included = "9"
reset = "month"
"#;

fn paid(plan: &str, start: Timestamp, days: i64) -> Command {
    Command::PlanPaid(paid_period("sub_1", plan, start, days_after(start, days)))
}

/// There and back again: the plan that is paid last is in force, and its period is granted, once.
#[tokio::test]
async fn a_subscription_that_comes_back_to_a_plan_gets_what_it_pays_for() {
    let ada = Customer::under(CATALOG).await;
    for command in [paid("small", ada.ago(20), 30), paid("large", ada.ago(10), 30)] {
        assert!(matches!(ada.post(command).await, Decision::Applied(_)));
    }
    let back = || paid("small", ada.now, 30);
    let first = ada.post(back()).await;
    let Decision::Applied(Outcome::PlanPaid { grants, .. }) = first else { panic!("{first:?}") };
    assert_eq!(grants.len(), 1, "the period that was paid is granted");
    assert!(matches!(ada.post(back()).await, Decision::AlreadyApplied(_)));
    assert_eq!(ada.stands().await.0, ["small"]);
    ada.finish().await;
}

fn changed(from: (&str, i64), to: (&str, i64), when: Timestamp, period_end: Timestamp) -> Command {
    Command::PlanChanged(changed_plan(from, to, when, period_end))
}

/// The shares of a period are read back when they are spent and closed: nothing is given twice, neither by a replay nor
/// by going down and up again; and the books hold.
#[tokio::test]
async fn spent_shares_of_a_period_are_not_given_again() {
    let ada = Customer::under(CATALOG).await;
    let start = ada.ago(12);
    let end = months_after(start, 1);
    let _: Decision = ada.post(Command::PlanPaid(paid_period("sub_1", "small", start, end))).await;
    // At the very start the whole difference is due: 9 in place of 5, then three seats of it.
    let up = changed(("small", 1), ("large", 1), start, end);
    assert!(matches!(ada.post(up.clone()).await, Decision::Applied(_)));
    let use_up = |calls: &str| {
        Command::Track(Track {
            when_short: WhenShort::Reject,
            ..Track::of(FeatureId::new("calls").unwrap(), calls.parse().unwrap())
        })
    };
    let _: Decision = ada.post(use_up("9")).await;
    assert!(matches!(ada.post(up).await, Decision::AlreadyApplied(_)));
    for command in [
        changed(("large", 1), ("small", 1), ada.ago(9), end),
        changed(("small", 1), ("large", 1), ada.ago(8), end),
        changed(("large", 1), ("large", 1), ada.ago(7), end),
    ] {
        let told = ada.post(command).await;
        let Outcome::PlanChanged { grants, .. } = told.outcome() else { panic!("{told:?}") };
        assert!(grants.is_empty(), "{told:?}");
    }
    assert!(ada.posting.post(ada.account, None, use_up("0.000000001")).await.is_err(), "nothing is left");
    let seats = changed(("large", 1), ("large", 3), ada.ago(6), end);
    let told = ada.post(seats.clone()).await;
    let Decision::Applied(Outcome::PlanChanged { grants, .. }) = told else { panic!("{told:?}") };
    assert_eq!(grants.len(), 1);
    assert!(matches!(ada.post(seats).await, Decision::AlreadyApplied(_)));
    let state = ada.posting.read_complete(ada.account).await.unwrap().state;
    let live: Vec<(&str, i64)> =
        state.attachments.iter().filter(|a| a.is_live()).map(|a| (a.plan.as_str(), a.quantity)).collect();
    assert_eq!(live, [("large", 3)]);
    ada.finish().await;
}
