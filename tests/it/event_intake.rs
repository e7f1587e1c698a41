//! Deliveries that come together are stored together, each once, and none suffers from its neighbours.

use creditd::store::StoreError;
use creditd::store::event_intake::{EventIntake, NewEvent};
use creditd::store::events::EventOrigin;
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::support::database::fresh_store;

fn event(id: &str) -> NewEvent {
    NewEvent {
        id: id.to_owned(),
        event_type: "invoice.paid".to_owned(),
        api_version: None,
        livemode: false,
        object_id: None,
        created_at: Timestamp::from_second(1_790_000_000).unwrap(),
        origin: EventOrigin::Webhook,
        body: b"{}".to_vec(),
        ignored: None,
    }
}

/// All at once, to one of two daemons in turn; how each ended.
async fn all_at_once(intakes: &[EventIntake; 2], events: Vec<NewEvent>) -> Vec<(String, Result<bool, StoreError>)> {
    let mut callers = JoinSet::new();
    for (n, event) in events.into_iter().enumerate() {
        let intake = intakes[n % 2].clone();
        callers.spawn(async move { (event.id.clone(), intake.insert(event).await) });
    }
    callers.join_all().await
}

#[tokio::test]
async fn each_event_is_stored_by_one_of_its_callers() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let intakes = [EventIntake::start(&store), EventIntake::start(&store)];
    let copies = (0..400).map(|n| event(&format!("evt_{}", n % 40))).collect();
    let ended = all_at_once(&intakes, copies).await;
    let mut stored: Vec<&str> =
        ended.iter().filter(|(_, ended)| matches!(ended, Ok(true))).map(|(id, _)| id.as_str()).collect();
    stored.sort_unstable();
    let count = stored.len();
    stored.dedup();
    assert_eq!((count, stored.len()), (40, 40), "{ended:?}");
    assert_eq!(ended.iter().filter(|(_, ended)| matches!(ended, Ok(false))).count(), 360);
    assert_eq!(store.due_events(1_000).await.unwrap().len(), 40);
}

#[tokio::test]
async fn an_event_that_the_database_refuses_fails_alone() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let intakes = [EventIntake::start(&store), EventIntake::start(&store)];
    let too_long = "evt_".repeat(100);
    let events = (0..50).map(|n| if n % 10 == 5 { event(&too_long) } else { event(&format!("evt_{n}")) }).collect();
    for (id, ended) in all_at_once(&intakes, events).await {
        match ended {
            Ok(stored) => assert!(stored && id.len() < 255, "{id}"),
            Err(error) => {
                assert_eq!(id, too_long);
                assert!(error.to_string().contains("stripe_events_id_length"), "{error}");
            }
        }
    }
    assert_eq!(store.due_events(1_000).await.unwrap().len(), 45);
}

#[tokio::test]
async fn a_caller_that_goes_away_and_an_intake_that_ends_lose_nothing() {
    let store = fresh_store().await;
    store.ensure_instance(false, None).await.unwrap();
    let intake = EventIntake::start(&store);
    for n in 0..100 {
        let (intake, event) = (intake.clone(), event(&format!("evt_{n}")));
        let mut insert = Box::pin(async move { intake.insert(event).await });
        // It is queued by the first poll; nobody waits for the answer.
        assert!(futures_util::poll!(&mut insert).is_pending());
    }
    drop(intake);
    for _ in 0..200 {
        if store.due_events(1_000).await.unwrap().len() == 100 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} of 100 events are stored", store.due_events(1_000).await.unwrap().len());
}
