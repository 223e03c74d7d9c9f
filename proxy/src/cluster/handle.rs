//! What everybody holds of the cluster: the present view, word of its changes, and the means to
//! ask the monitor for a look now.
//!
//! Knows nothing of how the monitor works; it only passes its wishes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Notify, watch};

use super::catalogs::{Catalogs, Database};
use super::node::{Node, NodeId};
use super::view::View;
use crate::clock;
use crate::metrics::Metrics;
use crate::router::Overrides;

/// Suspicions of one node that come closer together than this are one: a thousand sessions whose
/// connections break at once ask for one look.
const SUSPICION_SPACING: Duration = Duration::from_millis(50);

/// For how long positions are sampled after the last session that asked for it.
const POSITIONS_WANTED_FOR: Duration = Duration::from_secs(2);

/// Wishes for positions closer together than this are not even noted down, so that the hot path
/// of many sessions shares the cache line instead of fighting over it.
const WISH_SPACING: Duration = Duration::from_millis(20);

/// A node as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Host name, address, or the directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Share of the reads; 0 takes none.
    pub weight: u32,
    /// How logs, metrics and errors call it; `host:port` when absent.
    pub name: Option<String>,
}

/// What the monitor is asked to do for one node.
#[derive(Debug, Default)]
struct Wishes {
    /// Wakes the node's probe.
    wake: Notify,
    suspected_at: AtomicU64,
}

/// The handle; one for the process, shared as `Arc` by all threads.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Arc<Node>>,
    view: ArcSwap<View>,
    generation: watch::Sender<u64>,
    wishes: Vec<Wishes>,
    positions_wanted_at: AtomicU64,
    /// Some replica has not been seen to catch up yet.
    unproven: AtomicBool,
    pub(super) catalogs: Catalogs,
}

impl Cluster {
    /// A cluster of these nodes, none of them checked yet. Nodes get their numbers in this order;
    /// past 65,535 of them the rest is left out.
    #[must_use]
    pub fn new(specs: &[NodeSpec], metrics: &Metrics) -> Arc<Self> {
        let node = |(id, spec): (u16, &NodeSpec)| {
            let address = || format!("{}:{}", spec.host, spec.port);
            let label = spec.name.clone().unwrap_or_else(address);
            let counters = metrics.node(&label);
            let host = spec.host.clone();
            Arc::new(Node::new(
                NodeId(id),
                label,
                host,
                spec.port,
                spec.weight,
                counters,
            ))
        };
        let nodes: Vec<_> = (0..u16::MAX).zip(specs).map(node).collect();
        let view = View::unchecked(&nodes, SystemTime::now());
        Arc::new(Self {
            view: ArcSwap::from_pointee(view),
            generation: watch::Sender::new(0),
            wishes: nodes.iter().map(|_| Wishes::default()).collect(),
            positions_wanted_at: AtomicU64::new(clock::NEVER),
            unproven: AtomicBool::new(false),
            catalogs: Catalogs::default(),
            nodes,
        })
    }

    /// The present view. Cheap; hold the guard briefly and not over an await.
    #[must_use]
    pub fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// What is known of a database, by its name on the servers; held for as long as it is used.
    #[must_use]
    pub fn database(&self, name: &str) -> Arc<Database> {
        self.catalogs.of(name)
    }

    /// What the configuration says of functions, for all databases (reload).
    pub fn override_functions(&self, overrides: Overrides) {
        self.catalogs.set_overrides(overrides);
    }

    /// All nodes, at the index of their number. The list never changes.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// One node; `None` for a number that no node has.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(id.index())
    }

    /// Resolves when the view's generation is another than `generation`, at once if it is already.
    /// Cancel-safe. Does not bound the wait: the caller does.
    pub async fn changed(&self, generation: u64) {
        let mut receiver = self.generation.subscribe();
        if receiver.wait_for(|now| *now != generation).await.is_err() {
            // The sender lives in `self`, which is borrowed: it cannot be gone.
            std::future::pending::<()>().await;
        }
    }

    /// A session saw the node refuse or break a connection: have it checked now rather than at
    /// the end of its period. Cheap to call often.
    pub fn suspect(&self, id: NodeId) {
        let Some(wishes) = self.wishes.get(id.index()) else {
            return;
        };
        let now = clock::now();
        let last = wishes.suspected_at.load(Ordering::Relaxed);
        if last != clock::NEVER && now.saturating_sub(last) < clock::micros(SUSPICION_SPACING) {
            return;
        }
        let claimed =
            wishes
                .suspected_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_ok() {
            wishes.wake.notify_one();
        }
    }

    /// Some session waits for a replica to become fresh: for the next two seconds positions are
    /// sampled on the short period. Cheap to call on every read that found no fresh replica.
    pub fn want_positions(&self) {
        let now = clock::now();
        let last = self.positions_wanted_at.load(Ordering::Relaxed);
        if last != clock::NEVER && now.saturating_sub(last) < clock::micros(WISH_SPACING) {
            return;
        }
        self.positions_wanted_at.store(now, Ordering::Relaxed);
        if !wanted(now, last) {
            // Probes that sleep through a long period start on the short one now.
            self.wake_all();
        }
    }

    /// Whether positions are to be sampled on the short period.
    pub(super) fn positions_wanted(&self) -> bool {
        self.unproven.load(Ordering::Relaxed)
            || wanted(
                clock::now(),
                self.positions_wanted_at.load(Ordering::Relaxed),
            )
    }

    /// Whether some replica waits for its first proof. The monitor's alone.
    pub(super) fn set_unproven(&self, unproven: bool) {
        let before = self.unproven.swap(unproven, Ordering::Relaxed);
        if unproven && !before {
            self.wake_all();
        }
    }

    /// Resolves when somebody wants a look at the node before its time.
    pub(super) async fn woken(&self, id: NodeId) {
        match self.wishes.get(id.index()) {
            Some(wishes) => wishes.wake.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Wakes the probes of all nodes.
    pub(super) fn wake_all(&self) {
        for wishes in &self.wishes {
            wishes.wake.notify_one();
        }
    }

    /// Replaces the view, and wakes who waits for a change if the generation is new.
    pub(super) fn publish(&self, view: View) {
        let generation = view.generation;
        self.view.store(Arc::new(view));
        self.generation.send_if_modified(|known| {
            let changed = *known != generation;
            *known = generation;
            changed
        });
    }
}

fn wanted(now: u64, at: u64) -> bool {
    at != clock::NEVER && now.saturating_sub(at) < clock::micros(POSITIONS_WANTED_FOR)
}

#[cfg(test)]
mod tests;
