//! Bills of overage without Stripe: what is owed is what was used less what was paid and taken back, at every point of any
//! history; a credit is on one bill at a time; amounts are rounded once.

use std::collections::BTreeMap;

use creditd::domain::catalog::UnitPrice;
use creditd::domain::command::{Command, Decision, Outcome, Rejection, Track, WhenShort};
use creditd::domain::credits::Credits;
use creditd::domain::decide::{Context, decide};
use creditd::domain::entry::EntryKind;
use creditd::domain::grant::{Category, Debt};
use creditd::domain::ids::{AccountId, BillId, PaymentId};
use creditd::domain::overage_bill::{
    Bill, BillApart, BillInvoice, BillOrder, BillOverage, BillPaid, BillPlaced, BillState, BillVoid, LINE_MINOR_MAX,
    line_amount,
};
use creditd::posting::Posting;
use creditd::store::Store;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use uuid::Uuid;

use crate::domain_laws::{credits, feature, quantity};
use crate::subscription_laws::{World, day};
use crate::support::database::fresh_both;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[features.pages]
type = "metered"
[features.taps]
type = "metered"
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "calls"
overage = { limit = "100000", amount = "0.015", currency = "usd" }
[[plans.free.items]]
feature = "pages"
overage = { limit = "100000", amount = "0.25", currency = "eur" }
[[plans.free.items]]
feature = "taps"
overage = { limit = "100000", amount = "0.0001", currency = "usd" }
"#;

fn used(of: &str, units: &str) -> Command {
    Command::Track(Track { when_short: WhenShort::Debt, ..Track::of(feature(of), quantity(units)) })
}

fn returned(of: &str, units: &str) -> Command {
    Command::Track(Track::of(feature(of), quantity(&format!("-{units}"))))
}

fn make(currency: &str, end: Timestamp, draft: Option<&str>) -> Command {
    Command::Bill(BillOrder::Make(BillOverage {
        currency: currency.parse().unwrap(),
        period_end: end,
        stripe_customer: "cus_1".to_owned(),
        draft_invoice: draft.map(str::to_owned),
    }))
}

fn placed(bill: BillId, invoice: &str, lines: &[usize]) -> Command {
    let invoice = BillInvoice { id: invoice.to_owned(), url: None };
    Command::Bill(BillOrder::Placed(BillPlaced { bill, invoice, lines: lines.to_vec() }))
}

fn paid(bill: BillId, invoice: &str, at: Timestamp, lines: &[usize]) -> Command {
    Command::Bill(BillOrder::Paid(BillPaid {
        bill,
        payment: PaymentId::from_uuid(Uuid::from_u128(0xba1)),
        invoice: invoice.to_owned(),
        paid_at: at,
        currency: "usd".parse().unwrap(),
        lines: lines.to_vec(),
    }))
}

fn void(bill: BillId, invoice: Option<&str>) -> Command {
    let invoice = invoice.map(str::to_owned);
    Command::Bill(BillOrder::Void(BillVoid { bill, invoice, reason: "a test".to_owned() }))
}

fn bill_of(decision: &Decision) -> Option<BillId> {
    let Outcome::Billed { bill } = decision.outcome() else { panic!("{decision:?}") };
    *bill
}

impl World {
    fn try_post(&mut self, command: &Command) -> Result<Decision, Rejection> {
        let context = Context { catalog: &self.catalog, now: self.now };
        decide(&mut self.state, &mut self.changes, command, context, &mut self.ids)
    }

    /// Bills usage before a time, as posting does: what is owed since is read from the ledger.
    fn bill(&mut self, currency: &str, end: Timestamp, draft: Option<&str>) -> Option<BillId> {
        let mut since: BTreeMap<_, Credits> = BTreeMap::new();
        for (entry, _) in &self.changes.entries {
            if let (Some(debt), EntryKind::Debt) = (entry.debt, entry.kind)
                && entry.event_at.unwrap_or(entry.at) >= end
            {
                let owed = since.entry(debt).or_default();
                *owed = owed.checked_add(entry.amount).unwrap().max(Credits::ZERO);
            }
        }
        self.state.owed_since = BTreeMap::from([(end, since)]);
        let decision = self.try_post(&make(currency, end, draft)).unwrap();
        self.state.owed_since.clear();
        bill_of(&decision)
    }

