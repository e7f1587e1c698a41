//! Bills on their way to Stripe: killed at every request, answers lost in every way, two workers at once; and each credit
//! stands on one invoice. Judged by the simulator's objects and log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use creditd::charging::Charger;
use creditd::clock::Clock;
use creditd::domain::command::{Command, Decision, Outcome, Track, WhenShort};
use creditd::domain::ids::{AccountId, BillId};
use creditd::domain::overage_bill::{Bill, BillOrder, BillOverage, BillState, BillVoid};
use creditd::domain::top_up::settings::ChargerSettings;
use creditd::posting::Posting;
use creditd::simulator::{Fault, FaultRule, Options, Simulator};
use creditd::store::Store;
use creditd::stripe::client::{Answer, Fetch, Sent, StripeClient};
use creditd::stripe::frozen::{Frozen, IdempotencyKey};
use creditd::stripe::transport::{Transport, TransportSettings};
use creditd::workers::top_up::{Queue, TopUpWorker};
use jiff::SignedDuration;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::domain_laws::{feature, quantity};
use crate::stripe_writes::lint::lint_log;
use crate::support::app::{STRIPE_KEY, ask_stripe};
use crate::support::database::{fresh_url, raw, store_at};
use crate::support::garbled::{BODIES, Garbled};

const HOUR: i64 = 3_600;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[features.pages]
type = "metered"
[plans.free]
auto_enable = true
[[plans.free.items]]
feature = "calls"
overage = { limit = "100000", amount = "0.015", currency = "usd" }
[[plans.free.items]]
feature = "pages"
overage = { limit = "100000", amount = "0.25", currency = "usd" }
"#;

fn worker(store: &Store, posting: &Posting, stripe: Arc<dyn StripeClient>) -> TopUpWorker {
    let charger = Charger::new(store.clone(), posting.clone(), stripe, ChargerSettings::default(), false);
    TopUpWorker {
        queue: Queue::Bills,
        store: store.clone(),
        charger,
        wake: Arc::new(Notify::new()),
        beat: Arc::new(|| {}),
    }
}

async fn work(worker: &TopUpWorker) {
    while worker.round().await.unwrap() > 0 {}
}

/// A ledger and a simulated Stripe with one time, and no daemon between them.
struct Rig {
    url: String,
    store: Store,
    pool: PgPool,
    posting: Posting,
    simulator: Simulator,
    clock: Clock,
    transport: Arc<Transport>,
    client: reqwest::Client,
    account: AccountId,
    customer: String,
}

impl Rig {
    async fn start() -> Self {
        let url = fresh_url().await;
        let (store, pool) = (store_at(&url).await, raw(&url).await);
        let instance = store.ensure_instance(false, None).await.unwrap();
        let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
        let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
        let clock = Clock::shifted(SignedDuration::from_secs(instance.test_offset_seconds));
        let mut options = Options::new(clock.clone());
        options.api_key = Some(STRIPE_KEY.to_owned());
        options.auto_deliver = false;
        let simulator = Simulator::start(options).await.unwrap();
        let mut settings = TransportSettings::new(SecretString::from(STRIPE_KEY.to_owned()));
        simulator.base_url().clone_into(&mut settings.base_url);
        settings.backoff_base = std::time::Duration::from_millis(1);
        let transport = Arc::new(Transport::new(&settings).unwrap());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let customer = ask_stripe(&client, &simulator, "POST", "/v1/customers", &[("name", "Ada")]).await;
        let customer = customer["id"].as_str().unwrap().to_owned();
        let posting = Posting::start(&store);
        let account = store.claim_customer("ada").await.unwrap().account();
        store.link_stripe_customer(&customer, account).await.unwrap();
        let _: Decision = posting.post(account, None, Command::Open).await.unwrap();
        Self { url, store, pool, posting, simulator, clock, transport, client, account, customer }
    }

    async fn stripe(&self, method: &str, path: &str, form: &[(&str, &str)]) -> Value {
        ask_stripe(&self.client, &self.simulator, method, path, form).await
    }

    fn worker(&self, stripe: Arc<dyn StripeClient>) -> TopUpWorker {
        worker(&self.store, &self.posting, stripe)
    }

    /// Works with nothing in between until nothing is due.
    async fn work(&self) {
        work(&self.worker(self.transport.clone())).await;
    }

    async fn use_up(&self, of: &str, units: &str) {
        let track = Track { when_short: WhenShort::Debt, ..Track::of(feature(of), quantity(units)) };
        let _: Decision = self.posting.post(self.account, None, Command::Track(track)).await.unwrap();
    }

