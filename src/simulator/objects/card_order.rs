//! What a test orders of the next charges of a customer, or with one saved method; it stands above the cards.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::refusal::Refusal;
use super::super::state::{Kind, State};
use super::card::{AUTHENTICATION, Absent, Behavior, DELAY_SECONDS, Decline, Delay, Question};

/// The longest delay that can be ordered.
const DELAY_SECONDS_MAX: i64 = 366 * 24 * 60 * 60;
/// Parts of a whole in which a share is given.
const WHOLE: u32 = 1_000;

/// How a charge goes that is neither paid nor declined at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardBehaviour {
    /// 200 `processing`; later it succeeds, or fails with the order's code.
    Processing,
    /// The owner is asked: 200 `requires_action`, or with a code 402 while the intent waits for its owner.
    RequiresAction,
}

/// How a customer's next charges without a buyer behave: renewals, retries, off-session payments. It stands above the
/// cards. A Checkout Session is paid by a buyer who is there, and as its own order says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CardOrder {
    /// The error's code, such as `card_declined`; without one the charges succeed.
    pub code: Option<String>,
    /// The issuer's reason, such as `insufficient_funds`.
    pub decline_code: Option<String>,
    /// The issuer's advice, such as `try_again_later`.
    pub advice_code: Option<String>,
    /// The network's own advice, such as `02`.
    pub network_advice_code: Option<String>,
    /// The network's own reason, such as `51`.
    pub network_decline_code: Option<String>,
    /// Neither paid nor declined at once.
    pub behaviour: Option<CardBehaviour>,
    /// When a processing charge is known; four days without.
    pub settles_after_seconds: Option<i64>,
    /// So many charges; all until the next order without.
    pub times: Option<u32>,
    /// Only so many of a thousand charges, chosen by the seed; all without.
    pub per_thousand: Option<u32>,
    /// What chooses; the same seed chooses the same charges.
    pub seed: u64,
}

impl CardOrder {
    /// Charges that are declined until the next order.
    #[must_use]
    pub fn declined(code: &str, decline_code: Option<&str>) -> Self {
        let decline_code = decline_code.map(str::to_owned);
        Self { code: Some(code.to_owned()), decline_code, ..Self::default() }
    }

    /// Charges that are processing, and succeed after so many seconds.
    #[must_use]
    pub fn processing(settles_after_seconds: i64) -> Self {
        let (behaviour, seconds) = (Some(CardBehaviour::Processing), Some(settles_after_seconds));
        Self { behaviour, settles_after_seconds: seconds, ..Self::default() }
    }

    /// Charges that are answered with 200 and wait for their owner.
    #[must_use]
    pub fn requires_action() -> Self {
        Self { behaviour: Some(CardBehaviour::RequiresAction), ..Self::default() }
    }

    /// Whether it lets charges go their own way again.
    fn ends(&self) -> bool {
        self.code.is_none() && self.behaviour.is_none()
    }

    /// Refuses an order that makes no sense.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.ends() && self != &Self::default() {
            return Err(Refusal::missing("code"));
        }
        let processing = self.behaviour == Some(CardBehaviour::Processing);
        let fits = |seconds: i64| processing && (0..=DELAY_SECONDS_MAX).contains(&seconds);
        if !self.settles_after_seconds.is_none_or(fits) {
            return Err(Refusal::invalid("settles_after_seconds is for a processing charge, and at most 366 days."));
        }
        if self.per_thousand.is_some_and(|share| share > WHOLE) {
            return Err(Refusal::invalid("per_thousand is at most 1000."));
        }
        Ok(())
    }

    /// The name in the log.
    pub fn name(&self) -> String {
        let named = [self.code.as_deref(), self.decline_code.as_deref(), self.advice_code.as_deref()];
        let mut names: Vec<String> = named.into_iter().flatten().map(str::to_owned).collect();
        names.extend(self.behaviour.map(|behaviour| format!("{behaviour:?}")));
        if names.is_empty() { "succeeds".to_owned() } else { names.join(" ") }
    }

    fn decline(&self, code: &str) -> Decline {
        Decline {
            advice: self.advice_code.clone(),
            network_advice: self.network_advice_code.clone(),
            network_reason: self.network_decline_code.clone(),
            ..Decline::new(code, self.decline_code.as_deref(), "Your card was declined.")
        }
    }

    fn behavior(&self) -> Option<Behavior> {
        let decline = self.code.as_deref().map(|code| self.decline(code));
        Some(match (self.behaviour, decline) {
            (None, None) => return None,
            (None, Some(decline)) if decline.code == AUTHENTICATION => {
                Behavior::Asks(Question { absent: Absent::Declined, decline, then: None, ordered: true })
            }
            (None, Some(decline)) => Behavior::Declines(decline),
            (Some(CardBehaviour::Processing), fails) => {
                Behavior::Processes(Delay { seconds: self.settles_after_seconds.or(Some(DELAY_SECONDS)), fails })
            }
            (Some(CardBehaviour::RequiresAction), decline) => Behavior::Asks(Question {
                absent: if decline.is_some() { Absent::Refused } else { Absent::Asked },
                decline: decline.unwrap_or_else(Decline::wants_owner),
                then: None,
                ordered: true,
            }),
        })
    }

    /// Whether it is for a charge, of which so many were asked about and so many were taken.
    fn takes(&self, seen: u64, taken: u64) -> bool {
        let left = self.times.is_none_or(|times| taken < u64::from(times));
        let chosen = self.per_thousand.is_none_or(|share| {
            let mut random = StdRng::seed_from_u64(self.seed ^ (seen << 32));
            random.random_range(0..WHOLE) < share
        });
        left && chosen
    }
}

/// Orders how the next charges of a customer, or with one card, behave.
pub fn order(state: &mut State, kind: Kind, id: &str, order: &CardOrder) -> Result<(), Refusal> {
    order.check()?;
    state.named(kind, id, "id")?;
    state.set_extra(kind, id, "card_order", json!({ "order": order, "seen": 0, "taken": 0 }));
    Ok(())
}

/// What was ordered for the next charge; with whether it is taken.
pub fn standing(state: &State, kind: Kind, id: &str) -> Option<(Value, Option<Behavior>)> {
    let standing = state.get(kind, id)?.extra.get("card_order")?.clone();
    let order = CardOrder::deserialize(&standing["order"]).ok()?;
    let count = |field: &str| standing[field].as_u64().unwrap_or(0);
    let taken = order.takes(count("seen"), count("taken"));
    let behavior = order.behavior().filter(|_| taken);
    Some((standing, behavior))
}
