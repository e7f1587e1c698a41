//! The reference model: slow and obvious, written from the billing rules, held against the real engine over random
//! histories of grants, payments, usage, holds, limits, refunds and time.
//!
//! `words` is the language of histories; `reference` with `burning`, `metering`, `money` and `picture` is the model;
//! `engine` puts the same steps to `domain::decide` through `store`, which reads and writes no more than posting would;
//! `histories` throws the dice; `agree` compares every answer and, after every step, everything that can be seen.
//!
//! `cargo test` runs [`HISTORIES`] of them; `CREDITD_TEST_HISTORIES` says how many, `CREDITD_TEST_SEED` from which seed on
//! (a difference names its seed; with a count of 1 that one runs alone). `tests/long/histories.sh` runs an optimised build
//! over millions; `.ci/run` a hundred thousand of them.

mod agree;
mod burning;
mod engine;
mod exact;
mod found;
mod histories;
mod metering;
mod money;
mod picture;
mod reference;
mod rollover;
mod store;
mod words;

use std::sync::atomic::{AtomicU64, Ordering};

/// Histories of one run of `cargo test`.
const HISTORIES: u64 = 1_000;
/// After how many histories a run says how far it is.
const PROGRESS: u64 = 10_000;
/// Threads at most: what one runs is all in memory.
const THREADS_MAX: usize = 8;

/// Does the engine roll credits over, and count the periods that an account slept through as if each had been booked on
/// time, those that repay a debt too? Until then nothing rolls over here, and an account that owes is woken for each.
const RENEWALS_ARE_WHOLE: bool = true;

fn number(name: &str) -> Option<u64> {
    let text = creditd::config::process_environment(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} has to be a number, not {text:?}")))
}

#[test]
fn the_engine_agrees_with_the_model() {
    let first = number("CREDITD_TEST_SEED").unwrap_or(0);
    let count = number("CREDITD_TEST_HISTORIES").unwrap_or(HISTORIES);
    let (next, steps) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).min(THREADS_MAX);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    match agree::agree(first + number) {
                        Ok(done) => drop(steps.fetch_add(done as u64, Ordering::Relaxed)),
                        Err(difference) => {
                            next.store(count, Ordering::Relaxed);
                            panic!("after {number} histories that agree: {difference}");
                        }
                    }
                    if number > 0 && number.is_multiple_of(PROGRESS) {
                        println!("{number} of {count} histories from seed {first}");
                    }
                }
            });
        }
    });
    println!("{count} histories from seed {first}, {} steps: model and engine agree", steps.into_inner());
}
