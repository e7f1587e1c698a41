//! What goes over the wire, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use creditd::clock;
use creditd::stripe::client::StripeClient;
use creditd::stripe::outcome::{UnknownReason, WriteOutcome};
use creditd::stripe::transport::{API_VERSION, ATTEMPTS_MAX, Transport, TransportSettings};
use rstest::rstest;
use tokio::net::TcpListener;

use super::samples::{every_write, frozen, key};
use super::server::{API_KEY, Reply, Server, answer, body, header, plain, send, send_by, settings, transport, why};

const DONE: &str = r#"{"id":"pi_1","object":"payment_intent"}"#;

#[tokio::test]
async fn every_write_carries_its_key_and_our_headers() {
    let writes = every_write();
    let server = Server::start(vec![plain(200, DONE); writes.len()]).await;
    let transport = transport(&server.url);
    for (number, (name, write)) in writes.iter().enumerate() {
        let frozen = frozen(write);
        let outcome = transport.send(&frozen, &key(&format!("key:{number}"))).await;
        assert!(matches!(outcome, WriteOutcome::Answered(_)), "{name}: {outcome:?}");
        let seen = server.seen();
        let request = seen.last().unwrap();
        let first = format!("{} {} HTTP/1.1", frozen.method().as_str(), frozen.path());
        assert_eq!(request.lines().next().unwrap(), first);
        assert_eq!(body(request), frozen.body(), "{name}");
        assert_eq!(header(request, "idempotency-key").unwrap(), format!("key:{number}"), "{name}: once");
        assert_eq!(header(request, "stripe-version").unwrap(), API_VERSION);
        assert_eq!(header(request, "authorization").unwrap(), format!("Bearer {API_KEY}"));
        assert_eq!(header(request, "content-type").unwrap(), "application/x-www-form-urlencoded");
        assert_eq!(header(request, "content-length").unwrap(), frozen.body().len().to_string(), "{name}");
    }
    assert_eq!(server.seen().len(), writes.len());
}

#[tokio::test]
async fn the_version_is_the_one_configured() {
    let server = Server::start(vec![plain(200, DONE)]).await;
    let older = TransportSettings { api_version: "2025-03-31.basil".to_owned(), ..settings(&server.url) };
    drop(send_by(&Transport::new(&older).unwrap()).await);
    assert_eq!(header(&server.seen()[0], "stripe-version").unwrap(), "2025-03-31.basil");
}

#[rstest]
#[case(409)]
#[case(429)]
#[tokio::test]
async fn a_repeat_is_the_same_to_the_byte(#[case] status: u16) {
    let server = Server::start(vec![plain(status, "{}"), plain(status, ""), plain(200, DONE)]).await;
    assert!(matches!(send(&server.url).await, WriteOutcome::Answered(_)));
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|request| *request == seen[0]), "key, headers and body");
    assert_eq!(header(&seen[2], "idempotency-key").as_deref(), Some("topup:1"));
}

#[tokio::test]
async fn a_pause_that_stripe_asks_for_is_kept() {
    let wait = Reply::Bytes(answer(429, &[("retry-after", "1")], ""));
    let server = Server::start(vec![wait, plain(200, DONE)]).await;
    let begun = clock::instant();
    assert!(matches!(send(&server.url).await, WriteOutcome::Answered(_)));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// A failure after a repeat is judged by itself: the repeat of a 409 may be lost like any other.
#[tokio::test]
async fn a_repeat_that_is_lost_is_unknown() {
    let server = Server::start(vec![plain(409, "{}"), Reply::Bytes(Vec::new()), plain(200, DONE)]).await;
    assert_eq!(why(&send(&server.url).await), UnknownReason::Broken);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn where_nobody_listens_is_tried_again_and_never_called_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}");
    let begun = clock::instant();
    let slow = TransportSettings { backoff_base: Duration::from_millis(100), ..settings(&url) };
    let transport = Transport::new(&slow).unwrap();
    assert_eq!(why(&send_by(&transport).await), UnknownReason::NotConnected);
    // Half of each pause is certain: 50 ms, then 100 ms.
    assert!(begun.elapsed() >= Duration::from_millis(150), "{ATTEMPTS_MAX} sendings with two pauses");
    // Someone listens before the second sending: the write gets through after all.
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Server::start_on(TcpListener::bind(address).await.unwrap(), vec![plain(200, DONE)])
    });
    assert!(matches!(send_by(&transport).await, WriteOutcome::Answered(_)));
    let seen = late.await.unwrap().seen();
    assert_eq!((seen.len(), header(&seen[0], "idempotency-key").as_deref()), (1, Some("topup:1")));
}

