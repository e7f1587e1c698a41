//! `creditd verify`: the laws, checked on a live database in one snapshot.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::store::Store;
use crate::store::verify::{SHOWN_MAX, Verification};

/// Arguments of `creditd verify`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct VerifyArgs {
    /// One JSON object instead of tables.
    #[arg(long)]
    pub json: bool,
}

/// What the checks found; exit code 0 or 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Every law holds.
    Holds,
    /// Some row breaks a law.
    Differs,
}

/// Checks every law and prints what was found.
pub async fn run(store: &Store, args: &VerifyArgs, out: &mut dyn Write) -> anyhow::Result<Verdict> {
    let found = store.verify().await?;
    let verdict = if found.differs() { Verdict::Differs } else { Verdict::Holds };
    if args.json {
        let shape =
            serde_json::json!({ "holds": verdict == Verdict::Holds, "checks": found.checks, "totals": found.totals });
        serde_json::to_writer(&mut *out, &shape)?;
        writeln!(out)?;
    } else {
        for_people(&found, out)?;
    }
    out.flush()?;
    Ok(verdict)
}

fn for_people(found: &Verification, out: &mut dyn Write) -> std::io::Result<()> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut table = plain_table(&["check", "examined", "differences", "says"]);
    for check in &found.checks {
        table.add_row([
            Cell::new(check.check),
            right(check.examined.to_string()),
            right(check.differences.to_string()),
            Cell::new(check.says),
        ]);
    }
    writeln!(out, "{table}")?;
    if !found.totals.is_empty() {
        let mut table = plain_table(&["feature", "kind", "credits"]);
        for total in &found.totals {
            for (kind, sum) in &total.by_kind {
                table.add_row([Cell::new(&total.feature), Cell::new(kind), right(sum.clone())]);
            }
            table.add_row([Cell::new(&total.feature), Cell::new("= sum"), right(total.expected.clone())]);
            table.add_row([Cell::new(&total.feature), Cell::new("on grants"), right(total.remaining.clone())]);
        }
        writeln!(out, "\n{table}")?;
    }
    for check in found.checks.iter().filter(|check| check.differences > 0) {
        writeln!(out, "\n{}: {} differ", check.check, check.differences)?;
        for difference in &check.first {
            writeln!(out, "  {}: {}", difference.row, difference.found)?;
        }
        if usize::try_from(check.differences).is_ok_and(|all| all > check.first.len()) {
            writeln!(out, "  .. only the first {SHOWN_MAX} are listed")?;
        }
    }
    writeln!(out, "\n{}", if found.differs() { "differences were found" } else { "every check holds" })
}

fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    // Fixed width: the output of two runs compares line by line, whatever terminal it went to.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}
