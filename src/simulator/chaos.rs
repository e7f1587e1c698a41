//! Disorder of deliveries, by seed: copies, delays, another order, attempts that never arrive.
//!
//! What happens to an event depends on the seed and on the event's place among all events, and on nothing else: the
//! same seed and the same events give the same disorder.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

/// Copies of one event.
const COPIES_MAX: u32 = 20;
/// Events that may be held back at once.
const WINDOW_MAX: usize = 1_000;
/// The longest delay: Stripe gives up after three days.
const DELAY_MAX_MILLISECONDS: u64 = 3 * 24 * 60 * 60 * 1_000;
/// Deliveries under way at once.
const LANES_MAX: usize = 8;
/// Parts of a whole in which a loss is given.
const WHOLE: u32 = 1_000;

/// What is to go wrong with deliveries; the default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Chaos {
    /// What decides; the same seed decides the same.
    pub seed: u64,
    /// Each event is sent again up to so many times, 20 at most.
    pub copies_max: u32,
    /// Each event waits up to so many milliseconds, three days at most: of virtual time if the retry plan is
    /// [Stripe's](super::RetryPlan::stripe), else of real time.
    pub delay_milliseconds_max: u64,
    /// Out of so many waiting events any one may be the next; 0 and 1 keep the order.
    pub window: usize,
    /// So many of a thousand attempts are lost on their way.
    pub lost_per_thousand: u32,
    /// So many deliveries are under way at once, 8 at most; 0 stands for 1, which keeps the order decided.
    pub lanes: usize,
}

impl Chaos {
    /// The name of what is out of bounds.
    pub fn check(&self) -> Result<(), &'static str> {
        for (fits, name) in [
            (self.copies_max <= COPIES_MAX, "copies_max"),
            (self.delay_milliseconds_max <= DELAY_MAX_MILLISECONDS, "delay_milliseconds_max"),
            (self.window <= WINDOW_MAX, "window"),
            (self.lost_per_thousand <= WHOLE, "lost_per_thousand"),
            (self.lanes <= LANES_MAX, "lanes"),
        ] {
            if !fits {
                return Err(name);
            }
        }
        Ok(())
    }

    /// Randomness for one purpose about one event: streams of different purposes never meet in practice.
    fn random(&self, purpose: u64, place: usize) -> StdRng {
        let mut mixed = self.seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = mixed.rotate_left(31) ^ u64::try_from(place).unwrap_or(u64::MAX).wrapping_mul(0xD1B5_4A32_D192_ED03);
        StdRng::seed_from_u64(mixed)
    }

    /// How many copies of an event are sent, and after how many milliseconds.
    pub fn decide(&self, place: usize) -> (u32, u64) {
        let mut random = self.random(1, place);
        (random.random_range(0..=self.copies_max), random.random_range(0..=self.delay_milliseconds_max))
    }

    /// Whether an attempt is lost.
    pub fn loses(&self, place: usize, attempt: u32, copy: u32) -> bool {
        let purpose = 2 + (u64::from(attempt) << 8) + (u64::from(copy) << 40);
        self.random(purpose, place).random_range(0..WHOLE) < self.lost_per_thousand
    }

    /// Which of the waiting ones is next.
    fn next_of(&self, waiting: usize, drawn: usize) -> usize {
        self.random(3, drawn).random_range(0..waiting.max(1))
    }
}

/// One sending of an event: the event itself, or a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Which event.
    pub event: String,
    /// Zero for the event itself.
    pub copy: u32,
}

/// What waits to be sent under a disorder.
#[derive(Debug, Default)]
pub struct Queue {
    /// The disorder; none sends at once.
    pub chaos: Option<Chaos>,
    held: Vec<Sending>,
    ready: VecDeque<Sending>,
    drawn: usize,
    lanes: usize,
    outstanding: usize,
    taken: u64,
}

impl Queue {
    /// Takes an event and its copies; some that waited become ready. Gives the number of the taking if any still wait.
    pub fn hold(&mut self, event: &str, copies: u32) -> Option<u64> {
        self.taken += 1;
        for copy in 0..=copies {
            self.held.push(Sending { event: event.to_owned(), copy });
            self.outstanding += 1;
        }
        let window = self.chaos.as_ref().map_or(0, |chaos| chaos.window);
        while self.held.len() > window.saturating_sub(1) {
            self.draw();
        }
        (!self.held.is_empty()).then_some(self.taken)
    }

