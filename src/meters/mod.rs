//! What is counted and timed while creditd runs, for `GET /metrics`.
//!
//! # Flow
//! A room names a family of [`list`] where something happens: `meters::COMMANDS.add(&["track", "applied", "none"])`.
//! Counters and histograms live in one registry of the process ([`cells`]), shared by every daemon in it; what is a fact
//! of the moment (the database's queues, the process's memory) is read when it is asked for and written as text
//! ([`facts`], [`process`]), so nothing stale is ever shown.
//!
//! # Always true
//! A label's value comes from a list that is known before the first request: whatever else is named is counted as
//! `other`. So no id, amount, address or text of a caller can get into a metric, and the number of series is bounded.
//! Counting takes no lock and allocates nothing once a series is there.

pub mod cells;
pub mod facts;
pub mod list;
pub mod process;

use std::sync::LazyLock;

use self::cells::{Counters, Gauge, Histograms};

/// Deliveries, by what became of them.
pub static WEBHOOK_DELIVERIES: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::WEBHOOK_DELIVERIES));
/// Deliveries believed, by the type of their event.
pub static STRIPE_EVENTS_RECEIVED: LazyLock<Counters> =
    LazyLock::new(|| Counters::of(&list::STRIPE_EVENTS_RECEIVED, &[]));
/// Times an event was worked on, by how that ended.
pub static STRIPE_EVENTS_WORKED: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::STRIPE_EVENTS_WORKED));
/// What came of the charger's steps.
pub static CHARGER_OUTCOMES: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::CHARGER_OUTCOMES));
/// Questions asked of Stripe, by how they were answered.
pub static STRIPE_QUESTIONS: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::STRIPE_QUESTIONS));
/// Events that catch-up listed, by whether they were known.
pub static CATCH_UP_EVENTS: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::CATCH_UP_EVENTS));
/// Rounds of catch-up, by how they ended.
pub static CATCH_UP_ROUNDS: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::CATCH_UP_ROUNDS));
/// Commands answered, by kind, outcome and code.
pub static COMMANDS: LazyLock<Counters> = LazyLock::new(|| Counters::of(&list::COMMANDS, &[]));
/// Commands whose callers wait.
pub static COMMANDS_WAITING: LazyLock<Gauge> = LazyLock::new(|| Gauge::of(&list::COMMANDS_WAITING));
/// Commands of one transaction.
pub static BATCH_COMMANDS: LazyLock<Histograms> = LazyLock::new(|| Histograms::of(&list::BATCH_COMMANDS, &[]));
/// How long commits took.
pub static COMMIT_SECONDS: LazyLock<Histograms> = LazyLock::new(|| Histograms::of(&list::COMMIT_SECONDS, &[]));
/// Reads answered, by outcome.
pub static READS: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::READS));
/// Reads whose callers wait.
pub static READS_WAITING: LazyLock<Gauge> = LazyLock::new(|| Gauge::of(&list::READS_WAITING));
/// Accounts of one read.
pub static READ_ACCOUNTS: LazyLock<Histograms> = LazyLock::new(|| Histograms::of(&list::READ_ACCOUNTS, &[]));
/// How long reads took.
pub static READ_SECONDS: LazyLock<Histograms> = LazyLock::new(|| Histograms::of(&list::READ_SECONDS, &[]));
/// Requests under way.
pub static REQUESTS_IN_FLIGHT: LazyLock<Gauge> = LazyLock::new(|| Gauge::of(&list::REQUESTS_IN_FLIGHT));
/// Connections of clients.
pub static CONNECTIONS_OPEN: LazyLock<Gauge> = LazyLock::new(|| Gauge::of(&list::CONNECTIONS_OPEN));
/// Connections that ended, by how.
pub static CONNECTIONS_ENDED: LazyLock<Counters> = LazyLock::new(|| Counters::all(&list::CONNECTIONS_ENDED));

/// Makes the series whose first value is zero, so that a rate sees the first thing that happens.
pub fn prepare() {
    for counters in [
        &WEBHOOK_DELIVERIES,
        &STRIPE_EVENTS_WORKED,
        &CHARGER_OUTCOMES,
        &STRIPE_QUESTIONS,
        &CATCH_UP_EVENTS,
        &CATCH_UP_ROUNDS,
        &READS,
        &CONNECTIONS_ENDED,
    ] {
        LazyLock::force(counters);
    }
    for gauge in [&COMMANDS_WAITING, &READS_WAITING, &REQUESTS_IN_FLIGHT, &CONNECTIONS_OPEN] {
        LazyLock::force(gauge);
    }
}
