//! The laws of deciding, over random histories of rules, usage, cards and tries, on the pure engine.
//!
//! What is counted here is counted from the history of what was decided and how it ended, not from the rules' counters.

use std::collections::{BTreeMap, BTreeSet};

use creditd::domain::account::{AccountState, Changes};
use creditd::domain::catalog::CatalogVersion;
use creditd::domain::command::{
    BeginTry, Charging, Command, Decision, OrderTopUp, Rejection, Request, SetRule, TopUpPaid, Track, TryResult,
};
use creditd::domain::decide::{Context, TOP_UP_ITEM, decide};
use creditd::domain::entry::EntryKind;
use creditd::domain::ids::{AttemptId, GrantId, PaymentId, TopUpId};
use creditd::domain::limit::Window;
use creditd::domain::money::Money;
use creditd::domain::top_up::decline::{SOFT_TRIES_MAX, Why};
use creditd::domain::top_up::settings::ChargerSettings;
use creditd::domain::top_up::{Buy, Ceiling, Link, Rule, RuleOrigin, TopUp, TopUpState, TryState};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::{ParseFeature, rule};
use crate::support::app::CATALOG;
use crate::support::world::{Counting, first_version, new_account};

/// A card's answer, or none.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Soft,
    Unclear,
    Hard,
    Owner,
    Processing,
    Refused,
    NotDone,
    Unknown,
}

const ANSWERS: [Answer; 8] = [
    Answer::Soft,
    Answer::Unclear,
    Answer::Hard,
    Answer::Owner,
    Answer::Processing,
    Answer::Refused,
    Answer::NotDone,
    Answer::Unknown,
];

