//! The door for Stripe's deliveries: what is believed, what is refused, and that a refusal leaves no trace.

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::app::{PACKS_OF_ADA, TestApp, WEBHOOK_SECRET};
use crate::support::events::{event, header, signed, v1};

fn body() -> Vec<u8> {
    event("evt_one", "product.created", &json!({ "id": "prod_1", "object": "product" })).to_string().into_bytes()
}

/// One refused delivery: the status, the code, and no row.
async fn refused(app: &TestApp, body: &[u8], signature: Option<&str>, expected: (u16, &str)) {
    let (status, answer) = app.deliver(body, signature).await;
    assert_eq!((status, answer["code"].as_str().unwrap_or_default()), expected, "{answer}");
    assert_eq!(app.stored_events().await, 0, "a refused delivery left a row");
}

#[tokio::test]
async fn what_is_not_believed_is_refused_and_leaves_no_row() {
    let app = TestApp::start().await;
    let body = body();
    let good = signed(&body);
    refused(&app, &body, None, (400, "signature_header_missing")).await;
    refused(&app, &body, Some(""), (400, "signature_timestamp_missing")).await;
    let other = header(&body, "whsec_of_somebody_else", 0);
    refused(&app, &body, Some(&other), (400, "signature_mismatch")).await;
    refused(&app, &body, Some(&header(&body, WEBHOOK_SECRET, 400)), (400, "signature_too_old")).await;
    refused(&app, &body, Some(&good.replace("v1=", "v0=")), (400, "signature_v1_missing")).await;
    let mut altered = body.clone();
    altered[10] ^= 1;
    refused(&app, &altered, Some(&good), (400, "signature_mismatch")).await;
    let mut longer = body.clone();
    longer.push(b'\n');
    refused(&app, &longer, Some(&good), (400, "signature_mismatch")).await;
    refused(&app, b"", Some(&good), (400, "signature_mismatch")).await;
    let bytes = b"{\"id\":\"evt_\xff\"}";
    refused(&app, bytes, Some(&signed(bytes)), (400, "body_not_utf8")).await;
    app.finish().await;
}

#[rstest]
#[case::no_json("no json at all")]
#[case::empty("")]
#[case::half("{\"id\":\"evt_1\"")]
#[case::array("[{\"id\":\"evt_1\",\"type\":\"x\"}]")]
#[case::number("7")]
#[case::null("null")]
#[case::no_id(r#"{"object":"event","type":"invoice.paid","data":{"object":{}}}"#)]
#[case::number_id(r#"{"id":1,"object":"event","type":"invoice.paid","data":{"object":{}}}"#)]
#[case::empty_id(r#"{"id":"","object":"event","type":"invoice.paid","data":{"object":{}}}"#)]
#[case::nul_id(r#"{"id":"evt_\u0000","object":"event","type":"invoice.paid","data":{"object":{}}}"#)]
#[case::no_type(r#"{"id":"evt_1","object":"event","data":{"object":{}}}"#)]
#[case::empty_type(r#"{"id":"evt_1","object":"event","type":"","data":{"object":{}}}"#)]
#[case::nul_type(r#"{"id":"evt_1","object":"event","type":"a\u0000","data":{"object":{}}}"#)]
#[case::thin_without_id(r#"{"object":"v2.core.event","type":"x"}"#)]
#[tokio::test]
async fn a_signed_body_that_is_no_event_is_refused_and_leaves_no_row(#[case] text: &str) {
    let app = TestApp::start().await;
    refused(&app, text.as_bytes(), Some(&signed(text.as_bytes())), (400, "not_an_event")).await;
    app.finish().await;
}

#[tokio::test]
async fn a_body_above_one_mebibyte_is_refused_and_one_just_below_is_taken() {
    let app = TestApp::start().await;
    let filled = |length: usize| {
        let mut event = event("evt_large", "product.created", &json!({ "id": "prod_1", "note": "" }));
        let missing = length - event.to_string().len();
        event["data"]["object"]["note"] = json!("x".repeat(missing));
        event.to_string().into_bytes()
    };
    let (most, more) = (filled(1 << 20), filled((1 << 20) + 1));
    refused(&app, &more, Some(&signed(&more)), (413, "body_too_large")).await;
    assert_eq!(app.deliver(&most, Some(&signed(&most))).await.0, 200);
    app.until("evt_large", "ignored", "unhandled_type").await;
    app.finish().await;
}

