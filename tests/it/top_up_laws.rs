//! Laws of top-ups, over any order of use, grants, rules set and taken away, orders, tries and what became of them:
//! at most one decision of a rule is open, no ceiling is ever passed, and what is counted is what was decided.

use std::collections::BTreeMap;

use creditd::domain::attachment::CarryOver;
use creditd::domain::catalog::PlanId;
use creditd::domain::command::{
    Attach, Cancel, CancelWhen, Charging, Command, OrderTopUp, SetRule, TopUpPaid, Track, TryResult,
};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::limit::Window;
use creditd::domain::money::Currency;
use creditd::domain::top_up::decline::Why;
use creditd::domain::top_up::{Buy, Ceiling, ChargeMode, Consent, RuleOrigin, TopUp, TopUpState, TryState};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::domain_laws::{feature, given};
use crate::support::world::World;

/// Ten credits cost a dollar or 90 euro cents; whoever has `pro` is topped up by the plan.
const CATALOG: &str = r#"
[features.messages]
type = "metered"
[features.credits]
type = "credit_system"
costs = { messages = "1" }
[plans.packs]
add_on = true
[[plans.packs.items]]
feature = "credits"
packs = [
  { credits = "10", amount = "1.00", currency = "usd" },
  { credits = "10", amount = "0.90", currency = "eur" },
]
[plans.pro]
[[plans.pro.items]]
feature = "credits"
included = "15"
[[plans.pro.top_ups]]
feature = "credits"
threshold = "10"
target = "40"
currency = "usd"
max_per_day = { count = 2 }
max_per_month = { money = "12.00" }
consent = "v1"
"#;

/// Most of a day, in decisions, and of a month, in minor units, of each rule here; the plan's says the same.
const DAY_COUNT: i64 = 2;
const MONTH_MINOR: i64 = 1_200;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Use(u32),
    Give(u32),
    Set {
        name: usize,
        enabled: bool,
        euro: bool,
        threshold: i64,
        quantity: u32,
        cooldown: u32,
    },
    Drop(usize),
    Order {
        euro: bool,
        quantity: u32,
    },
    Attach,
    Leave,
    Wait(u32),
    Look,
    Card,
    /// Something becomes of the how manieth open top-up.
    Try {
        which: usize,
        ends: Ends,
    },
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Paid,
    SoftDecline,
    HardDecline,
    NoCard,
    NotDone,
    Unknown,
    GivenUp,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ends = prop_oneof![
        4 => Just(Ends::Paid),
        2 => Just(Ends::SoftDecline),
        1 => Just(Ends::HardDecline),
        1 => Just(Ends::NoCard),
        1 => Just(Ends::NotDone),
        1 => Just(Ends::Unknown),
        1 => Just(Ends::GivenUp),
    ];
    let set = (0_usize..3, prop::bool::weighted(0.8), any::<bool>(), -5_i64..30, 1_u32..120, 0_u32..100_000);
    let step = prop_oneof![
        6 => (1_u32..40).prop_map(Step::Use),
        1 => (1_u32..40).prop_map(Step::Give),
        3 => set.prop_map(|(name, enabled, euro, threshold, quantity, cooldown)| Step::Set {
            name, enabled, euro, threshold, quantity, cooldown
        }),
        1 => (0_usize..3).prop_map(Step::Drop),
        2 => (any::<bool>(), 1_u32..140).prop_map(|(euro, quantity)| Step::Order { euro, quantity }),
        1 => Just(Step::Attach),
        1 => Just(Step::Leave),
        3 => (1_u32..1_000_000).prop_map(Step::Wait),
        1 => Just(Step::Look),
        1 => Just(Step::Card),
        8 => (0_usize..5, ends).prop_map(|(which, ends)| Step::Try { which, ends }),
    ];
    prop::collection::vec(step, 1..60)
}

