//! A month with a bad card, and days without Stripe or without a key: what is sent to Stripe stays within the plan, and
//! somebody is told.

use std::time::Duration;

use creditd::domain::top_up::PauseReason;
use creditd::domain::top_up::why::{HeldBack, Standing, standing};
use creditd::simulator::{Fault, FaultRule, Outage};
use rstest::rstest;
use serde_json::Value;

use super::ground::{Ground, Payer};
use super::rule;

const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Requests that one passing of an open circuit may cost: one thing is tried, by a question that is asked three times.
const REQUESTS_A_PASSING: usize = 3;
/// Passings of the circuit in a day: it opens for a quarter of an hour at most.
const PASSINGS_A_DAY: usize = 96;
/// Requests before it is open for so long: every thing that is due in the first round, and the doubling.
const REQUESTS_AT_FIRST: usize = 150;

/// Unix seconds of every charge that was tried with a customer's cards.
fn tried(ground: &Ground, payer: &Payer) -> Vec<i64> {
    let charges = ground.simulator.log().charges();
    let of = charges.into_iter().filter(|charge| charge.customer.as_ref() == Some(&payer.stripe));
    of.map(|charge| charge.at).collect()
}

/// What was told about an account, in its order.
async fn told(ground: &Ground, payer: &Payer) -> Vec<(String, Value)> {
    let text = "SELECT topic, payload FROM outbox WHERE account_id = $1 ORDER BY created_at, message_id";
    sqlx::query_as(text).bind(payer.account.as_uuid()).fetch_all(&ground.pool).await.unwrap()
}

