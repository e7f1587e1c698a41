//! A payment of ours came in: claimed first, then the door grants.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::judge::{Paid, id_of};
use super::{ChargeError, Charger, Held};
use crate::domain::command::{Charging, TopUpPaid};
use crate::domain::money::Money;
use crate::domain::payment::{PaymentFacts, PaymentStatus};
use crate::domain::top_up::TopUp;
use crate::store::payments::PaymentClaim;
use crate::stripe::client::{Fetch, StripeId};

/// What paid, besides the intent.
#[derive(Clone, Debug, Default)]
pub(super) struct Through {
    /// The Checkout session.
    pub session: Option<String>,
    /// The invoice.
    pub invoice: Option<String>,
    /// Its taxes.
    pub tax_minor: i64,
}

impl Charger {
    /// Claims the payment under all its ids and has the door grant what it bought.
    pub(super) async fn settle(
        &self,
        held: Held<'_>,
        top_up: &TopUp,
        paid: Paid,
        through: Through,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), ChargeError> {
        let paid = self.with_time(paid).await?;
        let paid_at = paid.at.ok_or(ChargeError::Broken("a payment without a time"))?;
        let net = paid.gross.minor().checked_sub(through.tax_minor);
        let net = net.and_then(|minor| Money::from_minor(minor, paid.gross.currency()).ok());
        let net = net.ok_or(ChargeError::Broken("a payment whose taxes are more than it"))?;
        let facts = PaymentFacts {
            status: PaymentStatus::Paid,
            currency: Some(paid.gross.currency()),
            amount_paid_minor: Some(paid.gross.minor()),
            tax_minor: Some(through.tax_minor),
            discount_minor: None,
            session: through.session,
            payment_intent: paid.payment_intent.clone(),
            charge: paid.charge,
            invoice: through.invoice,
            balance_transaction: paid.balance_transaction,
            stripe_customer: paid.customer,
            subscription: None,
            paid_at: Some(paid_at),
            metadata: metadata.clone(),
        };
        let account = held.account();
        let claim = self.edge("claim", async { Ok(self.store.claim_payment(account, &facts).await?) }).await?;
        let payment = match claim {
            PaymentClaim::Claimed(payment) => payment,
            PaymentClaim::Conflict { found } => return Err(ChargeError::Conflict(found)),
        };
        let paid = TopUpPaid {
            top_up: top_up.id,
            payment,
            payment_intent: paid.payment_intent,
            paid_at,
            net,
            gross: paid.gross,
            stripe_line: None,
            metadata,
        };
        self.edge("paid", self.post(account, Charging::Paid(Box::new(paid)))).await?;
        crate::meters::CHARGER_OUTCOMES.add(&["paid"]);
        Ok(())
    }

    /// The time of a payment is its charge's.
    async fn with_time(&self, paid: Paid) -> Result<Paid, ChargeError> {
        let Some(charge) = paid.charge.as_deref().filter(|_| paid.at.is_none()) else { return Ok(paid) };
        let found = self.edge("charge_time", self.ask_known(&Fetch::Charge { id: StripeId::new(charge)? })).await?;
        let paid_at = found["created"].as_i64().and_then(|second| Timestamp::from_second(second).ok());
        Ok(Paid { at: paid_at, balance_transaction: id_of(&found["balance_transaction"]), ..paid })
    }
}

/// The metadata of an object.
pub(super) fn metadata_of(object: &Value) -> BTreeMap<String, String> {
    let pairs = object["metadata"].as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}