    async fn bill(&self, draft: Option<&str>) -> BillId {
        let order = BillOverage {
            currency: "usd".parse().unwrap(),
            period_end: self.store.instance().await.unwrap().unwrap().now,
            stripe_customer: self.customer.clone(),
            draft_invoice: draft.map(str::to_owned),
        };
        let made = self.posting.post(self.account, None, Command::Bill(BillOrder::Make(order))).await.unwrap();
        let Outcome::Billed { bill: Some(bill) } = made.outcome() else { panic!("{made:?}") };
        *bill
    }

    /// A bill of two lines: 20 calls for 30 cents, 4 pages for a dollar.
    async fn two_lines(&self, draft: Option<&str>) -> BillId {
        self.use_up("calls", "20").await;
        self.use_up("pages", "4").await;
        self.bill(draft).await
    }

    async fn known(&self, bill: BillId) -> Bill {
        self.store.overage_bill(self.account, bill).await.unwrap().unwrap()
    }

    /// A draft that somebody else finalizes.
    async fn draft(&self) -> String {
        let form = [
            ("customer", self.customer.as_str()),
            ("currency", "usd"),
            ("auto_advance", "false"),
            ("pending_invoice_items_behavior", "exclude"),
        ];
        self.stripe("POST", "/v1/invoices", &form).await["id"].as_str().unwrap().to_owned()
    }

    /// What stands on all invoices of each bill: bill, line, amount, and the invoice.
    async fn lines(&self) -> Vec<(String, String, i64, String)> {
        let invoices = self.stripe("GET", "/v1/invoices?limit=100", &[]).await;
        let mut found = Vec::new();
        for invoice in invoices["data"].as_array().unwrap() {
            let id = invoice["id"].as_str().unwrap();
            let lines = self.stripe("GET", &format!("/v1/invoices/{id}/lines?limit=100"), &[]).await;
            for line in lines["data"].as_array().unwrap() {
                let text = |key: &str| line["metadata"][key].as_str().unwrap_or_default().to_owned();
                let amount = line["amount"].as_i64().unwrap();
                found.push((text("creditd_bill_id"), text("creditd_bill_line"), amount, id.to_owned()));
            }
        }
        found.sort();
        found
    }

    /// The lines of a bill stand on its invoice, each once, and nowhere else.
    async fn must_stand_once(&self, bill: BillId) {
        let known = self.known(bill).await;
        assert_eq!(known.state, BillState::Invoiced, "{known:?}");
        let invoice = known.invoice.clone().unwrap().id;
        let wanted: Vec<_> = known
            .lines
            .iter()
            .enumerate()
            .filter(|(_, line)| !line.is_released)
            .map(|(number, line)| (bill.to_string(), number.to_string(), line.amount_minor, invoice.clone()))
            .collect();
        let all = self.lines().await;
        let mine: Vec<_> = all.into_iter().filter(|(of, ..)| *of == bill.to_string()).collect();
        assert_eq!(mine, wanted);
    }

    async fn advance(&self, seconds: i64) {
        let moved = self.store.advance_test_clock_by(seconds).await.unwrap().unwrap();
        assert!(self.clock.raise_offset(SignedDuration::from_secs(moved.test_offset_seconds)));
        self.simulator.advance_to(moved.now).await.unwrap();
        // The circuit waits in real time.
        let text = "UPDATE circuits SET open_until = open_until - make_interval(secs => $1::bigint)";
        sqlx::query(text).bind(seconds).execute(&self.pool).await.unwrap();
    }

    /// A lease of a worker that died is over.
    async fn let_leases_run_out(&self) {
        sqlx::query(
            "UPDATE charge_work SET leased_until = clock_timestamp() - interval '1 s' WHERE leased_until IS NOT NULL",
        )
        .execute(&self.pool)
        .await
        .unwrap();
        sqlx::query("UPDATE leases SET until = clock_timestamp() - interval '1 s'").execute(&self.pool).await.unwrap();
    }

    async fn close(self) {
        let log = self.simulator.log();
        tokio::task::spawn_blocking(move || lint_log(&log)).await.unwrap();
        let found = self.store.verify().await.unwrap();
        assert!(!found.differs(), "{:?}", found.checks);
        self.posting.shut_down().await;
        self.simulator.stop().await;
    }
}

/// Stops for ever at one of its calls, before or after it was done.
struct Stops {
    inner: Arc<Transport>,
    at: usize,
    done_first: bool,
    calls: AtomicUsize,
    reached: Arc<Notify>,
}