    fn known(&self, bill: BillId) -> &Bill {
        self.state.bills.iter().find(|known| known.id == bill).unwrap()
    }

    fn debt(&self, of: &str) -> (Credits, Credits) {
        let mine = self.state.debts.iter().filter(|debt| debt.feature == feature(of));
        let sum =
            |part: fn(&Debt) -> Credits| mine.clone().map(part).try_fold(Credits::ZERO, Credits::checked_add).unwrap();
        (sum(|debt| debt.outstanding), sum(|debt| debt.billed))
    }
}

fn world() -> World {
    let mut world = World::with(CATALOG);
    world.at("01-10");
    world
}

#[test]
fn a_bill_freezes_what_was_used_before_its_period_ended_and_is_made_once() {
    let mut world = world();
    let _: Decision = world.post(&used("calls", "7"));
    let _: Decision = world.post(&used("pages", "3"));
    world.at("02-02");
    let _: Decision = world.post(&used("calls", "5"));
    let bill = world.bill("usd", day("02-01"), Some("in_1")).unwrap();
    let known = world.known(bill).clone();
    assert_eq!(known.lines.len(), 1, "euros are on a bill of their own");
    // 10.5 cents: half to even.
    assert_eq!((known.lines[0].credits, known.lines[0].amount_minor), (credits("7"), 10));
    assert_eq!(world.debt("calls"), (credits("12"), credits("7")), "it stays owed until it is paid");
    assert_eq!(world.bill("usd", day("02-01"), Some("in_1")), Some(bill), "once for a draft");
    assert_eq!(world.bill("usd", day("02-01"), None), None, "and nothing is on two bills");
    let euros = world.bill("eur", day("02-01"), None).unwrap();
    assert_eq!(world.known(euros).lines[0].amount_minor, 75);
    assert!(world.known(euros).is_own && !world.known(bill).is_own);
    world.must_keep_the_laws();
}

#[test]
fn a_paid_bill_is_not_owed_any_more_and_a_void_one_is_billed_again() {
    let mut world = world();
    let _: Decision = world.post(&used("calls", "100"));
    world.at("02-02");
    let first = world.bill("usd", day("02-01"), Some("in_1")).unwrap();
    let _: Decision = world.post(&placed(first, "in_1", &[0]));
    assert!(matches!(world.post(&placed(first, "in_1", &[0])), Decision::AlreadyApplied(_)));
    // An invoice that is not its own changes nothing.
    assert!(matches!(world.post(&void(first, Some("in_other"))), Decision::AlreadyApplied(_)));
    let _: Decision = world.post(&void(first, Some("in_1")));
    assert_eq!(world.debt("calls"), (credits("100"), Credits::ZERO));
    assert!(matches!(world.post(&void(first, Some("in_1"))), Decision::AlreadyApplied(_)));
    let refused = world.try_post(&paid(first, "in_1", day("02-02"), &[0])).unwrap_err();
    assert!(matches!(refused, Rejection::BillIsOver { state: "void", .. }), "{refused}");
    world.at("03-02");
    let second = world.bill("usd", day("03-01"), Some("in_2")).unwrap();
    assert_eq!(world.known(second).lines[0].amount_minor, 150);
    // Paid before anyone said that it is placed.
    let _: Decision = world.post(&paid(second, "in_2", day("03-02"), &[0]));
    assert_eq!(world.debt("calls"), (Credits::ZERO, Credits::ZERO));
    for late in [paid(second, "in_2", day("03-02"), &[0]), placed(second, "in_2", &[]), void(second, Some("in_2"))] {
        assert!(matches!(world.post(&late), Decision::AlreadyApplied(_)), "{late:?}");
    }
    let repaid: Vec<_> = world.changes.entries.iter().filter(|(entry, _)| entry.kind == EntryKind::Repay).collect();
    assert_eq!(repaid.len(), 1);
    assert_eq!((repaid[0].0.grant, repaid[0].0.amount), (None, credits("-100")));
    world.must_keep_the_laws();
}

