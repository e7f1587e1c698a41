//! A Stripe of which some answers to questions cannot be read; what it is told to do arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use creditd::stripe::client::{Answer, Fetch, Fetched, Sent, StripeClient};
use creditd::stripe::frozen::{Frozen, IdempotencyKey};

/// Bodies that are JSON, and no answer of Stripe's.
pub const BODIES: [&str; 5] =
    ["{}", "[]", r#"{"data":[]}"#, r#"{"object":"list","data":[],"has_more":true}"#, r#"{"object":"list"}"#];

/// Gives so many answers that cannot be read, from a question on.
pub struct Garbled {
    inner: Arc<dyn StripeClient>,
    from: usize,
    many: usize,
    body: &'static str,
    asked: AtomicUsize,
}

impl Garbled {
    pub fn new(inner: Arc<dyn StripeClient>, from: usize, many: usize, body: &'static str) -> Self {
        Self { inner, from, many, body, asked: AtomicUsize::new(0) }
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl StripeClient for Garbled {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        if (self.from..self.from.saturating_add(self.many)).contains(&number) {
            let body = self.body.as_bytes().to_vec().into();
            return Box::pin(async move { Ok(Fetched { status: 200, request_id: None, body }) });
        }
        self.inner.fetch(what)
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        self.inner.send(write, key)
    }
}
