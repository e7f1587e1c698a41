//! Requests: written down, sent, and what is known of them.

use std::fmt::Display;

use serde_json::Value;
use uuid::Uuid;

use super::circuit::UNAUTHORIZED;
use super::{ChargeError, Charger, Held, LEASE_SECONDS, LEASE_YOUNG};
use crate::domain::command::Request;
use crate::domain::ids::BillId;
use crate::store::charge_steps::{ChargeStep, StepKey};
use crate::store::top_ups::DEFAULT_STEP;
use crate::stripe::frozen::{Frozen, IdempotencyKey};
use crate::stripe::outcome::{RefusalClass, Refused, Unknown, UnknownReason, WriteOutcome};
use crate::stripe::wire;
use crate::stripe::write::Write;

/// Seconds for which a request may be sent again under its key: 23 hours, for Stripe may forget one after 24.
pub(super) const KEY_SECONDS: i64 = 82_800;
/// Shortest and longest wait before the same request is sent again.
const AGAIN_SECONDS: (i64, i64) = (1, 3_600);

/// The status of what a key may not do.
pub(super) const FORBIDDEN: u16 = 403;

/// What is known of a request.
pub(super) enum Sent {
    /// Stripe did it; its whole answer, or what was kept of an earlier one.
    Done(Value),
    /// Stripe did not do it, for certain.
    Refused(Box<Refused>),
    /// Nobody knows; it is worth sending again in so many seconds.
    Unknown(i64),
    /// Nobody knows, and Stripe may have forgotten its key: it has to be looked for.
    Stale,
}

/// Which request.
pub(super) struct Which {
    owner: Uuid,
    /// How the owner is called in keys.
    prefix: String,
    step: String,
}

/// The first request of a try.
pub(super) const FIRST: &str = "charge";

impl Which {
    /// A request of a top-up, one of its tries or an excess payment.
    pub fn new(owner: Uuid, name: impl Display, step: impl Into<String>) -> Self {
        Self { owner, prefix: format!("topup:{name}"), step: step.into() }
    }

    /// A request of a bill of overage.
    pub fn of_bill(bill: BillId, step: impl Into<String>) -> Self {
        Self { owner: bill.as_uuid(), prefix: format!("bill:{bill}"), step: step.into() }
    }

    /// The request that makes a saved card the default.
    pub fn of_card(owner: Uuid) -> Self {
        Self { owner, prefix: format!("card:{}", owner.simple()), step: DEFAULT_STEP.to_owned() }
    }

    /// The first request of a try has the key of the try alone.
    fn idempotency_key(&self) -> Result<IdempotencyKey, ChargeError> {
        let Self { prefix, step, .. } = self;
        Ok(if step == FIRST { IdempotencyKey::new(prefix)? } else { IdempotencyKey::new(&format!("{prefix}:{step}"))? })
    }
}

/// A write as its row has it.
pub(super) fn request_of(write: &Write) -> Result<Request, ChargeError> {
    let frozen = write.freeze()?;
    Ok(Request {
        method: frozen.method().as_str().to_owned(),
        path: frozen.path().to_owned(),
        body: frozen.body().to_owned(),
    })
}

impl Charger {
    /// Writes a request down unless it is, and sends it unless it was answered for certain.
    pub(super) async fn step(
        &self,
        held: Held<'_>,
        which: &Which,
        name: &'static str,
        write: impl FnOnce() -> Result<Write, ChargeError> + Send,
    ) -> Result<Sent, ChargeError> {
        let key = step_key(held, which);
        let mut row = self.store.charge_step(&key).await?;
        if row.is_none() {
            let request = request_of(&write()?)?;
            let parts = (request.method.as_str(), request.path.as_str(), request.body.as_str());
            self.edge("write_down", async { Ok(self.store.freeze_charge_step(&key, parts).await?) }).await?;
            row = self.store.charge_step(&key).await?;
        }
        let row = row.ok_or(ChargeError::Broken("a request that is not there"))?;
        self.send_young(held, which, name, row).await
    }

    /// Sends a request that was written down before.
    pub(super) async fn known_step(
        &self,
        held: Held<'_>,
        which: &Which,
        name: &'static str,
    ) -> Result<Sent, ChargeError> {
        let row = self.store.charge_step(&step_key(held, which)).await?;
        let row = row.ok_or(ChargeError::Broken("a request that was not written down"))?;
        self.send_young(held, which, name, row).await
    }

    /// Was a request written down?
    pub(super) async fn is_written(&self, held: Held<'_>, which: &Which) -> Result<bool, ChargeError> {
        Ok(self.store.charge_step(&step_key(held, which)).await?.is_some())
    }

    /// Sends a request whose key Stripe may have forgotten: whoever asks for it has looked, and it was not done.
    pub(super) async fn step_not_done(
        &self,
        held: Held<'_>,
        which: &Which,
        name: &'static str,
    ) -> Result<Sent, ChargeError> {
        let row = self.store.charge_step(&step_key(held, which)).await?;
        let row = row.ok_or(ChargeError::Broken("a request that was not written down"))?;
        self.send_row(held, which, name, row).await
    }

    /// What was kept of an answer.
    pub(super) async fn answer_of(&self, held: Held<'_>, which: &Which) -> Result<Option<Value>, ChargeError> {
        Ok(self.store.charge_step(&step_key(held, which)).await?.and_then(|row| row.answer))
    }

    async fn send_young(
        &self,
        held: Held<'_>,
        which: &Which,
        name: &'static str,
        row: ChargeStep,
    ) -> Result<Sent, ChargeError> {
        if row.answer.is_none() && row.age_seconds >= KEY_SECONDS {
            return Ok(Sent::Stale);
        }
        self.send_row(held, which, name, row).await
    }

