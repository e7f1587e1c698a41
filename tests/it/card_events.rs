//! Saved cards: what tells of a new one lets top-ups go on, what keeps one makes it the default, once; and the page on
//! which a customer leaves one.

use std::sync::Arc;

use creditd::charging::{After, Charger};
use creditd::domain::command::{Charging, SetRule};
use creditd::domain::ids::AccountId;
use creditd::domain::top_up::settings::ChargerSettings;
use creditd::domain::top_up::{Buy, Ceiling, ChargeMode, Consent};
use creditd::simulator::Outcome;
use creditd::store::charge_work::{LeasedWork, WorkKind};
use creditd::stripe::fake::RecordingFake;
use creditd::stripe::outcome::UnknownReason;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::TestApp;
use crate::support::database::raw;
use crate::support::events::{event, moment};
use crate::top_up_events::Ordered;

const PAGE: &str = "https://app.example/cards";

impl TestApp {
    /// A customer whose rule has decided once and waits for a card.
    async fn waits_for_a_card(&self, customer: &str) -> Ordered {
        let mut ordered = self.ordered(customer).await;
        let rule = SetRule {
            name: "auto".to_owned(),
            enabled: true,
            feature: creditd::domain::catalog::FeatureId::new("usd_credits").unwrap(),
            wallet: None,
            threshold: "1000".parse().unwrap(),
            buy: Buy::Quantity("20".parse().unwrap()),
            currency: None,
            usual_currency: None,
            payment_method: None,
            mode: ChargeMode::PaymentIntent,
            per_day: Ceiling::default(),
            per_month: Ceiling { count: None, minor: Some(1_000_000) },
            usual_month: std::collections::BTreeMap::new(),
            cooldown_seconds: 0,
            consent: Some(Consent { by: "ada".to_owned(), at: moment(0), text_version: "1".to_owned() }),
        };
        self.charge(ordered.account, Charging::SetRule(Box::new(rule))).await;
        let pool = raw(&self.url).await;
        let id: uuid::Uuid = sqlx::query_scalar("SELECT topup_id FROM top_ups WHERE account_id = $1 AND rule = 'auto'")
            .bind(ordered.account.as_uuid())
            .fetch_one(&pool)
            .await
            .unwrap();
        ordered.top_up = creditd::domain::ids::TopUpId::from_uuid(id);
        self.charge(ordered.account, Charging::NoCard(ordered.top_up)).await;
        assert_eq!(self.auto_rule(ordered.account).await.0.as_deref(), Some("no_payment_method"));
        ordered
    }

    /// Why the rule is paused, and how often it has decided.
    async fn auto_rule(&self, account: AccountId) -> (Option<String>, i64) {
        let text = "SELECT r.paused_because,
            (SELECT count(*) FROM top_ups t WHERE t.account_id = r.account_id AND t.rule = r.name)
            FROM top_up_rules r WHERE r.account_id = $1 AND r.name = 'auto'";
        sqlx::query_as(text).bind(account.as_uuid()).fetch_one(&raw(&self.url).await).await.unwrap()
    }

    /// Requests that make a card the default: how many are written down, and how many wait in the queue.
    async fn defaults(&self) -> (i64, i64) {
        let text = "SELECT (SELECT count(*) FROM charge_steps WHERE step = 'default'),
            (SELECT count(*) FROM charge_work WHERE kind = 'card')";
        sqlx::query_as(text).fetch_one(&raw(&self.url).await).await.unwrap()
    }

    async fn leased_card(&self) -> Option<LeasedWork> {
        let due = self.store.due_charge_work(&[WorkKind::Card], 100).await.unwrap();
        let cards: Vec<_> = due.into_iter().filter(|work| work.kind == WorkKind::Card).collect();
        self.store.lease_charge_work(&cards, 60).await.unwrap().pop()
    }

    async fn set_up(&self, more: Value) -> (u16, Value) {
        let mut body = json!({ "customer": "ada", "success_url": PAGE });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.call("POST", "/api/v1/setup", Some(body)).await
    }

    async fn page(&self, more: Value) -> String {
        let (status, answer) = self.set_up(more).await;
        assert_eq!(status, 200, "{answer}");
        answer["checkout_url"].as_str().unwrap().to_owned()
    }
}

fn session_of(url: &str) -> &str {
    url.rsplit_once('/').unwrap().1
}

fn setup_intent(stripe: &str, metadata: &Value) -> Value {
    json!({ "id": "seti_1", "object": "setup_intent", "status": "succeeded", "customer": stripe,
        "payment_method": "pm_new", "usage": "off_session", "metadata": metadata })
}