impl World {
    /// Refusals are as good as anything: they change nothing.
    fn post(&mut self, command: &Command) {
        drop(self.decide(command));
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Use(units) => {
                let quantity = Quantity::whole(i64::from(*units));
                self.post(&Command::Track(Track::of(feature("messages"), quantity)));
            }
            Step::Give(amount) => self.post(&Command::Grant(given("credits", &amount.to_string()))),
            Step::Set { name, enabled, euro, threshold, quantity, cooldown } => {
                let rule = rule(*name, *enabled, currency(*euro), (*threshold, *quantity), *cooldown);
                self.post(&Command::Charging(Charging::SetRule(Box::new(rule))));
            }
            Step::Drop(name) => self.post(&Command::Charging(Charging::DropRule(format!("rule-{name}")))),
            Step::Order { euro, quantity } => {
                let order = OrderTopUp {
                    feature: feature("credits"),
                    wallet: None,
                    quantity: Credits::whole(i64::from(*quantity)),
                    currency: Some(currency(*euro)),
                    payment_method: None,
                    mode: ChargeMode::PaymentIntent,
                    usual_currency: None,
                    usual_month: most(),
                };
                self.post(&Command::Charging(Charging::Order(Box::new(order))));
            }
            Step::Attach => {
                let wish = Attach {
                    plan: PlanId::new("pro").unwrap(),
                    entity: String::new(),
                    quantity: 1,
                    carry_over: CarryOver::default(),
                };
                self.post(&Command::Attach(wish));
            }
            Step::Leave => {
                let plan = PlanId::new("pro").unwrap();
                self.post(&Command::Cancel(Cancel { plan, entity: String::new(), when: CancelWhen::Now }));
            }
            Step::Wait(seconds) => self.later(i64::from(*seconds)),
            Step::Look => self.post(&Command::Charging(Charging::Look)),
            Step::Card => self.post(&Command::Charging(Charging::CardSeen(None))),
            Step::Try { which, ends } => {
                if let Some(top_up) = self.open().get(*which) {
                    self.end(top_up, *ends);
                }
            }
        }
    }

    fn end(&mut self, top_up: &TopUp, ends: Ends) {
        let id = top_up.id;
        if matches!(ends, Ends::NoCard) {
            return self.post(&Command::Charging(Charging::NoCard(id)));
        }
        if matches!(ends, Ends::GivenUp) {
            self.post(&Command::Charging(Charging::GiveUp { top_up: id, reason: "link_expired" }));
            return self.post(&Command::Charging(Charging::Closed(id)));
        }
        if top_up.state == TopUpState::Open {
            let begin = self.next_try(top_up, "pm_1", "intent");
            self.post(&Command::Charging(Charging::BeginTry(Box::new(begin))));
        }
        let known = self.state.top_ups.iter().find(|known| known.id == id && !known.state.is_over());
        let Some(last) = known.and_then(|known| known.last_try.clone()) else { return };
        let declined = |code: &str| TryResult::Declined {
            payment_intent: Some("pi_1".to_owned()),
            why: Why { code: Some("card_declined".to_owned()), decline_code: Some(code.to_owned()), advice_code: None },
        };
        let result = match ends {
            Ends::Paid => return self.pay_for(top_up),
            Ends::SoftDecline => declined("insufficient_funds"),
            Ends::HardDecline => declined("stolen_card"),
            Ends::NotDone => TryResult::NotDone,
            Ends::Unknown | Ends::NoCard | Ends::GivenUp => TryResult::Unknown { payment_intent: None, invoice: None },
        };
        self.post(&Command::Charging(Charging::TryEnded { top_up: id, attempt: last.attempt, result }));
    }

    fn pay_for(&mut self, top_up: &TopUp) {
        let paid = TopUpPaid { payment_intent: Some("pi_1".to_owned()), ..self.payment_of(top_up) };
        self.post(&Command::Charging(Charging::Paid(Box::new(paid))));
    }

    /// What counts of a rule's decisions in the window around a time: how many, and how much.
    fn decided(&self, rule: &str, window: Window, around: Timestamp) -> (i64, i64) {
        let Some((start, end)) = window.around(around).unwrap() else { return (0, 0) };
        let counts = |top_up: &&TopUp| {
            top_up.rule == rule
                && !matches!(top_up.state, TopUpState::Failed | TopUpState::Dropped)
                && (start..end).contains(&top_up.created_at)
        };
        let found: Vec<i64> = self.state.top_ups.iter().filter(counts).map(|top_up| top_up.amount.minor()).collect();
        (i64::try_from(found.len()).unwrap(), found.iter().sum())
    }

    fn must_keep_the_laws(&self) {
        let open = self.open();
        for top_up in &open {
            let of_rule = open.iter().filter(|other| other.rule == top_up.rule).count();
            assert_eq!(of_rule, 1, "one of a rule is open: {top_up:?}");
            assert!(self.state.rules.iter().any(|rule| rule.name == top_up.rule), "its rule is there");
        }
        for rule in &self.state.rules {
            for (window, spent) in [(Window::Day, rule.day), (Window::Month, rule.month)] {
                let Some(start) = spent.start else {
                    assert_eq!((spent.count, spent.minor), (0, 0));
                    continue;
                };
                assert_eq!((spent.count, spent.minor), self.decided(&rule.name, window, start), "{rule:?}");
            }
        }
        for top_up in &self.state.top_ups {
            let (in_day, _) = self.decided(&top_up.rule, Window::Day, top_up.created_at);
            let (_, of_month) = self.decided(&top_up.rule, Window::Month, top_up.created_at);
            assert!(
                in_day <= DAY_COUNT || top_up.rule.starts_with("demand/"),
                "{} decided {in_day} in a day",
                top_up.rule
            );
            assert!(of_month <= MONTH_MINOR, "{} decided {of_month} in a month", top_up.rule);
            let grants = self.state.grants.iter().filter(|grant| grant.id == top_up.grant).count();
            assert_eq!(grants, usize::from(top_up.state == TopUpState::Succeeded), "{top_up:?}");
            let paid = top_up.last_try.as_ref().filter(|last| last.state == TryState::Succeeded);
            assert!(paid.is_none() || top_up.state == TopUpState::Succeeded);
        }
    }
}