#[tokio::test]
async fn only_post_is_taken_and_nothing_is_redirected() {
    let app = TestApp::start().await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = app.client.request(method.parse().unwrap(), app.address("/webhooks/stripe")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 405, "{method}");
        assert_eq!(answer.headers()["allow"], "POST");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "method_not_allowed");
    }
    let body = body();
    let request = app.client.post(app.address("/webhooks/stripe/")).header("Stripe-Signature", signed(&body));
    assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), 404);
    assert_eq!(app.stored_events().await, 0);
    app.finish().await;
}

#[rstest]
#[case::bad_v1_before("t={t},v1=00,v1={v1}")]
#[case::bad_v1_after("t={t},v1={v1},v1=ffff")]
#[case::v0_beside("t={t},v0=00,v1={v1}")]
#[case::spaces("t = {t} , v1 = {v1}")]
#[case::order("v1={v1},t={t}")]
#[tokio::test]
async fn one_good_v1_among_others_is_enough(#[case] form: &str) {
    let app = TestApp::start().await;
    let body = body();
    let good = signed(&body);
    let t = good.split(',').next().unwrap().trim_start_matches("t=");
    let text = form.replace("{t}", t).replace("{v1}", v1(&good));
    let (status, answer) = app.deliver(&body, Some(&text)).await;
    assert_eq!((status, answer), (200, json!({ "received": true })));
    assert_eq!(app.stored_events().await, 1);
    app.finish().await;
}

#[tokio::test]
async fn a_signature_from_ahead_is_accepted_and_an_almost_old_one_too() {
    let app = TestApp::start().await;
    for (number, seconds_ago) in [-4_000, -400, 290].into_iter().enumerate() {
        let id = format!("evt_{number}");
        let body = event(&id, "product.created", &json!({ "id": "prod_1" })).to_string();
        let signature = header(body.as_bytes(), WEBHOOK_SECRET, seconds_ago);
        assert_eq!(app.deliver(body.as_bytes(), Some(&signature)).await.0, 200, "{seconds_ago} s ago");
        app.until(&id, "ignored", "unhandled_type").await;
    }
    app.finish().await;
}

#[tokio::test]
async fn what_is_none_of_our_business_is_stored_and_ignored_with_its_reason() {
    let app = TestApp::start().await;
    let session = json!({ "id": "cs_test_1", "object": "checkout.session", "mode": "payment", "payment_status": "paid",
        "amount_total": 100, "currency": "usd", "created": 1_790_000_000,
        "metadata": { "customer_id": "eve", "credit_amount": "1000", "feature_id": "usd_credits" } });
    let unknown = event("evt_unknown", "a.type.of.tomorrow", &json!({ "id": "x_1" }));
    let thin = json!({ "object": "v2.core.event", "id": "evt_thin", "type": "v1.billing.meter.no_meter_found",
        "created": "2026-11-01T00:00:00Z", "livemode": false });
    let mut connect = event("evt_connect", "checkout.session.completed", &session);
    connect["account"] = json!("acct_1");
    let mut live = event("evt_live", "checkout.session.completed", &session);
    live["livemode"] = json!(true);
    for (event, reason) in
        [(unknown, "unhandled_type"), (thin, "thin_event"), (connect, "connect_account"), (live, "other_mode")]
    {
        app.send(&event).await;
        app.until(event["id"].as_str().unwrap(), "ignored", reason).await;
    }
    let (status, _) = app.call("GET", "/api/v1/customers/eve", None).await;
    assert_eq!((app.stored_events().await, status), (4, 404), "an ignored event made a customer");
    app.finish().await;
}

