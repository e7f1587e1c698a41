//! A try begins: who pays, with which card, by which request.

use super::steps::{FIRST, request_of};
use super::{ChargeError, Charger, Held, Move};
use crate::clock::fresh_uuid;
use crate::domain::command::{BeginTry, Charging};
use crate::domain::ids::AttemptId;
use crate::domain::top_up::{ChargeMode, TopUp};
use crate::store::customers::Profile;
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::frozen::Metadata;
use crate::stripe::write::{Charge, NewInvoice, Write};

/// Stripe customers of one account that are looked at; more than one comes of a customer deleted in Stripe.
const LINKS_MAX: usize = 5;
/// Leads Stripe's events home.
pub(super) const CUSTOMER_KEY: &str = "creditd_customer_id";
/// The top-up that something at Stripe is for.
pub(super) const TOP_UP_KEY: &str = "creditd_topup_id";
/// The try of it.
pub(super) const ATTEMPT_KEY: &str = "creditd_attempt_id";
/// The grant it becomes: finance joins by it.
const GRANT_KEY: &str = "creditd_grant_id";

/// Who pays, and with what.
struct Payer {
    customer: StripeId,
    card: Option<StripeId>,
}

impl Charger {
    pub(super) async fn begin(&self, held: Held<'_>, top_up: &TopUp) -> Result<Move, ChargeError> {
        let account = held.account();
        let profile = self.store.profile(account).await?;
        let payer = self.edge("payer", self.payer(profile.as_ref(), top_up)).await?;
        let Some((customer, card)) = payer.and_then(|payer| Some((payer.customer, payer.card?))) else {
            crate::meters::CHARGER_OUTCOMES.add(&["no_card"]);
            self.edge("no_card", self.post(account, Charging::NoCard(top_up.id))).await?;
            return Ok(Move::On);
        };
        let attempt = AttemptId::from_uuid(fresh_uuid());
        let metadata = leads_home(profile.as_ref(), top_up)?.with(ATTEMPT_KEY, &attempt.to_string())?;
        let description = Some(description(top_up));
        let write = match top_up.terms.mode {
            ChargeMode::PaymentIntent => Write::Charge(Charge {
                amount: top_up.amount,
                customer: customer.clone(),
                payment_method: card.clone(),
                description,
                receipt_email: None,
                return_url: None,
                metadata,
            }),
            ChargeMode::Invoice => Write::CreateInvoice(NewInvoice {
                customer: customer.clone(),
                currency: top_up.amount.currency(),
                payment_method: Some(card.clone()),
                automatic_tax: self.settings.automatic_tax,
                description,
                metadata,
            }),
        };
        let begin = BeginTry {
            top_up: top_up.id,
            number: top_up.tries.saturating_add(1),
            attempt,
            customer: customer.to_string(),
            payment_method: card.to_string(),
            step: FIRST,
            request: request_of(&write)?,
        };
        self.edge("begin_try", self.post(account, Charging::BeginTry(Box::new(begin)))).await?;
        Ok(Move::On)
    }

    /// The customer of Stripe's that an account is linked to and the card to charge. A card that is named is not asked
    /// for, unless it takes asking to know whose it is.
    async fn payer(&self, profile: Option<&Profile>, top_up: &TopUp) -> Result<Option<Payer>, ChargeError> {
        let linked = profile.map(|profile| profile.stripe_customers.as_slice()).unwrap_or_default();
        let named = top_up.terms.payment_method.as_deref().map(StripeId::new).transpose()?;
        if let (Some(card), [only]) = (&named, linked) {
            return Ok(Some(Payer { customer: StripeId::new(only)?, card: Some(card.clone()) }));
        }
        for customer in linked.iter().take(LINKS_MAX) {
            let customer = StripeId::new(customer)?;
            let Some(found) = self.living_customer(&customer).await? else { continue };
            let cards = self.ask_list(&Fetch::CardsOf { customer: customer.clone() }).await?;
            if let Some(card) = &named {
                if cards.find(|known| StripeId::of(known).as_ref() == Some(card)).is_some() {
                    return Ok(Some(Payer { customer, card: Some(card.clone()) }));
                }
                continue;
            }
            let usual = StripeId::of(&found["invoice_settings"]["default_payment_method"]);
            let card = usual.or_else(|| StripeId::of(cards.find(|_| true)?));
            if card.is_some() {
                return Ok(Some(Payer { customer, card }));
            }
        }
        Ok(None)
    }

    /// What leads everything made for a top-up home.
    pub(super) async fn metadata(&self, held: Held<'_>, top_up: &TopUp) -> Result<Metadata, ChargeError> {
        leads_home(self.store.profile(held.account()).await?.as_ref(), top_up)
    }
}

fn leads_home(profile: Option<&Profile>, top_up: &TopUp) -> Result<Metadata, ChargeError> {
    let metadata =
        Metadata::new().with(TOP_UP_KEY, &top_up.id.to_string())?.with(GRANT_KEY, &top_up.grant.to_string())?;
    match profile {
        // An erased customer has no id any more; the top-up's own leads home.
        None => Ok(metadata),
        // Longer than Stripe takes: the linked customer leads home.
        Some(profile) if profile.customer.chars().count() > 500 => Ok(metadata),
        Some(profile) => Ok(metadata.with(CUSTOMER_KEY, &profile.customer)?),
    }
}

/// What the customer reads on the receipt.
pub(super) fn description(top_up: &TopUp) -> String {
    format!("{} {}", top_up.credits, top_up.terms.feature)
}
