//! What is made of whole answers: each row of the outcomes, the declines of every train, and what is no answer.

use std::time::Duration;

use creditd::stripe::outcome::{AnswerHead, Decline, RefusalClass, Refused, UnknownReason, WriteOutcome, judge};
use creditd::stripe::transport::{ATTEMPTS_MAX, BODY_BYTES_MAX};
use rstest::rstest;
use serde_json::{Value, json};

use super::server::{Reply, answer, outcome_of, plain, unknown, why};

fn attempts() -> usize {
    usize::try_from(ATTEMPTS_MAX).unwrap()
}

#[track_caller]
fn refused(outcome: WriteOutcome) -> Refused {
    match outcome {
        WriteOutcome::Refused(refused) => refused,
        WriteOutcome::Answered(_) | WriteOutcome::Unknown(_) => panic!("not refused: {outcome:?}"),
    }
}

#[track_caller]
fn declined(status: u16, body: &Value) -> Decline {
    let head = AnswerHead { status, ..AnswerHead::default() };
    match refused(judge(head, body.to_string().into())).class {
        RefusalClass::Declined(decline) => *decline,
        other => panic!("not declined: {other:?}"),
    }
}

fn error(kind: &str, code: &str) -> String {
    json!({ "error": { "type": kind, "code": code, "message": "No.", "param": "amount" } }).to_string()
}

/// 200 in any state is an answer; what it is worth, the reader of the body decides.
#[rstest]
#[case("succeeded")]
#[case("processing")]
#[case("requires_action")]
#[tokio::test]
async fn an_object_is_an_answer_whatever_its_state(#[case] status: &str) {
    let body = json!({ "id": "pi_1", "object": "payment_intent", "status": status }).to_string();
    let (outcome, sent) = outcome_of(vec![plain(200, &body)]).await;
    let WriteOutcome::Answered(answered) = outcome else { panic!("{outcome:?}") };
    assert_eq!((answered.status, answered.replayed, sent), (200, false, 1));
    assert_eq!(answered.request_id.as_deref(), Some("req_1"));
    assert_eq!(answered.body, body);
}

/// async-stripe's types read 125 of 280 recorded events as errors, and a charge that was made as a failure: an older or
/// a newer shape is an answer all the same.
#[rstest]
#[case::without_a_field_of_theirs(r#"{"id":"in_1","object":"invoice"}"#)]
#[case::with_a_field_of_the_future(r#"{"id":"sub_1","object":"subscription","moon":{"phase":1e400}}"#)]
#[case::with_another_type_than_ours(r#"{"id":"pi_1","object":"payment_intent","amount":"2000","status":null}"#)]
#[tokio::test]
async fn a_shape_of_any_version_is_an_answer(#[case] body: &str) {
    let (outcome, _) = outcome_of(vec![plain(200, body)]).await;
    assert_eq!(outcome.body(), body);
    // A number beyond all bounds is the one thing here that is no JSON to us: then nothing is known, never "not done".
    let is_answered = matches!(outcome, WriteOutcome::Answered(_));
    assert!(is_answered || why(&outcome) == UnknownReason::Unreadable, "{outcome:?}");
    assert!(is_answered || body.contains("1e400"));
}

#[rstest]
#[case::card_declined(402, "card_error", "card_declined", "Declined", true)]
#[case::expired_card(402, "card_error", "expired_card", "Declined", true)]
#[case::declined_invoice(402, "invalid_request_error", "invoice_payment_intent_requires_action", "Declined", true)]
#[case::declined_with_400(400, "card_error", "card_declined", "Declined", true)]
#[case::unknown_parameter(400, "invalid_request_error", "parameter_unknown", "Invalid", true)]
#[case::unknown_address(404, "invalid_request_error", "", "Invalid", true)]
#[case::detached_method(400, "invalid_request_error", "resource_missing", "ResourceMissing", true)]
#[case::missing_object(404, "invalid_request_error", "resource_missing", "ResourceMissing", true)]
#[case::changed_parameters(400, "idempotency_error", "", "IdempotencyMismatch", false)]
#[case::revoked_key(401, "invalid_request_error", "api_key_expired", "Unauthorized", false)]
#[case::restricted_key(403, "invalid_request_error", "more_permissions_required", "Unauthorized", false)]
#[tokio::test]
async fn a_refusal_is_definite_and_sent_once(
    #[case] status: u16,
    #[case] kind: &str,
    #[case] code: &str,
    #[case] class: &str,
    #[case] is_final: bool,
) {
    let body = error(kind, code);
    let (outcome, sent) = outcome_of(vec![plain(status, &body), plain(200, "{}")]).await;
    let refused = refused(outcome);
    assert!(format!("{:?}", refused.class).starts_with(class), "{refused:?}");
    assert_eq!((refused.status, refused.is_final(), sent), (status, is_final, 1));
    assert_eq!(refused.code.as_deref(), Some(code));
    assert_eq!((refused.param.as_deref(), refused.message.as_str()), (Some("amount"), "No."));
    assert_eq!((refused.request_id.as_deref(), &refused.body[..]), (Some("req_1"), body.as_bytes()));
}