#[rstest]
#[case("payment_method.attached")]
#[case("payment_method.updated")]
#[case("payment_method.automatically_updated")]
#[case("payment_method.card_automatically_updated")]
#[case("setup_intent.succeeded")]
#[case("checkout.session.completed")]
#[case("customer.updated")]
#[tokio::test]
async fn a_new_or_changed_card_lets_a_rule_go_on_that_waited_for_one(#[case] kind: &str) {
    let app = TestApp::start().await;
    let ordered = app.waits_for_a_card("ada").await;
    let stripe = &ordered.stripe;
    let object = match kind {
        "setup_intent.succeeded" => setup_intent(stripe, &json!({})),
        "checkout.session.completed" => json!({ "id": "cs_1", "object": "checkout.session", "mode": "setup",
            "customer": stripe, "setup_intent": "seti_1", "metadata": {} }),
        "customer.updated" => json!({ "id": stripe, "object": "customer", "metadata": {},
            "invoice_settings": { "default_payment_method": "pm_new" } }),
        _ => json!({ "id": "pm_new", "object": "payment_method", "type": "card", "customer": stripe }),
    };
    let mut told = event("evt_card", kind, &object);
    if kind == "customer.updated" {
        told["data"]["previous_attributes"] = json!({ "invoice_settings": { "default_payment_method": null } });
    }
    assert_eq!(app.auto_rule(ordered.account).await.1, 1);
    app.send(&told).await;
    app.until("evt_card", "processed", "").await;
    assert_eq!(app.auto_rule(ordered.account).await.1, 2, "it is looked at again, and decides");
    app.finish().await;
}

#[tokio::test]
async fn what_tells_of_no_new_card_lets_nothing_go_on() {
    let app = TestApp::start().await;
    let ordered = app.waits_for_a_card("ada").await;
    let method = json!({ "id": "pm_old", "object": "payment_method", "type": "card", "customer": null });
    app.tells("evt_detached", "payment_method.detached", &method, ("ignored", "card_detached")).await;
    app.tells("evt_of_nobody", "payment_method.updated", &method, ("ignored", "pays_nothing")).await;
    let mut failed = setup_intent(&ordered.stripe, &json!({}));
    failed["status"] = json!("requires_payment_method");
    app.tells("evt_failed", "setup_intent.setup_failed", &failed, ("ignored", "pays_nothing")).await;
    app.tells("evt_not_yet", "setup_intent.succeeded", &failed, ("ignored", "pays_nothing")).await;
    let customer = |card: Value| {
        json!({ "id": ordered.stripe, "object": "customer", "metadata": {},
        "invoice_settings": { "default_payment_method": card } })
    };
    for (id, card, before) in [
        ("evt_balance", json!("pm_old"), json!({ "balance": 1 })),
        ("evt_footer", json!("pm_old"), json!({ "invoice_settings": { "footer": null } })),
        ("evt_no_card", Value::Null, json!({ "invoice_settings": { "default_payment_method": "pm_old" } })),
    ] {
        let mut told = event(id, "customer.updated", &customer(card));
        told["data"]["previous_attributes"] = before;
        app.send(&told).await;
        app.until(id, "ignored", "no_link").await;
    }
    assert_eq!(app.auto_rule(ordered.account).await, (Some("no_payment_method".to_owned()), 1));
    app.finish().await;
}

/// Cards and deletions of customers that are nobody's here come in numbers, and nobody waits for them.
#[tokio::test]
async fn cards_of_customers_that_are_nobodys_here_are_ignored() {
    let app = TestApp::start().await;
    let method = json!({ "id": "pm_1", "object": "payment_method", "type": "card", "customer": "cus_other" });
    app.tells("evt_card", "payment_method.attached", &method, ("ignored", "not_linked")).await;
    let kept = setup_intent("cus_other", &json!({ "creditd_setup": "1" }));
    app.tells("evt_kept", "setup_intent.succeeded", &kept, ("ignored", "not_linked")).await;
    let customer = json!({ "id": "cus_other", "object": "customer", "deleted": true });
    app.tells("evt_gone", "customer.deleted", &customer, ("ignored", "not_linked")).await;
    assert_eq!(app.defaults().await, (0, 0));
    app.finish().await;
}

