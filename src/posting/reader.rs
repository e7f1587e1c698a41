//! Reading accounts for checks: whatever is asked meanwhile is read together, each account once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CatalogCache, FreshIds, PostError, Reading, thread};
use crate::domain::account::{AccountLife, AccountState, Changes};
use crate::domain::command::Command;
use crate::domain::decide::{Context, at_time, decide};
use crate::domain::ids::AccountId;
use crate::store::ledger;
use crate::store::{Store, StoreError};

/// Readers of one daemon, each with a connection and a queue of its own: one for checks, one for whole accounts, which
/// take longer and may not keep checks waiting. A second one for checks only makes the reads of both smaller.
const READERS: usize = 2;
/// Most accounts of one read.
const BATCH_MAX: usize = 512;
/// Most questions waiting before callers are told to come back.
const QUEUE_MAX: usize = 16_384;
/// What a caller turned away waits.
const BUSY_RETRY: Duration = Duration::from_millis(200);

type Caller = oneshot::Sender<Result<Reading, PostError>>;

/// One question: which account, whether all of it, and who wants to know.
struct Asked {
    account: AccountId,
    complete: bool,
    caller: Caller,
}

#[derive(Default)]
struct Queue {
    asked: Mutex<Vec<Asked>>,
    wake: Notify,
}

struct Shared {
    store: Store,
    catalog: CatalogCache,
    queues: [Queue; READERS],
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The readers of one daemon. Cheap to clone; they end when the last clone is gone.
#[derive(Clone)]
pub struct Readers(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Readers")
    }
}

impl Readers {
    pub(super) fn start(store: &Store, catalog: &CatalogCache) -> Self {
        let shared = Arc::new(Shared {
            store: store.clone(),
            catalog: catalog.clone(),
            queues: Default::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        for number in 0..READERS {
            let of_reader = shared.clone();
            thread::run_shared(&shared.tasks, move || {
                let shared = of_reader.clone();
                async move { run(&shared, &shared.queues[number]).await }
            });
        }
        Self(Arc::new(Handle(shared)))
    }

    pub(super) async fn read(&self, account: AccountId, complete: bool) -> Result<Reading, PostError> {
        let (caller, answer) = oneshot::channel();
        let of_kind = &self.0.0.queues[usize::from(complete)];
        {
            let mut queue = of_kind.asked.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= QUEUE_MAX || self.0.0.stop.is_cancelled() {
                return Err(PostError::Busy(BUSY_RETRY));
            }
            queue.push(Asked { account, complete, caller });
        }
        of_kind.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the daemon is stopping".to_owned()).into()))
    }

    pub(super) async fn shut_down(&self) {
        self.0.0.stop.cancel();
        self.0.0.tasks.close();
        self.0.0.tasks.wait().await;
    }
}

async fn run(shared: &Shared, of_kind: &Queue) {
    let mut kept = None;
    loop {
        let asked = {
            let mut queue = of_kind.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let count = queue.len().min(BATCH_MAX);
            queue.drain(..count).collect::<Vec<_>>()
        };
        if asked.is_empty() {
            tokio::select! {
                () = of_kind.wake.notified() => continue,
                () = shared.stop.cancelled() => return,
            }
        }
        let connection = match kept.take() {
            Some(connection) => Ok(connection),
            None => shared.store.own_connection().await,
        };
        let accounts: BTreeSet<AccountId> = asked.iter().map(|one| one.account).collect();
        let whole: BTreeSet<AccountId> = asked.iter().filter(|one| one.complete).map(|one| one.account).collect();
        let readings = match connection {
            Ok(mut connection) => {
                crate::meters::READ_ACCOUNTS.size(accounts.len());
                let reading = read_together(&mut connection, &shared.catalog, accounts, &whole);
                let readings = crate::meters::READ_SECONDS.time(reading).await;
                if readings.is_ok() {
                    kept = Some(connection);
                }
                readings
            }
            Err(error) => Err(error),
        };
        answer(asked, readings);
    }
}

fn answer(asked: Vec<Asked>, readings: Result<BTreeMap<AccountId, Reading>, StoreError>) {
    match readings {
        Ok(readings) => {
            for Asked { account, caller, .. } in asked {
                let reading = readings.get(&account).cloned().ok_or(PostError::UnknownAccount(account));
                drop(caller.send(reading));
            }
        }
        Err(error) => {
            let error = PostError::from(error);
            for Asked { caller, .. } in asked {
                drop(caller.send(Err(error.clone())));
            }
        }
    }
}

async fn read_together(
    connection: &mut PgConnection,
    catalog: &CatalogCache,
    accounts: BTreeSet<AccountId>,
    whole: &BTreeSet<AccountId>,
) -> Result<BTreeMap<AccountId, Reading>, StoreError> {
    let accounts: Vec<AccountId> = accounts.into_iter().collect();
    let (mut states, situation) = ledger::read_unlocked(connection, &accounts).await?;
    let version = catalog.at(connection, situation.catalog_version).await?;
    let now = situation.now;
    let flags = version.catalog.features.values().any(|f| matches!(f, crate::domain::catalog::Feature::Boolean));
    let due = |state: &AccountState| {
        flags
            || whole.contains(&state.id)
            || state.life == AccountLife::New
            || state.next_due_at.is_some_and(|due| due <= now)
    };
    let incomplete: Vec<AccountId> = states.values().filter(|state| due(state)).map(|state| state.id).collect();
    if !incomplete.is_empty() {
        states.extend(read_complete(connection, &incomplete).await?);
    }
    let context = Context { catalog: &version, now };
    let mut readings = BTreeMap::new();
    for (account, state) in states {
        let state = settled(state, context);
        readings.insert(account, Reading { state, catalog: version.clone(), now });
    }
    Ok(readings)
}

/// The whole of some accounts in one snapshot: what is due is computed from it, so no part may be newer than another.
async fn read_complete(
    connection: &mut PgConnection,
    accounts: &[AccountId],
) -> Result<BTreeMap<AccountId, AccountState>, StoreError> {
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let (mut states, situation) = ledger::read_unlocked(&mut snapshot, accounts).await?;
    // Previews ask what running periods gave.
    let asked = ledger::Asked { periods: vec![situation.now], ..ledger::Asked::default() };
    ledger::read_all(&mut snapshot, &mut states, accounts, &asked).await?;
    snapshot.rollback().await?;
    Ok(states)
}

/// What is due, booked in memory; a state that cannot be settled (a plan's terms are gone) answers as it stands.
fn settled(mut state: AccountState, context: Context<'_>) -> AccountState {
    if !state.complete {
        return state;
    }
    if state.life == AccountLife::New {
        let mut unwritten = Changes::default();
        if let Err(rejection) = decide(&mut state, &mut unwritten, &Command::Open, context, &mut FreshIds) {
            tracing::error!(account.id = %state.id, %rejection, "a new account cannot be opened");
        }
    }
    match at_time(&state, context, &mut FreshIds) {
        Ok(settled) => settled,
        Err(rejection) => {
            tracing::error!(account.id = %state.id, %rejection, "what is due on an account cannot be booked");
            state
        }
    }
}