impl StripeClient for Stops {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        self.inner.fetch(what)
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if number != self.at {
                return self.inner.send(write, key).await;
            }
            if self.done_first {
                let _ = self.inner.send(write, key).await;
            }
            self.reached.notify_one();
            std::future::pending().await
        })
    }
}

/// Kills a worker at one of its requests; whether it got there.
async fn killed_at(rig: &Rig, at: usize, done_first: bool) -> bool {
    let reached = Arc::new(Notify::new());
    let stops =
        Stops { inner: rig.transport.clone(), at, done_first, calls: AtomicUsize::new(0), reached: reached.clone() };
    let worker = rig.worker(Arc::new(stops));
    tokio::select! {
        () = work(&worker) => false,
        () = reached.notified() => true,
    }
}

#[rstest]
#[case::draft(true, 2)]
#[case::own(false, 4)]
#[tokio::test]
async fn a_worker_killed_before_or_after_any_request_leaves_nothing_twice(
    #[case] on_draft: bool,
    #[case] requests: usize,
) {
    for at in 0..requests {
        for done_first in [false, true] {
            let rig = Rig::start().await;
            let draft = if on_draft { Some(rig.draft().await) } else { None };
            let bill = rig.two_lines(draft.as_deref()).await;
            assert!(killed_at(&rig, at, done_first).await, "request {at}");
            rig.let_leases_run_out().await;
            // And again, by the one that takes over, at its first request.
            if killed_at(&rig, 0, done_first).await {
                rig.let_leases_run_out().await;
            }
            rig.work().await;
            rig.must_stand_once(bill).await;
            let made = rig.simulator.log().requests();
            let items = made.iter().filter(|one| one.path == "/v1/invoiceitems" && one.status == 200 && !one.replayed);
            assert_eq!(items.count(), 2, "killed at {at}, done first: {done_first}");
            rig.close().await;
        }
    }
    // There is no further request.
    let rig = Rig::start().await;
    let draft = if on_draft { Some(rig.draft().await) } else { None };
    let bill = rig.two_lines(draft.as_deref()).await;
    assert!(!killed_at(&rig, requests, false).await);
    rig.must_stand_once(bill).await;
    let known = rig.known(bill).await;
    assert_eq!((known.is_own, known.invoice.unwrap().url.is_some()), (!on_draft, !on_draft));
    rig.close().await;
}

fn faults() -> Vec<FaultRule> {
    let mut rules = Vec::new();
    for (path, calls) in [("/v1/invoiceitems", 2), ("/v1/invoices", 2)] {
        for nth in 1..=calls {
            for fault in [
                Fault::DropReply,
                Fault::CutBody { at: 40 },
                Fault::Reset,
                Fault::Conflict,
                Fault::TooManyRequests { retry_after: Some(0) },
                Fault::Gateway { status: 503 },
                Fault::Html { status: 200 },
                Fault::ServerError,
            ] {
                let mut rule = FaultRule::new("POST", path, fault.clone()).nth(nth);
                if nth == 1 {
                    // More often than one call repeats by itself.
                    rule = FaultRule { nth: None, times: Some(10), ..rule };
                }
                if matches!(fault, Fault::Reset | Fault::Gateway { .. } | Fault::Html { .. }) {
                    rules.push(rule.clone().after_work());
                }
                rules.push(rule);
            }
        }
    }
    rules
}

/// Each answer lost in each way: the same is sent again until it is answered, or looked for when Stripe may have forgotten it.
#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_nothing_stands_twice() {
    let rig = Rig::start().await;
    for rule in faults() {
        let bill = rig.two_lines(None).await;
        let name = format!("{rule:?}");
        rig.simulator.set_fault_rules(vec![rule]).unwrap();
        for _ in 0..40 {
            rig.work().await;
            if rig.known(bill).await.state != BillState::Open {
                break;
            }
            rig.advance(HOUR).await;
        }
        rig.simulator.set_fault_rules(Vec::new()).unwrap();
        println!("{name}");
        rig.must_stand_once(bill).await;
        let log = rig.simulator.log().requests();
        let body = format!("metadata[creditd_bill_id]={bill}");
        let is_made = |response: &Value| {
            response["object"] == "invoice" && response["metadata"]["creditd_bill_id"] == bill.to_string()
        };
        let made: std::collections::BTreeSet<String> = log
            .iter()
            .filter(|one| one.path == "/v1/invoices" && one.body.contains(&body) && is_made(&one.response))
            .map(|one| one.response["id"].to_string())
            .collect();
        assert!(made.len() <= 1, "{name}: {made:?}");
    }
    let invoices = rig.stripe("GET", "/v1/invoices?limit=100", &[]).await;
    assert_eq!(invoices["data"].as_array().unwrap().len(), faults().len(), "one for each bill");
    rig.close().await;
}