#[tokio::test]
async fn a_deleted_customer_is_charged_no_more() {
    let app = TestApp::start().await;
    let ordered = app.waits_for_a_card("ada").await;
    let customer = json!({ "id": ordered.stripe, "object": "customer", "deleted": true });
    app.tells("evt_gone", "customer.deleted", &customer, ("processed", "")).await;
    assert_eq!(app.auto_rule(ordered.account).await, (Some("customer_deleted".to_owned()), 1));
    let method = json!({ "id": "pm_1", "object": "payment_method", "type": "card", "customer": ordered.stripe });
    app.tells("evt_card", "payment_method.attached", &method, ("processed", "")).await;
    assert_eq!(app.auto_rule(ordered.account).await.0.as_deref(), Some("customer_deleted"), "a card mends no deletion");
    app.finish().await;
}

/// Whichever events tell of it, and however often, its request is one.
#[tokio::test]
async fn a_card_kept_by_us_becomes_the_default_once() {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let kept = setup_intent(&ordered.stripe, &json!({ "creditd_setup": "1" }));
    for id in ["evt_1", "evt_2"] {
        app.tells(id, "setup_intent.succeeded", &kept, ("processed", "")).await;
    }
    assert_eq!(app.defaults().await.0, 1);
    let on_session = json!({ "id": "seti_2", "object": "setup_intent", "status": "succeeded", "customer": ordered.stripe,
        "payment_method": "pm_shy", "usage": "on_session", "metadata": { "creditd_setup": "1" } });
    app.tells("evt_shy", "setup_intent.succeeded", &on_session, ("processed", "")).await;
    assert_eq!(app.defaults().await.0, 1, "a card that may not be charged alone is no default");
    app.finish().await;
}

/// The card that pays by a link is kept; the charger's own charges change no default.
#[tokio::test]
async fn the_card_that_paid_by_a_link_becomes_the_default() {
    let app = TestApp::start().await;
    let ordered = app.ordered("ada").await;
    let mut paid = crate::top_up_events::intent(&ordered, 1, "succeeded", None);
    paid["payment_method"] = json!("pm_new");
    app.tells("evt_plain", "payment_intent.succeeded", &paid, ("processed", "")).await;
    assert_eq!(app.defaults().await.0, 0, "it was not kept");
    paid["setup_future_usage"] = json!("off_session");
    app.tells("evt_kept", "payment_intent.succeeded", &paid, ("processed", "")).await;
    assert_eq!(app.defaults().await.0, 1);
    app.finish().await;
}

const DEFAULT: &str = "/v1/customers/cus_of_ada";

/// Works once, as the charger's worker does.
async fn set_default(app: &TestApp, stripe: &Arc<RecordingFake>, mut work: LeasedWork) {
    let (posting, settings) = (app.daemon.posting().clone(), ChargerSettings::default());
    let charger = Charger::new(app.store.clone(), posting, stripe.clone(), settings, false);
    match charger.work(&mut work, creditd::clock::instant()).await.unwrap() {
        After::Done => app.store.done_charge_work(&work).await.unwrap(),
        After::Later(seconds) => app.store.put_off_charge_work(&work, seconds).await.unwrap(),
        After::AsIs => panic!("a card has no time of its own"),
    }
}

async fn kept_card(app: &TestApp) -> LeasedWork {
    let ordered = app.ordered("ada").await;
    let kept = setup_intent(&ordered.stripe, &json!({ "creditd_setup": "1" }));
    app.tells("evt_kept", "setup_intent.succeeded", &kept, ("processed", "")).await;
    app.leased_card().await.expect("a card to be made the default")
}

#[tokio::test]
async fn stripe_is_told_the_default_with_the_same_bytes_and_key_until_it_answers() {
    let app = TestApp::start().await;
    let work = kept_card(&app).await;
    let stripe = Arc::new(RecordingFake::new());
    stripe.lose_write(DEFAULT, UnknownReason::Timeout);
    set_default(&app, &stripe, work).await;
    assert_eq!(app.defaults().await, (1, 1), "it is sent again later");
    assert!(app.leased_card().await.is_none(), "and not at once");
    sqlx::query("UPDATE charge_work SET due_at = due_at - interval '1 hour'")
        .execute(&raw(&app.url).await)
        .await
        .unwrap();
    let work = app.leased_card().await.unwrap();
    let stripe_again = Arc::new(RecordingFake::new());
    stripe_again.answer_write(DEFAULT, 200, r#"{"id":"cus_of_ada","object":"customer"}"#);
    set_default(&app, &stripe_again, work).await;
    assert_eq!(app.defaults().await, (1, 0));
    let sent = [stripe.writes(), stripe_again.writes()].concat();
    assert_eq!(sent.len(), 2);
    assert_eq!((&sent[0], sent[0].0.body()), (&sent[1], "invoice_settings[default_payment_method]=pm_new"));
    app.finish().await;
}

#[rstest]
#[case::a_detached_card(
    400,
    r#"{"error":{"type":"invalid_request_error","code":"resource_missing","message":"no"}}"#,
    0
)]
#[case::a_refused_key(401, r#"{"error":{"type":"invalid_request_error","message":"no"}}"#, 1)]
#[tokio::test]
async fn what_stripe_refuses_for_certain_is_given_up_and_a_refused_key_is_not(
    #[case] status: u16,
    #[case] body: &'static str,
    #[case] left: i64,
) {
    let app = TestApp::start().await;
    let work = kept_card(&app).await;
    let stripe = Arc::new(RecordingFake::new());
    stripe.answer_write(DEFAULT, status, body);
    set_default(&app, &stripe, work).await;
    assert_eq!(app.defaults().await, (1, left));
    app.finish().await;
}

