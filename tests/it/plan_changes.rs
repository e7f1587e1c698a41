//! Plans that follow one another on one subscription.

use std::collections::BTreeMap;

use creditd::domain::catalog::FeatureId;
use creditd::domain::catalog::PlanId;
use creditd::domain::command::{ChangedPlan, Command, Decision, Outcome, PlanChanged, PlanPaid, Track, WhenShort};
use creditd::domain::grant::GrantMoney;
use creditd::domain::subscription::SubscribedPlan;
use creditd::posting::Posting;
use jiff::{SignedDuration, Timestamp};

use crate::support::database::fresh_store;

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
    Command::PlanPaid(PlanPaid {
        payment: None,
        subscription: "sub_1".to_owned(),
        plan: PlanId::new(plan).unwrap(),
        quantity: 1,
        period_start: start,
        period_end: start.checked_add(SignedDuration::from_hours(24 * days)).unwrap(),
        is_trial: false,
        credited: Vec::new(),
        money: GrantMoney::default(),
        stripe_price: None,
        stripe_line: None,
        metadata: BTreeMap::new(),
    })
}

/// There and back again: the plan that is paid last is in force, and its period is granted, once.
#[tokio::test]
async fn a_subscription_that_comes_back_to_a_plan_gets_what_it_pays_for() {
    let store = fresh_store().await;
    let instance = store.ensure_instance(false, None).await.unwrap();
    let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
    let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
    let account = store.claim_customer("ada").await.unwrap().account();
    let posting = Posting::start(&store);
    let second = Timestamp::from_second(instance.now.as_second()).unwrap();
    let ago = |days: i64| second.checked_sub(SignedDuration::from_hours(24 * days)).unwrap();
    for command in [paid("small", ago(20), 30), paid("large", ago(10), 30)] {
        assert!(matches!(posting.post(account, None, command).await.unwrap(), Decision::Applied(_)));
    }
    let back = || paid("small", second, 30);
    let first = posting.post(account, None, back()).await.unwrap();
    let Decision::Applied(Outcome::PlanPaid { grants, .. }) = first else { panic!("{first:?}") };
    assert_eq!(grants.len(), 1, "the period that was paid is granted");
    assert!(matches!(posting.post(account, None, back()).await.unwrap(), Decision::AlreadyApplied(_)));
    let state = posting.read_complete(account).await.unwrap().state;
    let live: Vec<&str> = state.attachments.iter().filter(|a| a.is_live()).map(|a| a.plan.as_str()).collect();
    assert_eq!(live, ["small"]);
    posting.shut_down().await;
    assert!(!store.verify().await.unwrap().differs());
}

fn changed(from: (&str, i64), to: (&str, i64), when: Timestamp, period_end: Timestamp) -> Command {
    Command::PlanChanged(PlanChanged {
        payment: None,
        subscription: "sub_1".to_owned(),
        changed_at: when,
        period_end,
        paid_at: when,
        from: vec![SubscribedPlan { plan: PlanId::new(from.0).unwrap(), quantity: from.1 }],
        to: vec![ChangedPlan {
            plan: PlanId::new(to.0).unwrap(),
            quantity: to.1,
            money: GrantMoney::default(),
            stripe_price: None,
            stripe_line: None,
        }],
        metadata: BTreeMap::new(),
    })
}

/// The shares of a period are read back when they are spent and closed: nothing is given twice, neither by a replay nor
/// by going down and up again; and the books hold.
#[tokio::test]
async fn spent_shares_of_a_period_are_not_given_again() {
    let store = fresh_store().await;
    let instance = store.ensure_instance(false, None).await.unwrap();
    let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
    let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
    let account = store.claim_customer("ada").await.unwrap().account();
    let posting = Posting::start(&store);
    let now = Timestamp::from_second(instance.now.as_second()).unwrap();
    let ago = |days: i64| now.checked_sub(SignedDuration::from_hours(24 * days)).unwrap();
    let start = ago(12);
    let Command::PlanPaid(mut first) = paid("small", start, 30) else { unreachable!() };
    first.period_end =
        start.to_zoned(jiff::tz::TimeZone::UTC).checked_add(jiff::Span::new().months(1)).unwrap().timestamp();
    let end = first.period_end;
    let _: Decision = posting.post(account, None, Command::PlanPaid(first)).await.unwrap();
    // At the very start the whole difference is due: 9 in place of 5, then three seats of it.
    let up = changed(("small", 1), ("large", 1), start, end);
    assert!(matches!(posting.post(account, None, up.clone()).await.unwrap(), Decision::Applied(_)));
    let use_up = |calls: &str| {
        Command::Track(Track {
            when_short: WhenShort::Reject,
            ..Track::of(FeatureId::new("calls").unwrap(), calls.parse().unwrap())
        })
    };
    let _: Decision = posting.post(account, None, use_up("9")).await.unwrap();
    assert!(matches!(posting.post(account, None, up).await.unwrap(), Decision::AlreadyApplied(_)));
    for command in [
        changed(("large", 1), ("small", 1), ago(9), end),
        changed(("small", 1), ("large", 1), ago(8), end),
        changed(("large", 1), ("large", 1), ago(7), end),
    ] {
        let told = posting.post(account, None, command).await.unwrap();
        let Outcome::PlanChanged { grants, .. } = told.outcome() else { panic!("{told:?}") };
        assert!(grants.is_empty(), "{told:?}");
    }
    assert!(posting.post(account, None, use_up("0.000000001")).await.is_err(), "nothing is left");
    let seats = changed(("large", 1), ("large", 3), ago(6), end);
    let told = posting.post(account, None, seats.clone()).await.unwrap();
    let Decision::Applied(Outcome::PlanChanged { grants, .. }) = told else { panic!("{told:?}") };
    assert_eq!(grants.len(), 1);
    assert!(matches!(posting.post(account, None, seats).await.unwrap(), Decision::AlreadyApplied(_)));
    let state = posting.read_complete(account).await.unwrap().state;
    let live: Vec<(&str, i64)> =
        state.attachments.iter().filter(|a| a.is_live()).map(|a| (a.plan.as_str(), a.quantity)).collect();
    assert_eq!(live, [("large", 3)]);
    posting.shut_down().await;
    assert!(!store.verify().await.unwrap().differs());
}