#[rstest]
#[case(500, UnknownReason::ServerError, 1)]
#[case(502, UnknownReason::ServerError, 1)]
#[case(503, UnknownReason::ServerError, 1)]
#[case(504, UnknownReason::ServerError, 1)]
#[case(409, UnknownReason::Busy, attempts())]
#[case(429, UnknownReason::RateLimited, attempts())]
#[case(408, UnknownReason::UnexpectedStatus, 1)]
#[case(424, UnknownReason::UnexpectedStatus, 1)]
#[tokio::test]
async fn a_failure_is_unknown_and_only_what_was_not_done_is_sent_again(
    #[case] status: u16,
    #[case] reason: UnknownReason,
    #[case] times: usize,
) {
    for body in [error("api_error", ""), error("card_error", "card_declined")] {
        let (outcome, sent) = outcome_of(vec![plain(status, &body); 5]).await;
        assert_eq!((why(&outcome), unknown(&outcome).status, sent), (reason, Some(status), times), "{body}");
        assert_eq!(outcome.body(), &body);
        assert_eq!(outcome.request_id(), Some("req_1"));
    }
}

/// Stripe's own failure may come with a status that says otherwise.
#[tokio::test]
async fn an_api_error_is_unknown_with_any_status() {
    for status in [400, 402, 404] {
        let (outcome, sent) = outcome_of(vec![plain(status, &error("api_error", "x"))]).await;
        assert_eq!((why(&outcome), sent), (UnknownReason::ServerError, 1));
    }
}

