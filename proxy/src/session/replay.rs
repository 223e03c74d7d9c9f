//! Whether a batch may be run again, and how that begins.

use super::replies::Reply;
use super::statements::{Rename, Undo};
use super::{Batch, Phase, Rest, Session};
use crate::protocol::to_server;

/// What a batch whose answer the client has seen nothing of may be run again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// Nothing; or something has been seen.
    No,
    /// A statement that is to be prepared anew, or what could not be set ahead of it.
    IfStale,
    /// That, and the loss or the refusal of a read's server: on another.
    Elsewhere,
}

/// Whether what was asked may have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Perhaps,
    Nothing,
}

impl Session {
    /// The batch has failed on a server that is as it was before: what was sent of it comes again. The
    /// server's answers end with a ReadyForQuery that is hidden. False, and nothing is done, when more
    /// is owed than the batch's. The first `answered` of its messages are done.
    pub(super) fn start_over(&mut self, answered: usize) -> bool {
        let Some(buffers) = self.buffers.as_deref_mut() else {
            return false;
        };
        let mut undone = Vec::new();
        let note = |undo, done| undone.push((undo, done));
        let Some(ends) = buffers.replies.start_over(answered, note) else {
            return false;
        };
        for (undo, done) in undone.into_iter().rev() {
            // Statements are no part of a transaction: what was prepared or closed is.
            match undo {
                Undo::NotPrepared(_) | Undo::StillPrepared(_) if done => {}
                Undo::Rename(rename) if done => self.undo(Undo::Rename(Rename {
                    sent: false,
                    ..rename
                })),
                undo => self.undo(undo),
            }
        }
        if let Some(link) = &mut self.link {
            link.replay = Replay::No;
        }
        self.batch = Batch::None;
        self.phase = Phase::Normal;
        self.rest = Rest::None;
        self.plan.reset();
        let buffers = self.buffers();
        if !ends {
            to_server::sync(&mut buffers.server_out);
        }
        buffers.replies.push(Reply::Sync { visible: false });
        let mut again = std::mem::take(&mut buffers.replay);
        again.extend_from_slice(&buffers.client_in);
        buffers.client_in = again;
        true
    }
}
