//! What was measured, as tables for people and as JSON.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::figures::{Figure, Ratio};

/// Everything a run found; the JSON file is this.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) quick: bool,
    pub(super) figures: Vec<Figure>,
    pub(super) ratios: Vec<Ratio>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) counts: Counts,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "facts that are told, not states of anything")]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) kernel: Option<String>,
    pub(super) creditd: &'static str,
    pub(super) debug_build: bool,
    /// `server_version_num`.
    pub(super) postgres: i32,
    pub(super) fsync: bool,
    pub(super) synchronous_commit: bool,
    pub(super) embedded: bool,
    pub(super) pgbench: Option<String>,
    pub(super) node: Option<String>,
}

/// What was not measured, and why.
#[derive(Debug, Serialize)]
pub(super) struct Skipped {
    pub(super) what: &'static str,
    pub(super) why: String,
}

/// What was acknowledged against what the database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) tracks_acknowledged: u64,
    pub(super) tracks_unanswered: u64,
    pub(super) track_keys: u64,
    pub(super) tracks_in_ledger: u64,
    pub(super) webhooks_acknowledged: u64,
    pub(super) webhooks_unanswered: u64,
    pub(super) webhooks_stored: u64,
    pub(super) webhooks_granted: u64,
    pub(super) verify_holds: bool,
}

impl Counts {
    /// Is everything acknowledged there once, and nothing that nobody asked for?
    pub(super) fn agree(&self) -> bool {
        let tracks = self.tracks_acknowledged..=self.tracks_acknowledged.saturating_add(self.tracks_unanswered);
        let webhooks = self.webhooks_acknowledged..=self.webhooks_acknowledged.saturating_add(self.webhooks_unanswered);
        tracks.contains(&self.track_keys)
            && self.tracks_in_ledger == self.track_keys
            && webhooks.contains(&self.webhooks_stored)
            && self.webhooks_granted == self.webhooks_stored
            && self.verify_holds
    }
}

impl Report {
    /// Whether a bar was measured and missed.
    pub(super) fn misses_a_bar(&self) -> bool {
        self.ratios.iter().any(|ratio| ratio.holds == Some(false))
    }

    /// The tables.
    pub(super) fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        let machine = &self.machine;
        let build = if machine.debug_build { ", a debug build" } else { "" };
        let on = |value| if value { "on" } else { "off" };
        writeln!(
            out,
            "creditd {}{build}; {} cores; Postgres {}.{}{}, fsync {}, synchronous_commit {}\n",
            machine.creditd,
            machine.cores,
            machine.postgres.div_euclid(10_000),
            machine.postgres.rem_euclid(10_000),
            if machine.embedded { " (embedded)" } else { "" },
            on(machine.fsync),
            on(machine.synchronous_commit),
        )?;
        writeln!(out, "{}\n", self.figures_table())?;
        // A quick run compares nothing.
        if !self.ratios.is_empty() {
            writeln!(out, "{}\n", self.ratios_table())?;
        }
        for skipped in &self.skipped {
            writeln!(out, "skipped {}: {}", skipped.what, skipped.why)?;
        }
        let counts = &self.counts;
        writeln!(
            out,
            "tracks: {} acknowledged, {} keys, {} in the ledger; webhooks: {} acknowledged, {} stored, {} granted; verify {}",
            counts.tracks_acknowledged,
            counts.track_keys,
            counts.tracks_in_ledger,
            counts.webhooks_acknowledged,
            counts.webhooks_stored,
            counts.webhooks_granted,
            if counts.verify_holds { "holds" } else { "found differences" },
        )?;
        writeln!(out, "{}", if counts.agree() { "the counts agree" } else { "THE COUNTS DO NOT AGREE" })?;
        Ok(())
    }

    fn figures_table(&self) -> Table {
        let mut table = plain(&[
            "measure",
            "clients",
            "per second",
            "p50 ms",
            "p99 ms",
            "server CPU µs",
            "Postgres CPU µs",
            "refused",
        ]);
        for figure in &self.figures {
            table.add_row([
                Cell::new(figure.name),
                right(figure.clients),
                right(figure.per_second),
                right(thousandths(figure.p50_micros)),
                right(thousandths(figure.p99_micros)),
                right(or_dash(figure.server_cpu_micros)),
                right(or_dash(figure.postgres_cpu_micros)),
                right(figure.refused.saturating_add(figure.unanswered)),
            ]);
        }
        table
    }

    fn ratios_table(&self) -> Table {
        let mut table = plain(&["ratio", "value", "bar", "holds"]);
        for ratio in &self.ratios {
            let shown = |value: u64| match ratio.unit {
                "KiB" => format!("{} MiB", value.div_euclid(1_024)),
                _ => thousandths(value),
            };
            let holds = match ratio.holds {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not measured",
            };
            let value = ratio.value.map_or_else(|| "-".to_owned(), shown);
            table.add_row([Cell::new(ratio.name), right(value), right(shown(ratio.bar)), Cell::new(holds)]);
        }
        table
    }
}

fn right(value: impl std::fmt::Display) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

fn or_dash(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `1234` as `1.234`.
fn thousandths(value: u64) -> String {
    format!("{}.{:03}", value.div_euclid(1_000), value.rem_euclid(1_000))
}

fn plain(header: &[&str]) -> Table {
    let mut table = Table::new();
    // Fixed width, as two runs are compared line by line.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Counts = Counts {
        tracks_acknowledged: 10,
        tracks_unanswered: 0,
        track_keys: 10,
        tracks_in_ledger: 10,
        webhooks_acknowledged: 5,
        webhooks_unanswered: 0,
        webhooks_stored: 5,
        webhooks_granted: 5,
        verify_holds: true,
    };

    #[test]
    fn counts_agree_only_when_everything_is_there_once() {
        assert!(GOOD.agree());
        assert!(Counts { tracks_unanswered: 1, track_keys: 11, tracks_in_ledger: 11, ..GOOD }.agree());
        let bad = [
            Counts { track_keys: 9, tracks_in_ledger: 9, ..GOOD },
            Counts { track_keys: 11, tracks_in_ledger: 11, ..GOOD },
            Counts { tracks_in_ledger: 11, ..GOOD },
            Counts { webhooks_stored: 4, webhooks_granted: 4, ..GOOD },
            Counts { webhooks_granted: 6, ..GOOD },
            Counts { verify_holds: false, ..GOOD },
        ];
        for counts in bad {
            assert!(!counts.agree(), "{counts:?}");
        }
    }

    #[test]
    fn thousandths_keep_their_zeros() {
        assert_eq!((thousandths(7), thousandths(12_050)), ("0.007".to_owned(), "12.050".to_owned()));
    }
}
