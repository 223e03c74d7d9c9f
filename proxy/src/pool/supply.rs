//! Getting a pool's queue something: an idle connection of this or another worker, or a new one;
//! and what happens when none can be opened.

use std::sync::Arc;
use std::time::Duration;

use super::checkout::{Limits, Pool, Shared};
use super::manager::{Life, Pooled};
use super::permit::Permit;
use super::servers::{Established, Listed};
use crate::backend::connect::{self, ConnectError};
use crate::backend::connection::Connection;
use crate::clock;

/// How long before its end a connection is replaced, at most; a tenth of its life where that is less.
const LEAD: Duration = Duration::from_secs(10);

impl Pool {
    /// Gets the queue something: an idle connection of this or another worker, or a new one.
    pub(super) fn supply(self: &Arc<Self>) {
        if let Some(object) = self.idle.take() {
            self.put_back(object);
            return;
        }
        let others = self.shared.members();
        for other in others.filter(|o| o.worker != self.worker) {
            if let Some(object) = other.idle.give_away().and_then(|p| self.bring_home(p)) {
                self.put_back(object);
                return;
            }
        }
        self.open_for_waiters();
    }

    /// Opens a connection, if somebody waits for whom none is being opened, and there is room.
    pub(super) fn open_for_waiters(self: &Arc<Self>) {
        let budget = &self.shared.budget;
        // Asked first, as it is how most who wait find it: no lock, whoever else waits.
        let full = budget.open() >= budget.ceiling(clock::now());
        if full || self.shared.control.is_paused() || budget.unserved_since().is_none() {
            return;
        }
        if let Some(permit) = self.shared.claim() {
            tokio::spawn(Arc::clone(self).open(permit));
        }
    }

    /// Opens a connection for nobody in particular, to have one ready; whether there was room.
    pub(super) fn prewarm(self: &Arc<Self>) -> bool {
        if self.shared.control.is_paused() {
            return false;
        }
        let permit = self.shared.try_permit();
        let room = permit.is_some();
        if let Some(permit) = permit {
            tokio::spawn(Arc::clone(self).open(permit));
        }
        room
    }

    pub(super) async fn open(self: Arc<Self>, permit: Permit) {
        let shared = &self.shared;
        let limits = shared.commons.limits.load_full();
        let gate = shared.commons.gates.get(shared.node.id.index());
        let turn = match gate {
            Some(gate) => gate.turn().await,
            None => None,
        };
        if shared.hold.is_on(clock::now()) {
            // Somebody else of this pool was refused meanwhile, and tries again later.
            return;
        }
        let mark = shared.control.mark();
        let listed = shared
            .servers
            .list(&shared.node, &shared.database, &shared.user, mark);
        // Listed first: a PAUSE that came before this look is seen, a later one sees the entry.
        if shared.control.is_paused() {
            return;
        }
        match connect::connect(&shared.target(), limits.connect_timeout).await {
            Ok(connection) => {
                drop(turn);
                let had_failed = shared.hold.end();
                listed.establish(established(&connection));
                self.shelve(Pooled::new(connection, life(&limits), listed, permit));
                if had_failed {
                    shared.serve();
                }
            }
            Err(error) => {
                drop::<Listed>(listed);
                if let (ConnectError::NotNow(_), Some(gate)) = (&error, gate) {
                    gate.full();
                }
                drop(turn);
                tracing::debug!(node = %shared.node.label, error = %error.report(),
                    "could not open a server connection");
                self.on_refusal(&error, permit, limits.login_retry).await;
            }
        }
    }

    /// Makes a new connection available, unless its database was paused while it was opened.
    fn shelve(&self, pooled: Pooled) {
        if !self.shared.control.keeps(pooled.server.mark) {
            return;
        }
        if let Some(object) = self.idle.adopt(Box::new(pooled)) {
            self.put_back(object);
        }
    }

    /// Tells those whom waiting would not help, and tries again later for the others.
    async fn on_refusal(&self, error: &ConnectError, permit: Permit, longest: Duration) {
        let shared = &self.shared;
        let pause = shared.hold.begin(error, longest);
        let last = shared.budget.open() <= 1;
        let _told = match error {
            ConnectError::NotNow(_) if !last => false,
            ConnectError::NotNow(_) => shared.budget.fail_all(error),
            ConnectError::Unreachable(_) | ConnectError::Refused(_) if last => {
                shared.budget.fail_all(error)
            }
            // The others wait for the connections that there are.
            ConnectError::Unreachable(_) | ConnectError::Refused(_) => {
                shared.budget.fail_one(self.worker, error)
            }
        };
        drop(permit);
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
            shared.serve();
        }
    }
}

impl Shared {
    /// Forgets failures, as settings have changed.
    pub(super) fn try_again(self: &Arc<Self>) {
        if self.hold.end() {
            self.serve();
        }
    }
}

fn established(connection: &Connection) -> Established {
    Established {
        key: Arc::clone(&connection.key),
        prepared: connection.prepared.count(),
        local: connection.stream.local_addr().ok(),
        peer: connection.stream.peer_addr().ok(),
    }
}

/// The life of a connection opened now: shorter by up to the jitter.
fn life(limits: &Limits) -> Life {
    let Some(lifetime) = limits.lifetime else {
        return Life::ENDLESS;
    };
    let jitter = f64::from(limits.lifetime_jitter.min(100)) / 100.0;
    let lifetime = lifetime.mul_f64(1.0 - rand::random::<f64>() * jitter);
    let expires = clock::now().saturating_add(clock::micros(lifetime));
    Life::until(expires, clock::micros((lifetime / 10).min(LEAD)))
}
