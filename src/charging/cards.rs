//! A saved card becomes what its customer pays with.
//!
//! The request was written down and queued by whoever saw the card kept. It sets what it sets, so a repeat under its key
//! does no harm; one that lay too long is not sent any more, for the customer may have chosen another card since.

use std::time::Duration;

use serde_json::json;

use crate::store::charge_steps::StepKey;
use crate::store::charge_work::LeasedWork;
use crate::store::top_ups::DEFAULT_STEP;
use crate::store::{Store, StoreError};
use crate::stripe::client::StripeClient;
use crate::stripe::frozen::{Frozen, IdempotencyKey, WriteError};
use crate::stripe::outcome::WriteOutcome;

/// Stripe may forget a key after a day.
const AGE_SECONDS_MAX: i64 = 23 * 3_600;
/// The next try comes after half the time since the first, within these bounds: some twenty tries in a day.
const RETRY_SECONDS_MIN: i64 = 5;
const RETRY_SECONDS_MAX: i64 = 3_600;
/// Our API key is refused: somebody has to act, which takes longer than a network.
const REFUSED_KEY_SECONDS: i64 = 900;

/// Has Stripe make a card its customer's default. What it answers for certain takes the work out of the queue.
pub async fn set_default(store: &Store, stripe: &dyn StripeClient, work: &LeasedWork) -> Result<(), StoreError> {
    let owner = work.key.owner;
    let key = StepKey { account: work.key.account, owner, step: DEFAULT_STEP.to_owned() };
    let Some(step) = store.charge_step(&key).await?.filter(|step| step.answer.is_none()) else {
        return store.done_charge_work(work).await;
    };
    let gave_up = |why: &str| {
        tracing::warn!(account.id = %key.account, owner = %owner, why, "a saved card does not become its customer's default");
        json!({ "gave_up": why })
    };
    let answer = if step.age_seconds > AGE_SECONDS_MAX {
        gave_up("Stripe could not be asked for a day")
    } else {
        match request(&step.method, &step.path, &step.body, &format!("card:{}:{DEFAULT_STEP}", owner.simple())) {
            Err(error) => gave_up(&error.to_string()),
            Ok((frozen, key)) => match stripe.send(&frozen, &key).await {
                WriteOutcome::Answered(_) => json!({ "done": true }),
                WriteOutcome::Refused(refused) if refused.is_final() => {
                    gave_up(refused.code.as_deref().unwrap_or("Stripe refuses it"))
                }
                WriteOutcome::Refused(refused) => {
                    tracing::warn!(owner = %owner, status = refused.status, "Stripe takes no requests of ours");
                    return store.put_off_charge_work(work, REFUSED_KEY_SECONDS).await;
                }
                WriteOutcome::Unknown(unknown) => {
                    tracing::info!(owner = %owner, why = %unknown.why, "a saved card is sent again later");
                    return store.put_off_charge_work(work, pause(step.age_seconds, unknown.retry_after)).await;
                }
            },
        }
    };
    store.answer_charge_step(&key, &answer).await?;
    store.done_charge_work(work).await
}

fn request(method: &str, path: &str, body: &str, key: &str) -> Result<(Frozen, IdempotencyKey), WriteError> {
    Ok((Frozen::restore(method, path, body)?, IdempotencyKey::new(key)?))
}

/// Seconds until the next try: what Stripe asks for, if that is longer.
fn pause(age_seconds: i64, asked: Option<Duration>) -> i64 {
    let asked = asked.map_or(0, |asked| i64::try_from(asked.as_secs()).unwrap_or(i64::MAX));
    (age_seconds / 2).max(asked).clamp(RETRY_SECONDS_MIN, RETRY_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_ever_later_and_never_sooner_than_stripe_asks() {
        assert_eq!(pause(0, None), 5);
        assert_eq!(pause(100, None), 50);
        assert_eq!(pause(100, Some(Duration::from_secs(70))), 70);
        assert_eq!(pause(80_000, None), 3_600);
        assert_eq!(pause(0, Some(Duration::MAX)), 3_600);
    }
}
