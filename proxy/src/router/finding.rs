//! What is found in a query, from the least to the most serious.

use super::route::Reason;

/// What keeps a query from replicas, the least certain last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Finding {
    /// Nothing.
    Safe,
    /// It tells of one server.
    ServerState,
    /// It changes settings of its session.
    SessionState,
    /// A cast to a type that is not built in.
    UnknownType,
    /// An operator that is not known.
    UnknownOperator,
    /// A relation that is not for replicas.
    Relation,
    /// A function that is not known.
    UnknownFunction,
    /// Something this code does not know.
    NotUnderstood,
    /// A built-in function that writes.
    WriteFunction,
    /// A row lock.
    Lock,
    /// A write by grammar.
    Write,
}

impl Finding {
    /// The reason to give for it.
    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Safe => Reason::ReadOnlySelect,
            Self::ServerState => Reason::ServerState,
            Self::SessionState => Reason::SessionState,
            Self::UnknownType => Reason::UnknownType,
            Self::UnknownOperator => Reason::UnknownOperator,
            Self::Relation => Reason::Relation,
            Self::UnknownFunction => Reason::UnknownFunction,
            Self::NotUnderstood => Reason::DoesNotParse,
            Self::WriteFunction => Reason::WriteFunction,
            Self::Lock => Reason::Lock,
            Self::Write => Reason::Write,
        }
    }
}
