//! Subscriptions' events: which view of a subscription counts, what it says, and whose it is.

use creditd::domain::catalog::Catalog;
use creditd::domain::subscription::{RenewalLost, SubscriptionLife, SubscriptionSeen};
use creditd::inbox::intent::{Intent, Interpretation, Who, Why};
use creditd::inbox::interpret::{Answers, Context, interpret};
use creditd::stripe::wire::{Event, Wire};
use jiff::Timestamp;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{CATALOG, TestApp};
use crate::support::fixtures::context;

const CREATED: &str = "customer.subscription.created";
const UPDATED: &str = "customer.subscription.updated";
const DELETED: &str = "customer.subscription.deleted";

fn second(at: i64) -> Timestamp {
    Timestamp::from_second(at).unwrap()
}

/// A subscription to Pro with two seats, in the shape of a version.
fn subscription(version: &str) -> Value {
    let mut object = json!({
        "id": "sub_1", "object": "subscription", "status": "active", "customer": "cus_1", "created": 1_790_000_000,
        "start_date": 1_790_000_000, "billing_cycle_anchor": 1_790_000_000, "cancel_at_period_end": false,
        "metadata": { "creditd_customer_id": "ada" },
        "items": { "object": "list", "has_more": false, "data": [
            { "id": "si_1", "price": { "id": "price_pro", "product": "prod_1", "recurring": { "usage_type": "licensed" } }, "quantity": 2 },
            { "id": "si_2", "price": { "id": "price_theirs", "product": "prod_2" }, "quantity": 7 },
        ] },
    });
    let period = json!({ "current_period_start": 1_790_000_000, "current_period_end": 1_792_592_000 });
    if version.ends_with("acacia") {
        object.as_object_mut().unwrap().extend(period.as_object().unwrap().clone());
    } else {
        for item in object["items"]["data"].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().extend(period.as_object().unwrap().clone());
        }
    }
    object
}

fn event(kind: &str, object: &Value) -> Value {
    json!({ "id": "evt_1", "object": "event", "type": kind, "api_version": "2026-09-30.endive", "livemode": false,
        "created": 1_790_000_100, "data": { "object": object } })
}

/// Interprets an event; `now` is what Stripe answers when asked for the subscription, `None` when it cannot be asked.
fn act(kind: &str, payload: &Value, now: Option<(u16, &Value)>, park_unknown: bool) -> Interpretation {
    let event = Event::from_value(&event(kind, payload)).unwrap();
    let catalog: Catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
    let mut answers = Answers::new(now.is_some());
    for _ in 0..3 {
        let context = Context { park_unknown_prices: park_unknown, ..context(&catalog, &answers) };
        match interpret(&event, context) {
            Interpretation::Ask(questions) => {
                let (status, body) = now.unwrap();
                answers.add(questions[0].path(), status, body.to_string().into_bytes(), second(1_790_000_777));
            }
            done => return done,
        }
    }
    panic!("it keeps asking")
}

fn view(interpretation: Interpretation) -> (SubscriptionSeen, Who) {
    match interpretation {
        Interpretation::Act(mut intents) => match (intents.pop(), intents.is_empty()) {
            (Some(Intent::Subscription(seen, who)), true) => (*seen, who),
            other => panic!("one view, not {other:?}"),
        },
        other => panic!("a view, not {other:?}"),
    }
}

