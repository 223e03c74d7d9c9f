//! What the server still owes, in order. PURE: message types in, verdicts out.
//!
//! Every message sent to the server that has an answer leaves an entry here; answers that pgconvoy
//! gives itself stand in the same queue, so that they keep their place. It must not know any
//! socket, buffer or statement text.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::rewrite::{Changes, Part};
use super::run::{Block, Run};
use crate::backend::prepared::StatementId;
use crate::router::Tables;

/// What to take back when a Parse or Close turns out not to have happened. `U` is the session's
/// own note of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<U> {
    /// ParseComplete; hidden when the client did not ask for it.
    Parse { visible: bool, undo: U },
    /// BindComplete, for a portal of the statement with this number, called by its name or none; an error
    /// only where it was bound to another that stands in for it.
    Bind {
        id: StatementId,
        unnamed: bool,
        refused: bool,
    },
    /// ParameterDescription (for statements), then RowDescription or NoData.
    Describe { id: StatementId },
    /// Rows, then CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Run),
    /// CloseComplete; hidden when the client did not ask for it.
    Close { visible: bool, undo: U },
    /// ReadyForQuery; hidden when the client did not ask for it.
    Sync { visible: bool },
    /// Everything up to ReadyForQuery.
    Query(Run),
    /// FunctionCallResponse and ReadyForQuery.
    Function,
    /// Everything up to ReadyForQuery, for our own purposes.
    Setup,
    /// The same, of a question of ours: its row is looked at, and it may fail.
    Probe,
    /// Everything up to CloseComplete, for our own purposes in the client's batch.
    Own,
    /// An answer of our own: these bytes.
    Local { bytes: Cow<'static, [u8]>, undo: U },
    /// An answer of our own, with the ReadyForQuery of that moment after it.
    LocalReady { bytes: Cow<'static, [u8]> },
}

impl<U> Reply<U> {
    /// Whether ReadyForQuery comes in the end.
    fn is_end(&self) -> bool {
        match self {
            Self::Sync { .. }
            | Self::Query(_)
            | Self::Function
            | Self::Setup
            | Self::Probe
            | Self::LocalReady { .. } => true,
            Self::Parse { .. }
            | Self::Bind { .. }
            | Self::Describe { .. }
            | Self::Execute(_)
            | Self::Close { .. }
            | Self::Own
            | Self::Local { .. } => false,
        }
    }

    /// What to take back if it does not come.
    fn into_undo(self) -> Option<U> {
        match self {
            Self::Parse { undo, .. } | Self::Close { undo, .. } | Self::Local { undo, .. } => {
                Some(undo)
            }
            Self::Bind { .. }
            | Self::Describe { .. }
            | Self::Execute(_)
            | Self::Sync { .. }
            | Self::Query(_)
            | Self::Function
            | Self::Setup
            | Self::Probe
            | Self::Own
            | Self::LocalReady { .. } => None,
        }
    }
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Pass it on.
    Relay,
    /// Keep it from the client.
    Hide,
    /// ReadyForQuery for the client.
    RelayReady,
    /// ReadyForQuery that ends a Sync of ours.
    HideReady,
    /// ReadyForQuery that ends a request of our own: the session is where it was.
    SetupDone,
    /// The row that answers a question of ours.
    Answer,
    /// An error: pass it on; what was dropped is undone by the caller of [`Replies::fail`].
    RelayError,
    /// An error of a request of our own.
    SetupFailed,
    /// Nothing was asked and this is no message that comes unasked.
    Violation,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Replies<U> {
    queue: VecDeque<Reply<U>>,
}

impl<U> Default for Replies<U> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
        }
    }
}

impl<U> Replies<U> {
    /// Something was sent (or is to be answered locally in its turn).
    pub(crate) fn push(&mut self, reply: Reply<U>) {
        self.queue.push_back(reply);
    }

    /// Whether the server owes nothing and nothing waits for its turn.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether all that is owed is for our own purposes.
    pub(crate) fn is_all_own(&self) -> bool {
        let own = |r: &Reply<U>| matches!(r, Reply::Setup | Reply::Probe);
        self.queue.iter().all(own)
    }

    /// Whether all that is left are answers of our own.
    pub(crate) fn only_local(&self) -> bool {
        self.queue
            .iter()
            .all(|r| matches!(r, Reply::Local { .. } | Reply::LocalReady { .. }))
    }

    /// The next answer of our own, if it is its turn.
    pub(crate) fn pop_local(&mut self) -> Option<Reply<U>> {
        match self.queue.front()? {
            Reply::Local { .. } | Reply::LocalReady { .. } => self.queue.pop_front(),
            _ => None,
        }
    }

    /// Whether any outstanding statement ends a transaction.
    pub(crate) fn commits(&self) -> bool {
        self.queue
            .iter()
            .any(|r| matches!(r, Reply::Query(run) | Reply::Execute(run) if run.commits))
    }

