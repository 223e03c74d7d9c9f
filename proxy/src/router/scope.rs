//! What the transaction around a statement makes of where it may run.
//!
//! Must not know sessions: which transaction is of which kind is told.

use super::pins::PinReason;
use super::route::{Decision, Reason, Target, TransactionEffect};

/// The transaction that a statement runs in, as far as it matters to where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// None yet, or one that has its place.
    #[default]
    Alone,
    /// The same where transactions only read unless they say otherwise.
    AloneReadOnly,
    /// One that only reads.
    ReadOnly,
    /// One whose reads may go to a replica as long as it has done nothing else.
    UntilWrite,
    /// One that no replica may run.
    Primary,
}

impl Scope {
    /// Where the statement may run.
    #[must_use]
    pub fn target(self, decision: &Decision) -> Target {
        match self {
            Self::Alone => decision.target,
            Self::AloneReadOnly if begins_by_default(decision) => Target::Replica,
            Self::AloneReadOnly => decision.target,
            Self::ReadOnly if fits_read_only(decision) => Target::Replica,
            Self::UntilWrite if ends(decision.transaction) => Target::Replica,
            // What it leaves in its session may be asked for later, elsewhere.
            Self::UntilWrite if decision.unseen => Target::Primary,
            Self::UntilWrite if decision.transaction != TransactionEffect::None => Target::Primary,
            Self::UntilWrite => decision.target,
            Self::ReadOnly | Self::Primary => Target::Primary,
        }
    }

    /// What holds for the statements behind this one, in the same batch.
    #[must_use]
    pub fn behind(self, decision: &Decision) -> Self {
        let begins = decision.transaction == TransactionEffect::BeginReadOnly
            && decision.target == Target::Replica;
        match self {
            Self::AloneReadOnly if begins_by_default(decision) => Self::ReadOnly,
            Self::Alone | Self::AloneReadOnly if begins => Self::ReadOnly,
            Self::Alone
            | Self::AloneReadOnly
            | Self::ReadOnly
            | Self::UntilWrite
            | Self::Primary => self,
        }
    }
}

/// BEGIN without a word on whether it reads only, nor a hint.
fn begins_by_default(decision: &Decision) -> bool {
    decision.transaction == TransactionEffect::Begin && decision.reason == Reason::Transaction
}

fn ends(effect: TransactionEffect) -> bool {
    matches!(
        effect,
        TransactionEffect::Commit | TransactionEffect::Rollback
    )
}

/// Whether a standby runs this in a READ ONLY transaction as a primary does: reads, and what is of the
/// transaction or the session alone.
fn fits_read_only(decision: &Decision) -> bool {
    let carried = decision.pins.without(PinReason::Set.into()).is_empty();
    match decision.reason {
        _ if decision.target == Target::Replica => true,
        Reason::SessionState => carried,
        // It tells of the one that runs all of it.
        Reason::ServerState => carried,
        Reason::Transaction => match decision.transaction {
            TransactionEffect::Commit
            | TransactionEffect::Rollback
            | TransactionEffect::CommitAndChain
            | TransactionEffect::RollbackAndChain
            | TransactionEffect::Savepoint
            | TransactionEffect::Release
            | TransactionEffect::RollbackTo
            | TransactionEffect::Begin => true,
            // SET TRANSACTION SNAPSHOT, COMMIT PREPARED and so on.
            TransactionEffect::None
            | TransactionEffect::Cursor
            | TransactionEffect::BeginReadWrite
            | TransactionEffect::BeginReadOnly
            | TransactionEffect::BeginSerializable
            | TransactionEffect::SetReadOnly
            | TransactionEffect::SetReadWrite
            | TransactionEffect::SetSerializable
            | TransactionEffect::PrepareTransaction => false,
        },
        _ => false,
    }
}