#[tokio::test]
async fn a_known_type_that_cannot_be_read_is_taken_and_waits_with_its_reason() {
    let app = TestApp::start().await;
    let strange = [
        ("evt_null", "invoice.paid", Value::Null, "missing_fact"),
        ("evt_mode", "checkout.session.completed", json!({ "id": "cs_test_1", "mode": "tomorrow" }), "missing_fact"),
        ("evt_float", "checkout.session.completed", json!({ "id": "cs_test_1", "amount_total": 1.5 }), "unreadable"),
    ];
    for (id, kind, object, reason) in strange {
        app.send(&event(id, kind, &object)).await;
        app.until(id, "parked", reason).await;
        assert!(!app.detail(id).await.is_empty());
    }
    app.finish().await;
}

#[rstest]
#[case::object_is_text(json!({ "data": { "object": "cs_test_1" } }))]
#[case::data_is_a_list(json!({ "data": [] }))]
#[case::created_is_text(json!({ "created": "yesterday" }))]
#[case::created_is_beyond_time(json!({ "created": 9_000_000_000_000_000_000_i64 }))]
#[case::livemode_is_text(json!({ "livemode": "no" }))]
#[case::version_is_a_number(json!({ "api_version": 20_260_930 }))]
#[case::account_is_an_object(json!({ "account": {} }))]
#[case::object_id_is_a_number(json!({ "data": { "object": { "id": 7 } } }))]
#[tokio::test]
async fn a_signed_event_with_a_broken_envelope_is_taken_and_waits(#[case] changes: Value) {
    let app = TestApp::start().await;
    let mut event = event("evt_broken", "checkout.session.completed", &json!({ "id": "cs_test_1" }));
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    app.send(&event).await;
    app.until("evt_broken", "parked", "unreadable").await;
    app.send(&event).await;
    assert_eq!(app.stored_events().await, 1);
    app.finish().await;
}

#[rstest]
#[case::made_before_the_calendar("/created", "-300000000000")]
#[case::nul_in_the_version("/api_version", "2026\0")]
#[case::nul_in_the_object_id("/data/object/id", "cs_\0")]
#[case::nul_in_the_account("/account", "acct_\0")]
#[case::endless_version("/api_version", &"v".repeat(70_000))]
#[case::endless_object_id("/data/object/id", &"c".repeat(70_000))]
#[tokio::test]
async fn texts_that_no_column_can_hold_never_make_stripe_send_for_days(#[case] place: &str, #[case] text: &str) {
    let app = TestApp::start().await;
    let mut event = event("evt_strange", "product.created", &json!({ "id": "prod_1" }));
    event["account"] = Value::Null;
    *event.pointer_mut(place).unwrap() = text.parse::<i64>().map_or_else(|_| json!(text), Value::from);
    app.send(&event).await;
    let reason = if place == "/account" { "connect_account" } else { "unhandled_type" };
    app.until("evt_strange", "ignored", reason).await;
    app.finish().await;
}

/// The event of a paid session: 20 credits for ada.
async fn paid_session(app: &TestApp) -> String {
    let session = app.checkout(&PACKS_OF_ADA).await;
    app.simulator.pay_checkout(session["id"].as_str().unwrap(), creditd::simulator::Outcome::Paid).unwrap();
    app.simulator.event_ids("checkout.session.completed").pop().unwrap()
}

#[tokio::test]
async fn one_event_delivered_twenty_times_at_once_over_two_daemons_grants_once() {
    let app = TestApp::start().await;
    let beside = app.beside().await;
    let event = paid_session(&app).await;
    let (body, signature) = app.simulator.signed_delivery(&event).unwrap();
    let deliveries = (0..20).map(|number| {
        let daemon = if number % 2 == 0 { &app } else { &beside };
        daemon.deliver(&body, Some(&signature))
    });
    for (status, answer) in join_all(deliveries).await {
        assert_eq!((status, answer), (200, json!({ "received": true })));
    }
    app.settle().await;
    app.until(&event, "processed", "").await;
    // Stripe sends it again, signed anew.
    beside.deliver_event(&event).await;
    app.settle().await;
    assert_eq!((app.stored_events().await, app.bought("ada").await.len()), (1, 1));
    assert_eq!(beside.available("ada", "usd_credits").await, "25");
    beside.finish().await;
    app.finish().await;
}