#[rstest]
fn every_shape_of_a_subscription_is_read_alike(
    #[values("2024-09-30.acacia", "2025-03-31.basil", "2026-09-30.endive")] version: &str,
    #[values(CREATED, UPDATED)] kind: &str,
) {
    let mut object = subscription(version);
    object["cancel_at_period_end"] = json!(true);
    let (seen, who) = view(act(kind, &object, None, false));
    assert_eq!(who.customer_id.as_deref(), Some("ada"));
    assert_eq!(who.stripe_customer.as_deref(), Some("cus_1"));
    assert_eq!((seen.subscription.as_str(), seen.life), ("sub_1", SubscriptionLife::Active));
    let plans: Vec<(&str, i64)> = seen.plans.iter().map(|plan| (plan.plan.as_str(), plan.quantity)).collect();
    assert_eq!(plans, [("pro", 2)], "what is not sold here is no plan");
    assert_eq!((seen.anchor, seen.started_at), (second(1_790_000_000), second(1_790_000_000)));
    assert_eq!(
        seen.cancel_at,
        Some(second(1_792_592_000)),
        "the end of the period, where the item or the whole says it"
    );
    assert_eq!(seen.seen_at, second(1_790_000_100), "the event's own time");
}

/// The newest state counts, as Stripe tells it, and from when it was asked.
#[test]
fn stripe_is_asked_for_the_newest_state() {
    let payload = subscription("2026-09-30.endive");
    let mut newest = payload.clone();
    newest["status"] = json!("past_due");
    let (seen, _) = view(act(UPDATED, &payload, Some((200, &newest)), false));
    assert_eq!((seen.life, seen.seen_at), (SubscriptionLife::PastDue, second(1_790_000_777)));
    // It does not know the subscription, or has no key: the payload speaks.
    let missing = json!({ "error": { "code": "resource_missing" } });
    let (seen, _) = view(act(UPDATED, &payload, Some((404, &missing)), false));
    assert_eq!((seen.life, seen.seen_at), (SubscriptionLife::Active, second(1_790_000_100)));
    // A deletion is final: nobody is asked.
    let mut over = payload.clone();
    over["status"] = json!("canceled");
    over["ended_at"] = json!(1_790_000_050);
    let (seen, _) = view(act(DELETED, &over, Some((200, &payload)), false));
    assert_eq!(seen.life, SubscriptionLife::Ended(second(1_790_000_050)));
}

#[rstest]
#[case("active", Some(SubscriptionLife::Active))]
#[case("trialing", Some(SubscriptionLife::Trialing))]
#[case("past_due", Some(SubscriptionLife::PastDue))]
#[case("unpaid", Some(SubscriptionLife::Paused))]
#[case("paused", Some(SubscriptionLife::Paused))]
#[case("incomplete", None)]
#[case("incomplete_expired", None)]
fn the_status_decides_whether_it_is_in_force(#[case] status: &str, #[case] life: Option<SubscriptionLife>) {
    let mut object = subscription("2026-09-30.endive");
    object["status"] = json!(status);
    let done = act(UPDATED, &object, None, true);
    match life {
        Some(life) => assert_eq!(view(done).0.life, life),
        None => {
            assert!(matches!(done, Interpretation::Ignore(Why { code: "subscription_incomplete", .. })), "{done:?}");
        }
    }
}

/// `pause_collection` is no status: the plan stays, it is only not paid for any further.
#[test]
fn paused_collection_is_no_paused_subscription() {
    let mut object = subscription("2026-09-30.endive");
    object["pause_collection"] = json!({ "behavior": "void", "resumes_at": null });
    let (seen, _) = view(act(UPDATED, &object, None, false));
    assert_eq!((seen.life, seen.cancel_at), (SubscriptionLife::Active, None));
}

#[rstest]
#[case::status(json!({ "status": null }), "status is missing")]
#[case::word(json!({ "status": "asleep" }), "`asleep` is not known")]
#[case::start(json!({ "start_date": null, "created": null }), "start_date is missing")]
#[case::end(json!({ "status": "canceled" }), "ended_at is missing")]
#[case::pages(json!({ "items": { "data": [], "has_more": true } }), "more than one page")]
fn a_missing_fact_parks_and_is_named(#[case] changes: Value, #[case] words: &str) {
    let mut object = subscription("2026-09-30.endive");
    for (field, value) in changes.as_object().unwrap() {
        object[field] = value.clone();
    }
    let done = act(UPDATED, &object, None, false);
    assert!(matches!(&done, Interpretation::Park(why) if why.detail.contains(words)), "{done:?}");
}

