//! Stripe takes the money, and its answer is lost: dropped, cut at any byte, late, reset, an error of a gateway, or 500
//! under the key for good. Nobody is charged twice, and everybody gets what was paid.
//!
//! `CREDITD_TEST_LOST_REPLIES=50000` runs so many, `CREDITD_TEST_SEED` begins elsewhere; `tests/long/charger.sh` does.

use std::time::Duration;

use creditd::domain::command::SetRule;
use creditd::domain::top_up::ChargeMode;
use creditd::simulator::{Fault, FaultRule};
use futures_util::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::ground::Ground;
use super::rule;

/// Runs, when nothing else is said.
const RUNS: u64 = 200;
/// Grounds that share them, each working by itself.
const GROUNDS: u64 = 4;
/// Longest that a call is waited for; a reply that is late comes after twice that.
const PATIENCE: Duration = Duration::from_millis(400);
/// Rounds and waits of one run before it counts as stuck.
const STEPS_MAX: usize = 300;
/// An answer to a charge has about so many bytes.
const BODY_BYTES: usize = 2_500;
/// The longest from a decision to its grant: Stripe keeps a 500 for a day, and it is looked for after 23 hours.
const HEALING_SECONDS_MAX: i64 = 25 * 3_600;

fn number(name: &str, usual: u64) -> u64 {
    creditd::config::process_environment(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// One way of losing an answer to something that was done.
fn fault(random: &mut StdRng, path: &str) -> FaultRule {
    let rule = |fault| FaultRule::new("POST", path, fault);
    let late = u64::try_from(PATIENCE.as_millis()).unwrap() * 2;
    match random.random_range(0..8) {
        0 => rule(Fault::DropReply),
        1 | 2 => rule(Fault::CutBody { at: random.random_range(0..BODY_BYTES) }),
        3 => rule(Fault::ReplyLate { milliseconds: late }),
        4 => rule(Fault::Reset).after_work(),
        5 => rule(Fault::Gateway { status: random.random_range(502..505) }).after_work(),
        6 => rule(Fault::Html { status: [200, 500, 502][random.random_range(0..3)] }).after_work(),
        _stored => rule(Fault::ServerError),
    }
}

/// A customer, a decision, and one or two answers that are lost; until nothing is left to be done.
async fn run(ground: &Ground, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let by_invoice = random.random_range(0..4) == 0;
    let path = if by_invoice {
        ["/v1/invoices", "/v1/invoiceitems"][random.random_range(0..2)]
    } else {
        "/v1/payment_intents"
    };
    let steps = if path == "/v1/invoices" { 3 } else { 1 };
    let mut lost = vec![fault(&mut random, path).nth(random.random_range(1..=steps))];
    if random.random_range(0..3) == 0 {
        lost.push(fault(&mut random, path).nth(random.random_range(steps + 1..=steps + 3)));
    }
    ground.simulator.set_fault_rules(Vec::new()).unwrap();
    let payer = ground.payer(Some("pm_card_visa")).await;
    let said = format!("seed {seed}: {:?}", lost.iter().map(FaultRule::name).collect::<Vec<_>>());
    ground.simulator.set_fault_rules(lost).unwrap();
    let mode = if by_invoice { ChargeMode::Invoice } else { ChargeMode::PaymentIntent };
    ground.set(payer.account, SetRule { mode, ..rule(Some(&payer.card)) }).await;
    let worker = ground.worker(None);
    for _ in 0..STEPS_MAX {
        if worker.round().await.unwrap() > 0 {
            continue;
        }
        let Some(seconds) = ground.next_due().await else {
            let decided = ground.decided(payer.account).await;
            assert_eq!((decided.succeeded.len(), decided.open.len()), (1, 0), "{said}: {decided:?}");
            return;
        };
        ground.advance(seconds.max(1)).await;
        ground.circuit_waits(1_000).await;
    }
    panic!("{said} is stuck: {:#?} {:?}", ground.open_top_ups(payer.account).await, ground.left().await)
}

/// Seconds from the first decision of an account to its grant, the longest and the middle one.
async fn healing(ground: &Ground) -> (i64, i64) {
    let text = "SELECT max(seconds)::bigint, percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds)::bigint FROM
        (SELECT extract(epoch FROM max(ended_at) FILTER (WHERE state = 'succeeded') - min(created_at)) AS seconds
        FROM top_ups GROUP BY account_id) AS each";
    sqlx::query_as(text).fetch_one(&ground.pool).await.unwrap()
}

async fn share(place: u64, runs: u64, seed: u64) -> (usize, usize, i64, i64) {
    let ground = Ground::open(PATIENCE).await;
    for number in (place..runs).step_by(usize::try_from(GROUNDS).unwrap()) {
        run(&ground, seed + number).await;
    }
    let (succeeded, unpaid) = ground.money_is_right().await;
    let (longest, middle) = healing(&ground).await;
    assert!(longest <= HEALING_SECONDS_MAX, "{longest} s until a grant");
    ground.close().await;
    (succeeded, unpaid, longest, middle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_is_granted_once_though_its_answer_is_lost() {
    let (runs, seed) = (number("CREDITD_TEST_LOST_REPLIES", RUNS), number("CREDITD_TEST_SEED", 1));
    let shares: Vec<_> = futures_util::stream::iter(0..GROUNDS)
        .map(|place| share(place, runs, seed))
        .buffer_unordered(usize::try_from(GROUNDS).unwrap())
        .collect()
        .await;
    let succeeded: usize = shares.iter().map(|share| share.0).sum();
    let (unpaid, longest): (usize, i64) =
        (shares.iter().map(|share| share.1).sum(), shares.iter().map(|share| share.2).max().unwrap());
    println!(
        "{runs} replies lost from seed {seed}: {succeeded} charged and granted once, 0 twice, {unpaid} begun anew; the \
         longest until its grant {longest} s of Stripe's time, usually {} s",
        shares[0].3
    );
    assert_eq!(u64::try_from(succeeded).unwrap(), runs);
}
