//! A statement on its way.

use super::rewrite::{Changes, Part};
use crate::backend::prepared::StatementId;
use crate::router::{Command, Effect, Tables};

/// What becomes of a transaction block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// It is as it was.
    Same,
    /// There is one.
    Opens,
    /// There is none.
    Ends,
}

/// A statement that runs: what to count and remember when it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its kind.
    pub(crate) command: Command,
    /// Which prepared statement it is, if any; else 0.
    pub(crate) statement: StatementId,
    /// Whether it may have written.
    pub(crate) writes: bool,
    /// The tables that it may write, where that is followed.
    pub(crate) tables: Tables,
    /// What it does to a transaction block.
    pub(crate) block: Block,
    /// Whether it ends a transaction: its outcome is unknown when the connection breaks.
    pub(crate) commits: bool,
    /// Whether it may take prepared statements away.
    pub(crate) discards: bool,
    /// What each statement of it is, the last one first; empty when none does anything.
    pub(crate) parts: Vec<Part>,
    /// What was sent in its place.
    pub(crate) changes: Changes,
}

impl Run {
    /// Whether it may take prepared statements away, or a startup parameter back to the server's own
    /// value: what follows waits for its answer, and until that is given again.
    pub(crate) fn takes_away(&self) -> bool {
        let back = |p: &Part| matches!(p, Part::Clients(Effect::Reset(_) | Effect::ResetAll));
        self.discards || self.parts.iter().any(back)
    }
}

/// What a CommandComplete says of the transaction and of the connection's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Commit,
    Rollback,
    DiscardAll,
    DiscardSequences,
    DeallocateAll,
    Other,
}

impl Tag {
    /// Reads a CommandComplete's body.
    pub(super) fn of(body: &[u8]) -> Self {
        match body {
            b"COMMIT\0" | b"PREPARE TRANSACTION\0" => Self::Commit,
            b"ROLLBACK\0" => Self::Rollback,
            b"DISCARD ALL\0" => Self::DiscardAll,
            b"DISCARD SEQUENCES\0" => Self::DiscardSequences,
            b"DEALLOCATE ALL\0" => Self::DeallocateAll,
            _other_tag => Self::Other,
        }
    }
}
