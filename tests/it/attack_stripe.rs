//! Stripe's events under attack: periods counted anew, subscriptions cancelled as they begin, money back through the whole.

use std::collections::BTreeMap;

use creditd::domain::burn::{Holdings, balance};
use creditd::domain::catalog::{FeatureId, PlanId};
use creditd::domain::command::{Command, Decision, PlanPaid};
use creditd::domain::grant::GrantMoney;
use creditd::domain::ids::AccountId;
use creditd::domain::subscription::{SubscribedPlan, SubscriptionLife, SubscriptionSeen};
use creditd::posting::Posting;
use creditd::simulator::Outcome;
use creditd::store::Store;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::Value;

use crate::support::app::{STRIPE_KEY, TestApp};
use crate::support::database::fresh_store;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[plans.pro]
group = "main"
revenue = "credits"
prices = [
  { amount = "10.00", currency = "usd", every = "month", stripe_price = "price_month" },
  { amount = "99.00", currency = "usd", every = "year", stripe_price = "price_year" },
]
[[plans.pro.items]]
feature = "calls"
included = "10"
trial_included = "1"
reset = "month"
"#;

const MONTH: &str = "price_month";
const YEAR: &str = "price_year";

/// One customer, and what Stripe tells of one subscription.
struct Story {
    store: Store,
    posting: Posting,
    account: AccountId,
    now: Timestamp,
}

impl Story {
    async fn begin() -> Self {
        let store = fresh_store().await;
        let instance = store.ensure_instance(false, None).await.unwrap();
        let account = store.claim_customer("ada").await.unwrap().account();
        let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
        let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
        let now = Timestamp::from_second(instance.now.as_second()).unwrap();
        Self { posting: Posting::start(&store), account, now, store }
    }

    fn ago(&self, days: i64) -> Timestamp {
        after(self.now, -days)
    }

    async fn paid(&self, price: &str, start: Timestamp, days: i64) {
        let command = Command::PlanPaid(PlanPaid {
            payment: None,
            subscription: "sub_1".to_owned(),
            plan: PlanId::new("pro").unwrap(),
            quantity: 1,
            period_start: start,
            period_end: after(start, days),
            is_trial: false,
            money: GrantMoney::default(),
            stripe_price: Some(price.to_owned()),
            stripe_line: None,
            metadata: BTreeMap::new(),
        });
        let _: Decision = self.posting.post(self.account, None, command).await.unwrap();
    }

    /// Stripe is asked so many seconds after `anchor`, which the periods are counted from.
    async fn seen(&self, life: SubscriptionLife, started_at: Timestamp, anchor: Timestamp, seconds: i64) {
        let command = Command::SubscriptionSeen(SubscriptionSeen {
            subscription: "sub_1".to_owned(),
            seen_at: anchor.min(self.now).checked_add(SignedDuration::from_secs(seconds)).unwrap(),
            life,
            plans: vec![SubscribedPlan { plan: PlanId::new("pro").unwrap(), quantity: 1 }],
            anchor,
            started_at,
            trial_ends_at: None,
            cancel_at: None,
        });
        let _: Decision = self.posting.post(self.account, None, command).await.unwrap();
    }

    async fn calls(&self) -> String {
        let reading = self.posting.read_complete(self.account).await.unwrap();
        let (state, now) = (reading.state, reading.now);
        let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: "", now };
        balance(holdings, &FeatureId::new("calls").unwrap()).available.to_string()
    }

    async fn finish(self) {
        self.posting.shut_down().await;
        assert!(!self.store.verify().await.unwrap().differs());
    }
}

fn after(at: Timestamp, days: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_hours(24 * days)).unwrap()
}

/// Rule 16: cancelling now ends the period's grants, in whichever order the two are told, also when the subscription
/// ends in the second it began in.
#[rstest]
#[tokio::test]
async fn a_subscription_over_in_the_second_it_began_leaves_nothing(#[values(true, false)] paid_first: bool) {
    let story = Story::begin().await;
    let start = story.ago(3);
    if paid_first {
        story.paid(MONTH, start, 30).await;
    }
    story.seen(SubscriptionLife::Ended(start), start, start, 1).await;
    if !paid_first {
        story.paid(MONTH, start, 30).await;
    }
    assert_eq!(story.calls().await, "0");
    story.finish().await;
}

