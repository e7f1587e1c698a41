//! The laws of the domain, without a database: random histories, and the tables behind single rules.

use std::collections::BTreeMap;

use creditd::domain::account::{AccountState, Changes};
use creditd::domain::burn::{Holdings, balance, burn};
use creditd::domain::catalog::{Catalog, CatalogVersion, Cost, Feature, FeatureId, Item, PlanId, Pool};
use creditd::domain::command::{
    Basis, Command, Decision, NewGrant, Outcome, Purchase, PurchasedGrant, Rejection, Track, WalletRef, WhenShort,
};
use creditd::domain::credits::{Credits, Quantity};
use creditd::domain::decide::{Context, decide};
use creditd::domain::entry::{ChainHead, EntryKind, Source};
use creditd::domain::grant::{Category, Debt, DebtCause, Grant, GrantMoney};
use creditd::domain::ids::{DebtId, GrantId, PaymentId, WalletId};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use crate::burn_order::lot;
use crate::support::catalog::{free_plan, monthly_item};
use crate::support::world;
use crate::support::world::Counting;

const START: &str = "2026-01-31T10:00:00Z";

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn feature(name: &str) -> FeatureId {
    FeatureId::new(name).unwrap()
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

pub(crate) fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

pub(crate) fn item(id: &str, of: &str, included: Option<&str>, unlimited: bool) -> Item {
    Item { unlimited, ..monthly_item(id, feature(of), included.map(credits)) }
}

/// Messages are metered and cost a third of a credit nearly; calls are metered and free of charge to the system.
fn catalogue(items: Vec<Item>) -> CatalogVersion {
    let metered = Feature::consumable;
    let costs = BTreeMap::from([(feature("messages"), "0.333333333333333333".parse().map(Cost::Each).unwrap())]);
    let features = BTreeMap::from([
        (feature("messages"), metered()),
        (feature("calls"), metered()),
        (feature("credits"), Feature::credit_system(costs)),
        (feature("export"), Feature::Boolean),
    ]);
    let id = PlanId::new("free").unwrap();
    let plans = BTreeMap::from([(id.clone(), free_plan(items))]);
    CatalogVersion {
        version: 1,
        applied_at: None,
        plan_versions: BTreeMap::from([(id.clone(), 1)]),
        terms: BTreeMap::from([((id.clone(), 1), plans[&id].clone())]),
        catalog: Catalog { features, plans, ..Catalog::default() },
    }
}

pub(crate) fn new_account() -> AccountState {
    world::new_account(time(START))
}

/// One account with a clock of its own.
pub(crate) struct World {
    pub(crate) state: AccountState,
    pub(crate) changes: Changes,
    catalog: CatalogVersion,
    ids: Counting,
    pub(crate) now: Timestamp,
}

impl World {
    pub(crate) fn new(items: Vec<Item>) -> Self {
        let catalog = catalogue(items);
        Self { state: new_account(), changes: Changes::default(), catalog, ids: Counting(0), now: time(START) }
    }

    pub(crate) fn decide(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let context = Context { catalog: &self.catalog, now: self.now };
        decide(&mut self.state, &mut self.changes, command, context, &mut self.ids)
    }

    pub(crate) fn applied(&mut self, command: &Command) -> Outcome {
        match self.decide(command).unwrap() {
            Decision::Applied(outcome) => outcome,
            Decision::AlreadyApplied(outcome) => panic!("already applied: {outcome:?}"),
        }
    }

    /// A wallet owes credits that were taken back.
    pub(crate) fn owes(&mut self, wallet: WalletId, amount: &str) {
        let number = self.state.debts.len() as u128;
        self.state.debts.push(Debt {
            id: DebtId::from_uuid(Uuid::from_u128(99 + number)),
            wallet,
            feature: feature("credits"),
            outstanding: credits(amount),
            billed: Credits::ZERO,
            cause: DebtCause::ClawBack,
        });
    }

    /// What can be spent of a feature now.
    pub(crate) fn available(&self, of: &str) -> Credits {
        let holdings = Holdings { grants: &self.state.grants, debts: &self.state.debts, entity: "", now: self.now };
        balance(holdings, &feature(of)).available
    }

    /// Laws 1, 5 and 6 on everything that was ever booked.
    pub(crate) fn must_keep_the_laws(&self) {
        let mut head = ChainHead::EMPTY;
        let mut seq = 0;
        let mut before = Timestamp::MIN;
        let mut running: BTreeMap<GrantId, i128> = BTreeMap::new();
        for (entry, stored) in &self.changes.entries {
            seq += 1;
            assert_eq!(entry.seq, seq, "numbers have no gaps");
            assert!(entry.at >= before, "ledger time never runs backwards");
            assert!(entry.command >= 1 && entry.command <= entry.seq);
            before = entry.at;
            head = head.after(self.state.id, entry);
            assert_eq!(head, *stored, "each line is chained");
            let grant = entry.grant.map(|id| self.state.grant(id).expect("an entry's grant is there"));
            if let Some(grant) = grant {
                assert_eq!(grant.feature, entry.feature);
                if !grant.unlimited && entry.kind.changes_remaining() {
                    let left = running.entry(grant.id).or_default();
                    *left += entry.amount.nanos();
                    assert!(*left >= 0, "line {} leaves a grant at {left}", entry.seq);
                }
            }
        }
        assert_eq!((seq, head), (self.state.seq, self.state.head));
        for grant in &self.state.grants {
            let sum = running.get(&grant.id).copied().unwrap_or_default();
            assert_eq!(grant.remaining.nanos(), sum, "remaining is the sum of the entries");
            assert!(grant.remaining <= grant.original, "nothing is created");
        }
    }
}

pub(crate) fn track(of: &str, units: &str) -> Track {
    Track { when_short: WhenShort::Cap, ..Track::of(feature(of), quantity(units)) }
}

pub(crate) fn given(of: &str, amount: &str) -> NewGrant {
    NewGrant {
        wallet: WalletRef::Default,
        feature: feature(of),
        entity: String::new(),
        quantity: credits(amount),
        category: Category::Promotional,
        priority: None,
        starts_at: None,
        expires_at: None,
        reason: "goodwill".to_owned(),
        money: GrantMoney::default(),
        contract: None,
        terms: None,
        metadata: BTreeMap::new(),
        source: Source::Api,
        actor: None,
    }
}

pub(crate) fn bought(payment: u128, items: &[(&str, Credits)], paid_at: Timestamp) -> Purchase {
    let grants = items.iter().map(|(key, quantity)| PurchasedGrant {
        item_key: (*key).to_owned(),
        wallet: WalletRef::Default,
        feature: feature("credits"),
        quantity: *quantity,
        category: Category::Prepaid,
        priority: None,
        expires_at: None,
        plan: None,
        money: GrantMoney::default(),
        stripe_price: None,
        stripe_line: None,
    });
    Purchase {
        payment: PaymentId::from_uuid(Uuid::from_u128(payment)),
        basis: Basis::Lines,
        paid_at,
        grants: grants.collect(),
        metadata: BTreeMap::new(),
    }
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Wait(u32),
    Track { of: &'static str, entity: &'static str, nanos: i64, reject: bool },
    Give { of: &'static str, entity: &'static str, nanos: i64, starts_in: i32, lives: Option<u32>, priority: i32 },
    Buy { payment: u8, item: u8, nanos: i64 },
    Open,
}

fn step() -> impl Strategy<Value = Step> {
    let of = prop_oneof![Just("messages"), Just("calls"), Just("credits")];
    let entity = prop_oneof![3 => Just(""), 1 => Just("seat-a"), 1 => Just("seat-b")];
    let nanos = prop_oneof![0_i64..5, 0_i64..20_000_000_000, Just(1_000_000_000), Just(333_333_333)];
    prop_oneof![
        2 => (0_u32..4_000_000).prop_map(Step::Wait),
        6 => (of.clone(), entity.clone(), nanos.clone(), any::<bool>())
            .prop_map(|(of, entity, nanos, reject)| Step::Track { of, entity, nanos, reject }),
        3 => (of, entity, nanos.clone(), -100_000_i32..100_000, proptest::option::of(1_u32..3_000_000), 0_i32..60)
            .prop_map(|(of, entity, nanos, starts_in, lives, priority)| Step::Give {
                of, entity, nanos, starts_in, lives, priority
            }),
        3 => (0_u8..3, 0_u8..3, nanos).prop_map(|(payment, item, nanos)| Step::Buy { payment, item, nanos }),
        1 => Just(Step::Open),
    ]
}

fn command_of(step: &Step, now: Timestamp) -> Option<Command> {
    let exact = |nanos: i64| Credits::from_nanos(i128::from(nanos)).unwrap();
    Some(match step {
        Step::Wait(_) => return None,
        Step::Open => Command::Open,
        Step::Track { of, entity, nanos, reject } => Command::Track(Track {
            entity: (*entity).to_owned(),
            quantity: Quantity::from_nanos(i128::from(*nanos)).unwrap(),
            when_short: if *reject { WhenShort::Reject } else { WhenShort::Cap },
            ..track(of, "0")
        }),
        Step::Give { of, entity, nanos, starts_in, lives, priority } => {
            let starts_at = now + SignedDuration::from_secs(i64::from(*starts_in));
            Command::Grant(NewGrant {
                entity: (*entity).to_owned(),
                quantity: exact(*nanos),
                priority: Some(*priority),
                starts_at: Some(starts_at),
                expires_at: lives.map(|seconds| starts_at + SignedDuration::from_secs(i64::from(seconds))),
                ..given(of, "0")
            })
        }
        Step::Buy { payment, item, nanos } => {
            let key = ["pack-a", "pack-b", "pack-c"][usize::from(*item)];
            Command::Purchase(bought(u128::from(*payment) + 1_000_000, &[(key, exact(*nanos))], now))
        }
    })
}

fn run(history: &[Step]) -> World {
    let mut world = World::new(vec![item("monthly", "credits", Some("5"), false)]);
    let mut answered: BTreeMap<(u8, u8), Outcome> = BTreeMap::new();
    world.applied(&Command::Open);
    for step in history {
        let Some(command) = command_of(step, world.now) else {
            let Step::Wait(seconds) = step else { continue };
            world.now += SignedDuration::from_secs(i64::from(*seconds));
            continue;
        };
        let before = (world.state.head, world.state.seq, world.available("credits"));
        let decision = world.decide(&command);
        if decision.is_err() {
            assert_eq!((world.state.head, world.state.seq), (before.0, before.1), "a refusal changes nothing");
        }
        if let (Command::Track(asked), Ok(Decision::Applied(Outcome::Tracked { cost, drawn, shortfall, draws, .. }))) =
            (&command, &decision)
        {
            assert_eq!(drawn.checked_add(*shortfall).unwrap(), *cost);
            let sum: i128 = draws.iter().map(|draw| draw.amount.nanos()).sum();
            assert_eq!(sum, drawn.nanos(), "draws add up to what was drawn");
            assert!(asked.when_short == WhenShort::Cap || shortfall.is_zero(), "reject never leaves a shortfall");
        }
        if let (Step::Buy { payment, item, .. }, Ok(decision)) = (step, &decision) {
            let repeat = answered.contains_key(&(*payment, *item));
            assert_eq!(matches!(decision, Decision::AlreadyApplied(_)), repeat, "an item is granted exactly once");
            answered.insert((*payment, *item), decision.outcome().clone());
        }
        for grant in &world.state.grants {
            assert!(!grant.remaining.is_negative() && grant.held <= grant.remaining);
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Laws 1, 2, 5, 6 and 8 over any history; two runs agree to the byte.
    #[test]
    fn histories_keep_the_laws(history in proptest::collection::vec(step(), 1..60)) {
        let world = run(&history);
        world.must_keep_the_laws();
        let again = run(&history);
        prop_assert_eq!(world.state.head, again.state.head);
        prop_assert_eq!(world.changes.entries, again.changes.entries);
    }

    /// Law 7: whether a worker booked an expiry changes no answer of the account.
    #[test]
    fn a_worker_changes_no_answer(history in proptest::collection::vec(step(), 1..30), wait in 0_u32..9_000_000) {
        let mut lazy = run(&history);
        let mut busy = run(&history);
        for day in 0..(wait / 86_400) {
            busy.now = lazy.now + SignedDuration::from_hours(24 * i64::from(day));
            let _: Decision = busy.decide(&Command::Open).unwrap();
        }
        lazy.now += SignedDuration::from_secs(i64::from(wait));
        busy.now = lazy.now;
        let _: Decision = busy.decide(&Command::Open).unwrap();
        let _: Decision = lazy.decide(&Command::Open).unwrap();
        for of in ["messages", "calls", "credits"] {
            prop_assert_eq!(lazy.available(of), busy.available(of), "{}", of);
        }
        busy.must_keep_the_laws();
    }

    /// burn(a) then burn(b) takes the same credits, from the same grants, as burn(a+b) in one pool.
    #[test]
    fn burning_in_parts_is_burning_at_once(
        lots in proptest::collection::vec(0_i64..3_000_000_000, 1..6),
        first in 0_i64..4_000_000_000, second in 0_i64..4_000_000_000,
    ) {
        let taken = |parts: &[i64]| {
            let mut world = World::new(Vec::new());
            for lot in &lots {
                let exact = Credits::from_nanos(i128::from(*lot)).unwrap();
                world.applied(&Command::Grant(NewGrant { quantity: exact, ..given("credits", "0") }));
            }
            let mut short = 0;
            for part in parts {
                let units = Quantity::from_nanos(i128::from(*part)).unwrap();
                let outcome = world.applied(&Command::Track(Track { quantity: units, ..track("credits", "0") }));
                let Outcome::Tracked { shortfall, .. } = outcome else { panic!("a track answers as one") };
                short += shortfall.nanos();
            }
            (world.state.grants.iter().map(|grant| grant.remaining).collect::<Vec<_>>(), short)
        };
        prop_assert_eq!(taken(&[first, second]), taken(&[first + second]));
    }

    /// Purchases in any order, each as often as it likes: every item once.
    #[test]
    fn payments_grant_once_in_any_order(order in proptest::collection::vec(0_usize..6, 1..30)) {
        let mut world = World::new(Vec::new());
        let commands: Vec<Command> = (0..6_u32).map(|n| {
            let items: &[(&str, Credits)] = match n % 3 {
                0 => &[("pack-a", Credits::ZERO)],
                1 => &[("pack-b", Credits::ZERO)],
                _ => &[("pack-a", Credits::ZERO), ("pack-b", Credits::ZERO)],
            };
            let one = |(key, _): &(&'static str, Credits)| (*key, Credits::whole(1));
            let items: Vec<_> = items.iter().map(one).collect();
            Command::Purchase(bought(u128::from(n / 3) + 1_000_000, &items, time(START)))
        }).collect();
        for n in &order {
            let _: Decision = world.decide(&commands[*n]).unwrap();
        }
        let mut wanted = std::collections::BTreeSet::new();
        for n in &order {
            let payment = n / 3;
            match n % 3 {
                0 => { wanted.insert((payment, "pack-a")); }
                1 => { wanted.insert((payment, "pack-b")); }
                _ => { wanted.insert((payment, "pack-a")); wanted.insert((payment, "pack-b")); }
            }
        }
        prop_assert_eq!(world.state.grants.len(), wanted.len());
        prop_assert_eq!(world.available("credits"), Credits::whole(i64::try_from(wanted.len()).unwrap()));
        world.must_keep_the_laws();
    }

    /// Debt lowers what can be spent, and only that of its wallet.
    #[test]
    fn a_debt_blocks_its_own_wallet_only(owed in 0_i64..30, mine in 0_i64..20, other in 0_i64..20, asked in 0_i64..50) {
        let now = time(START);
        let wallet = |n| WalletId::from_uuid(Uuid::from_u128(n));
        let grants = [
            Grant { wallet: wallet(1), remaining: Credits::whole(mine), ..lot(1) },
            Grant { wallet: wallet(2), remaining: Credits::whole(other), ..lot(2) },
        ];
        let debts = [Debt {
            id: DebtId::from_uuid(Uuid::from_u128(9)),
            wallet: wallet(1),
            feature: feature("credits"),
            outstanding: Credits::whole(owed),
            billed: Credits::ZERO,
            cause: DebtCause::ClawBack,
        }];
        let holdings = Holdings { grants: &grants, debts: &debts, entity: "", now };
        let pools = [Pool { feature: feature("credits"), rate: "1".parse().unwrap(), own: true }];
        let spendable = (mine - owed).max(0) + other;
        prop_assert_eq!(balance(holdings, &feature("credits")).available, Credits::whole(spendable));
        let paid = burn(holdings, &pools, Quantity::whole(asked)).unwrap().unwrap();
        prop_assert_eq!(paid.drawn, Credits::whole(asked.min(spendable)));
        prop_assert_eq!(paid.shortfall, Credits::whole(asked - asked.min(spendable)));
    }
}

#[rstest]
#[case::cap(WhenShort::Cap)]
#[case::reject(WhenShort::Reject)]
#[case::debt(WhenShort::Debt)]
fn a_short_balance_ends_as_the_caller_asked(#[case] when_short: WhenShort) {
    let mut world = World::new(Vec::new());
    world.applied(&Command::Grant(given("credits", "3")));
    let before = world.state.seq;
    let asked = Command::Track(Track { when_short, ..track("credits", "5") });
    match (when_short, world.decide(&asked)) {
        (WhenShort::Cap, Ok(Decision::Applied(Outcome::Tracked { cost, drawn, shortfall, available, .. }))) => {
            assert_eq!([cost, drawn, shortfall, available], ["5", "3", "2", "0"].map(credits));
            let (line, _) = world.changes.entries.last().unwrap();
            assert_eq!(
                (line.kind, line.shortfall, line.quantity),
                (EntryKind::Draw, Some(credits("2")), Some(quantity("5")))
            );
        }
        (WhenShort::Reject, Err(Rejection::Insufficient { required, available, .. })) => {
            assert_eq!([required, available], ["5", "3"].map(credits));
            assert_eq!((world.state.seq, world.available("credits")), (before, credits("3")), "nothing is written");
        }
        (WhenShort::Debt, Err(Rejection::DebtNotAllowed(of))) => {
            assert_eq!((of, world.state.seq), (feature("credits"), before));
        }
        (_, other) => panic!("{other:?}"),
    }
    world.must_keep_the_laws();
}

#[test]
fn usage_without_any_grant_is_still_a_line() {
    let mut world = World::new(Vec::new());
    world.applied(&Command::Track(track("calls", "7")));
    let (line, _) = &world.changes.entries[0];
    assert_eq!((line.grant, line.amount, line.shortfall), (None, Credits::ZERO, Some(credits("7"))));
}

/// A grant into a wallet with a debt repays it first (rule 21).
#[test]
fn a_grant_repays_its_wallets_debt_first() {
    let mut world = World::new(Vec::new());
    world.applied(&Command::Grant(given("credits", "0")));
    let wallet = world.state.wallets[0].id;
    world.owes(wallet, "4");
    world.applied(&Command::Grant(given("credits", "3")));
    assert_eq!((world.state.debts[0].outstanding, world.available("credits")), (credits("1"), Credits::ZERO));
    world.applied(&Command::Grant(given("credits", "3")));
    assert_eq!((world.state.debts[0].outstanding, world.available("credits")), (Credits::ZERO, credits("2")));
    world.must_keep_the_laws();
}

/// A period's items come anew each month, unlimited ones too, and nobody has to ask in between.
#[rstest]
#[case::counted(item("monthly", "credits", Some("5"), false))]
#[case::unlimited(item("monthly", "credits", None, true))]
fn an_item_renews_month_after_month(#[case] of: Item) {
    let mut world = World::new(vec![of]);
    world.applied(&Command::Open);
    for month in 1..=24_u32 {
        let due = world.state.next_due_at.unwrap_or_else(|| panic!("nothing is due after month {month}"));
        assert!(due > world.now, "what is due lies ahead");
        world.now = due;
        let _: Decision = world.decide(&Command::Open).unwrap();
        let live = world.state.grants.iter().filter(|grant| grant.blocked(world.now).is_none()).count();
        assert_eq!(live, 1, "exactly one period's grant is live in month {month}");
    }
    assert_eq!(world.state.grants.len(), 25);
    world.must_keep_the_laws();
}
