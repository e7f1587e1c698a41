//! The circuit: when Stripe is down, or refuses our key, it is left alone for a while.

use std::sync::atomic::Ordering;

use super::{ChargeError, Charger};
use crate::store::circuits::STRIPE;

/// Failures in a row before the circuit opens: a broken connection or two are everyday.
const FAILURES_MAX: i32 = 5;
/// Seconds for which it opens at first; they double with every failure more.
const OPEN_SECONDS: i32 = 5;
/// The same when our key is refused: nothing mends that by itself.
const OPEN_SECONDS_UNAUTHORIZED: i32 = 60;
/// What failed when our key is refused.
pub(super) const UNAUTHORIZED: &str = "unauthorized";
/// Longest it stays open without a call: then one is let through.
const OPEN_SECONDS_MAX: i32 = 900;

/// Seconds for which nothing is sent after so many failures in a row.
fn open_for(failures: i32, unauthorized: bool) -> Option<i32> {
    let (base, over) = if unauthorized {
        (OPEN_SECONDS_UNAUTHORIZED, failures.saturating_sub(1))
    } else {
        (OPEN_SECONDS, failures.saturating_sub(FAILURES_MAX))
    };
    let doublings = u32::try_from(over).ok()?.min(20);
    Some(base.saturating_mul(2_i32.saturating_pow(doublings)).min(OPEN_SECONDS_MAX))
}

impl Charger {
    /// Counts a call that failed for want of Stripe, or of a key.
    pub(super) async fn failed(&self, reason: &str, unauthorized: bool) {
        self.failing.store(true, Ordering::Relaxed);
        match self.store.fail_circuit(STRIPE, reason, |failures| open_for(failures, unauthorized)).await {
            Ok(Some(seconds)) => {
                tracing::error!(reason, seconds, "Stripe cannot be used: nothing is sent to it for a while");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a failure of Stripe's could not be noted"),
        }
    }

    /// A call got an answer: the circuit closes.
    pub(super) async fn worked(&self) -> Result<(), ChargeError> {
        if self.failing.swap(false, Ordering::Relaxed) {
            self.store.close_circuit(STRIPE).await?;
        }
        Ok(())
    }

    /// Of so many things, how many may be worked on now: none while the circuit is open, and one alone after that until
    /// a call is answered.
    pub async fn allows(&self, most: i64) -> Result<i64, ChargeError> {
        let circuit = self.store.circuit(STRIPE).await?;
        if circuit.failures > 0 {
            self.failing.store(true, Ordering::Relaxed);
        }
        if let Some(seconds) = circuit.open_seconds {
            tracing::debug!(seconds, "nothing is charged: Stripe cannot be used");
            return Ok(0);
        }
        let unauthorized = circuit.reason.as_deref() == Some(UNAUTHORIZED);
        let was_open = circuit.failures > 0 && open_for(circuit.failures, unauthorized).is_some();
        Ok(if was_open { most.min(1) } else { most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_some_failures_and_for_longer_each_time() {
        assert_eq!(
            (1..=8).map(|failures| open_for(failures, false)).collect::<Vec<_>>(),
            [None, None, None, None, Some(5), Some(10), Some(20), Some(40)]
        );
        assert_eq!(
            (1..=3).map(|failures| open_for(failures, true)).collect::<Vec<_>>(),
            [Some(60), Some(120), Some(240)]
        );
        assert_eq!(open_for(1_000, false), Some(900));
        assert_eq!(open_for(1_000, true), Some(900));
    }
}
