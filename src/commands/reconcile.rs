//! `creditd reconcile`: Stripe compared with the books by hand, and what is missing brought in.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Notify;

use super::{Exit, Usage};
use crate::clock::Clock;
use crate::config::Config;
use crate::inbox::receive::Receiver;
use crate::posting::Posting;
use crate::store::Store;
use crate::store::event_intake::EventIntake;
use crate::stripe::signature::Tolerance;
use crate::workers::catch_up::window_start;
use crate::workers::reconcile::{Progress, Reconciler, Tally};

/// How often the line on a terminal is drawn anew.
const PROGRESS_TICK: Duration = Duration::from_millis(100);

/// Arguments of `creditd reconcile`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReconcileArgs {
    /// Compare objects made since then, such as 2026-11-01T00:00:00Z; without it since the cut-over, else for 30 days.
    /// Events are compared as far as Stripe keeps them, 30 days.
    #[arg(long)]
    pub since: Option<String>,
    /// Store what is missing and work on it; without it nothing is written, and the exit code is 1 when something is
    /// missing.
    #[arg(long)]
    pub repair: bool,
}

/// Compares, prints a table, and says whether something is missing.
pub async fn run(store: &Store, config: &Config, args: &ReconcileArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let since = args.since.as_deref().map(|text| super::replay::time("--since", text)).transpose()?;
    let posting = Posting::start(store);
    let reconciler = reconciler(store, &posting, config, since, args.repair).await;
    let rows = match &reconciler {
        Ok((reconciler, bar)) => {
            let rows = reconciler.run().await;
            bar.finish_and_clear();
            rows.map_err(anyhow::Error::from)
        }
        Err(_) => Ok(Vec::new()),
    };
    posting.shut_down().await;
    let (reconciler, _) = reconciler?;
    let rows = rows?;
    writeln!(out, "Stripe's objects since {}", reconciler.since)?;
    writeln!(out, "{}", table(&rows))?;
    let sum = |of: fn(&Tally) -> u64| -> u64 { rows.iter().map(|(_, tally)| of(tally)).sum() };
    let (missing, repaired) = (sum(|tally| tally.missing), sum(|tally| tally.repaired));
    if missing == 0 {
        writeln!(out, "\nnothing is missing")?;
    } else if args.repair {
        writeln!(
            out,
            "\n{missing} were missing, {repaired} are stored now; the log and `creditd replay` tell of each"
        )?;
    } else {
        writeln!(out, "\n{missing} are missing; `creditd reconcile --repair` brings them in")?;
    }
    if sum(|tally| tally.parked) > 0 {
        // They are stored, so nothing is missing of them, but nothing is booked either.
        writeln!(out, "what is parked is not booked: GET /api/v1/stripe-events?state=parked tells why")?;
    }
    Ok(if missing > 0 && !args.repair { Exit::Missing } else { Exit::Done })
}

async fn reconciler(
    store: &Store,
    posting: &Posting,
    config: &Config,
    since: Option<jiff::Timestamp>,
    repair: bool,
) -> anyhow::Result<(Reconciler, ProgressBar)> {
    let inbox = super::replay::worker(store, posting, config).await?;
    let stripe = inbox.stripe.clone().ok_or_else(|| {
        Usage("STRIPE_SECRET_KEY is not set: Stripe's events and objects cannot be listed without it".to_owned())
    })?;
    let instance = store.instance().await?.context("this database has never been served")?;
    if config.livemode()?.is_some_and(|livemode| livemode != instance.livemode) {
        return Err(Usage("the configuration and the database are of different modes, live and test".to_owned()).into());
    }
    let clock = Clock::system();
    let intake = EventIntake::start(store);
    let wake = Arc::new(Notify::new());
    let receiver = Receiver::new(intake, clock.clone(), Vec::new(), Tolerance::default(), instance.livemode, wake);
    let (bar, progress) = progress();
    let since = since.or(inbox.cutover_at).unwrap_or_else(|| window_start(None, None, clock.now()));
    let api_version = config.stripe.api_version.clone();
    let livemode = instance.livemode;
    Ok((Reconciler { inbox, receiver, stripe, clock, api_version, livemode, since, repair, progress }, bar))
}

/// A line on a terminal; elsewhere one in the log for every page.
fn progress() -> (ProgressBar, Progress) {
    if !std::io::stderr().is_terminal() {
        let progress = |what: &'static str, found: u64| tracing::info!(what, found, "comparing with Stripe");
        return (ProgressBar::hidden(), Arc::new(progress));
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos}, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(PROGRESS_TICK);
    let of_progress = bar.clone();
    let progress = move |what: &'static str, found: u64| {
        of_progress.set_message(what);
        of_progress.set_position(found);
    };
    (bar, Arc::new(progress))
}

fn table(rows: &[(&'static str, Tally)]) -> Table {
    let mut table = Table::new();
    // Fixed width, as in verify: the output of two runs compares line by line.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["what", "found", "known", "missing", "before cut-over", "not ours", "parked", "repaired"]);
    for (what, tally) in rows {
        let mut cells = vec![Cell::new(what)];
        let Tally { found, known, missing, before_cutover, not_ours, parked, repaired } = *tally;
        for count in [found, known, missing, before_cutover, not_ours, parked, repaired] {
            cells.push(Cell::new(count).set_alignment(CellAlignment::Right));
        }
        table.add_row(cells);
    }
    table
}
