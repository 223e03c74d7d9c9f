//! One TCP connection, as everything above sees it: a byte stream that can be polled and moved to
//! another worker.
//!
//! This is the whole I/O interface of the session, the pool and the login code. It knows no
//! protocol; TLS and other I/O back ends come in behind it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// A connected byte stream.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
}

impl Stream {
    /// Takes over an accepted or connected socket: no delay, and keep-alive so that a peer that
    /// vanished without a word is noticed.
    ///
    /// # Errors
    /// When the socket refuses an option, which means that it is gone already.
    pub fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(10))
            .with_retries(5);
        socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
        Ok(Self { tcp })
    }

    /// Moves the socket to the reactor of the runtime that calls this.
    ///
    /// # Errors
    /// When the socket can't be registered there.
    pub fn rehome(self) -> io::Result<Self> {
        Ok(Self {
            tcp: TcpStream::from_std(self.tcp.into_std()?)?,
        })
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the socket is no longer connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// Ends the connection so that the peer gets the last words: unread bytes of its would make the
    /// close a reset, which overtakes them. Reads on for a moment, up to a limit.
    ///
    /// # Errors
    /// When the peer is gone.
    pub async fn linger(&mut self) -> io::Result<()> {
        const MOST: usize = 1 << 20;
        self.tcp.shutdown().await?;
        let mut drained = 0;
        let mut nowhere = [0; 4096];
        let reading = async {
            while drained < MOST {
                match self.tcp.read(&mut nowhere).await {
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
        self.tcp.poll_read_ready(cx)
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
        pin!(self.tcp.read_buf(buf)).poll(cx)
    }

    /// Writes from the front of `buf` until it is empty or the socket takes no more.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<()>> {
        while !buf.is_empty() {
            match pin!(self.tcp.write_buf(buf)).poll(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
