//! A logged-in server connection and what is known of its state.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};

use super::parameters::ParameterSet;
use super::prepared::Prepared;
use crate::clock;
use crate::net::Stream;
use crate::protocol::frame::{self, Backend};
use crate::protocol::messages;
use crate::registry::BackendKey;

/// A server connection between or during statements.
#[derive(Debug)]
pub struct Connection {
    /// The byte stream.
    pub stream: Stream,
    /// How to cancel what runs on it.
    pub key: Arc<BackendKey>,
    /// Statements it holds.
    pub prepared: Prepared,
    /// Parameters that were set on it for the session that uses (or used) it.
    pub parameters: Arc<ParameterSet>,
    /// They may have been reset since: all of them are to be set again.
    pub parameters_unsure: bool,
    /// What the server last reported of its parameters (ParameterStatus).
    pub reported: Vec<(String, String)>,
    /// When it was opened ([`clock::now`]).
    pub born: u64,
    /// When it was last given back.
    pub idle_since: u64,
}

impl Connection {
    /// A connection that has just logged in with no parameters of its own.
    #[must_use]
    pub fn new(stream: Stream, key: BackendKey, reported: Vec<(String, String)>) -> Self {
        let now = clock::now();
        Self {
            stream,
            key: Arc::new(key),
            prepared: Prepared::default(),
            parameters: Arc::default(),
            parameters_unsure: false,
            reported,
            born: now,
            idle_since: now,
        }
    }

    /// Moves the connection to the reactor of the calling runtime.
    ///
    /// # Errors
    /// When the socket can't be registered; the connection is closed then.
    pub fn rehome(mut self) -> std::io::Result<Self> {
        self.stream = self.stream.rehome()?;
        Ok(self)
    }

    /// The SQL that gives the connection these parameters; `None` when it has them.
    #[must_use]
    pub fn carry(&self, wanted: &ParameterSet) -> Option<String> {
        if self.parameters_unsure {
            let set = wanted.difference(&ParameterSet::default());
            return Some(format!("RESET ALL;{}", set.unwrap_or_default()));
        }
        wanted.difference(&self.parameters)
    }

    /// Notes a ParameterStatus.
    pub fn note_parameter(&mut self, name: &[u8], value: &[u8]) {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        match self.reported.iter_mut().find(|(n, _)| *n == name) {
            Some((_, v)) => *v = value.into_owned(),
            None => self.reported.push((name.into_owned(), value.into_owned())),
        }
    }

    /// Whether the connection can be lent: nothing has come since it was given back but notices
    /// and parameter changes (as after a reload of the server). Costs no system call when nothing
    /// has come.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if self.stream.poll_readable(&mut cx).is_pending() {
            return true;
        }
        let mut buf = BytesMut::with_capacity(1024);
        loop {
            buf.reserve(512);
            match self.stream.poll_fill(&mut cx, &mut buf) {
                Poll::Pending => return self.consume_asynchronous(&mut buf) && buf.is_empty(),
                Poll::Ready(Ok(n)) if n > 0 && buf.len() < 16 * 1024 => {}
                Poll::Ready(_) => return false,
            }
        }
    }

    /// Takes in what a server may send unasked; `false` for anything else.
    fn consume_asynchronous(&mut self, buf: &mut BytesMut) -> bool {
        while let Ok(Some(header)) = frame::peek(buf) {
            if buf.len() < header.len {
                return false;
            }
            match Backend::from_tag(header.tag) {
                Some(Backend::NoticeResponse) => {}
                Some(Backend::ParameterStatus) => {
                    match messages::parameter_status(&buf[frame::HEADER..header.len]) {
                        Ok((name, value)) => {
                            let (name, value) = (name.to_vec(), value.to_vec());
                            self.note_parameter(&name, &value);
                        }
                        Err(_) => return false,
                    }
                }
                // A notification on an idle connection means that somebody's LISTEN was left.
                Some(_) | None => return false,
            }
            buf.advance(header.len);
        }
        true
    }
}
