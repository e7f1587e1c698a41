//! A store, a door and a simulated Stripe whose clocks go together; the charger's worker is run round by round, by hand.
//!
//! What is true of money is read from the log of the simulated Stripe; our tables say what was decided.
//!
//! # Bugs that were put in on purpose, and what found each
//!
//! | bug | found by |
//! |---|---|
//! | a new key on each sending | `lost_replies` |
//! | sent before the try is committed | `crash_matrix`: three charges of one decision |
//! | unknown taken for failed at once | `lost_replies`: money taken for a decision that failed |
//! | granted while the bank still takes its time | `crash_matrix`: the charge that fails later was granted |
//! | counted when paid, not when decided | `laws` |
//! | no unique open decision: neither the check nor the index | `laws`, `races` |
//! | soft declines tried without a bound | `laws`, `charges` |
//! | no fence: who lost the lease goes on | `races` |
//! | a list that cannot be read taken for an empty one | `unreadable` |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use creditd::charging::{Breaks, Charger};
use creditd::clock::Clock;
use creditd::domain::command::{Charging, Command, SetRule, Track};
use creditd::domain::ids::AccountId;
use creditd::domain::top_up::TopUp;
use creditd::domain::top_up::settings::ChargerSettings;
use creditd::posting::Posting;
use creditd::simulator::{Options, Simulator};
use creditd::store::Store;
use creditd::stripe::client::StripeClient;
use creditd::stripe::transport::{Transport, TransportSettings};
use creditd::workers::top_up::{Queue, TopUpWorker};
use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use super::ParseFeature;
use crate::support::app::{CATALOG, STRIPE_KEY, ask_stripe};
use crate::support::database::{fresh_url, raw};

/// Connections of one ground's store: the door's lanes and readers, and the worker.
const CONNECTIONS: u32 = 12;
/// Everything the charger has in its queue.
const OURS: &str = "kind IN ('top_up', 'look', 'refund', 'card')";

/// One database and one Stripe.
pub struct Ground {
    pub url: String,
    pub store: Store,
    pub pool: PgPool,
    pub posting: Posting,
    pub simulator: Arc<Simulator>,
    clock: Clock,
    client: reqwest::Client,
    transport: Arc<Transport>,
    made: AtomicUsize,
}

/// A customer of ours who is a customer of Stripe's.
#[derive(Clone, Debug)]
pub struct Payer {
    pub account: AccountId,
    pub stripe: String,
    pub card: String,
}

/// How the decisions of one account ended, by our tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    pub succeeded: Vec<Uuid>,
    pub unpaid: Vec<Uuid>,
    pub open: Vec<Uuid>,
    /// Grants that top-ups became.
    pub grants: i64,
}

impl Ground {
    /// Calls to Stripe wait no longer than this for their answer.
    pub async fn open(patience: Duration) -> Self {
        let url = fresh_url().await;
        let store = Store::connect(&url, CONNECTIONS).await.unwrap();
        store.ensure_instance(false, None).await.unwrap();
        let catalog = creditd::domain::catalog::file::read(CATALOG).unwrap();
        let _: creditd::store::catalog::Applied = store.apply_catalog(&catalog, [1; 32], false).await.unwrap();
        let clock = Clock::shifted(SignedDuration::ZERO);
        let mut options = Options::new(clock.clone());
        options.api_key = Some(STRIPE_KEY.to_owned());
        options.auto_deliver = false;
        let simulator = Arc::new(Simulator::start(options).await.unwrap());
        let mut settings = TransportSettings::new(SecretString::from(STRIPE_KEY.to_owned()));
        simulator.base_url().clone_into(&mut settings.base_url);
        settings.total_timeout = patience;
        settings.backoff_base = Duration::from_millis(1);
        Self {
            pool: raw(&url).await,
            url,
            posting: Posting::start(&store),
            store,
            simulator,
            clock,
            client: crate::support::binary::client(),
            transport: Arc::new(Transport::new(&settings).unwrap()),
            made: AtomicUsize::new(0),
        }
    }