    async fn send_row(
        &self,
        held: Held<'_>,
        which: &Which,
        name: &'static str,
        row: ChargeStep,
    ) -> Result<Sent, ChargeError> {
        if let Some(answer) = row.answer {
            return Ok(Sent::Done(answer));
        }
        self.must_hold(held).await?;
        let frozen = Frozen::restore(&row.method, &row.path, &row.body)?;
        let key = which.idempotency_key()?;
        let outcome = self.edge(name, async { Ok(self.stripe.send(&frozen, &key).await) }).await?;
        let request_id = outcome.request_id().unwrap_or_default().to_owned();
        match outcome {
            WriteOutcome::Answered(answered) => {
                self.worked().await?;
                let Ok(answer) = wire::parse_object(&answered.body) else {
                    return Ok(Sent::Unknown(again_after(row.age_seconds)));
                };
                tracing::info!(step = %which.step, key = %key, request_id, "Stripe did what the charger asked for");
                Ok(Sent::Done(answer))
            }
            WriteOutcome::Refused(refused) => self.refused(refused, row.age_seconds).await,
            WriteOutcome::Unknown(unknown) => {
                crate::meters::CHARGER_OUTCOMES.add(&["unknown"]);
                tracing::warn!(step = %which.step, key = %key, request_id, why = %unknown.why, "the outcome of a request is not known");
                if is_for_want_of_stripe(&unknown) {
                    self.failed(&unknown.why.to_string(), false).await;
                }
                let asked = unknown.retry_after.and_then(|wait| i64::try_from(wait.as_secs()).ok()).unwrap_or(0);
                Ok(Sent::Unknown(again_after(row.age_seconds).max(asked).min(AGAIN_SECONDS.1)))
            }
        }
    }

    async fn refused(&self, refused: Refused, age: i64) -> Result<Sent, ChargeError> {
        match &refused.class {
            // Something alone that the key may not do: a person has to give it the permission.
            RefusalClass::Unauthorized if refused.status == FORBIDDEN => {
                tracing::error!(
                    request_id = refused.request_id,
                    message = refused.message,
                    "the API key may not do this"
                );
                Ok(Sent::Unknown(AGAIN_SECONDS.1))
            }
            RefusalClass::Unauthorized => {
                // Not executed now; what was sent before under the key may have been.
                self.failed(UNAUTHORIZED, true).await;
                Ok(Sent::Unknown(again_after(age)))
            }
            RefusalClass::IdempotencyMismatch => {
                tracing::error!(request_id = refused.request_id, "a key was used with other parameters: this is a bug");
                Ok(Sent::Unknown(AGAIN_SECONDS.1))
            }
            RefusalClass::Declined(_) | RefusalClass::Invalid | RefusalClass::ResourceMissing => {
                self.worked().await?;
                Ok(Sent::Refused(Box::new(refused)))
            }
        }
    }

    /// Keeps what later steps and repeats need of an answer.
    pub(super) async fn keep(&self, held: Held<'_>, which: &Which, answer: &Value) -> Result<(), ChargeError> {
        let key = step_key(held, which);
        self.edge("keep_answer", async { Ok(self.store.answer_charge_step(&key, answer).await?) }).await
    }

    /// Who lost the lease sends nothing.
    async fn must_hold(&self, held: Held<'_>) -> Result<(), ChargeError> {
        if held.since.elapsed() < LEASE_YOUNG {
            return Ok(());
        }
        let extended = self.store.extend_charge_lease(held.work, LEASE_SECONDS).await?;
        if extended { Ok(()) } else { Err(ChargeError::LostLease) }
    }
}

fn step_key(held: Held<'_>, which: &Which) -> StepKey {
    StepKey { account: held.account(), owner: which.owner, step: which.step.clone() }
}

/// Half as long again as it has been tried: soon at first, rarely in the end.
fn again_after(age: i64) -> i64 {
    age.saturating_div(2).clamp(AGAIN_SECONDS.0, AGAIN_SECONDS.1)
}

/// Does a failure say that Stripe is not there, rather than that it is busy with this?
const fn is_for_want_of_stripe(unknown: &Unknown) -> bool {
    match unknown.why {
        UnknownReason::NotConnected
        | UnknownReason::Timeout
        | UnknownReason::Broken
        | UnknownReason::Cut
        | UnknownReason::Unreadable
        | UnknownReason::ServerError
        | UnknownReason::UnexpectedStatus => true,
        UnknownReason::TooLarge | UnknownReason::Busy | UnknownReason::RateLimited | UnknownReason::Contradiction => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_come_ever_later_and_some_twenty_times_in_an_hour() {
        assert_eq!([0, 1, 100, 80_000].map(again_after), [1, 1, 50, 3_600]);
        let (mut age, mut sent) = (0, 1);
        while age < 3_600 {
            age += again_after(age);
            sent += 1;
        }
        assert_eq!(sent, 23, "a draft of an invoice takes lines for about an hour");
    }

    #[test]
    fn a_request_has_one_key_whoever_asks_for_it() {
        let owner = Uuid::from_u128(1);
        let key = |which: Which| which.idempotency_key().unwrap().as_str().to_owned();
        assert_eq!(key(Which::new(owner, "att_1", FIRST)), "topup:att_1");
        assert_eq!(key(Which::new(owner, "att_1", "cancel")), "topup:att_1:cancel");
        assert_eq!(key(Which::of_card(owner)), "card:00000000000000000000000000000001:default");
        let bill = BillId::from_uuid(owner);
        assert_eq!(key(Which::of_bill(bill, "item_0")), format!("bill:{bill}:item_0"));
    }
}