    /// The tables that what is being answered may have written, if it may have written at all.
    pub(crate) fn front_writes(&self) -> Option<Tables> {
        match self.queue.front() {
            Some(Reply::Query(run) | Reply::Execute(run)) => run.writes.then_some(run.tables),
            Some(Reply::Function) => Some(Tables::ALL),
            Some(
                Reply::Parse { .. }
                | Reply::Bind { .. }
                | Reply::Describe { .. }
                | Reply::Close { .. }
                | Reply::Sync { .. }
                | Reply::Setup
                | Reply::Probe
                | Reply::Own
                | Reply::Local { .. }
                | Reply::LocalReady { .. },
            )
            | None => None,
        }
    }

    /// Whether nothing may follow until the last thing sent is answered: a Sync of our own, as what
    /// fails before it makes the client's next messages skipped, or a question whose answer decides
    /// where they go.
    pub(crate) fn ends_hidden(&self) -> bool {
        matches!(
            self.queue.back(),
            Some(Reply::Sync { visible: false } | Reply::Probe)
        )
    }

    /// Whether what is answered is a statement of our own in the client's text.
    pub(crate) fn front_is_put_in(&self) -> bool {
        matches!(self.queue.front(), Some(Reply::Query(run)) if run.parts.last() == Some(&Part::Own))
    }

    /// Where the text that is answered was changed.
    pub(crate) fn changes(&self) -> Option<&Changes> {
        match self.queue.front() {
            Some(Reply::Query(run)) => Some(&run.changes),
            _ => None,
        }
    }

    /// The statement being answered has succeeded: what it was.
    pub(crate) fn next_part(&mut self) -> Option<Part> {
        match self.queue.front_mut() {
            Some(Reply::Query(run) | Reply::Execute(run)) => run.parts.pop(),
            Some(
                Reply::Parse { .. }
                | Reply::Bind { .. }
                | Reply::Describe { .. }
                | Reply::Close { .. }
                | Reply::Sync { .. }
                | Reply::Function
                | Reply::Setup
                | Reply::Probe
                | Reply::Own
                | Reply::Local { .. }
                | Reply::LocalReady { .. },
            )
            | None => None,
        }
    }

    /// Whether something outstanding gives back ReadyForQuery in the end.
    pub(crate) fn has_end(&self) -> bool {
        self.queue.iter().any(Reply::is_end)
    }

    /// The notes that are outstanding, in order.
    pub(crate) fn undos(&self) -> impl Iterator<Item = &U> {
        self.queue.iter().filter_map(|reply| match reply {
            Reply::Parse { undo, .. } | Reply::Close { undo, .. } | Reply::Local { undo, .. } => {
                Some(undo)
            }
            _ => None,
        })
    }

    /// Whether what a name means may still be taken back (`undoes` tells whether a note does that), or
    /// the server has yet to confirm that it holds a statement, or that it still does.
    pub(crate) fn in_doubt(&self, undoes: impl Fn(&U) -> bool) -> bool {
        self.queue.iter().any(|reply| match reply {
            Reply::Parse { .. } => true,
            Reply::Close { undo, .. } | Reply::Local { undo, .. } => undoes(undo),
            Reply::Query(run) | Reply::Execute(run) => run.takes_away(),
            Reply::Bind { .. }
            | Reply::Describe { .. }
            | Reply::Sync { .. }
            | Reply::Function
            | Reply::Setup
            | Reply::Probe
            | Reply::Own
            | Reply::LocalReady { .. } => false,
        })
    }

    /// Whether something outstanding takes away what the rest of its batch may want.
    pub(crate) fn take_away(&self) -> bool {
        self.queue
            .iter()
            .any(|r| matches!(r, Reply::Query(run) | Reply::Execute(run) if run.takes_away()))
    }

    /// Whether what is answered was asked of the unnamed statement.
    pub(crate) fn asked_of_unnamed(&self) -> bool {
        matches!(self.queue.front(), Some(Reply::Bind { unnamed: true, .. }))
    }

    /// Whether what is answered was asked by us.
    pub(crate) fn front_is_own(&self) -> bool {
        matches!(
            self.queue.front(),
            Some(Reply::Setup | Reply::Probe | Reply::Own)
        )
    }

    /// How many answers are owed.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// What is owed next.
    pub(crate) fn front(&self) -> Option<&Reply<U>> {
        self.queue.front()
    }

    /// The statement that the server's next answer is about, as far as a Bind or Describe asked.
    pub(crate) fn asked_of(&self) -> Option<StatementId> {
        let local = |r: &&Reply<U>| matches!(r, Reply::Local { .. });
        match self.queue.iter().find(|r| !local(r))? {
            Reply::Bind { id, .. } | Reply::Describe { id } => Some(*id),
            _ => None,
        }
    }

