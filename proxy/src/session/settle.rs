//! What follows from the server's answers: our own answers in their turn, taking back what did not
//! happen, and giving the server connection back.

use super::replay::Replay;
use super::replies::Reply;
use super::statements::Undo;
use super::{Rest, Session};
use crate::clock;
use crate::protocol::to_client;

impl Session {
    /// Gives the server connection back when nothing of this session is left on it.
    pub(super) fn release_if_done(&mut self) {
        let (Some(link), Some(buffers)) = (&self.link, self.buffers.as_deref_mut()) else {
            return;
        };
        let owed = !buffers.replies.is_empty() || link.through > 0;
        let unsent = !buffers.server_out.is_empty()
            || !link.checkout.stream.is_flushed()
            || matches!(self.rest, Rest::Server(_));
        if owed || unsent || self.is_held() {
            return;
        }
        let unread = self
            .buffers
            .as_ref()
            .is_some_and(|b| !b.server_in.is_empty());
        let Some(mut link) = self.link.take() else {
            return;
        };
        self.identity.registration.client().nothing_to_cancel();
        if unread || !link.at_rest {
            // Nobody knows what state it is in.
            if let Some(buffers) = self.buffers.as_deref_mut() {
                buffers.server_in.clear();
            }
            drop(link);
            return;
        }
        self.leave_parameters(&mut link);
        link.checkout.release(clock::now());
    }

    /// Gives answers of our own whose turn has come.
    pub(super) fn answer_locals(&mut self) {
        let status = self.transaction.status;
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return;
        };
        // While something can still be run again, nothing of it is shown.
        let hold = self.link.as_ref().is_some_and(|l| l.replay != Replay::No)
            && !buffers.replies.only_local();
        if hold {
            return;
        }
        while let Some(reply) = buffers.replies.pop_local() {
            if let Some(link) = &mut self.link {
                // The client has seen something.
                link.replay = Replay::No;
            }
            match reply {
                Reply::Local { bytes, .. } => buffers.client_out.extend_from_slice(&bytes),
                Reply::LocalReady { bytes } => {
                    buffers.client_out.extend_from_slice(&bytes);
                    to_client::ready_for_query(&mut buffers.client_out, status);
                }
                Reply::Parse { .. }
                | Reply::Bind { .. }
                | Reply::Describe { .. }
                | Reply::Execute(_)
                | Reply::Close { .. }
                | Reply::Sync { .. }
                | Reply::Query(_)
                | Reply::Function
                | Reply::Setup
                | Reply::Probe
                | Reply::Own => {}
            }
        }
    }

    /// Takes back what turned out not to have happened.
    pub(super) fn undo(&mut self, undo: Undo) {
        let prepared = self.link.as_mut().map(|l| &mut l.checkout.prepared);
        match undo {
            Undo::Nothing | Undo::Called(..) => {}
            Undo::NotPrepared(id) => {
                if let Some(prepared) = prepared {
                    prepared.remove(id);
                }
            }
            Undo::StillPrepared(id) => {
                if let Some(prepared) = prepared {
                    prepared.insert(id);
                }
            }
            Undo::Rename(rename) => {
                if let (Some(prepared), true) = (prepared, rename.sent) {
                    prepared.remove(rename.id);
                }
                // A later batch may have given the name to another statement already.
                let now = self.statements.get(&rename.name).map(|s| s.id);
                if now == rename.set.then_some(rename.id) {
                    self.statements.set(&rename.name, rename.before);
                }
            }
        }
    }
}
