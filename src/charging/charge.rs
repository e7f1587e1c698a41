//! A card is charged by one payment intent; and what is known of it is followed.

use serde_json::Value;

use super::judge::{self, Judged};
use super::settle::{Through, metadata_of};
use super::steps::{FIRST, Sent, Which};
use super::{After, ChargeError, Charger, Held, Move};
use crate::domain::command::{Charging, TryResult};
use crate::domain::ids::AttemptId;
use crate::domain::top_up::decline::Why;
use crate::domain::top_up::{ChargeMode, TopUp, TopUpState, Try};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::outcome::{Decline, RefusalClass, Refused};

/// Seconds between two looks at what a bank takes its time for; its webhook usually comes first.
pub(super) const LOOK_SECONDS: i64 = 3_600;

impl Charger {
    pub(super) async fn charge(&self, held: Held<'_>, top_up: &TopUp) -> Result<Move, ChargeError> {
        let last = top_up.last_try.as_ref().ok_or(ChargeError::Broken("a charge without a try"))?;
        if top_up.terms.mode == ChargeMode::Invoice {
            return self.charge_invoice(held, top_up, last).await;
        }
        if top_up.state == TopUpState::Processing {
            return self.look(held, top_up, last).await;
        }
        let which = Which::new(last.attempt.as_uuid(), last.attempt, FIRST);
        match self.known_step(held, &which, FIRST).await? {
            Sent::Done(intent) => self.follow(held, top_up, last, &intent).await,
            Sent::Refused(refused) => self.declined(held, top_up, last, &refused).await,
            Sent::Unknown(seconds) => Ok(Move::Rest(After::Later(seconds))),
            Sent::Stale => self.reconcile(held, top_up, last).await,
        }
    }

    /// Looks at an intent that Stripe works on.
    async fn look(&self, held: Held<'_>, top_up: &TopUp, last: &Try) -> Result<Move, ChargeError> {
        let id = last.payment_intent.as_deref().ok_or(ChargeError::Broken("a charge under way without its intent"))?;
        let intent =
            self.edge("look_at_intent", self.ask_known(&Fetch::PaymentIntent { id: StripeId::new(id)? })).await?;
        self.follow(held, top_up, last, &intent).await
    }

    /// What an intent says becomes what the try came to.
    pub(super) async fn follow(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        last: &Try,
        intent: &Value,
    ) -> Result<Move, ChargeError> {
        let result = match judge::intent(intent, top_up, self.livemode)? {
            Judged::Paid(paid) => {
                self.settle(held, top_up, paid, Through::default(), metadata_of(intent)).await?;
                return Ok(Move::On);
            }
            Judged::Processing(_) if top_up.state == TopUpState::Processing => {
                return Ok(Move::Rest(After::Later(LOOK_SECONDS)));
            }
            Judged::Processing(payment_intent) => {
                self.ended(held, top_up, last.attempt, TryResult::Processing { payment_intent }).await?;
                return Ok(Move::Rest(After::Later(LOOK_SECONDS)));
            }
            Judged::NeedsAction(id) => TryResult::NeedsAction { payment_intent: Some(id) },
            Judged::Declined(id, why) => TryResult::Declined { payment_intent: Some(id), why },
            Judged::Cancelled(_) => TryResult::NotDone,
            Judged::Other(_) => return Ok(Move::Rest(After::Later(LOOK_SECONDS))),
        };
        self.ended(held, top_up, last.attempt, result).await?;
        Ok(Move::On)
    }

    /// A card that was declined, or a request that Stripe refuses.
    async fn declined(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        last: &Try,
        refused: &Refused,
    ) -> Result<Move, ChargeError> {
        self.ended(held, top_up, last.attempt, result_of(refused)).await?;
        Ok(Move::On)
    }

    /// Has the door follow what became of a try.
    pub(super) async fn ended(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        attempt: AttemptId,
        result: TryResult,
    ) -> Result<(), ChargeError> {
        crate::meters::CHARGER_OUTCOMES.add(&[word_of(&result)]);
        let ended = Charging::TryEnded { top_up: top_up.id, attempt, result };
        self.edge("try_ended", self.post(held.account(), ended)).await
    }
}

/// A result as a metric's word.
const fn word_of(result: &TryResult) -> &'static str {
    match result {
        TryResult::Unknown { .. } => "unknown",
        TryResult::Processing { .. } => "processing",
        TryResult::NeedsAction { .. } => "needs_action",
        TryResult::Declined { .. } => "declined",
        TryResult::Refused(_) => "refused",
        TryResult::NotDone => "not_done",
    }
}

/// What a refusal says of a try.
pub(super) fn result_of(refused: &Refused) -> TryResult {
    match &refused.class {
        RefusalClass::Declined(decline) if decline.wants_authentication() => {
            TryResult::NeedsAction { payment_intent: decline.payment_intent.clone() }
        }
        RefusalClass::Declined(decline) => {
            TryResult::Declined { payment_intent: decline.payment_intent.clone(), why: why_of(decline) }
        }
        RefusalClass::Invalid
        | RefusalClass::ResourceMissing
        | RefusalClass::IdempotencyMismatch
        | RefusalClass::Unauthorized => {
            // A card that was detached is no card.
            let about_card = refused.param.as_deref().is_some_and(|param| param.contains("payment_method"));
            let code = refused.code.clone().unwrap_or_else(|| "invalid_request".to_owned());
            TryResult::Refused(if about_card { NO_CARD.to_owned() } else { code })
        }
    }
}

/// What a card that is not there any more is called.
const NO_CARD: &str = "no_payment_method";

/// The codes of a decline.
pub(super) fn why_of(decline: &Decline) -> Why {
    Why {
        code: decline.code.clone(),
        decline_code: decline.decline_code.clone(),
        advice_code: decline.advice_code.clone(),
    }
}
