//! Calls that go wrong by rule: what the caller sees, what was executed, what the key keeps.

use std::time::Duration;

use creditd::simulator::{Fault, FaultRule, Options};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Account, clock};

const PATH: &str = "/v1/payment_intents";
const PAY: &str = "amount=500&currency=eur&confirm=true&payment_method=pm_card_visa";

/// What became of a call.
#[derive(Debug)]
enum Seen {
    Answer(u16, String, reqwest::header::HeaderMap),
    /// A status came, and then not the whole body.
    Cut(u16),
    Nothing,
}

async fn call(account: &Account, key: &str) -> Seen {
    let request = account
        .client
        .post(format!("{}{PATH}", account.simulator.base_url()))
        .header("authorization", "Bearer sk_test_123")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("idempotency-key", key)
        .timeout(Duration::from_millis(1_500))
        .body(PAY);
    let Ok(response) = request.send().await else { return Seen::Nothing };
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    match response.text().await {
        Ok(body) => Seen::Answer(status, body, headers),
        Err(_) => Seen::Cut(status),
    }
}

fn rule(fault: Fault) -> FaultRule {
    FaultRule::new("POST", PATH, fault).nth(1)
}

async fn account(rule: FaultRule) -> Account {
    let account = Account::start(Options::new(clock())).await;
    account.simulator.set_fault_rules(vec![rule]).unwrap();
    account
}

fn charges(account: &Account) -> usize {
    account.simulator.log().charges().len()
}

/// The same call with the same key, now that nothing goes wrong: one charge in all, and whether it was a replay.
async fn repeated(account: &Account, key: &str) -> (u16, bool) {
    let Seen::Answer(status, _, headers) = call(account, key).await else { panic!("the repeat was not answered") };
    assert_eq!(charges(account), 1, "one key, one charge");
    (status, headers.contains_key("idempotent-replayed"))
}

#[tokio::test]
async fn an_answer_that_is_lost_was_executed_once_and_is_replayed() {
    for (fault, executed) in [
        (rule(Fault::DropReply), true),
        (rule(Fault::Reset), false),
        (rule(Fault::Reset).after_work(), true),
        (rule(Fault::Hang), false),
        (rule(Fault::Hang).after_work(), true),
        (rule(Fault::ReplyLate { milliseconds: 60_000 }), true),
    ] {
        let account = account(fault.clone()).await;
        let seen = call(&account, "k").await;
        assert!(matches!(seen, Seen::Nothing), "{fault:?}: {seen:?}");
        assert_eq!(charges(&account), usize::from(executed), "{fault:?}");
        assert_eq!(repeated(&account, "k").await, (200, executed), "{fault:?}");
        let entry = &account.simulator.log().requests()[0];
        assert_eq!(entry.fault, Some(fault.name()));
        assert_eq!(entry.status, if executed { 200 } else { 0 }, "{fault:?}");
    }
}

