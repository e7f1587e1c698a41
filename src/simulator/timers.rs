//! Virtual time: what is due when, and how it happens, in order and each at its own time.
//!
//! Nothing is remembered for it: due times are computed from the objects (period ends, trials, drafts, retries, delayed
//! payments, sessions that expire) and from the deliveries to be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::delivery::Deliverer;
use super::log::Entry;
use super::objects::{collection, intent_payment, schedule, session_payment, subscription_life};
use super::server::Account;
use super::state::{Kind, Origin, Record, State, number, text};

/// Microseconds of a second.
pub const MICROS: i64 = 1_000_000;
/// Timers fired in one go; what is left is fired by the next.
const FIRED_MAX: usize = 100_000;

/// Families that have timers, in the order in which they act at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A phase ends: before the period that ends with it, which is then followed by one of the next phase.
    Schedule,
    /// A trial, period or subscription ends.
    Subscription,
    /// A Checkout Session expires.
    Session,
    /// A draft is finalized, or a charge tried again.
    Invoice,
    /// A delayed payment is known.
    Payment,
    /// An event is sent again.
    Delivery,
}

impl Rank {
    /// The rank of a family; none if nothing of it is ever due.
    pub fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Schedule => Self::Schedule,
            Kind::Subscription => Self::Subscription,
            Kind::Session => Self::Session,
            Kind::Invoice => Self::Invoice,
            Kind::PaymentIntent => Self::Payment,
            Kind::Customer
            | Kind::Product
            | Kind::Price
            | Kind::Charge
            | Kind::InvoicePayment
            | Kind::Event
            | Kind::Refund
            | Kind::Dispute
            | Kind::FraudWarning
            | Kind::CreditNote
            | Kind::BalanceTransaction
            | Kind::InvoiceItem
            | Kind::PaymentMethod
            | Kind::SetupIntent
            | Kind::PaymentLink => return None,
        })
    }

    /// When an object of this rank is due, in microseconds.
    pub fn due(self, record: &Record) -> Option<i64> {
        let seconds = match self {
            Self::Schedule => schedule::due(&record.object),
            Self::Subscription => subscription_life::due(record),
            Self::Session => (text(&record.object, "status") == "open").then(|| number(&record.object, "expires_at")),
            Self::Invoice => collection::due(&record.object),
            Self::Payment => intent_payment::due(&record.object, &record.extra),
            Self::Delivery => None,
        };
        seconds.map(|seconds| seconds.saturating_mul(MICROS))
    }

    /// The name in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Schedule => "subscription_schedule",
            Self::Subscription => "subscription",
            Self::Session => "checkout.session",
            Self::Invoice => "invoice",
            Self::Payment => "payment_intent",
            Self::Delivery => "delivery",
        }
    }
}

/// When, of which rank, in which place of its family, and which.
type Due = (i64, Rank, usize, String);

/// What is due, in order.
#[derive(Debug, Default)]
pub struct Timers {
    order: BTreeSet<Due>,
    of: BTreeMap<(Rank, String), (i64, usize)>,
}

impl Timers {
    /// Says when something is due, in place of what was said before; none: never.
    pub fn put(&mut self, rank: Rank, id: &str, due: Option<(i64, usize)>) {
        let key = (rank, id.to_owned());
        if let Some((at, place)) = self.of.remove(&key) {
            self.order.remove(&(at, rank, place, id.to_owned()));
        }
        if let Some((at, place)) = due {
            self.order.insert((at, rank, place, id.to_owned()));
            self.of.insert(key, (at, place));
        }
    }

    /// What is due first.
    pub fn first(&self) -> Option<&Due> {
        self.order.first()
    }
}

/// Fires what is due up to a time, in order; gives how many.
pub fn fire_due(account: &Arc<Account>, to_micros: i64) -> usize {
    let mut fired = 0;
    while fired < FIRED_MAX && fire_next(account, to_micros) {
        fired += 1;
    }
    fired
}

fn fire_next(account: &Arc<Account>, to_micros: i64) -> bool {
    let mut state = account.state();
    let Some((at, rank, _, id)) = state.timers.first().filter(|due| due.0 <= to_micros).cloned() else { return false };
    state.now = at.div_euclid(MICROS);
    state.origin = Origin::default();
    account.log.push(Entry::Timer { at: state.now, family: rank.name().to_owned(), subject: id.clone() });
    if rank == Rank::Delivery {
        if let Some(pending) = state.pending.get_mut(&id) {
            pending.due = None;
        }
        state.schedule_delivery(&id);
        drop(state);
        Deliverer::continue_plan(account, id);
        return true;
    }
    act(&mut state, rank, &id);
    if state.timers.first().is_some_and(|due| due.0 == at && due.1 == rank && due.3 == id) {
        // Nothing may stop the clock: what did not move on by itself is not asked again.
        tracing::error!(family = rank.name(), %id, "a timer of the simulator had no effect");
        state.timers.put(rank, &id, None);
    }
    // A failed save is logged there; the next mutation writes the same state again.
    let _kept = account.save(&state);
    let emitted = std::mem::take(&mut state.outbox);
    drop(state);
    for event in emitted {
        Deliverer::begin(account, event);
    }
    true
}

fn act(state: &mut State, rank: Rank, id: &str) {
    match rank {
        Rank::Schedule => schedule::fire(state, id),
        Rank::Subscription => subscription_life::fire(state, id),
        Rank::Session => {
            // It is open, or it would not be due.
            let _expired = session_payment::expire(state, id);
        }
        Rank::Invoice => collection::fire(state, id),
        Rank::Payment => intent_payment::settle(state, id),
        Rank::Delivery => {}
    }
}
