//! A server of bytes: each connection gets the next reply, as a whole, cut, late or broken off.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use creditd::stripe::client::StripeClient;
use creditd::stripe::outcome::{Unknown, UnknownReason, WriteOutcome};
use creditd::stripe::transport::{Transport, TransportSettings};
use creditd::stripe::write::Write;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::samples::{charge, frozen, key};

pub const API_KEY: &str = "sk_test_synthetic";
/// More than any request of these tests.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Requests on one connection.
const KEPT_MAX: usize = 16;

/// What one request gets.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then the connection is reset.
    Reset(Vec<u8>),
    /// These bytes, then silence.
    Hang(Vec<u8>),
    /// These bytes, and the connection stays.
    Keep(Vec<u8>),
    /// The end before the request was read.
    Unread,
}

/// A whole answer as a server writes it, with the length of its body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut lines = vec![format!("HTTP/1.1 {status} X")];
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.push(format!("content-length: {}\r\n\r\n{body}", body.len()));
    lines.join("\r\n").into_bytes()
}

pub fn plain(status: u16, body: &str) -> Reply {
    Reply::Bytes(answer(status, &[("request-id", "req_1")], body))
}

/// A running server; it stops when its replies are given.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub async fn start(replies: Vec<Reply>) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), replies)
    }

    pub fn start_on(listener: TcpListener, replies: Vec<Reply>) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, seen: Arc::default(), connections: Arc::default() };
        tokio::spawn(serve(listener, replies, Arc::clone(&server.seen), Arc::clone(&server.connections)));
        server
    }

    /// The requests as they arrived, each whole.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn serve(
    listener: TcpListener,
    replies: Vec<Reply>,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
) {
    let mut hanging = Vec::new();
    let mut replies = replies.into_iter().peekable();
    while replies.peek().is_some() {
        let (mut stream, _) = listener.accept().await.unwrap();
        *connections.lock().unwrap() += 1;
        for _ in 0..KEPT_MAX {
            if matches!(replies.peek(), Some(Reply::Unread)) {
                replies.next();
                break;
            }
            let Some(request) = read_request(&mut stream).await else { break };
            seen.lock().unwrap().push(request);
            match replies.next() {
                Some(Reply::Keep(bytes)) => stream.write_all(&bytes).await.unwrap(),
                Some(Reply::Bytes(bytes)) => {
                    stream.write_all(&bytes).await.unwrap();
                    stream.shutdown().await.unwrap();
                    break;
                }
                Some(Reply::Reset(bytes)) => {
                    stream.write_all(&bytes).await.unwrap();
                    // What was written arrives before the reset follows it.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    stream.set_zero_linger().unwrap();
                    break;
                }
                Some(Reply::Hang(bytes)) => {
                    stream.write_all(&bytes).await.unwrap();
                    hanging.push(stream);
                    break;
                }
                Some(Reply::Unread) | None => break,
            }
        }
    }
    // Silent connections stay open until the test ends, which ends this task; the wait is bounded for all that.
    if !hanging.is_empty() {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
}

/// One request, whole: its head and as much body as the head says.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while bytes.len() < REQUEST_BYTES_MAX {
        let mut piece = [0_u8; 4096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
    }
    panic!("a request of more than {REQUEST_BYTES_MAX} bytes");
}

/// A header's value; of one sent twice both.
pub fn header(request: &str, name: &str) -> Option<String> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let named =
        head.lines().filter_map(|line| line.split_once(": ")).filter(|(found, _)| found.eq_ignore_ascii_case(name));
    let values: Vec<&str> = named.map(|(_, value)| value).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

pub fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

pub fn settings(url: &str) -> TransportSettings {
    TransportSettings {
        base_url: url.to_owned(),
        backoff_base: Duration::from_millis(2),
        total_timeout: Duration::from_secs(5),
        ..TransportSettings::new(SecretString::from(API_KEY))
    }
}

pub fn transport(url: &str) -> Transport {
    Transport::new(&settings(url)).unwrap()
}

/// Sends one charge under one key.
pub async fn send(url: &str) -> WriteOutcome {
    send_by(&transport(url)).await
}

pub async fn send_by(transport: &Transport) -> WriteOutcome {
    transport.send(&frozen(&Write::Charge(charge())), &key("topup:1")).await
}

/// The outcome of one charge, and how often it was sent.
pub async fn outcome_of(replies: Vec<Reply>) -> (WriteOutcome, usize) {
    let server = Server::start(replies).await;
    let outcome = send(&server.url).await;
    (outcome, server.seen().len())
}

#[track_caller]
pub fn unknown(outcome: &WriteOutcome) -> &Unknown {
    match outcome {
        WriteOutcome::Unknown(unknown) => unknown,
        WriteOutcome::Answered(_) | WriteOutcome::Refused(_) => panic!("known: {outcome:?}"),
    }
}

#[track_caller]
pub fn why(outcome: &WriteOutcome) -> UnknownReason {
    unknown(outcome).why
}