/// Stripe forgets its keys after a day; a daemon that was down that long finds what it made.
#[tokio::test]
async fn what_a_forgotten_key_made_is_found_and_not_made_again() {
    for at in 0..4 {
        let rig = Rig::start().await;
        let bill = rig.two_lines(None).await;
        assert!(killed_at(&rig, at, true).await);
        rig.let_leases_run_out().await;
        rig.advance(26 * HOUR).await;
        rig.work().await;
        rig.must_stand_once(bill).await;
        rig.close().await;
        // And what was never done is done then.
        let rig = Rig::start().await;
        let bill = rig.two_lines(None).await;
        assert!(killed_at(&rig, at, false).await);
        rig.let_leases_run_out().await;
        rig.advance(26 * HOUR).await;
        rig.work().await;
        rig.must_stand_once(bill).await;
        rig.close().await;
    }
}

/// Where it looks for what a forgotten key made, an answer that cannot be read says neither that it is there nor that it is
/// not.
#[rstest]
#[case::draft(true, 2)]
#[case::own(false, 4)]
#[tokio::test]
async fn what_cannot_be_looked_for_is_not_made_again(#[case] on_draft: bool, #[case] requests: usize) {
    for at in 0..requests {
        for body in BODIES {
            let rig = Rig::start().await;
            let draft = if on_draft { Some(rig.draft().await) } else { None };
            let bill = rig.two_lines(draft.as_deref()).await;
            assert!(killed_at(&rig, at, true).await);
            rig.let_leases_run_out().await;
            rig.advance(26 * HOUR).await;
            let sent = rig.simulator.log().requests().len();
            let garbled = Arc::new(Garbled::new(rig.transport.clone(), 0, usize::MAX, body));
            work(&rig.worker(garbled.clone())).await;
            assert_eq!((rig.simulator.log().requests().len(), garbled.asked() > 0), (sent, true), "{at} {body}");
            rig.advance(HOUR).await;
            rig.work().await;
            rig.must_stand_once(bill).await;
            rig.close().await;
        }
    }
}

/// Ends a bill while something of it is looked for.
struct EndsMeanwhile {
    inner: Arc<Transport>,
    posting: Posting,
    account: AccountId,
    bill: BillId,
}

impl StripeClient for EndsMeanwhile {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        Box::pin(async move {
            let void = BillVoid { bill: self.bill, invoice: None, reason: "an event was faster".to_owned() };
            let voided = self.posting.post(self.account, None, Command::Bill(BillOrder::Void(void))).await;
            assert!(matches!(voided, Ok(Decision::Applied(_) | Decision::AlreadyApplied(_))), "{voided:?}");
            self.inner.fetch(what).await
        })
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        self.inner.send(write, key)
    }
}

#[tokio::test]
async fn a_bill_that_ends_while_it_is_looked_for_sends_nothing_more() {
    let rig = Rig::start().await;
    let bill = rig.two_lines(None).await;
    assert!(killed_at(&rig, 0, false).await);
    rig.let_leases_run_out().await;
    rig.advance(26 * HOUR).await;
    let (inner, posting) = (rig.transport.clone(), rig.posting.clone());
    let ends = EndsMeanwhile { inner, posting, account: rig.account, bill };
    work(&rig.worker(Arc::new(ends))).await;
    assert!(matches!(rig.known(bill).await.state, BillState::Void { .. }));
    let sent = rig.simulator.log().requests().into_iter().filter(|one| one.method == "POST");
    assert_eq!(sent.map(|one| one.path).collect::<Vec<_>>(), ["/v1/customers"], "its lines are on the next bill");
    rig.close().await;
}

#[tokio::test]
async fn two_workers_at_once_make_each_item_once() {
    let rig = Rig::start().await;
    let other = store_at(&rig.url).await;
    let second = Posting::start(&other);
    let mut bills = Vec::new();
    for _ in 0..12 {
        bills.push(rig.two_lines(None).await);
    }
    let beside = worker(&other, &second, rig.transport.clone());
    let first = rig.worker(rig.transport.clone());
    tokio::join!(work(&first), work(&beside));
    rig.work().await;
    for bill in bills {
        rig.must_stand_once(bill).await;
    }
    let log = rig.simulator.log().requests();
    let items: Vec<_> = log.iter().filter(|one| one.path == "/v1/invoiceitems").collect();
    assert_eq!(items.iter().filter(|one| one.status == 200 && !one.replayed).count(), 24);
    second.shut_down().await;
    rig.close().await;
}

