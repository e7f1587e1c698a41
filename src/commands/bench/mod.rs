//! `creditd bench`: how fast it is on this machine, side by side with what it replaces.
//!
//! The flow: an embedded Postgres (or a database that is named), the daemon as a process of its own, customers with
//! credits; then rounds, in each of which every measure runs once, so that what else the machine does touches all alike;
//! then the counts. `load` asks, `naive` runs pgbench, `node` the Node server, `top_up` runs the charger, `process` reads `/proc`, `figures` makes
//! medians and ratios, `report` shows them.
//!
//! Always true: the daemon is the same binary's `serve`, configured as anyone would; what was acknowledged is counted
//! against the ledger, and a difference is exit code 3; there are no floats.

mod figures;
mod load;
mod naive;
mod node;
mod process;
mod report;
mod requests;
mod stage;
mod top_up;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::figures::{Figure, Round, ratios};
use self::naive::Script;
use self::report::Report;
use self::requests::Kind;
use self::stage::Stage;
use super::Exit;
use super::daemon::told_to_stop;
use crate::config::Config;

/// The names of all measures, as `--only` takes them.
const NAMES: [&str; 15] = [
    "hello",
    "check",
    "check-explain",
    "track-spread-few",
    "naive-spread-few",
    "track-spread",
    "naive-spread",
    "track-spread-wide",
    "track-hot",
    "naive-hot",
    "webhooks",
    "node-webhooks",
    "commit",
    "top-up",
    "top-up-stripe",
];
/// How much fewer clients a quick run has.
const QUICK_DIVISOR: usize = 16;
/// How long a quick run's measures take.
const QUICK_LENGTH: Duration = Duration::from_millis(300);

/// How to run it.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// How often each measure runs; figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of each measure in each round.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Only these measures, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(NAMES))]
    pub only: Vec<String>,
    /// Writes the same numbers to this file, as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// A database to measure on; one without customers, which is filled and left so [default: an embedded one].
    #[arg(long)]
    pub database_url: Option<String>,
    /// A `node_modules` folder with the packages `stripe` and `pg` [default: npm installs them into a temporary folder].
    #[arg(long)]
    pub node_modules: Option<PathBuf>,
    /// A moment of everything with few clients: shows that it works, not how fast it is.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "check"])]
    pub quick: bool,
    /// Exit with 3 when a bar that was measured does not hold.
    #[arg(long)]
    pub check: bool,
}

impl BenchArgs {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    fn length(&self) -> Duration {
        if self.quick { QUICK_LENGTH } else { Duration::from_secs(u64::from(self.seconds)) }
    }

    fn measures(&self) -> Vec<Measure> {
        let mut measures: Vec<Measure> = NAMES.into_iter().filter(|name| self.wants(name)).map(measure).collect();
        if self.quick {
            for measure in measures.iter_mut().filter(|measure| measure.clients > 1) {
                measure.clients = measure.clients.div_euclid(QUICK_DIVISOR).max(2);
            }
        }
        measures
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
struct Measure {
    name: &'static str,
    clients: usize,
    how: How,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The daemon.
    Daemon(Kind),
    /// Postgres, by pgbench.
    Pgbench(Script),
    /// The Node server.
    Node,
    /// The charger in this process, with a simulated Stripe.
    TopUp,
    /// That simulated Stripe alone.
    Stripe,
}

fn measure(name: &'static str) -> Measure {
    let (clients, how) = match name {
        "hello" => (64, How::Daemon(Kind::Hello)),
        "check" => (64, How::Daemon(Kind::Check)),
        "check-explain" => (64, How::Daemon(Kind::Explain)),
        "track-spread-few" => (8, How::Daemon(Kind::Spread)),
        "naive-spread-few" => (8, How::Pgbench(Script::Spread)),
        "track-spread" => (64, How::Daemon(Kind::Spread)),
        "naive-spread" => (64, How::Pgbench(Script::Spread)),
        "track-hot" => (64, How::Daemon(Kind::Hot)),
        "naive-hot" => (64, How::Pgbench(Script::Hot)),
        "webhooks" => (64, How::Daemon(Kind::Webhook)),
        "node-webhooks" => (64, How::Node),
        "commit" => (1, How::Pgbench(Script::Commit)),
        "top-up" => (1, How::TopUp),
        "top-up-stripe" => (1, How::Stripe),
        _wide => (256, How::Daemon(Kind::Spread)),
    };
    Measure { name, clients, how }
}

/// Measures and tells; a signal ends it early, and what was started ends with it.
pub async fn run(config: Config, args: BenchArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    tokio::select! {
        ended = measured(&config, &args, out) => ended,
        () = told_to_stop() => bail!("stopped before the end"),
    }
}

async fn measured(config: &Config, args: &BenchArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let measures = args.measures();
    let mut stage = Stage::set(config, args, &measures).await?;
    let mut rounds: Vec<Vec<Round>> = measures.iter().map(|_| Vec::new()).collect();
    let progress = Progress::begin(measures.len(), args.rounds());
    for number in 0..args.rounds() {
        for (measure, rounds) in measures.iter().zip(&mut rounds) {
            progress.tell(number, measure.name);
            if let Some(round) = stage.round(*measure, number, args.length()).await? {
                if let Some(trouble) = &round.load.trouble {
                    progress.say(&format!("{}: {trouble}", measure.name));
                }
                rounds.push(round);
            }
        }
    }
    progress.end();
    let figures: Vec<Figure> = measures
        .iter()
        .zip(&rounds)
        .filter_map(|(measure, rounds)| Figure::of(measure.name, measure.clients, rounds))
        .collect();
    let (machine, skipped) = (stage.machine().await?, stage.take_skipped());
    let counts = stage.end(&measures, &rounds, out).await?;
    let ratios = if args.quick { Vec::new() } else { ratios(&figures) };
    let report = Report { machine, quick: args.quick, figures, ratios, skipped, counts };
    report.print(out)?;
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    let bad = !report.counts.agree() || (args.check && report.misses_a_bar());
    Ok(if bad { Exit::Differences } else { Exit::Done })
}

/// What is under way: a bar on a terminal, a line for each measure elsewhere.
enum Progress {
    Bar(ProgressBar),
    Lines,
}

impl Progress {
    fn begin(measures: usize, rounds: u32) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let steps = u64::try_from(measures).unwrap_or_default().saturating_mul(u64::from(rounds));
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    fn tell(&self, round: u32, name: &str) {
        let text = format!("round {}: {name}", round.saturating_add(1));
        match self {
            Self::Bar(bar) => {
                bar.inc(1);
                bar.set_message(text);
            }
            Self::Lines => eprintln!("{text}"),
        }
    }

    fn say(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines => eprintln!("{text}"),
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::figures::RESIDENT_AT;
    use super::*;

    #[test]
    fn every_name_is_a_measure_of_its_own() {
        let measures: Vec<Measure> = NAMES.into_iter().map(measure).collect();
        for (place, one) in measures.iter().enumerate() {
            for other in &measures[place + 1..] {
                assert!((one.clients, one.how) != (other.clients, other.how), "{} is {}", one.name, other.name);
            }
        }
        assert_eq!(measure(RESIDENT_AT).clients, 256);
    }
}