impl Answer {
    fn result(self) -> TryResult {
        let declined = |code: &str| TryResult::Declined {
            payment_intent: Some("pi_1".to_owned()),
            why: Why { code: Some("card_declined".to_owned()), decline_code: Some(code.to_owned()), advice_code: None },
        };
        match self {
            Self::Soft => declined("insufficient_funds"),
            Self::Unclear => declined("do_not_honor"),
            Self::Hard => declined("lost_card"),
            Self::Owner => TryResult::NeedsAction { payment_intent: Some("pi_1".to_owned()) },
            Self::Processing => TryResult::Processing { payment_intent: "pi_1".to_owned() },
            Self::Refused => TryResult::Refused("invalid_request".to_owned()),
            Self::NotDone => TryResult::NotDone,
            Self::Unknown => TryResult::Unknown { payment_intent: None, invoice: None },
        }
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Act {
    Set {
        name: u8,
        target: bool,
        per_day: Option<u32>,
        month: i64,
        cooldown: u32,
        enabled: bool,
        consent: bool,
    },
    Drop(u8),
    Order(u8),
    Spend(u32),
    Look,
    CardSeen,
    CustomerDeleted,
    Begin,
    NoCard,
    Ends(Answer),
    /// The how manieth decision, by its own payment or a second one, or by a wrong amount.
    Paid {
        which: usize,
        again: bool,
        wrong: bool,
    },
    Linked,
    GiveUp,
    Closed,
    Wait(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let set = (0..2_u8, any::<bool>(), proptest::option::of(1..4_u32), 2_000..9_000_i64, 0..90_000_u32, 0..8_u8)
        .prop_map(|(name, target, per_day, month, cooldown, flags)| Act::Set {
            name,
            target,
            per_day,
            month,
            cooldown: if flags % 2 == 0 { 0 } else { cooldown },
            enabled: flags != 3,
            consent: flags != 5,
        });
    prop_oneof![
        3 => set,
        1 => (0..2_u8).prop_map(Act::Drop),
        1 => (1..40_u8).prop_map(Act::Order),
        6 => (1..4_000_u32).prop_map(Act::Spend),
        1 => Just(Act::Look),
        1 => Just(Act::CardSeen),
        1 => Just(Act::CustomerDeleted),
        8 => Just(Act::Begin),
        1 => Just(Act::NoCard),
        6 => (0..ANSWERS.len()).prop_map(|answer| Act::Ends(ANSWERS[answer])),
        6 => (0..6_usize, 0..4_u8, 0..12_u8)
            .prop_map(|(which, again, wrong)| Act::Paid { which, again: again == 0, wrong: wrong == 0 }),
        2 => Just(Act::Linked),
        1 => Just(Act::GiveUp),
        2 => Just(Act::Closed),
        3 => (1..200_000_u32).prop_map(Act::Wait),
    ]
}

/// An account and its history.
struct World {
    state: AccountState,
    catalog: CatalogVersion,
    ids: Counting,
    now: Timestamp,
    /// Credits that each grant got at its begin.
    granted: BTreeMap<GrantId, Vec<i128>>,
    excess: BTreeSet<(TopUpId, PaymentId)>,
    /// Decisions that count against their rule, as long as that rule lives.
    counted: BTreeSet<TopUpId>,
    succeeded: usize,
}

impl World {
    fn new() -> Self {
        let now: Timestamp = "2026-01-30T22:00:00Z".parse().unwrap();
        let mut world = Self {
            state: new_account(now),
            catalog: first_version(CATALOG),
            ids: Counting(0),
            now,
            granted: BTreeMap::new(),
            excess: BTreeSet::new(),
            counted: BTreeSet::new(),
            succeeded: 0,
        };
        let _: Decision = world.apply(&Command::Open).unwrap();
        world
    }

    fn newest(&self) -> Option<&TopUp> {
        self.state.top_ups.iter().rev().find(|top_up| !top_up.state.is_over()).or(self.state.top_ups.last())
    }

    fn do_it(&mut self, act: &Act) {
        let newest = self.newest().cloned();
        let charging = match act {
            Act::Wait(seconds) => {
                self.now += SignedDuration::from_secs(i64::from(*seconds));
                return;
            }
            Act::Spend(messages) => {
                let track = Track::of("basic_messages".parse_feature(), messages.to_string().parse().unwrap());
                let _: Decision = self.apply(&Command::Track(track)).unwrap();
                return;
            }
            Act::Set { .. } => Charging::SetRule(Box::new(wanted(act))),
            Act::Drop(name) => Charging::DropRule(format!("rule-{name}")),
            Act::Order(quantity) => order(*quantity),
            Act::Look => Charging::Look,
            Act::CardSeen => Charging::CardSeen(None),
            Act::CustomerDeleted => Charging::CustomerDeleted,
            Act::Begin => {
                let Some(top_up) = newest else { return };
                Charging::BeginTry(Box::new(self.begin(&top_up)))
            }
            Act::NoCard => Charging::NoCard(newest.map_or(TopUpId::from_uuid(Uuid::nil()), |top_up| top_up.id)),
            Act::Ends(answer) => {
                let Some((id, last)) = newest.and_then(|top_up| Some((top_up.id, top_up.last_try?))) else { return };
                Charging::TryEnded { top_up: id, attempt: last.attempt, result: answer.result() }
            }
            Act::Paid { which, again, wrong } => {
                let back = self.state.top_ups.len().checked_sub(1 + which);
                let Some(top_up) = back.and_then(|at| self.state.top_ups.get(at)) else { return };
                Charging::Paid(Box::new(payment(top_up, self.now, *again, *wrong)))
            }
            Act::Linked => {
                let Some(top_up) = newest else { return };
                let expires_at = Some(self.now + SignedDuration::from_hours(24));
                let (url, number) = ("https://example.com".to_owned(), 1);
                Charging::Linked { top_up: top_up.id, link: Link { url, expires_at, session: None, number } }
            }
            Act::GiveUp => {
                let Some(top_up) = newest else { return };
                Charging::GiveUp { top_up: top_up.id, reason: "link_expired" }
            }
            Act::Closed => {
                let Some(top_up) = newest else { return };
                Charging::Closed(top_up.id)
            }
        };
        // A refusal is an answer; that it left no trace is looked at too.
        let _: Result<Decision, Rejection> = self.apply(&Command::Charging(charging));
    }

    fn begin(&mut self, top_up: &TopUp) -> BeginTry {
        self.ids.0 += 1;
        BeginTry {
            top_up: top_up.id,
            number: top_up.tries + 1,
            attempt: AttemptId::from_uuid(Uuid::from_u128(self.ids.0)),
            customer: "cus_1".to_owned(),
            payment_method: "pm_1".to_owned(),
            step: "charge",
            request: Request { method: "POST".to_owned(), path: "/v1/payment_intents".to_owned(), body: String::new() },
        }
    }

    fn apply(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let before = self.state.clone();
        let mut changes = Changes::default();
        let context = Context { catalog: &self.catalog, now: self.now };
        let decided = decide(&mut self.state, &mut changes, command, context, &mut self.ids);
        if decided.is_err() {
            assert_eq!(before.top_ups, self.state.top_ups, "a refusal changes nothing");
            assert_eq!(before.rules, self.state.rules);
        }
        for (entry, _) in changes.entries.iter().filter(|(entry, _)| entry.kind == EntryKind::Grant) {
            self.granted.entry(entry.grant.unwrap()).or_default().push(entry.amount.nanos());
        }
        for excess in &changes.charging.excess {
            assert!(self.excess.insert((excess.top_up, excess.payment)), "a payment goes back once");
            let top_up = self.top_up(excess.top_up);
            assert_eq!(top_up.state, TopUpState::Succeeded);
            assert_ne!(top_up.payment, Some(excess.payment), "what pays a decision does not go back");
        }
        self.tries_follow_each_other(&before, command);
        self.count_what_ended(&before);
        self.decisions_are_allowed(&before, command);
        self.holds();
        decided
    }

    fn top_up(&self, id: TopUpId) -> &TopUp {
        self.state.top_ups.iter().find(|top_up| top_up.id == id).unwrap()
    }

    fn rule(&self, name: &str) -> Option<&Rule> {
        self.state.rules.iter().find(|rule| rule.name == name)
    }

    /// A try begins when the one before is over, and there are few of them.
    fn tries_follow_each_other(&self, before: &AccountState, command: &Command) {
        for was in &before.top_ups {
            let is = self.top_up(was.id);
            assert!(is.tries <= SOFT_TRIES_MAX, "{is:?}");
            assert!(
                !was.state.is_over() || is.state == was.state || is.state == TopUpState::Succeeded,
                "{was:?} {is:?}"
            );
            assert!(was.state != TopUpState::Succeeded || was == is, "what succeeded stays as it is: {was:?} {is:?}");
            if is.tries == was.tries {
                continue;
            }
            assert!(matches!(command, Command::Charging(Charging::BeginTry(_))), "{command:?}");
            assert_eq!((is.tries, was.state), (was.tries + 1, TopUpState::Open));
            assert!(was.last_try.as_ref().is_none_or(|last| last.state.is_over()), "{was:?}");
            let ended = was.last_try.as_ref().map(|last| last.state);
            assert!(!matches!(ended, Some(TryState::Succeeded)), "what was paid is not charged again");
        }
    }

    /// What is decided now was allowed: enabled, agreed to, not paused, within its ceilings, with nothing else open.
    fn decisions_are_allowed(&mut self, before: &AccountState, command: &Command) {
        let known: BTreeSet<TopUpId> = before.top_ups.iter().map(|top_up| top_up.id).collect();
        let fresh: Vec<TopUp> =
            self.state.top_ups.iter().filter(|top_up| !known.contains(&top_up.id)).cloned().collect();
        for top_up in fresh {
            let rule = self.rule(&top_up.rule).expect("a rule decides").clone();
            for (window, ceiling) in [(Window::Day, rule.terms.per_day), (Window::Month, rule.terms.per_month)] {
                let (count, minor) = self.used(&rule.name, window);
                assert!(ceiling.count.is_none_or(|most| count < i64::from(most)), "{window:?}: {count} of {ceiling:?}");
                let sum = minor + top_up.amount.minor();
                assert!(ceiling.minor.is_none_or(|most| sum <= most), "{window:?}: {sum} of {ceiling:?}");
            }
            assert!(rule.terms.per_month.minor.is_some(), "money is always limited");
            self.counted.insert(top_up.id);
            if rule.origin == RuleOrigin::Demand {
                assert!(matches!(command, Command::Charging(Charging::Order(_))));
                continue;
            }
            assert!(rule.enabled && rule.paused.is_none() && rule.terms.consent.is_some(), "{rule:?}");
            let last =
                before.top_ups.iter().filter(|other| other.rule == rule.name).map(|other| other.created_at).max();
            let lived = before.rules.iter().any(|known| known.name == rule.name);
            let cooldown = SignedDuration::from_secs(i64::from(rule.terms.cooldown_seconds));
            assert!(!lived || last.is_none_or(|last| self.now >= last + cooldown), "{rule:?}");
        }
    }

    /// Decisions of a rule in the window that contains now, and their money, but for those that certainly took nothing.
    fn used(&self, name: &str, window: Window) -> (i64, i64) {
        let (start, _) = window.around(self.now).unwrap().unwrap();
        let of =
            self.state.top_ups.iter().filter(|top_up| {
                top_up.rule == name && self.counted.contains(&top_up.id) && top_up.created_at >= start
            });
        of.fold((0, 0), |(count, minor), top_up| (count + 1, minor + top_up.amount.minor()))
    }

    fn count_what_ended(&mut self, before: &AccountState) {
        for top_up in &self.state.top_ups {
            let was = before.top_ups.iter().find(|was| was.id == top_up.id);
            match top_up.state {
                TopUpState::Failed | TopUpState::Dropped => {
                    self.counted.remove(&top_up.id);
                }
                // Paid after it was given up: it counts again, if there is still a rule to count it.
                TopUpState::Succeeded if was.is_some_and(|was| was.state.is_over() && was.state != top_up.state) => {
                    self.counted.insert(top_up.id);
                }
                _as_it_was => {}
            }
        }
        let live: BTreeSet<&str> = self.state.rules.iter().map(|rule| rule.name.as_str()).collect();
        let gone: Vec<TopUpId> =
            self.state.top_ups.iter().filter(|one| !live.contains(one.rule.as_str())).map(|one| one.id).collect();
        for id in gone {
            self.counted.remove(&id);
        }
    }

    fn holds(&mut self) {
        for rule in &self.state.rules {
            let open = self.state.top_ups.iter().filter(|one| one.rule == rule.name && !one.state.is_over());
            assert!(open.count() <= 1, "one open decision of {}", rule.name);
            for (window, spent) in [(Window::Day, rule.day), (Window::Month, rule.month)] {
                let spent = spent.at(window, self.now);
                assert_eq!((spent.count, spent.minor), self.used(&rule.name, window), "{window:?} of {}", rule.name);
            }
        }
        self.succeeded = 0;
        for top_up in &self.state.top_ups {
            let granted = self.granted.get(&top_up.grant).cloned().unwrap_or_default();
            if top_up.state == TopUpState::Succeeded {
                self.succeeded += 1;
                assert_eq!(granted, [top_up.credits.nanos()], "one grant of what it buys");
                let item = (top_up.payment.unwrap(), TOP_UP_ITEM.to_owned());
                assert_eq!(self.state.bought.get(&item), Some(&top_up.grant));
            } else {
                assert!(granted.is_empty() && top_up.payment.is_none(), "{top_up:?} was not paid");
            }
            assert_eq!(top_up.state.is_over(), top_up.ended_at.is_some());
            assert_eq!(top_up.state.is_over(), top_up.due_at.is_none(), "what is not over is due some time");
        }
        let bought = self.state.bought.keys().filter(|(_, item)| item == TOP_UP_ITEM).count();
        assert_eq!(bought, self.succeeded);
    }
}

fn wanted(act: &Act) -> SetRule {
    let Act::Set { name, target, per_day, month, cooldown, enabled, consent } = act else { panic!("{act:?}") };
    let usual = rule(None);
    SetRule {
        name: format!("rule-{name}"),
        buy: if *target { Buy::Target("30".parse().unwrap()) } else { usual.buy },
        per_day: Ceiling { count: *per_day, minor: None },
        per_month: Ceiling { count: None, minor: Some(*month) },
        cooldown_seconds: *cooldown,
        enabled: *enabled,
        consent: usual.consent.filter(|_| *consent),
        ..rule(None)
    }
}

fn order(quantity: u8) -> Charging {
    Charging::Order(Box::new(OrderTopUp {
        feature: "usd_credits".parse_feature(),
        wallet: None,
        quantity: quantity.to_string().parse().unwrap(),
        currency: None,
        payment_method: None,
        mode: creditd::domain::top_up::ChargeMode::PaymentIntent,
        usual_currency: None,
        usual_month: ChargerSettings::default().usual_month,
    }))
}

fn payment(top_up: &TopUp, now: Timestamp, again: bool, wrong: bool) -> TopUpPaid {
    let own = top_up.id.as_uuid().as_u128();
    let amount = Money::from_minor(top_up.amount.minor() + i64::from(wrong), top_up.amount.currency()).unwrap();
    TopUpPaid {
        top_up: top_up.id,
        payment: PaymentId::from_uuid(Uuid::from_u128(own + if again { 1 << 64 } else { 1 << 65 })),
        payment_intent: Some(if again { "pi_2" } else { "pi_1" }.to_owned()),
        paid_at: now,
        net: amount,
        gross: amount,
        stripe_line: None,
        metadata: BTreeMap::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn random_histories_keep_the_laws(acts in proptest::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        for act in &acts {
            world.do_it(act);
        }
    }
}

/// The histories are worth something: many decide, succeed, come twice and end otherwise.
#[test]
fn random_histories_get_somewhere() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut decided, mut succeeded, mut twice, mut tries) = (0, 0, 0, 0);
    for _ in 0..200 {
        let acts = proptest::collection::vec(act(), 60..80).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        for act in &acts {
            world.do_it(act);
        }
        decided += world.state.top_ups.len();
        succeeded += world.succeeded;
        twice += world.excess.len();
        tries += world.state.top_ups.iter().filter(|top_up| top_up.tries > 1).count();
    }
    println!("{decided} decisions: {succeeded} succeeded, {tries} tried more than once, {twice} paid twice");
    assert!(decided > 400 && succeeded > 200 && tries > 10 && twice > 10);
}
