//! Stripe's events under attack: periods counted anew, subscriptions cancelled as they begin, money back through the whole.

use creditd::domain::command::{Command, Decision, PlanPaid};
use creditd::domain::credits::Credits;
use creditd::domain::ids::PaymentId;
use creditd::domain::payment::{PaymentFacts, PaymentStatus};
use creditd::domain::reversal::{BackView, MoneyBack, Says};
use creditd::domain::subscription::{SubscribedPlan, SubscriptionLife, SubscriptionSeen};
use creditd::simulator::Outcome;
use creditd::store::payments::PaymentClaim;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::Value;

use crate::support::app::{PACKS_OF_ADA, STRIPE_KEY, TestApp};
use crate::support::customer::Customer;
use crate::support::plans::{days_after as after, paid_period, plan};
use crate::test_clock::Both;

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

/// What Stripe tells of one subscription.
impl Customer {
    async fn paid_price(&self, price: &str, start: Timestamp, days: i64) {
        self.paid_less(price, start, days, &[]).await;
    }

    /// A period whose invoice credits what was left of the ones before.
    async fn paid_less(&self, price: &str, start: Timestamp, days: i64, credited: &[&str]) {
        self.paid_by(None, price, start, days, credited).await;
    }

    async fn paid_by(&self, payment: Option<PaymentId>, price: &str, start: Timestamp, days: i64, credited: &[&str]) {
        let credited = credited.iter().map(|name| plan(name)).collect();
        let (stripe_price, period) = (Some(price.to_owned()), paid_period("sub_1", "pro", start, after(start, days)));
        let _: Decision = self.post(Command::PlanPaid(PlanPaid { payment, credited, stripe_price, ..period })).await;
    }

    /// Stripe is asked so many seconds after `anchor`, which the periods are counted from.
    async fn seen(&self, life: SubscriptionLife, started_at: Timestamp, anchor: Timestamp, seconds: i64) {
        let command = Command::SubscriptionSeen(SubscriptionSeen {
            subscription: "sub_1".to_owned(),
            seen_at: anchor.min(self.now).checked_add(SignedDuration::from_secs(seconds)).unwrap(),
            life,
            plans: vec![SubscribedPlan { plan: plan("pro"), quantity: 1 }],
            anchor,
            started_at,
            trial_ends_at: None,
            cancel_at: None,
        });
        let _: Decision = self.post(command).await;
    }

    async fn calls(&self) -> String {
        self.stands().await.1
    }
}

