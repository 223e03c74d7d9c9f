//! A logged-in server connection and what is known of its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};

use super::parameters::ParameterSet;
use super::prepared::Prepared;
use super::reported::Reported;
use crate::clock;
use crate::net::Stream;
use crate::protocol::frame::{self, Backend};
use crate::protocol::messages;
use crate::registry::BackendKey;

/// What code that was not looked at may have left, but for parameters: DISCARD ALL without our
/// prepared statements, which stay, and as part of more. A statement that SQL has prepared can't be
/// taken away without them: it fails, and so the connection ends.
const SWEEP: &str = "CLOSE ALL;UNLISTEN *;SELECT pg_catalog.pg_advisory_unlock_all();\
                     DISCARD TEMP;DISCARD SEQUENCES;\
                     SELECT 1 OPERATOR(pg_catalog./) pg_catalog.count(*) FROM (SELECT pg_catalog.bool_or(p.from_sql) AS found \
                     FROM pg_catalog.pg_prepared_statements p) s WHERE s.found IS NOT TRUE;";

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
    /// The session whose statements ran code here that was not looked at: what it left behind is
    /// unknown. 0 is none.
    pub unseen_by: u64,
    /// The session that may have something remembered here of its sequences; 0 is none.
    pub sequences_of: u64,
    /// Tells it from all other connections of the instance.
    pub serial: u64,
    /// What the server last reported of its parameters.
    pub reported: Arc<Reported>,
    /// When it was opened ([`clock::now`]).
    pub born: u64,
    /// When it was last given back.
    pub idle_since: u64,
}

/// The next connection's number.
static NEXT: AtomicU64 = AtomicU64::new(1);

impl Connection {
    /// A connection that has just logged in with no parameters of its own.
    #[must_use]
    pub fn new(stream: Stream, key: BackendKey, reported: Reported) -> Self {
        let now = clock::now();
        Self {
            stream,
            key: Arc::new(key),
            prepared: Prepared::default(),
            parameters: Arc::default(),
            parameters_unsure: false,
            unseen_by: 0,
            sequences_of: 0,
            serial: NEXT.fetch_add(1, Ordering::Relaxed),
            reported: Arc::new(reported),
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

    /// The Query texts that make the connection the session's own, with these parameters; `None` when
    /// it is. `session` is the number of the session, never 0.
    #[must_use]
    pub fn carry(&self, wanted: &ParameterSet, session: u64) -> Option<Vec<String>> {
        if self.unseen_by != 0 && self.unseen_by != session {
            return Some(wanted.from_scratch(SWEEP));
        }
        if self.parameters_unsure {
            return Some(wanted.from_scratch(""));
        }
        wanted.difference(&self.parameters)
    }

    /// What [`Connection::carry`] asked for has been sent.
    pub fn carries(&mut self, parameters: &Arc<ParameterSet>, session: u64) {
        self.parameters = Arc::clone(parameters);
        self.parameters_unsure = false;
        if self.unseen_by != session && std::mem::take(&mut self.unseen_by) != 0 {
            self.sequences_of = 0;
        }
    }

    /// Notes a ParameterStatus.
    pub fn note_parameter(&mut self, name: &[u8], value: &[u8]) {
        Arc::make_mut(&mut self.reported).note(name, value);
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
