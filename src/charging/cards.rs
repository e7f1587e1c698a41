//! A saved card becomes what its customer pays with.
//!
//! The request was written down and queued by whoever saw the card kept. It sets what it sets, so a repeat under its key
//! does no harm; one that lay too long is not sent any more, for the customer may have chosen another card since.

use serde_json::json;

use super::steps::{Sent, Which};
use super::{After, ChargeError, Charger, Held};

impl Charger {
    /// Has Stripe make a card its customer's default.
    pub(super) async fn set_default(&self, held: Held<'_>) -> Result<After, ChargeError> {
        let (account, owner) = (held.account(), held.work.key.owner);
        let which = Which::of_card(owner);
        let gave_up = |why: &str| {
            tracing::warn!(account.id = %account, owner = %owner, why, "a saved card does not become its customer's default");
            json!({ "gave_up": why })
        };
        let answer = match self.known_step(held, &which, "set_default").await {
            Ok(Sent::Done(_)) => json!({ "done": true }),
            Ok(Sent::Refused(refused)) => gave_up(refused.code.as_deref().unwrap_or("Stripe refuses it")),
            Ok(Sent::Stale) => gave_up("Stripe could not be asked for a day"),
            Ok(Sent::Unknown(seconds)) => return Ok(After::Later(seconds)),
            Err(ChargeError::Write(error)) => gave_up(&error.to_string()),
            Err(error) => return Err(error),
        };
        self.keep(held, &which, &answer).await?;
        Ok(After::Done)
    }
}
