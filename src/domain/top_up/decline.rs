//! What a decline means: advice stands above the issuer's reason, and that above the code.
//!
//! Sources: docs.stripe.com/declines/codes, docs.stripe.com/declines/network-codes (`advice_code`).

/// Hours between two tries with one card: the networks' rules count days.
pub const RETRY_HOURS: i64 = 24;
/// Tries of one decision while the card may do later.
pub const SOFT_TRIES_MAX: u32 = 4;
/// Tries of one decision while nobody knows why the card does not.
pub const UNCLEAR_TRIES_MAX: u32 = 2;

/// Why a try failed, in Stripe's codes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    /// Stripe's code, such as `card_declined`.
    pub code: Option<String>,
    /// The issuer's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// What Stripe advises, such as `try_again_later`.
    pub advice_code: Option<String>,
}

/// What follows from a decline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// This card will not do again.
    Hard,
    /// It may do another day.
    Soft,
    /// Nobody says why: once more another day.
    Unclear,
    /// Its owner is asked for.
    Customer,
}

const HARD: [&str; 20] = [
    "lost_card",
    "stolen_card",
    "pickup_card",
    "restricted_card",
    "fraudulent",
    "merchant_blacklist",
    "revocation_of_authorization",
    "revocation_of_all_authorizations",
    "stop_payment_order",
    "do_not_try_again",
    "invalid_account",
    "expired_card",
    "incorrect_number",
    "invalid_number",
    "card_not_supported",
    "currency_not_supported",
    "transaction_not_allowed",
    "no_such_card",
    "new_account_information_available",
    "invalid_pin",
];
const SOFT: [&str; 7] = [
    "insufficient_funds",
    "card_velocity_exceeded",
    "withdrawal_count_limit_exceeded",
    "issuer_not_available",
    "processing_error",
    "reenter_transaction",
    "try_again_later",
];
const CUSTOMER: [&str; 4] = [
    "authentication_required",
    "authentication_not_handled",
    "payment_intent_authentication_failure",
    "approve_with_id",
];

impl Why {
    /// What follows from it.
    pub fn class(&self) -> Class {
        match self.advice_code.as_deref() {
            Some("do_not_try_again" | "confirm_card_data") => return Class::Hard,
            Some("try_again_later") => return Class::Soft,
            Some(_) | None => {}
        }
        let codes = [self.decline_code.as_deref(), self.code.as_deref()];
        let named = |known: &[&str]| codes.into_iter().flatten().any(|code| known.contains(&code));
        if named(&CUSTOMER) {
            Class::Customer
        } else if named(&HARD) {
            Class::Hard
        } else if named(&SOFT) {
            Class::Soft
        } else {
            Class::Unclear
        }
    }
}

impl Class {
    /// Tries of one decision that may end so before it waits for the card's owner.
    pub const fn tries_max(self) -> u32 {
        match self {
            Self::Hard | Self::Customer => 1,
            Self::Soft => SOFT_TRIES_MAX,
            Self::Unclear => UNCLEAR_TRIES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("card_declined", Some("insufficient_funds"), None, Class::Soft)]
    #[case("card_declined", Some("lost_card"), None, Class::Hard)]
    #[case("card_declined", Some("lost_card"), Some("try_again_later"), Class::Soft)]
    #[case("card_declined", Some("insufficient_funds"), Some("do_not_try_again"), Class::Hard)]
    #[case("card_declined", Some("do_not_honor"), Some("confirm_card_data"), Class::Hard)]
    #[case("card_declined", Some("do_not_honor"), None, Class::Unclear)]
    #[case("card_declined", Some("generic_decline"), None, Class::Unclear)]
    #[case("card_declined", Some("a_code_of_tomorrow"), None, Class::Unclear)]
    #[case("expired_card", None, None, Class::Hard)]
    #[case("processing_error", None, None, Class::Soft)]
    #[case("authentication_required", Some("authentication_required"), None, Class::Customer)]
    #[case("authentication_required", Some("authentication_not_handled"), None, Class::Customer)]
    #[case("card_declined", Some("approve_with_id"), None, Class::Customer)]
    fn advice_stands_above_reason_and_code(
        #[case] code: &str,
        #[case] reason: Option<&str>,
        #[case] advice: Option<&str>,
        #[case] wanted: Class,
    ) {
        let why = Why {
            code: Some(code.to_owned()),
            decline_code: reason.map(str::to_owned),
            advice_code: advice.map(str::to_owned),
        };
        assert_eq!(why.class(), wanted);
    }
}