#[rstest]
#[case(false)]
#[case(true)]
fn a_subscription_to_nothing_of_ours_is_listed_or_waits(#[case] park_unknown: bool) {
    let mut object = subscription("2026-09-30.endive");
    object["items"]["data"].as_array_mut().unwrap().remove(0);
    match act(CREATED, &object, None, park_unknown) {
        Interpretation::Park(why) if park_unknown => assert!(why.detail.contains("price_theirs")),
        Interpretation::Ignore(why) if !park_unknown => assert_eq!(why.code, "unknown_price"),
        other => panic!("{other:?}"),
    }
}

/// Set to end at a time: over since then, however late Stripe got round to it.
#[test]
fn it_is_over_when_it_was_set_to_end() {
    let mut object = subscription("2026-09-30.endive");
    for (field, value) in
        [("status", json!("canceled")), ("cancel_at", json!(1_792_592_000)), ("ended_at", json!(1_792_592_009))]
    {
        object[field] = value;
    }
    assert_eq!(view(act(DELETED, &object, None, false)).0.life, SubscriptionLife::Ended(second(1_792_592_000)));
}

#[rstest]
#[case("invoice.voided", "subscription_cycle", true)]
#[case("invoice.marked_uncollectible", "subscription_cycle", true)]
#[case("invoice.voided", "subscription_create", false)]
#[case("invoice.voided", "manual", false)]
fn an_unpaid_cycle_ends_the_wait_for_its_renewal(#[case] kind: &str, #[case] reason: &str, #[case] ends: bool) {
    let invoice = json!({
        "id": "in_1", "object": "invoice", "status": "void", "billing_reason": reason, "customer": "cus_1", "metadata": {},
        "parent": { "type": "subscription_details", "subscription_details": { "subscription": "sub_1", "metadata": { "customer_id": "ada" } } },
        "lines": { "object": "list", "has_more": false, "data": [{ "id": "il_1", "amount": 1_000, "currency": "usd",
            "period": { "start": 1_792_592_000, "end": 1_795_270_400 },
            "pricing": { "price_details": { "price": "price_pro", "product": "prod_1" } } }] },
    });
    match act(kind, &invoice, None, false) {
        Interpretation::Act(intents) if ends => {
            let [Intent::RenewalLost(RenewalLost { subscription, period_start }, who)] = intents.as_slice() else {
                panic!("{intents:?}")
            };
            assert_eq!((subscription.as_str(), *period_start), ("sub_1", second(1_792_592_000)));
            assert_eq!(who.customer_id.as_deref(), Some("ada"));
        }
        Interpretation::Ignore(why) if !ends => assert_eq!(why.code, "no_renewal"),
        other => panic!("{other:?}"),
    }
}

/// A subscription never moves to another customer because its metadata does.
#[tokio::test]
async fn a_subscription_stays_whose_it_is() {
    let app = TestApp::start().await;
    let mut object = subscription("2026-09-30.endive");
    let send = |id: &str, object: &Value| {
        let mut event = event(UPDATED, object);
        event["id"] = json!(id);
        event
    };
    app.send(&send("evt_1", &object)).await;
    app.until("evt_1", "processed", "").await;
    object["metadata"] = json!({ "creditd_customer_id": "eve" });
    object["customer"] = json!("cus_2");
    app.send(&send("evt_2", &object)).await;
    app.until("evt_2", "parked", "subscription_conflict").await;
    let (_, eve) = app.call("GET", "/api/v1/customers/eve", None).await;
    let plans: Vec<&Value> = eve["plans"].as_array().unwrap().iter().map(|plan| &plan["plan"]).collect();
    assert_eq!(plans, ["free"]);
    app.finish().await;
}
