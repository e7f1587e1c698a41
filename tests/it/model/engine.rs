//! The real engine in the model's words: steps become commands, what it decides and shows is read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use creditd::domain::account::Changes;
use creditd::domain::burn::{Holdings, balance};
use creditd::domain::catalog::{
    Catalog, CatalogVersion, Cost, Expiry, Feature, FeatureId, Interval, IntervalUnit, Item, Overage, Plan, PlanId,
    ResetAnchor, Returned, UnitPrice,
};
use creditd::domain::check::{Lot, Question, Reason, check};
use creditd::domain::command::{
    Basis, Command, Decision, ExtendHold, NewGrant, Outcome, PlaceHold, Purchase, PurchasedGrant, Rejection, SetLimit,
    Track, WalletRef, WhenShort,
};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::decide::{Context, at_time, decide};
use creditd::domain::entry::{EntryKind, Source};
use creditd::domain::grant::{Blocked, Category, DebtCause, Grant, GrantMoney, Origin, Wallet, WalletState};
use creditd::domain::hold::{HoldState, WhenMore};
use creditd::domain::ids::{GrantId, HoldId, PaymentId, WalletId};
use creditd::domain::limit::Window;
use creditd::domain::reversal::{BackView, DisputeState, MoneyBack, Says};
use creditd::domain::usage::Usage;
use jiff::Timestamp;
use uuid::Uuid;

use super::store::{Ids, Store};
use super::words::{
    Act, Answer, Checked, Dispute, ENTITIES, Every, Name, PRICE, Picture, Refusal, SEATS, SPENT, Shop, Short, Span,
    Step, asked,
};
use crate::support::catalog::free_plan;

/// Ids of wallets, payments and of a hold that is not there; those of the engine count up from far above.
const WALLETS: u128 = 1_000;
const PAYMENTS: u128 = 2_000;
const FIRST_ID: u128 = 1_000_000;

/// An account in the engine's care.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    catalog: Arc<CatalogVersion>,
    store: Store,
    ids: Ids,
    now: i64,
    names: BTreeMap<GrantId, Name>,
    /// Holds in the order in which they were placed.
    holds: Vec<HoldId>,
    views: i64,
    /// Is what is due booked at its own time, as by a worker that never sleeps?
    punctual: bool,
}

