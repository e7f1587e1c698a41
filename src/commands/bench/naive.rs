//! What is compared with: pgbench, doing one transaction for each event, as a backend without creditd would.
//!
//! pgbench speaks as it does by itself (the simple protocol), and logs each transaction's time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use super::figures::percentile;
use super::load::Load;
use crate::config::process_environment;

const SCHEMA: &str = include_str!("../../../benches/naive/schema.sql");
const SPREAD: &str = include_str!("../../../benches/naive/spread.sql");
const HOT: &str = include_str!("../../../benches/naive/hot.sql");
const COMMIT: &str = include_str!("../../../benches/naive/commit.sql");
/// Longest that a run may take beyond its own time: 64 transactions waiting for one row take less than a second.
const GRACE: Duration = Duration::from_mins(1);
/// More threads only take processors from Postgres.
const THREADS_MAX: usize = 2;

/// What pgbench runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Each event on any customer.
    Spread,
    /// Every event on one customer.
    Hot,
    /// One row for each transaction.
    Commit,
}

/// A pgbench that was found, and the database it works on.
pub(super) struct Pgbench {
    program: PathBuf,
    folder: PathBuf,
    address: String,
    password: Option<String>,
    /// As it says itself.
    pub(super) version: String,
}

impl Pgbench {
    /// Looks beside the server's programs, then along the PATH; the error says why it cannot be used.
    pub(super) async fn find(beside: Option<PathBuf>, folder: &Path, database_url: &str) -> Result<Self, String> {
        let path = process_environment("PATH").unwrap_or_default();
        let mut why =
            "pgbench is not here; it comes with Postgres (Debian: postgresql, others: postgresql-contrib)".to_owned();
        for place in beside.into_iter().chain(std::env::split_paths(&path)) {
            let program = place.join("pgbench");
            if !program.exists() {
                continue;
            }
            match Command::new(&program).arg("--version").output().await {
                Ok(said) if said.status.success() => {
                    let (address, password) = without_password(database_url);
                    let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
                    return Ok(Self { program, folder: folder.to_owned(), address, password, version });
                }
                Ok(said) => why = format!("{}: {}", program.display(), String::from_utf8_lossy(&said.stderr).trim()),
                Err(error) => why = format!("{}: {error}", program.display()),
            }
        }
        Err(why)
    }

    /// Makes the naive tables.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        let file = self.file("schema.sql", SCHEMA)?;
        self.output(&["--no-vacuum", "--transactions=1", "--file", &file], GRACE).await?;
        Ok(())
    }

    /// Runs a script for this long, rounded up to whole seconds, which is all that pgbench knows.
    pub(super) async fn run(&self, script: Script, clients: usize, length: Duration) -> anyhow::Result<Load> {
        let (name, text) = match script {
            Script::Spread => ("spread.sql", SPREAD),
            Script::Hot => ("hot.sql", HOT),
            Script::Commit => ("commit.sql", COMMIT),
        };
        let file = self.file(name, text)?;
        let prefix = self.folder.join("pgbench_log");
        let seconds = length.as_millis().div_ceil(1_000).max(1);
        let (time, clients_argument) = (format!("--time={seconds}"), format!("--client={clients}"));
        let (threads, prefix_argument) =
            (format!("--jobs={}", clients.min(THREADS_MAX)), format!("--log-prefix={}", prefix.display()));
        let arguments = ["--no-vacuum", "--log", &time, &clients_argument, &threads, &prefix_argument, "--file", &file];
        let said = self.output(&arguments, length.saturating_add(GRACE)).await?;
        let per_second = tps(&said).with_context(|| format!("pgbench said no rate: {said}"))?;
        let mut latencies = self.take_log()?;
        latencies.sort_unstable();
        let acknowledged = u64::try_from(latencies.len())?;
        Ok(Load {
            // pgbench's own rate leaves out the time to connect, which belongs to no transaction.
            elapsed_micros: acknowledged.saturating_mul(1_000_000_000).checked_div(per_second).unwrap_or_default(),
            acknowledged,
            p50_micros: percentile(&latencies, 50),
            p99_micros: percentile(&latencies, 99),
            ..Load::default()
        })
    }

    fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        path.to_str().map(str::to_owned).context("the folder for temporary files has a name that is not text")
    }

    async fn output(&self, arguments: &[&str], bound: Duration) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg(&self.address).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password);
        }
        let ended = tokio::time::timeout(bound, command.output()).await.context("pgbench does not end")??;
        ensure!(ended.status.success(), "pgbench: {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr).trim());
        Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
    }

    /// The microseconds of every logged transaction; the files go.
    fn take_log(&self) -> anyhow::Result<Vec<u64>> {
        let mut latencies = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("pgbench_log")) {
                latencies.extend(std::fs::read_to_string(entry.path())?.lines().filter_map(latency));
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(latencies)
    }
}

/// The third column of a line of pgbench's log.
fn latency(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// Transactions a second, in thousandths, of `tps = 123.456789 (without initial connection time)`.
fn tps(said: &str) -> Option<u64> {
    let number = said.lines().find_map(|line| line.strip_prefix("tps = "))?.split(' ').next()?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)
}

/// Arguments of a process can be read by everyone on the machine, so the password of `postgres://user:password@..` goes
/// into its environment.
fn without_password(url: &str) -> (String, Option<String>) {
    let parts = url.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (login, host) = rest.get(..end)?.rsplit_once('@')?;
        let (user, password) = login.split_once(':')?;
        Some((format!("{scheme}://{user}@{host}{}", rest.get(end..)?), percent_decoded(password)))
    });
    parts.map_or_else(|| (url.to_owned(), None), |(address, password)| (address, Some(password)))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let coded = after.get(..2).filter(|_| *first == b'%').and_then(|two| hex::decode(two).ok());
        if let Some(decoded) = coded {
            bytes.extend(decoded);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pgbench_is_read_without_floats() {
        assert_eq!(tps("x\ntps = 3450.1239 (without initial connection time)\n"), Some(3_450_123));
        assert_eq!(tps("tps = 7 ()"), Some(7_000));
        assert_eq!(tps("no rate"), None);
        assert_eq!(latency("0 199 2241 0 1175850568 995598 1020"), Some(2_241));
    }

    #[test]
    fn a_password_leaves_the_address() {
        let (address, password) = without_password("postgres://ada:a%40b@db:5433/x?sslmode=require");
        assert_eq!(address, "postgres://ada@db:5433/x?sslmode=require");
        assert_eq!(password.as_deref(), Some("a@b"));
        let plain = "postgres://postgres@localhost:5432/creditd?host=/run/a";
        assert_eq!(without_password(plain), (plain.to_owned(), None));
    }
}
