//! Answers that cannot be read say nothing: whatever question gets one, and however many after it, the charger asks again,
//! and what Stripe took is what decisions that succeeded cost, once each.

use std::sync::Arc;

use futures_util::StreamExt;

use super::crash_matrix::{CONCURRENCY, FLOWS, Flow, PATIENCE, Trial};
use super::ground::Ground;
use super::rule;
use crate::support::garbled::{BODIES, Garbled};

/// Answers in a row that cannot be read: one, and enough for a list of intents and the events after it.
const IN_A_ROW: [usize; 2] = [1, 4];
/// Questions of a flow that are tried: so many from its begin and before its end.
const FIRST: usize = 8;
const LAST: usize = 3;

/// Each question of a flow, in turn, gets an answer that cannot be read. Answers how many were tried.
async fn every_question(flow: Flow) -> usize {
    let ground = Ground::open(PATIENCE).await;
    let mut runs = 0;
    let life = async |from, many, body| {
        let garbled = Arc::new(Garbled::new(ground.transport(), from, many, body));
        let mut trial = Trial::begin(&ground, flow, false).await;
        trial.work(&ground.worker_asking(garbled.clone()), || false).await;
        trial.has_ended(&(from, many, body)).await;
        garbled.asked()
    };
    let questions = life(usize::MAX, 1, "").await;
    // What waits for days asks the same every hour.
    for from in (0..questions).filter(|from| *from < FIRST || questions - from <= LAST) {
        // What lasts for a week takes its time: it is tried with one or the other.
        let all = matches!(flow, Flow::Forgotten | Flow::NeverDone | Flow::RefundForgotten);
        let turn = IN_A_ROW[from % IN_A_ROW.len()];
        for many in IN_A_ROW.into_iter().filter(|many| all || *many == turn) {
            let body = BODIES[(from + many + flow as usize) % BODIES.len()];
            life(from, many, body).await;
            runs += 1;
        }
    }
    let (succeeded, unpaid) = flow.ends();
    assert_eq!(ground.money_is_right().await, (succeeded * (runs + 1), unpaid * (runs + 1)), "{flow:?}");
    assert_eq!(ground.taken().refunds, flow.refunds() * (runs + 1), "{flow:?}");
    ground.close().await;
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_that_cannot_be_read_moves_money_or_ends_anything() {
    let mut runs = 0;
    let only = creditd::config::process_environment("CREDITD_TEST_CHARGER_FLOW");
    let flows = FLOWS.into_iter().filter(|flow| only.as_ref().is_none_or(|only| *only == format!("{flow:?}")));
    let mut running = futures_util::stream::iter(flows)
        .map(|flow| async move { (flow, every_question(flow).await) })
        .buffer_unordered(CONCURRENCY);
    while let Some((flow, of_flow)) = running.next().await {
        println!("{flow:?}: {of_flow} runs");
        runs += of_flow;
    }
    assert!(only.is_some() || runs >= 80, "{runs} runs");
}

/// What is garbled once on its way needs no person, and no ten minutes.
#[tokio::test]
async fn it_is_asked_again_within_a_minute() {
    let ground = Ground::open(PATIENCE).await;
    let payer = ground.payer(Some("pm_card_visa")).await;
    ground.set(payer.account, rule(None)).await;
    let worker = ground.worker_asking(Arc::new(Garbled::new(ground.transport(), 0, 1, "{}")));
    worker.round().await.unwrap();
    let due = ground.next_due().await.unwrap();
    assert!((50..=60).contains(&due), "in {due} s");
    ground.work_for(&worker, 90).await;
    assert_eq!(ground.money_is_right().await, (1, 0));
    ground.close().await;
}
