//! Connections of clients: at most so many, each ended when it idles or dawdles.
//!
//! A connection waits for a request, reads its head, works, and waits again. Waiting and reading have a deadline each,
//! kept where bytes come in (`Paced`); work is bounded by the request's own limit, and bodies by `json::read_capped`.
//! HTTP/1.1 only: a proxy in front speaks what it likes with the world.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::meters::{CONNECTIONS_ENDED, CONNECTIONS_OPEN};

/// Connections when nothing else is said: each costs some kilobytes and a file.
pub const DEFAULT_CONNECTIONS: usize = 4_096;
/// Fewest connections that make sense.
pub const LEAST_CONNECTIONS: usize = 16;
/// Most connections that may be configured: more than one daemon can serve.
pub const MOST_CONNECTIONS: usize = 65_536;
/// Longest time until a new connection has sent its first head, or a kept one a begun head: honest ones need one packet.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Longest wait between requests: longer than proxies keep theirs (nginx: 60 s), so that they close first and no
/// request meets a closed connection.
const IDLE_TIME: Duration = Duration::from_secs(75);
/// Largest head that is read, and most that is buffered of a body: 16 times what browsers send.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Wait after an accept that failed for want of files or memory, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; whoever comes later waits in the system's queue.
    pub connections: usize,
    /// Until a head is whole.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: DEFAULT_CONNECTIONS, head: HEAD_TIME, idle: IDLE_TIME }
    }
}

/// Serves until told to stop; then nothing new is accepted, and each connection ends when its request is answered. The
/// connections are tasks of `tasks`.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), limits, stop.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // The client was gone before it was taken.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    let _open = CONNECTIONS_OPEN.enter();
    // Answers are small and whole: nothing is gained by waiting for more of them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone at once");
    }
    let work = Arc::new(Work::default());
    let paced = Paced {
        inner: stream,
        work: work.clone(),
        answered: 0,
        in_head: true,
        deadline: Box::pin(sleep(limits.head)),
        limits,
    };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        work.under_way.store(true, Ordering::SeqCst);
        let (router, work) = (router.clone(), work.clone());
        async move {
            let answer = router.oneshot(request.map(Body::new)).await;
            work.answered.fetch_add(1, Ordering::SeqCst);
            work.under_way.store(false, Ordering::SeqCst);
            answer as Result<_, Infallible>
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.max_buf_size(BUFFER_BYTES_MAX).max_header_size(BUFFER_BYTES_MAX);
    let mut serving = pin!(http.serve_connection(TokioIo::new(paced), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    CONNECTIONS_ENDED.add(&[match &ended {
        Ok(()) => "closed",
        Err(error) if timed_out(error) => "timed_out",
        Err(_) => "failed",
    }]);
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection was ended");
    }
}

fn timed_out(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
}

/// What a connection's requests are doing.
#[derive(Debug, Default)]
struct Work {
    under_way: AtomicBool,
    answered: AtomicU32,
}

/// A stream whose client has to go on: a head comes in time, and so does the next request.
struct Paced {
    inner: TcpStream,
    work: Arc<Work>,
    /// Requests answered when the deadline was last set.
    answered: u32,
    in_head: bool,
    deadline: Pin<Box<Sleep>>,
    limits: Limits,
}

impl Paced {
    /// After an answer the wait for the next request begins.
    fn follow(&mut self) {
        let answered = self.work.answered.load(Ordering::SeqCst);
        if answered != self.answered {
            self.answered = answered;
            self.in_head = false;
            self.set(self.limits.idle);
        }
    }

    fn set(&mut self, time: Duration) {
        self.deadline.as_mut().reset(Instant::now() + time);
    }

    /// Is the client's time up? Never while we are the ones who work.
    fn late(&mut self, context: &mut Context<'_>) -> bool {
        if self.work.under_way.load(Ordering::SeqCst) {
            return false;
        }
        self.follow();
        self.deadline.as_mut().poll(context).is_ready()
    }

    /// A byte of the next head came.
    fn heard(&mut self) {
        if self.work.under_way.load(Ordering::SeqCst) {
            return;
        }
        self.follow();
        if !self.in_head {
            self.in_head = true;
            self.set(self.limits.head);
        }
    }
}

const LATE: io::ErrorKind = io::ErrorKind::TimedOut;

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, into) {
            Poll::Ready(Ok(())) if into.filled().len() > before => {
                self.heard();
                // Whoever drips byte after byte is always ready.
                if self.late(context) { Poll::Ready(Err(LATE.into())) } else { Poll::Ready(Ok(())) }
            }
            Poll::Pending if self.late(context) => Poll::Ready(Err(LATE.into())),
            other => other,
        }
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(context, bytes) {
            // A client that does not read its answer.
            Poll::Pending if self.late(context) => Poll::Ready(Err(LATE.into())),
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write_vectored(context, parts) {
            Poll::Pending if self.late(context) => Poll::Ready(Err(LATE.into())),
            other => other,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
