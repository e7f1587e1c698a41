//! Hundreds of tracks at once cross a threshold, on two daemons: one decision at a time, within the ceilings, and what is
//! charged is what is granted; and a worker that comes back from the dead sends nothing. `CREDITD_TEST_CROSSING_ROUNDS=1000` does it so often; `tests/long/charger.sh` does.

use std::time::Duration;

use creditd::charging::ChargeError;
use creditd::domain::command::{Command, SetRule, Track};
use creditd::domain::ids::AccountId;
use creditd::domain::top_up::Ceiling;
use creditd::store::charge_work::WorkKind;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use sqlx::PgPool;

use super::ground::Ground;
use super::{ParseFeature, rule};
use crate::support::app::TestApp;
use crate::support::database::raw;

/// Rounds, when nothing else is said.
const ROUNDS: u64 = 15;
/// Tracks of one round, all at once.
const TRACKS: usize = 500;
/// Rounds that one customer goes through: more than the ceilings allow.
const OF_ONE: u64 = 5;
/// Most decisions of a customer's day, and most money of a month.
const DECISIONS_MAX: u32 = 4;
const MINOR_MAX: i64 = 7_000;
/// Longest wait for a round's charges, in steps.
const STEPS: u32 = 3_000;
const STEP: Duration = Duration::from_millis(10);

struct Race {
    one: TestApp,
    other: TestApp,
    pool: PgPool,
}

impl Race {
    async fn customer(&self, number: u64) -> AccountId {
        let name = format!("ana-{number}");
        let payer = self.one.stripe("POST", "/v1/customers", &[("email", "ana@example.com")]).await;
        let body = json!({ "stripe_customer": payer["id"] });
        let (status, made) = self.one.call("PUT", &format!("/api/v1/customers/{name}"), Some(body)).await;
        assert!(status < 300, "{made}");
        self.one.grant(&name, "usd_credits", "15").await;
        self.one.store.find_customer(&name).await.unwrap().unwrap()
    }

    /// Decisions of an account that are not over.
    async fn open(&self, account: AccountId) -> i64 {
        let text = "SELECT count(*) FROM top_ups WHERE account_id = $1 AND ended_at IS NULL";
        sqlx::query_scalar(text).bind(account.as_uuid()).fetch_one(&self.pool).await.unwrap()
    }

    async fn post(&self, turn: usize, account: AccountId, command: Command) {
        let app = if turn.is_multiple_of(2) { &self.one } else { &self.other };
        app.daemon.posting().post(account, None, command).await.map(drop).unwrap();
    }

    /// All at once; meanwhile it is looked at how many decisions are open.
    async fn crossed(&self, account: AccountId) {
        let track = || Command::Track(Track::of("basic_messages".parse_feature(), "20".parse().unwrap()));
        let mut tracks: FuturesUnordered<_> = (0..TRACKS).map(|turn| self.post(turn, account, track())).collect();
        let mut most = 0;
        while tracks.next().await.is_some() {
            if tracks.len().is_multiple_of(100) {
                most = most.max(self.open(account).await);
            }
        }
        for _ in 0..STEPS {
            let open = self.open(account).await;
            assert!(open.max(most) <= 1, "{} decisions are open at once", open.max(most));
            if open == 0 {
                return;
            }
            tokio::time::sleep(STEP).await;
        }
        panic!(
            "a decision stays open: {:?}",
            self.one.daemon.posting().read_complete(account).await.unwrap().state.top_ups
        );
    }