#[test]
fn lines_that_are_not_on_the_invoice_wait_for_the_next_bill() {
    let mut world = world();
    let _: Decision = world.post(&used("calls", "100"));
    let _: Decision = world.post(&used("taps", "20000"));
    world.at("02-02");
    let bill = world.bill("usd", day("02-01"), Some("in_1")).unwrap();
    assert_eq!(world.known(bill).lines.len(), 2);
    let _: Decision = world.post(&placed(bill, "in_1", &[0, 7]));
    assert_eq!(world.debt("taps"), (credits("20000"), Credits::ZERO));
    assert_eq!(world.known(bill).amount().unwrap().minor(), 150);
    // Its line is on another bill, or will be: paying it here has to be looked at.
    let refused = world.try_post(&paid(bill, "in_1", day("02-02"), &[0, 1])).unwrap_err();
    assert!(matches!(refused, Rejection::BillIsOver { .. }), "{refused}");
    let own = world.bill("usd", day("02-01"), None).unwrap();
    assert_eq!(world.known(own).lines[0].credits, credits("20000"));
    let _: Decision = world.post(&paid(bill, "in_1", day("02-02"), &[0]));
    let _: Decision = world.post(&paid(own, "in_2", day("02-02"), &[0]));
    assert_eq!((world.debt("calls").0, world.debt("taps").0), (Credits::ZERO, Credits::ZERO));
    world.must_keep_the_laws();
}

#[test]
fn a_bill_of_which_nothing_is_on_the_invoice_is_void() {
    let mut world = world();
    let _: Decision = world.post(&used("calls", "100"));
    world.at("02-02");
    let bill = world.bill("usd", day("02-01"), Some("in_1")).unwrap();
    let _: Decision = world.post(&placed(bill, "in_1", &[7]));
    assert!(matches!(world.known(bill).state, BillState::Void { .. }));
    assert_eq!(world.debt("calls"), (credits("100"), Credits::ZERO));
    world.must_keep_the_laws();
}

#[test]
fn a_draft_that_is_final_sends_its_bill_to_an_invoice_of_its_own_unless_it_is_over() {
    let mut world = world();
    let _: Decision = world.post(&used("calls", "100"));
    world.at("02-02");
    let bill = world.bill("usd", day("02-01"), Some("in_1")).unwrap();
    let apart = Command::Bill(BillOrder::Apart(BillApart { bill }));
    assert!(matches!(world.post(&apart), Decision::Applied(_)));
    assert!(matches!(world.post(&apart), Decision::AlreadyApplied(_)));
    assert!(world.known(bill).is_own);
    let _: Decision = world.post(&void(bill, None));
    assert!(matches!(world.try_post(&apart), Err(Rejection::BillIsOver { state: "void", .. })));
    let nobody = BillId::from_uuid(Uuid::from_u128(1));
    assert_eq!(world.try_post(&void(nobody, None)).unwrap_err(), Rejection::UnknownBill(nobody));
    world.must_keep_the_laws();
}

#[test]
fn what_comes_to_less_than_a_minor_unit_waits_and_is_not_lost() {
    let mut world = world();
    let _: Decision = world.post(&used("taps", "50"));
    world.at("02-02");
    assert_eq!(world.bill("usd", day("02-01"), None), None, "half a cent rounds to the even nothing");
    let _: Decision = world.post(&used("taps", "1"));
    world.at("03-02");
    let bill = world.bill("usd", day("03-01"), None).unwrap();
    assert_eq!((world.known(bill).lines[0].credits, world.known(bill).lines[0].amount_minor), (credits("51"), 1));
    world.must_keep_the_laws();
}

#[test]
fn usage_taken_back_lowers_what_is_not_billed_and_comes_back_as_credits_beyond_that() {
    let mut world = world();
    let _: Decision = world.post(&used("calls", "10"));
    world.at("02-02");
    let bill = world.bill("usd", day("02-01"), None).unwrap();
    let _: Decision = world.post(&used("calls", "4"));
    let decision = world.post(&returned("calls", "6"));
    // Four of it were not billed yet; two come back as a grant, for the invoice stands.
    assert_eq!(world.debt("calls"), (credits("10"), credits("10")));
    let given: Vec<_> = world.state.grants.iter().filter(|grant| grant.category == Category::Prepaid).collect();
    assert_eq!((given.len(), given[0].original, given[0].priority), (1, credits("2"), 50));
    let Outcome::Tracked { owed, drawn, draws, .. } = decision.outcome() else { panic!("{decision:?}") };
    assert_eq!((*owed, *drawn, draws[0].amount), (credits("-4"), credits("-2"), credits("-2")));
    let reason = world.changes.grants.last().unwrap().origin.reason.clone();
    assert_eq!(reason.as_deref(), Some("returned overage"));
    // Also after it was paid, when nothing is owed any more.
    let _: Decision = world.post(&paid(bill, "in_1", day("02-02"), &[0]));
    let _: Decision = world.post(&returned("calls", "8"));
    assert_eq!(world.available(), credits("10"));
    assert!(matches!(world.try_post(&returned("calls", "1")), Err(Rejection::NothingToReturn { .. })));
    world.must_keep_the_laws();
}

