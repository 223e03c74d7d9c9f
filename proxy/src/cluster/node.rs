//! One node's identity: what stays the same while views of it come and go.
//!
//! Held as `Arc` by every view, pool and session that deals with the node. What changes here
//! changes by atomics, because the hot path reads it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::load::Load;
use crate::clock;
use crate::metrics::{NodeMetrics, QueryRoute, StatementKind};

/// A node's number: its place in the configuration, from 0; `node_id` in `SHOW POOL_NODES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The node's index in [`super::View::nodes`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node's identity and its counters.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Host name, address, or the directory of a Unix socket.
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Its configured name, else `host:port`: how logs, metrics and errors call the node.
    pub label: String,
    /// What is counted for it.
    pub metrics: NodeMetrics,
    weight: AtomicU32,
    fresh_as_of: AtomicU64,
    replayed: AtomicU64,
    used: AtomicBool,
    near: AtomicBool,
    pub(super) load: Load,
}

impl Node {
    /// A node that nothing is known of yet.
    #[must_use]
    pub fn new(
        id: NodeId,
        label: String,
        host: String,
        port: u16,
        weight: u32,
        metrics: NodeMetrics,
    ) -> Self {
        Self {
            id,
            label,
            host,
            port,
            metrics,
            weight: AtomicU32::new(weight),
            fresh_as_of: AtomicU64::new(clock::NEVER),
            replayed: AtomicU64::new(0),
            used: AtomicBool::new(false),
            near: AtomicBool::new(true),
            load: Load::new(),
        }
    }

    /// Whether it is where this instance is; so are all while nobody knows where that is.
    #[must_use]
    pub fn is_near(&self) -> bool {
        self.near.load(Ordering::Relaxed)
    }

    /// Changes that, at once for all workers (reload).
    pub fn set_near(&self, near: bool) {
        self.near.store(near, Ordering::Relaxed);
    }

    /// Whether its latency is looked at, for [`super::Balance::LeastLatency`] (reload).
    pub fn measure(&self, wanted: bool) {
        self.load.measure(wanted);
    }

    /// A connection to it could not be opened, or broke.
    pub fn failed(&self) {
        self.load.failed(clock::now());
    }

    /// Its share of the reads, relative to the other nodes' weights; 0 takes none.
    #[must_use]
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Changes its share of the reads, at once for all workers (reload).
    pub fn set_weight(&self, weight: u32) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    /// The time (of [`crate::clock`]) of which the node is known to show everything: every
    /// transaction that was committed on the present primary before then has been replayed here.
    /// [`clock::NEVER`] while nothing is proven. The primary needs no proof and has none.
    #[must_use]
    pub fn fresh_as_of(&self) -> u64 {
        self.fresh_as_of.load(Ordering::Acquire)
    }

    /// Records a proof, or with [`clock::NEVER`] takes all of them back. The monitor's alone.
    pub(super) fn set_fresh_as_of(&self, time: u64) {
        if time == clock::NEVER {
            self.replayed.store(0, Ordering::Release);
        }
        self.fresh_as_of.store(time, Ordering::Release);
    }

    /// The WAL position up to which the node, a replica on the cluster's timeline, has surely replayed; 0
    /// while that is not known.
    pub(super) fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Acquire)
    }

    /// Records that. The monitor's alone.
    pub(super) fn set_replayed(&self, position: u64) {
        self.replayed.store(position, Ordering::Release);
    }

    /// Counts one statement that is being sent to the node.
    pub fn count_statement(&self, kind: StatementKind, route: QueryRoute) {
        self.metrics.statement(kind, route);
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a client's statement has ever been sent here: `waiting` turns into `up` by it.
    #[must_use]
    pub fn used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}
