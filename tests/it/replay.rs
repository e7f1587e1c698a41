//! Replay: what a stored event means, what is booked of it, and what working on it once more does, from every state.

use creditd::simulator::{Fault, FaultRule, Outcome};
use serde_json::{Value, json};

use crate::support::app::{PACKS, PACKS_OF_ADA, STRIPE_KEY, TestApp};
use crate::support::binary::{Ended, Site};
use crate::support::events::event;

impl TestApp {
    async fn replayed(&self, event: &str, apply: bool) -> Value {
        let path = format!("/api/v1/stripe-events/{event}/replay");
        let (status, shown) = self.call("POST", &path, Some(json!({ "apply": apply }))).await;
        assert_eq!(status, 200, "{shown}");
        shown
    }

    async fn entries(&self, customer: &str) -> usize {
        let (_, page) = self.call("GET", &format!("/api/v1/customers/{customer}/entries?limit=500"), None).await;
        page["data"].as_array().map_or(0, Vec::len)
    }
}

#[tokio::test]
async fn a_processed_event_is_shown_with_its_commands_and_what_is_booked_and_books_nothing_again() {
    let app = TestApp::start().await;
    let event = app.bought_with(&PACKS_OF_ADA, "processed", "").await;
    let asked = app.simulator.log().requests().len();
    let shown = app.replayed(&event, false).await;
    assert_eq!(app.simulator.log().requests().len(), asked, "looking asks nobody");
    assert_eq!(shown["meaning"]["outcome"], "act");
    let command = &shown["meaning"]["commands"][0];
    assert_eq!((&command["command"], &command["grants"][0]["quantity"]), (&json!("purchase"), &json!("20")), "{shown}");
    assert!(!shown["inputs"].as_array().unwrap().is_empty(), "{shown}");
    let grants = shown["booked"]["payments"][0]["grants"].as_array().unwrap();
    assert_eq!((grants.len(), &grants[0]["quantity"]), (1, &json!("20")), "{shown}");
    assert_eq!(shown["applied"], Value::Null);
    let before = app.entries("ada").await;
    for _ in 0..2 {
        let applied = app.replayed(&event, true).await;
        let did = &applied["applied"];
        assert_eq!((&did["outcome"], &did["commands_applied"]), (&json!("worked"), &json!(0)), "{applied}");
        assert_eq!((&did["commands_repeated"], &applied["state"]), (&json!(1), &json!("processed")), "{applied}");
    }
    assert_eq!(app.entries("ada").await, before);
    assert_eq!(app.simulator.log().requests().len(), asked, "its stored answers are enough");
    app.finish().await;
}

