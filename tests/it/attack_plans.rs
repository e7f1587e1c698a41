//! Plans under attack: late and reordered invoices, seats that change, plans the catalogue no longer has.

use std::collections::BTreeMap;

use creditd::domain::burn::{Holdings, balance};
use creditd::domain::catalog::{FeatureId, PlanId};
use creditd::domain::command::{Command, Decision, PlanPaid};
use creditd::domain::grant::GrantMoney;
use creditd::domain::ids::AccountId;
use creditd::posting::Posting;
use creditd::store::Store;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};

use crate::support::database::fresh_store;

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

/// One customer, and invoices told of in any order.
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
        let story = Self {
            posting: Posting::start(&store),
            account,
            now: Timestamp::from_second(instance.now.as_second()).unwrap(),
            store,
        };
        story.apply(CATALOG, 1).await;
        story
    }

    async fn apply(&self, text: &str, digest: u8) {
        let catalog = creditd::domain::catalog::file::read(text).unwrap();
        let _: creditd::store::catalog::Applied =
            self.store.apply_catalog(&catalog, [digest; 32], false).await.unwrap();
    }

    fn ago(&self, days: i64) -> Timestamp {
        self.now.checked_sub(SignedDuration::from_hours(24 * days)).unwrap()
    }

    /// An invoice of a plan's period of some months is paid.
    async fn paid(&self, subscription: &str, plan: &str, seats: i64, start: Timestamp, months: i64) -> Decision {
        let command = Command::PlanPaid(PlanPaid {
            payment: None,
            subscription: subscription.to_owned(),
            plan: PlanId::new(plan).unwrap(),
            quantity: seats,
            period_start: start,
            period_end: after(start, months),
            money: GrantMoney::default(),
            stripe_price: None,
            stripe_line: None,
            metadata: BTreeMap::new(),
        });
        self.posting.post(self.account, None, command).await.unwrap()
    }

    /// The plans in force and the calls that can be made.
    async fn stands(&self) -> (Vec<String>, String) {
        let reading = self.posting.read_complete(self.account).await.unwrap();
        let (state, now) = (reading.state, reading.now);
        let mut live: Vec<String> =
            state.attachments.iter().filter(|a| a.is_live()).map(|a| a.plan.as_str().to_owned()).collect();
        live.sort();
        let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity: "", now };
        (live, balance(holdings, &FeatureId::new("calls").unwrap()).available.to_string())
    }

    async fn ends_with(self, plans: &[&str], calls: &str) {
        let stands = self.stands().await;
        self.posting.shut_down().await;
        assert!(!self.store.verify().await.unwrap().differs());
        assert_eq!(stands, (plans.iter().map(|plan| (*plan).to_owned()).collect(), calls.to_owned()));
    }
}

fn after(start: Timestamp, months: i64) -> Timestamp {
    start.to_zoned(TimeZone::UTC).checked_add(Span::new().months(months)).unwrap().timestamp()
}

#[tokio::test]
async fn seats_paid_for_at_a_renewal_are_seats_granted() {
    let story = Story::begin().await;
    let start = story.ago(40);
    let _: Decision = story.paid("sub_1", "small", 1, start, 1).await;
    let _: Decision = story.paid("sub_1", "small", 3, after(start, 1), 1).await;
    story.ends_with(&["small"], "15").await;
}

/// The invoice of the period before, told late, takes no seats away.
#[tokio::test]
async fn seats_of_an_older_invoice_change_nothing() {
    let story = Story::begin().await;
    let start = story.ago(40);
    let _: Decision = story.paid("sub_1", "small", 3, after(start, 1), 1).await;
    let _: Decision = story.paid("sub_1", "small", 1, start, 1).await;
    story.ends_with(&["small"], "15").await;
}

/// In order: small, then large replaces it by another subscription and small's unspent credits end.
#[tokio::test]
async fn a_late_invoice_of_the_replaced_subscription_does_not_end_the_newer_plan() {
    for late in [false, true] {
        let story = Story::begin().await;
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
        let story = Story::begin().await;
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
        let story = Story::begin().await;
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

/// A plan that the catalogue dropped still belongs to its group: it makes room like any other.
#[tokio::test]
async fn a_retired_plan_still_makes_room_for_its_successor() {
    let story = Story::begin().await;
    let _: Decision = story.posting.post(story.account, None, Command::Open).await.unwrap();
    assert_eq!(story.stands().await.0, ["free"]);
    story.apply(&CATALOG.replace("plans.free", "plans.starter"), 2).await;
    let _: Decision = story.paid("sub_1", "small", 1, story.ago(1), 1).await;
    story.ends_with(&["small"], "5").await;
}
