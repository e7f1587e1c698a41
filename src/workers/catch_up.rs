//! Lists Stripe's events and stores those that no delivery brought, so that one lost on its way is found all the same.
//!
//! # Flow
//! Every family of types (what they begin with: invoice, checkout, ..) has a cursor in the database. A pass reads all
//! pages of the window from an hour before the cursor up to now, newest first, and stores what is not known through the
//! same intake as deliveries; the inbox worker does the rest. Only a pass that came to its end moves the cursor, to the
//! newest event it saw, by Stripe's own clock. Where a pass has got is kept after every page: a round that failed, or
//! that had too much to read, goes on there.
//!
//! Stripe filters by 20 types at most. A family never has more (a test holds it), so each is one question; types that
//! creditd does nothing with are not listed at all.
//!
//! # Always true
//! An event is stored once, by its id, whoever brings it. Nothing is listed from before the cut-over, and what Stripe
//! keeps goes back 30 days: older gaps are found by `creditd reconcile`. Daemons take turns by a lease; one that slept
//! under it writes no cursor, for the row knows its fence.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::Beat;
use crate::clock::Clock;
use crate::inbox::receive::{ReceiveError, Received, Receiver};
use crate::meters;
use crate::meters::list::event_families;
use crate::store::catch_up::CatchUpPass;
use crate::store::events::EventOrigin;
use crate::store::leases::Lease;
use crate::store::{Store, StoreError};
use crate::stripe::client::{Fetch, StripeClient, StripeError, StripeId};
use crate::stripe::wire::{RawItem, RawList, WireError};

