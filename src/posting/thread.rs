//! Where lanes and readers run, and what becomes of one that panics: it is begun again.
//!
//! A lane sits in the middle of every track, and each of its round trips to the database is a wake-up. On the daemon's
//! shared runtime such a wake-up waits until the requests at hand have had their turn; the kernel gives a thread that
//! mostly sleeps the processor at once. A reader has one round trip only, and waiting makes its next read larger, so it
//! stays on the shared runtime.

use std::panic::AssertUnwindSafe;

use tokio_util::task::TaskTracker;

/// Runs `work` until it returns, on a thread of that name with a runtime of its own; counted by `tasks`. Work that
/// panics is begun again: its callers get an error, those that come later are served. Where the system refuses one
/// more thread the shared runtime has to do.
pub(super) fn run<F, Work>(name: &str, tasks: &TaskTracker, work: F)
where
    F: Fn() -> Work + Clone + Send + 'static,
    Work: Future<Output = ()> + Send + 'static,
{
    let counted = tasks.token();
    let own = work.clone();
    let started = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _counted = counted;
            while std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(own()))).is_err() {
                tracing::error!("work on the ledger panicked: its callers were told, the next ones are served");
            }
            // It may hold the last of the pool's connections, which are closed with a runtime's help.
            let _inside = runtime.enter();
            drop(own);
        })
    });
    if let Err(error) = started {
        tracing::warn!(%error, thread = name, "no thread of its own: working on the shared runtime");
        run_shared(tasks, work);
    }
}

/// The same on the shared runtime.
pub(super) fn run_shared<F, Work>(tasks: &TaskTracker, work: F)
where
    F: Fn() -> Work + Send + 'static,
    Work: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        while let Err(stopped) = tokio::spawn(work()).await {
            if stopped.is_cancelled() {
                return;
            }
            tracing::error!("reading accounts panicked: its callers were told, the next ones are served");
        }
    });
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