#[tokio::test]
async fn a_parked_event_is_worked_on_when_its_cause_is_gone() {
    let app = TestApp::start().await;
    let customer = app.stripe_customer().await;
    let fields: Vec<_> = PACKS.into_iter().chain([("customer", customer.as_str())]).collect();
    let event = app.bought_with(&fields, "parked", "unknown_customer").await;
    let still = app.replayed(&event, true).await;
    assert_eq!((&still["state"], &still["reason"]), (&json!("parked"), &json!("unknown_customer")), "{still}");
    assert_eq!(still["applied"]["commands_applied"], 0);
    // Linked behind the daemon's back: nobody wakes the event.
    app.customer("ada").await;
    let account = app.store.find_customer("ada").await.unwrap().unwrap();
    app.store.link_stripe_customer(&customer, account).await.unwrap();
    let done = app.replayed(&event, true).await;
    assert_eq!((&done["state"], &done["applied"]["commands_applied"]), (&json!("processed"), &json!(1)), "{done}");
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[tokio::test]
async fn an_ignored_event_counts_once_the_catalogue_sells_it() {
    let app = TestApp::with_catalog("[features.usd_credits]\ntype = \"metered\"\n").await;
    let event = app.bought_with(&PACKS_OF_ADA, "ignored", "unknown_price").await;
    let shown = app.replayed(&event, false).await;
    assert_eq!(shown["meaning"]["reason"], "unknown_price", "{shown}");
    app.apply(crate::support::app::CATALOG).await;
    let shown = app.replayed(&event, false).await;
    assert!(["act", "ask"].contains(&shown["meaning"]["outcome"].as_str().unwrap()), "{shown}");
    assert_eq!(app.event_state(&event).await.0, "ignored", "looking changes nothing");
    let done = app.replayed(&event, true).await;
    assert_eq!((&done["state"], &done["reason"]), (&json!("processed"), &Value::Null), "{done}");
    assert_eq!(app.bought("ada").await.len(), 1);
    app.finish().await;
}

#[tokio::test]
async fn a_dead_event_comes_back_to_life_by_replay() {
    let app = TestApp::start().await;
    app.simulator.set_fault_rules(vec![FaultRule::new("GET", "/v1/checkout", Fault::ServerError)]).unwrap();
    app.buy(&PACKS_OF_ADA, Outcome::Paid).await;
    let event = app.deliver_newest("checkout.session.completed").await;
    app.until(&event, "received", "stripe_unavailable").await;
    let pool = crate::support::database::raw(&app.url).await;
    let died = "UPDATE stripe_events SET state = 'dead', due_at = NULL, done_at = clock_timestamp(), attempts = 40 WHERE event_id = $1";
    sqlx::query(died).bind(&event).execute(&pool).await.unwrap();
    let dead = app.replayed(&event, false).await;
    assert_eq!((&dead["state"], &dead["meaning"]["outcome"]), (&json!("dead"), &json!("ask")), "{dead}");
    app.simulator.set_fault_rules(Vec::new()).unwrap();
    let done = app.replayed(&event, true).await;
    assert_eq!((&done["state"], &done["applied"]["commands_applied"]), (&json!("processed"), &json!(1)), "{done}");
    assert_eq!(app.available("ada", "usd_credits").await, "25");
    app.finish().await;
}

#[tokio::test]
async fn what_has_no_business_here_is_never_worked_on() {
    let app = TestApp::start().await;
    app.buy(&PACKS_OF_ADA, Outcome::Paid).await;
    let paid = app.simulator.event(&app.simulator.event_ids("checkout.session.completed")[0]).unwrap();
    let mut connected = paid.clone();
    connected["id"] = json!("evt_connected");
    connected["account"] = json!("acct_1");
    let mut live = paid;
    live["id"] = json!("evt_live");
    live["livemode"] = json!(true);
    for (strange, reason) in [(&connected, "connect_account"), (&live, "other_mode")] {
        app.send(strange).await;
        let id = strange["id"].as_str().unwrap();
        let shown = app.replayed(id, true).await;
        assert_eq!((&shown["applied"]["outcome"], &shown["meaning"]["outcome"]), (&json!("refused"), &json!("ignore")));
        assert_eq!(app.event_state(id).await, ("ignored".to_owned(), reason.to_owned()));
    }
    assert_eq!(app.available("ada", "usd_credits").await, "none");
    app.finish().await;
}

#[tokio::test]
async fn an_event_under_lease_is_left_to_its_worker() {
    let app = TestApp::start().await;
    let done = event("evt_busy", "product.created", &json!({ "id": "prod_1", "object": "product" }));
    app.send(&done).await;
    app.until("evt_busy", "ignored", "unhandled_type").await;
    let held = app.store.reopen_event("evt_busy", 60).await.unwrap().unwrap();
    assert_eq!(app.replayed("evt_busy", true).await["applied"]["outcome"], "busy");
    let why = creditd::store::events::Why { reason: "unhandled_type".to_owned(), detail: "again".to_owned() };
    let how = creditd::store::events::Ended::Closed(creditd::store::events::Closed::Ignored);
    let ending = creditd::store::events::Ending { event: &held, how, why: Some(why), account: None };
    app.store.end_event(ending).await.unwrap();
    app.finish().await;
}

#[tokio::test]
async fn an_unknown_event_and_a_wrong_body_are_refused() {
    let app = TestApp::start().await;
    let replay =
        async |id: &str, body: Value| app.call("POST", &format!("/api/v1/stripe-events/{id}/replay"), Some(body)).await;
    assert_eq!(replay("evt_none", json!({})).await.0, 404);
    assert_eq!(replay("evt_none", json!({ "apply": 1 })).await.0, 400);
    assert_eq!(replay("evt_none", json!({ "force": true })).await.0, 400);
    app.finish().await;
}

#[tokio::test]
async fn the_command_shows_one_event_or_all_since_a_time() {
    let app = TestApp::start().await;
    let first = app.bought_with(&PACKS_OF_ADA, "processed", "").await;
    let second = app.bought_with(&PACKS_OF_ADA, "processed", "").await;
    let site = Site::on(app.url.clone());
    let run = async |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env("STRIPE_SECRET_KEY", STRIPE_KEY).env("STRIPE_API_BASE", app.simulator.base_url());
        Ended::of(command).await
    };
    let one = run(&["replay", &first]).await.ok();
    assert!(one.contains("command  purchase") && one.contains("20 usd_credits, 20 left"), "{one}");
    let all = run(&["replay", "--since", "2026-01-01T00:00:00Z", "--apply", "--json"]).await.ok();
    let lines: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = lines.iter().filter_map(|line| line["id"].as_str()).collect();
    assert_eq!(ids, [first.as_str(), second.as_str()]);
    assert!(lines.iter().all(|line| line["applied"]["commands_applied"] == 0), "{all}");
    assert!(run(&["replay", "evt_none"]).await.usage().contains("evt_none"));
    assert!(run(&["replay", "--since", "yesterday"]).await.usage().contains("--since"));
    assert_eq!(run(&["replay"]).await.code, Some(2));
    app.finish().await;
}
