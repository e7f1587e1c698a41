//! The `ledger` file: every entry of a period, by account and number.
//!
//! | column | meaning |
//! |---|---|
//! | `account_id`, `seq` | the account and the line's number in it, without gaps |
//! | `at` | ledger time; the period is chosen by it |
//! | `event_at` | when it happened in the world, if that differs |
//! | `kind` | grant, draw, return, expire, end, void, adjust, `claw_back`, reinstate, `rollover_out`, `rollover_in`, debt, repay, hold, release |
//! | `grant_id`, `wallet_id`, `debt_id`, `hold_id` | what it changes |
//! | `feature`, `amount` | signed credits of that feature |
//! | `command` | first line of the command it belongs to |
//! | `used_feature`, `quantity`, `shortfall` | on a track's first line: what was used, and the credits no grant could pay |
//! | `source` | track, payment, plan, api, cli, import, time, reversal or charger |
//! | `hash` | SHA-256 over the hash before it and this line, in hex |
//! | `customer_id` | only when names are asked for: the app's id; empty once erased |

use super::Cell;
use crate::store::reports::LedgerLine;

const COLUMNS: [&str; 17] = [
    "account_id",
    "seq",
    "at",
    "event_at",
    "kind",
    "grant_id",
    "wallet_id",
    "debt_id",
    "hold_id",
    "feature",
    "amount",
    "command",
    "used_feature",
    "quantity",
    "shortfall",
    "source",
    "hash",
];

/// The columns; those that can be erased come last, and only with `names`.
pub fn columns(names: bool) -> Vec<&'static str> {
    let mut columns = COLUMNS.to_vec();
    if names {
        columns.push("customer_id");
    }
    columns
}

/// The row of one line.
pub fn cells(line: &LedgerLine, names: bool) -> Vec<Cell<'_>> {
    let entry = &line.entry;
    let mut cells = vec![
        Cell::shown(line.account),
        Cell::Integer(entry.seq),
        Cell::Time(entry.at),
        Cell::maybe(entry.event_at, Cell::Time),
        Cell::text(entry.kind.word()),
        Cell::maybe(entry.grant, Cell::shown),
        Cell::maybe(entry.wallet, Cell::shown),
        Cell::maybe(entry.debt, Cell::shown),
        Cell::maybe(entry.hold, Cell::shown),
        Cell::text(entry.feature.as_str()),
        Cell::amount(entry.amount),
        Cell::Integer(entry.command),
        Cell::maybe(entry.used_feature.as_ref(), |used| Cell::text(used.as_str())),
        Cell::maybe(entry.quantity, Cell::amount),
        Cell::maybe(entry.shortfall, Cell::amount),
        Cell::text(entry.source.word()),
        Cell::shown(hex::encode(line.hash)),
    ];
    if names {
        cells.push(Cell::maybe(line.customer.as_deref(), Cell::text));
    }
    cells
}
