//! Processes beside this one: the daemon and the Node server as children, and what `/proc` tells of anyone.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use super::load::Connection;
use crate::clock::instant;

/// Linux counts processor time in hundredths of a second for everyone who reads `/proc`, whatever the kernel's own tick.
const TICK_MICROS: u64 = 10_000;
/// Longest wait for a child to answer, and for its end.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Most of a child's log that is repeated when it fails.
const LOG_BYTES_MAX: u64 = 64 * 1024;
/// Last lines of a child's log that are shown.
const LOG_LINES: usize = 10;

/// A child that serves HTTP; killed when dropped.
pub(super) struct Serving {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its process.
    pub(super) pid: u32,
    log: PathBuf,
}

impl Serving {
    /// This binary's `serve`, in an environment of its own, once it answers.
    pub(super) async fn daemon(folder: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
        let address = free_address()?;
        command.arg("serve").env_clear().env("CREDITD_LISTEN", address.to_string());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut serving = Self::spawn(command, folder.join("daemon.log"), address, Stdio::null())?;
        let started = instant();
        loop {
            if let Ok(mut connection) = Connection::open(address).await
                && matches!(connection.exchange(b"GET /readyz HTTP/1.1\r\nHost: bench\r\n\r\n").await, Ok((200, _)))
            {
                return Ok(serving);
            }
            serving.still_there(started.elapsed())?;
            tokio::time::sleep(POLL).await;
        }
    }

    /// A Node server that prints its port when it listens.
    pub(super) async fn node(folder: &Path, mut command: Command) -> anyhow::Result<Self> {
        let said = folder.join("node.port");
        command.kill_on_drop(true);
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let port = Stdio::from(fs::File::create(&said)?);
        let mut serving = Self::spawn(command, folder.join("node.log"), unknown, port)?;
        let started = instant();
        loop {
            if let Some((port, _)) = fs::read_to_string(&said)?.split_once('\n') {
                serving.address.set_port(port.trim().parse().context("the Node server did not print its port")?);
                return Ok(serving);
            }
            serving.still_there(started.elapsed())?;
            tokio::time::sleep(POLL).await;
        }
    }

    fn spawn(mut command: Command, log: PathBuf, address: SocketAddr, out: Stdio) -> anyhow::Result<Self> {
        let file = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out).stderr(file).kill_on_drop(true);
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
        let pid = child.id().context("the child has ended already")?;
        Ok(Self { child, address, pid, log })
    }

    fn still_there(&mut self, waited: Duration) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended with {status}: {}", last_words(&self.log));
        }
        if waited > PATIENCE {
            bail!("it does not answer within {} s: {}", PATIENCE.as_secs(), last_words(&self.log));
        }
        Ok(())
    }

    /// Tells it to stop and waits for its end.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.pid)?), Signal::SIGTERM)?;
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            bail!("it did not stop within {} s: {}", PATIENCE.as_secs(), last_words(&self.log));
        }
        Ok(())
    }
}

/// A port that was free a moment ago: `serve` prints its address only to its log.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn last_words(log: &Path) -> String {
    let mut text = String::new();
    let read = fs::File::open(log).and_then(|file| file.take(LOG_BYTES_MAX).read_to_string(&mut text));
    if let Err(error) = read {
        return error.to_string();
    }
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
}

/// Where a process's counters are: parent, its own processor time, and that of its children that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own_micros: u64,
    ended_micros: u64,
}

fn read_stat(text: &str) -> Option<Stat> {
    // The name stands in brackets and may hold anything, brackets and spaces too.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_micros: ticks(11)?.checked_add(ticks(12)?)?.checked_mul(TICK_MICROS)?,
        ended_micros: ticks(13)?.checked_add(ticks(14)?)?.checked_mul(TICK_MICROS)?,
    })
}

fn stat_of(pid: &str) -> Option<Stat> {
    read_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Processor time of a process; nothing where there is no `/proc`.
pub(super) fn processor_micros(pid: u32) -> Option<u64> {
    Some(stat_of(&pid.to_string())?.own_micros)
}

/// Processor time of a process and all children it ever had.
pub(super) fn family_micros(pid: u32) -> Option<u64> {
    let first = stat_of(&pid.to_string())?;
    let mut sum = first.own_micros.checked_add(first.ended_micros)?;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let name = entry.file_name();
        let number = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        // One that ended meanwhile is counted by its parent.
        if let Some(stat) = number.and_then(stat_of).filter(|stat| stat.parent == pid) {
            sum = sum.checked_add(stat.own_micros)?.checked_add(stat.ended_micros)?;
        }
    }
    Some(sum)
}

/// Resident memory in KiB.
pub(super) fn resident_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The folder of a running program's file.
pub(super) fn folder_of_program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()?.parent().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 2 3 4 50 25 100 200 20 0 1 0 5 6 7";
        let stat = Stat { parent: 1, own_micros: 750_000, ended_micros: 3_000_000 };
        assert_eq!(read_stat(line), Some(stat));
        assert_eq!(read_stat("7 (a) S 1"), None);
    }
}
