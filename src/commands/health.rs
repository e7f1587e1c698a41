//! `creditd health`: asks the daemon on this machine, for containers that have no other tool to ask with.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Longest wait for the daemon: less than the timeout that probes usually have.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most of the answer that is read: it has some hundred bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Arguments of `creditd health`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct HealthArgs {
    /// Ask /readyz (can it work?) instead of /healthz (is it alive?).
    #[arg(long)]
    pub ready: bool,
}

/// Asks and prints the answer; an answer other than 200 is a failure.
pub fn run(listen: SocketAddr, args: HealthArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let address = reachable(listen);
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = ask(address, path).with_context(|| format!("no answer from http://{address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    writeln!(out, "{body}")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("http://{address}{path} answered {status}");
    }
    Ok(())
}

/// An address that means every interface is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:8080", "[::1]:8080"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
