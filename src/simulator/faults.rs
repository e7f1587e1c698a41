//! What goes wrong with calls, by rule: which method and path, which call or what share, and how.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

/// Rules in force at once.
pub const RULES_MAX: usize = 64;
/// Parts of a whole in which a share is given.
const WHOLE: u32 = 1_000;
/// The latest reply: after it no client still waits.
const LATE_MAX_MILLISECONDS: u64 = 10 * 60 * 1_000;

/// How a call goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// No answer ever comes; the connection stays open until the caller leaves.
    Hang,
    /// The work is done at once and its answer comes later.
    ReplyLate {
        /// How much later.
        milliseconds: u64,
    },
    /// The work is done; of the answer's body so many bytes arrive, then the connection closes.
    CutBody {
        /// How many bytes.
        at: usize,
    },
    /// The connection is reset before any answer.
    Reset,
    /// The work is done, and the connection closes without an answer.
    DropReply,
    /// 409, not executed.
    Conflict,
    /// 429, not executed.
    TooManyRequests {
        /// Seconds of the `Retry-After` header; none leaves it out.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// The work is done and 500 is answered, for good: the idempotency key keeps it.
    ServerError,
    /// 502, 503 or 504 with a body like Stripe's.
    Gateway {
        /// Which of them.
        status: u16,
    },
    /// An HTML page, as a proxy in between would answer.
    Html {
        /// Its status, 200 or an error.
        status: u16,
    },
    /// 200 and `{}`: JSON that is no object of Stripe's, as a cache in between might keep.
    Empty,
}

/// Which calls go wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Only this method; any without.
    #[serde(default)]
    pub method: Option<String>,
    /// Only paths that begin so.
    pub path: String,
    /// Only this one of the calls that fit, counted from 1.
    #[serde(default)]
    pub nth: Option<u32>,
    /// Only so many of a thousand calls that fit, chosen by the seed; 1000 without.
    #[serde(default)]
    pub per_thousand: Option<u32>,
    /// What chooses; the same seed chooses the same calls.
    #[serde(default)]
    pub seed: u64,
    /// Only so often; always without.
    #[serde(default)]
    pub times: Option<u32>,
    /// Whether the work is done first: for `hang`, `reset`, `gateway`, `html` and `empty`, which leave it open.
    #[serde(default)]
    pub executed: bool,
    /// The `Stripe-Should-Retry` header of the answer; none without.
    #[serde(default)]
    pub should_retry: Option<bool>,
    /// How.
    pub fault: Fault,
}

impl FaultRule {
    /// A rule for every call to paths that begin so.
    #[must_use]
    pub fn new(method: &str, path: &str, fault: Fault) -> Self {
        Self {
            method: Some(method.to_owned()),
            path: path.to_owned(),
            nth: None,
            per_thousand: None,
            seed: 0,
            times: None,
            executed: false,
            should_retry: None,
            fault,
        }
    }

    /// The same, for one of the calls that fit, counted from 1.
    #[must_use]
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = Some(nth);
        self
    }

    /// The same, with the work done first.
    #[must_use]
    pub fn after_work(mut self) -> Self {
        self.executed = true;
        self
    }

    /// The same, with a `Stripe-Should-Retry` header.
    #[must_use]
    pub fn should_retry(mut self, retry: bool) -> Self {
        self.should_retry = Some(retry);
        self
    }

    /// What is out of bounds.
    pub fn check(&self) -> Result<(), &'static str> {
        let free = matches!(
            self.fault,
            Fault::Hang | Fault::Reset | Fault::Gateway { .. } | Fault::Html { .. } | Fault::Empty
        );
        let fits = match self.fault {
            Fault::Gateway { status } => (502..=504).contains(&status),
            Fault::Html { status } => status == 200 || (400..600).contains(&status),
            Fault::ReplyLate { milliseconds } => milliseconds <= LATE_MAX_MILLISECONDS,
            Fault::Hang
            | Fault::CutBody { .. }
            | Fault::Reset
            | Fault::DropReply
            | Fault::Conflict
            | Fault::TooManyRequests { .. }
            | Fault::ServerError
            | Fault::Empty => true,
        };
        let silent = matches!(self.fault, Fault::Hang | Fault::Reset | Fault::DropReply);
        for (fine, name) in [
            (self.path.starts_with("/v1/"), "path"),
            (self.nth != Some(0), "nth"),
            (self.nth.is_none() || self.per_thousand.is_none(), "per_thousand"),
            (self.per_thousand.is_none_or(|share| share <= WHOLE), "per_thousand"),
            (free || !self.executed, "executed"),
            (!silent || self.should_retry.is_none(), "should_retry"),
            (fits, "fault"),
        ] {
            if !fine {
                return Err(name);
            }
        }
        Ok(())
    }

    /// Whether the work is done.
    pub fn executes(&self) -> bool {
        match self.fault {
            Fault::Hang | Fault::Reset | Fault::Gateway { .. } | Fault::Html { .. } | Fault::Empty => self.executed,
            Fault::ReplyLate { .. } | Fault::CutBody { .. } | Fault::DropReply | Fault::ServerError => true,
            Fault::Conflict | Fault::TooManyRequests { .. } => false,
        }
    }

    /// The name in the log.
    pub fn name(&self) -> String {
        match &self.fault {
            Fault::Hang => "hang".to_owned(),
            Fault::ReplyLate { milliseconds } => format!("reply_late {milliseconds}"),
            Fault::CutBody { at } => format!("cut_body {at}"),
            Fault::Reset => "reset".to_owned(),
            Fault::DropReply => "drop_reply".to_owned(),
            Fault::Conflict => "conflict".to_owned(),
            Fault::TooManyRequests { .. } => "too_many_requests".to_owned(),
            Fault::ServerError => "server_error".to_owned(),
            Fault::Gateway { status } => format!("gateway {status}"),
            Fault::Html { status } => format!("html {status}"),
            Fault::Empty => "empty".to_owned(),
        }
    }

    fn fits(&self, method: &str, path: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method)) && path.starts_with(&self.path)
    }
}

