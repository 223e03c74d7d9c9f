//! What a session does with a node, counted in the node's load for as long as it does it.
//!
//! Knows no connection: who lends one holds an [`InUse`] beside it.

use std::ops::Deref;
use std::sync::Arc;

use super::node::Node;

/// A node of which a connection is used or waited for: it counts as in use for as long as this lives.
#[derive(Debug)]
pub struct InUse {
    node: Arc<Node>,
    /// Whether it is noted that the node owes an answer.
    owes: bool,
}

impl InUse {
    /// Begins to use it.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        node.load.lend();
        Self { node, owes: false }
    }

    /// A request goes to it at `now`.
    pub fn asked(&mut self, now: u64) {
        if !self.owes && self.node.load.is_measured() {
            self.owes = true;
            self.node.load.asked_at(now);
        }
    }

    /// It answered at `now` what it was asked at `since`, and owes `more`.
    pub fn answered(&mut self, since: u64, now: u64, more: bool) {
        let load = &self.node.load;
        load.forget_failures();
        if self.owes {
            load.answered_after(now.saturating_sub(since), now);
            if !more {
                self.settle();
            }
        }
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.owes) {
            self.node.load.settle();
        }
    }
}

impl Deref for InUse {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.settle();
        self.node.load.give_back();
    }
}
