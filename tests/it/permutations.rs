//! Any order of a set of deliveries, with random copies, over two daemons: equal business facts.

use std::collections::BTreeSet;
use std::time::Duration;

use creditd::domain::credits::Credits;
use creditd::domain::reversal::share;
use creditd::simulator::{DisputeOrder, DisputeStep, Outcome, SeedPrice};
use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::app::{CATALOG, TestApp};
use crate::trains::MAX;

/// Lives worked on at once.
const AT_ONCE: usize = 12;
const A_SECOND: Duration = Duration::from_millis(1_050);

/// What happened at Stripe to one customer, told by five events.
struct Life {
    customer: String,
    /// When it began at Stripe: times are told from there.
    base: i64,
    /// When it was over there: what came later is told from then.
    over: i64,
    events: Vec<String>,
}

async fn paid_session(app: &TestApp, customer: &str, mode: &str, price: &str, quantity: &str) -> Value {
    let form = [
        ("mode", mode),
        ("line_items[0][price]", price),
        ("line_items[0][quantity]", quantity),
        ("metadata[customer_id]", customer),
    ];
    let of_subscription = [("subscription_data[metadata][customer_id]", customer)];
    let more: &[(&str, &str)] = if mode == "subscription" { &of_subscription } else { &[] };
    let session = app.checkout(&[form.as_slice(), more].concat()).await;
    app.simulator.pay_checkout(session["id"].as_str().unwrap(), Outcome::Paid).unwrap()
}

async fn charge_of(app: &TestApp, intent: &str) -> Value {
    let intent = app.stripe("GET", &format!("/v1/payment_intents/{intent}"), &[]).await;
    app.stripe("GET", &format!("/v1/charges/{}", intent["latest_charge"].as_str().unwrap()), &[]).await
}

/// The newest event of each type that was made since so many events.
fn since(app: &TestApp, before: usize, types: &[&str]) -> Vec<String> {
    let made: BTreeSet<String> = app.simulator.all_event_ids().into_iter().skip(before).collect();
    let newest = |kind: &&str| {
        let mut of_kind = app.simulator.event_ids(kind);
        of_kind.retain(|id| made.contains(id));
        of_kind.pop().unwrap_or_else(|| panic!("no {kind} was made"))
    };
    types.iter().map(newest).collect()
}

/// What happens at Stripe, in two parts of which the second comes at least a second later.
#[derive(Clone, Copy)]
enum Story {
    /// A top-up of 20, a quarter refunded, half disputed and lost.
    LostTopUp,
    /// A month of Pro, cancelled at once, its fee partly refunded.
    CancelledPlan,
    /// A month of Pro, upgraded to Max a second after it began.
    Upgrade,
}

impl Story {
    async fn begin(self, app: &TestApp, customer: String) -> (Life, Value) {
        let before = app.simulator.all_event_ids().len();
        match self {
            Self::LostTopUp => {
                let session = paid_session(app, &customer, "payment", "price_usd_credit", "20").await;
                let charge = charge_of(app, session["payment_intent"].as_str().unwrap()).await;
                let events = since(app, before, &["checkout.session.completed"]);
                (Life { customer, base: charge["created"].as_i64().unwrap(), over: i64::MAX, events }, charge)
            }
            Self::CancelledPlan | Self::Upgrade => {
                let session = paid_session(app, &customer, "subscription", "price_pro", "1").await;
                let subscription = session["subscription"].as_str().unwrap();
                let read = app.stripe("GET", &format!("/v1/subscriptions/{subscription}"), &[]).await;
                let types = ["checkout.session.completed", "customer.subscription.created", "invoice.paid"];
                let events = since(app, before, &types);
                (Life { customer, base: read["start_date"].as_i64().unwrap(), over: i64::MAX, events }, read)
            }
        }
    }

    async fn go_on(self, app: &TestApp, life: &mut Life, object: &Value) {
        let before = app.simulator.all_event_ids().len();
        let id = object["id"].as_str().unwrap();
        let types: &[&str] = match self {
            Self::LostTopUp => {
                app.stripe("POST", "/v1/refunds", &[("charge", id), ("amount", "500")]).await;
                let order = serde_json::from_value::<DisputeOrder>(json!({ "amount": 1_000 })).unwrap();
                let dispute = app.simulator.open_dispute(id, &order).unwrap();
                app.simulator.move_dispute(dispute["id"].as_str().unwrap(), DisputeStep::Lost).unwrap();
                &["charge.refunded", "refund.updated", "charge.dispute.created", "charge.dispute.closed"]
            }
            Self::CancelledPlan => {
                let ended = app.stripe("DELETE", &format!("/v1/subscriptions/{id}"), &[]).await;
                life.over = ended["ended_at"].as_i64().unwrap();
                let invoice = object["latest_invoice"].as_str().unwrap();
                let paid = app.stripe("GET", &format!("/v1/invoice_payments?invoice={invoice}"), &[]).await;
                let intent = paid["data"][0]["payment"]["payment_intent"].as_str().unwrap();
                app.stripe("POST", "/v1/refunds", &[("payment_intent", intent), ("amount", "300")]).await;
                &["customer.subscription.deleted", "charge.refunded"]
            }
            Self::Upgrade => {
                let item = object["items"]["data"][0]["id"].as_str().unwrap();
                let date = (life.base + 1).to_string();
                let form = [
                    ("items[0][id]", item),
                    ("items[0][price]", "price_max"),
                    ("proration_behavior", "always_invoice"),
                    ("proration_date", &date),
                ];
                app.stripe("POST", &format!("/v1/subscriptions/{id}"), &form).await;
                &["customer.subscription.updated", "invoice.paid"]
            }
        };
        life.events.extend(since(app, before, types));
    }
}

