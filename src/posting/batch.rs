//! One transaction for a group of commands.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::{Connection, PgConnection};

use super::{CatalogCache, FreshIds, PostError, Shared};
use crate::domain::account::{AccountLife, AccountState, Changes};
use crate::domain::catalog::CatalogVersion;
use crate::domain::command::{Charging, Command, Decision, IdempotencyKey, Outcome, Rejection};
use crate::domain::decide::{Context, decide};
use crate::domain::ids::AccountId;
use crate::store::StoreError;
use crate::store::ledger::{self, AppliedKey, Asked, Situation};
use crate::store::usage_rows::{self, AskedReturn};

/// A command with its key and whom it is for.
#[derive(Clone, Debug)]
pub struct Order {
    /// For which account.
    pub account: AccountId,
    /// The caller's key.
    pub key: Option<IdempotencyKey>,
    /// What is asked.
    pub command: Command,
}

/// How one order ended.
pub type Answer = Result<Decision, PostError>;

/// Transactions tried for one group before its commands are run one by one.
const TRIES: u32 = 5;

/// Runs a group of orders; the answers are in their order. The group is one transaction; when the database refuses it,
/// each order gets one of its own, so that it fails alone.
pub async fn run(connection: &mut PgConnection, door: &Shared, orders: &[Order]) -> Vec<Answer> {
    crate::meters::BATCH_COMMANDS.size(orders.len());
    match run_together(connection, door, orders).await {
        Ok(answers) => answers,
        Err(error) if orders.len() == 1 => vec![Err(refused(error))],
        Err(StoreError::Unavailable(text)) => {
            orders.iter().map(|_| Err(StoreError::Unavailable(text.clone()).into())).collect()
        }
        Err(error) => {
            tracing::warn!(%error, commands = orders.len(), "a batch was refused; running its commands one by one");
            let mut answers = Vec::with_capacity(orders.len());
            for order in orders {
                let alone = run_together(connection, door, std::slice::from_ref(order)).await;
                let answer = alone.map_err(refused).and_then(|mut one| one.pop().unwrap_or_else(|| Err(vanished())));
                answers.push(answer);
            }
            answers
        }
    }
}

/// A constraint that refused a single command is that command's fault, not the database's.
fn refused(error: StoreError) -> PostError {
    match error {
        StoreError::Constraint(name) => PostError::Rejected(Rejection::Constraint(name)),
        StoreError::Transient(_)
        | StoreError::Unavailable(_)
        | StoreError::CommitUnknown(_)
        | StoreError::Inconsistent { .. }
        | StoreError::LostLease(_)
        | StoreError::Migration(_)
        | StoreError::Database(_) => error.into(),
    }
}

fn vanished() -> PostError {
    StoreError::Database("a batch gave no answer".to_owned()).into()
}

async fn run_together(
    connection: &mut PgConnection,
    door: &Shared,
    orders: &[Order],
) -> Result<Vec<Answer>, StoreError> {
    let mut tries = 1;
    loop {
        match run_once(connection, door, orders).await {
            Err(error) if error.is_transient() && tries < TRIES => {
                tokio::time::sleep(std::time::Duration::from_millis(u64::from(2 * tries * tries))).await;
                tries += 1;
            }
            outcome => return outcome,
        }
    }
}

async fn run_once(connection: &mut PgConnection, door: &Shared, orders: &[Order]) -> Result<Vec<Answer>, StoreError> {
    let mut transaction = connection.begin().await?;
    let mut group = Group::read(&mut transaction, &door.catalog, orders).await?;
    let answers = group.decide(orders);
    let keys = group.applied_keys(orders, &answers);
    let nothing = group.changes.values().all(Changes::is_empty) && keys.is_empty();
    if nothing {
        transaction.rollback().await?;
        return Ok(answers);
    }
    ledger::write(&mut transaction, &group.states, &group.changes, &keys, group.now).await?;
    match crate::meters::COMMIT_SECONDS.time(transaction.commit()).await.map_err(StoreError::from) {
        Ok(()) => {
            let to_do = |changes: &Changes| !changes.charging.top_ups.is_empty() || !changes.charging.excess.is_empty();
            if group.changes.values().any(to_do) {
                door.charger.notify_one();
            }
            Ok(answers)
        }
        Err(StoreError::Unavailable(text)) => Err(StoreError::CommitUnknown(text)),
        Err(error) => Err(error),
    }
}

/// Accounts under lock, and what is decided on them.
struct Group {
    states: BTreeMap<AccountId, AccountState>,
    changes: BTreeMap<AccountId, Changes>,
    situation: Situation,
    catalog: std::sync::Arc<CatalogVersion>,
    now: Timestamp,
    /// Orders whose key was applied in this batch, by position.
    fresh: BTreeSet<usize>,
}

