//! The load: one task and one keep-alive connection for each client, which asks again as soon as it was answered.
//!
//! A client that has asked waits for its answer even when the time is over, so that what was acknowledged can be counted
//! against what is in the ledger.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::figures::percentile;
use super::requests::Work;
use crate::clock::instant;

/// Largest answer that is read: those asked for here have less than a kilobyte.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for the last answers after the time is over: longer than the daemon lets a request take.
const GRACE: Duration = Duration::from_secs(35);

/// What one round of load saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    /// From the first request to the last answer.
    pub(super) elapsed_micros: u64,
    /// Answers with status 200.
    pub(super) acknowledged: u64,
    /// Answers with another status.
    pub(super) refused: u64,
    /// Requests without an answer: what they did is not known.
    pub(super) unknown: u64,
    /// Half of the answers came within this.
    pub(super) p50_micros: u64,
    /// 99 of 100 answers came within this.
    pub(super) p99_micros: u64,
    /// The first thing that went wrong.
    pub(super) trouble: Option<String>,
}

/// One client's part.
#[derive(Default)]
struct Tally {
    latencies: Vec<u64>,
    acknowledged: u64,
    refused: u64,
    unknown: u64,
    trouble: Option<String>,
}

/// One keep-alive connection.
pub(super) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(target: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target).await.with_context(|| format!("cannot connect to {target}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4_096) })
    }

    /// Sends a whole request and reads a whole answer; gives its status and body.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, &[u8])> {
        self.stream.write_all(request).await?;
        self.received.clear();
        let mut head: Option<(u16, usize, usize)> = None;
        loop {
            if head.is_none() {
                head = read_head(&self.received)?;
            }
            if let Some((status, start, end)) = head
                && self.received.len() >= end
            {
                return Ok((status, self.received.get(start..end).unwrap_or_default()));
            }
            if self.received.len() > ANSWER_BYTES_MAX {
                bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("the connection was closed before the answer was whole");
            }
        }
    }
}

/// Status, and where the body begins and ends; nothing while the head is not whole.
fn read_head(received: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(received.get(..end).unwrap_or_default()).context("a head that is not text")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("an answer without a status")?;
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let start = end.saturating_add(4);
    let length = length.context("an answer without content-length")?;
    Ok(Some((status, start, start.saturating_add(length))))
}

/// Asks for this long with this many clients; `at_end` is called when the time is over and all are still connected.
pub(super) async fn drive(
    target: SocketAddr,
    work: Arc<Work>,
    clients: usize,
    length: Duration,
    at_end: impl FnOnce(),
) -> anyhow::Result<Load> {
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(target).await?);
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let started = instant();
    for (number, connection) in connections.into_iter().enumerate() {
        tasks.spawn(client(connection, work.clone(), number, over.clone()));
    }
    tokio::time::sleep(length).await;
    at_end();
    over.store(true, Ordering::Relaxed);
    let tallies = tokio::time::timeout(GRACE, tasks.join_all()).await;
    let tallies = tallies.context("clients wait for answers that do not come")?;
    let elapsed_micros = u64::try_from(started.elapsed().as_micros())?;
    Ok(summed(tallies, elapsed_micros))
}

async fn client(mut connection: Connection, work: Arc<Work>, number: usize, over: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    let mut request = Vec::with_capacity(2_048);
    let mut sequence = 0_u64;
    while !over.load(Ordering::Relaxed) {
        request.clear();
        work.write(&mut request, number, sequence);
        sequence = sequence.saturating_add(1);
        let asked = instant();
        match connection.exchange(&request).await {
            Ok((200, _)) => tally.acknowledged = tally.acknowledged.saturating_add(1),
            Ok((status, body)) => {
                tally.refused = tally.refused.saturating_add(1);
                tally.trouble.get_or_insert_with(|| format!("{status}: {}", String::from_utf8_lossy(body)));
            }
            Err(error) => {
                // The connection is of no more use, and a reconnect would hide that it broke.
                tally.unknown = tally.unknown.saturating_add(1);
                tally.trouble = Some(format!("{error:#}"));
                break;
            }
        }
        tally.latencies.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    tally
}

fn summed(tallies: Vec<Tally>, elapsed_micros: u64) -> Load {
    let mut load = Load { elapsed_micros, ..Load::default() };
    let mut latencies = Vec::new();
    for tally in tallies {
        load.acknowledged = load.acknowledged.saturating_add(tally.acknowledged);
        load.refused = load.refused.saturating_add(tally.refused);
        load.unknown = load.unknown.saturating_add(tally.unknown);
        load.trouble = load.trouble.or(tally.trouble);
        latencies.extend(tally.latencies);
    }
    latencies.sort_unstable();
    load.p50_micros = percentile(&latencies, 50);
    load.p99_micros = percentile(&latencies, 99);
    load
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole_and_only_with_a_length() {
        let answer = b"HTTP/1.1 402 Payment Required\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read_head(&answer[..30]).unwrap(), None);
        let (status, start, end) = read_head(answer).unwrap().unwrap();
        assert_eq!((status, &answer[start..end]), (402, &b"{}"[..]));
        assert!(read_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(read_head(b"nonsense\r\n\r\n").is_err());
    }
}
