//! The charger is stopped before and after every step it takes, once and again during its recovery, as `abort()` would;
//! then a fresh worker goes on. What Stripe took is then what decisions that succeeded cost, once each.
//!
//! Each flow runs once undisturbed; that says which edges it passes. Each edge is then stopped at where Stripe says yes,
//! where it says no, and where its answers are lost; and its recovery at the same edge or the next one.
//! `tests/long/charger_pairs.sh` stops every flow at all pairs of all its edges.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use creditd::charging::Breaks;
use creditd::domain::command::{Charging, TopUpPaid};
use creditd::domain::money::Money;
use creditd::domain::payment::{PaymentFacts, PaymentStatus};
use creditd::domain::top_up::{ChargeMode, TopUp, TopUpState};
use creditd::simulator::{CardOrder, Fault, FaultRule};
use creditd::store::payments::PaymentClaim;
use creditd::workers::top_up::TopUpWorker;
use futures_util::StreamExt;

use super::ground::{Ground, Payer};
use super::rule;

/// Rounds and waits of one life before it counts as stuck.
const STEPS_MAX: usize = 500;
/// Flows at once.
pub(super) const CONCURRENCY: usize = 4;
/// A call that is never answered is waited for this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// The least that has to be tried.
const POINTS_MIN: usize = 40;

/// An edge: the name of a step, and whether it was done.
type Edge = (&'static str, bool);

/// What a card, its owner and Stripe do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Paid,
    NoCard,
    Processing,
    ProcessingFails,
    DeclinedHard,
    DeclinedSoft,
    LinkPaid,
    LinkExpired,
    LinkClosed,
    Forgotten,
    NeverDone,
    PaidTwice,
    /// Paid twice, and no answer to the refund comes for a day.
    RefundForgotten,
    InvoicePaid,
    InvoiceDeclined,
    InvoiceUnclear,
    InvoicePagePaid,
    InvoiceVoided,
}

pub(super) const FLOWS: [Flow; 18] = [
    Flow::Paid,
    Flow::NoCard,
    Flow::Processing,
    Flow::ProcessingFails,
    Flow::DeclinedHard,
    Flow::DeclinedSoft,
    Flow::LinkPaid,
    Flow::LinkExpired,
    Flow::LinkClosed,
    Flow::Forgotten,
    Flow::NeverDone,
    Flow::PaidTwice,
    Flow::RefundForgotten,
    Flow::InvoicePaid,
    Flow::InvoiceDeclined,
    Flow::InvoiceUnclear,
    Flow::InvoicePagePaid,
    Flow::InvoiceVoided,
];

/// What Stripe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Says {
    Yes,
    No,
    Nothing,
}

/// The edges that were tried already.
type Known = Mutex<BTreeSet<(Says, Edge)>>;

impl Flow {
    const fn mode(self) -> ChargeMode {
        match self {
            Self::InvoicePaid
            | Self::InvoiceDeclined
            | Self::InvoiceUnclear
            | Self::InvoicePagePaid
            | Self::InvoiceVoided => ChargeMode::Invoice,
            _intent => ChargeMode::PaymentIntent,
        }
    }

    const fn card(self) -> Option<&'static str> {
        match self {
            Self::NoCard => None,
            Self::Paid
            | Self::Processing
            | Self::ProcessingFails
            | Self::Forgotten
            | Self::NeverDone
            | Self::PaidTwice
            | Self::RefundForgotten
            | Self::InvoicePaid => Some("pm_card_visa"),
            Self::DeclinedHard | Self::LinkExpired | Self::InvoiceDeclined => {
                Some("pm_card_visa_chargeDeclinedLostCard")
            }
            Self::DeclinedSoft => Some("pm_card_visa_chargeDeclinedInsufficientFunds"),
            Self::InvoiceUnclear => Some("pm_card_chargeDeclined_do_not_honor"),
            Self::LinkPaid | Self::LinkClosed | Self::InvoicePagePaid | Self::InvoiceVoided => {
                Some("pm_card_authenticationRequired")
            }
        }
    }

    /// Decisions that succeed and that come to nothing, however often it is stopped.
    pub(super) const fn ends(self) -> (usize, usize) {
        match self {
            Self::Paid
            | Self::Processing
            | Self::LinkPaid
            | Self::Forgotten
            | Self::PaidTwice
            | Self::RefundForgotten
            | Self::InvoicePaid
            | Self::InvoicePagePaid => (1, 0),
            Self::NoCard
            | Self::ProcessingFails
            | Self::DeclinedHard
            | Self::DeclinedSoft
            | Self::LinkExpired
            | Self::InvoiceDeclined
            | Self::InvoiceUnclear => (0, 1),
            Self::LinkClosed | Self::NeverDone | Self::InvoiceVoided => (1, 1),
        }
    }

    /// Payments that go back.
    pub(super) const fn refunds(self) -> usize {
        if matches!(self, Self::PaidTwice | Self::RefundForgotten) { 1 } else { 0 }
    }

    /// What Stripe says of it.
    fn says(self, lossy: bool) -> Says {
        match (self, lossy, self.ends()) {
            (Self::Forgotten | Self::NeverDone | Self::RefundForgotten, ..) | (_, true, _) => Says::Nothing,
            (_, false, (1, 0)) => Says::Yes,
            (_, false, _) => Says::No,
        }
    }

    /// What goes wrong at Stripe from the beginning.
    fn faults(self, lossy: bool) -> Vec<FaultRule> {
        let intents = |fault| vec![FaultRule::new("POST", "/v1/payment_intents", fault)];
        match self {
            Self::Forgotten => return intents(Fault::DropReply),
            Self::NeverDone => return intents(Fault::Reset),
            _other => {}
        }
        if !lossy {
            return Vec::new();
        }
        // Each first sending is done, and its reply is lost; the next one gets the stored answer.
        let paths = ["/v1/payment_intents", "/v1/invoices", "/v1/invoiceitems", "/v1/checkout/sessions", "/v1/refunds"];
        let lost = |path| (0..5).map(move |n| FaultRule::new("POST", path, Fault::DropReply).nth(2 * n + 1));
        paths.into_iter().flat_map(lost).collect()
    }
}

