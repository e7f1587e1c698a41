//! What an order would do to money and balances: the commands it leads to, decided on a copy.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Buyer;
use super::change::Turn;
use super::error::SellError;
use super::offer::{Begin, Bill, Change, Deal, Line};
use super::order::{Attached, BalanceChange, Order, Previewed, What};
use crate::domain::account::{AccountState, Changes};
use crate::domain::attachment::{Attachment, AttachmentState};
use crate::domain::burn::{Balance, Holdings, balance};
use crate::domain::catalog::{CatalogVersion, FeatureId, Interval, PlanId, ResetAnchor};
use crate::domain::command::{Basis, ChangedPlan, Command, PlanChanged, PlanPaid, Purchase, PurchasedGrant, WalletRef};
use crate::domain::decide::{self, Context};
use crate::domain::grant::{Category, GrantMoney};
use crate::domain::ids::PaymentId;
use crate::domain::money::Money;
use crate::domain::period;
use crate::domain::subscription::SubscribedPlan;
use crate::posting::{FreshIds, PostError};

/// Stands for a subscription that does not exist yet.
const TO_COME: &str = "sub_preview";

/// A copy of an account on which things are tried.
struct Trial<'a> {
    state: AccountState,
    catalog: &'a CatalogVersion,
}

impl Trial<'_> {
    fn decide(&mut self, command: &Command, now: Timestamp) -> Result<(), SellError> {
        let context = Context { catalog: self.catalog, now };
        let decided = decide::decide(&mut self.state, &mut Changes::default(), command, context, &mut FreshIds);
        decided.map(drop).map_err(|rejection| PostError::from(rejection).into())
    }

    /// Every pool's balance then.
    fn balances(&self, entity: &str, now: Timestamp) -> BTreeMap<FeatureId, Balance> {
        let pools: BTreeSet<&FeatureId> = self.state.grants.iter().map(|grant| &grant.feature).collect();
        let AccountState { grants, debts, .. } = &self.state;
        let holdings = Holdings { grants, debts, entity, now };
        pools.into_iter().map(|pool| (pool.clone(), balance(holdings, pool))).collect()
    }

    fn live(&self) -> BTreeSet<PlanId> {
        let live = self.state.attachments.iter().filter(|known| known.is_live());
        live.map(|known| known.plan.clone()).collect()
    }
}

/// Tells what an order would do.
pub(super) fn preview(order: &Order, deal: &Deal, turn: Option<&Turn>, buyer: &Buyer) -> Result<Previewed, SellError> {
    let (now, catalog) = (buyer.now(), &*buyer.reading.catalog);
    let mut trial = Trial { state: buyer.reading.state.clone(), catalog };
    let (before, had) = (trial.balances(&order.entity, now), trial.live());
    let renews_at = happen(&mut trial, deal, turn, now)?;
    let (after, has) = (trial.balances(&order.entity, now), trial.live());
    let happened = trial.state.attachments.clone();
    let at_renewal = match renews_at {
        Some(at) => {
            renew(&mut trial, deal, at)?;
            Some(trial.balances(&order.entity, at))
        }
        None => None,
    };
    let pools: BTreeSet<&FeatureId> =
        before.keys().chain(after.keys()).chain(at_renewal.iter().flat_map(BTreeMap::keys)).collect();
    let of = |all: &BTreeMap<FeatureId, Balance>, pool| all.get(pool).copied().unwrap_or_default();
    let balances = pools.into_iter().map(|pool| BalanceChange {
        feature: pool.clone(),
        now: of(&before, pool).available,
        after: of(&after, pool).available,
        at_renewal: at_renewal.as_ref().map(|all| of(all, pool).available),
        unlimited: of(&after, pool).unlimited,
    });
    let has_card = buyer.payer.as_ref().is_some_and(|payer| payer.card.is_some());
    let (mut attached, is_estimate) = shown(order, deal, turn, has_card, now)?;
    if let Deal::Own(own) = deal {
        let waits = |known: &&Attachment| {
            known.state == AttachmentState::Scheduled && known.plan == order.plan && known.entity == own.attach.entity
        };
        if let Some(waits) = happened.iter().find(waits) {
            attached = Attached { what: What::Schedule, effective_at: Some(waits.started_at), ..attached };
        }
    }
    Ok(Previewed {
        needs_page: attached.what == What::Checkout,
        attached,
        is_estimate,
        balances: balances.collect(),
        renews_at,
        ends: had.difference(&has).cloned().collect(),
    })
}

