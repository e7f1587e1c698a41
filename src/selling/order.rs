//! What is asked for, and what is answered.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::offer::Bill;
use crate::domain::attachment::{AttachmentState, CarryOver};
use crate::domain::catalog::{FeatureId, PlanId};
use crate::domain::command::CancelWhen;
use crate::domain::credits::Credits;
use crate::domain::ids::{AccountId, AttachmentId};
use crate::domain::money::Money;
use crate::posting::Reading;

/// A plan or packs that a customer wants.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who.
    pub account: AccountId,
    /// The app's id of them: it stands in the metadata that leads Stripe's events home.
    pub customer: String,
    /// Which plan, or the plan that offers the packs.
    pub plan: PlanId,
    /// Which of its prices: a lookup key, or the id of Stripe's price.
    pub price: Option<String>,
    /// Credits wanted, by feature or item: what the plan includes, and packs for the rest.
    pub quantities: BTreeMap<String, Credits>,
    /// Seats; absent: one, or what they are now.
    pub seats: Option<i64>,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// What is kept of the plan whose place it takes.
    pub carry_over: CarryOver,
    /// Where a buyer is sent after paying.
    pub success_url: Option<String>,
    /// Where the way back leads.
    pub cancel_url: Option<String>,
    /// The caller's own key: a saved card is charged once for it.
    pub key: Option<String>,
}

/// A plan that a customer wants to leave, or to keep after all.
#[derive(Clone, Debug)]
pub struct Leave {
    /// Who.
    pub account: AccountId,
    /// Which plan.
    pub plan: PlanId,
    /// Seat or workspace; empty: the customer.
    pub entity: String,
    /// When it ends.
    pub when: CancelWhen,
}

/// What is done about an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A plan of ours is attached.
    Attach,
    /// A page waits for its buyer.
    Checkout,
    /// A saved card is charged.
    Charge,
    /// A subscription changes now.
    Change,
    /// The plan comes when the one before it ends.
    Schedule,
}

/// What a buyer has to do before Stripe is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequiredAction {
    /// `authenticate`: their bank asks for them.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where they do it.
    pub url: Option<String>,
    /// For a page of the app's own.
    pub client_secret: Option<String>,
}

/// One thing an order buys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownLine {
    /// The plan.
    pub plan: PlanId,
    /// The feature whose packs are bought; absent: it is the plan's fee.
    pub feature: Option<FeatureId>,
    /// The credits that come with it; of a plan's fee, none are named.
    pub credits: Option<Credits>,
    /// How many of its price.
    pub quantity: u64,
    /// What one costs.
    pub unit: Money,
    /// What they cost.
    pub amount: Money,
    /// Stripe's price.
    pub stripe_price: Option<String>,
}

/// What was done about an order.
#[derive(Clone, Debug)]
pub struct Attached {
    /// What.
    pub what: What,
    /// The page to pay on.
    pub checkout_url: Option<String>,
    /// What the buyer has to do.
    pub required_action: Option<RequiredAction>,
    /// The attachment, when it is ours to make.
    pub attachment: Option<(AttachmentId, AttachmentState)>,
    /// What is bought.
    pub lines: Vec<ShownLine>,
    /// What it costs by the catalogue, taxes and discounts left out; of a change that is settled in its period, `None`.
    pub total: Option<Money>,
    /// Days without payment at its start.
    pub trial_days: Option<u32>,
    /// It takes effect then; `None`: at once, or as soon as Stripe says that it is paid.
    pub effective_at: Option<Timestamp>,
}

impl Attached {
    /// Of a bill, nothing more to do.
    pub(super) fn of(what: What, bill: &Bill) -> Self {
        Self {
            what,
            checkout_url: None,
            required_action: None,
            attachment: None,
            lines: bill.lines.iter().map(super::offer::Line::shown).collect(),
            total: Some(bill.total),
            trial_days: None,
            effective_at: None,
        }
    }

    /// A plan of ours, as the account has it now.
    pub(super) fn own(order: &Order, id: AttachmentId, reading: &Reading) -> Self {
        let known = reading.state.attachments.iter().find(|known| known.id == id && known.plan == order.plan);
        let state = known.map_or(AttachmentState::Active, |known| known.state);
        let scheduled = state == AttachmentState::Scheduled;
        Self {
            what: if scheduled { What::Schedule } else { What::Attach },
            checkout_url: None,
            required_action: None,
            attachment: Some((id, state)),
            lines: Vec::new(),
            total: None,
            trial_days: None,
            effective_at: known.filter(|_| scheduled).map(|known| known.started_at),
        }
    }
}

/// What would become of one balance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalanceChange {
    /// The feature.
    pub feature: FeatureId,
    /// What can be spent now.
    pub now: Credits,
    /// What can be spent right afterwards.
    pub after: Credits,
    /// What can be spent when the next period begins, if nothing is used until then.
    pub at_renewal: Option<Credits>,
    /// Is there no limit afterwards?
    pub unlimited: bool,
}

/// What an order would do.
#[derive(Clone, Debug)]
pub struct Previewed {
    /// What would be done.
    pub attached: Attached,
    /// Is the total what Stripe would ask for, taxes and discounts left out, or reckoned here?
    pub is_estimate: bool,
    /// Would a page be opened, for want of a saved card?
    pub needs_page: bool,
    /// What would become of balances.
    pub balances: Vec<BalanceChange>,
    /// When the next period would begin.
    pub renews_at: Option<Timestamp>,
    /// Plans that would end.
    pub ends: Vec<PlanId>,
}
