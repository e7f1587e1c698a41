//! Time, injected. The one file that may ask the machine what time it is.
//!
//! Ledger time never comes from here: posting takes it from the database after its lock (rule 27). This clock serves
//! signature tolerance, tokens, intervals and everything that never reaches an amount.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// Something that knows the time. Cheap to clone, safe to share.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    /// Microseconds of the time.
    Manual(Arc<AtomicI64>),
    /// Microseconds by which it is ahead of the machine's clock.
    Shifted(Arc<AtomicI64>),
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

    /// The machine's clock, ahead by an offset that only grows. Clones share the offset.
    pub fn shifted(offset: SignedDuration) -> Self {
        let micros = i64::try_from(offset.as_micros()).unwrap_or(i64::MAX).max(0);
        Self(Source::Shifted(Arc::new(AtomicI64::new(micros))))
    }

    /// The time now, to the microsecond (what Postgres keeps).
    pub fn now(&self) -> Timestamp {
        let micros = match &self.0 {
            Source::System => machine_micros(),
            Source::Manual(micros) => micros.load(Ordering::SeqCst),
            Source::Shifted(ahead) => machine_micros().saturating_add(ahead.load(Ordering::SeqCst)),
        };
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// Moves a manual clock, back too; every other clock answers `false`.
    #[must_use]
    pub fn set(&self, now: Timestamp) -> bool {
        match &self.0 {
            Source::System | Source::Shifted(_) => false,
            Source::Manual(micros) => {
                micros.store(now.as_microsecond(), Ordering::SeqCst);
                true
            }
        }
    }

    /// Moves a manual or shifted clock forward to a time; one that is there or further stays where it is. Gives whether
    /// the clock has reached that time: the machine's own clock is never moved.
    #[must_use]
    pub fn advance_to(&self, to: Timestamp) -> bool {
        match &self.0 {
            Source::System => {}
            Source::Manual(micros) => {
                micros.fetch_max(to.as_microsecond(), Ordering::SeqCst);
            }
            Source::Shifted(ahead) => {
                ahead.fetch_max(to.as_microsecond().saturating_sub(machine_micros()), Ordering::SeqCst);
            }
        }
        self.now() >= to
    }

    /// Raises the offset of a shifted clock; a smaller one leaves it as it is. Any other clock answers `false`.
    #[must_use]
    pub fn raise_offset(&self, offset: SignedDuration) -> bool {
        let Source::Shifted(ahead) = &self.0 else { return false };
        ahead.fetch_max(i64::try_from(offset.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        true
    }

    /// How far the clock is ahead of the machine's; zero unless it is shifted.
    pub fn offset(&self) -> SignedDuration {
        match &self.0 {
            Source::System | Source::Manual(_) => SignedDuration::ZERO,
            Source::Shifted(ahead) => SignedDuration::from_micros(ahead.load(Ordering::SeqCst)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the file that may ask")]
fn machine_micros() -> i64 {
    Timestamp::now().as_microsecond()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_clock_goes_forward_only_and_its_clones_with_it() {
        let clock = Clock::shifted(SignedDuration::from_secs(100));
        let clone = clock.clone();
        assert_eq!(clock.offset(), SignedDuration::from_secs(100));
        assert!(clock.raise_offset(SignedDuration::from_secs(50)), "taken, and without effect");
        assert_eq!(clone.offset(), SignedDuration::from_secs(100));
        let later = clock.now() + SignedDuration::from_hours(1);
        assert!(clock.advance_to(later) && clone.now() >= later);
        let offset = clock.offset();
        assert!(clock.advance_to(later - SignedDuration::from_hours(2)), "that time has passed");
        assert_eq!(clone.offset(), offset);
        assert!(!clock.set(later), "only a manual clock is set");
        assert_eq!(Clock::shifted(SignedDuration::from_secs(-5)).offset(), SignedDuration::ZERO);
    }

    #[test]
    fn the_machines_clock_is_never_moved() {
        let clock = Clock::system();
        assert!(!clock.advance_to(clock.now() + SignedDuration::from_hours(1)));
        assert!(clock.advance_to(clock.now() - SignedDuration::from_hours(1)));
        assert!(!clock.raise_offset(SignedDuration::from_secs(1)));
        assert_eq!(clock.offset(), SignedDuration::ZERO);
    }

    #[test]
    fn a_manual_clock_stands_still_between_its_moves() {
        let start = Timestamp::UNIX_EPOCH;
        let clock = Clock::manual(start);
        let later = start + SignedDuration::from_secs(9);
        assert!(clock.advance_to(later) && clock.advance_to(start));
        assert_eq!(clock.now(), later);
        assert!(clock.set(start), "set goes back too");
        assert_eq!(clock.now(), start);
    }
}
