//! What came too much goes back by itself (rule 31).

use serde_json::{Value, json};

use super::judge::id_at;
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
                    let id = id_at(&refund["id"]).ok_or(ChargeError::Broken("a refund without an id"))?;
                    self.keep(held, &which, &json!({ "id": id })).await?;
                    return self.went_back(held, &excess, Some(&id)).await;
                }
                Sent::Unknown(seconds) => return Ok(After::Later(seconds)),
                Sent::Refused(refused) => {
                    tracing::error!(top_up = %excess.top_up, %payment, code = refused.code, "an excess payment cannot be refunded");
                    let back = self.refund_of(&intent, &excess).await?;
                    return self.went_back(held, &excess, back.as_deref()).await;
                }
                Sent::Stale => {
                    if let Some(id) = self.refund_of(&intent, &excess).await? {
                        return self.went_back(held, &excess, Some(&id)).await;
                    }
                }
            }
        }
        self.went_back(held, &excess, None).await
    }

    async fn went_back(&self, held: Held<'_>, excess: &Excess, refund: Option<&str>) -> Result<After, ChargeError> {
        let account = held.account();
        self.edge("end_excess", async { Ok(self.store.end_excess(account, excess, refund).await?) }).await?;
        Ok(After::Done)
    }

    /// A refund of an intent's charge that gave as much back.
    async fn refund_of(&self, intent: &StripeId, excess: &Excess) -> Result<Option<String>, ChargeError> {
        let found = self.ask(&Fetch::PaymentIntent { id: intent.clone() }).await?.unwrap_or_default();
        let Some(charge) = id_at(&found["latest_charge"]) else { return Ok(None) };
        let refunds = Fetch::RefundsOf { charge: StripeId::new(&charge)?, starting_after: None };
        let listed = self.ask(&refunds).await?.unwrap_or_default();
        let gives_back = |refund: &&Value| {
            let failed = matches!(refund["status"].as_str(), Some("failed" | "canceled"));
            refund["amount"].as_i64() == Some(excess.amount.minor()) && !failed
        };
        let refunds = listed["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(refunds.iter().find(gives_back).and_then(|refund| id_at(&refund["id"])))
    }
}
