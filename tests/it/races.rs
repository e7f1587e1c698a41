//! Many at once, on one account, through two daemons: nothing twice, nothing below zero, nothing lost.

use creditd::domain::catalog::FeatureId;
use creditd::domain::command::{Command, Decision, IdempotencyKey, Outcome, Rejection, Track, WhenShort};
use creditd::domain::credits::Credits;
use creditd::domain::grant::GrantMoney;
use creditd::domain::ids::AccountId;
use creditd::domain::payment::PaymentFacts;
use creditd::posting::{PostError, Posting};
use creditd::store::Store;
use creditd::store::catalog::Applied;
use creditd::store::payments::PaymentClaim;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::support::database::fresh_store;
use crate::verify::{catalogue, purchase};

/// Callers at once.
const CALLERS: usize = 40;

struct Race {
    store: Store,
    daemons: [Posting; 2],
    account: AccountId,
}

/// One new customer, whom the free plan gives 5 credits, and two daemons on one database.
async fn race() -> Race {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let _: Applied = store.apply_catalog(&catalogue(), [1; 32], false).await.unwrap();
    let account = store.claim_customer("ada").await.unwrap().account();
    Race { daemons: [Posting::start(&store), Posting::start(&store)], account, store }
}

impl Race {
    /// Sends each command from a caller of its own, all at once, to either daemon.
    async fn all(&self, commands: Vec<(Option<IdempotencyKey>, Command)>) -> Vec<Result<Decision, PostError>> {
        let mut callers = JoinSet::new();
        for (n, (key, command)) in commands.into_iter().enumerate() {
            let (daemon, account) = (self.daemons[n % 2].clone(), self.account);
            callers.spawn(async move { daemon.post(account, key, command).await });
        }
        callers.join_all().await
    }

    /// Every law still holds, and this much is left.
    async fn ends_with(self, feature: &str, left: &str) {
        for daemon in &self.daemons {
            daemon.shut_down().await;
        }
        let found = self.store.verify().await.unwrap();
        assert!(!found.differs(), "{:#?}", found.checks);
        let total = found.totals.iter().find(|total| total.feature == feature);
        assert_eq!(total.map(|total| total.remaining.as_str()), Some(left));
    }
}

fn track(units: &str) -> Track {
    Track { when_short: WhenShort::Reject, ..Track::of(FeatureId::new("credits").unwrap(), units.parse().unwrap()) }
}

fn applied(answers: &[Result<Decision, PostError>]) -> usize {
    answers.iter().filter(|answer| matches!(answer, Ok(Decision::Applied(_)))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_credits_are_drawn_once() {
    let race = race().await;
    let answers = race.all(vec![(None, Command::Track(track("0.5"))); CALLERS]).await;
    assert_eq!(applied(&answers), 10, "5 credits are ten halves");
    let refused = |answer: &&Result<Decision, PostError>| {
        matches!(answer, Err(PostError::Rejected(Rejection::Insufficient { .. })))
    };
    assert_eq!(answers.iter().filter(refused).count(), CALLERS - 10);
    race.ends_with("credits", "0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_is_one_track_with_one_answer() {
    let race = race().await;
    let command = track("2");
    let key = IdempotencyKey::new("track", "request-1", &command);
    let answers = race.all(vec![(Some(key.clone()), Command::Track(command)); CALLERS]).await;
    assert_eq!(applied(&answers), 1);
    let outcomes: Vec<&Outcome> = answers.iter().map(|answer| answer.as_ref().unwrap().outcome()).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "the same key gets the same answer");
    let other = track("1");
    let conflicting = IdempotencyKey::new("track", "request-1", &other);
    assert_eq!(conflicting.key, key.key);
    let answers = race.all(vec![(Some(conflicting), Command::Track(other)); 3]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(PostError::Rejected(Rejection::KeyConflict)))));
    race.ends_with("credits", "3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_payment_grants_once_however_often_it_is_told() {
    let race = race().await;
    let facts = PaymentFacts { payment_intent: Some("pi_1".to_owned()), ..PaymentFacts::default() };
    let claims = (0..CALLERS).map(|_| race.store.claim_payment(race.account, &facts));
    let claims: Vec<PaymentClaim> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
    assert!(claims.iter().all(|claim| *claim == claims[0]), "{claims:?}");
    let PaymentClaim::Claimed(payment) = claims[0] else { panic!("{claims:?}") };
    let mut bought = purchase(payment, Timestamp::UNIX_EPOCH, GrantMoney::default());
    bought.grants[0].quantity = Credits::whole(7);
    let answers = race.all(vec![(None, Command::Purchase(bought)); CALLERS]).await;
    assert_eq!(applied(&answers), 1);
    race.ends_with("credits", "12").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_customer_is_opened_once() {
    let race = race().await;
    let answers = race.all(vec![(None, Command::Open); CALLERS]).await;
    assert_eq!(applied(&answers), 1);
    race.ends_with("credits", "5").await;
}
