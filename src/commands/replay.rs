//! `creditd replay`: what a stored event means, what is booked of it, and working on it once more.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::Usage;
use super::daemon::money_back;
use super::serve::stripe_client;
use crate::config::Config;
use crate::posting::Posting;
use crate::store::Store;
use crate::store::event_intake::EventIntake;
use crate::workers::inbox::{InboxWorker, Turns};
use crate::workers::replay::{Applied, Meaning, Replayed};

/// Events read at once with --since.
const PAGE: i64 = 256;

/// Arguments of `creditd replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The event (evt_..).
    #[arg(required_unless_present = "since", conflicts_with = "since")]
    pub event: Option<String>,
    /// All events stored after this time, oldest first, such as 2026-11-01T00:00:00Z.
    #[arg(long)]
    pub since: Option<String>,
    /// Work on it once more, whatever has become of it; what was booked before is not booked again.
    #[arg(long)]
    pub apply: bool,
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
}

/// The worker a command works with: the same as the daemon's, without its rounds.
pub async fn worker(store: &Store, posting: &Posting, config: &Config) -> anyhow::Result<InboxWorker> {
    let instance = store.instance().await?.context("this database has never been served: run `creditd serve` first")?;
    Ok(InboxWorker {
        store: store.clone(),
        posting: posting.clone(),
        stripe: stripe_client(config)?,
        turns: Turns::new(EventIntake::start(store)),
        wake: Arc::new(Notify::new()),
        cutover_at: config.stripe.cutover_at.or(instance.cutover_at),
        grant_free_checkouts: config.stripe.grant_free_checkouts,
        park_unknown_prices: config.stripe.park_unknown_prices,
        money_back: money_back(config.stripe.money_back),
        beat: Arc::new(|| {}),
    })
}

/// Shows, and with --apply works on, one event or all since a time.
pub async fn run(store: &Store, config: &Config, args: &ReplayArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let since = args.since.as_deref().map(|text| time("--since", text)).transpose()?;
    let posting = Posting::start(store);
    let worker = worker(store, &posting, config).await;
    let done = match worker {
        Ok(worker) => replay(&worker, args, since, out).await,
        Err(error) => Err(error),
    };
    posting.shut_down().await;
    done
}

/// A time of the command line.
pub fn time(name: &str, text: &str) -> Result<Timestamp, Usage> {
    let read = text.parse::<Timestamp>().ok().filter(|time| *time >= Timestamp::UNIX_EPOCH);
    read.ok_or_else(|| Usage(format!("{name} {text}: has to be a time such as 2026-11-01T00:00:00Z")))
}

async fn replay(
    worker: &InboxWorker,
    args: &ReplayArgs,
    since: Option<Timestamp>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if let Some(event) = &args.event {
        let seen = look(worker, event, args.apply).await?;
        let seen =
            seen.ok_or_else(|| Usage(format!("no event {event} is stored; `creditd reconcile` lists Stripe's")))?;
        return show(&seen, args.json, out);
    }
    let since = since.unwrap_or(Timestamp::UNIX_EPOCH);
    let (mut after, mut count) = (None::<String>, 0_u64);
    loop {
        let page = worker.store.events_since(since, after.as_deref(), PAGE).await?;
        for event in &page {
            if let Some(seen) = look(worker, event, args.apply).await? {
                show(&seen, args.json, out)?;
                count += 1;
            }
        }
        after = page.last().cloned();
        // Whatever the page's length: an event stored meanwhile is taken too, and an empty page is the end.
        if page.is_empty() {
            break;
        }
    }
    if !args.json {
        writeln!(out, "{count} events")?;
    }
    Ok(())
}

async fn look(worker: &InboxWorker, event: &str, apply: bool) -> anyhow::Result<Option<Replayed>> {
    Ok(if apply { worker.apply_again(event).await? } else { worker.look_again(event).await? })
}

fn show(seen: &Replayed, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, &seen.to_json())?;
        writeln!(out)?;
    } else {
        for_people(seen, out)?;
    }
    Ok(())
}

fn for_people(seen: &Replayed, out: &mut dyn Write) -> std::io::Result<()> {
    let event = &seen.event;
    let why = |reason: Option<&str>, detail: Option<&str>| match (reason, detail) {
        (Some(reason), Some(detail)) => format!(" ({reason}: {detail})"),
        (Some(one), None) | (None, Some(one)) => format!(" ({one})"),
        (None, None) => String::new(),
    };
    writeln!(out, "{}  {}  created {}", event.id, event.event_type, event.created_at)?;
    let stands = why(event.reason.as_deref(), event.detail.as_deref());
    writeln!(out, "  state    {}{stands}", event.state.word())?;
    for (request, status) in &seen.inputs {
        writeln!(out, "  input    {status} {request}")?;
    }
    match &seen.meaning {
        Meaning::Act(commands) => {
            for command in commands {
                writeln!(out, "  command  {}", compact(command))?;
            }
        }
        Meaning::Ignore(reason) => writeln!(out, "  meaning  ignore{}", why(Some(reason.code), Some(&reason.detail)))?,
        Meaning::Park(reason) => writeln!(out, "  meaning  park{}", why(Some(reason.code), Some(&reason.detail)))?,
        Meaning::Ask(asks) => writeln!(out, "  meaning  Stripe has to be asked first: {}", asks.join(", "))?,
        Meaning::Forgotten => writeln!(out, "  meaning  its body is forgotten")?,
    }
    for payment in &seen.payments {
        let customer = payment.customer.as_deref().unwrap_or("(erased)");
        writeln!(out, "  booked   {} of {customer}, {}", payment.payment, payment.status)?;
        for grant in &payment.grants {
            let (left, all) = (grant.remaining, grant.original);
            writeln!(out, "  booked   {} {all} {}, {left} left", grant.grant, grant.feature)?;
        }
    }
    for plan in &seen.plans {
        let until = plan.paid_through.map_or_else(String::new, |until| format!(", paid until {until}"));
        writeln!(out, "  booked   plan {} x {}, {}{until}", plan.plan, plan.quantity, plan.state)?;
    }
    match seen.applied {
        None => Ok(()),
        Some(Applied::Worked(tally)) => {
            let (applied, repeated) = (tally.applied, tally.repeated);
            writeln!(out, "  applied  {applied} commands applied, {repeated} had been applied before")
        }
        Some(Applied::Busy) => writeln!(out, "  applied  no: a worker is at it at this moment"),
        Some(Applied::Refused) => writeln!(out, "  applied  no: it has no business here, or its body is forgotten"),
    }
}

/// A command on one line, its name first.
fn compact(command: &Value) -> String {
    let name = command["command"].as_str().unwrap_or_default();
    let rest = command.as_object().into_iter().flatten().filter(|(key, value)| *key != "command" && !value.is_null());
    let rest: Vec<String> = rest.map(|(key, value)| format!("{key}={value}")).collect();
    format!("{name} {}", rest.join(" "))
}