/// What would be answered, and whether its total is reckoned here.
fn shown(
    order: &Order,
    deal: &Deal,
    turn: Option<&Turn>,
    has_card: bool,
    now: Timestamp,
) -> Result<(Attached, bool), SellError> {
    Ok(match deal {
        Deal::Own(_) => {
            let nothing = Attached {
                what: What::Attach,
                checkout_url: None,
                required_action: None,
                attachment: None,
                lines: Vec::new(),
                total: None,
                trial_days: None,
                effective_at: None,
            };
            (nothing, false)
        }
        Deal::Packs(bill) => {
            let what = if has_card && order.key.is_some() { What::Charge } else { What::Checkout };
            (Attached::of(what, bill), false)
        }
        Deal::Begin(begin) => {
            // What may be bought again is charged once for a key.
            let charges = has_card && (order.key.is_some() || !begin.repeats);
            let what = if charges { What::Charge } else { What::Checkout };
            let total = match begin.trial_days {
                Some(_) => begin.bill.nothing(),
                None => Some(begin.bill.total),
            };
            (Attached { total, trial_days: begin.trial_days, ..Attached::of(what, &begin.bill) }, false)
        }
        Deal::Change(change) => {
            let turn = turn.ok_or(SellError::Inconsistent("a change that nobody looked at"))?;
            if turn.is_up {
                let total = rest(change, turn, now);
                (Attached { total, ..Attached::of(What::Change, &change.bill) }, true)
            } else {
                let total = change.bill.nothing();
                let answer = Attached { total, ..Attached::of(What::Schedule, &change.bill) };
                (Attached { effective_at: Some(turn.period.1), ..answer }, false)
            }
        }
    })
}

/// The difference of two fees for what is left of the period; the whole new fee less the rest of the old one, where its
/// interval is another. `None`:
/// the fee so far is not in the catalogue.
fn rest(change: &Change, turn: &Turn, now: Timestamp) -> Option<Money> {
    let Change { bill, every, .. } = change;
    let every = *every;
    let (before, was_every) = turn.fee?;
    let (start, end) = (turn.period.0.as_second(), turn.period.1.as_second());
    let length = i128::from(end.checked_sub(start)?).max(1);
    let left = i128::from(end.checked_sub(now.as_second())?).clamp(0, length);
    let before = i128::from(before.minor()).checked_mul(i128::from(turn.was.1))?;
    let new = i128::from(bill.total.minor());
    let minor = if every == was_every {
        new.checked_sub(before)?.checked_mul(left)?.checked_div(length)?
    } else {
        // A period of the new length begins now.
        new.checked_sub(before.checked_mul(left)?.checked_div(length)?)?
    };
    Money::from_minor(i64::try_from(minor.max(0)).ok()?, bill.total.currency()).ok()
}

fn next(start: Timestamp, every: Interval) -> Result<Timestamp, SellError> {
    let span = period::containing(start, &ResetAnchor::Anniversary, every, start);
    let span = span.map_err(crate::domain::command::Rejection::from).map_err(PostError::from)?;
    Ok(span.end)
}

