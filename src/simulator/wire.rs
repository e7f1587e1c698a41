//! Connections that can be broken on purpose: cut after some bytes of a body, closed, or reset.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The end of a response's head.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// How the next response is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// After so many bytes of its body.
    InBody(usize),
    /// Before its first byte.
    Close,
    /// Before its first byte, with a reset instead of an end.
    Reset,
}

#[derive(Debug, Default)]
struct Plan {
    next: Option<Break>,
    /// How many bytes of the head's end have passed.
    matched: usize,
    /// Bytes of the body that may still pass, once the head has.
    left: Option<usize>,
}

/// A connection's handle: what a handler says about the response it is about to give.
#[derive(Clone, Debug, Default)]
pub struct Connection(Arc<Mutex<Plan>>);

impl Connection {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Each step leaves the plan whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Breaks the next response.
    pub fn break_next(&self, how: Break) {
        *self.plan() = Plan { next: Some(how), matched: 0, left: None };
    }

    /// How many of these bytes may pass; none: all of them, nothing is to be broken.
    fn allowed(&self, bytes: &[u8]) -> Option<usize> {
        let mut plan = self.plan();
        let most = match plan.next? {
            Break::Close | Break::Reset => return Some(0),
            Break::InBody(most) => most,
        };
        for (place, byte) in bytes.iter().enumerate() {
            if let Some(left) = plan.left {
                let pass = left.min(bytes.len() - place);
                plan.left = Some(left - pass);
                return Some(place + pass);
            }
            let again = usize::from(*byte == HEAD_END[0]);
            plan.matched = if *byte == HEAD_END[plan.matched] { plan.matched + 1 } else { again };
            if plan.matched == HEAD_END.len() {
                plan.left = Some(most);
            }
        }
        Some(bytes.len())
    }
}

/// A listener whose connections can be broken.
#[derive(Debug)]
pub struct BreakableListener(pub TcpListener);

impl Listener for BreakableListener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        (Wire { stream, connection: Connection::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, BreakableListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, BreakableListener>) -> Self {
        stream.io().connection.clone()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    connection: Connection,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let broken = || Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        let before = {
            let plan = self.connection.plan();
            (plan.matched, plan.left)
        };
        let most = match self.connection.allowed(bytes) {
            None => bytes.len(),
            Some(0) if !bytes.is_empty() => return broken(),
            Some(most) => most,
        };
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..most]);
        let passed = match &written {
            Poll::Ready(Ok(passed)) => *passed,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        if passed < most {
            // What did not pass is counted when it comes again.
            {
                let mut plan = self.connection.plan();
                (plan.matched, plan.left) = before;
            }
            let _recounted = self.connection.allowed(&bytes[..passed]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.connection.plan().next == Some(Break::Reset) {
            // A socket that closes without lingering is reset; one that is gone already needs none.
            let _gone = self.stream.set_zero_linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_at_its_byte_however_the_response_is_written() {
        let response = b"HTTP/1.1 200 OK\r\na: b\r\n\r\n0123456789";
        let head = response.len() - 10;
        for cut in 0..=10 {
            for piece in 1..=response.len() {
                let connection = Connection::default();
                connection.break_next(Break::InBody(cut));
                let mut passed = 0;
                while passed < response.len() {
                    let bytes = &response[passed..response.len().min(passed + piece)];
                    let most = connection.allowed(bytes).unwrap();
                    passed += most;
                    if most < bytes.len() {
                        break;
                    }
                }
                assert_eq!(passed, head + cut, "cut at {cut}, written in pieces of {piece}");
            }
        }
    }

    #[test]
    fn nothing_is_broken_unless_asked_for() {
        let connection = Connection::default();
        assert_eq!(connection.allowed(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        connection.break_next(Break::Close);
        assert_eq!(connection.allowed(b"HTTP"), Some(0));
    }
}
