//! Time, injected. The one file that may ask the machine what time it is.
//!
//! Ledger time never comes from here: posting takes it from the database after its lock (rule 27). This clock serves
//! signature tolerance, tokens, intervals and everything that never reaches an amount.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use uuid::Uuid;

/// Something that knows the time. Cheap to clone, safe to share.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::set`] moves it.
    pub fn manual(now: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(now.as_microsecond()))))
    }

    /// The time now, to the microsecond (what Postgres keeps).
    #[expect(clippy::disallowed_methods, reason = "this is the file that may ask")]
    pub fn now(&self) -> Timestamp {
        let micros = match &self.0 {
            Source::System => Timestamp::now().as_microsecond(),
            Source::Manual(micros) => micros.load(Ordering::SeqCst),
        };
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// Moves a manual clock; the system's clock is never set and answers `false`.
    #[must_use]
    pub fn set(&self, now: Timestamp) -> bool {
        match &self.0 {
            Source::System => false,
            Source::Manual(micros) => {
                micros.store(now.as_microsecond(), Ordering::SeqCst);
                true
            }
        }
    }
}

/// A monotonic instant, for durations that are logged or bounded, never stored.
#[expect(clippy::disallowed_methods, reason = "this is the file that may ask")]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// A new time-ordered id (UUID version 7, RFC 9562), unique across processes by its 74 random bits.
#[expect(clippy::disallowed_methods, reason = "this is the file that may ask")]
pub fn fresh_uuid() -> Uuid {
    Uuid::now_v7()
}
