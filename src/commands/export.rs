//! `creditd export ledger|grants|customers`: rows of one snapshot to a file or to standard output.
//!
//! A file is written beside its name and renamed when it is whole: whoever reads it never sees half of one.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use futures_util::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::exports::{Cell, Format, RowWriter, customers, grants, ledger};
use crate::store::Store;
use crate::store::reports::{ReportPeriod, Snapshot};

/// How often the counter on a terminal is drawn anew.
const PROGRESS_TICK: Duration = Duration::from_millis(200);

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportKind {
    /// Every ledger entry of the period, by account and number.
    Ledger,
    /// Every grant posted in the period, with its balance at the period's end.
    Grants,
    /// Account and the app's customer id, of everyone not erased.
    Customers,
}

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// Comma separated, with a header line.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Arguments of `creditd export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// What is exported.
    #[arg(value_enum)]
    pub kind: ExportKind,
    /// How it is written.
    #[arg(long, value_enum, default_value = "csv")]
    pub format: ExportFormat,
    /// Start of the period, inclusive: a UTC day such as 2026-11-01, or an RFC 3339 time. Absent: from the beginning.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<Timestamp>,
    /// End of the period, exclusive, in the same forms. Absent: until now.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<Timestamp>,
    /// Adds what can be erased, as last columns: the app's customer id, and a grant's reason.
    #[arg(long)]
    pub names: bool,
    /// The file, replaced as a whole. Absent: standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments that make no sense together: bad usage, exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportUsageError {
    /// The period is empty.
    #[error("--from {from} is not before --to {to}: the period [from, to) would be empty")]
    EmptyPeriod {
        /// Its start.
        from: Timestamp,
        /// Its end.
        to: Timestamp,
    },
    /// The look-up file has no period and always has names.
    #[error("`export customers` lists everyone as of now: it takes no --from, --to or --names")]
    CustomersTakeNoPeriod,
}

/// Reads a UTC day (its start) or an RFC 3339 time.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let whole_day = || text.parse::<Date>().ok().filter(|_| text.len() == 10);
    if let Some(day) = whole_day() {
        return day.to_zoned(TimeZone::UTC).map(|start| start.timestamp()).map_err(|error| error.to_string());
    }
    text.parse().map_err(|_| "has to be a day such as 2026-11-01 or an RFC 3339 time with its offset".to_owned())
}

/// Runs the export. `out` is standard output, used when no file is named. Bad usage is an [`ExportUsageError`].
pub async fn run(store: &Store, args: &ExportArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let period = checked(args)?;
    let rows = match &args.out {
        None => {
            let mut out = BufWriter::new(out);
            let rows = write(store, args, period, &mut out, &ProgressBar::hidden()).await?;
            out.flush()?;
            rows
        }
        Some(path) => to_file(store, args, period, path).await?,
    };
    tracing::info!(kind = ?args.kind, rows, "exported {rows} rows");
    Ok(())
}

fn checked(args: &ExportArgs) -> Result<ReportPeriod, ExportUsageError> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        return Err(ExportUsageError::EmptyPeriod { from, to });
    }
    let has_period = args.from.is_some() || args.to.is_some();
    if args.kind == ExportKind::Customers && (has_period || args.names) {
        return Err(ExportUsageError::CustomersTakeNoPeriod);
    }
    Ok(ReportPeriod { from: args.from, to: args.to })
}

async fn to_file(store: &Store, args: &ExportArgs, period: ReportPeriod, path: &Path) -> anyhow::Result<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into folder {}", folder.display()))?;
    let progress = progress();
    let mut out = BufWriter::new(file);
    let rows = write(store, args, period, &mut out, &progress).await?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(path).with_context(|| format!("cannot replace {}", path.display()))?;
    progress.finish_and_clear();
    Ok(rows)
}

/// A counter on a terminal; elsewhere the log line at the end has to do.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} rows, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(PROGRESS_TICK);
    bar
}

async fn write<W: Write>(
    store: &Store,
    args: &ExportArgs,
    period: ReportPeriod,
    out: W,
    progress: &ProgressBar,
) -> anyhow::Result<u64> {
    let format = match args.format {
        ExportFormat::Csv => Format::Csv,
        ExportFormat::Jsonl => Format::JsonLines,
    };
    let mut snapshot = store.snapshot().await?;
    let columns = match args.kind {
        ExportKind::Ledger => ledger::columns(args.names),
        ExportKind::Grants => grants::columns(args.names),
        ExportKind::Customers => customers::COLUMNS.to_vec(),
    };
    let mut writer = RowWriter::start(format, out, &columns)?;
    let rows = stream(&mut snapshot, args, period, |cells| {
        progress.inc(1);
        writer.row(cells)
    })
    .await?;
    writer.finish()?;
    snapshot.close().await?;
    Ok(rows)
}

/// Hands each row on as it comes: no more than one is in memory.
async fn stream(
    snapshot: &mut Snapshot,
    args: &ExportArgs,
    period: ReportPeriod,
    mut row: impl FnMut(&[Cell<'_>]) -> io::Result<()>,
) -> anyhow::Result<u64> {
    let mut rows: u64 = 0;
    match args.kind {
        ExportKind::Ledger => {
            let mut lines = std::pin::pin!(snapshot.ledger(period));
            while let Some(line) = lines.try_next().await? {
                row(&ledger::cells(&line, args.names))?;
                rows += 1;
            }
        }
        ExportKind::Grants => {
            let mut lots = std::pin::pin!(snapshot.grants(period));
            while let Some(lot) = lots.try_next().await? {
                row(&grants::cells(&lot, args.names))?;
                rows += 1;
            }
        }
        ExportKind::Customers => {
            let mut known = std::pin::pin!(snapshot.customers());
            while let Some((account, customer)) = known.try_next().await? {
                row(&customers::cells(account, &customer))?;
                rows += 1;
            }
        }
    }
    Ok(rows)
}