    /// How often and how much; each decision was over before the next was made, and all are within the ceilings.
    async fn decided(&self, account: AccountId, (count_max, minor_max): (Option<u32>, i64)) -> (i64, i64) {
        let text = "SELECT count(*), coalesce(sum(amount_minor), 0)::bigint, count(*) FILTER (WHERE state <> 'succeeded'),
                count(*) FILTER (WHERE created_at < before)
            FROM (SELECT *, lag(ended_at) OVER (ORDER BY created_at) AS before FROM top_ups WHERE account_id = $1) AS t";
        let (count, minor, unpaid, early): (i64, i64, i64, i64) =
            sqlx::query_as(text).bind(account.as_uuid()).fetch_one(&self.pool).await.unwrap();
        assert_eq!((unpaid, early), (0, 0), "each succeeds, and is over before the next");
        assert!(count_max.is_none_or(|most| count <= i64::from(most)), "{count} decisions of {count_max:?}");
        assert!(minor <= minor_max, "{minor} of {minor_max}");
        (count, minor)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tracks_that_cross_together_decide_once_at_a_time_and_never_above_the_ceilings() {
    let rounds = creditd::config::process_environment("CREDITD_TEST_CROSSING_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    let one = TestApp::start().await;
    let (other, pool) = (one.beside().await, raw(&one.url).await);
    let race = Race { one, other, pool };
    let (mut decisions, mut minor) = (0, 0);
    for customer in 0..rounds.div_ceil(OF_ONE) {
        let account = race.customer(customer).await;
        // In turn the count and the money of the ceilings end it, and what is used.
        let (count, most) = [(Some(DECISIONS_MAX), MINOR_MAX * 10), (None, MINOR_MAX), (Some(2), MINOR_MAX)]
            [usize::try_from(customer % 3).unwrap()];
        let wanted = SetRule {
            per_day: Ceiling { count, minor: None },
            per_month: Ceiling { count: None, minor: Some(most) },
            ..rule(Some("pm_card_visa"))
        };
        let set = creditd::domain::command::Charging::SetRule(Box::new(wanted));
        race.post(0, account, Command::Charging(set)).await;
        for _ in 0..OF_ONE {
            race.crossed(account).await;
        }
        let (count, sum) = race.decided(account, (count, most)).await;
        assert!(count >= 2, "each round uses up what the one before bought: {count} decisions");
        (decisions, minor) = (decisions + count, minor + sum);
    }
    let charges = race.one.simulator.log().charges();
    assert!(charges.iter().all(|charge| charge.succeeded));
    assert_eq!(i64::try_from(charges.len()).unwrap(), decisions, "a charge for each decision");
    assert_eq!(charges.iter().map(|charge| charge.amount).sum::<i64>(), minor);
    let granted: (i64, i64) = sqlx::query_as(
        "SELECT count(*), coalesce(sum(original) * 100, 0)::bigint FROM grants WHERE item_key = 'top_up'",
    )
    .fetch_one(&race.pool)
    .await
    .unwrap();
    assert_eq!(granted, (decisions, minor), "charges and grants are the same; a credit costs a dollar");
    println!(
        "{rounds} rounds of {TRACKS} tracks on two daemons: {decisions} decisions, charges and grants, {minor} cents"
    );
    race.other.daemon.stop().await;
    race.one.finish().await;
}

/// F04: a worker was stopped for longer than its lease, another one has the work, and the first goes on.
#[tokio::test]
async fn who_lost_the_lease_sends_nothing() {
    let ground = Ground::open(Duration::from_secs(5)).await;
    let payer = ground.payer(Some("pm_card_visa")).await;
    ground.set(payer.account, rule(Some(&payer.card))).await;
    let due = ground.store.due_charge_work(&[WorkKind::TopUp], 10).await.unwrap();
    let lease = async || ground.store.lease_charge_work(&due, 180).await.unwrap().pop();
    let mut dead = lease().await.expect("it is nobody's");
    assert!(lease().await.is_none(), "it is somebody's");
    ground.leases_end().await;
    let mut living = lease().await.expect("its lease is over");
    let charger = ground.worker(None).charger;
    let long_ago =
        creditd::clock::instant().checked_sub(Duration::from_mins(1)).expect("the machine runs for a minute");
    let sent = || ground.simulator.log().requests().iter().filter(|one| one.path == "/v1/payment_intents").count();
    let ended = charger.work(&mut dead, long_ago).await;
    assert!(matches!(ended, Err(ChargeError::LostLease)), "{ended:?}");
    assert_eq!(sent(), 0);
    ground.store.done_charge_work(&dead).await.unwrap();
    ground.store.put_off_charge_work(&dead, 3_600).await.unwrap();
    assert_eq!(ground.left().await.len(), 1, "it takes nothing out of the queue that is not its own");
    charger.work(&mut living, long_ago).await.map(drop).unwrap();
    ground.store.done_charge_work(&living).await.unwrap();
    assert_eq!((sent(), ground.money_is_right().await), (1, (1, 0)));
    ground.close().await;
}