/// Where a life ends.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// At so many edges after its begin.
    At(usize),
    /// At this edge.
    On(Edge),
    /// At the one that follows it.
    After(Edge),
}

/// One life of the charger: the edges it passes, until it is stopped.
#[derive(Default)]
struct Life {
    crash: Option<Crash>,
    passed: Mutex<Vec<Edge>>,
    dead: AtomicBool,
}

impl Life {
    fn breaks(self: &Arc<Self>) -> Breaks {
        let life = self.clone();
        Arc::new(move |name, done| life.ends_at((name, done)))
    }

    fn ends_at(&self, edge: Edge) -> bool {
        if self.dead.load(Ordering::SeqCst) {
            return true;
        }
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = match self.crash {
            None => false,
            Some(Crash::At(number)) => passed.len() == number,
            Some(Crash::On(wanted)) => edge == wanted,
            Some(Crash::After(before)) => passed.last() == Some(&before),
        };
        passed.push(edge);
        drop(passed);
        self.dead.store(ends, Ordering::SeqCst);
        ends
    }

    fn passed(&self) -> Vec<Edge> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A customer going through a flow.
pub(super) struct Trial<'a> {
    ground: &'a Ground,
    flow: Flow,
    payer: Payer,
    /// What its owner, or time, does once.
    acted: bool,
}

impl<'a> Trial<'a> {
    pub(super) async fn begin(ground: &'a Ground, flow: Flow, lossy: bool) -> Self {
        ground.simulator.set_fault_rules(Vec::new()).unwrap();
        let payer = ground.payer(flow.card()).await;
        let processing = match flow {
            Flow::Processing => Some(CardOrder::processing(86_400)),
            Flow::ProcessingFails => {
                let code = CardOrder::declined("card_declined", Some("lost_card"));
                Some(CardOrder { code: code.code, decline_code: code.decline_code, ..CardOrder::processing(86_400) })
            }
            _other => None,
        };
        if let Some(order) = processing {
            ground.simulator.set_method(&payer.card, &order).unwrap();
        }
        ground.simulator.set_fault_rules(flow.faults(lossy)).unwrap();
        let wanted = creditd::domain::command::SetRule { mode: flow.mode(), ..rule(None) };
        ground.set(payer.account, wanted).await;
        Self { ground, flow, payer, acted: false }
    }

    /// One life, to its end or until nothing is left to be done.
    async fn live(&mut self, crash: Option<Crash>) -> Arc<Life> {
        let life = Arc::new(Life { crash, ..Life::default() });
        let worker = self.ground.worker(Some(life.breaks()));
        self.work(&worker, || life.dead.load(Ordering::SeqCst)).await;
        life
    }

    /// Works until it is stopped or nothing is left to be done.
    pub(super) async fn work(&mut self, worker: &TopUpWorker, is_dead: impl Fn() -> bool) {
        for _ in 0..STEPS_MAX {
            let taken = worker.round().await.unwrap();
            if is_dead() {
                return self.ground.leases_end().await;
            }
            if taken > 0 || self.act().await {
                continue;
            }
            let Some(seconds) = self.ground.next_due().await else { return };
            self.ground.advance(seconds.max(1)).await;
            self.ground.circuit_waits(1_000).await;
        }
        let (rows, left) = (self.ground.open_top_ups(self.payer.account).await, self.ground.left().await);
        panic!("{:?} is stuck with {left:?}: {rows:#?}", self.flow)
    }

