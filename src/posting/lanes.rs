//! Lanes: group commit without timers, and a way past it when little is queued.
//!
//! A lane takes whatever is queued and has one commit in flight; two of them keep the disk busy while the next batch
//! gathers. With few commands about, batching only adds waiting, so each runs on a connection of its own, unless its
//! account is already being worked on that way: a hot account is always batched.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use super::batch::{self, Answer, Order};
use super::{PostError, thread};
use crate::domain::command::{Command, IdempotencyKey};
use crate::domain::ids::AccountId;
use crate::store::{Store, StoreError};

/// Lanes of one daemon: measured best on two cores; each keeps one connection.
const LANES: usize = 2;
/// Most commands of one transaction: past it a batch holds its locks longer than it saves.
pub const BATCH_MAX: usize = 512;
/// Most commands waiting in one lane before callers are told to come back: some seconds of work.
const QUEUE_MAX: usize = 8_192;
/// What a caller turned away waits.
const BUSY_RETRY: Duration = Duration::from_millis(500);
/// Commands about, at or below which each runs on its own connection.
const SHALLOW: usize = 2;

struct Job {
    order: Order,
    answer: oneshot::Sender<Answer>,
}

#[derive(Default)]
struct Lane {
    queue: Mutex<VecDeque<Job>>,
    wake: Notify,
}

struct Shared {
    store: Store,
    door: super::Shared,
    lanes: Vec<Lane>,
    /// Commands queued or being worked on.
    about: AtomicUsize,
    /// Accounts being worked on outside the lanes.
    alone: Mutex<HashSet<AccountId>>,
    /// Idle connections of commands that ran alone.
    idle: Mutex<Vec<sqlx::pool::PoolConnection<sqlx::Postgres>>>,
    closed: std::sync::atomic::AtomicBool,
    tasks: TaskTracker,
}

/// The lanes of one daemon. Cheap to clone; when the last clone is gone they finish what is queued and end.
#[derive(Clone)]
pub struct Lanes(Arc<Handle>);

struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        for lane in &self.lanes {
            lane.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Lanes").field("about", &self.0.0.about.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lanes {
    pub(super) fn start(store: &Store, door: &super::Shared) -> Self {
        let shared = Arc::new(Shared {
            store: store.clone(),
            door: door.clone(),
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            about: AtomicUsize::new(0),
            alone: Mutex::default(),
            idle: Mutex::default(),
            closed: std::sync::atomic::AtomicBool::new(false),
            tasks: TaskTracker::new(),
        });
        for number in 0..LANES {
            let of_lane = shared.clone();
            thread::run(&format!("lane-{number}"), &shared.tasks, move || {
                let shared = of_lane.clone();
                async move { run_lane(&shared, number).await }
            });
        }
        Self(Arc::new(Handle(shared)))
    }

    pub(super) async fn post(&self, account: AccountId, key: Option<IdempotencyKey>, command: Command) -> Answer {
        if self.0.0.closed.load(Ordering::SeqCst) {
            return Err(PostError::Busy(BUSY_RETRY));
        }
        let (answer, answered) = oneshot::channel();
        let job = Job { order: Order { account, key, command }, answer };
        self.submit(job)?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the daemon is stopping".to_owned()).into()))
    }

    fn submit(&self, job: Job) -> Result<(), PostError> {
        let shared = &self.0.0;
        let about = shared.about.fetch_add(1, Ordering::SeqCst);
        let account = job.order.account;
        if about < SHALLOW && guard(&shared.alone).insert(account) {
            let shared = shared.clone();
            shared.tasks.clone().spawn(async move { run_alone(&shared, job).await });
            return Ok(());
        }
        // The first bytes of a v7 uuid are a time; its last byte is random.
        let number = usize::from(account.as_uuid().as_bytes()[15] >> 4) % LANES;
        let lane = &shared.lanes[number];
        let mut queue = guard(&lane.queue);
        if queue.len() >= QUEUE_MAX {
            drop(queue);
            shared.about.fetch_sub(1, Ordering::SeqCst);
            return Err(PostError::Busy(BUSY_RETRY));
        }
        queue.push_back(job);
        drop(queue);
        lane.wake.notify_one();
        Ok(())
    }

    pub(super) async fn shut_down(&self) {
        let shared = &self.0.0;
        shared.close();
        shared.tasks.close();
        shared.tasks.wait().await;
        guard(&shared.idle).clear();
    }
}

/// Counts its commands out again, however their task ends.
struct Counted<'a> {
    shared: &'a Shared,
    commands: usize,
    alone: Option<AccountId>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(account) = self.alone {
            guard(&self.shared.alone).remove(&account);
        }
        self.shared.about.fetch_sub(self.commands, Ordering::SeqCst);
    }
}

async fn run_alone(shared: &Shared, job: Job) {
    let counted = Counted { shared, commands: 1, alone: Some(job.order.account) };
    let idle = guard(&shared.idle).pop();
    let connection = match idle {
        Some(connection) => Ok(connection),
        None => shared.store.lane_connection().await,
    };
    let answer = match connection {
        Ok(mut connection) => {
            let mut answers = batch::run(&mut connection, &shared.door, std::slice::from_ref(&job.order)).await;
            if answers.iter().all(|answer| !matches!(answer, Err(PostError::Store(_)))) {
                guard(&shared.idle).push(connection);
            }
            answers.pop().unwrap_or_else(|| Err(StoreError::Database("no answer".to_owned()).into()))
        }
        Err(error) => Err(error.into()),
    };
    drop(counted);
    // A caller that went away does not want its answer; the command stands all the same.
    drop(job.answer.send(answer));
}

async fn run_lane(shared: &Shared, number: usize) {
    let lane = &shared.lanes[number];
    let mut connection: Option<PgConnection> = None;
    loop {
        let jobs = take(lane);
        if jobs.is_empty() {
            if shared.closed.load(Ordering::SeqCst) {
                return;
            }
            lane.wake.notified().await;
            continue;
        }
        run_jobs(shared, &mut connection, jobs).await;
    }
}

fn take(lane: &Lane) -> Vec<Job> {
    let mut queue = guard(&lane.queue);
    let count = queue.len().min(BATCH_MAX);
    queue.drain(..count).collect()
}

async fn run_jobs(shared: &Shared, kept: &mut Option<PgConnection>, jobs: Vec<Job>) {
    let _counted = Counted { shared, commands: jobs.len(), alone: None };
    let (orders, callers): (Vec<Order>, Vec<_>) = jobs.into_iter().map(|job| (job.order, job.answer)).unzip();
    let connection = match kept.take() {
        Some(connection) => Ok(connection),
        None => shared.store.own_connection().await,
    };
    let answers = match connection {
        Ok(mut connection) => {
            let answers = batch::run(&mut connection, &shared.door, &orders).await;
            if answers.iter().all(|answer| !matches!(answer, Err(PostError::Store(_)))) {
                *kept = Some(connection);
            }
            answers
        }
        Err(error) => {
            let error = PostError::from(error);
            orders.iter().map(|_| Err(error.clone())).collect()
        }
    };
    for (caller, answer) in callers.into_iter().zip(answers) {
        drop(caller.send(answer));
    }
}
