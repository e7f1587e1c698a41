//! What a request says of a top-up rule, and an order: money of one currency, credits, a card, who agreed.

use super::super::fields::{Fields, Reading};
use super::super::json::Json as Input;
use super::super::problem::Problem;
use super::super::{App, read};
use super::grants::read_money;
use crate::domain::command::SetRule;
use crate::domain::credits::Credits;
use crate::domain::ids::{AccountId, WalletId};
use crate::domain::money::Currency;
use crate::domain::top_up::{Buy, COOLDOWN_SECONDS_MAX, COUNT_MAX, Ceiling, ChargeMode, Consent};
use crate::stripe::client::StripeId;

/// Longest word for who agreed, and for the version of the text, in bytes.
pub const CONSENT_TEXT_MAX: usize = 512;
/// Longest id of a card, in bytes: Stripe's own limit of ids.
pub const CARD_MAX: usize = 255;
/// The ways to take money.
pub const MODES: [(&str, ChargeMode); 2] =
    [(ChargeMode::PaymentIntent.word(), ChargeMode::PaymentIntent), (ChargeMode::Invoice.word(), ChargeMode::Invoice)];

/// A rule as a body says it, and the public id of its wallet.
pub(super) fn take(app: &App, name: String, mut body: Fields) -> Result<(SetRule, Option<String>), Problem> {
    let enabled = body.required("enabled", read::boolean)?;
    let feature = body.required("feature", read::feature)?;
    let wallet = body.optional("wallet", read::external_id)?;
    let threshold = body.required("threshold", balance)?;
    let buy = buy(&mut body)?;
    let mut currency = body.optional("currency", currency)?;
    let payment_method = body.optional("payment_method", card)?;
    let mode = body.optional("mode", read::word(&MODES))?.unwrap_or(app.charger.mode);
    let per_day = ceiling(&mut body, "max_per_day", &mut currency)?;
    let per_month = ceiling(&mut body, "max_per_month", &mut currency)?;
    let cooldown = body.optional("cooldown_seconds", count(0, COOLDOWN_SECONDS_MAX))?.unwrap_or_default();
    let consent = body.object("consent")?.map(consent).transpose()?;
    body.done()?;
    let rule = SetRule {
        name,
        enabled,
        feature,
        wallet: None,
        threshold,
        buy,
        currency,
        usual_currency: None,
        payment_method,
        mode,
        per_day,
        per_month,
        usual_month: app.charger.usual_month.clone(),
        cooldown_seconds: cooldown,
        consent,
    };
    Ok((rule, wallet))
}

/// A balance: below zero where debt is allowed.
fn balance(value: Input) -> Reading<Credits> {
    match value {
        Input::Text(text) => text.parse().map_err(|error: crate::domain::credits::AmountError| error.to_string()),
        other => Err(format!("has to be a decimal string such as \"1.5\", not {}", other.kind())),
    }
}

/// A whole number that is not negative.
fn count(least: i32, most: u32) -> impl FnOnce(Input) -> Reading<u32> {
    move |value| read::integer(least, i32::try_from(most).unwrap_or(i32::MAX))(value).map(i32::unsigned_abs)
}

fn buy(body: &mut Fields) -> Result<Buy, Problem> {
    let quantity = body.optional("quantity", read::positive_credits)?;
    match (quantity, body.optional("target", balance)?) {
        (Some(quantity), None) => Ok(Buy::Quantity(quantity)),
        (None, Some(target)) => Ok(Buy::Target(target)),
        (None, None) => Err(body.refuse("quantity", "is missing; `target` may be there in its place")),
        (Some(_), Some(_)) => Err(body.refuse("target", "goes in place of `quantity`, not beside it")),
    }
}

/// Three letters.
pub(super) fn currency(value: Input) -> Reading<Currency> {
    read::plain(CARD_MAX)(value)?.parse().map_err(|error| format!("is none: {error}"))
}

/// Stripe's id of a card.
pub(super) fn card(value: Input) -> Reading<String> {
    let text = read::plain(CARD_MAX)(value)?;
    match StripeId::new(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err("has to be Stripe's id of a payment method, such as \"pm_1abc\"".to_owned()),
    }
}

/// A day's or a month's most. Its money is of the rule's currency, which it names where nothing else does.
fn ceiling(body: &mut Fields, name: &'static str, currency: &mut Option<Currency>) -> Result<Ceiling, Problem> {
    let Some(mut most) = body.object(name)? else { return Ok(Ceiling::default()) };
    let count = most.optional("count", count(1, COUNT_MAX))?;
    let minor = match most.object("money")? {
        None => None,
        Some(mut fields) => {
            let money = read_money(&mut fields)?;
            if money.minor() == 0 {
                return Err(fields.refuse("amount", "has to be more than zero; `enabled` switches a rule off"));
            }
            let known = *currency.get_or_insert(money.currency());
            if known != money.currency() {
                return Err(
                    fields.refuse("currency", format!("has to be {known}, as the rule's others: it pays in one"))
                );
            }
            fields.done()?;
            Some(money.minor())
        }
    };
    most.done()?;
    Ok(Ceiling { count, minor })
}

fn consent(mut body: Fields) -> Result<Consent, Problem> {
    let consent = Consent {
        by: body.required("by", read::plain(CONSENT_TEXT_MAX))?,
        at: body.required("at", read::time)?,
        text_version: body.required("text_version", read::plain(CONSENT_TEXT_MAX))?,
    };
    body.done()?;
    Ok(consent)
}

impl App {
    /// The wallet of a public id, which has to be this customer's.
    pub(super) async fn wallet_of(&self, account: AccountId, key: Option<String>) -> Result<Option<WalletId>, Problem> {
        let Some(key) = key else { return Ok(None) };
        let found = self.store.find_wallet(&key).await?.filter(|found| found.account == account);
        found.map(|found| Some(found.wallet)).ok_or_else(super::grants::unknown_wallet_of_customer)
    }

    /// The currency to take where the request names none and packs have several: Stripe's customer's, else the usual one.
    pub(super) async fn usual_currency(&self, account: AccountId, named: Option<Currency>) -> Option<Currency> {
        if named.is_some() {
            return None;
        }
        self.selling.currency_of(account).await.or(self.charger.usual_currency)
    }
}
