//! The router's answer: where a statement may run, why, and what it does to its session.
//!
//! Plain data with no behaviour beyond naming itself for labels. Must not know how an answer is
//! found, nor which nodes exist.

use super::pins::PinSet;
use super::tables::Tables;

/// Which kind of node may run a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// Only the node that takes writes.
    Primary,
    /// Any node that may serve reads.
    Replica,
}

/// Why a statement goes where it goes; a metric label and a column of `SHOW ROUTE`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// Every part is known to only read.
    ReadOnlySelect,
    /// `SHOW` of a setting that is the session's own.
    Show,
    /// Nothing to run.
    Empty,
    /// A transaction that promised to only read.
    ReadOnlyTransaction,
    /// A comment before the statement says so.
    Hint,
    /// INSERT, UPDATE, DELETE, MERGE, SELECT INTO, NOTIFY and so on.
    Write,
    /// CREATE, ALTER, DROP and the maintenance commands.
    Ddl,
    /// LOCK, or a row lock such as FOR UPDATE.
    Lock,
    /// A built-in function that changes something, such as `nextval`.
    WriteFunction,
    /// A function that is not on the list of safe ones.
    UnknownFunction,
    /// An operator that is neither built in nor well known.
    UnknownOperator,
    /// A cast to a type that is not built in.
    UnknownType,
    /// A view or a policy that is not known to be safe, an unlogged or foreign table, a sequence.
    Relation,
    /// A replica has refused a statement of this shape.
    Refused,
    /// Asks about one server: `pg_is_in_recovery()`, `pg_stat_activity`, temp schemas.
    ServerState,
    /// Changes or reads state of the session: SET, LISTEN, PREPARE, FETCH and so on.
    SessionState,
    /// Begins, ends or divides a transaction.
    Transaction,
    /// A standby can't run SERIALIZABLE transactions.
    Serializable,
    /// CALL, DO and commands that are not known.
    Procedure,
    /// Several statements in one string.
    SeveralStatements,
    /// Not understood.
    DoesNotParse,
    /// Longer or deeper than the router looks.
    TooLong,
    /// The session's quoting rules or encoding keep the text from being read reliably.
    Quoting,
    /// The proxy answers it itself.
    Local,
    /// Asks for a WAL position to hand on.
    Position,
}

impl Reason {
    /// Every reason, in the order of declaration; for registering one metric child each.
    pub const ALL: [Self; 25] = [
        Self::ReadOnlySelect,
        Self::Show,
        Self::Empty,
        Self::ReadOnlyTransaction,
        Self::Hint,
        Self::Write,
        Self::Ddl,
        Self::Lock,
        Self::WriteFunction,
        Self::UnknownFunction,
        Self::UnknownOperator,
        Self::UnknownType,
        Self::Relation,
        Self::Refused,
        Self::ServerState,
        Self::SessionState,
        Self::Transaction,
        Self::Serializable,
        Self::Procedure,
        Self::SeveralStatements,
        Self::DoesNotParse,
        Self::TooLong,
        Self::Quoting,
        Self::Local,
        Self::Position,
    ];

    /// The reason as a metric label, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnlySelect => "read_only",
            Self::Show => "show",
            Self::Empty => "empty",
            Self::ReadOnlyTransaction => "read_only_transaction",
            Self::Hint => "hint",
            Self::Write => "write",
            Self::Ddl => "ddl",
            Self::Lock => "lock",
            Self::WriteFunction => "write_function",
            Self::UnknownFunction => "unknown_function",
            Self::UnknownOperator => "unknown_operator",
            Self::UnknownType => "unknown_type",
            Self::Relation => "relation",
            Self::Refused => "refused",
            Self::ServerState => "server_state",
            Self::SessionState => "session_state",
            Self::Transaction => "transaction",
            Self::Serializable => "serializable",
            Self::Procedure => "procedure",
            Self::SeveralStatements => "several_statements",
            Self::DoesNotParse => "does_not_parse",
            Self::TooLong => "too_long",
            Self::Quoting => "quoting",
            Self::Local => "local",
            Self::Position => "position",
        }
    }
}

/// What a statement counts as in `SHOW POOL_BACKEND_STATS`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Command {
    /// SELECT, VALUES, TABLE, also SELECT INTO.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// CREATE, ALTER, DROP, TRUNCATE and the like.
    Ddl,
    /// Everything else: SET, SHOW, EXPLAIN, COPY, MERGE, BEGIN and so on.
    Other,
}