#[tokio::test]
async fn a_late_answer_is_whole() {
    let account = account(rule(Fault::ReplyLate { milliseconds: 300 })).await;
    let before = creditd::clock::instant();
    assert!(matches!(call(&account, "k").await, Seen::Answer(200, ..)));
    assert!(before.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_body_is_cut_at_any_byte() {
    let account = Account::start(Options::new(clock())).await;
    let Seen::Answer(200, whole, _) = call(&account, "whole").await else { panic!("no answer") };
    for at in [0, 1, 2, 100, whole.len() / 2, whole.len() - 1] {
        account.simulator.set_fault_rules(vec![rule(Fault::CutBody { at })]).unwrap();
        let key = format!("cut{at}");
        let seen = call(&account, &key).await;
        assert!(matches!(seen, Seen::Cut(200)), "cut at {at}: {seen:?}");
        let Seen::Answer(200, _, headers) = call(&account, &key).await else { panic!("no replay") };
        assert!(headers.contains_key("idempotent-replayed"), "cut at {at}");
    }
    assert_eq!(charges(&account), 7, "each key charged once");
    let all = Fault::CutBody { at: whole.len() + 1_000 };
    account.simulator.set_fault_rules(vec![rule(all)]).unwrap();
    assert!(matches!(call(&account, "all").await, Seen::Answer(200, ..)), "nothing was left to cut");
    assert!(matches!(call(&account, "after").await, Seen::Answer(200, ..)), "and the next answer is whole");
}

#[tokio::test]
async fn refusals_before_the_work_leave_the_key_free() {
    for (fault, status) in [
        (rule(Fault::Conflict), 409),
        (rule(Fault::TooManyRequests { retry_after: Some(7) }), 429),
        (rule(Fault::TooManyRequests { retry_after: None }), 429),
        (rule(Fault::Gateway { status: 502 }), 502),
        (rule(Fault::Gateway { status: 503 }), 503),
        (rule(Fault::Gateway { status: 504 }), 504),
    ] {
        let account = account(fault.clone()).await;
        let Seen::Answer(found, body, headers) = call(&account, "k").await else { panic!("no answer") };
        assert_eq!(found, status);
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"]["type"].is_string(), "{body}");
        let wait = headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let wanted = (fault.fault == Fault::TooManyRequests { retry_after: Some(7) }).then(|| "7".to_owned());
        assert_eq!(wait, wanted);
        assert!(!headers.contains_key("stripe-should-retry"));
        assert_eq!(charges(&account), 0, "{fault:?}");
        assert_eq!(repeated(&account, "k").await, (200, false), "{fault:?}");
    }
}

#[tokio::test]
async fn a_gateway_may_fail_after_the_work_and_the_key_keeps_the_true_answer() {
    for fault in [Fault::Gateway { status: 504 }, Fault::Html { status: 502 }, Fault::Empty] {
        let account = account(rule(fault.clone()).after_work()).await;
        let Seen::Answer(status, body, headers) = call(&account, "k").await else { panic!("no answer") };
        assert_eq!((status, body == "{}"), if fault == Fault::Empty { (200, true) } else { (status.max(502), false) });
        if fault == (Fault::Html { status: 502 }) {
            assert!(body.starts_with("<!doctype html>") && headers["content-type"].to_str().unwrap().contains("html"));
        }
        assert_eq!(repeated(&account, "k").await, (200, true), "{fault:?}");
    }
    let account = account(rule(Fault::Html { status: 200 })).await;
    assert!(matches!(call(&account, "k").await, Seen::Answer(200, body, _) if body.starts_with('<')));
    assert_eq!(charges(&account), 0);
}

#[tokio::test]
async fn a_server_error_is_kept_with_its_key_though_the_work_is_done() {
    let account = account(rule(Fault::ServerError).should_retry(false)).await;
    let Seen::Answer(500, first, headers) = call(&account, "k").await else { panic!("no answer") };
    assert_eq!(headers["stripe-should-retry"], "false");
    assert_eq!(charges(&account), 1, "the money moved");
    let Seen::Answer(500, again, headers) = call(&account, "k").await else { panic!("no answer") };
    assert_eq!(first, again);
    assert_eq!(headers["idempotent-replayed"], "true");
    assert_eq!(charges(&account), 1);
}

#[tokio::test]
async fn answers_say_whether_to_retry_when_ordered() {
    for retry in [true, false] {
        let account = account(rule(Fault::Gateway { status: 503 }).should_retry(retry)).await;
        let Seen::Answer(503, _, headers) = call(&account, "k").await else { panic!("no answer") };
        assert_eq!(headers["stripe-should-retry"], if retry { "true" } else { "false" });
    }
}

#[tokio::test]
async fn rules_fit_by_method_path_and_number_and_reads_fail_too() {
    let account = Account::start(Options::new(clock())).await;
    let second = FaultRule::new("GET", "/v1/events", Fault::Gateway { status: 503 }).nth(2);
    account.simulator.set_fault_rules(vec![second]).unwrap();
    let mut statuses = Vec::new();
    for path in ["/v1/events", "/v1/customers", "/v1/events", "/v1/events"] {
        statuses.push(account.send(Method::GET, path, "", &[]).await.status);
    }
    assert_eq!(statuses, [200, 200, 503, 200]);
    account.simulator.set_fault_rules(vec![FaultRule::new("GET", "/v1/events", Fault::ServerError)]).unwrap();
    assert_eq!(account.send(Method::GET, "/v1/events", "", &[]).await.status, 500);
    account.simulator.set_fault_rules(Vec::new()).unwrap();
    assert_eq!(account.send(Method::GET, "/v1/events", "", &[]).await.status, 200);
}

#[tokio::test]
async fn rules_are_ordered_through_the_control_endpoint_or_refused() {
    let account = Account::start(Options::new(clock())).await;
    let json_body = [("content-type", "application/json")];
    let send = |body: Value| {
        let (account, body) = (&account, body.to_string());
        async move { account.send(Method::POST, "/control/faults", &body, &json_body).await.status }
    };
    let rule = |fault: Value| json!({ "rules": [{ "method": "post", "path": PATH, "fault": fault }] });
    assert_eq!(send(rule(json!({ "kind": "gateway", "status": 500 }))).await, 400);
    assert_eq!(send(rule(json!({ "kind": "whim" }))).await, 422);
    assert_eq!(send(rule(json!({ "kind": "conflict" }))).await, 200);
    assert!(matches!(call(&account, "k").await, Seen::Answer(409, ..)));
    assert_eq!(send(json!({})).await, 200, "no rules end it");
    assert!(matches!(call(&account, "k").await, Seen::Answer(200, ..)));
    let many = vec![FaultRule::new("GET", "/v1/", Fault::Conflict); 65];
    assert!(account.simulator.set_fault_rules(many).is_err());
}