/// Lets an order happen, as Stripe's events would tell it once it is paid; gives when the next period begins.
fn happen(
    trial: &mut Trial<'_>,
    deal: &Deal,
    turn: Option<&Turn>,
    now: Timestamp,
) -> Result<Option<Timestamp>, SellError> {
    match deal {
        Deal::Own(own) => {
            trial.decide(&Command::Attach(own.attach.clone()), now)?;
            Ok(trial.state.next_due_at.filter(|due| *due > now))
        }
        Deal::Packs(bill) => {
            trial.decide(&Command::Purchase(purchase(bill, now)), now)?;
            Ok(None)
        }
        Deal::Begin(Begin { bill, every, trial_days, .. }) => {
            let end = match trial_days {
                Some(days) => now.checked_add(jiff::SignedDuration::from_hours(i64::from(*days) * 24)).ok(),
                None => Some(next(now, *every)?),
            };
            let end = end.ok_or(SellError::Inconsistent("a trial that leaves the calendar"))?;
            let Some(line) = bill.lines.first() else { return Ok(None) };
            trial.decide(&Command::PlanPaid(paid(TO_COME, line, (now, end), trial_days.is_some())), now)?;
            Ok(Some(end))
        }
        Deal::Change(change) => {
            let turn = turn.ok_or(SellError::Inconsistent("a change that nobody looked at"))?;
            if turn.is_up && turn.period.1 > now {
                trial.decide(&Command::PlanChanged(changed(change, trial, turn, now)), now)?;
            }
            Ok(Some(turn.period.1).filter(|end| *end > now))
        }
    }
}

/// Lets the next period begin, paid for.
fn renew(trial: &mut Trial<'_>, deal: &Deal, at: Timestamp) -> Result<(), SellError> {
    let (subscription, bill, every) = match deal {
        Deal::Own(_) | Deal::Packs(_) => return trial.decide(&Command::Settle, at),
        Deal::Begin(begin) => (TO_COME, &begin.bill, begin.every),
        Deal::Change(change) => (change.subscription.as_str(), &change.bill, change.every),
    };
    let Some(line) = bill.lines.first() else { return Ok(()) };
    let end = next(at, every)?;
    trial.decide(&Command::PlanPaid(paid(subscription, line, (at, end), false)), at)
}

fn seats(line: &Line) -> i64 {
    i64::try_from(line.quantity).unwrap_or(i64::MAX)
}

fn paid(subscription: &str, line: &Line, (start, end): (Timestamp, Timestamp), is_trial: bool) -> PlanPaid {
    PlanPaid {
        payment: None,
        subscription: subscription.to_owned(),
        plan: line.plan.clone(),
        quantity: seats(line),
        period_start: start,
        period_end: end,
        is_trial,
        credited: Vec::new(),
        money: GrantMoney::default(),
        stripe_price: Some(line.stripe_price.to_string()),
        stripe_line: None,
        metadata: BTreeMap::new(),
    }
}

fn changed(change: &Change, trial: &Trial<'_>, turn: &Turn, now: Timestamp) -> PlanChanged {
    let is_from = |known: &&crate::domain::attachment::Attachment| {
        known.plan == change.from && known.origin.subscription() == Some(change.subscription.as_str())
    };
    let from = trial.state.attachments.iter().filter(is_from);
    let from = from.map(|known| SubscribedPlan { plan: known.plan.clone(), quantity: known.quantity }).collect();
    let to = change.bill.lines.iter().map(|line| ChangedPlan {
        plan: line.plan.clone(),
        quantity: seats(line),
        money: GrantMoney::default(),
        stripe_price: Some(line.stripe_price.to_string()),
        stripe_line: None,
    });
    PlanChanged {
        payment: None,
        subscription: change.subscription.clone(),
        changed_at: now,
        period_end: turn.period.1,
        paid_at: now,
        from,
        to: to.collect(),
        metadata: BTreeMap::new(),
    }
}

fn purchase(bill: &Bill, now: Timestamp) -> Purchase {
    let grants = bill.lines.iter().filter_map(|line| {
        let (feature, item, credits) = line.pack.clone()?;
        Some(PurchasedGrant {
            item_key: format!("{}:{}.{item}", line.stripe_price, line.plan),
            wallet: WalletRef::Default,
            feature,
            quantity: credits,
            category: Category::Prepaid,
            priority: None,
            expires_at: None,
            plan: Some(line.plan.clone()),
            money: GrantMoney::default(),
            stripe_price: None,
            stripe_line: None,
        })
    });
    Purchase {
        payment: PaymentId::from_uuid(crate::clock::fresh_uuid()),
        basis: Basis::Lines,
        paid_at: now,
        grants: grants.collect(),
        metadata: BTreeMap::new(),
    }
}
