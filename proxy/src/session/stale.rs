//! Prepared statements that a change of their tables has made useless on the server (0A000, "cached
//! plan must not change result type"): prepared again and run again, once, where that can be done
//! as if nothing had happened.
//!
//! A client that parses its statement anew would not have met the error without us, since a Parse
//! of what the server holds already is not sent. The error comes before anything of the statement
//! has run, and outside of a transaction block the server has rolled back what came before it.

use super::replies::{Replay, Reply};
use super::{Batch, Phase, Rest, Session};
use crate::protocol::error_fields::ErrorView;
use crate::protocol::frame::{self, Backend, Frontend, HEADER, Header, TransactionStatus};
use crate::protocol::{sqlstate, to_server};
use crate::router::PinReason;

/// Drops all statements of the connection, which are as old.
const FORGET_STATEMENTS: &[u8] = b"DEALLOCATE ALL";

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
        let Some(link) = &mut self.link else { return };
        if link.replay == Replay::Elsewhere {
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
        if quiet && uses_statements {
            link.replay = Replay::IfStale;
            self.buffers().replay.clear();
        } else if !self.batch.is_open() {
            // Something else, or behind a batch whose answers are still to come.
            link.replay = Replay::No;
        }
    }

    /// Whether such an error is at the front of the server's messages, or right behind the
    /// ParameterDescription there, which comes before it. If so, everything is prepared again.
    pub(super) fn look_for_stale(&mut self, kind: Backend, header: Header) -> Staleness {
        if !matches!(kind, Backend::ErrorResponse | Backend::ParameterDescription) {
            return Staleness::None;
        }
        let kept = self.link.as_ref().is_some_and(|l| l.replay != Replay::No);
        let (true, Some(buffers)) = (kept, self.buffers.as_deref()) else {
            return Staleness::None;
        };
        let at = if kind == Backend::ErrorResponse {
            0
        } else {
            header.len
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
        if is_stale(body) && self.prepare_again() {
            Staleness::Mended(at + error.len)
        } else {
            Staleness::None
        }
    }

    /// False when the client must see the error.
    fn prepare_again(&mut self) -> bool {
        // What SQL has prepared can't be had again, nor what was too long to keep.
        let held = self.pins.held();
        let lasting = held.has(PinReason::Prepare) || held.has(PinReason::UnknownState);
        let idle = self.transaction.status == TransactionStatus::Idle;
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return false;
        };
        if lasting || !idle {
            return false;
        }
        let mut undone = Vec::new();
        let Some(synced) = buffers.replies.start_over(|undo| undone.push(undo)) else {
            return false;
        };
        undone.into_iter().rev().for_each(|undo| self.undo(undo));
        if let Some(link) = &mut self.link {
            link.replay = Replay::No;
            link.checkout.prepared.clear();
        }
        self.context.metrics.prepared_again.inc();
        self.batch = Batch::None;
        self.phase = Phase::Normal;
        self.rest = Rest::None;
        self.plan.reset();
        let buffers = self.buffers();
        if !synced {
            to_server::sync(&mut buffers.server_out);
        }
        buffers.replies.push(Reply::Sync { visible: false });
        to_server::query(&mut buffers.server_out, FORGET_STATEMENTS);
        buffers.replies.push(Reply::Setup);
        let mut again = std::mem::take(&mut buffers.replay);
        again.extend_from_slice(&buffers.client_in);
        buffers.client_in = again;
        true
    }
}

/// The message is translated, the routine's name is not.
fn is_stale(body: &[u8]) -> bool {
    let view = ErrorView::new(body);
    view.sqlstate() == Some(sqlstate::FEATURE_NOT_SUPPORTED)
        && view.get(b'R') == Some(b"RevalidateCachedQuery")
}
