//! Virtual time: timers fire in order and at their own time, asked for or not.

use creditd::clock::Clock;
use creditd::simulator::{Entry, InvoiceOrder, Options, Outcome, SimulatorError};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Account, clock, id, kept_in, seconds};

pub fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

impl Account {
    /// A monthly price and a customer who subscribes to it with these further parameters.
    pub async fn subscription(&self, more: &str) -> Value {
        let price = self.price("&recurring[interval]=month").await;
        let customer = id(&self.post("/v1/customers", "name=A").await);
        let form = format!("customer={customer}&items[0][price]={price}{more}");
        self.post("/v1/subscriptions", &form).await
    }

    pub async fn advance(&self, to: &str) {
        self.simulator.advance_to(at(to)).await.unwrap();
    }

    /// Types of events with their times, in the order in which they were made.
    pub fn happened(&self) -> Vec<(i64, String)> {
        let told = |event: &Value| (event["created"].as_i64().unwrap(), event["type"].as_str().unwrap().to_owned());
        self.all_events().iter().map(told).collect()
    }

    pub fn all_events(&self) -> Vec<Value> {
        self.simulator.all_event_ids().iter().map(|id| self.simulator.event(id).unwrap()).collect()
    }
}

fn of(found: &[(i64, String)], event_type: &str) -> Vec<i64> {
    found.iter().filter(|(_, kind)| kind == event_type).map(|(time, _)| *time).collect()
}

#[tokio::test]
async fn periods_follow_each_other_each_at_its_own_time() {
    let account = Account::new().await;
    account.subscription("").await;
    assert_eq!(account.simulator.next_timer(), Some(at("2026-02-28T00:00:00Z")));
    account.advance("2026-05-01T00:00:00Z").await;
    assert_eq!(account.simulator.now(), at("2026-05-01T00:00:00Z"));
    let happened = account.happened();
    let ends = ["2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z"].map(seconds);
    let charged = ends.map(|end| end + 3_600);
    assert_eq!(of(&happened, "customer.subscription.updated"), ends);
    assert_eq!(of(&happened, "invoice.created")[1..], ends, "a draft at the period's end");
    for event_type in [
        "invoice.finalized",
        "payment_intent.succeeded",
        "charge.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
    ] {
        assert_eq!(of(&happened, event_type)[1..], charged, "{event_type} an hour later");
    }
    let mut sorted = happened.clone();
    sorted.sort_by_key(|(time, _)| *time);
    assert_eq!(happened, sorted, "time never goes back");
    let charges: Vec<i64> = account.simulator.log().charges().iter().map(|charge| charge.at).collect();
    assert_eq!(charges[1..], charged);
    let last = account.events("invoice.paid").pop().unwrap()["data"]["object"].clone();
    let line = &last["lines"]["data"][0];
    assert_eq!(line["period"], json!({ "start": ends[2], "end": seconds("2026-05-31T00:00:00Z") }));
    assert_eq!((&last["billing_reason"], &last["created"]), (&json!("subscription_cycle"), &json!(ends[2])));
    assert_eq!(last["status_transitions"]["paid_at"], json!(charged[2]));
    let timers = account.simulator.log().entries().into_iter().filter(|entry| matches!(entry, Entry::Timer { .. }));
    assert_eq!(timers.count(), 6, "three periods, three drafts");
}