/// Every order of five things.
fn orders() -> Vec<[usize; 5]> {
    let mut all = Vec::new();
    for code in 0..3_125_usize {
        let order = [code % 5, code / 5 % 5, code / 25 % 5, code / 125 % 5, code / 625 % 5];
        if order.iter().collect::<BTreeSet<_>>().len() == 5 {
            all.push(order);
        }
    }
    assert_eq!(all.len(), 120);
    all
}

/// Delivers a life's events in an order, every second daemon in turn, some copied.
async fn deliver(daemons: &[TestApp; 2], life: &Life, order: [usize; 5], number: usize) {
    for (step, place) in order.into_iter().enumerate() {
        let copies = 1 + (number * 7 + step * 3) % 3 / 2;
        for copy in 0..copies {
            daemons[(number + step + copy) % 2].deliver_event(&life.events[place]).await;
        }
        // Now and then the daemons are done with an event before the next one comes.
        if (number + step).is_multiple_of(4) {
            daemons[0].settle().await;
        }
    }
    let again = order[number % 5];
    daemons[number % 2].deliver_event(&life.events[again]).await;
}

/// What the customer has in the end, told from when it began at Stripe.
async fn facts(app: &TestApp, life: &Life) -> (Vec<String>, String, String) {
    let second = |time: &Value| time.as_str().map(|text| text.parse::<Timestamp>().unwrap().as_second());
    let mut grants: Vec<String> = Vec::new();
    for grant in app.grants_of(&life.customer).await {
        let (from, to) = (second(&grant["starts_at"]), second(&grant["expires_at"]));
        let (word, zero) = if from >= Some(life.over) { ("over", life.over) } else { ("begun", life.base) };
        let told = |second: Option<i64>| second.map(|second| second - zero);
        let is_before = from < Some(life.base);
        let span = if is_before { "before".to_owned() } else { format!("{word} {:?}..{:?}", told(from), told(to)) };
        grants.push(format!(
            "{} {} {} of {} paid={} {} {span}",
            grant["plan"], grant["item_key"], grant["remaining"], grant["quantity"], grant["paid"], grant["category"],
        ));
    }
    grants.sort();
    let (_, read) = app.call("GET", &format!("/api/v1/customers/{}", life.customer), None).await;
    let plans: Vec<&str> = read["plans"].as_array().unwrap().iter().filter_map(|plan| plan["plan"].as_str()).collect();
    (grants, plans.join(" "), app.available(&life.customer, "usd_credits").await)
}

async fn any_order(story: Story) -> (Vec<String>, String, String) {
    let first = TestApp::with_catalog(&format!("{CATALOG}{MAX}")).await;
    let max = SeedPrice {
        id: "price_max".to_owned(),
        product: "price_max".to_owned(),
        currency: "usd".to_owned(),
        unit_amount: 2_500,
        recurring: Some(("month".to_owned(), 1)),
        lookup_key: None,
    };
    first.simulator.seed_price(&max).unwrap();
    let customers = || (0..120).map(|number| format!("customer-{number}"));
    for customer in customers() {
        first.customer(&customer).await;
    }
    // Stripe's times are whole seconds.
    tokio::time::sleep(A_SECOND).await;
    let mut begun = Vec::new();
    for customer in customers() {
        begun.push(story.begin(&first, customer).await);
    }
    tokio::time::sleep(A_SECOND).await;
    let mut lives = Vec::new();
    for (mut life, object) in begun {
        story.go_on(&first, &mut life, &object).await;
        lives.push(life);
    }
    let second = first.beside().await;
    let daemons = [first, second];
    futures_util::stream::iter(orders().into_iter().zip(&lives).enumerate())
        .for_each_concurrent(AT_ONCE, |(number, (order, life))| deliver(&daemons, life, order, number))
        .await;
    let [first, second] = daemons;
    first.settle().await;
    let expected = facts(&first, &lives[0]).await;
    for (order, life) in orders().iter().zip(&lives) {
        assert_eq!(facts(&first, life).await, expected, "{order:?} of {:?}", life.events);
    }
    second.daemon.stop().await;
    first.finish().await;
    expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_top_up_refunded_and_disputed() {
    let (grants, plans, available) = any_order(Story::LostTopUp).await;
    // 20 less 5 refunded less 10 lost, beside the 5 of Free.
    assert_eq!((plans.as_str(), available.as_str()), ("free", "10"), "{grants:#?}");
    assert_eq!(grants.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_cancelled_and_refunded() {
    let (grants, plans, available) = any_order(Story::CancelledPlan).await;
    assert_eq!((plans.as_str(), available.as_str()), ("free", "5"), "{grants:#?}");
    assert_eq!(grants.len(), 3, "{grants:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_upgraded_inside_its_month() {
    let (grants, plans, available) = any_order(Story::Upgrade).await;
    assert_eq!((plans.as_str(), grants.len()), ("max", 3), "{grants:#?}");
    // A month of 30 days or 31: 20 credits more for all of it but a second.
    let more = |days: i64| share(Credits::whole(20), days * 86_400 - 1, days * 86_400).unwrap();
    let right = [30, 31].map(|days| more(days).checked_add(Credits::whole(10)).unwrap().to_string());
    assert!(right.contains(&available), "{available}, not one of {right:?}");
}
