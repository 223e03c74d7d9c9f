//! What a client is doing, and why its session is told to stop: each fits an atomic.

/// What a client is doing, as the time limits and SHOW see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// No transaction, no statement.
    Idle = 0,
    /// Waits for a server connection.
    Waiting = 1,
    /// A statement is running.
    Active = 2,
    /// In a transaction, between statements.
    IdleInTransaction = 3,
    /// Has a server connection of its own, and nobody looks at what passes over it.
    Streaming = 4,
}

impl Activity {
    pub(super) fn from_u8(v: u8) -> Self {
        match v {
            1 => Self::Waiting,
            2 => Self::Active,
            3 => Self::IdleInTransaction,
            4 => Self::Streaming,
            _ => Self::Idle,
        }
    }
}

/// Why a session is told to stop from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// Nothing was asked.
    None = 0,
    /// The instance drains: leave as soon as no transaction is open.
    Drain = 1,
    /// `limits.client_idle_timeout` passed.
    ClientIdle = 2,
    /// `limits.idle_in_transaction_timeout` passed.
    IdleInTransaction = 3,
    /// `limits.query_timeout` passed.
    QueryTimeout = 4,
    /// `limits.transaction_timeout` passed.
    TransactionTimeout = 5,
    /// The drain's time is over: leave now.
    Shutdown = 6,
    /// An administrator ends this session: leave now.
    Killed = 7,
}

impl Signal {
    pub(super) fn from_u8(v: u8) -> Self {
        match v {
            1 => Self::Drain,
            2 => Self::ClientIdle,
            3 => Self::IdleInTransaction,
            4 => Self::QueryTimeout,
            5 => Self::TransactionTimeout,
            6 => Self::Shutdown,
            7 => Self::Killed,
            _ => Self::None,
        }
    }
}