/// Rule 13: a period is given when it is paid. Where Stripe begins a new one early, what was paid for the old one does not
/// pay for it: its invoice may be declined.
#[rstest]
#[case::active(SubscriptionLife::Active)]
#[case::declined(SubscriptionLife::PastDue)]
#[tokio::test]
async fn a_period_begun_anew_gives_nothing_before_it_is_paid(#[case] life: SubscriptionLife) {
    let story = Story::begin().await;
    let start = story.ago(8);
    story.paid(MONTH, start, 30).await;
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    story.seen(life, start, story.ago(5), 1).await;
    story.seen(life, start, story.ago(3), 1).await;
    assert_eq!(story.calls().await, "10", "only the first period was ever paid");
    story.paid(MONTH, story.ago(3), 30).await;
    assert_eq!(story.calls().await, "20", "its own payment gives it, once");
    story.seen(SubscriptionLife::Active, start, story.ago(3), 2).await;
    assert_eq!(story.calls().await, "20");
    story.finish().await;
}

/// The same when the payment is told before the view.
#[tokio::test]
async fn a_period_begun_anew_is_given_once_when_its_payment_comes_first() {
    let story = Story::begin().await;
    let start = story.ago(8);
    story.paid(MONTH, start, 30).await;
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    story.paid(MONTH, story.ago(3), 30).await;
    story.seen(SubscriptionLife::Active, start, story.ago(3), 1).await;
    assert_eq!(story.calls().await, "20");
    story.finish().await;
}

/// A year that was left for a month, its rest credited, is paid no further than that month: the clock gives none that
/// nobody pays.
#[rstest]
#[tokio::test]
async fn a_year_left_for_a_month_is_paid_for_a_month(#[values(true, false)] view_first: bool) {
    let story = Story::begin().await;
    let (start, left) = (story.ago(8), story.ago(5));
    story.paid(YEAR, start, 365).await;
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    if view_first {
        story.seen(SubscriptionLife::Active, start, left, 1).await;
    }
    story.paid(MONTH, left, 28).await;
    story.seen(SubscriptionLife::PastDue, start, left, 2).await;
    let reading = story.posting.read_complete(story.account).await.unwrap();
    let paid: Vec<Option<Timestamp>> = reading.state.attachments.iter().map(|known| known.paid_through).collect();
    assert_eq!(paid, [Some(after(left, 28))]);
    assert_eq!(story.calls().await, "20");
    story.finish().await;
}

/// A trial that is ended early begins the first paid period, which is not paid yet.
#[tokio::test]
async fn a_trial_ended_early_gives_nothing_unpaid() {
    let story = Story::begin().await;
    let start = story.ago(5);
    let trial_end = after(start, 14);
    let command = Command::PlanPaid(PlanPaid {
        payment: None,
        subscription: "sub_1".to_owned(),
        plan: PlanId::new("pro").unwrap(),
        quantity: 1,
        period_start: start,
        period_end: trial_end,
        is_trial: true,
        money: GrantMoney::default(),
        stripe_price: Some(MONTH.to_owned()),
        stripe_line: None,
        metadata: BTreeMap::new(),
    });
    let _: Decision = story.posting.post(story.account, None, command).await.unwrap();
    story.seen(SubscriptionLife::Trialing, start, trial_end, -60 * 60 * 24 * 4).await;
    story.seen(SubscriptionLife::PastDue, start, story.ago(1), 1).await;
    assert_eq!(story.calls().await, "1", "the trial's own");
    story.paid(MONTH, story.ago(1), 30).await;
    assert_eq!(story.calls().await, "11");
    story.finish().await;
}

/// A refund and a dispute of the simulated Stripe are seen by the daemon, which lists those of the charge.
#[tokio::test]
async fn money_that_goes_back_through_the_simulated_stripe_takes_credits() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let session = app
        .checkout(&[
            ("mode", "payment"),
            ("line_items[0][price]", "price_usd_credit"),
            ("line_items[0][quantity]", "20"),
            ("metadata[creditd_customer_id]", "ada"),
        ])
        .await;
    let session = app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
    let _: String = app.deliver_newest("checkout.session.completed").await;
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    let url = format!("{}/v1/refunds", app.simulator.base_url());
    let form = [("payment_intent", session["payment_intent"].as_str().unwrap()), ("amount", "500")];
    let sent = app.client.post(url).basic_auth(STRIPE_KEY, Some("")).form(&form).send().await.unwrap();
    let refund: Value = sent.json().await.unwrap();
    let _: String = app.deliver_newest("charge.refunded").await;
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "20");
    let charge = refund["charge"].as_str().unwrap();
    let _: Value = app.simulator.open_dispute(charge, &serde_json::from_str("{}").unwrap()).unwrap();
    let _: String = app.deliver_newest("charge.dispute.created").await;
    app.settle().await;
    assert_eq!(app.available("ada", "usd_credits").await, "5", "what is disputed is frozen");
    app.finish().await;
}