    /// The prepared statement of the client's that is answered when so many answers are complete; 0 if
    /// it is none.
    pub(crate) fn statement_behind(&self, answered: usize) -> StatementId {
        let of_server = |r: &&Reply<U>| !matches!(r, Reply::Local { .. });
        if matches!(self.queue.front(), Some(Reply::Query(_))) {
            return 0;
        }
        match self.queue.iter().filter(of_server).nth(answered) {
            Some(Reply::Bind { id, .. } | Reply::Describe { id }) => *id,
            Some(Reply::Execute(run)) => run.statement,
            _ => 0,
        }
    }

    /// Whether the server has something to say when so many answers are complete.
    pub(crate) fn owes_more_than(&self, answered: usize) -> bool {
        let of_server =
            |r: &&Reply<U>| !matches!(r, Reply::Local { .. } | Reply::LocalReady { .. });
        matches!(self.queue.front(), Some(Reply::Query(_)))
            || self.queue.iter().filter(of_server).nth(answered).is_some()
    }

    /// Whether rows at the front are the client's.
    pub(crate) fn rows_are_relayed(&self) -> bool {
        matches!(
            self.queue.front(),
            Some(Reply::Query(_) | Reply::Execute(_))
        )
    }

    /// After an error in the extended protocol the server skips to Sync: drops what it will not
    /// answer, handing each entry to `undo`. True when the Sync was sent already and is hidden or
    /// not there at all, that is, when the client's own messages must be skipped to *its* Sync.
    pub(crate) fn fail(&mut self, mut undo: impl FnMut(U)) -> bool {
        loop {
            match self.queue.front() {
                None => return true,
                Some(Reply::Sync { visible }) => return !visible,
                // A Query, too, is skipped (PostgreSQL docs, 55.2.3).
                Some(_) => {
                    let dropped = self.queue.pop_front().and_then(Reply::into_undo);
                    dropped.into_iter().for_each(&mut undo);
                }
            }
        }
    }

    /// Whether nothing is owed but answers to requests of our own.
    pub(crate) fn has_only_setup(&self) -> bool {
        let own = |r: &Reply<U>| matches!(r, Reply::Setup);
        self.queue.iter().all(own)
    }

    /// A batch that has failed is to be done again from its beginning: empties the queue, handing each undo
    /// out and whether the server has done what it is about, as it has done the first `answered`. Tells whether ReadyForQuery comes by itself, as its Sync was sent; `None`, and nothing is
    /// done, when more than the batch is owed.
    pub(crate) fn start_over(
        &mut self,
        answered: usize,
        mut undo: impl FnMut(U, bool),
    ) -> Option<bool> {
        let mut ends = (self.queue.iter().enumerate()).filter(|(_, reply)| reply.is_end());
        let synced = match (ends.next(), ends.next()) {
            (None, _) => false,
            (Some((at, Reply::Sync { .. })), None) if at + 1 == self.queue.len() => true,
            (Some((0, Reply::Query(_))), None) if self.queue.len() == 1 => true,
            _ => return None,
        };
        let mut answers = 0;
        for reply in self.queue.drain(..) {
            let of_server = !matches!(reply, Reply::Local { .. });
            let done = of_server && answers < answered;
            answers += usize::from(of_server);
            if let Some(taken_back) = reply.into_undo() {
                undo(taken_back, done);
            }
        }
        Some(synced)
    }

    /// Whether a transaction block is open once all that is owed has run; `open` is whether one is now.
    pub(crate) fn block_after(&self, open: bool) -> bool {
        let blocks = self.queue.iter().filter_map(|reply| match reply {
            Reply::Query(run) | Reply::Execute(run) => Some(run.block),
            _ => None,
        });
        blocks.fold(open, |open, block| match block {
            Block::Same => open,
            Block::Opens => true,
            Block::Ends => false,
        })
    }

    /// The connection is lost: empties the queue, handing each undo out, and returns how many
    /// ReadyForQuery the client still waits for.
    pub(crate) fn abandon(&mut self, mut undo: impl FnMut(U)) -> usize {
        let mut ready = 0;
        for reply in self.queue.drain(..) {
            match reply {
                Reply::Parse { undo: u, .. }
                | Reply::Close { undo: u, .. }
                | Reply::Local { undo: u, .. } => undo(u),
                Reply::Sync { visible } => ready += usize::from(visible),
                Reply::Query(_) | Reply::Function | Reply::LocalReady { .. } => ready += 1,
                Reply::Bind { .. }
                | Reply::Describe { .. }
                | Reply::Execute(_)
                | Reply::Setup
                | Reply::Probe
                | Reply::Own => {}
            }
        }
        ready
    }

    /// COPY FROM STDIN has begun: the server ignores each Sync until the data has ended
    /// (PostgreSQL docs, 55.2.6), so none that was sent already will be answered.
    ///
    /// True when nothing else was sent after it, so that the client's Sync is still to come.
    pub(crate) fn copy_in_began(&mut self) -> bool {
        if !matches!(self.queue.front(), Some(Reply::Execute(_))) {
            return false;
        }
        while matches!(self.queue.get(1), Some(Reply::Sync { .. })) {
            self.queue.remove(1);
        }
        self.queue.len() == 1
    }
}

mod answers;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