/// A rule and how often it was asked and applied.
#[derive(Clone, Debug)]
struct Counted {
    rule: FaultRule,
    seen: u32,
    applied: u32,
}

impl Counted {
    fn applies(&mut self, method: &str, path: &str) -> bool {
        if !self.rule.fits(method, path) {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        let chosen = match (self.rule.nth, self.rule.per_thousand) {
            (Some(nth), _) => self.seen == nth,
            (None, None) => true,
            (None, Some(share)) => {
                let mut random = StdRng::seed_from_u64(self.rule.seed ^ (u64::from(self.seen) << 32));
                random.random_range(0..WHOLE) < share
            }
        };
        let left = self.rule.times.is_none_or(|times| self.applied < times);
        if chosen && left {
            self.applied = self.applied.saturating_add(1);
        }
        chosen && left
    }
}

/// Stripe is away for every call, until it is there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Outage {
    /// Connections are reset.
    #[serde(rename = "refuse")]
    Refuse,
    /// Nothing is ever answered.
    #[serde(rename = "hang")]
    Hang,
    /// 500, and nothing was executed.
    #[serde(rename = "500")]
    ServerError,
    /// 502.
    #[serde(rename = "502")]
    BadGateway,
}

impl Outage {
    /// The rule every call meets.
    fn rule(self) -> FaultRule {
        let fault = match self {
            Self::Refuse => Fault::Reset,
            Self::Hang => Fault::Hang,
            Self::ServerError => Fault::Gateway { status: 500 },
            Self::BadGateway => Fault::Gateway { status: 502 },
        };
        FaultRule { method: None, ..FaultRule::new("", "/v1/", fault) }
    }
}

/// The faults in force. Errors of TLS are not among them: the simulator speaks plain HTTP on loopback.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// How long a claimed write waits before it is executed.
    pub latency: Duration,
    /// How many coming writes are executed and then answered with 500.
    pub failing_writes: u32,
    /// Whether Stripe is away.
    pub outage: Option<Outage>,
    /// Whether every key is refused.
    pub revoked: bool,
    rules: Vec<Counted>,
}

impl Faults {
    /// Puts rules in the place of those that were; their counting begins.
    pub fn set_rules(&mut self, rules: Vec<FaultRule>) {
        self.rules = rules.into_iter().map(|rule| Counted { rule, seen: 0, applied: 0 }).collect();
    }

    /// The first rule that applies to a call; every rule that fits counts it.
    pub fn take(&mut self, method: &str, path: &str) -> Option<FaultRule> {
        if let Some(outage) = self.outage {
            return Some(outage.rule());
        }
        let mut first = None;
        for counted in &mut self.rules {
            if first.is_none() && counted.applies(method, path) {
                first = Some(counted.rule.clone());
            } else if first.is_some() && counted.rule.fits(method, path) {
                counted.seen = counted.seen.saturating_add(1);
            }
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_choose_calls_by_number_share_and_count() {
        let mut faults = Faults::default();
        let second = FaultRule::new("POST", "/v1/payment_intents", Fault::Reset).nth(2);
        faults.set_rules(vec![second.clone()]);
        assert_eq!(faults.take("POST", "/v1/payment_intents"), None);
        assert_eq!(faults.take("GET", "/v1/payment_intents"), None, "another method is not counted");
        assert_eq!(faults.take("POST", "/v1/payment_intents"), Some(second));
        assert_eq!(faults.take("POST", "/v1/payment_intents"), None);
        let share = |seed| FaultRule { per_thousand: Some(500), seed, ..FaultRule::new("GET", "/v1/", Fault::Hang) };
        let chosen = |seed| {
            let mut faults = Faults::default();
            faults.set_rules(vec![share(seed)]);
            (0..100).map(|_| faults.take("GET", "/v1/events").is_some()).collect::<Vec<bool>>()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        let hits = chosen(1).into_iter().filter(|hit| *hit).count();
        assert!((25..75).contains(&hits), "{hits}");
        let mut faults = Faults::default();
        faults.set_rules(vec![FaultRule { times: Some(3), ..FaultRule::new("GET", "/v1/", Fault::Conflict) }]);
        assert_eq!((0..10).filter(|_| faults.take("GET", "/v1/x").is_some()).count(), 3);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_by_name() {
        let rule = |fault| FaultRule::new("POST", "/v1/", fault);
        assert_eq!(rule(Fault::Hang).after_work().check(), Ok(()));
        assert_eq!(rule(Fault::Conflict).after_work().check(), Err("executed"));
        assert_eq!(rule(Fault::ServerError).nth(0).check(), Err("nth"));
        assert_eq!(rule(Fault::Gateway { status: 500 }).check(), Err("fault"));
        assert_eq!(rule(Fault::Html { status: 302 }).check(), Err("fault"));
        assert_eq!(rule(Fault::Reset).should_retry(true).check(), Err("should_retry"));
        assert_eq!(FaultRule::new("GET", "/control", Fault::Hang).check(), Err("path"));
        assert_eq!(FaultRule { per_thousand: Some(1_001), ..rule(Fault::Hang) }.check(), Err("per_thousand"));
        assert_eq!(FaultRule { per_thousand: Some(1), ..rule(Fault::Hang) }.nth(1).check(), Err("per_thousand"));
    }
}
