//! What came too much goes back by itself (rule 31).

use serde_json::{Value, json};

use super::steps::{Sent, Which};
use super::{After, ChargeError, Charger, Held};
use crate::domain::ids::PaymentId;
use crate::domain::top_up::Excess;
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::frozen::Metadata;
use crate::stripe::write::{Refund, RefundReason, Write};

use super::begin::TOP_UP_KEY;

/// Refunds that are asked for anew after one whose outcome was never learned did not happen.
const REFUNDS_MAX: u32 = 5;
/// Pages of a charge's refunds: 1,000 of them.
const PAGES_MAX: usize = 10;

impl Charger {
    pub(super) async fn refund(&self, held: Held<'_>, payment: PaymentId) -> Result<After, ChargeError> {
        let account = held.account();
        let found = self.edge("read_excess", async { Ok(self.store.excess_to_do(account, payment).await?) }).await?;
        let Some(excess) = found else { return Ok(After::Done) };
        let intent = StripeId::new(&excess.payment_intent)?;
        for number in 1..=REFUNDS_MAX {
            let which = Which::new(payment.as_uuid(), payment, format!("refund_{number}"));
            let metadata = Metadata::new().with(TOP_UP_KEY, &excess.top_up.to_string())?;
            let write = Write::Refund(Refund {
                payment_intent: intent.clone(),
                amount: Some(excess.amount),
                reason: Some(RefundReason::Duplicate),
                metadata,
            });
            match self.step(held, &which, "refund", || Ok(write)).await? {
                Sent::Done(refund) => {
                    let id = StripeId::of(&refund).ok_or(ChargeError::Broken("a refund without an id"))?;
                    self.keep(held, &which, &json!({ "id": id.as_str() })).await?;
                    return self.went_back(held, &excess, Some(id)).await;
                }
                Sent::Unknown(seconds) => return Ok(After::Later(seconds)),
                Sent::Refused(refused) => {
                    tracing::error!(top_up = %excess.top_up, %payment, code = refused.code, "an excess payment cannot be refunded");
                    let back = self.refund_of(&intent, &excess).await?;
                    return self.went_back(held, &excess, back).await;
                }
                Sent::Stale => {
                    if let Some(id) = self.refund_of(&intent, &excess).await? {
                        return self.went_back(held, &excess, Some(id)).await;
                    }
                }
            }
        }
        self.went_back(held, &excess, None).await
    }

    async fn went_back(&self, held: Held<'_>, excess: &Excess, refund: Option<StripeId>) -> Result<After, ChargeError> {
        let (account, refund) = (held.account(), refund.as_ref().map(StripeId::as_str));
        self.edge("end_excess", async { Ok(self.store.end_excess(account, excess, refund).await?) }).await?;
        Ok(After::Done)
    }

    /// A refund of an intent's charge that gave as much back.
    async fn refund_of(&self, intent: &StripeId, excess: &Excess) -> Result<Option<StripeId>, ChargeError> {
        let found = self.ask_known(&Fetch::PaymentIntent { id: intent.clone() }).await?;
        let charge = StripeId::of(&found["latest_charge"]);
        let charge = charge.ok_or(ChargeError::Broken("an intent that was paid without a charge"))?;
        let gives_back = |refund: &Value| {
            let failed = matches!(refund["status"].as_str(), Some("failed" | "canceled"));
            refund["amount"].as_i64() == Some(excess.amount.minor()) && !failed
        };
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = Fetch::RefundsOf { charge: charge.clone(), starting_after: after.take() };
            let listed = self.ask_list(&page).await?;
            if let Some(found) = listed.find(gives_back) {
                return StripeId::of(found).map(Some).ok_or(ChargeError::Broken("a refund without an id"));
            }
            after.clone_from(&listed.next);
            if after.is_none() {
                return Ok(None);
            }
        }
        Err(ChargeError::Broken("a list of Stripe's that does not end"))
    }
}