async fn why(ground: &Ground, payer: &Payer) -> Standing {
    let reading = ground.posting.read_complete(payer.account).await.unwrap();
    let rule = reading.state.rules.first().unwrap();
    standing(&reading.state, &reading.catalog, rule, reading.now)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_declines_for_thirty_days_is_tried_by_the_plan_then_left_alone() {
    let ground = Ground::open(PATIENCE).await;
    let cards = [
        ("soft", "pm_card_visa_chargeDeclinedInsufficientFunds", 4, PauseReason::CardDeclined),
        ("unclear", "pm_card_chargeDeclined_do_not_honor", 2, PauseReason::CardDeclined),
        ("hard", "pm_card_visa_chargeDeclinedLostCard", 1, PauseReason::CardDeclined),
        ("authentication", "pm_card_authenticationRequired", 1, PauseReason::AuthenticationRequired),
    ];
    let mut payers = Vec::new();
    for (name, card, most, because) in cards {
        let payer = ground.payer(Some(card)).await;
        ground.set(payer.account, rule(None)).await;
        payers.push((name, payer, most, because));
    }
    let (worker, began) = (ground.worker(None), ground.simulator.now().as_second());
    for _ in 0..30 * 24 {
        for (_, payer, ..) in &payers {
            ground.spend(payer.account, "0.5").await;
        }
        ground.work_for(&worker, HOUR).await;
    }
    for (name, payer, most, because) in &payers {
        let tried = tried(&ground, payer);
        println!(
            "{name}: {} charges tried in 30 days, at hours {:?}",
            tried.len(),
            tried.iter().map(|at| (at - began) / HOUR).collect::<Vec<_>>()
        );
        assert_eq!(tried.len(), *most, "{name}");
        assert!(tried.windows(2).all(|two| two[1] - two[0] >= DAY), "{name}: at most one a day: {tried:?}");
        let standing = why(&ground, payer).await;
        let paused =
            matches!(&standing, Standing::HeldBack(HeldBack::Paused { because: known, .. }) if known == because);
        assert!(paused, "{name}: {standing:?}");
        let told = told(&ground, payer).await;
        let about = |topic: &str| told.iter().filter(|(known, _)| known == topic).collect::<Vec<_>>();
        let pauses = about("top_up_rule.paused");
        assert_eq!(pauses.len(), 1, "{name}: told once: {told:?}");
        assert_eq!(pauses[0].1["reason"], because.word(), "{name}");
        let links = about("top_up.action_required");
        assert!((1..=7).contains(&links.len()), "{name}: a page a day for a week: {}", links.len());
        assert!(links.iter().all(|(_, link)| link["url"].as_str().is_some_and(|url| url.starts_with("http"))));
        assert_eq!(about("top_up.failed").len(), 1, "{name}");
        let decided = ground.decided(payer.account).await;
        assert_eq!((decided.unpaid.len(), decided.succeeded.len(), decided.grants), (1, 0, 0), "{name}");
    }
    let requests = ground.simulator.log().requests();
    let last = requests.iter().map(|request| request.at).max().unwrap();
    println!(
        "{} requests in 30 days for {} cards, the last after {} days",
        requests.len(),
        payers.len(),
        (last - began) / DAY
    );
    assert!(last - began <= 12 * DAY, "what is paused asks Stripe nothing");
    ground.money_is_right().await;
    ground.close().await;
}

/// Many customers wait while Stripe is away or takes no key: few requests, and afterwards everybody has what they paid.
#[rstest]
#[case::connections_are_reset(Some(Outage::Refuse))]
#[case::it_answers_500(Some(Outage::ServerError))]
#[case::the_key_is_revoked(None)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_without_stripe_cost_few_requests(#[case] outage: Option<Outage>) {
    const DAYS: usize = 3;
    const PAYERS: usize = 40;
    let ground = Ground::open(PATIENCE).await;
    let mut payers = Vec::new();
    for _ in 0..PAYERS {
        payers.push(ground.payer(Some("pm_card_visa")).await);
    }
    let set = |away: bool| match outage {
        Some(outage) => ground.simulator.set_outage(away.then_some(outage)),
        None => ground.simulator.revoke_api_key(away),
    };
    set(true);
    for (place, payer) in payers.iter().enumerate() {
        // Half of them are asked for who pays, half are charged at once.
        let card = place.is_multiple_of(2).then_some(payer.card.as_str());
        ground.set(payer.account, rule(card)).await;
    }
    let before = ground.simulator.log().requests().len();
    let worker = ground.worker(None);
    for _ in 0..DAYS * 24 * 12 {
        // What is due while the circuit is open waits with it.
        while worker.round().await.unwrap() > 0 {}
        ground.advance(300).await;
        ground.circuit_waits(300).await;
    }
    let sent = ground.simulator.log().requests().len() - before;
    println!("{outage:?}: {sent} requests in {DAYS} days for {PAYERS} customers");
    assert!(sent <= REQUESTS_AT_FIRST + DAYS * PASSINGS_A_DAY * REQUESTS_A_PASSING, "{sent} requests");
    assert!(ground.taken().charges.is_empty());
    set(false);
    for _ in 0..200 {
        while worker.round().await.unwrap() > 0 {}
        let Some(seconds) = ground.next_due().await else { break };
        ground.advance(seconds.max(1)).await;
        ground.circuit_waits(seconds.max(1) + 60).await;
    }
    assert_eq!(ground.money_is_right().await.0, PAYERS, "everybody has what they paid");
    ground.close().await;
}

/// Stripe says how long to wait, to a charge and to a question.
#[rstest]
#[case::a_charge("POST", "/v1/payment_intents", true)]
#[case::a_question("GET", "/v1/customers", false)]
#[tokio::test]
async fn stripe_is_left_alone_for_as_long_as_it_asks(#[case] method: &str, #[case] path: &str, #[case] named: bool) {
    const ASKED: u64 = 300;
    let ground = Ground::open(PATIENCE).await;
    let payer = ground.payer(Some("pm_card_visa")).await;
    let busy = Fault::TooManyRequests { retry_after: Some(ASKED) };
    ground.simulator.set_fault_rules(vec![FaultRule::new(method, path, busy).nth(1)]).unwrap();
    ground.set(payer.account, rule(named.then_some(payer.card.as_str()))).await;
    let worker = ground.worker(None);
    ground.work_for(&worker, HOUR).await;
    let requests = ground.simulator.log().requests();
    let of: Vec<_> =
        requests.iter().filter(|request| request.method == method && request.path.starts_with(path)).collect();
    assert_eq!(of.iter().map(|request| request.status).take(2).collect::<Vec<_>>(), [429, 200], "{of:#?}");
    let waited = of[1].at - of[0].at;
    assert!(waited >= i64::try_from(ASKED).unwrap(), "it was asked again after {waited} s");
    assert_eq!(ground.money_is_right().await, (1, 0));
    ground.close().await;
}
