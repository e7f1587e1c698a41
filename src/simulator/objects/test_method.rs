//! Stripe's test methods, by name: cards that pay, decline or ask, and bank accounts that take days.
//!
//! Stripe refuses to attach its declining cards. Here they can be attached, and stand for cards that went bad after:
//! without that no saved card could ever decline for the reason a test needs.

use super::card::{DELAY_SECONDS, Decline, Delay};

/// What a test method does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It pays.
    Pays,
    /// It never pays.
    Declines(Decline),
    /// On every charge, however it was kept; perhaps for nothing.
    Asks(Option<Decline>),
    /// Not while its owner is away, once it was set up.
    AsksOnSetup,
    /// Not while its owner is away.
    IsSetUp,
    /// It takes days.
    Takes(Delay),
}

/// Stripe's declining cards: the name, the error's code, the issuer's reason.
const DECLINING: &[(&str, &str, Option<&str>, &str)] = &[
    ("chargeDeclined", "card_declined", Some("generic_decline"), "Your card was declined."),
    ("chargeCustomerFail", "card_declined", Some("generic_decline"), "Your card was declined."),
    (
        "chargeDeclinedInsufficientFunds",
        "card_declined",
        Some("insufficient_funds"),
        "Your card has insufficient funds.",
    ),
    ("chargeDeclinedLostCard", "card_declined", Some("lost_card"), "Your card has been declined."),
    ("chargeDeclinedStolenCard", "card_declined", Some("stolen_card"), "Your card has been declined."),
    ("chargeDeclinedFraudulent", "card_declined", Some("fraudulent"), "Your card was declined."),
    ("radarBlock", "card_declined", Some("fraudulent"), "Your card was declined."),
    ("chargeDeclinedExpiredCard", "expired_card", None, "Your card has expired."),
    ("chargeDeclinedIncorrectCvc", "incorrect_cvc", None, "Your card's security code is incorrect."),
    ("chargeDeclinedProcessingError", "processing_error", None, "An error occurred while processing your card."),
    (
        "chargeDeclinedVelocityLimitExceeded",
        "card_declined",
        Some("card_velocity_exceeded"),
        "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    ),
];
/// Reasons that Stripe has no test card for: `pm_card_chargeDeclined_` and the reason, which is ours.
const REASONS: &[&str] = &[
    "approve_with_id",
    "call_issuer",
    "card_not_supported",
    "card_velocity_exceeded",
    "currency_not_supported",
    "do_not_honor",
    "do_not_try_again",
    "expired_card",
    "fraudulent",
    "generic_decline",
    "incorrect_number",
    "insufficient_funds",
    "invalid_account",
    "issuer_not_available",
    "lost_card",
    "merchant_blacklist",
    "no_action_taken",
    "no_such_card",
    "pickup_card",
    "processing_error",
    "reenter_transaction",
    "restricted_card",
    "revocation_of_all_authorizations",
    "revocation_of_authorization",
    "service_not_allowed",
    "stolen_card",
    "stop_payment_order",
    "transaction_not_allowed",
    "try_again_later",
    "withdrawal_count_limit_exceeded",
];
/// Reasons that are the error's code too.
const OWN_CODES: &[&str] = &["expired_card", "incorrect_number", "processing_error"];
/// Stripe's bank accounts whose debits fail, and why.
const FAILING_ACCOUNTS: &[(&str, &str)] = &[
    ("accountClosed", "account_closed"),
    ("accountFrozen", "account_frozen"),
    ("debitNotAuthorized", "debit_not_authorized"),
    ("insufficientFunds", "insufficient_funds"),
    ("noAccount", "no_account"),
];

/// Whether there is such a test method.
pub fn is_test_method(name: &str) -> bool {
    conduct(name).is_some()
}

/// What a test method does, by its name.
pub fn conduct(name: &str) -> Option<Conduct> {
    if let Some(bank) = name.strip_prefix("pm_usBankAccount") {
        return account(bank.strip_prefix('_').unwrap_or(bank));
    }
    let card = name.strip_prefix("pm_card_")?;
    if brand(card).is_some() {
        return Some(Conduct::Pays);
    }
    let card = card.strip_prefix("visa_").unwrap_or(card);
    let declining = DECLINING.iter().find(|(known, ..)| *known == card);
    if let Some((_, code, reason, message)) = declining {
        return Some(Conduct::Declines(Decline::new(code, *reason, message)));
    }
    if let Some(reason) = card.strip_prefix("chargeDeclined_").filter(|reason| REASONS.contains(reason)) {
        let code = if OWN_CODES.contains(&reason) { reason } else { "card_declined" };
        return Some(Conduct::Declines(Decline::new(code, Some(reason), "Your card was declined.")));
    }
    let broke = || Decline::new("card_declined", Some("insufficient_funds"), "Your card has insufficient funds.");
    Some(match card {
        "authenticationRequired" | "threeDSecureRequired" | "threeDSecure2Required" => Conduct::Asks(None),
        "authenticationRequiredChargeDeclinedInsufficientFunds" => Conduct::Asks(Some(broke())),
        "authenticationRequiredOnSetup" => Conduct::AsksOnSetup,
        "authenticationRequiredSetupForOffSession" => Conduct::IsSetUp,
        _ => return None,
    })
}

fn account(name: &str) -> Option<Conduct> {
    let delay = |seconds, fails| Some(Conduct::Takes(Delay { seconds, fails }));
    match name {
        "" | "success" => delay(Some(DELAY_SECONDS), None),
        "processing" => delay(None, None),
        _ => {
            let (_, reason) = FAILING_ACCOUNTS.iter().find(|(known, _)| *known == name)?;
            let message = "The customer's bank account could not be debited.";
            delay(
                Some(DELAY_SECONDS),
                Some(Decline::new("payment_intent_payment_attempt_failed", Some(reason), message)),
            )
        }
    }
}

/// Brand, funding and last digits of a card that pays.
fn brand(card: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match card {
        "visa" => ("visa", "credit", "4242"),
        "visa_debit" => ("visa", "debit", "5556"),
        "mastercard" => ("mastercard", "credit", "4444"),
        "mastercard_debit" => ("mastercard", "debit", "8210"),
        "mastercard_prepaid" => ("mastercard", "prepaid", "5100"),
        "amex" => ("amex", "credit", "8431"),
        "discover" => ("discover", "credit", "1117"),
        "diners" => ("diners", "credit", "0004"),
        "jcb" => ("jcb", "credit", "0505"),
        "unionpay" => ("unionpay", "credit", "0005"),
        _ => return None,
    })
}

/// What a method made of a test method looks like: its brand, funding and last digits; none if it is a bank account.
pub fn face(made_of: &str) -> Option<(&'static str, &'static str, &'static str)> {
    let card = made_of.strip_prefix("pm_card_")?;
    Some(brand(card).unwrap_or(("visa", "credit", "0000")))
}