impl Engine {
    pub(crate) fn new(shop: &Shop, now: i64, punctual: bool) -> Self {
        let wallet = |(place, (of, priority)): (usize, &(&'static str, i32))| Wallet {
            id: WalletId::from_uuid(Uuid::from_u128(WALLETS + place as u128)),
            key: None,
            name: None,
            feature: feature(of),
            is_default: false,
            priority: *priority,
            state: WalletState::Open,
            default_expiry_days: None,
            debt_limit: None,
            metadata: BTreeMap::new(),
            closed_at: None,
        };
        let store = Store::new(shop.wallets.iter().enumerate().map(wallet).collect(), at(now));
        let catalog = Arc::new(catalog(shop));
        let (names, holds, ids) = (BTreeMap::new(), Vec::new(), Ids(FIRST_ID));
        let mut engine = Self { catalog, store, ids, now, names, holds, views: 0, punctual };
        engine.run_together(&[(0, Command::Open)]);
        engine
    }

    /// Steps that posting decides in one batch; `number` is that of the first.
    pub(crate) fn steps(&mut self, number: usize, steps: &[Step]) -> Vec<Answer> {
        self.sleep_until(self.now + steps[0].wait);
        let mut commands = Vec::new();
        for (place, step) in steps.iter().enumerate() {
            commands.push((number + place, self.command(&step.act)));
        }
        self.run_together(&commands)
    }

    fn sleep_until(&mut self, then: i64) {
        // A hold that ends after a boundary counts at the boundary only for who looks before it ends: while one is open,
        // what rolls over is booked on time, as the worker for renewals does.
        let needs_worker =
            if super::RENEWALS_ARE_WHOLE { self.store.has_open_hold() } else { self.store.owes_credits() };
        let is_settled_on_time = self.punctual || needs_worker;
        while let Some(due) =
            self.store.next_due_at.map(Timestamp::as_second).filter(|due| is_settled_on_time && *due < then)
        {
            self.now = due.max(self.now);
            self.run_together(&[(0, Command::Settle)]);
            assert!(
                self.store.next_due_at.is_none_or(|next| next > at(self.now)),
                "what was due at {due} is due no more once it is booked"
            );
        }
        self.now = then;
    }

    fn run_together(&mut self, commands: &[(usize, Command)]) -> Vec<Answer> {
        let asked: Vec<Command> = commands.iter().map(|(_, command)| command.clone()).collect();
        let mut state = self.store.read(&self.catalog, &asked, at(self.now));
        let (mut changes, mut answers) = (Changes::default(), Vec::new());
        let catalog = self.catalog.clone();
        for (number, command) in commands {
            let context = Context { catalog: &catalog, now: at(self.now) };
            let decision = decide(&mut state, &mut changes, command, context, &mut self.ids);
            for made in &changes.grants {
                let name = || name_of(&made.grant, &made.origin, is_rolled(&changes, made.grant.id), *number);
                self.names.entry(made.grant.id).or_insert_with(name);
            }
            if let (Command::Hold(_), Ok(Decision::Applied(Outcome::Held(held)))) = (command, &decision) {
                self.holds.push(held.hold);
            }
            answers.push(self.answer(decision));
        }
        self.store.write(&state, &changes);
        answers
    }

    fn answer(&self, decision: Result<Decision, Rejection>) -> Answer {
        let outcome = match decision {
            Err(rejection) => return Answer::Refused(refusal(&rejection)),
            Ok(Decision::AlreadyApplied(Outcome::Granted { .. })) => return Answer::Repeated,
            Ok(Decision::Applied(outcome) | Decision::AlreadyApplied(outcome)) => outcome,
        };
        match outcome {
            Outcome::Tracked { cost, drawn, shortfall, available, unlimited, draws, owed, hold, .. } => {
                Answer::Tracked {
                    cost: cost.nanos(),
                    drawn: drawn.nanos(),
                    shortfall: shortfall.nanos(),
                    owed: owed.nanos(),
                    available: available.nanos(),
                    unlimited,
                    draws: draws.iter().map(|draw| (self.names[&draw.grant], draw.amount.nanos())).collect(),
                    hold: hold.map(|hold| hold.held.nanos()),
                }
            }
            Outcome::Held(held) => Answer::Held { held: held.held.nanos(), ends: held.expires_at.as_second() },
            Outcome::Limited { used } => Answer::Limited { used: used.nanos() },
            Outcome::Granted { .. } => Answer::Granted,
            Outcome::Reversed { taken, owed, waived, .. } => {
                Answer::Reversed { taken: taken.nanos(), owed: owed.nanos(), waived: waived.nanos() }
            }
            Outcome::Opened | Outcome::Settled => Answer::Settled,
            other => panic!("no history asks for {other:?}"),
        }
    }

    /// What a reader shows at this time.
    pub(crate) fn picture(&self, number: Option<usize>) -> Picture {
        let now = at(self.now);
        let context = Context { catalog: &self.catalog, now };
        let read = self.store.read_to_answer(now);
        let state = if read.complete { at_time(&read, context, &mut self.ids.clone()).unwrap() } else { read };
        let mut picture = Picture::default();
        for grant in &state.grants {
            let is_over = grant.ends_at().is_some_and(|end| end <= now);
            let left = if is_over { grant.held } else { grant.remaining };
            if left.is_positive() {
                // What is due and not yet booked is of the plan, new periods and what rolls over into them.
                let due = || name_of(grant, &Origin::default(), grant.period.is_none(), 0);
                let name = self.names.get(&grant.id).copied().unwrap_or_else(due);
                picture.lots.insert(name, (left.nanos(), grant.held.nanos()));
            }
        }
        for pool in SPENT {
            for entity in ENTITIES {
                let holdings = Holdings { grants: &state.grants, debts: &state.debts, entity, now };
                let sum = balance(holdings, &feature(pool));
                picture.balances.insert((pool, entity), (sum.available.nanos(), sum.held.nanos()));
            }
        }
        for debt in state.debts.iter().filter(|debt| debt.outstanding.is_positive()) {
            let is_in_credits = !matches!(debt.cause, DebtCause::Usage { price: Some(_) });
            *picture.debts.entry((word(&debt.feature), is_in_credits)).or_default() += debt.outstanding.nanos();
        }
        for ((_, entity), used) in state.levels.iter().filter(|(_, used)| used.is_positive()) {
            picture.levels.insert(ENTITIES.into_iter().find(|known| known == entity).unwrap(), used.nanos());
        }
        for limit in &state.limits {
            let name = ["a", "b"].into_iter().find(|name| *name == limit.name).unwrap();
            picture.limits.insert(name, limit.used_at(now).unwrap().nanos());
        }
        for (of, entity) in asked(number) {
            let question = Question {
                feature: feature(of),
                entity: entity.to_owned(),
                usage: Usage::of(Quantity::whole(1)),
                explain: true,
            };
            let answer = check(&state, &self.catalog, &question, now).unwrap();
            let parts: i128 = answer.lots.iter().map(|lot| lot.available.nanos()).sum();
            assert!(
                answer.in_use.is_some() || parts == answer.available.nanos(),
                "the lots explain the answer: {answer:?}"
            );
            picture.checks.push((of, entity, checked(&answer)));
        }
        picture
    }

    fn command(&mut self, act: &Act) -> Command {
        match *act {
            Act::Track { feature: of, entity, units, short, hold, last } => Command::Track(Track {
                entity: entity.to_owned(),
                when_short: when_short(short),
                hold: hold.map(|number| self.hold(number)),
                is_final: last,
                ..Track::of(feature(of), quantity(units))
            }),
            Act::Set { entity, units, short } => Command::Track(Track {
                entity: entity.to_owned(),
                set: Some(quantity(units)),
                when_short: when_short(short),
                ..Track::of(feature(SEATS), Quantity::ZERO)
            }),
            Act::Hold { feature: of, entity, units, seconds, more } => Command::Hold(PlaceHold {
                feature: feature(of),
                entity: entity.to_owned(),
                quantity: quantity(units),
                properties: BTreeMap::new(),
                ttl_seconds: seconds,
                when_more: match more {
                    Short::Reject => WhenMore::Reject,
                    Short::Cap => WhenMore::TakeAvailable,
                    Short::Debt => WhenMore::Debt,
                },
            }),
            Act::Extend { hold, seconds } => {
                Command::ExtendHold(ExtendHold { hold: self.hold(hold), ttl_seconds: seconds })
            }
            Act::Release { hold } => Command::ReleaseHold(self.hold(hold)),
            Act::SetLimit { name, feature: of, entity, span, most } => Command::SetLimit(SetLimit {
                name: name.to_owned(),
                feature: feature(of),
                entity: entity.to_owned(),
                window: window(span),
                most: credits(most),
            }),
            Act::DropLimit { name } => Command::DropLimit(name.to_owned()),
            Act::Give { .. } => self.give(act),
            Act::Buy { payment, item, feature, amount, ago, lives } => {
                Self::buy((payment, item), feature, amount, self.now - ago, lives)
            }
            Act::Refund { payment, back } => {
                let charge = format!("ch_{payment}");
                let says = Says::Refunded { charge: charge.clone(), charged: PRICE, back };
                self.money_back(payment, charge, says)
            }
            Act::Dispute { payment, state } => {
                let (state, lost) = match state {
                    Dispute::Open => (DisputeState::Open, 0),
                    Dispute::Won => (DisputeState::Won, 0),
                    Dispute::Lost => (DisputeState::Lost, PRICE),
                };
                let says = Says::Disputed { charge: format!("ch_{payment}"), state, lost };
                self.money_back(payment, format!("dp_{payment}"), says)
            }
            Act::Settle => Command::Settle,
        }
    }

    /// The id of a hold by its number; one that was not placed has an id that nobody knows.
    fn hold(&self, number: usize) -> HoldId {
        self.holds.get(number).copied().unwrap_or(HoldId::from_uuid(Uuid::from_u128(1)))
    }

    fn give(&self, act: &Act) -> Command {
        let Act::Give { feature: of, entity, wallet, amount, priority, bought, starts_in, lives } = *act else {
            panic!("{act:?} gives nothing");
        };
        let starts = starts_in.map(|seconds| self.now + seconds);
        let id = |number: usize| WalletId::from_uuid(Uuid::from_u128(WALLETS + number as u128));
        Command::Grant(NewGrant {
            wallet: wallet.map_or(WalletRef::Default, |number| WalletRef::Named { id: id(number), key: None }),
            feature: feature(of),
            entity: entity.to_owned(),
            quantity: credits(amount),
            category: if bought { Category::Prepaid } else { Category::Promotional },
            priority,
            starts_at: starts.map(at),
            expires_at: lives.map(|seconds| at(starts.unwrap_or(self.now) + seconds)),
            reason: String::new(),
            money: GrantMoney::default(),
            contract: None,
            terms: None,
            metadata: BTreeMap::new(),
            source: Source::Api,
            actor: None,
        })
    }

    fn buy((payment, item): (u8, u8), of: &str, amount: i128, paid: i64, lives: Option<i64>) -> Command {
        let grant = PurchasedGrant {
            item_key: item.to_string(),
            wallet: WalletRef::Default,
            feature: feature(of),
            quantity: credits(amount),
            category: Category::Prepaid,
            priority: None,
            expires_at: lives.map(|seconds| at(paid + seconds)),
            plan: None,
            money: GrantMoney::default(),
            stripe_price: None,
            stripe_line: None,
        };
        Command::Purchase(Purchase {
            payment: payment_id(payment),
            basis: Basis::Lines,
            paid_at: at(paid),
            grants: vec![grant],
            metadata: BTreeMap::new(),
        })
    }

    /// Stripe's objects are seen one after the other.
    fn money_back(&mut self, payment: u8, object: String, says: Says) -> Command {
        self.views += 1;
        let view = BackView { object, seen_at: at(self.views), write_off: false, says };
        Command::MoneyBack(MoneyBack { payment: payment_id(payment), views: vec![view] })
    }

    /// Credits that open holds say they pin, which has to be what the grants say is held.
    pub(crate) fn must_add_up(&self) {
        let mut pinned: BTreeMap<GrantId, i128> = BTreeMap::new();
        for hold in self.store.holds.iter().filter(|hold| hold.state == HoldState::Open) {
            for slice in &hold.slices {
                *pinned.entry(slice.grant).or_default() += slice.amount.nanos();
            }
        }
        for (grant, _) in self.store.grants.values() {
            assert_eq!(grant.held.nanos(), pinned.get(&grant.id).copied().unwrap_or(0), "slices of {grant:?}");
        }
    }
}

fn is_rolled(changes: &Changes, grant: GrantId) -> bool {
    changes.entries.iter().any(|(entry, _)| entry.kind == EntryKind::RolloverIn && entry.grant == Some(grant))
}

fn name_of(grant: &Grant, origin: &Origin, is_rolled: bool, number: usize) -> Name {
    match (&grant.period, origin.payment, &origin.item_key) {
        (Some(period), ..) => Name::Period(period.item.parse().unwrap(), period.start.as_second()),
        (None, Some(payment), Some(item)) => {
            let payment = u8::try_from(payment.as_uuid().as_u128() - PAYMENTS).unwrap();
            Name::Bought(payment, item.parse().unwrap())
        }
        (None, ..) if is_rolled => Name::Rolled(word(&grant.feature), grant.starts_at.as_second()),
        (None, ..) => Name::Given(number),
    }
}

fn checked(answer: &creditd::domain::check::CheckAnswer) -> Checked {
    // Whether there was something before that is spent now hangs on what was read of the wallets: the model calls both so.
    let is_there = |lot: &Lot| {
        (lot.unlimited || lot.remaining.is_positive()) && matches!(lot.blocked_by, None | Some(Blocked::Debt))
    };
    let is_spent = answer.reason == Reason::Insufficient && !answer.lots.iter().any(is_there);
    let reason = match answer.reason {
        // Of seats it is one word in the model.
        Reason::FeatureNotGranted if answer.in_use.is_some() => Reason::Insufficient,
        _ if is_spent && answer.in_use.is_none() => Reason::FeatureNotGranted,
        other => other,
    };
    let reason = serde_json::to_value(reason).unwrap();
    let known = ["ok", "unlimited", "insufficient", "spend_limit", "feature_not_granted", "frozen"];
    Checked {
        allowed: answer.allowed,
        reason: known.into_iter().find(|word| reason == *word).unwrap(),
        required: answer.required.nanos(),
        available: answer.available.nanos(),
        held: answer.held.nanos(),
        shortfall: answer.shortfall.nanos(),
    }
}

fn refusal(rejection: &Rejection) -> Refusal {
    match rejection {
        Rejection::Insufficient { required, available, .. } => {
            Refusal::Insufficient { required: required.nanos(), available: available.nanos() }
        }
        Rejection::SpendLimit { .. } => Refusal::SpendLimit,
        Rejection::DebtNotAllowed(_) => Refusal::DebtNotAllowed,
        Rejection::NothingToReturn { asked, found, .. } => {
            Refusal::NothingToReturn { asked: asked.nanos(), found: found.nanos() }
        }
        Rejection::UnknownHold(_) => Refusal::UnknownHold,
        Rejection::HoldOfOther { .. } => Refusal::HoldOfOther,
        Rejection::UnknownLimit(_) => Refusal::UnknownLimit,
        Rejection::WalletFeature { .. } => Refusal::WalletFeature,
        other => Refusal::Other(other.to_string()),
    }
}

fn catalog(shop: &Shop) -> CatalogVersion {
    let returned = |of: &str| if shop.reviving.contains(&of) { Returned::Revive } else { Returned::Expire };
    let mut features = BTreeMap::new();
    for of in ["messages", "calls", SEATS] {
        let kind = Feature::Metered { consumable: of != SEATS, events: Vec::new(), sum: None, returned: returned(of) };
        features.insert(feature(of), kind);
    }
    for (system, costs) in &shop.systems {
        // Eighteen digits behind the point, as a catalogue file would have them.
        let decimal = |rate: i128| format!("{}.{:018}", rate / 10_i128.pow(18), rate % 10_i128.pow(18));
        let cost = |rate: &i128| Cost::Each(decimal(*rate).parse().unwrap());
        let costs = costs.iter().map(|(of, rate)| (feature(of), cost(rate))).collect();
        features.insert(feature(system), Feature::CreditSystem { costs, returned: returned(system) });
    }
    let id = PlanId::new("free").unwrap();
    let plan = plan(shop);
    CatalogVersion {
        version: 1,
        applied_at: None,
        plan_versions: BTreeMap::from([(id.clone(), 1)]),
        terms: BTreeMap::from([((id.clone(), 1), plan.clone())]),
        catalog: Catalog { features, plans: BTreeMap::from([(id, plan)]), ..Catalog::default() },
    }
}

fn plan(shop: &Shop) -> Plan {
    let item = |(place, of): (usize, &super::words::PlanItem)| Item {
        id: place.to_string(),
        feature: feature(of.feature),
        included: of.included.map(credits),
        trial_included: None,
        unlimited: of.included.is_none(),
        reset: of.every.map(|every| match every {
            Every::Days(count) => Interval { unit: IntervalUnit::Day, count },
            Every::Months(count) => Interval { unit: IntervalUnit::Month, count },
        }),
        anchor: ResetAnchor::Anniversary,
        rollover: of.rollover.map(|rollover| creditd::domain::catalog::Rollover {
            max: rollover.most.map(credits),
            max_percent: rollover.percent,
            months: rollover.months,
        }),
        packs: Vec::new(),
        expires_after: Expiry::Never,
        priority: of.priority,
        overage: shop.overage.filter(|(feature, ..)| *feature == of.feature).map(|(_, limit, invoiced)| Overage {
            limit: credits(limit),
            price: invoiced.then(|| UnitPrice { amount: "0.1".to_owned(), currency: "usd".to_owned() }),
        }),
    };
    free_plan(shop.items.iter().enumerate().map(item).collect())
}

fn feature(name: &str) -> FeatureId {
    FeatureId::new(name).unwrap()
}

fn word(of: &FeatureId) -> &'static str {
    SPENT.into_iter().chain([SEATS]).find(|known| *known == of.as_str()).unwrap()
}

fn payment_id(payment: u8) -> PaymentId {
    PaymentId::from_uuid(Uuid::from_u128(PAYMENTS + u128::from(payment)))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn credits(nanos: i128) -> Credits {
    Credits::from_nanos(nanos).unwrap()
}

fn quantity(nanos: i128) -> Quantity {
    Quantity::from_nanos(nanos).unwrap()
}

const fn when_short(short: Short) -> WhenShort {
    match short {
        Short::Cap => WhenShort::Cap,
        Short::Reject => WhenShort::Reject,
        Short::Debt => WhenShort::Debt,
    }
}

const fn window(span: Span) -> Window {
    match span {
        Span::Hour => Window::Hour,
        Span::Day => Window::Day,
        Span::Week => Window::Week,
        Span::Month => Window::Month,
        Span::Year => Window::Year,
        Span::Lifetime => Window::Lifetime,
    }
}
