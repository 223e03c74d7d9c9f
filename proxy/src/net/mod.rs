//! One TCP connection, as everything above sees it: a byte stream that can be polled and moved to
//! another worker.
//!
//! This is the whole I/O interface of the session, the pool and the login code. It knows no
//! protocol; TLS and other I/O back ends come in behind it.

mod batch;
mod ring;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub use self::batch::{flush, install};
use self::socket::Socket;

/// No delay, and keep-alive so that a peer that vanished without a word is noticed.
///
/// # Errors
/// When the socket refuses.
pub fn set_options(socket: socket2::SockRef<'_>) -> io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(5);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

/// A connected byte stream.
#[derive(Debug)]
pub struct Stream {
    socket: Arc<Socket>,
}

impl Stream {
    /// Takes over a socket that was accepted by a listener with [`set_options`]: it has inherited
    /// them.
    #[must_use]
    pub fn accepted(tcp: TcpStream) -> Self {
        Self {
            socket: Arc::new(Socket::new(tcp)),
        }
    }

    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When the socket refuses an option, which means that it is gone already.
    pub fn connected(tcp: TcpStream) -> io::Result<Self> {
        set_options(socket2::SockRef::from(&tcp))?;
        Ok(Self::accepted(tcp))
    }

    /// Moves the socket to the reactor of the runtime that calls this.
    ///
    /// # Errors
    /// When the socket can't be registered there, or something is on its way to it still.
    pub fn rehome(self) -> io::Result<Self> {
        let unsent = |_| io::Error::other("something was still to be sent");
        let tcp = Arc::try_unwrap(self.socket).map_err(unsent)?.into_tcp();
        let tcp = TcpStream::from_std(tcp.into_std()?)?;
        Ok(Self::accepted(tcp))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the socket is no longer connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.tcp().peer_addr()
    }

    /// Our own address.
    ///
    /// # Errors
    /// When the socket is no longer connected.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.tcp().local_addr()
    }

    /// Ends the connection so that the peer gets the last words: unread bytes of its would make the
    /// close a reset, which overtakes them. Reads on for a moment, up to a limit.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn linger(&mut self) -> io::Result<()> {
        const MOST: usize = 1 << 20;
        self.stop_writing()?;
        let mut drained = 0;
        let mut nowhere = [0; 4096];
        let reading = async {
            while drained < MOST {
                match self.read(&mut nowhere).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => drained += n,
                }
            }
        };
        // A peer that says nothing and stays has had its time.
        let _quiet = tokio::time::timeout(Duration::from_millis(300), reading).await;
        Ok(())
    }

    /// Whether the peer has sent something, or has closed, that has not been read. No system call.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.tcp().poll_read_ready(cx)
    }

    /// Appends to `buf` what has come; `0` is the end of the stream. `buf` must have spare room.
    ///
    /// A read that does not fill the room is taken as having emptied the socket, so the next poll
    /// costs no system call.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let room = buf.capacity() - buf.len();
        let read = ready!(self.socket.poll_read(cx, room, |tcp| tcp.try_read_buf(buf)));
        batch::count_read();
        Poll::Ready(read)
    }

    /// Takes what is in `buf`, as far as the socket does. Pending means that the socket takes no
    /// more for now; this is to be called again, also with an empty `buf`, when the task is woken.
    ///
    /// On a worker thread small amounts are sent at the end of its turn, together with those of
    /// other connections: see [`Stream::is_flushed`]. An error of that shows at the next call.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<()>> {
        ready!(self.poll_order(cx, buf.is_empty()))?;
        let length = buf.len();
        if length == 0 || self.offer(cx, length, |empty| std::mem::replace(buf, empty)) {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_write_all(cx, buf)
    }

    /// Gives bytes to the thread's batch; `false` when they are to be written at once.
    fn offer(
        &self,
        cx: &Context<'_>,
        length: usize,
        fill: impl FnOnce(BytesMut) -> BytesMut,
    ) -> bool {
        // Before, as a full batch is sent at once.
        self.socket.outgoing().queued = true;
        let taken = batch::offer(&self.socket, length, cx.waker(), fill);
        if !taken {
            self.socket.outgoing().queued = false;
        }
        taken
    }

    /// Whether the socket has taken all that was drained.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        let outgoing = self.socket.outgoing();
        !outgoing.queued && outgoing.is_settled()
    }

    /// Ready when what was taken before is no longer in the way of more.
    fn poll_order(&self, cx: &mut Context<'_>, no_more: bool) -> Poll<io::Result<()>> {
        let (queued, settled) = {
            let outgoing = self.socket.outgoing();
            (outgoing.queued, outgoing.is_settled())
        };
        if queued {
            if no_more {
                return Poll::Ready(Ok(()));
            }
            batch::flush();
        } else if settled {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_rest(cx)
    }

    fn stop_writing(&self) -> io::Result<()> {
        if !self.is_flushed() {
            batch::flush();
        }
        socket2::SockRef::from(self.socket.tcp()).shutdown(std::net::Shutdown::Write)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        let n = ready!(
            self.socket
                .poll_read(cx, room.len(), |tcp| tcp.try_read(room))
        )?;
        buf.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_order(cx, buf.is_empty()))?;
        let copy = |mut empty: BytesMut| {
            empty.extend_from_slice(buf);
            empty
        };
        if !buf.is_empty() && self.offer(cx, buf.len(), copy) {
            return Poll::Ready(Ok(buf.len()));
        }
        self.socket.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_order(cx, false)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stop_writing())
    }
}

#[cfg(test)]
mod tests;