#[tokio::test]
async fn a_draft_that_is_final_takes_nothing_and_the_bill_has_an_invoice_of_its_own() {
    let rig = Rig::start().await;
    let draft = rig.draft().await;
    let bill = rig.two_lines(Some(&draft)).await;
    rig.stripe("POST", &format!("/v1/invoices/{draft}/finalize"), &[]).await;
    rig.work().await;
    rig.must_stand_once(bill).await;
    let known = rig.known(bill).await;
    assert!(known.is_own && known.invoice.as_ref().unwrap().id != draft, "{known:?}");
    let own = rig.stripe("GET", &format!("/v1/invoices/{}", known.invoice.unwrap().id), &[]).await;
    assert_eq!((&own["status"], &own["auto_advance"], &own["total"]), (&json!("open"), &json!(true), &json!(130)));
    // Stripe collects it by itself.
    rig.advance(2 * HOUR).await;
    let own = rig.stripe("GET", &format!("/v1/invoices/{}", own["id"].as_str().unwrap()), &[]).await;
    assert_eq!(own["status"], "paid");
    rig.close().await;
}

/// Finalizes a draft after its first item.
struct Finalizes {
    inner: Arc<Transport>,
    draft: String,
    client: reqwest::Client,
    base: String,
    items: AtomicUsize,
}

impl StripeClient for Finalizes {
    fn fetch<'a>(&'a self, what: &'a Fetch) -> Answer<'a> {
        self.inner.fetch(what)
    }

    fn send<'a>(&'a self, write: &'a Frozen, key: &'a IdempotencyKey) -> Sent<'a> {
        Box::pin(async move {
            let sent = self.inner.send(write, key).await;
            if write.path() == "/v1/invoiceitems" && self.items.fetch_add(1, Ordering::SeqCst) == 0 {
                let url = format!("{}/v1/invoices/{}/finalize", self.base, self.draft);
                assert!(self.client.post(url).bearer_auth(STRIPE_KEY).send().await.unwrap().status().is_success());
            }
            sent
        })
    }
}

#[tokio::test]
async fn what_a_draft_did_not_take_before_it_was_final_is_on_the_next_bill() {
    let rig = Rig::start().await;
    let draft = rig.draft().await;
    let bill = rig.two_lines(Some(&draft)).await;
    let finalizes = Finalizes {
        inner: rig.transport.clone(),
        draft: draft.clone(),
        client: rig.client.clone(),
        base: rig.simulator.base_url().to_owned(),
        items: AtomicUsize::new(0),
    };
    work(&rig.worker(Arc::new(finalizes))).await;
    rig.must_stand_once(bill).await;
    let known = rig.known(bill).await;
    assert_eq!(known.lines.iter().map(|line| line.is_released).collect::<Vec<_>>(), [false, true]);
    let next = rig.bill(None).await;
    rig.work().await;
    rig.must_stand_once(next).await;
    let all: i64 = rig.lines().await.iter().map(|(_, _, amount, _)| amount).sum();
    assert_eq!(all, 130, "each credit once");
    rig.close().await;
}

#[tokio::test]
async fn what_stripe_refuses_is_void_with_the_reason_and_waits_for_the_next_bill() {
    let rig = Rig { customer: "cus_gone".to_owned(), ..Rig::start().await };
    let bill = rig.two_lines(None).await;
    rig.work().await;
    let known = rig.known(bill).await;
    assert!(matches!(known.state, BillState::Void { .. }), "{known:?}");
    assert!(known.reason.unwrap().starts_with("Stripe refuses it with 4"));
    assert!(known.lines.iter().all(|line| line.is_released));
    assert!(rig.lines().await.is_empty());
    assert_eq!(rig.store.count_due_bills().await.unwrap(), 0);
    rig.close().await;
}

/// A key that is refused says nothing of what was sent: the bill waits for a person, and goes on.
#[tokio::test]
async fn a_key_that_is_refused_ends_no_bill() {
    let rig = Rig::start().await;
    let bill = rig.two_lines(None).await;
    let mut settings = TransportSettings::new(SecretString::from("sk_test_revoked".to_owned()));
    rig.simulator.base_url().clone_into(&mut settings.base_url);
    work(&rig.worker(Arc::new(Transport::new(&settings).unwrap()))).await;
    assert_eq!(rig.known(bill).await.state, BillState::Open);
    rig.advance(2 * HOUR).await;
    rig.work().await;
    rig.must_stand_once(bill).await;
    rig.close().await;
}
