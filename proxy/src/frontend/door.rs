//! What the doors of all workers share, and the ways to be turned away.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::access::Access;
use super::peers::Peers;
use super::replication;
use super::welcome::Welcomes;
use crate::admin::Inside;
use crate::error::Report;
use crate::metrics::RejectReason;
use crate::registry::Registry;

/// Bounds on clients; live.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Most clients.
    pub max_clients: usize,
    /// How many of them only administrators may be.
    pub reserved: usize,
    /// Longest login.
    pub login_timeout: Duration,
    /// Longest time for a login to find a server that answers.
    pub server_timeout: Duration,
    /// Longest wait for a server that has no room.
    pub wait_timeout: Duration,
    /// Longest time for a cancel request to reach its server.
    pub cancel_timeout: Duration,
    /// Whether coming and going is logged.
    pub log_connections: bool,
}

/// What the doors of all workers share.
#[derive(Debug)]
pub struct Door {
    /// Who may come in.
    pub access: Arc<ArcSwap<Access>>,
    /// How many.
    pub admission: Arc<ArcSwap<Admission>>,
    /// Everybody inside.
    pub registry: Arc<Registry>,
    /// What the admin console shows and acts on.
    pub inside: Arc<Inside>,
    pub(super) peers: Peers,
    pub(super) replication: replication::Gate,
    pub(super) welcomes: Welcomes,
}

/// Why a connection did not become a session.
pub(super) enum Refused {
    /// Nobody is there to be told, or nobody must be.
    Silently,
    /// With these words, counted under this reason.
    Because(Report, RejectReason),
}

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        // Before a session begins, a lost client is nobody's concern.
        Self::Silently
    }
}

impl Door {
    /// A door that nobody has passed.
    #[must_use]
    pub fn new(
        access: Arc<ArcSwap<Access>>,
        admission: Arc<ArcSwap<Admission>>,
        registry: Arc<Registry>,
        inside: Arc<Inside>,
        peers: Peers,
        replication: replication::Gate,
    ) -> Self {
        Self {
            access,
            admission,
            registry,
            inside,
            peers,
            replication,
            welcomes: Welcomes::default(),
        }
    }
}
