//! Plans under attack: late and reordered invoices, seats that change, plans the catalogue no longer has.

use creditd::domain::command::{Command, Decision, Outcome, PlanPaid};
use jiff::Timestamp;

use crate::support::customer::Customer;
use crate::support::plans::{months_after as after, paid_period};

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[plans.free]
group = "main"
auto_enable = true
[[plans.free.items]]
feature = "calls"
included = "1"
reset = "month"
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
prices = [{ amount = "90.00", currency = "usd", every = "year", stripe_price = "price_large" }]
[[plans.large.items]]
feature = "calls"
included = "9"
reset = "month"
"#;

impl Customer {
    /// An invoice of a plan's period of some months is paid.
    async fn paid(&self, subscription: &str, plan: &str, seats: i64, start: Timestamp, months: i64) -> Decision {
        self.paid_until(subscription, plan, seats, start, after(start, months)).await
    }

    async fn paid_until(
        &self,
        subscription: &str,
        plan: &str,
        seats: i64,
        period_start: Timestamp,
        period_end: Timestamp,
    ) -> Decision {
        let period = paid_period(subscription, plan, period_start, period_end);
        self.post(Command::PlanPaid(PlanPaid { quantity: seats, ..period })).await
    }

    async fn ends_with(self, plans: &[&str], calls: &str) {
        let stands = self.stands().await;
        self.finish().await;
        assert_eq!(stands, (plans.iter().map(|plan| (*plan).to_owned()).collect(), calls.to_owned()));
    }
}

#[tokio::test]
async fn seats_paid_for_at_a_renewal_are_seats_granted() {
    let story = Customer::under(CATALOG).await;
    let start = story.ago(40);
    let _: Decision = story.paid("sub_1", "small", 1, start, 1).await;
    let _: Decision = story.paid("sub_1", "small", 3, after(start, 1), 1).await;
    story.ends_with(&["small"], "15").await;
}

/// The invoice of the period before, told late, takes no seats away.
#[tokio::test]
async fn seats_of_an_older_invoice_change_nothing() {
    let story = Customer::under(CATALOG).await;
    let start = story.ago(40);
    let _: Decision = story.paid("sub_1", "small", 3, after(start, 1), 1).await;
    let _: Decision = story.paid("sub_1", "small", 1, start, 1).await;
    story.ends_with(&["small"], "15").await;
}

/// After a trial Stripe counts its periods anew: what is paid then is granted then, with its money, and so is each month
/// after it (rule 13: a reset anchor).
#[tokio::test]
async fn a_period_paid_off_the_grid_moves_the_grid() {
    let story = Customer::under(CATALOG).await;
    let (trial, first) = (story.ago(40), story.ago(33));
    let _: Decision = story.paid_until("sub_1", "small", 1, trial, first).await;
    let _: Decision = story.paid("sub_1", "small", 1, first, 1).await;
    let told = story.paid("sub_1", "small", 1, after(first, 1), 1).await;
    let Decision::Applied(Outcome::PlanPaid { grants, .. }) = told else { panic!("{told:?}") };
    assert_eq!(grants.len(), 1, "the paid period's own grant, which carries its money");
    let again = story.paid("sub_1", "small", 1, after(first, 1), 1).await;
    assert!(matches!(again, Decision::AlreadyApplied(_)), "{again:?}");
    story.ends_with(&["small"], "5").await;
}

/// Day 31 stays day 31: periods on the grid do not move it.
#[tokio::test]
async fn a_period_on_the_grid_does_not_move_it() {
    let story = Customer::under(CATALOG).await;
    let january: Timestamp = "2026-01-31T10:00:00Z".parse().unwrap();
    for months in 0..3 {
        let (start, end) = (after(january, months), after(january, months + 1));
        let _: Decision = story.paid_until("sub_1", "small", 1, start, end).await;
    }
    let state = story.posting.read_complete(story.account).await.unwrap().state;
    let small = state.attachments.iter().find(|known| known.plan.as_str() == "small").unwrap();
    assert_eq!((small.anchor, small.paid_through), (january, Some(after(january, 3))));
    story.ends_with(&["small"], "0").await;
}

/// In order: small, then large replaces it by another subscription and small's unspent credits end.
#[tokio::test]
async fn a_late_invoice_of_the_replaced_subscription_does_not_end_the_newer_plan() {
    for late in [false, true] {
        let story = Customer::under(CATALOG).await;
        let mut told = [("sub_1", "small", 20, 1), ("sub_2", "large", 10, 12)];
        if late {
            told.reverse();
        }
        for (subscription, plan, days, months) in told {
            let _: Decision = story.paid(subscription, plan, 1, story.ago(days), months).await;
        }
        story.ends_with(&["large"], "9").await;
    }
}

/// A change inside one subscription keeps what was given for the running period (rule 16), in either order.
#[tokio::test]
async fn a_late_invoice_of_the_plan_before_does_not_end_the_one_after() {
    for late in [false, true] {
        let story = Customer::under(CATALOG).await;
        let mut told = [("small", 20, 1), ("large", 10, 12)];
        if late {
            told.reverse();
        }
        for (plan, days, months) in told {
            let _: Decision = story.paid("sub_1", plan, 1, story.ago(days), months).await;
        }
        story.ends_with(&["large"], "14").await;
    }
}

/// The old plan's last renewal arrives after the new plan: the old plan is known, has ended, and stays so. What it gives
/// for the running period stays only inside one subscription.
#[tokio::test]
async fn a_late_renewal_of_a_plan_that_was_left_does_not_bring_it_back() {
    for (next, calls) in [("sub_2", "9"), ("sub_1", "14")] {
        let story = Customer::under(CATALOG).await;
        let first = story.ago(45);
        let _: Decision = story.paid("sub_1", "small", 1, first, 1).await;
        let _: Decision = story.paid(next, "large", 1, story.ago(5), 12).await;
        for again in [false, true] {
            let told = story.paid("sub_1", "small", 1, after(first, 1), 1).await;
            assert_eq!(matches!(told, Decision::AlreadyApplied(_)), again);
        }
        story.ends_with(&["large"], calls).await;
    }
}

/// Leaving a plan and coming back to it does not bring what it gives once a second time.
#[tokio::test]
async fn what_a_plan_gives_once_does_not_come_again_with_its_anchor() {
    let story = Customer::under(CATALOG).await;
    story.apply(&CATALOG.replace("included = \"5\"\nreset = \"month\"", "included = \"5\""), 2).await;
    for (plan, days) in [("small", 20), ("large", 10), ("small", 1)] {
        let _: Decision = story.paid("sub_1", plan, 1, story.ago(days), 1).await;
    }
    story.ends_with(&["small"], "14").await;
}

/// A plan that the catalogue dropped still belongs to its group: it makes room like any other.
#[tokio::test]
async fn a_retired_plan_still_makes_room_for_its_successor() {
    let story = Customer::under(CATALOG).await;
    let _: Decision = story.post(Command::Open).await;
    assert_eq!(story.stands().await.0, ["free"]);
    story.apply(&CATALOG.replace("plans.free", "plans.starter"), 2).await;
    let _: Decision = story.paid("sub_1", "small", 1, story.ago(1), 1).await;
    story.ends_with(&["small"], "5").await;
}
