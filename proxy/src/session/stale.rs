//! Prepared statements that a change of their tables has made useless on the server (0A000, "cached
//! plan must not change result type"): prepared again and run again, once, where that can be done
//! as if nothing had happened.
//!
//! A client that parses its statement anew would not have met the error without us, since a Parse
//! of what the server holds already is not sent. The error comes before anything of the statement
//! has run, and outside of a transaction block the server has rolled back what came before it. The
//! statement gets another number, and so another name on servers: other connections, where it may
//! be as stale, are no matter then.

use std::sync::Arc;

use super::Session;
use super::replay::Replay;
use super::statements::Statement;
use crate::protocol::error_fields::ErrorView;
use crate::protocol::frame::{self, Backend, Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::messages::{self, Target};
use crate::protocol::sqlstate;

/// What comes of looking for the error.
pub(super) enum Staleness {
    /// It is not there, or the client must see it.
    None,
    /// That can't be told yet.
    Wait,
    /// Everything is done to run the batch again; so many bytes of the server's are void.
    Mended(usize),
}

impl Session {
    /// A batch begins on the connection at hand: its messages are kept in case of a stale statement.
    pub(super) fn begin_batch(&mut self, kind: Frontend) {
        let quiet = !self.batch.is_open()
            && self.transaction.status == TransactionStatus::Idle
            && (self.buffers.as_ref()).is_none_or(|b| b.replies.has_only_setup());
        if self
            .link
            .as_ref()
            .is_none_or(|l| l.replay == Replay::Elsewhere)
            || self.keep_for_elsewhere()
        {
            return;
        }
        let uses_statements = match kind {
            Frontend::Parse | Frontend::Bind | Frontend::Describe => true,
            Frontend::Query
            | Frontend::FunctionCall
            | Frontend::Execute
            | Frontend::Close
            | Frontend::Sync
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Password
            | Frontend::Terminate => false,
        };
        // Ahead of which something of our own may fail.
        let behind_setup = (self.buffers.as_ref()).is_some_and(|b| !b.replies.is_empty());
        if quiet && (uses_statements || behind_setup) {
            self.set_replay(Replay::IfStale);
            self.buffers().replay.clear();
        } else if !self.batch.is_open() {
            // Something else, or behind a batch whose answers are still to come.
            self.set_replay(Replay::No);
        }
    }

    fn set_replay(&mut self, replay: Replay) {
        if let Some(link) = &mut self.link {
            link.replay = replay;
        }
    }

    /// Whether such an error is at the front of the server's messages, or right behind the
    /// ParameterDescription there, which comes before it. If so, the statement is not trusted again,
    /// and where nobody would notice the batch is run again.
    pub(super) fn look_for_stale(&mut self, kind: Backend, header: Header) -> Staleness {
        if !matches!(kind, Backend::ErrorResponse | Backend::ParameterDescription) {
            return Staleness::None;
        }
        let kept = self.link.as_ref().is_some_and(|l| l.replay != Replay::No);
        let Some(buffers) = self.buffers.as_deref() else {
            return Staleness::None;
        };
        let at = match kind {
            Backend::ErrorResponse => 0,
            _ if !kept => return Staleness::None,
            _ => header.len,
        };
        let input = buffers.server_in.get(at..).unwrap_or_default();
        let error = match frame::peek_backend(input) {
            Ok(Some((Backend::ErrorResponse, error))) => error,
            Ok(None) => return Staleness::Wait,
            Ok(Some(_)) | Err(_) => return Staleness::None,
        };
        let Some(body) = input.get(HEADER..error.len) else {
            return Staleness::Wait;
        };
        if !is_stale(body) {
            return Staleness::None;
        }
        let Some(stale) = (buffers.replies.asked_of()).and_then(|id| self.statements.numbered(id))
        else {
            return Staleness::None;
        };
        // Who parses the text again gets a new statement, on every server connection.
        self.space.forget(&stale.definition);
        if kept && self.run_again(&stale) {
            Staleness::Mended(at + error.len)
        } else {
            Staleness::None
        }
    }

    /// False when the client must see the error.
    fn run_again(&mut self, stale: &Arc<Statement>) -> bool {
        let names = self.statements.names_of(stale.id);
        let idle = self.transaction.status == TransactionStatus::Idle;
        let Some(buffers) = self.buffers.as_deref() else {
            return false;
        };
        let known = !stale.definition.is_empty() && learns_anew(&buffers.replay, &names);
        if !idle || !known || !self.start_over(0) {
            return false;
        }
        let fresh = (self.space).intern(&stale.definition, stale.version(), || stale.decision());
        for name in self.statements.names_of(stale.id) {
            self.statements.set(&name, Some(Arc::clone(&fresh)));
        }
        self.context.metrics.prepared_again.inc();
        true
    }
}

/// Whether the batch parses or describes the statement with these names, so that its client takes the
/// result as it is now. One that goes by an earlier description must be told that it is out of date.
fn learns_anew(batch: &[u8], names: &[Vec<u8>]) -> bool {
    let mut rest = batch;
    while let Ok(Some((kind, header))) = frame::peek_frontend(rest) {
        let Some(body) = rest.get(HEADER..header.len) else {
            return false;
        };
        let named = |name: &[u8]| names.iter().any(|n| n == name);
        let learns = match kind {
            Frontend::Parse => matches!(messages::parse_name(body), Ok(Some(name)) if named(name)),
            Frontend::Describe => messages::describe(body).is_ok_and(|d| match d.target {
                Target::Statement => named(d.name),
                Target::Portal => true,
            }),
            Frontend::Query
            | Frontend::FunctionCall
            | Frontend::Bind
            | Frontend::Execute
            | Frontend::Close
            | Frontend::Sync
            | Frontend::Flush
            | Frontend::CopyData
            | Frontend::CopyDone
            | Frontend::CopyFail
            | Frontend::Password
            | Frontend::Terminate => false,
        };
        if learns {
            return true;
        }
        rest = rest.get(header.len..).unwrap_or_default();
    }
    false
}

/// The message is translated, the routine's name is not.
pub(super) fn is_stale(body: &[u8]) -> bool {
    let view = ErrorView::new(body);
    view.sqlstate() == Some(sqlstate::FEATURE_NOT_SUPPORTED)
        && view.get(b'R') == Some(b"RevalidateCachedQuery")
}
