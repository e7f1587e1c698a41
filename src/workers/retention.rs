//! Forgets what has lived long enough: idempotency keys after more than eight days, raw bodies after 400.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Beat;
use crate::store::Store;

/// Between rounds; the ring of keys turns once a day, so several rounds a day are enough.
const PAUSE: Duration = Duration::from_mins(15);

/// Works until told to stop.
pub async fn run(store: Store, beat: Beat, stop: CancellationToken) {
    loop {
        match store.empty_next_slot().await {
            Ok(true) => tracing::info!("emptied a day of idempotency keys that had lived their time"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "old idempotency keys could not be emptied; trying again later"),
        }
        match store.forget_old_bodies().await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "forgot raw bodies of old events"),
            Err(error) => tracing::warn!(%error, "old raw bodies could not be forgotten; trying again later"),
        }
        beat();
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}