impl Group {
    async fn read(connection: &mut PgConnection, catalog: &CatalogCache, orders: &[Order]) -> Result<Self, StoreError> {
        let accounts: BTreeSet<AccountId> = orders.iter().map(|order| order.account).collect();
        let accounts: Vec<AccountId> = accounts.into_iter().collect();
        let mut states = ledger::lock(connection, &accounts).await?;
        let keys: Vec<(AccountId, &IdempotencyKey)> =
            orders.iter().filter_map(|order| Some((order.account, order.key.as_ref()?))).collect();
        let situation = ledger::read_state(connection, &mut states, &keys).await?;
        let catalog = catalog.at(connection, situation.catalog_version).await?;
        let now = situation.now;
        let needs = |order: &&Order| {
            order.command.needs_all()
                || states.get(&order.account).is_some_and(|state| {
                    state.life == AccountLife::New || state.next_due_at.is_some_and(|due| due <= now)
                })
        };
        let complete: BTreeSet<AccountId> = orders.iter().filter(needs).map(|order| order.account).collect();
        if !complete.is_empty() {
            let mut asked = asked_by(orders, now);
            let is_over = |state: &AccountState| state.holds.iter().any(|hold| hold.is_over(now));
            if states.values().any(is_over) {
                asked.periods.push(now);
            }
            let complete: Vec<AccountId> = complete.into_iter().collect();
            ledger::read_all(connection, &mut states, &complete, &asked).await?;
        }
        read_for_usage(connection, &mut states, &catalog, orders, now).await?;
        Ok(Self { states, changes: BTreeMap::new(), situation, catalog, now, fresh: BTreeSet::new() })
    }

    fn decide(&mut self, orders: &[Order]) -> Vec<Answer> {
        orders.iter().enumerate().map(|(position, order)| self.decide_one(position, order)).collect()
    }

    fn decide_one(&mut self, position: usize, order: &Order) -> Answer {
        let name = order.key.as_ref().map(|key| (order.account, (key.operation.to_owned(), key.key)));
        if let (Some(name), Some(key)) = (&name, &order.key)
            && let Some(used) = self.situation.used.get(name)
        {
            return if used.request == key.request {
                Ok(Decision::AlreadyApplied(used.outcome.clone()))
            } else {
                Err(Rejection::KeyConflict.into())
            };
        }
        let state = self.states.get_mut(&order.account).ok_or(PostError::UnknownAccount(order.account))?;
        let changes = self.changes.entry(order.account).or_default();
        let context = Context { catalog: &self.catalog, now: self.now };
        if state.life == AccountLife::New && !matches!(order.command, Command::Open) {
            let _: Decision = decide(state, changes, &Command::Open, context, &mut FreshIds)?;
        }
        let decision = decide(state, changes, &order.command, context, &mut FreshIds)?;
        if let (Some(name), Some(key), Decision::Applied(outcome)) = (name, &order.key, &decision) {
            let used = ledger::UsedKey { request: key.request, outcome: outcome.clone() };
            self.situation.used.insert(name, used);
            self.fresh.insert(position);
        }
        Ok(decision)
    }

    fn applied_keys<'a>(&self, orders: &'a [Order], answers: &'a [Answer]) -> Vec<AppliedKey<'a>> {
        let applied = |(position, (order, answer)): (usize, (&'a Order, &'a Answer))| {
            let key = order.key.as_ref().filter(|_| self.fresh.contains(&position))?;
            let outcome: &Outcome = answer.as_ref().ok()?.outcome();
            Some(AppliedKey { account: order.account, key, outcome })
        };
        orders.iter().zip(answers).enumerate().filter_map(applied).collect()
    }
}

/// What returns and limits look back at: tracks that may be taken back, and what was used in a running window.
async fn read_for_usage(
    connection: &mut PgConnection,
    states: &mut BTreeMap<AccountId, AccountState>,
    catalog: &CatalogVersion,
    orders: &[Order],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut returns = Vec::new();
    let mut limits = Vec::new();
    for order in orders {
        if let Command::Track(track) = &order.command
            && track.quantity.is_negative()
        {
            let (feature, entity) = (track.feature.clone(), track.entity.clone());
            returns.push(AskedReturn { account: order.account, feature, entity, quantity: track.quantity.negated() });
        }
        if let Command::SetLimit(limit) = &order.command {
            limits.push((order.account, limit, catalog.catalog.is_credit_system(&limit.feature)));
        }
    }
    if !returns.is_empty() {
        usage_rows::read_returnable(connection, states, &returns).await?;
    }
    usage_rows::read_used(connection, states, &limits, now).await
}

fn asked_by(orders: &[Order], now: Timestamp) -> Asked {
    let mut asked = Asked::default();
    for order in orders {
        match &order.command {
            Command::Purchase(purchase) => asked.payments.push(purchase.payment),
            Command::PlanPaid(paid) => {
                asked.periods.push(paid.period_start);
                asked.payments.extend(paid.payment);
            }
            // What was used of running periods may be carried over; what comes free or back may be of one that a whole new
            // allowance ended.
            Command::Attach(_) | Command::ReleaseHold(_) => asked.periods.push(now),
            Command::Track(track) if track.is_final || track.quantity.is_negative() => asked.periods.push(now),
            Command::MoneyBack(back) => asked.reversed.push(back.payment),
            Command::PlanChanged(change) => {
                asked.periods.push(change.changed_at);
                asked.payments.extend(change.payment);
            }
            Command::Open
            | Command::Track(_)
            | Command::Hold(_)
            | Command::ExtendHold(_)
            | Command::SetLimit(_)
            | Command::DropLimit(_)
            | Command::Grant(_)
            | Command::SubscriptionSeen(_)
            | Command::RenewalLost(_)
            | Command::Settle
            | Command::Wallet(_)
            | Command::Terminate(_)
            | Command::Cancel(_)
            | Command::Uncancel(_) => {}
            Command::Charging(charging) => {
                if let Some(top_up) = charging.top_up() {
                    asked.top_ups.push(top_up);
                }
                if let Charging::Paid(paid) = charging {
                    asked.payments.push(paid.payment);
                }
            }
            // Used up or not: what is corrected need not be open.
            Command::Void(order) => asked.grants.push(order.grant),
            Command::Adjust(order) => asked.grants.push(order.grant),
            Command::Bill(order) => asked.bills.add(order),
        }
    }
    asked
}
