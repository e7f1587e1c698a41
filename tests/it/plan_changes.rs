//! Plans that follow one another on one subscription.

use std::collections::BTreeMap;

use creditd::domain::catalog::PlanId;
use creditd::domain::command::{Command, Decision, Outcome, PlanPaid};
use creditd::domain::grant::GrantMoney;
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