    /// What happens outside once nothing is due.
    async fn act(&mut self) -> bool {
        if self.acted {
            return false;
        }
        let open = self.ground.open_top_ups(self.payer.account).await;
        let (simulator, account) = (&self.ground.simulator, self.payer.account);
        let link = open.first().and_then(|top_up| top_up.link.clone());
        match (self.flow, link) {
            (Flow::LinkPaid, Some(link)) => {
                simulator.pay_checkout_with(link.session.as_deref().unwrap(), "pm_card_visa").unwrap();
            }
            (Flow::InvoicePagePaid, Some(_)) => {
                let invoice = open[0].last_try.as_ref().and_then(|last| last.invoice.clone()).unwrap();
                simulator.pay_invoice(&invoice, "pm_card_visa").unwrap();
            }
            (Flow::LinkClosed | Flow::InvoiceVoided, Some(_)) => {
                let card = self.ground.card(&self.payer.stripe, "pm_card_visa").await;
                let mode = self.flow.mode();
                let wanted = creditd::domain::command::SetRule { mode, ..rule(Some(&card)) };
                self.ground.set(account, wanted).await;
            }
            (Flow::Forgotten | Flow::NeverDone, None)
                if open.first().is_some_and(|top_up| top_up.state == TopUpState::Charging) =>
            {
                simulator.set_fault_rules(Vec::new()).unwrap();
                self.ground.advance(23 * 3_600 + 60).await;
            }
            (Flow::PaidTwice | Flow::RefundForgotten, None) if open.is_empty() => self.pay_again().await,
            (_, _) => return false,
        }
        self.acted = true;
        true
    }

    /// Stripe took money a second time for the same decision; the door is told of it.
    async fn pay_again(&self) {
        let decided = self.ground.decided(self.payer.account).await;
        let id = creditd::domain::ids::TopUpId::from_uuid(decided.succeeded[0]);
        self.ground.simulator.set_fault_rules(Vec::new()).unwrap();
        let (of, Payer { account, stripe, card }) = (id.to_string(), &self.payer);
        let form = [
            ("amount", "2000"),
            ("currency", "usd"),
            ("customer", stripe.as_str()),
            ("payment_method", card.as_str()),
            ("confirm", "true"),
            ("off_session", "true"),
            ("metadata[creditd_topup_id]", of.as_str()),
        ];
        let intent = self.ground.stripe("/v1/payment_intents", &form).await;
        let gross = Money::from_minor(2_000, "usd".parse().unwrap()).unwrap();
        let paid_at = self.ground.simulator.now();
        let payment_intent = intent["id"].as_str().map(str::to_owned);
        let facts = PaymentFacts {
            status: PaymentStatus::Paid,
            currency: Some(gross.currency()),
            amount_paid_minor: Some(gross.minor()),
            tax_minor: Some(0),
            discount_minor: None,
            session: None,
            payment_intent: payment_intent.clone(),
            charge: intent["latest_charge"].as_str().map(str::to_owned),
            invoice: None,
            balance_transaction: None,
            stripe_customer: Some(stripe.clone()),
            subscription: None,
            paid_at: Some(paid_at),
            metadata: std::collections::BTreeMap::new(),
        };
        let claimed = self.ground.store.claim_payment(*account, &facts).await.unwrap();
        let PaymentClaim::Claimed(payment) = claimed else { panic!("{claimed:?}") };
        let paid = TopUpPaid {
            top_up: id,
            payment,
            payment_intent,
            paid_at,
            net: gross,
            gross,
            stripe_line: None,
            metadata: std::collections::BTreeMap::new(),
        };
        self.ground.post(*account, Charging::Paid(Box::new(paid))).await;
        let lost = match self.flow {
            Flow::RefundForgotten => vec![FaultRule::new("POST", "/v1/refunds", Fault::DropReply)],
            _other => Flow::Paid.faults(true),
        };
        self.ground.simulator.set_fault_rules(lost).unwrap();
    }

    /// It is over, and as it should be.
    pub(super) async fn has_ended(&self, how: &(impl std::fmt::Debug + Sync)) {
        let decided = self.ground.decided(self.payer.account).await;
        let found = (decided.succeeded.len(), decided.unpaid.len());
        assert_eq!(found, self.flow.ends(), "{:?} after {how:?}: {decided:?}", self.flow);
        let open: Vec<TopUp> = self.ground.open_top_ups(self.payer.account).await;
        assert!(open.is_empty() && decided.open.is_empty(), "{:?} after {how:?}: {open:?}", self.flow);
    }
}