#[test]
fn what_is_billed_counts_against_the_limit_until_it_is_paid() {
    let mut world = World::with(&CATALOG.replacen("100000", "10", 1));
    world.at("01-10");
    let _: Decision = world.post(&used("calls", "10"));
    world.at("02-02");
    let bill = world.bill("usd", day("02-01"), None).unwrap();
    assert!(matches!(world.try_post(&used("calls", "1")), Err(Rejection::Insufficient { .. })));
    let _: Decision = world.post(&paid(bill, "in_1", day("02-02"), &[0]));
    let _: Decision = world.post(&used("calls", "1"));
    assert_eq!(world.debt("calls").0, credits("1"));
    world.must_keep_the_laws();
}

#[rstest]
#[case("7", "0.015", "usd", 10)]
#[case("9", "0.015", "usd", 14)]
#[case("0.333333333", "3", "usd", 100)]
#[case("1", "0.005", "usd", 0)]
#[case("3", "0.005", "usd", 2)]
#[case("3", "0.005000000000000001", "usd", 2)]
#[case("1", "0.005000000000000001", "usd", 1)]
#[case("7", "1.5", "jpy", 10)]
#[case("9", "1.5", "jpy", 14)]
#[case("7", "0.0015", "kwd", 10)]
#[case("1000000000000000000", "0.000000000000000001", "usd", 100)]
fn amounts_are_exact_and_rounded_half_to_even_once(
    #[case] of: &str,
    #[case] price: &str,
    #[case] currency: &str,
    #[case] minor: i64,
) {
    let price = UnitPrice { amount: price.to_owned(), currency: currency.to_owned() };
    assert_eq!(line_amount(credits(of), &price).unwrap(), (credits(of), minor));
}

#[test]
fn a_line_takes_no_more_than_stripe_does() {
    let price = UnitPrice { amount: "30".to_owned(), currency: "usd".to_owned() };
    let (taken, minor) = line_amount(credits("1000000"), &price).unwrap();
    assert_eq!((taken, minor), (credits("33333.333"), LINE_MINOR_MAX));
    let (taken, minor) = line_amount(Credits::MAX, &UnitPrice { amount: "1000000000".to_owned(), ..price }).unwrap();
    assert!(taken.is_positive() && minor <= LINE_MINOR_MAX, "{taken} {minor}");
}

#[derive(Clone, Debug)]
enum Step {
    Use(u8),
    Return(u8),
    Bill(bool),
    Place(usize),
    Pay(usize),
    Void(usize),
    Later,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..60_u8).prop_map(Step::Use),
        3 => (1..80_u8).prop_map(Step::Return),
        3 => any::<bool>().prop_map(Step::Bill),
        2 => (0..6_usize).prop_map(Step::Place),
        2 => (0..6_usize).prop_map(Step::Pay),
        1 => (0..6_usize).prop_map(Step::Void),
        2 => Just(Step::Later),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a history comes to by plain sums.
