//! How connections are served: slow and silent clients are let go, there are only so many, and a stop finishes what is
//! under way.

use std::net::SocketAddr;
use std::time::Duration;

use creditd::clock::instant;
use creditd::commands::daemon::{Daemon, Parts};
use creditd::http::Surface;
use creditd::http::listener::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::app::{TestApp, parts};

/// Short limits, far enough apart to be told from each other on a busy machine.
const SHORT: Limits = Limits { connections: 64, head: Duration::from_millis(600), idle: Duration::from_secs(4) };
const PROBE: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
/// Longest wait for something to happen.
const PATIENCE: Duration = Duration::from_secs(30);

async fn daemon(app: &TestApp, limits: Limits) -> Daemon {
    Daemon::start(Parts { surface: Surface { limits, ..Surface::default() }, ..parts(&app.store, &app.simulator) })
        .await
        .unwrap()
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.unwrap()
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    // A reset is a close too.
    drop(read);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer of a connection that stays open: its status line.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&bytes[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn who_sends_nothing_or_drips_its_head_is_let_go() {
    let app = TestApp::start().await;
    let daemon = daemon(&app, SHORT).await;
    let began = instant();
    let mut silent = connect(daemon.address()).await;
    assert_eq!(rest(&mut silent).await, "");
    assert!(began.elapsed() >= SHORT.head && began.elapsed() < SHORT.idle, "{:?}", began.elapsed());
    let began = instant();
    let mut dripping = connect(daemon.address()).await;
    for byte in PROBE.iter().cycle().take(10_000) {
        // Without the last line end the head never ends.
        let byte = if *byte == b'\n' { b'x' } else { *byte };
        if dripping.write_all(&[byte]).await.is_err() || began.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < PATIENCE, "a head may not take for ever");
    daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn a_kept_connection_may_wait_longer_for_its_next_request_but_not_for_ever() {
    let app = TestApp::start().await;
    let daemon = daemon(&app, SHORT).await;
    let mut kept = connect(daemon.address()).await;
    for _ in 0..2 {
        kept.write_all(PROBE).await.unwrap();
        assert_eq!(answer(&mut kept).await, "HTTP/1.1 200 OK");
        tokio::time::sleep(SHORT.head * 2).await;
    }
    // A head that is begun on it has to be ended in time.
    kept.write_all(&PROBE[..9]).await.unwrap();
    let began = instant();
    assert_eq!(rest(&mut kept).await, "");
    assert!(began.elapsed() < SHORT.idle, "{:?}", began.elapsed());
    let mut idle = connect(daemon.address()).await;
    idle.write_all(PROBE).await.unwrap();
    assert_eq!(answer(&mut idle).await, "HTTP/1.1 200 OK");
    let began = instant();
    assert_eq!(rest(&mut idle).await, "");
    assert!(began.elapsed() + Duration::from_millis(200) >= SHORT.idle, "{:?}", began.elapsed());
    daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn a_slow_body_is_no_slow_head_but_has_an_end_of_its_own() {
    let app = TestApp::start().await;
    let daemon = daemon(&app, SHORT).await;
    let head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    let mut slow = connect(daemon.address()).await;
    slow.write_all(head).await.unwrap();
    for byte in [b"n", b"u", b"l", b"l"] {
        tokio::time::sleep(SHORT.head).await;
        slow.write_all(byte).await.unwrap();
    }
    assert_eq!(answer(&mut slow).await, "HTTP/1.1 400 Bad Request");
    let began = instant();
    let mut never = connect(daemon.address()).await;
    never.write_all(head).await.unwrap();
    assert_eq!(answer(&mut never).await, "HTTP/1.1 408 Request Timeout");
    assert!(began.elapsed() >= creditd::http::json::BODY_TIME, "{:?}", began.elapsed());
    daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let app = TestApp::start().await;
    let daemon = daemon(&app, SHORT).await;
    let mut large = connect(daemon.address()).await;
    let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(100_000));
    // It may be refused before all of it is sent.
    drop(large.write_all(head.as_bytes()).await);
    let said = rest(&mut large).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn there_are_only_so_many_connections_and_silent_ones_make_room() {
    let app = TestApp::start().await;
    let few = Limits { connections: 2, ..SHORT };
    let daemon = daemon(&app, few).await;
    let began = instant();
    let held = [connect(daemon.address()).await, connect(daemon.address()).await];
    // The system takes the third; the daemon serves it when one of the two is let go.
    let mut third = connect(daemon.address()).await;
    third.write_all(PROBE).await.unwrap();
    assert_eq!(answer(&mut third).await, "HTTP/1.1 200 OK");
    assert!(began.elapsed() + Duration::from_millis(100) >= few.head, "{:?}", began.elapsed());
    drop(held);
    daemon.stop().await;
    app.finish().await;
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_takes_nothing_new() {
    let app = TestApp::start().await;
    let daemon = daemon(&app, Limits::default()).await;
    let address = daemon.address();
    let mut under_way = connect(address).await;
    under_way.write_all(b"POST /webhooks/stripe HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nnu").await.unwrap();
    let mut idle = connect(address).await;
    idle.write_all(PROBE).await.unwrap();
    assert_eq!(answer(&mut idle).await, "HTTP/1.1 200 OK");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopped = tokio::spawn(daemon.stop());
    assert_eq!(rest(&mut idle).await, "", "a connection that waits is closed at once");
    assert!(!stopped.is_finished());
    assert!(TcpStream::connect(address).await.is_err(), "nothing new is taken");
    under_way.write_all(b"ll").await.unwrap();
    let said = rest(&mut under_way).await;
    assert!(said.starts_with("HTTP/1.1 400 Bad Request"), "{said}");
    tokio::time::timeout(PATIENCE, stopped).await.expect("it stops").unwrap();
    app.finish().await;
}