/// The lease's name.
const LEASE: &str = "catch_up";
/// A holder extends its lease with every page; one page is a question that may be asked three times of 30 seconds, and
/// the storing of a hundred events.
const LEASE_SECONDS: i32 = 180;
/// How far each window reaches back behind the cursor: Stripe's list may show an event late, and passes take time.
pub const OVERLAP: SignedDuration = SignedDuration::from_hours(1);
/// As far back as Stripe keeps events.
pub const REACH: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Pages of one round: 50,000 events, after which the daemon says how far it is and others may take the rest.
const PAGES_MAX: usize = 500;
/// Wait after a round that failed or that another daemon has, if the schedule's own is not shorter.
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// What the worker needs. Cheap to clone.
#[derive(Clone)]
pub struct CatchUp {
    /// The database.
    pub store: Store,
    /// Stores what is listed.
    pub receiver: Receiver,
    /// Stripe.
    pub stripe: Arc<dyn StripeClient>,
    /// Time, for where the first window begins.
    pub clock: Clock,
    /// Nothing before it is listed.
    pub cutover_at: Option<Timestamp>,
    /// Told of every page and every finished round.
    pub beat: Beat,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Stripe did not answer, or refused.
    #[error("{0}")]
    Stripe(#[from] StripeError),
    /// Stripe's answer is no list.
    #[error("Stripe's list of events cannot be read: {0}")]
    Unreadable(#[from] WireError),
    /// Stripe answered with another status, or a list without ids.
    #[error("Stripe's list of events {0}")]
    Unusable(String),
}

/// What was listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events listed.
    pub found: u64,
    /// Of them stored now.
    pub stored: u64,
    /// Of them known.
    pub known: u64,
    /// Of them no events at all; the log says which.
    pub refused: u64,
}

impl Counts {
    /// Adds another count.
    pub const fn add(&mut self, other: Self) {
        self.found = self.found.saturating_add(other.found);
        self.stored = self.stored.saturating_add(other.stored);
        self.known = self.known.saturating_add(other.known);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Round {
    /// Every family was read to its end.
    Finished(Counts),
    /// There is more than one round reads.
    Continued(Counts),
    /// Another daemon is at it.
    Elsewhere,
}

/// What is left of a round.
struct Left<'a> {
    pages: &'a mut usize,
    stop: &'a CancellationToken,
}

/// One page of the list.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// Its events, newest first.
    pub events: Vec<RawItem>,
    /// The last one, when more follow.
    pub next: Option<StripeId>,
}

/// Lists one page of events.
pub async fn event_page(
    stripe: &dyn StripeClient,
    types: &[&'static str],
    since: Timestamp,
    after: Option<StripeId>,
) -> Result<EventPage, CatchUpError> {
    let question =
        Fetch::Events { created_gte: since, only_undelivered: false, types: types.to_vec(), starting_after: after };
    let answer = stripe.fetch(&question).await?;
    if answer.status != 200 {
        return Err(CatchUpError::Unusable(format!("is answered with {}", answer.status)));
    }
    let list = RawList::from_slice(&answer.body)?;
    Ok(EventPage { events: list.data, next: list.next })
}

impl CatchUp {
    /// Works at once and then on its schedule until told to stop; a page under way is finished.
    pub async fn run(self, every: Duration, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.round_until(&stop).await {
                Ok(Round::Continued(_)) => continue,
                Ok(Round::Finished(_)) => every,
                // Who has the lease may have died with it.
                Ok(Round::Elsewhere) => every.min(AFTER_FAILURE),
                Err(error) => {
                    tracing::warn!(%error, "catch-up could not go on; its cursor stays");
                    every.min(AFTER_FAILURE)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One round over all families, unless another daemon is at it.
    pub async fn round(&self) -> Result<Round, CatchUpError> {
        self.round_until(&CancellationToken::new()).await
    }

    /// The same, ending after a page when told to stop.
    async fn round_until(&self, stop: &CancellationToken) -> Result<Round, CatchUpError> {
        let Some(lease) = self.store.take_lease(LEASE, LEASE_SECONDS).await? else {
            meters::CATCH_UP_ROUNDS.add(&["elsewhere"]);
            (self.beat)();
            return Ok(Round::Elsewhere);
        };
        let mut counts = Counts::default();
        let done = self.families(&lease, &mut counts, stop).await;
        self.store.release_lease(&lease).await?;
        let Counts { found, stored, known, refused } = counts;
        match done {
            Ok(true) => {
                meters::CATCH_UP_ROUNDS.add(&["finished"]);
                tracing::info!(found, stored, known, refused, "caught up with Stripe's events");
                (self.beat)();
                Ok(Round::Finished(counts))
            }
            Ok(false) => {
                meters::CATCH_UP_ROUNDS.add(&["continued"]);
                tracing::info!(found, stored, known, refused, "catching up with Stripe's events; there are more");
                Ok(Round::Continued(counts))
            }
            Err(error) => {
                meters::CATCH_UP_ROUNDS.add(&["failed"]);
                tracing::info!(found, stored, known, refused, "catch-up ended early");
                Err(error)
            }
        }
    }

    /// Reads each family to its end; `false`: the round's pages are used up, or the lease is somebody else's. Where
    /// Stripe refuses one family, the others are read all the same.
    async fn families(
        &self,
        lease: &Lease,
        counts: &mut Counts,
        stop: &CancellationToken,
    ) -> Result<bool, CatchUpError> {
        let mut pages = PAGES_MAX;
        let mut failed = None;
        for (family, types) in event_families() {
            // A family is read from where it was left: those before it are known to their end and cost a page each.
            if stop.is_cancelled() {
                return Ok(false);
            }
            match self.family(family, &types, lease, Left { pages: &mut pages, stop }, counts).await {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // The next family would fare no better.
                Err(
                    error @ (CatchUpError::Store(_)
                    | CatchUpError::Stripe(
                        StripeError::Unauthorized { .. }
                        | StripeError::RateLimited { .. }
                        | StripeError::Unavailable { .. },
                    )),
                ) => return Err(error),
                Err(error) => {
                    tracing::warn!(family, %error, "a family of events could not be listed to its end");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(true), Err)
    }

    async fn family(
        &self,
        family: &str,
        types: &[&'static str],
        lease: &Lease,
        round: Left<'_>,
        counts: &mut Counts,
    ) -> Result<bool, CatchUpError> {
        let Some(mut pass) = self.pass(family, lease).await? else { return Ok(false) };
        while let Some(left) = round.pages.checked_sub(1).filter(|_| !round.stop.is_cancelled()) {
            *round.pages = left;
            let after = pass.after.as_deref().and_then(|id| StripeId::new(id).ok());
            let page = match event_page(&*self.stripe, types, pass.since, after).await {
                // The place is gone, perhaps older than Stripe keeps: the next round begins the window anew.
                Err(error @ (CatchUpError::Unusable(_) | CatchUpError::Stripe(StripeError::Refused { .. })))
                    if pass.after.is_some() =>
                {
                    self.store.abandon_catch_up(family, lease).await?;
                    return Err(error);
                }
                page => page?,
            };
            pass.newest = pass.newest.max(page.events.iter().filter_map(|event| event.created).max());
            counts.add(self.keep(&page.events).await?);
            (self.beat)();
            let Some(next) = page.next else {
                return Ok(self.store.finish_catch_up(family, lease, pass.newest).await?);
            };
            let kept = self.store.advance_catch_up(family, lease, pass.newest, next.as_str()).await?;
            if !kept || !self.store.extend_lease(lease, LEASE_SECONDS).await? {
                return Ok(false);
            }
            pass.after = Some(next.as_str().to_owned());
        }
        Ok(false)
    }

    /// The pass under way, else a new one; `None`: somebody holds a newer lease.
    async fn pass(&self, family: &str, lease: &Lease) -> Result<Option<CatchUpPass>, CatchUpError> {
        let known = self.store.catch_up_stream(family).await?;
        if let Some(pass) = known.pass {
            return Ok(Some(pass));
        }
        let since = window_start(known.cursor_at, self.cutover_at, self.clock.now());
        let begun = self.store.begin_catch_up(family, lease, since).await?;
        Ok(begun.then_some(CatchUpPass { since, newest: None, after: None }))
    }

    /// Stores the events of a page that are not known.
    async fn keep(&self, events: &[RawItem]) -> Result<Counts, CatchUpError> {
        let counts = store_unknown(&self.store, &self.receiver, events).await?;
        for (outcome, count) in [("known", counts.known), ("new", counts.stored), ("refused", counts.refused)] {
            for _ in 0..count {
                meters::CATCH_UP_EVENTS.add(&[outcome]);
            }
        }
        Ok(counts)
    }
}

/// Stores those events of a page that are not known, together.
pub async fn store_unknown(store: &Store, receiver: &Receiver, events: &[RawItem]) -> Result<Counts, StoreError> {
    let ids: Vec<&str> = events.iter().filter_map(|event| event.id.as_deref()).collect();
    let known = store.known_events(&ids).await?;
    let is_known = |event: &RawItem| event.id.as_ref().is_some_and(|id| known.contains_key(id));
    let storing = events
        .iter()
        .filter(|event| !is_known(event))
        .map(|event| async move { (event, receiver.store_listed(&event.bytes, EventOrigin::CatchUp).await) });
    let mut counts = Counts { found: u64::try_from(events.len()).unwrap_or(u64::MAX), ..Counts::default() };
    for (event, outcome) in futures_util::future::join_all(storing).await {
        match outcome {
            Ok(Received::Stored | Received::Ignored(_)) => counts.stored += 1,
            // A delivery brought it since the look.
            Ok(Received::Duplicate) => {}
            Err(ReceiveError::Store(error)) => return Err(error),
            Err(error @ (ReceiveError::NotAnEvent(_) | ReceiveError::Signature(_))) => {
                tracing::warn!(event.id = event.id.as_deref(), %error, "listed by Stripe, and no event");
                counts.refused += 1;
            }
        }
    }
    counts.known = counts.found.saturating_sub(counts.stored).saturating_sub(counts.refused);
    Ok(counts)
}

/// Where a window begins: an hour before the cursor, the first time as far back as Stripe keeps events; never before the
/// cut-over.
pub fn window_start(cursor: Option<Timestamp>, cutover: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let (from, back) = cursor.map_or((now, REACH), |cursor| (cursor, OVERLAP));
    let start = from.checked_sub(back).unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH);
    cutover.map_or(start, |cutover| start.max(cutover))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::client::EVENT_TYPES_MAX;

    #[test]
    fn a_window_begins_an_hour_before_the_cursor_and_never_before_the_cut_over() {
        let time = |text: &str| text.parse::<Timestamp>().unwrap();
        let (now, cursor) = (time("2026-11-21T12:00:00Z"), time("2026-11-21T11:30:00Z"));
        assert_eq!(window_start(None, None, now), time("2026-10-22T12:00:00Z"));
        assert_eq!(window_start(None, Some(time("2026-11-01T00:00:00Z")), now), time("2026-11-01T00:00:00Z"));
        assert_eq!(window_start(None, Some(time("2026-01-01T00:00:00Z")), now), time("2026-10-22T12:00:00Z"));
        assert_eq!(window_start(Some(cursor), None, now), time("2026-11-21T10:30:00Z"));
        assert_eq!(window_start(Some(cursor), Some(time("2026-11-21T11:00:00Z")), now), time("2026-11-21T11:00:00Z"));
    }

    #[test]
    fn no_family_has_more_types_than_stripe_takes() {
        for (family, types) in event_families() {
            assert!((1..=EVENT_TYPES_MAX).contains(&types.len()), "{family} has {}", types.len());
        }
    }
}