#[derive(Default)]
struct Sums {
    used: i64,
    returned: i64,
    paid: i64,
    given: i64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// outstanding = owed - paid - returned; what was returned of billed usage came back as credits; billed = the lines of
    /// bills under way; and no credit was ever on two bills that were not void.
    #[test]
    fn nothing_is_lost_and_nothing_is_billed_twice(steps in steps()) {
        let mut world = world();
        let mut sums = Sums::default();
        let mut drafts = 0;
        for step in &steps {
            take(&mut world, &mut sums, &mut drafts, step);
            let (outstanding, billed) = world.debt("calls");
            let lines = |wanted: fn(BillState) -> bool| -> Credits {
                let bills = world.state.bills.iter().filter(|bill| wanted(bill.state));
                let lines = bills.flat_map(|bill| bill.lines.iter().filter(|line| !line.is_released));
                lines.map(|line| line.credits).try_fold(Credits::ZERO, Credits::checked_add).unwrap()
            };
            prop_assert_eq!(billed, lines(|state| state.ended_at().is_none()));
            let paid = lines(|state| matches!(state, BillState::Paid { .. }));
            prop_assert_eq!(paid, Credits::whole(sums.paid));
            let lowered = sums.returned - sums.given;
            prop_assert_eq!(outstanding, Credits::whole(sums.used - sums.paid - lowered));
            prop_assert!(billed <= outstanding);
        }
        world.must_keep_the_laws();
    }
}

fn take(world: &mut World, sums: &mut Sums, drafts: &mut u32, step: &Step) {
    let nth = |world: &World, place: usize| world.state.bills.get(place).map(|bill| (bill.id, bill.lines.len()));
    match step {
        Step::Use(units) => {
            // What came back is drawn first; only the rest is owed.
            let decision = world.post(&used("calls", &units.to_string()));
            let Outcome::Tracked { owed, .. } = decision.outcome() else { panic!("{decision:?}") };
            sums.used += i64::try_from(owed.nanos() / 1_000_000_000).unwrap();
        }
        Step::Return(units) => {
            let before = world.changes.grants.len();
            let Ok(decision) = world.try_post(&returned("calls", &units.to_string())) else { return };
            let Outcome::Tracked { owed, .. } = decision.outcome() else { panic!("{decision:?}") };
            let given = world.changes.grants[before..].iter().map(|made| made.grant.original.nanos()).sum::<i128>();
            let given = i64::try_from(given / 1_000_000_000).unwrap();
            sums.returned += i64::try_from(-owed.nanos() / 1_000_000_000).unwrap() + given;
            sums.given += given;
        }
        Step::Bill(own) => {
            *drafts += 1;
            let draft = (!own).then(|| format!("in_{drafts}"));
            // Usage of this day is for the next bill.
            let end = world.now;
            world.bill("usd", end, draft.as_deref());
        }
        Step::Place(place) => {
            if let Some((bill, _)) = nth(world, *place) {
                let _: Decision = world.post(&placed(bill, &format!("of_{place}"), &[0]));
            }
        }
        Step::Pay(place) => {
            if let Some((bill, _)) = nth(world, *place) {
                let is_due = world.known(bill).state.ended_at().is_none();
                let now = world.now;
                if let Ok(Decision::Applied(_)) = world.try_post(&paid(bill, &format!("of_{place}"), now, &[0])) {
                    assert!(is_due);
                    let credits = world.known(bill).lines[0].credits.nanos() / 1_000_000_000;
                    sums.paid += i64::try_from(credits).unwrap();
                }
            }
        }
        Step::Void(place) => {
            if let Some((bill, _)) = nth(world, *place) {
                let _: Decision = world.post(&void(bill, None));
            }
        }
        Step::Later => world.now = world.now.checked_add(SignedDuration::from_hours(24)).unwrap(),
    }
}

async fn ledger(store: &Store, posting: &Posting) -> AccountId {
    store.ensure_instance(false, None).await.unwrap();
    let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
    let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
    let account = store.claim_customer("ada").await.unwrap().account();
    let _: Decision = posting.post(account, None, Command::Open).await.unwrap();
    account
}

/// The statement that sums what is owed since a time agrees with the walk of the ledger: returns take the newest first.
#[tokio::test]
async fn what_is_owed_since_the_period_ended_is_read_as_it_is_counted() {
    let (store, _) = fresh_both().await;
    let posting = Posting::start(&store);
    let account = ledger(&store, &posting).await;
    let post = async |command: Command| posting.post(account, None, command).await.unwrap();
    let _: Decision = post(used("calls", "20")).await;
    let end = store.instance().await.unwrap().unwrap().now;
    let _: Decision = post(used("calls", "5")).await;
    let _: Decision = post(returned("calls", "8")).await;
    let _: Decision = post(used("calls", "10")).await;
    let bill = bill_of(&post(make("usd", end, None)).await).unwrap();
    let bill = store.overage_bill(account, bill).await.unwrap().unwrap();
    // Of the twenty, three were taken back; the ten after that are for the next bill.
    assert_eq!(bill.lines[0].credits, credits("17"));
    assert!(!store.verify().await.unwrap().differs());
    posting.shut_down().await;
}

