//! The `grants` file: every grant posted in a period, by account and grant, with the facts of a lot.
//!
//! | column | meaning |
//! |---|---|
//! | `grant_id`, `account_id`, `wallet_id` | the lot, whose it is, where it lies |
//! | `feature`, `entity` | which credits; seat or workspace, empty for the customer |
//! | `plan_id`, `plan_version`, `category`, `priority` | where it comes from: plan, promotional, prepaid or committed; burn priority |
//! | `unlimited` | absorbs all usage; its amounts are 0 |
//! | `starts_at`, `expires_at`, `created_at` | spendable `[starts_at, expires_at)`; posted at: the period is chosen by it |
//! | `original`, `remaining`, `held` | credits given; left and set aside **at the period's end**, summed from the entries before it |
//! | `currency`, `amount_paid`, `tax`, `discount`, `basis` | minor units: paid with tax, tax in it, discount, deferred at the start |
//! | `revenue_policy` | `over_time`, `allocate`, `credits` or `external` |
//! | `payment_id`, `item_key` | the payment, and what of it this is; no `item_key`: the payment is for its period |
//! | `stripe_session` .. `stripe_line` | Stripe's ids, filled in as they become known |
//! | `attachment_id`, `item`, `period_start` | the plan period it is for |
//! | `rolled_from`, `contract_ref` | the grant whose rest it carries: the remaining basis of that one moves with the credits of its `rollover_out` line, and a rollover lot has no money of its own; reference of the payment outside Stripe, without one that of a committed grant's contract |
//! | `customer_id`, `reason` | only when names are asked for; empty once erased |

use super::Cell;
use crate::store::reports::Lot;

const COLUMNS: [&str; 36] = [
    "grant_id",
    "account_id",
    "wallet_id",
    "feature",
    "entity",
    "plan_id",
    "plan_version",
    "category",
    "priority",
    "unlimited",
    "starts_at",
    "expires_at",
    "created_at",
    "original",
    "remaining",
    "held",
    "currency",
    "amount_paid",
    "tax",
    "discount",
    "basis",
    "revenue_policy",
    "payment_id",
    "item_key",
    "stripe_session",
    "stripe_payment_intent",
    "stripe_charge",
    "stripe_invoice",
    "stripe_balance_transaction",
    "stripe_price",
    "stripe_line",
    "attachment_id",
    "item",
    "period_start",
    "rolled_from",
    "contract_ref",
];

/// The columns; those that can be erased come last, and only with `names`.
pub fn columns(names: bool) -> Vec<&'static str> {
    let mut columns = COLUMNS.to_vec();
    if names {
        columns.extend(["customer_id", "reason"]);
    }
    columns
}

/// The row of one grant.
pub fn cells(lot: &Lot, names: bool) -> Vec<Cell<'_>> {
    fn text(value: Option<&String>) -> Cell<'_> {
        Cell::maybe(value, |text| Cell::text(text))
    }
    let mut cells = vec![
        Cell::shown(lot.grant),
        Cell::shown(lot.account),
        Cell::shown(lot.wallet),
        Cell::text(&lot.feature),
        Cell::text(&lot.entity),
        text(lot.plan.as_ref()),
        Cell::maybe(lot.plan_version, |version| Cell::Integer(i64::from(version))),
        Cell::text(&lot.category),
        Cell::Integer(i64::from(lot.priority)),
        Cell::Flag(lot.unlimited),
        Cell::Time(lot.starts_at),
        Cell::maybe(lot.expires_at, Cell::Time),
        Cell::Time(lot.created_at),
        Cell::amount(lot.original),
        Cell::amount(lot.remaining),
        Cell::amount(lot.held),
        text(lot.currency.as_ref()),
        Cell::maybe(lot.amount_paid_minor, Cell::Integer),
        Cell::maybe(lot.tax_minor, Cell::Integer),
        Cell::maybe(lot.discount_minor, Cell::Integer),
        Cell::maybe(lot.basis_minor, Cell::Integer),
        text(lot.revenue_policy.as_ref()),
        Cell::maybe(lot.payment, Cell::shown),
        text(lot.item_key.as_ref()),
    ];
    cells.extend([
        text(lot.stripe_session.as_ref()),
        text(lot.stripe_payment_intent.as_ref()),
        text(lot.stripe_charge.as_ref()),
        text(lot.stripe_invoice.as_ref()),
        text(lot.stripe_balance_transaction.as_ref()),
        text(lot.stripe_price.as_ref()),
        text(lot.stripe_line.as_ref()),
        Cell::maybe(lot.attachment, Cell::shown),
        text(lot.item.as_ref()),
        Cell::maybe(lot.period_start, Cell::Time),
        Cell::maybe(lot.rolled_from, Cell::shown),
        text(lot.contract.as_ref()),
    ]);
    if names {
        cells.extend([text(lot.customer.as_ref()), text(lot.reason.as_ref())]);
    }
    cells
}