/// What listens but speaks no TLS is a connection never made: the key went nowhere.
#[tokio::test]
async fn a_failed_handshake_is_no_connection() {
    let server = Server::start(vec![Reply::Unread; 5]).await;
    let outcome = send(&server.url.replace("http://", "https://")).await;
    assert_eq!(why(&outcome), UnknownReason::NotConnected);
    assert_eq!(server.connections(), usize::try_from(ATTEMPTS_MAX).unwrap());
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_write() {
    let keep = Reply::Keep(answer(200, &[], DONE));
    let server = Server::start(vec![keep.clone(), keep.clone(), keep]).await;
    let transport = transport(&server.url);
    for _ in 0..3 {
        assert!(matches!(send_by(&transport).await, WriteOutcome::Answered(_)));
    }
    assert_eq!((server.seen().len(), server.connections()), (3, 1));
}

/// A kept connection that breaks under the next write: the bytes may have arrived, so they are not sent again.
#[tokio::test]
async fn a_kept_connection_that_breaks_is_unknown() {
    let server =
        Server::start(vec![Reply::Keep(answer(200, &[], DONE)), Reply::Bytes(Vec::new()), plain(200, DONE)]).await;
    let transport = transport(&server.url);
    assert!(matches!(send_by(&transport).await, WriteOutcome::Answered(_)));
    assert_eq!(why(&send_by(&transport).await), UnknownReason::Broken);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_redirect_takes_no_write_elsewhere() {
    let other = Server::start(vec![plain(200, DONE)]).await;
    let location = format!("{}/v1/payment_intents", other.url);
    for status in [301, 302, 307, 308] {
        let server = Server::start(vec![Reply::Bytes(answer(status, &[("location", &location)], "{}"))]).await;
        assert_eq!(why(&send(&server.url).await), UnknownReason::Unreadable);
    }
    assert!(other.seen().is_empty());
}

/// Where a log goes that a test reads.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_names_the_exchange_and_neither_secrets_nor_bodies() {
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || sink.clone()).finish());
    let declined = r#"{"error":{"type":"card_error","code":"card_declined","message":"Ada's card"}}"#;
    let replies = [plain(200, DONE), plain(402, declined), plain(500, "Ada's page")];
    let server = Server::start([replies.clone(), replies].concat()).await;
    let transport = transport(&server.url);
    // Whether a place in the code is heard is settled once, and other tests pass it at the same time: after a first round
    // all places are known, and are asked anew.
    for _ in 0..3 {
        drop(send_by(&transport).await);
    }
    tracing::callsite::rebuild_interest_cache();
    lines.0.lock().unwrap().clear();
    let (_, write) = every_write().into_iter().find(|(name, _)| *name == "charge, all of it").unwrap();
    assert!(!format!("{:?}", frozen(&write)).contains("example"), "bytes may be logged");
    for _ in 0..3 {
        let outcome = transport.send(&frozen(&write), &key("topup:7")).await;
        assert!(!format!("{outcome:?}").contains("Ada"), "an outcome may be logged");
    }
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for told in ["req_1", "topup:7", "POST /v1/payment_intents", "card_declined", "Stripe did", "refused", "unknown"] {
        assert!(log.contains(told), "{told} is not in the log:\n{log}");
    }
    for secret in [API_KEY, "example.com", "Ada", "cus_1", "Top-up"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
