//! A Stripe that answers from a list and remembers what it was asked and told. For tests, and for reading stored answers
//! again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;

use super::client::{Answer, Fetch, Fetched, Sent, StripeClient, StripeError};
use super::frozen::{Frozen, IdempotencyKey};
use super::outcome::{self, AnswerHead, UnknownReason, WriteOutcome};

/// A client with canned answers by path. A path without one is 404, as for an object Stripe does not know;
/// a write without one finds no connection.
#[derive(Debug, Default)]
pub struct RecordingFake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<String, Result<Fetched, StripeError>>,
    calls: Vec<String>,
    outcomes: BTreeMap<String, VecDeque<WriteOutcome>>,
    writes: Vec<(Frozen, IdempotencyKey)>,
}

impl RecordingFake {
    /// A fake that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers this question with 200 and this body from now on.
    pub fn answer(&self, what: &Fetch, body: impl Into<Bytes>) {
        let fetched = Fetched { status: 200, request_id: Some("req_fake".to_owned()), body: body.into() };
        self.state().answers.insert(what.path(), Ok(fetched));
    }

    /// Fails this question from now on.
    pub fn fail(&self, what: &Fetch, error: StripeError) {
        self.state().answers.insert(what.path(), Err(error));
    }

    /// The paths asked for, in order.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// Answers a write to this path with this status and body from now on; several are given in order, the last for ever.
    pub fn answer_write(&self, path: &str, status: u16, body: impl Into<Bytes>) {
        let head = AnswerHead { status, request_id: Some("req_fake".to_owned()), ..AnswerHead::default() };
        self.outcome(path, outcome::judge(head, body.into()));
    }

    /// Leaves a write to this path unknown; in the same order as answers.
    pub fn lose_write(&self, path: &str, why: UnknownReason) {
        self.outcome(path, outcome::unknown(why, AnswerHead::default(), Bytes::new()));
    }

    fn outcome(&self, path: &str, outcome: WriteOutcome) {
        self.state().outcomes.entry(path.to_owned()).or_default().push_back(outcome);
    }

    /// What was written, with its keys, in order.
    pub fn writes(&self) -> Vec<(Frozen, IdempotencyKey)> {
        self.state().writes.clone()
    }

    // A poisoned lock means a test's thread panicked; what it wrote is whole, for each write is one insert.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StripeClient for RecordingFake {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        Box::pin(async move {
            let path = what.path();
            let mut state = self.state();
            let answer = state.answers.get(&path).cloned();
            state.calls.push(path);
            answer.unwrap_or_else(|| Ok(Fetched { status: 404, request_id: None, body: Bytes::from_static(b"{}") }))
        })
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        Box::pin(async move {
            let mut state = self.state();
            state.writes.push((write.clone(), key.clone()));
            let unreached = || outcome::unknown(UnknownReason::NotConnected, AnswerHead::default(), Bytes::new());
            let Some(outcomes) = state.outcomes.get_mut(write.path()) else { return unreached() };
            let next = if outcomes.len() > 1 { outcomes.pop_front() } else { outcomes.front().cloned() };
            next.unwrap_or_else(unreached)
        })
    }
}
