//! One newtype per id. Text form: our own prefix and 32 hex digits, never one of Stripe's prefixes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of this kind: it has to be `{prefix}` and 32 hex digits")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What its text form begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps the uuid a store row or an id source gave.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The uuid, for a store row.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{}{}", $prefix, self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = || IdError { text: text.chars().take(80).collect(), prefix: $prefix };
                let hex = text.strip_prefix($prefix).filter(|hex| hex.len() == 32).ok_or_else(error)?;
                Uuid::try_parse(hex).map(Self).map_err(|_| error())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(input)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Our record of a customer.
    AccountId, "account_");
id!(
    /// A named group of a customer's grants of one feature.
    WalletId, "wallet_");
id!(
    /// An amount of one feature's credits given to one customer for one reason.
    GrantId, "grant_");
id!(
    /// Credits set aside from named grants.
    HoldId, "hold_");
id!(
    /// What a customer buys through Stripe by one request.
    SaleId, "sale_");
id!(
    /// A decision to take money for credits.
    TopUpId, "topup_");
id!(
    /// One try to charge a card for a top-up.
    AttemptId, "attempt_");
id!(
    /// A deficit of a wallet.
    DebtId, "debt_");
id!(
    /// A customer having a plan.
    AttachmentId, "attachment_");
id!(
    /// Money taken once, whatever Stripe objects tell of it.
    PaymentId, "payment_");
id!(
    /// An API key's row, safe to show.
    KeyId, "key_");
id!(
    /// Overage made into lines of an invoice.
    BillId, "bill_");
