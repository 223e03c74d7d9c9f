//! Whether a batch may be run again.

/// What a batch whose answer the client has seen nothing of may be run again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// Nothing; or something has been seen.
    No,
    /// A statement that is to be prepared anew, or what could not be set ahead of it.
    IfStale,
    /// That, and the loss of a read's server: on another.
    Elsewhere,
}

/// Whether what was asked may have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Perhaps,
    Nothing,
}
