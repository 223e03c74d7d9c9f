//! What it takes to cancel what runs on a server connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How a statement on a server connection is cancelled (PostgreSQL docs, 55.2.9). `Debug` hides the
/// secret.
pub struct BackendKey {
    /// Host of the node.
    pub host: String,
    /// Port of the node.
    pub port: u16,
    /// The server process.
    pub pid: i32,
    /// Its secret, 4 to 256 bytes.
    pub secret: Vec<u8>,
    /// Cancel requests on their way to it. While there is one, the connection must not be lent to
    /// anybody else.
    pub cancels: AtomicUsize,
    /// A cancel request was sent and nobody knows whether it has arrived: it may hit whatever the
    /// connection runs later, so nobody else may have it.
    pub doomed: AtomicBool,
}

impl BackendKey {
    /// Whether a cancel request is on its way right now.
    #[must_use]
    pub fn is_being_cancelled(&self) -> bool {
        self.cancels.load(Ordering::Acquire) > 0
    }

    /// Whether a cancel request may still hit what the connection runs next.
    #[must_use]
    pub fn may_be_cancelled(&self) -> bool {
        self.is_being_cancelled() || self.doomed.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKey")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}