    /// A worker as a fresh process would have it; perhaps one that is stopped at an edge.
    pub fn worker(&self, breaks: Option<Breaks>) -> TopUpWorker {
        let worker = self.worker_asking(self.transport.clone());
        let Some(breaks) = breaks else { return worker };
        TopUpWorker { charger: worker.charger.with_breaks(breaks), ..worker }
    }

    /// A worker that asks Stripe in another way.
    pub fn worker_asking(&self, stripe: Arc<dyn StripeClient>) -> TopUpWorker {
        let settings =
            ChargerSettings { return_url: Some("https://example.com/paid".to_owned()), ..ChargerSettings::default() };
        TopUpWorker {
            queue: Queue::Charges,
            store: self.store.clone(),
            charger: Charger::new(self.store.clone(), self.posting.clone(), stripe, settings, false),
            wake: Arc::new(Notify::new()),
            beat: Arc::new(|| {}),
        }
    }

    /// Who asks its Stripe.
    pub fn transport(&self) -> Arc<Transport> {
        self.transport.clone()
    }

    pub async fn stripe(&self, path: &str, form: &[(&str, &str)]) -> Value {
        ask_stripe(&self.client, &self.simulator, "POST", path, form).await
    }

    /// A card of a customer of Stripe's, of this kind.
    pub async fn card(&self, stripe: &str, kind: &str) -> String {
        let card = self.stripe(&format!("/v1/payment_methods/{kind}/attach"), &[("customer", stripe)]).await;
        card["id"].as_str().unwrap().to_owned()
    }

    /// A fresh customer with a card, or none.
    pub async fn payer(&self, card: Option<&str>) -> Payer {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let made = self.stripe("/v1/customers", &[("email", "ana@example.com")]).await;
        let stripe = made["id"].as_str().unwrap().to_owned();
        let card = match card {
            Some(kind) => self.card(&stripe, kind).await,
            None => String::new(),
        };
        let account = self.store.claim_customer(&format!("ana-{number}")).await.unwrap().account();
        assert_eq!(self.store.link_stripe_customer(&stripe, account).await.unwrap(), account);
        self.posting.post(account, None, Command::Open).await.map(drop).unwrap();
        Payer { account, stripe, card }
    }

    pub async fn post(&self, account: AccountId, charging: Charging) {
        self.posting.post(account, None, Command::Charging(charging)).await.map(drop).unwrap();
    }

    pub async fn set(&self, account: AccountId, rule: SetRule) {
        self.post(account, Charging::SetRule(Box::new(rule))).await;
    }

    /// Uses so many basic messages, of which a hundred cost a credit.
    pub async fn spend(&self, account: AccountId, messages: &str) {
        let track = Track::of("basic_messages".parse_feature(), messages.parse().unwrap());
        self.posting.post(account, None, Command::Track(track)).await.map(drop).unwrap();
    }

    /// Time goes on: the database's, then Stripe's.
    pub async fn advance(&self, seconds: i64) {
        let moved = self.store.advance_test_clock_by(seconds).await.unwrap().expect("a test database");
        assert!(self.clock.raise_offset(SignedDuration::from_secs(moved.test_offset_seconds)));
        self.simulator.advance_to(moved.now).await.unwrap();
    }