#[tokio::test]
async fn a_request_that_lay_for_a_day_is_not_sent_any_more() {
    let app = TestApp::start().await;
    let work = kept_card(&app).await;
    sqlx::query("UPDATE charge_steps SET created_at = created_at - interval '24 hours'")
        .execute(&raw(&app.url).await)
        .await
        .unwrap();
    let stripe = Arc::new(RecordingFake::new());
    set_default(&app, &stripe, work).await;
    assert_eq!((stripe.writes().len(), app.defaults().await), (0, (1, 0)));
    app.finish().await;
}

#[tokio::test]
async fn one_page_to_leave_a_card_is_open_at_a_time_and_a_used_one_makes_room() {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let (first, at_once) = tokio::join!(app.page(json!({})), app.page(json!({})));
    assert_eq!(first, at_once, "asked for twice at once");
    assert_eq!(app.page(json!({ "currency": "usd" })).await, first, "the catalogue sells in dollars alone");
    let other = app.page(json!({ "cancel_url": PAGE })).await;
    assert_ne!(other, first);
    let of = |url: &str| format!("/v1/checkout/sessions/{}", session_of(url));
    let closed = app.stripe("GET", &of(&first), &[]).await;
    assert_eq!(closed["status"], "expired", "the page that leads elsewhere is closed");
    let open = app.stripe("GET", &of(&other), &[]).await;
    assert_eq!((&open["mode"], &open["currency"]), (&json!("setup"), &json!("usd")), "{open}");
    assert_eq!(open["metadata"], json!({ "creditd_customer_id": "ada", "creditd_setup": "1" }));
    app.simulator.pay_checkout(session_of(&other), Outcome::Paid).unwrap();
    assert_ne!(app.page(json!({ "cancel_url": PAGE })).await, other, "it was used");
    assert_eq!(app.simulator.event_ids("customer.created").len(), 1, "one customer is made for all of them");
    // Stripe tells of the card by two events; its request is one.
    for kind in ["setup_intent.succeeded", "checkout.session.completed"] {
        let told = app.deliver_newest(kind).await;
        app.until(&told, "processed", "").await;
    }
    assert_eq!(app.defaults().await.0, 1);
    app.finish().await;
}

#[rstest]
#[case(json!({ "customer": "nobody" }), 404, "unknown_customer", "customer")]
#[case(json!({ "success_url": "javascript:x" }), 400, "bad_request", "success_url")]
#[case(json!({ "cancel_url": "x" }), 400, "bad_request", "cancel_url")]
#[case(json!({ "currency": "dollars" }), 400, "bad_request", "currency")]
#[case(json!({ "currency": "u5d" }), 400, "bad_request", "currency")]
#[tokio::test]
async fn a_page_that_makes_no_sense_is_refused(
    #[case] more: Value,
    #[case] status: u16,
    #[case] code: &str,
    #[case] field: &str,
) {
    let app = TestApp::start().await;
    app.customer("ada").await;
    let (found, answer) = app.set_up(more).await;
    assert_eq!(
        (found, answer["code"].as_str(), answer["field"].as_str()),
        (status, Some(code), Some(field)),
        "{answer}"
    );
    app.finish().await;
}

#[tokio::test]
async fn where_things_are_sold_in_several_currencies_the_customer_or_the_order_says_which() {
    let app = TestApp::with_catalog(crate::attach::CATALOG).await;
    app.customer("ada").await;
    let (status, answer) = app.set_up(json!({})).await;
    assert_eq!((status, answer["field"].as_str()), (400, Some("currency")), "{answer}");
    app.page(json!({ "currency": "eur" })).await;
    app.finish().await;
}
