//! The native API's answers, number by number.

use creditd::domain::api_key::Scope;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::http_api::Api;

fn track(key: &str, quantity: &str) -> Value {
    json!({ "key": key, "customer": "ada", "feature": "requests", "quantity": quantity })
}

fn grant(key: &str, feature: &str, quantity: &str) -> Value {
    json!({
        "key": key, "customer": "ada", "feature": feature, "quantity": quantity,
        "category": "promotional", "reason": "goodwill",
    })
}

#[tokio::test]
async fn six_requests_cost_eighteen_of_a_hundred() {
    let api = Api::start().await;
    api.customer("ada").await;
    let question = json!({ "customer": "ada", "feature": "requests", "quantity": "6" });
    assert_eq!(
        api.post("/check", &question).await.ok(),
        json!({
            "allowed": true, "reason": "ok", "feature": "requests", "pool": "credits",
            "required": "18", "available": "100", "held": "0", "shortfall": "0", "unlimited": false,
        })
    );
    let mut tracked = api.post("/track", &track("t1", "6")).await.ok();
    let draws = tracked["draws"].take();
    assert_eq!(
        tracked,
        json!({
            "status": "applied", "key": "t1", "cost": "18", "drawn": "18", "shortfall": "0", "available": "82",
            "unlimited": false, "pool": "credits", "draws": null,
        })
    );
    assert_eq!(draws.as_array().unwrap().len(), 1);
    assert_eq!((&draws[0]["pool"], &draws[0]["amount"]), (&json!("credits"), &json!("18")));
    let shown = api.get("/customers/ada").await.ok();
    assert_eq!(shown["balances"][0]["feature"], "credits");
    assert_eq!(shown["balances"][0]["available"], "82");
    assert_eq!(shown["balances"][0]["granted"], "100");
    assert_eq!(shown["balances"][0]["next_expiry"]["amount"], "82");
    assert_eq!(shown["wallets"][0]["available"], "82");
    assert_eq!(shown["plans"][0]["plan"], "free");
    assert_eq!(shown["flags"], json!({ "audit": false, "sso": true }));
}

#[tokio::test]
async fn ten_minutes_leave_nine_thousand_nine_hundred_and_seventy() {
    let api = Api::start().await;
    api.customer("ada").await;
    api.post("/grants", &grant("g1", "transcription-credits", "10000")).await.ok();
    let usage = json!({ "key": "t1", "customer": "ada", "feature": "audio-minutes", "quantity": "10" });
    let tracked = api.post("/track", &usage).await.ok();
    assert_eq!((&tracked["cost"], &tracked["available"]), (&json!("30"), &json!("9970")));
}

#[tokio::test]
async fn a_check_explains_itself_and_flags_are_on_or_not() {
    let api = Api::start().await;
    api.customer("ada").await;
    api.post("/grants", &grant("g1", "credits", "5")).await.ok();
    let question = json!({ "customer": "ada", "feature": "requests", "quantity": "34", "explain": true });
    let answer = api.post("/check", &question).await.ok();
    let lots = answer["lots"].as_array().unwrap();
    let taken: Vec<&str> = lots.iter().map(|lot| lot["take"].as_str().unwrap()).collect();
    assert_eq!((answer["required"].as_str(), taken), (Some("102"), vec!["100", "2"]));
    for (feature, allowed, reason) in [
        ("sso", true, "flag"),
        ("audit", false, "feature_not_granted"),
        ("audio-minutes", false, "feature_not_granted"),
        ("nothing", false, "unknown_feature"),
    ] {
        let answer = api.post("/check", &json!({ "customer": "ada", "feature": feature })).await.ok();
        assert_eq!((&answer["allowed"], &answer["reason"]), (&json!(allowed), &json!(reason)), "{feature}");
    }
    let much = json!({ "customer": "ada", "feature": "requests", "quantity": "1000" });
    let answer = api.post("/check", &much).await.ok();
    assert_eq!((&answer["allowed"], &answer["reason"]), (&json!(false), &json!("insufficient")));
    assert_eq!((&answer["required"], &answer["available"]), (&json!("3000"), &json!("105")));
}