#[tokio::test]
async fn time_is_asked_for_or_passes_and_never_goes_back() {
    let account = Account::new().await;
    account.advance("2026-02-10T00:00:00Z").await;
    account.advance("2026-02-01T00:00:00Z").await;
    assert_eq!(account.simulator.now(), at("2026-02-10T00:00:00Z"), "forward only");
    let fixed = Account::start(Options::new(Clock::system())).await;
    let later = fixed.simulator.now() + SignedDuration::from_hours(1);
    assert!(matches!(fixed.simulator.advance_to(later).await, Err(SimulatorError::ClockNotMoved(_))));

    // A clock that somebody else moves: what is due happens at the next question.
    let clock = clock();
    let account = Account::start(Options::new(clock.clone())).await;
    let subscription = id(&account.subscription("").await);
    assert!(clock.set(at("2026-03-01T00:00:00Z")));
    let found = account.get(&format!("/v1/subscriptions/{subscription}"), "").await;
    let item = &found["items"]["data"][0];
    assert_eq!(item["current_period_start"], json!(seconds("2026-02-28T00:00:00Z")), "the newest state is answered");

    // And without a question, a little later.
    assert!(clock.set(at("2026-04-02T00:00:00Z")));
    for _ in 0..500 {
        if account.events("invoice.paid").len() == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let paid: Vec<Value> = account.events("invoice.paid").iter().map(|event| event["created"].clone()).collect();
    assert_eq!(paid[1..], [json!(seconds("2026-02-28T01:00:00Z")), json!(seconds("2026-03-31T01:00:00Z"))]);
}

#[tokio::test]
async fn a_shifted_clock_runs_on_by_itself() {
    let clock = Clock::shifted(SignedDuration::ZERO);
    let account = Account::start(Options::new(clock.clone())).await;
    account.subscription("").await;
    let due = account.simulator.next_timer().unwrap();
    account.simulator.advance_to(due - SignedDuration::from_secs(1)).await.unwrap();
    assert!(account.events("customer.subscription.updated").is_empty());
    for _ in 0..1_000 {
        if !account.events("customer.subscription.updated").is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(account.event("customer.subscription.updated")["created"], json!(due.as_second()));
}

#[tokio::test]
async fn a_session_that_nobody_pays_expires_after_a_day() {
    let account = Account::new().await;
    let price = account.price("").await;
    let session = account.session(&price, "payment", "").await;
    account.advance("2026-02-01T00:00:01Z").await;
    let expired = account.event("checkout.session.expired");
    assert_eq!(expired["created"], json!(seconds("2026-02-01T00:00:00Z")));
    assert!(account.simulator.pay_checkout(&session, Outcome::Paid).is_err());
}

#[tokio::test]
async fn timers_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = || kept_in(&folder);
    let account = Account::start(options()).await;
    account.subscription("").await;
    account.advance("2026-02-28T00:30:00Z").await;
    let next = account.simulator.next_timer();
    assert_eq!(next, Some(at("2026-02-28T01:00:00Z")), "the draft waits");
    account.simulator.stop().await;
    let again = Account::start(options()).await;
    assert_eq!(again.simulator.next_timer(), next);
    again.advance("2026-02-28T02:00:00Z").await;
    assert_eq!(again.events("invoice.paid").last().unwrap()["created"], json!(seconds("2026-02-28T01:00:00Z")));
}

#[tokio::test]
async fn a_period_in_the_past_that_was_ordered_by_hand_is_not_renewed_by_time() {
    let account = Account::new().await;
    let price = account.price("&recurring[interval]=month").await;
    let customer = id(&account.post("/v1/customers", "").await);
    let order = json!({ "customer": customer, "price": price, "billing_reason": "subscription_create",
        "period_start": 1000, "period_end": 2000 });
    let order: InvoiceOrder = serde_json::from_value(order).unwrap();
    account.simulator.make_invoice(&order).unwrap();
    account.advance("2027-01-01T00:00:00Z").await;
    assert_eq!(account.events("invoice.paid").len(), 1);
}

#[tokio::test]
async fn ten_thousand_timers_are_fired_in_one_go() {
    let account = Account::new().await;
    let price = account.price("&recurring[interval]=day").await;
    let customer = id(&account.post("/v1/customers", "").await);
    account.post("/v1/subscriptions", &format!("customer={customer}&items[0][price]={price}")).await;
    account.advance("2031-01-31T00:30:00Z").await;
    // 5 years have 1826 days, one of them in a leap year; the last draft still waits.
    assert_eq!(account.events("invoice.paid").len(), 1 + 1_825);
    assert_eq!(account.simulator.next_timer(), Some(at("2031-01-31T01:00:00Z")));
}
