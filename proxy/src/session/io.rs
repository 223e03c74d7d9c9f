//! What a session waits for, in one place: both sockets in both directions, and its signals.

use std::future::poll_fn;
use std::task::{Context as Cx, Poll};

use bytes::BytesMut;

use super::context::{HIGH_WATER, READ_ROOM, READ_ROOM_MAX};
use super::{Next, Rest, Session};
use crate::metrics::Direction;
use crate::net::Stream;
use crate::pool::stats::Stat;
use crate::registry::Signal;

/// What has happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The client has sent something.
    Client,
    /// The server has sent something.
    Server,
    /// What held the client's messages up is out of the way.
    Room,
    /// The client is gone.
    ClientLost,
    /// The server connection is gone.
    ServerLost(std::io::Error),
    /// Somebody wants the session to stop.
    Signal(Signal),
}

/// The most that may be waiting of a client's messages before they are understood: a statement
/// longer than this is streamed.
pub(super) const CLIENT_IN_MAX: usize = 1 << 20;

impl Session {
    /// Waits for the next event; writes what there is to write meanwhile.
    pub(super) async fn event(&mut self) -> Event {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Cx<'_>) -> Poll<Event> {
        let client = self.identity.registration.client();
        client.register(cx.waker());
        let signal = client.signalled();
        if signal != Signal::None && (signal != Signal::Drain || !self.is_busy()) {
            return Poll::Ready(Event::Signal(signal));
        }
        if self.next == Next::HeldBack && !self.is_being_cancelled() {
            self.next = Next::MayGo;
            return Poll::Ready(Event::Room);
        }
        if let Some(event) = self.poll_writes(cx) {
            return Poll::Ready(event);
        }
        if let Some(event) = self.poll_server(cx) {
            return Poll::Ready(event);
        }
        if let Some(event) = self.poll_client(cx) {
            return Poll::Ready(event);
        }
        if self.link.is_none()
            && self.buffers.as_ref().is_some_and(|b| b.is_empty())
            && let Some(buffers) = self.buffers.take()
        {
            self.context.return_buffers(buffers);
        }
        Poll::Pending
    }

    fn poll_writes(&mut self, cx: &mut Cx<'_>) -> Option<Event> {
        let Some(buffers) = &mut self.buffers else {
            // What was taken last may have been more than the socket took.
            return match self.client.poll_drain(cx, &mut BytesMut::new()) {
                Poll::Ready(Err(_)) => Some(Event::ClientLost),
                Poll::Ready(Ok(())) | Poll::Pending => None,
            };
        };
        let unsent = buffers.client_out.len();
        let held_back = unsent >= HIGH_WATER;
        if let Poll::Ready(Err(_)) = self.client.poll_drain(cx, &mut buffers.client_out) {
            return Some(Event::ClientLost);
        }
        let sent = unsent - buffers.client_out.len();
        if sent > 0 {
            self.identity.pools.tally.add(Stat::Sent, sent as u64);
        }
        if held_back && buffers.client_out.len() < HIGH_WATER && !buffers.client_in.is_empty() {
            return Some(Event::Room);
        }
        let link = self.link.as_mut()?;
        let before = buffers.server_out.len();
        let result = link.checkout.stream.poll_drain(cx, &mut buffers.server_out);
        let written = before - buffers.server_out.len();
        link.at_rest &= written == 0;
        if written > 0 {
            link.node.metrics.bytes(Direction::Sent, written as u64);
        }
        match result {
            Poll::Ready(Err(e)) => Some(Event::ServerLost(e)),
            // Something may have been held back for want of room.
            _ if written > 0 && before >= HIGH_WATER && buffers.server_out.len() < HIGH_WATER => {
                Some(Event::Room)
            }
            _ => None,
        }
    }

    fn poll_server(&mut self, cx: &mut Cx<'_>) -> Option<Event> {
        let link = self.link.as_mut()?;
        let buffers = self
            .buffers
            .get_or_insert_with(|| self.context.take_buffers());
        if buffers.client_out.len() >= HIGH_WATER {
            return None;
        }
        match fill(&mut link.checkout.stream, cx, &mut buffers.server_in) {
            Poll::Pending => None,
            Poll::Ready(Ok(0)) => Some(Event::ServerLost(std::io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(n)) => {
                link.node.metrics.bytes(Direction::Received, n as u64);
                Some(Event::Server)
            }
            Poll::Ready(Err(e)) => Some(Event::ServerLost(e)),
        }
    }

    fn poll_client(&mut self, cx: &mut Cx<'_>) -> Option<Event> {
        if self.said_goodbye {
            return None;
        }
        let buffers = match &mut self.buffers {
            Some(buffers) => buffers,
            // An idle session takes buffers only when there is something to read.
            empty => match self.client.poll_readable(cx) {
                Poll::Pending => return None,
                Poll::Ready(Err(_)) => return Some(Event::ClientLost),
                Poll::Ready(Ok(())) => empty.insert(self.context.take_buffers()),
            },
        };
        let streaming = self.rest != Rest::None;
        let limit = if streaming {
            HIGH_WATER
        } else {
            CLIENT_IN_MAX + READ_ROOM
        };
        if buffers.client_in.len() >= limit || buffers.server_out.len() >= HIGH_WATER {
            return None;
        }
        match fill(&mut self.client, cx, &mut buffers.client_in) {
            Poll::Pending => None,
            // Goodbye comes after what was asked for before.
            Poll::Ready(Ok(0)) if buffers.client_in.first() == Some(&b'X') => {
                self.said_goodbye = true;
                None
            }
            Poll::Ready(Ok(0) | Err(_)) => Some(Event::ClientLost),
            Poll::Ready(Ok(n)) => {
                self.identity.pools.tally.add(Stat::Received, n as u64);
                Some(Event::Client)
            }
        }
    }
}

/// Reads into `buf`, with more room the more is already waiting there.
fn fill(stream: &mut Stream, cx: &mut Cx<'_>, buf: &mut BytesMut) -> Poll<std::io::Result<usize>> {
    if buf.capacity() - buf.len() < READ_ROOM / 2 {
        // A socket that is not ready costs nothing here but the room.
        let room = (buf.capacity() * 2).clamp(READ_ROOM, READ_ROOM_MAX);
        buf.reserve(room);
    }
    stream.poll_fill(cx, buf)
}