#[tokio::test]
async fn the_same_key_is_the_same_usage_and_other_content_conflicts() {
    let api = Api::start().await;
    api.customer("ada").await;
    let first = api.post("/track", &track("t1", "6")).await.ok();
    // 6.0 is 6: the key is compared with the parsed request.
    let mut again = api.post("/track", &track("t1", "6.0")).await.ok();
    assert_eq!(again["status"], "repeated");
    again["status"] = json!("applied");
    assert_eq!(again, first);
    assert_eq!(api.post("/track", &track("t1", "7")).await.problem(), (409, "key_conflict", "key"));
    let all = join_all((0..20).map(|_| async { api.post("/track", &track("t2", "1")).await.ok() })).await;
    assert_eq!(all.iter().filter(|answer| answer["status"] == "applied").count(), 1);
    assert_eq!(api.get("/customers/ada").await.ok()["balances"][0]["available"], "79");
}

#[tokio::test]
async fn short_balances_are_capped_or_refused() {
    let api = Api::start().await;
    api.customer("ada").await;
    let mut usage = track("t1", "50");
    usage["when_short"] = json!("reject");
    let refused = api.post("/track", &usage).await;
    assert_eq!(refused.problem(), (402, "insufficient_credits", ""));
    assert_eq!((&refused.body["required"], &refused.body["available"]), (&json!("150"), &json!("100")));
    usage["when_short"] = json!("debt");
    assert_eq!(api.post("/track", &usage).await.problem(), (400, "debt_not_allowed", "when_short"));
    usage["when_short"] = json!("cap");
    let capped = api.post("/track", &usage).await.ok();
    assert_eq!((&capped["drawn"], &capped["shortfall"]), (&json!("100"), &json!("50")));
    assert_eq!(capped["available"], "0");
}

#[tokio::test]
async fn a_batch_answers_each_item_on_its_own_and_in_order() {
    let api = Api::start().await;
    api.customer("ada").await;
    let mut other = track("b3", "1");
    other["customer"] = json!("nobody");
    let mut number = track("b4", "1");
    number["quantity"] = json!(1);
    let events = json!({ "events": [track("b1", "1"), track("b1", "1"), track("b1", "2"), other, number, 5] });
    let results = api.post("/track/batch", &events).await.ok()["results"].take();
    let states: Vec<&str> = results.as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(states[3..], ["refused", "refused", "refused"]);
    let codes: Vec<&Value> = (3..6).map(|n| &results[n]["problem"]["code"]).collect();
    assert_eq!(codes, ["unknown_customer", "bad_request", "bad_request"]);
    assert_eq!(results[4]["problem"]["field"], "events[4].quantity");
    assert_eq!(results[5]["problem"]["field"], "events[5]");
    assert_eq!(results[3]["key"], "b3");
    assert_eq!(states[..3].iter().filter(|state| **state == "applied").count(), 1);
    let many: Vec<Value> = (0..1_000).map(|n| track(&format!("m{n}"), "0.01")).collect();
    let results = api.post("/track/batch", &json!({ "events": many })).await.ok()["results"].take();
    for (n, result) in results.as_array().unwrap().iter().enumerate() {
        assert_eq!((&result["key"], &result["status"]), (&json!(format!("m{n}")), &json!("applied")));
    }
    for events in [json!([]), json!(vec![track("x", "1"); 1_001]), json!({}), json!(null)] {
        assert_eq!(
            api.post("/track/batch", &json!({ "events": events })).await.problem(),
            (400, "bad_request", "events")
        );
    }
}

#[tokio::test]
async fn usage_may_be_dated_back_a_week_and_not_ahead() {
    let api = Api::start().await;
    api.customer("ada").await;
    let now = api.store.instance().await.unwrap().unwrap().now;
    let at = |seconds: i64| now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap().to_string();
    for (key, seconds, taken) in
        [("1", -6 * 86_400, true), ("2", -7 * 86_400 - 60, false), ("3", 3_600, false), ("4", -1, true)]
    {
        let mut usage = track(key, "1");
        usage["at"] = json!(at(seconds));
        let answer = api.post("/track", &usage).await;
        if taken {
            answer.ok();
        } else {
            assert_eq!(answer.problem(), (400, "bad_request", "at"));
        }
    }
}