    /// Everything that waits becomes ready, if nothing was taken since.
    pub fn flush_since(&mut self, taken: u64) {
        if self.taken == taken {
            self.flush();
        }
    }

    /// Everything that waits becomes ready.
    pub fn flush(&mut self) {
        while !self.held.is_empty() {
            self.draw();
        }
    }

    fn draw(&mut self) {
        let ordered = self.chaos.as_ref().filter(|chaos| chaos.window > 1);
        let next = ordered.map_or(0, |chaos| chaos.next_of(self.held.len(), self.drawn));
        self.drawn += 1;
        let sending = self.held.remove(next.min(self.held.len() - 1));
        self.ready.push_back(sending);
    }

    /// Takes a place to send in, if one is free and there is something to send.
    pub fn open_lane(&mut self) -> bool {
        let most = self.chaos.as_ref().map_or(1, |chaos| chaos.lanes.max(1));
        let opens = self.lanes < most && !self.ready.is_empty();
        self.lanes += usize::from(opens);
        opens
    }

    /// What the holder of a place sends next; without any the place is given back.
    pub fn next(&mut self) -> Option<Sending> {
        let next = self.ready.pop_front();
        if next.is_none() {
            self.lanes = self.lanes.saturating_sub(1);
        }
        next
    }

    /// A sending was answered, or lost.
    pub fn done(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Sendings not answered yet.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order_of(chaos: &Chaos) -> Vec<Sending> {
        let mut queue = Queue { chaos: Some(chaos.clone()), ..Queue::default() };
        for place in 0..30 {
            let _waiting = queue.hold(&format!("evt_{place}"), chaos.decide(place).0);
        }
        queue.flush();
        assert!(queue.open_lane());
        let mut order = Vec::new();
        while let Some(sending) = queue.next() {
            order.push(sending);
        }
        order
    }

    #[test]
    fn one_seed_gives_one_order_with_everything_in_it() {
        let chaos = Chaos { seed: 7, copies_max: 20, window: 8, ..Chaos::default() };
        let order = order_of(&chaos);
        assert_eq!(order, order_of(&chaos));
        assert_ne!(order, order_of(&Chaos { seed: 8, ..chaos.clone() }));
        for place in 0..30 {
            let sent = order.iter().filter(|sending| sending.event == format!("evt_{place}")).count();
            assert_eq!(u32::try_from(sent).unwrap(), 1 + chaos.decide(place).0);
        }
        assert!((0..200).any(|place| chaos.decide(place).0 == 20) && (0..200).any(|place| chaos.decide(place).0 == 0));
    }

    #[test]
    fn without_a_window_the_order_is_kept_and_nothing_waits() {
        let chaos = Chaos::default();
        let order: Vec<String> = order_of(&chaos).into_iter().map(|sending| sending.event).collect();
        assert_eq!(order, (0..30).map(|place| format!("evt_{place}")).collect::<Vec<_>>());
    }

    #[test]
    fn losses_follow_the_seed_and_its_share() {
        let chaos = Chaos { seed: 3, lost_per_thousand: 500, ..Chaos::default() };
        let lost = (0..1_000).filter(|place| chaos.loses(*place, 1, 0)).count();
        assert!((400..600).contains(&lost), "{lost}");
        assert!((0..50).any(|place| chaos.loses(place, 1, 0) != chaos.loses(place, 2, 0)), "attempts differ");
        assert!(!(0..100).any(|place| Chaos::default().loses(place, 1, 0)));
        assert!((0..100).all(|place| Chaos { lost_per_thousand: 1_000, ..Chaos::default() }.loses(place, 1, 0)));
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let base = Chaos::default();
        assert_eq!(base.check(), Ok(()));
        assert_eq!(Chaos { copies_max: 21, ..base.clone() }.check(), Err("copies_max"));
        assert_eq!(Chaos { window: 1_001, ..base.clone() }.check(), Err("window"));
        assert_eq!(Chaos { lost_per_thousand: 1_001, ..base.clone() }.check(), Err("lost_per_thousand"));
        assert_eq!(Chaos { lanes: 9, ..base.clone() }.check(), Err("lanes"));
        let long = DELAY_MAX_MILLISECONDS + 1;
        assert_eq!(Chaos { delay_milliseconds_max: long, ..base }.check(), Err("delay_milliseconds_max"));
    }
}