fn currency(euro: bool) -> Currency {
    if euro { "eur" } else { "usd" }.parse().unwrap()
}

fn most() -> BTreeMap<Currency, i64> {
    [currency(true), currency(false)].map(|currency| (currency, MONTH_MINOR)).into()
}

fn rule(name: usize, enabled: bool, pays: Currency, (threshold, quantity): (i64, u32), cooldown: u32) -> SetRule {
    SetRule {
        name: format!("rule-{name}"),
        enabled,
        feature: feature("credits"),
        wallet: None,
        threshold: Credits::whole(threshold),
        buy: Buy::Quantity(Credits::whole(i64::from(quantity))),
        currency: Some(pays),
        usual_currency: None,
        payment_method: None,
        mode: ChargeMode::PaymentIntent,
        per_day: Ceiling { count: u32::try_from(DAY_COUNT).ok(), minor: None },
        per_month: Ceiling::default(),
        usual_month: most(),
        cooldown_seconds: cooldown,
        consent: Some(Consent { by: "ada".to_owned(), at: Timestamp::UNIX_EPOCH, text_version: "1".to_owned() }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_ceilings_hold_and_counters_tell_what_was_decided(steps in steps()) {
        let mut world = World::on(CATALOG, "2026-01-25T12:00:00Z");
        for step in &steps {
            world.take(step);
            world.must_keep_the_laws();
        }
        // What was taken away is forgotten once its month is over and nothing of it is open.
        for _ in 0..10 {
            for top_up in &world.open() {
                world.end(top_up, Ends::Unknown);
                world.pay_for(top_up);
            }
            world.take(&Step::Wait(3_000_000));
        }
        for name in 0..3 {
            world.take(&Step::Drop(name));
        }
        world.take(&Step::Leave);
        world.take(&Step::Wait(3_000_000));
        world.take(&Step::Look);
        world.must_keep_the_laws();
        let kept = world.state.rules.iter().filter(|rule| rule.origin == RuleOrigin::Dropped && world.open().iter().all(|one| one.rule != rule.name));
        prop_assert_eq!(kept.count(), 0);
    }
}
