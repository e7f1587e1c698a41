//! `kill -9` of the real binary while it charges, at random times: whoever comes after goes on, and nobody pays twice.
//! `CREDITD_TEST_CHARGER_KILLS=500` does it so often; `tests/long/charger.sh` does.

use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt;

use super::ground::Ground;
use super::rule;
use crate::support::app::STRIPE_KEY;
use crate::support::binary::{Running, Site, free_address};

/// Kills, when nothing else is said.
const KILLS: usize = 20;
/// Customers who come before each kill: some pay, some are declined, some are asked for.
const CARDS: [&str; 4] =
    ["pm_card_visa", "pm_card_visa", "pm_card_visa_chargeDeclinedLostCard", "pm_card_authenticationRequired"];
/// Stripe takes this long for what it is told to do: most kills fall into it.
const LATENCY: Duration = Duration::from_millis(25);
/// Longest time from a customer's coming to the kill.
const MILLISECONDS_MAX: u64 = 250;
/// Longest wait for the last daemon to be through with what can be done now, in steps.
const STEPS: usize = 1_500;
const STEP: Duration = Duration::from_millis(40);

async fn serve(site: &Site, ground: &Ground) -> Running {
    let listen = free_address();
    let mut command = site.command(&["serve"]);
    command
        .env("CREDITD_LISTEN", listen.to_string())
        .env("STRIPE_SECRET_KEY", STRIPE_KEY)
        .env("STRIPE_API_BASE", ground.simulator.base_url());
    let log = site.folder.path().join(format!("log-{}", listen.port()));
    Running::start(command, &log).until_it_answers(listen).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_times_it_takes_money_once() {
    let kills = creditd::config::process_environment("CREDITD_TEST_CHARGER_KILLS");
    let kills = kills.map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let ground = Ground::open(Duration::from_secs(10)).await;
    let site = Site::on(ground.url.clone());
    let mut running = serve(&site, &ground).await;
    ground.simulator.set_faults(LATENCY, 0);
    let mut interrupted = 0;
    for _ in 0..kills {
        for card in CARDS {
            let payer = ground.payer(Some(card)).await;
            ground.set(payer.account, rule(None)).await;
        }
        let wait = rand::rng().random_range(0..MILLISECONDS_MAX);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        running.kill().await;
        interrupted += ground.leased().await;
        ground.leases_end().await;
        running = serve(&site, &ground).await;
    }
    let expected = kills * 2;
    for step in 0.. {
        if ground.leased().await == 0 && ground.next_due().await.is_none_or(|seconds| seconds > 0) {
            break;
        }
        assert!(step < STEPS, "it does not get through: {:?}", ground.left().await);
        tokio::time::sleep(STEP).await;
    }
    assert_eq!(running.end(Signal::SIGTERM).await, Some(0), "a stop in peace");
    ground.simulator.set_faults(Duration::ZERO, 0);
    // Who has to act does not come: a week later that is over too.
    let worker = ground.worker(None);
    for _ in 0..200 {
        while worker.round().await.unwrap() > 0 {}
        let Some(seconds) = ground.next_due().await else { break };
        ground.advance(seconds.max(1)).await;
        ground.circuit_waits(1_000).await;
    }
    let (succeeded, unpaid) = ground.money_is_right().await;
    println!(
        "{kills} kills, {interrupted} charges interrupted: {succeeded} charged and granted once, {unpaid} not charged"
    );
    // What Stripe was told and forgot with its connection was decided anew; and so was what waited for its card's owner
    // when the daemon heard, late, that a card had been kept.
    let text = "SELECT reason, count(*) FROM top_ups WHERE state <> 'succeeded' GROUP BY reason";
    let reasons: std::collections::BTreeMap<String, i64> =
        sqlx::query_as(text).fetch_all(&ground.pool).await.unwrap().into_iter().collect();
    let anew: i64 = ["not_done", "new_card"].into_iter().filter_map(|reason| reasons.get(reason)).sum();
    assert_eq!((succeeded, unpaid), (expected, expected + usize::try_from(anew).unwrap()), "{reasons:?}");
    assert!(interrupted > 0, "no kill came while something was charged");
    ground.close().await;
}
