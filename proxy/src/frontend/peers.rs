//! The other instances of pgconvoy behind the same address: a cancel request that a load balancer
//! gave to the wrong one is passed on to the one that its key names, once (decision 0010).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use crate::backend::cancel;
use crate::protocol::startup::Cancel;
use crate::registry::key::{self, PeerId};

/// Requests that may be on their way to peers at a time. Anybody can send a cancel request, without
/// a login: more of them must not become more connections of ours.
const MOST: usize = 64;

/// Where a peer accepts clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The peers by what keys call them.
pub type PeerAddresses = HashMap<PeerId, PeerAddress>;

/// Passes requests on.
#[derive(Debug)]
pub struct Peers {
    addresses: Arc<ArcSwap<PeerAddresses>>,
    passing: Semaphore,
}

impl Peers {
    /// To these, which may change.
    #[must_use]
    pub fn new(addresses: Arc<ArcSwap<PeerAddresses>>) -> Self {
        Self {
            addresses,
            passing: Semaphore::new(MOST),
        }
    }

    /// Passes a request on that is for another instance. Like PostgreSQL with a key that it does not
    /// know, it says nothing when there is no such instance.
    pub(super) async fn pass_on(&self, request: &Cancel, limit: Duration) {
        if key::was_passed_on(request.pid) {
            // Its sender takes us for somebody else: another round would be one of many.
            tracing::warn!(
                peer = key::instance_of(request.pid).0,
                "a peer sent a cancel request that is for another one: peer_id here or peer.id there is wrong"
            );
            return;
        }
        let peer = key::instance_of(request.pid);
        let Some(to) = self.addresses.load().get(&peer).cloned() else {
            return;
        };
        let Ok(_one_of_them) = self.passing.try_acquire() else {
            tracing::warn!(
                peer = peer.0,
                most = MOST,
                "cancel request dropped: too many at a time"
            );
            return;
        };
        let pid = key::passed_on(request.pid);
        if let Err(e) = cancel::pass_on(&to.host, to.port, pid, &request.key, limit).await {
            tracing::warn!(peer = peer.0, host = to.host, port = to.port, error = %e,
                "cancel request not passed on");
        }
    }
}
