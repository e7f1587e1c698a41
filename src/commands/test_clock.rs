//! The test clock put together: the database's offset, the daemon's clock and the simulated Stripe go forward as one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use crate::clock::{self, Clock};
use crate::http::test_clock::{Advance, AdvanceError, OffsetOnly, TestClock};
use crate::simulator::Simulator;
use crate::store::Store;
use crate::store::instance::Instance;

/// What one call waits for steps of the simulated Stripe; the caller asks again for the rest.
const PATIENCE: Duration = Duration::from_mins(5);

/// What each step waits for the inbox to work through what was delivered; what takes longer is worked through later.
const INBOX_PATIENCE: Duration = Duration::from_secs(3);
/// How often the inbox is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Called after each move: what waits for time looks again.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The simulated Stripe whose time goes with the daemon's.
#[derive(Clone, Debug)]
pub struct Simulated {
    /// The Stripe.
    pub simulator: Arc<Simulator>,
    /// The clock that it and the daemon share.
    pub clock: Clock,
}

/// Moves everything that lives by the test clock. Each move runs in a task of its own: a client that hangs up leaves
/// no clock behind.
pub struct MovingClock(Arc<Parts>);

struct Parts {
    offset: OffsetOnly,
    simulated: Option<Simulated>,
    wake: Wake,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl MovingClock {
    /// A test clock of a database, perhaps with a simulated Stripe.
    pub fn new(store: Store, simulated: Option<Simulated>, wake: Wake) -> Self {
        let one_at_a_time = tokio::sync::Mutex::default();
        Self(Arc::new(Parts { offset: OffsetOnly(store), simulated, wake, one_at_a_time }))
    }
}

impl Parts {
    async fn move_all(&self, advance: Advance) -> Result<Instance, AdvanceError> {
        let moved = match &self.simulated {
            None => self.offset.move_offset(advance).await,
            Some(simulated) => {
                let _one_at_a_time = self.one_at_a_time.lock().await;
                self.step_through(simulated, advance).await
            }
        };
        (self.wake)();
        moved
    }

    /// From timer to timer of the simulated Stripe: the database's time first, then what Stripe does then, so that each
    /// event is delivered at its time.
    async fn step_through(&self, simulated: &Simulated, advance: Advance) -> Result<Instance, AdvanceError> {
        let started = clock::instant();
        let instance = self.offset.0.instance().await?.ok_or(AdvanceError::Refused)?;
        let mut now = instance.now;
        let mut left = match advance {
            Advance::By(seconds) => seconds,
            Advance::To(to) => seconds_up(now, to),
        };
        // Each round reaches the timer or the end, and a timer that fired is gone.
        while let Some(next) = simulated.simulator.next_timer().filter(|next| seconds_up(now, *next) < left) {
            if started.elapsed() >= PATIENCE {
                return Err(AdvanceError::Unfinished { reached: now });
            }
            let seconds = seconds_up(now, next);
            now = self.reach(simulated, Advance::By(seconds), next).await?.now;
            left = left.saturating_sub(seconds);
        }
        let rest = match advance {
            Advance::By(_) => Advance::By(left),
            Advance::To(to) => Advance::To(to),
        };
        let end = self.offset.move_offset(rest).await?;
        self.follow(simulated, &end, end.now).await?;
        Ok(end)
    }

    async fn reach(&self, simulated: &Simulated, step: Advance, timer: Timestamp) -> Result<Instance, AdvanceError> {
        let moved = self.offset.move_offset(step).await?;
        self.follow(simulated, &moved, timer).await?;
        Ok(moved)
    }

    /// The shared clock and Stripe go where the database is.
    async fn follow(&self, simulated: &Simulated, moved: &Instance, to: Timestamp) -> Result<(), AdvanceError> {
        if !simulated.clock.raise_offset(SignedDuration::from_secs(moved.test_offset_seconds)) {
            return Err(AdvanceError::Simulator("its clock is not a shifted one".to_owned()));
        }
        let went = simulated.simulator.advance_to(to).await;
        went.map_err(|error| AdvanceError::Simulator(error.to_string()))?;
        (self.wake)();
        self.wait_for_inbox().await
    }

    /// Waits, within a bound, until what was delivered is worked through: at the time at which it happened, and while
    /// Stripe still answers as it did then. Overage has an hour to get onto a draft, which would pass in no time.
    async fn wait_for_inbox(&self) -> Result<(), AdvanceError> {
        let (started, store) = (clock::instant(), &self.offset.0);
        while started.elapsed() < INBOX_PATIENCE {
            if store.count_due_events().await? == 0 {
                if store.count_due_bills().await? == 0 {
                    break;
                }
                (self.wake)();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// Whole seconds from one time to another, rounded up; zero if that has passed.
fn seconds_up(from: Timestamp, to: Timestamp) -> i64 {
    let ahead = to.duration_since(from);
    let more = i64::from(ahead.subsec_nanos() > 0);
    ahead.as_secs().saturating_add(more).max(0)
}

impl TestClock for MovingClock {
    fn advance(&self, advance: Advance) -> BoxFuture<'_, Result<Instance, AdvanceError>> {
        let parts = self.0.clone();
        Box::pin(async move {
            let moving = tokio::spawn(async move { parts.move_all(advance).await });
            moving.await.unwrap_or_else(|_| Err(AdvanceError::Simulator("the moving task ended".to_owned())))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up_and_never_negative() {
        let from: Timestamp = "2026-01-01T00:00:00.5Z".parse().unwrap();
        for (to, seconds) in [
            ("2026-01-01T00:00:00.5Z", 0),
            ("2026-01-01T00:00:01Z", 1),
            ("2026-01-01T00:00:01.5Z", 1),
            ("2026-01-01T00:00:01.500001Z", 2),
            ("2025-12-31T00:00:00Z", 0),
            ("2026-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(seconds_up(from, to.parse().unwrap()), seconds, "{to}");
        }
    }
}