/// What was tried.
#[derive(Debug, Default)]
struct Tried {
    edges: BTreeSet<Edge>,
    points: usize,
    runs: usize,
    crashes: usize,
    succeeded: usize,
    unpaid: usize,
    refunds: usize,
}

/// Every stop of one flow, each with a customer of its own.
async fn matrix(flow: Flow, lossy: bool, known: Option<&Known>) -> Tried {
    let ground = Ground::open(PATIENCE).await;
    let mut tried = Tried::default();
    let mut trial = Trial::begin(&ground, flow, lossy).await;
    let passed = trial.live(None).await.passed();
    trial.has_ended(&"no stop").await;
    tried.runs += 1;
    for (number, edge) in passed.iter().enumerate() {
        tried.edges.insert(*edge);
        let first = Crash::At(number);
        let second: Vec<Option<Crash>> =
            match known.map(|known| known.lock().unwrap().insert((flow.says(lossy), *edge))) {
                Some(false) => continue,
                Some(true) => {
                    tried.points += 1;
                    let again = if number.is_multiple_of(2) { Crash::On(*edge) } else { Crash::After(*edge) };
                    vec![None, Some(again)]
                }
                None => std::iter::once(None).chain((0..passed.len()).map(|other| Some(Crash::At(other)))).collect(),
            };
        for again in second {
            let how: Vec<Crash> = std::iter::once(first).chain(again).collect();
            let mut trial = Trial::begin(&ground, flow, lossy).await;
            for crash in &how {
                let life = trial.live(Some(*crash)).await;
                tried.crashes += usize::from(life.dead.load(Ordering::SeqCst));
            }
            trial.live(None).await;
            trial.has_ended(&how).await;
            tried.runs += 1;
        }
    }
    (tried.succeeded, tried.unpaid) = ground.money_is_right().await;
    let (succeeded, unpaid) = flow.ends();
    assert_eq!((tried.succeeded, tried.unpaid), (succeeded * tried.runs, unpaid * tried.runs), "{flow:?}");
    tried.refunds = ground.taken().refunds;
    assert_eq!(tried.refunds, flow.refunds() * tried.runs, "{flow:?}");
    ground.close().await;
    tried
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_at_every_edge_it_takes_money_once_or_not_at_all() {
    let all_pairs = creditd::config::process_environment("CREDITD_TEST_CHARGER_PAIRS").is_some();
    let (started, known) = (creditd::clock::instant(), Known::default());
    let known = (!all_pairs).then_some(&known);
    let only = creditd::config::process_environment("CREDITD_TEST_CHARGER_FLOW");
    let wanted = FLOWS.into_iter().filter(|flow| only.as_ref().is_none_or(|only| *only == format!("{flow:?}")));
    let cases = wanted.flat_map(|flow| [(flow, false), (flow, true)]);
    // What loses replies by itself loses them in one way only.
    let cases = cases.filter(|(flow, lossy)| {
        !(*lossy && matches!(flow, Flow::Forgotten | Flow::NeverDone | Flow::RefundForgotten | Flow::NoCard))
    });
    let mut running = futures_util::stream::iter(cases)
        .map(|(flow, lossy)| async move { ((flow, lossy), matrix(flow, lossy, known).await) })
        .buffer_unordered(CONCURRENCY);
    let mut all = Tried::default();
    while let Some(((flow, lossy), tried)) = running.next().await {
        println!(
            "{flow:?}{}: {} edges, {} new, {} runs, {} crashes, {} succeeded, {} unpaid, {} refunded",
            if lossy { ", replies lost" } else { "" },
            tried.edges.len(),
            tried.points,
            tried.runs,
            tried.crashes,
            tried.succeeded,
            tried.unpaid,
            tried.refunds
        );
        all.edges.extend(&tried.edges);
        all.points += tried.points;
        (all.runs, all.crashes) = (all.runs + tried.runs, all.crashes + tried.crashes);
        (all.succeeded, all.unpaid) = (all.succeeded + tried.succeeded, all.unpaid + tried.unpaid);
        all.refunds += tried.refunds;
    }
    println!("{} edges: {:?}", all.edges.len(), all.edges);
    println!(
        "{} edges with what Stripe says, {} runs with {} crashes in {:?}: {} decisions succeeded, {} came to nothing, {} payments went back",
        all.points,
        all.runs,
        all.crashes,
        started.elapsed(),
        all.succeeded,
        all.unpaid,
        all.refunds
    );
    assert!(only.is_some() || all.edges.len() >= POINTS_MIN, "{} edges", all.edges.len());
}
