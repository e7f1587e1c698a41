//! Disputes, and the issuer's warnings that may come before them.

use jiff::Timestamp;

use super::Wire;
use super::money::WireMoney;
use super::reader::{Node, WireError};

/// A dispute.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispute {
    /// `dp_...`, `du_...` or `pdp_...`, the cursor for the next page.
    pub id: Option<String>,
    /// `needs_response`, `under_review`, `won`, `lost`, `warning_...`, `prevented`, ..
    pub status: Option<String>,
    /// What is disputed.
    pub amount: Option<WireMoney>,
    /// The charge.
    pub charge: Option<String>,
    /// The intent of that charge.
    pub payment_intent: Option<String>,
    /// What was withdrawn from our Stripe balance and what was put back, in minor units of the settlement currency.
    pub moved: Vec<i64>,
}

impl Wire for Dispute {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        let currency = node.text(&["currency"])?;
        let moves = node.objects(&["balance_transactions"])?.unwrap_or_default();
        let moved = moves.iter().map(|moved| moved.integer(&["amount"])).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            id: node.text(&["id"])?,
            status: node.text(&["status"])?,
            amount: node.money(&["amount"], currency.as_deref())?,
            charge: node.reference_id(&["charge"])?,
            payment_intent: node.reference_id(&["payment_intent"])?,
            moved: moved.into_iter().flatten().collect(),
        })
    }
}

/// An early fraud warning of Radar's.
#[derive(Clone, Debug, PartialEq)]
pub struct FraudWarning {
    /// `issfr_...`.
    pub id: Option<String>,
    /// When it came.
    pub created: Option<Timestamp>,
    /// Whether something can still be done: false once the charge is refunded or disputed.
    pub is_actionable: Option<bool>,
    /// The charge.
    pub charge: Option<String>,
    /// The intent of that charge.
    pub payment_intent: Option<String>,
}

impl Wire for FraudWarning {
    fn read(node: &Node<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: node.text(&["id"])?,
            created: node.time(&["created"])?,
            is_actionable: node.boolean(&["actionable"])?,
            charge: node.reference_id(&["charge"])?,
            payment_intent: node.reference_id(&["payment_intent"])?,
        })
    }
}