/// What a statement does to the session's transaction, as far as the text tells.
///
/// ReadyForQuery stays the truth; this says what was asked for before the answer is known. For a
/// string of several statements it is the effect of the last one that has any.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TransactionEffect {
    /// None.
    #[default]
    None,
    /// BEGIN with the session's default access mode.
    Begin,
    /// BEGIN READ WRITE.
    BeginReadWrite,
    /// BEGIN READ ONLY, not serializable: the whole transaction may run on a replica.
    BeginReadOnly,
    /// BEGIN ISOLATION LEVEL SERIALIZABLE, read-only or not: a standby refuses it.
    BeginSerializable,
    /// SET TRANSACTION READ ONLY.
    SetReadOnly,
    /// SET TRANSACTION READ WRITE.
    SetReadWrite,
    /// SET TRANSACTION ISOLATION LEVEL SERIALIZABLE.
    SetSerializable,
    /// COMMIT or END.
    Commit,
    /// ROLLBACK or ABORT.
    Rollback,
    /// COMMIT AND CHAIN: a new transaction with the same modes begins at once.
    CommitAndChain,
    /// ROLLBACK AND CHAIN: a new transaction with the same modes begins at once.
    RollbackAndChain,
    /// PREPARE TRANSACTION: the session is out of it, the transaction is not over.
    PrepareTransaction,
    /// SAVEPOINT.
    Savepoint,
    /// RELEASE SAVEPOINT.
    Release,
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo,
    /// DECLARE: a cursor that lasts as long as it does.
    Cursor,
}

impl TransactionEffect {
    /// Whether a transaction block is open after it, or must have been before.
    #[must_use]
    pub fn needs_a_block(self) -> bool {
        match self {
            Self::Begin
            | Self::BeginReadWrite
            | Self::BeginReadOnly
            | Self::BeginSerializable
            | Self::CommitAndChain
            | Self::RollbackAndChain
            | Self::Savepoint
            | Self::Release
            | Self::RollbackTo => true,
            Self::None
            | Self::Cursor
            | Self::SetReadOnly
            | Self::SetReadWrite
            | Self::SetSerializable
            | Self::Commit
            | Self::Rollback
            | Self::PrepareTransaction => false,
        }
    }
}

/// What a statement throws away of the server connection's own state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Discard {
    /// Nothing.
    Nothing,
    /// One or all prepared statements (DEALLOCATE): also those the proxy has put there.
    Statements,
    /// Everything a session has (DISCARD ALL), prepared statements included.
    All,
}

/// What a statement has to do with what the server remembers of a session's sequences.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SequenceUse {
    /// Nothing that can be seen.
    None,
    /// `nextval`, `setval`: something is remembered.
    Makes,
    /// `currval`, `lastval`, if only in what it defines: what is remembered is asked for.
    Reads,
}

/// What the proxy answers itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Local {
    /// One of its commands.
    Show(LocalCommand),
    /// Where a statement would go, and why.
    Route,
}

/// A command the proxy answers without any server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalCommand {
    /// `SHOW POOL_NODES`.
    PoolNodes,
    /// `SHOW POOL_VERSION`.
    PoolVersion,
    /// `SHOW POOL_BACKEND_STATS`.
    PoolBackendStats,
}

/// Everything the session needs to know about a statement before it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Where it may run.
    pub target: Target,
    /// Why there.
    pub reason: Reason,
    /// What it counts as.
    pub command: Command,
    /// True unless it is certain that nothing is written. Transaction control itself never
    /// writes: at COMMIT the session remembers what the transaction's statements said.
    pub writes: bool,
    /// What it does to the transaction.
    pub transaction: TransactionEffect,
    /// Session state it may leave behind in its server connection.
    pub pins: PinSet,
    /// What it has to do with the session's sequences.
    pub sequence: SequenceUse,
    /// It may give such state back, or may have failed to make it.
    pub releases: bool,
    /// It calls what can't be looked into, which may change the session.
    pub unseen: bool,
    /// What it throws away of the server connection's state.
    pub discard: Discard,
    /// The tables that it reads, if it only reads.
    pub reads: Tables,
    /// Set when the proxy answers it itself.
    pub local: Option<Local>,
}

impl Decision {
    /// A statement for the primary that may write.
    pub(super) const fn primary(reason: Reason, command: Command) -> Self {
        Self {
            target: Target::Primary,
            reason,
            command,
            writes: true,
            transaction: TransactionEffect::None,
            pins: PinSet::NONE,
            sequence: SequenceUse::None,
            releases: false,
            unseen: false,
            discard: Discard::Nothing,
            reads: Tables::ALL,
            local: None,
        }
    }

    /// The same, since a replica has refused it: something in it writes, or looks for what only a primary has.
    #[must_use]
    pub const fn refused(self) -> Self {
        Self {
            target: Target::Primary,
            reason: Reason::Refused,
            writes: true,
            unseen: true,
            ..self
        }
    }

    /// The same while a name in it may mean something that is not known yet.
    #[must_use]
    pub const fn doubtful(self) -> Self {
        Self {
            reason: Reason::Relation,
            ..self.refused()
        }
    }

    /// A statement that any node may run.
    pub(super) const fn replica(reason: Reason, command: Command) -> Self {
        Self {
            target: Target::Replica,
            writes: false,
            ..Self::primary(reason, command)
        }
    }

    /// A statement for the primary that changes no data.
    pub(super) const fn quiet(reason: Reason, command: Command) -> Self {
        Self {
            writes: false,
            ..Self::primary(reason, command)
        }
    }
}