/// Commands of one batch see each other; what was paid stays paid when it is read anew, and usage of it comes back as
/// credits.
#[tokio::test]
async fn bills_live_through_the_database() {
    let (store, pool) = fresh_both().await;
    let posting = Posting::start(&store);
    let account = ledger(&store, &posting).await;
    let post = async |command: Command| posting.post(account, None, command).await;
    let _: Decision = post(used("calls", "20")).await.unwrap();
    let end = store.instance().await.unwrap().unwrap().now;
    let both = futures_util::future::join_all((0..8).map(|_| post(make("usd", end, Some("in_1"))))).await;
    let bills: Vec<BillId> = both.iter().map(|made| bill_of(made.as_ref().unwrap()).unwrap()).collect();
    assert!(bills.iter().all(|bill| *bill == bills[0]), "{bills:?}");
    assert_eq!(both.iter().filter(|made| matches!(made, Ok(Decision::Applied(_)))).count(), 1);
    let facts = creditd::domain::payment::PaymentFacts {
        status: creditd::domain::payment::PaymentStatus::Paid,
        invoice: Some("in_1".to_owned()),
        ..Default::default()
    };
    let claim = store.claim_payment(account, &facts).await.unwrap();
    let creditd::store::payments::PaymentClaim::Claimed(payment) = claim else { panic!("{claim:?}") };
    let Command::Bill(BillOrder::Paid(order)) = paid(bills[0], "in_1", end, &[0]) else { unreachable!() };
    let paid = Command::Bill(BillOrder::Paid(BillPaid { payment, ..order }));
    let all = futures_util::future::join_all((0..8).map(|_| post(paid.clone()))).await;
    assert_eq!(all.iter().filter(|made| matches!(made, Ok(Decision::Applied(_)))).count(), 1);
    let known = store.overage_bill(account, bills[0]).await.unwrap().unwrap();
    assert_eq!(known.state, BillState::Paid { at: end, payment });
    assert_eq!(store.count_due_bills().await.unwrap(), 0);
    let _: Decision = post(returned("calls", "20")).await.unwrap();
    let grant: (String, String) =
        sqlx::query_as("SELECT trim_scale(remaining)::text, reason FROM grants WHERE category = 'prepaid'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(grant, ("20".to_owned(), "returned overage".to_owned()));
    let found = store.verify().await.unwrap();
    assert!(!found.differs(), "{:?}", found.checks);
    posting.shut_down().await;
}

/// Each change behind the door's back is named by the check of bills.
#[rstest]
#[case("UPDATE debts SET billed = billed - 1", "billed 19, lines of bills under way 20")]
#[case("UPDATE overage_bill_lines SET credits = credits + 1", "lines of bills under way 21")]
#[case("UPDATE overage_bill_lines SET is_released = true", "has 0 lines")]
#[case("UPDATE overage_bills SET state = 'void', reason = 'none', ended_at = period_end", "is void and has 1 lines")]
#[tokio::test]
async fn a_bill_that_was_tampered_with_is_named(#[case] tamper: &str, #[case] words: &str) {
    let (store, pool) = fresh_both().await;
    let posting = Posting::start(&store);
    let account = ledger(&store, &posting).await;
    let _: Decision = posting.post(account, None, used("calls", "20")).await.unwrap();
    let end = store.instance().await.unwrap().unwrap().now;
    let _: Decision = posting.post(account, None, make("usd", end, None)).await.unwrap();
    assert!(!store.verify().await.unwrap().differs());
    sqlx::query(sqlx::AssertSqlSafe(tamper.to_owned())).execute(&pool).await.unwrap();
    let found = store.verify().await.unwrap();
    let check = found.checks.iter().find(|check| check.check == "overage_bills").unwrap();
    assert!(check.first.iter().any(|difference| difference.found.contains(words)), "{check:#?}");
    posting.shut_down().await;
}