    /// Seconds until something of the charger's falls due; none: nothing is left to be done. What is leased is somebody's.
    pub async fn next_due(&self) -> Option<i64> {
        let text = format!(
            "SELECT ceil(extract(epoch FROM min(due_at) - clock_timestamp()
                - make_interval(secs => (SELECT test_offset_seconds FROM instance))))::bigint
            FROM charge_work WHERE {OURS} AND (leased_until IS NULL OR leased_until <= clock_timestamp())"
        );
        let due: Option<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&self.pool).await.unwrap();
        due.map(|seconds| seconds.max(0))
    }

    /// The charger's queue, as text.
    pub async fn left(&self) -> Vec<String> {
        let text = format!("SELECT to_jsonb(w)::text FROM charge_work w WHERE {OURS}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_all(&self.pool).await.unwrap()
    }

    /// What a dead worker held is free again, as after its lease.
    pub async fn leases_end(&self) {
        let text = "UPDATE charge_work SET leased_until = clock_timestamp() - interval '1 second' \
                    WHERE leased_until IS NOT NULL";
        sqlx::query(text).execute(&self.pool).await.unwrap();
    }

    /// How much of it is somebody's.
    pub async fn leased(&self) -> usize {
        let text = format!("SELECT count(*) FROM charge_work WHERE {OURS} AND leased_until > clock_timestamp()");
        let leased: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(&self.pool).await.unwrap();
        usize::try_from(leased).unwrap()
    }

    /// So many real seconds pass for the circuit, or all of them.
    pub async fn circuit_waits(&self, seconds: i64) {
        let text = "UPDATE circuits SET open_until = open_until - make_interval(secs => $1::bigint)";
        sqlx::query(text).bind(seconds).execute(&self.pool).await.unwrap();
    }

    /// Works and waits until nothing is due for so many seconds.
    pub async fn work_for(&self, worker: &TopUpWorker, mut seconds: i64) {
        loop {
            while worker.round().await.unwrap() > 0 {}
            let Some(next) = self.next_due().await.filter(|next| *next < seconds) else { break };
            let step = next.max(1);
            self.advance(step).await;
            self.circuit_waits(step).await;
            seconds -= step;
        }
        self.advance(seconds).await;
        self.circuit_waits(seconds).await;
    }

    pub async fn open_top_ups(&self, account: AccountId) -> Vec<TopUp> {
        self.posting.read_complete(account).await.unwrap().state.top_ups
    }

    /// What our tables say of an account.
    pub async fn decided(&self, account: AccountId) -> Decided {
        let rows: Vec<(Uuid, String)> =
            sqlx::query_as("SELECT topup_id, state FROM top_ups WHERE account_id = $1 ORDER BY created_at")
                .bind(account.as_uuid())
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let grants = "SELECT count(*) FROM grants WHERE account_id = $1 AND item_key = 'top_up'";
        let grants = sqlx::query_scalar(grants).bind(account.as_uuid()).fetch_one(&self.pool).await.unwrap();
        let mut decided = Decided { grants, ..Decided::default() };
        for (id, state) in rows {
            match state.as_str() {
                "succeeded" => decided.succeeded.push(id),
                "failed" | "dropped" => decided.unpaid.push(id),
                _ => decided.open.push(id),
            }
        }
        decided
    }

    /// Money that Stripe took and did not give back, in charges by top-up; a charge of an invoice is the invoice's.
    pub fn taken(&self) -> Taken {
        let log = self.simulator.log();
        let mut invoices: BTreeMap<String, String> = BTreeMap::new();
        for request in log.requests() {
            if request.path == "/v1/invoices" && request.method == "POST" {
                let (id, of) = (&request.response["id"], &request.response["metadata"]["creditd_topup_id"]);
                if let (Some(id), Some(of)) = (id.as_str(), of.as_str()) {
                    invoices.insert(id.to_owned(), of.to_owned());
                }
            }
        }
        let mut taken = Taken::default();
        let mut charge_of: BTreeMap<String, Uuid> = BTreeMap::new();
        for charge in log.charges() {
            let named = charge.metadata.get("creditd_topup_id");
            let of = named.or_else(|| invoices.get(charge.invoice.as_ref()?)).expect("every charge here is a top-up's");
            let id = of.parse::<creditd::domain::ids::TopUpId>().unwrap().as_uuid();
            *taken.tried.entry(id).or_default() += 1;
            if charge.succeeded {
                *taken.charges.entry(id).or_default() += 1;
                *taken.minor.entry(id).or_default() += charge.amount;
                charge_of.insert(charge.charge, id);
            }
        }
        for refund in log.refunds() {
            if refund.status == "succeeded" {
                let id = charge_of[&refund.charge];
                *taken.charges.entry(id).or_default() -= 1;
                *taken.minor.entry(id).or_default() -= refund.amount;
                taken.refunds += 1;
            }
        }
        taken
    }

    /// I3 and I4: money that moved is what decisions that succeeded cost, once each, and each has its grant. Answers how
    /// many succeeded and how many did not.
    pub async fn money_is_right(&self) -> (usize, usize) {
        let taken = self.taken();
        let rows: Vec<(Uuid, String, i64, i64)> = sqlx::query_as(
            "SELECT t.topup_id, t.state, t.amount_minor, (SELECT count(*) FROM grants g WHERE g.account_id = t.account_id
                AND g.grant_id = t.grant_id AND g.item_key = 'top_up' AND g.original = t.credits
                AND g.payment_id = t.payment_id)
            FROM top_ups t",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let (mut succeeded, mut unpaid, mut minor) = (0, 0, 0);
        for (id, state, amount, grants) in &rows {
            let charges = taken.charges.get(id).copied().unwrap_or_default();
            let paid = taken.minor.get(id).copied().unwrap_or_default();
            match state.as_str() {
                "succeeded" => {
                    assert_eq!((charges, paid, *grants), (1, *amount, 1), "{id} is charged once and granted once");
                    succeeded += 1;
                    minor += amount;
                }
                "failed" | "dropped" => {
                    assert_eq!((charges, paid, *grants), (0, 0, 0), "{id} {state} took nothing and gave nothing");
                    unpaid += 1;
                }
                open => panic!("{id} is still {open}"),
            }
        }
        let grants: i64 = sqlx::query_scalar("SELECT count(*) FROM grants WHERE item_key = 'top_up'")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        assert_eq!(usize::try_from(grants).unwrap(), succeeded, "no other grant is a top-up's");
        assert_eq!(taken.minor.values().sum::<i64>(), minor, "no other money moved");
        (succeeded, unpaid)
    }

    /// I16: what rules count in their window is what they decided and did not certainly fail to take.
    pub async fn counters_are_right(&self) {
        let wrong: Vec<(Uuid, String, i64, i64)> = sqlx::query_as(
            "SELECT r.account_id, r.name, r.month_minor, coalesce(s.minor, 0)::bigint FROM top_up_rules r
            LEFT JOIN LATERAL (SELECT count(*) AS count, sum(t.amount_minor) AS minor FROM top_ups t
                WHERE t.account_id = r.account_id AND t.rule = r.name AND t.state NOT IN ('failed', 'dropped')
                    AND t.created_at >= r.month_start) AS s ON true
            WHERE r.month_start IS NOT NULL AND (r.month_minor <> coalesce(s.minor, 0) OR r.month_count <> s.count)",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(wrong.is_empty(), "counted and decided: {wrong:?}");
        let over: Vec<(Uuid, String)> = sqlx::query_as(
            "SELECT account_id, name FROM top_up_rules WHERE month_minor > (terms #>> '{per_month,minor}')::bigint
                OR day_count > (terms #>> '{per_day,count}')::bigint",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(over.is_empty(), "above a ceiling: {over:?}");
    }

    /// The laws hold, and nothing of the charger's is left.
    pub async fn close(self) {
        assert_eq!(self.left().await, Vec::<String>::new(), "something is left to be done");
        self.counters_are_right().await;
        let found = self.store.verify().await.unwrap();
        assert!(!found.differs(), "{:#?}", found.checks);
        self.posting.shut_down().await;
        self.simulator.stop().await;
    }
}

/// What the log of the simulated Stripe says of money, by top-up.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Charges that were tried.
    pub tried: BTreeMap<Uuid, i64>,
    /// Charges that succeeded, less those that were refunded.
    pub charges: BTreeMap<Uuid, i64>,
    /// Their money.
    pub minor: BTreeMap<Uuid, i64>,
    /// Refunds.
    pub refunds: usize,
}
