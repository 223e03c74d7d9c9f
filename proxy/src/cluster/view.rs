//! An immutable snapshot of the cluster: what each node is, and who leads.
//!
//! A view is never changed, only replaced; who holds one decides consistently. Knows nothing of
//! how it came about.

use std::sync::Arc;
use std::time::SystemTime;

use super::node::{Node, NodeId};

/// Whether a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered its last check, or has not failed often enough since.
    Up,
    /// It failed its check and the retries, or may not be used (see [`NodeState::last_error`]).
    Down,
    /// It has not been checked yet.
    Unknown,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not in recovery: takes writes.
    Primary,
    /// In recovery: follows a primary.
    Replica,
    /// Not known, or not believed.
    Unknown,
}

/// What is known of one node at the time of the view.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// The node itself.
    pub node: Arc<Node>,
    /// Whether it answers.
    pub health: Health,
    /// What it is used as: at most one node of a view is [`Role::Primary`], and a node whose
    /// claim is not believed is [`Role::Unknown`].
    pub role: Role,
    /// What it said it was when it last answered, believed or not.
    pub reported_role: Role,
    /// The timeline it is on; 0 while unknown.
    pub timeline: u32,
    /// WAL that it has not replayed, in bytes, by the primary's last sample; `None` while there
    /// is nothing to compare, and for the primary.
    pub lag_bytes: Option<u64>,
    /// It receives no WAL though the primary is there: what it shows grows old.
    pub stalled: bool,
    /// `pg_stat_replication.state` (`streaming`, `catchup`, ...); empty for the primary and when
    /// unknown.
    pub replication_state: String,
    /// `pg_stat_replication.sync_state` (`async`, `sync`, `quorum`, `potential`); empty for the
    /// primary and when unknown.
    pub sync_state: String,
    /// When `health` or `role` last changed.
    pub last_change: SystemTime,
    /// What is wrong with it, while something is.
    pub last_error: Option<String>,
}

impl NodeState {
    /// A node that has not been checked yet.
    #[must_use]
    pub fn unchecked(node: Arc<Node>, now: SystemTime) -> Self {
        Self {
            node,
            health: Health::Unknown,
            role: Role::Unknown,
            reported_role: Role::Unknown,
            timeline: 0,
            lag_bytes: None,
            stalled: false,
            replication_state: String::new(),
            sync_state: String::new(),
            last_change: now,
            last_error: None,
        }
    }
}

/// The cluster as it was believed to be at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Grows whenever a node's health, role or timeline, or the primary, has changed. Views that
    /// differ only in lag and texts share their generation.
    pub generation: u64,
    /// All nodes, at the index of their [`NodeId`].
    pub nodes: Vec<NodeState>,
    /// The node that takes writes; `None` while none is known.
    pub primary: Option<NodeId>,
    /// The highest timeline that was seen on any node. A node on a lower one is not believed to
    /// lead: another was promoted after it.
    pub timeline: u32,
}

impl View {
    /// The first view: every node unchecked, nobody leads.
    #[must_use]
    pub fn unchecked(nodes: &[Arc<Node>], now: SystemTime) -> Self {
        let unchecked = |node: &Arc<Node>| NodeState::unchecked(Arc::clone(node), now);
        Self {
            generation: 0,
            nodes: nodes.iter().map(unchecked).collect(),
            primary: None,
            timeline: 0,
        }
    }

    /// The state of one node; `None` for a number that no node has.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&NodeState> {
        self.nodes.get(id.index())
    }

    /// The state of the node that takes writes.
    #[must_use]
    pub fn primary(&self) -> Option<&NodeState> {
        self.node(self.primary?)
    }
}