/// A proxy's page, a captive portal's greeting, half a document: nothing that Stripe said.
#[rstest]
#[case::page("<html>Bad gateway</html>")]
#[case::empty("")]
#[case::half(r#"{"id":"pi_1","object":"payment_intent""#)]
#[case::no_object(r#"{"status":"ok"}"#)]
#[case::object_of_another_type(r#"{"object":{"id":1}}"#)]
#[case::list("[]")]
#[case::text("\"ok\"")]
#[case::error_of_another_type(r#"{"error":"no"}"#)]
#[case::no_utf8("{\"object\":\"\u{fffd}")]
#[tokio::test]
async fn what_is_no_document_of_stripes_is_unknown(#[case] body: &str) {
    for status in [200, 201, 302, 400, 401, 402, 403, 404] {
        let (outcome, sent) = outcome_of(vec![plain(status, body)]).await;
        assert_eq!((why(&outcome), sent), (UnknownReason::Unreadable, 1), "{status}");
        assert_eq!((outcome.body(), unknown(&outcome).status), (&body.to_owned().into(), Some(status)));
    }
    for (status, reason) in [(409, UnknownReason::Busy), (429, UnknownReason::RateLimited)] {
        let (outcome, sent) = outcome_of(vec![plain(status, body); 5]).await;
        assert_eq!((why(&outcome), sent), (reason, attempts()), "{status}");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_unknown_and_sent_once() {
    let body = format!(r#"{{"object":"payment_intent","x":"{}"}}"#, "x".repeat(BODY_BYTES_MAX));
    let (outcome, sent) = outcome_of(vec![plain(200, &body), plain(200, "{}")]).await;
    assert_eq!((why(&outcome), sent), (UnknownReason::TooLarge, 1));
}

#[tokio::test]
async fn a_replay_is_told_and_a_replayed_failure_stays_unknown() {
    let replayed = [("idempotent-replayed", "true")];
    let failed = Reply::Bytes(answer(500, &replayed, &error("api_error", "")));
    let (outcome, sent) = outcome_of(vec![failed]).await;
    assert_eq!((why(&outcome), outcome.is_replayed(), sent), (UnknownReason::ServerError, true, 1));
    let declined = Reply::Bytes(answer(402, &replayed, &error("card_error", "card_declined")));
    let (outcome, _) = outcome_of(vec![declined]).await;
    assert!(refused(outcome).replayed);
    let done = Reply::Bytes(answer(200, &replayed, r#"{"object":"payment_intent"}"#));
    let (outcome, _) = outcome_of(vec![done]).await;
    assert!(outcome.is_replayed() && matches!(outcome, WriteOutcome::Answered(_)));
}

/// Stripe's word stands above the rule for the status, both ways.
#[rstest]
#[case(409, "false", 1)]
#[case(429, "false", 1)]
#[case(500, "true", attempts())]
#[case(400, "true", attempts())]
#[case(500, "perhaps", 1)]
#[tokio::test]
async fn stripes_word_on_repeating_is_heard(#[case] status: u16, #[case] word: &'static str, #[case] times: usize) {
    let reply = Reply::Bytes(answer(status, &[("stripe-should-retry", word)], &error("api_error", "")));
    let (_, sent) = outcome_of(vec![reply; 5]).await;
    assert_eq!(sent, times);
}

#[tokio::test]
async fn a_pause_too_long_is_handed_to_the_caller() {
    let reply = Reply::Bytes(answer(429, &[("retry-after", "31")], ""));
    let (outcome, sent) = outcome_of(vec![reply; 3]).await;
    assert_eq!((why(&outcome), sent), (UnknownReason::RateLimited, 1));
    assert_eq!(unknown(&outcome).retry_after, Some(Duration::from_secs(31)));
}

/// The same decline as each train tells it; facts wander, and are found.
#[test]
fn a_decline_is_read_from_every_train() {
    let flat = json!({ "error": {
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "charge": "ch_1",
        "payment_intent": { "id": "pi_1", "status": "requires_payment_method", "charges": { "data": [
            { "id": "ch_1", "outcome": { "network_decline_code": "51" } },
        ] } },
        "payment_method": { "id": "pm_1", "object": "payment_method" },
    } });
    let newer = json!({ "error": {
        "type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds",
        "advice_code": "try_again_later", "network_advice_code": "02", "network_decline_code": "51",
        "payment_intent": { "id": "pi_1", "status": "requires_payment_method", "latest_charge": "ch_1",
            "last_payment_error": { "payment_method": { "id": "pm_1" } } },
    } });
    let expanded = json!({ "error": {
        "type": "card_error", "code": "card_declined",
        "payment_intent": { "id": "pi_1", "status": "requires_payment_method", "payment_method": "pm_1",
            "last_payment_error": { "decline_code": "insufficient_funds", "advice_code": "try_again_later" },
            "latest_charge": { "id": "ch_1", "outcome": { "network_advice_code": "02", "network_decline_code": "51" } } },
    } });
    let wanted = Decline {
        code: Some("card_declined".to_owned()),
        decline_code: Some("insufficient_funds".to_owned()),
        advice_code: Some("try_again_later".to_owned()),
        network_advice_code: Some("02".to_owned()),
        network_decline_code: Some("51".to_owned()),
        payment_intent: Some("pi_1".to_owned()),
        payment_intent_status: Some("requires_payment_method".to_owned()),
        charge: Some("ch_1".to_owned()),
        payment_method: Some("pm_1".to_owned()),
    };
    assert_eq!(declined(402, &newer), wanted);
    assert_eq!(declined(402, &expanded), wanted);
    let without_advice = Decline { advice_code: None, network_advice_code: None, ..wanted };
    assert_eq!(declined(402, &flat), without_advice);
}

#[test]
fn a_decline_with_fields_of_the_wrong_type_is_a_decline() {
    let odd = json!({ "error": { "type": "card_error", "code": 7, "decline_code": { "a": 1 }, "payment_intent": "pi_1",
        "charge": { "id": ["ch_1"] }, "payment_method": null, "advice_code": [] } });
    let found = declined(402, &odd);
    assert_eq!(found, Decline { payment_intent: Some("pi_1".to_owned()), ..Decline::default() });
    assert!(!found.wants_authentication());
    assert_eq!(declined(402, &json!({ "error": {} })), Decline::default());
}

/// Recorded bodies put the word in either field; one of them is enough.
#[rstest]
#[case(json!({ "code": "authentication_required", "decline_code": "authentication_not_handled" }), true)]
#[case(json!({ "code": "card_declined", "decline_code": "authentication_required" }), true)]
#[case(json!({ "code": "authentication_required" }), true)]
#[case(json!({ "code": "x", "payment_intent": { "id": "pi_1", "status": "requires_action" } }), true)]
#[case(json!({ "code": "card_declined", "decline_code": "do_not_honor" }), false)]
fn the_wish_for_authentication_is_seen_in_either_field(#[case] error: Value, #[case] wanted: bool) {
    assert_eq!(declined(402, &json!({ "error": error })).wants_authentication(), wanted);
}

/// A decline that shows an intent taking money is no proof that nothing was taken.
#[rstest]
#[case("succeeded")]
#[case("processing")]
#[case("requires_capture")]
#[tokio::test]
async fn a_decline_whose_intent_takes_money_is_unknown(#[case] status: &str) {
    let body = json!({ "error": { "type": "card_error", "code": "card_declined",
        "payment_intent": { "id": "pi_1", "status": status } } });
    let (outcome, sent) = outcome_of(vec![plain(402, &body.to_string())]).await;
    assert_eq!((why(&outcome), sent), (UnknownReason::Contradiction, 1));
}

/// Cancelling too late shows a paid intent: the cancelling was refused for certain.
#[test]
fn a_refusal_may_show_an_intent_in_any_state() {
    let body = json!({ "error": { "type": "invalid_request_error", "code": "payment_intent_unexpected_state",
        "payment_intent": { "id": "pi_1", "status": "succeeded" } } });
    let head = AnswerHead { status: 400, ..AnswerHead::default() };
    assert_eq!(refused(judge(head, body.to_string().into())).class, RefusalClass::Invalid);
}
