//! A Stripe that answers from a list and remembers what it was asked. For tests, and for reading stored answers again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;

use super::client::{Answer, Fetch, Fetched, StripeClient, StripeError};

/// A client with canned answers by path. A path without one is 404, as for an object Stripe does not know.
#[derive(Debug, Default)]
pub struct RecordingFake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answers: BTreeMap<String, Result<Fetched, StripeError>>,
    calls: Vec<String>,
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
}