/// Rule 16: cancelling now ends the period's grants, in whichever order the two are told, also when the subscription
/// ends in the second it began in.
#[rstest]
#[tokio::test]
async fn a_subscription_over_in_the_second_it_began_leaves_nothing(#[values(true, false)] paid_first: bool) {
    let story = Customer::under(CATALOG).await;
    let start = story.ago(3);
    if paid_first {
        story.paid_price(MONTH, start, 30).await;
    }
    story.seen(SubscriptionLife::Ended(start), start, start, 1).await;
    if !paid_first {
        story.paid_price(MONTH, start, 30).await;
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
    let story = Customer::under(CATALOG).await;
    let start = story.ago(8);
    story.paid_price(MONTH, start, 30).await;
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    story.seen(life, start, story.ago(5), 1).await;
    story.seen(life, start, story.ago(3), 1).await;
    assert_eq!(story.calls().await, "10", "only the first period was ever paid");
    story.paid_price(MONTH, story.ago(3), 30).await;
    assert_eq!(story.calls().await, "20", "its own payment gives it, once");
    story.seen(SubscriptionLife::Active, start, story.ago(3), 2).await;
    assert_eq!(story.calls().await, "20");
    story.finish().await;
}

/// The same when the payment is told before the view.
#[tokio::test]
async fn a_period_begun_anew_is_given_once_when_its_payment_comes_first() {
    let story = Customer::under(CATALOG).await;
    let start = story.ago(8);
    story.paid_price(MONTH, start, 30).await;
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    story.paid_price(MONTH, story.ago(3), 30).await;
    story.seen(SubscriptionLife::Active, start, story.ago(3), 1).await;
    assert_eq!(story.calls().await, "20");
    story.finish().await;
}

/// Rule 15: periods that begin anew day after day, each crediting the rest of the one before, mint nothing. Each day costs
/// a thirtieth of the fee, and gives a thirtieth of the credits.
#[tokio::test]
async fn loops_of_new_periods_give_what_they_cost() {
    let story = Customer::under(CATALOG).await;
    let start = story.ago(12);
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    story.paid_price(MONTH, start, 30).await;
    assert_eq!(story.calls().await, "10");
    for (days, calls) in [(11, "10.333333333"), (10, "10.666666666"), (9, "10.999999999")] {
        let anew = story.ago(days);
        story.seen(SubscriptionLife::Active, start, anew, 1).await;
        story.paid_less(MONTH, anew, 30, &["pro"]).await;
        story.paid_less(MONTH, anew, 30, &["pro"]).await;
        assert_eq!(story.calls().await, calls, "{days} days ago");
    }
    // To a year and back: the month's credits come with the clock, the rest of the running one was given.
    for (price, days, length, least, most) in [(YEAR, 8, 365, "11.3", "11.4"), (MONTH, 7, 30, "11.6", "11.7")] {
        let anew = story.ago(days);
        story.seen(SubscriptionLife::Active, start, anew, 1).await;
        story.paid_less(price, anew, length, &["pro"]).await;
        let (now, least, most): (Credits, Credits, Credits) =
            (story.calls().await.parse().unwrap(), least.parse().unwrap(), most.parse().unwrap());
        assert!(least <= now && now <= most, "{now}, {days} days ago");
    }
    story.finish().await;
}

/// A year that was left for a month, its rest credited, is paid no further than that month: the clock gives none that
/// nobody pays.
#[rstest]
#[tokio::test]
async fn a_year_left_for_a_month_is_paid_for_a_month(#[values(true, false)] view_first: bool) {
    let story = Customer::under(CATALOG).await;
    let (start, left) = (story.ago(8), story.ago(5));
    story.paid_price(YEAR, start, 365).await;
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    if view_first {
        story.seen(SubscriptionLife::Active, start, left, 1).await;
    }
    story.paid_price(MONTH, left, 28).await;
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
    let story = Customer::under(CATALOG).await;
    let start = story.ago(5);
    let trial_end = after(start, 14);
    let trial = paid_period("sub_1", "pro", start, trial_end);
    let command = Command::PlanPaid(PlanPaid { is_trial: true, stripe_price: Some(MONTH.to_owned()), ..trial });
    let _: Decision = story.post(command).await;
    story.seen(SubscriptionLife::Trialing, start, trial_end, -60 * 60 * 24 * 4).await;
    story.seen(SubscriptionLife::PastDue, start, story.ago(1), 1).await;
    assert_eq!(story.calls().await, "1", "the trial's own");
    story.paid_price(MONTH, story.ago(1), 30).await;
    assert_eq!(story.calls().await, "11");
    story.finish().await;
}

/// A refund and a dispute of the simulated Stripe are seen by the daemon, which lists those of the charge.
#[tokio::test]
async fn money_that_goes_back_through_the_simulated_stripe_takes_credits() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let session = app.checkout(&PACKS_OF_ADA).await;
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

/// The months of a year whose fee went back: what the clock gives later is read with what is known of the payment, by
/// who only looks and by who books.
#[tokio::test]
async fn months_after_a_year_went_back_give_nothing() {
    let story = Customer::under(CATALOG).await;
    let start = story.ago(1);
    let facts = PaymentFacts {
        status: PaymentStatus::Paid,
        currency: Some("usd".parse().unwrap()),
        amount_paid_minor: Some(9_900),
        payment_intent: Some("pi_1".to_owned()),
        ..PaymentFacts::default()
    };
    let PaymentClaim::Claimed(payment) = story.store.claim_payment(story.account, &facts).await.unwrap() else {
        panic!("a fresh payment is claimed")
    };
    story.seen(SubscriptionLife::Active, start, start, 1).await;
    story.paid_by(Some(payment), YEAR, start, 365, &[]).await;
    assert_eq!(story.calls().await, "10");
    let says = Says::Refunded { charge: "ch_1".to_owned(), charged: 9_900, back: 9_900 };
    let view = BackView { object: "ch_1".to_owned(), seen_at: story.now, write_off: false, says };
    let command = Command::MoneyBack(MoneyBack { payment, views: vec![view] });
    let _: Decision = story.posting.post(story.account, None, command).await.unwrap();
    assert_eq!(story.calls().await, "0");
    story.store.advance_test_clock_by(40 * 86_400).await.unwrap().unwrap();
    assert_eq!(story.calls().await, "0", "before anybody books the second month");
    let _: Decision = story.posting.post(story.account, None, Command::Settle).await.unwrap();
    assert_eq!(story.calls().await, "0");
    story.finish().await;
}

/// The same through the simulated Stripe, whose invoice credits what is left: the grant says what came in for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_begun_anew_costs_and_gives_the_difference() {
    let both = Both::start_with(|_| {}).await;
    let form = [
        ("mode", "subscription"),
        ("success_url", "https://example.com/"),
        ("line_items[0][price]", "price_pro"),
        ("line_items[0][quantity]", "1"),
        ("subscription_data[metadata][customer_id]", "ada"),
        ("metadata[customer_id]", "ada"),
    ];
    let session = both.stripe("POST", "/v1/checkout/sessions", &form).await;
    let paid = both.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap();
    let path = format!("/v1/subscriptions/{}", paid["subscription"].as_str().unwrap());
    for _ in 0..2 {
        both.advance(serde_json::json!({ "seconds": 86_400 })).await;
        both.stripe("POST", &path, &[("billing_cycle_anchor", "now"), ("proration_behavior", "always_invoice")]).await;
        both.simulator.wait_until_delivered(std::time::Duration::from_secs(20)).await.unwrap();
    }
    let started = creditd::clock::instant();
    let url = format!("http://{}/api/v1/customers/ada/grants", both.daemon.address());
    let grants = loop {
        let page: Value = both.client.get(&url).bearer_auth(&both.key).send().await.unwrap().json().await.unwrap();
        let grants: Vec<Value> =
            page["data"].as_array().unwrap().iter().filter(|grant| grant["plan"] == "pro").cloned().collect();
        if grants.len() == 3 || started.elapsed() > std::time::Duration::from_secs(20) {
            break grants;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(grants.len(), 3, "{grants:#?}");
    let mut sums = (Credits::ZERO, Credits::ZERO);
    for grant in &grants {
        let amount = |value: &Value| value.as_str().unwrap().parse::<Credits>().unwrap();
        sums.0 = sums.0.checked_add(amount(&grant["quantity"])).unwrap();
        sums.1 = sums.1.checked_add(amount(&grant["paid"]["amount"])).unwrap();
    }
    // Ten dollars for ten credits, and about a third of each for every day.
    for sum in [sums.0, sums.1] {
        assert!(sum > "10.6".parse().unwrap() && sum < "10.8".parse().unwrap(), "{sums:?} {grants:#?}");
    }
    both.daemon.stop().await;
    both.simulator.stop().await;
}
