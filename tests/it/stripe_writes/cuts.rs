//! An answer cut at any byte says nothing: neither that something was done nor that it was not.

use std::time::Duration;

use creditd::stripe::outcome::{UnknownReason, WriteOutcome};
use creditd::stripe::transport::{Transport, TransportSettings};
use proptest::prelude::*;
use rstest::rstest;

use super::server::{Reply, Server, answer, outcome_of, send_by, settings, transport, unknown, why};

const DONE: &str = r#"{"id":"pi_1","object":"payment_intent","status":"succeeded"}"#;
const DECLINED: &str = r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"generic_decline"}}"#;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunks,
    End,
}

fn framed(framing: Framing, status: u16, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\nrequest-id: req_1\r\nidempotent-replayed: true\r\n");
    match framing {
        Framing::Length => answer(status, &[("request-id", "req_1"), ("idempotent-replayed", "true")], body),
        Framing::Chunks => {
            let (first, second) = body.split_at(7);
            let chunk = |part: &str| format!("{:x}\r\n{part}\r\n", part.len());
            format!("{head}transfer-encoding: chunked\r\n\r\n{}{}0\r\n\r\n", chunk(first), chunk(second)).into_bytes()
        }
        Framing::End => format!("{head}connection: close\r\n\r\n{body}").into_bytes(),
    }
}

fn is_known(outcome: &WriteOutcome) -> bool {
    !matches!(outcome, WriteOutcome::Unknown(_))
}

/// Every position, and after the last one the whole.
#[rstest]
#[tokio::test]
async fn a_cut_answer_is_unknown_at_every_byte(
    #[values(Framing::Length, Framing::Chunks, Framing::End)] framing: Framing,
    #[values((200, DONE), (402, DECLINED))] (status, body): (u16, &str),
) {
    let whole = framed(framing, status, body);
    let cuts = (0..whole.len()).map(|end| Reply::Bytes(whole[..end].to_vec()));
    let server = Server::start(cuts.chain([Reply::Bytes(whole.clone())]).collect()).await;
    let transport = transport(&server.url);
    let head = whole.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    for end in 0..whole.len() {
        let outcome = send_by(&transport).await;
        let unknown = unknown(&outcome);
        assert_eq!(server.seen().len(), end + 1, "cut at {end}: sent once");
        if end < head {
            assert_eq!((unknown.why, unknown.status), (UnknownReason::Broken, None), "cut at {end}, in the headers");
        } else {
            assert_eq!(unknown.status, Some(status), "cut at {end}");
            assert_eq!(unknown.request_id.as_deref(), Some("req_1"), "cut at {end}: the headers were whole");
            assert!(unknown.replayed);
            // What arrived is kept, for a person to read.
            assert!(body.as_bytes().starts_with(&unknown.body), "cut at {end}");
        }
    }
    let outcome = send_by(&transport).await;
    assert!(is_known(&outcome) && outcome.is_replayed(), "the whole: {outcome:?}");
    assert_eq!(outcome.body(), body);
    assert_eq!(server.seen().len(), whole.len() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A reset at any byte, and a cut in any body of Stripe's size.
    #[test]
    fn a_broken_answer_is_never_known(
        position in any::<prop::sample::Index>(),
        filler in "[a-z0-9\"\\\\{}\\[\\], ü]{0,300}",
        status in prop::sample::select(vec![200_u16, 400, 401, 402, 404, 500]),
        framing in prop::sample::select(vec![Framing::Length, Framing::Chunks, Framing::End]),
        resets in any::<bool>(),
    ) {
        let body = if status == 200 {
            serde_json::json!({ "id": "pi_1", "object": "payment_intent", "description": filler })
        } else {
            serde_json::json!({ "error": { "type": "card_error", "code": "card_declined", "message": filler } })
        };
        let whole = framed(framing, status, &body.to_string());
        let end = position.index(whole.len());
        let cut = whole[..end].to_vec();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reply = if resets { Reply::Reset(cut) } else { Reply::Bytes(cut) };
        let (outcome, sent) = runtime.block_on(outcome_of(vec![reply]));
        prop_assert!(!is_known(&outcome), "cut at {} of {}: {:?}", end, whole.len(), outcome);
        prop_assert_eq!(sent, 1);
    }
}

/// The one connection may end before anyone read the request: it may have been read all the same.
#[tokio::test]
async fn a_connection_that_ends_unread_is_unknown() {
    let server = Server::start(vec![Reply::Unread]).await;
    assert_eq!(why(&send_by(&transport(&server.url)).await), UnknownReason::Broken);
    assert_eq!(server.connections(), 1, "no second connection was tried");
}

#[rstest]
#[case::before_an_answer(vec![], None)]
#[case::in_the_headers(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), None)]
#[case::in_the_body(b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n{\"id\":".to_vec(), Some(200))]
#[tokio::test]
async fn silence_is_a_timeout_and_nothing_is_sent_again(#[case] begun: Vec<u8>, #[case] status: Option<u16>) {
    let server = Server::start(vec![Reply::Hang(begun), Reply::Bytes(answer(200, &[], DONE))]).await;
    let short = TransportSettings { total_timeout: Duration::from_millis(200), ..settings(&server.url) };
    let outcome = send_by(&Transport::new(&short).unwrap()).await;
    assert_eq!((why(&outcome), unknown(&outcome).status), (UnknownReason::Timeout, status));
    assert_eq!(server.seen().len(), 1);
}
