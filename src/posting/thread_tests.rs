//! Work that panics is begun again, and is waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{run, run_shared};

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work that panics the first two times and returns the third.
fn clumsy(begun: Arc<AtomicUsize>) -> impl Fn() -> Work + Clone + Send {
    move || {
        let begun = begun.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(begun.fetch_add(1, Ordering::SeqCst) >= 2, "panics on purpose: the test wants it begun again");
        })
    }
}

async fn ended(tasks: &TaskTracker) {
    tasks.close();
    tokio::time::timeout(Duration::from_secs(20), tasks.wait()).await.expect("the work never returned");
}

#[tokio::test]
async fn a_thread_begins_its_work_again_after_a_panic() {
    let (begun, tasks) = (Arc::new(AtomicUsize::new(0)), TaskTracker::new());
    run("clumsy", &tasks, clumsy(begun.clone()));
    ended(&tasks).await;
    assert_eq!(begun.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_task_begins_its_work_again_after_a_panic() {
    let (begun, tasks) = (Arc::new(AtomicUsize::new(0)), TaskTracker::new());
    run_shared(&tasks, clumsy(begun.clone()));
    ended(&tasks).await;
    assert_eq!(begun.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn work_that_goes_on_is_waited_for() {
    let (tasks, stop) = (TaskTracker::new(), tokio_util::sync::CancellationToken::new());
    let stopped = stop.clone();
    run("patient", &tasks, move || {
        let stopped = stopped.clone();
        async move { stopped.cancelled().await }
    });
    tasks.close();
    assert!(tokio::time::timeout(Duration::from_millis(50), tasks.wait()).await.is_err(), "nothing told it to end");
    stop.cancel();
    ended(&tasks).await;
}
