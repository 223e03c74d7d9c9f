//! A socket and what is on its way to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A socket, shared with the batch that sends for it, so that it stays open until then.
#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    outgoing: Mutex<Outgoing>,
}

/// What was taken of the owner's and has not been sent.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// The thread's batch has some of it.
    pub(super) queued: bool,
    /// What the socket did not take of that.
    rest: BytesMut,
    /// Why it took nothing.
    error: Option<io::Error>,
}

impl Outgoing {
    /// Whether there is something to be done about it by the owner.
    pub(super) fn is_settled(&self) -> bool {
        self.rest.is_empty() && self.error.is_none()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            outgoing: Mutex::default(),
        }
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// Only the thread that the socket lives on asks for it, so nobody waits.
    pub(super) fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of sending `bytes`; `false` when the owner has to see to it.
    pub(super) fn settled(&self, bytes: &[u8], sent: io::Result<usize>) -> bool {
        let mut outgoing = self.outgoing();
        outgoing.queued = false;
        match sent {
            Ok(n) => outgoing
                .rest
                .extend_from_slice(bytes.get(n..).unwrap_or_default()),
            Err(e) => outgoing.error = Some(e),
        }
        outgoing.is_settled()
    }

    /// Writes what was left over; ready when there is nothing more of it.
    pub(super) fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.outgoing();
        if let Some(e) = outgoing.error.take() {
            return Poll::Ready(Err(e));
        }
        self.poll_write_all(cx, &mut outgoing.rest)
    }

    /// Writes from the front of `buf` until it is empty or the socket takes no more.
    pub(super) fn poll_write_all(
        &self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        while !buf.is_empty() {
            let n = ready!(self.poll_write(cx, buf))?;
            buf.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            let all = |n| n == buf.len();
            match self.at_once(Interest::WRITABLE, all, || self.tcp.try_write(buf)) {
                Ok(0) if !buf.is_empty() => {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Reads what has come; `read` has this much room for it.
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        room: usize,
        mut read: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            // The end of the stream stays ready for whoever asks again.
            let all = |n| n == 0 || n >= room;
            match self.at_once(Interest::READABLE, all, || read(&self.tcp)) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Tries `operation`. When it did less than `all` the socket is taken as exhausted, which saves
    /// the system call that would only say so (epoll is edge-triggered: what comes later is told).
    fn at_once(
        &self,
        interest: Interest,
        all: impl Fn(usize) -> bool,
        operation: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut done = None;
        let tried = self.tcp.try_io(interest, || {
            let n = operation()?;
            done = Some(n);
            if all(n) {
                Ok(n)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        });
        done.map_or(tried, Ok)
    }
}