#[tokio::test]
async fn customers_are_made_once_changed_and_linked_for_good() {
    let api = Api::start().await;
    let made = api.put("/customers/ada", &json!({ "name": "Ada", "stripe_customer": "cus_1" })).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.ok()["stripe_customers"], json!(["cus_1"]));
    let changed = api.put("/customers/ada", &json!({ "email": "ada@example.com", "metadata": { "team": "7" } })).await;
    assert_eq!(changed.status, 200);
    let shown = changed.ok();
    assert_eq!((&shown["name"], &shown["metadata"]["team"]), (&json!("Ada"), &json!("7")));
    assert_eq!(api.put("/customers/ada", &json!({ "name": null })).await.ok()["name"], Value::Null);
    let taken = api.put("/customers/bob", &json!({ "stripe_customer": "cus_1" })).await;
    assert_eq!(taken.problem(), (409, "stripe_customer_linked", "stripe_customer"));
    assert_eq!(api.get("/customers/bob").await.problem(), (404, "unknown_customer", "customer"));
    let odd = "/customers/a%2Fb%20%C3%A4%3F";
    assert_eq!(api.put(odd, &json!({})).await.ok()["customer"], "a/b ä?");
    for bad in ["/customers/%00", "/customers/%0a", "/customers/%ff", &format!("/customers/{}", "x".repeat(513))] {
        assert_eq!(api.put(bad, &json!({})).await.problem(), (400, "bad_request", "customer"), "{bad}");
        assert_eq!(api.get(bad).await.problem(), (400, "bad_request", "customer"), "{bad}");
    }
}

