//! How money and ids of Stripe's are kept in the row of a sale.

/// Money in major units with its currency.
pub(super) mod money {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::catalog::MoneyText;
    use crate::domain::money::Money;

    pub(in crate::selling) fn serialize<S: Serializer>(money: &Money, out: S) -> Result<S::Ok, S::Error> {
        MoneyText::from(*money).serialize(out)
    }

    pub(in crate::selling) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Money, D::Error> {
        let text = MoneyText::deserialize(input)?;
        text.money().ok_or_else(|| serde::de::Error::custom("no amount of money"))
    }
}

/// An id of Stripe's.
pub(super) mod stripe_id {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::stripe::client::StripeId;

    pub(in crate::selling) fn serialize<S: Serializer>(id: &StripeId, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(id.as_str())
    }

    pub(in crate::selling) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<StripeId, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}
