//! A card is left for later: a page in setup mode, which charges nothing.
//!
//! One such page of a customer is open at a time: who asks again gets the same one, until it is used or closes by itself.
//! Stripe's events tell of the card; the inbox makes it what the customer pays with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::answers::text_at;
use super::error::SellError;
use super::offer::Refusal;
use super::sale::{Asked, CUSTOMER_KEY, Stepped, TRIES_MAX, hash};
use super::{Selling, apart};
use crate::domain::catalog::Catalog;
use crate::domain::ids::AccountId;
use crate::domain::money::{Currency, Money};
use crate::store::sales::{Sale, SaleKind, SaleState};
use crate::stripe::client::{Fetch, StripeId};
use crate::stripe::frozen::Metadata;
use crate::stripe::write::{Buyer, Checkout, Purpose, Write};

/// Tells Stripe's events of a card that it was left by a page of ours.
const SETUP_KEY: &str = "creditd_setup";

/// A customer is to leave a card.
#[derive(Clone, Debug)]
pub struct SetupOrder {
    /// Who.
    pub account: AccountId,
    /// The app's id of them.
    pub customer: String,
    /// Where they are sent afterwards.
    pub success_url: String,
    /// Where the way back leads.
    pub cancel_url: Option<String>,
    /// The currency of later charges; absent: the customer's, else the only one of the catalogue.
    pub currency: Option<Currency>,
}

/// What the page is opened with; kept in the row of its sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SetupTerms {
    customer: String,
    payer: String,
    currency: String,
    success_url: String,
    cancel_url: Option<String>,
}

impl Selling {
    /// A page on which a customer leaves a card: its address.
    pub async fn set_up(&self, order: SetupOrder) -> Result<String, SellError> {
        let selling = self.clone();
        apart(async move { selling.set_up_now(&order).await }).await
    }

    async fn set_up_now(&self, order: &SetupOrder) -> Result<String, SellError> {
        if self.stripe.is_none() {
            return Err(SellError::NotConfigured);
        }
        let known = self.payer(order.account).await?;
        let of_customer = order.currency.or_else(|| known.as_ref().and_then(|payer| payer.currency));
        let currency = if let Some(currency) = of_customer {
            currency
        } else {
            let reading = self.posting.read(order.account).await?;
            only_currency(&reading.catalog.catalog).ok_or(Refusal::SetupCurrency)?
        };
        let payer = self.payer_of(order.account, &order.customer, known).await?;
        let terms = SetupTerms {
            customer: order.customer.clone(),
            payer: payer.customer.to_string(),
            currency: currency.to_string(),
            success_url: order.success_url.clone(),
            cancel_url: order.cancel_url.clone(),
        };
        let asked = Asked {
            account: order.account,
            slot: hash(&("setup",)),
            request: hash(&("setup", &terms)),
            key: None,
            kind: SaleKind::Checkout,
            terms: serde_json::to_value(&terms).map_err(|_| SellError::Inconsistent("the terms of a sale"))?,
        };
        for _ in 0..TRIES_MAX {
            let sale = self.sale(&asked).await?;
            if let Some(url) = self.setup_page(&asked, &sale).await? {
                return Ok(url);
            }
        }
        Err(SellError::InProgress)
    }

    /// The sale's page; `None`: that sale is over, look again.
    async fn setup_page(&self, asked: &Asked, sale: &Sale) -> Result<Option<String>, SellError> {
        let was_there = self.was_answered(sale, "session").await?;
        if sale.is_stale && !was_there {
            // Nobody was given its address, and by now it has closed by itself.
            self.end(sale, SaleState::Dropped).await?;
            return Ok(None);
        }
        let opened = self.must(sale, "session", &session(sale)?).await?;
        let id = StripeId::of(&opened).ok_or(SellError::Inconsistent("a session without an id"))?;
        let page = |url: &serde_json::Value| {
            let url = url.as_str().map(str::to_owned);
            url.map(Some).ok_or(SellError::Inconsistent("an open session without an address"))
        };
        if !was_there && asked.is(sale) {
            return page(&opened["url"]);
        }
        let now = self.ask_known(&Fetch::Session { id: id.clone() }).await?;
        match text_at(&now, "status") {
            "open" if asked.is(sale) => return page(&now["url"]),
            "open" => {
                // It leads elsewhere now: the old page closes, unless it is being used this moment.
                if let Stepped::Done(_) = self.step(sale, "expire", &Write::ExpireSession { session: id }).await? {
                    self.end(sale, SaleState::Dropped).await?;
                }
            }
            "complete" => self.end(sale, SaleState::Done).await?,
            "expired" => self.end(sale, SaleState::Dropped).await?,
            _ => return Err(SellError::unreadable("a session's status")),
        }
        Ok(None)
    }
}

fn session(sale: &Sale) -> Result<Write, SellError> {
    let unreadable = || SellError::Inconsistent("the terms of a sale");
    let terms: SetupTerms = serde_json::from_value(sale.terms.clone()).map_err(|_| unreadable())?;
    let currency = terms.currency.parse().map_err(|_| unreadable())?;
    Ok(Write::CreateSession(Checkout {
        purpose: Purpose::Setup { currency },
        buyer: Buyer::Customer(StripeId::new(&terms.payer)?),
        success_url: terms.success_url,
        cancel_url: terms.cancel_url,
        client_reference_id: None,
        expires_at: None,
        metadata: Metadata::new().with(CUSTOMER_KEY, &terms.customer)?.with(SETUP_KEY, "1")?,
    }))
}

/// The currency of all that a catalogue sells, if it is one.
fn only_currency(catalog: &Catalog) -> Option<Currency> {
    let plans = catalog.plans.values();
    let prices = plans.flat_map(|plan| {
        let packs = plan.items.iter().flat_map(|item| &item.packs).map(|pack| &pack.price);
        plan.prices.iter().chain(packs)
    });
    let all: BTreeSet<Currency> = prices.filter_map(|price| price.amount.money().map(Money::currency)).collect();
    all.first().copied().filter(|_| all.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sold_in_one_currency_alone_says_which() {
        let price = |currency: &str| format!("{{ amount = \"1.00\", currency = \"{currency}\", every = \"month\" }}");
        let sold = |prices: &[&str]| {
            let prices: Vec<String> = prices.iter().map(|currency| price(currency)).collect();
            let fee = format!("revenue = \"external\"\nprices = [{}]\n", prices.join(", "));
            let text = format!("[plans.pro]\n{}", if prices.is_empty() { "" } else { &fee });
            only_currency(&crate::domain::catalog::file::read(&text).unwrap()).map(|currency| currency.to_string())
        };
        assert_eq!(sold(&["eur", "eur"]).as_deref(), Some("eur"));
        assert_eq!(sold(&["eur", "usd"]), None);
        assert_eq!(sold(&[]), None);
    }
}