#[tokio::test]
async fn a_grant_is_given_once_per_key_and_tells_its_story() {
    let api = Api::start().await;
    api.customer("ada").await;
    let mut body = grant("g1", "credits", "2000");
    body["category"] = json!("prepaid");
    body["wallet"] = json!("ada-main");
    body["expires_at"] = json!("2199-01-01T00:00:00Z");
    body["paid"] = json!({ "amount": "20.00", "currency": "usd", "reference": "INV-7" });
    body["metadata"] = json!({ "ticket": "12" });
    let given = api.post("/grants", &body).await;
    assert_eq!(given.status, 201);
    let given = given.ok();
    assert_eq!(given["paid"], json!({ "amount": "20.00", "currency": "usd" }));
    assert_eq!((&given["basis_minor"], &given["reference"]), (&json!(2000), &json!("INV-7")));
    assert_eq!((&given["wallet"], &given["priority"]), (&json!("ada-main"), &json!(50)));
    let again = api.post("/grants", &body).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &given));
    for (name, other) in [
        ("quantity", json!("2001")),
        ("reason", json!("else")),
        ("wallet", json!("ada-other")),
        ("paid", json!({ "amount": "21.00", "currency": "usd", "reference": "INV-7" })),
    ] {
        let mut changed = body.clone();
        changed[name] = other;
        assert_eq!(api.post("/grants", &changed).await.problem(), (409, "key_conflict", "key"), "{name}");
    }
    api.customer("bob").await;
    body["customer"] = json!("bob");
    let foreign = api.post("/grants", &body).await;
    assert_eq!(foreign.problem(), (409, "wallet_of_other_customer", "wallet"));
    let mut elsewhere = grant("g2", "transcription-credits", "1");
    elsewhere["wallet"] = json!("ada-main");
    assert_eq!(api.post("/grants", &elsewhere).await.problem(), (409, "wallet_feature", "wallet"));
    let listed = api.get("/customers/ada/grants?wallet=ada-main").await.ok();
    assert_eq!(listed["data"], json!([given]));
    let entries = api.get("/customers/ada/entries?kind=grant").await.ok();
    let newest = &entries["data"][0];
    assert_eq!((&newest["amount"], &newest["reason"]), (&json!("2000"), &json!("goodwill")));
    assert!(newest["actor"].as_str().unwrap().starts_with("key_"));
    assert_eq!(newest["hash"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn pages_are_stable_while_rows_are_added() {
    let api = Api::start().await;
    api.customer("ada").await;
    for n in 0..7 {
        api.post("/grants", &grant(&format!("g{n}"), "credits", "1")).await.ok();
    }
    for list in ["grants", "entries"] {
        let whole = api.get(&format!("/customers/ada/{list}?limit=500")).await.ok();
        assert_eq!(whole["next_cursor"], Value::Null);
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for round in 0..10 {
            let page = api.get(&format!("/customers/ada/{list}?limit=3{cursor}")).await.ok();
            seen.extend(page["data"].as_array().unwrap().clone());
            api.post("/grants", &grant(&format!("new-{list}-{round}"), "credits", "1")).await.ok();
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(json!(seen), whole["data"], "{list}");
    }
    let draws = api.get("/customers/ada/entries?kind=draw").await.ok();
    assert_eq!(draws["data"], json!([]));
    api.post("/track", &track("t1", "2")).await.ok();
    let drawn = api.get("/customers/ada/entries?kind=draw&feature=requests").await.ok();
    let line = &drawn["data"][0];
    assert_eq!((&line["amount"], &line["quantity"]), (&json!("-6"), &json!("2")));
    assert_eq!((&line["used_feature"], &line["feature"]), (&json!("requests"), &json!("credits")));
    assert!(line["grant"].as_str().unwrap().starts_with("grant_"));
    let at = line["at"].as_str().unwrap();
    assert_eq!(api.get(&format!("/customers/ada/entries?kind=draw&to={at}")).await.ok()["data"], json!([]));
    let from = api.get(&format!("/customers/ada/entries?from={at}")).await.ok();
    assert_eq!(from["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn stored_events_are_listed_and_shown_whole() {
    use creditd::store::event_intake::{EventIntake, NewEvent};
    use creditd::store::events::{EventOrigin, StoredInput};
    let api = Api::start().await;
    let intake = EventIntake::start(&api.store);
    for n in 0..5 {
        let event = NewEvent {
            id: format!("evt_{n}"),
            event_type: "checkout.session.completed".to_owned(),
            api_version: Some("2026-09-30.endive".to_owned()),
            livemode: false,
            object_id: Some("cs_1".to_owned()),
            created_at: jiff::Timestamp::from_second(1_790_000_000).unwrap(),
            origin: EventOrigin::Webhook,
            body: if n == 0 { b"not json".to_vec() } else { br#"{"id": "evt"}"#.to_vec() },
            ignored: (n == 4).then(|| ("unhandled_type", "nothing to do".to_owned())),
        };
        assert!(intake.insert(event).await.unwrap());
    }
    let request = "/v1/checkout/sessions/cs_1/line_items".to_owned();
    let input = StoredInput {
        request: request.clone(),
        status: 200,
        body: br#"{"data": []}"#.to_vec(),
        asked_at: jiff::Timestamp::UNIX_EPOCH,
    };
    api.store.keep_input("evt_1", &input).await.unwrap();
    let key = api.key(Scope::Finance);
    let page = api.call(Some(key), "GET", "/api/v1/stripe-events?limit=2", "").await.ok();
    let ids = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&page), ["evt_4", "evt_3"]);
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(ids(&api.get(&format!("/stripe-events?limit=3&cursor={next}")).await.ok()), ["evt_2", "evt_1", "evt_0"]);
    assert_eq!(ids(&api.get("/stripe-events?state=ignored").await.ok()), ["evt_4"]);
    assert_eq!(ids(&api.get("/stripe-events?type=invoice.paid").await.ok()), Vec::<String>::new());
    let whole = api.get("/stripe-events/evt_1").await.ok();
    assert_eq!(whole["body"], json!({ "id": "evt" }));
    assert_eq!(whole["inputs"], json!([{ "request": request, "status": 200, "body": { "data": [] } }]));
    assert_eq!(api.get("/stripe-events/evt_0").await.ok()["body"], "not json");
    for id in ["evt_9", "%00", "%ff"] {
        assert_eq!(api.get(&format!("/stripe-events/{id}")).await.problem(), (404, "unknown_event", "id"));
    }
}
